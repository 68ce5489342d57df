"""The keyboard on screen, drawn from `fedkey.layout` and worked by mouse.

In: a layout, what shift holds, which page is shown, which keys light up, and taps to be marked. Out: taps on
keys, with their place in key widths. Next stop: `fedkey.ui.help`.

One key width is a whole, preferably even, number of cells, so that rows indented by half a key fall on cells
and labels in the middle of their keys. A row is one to four lines; of several, the last is half a line of key
and half a line of gap.

A key is hit where the mouse was pressed, once it is let go on the same key or hardly farther on: what leaves
the key in between is no tap. From letter to letter it draws a line, which may be a word.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from fedkey.layout import (
    BACKSPACE,
    ENTER,
    LETTERS,
    MORE,
    QWERTY,
    ROW_HEIGHT,
    SHIFT,
    SPACE,
    SYMBOLS,
    Key,
    Layout,
    Shift,
)
from fedkey.taps import Tap
from fedkey.ui.messages import KeyTapped, LineDrawn
from fedkey.ui.trail import FADE_SECONDS, Cell, Trail

LIGHT_SECONDS = 0.15
"""How long a pressed key stays lit: long enough to be seen, short enough to follow fast typing."""

MARKS, MARK_SECONDS = "●•·", 0.4
"""How the mark of a tap fades, and after how long each: three letters of a fast writer are seen at once."""

SAME_PLACE = 0.5
"""Key widths between press and release within which a mouse that left its key has slipped."""

WIDEST_KEY: Mapping[int, int] = {1: 6, 2: 6, 3: 6, 4: 8}
"""Lines of a row -> cells of a key width at most; a cell is about twice as high as it is wide."""

LABELS: Mapping[str, str] = {
    SHIFT: "⇧",
    BACKSPACE: "⌫",
    ENTER: "⏎",
    LETTERS: "abc",
    SYMBOLS: "?123",
    MORE: "{&=",
}
LOCKED_LABEL = "⇪"

TURN_BACK = frozenset((SPACE, ENTER, "'"))
"""Keys that go on with words: from a page of signs they turn back to the letters, as phones do."""


@dataclass(eq=False)
class Mark:
    """A tap that is drawn for a while.

    Attributes:
        tap: where.
        age: how often it has faded.
    """

    tap: Tap
    age: int = 0


class Fit(NamedTuple):
    """How keys fall on cells.

    Attributes:
        width: cells of a line.
        row_lines: lines of a row.
        key_cells: cells of a key width.
        left: cells before the first key.
    """

    width: int
    row_lines: int
    key_cells: int
    left: int

    @property
    def line_height(self) -> float:
        """Key widths from one line to the next."""
        return ROW_HEIGHT / self.row_lines

    def edge(self, x: float) -> int:
        """The column that begins at a place in key widths."""
        return self.left + int(x * self.key_cells + 0.5)

    def cell(self, tap: Tap) -> tuple[int, int]:
        """The cell that was tapped, (column, line); it may lie outside."""
        return self.left + math.floor(tap.x * self.key_cells), math.floor(tap.y / self.line_height)


def fitted(layout: Layout, width: int, height: int) -> Fit:
    """Makes the keys as large as so many cells allow."""
    row_lines = min(max(height // len(layout.rows), 1), max(WIDEST_KEY))
    # The gap behind the last key needs no room.
    cells = min(int((width + 1) / layout.width), WIDEST_KEY[row_lines])
    key_cells = max(cells - cells % 2 if cells > 4 else cells, 1)
    return Fit(width, row_lines, key_cells, max(int(width + 1 - key_cells * layout.width) // 2, 0))


class Keypad(Widget):
    """All keys of a page of a layout, as large as the room allows."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "keypad--letter",
        "keypad--other",
        "keypad--lit",
        "keypad--mark",
    }

    keys: reactive[Layout] = reactive(QWERTY)
    """The layout."""
    page: reactive[str] = reactive(LETTERS)
    """Which page of it is shown."""
    shift: reactive[Shift] = reactive(Shift.OFF)
    space_label: reactive[str] = reactive("space")

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.set_reactive(Keypad.keys, layout)
        self._lit: dict[str, Timer] = {}
        self._last_fit: tuple[Size, float, Fit] | None = None
        self._marks: list[Mark] = []
        self._pressed: KeyTapped | None = None
        self._sees_fractions = False
        self._trail = Trail(len(MARKS))

    @property
    def drawn(self) -> Layout:
        """The keys in view."""
        return self.keys.pages[self.page]

    @property
    def lit(self) -> frozenset[str]:
        """Names of the keys that are lit."""
        return frozenset(self._lit)

    @property
    def marks(self) -> tuple[Tap, ...]:
        """The taps that are marked, the newest last."""
        return tuple(mark.tap for mark in self._marks)

    def light(self, name: str) -> None:
        """Lights a key up for a moment."""
        if name in self._lit:
            self._lit[name].reset()
        else:
            self._lit[name] = self.set_timer(LIGHT_SECONDS, lambda: self._put_out(name))
            self.refresh(self._region_of(name))

    def _put_out(self, name: str) -> None:
        del self._lit[name]
        self.refresh(self._region_of(name))

    def _region_of(self, name: str) -> Region:
        """The cells of a key; none if it stands on another page. To draw all keys takes 5 ms, and every
        stroke lights one and puts one out."""
        if name not in self.drawn:
            return Region()
        key, fit = self.drawn[name], self._fit
        row = round(key.top / ROW_HEIGHT)
        left = fit.edge(key.left)
        return Region(left, row * fit.row_lines, fit.edge(key.right) - left, fit.row_lines)

    def mark(self, tap: Tap) -> None:
        """Draws a tap on the keys until it has faded."""
        self._marks.append(mark := Mark(tap))
        self.set_timer(MARK_SECONDS, partial(self._fade, mark))
        self._refresh_cell(tap)

    def _fade(self, mark: Mark) -> None:
        mark.age += 1
        if mark.age < len(MARKS):
            self.set_timer(MARK_SECONDS, partial(self._fade, mark))
        else:
            self._marks.remove(mark)
        self._refresh_cell(mark.tap)

    def _refresh_cell(self, tap: Tap) -> None:
        self.refresh(Region(*self._fit.cell(tap), 1, 1))

    def tapped(self, key: Key) -> None:
        """Does what a tap on a key changes here: what shift holds, and which page is shown."""
        if key.name == SHIFT:
            self.shift = self.shift.tapped()
        elif key.name in self.keys.pages:
            self.page = key.name
        elif key.typed:
            self.shift = self.shift.after_character()
        if key.name in TURN_BACK:
            self.page = LETTERS

    # --------------------------------------------------------------------------------------- places

    def place_of(self, event: events.MouseEvent) -> Tap:
        """Where the mouse is.

        Most terminals report whole cells, which means anywhere in the cell; some report pixels, which arrive
        as fractions of cells, and from the first one on are taken at their word.
        """
        column, line = event.pointer_x, event.pointer_y
        if column != int(column) or line != int(line):
            self._sees_fractions = True
        unknown, fit = 0.0 if self._sees_fractions else 1.0, self._fit
        width, height = 1 / fit.key_cells, fit.line_height
        return Tap(
            (column + unknown / 2 - fit.left) * width,
            (line + unknown / 2) * height,
            unknown * width / math.sqrt(12),
            unknown * height / math.sqrt(12),
        )

    # ---------------------------------------------------------------------------------------- mouse

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Remembers which key is pressed; a press between keys hits the nearest."""
        if event.button != 1:
            return
        event.stop()
        self.capture_mouse()
        tap = self.place_of(event)
        self._trail.begin((tap.x, tap.y), self._fit.cell(tap))
        self._pressed = KeyTapped(self.drawn.nearest(tap.x, tap.y), tap)
        self.light(self._pressed.key.name)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Draws the line on that the press began, across letters."""
        if self._pressed is None or self.page != LETTERS:
            return
        event.stop()
        tap, was_seen = self.place_of(event), self._trail.is_seen
        self._refresh_cells(self._trail.draw_to((tap.x, tap.y), self._fit.cell(tap), time.monotonic()))
        if self._trail.is_seen and not was_seen:
            self.set_timer(FADE_SECONDS, self._fade_trail)

    def _fade_trail(self) -> None:
        self._refresh_cells(self._trail.fade(time.monotonic()))
        if self._trail.is_seen:
            self.set_timer(FADE_SECONDS, self._fade_trail)

    def _refresh_cells(self, cells: Iterable[Cell]) -> None:
        for column, line in cells:
            self.refresh(Region(column, line, 1, 1))

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Turns the press into a tap or, where it was drawn to other letters, into a line; nothing comes of
        one that left its key otherwise."""
        pressed = self._pressed
        if pressed is None or event.button != 1:
            return
        event.stop()
        self.release_mouse()
        self._pressed = None
        if pressed.key.name in self.keys.letters and self.page == LETTERS and self._is_line_drawn():
            self.post_message(LineDrawn(self._trail.path, self.shift))
            return
        lifted = self.place_of(event)
        is_same_place = math.dist((lifted.x, lifted.y), (pressed.tap.x, pressed.tap.y)) <= SAME_PLACE
        if is_same_place or pressed.key.distance(lifted.x, lifted.y) == 0:
            self.post_message(pressed)

    def _is_line_drawn(self) -> bool:
        from fedkey.gestures import as_path, is_gesture  # not before the first paint

        return is_gesture(self.keys, as_path(self._trail.path))

    # -------------------------------------------------------------------------------------- drawing

    def render_line(self, y: int) -> Strip:
        """One line of cells."""
        fit = self._fit
        row, line = divmod(y, fit.row_lines)
        ground = self.rich_style
        if row >= len(self.drawn.rows):
            return Strip.blank(fit.width, ground)
        segments = list(self._row_segments(self.drawn.rows[row], line, ground, fit))
        return self._marked(Strip(segments).adjust_cell_length(fit.width, ground), y, fit)

    def _marked(self, strip: Strip, y: int, fit: Fit) -> Strip:
        shades = self._trail.on_line(y, time.monotonic()) if self._trail.is_seen else {}
        for mark in self._marks:
            column, line = fit.cell(mark.tap)
            if line == y:
                shades[column] = mark.age
        for column, shade in shades.items():
            if 0 <= column < fit.width:
                [under] = strip.crop(column, column + 1)
                before, after = strip.crop(0, column), strip.crop(column + 1)
                strip = Strip.join([before, Strip([self._mark_on(under, shade)]), after])
        return strip

    def _mark_on(self, under: Segment, age: int) -> Segment:
        style = under.style or self.rich_style
        if under.text not in (" ", "▀", *MARKS):
            return Segment(under.text, style + Style(reverse=True))  # a letter stays legible
        colour = self.get_component_rich_style("keypad--mark").color
        is_seen = colour != style.bgcolor
        return Segment(MARKS[age], style + Style(color=colour, bold=True) if is_seen else style)

    def _row_segments(self, row: tuple[Key, ...], line: int, ground: Style, fit: Fit) -> Iterator[Segment]:
        drawn = 0
        for key in row:
            left, right = fit.edge(key.left), fit.edge(key.right) - 1
            yield Segment(" " * (left - drawn), ground)
            style = self._style_of(key)
            if fit.row_lines > 1 and line == fit.row_lines - 1:
                yield self._lower_edge(right - left, style, ground)
            elif line == (fit.row_lines - 1) // 2:
                yield Segment(self._label(key)[: right - left].center(right - left), style)
            else:
                yield Segment(" " * (right - left), style)
            drawn = right

    def _lower_edge(self, width: int, style: Style, ground: Style) -> Segment:
        if style.bgcolor is None or style.bgcolor.is_default or self._is_colourless:
            # A key that looks like the ground has no edge: a half block would be all that is seen of it.
            return Segment(" " * width, ground)
        return Segment("▀" * width, Style(color=style.bgcolor, bgcolor=ground.bgcolor))

    @property
    def _is_colourless(self) -> bool:
        return self.app.no_color and self.app.native_ansi_color

    def _style_of(self, key: Key) -> Style:
        if key.name in self._lit or (key.name == SHIFT and self.shift is not Shift.OFF):
            return self.get_component_rich_style("keypad--lit")
        is_sign = self.page != LETTERS and key not in self.drawn.rows[-1]
        kind = "letter" if key.typed.isalpha() or (key.typed and is_sign) else "other"
        return self.get_component_rich_style(f"keypad--{kind}")

    def _label(self, key: Key) -> str:
        if key.name == SPACE:
            return self.space_label
        if key.name == SHIFT and self.shift is Shift.LOCKED:
            return LOCKED_LABEL
        return LABELS.get(key.name) or self.shift.typed_by(key)

    @property
    def _fit(self) -> Fit:
        """How the keys fit into the room there is. Textual works a size out anew whenever it is asked for."""
        size, across = self.size, self.keys.width
        if self._last_fit is None or self._last_fit[:2] != (size, across):
            self._last_fit = size, across, fitted(self.keys, size.width, size.height)
        return self._last_fit[2]
