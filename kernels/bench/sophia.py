"""Sophia's step against torch's fused AdamW: time per parameter, and bytes a second.

In: this machine. Out: a section of the report. Next stop: `bench.norm`.

Parameters are those of a transformer in shape: about a hundred tensors, most of them large, some small. A
step is checked against float64 from random momenta and curvatures, of which about half are clipped."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

import fedkey_kernels
from bench import compare, counts
from bench.check import Expected, judge, poisoned
from bench.compare import Bench, Result, Work, forced, spread
from bench.report import NOTHING, Goal, Section, number, ratio, scaled, table
from bench.timing import measure, release
from fedkey_kernels import reference

STEP = "step"
GPU_SIZES = (10**6, 10**7, 10**8)
NUM_LAYERS = 20
EVERY = 10
"""Steps for each estimate of the curvature."""
SETTINGS = {"learning_rate": 6e-4, "beta1": 0.965, "rho": 0.05, "weight_decay": 0.2}
BETA2 = 0.99
BATCH_SIZE = 40
"""Makes rho * batch size * h as large as m where h is 1 / 2."""
SOPHIA, CURVATURE, ADAMW = "Sophia", "its curvature", "AdamW, fused"


def sizes(bench: Bench) -> tuple[int, ...]:
    """Numbers of parameters."""
    return (10**4,) if bench.quick else GPU_SIZES if bench.on_gpu else (10**6, 10**7)


def tensor_sizes(num_parameters: int) -> list[int]:
    """Of 100 tensors: in each of 20 layers one vector, as of a norm, and four equal matrices; the last takes
    what is left over."""
    vector = max(8, num_parameters // 10**5)
    matrix = (num_parameters // NUM_LAYERS - vector) // 4
    found = ([vector] + [matrix] * 4) * NUM_LAYERS
    found[-1] += num_parameters - sum(found)
    return found


class Entries(NamedTuple):
    """Lists of tensors, one of each for each parameter."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    momenta: list[Tensor]
    curvatures: list[Tensor]


def draw(bench: Bench, num_parameters: int) -> Entries:
    """Random ones, float32 as in training."""
    shapes = tensor_sizes(num_parameters)
    parameters, gradients, momenta = (
        [torch.randn(size, device=bench.device) for size in shapes] for _ in range(3)
    )
    curvatures = [torch.rand(size, device=bench.device) for size in shapes]
    return Entries(parameters, gradients, momenta, curvatures)


def parameters_of(entries: Entries) -> list[Tensor]:
    """Copies with gradients, for an optimizer to move."""
    found = [parameter.clone().requires_grad_() for parameter in entries.parameters]
    for parameter, gradient in zip(found, entries.gradients, strict=True):
        parameter.grad = gradient.clone()
    return found


def sophia_of(entries: Entries, path: str) -> fedkey_kernels.SophiaG:
    """The optimizer with momenta and curvatures in place."""
    optimizer = fedkey_kernels.SophiaG(
        parameters_of(entries),
        lr=SETTINGS["learning_rate"],
        betas=(SETTINGS["beta1"], BETA2),
        rho=SETTINGS["rho"],
        weight_decay=SETTINGS["weight_decay"],
    )
    with forced("sophia", path):
        optimizer.update_hessian()  # makes the state
    for parameter, momentum, curvature in zip(
        optimizer.param_groups[0]["params"], entries.momenta, entries.curvatures, strict=True
    ):
        optimizer.state[parameter]["exp_avg"].copy_(momentum)
        optimizer.state[parameter]["hessian"].copy_(curvature)
    return optimizer


def expect(entries: Entries) -> Expected:
    """Change of the parameters, momenta and curvatures, each as one vector, after an average and a step."""

    def compute(dtype: torch.dtype) -> list[Tensor]:
        columns: list[list[Tensor]] = [[], [], []]
        for before, g, m, h in zip(*entries, strict=True):
            p, g, m, h = (tensor.to(dtype, copy=True) for tensor in (before, g, m, h))
            reference.curvature_average(h, g, g, BETA2)
            reference.sophia_step(p, m, h, g, batch_size=BATCH_SIZE, **SETTINGS)
            for column, tensor in zip(columns, (p - before, m, h), strict=True):
                column.append(tensor)
        return [torch.cat(column) for column in columns]

    return Expected(lambda found: found, compute(torch.float64), compute(torch.float32))


class Update(NamedTuple):
    """Something to time."""

    name: str
    path: str
    """Empty if it is not ours."""
    num_bytes: int
    build: Callable[[], Callable[[], Any]]


def updates(bench: Bench, entries: Entries, num_parameters: int) -> list[Update]:
    """Ours on each path that is one on this device, and AdamW."""
    found = []
    for path in ("triton", "foreach") if bench.on_gpu else ("foreach",):
        step, average = partial(_step, entries, path), partial(_average, entries, path)
        found.append(Update(f"{SOPHIA}, fedkey {path}", path, counts.sophia_step_bytes(num_parameters), step))
        num_bytes = counts.sophia_average_bytes(num_parameters)
        found.append(Update(f"{CURVATURE}, fedkey {path}", path, num_bytes, average))
    return [*found, Update(ADAMW, "", counts.adamw_step_bytes(num_parameters), partial(_adamw, entries))]


def case_name(num_parameters: int) -> str:
    """In tables and goals."""
    return f"{num_parameters:,} parameters"


