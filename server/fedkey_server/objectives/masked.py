"""Masked words (BERT; Devlin et al. 2018, 1810.04805): all but a few words are seen, from both sides.

In: packed rows. Out: rows in which words are hidden, to be predicted where they stand. Next stop:
`fedkey_server.objectives.permutation`.

Of the words of a document x a random 15 % are chosen, M, and of their pieces 80 % become a blank, 10 % a
random piece, 10 % stay (section 3.1: a model that only ever worked at blanks would know nothing of places
without one). From what is left, x', the loss is

    - 1/|M| sum_(t in M) log p(x_t | x'),     p(x_t | x') = softmax(E h_t)[x_t]

with h_t the state at the very place, which sees the whole document (`fedkey_kernels.mask`, not causal). The
chosen are predicted as if independent of each other, and a pass learns from 15 % of the text. Whole words are
hidden, as the authors' later checkpoints do: the rest of a word gives it away.

A model of this kind cannot go on from the left, so it is not exported; it says how much both sides are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedkey.pieces import UNKNOWN_ID, Pieces
from fedkey_server.batches import PackedRows
from fedkey_server.model import IGNORE
from fedkey_server.objectives.units import units_in

CHOSEN = 0.15
"""Share of the words."""
BLANK, RANDOM = 0.8, 0.1
"""Shares of their pieces that become a blank, and a random piece."""


def hidden(rows: PackedRows, pieces: Pieces, seed: int | Sequence[int]) -> PackedRows:
    """Rows with hidden words, which alone are targets, at their own places.

    Args:
        rows: packed for the causal objective; what they do not grade is never hidden.
        pieces: the tokenizer.
        seed: equal seeds hide equal words.
    """
    rng = np.random.default_rng(seed)
    units = units_in(rows, pieces)
    chosen = (units.graded & (rng.random(len(units.graded)) < CHOSEN))[units.numbers]
    dice = rng.random(rows.tokens.shape)
    others = rng.integers(UNKNOWN_ID + 1, pieces.vocab_size, rows.tokens.shape, dtype=np.int32)
    seen = np.where(dice < BLANK, pieces.blank_id, np.where(dice < BLANK + RANDOM, others, rows.tokens))
    tokens = np.where(chosen, seen, rows.tokens).astype(np.int32)
    return replace(rows, tokens=tokens, targets=np.where(chosen, rows.tokens, IGNORE).astype(np.int32))
