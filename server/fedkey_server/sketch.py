"""A count-min sketch: how many phones have which keys, in far fewer numbers than there are keys.

In: one phone's keys. Out: a vector of zeros and ones that may be added to those of other phones; from the
total, an estimate of how many phones have any given key. Next stop: `fedkey_server.crowd`.

Cormode and Muthukrishnan (2005): each of a few hash functions sends a key to one cell of its own row, and the
least of a key's cells is the estimate. It is never below the truth, and above it only where in every row
some other phone's key fell into the same cell. So nobody has to say in advance which keys are asked for, and
the sum is linear, as secure aggregation needs it. A phone counts once for a cell, however many of its keys
fall there: that bounds what it can move, see `SketchConfig.norm`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

LARGEST_WIDTH = 1 << 32
MOST_CELLS = 1 << 28
"""A gigabyte of a phone's message, which Flower could just carry, and two of the server's sum."""


@dataclass(frozen=True)
class SketchConfig:
    """The shape of a sketch; everyone who adds to one must use the same."""

    num_hashes: int = 4
    """Rows: a key that nobody has must meet others in all of them to seem to be there."""
    width: int = 3 << 19
    """Cells of each row; with four rows 25 MB, less than an update of the phone preset's model. Where 0.6,
    0.85 and 1.2 keys of phones fell on a cell, 0.5, 2 and 11 % of the pairs found were of fewer phones."""
    most: int = 8192
    """Keys that one phone may add; of more it draws so many."""

    def __post_init__(self) -> None:
        for name in ("num_hashes", "most"):
            if getattr(self, name) < 1:
                raise ValueError(f"sketch.{name} must be at least 1, not {getattr(self, name)}")
        if not 1 <= self.width <= LARGEST_WIDTH:
            raise ValueError(f"sketch.width must be from 1 to {LARGEST_WIDTH:,}, not {self.width}")
        if self.num_cells > MOST_CELLS:
            raise ValueError(
                f"sketch.num_hashes {self.num_hashes} times sketch.width {self.width} must be at most "
                f"{MOST_CELLS:,} cells, not {self.num_cells:,}"
            )

    @property
    def num_cells(self) -> int:
        """Of all rows."""
        return self.num_hashes * self.width

    @property
    def norm(self) -> float:
        """Largest L2 norm of one phone's vector: each key touches one cell a row."""
        return math.sqrt(self.num_hashes * self.most)


def cells(keys: Keys, row: int, config: SketchConfig) -> Integers:
    """Where a row has each key, [N], counted from the row's beginning."""
    mixed = _mixed(keys ^ _mixed(np.array([row + 1], dtype=np.uint64)))
    return ((mixed >> np.uint64(32)) * np.uint64(config.width) >> np.uint64(32)).astype(np.int64)


def sketch(keys: Keys, config: SketchConfig, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """One phone's vector of zeros and ones, [num_cells]; of more than `most` keys a random choice."""
    different = np.unique(keys)
    if len(different) > config.most:
        different = rng.choice(different, config.most, replace=False)
    vector = np.zeros((config.num_hashes, config.width), dtype=np.float32)
    for row in range(config.num_hashes):
        vector[row, cells(different, row, config)] = 1
    return vector.ravel()


def estimates(total: npt.NDArray[Any], keys: Keys, config: SketchConfig) -> npt.NDArray[np.float64]:
    """How many phones have each key, [N]: at least as many as do."""
    rows = total.reshape(config.num_hashes, config.width)
    found: npt.NDArray[np.float64] = np.full(len(keys), np.inf)
    for row in range(config.num_hashes):
        np.minimum(found, rows[row, cells(keys, row, config)], out=found)
    return found


def reaches(total: npt.NDArray[Any], keys: Keys, least: float, config: SketchConfig) -> Mask:
    """Whether each key's estimate is at least `least`, [N]: most fall at the first row, and are not looked
    for in the others."""
    rows = total.reshape(config.num_hashes, config.width)
    left: Integers = np.arange(len(keys))
    for row in range(config.num_hashes):
        left = left[rows[row, cells(keys[left], row, config)] >= least]
    reached = np.zeros(len(keys), dtype=np.bool_)
    reached[left] = True
    return reached


def _mixed(keys: Keys) -> Keys:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): each bit of a key changes half of the result's."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
