"""Sophia-G: a diagonal second-order optimizer with clipped steps (Liu et al. 2023, 2305.14342).

In: gradients, and every few steps the gradient of the loss on labels drawn from the model itself. Out:
updated parameters. Next stop: `fedkey_server.optim`.

The curvature of each parameter is estimated by the Gauss-Newton-Bartlett rule: with labels sampled from the
model, batch_size * g_hat^2 has the Gauss-Newton diagonal as its mean. `reference.sophia_step` is one step in
plain torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class SophiaG(torch.optim.Optimizer):
    """Sophia with the Gauss-Newton-Bartlett estimator.

    Per parameter: `exp_avg` (momentum m) and `hessian` (running mean h of g_hat^2). Call `update_hessian()`
    when the gradients are those of sampled labels (every ~10 steps), and `step(batch_size)` when they are
    those of the loss.

    Args:
        params: parameters or parameter groups.
        lr: step size; the paper uses about that of AdamW for small models.
        betas: decay of momentum and of curvature.
        rho: scale of the clipping threshold; larger values clip less.
        weight_decay: decoupled, as in AdamW.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 6e-4,
        betas: tuple[float, float] = (0.965, 0.99),
        rho: float = 0.05,
        weight_decay: float = 0.2,
    ) -> None:
        if lr < 0 or rho <= 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr={lr}, betas={betas}, rho={rho}, weight_decay={weight_decay}: out of range")
        super().__init__(params, {"lr": lr, "betas": betas, "rho": rho, "weight_decay": weight_decay})
        self.clipped_share = 0.0
        """Share of entries whose last step was clipped to plus or minus lr; the paper finds 10 to 50 %
        healthy."""

    def _with_gradients(self, group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
        """The group's parameters that have a gradient, and the gradients; the others stay as they are."""
        parameters = [p for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters]
        if any(gradient.is_sparse for gradient in gradients):
            raise RuntimeError("Sophia takes no sparse gradients; make the embedding with sparse=False.")
        return parameters, gradients

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
            state["hessian"] = torch.zeros_like(parameter)
        return state

    @torch.no_grad()
    def update_hessian(self) -> None:
        """h <- b2 h + (1 - b2) g_hat^2, with g_hat the gradients that now stand in `.grad`."""
        for group in self.param_groups:
            parameters, gradients = self._with_gradients(group)
            if not parameters:
                continue
            beta2 = group["betas"][1]
            hessians = [self._state_of(p)["hessian"] for p in parameters]
            torch._foreach_mul_(hessians, beta2)
            torch._foreach_addcmul_(hessians, gradients, gradients, value=1 - beta2)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None, *, batch_size: int = 1) -> float | None:  # type: ignore[override]
        """One update.

        Args:
            closure: recomputes the loss, as everywhere in torch.
            batch_size: number of targets the loss was averaged over (the factor of the Bartlett estimate).
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        clipped = total = 0
        for group in self.param_groups:
            parameters, gradients = self._with_gradients(group)
            if not parameters:
                continue
            lr, beta1 = group["lr"], group["betas"][0]
            momenta = [self._state_of(p)["exp_avg"] for p in parameters]
            torch._foreach_mul_(momenta, beta1)
            torch._foreach_add_(momenta, gradients, alpha=1 - beta1)
            torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
            scales = torch._foreach_mul(
                [self.state[p]["hessian"] for p in parameters], group["rho"] * batch_size
            )
            torch._foreach_add_(scales, 1e-15)
            ratios = torch._foreach_abs(momenta)
            torch._foreach_div_(ratios, scales)
            clipped += int(sum((ratio >= 1).sum() for ratio in ratios))
            total += sum(ratio.numel() for ratio in ratios)
            torch._foreach_clamp_max_(ratios, 1.0)
            torch._foreach_addcmul_(parameters, torch._foreach_sign(momenta), ratios, value=-lr)
        self.clipped_share = clipped / max(1, total)
        return loss
