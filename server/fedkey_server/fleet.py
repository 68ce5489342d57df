"""A fleet of phones as they are: asleep half of the day, slow, and gone in the middle of a round.

In: what kind of phones, the simulated clock, who took part of late. Out: for every round who is asked, who
reports in which order, who drops out and who is late, and what it costs in seconds and bytes. Next stop:
`fedkey_server.client_app`.

After the account of a production system by Bonawitz et al. (2019, 1902.01046). A phone is eligible while it
is idle, charging and on an unmetered network: mostly at night, so that four times as many are there at the
best hour as at the worst. A round asks 1.3 times as many as it needs, because 6 to 10 % drop out, and takes
what comes until the report goal or the deadline; who is late is sent home and has worked for nothing. With
fewer than the minimum of reports the round is abandoned. A phone whose report was used rests for a while.

A fleet has to be large enough for that: with the default availability 8 % of the phones are there at the
worst hour, so that a goal of 50, asked with 1.3 times as many, wants 800 phones, and resting phones come on
top. Where they are too few, a round waits, makes do with fewer, or is abandoned.

Nothing here trains. The simulation says which phones report, and only these need to be trained at all.
Everything is a pure function of the seed, the round and a small state, so that a resumed run meets the same
phones. The fleet's dice are simulated nature and no secret: numpy's generator will do.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

REASONS = ("in use", "unplugged", "off the network")
"""Why phones drop out: each ends one of the three conditions under which they work."""


class Dice(enum.IntEnum):
    """What a generator is seeded for, so that no two draws share one."""

    PHONES = 1
    DAYS = 2
    ROUNDS = 3


@dataclass(frozen=True)
class FleetConfig:
    """What the simulated phones are like, and how rounds cope with it."""

    enabled: bool = False
    """Otherwise every phone is there at any hour, answers at once and never drops out."""
    over_selection: float = 1.3
    """Phones asked for each report that is needed."""
    deadline: float = 600.0
    """Simulated seconds after which a round takes no more reports."""
    selection_seconds: float = 600.0
    """Simulated seconds that a round waits when too few phones are there, before it makes do with those that
    are."""
    min_separation: int = 1
    """Least difference of the numbers of two rounds that use reports of one phone; 1 lets it take part
    in every round."""
    availability: float = 0.2
    """Share of phones that are eligible, averaged over a day."""
    daily_swing: float = 4.0
    """Eligible phones of one time zone at the best hour over those at the worst."""
    peak_hour: float = 2.0
    """Local time at which most phones are eligible."""
    first_zone: int = -8
    """Time zones of the phones, in hours from UTC, from this one on."""
    last_zone: int = -5
    slowest_steps: float = 0.5
    """Training steps a second on the slowest phone."""
    steps_range: float = 100.0
    """The fastest phone's steps a second over the slowest's; all are uniform in the logarithm."""
    slowest_bytes: float = 250_000.0
    """Bytes a second that the slowest connection downloads."""
    bytes_range: float = 20.0
    """The fastest connection over the slowest."""
    upload_share: float = 0.25
    """Upload over download."""
    drop_out_fast: float = 0.06
    """Chance that the fastest phone drops out of a round."""
    drop_out_slow: float = 0.10
    """The same of the slowest."""

    def __post_init__(self) -> None:
        for name in ("over_selection", "daily_swing", "steps_range", "bytes_range", "min_separation"):
            if getattr(self, name) < 1:
                raise ValueError(f"fleet.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("deadline", "availability", "slowest_steps", "slowest_bytes", "upload_share"):
            if getattr(self, name) <= 0:
                raise ValueError(f"fleet.{name} must be more than 0, not {getattr(self, name)}")
        for name in ("selection_seconds", "drop_out_fast"):
            if getattr(self, name) < 0:
                raise ValueError(f"fleet.{name} must not be negative, but it is {getattr(self, name)}")
        if not self.drop_out_fast <= self.drop_out_slow <= 1:
            raise ValueError(
                f"fleet.drop_out_slow must be from drop_out_fast {self.drop_out_fast} to 1, "
                f"not {self.drop_out_slow}"
            )
        if self.availability * (1 + self.amplitude) > 1:
            raise ValueError(
                f"fleet.availability {self.availability} with daily_swing {self.daily_swing} asks for more "
                "than all phones at the best hour; lower one of them"
            )
        if not -12 <= self.first_zone <= self.last_zone <= 14:
            raise ValueError(
                f"fleet.first_zone {self.first_zone} to last_zone {self.last_zone} must be a "
                "range within -12 to 14"
            )

    @property
    def amplitude(self) -> float:
        """Of the daily wave around its mean of 1."""
        return (self.daily_swing - 1) / (self.daily_swing + 1)


@dataclass(frozen=True)
class Fleet:
    """All simulated phones; arrays have one entry for each."""

    config: FleetConfig
    seed: int
    zone: Indices
    """Hours from UTC."""
    train_seconds: Floats
    """What a round's training takes."""
    download_rate: Floats
    """Bytes a second."""
    drop_out: Floats
    """Chance to drop out of a round."""

    def __len__(self) -> int:
        return len(self.zone)


