"""What the scores of a correction miss: learned from words that were typed right, and wrong.

In: a word as it stands, and what else may have been meant by it. Out: nats to add to the score of each. Next
stop: `fedkey.corrections`.

The scores are sums of logs, as if what they are made of had nothing to do with each other. But *granit* is
spelled like a word, and so its letters speak for a new one; that nobody writes such a word here, and that a
well-known one is a single letter away, says together what neither says alone. So a small network looks at
all that is known of each choice, x, and another one at what is known of the text as it stands,

    a(x) = c . max(0, A x + b) + d,

both as `fedkey_export.judging` learns them. `CHOICE_INPUTS` and `LITERAL_INPUTS` say what is looked at; the
order is the bundle's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.number_tables import number_table
from fedkey.spelling import num_edits

Floats = npt.NDArray[np.float64]

CHOICE_INPUTS = (
    "log_prob",
    "frequency",
    "slip_cost",
    "spelling_cost",
    "least_cost",
    "num_letters",
    "letters_more",
    "num_edits",
    "same_first",
    "same_last",
    "is_pair",
    "lacks_mark",
    "is_inflected",
    "is_capital",
    "is_name",
    "is_tapped",
)
"""Of what else may be meant: the numbers of `Choice`, and the lesser of its costs; how many letters were
typed, how many more it has, and how many edits apart they are; whether the first letter is the same, and the
last; and whether it is two words, only lacks its apostrophe, is the text with *s* or *'s* or without its last
letter, begins with a capital, and as in `Literal`."""

LITERAL_INPUTS = ("by_letters", "by_model", "num_letters", "is_name", "is_tapped")
"""What is looked at of the text as it stands, see `Literal`. `by_model` counts only as far as it is below
`by_letters`. A text above that is one which the model has read often, and the right words of those are in the
lexicon: what is left are the most common misspellings. If it counted in full, 79 % of 363 misspellings that
the model finds likelier by 4 nats than their letters would be repaired instead of 85 (validation authors,
2026-11-29)."""

LEAST = -40.0
"""No log counts as less."""

HIGHEST_COST = 25.0
"""None counts as more; it is also that of a spelling of which nothing is known."""

MOST_EDITS = 6

MAX_UNITS = 64
MAX_WEIGHT = 1e6


class Literal(NamedTuple):
    """The text as it stands.

    Attributes:
        text: what was typed.
        by_letters: natural log of its probability by its letters alone, see `fedkey.spelling`.
        by_model: the same by the model in this context, piece by piece.
        is_name: whether it begins with a capital inside a sentence.
        is_tapped: whether it is known where the keys were touched.
    """

    text: str
    by_letters: float
    by_model: float
    is_name: bool
    is_tapped: bool


class Choice(NamedTuple):
    """Something that the touches may have been meant to be.

    Attributes:
        text: as it would be inserted; two words with a space between them, if that was left out.
        log_prob: natural log of its probability in this context.
        frequency: natural log of its share of all words; of two words, the sum.
        slip_cost: minus the natural log of the probability that thumbs make these touches for it.
        spelling_cost: the same for somebody who cannot spell it; infinite where that is not known.
    """

    text: str
    log_prob: float
    frequency: float
    slip_cost: float
    spelling_cost: float


@dataclass(frozen=True)
class Network:
    """a(x) of the module's formula, with H units."""

    weight: Sequence[Sequence[float]]
    """A, [H, inputs]."""
    bias: Sequence[float]
    """b, [H]."""
    out: Sequence[float]
    """c, [H]."""
    out_bias: float
    """d."""

    def check(self, num_inputs: int) -> None:
        """Raises `ValueError` if the tables do not fit together, or are no numbers."""
        num_units = len(self.bias) if isinstance(self.bias, Sequence) else 0
        if not 1 <= num_units <= MAX_UNITS:
            raise ValueError(f"a network has 1 to {MAX_UNITS} units, not {num_units}")
        for name, shape in (
            ("weight", (num_units, num_inputs)),
            ("bias", (num_units,)),
            ("out", (num_units,)),
            ("out_bias", ()),
        ):
            table = number_table(name, getattr(self, name))
            if table.shape != shape:
                raise ValueError(f"{name} has the shape {list(table.shape)}, not {list(shape)}")
            if not np.all(np.abs(table) <= MAX_WEIGHT):
                raise ValueError(f"{name} must hold numbers of at most {MAX_WEIGHT:g}")

    @cached_property
    def _arrays(self) -> tuple[Floats, Floats, Floats]:
        weight, bias, out = (number_table(name, getattr(self, name)) for name in ("weight", "bias", "out"))
        return weight, bias, out

    def __call__(self, inputs: Floats) -> Floats:
        """[C] of inputs [C, inputs]."""
        weight, bias, out = self._arrays
        added: Floats = np.maximum(inputs @ weight.T + bias, 0.0) @ out + self.out_bias
        return added


@dataclass(frozen=True)
class Judge:
    """The two networks of a bundle."""

    choice: Network
    literal: Network

    def __post_init__(self) -> None:
        self.choice.check(len(CHOICE_INPUTS))
        self.literal.check(len(LITERAL_INPUTS))

    def shifts(self, literal: Literal, choices: Sequence[Choice]) -> tuple[float, list[float]]:
        """Nats to add to the score of the text as it stands, and to that of each choice."""
        alone = self.literal(literal_inputs(literal)[None])
        return float(alone[0]), self.choice(choice_inputs(literal, choices)).tolist()


def literal_inputs(literal: Literal) -> Floats:
    """x of the text as it stands, [inputs]."""
    return np.array(
        [
            max(literal.by_letters, LEAST),
            max(min(literal.by_model, literal.by_letters), LEAST),
            len(literal.text),
            literal.is_name,
            literal.is_tapped,
        ],
        dtype=np.float64,
    )


def choice_inputs(literal: Literal, choices: Sequence[Choice]) -> Floats:
    """x of C choices, [C, inputs]."""
    typed = literal.text.lower()
    forms = (f"{typed}s", f"{typed}'s", typed[:-1])
    rows = []
    for text, log_prob, frequency, slip_cost, spelling_cost in choices:
        meant = text.lower()
        rows.append(
            (
                max(log_prob, LEAST),
                max(frequency, LEAST),
                _bounded(slip_cost),
                _bounded(spelling_cost),
                _bounded(min(slip_cost, spelling_cost)),
                len(typed),
                len(meant) - len(typed),
                num_edits(typed, meant, at_most=MOST_EDITS),
                typed[:1] == meant[:1],
                typed[-1:] == meant[-1:],
                " " in meant,
                meant.replace("'", "") == typed,
                meant in forms,
                text[:1].isupper(),
                literal.is_name,
                literal.is_tapped,
            )
        )
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(CHOICE_INPUTS))


def _bounded(cost: float) -> float:
    return min(cost, HIGHEST_COST) if math.isfinite(cost) else HIGHEST_COST
