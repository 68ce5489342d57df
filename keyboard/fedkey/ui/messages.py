"""Everything that travels between the keyboard's parts: upwards from widgets, and back from the engine's
thread.

In: nothing. Out: one small dataclass per event. Next stop: `fedkey.ui.inference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from fedkey.layout import Key

if TYPE_CHECKING:
    from fedkey.engine import Suggestions


@dataclass(frozen=True)
class Question:
    """What the engine is asked: which words are meant here?

    Attributes:
        revision: counts the questions of a screen, so that an answer can be told from a newer one.
        context: everything before the word being typed, see `Engine.suggest`.
        typed: its letters so far.
    """

    revision: int
    context: str
    typed: str


@dataclass
class Asked(Message):
    """The text at the caret changed; only the newest question matters."""

    question: Question


@dataclass
class Written(Message):
    """A word now stands in the text, taken from the suggestions or typed to its end."""

    context: str
    typed: str
    word: str


@dataclass
class Typable(Message):
    """The screen has been drawn, and takes keys and answers."""


@dataclass
class EngineReady(Message):
    """The engine is open and answers."""


@dataclass
class EngineFailed(Message):
    """The engine cannot be opened, or cannot go on; one sentence says why."""

    reason: str


@dataclass
class Answered(Message):
    """The engine's answer to a question."""

    question: Question
    suggestions: Suggestions

    def can_replace(self, message: Message) -> bool:
        """Of several answers that wait to be shown, only the last matters."""
        return isinstance(message, Answered)


@dataclass
class KeyTapped(Message):
    """The mouse pressed a key on screen.

    Attributes:
        key: the key that was hit.
        x: where, in key widths from the keyboard's left edge.
        y: where, in key widths from its upper edge.
    """

    key: Key
    x: float
    y: float


@dataclass
class WordChosen(Message):
    """A suggestion was clicked; its word is named, because another may stand in its place by now."""

    word: str


@dataclass
class CaretPlaced(Message):
    """The draft was clicked.

    Attributes:
        caret: the character nearest to the click.
    """

    caret: int
