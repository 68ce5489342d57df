"""How many operations each kernel has to do, and how many bytes it has to move.

In: shapes. Out: floating-point operations, and bytes when every input is read once and every output written
once. Next stop: `bench.attention`.

What a kernel does beyond that (the scores it masks, the positions it pads, what it reads twice) is its own
loss: rates in the tables are those of useful work."""

from __future__ import annotations

from collections.abc import Iterable

FLOAT32 = 4
"""Bytes."""


def causal_pairs(lengths: Iterable[int]) -> int:
    """Pairs of positions (i, j <= i) inside documents of these lengths."""
    return sum(length * (length + 1) // 2 for length in lengths)


def attention_flops(num_pairs: int, num_heads: int, head_size: int) -> tuple[int, float]:
    """Forward: two products of a multiplication and an addition each, a pair, a head and an element.
    Backward: five products, as the papers count (2205.14135, 2307.08691)."""
    forward = 2 * 2 * num_pairs * num_heads * head_size
    return forward, 2.5 * forward


def attention_bytes(
    num_tokens: int, num_heads: int, num_groups: int, head_size: int, itemsize: int
) -> tuple[int, int]:
    """Forward: q, k, v in, O out. Backward: q, k, v, dO in, dq, dk, dv out."""
    query, key = num_heads * head_size * itemsize, num_groups * head_size * itemsize
    return num_tokens * (2 * query + 2 * key), num_tokens * (3 * query + 4 * key)


def loss_flops(num_targets: int, width: int, vocab_size: int) -> int:
    """Logits, the gradient of the hidden states, the gradient of the weight: a product each."""
    return 3 * 2 * num_targets * width * vocab_size


def rms_norm_bytes(num_rows: int, width: int, itemsize: int) -> tuple[int, int]:
    """Forward: x and the weight in, y out. Backward: dy, x and the weight in, dx and the weight's gradient
    out."""
    return (2 * num_rows + 1) * width * itemsize, (3 * num_rows + 2) * width * itemsize


def rotate_bytes(num_tokens: int, num_heads: int, head_size: int, itemsize: int) -> tuple[int, int]:
    """Either way: one tensor in, one out, and K / 2 cosines and sines a position."""
    one_way = num_tokens * (2 * num_heads * head_size + head_size) * itemsize
    return one_way, one_way


def sophia_step_bytes(num_parameters: int) -> int:
    """p, m, h, g in, p, m out, all float32."""
    return 6 * FLOAT32 * num_parameters


def sophia_average_bytes(num_parameters: int) -> int:
    """h, g in, h out."""
    return 3 * FLOAT32 * num_parameters


def adamw_step_bytes(num_parameters: int) -> int:
    """p, m, v, g in, p, m, v out."""
    return 7 * FLOAT32 * num_parameters
