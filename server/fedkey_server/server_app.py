"""The federation's server: rounds of FedAvg over any Flower engine, with checkpoints after each.

In: a Grid of phones, a start model, settings. Out: a run folder like central training's. Next stop:
`fedkey_export.graph`.

Flower's own loop holds no checkpoints and counts rounds from 1 after every start; here rounds keep their
numbers when a killed run goes on, and so does the state of the server's optimizer.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from flwr.app import ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp

from fedkey.errors import UserError
from fedkey_server import checkpoint
from fedkey_server.accountant import Accountant
from fedkey_server.client_app import flatten
from fedkey_server.counting import count
from fedkey_server.fleet import make_fleet
from fedkey_server.identities import read_registry, simulated_registry
from fedkey_server.model import Model
from fedkey_server.objectives import CAUSAL, FROM_THE_LEFT, INFILL
from fedkey_server.phones import PHONES_TEXT, Phones
from fedkey_server.private_average import PrivateAverage, accountant_for, private_average
from fedkey_server.progress import Advance, track
from fedkey_server.records import from_record, to_record
from fedkey_server.roster import Registry
from fedkey_server.rounds import Weights
from fedkey_server.selection import Cohort, Poisson, Selection, Simulated
from fedkey_server.strategy import RoundResult, SeededFedAvg, in_brackets, in_words
from fedkey_server.superlink import SuperLinkGrid
from fedkey_server.train import initial_model, pick_device, refuse_diverged, refuse_unfit
from fedkey_server.validation import VALIDATION_TEXT, Examiner

if TYPE_CHECKING:
    from fedkey_server.config import Config

log = logging.getLogger(__name__)

ELSEWHERE = ("count", "sketch")
"""Sections of a preset that only a count of the phones' n-grams reads."""
HOW = ("timeout", "exchange_timeout", "precision")
"""Settings of `rounds` that say how a round is carried out, not what it is."""
OF_TRAINING = ("objective", "infill_share", "z_penalty", "validation_rows", "seed")
"""Settings of `train` that a federation reads, but for `batch_rows`, which changes no figure."""

app = ServerApp()


def federate(
    grid: Grid,
    config: Config,
    data: Path,
    run: Path,
    init: Path,
    registry: Callable[[int], Registry] = simulated_registry,
    *,
    simulation: bool = True,
) -> dict[str, Any]:
    """Runs the rounds of `config.rounds` and returns the final figures; goes on where an earlier process
    stopped.

    Args:
        grid: the phones.
        config: resolved configuration.
        data: folder made by `fedkey_server.prepare`; the server reads its validation documents only.
        run: run folder, made if missing.
        init: run or bundle that holds the start model.
        registry: number of phones -> their public keys, for secure aggregation.
        simulation: whether nodes play phones. Of real ones `fleet.over_selection` times as many are asked as
            reports are needed.

    Raises:
        UserError: the folders do not fit, there are no phones, no round changed the model, or another process
            is at work on the run.
    """
    config = as_started(config, init)
    rounds = config.rounds
    num_nodes = len(list(grid.get_node_ids()))
    for name, needed in (
        ("rounds.min_reports", rounds.min_reports),
        (f"aggregation.name {config.aggregation.name!r}", config.aggregation.least_reports),
    ):
        if num_nodes < needed:
            raise UserError(
                f"There are {num_nodes} phones, and {name} asks for {needed} reports; lower it or bring more "
                "phones."
            )
    accountant = accountant_for(config, num_nodes, config.fleet.min_separation)
    if accountant is not None and not accountant.fits(1):
        raise UserError(
            f"privacy.epsilon {config.privacy.epsilon:g} does not pay for a single round; raise it, or "
            "privacy.noise_multiplier."
        )
    described = _described(config) | {"init": init.name}
    if simulation or config.privacy.mode != "none":  # otherwise phones may come and go while a run is down
        described |= {"num_phones": num_nodes}
    # In a simulation the phones' text lies beside the server's, and a run must not go on with other phones.
    reads = [VALIDATION_TEXT, *([PHONES_TEXT] if (data / PHONES_TEXT).exists() else [])]
    checkpoint.refuse_shorter_window(data, config.model.window)

    def check() -> None:
        refuse_unfit(config, data, init)
        if config.privacy.mode != "poisson":  # whose coins need a key, which lies in the run
            _selection(config, data, num_nodes, None, {}, simulation=simulation)
        if rounds.secure:
            registry(num_nodes)

    checkpoint.start_run(run, described, "federate", data, reads, init, check)
    if (done := checkpoint.read_done(run)) is not None:
        return done
    # Before it is read how far the run is, and its last lines are taken back.
    with checkpoint.hold(run):
        return _go_on(grid, config, data, run, init, registry, num_nodes, accountant, simulation=simulation)


