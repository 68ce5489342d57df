"""Federated averaging as pure functions over small states; reads like the paper's pseudocode.

In: a model, one phone's documents, settings and seeds. Out: what the phone reports, and what the server makes
of many reports. Next stop: `fedkey_server.client_app`.

FedAvg (McMahan et al. 2017, 1602.05629): each round the server draws a cohort of phones; each phone trains
from the server's weights on its own text for some epochs and reports how far it got, its update; the server
moves by the average of the updates, weighted by how much each phone had to learn from. One epoch in one full
batch, unclipped, is FedSGD: the average of such updates is one step along the gradient of all the cohort's
text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedkey_server.batches import Documents, pack
from fedkey_server.model import Model
from fedkey_server.optim import learning_rate_at
from fedkey_server.step import PRECISIONS, to_batch
from fedkey_server.train import gradient_step

Weights = dict[str, Tensor]

CHUNK = 1 << 16
"""Numbers added up at once; half a megabyte in float64, and as much of the sum."""


LEAST_NORM = 1e-12
"""Of an update; much shorter ones are nothing beside weights in float32."""


@dataclass(frozen=True)
class RoundsConfig:
    """How the federation runs."""

    num_rounds: int = 20
    phones_per_round: int = 20
    """Phones asked in a round, K = C * number of phones."""
    min_reports: int = 10
    """With fewer reports a round changes nothing."""
    local_epochs: int = 1
    """Passes over its own text that a phone makes in a round, E."""
    batch_rows: int = 4
    """Rows of `model.window` pieces in a local step, B; 0 takes all of a phone's rows at once (FedSGD)."""
    max_rows: int = 0
    """Rows a phone trains on in a round, drawn anew each time; 0 takes all of them."""
    weighed_rows: int = 0
    """Rows up to which a phone is asked the more often the more it has: where `max_rows` bounds what it does
    in a round, the rest of a long text is never read otherwise. 0 asks all phones alike. A simulation alone
    knows what phones have."""
    client_learning_rate: float = 0.3
    """In the first round."""
    final_share: float = 1.0
    """Client learning rate in the last round as a share of the first; a cosine in between: see
    EXPERIMENTS.md for what that is worth."""
    client_momentum: float = 0.9
    """Momentum of the phone's SGD; it starts at zero in every round."""
    proximal: float = 0.0
    """FedProx (Li et al. 2020, 1812.06127): mu, the pull back to the server's weights. It is applied after
    each step, by learning rate times mu, so that it counts whole where the gradient is clipped."""
    update_norm: float = 0.0
    """Largest norm of a phone's whole update: the phone shortens its own to it, and the server refuses longer
    ones. All phones then weigh the same, or one could count for many by what it claims to have trained on. 0
    sets no bound, and phones weigh by their graded pieces."""
    clip_norm: float = 1.0
    """Largest norm of a local step's gradient; 0 leaves gradients as they are."""
    precision: str = "auto"
    """Of a phone's products, as `train.precision`."""
    secure: bool = False
    """Secure aggregation: the server learns the sum of a round's updates and of what phones say of their
    training, and nothing of a single phone. All phones weigh the same."""
    seed: int = 1
    validate_every: int = 1
    """Rounds between two looks at the validation authors."""
    timeout: float = 600.0
    """Seconds the server waits for a round's reports; phones played in the server's process, one after the
    other, have as long as they need."""
    exchange_timeout: float = 60.0
    """Seconds it waits in each of the other stages of secure aggregation, in which phones do not train."""

    def __post_init__(self) -> None:
        for name in ("num_rounds", "phones_per_round", "min_reports", "local_epochs", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"rounds.{name} must be at least 1, not {getattr(self, name)}")
        if self.min_reports > self.phones_per_round:
            raise ValueError(
                f"rounds.min_reports {self.min_reports} is more than phones_per_round {self.phones_per_round}"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"rounds.precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
            )
        for name in ("batch_rows", "max_rows", "weighed_rows", "clip_norm", "proximal", "update_norm"):
            if getattr(self, name) < 0:
                raise ValueError(f"rounds.{name} must not be negative, but it is {getattr(self, name)}")
        if 0 < self.update_norm < LEAST_NORM:
            raise ValueError(
                f"rounds.update_norm must be 0 or at least {LEAST_NORM:g}, not {self.update_norm}: so short "
                "an update changes nothing"
            )
        if self.secure and not self.update_norm:
            raise ValueError("rounds.secure adds up bounded updates; set rounds.update_norm")
        if self.secure and self.min_reports < 2:
            raise ValueError("rounds.secure hides a phone among others; set rounds.min_reports to 2 or more")
        for name in ("client_learning_rate", "timeout", "exchange_timeout"):
            if getattr(self, name) <= 0:
                raise ValueError(f"rounds.{name} must be more than 0, not {getattr(self, name)}")
        if not 0 < self.final_share <= 1:
            raise ValueError(f"rounds.final_share must be above 0 and at most 1, not {self.final_share}")
        if not 0 <= self.client_momentum < 1:
            raise ValueError(f"rounds.client_momentum must be from 0 up to 1, not {self.client_momentum}")

    def in_round(self, round_number: int) -> RoundsConfig:
        """The settings of one round, counted from 1: its learning rate stands in place of the first one's."""
        rate = learning_rate_at(
            round_number - 1, self.num_rounds, self.client_learning_rate, 0, self.final_share
        )
        return replace(self, client_learning_rate=rate)


