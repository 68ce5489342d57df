"""A run becomes a bundle that reproduces it, or nothing at all."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import KILLED_AT, Forked
from safetensors.torch import load_file, save_file

from fedkey import Engine
from fedkey import bundle as contract
from fedkey.bundle import (
    CORRECTION,
    MANIFEST,
    MIXTURE,
    MODEL,
    TOKENIZER,
    BundleError,
    ngram_file,
    open_bundle,
)
from fedkey.errors import UserError
from fedkey_export import package
from fedkey_export.describe import describe
from fedkey_export.package import export
from fedkey_server import checkpoint
from fedkey_server import model as trained
from fedkey_server.client_app import app
from fedkey_server.config import load
from fedkey_server.grid import InProcessGrid
from fedkey_server.model import Model
from fedkey_server.phones import Phones
from fedkey_server.server_app import federate
from fedkey_server.train import train


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the run to tamper with."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder for bundles, in which nothing but bundles may be left."""
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"


def refusal(run: Path, bundle: Path, **options: Any) -> str:
    """The one sentence with which an export is refused."""
    with pytest.raises(UserError) as refused:
        export(run, bundle, **options)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


# ------------------------------------------------------------------------------------------ what comes out


def test_two_exports_are_byte_identical(tiny_run: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """Whichever process exports, under whatever hash seed, on however many threads, and wherever the run
    lies."""
    moved = Path(shutil.copytree(tiny_run, tmp_path / "elsewhere" / "run"))
    program = [sys.executable, "-c", "import sys; from fedkey_export.cli import main; sys.exit(main())"]
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "2"}
    arguments = [str(moved), "-o", str(tmp_path / "there")]
    subprocess.run([*program, *arguments], env=environment, check=True, capture_output=True)
    assert contents(tmp_path / "there") == contents(tiny_bundle)


def test_two_float_exports_are_byte_identical(tiny_run: Path, shelf: Path) -> None:
    one = export(tiny_run, shelf / "one", precision="float32")
    export(tiny_run, shelf / "two", precision="float32")
    assert one.manifest.model.precision == "float32"
    assert contents(shelf / "one") == contents(shelf / "two")


def test_a_bundle_is_exactly_the_files_its_manifest_names(tiny_bundle: Path) -> None:
    manifest = open_bundle(tiny_bundle).manifest
    assert set(contents(tiny_bundle)) == {*manifest.files, MANIFEST}
    assert len(Engine.open(tiny_bundle).suggest("see you ", "").words) == 3


def test_a_manifest_says_where_the_model_comes_from_and_nobodys_folders(
    tiny_bundle: Path, tiny_run: Path, chat_file: Path
) -> None:
    manifest = open_bundle(tiny_bundle).manifest
    origin = manifest.provenance
    assert (origin["kind"], origin["steps"]) == ("train", 60)
    assert origin["config"]["corpus"]["phones"] == chat_file.name
    assert {source["name"] for source in origin["sources"]["lists"]} >= {"wordfreq"}
    assert all(source["licence"] for kind in origin["sources"].values() for source in kind)
    assert manifest.metrics["training"]["validation_loss"] > 0
    assert manifest.metrics["verification"]["contexts"] == "sampled"
    assert str(chat_file.parent) not in manifest.to_json()
    assert str(tiny_run.parent) not in manifest.to_json()


@pytest.mark.parametrize(
    ("attention", "span", "told"),
    [("sliding", 9, "82 slots, sliding attention over 9"), ("linear", 32, "linear attention keeps sums")],
)
def test_a_run_of_another_attention_becomes_a_bundle_that_types(
    attention: str, span: int, told: str, run: Path, shelf: Path
) -> None:
    (folder,) = sorted((run / "checkpoints").iterdir())[-1:]
    state = checkpoint.read_json(folder / "state.json")
    state["model"] |= {"attention": attention, "span": span}
    checkpoint.write_json(folder / "state.json", state)
    untrained = Model(checkpoint.load(run).model_config)
    save_file(untrained.state_dict(), folder / "model.safetensors")
    bundle = export(run, shelf / attention, precision="float32")
    assert bundle.manifest.format == 2
    assert told in describe(bundle)
    assert len(Engine.open(bundle.path).suggest("see you ", "").words) == 3
    again = checkpoint.load(bundle.path)
    assert again.model_config == untrained.config
    again.model()


