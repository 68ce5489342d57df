"""Why the keyboard offers what it offers, and what a space would do.

In: the numbers by which words and corrections compete. Out: the same numbers by name, for people. Next stop:
`fedkey.engine`, whose `explain` makes them on request: a key that nobody asks about pays nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What a space does with the letters, and why."""

    NOTHING_TYPED = "nothing is typed"
    KNOWN = "a known word"
    RECASED = "most likely written so"
    WRITTEN = "stands in the conversation"
    EXEMPT = "no word that slips explain"
    """Abbreviations, addresses, tags, laughter, capitals: see `fedkey.corrections.may_be_corrected`."""
    KEPT = "brought back before"
    ALONE = "nothing else fits"
    UNSURE = "not sure enough"
    SURE = "sure enough"


@dataclass(frozen=True)
class ExplainedWord:
    """A candidate and what it is worth, in nats.

    Attributes:
        word: as it would be inserted.
        score: what the words are ranked by: model and memory mixed, less the costs.
        error_cost: minus the log probability that these touches are made for it; 0 for what they begin.
        model_log_prob: the model's log probability in this context; None for a word that the lexicon
            lacks.
        personal_log_prob: the memory's share of the mix; None where it has no say.
    """

    word: str
    score: float
    error_cost: float
    model_log_prob: float | None
    personal_log_prob: float | None


@dataclass(frozen=True)
class Rival:
    """Something that a space could leave behind.

    Attributes:
        text: the letters as they stand, or what would be put in their place.
        share: of the probability, among all rivals; from 0 to 1.
        is_literal: whether it is the letters as they stand.
    """

    text: str
    share: float
    is_literal: bool


@dataclass(frozen=True)
class Explanation:
    """What lies behind an answer.

    Attributes:
        words: the candidates, best first.
        verdict: what a space does, and why.
        autocorrect: what it puts in place of the letters; None to leave them.
        rivals: what competed for that, likeliest first; empty if nothing did.
        min_confidence: the share that a rival needs to be put in.
    """

    words: tuple[ExplainedWord, ...]
    verdict: Verdict
    autocorrect: str | None
    rivals: tuple[Rival, ...]
    min_confidence: float


def rivals(literal: str, literal_score: float, choices: Sequence[tuple[str, float]]) -> tuple[Rival, ...]:
    """What competes, likeliest first.

    Args:
        literal: the letters as they stand.
        literal_score: their score, in nats.
        choices: what else may be meant, with its score.
    """
    scores = [literal_score, *(score for _, score in choices)]
    top = max(scores)
    if not math.isfinite(top):
        return ()
    weights = [math.exp(score - top) for score in scores]
    total = math.fsum(weights)
    texts = [literal, *(text for text, _ in choices)]
    found = [
        Rival(text, weight / total, at == 0)
        for at, (text, weight) in enumerate(zip(texts, weights, strict=True))
    ]
    return tuple(sorted(found, key=lambda rival: -rival.share))
