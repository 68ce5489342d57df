"""Rows become arrays from which the phone finds every word again, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.bundle import LEXICON_ARRAYS
from fedkey.errors import UserError
from fedkey.lexicon import ROOT, Lexicon
from fedkey.pieces import Pieces
from fedkey_export.lexicon_arrays import Row, build_arrays, read_rows
from fedkey_server import vocabulary

VOCAB = 260


def spell(word: str) -> list[int]:
    return [byte + 4 for byte in word.encode()]


# Letters that change their number, or their place in the alphabet, when they change case, beside plain ones.
WORDS = st.text(
    st.sampled_from("abAB'İßǅéſσς語😀") | st.characters(exclude_categories=["Cs", "Cc", "Zs"]),
    min_size=1,
    max_size=5,
)
ROWS = st.dictionaries(
    WORDS, st.tuples(st.floats(-20, -0.125, width=32), st.booleans()), min_size=1, max_size=25
).map(lambda words: [Row(word, log_prob, flag) for word, (log_prob, flag) in words.items()])


@given(rows=ROWS)
def test_every_word_comes_back_with_all_that_belongs_to_it(rows: list[Row]) -> None:
    lexicon = Lexicon(build_arrays(rows, spell), VOCAB)
    assert sorted(map(lexicon.word, range(len(lexicon)))) == sorted(row.word for row in rows)
    for row in rows:
        index = lexicon.find(row.word)
        assert index is not None
        assert lexicon.word(index) == row.word
        assert list(lexicon.pieces(index)) == spell(row.word)
        assert lexicon.log_prob[index] == np.float32(row.log_prob)
        assert lexicon.is_offensive(index) == row.offensive


@given(rows=ROWS)
def test_a_nodes_words_are_those_that_end_there_and_then_its_childrens(rows: list[Row]) -> None:
    arrays = build_arrays(rows, spell)
    lexicon = Lexicon(arrays, VOCAB)
    char, first_child = arrays["trie_char"].tolist(), arrays["trie_first_child"].tolist()
    prefixes = {ROOT: ""}
    for node in range(lexicon.num_nodes):  # breadth first: a node's prefix is known when it is reached
        children = range(first_child[node], first_child[node + 1])
        letters = [char[child] for child in children]
        assert letters == sorted(set(letters))
        at = lexicon.word_range(node).start
        for index in lexicon.words_at(node):
            assert lexicon.key(index) == prefixes[node]
            at += 1
        for child in children:
            prefixes[child] = prefixes[node] + chr(char[child])
            assert lexicon.word_range(child).start == at
            assert len(lexicon.word_range(child)) > 0
            at = lexicon.word_range(child).stop
        assert at == lexicon.word_range(node).stop
    assert sorted(prefixes) == list(range(lexicon.num_nodes))
    expected = {row.word.lower()[:length] for row in rows for length in range(len(row.word.lower()) + 1)}
    assert sorted(prefixes.values()) == sorted(expected)


@given(rows=ROWS, order=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[Row], order) -> None:
    shuffled = list(rows)
    order.shuffle(shuffled)
    ours, theirs = build_arrays(rows, spell), build_arrays(shuffled, spell)
    for name in LEXICON_ARRAYS:
        assert ours[name].tobytes() == theirs[name].tobytes()


@pytest.mark.parametrize(
    ("words", "num_bytes"),
    [(["ab", "b"], 2), (["a\uffff"], 2), (["a😀"], 4)],
    ids=["plain", "last", "astral"],
)
def test_arrays_are_as_narrow_as_their_numbers_allow(words: list[str], num_bytes: int) -> None:
    arrays = build_arrays([(word, -1.0, False) for word in words], lambda word: [7])
    assert set(arrays) == set(LEXICON_ARRAYS)
    for name, dtypes in LEXICON_ARRAYS.items():
        assert arrays[name].dtype.str in dtypes
    assert arrays["trie_char"].dtype.itemsize == num_bytes
    wide = build_arrays([("a", -1.0, False)], lambda word: [1 << 16])
    assert wide["pieces"].dtype.itemsize == 4


def test_no_words_are_no_lexicon() -> None:
    with pytest.raises(UserError, match="no words"):
        build_arrays([], spell)


# --------------------------------------------------------------------------------------------- lexicon.tsv


def test_the_whole_lexicon_of_a_run_comes_back(tiny_data: Path) -> None:
    rows, pieces = read_rows(tiny_data / "lexicon.tsv"), Pieces.open(tiny_data / "tokenizer.model")
    lexicon = Lexicon(build_arrays(rows, pieces.encode_unit), pieces.vocab_size)
    for row in rows:
        index = lexicon.find(row.word)
        assert index is not None
        assert lexicon.pieces(index) == pieces.encode_unit(row.word)
    assert dict(lexicon.forms) == vocabulary.forms_of(rows)


HEADER = "word\tlog_prob\tflags\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "does not begin with the line"),
        ("hello\t-1\t\n", "does not begin with the line"),
        (f"{HEADER}hello\t-1\t\nhelp\t-2\n", "Line 3 of"),
        (f"{HEADER}hello\tminus one\t\n", "Line 2 of"),
        (f"{HEADER}hello\tnan\t\n", "Line 2 of"),
        (f"{HEADER}hello\t0.1\t\n", "Line 2 of"),
        (f"{HEADER}hello\t-101\t\n", "Line 2 of"),
        (f"{HEADER}\t-1\t\n", "Line 2 of"),
        (f"{HEADER}hello\t-1\t\n\nhelp\t-2\t\n", "Line 3 of"),
        (f"{HEADER}hello\t-1\t\nhelp\t-2\t\nhello\t-3\t\n", "Line 4 of"),
    ],
)
def test_a_broken_lexicon_is_told_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "lexicon.tsv"
    file.write_text(content)
    with pytest.raises(UserError, match=said) as told:
        read_rows(file)
    assert str(file) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_lexicon_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot read the lexicon"):
        read_rows(tmp_path / "lexicon.tsv")
    (tmp_path / "lexicon.tsv").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        read_rows(tmp_path / "lexicon.tsv")
