"""Sophia in one launch over all parameters, and so its average of curvatures.

In: lists of float32 tensors on one device, contiguous, and their settings. Out: the same tensors, updated.
Next stop: `fedkey_kernels.norm`.

A model has a hundred tensors, most of them small: a launch for each would leave the GPU idle between them.
One kernel gets a table of addresses instead, of which a program reads the row of its tensor, and a list of
chunks (tensor, block) that says which row, and which BLOCK of its entries. Addresses and settings go over in
one copy of pinned memory a step; the list of chunks depends on the sizes alone and stays on the device.

A step reads parameter, gradient, momentum and curvature and writes back all but the gradient and the
curvature: 24 bytes an entry, and nothing else of its size. Clipped entries are counted by integer additions,
whose order does not matter.

The launches are no custom operators: on a CPU, `torch.library.custom_op` with four lists of 200 tensors took
0.6 ms a call before doing anything, about what a step of 85 million parameters costs at 4 TB/s. Compiled code
breaks its graph here, where a training step ends anyway.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

NUM_COLUMNS = tl.constexpr(6)
"""Of the address table: at most four tensors, the number of entries in each, and the row of its settings."""
SIZE = tl.constexpr(4)
GROUP = tl.constexpr(5)
NUM_SETTINGS = tl.constexpr(6)
"""Of the settings table; even, so that it is a whole number of int64."""
BLOCK = 2048
"""Entries of a chunk: with four warps, 16 to a thread, in four loads of 128 bits from each tensor."""
PART = tl.constexpr(128)
"""Entries at a time of the last chunk of a tensor, one to a thread. Masked like that and not as a whole, it
takes no more registers than the other chunks: 64 for sm_90 instead of 180 (Triton 3.7; 88 with 3.9), so eight
programs fit a multiprocessor instead of two."""


class Launch(NamedTuple):
    """How the kernels are launched and, ahead of time, compiled."""

    num_warps: int = 4
    num_stages: int = 1


@triton.jit
def load_address(entry_ptr, ALIGNED: tl.constexpr):
    """A float32 tensor by its address. The promise of 16 bytes is what makes loads 128 bits wide."""
    pointer = tl.load(entry_ptr).to(tl.pointer_type(tl.float32))
    if ALIGNED:
        pointer = tl.multiple_of(pointer, 16)
    return pointer


@triton.jit
def step_block(
    parameter_ptr,
    gradient_ptr,
    momentum_ptr,
    curvature_ptr,
    settings_ptr,
    offset,
    floor,
    start,
    size,
    BLOCK: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """The step of one chunk; returns how many of its entries were clipped: none behind the end, where the
    momentum is 0."""
    rate, decay = tl.load(settings_ptr), tl.load(settings_ptr + 1)
    beta1, rest = tl.load(settings_ptr + 2), tl.load(settings_ptr + 3)
    scale = tl.load(settings_ptr + 4)
    entries = start + tl.arange(0, BLOCK)
    if WHOLE:
        parameter, gradient = tl.load(parameter_ptr + entries), tl.load(gradient_ptr + entries)
        momentum, curvature = tl.load(momentum_ptr + entries), tl.load(curvature_ptr + entries)
    else:
        mask = entries < size
        parameter = tl.load(parameter_ptr + entries, mask=mask, other=0.0)
        gradient = tl.load(gradient_ptr + entries, mask=mask, other=0.0)
        momentum = tl.load(momentum_ptr + entries, mask=mask, other=0.0)
        curvature = tl.load(curvature_ptr + entries, mask=mask, other=0.0)
    momentum = beta1 * momentum + rest * gradient
    denominator = tl.maximum(scale * curvature + offset, floor)
    magnitude = tl.abs(momentum)
    clipped = magnitude >= denominator  # false for NaN, which then reaches the parameter and is seen
    ratio = tl.where(clipped, 1.0, magnitude / denominator)
    parameter = decay * parameter - rate * tl.where(momentum < 0, -ratio, ratio)
    if WHOLE:
        tl.store(parameter_ptr + entries, parameter)
        tl.store(momentum_ptr + entries, momentum)
    else:
        tl.store(parameter_ptr + entries, parameter, mask=mask)
        tl.store(momentum_ptr + entries, momentum, mask=mask)
    return tl.sum(clipped.to(tl.int32), axis=0)


@triton.jit
def step_kernel(
    addresses_ptr,
    settings_ptr,
    chunks_ptr,
    clipped_ptr,
    offset,
    floor,
    BLOCK: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """One chunk of one tensor."""
    tensor = tl.load(chunks_ptr + 2 * tl.program_id(0))
    start = tl.load(chunks_ptr + 2 * tl.program_id(0) + 1).to(tl.int64) * BLOCK
    row_ptr = addresses_ptr + tensor * NUM_COLUMNS
    parameter_ptr = load_address(row_ptr, ALIGNED)
    momentum_ptr = load_address(row_ptr + 1, ALIGNED)
    curvature_ptr = load_address(row_ptr + 2, ALIGNED)
    gradient_ptr = load_address(row_ptr + 3, ALIGNED)
    size = tl.load(row_ptr + SIZE)
    settings_ptr += tl.load(row_ptr + GROUP) * NUM_SETTINGS
    # A mask that the compiler knows nothing about would make every load 32 bits wide.
    if start + BLOCK <= size:
        clipped = step_block(
            parameter_ptr, gradient_ptr, momentum_ptr, curvature_ptr, settings_ptr,
            offset, floor, start, size, BLOCK, True,
        )  # fmt: skip
    else:
        clipped = 0
        for part in range(start, size, PART):
            clipped += step_block(
                parameter_ptr, gradient_ptr, momentum_ptr, curvature_ptr, settings_ptr,
                offset, floor, part, size, PART, False,
            )  # fmt: skip
    tl.atomic_add(clipped_ptr, clipped.to(tl.int64), sem="relaxed")


@triton.jit
def average_block(
    curvature_ptr,
    left_ptr,
    right_ptr,
    settings_ptr,
    start,
    size,
    BLOCK: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """The average of one chunk."""
    beta2, rest = tl.load(settings_ptr), tl.load(settings_ptr + 1)
    entries = start + tl.arange(0, BLOCK)
    if WHOLE:
        curvature = tl.load(curvature_ptr + entries)
        left, right = tl.load(left_ptr + entries), tl.load(right_ptr + entries)
        tl.store(curvature_ptr + entries, beta2 * curvature + rest * left * right)
    else:
        mask = entries < size
        curvature = tl.load(curvature_ptr + entries, mask=mask)
        left, right = tl.load(left_ptr + entries, mask=mask), tl.load(right_ptr + entries, mask=mask)
        tl.store(curvature_ptr + entries, beta2 * curvature + rest * left * right, mask=mask)


@triton.jit
def average_kernel(
    addresses_ptr,
    settings_ptr,
    chunks_ptr,
    BLOCK: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """One chunk of one tensor."""
    tensor = tl.load(chunks_ptr + 2 * tl.program_id(0))
    start = tl.load(chunks_ptr + 2 * tl.program_id(0) + 1).to(tl.int64) * BLOCK
    row_ptr = addresses_ptr + tensor * NUM_COLUMNS
    curvature_ptr = load_address(row_ptr, ALIGNED)
    left_ptr = load_address(row_ptr + 1, ALIGNED)
    right_ptr = load_address(row_ptr + 2, ALIGNED)
    size = tl.load(row_ptr + SIZE)
    settings_ptr += tl.load(row_ptr + GROUP) * NUM_SETTINGS
    if start + BLOCK <= size:
        average_block(curvature_ptr, left_ptr, right_ptr, settings_ptr, start, size, BLOCK, True)
    else:
        for part in range(start, size, PART):
            average_block(curvature_ptr, left_ptr, right_ptr, settings_ptr, part, size, PART, False)


class Settings(NamedTuple):
    """Of one parameter group's step."""

    rate: float
    decay: float
    beta1: float
    rest: float
    scale: float
    unused: float = 0.0


