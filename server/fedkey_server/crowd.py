"""What many phones say: words, pairs and triples of them that at least so many phones have written.

In: one phone's documents; the sum of all phones' sketches. Out: a `Crowd`, a file of n-grams and of how many
phones have each. Next stop: `fedkey_export.ngrams`, which counts them beside the server's own text.

A server that asked for the n-grams it knows would miss what makes its phones' talk differ from public text,
so it asks for none: phones send sketches of all they have (`fedkey_server.sketch`), and the server looks in
their sum for those that many have. It need not try every triple that could be: whoever wrote one wrote both
of its pairs, and whoever wrote a pair wrote its last word, so each is looked for only where its parts were
found (Agrawal and Srikant 1994).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkey.errors import UserError
from fedkey.files import whole
from fedkey.ngram import Vocabulary
from fedkey.pieces import Pieces
from fedkey_server import kneser_ney
from fedkey_server.arrays import opened
from fedkey_server.batches import Documents
from fedkey_server.kneser_ney import Integers, NgramCounts
from fedkey_server.sketch import Keys, SketchConfig, estimates, reaches

ORDER = 3
"""Words of the longest n-gram. Of four words the 4.3 million of the phone preset's text would save an ideal
typist a tenth of a point more, if a bundle had room for them."""

CHUNK = 1 << 19
"""Keys looked for at a time: 4 MB."""


@dataclass(frozen=True)
class CountConfig:
    """How n-grams are counted."""

    least_phones: int = 3
    """An n-gram of fewer is not kept, and not looked at."""
    num_phones: int = 0
    """Phones that are asked, drawn by `seed`; 0 asks all. Some ten thousand of a large fleet will do."""
    cohort: int = 128
    """Phones whose sketches are added up under one another's masks."""
    min_reports: int = 32
    """The sum of fewer is never uncovered."""
    noise_multiplier: float = 0.0
    """Standard deviation of the noise in each cell of the sum, over what a phone can move the sum by; 0 adds
    none."""
    delta: float = 1e-7
    """Chance that the noise's promise fails."""
    seed: int = 0
    """Of who is asked together, and of what a phone leaves out that has more n-grams than `sketch.most`."""

    def __post_init__(self) -> None:
        least_asked = self.min_reports if self.num_phones else 0
        for name, least in (
            ("least_phones", 1),
            ("min_reports", 2),
            ("cohort", self.min_reports),
            ("num_phones", least_asked),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"count.{name} must be at least {least}, not {getattr(self, name)}")
        if self.noise_multiplier and not 0.25 <= self.noise_multiplier < math.inf:
            raise ValueError(
                f"count.noise_multiplier must be 0 or at least 0.25, not {self.noise_multiplier}; less is no "
                "privacy worth the name"
            )
        if not 0 < self.delta < 1:
            raise ValueError(f"count.delta must be between 0 and 1, not {self.delta}")


@dataclass(frozen=True)
class Crowd:
    """What was found.

    Attributes:
        lexicon: `digest_of` the vocabulary whose numbers stand for words.
        num_phones: whose sketches were added up.
        least: phones that every n-gram here has, as far as the sketch tells.
        levels: n-grams of one word, of two, and of three, and how many phones have each. Each is there
            without its first word, too.
        base: of the numbers that n-grams are, see `NgramCounts.grams`.
        epsilon: what each phone has spent; None if nothing hides what a single one has.
        delta: with it.
    """

    lexicon: str
    num_phones: int
    least: float
    levels: tuple[NgramCounts, ...]
    base: int
    epsilon: float | None = None
    delta: float | None = None

    def weighted(self, weight: int) -> tuple[NgramCounts, ...]:
        """The n-grams for `kneser_ney.estimate`, as if each phone that has one had written it `weight` times.

        Of pairs and words, what longer n-grams account for is taken off: how often *to* came behind *going*,
        where *not going to* is known, says nothing of places where no triple is.
        """
        weighted = []
        for length, (grams, counts) in enumerate(self.levels, 1):
            rest = counts.copy()
            if length < len(self.levels):
                longer = self.levels[length]
                ends, owners = np.unique(longer.grams % self.base**length, return_inverse=True)
                within = np.bincount(owners, weights=longer.counts).astype(np.int64)
                rest[np.searchsorted(grams, ends)] -= within
            weighted.append(NgramCounts(grams, weight * np.maximum(rest, 0)))
        return tuple(weighted)

    def save(self, path: Path) -> None:
        """Writes an .npz file; `UserError` if it cannot be written."""
        promised = (math.nan, math.nan) if self.epsilon is None else (self.epsilon, self.delta)
        arrays: dict[str, Any] = {
            "lexicon": np.array(self.lexicon),
            "phones": np.array([self.num_phones, self.least]),
            "base": np.array(self.base),
            "promised": np.array(promised, dtype=np.float64),
        }
        for length, (grams, counts) in enumerate(self.levels, 1):
            arrays |= {f"grams{length}": grams, f"counts{length}": counts}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path) as beside, beside.open("wb") as file:
                np.savez_compressed(file, **arrays)
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror}.") from error

    @classmethod
    def load(cls, path: Path) -> Crowd:
        """Reads what `save` wrote; `UserError` if it is missing or damaged."""
        missing = f"{path} is missing; run 'fedkey-server count' first."
        damaged = f"{path} is damaged, or no counts of phones' n-grams; run 'fedkey-server count' again."
        with opened(path, missing, damaged) as arrays:
            lengths = range(1, ORDER + 1)
            levels = tuple(_level(arrays[f"grams{n}"], arrays[f"counts{n}"]) for n in lengths)
            (num_phones, least), (epsilon, delta) = arrays["phones"].tolist(), arrays["promised"].tolist()
            promised = (None, None) if math.isnan(epsilon) else (epsilon, delta)
            return cls(str(arrays["lexicon"]), int(num_phones), least, levels, int(arrays["base"]), *promised)


