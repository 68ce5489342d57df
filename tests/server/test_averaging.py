"""Several runs as one: the mean itself, and the folder that tells of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from at_command import fedkey_server
from forked import Forked
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedkey.bundle import open_bundle
from fedkey.commands import EXIT_MISTAKE
from fedkey.errors import UserError
from fedkey.ui.glass_box import model_lines
from fedkey_export.describe import describe
from fedkey_export.package import export, verify_against_run
from fedkey_server import checkpoint
from fedkey_server.averaging import average, is_of_one_start, mean
from fedkey_server.client_app import app
from fedkey_server.config import load
from fedkey_server.grid import InProcessGrid
from fedkey_server.model import Model, ModelConfig
from fedkey_server.phones import Phones
from fedkey_server.server_app import federate
from fedkey_server.train import train

SMALL = ModelConfig(
    vocab_size=40, width=16, num_layers=1, num_heads=2, num_key_value_heads=1, hidden_width=24, window=16
)


def weights_of(seed: int) -> dict[str, Tensor]:
    """Weights of all sizes, from 1e-6 to 1e3: sums of them round differently in another order."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor * 10 ** (9 * torch.rand(tensor.shape, generator=generator) - 6)
        for name, tensor in Model(SMALL, seed=seed).state_dict().items()
    }


def is_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two models are the same to the bit."""
    return one.keys() == other.keys() and all(
        torch.equal(tensor.view(torch.uint8), other[name].view(torch.uint8)) for name, tensor in one.items()
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


# ------------------------------------------------------------------------------------------------ the mean


@given(st.integers(0, 100), st.integers(1, 9), st.sampled_from([torch.float32, torch.bfloat16]))
def test_the_mean_of_a_model_with_itself_is_the_model_to_the_bit(
    seed: int, times: int, dtype: torch.dtype
) -> None:
    model = {name: tensor.to(dtype) for name, tensor in weights_of(seed).items()}
    model["signed"] = torch.tensor([-0.0, 0.0, 1e-45, -3.4e38]).to(dtype)
    assert is_same(mean([model] * times), model)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=5))
def test_no_order_of_the_models_changes_a_bit(values: list[float]) -> None:
    models = [{"weight": torch.tensor([value])} for value in values]
    expected = mean(models)
    assert all(is_same(mean(order), expected) for order in permutations(models))


def test_no_order_of_models_changes_a_bit_where_a_plain_sum_would() -> None:
    models = [weights_of(seed) for seed in range(5)]
    expected = mean(models)
    assert is_same(mean(models[::-1]), expected)
    assert is_same(mean(models[2:] + models[:2]), expected)
    tiny = [{"weight": torch.tensor([value])} for value in (1.0, 2.0**-60, 2.0**-60, 2.0**-60, -1.0)]
    plain = [
        sum(float(model["weight"]) for model in order) for order in (tiny, [tiny[0], tiny[4], *tiny[1:4]])
    ]
    assert plain[0] != plain[1]
    assert is_same(mean(tiny), mean([tiny[0], tiny[4], *tiny[1:4]]))


def test_the_mean_is_linear_in_the_weights() -> None:
    """A layer with the mean of some weights says the mean of what the layers say."""
    models, x = [weights_of(seed) for seed in range(3)], torch.randn(7, SMALL.width, dtype=torch.float64)
    name = "model.layers.0.self_attn.q_proj.weight"
    said = torch.stack([x @ model[name].double().T for model in models])
    torch.testing.assert_close(
        x @ mean(models)[name].double().T, said.mean(dim=0), rtol=1e-5, atol=1e-4 * float(said.abs().max())
    )
    halves = [{name: tensor / 2 for name, tensor in model.items()} for model in models]
    assert is_same(mean(halves), {name: tensor / 2 for name, tensor in mean(models).items()})


def test_what_stands_on_both_sides_of_a_model_has_it_as_its_mean() -> None:
    middle = {"weight": torch.linspace(-2, 2, 9)}
    aside = [{"weight": middle["weight"] + sign * 0.25} for sign in (-1, 1)]
    assert is_same(mean(aside), middle)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "no models"),
        ([{"a": torch.ones(2)}, {"b": torch.ones(2)}], "other names, shapes or types"),
        ([{"a": torch.ones(2)}, {"a": torch.ones(1, 2)}], "other names, shapes or types"),
        ([{"a": torch.ones(2)}, {"a": torch.ones(2, dtype=torch.bfloat16)}], "other names, shapes or types"),
        ([{"a": torch.ones(2, dtype=torch.int32)}] * 2, "only floats"),
    ],
)
def test_what_has_no_mean_is_refused(models: list[dict[str, Tensor]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean(models)


# -------------------------------------------------------------------------------------------- the run folder


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, tiny_run: Path, tiny_data: Path, small_overrides: list[str]
) -> list[Path]:
    """Three runs that went on from one: central training twice, and a federation."""
    folder = tmp_path_factory.mktemp("runs")
    steps = [*small_overrides, "train.num_steps=4", "train.validation_rows=8"]
    for seed in (2, 3):
        config = load("tiny", [*steps, f"train.learning_rate={seed}e-4"])
        train(config, tiny_data, folder / f"seed {seed}", init=tiny_run)
    rounds = ["rounds.num_rounds=2", "rounds.phones_per_round=3", "rounds.min_reports=1", "rounds.max_rows=2"]
    phones = Phones.load(tiny_data / "phones.npz")
    grid = InProcessGrid(app, len(phones), {"data": str(tiny_data), "simulation": True})
    federate(grid, load("tiny", [*steps, *rounds]), tiny_data, folder / "federated", tiny_run)
    return [folder / "seed 2", folder / "seed 3", folder / "federated"]


@pytest.fixture
def copies(runs: list[Path], tmp_path: Path) -> list[Path]:
    """Two of them to tamper with."""
    return [Path(shutil.copytree(run, tmp_path / "copies" / run.name)) for run in runs[:2]]


def changed(run: Path, *path: str, value: Any) -> None:
    """Writes something else into a run's config.json."""
    described = checkpoint.read_json(run / "config.json")
    inner = described
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = value
    checkpoint.write_json(run / "config.json", described)


