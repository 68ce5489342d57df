"""Whether a kernel computes what it should, before anybody asks how fast.

In: what it returned, and the same in float64. Out: a verdict. Next stop: `bench.compare`.

The rule of FlashAttention's tests: no more than a small multiple of the error that the same mathematics makes
in plain torch at the kernel's precision. Inputs are drawn anew in every run, and what `torch.empty` hands out
is full of NaN while a kernel is checked, so that an element it did not write shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

FACTOR = 3.0
"""Of plain torch's error: what the norm of all errors, and the largest, may be."""
HALF_FLOORS, FLOAT_FLOORS = (1e-3, 2e-3), (1e-5, 1e-4)
"""Shares of the result's norm, and of its largest element, that are always allowed: plain torch's error may
happen to be small."""
PEER_LIMIT = 0.05
"""Of a peer we only ask whether it computes the same function: in bf16 with 8,192 positions torch's flash
backend on a CPU errs twice as much as plain torch, and in one of a million elements 8 times."""


class Expected(NamedTuple):
    """What outputs and gradients have to be, or those parts of them that were computed in float64."""

    pick: Callable[[tuple[Tensor, ...]], Sequence[Tensor]]
    """From all outputs and gradients to the parts that follow."""
    exact: Sequence[Tensor]
    """In float64."""
    plain: Sequence[Tensor]
    """By the same mathematics at the kernel's precision."""


class Verdict(NamedTuple):
    """Of one kernel on one case."""

    error: float
    """Largest of |found - exact| / |exact| over outputs and gradients, by norms."""
    fault: str | None
    """What is wrong, if anything."""


def judge(found: tuple[Tensor, ...], expected: Expected) -> Verdict:
    """Compares outputs and gradients with what they should be; elements that are not finite are never
    right."""
    for tensor in found:
        if not bool(torch.isfinite(tensor).all()):
            return Verdict(float("nan"), "not all elements are finite")
    errors, fault = [], None
    for part, exact, plain in zip(expected.pick(found), expected.exact, expected.plain, strict=True):
        floors = HALF_FLOORS if plain.dtype.itemsize < 4 else FLOAT_FLOORS
        size, largest = _sizes(exact)
        error, largest_error = _sizes(part.double() - exact)
        allowed, largest_allowed = _sizes(plain.double() - exact)
        errors.append(error / size if size else error)
        if not error <= FACTOR * allowed + floors[0] * size:
            fault = f"its error is {errors[-1]:.1e} of the result, plain torch's {allowed / (size or 1):.1e}"
        elif not largest_error <= FACTOR * largest_allowed + floors[1] * largest:
            fault = (
                f"an element is off by {largest_error:.1e}, in plain torch by at most {largest_allowed:.1e}"
            )
    return Verdict(max(errors), fault)


def _sizes(tensor: Tensor) -> tuple[float, float]:
    """Norm and largest element."""
    return float(tensor.norm()), float(tensor.abs().max())


UNWRITTEN = -7
"""What no count and no place is: for whole numbers, where floating-point ones have NaN."""


@contextmanager
def poisoned() -> Iterator[None]:
    """Inside, tensors that Python code makes with `torch.empty` or `torch.empty_like` hold NaN, or
    `UNWRITTEN`."""
    originals: tuple[Any, Any] = torch.empty, torch.empty_like

    def filled(make: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Tensor:
            tensor = make(*args, **kwargs)
            if tensor.dtype.is_floating_point:
                return tensor.fill_(float("nan"))
            return tensor.fill_(UNWRITTEN) if tensor.dtype.is_signed else tensor

        return wrapped

    torch.empty, torch.empty_like = map(filled, originals)
    try:
        yield
    finally:
        torch.empty, torch.empty_like = originals
