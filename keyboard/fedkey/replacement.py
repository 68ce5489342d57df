"""What could stand in place of a word that is already written.

In: the word. Out: every word that could be meant, with what its letters say against it, and how that is
weighed. Next stop: `fedkey.engine`, which knows what stands before and behind.

A word that somebody taps is wrong in one of two ways: it was mistyped or misspelt, and what was meant is near
to its letters; or it is another word altogether. The first may be a word of the lexicon, too (form for from,
there for their). All words compete, with

    log P(word | before) + log P(what stands behind | before, word) - weight * min(cost of the letters, far)

and so does what nobody knows yet, if its owner does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fedkey.candidates import CandidateBeam, CandidateFinder, Candidates
from fedkey.text import is_word

NUM_REREAD = 24
"""Words that are looked at once more with what follows them, beyond those to be shown.

Measured on 900 words of validation authors, shipped bundle, which reads from the left alone, 2026-11-27: a
third replaced by a slip of the thumbs, a third by a word with letters near to them, a third by a word that
the model believed in there. The right one is the first replacement for 62.5 % of the 640 that are known
words, and among three for 72.7 %; with 12 of them 62.2 and 70.2 %, with 6 59.2 and 65.5 %, and if nothing
that follows is looked at 46.9 and 59.4 %. Of the 260 others 96.5 and 99.2 %."""


class Weighing(NamedTuple):
    """What it says against a word that its letters are not those that are written.

    Attributes:
        weight: what a nat of the letters' cost is worth; while a word is being typed it is 1.
        far: the most that the letters cost, in nats: those of a word that has nothing to do with them.
    """

    weight: float
    far: float

    @property
    def most(self) -> float:
        """What is taken off a word that is not near at all."""
        return self.weight * self.far


WRITTEN_AS_MEANT = Weighing(0.5, 16.0)
"""Of a known word: its writer saw a word and let it stand, and it may be another word altogether."""

MISTYPED = Weighing(1.0, 20.0)
"""Of what is no known word: it was mistyped or misspelt. With one weighing for both, 0.7 and 12, the right
word is among three for 88.1 % of these and 69.8 % of those above (99.2 and 70.2 % so, with 12 reread)."""


class ReplacementFinder:
    """Weighs the words of one lexicon by how near they are to what is written."""

    def __init__(self, finder: CandidateFinder, beam: CandidateBeam) -> None:
        self._finder = finder
        self._beam = beam

    def find(self, word: str, weighing: Weighing) -> Candidates:
        """All words that may be offered; their costs say how far from the letters of `word` they are."""
        words = self._finder.find("").words
        costs = np.full(len(words), weighing.far, dtype=np.float32)
        if is_word(word):
            near = self._beam.find(word).whole()
            _, here, there = np.intersect1d(words, near.words, assume_unique=True, return_indices=True)
            costs[here] = np.minimum(near.costs[there], np.float32(weighing.far))
        costs *= np.float32(weighing.weight)
        return Candidates(words, costs, costs)


def height_of(word: str, forms: Mapping[str, str], *, starts_sentence: bool) -> str:
    """The word in the capitals that its replacements should have: those of its place or of its writer, not
    those that it always has (I, London).

    Args:
        word: as it is written.
        forms: how words are written inside a sentence.
        starts_sentence: whether it begins one.
    """
    if forms.get(word.lower()) != word:
        return word
    return word[:1].upper() + word[1:].lower() if starts_sentence else word.lower()
