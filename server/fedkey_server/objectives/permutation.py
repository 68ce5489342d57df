"""Words in any order (XLNet; Yang et al. 2019, 1906.08237): each is predicted from those that came before it
in an order drawn anew, whichever side they stand on.

In: packed rows. Out: rows with an order, whose last words are to be predicted. Next stop:
`fedkey_server.objectives.task`.

For an order z of a document's T places the chain rule holds as well as from left to right (equation 3):

    max E_z [ sum_(t > c) log p(x_(z_t) | x_(z_1) ... x_(z_(t-1))) ]

and only the last 1/K of the order is predicted (c, section 2.3, equation 5), since the first words have
nothing to go by. The state that predicts x_(z_t) must know its place but not itself, and that from which
others predict must know both: two streams through the same layers (section 2.3), of which only the first has
a loss,

    query    g_(z_t) = layer(Q = g_(z_t), KV = h_(z_1) ... h_(z_(t-1))),     begins as the blank's embedding
    content  h_(z_t) = layer(Q = h_(z_t), KV = h_(z_1) ... h_(z_t)),         begins as x's embedding

which is twice a layer's work. Places come in by rotary positions, which are relative already. The order is
one of words, whose pieces follow each other; what is never predicted (others' messages, message starts and
ends) comes first. No blank stands where text is read, and the predicted words depend on each other, unlike
BERT's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedkey.pieces import Pieces
from fedkey_server.batches import PackedRows
from fedkey_server.model import IGNORE
from fedkey_server.objectives.units import units_in

PREDICTED = 6
"""K: of a document's words the last of so many in the order are predicted, at least one."""


def ordered(rows: PackedRows, pieces: Pieces, seed: int | Sequence[int]) -> PackedRows:
    """Rows with an order, the last of whose words alone are targets, at their own places.

    Args:
        rows: packed for the causal objective; what they do not grade comes first and is not predicted.
        pieces: the tokenizer.
        seed: equal seeds draw equal orders.
    """
    rng = np.random.default_rng(seed)
    units = units_in(rows, pieces)
    numbers = units.numbers.ravel()
    _, firsts = np.unique(numbers, return_index=True)
    begins = np.ones(rows.tokens.shape, dtype=np.bool_)
    begins[:, 1:] = rows.document_ids[:, 1:] != rows.document_ids[:, :-1]
    document_of = (np.cumsum(begins) - 1)[firsts]  # of each unit
    drawn = np.where(units.graded, rng.random(len(firsts)), -1.0)
    order = np.lexsort((drawn, document_of))  # of units; documents stay side by side
    place = np.empty_like(order)
    place[order] = np.arange(len(order))

    num_graded = np.bincount(document_of, weights=units.graded).astype(np.int64)
    ends = np.cumsum(np.bincount(document_of))
    num_predicted = np.where(num_graded > 0, np.maximum(1, num_graded // PREDICTED), 0)
    is_predicted = place >= (ends - num_predicted)[document_of]

    by_place = np.argsort(place[numbers], kind="stable")  # pieces, in the order of their units
    ranks = np.empty(len(numbers), dtype=np.int32)
    ranks[by_place] = np.arange(len(numbers)) % rows.tokens.shape[1]
    shape = rows.tokens.shape
    targets = np.where(is_predicted[numbers].reshape(shape), rows.tokens, IGNORE).astype(np.int32)
    return replace(rows, targets=targets, ranks=ranks.reshape(shape))
