"""Charts made of characters.

In: curves, and the size of a chart in cells. Out: cells, each a character and what it stands for. Next stop:
`fedkey_server.watch.app`, which gives them their colours.

Curves are drawn in braille, 2 x 4 dots a cell; columns in eighths of a cell. Cells know roles and no colours,
so that one drawing fits every theme, and a terminal without colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bits of the dots of a braille character, rows from above."""
_EIGHTHS = " ▁▂▃▄▅▆▇█"
BLANK = "blank"
"""The role of a character in the colour of the screen's own ground."""


@dataclass(frozen=True)
class Curve:
    """Values over steps."""

    role: str
    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Cell:
    """A character of a chart."""

    character: str = " "
    role: str = ""
    """What is drawn; empty is nothing."""
    ground: str = ""
    """What lies behind it."""


Cells = list[list[Cell]]
"""Rows from above."""


@dataclass(frozen=True)
class Chart:
    """Curves over a common axis of steps; later ones lie above earlier ones."""

    curves: tuple[Curve, ...]
    show: Callable[[float], str]
    """Writes a value at the axis."""
    bands: tuple[tuple[Curve, Curve], ...] = ()
    """Curves between which the ground is filled, the lower one first; later bands lie above earlier ones."""
    from_zero: bool = False

    def draw(self, width: int, height: int) -> Cells:
        """The chart in so many cells; all blank if there is no room or nothing to draw."""
        edges = [curve for band in self.bands for curve in band]
        drawn = [curve for curve in (*edges, *self.curves) if curve.steps]
        if not drawn or width < 16 or height < 4:
            return [[Cell()] * width for _ in range(max(0, height))]
        low = min(min(curve.values) for curve in drawn)
        high = max(max(curve.values) for curve in drawn)
        scale = Scale.over(0.0 if self.from_zero else low, high, height - 1)
        first = min(curve.steps[0] for curve in drawn)
        last = max(curve.steps[-1] for curve in drawn)
        canvas = Canvas.of(scale, self.show, (first, last), width, height)
        for band in self.bands:
            canvas.fill(*band)
        for curve in self.curves:
            if curve.steps:
                canvas.line(curve)
        return canvas.cells


