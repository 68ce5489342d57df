"""What a system came to, and the table of all.

In: anything that suggests words, and stretches of unseen authors' messages. Out: Markdown. The walk ends
here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fedkey.conversations import GradedConversation
from fedkey.metrics import Interval, bootstrap
from fedkey.simulate import Predictor
from fedkey.text import is_word, units_with_places


@dataclass(frozen=True)
class Scored:
    """What a system came to."""

    authors: dict[str, list[int]]
    """Of each: words, those that were first, those among three."""
    milliseconds: float
    """What an answer before the first letter takes, the median."""

    def recall(self, place: int) -> Interval:
        """With its interval over authors; `place` 1 is the first word, 2 any of three."""
        sums = [self.authors[name] for name in sorted(self.authors)]
        return bootstrap([each[place] for each in sums], [each[0] for each in sums])


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    name: str
    parameters: str
    float32: str
    """Bytes, as are those at one byte a weight."""
    int8: str
    scored: Scored


Places = Iterator[tuple[str, str, str]]
"""Author, what stands before a word, and the word."""


def places(stretches: Iterable[GradedConversation]) -> Places:
    """Every word of the graded messages."""
    for stretch in stretches:
        for index, message in enumerate(stretch.messages):
            if stretch.graded[index]:
                before = "".join(f"{text}\n" for text in stretch.messages[:index])
                for unit, place in units_with_places(message):
                    if is_word(unit):
                        yield stretch.author, before + message[:place], unit


def score(predictor: Predictor, asked: Places) -> dict[str, list[int]]:
    """Asks for three words at each place; returns what `Scored.authors` says."""
    authors: dict[str, list[int]] = {}
    for author, before, word in asked:
        shown = [each.lower() for each in predictor.suggest(before, "", 3).words]
        sums = authors.setdefault(author, [0, 0, 0])
        sums[0] += 1
        sums[1] += shown[:1] == [word.lower()]
        sums[2] += word.lower() in shown
    return authors


def median_milliseconds(predictor: Predictor, asked: Places) -> float:
    """Of processor time: the clock also counts what a busy machine does for others."""
    spent = []
    for _, before, _ in asked:
        began = time.process_time()
        predictor.suggest(before, "", 3)
        spent.append(1000 * (time.process_time() - began))
    return float(np.median(spent))


def line_of_weights(name: str, parameters: int, scored: Scored) -> Line:
    """Of a network, whose bytes are those of its weights."""
    return Line(name, f"{parameters:,}", f"{4 * parameters:,}", f"{parameters:,}", scored)


HEAD = (
    "system",
    "parameters",
    "bytes, float32",
    "bytes, 1 a weight",
    "top-1 %",
    "top-3 %",
    "ms a word (processor)",
)


def table(rows: Iterable[Line]) -> str:
    """In Markdown."""
    shown = [
        (
            line.name,
            line.parameters,
            line.float32,
            line.int8,
            _interval(line.scored.recall(1)),
            _interval(line.scored.recall(2)),
            f"{line.scored.milliseconds:.2f}",
        )
        for line in rows
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEAD, ["---"] * len(HEAD), *shown))


def _interval(interval: Interval) -> str:
    value, low, high = (f"{100 * each:.1f}" for each in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"
