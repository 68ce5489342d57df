"""What privacy a run has spent so far, as (epsilon, delta) of one phone's whole text.

In: how noise is made, how phones are asked, rounds done. Out: epsilon, one line of the ledger a round, and
whether another round fits the budget. Next stop: `fedkey_server.fleet`.

The promise is user-level: whoever sees every model of the run, and knows every other phone's text, learns no
more than (epsilon, delta) allows of whether one phone's updates were in it or nothing in their place. Two
modes keep it, and a run has one:

- "poisson": in every round each phone is asked by a coin of its own that nobody sees, every report that
  arrives is added up, and the sum is divided by the expected cohort. Not knowing who was asked amplifies
  privacy. It needs phones that are there whenever their coin falls, so no real fleet keeps it.
- "ftrl": phones come when they can, over-selected, up to a report goal. No sampling is assumed. A phone is
  only kept from taking part again before `separation` rounds are over, and noise is correlated
  (`correlation`).

Epsilon follows in both from the noise multiplier and the clip that the ledger names, provided that the rest
of the run keeps to what the proofs assume: all updates weigh the same, none is longer than the clip, and sums
are divided by a number that does not depend on who came. How many phones reported, and when, is not
protected. An abandoned round costs as much as any other.

Poisson rounds are composed as privacy loss distributions with `dp-accounting`, whose rounding is upwards:
200 rounds at a rate of 1 % with noise multiplier 1 and delta 1e-6 have epsilon 1.15; Renyi accounting says
1.64, and without amplification it would be 166. The noise of an ftrl run is one Gaussian mechanism over all
rounds, whose epsilon is known in closed form (Balle and Wang 2018, 1805.06530).
"""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

# dp-accounting is imported where it is called: it takes a second, and every command reads `PrivacyConfig`.
from fedkey_server.clipping import sum_multiplier
from fedkey_server.correlation import sensitivity, weights

MODES = ("none", "poisson", "ftrl")
LEAST_NOISE = 1e-4
"""Noise multiplier, whose epsilon is 50 million; at 1e-5 the accountant's numbers overflow."""
EXTRAPOLATED = 1_000_000
"""Phones of the fleet that the ledger imagines."""