@dataclass(frozen=True)
class FleetState:
    """What the next round depends on; the checkpoint keeps it."""

    seconds: float = 0.0
    """Simulated time since the run began, at midnight UTC."""
    recent: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Round -> phones whose reports it used, for the rounds whose phones may still have to rest."""

    def describe(self) -> dict[str, Any]:
        """Ready for JSON; a few hundred numbers however large the fleet."""
        recent = {str(number): list(phones) for number, phones in self.recent.items()}
        return {"seconds": self.seconds, "recent": recent}

    @classmethod
    def read(cls, saved: Mapping[str, Any]) -> FleetState:
        """The inverse of `describe`."""
        return cls(
            saved["seconds"], {int(number): tuple(phones) for number, phones in saved["recent"].items()}
        )


class DropOut(NamedTuple):
    """A phone that went away in the middle of a round."""

    phone: int
    seconds: float
    """After the round began."""
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What a round came to."""

    num_eligible: int
    """Phones that were there and not resting."""
    asked: tuple[int, ...] = ()
    reported: tuple[int, ...] = ()
    """In the order in which they did."""
    dropped: tuple[DropOut, ...] = ()
    late: tuple[int, ...] = ()
    """Still at work when the round closed."""
    seconds: float = 0.0
    """From looking for phones to closing."""
    bytes_down: int = 0
    bytes_up: int = 0
    client_seconds: float = 0.0
    """That phones worked, loading included."""
    wasted_seconds: float = 0.0
    """Those of them that led to nothing."""
    abandoned: str = ""
    """Why the round changes nothing; empty if it does."""


def make_fleet(config: FleetConfig, num_steps: npt.ArrayLike, seed: int) -> Fleet:
    """Draws the phones.

    Args:
        num_steps: training steps that each phone makes in a round; as many as there are phones.
    """
    steps = np.asarray(num_steps, dtype=np.float64)
    rng = np.random.default_rng((seed, Dice.PHONES))
    zone = rng.integers(config.first_zone, config.last_zone + 1, len(steps))
    speed, network = rng.random(len(steps)), rng.random(len(steps))
    return Fleet(
        config,
        seed,
        zone,
        train_seconds=steps / (config.slowest_steps * config.steps_range**speed),
        download_rate=config.slowest_bytes * config.bytes_range**network,
        drop_out=config.drop_out_slow + (config.drop_out_fast - config.drop_out_slow) * speed,
    )


def eligible(fleet: Fleet, seconds: float) -> Flags:
    """Which phones are idle, charging and unmetered at a moment.

    A wave over the local day says how many are; each day each phone draws how high the wave must stand for
    it. So it is eligible in one stretch around the peak, long or short or not at all, and not by a coin an
    hour.
    """
    config = fleet.config
    hours = seconds / 3600 + fleet.zone - config.peak_hour  # since the first peak, local time
    share = config.availability * (1 + config.amplitude * np.cos(2 * np.pi * hours / 24))
    # A day lasts from trough to trough, so that midnight cuts no night in two. The first one may have begun
    # before the run.
    days = np.floor((hours + 12) / 24).astype(np.int64) + 2
    threshold = np.empty(len(fleet))
    for day in np.unique(days):
        drawn = np.random.default_rng((fleet.seed, Dice.DAYS, int(day))).random(len(fleet))
        threshold[days == day] = drawn[days == day]
    return threshold < share


