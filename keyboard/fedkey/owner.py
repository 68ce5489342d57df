"""What the owner is known to write in one place.

In: the memory, the lexicon, the text before the caret and the letters typed. Out: words of the lexicon as the
decoder mixes them in, how the owner writes them, and words of the owner's own. Next stop: `fedkey.engine`.

The memory knows surface forms, the decoder numbers in the lexicon. What the lexicon has otherwise (*Lol* for
*lol*) keeps its number and the owner's spelling; what it lacks is a word of the owner's own; and what it has
but never offers is nothing, until it is typed out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.decoder import NO_HABITS, Habits
from fedkey.errors import UserError
from fedkey.gestures import GestureFinder
from fedkey.lexicon import Lexicon
from fedkey.personal import Personal
from fedkey.personal_ngram import Predictions
from fedkey.personal_rules import NearWords, words_before
from fedkey.personal_store import KnownWords

MISTYPED_NEW_WORD = 5.0
"""Nats that a mistake in a word of the owner's own costs, of whatever kind."""

MAX_MISTYPED_NEW_WORDS = 8

MAX_NUMBERS = 4096
"""Spellings whose number in the lexicon is kept at hand; the letters of every key are asked for."""


class OwnHabits(NamedTuple):
    """What the owner is known to write in one place.

    Attributes:
        known: words of the lexicon, for the decoder.
        spellings: how the owner writes them where the lexicon has it otherwise, by number.
        own: words that the lexicon lacks, with their log probabilities.
    """

    known: Habits
    spellings: Mapping[int, str]
    own: Mapping[str, float]


NOTHING_KNOWN = OwnHabits(NO_HABITS, {}, {})


class Owner:
    """A memory in the words of a lexicon. Whoever changes the memory calls `has_changed`.

    A word is the owner's own if this lexicon has none of its letters: what the lexicon of another bundle had
    when the word came decides nothing.
    """

    def __init__(self, memory: Personal, lexicon: Lexicon) -> None:
        self._memory = memory
        self._lexicon = lexicon
        self._last: tuple[str, OwnHabits] | None = None
        self._numbers: dict[str, int | None] = {}
        self._own = NearWords()
        self._own_version: int | None = None
        self._seen: set[str] = set()
        # Now, while nobody waits for a word: 14 ms for a thousand.
        with suppress(UserError):
            self._own_words(memory.known_words())

    def has_changed(self) -> None:
        """Forgets what was worked out from the memory as it was."""
        self._last = None

    def habits(self, context: str, letters: str) -> OwnHabits:
        """All that came in a place before, and words that the letters begin; `UserError` of the memory."""
        before = words_before(context)
        if self._last is None or self._last[0] != context:
            self._last = context, self._sorted_out(self._memory.predictions(before))
        here = self._last[1]
        if not letters:
            return here
        weight = here.known.weight
        if not weight:
            return NOTHING_KNOWN
        begun = self._sorted_out(self._memory.predictions(before, letters))
        own = dict(begun.own)
        mistyped = self._mistyped(letters)
        log_probs = self._memory.log_probs(before, mistyped) if mistyped else ()
        for word, log_prob in zip(mistyped, log_probs, strict=True):
            own[word] = math.log(weight) + float(log_prob) - MISTYPED_NEW_WORD
        known = {**by_word(here.known), **by_word(begun.known)}
        return OwnHabits(_as_habits(weight, known), {**here.spellings, **begun.spellings}, own)

    def expected(self, context: str) -> Habits:
        """What `habits` will say of the lexicon's words in another place, asked while nobody waits."""
        return self._sorted_out(self._memory.predictions(words_before(context))).known

    def drawn(
        self, gestures: GestureFinder, context: str, path: npt.NDArray[np.float32]
    ) -> list[tuple[str, float]]:
        """Words of the owner's own with what they are worth as the meaning of a path, [P, 2] in key widths;
        `UserError` of the memory."""
        before = words_before(context)
        weight = self._memory.predictions(before).weight
        known = self._memory.known_words()
        own = [known.words[key].surface for key in sorted(self._own_words(known).words)]
        costs = gestures.costs(path, own)
        meant = np.flatnonzero(np.isfinite(costs)).tolist()
        if not weight or not meant:
            return []
        log_probs = self._memory.log_probs(before, [own[index] for index in meant])
        return [
            (own[index], math.log(weight) + float(log_prob) - float(costs[index]))
            for index, log_prob in zip(meant, log_probs, strict=True)
        ]

    def number(self, surface: str) -> int | None:
        """The lexicon's word for what the owner writes, in whatever case; None if it offers none."""
        if surface not in self._numbers:
            if len(self._numbers) == MAX_NUMBERS:
                self._numbers.clear()
            number = self._lexicon.find(surface)
            if number is None:
                form = self._lexicon.forms.get(surface.lower())
                number = None if form is None else self._lexicon.find(form)
            is_offered = number is not None and not self._lexicon.is_offensive(number)
            self._numbers[surface] = number if is_offered else None
        return self._numbers[surface]

    def _sorted_out(self, predictions: Predictions) -> OwnHabits:
        """Tells words of the lexicon from the owner's own."""
        known: dict[int, float] = {}
        spellings: dict[int, str] = {}
        own: dict[str, float] = {}
        for surface, prob in predictions.probs.items():
            log_prob = math.log(predictions.weight * prob) if prob > 0 else -math.inf
            number = self.number(surface)
            if number is None:
                if self._is_own(surface.lower()):
                    own[surface] = log_prob
            else:
                known[number] = max(log_prob, known.get(number, -math.inf))
                if self._lexicon.word(number) != surface:
                    spellings[number] = surface
        return OwnHabits(_as_habits(predictions.weight, known), spellings, own)

    def _mistyped(self, letters: str) -> list[str]:
        """Words of the owner's own that one wrong letter keeps from being what the letters begin, the most
        frequent first."""
        known = self._memory.known_words()
        near = [known.words[key] for key in self._own_words(known).mistyped(letters.lower())]
        near.sort(key=lambda each: (-each.strength, each.surface))
        return [each.surface for each in near[:MAX_MISTYPED_NEW_WORDS]]

    def _own_words(self, known: KnownWords) -> NearWords:
        """Those of the known words that are the owner's own."""
        if known.version != self._own_version:
            for key in self._own.words - known.words.keys():
                self._own.remove(key)
            for key in known.words.keys() - self._seen:
                if self._is_own(key):
                    self._own.add(key)
            self._seen, self._own_version = set(known.words), known.version
        return self._own

    def _is_own(self, key: str) -> bool:
        """Whether a word is one of the owner's own. One that the lexicon has, but does not offer, is none: it
        is offensive, and offered when it is typed out."""
        return key not in self._lexicon.forms


def by_word(habits: Habits) -> dict[int, float]:
    """The log probability of each word that habits know."""
    return dict(zip(habits.words.tolist(), habits.log_probs.tolist(), strict=True))


def _as_habits(weight: float, log_probs: Mapping[int, float]) -> Habits:
    words = np.array(sorted(log_probs), dtype=np.int64)
    return Habits(weight, words, np.array([log_probs[word] for word in words.tolist()], dtype=np.float32))
