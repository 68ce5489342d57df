"""Metrics are sums: they add up in any order, and become the numbers one computes by hand."""

from __future__ import annotations

import itertools
import math
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey.metrics import (
    Autocorrect,
    Corrections,
    Interval,
    Keystrokes,
    Latency,
    Likelihood,
    NewWords,
    Recall,
    RightWords,
    bootstrap,
    deciles,
    paired_bootstrap,
)
from fedkey.simulate import Bounded, Scores

COUNTS = st.integers(0, 10**6)
RECALLS = st.builds(Recall, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS.map(float))
KEYSTROKES = st.builds(Keystrokes, COUNTS, COUNTS)
LATENCIES = st.lists(st.floats(0, 1e5), max_size=5).map(Latency.of)
SCORES = st.builds(
    Scores, RECALLS, RECALLS, RECALLS, RECALLS, KEYSTROKES,
    st.builds(Bounded, KEYSTROKES, KEYSTROKES, KEYSTROKES),
    st.builds(Likelihood, COUNTS.map(float), COUNTS, COUNTS), LATENCIES,
)  # fmt: skip

CORRECTIONS = st.builds(Corrections, COUNTS, COUNTS, COUNTS, COUNTS)
RIGHT_WORDS = st.builds(RightWords, COUNTS, COUNTS, COUNTS)
AUTOCORRECTS = st.builds(Autocorrect, CORRECTIONS, CORRECTIONS, CORRECTIONS, RIGHT_WORDS, RIGHT_WORDS)


# ---------------------------------------------------------------------------------------------------- algebra


@given(SCORES, SCORES, SCORES)
def test_sums_may_be_formed_in_any_order(a: Scores, b: Scores, c: Scores) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Scores() == a


@given(AUTOCORRECTS, AUTOCORRECTS, AUTOCORRECTS)
@settings(max_examples=30)
def test_corrections_may_be_summed_in_any_order(a: Autocorrect, b: Autocorrect, c: Autocorrect) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Autocorrect() == a
    assert (a + b).mistyped == a.mistyped + b.mistyped
    assert (a + b).changed == a.changed + b.changed


@given(RECALLS, RECALLS)
def test_adding_adds_every_field(a: Recall, b: Recall) -> None:
    total = a + b
    assert total.positions == a.positions + b.positions
    assert total.known == a.known + b.known
    assert (total.hits_1, total.hits_3) == (a.hits_1 + b.hits_1, a.hits_3 + b.hits_3)
    assert (total.exact_1, total.exact_3) == (a.exact_1 + b.exact_1, a.exact_3 + b.exact_3)
    assert total.reciprocal_rank == a.reciprocal_rank + b.reciprocal_rank


@given(st.lists(st.floats(0, 1e5), max_size=30), st.integers(0, 30))
def test_latencies_counted_apart_are_those_counted_together(values: list[float], cut: int) -> None:
    assert Latency.of(values[:cut]) + Latency.of(values[cut:]) == Latency.of(values)
    assert Latency.of(values).total == len(values)


# ----------------------------------------------------------------------------------------------------- ratios


def test_recall_by_hand() -> None:
    """Four words: shown first; shown third; known but not shown; unknown."""
    recall = reduce(
        add,
        [
            Recall(1, 1, 1, 1, 1, 1, 1.0),
            Recall(1, 1, 0, 1, 0, 1, 1 / 3),
            Recall(1, 1, 0, 0, 0, 0, 0.0),
            Recall(1, 0, 0, 0, 0, 0, 0.0),
        ],
    )
    assert recall.top_1 == 0.25
    assert recall.top_3 == 0.5
    assert recall.mean_reciprocal_rank == pytest.approx((1 + 1 / 3) / 4)


def test_savings_by_hand() -> None:
    assert Keystrokes(pressed=15, characters=20).savings == 0.25
    assert Keystrokes(pressed=20, characters=20).savings == 0
    assert Keystrokes(pressed=22, characters=20).savings == pytest.approx(-0.1)


def test_likelihood_by_hand() -> None:
    """32 characters at half a bit each, 4 words."""
    likelihood = Likelihood(nats=32 * 0.5 * math.log(2), characters=32, words=4)
    assert likelihood.bits_per_character == pytest.approx(0.5)
    assert likelihood.perplexity_per_word == pytest.approx(2**4)


def test_corrections_by_hand() -> None:
    """Ten typos, one of them a word, and forty right words, of which two are harmed."""
    total = Autocorrect(
        nonwords=Corrections(repaired=5, missed=2, wrong=1, offered=6),
        real_words=Corrections(missed=1, offered=1),
        strangers=Corrections(wrong=1),
        right_known=RightWords(words=38, harmed=1),
        right_unknown=RightWords(words=2, harmed=1, apostrophes=1),
    )
    assert total.nonwords.words == 8
    assert total.nonwords.repair_rate == 5 / 8
    assert total.nonwords.wrong_rate == 1 / 8
    assert total.nonwords.offered_rate == 6 / 8
    assert total.mistyped == Corrections(repaired=5, missed=3, wrong=2, offered=7)
    assert total.right == RightWords(words=40, harmed=2, apostrophes=1)
    assert total.right.harm_rate == 2 / 40
    assert total.changed == 5 + 2 + 2
    assert total.precision == 5 / 9


def test_new_words_by_hand() -> None:
    """Two offered when written once before, after one and three letters; one after five times; one never."""
    total = NewWords(after_1=2, after_more=1, never=1, letters=1 + 3 + 2)
    assert (total.words, total.offered) == (4, 3)
    assert total.mean_letters == 2


