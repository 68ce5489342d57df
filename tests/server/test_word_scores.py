"""Words' probabilities by models of several objectives, against sums written down by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import word_scores
from torch import Tensor
from word_scores import Head, Position, Question, Words, answers, at_blanks, from_left, grade, hidden_at

from fedkey.context import ContextReader
from fedkey.engine import WORD_ROOM
from fedkey.gaps import Answers, Gap, GappedMessage
from fedkey.lexicon import Lexicon
from fedkey.metrics import Recall
from fedkey.pieces import END_ID, START_ID, Pieces
from fedkey_export.lexicon_arrays import build_arrays, read_rows
from fedkey_server.batches import build_documents
from fedkey_server.model import Model, ModelConfig

VOCAB = 12
SPELLED = {
    "the": [4],
    "then": [5, 6],
    "they": [5, 7],
    "thy": [5, 6, 7],
    "a": [8],
    "us": [9],
    "US": [10],
    "hell": [11],
}


def lexicon(spelled: dict[str, list[int]], *, offensive: str = "hell") -> Lexicon:
    rows = [(word, math.log(0.1 if len(word) < 4 else 0.3), word == offensive) for word in spelled]
    return Lexicon(build_arrays(rows, spelled.__getitem__), VOCAB)


@pytest.fixture
def words() -> Words:
    return Words(lexicon(SPELLED))


@pytest.fixture
def model() -> Model:
    config = ModelConfig(
        vocab_size=VOCAB,
        width=16,
        num_layers=2,
        num_heads=2,
        num_key_value_heads=1,
        hidden_width=24,
        window=24,
    )
    return Model(config, seed=3)


@pytest.fixture
def head(model: Model) -> Head:
    def read(tokens_bt: Tensor, positions_bt: Tensor, document_ids_bt: Tensor, is_asked_bt: Tensor) -> Tensor:
        return model(tokens_bt, positions_bt, document_ids_bt)

    return Head(read, model.embedding_vd)


def all_words(words: Words) -> slice:
    return words.beginning_with("")


def at(words: Words, word: str) -> int:
    index = words.lexicon.find(word)
    assert index is not None
    return index


# -------------------------------------------------------------------------------------------------- the model


def next_log_probs(model: Model, ids: tuple[int, ...]) -> Tensor:
    """[T, V], of one row by itself."""
    tokens = torch.tensor([ids])
    hidden = model(tokens, torch.arange(len(ids))[None], torch.zeros_like(tokens))
    return torch.log_softmax(model.logits(hidden)[0], dim=-1).detach()


def test_questions_read_together_are_answered_as_one_by_one(
    model: Model, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_scores, "PIECES_AT_ONCE", 20)
    questions = [
        Question(ids, places)
        for ids, places in (((1, 4, 5, 6), (3,)), ((1,), (0,)), ((1, 9, 9, 4, 5, 7, 8), (0, 4, 6)))
    ]
    for question, hidden, log_probs in zip(
        questions, hidden_at(head.read, questions), head.log_probs(questions), strict=True
    ):
        assert hidden.shape == (len(question.places), 16)
        expected = next_log_probs(model, question.ids)[list(question.places)]
        torch.testing.assert_close(torch.from_numpy(log_probs), expected)


def test_places_that_are_asked_for_are_marked() -> None:
    seen = []

    def read(tokens_bt: Tensor, positions_bt: Tensor, document_ids_bt: Tensor, is_asked_bt: Tensor) -> Tensor:
        seen.append((tokens_bt.tolist(), document_ids_bt.tolist(), is_asked_bt.tolist()))
        return torch.zeros(*tokens_bt.shape, 2)

    hidden_at(read, [Question((1, 4, 5), (1, 2)), Question((7, 8), (0,))])
    assert seen == [
        (
            [[7, 8, 0], [1, 4, 5]],
            [[0, 0, -1], [0, 0, 0]],
            [[True, False, False], [False, True, True]],
        )
    ]


# ---------------------------------------------------------------------------------------------- from the left


def test_from_the_left_a_word_is_the_product_over_its_pieces(model: Model, head: Head, words: Words) -> None:
    contexts = [(1, 4, 9), (1,), (1, 8, 8, 8)]
    found = from_left(head, contexts, ["thy", "then", "a"], words)
    for context, scores in zip(contexts, found, strict=True):
        for word, path in SPELLED.items():
            log_probs = next_log_probs(model, (*context, *path[:-1]))[len(context) - 1 :]
            expected = float(sum(log_probs[place, piece] for place, piece in enumerate(path)))
            if word == "hell":
                assert scores[at(words, word)] == -np.inf
            else:
                assert scores[at(words, word)] == pytest.approx(expected, rel=1e-5), (context, word)


def test_words_are_estimated_by_their_first_piece_and_how_usual_they_are(head: Head, words: Words) -> None:
    (log_probs,) = head.log_probs([Question((1, 4), (1,))])
    estimates = words.estimates(log_probs[0])
    # Of 0.1 (thy), 0.3 (then) and 0.3 (they), which begin with the same piece.
    assert estimates[at(words, "thy")] == pytest.approx(log_probs[0, 5] + math.log(1 / 7), rel=1e-5)
    assert estimates[at(words, "the")] == log_probs[0, 4]
    assert estimates[at(words, "hell")] == -np.inf


def test_words_of_several_pieces_are_scored_if_they_may_be_shown(
    words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimates = np.full(len(SPELLED), -np.inf, dtype=np.float32)
    for word, score in {"the": -1, "a": -2, "us": -3, "then": -4.5, "they": -5.5, "thy": -0.5}.items():
        estimates[at(words, word)] = score
    # The third of all words is "a", of those with "th" it is "then".
    assert words.doubtful(estimates, all_words(words)) == [at(words, "thy")]
    near = [at(words, word) for word in ("thy", "then", "they")]
    assert words.doubtful(estimates, words.beginning_with("TH")) == near
    assert words.doubtful(estimates, words.beginning_with("x")) == []
    monkeypatch.setattr(word_scores, "MOST_SPELLED", 2)
    assert words.doubtful(estimates, words.beginning_with("th")) == near[:2]


# -------------------------------------------------------------------------------------------------- at blanks


def test_at_blanks_a_word_is_the_product_of_independent_pieces_and_of_its_length(words: Words) -> None:
    rng = np.random.default_rng(0)
    log_probs = [rng.normal(size=(length, VOCAB)).astype(np.float32) for length in (1, 2, 3)]
    usual = np.log([0.7, 0.2, 0.1]).astype(np.float32)
    scores = words.at_blanks(log_probs, usual)
    assert scores[at(words, "the")] == pytest.approx(math.log(0.7) + log_probs[0][0, 4])
    assert scores[at(words, "they")] == pytest.approx(math.log(0.2) + log_probs[1][0, 5] + log_probs[1][1, 7])
    expected = math.log(0.1) + log_probs[2][0, 5] + log_probs[2][1, 6] + log_probs[2][2, 7]
    assert scores[at(words, "thy")] == pytest.approx(expected)
    assert scores[at(words, "hell")] == -np.inf


def test_words_of_more_pieces_than_blanks_are_never_found() -> None:
    words = Words(lexicon({"the": [4], "thinking": [4, 5, 6, 7]}))
    scores = words.at_blanks(
        [np.zeros((n, VOCAB), dtype=np.float32) for n in (1, 2, 3)], np.zeros(3, np.float32)
    )
    assert scores[at(words, "thinking")] == -np.inf


def test_every_gap_is_read_with_one_two_and_three_blanks(words: Words) -> None:
    rows = []

    def read(tokens_bt: Tensor, positions_bt: Tensor, document_ids_bt: Tensor, is_asked_bt: Tensor) -> Tensor:
        for tokens, documents, asked in zip(tokens_bt, document_ids_bt, is_asked_bt, strict=True):
            rows.append((tokens[documents == 0].tolist(), torch.flatten(asked.nonzero()).tolist()))
        hidden = torch.zeros(*tokens_bt.shape, VOCAB)
        hidden[..., 4] = 1.0
        return hidden

    head = Head(read, torch.eye(VOCAB))
    (scores,) = at_blanks(head, [((1, 4), (8, 2))], 3, words, np.zeros(3, dtype=np.float32))
    assert rows == [
        ([1, 4, 3, 8, 2], [2]),
        ([1, 4, 3, 3, 8, 2], [2, 3]),
        ([1, 4, 3, 3, 3, 8, 2], [2, 3, 4]),
    ]
    other = -math.log(math.e + VOCAB - 1)
    assert scores[at(words, "the")] == pytest.approx(1 + other)
    assert scores[at(words, "then")] == pytest.approx(2 * other)


def test_lengths_are_counted_in_the_words_of_a_text(tiny_data: Path) -> None:
    pieces = Pieces.open(tiny_data / "tokenizer.model")
    rows = read_rows(tiny_data / "lexicon.tsv")
    words = Words(Lexicon(build_arrays(rows, pieces.encode_unit), pieces.vocab_size))
    by_length = {
        length: next(row.word for row in rows if len(pieces.encode_unit(row.word)) == length)
        for length in (1, 2, 3)
    }
    one, two, three = by_length.values()
    message = [one, ",", one, two, "!", one, three, one, "zzzzq"]
    documents = build_documents([[(message, True)]], pieces, 64)
    usual = word_scores.log_lengths(documents, pieces, words)
    np.testing.assert_allclose(np.exp(usual), [4 / 6, 1 / 6, 1 / 6], rtol=1e-5)


# -------------------------------------------------------------------------------------------------- positions


def test_all_objectives_see_the_same_text(tiny_data: Path) -> None:
    pieces = Pieces.open(tiny_data / "tokenizer.model")
    known = Lexicon(build_arrays(read_rows(tiny_data / "lexicon.tsv"), pieces.encode_unit), pieces.vocab_size)
    message = GappedMessage("ann", "how are you\n", "I am fine, thanks", (Gap(2, "am"), Gap(5, "fine")))
    found = list(word_scores.positions_of([message], pieces, known, 64))
    earlier = (START_ID, *pieces.encode("how are you"), END_ID)
    before, behind = (START_ID, *pieces.encode("I am")), (*pieces.encode(", thanks"), END_ID)
    assert found[1] == Position(
        "ann",
        "fine",
        (*earlier, *before),
        (*earlier, pieces.behind_id, *behind, *before, pieces.here_id),
        (*earlier, *before),
        behind,
    )
    # As the keyboard has it.
    reader = ContextReader(pieces, known.forms, 64 - WORD_ROOM, reads_behind=True)
    assert found[0].framed == reader.read("how are you\nI ", " fine, thanks").ids
    assert found[0].left == reader.read("how are you\nI ").ids


def test_without_a_frame_the_message_ends_behind_the_gap(tiny_data: Path) -> None:
    pieces = Pieces.open(tiny_data / "tokenizer.model")
    assert word_scores.unframed((1, 4, 5), pieces) == ((1, 4, 5), (END_ID,))


# ------------------------------------------------------------------------------------------------------ ranks


def test_ranks_are_among_words_with_other_letters_that_begin_alike(words: Words) -> None:
    scores = np.full(len(SPELLED), -np.inf, dtype=np.float32)
    for word, score in {"us": -1, "US": -2, "the": -3, "a": -4, "then": -5, "they": -6}.items():
        scores[at(words, word)] = score
    everything = all_words(words)
    assert [words.rank(scores, everything, word) for word in ("US", "The", "a", "then")] == [1, 2, 3, None]
    assert words.rank(scores, words.beginning_with("t"), "they") == 3
    assert words.rank(scores, words.beginning_with("t"), "thy") is None
    found = answers(scores, "They", words)
    assert found.after_0 == Recall(1, 1)
    assert found.after_1 == found.after_2 == Recall(1, 1, hits_3=1, reciprocal_rank=1 / 3)
    # One letter is all of "a"; what the lexicon lacks is a wrong answer.
    assert answers(scores, "a", words).after_1 == Recall()
    assert answers(scores, "zork", words).after_0 == Recall(1, 0)


def test_positions_are_scored_some_at_a_time_and_summed_by_author(
    words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_scores, "POSITIONS_AT_ONCE", 2)
    sizes = []

    def score(positions: list[Position]) -> list[np.ndarray]:
        sizes.append(len(positions))
        return [np.arange(len(SPELLED), dtype=np.float32) for _ in positions]

    last = max(SPELLED, key=lambda word: at(words, word))
    positions = [Position(author, last, (), (), (), ()) for author in ("bob", "ann", "bob")]
    found = grade(positions, score, words)  # type: ignore[arg-type]
    assert sizes == [2, 1]
    assert list(found) == ["ann", "bob"]
    assert isinstance(found["bob"], Answers)
    assert (found["bob"].after_0.positions, found["bob"].after_0.hits_1) == (2, 2)
