"""Documents as long as people's messages, and how they are packed.

In: a distribution of lengths. Out: rows of one tile each. Next stop: `bench.attention`.

The histograms are those of chitchat-dataset 0.9.0, in pieces of the tiny preset's tokenizer (4,096 pieces),
START and END included, as `fedkey-server prepare` laid them out: single messages, and the stretches of
conversation, cut to 128 pieces at message borders, that fedkey trains on. Numbers only; measured with

    python -m bench.lengths DATA/phones.npz
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TILE = 128
SIGMA = 0.7
"""Of the log-normal: as many useful pairs a piece as the project's own estimates assume (13 at mean 15, 25 at
30, 50 at 60); chitchat's messages have 14 at mean 18."""

# Documents of 1, 2, 3, ... pieces.
MESSAGES = (
    0, 0, 3499, 4211, 5028, 5921, 6074, 6214, 6052, 5979, 5875, 5708, 5033, 4892, 4543, 4124, 3873,
    3508, 3194, 3049, 2887, 2591, 2482, 2322, 2060, 1912, 1802, 1696, 1544, 1404, 1357, 1265, 1172,
    1109, 1037, 982, 980, 870, 791, 777, 688, 689, 652, 644, 617, 528, 519, 520, 482, 468, 442, 413,
    359, 309, 297, 253, 220, 206, 163, 126, 115, 96, 109, 80, 57, 47, 30, 30, 30, 20, 22, 23, 17, 6,
    10, 4, 10, 6, 4, 0, 1, 12, 4, 0, 1, 0, 3, 5, 1, 1, 2, 2, 2, 0, 0, 2, 1, 0, 2, 2, 0, 0, 1, 0, 0,
    1, 1, 3, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 1, 9, 1,
)  # fmt: skip
STRETCHES = (
    0, 0, 14, 42, 29, 61, 15, 35, 19, 27, 33, 41, 27, 24, 29, 47, 30, 34, 35, 32, 23, 25, 44, 21,
    29, 28, 26, 44, 39, 36, 34, 18, 21, 24, 31, 14, 16, 31, 20, 26, 18, 25, 31, 19, 24, 32, 19, 23,
    25, 35, 33, 25, 17, 25, 26, 27, 28, 21, 27, 17, 29, 19, 22, 27, 28, 33, 29, 37, 32, 32, 22, 38,
    39, 44, 48, 39, 68, 47, 50, 53, 64, 95, 66, 77, 76, 91, 86, 102, 119, 94, 116, 135, 141, 131,
    141, 172, 181, 188, 178, 240, 229, 249, 270, 319, 246, 283, 358, 343, 348, 433, 390, 437, 471,
    485, 559, 576, 630, 782, 724, 826, 856, 858, 912, 1018, 973, 959, 1054, 981,
)  # fmt: skip


def like_histogram(histogram: Sequence[int], num_tokens: int) -> list[int]:
    """Random lengths of such a distribution, until they hold `num_tokens`."""
    mean = sum(n * length for length, n in enumerate(histogram, 1)) / sum(histogram)
    drawn = torch.multinomial(
        torch.tensor(histogram, dtype=torch.float64), int(2 * num_tokens / mean) + 64, replacement=True
    )
    return _until((drawn + 1).tolist(), num_tokens)


def log_normal(mean: float, num_tokens: int) -> list[int]:
    """Random lengths of this mean, those over a tile cut into tiles and a rest, until they hold
    `num_tokens`."""
    middle = math.log(mean) - SIGMA**2 / 2
    drawn = (torch.randn(int(2 * num_tokens / mean) + 64) * SIGMA + middle).exp().round().clamp(min=1)
    pieces = []
    for length in drawn.int().tolist():
        pieces += [TILE] * (length // TILE) + [length % TILE] * (length % TILE > 0)
    return _until(pieces, num_tokens)


def _until(lengths: Sequence[int], num_tokens: int) -> list[int]:
    total, kept = 0, []
    for length in lengths:
        if total + length > num_tokens:
            break
        total += length
        kept.append(length)
    return kept


class Packed(NamedTuple):
    """Documents in tiles."""

    document_ids_bt: Tensor
    """int32 [rows, TILE] on the CPU; -1 is padding."""
    lengths: list[int]
    """Of the documents, in the order in which they lie."""

    @property
    def fill(self) -> float:
        """Share of positions that hold a document."""
        return sum(self.lengths) / self.document_ids_bt.numel()


def pack(lengths: Sequence[int]) -> Packed:
    """Best fit: from long to short, each into the fullest tile with room for it; tiles in random order."""
    tiles: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(TILE + 1)]
    for length in sorted(lengths, reverse=True):
        room = next((room for room in range(length, TILE + 1) if by_room[room]), None)
        if room is None:
            room = TILE
            by_room[room].append(len(tiles))
            tiles.append([])
        tile = by_room[room].pop()
        tiles[tile].append(length)
        by_room[room - length].append(tile)
    tiles = [tiles[tile] for tile in torch.randperm(len(tiles)).tolist()]
    rows = [torch.arange(len(tile)).repeat_interleave(torch.tensor(tile)).to(torch.int32) for tile in tiles]
    ids = torch.full((len(tiles), TILE), -1, dtype=torch.int32)
    for row, filled in zip(ids, rows, strict=True):
        row[: len(filled)] = filled
    return Packed(ids, [length for tile in tiles for length in tile])


def main(path: str) -> None:
    """Prints both histograms of a prepared file of documents."""
    import numpy as np

    start_id = 1  # of `fedkey.pieces`, which needs the tokenizer's library
    with np.load(path, allow_pickle=False) as arrays:
        ids, offsets = arrays["ids"], arrays["offsets"]
    borders = np.union1d(np.flatnonzero(ids == start_id), offsets)
    for name, found in (("MESSAGES", np.diff(borders)), ("STRETCHES", np.diff(offsets))):
        print(name, "=", tuple(np.bincount(found, minlength=TILE + 1)[1:].tolist()))


if __name__ == "__main__":
    main(sys.argv[1])
