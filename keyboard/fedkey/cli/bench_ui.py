"""`fedkey bench --ui`: how fast the keyboard on screen is, seen from outside.

In: a bundle, and what to type. Out: what it took, and tables of it. The walk ends here.

The keyboard runs as its own command on a pseudo-terminal, with a memory and settings that begin empty. What
is timed is what a person sees: from the start of the process to the frame in which the keys stand, and from
a key pressed to the frame in which the suggestions are others. Keys follow each other every `PACE_SECONDS`,
or when the answer to the last one is there, if that takes longer. A key that leaves the suggestions as they
are shows nothing to wait for: it is counted and not timed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fedkey.cli.bench import (
    BACKSPACE,
    KEYS,
    LETTER,
    MESSAGE,
    MISTYPED,
    PUNCTUATION,
    SPACE,
    Line,
    beside_goal,
    model_sentence,
    num_keys,
    or_dash,
    percentile,
    typed_from,
)
from fedkey.cli.pseudo_terminal import PseudoTerminal

if TYPE_CHECKING:
    from fedkey.cli.tables import Follow
    from fedkey.layout import Layout

STARTS = 7
"""Of which the median is told, and the best: a process now and then waits for another."""

PACE_SECONDS = 0.12
"""From one key to the next: a hundred words a minute, faster than most thumbs."""

SETTLED_SECONDS = 0.3
"""Suggestions that have not changed by then are taken to stay as they are."""

REST_SECONDS, IDLE_SECONDS = 1.5, 6.0
"""How long nothing is pressed before idleness begins, and how long it is watched: a hundredth of a second of
the processor, which is as finely as it is counted, is a sixth of a per cent."""

PATIENCE_SECONDS = 60.0

WIDTH, HEIGHT = 80, 24

GOALS = {"first_paint_s": 0.7, "suggestions_p99_ms": 50.0, "idle_cpu_percent": 2.0}
"""On two cores, with a model of the phone's size."""


class Seen(NamedTuple):
    """One keystroke, and when its effects were on screen, in milliseconds from the key; None for what did not
    change."""

    kind: str
    text_ms: float | None
    suggestions_ms: float | None


class Start(NamedTuple):
    """From the start of the process to the keys, and to the first suggestions, in seconds.

    Attributes:
        paint_cpu_s: what the processor spent until the keys stood; None where there is no /proc.
    """

    paint_s: float
    paint_cpu_s: float | None
    suggestions_s: float


def measure(
    bundle: Path,
    lines: Sequence[Line],
    layout: Layout,
    follow: Follow,
) -> dict[str, Any]:
    """Starts the keyboard a few times, types the lines into it, and lets it rest.

    Raises:
        UserError: there is no pseudo-terminal, or the keyboard cannot be used on it.
    """
    report = follow("starting", STARTS, "starts")
    starts = []
    for _ in range(STARTS):
        with _keyboard(bundle) as terminal:
            starts.append(_start(terminal, layout))
        report(1)
    report = follow("typing", sum(map(num_keys, lines)), "keys")
    seen: list[Seen] = []
    with _keyboard(bundle) as terminal:
        _start(terminal, layout)
        _rest(terminal, REST_SECONDS)
        before = terminal.processor_seconds()
        for line in lines:
            seen += [_press(terminal, layout, *key) for key in keystrokes(line)]
            report(num_keys(line))
        after = terminal.processor_seconds()
        follow("resting", int(IDLE_SECONDS), "seconds")
        _rest(terminal, REST_SECONDS)
        idle = _rest(terminal, IDLE_SECONDS)
    used = None if before is None or after is None else after - before
    return {
        "first_paint": {
            "wall_s": _best_and_median([start.paint_s for start in starts]),
            "cpu_s": _best_and_median([start.paint_cpu_s for start in starts]),
            "suggestions_wall_s": _best_and_median([start.suggestions_s for start in starts]),
        },
        "keys": {kind: figures([key for key in seen if key.kind == kind]) for kind in KEYS},
        "all_keys": figures(seen),
        "cpu_ms_per_key": None if used is None else used * 1000 / len(seen),
        "idle_cpu_percent": None if idle is None else idle * 100,
        "goals": GOALS,
    }


