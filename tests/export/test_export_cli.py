"""`fedkey-export` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedkey import Engine
from fedkey.bundle import open_bundle
from fedkey.commands import EXIT_MISTAKE
from fedkey_export import cli


def assert_one_sentence(error: str) -> None:
    assert error.startswith("fedkey-export: ")
    assert error.endswith(".\n")
    assert error.count("\n") == 1


def test_a_run_becomes_a_bundle_that_is_described(fedkey_export, tiny_run: Path, tmp_path: Path) -> None:
    status, out, error = fedkey_export(tiny_run, "-o", tmp_path / "bundle")
    assert (status, error) == (0, "")
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert f"{sum(entry.bytes for entry in manifest.files.values()):,} bytes" in out
    assert "int8, 2 layers of width 64, 400 pieces" in out
    assert f"{manifest.num_words:,} words, en, qwerty" in out
    assert "train, 60 steps" in out
    assert "wordfreq: data CC BY-SA 4.0" in out
    assert "same first place" in out
    assert fedkey_export("inspect", tmp_path / "bundle")[1] == out


def test_the_options_are_heard(fedkey_export, tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    status, out, _ = fedkey_export("export", tiny_run, "-o", bundle, "--float", "--data", tiny_data)
    assert status == 0
    assert "float32, 2 layers" in out
    assert "positions of conversations" in out
    status, out, error = fedkey_export(tiny_run, "-o", bundle)
    assert (status, out) == (EXIT_MISTAKE, "")
    assert "add --replace" in error
    assert_one_sentence(error)
    assert open_bundle(bundle).manifest.model.precision == "float32"
    assert fedkey_export(tiny_run, "-o", bundle, "--replace")[0] == 0
    assert open_bundle(bundle).manifest.model.precision == "int8"


def test_inspect_prints_the_manifest(fedkey_export, tiny_bundle: Path) -> None:
    status, out, error = fedkey_export("inspect", tiny_bundle, "--json")
    assert (status, error) == (0, "")
    assert out == (tiny_bundle / "manifest.json").read_text(encoding="utf-8")


def test_verify_agrees_with_the_run(
    fedkey_export, tiny_bundle: Path, tiny_run: Path, tiny_data: Path
) -> None:
    status, out, error = fedkey_export("verify", tiny_bundle, tiny_run, "--data", tiny_data)
    assert (status, error) == (0, "")
    assert out.startswith("verified  on ")
    assert "positions of conversations" in out
    status, out, _ = fedkey_export("verify", tiny_bundle, tiny_run, "--json")
    assert status == 0
    figures = json.loads(out)
    assert figures["contexts"] == "sampled"
    assert figures["kl"] < 0.01


def test_every_mistake_is_one_sentence(
    fedkey_export, tiny_bundle: Path, tiny_run: Path, tmp_path: Path
) -> None:
    for arguments in (
        (tmp_path / "nothing", "-o", tmp_path / "bundle"),
        (tiny_bundle, "-o", tmp_path / "bundle"),
        (tiny_run, "-o", tiny_run),
        (tiny_run, "-o", tmp_path / "bundle", "--data", tmp_path),
        ("inspect", tmp_path / "nothing"),
        ("inspect", tiny_run),
        ("verify", tiny_bundle, tmp_path / "nothing"),
        ("verify", tiny_run, tiny_run),
        ("verify", tiny_bundle, tiny_bundle),
    ):
        status, out, error = fedkey_export(*arguments)
        assert (status, out) == (EXIT_MISTAKE, "")
        assert_one_sentence(error)
    assert list(tmp_path.iterdir()) == []
    Engine.open(tiny_bundle)


@pytest.mark.parametrize("arguments", [(), ("run",), ("verify", "bundle"), ("inspect",), ("run", "--flaot")])
def test_what_is_missing_is_asked_for(
    fedkey_export, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        fedkey_export(*arguments)
    assert stopped.value.code == EXIT_MISTAKE
    assert capsys.readouterr().err.startswith("usage: fedkey-export")


def test_help_lists_the_subcommands(fedkey_export) -> None:
    status, out, _ = fedkey_export("--help")
    assert status == 0
    assert all(f"  {name} " in out for name in cli.SUBCOMMANDS)
