"""Clipped updates as integers of a ring in which sums of masked vectors are exact.

In: one phone's update and the sums it reports. Out: 32-bit words that may be masked and added; from their
total, the sum of the updates. Next stop: `fedkey_server.shamir`.

The ring is that of the integers modulo 2^32: a masked update is as large as the plain one in float32, and
there is room to spare. With 1,000 phones a step is between 2^-21 and 2^-20 of the clip norm; a typical
coordinate of a clipped update with a million of them is 2^-10 of it. 2^64 would double what every phone sends
for precision nobody sees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
Floats = NDArray[np.float64]

LARGEST_COHORT = 2**16
"""With more, a step would be coarser than a fifth of a typical coordinate of an update with 10M of them."""

CHUNK = 1 << 18
"""Coordinates worked on at a time: 2 MB of float64, so that a phone needs no second copy of its update."""


class Sum(NamedTuple):
    """A number that the server learns only added up over the phones."""

    name: str
    largest: float
    """One phone's share of it is cut off beyond this, on either side of 0."""


class OutOfRange(ValueError):
    """A total that no honest phones can have given."""


@dataclass(frozen=True)
class Quantiser:
    """How one phone's update and sums become words; everyone in a round must use the same.

    No overflow: let n = max_phones and levels = floor((2^31 - 1) / n). A number's step is the smallest power
    of two with largest <= levels * step, so after cutting at `largest` and rounding to the nearest step it is
    an integer from -levels to levels. n of these add up to at most n * levels <= 2^31 - 1 in size, which a
    signed word holds: the total modulo 2^32, read as signed, is the true total. A coordinate of the update is
    at most the clip norm.

    Rounding to the nearest step moves a number by at most step/2, so the decoded sum of r phones is within r
    * step/2 of the plain one. Steps are powers of two: dividing by them is exact, and whole numbers survive
    exactly as long as the step is at most 1 (counts of up to `levels`).
    """

    clip_norm: float
    """Largest L2 norm of an update, S; longer ones are scaled down to it."""
    num_coordinates: int
    """Of the update, without the sums."""
    max_phones: int
    """More may not take part in a round."""
    sums: tuple[Sum, ...] = ()

    def __post_init__(self) -> None:
        if not (self.clip_norm > 0 and math.isfinite(self.clip_norm)):
            raise ValueError(f"clip_norm must be more than 0 and finite, not {self.clip_norm}")
        if self.num_coordinates < 1:
            raise ValueError(f"num_coordinates must be at least 1, not {self.num_coordinates}")
        if not 1 <= self.max_phones <= LARGEST_COHORT:
            raise ValueError(f"max_phones must be from 1 to {LARGEST_COHORT}, not {self.max_phones}")
        if len({name for name, _ in self.sums}) < len(self.sums):
            raise ValueError("two sums have the same name")
        for name, largest in self.sums:
            if not (largest > 0 and math.isfinite(largest)):
                raise ValueError(f"the largest {name} must be more than 0 and finite, not {largest}")

    @property
    def length(self) -> int:
        """Words in an encoded update: its coordinates, then the sums."""
        return self.num_coordinates + len(self.sums)

    @property
    def levels(self) -> int:
        """Steps between 0 and the largest number."""
        return (2**31 - 1) // self.max_phones

    @property
    def step(self) -> float:
        """Between two neighbouring values of a coordinate."""
        return self._step(self.clip_norm)

    @property
    def sensitivity(self) -> float:
        """Largest L2 norm of the update in an encoded vector: what noise for differential privacy must cover.

        Rounding moves each of d coordinates by at most step/2, so the norm grows by at most step/2 * sqrt(d):
        0.15 % of the clip norm with 1,000 phones and 10M coordinates.
        """
        return self.clip_norm + self.step / 2 * math.sqrt(self.num_coordinates)

    def encode(self, update: NDArray[Any], sums: Mapping[str, float]) -> Words:
        """One phone's words.

        Raises:
            ValueError: the update has another length or holds something that is not a number, or sums are
                missing.
        """
        if update.shape != (self.num_coordinates,):
            raise ValueError(f"the update has shape {update.shape}, not ({self.num_coordinates},)")
        if sums.keys() != {name for name, _ in self.sums}:
            raise ValueError("the sums are not the ones that were asked for")
        norm = math.sqrt(sum(float(np.square(part, dtype=np.float64).sum()) for part in _chunks(update)))
        if not all(map(math.isfinite, (norm, *sums.values()))):
            raise ValueError("the update is not finite")
        words = np.empty(self.length, dtype=np.uint32)
        signed = words.view(np.int32)
        scale = min(1.0, self.clip_norm / norm) if norm else 1.0
        for part, out in zip(_chunks(update), _chunks(signed[: self.num_coordinates]), strict=True):
            out[:] = self._rounded(part * np.float64(scale), self.clip_norm)
        for position, (name, largest) in enumerate(self.sums, self.num_coordinates):
            signed[position] = self._rounded(np.float64(sums[name]), largest)
        return words

    def decode(self, total: Words, num_phones: int) -> tuple[Floats, dict[str, float]]:
        """The sum of the updates and the sums of `num_phones` phones.

        Raises:
            OutOfRange: the total is more than honest phones can give, so that one of them was not.
        """
        if total.shape != (self.length,):
            raise ValueError(f"the total has shape {total.shape}, not ({self.length},)")
        signed = total.view(np.int32)
        update = np.multiply(signed[: self.num_coordinates], self.step, dtype=np.float64)
        # Room for the error of adding up a norm; a phone that cheats by so little gains nothing.
        if math.sqrt(float(update @ update)) > num_phones * self.sensitivity * (1 + 1e-9):
            raise OutOfRange("the sum of the updates is longer than honest phones can make it")
        sums: dict[str, float] = {}
        for (name, largest), number in zip(self.sums, signed[self.num_coordinates :].tolist(), strict=True):
            step = self._step(largest)
            if abs(number) > num_phones * math.ceil(largest / step):
                raise OutOfRange(f"the sum of {name} is more than honest phones can make it")
            sums[name] = number * step
        return update, sums

    def _step(self, largest: float) -> float:
        mantissa, exponent = math.frexp(largest / self.levels)  # mantissa * 2^exponent, 0.5 <= mantissa < 1
        return math.ldexp(1.0, exponent - 1 if mantissa == 0.5 else exponent)

    def _rounded(self, numbers: Any, largest: float) -> Any:
        return np.rint(np.clip(numbers, -largest, largest) / self._step(largest))


def _chunks(array: NDArray[Any]) -> list[NDArray[Any]]:
    return [array[start : start + CHUNK] for start in range(0, len(array), CHUNK)]
