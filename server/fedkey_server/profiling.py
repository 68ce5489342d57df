"""A look at where the time of a few training steps goes.

In: steps of training. Out: a trace for a viewer, and the costliest operators as a table. Next stop:
`fedkey_server.train`, whose steps these are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, schedule

from fedkey.files import whole

SKIPPED_STEPS, PROFILED_STEPS = 2, 4
"""The first steps of a process compile and warm up; the next ones are looked at."""
TABLE_ROWS = 10


@contextmanager
def profiled(trace: Path, device: torch.device) -> Iterator[Callable[[], None]]:
    """Profiles `PROFILED_STEPS` steps of what its body does, or fewer if the body ends sooner.

    Writes a Chrome trace as soon as they are done, prints the table to stderr, and gets out of the way.

    Args:
        trace: file to write.
        device: where the model is.

    Yields:
        A function to call after every step.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)

    def write(profiler: Any) -> None:
        with whole(trace) as beside:
            profiler.export_chrome_trace(str(beside))
        where = f"{trace}: open it at https://ui.perfetto.dev or in chrome://tracing"
        print(f"{table(profiler)}\n{where}", file=sys.stderr)

    plan = schedule(wait=SKIPPED_STEPS - 1, warmup=1, active=PROFILED_STEPS, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=write, acc_events=True) as profiler:
        yield profiler.step


def table(profiler: Any) -> str:
    """The costliest operators by the time in themselves: on the GPU if there was one, else on the CPU."""
    # A kernel on the GPU is listed by itself, and its time again at the operator that launched it.
    events = [
        event
        for event in profiler.key_averages()
        if event.device_type == DeviceType.CPU and not event.key.startswith("ProfilerStep")
    ]
    on_device = any(event.self_device_time_total for event in events)

    def cost(event: Any) -> float:
        return float(event.self_device_time_total if on_device else event.self_cpu_time_total)

    total = sum(map(cost, events)) or 1.0
    place = "GPU" if on_device else "CPU"
    lines = [f"{place + ' ms':>10} {'share':>6} {'calls':>7}  costliest operators of the profiled steps"]
    for event in sorted(events, key=cost, reverse=True)[:TABLE_ROWS]:
        share = cost(event) / total
        lines.append(f"{cost(event) / 1000:>10.1f} {share:>6.1%} {event.count:>7}  {event.key[:70]}")
    return "\n".join(lines)
