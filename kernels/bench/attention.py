"""Attention: ours against every backend of torch's, dense and packed, and block-sparse against density.

In: this machine. Out: a section of the report. Next stop: `bench.loss`.

Dense: as many tokens at every length. Packed: documents as long as messages, in tiles of 128 that no document
crosses. All see the same documents: `varlen_attn` gets them end to end with their cumulative lengths, SDPA
gets the tiles and a dense mask. The mask is made once, as it would be for all layers of a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

import fedkey_kernels
from bench import compare, counts, lengths
from bench.check import Expected
from bench.compare import BACKWARD, FORWARD, Attempt, Bench, Result, Variant, Work, forced, spread, worst
from bench.report import Goal, Section, number, ratio, scaled, table
from fedkey_kernels import reference
from fedkey_kernels.attention import TILES
from fedkey_kernels.mask import Mask, document_mask

BACKENDS = {
    "SDPA flash": SDPBackend.FLASH_ATTENTION,
    "SDPA efficient": SDPBackend.EFFICIENT_ATTENTION,
    "SDPA cuDNN": SDPBackend.CUDNN_ATTENTION,
    "SDPA math": SDPBackend.MATH,
}
VARLEN = "torch varlen"
PARTS = (FORWARD, BACKWARD)
CHECKED_ROWS = 64
"""Rows of packed documents compared with float64, beside the first and the last."""


class Inputs(NamedTuple):
    """Of one case."""

    q_bthk: Tensor
    k_btgk: Tensor
    v_btgk: Tensor
    upstream_bthk: Tensor
    """Zero at padding, whose output means nothing."""
    mask: Mask
    valid_bt: Tensor
    lengths: list[int]
    is_dense: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Query heads, key/value heads, head size."""
        return self.q_bthk.shape[2], self.k_btgk.shape[2], self.q_bthk.shape[3]


class Case(NamedTuple):
    """What is asked of all variants."""

    name: str
    num_heads: int
    num_groups: int
    head_size: int
    num_positions: int
    """Of a row, if dense; documents are packed into tiles otherwise."""
    num_tokens: int
    lengths: Callable[[int], list[int]] | None = None
    """Of packed documents."""


MEAN_30 = "log-normal, mean 30"


