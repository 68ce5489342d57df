"""Epsilon against published figures, other accountants and integration by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant
from scipy import stats

from fedkey_server.accountant import (
    EXTRAPOLATED,
    Accountant,
    PrivacyConfig,
    accountant_of,
    poisson_epsilon,
    poisson_multiplier,
)
from fedkey_server.clipping import sum_multiplier
from fedkey_server.correlation import sensitivity, weights


def renyi_epsilon(noise_multiplier: float, rate: float, num_rounds: int, delta: float) -> float:
    accountant = RdpAccountant()
    sampled = PoissonSampledDpEvent(rate, GaussianDpEvent(noise_multiplier))
    accountant.compose(SelfComposedDpEvent(sampled, num_rounds))
    return accountant.get_epsilon(delta)


def integrated_delta(noise_multiplier: float, rate: float, epsilon: float) -> float:
    """The delta of one round, by integrating how far one density exceeds e**epsilon times the other."""
    at = np.linspace(-30 * noise_multiplier, 1 + 30 * noise_multiplier, 400_001)
    without = stats.norm.pdf(at, 0, noise_multiplier)
    with_it = (1 - rate) * without + rate * stats.norm.pdf(at, 1, noise_multiplier)
    exceeding = [
        np.maximum(0, left - math.exp(epsilon) * right)
        for left, right in ((with_it, without), (without, with_it))
    ]
    return max(float(np.trapezoid(density, at)) for density in exceeding)


POISSON = Accountant(PrivacyConfig("poisson", 0.8), population=557, cohort=20)
FTRL = Accountant(PrivacyConfig("ftrl", 4.0), population=557, cohort=50, separation=10)


def test_published_figures() -> None:
    """Flower's documentation: 200 rounds, 1 % of the phones, noise multiplier 1, delta 1e-6."""
    assert renyi_epsilon(1.0, 0.01, 200, 1e-6) == pytest.approx(1.64, abs=0.01)
    assert renyi_epsilon(1.0, 1.0, 200, 1e-6) == pytest.approx(172, abs=1)
    assert poisson_epsilon(1.0, 0.01, 200, 1e-6) == pytest.approx(1.15, abs=0.005)
    unsampled = Accountant(PrivacyConfig("ftrl", 1.0, delta=1e-6, noise_window=1), population=557, cohort=6)
    assert unsampled.epsilon(200) == pytest.approx(166.4, abs=0.1)


@pytest.mark.parametrize("noise_multiplier", [0.6, 1.0, 3.0, 50.0])
@pytest.mark.parametrize("rate", [0.002, 0.09])
def test_a_round_costs_what_integration_says(noise_multiplier: float, rate: float) -> None:
    delta = 1e-3 * rate / noise_multiplier
    epsilon = poisson_epsilon(noise_multiplier, rate, 1, delta)
    assert integrated_delta(noise_multiplier, rate, epsilon) <= delta * 1.0001
    assert integrated_delta(noise_multiplier, rate, epsilon * 0.98) > delta


@pytest.mark.parametrize("noise_multiplier", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("rate", [20 / 557, 1.0])
@pytest.mark.parametrize("num_rounds", [40, 200])
def test_renyi_accounting_agrees_from_above(noise_multiplier: float, rate: float, num_rounds: int) -> None:
    tight = poisson_epsilon(noise_multiplier, rate, num_rounds, 1e-7)
    assert tight <= renyi_epsilon(noise_multiplier, rate, num_rounds, 1e-7) <= 1.5 * tight


@pytest.mark.parametrize("num_rounds", [1, 10, 150])
def test_both_modes_agree_where_they_are_the_same_mechanism(num_rounds: int) -> None:
    """Everybody is asked every round, and noise is independent."""
    always = Accountant(PrivacyConfig("poisson", 5.0), population=100, cohort=100)
    independent = Accountant(PrivacyConfig("ftrl", 5.0, noise_window=1), population=100, cohort=100)
    assert always.epsilon(num_rounds) == pytest.approx(independent.epsilon(num_rounds), rel=1e-3)


def test_an_ftrl_run_is_one_gaussian_mechanism_as_wide_as_a_phone_can_move_it() -> None:
    moved = sensitivity(8, 120, 10)
    assert moved > sensitivity(1, 120, 10) == pytest.approx(math.sqrt(12))
    epsilon = FTRL.epsilon(120)
    # Delta of a Gaussian mechanism (Balle and Wang 2018), written out.
    mu = moved / 4.0
    delta = stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)
    assert delta == pytest.approx(1e-7, rel=1e-4)


