"""Weights read back out of a bundle's graph, so that a bundle can be a starting point.

In: the bytes of `model.onnx`. Out: float32 arrays by Llama parameter name. Next stop:
`fedkey_server.checkpoint`.

The graph (see `fedkey_export.graph`) stores each weight transposed, some of them packed along the output
axis, and either as float32 or as int8 with a scale per output. What comes back from int8 is what the phone
computes with.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from fedkey.errors import UserError

Floats = npt.NDArray[np.float32]


class Shape(Protocol):
    """What of a model's shape is needed: how wide the packed parts are."""

    @property
    def width(self) -> int: ...

    @property
    def head_size(self) -> int: ...

    @property
    def num_key_value_heads(self) -> int: ...

    @property
    def hidden_width(self) -> int: ...


def read_weights(model_onnx: bytes, shape: Shape) -> dict[str, Floats]:
    """The weights of a graph that `fedkey_export` wrote.

    Args:
        model_onnx: contents of `model.onnx`.
        shape: a `ModelConfig` or a manifest's `ModelEntry`.

    Raises:
        UserError: the graph was not written by fedkey, or has another shape.
    """
    try:
        initialisers = onnx.load_from_string(model_onnx).graph.initializer
    except DecodeError as error:
        raise UserError("The bundle's model.onnx is no ONNX graph; export the bundle again.") from error
    arrays = {each.name: numpy_helper.to_array(each) for each in initialisers}
    weights: dict[str, Floats] = {}
    for name, array in arrays.items():
        if name.endswith("norm.weight"):
            weights[name] = array.astype(np.float32)
        elif name.endswith(".weight.float"):
            weights |= _unpack(name.removesuffix(".float"), array, shape)
        elif name.endswith(".weight.int8"):
            parameter = name.removesuffix(".int8")
            weights |= _unpack(parameter, array * arrays[f"{parameter}.scale"], shape)
    if "model.embed_tokens.weight" not in weights:
        raise UserError(
            "The bundle's model.onnx was not written by fedkey-export; it cannot be a starting point."
        )
    return weights


def _unpack(parameter: str, weight_io: Floats, shape: Shape) -> dict[str, Floats]:
    """One stored weight [in, out] as the Llama parameters [out, in] it consists of."""
    key_value_width = shape.num_key_value_heads * shape.head_size
    parts = {
        "qkv_proj": {"q_proj": shape.width, "k_proj": key_value_width, "v_proj": key_value_width},
        "gate_up_proj": {"gate_proj": shape.hidden_width, "up_proj": shape.hidden_width},
    }
    for packed, widths in parts.items():
        if f".{packed}." in parameter:
            if sum(widths.values()) != weight_io.shape[1]:
                raise UserError(
                    "The bundle's model.onnx has another shape than its manifest says; export it again."
                )
            pieces = np.split(weight_io, np.cumsum([*widths.values()])[:-1], axis=1)
            return {
                parameter.replace(packed, name): np.ascontiguousarray(piece.T, dtype=np.float32)
                for name, piece in zip(widths, pieces, strict=True)
            }
    return {parameter: np.ascontiguousarray(weight_io.T, dtype=np.float32)}
