"""The typist who mistypes, on texts so small that every key and every verdict can be found by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fedkey.conversations import GradedConversation, read_conversations, sample
from fedkey.layout import QWERTY
from fedkey.metrics import Autocorrect, Corrections, Keystrokes, RightWords
from fedkey.mistyping import (
    ByKind,
    Misspelt,
    Placed,
    Typing,
    grade_misspellings,
    grade_typing,
    place,
)
from fedkey.simulate import Predictor
from fedkey.taps import Touch, literal
from fedkey.text import LINK, normalise
from fedkey.typos import OMISSION, Careless, Misspelling, NoisyThumbs, Typed
from fedkey.workers import OpenedBundle


@dataclass(frozen=True)
class Answer:
    words: tuple[str, ...]
    autocorrect: str | None
    latency_ms: float = 0.5


class Corrector:
    """A keyboard that shows and corrects the same whatever stands before; it understands taps as letters."""

    def __init__(
        self, corrections: Mapping[str, str], shown: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self._corrections, self._shown = corrections, shown or {}
        self.asked: list[tuple[str, str]] = []
        self.tapped = 0

    def suggest(self, context: str, typed: str | tuple[Touch, ...], k: int = 3) -> Answer:
        if not isinstance(typed, str):
            typed = literal(QWERTY, typed)
            self.tapped += 1
        self.asked.append((context, typed))
        return Answer(self._shown.get(typed, ())[:k], self._corrections.get(typed))


@dataclass(frozen=True)
class Always:
    """Mistypes the same words in the same way."""

    typed: Mapping[str, str]

    def __call__(self, word: str, rng: np.random.Generator) -> Typed:
        letters = self.typed.get(word, word)
        return Typed(letters, None if letters == word else OMISSION)


def known(word: str) -> bool:
    return word.lower() in {"hello", "world", "form", "from", "see", "you"}


def type_message(message: str, mistakes: Mapping[str, str], keyboard: Predictor) -> Typing:
    assert normalise(message) == message
    conversation = GradedConversation("ann", (message,), (True,))
    return grade_typing(keyboard, [conversation], known, Always(mistakes))["ann"]


# ------------------------------------------------------------------------------------------------ autocorrect


@pytest.mark.parametrize(
    ("word", "typed", "becomes", "verdict"),
    [
        ("hello", "helo", "hello", Autocorrect(nonwords=Corrections(repaired=1))),
        ("hello", "helo", "Hello", Autocorrect(nonwords=Corrections(repaired=1))),
        ("hello", "helo", None, Autocorrect(nonwords=Corrections(missed=1))),
        ("hello", "helo", "help", Autocorrect(nonwords=Corrections(wrong=1))),
        ("from", "form", None, Autocorrect(real_words=Corrections(missed=1))),
        ("from", "form", "from", Autocorrect(real_words=Corrections(repaired=1))),
        ("from", "form", "farm", Autocorrect(real_words=Corrections(wrong=1))),
        ("kaitlyn", "kaitln", "kaitlyn", Autocorrect(strangers=Corrections(repaired=1))),
        ("kaitlyn", "kaitln", "katie", Autocorrect(strangers=Corrections(wrong=1))),
        ("kaitlyn", "hello", None, Autocorrect(real_words=Corrections(missed=1))),
        ("hello", "hello", None, Autocorrect(right_known=RightWords(1))),
        ("hello", "hello", "Hello", Autocorrect(right_known=RightWords(1))),
        ("hello", "hello", "help", Autocorrect(right_known=RightWords(1, harmed=1))),
        ("kaitlyn", "kaitlyn", None, Autocorrect(right_unknown=RightWords(1))),
        ("kaitlyn", "kaitlyn", "kaitlin", Autocorrect(right_unknown=RightWords(1, harmed=1))),
        ("dont", "dont", "don't", Autocorrect(right_unknown=RightWords(1, harmed=1, apostrophes=1))),
        ("its", "its", "it is", Autocorrect(right_unknown=RightWords(1, harmed=1))),
    ],
)
def test_verdicts(word: str, typed: str, becomes: str | None, verdict: Autocorrect) -> None:
    keyboard = Corrector({} if becomes is None else {typed: becomes})
    total = type_message(f"{word} you", {word: typed}, keyboard)
    assert total.autocorrect == verdict
    kind = verdict.nonwords if word != typed else Corrections()
    assert total.by_kind == ByKind(omission=kind)


def test_a_word_is_offered_if_it_is_among_the_three_before_the_space() -> None:
    shown = {"helo": ("help", "held", "Hello", "hero"), "form": ("forms", "forum", "farm", "from")}
    total = type_message("hello from you", {"hello": "helo", "from": "form"}, Corrector({}, shown))
    assert total.autocorrect.nonwords == Corrections(missed=1, offered=1)
    assert total.autocorrect.real_words == Corrections(missed=1, offered=0)


def test_only_words_that_a_space_ends_are_judged() -> None:
    mistakes = {"hello": "helo"}
    for message, judged in (
        ("hello", 0), ("hello.", 0), ("hello, hello", 0), ("hello hello", 1), ("hello :) hello", 1),
        ("see-hello you", 1),
    ):  # fmt: skip
        total = type_message(message, mistakes, Corrector({})).autocorrect
        assert total.mistyped.words == judged, message


def test_what_stands_before_a_word_is_the_text_as_it_was_meant() -> None:
    keyboard = Corrector({})
    conversation = GradedConversation("ann", ("who?", "hello hello you"), (False, True))
    grade_typing(keyboard, [conversation], known, Always({"hello": "helo"}))
    assert ("who?\nhello ", "helo") in keyboard.asked
    assert ("who?\nhello hello ", "yo") in keyboard.asked
    assert len(keyboard.asked) == len(set(keyboard.asked))


def test_a_keyboard_that_never_corrects_misses_everything() -> None:
    class Silent:
        def suggest(self, context: str, typed: str, k: int = 3) -> Answer:
            return _Plain(())  # type: ignore[return-value]

    @dataclass(frozen=True)
    class _Plain:
        words: tuple[str, ...]
        latency_ms: float = 0.1

    total = type_message("hello you see", {"hello": "helo"}, Silent())
    assert total.autocorrect.nonwords == Corrections(missed=1)
    assert total.autocorrect.right.harmed == 0


def test_each_author_has_sums_of_his_own() -> None:
    conversations = [
        GradedConversation("ann", ("hello you", "not graded", "hello you"), (True, False, True)),
        GradedConversation("bob", ("see you",), (True,)),
    ]
    totals = grade_typing(Corrector({}), conversations, known, Always({"hello": "helo"}))
    assert totals["ann"].autocorrect.nonwords.words == 2
    assert totals["bob"].autocorrect.mistyped.words == 0
    assert totals["bob"].aided.characters == len("see you")


# ------------------------------------------------------------------------------------------------- keystrokes

MISTAKES = {"hello": "helo", "world": "wprld", "from": "form"}


@pytest.mark.parametrize(
    ("message", "corrections", "shown", "pressed", "why"),
    [
        ("see you", {}, {}, 7, "right words, no help"),
        ("hello you", {"helo": "hello"}, {}, 4 + 1 + 3, "repaired by the space"),
        ("hello, you", {"helo": "hello"}, {}, 4 + 2 + 3, "repaired by the comma"),
        ("hello", {"helo": "hello"}, {}, 4 + 1, "at the end a space is pressed for it"),
        ("hello you", {}, {"he": ("hello",)}, 3 + 3, "shown after two letters: it brings the space"),
        ("hello you", {}, {"helo": ("hello",)}, 5 + 3, "shown after the last letter"),
        ("hello", {"helo": "hello"}, {"helo": ("hello",)}, 4 + 1, "both: the space"),
        ("hello you", {}, {}, 4 + 2 + 1 + 2 + 1 + 3, "missed: space, taken back, o, l o, space"),
        (
            "hello you",
            {"helo": "help"},
            {},
            4 + 2 + 1 + 2 + 1 + 3,
            "wrong: the key that undoes it is the same",
        ),
        ("hello", {}, {}, 4 + 2 + 1 + 2, "missed at the end: no second space"),
        ("hello you", {}, {"hell": ("hello",)}, 4 + 2 + 1 + 1 + 1 + 3, "shown while it is typed again"),
        ("world you", {}, {"w": ("world",)}, 2 + 3, "shown before the mistake"),
        ("world you", {}, {}, 5 + 2 + 4 + 4 + 1 + 3, "four letters are taken back and typed again"),
        ("see you", {"see": "sea"}, {}, 3 + 2 + 1 + 3, "harmed: undone, and the space once more"),
        ("see you", {"you": "your"}, {}, 3 + 1 + 3, "nothing ends the last word, nothing harms it"),
        ("see you", {"see": "See"}, {}, 7, "a capital is no harm"),
        ("see you!", {"you": "your"}, {}, 3 + 1 + 3 + 2 + 1, "the exclamation mark corrects as well"),
        ("from you", {"form": "from"}, {}, 4 + 1 + 3, "a typo that is a word, repaired"),
        ("hello :)", {}, {"": ("hello",)}, 1 + 2, "shown before the first letter"),
    ],
)
def test_keys_by_hand(
    message: str,
    corrections: Mapping[str, str],
    shown: Mapping[str, tuple[str, ...]],
    pressed: int,
    why: str,
) -> None:
    total = type_message(message, MISTAKES, Corrector(corrections, shown))
    assert total.aided == Keystrokes(pressed, len(message)), why


@pytest.mark.parametrize(
    ("message", "pressed"),
    [
        ("see you", 7),
        ("hello you", 4 + 2 + 1 + 2 + 1 + 3),
        ("hello", 4 + 2 + 1 + 2),
        ("world", 5 + 2 + 4 + 4),
    ],
)
def test_keys_without_help(message: str, pressed: int) -> None:
    helpful = Corrector({"helo": "hello"}, {"": ("see", "world")})
    assert type_message(message, MISTAKES, helpful).unaided == Keystrokes(pressed, len(message))
    helpless = type_message(message, MISTAKES, Corrector({}))
    assert helpless.aided == helpless.unaided


def test_placeholders_cost_nothing() -> None:
    total = type_message(f"see {LINK} you", {}, Corrector({}, {"": ("see",)}))
    assert total.aided == Keystrokes(1 + 1 + 3, 3 + 1 + 1 + 3)


def test_taps_are_given_as_they_landed_and_judged_by_what_they_hit() -> None:
    conversation = GradedConversation("ann", ("hello world from you",) * 30, (True,) * 30)
    keyboard = Corrector({})
    slips = NoisyThumbs(gives_taps=True)
    taps = grade_typing(keyboard, [conversation], known, slips)["ann"]
    letters = grade_typing(Corrector({}), [conversation], known, NoisyThumbs())["ann"]
    assert keyboard.tapped > 30
    assert taps == letters
    assert taps.autocorrect.nonwords.missed > 10
    assert taps.by_kind == ByKind()


def test_every_keyboard_meets_the_same_mistakes() -> None:
    conversation = GradedConversation("ann", ("hello world from you all see",) * 20, (True,) * 20)
    slips = Careless(0.5)
    one = grade_typing(Corrector({}), [conversation], known, slips)["ann"]
    other = grade_typing(Corrector({}, {"w": ("world",)}), [conversation], known, slips)["ann"]
    again = grade_typing(Corrector({}), [conversation], known, slips, seed=1)["ann"]
    assert one.unaided == other.unaided
    assert one.aided != other.aided
    assert one.unaided != again.unaided


# ------------------------------------------------------------------------------------------ real misspellings


CONVERSATIONS = [
    GradedConversation("ann", ("hi", "Hello you, hello"), (False, True)),
    GradedConversation("bob", ("hello from far", "see"), (False, True)),
]


def test_misspellings_stand_where_their_word_was_written() -> None:
    pairs = [Misspelling("helo", "hello"), Misspelling("seee", "see"), Misspelling("nevr", "never")]
    drawn = [place(pairs, CONVERSATIONS, at_most=None, seed=seed) for seed in range(20)]
    for placed in drawn:
        assert sorted(each.meant for each in placed) == ["hello", "never", "see"]
    assert {each for placed in drawn for each in placed} == {
        Placed("Helo", "hello", "hi\n"),
        Placed("helo", "hello", "hi\nHello you, "),
        Placed("seee", "see", "hello from far\n"),
        Placed("nevr", "never", ""),
    }


def test_so_many_misspellings_are_drawn_and_a_seed_draws_others() -> None:
    pairs = [Misspelling(f"word{number}x", f"word{number}") for number in range(50)]
    once, again, other = (place(pairs, [], at_most=10, seed=seed) for seed in (0, 0, 1))
    assert once == again != other
    assert len(set(once)) == 10


def test_misspellings_are_judged_as_words_are() -> None:
    placed = [
        Placed("helo", "hello", "hi\n"),
        Placed("wrold", "world", ""),
        Placed("form", "from", "see you "),
        Placed("yuo", "you", ""),
    ]
    keyboard = Corrector({"helo": "hello", "wrold": "word"}, {"yuo": ("you",)})
    assert grade_misspellings(keyboard, placed, known) == Misspelt(
        nonwords=Corrections(repaired=1, wrong=1, missed=1, offered=1),
        in_context=Corrections(repaired=1),
        real_words=Corrections(missed=1),
    )
    assert ("hi\n", "helo") in keyboard.asked


# ---------------------------------------------------------------------------------------------- whole bundles


def test_the_engine_can_be_typed_on_with_mistakes(tiny_bundle: Path, tiny_data: Path) -> None:
    opened = OpenedBundle(tiny_bundle)
    chosen = sample(read_conversations(tiny_data / "test.jsonl"), 80, 0)
    by_author = grade_typing(opened.predictor("fedkey"), chosen, opened.is_known, Careless(0.3))
    total = sum(by_author.values(), Typing())
    assert total.autocorrect.mistyped.words > 5
    assert total.autocorrect.right.words > 20
    assert total.unaided.savings < 0 < total.aided.savings
    assert total.aided.characters == total.unaided.characters
