"""The comparison table: several bundles, the same authors, intervals over authors.

In: bundles and conversations of authors no stage has seen. Out: one row each, and paired differences. The
walk ends here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedkey.conversations import GradedConversation, read_conversations, sample
from fedkey.engine import Engine
from fedkey.metrics import Interval, bootstrap, paired_bootstrap
from fedkey.simulate import Scores
from fedkey.workers import UNIGRAM, grade_bundle

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


def read_sample(text: Path, max_words: int | None, seed: int) -> tuple[list[GradedConversation], int]:
    """Stretches of a text's conversations with about `max_words` graded words (None: all conversations), and
    how many conversations there are."""
    conversations = read_conversations(text)
    return sample(conversations, max_words, seed), len(conversations)


def compare(
    bundles: Sequence[tuple[str, Path]],
    conversations: Sequence[GradedConversation],
    *,
    processes: int,
    on_progress: Callable[[int], None] | None = None,
) -> list[Row]:
    """The unigram baseline (of the last bundle's lexicon), then each bundle, on the same text.

    Raises:
        BundleError: one of the bundles cannot be opened; told before anything is graded.
    """
    for _, bundle in bundles:
        Engine.open(bundle)
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


@dataclass(frozen=True)
class Comparison:
    """The table as numbers; `dataclasses.asdict` makes it JSON."""

    authors: int
    words: int
    rows: dict[str, dict[str, Interval]]
    """System -> metric -> value, in the order of the table."""
    gains_of_last: dict[str, dict[str, Interval]]
    """Metric -> other system -> by how much the last row beats it, with intervals paired over authors."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Comparison:
        """Sums become ratios and intervals."""
        *others, last = rows
        scores = last.by_author.values()
        return cls(
            len(last.by_author),
            sum(each.after_0.positions for each in scores),
            {row.name: {metric: row.interval(metric) for metric in METRICS} for row in rows},
            {
                metric: {
                    row.name: paired_bootstrap(last.counts(metric), row.counts(metric)) for row in others
                }
                for metric in METRICS
            },
        )
