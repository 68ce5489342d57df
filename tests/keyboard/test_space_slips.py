"""Spaces that slip, counted by hand and by command."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from fedkey import Suggestions
from fedkey.cli import SUBCOMMANDS
from fedkey.commands import run_command
from fedkey.conversations import GradedConversation
from fedkey.shipped import shipped_bundle
from fedkey.space_slips import ByKind, Slipped, SpaceSlips, grade_space_slips, space_slips_summary


class Prepared:
    """Puts what the test says in place of words, and of pairs of words as they were typed."""

    def __init__(self, words: dict[str, str] | None = None, pairs: dict[str, str] | None = None) -> None:
        self.words = words or {}
        self.pairs = pairs or {}
        self.asked: list[tuple[str, str]] = []
        self.reconsidered_pairs: list[tuple[str, str, str, str | None]] = []

    def suggest(self, context: str, typed: str) -> Suggestions:
        self.asked.append((context, typed))
        return Suggestions((), (), self.words.get(typed), 1)

    def reconsidered(self, context: str, first: str, second: str, stands: str | None = None) -> str | None:
        self.reconsidered_pairs.append((context, first, second, stands))
        return self.pairs.get(f"{first} {second}")


def conversation(*messages: str) -> GradedConversation:
    """Of which the last message is graded."""
    return GradedConversation("ann", messages, (*[False] * (len(messages) - 1), True))


TYPED = {"th eother": "early", "theo ther": "late", "t he": "inside", "th e": "inside"}
"""How "the other" may be typed, and where the space came then."""


def test_a_pair_is_typed_as_it_stands_and_once_otherwise_behind_the_text() -> None:
    predictor = Prepared()
    grade_space_slips(predictor, [conversation("hi", "see the other, 5 of")])
    (right, also_right, slipped) = predictor.reconsidered_pairs
    assert right == ("hi\n", "see", "the", "see the")
    assert also_right == ("hi\nsee ", "the", "other", "the other")
    context, first, second, stands = slipped
    assert stands == f"{first} {second}"
    assert predictor.asked[-2:] == [(context, first), (f"{context}{first} ", second)]


def test_every_slip_comes_and_is_counted_by_where_the_space_came() -> None:
    seen: Counter[str] = Counter()
    for seed in range(60):
        predictor = Prepared()
        own = grade_space_slips(predictor, [conversation("the other")], seed=seed)["ann"]
        _, first, second, _ = predictor.reconsidered_pairs[-1]
        kind = TYPED[f"{first} {second}"]
        assert own == SpaceSlips(ByKind(**{kind: Slipped(pairs=1)}), right=1)
        seen[kind] += 1
    assert set(seen) == {"early", "late", "inside"}


@pytest.mark.parametrize(
    ("words", "pairs", "counts"),
    [
        ({}, {}, Slipped(1)),
        ({"th": "the", "eother": "other"}, {}, Slipped(1, by_word=1, repaired=1)),
        ({}, {"th eother": "The other"}, Slipped(1, repaired=1)),
        ({"th": "to"}, {"th eother": "the other"}, Slipped(1, repaired=1)),
        ({}, {"th eother": "thee other"}, Slipped(1, wrong=1)),
        ({"th": "the", "eother": "other"}, {"th eother": "thee other"}, Slipped(1, by_word=1, wrong=1)),
    ],
)
def test_what_becomes_of_a_pair_is_told_apart(
    words: dict[str, str], pairs: dict[str, str], counts: Slipped
) -> None:
    predictor = Prepared(words, pairs)
    seed = next(seed for seed in range(60) if _slip(seed) == "th eother")
    assert grade_space_slips(predictor, [conversation("the other")], seed=seed)["ann"].slipped == counts


def _slip(seed: int) -> str:
    predictor = Prepared()
    grade_space_slips(predictor, [conversation("the other")], seed=seed)
    return " ".join(predictor.reconsidered_pairs[-1][1:3])


def test_a_right_pair_that_is_given_another_space_counts_as_moved() -> None:
    own = grade_space_slips(Prepared(pairs={"the other": "theo ther"}), [conversation("the other")])["ann"]
    assert (own.right, own.moved) == (1, 1)


@pytest.mark.parametrize("message", ["hello", "a  b", "so, it", "4U too2", "see :)", ""])
def test_what_is_no_pair_of_words_is_not_typed(message: str) -> None:
    predictor = Prepared()
    grade_space_slips(predictor, [conversation(message)])
    assert predictor.reconsidered_pairs == []


def test_sums_become_shares() -> None:
    ann = SpaceSlips(ByKind(Slipped(4, 1, 3, 1), Slipped(2, 0, 2, 0)), right=10, moved=1)
    own = space_slips_summary({"ann": ann, "bob": SpaceSlips(ByKind(inside=Slipped(2, 0, 0, 0)), right=10)})
    assert (own["pairs"], own["right"]) == (8, 20)
    assert own["repaired"]["value"] == pytest.approx(5 / 8)
    assert (own["repaired"]["low"], own["repaired"]["high"]) == (0, pytest.approx(5 / 6))
    assert own["by_word"]["value"] == own["wrong"]["value"] == pytest.approx(1 / 8)
    assert own["moved"]["value"] == pytest.approx(1 / 20)
    assert own["by_kind"]["early"] == {"pairs": 4, "by_word": 1, "repaired": 3, "wrong": 1}


def test_of_nothing_every_share_is_zero() -> None:
    own = space_slips_summary(grade_space_slips(Prepared(), []))
    assert (own["pairs"], own["right"]) == (0, 0)
    assert own["repaired"] == own["wrong"] == own["moved"] == {"value": 0, "low": 0, "high": 0}


def test_eval_measures_spaces_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "chat.txt"
    text.write_text("I will see you at the station\nwhat do you want to do tomorrow\n")
    options = ("eval", shipped_bundle(), "--text", text, "--section", "spaces")
    assert _fedkey(*options, "--json") == 0
    measured = json.loads(capsys.readouterr().out)
    assert list(measured["fedkey"]) == ["spaces"]
    own = measured["fedkey"]["spaces"]
    assert (own["pairs"], own["right"]) == (2, 12)
    assert (own["repaired"]["value"], own["moved"]["value"]) == (1, 0)
    assert _fedkey(*options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "2 pairs of words" in " ".join(lines)


def _fedkey(*arguments: object) -> int:
    return run_command("fedkey", "A keyboard.", SUBCOMMANDS, arguments=list(map(str, arguments)))
