"""A larger run teaches a smaller one: what is written down, what a step makes of it, and the two commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from at_command import fedkey_server, with_overrides
from torch import Tensor

from fedkey.commands import EXIT_MISTAKE
from fedkey.errors import UserError
from fedkey_kernels.distillation import NO_PIECE
from fedkey_server import checkpoint
from fedkey_server.batches import Documents, PackedRows, pack
from fedkey_server.config import Config
from fedkey_server.lessons import NONE, Lessons
from fedkey_server.model import IGNORE, Model
from fedkey_server.step import Objective, Share, optimizer_step
from fedkey_server.teacher import rows_of_steps, teach

CPU = torch.device("cpu")


@pytest.fixture
def rows(tiny_data: Path, config: Config) -> PackedRows:
    window = config.model.window
    return pack(Documents.load(tiny_data / "server.npz"), window, window)


@pytest.fixture
def teacher(tiny_run: Path) -> Model:
    return checkpoint.load(tiny_run).model().eval()


def test_a_lesson_is_what_the_teacher_expects_behind_each_piece(teacher: Model, rows: PackedRows) -> None:
    some = rows.take(np.array([1, 4, 5]))
    lessons = teach(teacher, some, "text", 5, batch_rows=2, device=CPU)
    assert len(lessons) == (some.targets != IGNORE).sum()
    assert set(lessons.rows) == {1, 4, 5}
    for place in (0, len(lessons) // 2, len(lessons) - 1):
        row, column = int(lessons.rows[place]), int(lessons.columns[place])
        one = rows.take(slice(row, row + 1))
        tokens, positions, documents = (
            torch.from_numpy(array.astype(np.int64))
            for array in (one.tokens, one.positions, one.document_ids)
        )
        with torch.inference_mode():
            expected = teacher.logits(teacher(tokens, positions, documents)[0, column]).softmax(dim=-1)
        assert lessons.ids[place].tolist() == expected.topk(5).indices.tolist()
        np.testing.assert_allclose(lessons.probs[place], expected.topk(5).values, rtol=2e-3)


def test_a_batch_gets_the_lessons_of_its_rows_in_its_order() -> None:
    lessons = Lessons(
        "text",
        np.array([2, 2, 5, 9], np.int32),
        np.array([0, 3, 1, 2], np.uint16),
        np.array([[7, NONE], [8, 6], [9, NONE], [4, 5]], np.uint16),
        np.array([[0.5, 0], [0.25, 0.5], [1, 0], [0.5, 0.25]], np.float16),
    )
    taught = lessons.of(np.array([5, 3, 2]), 10, CPU)
    assert taught.places_n.tolist() == [1, 20, 23]
    assert taught.ids_nk.tolist() == [[9, NO_PIECE], [7, NO_PIECE], [8, 6]]
    assert taught.probs_nk.tolist() == [[1, 0], [0.5, 0], [0.25, 0.5]]
    assert len(lessons.of(np.array([3, 4]), 10, CPU).places_n) == 0


def test_the_rows_of_the_first_steps_are_those_that_training_takes(config: Config, rows: PackedRows) -> None:
    numbers = rows_of_steps(rows, config.train, range(2))
    assert len(numbers) == 2 * config.train.batch_rows
    assert (np.diff(numbers) > 0).all()
    assert len(rows_of_steps(rows, config.train, range(10_000))) == len(rows)
    later = rows_of_steps(rows, config.train, range(1, 2))
    assert {*later} < {*numbers}


def test_parts_of_a_step_learn_what_the_whole_learns(
    config: Config, teacher: Model, rows: PackedRows
) -> None:
    some = rows.take(np.array([6, 0, 3]))
    lessons = teach(teacher, rows.take(slice(0, 7)), "text", 8, 4, CPU)

    def gradient(num_parts: int, weight: float) -> dict[str, Tensor]:
        model = Model(config.model)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        share = Share.of(some, num_parts, lessons=lessons)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        optimizer_step(Objective(model, lesson_weight=weight), optimizer, share, z_penalty=0.0, clip_norm=0.0)
        return {name: before[name] - tensor for name, tensor in model.state_dict().items()}

    whole, parts, alone = gradient(1, 0.5), gradient(3, 0.5), gradient(1, 0.0)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-3, atol=1e-6)
    assert any((whole[name] - alone[name]).abs().max() > 1e-3 for name in whole)


def test_a_student_comes_to_expect_what_its_teacher_does(
    config: Config, teacher: Model, rows: PackedRows
) -> None:
    some = rows.take(slice(0, 4))
    lessons = teach(teacher, some, "text", 16, 4, CPU)

    def distance(weight: float) -> float:
        student = Model(config.model, seed=5)
        optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
        share = Share.of(some, 1, lessons=lessons)
        for _ in range(8):
            optimizer_step(Objective(student, lesson_weight=weight), optimizer, share, 0.0, 1.0)
        with torch.no_grad():
            batch, taught = share.parts[0][1], share.taught[0]
            both = student.loss(*batch, taught=taught, lesson_weight=1.0).total
            return float(both - student.loss(*batch).total)

    assert distance(3.0) < distance(0.0)


def test_the_commands_teach_and_learn(
    tiny_data: Path,
    tiny_run: Path,
    small_overrides: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sets = with_overrides(*small_overrides, "train.num_steps=2")
    lessons, run = tmp_path / "made" / "lessons.npz", tmp_path / "student"
    teach_it = ["teach", "tiny", "--data", tiny_data, "--teacher", tiny_run, "--lessons", lessons, *sets]
    assert fedkey_server(*teach_it, "--steps", "2", "--named", "4") == 0
    assert "the 4 pieces named at each are" in capsys.readouterr().out
    train_it = ["train", "tiny", "--data", tiny_data, "--run", run, *sets]
    assert fedkey_server(*train_it, "--lessons", lessons) == 0
    assert json.loads((run / "config.json").read_text())["config"]["lessons"] == checkpoint.sha256(lessons)
    capsys.readouterr()
    assert fedkey_server(*train_it) == EXIT_MISTAKE
    assert "other settings (lessons" in capsys.readouterr().err
    assert fedkey_server(*teach_it, "--steps", "0") == EXIT_MISTAKE
    assert fedkey_server(*teach_it, "--steps", "2", "--from-step", "2") == EXIT_MISTAKE
    assert fedkey_server(*teach_it, "--named", "0") == EXIT_MISTAKE
    capsys.readouterr()
    assert fedkey_server(*teach_it, "--set", "model.window=64") == EXIT_MISTAKE
    assert "was prepared for a window of 128" in capsys.readouterr().err
    assert fedkey_server(*teach_it, "--data", tmp_path / "none") == EXIT_MISTAKE
    assert "none lacks tokenizer.model; run 'fedkey-server prepare' first." in capsys.readouterr().err
    assert fedkey_server(*teach_it, "--lessons", lessons / "in-a-file.npz") == EXIT_MISTAKE
    assert capsys.readouterr().err.startswith(f"fedkey-server: Cannot write {lessons}/in-a-file.npz: ")
    Lessons.load(lessons)
    other = tmp_path / "other.npz"
    loaded = Lessons.load(lessons)
    Lessons("other text", loaded.rows, loaded.columns, loaded.ids, loaded.probs).save(other)
    train_it[train_it.index(run)] = tmp_path / "another"
    capsys.readouterr()
    assert fedkey_server(*train_it, "--lessons", other) == EXIT_MISTAKE
    assert "of another text" in capsys.readouterr().err
    assert not (tmp_path / "another").exists()


def test_damaged_or_missing_lessons_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no lessons"):
        Lessons.load(tmp_path / "nowhere.npz")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(UserError, match="damaged"):
        Lessons.load(tmp_path / "torn.npz")
