"""When a correction is made, by numbers alone, and what a bundle says of it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.channel import SIZE, SpellingChannel
from fedkey.corrections import (
    DEFAULT_CORRECTIONS,
    LONGEST_CORRECTED,
    READ_BACK,
    CorrectionModel,
    confidence,
    correction,
    may_be_corrected,
    was_written,
)
from fedkey.judge import CHOICE_INPUTS, LITERAL_INPUTS, Choice, Judge, Literal, Network

FLAT = SpellingChannel(*([[1.0] * SIZE] * SIZE for _ in range(4)))
SCORES = st.floats(-60, 0)
INDIFFERENT = Judge(
    Network([[0.0] * len(CHOICE_INPUTS)], [0.0], [0.0], 0.0),
    Network([[0.0] * len(LITERAL_INPUTS)], [0.0], [0.0], 0.0),
)
"""Adds nothing."""


def choice(text: str, likely: float, cost: float = 0.0) -> Choice:
    return Choice(text, likely, likely, cost, math.inf)


def literal(by_letters: float, *, is_name: bool = False) -> Literal:
    return Literal("wrod", by_letters, by_letters, is_name, is_tapped=False)


# ------------------------------------------------------------------------------ what may be corrected at all


@pytest.mark.parametrize("letters", [*"teh Teh hte adn waht att im dont don'tt".split(), "wxyz" * 6])
def test_what_looks_mistyped_may_be_corrected(letters: str) -> None:
    for context in ("", "see you ", "hi\n", 'he said "', "(", "so,", "well-", "i'm ", "a b@c.de ", "10 "):
        assert may_be_corrected(context, letters)


@pytest.mark.parametrize(
    "letters",
    ["", "k", "TEH", "tEh", "McDonadl", "h3llo", "2nite", "snake_case", "no way", "well-knwon", "hi!", "'",
     "42", "café", "tbh", "Btw", "smth", "sqft", "Fwd", "bool", "sooo", "noooo", "aaa", "haha", "hahah",
     "xoxo", "😀", "\ue000", "wxyz" * LONGEST_CORRECTED],
)  # fmt: skip
def test_what_is_meant_otherwise_may_not(letters: str) -> None:
    assert not may_be_corrected("see you ", letters)


@pytest.mark.parametrize(
    "context",
    ["#", "see #", "@", "hi @", "/", "a/", "~/", "me@", "me@home.", "https://", "https://a.b/", "x=", "a&",
     "100", "1.", "a_", "*", "<", "[", "{", "`", "$", "%", "c:\\", "a+", "a^", "a|"],
)  # fmt: skip
def test_nothing_glued_to_a_sign_is_corrected(context: str) -> None:
    assert not may_be_corrected(context, "teh")


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_may_be_asked_about(context: str, letters: str) -> None:
    allowed = may_be_corrected(context, letters)
    assert not (allowed and any(each.isdigit() or each.isspace() for each in letters))
    assert not (allowed and letters != letters.lower() and letters != letters.capitalize())


@pytest.mark.parametrize(
    ("context", "letters", "expected"),
    [
        ("have you met freya?\n", "freya", True),
        ("have you met Freya?\n", "freya", True),
        ("freya\n", "Freya", True),
        ("(freya)", "freya", True),
        ("freya! ", "freya", True),
        ("the café ", "café", True),
        ("freyas ", "freya", False),
        ("the freya's ", "freya", False),
        ("ofreya ", "freya", False),
        ("ofreya freya ", "freya", True),
        ("", "freya", False),
        ("a.c ", "abc", False),
        ("axc", "a.c", False),
    ],
)
def test_a_word_of_the_conversation_is_found_as_a_word(context: str, letters: str, expected: bool) -> None:
    assert was_written(context, letters) is expected


def test_of_a_long_conversation_the_end_is_searched_and_quickly() -> None:
    assert was_written("freya " + "x" * (READ_BACK - 6), "freya")
    assert not was_written("freya " + "x" * READ_BACK, "freya")
    started = time.perf_counter()
    for context, letters in (("a" * 10**6, "aa"), ("ab" * 10**6, "ba"), ("a " * 10**6, "aaa")):
        was_written(context, letters)
    assert time.perf_counter() - started < 1


# -------------------------------------------------------------------------------------------- how sure it is


@given(SCORES, st.lists(SCORES, min_size=1, max_size=5))
def test_confidence_is_the_share_of_the_best(literal: float, scores: list[float]) -> None:
    weights = np.exp(np.array([literal, *scores]) - max(literal, *scores))
    assert confidence(literal, scores) == pytest.approx(weights[1:].max() / weights.sum())


@given(SCORES, st.lists(SCORES, min_size=1, max_size=5), st.floats(-1000, 1000))
def test_confidence_depends_on_differences_alone(literal: float, scores: list[float], shift: float) -> None:
    shifted = confidence(literal + shift, [score + shift for score in scores])
    assert shifted == pytest.approx(confidence(literal, scores))


def test_what_cannot_be_is_never_sure() -> None:
    assert confidence(-math.inf, [-math.inf]) == 0.0
    assert confidence(-5.0, [-math.inf, -math.inf]) == 0.0
    assert confidence(-math.inf, [-900.0, -math.inf]) == 1.0


@given(
    by_letters=SCORES,
    likely=st.lists(SCORES, max_size=5),
    threshold=st.floats(0, 1),
    model_weight=st.floats(0, 1),
    frequency_weight=st.floats(0, 1),
)
def test_the_best_choice_is_put_or_none(
    by_letters: float, likely: list[float], threshold: float, model_weight: float, frequency_weight: float
) -> None:
    model = CorrectionModel(
        min_confidence=threshold, model_weight=model_weight, frequency_weight=frequency_weight
    )
    choices = [choice(f"word{number}", each) for number, each in enumerate(likely)]
    stands = literal(by_letters)
    put = correction(model, stands, choices)
    alone, scores = model.scores(stands, choices)
    assert (alone, scores) == (model.literal_score(stands), [model.score(each) for each in choices])
    if not choices or confidence(alone, scores) < threshold:
        assert put is None
    else:
        assert put == choices[scores.index(max(scores))].text


@given(
    by_letters=SCORES,
    likely=st.lists(SCORES, min_size=1, max_size=4),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_who_must_be_surer_corrects_less(
    by_letters: float, likely: list[float], low: float, high: float
) -> None:
    low, high = sorted((low, high))
    choices = [choice(f"word{number}", each) for number, each in enumerate(likely)]
    bold, timid = (
        correction(CorrectionModel(min_confidence=each), literal(by_letters), choices) for each in (low, high)
    )
    assert timid is None or timid == bold


def test_what_makes_a_choice_worse_makes_it_lose() -> None:
    model = CorrectionModel(min_confidence=0.5)
    likely, unlikely = choice("one", -8.0, 4.0), choice("two", -20.0, 4.0)
    assert correction(model, literal(-37.5), [likely, unlikely]) == "one"
    assert correction(model, literal(-37.5), [likely._replace(slip_cost=20.0), unlikely]) == "two"
    assert correction(model, literal(2.5), [likely, unlikely]) is None
    assert correction(model, literal(-37.5), []) is None


def test_new_words_and_names_are_spoken_for() -> None:
    model = CorrectionModel(literal_bias=-2.0, name_bias=3.0, model_weight=0.5, frequency_weight=0.25)
    assert model.literal_score(literal(-8.0)) == pytest.approx(-8.0)
    assert model.literal_score(literal(-8.0, is_name=True)) == pytest.approx(-5.0)


def test_a_mistake_is_a_slip_or_a_misspelling_whichever_is_likelier() -> None:
    thumbs = CorrectionModel(slip_bias=2.0)
    both = replace(thumbs, channel=FLAT)
    each = Choice("word", -8.0, -8.0, 5.0, 6.0)
    assert thumbs.cost(each) == 5.0
    assert both.cost(each) == 6.0
    assert both.cost(each._replace(spelling_cost=math.inf)) == 7.0


# ----------------------------------------------------------------------------------------- correction.json


@pytest.mark.parametrize(
    "model",
    [
        DEFAULT_CORRECTIONS,
        CorrectionModel(channel=FLAT),
        CorrectionModel(min_confidence=1, literal_bias=-14),
        CorrectionModel(judge=INDIFFERENT),
    ],
)
def test_a_model_is_read_as_it_was_written(model: CorrectionModel) -> None:
    text = model.to_json()
    assert CorrectionModel.from_json(text) == model
    assert CorrectionModel.from_json(text).to_json() == text
    assert text.endswith("}\n")


def changed(edit: Callable[[Any], object]) -> str:
    """The text of a model with something put wrong."""
    values = json.loads(CorrectionModel(channel=FLAT, judge=INDIFFERENT).to_json())
    edit(values)
    return json.dumps(values)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda m: m.update(min_confidance=1.0), "do you mean 'min_confidence'"),
        (lambda m: m.pop("slip_bias"), "there is no value for 'slip_bias'"),
        (lambda m: m.update(model_weight="much"), "model_weight is not a number"),
        (lambda m: m.update(model_weight=True), "model_weight is not a number"),
        (lambda m: m.update(model_weight=None), "model_weight is not a number"),
        (lambda m: m.update(model_weight=1.5), "model_weight is from 0 to 1"),
        (lambda m: m.update(frequency_weight=-0.5), "frequency_weight is from 0 to 1"),
        (lambda m: m.update(min_confidence=math.nan), "min_confidence is from 0 to 1"),
        (lambda m: m.update(literal_bias=math.inf), "literal_bias must be a number"),
        (lambda m: m.update(name_bias=-math.inf), "name_bias must be a number"),
        (lambda m: m.update(slip_bias=math.nan), "slip_bias must be a number"),
        (lambda m: m.update(slip_bias=10**400), "slip_bias"),
        (lambda m: m.update(errors=3), "ErrorModel is not an object"),
        (lambda m: m["errors"].update(mising=1.0), "do you mean 'missing'"),
        (lambda m: m["errors"].pop("missing"), "there is no value for 'missing'"),
        (lambda m: m["errors"].update(missing=-1.0), "missing"),
        (lambda m: m["errors"].update(missing=math.nan), "missing"),
        (lambda m: m.update(channel=[]), "SpellingChannel is not an object"),
        (lambda m: m["channel"].pop("omitted"), "there is no value for 'omitted'"),
        (lambda m: m["channel"].update(omitted=3), "omitted"),
        (lambda m: m["channel"].update(omitted={"a": 1}), "omitted is no table of numbers"),
        (lambda m: m["channel"]["omitted"].pop(), "omitted must hold"),
        (lambda m: m["channel"]["omitted"][0].__setitem__(0, -1.0), "omitted must hold"),
        (lambda m: m["channel"]["omitted"][0].__setitem__(0, math.nan), "omitted must hold"),
        (lambda m: m["channel"]["omitted"][0].__setitem__(0, None), "omitted is no table of numbers"),
        (lambda m: m["channel"]["omitted"][0].__setitem__(0, "1"), "omitted is no table of numbers"),
        (lambda m: m["channel"]["omitted"][0].pop(), "omitted is no table of numbers"),
        (lambda m: m["channel"].update(omitted="abc"), "omitted is no table of numbers"),
        (lambda m: m.update(judge=[]), "Judge is not an object"),
        (lambda m: m["judge"].pop("literal"), "there is no value for 'literal'"),
        (lambda m: m["judge"].update(word={}), "there is no 'word'"),
        (lambda m: m["judge"].update(choice=[]), "Network is not an object"),
        (lambda m: m["judge"]["choice"].update(wait=[]), "do you mean 'weight'"),
        (lambda m: m["judge"]["choice"].update(bias=[]), "1 to 64 units, not 0"),
        (lambda m: m["judge"]["choice"].update(bias=3), "1 to 64 units, not 0"),
        (lambda m: m["judge"]["choice"].update(bias=[0.0] * 65), "1 to 64 units, not 65"),
        (lambda m: m["judge"]["choice"]["out"].append(1.0), r"out has the shape \[2\], not \[1\]"),
        (lambda m: m["judge"]["literal"]["weight"][0].pop(), r"weight has the shape \[1, 4\], not \[1, 5\]"),
        (lambda m: m["judge"]["literal"]["weight"][0].__setitem__(0, math.nan), "weight must hold numbers"),
        (lambda m: m["judge"]["literal"]["weight"][0].__setitem__(0, 1e7), "weight must hold numbers"),
        (lambda m: m["judge"]["literal"]["weight"][0].__setitem__(0, {}), "weight is no table of numbers"),
        (lambda m: m["judge"]["literal"]["weight"][0].__setitem__(0, "1"), "weight is no table of numbers"),
        (lambda m: m["judge"]["literal"].update(bias=["0.5"]), "bias is no table of numbers"),
        (lambda m: m["judge"]["literal"].update(out=[True]), "out is no table of numbers"),
        (lambda m: m["judge"]["literal"].update(out=[10**400]), "out is no table of numbers"),
        (lambda m: m["judge"]["literal"].update(out_bias="much"), "out_bias is not a number"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_with_a_reason(edit: Callable[[Any], object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        CorrectionModel.from_json(changed(edit))


def test_corrections_of_before_there_was_a_judge_are_read() -> None:
    values = json.loads(CorrectionModel(channel=FLAT).to_json())
    del values["judge"]
    assert CorrectionModel.from_json(json.dumps(values)) == CorrectionModel(channel=FLAT)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "not an object"),
        ("null", "not an object"),
        ("{}", "there is no value for 'errors'"),
    ],
)
def test_a_text_without_fields_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        CorrectionModel.from_json(text)


@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
), st.sampled_from(["errors", "channel", "judge", "model_weight", "min_confidence"]))  # fmt: skip
def test_no_value_raises_anything_else(value: object, name: str) -> None:
    text = changed(lambda m: m.update({name: value}))
    try:
        read = CorrectionModel.from_json(text)
    except ValueError:
        return
    assert math.isfinite(read.literal_bias)
