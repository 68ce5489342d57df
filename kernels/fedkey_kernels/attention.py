"""Attention inside packed documents: one signature, and the fastest path this machine has.

In: queries, keys, values and a `Mask`. Out: the attended values. Next stop: `fedkey_kernels.tile_attention`,
or `fedkey_kernels.linear_attention` for who wants the outside first.

Paths: "tile" (one tile of scores a program, for documents that fit a tile), "flash" (any length, Triton),
"sdpa" (torch's own, with a dense mask), "matmul" (two batched products around a softmax, with the same mask),
"reference". On CUDA the mask decides between the first two: `Mask.tile` is the promise that no document
crosses a tile. On a CPU the dtype decides between the next two: see `_matmul`. A mask that is dense
(`Mask.dense_btt`) is for the last three: the Triton kernels know which blocks of scores to leave out from
where documents start and end, and have no use for anything else.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fedkey_kernels import paths, reference
from fedkey_kernels.mask import Mask

PATHS = ("tile", "flash", "sdpa", "matmul", "reference")
TILES = (16, 32, 64, 128)
"""Tiles that the tile kernel knows; 128 is the phone's window."""
HALVES = (torch.bfloat16, torch.float16)
LARGEST_HEAD = 128
SPARSE_BLOCKS = (64, 128)
"""Sizes of a bitmap's blocks."""


def chosen_path(q_bthk: Tensor, mask: Mask) -> str:
    """Which implementation runs: what `FEDKEY_ATTENTION` says, otherwise the best for this device and
    mask."""
    why_not = _no_triton(q_bthk)
    if why_not is not None:
        on_cpu_in_half = q_bthk.device.type == "cpu" and q_bthk.dtype in HALVES
        default, reason = "matmul" if on_cpu_in_half else "sdpa", why_not
    elif mask.dense_btt is not None:
        default, reason = "sdpa", "the mask is dense"
    elif mask.tile in TILES:
        default, reason = "tile", "no document crosses a tile"
    else:
        default, reason = "flash", "documents of any length"
    return paths.choose("attention", PATHS, default, reason)


def _no_triton(q_bthk: Tensor) -> str | None:
    if q_bthk.shape[3] > LARGEST_HEAD:
        return f"the Triton kernels take heads of at most {LARGEST_HEAD}"
    return paths.no_triton(q_bthk, HALVES)  # float32 has no tensor cores: torch's own is as fast


def _require_triton(q_bthk: Tensor, path: str) -> None:
    if q_bthk.shape[3] > LARGEST_HEAD:
        raise ValueError(f"q has heads of {q_bthk.shape[3]}; the {path} path takes at most {LARGEST_HEAD}")
    paths.require_triton("attention", q_bthk, (*HALVES, torch.float32))


def attention(q_bthk: Tensor, k_btgk: Tensor, v_btgk: Tensor, mask: Mask) -> Tensor:
    """softmax(q k^T / sqrt(K)) v, in which no position sees another document.

    Args:
        q_bthk: queries [B, T, H, K], K contiguous; of another stream than the keys, if need be.
        k_btgk, v_btgk: keys and values [B, T, G, K], K contiguous; G divides H, and query head h reads
            key/value head h * G // H (grouped-query attention, 2305.13245).
        mask: who sees whom; made once per batch for all layers.

    Returns:
        [B, T, H, K] in q's dtype. Padding attends to itself; its output is finite and meaningless.

    Raises:
        ValueError: shapes, dtypes, devices or strides that do not fit, naming the argument; a forced path
            that cannot run.
    """
    check_heads(q_bthk, k_btgk, v_btgk)
    check_mask(q_bthk, mask)
    path = chosen_path(q_bthk, mask)
    if path == "reference":
        return reference.attention(q_bthk, k_btgk, v_btgk, mask.visible_btt())
    if path == "sdpa":
        return _sdpa(q_bthk, k_btgk, v_btgk, mask)
    if path == "matmul":
        return _matmul(q_bthk, k_btgk, v_btgk, mask)
    _require_triton(q_bthk, path)
    if mask.dense_btt is not None:
        raise ValueError(f"mask.dense is given; the {path} path takes none, and sdpa, matmul or reference do")
    bounds = (mask.starts_bt, mask.ends_bt)
    if path == "tile":
        if mask.tile not in TILES:
            raise ValueError(f"mask.tile is {mask.tile}; the tile path needs one of {TILES}")
        from fedkey_kernels.tile_attention import tile_attention

        return tile_attention(q_bthk, k_btgk, v_btgk, *bounds, mask.causal, mask.window, mask.tile)
    from fedkey_kernels.flash_attention import flash_attention

    return flash_attention(q_bthk, k_btgk, v_btgk, *bounds, mask.causal, mask.window)[0]


