"""What a judge adds to the scores of corrections: the formula, what it looks at, and that it decides."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey.corrections import CorrectionModel, correction
from fedkey.judge import (
    CHOICE_INPUTS,
    HIGHEST_COST,
    LEAST,
    LITERAL_INPUTS,
    MOST_EDITS,
    Choice,
    Judge,
    Literal,
    Network,
    choice_inputs,
    literal_inputs,
)

NATS = st.floats(-60, 0)
COSTS = st.floats(-3, 40) | st.just(math.inf)
TEXTS = st.from_regex(r"\A[A-Za-z][a-z']{1,7}(?: [a-z]{1,4})?\Z")
CHOICES = st.lists(st.builds(Choice, TEXTS, NATS, NATS, COSTS, COSTS), max_size=4)
LITERALS = st.builds(
    Literal, st.from_regex(r"\A[A-Za-z][a-z']{1,7}\Z"), NATS, NATS, st.booleans(), st.booleans()
)


def judge(seed: int, num_units: int = 3) -> Judge:
    """Any two networks."""
    rng = np.random.default_rng(seed)

    def network(num_inputs: int) -> Network:
        weight, bias, out = (
            rng.normal(size=shape).tolist() for shape in ((num_units, num_inputs), num_units, num_units)
        )
        return Network(weight, bias, out, float(rng.normal()))

    return Judge(network(len(CHOICE_INPUTS)), network(len(LITERAL_INPUTS)))


def by_hand(network: Network, inputs: list[float]) -> float:
    """c . max(0, A x + b) + d, number by number."""
    total = network.out_bias
    for row, bias, out in zip(network.weight, network.bias, network.out, strict=True):
        total += out * max(0.0, sum(a * x for a, x in zip(row, inputs, strict=True)) + bias)
    return total


@given(LITERALS, CHOICES, st.integers(0, 9))
@settings(max_examples=60)
def test_the_formula_is_what_is_computed(literal: Literal, choices: list[Choice], seed: int) -> None:
    networks = judge(seed)
    alone, shifts = networks.shifts(literal, choices)
    assert alone == pytest.approx(by_hand(networks.literal, literal_inputs(literal).tolist()))
    rows = choice_inputs(literal, choices).tolist()
    assert shifts == pytest.approx([by_hand(networks.choice, row) for row in rows])
    model = CorrectionModel()
    judged = replace(model, judge=networks)
    assert judged.scores(literal, choices) == pytest.approx(
        (
            model.literal_score(literal) + alone,
            [model.score(c) + s for c, s in zip(choices, shifts, strict=True)],
        )
        if choices
        else model.scores(literal, choices)
    )


@given(LITERALS, CHOICES)
@settings(max_examples=60)
def test_what_is_looked_at_has_bounds(literal: Literal, choices: list[Choice]) -> None:
    """A text that nobody could mean must not carry a network where it never learned."""
    for inputs in (literal_inputs(literal), *choice_inputs(literal, choices)):
        assert np.isfinite(inputs).all()
        assert (inputs >= LEAST).all()
        assert (inputs <= max(HIGHEST_COST, MOST_EDITS + 1)).all()


def inputs_of(typed: str, text: str, **literal: object) -> dict[str, float]:
    stands = Literal(typed, -20.0, -25.0, is_name=False, is_tapped=False)._replace(**literal)
    row = choice_inputs(stands, [Choice(text, -5.0, -8.0, 4.0, math.inf)])[0]
    return dict(zip(CHOICE_INPUTS, row.tolist(), strict=True))


def test_what_is_looked_at_by_hand() -> None:
    assert inputs_of("granit", "granite") == {
        "log_prob": -5, "frequency": -8, "slip_cost": 4, "spelling_cost": HIGHEST_COST, "least_cost": 4,
        "num_letters": 6, "letters_more": 1, "num_edits": 1, "same_first": 1, "same_last": 0, "is_pair": 0,
        "lacks_mark": 0, "is_inflected": 0, "is_capital": 0, "is_name": 0, "is_tapped": 0,
    }  # fmt: skip
    for typed, text, name in (
        ("dont", "don't", "lacks_mark"),
        ("alot", "a lot", "is_pair"),
        ("kayaker", "kayakers", "is_inflected"),
        ("kayakers", "kayaker", "is_inflected"),
        ("kayaker", "kayaker's", "is_inflected"),
        ("paris", "Paris", "is_capital"),
        ("Teh", "The", "same_first"),
    ):
        assert inputs_of(typed, text)[name] == 1, name
    assert inputs_of("do'nt", "don't")["lacks_mark"] == 0
    assert inputs_of("a lot", "alot")["is_pair"] == 0
    for name in ("is_name", "is_tapped"):
        assert inputs_of("teh", "the", **{name: True})[name] == 1
    assert inputs_of("teh", "the")["num_edits"] == 1
    assert inputs_of("teh", "remembering")["num_edits"] == MOST_EDITS + 1


def test_what_the_model_has_read_often_speaks_for_nobodys_spelling() -> None:
    """Of a misspelling that many make it knows more than of its letters; that is no reason to leave it."""
    stands = Literal("definatly", -20.0, -25.0, is_name=False, is_tapped=False)
    odd, usual, known = (literal_inputs(stands._replace(by_model=each)) for each in (-25.0, -20.0, -7.0))
    assert not np.array_equal(odd, usual)
    assert np.array_equal(usual, known)


def adding(inputs: tuple[str, ...], name: str, nats: float) -> Network:
    """Nats for every one of an input that is not negative."""
    return Network([[float(each == name) for each in inputs]], [0.0], [nats], 0.0)


def test_a_judge_decides() -> None:
    """The scores alone put the word that has the cheapest mistake; what else is known of it, or of the text,
    may speak for or against it."""
    choices = [Choice("granite", -12.0, -12.0, 3.5, 3.0), Choice("grant", -10.0, -10.0, 6.5, 6.0)]
    stands = Literal("granit", -16.0, -25.0, is_name=True, is_tapped=False)
    model = CorrectionModel(min_confidence=0.6, name_bias=0.0)
    assert correction(model, stands, choices) == "granite"
    for name, nats, put in (("letters_more", 1.0, "granite"), ("letters_more", -9.0, "grant")):
        networks = Judge(adding(CHOICE_INPUTS, name, nats), adding(LITERAL_INPUTS, "is_name", 0.0))
        assert correction(replace(model, judge=networks), stands, choices) == put
    for nats, put in ((9.0, None), (-9.0, "granite")):
        networks = Judge(adding(CHOICE_INPUTS, "is_pair", 0.0), adding(LITERAL_INPUTS, "is_name", nats))
        assert correction(replace(model, judge=networks), stands, choices) == put
        ordinary = stands._replace(is_name=False)
        assert correction(replace(model, judge=networks), ordinary, choices) == "granite"


@pytest.mark.parametrize("which", ["choice", "literal"])
def test_networks_for_something_else_are_refused(which: str) -> None:
    networks = judge(0)
    other = {"choice": networks.literal, "literal": networks.choice}[which]
    with pytest.raises(ValueError, match="weight has the shape"):
        replace(networks, **{which: other})
