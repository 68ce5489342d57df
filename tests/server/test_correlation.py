"""Noise that cancels, against brute force and against the tree it replaces."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedkey_server.correlation import influence, noise_of_sums, sensitivity, weights
from fedkey_server.noise import noised

WINDOWS = st.integers(1, 12)


def toeplitz(column: np.ndarray) -> np.ndarray:
    size = len(column)
    return np.array([[column[i - j] if i >= j else 0.0 for j in range(size)] for i in range(size)])


def correlate(window: int, num_rounds: int) -> np.ndarray:
    """Takes draws to the noise of rounds."""
    return toeplitz(np.pad(weights(window), (0, num_rounds))[:num_rounds])


def all_participations(num_rounds: int, separation: int) -> list[tuple[int, ...]]:
    """Every set of rounds that one phone may take part in."""
    return [
        rounds
        for size in range(num_rounds + 1)
        for rounds in itertools.combinations(range(num_rounds), size)
        if all(later - earlier >= separation for earlier, later in itertools.pairwise(rounds))
    ]


def test_the_weights_are_those_of_a_square_root() -> None:
    assert weights(1) == (1.0,)
    assert weights(5) == (1.0, -1 / 2, -1 / 8, -1 / 16, -5 / 128)
    square = np.convolve(weights(40), weights(40))[:40]  # (1 - x)^(1/2) squared
    assert square == pytest.approx([1, -1, *[0] * 38], abs=1e-12)


@given(window=WINDOWS, num_rounds=st.integers(1, 30))
def test_the_influence_undoes_the_weights(window: int, num_rounds: int) -> None:
    product = correlate(window, num_rounds) @ toeplitz(influence(window, num_rounds))
    assert np.allclose(product, np.eye(num_rounds), atol=1e-12)


@pytest.mark.parametrize("num_rounds", [1, 2, 5, 8, 11])
@pytest.mark.parametrize("separation", [1, 2, 3, 5])
@pytest.mark.parametrize("window", [1, 2, 3, 8])
def test_no_way_of_taking_part_moves_more_than_the_sensitivity(
    num_rounds: int, separation: int, window: int
) -> None:
    matrix = toeplitz(influence(window, num_rounds))
    same = max(
        float(np.linalg.norm(matrix[:, list(rounds)].sum(1)))
        for rounds in all_participations(num_rounds, separation)
    )
    assert sensitivity(window, num_rounds, separation) == pytest.approx(same, rel=1e-12)


@given(
    window=WINDOWS, separation=st.integers(1, 4), seed=st.integers(0, 10_000), num_values=st.integers(1, 3)
)
def test_nor_do_updates_that_differ_from_round_to_round(
    window: int, separation: int, seed: int, num_values: int
) -> None:
    rng, num_rounds = np.random.default_rng(seed), 9
    matrix = toeplitz(influence(window, num_rounds))
    possible = all_participations(num_rounds, separation)
    rounds = possible[rng.integers(len(possible))]
    updates = np.zeros((num_rounds, num_values))
    for number in rounds:
        direction = rng.normal(size=num_values)
        updates[number] = direction / np.linalg.norm(direction) * rng.choice([1.0, 1.0, 0.5])
    assert np.linalg.norm(matrix @ updates) <= sensitivity(window, num_rounds, separation) * (1 + 1e-12)


def test_independent_noise_is_moved_by_the_root_of_how_often_a_phone_takes_part() -> None:
    assert sensitivity(1, 100, 10) == pytest.approx(math.sqrt(10))
    assert sensitivity(1, 101, 10) == pytest.approx(math.sqrt(11))
    assert sensitivity(1, 5, 10) == 1.0


@given(window=WINDOWS, num_rounds=st.integers(1, 200), separation=st.integers(1, 60))
def test_more_rounds_cost_more_and_more_separation_less(
    window: int, num_rounds: int, separation: int
) -> None:
    here = sensitivity(window, num_rounds, separation)
    assert sensitivity(window, num_rounds + 1, separation) >= here * (1 - 1e-12)
    assert sensitivity(window, num_rounds, separation + 1) <= here * (1 + 1e-12)


def test_the_noise_of_sums_is_what_the_matrices_say() -> None:
    for window, num_rounds in [(1, 7), (3, 7), (8, 5)]:
        sums = np.tril(np.ones((num_rounds, num_rounds))) @ correlate(window, num_rounds)
        expected = math.sqrt((sums**2).sum(1).mean())
        assert noise_of_sums(window, num_rounds) == pytest.approx(expected, rel=1e-12)


def tree_noise(num_rounds: int, separation: int) -> float:
    """The same figure for DP-FTRL's binary tree with Honaker's variance reduction, times its sensitivity."""
    levels = range(num_rounds.bit_length())
    moved = max(
        sum(
            float((np.bincount(np.arange(first, num_rounds, separation) >> h)[: num_rounds >> h] ** 2).sum())
            for h in levels
        )
        for first in range(separation)
    )
    variance = [
        sum(2**h / (2 ** (h + 1) - 1) for h in levels if t >> h & 1) for t in range(1, num_rounds + 1)
    ]
    return math.sqrt(moved * np.mean(variance))


def test_it_has_less_than_half_the_noise_of_the_tree_at_the_same_privacy() -> None:
    mine = noise_of_sums(8, 300) * sensitivity(8, 300, 10)
    assert mine == pytest.approx(26.7, abs=0.1)
    assert tree_noise(300, 10) == pytest.approx(58.7, abs=0.1)
    assert noise_of_sums(1, 300) * sensitivity(1, 300, 10) == pytest.approx(67.2, abs=0.1)


def test_a_release_after_abandoned_rounds_takes_back_what_was_given() -> None:
    """The noise on the sum so far is as if the abandoned rounds had been released with nothing in them."""
    key, zeros, window = bytes(32), {"a": torch.zeros(2000)}, 4

    def noise(number: int, num_covered: int = 1) -> torch.Tensor:
        return noised(zeros, key, number, 1.0, 1.0, weights(window, num_covered))["a"]

    all_released = sum(noise(number) for number in range(1, 8))
    with_gaps = noise(2, 2) + noise(3) + noise(6, 3) + noise(7)
    assert torch.allclose(all_released, with_gaps, atol=1e-5, rtol=0)
    forgotten = noise(2) + noise(3) + noise(6) + noise(7)
    assert not torch.allclose(all_released, forgotten, atol=0.1, rtol=0)


def test_released_noise_has_the_covariance_that_the_weights_promise() -> None:
    zeros = {"a": torch.zeros(100_000)}
    rounds = np.stack([noised(zeros, bytes(32), n, 1.0, 2.0, weights(3))["a"].numpy() for n in range(1, 7)])
    correlation = 2.0 * correlate(3, 6)
    assert np.allclose(np.cov(rounds), correlation @ correlation.T, atol=0.07)
