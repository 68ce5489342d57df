"""Key geometry: places, neighbours, and the key under a point."""

from __future__ import annotations

import math
import string
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.errors import UserError
from fedkey.layout import (
    BACKSPACE,
    ENTER,
    LAYOUTS,
    LETTERS,
    MAX_TARGETS,
    MORE,
    QWERTY,
    SPACE,
    SYMBOLS,
    Key,
    Layout,
    Shift,
    layout_from_rows,
    layout_named,
)

anywhere = st.tuples(st.floats(-5, 15), st.floats(-5, 15))


def characters(keys: tuple[Key, ...]) -> str:
    """The one-character names among them, sorted."""
    return "".join(sorted(key.name for key in keys if len(key.name) == 1))


def test_qwerty_has_every_letter_once() -> None:
    assert sorted(QWERTY.letters) == list(string.ascii_lowercase)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_types_english(layout: Layout) -> None:
    """Every letter, what joins and ends words, and the special keys have one key each."""
    assert set(string.ascii_lowercase) <= set(layout.letters)
    for character in "' ?.,":
        assert layout.key_for(character) is not None
    assert {"space", "shift", "backspace", "enter"} <= {key.name for key in layout.keys}
    assert layout_named(layout.name) is layout


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("qwerty", ("qwertyuiop", "asdfghjkl", "zxcvbnm")),
        ("qwertz", ("qwertzuiopü", "asdfghjklöä", "yxcvbnm")),
        ("azerty", ("azertyuiop", "qsdfghjklm", "wxcvbn'")),
        ("dvorak", ("',.pyfgcrl", "aoeuidhtns", "jkxbmwv")),
    ],
)
def test_letters_stand_where_they_are_known_to_stand(name: str, rows: tuple[str, ...]) -> None:
    layout = LAYOUTS[name]
    names = ("".join(key.name for key in row if len(key.name) == 1) for row in layout.rows)
    assert tuple(names)[: len(rows)] == rows


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_last_rows_are_as_wide_as_the_keyboard(layout: Layout) -> None:
    for row in layout.rows[2:]:
        assert math.isclose(row[0].left, 0)
        assert math.isclose(row[-1].right, layout.width)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_keys_do_not_overlap_and_stay_within_the_keyboard(layout: Layout) -> None:
    for key in layout.keys:
        assert key.left >= 0
        assert key.right <= layout.width
        assert key.bottom <= layout.height
        for other in layout.keys:
            if other is not key:
                x, y = other.center
                assert key.distance(x, y) > 0


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_tap_on_the_centre_of_a_key_is_that_key(layout: Layout) -> None:
    for key in layout.keys:
        assert layout.nearest(*key.center) is key
        assert layout[key.name] is key


@given(anywhere)
def test_the_nearest_key_is_no_farther_than_any_other(point: tuple[float, float]) -> None:
    nearest = QWERTY.nearest(*point)
    assert nearest.distance(*point) == min(key.distance(*point) for key in QWERTY.keys)


@given(anywhere, st.sampled_from(QWERTY.keys))
def test_distance_is_zero_exactly_on_the_key(point: tuple[float, float], key: Key) -> None:
    x, y = point
    is_on_key = key.left <= x <= key.right and key.top <= y <= key.bottom
    assert (key.distance(x, y) == 0) == is_on_key


def test_a_tap_beyond_the_edge_is_the_key_at_the_edge() -> None:
    assert QWERTY.nearest(-3, 0.7).name == "q"
    assert QWERTY.nearest(99, 99).name == "enter"
    # Row two is indented; the gap before "a" belongs to it, not to the longer rows around.
    assert QWERTY.nearest(0.2, 2.25).name == "a"


@pytest.mark.parametrize(
    ("name", "around"),
    [("g", "bcfhtvy"), ("q", "aw"), ("p", "lo"), ("a", "qswz"), ("m", ".?jkln"), ("?", ".mn")],
)
def test_neighbours_are_the_keys_that_touch(name: str, around: str) -> None:
    assert characters(QWERTY.neighbours(name)) == around


def test_being_neighbours_is_mutual() -> None:
    for key in QWERTY.keys:
        assert key not in QWERTY.neighbours(key.name)
        for other in QWERTY.neighbours(key.name):
            assert key in QWERTY.neighbours(other.name)


def test_rows_stagger_by_half_a_key() -> None:
    assert QWERTY["a"].center[0] - QWERTY["q"].center[0] == 0.5
    assert QWERTY["z"].center[0] - QWERTY["a"].center[0] == 1.0
    assert [len(row) for row in QWERTY.rows] == [10, 9, 9, 6]
    assert math.isclose(QWERTY.width, 10)


@pytest.mark.parametrize(
    ("character", "name"),
    [("a", "a"), ("A", "a"), (" ", "space"), ("!", "?"), ('"', "'"), ("é", "e"), ("Ü", "u"), (";", ",")],
)
def test_a_character_is_found_on_the_key_that_types_it(character: str, name: str) -> None:
    key = QWERTY.key_for(character)
    assert key is not None
    assert key.name == name


