"""Where words begin and end among pieces.

In: the tokenizer, packed rows. Out: which unit of text each piece belongs to. Next stop:
`fedkey_server.objectives.masked`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.pieces import END_ID, PAD_ID, START_ID, Pieces
from fedkey.text import PLACEHOLDERS
from fedkey_server.batches import PackedRows
from fedkey_server.model import IGNORE


class UnitSigns(NamedTuple):
    """What the pieces of a tokenizer say of units. A `FLIP` is no unit here: it belongs to the one behind."""

    closes: npt.NDArray[np.bool_]
    """Per id: whether a unit is complete after it."""
    has_letter: npt.NDArray[np.bool_]
    """Per id: whether a unit that holds it is a word. Bytes are of emoji more often than of letters."""


@lru_cache(maxsize=2)
def unit_signs(pieces: Pieces) -> UnitSigns:
    """Those of a tokenizer."""
    closes = pieces.ends_unit.copy()
    closes[pieces.encode_units(PLACEHOLDERS)] = True
    texts = [pieces.piece(i) for i in range(pieces.vocab_size)]
    has_letter = [any(map(str.isalpha, text)) and not text.startswith("<") for text in texts]
    return UnitSigns(closes, np.array(has_letter, dtype=np.bool_))


class RowUnits(NamedTuple):
    """The units of packed rows, counted through row by row."""

    numbers: npt.NDArray[np.int64]
    """[R, T] number of the unit that each piece belongs to; message start, end and padding are units, too."""
    graded: npt.NDArray[np.bool_]
    """[U] whether all pieces of a unit are text that is to be predicted."""


def units_in(rows: PackedRows, pieces: Pieces) -> RowUnits:
    """The units of rows that were packed for the causal objective."""
    closes = unit_signs(pieces).closes.copy()
    closes[[PAD_ID, START_ID, END_ID]] = True
    begins = np.ones(rows.tokens.shape, dtype=np.bool_)
    is_same = rows.document_ids[:, 1:] == rows.document_ids[:, :-1]
    begins[:, 1:] = closes[rows.tokens[:, :-1]] | ~is_same
    numbers = np.cumsum(begins).reshape(begins.shape) - 1
    is_text = np.zeros(rows.tokens.shape, dtype=np.bool_)
    is_text[:, 1:] = rows.targets[:, :-1] != IGNORE  # of a row that is graded from the left
    is_text &= rows.tokens != END_ID
    return RowUnits(numbers, np.logical_and.reduceat(is_text.ravel(), np.flatnonzero(begins)))
