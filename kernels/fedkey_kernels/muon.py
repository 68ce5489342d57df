"""Muon: an optimizer that steps by its momentum made orthogonal (https://kellerjordan.github.io/posts/muon/).

In: gradients of matrices. Out: updated matrices. Next stop: `fedkey_server.optim`, which gives the embedding
and the norms to AdamW.

torch has a Muon; it makes one matrix orthogonal after the other, and in bf16 on every device. On a CPU that
only emulates bf16 this took 9 of a step's 13 seconds (phone preset, two cores with AVX2, 2026-11-27), so here
a CPU computes in float32, and matrices of one shape go together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of x <- a x + b x^3 + c x^5, its author's: as steep at zero as it can be so that five iterations
still take every singular value to between about 0.7 and 1.2."""

NUM_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """With gradient g, momentum m, step size lr, factor b and decay wd, a matrix of R x C moves by

    m <- b m + (1 - b) g
    p <- p (1 - lr wd) - 0.2 sqrt(max(R, C)) lr orthogonalised(b m + (1 - b) g)

    Every singular value of the step is about as large, whatever the gradient's are. Its factor gives it the
    root mean square of a usual AdamW step (2502.16982, section 2.2), so that AdamW's lr and wd serve it.

    State per parameter: `momentum_buffer`, of the parameter's shape and dtype, as torch's Muon names it.

    Args:
        params: matrices or groups of them; each group may set the rest for itself.
        lr: step size.
        momentum: b.
        weight_decay: decoupled, as in AdamW.

    Raises:
        ValueError: a setting out of range, or a parameter that is no matrix.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.1
    ) -> None:
        if lr < 0 or weight_decay < 0 or not 0 <= momentum < 1:
            raise ValueError(f"lr={lr}, momentum={momentum}, weight_decay={weight_decay}: out of range")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.dim() != 2:
                    raise ValueError(f"Muon moves matrices; a parameter has the shape {[*parameter.shape]}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; `closure` recomputes the loss, as everywhere in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[tuple[torch.Size, torch.device], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault((parameter.shape, parameter.device), []).append(parameter)
            for parameters in by_shape.values():
                self._move(parameters, group["lr"], group["momentum"], group["weight_decay"])
        return loss

    def _move(self, parameters: list[Tensor], lr: float, factor: float, weight_decay: float) -> None:
        """One update of matrices of the same shape."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        momenta = [self._momentum(p) for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - factor)
        steps = orthogonalised(torch.stack(torch._foreach_lerp(gradients, momenta, factor)))
        size = 0.2 * max(parameters[0].shape) ** 0.5
        torch._foreach_mul_(parameters, 1 - lr * weight_decay)
        torch._foreach_add_(parameters, steps.to(parameters[0].dtype).unbind(), alpha=-lr * size)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum_buffer"]
        return momentum


def orthogonalised(x_src: Tensor) -> Tensor:
    """Matrices U V^T for U S V^T, roughly: with singular values of about 0.7 to 1.2 instead of S.

    Newton-Schulz iterations in bf16 on a GPU, in float32 on a CPU: 27 GFLOP for the phone preset's 42
    matrices, where a step of 8,192 pieces takes 370.

    Args:
        x_src: [S, R, C], S matrices. One of zeros stays so.
    """
    is_tall = x_src.shape[1] > x_src.shape[2]
    x_smn = x_src.transpose(1, 2) if is_tall else x_src
    # The iterations want singular values of at most 1, and no value is larger than the Frobenius norm.
    x_smn = x_smn / torch.linalg.matrix_norm(x_smn, keepdim=True).clamp(min=1e-7)
    x_smn = x_smn.to(torch.bfloat16 if x_smn.device.type == "cuda" else torch.float32)
    a, b, c = COEFFICIENTS
    for _ in range(NUM_ITERATIONS):
        gram_smm = x_smn @ x_smn.transpose(1, 2)
        odd_smm = torch.baddbmm(gram_smm, gram_smm, gram_smm, beta=b, alpha=c)
        x_smn = torch.baddbmm(x_smn, odd_smm, x_smn, beta=a)
    return x_smn.transpose(1, 2) if is_tall else x_smn
