"""The comparison table: several bundles, the same authors, intervals over authors.

In: bundles and conversations of authors no stage has seen. Out: one row each, and paired differences. The
walk ends here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedkey.metrics import Interval, bootstrap, paired_bootstrap
from fedkey.simulate import UNIGRAM, GradedConversation, Scores, grade_bundle

Counts = tuple[list[float], list[float]]
"""Numerators and denominators, one entry per author."""

METRICS: dict[str, Callable[[Scores], tuple[float, float]]] = {
    "top_1": lambda scores: (scores.after_0.hits_1, scores.after_0.positions),
    "top_3": lambda scores: (scores.after_0.hits_3, scores.after_0.positions),
    "ksr": lambda scores: (scores.ideal.characters - scores.ideal.pressed, scores.ideal.characters),
}
"""What the table shows: next word with nothing typed, and the ideal typist's keystroke savings."""


@dataclass(frozen=True)
class Row:
    """One system's line of the table."""

    name: str
    by_author: Mapping[str, Scores]

    def counts(self, metric: str) -> Counts:
        """The metric's sums for each author, in the order of their names."""
        pairs = [METRICS[metric](scores) for _, scores in sorted(self.by_author.items())]
        return [float(top) for top, _ in pairs], [float(bottom) for _, bottom in pairs]

    def interval(self, metric: str) -> Interval:
        """The metric with its interval over authors."""
        return bootstrap(*self.counts(metric))


def compare(
    bundles: Sequence[tuple[str, Path]],
    conversations: Sequence[GradedConversation],
    *,
    processes: int,
    on_progress: Callable[[int], None] | None = None,
) -> list[Row]:
    """The unigram baseline (of the last bundle's lexicon), then each bundle, on the same text."""
    rows = [
        Row(
            UNIGRAM,
            grade_bundle(
                bundles[-1][1], conversations, baseline=True, processes=processes, on_progress=on_progress
            ),
        )
    ]
    for name, bundle in bundles:
        by_author = grade_bundle(bundle, conversations, processes=processes, on_progress=on_progress)
        rows.append(Row(name, by_author))
    return rows


def gains(rows: Sequence[Row], metric: str) -> dict[str, Interval]:
    """By how much the last row beats each other one, with paired intervals over authors."""
    *others, last = rows
    return {row.name: paired_bootstrap(last.counts(metric), row.counts(metric)) for row in others}


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    """The table as plain numbers."""
    first = rows[0].by_author
    return {
        "authors": len(first),
        "words": sum(scores.after_0.positions for scores in first.values()),
        "rows": {row.name: {metric: asdict(row.interval(metric)) for metric in METRICS} for row in rows},
        "gains_of_last": {
            metric: {name: asdict(gain) for name, gain in gains(rows, metric).items()} for metric in METRICS
        },
    }
