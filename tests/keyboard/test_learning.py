"""What a memory is worth, measured on a keyboard that remembers every word at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from fedkey.conversations import GradedConversation
from fedkey.learning import (
    FirstMessages,
    Learner,
    Learning,
    by_author,
    grade_author,
    grade_learning,
)
from fedkey.metrics import Keystrokes, NewWords
from fedkey.text import LINK
from fedkey.workers import OpenedBundle


@dataclass(frozen=True)
class Answer:
    words: tuple[str, ...]
    latency_ms: float = 0.5


class Notebook:
    """Shows the words it was told often enough, newest first, once so many letters are typed."""

    def __init__(self, tellings: int = 1, letters: int = 2) -> None:
        self._tellings, self._letters = tellings, letters
        self.told: list[tuple[str, str, str]] = []

    def suggest(self, context: str, typed: str, k: int = 3) -> Answer:
        heard = [word for _, _, word in self.told]
        fits = [word for word in dict.fromkeys(reversed(heard)) if heard.count(word) >= self._tellings]
        if len(typed) < self._letters:
            return Answer(())
        return Answer(tuple(word for word in fits if word.startswith(typed))[:k])

    def accept(self, context: str, typed: str, word: str) -> None:
        self.told.append((context, typed, word))

    def learn(self, word: str) -> None:
        raise AssertionError("nobody was asked to learn anything")

    def forget(self, word: str) -> None:
        raise AssertionError("nobody was asked to forget anything")

    def words_learned(self) -> tuple[str, ...]:
        return ()


def known(word: str) -> bool:
    return word in {"see", "you", "with"}


def grade(*messages: str, tellings: int = 1, letters: int = 2) -> Learning:
    conversation = GradedConversation("ann", messages, (True,) * len(messages))
    return grade_learning(lambda: Notebook(tellings, letters), [conversation], known)


def test_keys_by_hand() -> None:
    """Told of zorro once, the keyboard shows it after two letters."""
    found = grade("zorro", "zorro", "you", "see zorro", "you")
    assert found.with_memory == FirstMessages(
        first_1=Keystrokes(5, 5), first_5=Keystrokes(5 + 3 + 3 + (3 + 1 + 3) + 3, 25)
    )
    assert found.without_memory == FirstMessages(first_1=Keystrokes(5, 5), first_5=Keystrokes(25, 25))


def test_known_words_are_remembered_too() -> None:
    assert grade("with", "with", "a", "b", "c").with_memory.first_5 == Keystrokes(4 + 3 + 3, 11)


def test_the_first_messages_are_those_of_authors_who_wrote_as_many() -> None:
    found = grade(*(f"a{number}" for number in range(19)))
    assert found.without_memory.first_5.characters == 10
    assert found.without_memory.first_20 == Keystrokes()
    found = grade(*("you",) * 130)
    assert found.without_memory.first_20.characters == 60
    assert found.without_memory.first_100.characters == 300
    assert found.without_memory.first(100) == found.without_memory.first_100


@pytest.mark.parametrize(
    ("messages", "tellings", "new_words"),
    [
        (("zorro", "zorro"), 1, NewWords(after_1=1, letters=2)),
        (("zorro", "Zorro"), 1, NewWords(never=1)),  # the notebook minds capitals
        (("zorro zorro zorro",), 2, NewWords(after_2=1, letters=2)),
        (("zorro",) * 6, 4, NewWords(after_more=1, letters=2)),
        (("zorro",) * 3, 4, NewWords(never=1)),
        (("zorro", "you"), 1, NewWords()),
        (("you", "you"), 1, NewWords()),
        (("zorro bongo", "bongo", "zorro"), 1, NewWords(after_1=2, letters=4)),
    ],
)
def test_new_words_by_hand(messages: tuple[str, ...], tellings: int, new_words: NewWords) -> None:
    assert grade(*messages, tellings=tellings).new_words == new_words


def test_a_word_that_was_shown_before_it_was_written_is_not_new_yet() -> None:
    class Prophet(Notebook):
        def suggest(self, context: str, typed: str, k: int = 3) -> Answer:
            return Answer(("zorro",))

    conversation = GradedConversation("ann", ("zorro", "zorro"), (True, True))
    found = grade_learning(Prophet, [conversation], known)
    assert found.new_words == NewWords(after_1=1)
    assert found.with_memory.first_1 == Keystrokes(1, 5)


def test_the_keyboard_is_told_of_every_own_word_and_of_nothing_else() -> None:
    notebooks: list[Notebook] = []

    def open_keyboard() -> Notebook:
        notebooks.append(Notebook())
        return notebooks[-1]

    conversation = GradedConversation(
        "ann", ("who?", f"zorro, {LINK}!", "hm", "a zorro"), (False, True, False, True)
    )
    grade_learning(open_keyboard, [conversation], known)
    told, untold = notebooks
    assert told.told == [
        ("who?\n", "zorro", "zorro"),
        (f"who?\nzorro, {LINK}!\nhm\n", "a", "a"),
        (f"who?\nzorro, {LINK}!\nhm\na ", "zo", "zorro"),
    ]
    assert untold.told == []


def test_what_learns_is_told_by_what_it_can_do() -> None:
    class Forgetful:
        def suggest(self, context: str, typed: str, k: int = 3) -> Answer:
            return Answer(())

        def accept(self, context: str, typed: str, word: str) -> None: ...

    assert isinstance(Notebook(), Learner)
    assert not isinstance(Forgetful(), Learner)


def test_authors_are_drawn_whole_and_in_their_order() -> None:
    conversations = [
        GradedConversation(author, (f"{author} one two",), (True,)) for author in ("ann", "bob", "ann", "cid")
    ]
    everyone = by_author(conversations, None, 0)
    assert sorted(own[0].author for own in everyone) == ["ann", "bob", "cid"]
    assert [conversations[0], conversations[2]] in everyone
    assert len(by_author(conversations, 1, 0)) == 1
    assert by_author(conversations, 6, 0) == by_author(conversations, 6, 0)
    assert len({by_author(conversations, 1, seed)[0][0].author for seed in range(30)}) == 3


def test_the_engine_learns_a_word(tiny_bundle: Path) -> None:
    message = "zorrobongo likes you"
    conversation = GradedConversation("ann", (message,) * 5, (True,) * 5)
    found = grade_author(OpenedBundle(tiny_bundle), [conversation])["ann"]
    assert found.new_words.words >= 1
    assert found.new_words.never == 0
    assert found.with_memory.first_5.pressed < found.without_memory.first_5.pressed
