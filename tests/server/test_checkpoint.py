"""Run folders: complete or absent, whatever happens in between."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forked import Forked
from torch import Tensor

from fedkey.errors import UserError
from fedkey_export.quantize import WEIGHT_LEVELS
from fedkey_server import checkpoint
from fedkey_server.model import Model, ModelConfig

SMALL = ModelConfig(
    vocab_size=40, width=16, num_layers=1, num_heads=2, num_key_value_heads=1, hidden_width=24, window=16
)


def weights_of(seed: int) -> dict[str, Tensor]:
    return Model(SMALL, seed=seed).state_dict()


def save(run: Path, step: int) -> Path:
    """A checkpoint whose weights are those of seed `step`."""
    state = {"model.norm.weight/exp_avg": torch.full((16,), float(step)), "a/step": torch.tensor(float(step))}
    return checkpoint.save(run, step, weights_of(step), state, {"nll": 0.5 * step, "targets": step}, SMALL)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What of a data folder a run looks at."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in (*checkpoint.CARRIED, "server.npz"):
        (folder / name).write_text(name)
    return folder


def start(run: Path, data: Path, init: Path | None = None, **changed: object) -> None:
    config = {"model": {"width": 16}, "train": {"seed": 1, "sizes": (1, 2)}} | changed
    checkpoint.start_run(run, config, "train", data, ("server.npz",), init)


def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    folder = save(tmp_path, 7)
    assert folder == checkpoint.latest(tmp_path) == tmp_path / "checkpoints" / "00000007"
    saved = checkpoint.read(folder)
    assert saved.weights.keys() == weights_of(7).keys()
    assert all(torch.equal(tensor, weights_of(7)[name]) for name, tensor in saved.weights.items())
    assert torch.equal(saved.state["model.norm.weight/exp_avg"], torch.full((16,), 7.0))
    assert saved.state["a/step"].shape == ()
    assert (saved.step, saved.counters, saved.model_config) == (7, {"nll": 3.5, "targets": 7}, SMALL)


def test_a_checkpoint_that_finds_no_room_is_one_sentence_and_the_one_before_is_whole(tmp_path: Path) -> None:
    save(tmp_path, 7)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(
            UserError, match=r"Cannot write the checkpoint .*00000008: .*; make room and give"
        ):
            save(tmp_path, 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000007"]
    assert checkpoint.read(checkpoint.latest(tmp_path) or tmp_path).step == 7


def test_the_newest_complete_checkpoint_wins_and_two_are_kept(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    for step in (9, 10, 100):
        save(tmp_path, step)
    (tmp_path / "checkpoints" / "00000200.new").mkdir()
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoints" / "00000100"
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["00000010", "00000100", "00000200.new"]


KILLED_EVERYWHERE = """
# Kills itself with SIGKILL at the first, second, third ... file operation of a save and of a run's start,
# each time in a child process, and looks at what is left.
import os, shutil, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from fedkey_server import checkpoint
from fedkey_server.model import Model, ModelConfig

FILE_OPERATIONS = ("open", "os.", "shutil.")
config = ModelConfig(vocab_size=40, width=16, num_layers=1, num_heads=2, num_key_value_heads=1,
                     hidden_width=24, window=16)

def save(run, step):
    weights = Model(config, seed=step).state_dict()
    checkpoint.save(run, step, weights, {"a/step": torch.tensor(float(step))}, {"n": step}, config)

def killed_at(operation, action):
    child = os.fork()
    if child == 0:
        left = operation
        def count(event, _):
            nonlocal left
            if event.startswith(FILE_OPERATIONS):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        action()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)

def everywhere(prepare, action, check):
    for operation in range(1, 1000):
        shutil.rmtree(run, ignore_errors=True)
        prepare()
        was_killed = killed_at(operation, action)
        is_done = check(was_killed)
        if not was_killed:
            return operation - 1
        if not is_done:
            action()
        check(False)
    raise AssertionError("no end")

root = Path(sys.argv[1])
run, data = root / "run", root / "data"

def check_save(was_killed):
    newest = checkpoint.latest(run)
    assert newest.name == "00000003" or (was_killed and newest.name == "00000002"), newest
    saved = checkpoint.read(newest)
    assert int(newest.name) == saved.step == saved.counters["n"] == int(saved.state["a/step"])
    for name, tensor in Model(config, seed=saved.step).state_dict().items():
        assert torch.equal(saved.weights[name], tensor)
    return newest.name == "00000003"  # killed behind the renaming, a run goes on from there

print(everywhere(lambda: [save(run, 1), save(run, 2)], lambda: save(run, 3), check_save))

