"""Normalisation and rotary positions, whichever path computes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedkey_kernels import reference, rms_norm, rotary_table, rotate


def normal(*shape: int, seed: int = 0, gradient: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_(gradient)


@pytest.fixture(params=["torch", "reference"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FEDKEY_NORM", request.param)
    return str(request.param)


@pytest.mark.parametrize("shape", [(1,), (3, 1), (2, 5, 7), (1, 3, 2, 128)])
def test_rms_norm_is_the_reference_forward_and_backward(shape: tuple[int, ...]) -> None:
    x, weight = normal(*shape, gradient=True), normal(shape[-1], seed=1, gradient=True)
    upstream = normal(*shape, seed=2)
    expected = reference.rms_norm(x, weight, 1e-5)
    out = rms_norm(x, weight, 1e-5)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    wanted = torch.autograd.grad(expected, (x, weight), upstream)
    for gradient, want in zip(torch.autograd.grad(out, (x, weight), upstream), wanted, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-12, atol=1e-12)


def test_rms_norm_forgets_the_scale_of_its_input_and_survives_zeros() -> None:
    x, weight = normal(4, 16), torch.ones(16, dtype=torch.float64)
    torch.testing.assert_close(rms_norm(1000 * x, weight, 1e-12), rms_norm(x, weight, 1e-12))
    assert torch.equal(rms_norm(torch.zeros_like(x), weight, 1e-5), torch.zeros_like(x))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("weight_dtype", [torch.bfloat16, torch.float32])
def test_rms_norm_keeps_the_dtype_of_x_and_of_each_gradient(
    dtype: torch.dtype, weight_dtype: torch.dtype
) -> None:
    """And does not warn of a weight in another dtype, as torch's operator does: warnings are errors here."""
    x = normal(3, 16).to(dtype).requires_grad_()
    weight = normal(16, seed=1).to(weight_dtype).requires_grad_()
    out = rms_norm(x, weight, 1e-5)
    assert out.dtype == dtype
    out.sum().backward()
    assert x.grad is not None
    assert weight.grad is not None
    assert (x.grad.dtype, weight.grad.dtype) == (dtype, weight_dtype)
    exact = reference.rms_norm(x.detach().double(), weight.detach().double(), 1e-5)
    torch.testing.assert_close(out.detach().double(), exact, rtol=2e-2, atol=2e-2)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_result_is_in_its_dtype(dtype: torch.dtype) -> None:
    x, weight = normal(3, 16), normal(16, seed=1)
    with torch.autocast("cpu", dtype=dtype):
        for given in (torch.bfloat16, torch.float32):
            assert rms_norm(x.to(given), weight.float(), 1e-5).dtype == dtype
        assert rms_norm(x, weight, 1e-5).dtype == torch.float64  # which autocast leaves alone
    assert rms_norm(x.float(), weight.float(), 1e-5).dtype == torch.float32


@pytest.mark.parametrize("weight", [torch.ones(3), torch.ones(1, 4), torch.ones(())])
def test_a_weight_of_another_shape_is_refused(weight: Tensor) -> None:
    with pytest.raises(ValueError, match="weight"):
        rms_norm(torch.zeros(2, 4), weight, 1e-5)


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        (torch.zeros(2, 4, dtype=torch.int64), torch.ones(4), "x must be floating"),
        (torch.zeros(2, 4), torch.ones(4, dtype=torch.int32), "weight must be floating"),
        (torch.zeros(4, 2).T, torch.ones(4), "x must lie contiguous"),
        (torch.zeros(2, 4), torch.ones(4, device="meta"), "weight is on meta"),
        (torch.zeros(()), torch.ones(()), "weight"),
    ],
    ids=["x dtype", "weight dtype", "strides", "device", "no dimension"],
)
def test_bad_norms_are_refused_by_name(x: Tensor, weight: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rms_norm(x, weight, 1e-5)


def test_a_path_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKEY_NORM", "fast")
    with pytest.raises(ValueError, match="FEDKEY_NORM"):
        rms_norm(torch.zeros(2, 4), torch.ones(4), 1e-5)


def test_without_interpreter_or_gpu_triton_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKEY_NORM", "triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="FEDKEY_NORM"):
        rms_norm(torch.zeros(2, 4), torch.ones(4), 1e-5)


@pytest.mark.usefixtures("path")
def test_both_can_be_differentiated_twice() -> None:
    """As Sophia-H needs it."""
    x, weight = normal(2, 3, 2, 4, gradient=True), normal(4, seed=1, gradient=True)
    assert torch.autograd.gradgradcheck(lambda x, w: rms_norm(x, w, 1e-5), (x, weight))
    table = rotary_table(torch.arange(3).expand(2, 3), 4, 10_000.0, torch.float64)
    assert torch.autograd.gradgradcheck(lambda x: rotate(x, table).square(), (x,))