@dataclass(frozen=True)
class Columns:
    """Stacked columns, one a step, or the mean of several where there are too many for the width."""

    roles: tuple[str, ...]
    """From below."""
    steps: Sequence[float]
    values: Sequence[Sequence[float]]
    """Of each step, one value a role."""
    show: Callable[[float], str]

    def draw(self, width: int, height: int) -> Cells:
        """The columns in so many cells."""
        if not self.steps or width < 16 or height < 4:
            return [[Cell()] * width for _ in range(max(0, height))]
        values = np.asarray(self.values, dtype=np.float64)
        scale = Scale.over(0.0, max(1.0, float(values.sum(axis=1).max())), height - 1)
        canvas = Canvas.of(scale, self.show, (self.steps[0], self.steps[-1]), width, height)
        num_columns = width - canvas.left
        groups = np.array_split(values, min(num_columns, len(values)))
        each = num_columns // len(groups)
        gap = 1 if each > 2 else 0
        for number, group in enumerate(groups):
            tops = np.cumsum(group.mean(axis=0)) / scale.high * (height - 1) * 8
            start = canvas.left + number * each
            canvas.column(slice(start, start + each - gap), self.roles, np.rint(tops).astype(int).tolist())
        return canvas.cells


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, low: float, high: float, num_rows: int) -> Scale:
        """An axis that holds both values, from one round tick to another, with a tick every other row at
        most."""
        if high <= low:
            margin = abs(low) * 0.05 or 1.0
            low, high = (low, high + margin) if low == 0 else (low - margin, high + margin)
        step = _round_up((high - low) / max(1, num_rows // 3))
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = tuple(number * step for number in range(first, last + 1))
        return cls(ticks[0], ticks[-1], ticks)


def _round_up(step: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= step * (1 - 1e-9))


@dataclass
class Canvas:
    """A chart being drawn."""

    cells: Cells
    left: int
    """Columns that the axis takes."""
    scale: Scale
    span: tuple[float, float]
    """First and last step."""

    @classmethod
    def of(
        cls, scale: Scale, show: Callable[[float], str], span: tuple[float, float], width: int, height: int
    ) -> Canvas:
        """Axes and nothing else."""
        labels = {tick: show(tick) for tick in scale.ticks}
        left = max((len(label) for label in labels.values()), default=0) + 1
        canvas = cls([[Cell()] * width for _ in range(height)], left, scale, span)
        for tick, label in labels.items():
            row = canvas._row(tick)
            canvas._write(row, left - 1 - len(label), label)
            for column in range(left, width):
                canvas.cells[row][column] = Cell("┈", "grid")
        first, last = (f"{step:,.0f}" for step in span)
        canvas._write(height - 1, left, first)
        if width - len(last) > left + len(first) + 1:
            canvas._write(height - 1, width - len(last), last)
        return canvas

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns within the axes."""
        return len(self.cells) - 1, len(self.cells[0]) - self.left

    def line(self, curve: Curve) -> None:
        """Draws a curve."""
        num_rows, num_columns = self.size
        heights = self._heights(curve, 2 * num_columns) * (4 * num_rows - 1)
        dots = np.zeros((4 * num_rows, 2 * num_columns), dtype=bool)
        ends = np.rint(4 * num_rows - 1 - heights)
        for column in np.flatnonzero(~np.isnan(ends)):
            # Down or up to half-way to both neighbours, so that a steep curve has no holes.
            near = [ends[column]]
            for neighbour in (column - 1, column + 1):
                if 0 <= neighbour < len(ends) and not math.isnan(ends[neighbour]):
                    near.append(np.trunc((ends[column] + ends[neighbour]) / 2))
            dots[int(min(near)) : int(max(near)) + 1, column] = True
        self._braille(dots, curve.role)

    def _braille(self, dots: npt.NDArray[np.bool_], role: str) -> None:
        num_rows, num_columns = self.size
        bits = (dots.reshape(num_rows, 4, num_columns, 2) * _DOTS[None, :, None, :]).sum(axis=(1, 3))
        for row, column in np.argwhere(bits):
            old = self.cells[row][self.left + column]
            # Where curves meet, the dots of both stay and the upper one gives the colour.
            under = ord(old.character) - 0x2800 if "\u2800" <= old.character <= "\u28ff" else 0
            character = chr(0x2800 + (int(bits[row, column]) | under))
            ground = old.ground
            if old.character in _EIGHTHS[4:8]:  # the end of a ground, most of which this cell is
                ground = "" if old.role == BLANK else old.role
            self.cells[row][self.left + column] = Cell(character, role, ground)

    def fill(self, low: Curve, high: Curve) -> None:
        """Gives the place between two curves a ground, to an eighth of a cell."""
        num_rows, num_columns = self.size
        below, above = (self._heights(curve, num_columns) * num_rows * 8 for curve in (low, high))
        for column in np.flatnonzero(~np.isnan(below) & ~np.isnan(above)):
            bottom, top = round(below[column]), round(above[column])
            for row in range(num_rows):
                start = (num_rows - 1 - row) * 8
                first, last = max(0, bottom - start), min(8, top - start)
                if first >= last:
                    continue
                old = self.cells[row][self.left + column]
                if last < 8:  # its upper end; a lower end in the same cell is not seen
                    cell = Cell(_EIGHTHS[last], low.role, old.ground)
                elif first > 0:
                    cell = Cell(_EIGHTHS[first], old.ground or BLANK, low.role)
                else:
                    cell = Cell(old.character, old.role, low.role)
                self.cells[row][self.left + column] = cell

    def column(self, place: slice, roles: Sequence[str], tops: Sequence[int]) -> None:
        """Draws a stack of which `tops` are the upper ends in eighths of a cell."""
        num_rows, _ = self.size
        bottoms = [0, *tops]
        for row in range(num_rows):
            start = (num_rows - 1 - row) * 8
            parts = [
                (min(top, start + 8) - max(bottom, start), role)
                for role, bottom, top in zip(roles, bottoms, tops, strict=False)
            ]
            inside = [(part, role) for part, role in parts if part > 0]
            filled = sum(part for part, _ in inside)
            if not inside:
                continue
            if filled < 8 or len(inside) == 1:  # what is not filled needs the second of a cell's two colours
                cell = Cell(_EIGHTHS[filled], max(inside)[1])
            else:  # of three parts the smaller upper one gives way
                cell = Cell(_EIGHTHS[inside[0][0]], inside[0][1], max(inside[1:])[1])
            self.cells[row][place] = [cell] * len(self.cells[row][place])

    def _heights(self, curve: Curve, num_columns: int) -> Floats:
        """Of the curve, as a share of the axis, at each of so many columns; NaN where it has not begun."""
        steps, values = (np.asarray(each, dtype=np.float64) for each in (curve.steps, curve.values))
        if len(steps) > num_columns:  # the mean of what falls on a column: single steps are noise by then
            groups = np.array_split(np.arange(len(steps)), num_columns)
            steps = np.linspace(steps[0], steps[-1], num_columns)
            values = np.array([values[group].mean() for group in groups])
        at = np.linspace(*self.span, num_columns)
        heights = np.interp(at, steps, values, left=np.nan, right=np.nan)
        if len(steps) == 1 or self.span[0] == self.span[1]:
            heights[np.abs(at - steps[0]).argmin()] = values[-1]
        return np.clip((heights - self.scale.low) / (self.scale.high - self.scale.low), 0.0, 1.0)

    def _row(self, value: float) -> int:
        share = (value - self.scale.low) / (self.scale.high - self.scale.low)
        num_rows = len(self.cells) - 1
        return min(num_rows - 1, round((1 - share) * (num_rows - 1)))

    def _write(self, row: int, column: int, text: str) -> None:
        for offset, character in enumerate(text):
            self.cells[row][column + offset] = Cell(character, "axis")
