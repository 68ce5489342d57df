"""Rounding of weights: bounded, symmetric, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedkey_export.quantize import WEIGHT_LEVELS, quantise

WEIGHTS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False),
)


@given(WEIGHTS)
def test_no_weight_moves_by_more_than_half_a_step(weight: np.ndarray) -> None:
    values, scale = quantise(weight)
    assert values.dtype == np.int8
    assert scale.dtype == np.float32
    assert np.abs(values).max() <= WEIGHT_LEVELS
    error = np.abs(values * scale.astype(np.float64) - weight)
    assert (error <= scale * 0.5001).all()


@given(WEIGHTS)
def test_the_largest_weight_of_a_column_uses_the_whole_range(weight: np.ndarray) -> None:
    values, _ = quantise(weight)
    used = np.abs(values).max(axis=0)
    np.testing.assert_array_equal(used, np.where(np.abs(weight).max(axis=0) > 0, WEIGHT_LEVELS, 0))


@given(WEIGHTS)
def test_mirrored_weights_give_mirrored_values(weight: np.ndarray) -> None:
    values, scale = quantise(weight)
    mirrored, same_scale = quantise(-weight)
    np.testing.assert_array_equal(mirrored, -values)
    np.testing.assert_array_equal(same_scale, scale)


@given(WEIGHTS)
def test_what_was_quantised_quantises_to_itself(weight: np.ndarray) -> None:
    values, scale = quantise(weight)
    again, _ = quantise((values * scale).astype(np.float32))
    np.testing.assert_array_equal(again, values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        quantise(np.array([[1.0, bad]], dtype=np.float32))
