"""Which words the engine was told of: told once, and known wherever they stand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fedkey import draft as writing
from fedkey.draft import Draft, Place, accept, insert, place, point
from fedkey.text import is_word, units_with_places
from fedkey.told import Told, follow, tell


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


def test_an_edited_word_is_another_one() -> None:
    told = written("see you")
    edited = follow(told, writing.backspace(told.draft))
    assert edited.after(Place(4, "yo")) is None
    assert follow(edited, insert(edited.draft, "u")).after(Place(4, "you")) is None
    longer = follow(told, insert(told.draft, "r"))
    assert longer.after(Place(4, "your")) is None


def test_several_words_at_once_and_odd_ones() -> None:
    told = tell(Told(Draft("so a lot", 8)), Place(3, "a lot"), "so ")
    assert (told.after(Place(3, "a")), told.after(Place(5, "lot"))) == ("so ", "so a ")
    assert tell(Told(), Place(0, "don’t"), "").after(Place(0, "don’t")) == ""
    assert tell(Told(), Place(0, "123456"), "").words == ()
    assert tell(Told(), Place(0, "🙂"), "").words == ()


@given(st.lists(st.sampled_from(["one", "two", "don't", ",", "ok"]), max_size=6), st.integers(0, 30))
def test_what_is_told_of_stands_there_after_any_edit(units: list[str], caret: int) -> None:
    told = written(" ".join(units))
    for edit in (writing.delete_word, writing.delete, lambda draft: insert(draft, "x"), writing.backspace):
        after = follow(told, edit(place(told.draft, caret)))
        for word in after.words:
            assert after.draft.text[word.place.start : word.place.end] == word.place.letters