@pytest.mark.parametrize("accountant", [POISSON, FTRL], ids=["poisson", "ftrl"])
def test_every_round_costs_something_and_more_noise_less(accountant: Accountant) -> None:
    spent = [accountant.epsilon(num_rounds) for num_rounds in (0, 1, 2, 11, 30)]
    assert spent[0] == 0
    assert spent == sorted(spent)
    assert spent[1] < spent[3] < spent[4]
    louder = replace(accountant.config, noise_multiplier=2 * accountant.config.noise_multiplier)
    assert replace(accountant, config=louder).epsilon(30) < spent[4]


def test_separation_and_rate_are_what_saves() -> None:
    assert (
        replace(FTRL, separation=20).epsilon(100)
        < FTRL.epsilon(100)
        < replace(FTRL, separation=5).epsilon(100)
    )
    assert replace(POISSON, cohort=10).epsilon(100) < POISSON.epsilon(100)


@pytest.mark.parametrize("accountant", [POISSON, FTRL], ids=["poisson", "ftrl"])
def test_the_budget_ends_a_run_just_before_it_is_exceeded(accountant: Accountant) -> None:
    limited = replace(accountant, config=replace(accountant.config, epsilon=accountant.epsilon(17)))
    assert [limited.fits(num_rounds) for num_rounds in (1, 16, 17)] == [True] * 3
    assert not limited.fits(25)
    assert accountant.fits(10_000)


@pytest.mark.parametrize("mode", ["poisson", "ftrl"])
@pytest.mark.parametrize("budget", [0.5, 8.0])
def test_the_noise_for_a_budget_spends_it_in_the_last_round(mode: str, budget: float) -> None:
    accountant = accountant_of(PrivacyConfig(mode, epsilon=budget), 557, 50, separation=10, num_rounds=60)
    assert accountant.fits(60)
    assert accountant.epsilon(60) == pytest.approx(budget, rel=5e-3)
    assert not accountant.fits(75)


def test_a_given_noise_multiplier_stays() -> None:
    assert accountant_of(PrivacyConfig("poisson", 0.8), 557, 20, 1, 60) == POISSON


def test_a_budget_that_is_much_too_large_gets_the_least_noise_there_is() -> None:
    assert poisson_multiplier(1e6, 0.01, 5, 1e-7) == 0.25


def test_a_budget_that_no_noise_keeps_is_refused() -> None:
    with pytest.raises(ValueError, match="no noise keeps epsilon"):
        poisson_multiplier(1e-6, 1.0, 1000, 1e-9)


@pytest.mark.parametrize("accountant", [POISSON, FTRL], ids=["poisson", "ftrl"])
def test_the_imagined_fleet_has_the_same_noise_on_the_mean_and_asks_each_phone_as_often(
    accountant: Accountant,
) -> None:
    imagined = accountant.imagined()

    def noise_on_mean(of: Accountant) -> float:
        return of.config.noise_multiplier / of.cohort

    assert imagined.population == EXTRAPOLATED == 1_000_000
    assert noise_on_mean(imagined) == pytest.approx(noise_on_mean(accountant))
    assert imagined.sampling_rate == pytest.approx(accountant.sampling_rate)
    assert imagined.separation == accountant.separation
    assert 0 < imagined.epsilon(100) < accountant.epsilon(100) / 100


def test_the_ledger_of_a_small_fleet_warns_of_nothing() -> None:
    # In its million the noise is so large that dp-accounting takes the logarithm of 0.
    private = PrivacyConfig(mode="ftrl", noise_multiplier=1.0, delta=1e-7)
    assert Accountant(private, 31, 4, 3).line(1, 1.0).epsilon_at_a_million < 1e-3


