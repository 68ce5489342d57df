"""The one seam for hardware: which implementation of a kernel runs, and why.

In: the kernel's name, its paths and the tensors' device. Out: the name of a path. Next stop:
`fedkey_kernels.attention`.

Triton runs on CUDA; everywhere else torch's own operators do. `FEDKEY_ATTENTION`, `FEDKEY_LOSS`,
`FEDKEY_NORM` and `FEDKEY_SOPHIA` force a path. Which one was taken, and why, is logged once for each kernel
and reason.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

log = logging.getLogger(__name__)

OLDEST_CAPABILITY = (8, 0)
"""First CUDA compute capability with bf16 tensor cores, which the Triton kernels are written for."""


@torch.compiler.assume_constant_result  # torch.compile asks once, while it traces
def choose(kernel: str, paths: Sequence[str], default: str, reason: str) -> str:
    """The path that `FEDKEY_<KERNEL>` names, otherwise `default`.

    Args:
        kernel: "attention", "loss", "norm" or "sophia".
        paths: the names that the variable may hold.
        default: what runs when the variable is not set.
        reason: why, for the log.

    Raises:
        ValueError: the variable holds another name.
    """
    variable = f"FEDKEY_{kernel.upper()}"
    forced = os.environ.get(variable)
    if forced is not None and forced not in paths:
        raise ValueError(f"{variable} is {forced!r}; it can be one of {', '.join(paths)}")
    path = forced or default
    _announce(kernel, path, f"{variable} says so" if forced else reason)
    return path


@cache
def _announce(kernel: str, path: str, reason: str) -> None:
    log.info("%s: %s (%s)", kernel, path, reason)


def no_triton(tensor: Tensor, dtypes: Sequence[torch.dtype]) -> str | None:
    """Why a Triton kernel made for `dtypes` cannot be the default for this tensor, or None if it can."""
    if tensor.dtype not in dtypes:
        return f"the Triton kernel does not take {tensor.dtype}"
    if tensor.device.type != "cuda":
        return f"the tensors are on the {tensor.device.type.upper()}"
    return _no_triton_on(tensor.device.index or 0)


@torch.compiler.assume_constant_result
@cache
def _no_triton_on(index: int) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if torch.cuda.get_device_capability(index) < OLDEST_CAPABILITY:
        return "the GPU is older than bf16 tensor cores"
    return None


def require_triton(kernel: str, tensor: Tensor, dtypes: Sequence[torch.dtype]) -> None:
    """Refuses a forced Triton path that cannot run here.

    Raises:
        ValueError: saying what is missing.
    """
    reason = no_triton(tensor, dtypes)
    if reason is None or (tensor.device.type == "cpu" and interpreted() and tensor.dtype in dtypes):
        return
    raise ValueError(
        f"FEDKEY_{kernel.upper()} asks for a Triton kernel, but {reason}; unset it, or set "
        "TRITON_INTERPRET=1 to interpret the kernel on a CPU."
    )


def interpreted() -> bool:
    """Whether Triton interprets its kernels in Python, on CPU tensors: exact, and thousands of times
    slower."""
    return os.environ.get("TRITON_INTERPRET") == "1"
