"""Fused linear + cross entropy against logits and F.cross_entropy: time, rate and memory of both passes.

In: this machine. Out: a section of the report. Next stop: `bench.sophia`.

Forward and backward are timed as one: ours forms gradients in the forward pass. Half precision in all
variants; one peer takes the softmax of the logits in float32, as most training code does, the other leaves
them as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

import fedkey_kernels
from bench import compare, counts
from bench.check import Expected
from bench.compare import BOTH, Attempt, Bench, Result, Variant, Work, forced, spread, worst
from bench.report import Goal, Section, number, ratio, scaled, table
from fedkey_kernels import reference

Z_PENALTY = 0.01
"""Large enough to show if it were forgotten."""
CHECKED_LOGITS = 1 << 28
"""That the float64 reference holds at once: 2 GB."""
SEED = 1


class Shape(NamedTuple):
    """Of one case."""

    num_targets: int
    width: int
    vocab_size: int

    @property
    def name(self) -> str:
        """In tables and goals."""
        return f"{self.num_targets} targets, width {self.width}, {self.vocab_size} pieces"

    @property
    def drawn_name(self) -> str:
        """The same with labels drawn from the model."""
        return f"{self.name}, labels drawn"


GPU_TARGETS = (1 << 13, 1 << 15, 1 << 16)
GPU_WIDTHS = (128, 320, 768)
GPU_VOCABULARIES = (1 << 12, 1 << 14, 1 << 15)
CPU_AXES: tuple[tuple[int, ...], ...] = (1 << 11,), (128, 320), (1 << 12, 1 << 14)


def shapes(bench: Bench) -> list[Shape]:
    """All combinations of presets' widths and vocabularies with a small, a usual and a large batch."""
    if bench.quick:
        return [Shape(48, 16, 64)]
    all_targets, widths, vocabularies = (
        (GPU_TARGETS, GPU_WIDTHS, GPU_VOCABULARIES) if bench.on_gpu else CPU_AXES
    )
    return [Shape(n, d, v) for d in widths for v in vocabularies for n in all_targets]


class Inputs(NamedTuple):
    """Of one case; logits have a standard deviation of about one."""

    hidden_nd: Tensor
    weight_vd: Tensor
    targets_n: Tensor


def draw(bench: Bench, shape: Shape) -> Inputs:
    """Fresh inputs of a case."""
    hidden_nd = bench.normal(shape.num_targets, shape.width)
    weight_vd = bench.normal(shape.vocab_size, shape.width, scale=shape.width**-0.5)
    return Inputs(
        hidden_nd, weight_vd, torch.randint(shape.vocab_size, hidden_nd.shape[:1], device=bench.device)
    )


def variants(bench: Bench, inputs: Inputs) -> list[Variant]:
    """Ours on each path that is one on this device, then torch's operators."""
    found = []
    for path in ("triton", "torch") if bench.on_gpu else ("torch",):
        found.append(Variant(f"fedkey {path}", True, partial(_attempt, inputs, partial(_ours, path))))
    float32 = "logits, float32 cross entropy" if bench.on_gpu else "logits, cross entropy"
    found.append(Variant(float32, False, partial(_attempt, inputs, partial(_logits, torch.float32))))
    if bench.on_gpu:
        half = partial(_attempt, inputs, partial(_logits, bench.dtype))
        found.append(Variant("logits, bf16 cross entropy", False, half))
    return found


