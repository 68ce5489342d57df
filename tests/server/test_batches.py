"""Documents, packed rows and batches: nothing is lost, nothing touches its neighbour."""

from __future__ import annotations

import tempfile
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey.errors import UserError
from fedkey.pieces import END_ID, PAD_ID, START_ID, Pieces
from fedkey.text import split
from fedkey_server.batches import BatchStream, Documents, PackedRows, build_documents, pack
from fedkey_server.model import IGNORE

TILE = 16


@pytest.fixture(scope="module")
def pieces(tiny_data: Path) -> Pieces:
    return Pieces.open(tiny_data / "tokenizer.model")


def numbered(lengths: list[int], loss: list[bool] | None = None) -> Documents:
    """Documents in which every id is another one, so that a place in a row tells where it came from."""
    num_ids = sum(lengths)
    graded = np.ones(num_ids, dtype=np.bool_) if loss is None else np.resize(np.array(loss), num_ids)
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    return Documents(np.arange(100, 100 + num_ids, dtype=np.int32), graded, offsets)


def packed_documents(rows: PackedRows) -> list[tuple[slice, int]]:
    """(columns, row) of every document in the rows."""
    found = []
    for row in range(len(rows)):
        ids = rows.document_ids[row]
        borders = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
        found += [(slice(a, b), row) for a, b in pairwise(borders) if ids[a] >= 0]
    return found


# --- documents -------------------------------------------------------------------------------------------


def test_a_conversation_is_cut_at_message_borders_to_the_window(pieces: Pieces) -> None:
    messages = [split("hello there"), split("how are you"), split("fine thanks")]
    whole = [[START_ID, *pieces.encode_units(message), END_ID] for message in messages]
    graded = [(message, True) for message in messages]
    both = len(whole[0]) + len(whole[1])

    together = build_documents([graded], pieces, sum(map(len, whole)))
    assert together.ids.tolist() == list(chain(*whole))
    assert together.lengths.tolist() == [sum(map(len, whole))]
    cut = build_documents([graded], pieces, max(both, len(whole[2])))
    assert cut.ids.tolist() == together.ids.tolist()
    assert cut.lengths.tolist() == [both, len(whole[2])]


def test_two_conversations_never_share_a_document(pieces: Pieces) -> None:
    documents = build_documents([[(["a"], True)], [(["b"], True)]], pieces, 128)
    assert len(documents) == 2


def test_only_own_messages_carry_loss_and_nobody_types_a_message_start(pieces: Pieces) -> None:
    own, partner = split("see you later"), split("what a day")
    documents = build_documents([[(partner, False), (own, True)]], pieces, 128)
    num_own = len(pieces.encode_units(own))
    assert documents.loss.tolist() == [False] * (len(documents.ids) - num_own - 1) + [True] * (num_own + 1)
    assert documents.ids[-1] == END_ID


def test_a_document_without_loss_is_dropped(pieces: Pieces) -> None:
    assert len(build_documents([[(["hello"], False)], []], pieces, 128)) == 0


@given(
    lengths=st.lists(st.sampled_from([1, 2, 5, 9, 40]), min_size=1, max_size=12), window=st.integers(8, 24)
)
def test_a_message_longer_than_the_window_is_cut_between_units(
    pieces: Pieces, lengths: list[int], window: int
) -> None:
    units = ["z" * length for length in lengths]
    documents = build_documents([[(units, True)]], pieces, window)
    assert documents.lengths.max() <= window
    kept = [i for i in documents.ids.tolist() if i not in (START_ID, END_ID)]
    assert kept == pieces.encode_units(units)
    assert documents.ids[documents.offsets[:-1]].tolist() == [START_ID] * len(documents)
    assert (documents.ids == END_ID).sum() == 1
    fits = all(len(pieces.encode_unit(unit)) <= window - 2 for unit in units)
    ends = documents.ids[documents.offsets[1:] - 1]
    if fits:
        assert all(i == END_ID or pieces.ends_unit[i] for i in ends)


# --- packing ---------------------------------------------------------------------------------------------


DOCUMENTS = st.builds(
    numbered,
    st.lists(st.integers(1, TILE), max_size=150),
    st.lists(st.booleans(), min_size=1, max_size=7) | st.none(),
)


@given(documents=DOCUMENTS, tiles_per_row=st.integers(1, 4), seed=st.integers(0, 3))
def test_every_document_lies_whole_in_one_tile_and_just_once(
    documents: Documents, tiles_per_row: int, seed: int
) -> None:
    rows = pack(documents, TILE * tiles_per_row, TILE, seed=seed)
    assert rows.tokens.shape[1] == TILE * tiles_per_row
    found = []
    for where, row in packed_documents(rows):
        assert where.start // TILE == (where.stop - 1) // TILE
        assert rows.positions[row, where].tolist() == list(range(where.stop - where.start))
        found.append(rows.tokens[row, where].tolist())
    expected = [documents.take(d, d + 1).ids.tolist() for d in range(len(documents))]
    assert sorted(found) == expected
    empty = rows.document_ids < 0
    assert (rows.tokens[empty] == PAD_ID).all()
    assert (rows.targets[empty] == IGNORE).all()


