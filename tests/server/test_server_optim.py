"""The server's step against the papers' formulas, written out number by number."""

from __future__ import annotations

import math

import pytest
import torch

from fedkey_server.server_optim import ServerOptimizer, ServerOptimizerConfig

UPDATES = [0.5, -0.25, 2.0]


def walk(config: ServerOptimizerConfig) -> list[float]:
    """Where a weight that starts at 1 goes."""
    optimizer = ServerOptimizer(config, {})
    weights = {"w": torch.tensor([1.0], dtype=torch.float64)}
    places = []
    for update in UPDATES:
        weights = optimizer.step(weights, {"w": torch.tensor([update], dtype=torch.float64)})
        places.append(float(weights["w"]))
    return places


def test_plain_averaging_adds_the_mean_update() -> None:
    assert walk(ServerOptimizerConfig()) == [1.5, 1.25, 3.25]
    assert walk(ServerOptimizerConfig(learning_rate=0.5)) == [1.25, 1.125, 2.125]


def test_momentum_lets_earlier_updates_fade() -> None:
    assert walk(ServerOptimizerConfig(momentum=0.5)) == [1.5, 1.5, 3.5]


def test_the_rate_falls_as_a_cosine_to_its_share_in_the_last_round() -> None:
    config = ServerOptimizerConfig(learning_rate=0.5, final_share=0.1)
    rates = [config.in_round(number, 5) for number in (1, 3, 5)]
    assert rates == pytest.approx([0.5, 0.5 * (0.1 + 0.9 / 2), 0.05])
    assert ServerOptimizerConfig(learning_rate=0.3).in_round(4, 5) == 0.3


@pytest.mark.parametrize("name", ["sgd", "adam", "yogi"])
def test_a_rate_for_one_step_stands_in_place_of_the_configured_one(name: str) -> None:
    weights, update = {"w": torch.tensor([1.0])}, {"w": torch.tensor([0.5])}
    named = ServerOptimizer(ServerOptimizerConfig(name=name, learning_rate=0.25), {}).step(weights, update)
    told = ServerOptimizer(ServerOptimizerConfig(name=name), {}).step(weights, update, 0.25)
    assert named["w"] == told["w"] != weights["w"]


@pytest.mark.parametrize("name", ["adam", "yogi"])
def test_adaptive_steps_are_those_of_the_paper(name: str) -> None:
    config = ServerOptimizerConfig(name=name, learning_rate=0.1, momentum=0.9, beta2=0.99, adaptivity=0.01)
    weight, m, v = 1.0, 0.0, 0.01**2
    expected = []
    for update in UPDATES:
        m = 0.9 * m + 0.1 * update
        if name == "adam":
            v = 0.99 * v + 0.01 * update**2
        else:
            v = v - 0.01 * update**2 * math.copysign(1, v - update**2)
        weight += 0.1 * m / (math.sqrt(v) + 0.01)
        expected.append(weight)
    assert walk(config) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam", "yogi"])
def test_a_restored_state_goes_on_bit_for_bit(name: str) -> None:
    config = ServerOptimizerConfig(name=name, learning_rate=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    updates = [{"w": torch.randn(3, 2, generator=generator)} for _ in range(4)]
    weights = {"w": torch.randn(3, 2, generator=generator)}
    whole, killed = ServerOptimizer(config, {}), ServerOptimizer(config, {})
    through, stopped = weights, weights
    for number, update in enumerate(updates):
        through = whole.step(through, update)
        if number == 2:
            killed = ServerOptimizer(config, {key: value.clone() for key, value in killed.state.items()})
        stopped = killed.step(stopped, update)
    assert torch.equal(through["w"], stopped["w"])


def test_an_update_of_another_shape_is_refused() -> None:
    optimizer = ServerOptimizer(ServerOptimizerConfig(), {})
    with pytest.raises(ValueError, match="does not fit"):
        optimizer.step({"w": torch.zeros(2)}, {"w": torch.zeros(3)})


@pytest.mark.parametrize(
    "settings",
    [{"name": "adamw"}, {"learning_rate": 0.0}, {"adaptivity": 0.0}, {"momentum": 1.0}, {"beta2": -0.1}],
)
def test_settings_that_make_no_step_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="server_optimizer"):
        ServerOptimizerConfig(**settings)  # type: ignore[arg-type]