def test_a_bundle_knows_every_attention_that_can_be_trained() -> None:
    assert contract.ATTENTIONS == trained.ATTENTIONS


def test_a_bundle_of_full_attention_is_what_older_keyboards_read(tiny_bundle: Path) -> None:
    manifest = json.loads((tiny_bundle / MANIFEST).read_text())
    assert manifest["format"] == 1
    assert not {"attention", "span"} & manifest["model"].keys()


def test_a_federated_run_tells_its_rounds(run: Path, shelf: Path) -> None:
    described = checkpoint.read_json(run / "config.json")
    checkpoint.write_json(run / "config.json", {**described, "kind": "federate"})
    origin = export(run, shelf / "bundle").manifest.provenance
    assert (origin["kind"], origin["rounds"]) == ("federate", 60)
    assert "steps" not in origin


def test_a_federation_that_filled_gaps_reads_behind_the_caret(run: Path, shelf: Path) -> None:
    described = checkpoint.read_json(run / "config.json")
    train = {**described["config"]["train"], "objective": "infill"}
    config = {**described["config"], "train": train}
    checkpoint.write_json(run / "config.json", {**described, "kind": "federate", "config": config})
    bundle = export(run, shelf / "bundle")
    assert contract.INFILL in bundle.manifest.features
    assert len(Engine.open(bundle.path).suggest("see you ", "", after=" at the beach").words) == 3


@pytest.mark.slow
def test_a_run_trained_to_fill_gaps_becomes_a_bundle_that_is_given_both_sides(
    tiny_data: Path, small_overrides: list[str], tmp_path: Path, shelf: Path
) -> None:
    config = load("tiny", [*small_overrides, "train.objective='infill'"])
    train(config, tiny_data, tmp_path / "run")
    bundle = export(tmp_path / "run", shelf / "bundle", precision="float32")
    assert contract.INFILL in bundle.manifest.features
    engine = Engine.open(bundle.path)
    engine.suggest("see you ", "", after=" at the beach")
    assert engine._places.context.ids[0] == engine.pieces.behind_id


@pytest.mark.slow
def test_a_run_older_than_the_choice_of_an_objective_predicts_from_the_left(run: Path, shelf: Path) -> None:
    described = checkpoint.read_json(run / "config.json")
    described["config"]["train"].pop("objective", None)
    checkpoint.write_json(run / "config.json", described)
    assert contract.INFILL not in export(run, shelf / "bundle").manifest.features


@pytest.mark.parametrize("objective", ["masked", "permutation"])
def test_a_model_that_looks_ahead_is_no_bundle(objective: str, run: Path, shelf: Path) -> None:
    described = checkpoint.read_json(run / "config.json")
    described["config"]["train"]["objective"] = objective
    checkpoint.write_json(run / "config.json", described)
    sentence = refusal(run, shelf / "bundle")
    assert f"train.objective {objective}" in sentence
    assert "infill" in sentence
    assert not any(shelf.iterdir())


