"""A suggestion keeps the capitals of the writer and adds those of the lexicon."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.casing import like_typed, surely_meant


@pytest.mark.parametrize(
    ("word", "typed", "starts_sentence", "expected"),
    [
        ("hello", "", False, "hello"),
        ("hello", "", True, "Hello"),
        ("London", "", False, "London"),
        ("iPhone", "", True, "IPhone"),
        ("hello", "hel", True, "hello"),
        ("hello", "Hel", False, "Hello"),
        ("hello", "HEL", False, "HELLO"),
        ("hello", "H", False, "Hello"),
        ("London", "lon", False, "London"),
        ("London", "LON", False, "LONDON"),
        ("iPhone", "iph", False, "iPhone"),
        ("iPhone", "Iph", False, "IPhone"),
        ("I'm", "i", False, "I'm"),
        ("I'm", "I", False, "I'm"),
        ("I'm", "I'M", False, "I'M"),
        ("don't", "DON'", False, "DON'T"),
        ("US", "us", False, "US"),
        ("us", "US", False, "US"),
        ("mcdonald", "McD", False, "McDonald"),
        ("world", "wrld", False, "world"),
        ("world", "Wrld", False, "World"),
        ("world", "wRld", False, "world"),
        ("world", "WRLD", False, "WORLD"),
        ("world", "q", True, "world"),
        ("London", "ldon", False, "London"),
        ("I'm", "im", False, "I'm"),
        ("I'm", "Im", False, "I'm"),
        ("I'm", "IM", False, "I'M"),
        ("don't", "Dont", False, "Don't"),
        ("iPhone", "Ipone", False, "IPhone"),
        ("a lot", "alot", False, "a lot"),
        ("a lot", "Alot", True, "A lot"),
        ("a lot", "ALOT", False, "A LOT"),
        ("thank you", "ty", False, "thank you"),
    ],
)
def test_the_height_of_letters(word: str, typed: str, starts_sentence: bool, expected: str) -> None:
    assert like_typed(word, typed, starts_sentence=starts_sentence) == expected


WORDS = st.text(alphabet="abcdefgxyz'", min_size=1, max_size=8)


@given(word=WORDS, length=st.integers(0, 8), capitals=st.lists(st.booleans(), min_size=8, max_size=8))
def test_no_capital_of_the_writer_is_lost_and_no_letter_changes(
    word: str, length: int, capitals: list[bool]
) -> None:
    typed = "".join(c.upper() if up else c for c, up in zip(word[:length], capitals, strict=False))
    shown = like_typed(word, typed, starts_sentence=False)
    assert shown.startswith(typed)
    assert shown.lower() == word


@given(word=WORDS, typed=st.text(alphabet="abcxyzABCXYZ'", min_size=1, max_size=8))
def test_of_a_mistyped_word_only_the_first_capital_or_shouting_is_kept(word: str, typed: str) -> None:
    shown = like_typed(word, typed, starts_sentence=False)
    assert shown.lower() == word
    if not word.startswith(typed.lower()):
        letters = [each for each in typed if each.isalpha()]
        if len(letters) > 1 and "".join(letters).isupper():
            assert shown == word.upper()
        else:
            assert shown[1:] == word[1:]
            assert (shown[0] == word[0].upper()) == (typed[0].isupper() or word[0] == "'")


@given(st.text(max_size=6), st.text(max_size=6), st.booleans())
def test_any_text_is_taken(word: str, typed: str, starts_sentence: bool) -> None:
    assert isinstance(like_typed(word, typed, starts_sentence=starts_sentence), str)


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ((0.004, 0.001), "Turkey"),  # four fifths
        ((0.0029, 0.001), None),
        ((0.001, 0.004), None),
        ((0.0, 0.0), None),
    ],
)
def test_of_two_spellings_the_one_that_is_surely_meant_is_put(
    probabilities: tuple[float, float], expected: str | None
) -> None:
    log_probs = [math.log(each) if each else -math.inf for each in probabilities]
    assert surely_meant("turkey", ("Turkey", "turkey"), log_probs) == expected
