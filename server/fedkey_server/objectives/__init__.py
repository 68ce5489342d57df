"""What the model is trained to predict: one small module for each objective, with its mathematics.

In: a preset's `train.objective`. Out: what `fedkey_server.train` does with documents and rows. Next stop:
`fedkey_server.objectives.causal`.
"""

from __future__ import annotations

CAUSAL, INFILL, MASKED, PERMUTATION = "causal", "infill", "masked", "permutation"
OBJECTIVES = (CAUSAL, INFILL, MASKED, PERMUTATION)
"""Names of `train.objective`."""
FROM_THE_LEFT = (CAUSAL, INFILL)
"""Those of a model that can go on from the left, as a phone's must."""
