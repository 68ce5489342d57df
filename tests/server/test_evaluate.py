"""The comparison table, on scores made by hand and on real bundles."""

from __future__ import annotations

import json
import resource
from dataclasses import asdict
from pathlib import Path

import pytest
from at_command import fedkey_server

from fedkey.commands import EXIT_MISTAKE
from fedkey.metrics import Keystrokes, Recall
from fedkey.simulate import Scores
from fedkey_server.cli.evaluate import render
from fedkey_server.evaluate import Comparison, Row, compare, read_sample


def scores(words: int, hits_1: int, hits_3: int, pressed: int, characters: int) -> Scores:
    recall = Recall(positions=words, known=words, hits_1=hits_1, hits_3=hits_3)
    return Scores(after_0=recall, ideal=Keystrokes(pressed=pressed, characters=characters))


CENTRAL = Row(
    "central",
    {
        "ann": scores(100, 10, 20, 300, 500),
        "bob": scores(200, 30, 60, 640, 1000),
        "cho": scores(50, 4, 9, 170, 250),
    },
)
FEDERATED = Row(
    "federated",
    {
        "cho": scores(50, 5, 10, 165, 250),
        "ann": scores(100, 12, 22, 290, 500),
        "bob": scores(200, 34, 64, 620, 1000),
    },
)


def test_values_are_ratios_of_sums_over_authors() -> None:
    table = Comparison.of([CENTRAL, FEDERATED])
    assert (table.authors, table.words) == (3, 350)
    assert table.rows["central"]["top_1"].value == pytest.approx(44 / 350)
    assert table.rows["central"]["top_3"].value == pytest.approx(89 / 350)
    assert table.rows["central"]["ksr"].value == pytest.approx(1 - 1110 / 1750)
    for metrics in table.rows.values():
        for interval in metrics.values():
            assert interval.low <= interval.value <= interval.high


def test_gains_are_of_the_last_row_and_paired_over_authors() -> None:
    table = Comparison.of([CENTRAL, FEDERATED])
    gain = table.gains_of_last["top_1"]["central"]
    assert gain.value == pytest.approx((51 - 44) / 350)
    # Every author gained two points: the authors differ, their gains do not, and the pairs know it.
    assert 0.019 < gain.low <= gain.high < 0.021
    own = table.rows["federated"]["top_1"]
    assert own.high - own.low > 0.05
    backwards = Comparison.of([FEDERATED, CENTRAL]).gains_of_last["top_1"]["federated"]
    assert backwards.value == pytest.approx(-gain.value)


def test_a_row_against_itself_gains_nothing() -> None:
    table = Comparison.of([CENTRAL, Row("twin", CENTRAL.by_author)])
    for metric in ("top_1", "top_3", "ksr"):
        gain = table.gains_of_last[metric]["central"]
        assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_the_table_says_what_was_typed_who_gained_and_what_it_means() -> None:
    unigram = Row("unigram", {name: scores(100, 3, 9, 400, 500) for name in CENTRAL.by_author})
    longer = Row("central, longer", CENTRAL.by_author)
    text = render(Comparison.of([unigram, CENTRAL, longer, FEDERATED]), 1234, 5678)
    lines = text.splitlines()
    assert lines[:2] == [
        "350 words of 3 authors no stage has seen",
        "(1,234 stretches of 5,678 conversations)",
    ]
    assert lines[3].split() == ["top-1", "%", "top-3", "%", "KSR", "%"]
    systems, gains = lines[4:8], lines[10:13]
    assert [line.split("  ")[0] for line in systems] == ["unigram", "central", "central, longer", "federated"]
    assert lines[9] == "federated compared with"
    assert [line.split("  ")[1] for line in gains] == ["unigram", "central", "central, longer"]
    assert "12.6 [8.0, 15.0]" in systems[1]
    assert "14.6 [10.0, 17.0]" in systems[3]
    assert [cell.strip() for cell in gains[2].split("  ") if "+" in cell] == ["+2.0 [2.0, 2.0]"] * 3
    assert max(map(len, lines)) <= 80
    assert len({line.rindex("]") for line in systems + gains}) == 1
    assert "95 % interval" in lines[-1]


