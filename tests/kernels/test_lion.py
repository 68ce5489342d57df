"""Lion against the paper's algorithm, written out entry by entry."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkey_kernels.lion import Lion

SHAPES = [(3, 5), (7,), (1, 1), (2, 3, 4)]


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(step: int, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        generator = torch.Generator().manual_seed(1000 + step)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.randn(parameter.shape, generator=generator)


def values(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]


def lion(
    value: float, momentum: float, gradient: float, lr: float, betas: tuple[float, float], decay: float
) -> tuple[float, float]:
    """One entry of algorithm 2 of the paper: (value, momentum) after the step."""
    update = betas[0] * momentum + (1 - betas[0]) * gradient
    sign = (update > 0) - (update < 0)
    return value - lr * (sign + decay * value), betas[1] * momentum + (1 - betas[1]) * gradient


def test_every_step_equals_the_papers_algorithm() -> None:
    first, second = parameters()[:2], parameters()[2:]
    optimizer = Lion(
        [{"params": first}, {"params": second, "weight_decay": 0.0, "lr": 3e-2, "betas": (0.5, 0.7)}],
        lr=1e-2,
        betas=(0.9, 0.99),
        weight_decay=0.3,
    )
    settings = [(1e-2, (0.9, 0.99), 0.3)] * 2 + [(3e-2, (0.5, 0.7), 0.0)] * 2
    expected = [value.double().flatten().tolist() for value in values(optimizer)]
    momenta = [[0.0] * len(value) for value in expected]
    turned_against_the_gradient = 0
    for step in range(30):
        give_gradients(step, optimizer)
        for parameter, value, momentum, setting in zip(
            [*first, *second], expected, momenta, settings, strict=True
        ):
            assert parameter.grad is not None
            for i, gradient in enumerate(parameter.grad.double().flatten().tolist()):
                before = value[i]
                value[i], momentum[i] = lion(value[i], momentum[i], gradient, *setting)
                turned_against_the_gradient += (value[i] - before) * gradient > 0
        optimizer.step()
        for found, value in zip(values(optimizer), expected, strict=True):
            torch.testing.assert_close(
                found.flatten().double(), torch.tensor(value, dtype=torch.float64), rtol=0, atol=1e-5
            )
    assert turned_against_the_gradient > 10, "the momentum never decided: nothing was learnt about it"


def test_a_zero_momentum_and_gradient_moves_nothing_but_the_decay() -> None:
    parameter = nn.Parameter(torch.tensor([2.0, -2.0]))
    optimizer = Lion([parameter], lr=0.1, weight_decay=0.5)
    parameter.grad = torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([1.9, -1.9]))


def test_a_saved_state_goes_on_exactly() -> None:
    optimizer = Lion(parameters(), lr=1e-2, weight_decay=0.1)
    for step in range(3):
        give_gradients(step, optimizer)
        optimizer.step()
    resumed = Lion([nn.Parameter(value) for value in values(optimizer)], lr=1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert resumed.param_groups[0]["lr"] == 1e-2
    for step in range(3, 6):
        give_gradients(step, optimizer, resumed)
        optimizer.step()
        resumed.step()
    for one, other in zip(values(optimizer), values(resumed), strict=True):
        assert torch.equal(one, other)
    fresh = Lion(parameters(), lr=1e-2, weight_decay=0.1)
    for step in range(3, 6):
        give_gradients(step, fresh)
        fresh.step()
    moved = [a - b for a, b in zip(values(fresh), [p.detach() for p in parameters()], strict=True)]
    assert not all(torch.equal(a, b) for a, b in zip(moved, values(resumed), strict=True))


def test_parameters_without_a_gradient_stay_and_keep_no_state() -> None:
    idle, busy = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = Lion([{"params": [idle]}, {"params": [busy]}], lr=0.1, weight_decay=0.1)
    busy.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(idle.detach(), torch.ones(2))
    assert list(optimizer.state) == [busy]


def test_a_closure_is_called_with_gradients_on_and_its_loss_returned() -> None:
    parameter = nn.Parameter(torch.tensor([3.0]))
    optimizer = Lion([parameter], lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).detach() == 9.0
    torch.testing.assert_close(parameter.detach(), torch.tensor([2.9]))


def test_sparse_gradients_are_refused_in_words() -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    optimizer = Lion(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()


@pytest.mark.parametrize(
    "settings", [{"lr": -1.0}, {"weight_decay": -0.1}, {"betas": (1.0, 0.9)}, {"betas": (0.9, -0.1)}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ValueError, match=name):
        Lion(parameters(), **settings)