@given(documents=DOCUMENTS, tiles_per_row=st.integers(1, 3))
def test_a_target_is_the_next_id_of_the_same_document_if_it_carries_loss(
    documents: Documents, tiles_per_row: int
) -> None:
    rows = pack(documents, TILE * tiles_per_row, TILE)
    loss_of = dict(zip(documents.ids.tolist(), documents.loss.tolist(), strict=True))
    for where, row in packed_documents(rows):
        ids = rows.tokens[row, where].tolist()
        expected = [i if loss_of[i] else IGNORE for i in ids[1:]] + [IGNORE]
        assert rows.targets[row, where].tolist() == expected


@given(documents=DOCUMENTS)
def test_document_numbers_are_distinct_within_a_row(documents: Documents) -> None:
    rows = pack(documents, 3 * TILE, TILE)
    numbers = [(row, int(rows.document_ids[row, where.start])) for where, row in packed_documents(rows)]
    assert len(set(numbers)) == len(numbers) == len(documents)


def test_the_same_seed_lays_the_same_rows_and_another_one_others() -> None:
    documents = numbered([3, 5, 7, 9, 4] * 30)
    first, again, other = (pack(documents, 2 * TILE, TILE, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.tokens, again.tokens)
    assert not np.array_equal(first.tokens, other.tokens)


def test_many_documents_leave_little_room_unused() -> None:
    lengths = np.random.default_rng(0).integers(2, TILE + 1, size=2000).tolist()
    assert pack(numbered(lengths), 4 * TILE, TILE).fill > 0.95


def test_what_cannot_be_laid_is_refused() -> None:
    with pytest.raises(ValueError, match="a document of 17 ids does not fit a tile of 16"):
        pack(numbered([17]), TILE, TILE)
    with pytest.raises(ValueError, match="row_length 24 is not a multiple of tile 16"):
        pack(numbered([3]), 24, TILE)


# --- batches ---------------------------------------------------------------------------------------------


def stream(num_rows: int, batch_rows: int, seed: int = 5) -> BatchStream:
    return BatchStream(pack(numbered([TILE] * num_rows), TILE, TILE), batch_rows, seed)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_a_batch_depends_on_seed_and_step_alone(steps: list[int]) -> None:
    wandering = stream(11, 3)
    for step in steps:
        assert np.array_equal(wandering.batch(step).tokens, stream(11, 3).batch(step).tokens)


def test_an_epoch_shows_every_row_once_and_the_next_in_another_order() -> None:
    batches = stream(12, 4)
    assert batches.batches_per_epoch == 3
    epochs = [
        np.concatenate([batches.batch(3 * epoch + i).tokens[:, 0] for i in range(3)]).tolist()
        for epoch in range(2)
    ]
    assert Counter(epochs[0]) == Counter(epochs[1]) == Counter(batches.rows.tokens[:, 0].tolist())
    assert epochs[0] != epochs[1]


def test_another_seed_gives_other_batches() -> None:
    assert not np.array_equal(stream(50, 10, 1).batch(0).tokens, stream(50, 10, 2).batch(0).tokens)


def test_rows_left_over_come_in_another_epoch() -> None:
    batches = stream(5, 4)
    seen = {int(i) for step in range(20) for i in batches.batch(step).tokens[:, 0]}
    assert len(seen) == 5


def test_fewer_rows_than_a_batch_make_a_small_batch() -> None:
    assert len(stream(2, 8).batch(0)) == 2


def test_no_text_is_one_sentence() -> None:
    with pytest.raises(UserError, match="There is no text to train on"):
        BatchStream(pack(numbered([]), TILE, TILE), 4, 0)


# --- the file --------------------------------------------------------------------------------------------


def saved(path: Path) -> Documents:
    documents = numbered([3, 5, 2], [True, False, True])
    documents.save(path)
    return documents


def test_documents_come_back_from_their_file(tmp_path: Path) -> None:
    documents = saved(tmp_path / "server.npz")
    loaded = Documents.load(tmp_path / "server.npz")
    for name in ("ids", "loss", "offsets"):
        before, after = getattr(documents, name), getattr(loaded, name)
        assert np.array_equal(before, after)
        assert before.dtype == after.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["server.npz"]


@given(st.data())
@settings(max_examples=200)
def test_a_damaged_file_is_told_or_still_holds_the_same(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.npz"
        documents = saved(path)
        good = path.read_bytes()
        place = data.draw(st.integers(0, len(good) - 1))
        if data.draw(st.booleans()):
            path.write_bytes(good[:place])
        else:
            byte = data.draw(st.integers(0, 255))
            path.write_bytes(good[:place] + bytes([byte]) + good[place + 1 :])
        complaint = None
        try:
            loaded = Documents.load(path)
        except UserError as error:
            complaint, loaded = str(error), documents
        assert complaint in (
            None, f"{path} is damaged; delete its folder and run 'fedkey-server prepare' again.",
        )  # fmt: skip
        assert loaded.ids.tolist() == documents.ids.tolist()
        assert loaded.offsets.tolist() == documents.offsets.tolist()


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing; run 'fedkey-server prepare' first"):
        Documents.load(tmp_path / "server.npz")