@dataclass(frozen=True)
class PrivacyConfig:
    """What a run promises about one phone's text. The clip that it starts with is `rounds.update_norm`."""

    mode: str = "none"
    """none, poisson or ftrl."""
    noise_multiplier: float = 0.0
    """Standard deviation of the noise drawn for a round's sum, over the clip; 0 takes the least whose epsilon
    after all rounds is `epsilon`."""
    epsilon: float = 0.0
    """Budget: a round that would exceed it is not begun; 0 sets none."""
    delta: float = 1e-7
    """Chance that the promise fails; well below 1 in the number of phones, here and in the imagined fleet."""
    noise_window: int = 8
    """Rounds whose draws a round's noise combines, in mode ftrl; 1 is independent noise. Best is about the
    minimum separation, see `correlation.noise_of_sums`. A round's noise takes so many times as long."""
    clip_quantile: float = 0.0
    """Share of updates that shall be within the clip, which then follows their norms; 0 keeps it."""
    clip_rate: float = 0.2
    """How fast the clip follows."""
    vote_noise: float = 0.05
    """Standard deviation of the noise on how many updates were short enough, over the expected cohort."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"privacy.mode must be one of {', '.join(MODES)}, not {self.mode!r}")
        for name in ("noise_multiplier", "epsilon", "clip_quantile"):
            if getattr(self, name) < 0:
                raise ValueError(f"privacy.{name} must not be negative, but it is {getattr(self, name)}")
        for name in ("clip_rate", "vote_noise"):
            if getattr(self, name) <= 0:
                raise ValueError(f"privacy.{name} must be more than 0, not {getattr(self, name)}")
        if 0 < self.noise_multiplier < LEAST_NOISE:
            raise ValueError(
                f"privacy.noise_multiplier must be 0 or at least {LEAST_NOISE:g}, not "
                f"{self.noise_multiplier}: less protects nobody, and cannot be accounted for"
            )
        if not 0 < self.delta < 1:
            raise ValueError(f"privacy.delta must be between 0 and 1, not {self.delta}")
        if self.noise_window < 1:
            raise ValueError(f"privacy.noise_window must be at least 1, not {self.noise_window}")
        if self.clip_quantile >= 1:
            raise ValueError(f"privacy.clip_quantile must be below 1, not {self.clip_quantile}")
        if self.mode == "none":
            for name in ("noise_multiplier", "epsilon", "clip_quantile"):
                if getattr(self, name):
                    raise ValueError(
                        f"privacy.{name} is set, but privacy.mode is none; choose poisson or ftrl"
                    )
        elif not self.noise_multiplier and not self.epsilon:
            raise ValueError(
                f"privacy.mode {self.mode} needs privacy.noise_multiplier, or privacy.epsilon to find it from"
            )
        if self.mode == "ftrl" and self.clip_quantile:
            raise ValueError(
                "privacy.clip_quantile needs privacy.mode poisson: noise that later rounds take back must "
                "not change its size in between"
            )


@dataclass(frozen=True)
class LedgerLine:
    """What has been spent after a round."""

    round: int
    mode: str
    epsilon: float
    delta: float
    noise_multiplier: float
    clip_norm: float
    """Of this round."""
    sampling_rate: float | None
    """In mode poisson."""
    min_separation: int | None
    """In mode ftrl."""
    epsilon_at_a_million: float
    """With the same noise on the mean in a fleet of a million; see `Accountant.imagined`."""
    cohort_at_a_million: int
    """Reports a round that this takes."""

    def describe(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Accountant:
    """How one run spends its privacy; a pure function of the rounds done, so that it has no state to save."""

    config: PrivacyConfig
    population: int
    """Phones that may be asked."""
    cohort: float
    """Reports by which sums are divided: in mode poisson the phones expected to be asked, in mode ftrl the
    report goal."""
    separation: int = 1
    """Least difference of the numbers of two rounds in which a phone takes part; of use to mode ftrl only."""

    def __post_init__(self) -> None:
        if self.config.mode == "none":
            raise ValueError("a run without differential privacy has nothing to account for")
        if not self.config.noise_multiplier:
            raise ValueError("the noise multiplier is not known yet; see `accountant_of`")
        if not 0 < self.cohort <= self.population:
            raise ValueError(f"a cohort of {self.cohort} cannot come from {self.population} phones")
        if self.separation < 1:
            raise ValueError(f"a minimum separation must be at least 1, not {self.separation}")

    @property
    def sampling_rate(self) -> float:
        """Chance of a phone to be asked in a round of mode poisson."""
        return self.cohort / self.population

    @property
    def vote_noise(self) -> float:
        """Standard deviation of the noise on the sum of votes."""
        return self.config.vote_noise * self.cohort

    @property
    def sum_noise_multiplier(self) -> float:
        """Standard deviation of the noise drawn for the sum of updates, over the clip; for `noise.noised`."""
        if self.config.clip_quantile:
            return sum_multiplier(self.config.noise_multiplier, self.vote_noise)
        return self.config.noise_multiplier

    def noise_weights(self, num_covered: int = 1) -> tuple[float, ...]:
        """What a release takes of the draws of its round and of earlier ones; for `noise.noised`.

        Args:
            num_covered: 1 and the abandoned rounds just before, in mode ftrl; see `correlation.weights`.
        """
        return weights(self.config.noise_window, num_covered) if self.config.mode == "ftrl" else (1.0,)

    def epsilon(self, num_rounds: int) -> float:
        """Spent after this many rounds."""
        if num_rounds == 0:
            return 0.0
        config = self.config
        if config.mode == "poisson":
            return poisson_epsilon(config.noise_multiplier, self.sampling_rate, num_rounds, config.delta)
        from dp_accounting import get_epsilon_gaussian

        moved = sensitivity(config.noise_window, num_rounds, self.separation)
        with np.errstate(divide="ignore"):  # it takes the logarithm of a probability that may round to 0
            return float(get_epsilon_gaussian(config.noise_multiplier / moved, config.delta))

    def fits(self, num_rounds: int) -> bool:
        """Whether the budget allows so many rounds."""
        return not self.config.epsilon or self.epsilon(num_rounds) <= self.config.epsilon

    def imagined(self) -> Accountant:
        """The same run in a fleet of a million phones.

        The cohort grows with the fleet, so that a phone is asked as often as here (same rate, separation and
        rounds), and the noise multiplier grows by the same factor: the noise on the mean of a round,
        multiplier times clip over cohort, stays as it is, and with it what is learnt. Delta stays as well.
        """
        factor = EXTRAPOLATED / self.population
        larger = replace(self.config, noise_multiplier=self.config.noise_multiplier * factor)
        return Accountant(larger, EXTRAPOLATED, self.sampling_rate * EXTRAPOLATED, self.separation)

    def line(self, num_rounds: int, clip_norm: float) -> LedgerLine:
        """The ledger's line after a round that used this clip."""
        is_poisson = self.config.mode == "poisson"
        imagined = self.imagined()
        return LedgerLine(
            round=num_rounds,
            mode=self.config.mode,
            epsilon=self.epsilon(num_rounds),
            delta=self.config.delta,
            noise_multiplier=self.config.noise_multiplier,
            clip_norm=clip_norm,
            sampling_rate=self.sampling_rate if is_poisson else None,
            min_separation=None if is_poisson else self.separation,
            epsilon_at_a_million=imagined.epsilon(num_rounds),
            cohort_at_a_million=round(imagined.cohort),
        )


