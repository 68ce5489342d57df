"""Candidates against plain Python over the same words."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey.candidates import CandidateFinder
from fedkey.lexicon import Lexicon
from fedkey_export.lexicon_arrays import build_arrays


def make(words: dict[str, bool]) -> tuple[Lexicon, CandidateFinder]:
    rows = [(word, -1.0, offensive) for word, offensive in words.items()]
    lexicon = Lexicon(build_arrays(rows, lambda word: [4] * len(word)), 5)
    return lexicon, CandidateFinder(lexicon)


WORDS = st.dictionaries(st.text("abB'", min_size=1, max_size=4), st.booleans(), min_size=1, max_size=20)


@given(words=WORDS, typed=st.text("abAB'", max_size=3))
@settings(deadline=None)
def test_candidates_continue_the_letters_and_offend_only_when_typed_out(
    words: dict[str, bool], typed: str
) -> None:
    lexicon, finder = make(words)
    candidates = finder.find(typed)
    expected = {
        word
        for word, offensive in words.items()
        if word.lower().startswith(typed.lower()) and (not offensive or word.lower() == typed.lower())
    }
    assert {lexicon.word(index) for index in candidates.words} == expected
    assert len(candidates) == len(expected)
    assert np.all(np.diff(candidates.words) > 0)
    assert not candidates.costs.any()


@given(st.text(max_size=6))
@settings(deadline=None)
def test_any_text_gives_candidates_or_none(typed: str) -> None:
    _, finder = make({"hello": False, "help": False})
    expected = sum(word.startswith(typed.lower()) for word in ("hello", "help"))
    assert len(finder.find(typed)) == expected


def test_an_offensive_word_does_not_stay_offered() -> None:
    lexicon, finder = make({"damn": True, "damned": False})
    assert [lexicon.word(i) for i in finder.find("dam").words] == ["damned"]
    assert [lexicon.word(i) for i in finder.find("Damn").words] == ["damn", "damned"]
    assert [lexicon.word(i) for i in finder.find("dam").words] == ["damned"]
    assert [lexicon.word(i) for i in finder.find("").words] == ["damned"]
