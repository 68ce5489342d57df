"""Lion: an optimizer that steps by the sign of its momentum (Chen et al. 2023, 2302.06675, algorithm 2).

In: gradients. Out: updated parameters. Next stop: `fedkey_server.optim`, which compares it with others.

It keeps one number for each parameter where AdamW and Sophia keep two. Torch's operators on lists do the work
on every device: beside Sophia's, this step was not worth a kernel of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """With gradient g, momentum m, step size lr and decay wd, every entry moves by

    p <- p (1 - lr wd) - lr sign(b1 m + (1 - b1) g)
    m <- b2 m + (1 - b2) g

    The update interpolates with another factor than the momentum keeps: b1 < b2 gives today's gradient more
    weight in the step than it leaves behind. Every entry with a gradient moves by lr, so the paper takes a
    learning rate 3 to 10 times smaller than AdamW's and a weight decay as much larger (section 5).

    State per parameter: `exp_avg` (momentum m), of the parameter's shape and dtype.

    Args:
        params: parameters or parameter groups; each group may set the rest for itself.
        lr: step size.
        betas: b1 of the step and b2 of the momentum.
        weight_decay: decoupled, as in AdamW.

    Raises:
        ValueError: a setting out of range.
        RuntimeError: sparse gradients.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr={lr}, betas={betas}, weight_decay={weight_decay}: out of range")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; `closure` recomputes the loss, as everywhere in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients = [p.grad for p in parameters]
            if any(gradient.is_sparse for gradient in gradients):
                raise RuntimeError("Lion takes no sparse gradients; make the embedding with sparse=False.")
            momenta = [self._momentum(p) for p in parameters]
            lr, (beta1, beta2) = group["lr"], group["betas"]
            directions = torch._foreach_lerp(momenta, gradients, 1 - beta1)
            torch._foreach_sign_(directions)
            torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
            torch._foreach_add_(parameters, directions, alpha=-lr)
            torch._foreach_lerp_(momenta, gradients, 1 - beta2)
        return loss

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(parameter)
        momentum: Tensor = state["exp_avg"]
        return momentum
