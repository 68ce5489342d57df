"""A Kneser-Ney 4-gram that is cut until it is as small as a bundle: what the same bytes bought before.

In: a prepared data folder and how many bytes there are. Out: a `WordModel`. Next stop: `peers.sphinx`.

The estimate is Chen and Goodman's modified, interpolated one (1998): three discounts a length, and below the
longest length an n-gram counts as often as it came after different words, those at a sentence's start as
often as they came. Then n-grams that came fewer times than a cutoff are taken out, the longest first; what
they had goes to the shorter context, as an unseen word's share does.

**Bytes**, kindly counted, for a trie that nobody wrote: a word is 2 bytes, a probability 1 and, where a
context can be longer, a back-off weight 1 and a quarter for the place of what follows (two bits of a
level-order trie); single words need no number. To them come the bundle's own letters, flags and trie, without
which nothing could be completed. What is graded is not rounded to those bytes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedkey.ngram import Vocabulary
from fedkey.personal_rules import words_before
from fedkey.pieces import END_ID, PAD_ID, START_ID, Pieces
from fedkey.text import FLIP, PLACEHOLDERS, is_word
from fedkey_server.batches import Documents

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ORDER = 4

WORD_BYTES, VALUE_BYTES, PLACE_BYTES = 2, 1, 0.25

CUTOFFS = ((1, 1, 1), (1, 1, 2), (1, 2, 2), (1, 2, 3), (1, 3, 3), (2, 3, 3), (2, 3, 4), (2, 4, 5), (2, 5, 7),
           (3, 7, 10), (4, 10, 15), (6, 15, 25), (10, 30, 50), (30, 100, 150), (100, 400, 600))  # fmt: skip
"""How often an n-gram of two, three and four words must have come, in the order in which they are tried. A
longer one never came more often than its beginning, so no n-gram is kept whose beginning is not."""


@dataclass(frozen=True)
class Level:
    """The n-grams of one length, those with the same words before beside one another.

    Attributes:
        contexts: int64 [C], the words before as one number, ascending; 0 where there are none.
        starts: int64 [C + 1]; context i owns the n-grams `starts[i]:starts[i + 1]`.
        words: int64 [N], the last word of each, ascending within a context.
        values: float64 [N], what each has of its context's probability before a shorter one adds to it.
        came: int64 [N], how often each came.
    """

    contexts: Integers
    starts: Integers
    words: Integers
    values: Floats
    came: Integers

    def kept(self, cutoff: int) -> Level:
        """Without what came fewer times than `cutoff`, and without contexts that nothing is left of."""
        stays = self.came >= cutoff
        owners = np.repeat(np.arange(len(self.contexts)), np.diff(self.starts))[stays]
        counts = np.bincount(owners, minlength=len(self.contexts))
        has_any = counts > 0
        starts = np.append(0, np.cumsum(counts[has_any]))
        return Level(self.contexts[has_any], starts, self.words[stays], self.values[stays], self.came[stays])


@dataclass(frozen=True)
class Grams:
    """A model of all lengths; `levels[0]` are single words."""

    num_words: int
    """V + 1, the words that can come next; the last is the unknown one."""
    levels: tuple[Level, ...]
    cutoffs: tuple[int, ...] = (1, 1, 1, 1)

    @property
    def num_bytes(self) -> float:
        """As the module says, without the letters."""
        *inner, longest = (len(level.words) for level in self.levels)
        total = longest * (WORD_BYTES + VALUE_BYTES)
        for length, count in enumerate(inner):
            total += count * ((WORD_BYTES if length else 0) + 2 * VALUE_BYTES + PLACE_BYTES)
        return total

    def cut(self, cutoffs: Sequence[int]) -> Grams:
        """Without what came fewer times than its length's cutoff; single words all stay."""
        levels = (level.kept(cutoff) for level, cutoff in zip(self.levels[1:], cutoffs, strict=True))
        return Grams(self.num_words, (self.levels[0], *levels), (1, *cutoffs))

    def within(self, num_bytes: float) -> Grams:
        """The first of `CUTOFFS` that fits.

        Raises:
            ValueError: not even the last does.
        """
        for cutoffs in CUTOFFS:
            cut = self.cut(cutoffs)
            if cut.num_bytes <= num_bytes:
                return cut
        raise ValueError(f"no cutoff makes a 4-gram of {num_bytes:,.0f} bytes")

    def probabilities(self, before: Sequence[int]) -> Floats:
        """How likely each word comes next, [V + 1].

        Args:
            before: the numbers of the words before, nearest last.
        """
        base = self.num_words + 1
        likely = np.full(self.num_words, 1 / self.num_words)
        for num_before, level in enumerate(self.levels):
            if num_before > len(before):
                break
            context = 0
            for word in before[len(before) - num_before :]:
                context = context * base + word
            index = int(np.searchsorted(level.contexts, context))
            if index == len(level.contexts) or int(level.contexts[index]) != context:
                break  # nor is anything longer kept
            own = slice(int(level.starts[index]), int(level.starts[index + 1]))
            likely *= 1 - float(level.values[own].sum())
            likely[level.words[own]] += level.values[own]
        return likely


