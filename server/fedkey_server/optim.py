"""Which parameters decay, how the learning rate moves, and which optimizer steps.

In: a model and settings. Out: an optimizer with its schedule. Next stop: `fedkey_server.train`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedkey_kernels import SophiaG

OPTIMIZERS = ("adamw", "sophia")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; norms, which have one dimension, do not."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def build(
    name: str,
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    beta1: float,
    beta2: float,
    rho: float,
) -> torch.optim.AdamW | SophiaG:
    """AdamW ("adamw") or Sophia-G ("sophia") over `parameter_groups`."""
    groups = parameter_groups(model, weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, betas=(beta1, beta2), fused=True)
    if name == "sophia":
        return SophiaG(groups, lr=learning_rate, betas=(beta1, beta2), rho=rho)
    raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {name!r}")


def learning_rate_at(step: int, num_steps: int, peak: float, warmup_steps: int, final_share: float) -> float:
    """Linear warm-up to `peak`, then a cosine down to `final_share * peak` at the last step.

    Steps count from 0; `peak` is reached at the last step of the warm-up.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - 1 - warmup_steps)
    return peak * (final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def flat_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors by parameter name: "{parameter}/{key}"."""
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_state(model: nn.Module, optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """Puts back what `flat_state` took."""
    by_name = dict(model.named_parameters())
    for path, tensor in flat.items():
        name, _, key = path.rpartition("/")
        optimizer.state[by_name[name]][key] = tensor.clone()
