"""The federation's server: rounds of FedAvg over any Flower engine, with checkpoints after each.

In: a Grid of phones, a start model, settings. Out: a run folder like central training's. Next stop:
`fedkey_export.graph`.

The strategy is Flower's FedAvg where Flower speaks: messages, weights by "num-examples", replies with errors.
It is extended where Flower is silent: cohorts drawn by (seed, round), reports added up as they arrive, too
few reports leave the model alone, and rounds keep their numbers when a killed run goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedkey.errors import UserError
from fedkey_server import checkpoint
from fedkey_server.client_app import ARRAYS, CONFIG, METRICS, flatten
from fedkey_server.model import Model
from fedkey_server.progress import track
from fedkey_server.rounds import Average, RoundsConfig, Weights, cohort, server_update
from fedkey_server.train import VALIDATION_TEXT, initial_model, pick_device, validate, validation_rows

if TYPE_CHECKING:
    from fedkey_server.config import Config

log = logging.getLogger(__name__)

app = ServerApp()


@dataclass
class RoundResult:
    """What came back in one round."""

    asked: int = 0
    reports: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Reason -> phones whose reply was an error or could not be used."""
    nll: float = 0.0
    num_targets: int = 0
    num_steps: int = 0

    @property
    def silent(self) -> int:
        """Phones that did not answer in time."""
        return self.asked - self.reports - self.refused.total()


