"""No phone counts for more than its share: updates are clipped to a norm, which can follow a quantile.

In: one phone's update, and how many of a round's updates were short enough. Out: an update that is no longer
than the clip, and the next round's clip. Next stop: `fedkey_server.noise`.

The norm is that of the whole update, all tensors together (McMahan et al. 2018, 1710.06963). Which norm is
right is not known beforehand and changes while the model learns, so the clip may follow a quantile of the
norms (Andrew et al. 2021, 1905.03871): every phone also says by one bit whether its update was short enough,
and the clip moves by a factor towards the norm that the wanted share of phones stays within. The bits are
private too. They get noise of their own, and the sum of updates so much more that both together cost what one
sum at the configured noise multiplier would have cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

ROUNDING = 2.0**-23
"""A clipped update is shortened by this share more, so that rounding to float32, which is off by at most half
of it, cannot make it longer than the clip."""


ROUGHNESS = 1e-4
"""By what share `rough_norm_of` may be off."""


class Clipped(NamedTuple):
    """A phone's update as it may be added up."""

    update: dict[str, Tensor]
    is_within: bool
    """Whether it was short enough as it came."""

    @property
    def vote(self) -> float:
        """What the phone says of its norm: 1/2 or -1/2, so that one phone moves the sum of votes by 1/2."""
        return 0.5 if self.is_within else -0.5


def clip(update: Mapping[str, Tensor], clip_norm: float) -> Clipped:
    """Shortens an update to a norm of at most `clip_norm`.

    Raises:
        ValueError: a number in it is infinite or none at all, which no factor could mend.
    """
    norm = norm_of(update)
    if not math.isfinite(norm):
        raise ValueError("the update is not finite")
    if norm <= clip_norm:
        return Clipped(dict(update), True)
    factor = clip_norm / norm * (1 - ROUNDING)
    return Clipped({name: (tensor.double() * factor).float() for name, tensor in update.items()}, False)


def norm_of(update: Mapping[str, Tensor]) -> float:
    """L2 norm over all tensors, computed in float64."""
    norms = [torch.linalg.vector_norm(tensor, dtype=torch.float64) for tensor in update.values()]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0


def rough_norm_of(update: Mapping[str, Tensor]) -> float:
    """The same in float32, right to `ROUGHNESS` and ten times as fast: for the server, which clips nothing
    and only looks whether a phone did. Not finite if a number of the update is not, or is beyond 1e19."""
    norms = [torch.linalg.vector_norm(tensor) for tensor in update.values()]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0


def norm_before_rounding(clip_norm: float, step: float, num_values: int) -> float:
    """The norm to clip to, if each value is then rounded to a multiple of `step` and `clip_norm` must hold.

    Raises:
        ValueError: rounding alone can exceed the clip.
    """
    room = clip_norm - step / 2 * math.sqrt(num_values)
    if room <= 0:
        raise ValueError(f"steps of {step:g} are too coarse to keep {num_values} values within {clip_norm:g}")
    return room


@dataclass(frozen=True)
class ClipState:
    """The clip of the next round; one number for the checkpoint."""

    norm: float

    def __post_init__(self) -> None:
        if not 0 < self.norm < math.inf:
            raise ValueError(f"a clip must be more than 0 and finite, not {self.norm}")


def follow(state: ClipState, votes: float, expected: float, quantile: float, rate: float) -> ClipState:
    """Moves the clip by a factor of at most e**rate (noise aside) towards the quantile.

    Args:
        votes: noised sum of the round's `Clipped.vote`.
        expected: phones expected to report. As for the updates, it is not the number that did, which one
            phone could change; when fewer report, the share reads nearer to a half than it was.
        quantile: share of updates that shall be short enough.
        rate: how fast; the paper's is 0.2.
    """
    share = 0.5 + votes / expected
    return ClipState(state.norm * math.exp(-rate * (share - quantile)))


def sum_multiplier(noise_multiplier: float, vote_noise: float) -> float:
    """The noise multiplier of the sum of updates, so that it and the votes together cost `noise_multiplier`.

    Two Gaussian sums over the same phones cost what one costs whose inverse square multiplier is the sum of
    theirs. That of the votes is `vote_noise` over their sensitivity of 1/2.

    Args:
        noise_multiplier: what the round shall cost.
        vote_noise: standard deviation of the noise on the sum of votes.

    Raises:
        ValueError: the votes alone cost more.
    """
    if 2 * vote_noise <= noise_multiplier:
        raise ValueError(
            f"noise of {vote_noise:g} on the votes is too little for a noise multiplier of "
            f"{noise_multiplier:g}; it must be above {noise_multiplier / 2:g}"
        )
    if noise_multiplier == 0:
        return 0.0
    return (noise_multiplier**-2 - (2 * vote_noise) ** -2) ** -0.5
