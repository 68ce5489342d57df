"""Sophia against its published implementation and its own reference, step by step."""

from __future__ import annotations

import copy

import pytest
import sophia_opt
import torch
from torch import Tensor, nn

from fedkey_kernels import SophiaG, reference

SHAPES = [(3, 5), (7,), (1, 1), (2, 3, 4)]
BATCH_SIZE = 12


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(step: int, *optimizers: torch.optim.Optimizer) -> None:
    """The same random gradients for every optimizer; their scale wanders, so that some entries are clipped
    and some are not."""
    for optimizer in optimizers:
        generator = torch.Generator().manual_seed(1000 + step)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                scale = 10.0 ** float(torch.randint(-3, 2, (), generator=generator))
                parameter.grad = scale * torch.randn(parameter.shape, generator=generator)


def values(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]


def test_every_step_equals_the_published_implementation() -> None:
    settings = {"lr": 6e-3, "betas": (0.9, 0.95), "rho": 0.05, "weight_decay": 0.2}
    ours = SophiaG(parameters(), **settings)
    theirs = sophia_opt.SophiaG(parameters(), **settings)
    shares = []
    for step in range(60):
        if step % 10 == 0:
            give_gradients(-step, ours, theirs)
            ours.update_hessian()
            theirs.update_hessian()
        give_gradients(step, ours, theirs)
        ours.step(batch_size=BATCH_SIZE)
        theirs.step(bs=BATCH_SIZE)
        for mine, published in zip(values(ours), values(theirs), strict=True):
            torch.testing.assert_close(mine, published, rtol=1e-6, atol=1e-7)
        shares.append(ours.clipped_share)
    assert min(shares) < 1, "the clip was always on: nothing was learnt about the curvature"
    assert max(shares) > 0, "the clip was never on"


def test_every_step_equals_the_reference_and_counts_what_it_clipped() -> None:
    optimizer = SophiaG(parameters(), lr=1e-2, betas=(0.9, 0.95), rho=0.1, weight_decay=0.3)
    expected = values(optimizer)
    momenta = [torch.zeros_like(value) for value in expected]
    curvatures = [torch.zeros_like(value) for value in expected]
    for step in range(20):
        give_gradients(-step - 1, optimizer)
        optimizer.update_hessian()
        for parameter, curvature in zip(optimizer.param_groups[0]["params"], curvatures, strict=True):
            curvature.mul_(0.95).add_(0.05 * parameter.grad.square())
        give_gradients(step, optimizer)
        optimizer.step(batch_size=BATCH_SIZE)
        clipped = 0.0
        for parameter, value, momentum, curvature in zip(
            optimizer.param_groups[0]["params"], expected, momenta, curvatures, strict=True
        ):
            share = reference.sophia_step(
                value, momentum, curvature, parameter.grad,
                learning_rate=1e-2, beta1=0.9, rho=0.1, weight_decay=0.3, batch_size=BATCH_SIZE,
            )  # fmt: skip
            torch.testing.assert_close(parameter.detach(), value, rtol=1e-6, atol=1e-7)
            clipped += float(share) * value.numel()
        assert optimizer.clipped_share == pytest.approx(clipped / sum(v.numel() for v in expected))


def test_a_saved_state_goes_on_exactly() -> None:
    optimizer = SophiaG(parameters(), lr=1e-2)
    for step in range(3):
        give_gradients(step, optimizer)
        optimizer.update_hessian()
        optimizer.step(batch_size=BATCH_SIZE)
    saved = copy.deepcopy(optimizer.state_dict())
    resumed = SophiaG([nn.Parameter(value) for value in values(optimizer)], lr=1.0)
    resumed.load_state_dict(saved)
    for step in range(3, 6):
        give_gradients(step, optimizer, resumed)
        for each in (optimizer, resumed):
            each.update_hessian()
            each.step(batch_size=BATCH_SIZE)
    for mine, other in zip(values(optimizer), values(resumed), strict=True):
        assert torch.equal(mine, other)


def test_groups_have_their_own_settings() -> None:
    first, second = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = SophiaG(
        [{"params": [first], "weight_decay": 0.5}, {"params": [second], "lr": 0.0}], lr=0.1, weight_decay=0.0
    )
    first.grad, second.grad = torch.zeros(3), torch.ones(3)
    optimizer.step(batch_size=BATCH_SIZE)
    torch.testing.assert_close(first.detach(), torch.full((3,), 1 - 0.1 * 0.5))
    assert torch.equal(second.detach(), torch.ones(3))


