"""Training SentencePiece on units: the same bytes every time, one spelling a word, any character."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedkey.errors import UserError
from fedkey.pieces import END_ID, PAD_ID, START_ID, UNIT_END, UNKNOWN_ID, Pieces
from fedkey.text import FLIP, LINK, SPECIAL_UNITS, normalise, split
from fedkey_export.lexicon_arrays import read_rows
from fedkey_server.tokenizer import TokenizerConfig, count_units, train

TEXT = (
    "hello there, how are you doing today? I'm walking and talking while running (see the river). "
    "the weather is better than yesterday; thanks for asking! see you later, said the other walker... "
    "my favourite colours are yellow, orange and purple; nothing else matters, everything else gathers"
)
CONFIG = TokenizerConfig(vocab_size=330)


def counts() -> Counter[str]:
    return count_units([split(TEXT), split(f"mail {LINK} now"), split("so-so")] * 5)


@pytest.fixture(scope="module")
def model() -> bytes:
    return train(counts(), CONFIG)


@pytest.fixture(scope="module")
def pieces(model: bytes) -> Pieces:
    return Pieces(model)


def test_units_are_counted_and_marks_are_not() -> None:
    units = split(f"a b, a ,b {LINK}")
    assert {FLIP, LINK} <= set(units)
    assert count_units([units, ["a"]]) == Counter({"a": 3, "b": 2, ",": 2})


def test_equal_counts_give_equal_bytes_in_any_order_and_process(model: bytes) -> None:
    program = (
        "import sys; from collections import Counter; from fedkey_server.tokenizer import *; "
        f"counts = Counter({dict(reversed(counts().items()))!r}); "
        "sys.stdout.buffer.write(train(counts, TokenizerConfig(330)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == model


def test_ids_are_those_that_the_phone_expects(pieces: Pieces) -> None:
    assert pieces.vocab_size == CONFIG.vocab_size
    assert (PAD_ID, START_ID, END_ID, UNKNOWN_ID) == (0, 1, 2, 3)
    special = [pieces.encode_unit(unit) for unit in SPECIAL_UNITS]
    assert sorted(special) == [(i,) for i in range(4, 4 + len(SPECIAL_UNITS))]


def test_frequent_words_become_few_pieces(pieces: Pieces) -> None:
    assert len(pieces.encode_unit("the")) < len("the")
    assert pieces.piece(pieces.encode_unit("the")[-1]).endswith(UNIT_END)


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S"]), max_size=20))
@example("日本語")
@example("👩‍👩‍👧")
@example("\U0010fffd")
def test_characters_never_seen_in_training_are_spelled_in_bytes(pieces: Pieces, text: str) -> None:
    units = split(normalise(text))
    ids = pieces.encode_units(units)
    assert UNKNOWN_ID not in ids
    assert pieces.decode_units(ids) == units


def test_every_word_of_the_lexicon_has_one_segmentation_wherever_it_stands(tiny_data: Path) -> None:
    pieces = Pieces.open(tiny_data / "tokenizer.model")
    words = [entry.word for entry in read_rows(tiny_data / "lexicon.tsv")]
    assert len(words) > 3000
    spellings = set()
    for word in words:
        alone = pieces.encode(word)
        for message in (f"{word} and", f"{word}, and", f"so {word}", f"({word})", f"a-{word}"):
            inside = pieces.encode(message)
            units = split(message)
            start = len(pieces.encode_units(units[: units.index(word)]))
            assert inside[start : start + len(alone)] == alone, message
        spellings.add(tuple(alone))
    assert len(spellings) == len(words)


def test_no_text_and_too_little_text_are_one_sentence() -> None:
    for text in ("", "hello hello"):
        with pytest.raises(UserError) as caught:
            train(count_units([split(text)]), CONFIG)
        assert str(caught.value) == (
            "The server's text is too small for 330 pieces; "
            "give more text or set a smaller tokenizer.vocab_size and model.vocab_size."
        )


def test_more_characters_than_pieces_asks_for_more_pieces() -> None:
    letters = Counter({chr(0x4E00 + i): 9 for i in range(500)})
    with pytest.raises(UserError, match=r"too many different characters for 330 pieces; set a larger"):
        train(letters, CONFIG)


@pytest.mark.parametrize(
    "wrong", [{"vocab_size": 299}, {"character_coverage": 0.5}, {"character_coverage": 1.1}]
)
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"tokenizer.{next(iter(wrong))} must be"):
        TokenizerConfig(**wrong)  # type: ignore[arg-type]
