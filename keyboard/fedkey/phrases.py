"""What follows the word that is likeliest, if the model is sure of it.

In: the likeliest word, how likely it is, and the model in its place. Out: two or three words that one tap
writes. Next stop: `fedkey.engine`.
"""

from __future__ import annotations

import math

from fedkey.decoder import WordScores
from fedkey.lexicon import Lexicon

SURE_WORD, SURE_PHRASE = 0.6, 0.4
"""A phrase is offered if its first word is at least so likely, given what was typed of it, and all of it
is."""

MAX_PHRASE_WORDS = 3


class Phrases:
    """Phrases in one place after another; what follows a word is asked of the model once in each."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._known: tuple[WordScores, dict[int, tuple[tuple[float, str], ...]]] | None = None

    def from_word(self, scores: WordScores, word: int, written: str, sure: float) -> str | None:
        """A word and what follows it, None if not even one word is sure to.

        Args:
            scores: the model in front of the word.
            word: its number in the lexicon.
            written: the word as it would be inserted.
            sure: its probability, given what was typed.
        """
        if sure < SURE_WORD:
            return None
        phrase = [written]
        for probability, follower in self._followers(scores, word):
            sure *= probability
            if sure < SURE_PHRASE:
                break
            phrase.append(follower)
        return " ".join(phrase) if len(phrase) > 1 else None

    def _followers(self, scores: WordScores, word: int) -> tuple[tuple[float, str], ...]:
        """The likeliest words after a word, each with its probability after those before it."""
        if self._known is None or self._known[0] is not scores:
            self._known = scores, {}
        known = self._known[1]
        if word not in known:
            found: list[tuple[float, str]] = []
            sure, path = 1.0, self._lexicon.pieces(word)
            while len(found) + 1 < MAX_PHRASE_WORDS:
                follower = scores.follower(path)
                if follower is None or sure * math.exp(follower.log_prob) < SURE_PHRASE:
                    break
                sure *= math.exp(follower.log_prob)
                found.append((math.exp(follower.log_prob), self._lexicon.word(follower.word)))
                path += self._lexicon.pieces(follower.word)
            known[word] = tuple(found)
        return known[word]
