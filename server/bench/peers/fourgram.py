"""A Kneser-Ney 4-gram that is cut until it is as small as a bundle: what the same bytes bought before.

In: a prepared data folder and how many bytes there are. Out: a `WordModel`. Next stop: `peers.sphinx`.

The estimate is `fedkey_server.kneser_ney`'s. Then n-grams that came fewer times than a cutoff are taken out,
the longest first; what they had goes to the shorter context, as an unseen word's share does.

**Bytes**, kindly counted, for a trie that nobody wrote: a word is 2 bytes, a probability 1 and, where a
context can be longer, a back-off weight 1 and a quarter for the place of what follows (two bits of a
level-order trie); single words need no number. To them come the bundle's own letters, flags and trie, without
which nothing could be completed. What is graded is not rounded to those bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedkey.files import whole
from fedkey.ngram import Vocabulary
from fedkey.personal_rules import words_before
from fedkey_server import kneser_ney
from fedkey_server.kneser_ney import Floats, Integers, Level

ORDER = 4

WORD_BYTES, VALUE_BYTES, PLACE_BYTES = 2, 1, 0.25

CUTOFFS = ((1, 1, 1), (1, 1, 2), (1, 2, 2), (1, 2, 3), (1, 3, 3), (2, 3, 3), (2, 3, 4), (2, 4, 5), (2, 5, 7),
           (3, 7, 10), (4, 10, 15), (6, 15, 25), (10, 30, 50), (30, 100, 150), (100, 400, 600))  # fmt: skip
"""How often an n-gram of two, three and four words must have come, in the order in which they are tried. A
longer one never came more often than its beginning, so no n-gram is kept whose beginning is not."""


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
        pairs = zip(self.levels[1:], cutoffs, strict=True)
        levels = (level.kept(level.came >= cutoff) for level, cutoff in pairs)
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


def estimate(tokens: Integers, vocabulary: Vocabulary, order: int = ORDER) -> Grams:
    """Of a text as `fedkey_server.kneser_ney.tokens_of` finds it."""
    return Grams(vocabulary.unknown + 1, kneser_ney.estimate(tokens, vocabulary, order))


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
    """Writes an .npz file: counting ten million words takes minutes."""
    arrays = {
        f"{name}_{length}": getattr(level, name)
        for length, level in enumerate(grams.levels)
        for name in LEVEL_ARRAYS
    }
    with whole(path) as beside, beside.open("wb") as file:
        np.savez(file, num_words=grams.num_words, cutoffs=grams.cutoffs, **arrays)


def load(path: Path) -> Grams:
    """Reads what `save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        cutoffs = tuple(arrays["cutoffs"].tolist())
        levels = (
            Level(*(arrays[f"{name}_{length}"] for name in LEVEL_ARRAYS)) for length in range(len(cutoffs))
        )
        return Grams(int(arrays["num_words"]), tuple(levels), cutoffs)


LEVEL_ARRAYS = ("contexts", "starts", "words", "values", "came")
