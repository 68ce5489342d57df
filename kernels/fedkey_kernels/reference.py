"""The mathematics of every kernel in plain torch: slow, short, and the definition of correct.

In: tensors of any floating dtype. Out: what each fast version must reproduce. Next stop:
`fedkey_kernels.attention`.

Shape suffixes here and in the kernels: B = rows of a batch, T = positions in a row, H = query heads, G =
key/value heads, K = head size, D = model width, N = positions picked out of a batch, V = vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def document_mask(document_ids_bt: Tensor, *, causal: bool) -> Tensor:
    """Who may look at whom: bool [B, T, T], true where query i may attend to key j.

    Positions see their own document only. Padding (document -1) sees itself alone, so that no row of the
    softmax is empty and nothing becomes NaN.
    """
    same_btt = document_ids_bt[:, :, None] == document_ids_bt[:, None, :]
    num_positions = document_ids_bt.shape[1]
    diagonal_tt = torch.eye(num_positions, dtype=torch.bool, device=document_ids_bt.device)
    mask_btt = (same_btt & (document_ids_bt >= 0)[:, :, None]) | diagonal_tt
    if causal:
        mask_btt = mask_btt & torch.ones_like(diagonal_tt).tril()
    return mask_btt


def attention(
    q_bthk: Tensor, k_btgk: Tensor, v_btgk: Tensor, document_ids_bt: Tensor, *, causal: bool = True
) -> Tensor:
    """softmax(q k^T / sqrt(K)) v within each document; query head h reads key/value head h * G // H."""
    num_heads, head_size = q_bthk.shape[2:]
    group = num_heads // k_btgk.shape[2]
    k_bthk = k_btgk.repeat_interleave(group, dim=2)
    v_bthk = v_btgk.repeat_interleave(group, dim=2)
    scores_bhtt = torch.einsum("bihk,bjhk->bhij", q_bthk, k_bthk) / head_size**0.5
    mask_btt = document_mask(document_ids_bt, causal=causal)
    scores_bhtt = scores_bhtt.masked_fill(~mask_btt[:, None], float("-inf"))
    return torch.einsum("bhij,bjhk->bihk", scores_bhtt.softmax(dim=-1), v_bthk)


def rms_norm(x: Tensor, weight_d: Tensor, epsilon: float) -> Tensor:
    """x / sqrt(mean(x^2) + epsilon) * weight over the last dimension (Zhang and Sennrich 2019,
    1910.07467)."""
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + epsilon) * weight_d


def rotate(x_bthk: Tensor, positions_bt: Tensor, base: float) -> Tensor:
    """Rotary position embedding (Su et al. 2021, 2104.09864), half-split: pair i is (x[i], x[i + K/2]).

    The pair turns by position * base^(-2i/K).
    """
    head_size = x_bthk.shape[-1]
    exponent = torch.arange(0, head_size, 2, dtype=torch.float64, device=x_bthk.device) / head_size
    angle_btk = positions_bt[:, :, None].double() * base**-exponent
    cos = angle_btk.cos()[:, :, None, :].to(x_bthk.dtype)
    sin = angle_btk.sin()[:, :, None, :].to(x_bthk.dtype)
    left, right = x_bthk.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


def linear_cross_entropy(
    hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor, z_penalty: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over N of: NLL + z_penalty * logZ^2 (differentiable), NLL alone, and how often the target was the
    top-1.

    logits = hidden weight^T, logZ = logsumexp(logits), NLL = logZ - logits[target]. The penalty keeps logZ
    near zero, so that a phone may read a logit as a log probability.
    """
    logits_nv = hidden_nd @ weight_vd.T
    log_z_n = logits_nv.logsumexp(dim=-1)
    target_logit_n = logits_nv.gather(1, targets_n[:, None])[:, 0]
    nll_n = log_z_n - target_logit_n
    hits = (target_logit_n >= logits_nv.amax(dim=-1)).sum()
    return (nll_n + z_penalty * log_z_n.square()).sum(), nll_n.sum().detach(), hits


def sophia_step(
    parameter: Tensor,
    momentum: Tensor,
    curvature: Tensor,
    gradient: Tensor,
    *,
    learning_rate: float,
    beta1: float,
    rho: float,
    weight_decay: float,
    batch_size: int,
) -> Tensor:
    """One Sophia step (Liu et al. 2023, 2305.14342, algorithm 3), in place; returns the share of clipped
    entries.

    m <- b1 m + (1 - b1) g;  p <- p (1 - lr wd) - lr sign(m) min(|m| / (rho * batch_size * h + 1e-15), 1).
    `curvature` h is the running mean of g_hat^2 per batch; `batch_size` counts the targets in a batch.
    """
    momentum.mul_(beta1).add_(gradient, alpha=1 - beta1)
    parameter.mul_(1 - learning_rate * weight_decay)
    ratio = momentum.abs() / (rho * batch_size * curvature + 1e-15)
    parameter.addcmul_(momentum.sign(), ratio.clamp(max=1), value=-learning_rate)
    return (ratio >= 1).float().mean()
