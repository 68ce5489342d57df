"""What the model is trained to predict: one small module for each objective, with its mathematics.

In: a preset's `train.objective`. Out: what `fedkey_server.train` does with documents and rows. Next stop:
`fedkey_server.objectives.infilling`.
"""

from __future__ import annotations

CAUSAL, INFILL = "causal", "infill"
OBJECTIVES = (CAUSAL, INFILL)
"""Names of `train.objective`."""