class Copied(NamedTuple):
    """What a launch reads beside the tensors themselves, on their device."""

    addresses: Tensor
    settings: Tensor
    counter: Tensor
    aligned: bool


class Table:
    """Addresses of tensors that stay where they are, with columns left for those that move.

    Gradients move from step to step. Looking closely at the other tensors only when they have changed brings
    the host's share of a step with 200 tensors from 1.1 to 0.4 ms (one core of a small machine, torch 2.13).

    Args:
        staying: lists of tensors that fill the first columns; tensor by tensor of one size. float32,
            contiguous, on one device. Nothing here checks that: `fedkey_kernels.sophia` does.
        num_moving: columns after those.
        group_sizes: tensors in each parameter group, whose settings they share.
    """

    def __init__(self, staying: Sequence[list[Tensor]], num_moving: int, group_sizes: list[int]) -> None:
        self.staying, self.group_sizes = list(staying), group_sizes
        self.addresses = [addresses_of(tensors) for tensors in staying]
        self.sizes = [tensor.numel() for tensor in staying[0]]
        self.device = staying[0][0].device
        self.chunks = chunks_of(tuple(self.sizes), BLOCK, self.device)
        self.moving = slice(len(staying), len(staying) + num_moving)
        groups = torch.arange(len(group_sizes)).repeat_interleave(torch.tensor(group_sizes))
        self.host = torch.zeros(len(self.sizes), NUM_COLUMNS.value, dtype=torch.int64)
        self.host[:, : len(staying)] = torch.tensor(self.addresses).T
        self.host[:, SIZE.value] = torch.tensor(self.sizes)
        self.host[:, GROUP.value] = groups
        self.aligned = all(address % 16 == 0 for addresses in self.addresses for address in addresses)

    def fits(self, staying: Sequence[list[Tensor]], group_sizes: list[int]) -> bool:
        """Whether these are still the same tensors at the same addresses."""
        return (
            group_sizes == self.group_sizes
            and all(all(map(operator.is_, new, old)) for new, old in zip(staying, self.staying, strict=True))
            and all(addresses_of(new) == old for new, old in zip(staying, self.addresses, strict=True))
        )

    def copied(self, moving: Sequence[list[Tensor]], settings: Sequence[tuple[float, ...]]) -> Copied:
        """One copy to the device of everything that changes.

        The pinned memory is new each time, and the host's allocator keeps it until the copy is done: the host
        is steps ahead of the device.
        """
        addresses = [addresses_of(tensors) for tensors in moving]
        num_addresses = self.host.numel()
        length = 1 + num_addresses + NUM_SETTINGS.value // 2 * len(settings)
        host = torch.empty(length, dtype=torch.int64, pin_memory=self.device.type == "cuda")
        host[0] = 0
        table = host[1 : 1 + num_addresses].view(self.host.shape)
        table.copy_(self.host)
        table[:, self.moving] = torch.tensor(addresses).T
        host[1 + num_addresses :].view(torch.float32).copy_(torch.tensor(settings).flatten())
        device = host.to(self.device, non_blocking=True)
        return Copied(
            device[1 : 1 + num_addresses],
            device[1 + num_addresses :].view(torch.float32),
            device[:1],
            self.aligned and all(address % 16 == 0 for column in addresses for address in column),
        )