def _level(grams: npt.NDArray[Any], counts: npt.NDArray[Any]) -> NgramCounts:
    """ValueError if there is not a count for each n-gram."""
    if grams.shape != counts.shape or (grams.ndim, grams.dtype.kind, counts.dtype.kind) != (1, "i", "i"):
        raise ValueError(f"{grams.shape} n-grams and {counts.shape} counts do not belong together")
    return NgramCounts(grams, counts)


def digest_of(vocabulary: Vocabulary) -> str:
    """Tells whether two keyboards number words alike: SHA-256 of all words in their order, in hexadecimal."""
    return hashlib.sha256("\n".join(vocabulary.numbers).encode()).hexdigest()


def in_words(crowd: Crowd) -> str:
    """In a line."""
    words, pairs, triples = (f"{len(level.grams):,}" for level in crowd.levels)
    promise = (
        "no promise of differential privacy"
        if crowd.epsilon is None
        else f"epsilon {crowd.epsilon:.2f} at delta {crowd.delta:g}"
    )
    return (
        f"{words} words, {pairs} pairs and {triples} triples that at least {crowd.least:g} of "
        f"{crowd.num_phones:,} phones have; {promise}"
    )


# ------------------------------------------------------------------------------------------------ on a phone


def keys_of(documents: Documents, pieces: Pieces, vocabulary: Vocabulary) -> Keys:
    """The n-grams of what a phone's owner wrote, for `sketch`; words that the lexicon lacks are one word."""
    tokens = kneser_ney.tokens_of(documents, pieces, vocabulary)
    lengths = range(1, ORDER + 1)
    return np.concatenate(
        [as_keys(np.unique(kneser_ney.events(tokens, vocabulary, length)), length) for length in lengths]
    )


def as_keys(grams: Integers, length: int) -> Keys:
    """N-grams of different lengths are different keys."""
    return (grams * (ORDER + 1) + length).astype(np.uint64)


# ------------------------------------------------------------------------------------------------ in the sum


def popular(
    total: npt.NDArray[Any], config: SketchConfig, vocabulary: Vocabulary, least: float
) -> tuple[NgramCounts, ...]:
    """The n-grams that at least so many phones have, see `Crowd.levels`.

    Args:
        total: the sum of the phones' sketches, [num_cells].
        config: their shape.
        vocabulary: by which the phones number words.
        least: 1 and more. With noise it should be two of its standard deviations and more.
    """
    base = vocabulary.start + 1
    if ORDER * math.log2(base) + math.log2(ORDER + 1) > 63:
        raise ValueError(f"{base:,} words are too many for n-grams of {ORDER}")
    words = _found(total, config, least, 1, [np.arange(vocabulary.unknown + 1)])
    firsts = np.append(words.grams, vocabulary.start)
    # So many first words at a time that a chunk of pairs is about `CHUNK` keys.
    step = max(1, CHUNK // max(1, len(words.grams)))
    pairs = _found(
        total, config, least, 2,
        (
            (firsts[start : start + step, None] * base + words.grams).ravel()
            for start in range(0, len(firsts), step)
        ),
    )  # fmt: skip
    triples = _found(total, config, least, 3, _joined(pairs.grams, base))
    return words, pairs, triples


def _found(
    total: npt.NDArray[Any], config: SketchConfig, least: float, length: int, tried: Iterable[Integers]
) -> NgramCounts:
    grams = [np.zeros(0, dtype=np.int64)]
    for each in tried:
        grams.append(each[reaches(total, as_keys(each, length), least, config)])
    found = np.sort(np.concatenate(grams))
    counts = np.rint(estimates(total, as_keys(found, length), config)).astype(np.int64)
    return NgramCounts(found, counts)


def _joined(pairs: Integers, base: int) -> Iterable[Integers]:
    """Every triple whose two pairs are there."""
    starts = np.searchsorted(pairs, pairs % base * base)
    numbers = np.searchsorted(pairs, (pairs % base + 1) * base) - starts
    ends = np.cumsum(numbers)
    begin = 0
    while begin < len(pairs):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        times = numbers[begin:end]
        which = np.repeat(np.arange(begin, end), times)
        within = np.arange(len(which)) - np.repeat(np.cumsum(times) - times, times)
        yield pairs[which] * base + pairs[starts[which] + within] % base
        begin = end
