"""How the server moves the model by what a round's phones found.

In: the mean of the phones' updates. Out: new weights and the optimizer's state. Next stop:
`fedkey_server.robust`, for when not every phone means well.

Reddi et al. 2021 (2003.00295, algorithm 2): the mean update of a round is taken for a gradient that points
downhill, and the server takes an optimizer's step along it. Plain averaging (FedAvg) is the step of SGD with
a rate of 1; FedAvgM (Hsu et al. 2019, 1909.06335) has momentum, FedAdam and FedYogi a step size for every
parameter. As there, moments start at zero and are not corrected for it, and v starts at adaptivity^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedkey_server.optim import learning_rate_at

Weights = dict[str, Tensor]

SERVER_OPTIMIZERS = ("sgd", "adam", "yogi")


@dataclass(frozen=True)
class ServerOptimizerConfig:
    """The server's step. FedAvg as it stands; FedAvgM with momentum; FedAdam and FedYogi by name."""

    name: str = "sgd"
    """"sgd", "adam" or "yogi"."""
    learning_rate: float = 1.0
    """1 with "sgd" and no momentum is plain averaging."""
    final_share: float = 1.0
    """Learning rate in the last round as a share of the first; a cosine in between. "adam" and "yogi" divide
    by what updates usually are, so that they do not come to rest with the phones' own falling rate."""
    momentum: float = 0.0
    """Of "sgd", and beta1 of the others."""
    beta2: float = 0.99
    """Memory of the squares, "adam" and "yogi"."""
    adaptivity: float = 1e-3
    """What is added to the root of the squares, tau: small ones adapt more."""

    def __post_init__(self) -> None:
        if self.name not in SERVER_OPTIMIZERS:
            raise ValueError(
                f"server_optimizer.name must be one of {', '.join(SERVER_OPTIMIZERS)}, not {self.name!r}"
            )
        for name in ("learning_rate", "adaptivity"):
            if getattr(self, name) <= 0:
                raise ValueError(f"server_optimizer.{name} must be more than 0, not {getattr(self, name)}")
        if not 0 < self.final_share <= 1:
            raise ValueError(
                f"server_optimizer.final_share must be above 0 and at most 1, not {self.final_share}"
            )
        for name in ("momentum", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"server_optimizer.{name} must be from 0 up to 1, not {getattr(self, name)}")

    def in_round(self, round_number: int, num_rounds: int) -> float:
        """The learning rate of one round, counted from 1."""
        return learning_rate_at(round_number - 1, num_rounds, self.learning_rate, 0, self.final_share)


@dataclass
class ServerOptimizer:
    """The optimizer and its moments, which a checkpoint keeps."""

    config: ServerOptimizerConfig
    state: Weights
    """"{parameter}/{m or v}"; empty before the first step."""

    def step(
        self, weights: Mapping[str, Tensor], update: Mapping[str, Tensor], learning_rate: float | None = None
    ) -> Weights:
        """New weights.

        Args:
            weights: where the server stands.
            update: the mean of what the phones moved by, phone minus server.
            learning_rate: of this step; None for the configured one.

        Raises:
            ValueError: the update is of other parameters or shapes.
        """
        if {n: t.shape for n, t in weights.items()} != {n: t.shape for n, t in update.items()}:
            raise ValueError("the update does not fit the weights")
        rate = self.config.learning_rate if learning_rate is None else learning_rate
        return {
            name: torch.add(weight, self._direction(name, update[name]), alpha=rate)
            for name, weight in weights.items()
        }

    def _direction(self, name: str, update: Tensor) -> Tensor:
        config = self.config
        if config.name == "sgd":
            if not config.momentum:
                return update
            # As FedAvgM: the update counts whole, and what went before fades.
            velocity = self.state.get(f"{name}/m", torch.zeros_like(update))
            self.state[f"{name}/m"] = velocity = config.momentum * velocity + update
            return velocity
        square = update.square()
        first = self.state.get(f"{name}/m", torch.zeros_like(update))
        second = self.state.get(f"{name}/v", torch.full_like(update, config.adaptivity**2))
        first = config.momentum * first + (1 - config.momentum) * update
        if config.name == "adam":
            second = config.beta2 * second + (1 - config.beta2) * square
        else:  # yogi moves v by a step of the same size wherever it stands
            second = second - (1 - config.beta2) * square * torch.sign(second - square)
        self.state[f"{name}/m"], self.state[f"{name}/v"] = first, second
        return first / (second.sqrt() + config.adaptivity)
