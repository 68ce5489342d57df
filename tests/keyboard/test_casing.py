"""A suggestion keeps the capitals of the writer and adds those of the lexicon."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.casing import like_typed


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


@given(st.text(max_size=6), st.text(max_size=6), st.booleans())
def test_any_text_is_taken(word: str, typed: str, starts_sentence: bool) -> None:
    assert isinstance(like_typed(word, typed, starts_sentence=starts_sentence), str)