def play(
    fleet: Fleet,
    state: FleetState,
    round_number: int,
    goal: int,
    min_reports: int,
    bytes_down: int,
    bytes_up: int,
) -> tuple[Outcome, FleetState]:
    """Plays a round: who was asked, who reported, dropped out or came late, and what it took; and the state
    after it.

    Args:
        goal: reports at which the round closes.
        min_reports: with fewer it is abandoned, and no report of it is used.
        bytes_down: that a phone loads before it trains.
        bytes_up: that it loads afterwards.
    """
    config = fleet.config
    resting = [
        phone
        for number, phones in state.recent.items()
        if round_number - number < config.min_separation
        for phone in phones
    ]
    wanted = math.ceil(config.over_selection * goal)
    waited = 0.0
    there = _at_hand(fleet, state.seconds, resting)
    if len(there) < wanted:
        waited = config.selection_seconds
        there = _at_hand(fleet, state.seconds + waited, resting)
    if len(there) < min_reports:
        outcome = Outcome(len(there), seconds=waited, abandoned="too few phones")
        return outcome, _after(state, outcome, round_number, config)

    rng = np.random.default_rng((fleet.seed, Dice.ROUNDS, round_number))
    asked = rng.permutation(there)[:wanted]
    down = bytes_down / fleet.download_rate[asked]
    up = bytes_up / (fleet.download_rate[asked] * config.upload_share)
    needs = down + fleet.train_seconds[asked] + up
    is_dropped = rng.random(len(asked)) < fleet.drop_out[asked]
    leaves = np.where(is_dropped, rng.random(len(asked)) * needs, np.inf)
    reasons = rng.integers(len(REASONS), size=len(asked))

    order = np.argsort(np.where(is_dropped, np.inf, needs), kind="stable")
    in_time = order[: np.count_nonzero(~is_dropped & (needs <= config.deadline))]
    reported = in_time[:goal]
    closes = float(needs[reported[-1]]) if len(reported) == goal else config.deadline
    gone = np.flatnonzero(leaves < closes)
    gone = gone[np.argsort(leaves[gone], kind="stable")]
    is_late = np.ones(len(asked), dtype=np.bool_)
    is_late[reported] = is_late[gone] = False
    is_abandoned = len(reported) < min_reports

    worked = np.minimum(np.minimum(needs, leaves), closes)
    loaded_down = bytes_down * np.minimum(1, worked / np.maximum(down, 1e-9))
    loaded_up = bytes_up * np.clip((worked - (needs - up)) / np.maximum(up, 1e-9), 0, 1)
    outcome = Outcome(
        num_eligible=len(there),
        asked=tuple(asked.tolist()),
        reported=tuple(asked[reported].tolist()),
        dropped=tuple(DropOut(int(asked[i]), float(leaves[i]), REASONS[reasons[i]]) for i in gone),
        late=tuple(asked[is_late].tolist()),
        seconds=waited + closes,
        bytes_down=round(loaded_down.sum()),
        bytes_up=round(loaded_up.sum()),
        client_seconds=float(worked.sum()),
        wasted_seconds=float(worked.sum() if is_abandoned else np.delete(worked, reported).sum()),
        abandoned="too few reports" if is_abandoned else "",
    )
    return outcome, _after(state, outcome, round_number, config)


def _at_hand(fleet: Fleet, seconds: float, resting: list[int]) -> Indices:
    is_there = eligible(fleet, seconds)
    is_there[resting] = False
    return np.flatnonzero(is_there)


def _after(state: FleetState, outcome: Outcome, round_number: int, config: FleetConfig) -> FleetState:
    recent = {
        number: phones
        for number, phones in state.recent.items()
        if round_number + 1 - number < config.min_separation
    }
    if not outcome.abandoned and config.min_separation > 1:
        recent[round_number] = outcome.reported
    return FleetState(state.seconds + outcome.seconds, recent)
