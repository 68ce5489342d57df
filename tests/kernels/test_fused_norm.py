"""The Triton kernels of RMSNorm and rotary positions against float64, interpreted where there is no GPU, and
compiled for an H200."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkey_kernels import reference, rms_norm, rotary_table, rotate
from fedkey_kernels.norm import LARGEST_WIDTH

pytest.importorskip("triton")
from fedkey_kernels import fused_norm

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EPSILON = 1e-5
BASE = 10_000.0


@pytest.fixture(autouse=True)
def _triton(monkeypatch: pytest.MonkeyPatch, poisoned_memory: None) -> None:
    """Forced."""
    monkeypatch.setenv("FEDKEY_NORM", "triton")


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, device: str = DEVICE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(device, dtype)


def assert_within(got: Tensor, low: Tensor, exact: Tensor) -> None:
    """At most twice as far from float64 as plain torch in the same precision is (FlashAttention's rule)."""
    assert got.dtype == low.dtype
    assert got.shape == exact.shape
    error, allowed = ((tensor.double() - exact).abs().max() for tensor in (got, low))
    floor = 1e-6 if got.dtype == torch.float32 else 1e-4
    assert error <= 2 * allowed + floor * (1 + exact.abs().max())


def check_norm(x: Tensor, weight: Tensor, grad_out: Tensor) -> None:
    """Forward and both gradients."""
    found = []
    for run, dtype in ((rms_norm, None), (reference.rms_norm, None), (reference.rms_norm, torch.float64)):
        given = [t.detach().to(dtype or t.dtype).requires_grad_() for t in (x, weight)]
        out = run(*given, EPSILON).to(dtype or grad_out.dtype)
        found.append([out, *torch.autograd.grad(out, given, grad_out.to(out.dtype))])
    for got, low, exact in zip(*found, strict=True):
        assert_within(got, low, exact)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (1, 2, 100), (35, 128), (2, 3, 320), (3, 1000)])
