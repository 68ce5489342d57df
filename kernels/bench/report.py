"""Tables and goals as text.

In: numbers. Out: lines of Markdown. Next stop: `bench.run`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

NOTHING = "–"


class Goal(NamedTuple):
    """Something the project set out to reach, and how far it got."""

    text: str
    value: float | None
    """None if this run could not measure it."""
    needed: float
    at_most: bool = False
    """Whether smaller is better."""

    def line(self, why_not: str) -> str:
        """Whether it was reached, or why nobody knows."""
        if self.value is None:
            return f"- not yet measured ({why_not}): {self.text}"
        reached = self.value <= self.needed if self.at_most else self.value >= self.needed
        return f"- {'reached' if reached else 'NOT reached'}: {self.text}: {number(self.value)}"


class Section(NamedTuple):
    """What one part of the benchmark found."""

    name: str
    lines: list[str]
    goals: list[Goal]
    failures: list[str]
    """Kernels of ours that are wrong or did not run."""
    needs_gpu: list[str]
    """What was left out because there is no GPU."""


def number(value: float | None) -> str:
    """Three significant digits, no exponent."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    digits = 0
    while digits < 6 and abs(value) * 10**digits < 99.95:
        digits += 1
    return f"{value:.{digits}f}"


def scaled(value: float | None, unit: float) -> str:
    """The same, in a unit."""
    return number(None if value is None else value / unit)


def ratio(value: float | None) -> str:
    """Two digits and a times sign."""
    return NOTHING if value is None else f"{value:.2f}x"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table; a row that is too short says why in its last cell."""
    lines = [f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}"]
    for row in rows:
        cells = [*row, *[""] * (len(headers) - len(row))]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return lines