def test_an_accented_letter_is_typed_on_its_own_key_where_it_has_one() -> None:
    for layout, name in ((QWERTY, "u"), (LAYOUTS["qwertz"], "ü"), (LAYOUTS["azerty"], "u")):
        key = layout.key_for("ü")
        assert key is not None
        assert key.name == name


@pytest.mark.parametrize("character", ["", "7", "ж", "🙂", "\n", "ß"])
def test_a_character_no_key_types_has_no_key(character: str) -> None:
    assert QWERTY.key_for(character) is None


def test_thumbs_aim_at_the_centre_of_a_key_and_anywhere_along_a_wide_one() -> None:
    from_x, to_x, y = QWERTY.targets("gÉ 7")
    assert (from_x[0], to_x[0], y[0]) == (5, 5, 2.25)
    assert from_x[1] == to_x[1] == QWERTY["e"].center[0]
    space = QWERTY["space"]
    assert (from_x[2], to_x[2]) == (space.left + 0.5, space.right - 0.5)
    assert math.isnan(from_x[3])
    assert QWERTY.targets("").shape == (3, 0)


def test_whoever_types_much_leaves_no_trace_of_all_words_in_the_layout() -> None:
    layout = replace(QWERTY)
    first = layout.targets("word")
    assert layout.targets("word") is first
    for number in range(3 * MAX_TARGETS):
        layout.targets(f"word{number}")
    assert len(layout._targets) <= MAX_TARGETS
    assert np.array_equal(layout.targets("word"), first)


def test_keys_that_type_nothing_are_known_by_name() -> None:
    assert [QWERTY[name].typed for name in ("shift", "backspace", "enter")] == ["", "", ""]
    assert QWERTY["space"].typed == " "
    assert QWERTY["q"].shifted == "Q"


def test_another_layout_is_a_table_of_rows() -> None:
    layout = layout_from_rows("small", ((0, "ä : b:2"), (0.5, "space:3")), shifted={":": "!"})
    assert [key.name for key in layout.keys] == ["ä", ":", "b", "space"]
    assert layout["ä"].shifted == "Ä"
    assert layout[":"].shifted == "!"
    assert layout.width == 4
    assert characters(layout.neighbours("space")) == ":bä"


@pytest.mark.parametrize(
    ("name", "letters"),
    [("qwerty", "zxcvbnm"), ("qwertz", "yxcvbnm"), ("azerty", "wxcvbn"), ("dvorak", "jkxbmwv")],
)
def test_letters_lie_above_the_space_bar(name: str, letters: str) -> None:
    assert "".join(layout_named(name).above_space) == letters
    assert layout_from_rows("no bar", ((0, "a b"),), shifted={}).above_space == ()


def test_a_layout_that_names_a_key_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        layout_from_rows("odd", ((0, "a b a"),), shifted={})


def test_an_unknown_layout_is_refused_in_one_sentence() -> None:
    assert layout_named("qwerty") is QWERTY
    with pytest.raises(UserError, match=r"'colemak'.*update the keyboard"):
        layout_named("colemak")


# ------------------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_pages_are_as_large_as_the_layout_and_turn_to_each_other(layout: Layout) -> None:
    turns = {LETTERS: {SYMBOLS}, SYMBOLS: {LETTERS, MORE}, MORE: {LETTERS, SYMBOLS}}
    assert set(layout.pages) == set(turns)
    for name, page in layout.pages.items():
        assert math.isclose(page.width, layout.width)
        assert page.height == layout.height
        assert len(page.rows) == len(layout.rows)
        assert {key.name for key in page.keys} & set(turns) == turns[name]
        for special in (SPACE, BACKSPACE, ENTER):
            assert special in page
        for key in page.keys:
            assert 0 <= key.left < key.right <= page.width + 1e-9
            assert page.nearest(*key.center) is key


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_page_of_letters_is_the_layout_but_for_the_last_row(layout: Layout) -> None:
    """What weighs taps is the layout; letters that are drawn where it has them can be tapped as exactly."""
    page = layout.pages[LETTERS]
    assert page.rows[:-1] == layout.rows[:-1]
    assert page.rows[-1][0].name == SYMBOLS
    assert [key.name for key in page.rows[-1][1:]] == [key.name for key in layout.rows[-1]]
    assert SYMBOLS not in layout


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_printable_character_of_a_usual_keyboard_is_on_some_page(layout: Layout) -> None:
    typed = {each for page in layout.pages.values() for key in page.keys for each in (key.typed, key.shifted)}
    assert {character for character in string.printable if character.isprintable()} <= typed


def test_one_tap_on_shift_is_for_one_character_and_two_lock_letters() -> None:
    letter, sign = QWERTY["q"], QWERTY["?"]
    once = Shift.OFF.tapped()
    assert [once.typed_by(letter), once.typed_by(sign)] == ["Q", "!"]
    assert once.after_character().typed_by(letter) == "q"
    locked = once.tapped().after_character()
    assert [locked.typed_by(letter), locked.typed_by(sign)] == ["Q", "?"]
    assert locked.tapped() is Shift.OFF
    assert Shift.OFF.after_character() is Shift.OFF
    assert once.typed_by(QWERTY["backspace"]) == ""
