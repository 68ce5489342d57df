"""Who competes for what was typed: chosen without the model, scored in one run, the right one among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedkey import Engine
from fedkey.contest import NUM_SPLITS, NUM_WHOLE, Contest
from fedkey.decoder import NO_HABITS
from fedkey.judge import Choice
from fedkey.taps import as_touches


class Typist:
    """Types words into the parts that an engine is made of."""

    def __init__(self, engine: Engine, context: str = "see you ") -> None:
        self.engine = engine
        self.scores = engine._places.go_to(context, "").scores

    def contest(self, letters: str) -> Contest:
        touches = as_touches(letters)
        candidates = self.engine._find(touches, letters)
        path = self.engine._path(letters)
        return self.engine._contests.find(touches, letters, path, candidates, self.scores, NO_HABITS)

    def choices(self, letters: str, *, starts_sentence: bool = False) -> list[Choice]:
        contest = self.contest(letters)
        return self.engine._contests.choices(
            contest, letters, self.scores, NO_HABITS, {}, starts_sentence=starts_sentence
        )


@pytest.fixture
def typist(tiny_bundle: Path) -> Typist:
    return Typist(Engine.open(tiny_bundle))


def test_the_model_is_run_once_and_only_for_the_choices(typist: Typist) -> None:
    model = typist.engine._model
    before = model.num_runs
    contest = typist.contest("seeyou")
    assert model.num_runs == before
    assert [pair.text for pair in contest.pairs] == ["see you"]
    assert all(len(pair.path) > 1 for pair in contest.pairs)
    typist.choices("seeyou")
    assert model.num_runs == before + 1
    typist.choices("seeyou")
    assert model.num_runs == before + 1


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("tomorow", "tomorrow"), ("teh", "the"), ("dont", "don't"), ("thnaks", "thanks"), ("seeyou", "see you")],
)
def test_what_was_meant_is_the_last_of_the_choices(typist: Typist, typed: str, meant: str) -> None:
    choices = typist.choices(typed)
    assert choices[-1].text == meant
    scores = [typist.engine.corrections.score(choice) for choice in choices]
    assert scores == sorted(scores)


def test_few_compete_and_no_two_are_alike(typist: Typist) -> None:
    contest = typist.contest("thew")
    assert 1 <= len(contest.alike.words) == len(contest.word_paths) <= NUM_WHOLE
    assert (np.diff(contest.alike.words) > 0).all()
    assert len(contest.pairs) <= NUM_SPLITS
    texts = [choice.text.lower() for choice in typist.choices("thew")]
    assert len(set(texts)) == len(texts)
    assert "thew" not in texts


def test_what_stands_does_not_compete_with_itself(typist: Typist) -> None:
    assert "the" not in [choice.text.lower() for choice in typist.choices("the")]
    assert "the" in [choice.text.lower() for choice in typist.choices("teh")]


def test_choices_are_written_as_the_letters_are(typist: Typist) -> None:
    assert typist.choices("Tomorow")[-1].text == "Tomorrow"
    assert typist.choices("TOMOROW")[-1].text == "TOMORROW"
    assert typist.choices("tomorow", starts_sentence=True)[-1].text == "tomorrow"


def test_an_apostrophe_is_left_out_by_habit(typist: Typist) -> None:
    alike = typist.contest("dont").alike
    number = typist.engine.lexicon.find("don't")
    cost = float(alike.slip_costs[alike.words.tolist().index(number)])
    assert cost < 0 < typist.engine.corrections.errors.missing_mark
