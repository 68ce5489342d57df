"""Sums become the numbers that people compare: ratios, percentiles, intervals over authors.

In: sums by author, as `fedkey.simulate`, `fedkey.mistyping` and `fedkey.learning` return them. Out: plain
numbers, ready for JSON. Next stop: `fedkey.cli.tables`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from operator import add
from typing import Any

from fedkey.learning import FIRST_MESSAGES, Learning
from fedkey.metrics import Corrections, Keystrokes, Recall, bootstrap, deciles, paired_bootstrap
from fedkey.mistyping import Misspelt, Typing
from fedkey.simulate import BOUNDED_NOTICES, LETTERS, Scores
from fedkey.typos import KINDS

MIN_WORDS_FOR_DECILES = 20
"""Authors with fewer graded words say little about themselves."""

LATENCY_PERCENTILES = (50, 90, 99)


def summary(by_author: Mapping[str, Scores]) -> dict[str, Any]:
    """Every metric of one predictor as plain numbers."""
    total = reduce(add, by_author.values(), Scores())
    own = [scores for scores in by_author.values() if scores.after_0.positions >= MIN_WORDS_FOR_DECILES]
    perplexity = total.likelihood.perplexity_per_word
    return {
        "authors": len(by_author),
        "words": total.after_0.positions,
        "recall": {str(letters): _recall(by_author, letters, total.after(letters)) for letters in LETTERS},
        "ksr": {
            "ideal": _savings([scores.ideal for scores in by_author.values()]),
            "bounded": {
                str(probability): _savings([getattr(scores.bounded, name) for scores in by_author.values()])
                for name, probability in BOUNDED_NOTICES.items()
            },
        },
        "bits_per_character": total.likelihood.bits_per_character if total.likelihood.characters else None,
        "perplexity_per_word": perplexity if total.likelihood.words and math.isfinite(perplexity) else None,
        "author_deciles": {
            "authors": len(own),
            "top_1": deciles([scores.after_0.top_1 for scores in own]),
            "ksr_ideal": deciles([scores.ideal.savings for scores in own]),
        },
        "latency_ms": {
            "calls": total.latency.total,
            **{f"p{percent}": total.latency.percentile(percent) for percent in LATENCY_PERCENTILES},
        },
    }


def _recall(by_author: Mapping[str, Scores], letters: int, total: Recall) -> dict[str, Any]:
    own = [scores.after(letters) for scores in by_author.values()]
    positions = [recall.positions for recall in own]
    return {
        "words": total.positions,
        "known_words": total.known,
        "top_1": asdict(bootstrap([recall.hits_1 for recall in own], positions)),
        "top_3": asdict(bootstrap([recall.hits_3 for recall in own], positions)),
        "mrr": total.mean_reciprocal_rank,
        "top_1_known": total.hits_1 / total.known if total.known else 0.0,
        "top_3_known": total.hits_3 / total.known if total.known else 0.0,
        "mrr_known": total.reciprocal_rank / total.known if total.known else 0.0,
        "top_1_exact_case": total.exact_1 / total.positions if total.positions else 0.0,
        "top_3_exact_case": total.exact_3 / total.positions if total.positions else 0.0,
    }


def typing_summary(by_author: Mapping[str, Typing]) -> dict[str, Any]:
    """Every metric of a text typed with mistakes as plain numbers."""
    own = list(by_author.values())
    total = reduce(add, own, Typing())
    corrected = total.autocorrect
    right = [typing.autocorrect.right for typing in own]
    nonwords = [typing.autocorrect.nonwords for typing in own]
    return {
        "right": {
            **asdict(corrected.right),
            "harm_rate": asdict(bootstrap([r.harmed for r in right], [r.words for r in right])),
            "unknown": asdict(corrected.right_unknown) | {"harm_rate": corrected.right_unknown.harm_rate},
        },
        "nonwords": _corrections(corrected.nonwords)
        | {
            "repair_rate": asdict(bootstrap([c.repaired for c in nonwords], [c.words for c in nonwords])),
            "wrong_rate": asdict(bootstrap([c.wrong for c in nonwords], [c.words for c in nonwords])),
        },
        "real_words": _corrections(corrected.real_words),
        "strangers": _corrections(corrected.strangers),
        "precision": corrected.precision if corrected.changed else None,
        "by_kind": {kind: _corrections(getattr(total.by_kind, kind)) for kind in KINDS},
        "ksr": {
            "aided": _savings([typing.aided for typing in own]),
            "unaided": _savings([typing.unaided for typing in own]),
        },
    }


def misspellings_summary(misspelt: Misspelt) -> dict[str, Any]:
    """Corrections of real misspellings as plain numbers."""
    return {
        "nonwords": _corrections(misspelt.nonwords),
        "in_context": _corrections(misspelt.in_context),
        "real_words": _corrections(misspelt.real_words),
    }


def _corrections(corrections: Corrections) -> dict[str, Any]:
    return {
        "words": corrections.words,
        **asdict(corrections),
        "repair_rate": corrections.repair_rate,
        "wrong_rate": corrections.wrong_rate,
        "offered_rate": corrections.offered_rate,
    }


def learning_summary(by_author: Mapping[str, Learning]) -> dict[str, Any]:
    """What a memory is worth as plain numbers."""
    total = reduce(add, by_author.values(), Learning())
    first = {}
    for messages in FIRST_MESSAGES:
        pairs = [
            (own.with_memory.first(messages), own.without_memory.first(messages))
            for own in by_author.values()
            if own.without_memory.first(messages).characters
        ]
        with_memory, without_memory = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        first[str(messages)] = {
            "authors": len(pairs),
            "with_memory": _savings(with_memory) if pairs else None,
            "without_memory": _savings(without_memory) if pairs else None,
            "gain": asdict(paired_bootstrap(_saved(with_memory), _saved(without_memory))) if pairs else None,
        }
    new_words = total.new_words
    return {
        "authors": len(by_author),
        "first_messages": first,
        "new_words": {
            "words": new_words.words,
            **asdict(new_words),
            "mean_letters": new_words.mean_letters,
        },
    }


def _savings(own: Sequence[Keystrokes]) -> dict[str, float]:
    return asdict(bootstrap(*_saved(own)))


def _saved(own: Sequence[Keystrokes]) -> tuple[list[float], list[float]]:
    """Keys saved and characters written, one entry per author."""
    return [keys.characters - keys.pressed for keys in own], [keys.characters for keys in own]
