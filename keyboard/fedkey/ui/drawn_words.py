"""Words drawn across the keys: from a line to a word in the text, and to another one if it was the wrong one.

In: lines from the keypad, and what the engine makes of them. Out: questions to the engine, words in the text,
and what else the last line could have meant. Next stop: `fedkey.ui.drafting`.

Lines wait for each other, since a word is read after the one before it. If the text changed before the answer
came, the line is read again in the text as it is then.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fedkey.draft import Draft, context
from fedkey.layout import Shift
from fedkey.text import capitalise
from fedkey.ui.messages import Gesture, LineDrawn, Recognised

if TYPE_CHECKING:
    from fedkey.ui.drafting import DraftingScreen

NUM_OTHERS = 2
"""Words offered in place of the one that was put; the first place goes on with the text."""


class DrawnWords:
    """The lines drawn on one screen."""

    def __init__(self, typing: DraftingScreen) -> None:
        self._typing = typing
        self._lines: deque[LineDrawn] = deque()
        self._asked: Gesture | None = None
        self._put: tuple[Draft, tuple[str, ...]] | None = None

    def draw(self, line: LineDrawn) -> None:
        """Has a line read, after those that wait already."""
        self._lines.append(line)
        if self._asked is None:
            self._ask()

    def show(self, answer: Recognised) -> None:
        """Puts in the likeliest word."""
        typing = self._typing
        if answer.gesture is not self._asked:
            return
        around = context(typing.messages, typing.draft), typing.draft.after
        asked = answer.gesture.context, answer.gesture.after
        if asked != around or typing.draft.finished_word is not None:
            self._ask()
            return
        line = self._lines.popleft()
        words = tuple(_with_shift(word, line.shift) for word in answer.suggestions.words)
        if words:
            self._put_in(words)
        self._asked = None
        if self._lines:
            self._ask()

    @property
    def others(self) -> tuple[str, ...]:
        """What else the word could be that was drawn last; nothing once the text has changed."""
        if self._put is None or self._put[0] != self._typing.draft:
            return ()
        return self._put[1][1 : 1 + NUM_OTHERS]

    def put_instead(self, word: str) -> None:
        """Puts another of the words in place of the one that was drawn last."""
        if self._put is not None and word in self.others:
            words = self._put[1]
            self._typing.action_undo()
            self._put_in((word, *(each for each in words if each != word)))

    def _put_in(self, words: tuple[str, ...]) -> None:
        self._typing.put_drawn(words[0])
        self._put = self._typing.draft, words

    def _ask(self) -> None:
        typing = self._typing
        if typing.draft.finished_word is not None:
            typing.press(" ")  # The letters before the line are a word of their own.
        before = context(typing.messages, typing.draft)
        self._asked = Gesture(before, self._lines[0].path, typing.is_private, typing.draft.after)
        typing.post_message(self._asked)


def _with_shift(word: str, shift: Shift) -> str:
    if shift is Shift.LOCKED:
        return word.upper()
    return capitalise(word) if shift is Shift.ONCE else word
