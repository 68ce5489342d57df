"""RMSNorm and rotary positions.

In: activations. Out: activations. Next stop: `fedkey_kernels.fused_norm`, or `fedkey_kernels.loss` for who
wants the outside first.

Paths, for both: "triton", "torch", "reference". torch has no operator for rotary positions, so that "torch"
and "reference" differ in RMSNorm alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fedkey_kernels import paths, reference

PATHS = ("triton", "torch", "reference")
FLOATS = (torch.bfloat16, torch.float16, torch.float32)
LARGEST_WIDTH = 8192
"""That the Triton kernel of RMSNorm holds in registers, a row at a time."""
MOST_HEADS = 2**31 - 2**16
"""That the Triton kernel of the rotation counts, over all rows and positions."""


def rms_norm(x: Tensor, weight_d: Tensor, epsilon: float) -> Tensor:
    """x / sqrt(mean(x^2) + epsilon) * weight over the last dimension (Zhang and Sennrich 2019, 1910.07467).

    Args:
        x: [..., D], floating point, D contiguous.
        weight_d: [D], floating point.
        epsilon: keeps the root from zero.

    Returns:
        [..., D] in x's dtype; under autocast in autocast's, because what follows is a matrix product, which
        would cast it there anyway.

    Raises:
        ValueError: shapes, dtypes, devices or strides that do not fit, naming the argument; a forced path
            that cannot run.
    """
    _check_floating("x", x)
    _check_floating("weight", weight_d)
    if x.dim() == 0 or weight_d.shape != x.shape[-1:]:
        raise ValueError(f"weight is {list(weight_d.shape)}, x ends in {list(x.shape[-1:])}")
    if weight_d.device != x.device:
        raise ValueError(f"weight is on {weight_d.device}, x on {x.device}")
    _check_contiguous("x", x)
    dtype, wide = _result_dtype(x), torch.promote_types(x.dtype, weight_d.dtype)
    width = x.shape[-1]
    unfit = None
    if weight_d.dtype not in FLOATS:
        unfit = f"the Triton kernel takes no weight in {weight_d.dtype}"
    elif width > LARGEST_WIDTH:
        unfit = f"the Triton kernel takes rows of at most {LARGEST_WIDTH}"
    path = _chosen_path(x, unfit)
    if path == "triton":
        from fedkey_kernels import fused_norm

        return fused_norm.rms_norm(x, weight_d, epsilon, dtype)[0]
    if path == "torch":  # torch's fused operator warns of a weight in another dtype
        return functional.rms_norm(x.to(wide), (width,), weight_d.to(wide), epsilon).to(dtype)
    return reference.rms_norm(x, weight_d, epsilon).to(dtype)


def rotary_table(
    positions_bt: Tensor, head_size: int, base: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines [B, T, 1, K/2] for `rotate`, computed once per batch and shared by all layers.

    Angles are computed in float64: at position 127 a float32 product is already off by 1e-5.

    Args:
        positions_bt: integer [B, T], counted from 0 in each document.
        head_size: K, even.
        base: of the geometric row of turning speeds, base^(-2i/K).
        dtype: of the result.
    """
    if head_size % 2:
        raise ValueError(f"head_size must be even for rotary positions, not {head_size}")
    exponent = torch.arange(0, head_size, 2, dtype=torch.float64, device=positions_bt.device) / head_size
    angle = positions_bt[:, :, None, None].double() * base**-exponent
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x_bthk: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding (Su et al. 2021, 2104.09864), half-split: pair i is (x[i], x[i + K/2]).

    Args:
        x_bthk: queries or keys [B, T, H, K], floating point, K contiguous; other strides are free, so that x
            may be a part of a larger tensor.
        table: cosines and sines of `rotary_table`, each [B, T, 1, K/2]. May be wider than x (float32 beside
            bf16 under autocast): pairs are turned in the wider dtype. Takes no gradient.

    Returns:
        [B, T, H, K] in x's dtype, contiguous.

    Raises:
        ValueError: shapes, dtypes, devices or strides that do not fit, naming the argument; a forced path
            that cannot run.
    """
    cos, sin = table
    _check_floating("x", x_bthk)
    for part in table:
        _check_floating("table", part)
        if part.device != x_bthk.device:
            raise ValueError(f"the table is on {part.device}, x on {x_bthk.device}")
    if (
        x_bthk.dim() != 4
        or cos.shape != sin.shape
        or (*cos.shape[:3], 2 * cos.shape[-1]) != (*x_bthk.shape[:2], 1, x_bthk.shape[-1])
    ):
        raise ValueError(
            f"the table {tuple(cos.shape)}, {tuple(sin.shape)} does not fit x {tuple(x_bthk.shape)}"
        )
    _check_contiguous("x", x_bthk)
    unfit = None
    if not (cos.dtype in FLOATS and sin.dtype in FLOATS):
        unfit = f"the Triton kernel takes no table in {cos.dtype}, {sin.dtype}"
    elif x_bthk.shape[:3].numel() > MOST_HEADS:
        unfit = f"the Triton kernel takes at most {MOST_HEADS} heads in all"
    if _chosen_path(x_bthk, unfit) == "triton":
        from fedkey_kernels import fused_norm

        return fused_norm.rotate(x_bthk, cos, sin, False)
    return reference.turn(x_bthk, cos, sin).to(x_bthk.dtype).contiguous()


def _chosen_path(x: Tensor, unfit: str | None) -> str:
    """`unfit` says why the Triton kernel does not take the arguments, apart from x's dtype and device."""
    why_not = paths.no_triton(x, FLOATS) or unfit
    default, reason = ("triton", "CUDA") if why_not is None else ("torch", why_not)
    path = paths.choose("norm", PATHS, default, reason)
    if path == "triton":
        paths.require_triton("norm", x, FLOATS)
        if unfit is not None:
            raise ValueError(f"FEDKEY_NORM asks for a Triton kernel, but {unfit}")
    return path


def _result_dtype(x: Tensor) -> torch.dtype:
    """What autocast would cast x to; it leaves float64 alone."""
    if x.dtype in FLOATS and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def _check_floating(name: str, tensor: Tensor) -> None:
    if not tensor.dtype.is_floating_point:
        raise ValueError(f"{name} must be floating point, not {tensor.dtype}")


def _check_contiguous(name: str, tensor: Tensor) -> None:
    if tensor.shape[-1] > 1 and tensor.stride(-1) != 1:
        raise ValueError(
            f"{name} must lie contiguous along its last dimension, not with stride {tensor.stride(-1)}"
        )
