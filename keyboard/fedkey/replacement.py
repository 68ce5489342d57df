"""What could stand in place of a word that is already written.

In: the word, and how likely each word of the lexicon is between what stands before and behind it. Out: the
words most likely meant. Next stop: `fedkey.engine`.

A word that somebody taps is wrong in one of two ways: it was mistyped or misspelt, and what was meant is near
to its letters; or it is another word altogether. The first may be a word of the lexicon, too (form for from,
there for their), so that being known counts for nothing here. All words compete, with

    log P(word | both sides) - weight * min(cost of the letters, the cost of a word that is not near).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedkey.candidates import CandidateBeam, CandidateFinder, Candidates
from fedkey.text import is_word

LETTERS_WEIGHT = 0.5
"""What a nat of the letters' cost is worth: half of what it is while they are typed, since the writer saw the
word and let it stand."""

FAR_COST = 10.0
"""Nats of the letters' cost of a word that has nothing to do with what is written."""


class ReplacementFinder:
    """Weighs the words of one lexicon by how near they are to what is written."""

    def __init__(self, finder: CandidateFinder, beam: CandidateBeam) -> None:
        self._finder = finder
        self._beam = beam

    def find(self, word: str) -> Candidates:
        """All words that may be offered; their costs say how far from the letters of `word` they are."""
        words = self._finder.find("").words
        costs = np.full(len(words), FAR_COST, dtype=np.float32)
        if is_word(word):
            near = self._beam.find(word).whole()
            _, here, there = np.intersect1d(words, near.words, assume_unique=True, return_indices=True)
            costs[here] = np.minimum(near.costs[there], np.float32(FAR_COST))
        costs *= np.float32(LETTERS_WEIGHT)
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