def refusal(runs: list[Path], out: Path) -> str:
    """The one sentence with which an average is refused, and nothing left of it."""
    before = contents(out) if out.is_dir() else None
    with pytest.raises(UserError) as refused:
        average(runs, out)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert (contents(out) if out.is_dir() else None) == before
    assert not out.with_name(f".{out.name}.new").exists()
    return sentence


def test_an_average_is_a_run_that_says_what_each_was(runs: list[Path], tmp_path: Path) -> None:
    average(runs, tmp_path / "soup")
    soup, *of = (checkpoint.load(run) for run in [tmp_path / "soup", *runs])
    assert (soup.kind, soup.step, soup.model_config) == ("average", 0, of[0].model_config)
    assert is_same(soup.weights, mean([run.weights for run in of]))
    told = {entry["name"]: entry for entry in soup.config["runs"]}
    assert [(told[run.name]["kind"], told[run.name].get("rounds")) for run in runs] == [
        ("train", None),
        ("train", None),
        ("federate", 2),
    ]
    assert told["seed 2"]["steps"] == 4
    assert [told[run.name]["weights_sha256"] for run in runs] == [run.weights_sha256() for run in of]
    # What all were told stands once, what one was told stands with it, and nothing is lost.
    assert soup.config["train"]["validation_rows"] == 8
    assert "learning_rate" not in soup.config["train"]
    assert told["seed 3"]["config"]["train"]["learning_rate"] == 3e-4
    for run, loaded in zip(runs, of, strict=True):
        assert merged(soup.config, told[run.name]["config"]) == loaded.config
    assert str(runs[0].parent) not in (tmp_path / "soup" / "config.json").read_text()
    assert checkpoint.read_json(tmp_path / "soup" / "done.json") == {"step": 0}


def merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A run's configuration again."""
    both = {name: value for name, value in common.items() if name != "runs"} | own
    return {
        name: merged(common[name], value) if isinstance(value, dict) and name in common else value
        for name, value in both.items()
    }


def test_the_order_of_the_runs_changes_no_byte_and_a_second_time_does_nothing(
    runs: list[Path], tmp_path: Path
) -> None:
    average(runs, tmp_path / "soup")
    average(runs[::-1], tmp_path / "other")
    assert contents(tmp_path / "soup") == contents(tmp_path / "other")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "soup").rglob("*")}
    average([runs[1], runs[2], runs[0]], tmp_path / "soup")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "soup").rglob("*")} == times
    assert "exists and is not the average of these runs" in refusal(runs[:2], tmp_path / "soup")


def test_a_run_with_itself_is_that_run(runs: list[Path], tmp_path: Path) -> None:
    average([runs[0], runs[0]], tmp_path / "soup")
    assert is_same(checkpoint.load(tmp_path / "soup").weights, checkpoint.load(runs[0]).weights)


def test_an_average_of_averages_tells_of_every_run(runs: list[Path], tmp_path: Path) -> None:
    average(runs[:2], tmp_path / "first")
    average([tmp_path / "first", runs[2]], tmp_path / "second")
    told = {entry["name"]: entry for entry in checkpoint.load(tmp_path / "second").config["runs"]}
    assert set(told) == {"first", "federated"}
    assert [entry["name"] for entry in told["first"]["config"]["runs"]] == ["seed 2", "seed 3"]


def test_a_bundle_goes_in_with_the_weights_of_a_phone(
    runs: list[Path], tiny_bundle: Path, tmp_path: Path
) -> None:
    average([tiny_bundle, runs[0]], tmp_path / "soup")
    soup, *of = (checkpoint.load(source) for source in [tmp_path / "soup", tiny_bundle, runs[0]])
    assert is_same(soup.weights, mean([each.weights for each in of]))
    (told,) = (entry for entry in soup.config["runs"] if entry["kind"] == "bundle")
    assert told["name"] == tiny_bundle.name
    assert told["weights_sha256"] == of[0].weights_sha256()
    average([runs[0], tiny_bundle], tmp_path / "other")
    assert contents(tmp_path / "soup") == contents(tmp_path / "other")


