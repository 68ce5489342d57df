"""One case, several implementations: each is checked, then timed, in turns.

In: a case and its variants. Out: a result for each. Next stop: `bench.attention`.

What an implementation cannot do (a shape, a mask, a device) is said in its row of the table and never ends
the run. A kernel of ours that does not run, or is wrong, is not timed, and makes the whole run fail."""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.check import PEER_LIMIT, Expected, judge, poisoned
from bench.timing import Ceilings, measure, peak_memory, release

FORWARD, BACKWARD, BOTH = "forward", "backward", "both"


class Bench(NamedTuple):
    """What all parts of the benchmark share."""

    device: torch.device
    quick: bool
    ceilings: Ceilings
    begun: float

    @property
    def on_gpu(self) -> bool:
        """Whether Triton's kernels are what is measured."""
        return self.device.type == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        """That the model computes in on this device."""
        return torch.bfloat16 if self.on_gpu else torch.float32

    @property
    def num_rounds(self) -> int:
        """How often the variants take turns."""
        return 1 if self.quick else 2 if self.on_gpu else 3

    def of_copy(self, rate: float | None) -> float | None:
        """Bytes a second as a share of a copy's. On a busy CPU the ceiling wavers too much to say."""
        return rate / self.ceilings.bytes_per_second if rate is not None and self.on_gpu else None

    def of_product(self, rate: float | None) -> float | None:
        """Operations a second as a share of a large matrix product's."""
        return rate / self.ceilings.flops_per_second if rate is not None and self.on_gpu else None

    def progress(self, text: str) -> None:
        """A line for who waits."""
        print(f"{time.monotonic() - self.begun:6.1f} s  {text}", file=sys.stderr, flush=True)

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Random numbers in the working dtype."""
        return (torch.randn(shape, device=self.device) * scale).to(self.dtype)


class Work(NamedTuple):
    """What a case has to do, for "forward", "backward" or "both"."""

    flops: dict[str, float]
    num_bytes: dict[str, float]


def identity(tensor: Tensor) -> Tensor:
    """Itself."""
    return tensor


@dataclass(frozen=True)
class Attempt:
    """A variant with its inputs in the layout it likes."""

    leaves: tuple[Tensor, ...]
    forward: Callable[[], Tensor]
    upstream: Tensor
    """Gradient of the output."""
    as_rows: Callable[[Tensor], Tensor] = identity
    """From the variant's layout to the one all are compared in."""

    def gradients(self, out: Tensor, *, keep: bool = False) -> tuple[Tensor, ...]:
        """Of the leaves; `keep` leaves the graph for another call."""
        return torch.autograd.grad(out, self.leaves, self.upstream, retain_graph=keep)

    def both(self) -> tuple[Tensor, ...]:
        """Forward and backward."""
        return self.gradients(self.forward())


@dataclass(frozen=True)
class Variant:
    """One implementation."""

    name: str
    ours: bool
    build: Callable[[], Attempt]


@dataclass
class Result:
    """Of one implementation on one case."""

    case: str
    variant: str
    ours: bool
    work: Work
    turns: dict[str, list[float]] = field(default_factory=dict)
    """Seconds of each round, of "forward", "backward" or "both"."""
    hosts: list[float] = field(default_factory=list)
    """Seconds the host needed to queue the call, where somebody asked."""
    memory: int | None = None
    error: float | None = None
    note: str = ""
    """Why it was not timed."""
    detail: str = ""
    """What the case turned out to be, for the table."""

    def seconds(self, part: str) -> float | None:
        """Median over rounds."""
        return statistics.median(self.turns[part]) if part in self.turns and not self.note else None

    def milliseconds(self, part: str) -> float | None:
        """The same in the table's unit."""
        seconds = self.seconds(part)
        return None if seconds is None else 1e3 * seconds

    def flops(self, part: str) -> float | None:
        """Useful operations a second."""
        seconds = self.seconds(part)
        return None if seconds is None else self.work.flops[part] / seconds

    def bandwidth(self, part: str) -> float | None:
        """Bytes that must move a second."""
        seconds = self.seconds(part)
        return None if seconds is None else self.work.num_bytes[part] / seconds


def compare(
    bench: Bench,
    case: str,
    variants: Sequence[Variant],
    expected: Expected,
    parts: Sequence[str],
    work: Work,
) -> list[Result]:
    """Checks each variant, then times the right ones in turns."""
    results = [Result(case, variant.name, variant.ours, work) for variant in variants]
    for turn in range(bench.num_rounds):
        for variant, result in zip(variants, results, strict=True):
            if not result.note:
                bench.progress(f"{case}: {variant.name}{f', round {turn + 1}' if turn else ''}")
                guard(result, partial(_examine, bench, variant, result, expected, parts))
    return results