def test_the_imagined_epsilon_is_not_the_accountant_s_own_rounding() -> None:
    """Losses so small are those of one Gaussian mechanism with mu = rate * sqrt(rounds) / multiplier."""
    imagined = POISSON.imagined()
    mu = imagined.sampling_rate * math.sqrt(100) / imagined.config.noise_multiplier
    gaussian = Accountant(PrivacyConfig("ftrl", 1 / mu, noise_window=1), 2, 1).epsilon(1)
    assert imagined.epsilon(100) == pytest.approx(gaussian, rel=0.05)


@pytest.mark.parametrize("accountant", [POISSON, FTRL], ids=["poisson", "ftrl"])
def test_the_ledger_says_all_of_it_in_json(accountant: Accountant) -> None:
    line = json.loads(json.dumps(accountant.line(12, clip_norm=0.3).describe(), allow_nan=False))
    assert line["round"] == 12
    assert line["epsilon"] == accountant.epsilon(12)
    assert line["epsilon_at_a_million"] == accountant.imagined().epsilon(12)
    assert line["cohort_at_a_million"] == round(1e6 * accountant.cohort / 557)
    assert (line["delta"], line["clip_norm"]) == (1e-7, 0.3)
    assert line["noise_multiplier"] == accountant.config.noise_multiplier
    if accountant is POISSON:
        assert (line["sampling_rate"], line["min_separation"]) == (20 / 557, None)
    else:
        assert (line["sampling_rate"], line["min_separation"]) == (None, 10)


def test_only_ftrl_correlates_its_noise() -> None:
    assert POISSON.noise_weights() == POISSON.noise_weights(3) == (1.0,)
    assert FTRL.noise_weights(2) == weights(8, 2)


def test_following_a_quantile_costs_noise_and_no_epsilon() -> None:
    following = replace(POISSON, config=replace(POISSON.config, clip_quantile=0.5))
    assert following.epsilon(50) == POISSON.epsilon(50)
    assert POISSON.sum_noise_multiplier == 0.8
    assert following.vote_noise == 1.0
    assert following.sum_noise_multiplier == sum_multiplier(0.8, 1.0) > 0.8


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"mode": "tree"}, "one of none, poisson, ftrl, not 'tree'"),
        ({"noise_multiplier": 1.0}, "mode is none; choose"),
        ({"epsilon": 1.0}, "mode is none; choose"),
        ({"clip_quantile": 0.5}, "mode is none; choose"),
        ({"mode": "poisson"}, "needs privacy.noise_multiplier, or"),
        ({"mode": "ftrl", "noise_multiplier": 1.0, "clip_quantile": 0.5}, "needs privacy.mode poisson"),
        ({"mode": "poisson", "noise_multiplier": -1.0}, "must not be negative"),
        ({"mode": "poisson", "noise_multiplier": 1.0, "delta": 0.0}, "delta must be between"),
        ({"mode": "poisson", "noise_multiplier": 1.0, "clip_quantile": 1.0}, "must be below 1"),
        ({"mode": "poisson", "noise_multiplier": 1.0, "vote_noise": 0.0}, "must be more than 0"),
        ({"mode": "ftrl", "noise_multiplier": 1.0, "noise_window": 0}, "at least 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        PrivacyConfig(**settings)  # type: ignore[arg-type]


def test_accountants_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing to account for"):
        Accountant(PrivacyConfig(), 557, 20)
    with pytest.raises(ValueError, match="not known yet"):
        Accountant(PrivacyConfig("poisson", epsilon=8.0), 557, 20)
    with pytest.raises(ValueError, match="cannot come from"):
        replace(POISSON, cohort=558)
    with pytest.raises(ValueError, match="separation"):
        replace(FTRL, separation=0)
    with pytest.raises(ValueError, match="whole phone of 557"):
        accountant_of(PrivacyConfig("poisson", 1.0, delta=0.01), 557, 20, 1, 10)
