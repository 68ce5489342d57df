"""What lies behind an answer: the same words and the same decision, with their parts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fedkey import Engine
from fedkey.candidates import SLIP
from fedkey.engine import RELUCTANCE
from fedkey.explanation import Rival, Verdict, rivals


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine.open(tiny_bundle)


def mistyped(engine: Engine) -> tuple[str, str]:
    """Letters that a space corrects, and into what."""
    for word in sorted(engine.lexicon.forms.values(), key=len, reverse=True):
        letters = word[:-2] + word[-1]
        correction = engine.suggest("", letters).autocorrect if word.isalpha() else None
        if correction is not None and " " not in correction:
            return letters, correction
    pytest.fail("the engine corrects nothing")


def test_shares_of_rivals_by_hand() -> None:
    found = rivals("teh", 0.0, [("the", math.log(3)), ("tech", -math.inf)])
    assert found[0] == Rival("the", pytest.approx(0.75), False)
    assert found[1] == Rival("teh", pytest.approx(0.25), True)
    assert found[2] == Rival("tech", 0.0, False)
    assert rivals("x", -math.inf, []) == ()


@pytest.mark.parametrize("typed", ["", "s", "se", "wha", "yuo"])
def test_the_words_are_those_of_the_answer_and_their_parts_add_up(engine: Engine, typed: str) -> None:
    answer = engine.suggest("hello ", typed, 3)
    explanation = engine.explain("hello ", typed, 3)
    if answer.autocorrect is None:
        assert tuple(each.word for each in explanation.words) == answer.words
        assert [each.score for each in explanation.words] == pytest.approx(answer.log_probs, abs=1e-4)
    for each in explanation.words:
        assert each.model_log_prob is not None
        assert each.personal_log_prob is None
        reluctance = RELUCTANCE if each.error_cost > SLIP else 0
        assert each.score <= each.model_log_prob - each.error_cost - reluctance + 1e-4


def test_a_correction_is_explained_by_its_share(engine: Engine) -> None:
    letters, correction = mistyped(engine)
    explanation = engine.explain("", letters)
    assert explanation.verdict is Verdict.SURE
    assert explanation.autocorrect == explanation.rivals[0].text == correction
    assert explanation.rivals[0].share >= explanation.min_confidence
    assert sum(each.share for each in explanation.rivals) == pytest.approx(1)
    assert [each.text for each in explanation.rivals if each.is_literal] == [letters]


def test_what_is_left_alone_says_why(tiny_bundle: Path) -> None:
    engine = Engine.open(tiny_bundle)
    known = next(word for word in engine.lexicon.forms if word.isalpha() and len(word) > 3)
    letters, correction = mistyped(engine)
    strange = letters + "q" if not engine.knows(letters + "q") else letters + "x"

    def verdict(context: str, typed: str) -> Verdict:
        return engine.explain(context, typed).verdict

    assert verdict("", "") is Verdict.NOTHING_TYPED
    assert verdict("", engine.lexicon.forms[known]) is Verdict.KNOWN
    assert verdict("", "x9x") is Verdict.EXEMPT
    assert verdict("#", letters) is Verdict.EXEMPT
    assert verdict(f"{letters} said ", letters) is Verdict.WRITTEN
    assert verdict("", strange) in (Verdict.SURE, Verdict.UNSURE, Verdict.ALONE)
    accepted = engine.accept("", letters, correction)
    engine.undo(accepted)
    assert engine.explain("", letters).autocorrect is None
    assert verdict("", letters) in (Verdict.KEPT, Verdict.KNOWN)


def test_the_owners_own_words_are_told_apart(tiny_bundle: Path) -> None:
    engine = Engine.open(tiny_bundle)
    for _ in range(3):
        engine.accept("see you ", "", "zorblax")
    (own,) = (each for each in engine.explain("see you ", "zor").words if each.word == "zorblax")
    assert own.model_log_prob is None
    assert own.personal_log_prob is not None
    assert own.error_cost == 0
    assert all(
        each.personal_log_prob is None for each in engine.explain("see you ", "zor", private=True).words
    )
    assert "zorblax" not in {each.word for each in engine.explain("see you ", "zor", private=True).words}


def test_asking_why_changes_no_answer(engine: Engine) -> None:
    before = engine.suggest("how are ", "yo")
    engine.explain("something else ", "entirely")
    engine.explain("how are ", "yo")
    assert engine.suggest("how are ", "yo").words == before.words
