"""Weights read back out of a bundle's graph, so that a bundle can be a starting point.

In: the bytes of `model.onnx`. Out: float32 arrays by Llama parameter name. Next stop:
`fedkey_server.checkpoint`.

The graph (see `fedkey_export.graph`) stores each weight transposed, some of them packed along the output
axis, and either as float32 or as int8 with a scale per output. What comes back from int8 is what the phone
computes with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from fedkey.errors import UserError

Floats = npt.NDArray[np.float32]


class Shape(Protocol):
    """What of a model's shape its weights have."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def num_layers(self) -> int: ...

    @property
    def head_size(self) -> int: ...

    @property
    def num_key_value_heads(self) -> int: ...

    @property
    def hidden_width(self) -> int: ...


PACKED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
"""Stored weight -> the Llama parameters that lie side by side in it: they share their input, and are
multiplied with it at once."""


def read_weights(model_onnx: bytes, shape: Shape) -> dict[str, Floats]:
    """The weights of a graph that `fedkey_export` wrote.

    Args:
        model_onnx: contents of `model.onnx`.
        shape: a `ModelConfig` or a manifest's `ModelEntry`.

    Raises:
        UserError: the graph was not written by fedkey, has another shape, or holds no numbers.
    """
    try:
        initialisers = onnx.load_from_string(model_onnx).graph.initializer
        # A tensor kept outside would have onnx read whatever file it names.
        stored = {
            each.name: numpy_helper.to_array(each)
            for each in initialisers
            if each.data_location != onnx.TensorProto.EXTERNAL
        }
    except (DecodeError, ValueError, TypeError) as error:
        raise UserError("The bundle's model.onnx is no ONNX graph; export the bundle again.") from error
    shapes = expected_shapes(shape)
    weights: dict[str, Floats] = {}
    for parameter, parts in _stored_as(shapes).items():
        array = _stored_array(stored, parameter)
        expected_rows = sum(shapes[part][0] for part in parts)
        if array.shape != (expected_rows, *shapes[parts[0]][1:]):
            raise UserError(
                "The bundle's model.onnx has another shape than its manifest says; export it again."
            )
        if not np.isfinite(array).all():
            raise UserError(
                "The bundle's model.onnx holds weights that are no numbers; it cannot be a starting point."
            )
        ends = np.cumsum([shapes[part][0] for part in parts])[:-1]
        for part, rows in zip(parts, np.split(array, ends), strict=True):
            weights[part] = np.array(rows, order="C")  # torch takes no read-only memory
    return weights


def expected_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Llama parameter name -> shape, [out, in] for matrices."""
    width, hidden_width = shape.width, shape.hidden_width
    key_value_width = shape.num_key_value_heads * shape.head_size
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocab_size, width),
        "model.norm.weight": (width,),
    }
    for layer in range(shape.num_layers):
        of_layer = {
            "input_layernorm": (width,),
            "self_attn.q_proj": (width, width),
            "self_attn.k_proj": (key_value_width, width),
            "self_attn.v_proj": (key_value_width, width),
            "self_attn.o_proj": (width, width),
            "post_attention_layernorm": (width,),
            "mlp.gate_proj": (hidden_width, width),
            "mlp.up_proj": (hidden_width, width),
            "mlp.down_proj": (width, hidden_width),
        }
        shapes |= {f"model.layers.{layer}.{name}.weight": each for name, each in of_layer.items()}
    return shapes


def _stored_as(parameters: Iterable[str]) -> dict[str, list[str]]:
    """Stored weight -> its parameters, in order along the output axis."""
    packed_by_part = {part: packed for packed, parts in PACKED.items() for part in parts}
    stored: dict[str, list[str]] = {}
    for parameter in parameters:
        *_, part, _ = parameter.split(".")
        name = parameter.replace(part, packed_by_part[part]) if part in packed_by_part else parameter
        stored.setdefault(name, []).append(parameter)
    return stored


def _stored_array(stored: Mapping[str, npt.NDArray[Any]], parameter: str) -> Floats:
    """One stored weight as float32 [out, in], or [width] of a norm."""
    exact = stored.get(parameter, stored.get(f"{parameter}.float"))
    if exact is not None and exact.dtype == np.float32:
        return exact.T
    values, scale = stored.get(f"{parameter}.int8"), stored.get(f"{parameter}.scale")
    if (
        values is not None
        and scale is not None
        and (values.dtype, scale.dtype) == (np.int8, np.float32)
        and values.shape[-1:] == scale.shape
    ):
        with np.errstate(invalid="ignore"):  # zero times an infinite scale; the caller looks for it
            return np.asarray(values * scale, dtype=np.float32).T
    raise UserError(
        "The bundle's model.onnx was not written by fedkey-export; it cannot be a starting point."
    )
