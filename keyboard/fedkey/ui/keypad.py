"""The keyboard on screen, drawn from `fedkey.layout` and worked by mouse.

In: a layout, whether shift is on, which keys light up. Out: taps, with their place in key widths. Next stop:
`fedkey.ui.help`.

One key width is a whole, preferably even, number of cells, so that rows indented by half a key fall on cells
and labels in the middle of their keys. A row is one to four lines; of several, the last is half a line of key
and half a line of gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from fedkey.layout import BACKSPACE, ENTER, SHIFT, SPACE, Key, Layout
from fedkey.ui.messages import KeyTapped

LIGHT_SECONDS = 0.15
"""How long a pressed key stays lit: long enough to be seen, short enough to follow fast typing."""

WIDEST_KEY: Mapping[int, int] = {1: 6, 2: 6, 3: 6, 4: 8}
"""Lines of a row -> cells of a key width at most; a cell is about twice as high as it is wide."""

LABELS: Mapping[str, str] = {SHIFT: "⇧", BACKSPACE: "⌫", ENTER: "⏎", SPACE: "space"}


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

    def edge(self, x: float) -> int:
        """The column that begins at a place in key widths."""
        return self.left + int(x * self.key_cells + 0.5)


def fitted(layout: Layout, width: int, height: int) -> Fit:
    """Makes the keys as large as so many cells allow."""
    row_lines = min(max(height // len(layout.rows), 1), max(WIDEST_KEY))
    # The gap behind the last key needs no room.
    cells = min(int((width + 1) / layout.width), WIDEST_KEY[row_lines])
    key_cells = max(cells - cells % 2 if cells > 4 else cells, 1)
    return Fit(width, row_lines, key_cells, max(int(width + 1 - key_cells * layout.width) // 2, 0))


class Keypad(Widget):
    """All keys of a layout, as large as the room allows."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"keypad--letter", "keypad--other", "keypad--lit"}

    is_shifted: reactive[bool] = reactive(False)

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.keys = layout
        self._lit: dict[str, Timer] = {}
        self._last_fit: tuple[Size, Fit] | None = None

    @property
    def lit(self) -> frozenset[str]:
        """Names of the keys that are lit."""
        return frozenset(self._lit)

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
        """The cells of a key. To draw all keys takes 5 ms, and every stroke lights one and puts one out."""
        key, fit = self.keys[name], self._fit
        row = round(key.top / self.keys.height * len(self.keys.rows))
        left = fit.edge(key.left)
        return Region(left, row * fit.row_lines, fit.edge(key.right) - left, fit.row_lines)

    def cell_of(self, name: str) -> tuple[int, int]:
        """The cell in the middle of a key, (column, line) within the widget."""
        x, y = self.keys[name].center
        return self._fit.edge(x), int(y / self.keys.height * len(self.keys.rows) * self._fit.row_lines)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Turns a press into a tap; a press between keys hits the nearest."""
        if event.button != 1:
            return
        event.stop()
        # Most terminals report whole cells, which means anywhere in the cell; some report fractions.
        column, line = (at + 0.5 if at == int(at) else at for at in (event.pointer_x, event.pointer_y))
        fit = self._fit
        x = (column - fit.left) / fit.key_cells
        y = line / fit.row_lines * self.keys.height / len(self.keys.rows)
        self.post_message(KeyTapped(self.keys.nearest(x, y), x, y))

    def render_line(self, y: int) -> Strip:
        """One line of cells."""
        fit = self._fit
        row, line = divmod(y, fit.row_lines)
        ground = self.rich_style
        if row >= len(self.keys.rows):
            return Strip.blank(fit.width, ground)
        segments = list(self._row_segments(self.keys.rows[row], line, ground, fit))
        return Strip(segments).adjust_cell_length(fit.width, ground)

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
        if key.name in self._lit or (key.name == SHIFT and self.is_shifted):
            return self.get_component_rich_style("keypad--lit")
        kind = "letter" if key.name.isalpha() and len(key.name) == 1 else "other"
        return self.get_component_rich_style(f"keypad--{kind}")

    def _label(self, key: Key) -> str:
        return LABELS.get(key.name) or (key.shifted if self.is_shifted else key.typed)

    @property
    def _fit(self) -> Fit:
        """How the keys fit into the room there is. Textual works a size out anew whenever it is asked for."""
        size = self.size
        if self._last_fit is None or self._last_fit[0] != size:
            self._last_fit = size, fitted(self.keys, size.width, size.height)
        return self._last_fit[1]
