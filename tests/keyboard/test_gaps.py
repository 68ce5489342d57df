"""Going back into a text: which words are asked for, with what around them, and how answers are counted."""

from __future__ import annotations

import json
import re
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import pytest

from fedkey.baseline import PeerSuggestions
from fedkey.cli import SUBCOMMANDS
from fedkey.cli.tables import print_evaluation
from fedkey.commands import run_command
from fedkey.conversations import GradedConversation, read_conversations, sample
from fedkey.gaps import (
    Answers,
    Gap,
    GappedMessage,
    Gaps,
    Mended,
    gapped_messages,
    gaps_summary,
    grade_gaps,
)
from fedkey.metrics import Latency, Recall
from fedkey.text import LINK, is_word, units_with_places
from fedkey.workers import OpenedBundle

Question = tuple[str, str, str]
"""Context, letters (or the word that is tapped), what stands behind."""


class Prepared:
    """Answers as the test says, and keeps what it was asked."""

    def __init__(self, answers: dict[tuple[str, str], str]) -> None:
        """`answers` are by the letters and what stands behind."""
        self._answers = answers
        self.asked: list[Question] = []
        self.tapped: list[Question] = []

    def suggest(self, context: str, typed: str, k: int = 3, *, after: str = "") -> PeerSuggestions:
        assert k == 3
        self.asked.append((context, typed, after))
        return self._answer(typed, after)

    def replacements(self, context: str, word: str, after: str, k: int = 3) -> PeerSuggestions:
        assert k == 3
        self.tapped.append((context, word, after))
        return self._answer(word, after)

    def _answer(self, letters: str, after: str) -> PeerSuggestions:
        return PeerSuggestions(tuple(self._answers.get((letters, after), "").split()), 1.0)


def gapped(message: str, *gaps: Gap, earlier: str = "") -> GappedMessage:
    return GappedMessage("ann", earlier, message, gaps)


def everything(word: str) -> bool:
    return True


# ------------------------------------------------------------------------------------------------- the gaps


def test_gaps_are_words_with_two_words_behind_them() -> None:
    conversation = GradedConversation(
        "ann", ("hi there you", f"we {LINK} met, at 5 pm!", "yes, no"), (False, True, True)
    )
    (message,) = gapped_messages([conversation])
    assert (message.author, message.earlier) == ("ann", "hi there you\n")
    assert [(gap.word, message.message[gap.start :][: len(gap.word)]) for gap in message.gaps] == [
        ("we", "we"),
        ("met", "met"),
    ]


class Numbered:
    """Draws a wrong word that tells what it was drawn for."""

    def slipped(self, word: str, rng: Any) -> str | None:
        return f"{word}{rng.integers(1000)}"

    def likely(self, context: str, word: str, rng: Any) -> str | None:
        return f"{context}|{word}"


def test_wrong_words_depend_on_the_seed_and_the_message() -> None:
    conversation = GradedConversation("ann", ("one two three four",), (True,))

    def gaps(seed: int) -> tuple[Gap, ...]:
        (message,) = gapped_messages([conversation], Numbered(), seed=seed)  # type: ignore[arg-type]
        return message.gaps

    assert gaps(1) == gaps(1) != gaps(2)
    assert [gap.likely for gap in gaps(1)] == ["|one", "one |two"]


# ----------------------------------------------------------------------------------------------- the answers


def test_every_gap_is_asked_from_the_left_and_from_both_sides() -> None:
    engine = Prepared({})
    message = gapped("We met, at  5 pm", Gap(0, "We"), Gap(3, "met"), earlier="hi\n")
    grade_gaps(engine, [message], everything)
    left = [("hi\n", ""), ("hi\n", "W"), ("hi\nWe ", ""), ("hi\nWe ", "m"), ("hi\nWe ", "me")]
    assert engine.asked == [
        *((context, typed, "") for context, typed in left),
        *(
            (context, typed, " met, at  5 pm" if context == "hi\n" else ", at  5 pm")
            for context, typed in left
        ),
    ]


def test_ranks_are_counted_by_letters_and_by_the_way_of_asking() -> None:
    behind = " him there"
    engine = Prepared(
        {
            ("", ""): "I the a",
            ("m", ""): "my me met",
            ("me", ""): "Met me",
            ("", behind): "see MET saw",
            ("m", behind): "meet met",
            ("me", behind): "met",
        }
    )
    (found,) = grade_gaps(engine, [gapped("met him there", Gap(0, "met"))], everything).values()
    assert found.left.after_0 == Recall(positions=1, known=1)
    assert found.left.after_1 == Recall(1, 1, hits_1=0, hits_3=1, exact_3=1, reciprocal_rank=1 / 3)
    assert found.left.after_2 == Recall(1, 1, hits_1=1, hits_3=1, reciprocal_rank=1.0)
    assert found.both.after_0 == Recall(1, 1, hits_3=1, reciprocal_rank=0.5)
    assert found.both.after_2.exact_1 == 1
    assert (found.left.latency.total, found.both.latency.total) == (3, 3)