def one_case(bench: Bench, name: str, run: Callable[[], list[Result]]) -> list[Result]:
    """What `run` finds; if even its inputs or its reference cannot be made, one failed result."""
    found: list[Result] = []
    failed = Result(name, "fedkey", True, Work({}, {}))
    guard(failed, lambda: found.extend(run()))
    release(bench.device)
    return [failed] if failed.note else found


def guard(result: Result, run: Callable[[], None]) -> None:
    """Runs it; what it raises becomes the result's note."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run()
        except Exception as error:  # any: a peer's failure must not end the run
            reason = _reason(error, [str(warning.message) for warning in caught])
            # What the failed call held lives as long as the traceback's frames, which may form cycles.
            error.__traceback__ = None
            gc.collect()
            result.note = f"{'FAILED' if result.ours else 'not available'}: {reason}"


def _reason(error: Exception, warned: Sequence[str]) -> str:
    """Why SDPA took no kernel stands in its warnings, those of the backends we switched off beside it."""
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    text = str(error) or type(error).__name__
    if "No available kernel" in text or "No viable backend" in text:
        telling = [w for w in warned if "because:" not in w and "runtime disabled" not in w]
        text = telling[0] if telling else "no such kernel for these tensors"
    line = text.strip().splitlines()[0].split(" (Triggered internally")[0]
    return line if len(line) <= 100 else line[:97] + "..."


def _examine(
    bench: Bench, variant: Variant, result: Result, expected: Expected, parts: Sequence[str]
) -> None:
    attempt = variant.build()
    if result.error is None:
        with poisoned():
            out = attempt.forward()
            gradients = attempt.gradients(out)
        verdict = judge(tuple(attempt.as_rows(t.detach()) for t in (out, *gradients)), expected)
        result.error = verdict.error
        if variant.ours and verdict.fault:
            result.note = f"WRONG: {verdict.fault}"
            return
        if not verdict.error <= PEER_LIMIT:
            result.note = f"not available: not the same function, error {verdict.error:.1e}"
            return
        del out, gradients
        result.memory = peak_memory(attempt.both, bench.device)
    for part in parts:
        run: Callable[[], Any] = attempt.forward if part == FORWARD else attempt.both
        if part == BACKWARD:
            run = partial(attempt.gradients, attempt.forward(), keep=True)
        result.turns.setdefault(part, []).append(measure(run, bench.device, bench.quick).seconds)


def best_peer(results: Sequence[Result], case: str, part: str) -> float | None:
    """Seconds of the fastest implementation that is not ours."""
    times = [r.seconds(part) for r in results if r.case == case and not r.ours]
    return min((t for t in times if t is not None), default=None)


def times_best_peer(results: Sequence[Result], result: Result, part: str) -> float | None:
    """How many times faster than the best peer."""
    best, seconds = best_peer(results, result.case, part), result.seconds(part)
    return None if best is None or seconds is None else best / seconds


def find(results: Sequence[Result], case: str, variant: str) -> Result | None:
    """The result of a variant on a case."""
    return next((r for r in results if r.case == case and r.variant == variant), None)


def faster(
    results: Sequence[Result], our_case: str, peer_case: str, ours: str, peer: str, part: str
) -> float | None:
    """How many times faster one variant on a case is than another on another case."""
    one, other = find(results, our_case, ours), find(results, peer_case, peer)
    mine, theirs = one and one.seconds(part), other and other.seconds(part)
    return theirs / mine if mine and theirs else None


def worst(values: Sequence[float | None], *, largest: bool = False) -> float | None:
    """The smallest, or largest; None if one is missing."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return max(known) if largest else min(known)


def failures(results: Sequence[Result]) -> list[str]:
    """Kernels of ours that are wrong or did not run."""
    return [f"{r.case}, {r.variant}: {r.note}" for r in results if r.ours and r.note]


def spread(results: Sequence[Result]) -> str:
    """How far rounds differ: a difference smaller than that says nothing."""
    found = [
        max(times) / min(times) - 1
        for result in results
        for times in result.turns.values()
        if len(times) > 1 and not result.note
    ]
    if not found:
        return "One round."
    return (
        f"The slowest round took {100 * statistics.median(found):.0f} % more than the fastest in the median "
        f"row, {100 * max(found):.0f} % in the worst."
    )


@contextmanager
def forced(kernel: str, path: str) -> Iterator[None]:
    """Inside, `FEDKEY_<KERNEL>` names the path."""
    variable = f"FEDKEY_{kernel.upper()}"
    before = os.environ.get(variable)
    os.environ[variable] = path
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
