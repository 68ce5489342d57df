"""What completions are worth, counted by hand and by command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fedkey import Suggestions
from fedkey.cli import SUBCOMMANDS
from fedkey.commands import run_command
from fedkey.completing import Completions, completions_summary, grade_completions
from fedkey.conversations import GradedConversation
from fedkey.metrics import Keystrokes
from fedkey.shipped import shipped_bundle


class Prepared:
    """Answers as the test says, and is sure of the first word."""

    def __init__(self, **answers: tuple[str, ...]) -> None:
        self.answers = answers
        self.contexts: set[str] = set()

    def suggest(self, context: str, typed: str) -> Suggestions:
        self.contexts.add(context)
        words = self.answers.get(typed, ())
        return Suggestions(
            words, tuple(math.log(0.99 if i == 0 else 0.001) for i in range(len(words))), None, 1
        )


SURE_OF_THROUGH = dict.fromkeys(["thr", "thro", "throu", "throug"], ("through",))


def conversation(*messages: str) -> GradedConversation:
    """Of which the last message is graded."""
    return GradedConversation("ann", messages, (*[False] * (len(messages) - 1), True))


def test_a_right_completion_is_counted_once_and_saves_its_letters_and_the_space() -> None:
    predictor = Prepared(t=("the",), th=("through", "the"), **SURE_OF_THROUGH)
    found = grade_completions(predictor, [conversation("hi", "through me")])["ann"]
    # "the" was shown first and wrong; "through" from the second letter on. Nothing is shown of "me".
    assert (found.words, found.shown, found.right, found.vanished) == (2, 2, 1, 0)
    assert found.keys == Keystrokes(pressed=2 + 1 + 2, characters=len("through me"))
    assert predictor.contexts == {"hi\n", "hi\nthrough "}


def test_what_goes_though_the_letters_agree_has_vanished() -> None:
    predictor = Prepared(t=("through",), **SURE_OF_THROUGH)
    found = grade_completions(predictor, [conversation("through")])["ann"]
    # Nothing is shown after "th". It was taken before.
    assert (found.shown, found.right, found.vanished) == (2, 2, 1)
    assert found.keys == Keystrokes(pressed=2, characters=7)


def test_sums_become_shares_of_words_and_of_completions() -> None:
    own = completions_summary({"ann": Completions(8, 4, 3, 0, Keystrokes(6, 8)), "bob": Completions(2, 1, 1)})
    assert (own["words"], own["shown"], own["vanished"]) == (10, 5, 0)
    assert own["shown_per_word"]["value"] == pytest.approx(0.5)
    assert own["right"]["value"] == pytest.approx(0.8)
    assert own["keys_saved"]["value"] == pytest.approx(0.25)
    assert completions_summary({})["right"]["value"] == 0


def test_eval_measures_completions_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "chat.txt"
    text.write_text("see you tomorrow\n")
    options = ("eval", shipped_bundle(), "--text", text, "--section", "completions")
    assert _fedkey(*options, "--json") == 0
    measured = json.loads(capsys.readouterr().out)
    assert "unigram" not in measured
    assert measured["fedkey"]["completions"]["words"] == 3
    assert _fedkey(*options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "while 3 words were typed" in " ".join(lines)


def _fedkey(*arguments: object) -> int:
    return run_command("fedkey", "A keyboard.", SUBCOMMANDS, arguments=list(map(str, arguments)))
