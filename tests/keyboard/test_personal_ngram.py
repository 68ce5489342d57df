"""The mathematics of personal memory, against counts kept the slow and obvious way."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey import personal_ngram
from fedkey.personal import Personal
from fedkey.personal_ngram import (
    AMOUNT_EDGES,
    FIRST_EVIDENCE,
    FIRST_TRUST,
    MAX_EVIDENCE,
    NEVER,
    strength_less,
    strength_sum,
    strength_total,
)

STRENGTHS = st.floats(-50, 50)


class Reference:
    """Counts that really halve, and the mixture as the docstring of `personal_ngram` states it."""

    def __init__(self, half_life: float) -> None:
        self.fade = 2.0 ** (-1.0 / half_life)
        self.counts: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
        self.evidence: dict[tuple[int, int], list[float]] = {}
        self.times: dict[str, int] = defaultdict(int)

    def levels(self, context: Sequence[str]) -> list[tuple[list[float], dict[str, float]]]:
        places = [(), (context[-1],)]
        if len(context) > 1 and context[-1] != "":
            places.append((context[-2], context[-1]))
        found = []
        for level, place in enumerate(places):
            counts = self.counts[place]
            if not counts:
                continue
            total = sum(counts.values())
            amount = sum(total >= edge for edge in AMOUNT_EDGES[level])
            first = FIRST_TRUST[level][amount]
            start = [FIRST_EVIDENCE * first, FIRST_EVIDENCE * (1 - first)]
            evidence = self.evidence.get((level, amount), start)
            shares = {word: count / total for word, count in counts.items()}
            found.append((level, amount, evidence, shares))
        return found

    def predictions(self, context: Sequence[str]) -> tuple[float, dict[str, float]]:
        probs: dict[str, float] = defaultdict(float)
        model = 1.0
        for _, _, (used, unused), shares in self.levels(context):
            trust = used / (used + unused)
            model *= 1 - trust
            for word in probs:
                probs[word] *= 1 - trust
            for word, share in shares.items():
                probs[word] += trust * share
        weight = 1 - model
        return weight, {word: prob / weight for word, prob in probs.items() if self.times[word] > 1}

    def observe(self, context: Sequence[str], word: str, model_prob: float) -> None:
        levels = self.levels(context)
        probs = [model_prob]
        shares = [level[3].get(word, 0.0) if self.times[word] > 1 else 0.0 for level in levels]
        for (_, _, (used, unused), _), share in zip(levels, shares, strict=True):
            trust = used / (used + unused)
            probs.append((1 - trust) * probs[-1] + trust * share)
        reached = 1.0
        for (level, amount, (used, unused), _), share, prob in reversed(
            list(zip(levels, shares, probs[1:], strict=True))
        ):
            by_it = used / (used + unused) * share / prob
            new = [used + reached * by_it, unused + reached * (1 - by_it)]
            scale = min(1.0, MAX_EVIDENCE / sum(new))
            self.evidence[level, amount] = [scale * each for each in new]
            reached *= 1 - by_it
        places = [(), (context[-1],)] + ([tuple(context)] if len(context) > 1 and context[-1] != "" else [])
        for counts in self.counts.values():
            for each in counts:
                counts[each] *= self.fade
        for place in places:
            self.counts[place][word] = self.counts[place].get(word, 0.0) + self.fade
        self.times[word] += 1


@pytest.mark.parametrize("half_life", [7.0, 5000.0])
def test_memory_is_the_decayed_ngram_it_claims_to_be(
    monkeypatch: pytest.MonkeyPatch, half_life: float
) -> None:
    monkeypatch.setattr(personal_ngram, "HALF_LIFE", half_life)
    rng = random.Random(3)
    vocabulary = ["see", "you", "tomorrow", "at", "the", "station", "zorblax"]
    reference, memory = Reference(half_life), Personal.open(None)
    context = ("",)
    for step in range(400):
        word = rng.choice(vocabulary[: 2 + step // 60])
        if step % 20 == 0:
            weight, probs = memory.predictions(context)
            expected_weight, expected = reference.predictions(context) if step else (0.0, {})
            assert weight == pytest.approx(expected_weight, rel=1e-9)
            assert probs == pytest.approx(expected, rel=1e-9)
        model_prob = rng.choice([0.3, 0.01, 1e-5])
        memory.observe(context, word, model_log_prob=math.log(model_prob))
        reference.observe(context, word, model_prob)
        context = ("",) if rng.random() < 0.2 else (context[-1], word)
    assert len(memory.predictions(("see", "you")).probs) == len(vocabulary)


@given(st.lists(STRENGTHS, min_size=1, max_size=8))
def test_strengths_add_like_the_counts_they_stand_for(strengths: list[float]) -> None:
    count = sum(2.0**each for each in strengths)
    assert 2.0 ** strength_total(strengths) == pytest.approx(count)
    one_by_one = NEVER
    for each in strengths:
        one_by_one = strength_sum(one_by_one, each)
    assert 2.0**one_by_one == pytest.approx(count)


@given(STRENGTHS, st.floats(0.1, 50))
def test_taking_a_strength_away_undoes_adding_it(part: float, above: float) -> None:
    rest = part + above
    assert strength_less(strength_sum(rest, part), part) == pytest.approx(rest, abs=1e-9)


def test_something_is_left_of_every_count() -> None:
    assert math.isfinite(strength_less(3.0, 3.0))
    assert math.isfinite(strength_less(3.0, 3.0000001))
    assert math.isfinite(strength_less(-1e9, 3.0))
    assert strength_total([]) == NEVER


def test_trust_grows_where_habit_explains_the_words_and_shrinks_where_it_does_not() -> None:
    habitual, erratic = Personal.open(None), Personal.open(None)
    rng = random.Random(1)
    letters = "abcdefghij"
    for _ in range(150):
        for memory, word in ((habitual, "station"), (erratic, "".join(rng.choices(letters, k=6)))):
            memory.observe(("the",), "the", model_log_prob=-1.0, lexicon_form="the")
            memory.observe(("to", "the"), word, model_log_prob=-6.0, lexicon_form=word)
    sure, unsure = habitual.predictions(("to", "the")), erratic.predictions(("to", "the"))
    assert sure.weight > 0.7
    assert unsure.weight < 0.3
    assert sure.probs["station"] > 0.8


def test_a_word_that_nobody_expected_teaches_no_trust() -> None:
    memory = Personal.open(None)
    memory.observe((), "hello", lexicon_form="hello")
    before = memory.predictions(()).weight
    memory.observe(("see",), "zorblax", model_log_prob=-math.inf)
    assert memory.predictions(()).weight == before


def test_a_model_score_above_certainty_counts_as_certain() -> None:
    memory = Personal.open(None)
    memory.observe((), "hello", lexicon_form="hello", model_log_prob=0.0)
    memory.observe((), "hello", lexicon_form="hello", model_log_prob=0.3)
    assert 0 < memory.predictions(()).weight < 1
