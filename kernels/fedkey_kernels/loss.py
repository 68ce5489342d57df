"""The last linear layer and the cross entropy as one function, which never keeps the logits.

In: hidden states, the tied embedding, targets. Out: sums over targets. Next stop: `fedkey_kernels.sophia`.

With a vocabulary of 4,096 and a width of 128 the logits are 32 times as large as the hidden states, and
autograd would keep them and read them several times. Here the gradient of the logits is formed in the forward
pass, in place and chunk by chunk, and only its products with the weights and the hidden states are kept.
Measured 2026-11-23 on 2 CPU cores, 2,048 targets, tiny preset: a training step 0.24 s instead of 0.34 s.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_LOGITS = 1 << 23
"""Logits held at once: 8 million, 32 MB in float32."""


def linear_cross_entropy(
    hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor, z_penalty: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """`reference.linear_cross_entropy` without storing the logits.

    Args:
        hidden_nd: [N, D] floating point; N may be 0.
        weight_vd: [V, D], same dtype.
        targets_n: [N] int64 in 0..V-1 (leave ignored positions out before the call).
        z_penalty: weight of logZ^2.

    Returns:
        Three scalars, sums over N: NLL + z_penalty * logZ^2 (differentiable, once), NLL, number of top-1
        hits. Sums are float32, or float64 if the inputs are.

    Raises:
        ValueError: shapes or dtypes that do not fit, naming the argument.
    """
    if hidden_nd.dim() != 2 or weight_vd.dim() != 2 or hidden_nd.shape[1] != weight_vd.shape[1]:
        raise ValueError(
            f"hidden {tuple(hidden_nd.shape)} and weight {tuple(weight_vd.shape)} do not share a width"
        )
    if not hidden_nd.dtype.is_floating_point or weight_vd.dtype != hidden_nd.dtype:
        raise ValueError(
            f"hidden is {hidden_nd.dtype} and weight {weight_vd.dtype}; both must be one floating-point type"
        )
    if targets_n.shape != hidden_nd.shape[:1] or targets_n.dtype != torch.int64:
        raise ValueError(
            f"targets must be int64 [{hidden_nd.shape[0]}], not {targets_n.dtype} {tuple(targets_n.shape)}"
        )
    if not torch.is_grad_enabled():
        weight_vd = weight_vd.detach()  # a parameter would have its gradient computed and thrown away
    total, nll, hits = _LinearCrossEntropy.apply(hidden_nd, weight_vd, targets_n, z_penalty)
    return total, nll, hits


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor, z_penalty: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        sum_dtype = torch.promote_types(hidden_nd.dtype, torch.float32)
        nll_sum = torch.zeros((), dtype=sum_dtype, device=hidden_nd.device)
        z_sum = torch.zeros_like(nll_sum)
        hits = torch.zeros((), dtype=torch.int64, device=hidden_nd.device)
        grad_hidden_nd = torch.empty_like(hidden_nd) if needs_gradient else None
        grad_weight_vd = torch.zeros_like(weight_vd) if needs_gradient else None
        chunk = max(1, CHUNK_LOGITS // weight_vd.shape[0])
        for start in range(0, hidden_nd.shape[0], chunk):
            rows = slice(start, start + chunk)
            hidden_cd, targets_c = hidden_nd[rows], targets_n[rows]
            logits_cv = (hidden_cd @ weight_vd.T).to(sum_dtype)
            top_c = logits_cv.amax(dim=-1, keepdim=True)
            target_logit_c = logits_cv.gather(1, targets_c[:, None])[:, 0]
            hits += (target_logit_c >= top_c[:, 0]).sum()
            # From here on the buffer holds exp(logit - top), then the gradient.
            sum_c = logits_cv.sub_(top_c).exp_().sum(dim=-1)
            log_z_c = sum_c.log() + top_c[:, 0]
            nll_sum += (log_z_c - target_logit_c).sum()
            z_sum += log_z_c.square().sum()
            if grad_hidden_nd is not None and grad_weight_vd is not None:
                logits_cv.mul_(((1 + 2 * z_penalty * log_z_c) / sum_c)[:, None])
                logits_cv.scatter_add_(1, targets_c[:, None], torch.full_like(sum_c, -1.0)[:, None])
                gradient_cv = logits_cv.to(hidden_nd.dtype)
                grad_hidden_nd[rows] = gradient_cv @ weight_vd
                grad_weight_vd += gradient_cv.T @ hidden_cd
        ctx.save_for_backward(grad_hidden_nd, grad_weight_vd)
        ctx.mark_non_differentiable(nll_sum, hits)
        return nll_sum + z_penalty * z_sum, nll_sum, hits

    @staticmethod
    @once_differentiable  # the saved gradients are constants: a second derivative would be silently wrong
    def backward(ctx: Any, grad_total: Tensor, *_: Any) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_hidden_nd, grad_weight_vd = ctx.saved_tensors
        scale = grad_total.to(grad_hidden_nd.dtype)
        return grad_hidden_nd * scale, grad_weight_vd * scale, None, None
