"""Capitals that a space puts, counted by hand and by command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedkey import Suggestions
from fedkey.capitals import Capitals, capitals_summary, grade_capitals
from fedkey.cli import SUBCOMMANDS
from fedkey.commands import run_command
from fedkey.conversations import GradedConversation
from fedkey.shipped import shipped_bundle


class Prepared:
    """A space changes words as the test says, and leaves all others."""

    def __init__(self, **changes: str) -> None:
        self.changes = changes
        self.asked: list[tuple[str, str]] = []

    def suggest(self, context: str, typed: str) -> Suggestions:
        self.asked.append((context, typed))
        return Suggestions((), (), self.changes.get(typed), 1)


def conversation(*messages: str) -> GradedConversation:
    """Of which the last message is graded."""
    return GradedConversation("ann", messages, (*[False] * (len(messages) - 1), True))


def test_words_inside_sentences_are_typed_small_behind_the_text_as_it_stands() -> None:
    predictor = Prepared()
    found = grade_capitals(predictor, [conversation("Hi Bob", "Ann met Bob. \"Where did O'Hara go?")])
    assert predictor.asked == [
        ("Hi Bob\nAnn ", "met"),
        ("Hi Bob\nAnn met ", "bob"),
        ('Hi Bob\nAnn met Bob. "Where ', "did"),
        ('Hi Bob\nAnn met Bob. "Where did ', "o'hara"),
        ("Hi Bob\nAnn met Bob. \"Where did O'Hara ", "go"),
    ]
    assert found == {"ann": Capitals(words=5, capitals=2)}


@pytest.mark.parametrize(
    "word", ["I", "i", "I'm", "i'm", "I'LL", "I'd", "i've", "B", "4U", "B2B", "\ue003", ":D", "X_Y"]
)
def test_the_first_person_single_letters_and_what_is_not_all_letters_are_left_out(word: str) -> None:
    predictor = Prepared()
    assert grade_capitals(predictor, [conversation(f"Well, {word}")]) == {"ann": Capitals()}
    assert predictor.asked == []


@pytest.mark.parametrize(
    ("word", "becomes", "expected"),
    [
        ("London", "London", Capitals(1, 1, put=1)),
        ("iPhone", "iPhone", Capitals(1, 1, put=1)),
        ("IPhone", "iPhone", Capitals(1, 1, otherwise=1)),
        ("NASA", "Nasa", Capitals(1, 1, otherwise=1)),
        ("London", None, Capitals(1, 1)),
        ("Londn", "London", Capitals(1, 1)),
        ("Were", "We're", Capitals(1, 1)),
        ("mark", "Mark", Capitals(1, raised=1)),
        ("mark", None, Capitals(1)),
        ("londn", "London", Capitals(1)),
        ("were", "we're", Capitals(1)),
    ],
)
def test_what_a_space_does_is_told_apart(word: str, becomes: str | None, expected: Capitals) -> None:
    predictor = Prepared() if becomes is None else Prepared(**{word.lower(): becomes})
    assert grade_capitals(predictor, [conversation(f"So {word}")]) == {"ann": expected}


def test_the_sums_of_an_author_go_over_all_words_and_messages() -> None:
    predictor = Prepared(london="London", nasa="Nasa", mark="Mark", thier="their")
    both = GradedConversation("ann", ("To London with mark", "no", "At NASA"), (True, False, True))
    other = GradedConversation("bob", ("saw Thier and Paris",), (True,))
    assert grade_capitals(predictor, [both, other]) == {
        "ann": Capitals(words=4, capitals=2, put=1, otherwise=1, raised=1),
        "bob": Capitals(words=3, capitals=2),
    }


def test_sums_become_shares_of_capitals_and_of_small_words() -> None:
    own = capitals_summary({"ann": Capitals(10, 3, 2, 1, 1), "bob": Capitals(5, 2, 1, 0, 0)})
    assert (own["words"], own["capitals"]) == (15, 5)
    assert own["put"]["value"] == pytest.approx(3 / 5)
    assert own["otherwise"]["value"] == pytest.approx(1 / 5)
    assert own["raised"]["value"] == pytest.approx(1 / 10)
    assert own["put"]["low"] == pytest.approx(1 / 2)
    assert own["put"]["high"] == pytest.approx(2 / 3)


def test_of_nothing_every_share_is_zero() -> None:
    assert grade_capitals(Prepared(), []) == {}
    own = capitals_summary({})
    assert (own["words"], own["capitals"]) == (0, 0)
    assert own["put"] == own["otherwise"] == own["raised"] == {"value": 0, "low": 0, "high": 0}


def test_eval_measures_capitals_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "chat.txt"
    text.write_text("See you on Monday or Tuesday\n")
    options = ("eval", shipped_bundle(), "--text", text, "--section", "capitals")
    assert _fedkey(*options, "--json") == 0
    measured = json.loads(capsys.readouterr().out)
    assert "unigram" not in measured
    assert list(measured["fedkey"]) == ["capitals"]
    own = measured["fedkey"]["capitals"]
    assert (own["words"], own["capitals"]) == (5, 2)
    assert (own["put"]["value"], own["otherwise"]["value"], own["raised"]["value"]) == (1, 0, 0)
    assert _fedkey(*options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "5 words inside sentences" in " ".join(lines)


def _fedkey(*arguments: object) -> int:
    return run_command("fedkey", "A keyboard.", SUBCOMMANDS, arguments=list(map(str, arguments)))
