"""`fedkey-server data`: what it prints, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedkey_server.cli import main

CHAT = """\
{"user": "ann", "dialog": 1, "turn": 0, "text": "hello there"}
{"user": "bob", "dialog": 1, "turn": 1, "text": "hi"}
{"user": "ann", "dialog": 2, "turn": 0}
broken
broken again
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "chat[1].jsonl").write_text(CHAT)
    (tmp_path / "notes.txt").write_text("one note\n")
    (tmp_path / "empty.txt").write_text("")
    return tmp_path


def data(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["fedkey-server", "data", *map(str, arguments)])
    return main()


def test_a_table_and_every_reason_with_its_places(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data(monkeypatch, folder / "chat[1].jsonl", folder / "notes.txt") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    rows = [line.split() for line in shown.out.splitlines()]
    assert rows[0] == ["source", "authors", "conversations", "messages", "words", "rejected"]
    assert any(row[-5:] == ["2", "1", "2", "3", "3"] for row in rows)
    assert any(row[-5:] == ["0", "1", "1", "2", "0"] for row in rows)
    path = folder / "chat[1].jsonl"
    assert f"{path}: 2 rejected: not JSON ({path}:4, {path}:5)\n" in shown.out
    assert f"{path}: 1 rejected: field 'text' is missing ({path}:3)\n" in shown.out


def test_json_is_one_object_a_source(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "chat[1].jsonl"
    assert data(monkeypatch, "--json", path, folder / "notes.txt") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "source": str(path),
        "authors": 2,
        "conversations": 1,
        "messages": 2,
        "words": 3,
        "rejected": {
            "field 'text' is missing": {"lines": 1, "first": [f"{path}:3"]},
            "not JSON": {"lines": 2, "first": [f"{path}:4", f"{path}:5"]},
        },
    }
    assert (second["messages"], second["rejected"]) == (1, {})


def test_an_unreadable_source_is_a_mistake_but_the_others_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = folder / "missing.txt"
    assert data(monkeypatch, missing, folder / "notes.txt", folder / "empty.txt") == 2
    shown = capsys.readouterr()
    assert "notes.txt" in shown.out.replace("\n", "")
    assert shown.err.splitlines() == [
        f"fedkey-server: There is no file {missing}.",
        f"fedkey-server: {folder / 'empty.txt'} holds no usable message: it is empty.",
    ]


def test_more_rejects_than_are_shown_end_in_dots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("hello\n" + "\n" * 9)
    assert data(monkeypatch, tmp_path / "a.txt") == 0
    assert f"9 rejected: empty line ({tmp_path}/a.txt:2, " in (out := capsys.readouterr().out)
    assert f"{tmp_path}/a.txt:6, ...)" in out


def test_the_installed_command_says_what_is_wrong_without_a_traceback(folder: Path) -> None:
    command = [sys.executable, "-c", "import sys; from fedkey_server.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*command, "data", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"fedkey-server: {folder} is a folder; give the files in it.\n"
