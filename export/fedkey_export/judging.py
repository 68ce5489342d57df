"""What the scores of corrections miss, learned from words that were typed right and wrong.

In: cases, each a word as it was typed with what competes for it and what was meant. Out: the networks of
`fedkey.judge`. Next stop: `fedkey_export.calibrate`, which finds the cases and says how sure is sure enough.

The networks learn to add to the scores what makes the share of what was meant largest: cross-entropy over
the text as it stands and all choices, every source of cases with its weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedkey.corrections import CorrectionModel
from fedkey.judge import (
    CHOICE_INPUTS,
    LITERAL_INPUTS,
    Choice,
    Judge,
    Literal,
    Network,
    choice_inputs,
    literal_inputs,
)
from fedkey.number_tables import rounded
from fedkey_export.scaling import Scaling

Floats = npt.NDArray[np.float32]

NUM_UNITS = 16
"""On 34,000 cases of validation authors and misspellings, fifths of them grading each other, 2026-11-29,
misspellings repaired where 4.5 % are made wrong: 72.1 % with 8, 73.3 with 16, 73.0 with 32; 70.5 without."""

NUM_DIGITS = 5
"""In a bundle: what that changes is less than a hundredth of a nat."""

NUM_EPOCHS, BATCH, RATE, DECAY = 60, 512, 0.02, 0.01


class Case(NamedTuple):
    """One word that the keyboard would think of correcting.

    Attributes:
        literal: what was typed.
        choices: what else may have been meant.
        right: which of them was meant; -1 if none of them was, or the text as it stands.
        group: of cases that have to do with each other, the same.
    """

    literal: Literal
    choices: tuple[Choice, ...]
    right: int
    group: str


class _Table(NamedTuple):
    """N cases, C choices each at most; those that are missing have a score of minus infinity.

    Attributes:
        by_choice: [N, C, choices' inputs].
        by_literal: [N, literal's inputs].
        scores: [N, 1 + C], of the text as it stands and the choices, without a judge.
        right: int64 [N], which of these was meant.
        weight: [N], what the case counts.
    """

    by_choice: Tensor
    by_literal: Tensor
    scores: Tensor
    right: Tensor
    weight: Tensor


class _Shift(nn.Module):
    """a(x) of `fedkey.judge`, with inputs brought to about one; begins with nothing."""

    def __init__(self, inputs: Tensor) -> None:
        """`inputs` [.., inputs] are those that it will learn from."""
        super().__init__()
        self.scaling = Scaling.of(inputs)
        self.hidden = nn.Linear(inputs.shape[-1], NUM_UNITS)
        self.out = nn.Linear(NUM_UNITS, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """[..] of inputs [.., inputs]."""
        hidden = torch.relu(self.hidden(self.scaling.scaled(inputs)))
        shift: Tensor = self.out(hidden)[..., 0]
        return shift

    def network(self) -> Network:
        """The same for inputs as they are, as the bundle will hold it."""
        with torch.no_grad():
            weight, bias = self.scaling.folded(self.hidden.weight, self.hidden.bias)
        tables = [weight.tolist(), bias.tolist(), self.out.weight[0].tolist(), self.out.bias.item()]
        return Network(*rounded(tables, NUM_DIGITS))


def learn(
    sources: Mapping[str, Sequence[Case]], weights: Mapping[str, float], start: CorrectionModel, seed: int
) -> Judge | None:
    """Learns a judge; None if there is nothing to learn from.

    Args:
        sources: cases by where they come from.
        weights: what all cases of a source count together.
        start: what gives the scores that the judge adds to.
        seed: of what is drawn.
    """
    kept = {
        name: [case for case in cases if case.choices and _is_possible(case)]
        for name, cases in sources.items()
        if weights.get(name, 0.0) > 0
    }
    weighed = [(case, weights[name] / len(cases)) for name, cases in kept.items() for case in cases]
    if not weighed:
        return None
    table = _table([case for case, _ in weighed], [weight for _, weight in weighed], start)
    num_cases = len(table.right)
    # torch's own generator is put back: whoever calls this draws what they would have drawn.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        of_choice = _Shift(table.by_choice[torch.isfinite(table.scores[:, 1:])])
        of_literal = _Shift(table.by_literal)
        parameters = [*of_choice.parameters(), *of_literal.parameters()]
        optimizer = torch.optim.AdamW(parameters, RATE, weight_decay=DECAY)
        starts = range(0, num_cases, BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, NUM_EPOCHS * len(starts))
        for _ in range(NUM_EPOCHS):
            drawn = torch.randperm(num_cases)
            for first in starts:
                rows = drawn[first : first + BATCH]
                shifts = torch.cat(
                    [of_literal(table.by_literal[rows])[:, None], of_choice(table.by_choice[rows])], dim=1
                )
                losses = nn.functional.cross_entropy(
                    table.scores[rows] + shifts, table.right[rows], reduction="none"
                )
                loss = (losses * table.weight[rows]).mean()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
    return Judge(of_choice.network(), of_literal.network())


def _is_possible(case: Case) -> bool:
    """Whether what was meant can be scored at all: words of too many pieces cannot."""
    return case.right < 0 or math.isfinite(case.choices[case.right].log_prob)


def _table(cases: Sequence[Case], weights: Sequence[float], start: CorrectionModel) -> _Table:
    width = max(len(case.choices) for case in cases)
    by_choice = np.zeros((len(cases), width, len(CHOICE_INPUTS)), dtype=np.float32)
    by_literal = np.zeros((len(cases), len(LITERAL_INPUTS)), dtype=np.float32)
    scores = np.full((len(cases), 1 + width), -np.inf, dtype=np.float32)
    for row, case in enumerate(cases):
        num = len(case.choices)
        by_choice[row, :num] = choice_inputs(case.literal, case.choices)
        by_literal[row] = literal_inputs(case.literal)
        alone, others = start.scores(case.literal, case.choices)
        scores[row, : 1 + num] = [alone, *others]
    weight = np.array(weights, dtype=np.float32)
    return _Table(
        torch.from_numpy(by_choice),
        torch.from_numpy(by_literal),
        torch.from_numpy(scores),
        torch.tensor([case.right + 1 for case in cases]),
        torch.from_numpy(weight / weight.mean()),
    )
