"""The lines of a text on screen: where it breaks, and which place is in which column.

In: a text and a width in cells. Out: lines, as first and last places. Next stop: `fedkey.ui.draft`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from rich.cells import cell_len

Line = tuple[int, int]
"""Where a line begins and ends in the text; its line feed, if it has one, is its last character."""


@lru_cache(maxsize=4)
def lines_of(text: str, width: int) -> tuple[Line, ...]:
    """The lines of a text that is wrapped between words; at least one, which may be empty.

    Every character belongs to a line, spaces and line feeds too, and no line is wider than `width - 1` cells,
    so that the caret has room behind the last character of any. A key asks for the same lines several times.
    """
    starts, after_space, cells = [0], 0, 0
    for place, character in enumerate(text):
        cells += cell_len(character)
        # What is too wide moves to a new line from its word's start on, or alone if the word is wider still.
        while cells >= width and place > starts[-1]:
            starts.append(after_space if after_space > starts[-1] else place)
            cells = cell_len(text[starts[-1] : place + 1])
        if character == "\n":
            starts.append(place + 1)
            cells = 0
        if character.isspace():
            after_space = place + 1
    return tuple(pairwise([*starts, len(text)]))


def caret_line(lines: Sequence[Line], caret: int) -> int:
    """Which line the caret is on: of two between which a text is wrapped, the second."""
    return next((i for i, (_, end) in enumerate(lines) if caret < end), len(lines) - 1)


def column_of(text: str, line: Line, caret: int) -> int:
    """How many cells of a line stand before the caret."""
    return cell_len(text[line[0] : caret])


def place_at(text: str, line: Line, column: int) -> int:
    """The caret's place nearest to a column of a line; behind its end there is none."""
    place, end = line
    if end < len(text) or text[place:end].endswith("\n"):
        end -= 1
    while place < end and cell_len(text[place]) <= column:
        column -= cell_len(text[place])
        place += 1
    return place