def dense_cases(bench: Bench) -> list[Case]:
    """Sequence lengths with as many tokens each; query heads add up to one width, as in the papers'
    figures."""
    if bench.quick:
        all_positions, num_tokens, width = [32], 64, 128
    elif bench.on_gpu:
        all_positions, num_tokens, width = [128 << i for i in range(7)], 1 << 14, 2048
    else:
        all_positions, num_tokens, width = [128, 512, 2048], 1 << 11, 256
    return [
        Case(dense_name(head_size, n), width // head_size, width // head_size, head_size, n, num_tokens)
        for head_size in (64, 128)
        for n in all_positions
    ]


def dense_name(head_size: int, num_positions: int) -> str:
    """The case's name in tables and goals."""
    return f"head {head_size}, {num_positions} positions"


def packed_cases(bench: Bench) -> list[Case]:
    """Real and log-normal lengths, with one key/value head for each query head and with one for four of
    them."""
    num_tokens = 400 if bench.quick else 1 << 17 if bench.on_gpu else 1 << 12
    width = 512 if bench.on_gpu else 128
    kinds = {
        "chitchat, messages": partial(lengths.like_histogram, lengths.MESSAGES),
        "chitchat, stretches": partial(lengths.like_histogram, lengths.STRETCHES),
        **{f"log-normal, mean {mean}": partial(lengths.log_normal, mean) for mean in (15, 30, 60)},
    }
    sizes = [(kind, 64 if bench.on_gpu else 32, group) for group in (1, 4) for kind in kinds]
    if bench.on_gpu:
        sizes += [(MEAN_30, 32, 1), (MEAN_30, 128, 1)]
    return [
        Case(
            packed_name(kind, head_size, group),
            width // head_size,
            width // head_size // group,
            head_size,
            lengths.TILE,
            num_tokens,
            kinds[kind],
        )
        for kind, head_size, group in sizes
    ]


def packed_name(kind: str, head_size: int, group: int) -> str:
    """The case's name in tables and goals."""
    return f"{kind}, head {head_size}{f', {group} a key' if group > 1 else ''}"


def draw(bench: Bench, case: Case) -> Inputs:
    """Fresh inputs of a case."""
    if case.lengths is None:
        num_rows = case.num_tokens // case.num_positions
        ids_bt = torch.zeros(num_rows, case.num_positions, dtype=torch.int32)
        found = [case.num_positions] * num_rows
        tile = case.num_positions if case.num_positions in TILES else 0
    else:
        ids_bt, found = lengths.pack(case.lengths(case.num_tokens))
        tile = lengths.TILE
    mask = document_mask(ids_bt.to(bench.device), tile=tile)
    if case.lengths is not None or not bench.on_gpu:
        mask = mask.with_bias(bench.dtype)  # for SDPA, ours and theirs
    valid_bt = (ids_bt >= 0).to(bench.device)
    q_bthk, upstream_bthk = (bench.normal(*ids_bt.shape, case.num_heads, case.head_size) for _ in range(2))
    k_btgk, v_btgk = (bench.normal(*ids_bt.shape, case.num_groups, case.head_size) for _ in range(2))
    upstream_bthk.mul_(valid_bt[:, :, None, None])
    return Inputs(q_bthk, k_btgk, v_btgk, upstream_bthk, mask, valid_bt, found, case.lengths is None)


def variants(bench: Bench, inputs: Inputs) -> list[Variant]:
    """Ours on each path that is one on this device, then all of torch's that may run there."""
    if bench.on_gpu:
        ours, peers = ["tile", "flash"] if inputs.mask.tile else ["flash"], list(BACKENDS)
    else:
        ours, peers = ["sdpa"], ["SDPA flash", "SDPA math"]
    found = [Variant(f"fedkey {path}", True, partial(_ours, inputs, path)) for path in ours]
    found += [Variant(name, False, partial(_sdpa, inputs, BACKENDS[name])) for name in peers]
    if bench.on_gpu:
        found.append(Variant(VARLEN, False, partial(_varlen, inputs)))
    else:
        found.append(Variant("reference", False, partial(_ours, inputs, "reference")))
    return found


def _leaves(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return q.detach().requires_grad_(), k.detach().requires_grad_(), v.detach().requires_grad_()


def _ours(inputs: Inputs, path: str) -> Attempt:
    leaves = _leaves(inputs.q_bthk, inputs.k_btgk, inputs.v_btgk)

    def forward() -> Tensor:
        with forced("attention", path):
            return fedkey_kernels.attention(*leaves, inputs.mask)

    return Attempt(leaves, forward, inputs.upstream_bthk)


def _sdpa(inputs: Inputs, backend: SDPBackend) -> Attempt:
    leaves = _leaves(inputs.q_bthk, inputs.k_btgk, inputs.v_btgk)
    num_heads, num_groups, _ = inputs.shape
    options: dict[str, Any] = {"enable_gqa": num_heads != num_groups}
    options |= {"is_causal": True} if inputs.is_dense else {"attn_mask": inputs.mask.bias_b1tt}

    def forward() -> Tensor:
        with sdpa_kernel(backend):
            q_bhtk, k_bgtk, v_bgtk = (x.transpose(1, 2) for x in leaves)
            out_bhtk = functional.scaled_dot_product_attention(q_bhtk, k_bgtk, v_bgtk, **options)
        return out_bhtk.transpose(1, 2)

    return Attempt(leaves, forward, inputs.upstream_bthk)


def varlen_options(parameters: Sequence[str], is_grouped: bool) -> dict[str, Any]:
    """How the installed `varlen_attn` is told that attention is causal and heads are grouped: `is_causal`
    became `window_size` after torch 2.10, and `enable_gqa` came with 2.12; without it grouped heads just work
    or fail.

    Raises:
        ValueError: it has neither.
    """
    options: dict[str, Any] = {}
    if "window_size" in parameters:
        options["window_size"] = (-1, 0)
    elif "is_causal" in parameters:
        options["is_causal"] = True
    else:
        raise ValueError("this torch's varlen_attn has no argument for causal attention that we know")
    if is_grouped and "enable_gqa" in parameters:
        options["enable_gqa"] = True
    return options


def _varlen(inputs: Inputs) -> Attempt:
    from torch.nn.attention import varlen

    attend: Any = varlen.varlen_attn  # whose signature depends on the version
    num_heads, num_groups, _ = inputs.shape
    options = varlen_options(list(inspect.signature(attend).parameters), num_heads != num_groups)
    places_n = inputs.valid_bt.flatten().nonzero()[:, 0]

    def end_to_end(rows_bthk: Tensor) -> Tensor:
        return rows_bthk.flatten(0, 1)[places_n]

    def as_rows(tensor_nhk: Tensor) -> Tensor:
        rows = tensor_nhk.new_zeros(inputs.valid_bt.numel(), *tensor_nhk.shape[1:])
        return rows.index_copy(0, places_n, tensor_nhk).unflatten(0, inputs.valid_bt.shape)

    leaves = _leaves(*(end_to_end(x) for x in (inputs.q_bthk, inputs.k_btgk, inputs.v_btgk)))
    borders = torch.tensor([0, *accumulate(inputs.lengths)], dtype=torch.int32, device=places_n.device)
    longest = max(inputs.lengths)

    def forward() -> Tensor:
        out = attend(*leaves, borders, borders, longest, longest, **options)
        return out if isinstance(out, Tensor) else out[0]

    return Attempt(leaves, forward, end_to_end(inputs.upstream_bthk), as_rows)


def expect(inputs: Inputs) -> Expected:
    """Output and gradients of some rows and heads in float64: a row of thousands of positions would not fit
    with all its heads. The last row and the last head are among them, where wrong offsets show."""
    num_rows = inputs.q_bthk.shape[0]
    num_groups = inputs.shape[1]
    if inputs.is_dense:
        rows = [torch.tensor([num_rows - 1]), torch.randint(num_rows, (1,))]
        groups = [slice(num_groups - 1, num_groups)]
        first = int(torch.randint(num_groups, ()))
        groups.append(slice(first, first + 1))
    else:
        some = torch.randperm(num_rows)[:CHECKED_ROWS]
        rows = [torch.cat((some, torch.tensor([0, num_rows - 1]))).unique()]
        groups = [slice(0, num_groups)]
    places = [(r.to(inputs.q_bthk.device), g) for r, g in zip(rows, groups, strict=True)]
    return expected_at(inputs, places, lambda rows: _visible(inputs.mask, rows))


def _visible(mask: Mask, rows: Tensor) -> Tensor:
    return mask._replace(starts_bt=mask.starts_bt[rows], ends_bt=mask.ends_bt[rows]).visible_btt()


def expected_at(
    inputs: Inputs, places: Sequence[tuple[Tensor, slice]], visible: Callable[[Tensor], Tensor]
) -> Expected:
    """The same for given rows and key/value heads; `visible` is the dense mask of some rows."""
    num_heads, num_groups, _ = inputs.shape
    group = num_heads // num_groups

    def part(tensor: Tensor, rows: Tensor, groups: slice) -> Tensor:
        size = tensor.shape[2] // num_groups  # heads of this tensor for one key/value head
        return tensor[rows][:, :, groups.start * size : groups.stop * size]

    def pick(found: tuple[Tensor, ...]) -> list[Tensor]:
        return [
            part(tensor, rows, groups) * inputs.valid_bt[rows][:, :, None, None]
            for rows, groups in places
            for tensor in found
        ]

    def compute(dtype: torch.dtype) -> list[Tensor]:
        computed = []
        for rows, groups in places:
            q, k, v, upstream = (part(tensor, rows, groups).to(dtype) for tensor in inputs[:4])
            leaves = _leaves(q, k, v)
            out = reference.attention(*leaves, visible(rows))
            gradients = torch.autograd.grad(out, leaves, upstream)
            is_valid = inputs.valid_bt[rows][:, :, None, None]
            computed += [tensor.detach() * is_valid for tensor in (out, *gradients)]
        return computed

    assert group * num_groups == num_heads
    return Expected(pick, compute(torch.float64), compute(inputs.q_bthk.dtype))


HEADERS = (
    "case", "implementation", "forward ms", "backward ms", "forward TFLOP/s", "backward TFLOP/s",
    "forward GB/s", "backward GB/s", "forward of best peer", "backward of best peer", "MB", "error",
)  # fmt: skip
SPARSE_HEADERS = (
    "density", "forward ms", "backward ms", "forward TFLOP/s", "backward TFLOP/s",
    "forward over proportional", "backward over proportional",
)  # fmt: skip


def work_of(inputs: Inputs) -> Work:
    """Of useful pairs and useful tokens: no padding, no masked score."""
    num_heads, num_groups, head_size = inputs.shape
    flops = counts.attention_flops(counts.causal_pairs(inputs.lengths), num_heads, head_size)
    num_bytes = counts.attention_bytes(
        sum(inputs.lengths), num_heads, num_groups, head_size, inputs.q_bthk.element_size()
    )
    return Work(dict(zip(PARTS, flops, strict=True)), dict(zip(PARTS, num_bytes, strict=True)))


def run_case(bench: Bench, case: Case) -> list[Result]:
    """All variants on fresh inputs."""
    inputs = draw(bench, case)
    found = compare.compare(bench, case.name, variants(bench, inputs), expect(inputs), PARTS, work_of(inputs))
    if not inputs.is_dense:
        mean, fill = sum(inputs.lengths) / len(inputs.lengths), float(inputs.valid_bt.float().mean())
        for result in found:
            result.detail = f" ({mean:.0f} each, {100 * fill:.1f} % full)"
    return found


def run_cases(bench: Bench, cases: Sequence[Case]) -> list[Result]:
    """Case by case."""
    return [
        result
        for case in cases
        for result in compare.one_case(bench, case.name, partial(run_case, bench, case))
    ]


def rows(results: Sequence[Result]) -> list[list[str]]:
    """Of the table."""
    return [_row(result, results) for result in results]


def _row(result: Result, results: Sequence[Result]) -> list[str]:
    first = [result.case + result.detail, result.variant]
    if result.note:
        return [*first, result.note]
    cells = [number(result.milliseconds(part)) for part in PARTS]
    cells += [scaled(result.flops(part), 1e12) for part in PARTS]
    cells += [scaled(result.bandwidth(part), 1e9) for part in PARTS]
    cells += [ratio(compare.times_best_peer(results, result, part)) for part in PARTS]
    return [*first, *cells, scaled(result.memory, 1e6), f"{result.error:.1e}"]


DENSITIES = (8, 4, 2, 1)
"""One block in so many."""


def sparse_name(one_in: int) -> str:
    """The case's name in tables and goals."""
    return f"block-sparse, 1/{one_in} of the blocks"


def circulant(num_blocks: int, one_in: int) -> Tensor:
    """A bitmap in which each query block sees as many key blocks, and the other way round, at random
    distances."""
    shifts = torch.randperm(num_blocks)[: num_blocks // one_in]
    places = torch.arange(num_blocks)
    bitmap = torch.zeros(num_blocks, num_blocks, dtype=torch.bool)
    bitmap[places[:, None], (places[:, None] + shifts[None, :]) % num_blocks] = True
    return bitmap


def run_sparse(bench: Bench) -> list[Result]:
    """Block-sparse FlashAttention at several densities, not causal, each density on fresh inputs."""
    return [
        result
        for one_in in DENSITIES
        for result in compare.one_case(bench, sparse_name(one_in), partial(_run_density, bench, one_in))
    ]


SPARSE_SHAPE = 2, 8192, 16, 64
"""B, T, H, K."""
SPARSE_BLOCK = 64


def _run_density(bench: Bench, one_in: int) -> list[Result]:
    """Block lists are made once for a pattern, and not timed."""
    from fedkey_kernels import flash_attention

    num_rows, num_positions, num_heads, head_size = SPARSE_SHAPE
    q, k, v, upstream = (bench.normal(*SPARSE_SHAPE) for _ in range(4))
    ids_bt = torch.zeros(num_rows, num_positions, dtype=torch.int32, device=bench.device)
    inputs = Inputs(q, k, v, upstream, document_mask(ids_bt), ids_bt >= 0, [], True)
    bitmap = circulant(num_positions // SPARSE_BLOCK, one_in).to(bench.device)
    visible_tt = bitmap.repeat_interleave(SPARSE_BLOCK, 0).repeat_interleave(SPARSE_BLOCK, 1)
    lists = flash_attention.block_lists(bitmap)

    def build() -> Attempt:
        leaves = _leaves(q, k, v)

        def forward() -> Tensor:
            out: Tensor = flash_attention.sparse_flash_attention(*leaves, *lists, False, SPARSE_BLOCK)[0]
            return out

        return Attempt(leaves, forward, upstream)

    last = torch.tensor([num_rows - 1], device=bench.device), slice(num_heads - 1, num_heads)
    expected = expected_at(inputs, [last], lambda _: visible_tt[None])
    flops = counts.attention_flops(num_rows * num_positions**2 // one_in, num_heads, head_size)
    work = Work(dict(zip(PARTS, flops, strict=True)), {})
    return compare.compare(
        bench, sparse_name(one_in), [Variant("fedkey flash", True, build)], expected, PARTS, work
    )


def sparse_rows(results: Sequence[Result]) -> list[list[str]]:
    """Of the table."""
    found = []
    for result, one_in in zip(results, DENSITIES, strict=True):
        cells = [number(result.milliseconds(part)) for part in PARTS]
        if not result.note:
            cells += [scaled(result.flops(part), 1e12) for part in PARTS]
            cells += [ratio(over_proportion(results, one_in, part)) for part in PARTS]
        found.append([f"1/{one_in}", result.note] if result.note else [f"1/{one_in}", *cells])
    return found


def over_proportion(results: Sequence[Result], one_in: int, part: str) -> float | None:
    """Time at a density over that share of the time of all blocks; 1 is proportional."""
    share = compare.faster(results, sparse_name(1), sparse_name(one_in), "fedkey flash", "fedkey flash", part)
    return None if share is None else one_in * share


def goals(bench: Bench, results: Sequence[Result]) -> list[Goal]:
    """What attention was set out to reach on an H200."""
    found = []
    packed = packed_name(MEAN_30, 64, 1)
    for part, dense_needed in ((FORWARD, 1.25), (BACKWARD, 1.1)):
        speed = compare.faster(results, packed, packed, "fedkey tile", VARLEN, part)
        found.append(Goal(f"packed, mean 30, {part}, at least 2 times torch varlen's speed", speed, 2))
        tile = compare.find(results, packed, "fedkey tile")
        share = bench.of_copy(None if tile is None else tile.bandwidth(part))
        found.append(Goal(f"packed, mean 30, {part}, at least 0.75 of copy bandwidth", share, 0.75))
        ratios = [
            compare.faster(results, dense_name(64, n), dense_name(64, n), "fedkey flash", "SDPA flash", part)
            for n in (1024, 2048, 4096, 8192)
        ]
        text = (
            f"dense causal, head 64, 1k to 8k positions, {part}, at least {dense_needed} times the speed of "
            "SDPA's flash backend at the worst length"
        )
        found.append(Goal(text, worst(ratios), dense_needed))
        off = [over_proportion(results, one_in, part) for one_in in DENSITIES]
        factors = [None if factor is None else max(factor, 1 / factor) for factor in off]
        text = f"block-sparse, {part}, time off proportional to density by a factor of at most 1.15, 1/8 to 1"
        found.append(Goal(text, worst(factors, largest=True), 1.15, at_most=True))
    return found


def run(bench: Bench) -> Section:
    """All of it."""
    dense = run_cases(bench, dense_cases(bench))
    packed = run_cases(bench, packed_cases(bench))
    lines = ["### Dense causal", "", *table(HEADERS, rows(dense)), ""]
    lines += ["### Packed documents", "", *table(HEADERS, rows(packed)), ""]
    sparse = run_sparse(bench) if bench.on_gpu else []
    if sparse:
        title = (
            f"### Block-sparse, {SPARSE_SHAPE[1]} positions, head {SPARSE_SHAPE[3]}, blocks of {SPARSE_BLOCK}"
        )
        lines += [title, "", *table(SPARSE_HEADERS, sparse_rows(sparse)), ""]
    results = dense + packed + sparse
    lines += [
        "TFLOP/s and GB/s are those of useful pairs and tokens. 'Of best peer': how many times as fast as "
        "the fastest that is not fedkey's. MB: memory of both passes beyond the inputs. '4 a key': query "
        f"heads that read one key/value head. {spread(results)}"
    ]
    needs_gpu = [
        "attention: the Triton kernels (tile, flash) in bf16, dense from 128 to 8192 positions and packed",
        "attention: SDPA's efficient and cuDNN backends and torch varlen beside them",
        "attention: block-sparse time against density",
    ]
    return Section("Attention", lines, goals(bench, results), compare.failures(results), needs_gpu)
