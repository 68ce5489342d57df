"""The word LSTM of Hard et al. 2018: its mathematics, what it reads, and all from text to table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hard2018.__main__ import Bench, Settings, lines
from hard2018.cifg import Cifg, CifgConfig
from hard2018.keyboard import CifgWords
from hard2018.table import places, score, table
from hard2018.training import Grade, best_rate, federate, grade, rows_of, train_centrally
from hard2018.words import drawn, messages_of, most_frequent, numbered, tokens_of, vocabulary_of

from fedkey.conversations import read_conversations
from fedkey.errors import UserError
from fedkey.personal_rules import SENTENCE_START
from fedkey.pieces import Pieces
from fedkey.text import is_word, split, units_with_places
from fedkey_server.batches import Documents, build_documents
from fedkey_server.phones import assemble
from fedkey_server.rounds import RoundsConfig, client_update
from fedkey_server.server_optim import ServerOptimizerConfig

SMALL = CifgConfig(num_words=30, width=8, num_cells=12, window=16)


def steps(model: Cifg, words: torch.Tensor) -> torch.Tensor:
    """States [T, D] after each word of one document, one word at a time."""
    state, states = model.start(1), []
    for word in words:
        state = model.step(word[None], state)
        states.append(state.h_bd[0])
    return torch.stack(states)


# ------------------------------------------------------------------------------------------------ mathematics


def test_it_has_the_paper_s_number_of_parameters() -> None:
    assert Cifg(CifgConfig()).num_parameters == pytest.approx(1.4e6, rel=0.01)


def test_rows_of_documents_end_as_each_document_word_by_word() -> None:
    model = Cifg(SMALL, seed=3).double()
    words = torch.randint(0, 30, (2, 9), generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7, 8]])
    rows = model(words, positions)
    torch.testing.assert_close(rows[0, :4], steps(model, words[0, :4]))
    torch.testing.assert_close(rows[0, 4:], steps(model, words[0, 4:]))
    torch.testing.assert_close(rows[1], steps(model, words[1]))


def test_its_gates_are_those_of_an_lstm_whose_input_gate_is_what_the_forget_gate_leaves() -> None:
    model = Cifg(SMALL, seed=3).double()
    oracle = torch.nn.LSTM(8, 12, proj_size=8, batch_first=True).double()
    with torch.no_grad():
        # torch's order is input, forget, cell, output; 1 - sigmoid(a) = sigmoid(-a).
        for theirs, ours in (
            (oracle.weight_ih_l0, model.input_gd),
            (oracle.weight_hh_l0, model.recurrent_gd),
            (oracle.bias_ih_l0, model.bias_g),
        ):
            forget, new, output = ours.chunk(3)
            theirs.copy_(torch.cat([-forget, forget, new, output]))
        oracle.bias_hh_l0.zero_()
        oracle.weight_hr_l0.copy_(model.projection_dc)
    words = torch.randint(0, 30, (2, 9), generator=torch.Generator().manual_seed(0))
    expected, _ = oracle(model.embedding_vd[words])
    torch.testing.assert_close(model(words, torch.arange(9).expand(2, 9)), expected)


# ------------------------------------------------------------------------------------------------------- text


@pytest.fixture(scope="module")
def pieces(tiny_data: Path) -> Pieces:
    return Pieces.open(tiny_data / "tokenizer.model")


def test_training_reads_the_words_that_typing_reads(pieces: Pieces) -> None:
    texts = ["hello there. how are you?", "well, I'm at the \ue002 beach :)", "no (really)! a-b c"]
    documents = build_documents([[(split(text), text != texts[1]) for text in texts]], pieces, 128)
    (messages,) = messages_of(documents, pieces)
    typed = [tokens_of([unit for unit, _ in units_with_places(text)]) for text in texts]
    assert messages == [(typed[0], True), (typed[1], False), (typed[2], True)]
    assert typed[0] == [
        SENTENCE_START, "hello", "there", SENTENCE_START, "how", "are", "you", SENTENCE_START,
    ]  # fmt: skip
    assert typed[1][1:4] == ["well", "i'm", "at"]

    vocabulary = vocabulary_of(["how", "are", "you", "a"])
    document = numbered([messages], vocabulary)
    known = {number: word for word, number in vocabulary.numbers.items()}
    targets = [known.get(number, "?") for number in document.ids[document.loss].tolist()]
    # Own words, unknown ones among them; neither the partner's, nor placeholders and starts.
    assert targets == ["?", "?", "how", "are", "you", "?", "?", "a", "?", "?"]
    starts = document.ids == vocabulary.start
    assert starts[0]
    assert not (starts[1:] & starts[:-1]).any()


def test_documents_are_drawn_until_the_words_are_together(tiny_data: Path, pieces: Pieces) -> None:
    whole = Documents.load(tiny_data / "server.npz")
    part = drawn(whole, pieces, 300, seed=1)
    words = Counter(
        token
        for messages in messages_of(part, pieces)
        for tokens, _ in messages
        for token in tokens
        if is_word(token)
    )
    assert 300 <= words.total() < 300 + 130
    assert len(drawn(whole, pieces, 10**9, seed=1)) == len(whole)
    assert [word for word, _ in words.most_common(5)] == most_frequent(messages_of(part, pieces), 5)


# --------------------------------------------------------------------------------------------------- learning


def _documents(seed: int) -> Documents:
    ids = np.tile(np.arange(seed, seed + 6, dtype=np.int32), 8)
    return Documents(ids, np.ones(48, dtype=np.bool_), np.arange(0, 49, 12))


def test_it_learns_what_comes_next() -> None:
    model = Cifg(SMALL)
    rows = rows_of(_documents(3), 16)
    before = grade(model, rows)
    for _ in range(40):
        train_centrally(model, rows, 4, 0.02, 1, 1, lambda done, of: None)
    after = grade(model, rows)
    assert after.nats < 0.5 * before.nats
    assert after.top_1 == 1.0


def test_a_round_of_one_phone_moves_the_server_by_that_phone_s_update() -> None:
    phones = assemble(["a", "b"], [48, 48], [_documents(3), _documents(9)])
    rounds = RoundsConfig(
        num_rounds=2, phones_per_round=1, min_reports=1, client_momentum=0.0, clip_norm=0.0, seed=5
    )
    told: list[int] = []
    model = Cifg(SMALL)
    federate(model, phones, rounds, ServerOptimizerConfig(), lambda done, of: told.append(done))
    expected = Cifg(SMALL)
    for number in (1, 2):
        (phone,) = np.random.default_rng((5, number)).choice(2, size=1, replace=False).tolist()
        client_update(
            expected,  # type: ignore[arg-type]
            phones.documents(phone),
            rounds,
            0.0,
            np.random.default_rng((5, number, phone)),
        )
    assert told == [1, 2]
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name])
    assert not torch.equal(model.embedding_vd, Cifg(SMALL).embedding_vd)


def test_a_rate_that_is_lost_is_not_the_best() -> None:
    losses = {0.1: 5.0, 1.0: 4.0, 10.0: float("nan")}
    rate, grades = best_rate(list(losses), lambda rate: Grade(losses[rate], 0.0))
    assert rate == 1.0
    assert set(grades) == set(losses)


# --------------------------------------------------------------------------------------------------- keyboard


def test_the_keyboard_reads_on_and_back_as_the_network_reads_at_once() -> None:
    words = ["are", "hello", "how", "there", "you"]
    vocabulary = vocabulary_of(words)
    model = Cifg(CifgConfig(num_words=5, width=8, num_cells=12, window=6), seed=2)
    keyboard = CifgWords(model, vocabulary)
    numbers = {**vocabulary.numbers, ".": vocabulary.start, "?": vocabulary.unknown}

    def expected(text: str) -> np.ndarray:
        ids = torch.tensor([[numbers[token] for token in text.split()]])
        with torch.inference_mode():
            logits = model.logits(model(ids, torch.arange(ids.shape[1])[None]))[0, -1, :-1]
        return torch.softmax(logits, dim=-1).numpy()

    for context, read in (
        ("", "."),
        ("hello ", ". hello"),
        ("hello there, ", ". hello there"),
        ("how are you\nhello ", ". how are you . hello"),
        ("well. how are zebras? ", ". ? . how are ? ."),
        # Six tokens of earlier messages at most; whole messages, the newest ones.
        ("hello\nhow are you\nthere!\n\nyou ", ". there . you"),
    ):
        likely = keyboard.probabilities(context)
        assert likely.sum() == pytest.approx(1)
        np.testing.assert_allclose(likely, expected(read), rtol=1e-5)


# ------------------------------------------------------------------------------------------------- everything

TRANSFORMER = ("train.batch_rows=8", "train.validation_rows=8", "train.warmup_steps=2")
SETTINGS = Settings(
    words=1500, rounds=2, phones=3, rates=(0.1,), test_words=120, preset="tiny",
    shape=CifgConfig(num_words=120, width=8, num_cells=12),
)  # fmt: skip


def test_from_text_to_recall_and_no_stage_twice(
    tiny_data: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tiny_data, tmp_path, tiny_bundle, SETTINGS)
    rows = [
        bench.of_network("central", bench.central()),
        bench.of_network("both", bench.federated("both", bench.central)),
        bench.of_ngrams("n-gram", bench.ngrams("server.npz")),
    ]
    assert sum(each.num_words for each in bench.stretches) == sum(
        sums[0] for sums in rows[0].scored.authors.values()
    )
    # Made-up chat repeats itself: n-grams know half of it, and a network after a few steps nearly nothing.
    assert rows[2].scored.recall(2).value > 0.3
    for row in rows:
        assert row.scored.recall(1).value <= row.scored.recall(2).value
    assert len(table(rows).splitlines()) == 2 + len(rows)
    both, central = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("both", "central"))
    assert not torch.equal(both["embedding_vd"], central["embedding_vd"])

    monkeypatch.setattr("hard2018.__main__.train_centrally", None)
    monkeypatch.setattr("hard2018.__main__.federate", None)
    monkeypatch.setattr("hard2018.__main__.score", None)
    again = Bench(tiny_data, tmp_path, tiny_bundle, SETTINGS)
    assert again.of_network("both", again.federated("both", again.central)) == rows[1]
    with pytest.raises(UserError, match="other settings"):
        Bench(tiny_data, tmp_path, tiny_bundle, Settings(words=1))


def test_recall_is_of_the_words_in_the_text(tmp_path: Path) -> None:
    (path := tmp_path / "one.txt").write_text("hello there")

    class Knows:
        """Shows the word that comes, as the second of three."""

        words = ("", "", "")
        latency_ms = 1.0

        def suggest(self, context: str, typed: str, k: int = 3) -> Knows:
            self.words = ("zebra", "hello there"[len(context) :].split()[0].upper(), "zebra")
            return self

    assert score(Knows(), places(read_conversations(path))) == {"one.txt": [2, 0, 2]}


@pytest.mark.slow
def test_the_whole_table(
    tiny_data: Path, tiny_bundle: Path, tmp_path: Path, small_overrides: list[str]
) -> None:
    settings = Settings(**{**vars(SETTINGS), "overrides": (*small_overrides, *TRANSFORMER)})
    rows = list(lines(Bench(tiny_data, tmp_path, tiny_bundle, settings)))
    assert len(rows) == 9
    assert "transformer, server then phones" in table(rows)
