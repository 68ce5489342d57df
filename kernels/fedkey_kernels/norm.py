"""RMSNorm and rotary positions.

In: activations. Out: activations. Next stop: `fedkey_kernels.loss`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def rms_norm(x: Tensor, weight_d: Tensor, epsilon: float) -> Tensor:
    """`reference.rms_norm` by torch's fused operator. x [..., D], weight [D], same dtype out."""
    if x.shape[-1] != weight_d.shape[0]:
        raise ValueError(f"weight has {weight_d.shape[0]} entries, x ends in {x.shape[-1]}")
    return functional.rms_norm(x, (x.shape[-1],), weight_d, epsilon)


def rotary_table(
    positions_bt: Tensor, head_size: int, base: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines [B, T, 1, K/2] for `rotate`, computed once per batch and shared by all layers.

    Angles are computed in float64: at position 127 a float32 product is already off by 1e-5.
    """
    if head_size % 2:
        raise ValueError(f"head_size must be even for rotary positions, not {head_size}")
    exponent = torch.arange(0, head_size, 2, dtype=torch.float64, device=positions_bt.device) / head_size
    angle = positions_bt[:, :, None, None].double() * base**-exponent
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x_bthk: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """`reference.rotate` with the angles looked up. [B, T, H, K] in and out."""
    cos, sin = table
    if x_bthk.shape[-1] != 2 * cos.shape[-1]:
        raise ValueError(f"x has head size {x_bthk.shape[-1]}, the table {2 * cos.shape[-1]}")
    left, right = x_bthk.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)
