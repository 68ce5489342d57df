"""RMSNorm and rotary positions in Triton, forward and backward.

In: activations in bf16, fp16 or float32. Out: activations or gradients; all arithmetic is float32. Next stop:
`fedkey_kernels.loss`.

Both only move bytes, so each reads its inputs once and writes its outputs once. RMSNorm, with D the width and
r = 1 / sqrt(mean(x^2) + epsilon), which the forward keeps for the backward (Zhang and Sennrich 2019,
1910.07467):

    y = x r w,   dx = r (w dy - x r mean(w dy x r)),   dw = sum over rows of dy x r

The sum for dw is split over a fixed number of programs, each of which writes one row of partial sums; their
sum is torch's. No atomics, so that two runs give the same bits.

Rotary positions are a rotation of every pair (x[i], x[i + K/2]), and its gradient is the rotation back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

FORWARD_TILE = 4096
"""Entries that a program of RMSNorm's forward holds, if the width allows: 32 to a thread."""
BACKWARD_TILE = 2048
"""The same for the backward, which holds two tensors and the sums. With 4096 it takes up to 181 registers for
sm_90, and only two or three programs fit a multiprocessor."""
NUM_WARPS = 2112
"""Of RMSNorm's backward, which share the rows: 16 for each of an H200's 132 multiprocessors. With at most 128
registers all of them run at once, so that equal shares end together."""
PAIRS = 2048
"""Pairs that a program of the rotation turns."""


class NormLaunch(NamedTuple):
    """How RMSNorm's kernels are launched and, ahead of time, compiled."""

    BLOCK_R: int
    BLOCK_D: int
    num_warps: int
    num_stages: int = 1


def forward_launch(width: int) -> NormLaunch:
    """Several rows per program where rows are short: one row of 128 would keep 256 bytes in flight."""
    return _norm_launch(width, FORWARD_TILE)


def backward_launch(width: int) -> NormLaunch:
    """As `forward_launch`."""
    return _norm_launch(width, BACKWARD_TILE)