def test_a_private_federation_tells_what_it_spent(
    tiny_run: Path,
    tiny_bundle: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    shelf: Path,
) -> None:
    config = load(
        "tiny",
        [
            *small_overrides,
            "rounds.num_rounds=2",
            "rounds.phones_per_round=4",
            "rounds.min_reports=1",
            "rounds.max_rows=2",
            "rounds.update_norm=0.1",
            "privacy.mode=poisson",
            "privacy.noise_multiplier=0.5",
            "privacy.delta=1e-3",
        ],
    )
    phones = Phones.load(tiny_data / "phones.npz")
    grid = InProcessGrid(app, len(phones), {"data": str(tiny_data), "simulation": True})
    final = federate(grid, config, tiny_data, tmp_path / "run", tiny_run)
    bundle = export(tmp_path / "run", shelf / "bundle")
    assert bundle.manifest.provenance["privacy"] == final["privacy"]
    assert f"epsilon {final['privacy']['epsilon']:.3g} at delta 1e-03" in describe(bundle)
    assert "privacy" not in open_bundle(tiny_bundle).manifest.provenance

    again = load("tiny", [*small_overrides, "train.num_steps=1"])
    train(again, tiny_data, tmp_path / "again", init=tmp_path / "run")  # of what phones taught much is left
    final = federate(grid, config, tiny_data, tmp_path / "more", tmp_path / "again")
    more = export(tmp_path / "more", shelf / "more")
    assert "on top of what its start had learned from phones" in describe(more)
    assert "on top of" not in describe(bundle)


def test_real_conversations_are_verified_with_when_they_are_given(
    tiny_run: Path, tiny_data: Path, shelf: Path
) -> None:
    figures = export(tiny_run, shelf / "bundle", data=tiny_data).manifest.metrics["verification"]
    assert figures["contexts"] == "conversations"
    assert figures["num_positions"] > 1000


# ------------------------------------------------------------------------------------- what must not come out


def damaged(change: Callable[[dict[str, np.ndarray]], None], only: str = "") -> Callable[..., bytes]:
    """`build_graph` with a slip: other weights than the checkpoint's go into the graph."""
    real = package.build_graph

    def build(entry: Any, weights: Mapping[str, np.ndarray], *rest: Any) -> bytes:
        copies = {name: array.copy() for name, array in weights.items()}
        if only in ("", entry.precision):
            change(copies)
        return real(entry, copies, *rest)

    return build


def swap_keys_and_values(weights: dict[str, np.ndarray]) -> None:
    name = "model.layers.0.self_attn.{}_proj.weight"
    weights[name.format("k")], weights[name.format("v")] = (
        weights[name.format("v")],
        weights[name.format("k")],
    )


def one_weight(weights: dict[str, np.ndarray]) -> None:
    weights["model.layers.1.mlp.down_proj.weight"][3, 5] += 1.0


def a_tenth_too_large(weights: dict[str, np.ndarray]) -> None:
    weights["model.norm.weight"] *= 1.1


@pytest.mark.parametrize("change", [one_weight, a_tenth_too_large, swap_keys_and_values])
def test_a_graph_that_is_not_the_checkpoint_is_not_shipped(
    tiny_run: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]
) -> None:
    monkeypatch.setattr(package, "build_graph", damaged(change))
    assert "does not reproduce its checkpoint" in refusal(tiny_run, shelf / "bundle")
    assert list(shelf.iterdir()) == []


@pytest.mark.parametrize("change", [one_weight, a_tenth_too_large, swap_keys_and_values])
def test_a_slip_in_the_int8_graph_alone_is_found(
    tiny_run: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]
) -> None:
    monkeypatch.setattr(package, "build_graph", damaged(change, only="int8"))
    assert "does not reproduce its checkpoint" in refusal(tiny_run, shelf / "bundle")
    assert list(shelf.iterdir()) == []


