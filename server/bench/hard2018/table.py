"""What a system came to, and the table of all.

In: anything that suggests words, and stretches of unseen authors' messages. Out: Markdown. The walk ends
here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fedkey.metrics import Interval, bootstrap
from fedkey.simulate import GradedConversation, Predictor
from fedkey.text import is_word, units_with_places


@dataclass(frozen=True)
class Scored:
    """What a system came to: sums of each author, and milliseconds a word."""

    authors: dict[str, list[int]]
    """Words, those that were first, those among three."""
    milliseconds: float
    """Median of one answer before the first letter."""

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


def score(predictor: Predictor, stretches: Iterable[GradedConversation]) -> Scored:
    """Asks for three words before each word of the graded messages."""
    authors: dict[str, list[int]] = {}
    milliseconds = []
    for stretch in stretches:
        sums = authors.setdefault(stretch.author, [0, 0, 0])
        for index, message in enumerate(stretch.messages):
            if not stretch.graded[index]:
                continue
            before = "".join(f"{text}\n" for text in stretch.messages[:index])
            for unit, place in units_with_places(message):
                if not is_word(unit):
                    continue
                shown = predictor.suggest(before + message[:place], "", 3)
                words = [word.lower() for word in shown.words]
                sums[0] += 1
                sums[1] += words[:1] == [unit.lower()]
                sums[2] += unit.lower() in words
                milliseconds.append(shown.latency_ms)
    return Scored(authors, float(np.median(milliseconds)))


def line_of_weights(name: str, parameters: int, scored: Scored) -> Line:
    """Of a network, whose bytes are those of its weights."""
    return Line(name, f"{parameters:,}", f"{4 * parameters:,}", f"{parameters:,}", scored)


HEAD = ("system", "parameters", "bytes, float32", "bytes, 1 a weight", "top-1 %", "top-3 %", "ms a word")


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
