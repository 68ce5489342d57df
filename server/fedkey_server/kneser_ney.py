"""Which words follow which: a Kneser-Ney estimate of n-grams, counted in a text.

In: documents of a prepared data folder, a numbering of words. Out: the n-grams of each length with what each
has of its context's probability. Next stop: `fedkey_export.ngrams`, which puts the most telling of them
beside the model; `server/bench/peers/fourgram.py` measures them as a keyboard of their own.

The estimate is Chen and Goodman's modified, interpolated one (1998): three discounts a length, and below the
longest length an n-gram counts as often as it came after different words, those at a sentence's start as
often as they came.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fedkey.errors import UserError
from fedkey.pieces import END_ID, PAD_ID, START_ID, Pieces
from fedkey.text import FLIP, PLACEHOLDERS, is_word
from fedkey_server.batches import SERVER_TEXT, Documents

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Numbering(Protocol):
    """Words as numbers from 0: `fedkey.ngram.Vocabulary`."""

    unknown: int
    """The number of all words that have none of their own, one more than the largest of those."""
    start: int
    """That of what stands before a sentence, one more again."""

    def number(self, word: str) -> int:
        """Of a word in lower case."""


@dataclass(frozen=True)
class Level:
    """The n-grams of one length, those with the same words before beside one another.

    Attributes:
        contexts: int64 [C], the words before as one number, ascending; 0 where there are none.
        starts: int64 [C + 1]; context i owns the n-grams `starts[i]:starts[i + 1]`.
        words: int64 [N], the last word of each, ascending within a context.
        values: float64 [N], discounted probability of each word after its context, before the share of the
            shorter n-gram is added.
        came: int64 [N], how often each came.
    """

    contexts: Integers
    starts: Integers
    words: Integers
    values: Floats
    came: Integers

    @property
    def owners(self) -> Integers:
        """The place of each n-gram's context, [N]."""
        owners: Integers = np.repeat(np.arange(len(self.contexts)), np.diff(self.starts))
        return owners

    @property
    def left(self) -> Floats:
        """What each context leaves to shorter ones, [C]."""
        left: Floats = 1 - np.add.reduceat(self.values, self.starts[:-1])
        return left

    def kept(self, stays: Mask) -> Level:
        """Only some of the n-grams, and no contexts that nothing is left of."""
        counts = np.bincount(self.owners[stays], minlength=len(self.contexts))
        has_any = counts > 0
        starts = np.append(0, np.cumsum(counts[has_any]))
        return Level(self.contexts[has_any], starts, self.words[stays], self.values[stays], self.came[stays])


class NgramCounts(NamedTuple):
    """N-grams of one length and how often each came."""

    grams: Integers
    """[N], ascending: the words of each as the digits of one number, whose base is `Numbering.start` + 1."""
    counts: Integers
    """[N]."""


# ------------------------------------------------------------------------------------------------- counting


def estimate(
    tokens: Integers, numbering: Numbering, order: int, others: tuple[NgramCounts, ...] = ()
) -> tuple[Level, ...]:
    """Counts a text.

    Args:
        tokens: numbers of words, unknown ones among them, and `numbering.start` wherever a sentence begins.
            A placeholder, which stands before words and is never predicted, is -1.
        numbering: of the lexicon that will be asked.
        order: words of the longest n-gram.
        others: n-grams that were counted elsewhere, those of one word, of two, and so on up to `order`, or
            none. Each must be there without its first word, too. They are added to what the text says of each
            length: a shorter one counts as often as told, besides coming after different words.
    """
    rows = _rows(tokens, numbering, order)
    reach = _reach(rows, numbering.start)
    base = numbering.start + 1
    if base**order > np.iinfo(np.int64).max:
        raise ValueError(f"{base:,} words are too many for n-grams of {order}")
    levels = []
    longer: Integers | None = None
    for length in range(order, 0, -1):
        grams, came = np.unique(_packed(rows[reach >= length], base, length), return_counts=True)
        if others:
            grams, came = _with(NgramCounts(grams, came), others[length - 1])
        counts = came
        if longer is not None:
            counts = np.zeros_like(came)
            if others:
                counts[np.searchsorted(grams, others[length - 1].grams)] += others[length - 1].counts
            inner, different = np.unique(longer % base**length, return_counts=True)
            counts[np.searchsorted(grams, inner)] += different
            outer, often = np.unique(_packed(rows[reach == length], base, length), return_counts=True)
            counts[np.searchsorted(grams, outer)] += often
        levels.append(_level(grams, counts.astype(np.int64), came.astype(np.int64), base))
        longer = grams
    return tuple(reversed(levels))


def _with(ours: NgramCounts, others: NgramCounts) -> NgramCounts:
    """Both counts together."""
    grams = np.union1d(ours.grams, others.grams)
    counts = np.zeros(len(grams), dtype=np.int64)
    for each in (ours, others):
        counts[np.searchsorted(grams, each.grams)] += each.counts
    return NgramCounts(grams, counts)


def events(tokens: Integers, numbering: Numbering, length: int) -> Integers:
    """The n-grams of a text as numbers like `NgramCounts.grams`, each as often as it came."""
    rows = _rows(tokens, numbering, length)
    return _packed(rows[_reach(rows, numbering.start) >= length], numbering.start + 1, length)


