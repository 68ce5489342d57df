"""RMSNorm and rotary positions.

In: activations. Out: activations. Next stop: `fedkey_kernels.loss`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def rms_norm(x: Tensor, weight_d: Tensor, epsilon: float) -> Tensor:
    """`reference.rms_norm` by torch's fused operator. x [..., D], weight [D], same dtype out.

    Raises:
        ValueError: the weight does not fit x.
    """
    if weight_d.shape != x.shape[-1:]:
        raise ValueError(f"weight is {list(weight_d.shape)}, x ends in {list(x.shape[-1:])}")
    return functional.rms_norm(x, (x.shape[-1],), weight_d, epsilon)


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
    """`reference.rotate` with the angles looked up. [B, T, H, K] in and out, in x's dtype.

    Raises:
        ValueError: the table does not fit x.
    """
    cos, sin = table
    if x_bthk.dim() != 4 or (*cos.shape[:3], 2 * cos.shape[-1]) != (*x_bthk.shape[:2], 1, x_bthk.shape[-1]):
        raise ValueError(f"the table {tuple(cos.shape)} does not fit x {tuple(x_bthk.shape)}")
    left, right = x_bthk.chunk(2, dim=-1)
    # The table may be wider than x (float32 beside bf16 under autocast): turn in the wider, answer in x's.
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1).to(x_bthk.dtype)
