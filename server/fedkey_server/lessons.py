"""What a teacher expected at places of the server's text, for a smaller model to learn from.

In: a file that a teacher filled. Out: for the rows of a step, each taught place and the pieces that the
teacher found likely behind it. Next stop: `fedkey_server.teacher`, which fills such files, or
`fedkey_server.step`.

Lessons are made once and read at every step (`fedkey-server train --lessons FILE`): the student never waits
for its teacher, and a teacher of any make can teach if its expectations are put in pieces of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fedkey.files import whole
from fedkey_kernels.distillation import NO_PIECE
from fedkey_server.arrays import opened
from fedkey_server.model import Taught

NONE = np.uint16(0xFFFF)
"""In a file, the id of a place that names nothing."""


@dataclass(frozen=True)
class Lessons:
    """Taught places of packed rows, in their order."""

    text: str
    """sha256 of the text that was packed."""
    rows: npt.NDArray[np.int32]
    """[N] number of the row in its packing, rising."""
    columns: npt.NDArray[np.uint16]
    """[N] after which piece of the row."""
    ids: npt.NDArray[np.uint16]
    """[N, K] likely pieces, no two alike, then `NONE`."""
    probs: npt.NDArray[np.float16]
    """[N, K] their probabilities."""

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, rows: npt.NDArray[np.int64], row_length: int, device: torch.device) -> Taught:
        """The lessons of rows that make a batch.

        Args:
            rows: [B] their numbers.
            row_length: T.
            device: where the batch is.
        """
        starts = np.searchsorted(self.rows, rows, side="left")
        ends = np.searchsorted(self.rows, rows, side="right")
        taught = np.concatenate([np.arange(*span) for span in zip(starts, ends, strict=True)] or [starts[:0]])
        row_of = np.repeat(np.arange(len(rows)), ends - starts)
        ids = self.ids[taught].astype(np.int64)
        ids[ids == NONE] = NO_PIECE
        arrays = (
            row_of * row_length + self.columns[taught],
            ids,
            self.probs[taught].astype(np.float32),
        )
        places, pieces, probs = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)
        return Taught(places, pieces, probs)

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        with whole(path) as beside, beside.open("wb") as file:
            np.savez(
                file,
                text=np.array(self.text),
                rows=self.rows,
                columns=self.columns,
                ids=self.ids,
                probs=self.probs,
            )

    @classmethod
    def load(cls, path: Path) -> Lessons:
        """Reads what `save` wrote; `UserError` if it is missing or damaged."""
        missing = f"There are no lessons {path}; make them with 'fedkey-server teach'."
        damaged = f"The lessons {path} are damaged; make them again with 'fedkey-server teach'."
        with opened(path, missing, damaged) as arrays:
            rows, columns, ids, probs = (arrays[name] for name in ("rows", "columns", "ids", "probs"))
            if not (rows.shape == columns.shape == ids.shape[:1] and ids.shape == probs.shape):
                raise ValueError(f"{rows.shape} places and {ids.shape} pieces do not belong together")
            return cls(str(arrays["text"]), rows, columns, ids, probs)
