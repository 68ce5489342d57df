"""The mathematics of every kernel in plain torch: slow, short, and the definition of correct.

In: tensors of any floating dtype. Out: what each fast version must reproduce. Next stop:
`fedkey_kernels.attention`.

Shape suffixes here and in the kernels: B = rows of a batch, T = positions in a row, H = query heads, G =
key/value heads, K = head size, D = model width, N = positions picked out of a batch, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def attention(q_bthk: Tensor, k_btgk: Tensor, v_btgk: Tensor, visible_btt: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(K)) v over the keys that a query may see; query head h reads key/value head
    h * G // H.

    `visible_btt` is bool, [B, T, T] or broadcastable to it. A query that sees nothing gets zeros.
    """
    num_heads, head_size = q_bthk.shape[2:]
    group = num_heads // k_btgk.shape[2]
    k_bthk = k_btgk.repeat_interleave(group, dim=2)
    v_bthk = v_btgk.repeat_interleave(group, dim=2)
    scores_bhtt = torch.einsum("bihk,bjhk->bhij", q_bthk, k_bthk) / head_size**0.5
    visible_bhtt = visible_btt.expand(q_bthk.shape[0], *visible_btt.shape[-2:])[:, None]
    scores_bhtt = scores_bhtt.masked_fill(~visible_bhtt, float("-inf"))
    blind_bhtt = ~visible_bhtt.any(dim=-1, keepdim=True)  # softmax of nothing is NaN, and so is its gradient
    weights_bhtt = scores_bhtt.masked_fill(blind_bhtt, 0.0).softmax(dim=-1).masked_fill(blind_bhtt, 0.0)
    return torch.einsum("bhij,bjhk->bihk", weights_bhtt, v_bthk)


def linear_attention(
    q_bthk: Tensor, k_btgk: Tensor, v_btgk: Tensor, horizons: Sequence[float], visible_btt: Tensor
) -> Tensor:
    """sum_j w_ij v_j / sum_j w_ij over the keys j that query i may see, w_ij = phi(q_i) . phi(k_j)
    exp(-|i - j| / horizon), phi = elu + 1 (Katharopoulos et al. 2020, 2006.16236, equation 4; the fading is
    that of Sun et al. 2023, 2307.08621); query head h reads key/value head h * G // H.

    `horizons` holds G numbers; `visible_btt` is bool, and every query sees a key.
    """
    group = q_bthk.shape[2] // k_btgk.shape[2]
    k_bthk, v_bthk = (each.repeat_interleave(group, dim=2) for each in (_features(k_btgk), v_btgk))
    place_t = torch.arange(q_bthk.shape[1], device=q_bthk.device)
    far_tt = (place_t[:, None] - place_t).abs()
    fading_htt = torch.stack([torch.exp(-far_tt.to(q_bthk.dtype) / each) for each in horizons])
    fading_htt = fading_htt.repeat_interleave(group, dim=0)
    weights_bhtt = torch.einsum("bihk,bjhk->bhij", _features(q_bthk), k_bthk) * fading_htt
    weights_bhtt = weights_bhtt * visible_btt[:, None]
    weights_bhtt = weights_bhtt / weights_bhtt.sum(dim=-1, keepdim=True)
    return torch.einsum("bhij,bjhk->bihk", weights_bhtt, v_bthk)


def _features(x: Tensor) -> Tensor:
    """elu(x) + 1: x + 1 above 0, exp(x) below; positive."""
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


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
    return turn(x_bthk, cos, sin)


def turn(x_bthk: Tensor, cos_bt1p: Tensor, sin_bt1p: Tensor) -> Tensor:
    """`rotate` with the angles' cosines and sines given, P = K / 2 of them."""
    left, right = x_bthk.chunk(2, dim=-1)
    return torch.cat((left * cos_bt1p - right * sin_bt1p, right * cos_bt1p + left * sin_bt1p), dim=-1)


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


