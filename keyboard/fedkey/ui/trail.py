"""The line that a mouse draws across the keys: where it runs, and which cells still show it.

In: places of the mouse, the cells they lie in, and the time. Out: the path in key widths, and the cells with
how far each has faded. Next stop: `fedkey.ui.drawn_words`.
"""

from __future__ import annotations

Cell = tuple[int, int]
"""Column and line."""

Path = tuple[tuple[float, float], ...]
"""Points (x, y) in key widths, in order."""

FADE_SECONDS = 0.15
"""From one shade of a cell to the next: of three shades, a word of six keys is seen about half."""

MAX_POINTS = 10_000
"""Kept of one line; whoever draws on for minutes moves its end alone."""


class Trail:
    """The newest line, and what is left of those before it."""

    def __init__(self, num_shades: int) -> None:
        """`num_shades` is how often a cell is drawn weaker before it is gone."""
        self._num_shades = num_shades
        self._points: list[tuple[float, float]] = []
        self._last: Cell | None = None
        self._passed: dict[Cell, float] = {}

    @property
    def path(self) -> Path:
        """The points of the newest line."""
        return tuple(self._points)

    @property
    def is_seen(self) -> bool:
        """Whether anything is left of it."""
        return bool(self._passed)

    def begin(self, point: tuple[float, float], cell: Cell) -> None:
        """Begins a line. Nothing is shown before it leaves its first cell: most presses are taps."""
        self._points, self._last = [point], cell

    def draw_to(self, point: tuple[float, float], cell: Cell, now: float) -> frozenset[Cell]:
        """Goes on to a point; the cells that are to be drawn for it."""
        if len(self._points) == MAX_POINTS:
            self._points.pop()
        self._points.append(point)
        if self._last is None or cell == self._last:
            return frozenset()
        passed = cells_between(self._last, cell)
        self._passed |= dict.fromkeys(passed, now)
        self._last = cell
        return frozenset(passed)

    def shade(self, cell: Cell, now: float) -> int | None:
        """How far a cell has faded, from 0; None if the line is not seen there."""
        since = self._passed.get(cell)
        if since is None:
            return None
        shade = max(int((now - since) / FADE_SECONDS), 0)
        return shade if shade < self._num_shades else None

    def on_line(self, line: int, now: float) -> dict[int, int]:
        """The columns of a line in which it is seen, and how far each has faded."""
        shades = {column: self.shade((column, line), now) for column, at in self._passed if at == line}
        return {column: shade for column, shade in shades.items() if shade is not None}

    def fade(self, now: float) -> frozenset[Cell]:
        """Forgets what is gone; all cells that may look otherwise than a moment ago."""
        cells = frozenset(self._passed)
        self._passed = {
            cell: since for cell, since in self._passed.items() if self.shade(cell, now) is not None
        }
        return cells


def cells_between(start: Cell, end: Cell) -> list[Cell]:
    """The cells on the straight way between two, both included: a fast mouse is seen in few of them."""
    (column, line), (to_column, to_line) = start, end
    num_steps = max(abs(to_column - column), abs(to_line - line), 1)
    return [
        (
            round(column + (to_column - column) * step / num_steps),
            round(line + (to_line - line) * step / num_steps),
        )
        for step in range(num_steps + 1)
    ]
