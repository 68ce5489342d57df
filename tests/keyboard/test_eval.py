"""`fedkey eval`, as a person and as a script call it."""

from __future__ import annotations

import json
import lzma
import os
import re
import signal
import subprocess
import sys
import time
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import pytest

from fedkey.cli import SUBCOMMANDS
from fedkey.cli.eval import SOURCES
from fedkey.cli.tables import print_evaluation
from fedkey.commands import EXIT_INTERRUPTED, EXIT_MISTAKE, run_command
from fedkey.conversations import read_conversations, sample
from fedkey.learning import FirstMessages, Learning
from fedkey.metrics import (
    Autocorrect,
    Corrections,
    Keystrokes,
    Latency,
    Likelihood,
    NewWords,
    Recall,
    RightWords,
)
from fedkey.mistyping import (
    ByKind,
    Misspelt,
    Typing,
    grade_misspellings,
    grade_typing,
    place,
)
from fedkey.ngram import Vocabulary, count
from fedkey.simulate import Bounded, Scores
from fedkey.summaries import (
    MIN_WORDS_FOR_DECILES,
    learning_summary,
    misspellings_summary,
    summary,
    typing_summary,
)
from fedkey.typos import gradable, installed_misspellings, read_misspellings
from fedkey.workers import TAKES_TAPS, OpenedBundle, grade_bundle

Json = dict[str, Any]
MAX_WORDS = "120"
WORDS_ONLY = ("--section", "words")


def fedkey(*arguments: object) -> int:
    return run_command(
        "fedkey", "A keyboard.", SUBCOMMANDS, arguments=list(map(str, arguments)), default="type"
    )


@pytest.fixture(scope="module")
def test_file(tiny_data: Path) -> Path:
    return tiny_data / "test.jsonl"


@pytest.fixture(scope="module")
def graded(tiny_bundle: Path, test_file: Path) -> dict[str, dict[str, Scores]]:
    """What the command should print, graded here."""
    chosen = sample(read_conversations(test_file), int(MAX_WORDS), 0)
    return {
        "unigram": grade_bundle(tiny_bundle, chosen, baseline=True),
        "fedkey": grade_bundle(tiny_bundle, chosen),
    }


@pytest.fixture
def few_misspellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    """Every tenth line of the installed list of misspellings, if there is one: sifting all of it takes more
    than a second of a core."""
    installed = installed_misspellings()
    if installed is None:
        return None
    path = tmp_path / "few.txt"
    lines = installed.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[::10]), encoding="utf-8")
    monkeypatch.setattr("fedkey.cli.eval.installed_misspellings", lambda: path)
    return path


# ---------------------------------------------------------------------------------------------------- as JSON


@pytest.fixture
def printed(tiny_bundle: Path, test_file: Path, capsys: pytest.CaptureFixture[str]) -> Json:
    options = ("--max-words", MAX_WORDS, "--json", *WORDS_ONLY)
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    answer: Json = json.loads(out)
    return answer


def test_the_numbers_are_those_of_the_simulated_typist(
    printed: Json, graded: dict[str, dict[str, Scores]], test_file: Path
) -> None:
    conversations = read_conversations(test_file)
    chosen = sample(conversations, int(MAX_WORDS), 0)
    assert printed["text"] == "test.jsonl"
    assert printed["graded"] == {"stretches": len(chosen), "conversations": len(conversations)}
    for name, by_author in graded.items():
        total, found = reduce(add, by_author.values()), printed[name]
        assert (found["authors"], found["words"]) == (len(by_author), total.after_0.positions)
        for letters in range(4):
            recall, expected = found["recall"][str(letters)], total.after(letters)
            assert (recall["words"], recall["known_words"]) == (expected.positions, expected.known)
            assert recall["top_1"]["value"] == pytest.approx(expected.top_1)
            assert recall["top_3"]["value"] == pytest.approx(expected.top_3)
            assert recall["mrr"] == pytest.approx(expected.mean_reciprocal_rank)
            assert recall["top_1"]["low"] <= recall["top_1"]["value"] <= recall["top_1"]["high"]
        assert found["ksr"]["ideal"]["value"] == pytest.approx(total.ideal.savings)
        for share, keys in (
            ("0.25", total.bounded.quarter), ("0.5", total.bounded.half),
            ("0.75", total.bounded.three_quarters),
        ):  # fmt: skip
            assert found["ksr"]["bounded"][share]["value"] == pytest.approx(keys.savings)
        assert found["latency_ms"]["calls"] == total.latency.total > 0
        percentiles = [found["latency_ms"][each] for each in ("p50", "p90", "p99")]
        assert percentiles == sorted(percentiles)
        assert percentiles[0] > 0
        assert len(found["author_deciles"]["top_1"]) == len(found["author_deciles"]["ksr_ideal"]) == 9