def test_nothing_measured_is_no_division() -> None:
    assert (Corrections().repair_rate, Corrections().wrong_rate, Corrections().offered_rate) == (0, 0, 0)
    assert (RightWords().harm_rate, Autocorrect().precision, NewWords().mean_letters) == (0, 0, 0)
    assert (Recall().top_1, Recall().top_3, Recall().mean_reciprocal_rank) == (0, 0, 0)
    assert Keystrokes().savings == 0
    assert Likelihood().bits_per_character == 0
    assert Latency().percentile(50) == 0


def test_one_word_among_much_that_is_none_is_infinitely_surprising() -> None:
    assert Likelihood(nats=1e4, characters=1000, words=1).perplexity_per_word == math.inf


# ---------------------------------------------------------------------------------------------------- latency


@given(
    st.lists(st.floats(0.02, 1e4), min_size=1, max_size=200),
    st.sampled_from([1.0, 10.0, 50.0, 90.0, 99.0, 100.0]),
)
def test_percentiles_are_numpys_up_to_a_bucket(values: list[float], percent: float) -> None:
    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    found = Latency.of(values).percentile(percent)
    assert exact <= found * (1 + 1e-9)
    assert found <= exact * 2 ** (1 / 8) * (1 + 1e-9)


def test_latencies_out_of_range_are_kept_at_the_ends() -> None:
    assert Latency.of([0.0, 1e-9]).percentile(100) == 1 / 128
    assert 14_000 < Latency.of([1e9]).percentile(50) < 17_000


# -------------------------------------------------------------------------------------------------- intervals


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Authors of different size and skill; the truth is known because they are drawn from it."""
    rng = np.random.default_rng(0)
    held = 0
    for draw in range(120):
        sizes = rng.integers(20, 200, size=60)
        skills = np.clip(rng.normal(0.3, 0.1, size=60), 0, 1)
        hits = rng.binomial(sizes, skills)
        interval = bootstrap(hits.tolist(), sizes.tolist(), seed=draw)
        assert interval.low <= interval.value <= interval.high
        assert interval.value == pytest.approx(hits.sum() / sizes.sum())
        held += interval.low <= 0.3 <= interval.high
    assert 0.88 <= held / 120 <= 0.99


def test_authors_not_words_are_drawn() -> None:
    """Ten authors who always hit and ten who never do say little, however many words they wrote."""
    few = bootstrap([10.0, 0.0] * 10, [10.0] * 20)
    many = bootstrap([1000.0, 0.0] * 10, [1000.0] * 20)
    assert few == many
    assert few.value == 0.5
    assert few.high - few.low > 0.3


def test_equal_authors_leave_no_doubt() -> None:
    assert bootstrap([1.0, 2.0, 3.0], [4.0, 8.0, 12.0]) == Interval(0.25, 0.25, 0.25)
    assert bootstrap([3.0], [4.0]) == Interval(0.75, 0.75, 0.75)


def test_the_same_seed_gives_the_same_interval() -> None:
    tops, bottoms = np.random.default_rng(3).random(30).tolist(), [1.0] * 30
    assert bootstrap(tops, bottoms, seed=1) == bootstrap(tops, bottoms, seed=1)
    assert bootstrap(tops, bottoms, seed=1) != bootstrap(tops, bottoms, seed=2)


def test_authors_without_words_are_nothing_but_authors() -> None:
    interval = bootstrap([0.0, 3.0, 0.0], [0.0, 4.0, 0.0])
    assert interval.value == 0.75
    assert bootstrap([0.0], [0.0]) == Interval(0, 0, 0)


def test_very_many_authors_are_resampled_too() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 50, size=30_000).astype(float)
    interval = bootstrap((sizes * 0.5).tolist(), sizes.tolist())
    assert interval == Interval(0.5, 0.5, 0.5)


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    """What makes authors differ from each other makes both sides differ alike, and drops out."""
    rng = np.random.default_rng(2)
    sizes = np.full(50, 100.0)
    before = rng.binomial(100, rng.uniform(0.1, 0.6, size=50)).astype(float)
    after = before + 2
    gain = paired_bootstrap((after, sizes), (before, sizes))  # type: ignore[arg-type]
    assert gain.value == pytest.approx(0.02)
    assert (gain.low, gain.high) == (pytest.approx(0.02), pytest.approx(0.02))
    alone = bootstrap(before.tolist(), sizes.tolist())
    assert alone.high - alone.low > 0.05


def test_swapping_the_sides_turns_the_sign() -> None:
    one, other = ([1.0, 4.0, 2.0], [5.0, 9.0, 4.0]), ([2.0, 2.0, 2.0], [5.0, 9.0, 4.0])
    there, back = paired_bootstrap(one, other), paired_bootstrap(other, one)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert paired_bootstrap(one, one) == Interval(0, 0, 0)


def test_sides_of_different_authors_are_refused() -> None:
    with pytest.raises(ValueError, match="the same authors"):
        paired_bootstrap(([1.0], [2.0]), ([1.0, 1.0], [2.0, 2.0]))
    with pytest.raises(ValueError, match="every author"):
        bootstrap([1.0, 2.0], [2.0])
    with pytest.raises(ValueError, match="one author at least"):
        bootstrap([], [])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_deciles_are_numpys(values: list[float]) -> None:
    assert deciles(values) == pytest.approx(np.percentile(values, [10, 20, 30, 40, 50, 60, 70, 80, 90]))
    assert all(a <= b for a, b in itertools.pairwise(deciles(values)))


def test_no_authors_have_no_deciles() -> None:
    assert deciles([]) == ()
