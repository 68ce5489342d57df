"""A bundle as a starting point: the weights that come back are those that went in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fedkey.bundle import MODEL, open_bundle
from fedkey.errors import UserError
from fedkey_export.package import export
from fedkey_export.quantize import WEIGHT_LEVELS
from fedkey_server import checkpoint
from fedkey_server.bundle_weights import expected_shapes, read_weights
from fedkey_server.model import Model


def test_float32_comes_back_exactly(tiny_run: Path, tmp_path: Path) -> None:
    before = checkpoint.load(tiny_run)
    after = checkpoint.load(export(tiny_run, tmp_path / "bundle", precision="float32").path)
    assert after.kind == "bundle"
    assert after.model_config == before.model_config
    assert after.weights.keys() == before.weights.keys()
    for name, tensor in before.weights.items():
        assert after.weights[name].equal(tensor)


def test_int8_comes_back_within_half_a_step_and_makes_a_model(tiny_bundle: Path, tiny_run: Path) -> None:
    before, after = checkpoint.load(tiny_run), checkpoint.load(tiny_bundle)
    assert after.model_config == before.model_config
    for name, tensor in before.weights.items():
        found = after.weights[name]
        if tensor.dim() == 1:
            assert found.equal(tensor)
        else:
            step = tensor.abs().amax(dim=1, keepdim=True) / WEIGHT_LEVELS
            assert bool(((found - tensor).abs() <= 0.501 * step).all())
    after.model()


def test_what_is_exported_again_is_the_same_bundle(tiny_bundle: Path, tiny_run: Path, tmp_path: Path) -> None:
    """Rounding what was rounded changes nothing, so a bundle that was a start loses nothing by it."""
    after, config = checkpoint.load(tiny_bundle), checkpoint.load(tiny_run).config
    run = tmp_path / "run"
    run.mkdir()
    for name in checkpoint.CARRIED:
        (run / name).write_bytes((tiny_run / name).read_bytes())
    checkpoint.write_json(run / "config.json", {"kind": "train", "config": config})
    checkpoint.save(run, 1, after.weights, {}, {}, after.model_config)
    again = export(run, tmp_path / "bundle")
    old, new = (
        {each.name: numpy_helper.to_array(each) for each in onnx.load(path / MODEL).graph.initializer}
        for path in (tiny_bundle, again.path)
    )
    assert old.keys() == new.keys()
    for name in old:
        if name.endswith(".int8"):
            np.testing.assert_array_equal(old[name], new[name])
        elif name == "log_normaliser":  # measured on the model, which rounding has changed a little
            assert old[name] == pytest.approx(new[name], abs=0.05)
        else:
            np.testing.assert_allclose(old[name], new[name], rtol=1e-6)


def test_the_shapes_are_the_models(tiny_run: Path) -> None:
    config = checkpoint.load(tiny_run).model_config
    parameters = Model(config).state_dict()
    assert expected_shapes(config) == {name: tuple(tensor.shape) for name, tensor in parameters.items()}


# --------------------------------------------------------------------------------------------------- refusals


def refusal(tiny_bundle: Path, edit: Callable[[onnx.ModelProto], object]) -> str:
    graph = onnx.load(tiny_bundle / MODEL)
    edit(graph)
    with pytest.raises(UserError) as refused:
        read_weights(graph.SerializeToString(), open_bundle(tiny_bundle).manifest.model)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def tensor_of(graph: onnx.ModelProto, name: str) -> TensorProto:
    return next(each for each in graph.graph.initializer if each.name == name)


EMBEDDING, NORM = "model.embed_tokens.weight", "model.norm.weight"


def put(graph: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    tensor_of(graph, name).CopyFrom(numpy_helper.from_array(array, name))


def move_out(graph: onnx.ModelProto) -> None:
    tensor = tensor_of(graph, NORM)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda g: g.graph.initializer.remove(tensor_of(g, NORM)), "not written by fedkey-export"),
        (lambda g: g.graph.initializer.remove(tensor_of(g, f"{EMBEDDING}.scale")), "not written by"),
        (lambda g: put(g, f"{EMBEDDING}.int8", np.ones((64, 400), np.float32)), "not written by"),
        (lambda g: put(g, f"{EMBEDDING}.scale", np.ones(399, np.float32)), "not written by"),
        (lambda g: put(g, NORM, np.ones(64, np.float64)), "not written by"),
        (move_out, "not written by"),
        (lambda g: put(g, NORM, np.ones(65, np.float32)), "another shape"),
        (lambda g: put(g, NORM, np.ones((64, 1), np.float32)), "another shape"),
        (lambda g: put(g, NORM, np.full(64, np.nan, np.float32)), "no numbers"),
        (lambda g: put(g, f"{EMBEDDING}.scale", np.full(400, np.inf, np.float32)), "no numbers"),
        (lambda g: setattr(tensor_of(g, NORM), "raw_data", b"abc"), "no ONNX graph"),
    ],
)
def test_a_graph_that_is_no_starting_point(
    tiny_bundle: Path, edit: Callable[[onnx.ModelProto], object], said: str
) -> None:
    assert said in refusal(tiny_bundle, edit)


def test_somebody_elses_graph_is_refused(tiny_bundle: Path) -> None:
    def other(graph: onnx.ModelProto) -> None:
        node = helper.make_node("Identity", ["a"], ["b"])
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
        graph.CopyFrom(helper.make_model(helper.make_graph([node], "other", values[:1], values[1:])))

    assert "not written by fedkey-export" in refusal(tiny_bundle, other)


@pytest.mark.parametrize("content", [b"\xff\xff", b"hello, I am no graph"])
def test_bytes_that_are_no_graph_are_refused(tiny_bundle: Path, content: bytes) -> None:
    with pytest.raises(UserError, match="no ONNX graph"):
        read_weights(content, open_bundle(tiny_bundle).manifest.model)
