"""Attention for documents that fit one tile: one program, one tile of scores, one softmax.

In: queries, keys, values and where each position's document starts and ends, packed so that no document
crosses a multiple of the tile. Out: attended values and their gradients. Next stop:
`fedkey_kernels.flash_attention`, which does the rest.

Keyboard messages are short. A kernel that works document by document computes a whole block of scores for
each, 22 to 84 times more than the pairs that matter when documents hold 60 to 15 positions; packed to the
tile they share one. With a single tile there is nothing to do on line and nothing to keep for the backward
pass: it computes the softmax again, has whole rows at hand, and gives dq, dk and dv in one kernel. For one
head of one tile, with S = q k^T / sqrt(K) where visible and minus infinity elsewhere:

    P = softmax(S),  O = P v
    dv = P^T dO,  dP = dO v^T,  dS = P * (dP - rowsum(P * dP)),  dq = dS k / sqrt(K),  dk = dS^T q / sqrt(K)

FlashAttention (Dao et al. 2022, 2205.14135) keeps log-sum-exp and rowsum(dO * O) for this because its rows
are spread over many blocks; rowsum(P * dP) is the same number. Bytes: q, k, v and O once forward; q, k, v, dO
and three gradients once backward.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def in_reach(query, key, CAUSAL: tl.constexpr, WINDOW: tl.constexpr):
    """Whether `causal` and `window` let each query attend to each key of its document."""
    near = query == query
    if CAUSAL:
        near = near & (key <= query)
    if WINDOW > 0:
        near = near & (query - key < WINDOW)
        if not CAUSAL:
            near = near & (key - query < WINDOW)
    return near


@triton.jit
def load_bounds(starts_ptr, ends_ptr, positions, num_positions):
    """Document bounds of some positions of a row. Positions behind the row are documents of their own."""
    starts = tl.load(starts_ptr + positions, mask=positions < num_positions, other=0)
    ends = tl.load(ends_ptr + positions, mask=positions < num_positions, other=0)
    behind = positions >= num_positions
    return tl.where(behind, positions, starts), tl.where(behind, positions + 1, ends)


@triton.jit
def load_rows(
    pointer,
    rows,
    row_stride,
    num_rows,
    HEAD_SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    CHECKED: tl.constexpr,
):
    """[rows, K] of one head; zeros behind the last column and, if CHECKED, behind the last row."""
    columns = tl.arange(0, BLOCK_K)
    addresses = pointer + rows[:, None] * row_stride + columns[None, :]
    if HEAD_SIZE == BLOCK_K and not CHECKED:
        return tl.load(addresses)
    mask = (rows[:, None] < num_rows) & (columns[None, :] < HEAD_SIZE)
    return tl.load(addresses, mask=mask, other=0.0)


@triton.jit
def store_rows(pointer, rows, row_stride, num_rows, values, HEAD_SIZE: tl.constexpr, BLOCK_K: tl.constexpr):
    """The counterpart of `load_rows`, always checked."""
    columns = tl.arange(0, BLOCK_K)
    addresses = pointer + rows[:, None] * row_stride + columns[None, :]
    mask = (rows[:, None] < num_rows) & (columns[None, :] < HEAD_SIZE)
    tl.store(addresses, values.to(pointer.dtype.element_ty), mask=mask)


@triton.jit
def forward_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    starts_ptr,
    ends_ptr,
    out_ptr,
    q_stride_b,
    q_stride_t,
    q_stride_h,
    k_stride_b,
    k_stride_t,
    k_stride_g,
    v_stride_b,
    v_stride_t,
    v_stride_g,
    num_positions,
    num_heads,
    num_tiles,
    scale,
    GROUP: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    TILE: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
):
    """One query head of one tile. Heads are the fastest axis: neighbours in a group read the same keys."""
    head = tl.program_id(0) % num_heads
    tile = tl.program_id(0) // num_heads % num_tiles
    row = (tl.program_id(0) // num_heads // num_tiles).to(tl.int64)
    positions = tile * TILE + tl.arange(0, TILE)
    q = load_rows(
        q_ptr + row * q_stride_b + head * q_stride_h,
        positions,
        q_stride_t,
        num_positions,
        HEAD_SIZE,
        BLOCK_K,
        True,
    )
    k = load_rows(
        k_ptr + row * k_stride_b + head // GROUP * k_stride_g,
        positions,
        k_stride_t,
        num_positions,
        HEAD_SIZE,
        BLOCK_K,
        True,
    )
    v = load_rows(
        v_ptr + row * v_stride_b + head // GROUP * v_stride_g,
        positions,
        v_stride_t,
        num_positions,
        HEAD_SIZE,
        BLOCK_K,
        True,
    )
    starts, ends = load_bounds(
        starts_ptr + row * num_positions, ends_ptr + row * num_positions, positions, num_positions
    )
    seen = (positions[None, :] >= starts[:, None]) & (positions[None, :] < ends[:, None])
    seen = seen & in_reach(positions[:, None], positions[None, :], CAUSAL, WINDOW)
    scores = tl.dot(q, tl.trans(k), input_precision="ieee")
    scores = tl.where(seen, scores, float("-inf"))
    weights = tl.exp2((scores - tl.max(scores, axis=1)[:, None]) * (scale * LOG2_E))
    total = tl.sum(weights, axis=1)
    out = tl.dot(weights.to(v.dtype), v, input_precision="ieee") / total[:, None]
    store_rows(
        out_ptr + (row * num_positions * num_heads + head) * HEAD_SIZE,
        positions,
        num_heads * HEAD_SIZE,
        num_positions,
        out,
        HEAD_SIZE,
        BLOCK_K,
    )


@triton.jit
def backward_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    grad_out_ptr,
    starts_ptr,
    ends_ptr,
    grad_q_ptr,
    grad_k_ptr,
    grad_v_ptr,
    q_stride_b,
    q_stride_t,
    q_stride_h,
    k_stride_b,
    k_stride_t,
    k_stride_g,
    v_stride_b,
    v_stride_t,
    v_stride_g,
    o_stride_b,
    o_stride_t,
    o_stride_h,
    num_positions,
    num_groups,
    num_tiles,
    scale,
    GROUP: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
):
    """One key/value head of one tile, with all query heads that read it: their sums need no atomics."""
    group = tl.program_id(0) % num_groups
    tile = tl.program_id(0) // num_groups % num_tiles
    row = (tl.program_id(0) // num_groups // num_tiles).to(tl.int64)
    positions = tile * TILE + tl.arange(0, TILE)
    k = load_rows(
        k_ptr + row * k_stride_b + group * k_stride_g,
        positions,
        k_stride_t,
        num_positions,
        HEAD_SIZE,
        BLOCK_K,
        True,
    )
    v = load_rows(
        v_ptr + row * v_stride_b + group * v_stride_g,
        positions,
        v_stride_t,
        num_positions,
        HEAD_SIZE,
        BLOCK_K,
        True,
    )
    grad_k = tl.zeros([TILE, BLOCK_K], dtype=tl.float32)
    grad_v = tl.zeros([TILE, BLOCK_K], dtype=tl.float32)
    for part in range(GROUP * (TILE // BLOCK_Q)):
        head = group * GROUP + part // (TILE // BLOCK_Q)
        queries = tile * TILE + part % (TILE // BLOCK_Q) * BLOCK_Q + tl.arange(0, BLOCK_Q)
        q_head_ptr = q_ptr + row * q_stride_b + head * q_stride_h
        q = load_rows(q_head_ptr, queries, q_stride_t, num_positions, HEAD_SIZE, BLOCK_K, True)
        grad_out_head_ptr = grad_out_ptr + row * o_stride_b + head * o_stride_h
        grad_out = load_rows(grad_out_head_ptr, queries, o_stride_t, num_positions, HEAD_SIZE, BLOCK_K, True)
        starts, ends = load_bounds(
            starts_ptr + row * num_positions, ends_ptr + row * num_positions, queries, num_positions
        )
        # Scores lie transposed, keys by queries: as such they are the left operands that dv and dk need.
        seen = (positions[:, None] >= starts[None, :]) & (positions[:, None] < ends[None, :])
        seen = seen & in_reach(queries[None, :], positions[:, None], CAUSAL, WINDOW)
        scores = tl.dot(k, tl.trans(q), input_precision="ieee")
        scores = tl.where(seen, scores, float("-inf"))
        weights = tl.exp2((scores - tl.max(scores, axis=0)[None, :]) * (scale * LOG2_E))
        weights = weights / tl.sum(weights, axis=0)[None, :]
        grad_v += tl.dot(weights.to(v.dtype), grad_out, input_precision="ieee")
        grad_weights = tl.dot(v, tl.trans(grad_out), input_precision="ieee")
        grad_scores = weights * (grad_weights - tl.sum(weights * grad_weights, axis=0)[None, :])
        grad_scores = grad_scores.to(q.dtype)
        grad_k += tl.dot(grad_scores, q, input_precision="ieee")
        grad_q = tl.dot(tl.trans(grad_scores), k, input_precision="ieee") * scale
        store_rows(
            grad_q_ptr + (row * num_positions * num_groups * GROUP + head) * HEAD_SIZE,
            queries,
            num_groups * GROUP * HEAD_SIZE,
            num_positions,
            grad_q,
            HEAD_SIZE,
            BLOCK_K,
        )
    first = (row * num_positions * num_groups + group) * HEAD_SIZE
    stride = num_groups * HEAD_SIZE
    store_rows(grad_k_ptr + first, positions, stride, num_positions, grad_k * scale, HEAD_SIZE, BLOCK_K)
    store_rows(grad_v_ptr + first, positions, stride, num_positions, grad_v, HEAD_SIZE, BLOCK_K)


class Launch(NamedTuple):
    """How a kernel is launched: choices that keep everything in registers on sm_90 with Triton 3.6, 3.7 and
    3.9, as ahead-of-time compilation shows."""

    num_warps: int
    num_stages: int


def forward_launch(tile: int, block_k: int) -> Launch:
    """Few warps, so that three programs fit a multiprocessor and one loads while another computes."""
    return Launch(num_warps=4 if tile <= 64 or block_k <= 64 else 8, num_stages=1)


def backward_launch(tile: int, block_k: int) -> Launch:
    """The loop over queries runs without pipelining: what it loads is small, and registers are short."""
    return Launch(num_warps=4 if tile <= 64 and block_k <= 64 else 8, num_stages=1)


BLOCK_Q = 32
"""Queries that the backward pass takes at a time: with 64 the scores of a tile of 128 spill."""


def padded(head_size: int) -> int:
    """The power of two, at least 16, that Triton's blocks need."""
    return max(16, triton.next_power_of_2(head_size))


