"""The federation's server: rounds of FedAvg over any Flower engine, with checkpoints after each.

In: a Grid of phones, a start model, settings. Out: a run folder like central training's. Next stop:
`fedkey_export.graph`.

The strategy is Flower's FedAvg where Flower speaks: messages, weights by "num-examples", replies with errors.
It is extended where Flower is silent: cohorts drawn by (seed, round), reports added up as they arrive, too
few reports leave the model alone, and rounds keep their numbers when a killed run goes on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedkey.errors import UserError
from fedkey_server import checkpoint
from fedkey_server.client_app import ARRAYS, CONFIG, METRICS, flatten
from fedkey_server.model import Model
from fedkey_server.phones import PHONES_TEXT
from fedkey_server.progress import Advance, track
from fedkey_server.rounds import Average, PhoneReport, RoundsConfig, Weights, cohort, server_update
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
    examples: dict[str, str] = field(default_factory=dict)
    """Reason -> what the first such phone said."""
    nll: float = 0.0
    num_targets: int = 0
    num_steps: int = 0

    @property
    def silent(self) -> int:
        """Phones that did not answer in time."""
        return self.asked - self.reports - self.refused.total()

    @property
    def failures(self) -> Counter[str]:
        """Reason -> phones that did not help, the silent ones included."""
        return self.refused + Counter({"silent": self.silent})


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
        # Each phone gets records of its own, so that none can change another's; they share the bytes of the
        # weights, which nobody can change.
        return [
            Message(
                RecordDict(
                    {
                        ARRAYS: ArrayRecord(dict(arrays)),
                        CONFIG: ConfigRecord({**config, "server-round": server_round, "phone": phone}),
                    }
                ),
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
            try:
                report = self._read(reply)
            except Unusable as fault:
                result.refused[fault.reason] += 1
                result.examples.setdefault(fault.reason, fault.detail)
                continue
            average.add(report.weights, report.num_targets)
            result.reports += 1
            result.nll += report.nll
            result.num_targets += report.num_targets
            result.num_steps += report.num_steps
        if result.reports < self.config.min_reports:
            return None, None
        weights = server_update(self.reference, average.mean(), self.config.server_learning_rate)
        return ArrayRecord(weights), MetricRecord({"train-loss": result.nll / result.num_targets})

    def _read(self, reply: Message) -> PhoneReport:
        """A phone's report; raises `Unusable` if there is none or it does not fit."""
        if reply.has_error():
            reason = ERROR_NAMES.get(reply.error.code, f"error {reply.error.code}")
            raise Unusable(reason, " ".join(str(reply.error.reason).split()))
        try:
            weights = reply.content.array_records[ARRAYS].to_torch_state_dict()
            metrics = reply.content.metric_records[METRICS]
            num_targets, nll, num_steps = (
                float(metrics[key])  # type: ignore[arg-type]  # a list is a TypeError, as it should be
                for key in (self.weighted_by_key, "nll", "num-steps")
            )
        except Exception as error:  # the bytes are a stranger's: numpy may raise anything over them
            raise Unusable("malformed reply", f"{type(error).__name__}: {error}") from error
        sums = torch.tensor([num_targets, nll, num_steps])
        if not all(bool(tensor.isfinite().all()) for tensor in (sums, *weights.values())):
            raise Unusable("not finite")
        if {name: tensor.shape for name, tensor in weights.items()} != {
            name: tensor.shape for name, tensor in self.reference.items()
        }:
            raise Unusable("wrong shapes")
        if num_targets < 1:
            raise Unusable("nothing to train on")
        return PhoneReport(weights, int(num_targets), nll, int(num_steps))


class Unusable(Exception):
    """A reply that the server leaves out."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        """A few words, by which replies are counted."""
        self.detail = detail
        """What this phone said."""


ERROR_NAMES = {
    code: name.lower().replace("_", " ") for name, code in vars(ErrorCode).items() if name.isupper()
}
"""Flower's error codes in words, such as "client app raised exception"."""


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
    model, start, totals, failures = _resume(config, data, run, init)
    model.to(device)
    held_out = validation_rows(data, config.model.window, config.train.validation_rows, config.train.seed)
    strategy = SeededFedAvg(rounds)
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
            row = _describe(round_number, result, is_changed=new_arrays is not None)
            totals["local_steps"] += result.num_steps
            totals["reports"] += result.reports
            totals["changed_rounds"] += new_arrays is not None
            if new_arrays is None:
                log.warning("%s", _complaint(round_number, result, rounds.min_reports))
            elif result.failures.keys() - failures.keys():  # told once for each kind
                log.warning("round %d did without some phones: %s", round_number, _reasons(result))
            failures += result.failures
            if round_number % rounds.validate_every == 0 or round_number == rounds.num_rounds:
                measured = validate(model, held_out, config.train.batch_rows, device)
                row |= measured
                advance(0, validation=measured["validation_loss"])
            checkpoint.append_metrics(run, row)
            counters = {**totals, "failures": failures}
            checkpoint.save(run, round_number, model.state_dict(), {}, counters, config.model)
    if totals["changed_rounds"] == 0:
        raise UserError(
            f"No round of {run} changed the model, because too few phones reported ({_in_words(failures)}); "
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
    return (
        f"round {round_number} changed nothing: {result.reports} of {result.asked} phones reported, "
        f"{min_reports} are needed ({_reasons(result)})"
    )


def _reasons(result: RoundResult) -> str:
    """How many phones failed for which reason, with the words of the first of each."""
    examples = [f"; {reason}: {detail}" for reason, detail in result.examples.items() if detail]
    return _in_words(result.failures) + "".join(examples)


def _in_words(failures: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in failures.most_common())


def _resume(
    config: Config, data: Path, run: Path, init: Path
) -> tuple[Model, int, Counter[str], Counter[str]]:
    """The model, the rounds done, and what has been counted in them."""
    folder = checkpoint.latest(run)
    totals = Counter({"local_steps": 0, "reports": 0, "changed_rounds": 0})
    if folder is None:
        (run / "metrics.jsonl").unlink(missing_ok=True)
        return initial_model(config, data, init), 0, totals, Counter()
    saved = checkpoint.read(folder)
    model = Model(config.model)
    model.load_state_dict(saved.weights)
    checkpoint.trim_metrics(run, saved.step)
    failures: Counter[str] = Counter(saved.counters.pop("failures"))
    totals.update(saved.counters)
    return model, saved.step, totals, failures


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
