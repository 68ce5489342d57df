"""Who is a phone: the registry that `fedkey-server registry add` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from at_command import fedkey_server
from deployment import make_identity

from fedkey.commands import EXIT_MISTAKE
from fedkey_server.identities import read_registry


def hand_in(folder: Path, name: str) -> str:
    """Writes what a phone's owner hands in, and returns the key."""
    key = make_identity(folder / f"{name}.key")
    (folder / f"{name}.pub").write_text(key + "\n")
    return key


def test_phones_are_numbered_as_they_come_and_keep_their_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [hand_in(tmp_path, name) for name in "abc"]
    registry = tmp_path / "new" / "registry.json"
    assert fedkey_server("registry", "add", registry, tmp_path / "a.pub", tmp_path / "b.pub") == 0
    assert fedkey_server("registry", "add", registry, tmp_path / "b.pub", tmp_path / "c.pub") == 0
    assert read_registry(registry) == {number: bytes.fromhex(key) for number, key in enumerate(keys)}
    said = [line.split(": ") for line in capsys.readouterr().out.splitlines()]
    assert [number for number, _ in said] == ["phone 0", "phone 1", "phone 1", "phone 2"]
    assert [path.name for path in registry.parent.iterdir()] == ["registry.json"]


def test_numbers_that_were_given_by_hand_stay(tmp_path: Path) -> None:
    keys = [hand_in(tmp_path, name) for name in "ab"]
    registry = tmp_path / "registry.json"
    registry.write_text(json.dumps({"7": keys[0]}))
    assert fedkey_server("registry", "add", registry, tmp_path / "a.pub", tmp_path / "b.pub") == 0
    assert json.loads(registry.read_text()) == {"7": keys[0], "8": keys[1]}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "Cannot read the public key"),
        (bytes(range(32)), "is no public key of a phone"),  # its identity.key
        (b"ab" * 31, "64 hexadecimal digits"),
    ],
)
def test_what_is_no_key_changes_nothing(
    content: bytes | None, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hand_in(tmp_path, "a")
    if content is not None:
        (tmp_path / "b.pub").write_bytes(content)
    registry = tmp_path / "registry.json"
    assert fedkey_server("registry", "add", registry, tmp_path / "a.pub", tmp_path / "b.pub") == EXIT_MISTAKE
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not registry.exists()


def test_a_registry_that_is_none_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hand_in(tmp_path, "a")
    registry = tmp_path / "registry.json"
    registry.write_text("mine")
    assert fedkey_server("registry", "add", registry, tmp_path / "a.pub") == EXIT_MISTAKE
    assert "no registry of phones" in capsys.readouterr().err
    assert registry.read_text() == "mine"
