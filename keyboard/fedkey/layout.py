"""Where every key sits, in key widths; the one definition that drawing, tapping and mistyping share.

In: rows of key names, as data. Out: keys with a place and a size, the key under a point, the keys around a
key, where thumbs aim, and the pages of signs behind the letters. Next stop: `fedkey.taps`, then
`fedkey.draft`.

The origin is the keyboard's upper left corner, x grows to the right and y downwards, and a letter key is one
unit wide. Nothing here knows a screen: whoever draws scales the units to cells or pixels, and whoever models
thumbs measures distances in them.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from fedkey.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ROW_HEIGHT = 1.5
"""A key on a phone held upright is about half as high again as it is wide."""

SPACE, SHIFT, BACKSPACE, ENTER = "space", "shift", "backspace", "enter"
"""Names of the keys that are not named by the character they type."""

LETTERS, SYMBOLS, MORE = "letters", "symbols", "more"
"""Names of the pages, and of the keys that turn to them."""

MAX_TARGETS = 64
"""Texts whose keys a layout remembers the places of."""

_TYPED_BY = {SPACE: " "} | dict.fromkeys((SHIFT, BACKSPACE, ENTER, LETTERS, SYMBOLS, MORE), "")


@dataclass(frozen=True)
class Key:
    """One key: its name, what it types, and the rectangle it fills. Lengths are key widths."""

    name: str
    """The character it types without shift, or the name of a key that is not named so."""
    typed: str
    """What it types; empty for keys that do something else."""
    shifted: str
    """What it types with shift."""
    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.top + self.height

    @property
    def center(self) -> tuple[float, float]:
        """The point a thumb aims at, (x, y)."""
        return self.left + self.width / 2, self.top + self.height / 2

    def distance(self, x: float, y: float) -> float:
        """How far a point lies outside the key; 0 on it."""
        return math.hypot(
            max(self.left - x, 0.0, x - self.right),
            max(self.top - y, 0.0, y - self.bottom),
        )


class Shift(Enum):
    """What the shift key on screen holds."""

    OFF = "off"
    ONCE = "once"
    """For the next character."""
    LOCKED = "locked"
    """For letters, until it is tapped again: nobody who locks capitals wants semicolons."""

    def tapped(self) -> Shift:
        """After a tap on the key. One tap is for one character, two taps lock."""
        return {Shift.OFF: Shift.ONCE, Shift.ONCE: Shift.LOCKED, Shift.LOCKED: Shift.OFF}[self]

    def after_character(self) -> Shift:
        """After a character was typed."""
        return Shift.OFF if self is Shift.ONCE else self

    def typed_by(self, key: Key) -> str:
        """What a key types meanwhile; empty for keys that do something else."""
        is_shifted = self is Shift.ONCE or (self is Shift.LOCKED and key.typed.isalpha())
        return key.shifted if is_shifted else key.typed


@dataclass(frozen=True)
class Layout:
    """All keys of a keyboard, or of a page of it, row by row from the upper left."""

    name: str
    keys: tuple[Key, ...]

    @cached_property
    def width(self) -> float:
        """From the left edge to the right edge of the widest row."""
        return max(key.right for key in self.keys)

    @cached_property
    def height(self) -> float:
        """From the first row's upper edge to the last row's lower edge."""
        return max(key.bottom for key in self.keys)

    @cached_property
    def rows(self) -> tuple[tuple[Key, ...], ...]:
        """The keys by row, from the left."""
        tops = sorted({key.top for key in self.keys})
        return tuple(tuple(key for key in self.keys if key.top == top) for top in tops)

    @cached_property
    def pages(self) -> Mapping[str, Layout]:
        """What is drawn of it: the letters and two pages of signs, by the names of the keys that turn to
        them. All are as wide and as high.

        On the page of letters a key turns to the signs, for which the last row moves up to the space bar. The
        layout itself, by which taps are weighed, knows nothing of it: the rows of letters are the same keys.
        """
        return {LETTERS: _with_page_key(self), **_sign_pages(self.width)}

    @cached_property
    def letters(self) -> tuple[str, ...]:
        """The letters that have a key of their own, in lower case."""
        return tuple(key.name for key in self.keys if key.name not in _TYPED_BY and key.name.isalpha())

    @cached_property
    def above_space(self) -> tuple[str, ...]:
        """The letters of the row above the space bar; none if there is no such row."""
        for above, row in itertools.pairwise(self.rows):
            if any(key.name == SPACE for key in row):
                return tuple(key.name for key in above if key.name in self.letters)
        return ()

    def __contains__(self, name: object) -> bool:
        """Whether there is a key of that name."""
        return name in self._by_name

    def __getitem__(self, name: str) -> Key:
        """The key of that name; `KeyError` if there is none."""
        return self._by_name[name]

    def key_for(self, character: str) -> Key | None:
        """The key that types a character, with or without shift; an accented letter is typed on its base
        letter's key. None if no key types it."""
        folded = unicodedata.normalize("NFD", character)[:1]
        return self._by_character.get(character) or self._by_character.get(folded)

    def nearest(self, x: float, y: float) -> Key:
        """The key a tap at (x, y) lands on: the one it touches, or else the closest. Between keys that are
        equally close, the one whose centre is closer."""
        return min(self.keys, key=lambda key: (key.distance(x, y), math.dist(key.center, (x, y))))

    def neighbours(self, name: str) -> tuple[Key, ...]:
        """The keys that touch a key, be it only with a corner."""
        return self._neighbours[name]

    def targets(self, characters: str) -> npt.NDArray[np.float64]:
        """Where a thumb aims for each of C characters: [3, C], from x to x, and y; nan without a key.

        That is the centre of a key, and of a wide one the stretch that keeps half a key width from its edges:
        nobody aims at the middle of a space bar.
        """
        targets = self._targets.get(characters)
        if targets is None:
            # Here, because keys are drawn before anybody aims at them; `tests/test_layers.py` holds to it.
            import numpy as np

            points = []
            for character in characters:
                key = self.key_for(character)
                if key is None:
                    points.append((math.nan, math.nan, math.nan))
                else:
                    (x, y), slack = key.center, max(0.0, (key.width - 1) / 2)
                    points.append((x - slack, x + slack, y))
            targets = np.array(points, dtype=np.float64).reshape(-1, 3).T
            # An alphabet is asked about with every touch, 66 us each time; words that somebody is simulated
            # to type, with 10 us, hardly twice. Whoever loses an alphabet to them has it again with a touch.
            if len(self._targets) >= MAX_TARGETS:
                self._targets.clear()
            self._targets[characters] = targets
        return targets

    @cached_property
    def _targets(self) -> dict[str, npt.NDArray[np.float64]]:
        return {}

    @cached_property
    def _by_name(self) -> dict[str, Key]:
        return {key.name: key for key in self.keys}

    @cached_property
    def _by_character(self) -> dict[str, Key]:
        shifted = {key.shifted: key for key in self.keys if key.shifted}
        return shifted | {key.typed: key for key in self.keys if key.typed}

    @cached_property
    def _neighbours(self) -> dict[str, tuple[Key, ...]]:
        return {
            key.name: tuple(other for other in self.keys if other is not key and _touch(key, other))
            for key in self.keys
        }


