"""The prior against its formula, written out with dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.bundle import NGRAM_ARRAYS, BundleError
from fedkey.lexicon import Lexicon
from fedkey.personal_rules import SENTENCE_START
from fedkey.prior import STEPS, Prior
from fedkey_export.lexicon_arrays import build_arrays

WORDS = {"a": 0.4, "b": 0.3, "US": 0.05, "us": 0.15, "zeta": 0.1}
LEXICON = Lexicon(
    build_arrays([(word, float(np.log(share)), False) for word, share in WORDS.items()], lambda word: (0,)), 1
)
ORDER = [LEXICON.word(index) for index in range(len(LEXICON))]
OTHER, START = len(ORDER), len(ORDER) + 1

Steps = Mapping[int, int]
"""Word -> the byte of its share."""


def arrays_of(pairs: Mapping[int, Steps], triples: Mapping[tuple[int, int], Steps]) -> dict[str, Any]:
    """As a bundle has them."""
    listed = [(first, second) for first in sorted(pairs) for second in sorted(pairs[first])]
    contexts = sorted(triples, key=listed.index)
    return {
        "pair_counts": np.array([len(pairs.get(first, ())) for first in range(START + 1)], dtype="<u2"),
        "pair_words": np.array([second for _, second in listed], dtype="<u2"),
        "pair_values": np.array([pairs[first][second] for first, second in listed], dtype="|u1"),
        "triple_pairs": np.array([listed.index(each) for each in contexts], dtype="<u4"),
        "triple_counts": np.array([len(triples[each]) for each in contexts], dtype="<u2"),
        "triple_words": np.array(
            [third for each in contexts for third in sorted(triples[each])], dtype="<u2"
        ),
        "triple_values": np.array(
            [triples[each][third] for each in contexts for third in sorted(triples[each])], dtype="|u1"
        ),
    }


PAIRS = {0: {1: 20, 2: 30}, 1: {0: 18}, OTHER: {3: 40}, START: {0: 25, 4: 30}}
TRIPLES = {(0, 1): {0: 12, 4: 32}, (START, 0): {2: 16}}


def by_hand(pairs: Mapping[int, Steps], triples: Mapping[tuple[int, int], Steps], before: list[int]) -> Any:
    likely = np.array([WORDS[word] for word in ORDER])
    found = [pairs.get(before[-1], {})] if before else []
    if len(before) > 1:
        found.append(triples.get((before[-2], before[-1]), {}))
    for steps in found:
        shares = {word: float(np.exp(-byte / STEPS)) for word, byte in steps.items()}
        likely = likely * (1 - sum(shares.values()))
        for word, share in shares.items():
            likely[word] += share
    return likely


STEPS_OF_FEW = st.dictionaries(st.integers(0, len(ORDER) - 1), st.integers(32, 255), min_size=1)


@given(st.data())
def test_it_is_its_formula_and_sums_to_one(data: st.DataObject) -> None:
    pairs = data.draw(st.dictionaries(st.integers(0, START), STEPS_OF_FEW, min_size=1))
    known = [(first, second) for first in pairs for second in pairs[first]]
    triples = data.draw(st.dictionaries(st.sampled_from(known), STEPS_OF_FEW, min_size=1))
    prior = Prior(LEXICON, arrays_of(pairs, triples))
    written = data.draw(
        st.lists(st.sampled_from([*map(str.lower, ORDER), "unheard", SENTENCE_START]), max_size=3)
    )
    asked = [number(word) for word in written]
    found = prior.probs(written).astype(np.float64)
    assert found == pytest.approx(by_hand(pairs, triples, asked[-2:]), rel=1e-4)
    assert found.sum() == pytest.approx(1, rel=1e-4)


def number(word: str) -> int:
    """Of the way in which a word is mostly written: nothing is looked up after "US", all after "us"."""
    if word == SENTENCE_START:
        return START
    return ORDER.index(LEXICON.forms[word]) if word in LEXICON.forms else OTHER


def test_what_never_came_is_left_to_what_the_shorter_context_says() -> None:
    prior = Prior(LEXICON, arrays_of(PAIRS, TRIPLES))
    after_pair = prior.probs(["unheard", ORDER[1].lower()])
    assert np.array_equal(after_pair, prior.probs([ORDER[1].lower()]))
    assert np.array_equal(prior.probs([]), np.exp(LEXICON.log_prob))
    assert np.array_equal(prior.probs(["zeta"]), np.exp(LEXICON.log_prob))  # nothing was kept after it


def test_nothing_that_was_said_changes_what_is_said_next() -> None:
    prior = Prior(LEXICON, arrays_of(PAIRS, TRIPLES))
    asked = [[SENTENCE_START], [SENTENCE_START, ORDER[0].lower()], ["unheard"], []]
    once = [prior.probs(before).copy() for before in asked]
    assert all(np.array_equal(prior.probs(before), old) for before, old in zip(asked, once, strict=True))


def test_a_bundle_without_n_grams_knows_frequencies() -> None:
    prior = Prior(LEXICON)
    assert np.array_equal(prior.probs(["a", "b"]), np.exp(LEXICON.log_prob))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("pair_counts", lambda array: array[:-1]),
        ("pair_counts", lambda array: array + 1),
        ("pair_words", lambda array: array[::-1].copy()),
        ("pair_words", lambda array: array + len(ORDER)),
        ("pair_values", lambda array: array[:-1]),
        ("triple_pairs", lambda array: array[::-1].copy()),
        ("triple_pairs", lambda array: array + 1000),
        ("triple_counts", lambda array: array * 2),
        ("triple_words", lambda array: array[[1, 0, 2]]),
        ("triple_values", lambda array: array[1:]),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(name: str, change: Any) -> None:
    arrays = arrays_of(PAIRS, TRIPLES)
    assert arrays.keys() == NGRAM_ARRAYS.keys()
    arrays[name] = change(arrays[name])
    with pytest.raises(BundleError, match=r"n-grams are damaged: .*; export or download the bundle again"):
        Prior(LEXICON, arrays)
