"""The page on running a federation, its commands typed as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import NEEDS_PROC, SECONDS
from flower_processes import CHECKOUT, copy_app, free_port, processes_with, signal_all

from fedkey_server import checkpoint
from fedkey_server.identities import read_registry

PAGE = (CHECKOUT / "server" / "FEDERATION.md").read_text(encoding="utf-8")


def commands() -> str:
    """All that stands in shell blocks."""
    return "".join(re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL))


def test_every_file_it_points_to_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert links
    assert [link for link in links if not (CHECKOUT / "server" / link).exists()] == []


def test_every_option_it_names_is_one() -> None:
    """Of Flower's programs, which change theirs from version to version."""
    named = set(re.findall(r"--[a-z-]+", "".join(re.findall(r"flower-superlink [^`>]+", PAGE))))
    told = subprocess.run(
        [Path(sys.executable).with_name("flower-superlink"), "--help"], capture_output=True, text=True
    )
    assert len(named) >= 8
    assert named <= set(re.findall(r"--[a-z-]+", told.stdout))


@pytest.fixture
def checkout(
    tmp_path: Path, tiny_data: Path, tiny_run: Path, tiny_bundle: Path
) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder like a checkout after `make demo`, of the tests' small model, and the environment for it."""
    copy_app(tmp_path)
    for name, folder in {"data": tiny_data, "central": tiny_run, "federated.bundle": tiny_bundle}.items():
        shutil.copytree(folder, tmp_path / "runs" / "demo" / name)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f'PATH="{Path(sys.executable).parent}:$PATH"\n')
    environment = os.environ | {"FEDKEY_TEST": str(tmp_path), "OMP_NUM_THREADS": "1"}
    yield tmp_path, environment
    for sign in (15, 9):
        signal_all(f"FEDKEY_TEST={tmp_path}", sign)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
@NEEDS_PROC
def test_its_commands_federate_three_phones_and_leave_nothing_running(
    checkout: tuple[Path, dict[str, str]], small_overrides: list[str]
) -> None:
    folder, environment = checkout
    small = [*small_overrides, "rounds.batch_rows=2", "rounds.max_rows=4", "train.validation_rows=8"]
    quoted = ";".join(small).replace("\\", "\\\\").replace('"', '\\"')
    typed = commands().replace('\nset = "', f'\nset = "{quoted};').replace("9092", str(free_port()))
    typed += "wait\n"
    with (folder / "said").open("w") as said:
        done = subprocess.Popen(
            ["bash", "-c", typed], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=said, stderr=said,
        )  # fmt: skip
        try:
            done.wait(timeout=SECONDS - 100)
        finally:
            done.kill()
            done.communicate()
    federation = folder / "runs" / "federation"
    complaints = (folder / "said").read_text() + (federation / "superlink.log").read_text()[-3000:]
    assert (federation / "run" / "done.json").exists(), complaints
    registry = read_registry(federation / "registry.json")
    assert list(registry) == [0, 1, 2]
    rows = [json.loads(line) for line in (federation / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(row["reports"], row["changed"]) for row in rows if row["step"]] == [(3, True), (3, True)]
    assert checkpoint.read_json(federation / "bundle" / "manifest.json")["provenance"]["kind"] == "federate"
    for number in range(3):
        events = [
            json.loads(line) for line in (federation / str(number) / "said.jsonl").read_text().splitlines()
        ]
        assert events[-1]["event"] == "left", events
    assert processes_with(f"FEDKEY_TEST={folder}") == [], complaints
