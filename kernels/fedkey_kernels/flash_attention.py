"""FlashAttention for documents of any length, and for any pattern of blocks.

In: queries, keys, values and where each position's document starts and ends, or a bitmap of blocks. Out:
attended values and their gradients, in memory linear in the length. Next stop: `fedkey_kernels.loss`.

Forward (Dao et al. 2022, 2205.14135, algorithm 1, with the loops and the late division of FlashAttention-2,
2307.08691, section 3.1): a program takes a block of queries and walks over blocks of keys, with a running
maximum m, a running sum l and an unnormalised output,

    m' = max(m, max_j S_j),  P = exp(S - m'),  l <- l exp(m - m') + sum P,  O <- O exp(m - m') + P v,

and divides by l at the end. Only log-sum-exp, m + log l, is kept beside the output. Backward computes P anew
as exp(S - lse) and goes twice over the visible blocks, once with keys and once with queries held still:

    delta = rowsum(dO * O),  dS = P * (dO v^T - delta)
    dv = P^T dO,  dk = dS^T q / sqrt(K)   (a program for each block of keys, over the queries that see it)
    dq = dS k / sqrt(K)                   (a program for each block of queries)

Seven products of blocks instead of the five of one pass that adds dq with atomics: no race, so equal inputs
give equal gradients, and no second copy of dq in float32.

Blocks of which nothing is visible are never touched. Documents are runs, so the keys that a block of queries
may see are one interval: from the first query's document start (or window) to the last one's end (or itself,
if causal). Inside it lies an interval, possibly empty, in which all queries see all keys, where no mask is
computed. In block-sparse attention (2205.14135, section 3.3) a list of the blocks that the bitmap holds takes
the interval's place, so that cost is proportional to density.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from fedkey_kernels.tile_attention import (
    LOG2_E,
    Launch,
    head_strides,
    in_reach,
    like,
    load_rows,
    padded,
    store_rows,
)


@triton.jit
def key_interval(
    starts_m,
    ends_m,
    first_query,
    last_query,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Which keys a block of queries may see, in blocks: from `low` on, `num_before` blocks of which some may
    be seen, then those from `full_low` to `full_high`, which all queries see, then others again; in all
    `num_masked` blocks need a mask. `masked_block` finds them."""
    low = tl.min(starts_m)
    high = tl.max(ends_m)
    full_low = tl.max(starts_m)
    full_high = tl.min(ends_m)
    if CAUSAL:
        high = tl.minimum(high, last_query + 1)
        full_high = tl.minimum(full_high, first_query + 1)
    if WINDOW > 0:
        low = tl.maximum(low, first_query - WINDOW + 1)
        full_low = tl.maximum(full_low, last_query - WINDOW + 1)
        if not CAUSAL:
            high = tl.minimum(high, last_query + WINDOW)
            full_high = tl.minimum(full_high, first_query + WINDOW)
    low = low // BLOCK_N * BLOCK_N
    full_low = tl.cdiv(full_low, BLOCK_N) * BLOCK_N
    full_high = full_high // BLOCK_N * BLOCK_N
    # An empty middle leaves everything to the blocks before it.
    full_low = tl.minimum(full_low, tl.cdiv(high, BLOCK_N) * BLOCK_N)
    full_high = tl.maximum(full_low, full_high)
    num_before = (full_low - low) // BLOCK_N
    return low, num_before, num_before + tl.cdiv(high - full_high, BLOCK_N), full_low, full_high


@triton.jit
def query_interval(
    starts_n, ends_n, first_key, last_key, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, BLOCK_M: tl.constexpr
):
    """The queries that may see a block of keys, as `key_interval` has it."""
    low = tl.min(starts_n)
    high = tl.max(ends_n)
    full_low = tl.max(starts_n)
    full_high = tl.min(ends_n)
    if CAUSAL:
        low = tl.maximum(low, first_key)
        full_low = tl.maximum(full_low, last_key)
    if WINDOW > 0:
        high = tl.minimum(high, last_key + WINDOW)
        full_high = tl.minimum(full_high, first_key + WINDOW)
        if not CAUSAL:
            low = tl.maximum(low, first_key - WINDOW + 1)
            full_low = tl.maximum(full_low, last_key - WINDOW + 1)
    low = low // BLOCK_M * BLOCK_M
    full_low = tl.cdiv(full_low, BLOCK_M) * BLOCK_M
    full_high = full_high // BLOCK_M * BLOCK_M
    full_low = tl.minimum(full_low, tl.cdiv(high, BLOCK_M) * BLOCK_M)
    full_high = tl.maximum(full_low, full_high)
    num_before = (full_low - low) // BLOCK_M
    return low, num_before, num_before + tl.cdiv(high - full_high, BLOCK_M), full_low, full_high


