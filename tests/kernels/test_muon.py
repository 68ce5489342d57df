"""Muon against torch's, against a singular value decomposition, and as any optimizer is used."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkey_kernels.muon import Muon, orthogonalised

SHAPES = [(6, 10), (10, 6), (8, 8), (6, 10), (10, 6), (6, 10)]
"""Wide, tall and square ones; some of the same shape, which go together."""


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


def test_steps_are_those_of_torchs_muon_but_for_its_rounding() -> None:
    ours = Muon(parameters(), lr=0.02, momentum=0.9, weight_decay=0.3)
    theirs = torch.optim.Muon(
        parameters(), lr=0.02, momentum=0.9, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(10):
        before = values(ours)
        for mine, other in zip(ours.param_groups[0]["params"], theirs.param_groups[0]["params"], strict=True):
            other.data.copy_(mine.data)
        give_gradients(step, ours, theirs)
        ours.step()
        theirs.step()
        for start, mine, other in zip(before, values(ours), values(theirs), strict=True):
            # bf16 keeps 8 bits.
            assert float((mine - other).norm() / (other - start).norm()) < 0.04
    for mine, other in zip(ours.param_groups[0]["params"], theirs.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(
            ours.state[mine]["momentum_buffer"], theirs.state[other]["momentum_buffer"], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 5, 40), (3, 40, 5), (2, 1, 7)])
def test_directions_stay_and_singular_values_become_alike(shape: tuple[int, int, int]) -> None:
    x_src = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, sizes, right = torch.linalg.svd(x_src.double(), full_matrices=False)
    found = left.transpose(1, 2) @ orthogonalised(x_src).double() @ right.transpose(1, 2)
    diagonal = found.diagonal(dim1=1, dim2=2)
    assert float((found - torch.diag_embed(diagonal)).abs().max()) < 1e-4, "other directions"
    # Five iterations lift what is a fiftieth of the norm to 0.7; the smallest of a square matrix may be less.
    large = sizes > 0.02 * sizes.square().sum(dim=1, keepdim=True).sqrt()
    assert bool(large.any(dim=1).all())
    assert 0.6 < float(diagonal[large].min()) <= float(diagonal[large].max()) < 1.3


@pytest.mark.parametrize("scale", [1e-5, 1e4])
def test_the_size_of_gradients_does_not_matter(scale: float) -> None:
    x_src = torch.randn((2, 4, 6), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(orthogonalised(scale * x_src), orthogonalised(x_src), rtol=1e-4, atol=1e-5)


def test_a_zero_gradient_moves_nothing_but_the_decay() -> None:
    parameter = nn.Parameter(torch.full((2, 3), 2.0))
    optimizer = Muon([parameter], lr=0.1, weight_decay=0.5)
    parameter.grad = torch.zeros(2, 3)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.full((2, 3), 1.9))


def test_groups_have_settings_of_their_own() -> None:
    both = [nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(3, 4))]
    optimizer = Muon([{"params": [both[0]]}, {"params": [both[1]], "lr": 0.3}], lr=0.1, weight_decay=0.0)
    give_gradients(0, optimizer)
    both[1].grad = both[0].grad
    optimizer.step()
    moved = [1 - p.detach() for p in both]
    torch.testing.assert_close(moved[1], 3 * moved[0])


def test_a_saved_state_goes_on_exactly() -> None:
    optimizer = Muon(parameters(), lr=1e-2)
    for step in range(3):
        give_gradients(step, optimizer)
        optimizer.step()
    resumed = Muon([nn.Parameter(value) for value in values(optimizer)], lr=1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert resumed.param_groups[0]["lr"] == 1e-2
    fresh = Muon([nn.Parameter(value) for value in values(optimizer)], lr=1e-2)
    for step in range(3, 6):
        give_gradients(step, optimizer, resumed, fresh)
        for each in (optimizer, resumed, fresh):
            each.step()
    for one, other in zip(values(optimizer), values(resumed), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(values(fresh)[0], values(resumed)[0]), "the momentum did nothing"


def test_parameters_without_a_gradient_stay_and_keep_no_state() -> None:
    idle, busy = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([idle, busy], lr=0.1)
    busy.grad = torch.eye(2)
    optimizer.step()
    assert torch.equal(idle.detach(), torch.ones(2, 2))
    assert list(optimizer.state) == [busy]


def test_a_closure_is_called_with_gradients_on_and_its_loss_returned() -> None:
    parameter = nn.Parameter(torch.full((1, 1), 3.0))
    optimizer = Muon([parameter], lr=0.1, weight_decay=0.0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).detach() == 9.0
    assert parameter.item() < 3.0


def test_what_is_no_matrix_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"matrices; a parameter has the shape \[4\]"):
        Muon([nn.Parameter(torch.ones(4))])


@pytest.mark.parametrize("settings", [{"lr": -1.0}, {"weight_decay": -0.1}, {"momentum": 1.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ValueError, match=name):
        Muon(parameters(), **settings)


@pytest.mark.gpu
def test_a_gpu_computes_in_bf16_what_a_cpu_computes_in_float32() -> None:
    x_src = torch.randn((3, 64, 96), generator=torch.Generator().manual_seed(3))
    found = orthogonalised(x_src.cuda())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.cpu().float(), orthogonalised(x_src), rtol=0, atol=0.02)
