"""The simulated typist, on texts so small that every key can be counted by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.conversations import GradedConversation
from fedkey.metrics import Keystrokes, Latency
from fedkey.simulate import Scores, grade
from fedkey.text import LINK, normalise


@dataclass(frozen=True)
class Answer:
    words: tuple[str, ...]
    latency_ms: float = 0.5


class Table:
    """A keyboard that always shows the same words for the same letters, whatever stands before."""

    def __init__(self, words: Mapping[str, tuple[str, ...]]) -> None:
        self._words = words
        self.asked: list[tuple[str, str]] = []

    def suggest(self, context: str, typed: str, k: int = 3) -> Answer:
        self.asked.append((context, typed))
        return Answer(self._words.get(typed, ())[:k])


def everything_known(word: str) -> bool:
    return True


def one(message: str) -> list[GradedConversation]:
    assert normalise(message) == message
    return [GradedConversation("ann", (message,), (True,))]


def scores(words: Mapping[str, tuple[str, ...]], message: str) -> Scores:
    return grade(Table(words), one(message), everything_known)["ann"]


# ------------------------------------------------------------------------------------------ the ideal typist


@pytest.mark.parametrize(
    ("message", "pressed", "why"),
    [
        ("hello", 1, "shown before the first letter: one key"),
        ("hello world", 1 + 2, "the first brings its space; w, then world is shown: one key"),
        ("world", 2, "one letter, one key"),
        ("hello, world", 1 + 1 + 1 + 2, "the comma takes the free space; the space after it is typed"),
        ("hello ,world", 1 + 1 + 2, "the free space is wanted before the comma, and none after"),
        ("hello world!", 1 + 2 + 1, "the exclamation mark is one key"),
        ("hello!!!", 1 + 3, "each of a run is one key"),
        ("hello :)", 1 + 2, "an emoticon is typed"),
        ("xyz", 3, "never shown: typed to the end"),
        ("xyz hello", 3 + 1 + 1, "a typed word brings no space"),
        ("hello xyz", 1 + 3, "an accepted one does"),
        ("Hello", 1, "case is ignored, and shift does not count"),
        ("hello 42 world", 1 + 2 + 1 + 2, "digits are typed, and the space after them"),
        ("hello?! world", 1 + 2 + 1 + 2, "two marks"),
        ("hello-world", 1 + 1 + 2, "a hyphen takes the free space"),
        ("worl", 4, "a word that only begins like one that is shown"),
    ],
)
def test_keys_of_the_ideal_typist(message: str, pressed: int, why: str) -> None:
    shown = {"": ("you", "hello"), "w": ("we", "world"), "wo": ("world",), "wor": ("world",)}
    assert scores(shown, message).ideal == Keystrokes(pressed, len(message)), why


def test_savings_of_a_message_by_hand() -> None:
    """11 characters, 3 keys."""
    total = scores({"": ("hello",), "w": ("world",)}, "hello world")
    assert total.ideal.savings == pytest.approx(1 - 3 / 11)


def test_a_word_is_taken_the_moment_it_is_shown_and_never_later() -> None:
    shown = {"": ("a",), "h": ("b",), "he": ("hello",), "hel": ("help",), "hell": ("hello",)}
    assert scores(shown, "hello").ideal.pressed == 3


def test_placeholders_cost_nothing_and_are_not_asked_for() -> None:
    table = Table({"": ("see", LINK)})
    total = grade(table, one(f"see {LINK}"), everything_known)["ann"]
    assert total.ideal == Keystrokes(1, 4)
    assert total.after_0.positions == 1
    assert {context for context, _ in table.asked} == {""}


@given(
    st.lists(st.sampled_from(["hello", "xyz", ",", ":)", "42", "world", "(", "-"]), max_size=8).map(" ".join)
)
def test_nobody_presses_more_keys_than_there_are_characters(text: str) -> None:
    message = normalise(text)
    total = scores({"": ("hello",), "wor": ("world",)}, message) if message else Scores()
    for keys in (total.ideal, total.bounded.quarter, total.bounded.half, total.bounded.three_quarters):
        assert 0 <= keys.pressed <= keys.characters == len(message)


def test_a_keyboard_that_shows_nothing_saves_nothing() -> None:
    message = "well, this is (perhaps) a text :) of 12 words"
    total = scores({}, message)
    assert total.ideal == total.bounded.half == Keystrokes(len(message), len(message))
    assert total.after_0.top_3 == 0


# ---------------------------------------------------------------------------------------------------- recall


def test_recall_after_each_letter_by_hand() -> None:
    """hello: rank 2 at once, 1 after h. so: rank 3 after s; too short for more than one letter."""
    shown = {"": ("you", "Hello"), "h": ("hello",), "s": ("see", "she", "so"), "he": ("her",)}
    total = scores(shown, "hello so")
    assert (total.after_0.positions, total.after_0.hits_1, total.after_0.hits_3) == (2, 0, 1)
    assert total.after_0.reciprocal_rank == 0.5
    assert (total.after_0.exact_1, total.after_0.exact_3) == (0, 0)
    assert (total.after_1.positions, total.after_1.hits_1, total.after_1.hits_3) == (2, 1, 2)
    assert total.after_1.reciprocal_rank == pytest.approx(1 + 1 / 3)
    assert (total.after_1.exact_1, total.after_1.exact_3) == (1, 2)
    assert (total.after_2.positions, total.after_2.hits_3) == (1, 0)
    assert (total.after_3.positions, total.after_3.hits_3) == (1, 0)


def test_punctuation_and_numbers_are_no_words() -> None:
    total = scores({}, "well , 42 :) (so) 😀 I'm 2nd")
    assert total.after_0.positions == 4  # well, so, I'm, 2nd


def test_unknown_words_count_wrong_and_are_counted() -> None:
    table = Table({"": ("hello",)})
    total = grade(table, one("hello xyzzy"), lambda word: word != "xyzzy")["ann"]
    assert (total.after_0.positions, total.after_0.known, total.after_0.hits_1) == (2, 1, 1)
    assert total.after_0.top_1 == 0.5


def test_the_typist_sees_what_stands_before_and_no_more() -> None:
    table = Table({})
    conversation = GradedConversation("ann", ("how are you?", "fine, thanks"), (False, True))
    grade(table, [conversation], everything_known)
    assert ("how are you?\n", "") in table.asked
    assert ("how are you?\nfine, ", "tha") in table.asked
    assert all(context.startswith("how are you?\n") for context, _ in table.asked)
    assert not any("thanks" in context for context, _ in table.asked)


def test_nothing_is_asked_twice() -> None:
    table = Table({"": ("hello",), "wo": ("world",)})
    total = grade(table, one("hello world"), everything_known)["ann"]
    assert len(table.asked) == len(set(table.asked)) == total.latency.total
    assert total.latency == Latency.of([0.5] * len(table.asked))


def test_only_graded_messages_count() -> None:
    conversation = GradedConversation("ann", ("hello", "hello", "hello"), (True, False, True))
    assert grade(Table({"": ("hello",)}), [conversation], everything_known)["ann"].after_0.positions == 2
    assert conversation.num_words == 2


def test_each_author_has_sums_of_his_own() -> None:
    table = Table({"": ("hello",)})
    both = grade(
        table, [*one("hello"), GradedConversation("bob", ("xyz", "hello"), (True, True))], everything_known
    )
    assert both["ann"].after_0.top_1 == 1
    assert both["bob"].after_0.top_1 == 0.5


def test_likelihood_is_of_the_message_and_its_end() -> None:
    conversation = GradedConversation("ann", ("how are you?", "see you, ann"), (False, True))
    seen = []

    def score(earlier: Sequence[str], message: str) -> tuple[float, int]:
        seen.append((tuple(earlier), message))
        return -6.5, 5

    total = grade(Table({}), [conversation], everything_known, score=score)["ann"]
    assert seen == [(("how are you?",), "see you, ann")]
    assert (total.likelihood.nats, total.likelihood.characters, total.likelihood.words) == (6.5, 13, 3)


# ---------------------------------------------------------------------------------------- the bounded typist


def test_the_bounded_typist_does_not_look_at_short_words() -> None:
    total = scores({"": ("four", "fiver")}, "four")
    assert total.ideal.pressed == 1
    for keys in (total.bounded.quarter, total.bounded.half, total.bounded.three_quarters):
        assert keys.pressed == 4


def test_the_bounded_typist_looks_at_words_of_five_letters() -> None:
    messages = ("fiver",) * 3 + ("five", "fiver!")
    conversation = GradedConversation("ann", messages, (True,) * len(messages))
    words = {"fiver"[:n]: ("five", "fiver") for n in range(5)}
    total = grade(Table(words), [conversation], everything_known)["ann"]
    assert total.bounded.three_quarters.pressed < total.bounded.three_quarters.characters


def test_the_bounded_typist_notices_as_often_as_he_should() -> None:
    """Many words, shown from the start: the first key is spared with the probability of noticing."""
    messages = tuple(f"wonderful number{index}x" for index in range(400))
    conversation = GradedConversation("ann", messages, (True,) * len(messages))
    total = grade(Table({"": ("wonderful",)}), [conversation], everything_known)["ann"]
    rest = sum(len(message) - len("wonderful ") for message in messages)
    for keys, share in (
        (total.bounded.quarter, 0.25), (total.bounded.half, 0.5), (total.bounded.three_quarters, 0.75),
    ):  # fmt: skip
        # Shown at once only: after that the table shows nothing, and the word and its space are typed.
        spared = (len(messages) * len("wonderful ") + rest - keys.pressed) / (len(messages) * 9)
        assert spared == pytest.approx(share, abs=0.08)


def test_whoever_notices_more_presses_fewer_keys() -> None:
    words = {"wonderful"[:n]: ("wonderful",) for n in range(9)}
    messages = tuple(f"wonderful {index}" for index in range(60))
    total = grade(Table(words), [GradedConversation("ann", messages, (True,) * 60)], everything_known)["ann"]
    keys = [total.ideal, total.bounded.three_quarters, total.bounded.half, total.bounded.quarter]
    pressed = [each.pressed for each in keys]
    assert pressed == sorted(pressed)
    assert len(set(pressed)) == 4


def test_every_keyboard_meets_the_same_bounded_typist() -> None:
    words = {"wonderful"[:n]: ("wonderful",) for n in range(9)}
    again = {prefix: ("other", *shown) for prefix, shown in words.items()}
    messages = tuple(f"wonderful {index}" for index in range(20))
    conversation = GradedConversation("ann", messages, (True,) * 20)
    one, other = (grade(Table(each), [conversation], everything_known)["ann"] for each in (words, again))
    assert one.bounded == other.bounded
    reseeded = grade(Table(words), [conversation], everything_known, seed=1)["ann"]
    assert one.bounded != reseeded.bounded
    assert one.ideal == reseeded.ideal
