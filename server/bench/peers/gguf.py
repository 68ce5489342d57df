"""Reads GGUF, the file format of llama.cpp: what a model is, its vocabulary, and its weights made whole.

In: a file. Out: its metadata and float32 arrays. Next stop: `peers.smollm`.

A file is a magic number, a version, two counts, the metadata as (name, type, value), the tensors as (name,
sizes with the fastest first, type, place), and then the tensors' bytes. Of the many ways to hold weights
those are read that the one file needs which is read here, and their siblings: blocks of 32 weights with a
scale each, and with or without a least value. A weight is scale * number (+ least value).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkey.errors import UserError

Floats = npt.NDArray[np.float32]

BLOCK = 32
"""Weights that share a scale."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class Gguf:
    """An opened file.

    Attributes:
        metadata: name -> number, string, or a list of these.
    """

    def __init__(self, path: Path) -> None:
        """Reads everything but the weights; `UserError` if it is no such file."""
        self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
        self._place = 0
        magic, version, num_tensors, num_metadata = self._take("4sIQQ")
        if magic != b"GGUF" or version not in (2, 3):
            raise UserError(f"{path} is no GGUF file of version 2 or 3.")
        self.metadata: dict[str, Any] = {}
        for _ in range(num_metadata):
            name = self._string()
            self.metadata[name] = self._value(self._take("I")[0])
        self._tensors: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for _ in range(num_tensors):
            name, (num_sizes,) = self._string(), self._take("I")
            sizes = self._take(f"{num_sizes}Q")
            kind, place = self._take("IQ")
            self._tensors[name] = sizes[::-1], kind, place
        align = int(self.metadata.get("general.alignment", 32))
        self._start = -(-self._place // align) * align

    def tensor(self, name: str) -> Floats:
        """The weights of a tensor, the rows of a matrix first."""
        shape, kind, place = self._tensors[name]
        if kind not in DEQUANTISERS:
            raise UserError(f"The tensor {name} is of kind {kind}, which is not read here.")
        block_bytes, block_size, make = DEQUANTISERS[kind]
        start = self._start + place
        size = math.prod(shape) // block_size * block_bytes
        blocks = np.asarray(self._bytes[start : start + size]).reshape(-1, block_bytes)
        return make(blocks).reshape(shape)

    def _take(self, kinds: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{kinds}", self._bytes, self._place)
        self._place += struct.calcsize(f"<{kinds}")
        return values

    def _string(self) -> str:
        (length,) = self._take("Q")
        self._place += length
        return bytes(self._bytes[self._place - length : self._place]).decode("utf-8", errors="replace")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            of, count = self._take("IQ")
            return [self._value(of) for _ in range(count)]
        return self._take(_SCALARS[kind])[0]


def _halves(blocks: npt.NDArray[np.uint8], start: int) -> Floats:
    """The half-precision number at a place of each block, [B, 1]."""
    halves: Floats = np.ascontiguousarray(blocks[:, start : start + 2]).view(np.float16).astype(np.float32)
    return halves


def _nibbles(packed: npt.NDArray[np.uint8]) -> Floats:
    """The lower halves of 16 bytes are a block's first weights, the upper its last."""
    nibbles: Floats = np.concatenate((packed & 15, packed >> 4), axis=1).astype(np.float32)
    return nibbles


def _f32(blocks: npt.NDArray[np.uint8]) -> Floats:
    return np.ascontiguousarray(blocks).view(np.float32)


def _q4_0(blocks: npt.NDArray[np.uint8]) -> Floats:
    """A half for the scale, 16 bytes of numbers from -8."""
    return _halves(blocks, 0) * (_nibbles(blocks[:, 2:]) - 8)


def _q4_1(blocks: npt.NDArray[np.uint8]) -> Floats:
    """A half for the scale, one for the least value, 16 bytes of numbers from 0."""
    return _halves(blocks, 0) * _nibbles(blocks[:, 4:]) + _halves(blocks, 2)


def _q8_0(blocks: npt.NDArray[np.uint8]) -> Floats:
    """A half for the scale, 32 signed bytes."""
    return _halves(blocks, 0) * np.ascontiguousarray(blocks[:, 2:]).view(np.int8)


Dequantiser = Callable[[npt.NDArray[np.uint8]], Floats]

DEQUANTISERS: dict[int, tuple[int, int, Dequantiser]] = {
    0: (4, 1, _f32),
    2: (18, BLOCK, _q4_0),
    3: (20, BLOCK, _q4_1),
    8: (34, BLOCK, _q8_0),
}
"""The format's number of a kind -> bytes of a block, weights in it, what makes them whole."""