def head_strides(*tensors: Tensor) -> list[int]:
    """Strides of rows, positions and heads of each tensor, as the kernels take them."""
    return [stride for tensor in tensors for stride in tensor.stride()[:3]]


def like(tensor: Tensor) -> Tensor:
    """An empty contiguous tensor of the same shape, dtype and device."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)


@torch.library.custom_op("fedkey::tile_attention", mutates_args=())
def tile_attention(
    q_bthk: Tensor,
    k_btgk: Tensor,
    v_btgk: Tensor,
    starts_bt: Tensor,
    ends_bt: Tensor,
    causal: bool,
    window: int,
    tile: int,
) -> Tensor:
    """Attended values [B, T, H, K] in q's dtype; the arguments are those of `fedkey_kernels.attention`, which
    checks them."""
    num_rows, num_positions, num_heads, head_size = q_bthk.shape
    out_bthk = like(q_bthk)
    if out_bthk.numel() == 0:
        return out_bthk
    num_tiles = triton.cdiv(num_positions, tile)
    block_k = padded(head_size)
    forward_kernel[(num_rows * num_tiles * num_heads,)](
        q_bthk,
        k_btgk,
        v_btgk,
        starts_bt,
        ends_bt,
        out_bthk,
        *head_strides(q_bthk, k_btgk, v_btgk),
        num_positions,
        num_heads,
        num_tiles,
        head_size**-0.5,
        GROUP=num_heads // k_btgk.shape[2],
        HEAD_SIZE=head_size,
        BLOCK_K=block_k,
        TILE=tile,
        CAUSAL=causal,
        WINDOW=window,
        **forward_launch(tile, block_k)._asdict(),
    )
    return out_bthk


@torch.library.custom_op("fedkey::tile_attention_backward", mutates_args=())
def tile_attention_backward(
    grad_out_bthk: Tensor,
    q_bthk: Tensor,
    k_btgk: Tensor,
    v_btgk: Tensor,
    starts_bt: Tensor,
    ends_bt: Tensor,
    causal: bool,
    window: int,
    tile: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, each in its own shape and dtype, contiguous."""
    num_rows, num_positions, num_heads, head_size = q_bthk.shape
    num_groups = k_btgk.shape[2]
    if grad_out_bthk.stride(-1) != 1:  # such as the gradient of a sum, which is one number expanded
        grad_out_bthk = grad_out_bthk.contiguous()
    gradients = like(q_bthk), like(k_btgk), like(v_btgk)
    if grad_out_bthk.numel() == 0:
        return gradients
    num_tiles = triton.cdiv(num_positions, tile)
    block_k = padded(head_size)
    backward_kernel[(num_rows * num_tiles * num_groups,)](
        q_bthk,
        k_btgk,
        v_btgk,
        grad_out_bthk,
        starts_bt,
        ends_bt,
        *gradients,
        *head_strides(q_bthk, k_btgk, v_btgk, grad_out_bthk),
        num_positions,
        num_groups,
        num_tiles,
        head_size**-0.5,
        GROUP=num_heads // num_groups,
        HEAD_SIZE=head_size,
        BLOCK_K=block_k,
        TILE=tile,
        BLOCK_Q=min(BLOCK_Q, tile),
        CAUSAL=causal,
        WINDOW=window,
        **backward_launch(tile, block_k)._asdict(),
    )
    return gradients


@tile_attention.register_fake
def _(q_bthk: Tensor, *_: Any) -> Tensor:
    return like(q_bthk)


@tile_attention_backward.register_fake
def _(
    grad_out_bthk: Tensor, q_bthk: Tensor, k_btgk: Tensor, v_btgk: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return like(q_bthk), like(k_btgk), like(v_btgk)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.causal, ctx.window, ctx.tile = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad_out_bthk: Tensor) -> tuple[Tensor | None, ...]:
    gradients = tile_attention_backward(grad_out_bthk, *ctx.saved_tensors, ctx.causal, ctx.window, ctx.tile)
    return *gradients, None, None, None, None, None


tile_attention.register_autograd(_backward, setup_context=_setup)
