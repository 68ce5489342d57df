"""How likely words are by the last two words alone: what the keyboard knows without the model.

In: the lexicon's frequencies, which words followed which in the training text if the bundle says so, and the
words before the caret. Out: every word's probability. Next stop: `fedkey.conversation`.

A small model that read its text once or twice remembers few of the rare words and of the fixed phrases in
it; counting remembers them all, and the most telling of the counts take less room than a tenth of the model.
With h the words before, h' the same without the first of them, and d(h, w) the discounted share that w had
of what followed h (`fedkey_server.kneser_ney`),

    p(w | h) = d(h, w) + (1 - sum of d(h, .)) p(w | h'),

down to the lexicon's frequencies. Of d those that tell most are in the bundle, each as a byte q for
e^(-q / `STEPS`); the others are 0. BUNDLE.md describes the arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkey.bundle import BundleError
from fedkey.lexicon import Lexicon
from fedkey.personal_rules import SENTENCE_START

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

STEPS = 16.0
"""Bytes to a nat."""

_SHARES: Floats = np.exp(-np.arange(256) / STEPS).astype(np.float32)


class Prior:
    """A lexicon's frequencies, and the n-grams of a bundle that has any."""

    def __init__(self, lexicon: Lexicon, arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> None:
        """Takes the arrays of `Bundle.ngram_arrays()`; `BundleError` if they contradict each other or the
        lexicon."""
        self._lexicon = lexicon
        self._usual: Floats = np.exp(lexicon.log_prob).astype(np.float32)
        self._ngrams = None if arrays is None else _Ngrams(arrays, len(lexicon))

    def probs(self, before: Sequence[str]) -> Floats:
        """The probability of each word, [W]; not to be changed.

        Args:
            before: the words before, nearest last, as `fedkey.personal_rules.words_before` finds them; those
                too far away are not looked at.
        """
        return self.levels(before)[-1]

    def levels(self, before: Sequence[str]) -> tuple[Floats, Floats]:
        """The same after the last of the words alone, and after the last two."""
        if self._ngrams is None:
            return self._usual, self._usual
        numbers = [self._number(word) for word in before[-2:]]
        return self._ngrams.interpolated(self._usual, numbers)

    def _number(self, word: str) -> int:
        """Of the way in which a word is mostly written; behind those of the lexicon are that of all other
        words and that of a sentence's start."""
        if word == SENTENCE_START:
            return len(self._lexicon) + 1
        form = self._lexicon.forms.get(word)
        number = None if form is None else self._lexicon.find(form)
        return len(self._lexicon) if number is None else number


class _Ngrams:
    """What follows words, and what follows pairs of them."""

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], num_words: int) -> None:
        views = {name: np.asarray(array) for name, array in arrays.items()}
        self._pair_starts = _starts(views["pair_counts"])
        self._pair_words, self._pair_values = views["pair_words"], views["pair_values"]
        self._triple_pairs = views["triple_pairs"]
        self._triple_starts = _starts(views["triple_counts"])
        self._triple_words, self._triple_values = views["triple_words"], views["triple_values"]
        problem = self._contradiction(num_words)
        if problem is not None:
            raise BundleError(
                f"The bundle's n-grams are damaged: {problem}; export or download the bundle again."
            )

    def _contradiction(self, num_words: int) -> str | None:
        """What is wrong with the arrays, or None."""
        num_pairs = len(self._pair_words)
        if len(self._pair_starts) != num_words + 3 or len(self._triple_starts) != len(self._triple_pairs) + 1:
            return "their arrays differ in length"
        for starts, words, values in (
            (self._pair_starts, self._pair_words, self._pair_values),
            (self._triple_starts, self._triple_words, self._triple_values),
        ):
            if int(starts[-1]) != len(words) or len(words) != len(values):
                return "their counts do not fit"
            if int(words.max()) >= num_words:
                return "they name words that the lexicon lacks"
            # Whoever looks a word up halves the range again and again.
            begins = np.zeros(len(words), dtype=np.bool_)
            begins[starts[:-1][starts[:-1] < len(words)]] = True
            if not bool(np.all(begins[1:] | (words[1:] > words[:-1]))):
                return "they are not in order"
        if int(self._triple_pairs.max()) >= num_pairs or bool(
            np.any(self._triple_pairs[1:] <= self._triple_pairs[:-1])
        ):
            return "their pairs are not in order"
        return None

    def interpolated(self, usual: Floats, before: Sequence[int]) -> tuple[Floats, Floats]:
        """The probabilities of all words behind one word and behind two, [W] each.

        A word of which no pair or triple is kept has what the others leave, shared out as behind fewer words.

        Args:
            usual: float32 [W], the probabilities wherever a word stands.
            before: numbers of the words before, nearest last; of none and of one word what is known is
                returned twice.
        """
        if not before:
            return usual, usual
        start, end = self._pair_starts[before[-1]], self._pair_starts[before[-1] + 1]
        pairs = triples = _interpolated(usual, self._pair_words[start:end], self._pair_values[start:end])
        if len(before) > 1:
            pair = self._pair(before[-2], before[-1])
            at = int(np.searchsorted(self._triple_pairs, pair))
            if at < len(self._triple_pairs) and int(self._triple_pairs[at]) == pair:
                start, end = self._triple_starts[at], self._triple_starts[at + 1]
                triples = _interpolated(pairs, self._triple_words[start:end], self._triple_values[start:end])
        return pairs, triples

    def _pair(self, first: int, second: int) -> int:
        """The place of a pair of words; -1 if it is not kept."""
        start, end = int(self._pair_starts[first]), int(self._pair_starts[first + 1])
        at = start + int(np.searchsorted(self._pair_words[start:end], second))
        return at if at < end and int(self._pair_words[at]) == second else -1


def _interpolated(shorter: Floats, words: npt.NDArray[Any], values: npt.NDArray[Any]) -> Floats:
    """p(w | h) from p(w | h') and the values of some w."""
    if len(words) == 0:
        return shorter
    shares = _SHARES[values]
    # Rounding must not leave nothing.
    left = max(1.0 - float(shares.sum(dtype=np.float64)), float(_SHARES[-1]))
    probs: Floats = shorter * np.float32(left)
    probs[words] += shares
    return probs


def _starts(counts: npt.NDArray[Any]) -> Integers:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
