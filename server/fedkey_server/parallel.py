"""Processes that train one model together: which one this is, what it takes of a step, how they agree.

In: what torchrun told this process. Out: its place among the others. Next stop: `fedkey_server.train`.

Data parallel: every process holds the whole model and takes a share of each step's rows; gradients are
averaged while they are computed (DistributedDataParallel, 2006.15704). The step's batch and the number of its
targets are pure functions of (seed, step), so every process knows them without asking. The processes share
one file system: the first writes the run folder, all read it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from fedkey.errors import UserError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; by default it is alone."""

    rank: int = 0
    """Its number, from 0."""
    count: int = 1
    """How many there are."""
    local_rank: int = 0
    """Its number on this machine, which is that of its GPU."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Its GPU, or the CPU where there is none."""
        if torch.cuda.is_available():
            return torch.device("cuda", self.local_rank)
        return torch.device("cpu")

    def parts(self, num_rows: int, num_parts: int) -> list[tuple[int, slice]]:
        """This process's share of a step in as many parts as it has passes: (number of the part, its rows).

        Parts are numbered over all processes and differ by one row at most. Two processes of one part each
        hold what one process holds in two.

        Raises:
            UserError: there are fewer rows than parts. A process without rows would hold up the others.
        """
        if num_rows < self.count * num_parts:
            raise UserError(
                f"A step of {num_rows} rows is too small for {_processes(self.count)} in {num_parts} parts "
                "each; raise train.batch_rows or lower train.accumulate."
            )
        borders = [num_rows * part // (self.count * num_parts) for part in range(self.count * num_parts + 1)]
        own = range(self.rank * num_parts, (self.rank + 1) * num_parts)
        return [(part, slice(borders[part], borders[part + 1])) for part in own]

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module, with gradients averaged over all processes when there are several."""
        return module if self.count == 1 else DistributedDataParallel(module)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, which all must ask for."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def once(self, work: Callable[[], None]) -> None:
        """Lets the first process work while the others wait.

        Raises:
            UserError: what the first process was told, in all of them, so that none waits for ever.
        """
        mistake: list[str | None] = [None]
        if self.is_first:
            try:
                work()
            except UserError as error:
                if self.count == 1:
                    raise
                mistake = [str(error)]
        if self.count > 1:
            dist.broadcast_object_list(mistake, src=0)
        if mistake[0] is not None:
            raise UserError(mistake[0])


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"


ALONE = Processes()


@contextmanager
def together() -> Iterator[Processes]:
    """Joins the processes that torchrun started, over NCCL on GPUs and gloo on CPUs; `ALONE` without it.

    Raises:
        UserError: more processes on this machine than it has GPUs.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ALONE
        return
    rank, count, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    processes = Processes(rank, count, local_rank)
    is_cuda = processes.device.type == "cuda"
    if is_cuda and local_rank >= torch.cuda.device_count():
        raise UserError(
            f"This machine has {torch.cuda.device_count()} GPUs, too few for process {local_rank}; "
            "start as many processes as GPUs with --nproc-per-node."
        )
    if count == 1:
        yield processes
        return
    if is_cuda:
        torch.cuda.set_device(processes.device)
    dist.init_process_group("nccl" if is_cuda else "gloo")
    yield processes
    # Not reached after an error: the others may never come, and torchrun ends them.
    dist.destroy_process_group()


def no_exchange(module: nn.Module) -> AbstractContextManager[None]:
    """Gradients add up in this process alone: for all passes of a step but the last."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()
