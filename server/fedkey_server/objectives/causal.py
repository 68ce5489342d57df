"""The objective of a left-to-right language model (GPT; Radford et al. 2018), which is what a phone runs.

In: a document's ids, and which of them are graded. Out: what is predicted at each place. Next stop:
`fedkey_server.objectives.infilling`.

A document x_1 ... x_T has, by the chain rule, the probability

    p(x) = prod_t p(x_t | x_1 ... x_(t-1)),     p(x_t | ...) = softmax(E h_(t-1))[x_t]

with E the embedding and h_(t-1) the state at the place before, which has seen x_1 ... x_(t-1) and nothing
else (`fedkey_kernels.mask`, causal). The loss is the mean of -log p(x_t | ...) over the graded x_t. Every
place is predicted from all that is before it in one pass, so no piece is wasted; what is behind it is never
seen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedkey_server.model import IGNORE


def next_pieces(ids: npt.NDArray[np.int32], loss: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """[T] the id behind each of a document's, or `IGNORE` where it is not graded, and at the end."""
    targets = np.full(len(ids), IGNORE, dtype=np.int32)
    targets[:-1] = np.where(loss[1:], ids[1:], IGNORE)
    return targets
