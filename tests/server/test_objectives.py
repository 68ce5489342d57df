"""Objectives that look to both sides: what is hidden, who sees whom, and that they learn."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from at_command import with_overrides
from torch import Tensor

from fedkey.commands import run_command
from fedkey.errors import UserError
from fedkey.pieces import END_ID, START_ID, UNKNOWN_ID, Pieces
from fedkey_server import checkpoint
from fedkey_server.batches import Documents, PackedRows, pack
from fedkey_server.cli import SUBCOMMANDS
from fedkey_server.config import Config, load
from fedkey_server.model import IGNORE, Model
from fedkey_server.objectives.masked import hidden
from fedkey_server.objectives.permutation import PREDICTED, ordered
from fedkey_server.objectives.task import Task
from fedkey_server.objectives.units import units_in
from fedkey_server.step import to_batch, to_ranks
from fedkey_server.train import train
from fedkey_server.validation import Examiner, headline

CPU = torch.device("cpu")
BOTH_SIDES = ("masked", "permutation")


@pytest.fixture(scope="module")
def pieces(tiny_data: Path) -> Pieces:
    return Pieces.open(tiny_data / "tokenizer.model")


@pytest.fixture(scope="module")
def rows(tiny_data: Path) -> PackedRows:
    """Of phones, whose partners' messages are not graded."""
    return pack(Documents.load(tiny_data / "phones.npz").take(0, 60), 128, 128)


def graded(rows: PackedRows) -> np.ndarray:
    """[R, T] which pieces the causal objective predicts."""
    is_graded = np.zeros(rows.tokens.shape, dtype=bool)
    is_graded[:, 1:] = rows.targets[:, :-1] != IGNORE
    return is_graded


# --- what is hidden ---------------------------------------------------------------------------------------


def test_units_are_words_with_all_their_pieces_and_the_mark_before_them(
    pieces: Pieces, rows: PackedRows
) -> None:
    units = units_in(rows, pieces)
    numbers, tokens = units.numbers.ravel(), rows.tokens.ravel()
    assert (np.diff(numbers) >= 0).all()
    assert (np.diff(numbers) <= 1).all()
    for number in np.random.default_rng(0).choice(len(units.graded), 200):
        ids = tokens[numbers == number].tolist()
        if units.graded[number]:
            assert len([unit for unit in pieces.decode_units(ids) if unit != "\ue010"]) == 1
            assert not {START_ID, END_ID} & set(ids)
            assert graded(rows).ravel()[numbers == number].all()
    typed = rows.tokens[graded(rows)]
    assert units.graded[units.numbers[graded(rows)]].sum() == (typed != END_ID).sum()


def test_whole_words_are_hidden_and_they_alone_are_predicted_at_their_places(
    pieces: Pieces, rows: PackedRows
) -> None:
    found = hidden(rows, pieces, (1, 2))
    is_target = found.targets != IGNORE
    assert (found.targets[is_target] == rows.tokens[is_target]).all()
    assert (found.tokens[~is_target] == rows.tokens[~is_target]).all()
    assert graded(rows)[is_target].all()
    assert not (found.targets == END_ID).any()
    units = units_in(rows, pieces)
    per_unit = np.bincount(units.numbers.ravel(), weights=is_target.ravel())
    whole = np.bincount(units.numbers.ravel())
    assert set(per_unit[per_unit > 0] / whole[per_unit > 0]) == {1.0}
    chosen = (per_unit > 0)[units.graded]
    assert chosen.mean() == pytest.approx(0.15, abs=4 * (0.15 * 0.85 / len(chosen)) ** 0.5)

    seen, real = found.tokens[is_target], rows.tokens[is_target]
    tolerance = 4 * (0.25 / len(seen)) ** 0.5
    assert (seen == pieces.blank_id).mean() == pytest.approx(0.8, abs=tolerance)
    assert (seen == real).mean() == pytest.approx(0.1, abs=tolerance)
    assert (seen[(seen != real) & (seen != pieces.blank_id)] > UNKNOWN_ID).all()