data.mkdir()
for name in checkpoint.CARRIED:
    (data / name).write_text(name)

def check_start(was_killed):
    if (run / "config.json").exists():
        assert checkpoint.read_json(run / "config.json")["config"] == {"width": 16}
        assert [(run / name).read_text() for name in checkpoint.CARRIED] == list(checkpoint.CARRIED)
    else:
        assert was_killed

print(everywhere(lambda: None, lambda: checkpoint.start_run(run, {"width": 16}, "train", data, (), None),
                 check_start))
"""


def test_a_kill_at_any_file_operation_leaves_a_checkpoint_or_run_whole(
    tmp_path: Path, fork: Callable[..., Forked]
) -> None:
    process = fork(KILLED_EVERYWHERE, [tmp_path], ["fedkey_server.checkpoint"])
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    kills_of_save, kills_of_start = map(int, output.split())
    assert kills_of_save > 10
    assert kills_of_start > 5


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "missing", "garbled"])
def test_a_damaged_checkpoint_is_one_sentence_that_says_what_to_do(
    tmp_path: Path, name: str, damage: str
) -> None:
    save(tmp_path, 4)
    folder = save(tmp_path, 5)
    path = folder / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.write_bytes(b"\x00\xff" * 40)
    with pytest.raises(UserError) as refusal:
        checkpoint.read(folder)
    message = str(refusal.value)
    assert str(folder) in message
    assert message.endswith("delete it to go on from the one before.")
    assert "\n" not in message


def test_a_run_goes_on_only_with_what_it_was_made_of(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    start(run, data)
    start(run, data)
    with pytest.raises(UserError, match=r"other settings \(model.width was 16 and is now 32\)"):
        start(run, data, model={"width": 32})
    with pytest.raises(UserError, match=r"\(train.rho was 0.05 and is now 0.1\)"):
        start(run, data, train={"seed": 1, "sizes": [1, 2], "rho": 0.1})
    (data / "server.npz").write_text("other text")
    with pytest.raises(UserError, match=r"\(its server.npz was another\)"):
        start(run, data)


def test_a_setting_that_the_run_is_too_old_to_know_had_its_default(tmp_path: Path, data: Path) -> None:
    start(tmp_path / "run", data)
    start(tmp_path / "run", data, model={"width": 16, "attention": "full", "span": 32})
    with pytest.raises(UserError, match=r"model.attention was 'full' and is now 'linear'"):
        start(tmp_path / "run", data, model={"width": 16, "attention": "linear", "span": 32})


def test_a_setting_that_is_told_no_more_since_the_run_does_not_read_it_is_not_compared(
    tmp_path: Path, data: Path
) -> None:
    start(tmp_path / "run", data, rounds={"seed": 1, "timeout": 9.0}, count={"seed": 3})
    start(tmp_path / "run", data, rounds={"seed": 1})
    with pytest.raises(UserError, match=r"rounds.seed was 1 and is now 2"):
        start(tmp_path / "run", data, rounds={"seed": 2})


@pytest.mark.parametrize("text", ["[1, 2]", "7", "null"])
def test_a_folder_whose_description_is_no_object_is_no_run(text: str, tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    start(run, data)
    (run / "config.json").write_text(text)
    for use in (lambda: start(run, data), lambda: checkpoint.load(run), lambda: checkpoint.knows_phones(run)):
        with pytest.raises(
            UserError, match=r"config.json is no JSON object; delete its folder and start aga"
        ):
            use()


def test_a_run_goes_on_only_from_the_weights_it_started_with(tmp_path: Path, data: Path) -> None:
    first, run = tmp_path / "first", tmp_path / "run"
    start(first, data)
    save(first, 1)
    start(run, data, first)
    start(run, data, first)
    save(first, 2)
    with pytest.raises(UserError, match="it started from other weights"):
        start(run, data, first)
    with pytest.raises(UserError, match="it started from other weights"):
        start(run, data, None)


def test_a_run_of_the_other_kind_is_refused(tmp_path: Path, data: Path) -> None:
    checkpoint.start_run(tmp_path / "run", {}, "federate", data, (), None)
    with pytest.raises(UserError, match="kind was 'federate' and is now 'train'"):
        checkpoint.start_run(tmp_path / "run", {}, "train", data, (), None)


def test_a_run_that_is_too_old_to_know_a_setting_has_its_default(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    older = {"model": {"width": 16}, "rounds": {"seed": 1}}
    start(run, data, **older)
    newer = {"rounds": {"seed": 1, "proximal": 0.0}, "server_optimizer": {"final_share": 1.0}}
    start(run, data, **older | newer)
    with pytest.raises(UserError, match=r"other settings .*proximal"):
        start(run, data, **older | newer | {"rounds": {"seed": 1, "proximal": 0.5}})
    with pytest.raises(UserError, match=r"other settings .*final_share"):
        start(run, data, **older | newer | {"server_optimizer": {"final_share": 0.5}})


def test_an_unprepared_data_folder_is_refused_by_name(tmp_path: Path, data: Path) -> None:
    (data / "lexicon.tsv").unlink()
    (data / "server.npz").unlink()
    with pytest.raises(
        UserError, match=r"lacks lexicon\.tsv, server\.npz; run 'fedkey-server prepare' first"
    ):
        start(tmp_path / "run", data)
    assert not (tmp_path / "run").exists()


def test_one_process_works_on_a_run_and_a_killed_one_hinders_nobody(
    tmp_path: Path,
) -> None:
    program = """
