"""The last linear layer and the cross entropy as one function, which never keeps the logits.

In: hidden states, the tied embedding, targets or a seed to draw them by. Out: sums over targets. Next stop:
`fedkey_kernels.fused_loss`, or `fedkey_kernels.sophia` for who wants the outside first.

Paths, for both functions: "triton", "torch", "reference". With a vocabulary of 4,096 and a width of 128 the
logits are 32 times as large as the hidden states, and autograd would keep them and read them several times.
The torch path forms the gradient of the logits in the forward pass, in place and chunk by chunk, and keeps
only its products with the weights and the hidden states. Measured 2026-11-23 on 2 CPU cores, 2,048 targets,
tiny preset: a training step 0.24 s instead of 0.34 s.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedkey_kernels import paths, reference

PATHS = ("triton", "torch", "reference")
HALVES = (torch.bfloat16, torch.float16)
CHUNK_LOGITS = 1 << 22
"""Logits that the torch path holds at once: 4 million, 16 MB in float32, and as much again while it draws
labels. Half or twice as many were no faster (2,048 targets, V = 4,096 and 16,384, one CPU core, measured
2026-11-24)."""


def linear_cross_entropy(
    hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor, z_penalty: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """`reference.linear_cross_entropy` without storing the logits.

    Under autocast, products are in its dtype, and gradients come back in the dtypes of hidden and weight.

    Args:
        hidden_nd: [N, D] floating point; N may be 0.
        weight_vd: [V, D], same dtype (under autocast, any).
        targets_n: [N] int64 in 0..V-1 (leave ignored positions out before the call).
        z_penalty: weight of logZ^2.

    Returns:
        Three scalars, sums over N: NLL + z_penalty * logZ^2 (differentiable, once), NLL, number of top-1
        hits. Sums are float32, or float64 if the inputs are.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument; a forced path that cannot
            run.
    """
    _check_matrices(hidden_nd, weight_vd)
    if targets_n.shape != hidden_nd.shape[:1] or targets_n.dtype != torch.int64:
        raise ValueError(
            f"targets must be int64 [{hidden_nd.shape[0]}], not {targets_n.dtype} {tuple(targets_n.shape)}"
        )
    if targets_n.device != hidden_nd.device:
        raise ValueError(f"targets are on {targets_n.device}, hidden is on {hidden_nd.device}")
    hidden_nd = _cast(hidden_nd)
    path = _chosen_path(hidden_nd)
    if path == "triton":
        from fedkey_kernels import fused_loss

        return fused_loss.linear_cross_entropy(hidden_nd, weight_vd, targets_n, z_penalty)[:3]
    if path == "torch":
        wanted = _wanted(hidden_nd, weight_vd)
        return chunked_loss(hidden_nd, weight_vd, targets_n, 0, z_penalty, *wanted)[:3]
    exact = _sum_dtype(hidden_nd)
    return reference.linear_cross_entropy(hidden_nd.to(exact), weight_vd.to(exact), targets_n, z_penalty)


def bartlett_loss(hidden_nd: Tensor, weight_vd: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """NLL of labels drawn from the model's own softmax, one a row, in the same pass over the logits.

    The gradient g of sum / N gives Sophia its curvature, as N * g^2 (Gauss-Newton-Bartlett, Liu et al. 2023,
    2305.14342, algorithm 2): its mean over labels is the diagonal of the Gauss-Newton matrix.

    Args:
        hidden_nd, weight_vd: as in `linear_cross_entropy`.
        seed: 0 <= seed < 2^63. The same seed, shapes and path give the same labels.

    Returns:
        The summed NLL (differentiable, once; float32, or float64 if the inputs are), and the labels, int64
        [N].

    Raises:
        ValueError: as `linear_cross_entropy`, and a seed out of range.
    """
    _check_matrices(hidden_nd, weight_vd)
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be 0 or more and less than 2^63, not {seed}")
    hidden_nd = _cast(hidden_nd)
    path = _chosen_path(hidden_nd)
    if path == "triton":
        from fedkey_kernels import fused_loss

        return fused_loss.bartlett_loss(hidden_nd, weight_vd, seed)[:2]
    if path == "torch":
        wanted = _wanted(hidden_nd, weight_vd)
        total, _, _, labels_n, *_ = chunked_loss(hidden_nd, weight_vd, None, seed, 0.0, *wanted)
        return total, labels_n
    exact = _sum_dtype(hidden_nd)
    return reference.bartlett_loss(hidden_nd.to(exact), weight_vd.to(exact), seed)


def _check_matrices(hidden_nd: Tensor, weight_vd: Tensor) -> None:
    if hidden_nd.dim() != 2 or weight_vd.dim() != 2 or hidden_nd.shape[1] != weight_vd.shape[1]:
        raise ValueError(
            f"hidden {tuple(hidden_nd.shape)} and weight {tuple(weight_vd.shape)} do not share a width"
        )
    if 0 in weight_vd.shape:
        raise ValueError(f"weight {tuple(weight_vd.shape)} is empty")
    mixed = hidden_nd.dtype != weight_vd.dtype and not torch.is_autocast_enabled(hidden_nd.device.type)
    if mixed or not (hidden_nd.dtype.is_floating_point and weight_vd.dtype.is_floating_point):
        raise ValueError(
            f"hidden is {hidden_nd.dtype} and weight {weight_vd.dtype}; both must be one floating-point type"
        )
    if weight_vd.device != hidden_nd.device:
        raise ValueError(f"weight is on {weight_vd.device}, hidden is on {hidden_nd.device}")


def _cast(hidden_nd: Tensor) -> Tensor:
    """Hidden in the dtype of the products. The weight is cast behind the seam, so that its gradient, a sum
    over all rows, is never rounded to it."""
    device = hidden_nd.device.type
    if torch.is_autocast_enabled(device) and hidden_nd.dtype != torch.float64:  # which autocast leaves alone
        return hidden_nd.to(torch.get_autocast_dtype(device))
    return hidden_nd


def _chosen_path(hidden_nd: Tensor) -> str:
    why_not = paths.no_triton(hidden_nd, HALVES)  # float32 has no tensor cores: torch's products are faster
    default, reason = ("triton", "CUDA") if why_not is None else ("torch", why_not)
    path = paths.choose("loss", PATHS, default, reason)
    if path == "triton":
        paths.require_triton("loss", hidden_nd, (*HALVES, torch.float32))
    return path


def _wanted(hidden_nd: Tensor, weight_vd: Tensor) -> tuple[bool, bool]:
    """Which gradients the forward pass of the torch path must form."""
    enabled = torch.is_grad_enabled()
    return enabled and hidden_nd.requires_grad, enabled and weight_vd.requires_grad


def _sum_dtype(hidden_nd: Tensor) -> torch.dtype:
    return torch.promote_types(hidden_nd.dtype, torch.float32)


@torch.library.custom_op("fedkey::chunked_loss", mutates_args=())
def chunked_loss(
    hidden_nd: Tensor,
    weight_vd: Tensor,
    targets_n: Tensor | None,
    seed: int,
    z_penalty: float,
    wants_hidden: bool,
    wants_weight: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The torch path of both functions: labels are drawn by `seed` where there are no targets.

    Returns:
        total (differentiable, once), NLL and hits, as `linear_cross_entropy` has them; the labels that were
        drawn; the gradients of hidden and weight for a total of one, empty where not wanted.
    """
    sum_dtype, device = _sum_dtype(hidden_nd), hidden_nd.device
    nll_sum = torch.zeros((), dtype=sum_dtype, device=device)
    z_sum = torch.zeros_like(nll_sum)
    hits = torch.zeros((), dtype=torch.int64, device=device)
    (num_rows, width), vocabulary = hidden_nd.shape, weight_vd.shape[0]
    grad_hidden_nd = torch.empty(num_rows if wants_hidden else 0, width, dtype=hidden_nd.dtype, device=device)
    grad_weight_vd = torch.zeros(vocabulary if wants_weight else 0, width, dtype=sum_dtype, device=device)
    labels_n = torch.empty(0 if targets_n is not None else num_rows, dtype=torch.int64, device=device)
    generator = None if targets_n is not None else torch.Generator(device).manual_seed(seed)
    low_weight_vd = weight_vd.to(hidden_nd.dtype)
    chunk = max(1, CHUNK_LOGITS // vocabulary)
    for start in range(0, num_rows, chunk):
        rows = slice(start, start + chunk)
        hidden_cd = hidden_nd[rows]
        logits_cv = (hidden_cd @ low_weight_vd.T).to(sum_dtype)
        top_c1 = logits_cv.amax(dim=-1, keepdim=True)
        if targets_n is not None:
            targets_c1 = targets_n[rows, None]
            target_logit_c1 = logits_cv.gather(1, targets_c1)
        # From here on the buffer holds exp(logit - top), then the gradient.
        sum_c1 = logits_cv.sub_(top_c1).exp_().sum(dim=-1, keepdim=True)
        if targets_n is None:
            targets_c1 = draw(logits_cv, generator)
            labels_n[rows] = targets_c1[:, 0]
            smallest = torch.finfo(sum_dtype).tiny
            target_logit_c1 = logits_cv.gather(1, targets_c1).clamp_(min=smallest).log_() + top_c1
        hits += (target_logit_c1 >= top_c1).sum()
        log_z_c1 = sum_c1.log() + top_c1
        nll_sum += (log_z_c1 - target_logit_c1).sum()
        z_sum += log_z_c1.square().sum()
        if wants_hidden or wants_weight:
            logits_cv.mul_((1 + 2 * z_penalty * log_z_c1) / sum_c1)
            logits_cv.scatter_add_(1, targets_c1, torch.full_like(sum_c1, -1.0))
            gradient_cv = logits_cv.to(hidden_nd.dtype)
            if wants_hidden:
                grad_hidden_nd[rows] = gradient_cv @ low_weight_vd
            if wants_weight:
                add_product(grad_weight_vd, gradient_cv.T, hidden_cd)
    return nll_sum + z_penalty * z_sum, nll_sum, hits, labels_n, grad_hidden_nd, grad_weight_vd


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total <- total + left @ right, in total's dtype."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)  # with no other matrix of its size
    else:
        total += left @ right


def draw(weights_cv: Tensor, generator: torch.Generator | None) -> Tensor:
    """One entry [C, 1] of each row, with a probability proportional to its weight: the first whose cumulative
    sum exceeds a uniform share of the row's.

    One random number a row. `torch.multinomial` and Gumbel noise take one an entry: 0.22 s for 2,048 rows of
    4,096 on one CPU core where this takes 0.026 s (measured 2026-11-24).
    """
    cumulative_cv = weights_cv.cumsum(dim=-1)
    total_c1 = cumulative_cv[:, -1:]
    uniform_c1 = torch.rand(total_c1.shape, dtype=total_c1.dtype, device=total_c1.device, generator=generator)
    labels_c1 = torch.searchsorted(cumulative_cv, uniform_c1 * total_c1, right=True)
    return labels_c1.clamp_(max=weights_cv.shape[1] - 1)  # rounding may leave no entry


@torch.library.custom_op("fedkey::scaled_gradients", mutates_args=())
def scaled_gradients(
    grad_total: Tensor, grad_hidden_nd: Tensor, grad_weight_vd: Tensor, weight_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """What the forward pass kept, times the gradient of the total. An operator without a derivative: what was
    kept is constant to autograd, and a second derivative would be silently wrong."""
    grad_hidden = grad_hidden_nd.to(grad_total.dtype) * grad_total
    return grad_hidden.to(grad_hidden_nd.dtype), (grad_weight_vd * grad_total).to(weight_dtype)


@chunked_loss.register_fake
def _(
    hidden_nd: Tensor,
    weight_vd: Tensor,
    targets_n: Tensor | None,
    seed: int,
    z_penalty: float,
    wants_hidden: bool,
    wants_weight: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    (num_rows, width), vocabulary = hidden_nd.shape, weight_vd.shape[0]
    total = hidden_nd.new_empty((), dtype=_sum_dtype(hidden_nd))
    return (
        total,
        torch.empty_like(total),
        total.new_empty((), dtype=torch.int64),
        total.new_empty(0 if targets_n is not None else num_rows, dtype=torch.int64),
        hidden_nd.new_empty((num_rows if wants_hidden else 0, width)),
        total.new_empty((vocabulary if wants_weight else 0, width)),
    )


@scaled_gradients.register_fake
def _(
    grad_total: Tensor, grad_hidden_nd: Tensor, grad_weight_vd: Tensor, weight_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(grad_hidden_nd), torch.empty_like(grad_weight_vd, dtype=weight_dtype)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.weight_dtype = inputs[1].dtype
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[4:])


def _backward(ctx: Any, grad_total: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    wants_hidden, wants_weight = ctx.needs_input_grad[:2]
    grad_hidden_nd, grad_weight_vd = scaled_gradients(grad_total, *ctx.saved_tensors, ctx.weight_dtype)
    found = (grad_hidden_nd if wants_hidden else None, grad_weight_vd if wants_weight else None)
    return *found, None, None, None, None, None


chunked_loss.register_autograd(_backward, setup_context=_setup)