def _rows(tokens: Integers, numbering: Numbering, order: int) -> Integers:
    """Every word with those before it in its sentence, [E, order]; what is missing is `numbering.start`."""
    start = numbering.start
    spread = np.concatenate((np.full(order - 1, start), tokens))
    is_event = (tokens >= 0) & (tokens != start)
    columns = [spread[order - 1 :][is_event]]
    ended = np.zeros(len(columns[0]), dtype=np.bool_)
    for back in range(1, order):
        before = spread[order - 1 - back : len(spread) - back][is_event]
        columns.append(np.where(ended, start, np.where(before < 0, numbering.unknown, before)))
        ended |= columns[-1] == start
    return np.stack(columns[::-1], axis=1)


def _reach(rows: Integers, start: int) -> Integers:
    """Words of the longest n-gram that ends with each row: a sentence's first word has one before it."""
    reach: Integers = np.minimum((rows != start).sum(axis=1) + 1, rows.shape[1])
    return reach


def _packed(rows: Integers, base: int, length: int) -> Integers:
    packed = rows[:, -length].copy()
    for column in range(rows.shape[1] - length + 1, rows.shape[1]):
        packed = packed * base + rows[:, column]
    return packed


def _level(grams: Integers, counts: Integers, came: Integers, base: int) -> Level:
    contexts, starts = np.unique(grams // base, return_index=True)
    totals = np.add.reduceat(counts, starts)
    discounted = counts - discounts(counts)[np.minimum(counts, 3)]
    values = discounted / np.repeat(totals, np.diff(np.append(starts, len(grams))))
    return Level(contexts, np.append(starts, len(grams)), grams % base, values, came)


def discounts(counts: Integers) -> Floats:
    """What is taken from counts of 0, 1, 2 and of 3 and more: Chen and Goodman's estimate from how many came
    once, twice, three and four times; half of one where a text is too small for it."""
    n = [int((counts == times).sum()) for times in range(5)]
    if not all(n[1:]):
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n[1] / (n[1] + 2 * n[2])
    estimated = [0.0, *(times - (times + 1) * y * n[times + 1] / n[times] for times in (1, 2, 3))]
    return np.clip(estimated, 0.0, [0.0, 1.0, 2.0, 3.0])


# ------------------------------------------------------------------------------------------------ the text


def read_tokens(data: Path, pieces: Pieces, numbering: Numbering) -> Integers:
    """`tokens_of` of the server's text in a prepared data folder.

    Raises:
        UserError: the folder holds none.
    """
    path = data / SERVER_TEXT
    if not path.is_file():
        raise UserError(f"{data} is no prepared data folder: it holds no {SERVER_TEXT}.")
    return tokens_of(Documents.load(path), pieces, numbering)


def tokens_of(documents: Documents, pieces: Pieces, numbering: Numbering) -> Integers:
    """The words of what a model was trained on, in its order, for `estimate`.

    Only graded pieces count: a partner's message on a phone is not that phone's. A document that stands there
    twice is read once: a model may be shown a text twice, but no n-gram is less rare for it.
    """
    ids, loss = _different(documents)
    special = np.isin(ids, [PAD_ID, START_ID, END_ID])
    is_last = (
        pieces.ends_unit[ids]
        | special
        | np.isin(ids, [pieces.encode_unit(u)[0] for u in (*PLACEHOLDERS, FLIP)])
    )
    ends = np.flatnonzero(is_last)
    begins = np.append(0, ends[:-1] + 1)
    kinds = np.full(len(ends), SKIPPED, dtype=np.int64)
    for length in np.unique(ends - begins + 1).tolist():
        which = np.flatnonzero(ends - begins + 1 == length)
        units = ids[begins[which][:, None] + np.arange(length)]
        different, back = np.unique(units, axis=0, return_inverse=True)
        known = np.array([_kind(row, pieces, numbering) for row in different.tolist()], dtype=np.int64)
        kinds[which] = known[back.reshape(-1)]
    is_start = kinds == numbering.start
    kept = is_start | ((kinds != SKIPPED) & loss[ends])
    return kinds[kept]


SKIPPED = -2
"""Marks that no n-gram sees."""


def _different(documents: Documents) -> tuple[npt.NDArray[np.int32], Mask]:
    seen: set[bytes] = set()
    keep = np.zeros(len(documents.ids), dtype=np.bool_)
    for start, end in itertools.pairwise(documents.offsets.tolist()):
        key = documents.ids[start:end].tobytes() + documents.loss[start:end].tobytes()
        if key not in seen:
            seen.add(key)
            keep[start:end] = True
    return documents.ids[keep], documents.loss[keep]


def _kind(ids: list[int], pieces: Pieces, numbering: Numbering) -> int:
    """The number of the word that pieces are, -1 of a placeholder, that of a sentence's start, or
    `SKIPPED`."""
    if ids[-1] in (PAD_ID, START_ID, END_ID):
        return numbering.start
    unit = "".join(pieces.decode_units(ids))
    if unit in PLACEHOLDERS:
        return -1
    if is_word(unit):
        return numbering.number(unit.lower())
    return numbering.start if unit == "." or unit[:1] in ("!", "?") else SKIPPED
