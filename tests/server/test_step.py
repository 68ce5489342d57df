"""A step in parts is the step as a whole, and Sophia's curvature is that of the whole step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fedkey_kernels import SophiaG
from fedkey_server import optim
from fedkey_server.batches import Documents, PackedRows, pack
from fedkey_server.config import Config
from fedkey_server.model import IGNORE, Model
from fedkey_server.step import Objective, Share, curvature_step, optimizer_step, precision


@pytest.fixture
def rows(tiny_data: Path, config: Config) -> PackedRows:
    """Seven rows, of which one has nothing to grade."""
    window = config.model.window
    rows = pack(Documents.load(tiny_data / "server.npz"), window, window).take(slice(0, 7))
    rows.targets[2] = IGNORE
    return rows


def sophia(model: Model) -> SophiaG:
    optimizer = optim.build(
        "sophia", model, learning_rate=1e-3, weight_decay=0.1, beta1=0.9, beta2=0.5, rho=0.05
    )
    assert isinstance(optimizer, SophiaG)
    return optimizer


@pytest.mark.parametrize("num_parts", [2, 3, 7])
def test_the_gradient_of_parts_is_that_of_the_whole(config: Config, rows: PackedRows, num_parts: int) -> None:
    def moved(num_parts: int) -> tuple[dict[str, Tensor], Tensor]:
        model = Model(config.model)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        share = Share.of(rows, num_parts)
        assert len(share.parts) == num_parts
        assert share.own_targets == share.num_targets == (rows.targets != IGNORE).sum()
        nll = optimizer_step(Objective(model), optimizer, share, z_penalty=0.01, clip_norm=0.0)
        return {name: before[name] - tensor for name, tensor in model.state_dict().items()}, nll

    (whole, nll), (parts, parts_nll) = moved(1), moved(num_parts)
    torch.testing.assert_close(parts_nll, nll, rtol=1e-6, atol=0)
    for name, gradient in whole.items():
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-6)


def test_a_step_in_bfloat16_is_nearly_the_step_in_float32(config: Config, rows: PackedRows) -> None:
    def gradient(precision: str) -> Tensor:
        model = Model(config.model)
        before = [tensor.clone() for tensor in model.parameters()]
        optimizer_step(
            Objective(model, precision),
            torch.optim.SGD(model.parameters(), lr=1.0),
            Share.of(rows, 1),
            0.01,
            0.0,
        )
        pairs = zip(before, model.parameters(), strict=True)
        return torch.cat([(old - new).detach().flatten() for old, new in pairs])

    exact, low = gradient("float32"), gradient("bfloat16")
    assert torch.equal(gradient("auto"), exact)  # on a CPU
    assert 1e-4 < float((low - exact).norm() / exact.norm()) < 0.03


@pytest.mark.parametrize("unit", ["amx_bf16", "avx512_bf16", "bf16", None])
def test_the_fastest_precision_is_bfloat16_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, unit: str | None
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, str(unit): True})
    one = torch.ones(2, 2)
    with precision(torch.device("cpu"), "fastest"):
        assert (one @ one).dtype == (torch.float32 if unit is None else torch.bfloat16)
    for settled, dtype in (("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with precision(torch.device("cpu"), settled):
            assert (one @ one).dtype == dtype


def test_a_part_without_targets_still_gives_every_parameter_a_gradient(
    config: Config, rows: PackedRows
) -> None:
    """Other processes wait for it."""
    model = Model(config.model)
    share = Share.of(rows.take(slice(2, 3)), 1)
    for label_seed in (None, 1):
        model.zero_grad()
        total, nll = Objective(model)(share.parts[0][1], 0.01, label_seed)
        total.backward()
        assert float(nll) == 0.0
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert not parameter.grad.any(), name


def test_a_step_without_any_targets_changes_nothing(config: Config, rows: PackedRows) -> None:
    model = Model(config.model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer, share = sophia(model), Share.of(rows.take(slice(2, 3)), 1)
    curvature_step(Objective(model), optimizer, share, (1,))
    assert float(optimizer_step(Objective(model), optimizer, share, 0.0, 1.0)) == 0.0
    assert not optimizer.state
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_curvature_is_estimated_from_the_models_own_labels(config: Config, rows: PackedRows) -> None:
    def hessian(seed: int, targets: np.ndarray) -> Tensor:
        model = Model(config.model)
        optimizer = sophia(model)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        share = Share.of(PackedRows(rows.tokens, targets, rows.positions, rows.document_ids, rows.numbers), 2)
        curvature_step(Objective(model), optimizer, share, (seed, 5))
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        return optim.flat_state(model, optimizer)["model.norm.weight/hessian"]

    targets = rows.targets
    other_words = np.where(targets != IGNORE, (targets + 7) % config.model.vocab_size, targets)
    drawn = hessian(1, targets)
    assert (drawn > 0).any()
    assert torch.equal(drawn, hessian(1, targets))
    assert torch.equal(drawn, hessian(1, other_words))  # where is graded matters, what stands there does not
    assert not torch.equal(drawn, hessian(2, targets))


def test_the_curvature_of_parts_is_the_square_of_the_whole_steps_gradient(
    config: Config, rows: PackedRows
) -> None:
    model = Model(config.model)
    optimizer, share = sophia(model), Share.of(rows, 3)
    seeds: list[int] = []
    bartlett_loss = model.bartlett_loss

    def listening(*batch: Tensor, seed: int) -> Tensor:
        seeds.append(seed)
        return bartlett_loss(*batch, seed=seed)

    model.bartlett_loss = listening  # type: ignore[method-assign]
    curvature_step(Objective(model), optimizer, share, (1, 5))
    assert len(set(seeds)) == 3
    total = sum(bartlett_loss(*batch, seed=seed) for (_, batch), seed in zip(share.parts, seeds, strict=True))
    mean = total / int((rows.targets != IGNORE).sum())
    gradients = torch.autograd.grad(mean, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        expected = 0.5 * gradient.square()  # 1 - beta2
        torch.testing.assert_close(optimizer.state[parameter]["hessian"], expected, rtol=1e-3, atol=1e-9)


def test_labels_are_drawn_as_often_as_the_model_expects_them(config: Config, rows: PackedRows) -> None:
    """Then the gradient's mean is zero (Bartlett's first identity): averaged over draws it shrinks with the
    square root of their number, which that of one fixed label does not."""
    model = Model(config.model)
    _, batch = Share.of(rows.take(slice(0, 1)), 1).parts[0]
    norm = [parameter for name, parameter in model.named_parameters() if name == "model.norm.weight"]

    def gradient(seed: int) -> Tensor:
        return torch.autograd.grad(model.bartlett_loss(*batch, seed=seed), norm)[0]

    draws = torch.stack([gradient(seed) for seed in range(100)])
    alone = draws.norm(dim=1).square().mean().sqrt()
    assert draws.mean(dim=0).norm() < 2 * alone / 100**0.5
    losses = torch.stack([model.bartlett_loss(*batch, seed=seed).detach() for seed in range(20)])
    hidden_nd = model(batch[0], *batch[2:])[batch[1] != IGNORE]
    log_p = model.logits(hidden_nd).detach().double().log_softmax(dim=-1)
    entropy = -(log_p.exp() * log_p).sum()
    spread = (log_p.exp() * log_p.square()).sum() - (log_p.exp() * log_p).sum(dim=-1).square().sum()
    assert abs(losses.mean() - entropy) < 4 * (spread / 20).sqrt()
