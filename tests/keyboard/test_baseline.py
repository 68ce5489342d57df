"""The unigram baseline against plain Python over the same words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.baseline import Unigram, answer
from fedkey.lexicon import Lexicon
from fedkey_export.lexicon_arrays import build_arrays


def unigram(words: dict[str, tuple[float, bool]]) -> Unigram:
    rows = [(word, *values) for word, values in words.items()]
    return Unigram(Lexicon(build_arrays(rows, lambda word: [4] * len(word)), 5))


SOME = unigram(
    {
        "the": (-1.0, False),
        "that": (-2.0, False),
        "Thomas": (-3.0, False),
        "damn": (-0.5, True),
        "us": (-2.5, False),
        "US": (-2.4, False),
        "I'm": (-2.6, False),
    }
)


def test_the_most_frequent_words_come_first() -> None:
    assert SOME.suggest("so ", "").words == ("the", "that", "US")
    assert SOME.suggest("so ", "", 5).words == ("the", "that", "US", "I'm", "Thomas")


def test_letters_narrow_them_down() -> None:
    assert SOME.suggest("so ", "t").words == ("the", "that", "Thomas")
    assert SOME.suggest("so ", "tho").words == ("Thomas",)
    assert SOME.suggest("so ", "xyz").words == ()


def test_what_stands_before_changes_nothing_but_the_first_capital() -> None:
    for context in ("so ", "how are you?\nso ", "well, I ", "US "):
        assert SOME.suggest(context, "").words == ("the", "that", "US")
    for context in ("", "how are you?\n", "so. ", "so! "):
        assert SOME.suggest(context, "").words == ("The", "That", "US")
        assert SOME.suggest(context, "t").words == ("the", "that", "Thomas")


def test_capitals_are_the_writers() -> None:
    assert SOME.suggest("so ", "T").words == ("The", "That", "Thomas")
    assert SOME.suggest("so ", "TH").words == ("THE", "THAT", "THOMAS")
    assert SOME.suggest("so ", "i").words == ("I'm",)


def test_typed_quotes_are_folded() -> None:
    assert SOME.suggest("so ", "i\u2019").words == ("I'm",)


def test_words_alike_up_to_case_are_offered_once() -> None:
    assert SOME.suggest("so ", "u").words == ("US",)


def test_what_is_typed_already_is_not_offered_unless_its_case_differs() -> None:
    assert SOME.suggest("so ", "the").words == ()
    assert SOME.suggest("so ", "The").words == ()
    assert SOME.suggest("so ", "us").words == ("US",)
    assert SOME.suggest("so ", "US").words == ()
    longer = unigram({"a": (-1.0, False), "at": (-2.0, False), "an": (-3.0, False)})
    assert longer.suggest("so ", "a", 1).words == ("at",)
    assert longer.suggest("so ", "a", 2).words == ("at", "an")


def test_a_peer_may_decide_itself_whether_to_offer_what_is_typed() -> None:
    def find(letters: str, count: int) -> tuple[str, ...]:
        return ("the", "then", "they")[:count]

    assert answer("so ", "the", 2, find).words == ("then", "they")
    assert answer("so ", "the", 2, find, may_be_typed=True).words == ("the", "then")


def test_offensive_words_are_offered_when_typed_out_in_another_case_alone() -> None:
    rude = unigram({"damn": (-0.5, True), "Darn": (-1.0, True)})
    assert rude.suggest("so ", "da").words == ()
    assert rude.suggest("so ", "damn").words == ()
    assert rude.suggest("so ", "darn").words == ("Darn",)


def test_an_answer_says_how_long_it_took() -> None:
    assert SOME.suggest("so ", "th").latency_ms > 0


WORDS = st.dictionaries(
    st.text("abB'", min_size=1, max_size=4),
    st.tuples(st.integers(-20, -1).map(float), st.booleans()),
    min_size=1,
    max_size=20,
)


@given(words=WORDS, typed=st.text("ab'", max_size=3), k=st.integers(1, 5))
def test_it_is_a_sort_by_frequency(words: dict[str, tuple[float, bool]], typed: str, k: int) -> None:
    """Ties go to the first in the lexicon's order: by lower case, then by surface."""
    completions = sorted(
        (
            word
            for word, (_, offensive) in words.items()
            if word.lower().startswith(typed) and (not offensive or (typed and word.lower() == typed))
        ),
        key=lambda word: (-words[word][0], word.lower(), word),
    )
    expected: dict[str, str] = {}
    for word in completions:
        expected.setdefault(word.lower(), word)
    found = unigram(words).suggest("so ", typed, k).words
    assert found == tuple(word for word in expected.values() if word != typed)[:k]


@pytest.mark.parametrize("k", [3, 1, 2])
def test_asking_for_fewer_gives_the_first_of_them(k: int) -> None:
    assert SOME.suggest("so ", "t", k).words == ("the", "that", "Thomas")[:k]
