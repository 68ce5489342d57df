"""Progress of long work: bars on a terminal, plain lines elsewhere.

In: how much there is to do, and what was just done. Out: lines on stderr with rate, remaining time and
figures. Used by every stage; the next stop of the walk is `fedkey_server.model`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0

Figure = float | str | Callable[[], float]
"""A number, a text, or a function that fetches a number; it is called only when a line is shown."""

Advance = Callable[..., None]
"""`advance(amount=1, **figures)`: so much more is done; figures replace those of the same name, newest
first."""


class FiguresColumn(ProgressColumn):
    """What else is told."""

    def render(self, task: Task) -> Text:
        return Text(_figures(task.fields["figures"]), no_wrap=True, overflow="ellipsis")


class RateColumn(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text(f"{rate:,.1f} {task.fields['unit']}/s" if rate else "", style="progress.data.speed")


@contextmanager
def track(
    description: str,
    total: int,
    unit: str,
    *,
    start: int = 0,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Advance]:
    """Shows progress while the body runs.

    Args:
        description: what is being done, e.g. "train central".
        total: how many units there are.
        unit: their name in the plural, e.g. "steps".
        start: units done by an earlier process; they do not count for the rate.
        console: defaults to stderr.
        clock: seconds, for tests.
    """
    console = console or Console(stderr=True)
    shown: dict[str, Figure] = {}
    if console.is_terminal:
        with _bar(console) as progress:
            task = progress.add_task(description, total=total, completed=start, unit=unit, figures=shown)

            def advance_bar(amount: int = 1, **figures: Figure) -> None:
                nonlocal shown
                shown = _newest_first(figures, shown)
                progress.update(task, advance=amount, figures=shown)

            yield advance_bar
        return

    begun = last = clock()
    done = start

    def line() -> str:
        seconds = max(clock() - begun, 1e-9)
        rate = (done - start) / seconds
        remaining = max(0, total - done) / rate if rate else 0.0
        text = f"{description}: {done:,}/{total:,} {unit}, {rate:,.1f} {unit}/s, {remaining:,.0f} s left"
        return f"{text}  {_figures(shown)}".rstrip()

    def advance_line(amount: int = 1, **figures: Figure) -> None:
        nonlocal done, last, shown
        done += amount
        shown = _newest_first(figures, shown)
        if clock() - last >= SECONDS_BETWEEN_LINES:
            last = clock()
            console.print(line(), markup=False, highlight=False, soft_wrap=True)

    yield advance_line
    seconds = clock() - begun
    text = f"{description}: {done:,} {unit} in {seconds:,.1f} s"
    console.print(f"{text}  {_figures(shown)}".rstrip(), markup=False, highlight=False, soft_wrap=True)


def _newest_first(figures: Mapping[str, Figure], shown: Mapping[str, Figure]) -> dict[str, Figure]:
    """A new dictionary: a bar is drawn by a thread of its own."""
    return {**figures, **{name: value for name, value in shown.items() if name not in figures}}


def _bar(console: Console) -> Progress:
    def whole() -> Column:
        return Column(no_wrap=True)  # on a narrow terminal the figures give way, the last one first

    return Progress(
        TextColumn("{task.description}", table_column=whole()),
        BarColumn(bar_width=20, table_column=whole()),
        MofNCompleteColumn(table_column=whole()),
        RateColumn(whole()),
        TimeRemainingColumn(table_column=whole()),
        FiguresColumn(),
        console=console,
    )


def _figures(figures: Mapping[str, Figure]) -> str:
    fetched = {name: value() if callable(value) else value for name, value in figures.items()}
    return "  ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in fetched.items()
    )
