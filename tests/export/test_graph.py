"""The graph against torch, for shapes that the presets do not have."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey.bundle import TOKENIZER, TOKENIZER_KEY, Bundle, ModelEntry
from fedkey.model import LanguageModel
from fedkey_export.graph import build_graph
from fedkey_export.rounding import round_activations, rounded_twin
from fedkey_server.bundle_weights import read_weights
from fedkey_server.model import Model, ModelConfig

SHAPES = {
    "groups": ModelConfig(
        vocab_size=50, width=64, num_layers=2, num_heads=4, num_key_value_heads=2, hidden_width=40, window=32
    ),
    "one head": ModelConfig(
        vocab_size=33, width=16, num_layers=1, num_heads=1, num_key_value_heads=1, hidden_width=24, window=20
    ),
    "no groups": ModelConfig(
        vocab_size=64, width=48, num_layers=3, num_heads=3, num_key_value_heads=3, hidden_width=50, window=40
    ),
    "wide heads": ModelConfig(
        vocab_size=41, width=192, num_layers=1, num_heads=2, num_key_value_heads=1, hidden_width=64,
        window=24, rope_base=500.0, norm_epsilon=1e-3,
    ),
}  # fmt: skip
SHAPES |= {
    "sliding": replace(SHAPES["no groups"], attention="sliding", span=7),
    "linear": replace(SHAPES["groups"], attention="linear"),
    "linear, one head": replace(SHAPES["one head"], attention="linear"),
}
DIGEST = "0" * 64
LOG_NORMALISER = 2.5


def lively(config: ModelConfig, seed: int = 0) -> Model:
    """A model whose every weight matters: norms differ from one, and attention is far from uniform."""
    model, generator = Model(config, seed=seed), torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
            elif "embed" not in name:
                parameter.mul_(6.0)
    return model


def entry_of(config: ModelConfig, precision: str) -> ModelEntry:
    return ModelEntry(
        precision=precision, vocab_size=config.vocab_size, width=config.width, num_layers=config.num_layers,
        num_heads=config.num_heads, num_key_value_heads=config.num_key_value_heads,
        head_size=config.head_size, hidden_width=config.hidden_width, window=config.window,
        cache_slots=config.window + 16,
        rope_base=config.rope_base, norm_epsilon=config.norm_epsilon, attention=config.attention,
        span=config.span,
    )  # fmt: skip


def build(model: Model, precision: str) -> bytes:
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    entry = entry_of(model.config, precision)
    return build_graph(entry, weights, LOG_NORMALISER, DIGEST, model.config.horizons)


def phone(model: Model, precision: str, graph: bytes | None = None) -> LanguageModel:
    """The graph as the phone runs it, without the files around it."""
    content = graph or build(model, precision)
    manifest = SimpleNamespace(
        model=entry_of(model.config, precision), files={TOKENIZER: SimpleNamespace(sha256=DIGEST)}
    )
    return LanguageModel(cast(Bundle, SimpleNamespace(manifest=manifest, model_bytes=lambda: content)))


@torch.no_grad()
def torch_hidden(model: Model, ids: list[int]) -> torch.Tensor:
    tokens = torch.tensor([ids])
    return cast(torch.Tensor, model(tokens, torch.arange(len(ids))[None], torch.zeros_like(tokens))[0])


def torch_log_probs(model: Model, ids: list[int]) -> np.ndarray:
    logits = model.logits(torch_hidden(model, ids))
    return cast(np.ndarray, logits.log_softmax(-1).detach().numpy())


def some_ids(config: ModelConfig, seed: int = 0) -> list[int]:
    return cast(list[int], np.random.default_rng(seed).integers(0, config.vocab_size, config.window).tolist())


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_is_torch(shape: str) -> None:
    model = lively(SHAPES[shape])
    ids = some_ids(model.config)
    running = phone(model, "float32")
    found = running.advance_each(running.new_cache(), ids)
    np.testing.assert_allclose(found, torch_log_probs(model, ids), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_reads_on_as_torch_does(shape: str) -> None:
    model = lively(SHAPES[shape], seed=2)
    ids, running = some_ids(model.config, 1), phone(model, "float32")
    cache, expected = running.new_cache(), torch_log_probs(model, ids)
    for at in range(0, len(ids), 3):
        np.testing.assert_allclose(
            running.advance_each(cache, ids[at : at + 3]), expected[at : at + 3], atol=1e-4
        )


@pytest.mark.parametrize("shape", ["sliding", "linear"])
@given(
    steps=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 40), st.booleans()), min_size=1, max_size=6)
)
@settings(max_examples=20)
def test_in_any_order_of_reading_going_back_and_scoring_it_is_torch(
    shape: str, steps: list[tuple[int, int, bool]]
) -> None:
    """Of full attention `tests/keyboard/test_model.py` says it. Here keys make room, and sums are found
    again."""
    _, running, ids, log_probs, logits = _read_by_torch(shape)
    cache = running.new_cache()
    for back, forth, asks in steps:
        length = max(0, len(cache.ids) - back)
        running.rewind(cache, length)
        if asks and 0 < length < len(ids) - 1:  # straight after going back
            chain = np.arange(min(5, len(ids) - 1 - length))
            ahead = np.array(ids[length:])
            scores = running.score_tree(cache, ahead[chain], chain - 1, chain, ahead[chain + 1])
            expected = logits[length + chain, ahead[chain + 1]] - LOG_NORMALISER
            np.testing.assert_allclose(scores, expected, atol=1e-4)
        portion = ids[length : length + forth]
        if portion:
            last = running.advance(cache, portion)
            np.testing.assert_allclose(last, log_probs[length + len(portion) - 1], atol=1e-4)
    assert cache.ids == ids[: len(cache.ids)]


@functools.cache
def _read_by_torch(shape: str) -> tuple[Model, LanguageModel, list[int], np.ndarray, np.ndarray]:
    """A model of a window of 100, on the phone and off it, and what it says of so many ids."""
    model = lively(replace(SHAPES[shape], window=100), seed=3)
    ids = some_ids(model.config, 4)
    logits = model.logits(torch_hidden(model, ids)).detach().numpy()
    return model, phone(model, "float32"), ids, torch_log_probs(model, ids), logits


@pytest.mark.parametrize("shape", ["sliding", "linear"])
def test_branches_of_a_tree_do_not_see_each_other(shape: str) -> None:
    model, running, ids, _, _ = _read_by_torch(shape)
    rng, cache = np.random.default_rng(5), running.new_cache()
    running.advance(cache, ids[:70])
    pieces, asked = rng.integers(0, model.config.vocab_size, size=(2, 14))
    parents = np.array([rng.integers(-1, node) if node else -1 for node in range(14)])
    before = running.advance(cache, ids[70:71])
    scores = running.score_tree(cache, pieces, parents, np.arange(14), asked)
    for node in range(14):
        path = [node]
        while parents[path[0]] >= 0:
            path.insert(0, int(parents[path[0]]))
        logits = model.logits(torch_hidden(model, [*ids[:71], *pieces[path].tolist()])[-1]).detach()
        assert scores[node] == pytest.approx(float(logits[asked[node]]) - LOG_NORMALISER, abs=1e-4)
    running.rewind(cache, 70)
    np.testing.assert_allclose(running.advance(cache, ids[70:71]), before, atol=1e-5)


@pytest.mark.parametrize("shape", ["groups", "sliding", "linear"])
def test_a_copy_goes_on_alone(shape: str) -> None:
    _, running, ids, _, _ = _read_by_torch(shape)
    cache, copy, later = (running.new_cache() for _ in range(3))
    running.advance(cache, ids[:70])
    running.advance(copy, ids[20:70])  # whatever it held before
    copy.copy_from(cache)
    other = running.advance(copy, ids[10:14])
    expected = running.advance(later, [*ids[:70], *ids[10:14]])
    np.testing.assert_allclose(other, expected, atol=1e-5)
    running.rewind(later, 70)
    expected = running.advance(later, ids[70:75])
    np.testing.assert_allclose(running.advance(cache, ids[70:75]), expected, atol=1e-5)


def test_what_is_remembered_does_not_grow_with_the_window() -> None:
    """Full attention's cache does; sliding attention's ends at twice its span and a tree."""

    def num_bytes(shape: str, window: int) -> int:
        running = phone(Model(replace(SHAPES[shape], window=window)), "float32")
        cache = running.new_cache()
        running.advance(cache, [5] * window)
        return cache.num_bytes

    assert num_bytes("groups", 64) > num_bytes("groups", 32)
    slots, width, kinds, layers = 2 * 7 + 16, 48, 2, 3
    assert num_bytes("sliding", 60) == num_bytes("sliding", 40) == slots * width * kinds * layers * 4
    assert num_bytes("linear", 60) == num_bytes("linear", 32)


@pytest.mark.parametrize("shape", SHAPES)
def test_int8_is_torch_with_weights_and_activations_rounded(shape: str) -> None:
    """Rounding costs the more the wider the model is, so how far int8 is from float32 depends on the shape;
    how far it is from the same rounding done in torch does not."""
    model = lively(SHAPES[shape])
    ids, running = some_ids(model.config), phone(model, "int8")
    found = running.advance_each(running.new_cache(), ids)
    twin = rounded_twin(model)
    expected = twin.logits(round_activations(torch_hidden(twin, ids))).log_softmax(-1).detach().numpy()
    difference = np.abs(found - expected)
    # Where a value lies on the edge between two steps, either is right, and what follows moves with it.
    assert difference.mean() < 1e-3
    assert np.median(difference) < 1e-5
    assert 1e-3 < np.abs(found - torch_log_probs(model, ids)).mean() < 0.2


@pytest.mark.parametrize("shape", SHAPES)
def test_the_weights_that_come_back_from_int8_are_the_twins(shape: str) -> None:
    model = lively(SHAPES[shape])
    twin, stored = rounded_twin(model).state_dict(), read_weights(build(model, "int8"), model.config)
    for name, tensor in twin.items():
        np.testing.assert_array_equal(stored[name], tensor.numpy())


def test_hidden_states_come_out() -> None:
    model = lively(SHAPES["groups"])
    entry, ids = entry_of(model.config, "float32"), some_ids(model.config)
    session = onnxruntime.InferenceSession(build(model, "float32"), providers=["CPUExecutionProvider"])
    count = len(ids)
    cache = np.zeros((1, entry.num_key_value_heads, entry.cache_slots, entry.head_size), dtype=np.float32)
    feeds: dict[str, Any] = {
        "tokens": np.array([ids]), "positions": np.arange(count)[None],
        "attention_bias": np.zeros((1, 1, count, count), dtype=np.float32),
        "last_slot": np.array([count - 1], dtype=np.int32), "num_slots": np.array([count], dtype=np.int32),
        "rows": np.zeros(0, dtype=np.int64), "score_rows": np.zeros(0, dtype=np.int64),
        "score_pieces": np.zeros(0, dtype=np.int64),
        **{entry.past(kind, layer): cache for kind in ("key", "value") for layer in range(entry.num_layers)},
    }  # fmt: skip
    (hidden,) = session.run(["hidden"], feeds)
    np.testing.assert_allclose(hidden, torch_hidden(model, ids).numpy(), atol=1e-4)


def test_positions_of_zeros_stay_numbers() -> None:
    model = Model(SHAPES["groups"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    running = phone(model, "int8")
    log_probs = running.advance_each(running.new_cache(), [1, 2, 3])
    np.testing.assert_allclose(log_probs, -np.log(model.config.vocab_size), atol=1e-6)


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_equal_weights_give_equal_bytes(precision: str) -> None:
    assert build(lively(SHAPES["groups"]), precision) == build(lively(SHAPES["groups"]), precision)
    assert build(lively(SHAPES["groups"]), precision) != build(lively(SHAPES["groups"], seed=1), precision)


def test_the_embedding_is_stored_once_and_is_most_of_the_file() -> None:
    config = replace(SHAPES["groups"], vocab_size=4000)
    graph = onnx.load_from_string(build(Model(config), "int8"))
    matrices = [each for each in graph.graph.initializer if 4000 in each.dims and len(each.dims) == 2]
    assert [each.name for each in matrices] == ["model.embed_tokens.weight.int8"]
    num_weights = sum(parameter.numel() for parameter in Model(config).parameters())
    assert len(graph.SerializeToString()) < 1.25 * num_weights


@pytest.fixture
def runtime_operators() -> Iterator[None]:
    """ONNX's checker with the one operator that ONNX Runtime adds to the standard's own domain."""
    operator = "SimplifiedLayerNormalization"
    formal = onnx.defs.OpSchema.FormalParameter
    schema = onnx.defs.OpSchema(
        operator, "", 1, inputs=[formal("X", "T"), formal("scale", "T")], outputs=[formal("Y", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=[onnx.defs.OpSchema.Attribute("epsilon", onnx.defs.OpSchema.AttrType.FLOAT, "")],
    )  # fmt: skip
    onnx.defs.register_schema(schema)
    yield
    onnx.defs.deregister_schema(operator, 1, "")


@pytest.mark.usefixtures("runtime_operators")
@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("shape", ["groups", "linear"])
def test_the_graph_is_valid_onnx_and_names_its_tokenizer(shape: str, precision: str) -> None:
    graph = onnx.load_from_string(build(lively(SHAPES[shape]), precision))
    onnx.checker.check_model(graph)
    assert {each.key: each.value for each in graph.metadata_props} == {TOKENIZER_KEY: DIGEST}
    names = [node.name for node in graph.graph.node]
    assert len(names) == len(set(names))
    made = {name for node in graph.graph.node for name in node.output}
    read = {name for node in graph.graph.node for name in node.input}
    assert {each.name for each in graph.graph.initializer} <= read, "a weight that nothing reads"
    assert {each.name for each in graph.graph.output} <= made


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_can_be_read_back(shape: str) -> None:
    model = lively(SHAPES[shape])
    exact = read_weights(build(model, "float32"), model.config)
    rounded = read_weights(build(model, "int8"), entry_of(model.config, "int8"))
    assert set(exact) == set(rounded) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(exact[name], tensor.numpy())
        assert rounded[name].dtype == np.float32
        assert rounded[name].flags.c_contiguous
        if tensor.dim() == 1:
            np.testing.assert_array_equal(rounded[name], tensor.numpy())
        else:
            step = np.abs(tensor.numpy()).max(axis=1, keepdims=True) / 64
            assert (np.abs(rounded[name] - tensor.numpy()) <= step * 0.501).all()