def keystrokes(line: Line) -> Iterator[tuple[str, str]]:
    """What is pressed to write and send a message: the kind of each key, and what it sends.

    Of the words that are mistyped every second one is noticed at its end and taken back to the first wrong
    letter; the others are left to the keyboard.
    """
    at = num_slips = 0
    for unit in line.units:
        if line.message[at : unit.start].isspace():
            yield SPACE, " "
        kind = LETTER if unit.is_word else PUNCTUATION
        yield from ((kind, each) for each in unit.typed)
        if unit.typed != unit.meant:
            num_slips += 1
            if num_slips % 2:
                yield from [(BACKSPACE, "\x7f")] * (len(unit.typed) - unit.stands)
                yield from ((kind, each) for each in unit.meant[unit.stands :])
        at = unit.start + len(unit.meant)
    yield MESSAGE, "\r"


# ------------------------------------------------------------------------------------------ what is on screen


class Shown(NamedTuple):
    """The parts of the screen whose changes are timed."""

    draft: str
    suggestions: str


def shown(lines: Sequence[str], layout: Layout) -> Shown | None:
    """The draft, in its frame, and what stands between it and the first row of keys; None while there are no
    keys."""
    letters = "".join(key.typed for key in layout.rows[0])
    keys = next((at for at, line in enumerate(lines) if letters in line.lower().replace(" ", "")), None)
    if keys is None:
        return None
    edges = [at for at, line in enumerate(lines[:keys]) if "╰" in line]
    end = edges[-1] if edges else 0
    start = max((at for at, line in enumerate(lines[:end]) if "╭" in line), default=end)
    return Shown("\n".join(lines[start:end]), "\n".join(lines[end + 1 : keys]))


@contextmanager
def _keyboard(bundle: Path) -> Iterator[PseudoTerminal]:
    with tempfile.TemporaryDirectory(prefix="fedkey-bench-") as folder:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ("NO_COLOR", "LINES", "COLUMNS") and not name.startswith("TEXTUAL")
        }
        own = {"XDG_CONFIG_HOME": folder, "XDG_DATA_HOME": folder, "XDG_STATE_HOME": folder}
        colours = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        command = [sys.executable, "-m", "fedkey", str(bundle.absolute())]
        with PseudoTerminal(command, WIDTH, HEIGHT, environment=kept | own | colours) as terminal:
            yield terminal


def _start(terminal: PseudoTerminal, layout: Layout) -> Start:
    """Waits for the keys, and for the first suggestions, of which every place has a number."""
    paint = terminal.wait_for(lambda lines: shown(lines, layout), PATIENCE_SECONDS)
    cpu = terminal.processor_seconds()

    def is_answered(lines: list[str]) -> bool:
        seen = shown(lines, layout)
        return seen is not None and "1 " in seen.suggestions

    answered = terminal.wait_for(is_answered, PATIENCE_SECONDS)
    return Start(paint - terminal.started, cpu, answered - terminal.started)


def _press(terminal: PseudoTerminal, layout: Layout, kind: str, sent: str) -> Seen:
    before = shown(terminal.grid.lines, layout)
    text_at = suggestions_at = None
    pressed = time.perf_counter()
    terminal.type(sent)
    while True:
        until = pressed + (SETTLED_SECONDS if suggestions_at is None else PACE_SECONDS)
        left = until - time.perf_counter()
        if left <= 0:
            break
        frame_at = terminal.read(left)
        now = shown(terminal.grid.lines, layout)
        if frame_at is None or now is None or before is None:
            continue
        if now.draft != before.draft and text_at is None:
            text_at = frame_at
        if now.suggestions != before.suggestions:
            suggestions_at = frame_at
        before = now
    return Seen(
        kind,
        None if text_at is None else (text_at - pressed) * 1000,
        None if suggestions_at is None else (suggestions_at - pressed) * 1000,
    )


