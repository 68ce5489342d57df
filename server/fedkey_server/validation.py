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
from fedkey_server import checkpoint
from fedkey_server.batches import PackedRows, pack
from fedkey_server.model import IGNORE, Model
from fedkey_server.objectives import CAUSAL, FROM_THE_LEFT, INFILL
from fedkey_server.objectives.infilling import only_gaps, rearranged
from fedkey_server.objectives.task import Task
from fedkey_server.parallel import ALONE, Processes
from fedkey_server.phones import load_held_out
from fedkey_server.step import LEFT_TO_RIGHT, precision, to_batch, to_ranks

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
    model: Model,
    held_out: HeldOut,
    batch_rows: int,
    device: torch.device,
    processes: Processes = ALONE,
    task: Task = LEFT_TO_RIGHT,
) -> dict[str, Any]:
    """Mean NLL per piece in nats, top-1 accuracy per piece, and the deciles of authors' top-1 where it is
    known whose a piece is; sums first, so that neither the batch size nor the number of processes that share
    the rows matters. `task` is what the rows were made for."""
    own = held_out.take(slice(processes.rank, None, processes.count))
    sums = processes.total(_validation_sums(model, own, batch_rows, device, task)).cpu()
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
def _validation_sums(
    model: Model, held_out: HeldOut, batch_rows: int, device: torch.device, task: Task = LEFT_TO_RIGHT
) -> Tensor:
    """[authors, 3] NLL, hits and targets of each author, in float64."""
    sums = torch.zeros(held_out.num_authors, 3, dtype=torch.float64)
    for start in range(0, len(held_out.rows), batch_rows):
        part = held_out.take(slice(start, start + batch_rows))
        tokens_bt, targets_bt, positions_bt, document_ids_bt = to_batch(part.rows, device)
        sight = task.sight(to_ranks(part.rows, device))
        with precision(device):
            hidden_btd = model(tokens_bt, positions_bt, document_ids_bt, **sight)
            # The head once for each author: it keeps no single target's hit, and costs the same in parts.
            for author in np.unique(part.authors[part.rows.targets != IGNORE]).tolist():
                mine_bt = (part.rows.targets != IGNORE) & (part.authors == author)
                chosen_bt = torch.from_numpy(mine_bt).to(device)
                targets_n = targets_bt[chosen_bt]
                _, nll, hits = linear_cross_entropy(hidden_btd[chosen_bt], model.embedding_vd, targets_n)
                found = [float(nll), float(hits), targets_n.numel()]
                sums[author] += torch.tensor(found, dtype=torch.float64)
    return sums.to(device)


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


class Examiner:
    """Measures models on validation text, which is read once.

    Args:
        objective: what the models are trained for.
        data: folder made by `fedkey_server.prepare`.
        window: longest document.
        num_rows: how many rows are looked at each time.
        seed: of the choice of rows, and of what is hidden in them.

    Raises:
        UserError: the documents are longer, or cannot be read.
    """

    def __init__(self, objective: str, data: Path, window: int, num_rows: int, seed: int) -> None:
        checkpoint.refuse_shorter_window(data, window)
        self._objective = objective
        held_out = validation_rows(data, window, num_rows, seed)
        self._held_out = held_out
        self._task = Task(CAUSAL)
        self._gaps: HeldOut | None = None
        if objective == INFILL:
            rows = gap_rows(data, window, -(-num_rows // 2), seed)
            if len(rows):  # or no message has anything to fill
                self._gaps = HeldOut(rows, np.zeros_like(rows.tokens), 1)
        elif objective not in FROM_THE_LEFT:
            self._task = Task(objective, Pieces.open(data / "tokenizer.model"))
            rows = self._task.of(held_out.rows, (seed,))
            self._held_out = HeldOut(rows, np.zeros_like(rows.tokens), 1)

    def measure(
        self, model: Model, batch_rows: int, device: torch.device, processes: Processes = ALONE
    ) -> dict[str, Any]:
        """The figures of `validate`, and beside them "infill_loss" and "infill_top1", of what stands in gaps,
        where these are trained. Objectives that do not read from the left have figures of their own instead,
        "masked_loss" or "permutation_loss" and so on: what they predict is easier, and their losses must not
        be held against a causal one."""
        measured = validate(model, self._held_out, batch_rows, device, processes, self._task)
        if self._objective not in FROM_THE_LEFT:
            return _renamed(measured, self._objective)
        if self._gaps is None:
            return measured
        return measured | _renamed(validate(model, self._gaps, batch_rows, device, processes), INFILL)


def _renamed(measured: dict[str, Any], name: str) -> dict[str, Any]:
    return {f"{name}_loss": measured["validation_loss"], f"{name}_top1": measured["validation_top1"]}


def headline(measured: dict[str, Any]) -> tuple[str, float, float]:
    """Whose loss it is that a run is about ("validation", "masked", "permutation"), that loss, and top-1."""
    first = next(name for name in measured if name.endswith("_loss") and name != "train_loss")
    name = first.removesuffix("_loss")
    return name, measured[first], measured[f"{name}_top1"]


def in_words(measured: dict[str, Any]) -> str:
    """The figures of a run's end for people."""
    name, loss, top_1 = headline(measured)
    said = f"{name} loss {loss:.3f} nats per piece, top-1 {top_1:.1%} of pieces"
    return said + (f", {measured['infill_top1']:.1%} of those in gaps" if "infill_top1" in measured else "")
