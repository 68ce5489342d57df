"""Documents, and rows in which many of them lie side by side without seeing each other.

In: messages as piece ids. Out: packed rows, batch by batch. Next stop: `fedkey_kernels.reference`, then
`fedkey_server.model`.

A document is a stretch of one conversation: START, a message's pieces, END, and so on, cut at message borders
to the model's window. Each id knows whether it carries loss as a target: a partner's messages are context and
carry none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkey.errors import UserError
from fedkey.files import whole
from fedkey.pieces import END_ID, PAD_ID, START_ID, Pieces
from fedkey_server.arrays import check_offsets, opened
from fedkey_server.model import IGNORE
from fedkey_server.objectives.causal import next_pieces

SERVER_TEXT = "server.npz"
"""File of the data folder that holds the server's documents."""


@dataclass(frozen=True)
class Documents:
    """Many documents in three flat arrays."""

    ids: npt.NDArray[np.int32]
    """[N] piece ids of all documents, one after the other."""
    loss: npt.NDArray[np.bool_]
    """[N] whether the id is graded when the model predicts it."""
    offsets: npt.NDArray[np.int64]
    """[D + 1]; document d is ids[offsets[d] : offsets[d + 1]]."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """[D] number of ids of each document."""
        return np.diff(self.offsets)

    def take(self, first: int, last: int) -> Documents:
        """Documents `first` to `last - 1`, without copying their ids."""
        start, end = int(self.offsets[first]), int(self.offsets[last])
        return Documents(self.ids[start:end], self.loss[start:end], self.offsets[first : last + 1] - start)

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        with whole(path) as beside, beside.open("wb") as file:
            np.savez(file, ids=self.ids, loss=self.loss, offsets=self.offsets)

    @classmethod
    def load(cls, path: Path) -> Documents:
        """Reads what `save` wrote; `UserError` if it is missing or damaged."""
        with prepared(path) as arrays:
            return cls.of(arrays)

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Documents:
        """From what `save` wrote; ValueError if the arrays do not fit each other."""
        ids, loss, offsets = (arrays[name] for name in ("ids", "loss", "offsets"))
        check_offsets(offsets, len(ids))
        if ids.shape != loss.shape or (ids.dtype.kind, loss.dtype.kind) != ("i", "b"):
            raise ValueError(f"{ids.shape} ids and {loss.shape} marks of loss do not belong together")
        return cls(ids, loss, offsets)


def prepared(path: Path) -> AbstractContextManager[Mapping[str, npt.NDArray[Any]]]:
    """`arrays.opened` for a file of the data folder."""
    return opened(
        path,
        f"{path} is missing; run 'fedkey-server prepare' first.",
        f"{path} is damaged; delete its folder and run 'fedkey-server prepare' again.",
    )


def build_documents(
    conversations: Iterable[Sequence[tuple[Sequence[str], bool]]], pieces: Pieces, window: int
) -> Documents:
    """Encodes conversations and cuts them into documents.

    Args:
        conversations: each a sequence of (message, whether it carries loss); messages as truecased units.
        pieces: the tokenizer.
        window: longest document in ids. A message longer than that is cut at unit borders into documents of
            its own; a unit longer than that (a page of one repeated character) is cut where it must be.

    Documents without any loss are dropped.
    """
    ids: list[int] = []
    loss: list[bool] = []
    offsets = [0]
    for conversation in conversations:
        for document_ids, document_loss in _documents(conversation, pieces, window):
            if any(document_loss):
                ids.extend(document_ids)
                loss.extend(document_loss)
                offsets.append(len(ids))
    return Documents(
        np.array(ids, dtype=np.int32), np.array(loss, dtype=np.bool_), np.array(offsets, dtype=np.int64)
    )


def _documents(
    conversation: Sequence[tuple[Sequence[str], bool]], pieces: Pieces, window: int
) -> Iterator[tuple[list[int], list[bool]]]:
    ids: list[int] = []
    loss: list[bool] = []
    for message, is_graded in conversation:
        for part in _message_parts(message, pieces, window):
            if ids and len(ids) + len(part) > window:
                yield ids, loss
                ids, loss = [], []
            # Nobody types the message start: it follows every message end and would only flatter the figures.
            graded = [is_graded and i != START_ID for i in part]
            ids, loss = ids + part, loss + graded
    if ids:
        yield ids, loss


def _message_parts(message: Sequence[str], pieces: Pieces, window: int) -> Iterator[list[int]]:
    whole = [START_ID, *pieces.encode_units(message), END_ID]
    if len(whole) <= window:
        yield whole
        return
    part = [START_ID]
    for unit in message:
        for start in range(0, len(encoded := pieces.encode_unit(unit)), window - 2):
            chunk = encoded[start : start + window - 2]
            if len(part) + len(chunk) + 1 > window:
                yield part
                part = [START_ID]
            part.extend(chunk)
    yield [*part, END_ID]


@dataclass(frozen=True)
class PackedRows:
    """Rows of several documents each; arrays are [R, T] unless they say otherwise."""

    tokens: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    """What is predicted at each place: by default the next id of the same document; `IGNORE` where there is
    none or it carries no loss."""
    positions: npt.NDArray[np.int32]
    """Counted from 0 in each document."""
    document_ids: npt.NDArray[np.int32]
    """Number of the document in its row; -1 is padding."""
    numbers: npt.NDArray[np.int64]
    """[R] which row of the packing each is."""
    ranks: npt.NDArray[np.int32] | None = None
    """Place of each piece in the order in which its row is predicted, where that is not from left to
    right."""

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: slice | npt.NDArray[np.int64]) -> PackedRows:
        """Some of the rows."""
        return PackedRows(
            self.tokens[rows],
            self.targets[rows],
            self.positions[rows],
            self.document_ids[rows],
            self.numbers[rows],
            None if self.ranks is None else self.ranks[rows],
        )

    @property
    def fill(self) -> float:
        """Share of places that hold a document."""
        return float((self.document_ids >= 0).mean())


def pack(documents: Documents, row_length: int, tile: int, *, seed: int = 0) -> PackedRows:
    """Lays documents into rows so that none crosses a border between tiles.

    Best-fit decreasing over documents in a seeded random order of equals. Tiles matter to the fast attention
    kernels: a document inside one tile needs one block of scores.

    Args:
        documents: none longer than `tile`.
        row_length: T, a multiple of `tile`.
        tile: the model's window.
        seed: of the order in which documents of equal length are laid.
    """
    if row_length % tile:
        raise ValueError(f"row_length {row_length} is not a multiple of tile {tile}")
    lengths = documents.lengths
    if len(lengths) and lengths.max() > tile:
        raise ValueError(f"a document of {lengths.max()} ids does not fit a tile of {tile}")
    tiles = _fill_tiles(lengths, tile, np.random.default_rng(seed))
    tiles_per_row = row_length // tile
    num_rows = -(-len(tiles) // tiles_per_row)
    shape = (num_rows, row_length)
    tokens = np.full(shape, PAD_ID, dtype=np.int32)
    targets = np.full(shape, IGNORE, dtype=np.int32)
    positions = np.zeros(shape, dtype=np.int32)
    document_ids = np.full(shape, -1, dtype=np.int32)
    for number, members in enumerate(tiles):
        row, place = divmod(number, tiles_per_row)
        column = place * tile
        for order, document in enumerate(members):
            start, end = int(documents.offsets[document]), int(documents.offsets[document + 1])
            length = end - start
            ids = documents.ids[start:end]
            where = slice(column, column + length)
            tokens[row, where] = ids
            targets[row, where] = next_pieces(ids, documents.loss[start:end])
            positions[row, where] = np.arange(length)
            document_ids[row, where] = place * tile + order  # distinct within the row
            column += length
    return PackedRows(tokens, targets, positions, document_ids, np.arange(num_rows))


def _fill_tiles(lengths: npt.NDArray[np.int64], tile: int, rng: np.random.Generator) -> list[list[int]]:
    shuffled = rng.permutation(len(lengths))
    order = shuffled[np.argsort(-lengths[shuffled], kind="stable")]
    tiles: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(tile + 1)]  # room left -> tiles with that room
    for document in order.tolist():
        length = int(lengths[document])
        room = next((r for r in range(length, tile + 1) if by_room[r]), None)
        if room is None:
            tiles.append([])
            index, room = len(tiles) - 1, tile
        else:
            index = by_room[room].pop()
        tiles[index].append(document)
        by_room[room - length].append(index)
    rng.shuffle(tiles)
    return tiles


class BatchStream:
    """Batches without end; which rows a batch holds is a pure function of (seed, step), so resuming needs no
    state."""

    def __init__(self, rows: PackedRows, batch_rows: int, seed: int) -> None:
        if len(rows) == 0:
            raise UserError(
                "There is no text to train on; look at what 'fedkey-server data' says of your files."
            )
        self.rows = rows
        self.batch_rows = min(batch_rows, len(rows))
        self.seed = seed
        self._epoch = -1
        self._order: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    @property
    def batches_per_epoch(self) -> int:
        """Full batches in one pass; the rows left over come in another pass."""
        return len(self.rows) // self.batch_rows

    def batch(self, step: int) -> PackedRows:
        """The rows of step `step` (from 0)."""
        epoch, index = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, epoch)).permutation(len(self.rows))
        return self.rows.take(self._order[index * self.batch_rows : (index + 1) * self.batch_rows])
