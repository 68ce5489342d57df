"""Which words the letters typed so far could become.

In: a lexicon and the letters of a word. Out: word numbers, each with the cost of what would have been
mistyped. Next
stop: `fedkey.decoder`.

All candidates continue the letters exactly, whatever their case, and cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedkey.lexicon import OFFENSIVE, Lexicon


@dataclass(frozen=True)
class Candidates:
    """C words that may be meant.

    Attributes:
        words: int64 [C], ascending numbers in the lexicon.
        costs: float32 [C], minus the log probability that these letters are typed for the word.
    """

    words: npt.NDArray[np.int64]
    costs: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.words)


class CandidateFinder:
    """Finds candidates in one lexicon; holds only the list of what may be offered unasked."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._is_offered = (np.asarray(lexicon.flags) & OFFENSIVE) == 0
        self._nothing_typed = self._exactly(np.flatnonzero(self._is_offered))

    def find(self, typed: str) -> Candidates:
        """The words that `typed` (normalised, any case, perhaps empty) begins.

        Offensive words are among them only when they are typed out.
        """
        if not typed:
            return self._nothing_typed
        lexicon = self._lexicon
        node = lexicon.walk(typed.lower())
        if node is None:
            return self._exactly(np.zeros(0, dtype=np.int64))
        below = lexicon.word_range(node)
        is_candidate = self._is_offered[below.start : below.stop].copy()
        is_candidate[: len(lexicon.words_at(node))] = True
        return self._exactly(below.start + np.flatnonzero(is_candidate))

    @staticmethod
    def _exactly(words: npt.NDArray[np.int64]) -> Candidates:
        return Candidates(words, np.zeros(len(words), dtype=np.float32))
