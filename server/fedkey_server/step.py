"""One step of training: its rows in parts, their gradient, the optimizer's move.

In: packed rows and a model. Out: updated parameters. Next stop: `fedkey_server.train`, which takes the steps.

A step's rows can be taken in parts, by one process after the other or by several at once: every part's
gradient is that of its summed loss over the number of targets of the *whole* step, so that the sum is the
gradient of one big batch, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedkey_kernels import SophiaG
from fedkey_server.batches import PackedRows
from fedkey_server.lessons import Lessons
from fedkey_server.model import IGNORE, Model, Taught
from fedkey_server.objectives.task import Task
from fedkey_server.parallel import ALONE, Processes, no_exchange

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""tokens, targets, positions, document_ids, each [B, T]."""


def to_batch(rows: PackedRows, device: torch.device) -> Batch:
    """Packed numpy rows as tensors on the device."""
    arrays = (rows.tokens, rows.targets, rows.positions, rows.document_ids)
    tensors = [torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)) for array in arrays]
    if device.type == "cuda":  # from other memory the copy would wait for the GPU
        tensors = [tensor.pin_memory() for tensor in tensors]
    tokens, targets, positions, document_ids = (tensor.to(device, non_blocking=True) for tensor in tensors)
    return tokens, targets, positions, document_ids


def to_ranks(rows: PackedRows, device: torch.device) -> Tensor | None:
    """[B, T] the rows' order on the device, if they have one."""
    return None if rows.ranks is None else torch.from_numpy(rows.ranks).to(device)


LEFT_TO_RIGHT = Task()

PRECISIONS = ("auto", "fastest", "float32", "bfloat16")


def precision(device: torch.device, wanted: str = "auto") -> AbstractContextManager[Any]:
    """What products are computed in; weights and sums stay in float32.

    "auto" is bf16 on CUDA and float32 on a CPU, where figures shall not depend on who made it. "fastest" is
    bf16 on a CPU that multiplies it, too: one with matrix units (AMX) trains the phone preset 2.2 times as
    fast with it (4,820 instead of 2,230 pieces a second on one core, measured 2026-11-26), while one that
    emulates it takes many times as long for a product (`fedkey_kernels.muon`).
    """
    if wanted == "bfloat16" or (wanted != "float32" and device.type == "cuda"):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    if wanted == "fastest" and any(torch.cpu.get_capabilities().get(unit) for unit in BFLOAT16_UNITS):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


BFLOAT16_UNITS = ("amx_bf16", "avx512_bf16", "bf16")
"""What processors that multiply bf16 call it: Intel's, AMD's, Arm's."""