@triton.jit
def masked_block(index, low, num_before, full_low, full_high, BLOCK: tl.constexpr):
    """First position of masked block `index`: one loop goes over those before the middle and those behind it,
    since every loop in a kernel costs registers (with three of them `key_kernel` spilled at heads of 128)."""
    return low + index * BLOCK + (index >= num_before).to(tl.int32) * (full_high - full_low)


@triton.jit
def clamped_bounds(starts_ptr, ends_ptr, positions, num_positions):
    """Document bounds of some positions of a row; positions behind the row repeat the last one's."""
    positions = tl.minimum(positions, num_positions - 1)
    return tl.load(starts_ptr + positions), tl.load(ends_ptr + positions)


@triton.jit
def attend(
    top_m,
    total_m,
    out_mk,
    q_mk,
    k_ptr,
    v_ptr,
    k_stride_t,
    v_stride_t,
    queries_m,
    starts_m,
    ends_m,
    first_key,
    num_positions,
    scale,
    HEAD_SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    MASKED: tl.constexpr,
):
    """One step of the running softmax, base 2: a block of keys joins what the queries have seen so far."""
    keys_n = tl.multiple_of(first_key, BLOCK_N) + tl.arange(0, BLOCK_N)
    k_nk = load_rows(k_ptr, keys_n, k_stride_t, num_positions, HEAD_SIZE, BLOCK_K, MASKED)
    v_nk = load_rows(v_ptr, keys_n, v_stride_t, num_positions, HEAD_SIZE, BLOCK_K, MASKED)
    scores_mn = tl.dot(q_mk, tl.trans(k_nk), input_precision="ieee")
    if MASKED:
        seen_mn = (keys_n[None, :] >= starts_m[:, None]) & (keys_n[None, :] < ends_m[:, None])
        seen_mn = seen_mn & in_reach(queries_m[:, None], keys_n[None, :], CAUSAL, WINDOW)
        scores_mn = tl.where(seen_mn, scores_mn, float("-inf"))
    # The maximum is scaled, not the scores: theirs is one fused multiply-add with the subtraction below.
    new_top_m = tl.maximum(top_m, tl.max(scores_mn, axis=1) * (scale * LOG2_E))
    finite_top_m = new_top_m
    if MASKED:  # a query that has seen nothing yet: minus infinity less minus infinity would be NaN
        finite_top_m = tl.where(new_top_m == float("-inf"), 0.0, new_top_m)
    weights_mn = tl.exp2(scores_mn * (scale * LOG2_E) - finite_top_m[:, None])
    shrink_m = tl.exp2(top_m - finite_top_m)
    total_m = total_m * shrink_m + tl.sum(weights_mn, axis=1)
    out_mk = out_mk * shrink_m[:, None]
    out_mk += tl.dot(weights_mn.to(v_nk.dtype), v_nk, input_precision="ieee")
    return new_top_m, total_m, out_mk


