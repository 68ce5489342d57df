"""Clipping never lets a phone through that is too long, and its clip finds the quantile."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedkey_server.clipping import (
    ClipState,
    clip,
    follow,
    norm_before_rounding,
    norm_of,
    sum_multiplier,
)


def an_update(seed: int, scale: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"embedding": (7, 5), "bias": (3,), "scalar": ()}
    return {name: scale * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def exact_norm(update: dict[str, Tensor]) -> float:
    return math.sqrt(math.fsum(float(value) ** 2 for tensor in update.values() for value in tensor.flatten()))


def test_the_norm_is_that_of_all_tensors_together() -> None:
    clipped = clip({"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]])}, 1.0)
    assert clipped.update["a"].item() == pytest.approx(0.6)
    assert clipped.update["b"].item() == pytest.approx(0.8)
    assert not clipped.is_within
    assert clipped.vote == -0.5


@given(seed=st.integers(0, 10_000), exponent=st.floats(-18, 18), clip_exponent=st.floats(-6, 6))
def test_no_update_leaves_longer_than_the_clip_not_even_by_rounding(
    seed: int, exponent: float, clip_exponent: float
) -> None:
    update, clip_norm = an_update(seed, 10**exponent), 10**clip_exponent
    before = exact_norm(update)
    clipped = clip(update, clip_norm)
    after = exact_norm(clipped.update)
    assert after <= clip_norm * (1 + 1e-14)
    if clipped.is_within:
        assert all(torch.equal(clipped.update[name], update[name]) for name in update)
    else:
        assert before > clip_norm * (1 - 1e-12)
        assert after == pytest.approx(clip_norm, rel=1e-6)
        for name, tensor in update.items():
            expected = tensor.double() * (after / before)
            assert torch.allclose(clipped.update[name].double(), expected, rtol=1e-5, atol=1e-30)


def test_an_update_of_nothing_stays_nothing() -> None:
    clipped = clip({"a": torch.zeros(3)}, 1.0)
    assert clipped.update["a"].tolist() == [0.0, 0.0, 0.0]
    assert clipped.vote == 0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        clip({"a": torch.ones(4), "b": torch.tensor([1.0, bad])}, 1.0)


def test_an_update_of_the_largest_numbers_is_clipped_and_not_refused() -> None:
    clipped = clip({"a": torch.full((4,), 3e38)}, 1.0)
    assert norm_of(clipped.update) == pytest.approx(1.0)


@given(seed=st.integers(0, 10_000), log_step=st.integers(-12, -4))
def test_rounding_after_clipping_keeps_the_clip(seed: int, log_step: int) -> None:
    step, num_values = 2.0**log_step, 39
    clipped = clip(an_update(seed, 1.0), norm_before_rounding(1.0, step, num_values))
    rounded = {name: torch.round(tensor.double() / step) * step for name, tensor in clipped.update.items()}
    assert exact_norm(rounded) <= 1.0


def test_a_grid_that_is_too_coarse_for_the_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="too coarse"):
        norm_before_rounding(1.0, 0.5, 100)


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("start", [1e-3, 1e3])
def test_the_clip_finds_the_quantile_from_far_away_and_through_noise(quantile: float, start: float) -> None:
    rng = np.random.default_rng(1)
    state, cohort, late = ClipState(start), 100, []
    for round_number in range(900):
        norms = rng.lognormal(0.0, 1.0, cohort)
        votes = float(np.where(norms <= state.norm, 0.5, -0.5).sum()) + rng.normal(0, cohort / 20)
        state = follow(state, votes, cohort, quantile, rate=0.2)
        if round_number >= 700:
            late.append(state.norm)
    share = 0.5 * (1 + math.erf(np.log(late).mean() / math.sqrt(2)))
    assert share == pytest.approx(quantile, abs=0.05)


def test_a_clip_that_is_right_stays_and_moves_by_the_paper_s_factor_otherwise() -> None:
    assert follow(ClipState(2.0), votes=0.0, expected=10, quantile=0.5, rate=0.2).norm == 2.0
    # All ten within: the share is 1.
    assert follow(ClipState(2.0), 5.0, 10, 0.5, 0.2).norm == pytest.approx(2.0 * math.exp(-0.1))
    assert follow(ClipState(2.0), -5.0, 10, 0.5, 0.2).norm == pytest.approx(2.0 * math.exp(0.1))


def test_the_state_of_the_clip_survives_json_to_the_last_bit() -> None:
    state = follow(ClipState(1 / 3), 1.7, 20, 0.5, 0.2)
    assert ClipState(**json.loads(json.dumps(asdict(state)))) == state


@pytest.mark.parametrize("norm", [0.0, -1.0, math.inf, math.nan])
def test_a_clip_that_is_none_is_refused(norm: float) -> None:
    with pytest.raises(ValueError, match="clip"):
        ClipState(norm)


@given(noise_multiplier=st.floats(0.05, 10), cohort=st.integers(10, 100_000))
def test_votes_and_sum_together_cost_one_noise_multiplier(noise_multiplier: float, cohort: int) -> None:
    vote_noise = max(cohort / 20, noise_multiplier * 0.6)
    multiplier = sum_multiplier(noise_multiplier, vote_noise)
    # In units of the noise one phone moves the sum by 1 / multiplier and the votes by 0.5 / vote_noise.
    joint = math.hypot(1 / multiplier, 0.5 / vote_noise)
    assert joint == pytest.approx(1 / noise_multiplier, rel=1e-9)


def test_votes_that_alone_cost_too_much_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be above 0\.5"):
        sum_multiplier(1.0, 0.5)
    assert sum_multiplier(0.0, 1.0) == 0.0