@pytest.mark.parametrize("head_size", [2, 6, 32])
def test_rotation_is_the_reference_forward_and_backward(head_size: int) -> None:
    x = normal(2, 9, 3, head_size, gradient=True)
    positions = torch.stack([torch.arange(9), torch.tensor([0, 1, 2, 0, 1, 0, 0, 0, 127])])
    table = rotary_table(positions, head_size, 10_000.0, torch.float64)
    out, expected = rotate(x, table), reference.rotate(x, positions, 10_000.0)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    upstream = normal(*x.shape, seed=1)
    torch.testing.assert_close(
        torch.autograd.grad(out, x, upstream), torch.autograd.grad(expected, x, upstream)
    )


def turned(vector: Tensor, position: int) -> Tensor:
    table = rotary_table(torch.tensor([[position]]), vector.shape[-1], 10_000.0, torch.float64)
    return rotate(vector[None, None, None], table)[0, 0, 0]


@settings(max_examples=50)
@given(
    pairs=st.integers(1, 8), here=st.integers(0, 500), there=st.integers(0, 500), shift=st.integers(0, 500)
)
def test_scores_depend_on_the_distance_alone_and_norms_stay(
    pairs: int, here: int, there: int, shift: int
) -> None:
    query, key = normal(2 * pairs, seed=here), normal(2 * pairs, seed=there + 1000)
    score = turned(query, here) @ turned(key, there)
    torch.testing.assert_close(
        turned(query, here + shift) @ turned(key, there + shift), score, rtol=0, atol=1e-9
    )
    torch.testing.assert_close(turned(query, here).norm(), query.norm())
    torch.testing.assert_close(turned(query, 0), query)


def test_different_distances_give_different_scores() -> None:
    query, key = normal(8), normal(8, seed=1)
    scores = torch.stack([turned(query, 0) @ turned(key, there) for there in range(20)])
    assert len(scores.unique()) == 20


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_wide_table_leaves_the_dtype_of_its_input(dtype: torch.dtype) -> None:
    """Under autocast queries are bf16 and the table is float32; values, unturned, stay bf16 too."""
    x = normal(1, 4, 2, 8).to(dtype)
    positions = torch.arange(4)[None]
    out = rotate(x, rotary_table(positions, 8, 10_000.0, torch.float32))
    assert out.dtype == dtype
    exact = reference.rotate(x.double(), positions, 10_000.0)
    torch.testing.assert_close(out, exact.to(dtype))


def fused(part: int) -> Tensor:
    """Queries, keys or values of one fused projection: H 3, K 6."""
    return normal(2, 5, 3, 3, 6)[:, :, part]


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    "make",
    [
        lambda: fused(1),
        lambda: normal(2, 3, 5, 6).transpose(1, 2),
        lambda: normal(2, 1, 3, 6).expand(2, 5, 3, 6),
    ],
    ids=["part", "transposed", "expanded"],
)
def test_a_part_of_a_larger_tensor_is_turned_into_one_that_lies_whole(make: Callable[[], Tensor]) -> None:
    x, positions = make(), torch.arange(5).expand(2, 5)
    out = rotate(x, rotary_table(positions, 6, 10_000.0, torch.float64))
    assert not x.is_contiguous()
    assert out.is_contiguous()
    torch.testing.assert_close(out, reference.rotate(x, positions, 10_000.0), rtol=0, atol=0)


def test_far_positions_are_as_exact_as_near_ones() -> None:
    positions = torch.tensor([[0, 100_000]])
    cos, sin = rotary_table(positions, 64, 10_000.0, torch.float32)
    exact_cos, exact_sin = rotary_table(positions, 64, 10_000.0, torch.float64)
    torch.testing.assert_close(cos.double(), exact_cos, rtol=0, atol=1e-7)
    torch.testing.assert_close(sin.double(), exact_sin, rtol=0, atol=1e-7)


def test_bad_rotations_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="head_size"):
        rotary_table(torch.zeros(1, 1, dtype=torch.int64), 3, 10_000.0, torch.float32)
    cos, sin = rotary_table(torch.arange(4)[None], 8, 10_000.0, torch.float32)
    for shape in ((1, 4, 2, 6), (1, 5, 2, 8), (1, 4, 8), (2, 4, 2, 8)):
        with pytest.raises(ValueError, match="table"):
            rotate(torch.zeros(shape), (cos, sin))
    x = torch.zeros(1, 4, 2, 8)
    for table in ((cos, sin[:, :3]), (cos.long(), sin), (cos, sin.to("meta"))):
        with pytest.raises(ValueError, match="table"):
            rotate(x, table)
    with pytest.raises(ValueError, match="x must be floating"):
        rotate(x.long(), (cos, sin))
    with pytest.raises(ValueError, match="x must lie contiguous"):
        rotate(torch.zeros(1, 4, 8, 2).transpose(2, 3), (cos, sin))