def _go_on(
    grid: Grid,
    config: Config,
    data: Path,
    run: Path,
    init: Path,
    registry: Callable[[int], Registry],
    num_nodes: int,
    accountant: Accountant | None,
    *,
    simulation: bool,
) -> dict[str, Any]:
    """The rounds that are left of a run that no other process works on."""
    rounds, settings, device = config.rounds, config.train, pick_device()
    resumed = _resume(config, data, run, init)
    model, tally, last, spent = resumed.model.to(device), resumed.tally, resumed.step, resumed.spent
    is_after_phones = checkpoint.knows_phones(init)
    if accountant is not None and is_after_phones:
        log.warning("%s has learned from phones; the ledger counts what this federation adds", init)
    strategy = _strategy(config, data, run, resumed, registry, num_nodes, accountant, simulation=simulation)
    told_phones = _told_phones(config, data)
    examiner = Examiner(
        settings.objective, data, config.model.window, settings.validation_rows, settings.seed
    )
    measure = partial(examiner.measure, model, settings.batch_rows, device)
    if last == 0:
        checkpoint.append_metrics(run, {"step": 0} | measure())
    measured: dict[str, float] = {}
    with track(
        f"federate {run.name}", rounds.num_rounds * rounds.phones_per_round, "phones",
        start=last * rounds.phones_per_round,
    ) as advance:  # fmt: skip
        for number in _affordable(range(last + 1, rounds.num_rounds + 1), accountant):
            is_changed = _take_round(number, model, strategy, told_phones, grid, advance)
            _warn(number, strategy, tally, is_changed=is_changed)
            tally.add(strategy.result, is_changed=is_changed)
            row = strategy.result.describe(number, is_changed=is_changed)
            if strategy.private is not None:
                spent = strategy.private.line(number, strategy.update_norm).describe()
                row["privacy"] = spent = spent | ({"after_phones": True} if is_after_phones else {})
            measured = {}  # of another round, which may be the last one
            if number % rounds.validate_every == 0 or number == rounds.num_rounds:
                measured = measure()
                _refuse_diverged(measured["validation_loss"], number)
                row |= measured
                advance(0, validation=measured["validation_loss"])
            # The line of metrics after the checkpoint that holds it: what a round released, nobody may see
            # before a killed run could no longer release something else under the same noise.
            counters = _counters(tally, strategy, row)
            checkpoint.save(run, number, model.state_dict(), strategy.optimizer.state, counters, config.model)
            checkpoint.append_metrics(run, row)
            last = number
    _refuse_unchanged(run, tally)
    final = {"step": last, **tally.counters()} | (measured or measure())
    if spent is not None:
        final["privacy"] = spent
    # With it and two checkpoints the last round's sum could be computed, and finished runs are copied.
    (run / checkpoint.NOISE_KEY).unlink(missing_ok=True)
    checkpoint.write_json(run / "done.json", final)
    return final


