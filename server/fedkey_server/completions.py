"""What a model makes of short texts: how likely some pieces are, and what comes next.

In: a model, texts as piece ids. Out: log likelihoods, probabilities of the next piece, the completions that a
beam finds. Next stop: `fedkey_server.canaries`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedkey_server.model import Model

Ids = tuple[int, ...]
Floats = npt.NDArray[np.float64]

BATCH = 256
"""Texts looked at together."""


@torch.no_grad()
def log_likelihoods(
    model: Model,
    prefix: Sequence[int],
    completions: Sequence[Ids],
    on_progress: Callable[[int], None] | None = None,
) -> Floats:
    """Natural log of the probability of each completion after the same prefix."""
    found = []
    for start in range(0, len(completions), BATCH):
        batch = completions[start : start + BATCH]
        tokens, hidden_btd = _hidden(model, [(*prefix, *completion) for completion in batch])
        lengths = torch.tensor([len(completion) for completion in batch], device=tokens.device)
        # The hidden state before the first piece of a completion is that of the prefix's last.
        first = len(prefix) - 1
        places = torch.arange(tokens.shape[1] - 1 - first, device=tokens.device)
        is_graded = places[None, :] < lengths[:, None]
        log_probs = model.logits(hidden_btd[:, first:-1][is_graded]).double().log_softmax(dim=-1)
        values = log_probs.gather(1, tokens[:, first + 1 :][is_graded][:, None])[:, 0]
        sums = torch.zeros(is_graded.shape, dtype=torch.float64, device=tokens.device)
        sums[is_graded] = values
        found.append(sums.sum(dim=1).cpu().numpy())
        if on_progress is not None:
            on_progress(len(batch))
    return np.concatenate(found) if found else np.zeros(0)


@torch.no_grad()
def next_log_probs(model: Model, contexts: Sequence[Ids]) -> Tensor:
    """[N, V] log probabilities of the piece after each context, which is not empty."""
    found = []
    for start in range(0, len(contexts), BATCH):
        batch = contexts[start : start + BATCH]
        _, hidden_btd = _hidden(model, batch)
        last = torch.tensor([len(context) - 1 for context in batch], device=hidden_btd.device)
        hidden_bd = hidden_btd[torch.arange(len(batch), device=last.device), last]
        found.append(model.logits(hidden_bd).double().log_softmax(dim=-1).cpu())
    return torch.cat(found)


def beam(model: Model, prefix: Ids, num_pieces: int, width: int) -> set[Ids]:
    """All completions of 1 to `num_pieces` pieces that a beam search holds on its way."""
    held: set[Ids] = set()
    beams: list[Ids] = [()]
    scores = torch.zeros(1, dtype=torch.float64)
    for _ in range(num_pieces):
        totals = scores[:, None] + next_log_probs(model, [prefix + each for each in beams])
        scores, places = totals.flatten().topk(min(width, totals.numel()))
        vocab_size = totals.shape[1]
        beams = [(*beams[i // vocab_size], i % vocab_size) for i in places.tolist()]
        held.update(beams)
    return held


def _hidden(model: Model, texts: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """Tokens [B, T] and hidden states [B, T, D] of texts side by side, padded to the longest."""
    device = model.embedding_vd.device
    length = max(map(len, texts))
    tokens = torch.zeros(len(texts), length, dtype=torch.int64)
    documents = torch.full((len(texts), length), -1, dtype=torch.int64)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.tensor(text)
        documents[row, : len(text)] = 0
    positions = torch.arange(length).expand(len(texts), -1)
    tokens = tokens.to(device)
    return tokens, model(tokens, positions.to(device), documents.to(device))
