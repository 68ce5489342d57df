"""One objective as training meets it: what it does to the rows of a step, and who sees whom in them.

In: rows packed for the causal objective. Out: the rows that the model is trained on. Next stop:
`fedkey_server.step`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fedkey.pieces import Pieces
from fedkey_server.batches import PackedRows
from fedkey_server.model import Sight
from fedkey_server.objectives import CAUSAL, FROM_THE_LEFT, MASKED
from fedkey_server.objectives.masked import hidden
from fedkey_server.objectives.permutation import ordered


@dataclass(frozen=True)
class Task:
    """What is predicted, from what.

    Attributes:
        objective: one of `OBJECTIVES`.
        pieces: the tokenizer; needed by those that do not read from the left.
    """

    objective: str = CAUSAL
    pieces: Pieces | None = None

    def of(self, rows: PackedRows, seed: Sequence[int]) -> PackedRows:
        """The rows of a step as the objective has them: a pure function of its arguments."""
        if self.objective in FROM_THE_LEFT:  # gaps are made before rows are packed
            return rows
        if self.pieces is None:
            raise ValueError(f"objective {self.objective} must know where words begin; give it the pieces")
        return (hidden if self.objective == MASKED else ordered)(rows, self.pieces, seed)

    def sight(self, ranks_bt: Tensor | None = None) -> dict[str, Any]:
        """What `Model` must be told beside the batch; nothing for models that read from the left."""
        if self.objective in FROM_THE_LEFT:
            return {}
        return {"sight": Sight(ranks_bt, 0 if self.pieces is None else self.pieces.blank_id)}
