"""The model as one ONNX graph, built node by node.

In: Llama-named weights. Out: a serialised graph with a shared cache. Next stop: `fedkey_export.package`; `fedkey.model`
runs it, `fedkey_server.bundle_weights` reads the weights back out.

Building by hand instead of tracing gives 13 nodes per layer instead of 68: normalisation with its residual,
attention with rotary positions and cache, and SiLU are one node each, and the cache is updated in place. The head is
the embedding: stored once as [width, vocabulary], it is multiplied with as it lies and gathered from by columns.

Inputs (T positions are run, S slots are valid afterwards, R rows and M questions are asked; each but T may be 0):
    tokens int64 [1, T], positions int64 [1, T], attention_bias float32 [1, 1, T, S] on top of the causal mask,
    last_slot int32 [1] = S - 1, num_slots int32 [1] = S on the CPU, past_{key,value}_{layer} float32 [1, G, slots, K],
    rows int64 [R]: which of the T positions' distributions are wanted,
    score_rows, score_pieces int64 [M]: pairs of a position and a piece whose logit is wanted.
Outputs:
    hidden float32 [T, D] after the final norm, log_probs float32 [R, V], scores float32 [M] (logits, not normalised),
    present_{key,value}_{layer}: bind them to the buffers of past_{key,value}_{layer}.

Letters as in `fedkey_server.model`: D width, V vocabulary, H query heads, G key/value heads, K head size, F hidden width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from fedkey.bundle import TOKENIZER_KEY, ModelEntry
from fedkey_export.quantize import ACTIVATION_LEVELS, ACTIVATION_ZERO, Floats, quantise

CONTRIB = "com.microsoft"
"""ONNX Runtime's own operators: part of every build of it, mobile and web included."""

OPSET = 18
IR_VERSION = 10

def build_graph(entry: ModelEntry, weights: Mapping[str, Floats], tokenizer_sha256: str) -> bytes:
    """The serialised graph; equal arguments give equal bytes.

    Args:
        entry: shape and precision.
        weights: float32 arrays by Llama parameter name, as `fedkey_server.model` has them ([out, in]).
        tokenizer_sha256: goes into the metadata, so that the phone can tell a swapped tokenizer.
    """
    graph = _Graph(entry, weights)
    embedding = graph.embed()
    graph.layers(embedding)
    graph.heads()
    model = helper.make_model(
        graph.finish(),
        producer_name="fedkey",
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, {TOKENIZER_KEY: tokenizer_sha256})
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


