"""Count-min sketches: what a sum of them says of keys that nobody named before."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey_server.sketch import Keys, SketchConfig, cells, estimates, reaches, sketch

SMALL = SketchConfig(num_hashes=3, width=64, most=40)
ROOMY = SketchConfig(num_hashes=4, width=1 << 16, most=1000)

PHONES = st.lists(st.sets(st.integers(0, 300), max_size=40), min_size=1, max_size=12)


def as_keys(numbers: set[int] | list[int] | range) -> Keys:
    return np.array(sorted(numbers), dtype=np.uint64)


def total_of(phones: list[set[int]], config: SketchConfig) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.sum([sketch(as_keys(mine), config, rng).astype(np.float64) for mine in phones], axis=0)


@given(PHONES)
def test_an_estimate_is_never_below_the_truth(phones: list[set[int]]) -> None:
    truth = Counter(key for mine in phones for key in mine)
    asked = as_keys(range(301))
    found = estimates(total_of(phones, SMALL), asked, SMALL)
    assert (found >= [truth[int(key)] for key in asked]).all()


@given(PHONES)
def test_where_there_is_room_it_is_the_truth(phones: list[set[int]]) -> None:
    truth = Counter(key for mine in phones for key in mine)
    asked = as_keys(range(301))
    found = estimates(total_of(phones, ROOMY), asked, ROOMY)
    assert found.tolist() == [truth[int(key)] for key in asked]


@given(PHONES, st.integers(1, 12))
def test_what_reaches_a_number_is_what_is_estimated_so(phones: list[set[int]], least: int) -> None:
    total, asked = total_of(phones, SMALL), as_keys(range(301))
    assert (reaches(total, asked, least, SMALL) == (estimates(total, asked, SMALL) >= least)).all()


@given(st.sets(st.integers(0, 1 << 62), max_size=80))
def test_a_phone_moves_a_sum_by_the_norm_at_most(numbers: set[int]) -> None:
    vector = sketch(as_keys(numbers), SMALL, np.random.default_rng(1))
    assert set(vector.tolist()) <= {0.0, 1.0}
    assert np.linalg.norm(vector) <= SMALL.norm
    assert vector.reshape(SMALL.num_hashes, SMALL.width).sum(axis=1).max() <= SMALL.most


def test_what_a_phone_says_twice_counts_once() -> None:
    keys = as_keys({1, 2, 3})
    twice = sketch(np.concatenate([keys, keys]), ROOMY, np.random.default_rng(0))
    assert (twice == sketch(keys, ROOMY, np.random.default_rng(5))).all()


def test_of_too_many_keys_a_phone_draws_some_and_the_same_for_a_seed() -> None:
    config = SketchConfig(num_hashes=1, width=1 << 20, most=100)
    keys = as_keys(range(5000))
    one, same, other = (sketch(keys, config, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one.sum() == 100
    assert (one == same).all()
    assert (one != other).any()
    kept = np.flatnonzero(estimates(one, keys, config))
    assert 1500 < kept.mean() < 3500  # and not the first ones


def test_keys_spread_over_a_row_and_differently_over_another() -> None:
    config = SketchConfig(num_hashes=2, width=100)
    keys = as_keys(range(100_000))
    first, second = (cells(keys, row, config) for row in range(2))
    for row in (first, second):
        counts = np.bincount(row, minlength=100)
        assert len(counts) == 100
        assert np.square(counts - 1000).sum() / 1000 < 160  # chi-squared, 99 degrees of freedom: 1 in 10,000
    together = np.bincount(first * 100 + second, minlength=10_000)
    assert np.square(together - 10).sum() / 10 < 10_600  # 9,999 degrees of freedom


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"num_hashes": 0}, "num_hashes"), ({"width": 0}, "width"), ({"most": 0}, "most")],
)
def test_a_shape_that_is_none_is_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=f"sketch.{said}"):
        SketchConfig(**settings)
