"""How good a model is on authors that nobody trains on.

In: a model and a data folder's validation text. Out: figures for RUN/metrics.jsonl. Next stop:
`fedkey_server.checkpoint`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedkey.metrics import deciles
from fedkey.pieces import Pieces
from fedkey_kernels.loss import linear_cross_entropy
from fedkey_server.batches import PackedRows, pack
from fedkey_server.model import IGNORE, Model
from fedkey_server.objectives.infilling import only_gaps, rearranged
from fedkey_server.parallel import ALONE, Processes
from fedkey_server.phones import load_held_out
from fedkey_server.step import precision, to_batch

VALIDATION_TEXT = "validation.npz"
"""File of the data folder."""
MIN_PIECES = 20
"""An author with fewer graded pieces is left out of the deciles: his share of hits would say little."""


@dataclass(frozen=True)
class HeldOut:
    """Rows of authors that nobody trains on."""

    rows: PackedRows
    authors: npt.NDArray[np.int32]
    """[R, T] whose each piece is, counted from 0."""
    num_authors: int

    def take(self, rows: slice | npt.NDArray[np.int64]) -> HeldOut:
        """Some of the rows."""
        return HeldOut(self.rows.take(rows), self.authors[rows], self.num_authors)


def validate(
    model: Model, held_out: HeldOut, batch_rows: int, device: torch.device, processes: Processes = ALONE
) -> dict[str, Any]:
    """Mean NLL per piece in nats, top-1 accuracy per piece, and the deciles of authors' top-1 where it is
    known whose a piece is; sums first, so that neither the batch size nor the number of processes that share
    the rows matters."""
    own = held_out.take(slice(processes.rank, None, processes.count))
    sums = processes.total(_validation_sums(model, own, batch_rows, device)).cpu()
    nll, hits, num_targets = sums.sum(dim=0).tolist()
    measured: dict[str, Any] = {
        "validation_loss": nll / max(1, num_targets),
        "validation_top1": hits / max(1, num_targets),
    }
    known = sums[sums[:, 2] >= MIN_PIECES]
    if held_out.num_authors > 1 and len(known):
        measured["top1_deciles"] = list(deciles((known[:, 1] / known[:, 2]).tolist()))
    return measured


@torch.no_grad()
def _validation_sums(model: Model, held_out: HeldOut, batch_rows: int, device: torch.device) -> Tensor:
    """[authors, 3] NLL, hits and targets of each author, in float64."""
    sums = torch.zeros(held_out.num_authors, 3, dtype=torch.float64)
    for start in range(0, len(held_out.rows), batch_rows):
        part = held_out.take(slice(start, start + batch_rows))
        tokens_bt, targets_bt, positions_bt, document_ids_bt = to_batch(part.rows, device)
        with precision(device):
            hidden_btd = model(tokens_bt, positions_bt, document_ids_bt)
            # The head once for each author: it keeps no single target's hit, and costs the same in parts.
            for author in np.unique(part.authors[part.rows.targets != IGNORE]).tolist():
                mine_bt = (part.rows.targets != IGNORE) & (part.authors == author)
                chosen_bt = torch.from_numpy(mine_bt).to(device)
                targets_n = targets_bt[chosen_bt]
                _, nll, hits = linear_cross_entropy(hidden_btd[chosen_bt], model.embedding_vd, targets_n)
                found = [float(nll), float(hits), targets_n.numel()]
                sums[author] += torch.tensor(found, dtype=torch.float64)
    return sums.to(device)


def validate_gaps(
    model: Model, rows: PackedRows, batch_rows: int, device: torch.device, processes: Processes = ALONE
) -> dict[str, Any]:
    """As `validate`, of what stands in gaps, knowing what stands on both sides of them."""
    measured = validate(model, HeldOut(rows, np.zeros_like(rows.tokens), 1), batch_rows, device, processes)
    return {"infill_loss": measured["validation_loss"], "infill_top1": measured["validation_top1"]}


def validation_rows(data: Path, window: int, num_rows: int, seed: int) -> HeldOut:
    """The same seeded choice of packed validation rows for training and federation."""
    people = load_held_out(data / VALIDATION_TEXT)
    documents = people.all_documents
    rows = pack(documents, window, window)
    # Where a document is laid depends on the lengths alone, so its author is laid the same way.
    documents_of = np.diff(people.offsets)
    author_of_document = np.repeat(np.arange(len(people), dtype=np.int32), documents_of)
    whose = replace(documents, ids=np.repeat(author_of_document, documents.lengths))
    held_out = HeldOut(rows, pack(whose, window, window).tokens, len(people))
    chosen = np.random.default_rng(seed).permutation(len(rows))[:num_rows]
    return held_out.take(np.sort(chosen))


def gap_rows(data: Path, window: int, num_rows: int, seed: int) -> PackedRows:
    """A seeded choice of packed validation rows in which nothing is graded but what stands in a gap."""
    documents = load_held_out(data / VALIDATION_TEXT).all_documents
    pieces = Pieces.open(data / "tokenizer.model")
    rows = pack(only_gaps(rearranged(documents, pieces, window, 1.0, seed), pieces), window, window)
    return rows.take(np.sort(np.random.default_rng(seed).permutation(len(rows))[:num_rows]))
