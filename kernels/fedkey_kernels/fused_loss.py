"""The last linear layer and the cross entropy in Triton: logits live in registers.

In: hidden states, the tied embedding, targets or a seed. Out: sums over targets, and gradients. Next stop:
`fedkey_kernels.sophia`.

Forward: a program takes a block of rows and a span of the vocabulary, and walks over tiles of logits with the
running maximum m and sum l of FlashAttention (Dao et al. 2022, 2205.14135),

    m' = max(m, max_v logit),  l <- l exp(m - m') + sum_v exp(logit - m')

A second kernel joins the spans, logZ = m + log l, and computes the one logit of each row that is asked for by
itself, NLL = logZ - hidden . weight[target]: looking for it in every tile costs three instructions a logit
and, at D = 320, 170 registers instead of 121, with which one program fits a multiprocessor instead of two.

Labels for Gauss-Newton-Bartlett are drawn on the way. When a tile of sum s has joined, t = u l with one
uniform u: if t < s, which happens with probability s / l, the label becomes the first entry of the tile whose
cumulative sum exceeds t; otherwise the earlier one stays. So each entry is the label with its probability
under the softmax (a weighted reservoir of one). It costs a number of Philox (Salmon et al. 2011) a row and
tile; Gumbel noise would cost one, some hundred instructions, a logit, and the product of a tile has 2 D.

Backward computes every tile again, with logZ and c the derivative of the total by the NLL,

    G = softmax * (1 + 2 z_penalty logZ) - onehot(target),  d hidden = c G weight,  d weight = c G^T hidden

and writes G for a bounded chunk of rows, in the inputs' dtype; the two products are cuBLAS's, and d weight is
summed in float32. Why not form gradients in the forward pass, as the torch path does: that saves one product
of four, 2 D operations a logit, but must store the logits and read them again, at least 4 bytes and in 16
bits. At 600 TFLOP/s and 4.3 TB/s the two are even at D = 280 (less if the chunk stays in the L2 cache). It
would also hold a gradient of the weight's size, in float32, from the forward to the backward pass. For wider
models the choice costs at most the fourth product, a quarter of the loss's time. None of this is measured on
a GPU yet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 128
"""Rows and columns of a tile of logits."""
SPAN = 1024
"""Entries of the vocabulary that a program of the forward walks over: 8 tiles, enough to hide its start;
and with 2,048 rows of V = 4096 there are still 64 programs."""
CHUNK_ROWS = 4096
"""Rows of G at once: products of that depth run at cuBLAS's full rate, and the float32 sum of d weight is
read and written once for 6 * 4096 operations an entry. With V = 4096 this is 32 MB, which the L2 cache of an
H200 keeps."""
CHUNK_LOGITS = 1 << 26
"""Entries of G at once, whatever V: 128 MB in bf16."""
LOG2_E = tl.constexpr(1.4426950408889634)


class Launch(NamedTuple):
    """How the kernels that make logits are launched and, ahead of time, compiled."""

    BLOCK_N: int
    BLOCK_V: int
    BLOCK_D: int
    num_warps: int
    num_stages: int


def forward_launch(width: int) -> Launch:
    """Narrow hidden states stay in the program for all tiles of its span; wide ones come in pieces. Either
    way two programs fit a multiprocessor (at most 128 registers and 96 KB), so that one multiplies while the
    other exponentiates; with labels to draw, one."""
    if width <= 128:
        return Launch(TILE, TILE, max(16, triton.next_power_of_2(width)), num_warps=8, num_stages=2)
    return gradient_launch(width)


def gradient_launch(width: int) -> Launch:
    """As `forward_launch`; one tile per program, so nothing stays."""
    return Launch(TILE, TILE, min(64, max(16, triton.next_power_of_2(width))), num_warps=8, num_stages=3)


def chunk_rows(num_rows: int, vocabulary: int) -> int:
    """Rows of G that the backward pass holds at once, in whole tiles if it can."""
    rows = max(1, min(num_rows, CHUNK_ROWS, CHUNK_LOGITS // vocabulary))
    return rows if rows < TILE or rows == num_rows else rows // TILE * TILE


JOIN_ROWS, JOIN_COLUMNS = 32, 64
"""Of the tile of hidden states that a program of the second kernel holds."""
ROUNDING = tl.constexpr(1e-5)
"""A target whose logit is the maximum up to this share of sum_d |hidden_d weight_d| is a hit: its logit was
summed in another order than the maximum."""


@triton.jit
def load_rows(
    pointer, first, num_rows, column, WIDTH: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr
):
    """[BLOCK_R, BLOCK_D] of a contiguous matrix, from row `first` and column `column`. Rows behind the last
    repeat it, which costs no mask; columns behind the last are zeros."""
    rows = tl.minimum(tl.arange(0, BLOCK_R), num_rows - 1 - first)
    columns = column + tl.arange(0, BLOCK_D)
    addresses = pointer + tl.cast(first, tl.int64) * WIDTH + rows[:, None] * WIDTH + columns[None, :]
    if WIDTH % BLOCK_D == 0:
        return tl.load(addresses)
    return tl.load(addresses, mask=columns[None, :] < WIDTH, other=0.0)


@triton.jit
def tile_logits(
    hidden_ptr,
    weight_ptr,
    first_row,
    first_entry,
    num_rows,
    VOCABULARY: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """A tile of logits in float32; hidden states and weights come in pieces of BLOCK_D columns."""
    logits_nv = tl.zeros([BLOCK_N, BLOCK_V], dtype=tl.float32)
    for column in range(0, WIDTH, BLOCK_D):
        hidden_nd = load_rows(hidden_ptr, first_row, num_rows, column, WIDTH, BLOCK_N, BLOCK_D)
        weight_vd = load_rows(weight_ptr, first_entry, VOCABULARY, column, WIDTH, BLOCK_V, BLOCK_D)
        logits_nv = tl.dot(hidden_nd, tl.trans(weight_vd), logits_nv, input_precision="ieee")
    return logits_nv


@triton.jit(do_not_specialize=["num_rows", "seed"])
def forward_kernel(
    hidden_ptr,
    weight_ptr,
    top_ptr,
    sum_ptr,
    label_ptr,
    num_rows,
    seed,
    VOCABULARY: tl.constexpr,
    WIDTH: tl.constexpr,
    SPAN: tl.constexpr,
    SAMPLE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Maximum, sum and, if SAMPLE, the label of a block of rows over one span. Blocks of rows are the fastest
    axis: neighbours read the same span of the weight."""
    first_row = tl.program_id(0) * BLOCK_N
    span = tl.program_id(1)
    rows_n = first_row + tl.arange(0, BLOCK_N)
    inside_n = rows_n < num_rows
    top_n = tl.full([BLOCK_N], float("-inf"), dtype=tl.float32)
    sum_n = tl.zeros([BLOCK_N], dtype=tl.float32)
    label_n = tl.zeros([BLOCK_N], dtype=tl.int32)
    draws: tl.constexpr = (VOCABULARY + BLOCK_V - 1) // BLOCK_V + (VOCABULARY + SPAN - 1) // SPAN
    if WIDTH <= BLOCK_D:
        hidden_nd = load_rows(hidden_ptr, first_row, num_rows, 0, WIDTH, BLOCK_N, BLOCK_D)
    for first_entry in range(span * SPAN, tl.minimum(span * SPAN + SPAN, VOCABULARY), BLOCK_V):
        if WIDTH <= BLOCK_D:
            weight_vd = load_rows(weight_ptr, first_entry, VOCABULARY, 0, WIDTH, BLOCK_V, BLOCK_D)
            logits_nv = tl.dot(hidden_nd, tl.trans(weight_vd), input_precision="ieee")
        else:
            logits_nv = tile_logits(
                hidden_ptr, weight_ptr, first_row, first_entry, num_rows, VOCABULARY, WIDTH, BLOCK_N, BLOCK_V,
                BLOCK_D,
            )  # fmt: skip
        entries_v = tl.arange(0, BLOCK_V)
        if VOCABULARY % BLOCK_V != 0:
            logits_nv = tl.where(entries_v[None, :] < VOCABULARY - first_entry, logits_nv, float("-inf"))
        new_top_n = tl.maximum(top_n, tl.max(logits_nv, axis=1))
        weights_nv = tl.exp2(logits_nv * LOG2_E - (new_top_n * LOG2_E)[:, None])
        tile_sum_n = tl.sum(weights_nv, axis=1)
        sum_n = sum_n * tl.exp2((top_n - new_top_n) * LOG2_E) + tile_sum_n
        top_n = new_top_n
        if SAMPLE:
            draw = rows_n.to(tl.int64) * draws + first_entry // BLOCK_V
            threshold_n = tl.rand(seed, draw) * sum_n
            below_nv = tl.cumsum(weights_nv, axis=1) <= threshold_n[:, None]
            # Rounding may leave no entry above the threshold: then it is the last.
            last = tl.minimum(BLOCK_V, VOCABULARY - first_entry) - 1
            index_n = tl.minimum(tl.sum(below_nv.to(tl.int32), axis=1), last)
            label_n = tl.where(threshold_n < tile_sum_n, first_entry + index_n, label_n)
    places_n = tl.cast(span, tl.int64) * num_rows + rows_n
    tl.store(top_ptr + places_n, top_n, mask=inside_n)
    tl.store(sum_ptr + places_n, sum_n, mask=inside_n)
    if SAMPLE:
        tl.store(label_ptr + places_n, label_n, mask=inside_n)


