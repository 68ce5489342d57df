"""The README's commands, run as a newcomer would; the demo at reduced size."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
VENV = Path(sys.prefix)

REDUCED = {
    "SET": "train.num_steps=40 train.validation_rows=16 rounds.num_rounds=2 rounds.phones_per_round=4 "
    "rounds.min_reports=2 rounds.max_rows=2",
    "WORDS": "300",
}
"""The demo on the same text, but with next to no training: minutes become one."""


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs make with this interpreter's environment, taken as set up."""
    return subprocess.run(
        ["make", f"VENV={VENV}", "-o", str(VENV / "installed"), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        stdin=subprocess.DEVNULL,
    )


def commands() -> list[str]:
    """Every line of the README's shell blocks, comments taken off."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.strip()]


def test_the_first_commands_are_the_keyboard_the_demo_and_the_tests() -> None:
    assert commands()[:3] == ["make keyboard", "make demo", "make test"]


def test_what_it_leaves_running_its_last_line_stops() -> None:
    """By what `flwr run` starts a local SuperLink with; the whole command line of nothing else holds that."""
    _, block = README.split("it leaves a local SuperLink\nrunning, which the last line stops:")
    run, stop = re.findall(r"```sh\n(.*?)```", block, flags=re.DOTALL)[0].strip().splitlines()[-2:]
    assert run.startswith("flwr run . ")
    (pattern,) = re.fullmatch(r"pkill -u \"\$\(id -u\)\" -f '([^']+)'", stop).groups()  # type: ignore[union-attr]
    flwr_cli = pytest.importorskip("flwr.cli.local_superlink")
    source = Path(flwr_cli.__file__).read_text(encoding="utf-8")
    (start,) = re.findall(r"command = \[(.*?)\]", source, flags=re.DOTALL)
    assert " ".join(re.findall(r'"([^"]+)"', start)).startswith(pattern)


def test_every_make_target_it_names_exists_and_has_help() -> None:
    named = set(re.findall(r"`make ([a-z-]+)", README)) | {
        line.split()[1] for line in commands() if line.startswith("make ")
    }
    listed = set(re.findall(r"^  make (\S+)", make("help").stdout, flags=re.MULTILINE))
    assert named <= listed


def test_every_file_it_points_to_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    missing = [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]
    assert missing == []


def test_the_tree_it_draws_is_the_tree() -> None:
    tree = README.split("## Where things are")[1].split("```")[1]
    folder = ""
    for line in tree.strip().splitlines():
        name = line.split()[0]
        folder = "" if not line.startswith(" ") else folder
        assert (ROOT / folder / name).exists(), line
        folder = name if name.endswith("/") and not line.startswith(" ") else folder


def test_every_subcommand_it_names_exists() -> None:
    import fedkey.cli
    import fedkey_export.cli
    import fedkey_server.cli

    known = {
        "fedkey": fedkey.cli.SUBCOMMANDS,
        "fedkey-server": fedkey_server.cli.SUBCOMMANDS,
        "fedkey-export": fedkey_export.cli.SUBCOMMANDS,
    }
    spans = re.findall(r"`(fedkey(?:-server|-export)?) ([a-z|\s]+?)(?= [A-Z-]|`)", README)
    named = [(program, name) for program, names in spans for name in re.split(r"[\s|]+", names) if name]
    assert len(named) >= 6
    assert [entry for entry in named if entry[1] not in known[entry[0]]] == []


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`make demo` at reduced size, once."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    done = make("demo", f"DEMO={folder}", *(f"{key}={value}" for key, value in REDUCED.items()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "federated compared with" in done.stdout
    assert "Open the keyboard on it with: " in done.stdout  # without a terminal
    # Two rounds of four phones; the private run that the README shows is tried below.
    assert re.search(r"^federate federated: 8 phones in \d+\.\d s", done.stderr, flags=re.MULTILINE)
    return folder


@pytest.mark.slow
def test_the_demo_ends_with_a_table_and_a_bundle(demo: Path) -> None:
    numbers = json.loads((demo / "table.json").read_text())
    assert list(numbers["rows"]) == ["unigram", "central", "central, longer", "federated"]
    assert numbers["authors"] > 5
    manifest = json.loads((demo / "federated.bundle" / "manifest.json").read_text())
    assert manifest["provenance"]["kind"] == "federate"
    assert manifest["model"]["precision"] == "int8"


@pytest.mark.slow
def test_its_private_federation_runs_as_it_stands(demo: Path) -> None:
    (line,) = [line for line in commands() if line.startswith("fedkey-server federate ")]
    words = shlex.split(line.replace("runs/demo/", f"{demo}/"))
    # By coins a round asks 5 phones or so; one that asks too few changes nothing.
    fewer = ["--set", "rounds.num_rounds=3", "--set", "rounds.min_reports=2", "--set", "rounds.max_rows=2"]
    done = subprocess.run(
        [VENV / "bin" / words[0], *words[1:], *fewer], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rounds = [json.loads(row) for row in (demo / "private" / "metrics.jsonl").read_text().splitlines()[1:]]
    assert any(row["changed"] for row in rounds)
    num_reports = sum(row["reports"] for row in rounds)
    assert f"private: 3 rounds ({sum(row['changed'] for row in rounds)} changed the model), " in done.stdout
    assert f" {num_reports} reports, " in done.stdout
    assert all(row["privacy"]["epsilon"] > 1000 for row in rounds)  # so little noise promises nothing


@pytest.mark.slow
def test_a_second_demo_does_nothing_again(demo: Path) -> None:
    done = make("demo", f"DEMO={demo}", *(f"{key}={value}" for key, value in REDUCED.items()))
    assert done.returncode == 0
    assert "federated compared with" in done.stdout
    assert not re.search(r"fedkey-(server|export)", done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tmux") is None, reason="drives a real terminal through tmux")
def test_in_a_terminal_the_demo_opens_the_keyboard(demo: Path) -> None:
    socket = f"fedkey-{uuid.uuid4().hex[:8]}"

    def tmux(*arguments: str) -> str:
        done = subprocess.run(["tmux", "-L", socket, *arguments], capture_output=True, text=True)
        return done.stdout

    settings = " ".join(f"{key}='{value}'" for key, value in REDUCED.items())
    line = f"make VENV={VENV} -o {VENV / 'installed'} demo DEMO={demo} {settings}; echo finished $?"
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("LINES", "COLUMNS"):  # pytest's own, which would pin the keyboard's size
        environment.pop(name, None)
    subprocess.run(
        ["tmux", "-L", socket, "new-session", "-d", "-x", "90", "-y", "30", "-c", str(ROOT), "sh"],
        check=True,
        env=environment,
    )
    try:
        tmux("send-keys", line, "Enter")
        wait_for(
            lambda: " ms" in tmux("capture-pane", "-p")  # the engine has answered
        )
        tmux("send-keys", "C-q")
        wait_for(lambda: "finished 0" in tmux("capture-pane", "-p"))
    finally:
        tmux("kill-server")


def wait_for(condition, seconds: float = 60.0) -> None:  # type: ignore[no-untyped-def]
    """Asks until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
