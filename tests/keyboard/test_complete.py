"""`fedkey complete`, as a script calls it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from fedkey import Engine
from fedkey.cli import SUBCOMMANDS
from fedkey.commands import EXIT_MISTAKE, run_command


def fedkey(*arguments: str) -> int:
    return run_command("fedkey", "A keyboard.", SUBCOMMANDS, arguments=arguments, default="type")


def test_one_line_of_json(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fedkey("complete", str(tiny_bundle), "--context", "see you", "--typed", "tom", "-k", "2") == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    answer = json.loads(printed)
    expected = Engine.open(tiny_bundle).suggest("see you", "tom", 2)
    assert answer.keys() == {each.name for each in dataclasses.fields(expected)}
    assert answer["words"] == list(expected.words)
    assert answer["words"][0] == "tomorrow"
    assert answer["log_probs"] == pytest.approx(expected.log_probs)
    assert answer["autocorrect"] is None
    assert answer["latency_ms"] > 0


def test_what_stands_behind_the_word_counts(behind_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for after in ((), ("--after", " at the beach")):
        assert fedkey("complete", str(behind_bundle), "--context", "see you ", *after) == 0
        printed.append(json.loads(capsys.readouterr().out)["log_probs"])
    expected = Engine.open(behind_bundle).suggest("see you ", "", after=" at the beach")
    assert printed[1] == pytest.approx(expected.log_probs)
    assert printed[0] != pytest.approx(expected.log_probs)


def test_nothing_typed_anywhere_gives_first_words(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fedkey("complete", str(tiny_bundle)) == 0
    words = json.loads(capsys.readouterr().out)["words"]
    assert len(words) == 3
    assert all(word[0].isupper() for word in words)


def test_arguments_in_no_encoding_are_taken(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fedkey("complete", str(tiny_bundle), "--context", "caf\udce9 ", "--typed", "t\udcff") == 0
    assert all(word[0] == "t" for word in json.loads(capsys.readouterr().out)["words"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("-k", "0"), "at least 1"), (("-k", "-3"), "at least 1")],
    ids=["none", "negative"],
)
def test_a_mistake_is_one_sentence(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert fedkey("complete", str(tiny_bundle), *arguments) == EXIT_MISTAKE
    assert said in capsys.readouterr().err


def test_no_bundle_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fedkey("complete", str(tmp_path / "nothing")) == EXIT_MISTAKE
    error = capsys.readouterr().err
    assert error.startswith("fedkey: ")
    assert error.count("\n") == 1
