"""Rounds to a fixed accuracy, FedSGD against FedAvg: the table of McMahan et al. 2017 (1602.05629), on chat.

In: the tiny preset's text. Out: a table on standard output, and a run folder for each cell and rate. Next
stop: `server/EXPERIMENTS.md`.

    python server/bench/rounds_to_accuracy.py --runs runs/rounds [--target 0.2] [--cap 100] [--rates 0.3,0.1]

A cell says what phones do in a round, E passes over their text in steps of B rows, and which share C of them
is asked. E = 1 with all rows in one step is FedSGD. As in the paper phones take plain steps, without momentum
or clipping, at a constant rate, and each cell has the best of a few rates. Cells of one C ask the same phones
in the same rounds. Accuracy is top-1 on pieces of validation authors, looked at after every round.

A model of 0.18 million parameters starts from a short central training, not from nothing. Whatever was cut
goes on where it was: the text, the start, every cell; and with a higher target those that had reached the
lower one.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import torch
from flwr.app import Message

from fedkey_server.client_app import app
from fedkey_server.config import Config, load
from fedkey_server.grid import InProcessGrid
from fedkey_server.phones import PHONES_TEXT, Phones
from fedkey_server.prepare import prepare
from fedkey_server.server_app import federate
from fedkey_server.train import train

SIZE = (
    "corpus.min_words_per_phone=1000",
    "tokenizer.vocab_size=2048",
    "model.vocab_size=2048",
    "model.window=32",
    "model.width=64",
    "model.num_layers=1",
    "model.hidden_width=176",
    "train.num_steps=400",
    "train.batch_rows=64",
    "train.validation_rows=512",
)
"""A model for which a round takes a second, and phones with enough text that a pass is many small steps."""

MAX_ROWS = 64
"""Rows of a phone's text in a round; the smallest phone has 63, the median one 211."""

DIVERGED = 2.0
"""A run whose validation loss is so many nats above its start's has lost its way."""


@dataclass(frozen=True)
class Cell:
    """What phones do, and how many."""

    epochs: int
    """E."""
    batch_rows: int
    """B; 0 is all rows at once."""
    share: float
    """C."""

    @property
    def is_fedsgd(self) -> bool:
        """One step on everything."""
        return self.epochs == 1 and self.batch_rows == 0

    def phones(self, num_phones: int) -> int:
        """Asked in a round."""
        return max(1, round(self.share * num_phones))

    def config(self, size: Sequence[str], num_phones: int, rate: float, cap: int) -> Config:
        """The preset at some size for this cell."""
        settings = {
            "num_rounds": cap,
            "phones_per_round": self.phones(num_phones),
            "min_reports": 1,
            "local_epochs": self.epochs,
            "batch_rows": self.batch_rows,
            "max_rows": MAX_ROWS,
            "client_learning_rate": float(rate),
            "final_share": 1.0,
            "client_momentum": 0.0,
            "clip_norm": 0.0,
            "validate_every": 1,
        }
        return load("tiny", [*size, *(f"rounds.{key}={value}" for key, value in settings.items())])


EPOCHS, BATCH_ROWS, SHARES = (1, 5), (0, 8), (0.02, 0.1)


class Outcome(NamedTuple):
    """What a cell came to at one rate."""

    rate: float
    reached: bool
    rounds: int
    """To the target, or played without reaching it."""
    steps: int
    """Of all phones in these rounds."""
    best: float
    """Highest accuracy seen."""

    def order(self) -> tuple[bool, float]:
        """Smaller is better: fewer rounds, and of runs that do not get there the one that came nearest."""
        return not self.reached, self.rounds if self.reached else -self.best


def outcome_of(rate: float, rows: Sequence[dict[str, Any]], target: float) -> Outcome:
    """From a run's lines of metrics, the first of which is of the start."""
    steps, best = 0, 0.0
    for row in rows:
        steps += row.get("local_steps", 0)
        best = max(best, row["validation_top1"])
        if row["validation_top1"] >= target:
            return Outcome(rate, True, row["step"], steps, best)
    return Outcome(rate, False, len(rows) - 1, steps, best)


def is_over(rows: Sequence[dict[str, Any]], target: float, cap: int) -> bool:
    """Whether another round could tell nothing: the target is reached, no rounds are left, or the run has
    lost its way."""
    if not rows:
        return False
    is_lost = not rows[-1]["validation_loss"] < rows[0]["validation_loss"] + DIVERGED  # NaN is lost, too
    return is_lost or len(rows) > cap or any(row["validation_top1"] >= target for row in rows)


class Over(Exception):
    """There is nothing more to learn from a run."""


