"""What owners may want done with what their keyboard remembers, and what becomes of it.

In: an open memory, and a wish. Out: its outcome: a sentence where one is due, and what is remembered after
it. Next stop: `fedkey.ui.privacy`, which has the wishes granted in the engine's thread.

Beside the memory may lie a diary, which a joined keyboard trains on (`fedkey.diary`). What is forgotten is
taken out of both, out of each though the other fails. The list of what left this machine
(`fedkey.departures`) holds no words and stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from fedkey.departures import DEPARTURES, Departure, read_departures
from fedkey.diary import DIARY, Diary
from fedkey.errors import UserError
from fedkey.personal import LearnedWord, Personal
from fedkey.personal_lines import Contents
from fedkey.personal_store import TracesRemainError


@dataclass(frozen=True)
class Look:
    """Shows all that is remembered."""


@dataclass(frozen=True)
class LookUp:
    """Shows all that is remembered of one word."""

    word: str


@dataclass(frozen=True)
class Forget:
    """Removes a word; the outcome has what `BringBack` takes."""

    word: str


@dataclass(frozen=True)
class BringBack:
    """Takes a `Forget` back."""

    remembered: Contents


@dataclass(frozen=True)
class Respell:
    """Puts one word in place of another."""

    old: str
    new: str


@dataclass(frozen=True)
class EraseAll:
    """Forgets everything, the diary and damaged files that were set aside included."""


@dataclass(frozen=True)
class Export:
    """Writes all words to a file.

    Attributes:
        path: the file; or a folder, in which it gets its usual name.
        replaces: whether it may take the place of another.
    """

    path: Path
    replaces: bool = False


@dataclass(frozen=True)
class Import:
    """Adds the words of an exported file."""

    path: Path


Wish = Look | LookUp | Forget | BringBack | Respell | EraseAll | Export | Import


@dataclass(frozen=True)
class Memory:
    """All that is remembered.

    Attributes:
        words: the most used first.
        path: the file; None if nothing outlives the keyboard.
        files_set_aside: damaged files, in which words may stand still.
        num_diary_words: words that a federation may learn from.
        departures: what left this machine, oldest first.
    """

    words: tuple[LearnedWord, ...]
    path: Path | None
    files_set_aside: tuple[Path, ...]
    num_diary_words: int
    departures: tuple[Departure, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a wish.

    Attributes:
        wish: the wish.
        is_granted: whether it was done.
        sentence: what its owner should know of it; may be empty.
        memory: what is remembered now; None after `LookUp`, and where that could not be read.
        remembered: of `LookUp` and `Forget`, what is or was remembered of the word; None if there is none.
        may_replace: of `Export`, whether it was not done because there is such a file.
    """

    wish: Wish
    is_granted: bool
    sentence: str
    memory: Memory | None
    remembered: Contents | None = None
    may_replace: bool = False


def grant(personal: Personal, wish: Wish) -> Outcome:
    """Does what is wished. What goes wrong is told in the outcome's sentence."""
    remembered: Contents | None = None
    try:
        if isinstance(wish, LookUp):
            return Outcome(wish, True, "", None, personal.remembered(wish.word))
        if isinstance(wish, Forget):
            remembered = personal.remembered(wish.word)
        sentence = _done(personal, wish)
    except UserError as error:
        may_replace = isinstance(wish, Export) and not wish.replaces and os.path.isfile(wish.path)
        return Outcome(wish, False, str(error), _read(personal), remembered, may_replace)
    return Outcome(wish, True, sentence, _read(personal), remembered)


def usual_export(folder: Path, day: str) -> Path:
    """A name in a folder, after a day, that no file has yet, as far as the folder may be looked into."""
    number, path = 1, folder / f"fedkey-words-{day}.jsonl"
    while os.path.exists(path):
        number += 1
        path = folder / f"fedkey-words-{day}-{number}.jsonl"
    return path


