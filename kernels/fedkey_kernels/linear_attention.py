"""Linear attention inside packed documents: sums of constant size in place of keys and values.

In: queries, keys, values and a `Mask`. Out: the attended values. Next stop: `fedkey_kernels.loss`.

A position weighs its predecessors not by a softmax but by phi(q) . phi(k) with phi = elu + 1 (Katharopoulos
et al. 2020, 2006.16236, section 3.2), so that the sums over them can be carried along: S = sum of
phi(k) [v, 1] of size [K, K + 1], whose last column is what the others are divided by. Both fade by
exp(-1 / horizon) with every position, a constant for each key/value head (retention: Sun et al. 2023,
2307.08621, section 2.1), which says what is near: the sums know no other order, and rotary positions cost
quality here, see `server/EXPERIMENTS.md`.

Rows are read in chunks (2307.08621, equation 7): inside a chunk every pair is weighed, and what stood before
it comes out of the sums. Plain torch everywhere, GPUs included: at the phone's window a row is two chunks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fedkey_kernels.attention import check_heads, check_mask
from fedkey_kernels.mask import Mask

CHUNK = 64
"""Positions whose pairs are weighed. Forward and backward of 16 rows of 256, 4 heads of 32 over 2, on one
core of a busy machine: 294 ms with 16, 241 with 32, 204 with 64, 226 with 128, 533 with 256 (2026-11-26)."""


def linear_attention(
    q_bthk: Tensor,
    k_btgk: Tensor,
    v_btgk: Tensor,
    horizons: Sequence[float],
    mask: Mask,
    *,
    chunk: int = CHUNK,
) -> Tensor:
    """sum_j w_ij v_j / sum_j w_ij over the positions j that i may see, w_ij = phi(q_i) . phi(k_j)
    exp(-(i - j) / horizon).

    Args:
        q_bthk, k_btgk, v_btgk: as in `attention`.
        horizons: of each of the G key/value heads: positions after which the past counts e times less.
        mask: of documents, causal and without a window.
        chunk: positions in a chunk; changes the cost, and the result by rounding only.

    Returns:
        [B, T, H, K] in q's dtype. Padding attends to itself; its output is finite and meaningless.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument; horizons that are not G
            positive numbers; a mask that is not causal or has a window; a chunk below 1.
    """
    check_heads(q_bthk, k_btgk, v_btgk)
    check_mask(q_bthk, mask)
    num_rows, num_positions, num_groups, head_size = k_btgk.shape
    if len(horizons) != num_groups or not all(horizon > 0 for horizon in horizons):
        raise ValueError(f"horizons must be {num_groups} positive numbers, one a key/value head")
    if not mask.causal or mask.window or mask.dense_btt is not None:
        raise ValueError("mask must be causal and have no window: linear attention sums over all before")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")
    q_btgrk = (functional.elu(q_bthk) + 1).view(num_rows, num_positions, num_groups, -1, head_size)
    k_btgk = functional.elu(k_btgk) + 1
    values_btgl = functional.pad(v_btgk, (0, 1), value=1.0)
    rates_g = 1 / torch.tensor(horizons, dtype=q_btgrk.dtype, device=q_btgrk.device)
    sums_bgkl = q_btgrk.new_zeros(num_rows, num_groups, head_size, head_size + 1)
    outs = []
    for begin in range(0, num_positions, chunk):
        here = slice(begin, begin + chunk)
        starts_bc = mask.starts_bt[:, here]
        place_c = torch.arange(starts_bc.shape[1], device=starts_bc.device)
        far_cc = place_c[:, None] - place_c
        visible_bcc = (far_cc >= 0) & (begin + place_c >= starts_bc[:, :, None])
        fading_gcc = torch.exp(-rates_g[:, None, None] * far_cc.clamp(min=0))
        weights_bgcc = visible_bcc[:, None] * fading_gcc
        # A document that began before the chunk is the one whose sums are carried.
        goes_on_bc = starts_bc < begin
        carried_bgc = goes_on_bc[:, None] * torch.exp(-rates_g[:, None] * (place_c + 1))
        scores_bgrcc = torch.einsum("bigrk,bjgk->bgrij", q_btgrk[:, here], k_btgk[:, here])
        scores_bgrcc = scores_bgrcc * weights_bgcc[:, :, None]
        near = torch.einsum("bgrij,bjgl->bigrl", scores_bgrcc, values_btgl[:, here])
        before = torch.einsum("bigrk,bgkl->bigrl", q_btgrk[:, here], sums_bgkl)
        outs.append(near + before * carried_bgc.transpose(1, 2)[:, :, :, None, None])
        # What the last position sees goes on with it.
        keys = k_btgk[:, here] * weights_bgcc[:, :, -1].transpose(1, 2)[..., None]
        fresh = torch.einsum("bjgk,bjgl->bgkl", keys, values_btgl[:, here])
        sums_bgkl = sums_bgkl * carried_bgc[:, :, -1, None, None] + fresh
    out = torch.cat(outs, dim=1)
    return (out[..., :-1] / out[..., -1:]).reshape(q_bthk.shape).to(q_bthk.dtype)
