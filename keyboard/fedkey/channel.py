"""How likely somebody writes a word wrongly in a certain way: the noisy channel of spelling.

In: what was typed, and words that may have been meant. Out: what each would have cost, letter by letter. Next
stop: `fedkey.corrections`.

The beam of `fedkey.candidates` knows what thumbs do and gives every other mistake one price. People who do
not know
how a word is spelled make some mistakes far more often than others: `e` for `a`, one `s` for two, `ie` for
`ei`. Here each has a price of its own, for a letter in place of another, one left out or put in after a
certain letter, and two swapped (Kernighan, Church and Gale 1990, with these four tables). `fedkey-export
calibrate` counts them in a list of real misspellings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fedkey.number_tables import number_table

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LETTERS = "abcdefghijklmnopqrstuvwxyz'"
OTHER, BORDER = len(LETTERS), len(LETTERS) + 1
"""Any other character; what stands before the first letter."""
SIZE = len(LETTERS) + 2

_CODES: Mapping[str, int] = {letter: code for code, letter in enumerate(LETTERS)}

TABLES = ("substituted", "omitted", "inserted", "transposed")
MAX_COST = 100.0


def codes(word: str) -> list[int]:
    """The numbers of a word's letters, whatever their case."""
    return [_CODES.get(letter, OTHER) for letter in word.lower()]


@dataclass(frozen=True)
class SpellingChannel:
    """The costs of mistakes in nats, each table [SIZE, SIZE] as rows of numbers."""

    substituted: Sequence[Sequence[float]]
    """[meant, typed]; the diagonal is what it costs to write a letter right."""
    omitted: Sequence[Sequence[float]]
    """[letter before, letter left out]."""
    inserted: Sequence[Sequence[float]]
    """[letter before, letter put in]."""
    transposed: Sequence[Sequence[float]]
    """[first letter meant, second letter meant], typed the other way round."""

    def __post_init__(self) -> None:
        for name in TABLES:
            table = number_table(name, getattr(self, name))
            if table.shape != (SIZE, SIZE) or not np.all((table >= 0) & (table <= MAX_COST)):
                raise ValueError(f"{name} must hold {SIZE} rows of {SIZE} numbers from 0 to {MAX_COST:g}")

    @cached_property
    def _arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        substituted, omitted, inserted, transposed = (
            number_table(name, getattr(self, name)) for name in TABLES
        )
        return substituted, omitted, inserted, transposed

    def costs(self, typed: str, meant: Sequence[str]) -> Floats:
        """Minus the log of the probability of the likeliest way to write each of C words as `typed`, [C].

        The recurrence of optimal string alignment, column by column over the letters typed, for all words at
        once. Within a column letters left out lead from one row to the next, which is a running minimum once
        their costs so far are taken off.
        """
        if not meant:
            return np.zeros(0)
        substituted, omitted, inserted, transposed = self._arrays
        words = [codes(word) for word in meant]
        longest = max(map(len, words))
        letters = np.full((len(words), longest), OTHER, dtype=np.int64)
        for row, word in zip(letters, words, strict=True):
            row[: len(word)] = word
        before = np.concatenate([np.full((len(words), 1), BORDER), letters], axis=1)  # [C, L + 1]
        left_out = np.zeros((len(words), longest + 1))
        left_out[:, 1:] = np.cumsum(omitted[before[:, :-1], letters], axis=1)
        swapped = transposed[letters[:, :-1], letters[:, 1:]]
        column, previous, last = left_out, left_out, OTHER
        for number, letter in enumerate(codes(typed)):
            reached = column + inserted[before, letter]
            reached[:, 1:] = np.minimum(reached[:, 1:], column[:, :-1] + substituted[letters, letter])
            if number and longest > 1:
                fits = (letters[:, :-1] == letter) & (letters[:, 1:] == last)
                crossed = np.where(fits, previous[:, :-2] + swapped, np.inf)
                reached[:, 2:] = np.minimum(reached[:, 2:], crossed)
            previous, last = column, letter
            column = left_out + np.minimum.accumulate(reached - left_out, axis=1)
        ends = np.array([len(word) for word in words])
        costs: Floats = column[np.arange(len(words)), ends]
        return costs
