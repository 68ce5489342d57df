"""Answers go by the text, and not by what was read before it."""

from __future__ import annotations

import pytest

from fedkey import Engine, Suggestions
from fedkey.shipped import shipped_bundle

LATELY = "\n".join(["ok sounds good to me, see you there then we can go"] * 12)
ABOUT_DOCTORS = "\n".join(["please call doctor smith about the insurance today"] * 12)
ABOUT_ANIMALS = "\n".join(["we saw the zebra at the aquarium with two giraffes"] * 12)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.open(shipped_bundle())


def said(answer: Suggestions) -> tuple[tuple[str, ...], tuple[float, ...], str | None]:
    return answer.words, answer.log_probs, answer.autocorrect


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # Further back than the model's window.
        (f"{ABOUT_ANIMALS}\n{LATELY}\nplease call ", f"{ABOUT_DOCTORS}\n{LATELY}\nplease call "),
        # Empty lines are no messages to the model.
        ("hi there\n", "hi there\n\n\n\n"),
        ("it was good. ", "it was good.  "),
    ],
    ids=["beyond the window", "empty lines", "two spaces"],
)
@pytest.mark.parametrize("typed", ["", "d", "doctr"])
def test_texts_that_are_alike_to_the_model_have_answers_of_their_own(
    engine: Engine, one: str, other: str, typed: str
) -> None:
    engine.reset()
    alone = said(engine.suggest(other, typed))
    engine.reset()
    engine.suggest(one, typed)
    assert said(engine.suggest(other, typed)) == alone


def test_what_was_worked_out_for_another_text_is_not_taken_over(engine: Engine) -> None:
    after = "\nsee you"
    engine.reset()
    alone = said(engine.suggest(f"{ABOUT_DOCTORS}\n{LATELY}\nplease call ", "", after=after))
    engine.reset()
    engine.suggest(f"{ABOUT_ANIMALS}\n{LATELY}\nplease ", "call", after=after)
    while engine.look_ahead():
        pass
    assert said(engine.suggest(f"{ABOUT_DOCTORS}\n{LATELY}\nplease call ", "", after=after)) == alone