@triton.jit(do_not_specialize=["num_rows", "seed"])
def join_kernel(
    hidden_ptr,
    weight_ptr,
    labels_ptr,
    top_ptr,
    sum_ptr,
    label_ptr,
    log_z_ptr,
    sums_ptr,
    hits_ptr,
    num_rows,
    seed,
    VOCABULARY: tl.constexpr,
    WIDTH: tl.constexpr,
    NUM_SPANS: tl.constexpr,
    NUM_TILES: tl.constexpr,
    SAMPLE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """What the spans found, as one: logZ of each row; NLL, logZ^2 and hits summed over a block of rows. If
    SAMPLE, labels are written, otherwise they are the targets."""
    rows_n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside_n = rows_n < num_rows
    top_n = tl.full([BLOCK_N], float("-inf"), dtype=tl.float32)
    sum_n = tl.zeros([BLOCK_N], dtype=tl.float32)
    label_n = tl.zeros([BLOCK_N], dtype=tl.int32)
    for span in range(NUM_SPANS):
        places_n = tl.cast(span, tl.int64) * num_rows + rows_n
        span_top_n = tl.load(top_ptr + places_n, mask=inside_n, other=0.0)
        span_sum_n = tl.load(sum_ptr + places_n, mask=inside_n, other=1.0)
        new_top_n = tl.maximum(top_n, span_top_n)
        part_n = span_sum_n * tl.exp2((span_top_n - new_top_n) * LOG2_E)
        sum_n = sum_n * tl.exp2((top_n - new_top_n) * LOG2_E) + part_n
        top_n = new_top_n
        if SAMPLE:
            draw = rows_n.to(tl.int64) * (NUM_TILES + NUM_SPANS) + NUM_TILES + span
            span_label_n = tl.load(label_ptr + places_n, mask=inside_n, other=0)
            label_n = tl.where(tl.rand(seed, draw) * sum_n < part_n, span_label_n, label_n)
    log_z_n = top_n + tl.log(sum_n)
    tl.store(log_z_ptr + rows_n, log_z_n, mask=inside_n)
    if SAMPLE:
        picked_entry_n = label_n.to(tl.int64)
        tl.store(labels_ptr + rows_n, picked_entry_n, mask=inside_n)
    else:
        picked_entry_n = tl.load(labels_ptr + rows_n, mask=inside_n, other=0)
    known_n = (picked_entry_n >= 0) & (picked_entry_n < VOCABULARY)
    products_nd = tl.zeros([BLOCK_N, BLOCK_D], dtype=tl.float32)
    sizes_nd = tl.zeros([BLOCK_N, BLOCK_D], dtype=tl.float32)
    for column in range(0, WIDTH, BLOCK_D):
        columns_d = column + tl.arange(0, BLOCK_D)
        mask_nd = (inside_n & known_n)[:, None] & (columns_d < WIDTH)[None, :]
        hidden_places_nd = rows_n.to(tl.int64)[:, None] * WIDTH + columns_d[None, :]
        weight_places_nd = picked_entry_n[:, None] * WIDTH + columns_d[None, :]
        hidden_nd = tl.load(hidden_ptr + hidden_places_nd, mask=mask_nd, other=0.0).to(tl.float32)
        product_nd = hidden_nd * tl.load(weight_ptr + weight_places_nd, mask=mask_nd, other=0.0).to(
            tl.float32
        )
        products_nd += product_nd
        sizes_nd += tl.abs(product_nd)
    picked_n = tl.where(known_n, tl.sum(products_nd, axis=1), float("-inf"))
    nll = tl.sum(tl.where(inside_n, log_z_n - picked_n, 0.0), axis=0)
    square = tl.sum(tl.where(inside_n, log_z_n * log_z_n, 0.0), axis=0)
    is_hit_n = inside_n & (picked_n + ROUNDING * tl.sum(sizes_nd, axis=1) >= top_n)
    tl.store(sums_ptr + tl.program_id(0) * 2, nll)
    tl.store(sums_ptr + tl.program_id(0) * 2 + 1, square)
    tl.store(hits_ptr + tl.program_id(0), tl.sum(is_hit_n.to(tl.int32), axis=0))


@triton.jit(do_not_specialize=["num_rows"])
def gradient_kernel(
    hidden_ptr,
    weight_ptr,
    targets_ptr,
    log_z_ptr,
    gradient_ptr,
    num_rows,
    z_penalty,
    VOCABULARY: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """A tile of G. Blocks of rows are the fastest axis: the hidden states of a chunk stay in the L2 cache,
    and the weight is read once."""
    first_row = tl.program_id(0) * BLOCK_N
    first_entry = tl.program_id(1) * BLOCK_V
    rows_n = first_row + tl.arange(0, BLOCK_N)
    inside_n = rows_n < num_rows
    logits_nv = tile_logits(
        hidden_ptr, weight_ptr, first_row, first_entry, num_rows, VOCABULARY, WIDTH, BLOCK_N, BLOCK_V, BLOCK_D
    )
    last_n = tl.minimum(rows_n, num_rows - 1)
    target_n = tl.load(targets_ptr + last_n).to(tl.int32)
    log_z_n = tl.load(log_z_ptr + last_n)
    entries_v = tl.arange(0, BLOCK_V)
    gradient_nv = tl.exp2(logits_nv * LOG2_E - (log_z_n * LOG2_E)[:, None])
    gradient_nv = gradient_nv * (1 + 2 * z_penalty * log_z_n)[:, None]
    gradient_nv -= (entries_v[None, :] == (target_n - first_entry)[:, None]).to(tl.float32)
    places_nv = rows_n.to(tl.int64)[:, None] * VOCABULARY + (first_entry + entries_v)[None, :]
    mask_nv = inside_n[:, None]
    if VOCABULARY % BLOCK_V != 0:
        mask_nv = mask_nv & (entries_v[None, :] < VOCABULARY - first_entry)
    tl.store(gradient_ptr + places_nv, gradient_nv.to(gradient_ptr.dtype.element_ty), mask=mask_nv)


def _statistics(
    hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor | None, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """logZ [N], the labels [N] (the targets, if there are), the sums of NLL and of logZ^2 [2], and hits."""
    (num_rows, width), vocabulary = hidden_nd.shape, weight_vd.shape[0]
    device, sample = hidden_nd.device, targets_n is None
    log_z_n = torch.empty(num_rows, dtype=torch.float32, device=device)
    labels_n = torch.empty(num_rows, dtype=torch.int64, device=device) if targets_n is None else targets_n
    if num_rows == 0:
        sums_2 = torch.zeros(2, dtype=torch.float32, device=device)
        return log_z_n, labels_n, sums_2, torch.zeros((), dtype=torch.int64, device=device)
    hidden_nd = hidden_nd.contiguous()
    weight_vd = weight_vd.to(hidden_nd.dtype).contiguous()
    launch = forward_launch(width)
    num_spans = triton.cdiv(vocabulary, SPAN)
    top_sn = torch.empty(num_spans, num_rows, dtype=torch.float32, device=device)
    sum_sn = torch.empty(num_spans, num_rows, dtype=torch.float32, device=device)
    label_sn = torch.empty(num_spans, num_rows if sample else 0, dtype=torch.int32, device=device)
    forward_kernel[(triton.cdiv(num_rows, launch.BLOCK_N), num_spans)](
        hidden_nd,
        weight_vd,
        top_sn,
        sum_sn,
        label_sn,
        num_rows,
        seed,
        VOCABULARY=vocabulary,
        WIDTH=width,
        SPAN=SPAN,
        SAMPLE=sample,
        **launch._asdict(),
    )
    num_programs = triton.cdiv(num_rows, JOIN_ROWS)
    sums_p2 = torch.empty(num_programs, 2, dtype=torch.float32, device=device)
    hits_p = torch.empty(num_programs, dtype=torch.int32, device=device)
    join_kernel[(num_programs,)](
        hidden_nd,
        weight_vd,
        labels_n.contiguous(),
        top_sn,
        sum_sn,
        label_sn,
        log_z_n,
        sums_p2,
        hits_p,
        num_rows,
        seed,
        VOCABULARY=vocabulary,
        WIDTH=width,
        NUM_SPANS=num_spans,
        NUM_TILES=triton.cdiv(vocabulary, launch.BLOCK_V),
        SAMPLE=sample,
        BLOCK_N=JOIN_ROWS,
        BLOCK_D=JOIN_COLUMNS,
        num_warps=4,
    )
    return log_z_n, labels_n, sums_p2.sum(dim=0), hits_p.sum()


@torch.library.custom_op("fedkey::linear_cross_entropy", mutates_args=())
def linear_cross_entropy(
    hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor, z_penalty: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums of NLL + z_penalty * logZ^2 (differentiable, once) and of NLL, hits, and logZ [N] in float32.

    hidden [N, D] in bf16, fp16 or float32; weight [V, D] in the same or a wider dtype, which its gradient
    gets: products are in hidden's. targets int64 [N]; one outside 0..V-1 makes the sums infinite.
    `fedkey_kernels.loss` checks them.
    """
    log_z_n, _, sums_2, hits = _statistics(hidden_nd, weight_vd, targets_n, 0)
    return sums_2[0] + z_penalty * sums_2[1], sums_2[0].clone(), hits, log_z_n


@torch.library.custom_op("fedkey::bartlett_loss", mutates_args=())
def bartlett_loss(hidden_nd: Tensor, weight_vd: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of NLL (differentiable, once) on labels drawn from the softmax, the labels, and logZ [N].

    Arguments as in `linear_cross_entropy`.
    """
    log_z_n, labels_n, sums_2, _ = _statistics(hidden_nd, weight_vd, None, seed)
    return sums_2[0].clone(), labels_n, log_z_n


@torch.library.custom_op("fedkey::linear_cross_entropy_backward", mutates_args=())
def linear_cross_entropy_backward(
    grad_total: Tensor,
    hidden_nd: Tensor,
    weight_vd: Tensor,
    targets_n: Tensor,
    log_z_n: Tensor,
    z_penalty: float,
    wants_hidden: bool,
    wants_weight: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of hidden and weight, each in its own shape and dtype; empty where not wanted."""
    hidden_nd, targets_n = hidden_nd.contiguous(), targets_n.contiguous()
    low_weight_vd = weight_vd.to(hidden_nd.dtype).contiguous()
    (num_rows, width), vocabulary = hidden_nd.shape, weight_vd.shape[0]
    launch = gradient_launch(width)
    chunk = chunk_rows(num_rows, vocabulary)
    device = hidden_nd.device
    gradient_cv = torch.empty(chunk, vocabulary, dtype=hidden_nd.dtype, device=device)
    grad_hidden_nd = torch.empty(num_rows if wants_hidden else 0, width, dtype=hidden_nd.dtype, device=device)
    sum_vd = torch.zeros(vocabulary if wants_weight else 0, width, dtype=torch.float32, device=device)
    for start in range(0, num_rows, chunk):
        rows = slice(start, start + chunk)
        hidden_cd = hidden_nd[rows]
        count = hidden_cd.shape[0]
        gradient_cv = gradient_cv[:count]
        gradient_kernel[(triton.cdiv(count, launch.BLOCK_N), triton.cdiv(vocabulary, launch.BLOCK_V))](
            hidden_cd,
            low_weight_vd,
            targets_n[rows],
            log_z_n[rows],
            gradient_cv,
            count,
            z_penalty,
            VOCABULARY=vocabulary,
            WIDTH=width,
            **launch._asdict(),
        )
        if wants_hidden:  # scaled in float32: in bf16 the scale alone would be off by up to 0.4 %
            torch.mul(product(gradient_cv, low_weight_vd), grad_total, out=grad_hidden_nd[rows])
        if wants_weight:
            add_product(sum_vd, gradient_cv.T, hidden_cd)
    return grad_hidden_nd, sum_vd.mul_(grad_total).to(weight_vd.dtype)


def product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right in float32, of two matrices in the same dtype."""
    if left.device.type == "cuda" and left.dtype != torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total <- total + left @ right, total in float32: on CUDA in the product itself, with no other copy."""
    if left.device.type == "cuda" and left.dtype != torch.float32:
        torch.addmm(total, left, right, out_dtype=torch.float32, out=total)
    else:
        total.addmm_(left.float(), right.float())


@linear_cross_entropy.register_fake
def _(
    hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor, z_penalty: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    one = torch.empty((), dtype=torch.float32, device=hidden_nd.device)
    hits = torch.empty((), dtype=torch.int64, device=hidden_nd.device)
    return one, torch.empty_like(one), hits, hidden_nd.new_empty(hidden_nd.shape[:1], dtype=torch.float32)


@bartlett_loss.register_fake
def _(hidden_nd: Tensor, weight_vd: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    labels_n = hidden_nd.new_empty(hidden_nd.shape[:1], dtype=torch.int64)
    return (
        hidden_nd.new_empty((), dtype=torch.float32),
        labels_n,
        labels_n.new_empty(labels_n.shape, dtype=torch.float32),
    )


@linear_cross_entropy_backward.register_fake
def _(
    grad_total: Tensor,
    hidden_nd: Tensor,
    weight_vd: Tensor,
    targets_n: Tensor,
    log_z_n: Tensor,
    z_penalty: float,
    wants_hidden: bool,
    wants_weight: bool,
) -> tuple[Tensor, Tensor]:
    num_rows, width = hidden_nd.shape
    grad_hidden_nd = hidden_nd.new_empty((num_rows if wants_hidden else 0, width))
    return grad_hidden_nd, weight_vd.new_empty((weight_vd.shape[0] if wants_weight else 0, width))


def _loss_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden_nd, weight_vd, targets_n, ctx.z_penalty = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(hidden_nd, weight_vd, targets_n, output[3])


def _bartlett_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden_nd, weight_vd, _ = inputs
    ctx.z_penalty = 0.0
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(hidden_nd, weight_vd, *output[1:])


def _backward(ctx: Any, grad_total: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[:2]
    gradients = linear_cross_entropy_backward(grad_total, *ctx.saved_tensors, ctx.z_penalty, *wanted)
    found = [gradient if wants else None for gradient, wants in zip(gradients, wanted, strict=True)]
    return *found, *(None for _ in ctx.needs_input_grad[2:])


linear_cross_entropy.register_autograd(_backward, setup_context=_loss_setup)
bartlett_loss.register_autograd(_backward, setup_context=_bartlett_setup)