class PhoneReport(NamedTuple):
    """What a phone sends back."""

    update: Weights
    """Its weights after training less the server's."""
    num_targets: int
    """Graded pieces it trained on; its weight in the average."""
    nll: float
    """Summed negative log likelihood of those pieces while training, in nats."""
    num_steps: int
    vote: float = 0.5
    """1/2 if the update was within the clip before it was shortened, -1/2 if it was longer; of use where the
    clip follows a quantile."""


def cohort(
    seed: int,
    round_number: int,
    num_phones: int,
    phones_per_round: int,
    chances: npt.NDArray[np.float64] | None = None,
) -> list[int]:
    """The phones of a round, drawn without replacement; a pure function of its arguments.

    Args:
        chances: [phones] of each to be the first that is drawn; None if all are alike. None of them is 0.
    """
    rng = np.random.default_rng((seed, round_number))
    size = min(phones_per_round, num_phones)
    return rng.choice(num_phones, size=size, replace=False, p=chances).tolist()


def client_update(
    model: Model, documents: Documents, config: RoundsConfig, z_penalty: float, generator: np.random.Generator
) -> PhoneReport:
    """One phone's work in one round: E epochs of SGD from the weights in `model`, which is changed.

    Args:
        model: holds the server's weights.
        documents: the phone's own documents.
        generator: orders and draws the phone's rows; seed it by (run, round, phone).
    """
    window = model.config.window
    rows = pack(documents, window, window)
    if config.max_rows:
        rows = rows.take(np.sort(generator.permutation(len(rows))[: config.max_rows]))
    batch_rows = config.batch_rows or len(rows)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.client_learning_rate, momentum=config.client_momentum, foreach=True
    )
    device = next(model.parameters()).device
    parameters = dict(model.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    pull = config.client_learning_rate * config.proximal
    nll, num_targets, num_steps = 0.0, 0, 0
    for _ in range(config.local_epochs):
        order = generator.permutation(len(rows))
        for start in range(0, len(rows), batch_rows):
            batch = to_batch(rows.take(order[start : start + batch_rows]), device)
            step_nll, step_targets = gradient_step(
                model, optimizer, batch, z_penalty, config.clip_norm, config.precision
            )
            if pull:
                with torch.no_grad():
                    for name, parameter in parameters.items():
                        parameter.lerp_(before[name], min(1.0, pull))
            nll += step_nll
            num_targets += step_targets
            num_steps += 1
    update = {name: parameter.detach() - before[name] for name, parameter in parameters.items()}
    return PhoneReport(update, num_targets, nll, num_steps)


class Average:
    """A running weighted sum of reports, so that memory does not grow with the cohort.

    Sums are kept in float64, so that their order costs no precision worth naming. That is slow: 3 ms for 3.4
    million numbers, more than everything else the engine does for a phone. So some updates may first be added
    up in float32, which takes 1 ms, and whose sum is off by at most `num_in_float32` * 2**-24 of the sum of
    the absolute values that went into it.

    Args:
        num_in_float32: updates that are added up in float32 before float64 takes their sum; 1 for float64
            alone, which is what all others are tested against and what private sums need.
    """

    def __init__(self, num_in_float32: int = 1) -> None:
        self.weight = 0.0
        self.num_reports = 0
        self._total: Weights = {}
        self._num_in_float32 = num_in_float32
        self._part: Weights = {}
        self._num_in_part = 0

    def add(self, update: Mapping[str, Tensor], weight: float) -> None:
        """Adds one update."""
        self.weight += weight
        self.num_reports += 1
        if self._num_in_float32 == 1:
            self._add_in_float64(update, weight)
            return
        if not self._part:
            self._part = {name: torch.mul(tensor.detach(), weight) for name, tensor in update.items()}
        else:
            for name, part in self._part.items():
                if self._num_in_part:
                    part.add_(update[name].detach(), alpha=weight)
                else:
                    torch.mul(update[name].detach(), weight, out=part)
        self._num_in_part += 1
        if self._num_in_part == self._num_in_float32:
            self._settle()

    @property
    def total(self) -> Weights:
        """The weighted sum in float64."""
        self._settle()
        return self._total

    def _settle(self) -> None:
        if self._num_in_part:
            self._add_in_float64(self._part, 1.0)
            self._num_in_part = 0

    def _add_in_float64(self, update: Mapping[str, Tensor], weight: float) -> None:
        for name, tensor in update.items():
            numbers = tensor.detach()
            if name in self._total:
                _add_to(self._total[name].view(-1), numbers.reshape(-1), weight)
            else:  # rather than to zeros, which would be written and read for nothing
                total = torch.empty(numbers.shape, dtype=torch.float64)
                self._total[name] = total.copy_(numbers).mul_(weight)

    def mean(self) -> Weights:
        """The weighted mean in float32."""
        if self.weight <= 0:
            raise ValueError("no report carries any weight")
        return {name: (tensor / self.weight).float() for name, tensor in self.total.items()}


def _add_to(total: Tensor, numbers: Tensor, weight: float) -> None:
    """total += weight * numbers, both flat, in float64; in parts that stay in a core's cache while they are
    widened and added."""
    buffer = torch.empty(min(CHUNK, len(total)), dtype=torch.float64)
    for start in range(0, len(total), CHUNK):
        part = total[start : start + CHUNK]
        part.add_(buffer[: len(part)].copy_(numbers[start : start + CHUNK]), alpha=weight)