def _norm_launch(width: int, tile: int) -> NormLaunch:
    block_d = max(16, triton.next_power_of_2(width))
    return NormLaunch(max(1, tile // block_d), block_d, max(1, block_d // tile) * 4)


class RotateLaunch(NamedTuple):
    """How the rotation is launched and, ahead of time, compiled."""

    BLOCK_R: int
    BLOCK_P: int
    num_warps: int = 4
    num_stages: int = 1


def rotate_launch(head_size: int) -> RotateLaunch:
    """Heads per program, and pairs of a head rounded up to a power of two."""
    block_p = triton.next_power_of_2(head_size // 2)
    return RotateLaunch(max(1, PAIRS // block_p), block_p)


@triton.jit
def norm_forward_kernel(
    x_ptr,
    weight_ptr,
    out_ptr,
    rstd_ptr,
    row_stride,
    num_rows,
    epsilon,
    WIDTH: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """BLOCK_R rows."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    columns = tl.arange(0, BLOCK_D)
    mask = (rows[:, None] < num_rows) & (columns[None, :] < WIDTH)
    x = tl.load(x_ptr + rows[:, None] * row_stride + columns[None, :], mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + columns, mask=columns < WIDTH, other=0.0).to(tl.float32)
    rstd = tl.rsqrt(tl.sum(x * x, axis=1) / WIDTH + epsilon)
    out = x * rstd[:, None] * weight[None, :]
    tl.store(out_ptr + rows[:, None] * WIDTH + columns[None, :], out.to(out_ptr.dtype.element_ty), mask=mask)
    tl.store(rstd_ptr + rows, rstd, mask=rows < num_rows)


@triton.jit
def norm_backward_kernel(
    grad_out_ptr,
    x_ptr,
    weight_ptr,
    rstd_ptr,
    grad_x_ptr,
    partial_ptr,
    grad_out_stride,
    row_stride,
    num_rows,
    num_programs,
    WIDTH: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Every num_programs-th block of BLOCK_R rows, and one row of partial sums for the weight."""
    columns = tl.arange(0, BLOCK_D)
    weight = tl.load(weight_ptr + columns, mask=columns < WIDTH, other=0.0).to(tl.float32)
    grad_weight = tl.zeros([BLOCK_R, BLOCK_D], dtype=tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(num_rows, BLOCK_R), num_programs):
        rows = tl.cast(block, tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
        mask = (rows[:, None] < num_rows) & (columns[None, :] < WIDTH)
        x = tl.load(x_ptr + rows[:, None] * row_stride + columns[None, :], mask=mask, other=0.0)
        grad_out = tl.load(
            grad_out_ptr + rows[:, None] * grad_out_stride + columns[None, :], mask=mask, other=0.0
        )
        grad_out = grad_out.to(tl.float32)
        rstd = tl.load(rstd_ptr + rows, mask=rows < num_rows, other=0.0)
        normed = x.to(tl.float32) * rstd[:, None]
        grad_weight += grad_out * normed
        grad_normed = grad_out * weight[None, :]
        mean = tl.sum(grad_normed * normed, axis=1) / WIDTH
        grad_x = (grad_normed - normed * mean[:, None]) * rstd[:, None]
        tl.store(
            grad_x_ptr + rows[:, None] * WIDTH + columns[None, :],
            grad_x.to(grad_x_ptr.dtype.element_ty),
            mask=mask,
        )
    tl.store(
        partial_ptr + tl.program_id(0) * WIDTH + columns, tl.sum(grad_weight, axis=0), mask=columns < WIDTH
    )


@triton.jit
def rotate_kernel(
    x_ptr,
    cos_ptr,
    sin_ptr,
    out_ptr,
    stride_b,
    stride_t,
    stride_h,
    num_rows,
    num_positions,
    num_heads,
    NUM_PAIRS: tl.constexpr,
    INVERSE: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """BLOCK_R heads, counted over rows, positions and heads: neighbours share a row of the table."""
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    pairs = tl.arange(0, BLOCK_P)
    mask = (rows[:, None] < num_rows) & (pairs[None, :] < NUM_PAIRS)
    tokens = rows // num_heads  # in 32 bits, where division is cheaper; addresses need 64
    starts = (tokens // num_positions).to(tl.int64) * stride_b
    starts += (tokens % num_positions).to(tl.int64) * stride_t + (rows % num_heads).to(tl.int64) * stride_h
    left_ptr = x_ptr + starts[:, None] + pairs[None, :]
    left = tl.load(left_ptr, mask=mask, other=0.0).to(tl.float32)
    right = tl.load(left_ptr + NUM_PAIRS, mask=mask, other=0.0).to(tl.float32)
    entries = tokens[:, None].to(tl.int64) * NUM_PAIRS + pairs[None, :]
    cos = tl.load(cos_ptr + entries, mask=mask, other=0.0).to(tl.float32)
    sin = tl.load(sin_ptr + entries, mask=mask, other=0.0).to(tl.float32)
    if INVERSE:
        sin = -sin
    out_left_ptr = out_ptr + rows[:, None].to(tl.int64) * (2 * NUM_PAIRS) + pairs[None, :]
    dtype = out_ptr.dtype.element_ty
    tl.store(out_left_ptr, (left * cos - right * sin).to(dtype), mask=mask)
    tl.store(out_left_ptr + NUM_PAIRS, (right * cos + left * sin).to(dtype), mask=mask)


def as_rows(x: Tensor) -> Tensor:
    """[..., D] as [rows, D] with D contiguous: a view if there is one."""
    rows_rd = x.reshape(-1, x.shape[-1])
    return rows_rd if rows_rd.stride(-1) == 1 or x.shape[-1] == 1 else rows_rd.contiguous()


@torch.library.custom_op("fedkey::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight_d: Tensor, epsilon: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x r w in `dtype` and x's shape, contiguous, and r in float32, one for each row.

    x [..., D] and weight [D] in bf16, fp16 or float32; `fedkey_kernels.norm` checks them.
    """
    x_rd = as_rows(x)
    num_rows, width = x_rd.shape
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    rstd_r = torch.empty(num_rows, dtype=torch.float32, device=x.device)
    if num_rows:
        launch = forward_launch(width)
        norm_forward_kernel[(triton.cdiv(num_rows, launch.BLOCK_R),)](
            x_rd,
            weight_d.contiguous(),
            out,
            rstd_r,
            x_rd.stride(0),
            num_rows,
            epsilon,
            WIDTH=width,
            **launch._asdict(),
        )
    return out, rstd_r


@torch.library.custom_op("fedkey::rms_norm_backward", mutates_args=())
def rms_norm_backward(grad_out: Tensor, x: Tensor, weight_d: Tensor, rstd_r: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x (contiguous) and of the weight, each in its own shape and dtype."""
    x_rd, grad_out_rd = as_rows(x), as_rows(grad_out)
    num_rows, width = x_rd.shape
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if not num_rows:
        return grad_x, torch.zeros_like(weight_d)
    launch = backward_launch(width)
    num_programs = min(NUM_WARPS // launch.num_warps, triton.cdiv(num_rows, launch.BLOCK_R))
    partial_pd = torch.empty(num_programs, width, dtype=torch.float32, device=x.device)
    norm_backward_kernel[(num_programs,)](
        grad_out_rd,
        x_rd,
        weight_d.contiguous(),
        rstd_r,
        grad_x,
        partial_pd,
        grad_out_rd.stride(0),
        x_rd.stride(0),
        num_rows,
        num_programs,
        WIDTH=width,
        **launch._asdict(),
    )
    return grad_x, partial_pd.sum(dim=0).to(weight_d.dtype)


@rms_norm.register_fake
def _(x: Tensor, weight_d: Tensor, epsilon: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    return out, torch.empty(x.shape[:-1].numel(), dtype=torch.float32, device=x.device)


@rms_norm_backward.register_fake
def _(grad_out: Tensor, x: Tensor, weight_d: Tensor, rstd_r: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device), torch.empty_like(weight_d)


def _norm_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight_d, _, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, weight_d, output[1])


def _norm_backward(ctx: Any, grad_out: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    grad_x, grad_weight_d = rms_norm_backward(grad_out, *ctx.saved_tensors)
    return grad_x, grad_weight_d, None, None


rms_norm.register_autograd(_norm_backward, setup_context=_norm_setup)


@torch.library.custom_op("fedkey::rotate", mutates_args=())
def rotate(x_bthk: Tensor, cos_bt1p: Tensor, sin_bt1p: Tensor, inverse: bool) -> Tensor:
    """x turned by the table's angles, or back; contiguous, in x's dtype. P = K / 2.

    x may have any strides but a contiguous K; `fedkey_kernels.norm` checks it and the table.
    """
    num_rows, num_positions, num_heads, head_size = x_bthk.shape
    out_bthk = torch.empty(x_bthk.shape, dtype=x_bthk.dtype, device=x_bthk.device)
    if not out_bthk.numel():
        return out_bthk
    launch = rotate_launch(head_size)
    count = num_rows * num_positions * num_heads
    rotate_kernel[(triton.cdiv(count, launch.BLOCK_R),)](
        x_bthk,
        cos_bt1p.contiguous(),
        sin_bt1p.contiguous(),
        out_bthk,
        *x_bthk.stride()[:3],
        count,
        num_positions,
        num_heads,
        NUM_PAIRS=head_size // 2,
        INVERSE=inverse,
        **launch._asdict(),
    )
    return out_bthk


@rotate.register_fake
def _(x_bthk: Tensor, cos_bt1p: Tensor, sin_bt1p: Tensor, inverse: bool) -> Tensor:
    return torch.empty(x_bthk.shape, dtype=x_bthk.dtype, device=x_bthk.device)


def _rotate_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, cos_bt1p, sin_bt1p, ctx.inverse = inputs
    ctx.save_for_backward(cos_bt1p, sin_bt1p)


def _rotate_backward(ctx: Any, grad_out_bthk: Tensor) -> tuple[Tensor | None, ...]:
    if grad_out_bthk.stride(-1) != 1:  # such as the gradient of a sum, which is one number expanded
        grad_out_bthk = grad_out_bthk.contiguous()
    return rotate(grad_out_bthk, *ctx.saved_tensors, not ctx.inverse), None, None, None


rotate.register_autograd(_rotate_backward, setup_context=_rotate_setup)
