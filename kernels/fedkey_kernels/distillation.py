"""What a teacher expected, as a loss: the last linear layer and a cross entropy against a few likely pieces.

In: hidden states, the tied embedding, and for each of them the pieces that a teacher found likely. Out: a sum
over hidden states. Next stop: `fedkey_kernels.sophia`.

A teacher (Hinton et al. 2015, 1503.02531) with a vocabulary of thousands leaves a few dozen probabilities
worth keeping; all others are one more outcome, "something else". A student that knew the likely ones and
nothing of the rest would otherwise be told that the rest is impossible.

Plain torch on every device. As in `fedkey_kernels.loss`, the gradient of the logits is formed in the forward
pass, in place and chunk by chunk, and only its products are kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedkey_kernels.loss import CHUNK_LOGITS, add_product

NO_PIECE = -1
"""Id of a place among the likely pieces that none fills."""

LEAST_REST = 1e-6
"""Probability of something else, at least: its logarithm is taken."""


def linear_distillation(hidden_nd: Tensor, weight_vd: Tensor, ids_nk: Tensor, probs_nk: Tensor) -> Tensor:
    """`reference.linear_distillation` without storing the logits.

    Under autocast, products are in its dtype, and gradients come back in the dtypes of hidden and weight.

    Args:
        hidden_nd: [N, D] floating point; N may be 0.
        weight_vd: [V, D].
        ids_nk: [N, K] int64 in 0..V-1, no two alike in a row, or `NO_PIECE`.
        probs_nk: [N, K] floating point, the teacher's probabilities; a row's sum is at most 1.

    Returns:
        The sum over N of the cross entropy (differentiable, once), float32, or float64 if the inputs are.

    Raises:
        ValueError: shapes that do not fit.
    """
    if hidden_nd.dim() != 2 or weight_vd.dim() != 2 or hidden_nd.shape[1] != weight_vd.shape[1]:
        raise ValueError(
            f"hidden {tuple(hidden_nd.shape)} and weight {tuple(weight_vd.shape)} do not share a width"
        )
    if ids_nk.dim() != 2 or ids_nk.shape != probs_nk.shape or len(ids_nk) != len(hidden_nd):
        raise ValueError(
            f"ids {tuple(ids_nk.shape)} and probs {tuple(probs_nk.shape)} must both be [{len(hidden_nd)}, K]"
        )
    device = hidden_nd.device.type
    if torch.is_autocast_enabled(device) and hidden_nd.dtype != torch.float64:
        hidden_nd = hidden_nd.to(torch.get_autocast_dtype(device))
    total: Tensor = _Chunked.apply(hidden_nd, weight_vd, ids_nk, probs_nk)
    return total


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_nd: Tensor, weight_vd: Tensor, ids_nk: Tensor, probs_nk: Tensor) -> Tensor:
        sum_dtype = torch.promote_types(hidden_nd.dtype, torch.float32)
        total = torch.zeros((), dtype=sum_dtype, device=hidden_nd.device)
        grad_hidden_nd = torch.empty_like(hidden_nd)
        grad_weight_vd = torch.zeros_like(weight_vd, dtype=sum_dtype)
        low_weight_vd = weight_vd.to(hidden_nd.dtype)
        chunk = max(1, CHUNK_LOGITS // weight_vd.shape[0])
        for start in range(0, len(hidden_nd), chunk):
            rows = slice(start, start + chunk)
            hidden_cd = hidden_nd[rows]
            logits_cv = (hidden_cd @ low_weight_vd.T).to(sum_dtype)
            is_there_ck = ids_nk[rows] != NO_PIECE
            ids_ck = ids_nk[rows].clamp(min=0)
            p_ck = probs_nk[rows].to(sum_dtype) * is_there_ck
            log_z_c1 = logits_cv.logsumexp(dim=-1, keepdim=True)
            log_q_ck = logits_cv.gather(1, ids_ck) - log_z_c1
            q_ck = log_q_ck.exp() * is_there_ck
            p_rest_c1 = (1 - p_ck.sum(dim=-1, keepdim=True)).clamp_(min=0)
            q_rest_c1 = (1 - q_ck.sum(dim=-1, keepdim=True)).clamp_(min=LEAST_REST)
            total -= (p_ck * log_q_ck).sum() + (p_rest_c1 * q_rest_c1.log()).sum()
            # By a logit the loss changes by q - p where the teacher named its piece, and elsewhere by q times
            # what the named ones have too little. The buffer holds q, then that.
            ratio_c1 = p_rest_c1 / q_rest_c1
            q_cv = logits_cv.sub_(log_z_c1).exp_()
            q_cv.mul_(1 - ratio_c1)
            q_cv.scatter_add_(1, ids_ck, q_ck * ratio_c1 - p_ck)
            gradient_cv = q_cv.to(hidden_nd.dtype)
            grad_hidden_nd[rows] = gradient_cv @ low_weight_vd
            add_product(grad_weight_vd, gradient_cv.T, hidden_cd)
        ctx.save_for_backward(grad_hidden_nd, grad_weight_vd)
        ctx.weight_dtype = weight_vd.dtype
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden_nd, grad_weight_vd = ctx.saved_tensors
        return (
            (grad_hidden_nd.to(grad_total.dtype) * grad_total).to(grad_hidden_nd.dtype),
            (grad_weight_vd * grad_total).to(ctx.weight_dtype),
            None,
            None,
        )
