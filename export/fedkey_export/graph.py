"""The model as one ONNX graph, built node by node.

In: Llama-named weights. Out: a serialised graph with a cache. Next stop: `fedkey_export.package`;
`fedkey.model` runs the graph, `fedkey_server.bundle_weights` reads its weights back.

Built by hand a layer has 10 nodes (30 in int8) where tracing gives 68: normalisation with its residual,
attention with rotary positions and cache, and SiLU are one node each, and the cache is updated in place. The
head is the embedding: stored once as [width, vocabulary], multiplied with as it lies, gathered by columns.

Inputs. T positions are run, S cache slots are valid afterwards, R rows and M questions are asked (or none).
    tokens, positions                  int64 [1, T]
    attention_bias                     float32 [1, 1, T, S], added on top of the causal mask
    last_slot                          int32 [1], S - 1
    num_slots                          int32 [1], S
    past_key_LAYER, past_value_LAYER   float32 [1, G, key slots, K]
    rows                               int64 [R], positions whose distribution is wanted
    score_rows, score_pieces           int64 [M], pairs of a position and a piece whose logit is wanted
Outputs.
    hidden                             float32 [T, D], after the final norm
    log_probs                          float32 [R, V], log softmax
    scores                             float32 [M], logits less the usual log Z: nearly log probabilities
    present_key_LAYER, present_value_LAYER   to be bound to the buffers of the past

Sliding attention is the same graph: the bias hides what is too far away. Linear attention has other inputs in
place of the bias, the slots and the keys and values, and 25 nodes in place of one.
    visible                            float32 [T, T], 1 where a position of the run sees another, else 0
    kept                               float32 [1, T], 1 for the first positions, which the state is to hold
    past_state_LAYER                   float32 [G, 1, K, K + 1]; present_state_LAYER, not in the same buffer

Letters as in `fedkey_server.model`: D width, V vocabulary, G key/value heads, K head size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from fedkey.bundle import TOKENIZER_KEY, ModelEntry
from fedkey_export.quantize import ACTIVATION_LEVELS, ACTIVATION_ZERO, Floats, quantise
from fedkey_server.bundle_weights import PACKED

CONTRIB = "com.microsoft"
"""ONNX Runtime's own operators, part of its builds for servers, phones and browsers alike."""

OPSET = 18
IR_VERSION = 10

EMBEDDING = "model.embed_tokens.weight"


