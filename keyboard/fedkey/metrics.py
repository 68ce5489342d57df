"""What is measured, as sums that add up over words, authors and phones.

In: counts from the simulated typist or from a live keyboard. Out: ratios, percentiles and intervals, formed
only when they are read. Next stop: `fedkey.simulate`.

Definitions follow the text-entry literature; each class says what it counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NUM_RESAMPLES = 2000
"""Bootstrap resamples; the ends of a 95 % interval then move by about a fiftieth of its width between
seeds."""

_NUMBERS_AT_ONCE = 1_000_000
"""Memory of a bootstrap over many authors: a few times 8 MB."""


@dataclass(frozen=True)
class Sums:
    """Base of metrics whose fields are all sums: adding two adds every field."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Recall(Sums):
    """Top-k accuracy (recall@k) and reciprocal rank over word positions, at one number of letters typed.

    A position is a hit at k if the word that was written is among the first k shown. Case is ignored in
    `hits` and kept in `exact`. Words the lexicon does not know are positions like any other and cannot be
    hits; `known` counts the others, for the ratio without them.
    """

    positions: int = 0
    known: int = 0
    hits_1: int = 0
    hits_3: int = 0
    exact_1: int = 0
    exact_3: int = 0
    reciprocal_rank: float = 0.0

    @property
    def top_1(self) -> float:
        """Share of all positions whose word was shown first."""
        return _ratio(self.hits_1, self.positions)

    @property
    def top_3(self) -> float:
        """Share of all positions whose word was among the three shown."""
        return _ratio(self.hits_3, self.positions)

    @property
    def mean_reciprocal_rank(self) -> float:
        """Mean of 1 / rank among the three shown, 0 for words not shown."""
        return _ratio(self.reciprocal_rank, self.positions)


@dataclass(frozen=True)
class Keystrokes(Sums):
    """Keys pressed against characters written; the keystroke savings rate is 1 - pressed / characters.

    Every character of a message counts, spaces and punctuation included; the key that sends it does not, nor
    do shift and the symbol page. An accepted word costs one key and brings its space. If punctuation follows,
    that space gives way for free, and the space after the punctuation is typed. A space left over at the end
    of a message costs nothing.
    """

    pressed: int = 0
    characters: int = 0

    @property
    def savings(self) -> float:
        """KSR, between 0 (nothing saved) and 1."""
        return 1 - _ratio(self.pressed, self.characters) if self.characters else 0.0


@dataclass(frozen=True)
class Corrections(Sums):
    """What the keyboard made of words that were mistyped, each ended by a space. Case is ignored.

    A mistyped word is repaired if the word that was meant stands behind the space, missed if it was left as
    it was typed, and wrong if it became a third word. It was offered if, before the space, the word that was
    meant was among the three shown.
    """

    repaired: int = 0
    missed: int = 0
    wrong: int = 0
    offered: int = 0

    @property
    def words(self) -> int:
        """All of them."""
        return self.repaired + self.missed + self.wrong

    @property
    def repair_rate(self) -> float:
        """Share that a space repaired."""
        return _ratio(self.repaired, self.words)

    @property
    def wrong_rate(self) -> float:
        """Share that a space changed to another wrong word."""
        return _ratio(self.wrong, self.words)

    @property
    def offered_rate(self) -> float:
        """Share whose meant word was among the three shown."""
        return _ratio(self.offered, self.words)


@dataclass(frozen=True)
class RightWords(Sums):
    """What the keyboard made of words that were typed as they were meant, each ended by a space.

    A right word is harmed if other letters stand behind the space; case is ignored. `apostrophes` counts
    those of the harmed to which only apostrophes were added (dont, youre): harm by definition, and perhaps a
    favour.
    """

    words: int = 0
    harmed: int = 0
    apostrophes: int = 0

    @property
    def harm_rate(self) -> float:
        """Share that was changed."""
        return _ratio(self.harmed, self.words)


@dataclass(frozen=True)
class Autocorrect(Sums):
    """Typed words ended by a space, by what was typed and whether the lexicon knows it."""

    nonwords: Corrections = Corrections()
    """Mistyped as no word, meant a word of the lexicon: what autocorrect is for."""
    real_words: Corrections = Corrections()
    """Mistyped as another word of the lexicon: to be offered, never silently changed."""
    strangers: Corrections = Corrections()
    """Mistyped as no word, meant a word that the lexicon lacks: only a memory could repair them."""
    right_known: RightWords = RightWords()
    """Typed right, words of the lexicon."""
    right_unknown: RightWords = RightWords()
    """Typed right, words that the lexicon lacks: rare names, slang, and what the author himself misspelt."""

    @property
    def right(self) -> RightWords:
        """All words typed right."""
        return self.right_known + self.right_unknown

    @property
    def mistyped(self) -> Corrections:
        """All words mistyped."""
        return self.nonwords + self.real_words + self.strangers

    @property
    def changed(self) -> int:
        """Words that a space changed: repaired, harmed or wrong."""
        return self.mistyped.repaired + self.right.harmed + self.mistyped.wrong

    @property
    def precision(self) -> float:
        """repaired / (repaired + harmed + wrong): how many of the changed words became right."""
        return _ratio(self.mistyped.repaired, self.changed)


