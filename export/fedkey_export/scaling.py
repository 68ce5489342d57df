"""Inputs of a small network brought to about one, and its first layer for inputs as they are.

In: the inputs that it will learn from. Out: how to scale them, and weights that need no scaling. Next stop:
`fedkey_export.mixture` and `fedkey_export.judging`, which train such networks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEAST_SPREAD = 1e-6


class Scaling(NamedTuple):
    """How I inputs are brought to a mean of 0 and a spread of 1.

    Attributes:
        mean: float32 [I].
        spread: float32 [I], the standard deviation; 1 for what never varied.
        varies: bool [I], whether the input had more than one value.
    """

    mean: Tensor
    spread: Tensor
    varies: Tensor

    @classmethod
    def of(cls, inputs: Tensor) -> Scaling:
        """That of `inputs` [.., I]."""
        rows = inputs.double().reshape(-1, inputs.shape[-1])
        spread = rows.std(dim=0, unbiased=False)
        varies = spread >= LEAST_SPREAD
        return cls(rows.mean(dim=0).float(), torch.where(varies, spread, 1.0).float(), varies)

    def scaled(self, inputs: Tensor) -> Tensor:
        """[.., I] of `inputs` [.., I]."""
        return (inputs - self.mean) / self.spread

    def folded(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's weights [H, I] and biases [H] for scaled inputs, made for inputs as they are; float64.

        What never varied taught nothing: its weights are still as they were drawn, and would speak up with
        the first value that is another. They become 0.
        """
        weight = weight.double() * self.varies / self.spread.double()
        return weight, bias.double() - weight @ self.mean.double()
