"""Scaled inputs, and a layer that needs none."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedkey_export.scaling import Scaling


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 999), num=st.integers(2, 9))
def test_scaled_inputs_have_a_mean_of_0_and_a_spread_of_1(seed: int, num: int) -> None:
    inputs = drawn(seed, num, 3, 4) * 7 - 2
    inputs[..., 1] = 0.3
    scaling = Scaling.of(inputs)
    scaled = scaling.scaled(inputs)
    assert scaling.varies.tolist() == [True, False, True, True]
    assert torch.allclose(scaled.mean(dim=(0, 1)), torch.zeros(4), atol=1e-5)
    spread = scaled.std(dim=(0, 1), unbiased=False)
    assert torch.allclose(spread, torch.tensor([1.0, 0, 1, 1]), atol=1e-5)


@given(seed=st.integers(0, 999))
def test_a_folded_layer_says_of_inputs_as_they_are_what_it_said_of_scaled_ones(seed: int) -> None:
    inputs = drawn(seed, 8, 4) * 7 - 2
    inputs[:, 2] = -9.0
    scaling, layer = Scaling.of(inputs), nn.Linear(4, 5)
    weight, bias = scaling.folded(layer.weight, layer.bias)
    expected = layer(scaling.scaled(inputs)).double()
    assert torch.allclose(inputs.double() @ weight.T + bias, expected, atol=1e-4)
    # What never varied may become anything.
    other = inputs.clone()
    other[:, 2] = 40.0
    assert torch.allclose(other.double() @ weight.T + bias, expected, atol=1e-4)
