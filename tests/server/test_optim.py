"""The schedule, the groups, and an optimizer's state as flat tensors."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedkey_kernels import Muon, SophiaG
from fedkey_kernels.lion import Lion
from fedkey_server import optim
from fedkey_server.model import Model, ModelConfig

SETTINGS = {"learning_rate": 0.01, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.98, "rho": 0.05}
SMALL = ModelConfig(
    vocab_size=40, width=16, num_layers=1, num_heads=2, num_key_value_heads=1, hidden_width=24, window=16
)


def test_the_schedule_by_hand() -> None:
    rates = [optim.learning_rate_at(step, 9, 1.0, 4, 0.2) for step in range(9)]
    # Four steps up; then the cosine from 1.0 through 0.6 to 0.2.
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.8828427, 0.6, 0.3171573, 0.2])


@given(
    num_steps=st.integers(1, 300),
    warmup=st.integers(0, 300),
    peak=st.floats(1e-5, 1.0),
    final_share=st.floats(0.0, 1.0),
)
def test_the_rate_rises_then_falls_and_ends_at_its_final_share(
    num_steps: int, warmup: int, peak: float, final_share: float
) -> None:
    rates = [optim.learning_rate_at(step, num_steps, peak, warmup, final_share) for step in range(num_steps)]
    assert all(0 <= rate <= peak * (1 + 1e-9) for rate in rates)
    assert all(a <= b for a, b in pairwise(rates[:warmup]))
    assert all(a >= b for a, b in pairwise(rates[warmup:]))
    if num_steps > warmup + 1:
        assert rates[warmup] == pytest.approx(peak)
        assert rates[-1] == pytest.approx(final_share * peak)


def test_matrices_decay_and_norms_do_not() -> None:
    model = Model(SMALL)
    decaying, steady = optim.parameter_groups(model, 0.3)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    grouped = [[names[id(parameter)] for parameter in group["params"]] for group in (decaying, steady)]
    assert (decaying["weight_decay"], steady["weight_decay"]) == (0.3, 0.0)
    assert sorted(grouped[0] + grouped[1]) == sorted(names.values())
    assert grouped[1] == [name for name in names.values() if "norm" in name]


def test_the_name_picks_the_optimizer() -> None:
    assert type(optim.build("adamw", Model(SMALL), **SETTINGS)) is torch.optim.AdamW
    assert type(optim.build("sophia", Model(SMALL), **SETTINGS)) is SophiaG
    assert type(optim.build("lion", Model(SMALL), **SETTINGS)) is Lion
    assert type(optim.build("muon", Model(SMALL), **SETTINGS)) is optim.MuonWithAdamW
    with pytest.raises(ValueError, match="one of adamw, sophia, lion, muon, not 'sgd'"):
        optim.build("sgd", Model(SMALL), **SETTINGS)


def advance(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    """A step along seeded gradients; Sophia estimates its curvature from the same."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    if isinstance(optimizer, SophiaG):
        optimizer.update_hessian()
        optimizer.step(batch_size=4)
    else:
        optimizer.step()


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str) -> None:
    model = Model(SMALL)
    optimizer = optim.build(name, model, **SETTINGS)
    for seed in range(3):
        advance(model, optimizer, seed)
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state = {key: tensor.clone() for key, tensor in optim.flat_state(model, optimizer).items()}

    other = Model(SMALL, seed=1)
    other.load_state_dict(weights)
    restored = optim.build(name, other, **SETTINGS)
    optim.restore_state(other, restored, state)
    for seed in range(3, 6):
        advance(model, optimizer, seed)
        advance(other, restored, seed)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key]), key
    # The copy owns its tensors: what was saved did not move on with it.
    again = optim.flat_state(other, restored)
    assert any(not torch.equal(state[key], again[key]) for key in state)


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest() -> None:
    """Each moves its own as the optimizer of that name would alone, at the rate that the groups tell."""
    model, alone = Model(SMALL), Model(SMALL)
    pair = optim.build("muon", model, **SETTINGS)
    hidden, outer, vectors = [], [], []
    for name, parameter in alone.named_parameters():
        (vectors if "norm" in name else outer if "embed" in name else hidden).append(parameter)
    assert len(hidden) == 7
    assert len(outer) == 1
    muon = Muon(hidden, lr=0.002, weight_decay=0.1, momentum=0.95)
    adamw = torch.optim.AdamW(
        [{"params": outer}, {"params": vectors, "weight_decay": 0.0}],
        lr=0.002, betas=(0.9, 0.98), weight_decay=0.1, fused=True,
    )  # fmt: skip
    for group in pair.param_groups:
        group["lr"] = 0.002
    for seed in range(3):
        advance(model, pair, seed)
        for parameter, other in zip(alone.parameters(), model.parameters(), strict=True):
            parameter.grad = other.grad
        muon.step()
        adamw.step()
    for name, parameter in alone.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name)), name
    pair.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_one_learning_rate_serves_both_halves_of_muon() -> None:
    """The size of a step in units of the learning rate: AdamW's first steps are 1, its later ones 0.2 to 0.4
    (2502.16982); Muon's must be near that, whatever the shape of the matrix."""
    model = Model(SMALL)
    pair = optim.build("muon", model, **(SETTINGS | {"weight_decay": 0.0, "learning_rate": 1e-3}))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    advance(model, pair, 0)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and "embed" not in name:
            size = float((parameter.detach() - before[name]).square().mean().sqrt()) / 1e-3
            assert 0.1 < size < 0.3, name


def test_the_pair_can_be_copied_and_saved_as_any_optimizer() -> None:
    model = Model(SMALL)
    pair = optim.build("muon", model, **SETTINGS)
    advance(model, pair, 0)
    other, both = Model(SMALL, seed=1), copy.deepcopy((model, pair))
    other.load_state_dict(model.state_dict())
    loaded = optim.build("muon", other, **(SETTINGS | {"learning_rate": 1.0}))
    loaded.load_state_dict(copy.deepcopy(pair.state_dict()))
    for one, optimizer in ((model, pair), (other, loaded), both):
        for group in optimizer.param_groups:
            group["lr"] = 0.5
        for seed in (1, 2):
            advance(one, optimizer, seed)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, other.get_parameter(name)), name
        assert torch.equal(parameter, both[0].get_parameter(name)), name


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("adamw", {"step", "exp_avg", "exp_avg_sq"}),
        ("sophia", {"exp_avg", "hessian"}),
        ("lion", {"exp_avg"}),
    ],
)
def test_the_flat_state_holds_everything_by_parameter(name: str, keys: set[str]) -> None:
    model = Model(SMALL)
    optimizer = optim.build(name, model, **SETTINGS)
    assert optim.flat_state(model, optimizer) == {}
    advance(model, optimizer, 0)
    expected = {f"{parameter}/{key}" for parameter, _ in model.named_parameters() for key in keys}
    assert optim.flat_state(model, optimizer).keys() == expected


def test_the_flat_state_of_muon_is_that_of_both() -> None:
    model = Model(SMALL)
    optimizer = optim.build("muon", model, **SETTINGS)
    advance(model, optimizer, 0)
    keys: dict[str, set[str]] = {}
    for path in optim.flat_state(model, optimizer):
        name, _, key = path.rpartition("/")
        keys.setdefault(name, set()).add(key)
    for name, parameter in model.named_parameters():
        is_hidden = parameter.dim() == 2 and "embed" not in name
        assert keys[name] == ({"momentum_buffer"} if is_hidden else {"step", "exp_avg", "exp_avg_sq"}), name
