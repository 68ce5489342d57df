"""How much letters look like a word, and what spelling them otherwise costs."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey.bundle import open_bundle
from fedkey.channel import BORDER, LETTERS, MAX_COST, OTHER, SIZE, SpellingChannel, codes
from fedkey.lexicon import Lexicon
from fedkey.spelling import LetterModel, num_edits
from fedkey_export.lexicon_arrays import build_arrays


def of_words(*words: str) -> LetterModel:
    return LetterModel(Lexicon(build_arrays([(word, -1.0, False) for word in words], lambda word: (0,)), 1))


@pytest.fixture(scope="module")
def english(tiny_bundle: Path) -> LetterModel:
    bundle = open_bundle(tiny_bundle)
    return LetterModel(Lexicon(bundle.lexicon_arrays(), bundle.manifest.model.vocab_size))


# ------------------------------------------------------------------------- how much it looks like a word


@pytest.mark.parametrize(
    ("likely", "unlikely"),
    [
        ("blorking", "gnikrolb"),
        ("wording", "wrdngio"),
        ("plented", "plxnted"),
        ("strill", "sztrill"),
        ("un", "nnnn"),
        ("can't", "c'ant"),
        ("blork", "blork😀"),
    ],
)
def test_what_is_spelt_as_words_are_is_likelier(english: LetterModel, likely: str, unlikely: str) -> None:
    assert english.log_prob(likely) > english.log_prob(unlikely)


@given(st.text(max_size=20))
def test_any_letters_have_a_probability_whatever_their_case(english: LetterModel, word: str) -> None:
    log_prob = english.log_prob(word)
    assert -math.inf < log_prob <= 0
    if word.isascii():
        assert english.log_prob(word.upper()) == pytest.approx(log_prob)


def test_the_probabilities_of_all_words_sum_to_one() -> None:
    """Those of all words of two letters at most come to most of it here, and the rest is for longer ones."""
    model = of_words("ab", "ba", "b", "abba")
    shorter = [model.log_prob("".join(w)) for n in range(3) for w in itertools.product(LETTERS, repeat=n)]
    # The byte of any other character is one more letter.
    shorter += [model.log_prob("\x01")]
    shorter += [model.log_prob(letter + "\x01") for letter in LETTERS]
    shorter += [model.log_prob("\x01" + letter) for letter in [*LETTERS, "\x01"]]
    assert 0.5 < math.fsum(map(math.exp, shorter)) < 1


def test_a_word_counts_once_however_often_it_is_written() -> None:
    rows = [("aab", -1.0, False), ("aac", -9.0, False)]
    model = LetterModel(Lexicon(build_arrays(rows, lambda word: (0,)), 1))
    assert model.log_prob("aab") == pytest.approx(model.log_prob("aac"))


def test_words_do_not_run_into_each_other() -> None:
    """What follows a word in the lexicon's text says nothing: "ba" was never seen."""
    model = of_words("ab", "ac", "ad")
    assert model.log_prob("ba") < model.log_prob("ab") - 3


# ------------------------------------------------------------------------------------- what misspelling costs


def tables(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.round(rng.uniform(0, 9, (SIZE, SIZE)), 2) for _ in range(4)]


def channel_of(four: list[np.ndarray]) -> SpellingChannel:
    return SpellingChannel(*(table.tolist() for table in four))


def by_recursion(four: list[np.ndarray], typed: list[int], meant: list[int]) -> float:
    """The definition: the cheapest way to write `meant` as `typed`."""
    substituted, omitted, inserted, transposed = four

    def best(i: int, j: int) -> float:
        if i == j == 0:
            return 0.0
        before = meant[i - 1] if i else BORDER
        found = []
        if i and j:
            found.append(best(i - 1, j - 1) + substituted[meant[i - 1], typed[j - 1]])
        if i:
            found.append(best(i - 1, j) + omitted[meant[i - 2] if i > 1 else BORDER, meant[i - 1]])
        if j:
            found.append(best(i, j - 1) + inserted[before, typed[j - 1]])
        if i > 1 and j > 1 and meant[i - 1] == typed[j - 2] and meant[i - 2] == typed[j - 1]:
            found.append(best(i - 2, j - 2) + transposed[meant[i - 2], meant[i - 1]])
        return min(found)

    return best(len(meant), len(typed))


@given(
    seed=st.integers(0, 99),
    typed=st.text("abn'é", max_size=5),
    meant=st.lists(st.text("abn'é", min_size=1, max_size=5), max_size=4),
)
@settings(max_examples=60)
def test_the_cost_is_that_of_the_cheapest_way_to_write_it(seed: int, typed: str, meant: list[str]) -> None:
    four = tables(seed)
    costs = channel_of(four).costs(typed, meant)
    expected = [by_recursion(four, codes(typed), codes(word)) for word in meant]
    assert costs.tolist() == pytest.approx(expected)


@given(
    st.lists(st.text(LETTERS, min_size=1, max_size=9), min_size=2, max_size=6), st.text(LETTERS, max_size=9)
)
@settings(max_examples=50)
def test_words_are_weighed_together_as_they_would_be_alone(meant: list[str], typed: str) -> None:
    channel = channel_of(tables(1))
    alone = [channel.costs(typed, [word])[0] for word in meant]
    assert channel.costs(typed, meant).tolist() == pytest.approx(alone)


def test_letters_are_told_apart_and_case_is_not() -> None:
    assert codes("aZ'") == codes("Az'") == [0, 25, 26]
    assert codes("é😀-") == [OTHER] * 3
    assert channel_of(tables(2)).costs("TEH", ["The"]) == channel_of(tables(2)).costs("teh", ["the"])


@pytest.mark.parametrize("wrong", [-0.1, MAX_COST + 1, math.nan, math.inf])
@pytest.mark.parametrize("number", range(4))
def test_costs_are_within_limits(number: int, wrong: float) -> None:
    four = tables(0)
    four[number][3, 4] = wrong
    with pytest.raises(ValueError, match=f"must hold {SIZE} rows of {SIZE} numbers"):
        channel_of(four)


# ----------------------------------------------------------------------------------------- how many edits


def reference_edits(one: str, other: str) -> int:
    """The recurrence as it is written in textbooks."""
    if not one or not other:
        return len(one) + len(other)
    edits = min(
        reference_edits(one[:-1], other) + 1,
        reference_edits(one, other[:-1]) + 1,
        reference_edits(one[:-1], other[:-1]) + (one[-1] != other[-1]),
    )
    if len(one) > 1 and len(other) > 1 and one[-1] == other[-2] and one[-2] == other[-1]:
        edits = min(edits, reference_edits(one[:-2], other[:-2]) + 1)
    return edits


@given(st.text("abc", max_size=5), st.text("abc", max_size=5), st.integers(0, 5))
@settings(max_examples=80)
def test_edits_are_the_textbooks(one: str, other: str, at_most: int) -> None:
    found = num_edits(one, other, at_most=at_most)
    assert found == min(reference_edits(one, other), at_most + 1)
    assert found == num_edits(other, one, at_most=at_most)


@pytest.mark.parametrize(
    ("typed", "meant", "edits"),
    [("teh", "the", 1), ("recieve", "receive", 1), ("definately", "definitely", 1), ("wierd", "weird", 1),
     ("untill", "until", 1), ("seperately", "separately", 1), ("acommodate", "accommodate", 1),
     ("tommorow", "tomorrow", 2), ("the", "the", 0), ("", "ab", 2), ("abc", "cab", 2)],
)  # fmt: skip
def test_edits_by_hand(typed: str, meant: str, edits: int) -> None:
    assert num_edits(typed, meant, at_most=9) == edits