def block_sparse_attention(
    q_bthk: Tensor,
    k_btgk: Tensor,
    v_btgk: Tensor,
    bitmap_mn: Tensor,
    *,
    block_size: int = 64,
    causal: bool = False,
) -> Tensor:
    """Block-sparse FlashAttention (2205.14135, section 3.3): the query block m sees the key block n where
    `bitmap_mn` says so, at a cost proportional to the blocks it holds.

    Args:
        q_bthk, k_btgk, v_btgk: as in `attention`.
        bitmap_mn: bool [M, M], M = T / block_size rounded up; the same for all rows and heads.
        block_size: positions in a block, 64 or 128.
        causal: whether, besides, a position sees only itself and what stands before it.

    Returns:
        [B, T, H, K] in q's dtype; a position that sees nothing gets zeros.

    Raises:
        ValueError: as `attention`, and a bitmap that does not fit.
    """
    check_heads(q_bthk, k_btgk, v_btgk)
    num_positions = q_bthk.shape[1]
    num_blocks = -(-num_positions // block_size) if block_size in SPARSE_BLOCKS else 0
    if block_size not in SPARSE_BLOCKS:
        raise ValueError(f"block_size must be one of {SPARSE_BLOCKS}, not {block_size}")
    if bitmap_mn.shape != (num_blocks, num_blocks) or bitmap_mn.dtype != torch.bool:
        raise ValueError(
            f"bitmap must be bool [{num_blocks}, {num_blocks}], not {bitmap_mn.dtype} {list(bitmap_mn.shape)}"
        )
    if bitmap_mn.device != q_bthk.device:
        raise ValueError(f"bitmap is on {bitmap_mn.device}, q is on {q_bthk.device}")
    why_not = _no_triton(q_bthk)
    path = paths.choose(
        "attention", PATHS, "reference" if why_not else "flash", why_not or "blocks of a bitmap"
    )
    if path in ("sdpa", "matmul", "reference"):
        visible_tt = bitmap_mn.repeat_interleave(block_size, 0).repeat_interleave(block_size, 1)
        visible_tt = visible_tt[:num_positions, :num_positions]
        return reference.attention(q_bthk, k_btgk, v_btgk, visible_tt.tril() if causal else visible_tt)
    _require_triton(q_bthk, path)
    from fedkey_kernels.flash_attention import block_lists, sparse_flash_attention

    lists = block_lists(bitmap_mn)
    return sparse_flash_attention(q_bthk, k_btgk, v_btgk, *lists, causal, block_size)[0]


def _bias_b1tt(q_bthk: Tensor, mask: Mask) -> Tensor:
    """What is added to the scores, in q's dtype: under autocast the mask is made in float32 and q is bf16."""
    bias_b1tt = mask.bias_b1tt if mask.bias_b1tt is not None else mask.with_bias(q_bthk.dtype).bias_b1tt
    assert bias_b1tt is not None
    return bias_b1tt.to(q_bthk.dtype)


def _matmul(q_bthk: Tensor, k_btgk: Tensor, v_btgk: Tensor, mask: Mask) -> Tensor:
    """The query heads that share a key/value head are one matrix, so that both products are plain batched
    ones, which a CPU's matrix units take.

    torch's own attention does not use those in its backward pass in half precision: 32 rows of 128, 8 heads
    of 32 over 4, forward and backward on one core with AMX took it 91 ms, this 16 ms. In float32 torch's is
    the faster one, 28 ms against 34 (measured 2026-11-26).
    """
    num_rows, num_positions, num_heads, head_size = q_bthk.shape
    num_groups = k_btgk.shape[2]
    grouped = (num_rows, num_positions, num_groups, num_heads // num_groups, head_size)
    matrices = (num_rows * num_groups, -1, head_size)
    q_ntk = (q_bthk * head_size**-0.5).view(grouped).permute(0, 2, 3, 1, 4).reshape(matrices)
    k_ntk = k_btgk.transpose(1, 2).reshape(matrices)
    v_ntk = v_btgk.transpose(1, 2).reshape(matrices)
    scores_bgrtt = torch.bmm(q_ntk, k_ntk.mT).view(
        num_rows, num_groups, -1, num_positions, num_positions
    ) + _bias_b1tt(q_bthk, mask).unsqueeze(1)
    # Not torch.softmax, which autocast would have in float32.
    weights_bgrtt = torch._softmax(scores_bgrtt, -1, False)
    out_ntk = torch.bmm(weights_bgrtt.view(num_rows * num_groups, -1, num_positions), v_ntk)
    out_bgrtk = out_ntk.view(num_rows, num_groups, -1, num_positions, head_size)
    return out_bgrtk.permute(0, 3, 1, 2, 4).reshape(q_bthk.shape)


def _sdpa(q_bthk: Tensor, k_btgk: Tensor, v_btgk: Tensor, mask: Mask) -> Tensor:
    out_bhtk = functional.scaled_dot_product_attention(
        q_bthk.transpose(1, 2),
        k_btgk.transpose(1, 2),
        v_btgk.transpose(1, 2),
        attn_mask=_bias_b1tt(q_bthk, mask),
        enable_gqa=q_bthk.shape[2] != k_btgk.shape[2],
    )
    return out_bhtk.transpose(1, 2)


def check_heads(q_bthk: Tensor, k_btgk: Tensor, v_btgk: Tensor) -> None:
    """`ValueError` that names which of queries [B, T, H, K], keys and values [B, T, G, K] does not fit."""
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
    for name, tensor in (("q", q_bthk), ("k", k_btgk), ("v", v_btgk)):
        if head_size > 1 and tensor.stride(3) != 1:
            raise ValueError(
                f"{name} must lie contiguous along its last dimension, not with stride {tensor.stride(3)}"
            )
        if num_positions * tensor.stride(1) >= 2**31:
            raise ValueError(f"{name} has rows of 2^31 elements or more, which the kernels do not address")


def check_mask(q_bthk: Tensor, mask: Mask) -> None:
    """`ValueError` that names what of the mask does not fit queries [B, T, H, K]."""
    num_rows, num_positions = q_bthk.shape[:2]
    for name, bounds_bt in (("starts", mask.starts_bt), ("ends", mask.ends_bt)):
        if bounds_bt.shape != (num_rows, num_positions):
            raise ValueError(
                f"mask.{name} must be [{num_rows}, {num_positions}] as q is, not {tuple(bounds_bt.shape)}"
            )
        if bounds_bt.dtype != torch.int32 or bounds_bt.device != q_bthk.device:
            raise ValueError(
                f"mask.{name} must be int32 on {q_bthk.device}, not {bounds_bt.dtype} on {bounds_bt.device}"
            )
        if not bounds_bt.is_contiguous():
            raise ValueError(f"mask.{name} must lie contiguous")
    dense_btt = mask.dense_btt
    if dense_btt is not None and (
        dense_btt.shape != (num_rows, num_positions, num_positions)
        or dense_btt.dtype != torch.bool
        or dense_btt.device != q_bthk.device
    ):
        raise ValueError(
            f"mask.dense must be bool [{num_rows}, {num_positions}, {num_positions}] on {q_bthk.device}, "
            f"not {dense_btt.dtype} {list(dense_btt.shape)} on {dense_btt.device}"
        )
    bias_b1tt = mask.bias_b1tt
    if bias_b1tt is not None and bias_b1tt.shape != (num_rows, 1, num_positions, num_positions):
        raise ValueError(
            f"mask.bias must be [{num_rows}, 1, {num_positions}, {num_positions}], "
            f"not {tuple(bias_b1tt.shape)}"
        )