def test_a_wrong_word_is_tapped_where_the_right_one_stood() -> None:
    engine = Prepared(
        {
            ("net", ""): "let get Met",
            ("net", " him there"): "met",
            ("saw", ""): "see",
            ("saw", " him there"): "saw found met",
        }
    )
    message = gapped("we met him there", Gap(3, "met", slipped="net", likely="saw"))
    (found,) = grade_gaps(engine, [message], everything).values()
    assert engine.tapped == [
        ("we ", "net", ""),
        ("we ", "saw", ""),
        ("we ", "net", " him there"),
        ("we ", "saw", " him there"),
    ]
    assert (found.left.slipped, found.left.likely) == (Mended(1, 0, 1), Mended(1, 0, 0))
    assert (found.both.slipped, found.both.likely) == (Mended(1, 1, 1), Mended(1, 0, 1))


def test_unknown_words_are_wrong_answers_and_are_not_tapped() -> None:
    engine = Prepared({})
    message = gapped("we zork him there", Gap(3, "zork", slipped="work", likely="met"))
    (found,) = grade_gaps(engine, [message], lambda word: word != "zork").values()
    assert (found.both.after_0.positions, found.both.after_0.known, found.both.after_0.hits_3) == (1, 0, 0)
    assert engine.tapped == []


# ----------------------------------------------------------------------------------------------- the numbers


def answers(positions: int, hits_1: int, offered: int) -> Answers:
    recall = Recall(positions, positions, hits_1, hits_1 + 1, reciprocal_rank=hits_1 + 0.5)
    return Answers(recall, slipped=Mended(positions, 0, offered), latency=Latency.of([1.0] * positions))


def test_sums_become_ratios_and_paired_differences() -> None:
    both_ways = {
        "ann": Gaps(answers(10, 2, 3), answers(10, 4, 5)),
        "bob": Gaps(answers(30, 6, 9), answers(30, 12, 15)),
    }
    found = gaps_summary(both_ways)
    assert (found["authors"], found["words"]) == (2, 40)
    first = found["recall"]["0"]
    assert first["left"]["top_1"] == {
        "value": 0.2,
        "low": 0.2,
        "high": 0.2,
    }  # both are as often right
    assert first["left"]["top_3"]["value"] == pytest.approx(10 / 40)
    assert first["left"]["mrr"]["value"] == pytest.approx(9 / 40)
    assert first["gain"]["top_1"] == pytest.approx({"value": 0.2, "low": 0.2, "high": 0.2})
    assert found["replacements"]["slipped"]["gain"]["top_3"]["value"] == pytest.approx(8 / 40)
    assert found["replacements"]["likely"]["words"] == 0
    assert found["latency_ms"]["both"]["calls"] == 40


def test_tables_have_a_row_for_each_way_and_one_for_the_gain(capsys: pytest.CaptureFixture[str]) -> None:
    own = Gaps(answers(10, 2, 3), answers(10, 4, 5))
    print_evaluation({"fedkey": {"infill": gaps_summary({"ann": own})}}, {})
    rows = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    ways = ["from the left", "both sides", "gained, points"]
    assert [row[1] for row in rows if row[0] == "0"] == ways
    assert [row[1] for row in rows if row[0] == "slipped"] == ways
    assert [row[2] for row in rows if row[:2] == ["0", "gained, points"]] == ["20.0"]


# --------------------------------------------------------------------------------------------------- command


def _fedkey(*arguments: object) -> int:
    return run_command("fedkey", "A keyboard.", SUBCOMMANDS, arguments=list(map(str, arguments)))


def test_eval_measures_gaps_when_asked(
    behind_bundle: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tiny_data / "validation.jsonl"
    options = ("eval", behind_bundle, "--text", text, "--infill", "--max-words", "30")
    printed = []
    for processes in ("1", "2"):
        assert _fedkey(*options, "--json", "--processes", processes) == 0
        measured = json.loads(capsys.readouterr().out)
        assert list(measured)[2:] == ["fedkey"]
        assert list(measured["fedkey"]) == ["infill"]
        printed.append(measured["fedkey"]["infill"])
        latency = printed[-1].pop("latency_ms")
        assert printed[-1].pop("latency_tapped_ms")["both"]["calls"] > 0
        assert latency["left"]["calls"] == latency["both"]["calls"] > 0
    assert printed[0] == printed[1]

    chosen = sample(read_conversations(text), 30, 0)
    words = [
        len([unit for unit, _ in units_with_places(message) if is_word(unit)])
        for conversation in chosen
        for message, is_graded in zip(conversation.messages, conversation.graded, strict=True)
        if is_graded
    ]
    assert printed[0]["words"] == sum(max(0, each - 2) for each in words)
    opened = OpenedBundle(behind_bundle)
    expected = grade_gaps(opened.engine, gapped_messages(chosen), opened.is_known)
    total = reduce(add, expected.values())
    recall = printed[0]["recall"]["0"]
    assert recall["left"]["top_1"]["value"] == pytest.approx(total.left.after_0.top_1)
    assert recall["both"]["top_3"]["value"] == pytest.approx(total.both.after_0.top_3)
    # A model that never learnt the frame answers otherwise with it, and worse.
    assert recall["both"]["mrr"]["value"] < recall["left"]["mrr"]["value"]
    # Wrong words of both kinds were put in.
    assert all(kind["words"] > 0 for kind in printed[0]["replacements"].values())

    assert _fedkey(*options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert [row[:2] for row in rows if row[0] == "0"] == [
        ["0", "from the left"],
        ["0", "both sides"],
        ["0", "gained, points"],
    ]