def test_rms_norm_is_the_reference(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, grad_out = normal(*shape, dtype=dtype), normal(*shape, seed=2, dtype=dtype)
    check_norm(x, normal(shape[-1], seed=1, dtype=dtype), grad_out)


def test_a_weight_in_another_dtype() -> None:
    x, grad_out = normal(4, 24, dtype=torch.float16), normal(4, 24, seed=2, dtype=torch.float16)
    check_norm(x, normal(24, seed=1, dtype=torch.float32), grad_out)


def test_a_row_of_zeros_stays_zero() -> None:
    x = normal(4, 24, dtype=torch.float32)
    x[2] = 0
    weight = normal(24, seed=1, dtype=torch.float32)
    check_norm(x, weight, normal(4, 24, seed=2, dtype=torch.float32))
    assert not rms_norm(x, weight, EPSILON)[2].any()


def test_programs_that_take_several_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two programs for five blocks of rows, the last of which is short: their sums become one."""

    monkeypatch.setattr(fused_norm, "NUM_WARPS", 8)
    assert fused_norm.backward_launch(100).BLOCK_R == 16
    x, grad_out = normal(70, 100, dtype=torch.float32), normal(70, 100, seed=2, dtype=torch.float32)
    check_norm(x, normal(100, seed=1, dtype=torch.float32), grad_out)


def test_rows_that_lie_apart_and_a_gradient_that_is_one_number() -> None:
    memory = normal(6, 3, 50, dtype=torch.float32)
    weight = normal(40, seed=1, dtype=torch.float32)
    one = torch.ones((), dtype=torch.float32, device=DEVICE)
    for x in (memory[:, 1, 5:45], memory[:, :2, :40], memory[:1, 0, :40].expand(4, 40)):
        assert not x.is_contiguous()
        check_norm(x, weight, normal(*x.shape, seed=2, dtype=torch.float32))
        check_norm(x, weight, one.expand(x.shape))


def test_rms_norm_of_no_rows() -> None:
    x = torch.zeros(0, 3, 8, device=DEVICE, requires_grad=True)
    weight = torch.ones(8, device=DEVICE, requires_grad=True)
    out = rms_norm(x, weight, EPSILON)
    assert out.shape == (0, 3, 8)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.zeros(8, device=DEVICE))


def test_under_autocast_the_result_is_in_its_dtype_and_gradients_are_not() -> None:
    x, weight = normal(3, 32, dtype=torch.float32), normal(32, seed=1, dtype=torch.float32)
    x.requires_grad_()
    weight.requires_grad_()
    with torch.autocast(DEVICE, dtype=torch.float16):
        out = rms_norm(x, weight, EPSILON)
    assert out.dtype == torch.float16
    exact = reference.rms_norm(x.double(), weight.double(), EPSILON)
    torch.testing.assert_close(out.double(), exact, rtol=1e-3, atol=1e-6)
    grad_out = normal(3, 32, seed=2, dtype=torch.float16)
    wanted = torch.autograd.grad(exact, (x, weight), grad_out.double())
    for got, want in zip(torch.autograd.grad(out, (x, weight), grad_out), wanted, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_rows_too_wide_are_torchs_unless_triton_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(1, LARGEST_WIDTH + 1, device=DEVICE)
    weight = torch.ones(LARGEST_WIDTH + 1, device=DEVICE)
    with pytest.raises(ValueError, match="at most 8192"):
        rms_norm(x, weight, EPSILON)
    monkeypatch.delenv("FEDKEY_NORM")
    torch.testing.assert_close(rms_norm(x, weight, 0.0), x)


def test_float64_is_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        rms_norm(normal(2, 4), normal(4), EPSILON)
    table = rotary_table(torch.arange(2, device=DEVICE)[None], 4, BASE, torch.float32)
    with pytest.raises(ValueError, match="float64"):
        rotate(normal(1, 2, 1, 4), table)
    with pytest.raises(ValueError, match="table"):
        rotate(normal(1, 2, 1, 4, dtype=torch.float32), (table[0].double(), table[1].double()))


# Rotary positions


def positions_of(num_rows: int, num_positions: int) -> Tensor:
    """Some documents begin inside a row, one is far away."""
    positions_bt = torch.arange(num_positions, device=DEVICE).repeat(num_rows, 1)
    positions_bt[:, num_positions // 2 :] -= num_positions // 2
    positions_bt[-1, -1] = 100_000
    return positions_bt


def check_rotation(x_bthk: Tensor, grad_out: Tensor, table_dtype: torch.dtype = torch.float32) -> None:
    num_rows, num_positions, _, head_size = x_bthk.shape
    positions_bt = positions_of(num_rows, num_positions)
    table = rotary_table(positions_bt, head_size, BASE, table_dtype)
    x_bthk.requires_grad_()
    out = rotate(x_bthk, table)
    assert out.is_contiguous()
    (grad_x,) = torch.autograd.grad(out, x_bthk, grad_out)
    exact_x = x_bthk.detach().double().requires_grad_()
    exact = reference.rotate(exact_x, positions_bt, BASE)
    (exact_grad_x,) = torch.autograd.grad(exact, exact_x, grad_out.double())
    low = reference.turn(x_bthk, *table).to(x_bthk.dtype)
    (low_grad_x,) = torch.autograd.grad(low, x_bthk, grad_out)
    assert_within(out, low, exact)
    assert_within(grad_x, low_grad_x, exact_grad_x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 2), (2, 9, 3, 6), (1, 5, 4, 32), (2, 40, 4, 64), (1, 7, 2, 96), (2, 3, 1, 128)]
)
def test_rotation_is_the_reference(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    check_rotation(normal(*shape, dtype=dtype), normal(*shape, seed=1, dtype=dtype))


def test_a_table_as_narrow_as_x() -> None:
    shape = (1, 5, 2, 32)
    check_rotation(
        normal(*shape, dtype=torch.float16), normal(*shape, seed=1, dtype=torch.float16), torch.float16
    )


def test_parts_of_a_fused_projection_and_gradients_that_lie_otherwise() -> None:
    fused = normal(2, 5, 3, 4, 32, dtype=torch.float32)
    other = normal(2, 4, 5, 32, seed=1, dtype=torch.float32).transpose(1, 2)
    for part in range(3):
        check_rotation(fused[:, :, part], other)
    check_rotation(
        normal(2, 3, 5, 6, dtype=torch.float32).transpose(1, 2),
        torch.ones((), device=DEVICE).expand(2, 5, 3, 6),
    )
    check_rotation(
        normal(1, 1, 1, 8, dtype=torch.float32).expand(2, 5, 3, 8), torch.ones(2, 5, 3, 8, device=DEVICE)
    )


def test_rotation_of_nothing() -> None:
    for shape in ((0, 3, 2, 8), (2, 0, 2, 8), (2, 3, 0, 8)):
        x = torch.zeros(shape, device=DEVICE, requires_grad=True)
        table = rotary_table(torch.zeros(shape[:2], dtype=torch.int64, device=DEVICE), 8, BASE, torch.float32)
        out = rotate(x, table)
        assert out.shape == shape
        out.sum().backward()


# torch's own rules


def layer(x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return 2 * rotate(rms_norm(x, weight, EPSILON) * 1.5, (cos, sin))


@pytest.mark.parametrize("path", ["triton", "torch"])
def test_compiled_without_a_break_it_is_the_same(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKEY_NORM", path)
    x = normal(2, 3, 2, 8, dtype=torch.float32).requires_grad_()
    weight = normal(8, seed=1, dtype=torch.float32).requires_grad_()
    table = rotary_table(positions_of(2, 3), 8, BASE, torch.float32)
    grad_out = normal(2, 3, 2, 8, seed=2, dtype=torch.float32)
    torch._dynamo.reset()
    for autocast in (False, True):
        runs = []
        for run in (layer, torch.compile(layer, backend="aot_eager", fullgraph=True)):
            with torch.autocast(DEVICE, dtype=torch.float16, enabled=autocast):
                out = run(x, weight, *table)
            runs.append([out, *torch.autograd.grad(out, (x, weight), grad_out.to(out.dtype))])
        assert runs[0][0].dtype == (torch.float16 if autocast else torch.float32)
        for eager, compiled in zip(*runs, strict=True):
            torch.testing.assert_close(compiled, eager, rtol=0, atol=1e-6)


def test_the_operators_keep_torchs_rules() -> None:
    """Schema, fake tensors and autograd registration, by torch's own checker."""
    x = normal(3, 8, dtype=torch.float32).requires_grad_()
    weight = normal(8, seed=1, dtype=torch.float32).requires_grad_()
    torch.library.opcheck(fused_norm.rms_norm, (x, weight, EPSILON, torch.float16))
    torch.library.opcheck(
        fused_norm.rms_norm_backward,
        (x.detach().half(), x.detach(), weight.detach(), torch.ones(3, device=DEVICE)),
    )
    x_bthk = normal(2, 3, 2, 8, dtype=torch.float32).requires_grad_()
    table = rotary_table(positions_of(2, 3), 8, BASE, torch.float32)
    torch.library.opcheck(fused_norm.rotate, (x_bthk, *table, False))


def test_a_fused_norm_cannot_be_differentiated_twice_and_says_so() -> None:
    x = normal(2, 8, dtype=torch.float32).requires_grad_()
    weight = torch.ones(8, device=DEVICE, requires_grad=True)
    (grad_x,) = torch.autograd.grad(rms_norm(x, weight, EPSILON).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="rms_norm_backward"):
        torch.autograd.grad(grad_x.sum(), x)


# Ahead of time, for sm_90


def norm_case(kernel: str, width: int, dtype: str) -> dict[str, Any]:
    forward = kernel == "norm_forward_kernel"
    launch = (fused_norm.forward_launch if forward else fused_norm.backward_launch)(width)
    if forward:
        signature = {"x_ptr": dtype, "weight_ptr": "*fp32", "out_ptr": "*bf16", "rstd_ptr": "*fp32"}
        signature |= {"row_stride": "i32", "num_rows": "i32", "epsilon": "fp32"}
    else:
        signature = {"grad_out_ptr": "*bf16", "x_ptr": dtype, "weight_ptr": "*fp32", "rstd_ptr": "*fp32"}
        signature |= {"grad_x_ptr": dtype, "partial_ptr": "*fp32", "grad_out_stride": "i32"}
        signature |= {"row_stride": "i32", "num_rows": "i32", "num_programs": "i32"}
    return {
        "kernel": f"fedkey_kernels.fused_norm:{kernel}",
        "signature": signature,
        "constants": {"WIDTH": width, "BLOCK_R": launch.BLOCK_R, "BLOCK_D": launch.BLOCK_D},
        "aligned": [name for name in signature if name.endswith(("_ptr", "_stride"))],
        "num_warps": launch.num_warps,
        "num_stages": launch.num_stages,
    }


def rotate_case(head_size: int, inverse: bool) -> dict[str, Any]:
    launch = fused_norm.rotate_launch(head_size)
    signature = {"x_ptr": "*bf16", "cos_ptr": "*fp32", "sin_ptr": "*fp32", "out_ptr": "*bf16"}
    signature |= {"stride_b": "i32", "stride_t": "i32", "stride_h": "i32"}
    signature |= {"num_rows": "i32", "num_positions": "i32", "num_heads": "i32"}
    return {
        "kernel": "fedkey_kernels.fused_norm:rotate_kernel",
        "signature": signature,
        "constants": {"NUM_PAIRS": head_size // 2, "INVERSE": inverse}
        | {"BLOCK_R": launch.BLOCK_R, "BLOCK_P": launch.BLOCK_P},
        "aligned": [name for name in signature if not name.startswith("num_")],
        "num_warps": launch.num_warps,
        "num_stages": launch.num_stages,
    }


@pytest.mark.slow
def test_compiled_for_an_h200(
    compile_for_hopper: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
) -> None:
    """Widths of the presets, and the largest row that a kernel holds; residuals in float32 as autocast keeps
    them, or in bf16."""
    cases = [norm_case("norm_forward_kernel", *shape) for shape in ((320, "*fp32"), (768, "*bf16"))]
    shapes = [(128, "*fp32"), (320, "*fp32"), (LARGEST_WIDTH, "*fp32")]
    cases += [norm_case("norm_backward_kernel", *shape) for shape in shapes]
    cases += [rotate_case(32, False)]
    for case, report in zip(cases, compile_for_hopper(cases), strict=True):
        assert (report["stack"], report["spilled"]) == (0, 0), case
        # Six programs of the forward and of the rotation on a multiprocessor; 16 warps of the backward.
        assert report["registers"] <= (128 if "backward" in report["kernel"] else 80), case
        # Weights, row sums and the first addresses may be narrow; what is loaded in bulk is not.
        narrow = sum(count for width, count in report["global_loads"].items() if width != "128")
        bulk = report["global_loads"]["128"]
        assert bulk >= 4, case
        assert narrow <= bulk, case


# On a GPU

gpu = pytest.mark.gpu


@gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    "shape", [(1, 1), (5000, 128), (16, 1024, 256), (3000, 320), (2049, 768), (700, 4096), (99, 8192)]
)
def test_on_a_gpu_rms_norm_is_the_reference(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = normal(*shape, dtype=dtype)
    weight = normal(shape[-1], seed=1, dtype=torch.float32)
    check_norm(x, weight, normal(*shape, seed=2, dtype=dtype))


@gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("head_size", [32, 64, 80, 96, 128])
def test_on_a_gpu_rotation_is_the_reference(head_size: int, dtype: torch.dtype) -> None:
    fused = normal(4, 1000, 3, 8, head_size, dtype=dtype)
    grad_out = normal(4, 1000, 8, head_size, seed=1, dtype=dtype)
    for part in range(2):
        check_rotation(fused[:, :, part], grad_out)


@gpu
def test_on_a_gpu_two_runs_give_the_same_bits() -> None:
    x = normal(50_000, 768, dtype=torch.bfloat16).requires_grad_()
    weight = normal(768, seed=1, dtype=torch.float32).requires_grad_()
    grad_out = normal(50_000, 768, seed=2, dtype=torch.bfloat16)
    runs = []
    for _ in range(2):
        out = rms_norm(x, weight, EPSILON)
        runs.append([out, *torch.autograd.grad(out, (x, weight), grad_out)])
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)


@gpu
def test_on_a_gpu_compiled_without_a_break_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDKEY_NORM")  # the default there
    x = normal(4, 500, 8, 64, dtype=torch.float32).requires_grad_()
    weight = normal(64, seed=1, dtype=torch.float32).requires_grad_()
    table = rotary_table(positions_of(4, 500), 64, BASE, torch.float32)
    grad_out = normal(4, 500, 8, 64, seed=2, dtype=torch.bfloat16)
    runs = []
    for run in (layer, torch.compile(layer, fullgraph=True)):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            out = run(x, weight, *table)
        assert out.dtype == torch.bfloat16
        runs.append([out, *torch.autograd.grad(out, (x, weight), grad_out)])
    for eager, compiled in zip(*runs, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=2e-2, atol=2e-2)


@gpu
def test_on_a_gpu_more_entries_than_an_int32_counts() -> None:
    """Rows behind entry 2^31 are read and written where they are."""
    width = 4096
    num_rows = 2**31 // width + 3
    if torch.cuda.mem_get_info()[0] < 20 * 2**30:
        pytest.skip("needs 20 GB")
    x = torch.zeros(num_rows, width, dtype=torch.bfloat16, device=DEVICE)
    x[-3:] = normal(3, width, dtype=torch.bfloat16)
    weight = normal(width, seed=1, dtype=torch.float32)
    out = rms_norm(x, weight, EPSILON)
    expected = reference.rms_norm(x[-3:].float(), weight, EPSILON)
    torch.testing.assert_close(out[-3:].float(), expected, rtol=1e-2, atol=1e-2)
    assert not out[:-3].any()
    table = rotary_table(torch.zeros(1, num_rows, dtype=torch.int64, device=DEVICE), 64, BASE, torch.float32)
    heads = x.view(1, num_rows, width // 64, 64)
    assert torch.equal(rotate(heads, table), heads)