def test_only_the_model_has_probabilities(printed: Json, graded: dict[str, dict[str, Scores]]) -> None:
    likelihood = reduce(add, graded["fedkey"].values()).likelihood
    assert printed["fedkey"]["bits_per_character"] == pytest.approx(likelihood.bits_per_character)
    assert printed["fedkey"]["perplexity_per_word"] == pytest.approx(likelihood.perplexity_per_word)
    assert printed["unigram"]["bits_per_character"] is None
    assert printed["unigram"]["perplexity_per_word"] is None


def test_two_processes_print_the_same_but_for_the_clock(
    tiny_bundle: Path, test_file: Path, few_misspellings: Path | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every section, of the engine; whole, and then with two processes."""
    answers = []
    for processes in ("1", "2"):
        options = ("--max-words", "20", "--engine", "fedkey", "--processes", processes, "--json")
        assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == 0
        answers.append(json.loads(capsys.readouterr().out))
    one, other = answers
    assert list(one) == ["text", "graded", "fedkey"]
    assert one["fedkey"].pop("latency_ms")["calls"] == other["fedkey"].pop("latency_ms")["calls"]
    assert one == other
    assert set(one["fedkey"]) > {"recall", "typing", "misspellings", "learning"}


def test_a_seed_is_a_choice_of_conversations(
    printed: Json, tiny_bundle: Path, test_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--max-words", MAX_WORDS, "--seed", "5", "--json", *WORDS_ONLY)
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == 0
    assert json.loads(capsys.readouterr().out)["fedkey"]["recall"] != printed["fedkey"]["recall"]


# -------------------------------------------------------------------------------------------------- as tables


def test_tables_say_the_same(
    tiny_bundle: Path,
    test_file: Path,
    graded: dict[str, dict[str, Scores]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--max-words", MAX_WORDS, *WORDS_ONLY)
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    summaries = {name: summary(by_author) for name, by_author in graded.items()}
    assert " ".join(lines).startswith(f"{summaries['fedkey']['words']:,} words of ")
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    for name, numbers in summaries.items():
        for letters in "0123":
            recall = numbers["recall"][letters]
            with_unknown, without = (row for row in cells if row[:2] == [letters, name])
            assert with_unknown[2].startswith(f"{recall['words']:,}")
            assert with_unknown[3:5] == [_shown(recall["top_1"]), _shown(recall["top_3"])]
            assert with_unknown[-1] == f"{recall['mrr']:.3f}"
            assert without[2:] == [
                f"{recall['known_words']:,}",
                f"{100 * recall['top_1_known']:.1f}",
                f"{100 * recall['top_3_known']:.1f}",
                f"{recall['mrr_known']:.3f}",
                f"{100 * recall['top_1_exact_case']:.1f}",
                f"{100 * recall['top_3_exact_case']:.1f}",
            ]
        savings, likelihood = (row for row in cells if row[0] == name)
        assert f"{100 * numbers['ksr']['ideal']['value']:.1f} [" in savings[1]
        assert savings[-3:] == [
            f"{100 * interval['value']:.1f}" for interval in numbers["ksr"]["bounded"].values()
        ]
        bits = numbers["bits_per_character"]
        assert likelihood[1] == ("-" if bits is None else f"{bits:.3f}")
        assert all(float(milliseconds) > 0 for milliseconds in likelihood[-3:])
    deciles = {row[0]: row[1:] for row in cells if row[0] in ("top-1 %", "saved %")}
    assert deciles["top-1 %"] == [
        f"{100 * value:.1f}" for value in summaries["fedkey"]["author_deciles"]["top_1"]
    ]


def _shown(interval: Json) -> str:
    value, low, high = (f"{100 * interval[key]:.1f}" for key in ("value", "low", "high"))
    return value if interval["low"] == interval["high"] else f"{value} [{low}, {high}]"


def test_plain_and_compressed_text_is_graded_too(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two words of which the lexicon knows one: too few for deciles."""
    text = b"tomorrow qqqqz\n"
    (tmp_path / "mail.txt").write_bytes(text)
    (tmp_path / "mail.txt.xz").write_bytes(lzma.compress(text))
    answers = []
    for name in ("mail.txt", "mail.txt.xz"):
        assert fedkey("eval", tiny_bundle, "--text", tmp_path / name, "--json", *WORDS_ONLY) == 0
        answers.append(json.loads(capsys.readouterr().out)["fedkey"])
        recall = answers[-1]["recall"]["3"]
        assert (recall["words"], recall["known_words"]) == (2, 1)
        assert recall["top_3"]["value"] == recall["top_3_known"] / 2 == 0.5
        assert answers[-1]["author_deciles"] == {"authors": 0, "top_1": [], "ksr_ideal": []}
    assert answers[0]["recall"] == answers[1]["recall"]
    assert fedkey("eval", tiny_bundle, "--text", tmp_path / "mail.txt", *WORDS_ONLY) == 0
    assert "deciles" not in capsys.readouterr().out


def test_of_one_author_there_are_no_intervals_and_no_deciles(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("see you tomorrow\nso it is\n" * 10)
    sections = ("--section", "words", "--section", "typing")
    assert fedkey("eval", tiny_bundle, "--text", tmp_path / "mine.txt", "--engine", "fedkey", *sections) == 0
    printed = capsys.readouterr().out
    assert "words of one author" in printed
    assert "[" not in printed
    assert "deciles" not in printed


def test_text_without_a_word_is_no_error(
    tiny_bundle: Path, tmp_path: Path, few_misspellings: Path | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "smile.txt").write_text(":)\n12\n")
    options = ("--max-words", "20")
    assert fedkey("eval", tiny_bundle, "--text", tmp_path / "smile.txt", *options) == 0
    assert capsys.readouterr().out.startswith("0 words of one author,")
    assert fedkey("eval", tiny_bundle, "--text", tmp_path / "smile.txt", *options, "--json") == 0
    found = json.loads(capsys.readouterr().out)["fedkey"]
    assert found["words"] == 0
    assert found["typing"]["slips"]["precision"] is None
    assert found["typing"]["slips"]["nonwords"]["words"] == 0
    assert found["perplexity_per_word"] is None
    assert found["bits_per_character"] > 0


# --------------------------------------------------------------------------------------------- mistakes typed


def test_the_typing_section_is_the_mistyping_typist(
    tiny_bundle: Path, test_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--max-words", MAX_WORDS, "--section", "typing")
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    opened = OpenedBundle(tiny_bundle)
    chosen = sample(read_conversations(test_file), int(MAX_WORDS), 0)
    for name in ("unigram", "fedkey"):
        assert set(printed[name]) == {"typing"}
        sources = ["slips", "thumbs"] + ["thumbs, taps"] * (name in TAKES_TAPS)
        assert list(printed[name]["typing"]) == sources
        by_author = grade_typing(opened.predictor(name), chosen, opened.is_known, SOURCES["slips"])
        found = printed[name]["typing"]["slips"]
        assert found == json.loads(json.dumps(typing_summary(by_author)))
        assert found["nonwords"]["words"] > 5
        assert found["right"]["words"] > 50
    assert printed["unigram"]["typing"]["slips"]["ksr"]["unaided"] == found["ksr"]["unaided"]

    assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    nonwords, real_words, right, keys = (
        row for row in cells if row[0] == "slips" and row[1].startswith("fedkey")
    )
    assert nonwords[-1] == f"{100 * found['nonwords']['offered_rate']:.1f}"
    assert f"{100 * found['nonwords']['repair_rate']['value']:.1f} [" in " ".join(nonwords)
    assert real_words[-2] == f"{100 * found['real_words']['offered_rate']:.1f}"
    assert f"{found['right']['words']:,}" in " ".join(right)
    assert f"{100 * found['ksr']['aided']['value']:.1f} [" in " ".join(keys)


def test_typing_as_numbers_by_hand() -> None:
    """Two authors: ann mistypes ten words and types forty right, bob types twenty right."""
    ann = Typing(
        Autocorrect(
            nonwords=Corrections(repaired=6, missed=1, wrong=1, offered=4),
            real_words=Corrections(missed=1, wrong=1, offered=1),
            right_known=RightWords(30),
            right_unknown=RightWords(10, harmed=2, apostrophes=1),
        ),
        ByKind(omission=Corrections(repaired=3, missed=1)),
        Keystrokes(60, 100),
        Keystrokes(120, 100),
    )
    bob = Typing(Autocorrect(right_known=RightWords(20, harmed=1)), aided=Keystrokes(40, 100))
    found = typing_summary({"ann": ann, "bob": bob})
    assert found["right"]["words"] == 60
    assert found["right"]["harm_rate"]["value"] == 3 / 60
    assert (found["right"]["harm_rate"]["low"], found["right"]["harm_rate"]["high"]) == (0.05, 0.05)
    assert found["right"]["unknown"] == {"words": 10, "harmed": 2, "apostrophes": 1, "harm_rate": 0.2}
    assert found["nonwords"]["repair_rate"]["value"] == 6 / 8
    assert found["nonwords"]["wrong_rate"]["value"] == 1 / 8
    assert (found["nonwords"]["words"], found["nonwords"]["missed"]) == (8, 1)
    assert found["real_words"]["offered_rate"] == 1 / 2
    assert found["strangers"]["words"] == 0
    assert found["precision"] == 6 / (6 + 3 + 2)
    assert found["by_kind"]["omission"]["repair_rate"] == 3 / 4
    assert found["by_kind"]["doubling"]["words"] == 0
    assert found["ksr"]["aided"]["value"] == pytest.approx(1 - 100 / 200)
    assert found["ksr"]["unaided"]["value"] == pytest.approx(1 - 120 / 100)


@pytest.mark.skipif(installed_misspellings() is None, reason="nlpaug is not installed")
def test_misspellings_are_those_kept_for_grading(
    tiny_bundle: Path, test_file: Path, few_misspellings: Path | None, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--max-words", "60", "--section", "misspellings")
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["unigram"] == {"misspellings": None}
    assert few_misspellings is not None
    opened = OpenedBundle(tiny_bundle)
    pairs = gradable(read_misspellings(few_misspellings), opened.is_known, "grading")
    placed = place(pairs, read_conversations(test_file), at_most=60, seed=0)
    expected = misspellings_summary(grade_misspellings(opened.predictor("fedkey"), placed, opened.is_known))
    assert printed["fedkey"]["misspellings"] == expected
    assert expected["nonwords"]["words"] + expected["real_words"]["words"] == 60
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = (line.split() for line in lines if line.startswith("no words"))
    assert row[3] == str(expected["nonwords"]["words"])


def test_without_a_list_of_misspellings_this_is_said(
    tiny_bundle: Path, test_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedkey.cli.eval.installed_misspellings", lambda: None)
    options = ("--max-words", "20", "--section", "misspellings")
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options, "--json") == 0
    assert json.loads(capsys.readouterr().out)["fedkey"] == {"misspellings": None}
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == 0
    assert "the package nlpaug" in " ".join(capsys.readouterr().out.split())


def test_misspellings_as_numbers_by_hand() -> None:
    found = misspellings_summary(
        Misspelt(Corrections(3, 1, 1, 4), Corrections(1, 1, 0, 2), Corrections(0, 2, 0, 1))
    )
    assert found["nonwords"] == {
        "words": 5, "repaired": 3, "missed": 1, "wrong": 1, "offered": 4,
        "repair_rate": 0.6, "wrong_rate": 0.2, "offered_rate": 0.8,
    }  # fmt: skip
    assert found["in_context"]["repair_rate"] == 0.5
    assert found["real_words"]["offered_rate"] == 0.5


# --------------------------------------------------------------------------------------------------- learning


def test_learning_is_measured_where_there_is_a_memory(
    tiny_bundle: Path, test_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--max-words", "20", "--section", "learning")
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["unigram"] == {"learning": None}
    assert printed["fedkey"]["learning"] is not None
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == 0
    assert "first messages" in capsys.readouterr().out


def test_learning_as_numbers_and_tables_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """Ann wrote five messages, bob one."""
    ann = Learning(
        FirstMessages(first_1=Keystrokes(8, 10), first_5=Keystrokes(20, 50)),
        FirstMessages(first_1=Keystrokes(8, 10), first_5=Keystrokes(30, 50)),
        NewWords(after_1=3, after_2=1, never=1, letters=6),
    )
    bob = Learning(FirstMessages(first_1=Keystrokes(5, 10)), FirstMessages(first_1=Keystrokes(6, 10)))
    found = learning_summary({"ann": ann, "bob": bob})
    first = found["first_messages"]
    assert [first[key]["authors"] for key in ("1", "5", "20", "100")] == [2, 1, 0, 0]
    assert first["1"]["with_memory"]["value"] == pytest.approx(1 - 13 / 20)
    assert first["1"]["without_memory"]["value"] == pytest.approx(1 - 14 / 20)
    assert first["1"]["gain"]["value"] == pytest.approx(1 / 20)
    assert first["5"]["gain"]["value"] == pytest.approx(0.2)
    assert first["20"]["gain"] is None
    assert found["new_words"]["words"] == 5
    assert found["new_words"]["mean_letters"] == 1.5

    print_evaluation({"unigram": {"learning": None}, "fedkey": {"learning": found}}, {})
    cells = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert ["5", "1", "60.0", "40.0", "20.0"] in cells
    assert ["5", "3", "1", "0", "1", "1.5"] in cells
    assert not any(row[0] == "20" for row in cells)


# ------------------------------------------------------------------------------------- what keyboards used


@pytest.fixture(scope="module")
def other_text(tiny_data: Path) -> Path:
    return tiny_data / "validation.jsonl"


def test_ngrams_of_another_text_are_graded_beside_the_others(
    tiny_bundle: Path,
    test_file: Path,
    other_text: Path,
    graded: dict[str, dict[str, Scores]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    engines = [option for name in ("fedkey", "ngram", "unigram") for option in ("--engine", name)]
    options = (*engines, "--ngram-text", other_text, "--max-words", MAX_WORDS, *WORDS_ONLY)
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed)[2:] == ["unigram", "ngram", "fedkey"]

    lexicon = OpenedBundle(tiny_bundle).engine.lexicon
    messages = [
        message
        for conversation in read_conversations(other_text)
        for message, is_graded in zip(conversation.messages, conversation.graded, strict=True)
        if is_graded
    ]
    counts = count(messages, Vocabulary(lexicon))
    chosen = sample(read_conversations(test_file), int(MAX_WORDS), 0)
    expected = reduce(add, grade_bundle(tiny_bundle, chosen, ngrams=counts).values())
    for letters in range(4):
        assert printed["ngram"]["recall"][str(letters)]["top_3"]["value"] == expected.after(letters).top_3
    assert printed["ngram"]["ksr"]["ideal"]["value"] == pytest.approx(expected.ideal.savings)
    assert printed["ngram"]["bits_per_character"] is None
    assert printed["fedkey"]["recall"]["0"]["words"] == printed["ngram"]["recall"]["0"]["words"]
    # The made-up chat has few sentences, which three words tell apart.
    unigram = reduce(add, graded["unigram"].values())
    assert expected.after_0.top_1 > unigram.after_0.top_1 + 0.1

    assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    rows = [row for row in cells if row[:2] == ["0", "ngram"]]
    assert rows[0][3].startswith(f"{100 * expected.after_0.top_1:.1f} [")


def test_ngrams_are_the_same_over_processes_in_every_section(
    tiny_bundle: Path, test_file: Path, other_text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    for processes in ("1", "2"):
        options = ("--engine", "ngram", "--ngram-text", other_text, "--max-words", "60", "--json")
        assert fedkey("eval", tiny_bundle, "--text", test_file, *options, "--processes", processes) == 0
        answers.append(json.loads(capsys.readouterr().out)["ngram"])
    one, other = answers
    assert one.pop("latency_ms")["calls"] == other.pop("latency_ms")["calls"]
    assert one == other
    assert list(one["typing"]) == ["slips", "thumbs"]
    assert one["typing"]["slips"]["nonwords"]["repaired"] == 0  # it corrects nothing
    assert (one["misspellings"], one["learning"]) == (None, None)


def test_ngrams_and_their_text_go_together(
    tiny_bundle: Path, test_file: Path, other_text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, said in (
        (("--engine", "ngram"), "--engine ngram needs --ngram-text OTHER, a text to learn from."),
        (
            ("--ngram-text", other_text),
            "--ngram-text is only for --engine ngram and for a --presage-database to be made.",
        ),
        (
            ("--ngram-text", other_text, "--engine", "unigram"),
            "--ngram-text is only for --engine ngram and for a --presage-database to be made.",
        ),
    ):
        assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == EXIT_MISTAKE
        assert capsys.readouterr() == ("", f"fedkey: {said}\n")


@pytest.mark.parametrize("name", ["itself", "link"])
def test_the_graded_text_is_not_learned_from(
    tiny_bundle: Path, test_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    other = test_file
    if name == "link":
        other = tmp_path / "other.jsonl"
        other.symlink_to(test_file)
    options = ("--engine", "ngram", "--ngram-text", other)
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == EXIT_MISTAKE
    said = "--ngram-text is the file that --text grades; name another one to learn from."
    assert capsys.readouterr() == ("", f"fedkey: {said}\n")


def test_a_text_to_learn_from_that_is_not_there_is_one_sentence(
    tiny_bundle: Path, test_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--engine", "ngram", "--ngram-text", tmp_path / "nothing.txt")
    assert fedkey("eval", tiny_bundle, "--text", test_file, *options) == EXIT_MISTAKE
    assert re.fullmatch(r"fedkey: Cannot read .*nothing\.txt: No such file.*\.\n", capsys.readouterr().err)


# ------------------------------------------------------------------------------------------------ the summary


def test_a_summary_by_hand() -> None:
    """One author of 20 words and one of 4, who is too silent for deciles."""
    recall = Recall(positions=20, known=16, hits_1=8, hits_3=12, exact_1=6, exact_3=10, reciprocal_rank=10.0)
    talkative = Scores(
        after_0=recall,
        ideal=Keystrokes(pressed=50, characters=100),
        bounded=Bounded(half=Keystrokes(80, 100)),
        likelihood=Likelihood(nats=100.0, characters=100, words=20),
        latency=Latency.of([1.0] * 98 + [8.0] * 2),
    )
    silent = Scores(after_0=Recall(positions=4, known=4), ideal=Keystrokes(20, 20))
    assert MIN_WORDS_FOR_DECILES == 20
    found = summary({"ann": talkative, "bob": silent})
    assert (found["authors"], found["words"]) == (2, 24)
    first = found["recall"]["0"]
    assert first["top_1"]["value"] == pytest.approx(8 / 24)
    assert (first["top_1"]["low"], first["top_1"]["high"]) == (0, pytest.approx(0.4))
    assert (first["top_1_known"], first["top_3_known"], first["mrr_known"]) == (8 / 20, 12 / 20, 10 / 20)
    assert (first["top_1_exact_case"], first["top_3_exact_case"]) == (6 / 24, 10 / 24)
    assert found["ksr"]["ideal"]["value"] == pytest.approx(1 - 70 / 120)
    assert found["ksr"]["bounded"]["0.5"]["value"] == pytest.approx(0.2)
    assert found["author_deciles"]["authors"] == 1
    assert found["author_deciles"]["top_1"] == (pytest.approx(0.4),) * 9
    assert found["latency_ms"]["p50"] == pytest.approx(1.0)
    assert found["latency_ms"]["p99"] == pytest.approx(8.0)


# --------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nothing.txt", None, r"Cannot read .*nothing\.txt: No such file"),
        ("latin.txt", "na\u00efve\n".encode("latin-1"), r"latin\.txt:1 is not UTF-8 text"),
        ("chat.jsonl", b'{"text": "hello"}\n', r"chat\.jsonl:1 is neither"),
        ("table.csv", b"a,b\n", r"must end in \.jsonl or \.txt"),
        ("empty.txt", b"", "holds no message"),
        ("cut.jsonl.xz", lzma.compress(b"hello")[:-5], "is damaged"),
    ],
)
def test_a_text_that_cannot_be_graded_is_one_sentence(
    tiny_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    said: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert fedkey("eval", tiny_bundle, "--text", tmp_path / name) == EXIT_MISTAKE
    streams = capsys.readouterr()
    assert re.fullmatch(rf"fedkey: .*{said}.*\.\n", streams.err)
    assert streams.out == ""


@pytest.mark.parametrize("option", ["--max-words", "--processes"])
def test_a_count_below_one_is_one_sentence(
    tiny_bundle: Path, test_file: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert fedkey("eval", tiny_bundle, "--text", test_file, option, 0) == EXIT_MISTAKE
    assert capsys.readouterr().err == f"fedkey: {option} must be at least 1, not 0.\n"


def test_no_bundle_is_one_sentence(
    tmp_path: Path, test_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fedkey("eval", tmp_path / "nothing", "--text", test_file) == EXIT_MISTAKE
    error = capsys.readouterr().err
    assert error.startswith("fedkey: There is no bundle at ")
    assert error.count("\n") == 1


def test_no_text_is_told(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fedkey("eval", tiny_bundle) == EXIT_MISTAKE
    assert fedkey("eval", tiny_bundle, "--gestures", *WORDS_ONLY) == EXIT_MISTAKE
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all("--text FILE" in error for error in errors)


# -------------------------------------------------------------------------------------------- a whole process


def test_grading_loads_nothing_of_training_and_keeps_stdout_clean(tiny_bundle: Path, tmp_path: Path) -> None:
    text = tmp_path / "mail.txt"
    text.write_text("see you tomorrow\n")
    program = (
        "import sys; from fedkey.cli import main; code = main();"
        "heavy = {'torch', 'triton', 'flwr', 'onnx', 'textual', 'wordfreq'} & set(sys.modules);"
        "ours = [m for m in sys.modules if m.startswith(('fedkey_', 'fedkey.ui'))];"
        "sys.exit(f'loaded {heavy} {ours}' if heavy or ours else code)"
    )
    options = ["--text", str(text), "--json", "--max-words", "20"]
    done = subprocess.run(
        [sys.executable, "-c", program, "eval", str(tiny_bundle), *options],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["fedkey"]["words"] == 3


def test_ctrl_c_stops_every_worker_without_a_traceback(tiny_bundle: Path, tmp_path: Path) -> None:
    """As a terminal does it: the signal goes to the whole group, workers included."""
    text = tmp_path / "mail.txt"
    text.write_text("see you tomorrow at the beach\n" * 8000)
    program = [
        sys.executable,
        "-m",
        "fedkey",
        "eval",
        str(tiny_bundle),
        "--text",
        str(text),
        "--processes",
        "2",
    ]
    process = subprocess.Popen(
        program,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background may ignore Ctrl-C, and a child would with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        deadline = time.monotonic() + 60
        while not children.read_text().strip():  # the first worker is being born
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == EXIT_INTERRUPTED
    assert error == "\nfedkey: stopped; the same command begins anew.\n"