# ------------------------------------------------------------------------------------------------- counting


def estimate(tokens: Integers, vocabulary: Vocabulary, order: int = ORDER) -> Grams:
    """Counts a text.

    Args:
        tokens: numbers of words, unknown ones among them, and `vocabulary.start` wherever a sentence begins.
            A placeholder, which stands before words and is never predicted, is -1.
        vocabulary: of the lexicon that will be asked.
        order: words of the longest n-gram.
    """
    rows = _rows(tokens, vocabulary, order)
    reach = _reach(rows, vocabulary.start)
    base = vocabulary.start + 1
    if base**order > np.iinfo(np.int64).max:
        raise ValueError(f"{base:,} words are too many for n-grams of {order}")
    levels = []
    longer: Integers | None = None
    for length in range(order, 0, -1):
        grams, came = np.unique(_packed(rows[reach >= length], base, length), return_counts=True)
        counts = came
        if longer is not None:
            counts = np.zeros_like(came)
            inner, different = np.unique(longer % base**length, return_counts=True)
            counts[np.searchsorted(grams, inner)] = different
            outer, often = np.unique(_packed(rows[reach == length], base, length), return_counts=True)
            counts[np.searchsorted(grams, outer)] += often
        levels.append(_level(grams, counts.astype(np.int64), came.astype(np.int64), base))
        longer = grams
    return Grams(vocabulary.unknown + 1, tuple(reversed(levels)))


def _rows(tokens: Integers, vocabulary: Vocabulary, order: int) -> Integers:
    """Every word with those before it in its sentence, [E, order]; what is missing is `vocabulary.start`."""
    start = vocabulary.start
    spread = np.concatenate((np.full(order - 1, start), tokens))
    is_event = (tokens >= 0) & (tokens != start)
    columns = [spread[order - 1 :][is_event]]
    ended = np.zeros(len(columns[0]), dtype=np.bool_)
    for back in range(1, order):
        before = spread[order - 1 - back : len(spread) - back][is_event]
        columns.append(np.where(ended, start, np.where(before < 0, vocabulary.unknown, before)))
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


def tokens_of(documents: Documents, pieces: Pieces, vocabulary: Vocabulary) -> Integers:
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
        known = np.array([_kind(row, pieces, vocabulary) for row in different.tolist()], dtype=np.int64)
        kinds[which] = known[back.reshape(-1)]
    is_start = kinds == vocabulary.start
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


def _kind(ids: list[int], pieces: Pieces, vocabulary: Vocabulary) -> int:
    """The number of the word that pieces are, -1 of a placeholder, that of a sentence's start, or
    `SKIPPED`."""
    if ids[-1] in (PAD_ID, START_ID, END_ID):
        return vocabulary.start
    unit = "".join(pieces.decode_units(ids))
    if unit in PLACEHOLDERS:
        return -1
    if is_word(unit):
        return vocabulary.number(unit.lower())
    return vocabulary.start if unit == "." or unit[:1] in ("!", "?") else SKIPPED


# ------------------------------------------------------------------------------------------------ the model


class FourGram:
    """A `WordModel` of some grams."""

    def __init__(self, grams: Grams, vocabulary: Vocabulary) -> None:
        self._grams = grams
        self._vocabulary = vocabulary
        self._order: Integers = np.array(
            [number for _, number in sorted(vocabulary.numbers.items())] + [vocabulary.unknown]
        )
        self.words: Sequence[str] = sorted(vocabulary.numbers)

    def probabilities(self, context: str) -> Floats:
        """As `WordModel` says."""
        before = [self._vocabulary.number(word) for word in words_before(context, ORDER - 1)]
        return self._grams.probabilities(before)[self._order]


def letters_bytes(files: Mapping[str, int]) -> int:
    """Of a bundle's files (name -> bytes): what completing words takes, without pieces and frequencies."""
    unneeded = {"lexicon/pieces.npy", "lexicon/piece_offsets.npy", "lexicon/log_prob.npy"}
    return sum(size for name, size in files.items() if name.startswith("lexicon/") and name not in unneeded)


def save(grams: Grams, path: Path) -> None:
    """Writes an .npz file beside and renames it: counting ten million words takes minutes."""
    arrays = {
        f"{name}_{length}": getattr(level, name)
        for length, level in enumerate(grams.levels)
        for name in LEVEL_ARRAYS
    }
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        np.savez(file, num_words=grams.num_words, cutoffs=grams.cutoffs, **arrays)
    os.replace(beside, path)


def load(path: Path) -> Grams:
    """Reads what `save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        cutoffs = tuple(arrays["cutoffs"].tolist())
        levels = (
            Level(*(arrays[f"{name}_{length}"] for name in LEVEL_ARRAYS)) for length in range(len(cutoffs))
        )
        return Grams(int(arrays["num_words"]), tuple(levels), cutoffs)


LEVEL_ARRAYS = ("contexts", "starts", "words", "values", "came")