def _touch(one: Key, other: Key) -> bool:
    slack = 1e-9  # sums of key widths are not exact
    return (
        max(one.left, other.left) <= min(one.right, other.right) + slack
        and max(one.top, other.top) <= min(one.bottom, other.bottom) + slack
    )


def layout_from_rows(name: str, rows: Sequence[tuple[float, str]], shifted: Mapping[str, str]) -> Layout:
    """Builds a layout from a table.

    Args:
        name: what a bundle's manifest calls it.
        rows: from the top; each row is the place of its left edge and its keys from the left, separated by
            spaces. A key is the character it types or the name of a special key, and `:WIDTH` behind it
            unless it is one key wide.
        shifted: what keys type with shift; letters that are not listed type their capitals.
    """
    keys = []
    for number, (left, row) in enumerate(rows):
        for entry in row.split():
            key, _, width = entry.partition(":") if len(entry) > 1 else (entry, "", "")
            typed = _TYPED_BY.get(key, key)
            keys.append(
                Key(
                    name=key,
                    typed=typed,
                    shifted=shifted.get(key, typed.upper()),
                    left=left,
                    top=number * ROW_HEIGHT,
                    width=float(width or 1),
                    height=ROW_HEIGHT,
                )
            )
            left = keys[-1].right
    if len({key.name for key in keys}) != len(keys):
        raise ValueError(f"The layout {name!r} names a key twice.")
    return Layout(name, tuple(keys))


