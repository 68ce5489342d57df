"""How large the model's normaliser usually is where candidates are scored.

In: a model and a lexicon. Out: one number. Next stop: `fedkey_export.graph`.

A log probability is a logit less log Z, the logarithm of a sum over all pieces. The phone pays for that sum
once per word typed, not for every piece of every candidate: there the graph takes off the usual log Z.
Training keeps log Z steady (a penalty on its square), but how near to 0 depends on how long and how hard the
model was trained: 0.1 with a strong penalty, 10 with a weak one. What matters is that it varies little.
(Taking logits for log probabilities although log Z was 9 cost the tiny preset 7 points of keystroke savings;
with the usual log Z taken off it was within 0.3 points of exact probabilities.)
"""

from __future__ import annotations

import numpy as np
import torch

from fedkey.lexicon import Lexicon
from fedkey.pieces import PAD_ID, START_ID
from fedkey_server.model import Model

NUM_WORDS = 300
"""The most frequent words of several pieces; log Z is looked at inside them."""


@torch.no_grad()
def usual_log_normaliser(model: Model, lexicon: Lexicon) -> float:
    """The mean of log Z inside frequent words, in nats; 0 if every word is a single piece.

    To two decimals: the bundle's bytes must not depend on how a processor rounds.
    """
    several = np.flatnonzero(np.diff(lexicon.piece_offsets) > 1)
    frequent = several[np.argsort(-lexicon.log_prob[several], kind="stable")][:NUM_WORDS]
    # A model need not have been trained on words longer than its window, and none is that long.
    words = [lexicon.pieces(int(index))[: model.config.window - 1] for index in frequent]
    if not words:
        return 0.0
    model.eval()
    tokens = torch.full((len(words), max(map(len, words))), PAD_ID)
    is_inside = torch.zeros_like(tokens, dtype=torch.bool)
    for row, pieces in enumerate(words):
        tokens[row, : len(pieces)] = torch.tensor([START_ID, *pieces[:-1]])
        is_inside[row, 1 : len(pieces)] = True
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    hidden = model(tokens, positions, torch.zeros_like(tokens))
    log_z = model.logits(hidden[is_inside]).logsumexp(dim=-1)
    return round(float(log_z.double().mean()), 2)