def test_runs_of_one_start_are_known_by_it(
    runs: list[Path], tiny_run: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    assert is_of_one_start(average(runs, tmp_path / "alike"))
    assert is_of_one_start(average([tiny_run, runs[2]], tmp_path / "start and end"))
    far = tmp_path / "far"
    shutil.copytree(runs[0], far)
    changed(far, "init", value="0" * 64)
    assert not is_of_one_start(average([runs[1], far], tmp_path / "apart"))
    changed(far, "init", value=checkpoint.sha256(tiny_bundle / "model.onnx"))
    assert is_of_one_start(average([tiny_bundle, far], tmp_path / "from a bundle"))


def test_what_learned_from_phones_is_known_through_averages_and_bundles(
    runs: list[Path], tiny_run: Path, tmp_path: Path
) -> None:
    for run, knows in ((tiny_run, False), (runs[0], False), (runs[2], True)):
        assert checkpoint.knows_phones(run) == knows
    average(runs[:2], tmp_path / "central")
    average([runs[0], runs[2]], tmp_path / "both")
    for name, knows in (("central", False), ("both", True)):
        bundle = export(tmp_path / name, tmp_path / f"{name}.bundle")
        assert checkpoint.knows_phones(tmp_path / name) == knows
        assert checkpoint.knows_phones(bundle.path) == checkpoint.load(bundle.path).after_phones == knows
        described = checkpoint.read_json(tmp_path / name / "config.json")
        del described["after_phones"]  # as averages were that are older than this
        checkpoint.write_json(tmp_path / name / "config.json", described)
        assert checkpoint.knows_phones(tmp_path / name)


def test_an_average_is_exported_and_started_from_as_any_run(
    runs: list[Path], tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    soup = tmp_path / "soup"
    average(runs, soup)
    bundle = export(soup, tmp_path / "bundle", precision="float32")
    verify_against_run(bundle.path, soup)
    origin = bundle.manifest.provenance
    assert (origin["kind"], "steps" in origin, "rounds" in origin) == ("average", False, False)
    assert "privacy" not in origin
    lines = describe(open_bundle(bundle.path)).splitlines()
    (place,) = (number for number, line in enumerate(lines) if line == "made by   average")
    digest = checkpoint.load(runs[2]).weights_sha256()[:12]
    assert lines[place + 1] == f"of        federated: federate, 2 rounds, weights {digest}"
    assert lines[place + 2].startswith("of        seed 2: train, 4 steps, weights ")
    assert "average of several runs" in list(model_lines(bundle.manifest, None))
    config = load("tiny", [*small_overrides, "train.num_steps=1", "train.validation_rows=8"])
    train(config, tiny_data, tmp_path / "on", init=soup)
    assert checkpoint.load(tmp_path / "on").config["init"] == "soup"


def test_an_average_is_not_trained_on_in_its_folder(
    runs: list[Path], tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    average(runs, tmp_path / "soup")
    with pytest.raises(UserError, match="kind was 'average' and is now 'train'"):
        train(load("tiny", small_overrides), tiny_data, tmp_path / "soup")


# -------------------------------------------------------------------------------------- what is not averaged


def test_one_run_is_no_average(runs: list[Path], tmp_path: Path) -> None:
    assert "needs two runs at least" in refusal(runs[:1], tmp_path / "soup")


def test_bundles_alone_have_no_word_list(tiny_bundle: Path, tmp_path: Path) -> None:
    said = refusal([tiny_bundle, tiny_bundle], tmp_path / "soup")
    assert "are bundles" in said
    assert "one run folder at least" in said


def test_a_bundle_of_other_pieces_is_named(runs: list[Path], tiny_bundle: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / "run"))
    with (run / "tokenizer.model").open("ab") as file:
        file.write(b"\n")
    assert f"{tiny_bundle} was made of other data than {run} (its tokenizer.model" in refusal(
        [tiny_bundle, run], tmp_path / "soup"
    )


def test_a_private_bundle_is_refused_by_its_ledger(
    runs: list[Path], tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["provenance"]["privacy"] = {"epsilon": 3.25, "delta": 1e-7}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert f"{bundle} is private, with epsilon 3.25" in refusal([runs[0], bundle], tmp_path / "soup")


def test_an_unfinished_run_is_named(copies: list[Path], tmp_path: Path) -> None:
    (copies[1] / "done.json").unlink()
    assert f"{copies[1]} is not finished" in refusal(copies, tmp_path / "soup")
    checkpoint.write_json(copies[1] / "done.json", {"step": 3})  # a trunk that is given more steps
    assert f"{copies[1]} is not finished" in refusal(copies, tmp_path / "soup")
    checkpoint.write_json(copies[1] / "done.json", {})
    assert f"{copies[1] / 'done.json'} is damaged; delete it" in refusal(copies, tmp_path / "soup")


def test_another_shape_is_named(copies: list[Path], tmp_path: Path) -> None:
    latest = checkpoint.latest(copies[1])
    assert latest is not None
    state = checkpoint.read_json(latest / "state.json")
    state["model"]["rope_base"] = 500.0
    checkpoint.write_json(latest / "state.json", state)
    said = refusal(copies, tmp_path / "soup")
    assert f"{copies[1]} has another shape than {copies[0]} (model.rope_base 500.0, not 10000.0)" in said


@pytest.mark.parametrize("name", checkpoint.CARRIED)
def test_other_data_are_named(name: str, copies: list[Path], tmp_path: Path) -> None:
    with (copies[1] / name).open("ab") as file:
        file.write(b"\n")
    assert f"(its {name} is another)" in refusal(copies, tmp_path / "soup")


def test_another_objective_is_named(copies: list[Path], tmp_path: Path) -> None:
    changed(copies[1], "config", "train", "objective", value="infill")
    assert "(infill, not causal)" in refusal(copies, tmp_path / "soup")


def test_weights_that_are_no_numbers_are_left_out(copies: list[Path], tmp_path: Path) -> None:
    loaded = checkpoint.load(copies[1])
    loaded.weights["model.norm.weight"][0] = torch.nan
    shutil.rmtree(copies[1] / "checkpoints")
    checkpoint.save(copies[1], loaded.step, loaded.weights, {}, {}, loaded.model_config)
    assert "weights that are no numbers" in refusal(copies, tmp_path / "soup")


@pytest.mark.parametrize("private", [0, 1])
def test_a_private_run_is_refused_with_the_reason(private: int, copies: list[Path], tmp_path: Path) -> None:
    loaded = checkpoint.load(copies[private])
    spent = {"row": {"privacy": {"epsilon": 3.25, "delta": 1e-7}}}
    shutil.rmtree(copies[private] / "checkpoints")
    checkpoint.save(copies[private], loaded.step, loaded.weights, {}, spent, loaded.model_config)
    said = refusal(copies, tmp_path / "soup")
    assert f"{copies[private]} is private, with epsilon 3.25" in said
    assert "the sum of what all the runs cost them" in said


def test_a_run_that_promises_privacy_is_private_before_its_ledger_says_so(
    copies: list[Path], tmp_path: Path
) -> None:
    changed(copies[0], "config", "privacy", "mode", value="ftrl")
    assert f"{copies[0]} is private, and" in refusal(copies, tmp_path / "soup")


@pytest.mark.parametrize("taken", ["file", "folder", "run"])
def test_what_stands_in_the_way_stays(taken: str, runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "soup"
    if taken == "file":
        out.write_text("mine")
    elif taken == "folder":
        out.mkdir()
        (out / "config.json").write_text("// mine")
    else:
        shutil.copytree(runs[0], out)
    assert "exists and is not the average" in refusal(runs, out)
    assert out.exists()


def test_a_place_that_cannot_be_written_is_one_sentence(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Cannot write the run folder" in refusal(runs, tmp_path / "file" / "soup")


def test_what_a_killed_average_left_is_cleared_and_an_empty_folder_is_a_place(
    runs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / ".soup.new" / "checkpoints" / "00000000.new").mkdir(parents=True)
    (tmp_path / "soup").mkdir()
    average(runs, tmp_path / "soup")
    assert [path.name for path in tmp_path.iterdir()] == ["soup"]
    assert checkpoint.load(tmp_path / "soup").kind == "average"


KILLED_EVERYWHERE = """
# Averages, killing itself with SIGKILL at the first, second, third ... file operation that writes, each time
# in a child process; then averages once more without.
import os, shutil, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from fedkey_server.averaging import average

WRITING = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.copyfile")
out, expected, *runs = map(Path, sys.argv[1:])

def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

def killed_at(operation):
    child = os.fork()
    if child == 0:
        left = operation
        def count(event, details):
            nonlocal left
            is_open = event == "open" and isinstance(details[1], str) and "w" in details[1]
            if is_open or event in WRITING:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        average(runs, out)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)

whole, operation = contents(expected), 0
was_killed = True
while was_killed:
    operation += 1
    shutil.rmtree(out, ignore_errors=True)
    was_killed = killed_at(operation)
    assert contents(out) in ([whole] if not was_killed else [{}, whole]), operation
    average(runs, out)
    assert contents(out) == whole
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name], operation
print(operation - 1)
"""


def test_a_kill_at_any_moment_leaves_an_average_whole_or_none(
    runs: list[Path], tmp_path: Path, fork: Callable[..., Forked]
) -> None:
    average(runs[:2], tmp_path / "expected")
    (tmp_path / "place").mkdir()
    arguments = [tmp_path / "place" / "soup", tmp_path / "expected", *runs[:2]]
    process = fork(KILLED_EVERYWHERE, arguments, ["fedkey_server.averaging"])
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert int(output) > 15


# ---------------------------------------------------------------------------------------------- the command


def test_the_command_compares_all_on_the_same_rows(
    runs: list[Path], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soup = tmp_path / "soup"
    assert fedkey_server("average", *runs, "--run", soup, "--data", tiny_data) == 0
    said, titles, *lines = capsys.readouterr().out.splitlines()
    assert said == f"{soup}: the average of 3 runs"
    assert titles.split() == ["validation", "loss", "top-1", "%"]
    assert [line.split("  ")[0] for line in lines] == [str(run) for run in [*runs, soup]]
    assert [line.split("  ")[-1] for line in lines] == [
        "train, 4 steps",
        "train, 4 steps",
        "federate, 2 rounds",
        "their average",
    ]
    # Of a run the table says what the run itself said when it ended.
    for line, run in zip(lines, [*runs, soup], strict=True):
        done = checkpoint.read_json(run / "done.json")
        found = [f"{done['validation_loss']:.3f}", f"{100 * done['validation_top1']:.1f}"]
        assert line.removeprefix(str(run)).split()[:2] == found
    losses = [checkpoint.read_json(run / "done.json")["validation_loss"] for run in [*runs, soup]]
    assert losses[-1] < sum(losses[:-1]) / len(runs)
    row = json.loads((soup / "metrics.jsonl").read_text())
    assert row == checkpoint.read_json(soup / "done.json")
    found = export(soup, tmp_path / "bundle", precision="float32").manifest.metrics["training"]
    assert found["validation_loss"] == float(f"{losses[-1]:.4g}")
    assert fedkey_server("watch", soup, "--once") == 0
    assert f"{losses[-1]:.3f}" in capsys.readouterr().out


def test_figures_can_be_had_later_and_change_nothing_else(
    runs: list[Path], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soup = tmp_path / "soup"
    assert fedkey_server("average", *runs[:2], "--run", soup) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{soup}: the average of 2 runs\n", "")
    before = contents(soup)
    assert fedkey_server("average", *runs[:2], "--run", soup, "--data", tiny_data) == 0
    after = contents(soup)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {
        "metrics.jsonl",
        "done.json",
    }


def test_gaps_are_compared_where_they_are_trained(
    copies: list[Path], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in copies:
        changed(run, "config", "train", "objective", value="infill")
    assert fedkey_server("average", *copies, "--run", tmp_path / "soup", "--data", tiny_data) == 0
    assert "in gaps %" in capsys.readouterr().out
    assert "infill_top1" in checkpoint.read_json(tmp_path / "soup" / "done.json")


def test_runs_that_began_apart_are_averaged_with_a_warning(
    copies: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(copies[0], "init", value=None)
    assert fedkey_server("average", *copies, "--run", tmp_path / "soup") == 0
    assert "not known to have begun at the same trained weights" in capsys.readouterr().err


def test_a_mistake_is_one_sentence_and_makes_nothing(
    runs: list[Path], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "data"
    other.mkdir()
    (other / "tokenizer.model").write_bytes(b"another")
    for arguments, message in (
        ([runs[0]], "needs two runs at least"),
        ([runs[0], tmp_path / "absent"], "is neither a run folder nor a bundle"),
        ([*runs, "--data", other], "another tokenizer"),
        ([*runs, "--data", tmp_path / "absent"], "Cannot read"),
    ):
        assert fedkey_server("average", *arguments, "--run", tmp_path / "soup") == EXIT_MISTAKE
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("fedkey-server: ")
        assert message in line
        assert not (tmp_path / "soup").exists()