def test_weight_decay_is_decoupled_from_the_gradient() -> None:
    """Decay shrinks the parameter and leaves momentum and curvature alone."""
    plain, decayed = (SophiaG(parameters(), lr=1e-2, weight_decay=decay) for decay in (0.0, 0.4))
    start = values(plain)
    give_gradients(0, plain, decayed)
    for optimizer in (plain, decayed):
        optimizer.step(batch_size=BATCH_SIZE)
    for before, without, with_decay in zip(start, values(plain), values(decayed), strict=True):
        torch.testing.assert_close(with_decay, without - 1e-2 * 0.4 * before, rtol=0, atol=1e-6)
    states = zip(plain.state.values(), decayed.state.values(), strict=True)
    assert all(torch.equal(one["exp_avg"], other["exp_avg"]) for one, other in states)


def test_no_entry_moves_by_more_than_the_learning_rate() -> None:
    optimizer = SophiaG(parameters(), lr=1e-2, weight_decay=0.0)
    give_gradients(0, optimizer)
    optimizer.update_hessian()
    before = values(optimizer)
    give_gradients(1, optimizer)
    optimizer.step(batch_size=1)
    for old, new in zip(before, values(optimizer), strict=True):
        assert (new - old).abs().max() <= 1e-2 * 1.00001


def test_the_clipped_share_of_known_curvatures() -> None:
    parameter = nn.Parameter(torch.zeros(4))
    optimizer = SophiaG([parameter], lr=1.0, betas=(0.0, 0.0), rho=1.0, weight_decay=0.0)
    parameter.grad = torch.tensor([1.0, 1.0, 2.0, 0.0])
    optimizer.update_hessian()  # h = g^2
    parameter.grad = torch.tensor([0.5, -3.0, 4.0, 0.0])
    optimizer.step(batch_size=1)
    torch.testing.assert_close(parameter.detach(), torch.tensor([-0.5, 1.0, -1.0, 0.0]))
    assert optimizer.clipped_share == 0.5


def test_parameters_without_a_gradient_stay_and_keep_no_state() -> None:
    idle, busy = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = SophiaG([{"params": [idle]}, {"params": [busy, nn.Parameter(torch.ones(1))]}], lr=0.1)
    busy.grad = torch.ones(2)
    optimizer.update_hessian()
    optimizer.step(batch_size=BATCH_SIZE)
    assert torch.equal(idle.detach(), torch.ones(2))
    assert list(optimizer.state) == [busy]
    busy.grad = None
    optimizer.step(batch_size=BATCH_SIZE)
    assert optimizer.clipped_share == 0.0


def test_sparse_gradients_are_refused_in_words() -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    optimizer = SophiaG(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    for act in (optimizer.step, optimizer.update_hessian):
        with pytest.raises(RuntimeError, match="sparse"):
            act()


def test_a_closure_is_called_with_gradients_on_and_its_loss_returned() -> None:
    parameter = nn.Parameter(torch.tensor([3.0]))
    optimizer = SophiaG([parameter], lr=0.1, weight_decay=0.0)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure, batch_size=1).detach() == 9.0
    torch.testing.assert_close(parameter.detach(), torch.tensor([2.9]))


def test_it_finds_the_bottom_of_a_stretched_bowl_where_plain_descent_crawls() -> None:
    """Curvatures 1000 : 1; the step knows them, so both coordinates arrive together."""
    curvature = torch.tensor([1000.0, 1.0])
    parameter = nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = SophiaG([parameter], lr=0.1, betas=(0.0, 0.0), rho=1.0, weight_decay=0.0)
    for _ in range(60):
        parameter.grad = curvature.sqrt()  # g_hat with g_hat^2 = the curvature
        optimizer.update_hessian()
        parameter.grad = curvature * parameter.detach()
        optimizer.step(batch_size=1)
    assert parameter.abs().max() < 0.02


@pytest.mark.parametrize(
    "settings",
    [{"lr": -1.0}, {"rho": 0.0}, {"weight_decay": -0.1}, {"betas": (1.0, 0.9)}, {"betas": (0.9, -0.1)}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    (name,) = settings
    with pytest.raises(ValueError, match=name):
        SophiaG(parameters(), **settings)
