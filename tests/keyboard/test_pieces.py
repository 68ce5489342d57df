"""Pieces spell any text and spell it back; a word is spelled one way wherever it stands."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedkey.errors import UserError
from fedkey.pieces import END_ID, PAD_ID, START_ID, UNIT_END, UNKNOWN_ID, Pieces
from fedkey.text import FLIP, LINK, PLACEHOLDERS, SPECIAL_UNITS, is_word, normalise, split


@pytest.fixture(scope="module")
def pieces(tiny_data: Path) -> Pieces:
    return Pieces.open(tiny_data / "tokenizer.model")


@pytest.fixture(scope="module")
def lexicon(tiny_data: Path) -> list[str]:
    lines = (tiny_data / "lexicon.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t")[0] for line in lines]


TEXTS = st.text(st.characters(exclude_categories=[])) | st.text(
    st.sampled_from([*"ab ,.'(\n▁語😀", "\u0301", "\ue011", "\uf8ff", "\ufffd", *SPECIAL_UNITS])
)


@given(TEXTS)
@settings(max_examples=400)
@example("▁ ▁▁ a▁b ▁")
@example("\ue010\ue011\uf8ff\U0010fffd")
@example("\ufffd \U0001fffe \u2028")
@example("hello , (world )")
def test_any_text_can_be_spelled_back(pieces: Pieces, text: str) -> None:
    message = normalise(text)
    ids = pieces.encode(message)
    assert pieces.decode(ids) == message
    assert pieces.decode_units(ids) == split(message)
    assert all(UNKNOWN_ID < i < pieces.vocab_size for i in ids)


@given(TEXTS)
def test_the_last_piece_of_a_unit_and_no_other_ends_it(pieces: Pieces, text: str) -> None:
    for unit in split(normalise(text)):
        ids = pieces.encode_unit(unit)
        if unit in SPECIAL_UNITS:
            assert len(ids) == 1
        else:
            assert [bool(pieces.ends_unit[i]) for i in ids] == [False] * (len(ids) - 1) + [True]


@given(TEXTS)
def test_a_fresh_tokenizer_spells_the_same(pieces: Pieces, text: str) -> None:
    """What was spelled before is remembered; it must not matter."""
    message = normalise(text)
    assert Pieces(pieces.serialised).encode(message) == pieces.encode(message) == pieces.encode(message)


def test_every_word_has_one_spelling_wherever_it_stands(pieces: Pieces, lexicon: list[str]) -> None:
    assert len(lexicon) > 3000
    spellings = set()
    for word in lexicon:
        assert is_word(word)
        ids = pieces.encode(word)
        spellings.add(tuple(ids))
        for before, after in (
            ("", " see"),
            ("", ","),
            ("", ""),
            ("so, ", "! "),
            ("(", ")"),
            ("a-", "-a"),
            ('"', '"'),
        ):
            whole = pieces.encode(normalise(f"{before}{word}{after}"))
            start = len(pieces.encode_units(split(before)))
            start += sum(whole[start:][:1] == [i] for i in (pieces.flip_id,))
            assert whole[start : start + len(ids)] == ids, (before, word, after)
    assert len(spellings) == len(lexicon), "no two words are spelled alike"


def test_marks_and_placeholders_are_pieces_of_their_own(pieces: Pieces) -> None:
    ids = [pieces.encode_unit(unit) for unit in SPECIAL_UNITS]
    assert len(set(ids)) == len(SPECIAL_UNITS)
    assert all(len(each) == 1 for each in ids)
    assert pieces.encode_unit(FLIP) == (pieces.flip_id,)
    assert {*pieces.never_suggested} == {
        PAD_ID, START_ID, UNKNOWN_ID, *(pieces.encode_unit(unit)[0] for unit in PLACEHOLDERS),
        pieces.behind_id, pieces.here_id, pieces.blank_id,
    }  # fmt: skip
    assert pieces.decode([*pieces.encode_unit(LINK), *pieces.encode("x")]) == f"{LINK} x"


def test_ids_that_frame_messages_are_no_text(pieces: Pieces) -> None:
    ids = pieces.encode("see you")
    assert pieces.decode([START_ID, *ids, END_ID, PAD_ID]) == "see you"


@given(TEXTS)
@settings(max_examples=100)
def test_what_frames_a_gap_is_in_no_text(pieces: Pieces, text: str) -> None:
    framing = {pieces.behind_id, pieces.here_id, pieces.blank_id}
    assert len(framing) == 3
    assert not framing & {PAD_ID, START_ID, END_ID, UNKNOWN_ID, *pieces.encode(normalise(text))}


def test_an_unfinished_word_is_shown_as_far_as_it_goes(pieces: Pieces, lexicon: list[str]) -> None:
    word = next(word for word in lexicon if len(pieces.encode(word)) > 2)
    start = pieces.decode(pieces.encode(word)[:-1])
    assert word.startswith(start)
    assert start


@given(st.lists(st.integers(0, 399), max_size=30))
def test_any_ids_are_some_text(pieces: Pieces, ids: list[int]) -> None:
    assert isinstance(pieces.decode(ids), str)
    assert all(isinstance(pieces.piece(i), str) for i in ids)


# --------------------------------------------------------------------------------------------------- refusals


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot read the tokenizer .*nothing\.model: No such file"):
        Pieces.open(tmp_path / "nothing.model")


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    remedy = "copy it from where it is whole, or prepare the data again."
    for content, what in [
        (b"hello", "is not a SentencePiece model"),
        (foreign(pad_id=-1, unk_id=0), "was not trained by fedkey-server: its special ids differ"),
    ]:
        path.write_bytes(content)
        with pytest.raises(UserError) as refused:
            Pieces.open(path)
        assert str(refused.value) == f"The tokenizer {path} {what}; {remedy}"


@pytest.mark.parametrize("content", [b"", b"hello", bytes(1000)])
def test_bytes_that_are_no_tokenizer_are_refused(content: bytes) -> None:
    with pytest.raises(UserError, match="is not a SentencePiece model"):
        Pieces(content)


def foreign(**options: object) -> bytes:
    """A SentencePiece model that somebody else trained."""
    model = io.BytesIO()
    given = {
        "model_type": "bpe", "vocab_size": 300, "byte_fallback": True, "minloglevel": 2,
        "pad_id": PAD_ID, "bos_id": START_ID, "eos_id": END_ID, "unk_id": UNKNOWN_ID,
        "user_defined_symbols": list(SPECIAL_UNITS), "treat_whitespace_as_suffix": True,
    } | options  # fmt: skip
    sentences = iter(["hello there general", "how are you", "see you later alligator"] * 5)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=sentences, model_writer=model, **given)
    return model.getvalue()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pad_id": -1, "unk_id": 0}, "its special ids differ"),
        ({"user_defined_symbols": []}, "it lacks the placeholder pieces"),
        ({"user_defined_symbols": list(SPECIAL_UNITS[:-1])}, "it lacks the placeholder pieces"),
        ({"treat_whitespace_as_suffix": False}, "its words do not end in a mark"),
    ],
)
def test_a_tokenizer_trained_by_others_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        Pieces(foreign(**options))
    assert "\n" not in str(refused.value)


def test_one_that_only_looks_foreign_is_taken() -> None:
    assert Pieces(foreign()).decode(Pieces(foreign()).encode("hello, you")) == "hello, you"
    assert Pieces(foreign()).piece(Pieces(foreign()).encode("you")[-1]).endswith(UNIT_END)
