"""Models that know, in any context, how likely every word of theirs is: one keyboard and one price for all.

In: a `WordModel`. Out: suggestions in the engine's form, and what the words of a message cost in nats. Next
stop: `peers.fourgram`.

**What a word costs.** Every system is asked for p(word | what stands before, and that a word comes next):
marks, emoji, numbers and the end of a message are context, never paid for. The price of a word w of n
characters is

    -ln(0.99 p(w) + 0.01 s(w)),   s(w) = 38 ** -(n + 1),

in nats, where s spells it blindly with 26 letters, ten digits, the apostrophe and the end. The same hundredth
is taken from everybody; it costs a word that a system knows 0.015 bits at most, and bounds what it pays for
one that it does not know, whose p(w) is 0, or p(unknown) s(w) where a system has a class of unknown words. A
system that spells by pieces has a p(w) of its own for any word. A word has n + 1 characters: its letters and
the space that ends it.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fedkey.baseline import PeerSuggestions, answer
from fedkey.lexicon import Lexicon
from fedkey.metrics import Likelihood
from fedkey.text import is_word, units_with_places

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BLIND_SHARE = 0.01
"""Of the mixture that prices words: what the blind speller has of it."""

LETTERS = 38
"""What the blind speller chooses from: 26 letters, ten digits, the apostrophe and the end of the word."""

CONTEXTS_KEPT = 16
"""Contexts whose probabilities are kept: all letters typed in one place share them."""


class WordModel(Protocol):
    """Knows its words' probabilities after any text."""

    words: Sequence[str]
    """In lower case, each once, ascending."""

    def probabilities(self, context: str) -> Floats:
        """How likely each of `words` comes next, and last the unknown word, [W + 1].

        `context` is as `Engine.suggest` takes it.
        """


def spelled_blindly(word: str) -> float:
    """s(word), as a natural logarithm."""
    return -(len(word) + 1) * math.log(LETTERS)


def price(word: str, log_prob: float) -> float:
    """What a word costs in nats where a system gives it this log probability (minus infinity for none)."""
    own = math.log1p(-BLIND_SHARE) + log_prob
    blind = math.log(BLIND_SHARE) + spelled_blindly(word)
    return -float(np.logaddexp(own, blind))


LogProbs = Callable[[Sequence[str], str, Sequence[int]], Sequence[float]]
"""(earlier messages, message, where its words begin) -> each word's log probability, given that one comes."""


def likelihood(log_probs: LogProbs, earlier: Sequence[str], message: str) -> Likelihood:
    """What the words of a message cost."""
    words = [(unit, place) for unit, place in units_with_places(message) if is_word(unit)]
    if not words:
        return Likelihood()
    known = log_probs(earlier, message, [place for _, place in words])
    nats = sum(price(word, log_prob) for (word, _), log_prob in zip(words, known, strict=True))
    return Likelihood(nats, sum(len(word) + 1 for word, _ in words), len(words))


class WordKeyboard:
    """Suggests a model's most probable words; writes them as the lexicon does, and withholds what it
    withholds."""

    def __init__(self, model: WordModel, lexicon: Lexicon) -> None:
        self._model = model
        self._places = {word: place for place, word in enumerate(model.words)}
        forms, surfaces = Forms(lexicon), []
        withheld = np.zeros(len(model.words), dtype=np.bool_)
        for place, word in enumerate(model.words):
            surfaces.append(forms.surface(word))
            withheld[place] = forms.is_withheld(word)
        self._surfaces = surfaces
        self._offered = ~withheld
        self._likely = functools.lru_cache(maxsize=CONTEXTS_KEPT)(model.probabilities)

    def suggest(self, context: str, typed: str, k: int = 3) -> PeerSuggestions:
        """The k words most likely after `context` that `typed` begins."""
        return answer(context, typed, k, lambda letters, count: self._best(context, letters.lower(), count))

    def log_probs(self, earlier: Sequence[str], message: str, places: Sequence[int]) -> list[float]:
        """As `LogProbs` says."""
        before = "".join(f"{text}\n" for text in earlier)
        ends = {place: place + len(unit) for unit, place in units_with_places(message)}
        found = []
        for place in places:
            word = message[place : ends[place]].lower()
            likely = self._likely(before + message[:place])
            index = self._places.get(word)
            probability = float(likely[-1] if index is None else likely[index])
            log_prob = math.log(probability) if probability > 0 else -math.inf
            found.append(log_prob + spelled_blindly(word) if index is None else log_prob)
        return found

    def _best(self, context: str, letters: str, k: int) -> list[str]:
        start = bisect_left(self._model.words, letters)
        end = bisect_left(self._model.words, letters + chr(0x10FFFF)) if letters else len(self._model.words)
        likely = np.where(self._offered[start:end], self._likely(context)[start:end], -1.0)
        first = np.argsort(-likely, kind="stable")[:k] if len(likely) <= k else _largest(likely, k)
        return [self._surfaces[start + place] for place in first.tolist() if likely[place] >= 0]


def _largest(values: Floats, count: int) -> Integers:
    """The places of the `count` largest values, largest first; equal values keep their order."""
    places = np.flatnonzero(values >= np.partition(values, -count)[-count])
    ordered: Integers = places[np.argsort(-values[places], kind="stable")][:count]
    return ordered


class Forms:
    """How words in lower case are written, and whether they are shown unasked, by a lexicon."""

    def __init__(self, lexicon: Lexicon) -> None:
        best: dict[str, int] = {}
        for index in range(len(lexicon)):
            key = lexicon.key(index)
            if key not in best or lexicon.log_prob[index] > lexicon.log_prob[best[key]]:
                best[key] = index
        self._lexicon = lexicon
        self._best: Mapping[str, int] = best

    def surface(self, word: str) -> str:
        """Its most frequent form, or itself."""
        index = self._best.get(word)
        return word if index is None else self._lexicon.word(index)

    def is_withheld(self, word: str) -> bool:
        """Whether the lexicon flags it as offensive."""
        index = self._best.get(word)
        return index is not None and self._lexicon.is_offensive(index)


class Frequencies:
    """The lexicon's own frequencies, whatever stands before."""

    def __init__(self, lexicon: Lexicon) -> None:
        keys = [lexicon.key(index) for index in range(len(lexicon))]
        self.words: Sequence[str] = sorted(set(keys))
        numbers = {word: number for number, word in enumerate(self.words)}
        shares = np.bincount(
            [numbers[key] for key in keys], np.exp(np.asarray(lexicon.log_prob, dtype=np.float64))
        )
        # What is left to unknown words; a lexicon whose shares add up to all leaves them nothing.
        rest = max(0.0, 1.0 - float(shares.sum()))
        self._likely: Floats = np.append(shares, rest) / (float(shares.sum()) + rest)

    def probabilities(self, context: str) -> Floats:
        """As `WordModel` says."""
        return self._likely
