"""Central training: it learns, and no kill changes what it learns."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from at_command import fedkey_server, with_overrides
from forked import Forked
from safetensors.torch import load_file

from fedkey.commands import EXIT_MISTAKE
from fedkey.errors import UserError
from fedkey.metrics import deciles
from fedkey_server import checkpoint, optim
from fedkey_server.batches import BatchStream, Documents, PackedRows, pack
from fedkey_server.config import Config, load
from fedkey_server.model import IGNORE, Model
from fedkey_server.phones import Phones
from fedkey_server.step import Batch, to_batch
from fedkey_server.train import TrainConfig, gradient_step, train
from fedkey_server.validation import MIN_PIECES, validate, validation_rows

CPU = torch.device("cpu")


@pytest.fixture
def batch(tiny_data: Path, config: Config) -> Batch:
    window = config.model.window
    return to_batch(pack(Documents.load(tiny_data / "server.npz"), window, window).take(slice(0, 4)), CPU)


def test_training_lowers_the_loss_on_authors_it_never_saw(
    tiny_run: Path, tiny_data: Path, config: Config
) -> None:
    held_out = validation_rows(
        tiny_data, config.model.window, config.train.validation_rows, config.train.seed
    )
    untrained = validate(Model(config.model, seed=config.train.seed), held_out, 16, CPU)
    done = checkpoint.read_json(tiny_run / "done.json")
    assert done["validation_loss"] < 0.6 * untrained["validation_loss"]
    assert done["validation_top1"] > 0.3 > 5 * untrained["validation_top1"]
    lines = (tiny_run / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == done["step"] == config.train.num_steps


def test_validation_does_not_depend_on_the_batch_size(
    tiny_run: Path, tiny_data: Path, config: Config
) -> None:
    model = checkpoint.load(tiny_run).model()
    held_out = validation_rows(tiny_data, config.model.window, 10, 1)
    whole, parts = validate(model, held_out, 10, CPU), validate(model, held_out, 3, CPU)
    assert parts == pytest.approx(whole, rel=1e-5)


def hits_and_targets(model: Model, documents: Documents) -> tuple[float, int]:
    rows = pack(documents, model.config.window, model.config.window)
    losses = model.loss(*to_batch(rows, CPU))
    return float(losses.hits), losses.num_targets


def test_the_deciles_are_those_of_authors_graded_alone(
    tiny_run: Path, tiny_data: Path, config: Config
) -> None:
    model = checkpoint.load(tiny_run).model()
    authors = Phones.load(tiny_data / "validation.npz")
    alone = [hits_and_targets(model, authors.documents(author)) for author in range(len(authors))]
    enough = [hits / targets for hits, targets in alone if targets >= MIN_PIECES]
    assert len(enough) > 1
    for batch_rows in (3, 100):
        measured = validate(model, validation_rows(tiny_data, config.model.window, 10**6, 1), batch_rows, CPU)
        assert measured["top1_deciles"] == pytest.approx(deciles(enough))
        assert measured["validation_top1"] == sum(hits for hits, _ in alone) / sum(n for _, n in alone)


def test_data_prepared_without_authors_borders_is_measured_without_deciles(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    model = checkpoint.load(tiny_run).model()
    Documents.load(tiny_data / "validation.npz").save(tmp_path / "validation.npz")
    old, new = (
        validate(model, validation_rows(data, config.model.window, 10, 1), 4, CPU)
        for data in (tmp_path, tiny_data)
    )
    assert new.pop("top1_deciles")
    assert old == pytest.approx(new, rel=1e-6)


def test_too_short_authors_have_no_deciles(tiny_run: Path, tiny_data: Path, config: Config) -> None:
    held_out = validation_rows(tiny_data, config.model.window, 10, 1)
    short = held_out.rows.targets.copy()
    for author in range(held_out.num_authors):
        row, place = np.nonzero((held_out.authors == author) & (short != IGNORE))
        short[row[MIN_PIECES - 1 :], place[MIN_PIECES - 1 :]] = IGNORE
    held_out = replace(held_out, rows=replace(held_out.rows, targets=short))
    assert "top1_deciles" not in validate(checkpoint.load(tiny_run).model(), held_out, 10, CPU)


def test_a_finished_run_is_left_alone(tiny_run: Path, tiny_data: Path, config: Config) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")}
    assert train(config, tiny_data, tiny_run) == checkpoint.read_json(tiny_run / "done.json")
    assert {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")} == before


def test_the_gradient_is_clipped_to_its_norm_and_zero_leaves_it_alone(config: Config, batch: Batch) -> None:
    def moved(clip_norm: float) -> dict[str, torch.Tensor]:
        model = Model(config.model)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        nll, num_targets = gradient_step(
            model, torch.optim.SGD(model.parameters(), lr=1.0), batch, 0.0, clip_norm
        )
        assert nll / num_targets > 1
        return {name: before[name] - tensor for name, tensor in model.state_dict().items()}

    def norm(step: dict[str, torch.Tensor]) -> float:
        return math.sqrt(sum(float(tensor.square().sum()) for tensor in step.values()))

    free, clipped = moved(0.0), moved(0.01)
    assert norm(free) > 0.1
    assert norm(clipped) == pytest.approx(0.01, rel=1e-3)
    model = Model(config.model)
    losses = model.loss(*batch)
    (losses.total / losses.num_targets).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(free[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_a_batch_without_targets_changes_nothing(config: Config, batch: Batch) -> None:
    tokens, targets, positions, document_ids = batch
    model = Model(config.model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    silent = (tokens, torch.full_like(targets, -100), positions, document_ids)
    assert gradient_step(model, optimizer, silent, 0.0, 1.0) == (0.0, 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def assert_equal_checkpoints(first: Path, second: Path) -> None:
    for name in ("model.safetensors", "state.safetensors"):
        found = load_file(first / name)
        for key, tensor in load_file(second / name).items():
            assert torch.equal(found.pop(key), tensor), key
        assert not found


SHORT = (
    "train.num_steps=44",
    "train.batch_rows=4",
    "train.warmup_steps=5",
    "train.validate_every=11",
    "train.validation_rows=4",
    "train.checkpoint_every=4",
    "train.hessian_every=5",
)


@pytest.mark.parametrize(
    ("optimizer", "kills"),
    [
        # While a checkpoint waits to be renamed; when everything is done but the final figures.
        ("adamw", [("os.rename", "00000016.new"), ("os.rename", "done.json")]),
        # After a line of metrics, before the checkpoint of the same step; in the middle of its files.
        pytest.param(
            "sophia",
            [("os.mkdir", "00000044.new"), ("os.rename", "00000044.new/state.json")],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    one_thread: None,
    start: Callable[..., Forked],
    killed: Callable[..., None],
    finished: Callable[..., tuple[str, str]],
    kill_when_there: Callable[[Forked, Path], None],
    optimizer: str,
    kills: list[tuple[str, str]],
) -> None:
    overrides = [*small_overrides, *SHORT, f"train.optimizer={optimizer}"]
    unkilled, run = tmp_path / "unkilled", tmp_path / "run"
    expected = train(load("tiny", overrides), tiny_data, unkilled)
    arguments = ["train", "tiny", "--data", str(tiny_data), "--run", str(run), "--threads", "1"]
    arguments += with_overrides(*overrides)

    kill_when_there(start(arguments), run / "checkpoints" / "00000004")
    for killed_at in kills:
        killed(arguments, killed_at)
        assert not (run / "done.json").exists()
    output, _ = finished(arguments)
    assert f"44 steps, validation loss {expected['validation_loss']:.3f} nats" in output

    assert checkpoint.read_json(run / "done.json") == expected
    assert (run / "metrics.jsonl").read_text() == (unkilled / "metrics.jsonl").read_text()
    assert_equal_checkpoints(run / "checkpoints" / "00000044", unkilled / "checkpoints" / "00000044")


def test_a_second_process_is_kept_off_a_run_and_touches_nothing_of_it(
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    start: Callable[..., Forked],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    arguments = ["train", "tiny", "--data", str(tiny_data), "--run", str(run), "--threads", "1"]
    arguments += with_overrides(*small_overrides, *SHORT)
    first = start(arguments)
    deadline = time.monotonic() + 60
    while not (run / "checkpoints" / "00000012").exists():
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(first.pid, signal.SIGSTOP)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert fedkey_server(*arguments) == EXIT_MISTAKE
    assert f"Another process is at work on {run}; wait for it, or give" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    first.kill()
    first.wait(timeout=60)
    assert fedkey_server(*arguments) == 0  # a killed one hinders nobody
    assert checkpoint.read_json(run / "done.json")["step"] == 44


@pytest.mark.parametrize("optimizer", optim.OPTIMIZERS)
def test_every_optimizer_learns_and_goes_on_where_it_was_cut(
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    optimizer: str,
) -> None:
    config = load(
        "tiny",
        [*small_overrides, *SHORT, f"train.optimizer={optimizer}", "train.num_steps=18",
         "train.validate_every=9", "train.learning_rate=2e-3", "train.accumulate=2"],
    )  # fmt: skip
    uncut, run = tmp_path / "uncut", tmp_path / "run"
    expected = train(config, tiny_data, uncut)
    lines = [json.loads(line) for line in (uncut / "metrics.jsonl").read_text().splitlines()]
    assert lines[1]["validation_loss"] < lines[0]["validation_loss"] - 0.05

    take = BatchStream.batch

    def cut(stream: BatchStream, step: int) -> PackedRows:
        if step == 11:
            raise InterruptedError
        return take(stream, step)

    with monkeypatch.context() as patch:
        patch.setattr(BatchStream, "batch", cut)
        with pytest.raises(InterruptedError):
            train(config, tiny_data, run)
    assert checkpoint.latest(run) == run / "checkpoints" / "00000008"
    assert train(config, tiny_data, run) == expected
    assert_equal_checkpoints(run / "checkpoints" / "00000018", uncut / "checkpoints" / "00000018")


def test_a_run_may_go_on_in_other_parts(
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    cut_at_checkpoint: Callable[[Callable[[], object]], None],
) -> None:
    """Parts change rounding and nothing else, so a run that ran out of memory need not begin anew."""
    overrides = [*small_overrides, *SHORT, "train.num_steps=8", "train.validate_every=8"]
    expected = train(load("tiny", overrides), tiny_data, tmp_path / "whole")
    run = tmp_path / "run"
    cut_at_checkpoint(lambda: train(load("tiny", overrides), tiny_data, run))
    found = train(load("tiny", [*overrides, "train.accumulate=3"]), tiny_data, run)
    assert found == pytest.approx(expected, rel=1e-4)
    assert checkpoint.read_json(run / "config.json")["config"]["train"]["batch_rows"] == 4


def test_at_a_constant_rate_a_finished_run_may_be_given_more_steps(
    tiny_data: Path, config: Config, tmp_path: Path, one_thread: None
) -> None:
    constant = replace(
        config, train=replace(config.train, final_share=1.0, optimizer="muon", validate_every=5)
    )
    whole, longer = tmp_path / "whole", tmp_path / "longer"
    train(constant, tiny_data, whole, num_steps=12)
    for num_steps in (7, 12):
        assert train(constant, tiny_data, longer, num_steps=num_steps)["step"] == num_steps
    expected, found = checkpoint.load(whole), checkpoint.load(longer)
    assert found.step == 12
    for name, tensor in expected.weights.items():
        assert torch.equal(tensor, found.weights[name]), name
    assert train(constant, tiny_data, longer, num_steps=3)["step"] == 12  # it has those
    train(config, tiny_data, tmp_path / "falling", num_steps=7)
    with pytest.raises(UserError, match="holds a run with other settings"):
        train(config, tiny_data, tmp_path / "falling", num_steps=12)


def test_a_profile_is_written_and_changes_nothing(
    tiny_data: Path, small_overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*small_overrides, *SHORT, "train.num_steps=8", "train.optimizer=sophia"]
    expected = train(load("tiny", overrides), tiny_data, tmp_path / "plain")
    arguments = ["train", "tiny", "--data", tiny_data, *with_overrides(*overrides)]
    run = tmp_path / "run"
    assert fedkey_server(*arguments, "--run", run, "--profile") == 0
    errors = capsys.readouterr().err
    assert checkpoint.read_json(run / "done.json") == expected
    assert not list(run.glob("*.new"))
    events = json.loads((run / "trace.json").read_text())["traceEvents"]
    names = [str(event.get("name")) for event in events]
    is_loss = re.compile("fedkey::[a-z_]*loss").fullmatch
    assert sum(is_loss(name) is not None for name in names) == 5  # four steps and a curvature
    assert sum(name == "Optimizer.step#SophiaG.step" for name in names) == 4
    lines = errors.splitlines()
    (top,) = [i for i, line in enumerate(lines) if "costliest operators of the profiled steps" in line]
    assert lines[top].split()[:3] == ["CPU", "ms", "share"]
    shares = [float(line.split()[1].rstrip("%")) for line in lines[top + 1 : top + 11]]
    assert shares == sorted(shares, reverse=True)
    assert 50 < sum(shares) <= 100.5
    # Anywhere among them: on a busy machine whatever was kept waiting climbs.
    assert any(line.endswith("aten::mm") for line in lines[top + 1 : top + 11])
    assert lines[top + 11].startswith(f"{run / 'trace.json'}: open it at https://ui.perfetto.dev")
    assert "GFLOP/s" in lines[-1]

    assert fedkey_server(*arguments, "--run", run, "--profile") == EXIT_MISTAKE
    assert "is finished and has no steps left to profile; give another" in capsys.readouterr().err
    few = ["--set", "train.num_steps=2", "--run", str(tmp_path / "few"), "--profile"]
    assert fedkey_server(*arguments, *few) == EXIT_MISTAKE
    assert "has too few steps left to profile (2); give another" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")  # by torch itself
@pytest.mark.parametrize("objective", ["causal", "masked", "permutation"])
def test_a_compiled_model_learns_the_same(
    tiny_data: Path, small_overrides: list[str], tmp_path: Path, objective: str
) -> None:
    overrides = [*small_overrides, *SHORT, "model.num_layers=1", "train.num_steps=6", "train.accumulate=2"]
    overrides.append(f"train.objective={objective}")
    expected = train(load("tiny", overrides), tiny_data, tmp_path / "plain")
    found = train(load("tiny", [*overrides, "train.compile=true"]), tiny_data, tmp_path / "compiled")
    assert found == pytest.approx(expected, rel=1e-4)
    weights = [checkpoint.load(tmp_path / name).weights for name in ("plain", "compiled")]
    assert weights[0].keys() == weights[1].keys()


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", optim.OPTIMIZERS)
def test_training_on_a_gpu_lowers_the_loss_compiled_or_not(
    tiny_data: Path, small_overrides: list[str], tmp_path: Path, optimizer: str
) -> None:
    """In bf16, with the kernels that CUDA gets by default."""
    overrides = [
        *small_overrides, "train.num_steps=40", "train.validate_every=10", "train.accumulate=2",
        f"train.optimizer={optimizer}", "train.learning_rate=2e-3",
    ]  # fmt: skip
    ends = []
    for compiled in ("false", "true"):
        run = tmp_path / compiled
        ends.append(train(load("tiny", [*overrides, f"train.compile={compiled}"]), tiny_data, run))
        first, *_, last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert last["validation_loss"] < first["validation_loss"] - 0.2
    assert ends[0]["validation_loss"] == pytest.approx(ends[1]["validation_loss"], rel=0.05)


def test_a_run_can_start_from_a_run_or_a_bundle(
    tiny_run: Path,
    tiny_bundle: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    still = with_overrides(*small_overrides, "train.num_steps=1", "train.learning_rate=1e-9")
    found = {}
    for init in (tiny_run, tiny_bundle):
        run = tmp_path / f"from-{init.name}"
        assert fedkey_server(
            "train", "tiny", "--data", tiny_data, "--run", run, "--init", init, *still
        ) == 0  # fmt: skip
        assert "1 steps, validation loss" in capsys.readouterr().out
        found[init] = checkpoint.read_json(run / "done.json")["validation_loss"]
        assert checkpoint.read_json(run / "config.json")["config"]["init"] == init.name
    expected = checkpoint.read_json(tiny_run / "done.json")["validation_loss"]
    assert found[tiny_run] == pytest.approx(expected, rel=1e-5)
    # Seven bits cost the phone a little, and a run that starts from its bundle starts from just that.
    assert found[tiny_bundle] == pytest.approx(expected, rel=0.02)
    assert found[tiny_bundle] != found[tiny_run]


class Longer(NamedTuple):
    """A federation of one round, and central training of as many steps as its phones took."""

    federated: Path
    federate: list[str]
    longer: Path
    train: list[str]


@pytest.fixture
def longer_than(
    tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> Callable[..., Longer]:
    """`longer_than(*overrides)`: the commands of both."""

    def longer_than(*overrides: str) -> Longer:
        federated, longer = tmp_path / "federated", tmp_path / "longer"
        few = ("rounds.num_rounds=1", "rounds.min_reports=1", "train.validation_rows=4")
        alike = ["--data", str(tiny_data), "--init", str(tiny_run)]
        alike += with_overrides(*small_overrides, *few, *overrides)
        return Longer(
            federated,
            ["federate", "tiny", "--run", str(federated), *alike],
            longer,
            ["train", "tiny", "--run", str(longer), "--steps-of", str(federated), *alike],
        )

    return longer_than


def test_as_many_steps_as_a_federated_run_took(
    longer_than: Callable[..., Longer], capsys: pytest.CaptureFixture[str]
) -> None:
    commands = longer_than("rounds.phones_per_round=3", "rounds.batch_rows=1")
    assert fedkey_server(*commands.train) == EXIT_MISTAKE
    assert "is no finished federated run" in capsys.readouterr().err
    assert fedkey_server(*commands.federate) == 0
    assert fedkey_server(*commands.train) == 0
    local_steps = checkpoint.read_json(commands.federated / "done.json")["local_steps"]
    assert local_steps >= 3
    assert checkpoint.read_json(commands.longer / "done.json")["step"] == local_steps


def test_steps_that_phones_of_a_private_run_did_not_tell_are_refused(
    longer_than: Callable[..., Longer], capsys: pytest.CaptureFixture[str]
) -> None:
    commands = longer_than(
        "rounds.phones_per_round=5", "rounds.max_rows=1", "rounds.update_norm=0.5", "privacy.mode=poisson",
        "privacy.delta=1e-3", "privacy.noise_multiplier=0.5",
    )  # fmt: skip
    assert fedkey_server(*commands.federate) == 0
    assert "local steps" not in capsys.readouterr().out
    assert fedkey_server(*commands.train) == EXIT_MISTAKE
    assert "did not say how many steps they took, since it is a private run" in capsys.readouterr().err
    assert not commands.longer.exists()


def test_steps_of_a_central_run_are_refused(
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = fedkey_server(
        "train", "tiny", "--data", tiny_data, "--run", tmp_path / "run", "--steps-of", tiny_run,
        *with_overrides(*small_overrides),
    )  # fmt: skip
    assert status == EXIT_MISTAKE
    assert "is no finished federated run" in capsys.readouterr().err


SPOILED_DATA: dict[str, Callable[[Path], object]] = {
    "other tokenizer": lambda data: (data / "tokenizer.model").write_bytes(b"another"),
    "no text": lambda data: Documents.load(data / "server.npz").take(0, 0).save(data / "server.npz"),
    "no validation": lambda data: (data / "validation.npz").write_bytes(b"spoiled"),
}


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (
            "no data",
            "absent lacks tokenizer.model, lexicon.tsv, dictionary.txt, sources.json, server.npz, ",
        ),
        (
            "other shape",
            "holds a model of another shape than the preset; choose the preset it",
        ),
        ("other tokenizer", "was made with another tokenizer than"),
        (
            "more pieces",
            " was prepared in 400 pieces, and model.vocab_size is 1,000; choose the preset that it was "
            "prepared with, or prepare the data for this one in another folder.",
        ),
        ("no text", "There is no text to train on; "),
        ("no validation", "validation.npz is damaged; "),
        ("few steps to profile", " has too few steps left to profile (2); "),
        (
            "shorter window",
            " was prepared for a window of 128, and model.window is 64; prepare the data for it in another "
            "folder, or set model.window=128.",
        ),
        ("no start", "is neither a run folder nor a bundle."),
        ("other settings", "holds a run with other settings (train.seed was 1 and is now 2); give another"),
        ("no threads", "--threads must be at least 1, not 0."),
        ("many threads", "--threads must be at most 1024, not 100000000000."),
        ("no number", "holds weights that are no numbers; start from another."),
        ("diverged", "The training diverged: the train loss is nan after 8 steps; lower "),
        ("diverged at once", "The training diverged: the validation loss is nan after 1 steps; lower "),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(
    mistake: str,
    message: str,
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, run, init, more = tiny_data, tmp_path / "run", tiny_run, "train.seed=2"
    if mistake == "no data":
        data = tmp_path / "absent"
    elif mistake == "other shape":
        more = "model.num_layers=1"
    elif mistake == "shorter window":
        more = "model.window=64"
    elif mistake == "more pieces":
        more = "model.vocab_size=1000"
    elif mistake in SPOILED_DATA:
        data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
        SPOILED_DATA[mistake](data)
    elif mistake == "no start":
        init = tiny_data
    elif mistake == "no number":
        init = Path(shutil.copytree(tiny_run, tmp_path / "init"))
        start = checkpoint.load(init)
        start.weights["model.norm.weight"][0] = torch.nan
        checkpoint.save(init, start.step + 1, start.weights, {}, {}, start.model_config)
    options = ["--data", str(data), *with_overrides(*small_overrides, more)]
    if mistake == "more pieces":
        options += with_overrides("tokenizer.vocab_size=1000")
    if mistake == "few steps to profile":
        options += ["--profile", *with_overrides("train.num_steps=2")]
    if mistake.endswith(" threads"):
        options += ["--threads", "0" if mistake == "no threads" else "100000000000"]
    if mistake.startswith("diverged"):
        num_steps = 1 if mistake == "diverged at once" else 8
        options += with_overrides(
            "train.learning_rate=3e38", "train.warmup_steps=0", f"train.num_steps={num_steps}"
        )
    if mistake == "other settings":
        run = tiny_run
    options += ["--run", str(run)]
    if mistake not in ("shorter window", "more pieces", "other settings"):
        options += ["--init", str(init)]
    assert fedkey_server("train", "tiny", *options) == EXIT_MISTAKE
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.startswith("fedkey-server: ")
    assert errors.count("\n") == 1
    assert run.exists() is (mistake in ("diverged", "diverged at once", "other settings"))
    assert run == tiny_run or not (run / "checkpoints").exists()


def test_a_damaged_end_is_named_and_measured_again_once_it_is_gone(
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (run / "done.json").write_text("{}")
    arguments = ["train", "tiny", "--data", tiny_data, "--run", run, *with_overrides(*small_overrides)]
    assert fedkey_server(*arguments) == EXIT_MISTAKE
    assert f"{run / 'done.json'} is damaged; delete it, and the run meas" in capsys.readouterr().err
    (run / "done.json").unlink()
    assert fedkey_server(*arguments) == 0
    expected = checkpoint.read_json(tiny_run / "done.json")
    assert checkpoint.read_json(run / "done.json") == pytest.approx(expected, rel=1e-5)


def test_a_run_goes_on_whatever_its_federation_will_be(
    tiny_run: Path, tiny_data: Path, small_overrides: list[str]
) -> None:
    options = ["--data", str(tiny_data), "--run", str(tiny_run)]
    more = with_overrides(
        *small_overrides,
        "rounds.num_rounds=7",
        "server_optimizer.name=adam",
        "count.seed=3",
        "sketch.width=99",
    )
    assert fedkey_server("train", "tiny", *options, *more) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "sgd"}, "train.optimizer must be one of adamw, sophia, lion, muon, not 'sgd'"),
        ({"num_steps": 0}, "train.num_steps must be at least 1, not 0"),
        ({"learning_rate": 0.0}, "train.learning_rate must be more than 0"),
        ({"clip_norm": -1.0}, "train.clip_norm must not be negative"),
        ({"beta2": 1.0}, "train.beta2 must be from 0 up to 1, not 1.0"),
        ({"warmup_steps": -3}, "train.warmup_steps must not be negative, but it is -3"),
        ({"accumulate": 0}, "train.accumulate must be at least 1, not 0"),
        ({"accumulate": 5, "batch_rows": 4}, "train.accumulate 5 must not be more than batch_rows 4"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**change)  # type: ignore[arg-type]