def _attempt(inputs: Inputs, loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Attempt:
    hidden_nd, weight_vd = (tensor.detach().requires_grad_() for tensor in inputs[:2])
    with torch.no_grad():
        dtype = loss(hidden_nd[:1], weight_vd, inputs.targets_n[:1]).dtype
    upstream = torch.ones((), dtype=dtype, device=hidden_nd.device)
    return Attempt((hidden_nd, weight_vd), lambda: loss(hidden_nd, weight_vd, inputs.targets_n), upstream)


def _ours(path: str, hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor) -> Tensor:
    with forced("loss", path):
        return fedkey_kernels.linear_cross_entropy(hidden_nd, weight_vd, targets_n, Z_PENALTY)[0]


def _drawn(path: str, hidden_nd: Tensor, weight_vd: Tensor, _: Tensor) -> Tensor:
    with forced("loss", path):
        return fedkey_kernels.bartlett_loss(hidden_nd, weight_vd, SEED)[0]


def _logits(dtype: torch.dtype, hidden_nd: Tensor, weight_vd: Tensor, targets_n: Tensor) -> Tensor:
    logits_nv = (hidden_nd @ weight_vd.T).to(dtype)
    nll = functional.cross_entropy(logits_nv, targets_n, reduction="sum")
    return nll + Z_PENALTY * logits_nv.logsumexp(dim=-1).square().sum()


def expect(inputs: Inputs, z_penalty: float) -> Expected:
    """Loss and both gradients in float64."""
    exact = _by_chunks(inputs, z_penalty, torch.float64)
    return Expected(lambda found: found, exact, _by_chunks(inputs, z_penalty, inputs.hidden_nd.dtype))


def _by_chunks(inputs: Inputs, z_penalty: float, dtype: torch.dtype) -> list[Tensor]:
    """Of some targets at a time; what they share is added up in float64."""
    num_targets, vocab_size = inputs.hidden_nd.shape[0], inputs.weight_vd.shape[0]
    weight_vd = inputs.weight_vd.to(dtype, copy=True).requires_grad_()
    total = torch.zeros((), dtype=torch.float64, device=weight_vd.device)
    grad_weight_vd = torch.zeros_like(weight_vd, dtype=torch.float64)
    grads_hidden = []
    chunk = max(1, CHECKED_LOGITS // vocab_size)
    for start in range(0, num_targets, chunk):
        rows = slice(start, start + chunk)
        hidden_cd = inputs.hidden_nd[rows].to(dtype, copy=True).requires_grad_()
        loss, _, _ = reference.linear_cross_entropy(hidden_cd, weight_vd, inputs.targets_n[rows], z_penalty)
        grad_hidden_cd, grad_chunk_vd = torch.autograd.grad(loss, (hidden_cd, weight_vd))
        total += loss.detach()
        grad_weight_vd += grad_chunk_vd
        grads_hidden.append(grad_hidden_cd)
    return [total.to(dtype), torch.cat(grads_hidden), grad_weight_vd.to(dtype)]


def run(bench: Bench) -> Section:
    """All of it."""
    all_shapes = shapes(bench)
    results: list[Result] = []
    for shape in all_shapes:
        results += compare.one_case(bench, shape.name, partial(_run_shape, bench, shape))
        if shape.num_targets == all_shapes[-1].num_targets:
            results += compare.one_case(bench, shape.drawn_name, partial(_run_drawn, bench, shape))
    headers = "case", "implementation", "ms", "TFLOP/s", "of matrix rate", "of best peer", "MB", "error"
    lines = [
        *table(headers, (_row(bench, result, results) for result in results)),
        "",
        "All for both passes. TFLOP/s: 6 operations for each target, piece and element of width, whatever "
        "is computed twice. "
        f"MB: memory beyond hidden states, weight and targets. {spread(results)}",
    ]
    needs_gpu = [
        "fused loss: the Triton kernel in bf16 against logits, for 8,192 to 65,536 targets, widths of 128, "
        "320 and 768, 4,096 to 32,768 pieces"
    ]
    name = "Fused linear + cross entropy"
    return Section(name, lines, goals(bench, results), compare.failures(results), needs_gpu)


def _work(shape: Shape) -> Work:
    return Work({BOTH: counts.loss_flops(shape.num_targets, shape.width, shape.vocab_size)}, {})


def _run_shape(bench: Bench, shape: Shape) -> list[Result]:
    inputs = draw(bench, shape)
    expected = expect(inputs, Z_PENALTY)
    return compare.compare(bench, shape.name, variants(bench, inputs), expected, (BOTH,), _work(shape))


def _run_drawn(bench: Bench, shape: Shape) -> list[Result]:
    """Labels drawn in the same pass, as Sophia's curvature needs them; checked on the labels that come
    back."""
    path = "triton" if bench.on_gpu else "torch"
    inputs = draw(bench, shape)
    with forced("loss", path), torch.no_grad():
        labels_n = fedkey_kernels.bartlett_loss(inputs.hidden_nd, inputs.weight_vd, SEED)[1]
    drawn = inputs._replace(targets_n=labels_n)
    variant = Variant(f"fedkey {path}", True, partial(_attempt, drawn, partial(_drawn, path)))
    return compare.compare(bench, shape.drawn_name, [variant], expect(drawn, 0.0), (BOTH,), _work(shape))


def _row(bench: Bench, result: Result, results: Sequence[Result]) -> list[str]:
    if result.note:
        return [result.case, result.variant, result.note]
    rate = result.flops(BOTH)
    cells = [number(result.milliseconds(BOTH)), scaled(rate, 1e12), number(bench.of_product(rate))]
    cells += [ratio(compare.times_best_peer(results, result, BOTH)), scaled(result.memory, 1e6)]
    return [result.case, result.variant, *cells, f"{result.error:.1e}"]


def goals(bench: Bench, results: Sequence[Result]) -> list[Goal]:
    """What the fused loss was set out to reach, at the largest batch."""
    found = []
    for width in GPU_WIDTHS:
        rates = []
        for vocab_size in GPU_VOCABULARIES:
            shape = Shape(GPU_TARGETS[-1], width, vocab_size)
            result = compare.find(results, shape.name, "fedkey triton")
            rates.append(None if result is None else result.flops(BOTH))
        share = bench.of_product(worst(rates))
        text = (
            f"fused loss, width {width}, both passes, at least 0.7 of the matrix rate at the worst vocabulary"
        )
        found.append(Goal(text, share, 0.7))
    return found
