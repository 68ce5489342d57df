"""The network that weighs a word's opinions, against its formula written out."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.mixture import (
    FLOORS,
    LEAST,
    MAX_UNITS,
    MAX_WEIGHT,
    NO_SHARES,
    PLACE_INPUTS,
    WORD_INPUTS,
    Evidence,
    Mixture,
    Shares,
    place_inputs,
    word_inputs,
)

SEEDS = st.integers(0, 2**32 - 1)


def drawn(rng: np.random.Generator, units: int = 3) -> Mixture:
    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    places, words = len(PLACE_INPUTS), len(WORD_INPUTS)
    return Mixture(normal(units, words), normal(units, places), normal(units), normal(units), 0.25)


@given(seed=SEEDS, units=st.integers(1, 5), num_words=st.integers(0, 4))
def test_a_shift_is_what_the_formula_says(seed: int, units: int, num_words: int) -> None:
    rng = np.random.default_rng(seed)
    mixture = drawn(rng, units)
    by_word = rng.normal(size=(num_words, len(WORD_INPUTS))).astype(np.float32)
    by_place = rng.normal(size=len(PLACE_INPUTS)).astype(np.float32)
    expected = []
    for x in by_word:
        total = mixture.out_bias
        for unit in range(units):
            seen = sum(a * b for a, b in zip(mixture.by_word[unit], x, strict=True))
            seen += sum(a * b for a, b in zip(mixture.by_place[unit], by_place, strict=True))
            total += mixture.out[unit] * max(0.0, seen + mixture.bias[unit])
        expected.append(total)
    assert mixture.shift(by_word, by_place).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_what_is_known_of_a_word_stands_in_the_order_of_the_bundle() -> None:
    def of(*values: float) -> np.ndarray:
        return np.array(values, dtype=np.float32)

    said, followed = Shares(np.array([1]), of(0.6)), Shares(np.array([0, 2]), of(0.7, 0.1))
    evidence = Evidence(of(0.5, 0.1), of(0.2, 0.3), of(0.4, 0), said, followed, 0.1, 0.2, 3)
    usual, mixed, model = np.log(of(0.9, 0.05)), of(-1.5), of(-2.5)
    row = word_inputs(np.array([1]), evidence, usual, mixed, model, np.array([True]))[0]
    told = dict(zip(WORD_INPUTS, row.tolist(), strict=True))
    expected = {
        "mixed": -1.5,
        "model": -2.5,
        "prior": math.log(0.1 + FLOORS["prior"]),
        "ngrams": math.log(0.3 + FLOORS["ngrams"]),
        "pairs": math.log(FLOORS["pairs"]),
        "usual": math.log(0.05),
        "said": math.log(0.6 + FLOORS["said"]),
        "followed": math.log(FLOORS["followed"]),
        "is_single": 1.0,
    }
    assert told == pytest.approx(expected, rel=1e-5)


@given(
    shares=st.dictionaries(st.integers(0, 9), st.floats(0.01, 1), max_size=6),
    words=st.lists(st.integers(0, 12), max_size=6),
)
def test_shares_of_words_that_have_none_are_zero(shares: dict[int, float], words: list[int]) -> None:
    kept = sorted(shares)
    given = Shares(np.array(kept, dtype=np.int64), np.array([shares[each] for each in kept], np.float32))
    found = given.of(np.array(words, dtype=np.int64))
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx([shares.get(word, 0.0) for word in words])


def test_what_is_impossible_counts_as_next_to_impossible() -> None:
    zero = np.zeros(1, dtype=np.float32)
    evidence = Evidence(zero, zero, zero, NO_SHARES, NO_SHARES, 0.0, 0.0, 0)
    never = np.array([-np.inf], dtype=np.float32)
    row = word_inputs(np.array([0]), evidence, never, never, never, np.array([False]))[0]
    assert np.isfinite(row).all()
    assert row[:2].tolist() == [LEAST, LEAST]


def test_what_is_known_of_a_place() -> None:
    nothing = np.zeros(1, dtype=np.float32)
    evidence = Evidence(nothing, nothing, nothing, NO_SHARES, NO_SHARES, 0.15, 0.25, 4)
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array([0.25, 0.25, 0.5, 0.0], dtype=np.float32))
    told = dict(zip(PLACE_INPUTS, place_inputs(evidence, log_probs, np.exp(log_probs)).tolist(), strict=True))
    assert told == pytest.approx(
        {
            "entropy": 1.5 * math.log(2),
            "most": 0.5,
            "num_words": math.log(5),
            "said_share": 0.15,
            "followed_share": 0.25,
        }
    )


@given(seed=SEEDS)
def test_a_bundle_keeps_six_digits_of_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixture = drawn(rng)
    read = Mixture.from_json(mixture.to_json())
    assert read.to_json() == mixture.to_json()
    by_word = rng.normal(size=(4, len(WORD_INPUTS))).astype(np.float32)
    by_place = rng.normal(size=len(PLACE_INPUTS)).astype(np.float32)
    assert np.allclose(read.shift(by_word, by_place), mixture.shift(by_word, by_place), atol=1e-3)


def damaged(**changes: object) -> str:
    values = json.loads(drawn(np.random.default_rng(0)).to_json())
    return json.dumps({**values, **changes})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "no object of just by_word, by_place, bias, out, out_bias"),
        (damaged(more=1), "no object of just"),
        (damaged(by_word=[[1.0]]), r"by_word has the shape \[1, 1\], not \[3, 9\]"),
        (damaged(by_place=[1.0]), "by_place has the shape"),
        (damaged(bias=[]), "there are 0 units"),
        (damaged(bias=[0.0] * (MAX_UNITS + 1)), f"there are {MAX_UNITS + 1} units"),
        (damaged(bias=3.0), "bias is no row of numbers"),
        (damaged(out=[1.0, 2.0]), r"out has the shape \[2\], not \[3\]"),
        (damaged(out=[1.0, 2.0, "a"]), "out is no table of numbers"),
        (damaged(out=[1.0, [2.0], 3.0]), "out is no table of numbers"),
        (damaged(out=[1.0, 2.0, 1e300]), "out must hold numbers of at most 1e"),
        (damaged(out=[1.0, 2.0, -3e38]), "out must hold numbers of at most 1e"),
        (damaged(out=[1.0, 2.0, math.nan]), "out must hold numbers of at most 1e"),
        (damaged(out_bias=[1.0]), "out_bias no number"),
        (damaged(out_bias=1e300), "out_bias must be a number of at most 1e"),
        (damaged(out_bias=math.nan), "out_bias must be a number of at most 1e"),
        ("{", "Expecting"),
    ],
)
def test_what_is_no_mixture_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Mixture.from_json(text)


def test_the_largest_numbers_overflow_no_sum() -> None:
    def most(*shape: int) -> np.ndarray:
        return np.full(shape, MAX_WEIGHT, dtype=np.float32)

    mixture = Mixture(
        most(MAX_UNITS, len(WORD_INPUTS)),
        most(MAX_UNITS, len(PLACE_INPUTS)),
        most(MAX_UNITS),
        most(MAX_UNITS),
        MAX_WEIGHT,
    )
    by_word = np.full((2, len(WORD_INPUTS)), -LEAST, dtype=np.float32)
    assert np.isfinite(mixture.shift(by_word, np.full(len(PLACE_INPUTS), 100, dtype=np.float32))).all()
