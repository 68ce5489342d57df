"""The comparison of objectives: who is asked how, what the tables say, and that it all runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import objectives
import pytest
import torch
from at_command import with_overrides
from objectives import Speed, cost_table, measure, order_of, reading, recall_table, speeds
from word_scores import Head, Words, in_order

from fedkey.errors import UserError
from fedkey.gaps import Answers
from fedkey.metrics import Recall
from fedkey.pieces import Pieces
from fedkey_server.config import load
from fedkey_server.model import Model, Sight
from fedkey_server.objectives import CAUSAL, INFILL, MASKED, OBJECTIVES, PERMUTATION


def test_what_is_asked_for_comes_last_and_the_rest_as_in_the_text() -> None:
    is_asked = torch.tensor([[False, True, True, False, False], [False] * 5])
    assert order_of(is_asked).tolist() == [[0, 3, 4, 1, 2], [0, 1, 2, 3, 4]]


@pytest.fixture(scope="module")
def pieces(tiny_data: Path) -> Pieces:
    return Pieces.open(tiny_data / "tokenizer.model")


@pytest.fixture(scope="module")
def ground(tiny_data: Path) -> objectives.Ground:
    return objectives.ground(tiny_data, tiny_data / "validation.jsonl", 64, 30, 0)


@pytest.fixture
def model(small_overrides: list[str]) -> Model:
    return Model(load("tiny", small_overrides).model, seed=5).eval()


def test_in_an_order_a_word_is_the_product_of_its_pieces_given_those_before(
    model: Model, pieces: Pieces, ground: objectives.Ground
) -> None:
    words, usual = ground.words, ground.usual
    position = next(each for each in ground.positions if each.behind)
    number = next(number for number in range(len(words.keys)) if words.lengths[number] == 2)
    word, path = words.lexicon.word(number), words.lexicon.pieces(number)
    few = _only(words, number)
    head = Head(reading(model, PERMUTATION, pieces), model.embedding_vd)
    around = (position.before, position.behind)
    (scores,) = in_order(head, [around], pieces.blank_id, [word], few, usual)

    ids = torch.tensor([[*position.before, *path, *position.behind]])
    place = len(position.before)
    ranks = torch.tensor(
        [[*range(place), ids.shape[1] - 2, ids.shape[1] - 1, *range(place, ids.shape[1] - 2)]]
    )
    with torch.no_grad():
        hidden = model(
            ids, torch.arange(ids.shape[1])[None], torch.zeros_like(ids), Sight(ranks, pieces.blank_id)
        )
        log_probs = torch.log_softmax(model.logits(hidden)[0], dim=-1)
    expected = float(usual[1] + log_probs[place, path[0]] + log_probs[place + 1, path[1]])
    assert scores[number] == pytest.approx(expected, rel=1e-4)


def _only(words: Words, number: int) -> Words:
    """The words, of which one alone is offered: it is sure to be scored."""
    few = Words(words.lexicon)
    few.is_offered = np.arange(len(words.keys)) == number
    return few


def test_each_model_is_asked_as_it_was_trained(
    model: Model, ground: objectives.Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ground._replace(positions=ground.positions[:3])
    asked = {}
    for objective in OBJECTIVES:
        seen: list[list[int]] = []

        def read(tokens_bt, positions_bt, document_ids_bt, is_asked_bt, seen=seen):  # type: ignore[no-untyped-def]
            seen.extend(
                row[documents == 0].tolist()
                for row, documents in zip(tokens_bt, document_ids_bt, strict=True)
            )
            return torch.zeros(*tokens_bt.shape, model.config.width)

        monkeypatch.setattr(objectives, "reading", lambda *_, read=read: read)
        found = measure(model, objective, few)
        asked[objective] = seen
        assert list(found) == {CAUSAL: ["left"], INFILL: ["left", "both"]}.get(objective, ["both"])
        assert all(sum(each.after_0.positions for each in own.values()) == 3 for own in found.values())
    first, pieces = few.positions[0], ground.pieces
    assert list(first.left) in asked[CAUSAL]
    assert {pieces.behind_id, pieces.blank_id}.isdisjoint(i for ids in asked[CAUSAL] for i in ids)
    assert list(first.framed) in asked[INFILL]
    for objective in (MASKED, PERMUTATION):
        assert [*first.before, pieces.blank_id, *first.behind] in asked[objective]
        assert all(pieces.here_id not in ids for ids in asked[objective])


def test_models_that_see_both_sides_read_what_stands_behind(model: Model, pieces: Pieces) -> None:
    tokens = torch.tensor([[1, 5, pieces.blank_id, 6], [1, 5, pieces.blank_id, 7]])
    batch = (tokens, torch.arange(4).repeat(2, 1), torch.zeros_like(tokens), tokens == pieces.blank_id)
    for objective in OBJECTIVES:
        with torch.no_grad():
            one, other = reading(model, objective, pieces)(*batch)[:, 2]
        assert torch.equal(one, other) == (objective in (CAUSAL, INFILL))


# ---------------------------------------------------------------------------------------------------- tables


def answers(positions: int, hits_1: int) -> Answers:
    return Answers(Recall(positions, positions, hits_1, hits_1 + 1, reciprocal_rank=hits_1 + 0.5))


def test_gains_are_over_the_first_at_the_same_words() -> None:
    table = recall_table(
        {
            (CAUSAL, "left"): {"ann": answers(10, 2), "bob": answers(30, 6)},
            (INFILL, "both"): {"ann": answers(10, 3), "bob": answers(30, 9)},
        }
    )
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert cells[2][:5] == ["causal", "the left", "0", "40", "20.0 [20.0, 20.0]"]
    assert cells[2][-1] == ""
    assert cells[3][:5] == ["infill", "both sides", "0", "40", "30.0 [30.0, 30.0]"]
    assert cells[3][6:] == ["0.325", "+10.0 [+10.0, +10.0]"]
    assert len(cells) == 2 + 3 * 2


def test_costs_are_told_for_each_objective() -> None:
    assert cost_table(700, {MASKED: Speed(2000.4, 301)}).splitlines()[-1] == "| masked | 700 | 2,000 | 301 |"


# ------------------------------------------------------------------------------------------------ all of it


def test_a_name_may_tell_the_share_of_gaps(small_overrides: list[str]) -> None:
    train = objectives.config_of("infill=0.25", "tiny", small_overrides).train
    assert (train.objective, train.infill_share) == (INFILL, 0.25)
    assert objectives.config_of("masked", "tiny", small_overrides).train.objective == MASKED


def test_a_run_of_another_tokenizer_is_one_sentence(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    model, objective = objectives.opened(tiny_run, tiny_data)
    assert (model.config.vocab_size, objective) == (400, CAUSAL)
    (tmp_path / "tokenizer.model").write_bytes(b"another")
    with pytest.raises(UserError, match="another tokenizer"):
        objectives.opened(tiny_run, tmp_path)


def test_speeds_count_what_is_read_and_what_is_predicted(tiny_data: Path, small_overrides: list[str]) -> None:
    configs = {name: load("tiny", [*small_overrides, f"train.objective={name}"]) for name in (CAUSAL, MASKED)}
    found = speeds(configs, tiny_data, rounds=1)
    assert found[CAUSAL].read > found[CAUSAL].predicted > 0.5 * found[CAUSAL].read
    assert found[MASKED].predicted < 0.3 * found[MASKED].read


def test_the_command_trains_asks_and_prints_and_does_nothing_twice(
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    one_thread: None,
) -> None:
    overrides = [*small_overrides, "train.validation_rows=4", "train.batch_rows=4"]
    options = with_overrides(*overrides)
    options += ["--data", str(tiny_data), "--out", str(tmp_path), "--steps", "2", "--max-words", "20"]
    options += ["--objectives", "causal,infill=1,masked,permutation", "--also", str(tmp_path / "causal")]
    monkeypatch.setattr(sys, "argv", ["objectives.py", "tiny", *options, "--no-speeds"])
    objectives.main()
    table = capsys.readouterr().out
    rows = re.findall(r"^\| (\S+) \| (the left|both sides) \| 0 \| ([^|]*)(.*)", table, re.MULTILINE)
    assert [row[:2] for row in rows] == [
        ("causal", "the left"),
        ("infill=1", "the left"),
        ("infill=1", "both sides"),
        ("masked", "both sides"),
        ("permutation", "both sides"),
        (str(tmp_path / "causal"), "the left"),
    ]
    assert rows[-1][3].replace("+0.0 [+0.0, +0.0] ", " ") == rows[0][3]  # gains nothing over itself
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("done.json")}
    assert len(times) == 4
    objectives.main()
    assert capsys.readouterr().out == table
    assert {path: path.stat().st_mtime_ns for path in times} == times