class _Graph:
    """Nodes and initialisers in the order in which they are made. A value's name says which layer made it."""

    def __init__(self, entry: ModelEntry, weights: Mapping[str, Floats]) -> None:
        self._entry = entry
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: dict[str, onnx.TensorProto] = {}

    # ------------------------------------------------------------------------------------------------ the model

    def embed(self) -> str:
        """tokens -> [1, T, D]."""
        columns = self._gather_columns("tokens", "embedding")
        return self._node("Transpose", [columns], "embedding", perm=[1, 2, 0])

    def layers(self, x: str) -> None:
        """All layers and the final norm: "hidden_1td" [1, T, D]."""
        entry = self._entry
        self._rotary_tables()
        normed = self._node(
            "SimplifiedLayerNormalization",
            [x, self._vector("model.layers.0.input_layernorm.weight")],
            "layer_0.normed", epsilon=entry.norm_epsilon, axis=-1,
        )  # fmt: skip
        for layer in range(entry.num_layers):
            name, prefix = f"layer_{layer}", f"model.layers.{layer}"
            is_last = layer == entry.num_layers - 1
            next_norm = "model.norm.weight" if is_last else f"model.layers.{layer + 1}.input_layernorm.weight"
            attended = self._attention(normed, layer)
            normed, x = self._add_and_norm(
                attended, x, f"{prefix}.post_attention_layernorm.weight", f"{name}.after_attention"
            )
            fed = self._feed_forward(normed, layer)
            normed, x = self._add_and_norm(
                fed, x, next_norm, "hidden_1td" if is_last else f"layer_{layer + 1}"
            )

    def heads(self) -> None:
        """hidden, log_probs and scores."""
        self._node("Squeeze", ["hidden_1td.normed", self._integers("axis_0", [0])], "hidden")
        chosen = self._node("Gather", ["hidden", "rows"], "rows.hidden", axis=0)
        logits = self._product(chosen, "model.embed_tokens.weight", "rows.logits")
        self._node("LogSoftmax", [logits], "log_probs", axis=-1)
        questions = self._node("Gather", ["hidden", "score_rows"], "score.hidden", axis=0)
        answers = self._gather_columns("score_pieces", "score.embedding")
        answers = self._node("Transpose", [answers], "score.embedding_md", perm=[1, 0])
        terms = self._node("Mul", [questions, answers], "score.terms")
        self._node("ReduceSum", [terms, self._integers("axis_last", [-1])], "scores", keepdims=0)

    def _attention(self, normed: str, layer: int) -> str:
        entry, name = self._entry, f"layer_{layer}.attention"
        packed = self._product(normed, f"model.layers.{layer}.self_attn.qkv_proj.weight", f"{name}.qkv")
        inputs = [
            packed, "", "", entry.past("key", layer), entry.past("value", layer), "last_slot", "num_slots",
            "rotary.cos", "rotary.sin", "positions", "attention_bias",
        ]  # fmt: skip
        outputs = [f"{name}.out", entry.present("key", layer), entry.present("value", layer)]
        self._nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                inputs,
                outputs,
                name=name,
                domain=CONTRIB,
                num_heads=entry.num_heads,
                kv_num_heads=entry.num_key_value_heads,
                do_rotary=1,
                rotary_interleaved=0,
            )  # fmt: skip
        )
        return self._product(outputs[0], f"model.layers.{layer}.self_attn.o_proj.weight", f"{name}.o")

    def _feed_forward(self, normed: str, layer: int) -> str:
        name = f"layer_{layer}.mlp"
        packed = self._product(normed, f"model.layers.{layer}.mlp.gate_up_proj.weight", f"{name}.gate_up")
        gate, up = f"{name}.gate", f"{name}.up"
        self._nodes.append(
            helper.make_node("Split", [packed], [gate, up], name=f"{name}.split", axis=-1, num_outputs=2)
        )
        gate = self._node("QuickGelu", [gate], f"{name}.silu", domain=CONTRIB, alpha=1.0)  # x * sigmoid(x)
        hidden = self._node("Mul", [gate, up], f"{name}.hidden")
        return self._product(hidden, f"model.layers.{layer}.mlp.down_proj.weight", f"{name}.down")

    def _add_and_norm(self, update: str, x: str, scale: str, name: str) -> tuple[str, str]:
        """The normed sum and the sum itself."""
        normed, total = f"{name}.normed", f"{name}.sum"
        self._nodes.append(
            helper.make_node(
                "SkipSimplifiedLayerNormalization",
                [update, x, self._vector(scale)],
                [normed, "", "", total],
                name=f"{name}.norm",
                domain=CONTRIB,
                epsilon=self._entry.norm_epsilon,
            )  # fmt: skip
        )
        return normed, total

    # ---------------------------------------------------------------------------------------------- its weights

    def _product(self, x: str, parameter: str, name: str) -> str:
        """x times a weight, by the precision of the bundle."""
        if self._entry.precision == "float32":
            return self._node("MatMul", [x, self._matrix(parameter)], name)
        weight, scale = self._matrix(parameter), f"{parameter}.scale"
        zero = self._scalar("activation_zero", np.uint8(ACTIVATION_ZERO))
        step = self._scalar("activation_step", np.float32(1 / ACTIVATION_LEVELS))
        # The largest magnitude of each position becomes 127. A position of zeros divides 0 by 0, and whatever
        # integers come of it are multiplied by its largest magnitude, 0.
        magnitudes = self._node("Abs", [x], f"{name}.magnitudes")
        largest = self._node(
            "ReduceMax", [magnitudes, self._integers("axis_last", [-1])], f"{name}.largest", keepdims=1
        )
        relative = self._node("Div", [x, largest], f"{name}.relative")
        quantised = self._node("QuantizeLinear", [relative, step, zero], f"{name}.quantised")
        multiplied = self._node(
            "MatMulIntegerToFloat", [quantised, weight, step, scale, zero], f"{name}.multiplied", domain=CONTRIB
        )
        return self._node("Mul", [multiplied, largest], name)

    def _gather_columns(self, indices: str, name: str) -> str:
        """Columns of the tied matrix [D, V] as float32: [D, *indices]."""
        tied = "model.embed_tokens.weight"
        columns = self._node("Gather", [self._matrix(tied), indices], f"{name}.columns", axis=1)
        if self._entry.precision == "float32":
            return columns
        values = self._node("Cast", [columns], f"{name}.values", to=TensorProto.FLOAT)
        scales = self._node("Gather", [f"{tied}.scale", indices], f"{name}.scales", axis=0)
        return self._node("Mul", [values, scales], f"{name}.dequantised")

    def _matrix(self, parameter: str) -> str:
        """Adds a (packed) weight [in, out] on first use; returns its name, which says how it is stored."""
        name = f"{parameter}.{'int8' if self._entry.precision == 'int8' else 'float'}"
        if name not in self._initialisers:
            weight_io = np.ascontiguousarray(
                np.concatenate([self._weights[part] for part in packed_parts(parameter)]).T
            )
            if self._entry.precision == "int8":
                values, scale = quantise(weight_io)
                self._add(name, values)
                self._add(f"{parameter}.scale", scale)
            else:
                self._add(name, weight_io)
        return name

    def _vector(self, parameter: str) -> str:
        return self._add(parameter, self._weights[parameter])

    def _rotary_tables(self) -> None:
        """cos and sin [slots, K / 2], computed in double precision."""
        entry = self._entry
        frequencies = entry.rope_base ** (-np.arange(0, entry.head_size, 2) / entry.head_size)
        angles = np.outer(np.arange(entry.cache_slots), frequencies)
        self._add("rotary.cos", np.cos(angles).astype(np.float32))
        self._add("rotary.sin", np.sin(angles).astype(np.float32))

    # --------------------------------------------------------------------------------------------- its plumbing

    def _node(
        self, operator: str, inputs: Sequence[str], output: str, *, domain: str = "", **attributes: object
    ) -> str:
        self._nodes.append(
            helper.make_node(
                operator, inputs, [output], name=f"{output}/{operator}", domain=domain, **attributes
            )
        )
        return output

    def _add(self, name: str, array: npt.NDArray[np.generic]) -> str:
        if name not in self._initialisers:
            self._initialisers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def _scalar(self, name: str, value: np.generic) -> str:
        return self._add(f"constant.{name}", np.array(value))

    def _integers(self, name: str, values: Sequence[int]) -> str:
        return self._add(f"constant.{name}", np.array(values, dtype=np.int64))

    def finish(self) -> onnx.GraphProto:
        entry = self._entry
        whole, single, floats = TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT
        cache = [1, entry.num_key_value_heads, entry.cache_slots, entry.head_size]
        describe = helper.make_tensor_value_info
        inputs = [
            describe("tokens", whole, [1, "T"]),
            describe("positions", whole, [1, "T"]),
            describe("attention_bias", floats, [1, 1, "T", "S"]),
            describe("last_slot", single, [1]),
            describe("num_slots", single, [1]),
            describe("rows", whole, ["R"]),
            describe("score_rows", whole, ["M"]),
            describe("score_pieces", whole, ["M"]),
        ]
        outputs = [
            describe("hidden", floats, ["T", entry.width]),
            describe("log_probs", floats, ["R", entry.vocab_size]),
            describe("scores", floats, ["M"]),
        ]
        for layer in range(entry.num_layers):
            for kind in ("key", "value"):
                inputs.append(describe(entry.past(kind, layer), floats, cache))
                outputs.append(describe(entry.present(kind, layer), floats, cache))
        return helper.make_graph(self._nodes, "fedkey", inputs, outputs, list(self._initialisers.values()))


def packed_parts(parameter: str) -> list[str]:
    """The Llama parameters that a weight of the graph consists of, in order along its output axis."""
    packed = {
        "self_attn.qkv_proj": ("q_proj", "k_proj", "v_proj"),
        "mlp.gate_up_proj": ("gate_proj", "up_proj"),
    }
    for name, parts in packed.items():
        if name in parameter:
            group, last = name.split(".")
            return [parameter.replace(f"{group}.{last}", f"{group}.{part}") for part in parts]
    return [parameter]
