"""Which parameters decay, how the learning rate moves, and which optimizer steps.

In: a model and settings. Out: an optimizer with its schedule. Next stop: `fedkey_server.train`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fedkey_kernels import Lion, Muon, SophiaG

OPTIMIZERS = ("adamw", "sophia", "lion", "muon")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
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
) -> torch.optim.Optimizer:
    """AdamW ("adamw"), Sophia-G ("sophia") or Lion ("lion") over `parameter_groups`, or Muon with AdamW
    ("muon"). `rho` is Sophia's."""
    groups = parameter_groups(model, weight_decay)
    betas = (beta1, beta2)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)
    if name == "sophia":
        return SophiaG(groups, lr=learning_rate, betas=betas, rho=rho)
    if name == "lion":
        return Lion(groups, lr=learning_rate, betas=betas)
    if name == "muon":
        return MuonWithAdamW(model, learning_rate, betas, weight_decay)
    raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {name!r}")


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the hidden matrices, AdamW for the embedding and the norms, as Muon's author recommends
    (https://kellerjordan.github.io/posts/muon/).

    One learning rate and one weight decay serve both, see `fedkey_kernels.muon`. Muon's momentum is its
    author's 0.95; `betas` are AdamW's.

    The groups and the state are this optimizer's; the two that do the work hold the very same objects.

    Raises:
        ValueError: `model` has a hidden parameter of more than two dimensions.
    """

    MOMENTUM = 0.95

    def __init__(self, model: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        embeddings = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
        matrices, vectors = parameter_groups(model, weight_decay)
        hidden = [p for p in matrices["params"] if p not in embeddings]
        muon = {"lr": lr, "momentum": self.MOMENTUM}
        adamw = {"lr": lr, "betas": betas}
        outer = [p for p in matrices["params"] if p in embeddings]
        groups = [matrices | muon | {"params": hidden}, matrices | adamw | {"params": outer}, vectors | adamw]
        super().__init__(groups, {})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        hidden, *others = self.param_groups
        self._both = (Muon([hidden]), torch.optim.AdamW(others, fused=True))
        for optimizer in self._both:
            optimizer.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; `closure` recomputes the loss, as everywhere in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self._both:
            optimizer.step()
        return loss


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