import sys, time
from pathlib import Path
from fedkey_server import checkpoint
held = checkpoint.hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(100)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(
            UserError, match=r"Another process is at work on .*; wait for it, or give another"
        ):
            checkpoint.hold(tmp_path)
        process.kill()
    with checkpoint.hold(tmp_path):
        pass
    with checkpoint.hold(tmp_path):
        pass


def test_a_run_folder_that_is_a_file_is_refused(tmp_path: Path, data: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="Cannot make the run folder"):
        start(tmp_path / "run", data)


def test_a_run_folder_that_finds_no_room_is_one_sentence_and_begins_anew(tmp_path: Path, data: Path) -> None:
    (data / "sources.json").write_text("s" * 9000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(
            UserError, match=r"Cannot make the run folder .*run: .*; make room or give another"
        ):
            start(tmp_path / "run", data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    start(tmp_path / "run", data)
    assert (tmp_path / "run" / "sources.json").read_text() == "s" * 9000


def test_metrics_after_a_step_are_trimmed_with_the_torn_last_line(tmp_path: Path) -> None:
    checkpoint.trim_metrics(tmp_path, 3)
    for step in (0, 2, 4, 6):
        checkpoint.append_metrics(tmp_path, {"step": step, "loss": 1.5})
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{}\n[3]\n{"step": "3"}\n\xff\n{"step": 7, "lo')
    checkpoint.trim_metrics(tmp_path, 4)
    checkpoint.append_metrics(tmp_path, {"step": 5})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 2, 4, 5]


def test_a_run_loads_as_its_newest_checkpoint(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    start(run, data)
    save(run, 3)
    save(run, 12)
    loaded = checkpoint.load(run)
    assert (loaded.step, loaded.kind, loaded.model_config, loaded.folder) == (12, "train", SMALL, run)
    assert loaded.config["train"]["seed"] == 1
    for name, tensor in loaded.model().state_dict().items():
        assert torch.equal(tensor, weights_of(12)[name])


def test_a_bundle_loads_as_the_weights_the_phone_computes_with(tiny_bundle: Path, tiny_run: Path) -> None:
    bundle, run = checkpoint.load(tiny_bundle), checkpoint.load(tiny_run)
    assert (bundle.kind, bundle.model_config, bundle.folder) == ("bundle", run.model_config, tiny_bundle)
    assert bundle.model().state_dict().keys() == run.weights.keys()
    num_rounded = 0
    for name, tensor in run.weights.items():
        if tensor.dim() == 1:
            assert torch.equal(bundle.weights[name], tensor), name
        else:
            step = tensor.abs().amax(dim=1, keepdim=True) / WEIGHT_LEVELS
            assert bool(((bundle.weights[name] - tensor).abs() <= 0.51 * step).all()), name
            num_rounded += not torch.equal(bundle.weights[name], tensor)
    assert num_rounded > 0


def test_what_is_no_start_is_refused(tmp_path: Path, tiny_data: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    for folder in (tmp_path, tmp_path / "file", tmp_path / "absent", tmp_path / "other", tiny_data):
        with pytest.raises(UserError, match="is neither a run folder nor a bundle"):
            checkpoint.load(folder)


def test_a_run_without_a_checkpoint_is_no_start_yet(tmp_path: Path, data: Path) -> None:
    start(tmp_path / "run", data)
    with pytest.raises(UserError, match="has no checkpoint yet"):
        checkpoint.load(tmp_path / "run")


def test_weights_of_another_shape_than_described_are_refused(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    start(run, data)
    checkpoint.save(run, 1, {"model.norm.weight": torch.ones(3)}, {}, {}, SMALL)
    with pytest.raises(UserError, match="does not hold the weights of the model"):
        checkpoint.load(run).model()
