"""Seconds and bytes of one call, on a GPU and on a CPU, and the two ceilings that they are compared with.

In: a function without arguments. Out: medians. Next stop: `bench.check`.

On a GPU device time counts, between two events. Before each call the cache is emptied, and the device is kept
waiting until the host has queued the call: what counts is the kernels, not how fast Python launches them (the
host's time stands in the tables where it could matter). On a CPU, process time with one thread counts, which
neighbours on the machine disturb less than the clock on the wall; only ratios within one run mean anything.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

FLUSH_BYTES = 1 << 28
"""Several times the cache of any GPU this is for (50 MB on an H100)."""
CYCLES_PER_SECOND = 2e9
"""No less than the clock of such a GPU."""


class Timing(NamedTuple):
    """Of one call, in seconds."""

    seconds: float
    host_seconds: float
    """What the host needs to queue the call."""


def measure(run: Callable[[], Any], device: torch.device, quick: bool) -> Timing:
    """Median of many calls on a GPU, of a few on a CPU, after a warm-up."""
    if device.type == "cuda":
        return _measure_cuda(run, budget=0.01 if quick else 0.06)
    run()
    times = []
    for _ in range(1 if quick else 5):
        begun = time.process_time()
        run()
        times.append(time.process_time() - begun)
    median = statistics.median(times)
    return Timing(median, median)


def _measure_cuda(run: Callable[[], Any], budget: float) -> Timing:
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    hosts, wholes = [], []
    for _ in range(3):
        begun = time.perf_counter()
        run()
        hosts.append(time.perf_counter() - begun)
        torch.cuda.synchronize()
        wholes.append(time.perf_counter() - begun)
    host = statistics.median(hosts)
    num_calls = max(5, min(100, int(budget / statistics.median(wholes))))
    events = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(num_calls)
    ]
    flush = _flush(torch.cuda.current_device())
    cycles = int((1.5 * host + 1e-4) * CYCLES_PER_SECOND)
    for start, end in events:
        flush.sum()  # reading empties the cache, and leaves nothing to be written back while we measure
        torch.cuda._sleep(cycles)
        start.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return Timing(statistics.median(start.elapsed_time(end) for start, end in events) / 1e3, host)


@cache
def _flush(index: int) -> Tensor:
    return torch.ones(FLUSH_BYTES // 4, dtype=torch.float32, device=torch.device("cuda", index))


def peak_memory(run: Callable[[], Any], device: torch.device) -> int:
    """Most bytes of tensors that live at once during one call, beyond those that lived before."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler announces itself on standard error
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    kineto: Any = profile.profiler
    events = [event for event in kineto.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def release(device: torch.device) -> None:
    """Gives cached memory back, so that the next case finds all of it."""
    if device.type == "cuda":
        with suppress(
            RuntimeError
        ):  # after an error of the device every call fails; tables must still come out
            torch.cuda.empty_cache()


class Ceilings(NamedTuple):
    """What this machine does at best, measured in the same call."""

    bytes_per_second: float
    """Of a large copy, bytes read and bytes written."""
    flops_per_second: float
    """Of a large matrix product on random data, bf16 on a GPU, float32 on a CPU."""


def ceilings(device: torch.device, dtype: torch.dtype, quick: bool) -> Ceilings:
    """Measures both."""
    small = quick or device.type != "cuda"
    num_bytes, size = (1 << 26, 512) if small else (1 << 30, 8192)
    copy, product = _copy(num_bytes, device), _product(size, device, dtype)
    found = Ceilings(
        2 * num_bytes / measure(copy, device, quick).seconds,
        2 * size**3 / measure(product, device, quick).seconds,
    )
    del copy, product
    release(device)
    return found


def _copy(num_bytes: int, device: torch.device) -> Callable[[], Tensor]:
    source = torch.randn(num_bytes // 4, device=device)
    return partial(torch.empty_like(source).copy_, source)


def _product(size: int, device: torch.device, dtype: torch.dtype) -> Callable[[], Tensor]:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return partial(torch.mm, left, right)