def refuse_large_delta(name: str, delta: float, population: int) -> None:
    """ValueError for a delta, the setting `name`, at which one phone of so many might be given away whole."""
    if delta > 1 / population:
        raise ValueError(
            f"{name} {delta:g} would let a whole phone of {population} leak; set it well below "
            f"{1 / population:.1g}"
        )


def accountant_of(
    config: PrivacyConfig, population: int, cohort: float, separation: int, num_rounds: int
) -> Accountant:
    """The accountant of a run; a noise multiplier of 0 becomes the least that keeps the budget to the end.

    Raises:
        ValueError: the settings do not go together with the fleet.
    """
    refuse_large_delta("privacy.delta", config.delta, population)
    if config.noise_multiplier == 0 and config.mode == "poisson":
        found = poisson_multiplier(config.epsilon, cohort / population, num_rounds, config.delta)
        config = replace(config, noise_multiplier=found)
    elif config.noise_multiplier == 0 and config.mode == "ftrl":
        from dp_accounting import get_sigma_gaussian

        found = sensitivity(config.noise_window, num_rounds, separation)
        with np.errstate(divide="ignore"):
            found *= get_sigma_gaussian(config.epsilon, config.delta)
        # Its root finder may stop this side of the root.
        config = replace(config, noise_multiplier=found * (1 + 1e-6))
    least = config.noise_multiplier / (2 * cohort)  # see `clipping.sum_multiplier`
    if config.clip_quantile and config.vote_noise <= least:
        raise ValueError(
            f"privacy.vote_noise {config.vote_noise:g} hides too little of {cohort:g} votes at a noise "
            f"multiplier of {config.noise_multiplier:.3g}; set it above {least:.3g}, ask more phones, or set "
            "privacy.clip_quantile to 0"
        )
    return Accountant(config, population, cohort, separation)


@functools.lru_cache(maxsize=4096)
def poisson_epsilon(noise_multiplier: float, rate: float, num_rounds: int, delta: float) -> float:
    """Epsilon of so many Gaussian sums over Poisson samples; never below the truth."""
    composed = _one_round(noise_multiplier, rate).self_compose(num_rounds)
    return float(composed.get_epsilon_for_delta(delta))


def poisson_multiplier(epsilon: float, rate: float, num_rounds: int, delta: float) -> float:
    """The least noise multiplier from 1/4 up, to one part in a thousand, that keeps `epsilon` to the end.

    Less than 1/4 is no privacy worth the name, and takes long to account for.

    Raises:
        ValueError: none below 1024 does.
    """
    high = 1.0
    while poisson_epsilon(high, rate, num_rounds, delta) > epsilon:
        high *= 2
        if high > 1024:
            raise ValueError(f"no noise keeps epsilon {epsilon:g} over {num_rounds} rounds")
    while poisson_epsilon(high / 2, rate, num_rounds, delta) <= epsilon:
        high /= 2
        if high == 1 / 4:
            return high
    low = high / 2
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        if poisson_epsilon(middle, rate, num_rounds, delta) <= epsilon:
            high = middle
        else:
            low = middle
    return high


@functools.lru_cache(maxsize=4)
def _one_round(noise_multiplier: float, rate: float) -> Any:
    """The privacy loss distribution of a round, on a grid fine enough for what it loses.

    A round's loss is about rate / multiplier. A grid of a tenth of it, and of 1e-3 at most, is right to 1 %
    after hundreds of rounds (1e-3 for everything would make 0.015 of the 0.0039 of a fleet of a million). But
    the grid has 200,000 points at most, which take a quarter of a second; where they are too few, epsilon
    comes out larger.
    """
    from dp_accounting.pld import privacy_loss_distribution

    reach = 8 / noise_multiplier + 0.5 / noise_multiplier**2
    interval = max(min(rate / noise_multiplier / 10, 1e-3), reach / 200_000)
    return privacy_loss_distribution.from_gaussian_mechanism(
        noise_multiplier, sampling_prob=rate, value_discretization_interval=interval
    )
