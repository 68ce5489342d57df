"""A new author: how soon the keyboard learns his words, and what that saves him.

In: an author's conversations, and a way to open a keyboard that remembers nobody. Out: sums of
`fedkey.metrics`. Next stop: `fedkey.cli.eval`.

The ideal typist of `fedkey.simulate` types the author's messages in order, twice with a fresh keyboard: once
it is told of every word that was finished, as a keyboard in use is, and once of none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np

from fedkey.conversations import GradedConversation
from fedkey.metrics import Keystrokes, NewWords, Sums
from fedkey.simulate import Look, Predictor, Typist
from fedkey.text import PLACEHOLDERS, is_word, units_with_places
from fedkey.workers import OpenedBundle

FIRST_MESSAGES = (1, 5, 20, 100)
"""Numbers of an author's first messages over which keystrokes are counted."""


@runtime_checkable
class Learner(Predictor, Protocol):
    """A predictor that remembers what its owner writes."""

    def accept(self, context: str, typed: str, word: str) -> object:
        """Told that `word` now stands after `context`, and which of its letters were typed."""

    def learn(self, word: str) -> object:
        """Told to know a word."""

    def forget(self, word: str) -> object:
        """Told to know it no more."""

    def words_learned(self) -> object:
        """What it knows beyond its lexicon."""


@dataclass(frozen=True)
class FirstMessages(Sums):
    """The ideal typist's keystrokes over the first messages of authors who wrote as many at least."""

    first_1: Keystrokes = Keystrokes()
    first_5: Keystrokes = Keystrokes()
    first_20: Keystrokes = Keystrokes()
    first_100: Keystrokes = Keystrokes()

    def first(self, messages: int) -> Keystrokes:
        """Over so many messages."""
        keys: Keystrokes = getattr(self, f"first_{messages}")
        return keys


@dataclass(frozen=True)
class Learning(Sums):
    """What a memory is worth to one author or many."""

    with_memory: FirstMessages = FirstMessages()
    without_memory: FirstMessages = FirstMessages()
    new_words: NewWords = NewWords()
    """With memory, over the first hundred messages."""


def grade_learning(
    open_keyboard: Callable[[], Learner],
    conversations: Sequence[GradedConversation],
    is_known: Callable[[str], bool],
) -> Learning:
    """Types one author's first messages with memory and without.

    Args:
        open_keyboard: opens a keyboard that has learned nothing yet.
        conversations: one author's, in the order in which they were written.
        is_known: whether the lexicon holds a word, in any case.
    """
    with_memory, new_words = _first_messages(open_keyboard(), conversations, is_known, is_told=True)
    without_memory, _ = _first_messages(open_keyboard(), conversations, is_known, is_told=False)
    return Learning(with_memory, without_memory, new_words)


def _first_messages(
    keyboard: Learner,
    conversations: Sequence[GradedConversation],
    is_known: Callable[[str], bool],
    *,
    is_told: bool,
) -> tuple[FirstMessages, NewWords]:
    stranger_uses: dict[str, _Uses] = {}
    counted: dict[str, Keystrokes] = {}
    total = Keystrokes()
    for number, (before, message) in enumerate(_own_messages(conversations), start=1):
        typist = Typist()
        end = 0
        for unit, start in units_with_places(message):
            typist.gap(start - end)
            end = start + len(unit)
            if unit in PLACEHOLDERS:
                continue
            if not is_word(unit):
                typist.type(len(unit))
                continue
            context = before + message[:start]
            look = Look(keyboard, context, unit, [])
            shown = next((n for n in range(len(unit)) if look.rank(unit[:n]) is not None), None)
            typist.word(len(unit), shown)
            if not is_known(unit):
                stranger_uses.setdefault(unit.lower(), _Uses()).add(shown)
            if is_told:
                keyboard.accept(context, unit if shown is None else unit[:shown], unit)
        total += typist.keystrokes()
        if number in FIRST_MESSAGES:
            counted[f"first_{number}"] = total
    new_words = sum((uses.as_new_word() for uses in stranger_uses.values()), NewWords())
    return FirstMessages(**counted), new_words


def _own_messages(conversations: Iterable[GradedConversation]) -> Iterator[tuple[str, str]]:
    """What stands before each of the author's first messages, and its text."""
    own = (each for conversation in conversations for each in conversation.to_type())
    return ((before, message) for _, before, message in islice(own, FIRST_MESSAGES[-1]))


class _Uses:
    """How often a word that the lexicon lacks was written, and when it was first offered."""

    def __init__(self) -> None:
        self._written = 0
        self._first_offered: tuple[int, int] | None = None

    def add(self, shown_after: int | None) -> None:
        """Once more; offered after so many letters, or not at all."""
        if shown_after is not None and self._written > 0 and self._first_offered is None:
            self._first_offered = (self._written, shown_after)
        self._written += 1

    def as_new_word(self) -> NewWords:
        """Nothing for a word that was written once: it had no chance."""
        if self._written < 2:
            return NewWords()
        if self._first_offered is None:
            return NewWords(never=1)
        written, letters = self._first_offered
        return NewWords(
            after_1=int(written == 1),
            after_2=int(written == 2),
            after_more=int(written > 2),
            letters=letters,
        )


def grade_author(opened: OpenedBundle, conversations: Sequence[GradedConversation]) -> dict[str, Learning]:
    """`grade_learning` of one author on a bundle's engine, opened anew each time."""
    from fedkey.engine import Engine

    def open_keyboard() -> Learner:
        return Engine.open(opened.path)

    return {conversations[0].author: grade_learning(open_keyboard, conversations, opened.is_known)}


def by_author(
    conversations: Sequence[GradedConversation], max_words: int | None, seed: int
) -> list[list[GradedConversation]]:
    """The conversations of each author, in order; authors drawn until about `max_words` words of their first
    hundred messages are together."""
    grouped: dict[str, list[GradedConversation]] = {}
    for conversation in conversations:
        grouped.setdefault(conversation.author, []).append(conversation)
    names = sorted(grouped)
    chosen: list[list[GradedConversation]] = []
    words = 0
    for index in np.random.default_rng(seed).permutation(len(names)):
        if max_words is not None and words >= max_words:
            break
        own = grouped[names[index]]
        chosen.append(own)
        words += sum(
            is_word(unit) for _, message in _own_messages(own) for unit, _ in units_with_places(message)
        )
    return chosen