@pytest.fixture(scope="module")
def text(tiny_data: Path) -> Path:
    return tiny_data / "test.jsonl"


def test_real_bundles_are_compared_on_unseen_authors(
    tiny_bundle: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = fedkey_server(
        "evaluate", f"first={tiny_bundle}", f"second={tiny_bundle}", "--text", text, "--max-words", 60,
        "--processes", 1, "--json", tmp_path / "table.json", "--table", tmp_path / "table.txt",
    )  # fmt: skip
    assert status == 0
    printed = capsys.readouterr()
    assert printed.out == (tmp_path / "table.txt").read_text()
    assert "stretches" in printed.err
    numbers = json.loads((tmp_path / "table.json").read_text())
    assert list(numbers["rows"]) == ["unigram", "first", "second"]
    assert numbers["words"] >= 60
    assert numbers["rows"]["first"] == numbers["rows"]["second"]
    assert numbers["gains_of_last"]["ksr"]["first"] == {"value": 0, "low": 0, "high": 0}
    # A model trained on such chats knows more than word frequencies.
    assert numbers["gains_of_last"]["top_1"]["unigram"]["low"] > 0
    chosen, _ = read_sample(text, 60, 0)
    again = compare([("first", tiny_bundle), ("second", tiny_bundle)], chosen, processes=1)
    assert json.loads(json.dumps(asdict(Comparison.of(again)))) == numbers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["central"], "'central' is not of the form NAME=BUNDLE."),
        (["=bundle"], "'=bundle' is not of the form NAME=BUNDLE."),
        (["central="], "'central=' is not of the form NAME=BUNDLE."),
        (["a=one", "a=two"], "There would be two rows called 'a'; give each bundle a name of its own."),
        (["unigram=one"], "There would be two rows called 'unigram'"),
        (["a=one", "--max-words", "0"], "--max-words must be at least 1, not 0."),
        (["a=one", "--processes", "0"], "--processes must be at least 1, not 0."),
        (["a=/nowhere/bundle"], "/nowhere/bundle"),
        # Before anything is graded.
        (
            ["a=/nowhere/bundle", "--json", "/dev/null/a.json"],
            "Cannot write /dev/null/a.json: ",
        ),
        (
            ["a=/nowhere/bundle", "--table", "/dev/null/a.txt"],
            "Cannot write /dev/null/a.txt: ",
        ),
        (["a=/nowhere/bundle", "--table", "/tmp"], "Cannot write /tmp: it is a folder; name a file in it."),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(
    arguments: list[str], message: str, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fedkey_server("evaluate", *arguments, "--text", text) == EXIT_MISTAKE
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("fedkey-server: ")
    assert message in last


def test_a_table_whose_file_finds_no_room_is_on_screen_all_the_same(
    tiny_bundle: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--text", text, "--max-words", "60", "--processes", "1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        status = fedkey_server(
            "evaluate", f"a={tiny_bundle}", *few, "--table", tmp_path / "made" / "table.txt"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == EXIT_MISTAKE
    output, errors = capsys.readouterr()
    assert "words of" in output
    assert "KSR %" in output
    assert errors.splitlines()[-1].startswith("fedkey-server: Cannot ")


def test_a_seed_below_zero_is_no_seed(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["evaluate", "a=/nowhere/bundle", "--text", text],
        ["audit", "tiny", "--data", text, "--init", text],
    ):
        with pytest.raises(SystemExit) as stopped:
            fedkey_server(*arguments, "--seed", "-1")
        assert stopped.value.code == EXIT_MISTAKE
        assert "a seed is a whole number from 0 on, not '-1'" in capsys.readouterr().err


def test_a_bad_bundle_is_told_before_the_good_ones_are_graded(
    tiny_bundle: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    assert fedkey_server("evaluate", f"good={tiny_bundle}", f"bad={bad}", "--text", text) == EXIT_MISTAKE
    errors = capsys.readouterr().err
    assert str(bad) in errors
    assert "stretches" not in errors.replace("0 stretches", "")
