"""What each system scored on each stretch of a text, kept in files that grow, and the tables made of them.

In: a line of sums a stretch. Out: Markdown. The walk ends here.

A file belongs to one system and one text, and to everything that its figures depend on: its name holds a
digest of that. Its lines stand in the order of the sample, so that a run that was cut goes on where it
stopped, and two systems are compared on the stretches that both have: the first so many.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedkey.errors import UserError
from fedkey.metrics import Interval, Sums, bootstrap, paired_bootstrap

HARNESS = 1
"""Raised whenever the same system would score otherwise: older files are then no longer read."""


@dataclass(frozen=True)
class Sum(Sums):
    """What is counted."""

    words: int = 0
    hits_1: int = 0
    hits_3: int = 0
    pressed: int = 0
    characters: int = 0
    """Of the messages, as keystrokes go."""
    nats: float = 0.0
    word_characters: int = 0
    """Of the words, each with the space that ends it; 0 where the system has no probabilities."""


@dataclass(frozen=True)
class Metric:
    """A ratio of sums."""

    title: str
    top: Callable[[Sum], float]
    bottom: Callable[[Sum], float]
    scale: float = 100.0
    digits: int = 1


METRICS = (
    Metric("top-1 %", lambda s: s.hits_1, lambda s: s.words),
    Metric("top-3 %", lambda s: s.hits_3, lambda s: s.words),
    Metric("KSR %", lambda s: s.characters - s.pressed, lambda s: s.characters),
    # Nats become bits.
    Metric("bits/character", lambda s: s.nats, lambda s: s.word_characters, 1 / 0.6931471805599453, 3),
)


@dataclass(frozen=True)
class Scored:
    """One stretch."""

    author: str
    sum: Sum


class Record:
    """One system's file for one text."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        """`settings` are everything, besides the program, that the figures depend on."""
        described = json.dumps({"harness": HARNESS, **settings}, sort_keys=True)
        self.path = folder / f"{name}-{text_digest(described)[:12]}.jsonl"
        self._settings = settings

    def read(self) -> list[Scored]:
        """What is there; a last line that was cut is forgotten, and written over by `append`."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")
        whole, cut = lines[:-1], lines[-1]
        if cut:
            self.path.write_bytes(b"".join(line + b"\n" for line in whole))
        try:
            rows = [json.loads(line) for line in whole[1:]]
            return [Scored(row.pop("author"), Sum(**row)) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.path} is damaged; delete it.") from error

    def append(self, scored: Scored) -> None:
        """Adds the next stretch."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists() or not self.path.stat().st_size
        with self.path.open("a", encoding="utf-8") as file:
            if is_new:
                file.write(json.dumps(self._settings, sort_keys=True) + "\n")
            file.write(json.dumps({"author": scored.author, **asdict(scored.sum)}) + "\n")


def text_digest(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def by_author(stretches: Iterable[Scored]) -> dict[str, Sum]:
    """The sums of each author, in the order of their names."""
    totals: dict[str, Sum] = {}
    for each in stretches:
        totals[each.author] = totals.get(each.author, Sum()) + each.sum
    return dict(sorted(totals.items()))


def value(metric: Metric, stretches: Sequence[Scored]) -> Interval | None:
    """A metric with its interval over authors; None where the system has none."""
    sums = by_author(stretches).values()
    tops, bottoms = [metric.top(each) for each in sums], [metric.bottom(each) for each in sums]
    return bootstrap(tops, bottoms) if any(bottoms) else None


def gain(metric: Metric, ours: Sequence[Scored], other: Sequence[Scored]) -> Interval | None:
    """By how much `ours` is above `other` on the stretches that both have, authors drawn together."""
    shared = min(len(ours), len(other))
    if [each.author for each in ours[:shared]] != [each.author for each in other[:shared]]:
        raise UserError("Two results are not of the same text; delete the older one.")
    sides = []
    for stretches in (ours[:shared], other[:shared]):
        sums = by_author(stretches).values()
        sides.append(([metric.top(each) for each in sums], [metric.bottom(each) for each in sums]))
    if not all(any(bottoms) for _, bottoms in sides):
        return None
    return paired_bootstrap(*sides)


@dataclass(frozen=True)
class Line:
    """A system as the tables name it."""

    name: str
    size: str
    stretches: Sequence[Scored]
    absent: str = ""
    """Why it was not measured."""


def tables(lines: Sequence[Line], num_stretches: int) -> str:
    """What each scored, and how far the first is from each of the others."""
    head = ["system", "bytes", "words of authors", *(metric.title for metric in METRICS)]
    own = [_row(line, num_stretches) for line in lines]
    blocks = [_markdown(head, own)]
    first, *others = lines
    compared = [line for line in others if line.stretches and first.stretches]
    if compared:
        head = [f"{first.name} less", "words of authors", *(metric.title for metric in METRICS)]
        blocks.append(_markdown(head, [_gains(first, line) for line in compared]))
    return "\n\n".join(blocks)


def _row(line: Line, num_stretches: int) -> list[str]:
    if not line.stretches:
        return [line.name, line.size, line.absent or "not yet measured", *[""] * len(METRICS)]
    words = _words(line.stretches)
    if len(line.stretches) < num_stretches:
        words = f"the first {words}"
    values = (value(metric, line.stretches) for metric in METRICS)
    shown = [_interval(each, metric) for each, metric in zip(values, METRICS, strict=True)]
    return [line.name, line.size, words, *shown]


def _gains(first: Line, other: Line) -> list[str]:
    shared = min(len(first.stretches), len(other.stretches))
    values = (gain(metric, first.stretches, other.stretches) for metric in METRICS)
    shown = [_interval(each, metric, sign="+") for each, metric in zip(values, METRICS, strict=True)]
    return [other.name, _words(other.stretches[:shared]), *shown]


def _words(stretches: Sequence[Scored]) -> str:
    authors = len({each.author for each in stretches})
    return f"{sum(each.sum.words for each in stretches):,} of {authors}"


def _interval(interval: Interval | None, metric: Metric, sign: str = "") -> str:
    if interval is None:
        return "none"
    numbers = (metric.scale * each for each in (interval.value, interval.low, interval.high))
    mean, low, high = (f"{number:{sign}.{metric.digits}f}" for number in numbers)
    return f"{mean} [{low}, {high}]"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def between_markers(text: str, name: str, block: str) -> str:
    """`text` with what stands between the markers of `name` replaced.

    Raises:
        UserError: the markers are not there, each once and in order.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(f"BENCHMARKS.md must hold {begin.strip()} and {end}, each once and in this order.")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{block}\n{end}{after}"
