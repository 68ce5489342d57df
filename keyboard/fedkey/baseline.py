"""The unigram baseline: most frequent completions, whatever stands before.

In: a lexicon. Out: suggestions in the engine's form. Next stop: `fedkey.simulate`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from fedkey.candidates import CandidateFinder
from fedkey.casing import like_typed
from fedkey.lexicon import Lexicon
from fedkey.text import caret_units, is_sentence_start, normalise, split_context


@dataclass(frozen=True)
class PeerSuggestions:
    """What another keyboard answers to one key."""

    words: tuple[str, ...]
    latency_ms: float


def answer(
    context: str, typed: str, k: int, find: Callable[[str, int], Iterable[str]], *, may_be_typed: bool = False
) -> PeerSuggestions:
    """What `find` offers, less what is typed already and written as fedkey writes words, so that peers differ
    in what they expect and in nothing else.

    Args:
        context, typed, k: as for `Engine.suggest`.
        find: gives at most so many words for the letters typed, best first.
        may_be_typed: whether what is typed already may be among them: some peers decide that themselves.
    """
    started = time.perf_counter()
    letters = normalise(typed)
    _, current, gap = split_context(context[context.rfind("\n") + 1 :])
    starts_sentence = is_sentence_start(caret_units(current, gap))
    found = find(letters, k if may_be_typed or not letters else k + 1)
    words = [like_typed(word, letters, starts_sentence=starts_sentence) for word in found]
    shown = [word for word in words if may_be_typed or word != letters][:k]
    return PeerSuggestions(tuple(shown), (time.perf_counter() - started) * 1000)


class Unigram:
    """Suggests a lexicon's most probable completions. Knows sentence starts, so that only the context
    differs."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._finder = CandidateFinder(lexicon)
        self._best = functools.lru_cache(maxsize=65_536)(self._find_best)

    def suggest(self, context: str, typed: str, k: int = 3) -> PeerSuggestions:
        """The k most frequent words that `typed` begins."""
        return answer(context, typed, k, lambda letters, count: self._best(letters.lower(), count))

    def _find_best(self, letters: str, k: int) -> tuple[str, ...]:
        words = np.asarray(self._finder.find(letters).words)
        order = np.argsort(-np.asarray(self._lexicon.log_prob[words], dtype=np.float32), kind="stable")
        chosen: list[str] = []
        for word in words[order]:
            surface = self._lexicon.word(int(word))
            if surface.lower() not in (other.lower() for other in chosen):
                chosen.append(surface)
            if len(chosen) == k:
                break
        return tuple(chosen)
