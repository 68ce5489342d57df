"""Taps beside a text that is edited: they stay with the letters that they typed, and with no others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey import draft as writing
from fedkey.draft import Draft
from fedkey.layout import LAYOUTS, LETTERS, QWERTY
from fedkey.taps import Tap, Touch, literal
from fedkey.text import normalise
from fedkey.touched import Touched, follow, touches


def tap_on(character: str, right: float = 0.0) -> Tap:
    """A tap near the centre of the key that types a character."""
    key = QWERTY.key_for(character)
    assert key is not None
    x, y = key.center
    return Tap(x + right, y, is_shifted=character != key.typed)


def typed(touched: Touched, characters: str, right: float | None = None) -> Touched:
    """Characters typed one by one, tapped if it is said how far from the middle of their keys."""
    for each in characters:
        tap = None if right is None else tap_on(each, right)
        touched = follow(touched, writing.insert(touched.draft, each), tap)
    return touched


def edited(touched: Touched, *edits: Callable[[Draft], Draft]) -> Touched:
    for edit in edits:
        touched = follow(touched, edit(touched.draft))
    return touched


def taps(characters: str, right: float) -> tuple[Touch, ...]:
    return tuple(tap_on(each, right) for each in characters)


def test_what_nobody_tapped_has_no_touches() -> None:
    assert touches(typed(Touched(), "see yo"), QWERTY) == ()
    assert touches(Touched(), QWERTY) == ()


def test_a_word_that_was_tapped_is_its_taps_and_the_words_before_it_do_not_count() -> None:
    touched = typed(Touched(), "see yo", 0.25)
    assert touches(touched, QWERTY) == taps("yo", 0.25)
    assert touches(typed(touched, " "), QWERTY) == ()


def test_keys_and_taps_mix() -> None:
    touched = typed(typed(typed(Touched(), "s", 0.1), "e"), "e", -0.2)
    assert touches(touched, QWERTY) == (tap_on("s", 0.1), "e", tap_on("e", -0.2))


def test_capitals_are_taps_with_shift() -> None:
    touched = typed(Touched(), "Hi", 0.1)
    assert touches(touched, QWERTY) == (tap_on("H", 0.1), tap_on("i", 0.1))
    assert literal(QWERTY, touches(touched, QWERTY)) == "Hi"


def test_backspace_takes_the_last_tap_and_letters_typed_again_have_their_own() -> None:
    touched = edited(typed(Touched(), "too", 0.1), writing.backspace)
    assert touches(touched, QWERTY) == taps("to", 0.1)
    assert touches(typed(touched, "o", 0.3), QWERTY) == (*taps("to", 0.1), tap_on("o", 0.3))


def test_of_equal_letters_the_one_at_the_caret_comes_and_goes() -> None:
    touched = typed(typed(Touched(), "so", 0.1), "on", 0.2)
    assert touches(edited(touched, writing.left, writing.backspace, writing.end), QWERTY) == (
        *taps("so", 0.1),
        tap_on("n", 0.2),
    )
    inserted = typed(edited(touched, writing.left, writing.left), "o", 0.4)
    assert touches(inserted, QWERTY) == (*taps("so", 0.1), tap_on("o", 0.4), *taps("on", 0.2))


def test_the_caret_says_which_word_is_meant() -> None:
    touched = edited(typed(Touched(), "see you", 0.1), *[writing.left] * 5)
    assert touched.draft.typed == "se"
    assert touches(touched, QWERTY) == taps("see", 0.1)
    assert touches(edited(touched, writing.end), QWERTY) == taps("you", 0.1)


def test_what_is_edited_before_a_word_moves_its_taps_along() -> None:
    touched = edited(typed(Touched(), "a see", 0.1), writing.home, writing.delete, writing.delete)
    assert touches(edited(touched, writing.end), QWERTY) == taps("see", 0.1)
    assert touches(edited(typed(touched, "oh "), writing.end), QWERTY) == taps("see", 0.1)


def corrected(touched: Touched, word: str) -> Touched:
    """A space, and the correction that it brings."""
    place = touched.draft.correctable
    assert place is not None
    return follow(touched, writing.correct(writing.insert(touched.draft, " "), place, word))


@pytest.mark.parametrize("take_back", [writing.backspace, writing.undo])
def test_letters_that_are_brought_back_have_their_taps_back(take_back: Callable[[Draft], Draft]) -> None:
    touched = corrected(typed(Touched(), "wrkf", 0.1), "work")
    assert touched.draft.text == "work "
    back = edited(touched, take_back, writing.home, writing.word_right)
    assert back.draft.typed == "wrkf"
    assert touches(back, QWERTY) == taps("wrkf", 0.1)


def test_what_a_correction_put_in_was_not_tapped() -> None:
    touched = edited(corrected(typed(Touched(), "wrld", 0.1), "world"), writing.left)
    assert touched.draft.typed == "world"
    assert touches(touched, QWERTY) == (tap_on("w", 0.1), *"orld")


def test_a_correction_can_be_taken_back_after_more_was_typed() -> None:
    touched = typed(corrected(typed(Touched(), "wrkf", 0.1), "work"), "is it", 0.2)
    back = edited(touched, writing.undo)
    assert back.draft.text == "wrkf is it"
    assert touches(back, QWERTY) == taps("it", 0.2)
    assert touches(edited(back, writing.home, writing.word_right), QWERTY) == taps("wrkf", 0.1)


def test_a_suggestion_that_is_taken_back_leaves_the_taps_of_its_letters() -> None:
    touched = follow(typed(Touched(), "hsp", 0.1), writing.accept(typed(Touched(), "hsp").draft, "happy"))
    assert touches(edited(touched, writing.undo), QWERTY) == taps("hsp", 0.1)


def test_a_new_message_begins_without_taps() -> None:
    touched = follow(typed(Touched(), "see", 0.1), Draft())
    assert touches(typed(touched, "see"), QWERTY) == ()


def test_a_tap_counts_only_where_the_layout_has_its_letter() -> None:
    touched = typed(Touched(), "zoo", 0.1)
    assert touches(touched, QWERTY) == taps("zoo", 0.1)
    # On QWERTZ y and z have changed places: there the tap would have been another letter.
    assert touches(touched, LAYOUTS["qwertz"]) == ("z", *taps("oo", 0.1))


def test_a_key_that_is_drawn_elsewhere_than_the_layout_has_it_is_a_press() -> None:
    drawn = QWERTY.pages[LETTERS]["'"]
    assert drawn.center != QWERTY["'"].center
    touched = typed(Touched(), "it", 0.1)
    touched = follow(touched, writing.insert(touched.draft, "'"), Tap(*drawn.center))
    touched = typed(touched, "s", 0.1)
    assert touches(touched, QWERTY) == (*taps("it", 0.1), "'", tap_on("s", 0.1))


EDITS = (
    writing.backspace,
    writing.delete,
    writing.delete_word,
    writing.left,
    writing.right,
    writing.word_left,
    writing.end,
    writing.undo,
    lambda draft: writing.accept(draft, "sooner"),
    lambda draft: writing.accept(draft, "a lot of"),
)


@given(
    st.lists(st.one_of(st.sampled_from("soSO '. é"), st.sampled_from(EDITS), st.just("correct")), max_size=25)
)
def test_whatever_is_done_taps_say_the_letters_that_stand_there(
    steps: list[str | Callable[[Draft], Draft]],
) -> None:
    touched, number = Touched(), 0.0
    for step in steps:
        if not isinstance(step, str):
            touched = edited(touched, step)
        elif step != "correct":
            number += 0.01
            touched = typed(touched, step, None if step == "é" else number)
        elif touched.draft.correctable is not None:
            touched = corrected(touched, "so so")
        assert len(touched.taps) == len(touched.draft.text)
        found, letters = touches(touched, QWERTY), touched.draft.word
        if found:
            assert literal(QWERTY, found) == normalise(letters)
            # No tap stands for two letters.
            places = [each.x for each in touched.taps if each is not None]
            assert len(places) == len({*places})
