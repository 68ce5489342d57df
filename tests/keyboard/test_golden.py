"""Keys pressed one by one, and the message that stands then: `golden.txt`, played with the engine alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from fedkey import Engine
from fedkey.draft import GAPS
from fedkey.engine import Accepted
from fedkey.text import is_word

GLUE = "@#/\\&=+*~^|"
"""What ends a word and yet makes one thing with it; it brings no correction."""


class Undoable(NamedTuple):
    """A correction that the next key may take back."""

    accepted: Accepted
    text: str
    """What stood before the word."""
    letters: str


class Ended(NamedTuple):
    """A word that was typed, and ended by a key that may have been pressed too early or too late."""

    before: str
    letters: str
    put: str


class Writer:
    """Somebody at the keyboard, who sees what is shown after every key."""

    def __init__(self, engine: Engine, context: str) -> None:
        self.engine = engine
        self._context = context
        self._text = ""
        self._typed = ""
        self._meant: set[str] = set()
        self._undoable: Undoable | None = None
        self._last: Ended | None = None
        self._has_given_space = False

    @property
    def text(self) -> str:
        """The message so far."""
        return self._text + self._typed

    @property
    def before(self) -> str:
        """What stands before the word being typed."""
        return self._context + self._text

    def press(self, key: str) -> None:
        """One key: a character, `<`, or something in square brackets."""
        undoable, self._undoable = self._undoable, None
        name, _, argument = key.strip("[]").partition(" ")
        if key == "<":
            self._backspace(undoable)
        elif len(key) == 1:
            self._type(key)
        elif name == "learn":
            self.engine.learn(argument)
        elif name == "forget":
            assert self.engine.forget(argument)
        elif name == "enter":
            self._finish("\n")
            self._context, self._text = f"{self.before}\n", ""
        else:
            word = self.engine.suggest(self.before, self._typed).words[int(name) - 1]
            self.engine.accept(self.before, self._typed, word)
            self._text, self._typed, self._has_given_space = f"{self._text}{word} ", "", True

    def _type(self, character: str) -> None:
        given, self._has_given_space = self._has_given_space, False
        if character.isalnum() or (character == "'" and self._typed):
            self._typed += character
        else:
            self._finish(character)
            if given and character in " .,!?":
                self._text = self._text[:-1]
            self._text += character

    def _finish(self, character: str) -> None:
        letters, self._typed = self._typed, ""
        word = letters.rstrip("'")
        if is_word(word):
            put = None
            if character not in GLUE + "\n" and word == letters and word not in self._meant:
                put = self.engine.suggest(self.before, letters).autocorrect
            accepted = self.engine.accept(self.before, word, put or word)
            text, last, self._last = self._text, self._last, Ended(self._text, word, put or letters)
            if put is not None:
                self._undoable = Undoable(accepted, text, letters)
                letters = put
            gap = text[-1:]
            if last is not None and text == f"{last.before}{last.put}{gap}" and character not in GLUE + "\n":
                context, stands = f"{self._context}{last.before}", f"{last.put}{gap}{letters}"
                reconsidered = None
                if gap in GAPS:
                    reconsidered = self.engine.reconsidered(context, last.letters, word, stands, gap=gap)
                if reconsidered is not None:
                    typed = f"{last.letters}{gap}{word}"
                    accepted = self.engine.accept(context, typed, reconsidered)
                    self._undoable = Undoable(accepted, last.before, stands)
                    self._text, letters = last.before, reconsidered
        self._text += letters

    def _backspace(self, undoable: Undoable | None) -> None:
        self._has_given_space = False
        if undoable is not None:
            self.engine.undo(undoable.accepted)
            self._text, self._typed = undoable.text, undoable.letters
            self._meant.add(undoable.letters)
        elif self._typed:
            self._typed = self._typed[:-1]
        else:
            text = self._text[:-1]
            end = re.search(r"(?:\w+(?:'\w+)*'?)?$", text)
            assert end is not None
            self._text, self._typed = text[: end.start()], end.group()


def play(engine: Engine, context: str, keys: str) -> str:
    """The message that stands after some keys."""
    writer = Writer(engine, context)
    for key in re.findall(r"\[\w+(?: [^\]]+)?\]|.", keys):
        writer.press(key)
    return writer.text


class Case(NamedTuple):
    """A line of `golden.txt`."""

    number: int
    context: str
    keys: str
    text: str


def read_cases(path: Path) -> list[Case]:
    """The cases; a context that does not end its message gets a space behind it."""
    cases = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line and not line.startswith("#"):
            match = re.fullmatch(r"(.*?)\| (.*) => (.*)", line)
            assert match, f"line {number} is no case: {line}"
            context, keys, text = match.groups()
            context = context.strip().replace("\\n", "\n")
            cases.append(Case(number, context if context[-1:] in ("", "\n") else f"{context} ", keys, text))
    return cases


CASES = read_cases(Path(__file__).with_name("golden.txt"))


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 170
    assert len({case[1:3] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number}: {case.keys}")
def test_golden(tiny_bundle: Path, case: Case) -> None:
    engine = Engine.open(tiny_bundle)
    assert play(engine, case.context, f"{case.keys} ").rstrip(" ") == case.text
    engine.close()
