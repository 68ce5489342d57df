"""Which charts a run has, for the screen and for files alike.

In: a `Record`. Out: panels. Next stop: `fedkey_server.watch.plot` on the screen, `fedkey_server.watch.charts`
for files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedkey_server.watch import figures
from fedkey_server.watch.figures import Series, cost, decile, figure, running_sum, series, spent
from fedkey_server.watch.record import Record


@dataclass(frozen=True)
class Line:
    """A curve with its name."""

    label: str
    series: Series
    is_quiet: bool = False
    """Whether it is there for comparison only."""


@dataclass(frozen=True)
class Panel:
    """One chart."""

    name: str
    """Of its file."""
    title: str
    subtitle: str
    """Where there is room."""
    show: Callable[[float], str]
    """Writes a value."""
    lines: tuple[Line, ...] = ()
    bands: tuple[tuple[Series, Series], ...] = ()
    """Ranges of values, the widest first."""
    bands_label: str = ""
    stacks: tuple[Line, ...] = ()
    """Parts that add up, from below."""
    from_zero: bool = False


def panels(record: Record) -> list[Panel]:
    """The charts of which the run has figures, the most important first."""
    found = [_loss(record), _accuracy(record)]
    if record.is_federated:
        found += [_phones(record), _epsilon(record), _bytes(record), _time(record)]
    return [panel for panel in found if any(line.series for line in (*panel.lines, *panel.stacks))]


def _loss(record: Record) -> Panel:
    return Panel(
        "loss",
        "loss",
        "nats a piece",
        "{:.2f}".format,
        (
            Line("training", series(record, figure("train_loss")), is_quiet=True),
            Line("validation", series(record, figure("validation_loss"))),
        ),
    )


def _accuracy(record: Record) -> Panel:
    deciles = {number: series(record, decile(number)) for number in range(1, 10)}
    has_deciles = bool(deciles[5])
    lines = [Line("mean", series(record, figure("validation_top1")))]
    if has_deciles:
        lines.insert(0, Line("median", deciles[5], is_quiet=True))
    return Panel(
        "top1",
        "top-1",
        "share of pieces that were the most probable one, held-out authors",
        lambda value: figures.percent(value, 0),
        tuple(lines),
        tuple((deciles[number], deciles[10 - number]) for number in range(1, 5)) if has_deciles else (),
        "deciles",
    )


def _phones(record: Record) -> Panel:
    rows = figures.rounds(record)
    steps = [float(row["step"]) for row in rows]
    counts = [figures.fates(row) for row in rows]
    return Panel(
        "phones",
        "phones",
        "asked in a round, and what became of them",
        _plain,
        stacks=tuple(
            Line(fate, Series(steps, [float(each[fate]) for each in counts])) for fate in figures.FATES
        ),
        from_zero=True,
    )


def _epsilon(record: Record) -> Panel:
    here = series(record, spent("epsilon"))
    budget = float(record.config["privacy"]["epsilon"]) if "privacy" in record.config else 0.0
    lines = [
        Line("of a million", series(record, spent("epsilon_at_a_million")), is_quiet=True),
        Line("here", here),
    ]
    if budget and here:
        lines.insert(0, Line("budget", Series(here.steps, [budget] * len(here.steps)), is_quiet=True))
    return Panel("epsilon", "ε", "spent on one phone's text so far", _plain, tuple(lines), from_zero=True)


def _bytes(record: Record) -> Panel:
    down, up = (running_sum(series(record, cost(name))) for name in ("bytes_down", "bytes_up"))
    lines = (Line("up", up, is_quiet=True), Line("down", down))
    return Panel("bytes", "bytes", "to and from phones so far", figures.num_bytes, lines, from_zero=True)


def _time(record: Record) -> Panel:
    spent_hours, wasted = (running_sum(_hours(record, name)) for name in ("client_seconds", "wasted_seconds"))
    lines = (Line("wasted", wasted, is_quiet=True), Line("all", spent_hours))
    return Panel("time", "hours", "of phones' work so far", _plain, lines, from_zero=True)


def _hours(record: Record, name: str) -> Series:
    seconds = series(record, cost(name))
    return Series(seconds.steps, [value / 3600 for value in seconds.values])


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