def _strategy(
    config: Config,
    data: Path,
    run: Path,
    resumed: Resumed,
    registry: Callable[[int], Registry],
    num_nodes: int,
    accountant: Accountant | None,
    *,
    simulation: bool,
) -> SeededFedAvg:
    """How the rounds that are left are done: whom they ask, and how an average is released."""
    private = None
    if accountant is not None:
        is_over = resumed.step == config.rounds.num_rounds or not accountant.fits(resumed.step + 1)
        private = private_average(accountant, config.rounds, run, resumed.private, is_over=is_over)
    selection = _selection(config, data, num_nodes, private, resumed.fleet, simulation=simulation)
    return SeededFedAvg(
        config, selection, resumed.state, private, resumed.name, registry, simulation=simulation
    )


def _told_phones(config: Config, data: Path) -> ConfigRecord:
    """What phones are told in every round: how to train, and what."""
    train = config.train
    return ConfigRecord(
        flatten(config.rounds, "rounds")
        | flatten(config.model, "model")
        | {
            "z-penalty": train.z_penalty,
            "tokenizer": checkpoint.sha256(data / "tokenizer.model"),
            "objective": train.objective,
            "infill-share": train.infill_share,
        }
    )


def _affordable(numbers: Iterable[int], accountant: Accountant | None) -> Iterator[int]:
    """Rounds for as long as the privacy budget pays for them."""
    for number in numbers:
        if accountant is not None and not accountant.fits(number):
            epsilon = accountant.config.epsilon
            log.warning("round %d would exceed privacy.epsilon %g; the run ends here", number, epsilon)
            return
        yield number


def _take_round(
    number: int,
    model: Model,
    strategy: SeededFedAvg,
    told_phones: ConfigRecord,
    grid: Grid,
    advance: Advance,
) -> bool:
    """Asks the phones of a round and gives the model the weights that come of it; returns whether any came.
    What else came is in `strategy.result`."""
    num_phones = strategy.config.phones_per_round
    told = _up_to(num_phones, partial(advance, round=number))
    arrays = strategy.run_round(number, to_record(model.state_dict()), told_phones, grid, told)
    told(num_phones)  # those that did not come
    if arrays is not None:
        model.load_state_dict(from_record(arrays))
    return arrays is not None


def _up_to(most: int, advance: Callable[[int], None]) -> Callable[[int], None]:
    """Advances by `most` altogether, however many phones of a round answer: coins may ask more."""
    done = 0

    def told(amount: int) -> None:
        nonlocal done
        step = min(amount, most - done)
        done += step
        advance(step)

    return told


def _warn(number: int, strategy: SeededFedAvg, before: Tally, *, is_changed: bool) -> None:
    """Logs why a round changed nothing, or which phones it did without; each kind of failure once."""
    result = strategy.result
    if not is_changed:
        log.warning("%s", result.complaint(number, strategy.least_reports))
    elif result.failures.keys() - before.failures.keys():
        log.warning("round %d did without some phones: %s", number, result.reasons())


def _refuse_diverged(loss: float, num_rounds: int) -> None:
    rates = "server_optimizer.learning_rate or rounds.client_learning_rate"
    refuse_diverged("federation", "validation", loss, f"{num_rounds} rounds", rates)


