"""Linear attention: the form that carries sums along, and the one that weighs every pair."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedkey_kernels import document_mask, linear_attention, reference

HORIZONS = (1.5, 20.0)


def heads(num_positions: int, head_size: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """A row of queries of four heads, keys and values of two, in float64; they want gradients."""
    generator, row = torch.Generator().manual_seed(0), (1, num_positions)
    q, k, v = (torch.randn(*row, n, head_size, dtype=torch.float64, generator=generator) for n in (4, 2, 2))
    return q.requires_grad_(), k.requires_grad_(), v.requires_grad_()


@settings(max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    rest=st.integers(0, 4),
    chunk=st.integers(1, 40),
)
def test_carried_sums_are_the_sums_over_every_pair(lengths: list[int], rest: int, chunk: int) -> None:
    ids = torch.tensor([[n for n, length in enumerate(lengths) for _ in range(length)] + [-1] * rest])
    mask, tensors = document_mask(ids), heads(ids.shape[1])
    found = linear_attention(*tensors, HORIZONS, mask, chunk=chunk)
    expected = reference.linear_attention(*tensors, HORIZONS, mask.visible_btt())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    weights = torch.randn_like(found)
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), tensors),
        torch.autograd.grad((expected * weights).sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_the_gradient_is_the_slope() -> None:
    mask = document_mask(torch.tensor([[0, 1, 1, 1, -1]]))
    assert torch.autograd.gradcheck(lambda *x: linear_attention(*x, HORIZONS, mask, chunk=2), heads(5, 2))


@pytest.mark.parametrize("chunk", [4, 64])
def test_no_document_reaches_another_and_nothing_reaches_back(chunk: int) -> None:
    ids = torch.tensor([[0] * 7 + [1] * 6 + [2] * 3])
    q, k, v = heads(16)
    out = linear_attention(q, k, v, HORIZONS, document_mask(ids), chunk=chunk)
    for place in range(16):
        reached = [
            gradient.abs().sum(dim=(0, 2, 3)) > 0
            for gradient in torch.autograd.grad(out[0, place].sum(), (k, v), retain_graph=True)
        ]
        allowed = (ids[0] == ids[0, place]) & (torch.arange(16) <= place)
        assert torch.equal(reached[1], allowed)
        assert not reached[0][~allowed].any()


def test_what_is_near_counts_more_the_shorter_the_horizon() -> None:
    """Equal keys, so that the weights are the fading alone: at distance d exp(-d / horizon)."""
    q, k, v = (torch.ones(1, 5, 1, 2), torch.ones(1, 5, 1, 2), torch.zeros(1, 5, 1, 2))
    v[0, 2] = 1.0
    out = linear_attention(q, k, v, [2.0], document_mask(torch.zeros(1, 5, dtype=torch.int64)))[0, -1, 0, 0]
    fading = torch.exp(-torch.arange(5) / 2.0)
    assert float(out) == pytest.approx(float(fading[2] / fading.sum()), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("horizons", {"horizons": [1.0]}),
        ("horizons", {"horizons": [1.0, 0.0]}),
        ("mask", {"mask": document_mask(torch.zeros(1, 4, dtype=torch.int64), window=2)}),
        ("mask", {"mask": document_mask(torch.zeros(1, 4, dtype=torch.int64), causal=False)}),
        ("chunk", {"chunk": 0}),
    ],
)
def test_bad_input_is_refused_by_name(name: str, changed: dict[str, object]) -> None:
    q, k, v = heads(4)
    given = {"horizons": HORIZONS, "mask": document_mask(torch.zeros(1, 4, dtype=torch.int64)), "chunk": 64}
    with pytest.raises(ValueError, match=name):
        linear_attention(q, k, v, **(given | changed))
