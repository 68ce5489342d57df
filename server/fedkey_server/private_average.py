"""The average of a private run: what leaves the server after a round, and what it cost.

In: the sum of a round's clipped updates. Out: an average with noise, the next round's clip, a line of the
ledger. Next stop: `fedkey_server.strategy`.

Clipping, noise and accounting each have their module; this one keeps them in step over the rounds of a run.
All that a run must remember is the clip and how many rounds were abandoned since the last release: noise is a
function of the key and the round, and the accountant one of the number of rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fedkey.errors import UserError
from fedkey_server import checkpoint, noise
from fedkey_server.accountant import Accountant, LedgerLine, accountant_of
from fedkey_server.clipping import ClipState, follow
from fedkey_server.rounds import RoundsConfig


@dataclass
class PrivateAverage:
    """How a run's sums become averages."""

    accountant: Accountant
    key: bytes
    clip: ClipState
    num_abandoned: int = 0
    """Rounds since the last release that released nothing."""

    def cohort(self, round_number: int) -> list[int]:
        """The phones of a round in mode poisson."""
        accountant = self.accountant
        return noise.poisson_cohort(self.key, round_number, accountant.population, accountant.sampling_rate)

    def release(self, total: Mapping[str, Tensor], votes: float, round_number: int) -> dict[str, Tensor]:
        """The round's average: sum and noise over the expected cohort, whoever came.

        Args:
            total: sum of updates clipped to `clip.norm`.
            votes: sum of `Clipped.vote`.
        """
        accountant, config = self.accountant, self.accountant.config
        noised = noise.noised(
            total,
            self.key,
            round_number,
            self.clip.norm,
            accountant.sum_noise_multiplier,
            accountant.noise_weights(1 + self.num_abandoned),
        )
        self.num_abandoned = 0
        if config.clip_quantile:
            votes = noise.noised_votes(votes, self.key, round_number, accountant.vote_noise)
            self.clip = follow(self.clip, votes, accountant.cohort, config.clip_quantile, config.clip_rate)
        return {name: (tensor / accountant.cohort).float() for name, tensor in noised.items()}

    def abandon(self) -> None:
        """Nothing leaves the server after this round."""
        self.num_abandoned += 1

    def line(self, round_number: int, clip_norm: float) -> LedgerLine:
        """What has been spent after a round that had this clip."""
        return self.accountant.line(round_number, clip_norm)

    def counters(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "clip": self.clip.norm,
            "num_abandoned": self.num_abandoned,
            "key": noise.fingerprint(self.key),
        }


def private_average(
    accountant: Accountant,
    rounds: RoundsConfig,
    run: Path,
    saved: Mapping[str, Any] | None,
    *,
    is_over: bool = False,
) -> PrivateAverage:
    """That of a new run, with a fresh key, or of one that goes on.

    Args:
        rounds: its `update_norm` is the first round's clip.
        run: where the key is.
        saved: `PrivateAverage.counters` of the checkpoint, if there is one.
        is_over: whether no round is left, which needs no key; it may be gone.

    Raises:
        UserError: the key is missing, is another one than the checkpoint's, or is not kept secret.
    """
    path = run / checkpoint.NOISE_KEY
    if is_over and saved is not None:
        return PrivateAverage(accountant, b"", ClipState(saved["clip"]), saved["num_abandoned"])
    if saved is None:
        # A key without a checkpoint is that of a run killed in its first round: nothing was released.
        key = noise.read_key(path) if path.exists() else noise.make_key(path)
        return PrivateAverage(accountant, key, ClipState(rounds.update_norm))
    key = noise.read_key(path)
    if noise.fingerprint(key) != saved["key"]:
        raise UserError(f"{path} is not the noise key that this run began with; put that one back.")
    return PrivateAverage(accountant, key, ClipState(saved["clip"]), saved["num_abandoned"])


def accountant_for(config: Any, num_phones: int, separation: int = 1) -> Accountant | None:
    """The accountant of a run's configuration; None if the run promises nothing.

    Raises:
        UserError: the promise cannot be kept with these numbers.
    """
    if config.privacy.mode == "none":
        return None
    rounds = config.rounds
    try:
        return accountant_of(
            config.privacy,
            num_phones,
            min(rounds.phones_per_round, num_phones),
            separation,
            rounds.num_rounds,
        )
    except ValueError as error:
        sentence = str(error)
        if not sentence.startswith("privacy."):  # a setting keeps its spelling
            sentence = sentence[0].upper() + sentence[1:]
        raise UserError(f"{sentence}.") from error