def _counters(tally: Tally, strategy: SeededFedAvg, row: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps beside weights and the optimizer's state; `_resume` reads it."""
    private = strategy.private
    return {
        **tally.counters(),
        "fleet": strategy.selection.counters(),
        "name": strategy.run,
        **({} if private is None else {"private": private.counters()}),
        "row": row,
    }


def _refuse_unchanged(run: Path, tally: Tally) -> None:
    """`UserError` if a run is at its end and its model is still the one it began with."""
    if tally.totals["changed_rounds"] == 0:
        raise UserError(
            f"No round of {run} changed the model, because too few phones reported"
            f"{in_brackets(in_words(tally.failures))}; mend that, delete the run and start again."
        )


def _described(config: Config) -> dict[str, Any]:
    """What a run is, without what it does not read: it may go on with other times for its phones' answers."""
    from fedkey_server.config import to_dict

    described = {name: section for name, section in to_dict(config).items() if name not in ELSEWHERE}
    rounds = {key: value for key, value in described["rounds"].items() if key not in HOW}
    train = {key: value for key, value in described["train"].items() if key in OF_TRAINING}
    return described | {"rounds": rounds, "train": train}


def as_started(config: Config, init: Path) -> Config:
    """The configuration with the objective that the phones train: the preset's, or that of the start model
    if it learned to fill gaps and the preset says nothing of them, since it would forget.

    Raises:
        UserError: the objective is of no use to a keyboard.
    """
    train = config.train
    if train.objective not in FROM_THE_LEFT:
        raise UserError(
            f"Phones predict from the left, which train.objective {train.objective} does not teach; "
            f"set it to {' or '.join(FROM_THE_LEFT)}."
        )
    started = checkpoint.config_of(init).get("train", {})
    if train.objective == CAUSAL and started.get("objective") == INFILL:
        share = float(started.get("infill_share", train.infill_share))
        log.info("phones fill gaps in %g of their text, as %s learned to", share, init)
        return replace(config, train=replace(train, objective=INFILL, infill_share=share))
    return config


@dataclass
class Tally:
    """What has been counted over the rounds of a run."""

    totals: Counter[str]
    failures: Counter[str]

    @classmethod
    def of(cls, counters: Mapping[str, Any]) -> Tally:
        """From a checkpoint's counters, or from none."""
        names = ("local_steps", "reports", "changed_rounds")
        return cls(
            Counter({name: counters.get(name, 0) for name in names}), Counter(counters.get("failures", {}))
        )

    def add(self, result: RoundResult, *, is_changed: bool) -> None:
        """Counts one round."""
        self.totals["local_steps"] += result.num_steps
        self.totals["reports"] += result.reports
        self.totals["changed_rounds"] += is_changed
        self.failures += result.failures

    def counters(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        # Phones of a private run do not say how many steps they took.
        totals = {name: total for name, total in self.totals.items() if total or name != "local_steps"}
        return {**totals, "failures": dict(self.failures)}


class Resumed(NamedTuple):
    """Where a run goes on."""

    model: Model
    state: Weights
    """The server optimizer's."""
    step: int
    """Rounds done."""
    tally: Tally
    private: dict[str, Any] | None
    """`PrivateAverage.counters`, if a round was done in private."""
    spent: dict[str, Any] | None
    """The last line of its ledger."""
    fleet: dict[str, Any]
    """`Selection.counters`."""
    name: str
    """Which run this is to phones, drawn once: they play no round of a run twice."""


def _resume(config: Config, data: Path, run: Path, init: Path) -> Resumed:
    folder = checkpoint.latest(run)
    if (run / checkpoint.NOISE_KEY).exists():
        _refuse_repeated(run, 0 if folder is None else int(folder.name))
    if folder is None:
        (run / "metrics.jsonl").unlink(missing_ok=True)
        return Resumed(
            initial_model(config, data, init), {}, 0, Tally.of({}), None, None, {}, secrets.token_hex(16)
        )
    saved = checkpoint.read(folder)
    model = Model(config.model)
    model.load_state_dict(saved.weights)
    checkpoint.trim_metrics(run, saved.step - 1)
    checkpoint.append_metrics(run, saved.counters["row"])  # it may not have been written
    counters = saved.counters
    return Resumed(
        model,
        dict(saved.state),
        saved.step,
        Tally.of(counters),
        counters.get("private"),
        counters["row"].get("privacy"),
        counters["fleet"],
        counters["name"],
    )


def _refuse_repeated(run: Path, step: int) -> None:
    """`UserError` if a private run is to do a round again that its metrics tell of, since somebody deleted
    its checkpoint: two sums under the same noise give away their difference."""
    told = checkpoint.last_told(run)
    if told > step:
        raise UserError(
            f"Round {told} of {run} has left the server, and its checkpoint is gone; done again, it would "
            "get the same noise, so start another run."
        )


def _selection(
    config: Config,
    data: Path,
    num_nodes: int,
    private: PrivateAverage | None,
    saved: dict[str, Any],
    *,
    simulation: bool,
) -> Selection:
    """How this run chooses phones."""
    rounds = config.rounds
    if config.privacy.mode == "poisson":
        assert private is not None
        return Poisson(private)
    if not config.fleet.enabled:
        factor = 1.0 if simulation else config.fleet.over_selection
        chances = _chances(config, data, num_nodes, simulation=simulation)
        return Cohort(replace(rounds, phones_per_round=math.ceil(factor * rounds.phones_per_round)), chances)
    phones = Phones.load(data / PHONES_TEXT)
    if len(phones) > num_nodes:
        raise UserError(
            f"fleet.enabled simulates the {len(phones)} phones of {data}, but {num_nodes} nodes are there; "
            "real phones need no simulated fleet."
        )
    rows = np.resize(phones.num_rows(config.model.window), num_nodes)  # authors may be played by several
    rows = np.minimum(rows, rounds.max_rows or rows)
    steps = rounds.local_epochs * -(-rows // (rounds.batch_rows or rows))
    num_bytes = 4 * sum(parameter.numel() for parameter in Model(config.model).parameters())
    fleet = make_fleet(config.fleet, steps, rounds.seed)
    selection = Simulated(fleet, rounds, bytes_down=num_bytes, bytes_up=num_bytes)
    if saved:
        selection.restore(saved)
    return selection


def _chances(
    config: Config, data: Path, num_nodes: int, *, simulation: bool
) -> npt.NDArray[np.float64] | None:
    """How likely each phone is to be asked, [nodes]; None if all are alike."""
    most = config.rounds.weighed_rows
    if not most:
        return None
    if not simulation:
        raise UserError(
            "rounds.weighed_rows asks phones with more text more often, and real phones tell nobody how much "
            "they have; set it to 0."
        )
    rows = Phones.load(data / PHONES_TEXT).num_rows(config.model.window)
    weights = np.resize(np.minimum(rows, most), num_nodes).astype(np.float64)
    return weights / weights.sum()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Entry point under `flwr run`; the run configuration names the preset and the folders. With `counts`,
    n-grams are counted into that file instead of rounds of training."""
    from fedkey_server.config import load

    settings = context.run_config
    simulation = bool(settings["simulation"])
    phones = grid if simulation else SuperLinkGrid(grid)
    _wait_for_phones(phones)
    overrides = [text for text in str(settings["set"]).split(";") if text]
    config = load(str(settings["preset"]), overrides)

    def registry(num_phones: int) -> Registry:
        if simulation:
            return simulated_registry(num_phones)
        return read_registry(Path(str(settings["registry"])))

    try:
        if settings["counts"]:
            checkpoint.refuse_unwritable(Path(str(settings["counts"])))
            crowd = count(phones, config, Path(str(settings["bundle"])), registry, simulation=simulation)
            crowd.save(Path(str(settings["counts"])))
        else:
            federate(
                phones,
                config,
                Path(str(settings["data"])),
                Path(str(settings["run"])),
                Path(str(settings["init"])),
                registry,
                simulation=simulation,
            )
    finally:
        if isinstance(phones, SuperLinkGrid):
            phones.sweep()


def _wait_for_phones(grid: Grid) -> None:
    """Flower's simulation registers its nodes while we start: waits until some are there and no more come."""
    before, now = -1, 0
    deadline = time.monotonic() + 60
    while (now == 0 or now != before) and time.monotonic() < deadline:
        time.sleep(0.5)
        before, now = now, len(list(grid.get_node_ids()))
