"""What a judge learns, and that it learns the same again."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedkey.corrections import DEFAULT_CORRECTIONS, confidence
from fedkey.judge import Choice, Judge, Literal
from fedkey_export.judging import Case, learn

SHARES = {"mistyped": 1.0, "new": 1.0, "not learned from": 0.0}


def cases(num: int, *, is_new: bool, seed: int = 0) -> list[Case]:
    """Words that are new where the nearest other word is four edits away, and one letter away where not; all
    else is alike."""
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


def sure(judge: Judge | None, case: Case) -> float:
    """How sure a judge is of the best choice."""
    model = replace(DEFAULT_CORRECTIONS, judge=judge)
    return confidence(*model.scores(case.literal, case.choices))


@pytest.fixture(scope="module")
def learned() -> Judge:
    judge = learn(SOURCES, SHARES, DEFAULT_CORRECTIONS, 0)
    assert judge is not None
    return judge


def test_it_tells_apart_what_it_has_not_seen(learned: Judge) -> None:
    mistyped, new = cases(1, is_new=False, seed=7)[0], cases(1, is_new=True, seed=7)[0]
    assert sure(learned, mistyped) > 0.8
    assert sure(learned, new) < 0.2


def test_a_source_counts_as_much_as_is_said() -> None:
    """Where a case is a mistake in one source and a new word in the other, the heavier one has its way,
    however many cases it has."""
    same = cases(1, is_new=False)[0]
    sources = {"mistyped": [same] * 20, "new": [same._replace(right=-1)] * 80}
    for share, is_sure in ((9.0, True), (1 / 9, False)):
        judge = learn(sources, {"mistyped": share, "new": 1.0}, DEFAULT_CORRECTIONS, 0)
        assert (sure(judge, same) > 0.5) is is_sure


def test_what_never_varied_has_no_say(learned: Judge) -> None:
    """Nothing was tapped in what it learned from, and no choice is two words."""
    each = cases(1, is_new=False)[0]
    tapped = each._replace(literal=each.literal._replace(is_tapped=True))
    assert sure(learned, tapped) == pytest.approx(sure(learned, each))


def test_words_that_cannot_be_scored_are_no_examples(learned: Judge) -> None:
    each = SOURCES["mistyped"][0]
    endless = each._replace(choices=(each.choices[0]._replace(log_prob=-math.inf), each.choices[1]))
    sources = {**SOURCES, "mistyped": [*SOURCES["mistyped"], endless]}
    assert learn(sources, SHARES, DEFAULT_CORRECTIONS, 0) == learned


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