def build_graph(
    entry: ModelEntry,
    weights: Mapping[str, Floats],
    log_normaliser: float,
    tokenizer_sha256: str,
    horizons: Sequence[float] = (),
) -> bytes:
    """The serialised graph; equal arguments give equal bytes.

    Args:
        entry: shape and precision.
        weights: float32 arrays [out, in] by Llama parameter name, as `fedkey_server.model` has them.
        log_normaliser: what `scores` takes off the logits, see `fedkey_export.normaliser`.
        tokenizer_sha256: goes into the metadata, so that the phone can tell a swapped tokenizer.
        horizons: of linear attention, `ModelConfig.horizons`.
    """
    graph = _Graph(entry, weights, log_normaliser, horizons)
    graph.add_model()
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

    def __init__(
        self,
        entry: ModelEntry,
        weights: Mapping[str, Floats],
        log_normaliser: float,
        horizons: Sequence[float],
    ) -> None:
        self._entry = entry
        self._is_linear = entry.attention == "linear"
        self._horizons = horizons
        self._weights = weights
        self._log_normaliser = log_normaliser
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: dict[str, onnx.TensorProto] = {}

    # ------------------------------------------------------------------------------------------- the model

    def add_model(self) -> None:
        """Everything between the inputs and the outputs."""
        entry = self._entry
        if self._is_linear:
            self._add_fading()
        else:
            self._add_rotary_tables()
        x = self._node("Transpose", [self._embedding_of("tokens", "embedding")], "embedding", perm=[1, 2, 0])
        normed = self._node(
            "SimplifiedLayerNormalization",
            [x, self._vector("model.layers.0.input_layernorm.weight")],
            "embedding.normed",
            epsilon=entry.norm_epsilon,
        )
        for layer in range(entry.num_layers):
            prefix, is_last = f"model.layers.{layer}", layer == entry.num_layers - 1
            next_norm = "model.norm.weight" if is_last else f"model.layers.{layer + 1}.input_layernorm.weight"
            attended = self._attention(normed, layer)
            normed, x = self._add_and_norm(attended, x, f"{prefix}.post_attention_layernorm.weight")
            fed = self._feed_forward(normed, layer)
            normed, x = self._add_and_norm(fed, x, next_norm)
        self._node("Squeeze", [normed, self._integers("first_axis", [0])], "hidden")
        self._add_log_probs()
        self._add_scores()

    def _attention(self, normed: str, layer: int) -> str:
        entry, prefix = self._entry, f"model.layers.{layer}.self_attn"
        packed = self._product(normed, f"{prefix}.qkv_proj.weight", f"layer_{layer}.qkv")
        if self._is_linear:
            mixed = self._linear_mix(packed, layer)
            return self._product(mixed, f"{prefix}.o_proj.weight", f"layer_{layer}.attended")
        cache = [entry.past("key", layer), entry.past("value", layer)]
        mixed, *_ = self._outputs(
            "GroupQueryAttention",
            [packed, "", "", *cache, "last_slot", "num_slots", "cos", "sin", "positions", "attention_bias"],
            [f"layer_{layer}.attention", entry.present("key", layer), entry.present("value", layer)],
            domain=CONTRIB,
            num_heads=entry.num_heads,
            kv_num_heads=entry.num_key_value_heads,
            do_rotary=1,
        )
        return self._product(mixed, f"{prefix}.o_proj.weight", f"layer_{layer}.attended")

    def _add_fading(self) -> None:
        """How much of it counts, for all layers, by head and distance: of a position of this run for another
        [G, 1, T, T], of the state for a position [G, 1, T, 1]; and for the state to come: of each position
        [G, 1, 1, T], and of the state so far [G, 1, 1, 1]."""
        rates = np.array([-1 / horizon for horizon in self._horizons], dtype=np.float32)
        rate = self._add("rates", rates.reshape(-1, 1, 1, 1))
        place = self._node("Cast", ["positions"], "place", to=TensorProto.FLOAT)
        start = self._node("Slice", [place, *(self._integers(f"at_{n}", [n]) for n in (0, 1, 1))], "start")
        # The first position of a run stands one behind the state.
        ahead = self._node("Sub", [place, start], "ahead")
        column = self._node("Transpose", [ahead], "ahead.column", perm=[1, 0])
        distance = self._node("Relu", [self._node("Sub", [column, ahead], "ahead.difference")], "distance")
        fading = self._node("Exp", [self._node("Mul", [distance, rate], "distance.faded")], "fading")
        self._node("Mul", [fading, "visible"], "weights")
        one = self._add("one", np.ones(1, dtype=np.float32))
        elapsed = self._node("Add", [column, one], "elapsed")
        self._node("Exp", [self._node("Mul", [elapsed, rate], "elapsed.faded")], "state.weights")
        through = self._node("Mul", [self._node("Add", [ahead, one], "reached"), "kept"], "through")
        length = self._node("ReduceMax", [through, self._integers("last_axis", [-1])], "length", keepdims=1)
        self._node("Exp", [self._node("Mul", [length, rate], "length.faded")], "state.fading")
        left = self._node("Relu", [self._node("Sub", [length, "reached"], "left.signed")], "left")
        lasting = self._node("Exp", [self._node("Mul", [left, rate], "left.faded")], "lasting")
        self._node("Mul", [lasting, "kept"], "key.weights")

    def _linear_mix(self, packed: str, layer: int) -> str:
        """The heads' values [1, T, D], mixed by linear attention; `fedkey_kernels.linear_attention` as one
        chunk, in which a tree sees as `visible` says."""
        entry, name = self._entry, f"layer_{layer}.linear"
        num_heads, num_groups, head_size = entry.num_heads, entry.num_key_value_heads, entry.head_size

        def reshaped(x: str, kind: str, shape: Sequence[int]) -> str:
            return self._node("Reshape", [x, self._integers(f"{kind}.shape", shape)], f"{name}.{kind}")

        rows = reshaped(packed, "rows", [1, -1, num_heads + 2 * num_groups, head_size])
        heads = self._node("Transpose", [rows], f"{name}.heads", perm=[0, 2, 1, 3])
        cut = self._integers("heads.cut", [num_heads + num_groups, num_groups])
        raw, values = self._outputs("Split", [heads, cut], [f"{name}.raw", f"{name}.values"], axis=1)
        features = self._node("Elu", [raw], f"{name}.elu")
        features = self._node("Add", [features, "one"], f"{name}.features")
        cut = self._integers("features.cut", [num_heads, num_groups])
        queries, keys = self._outputs("Split", [features, cut], [f"{name}.queries", f"{name}.keys"], axis=1)
        queries = reshaped(queries, "grouped", [num_groups, num_heads // num_groups, -1, head_size])
        keys = self._node("Transpose", [keys], f"{name}.keys.turned", perm=[1, 0, 3, 2])
        values = reshaped(values, "single", [num_groups, 1, -1, head_size])
        # A last column of ones sums up the weights.
        ones = [self._integers("pads", [0] * 7 + [1]), self._scalar("pad", np.float32(1))]
        values = self._node("Pad", [values, *ones], f"{name}.values.and_one")
        scores = self._node("MatMul", [queries, keys], f"{name}.scores")
        scores = self._node("Mul", [scores, "weights"], f"{name}.scores.weighed")
        near = self._node("MatMul", [scores, values], f"{name}.near")
        past = entry.past("state", layer)
        before = self._node("MatMul", [queries, past], f"{name}.before")
        before = self._node("Mul", [before, "state.weights"], f"{name}.before.weighed")
        sums = self._node("Add", [near, before], f"{name}.sums")
        cut = self._integers("sums.cut", [head_size, 1])
        above, below = self._outputs("Split", [sums, cut], [f"{name}.above", f"{name}.below"], axis=-1)
        mixed = self._node("Div", [above, below], f"{name}.mixed")
        mixed = reshaped(mixed, "ungrouped", [1, num_heads, -1, head_size])
        mixed = self._node("Transpose", [mixed], f"{name}.mixed.turned", perm=[0, 2, 1, 3])
        kept = self._node("Mul", [keys, "key.weights"], f"{name}.keys.kept")
        fresh = self._node("MatMul", [kept, values], f"{name}.fresh")
        older = self._node("Mul", [past, "state.fading"], f"{name}.older")
        self._node("Add", [older, fresh], entry.present("state", layer))
        return reshaped(mixed, "out", [1, -1, entry.width])

    def _feed_forward(self, normed: str, layer: int) -> str:
        prefix, name = f"model.layers.{layer}.mlp", f"layer_{layer}.mlp"
        packed = self._product(normed, f"{prefix}.gate_up_proj.weight", f"{name}.gate_up")
        gate, up = self._outputs("Split", [packed], [f"{name}.gate", f"{name}.up"], axis=-1, num_outputs=2)
        # With alpha = 1 this is x * sigmoid(x), SiLU.
        gate = self._node("QuickGelu", [gate], f"{name}.silu", domain=CONTRIB, alpha=1.0)
        hidden = self._node("Mul", [gate, up], f"{name}.hidden")
        return self._product(hidden, f"{prefix}.down_proj.weight", f"layer_{layer}.fed")

    def _add_and_norm(self, update: str, x: str, scale: str) -> tuple[str, str]:
        """The normed sum, and the sum."""
        normed, _, _, total = self._outputs(
            "SkipSimplifiedLayerNormalization",
            [update, x, self._vector(scale)],
            [f"{update}.normed", "", "", f"{update}.sum"],
            domain=CONTRIB,
            epsilon=self._entry.norm_epsilon,
        )
        return normed, total

    def _add_log_probs(self) -> None:
        chosen = self._node("Gather", ["hidden", "rows"], "rows.hidden", axis=0)
        self._node("LogSoftmax", [self._product(chosen, EMBEDDING, "rows.logits")], "log_probs", axis=-1)

    def _add_scores(self) -> None:
        hidden = self._node("Gather", ["hidden", "score_rows"], "score.hidden", axis=0)
        columns = self._embedding_of("score_pieces", "score.embedding")
        embedding = self._node("Transpose", [columns], "score.embedding", perm=[1, 0])
        terms = self._node("Mul", [hidden, embedding], "score.terms")
        logits = self._node(
            "ReduceSum", [terms, self._integers("last_axis", [-1])], "score.logits", keepdims=0
        )
        self._node(
            "Sub", [logits, self._scalar("log_normaliser", np.float32(self._log_normaliser))], "scores"
        )

    # ----------------------------------------------------------------------------------------- its weights

    def _product(self, x: str, parameter: str, name: str) -> str:
        """x times a weight, in the precision of the bundle."""
        weight = self._matrix(parameter)
        if self._entry.precision == "float32":
            return self._node("MatMul", [x, weight], name)
        zero = self._scalar("activation_zero", np.uint8(ACTIVATION_ZERO))
        step = self._scalar("activation_step", np.float32(1 / ACTIVATION_LEVELS))
        # Each position is divided by its largest magnitude before, and multiplied by it after. A position of
        # zeros divides 0 by 0, and whatever integers come of it are multiplied by 0.
        magnitudes = self._node("Abs", [x], f"{name}.magnitudes")
        largest = self._node(
            "ReduceMax", [magnitudes, self._integers("last_axis", [-1])], f"{name}.largest", keepdims=1
        )
        relative = self._node("Div", [x, largest], f"{name}.relative")
        quantised = self._node("QuantizeLinear", [relative, step, zero], f"{name}.quantised")
        product = self._node(
            "MatMulIntegerToFloat",
            [quantised, weight, step, f"{parameter}.scale", zero],
            f"{name}.product",
            domain=CONTRIB,
        )
        return self._node("Mul", [product, largest], name)

    def _embedding_of(self, indices: str, name: str) -> str:
        """Columns of the tied matrix as float32 [D, *indices]."""
        columns = self._node("Gather", [self._matrix(EMBEDDING), indices], f"{name}.columns", axis=1)
        if self._entry.precision == "float32":
            return columns
        values = self._node("Cast", [columns], f"{name}.values", to=TensorProto.FLOAT)
        scales = self._node("Gather", [f"{EMBEDDING}.scale", indices], f"{name}.scales", axis=0)
        return self._node("Mul", [values, scales], f"{name}.scaled")

    def _matrix(self, parameter: str) -> str:
        """Adds a weight [in, out] when it is first used; its name says how it is stored."""
        name = f"{parameter}.{'int8' if self._entry.precision == 'int8' else 'float'}"
        if name not in self._initialisers:
            weight_io = np.concatenate([self._weights[part] for part in _parts(parameter)]).T
            if self._entry.precision == "int8":
                values, scale = quantise(weight_io)
                self._add(name, values)
                self._add(f"{parameter}.scale", scale)
            else:
                self._add(name, weight_io)
        return name

    def _vector(self, parameter: str) -> str:
        return self._add(parameter, self._weights[parameter])

    def _add_rotary_tables(self) -> None:
        """cos and sin [cache slots, K / 2]."""
        entry = self._entry
        frequencies = entry.rope_base ** (-np.arange(0, entry.head_size, 2) / entry.head_size)
        angles = np.outer(np.arange(entry.cache_slots), frequencies)
        self._add("cos", np.cos(angles).astype(np.float32))
        self._add("sin", np.sin(angles).astype(np.float32))

    # ---------------------------------------------------------------------------------------- its plumbing

    def _node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        return self._outputs(operator, inputs, [output], **attributes)[0]

    def _outputs(
        self, operator: str, inputs: Sequence[str], outputs: list[str], **attributes: Any
    ) -> list[str]:
        """Adds one node, named after its first output."""
        self._nodes.append(helper.make_node(operator, inputs, outputs, name=outputs[0], **attributes))
        return outputs

    def _add(self, name: str, array: npt.NDArray[Any]) -> str:
        if name not in self._initialisers:
            self._initialisers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def _scalar(self, name: str, value: np.generic) -> str:
        # `_add` would make it an array of one dimension.
        self._initialisers[name] = numpy_helper.from_array(np.array(value), name)
        return name

    def _integers(self, name: str, values: Sequence[int]) -> str:
        return self._add(name, np.array(values, dtype=np.int64))

    def finish(self) -> onnx.GraphProto:
        """The graph with its inputs and outputs declared."""
        entry, describe = self._entry, helper.make_tensor_value_info
        int64, int32, float32 = TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT
        inputs = [
            describe("tokens", int64, [1, "T"]),
            describe("positions", int64, [1, "T"]),
            *(
                (describe("visible", float32, ["T", "T"]), describe("kept", float32, [1, "T"]))
                if self._is_linear
                else (
                    describe("attention_bias", float32, [1, 1, "T", "S"]),
                    describe("last_slot", int32, [1]),
                    describe("num_slots", int32, [1]),
                )
            ),
            describe("rows", int64, ["R"]),
            describe("score_rows", int64, ["M"]),
            describe("score_pieces", int64, ["M"]),
        ]
        outputs = [
            describe("hidden", float32, ["T", entry.width]),
            describe("log_probs", float32, ["R", entry.vocab_size]),
            describe("scores", float32, ["M"]),
        ]
        for layer in range(entry.num_layers):
            for kind, shape in entry.cache_shapes().items():
                inputs.append(describe(entry.past(kind, layer), float32, shape))
                outputs.append(describe(entry.present(kind, layer), float32, shape))
        return helper.make_graph(self._nodes, "fedkey", inputs, outputs, list(self._initialisers.values()))


def _parts(parameter: str) -> list[str]:
    """The Llama parameters that a weight of the graph consists of, in order along its output axis."""
    for packed, parts in PACKED.items():
        if f".{packed}." in parameter:
            return [parameter.replace(packed, part) for part in parts]
    return [parameter]
