"""The simulated phones: who owns which documents.

In: each author's conversations. Out: one `Documents` per phone, read quickly by any process. Next stop:
`fedkey_server.rounds`.

The file stands for the phones' own storage. Nothing of it is read by `prepare`'s vocabulary and tokenizer or
by central training; a federated client opens it and takes its own part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkey.files import whole
from fedkey_server.arrays import check_offsets
from fedkey_server.batches import Documents, prepared

PHONES_TEXT = "phones.npz"
"""File of the data folder that stands for all phones' storage."""


@dataclass(frozen=True)
class Phones:
    """All phones of a simulation."""

    names: tuple[str, ...]
    """Author of each phone."""
    num_words: npt.NDArray[np.int64]
    """Own words of each phone."""
    all_documents: Documents
    offsets: npt.NDArray[np.int64]
    """Phone i owns documents offsets[i] to offsets[i + 1] - 1."""

    def __len__(self) -> int:
        return len(self.names)

    def documents(self, phone: int) -> Documents:
        """What phone `phone` holds: own messages with loss, partners' messages as context."""
        return self.all_documents.take(int(self.offsets[phone]), int(self.offsets[phone + 1]))

    def num_rows(self, window: int) -> npt.NDArray[np.int64]:
        """[phones] rows of `window` pieces that each phone's text fills, as near as can be said unpacked."""
        ends = self.all_documents.offsets[self.offsets]
        return -(-np.diff(ends) // window)

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        with whole(path) as beside, beside.open("wb") as file:
            np.savez(
                file,
                names=np.array(self.names, dtype=np.str_),
                num_words=self.num_words,
                phone_offsets=self.offsets,
                ids=self.all_documents.ids,
                loss=self.all_documents.loss,
                offsets=self.all_documents.offsets,
            )

    @classmethod
    def load(cls, path: Path) -> Phones:
        """Reads what `save` wrote; `UserError` if it is missing or damaged."""
        with prepared(path) as arrays:
            return cls._of(arrays)

    @classmethod
    def _of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Phones:
        documents, offsets = Documents.of(arrays), arrays["phone_offsets"]
        check_offsets(offsets, len(documents))
        names, num_words = tuple(str(name) for name in arrays["names"]), arrays["num_words"]
        if not len(names) == len(num_words) == len(offsets) - 1:
            raise ValueError(f"{len(names)} names and {len(offsets) - 1} phones do not belong together")
        return cls(names, num_words, documents, offsets)


def load_held_out(path: Path) -> Phones:
    """Validation authors as phones. A file of before 2026-11-26 holds no borders between authors, and is read
    as one author's."""
    with prepared(path) as arrays:
        has_borders = "phone_offsets" in arrays
    if has_borders:
        return Phones.load(path)
    documents = Documents.load(path)
    one = np.array([0, len(documents)], dtype=np.int64)
    return Phones(("",), np.zeros(1, dtype=np.int64), documents, one)


def assemble(names: Sequence[str], num_words: Sequence[int], documents: Sequence[Documents]) -> Phones:
    """Puts phones together; those without a document are left out."""
    kept = [i for i, mine in enumerate(documents) if len(mine)]
    counts = [len(documents[i]) for i in kept]
    lengths = np.concatenate([np.zeros(1, dtype=np.int64), *(documents[i].lengths for i in kept)])
    together = Documents(
        np.concatenate([np.zeros(0, dtype=np.int32), *(documents[i].ids for i in kept)]),
        np.concatenate([np.zeros(0, dtype=np.bool_), *(documents[i].loss for i in kept)]),
        np.cumsum(lengths),
    )
    return Phones(
        tuple(names[i] for i in kept),
        np.array([num_words[i] for i in kept], dtype=np.int64),
        together,
        np.cumsum([0, *counts], dtype=np.int64),
    )
