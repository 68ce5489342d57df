"""The federation's server: rounds of FedAvg over any Flower engine, with checkpoints after each.

In: a Grid of phones, a start model, settings. Out: a run folder like central training's. Next stop:
`fedkey_export.graph`.

Flower's own loop holds no checkpoints and counts rounds from 1 after every start; here rounds keep their
numbers when a killed run goes on, and so does the state of the server's optimizer.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from flwr.serverapp import Grid, ServerApp

from fedkey.errors import UserError
from fedkey_server import checkpoint
from fedkey_server.client_app import flatten
from fedkey_server.model import Model
from fedkey_server.phones import PHONES_TEXT
from fedkey_server.progress import Advance, track
from fedkey_server.rounds import Weights
from fedkey_server.strategy import SeededFedAvg, in_words
from fedkey_server.train import VALIDATION_TEXT, initial_model, pick_device, validate, validation_rows

if TYPE_CHECKING:
    from fedkey_server.config import Config

log = logging.getLogger(__name__)

app = ServerApp()


def federate(grid: Grid, config: Config, data: Path, run: Path, init: Path) -> dict[str, Any]:
    """Runs the rounds of `config.rounds` and returns the final figures; goes on where an earlier process
    stopped.

    Args:
        grid: the phones.
        config: resolved configuration.
        data: folder made by `fedkey_server.prepare`; the server reads its validation documents only.
        run: run folder, made if missing.
        init: run or bundle that holds the start model.

    Raises:
        UserError: the folders do not fit, there are no phones, or no round changed the model.
    """
    from fedkey_server.config import to_dict

    rounds = config.rounds
    num_nodes = len(list(grid.get_node_ids()))
    if num_nodes < rounds.min_reports:
        raise UserError(
            f"There are {num_nodes} phones, and rounds.min_reports asks for {rounds.min_reports} reports; "
            "lower it or bring more phones."
        )
    described = to_dict(config) | {"init": init.name}
    # In a simulation the phones' text lies beside the server's, and a run must not go on with other phones.
    reads = [VALIDATION_TEXT, *([PHONES_TEXT] if (data / PHONES_TEXT).exists() else [])]
    checkpoint.start_run(run, described, "federate", data, reads, init)
    if (run / "done.json").exists():
        return dict(checkpoint.read_json(run / "done.json"))
    device = pick_device()
    model, state, start, totals, failures = _resume(config, data, run, init)
    model.to(device)
    held_out = validation_rows(data, config.model.window, config.train.validation_rows, config.train.seed)
    strategy = SeededFedAvg(config, state)
    settings = ConfigRecord(
        flatten(rounds, "rounds") | flatten(config.model, "model") | {"z-penalty": config.train.z_penalty}
    )
    measured: dict[str, float] = {}
    if start == 0:
        row = {"step": 0} | validate(model, held_out, config.train.batch_rows, device)
        checkpoint.append_metrics(run, row)
    with track(
        f"federate {run.name}", rounds.num_rounds * rounds.phones_per_round, "phones",
        start=start * rounds.phones_per_round,
    ) as advance:  # fmt: skip
        for round_number in range(start + 1, rounds.num_rounds + 1):
            arrays = ArrayRecord(model.state_dict())
            messages = strategy.configure_train(round_number, arrays, settings, grid)
            replies = _watched(grid.send_and_receive(messages, timeout=rounds.timeout), advance, round_number)
            new_arrays, _ = strategy.aggregate_train(round_number, replies)
            result = strategy.result
            advance(rounds.phones_per_round - result.reports - result.refused.total())
            if new_arrays is not None:
                model.load_state_dict(new_arrays.to_torch_state_dict())
            row = result.describe(round_number, is_changed=new_arrays is not None)
            totals["local_steps"] += result.num_steps
            totals["reports"] += result.reports
            totals["changed_rounds"] += new_arrays is not None
            if new_arrays is None:
                log.warning("%s", result.complaint(round_number, strategy.least_reports))
            elif result.failures.keys() - failures.keys():  # told once for each kind
                log.warning("round %d did without some phones: %s", round_number, result.reasons())
            failures += result.failures
            if round_number % rounds.validate_every == 0 or round_number == rounds.num_rounds:
                measured = validate(model, held_out, config.train.batch_rows, device)
                row |= measured
                advance(0, validation=measured["validation_loss"])
            checkpoint.append_metrics(run, row)
            counters = {**totals, "failures": failures}
            state = strategy.optimizer.state
            checkpoint.save(run, round_number, model.state_dict(), state, counters, config.model)
    if totals["changed_rounds"] == 0:
        raise UserError(
            f"No round of {run} changed the model, because too few phones reported ({in_words(failures)}); "
            "mend that, delete the run and start again."
        )
    final = {"step": rounds.num_rounds, **totals, "failures": failures}
    final |= measured or validate(model, held_out, config.train.batch_rows, device)
    checkpoint.write_json(run / "done.json", final)
    return final


def _watched(replies: Iterable[Message], advance: Advance, round_number: int) -> Iterable[Message]:
    for reply in replies:
        yield reply
        advance(1, round=round_number)


def _resume(
    config: Config, data: Path, run: Path, init: Path
) -> tuple[Model, Weights, int, Counter[str], Counter[str]]:
    """The model, the server optimizer's state, the rounds done, and what has been counted in them."""
    folder = checkpoint.latest(run)
    totals = Counter({"local_steps": 0, "reports": 0, "changed_rounds": 0})
    if folder is None:
        (run / "metrics.jsonl").unlink(missing_ok=True)
        return initial_model(config, data, init), {}, 0, totals, Counter()
    saved = checkpoint.read(folder)
    model = Model(config.model)
    model.load_state_dict(saved.weights)
    checkpoint.trim_metrics(run, saved.step)
    failures: Counter[str] = Counter(saved.counters.pop("failures"))
    totals.update(saved.counters)
    return model, dict(saved.state), saved.step, totals, failures


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Entry point under `flwr run`; the run configuration names the preset and the folders."""
    from fedkey_server.config import load

    settings = context.run_config
    _wait_for_phones(grid)
    overrides = [text for text in str(settings["set"]).split(";") if text]
    federate(
        grid,
        load(str(settings["preset"]), overrides),
        Path(str(settings["data"])),
        Path(str(settings["run"])),
        Path(str(settings["init"])),
    )


def _wait_for_phones(grid: Grid) -> None:
    """Flower's simulation registers its nodes while we start: waits until some are there and no more come."""
    before, now = -1, 0
    deadline = time.monotonic() + 60
    while (now == 0 or now != before) and time.monotonic() < deadline:
        time.sleep(0.5)
        before, now = now, len(list(grid.get_node_ids()))
