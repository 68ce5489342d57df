"""Verification finds a bundle that says something else than its checkpoint, wherever the difference lies."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from fedkey.bundle import MANIFEST, MODEL, Bundle, lexicon_file, open_bundle
from fedkey.errors import UserError
from fedkey_export.package import export, verify_against_run
from fedkey_export.verify import (
    FLOAT_TOLERANCE,
    MAX_KL,
    MAX_SCORE_DIFFERENCE,
    MAX_SPREAD,
    MAX_UNEXPLAINED,
    MIN_TOP1_AGREEMENT,
    compare,
    verify,
)
from fedkey_server import checkpoint
from fedkey_server.model import Model


@pytest.fixture(scope="module")
def float_bundle(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tiny_run, tmp_path_factory.mktemp("float") / "bundle", precision="float32").path


@pytest.fixture
def model(tiny_run: Path) -> Model:
    return checkpoint.load(tiny_run).model()


def replaced(bundle: Path, copy: Path, name: str, content: bytes) -> Bundle:
    """A copy of a bundle with another file in it, for which the manifest vouches."""
    shutil.copytree(bundle, copy)
    (copy / name).write_bytes(content)
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (copy / MANIFEST).write_text(json.dumps(manifest))
    return open_bundle(copy)


def with_graph(bundle: Path, copy: Path, edit: Callable[[onnx.ModelProto], object]) -> Bundle:
    graph = onnx.load_from_string((bundle / MODEL).read_bytes())
    edit(graph)
    return replaced(bundle, copy, MODEL, graph.SerializeToString())


# --------------------------------------------------------------------------------------------------- figures


def test_a_float32_bundle_agrees_to_rounding(float_bundle: Path, tiny_data: Path, model: Model) -> None:
    figures = compare(open_bundle(float_bundle), model, tiny_data / "validation.jsonl")
    assert figures.contexts == "conversations"
    assert figures.largest_difference < FLOAT_TOLERANCE / 3
    assert figures.score_difference < FLOAT_TOLERANCE / 3
    assert abs(figures.kl) < 1e-6
    assert abs(figures.nll_change) < 1e-6
    assert figures.top1_agreement == 1
    assert figures.rounding == figures.score_rounding == 0


def test_an_int8_bundle_is_well_within_its_limits(tiny_bundle: Path, tiny_data: Path, model: Model) -> None:
    figures = compare(open_bundle(tiny_bundle), model, tiny_data / "validation.jsonl")
    assert 0 < figures.kl < MAX_KL / 4
    assert 0 < figures.score_difference < MAX_SCORE_DIFFERENCE / 4
    assert figures.top1_agreement > 1 - (1 - MIN_TOP1_AGREEMENT) / 4
    assert figures.unexplained < MAX_UNEXPLAINED / 4 * figures.rounding
    assert figures.score_unexplained < MAX_UNEXPLAINED / 4 * figures.score_rounding


def test_the_nll_is_torchs(float_bundle: Path, tiny_run: Path, tiny_data: Path, model: Model) -> None:
    """Against a plain loop over the same conversations, each read as training frames it."""
    from fedkey.lexicon import Lexicon
    from fedkey.pieces import END_ID, START_ID, Pieces
    from fedkey.text import normalise, truecase

    bundle = open_bundle(float_bundle)
    pieces = Pieces.open(tiny_run / "tokenizer.model")
    forms = Lexicon(bundle.lexicon_arrays(), pieces.vocab_size).forms
    total = count = 0.0
    lines = (tiny_data / "validation.jsonl").read_text().splitlines()
    assert len(lines) <= 32, "all of them are compared"
    for line in lines:
        ids = []
        for message in json.loads(line)["messages"]:
            text = truecase(normalise(message["text"]), forms)
            ids += [START_ID, *pieces.encode(text), END_ID]
        tokens = torch.tensor([ids[: model.config.window]])
        with torch.no_grad():
            hidden = model(tokens, torch.arange(tokens.shape[1])[None], torch.zeros_like(tokens))
            log_probs = model.logits(hidden)[0].log_softmax(-1)
        followers = tokens[0, 1:]
        # As in training: that a message begins is given.
        graded = (followers != START_ID).nonzero()[:, 0]
        total -= float(log_probs[graded, followers[graded]].sum())
        count += len(graded)
    figures = compare(bundle, model, tiny_data / "validation.jsonl")
    assert figures.nll == pytest.approx(total / count, rel=1e-5)


def test_without_conversations_the_model_talks_to_itself_the_same_way_each_time(
    tiny_bundle: Path, model: Model
) -> None:
    figures = compare(open_bundle(tiny_bundle), model, None)
    assert figures.contexts == "sampled"
    assert figures.num_positions >= 16 * model.config.window // 2
    assert figures == compare(open_bundle(tiny_bundle), model, None)


# ---------------------------------------------------------------------------------------------------- damage


def scores_of_other_pieces(graph: onnx.ModelProto) -> None:
    node = next(node for node in graph.graph.node if node.name == "score.embedding.columns")
    node.input[1] = "score_rows"


def scores_times_two(graph: onnx.ModelProto) -> None:
    node = next(node for node in graph.graph.node if node.name == "score.terms")
    node.input[0] = node.input[1]


def normaliser_slips(graph: onnx.ModelProto) -> None:
    tensor = next(each for each in graph.graph.initializer if each.name == "log_normaliser")
    value = numpy_helper.to_array(tensor) + np.float32(0.3)
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def later_rotations_slip(graph: onnx.ModelProto) -> None:
    tensor = next(each for each in graph.graph.initializer if each.name == "sin")
    angles = numpy_helper.to_array(tensor).copy()
    angles[100:] = angles[99]
    tensor.CopyFrom(numpy_helper.from_array(angles, "sin"))


def bias_is_ignored(graph: onnx.ModelProto) -> None:
    """Plain reading needs no bias; trees do."""
    for node in graph.graph.node:
        if node.op_type == "GroupQueryAttention":
            del node.input[10]


@pytest.mark.parametrize(
    "edit",
    [scores_of_other_pieces, scores_times_two, normaliser_slips, later_rotations_slip, bias_is_ignored],
)
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_graph_that_slips_in_one_place_is_refused(
    float_bundle: Path,
    tiny_bundle: Path,
    tiny_data: Path,
    tmp_path: Path,
    model: Model,
    edit: Callable[[onnx.ModelProto], None],
    precision: str,
) -> None:
    source = tiny_bundle if precision == "int8" else float_bundle
    bundle = with_graph(source, tmp_path / "bundle", edit)
    with pytest.raises(UserError, match=r"does not reproduce its checkpoint: .+; it must not be shipped"):
        verify(bundle, model, tiny_data / "validation.jsonl")


def test_a_coarser_int8_is_refused(tiny_bundle: Path, tiny_data: Path, tmp_path: Path, model: Model) -> None:
    """Three bits instead of seven."""

    def coarsen(graph: onnx.ModelProto) -> None:
        for tensor in graph.graph.initializer:
            if tensor.name.endswith(".int8"):
                values = numpy_helper.to_array(tensor)
                coarse = (np.rint(values / 16) * 16).astype(np.int8)
                tensor.CopyFrom(numpy_helper.from_array(coarse, tensor.name))

    bundle = with_graph(tiny_bundle, tmp_path / "bundle", coarsen)
    with pytest.raises(UserError, match="does not reproduce its checkpoint"):
        verify(bundle, model, tiny_data / "validation.jsonl")


def test_scores_are_off_by_how_much_the_normaliser_varies(
    float_bundle: Path, tiny_data: Path, model: Model
) -> None:
    figures = compare(open_bundle(float_bundle), model, tiny_data / "validation.jsonl")
    assert figures.log_normaliser == round(figures.log_normaliser, 2)
    assert 0 < figures.spread < MAX_SPREAD / 2


def test_a_model_whose_normaliser_varies_widely_is_not_exported(tiny_run: Path, tmp_path: Path) -> None:
    """Logits eight times as large: still a model, and its log Z is now anything between 10 and 60."""
    other = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    before = checkpoint.load(other)
    sharpened = {**before.weights, "model.norm.weight": before.weights["model.norm.weight"] * 8}
    checkpoint.save(other, before.step + 1, sharpened, {}, {}, before.model_config)
    with pytest.raises(
        UserError, match=r"normaliser varies by .+ nats \(at most 2\).+ larger train\.z_penalty"
    ):
        export(other, tmp_path / "bundle", precision="float32")
    assert not (tmp_path / "bundle").exists()


# ---------------------------------------------------------------------------------------------- against a run


def test_a_bundle_agrees_with_its_run(
    tiny_bundle: Path, float_bundle: Path, tiny_run: Path, tiny_data: Path
) -> None:
    assert verify_against_run(tiny_bundle, tiny_run).contexts == "sampled"
    assert verify_against_run(tiny_bundle, tiny_run, data=tiny_data).contexts == "conversations"
    assert verify_against_run(float_bundle, tiny_run).kl < 1e-6


def test_a_bundle_of_another_run_is_told(tiny_bundle: Path, tiny_run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    before = checkpoint.load(other)
    seeded = Model(before.model_config, seed=9).state_dict()
    checkpoint.save(other, before.step + 1, seeded, {}, {}, before.model_config)
    with pytest.raises(UserError, match="was not made from the newest checkpoint of"):
        verify_against_run(tiny_bundle, other)


def test_a_bundle_is_not_verified_against_itself(tiny_bundle: Path) -> None:
    with pytest.raises(UserError, match="was not made from the newest checkpoint of"):
        verify_against_run(tiny_bundle, tiny_bundle)


def test_a_bundle_with_another_lexicon_is_told(tiny_bundle: Path, tiny_run: Path, tmp_path: Path) -> None:
    log_prob = np.load(tiny_bundle / lexicon_file("log_prob"))
    log_prob[17] -= 1
    np.save(tmp_path / "log_prob.npy", log_prob)
    content = (tmp_path / "log_prob.npy").read_bytes()
    bundle = replaced(tiny_bundle, tmp_path / "bundle", lexicon_file("log_prob"), content)
    with pytest.raises(UserError, match=r"does not reproduce its lexicon: '.+' differs"):
        verify_against_run(bundle.path, tiny_run)


def test_a_run_with_more_words_is_told(tiny_bundle: Path, tiny_run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    lines = (other / "lexicon.tsv").read_text().splitlines(keepends=True)
    (other / "lexicon.tsv").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match=r"it holds \d+ words, not \d+"):
        verify_against_run(tiny_bundle, other)


def test_a_run_with_another_dictionary_is_told(tiny_bundle: Path, tiny_run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    words = (other / "dictionary.txt").read_text().splitlines(keepends=True)
    for changed in (words[:-1], [*words[:-1], "snazzlewop\n"]):
        (other / "dictionary.txt").write_text("".join(changed))
        with pytest.raises(UserError, match="does not reproduce its dictionary"):
            verify_against_run(tiny_bundle, other)


def test_figures_that_are_no_numbers_are_refused(
    tiny_bundle: Path, float_bundle: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = compare(open_bundle(tiny_bundle), model, None)
    for bundle, found, complaint in (
        (tiny_bundle, figures, ""),
        (tiny_bundle, replace(figures, kl=float("nan")), "it gives values that are no numbers"),
        (float_bundle, replace(figures, largest_difference=1.0), "log probabilities differ by up to 1 nats"),
    ):
        monkeypatch.setattr("fedkey_export.verify.compare", lambda *_, found=found: found)
        with pytest.raises(UserError, match=complaint) if complaint else nullcontext():
            assert verify(open_bundle(bundle), model, None) == figures
