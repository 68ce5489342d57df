"""Processes that train together: what each takes, and two real ones that end where one does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from at_command import with_overrides
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import distributed as dist

from fedkey.errors import UserError
from fedkey_server import checkpoint
from fedkey_server.cli.train import SEVERAL
from fedkey_server.config import load
from fedkey_server.parallel import ALONE, Processes, together
from fedkey_server.train import train


@given(num_rows=st.integers(1, 60), count=st.integers(1, 8), num_parts=st.integers(1, 5))
def test_the_parts_of_all_processes_are_the_rows_of_the_step(
    num_rows: int, count: int, num_parts: int
) -> None:
    processes = [Processes(rank, count, rank) for rank in range(count)]
    if num_rows < count * num_parts:
        with pytest.raises(UserError, match=f"{num_rows} rows .* raise train.batch_rows or lower"):
            processes[0].parts(num_rows, num_parts)
        return
    parts = [part for process in processes for part in process.parts(num_rows, num_parts)]
    assert parts == ALONE.parts(num_rows, count * num_parts)
    assert [number for number, _ in parts] == list(range(count * num_parts))
    rows = [row for _, part in parts for row in range(num_rows)[part]]
    assert rows == list(range(num_rows))
    sizes = {part.stop - part.start for _, part in parts}
    assert max(sizes) - min(sizes) <= 1


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("RANK", "3")  # of something else
    with together() as processes:
        assert processes == ALONE
        assert processes.is_first


def started_by_torchrun(monkeypatch: pytest.MonkeyPatch, rank: int, count: int) -> None:
    numbers = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank}
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    for name, number in numbers.items():
        monkeypatch.setenv(name, str(number))


def test_one_process_of_torchrun_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    started_by_torchrun(monkeypatch, 0, 1)
    with together() as processes:
        assert processes == Processes(0, 1, 0)
        assert not dist.is_initialized()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    started_by_torchrun(monkeypatch, 2, 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="has 2 GPUs, too few for process 2"), together():
        pass


def test_a_mistake_of_the_first_process_is_told_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str | None] = []

    def broadcast(values: list[str | None], src: int) -> None:
        if sent:
            values[:] = sent  # what the first process sent
        else:
            sent.extend(values)

    def mistake() -> None:
        raise UserError("There is no data.")

    monkeypatch.setattr(dist, "broadcast_object_list", broadcast)
    with pytest.raises(UserError, match="There is no data"):
        Processes(0, 2, 0).once(mistake)
    with pytest.raises(UserError, match="There is no data"):
        Processes(1, 2, 1).once(lambda: pytest.fail("this is the first process's work"))
    sent[:] = [None]
    Processes(1, 2, 1).once(lambda: pytest.fail("this is the first process's work"))


def launch(data: Path, run: Path, overrides: list[str], **environment: str) -> str:
    """Trains with two processes, by the command that the help page gives; returns what they print."""
    *command, preset, dots = SEVERAL.splitlines()[-1].split()
    assert (preset, dots) == ("PRESET", "...")
    beside = Path(sys.executable).parent
    for program in ("torchrun", "fedkey-server"):
        command[command.index(program)] = str(beside / program)
    command += ["tiny", "--data", str(data), "--run", str(run)]
    command += with_overrides(*overrides)
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


SHORT = (
    "train.num_steps=12",
    "train.batch_rows=7",  # so that the shares differ
    "train.validate_every=6",
    "train.validation_rows=9",
    "train.checkpoint_every=4",
    "train.optimizer=sophia",
    "train.hessian_every=3",
    "train.warmup_steps=3",
    "train.learning_rate=2e-3",
)


@pytest.mark.slow
def test_two_processes_end_where_one_does(
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    one_thread: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the CPU, over gloo. One process that takes a step in two parts draws the same labels for Sophia."""
    overrides, alone, run = [*small_overrides, *SHORT], tmp_path / "alone", tmp_path / "run"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expected = train(load("tiny", [*overrides, "train.accumulate=2"]), tiny_data, alone)
    on_cpu = {"CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}

    output = launch(tiny_data, run, overrides, **on_cpu)
    assert output.count("12 steps, validation loss") == 1
    found = checkpoint.read_json(run / "done.json")
    assert found["validation_loss"] == pytest.approx(expected["validation_loss"], abs=1e-4)
    metrics = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (alone, run)]
    for one, two in zip(*metrics, strict=True):
        assert json.loads(two) == pytest.approx(json.loads(one), rel=1e-3)
    weights, state = checkpoint.load(run).weights, checkpoint.read(run / "checkpoints" / "00000012").state
    for name, tensor in checkpoint.load(alone).weights.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-4)
    assert any(name.endswith("/hessian") and tensor.any() for name, tensor in state.items())

    # Killed after the eighth step, between two lines of metrics, it goes on to the same end, to the bit.
    final = run / "checkpoints" / "00000012"
    kept, metrics_text = tmp_path / "kept", (run / "metrics.jsonl").read_text()
    shutil.move(final, kept)
    (run / "done.json").unlink()
    launch(tiny_data, run, overrides, **on_cpu)
    assert checkpoint.read_json(run / "done.json") == found
    assert (run / "metrics.jsonl").read_text() == metrics_text
    for name in ("model.safetensors", "state.safetensors"):
        before = load_file(kept / name)
        for key, tensor in load_file(final / name).items():
            assert torch.equal(tensor, before.pop(key)), key
        assert not before


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")
@pytest.mark.parametrize("more", [[], ["train.compile=true", "train.accumulate=2"]])
def test_two_gpus_end_where_one_does(
    tiny_data: Path, small_overrides: list[str], tmp_path: Path, more: list[str]
) -> None:
    """Over NCCL, in bf16: its rounding depends on how a step is split."""
    overrides = [*small_overrides, *SHORT, *more]
    expected = train(load("tiny", overrides), tiny_data, tmp_path / "alone")
    launch(tiny_data, tmp_path / "run", overrides)
    found = checkpoint.read_json(tmp_path / "run" / "done.json")
    assert found["validation_loss"] == pytest.approx(expected["validation_loss"], rel=1e-2)