def _rest(terminal: PseudoTerminal, seconds: float) -> float | None:
    """Presses nothing for so long; the share of a core that was spent, None where there is no /proc."""
    before, started = terminal.processor_seconds(), time.perf_counter()
    while (left := started + seconds - time.perf_counter()) > 0:
        terminal.read(left)
    after = terminal.processor_seconds()
    return None if before is None or after is None else (after - before) / (time.perf_counter() - started)


# ------------------------------------------------------------------------------------------------ the figures


def figures(keys: Sequence[Seen]) -> dict[str, Any]:
    """Percentiles of the milliseconds until text and suggestions changed; None where none did."""
    numbers: dict[str, Any] = {"count": len(keys)}
    for name in ("text_ms", "suggestions_ms"):
        values = [value for key in keys if (value := getattr(key, name)) is not None]
        numbers[name] = {"count": len(values)} | {
            f"p{percent}": percentile(values, percent) for percent in (50, 90, 99, 100)
        }
    return numbers


def _best_and_median(values: Sequence[float | None]) -> dict[str, float | None]:
    counted = [value for value in values if value is not None]
    return {"best": min(counted, default=None), "median": percentile(counted, 50)}


def print_tables(numbers: Mapping[str, Any]) -> None:
    """Prints what `measure` measured, and of what model."""
    from fedkey.cli.tables import print_blocks, table

    sentence = (
        f"The keyboard on a terminal of {WIDTH} × {HEIGHT}: {STARTS} starts; "
        f"{numbers['all_keys']['count']:,} keys of {typed_from(numbers)}, none sooner than "
        f"{PACE_SECONDS * 1000:.0f} ms after the one before, {MISTYPED:.0%} of the words mistyped; "
        f"{IDLE_SECONDS:.0f} s of rest. {model_sentence(numbers)}. Times are on the clock and grow while "
        "other programs want the processor."
    )
    print_blocks(
        (sentence, table(TITLES, rows(numbers)), table(("", "measured", "goal", ""), goal_rows(numbers)))
    )


def rows(numbers: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A line of each kind of key: how many, how many changed the suggestions, and the milliseconds until they
    did; at the end those until the text was there."""
    for kind, own in [*numbers["keys"].items(), ("all", numbers["all_keys"])]:
        changed = own["suggestions_ms"]
        yield (
            kind,
            f"{own['count']:,}",
            f"{changed['count']:,}",
            *(or_dash(changed[f"p{percent}"], ".0f") for percent in (50, 90, 99, 100)),
            *(or_dash(own["text_ms"][f"p{percent}"], ".0f") for percent in (50, 99)),
        )


TITLES = ("ms on screen", "keys", "timed", "p50", "p90", "p99", "most", "text p50", "p99")


def goal_rows(numbers: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """The figures that have a goal, beside it, and those that explain them."""
    goals, paint = numbers["goals"], numbers["first_paint"]
    goal = goals["first_paint_s"]
    yield beside_goal("first paint, median", paint["wall_s"]["median"], goal, "s")
    yield beside_goal("first paint, best", paint["wall_s"]["best"], goal, "s")
    yield beside_goal("the same in processor time, best", paint["cpu_s"]["best"], goal, "s")
    yield "first suggestions, median", f"{or_dash(paint['suggestions_wall_s']['median'], '.2f')} s", "", ""
    shown_ms = numbers["all_keys"]["suggestions_ms"]["p99"]
    yield beside_goal("key to suggestions, p99", shown_ms, goals["suggestions_p99_ms"], "ms")
    yield "processor time of a key, mean", f"{or_dash(numbers['cpu_ms_per_key'], '.2f')} ms", "", ""
    yield beside_goal("at rest", numbers["idle_cpu_percent"], goals["idle_cpu_percent"], "%")
