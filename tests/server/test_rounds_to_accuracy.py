"""Rounds to a fixed accuracy: what is counted, and that runs stop at the target and go on from it."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fedkey_server.phones import Phones

SCRIPT = Path(__file__).parents[2] / "server" / "bench" / "rounds_to_accuracy.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rounds_to_accuracy", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(*top1: float, loss: float = 4.0) -> list[dict[str, Any]]:
    """Metrics of a start and some rounds of six steps."""
    rows = [
        {"step": step, "validation_top1": share, "validation_loss": loss} for step, share in enumerate(top1)
    ]
    return rows[:1] + [row | {"local_steps": 6} for row in rows[1:]]


def test_rounds_and_steps_are_counted_to_the_first_look_at_the_target(script: ModuleType) -> None:
    rows = lines(0.10, 0.19, 0.20, 0.15, 0.30)
    assert script.outcome_of(0.3, rows, 0.2) == script.Outcome(0.3, True, 2, 12, 0.20)
    assert script.outcome_of(0.3, rows[:2], 0.2) == script.Outcome(0.3, False, 1, 6, 0.19)


def test_a_run_ends_at_the_target_at_the_cap_and_when_it_is_lost(script: ModuleType) -> None:
    rows = lines(0.1, 0.2, 0.1)
    assert not script.is_over([], 0.3, 5)
    assert not script.is_over(rows, 0.3, 3)
    assert script.is_over(rows, 0.3, 2)
    assert script.is_over(rows, 0.2, 5)
    for loss in (6.5, math.nan):
        assert script.is_over([*rows, {**rows[-1], "validation_loss": loss}], 0.3, 5)


def test_the_table_tells_bounds_from_figures(script: ModuleType) -> None:
    few, many = script.Cell(1, 0, 0.02), script.Cell(1, 0, 0.1)
    outcomes = {
        few: script.Outcome(0.3, False, 100, 300, 0.15),
        many: script.Outcome(0.3, True, 30, 510, 0.2),
        script.Cell(5, 8, 0.02): script.Outcome(0.1, True, 4, 480, 0.2),
        script.Cell(5, 8, 0.1): script.Outcome(0.1, True, 4, 2720, 0.2),
    }
    assert script.table(outcomes, 166).splitlines()[2:] == [
        "| 1 | all (FedSGD) | 0.02 (3) | 0.3 | not in 100 (15.0%) |  | 300 |",
        "| 1 | all (FedSGD) | 0.1 (17) | 0.3 | 30 |  | 510 |",
        "| 5 | 8 | 0.02 (3) | 0.1 | 4 | more than 25.0 | 480 |",
        "| 5 | 8 | 0.1 (17) | 0.1 | 4 | 7.5 | 2,720 |",
    ]


def test_a_cell_stops_at_its_target_goes_on_to_a_higher_one_and_is_read_back_for_a_lower(
    script: ModuleType, tiny_data: Path, tiny_run: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(tiny_data)
    (tmp_path / "central").symlink_to(tiny_run)
    num_phones = len(Phones.load(tiny_data / "phones.npz"))
    size = [*small_overrides, "train.validation_rows=8"]
    cell = script.Cell(2, 4, 0.1)

    def best(target: float, rates: list[float]) -> Any:
        return script.Experiment(tmp_path, num_phones, target, 4, size).best(cell, rates)

    def rounds(rate: str) -> int:
        return len(script.metrics_of(tmp_path / "cells" / f"E2-B4-C0.1-rate{rate}")) - 1

    start = best(1.0, [1e-9])
    assert (start.reached, start.rounds, rounds("1e-09")) == (False, 4, 4)
    first = best(start.best + 1e-6, [0.03])
    assert first.reached
    assert first.rounds == rounds("0.03") < 4
    assert not best(1.0, [0.03]).reached
    assert rounds("0.03") == 4
    assert best(start.best + 1e-6, [0.03]) == first
