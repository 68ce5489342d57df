"""Where every key sits, in key widths; the one definition that drawing, tapping and mistyping share.

In: rows of key names, as data. Out: keys with a place and a size, the key under a point, the keys around a
key, and where thumbs aim. Next stop: `fedkey.taps`, then `fedkey.draft`.

The origin is the keyboard's upper left corner, x grows to the right and y downwards, and a letter key is one
unit wide. Nothing here knows a screen: whoever draws scales the units to cells or pixels, and whoever models
thumbs measures distances in them.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

_TYPED_BY = {SPACE: " ", SHIFT: "", BACKSPACE: "", ENTER: ""}


@dataclass(frozen=True)
class Key:
    """One key: its name, what it types, and the rectangle it fills. Lengths are key widths."""

    name: str
    """The character it types without shift, or one of `SPACE`, `SHIFT`, `BACKSPACE`, `ENTER`."""
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


@dataclass(frozen=True)
class Layout:
    """All keys of a keyboard, row by row from the upper left."""

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
    def letters(self) -> tuple[str, ...]:
        """The letters that have a key of their own, in lower case."""
        return tuple(key.name for key in self.keys if key.name not in _TYPED_BY and key.name.isalpha())

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
        if characters not in self._targets:
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
            self._targets[characters] = np.array(points, dtype=np.float64).reshape(-1, 3).T
        return self._targets[characters]

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
