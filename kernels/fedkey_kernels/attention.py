"""Attention inside packed documents: one signature, and the fastest path this machine has.

In: queries, keys, values and the document of each position. Out: the attended values. Next stop:
`fedkey_kernels.loss`, then `fedkey_server.model`.
"""

from __future__ import annotations

import logging
import os

import torch
from torch import Tensor
from torch.nn import functional

from fedkey_kernels import reference

log = logging.getLogger(__name__)

PATH_VARIABLE = "FEDKEY_ATTENTION"
PATHS = ("reference", "sdpa")
_announced: set[str] = set()


def chosen_path() -> str:
    """Which implementation runs: `FEDKEY_ATTENTION` if set, otherwise torch's fused SDPA. Logged once per
    path."""
    forced = os.environ.get(PATH_VARIABLE)
    if forced is not None and forced not in PATHS:
        raise ValueError(f"{PATH_VARIABLE} is {forced!r}; it can be one of {', '.join(PATHS)}")
    path = forced or "sdpa"
    if path not in _announced:
        _announced.add(path)
        log.info("attention: %s (%s)", path, f"{PATH_VARIABLE} says so" if forced else "torch's fused kernel")
    return path


def attention(
    q_bthk: Tensor,
    k_btgk: Tensor,
    v_btgk: Tensor,
    document_ids_bt: Tensor,
    *,
    causal: bool = True,
    bias_b1tt: Tensor | None = None,
) -> Tensor:
    """Attention in which no position sees another document.

    Args:
        q_bthk: queries [B, T, H, K].
        k_btgk, v_btgk: keys and values [B, T, G, K]; G divides H (grouped-query attention, 2305.13245).
        document_ids_bt: integer [B, T]; equal numbers in a row are one document, -1 is padding.
        causal: whether a position sees only itself and what stands before it.
        bias_b1tt: the mask as `additive_mask` makes it, if the caller has it already (a model makes it once
            for all its layers). It must say what `document_ids_bt` and `causal` say: the SDPA path goes by
            it, the reference by them.

    Returns:
        [B, T, H, K] in q's dtype. Padding attends to itself; its output is finite and meaningless.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument.
    """
    _check(q_bthk, k_btgk, v_btgk, document_ids_bt, bias_b1tt)
    if chosen_path() == "reference":
        return reference.attention(q_bthk, k_btgk, v_btgk, document_ids_bt, causal=causal)
    if bias_b1tt is None:
        bias_b1tt = additive_mask(document_ids_bt, q_bthk.dtype, causal=causal)
    out_bhtk = functional.scaled_dot_product_attention(
        q_bthk.transpose(1, 2),
        k_btgk.transpose(1, 2),
        v_btgk.transpose(1, 2),
        attn_mask=bias_b1tt.to(q_bthk.dtype),  # under autocast the mask is made in float32, q is bf16
        enable_gqa=q_bthk.shape[2] != k_btgk.shape[2],
    )
    return out_bhtk.transpose(1, 2)


def additive_mask(document_ids_bt: Tensor, dtype: torch.dtype, *, causal: bool = True) -> Tensor:
    """The document mask as SDPA wants it: [B, 1, T, T], 0 where allowed and minus infinity elsewhere."""
    mask_btt = reference.document_mask(document_ids_bt, causal=causal)
    bias_btt = torch.zeros(mask_btt.shape, dtype=dtype, device=mask_btt.device)
    return bias_btt.masked_fill_(~mask_btt, float("-inf"))[:, None]


_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _check(
    q_bthk: Tensor, k_btgk: Tensor, v_btgk: Tensor, document_ids_bt: Tensor, bias_b1tt: Tensor | None
) -> None:
    if q_bthk.dim() != 4:
        raise ValueError(f"q must be [B, T, H, K], not {tuple(q_bthk.shape)}")
    if not q_bthk.dtype.is_floating_point:
        raise ValueError(f"q must be floating point, not {q_bthk.dtype}")
    num_rows, num_positions, num_heads, head_size = q_bthk.shape
    for name, tensor in (("k", k_btgk), ("v", v_btgk)):
        if tensor.dim() != 4 or tensor.shape[:2] != q_bthk.shape[:2] or tensor.shape[3] != head_size:
            raise ValueError(
                f"{name} must be [{num_rows}, {num_positions}, G, {head_size}] as q is, "
                f"not {tuple(tensor.shape)}"
            )
        if tensor.dtype != q_bthk.dtype or tensor.device != q_bthk.device:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}, q is {q_bthk.dtype} on {q_bthk.device}"
            )
        if tensor.shape[2] == 0 or num_heads % tensor.shape[2]:
            raise ValueError(f"{name} has {tensor.shape[2]} heads, which do not divide q's {num_heads}")
    if k_btgk.shape != v_btgk.shape:
        raise ValueError(f"k {tuple(k_btgk.shape)} and v {tuple(v_btgk.shape)} differ in shape")
    if document_ids_bt.shape != (num_rows, num_positions):
        raise ValueError(
            f"document_ids must be [{num_rows}, {num_positions}], not {tuple(document_ids_bt.shape)}"
        )
    if document_ids_bt.dtype not in _INTEGERS or document_ids_bt.device != q_bthk.device:
        raise ValueError(
            f"document_ids must be integers on {q_bthk.device}, "
            f"not {document_ids_bt.dtype} on {document_ids_bt.device}"
        )
    if bias_b1tt is not None and bias_b1tt.shape != (num_rows, 1, num_positions, num_positions):
        raise ValueError(
            f"bias must be [{num_rows}, 1, {num_positions}, {num_positions}], not {tuple(bias_b1tt.shape)}"
        )