class WatchedGrid(InProcessGrid):
    """Asks before every round whether there is to be another."""

    def __init__(self, is_over: Callable[[], bool], num_nodes: int, run_config: dict[str, Any]) -> None:
        super().__init__(app, num_nodes, run_config)
        self._is_over = is_over

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """As any grid's, or `Over`."""
        if self._is_over():
            raise Over
        return super().send_and_receive(messages, timeout=timeout)


class Experiment(NamedTuple):
    """What all cells have in common."""

    folder: Path
    num_phones: int
    target: float
    cap: int
    size: Sequence[str] = SIZE

    def play(self, cell: Cell, rate: float, cap: int) -> Outcome:
        """Runs a cell at one rate for at most `cap` rounds, or reads what an earlier process found."""
        batch = cell.batch_rows or "all"
        run = self.folder / "cells" / f"E{cell.epochs}-B{batch}-C{cell.share:g}-rate{rate:g}"
        data = self.folder / "data"

        def is_finished() -> bool:
            return is_over(metrics_of(run), self.target, cap)

        if not is_finished():
            grid = WatchedGrid(is_finished, self.num_phones, {"data": str(data), "simulation": True})
            config = cell.config(self.size, self.num_phones, rate, self.cap)
            with suppress(Over):
                federate(grid, config, data, run, self.folder / "central")
        return outcome_of(rate, metrics_of(run)[: cap + 1], self.target)

    def best(self, cell: Cell, rates: Sequence[float]) -> Outcome:
        """At its best rate. A rate is given up when it can no longer be the quickest."""
        found: list[Outcome] = []
        cap = self.cap
        for rate in rates:
            found.append(self.play(cell, rate, cap))
            if found[-1].reached:
                cap = found[-1].rounds - 1
            if cap == 0:
                break
        return min(found, key=Outcome.order)


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """A run's lines of metrics; the last line of a killed process may be cut off, and that round is played
    again."""
    path = run / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def table(outcomes: dict[Cell, Outcome], num_phones: int) -> str:
    """In Markdown; speed-ups over FedSGD that asks as many phones."""
    lines = [
        "| E | B | C (phones) | rate | rounds | speed-up | phones' steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell, outcome in outcomes.items():
        base = outcomes.get(Cell(1, 0, cell.share))
        name = " (FedSGD)" if cell.is_fedsgd else ""
        rounds = f"{outcome.rounds}" if outcome.reached else f"not in {outcome.rounds} ({outcome.best:.1%})"
        speed_up = ""
        if base is not None and outcome.reached and not cell.is_fedsgd:
            speed_up = f"{'' if base.reached else 'more than '}{base.rounds / outcome.rounds:.1f}"
        share = f"{cell.share:g} ({cell.phones(num_phones)})"
        lines.append(
            f"| {cell.epochs} | {cell.batch_rows or 'all'}{name} | {share} | {outcome.rate:g} | {rounds} "
            f"| {speed_up} | {outcome.steps:,} |"
        )
    return "\n".join(lines)


def numbers(text: str) -> list[float]:
    """From an argument with commas."""
    return [float(number) for number in text.split(",")]


def main() -> None:
    """Runs what is missing and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--runs", type=Path, required=True, help="folder of the text, the start and all cells"
    )
    parser.add_argument("--target", type=float, default=0.2, help="validation top-1 (default %(default)s)")
    parser.add_argument("--cap", type=int, default=100, help="rounds at most (default %(default)s)")
    parser.add_argument(
        "--rates",
        type=numbers,
        default=[0.3, 0.1],
        help="of phones' steps, tried in this order in every cell (default 0.3,0.1)",
    )
    parser.add_argument(
        "--shares",
        type=numbers,
        default=SHARES,
        help="cells of these C only; processes with others may run beside this one (default 0.02,0.1)",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load("tiny", SIZE)
    prepare(config, arguments.runs / "data")
    start = train(config, arguments.runs / "data", arguments.runs / "central")
    num_phones = len(Phones.load(arguments.runs / "data" / PHONES_TEXT))
    print(
        f"{num_phones} phones; from a top-1 of {start['validation_top1']:.1%} to {arguments.target:.1%}, "
        f"at most {MAX_ROWS} rows of a phone in a round, {arguments.cap} rounds at most",
        flush=True,
    )
    experiment = Experiment(arguments.runs, num_phones, arguments.target, arguments.cap)
    outcomes: dict[Cell, Outcome] = {}
    for cell in (Cell(*each) for each in product(EPOCHS, BATCH_ROWS, arguments.shares)):
        outcomes[cell] = experiment.best(cell, arguments.rates)
        print(cell, outcomes[cell], flush=True)
    print(table(outcomes, num_phones))


if __name__ == "__main__":
    main()
