"""RMSNorm and rotary positions, forward and backward, against torch's operators: all of it is moving bytes.

In: this machine. Out: a section of the report. Next stop: `bench.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

import fedkey_kernels
from bench import compare, counts
from bench.check import Expected
from bench.compare import BACKWARD, FORWARD, Attempt, Bench, Result, Variant, Work, forced, spread, worst
from bench.report import Goal, Section, number, ratio, scaled, table
from fedkey_kernels import reference

PARTS = (FORWARD, BACKWARD)
EPSILON = 1e-5
BASE = 10000.0
WINDOW = 128
GPU_WIDTHS = (128, 320, 768, 2048)
GPU_HEAD_SIZES = (32, 64, 128)


def norm_name(width: int) -> str:
    """In tables and goals."""
    return f"RMSNorm, width {width}"


def rotary_name(head_size: int) -> str:
    """In tables and goals."""
    return f"rotary positions, head {head_size}"


def num_elements(bench: Bench) -> int:
    """Of the tensor that is worked on: on a GPU several times its cache."""
    return 1 << 12 if bench.quick else 1 << 27 if bench.on_gpu else 1 << 21


def run(bench: Bench) -> Section:
    """All of it."""
    results: list[Result] = []
    for width in (64,) if bench.quick else GPU_WIDTHS if bench.on_gpu else (128, 320):
        results += compare.one_case(bench, norm_name(width), partial(_run_norm, bench, width))
    for head_size in (32,) if bench.quick else GPU_HEAD_SIZES if bench.on_gpu else (32, 64):
        results += compare.one_case(bench, rotary_name(head_size), partial(_run_rotary, bench, head_size))
    headers = (
        "case", "implementation", "forward ms", "backward ms", "forward GB/s", "backward GB/s",
        "forward of copy", "backward of copy", "forward of best peer", "backward of best peer", "MB", "error",
    )  # fmt: skip
    lines = [
        *table(headers, (_row(bench, result, results) for result in results)),
        "",
        f"'Of copy': share of copy bandwidth. MB: memory of both passes beyond the inputs. {spread(results)}",
    ]
    needs_gpu = ["RMSNorm and rotary positions: the Triton kernels in bf16 against copy bandwidth"]
    return Section(
        "RMSNorm and rotary positions", lines, goals(bench, results), compare.failures(results), needs_gpu
    )


def _paths(bench: Bench) -> tuple[list[str], str, str]:
    """Ours, and the name and path of what it is compared with."""
    return (["triton"], "torch", "torch") if bench.on_gpu else (["torch"], "reference", "reference")


def _attempt(leaves: Sequence[Tensor], upstream: Tensor, path: str, run: Callable[..., Tensor]) -> Attempt:
    own = tuple(leaf.detach().requires_grad_() for leaf in leaves)

    def forward() -> Tensor:
        with forced("norm", path):
            return run(*own)

    return Attempt(own, forward, upstream)


def _expect(leaves: Sequence[Tensor], upstream: Tensor, run: Callable[..., Tensor]) -> Expected:
    """`run` is the reference; all inputs are cast, a table among them too."""

    def compute(dtype: torch.dtype) -> list[Tensor]:
        own = [leaf.to(dtype, copy=True).requires_grad_() for leaf in leaves]
        out = run(*own)
        return [out.detach(), *torch.autograd.grad(out, own, upstream.to(dtype))]

    return Expected(lambda found: found, compute(torch.float64), compute(upstream.dtype))


def _run_norm(bench: Bench, width: int) -> list[Result]:
    num_rows = num_elements(bench) // width
    x, upstream = (bench.normal(num_rows, width) for _ in range(2))
    weight = bench.normal(width)
    work = counts.rms_norm_bytes(num_rows, width, x.element_size())
    ours, name, path = _paths(bench)

    def seam(x: Tensor, weight: Tensor) -> Tensor:
        return fedkey_kernels.rms_norm(x, weight, EPSILON)

    def peer(x: Tensor, weight: Tensor) -> Tensor:
        if path == "reference":
            return reference.rms_norm(x, weight, EPSILON)
        return functional.rms_norm(x, (width,), weight, EPSILON)

    leaves = (x, weight)
    variants = [Variant(f"fedkey {p}", True, partial(_attempt, leaves, upstream, p, seam)) for p in ours]
    variants.append(Variant(name, False, partial(_attempt, leaves, upstream, path, peer)))
    expected = _expect(leaves, upstream, partial(reference.rms_norm, epsilon=EPSILON))
    return compare.compare(bench, norm_name(width), variants, expected, PARTS, _bytes(work))


def _run_rotary(bench: Bench, head_size: int) -> list[Result]:
    num_heads = 512 // head_size if bench.on_gpu else 4
    num_rows = max(1, num_elements(bench) // (WINDOW * num_heads * head_size))
    x, upstream = (bench.normal(num_rows, WINDOW, num_heads, head_size) for _ in range(2))
    positions_bt = torch.randint(WINDOW, (num_rows, WINDOW), device=bench.device)
    tables = fedkey_kernels.rotary_table(positions_bt, head_size, BASE, bench.dtype)
    work = counts.rotate_bytes(num_rows * WINDOW, num_heads, head_size, x.element_size())
    ours, name, path = _paths(bench)

    def seam(x: Tensor) -> Tensor:
        return fedkey_kernels.rotate(x, tables)

    def exact(x: Tensor) -> Tensor:
        return reference.turn(x, *(part.to(x.dtype) for part in tables))

    variants = [Variant(f"fedkey {p}", True, partial(_attempt, (x,), upstream, p, seam)) for p in ours]
    variants.append(Variant(name, False, partial(_attempt, (x,), upstream, path, exact)))
    return compare.compare(
        bench, rotary_name(head_size), variants, _expect((x,), upstream, exact), PARTS, _bytes(work)
    )


def _bytes(amounts: tuple[int, int]) -> Work:
    return Work({}, dict(zip(PARTS, amounts, strict=True)))


def _row(bench: Bench, result: Result, results: Sequence[Result]) -> list[str]:
    if result.note:
        return [result.case, result.variant, result.note]
    cells = [number(result.milliseconds(part)) for part in PARTS]
    cells += [scaled(result.bandwidth(part), 1e9) for part in PARTS]
    cells += [number(bench.of_copy(result.bandwidth(part))) for part in PARTS]
    cells += [ratio(compare.times_best_peer(results, result, part)) for part in PARTS]
    return [result.case, result.variant, *cells, scaled(result.memory, 1e6), f"{result.error:.1e}"]


def goals(bench: Bench, results: Sequence[Result]) -> list[Goal]:
    """What both were set out to reach."""
    found = []
    kinds = {
        "RMSNorm": [norm_name(width) for width in GPU_WIDTHS],
        "rotary positions": [rotary_name(head_size) for head_size in GPU_HEAD_SIZES],
    }
    for kind, names in kinds.items():
        for part in PARTS:
            hits = [compare.find(results, name, "fedkey triton") for name in names]
            share = bench.of_copy(worst([None if hit is None else hit.bandwidth(part) for hit in hits]))
            text = f"{kind}, {part}, at least 0.85 of copy bandwidth at the worst size"
            found.append(Goal(text, share, 0.85))
    return found