def test_the_last_words_of_an_order_are_predicted_and_words_stay_together(
    pieces: Pieces, rows: PackedRows
) -> None:
    found = ordered(rows, pieces, (1, 2))
    assert found.ranks is not None
    assert (found.tokens == rows.tokens).all()
    assert (np.sort(found.ranks, axis=1) == np.arange(rows.tokens.shape[1])).all()
    units = units_in(rows, pieces)
    is_target = found.targets != IGNORE
    assert (found.targets[is_target] == rows.tokens[is_target]).all()
    assert graded(rows)[is_target].all()
    firsts = []
    for row in range(len(rows)):
        for document in range(rows.document_ids[row].max() + 1):
            here = np.flatnonzero(rows.document_ids[row] == document)
            if len(here) == 0:
                continue
            order = here[np.argsort(found.ranks[row, here])]
            numbers = units.numbers[row, order]
            # A word's pieces follow each other, from left to right.
            assert len(set(numbers.tolist())) == (np.diff(numbers) != 0).sum() + 1
            assert (np.diff(order)[np.diff(numbers) == 0] == 1).all()
            words = list(dict.fromkeys(numbers.tolist()))
            is_typed = units.graded[words]
            assert not is_typed[: (~is_typed).sum()].any()  # what is given comes first
            targets = [bool(is_target[row, order[numbers == number]].all()) for number in words]
            num_typed = int(is_typed.sum())
            num_predicted = max(1, num_typed // PREDICTED) if num_typed else 0
            assert targets == [False] * (len(words) - num_predicted) + [True] * num_predicted
            firsts.append(int(order[(~is_typed).sum()]) - int(here[0]) if num_typed else 0)
    assert len(set(firsts)) > 5


@pytest.mark.parametrize("objective", BOTH_SIDES)
def test_what_is_hidden_is_a_function_of_the_seed(objective: str, pieces: Pieces, rows: PackedRows) -> None:
    task = Task(objective, pieces)
    first, again, other = (task.of(rows, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    for name in ("tokens", "targets", "ranks"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.targets, other.targets)
    with pytest.raises(ValueError, match="pieces"):
        Task(objective).of(rows, (1, 2))


def test_objectives_that_read_from_the_left_take_rows_as_they_are(pieces: Pieces, rows: PackedRows) -> None:
    for task in (Task(), Task("infill", pieces)):
        assert task.of(rows, (1, 2)) is rows
        assert task.sight() == {}


# --- who sees whom ----------------------------------------------------------------------------------------


def states(model: Model, rows: PackedRows, task: Task) -> Tensor:
    tokens, _, positions, document_ids = to_batch(rows, CPU)
    with torch.no_grad():
        return model(tokens, positions, document_ids, **task.sight(to_ranks(rows, CPU)))


def influence(model: Model, rows: PackedRows, task: Task, row: int, column: int) -> np.ndarray:
    """[T] whether the state at each place of a row depends on the piece at `column`."""
    before = states(model, rows.take(np.array([row])), task)
    rows.tokens[row, column] += 1
    after = states(model, rows.take(np.array([row])), task)
    rows.tokens[row, column] -= 1
    return ((after - before).abs().amax(dim=-1) > 1e-7).numpy()[0]


def test_a_masked_model_sees_its_whole_document_and_nothing_else(
    config: Config, pieces: Pieces, rows: PackedRows
) -> None:
    found = hidden(rows, pieces, 1)
    model = Model(config.model, seed=3)
    for column in (3, 40, 90):
        same = rows.document_ids[0] == rows.document_ids[0, column]
        assert (influence(model, found, Task("masked", pieces), 0, column) == same).all()


def test_a_word_is_predicted_from_what_comes_before_it_in_the_order_and_not_from_itself(
    config: Config, pieces: Pieces, rows: PackedRows
) -> None:
    found = ordered(rows, pieces, 1)
    assert found.ranks is not None
    model = Model(config.model, seed=3)
    for column in (3, 40, 90):
        same = rows.document_ids[0] == rows.document_ids[0, column]
        later = found.ranks[0] > found.ranks[0, column]
        sees = influence(model, found, Task("permutation", pieces), 0, column)
        asked = found.targets[0] != IGNORE
        assert (sees == (same & later))[asked].all()
        assert not sees[~same].any()


def test_an_order_from_left_to_right_sees_what_a_causal_model_sees(
    config: Config, pieces: Pieces, rows: PackedRows
) -> None:
    plain = np.broadcast_to(np.arange(128, dtype=np.int32), rows.tokens.shape).copy()
    found = replace(rows, ranks=plain)
    model, task = Model(config.model, seed=3), Task("permutation", pieces)
    same = rows.document_ids[0] == rows.document_ids[0, 40]
    first = int(np.flatnonzero(same)[0])
    sees = influence(model, found, task, 0, 40)
    assert (sees == (same & (np.arange(128) > 40)))[np.arange(128) != first].all()


# --- training ---------------------------------------------------------------------------------------------

SHORT = (
    "train.num_steps=12", "train.checkpoint_every=6", "train.warmup_steps=4", "train.validation_rows=4",
    "train.batch_rows=4", "train.final_share=1",
)  # fmt: skip


@pytest.mark.parametrize("objective", BOTH_SIDES)
def test_a_run_learns_goes_on_where_it_stopped_and_has_figures_of_its_own(
    objective: str, tiny_data: Path, small_overrides: list[str], tmp_path: Path, one_thread: None
) -> None:
    config = load("tiny", [*small_overrides, *SHORT, f"train.objective={objective}"])
    whole = train(config, tiny_data, tmp_path / "whole")
    train(config, tiny_data, tmp_path / "parts", num_steps=6)
    assert train(config, tiny_data, tmp_path / "parts") == whole
    assert set(whole) == {"step", f"{objective}_loss", f"{objective}_top1"}
    examiner = Examiner(objective, tiny_data, config.model.window, 4, 1)
    before = examiner.measure(Model(config.model, seed=1), 4, CPU)
    assert headline(whole) == (objective, whole[f"{objective}_loss"], whole[f"{objective}_top1"])
    assert headline(whole)[1] < 0.9 * headline(before)[1]
    assert headline(whole)[2] > headline(before)[2]


@pytest.mark.parametrize("objective", BOTH_SIDES)
def test_parts_of_a_step_hide_what_the_whole_step_hides(
    objective: str, tiny_data: Path, small_overrides: list[str], tmp_path: Path, one_thread: None
) -> None:
    final = [
        train(
            load("tiny", [*small_overrides, "train.num_steps=3", f"train.objective={objective}",
                          "train.optimizer=sophia", f"train.accumulate={parts}", "train.validation_rows=4",
                          "train.hessian_every=2"]),
            tiny_data,
            tmp_path / str(parts),
        )
        for parts in (1, 2)
    ]  # fmt: skip
    assert headline(final[0])[1] == pytest.approx(headline(final[1])[1], rel=2e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("objective", BOTH_SIDES)
def test_training_on_a_gpu_lowers_the_loss(
    objective: str, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    """In bf16, with the paths of attention that CUDA gets by default."""
    overrides = [*small_overrides, "train.num_steps=40", "train.validate_every=10"]
    final = train(load("tiny", [*overrides, f"train.objective={objective}"]), tiny_data, tmp_path / "run")
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert headline(final)[1] < headline(first)[1]


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("masked", r"2 steps, masked loss \d+\.\d{3} nats per piece, top-1 \d+\.\d% of pieces\n"),
        ("infill", r"2 steps, validation loss .*, top-1 \d+\.\d% of pieces, \d+\.\d% of those in gaps\n"),
    ],
)
def test_the_command_says_which_loss_it_is(
    objective: str,
    said: str,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = [*small_overrides, "train.num_steps=2", "train.validation_rows=2"]
    options = with_overrides(*overrides, f"train.objective={objective}")
    folders = ["--data", str(tiny_data), "--run", str(tmp_path / "run")]
    assert run_command("fedkey-server", "", SUBCOMMANDS, arguments=["train", "tiny", *options, *folders]) == 0
    assert re.search(said, capsys.readouterr().out)
    final = checkpoint.read_json(tmp_path / "run" / "done.json")
    assert ("validation_loss" in final) == (objective == "infill")


@pytest.mark.parametrize("objective", BOTH_SIDES)
@pytest.mark.parametrize("attention", ["linear", "sliding"])
def test_attention_that_looks_back_alone_is_refused(objective: str, attention: str) -> None:
    with pytest.raises(UserError, match=rf"{objective} looks to both sides.*'{attention}'.*set it to full"):
        load("tiny", [f"train.objective={objective}", f"model.attention={attention}"])