@triton.jit
def forward_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    starts_ptr,
    ends_ptr,
    blocks_ptr,
    counts_ptr,
    out_ptr,
    lse_ptr,
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
    blocks_stride,
    scale,
    GROUP: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    SPARSE: tl.constexpr,
):
    """A block of queries of one head. The last block, which is the longest if causal, starts first."""
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    head = tl.program_id(1) % num_heads
    row = (tl.program_id(1) // num_heads).to(tl.int64)
    queries_m = block * BLOCK_M + tl.arange(0, BLOCK_M)
    q_head_ptr = q_ptr + row * q_stride_b + head * q_stride_h
    k_head_ptr = k_ptr + row * k_stride_b + head // GROUP * k_stride_g
    v_head_ptr = v_ptr + row * v_stride_b + head // GROUP * v_stride_g
    q_mk = load_rows(q_head_ptr, queries_m, q_stride_t, num_positions, HEAD_SIZE, BLOCK_K, True)
    top_m = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    total_m = tl.zeros([BLOCK_M], dtype=tl.float32)
    out_mk = tl.zeros([BLOCK_M, BLOCK_K], dtype=tl.float32)
    if SPARSE > 0:
        starts_m = tl.zeros([BLOCK_M], dtype=tl.int32)
        ends_m = starts_m + num_positions
        line = block * BLOCK_M // SPARSE
        parts: tl.constexpr = SPARSE // BLOCK_N
        for part in range(tl.load(counts_ptr + line) * parts):
            first_key = tl.load(blocks_ptr + line * blocks_stride + part // parts) * SPARSE
            first_key += part % parts * BLOCK_N
            top_m, total_m, out_mk = attend(
                top_m, total_m, out_mk, q_mk, k_head_ptr, v_head_ptr, k_stride_t, v_stride_t, queries_m,
                starts_m, ends_m, first_key, num_positions, scale, HEAD_SIZE, BLOCK_K, BLOCK_N, CAUSAL,
                WINDOW, True,
            )  # fmt: skip
    else:
        starts_m, ends_m = clamped_bounds(
            starts_ptr + row * num_positions, ends_ptr + row * num_positions, queries_m, num_positions
        )
        last_query = tl.minimum(block * BLOCK_M + BLOCK_M, num_positions) - 1
        low, num_before, num_masked, full_low, full_high = key_interval(
            starts_m, ends_m, block * BLOCK_M, last_query, CAUSAL, WINDOW, BLOCK_N
        )
        for index in range(num_masked):
            first_key = masked_block(index, low, num_before, full_low, full_high, BLOCK_N)
            top_m, total_m, out_mk = attend(
                top_m, total_m, out_mk, q_mk, k_head_ptr, v_head_ptr, k_stride_t, v_stride_t, queries_m,
                starts_m, ends_m, first_key, num_positions, scale, HEAD_SIZE, BLOCK_K, BLOCK_N, CAUSAL,
                WINDOW, True,
            )  # fmt: skip
        for first_key in range(full_low, full_high, BLOCK_N):
            top_m, total_m, out_mk = attend(
                top_m, total_m, out_mk, q_mk, k_head_ptr, v_head_ptr, k_stride_t, v_stride_t, queries_m,
                starts_m, ends_m, first_key, num_positions, scale, HEAD_SIZE, BLOCK_K, BLOCK_N, CAUSAL,
                WINDOW, False,
            )  # fmt: skip
    blind_m = total_m == 0.0  # the bitmap leaves this query nothing: zeros, and weights of zero backward
    total_m = tl.where(blind_m, 1.0, total_m)
    lse_m = tl.where(blind_m, float("inf"), top_m + tl.log2(total_m))
    out_mk = out_mk / total_m[:, None]
    first = (row * num_positions * num_heads + head) * HEAD_SIZE
    store_rows(out_ptr + first, queries_m, num_heads * HEAD_SIZE, num_positions, out_mk, HEAD_SIZE, BLOCK_K)
    lse_row_ptr = lse_ptr + (row * num_heads + head) * num_positions
    tl.store(lse_row_ptr + queries_m, lse_m, mask=queries_m < num_positions)


@triton.jit
def delta_kernel(
    out_ptr,
    grad_out_ptr,
    delta_ptr,
    o_stride_b,
    o_stride_t,
    o_stride_h,
    num_positions,
    num_heads,
    HEAD_SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """rowsum(dO * O), once for both passes of the backward. `out` is contiguous, its gradient has strides."""
    head = tl.program_id(1) % num_heads
    row = (tl.program_id(1) // num_heads).to(tl.int64)
    queries_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    out_mk = load_rows(
        out_ptr + (row * num_positions * num_heads + head) * HEAD_SIZE,
        queries_m,
        num_heads * HEAD_SIZE,
        num_positions,
        HEAD_SIZE,
        BLOCK_K,
        True,
    )
    grad_head_ptr = grad_out_ptr + row * o_stride_b + head * o_stride_h
    grad_out_mk = load_rows(grad_head_ptr, queries_m, o_stride_t, num_positions, HEAD_SIZE, BLOCK_K, True)
    delta_m = tl.sum(out_mk.to(tl.float32) * grad_out_mk.to(tl.float32), axis=1)
    delta_row_ptr = delta_ptr + (row * num_heads + head) * num_positions
    tl.store(delta_row_ptr + queries_m, delta_m, mask=queries_m < num_positions)


@triton.jit
def key_step(
    grad_k_nk,
    grad_v_nk,
    k_nk,
    v_nk,
    q_ptr,
    grad_out_ptr,
    lse_ptr,
    delta_ptr,
    q_stride_t,
    o_stride_t,
    keys_n,
    starts_n,
    ends_n,
    first_query,
    num_positions,
    scale,
    HEAD_SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    MASKED: tl.constexpr,
):
    """What a block of queries adds to dk and dv. Scores lie transposed, keys by queries: as such they are the
    left operands that dv and dk need."""
    queries_m = tl.multiple_of(first_query, BLOCK_M) + tl.arange(0, BLOCK_M)
    q_mk = load_rows(q_ptr, queries_m, q_stride_t, num_positions, HEAD_SIZE, BLOCK_K, MASKED)
    grad_out_mk = load_rows(grad_out_ptr, queries_m, o_stride_t, num_positions, HEAD_SIZE, BLOCK_K, MASKED)
    if MASKED:
        inside_m = queries_m < num_positions
        lse_m = tl.load(lse_ptr + queries_m, mask=inside_m, other=0.0)
        delta_m = tl.load(delta_ptr + queries_m, mask=inside_m, other=0.0)
    else:
        lse_m = tl.load(lse_ptr + queries_m)
        delta_m = tl.load(delta_ptr + queries_m)
    scores_nm = tl.dot(k_nk, tl.trans(q_mk), input_precision="ieee") * (scale * LOG2_E)
    weights_nm = tl.exp2(scores_nm - lse_m[None, :])
    if MASKED:
        # In one document is a mutual relation: a query lies in the key's as the key lies in the query's.
        seen_nm = (queries_m[None, :] >= starts_n[:, None]) & (queries_m[None, :] < ends_n[:, None])
        seen_nm = seen_nm & in_reach(queries_m[None, :], keys_n[:, None], CAUSAL, WINDOW)
        weights_nm = tl.where(seen_nm, weights_nm, 0.0)
    grad_v_nk += tl.dot(weights_nm.to(v_nk.dtype), grad_out_mk, input_precision="ieee")
    grad_weights_nm = tl.dot(v_nk, tl.trans(grad_out_mk), input_precision="ieee")
    grad_scores_nm = weights_nm * (grad_weights_nm - delta_m[None, :])
    grad_k_nk += tl.dot(grad_scores_nm.to(q_mk.dtype), q_mk, input_precision="ieee")
    return grad_k_nk, grad_v_nk


@triton.jit
def key_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    grad_out_ptr,
    lse_ptr,
    delta_ptr,
    starts_ptr,
    ends_ptr,
    blocks_ptr,
    counts_ptr,
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
    blocks_stride,
    scale,
    GROUP: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    SPARSE: tl.constexpr,
):
    """dk and dv of a block of keys of one key/value head, over all query heads that read it. The first block,
    which most queries see if causal, starts first."""
    block = tl.program_id(0)
    group = tl.program_id(1) % num_groups
    row = (tl.program_id(1) // num_groups).to(tl.int64)
    num_heads = num_groups * GROUP
    keys_n = block * BLOCK_N + tl.arange(0, BLOCK_N)
    k_head_ptr = k_ptr + row * k_stride_b + group * k_stride_g
    v_head_ptr = v_ptr + row * v_stride_b + group * v_stride_g
    k_nk = load_rows(k_head_ptr, keys_n, k_stride_t, num_positions, HEAD_SIZE, BLOCK_K, True)
    v_nk = load_rows(v_head_ptr, keys_n, v_stride_t, num_positions, HEAD_SIZE, BLOCK_K, True)
    grad_k_nk = tl.zeros([BLOCK_N, BLOCK_K], dtype=tl.float32)
    grad_v_nk = tl.zeros([BLOCK_N, BLOCK_K], dtype=tl.float32)
    if SPARSE > 0:
        starts_n = tl.zeros([BLOCK_N], dtype=tl.int32)
        ends_n = starts_n + num_positions
    else:
        starts_n, ends_n = clamped_bounds(
            starts_ptr + row * num_positions, ends_ptr + row * num_positions, keys_n, num_positions
        )
        last_key = tl.minimum(block * BLOCK_N + BLOCK_N, num_positions) - 1
        low, num_before, num_masked, full_low, full_high = query_interval(
            starts_n, ends_n, block * BLOCK_N, last_key, CAUSAL, WINDOW, BLOCK_M
        )
    for member in range(GROUP):
        head = group * GROUP + member
        q_head_ptr = q_ptr + row * q_stride_b + head * q_stride_h
        grad_head_ptr = grad_out_ptr + row * o_stride_b + head * o_stride_h
        lse_row_ptr = lse_ptr + (row * num_heads + head) * num_positions
        delta_row_ptr = delta_ptr + (row * num_heads + head) * num_positions
        if SPARSE > 0:
            line = block * BLOCK_N // SPARSE
            parts: tl.constexpr = SPARSE // BLOCK_M
            for part in range(tl.load(counts_ptr + line) * parts):
                first_query = tl.load(blocks_ptr + line * blocks_stride + part // parts) * SPARSE
                first_query += part % parts * BLOCK_M
                grad_k_nk, grad_v_nk = key_step(
                    grad_k_nk, grad_v_nk, k_nk, v_nk, q_head_ptr, grad_head_ptr, lse_row_ptr, delta_row_ptr,
                    q_stride_t, o_stride_t, keys_n, starts_n, ends_n, first_query, num_positions, scale,
                    HEAD_SIZE, BLOCK_K, BLOCK_M, CAUSAL, WINDOW, True,
                )  # fmt: skip
        else:
            for index in range(num_masked):
                first_query = masked_block(index, low, num_before, full_low, full_high, BLOCK_M)
                grad_k_nk, grad_v_nk = key_step(
                    grad_k_nk, grad_v_nk, k_nk, v_nk, q_head_ptr, grad_head_ptr, lse_row_ptr, delta_row_ptr,
                    q_stride_t, o_stride_t, keys_n, starts_n, ends_n, first_query, num_positions, scale,
                    HEAD_SIZE, BLOCK_K, BLOCK_M, CAUSAL, WINDOW, True,
                )  # fmt: skip
            for first_query in range(full_low, full_high, BLOCK_M):
                grad_k_nk, grad_v_nk = key_step(
                    grad_k_nk, grad_v_nk, k_nk, v_nk, q_head_ptr, grad_head_ptr, lse_row_ptr, delta_row_ptr,
                    q_stride_t, o_stride_t, keys_n, starts_n, ends_n, first_query, num_positions, scale,
                    HEAD_SIZE, BLOCK_K, BLOCK_M, CAUSAL, WINDOW, False,
                )  # fmt: skip
    first = (row * num_positions * num_groups + group) * HEAD_SIZE
    stride = num_groups * HEAD_SIZE
    store_rows(grad_k_ptr + first, keys_n, stride, num_positions, grad_k_nk * scale, HEAD_SIZE, BLOCK_K)
    store_rows(grad_v_ptr + first, keys_n, stride, num_positions, grad_v_nk, HEAD_SIZE, BLOCK_K)


@triton.jit
def query_step(
    grad_q_mk,
    q_mk,
    grad_out_mk,
    lse_m,
    delta_m,
    k_ptr,
    v_ptr,
    k_stride_t,
    v_stride_t,
    queries_m,
    starts_m,
    ends_m,
    first_key,
    num_positions,
    scale,
    HEAD_SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    MASKED: tl.constexpr,
):
    """What a block of keys adds to dq."""
    keys_n = tl.multiple_of(first_key, BLOCK_N) + tl.arange(0, BLOCK_N)
    k_nk = load_rows(k_ptr, keys_n, k_stride_t, num_positions, HEAD_SIZE, BLOCK_K, MASKED)
    v_nk = load_rows(v_ptr, keys_n, v_stride_t, num_positions, HEAD_SIZE, BLOCK_K, MASKED)
    scores_mn = tl.dot(q_mk, tl.trans(k_nk), input_precision="ieee") * (scale * LOG2_E)
    weights_mn = tl.exp2(scores_mn - lse_m[:, None])
    if MASKED:
        seen_mn = (keys_n[None, :] >= starts_m[:, None]) & (keys_n[None, :] < ends_m[:, None])
        seen_mn = seen_mn & in_reach(queries_m[:, None], keys_n[None, :], CAUSAL, WINDOW)
        weights_mn = tl.where(seen_mn, weights_mn, 0.0)
    grad_weights_mn = tl.dot(grad_out_mk, tl.trans(v_nk), input_precision="ieee")
    grad_scores_mn = weights_mn * (grad_weights_mn - delta_m[:, None])
    grad_q_mk += tl.dot(grad_scores_mn.to(k_nk.dtype), k_nk, input_precision="ieee")
    return grad_q_mk


@triton.jit
def query_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    grad_out_ptr,
    lse_ptr,
    delta_ptr,
    starts_ptr,
    ends_ptr,
    blocks_ptr,
    counts_ptr,
    grad_q_ptr,
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
    num_heads,
    blocks_stride,
    scale,
    GROUP: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    SPARSE: tl.constexpr,
):
    """dq of a block of queries of one head."""
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    head = tl.program_id(1) % num_heads
    row = (tl.program_id(1) // num_heads).to(tl.int64)
    queries_m = block * BLOCK_M + tl.arange(0, BLOCK_M)
    q_head_ptr = q_ptr + row * q_stride_b + head * q_stride_h
    grad_head_ptr = grad_out_ptr + row * o_stride_b + head * o_stride_h
    k_head_ptr = k_ptr + row * k_stride_b + head // GROUP * k_stride_g
    v_head_ptr = v_ptr + row * v_stride_b + head // GROUP * v_stride_g
    q_mk = load_rows(q_head_ptr, queries_m, q_stride_t, num_positions, HEAD_SIZE, BLOCK_K, True)
    grad_out_mk = load_rows(grad_head_ptr, queries_m, o_stride_t, num_positions, HEAD_SIZE, BLOCK_K, True)
    inside_m = queries_m < num_positions
    row_ptr = (row * num_heads + head) * num_positions
    lse_m = tl.load(lse_ptr + row_ptr + queries_m, mask=inside_m, other=0.0)
    delta_m = tl.load(delta_ptr + row_ptr + queries_m, mask=inside_m, other=0.0)
    grad_q_mk = tl.zeros([BLOCK_M, BLOCK_K], dtype=tl.float32)
    if SPARSE > 0:
        starts_m = tl.zeros([BLOCK_M], dtype=tl.int32)
        ends_m = starts_m + num_positions
        line = block * BLOCK_M // SPARSE
        parts: tl.constexpr = SPARSE // BLOCK_N
        for part in range(tl.load(counts_ptr + line) * parts):
            first_key = tl.load(blocks_ptr + line * blocks_stride + part // parts) * SPARSE
            first_key += part % parts * BLOCK_N
            grad_q_mk = query_step(
                grad_q_mk, q_mk, grad_out_mk, lse_m, delta_m, k_head_ptr, v_head_ptr, k_stride_t, v_stride_t,
                queries_m, starts_m, ends_m, first_key, num_positions, scale, HEAD_SIZE, BLOCK_K, BLOCK_N,
                CAUSAL, WINDOW, True,
            )  # fmt: skip
    else:
        starts_m, ends_m = clamped_bounds(
            starts_ptr + row * num_positions, ends_ptr + row * num_positions, queries_m, num_positions
        )
        last_query = tl.minimum(block * BLOCK_M + BLOCK_M, num_positions) - 1
        low, num_before, num_masked, full_low, full_high = key_interval(
            starts_m, ends_m, block * BLOCK_M, last_query, CAUSAL, WINDOW, BLOCK_N
        )
        for index in range(num_masked):
            first_key = masked_block(index, low, num_before, full_low, full_high, BLOCK_N)
            grad_q_mk = query_step(
                grad_q_mk, q_mk, grad_out_mk, lse_m, delta_m, k_head_ptr, v_head_ptr, k_stride_t, v_stride_t,
                queries_m, starts_m, ends_m, first_key, num_positions, scale, HEAD_SIZE, BLOCK_K, BLOCK_N,
                CAUSAL, WINDOW, True,
            )  # fmt: skip
        for first_key in range(full_low, full_high, BLOCK_N):
            grad_q_mk = query_step(
                grad_q_mk, q_mk, grad_out_mk, lse_m, delta_m, k_head_ptr, v_head_ptr, k_stride_t, v_stride_t,
                queries_m, starts_m, ends_m, first_key, num_positions, scale, HEAD_SIZE, BLOCK_K, BLOCK_N,
                CAUSAL, WINDOW, False,
            )  # fmt: skip
    first = (row * num_positions * num_heads + head) * HEAD_SIZE
    store_rows(
        grad_q_ptr + first,
        queries_m,
        num_heads * HEAD_SIZE,
        num_positions,
        grad_q_mk * scale,
        HEAD_SIZE,
        BLOCK_K,
    )


class Blocks(NamedTuple):
    """Positions in a block of queries and in one of keys, and how the kernel is launched."""

    block_m: int
    block_n: int
    launch: Launch


# The blocks below keep everything in registers on sm_90 with Triton 3.6, 3.7 and 3.9, as ahead-of-time
# compilation shows; one size larger spills. Registers with 3.7 for heads of 64 and 128: forward 123, 187; dk
# and dv 214, 251; dq 140, 209. `sparse`, the size of a bitmap's blocks, is a limit; 0 for no bitmap.


def forward_blocks(block_k: int, sparse: int = 0) -> Blocks:
    """Blocks of `forward_kernel`."""
    stages = 3 if block_k <= 64 else 2
    return Blocks(min(128, sparse or 128), 64, Launch(num_warps=8, num_stages=stages))


def key_blocks(block_k: int, sparse: int = 0) -> Blocks:
    """Blocks of `key_kernel`."""
    most_keys = 128 if block_k <= 64 else 64
    return Blocks(
        64 if block_k <= 32 else 32, min(most_keys, sparse or 128), Launch(num_warps=8, num_stages=2)
    )


def query_blocks(sparse: int = 0) -> Blocks:
    """Blocks of `query_kernel`."""
    return Blocks(min(128, sparse or 128), 64, Launch(num_warps=8, num_stages=2))


class BlockLists(NamedTuple):
    """A bitmap of blocks as lists, for either direction; made once for a pattern by `block_lists`."""

    keys: Tensor
    """int32 [M, N]: the key blocks that a query block sees, then anything."""
    num_keys: Tensor
    """int32 [M]."""
    queries: Tensor
    """int32 [N, M]: the query blocks that see a key block, then anything."""
    num_queries: Tensor
    """int32 [N]."""


def block_lists(bitmap_mn: Tensor) -> BlockLists:
    """Lists of a bool bitmap [M query blocks, N key blocks]."""

    def lists(bitmap: Tensor) -> tuple[Tensor, Tensor]:
        order = bitmap.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        return order.to(torch.int32).contiguous(), bitmap.sum(dim=1, dtype=torch.int32)

    return BlockLists(*lists(bitmap_mn), *lists(bitmap_mn.T))


def _forward(
    q_bthk: Tensor,
    k_btgk: Tensor,
    v_btgk: Tensor,
    bounds: tuple[Tensor, Tensor],
    lists: tuple[Tensor, Tensor],
    causal: bool,
    window: int,
    sparse: int,
) -> tuple[Tensor, Tensor]:
    num_rows, num_positions, num_heads, head_size = q_bthk.shape
    out_bthk = like(q_bthk)
    lse_bht = torch.empty((num_rows, num_heads, num_positions), dtype=torch.float32, device=q_bthk.device)
    if out_bthk.numel() == 0:
        return out_bthk, lse_bht
    block_k = padded(head_size)
    block_m, block_n, launch = forward_blocks(block_k, sparse)
    forward_kernel[(triton.cdiv(num_positions, block_m), num_rows * num_heads)](
        q_bthk,
        k_btgk,
        v_btgk,
        *bounds,
        *lists,
        out_bthk,
        lse_bht,
        *head_strides(q_bthk, k_btgk, v_btgk),
        num_positions,
        num_heads,
        lists[0].stride(0),
        head_size**-0.5,
        GROUP=num_heads // k_btgk.shape[2],
        HEAD_SIZE=head_size,
        BLOCK_K=block_k,
        BLOCK_M=block_m,
        BLOCK_N=block_n,
        CAUSAL=causal,
        WINDOW=window,
        SPARSE=sparse,
        **launch._asdict(),
    )
    return out_bthk, lse_bht


def _backward(
    grad_out_bthk: Tensor,
    q_bthk: Tensor,
    k_btgk: Tensor,
    v_btgk: Tensor,
    out_bthk: Tensor,
    lse_bht: Tensor,
    bounds: tuple[Tensor, Tensor],
    query_lists: tuple[Tensor, Tensor],
    key_lists: tuple[Tensor, Tensor],
    causal: bool,
    window: int,
    sparse: int,
) -> tuple[Tensor, Tensor, Tensor]:
    num_rows, num_positions, num_heads, head_size = q_bthk.shape
    num_groups = k_btgk.shape[2]
    gradients = like(q_bthk), like(k_btgk), like(v_btgk)
    if grad_out_bthk.numel() == 0:
        return gradients
    if grad_out_bthk.stride(-1) != 1:  # such as the gradient of a sum, which is one number expanded
        grad_out_bthk = grad_out_bthk.contiguous()
    block_k = padded(head_size)
    shape: dict[str, Any] = {"HEAD_SIZE": head_size, "BLOCK_K": block_k}
    delta_bht = torch.empty_like(lse_bht)
    delta_kernel[(triton.cdiv(num_positions, DELTA_BLOCK), num_rows * num_heads)](
        out_bthk,
        grad_out_bthk,
        delta_bht,
        *head_strides(grad_out_bthk),
        num_positions,
        num_heads,
        BLOCK_M=DELTA_BLOCK,
        num_warps=4,
        **shape,
    )
    shape |= {"GROUP": num_heads // num_groups, "CAUSAL": causal, "WINDOW": window, "SPARSE": sparse}
    inputs = (q_bthk, k_btgk, v_btgk, grad_out_bthk, lse_bht, delta_bht, *bounds)
    strides = head_strides(q_bthk, k_btgk, v_btgk, grad_out_bthk)
    block_m, block_n, launch = key_blocks(block_k, sparse)
    key_kernel[(triton.cdiv(num_positions, block_n), num_rows * num_groups)](
        *inputs,
        *key_lists,
        *gradients[1:],
        *strides,
        num_positions,
        num_groups,
        key_lists[0].stride(0),
        head_size**-0.5,
        BLOCK_M=block_m,
        BLOCK_N=block_n,
        **shape,
        **launch._asdict(),
    )
    block_m, block_n, launch = query_blocks(sparse)
    query_kernel[(triton.cdiv(num_positions, block_m), num_rows * num_heads)](
        *inputs,
        *query_lists,
        gradients[0],
        *strides,
        num_positions,
        num_heads,
        query_lists[0].stride(0),
        head_size**-0.5,
        BLOCK_M=block_m,
        BLOCK_N=block_n,
        **shape,
        **launch._asdict(),
    )
    return gradients


DELTA_BLOCK = 64


@torch.library.custom_op("fedkey::flash_attention", mutates_args=())
def flash_attention(
    q_bthk: Tensor,
    k_btgk: Tensor,
    v_btgk: Tensor,
    starts_bt: Tensor,
    ends_bt: Tensor,
    causal: bool,
    window: int,
) -> tuple[Tensor, Tensor]:
    """Attended values [B, T, H, K] in q's dtype, and log2-sum-exp2 of the scaled scores, float32 [B, H, T],
    which is for the backward pass only. The arguments are those of `fedkey_kernels.attention`, which checks
    them."""
    bounds = starts_bt, ends_bt
    return _forward(q_bthk, k_btgk, v_btgk, bounds, bounds, causal, window, sparse=0)


@torch.library.custom_op("fedkey::flash_attention_backward", mutates_args=())
def flash_attention_backward(
    grad_out_bthk: Tensor,
    q_bthk: Tensor,
    k_btgk: Tensor,
    v_btgk: Tensor,
    starts_bt: Tensor,
    ends_bt: Tensor,
    out_bthk: Tensor,
    lse_bht: Tensor,
    causal: bool,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, each in its own shape and dtype, contiguous."""
    bounds = starts_bt, ends_bt
    return _backward(
        grad_out_bthk,
        q_bthk,
        k_btgk,
        v_btgk,
        out_bthk,
        lse_bht,
        bounds,
        bounds,
        bounds,
        causal,
        window,
        sparse=0,
    )


@torch.library.custom_op("fedkey::sparse_flash_attention", mutates_args=())
def sparse_flash_attention(
    q_bthk: Tensor,
    k_btgk: Tensor,
    v_btgk: Tensor,
    keys: Tensor,
    num_keys: Tensor,
    queries: Tensor,
    num_queries: Tensor,
    causal: bool,
    block_size: int,
) -> tuple[Tensor, Tensor]:
    """As `flash_attention`, over the blocks of `BlockLists`; a query that sees nothing gets zeros."""
    lists = keys, num_keys
    return _forward(q_bthk, k_btgk, v_btgk, lists, lists, causal, 0, block_size)


@torch.library.custom_op("fedkey::sparse_flash_attention_backward", mutates_args=())
def sparse_flash_attention_backward(
    grad_out_bthk: Tensor,
    q_bthk: Tensor,
    k_btgk: Tensor,
    v_btgk: Tensor,
    keys: Tensor,
    num_keys: Tensor,
    queries: Tensor,
    num_queries: Tensor,
    out_bthk: Tensor,
    lse_bht: Tensor,
    causal: bool,
    block_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    lists = keys, num_keys
    return _backward(
        grad_out_bthk, q_bthk, k_btgk, v_btgk, out_bthk, lse_bht, lists, lists, (queries, num_queries),
        causal, 0, block_size,
    )  # fmt: skip


def _fake_forward(q_bthk: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    num_rows, num_positions, num_heads, _head_size = q_bthk.shape
    lse_bht = torch.empty((num_rows, num_heads, num_positions), dtype=torch.float32, device=q_bthk.device)
    return like(q_bthk), lse_bht


def _fake_backward(
    grad_out_bthk: Tensor, q_bthk: Tensor, k_btgk: Tensor, v_btgk: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return like(q_bthk), like(k_btgk), like(v_btgk)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    tensors, ctx.options = inputs[:-2], inputs[-2:]
    ctx.save_for_backward(*tensors, *output)


def _flash_gradients(ctx: Any, grad_out_bthk: Tensor, _grad_lse: Tensor) -> tuple[Tensor | None, ...]:
    return *flash_attention_backward(grad_out_bthk, *ctx.saved_tensors, *ctx.options), *[None] * 4


def _sparse_gradients(ctx: Any, grad_out_bthk: Tensor, _grad_lse: Tensor) -> tuple[Tensor | None, ...]:
    return *sparse_flash_attention_backward(grad_out_bthk, *ctx.saved_tensors, *ctx.options), *[None] * 6


flash_attention.register_fake(_fake_forward)
sparse_flash_attention.register_fake(_fake_forward)
flash_attention_backward.register_fake(_fake_backward)
sparse_flash_attention_backward.register_fake(_fake_backward)
flash_attention.register_autograd(_flash_gradients, setup_context=_save)
sparse_flash_attention.register_autograd(_sparse_gradients, setup_context=_save)