def linear_distillation(hidden_nd: Tensor, weight_vd: Tensor, ids_nk: Tensor, probs_nk: Tensor) -> Tensor:
    """Sum over N of the cross entropy of softmax(hidden weight^T) against a teacher who named K pieces and
    their probabilities; all others are one outcome (Hinton et al. 2015, 1503.02531, with temperature 1).

    -sum_k p_k log q_k - (1 - sum_k p_k) log(1 - sum_k q_k); an id of -1 names nothing.
    """
    is_there_nk = ids_nk >= 0
    log_q_nv = (hidden_nd @ weight_vd.T).log_softmax(dim=-1)
    log_q_nk = log_q_nv.gather(1, ids_nk.clamp(min=0))
    p_nk = probs_nk.to(log_q_nk.dtype) * is_there_nk
    q_n = (log_q_nk.exp() * is_there_nk).sum(dim=-1)
    p_n = p_nk.sum(dim=-1)
    return -(p_nk * log_q_nk).sum() - ((1 - p_n) * torch.log1p(-q_n)).sum()


def bartlett_loss(hidden_nd: Tensor, weight_vd: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Labels drawn from softmax(hidden weight^T), one for each of N rows, and the sum of their NLL
    (differentiable; the labels are constants).

    The gradient g of sum / N makes N * g^2 an unbiased estimate of the Gauss-Newton diagonal (Liu et al.
    2023, 2305.14342, algorithm 2).
    """
    log_probability_nv = (hidden_nd @ weight_vd.T).log_softmax(dim=-1)
    generator = torch.Generator(hidden_nd.device).manual_seed(seed)
    labels_n1 = torch.multinomial(log_probability_nv.detach().exp(), 1, generator=generator)
    return -log_probability_nv.gather(1, labels_n1).sum(), labels_n1[:, 0]


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
    """One Sophia-G step (Liu et al. 2023, 2305.14342, algorithm 3), in place; returns the share of clipped
    entries.

    m <- b1 m + (1 - b1) g;  p <- p (1 - lr wd) - lr sign(m) min(|m| / (rho * batch_size * h + 1e-15), 1).
    `curvature` h is the running mean of g_hat^2 per batch; `batch_size` counts the targets in a batch.
    """
    momentum.mul_(beta1).add_(gradient, alpha=1 - beta1)
    parameter.mul_(1 - learning_rate * weight_decay)
    ratio = momentum.abs() / (rho * batch_size * curvature + 1e-15)
    parameter.addcmul_(momentum.sign(), ratio.clamp(max=1), value=-learning_rate)
    return (ratio >= 1).float().mean()


def sophia_h_step(
    parameter: Tensor,
    momentum: Tensor,
    curvature: Tensor,
    gradient: Tensor,
    *,
    learning_rate: float,
    beta1: float,
    rho: float,
    weight_decay: float,
) -> Tensor:
    """One Sophia-H step (as above, algorithm 3 with the estimator of algorithm 1), in place; returns the
    share of clipped entries.

    m <- b1 m + (1 - b1) g;  p <- p (1 - lr wd) - lr sign(m) min(|m| / max(rho * h, 1e-12), 1).
    `curvature` h is the running mean of u * (Hessian u), which can be negative: such entries move by lr.
    """
    momentum.mul_(beta1).add_(gradient, alpha=1 - beta1)
    parameter.mul_(1 - learning_rate * weight_decay)
    ratio = momentum.abs() / (rho * curvature).clamp(min=1e-12)
    parameter.addcmul_(momentum.sign(), ratio.clamp(max=1), value=-learning_rate)
    return (ratio >= 1).float().mean()


def curvature_average(curvature: Tensor, left: Tensor, right: Tensor, beta2: float) -> None:
    """h <- b2 h + (1 - b2) left * right, in place: g_hat * g_hat for Sophia-G, u * (Hessian u) for
    Sophia-H."""
    curvature.mul_(beta2).add_(left * right, alpha=1 - beta2)
