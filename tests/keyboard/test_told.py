"""Which words the engine was told of: told once, and known wherever they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey import draft as writing
from fedkey.draft import Draft, Place, accept, insert, place, point
from fedkey.text import is_word, units_with_places
from fedkey.told import Told, dismiss, follow, replaced, settle, tell, untell

Edit = Callable[[Draft], Draft]


def written(text: str) -> Told:
    """A message whose words were told of one by one."""
    told = Told()
    for unit, start in units_with_places(text):
        told = follow(told, Draft(text[: start + len(unit)], start + len(unit)))
        if is_word(unit):
            told = tell(told, Place(start, unit), text[:start])
    return follow(told, Draft(text, len(text)))


def test_a_word_is_known_by_its_place_and_its_letters() -> None:
    told = written("see you, see me")
    assert told.after(Place(0, "see")) == ""
    assert told.after(Place(9, "see")) == "see you, "
    assert told.after(Place(4, "yo")) is None
    assert told.after(Place(5, "you")) is None


def test_words_keep_the_text_after_which_they_were_told_of() -> None:
    told = written("see yuo later")
    mended = follow(told, accept(point(told.draft, 5), "you"))
    assert mended.after(Place(4, "you")) is None
    assert mended.after(Place(8, "later")) == "see yuo "
    assert follow(told, insert(place(told.draft, 0), "I ")).after(Place(10, "later")) == "see yuo "


def test_an_edited_word_is_another_one_until_it_is_itself_again() -> None:
    told = written("see you")
    edited = follow(told, writing.backspace(told.draft))
    assert edited.after(Place(4, "yo")) is None
    assert follow(edited, insert(edited.draft, "u")) == told
    longer = follow(told, insert(told.draft, "r"))
    assert longer.after(Place(4, "your")) is None
    assert longer.after(Place(4, "you")) is None


def test_several_words_at_once_and_odd_ones() -> None:
    told = tell(Told(Draft("so a lot", 8)), Place(3, "a lot"), "so ")
    assert (told.after(Place(3, "a")), told.after(Place(5, "lot"))) == ("so ", "so a ")
    assert tell(Told(), Place(0, "don’t"), "").after(Place(0, "don’t")) == ""
    assert tell(Told(), Place(0, "123456"), "").words == ()
    assert tell(Told(), Place(0, "🙂"), "").words == ()


def mended(text: str, at: int, *edits: Edit) -> Told:
    """A message whose words were told of, after the caret was put somewhere and some keys were pressed."""
    told = written(text)
    draft = place(told.draft, at)
    for edit in edits:
        draft = edit(draft)
        told = follow(told, draft)
    return told


def typing(letters: str) -> list[Edit]:
    return [partial(insert, characters=letter) for letter in letters]


BACK = writing.backspace


@pytest.mark.parametrize(
    ("text", "at", "edits", "gone", "new"),
    [
        ("see latr now", 7, typing("e"), ["latr"], ["later"]),
        ("see latr now", 8, [BACK, *typing("er ")], ["latr"], ["later"]),
        ("see helo", 8, [BACK, *typing("lo ")], ["helo"], ["hello"]),
        ("see helo", 8, [BACK] * 4, ["helo"], []),
        ("see all now", 7, [writing.delete_word], ["all"], []),
        ("see all now", 7, [writing.clear], ["see", "all"], []),
        ("see all now", 7, [BACK, BACK, BACK, writing.top], ["all"], []),
        ("see all now", 7, [BACK, BACK, BACK, *typing("you")], ["all"], ["you"]),
        ("see all now", 4, [writing.delete] * 3, ["all"], []),
        ("alot of", 1, typing(" "), ["alot"], ["a", "lot"]),
        ("to day so", 3, [BACK], ["to", "day"], ["today"]),
        ("dont so", 3, typing("'"), ["dont"], ["don't"]),
        ("see now now", 11, [BACK] * 3, ["now"], []),
        ("so it goes", 5, typing("s, er"), ["it"], ["its"]),
        ("so it goes", 5, typing(", er"), [], []),
        ("so", 2, typing("\n"), [], []),
        ("so bob", 6, typing("@"), [], []),
        ("one two", 3, [BACK, BACK, BACK, *typing("one")], [], []),
        ("one two", 3, [BACK, BACK, BACK, *typing("One")], ["one"], ["One"]),
        ("see a", 5, [BACK, *typing("I"), BACK, *typing("a")], [], []),
    ],
)
def test_what_becomes_of_words_that_are_changed_by_hand(
    text: str, at: int, edits: list[Edit], gone: list[str], new: list[str]
) -> None:
    settled = settle(mended(text, at, *edits), None)
    assert [word.place.letters for word in settled.gone] == gone
    assert [place.letters for place in settled.new] == new
    assert settled.told.mendings == ()
    for word in settled.gone:
        assert text.startswith(word.context + word.place.letters)


@pytest.mark.parametrize("rest", ["@", "@home ", ".org ", ".org, "])
def test_of_half_an_address_the_engine_forgets_itself(rest: str) -> None:
    told = mended("see example", 11, *typing(rest))
    assert told.after(Place(4, "example")) is None
    assert told.after(Place(0, "see")) == ""
    assert settle(told, None).gone == ()


@pytest.mark.parametrize("rest", [".", ".o", ". org ", "/org ", "'", " @"])
def test_what_is_no_address_or_not_yet_stays_told_of(rest: str) -> None:
    assert mended("see example", 11, *typing(rest)).after(Place(4, "example")) == "see "


def test_nothing_is_settled_while_the_caret_is_in_the_word() -> None:
    told = mended("see latr now", 7, *typing("e"))
    assert settle(told, 8).told == told
    assert settle(told, 4).gone == settle(told, 9).gone == ()
    assert [word.place.letters for word in settle(told, 10).gone] == ["latr"]
    assert settle(told, 3).new == (Place(4, "later"),)


def test_a_word_that_is_told_of_takes_the_place_of_what_it_was() -> None:
    told = mended("see latr now", 7, *typing("e"))
    after, gone = replaced(told, Place(4, "later"))
    assert ([(word.place.letters, word.context) for word in gone], after.mendings) == ([("latr", "see ")], ())
    again, gone = replaced(tell(after, Place(4, "later"), "see "), Place(4, "later"))
    assert ([word.place.letters for word in gone], again.after(Place(4, "later"))) == (["later"], None)
    assert again.after(Place(0, "see")) == ""


def test_a_word_that_was_not_remembered_after_all_is_not_taken_back() -> None:
    told = mended("see latr now", 7, *typing("e"))
    assert dismiss(told, "latr", "see you ") == (told, False)
    dismissed, was_changed = dismiss(told, "latr", "see ")
    assert (settle(dismissed, None).gone, was_changed) == ((), True)


def test_words_that_the_engine_knows_to_be_gone_are_no_mending() -> None:
    told = untell(written("see yuo now"), Place(4, "yuo"))
    after = follow(told, accept(point(told.draft, 5), "you"))
    assert settle(after, None).gone == ()
    assert after.after(Place(8, "now")) == "see yuo "


edits = st.one_of(
    st.sampled_from([writing.backspace, writing.delete, writing.delete_word, writing.clear, writing.left]),
    st.sampled_from([*"oe ,'@", "one", " two", "\n"]).map(lambda text: partial(insert, characters=text)),
    st.integers(0, 30).map(lambda caret: partial(place, caret=caret)),
)
messages = st.lists(st.sampled_from(["one", "two", "don't", ",", "ok", "one"]), max_size=6)


@given(messages, st.integers(0, 30), st.lists(edits, max_size=10))
def test_no_word_is_lost_or_taken_back_twice_whatever_is_edited(
    units: list[str], caret: int, pressed: list[Edit]
) -> None:
    told = written(" ".join(units))
    every = Counter((word.place.letters, word.context) for word in told.words)
    draft = place(told.draft, caret)
    for edit in pressed:
        draft = edit(draft)
        told = follow(told, draft)
        found = units_with_places(draft.text)
        for word in told.words:
            assert (word.place.letters, word.place.start) in found
        for mending, next_one in pairwise(told.mendings):
            assert mending.end < next_one.start
        settled = settle(told, None)
        words = Counter((word.place.letters, word.context) for word in (*told.words, *settled.gone))
        # What has become half an address is forgotten by the engine itself.
        assert words == every or ("@" in draft.text and words < every)
        every = words
        for new in settled.new:
            assert (new.letters, new.start) in found
            assert told.after(new) is None


@given(st.lists(st.sampled_from(["one", "two", "don't", ",", "ok"]), max_size=6), st.integers(0, 30))
def test_what_is_told_of_stands_there_after_any_edit(units: list[str], caret: int) -> None:
    told = written(" ".join(units))
    for edit in (writing.delete_word, writing.delete, lambda draft: insert(draft, "x"), writing.backspace):
        after = follow(told, edit(place(told.draft, caret)))
        for word in after.words:
            assert after.draft.text[word.place.start : word.place.end] == word.place.letters