def addresses_of(tensors: Sequence[Tensor]) -> list[int]:
    """Where each tensor's first entry is."""
    return [tensor.data_ptr() for tensor in tensors]


@lru_cache(maxsize=8)
def chunks_of(sizes: tuple[int, ...], block: int, device: torch.device) -> Tensor:
    """(tensor, block of the tensor) of every chunk, int32 [chunks, 2]: a function of the sizes alone."""
    num_blocks = torch.tensor([triton.cdiv(size, block) for size in sizes], dtype=torch.int64)
    tensors = torch.arange(len(sizes)).repeat_interleave(num_blocks)
    firsts = (num_blocks.cumsum(0) - num_blocks).repeat_interleave(num_blocks)
    blocks = torch.arange(len(tensors)) - firsts
    return torch.stack((tensors, blocks), dim=1).to(torch.int32).to(device)


def step(
    table: Table, gradients: list[Tensor], settings: Sequence[Settings], offset: float, floor: float
) -> Tensor:
    """One step of every tensor, in place; returns how many entries were clipped, int64 [1] on the device.

    m <- beta1 m + rest g;  p <- decay p - rate sign(m) min(|m| / max(scale h + offset, floor), 1).

    Args:
        table: of parameters, momenta and curvatures, with one column left.
        gradients: one for each parameter, like it.
        settings: one for each parameter group.
        offset, floor: of all denominators.
    """
    copied = table.copied([gradients], settings)
    if len(table.chunks):
        with torch.cuda.device_of(table.chunks):
            step_kernel[(len(table.chunks),)](
                copied.addresses,
                copied.settings,
                table.chunks,
                copied.counter,
                offset,
                floor,
                BLOCK=BLOCK,
                ALIGNED=copied.aligned,
                **Launch()._asdict(),
            )
    return copied.counter


def average(table: Table, left: list[Tensor], right: list[Tensor], beta2s: Sequence[float]) -> None:
    """h <- beta2 h + (1 - beta2) left * right for every tensor, in place.

    Args:
        table: of curvatures, with two columns left.
        left, right: one for each curvature, like it.
        beta2s: one for each parameter group.
    """
    unused = (0.0,) * (NUM_SETTINGS.value - 2)
    copied = table.copied([left, right], [(beta2, 1 - beta2, *unused) for beta2 in beta2s])
    if len(table.chunks):
        with torch.cuda.device_of(table.chunks):
            average_kernel[(len(table.chunks),)](
                copied.addresses,
                copied.settings,
                table.chunks,
                BLOCK=BLOCK,
                ALIGNED=copied.aligned,
                **Launch()._asdict(),
            )
