"""The whole path as its three users walk it, by the real commands, from text to a suggestion."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from forked import Forker

Command = Callable[..., str]
MODULES = {"fedkey": "fedkey", "fedkey-server": "fedkey_server", "fedkey-export": "fedkey_export"}
STANDS_ON = (
    "fedkey_server.prepare", "fedkey_server.train", "fedkey_server.server_app", "fedkey_server.grid",
    "fedkey_server.client_app", "fedkey_server.evaluate", "fedkey_export.package",
)  # fmt: skip


def program(name: str) -> str:
    """What the console script of a command does."""
    return f"import sys; from {MODULES[name]}.cli import main; sys.exit(main())"


def fresh_command(name: str, *arguments: object) -> str:
    """Runs one of the three commands in a new interpreter and returns what it printed; fails with what it
    complained about."""
    words = [sys.executable, "-c", program(name), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"{name} {arguments[0]}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def command(forker: Forker) -> Command:
    """The same where all that commands import is there already: for those that only stand on torch as an
    earlier one did."""

    def command(name: str, *arguments: object) -> str:
        with closing(forker.fork(program(name), arguments, STANDS_ON)) as process:
            output, errors = process.communicate(timeout=400)
        assert process.returncode == 0, f"{name} {arguments[0]}: {errors}"
        return output

    return command


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, small_overrides: list[str], command: Command) -> Path:
    """A folder in which every stage was run once by its command."""
    folder = tmp_path_factory.mktemp("path")
    preset = ["tiny", *(word for override in small_overrides for word in ("--set", override))]
    rounds = ["num_rounds=3", "phones_per_round=6", "min_reports=3", "client_learning_rate=1.0"]
    preset += [word for setting in rounds for word in ("--set", f"rounds.{setting}")]
    data = folder / "data"
    command("fedkey-server", "prepare", *preset, "--data", data)
    command("fedkey-server", "train", *preset, "--data", data, "--run", folder / "central")
    fresh_command(
        "fedkey-server", "federate", *preset, "--data", data, "--run", folder / "federated",
        "--init", folder / "central",
    )  # fmt: skip
    command("fedkey-export", folder / "central", "-o", folder / "central.bundle")
    fresh_command("fedkey-export", folder / "federated", "-o", folder / "federated.bundle")
    return folder


def test_data_says_what_a_file_holds(chat_file: Path) -> None:
    report = json.loads(fresh_command("fedkey-server", "data", chat_file, "--json"))
    num_lines = len(chat_file.read_text().splitlines())
    assert report["authors"] == 60
    assert report["conversations"] == 240
    assert sum(entry["lines"] for entry in report["rejected"].values()) + report["messages"] == num_lines


def test_every_stage_leaves_a_finished_run(path: Path) -> None:
    federated = json.loads((path / "federated" / "done.json").read_text())
    assert federated["changed_rounds"] == 3
    assert federated["reports"] == 18
    central = json.loads((path / "central" / "done.json").read_text())
    assert federated["validation_loss"] < central["validation_loss"]


def test_the_bundle_verifies_against_its_run_and_not_against_another(path: Path, command: Command) -> None:
    assert "verified" in command("fedkey-export", "verify", path / "federated.bundle", path / "federated")
    with pytest.raises(AssertionError, match="was not made from"):
        command("fedkey-export", "verify", path / "federated.bundle", path / "central")


def test_the_keyboard_suggests_from_it(path: Path) -> None:
    printed = fresh_command(
        "fedkey", "complete", path / "federated.bundle", "--context", "see you ", "--typed", "tom"
    )
    assert json.loads(printed)["words"][0] == "tomorrow"


def test_the_table_compares_the_bundles_on_unseen_authors(path: Path, command: Command) -> None:
    table = command(
        "fedkey-server", "evaluate", f"central={path / 'central.bundle'}",
        f"federated={path / 'federated.bundle'}", "--text", path / "data" / "test.jsonl",
        "--json", path / "table.json", "--max-words", 300, "--processes", 1,
    )  # fmt: skip
    assert "federated compared with" in table
    numbers = json.loads((path / "table.json").read_text())
    assert numbers["rows"]["federated"]["top_1"]["value"] > numbers["rows"]["unigram"]["top_1"]["value"]
    assert set(numbers["gains_of_last"]["top_1"]) == {"unigram", "central"}


def test_the_same_bundle_is_graded_without_torch(path: Path) -> None:
    printed = fresh_command(
        "fedkey", "eval", path / "federated.bundle", "--text", path / "data" / "test.jsonl",
        "--max-words", 200, "--json",
    )  # fmt: skip
    numbers = json.loads(printed)
    assert 0 < numbers["fedkey"]["recall"]["0"]["top_1"]["value"] < 1
    assert numbers["fedkey"]["bits_per_character"] < 4


def test_a_bundle_is_a_starting_point(path: Path, small_overrides: list[str], command: Command) -> None:
    preset = ["tiny", *(word for override in small_overrides for word in ("--set", override))]
    command(
        "fedkey-server", "train", *preset, "--set", "train.num_steps=1", "--data", path / "data",
        "--run", path / "again", "--init", path / "federated.bundle",
    )  # fmt: skip
    again = json.loads((path / "again" / "done.json").read_text())
    federated = json.loads((path / "federated" / "done.json").read_text())
    assert again["validation_loss"] == pytest.approx(federated["validation_loss"], abs=0.3)