def run_size(bench: Bench, num_parameters: int) -> list[Result]:
    """Both optimizers on one number of parameters."""
    case = case_name(num_parameters)
    entries = draw(bench, num_parameters)
    all_updates = updates(bench, entries, num_parameters)
    results = [Result(case, u.name, bool(u.path), Work({}, {STEP: u.num_bytes})) for u in all_updates]
    expected = expect(entries)
    for result, update in zip(results, all_updates, strict=True):
        if update.path:
            compare.guard(result, partial(_check, result, entries, update.path, expected))
    del expected
    release(bench.device)
    for turn in range(bench.num_rounds):
        for result, update in zip(results, all_updates, strict=True):
            if not result.note:
                bench.progress(f"{case}: {update.name}{f', round {turn + 1}' if turn else ''}")
                compare.guard(result, partial(_time, bench, result, update))
    return results


def _step(entries: Entries, path: str) -> Callable[[], Any]:
    optimizer = sophia_of(entries, path)

    def step() -> None:
        with forced("sophia", path):
            optimizer.step(batch_size=BATCH_SIZE)

    return step


def _average(entries: Entries, path: str) -> Callable[[], Any]:
    optimizer = sophia_of(entries, path)

    def average() -> None:
        with forced("sophia", path):
            optimizer.update_hessian()

    return average


def _adamw(entries: Entries) -> Callable[[], Any]:
    optimizer = torch.optim.AdamW(
        parameters_of(entries), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    return optimizer.step


def _check(result: Result, entries: Entries, path: str, expected: Expected) -> None:
    """An average and a step."""
    optimizer = sophia_of(entries, path)
    with forced("sophia", path), poisoned():
        optimizer.update_hessian()
        optimizer.step(batch_size=BATCH_SIZE)
    parameters = optimizer.param_groups[0]["params"]
    columns = [[p.detach() - before for p, before in zip(parameters, entries.parameters, strict=True)]]
    columns += [[optimizer.state[p][key] for p in parameters] for key in ("exp_avg", "hessian")]
    verdict = judge(tuple(torch.cat(column) for column in columns), expected)
    result.error = verdict.error
    if verdict.fault:
        result.note = f"WRONG: {verdict.fault}"


def _time(bench: Bench, result: Result, update: Update) -> None:
    timing = measure(update.build(), bench.device, bench.quick)
    result.turns.setdefault(STEP, []).append(timing.seconds)
    result.hosts.append(timing.host_seconds)


HEADERS = (
    "case", "implementation", "ms", "ps a parameter", "GB/s", "of copy", "of AdamW's speed", "host ms",
    "error",
)  # fmt: skip


def run(bench: Bench) -> Section:
    """All of it."""
    results, rows = [], []
    for size in sizes(bench):
        found = compare.one_case(bench, case_name(size), partial(run_size, bench, size))
        rows += [_row(bench, size, result, found) for result in found]
        results += found
    lines = [
        *table(HEADERS, rows),
        "",
        f"Bytes a parameter: 24 for a step, 12 for the curvature (every {EVERY} steps), 28 for AdamW. Error: "
        f"of the change after both. Host: what Python needs to queue the call. {spread(results)}",
        "",
        *_overhead(results, sizes(bench)),
    ]
    needs_gpu = ["Sophia: the fused step against fused AdamW at 1, 10 and 100 million parameters"]
    return Section("Sophia against AdamW", lines, goals(bench, results), compare.failures(results), needs_gpu)


def _row(bench: Bench, num_parameters: int, result: Result, beside: Sequence[Result]) -> list[str]:
    if result.note:
        return [result.case, result.variant, result.note]
    rate = result.bandwidth(STEP)
    speed = None if result.variant.startswith(CURVATURE) else compare.times_best_peer(beside, result, STEP)
    cells = [number(result.milliseconds(STEP)), scaled(result.seconds(STEP), 1e-12 * num_parameters)]
    cells += [scaled(rate, 1e9), number(bench.of_copy(rate)), ratio(speed)]
    cells.append(number(1e3 * statistics.median(result.hosts)))
    return [result.case, result.variant, *cells, NOTHING if result.error is None else f"{result.error:.1e}"]


def _overhead(results: Sequence[Result], num_parameters: Sequence[int]) -> list[str]:
    """What Sophia's update costs in all."""
    lines = []
    for size in num_parameters:
        for path in ("triton", "foreach"):
            names = f"{SOPHIA}, fedkey {path}", f"{CURVATURE}, fedkey {path}", ADAMW
            found = [compare.find(results, case_name(size), name) for name in names]
            step, average, adamw = (result and result.seconds(STEP) for result in found)
            if step and average and adamw:
                times = (step + average / EVERY) / adamw
                lines.append(
                    f"- {case_name(size)}, {path}: a step and a tenth of a curvature take {times:.2f} times "
                    "AdamW's step."
                )
    return lines


def goals(bench: Bench, results: Sequence[Result]) -> list[Goal]:
    """What the fused step was set out to reach, at 100 million parameters."""
    case, name = case_name(GPU_SIZES[-1]), f"{SOPHIA}, fedkey triton"
    ours = compare.find(results, case, name)
    share = bench.of_copy(None if ours is None else ours.bandwidth(STEP))
    speed = compare.faster(results, case, case, name, ADAMW, STEP)
    return [
        Goal(f"Sophia step, {case}, at least 0.85 of copy bandwidth", share, 0.85),
        Goal(f"Sophia step, {case}, no slower than fused AdamW: AdamW's time over Sophia's", speed, 1),
    ]
