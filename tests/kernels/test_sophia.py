"""Sophia-G and Sophia-H against the published implementation, the exact Hessian and their own reference, step
by step."""

from __future__ import annotations

import copy
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sophia_opt
import torch
from forked import Forked
from torch import Tensor, nn
from torch import distributed as dist

from fedkey_kernels import SophiaG, SophiaH, reference

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


@pytest.fixture(params=["foreach", "reference"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FEDKEY_SOPHIA", request.param)
    return str(request.param)


@pytest.mark.usefixtures("path")
def test_every_step_equals_the_published_implementation() -> None:
    settings = {"lr": 6e-3, "betas": (0.9, 0.95), "rho": 0.05, "weight_decay": 0.2}
    ours = SophiaG(parameters(), **settings)
    theirs = sophia_opt.SophiaG(parameters(), **settings)
    shares = []
    for step in range(200):
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
@pytest.mark.parametrize("kind", [SophiaG, SophiaH])
def test_settings_out_of_range_are_refused(kind: type, settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ValueError, match=name):
        kind(parameters(), **settings)


def test_a_path_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKEY_SOPHIA", "fast")
    optimizer = SophiaG(parameters())
    give_gradients(0, optimizer)
    with pytest.raises(ValueError, match="FEDKEY_SOPHIA"):
        optimizer.step()


# Sophia-H


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def saddle(first: Tensor, second: Tensor) -> Tensor:
    """Curved both ways, and its Hessian has entries off the diagonal and between the two tensors."""
    return (first.square().sum() * second.sin().sum()) + (first[0] * second).cos().sum() - first.pow(4).sum()


def test_hutchinson_is_u_times_the_exact_hessian_times_u() -> None:
    first, second = (nn.Parameter(torch.randn(n, generator=seeded(n))) for n in (3, 2))
    optimizer = SophiaH([first, second], betas=(0.9, 0.75))
    blocks = torch.autograd.functional.hessian(saddle, (first.detach(), second.detach()))
    hessian = torch.cat([torch.cat(row, dim=1) for row in blocks])
    expected = torch.zeros(5)
    generator, same = seeded(7), seeded(7)
    for _ in range(3):
        optimizer.update_hessian(saddle(first, second), generator)
        u = torch.cat([torch.randn(n, generator=same) for n in (3, 2)])
        expected = 0.75 * expected + 0.25 * u * (hessian @ u)
    curvature = torch.cat([optimizer.state[p]["hessian"] for p in (first, second)])
    torch.testing.assert_close(curvature, expected)
    assert (curvature < 0).any()
    assert (curvature > 0).any()
    assert first.grad is None


def test_the_mean_of_hutchinsons_estimates_is_the_diagonal() -> None:
    first, second = (nn.Parameter(torch.randn(n, generator=seeded(n))) for n in (3, 2))
    optimizer = SophiaH([first, second], betas=(0.9, 0.998))
    generator = seeded()
    for _ in range(2000):
        optimizer.update_hessian(saddle(first, second), generator)
    blocks = torch.autograd.functional.hessian(saddle, (first.detach(), second.detach()))
    for i, parameter in enumerate((first, second)):
        estimate = optimizer.state[parameter]["hessian"] / (1 - 0.998**2000)
        torch.testing.assert_close(estimate, blocks[i][i].diagonal(), rtol=0.15, atol=0.3)


@pytest.mark.usefixtures("path")
def test_every_step_of_sophia_h_equals_its_reference() -> None:
    optimizer = SophiaH(parameters(), lr=1e-2, betas=(0.9, 0.9), rho=0.3, weight_decay=0.3)
    own = optimizer.param_groups[0]["params"]
    expected = values(optimizer)
    momenta = [torch.zeros_like(value) for value in expected]
    generator = seeded()
    shares = []
    for step in range(20):
        if step % 5 == 0:
            optimizer.update_hessian(sum(p.sin().sum() + p.prod() for p in own), generator)
        curvatures = [optimizer.state[p]["hessian"].clone() for p in own]
        give_gradients(step, optimizer)
        optimizer.step()
        clipped = 0.0
        for row in zip(own, expected, momenta, curvatures, strict=True):
            share = reference.sophia_h_step(
                *row[1:], row[0].grad, learning_rate=1e-2, beta1=0.9, rho=0.3, weight_decay=0.3
            )
            torch.testing.assert_close(row[0].detach(), row[1], rtol=1e-6, atol=1e-7)
            clipped += float(share) * row[1].numel()
        assert optimizer.clipped_share == pytest.approx(clipped / sum(v.numel() for v in expected))
        shares.append(optimizer.clipped_share)
    assert 0 < min(shares) < 1


def test_where_the_loss_curves_down_the_step_is_the_learning_rate() -> None:
    """And where it curves up, it is Newton's: x / (rho h) with h = u^2 a for a parabola of curvature a."""
    parameter = nn.Parameter(torch.tensor([1.0, 1.0, 0.0]))
    curvature = torch.tensor([-4.0, 4.0, 4.0])
    optimizer = SophiaH([parameter], lr=0.1, betas=(0.0, 0.0), rho=50.0, weight_decay=0.0)
    optimizer.update_hessian((curvature * parameter.square()).sum() / 2, seeded(3))
    parameter.grad = curvature * parameter.detach()
    optimizer.step()
    u = torch.randn(3, generator=seeded(3))
    newton = 0.1 * 4 / (50 * 4 * u[1].square())
    assert newton < 0.1
    torch.testing.assert_close(parameter.detach(), torch.tensor([1.1, 1 - float(newton), 0.0]))
    assert optimizer.clipped_share == pytest.approx(1 / 3)


def test_the_curvature_of_a_straight_line_is_zero_and_of_an_absent_parameter_unknown() -> None:
    straight, absent, frozen = (nn.Parameter(torch.ones(2)) for _ in range(3))
    frozen.requires_grad_(False)
    optimizer = SophiaH([straight, absent, frozen], betas=(0.9, 0.5))
    optimizer.update_hessian(straight.square().sum(), seeded())
    before = optimizer.state[straight]["hessian"].clone()
    optimizer.update_hessian(3 * straight.sum(), seeded())
    torch.testing.assert_close(optimizer.state[straight]["hessian"], before / 2)
    assert list(optimizer.state) == [straight]


def test_a_loss_without_a_graph_is_refused_by_torch() -> None:
    with pytest.raises(RuntimeError, match="does not require grad"):
        SophiaH(parameters()).update_hessian(torch.zeros(()), seeded())


def test_sophia_h_goes_on_exactly_from_a_saved_state() -> None:
    optimizer = SophiaH(parameters(), lr=1e-2)
    for step in range(2):
        optimizer.update_hessian(
            sum(p.sin().sum() for p in optimizer.param_groups[0]["params"]), seeded(step)
        )
        give_gradients(step, optimizer)
        optimizer.step()
    resumed = SophiaH([nn.Parameter(value) for value in values(optimizer)], lr=1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    copied = copy.deepcopy(optimizer)
    assert copied.clipped_share == 0.0  # it has made no step yet
    every = (optimizer, resumed, copied)
    give_gradients(2, *every)
    for each in every:
        each.update_hessian(sum(p.sin().sum() for p in each.param_groups[0]["params"]), seeded(2))
        each.step()
    for mine, *others in zip(*map(values, every), strict=True):
        assert all(torch.equal(mine, other) for other in others)


# Several batches as one, several processes as one


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def batch(step: int, sampled: bool = False) -> tuple[Tensor, Tensor]:
    """Inputs and targets; with `sampled`, other targets, as if drawn from the model."""
    generator = seeded(10 * step)
    inputs = torch.randn(8, 4, generator=generator)
    return inputs, torch.randint(3, (8,), generator=seeded(10 * step + 1 + sampled))


def loss_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(inputs), targets)


def train(
    kind: type, model: nn.Module, rank: int = 0, num_ranks: int = 1, num_parts: int = 1
) -> list[Tensor]:
    """Three steps, each on this rank's share of the batch, taken in `num_parts`."""
    optimizer = kind(model.parameters(), lr=1e-2, rho=0.1, betas=(0.9, 0.9))
    share, group = slice(rank, None, num_ranks), dist.group.WORLD if num_ranks > 1 else None

    def parts(step: int, module: nn.Module, sampled: bool = False) -> Iterator[Tensor]:
        inputs, targets = batch(step, sampled)
        pairs = zip(inputs[share].chunk(num_parts), targets[share].chunk(num_parts), strict=True)
        return (loss_of(module, *pair) / num_parts for pair in pairs)

    for step in range(3):
        if isinstance(optimizer, SophiaH):
            inner = model.module if group else model
            optimizer.update_hessian(parts(step, inner), seeded(step), group)
        else:
            optimizer.zero_grad()
            for loss in parts(step, model, sampled=True):
                loss.backward()
            optimizer.update_hessian()
        optimizer.zero_grad()
        for loss in parts(step, model):
            loss.backward()
        optimizer.step(**({} if kind is SophiaH else {"batch_size": 8}))
    assert 0 < optimizer.clipped_share < 1
    return [*values(optimizer), *(state["hessian"] for state in optimizer.state.values())]


@pytest.mark.parametrize("kind", [SophiaG, SophiaH])
def test_a_batch_in_parts_is_the_batch(kind: type) -> None:
    whole, in_parts = train(kind, small_model()), train(kind, small_model(), num_parts=4)
    for one, other in zip(whole, in_parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def process(rank: int, num_ranks: int, port: int, folder: Path) -> None:
    """One of the processes that `test_two_processes_are_one` starts."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # No file store: it waits five minutes for a file that the other process deletes at the wrong moment.
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=num_ranks)
    found = {}
    for kind in (SophiaG, SophiaH):
        model = nn.parallel.DistributedDataParallel(small_model())
        found[kind.__name__] = train(kind, model, rank, num_ranks)
    torch.save(found, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


PROCESS = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"


def test_two_processes_are_one(tmp_path: Path, fork: Callable[..., Forked]) -> None:
    """DistributedDataParallel over gloo, as torchrun would start it: the same weights on both, and those of
    one process."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    processes = [fork(PROCESS, [__file__, rank, 2, port, tmp_path], ["fedkey_kernels"]) for rank in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for kind in (SophiaG, SophiaH):
        name = kind.__name__
        for one, other, alone in zip(first[name], second[name], train(kind, small_model()), strict=True):
            assert torch.equal(one, other)
            torch.testing.assert_close(one, alone, rtol=1e-4, atol=1e-6)


if __name__ == "__main__":
    process(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
