"""A larger run of ours teaches: what it expects is written down for the student.

In: a run or bundle, packed rows. Out: `Lessons`. Next stop: `fedkey_server.lessons`, or
`fedkey_server.phones` for who wants to go on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from fedkey_server.batches import BatchStream, PackedRows
from fedkey_server.lessons import Lessons
from fedkey_server.model import IGNORE, Model
from fedkey_server.step import precision, to_batch
from fedkey_server.train import TrainConfig


def teach(
    teacher: Model,
    rows: PackedRows,
    text: str,
    num_named: int,
    batch_rows: int,
    device: torch.device,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Lessons:
    """What a model expects after every piece that a graded one follows.

    Args:
        teacher: of the student's tokenizer and window, on `device`.
        rows: in the order of their numbers; lessons of a part of the text are worth having.
        text: see `Lessons.text`.
        num_named: K, the likeliest pieces that are kept of each place.
        batch_rows: rows that are looked at together.
        device: where the teacher is.
        on_rows: told how many rows were done since it was told last.
    """
    found = [_nothing(num_named)]
    for start in range(0, len(rows), batch_rows):
        batch = rows.take(slice(start, start + batch_rows))
        found.append(_expectations(teacher, batch, num_named, device))
        on_rows(len(batch))
    row, column, ids, probs = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Lessons(text, row, column, ids, probs)


def rows_of_steps(rows: PackedRows, settings: TrainConfig, steps: range) -> npt.NDArray[np.int64]:
    """Numbers, rising, of the rows that some steps of a training take."""
    stream = BatchStream(rows, settings.batch_rows, settings.seed)
    return np.unique(np.concatenate([stream.batch(step).numbers for step in steps]))


_Arrays = tuple[
    npt.NDArray[np.int32], npt.NDArray[np.uint16], npt.NDArray[np.uint16], npt.NDArray[np.float16]
]


def _nothing(num_named: int) -> _Arrays:
    return (
        np.zeros(0, np.int32),
        np.zeros(0, np.uint16),
        np.zeros((0, num_named), np.uint16),
        np.zeros((0, num_named), np.float16),
    )


@torch.inference_mode()
def _expectations(teacher: Model, rows: PackedRows, num_named: int, device: torch.device) -> _Arrays:
    tokens, targets, positions, document_ids = to_batch(rows, device)
    with precision(device):
        hidden_btd = teacher(tokens, positions, document_ids)
        graded_bt = targets != IGNORE
        log_probs_nv = teacher.logits(hidden_btd[graded_bt]).float().log_softmax(dim=-1)
    probs_nk, ids_nk = log_probs_nv.topk(num_named, dim=-1)
    row, column = (each.cpu().numpy() for each in torch.nonzero(graded_bt, as_tuple=True))
    return (
        rows.numbers[row].astype(np.int32),
        column.astype(np.uint16),
        ids_nk.cpu().numpy().astype(np.uint16),
        probs_nk.exp().cpu().numpy().astype(np.float16),
    )
