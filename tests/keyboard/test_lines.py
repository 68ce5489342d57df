"""Where a text breaks on screen, and the caret's way between lines and columns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fedkey.ui.lines import caret_line, column_of, lines_of, place_at

texts = st.text(st.sampled_from("ab 好🙂é\n"), max_size=60)
widths = st.integers(3, 20)


@given(texts, widths)
def test_lines_hold_every_character_and_leave_room_for_the_caret(text: str, width: int) -> None:
    lines = lines_of(text, width)
    assert "".join(text[start:end] for start, end in lines) == text
    assert all(start < end for start, end in lines[:-1])
    for start, end in lines:
        assert cell_len(text[start:end]) < width
        assert "\n" not in text[start : end - 1]
    # Behind the last line feed there is a line to write on.
    assert len(lines) > text.count("\n")


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dddd"]), max_size=20), st.integers(6, 20))
def test_lines_break_between_words(pieces: list[str], width: int) -> None:
    text = " ".join(pieces)
    for start, _ in lines_of(text, width)[1:]:
        assert text[start - 1] == " " or text[start] == " "


@given(texts, widths, st.integers(0, 60))
def test_the_caret_has_one_line_and_one_column_and_is_found_there(text: str, width: int, caret: int) -> None:
    caret = min(caret, len(text))
    lines = lines_of(text, width)
    line = lines[caret_line(lines, caret)]
    assert line[0] <= caret <= line[1]
    column = column_of(text, line, caret)
    assert 0 <= column < width
    assert place_at(text, line, column) == caret


@given(texts, widths, st.integers(0, 30))
def test_a_column_behind_a_line_is_its_end(text: str, width: int, column: int) -> None:
    lines = lines_of(text, width)
    for number, line in enumerate(lines):
        place = place_at(text, line, column)
        assert caret_line(lines, place) == number
        assert column_of(text, line, place) <= column