class Objective(nn.Module):
    """The model's loss as the forward of a module, which is what DistributedDataParallel takes.

    Args:
        precision: see `precision`.
        lesson_weight: of what a teacher expected, where a batch comes with it.
        task: what batches were made for.
    """

    def __init__(
        self, model: Model, precision: str = "auto", lesson_weight: float = 0.0, task: Task = LEFT_TO_RIGHT
    ) -> None:
        super().__init__()
        self.task = task
        self.model = model
        self.precision = precision
        self.lesson_weight = lesson_weight

    def forward(
        self,
        batch: Batch,
        z_penalty: float,
        label_seed: int | None,
        taught: Taught | None = None,
        ranks_bt: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sums over graded targets: what is to be differentiated, and the NLL.

        With a `label_seed` they are those of labels that the model draws itself, without the penalty.
        """
        sight = self.task.sight(ranks_bt)
        with precision(batch[0].device, self.precision):
            if label_seed is not None:
                total = self.model.bartlett_loss(*batch, seed=label_seed, **sight)
                return total, total.detach()
            # Hard et al.'s network, which `train` trains as well, takes no lessons.
            lessons = () if taught is None else (taught, self.lesson_weight)
            losses = self.model.loss(*batch, z_penalty, *lessons, **sight)
            return losses.total, losses.nll


@dataclass(frozen=True)
class Share:
    """What one process takes of a step, in one or more parts."""

    parts: Sequence[tuple[int, Batch]]
    """Each with its number, counted over all processes."""
    own_targets: int
    """Graded targets of these parts."""
    num_targets: int
    """Graded targets of the whole step."""
    num_processes: int
    taught: Sequence[Taught] = ()
    """What a teacher expected of each part; empty without lessons."""
    ranks: Sequence[Tensor | None] = ()
    """The order of each part's rows."""

    @classmethod
    def of(
        cls,
        rows: PackedRows,
        num_parts: int,
        processes: Processes = ALONE,
        lessons: Lessons | None = None,
    ) -> Share:
        """This process's share of the rows of a step, on its device."""
        taken = [(number, rows.take(part)) for number, part in processes.parts(len(rows), num_parts)]
        own_targets = sum(int((part.targets != IGNORE).sum()) for _, part in taken)
        num_targets = int((rows.targets != IGNORE).sum())
        parts = [(number, to_batch(part, processes.device)) for number, part in taken]
        length = rows.tokens.shape[1]
        taught = (
            []
            if lessons is None
            else [lessons.of(part.numbers, length, processes.device) for _, part in taken]
        )
        ranks = [to_ranks(part, processes.device) for _, part in taken]
        return cls(parts, own_targets, num_targets, processes.count, taught, ranks)


def _backward(
    objective: nn.Module, share: Share, z_penalty: float = 0.0, label_seeds: Sequence[int] | None = None
) -> Tensor:
    """Sets `.grad` to the gradient of the whole step's mean loss; returns the summed NLL of this share."""
    objective.zero_grad()
    # The processes average their gradients; the loss is a sum over all of them.
    divisor = share.num_targets / share.num_processes
    nll = torch.zeros((), dtype=torch.float64, device=share.parts[0][1][0].device)
    for i, (_, batch) in enumerate(share.parts):
        is_last = i == len(share.parts) - 1
        with nullcontext() if is_last else no_exchange(objective):
            label_seed = None if label_seeds is None else label_seeds[i]
            taught = share.taught[i] if share.taught and label_seed is None else None
            ranks = share.ranks[i] if share.ranks else None
            total, part_nll = objective(batch, z_penalty, label_seed, taught, ranks)
            (total / divisor).backward()
        nll += part_nll
    return nll


def optimizer_step(
    objective: nn.Module, optimizer: torch.optim.Optimizer, share: Share, z_penalty: float, clip_norm: float
) -> Tensor:
    """One step of the optimizer on what all processes hold of a step; nothing if nothing in it is graded.

    Args:
        objective: an `Objective`, wrapped by `Processes.wrap`.

    Returns:
        The summed NLL of this share, as a tensor: reading it waits for the device.
    """
    if share.num_targets == 0:
        return torch.zeros((), dtype=torch.float64)
    nll = _backward(objective, share, z_penalty)
    if clip_norm:
        torch.nn.utils.clip_grad_norm_(objective.parameters(), clip_norm)
    if isinstance(optimizer, SophiaG):
        optimizer.step(batch_size=share.num_targets)
    else:
        optimizer.step()
    return nll


def curvature_step(objective: nn.Module, optimizer: SophiaG, share: Share, seed: tuple[int, ...]) -> None:
    """Gauss-Newton-Bartlett: the gradient on labels drawn from the model updates Sophia's curvature.

    What is squared is the gradient of the *whole* step's mean loss, summed over parts and averaged over
    processes, so the factor that makes the square's mean the Gauss-Newton diagonal is the whole step's number
    of targets, as `optimizer_step` has it. Every part draws by a seed of its own, made of `seed` and its
    number: labels drawn alike in two parts would not be independent.
    """
    if share.num_targets == 0:
        return
    label_seeds = [int(np.random.SeedSequence((*seed, i)).generate_state(1)[0]) for i, _ in share.parts]
    _backward(objective, share, label_seeds=label_seeds)
    optimizer.update_hessian()
