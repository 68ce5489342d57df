"""Somebody who writes messages at a human pace, with thumbs that miss, and eyes that see what is offered.

In: the messages, and after each key what is on screen. Out: the next key, and how long it takes to come. The
same seed and the same screens give the same keys. Next stop: `fedkey.ui.replaying`.

A word that was mistyped is left to the keyboard until it is finished. Where the correction fails the writer
goes back with Backspace, and takes care; a word that is offered is taken now and then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedkey.errors import UserError
from fedkey.layout import BACKSPACE, ENTER, Layout
from fedkey.taps import DEFAULT_THUMBS, Tap, Thumbs
from fedkey.text import normalise

NOTICES = 0.4
"""How often a word that is offered is noticed before the next key, once so many letters would be saved:"""
WORTH_LETTERS = 2

RHYTHM = 0.3
"""Spread of the logarithm of a key's time."""

LOOK_SECONDS, RETHINK_SECONDS, SEND_SECONDS, MESSAGE_SECONDS = 0.2, 0.35, 0.4, 0.9
"""Added before a suggestion, the first Backspace, the Enter, and the first key of a message."""

MOST_REPAIRS = 3
"""Of a word. Who cannot get the keyboard to write what they want leaves what stands."""

_KEY = re.compile(r"\[([a-z0-9+_]+)\]")


class Line(NamedTuple):
    """A message to write, or a key to press between messages."""

    text: str
    is_sent: bool = True
    is_key: bool = False


class Sight(NamedTuple):
    """What a writer sees of the screen.

    Attributes:
        text: the draft; the caret is at its end.
        offers: the keys that take what is offered, and the words that they put in.
    """

    text: str
    offers: tuple[tuple[str, str], ...] = ()


class Press(NamedTuple):
    """A key, which is a character or the name of one, and the seconds that pass before it is pressed."""

    seconds: float
    key: str


def read_script(path: Path) -> list[Line]:
    """The lines of a text file: each is a message, but for `[f9]`, which presses that key. What stands behind
    the last line break is written and not sent.

    Raises:
        UserError: the file cannot be read, or holds nothing to write.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"Cannot read {path}, which is to be played: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, which is to be played, is not UTF-8 text; convert the file first."
        ) from error
    script = []
    for raw in text.splitlines(keepends=True):
        line = raw.rstrip("\r\n")
        if key := _KEY.fullmatch(line.strip()):
            script.append(Line(key[1], is_key=True))
        elif message := normalise(line):
            script.append(Line(message, is_sent=raw != line))
    if not script:
        raise UserError(f"{path}, which is to be played, holds no message; write one on each line.")
    return script


@dataclass
class Writer:
    """Writes a script. `next` is asked after every key, when the keyboard has answered to it."""

    script: Sequence[Line]
    layout: Layout
    rng: np.random.Generator
    words_per_minute: float
    """A word is five keys, with its space."""
    thumbs: Thumbs = DEFAULT_THUMBS

    def __post_init__(self) -> None:
        self._line = 0
        self._begin()

    def _begin(self) -> None:
        self._at = 0  # how many characters of the message were meant so far
        self._careful_until = 0
        self._num_repairs = 0
        self._is_repairing = False

    def next(self, sight: Sight) -> Press | None:
        """The next key; None when all is written."""
        if self._line == len(self.script):
            return None
        line = self.script[self._line]
        if line.is_key:
            return self._go_on(MESSAGE_SECONDS, line.text)
        text = line.text
        is_all = self._at == len(text)
        offered = self._offered(sight, line)
        if is_all or self._is_repairing or not _is_in_word(text, self._at):
            is_right = sight.text in (text[: self._at], text[: self._at] + " ")
            if is_right:
                self._is_repairing = False
            elif is_all and offered is not None and not self._is_repairing:
                return self._take(offered)
            elif self._num_repairs < MOST_REPAIRS or self._is_repairing:
                if not text.startswith(sight.text):
                    return self._back()
                self._resume(len(sight.text))
                return self.next(sight)
        if is_all:
            if line.is_sent:
                return self._go_on(SEND_SECONDS, ENTER)
            self._line += 1
            return self.next(sight)
        if offered is not None and self.rng.random() < NOTICES:
            return self._take(offered)
        pause = MESSAGE_SECONDS if self._at == 0 else 0.0
        character = text[self._at]
        self._at += 1
        return Press(self._key_seconds() + pause, self._hit(character))

    def _go_on(self, seconds: float, key: str) -> Press:
        self._line += 1
        self._begin()
        return Press(self._key_seconds() + seconds, key)

    def _offered(self, sight: Sight, line: Line) -> str | None:
        """The key that takes the word being written, if it is offered and worth it."""
        start, end = _word_around(line.text, self._at)
        is_left_open = end == len(line.text) and not line.is_sent
        if is_left_open or (end - self._at < WORTH_LETTERS and self._at < len(line.text)):
            return None
        word = line.text[start:end]
        return next((key for key, text in sight.offers if text == word), None)

    def _take(self, key: str) -> Press:
        text = self.script[self._line].text
        _, end = _word_around(text, self._at)
        self._at = end + (text[end : end + 1] == " ")  # which the keyboard puts in
        return Press(self._key_seconds() + LOOK_SECONDS, key)

    def _back(self) -> Press:
        pause = 0.0 if self._is_repairing else RETHINK_SECONDS
        self._is_repairing = True
        self._num_repairs += pause > 0
        return Press(self._key_seconds() / 2 + pause, BACKSPACE)

    def _resume(self, at: int) -> None:
        self._is_repairing = False
        self._at = at
        end = _word_around(self.script[self._line].text, at)[1]
        if end > self._careful_until:
            self._careful_until, self._num_repairs = end, 1

    def _hit(self, character: str) -> str:
        """What a thumb that aims at a character types."""
        if not character.isalpha() or self._at <= self._careful_until:
            return character
        (touch,) = self.thumbs.sample(self.layout, character, self.rng)
        if not isinstance(touch, Tap):
            return character
        hit = self.layout.nearest(touch.x, touch.y).typed
        if not hit.isalpha():
            return character  # beside the letters thumbs notice at once where they are
        return hit.upper() if character.isupper() else hit

    def _key_seconds(self) -> float:
        return 60 / (5 * self.words_per_minute) * float(self.rng.lognormal(-(RHYTHM**2) / 2, RHYTHM))


def _is_in_word(text: str, at: int) -> bool:
    """Whether the last character before `at` is one of a word."""
    return at > 0 and (text[at - 1].isalnum() or text[at - 1] in "'’-")


def _word_around(text: str, at: int) -> tuple[int, int]:
    """Where the word begins and ends that `at` touches; it may be empty."""
    start = end = at
    while _is_in_word(text, start):
        start -= 1
    while end < len(text) and _is_in_word(text, end + 1):
        end += 1
    return start, end
