"""What counts as a table of numbers when JSON is read, and what does not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fedkey.number_tables import number_table, rounded


@pytest.mark.parametrize(
    ("values", "shape"), [(2, ()), ([], (0,)), ([1, 2.5], (2,)), ([[1, 2, 3], [4, 5, 6.0]], (2, 3))]
)
def test_numbers_stay_as_they_are_nested(values: object, shape: tuple[int, ...]) -> None:
    table = number_table("it", values)
    assert table.shape == shape
    assert table.dtype == np.float64
    assert table.tolist() == values


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "[true, false]",
        "[0.5, true]",
        "[1, false]",
        "[[0.5, 1.5], [2, true]]",
        '"1"',
        '[0.5, "1"]',
        "null",
        "[0.5, null]",
        "[[1, 2], [3]]",
        "[1, [2]]",
        '{"a": 1}',
        f"[0.5, 1{'0' * 400}]",
        f"1{'0' * 400}",
        f"{'[' * 100}1{']' * 100}",
    ],
)
def test_what_is_no_number_is_refused_among_numbers_too(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it is no table of numbers$"):
        number_table("it", json.loads(text))


def test_what_is_not_finite_is_for_whoever_asks_to_judge() -> None:
    assert math.isinf(number_table("it", json.loads("[Infinity]"))[0])


def test_digits_are_taken_off_what_is_fractional_and_off_nothing_else() -> None:
    values = {"a": [1.23456, [123456.0, 7]], "b": 123456, "c": True, "d": "1.23456", "e": None}
    expected = {"a": [1.23, [123000.0, 7]], "b": 123456, "c": True, "d": "1.23456", "e": None}
    assert rounded(values, 3) == expected
    assert type(rounded(values, 3)["b"]) is int
    assert rounded(rounded(values, 3), 3) == expected