class SeededFedAvg(FedAvg):
    """FedAvg with reproducible cohorts, streaming sums and a minimum of reports."""

    def __init__(self, config: RoundsConfig) -> None:
        super().__init__(
            min_train_nodes=1, min_available_nodes=1, arrayrecord_key=ARRAYS, configrecord_key=CONFIG
        )
        self.config = config
        self.result = RoundResult()
        self.reference: Weights = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each phone of the round's cohort; node ids in order stand for phones 0, 1, ..."""
        nodes = sorted(grid.get_node_ids())
        chosen = cohort(self.config.seed, server_round, len(nodes), self.config.phones_per_round)
        self.result = RoundResult(asked=len(chosen))
        self.reference = arrays.to_torch_state_dict()
        config["server-round"] = server_round
        # Each phone gets its own record dictionary: a phone that changes its copy must not change another's.
        return [
            Message(
                RecordDict({ARRAYS: arrays, CONFIG: ConfigRecord(dict(config))}),
                dst_node_id=nodes[phone],
                message_type=MessageType.TRAIN,
                group_id=str(server_round),
            )
            for phone in chosen
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The new weights, or None if fewer than `min_reports` usable replies came."""
        average = Average()
        result = self.result
        for reply in replies:
            reason = self._fault(reply)
            if reason is not None:
                result.refused[reason] += 1
                continue
            weight, nll, num_steps = self._sums(reply)
            average.add(reply.content.array_records[ARRAYS].to_torch_state_dict(), weight)
            result.reports += 1
            result.nll += nll
            result.num_targets += int(weight)
            result.num_steps += int(num_steps)
        if result.reports < self.config.min_reports:
            return None, None
        weights = server_update(self.reference, average.mean(), self.config.server_learning_rate)
        return ArrayRecord(weights), MetricRecord({"train-loss": result.nll / max(1, result.num_targets)})

    def _sums(self, reply: Message) -> tuple[float, float, float]:
        """Number of graded targets, their summed NLL and the local steps, as the phone reports them."""
        metrics = reply.content.metric_records[METRICS]
        targets, nll, num_steps = (
            float(str(metrics[key])) for key in (self.weighted_by_key, "nll", "num-steps")
        )
        return targets, nll, num_steps

    def _fault(self, reply: Message) -> str | None:
        """Why a reply cannot be used, or None."""
        if reply.has_error():
            return str(reply.error.reason).partition(":")[0] or "error"
        try:
            weights = reply.content.array_records[ARRAYS].to_torch_state_dict()
            weight, nll, num_steps = self._sums(reply)
        except (KeyError, TypeError, ValueError, AttributeError):
            return "malformed reply"
        if {name: tensor.shape for name, tensor in weights.items()} != {
            name: tensor.shape for name, tensor in self.reference.items()
        }:
            return "wrong shapes"
        if weight <= 0:
            return "nothing to train on"
        sums = torch.tensor([weight, nll, num_steps])
        if not all(bool(tensor.isfinite().all()) for tensor in (sums, *weights.values())):
            return "not finite"
        return None


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
    described = to_dict(config) | {"init": init.name}
    checkpoint.start_run(run, described, "federate", data, (VALIDATION_TEXT,), init)
    if (run / "done.json").exists():
        return dict(checkpoint.read_json(run / "done.json"))
    device = pick_device()
    model, start, totals = _resume(config, data, run, init)
    model.to(device)
    held_out = validation_rows(data, config.model.window, config.train.validation_rows, config.train.seed)
    strategy = SeededFedAvg(rounds)
    settings = ConfigRecord(
        flatten(rounds, "rounds") | flatten(config.model, "model") | {"z-penalty": config.train.z_penalty}
    )
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
            row = _describe(round_number, result, is_changed=new_arrays is not None)
            totals["local_steps"] += result.num_steps
            totals["reports"] += result.reports
            totals["failures"] += result.refused.total() + result.silent
            totals["changed_rounds"] += new_arrays is not None
            if round_number % rounds.validate_every == 0 or round_number == rounds.num_rounds:
                row |= validate(model, held_out, config.train.batch_rows, device)
                advance(0, validation=row["validation_loss"])
            checkpoint.append_metrics(run, row)
            checkpoint.save(run, round_number, model.state_dict(), {}, dict(totals), config.model)
            if new_arrays is None:
                log.warning("%s", _complaint(round_number, result, rounds.min_reports))
    if totals["changed_rounds"] == 0:
        raise UserError(
            f"No round of {run} changed the model: too few phones reported; "
            f"see {run / 'metrics.jsonl'} for the reasons."
        )
    final = {
        "step": rounds.num_rounds,
        **totals,
        **validate(model, held_out, config.train.batch_rows, device),
    }
    checkpoint.write_json(run / "done.json", final)
    return final


def _watched(replies: Iterable[Message], advance: Any, round_number: int) -> Iterable[Message]:
    for reply in replies:
        yield reply
        advance(1, round=round_number)


def _describe(round_number: int, result: RoundResult, *, is_changed: bool) -> dict[str, Any]:
    return {
        "step": round_number,
        "asked": result.asked,
        "reports": result.reports,
        "refused": dict(result.refused),
        "silent": result.silent,
        "changed": is_changed,
        "train_loss": result.nll / max(1, result.num_targets),
        "num_targets": result.num_targets,
        "local_steps": result.num_steps,
    }


def _complaint(round_number: int, result: RoundResult, min_reports: int) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in result.refused.most_common())
    silent = f"{result.silent} silent" if result.silent else ""
    why = "; ".join(part for part in (reasons, silent) if part)
    return (
        f"round {round_number} changed nothing: {result.reports} of {result.asked} phones reported, "
        f"{min_reports} are needed ({why})"
    )


def _resume(config: Config, data: Path, run: Path, init: Path) -> tuple[Model, int, Counter[str]]:
    folder = checkpoint.latest(run)
    totals: Counter[str] = Counter({"local_steps": 0, "reports": 0, "failures": 0, "changed_rounds": 0})
    if folder is None:
        (run / "metrics.jsonl").unlink(missing_ok=True)
        return initial_model(config, data, init), 0, totals
    saved = checkpoint.read(folder)
    model = Model(config.model)
    model.load_state_dict(saved.weights)
    checkpoint.trim_metrics(run, saved.step)
    totals.update(saved.counters)
    return model, saved.step, totals


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Entry point under `flwr run`; the run configuration names the preset and the folders."""
    from fedkey_server.config import load

    settings = context.run_config
    overrides = [text for text in str(settings["set"]).split(";") if text]
    federate(
        grid,
        load(str(settings["preset"]), overrides),
        Path(str(settings["data"])),
        Path(str(settings["run"])),
        Path(str(settings["init"])),
    )