def test_a_lexicon_that_is_not_the_runs_is_not_shipped(
    tiny_run: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = package.build_arrays
    monkeypatch.setattr(package, "build_arrays", lambda rows, _: real(rows, lambda word: [40]))
    assert "does not reproduce its lexicon" in refusal(tiny_run, shelf / "bundle")
    assert list(shelf.iterdir()) == []


def edit_weights(run: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    folder = checkpoint.latest(run)
    assert folder is not None
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(run: Path, shelf: Path, bad: float) -> None:
    edit_weights(run, lambda weights: weights["model.norm.weight"].__setitem__(0, bad))
    assert "weights that are no numbers" in refusal(run, shelf / "bundle")
    assert list(shelf.iterdir()) == []


@pytest.mark.parametrize(
    "edit",
    [
        lambda weights: weights.pop("model.norm.weight"),
        lambda weights: weights.update({"model.norm.weight": torch.ones(3)}),
        lambda weights: weights.update({"model.extra.weight": torch.ones(3)}),
    ],
    ids=["missing", "another shape", "one too many"],
)
def test_weights_of_another_model_are_refused(run: Path, shelf: Path, edit: Callable[..., object]) -> None:
    edit_weights(run, edit)
    assert "does not hold the weights of the model that it describes" in refusal(run, shelf / "bundle")
    assert list(shelf.iterdir()) == []


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: truncate(checkpoint.latest(run) / "model.safetensors"), "cannot be read"),  # type: ignore[operator]
        (lambda run: shutil.rmtree(run / "checkpoints"), "has no checkpoint yet"),
        (lambda run: (run / TOKENIZER).unlink(), "Cannot read the tokenizer"),
        (lambda run: (run / TOKENIZER).write_bytes(b"hello"), "not a SentencePiece model"),
        (lambda run: (run / "lexicon.tsv").unlink(), "Cannot read the lexicon"),
        (lambda run: (run / "lexicon.tsv").write_text("word\tlog_prob\tflags\n"), "holds no words"),
        (lambda run: (run / "dictionary.txt").unlink(), "prepare the data again"),
        (lambda run: (run / "sources.json").unlink(), "sources.json"),
        (lambda run: (run / "sources.json").write_text("{"), "not valid JSON"),
        (lambda run: shutil.rmtree(run), "neither a run folder nor a bundle"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(
    run: Path, shelf: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(run)
    assert said in refusal(run, shelf / "bundle")
    assert list(shelf.iterdir()) == []


def with_model(run: Path, **changes: int) -> None:
    """Puts an untrained model of another shape into the run."""
    before = checkpoint.load(run)
    config = replace(before.model_config, **changes)
    checkpoint.save(run, before.step + 1, Model(config).state_dict(), {}, {}, config)


def test_a_head_size_that_phones_cannot_run_is_refused(run: Path, shelf: Path) -> None:
    with_model(run, num_heads=8)
    assert "head size 8 is not a multiple of 16" in refusal(run, shelf / "bundle")
    assert list(shelf.iterdir()) == []


def test_a_window_too_short_for_typing_is_refused(run: Path, shelf: Path) -> None:
    with_model(run, window=12)
    assert "No phone could run this model: window must be at least 16" in refusal(run, shelf / "bundle")
    assert list(shelf.iterdir()) == []


def test_a_tokenizer_of_another_size_is_refused(run: Path, shelf: Path) -> None:
    with_model(run, vocab_size=500)
    assert "has 400 pieces, its model 500" in refusal(run, shelf / "bundle")
    assert list(shelf.iterdir()) == []


def test_a_bundle_is_no_run(tiny_bundle: Path, shelf: Path) -> None:
    assert "is a bundle already" in refusal(tiny_bundle, shelf / "bundle")


def test_a_folder_that_is_no_prepared_data_is_refused(tiny_run: Path, shelf: Path) -> None:
    assert "no prepared data folder" in refusal(tiny_run, shelf / "bundle", data=shelf)
    (shelf / "validation.jsonl").write_text('{"text": "hello"}\n')
    assert "'fedkey-server prepare' wrote" in refusal(tiny_run, shelf / "bundle", data=shelf)
    (shelf / "validation.jsonl").write_text("")
    assert "holds no conversation" in refusal(tiny_run, shelf / "bundle", data=shelf)
    assert [path.name for path in shelf.iterdir()] == ["validation.jsonl"]


# -------------------------------------------------------------------------------------------- where it goes


def test_an_older_bundle_gives_way_only_when_told(tiny_run: Path, tiny_bundle: Path, shelf: Path) -> None:
    old = Path(shutil.copytree(tiny_bundle, shelf / "bundle"))
    before = contents(old)
    assert "add --replace" in refusal(tiny_run, old, precision="float32")
    assert contents(old) == before
    export(tiny_run, old, precision="float32", replace=True)
    assert open_bundle(old).manifest.model.precision == "float32"
    assert [path.name for path in shelf.iterdir()] == ["bundle"]


def test_an_older_bundle_stays_when_the_new_one_is_bad(
    tiny_run: Path, tiny_bundle: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Path(shutil.copytree(tiny_bundle, shelf / "bundle"))
    monkeypatch.setattr(package, "build_graph", damaged(one_weight))
    refusal(tiny_run, old, replace=True)
    assert contents(old) == contents(tiny_bundle)
    assert [path.name for path in shelf.iterdir()] == ["bundle"]


def test_what_is_no_bundle_is_never_deleted(tiny_run: Path, shelf: Path) -> None:
    (shelf / "file").write_text("precious")
    (shelf / "folder").mkdir()
    (shelf / "folder" / "thesis.txt").write_text("precious")
    (shelf / "website").mkdir()
    (shelf / "website" / MANIFEST).write_text("{}")
    (shelf / "link").symlink_to(shelf / "nowhere")
    before = contents(shelf)
    for name in ("file", "folder", "website", "link"):
        assert "exists and is no bundle" in refusal(tiny_run, shelf / name, replace=True)
    assert "Cannot write the bundle" in refusal(tiny_run, shelf / "file" / "bundle")
    assert contents(shelf) == before
    assert len(list(shelf.iterdir())) == 4


def test_an_empty_folder_and_a_new_one_are_places(
    tiny_run: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shelf / "empty").mkdir()
    monkeypatch.chdir(shelf / "empty")
    export(tiny_run, Path())
    Engine.open(shelf / "empty")
    monkeypatch.chdir(shelf)
    export(tiny_run, Path("new/deep/bundle"))
    Engine.open(shelf / "new" / "deep" / "bundle")
    assert sorted(path.name for path in shelf.iterdir()) == ["empty", "new"]


# ------------------------------------------------------------------------------------------------------ kills

EXPORT = """
from pathlib import Path
from fedkey_export.package import export
export(Path(sys.argv[1]), Path(sys.argv[2]), replace=True)
"""

Killed = Callable[[tuple[str, str], Path, Path], None]


@pytest.fixture
def killed(fork: Callable[..., Forked]) -> Killed:
    """Exports in a process that a real SIGKILL ends before its first (audit event, end of a path)."""

    def killed(killed_at: tuple[str, str], run: Path, bundle: Path) -> None:
        process = fork(KILLED_AT + EXPORT, [*killed_at, run, bundle], ["fedkey_export.package"])
        _, errors = process.communicate(timeout=100)
        assert process.returncode == -signal.SIGKILL, errors

    return killed


def test_a_kill_before_the_rename_leaves_the_old_bundle_whole(
    tiny_run: Path, tiny_bundle: Path, shelf: Path, killed: Killed
) -> None:
    old = Path(shutil.copytree(tiny_bundle, shelf / "bundle"))
    killed(("os.rename", "/replaced"), tiny_run, old)
    assert contents(old) == contents(tiny_bundle)
    export(tiny_run, old, replace=True)
    assert [path.name for path in shelf.iterdir()] == ["bundle"], "the next export tidies up"


def test_the_manifest_is_written_last(tiny_run: Path, shelf: Path, killed: Killed) -> None:
    killed(("open", MANIFEST), tiny_run, shelf / "bundle")
    assert not (shelf / "bundle").exists()
    (half,) = (path.parent for path in shelf.rglob(MODEL))
    assert TOKENIZER in contents(half)
    assert MANIFEST not in contents(half)
    with pytest.raises(BundleError, match="is not a bundle"):
        open_bundle(half)


def test_a_kill_between_the_renames_loses_nothing(
    tiny_run: Path, tiny_bundle: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch, killed: Killed
) -> None:
    old = Path(shutil.copytree(tiny_bundle, shelf / "bundle"))
    killed(("os.rename", "/int8"), tiny_run, old)
    assert not old.exists()
    monkeypatch.setattr(package, "build_graph", damaged(one_weight))
    refusal(tiny_run, old, replace=True)
    assert contents(old) == contents(tiny_bundle), "even a bad export puts it back first"
    assert [path.name for path in shelf.iterdir()] == ["bundle"]


def test_the_manifest_is_the_same_text_whoever_reads_it(tiny_bundle: Path) -> None:
    text = (tiny_bundle / MANIFEST).read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert json.loads(text)["files"][MODEL]["bytes"] == (tiny_bundle / MODEL).stat().st_size


# ------------------------------------------------------------------------------- files of a finished bundle

REPLACING = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from fedkey.bundle import open_bundle
from fedkey_export import package
bundle, left = Path(sys.argv[1]), int(sys.argv[2])
manifest = open_bundle(bundle).manifest
def kill(event, arguments):
    global left
    if event in ("os.rename", "os.remove") or event == "open" and "w" in str(arguments[1]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
fitted = ("mixture.json", "correction.json")
named = {name: entry for name, entry in manifest.files.items() if name not in fitted}
package.replace_files(bundle, replace(manifest, files=named), {"mixture.json": b"[2]"})
"""


@pytest.fixture
def fitted(tiny_bundle: Path, shelf: Path) -> Path:
    """A bundle with two files that are fitted to it; what is in them nobody reads here."""
    bundle = Path(shutil.copytree(tiny_bundle, shelf / "bundle"))
    package.replace_files(bundle, open_bundle(bundle).manifest, {MIXTURE: b"[1]", CORRECTION: b"[1]"})
    return bundle


def test_files_that_find_no_room_change_nothing(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = contents(fitted), Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "manifest" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    manifest = open_bundle(fitted).manifest
    named = {name: entry for name, entry in manifest.files.items() if name != MIXTURE}
    with pytest.raises(UserError, match=r"Cannot write into the bundle .*No space left"):
        package.replace_files(fitted, replace(manifest, files=named), {MIXTURE: b"[2]"})
    assert contents(fitted) == before


def test_a_full_disk_leaves_no_trace_in_a_bundle_that_had_none_of_the_files(
    tiny_bundle: Path, shelf: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, shelf / "bundle"))
    before, manifest = contents(bundle), open_bundle(bundle).manifest
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(UserError, match=r"Cannot write into the bundle .*; make room, or"):
            package.replace_files(bundle, manifest, {ngram_file("pair_counts"): bytes(2048)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(bundle) == before
    assert not (bundle / "ngrams").exists()


@pytest.mark.parametrize("done", range(8))
def test_a_kill_while_files_are_replaced_leaves_a_whole_bundle(
    fitted: Path, fork: Callable[..., Forked], done: int
) -> None:
    """Three files are written beside, three renamed, and what no manifest names any more is deleted."""
    process = fork(REPLACING, [fitted, done], ["fedkey_export.package"])
    _, errors = process.communicate(timeout=100)
    assert process.returncode == -signal.SIGKILL, errors
    named = open_bundle(fitted).manifest.files.keys()
    expected = {MIXTURE, CORRECTION} if done <= 3 else {MIXTURE} if done >= 6 else set()
    assert {MIXTURE, CORRECTION} & named == expected
    package.replace_files(fitted, open_bundle(fitted).manifest, {})
    assert contents(fitted).keys() == {MANIFEST, *named}, "the next change tidies up"
