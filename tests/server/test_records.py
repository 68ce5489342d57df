"""Records hold the bytes that Flower would write, and give back what Flower would read."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedkey_server.grid import InProcessGrid
from fedkey_server.records import from_record, lend, to_record, twin_of

SHAPES = st.lists(st.integers(0, 5), max_size=3)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.float16])


Writer = Callable[[Mapping[str, torch.Tensor]], ArrayRecord]


@pytest.mark.parametrize("write", [to_record, lend])
@given(described=st.lists(st.tuples(SHAPES, DTYPES), max_size=4))
def test_the_bytes_are_flowers_own_and_so_is_what_comes_back(
    write: Writer, described: list[tuple[list[int], torch.dtype]]
) -> None:
    tensors = {
        str(number): (torch.arange(int(np.prod(shape))) - 3).to(dtype).reshape(shape)
        for number, (shape, dtype) in enumerate(described)
    }
    ours, flowers = write(tensors), ArrayRecord(dict(tensors))
    lent = from_record(write(tensors))
    assert {name: array.data for name, array in ours.items()} == {
        name: array.data for name, array in flowers.items()
    }
    assert ours == flowers
    back, expected = from_record(flowers), flowers.to_torch_state_dict()
    assert back.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(lent[name], tensor)
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(back[name], tensor)


@pytest.mark.parametrize("write", [to_record, lend])
def test_a_tensor_that_lies_scattered_is_written_in_order(write: Writer) -> None:
    tensor = torch.arange(6.0).reshape(2, 3).T
    record = write({"w": tensor})
    assert torch.equal(from_record(record)["w"], tensor)
    assert record["w"].numpy().tolist() == tensor.tolist()


def test_a_record_is_a_copy_unless_its_tensors_are_lent() -> None:
    tensor = torch.ones(3)
    copied, lent = to_record({"w": tensor}), lend({"w": tensor})
    assert from_record(lent)["w"].data_ptr() == tensor.data_ptr()
    tensor.fill_(2)
    assert from_record(copied)["w"].tolist() == [1, 1, 1]
    assert lent["w"].numpy().tolist() == [2, 2, 2]


@pytest.mark.parametrize("write", [to_record, lend])
def test_twins_are_equal_share_their_bytes_and_change_each_alone(write: Writer) -> None:
    record = write({"w": torch.ones(3), "b": torch.zeros(2)})
    twin = twin_of(record)
    assert twin == record
    assert twin["w"].data is record["w"].data
    name = record["w"].object_id
    assert twin["w"].object_id == name
    twin["w"].data = Array(np.full(3, 7, np.float32)).data
    del twin["b"]
    assert from_record(record)["w"].tolist() == [1, 1, 1]
    assert from_record(twin)["w"].tolist() == [7, 7, 7]
    assert (record["w"].object_id, set(record)) == (name, {"w", "b"})
    assert twin["w"].object_id != name


def sent_over_a_superlink(array: Array) -> bytes:
    InProcessGrid(lambda message, context: message, 1, {})  # messages ask who sends them
    content = RecordDict({"arrays": ArrayRecord(), "config": ConfigRecord({"a": 1})})
    content.array_records["arrays"]["w"] = array
    message = Message(content, 1, MessageType.TRAIN)
    return (
        array.deflate()
        + content.deflate()
        + content.array_records["arrays"].deflate()
        + bytes(message.content.object_id, "utf-8")
    )


def test_a_lent_array_leaves_the_process_as_flowers_own() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    assert sent_over_a_superlink(lend({"w": tensor})["w"]) == sent_over_a_superlink(Array(tensor.numpy()))
    pickled = pickle.loads(pickle.dumps(lend({"w": tensor})["w"]))
    assert type(pickled) is Array
    assert pickled == Array(tensor.numpy())
    for same in (lend({"w": tensor}), to_record({"w": tensor})):
        assert lend({"w": tensor}) == same
        assert same == lend({"w": tensor})
        assert same != lend({"w": tensor + 1})


def test_big_endian_and_fortran_order_are_read_as_flower_reads_them() -> None:
    for numbers in (np.arange(6, dtype=">f4").reshape(2, 3), np.asfortranarray(np.ones((2, 3), np.float32))):
        record = ArrayRecord({"w": Array(numbers.astype(numbers.dtype.newbyteorder("=")))})
        assert from_record(record)["w"].tolist() == numbers.tolist()


@pytest.mark.parametrize("write", [to_record, lend])
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_bytes_that_are_no_array_are_refused(write: Writer, data: bytes) -> None:
    record = write({"w": torch.ones(3)})
    record["w"].data = data
    with pytest.raises(Exception):  # noqa: B017, PT011 - numpy raises what it likes
        from_record(record)


@pytest.mark.parametrize("write", [to_record, lend])
def test_a_shape_that_promises_more_than_there_is_is_refused(write: Writer) -> None:
    record = write({"w": torch.ones(3)})
    record["w"].shape = (4,)
    assert from_record(record)["w"].shape == (3,)  # the bytes know better, as with Flower
