"""Records hold the bytes that Flower would write, and give back what Flower would read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st

from fedkey_server.records import from_record, to_record

SHAPES = st.lists(st.integers(0, 5), max_size=3)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.float16])


@given(st.lists(st.tuples(SHAPES, DTYPES), max_size=4))
def test_the_bytes_are_flowers_own_and_so_is_what_comes_back(
    described: list[tuple[list[int], torch.dtype]],
) -> None:
    tensors = {
        str(number): (torch.arange(int(np.prod(shape))) - 3).to(dtype).reshape(shape)
        for number, (shape, dtype) in enumerate(described)
    }
    ours, flowers = to_record(tensors), ArrayRecord(dict(tensors))
    assert {name: array.data for name, array in ours.items()} == {
        name: array.data for name, array in flowers.items()
    }
    assert ours == flowers
    back, expected = from_record(flowers), flowers.to_torch_state_dict()
    assert back.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(back[name], tensor)


def test_a_tensor_that_lies_scattered_is_written_in_order() -> None:
    tensor = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(from_record(to_record({"w": tensor}))["w"], tensor)


def test_big_endian_and_fortran_order_are_read_as_flower_reads_them() -> None:
    for numbers in (np.arange(6, dtype=">f4").reshape(2, 3), np.asfortranarray(np.ones((2, 3), np.float32))):
        record = ArrayRecord({"w": Array(numbers.astype(numbers.dtype.newbyteorder("=")))})
        assert from_record(record)["w"].tolist() == numbers.tolist()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_bytes_that_are_no_array_are_refused(data: bytes) -> None:
    record = to_record({"w": torch.ones(3)})
    record["w"].data = data
    with pytest.raises(Exception):  # noqa: B017, PT011 - numpy raises what it likes
        from_record(record)


def test_a_shape_that_promises_more_than_there_is_is_refused() -> None:
    record = to_record({"w": torch.ones(3)})
    record["w"].shape = (4,)
    assert from_record(record)["w"].shape == (3,)  # the bytes know better, as with Flower
