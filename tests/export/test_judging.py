"""What a judge learns, and that it learns the same again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedkey.corrections import DEFAULT_CORRECTIONS, confidence
from fedkey.judge import Choice, Literal
from fedkey_export.judging import Case, learn

SHARES = {"mistyped": 1.0, "new": 1.0, "not learned from": 0.0}


def cases(num: int, *, is_new: bool, seed: int = 0) -> list[Case]:
    """Words that are new where the nearest other word is two edits away, whatever all else says."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(num):
        text = "words" if is_new else "word"
        likely, by_letters = rng.uniform(-14, -6), rng.uniform(-24, -16)
        right = Choice(text + ("es" if is_new else ""), likely, likely, 6.0, 7.0)
        other = Choice("worldly", likely - 4, likely, 14.0, 14.0)
        literal = Literal("wrod", by_letters, by_letters - 1, is_name=False, is_tapped=False)
        found.append(Case(literal, (right, other), -1 if is_new else 0, f"author {number}"))
    return found


SOURCES = {
    "mistyped": cases(150, is_new=False),
    "new": cases(150, is_new=True),
    "not learned from": cases(150, is_new=True),
}


def sure(case: Case, seed: int = 0) -> float:
    model = DEFAULT_CORRECTIONS
    judge = learn(SOURCES, SHARES, model, seed)
    assert judge is not None
    alone, scores = model.scores(case.literal, case.choices)
    shift, shifts = judge.shifts(case.literal, case.choices)
    return confidence(alone + shift, [score + more for score, more in zip(scores, shifts, strict=True)])


def test_it_tells_apart_what_it_has_not_seen() -> None:
    mistyped, new = cases(1, is_new=False, seed=7)[0], cases(1, is_new=True, seed=7)[0]
    assert sure(mistyped) > 0.8
    assert sure(new) < 0.2


def test_the_same_seed_gives_the_same_judge_and_leaves_torch_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = learn(SOURCES, SHARES, DEFAULT_CORRECTIONS, 0)
    assert torch.equal(torch.rand(3), expected)
    assert learn(SOURCES, SHARES, DEFAULT_CORRECTIONS, 0) == first
    assert learn(SOURCES, SHARES, DEFAULT_CORRECTIONS, 1) != first


def test_what_counts_nothing_is_not_learned_from() -> None:
    with_it = learn(SOURCES, SHARES, DEFAULT_CORRECTIONS, 0)
    without = {name: found for name, found in SOURCES.items() if SHARES[name]}
    assert learn(without, SHARES, DEFAULT_CORRECTIONS, 0) == with_it


@pytest.mark.parametrize(
    "sources",
    [
        {},
        {"new": []},
        {"new": [SOURCES["new"][0]._replace(choices=())]},
        {"not learned from": SOURCES["new"]},
    ],
)
def test_from_nothing_nothing_is_learned(sources: dict[str, list[Case]]) -> None:
    assert learn(sources, SHARES, DEFAULT_CORRECTIONS, 0) is None