QWERTY = layout_from_rows(
    "qwerty",
    (
        (0.0, "q w e r t y u i o p"),
        (0.5, "a s d f g h j k l"),
        (0.0, "shift:1.5 z x c v b n m backspace:1.5"),
        (0.0, "' , space:4.5 . ? enter:1.5"),
    ),
    shifted={"'": '"', ",": ";", ".": ":", "?": "!"},
)

QWERTZ = layout_from_rows(
    "qwertz",
    (
        (0.0, "q w e r t z u i o p ü"),
        (0.0, "a s d f g h j k l ö ä"),
        (0.0, "shift:2 y x c v b n m backspace:2"),
        (0.0, "' , space:5.5 . ? enter:1.5"),
    ),
    shifted={"'": '"', ",": ";", ".": ":", "?": "!"},
)

AZERTY = layout_from_rows(
    "azerty",
    (
        (0.0, "a z e r t y u i o p"),
        (0.0, "q s d f g h j k l m"),
        (0.0, "shift:1.5 w x c v b n ' backspace:1.5"),
        (0.0, "- , space:4.5 . ? enter:1.5"),
    ),
    shifted={"'": '"', "-": "_", ",": ";", ".": ":", "?": "!"},
)

# Two letters stand beside the space bar: with shift and backspace the third row has room for seven.
DVORAK = layout_from_rows(
    "dvorak",
    (
        (0.0, "' , . p y f g c r l"),
        (0.0, "a o e u i d h t n s"),
        (0.0, "shift:1.5 j k x b m w v backspace:1.5"),
        (0.0, "q space:5.5 z ? enter:1.5"),
    ),
    shifted={"'": '"', ",": ";", ".": ":", "?": "!"},
)

LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in (QWERTY, QWERTZ, AZERTY, DVORAK)}
"""Every layout this keyboard can draw, by the name a bundle's manifest gives it."""


def layout_named(name: str) -> Layout:
    """The layout of that name; `UserError` if this keyboard does not have it."""
    try:
        return LAYOUTS[name]
    except KeyError:
        known = ", ".join(LAYOUTS)
        raise UserError(
            f"The bundle is made for the layout {name!r}, this keyboard has {known}: update the keyboard."
        ) from None


# ------------------------------------------------------------------------------------------- pages

PAGE_KEY_WIDTH = 1.5
"""The key that turns the page is taken from the space bar, in the corner where phones have it."""

SYMBOL_ROWS: Mapping[str, tuple[str, str, str]] = {
    SYMBOLS: (
        "1 2 3 4 5 6 7 8 9 0",
        "@ # $ % & - + ( ) /",
        'more:{wide} * " : ; ! _ = backspace:{wide}',
    ),
    MORE: (
        "~ ` | ^ ° § × ÷ ± ¿",
        "€ £ ¥ ¢ « » … – — ¡",
        "symbols:{wide} [ ] {{ }} < > \\ backspace:{wide}",
    ),
}
"""The rows above the last one of each page of signs, ten keys wide."""

SYMBOLS_LAST_ROW = "letters:{page} ' , space:{space} . ? enter:1.5"


def _sign_pages(width: float) -> Mapping[str, Layout]:
    """The pages of signs for a keyboard of this width: what it has more than ten keys goes to the wide keys
    and to both sides of the others."""
    slack = width - 10
    sizes = {"wide": 1.5 + slack / 2, "page": PAGE_KEY_WIDTH, "space": 4.5 - PAGE_KEY_WIDTH + slack}
    lefts = (slack / 2, slack / 2, 0.0, 0.0)
    return {
        name: layout_from_rows(
            name,
            [(left, row.format(**sizes)) for left, row in zip(lefts, (*rows, SYMBOLS_LAST_ROW), strict=True)],
            shifted={},
        )
        for name, rows in SYMBOL_ROWS.items()
    }


def _with_page_key(layout: Layout) -> Layout:
    """The layout with a key for signs at the left of its last row, at the cost of the space bar."""
    space, last = layout[SPACE], layout.rows[-1]
    page_key = replace(last[0], name=SYMBOLS, typed="", shifted="", left=0.0, width=PAGE_KEY_WIDTH)
    moved = {
        key: replace(
            key,
            left=key.left + PAGE_KEY_WIDTH,
            width=key.width - (PAGE_KEY_WIDTH if key is space else 0.0),
        )
        for key in last
        if key.left <= space.left
    }
    rows = [key for row in layout.rows[:-1] for key in row]
    return Layout(layout.name, (*rows, page_key, *(moved.get(key, key) for key in last)))
