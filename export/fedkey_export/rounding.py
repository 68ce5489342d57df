"""What the int8 graph is meant to compute, in plain torch.

In: a model. Out: its twin with rounded weights, which also rounds what it multiplies them with. Next stop:
`fedkey_export.verify`.

An int8 bundle differs from its checkpoint because rounding costs something, and would differ as well if the
graph were slightly wrong. The twin tells the two apart: it rounds as the graph does and shares no code with
it.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedkey_export.quantize import ACTIVATION_LEVELS, quantise
from fedkey_server.model import Model


def round_activations(x: Tensor) -> Tensor:
    """What int8 products see of `x` [..., D]: each position rounded to 127 steps of its largest magnitude."""
    largest = x.abs().amax(dim=-1, keepdim=True)
    rounded = torch.round(x / largest * ACTIVATION_LEVELS) / ACTIVATION_LEVELS * largest
    return torch.where(largest > 0, rounded, x)


@torch.no_grad()
def rounded_twin(model: Model) -> Model:
    """A copy with weights as `quantise` leaves them, whose layers round what they are given.

    The head is no layer: for log probabilities the caller rounds its input. Candidates' scores are products
    of the hidden state as it is.
    """
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        if parameter.dim() == 2:
            values, scale = quantise(np.ascontiguousarray(parameter.numpy().T))
            parameter.copy_(torch.from_numpy((values * scale).T))
    for module in twin.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(_round_input)
    return twin


def _round_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return (round_activations(inputs[0]),)
