"""How the network learns: on a server's text, and over phones by federated averaging.

In: documents of word numbers. Out: weights. Next stop: `hard2018.keyboard`.

Rounds are this project's own `client_update`, `Average`, `cohort` and `ServerOptimizer`, called one after the
other: the Flower apps around them build a transformer, and nothing else here differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from fedkey_server.batches import BatchStream, Documents, PackedRows, pack
from fedkey_server.optim import learning_rate_at
from fedkey_server.phones import Phones
from fedkey_server.rounds import Average, RoundsConfig, Weights, client_update, cohort
from fedkey_server.server_optim import ServerOptimizer, ServerOptimizerConfig
from fedkey_server.step import to_batch
from fedkey_server.train import gradient_step
from hard2018.cifg import Cifg

CPU = torch.device("cpu")

Report = Callable[[int, int], None]
"""Called with (steps or rounds done, how many there will be)."""


class Grade(NamedTuple):
    """Of validation text."""

    nats: float
    """Mean negative log likelihood of a word."""
    top_1: float
    """Share of words that were the likeliest; the unknown word can be."""


def rows_of(documents: Documents, window: int, max_rows: int = 0, seed: int = 0) -> PackedRows:
    """Packed; at most `max_rows` rows, drawn, if that is not 0."""
    rows = pack(documents, window, window)
    if not max_rows:
        return rows
    return rows.take(np.sort(np.random.default_rng(seed).permutation(len(rows))[:max_rows]))


@torch.inference_mode()
def grade(model: Cifg, rows: PackedRows, batch_rows: int = 32) -> Grade:
    """How well the model expects a text."""
    nats, hits, num_targets = 0.0, 0.0, 0
    for start in range(0, len(rows), batch_rows):
        losses = model.loss(*to_batch(rows.take(slice(start, start + batch_rows)), CPU))
        nats, hits = nats + float(losses.nll), hits + float(losses.hits)
        num_targets += losses.num_targets
    return Grade(nats / num_targets, hits / num_targets)


def train_centrally(
    model: Cifg, rows: PackedRows, batch_rows: int, rate: float, seed: int, max_steps: int, report: Report
) -> None:
    """One pass over the rows, or `max_steps` of it, with Adam; its rate warms up and falls along a cosine.

    The paper's server steps by plain SGD, 150 million times; a pass over two million words is a few hundred
    steps, of which SGD makes little.
    """
    stream = BatchStream(rows, batch_rows, seed)
    num_steps = min(stream.batches_per_epoch, max_steps)
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98))
    for step in range(num_steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, num_steps, rate, num_steps // 20, 0.05)
        gradient_step(model, optimizer, to_batch(stream.batch(step), CPU), 0.0, 1.0)  # type: ignore[arg-type]
        report(step + 1, num_steps)


def federate(
    model: Cifg, phones: Phones, rounds: RoundsConfig, server: ServerOptimizerConfig, report: Report
) -> None:
    """Rounds of federated averaging from the weights in `model`, which is changed."""
    weights: Weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = ServerOptimizer(server, {})
    for number in range(1, rounds.num_rounds + 1):
        average = Average()
        for phone in cohort(rounds.seed, number, len(phones), rounds.phones_per_round):
            model.load_state_dict(weights)
            drawn = np.random.default_rng((rounds.seed, number, phone))
            told = client_update(
                model,  # type: ignore[arg-type]
                phones.documents(phone),
                rounds.in_round(number),
                0.0,
                drawn,
            )
            average.add(told.update, told.num_targets)
        weights = optimizer.step(weights, average.mean())
        report(number, rounds.num_rounds)
    model.load_state_dict(weights)


def best_rate(rates: Sequence[float], tried: Callable[[float], Grade]) -> tuple[float, dict[float, Grade]]:
    """The rate with the smallest validation loss, and what each came to; a loss that is no number is lost."""
    grades = {rate: tried(rate) for rate in rates}
    finite = {rate: each.nats for rate, each in grades.items() if np.isfinite(each.nats)}
    return min(finite, key=finite.__getitem__), grades
