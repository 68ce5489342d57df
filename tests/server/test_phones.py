"""Who owns which documents."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.errors import UserError
from fedkey_server.batches import Documents
from fedkey_server.phones import Phones, assemble

OWNED = st.lists(st.lists(st.integers(1, 9), max_size=4), max_size=6)
"""The lengths of each phone's documents."""


def documents(lengths: list[int], first_id: int = 0) -> Documents:
    total = sum(lengths)
    ids = np.arange(first_id, first_id + total, dtype=np.int32)
    return Documents(ids, ids % 3 > 0, np.cumsum([0, *lengths]).astype(np.int64))


def phones_of(owned: list[list[int]]) -> Phones:
    texts = [documents(lengths, 100 * number) for number, lengths in enumerate(owned)]
    return assemble([f"author {n}" for n in range(len(owned))], list(range(len(owned))), texts)


def assert_same(found: Documents, expected: Documents) -> None:
    for name in ("ids", "loss", "offsets"):
        left, right = getattr(found, name), getattr(expected, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


@given(owned=OWNED)
def test_every_phone_gets_back_its_own_documents_and_empty_ones_are_left_out(owned: list[list[int]]) -> None:
    phones = phones_of(owned)
    kept = [number for number, lengths in enumerate(owned) if lengths]
    assert phones.names == tuple(f"author {number}" for number in kept)
    assert phones.num_words.tolist() == kept
    assert len(phones) == len(kept)
    for phone, number in enumerate(kept):
        assert_same(phones.documents(phone), documents(owned[number], 100 * number))


def test_a_saved_file_reads_back_the_same(tmp_path: Path) -> None:
    phones = phones_of([[3, 4], [], [1], [2, 2, 2]])
    phones.save(tmp_path / "phones.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["phones.npz"]
    again = Phones.load(tmp_path / "phones.npz")
    assert again.names == phones.names
    assert again.num_words.tolist() == [0, 2, 3]
    for phone in range(len(phones)):
        assert_same(again.documents(phone), phones.documents(phone))


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    # Runs recognise their data by its digest.
    for name in ("one.npz", "two.npz"):
        phones_of([[3, 4], [5]]).save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing; run 'fedkey-server prepare' first"):
        Phones.load(tmp_path / "phones.npz")


@pytest.mark.parametrize("damage", ["cut", "garbled", "another archive", "encrypted"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "phones.npz"
    phones_of([[3, 4], [5]]).save(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "garbled":
        path.write_bytes(b"\x00\xff" * 300)
    elif damage == "encrypted":
        held = bytearray(path.read_bytes())
        for header, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            for found in re.finditer(re.escape(header), bytes(held)):
                held[found.start() + flags] |= 1
        path.write_bytes(held)
    else:
        np.savez(path, ids=np.zeros(3))
    with pytest.raises(UserError, match="is damaged; delete its folder"):
        Phones.load(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("phone_offsets", lambda array: array + 10**6),
        ("phone_offsets", lambda array: array[::-1]),
        ("phone_offsets", lambda array: array[:-1]),
        ("phone_offsets", lambda array: array.astype(float)),
        ("offsets", lambda array: array - 1),
        ("offsets", lambda array: array[:0]),
        ("offsets", lambda array: np.append(array, array[-1] + 1)),
        ("ids", lambda array: array[:-1]),
        ("loss", lambda array: array[:-1]),
        ("names", lambda array: array[:-1]),
        ("num_words", lambda array: array[0]),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_damage(
    name: str, change: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "phones.npz"
    phones_of([[3, 4], [5]]).save(path)
    with np.load(path) as held:
        arrays = dict(held)
    np.savez(path, **arrays | {name: change(arrays[name])})
    with pytest.raises(UserError, match="is damaged; delete its folder"):
        Phones.load(path)
    if name in ("offsets", "ids", "loss"):
        with pytest.raises(UserError, match="is damaged; delete its folder"):
            Documents.load(path)


def test_the_prepared_phones_hold_their_own_words_and_their_partners_as_context(tiny_data: Path) -> None:
    phones = Phones.load(tiny_data / "phones.npz")
    assert len(set(phones.names)) == len(phones) > 10
    for phone in range(len(phones)):
        loss = phones.documents(phone).loss
        assert loss.any()
        assert not loss.all()
