"""How the stages of secure aggregation are written into Flower's messages.

In: what `fedkey_server.masking` says. Out: records, and back. Next stop: `fedkey_server.secure_phone`.

Whatever is unpacked was written by somebody else: if it is not what it should be, `TypeError`, `KeyError` or
`ValueError` are raised.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flwr.app import Message, RecordDict
from numpy.typing import NDArray

from fedkey_server.roster import Advert

SECURE, MASKED = "secure-sum", "masked"
"""Names of the records in a message: what the protocol says, and a phone's masked words."""

Shapes = Mapping[str, tuple[int, ...]]
"""Name of an array of the update -> its shape."""


def is_secure(message: Message) -> bool:
    """Whether a message is a stage of secure aggregation."""
    return SECURE in message.content.config_records


def num_bytes(content: RecordDict) -> int:
    """Bytes of a message's records, without Flower's envelope."""
    configs = sum(len(record.deflate()) for record in content.config_records.values())
    arrays = sum(record.count_bytes() for record in content.array_records.values())
    return configs + arrays + sum(record.count_bytes() for record in content.metric_records.values())


def flatten(update: Mapping[str, Any]) -> NDArray[Any]:
    """Named arrays as one vector, in the order of their names."""
    return np.concatenate([np.asarray(update[name]).ravel() for name in sorted(update)])


def unflatten(vector: NDArray[np.float64], shapes: Shapes) -> dict[str, NDArray[np.float64]]:
    """The inverse of `flatten`."""
    arrays, start = {}, 0
    for name in sorted(shapes):
        size = math.prod(shapes[name])
        arrays[name] = vector[start : start + size].reshape(shapes[name])
        start += size
    return arrays


def pack_adverts(adverts: Iterable[Advert]) -> dict[str, Any]:
    """Adverts as lists, one for each of their fields."""
    listed = list(adverts)
    return {f"advert-{name}": [getattr(advert, name) for advert in listed] for name in Advert._fields}


def unpack_adverts(record: Mapping[str, Any]) -> tuple[Advert, ...]:
    """The inverse of `pack_adverts`."""
    columns = [record[f"advert-{name}"] for name in Advert._fields]
    return tuple(Advert(as_int(row[0]), *map(as_bytes, row[1:])) for row in zip(*columns, strict=True))


def pack_by_phone(name: str, values: Mapping[int, bytes]) -> dict[str, Any]:
    """Bytes for each phone as two lists."""
    return {f"{name}-of": list(values.keys()), name: list(values.values())}


def unpack_by_phone(name: str, record: Mapping[str, Any]) -> dict[int, bytes]:
    """The inverse of `pack_by_phone`."""
    return dict(zip(as_ints(record[f"{name}-of"]), map(as_bytes, record[name]), strict=True))


def as_int(value: Any) -> int:
    """A whole number, or `TypeError`."""
    if not isinstance(value, int):
        raise TypeError(f"expected a number, not {type(value).__name__}")
    return value


def as_ints(values: Any) -> list[int]:
    """Whole numbers, or `TypeError`."""
    return [as_int(value) for value in values]


def as_bytes(value: Any) -> bytes:
    """Bytes, or `TypeError`."""
    if not isinstance(value, bytes):
        raise TypeError(f"expected bytes, not {type(value).__name__}")
    return value