def _done(personal: Personal, wish: Wish) -> str:
    """Does what is wished, and returns the sentence.

    Raises:
        UserError: it was not done, or not wholly; the sentence says which.
    """
    if isinstance(wish, Forget):
        return _forget(personal, wish.word)
    if isinstance(wish, BringBack):
        personal.bring_back(wish.remembered)
        (row,) = wish.remembered.words.values()
        return f"“{row.surface}” is remembered again."
    if isinstance(wish, Respell):
        return _respell(personal, wish.old, wish.new)
    if isinstance(wish, EraseAll):
        return _erase_all(personal)
    if isinstance(wish, Export):
        return _export(personal, wish)
    if isinstance(wish, Import):
        return _import(personal, wish.path)
    return ""


def _forget(personal: Personal, word: str) -> str:
    was_there, diary = True, _diary(personal)
    with _all_tried() as failures:
        with _tried(failures):
            was_there = personal.forget(word)
        with _tried(failures):
            if diary is not None:
                diary.forget(word)
    if not was_there:
        return f"“{word}” was forgotten meanwhile."
    if personal.files_set_aside:
        return (
            f"“{word}” is forgotten; only a damaged file that was set aside may hold it, until all is erased."
        )
    return f"“{word}” is forgotten."


def _respell(personal: Personal, old: str, new: str) -> str:
    is_same_word = old.lower() == new.lower()
    is_merged = not is_same_word and personal.remembered(new) is not None
    was_there, diary = True, _diary(personal)
    with _all_tried() as failures:
        # After any other failure the old word is remembered still, and stays in the diary too.
        with _tried(failures, TracesRemainError):
            was_there = personal.edit(old, new)
        with _tried(failures):
            if diary is not None and was_there and not is_same_word:
                diary.forget(old)
    if not was_there:
        return f"“{old}” was forgotten meanwhile."
    also = ", with what was remembered of both" if is_merged else ""
    return f"“{old}” is “{new}” now{also}."


def _erase_all(personal: Personal) -> str:
    diary = _diary(personal)
    with _all_tried() as failures:
        with _tried(failures):
            personal.erase_all()
        with _tried(failures):
            if diary is not None:
                diary.erase()
    return "Everything is erased."


@contextmanager
def _all_tried() -> Iterator[list[str]]:
    """Raises one `UserError` of all that failed inside."""
    failures: list[str] = []
    yield failures
    if failures:
        raise UserError(" ".join(failures))


@contextmanager
def _tried(failures: list[str], kind: type[UserError] = UserError) -> Iterator[None]:
    """Adds the sentence of what fails inside to the failures, and lets what comes after it be done."""
    try:
        yield
    except kind as error:
        failures.append(str(error))


def _export(personal: Personal, wish: Export) -> str:
    is_folder = os.path.isdir(wish.path)
    path = usual_export(wish.path, date.today().isoformat()) if is_folder else wish.path
    personal.export_to(path, replaces=wish.replaces)
    return f"Written to {path}: anyone who can read that file can read your words."


def _import(personal: Personal, path: Path) -> str:
    before = {each.word.lower() for each in personal.words()}
    personal.import_from(path)
    num_new = sum(each.word.lower() not in before for each in personal.words())
    return f"Imported {path.name}: {num_new:,} new {'word' if num_new == 1 else 'words'}."


def _read(personal: Personal) -> Memory | None:
    try:
        words = tuple(personal.words())
        aside = tuple(personal.files_set_aside)
        diary = _diary(personal)
        num_diary_words = 0 if diary is None else diary.num_words()
    except UserError:
        return None
    path = personal.path
    try:
        departures = () if path is None else tuple(read_departures(path.with_name(DEPARTURES)))
    except OSError:
        return None
    return Memory(words, path, aside, num_diary_words, departures)


def _diary(personal: Personal) -> Diary | None:
    return None if personal.path is None else Diary(personal.path.with_name(DIARY))