@dataclass(frozen=True)
class NewWords(Sums):
    """Words that the lexicon lacks and their author writes again: how soon the keyboard offers them.

    A word is offered once it is among the three shown before its last letter is typed. `after_1` counts the
    words first offered when they had been written once before, and so on; `never` those not offered at all.
    `letters` sums, over the words that were offered, how many letters were typed by then.
    """

    after_1: int = 0
    after_2: int = 0
    after_more: int = 0
    never: int = 0
    letters: int = 0

    @property
    def offered(self) -> int:
        """Words offered at some time."""
        return self.after_1 + self.after_2 + self.after_more

    @property
    def words(self) -> int:
        """All of them."""
        return self.offered + self.never

    @property
    def mean_letters(self) -> float:
        """Letters typed when a word was first offered, mean over those that were."""
        return _ratio(self.letters, self.offered)


@dataclass(frozen=True)
class Likelihood(Sums):
    """How well whole messages are predicted, independent of how they are cut into pieces.

    The end of a message is part of it: its probability is in `nats` and it counts as one character.
    """

    nats: float = 0.0
    characters: int = 0
    words: int = 0

    @property
    def bits_per_character(self) -> float:
        """Negative log2 likelihood per character."""
        return _ratio(self.nats, self.characters) / math.log(2)

    @property
    def perplexity_per_word(self) -> float:
        """exp(negative log likelihood / words); punctuation and spacing are paid for by the words."""
        try:
            return math.exp(_ratio(self.nats, self.words))
        except OverflowError:  # few words among much that is none
            return math.inf


_BUCKETS_PER_DOUBLING = 8
_SMALLEST_MS = 1 / 128
_NUM_BUCKETS = 21 * _BUCKETS_PER_DOUBLING  # up to 16 seconds


@dataclass(frozen=True)
class Latency:
    """A histogram of milliseconds in buckets 9 % wide, from 8 microseconds to 16 seconds."""

    counts: tuple[int, ...] = (0,) * _NUM_BUCKETS

    @classmethod
    def of(cls, milliseconds: Iterable[float]) -> Latency:
        """The histogram of some measurements."""
        counts = [0] * _NUM_BUCKETS
        for value in milliseconds:
            bucket = math.ceil(_BUCKETS_PER_DOUBLING * math.log2(max(value, _SMALLEST_MS) / _SMALLEST_MS))
            counts[min(bucket, _NUM_BUCKETS - 1)] += 1
        return cls(tuple(counts))

    def __add__(self, other: Latency) -> Latency:
        return Latency(tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)))

    @property
    def total(self) -> int:
        """Number of measurements."""
        return sum(self.counts)

    def percentile(self, percent: float) -> float:
        """The upper edge, in milliseconds, of the bucket in which that share of the measurements is
        reached."""
        if not self.total:
            return 0.0
        reached = np.cumsum(self.counts)
        bucket = int(np.searchsorted(reached, math.ceil(self.total * percent / 100)))
        return float(_SMALLEST_MS * 2 ** (min(bucket, _NUM_BUCKETS - 1) / _BUCKETS_PER_DOUBLING))


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(numerators: Sequence[float], denominators: Sequence[float], *, seed: int = 0) -> Interval:
    """A ratio of sums over authors, with a percentile bootstrap interval over authors.

    Authors, not words, are drawn: one author's words are alike, and intervals over words would be far too
    narrow.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    if len(top) != len(bottom):
        raise ValueError("every author needs a numerator and a denominator")
    return _interval(_ratio(top.sum(), bottom.sum()), _resampled_ratio(top, bottom, seed))


def paired_bootstrap(
    first: tuple[Sequence[float], Sequence[float]],
    second: tuple[Sequence[float], Sequence[float]],
    *,
    seed: int = 0,
) -> Interval:
    """The difference first - second of two ratios over the same authors, drawn together.

    Each argument is (numerators, denominators), one entry per author, in the same order of authors.
    """
    tops = [np.asarray(numerators, dtype=np.float64) for numerators, _ in (first, second)]
    bottoms = [np.asarray(denominators, dtype=np.float64) for _, denominators in (first, second)]
    if len({len(array) for array in (*tops, *bottoms)}) != 1:
        raise ValueError("both sides need the same authors")
    value = _ratio(tops[0].sum(), bottoms[0].sum()) - _ratio(tops[1].sum(), bottoms[1].sum())
    drawn = _resampled_ratio(tops[0], bottoms[0], seed) - _resampled_ratio(tops[1], bottoms[1], seed)
    return _interval(value, drawn)


def deciles(values: Sequence[float]) -> tuple[float, ...]:
    """The 10th, 20th, ... 90th percentile of per-author values; empty without authors."""
    if not len(values):
        return ()
    return tuple(float(value) for value in np.percentile(np.asarray(values), range(10, 100, 10)))


def _resampled_ratio(top: Floats, bottom: Floats, seed: int) -> Floats:
    if len(top) == 0:
        raise ValueError("an interval needs one author at least")
    rng = np.random.default_rng(seed)
    at_once = max(1, _NUMBERS_AT_ONCE // len(top))
    parts = []
    for start in range(0, NUM_RESAMPLES, at_once):
        chosen = rng.integers(0, len(top), size=(min(at_once, NUM_RESAMPLES - start), len(top)))
        sums = bottom[chosen].sum(axis=1)
        parts.append(np.divide(top[chosen].sum(axis=1), sums, out=np.zeros_like(sums), where=sums > 0))
    return np.concatenate(parts)


def _interval(value: float, drawn: Floats) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _ratio(top: float, bottom: float) -> float:
    return float(top) / float(bottom) if bottom else 0.0
