"""The lexicon's arrays against plain Python over the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.bundle import BundleError
from fedkey.lexicon import LAST_CODE_POINT, LEAST_LOG_PROB, ROOT, Lexicon
from fedkey_export.lexicon_arrays import build_arrays

VOCAB = 300

Rows = list[tuple[str, float, bool]]


def spell(word: str) -> tuple[int, ...]:
    return tuple(byte + 4 for byte in word.encode())


def make(rows: Rows) -> Lexicon:
    return Lexicon(build_arrays(rows, spell), VOCAB)


ROWS = st.dictionaries(
    st.text(st.sampled_from("abAB'éß語😀"), min_size=1, max_size=4),
    st.tuples(st.integers(-15, -1).map(float), st.booleans()),
    min_size=1,
    max_size=30,
).map(lambda words: [(word, *values) for word, values in words.items()])


@given(rows=ROWS)
def test_every_word_is_found_with_what_belongs_to_it(rows: Rows) -> None:
    lexicon = make(rows)
    assert len(lexicon) == len(rows)
    for word, log_prob, offensive in rows:
        index = lexicon.find(word)
        assert index is not None
        assert lexicon.word(index) == word
        assert lexicon.key(index) == word.lower()
        assert lexicon.pieces(index) == spell(word)
        assert lexicon.is_offensive(index) == offensive
        assert float(lexicon.log_prob[index]) == pytest.approx(log_prob, abs=0.01)


@given(rows=ROWS, prefix=st.text(st.sampled_from("ab'é語x"), max_size=3))
def test_a_prefix_holds_exactly_the_words_that_begin_so(rows: Rows, prefix: str) -> None:
    lexicon = make(rows)
    node = lexicon.walk(prefix)
    found = [] if node is None else [lexicon.word(index) for index in lexicon.word_range(node)]
    assert sorted(found) == sorted(word for word, *_ in rows if word.lower().startswith(prefix))
    exact = [] if node is None else [lexicon.word(index) for index in lexicon.words_at(node)]
    assert sorted(exact) == sorted(word for word, *_ in rows if word.lower() == prefix)


@given(rows=ROWS)
def test_the_form_of_a_word_is_its_most_frequent_surface(rows: Rows) -> None:
    lexicon = make(rows)
    expected: dict[str, str] = {}
    for word, _, _ in sorted(rows, key=lambda row: (-row[1], row[0])):
        expected.setdefault(word.lower(), word)
    assert dict(lexicon.forms) == expected
    assert len(lexicon.forms) == len(expected)


@given(text=st.text(max_size=5))
def test_any_text_can_be_looked_up(text: str) -> None:
    lexicon = make([("hello", -1.0, False), ("Hell", -2.0, False)])
    assert (lexicon.find(text) is not None) == (text in ("hello", "Hell"))
    assert (text in lexicon.forms) == (text in ("hello", "hell"))


def test_the_empty_prefix_is_the_root_and_holds_all() -> None:
    lexicon = make([("us", -1.0, False), ("US", -2.0, False), ("use", -3.0, False)])
    assert lexicon.walk("") == ROOT
    assert lexicon.word_range(ROOT) == range(3)
    assert not lexicon.words_at(ROOT)


def damage(**changes: object) -> dict[str, np.ndarray]:
    arrays = dict(build_arrays([("hello", -1.0, False), ("help", -2.0, False)], spell))
    for name, change in changes.items():
        arrays[name] = change(arrays[name].copy())  # type: ignore[operator]
    return arrays


def with_last(value: float):
    def change(array: np.ndarray) -> np.ndarray:
        array[-1] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("log_prob", lambda array: array[:0]),
        ("flags", lambda array: array[:1]),
        ("text_offsets", with_last(99)),
        ("piece_offsets", with_last(99)),
        ("piece_offsets", lambda array: array * 0),
        ("pieces", with_last(VOCAB)),
        ("trie_first_child", lambda array: array * 0 + array[-1:]),
        ("trie_first_child", lambda array: array[::-1].copy()),
        ("trie_word_end", lambda array: array + 1),
        ("trie_word_start", lambda array: array[:-1]),
        ("log_prob", with_last(np.nan)),
        ("log_prob", with_last(-np.inf)),
        ("log_prob", with_last(1e30)),
        ("log_prob", with_last(0.01)),
        ("log_prob", with_last(LEAST_LOG_PROB - 0.01)),
        ("trie_char", with_last(0)),
        ("trie_char", with_last(0x1B)),
        ("trie_char", with_last(0x9B)),
        ("trie_char", with_last(0xD800)),
        ("trie_char", lambda array: with_last(LAST_CODE_POINT + 1)(array.astype(np.uint32))),
        ("trie_char", lambda array: with_last(0xFFFFFFFF)(array.astype(np.uint32))),
        ("text_offsets", lambda array: array * np.array([1, 0, 1], dtype=array.dtype)),
        ("text", with_last(ord("\x1b"))),
        ("text", with_last(ord("\n"))),
        ("text", with_last(ord(" "))),
        ("text", with_last(0x7F)),
        ("text", lambda array: np.concatenate([array[:-2], np.array([0xC2, 0x9B], dtype=np.uint8)])),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(name: str, change: object) -> None:
    with pytest.raises(BundleError, match="lexicon is damaged"):
        Lexicon(damage(**{name: change}), VOCAB)
