"""What is shouted is read in small letters and answered in capitals; names and abbreviations are no shout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey import Engine
from fedkey.explanation import Verdict
from fedkey.shipped import shipped_bundle
from fedkey.shouting import hush
from fedkey.taps import key_press
from fedkey.text import split

FORMS = {
    **{word: word for word in "we love the new so am it us what ok lol and".split()},
    **{word: word.upper() for word in ("bbc", "tv", "nasa", "hbo", "uk")},
    "york": "York",
    "i": "I",
}


@pytest.mark.parametrize(
    ("message", "quiet", "goes_on"),
    [
        ("WE LOVE NEW YORK", "we love new York", True),
        ("WE LOVE it", "we love it", False),
        ("so WE LOVE", "so we love", True),
        ("WHAT!! THE TV?", "what!! the TV?", True),
        ("I AM SO", "I am so", True),
        ("I CANT", "I cant", True),
        ("WE LOVE ZORBLAX", "we love zorblax", True),
        ("the BBC", "the BBC", False),
        ("NASA HBO", "NASA HBO", False),
        ("US IT", "US IT", False),
        ("OMG LOL", "OMG LOL", False),
        ("OK I", "OK I", False),
        ("WHAT", "WHAT", False),
        ("We Love It", "We Love It", False),
        ("WE LOVE IT 100 :) ", "we love it 100 :)", True),
        ("", "", False),
    ],
)
def test_words_in_capitals_that_are_mostly_written_small_are_a_shout(
    message: str, quiet: str, goes_on: bool
) -> None:
    assert hush(split(message.strip()), FORMS) == (split(quiet), goes_on)


@given(st.lists(st.sampled_from(["WE", "LOVE", "the", "BBC", "Zo", "!", "I", "12"]), max_size=8))
def test_nothing_but_the_height_of_letters_changes(units: list[str]) -> None:
    quiet, _ = hush(units, FORMS)
    assert [each.lower() for each in quiet] == [each.lower() for each in units]
    assert hush(quiet, FORMS)[0] == quiet


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.open(shipped_bundle())


def test_a_shout_tells_as_much_as_the_same_words_in_small_letters(engine: Engine) -> None:
    quiet = engine.suggest("happy birthday\ni cant wait to ", "")
    loud = engine.suggest("HAPPY BIRTHDAY\nI CANT WAIT TO ", "")
    assert loud.words == tuple(word.upper() for word in quiet.words)
    assert loud.log_probs == pytest.approx(quiet.log_probs)


@pytest.mark.parametrize(
    ("context", "letters", "put"),
    [
        ("I CANT ", "BELIVE", "BELIEVE"),
        ("WHAT IS ", "TEH", "THE"),
        ("I LOVE NEW ", "YROK", "YORK"),
        ("DONT TELL ANYONE ", "ALOT", "A LOT"),
        ("YES! EXACTLY!!! ", "ITS", "IT'S"),
        ("WE LOVE ", "LONDON", None),
        ("WELL SO DO ", "I", None),
        ("hi\nOMG ", "TEH", None),
        ("she works at ", "DSPACX", None),
    ],
)
def test_mistakes_in_a_shout_are_put_right_in_capitals(
    engine: Engine, context: str, letters: str, put: str | None
) -> None:
    assert engine.suggest(context, letters).autocorrect == put
    explained = engine.explain(context, letters)
    assert explained.autocorrect == put
    assert all(each.text.isupper() for each in explained.rivals)
    assert put is None or engine.is_doubtful(context, letters) or explained.verdict is Verdict.RECASED


def test_what_is_typed_decides_how_it_is_answered(engine: Engine) -> None:
    assert engine.suggest("I LOVE ", "T").words[0].isupper()
    assert engine.suggest("I LOVE ", "Th").words[0].istitle()
    assert engine.suggest("I LOVE ", "th").words[0].islower()
    assert engine.suggest("I LOVE you so ", "").words[0].islower()


def test_taps_with_shift_held_are_a_shout_too(engine: Engine) -> None:
    keys = [key_press(engine.layout.key_for(letter)) for letter in "belive"]
    shifted = [replace(tap, is_shifted=True) for tap in keys]
    assert engine.suggest("I CANT ", shifted).autocorrect == "BELIEVE"
    assert engine.suggest("I CANT ", keys).autocorrect == "believe"


def test_a_word_that_stands_as_it_is_offered_is_not_offered(engine: Engine) -> None:
    for letters in ("US", "TV", "I", "NEW", "IT"):
        answer = engine.suggest("I LOVE ", letters, 5)
        assert letters not in answer.words
        assert len(answer.words) == 5


def test_what_is_taken_and_taken_back_in_a_shout_is_left_alone(engine: Engine) -> None:
    accepted = engine.accept("I CANT ", "BELIVE", "BELIEVE")
    engine.undo(accepted)
    assert engine.suggest("I CANT ", "BELIVE").autocorrect is None
