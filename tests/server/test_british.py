"""British spellings are right words, and misspellings that look like them are not."""

from __future__ import annotations

import pytest

from fedkey_server.british import IRREGULAR, regular
from fedkey_server.dictionary import right_words


@pytest.fixture(scope="module")
def words() -> set[str]:
    return set(right_words(frozenset(), "en"))


@pytest.mark.parametrize(
    "word",
    """optimise finalised prioritising sanitiser visualisation paralyse catalysed demeanour neighbourly
    fibre millimetres woollen panellist leukaemia oestrogen mould moulting kerb sceptical dreamt""".split(),
)
def test_british_spellings_are_right(words: set[str], word: str) -> None:
    assert word in words


@pytest.mark.parametrize(
    "word",
    """enourmous thouroughly humourous glamourous flourescent michaelangelo offred callled youre smalled
    resised""".split(),
)
def test_misspellings_that_look_like_them_are_not(words: set[str], word: str) -> None:
    assert word not in words


def test_a_spelling_needs_a_listed_word_and_a_share_of_its_frequency() -> None:
    frequency = {
        "optimise": 1e-6,
        "optimize": 1e-6,
        "zorbise": 1e-6,
        "rumour": 1e-9,
        "rumor": 1e-6,
        "our": 1e-3,
    }
    assert set(regular(frequency, {"optimize", "rumor", "or"})) == {"optimise"}
    assert set(regular(frequency, {"optimize", "optimise"})) == set()


def test_irregular_ones_are_words_in_small_letters() -> None:
    assert all(word.isalpha() and word.islower() and word.isascii() for word in IRREGULAR)
