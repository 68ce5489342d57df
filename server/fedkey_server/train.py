"""Central training: packed rows in, checkpoints out, resumable at any moment.

In: a prepared data folder and a configuration. Out: a run folder. Next stop: `fedkey_server.checkpoint`.

A run that was killed and started again ends with the very loss it would have had: the batch of a step is a
pure function of (seed, step), and so is what an objective hides in it; sampled labels come from a generator
seeded by (seed, step, part of the step), and a checkpoint holds the weights and the whole optimizer state.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from fedkey.errors import UserError
from fedkey.pieces import Pieces
from fedkey_kernels import SophiaG
from fedkey_server import checkpoint, optim
from fedkey_server.batches import SERVER_TEXT, BatchStream, Documents, pack
from fedkey_server.lessons import Lessons
from fedkey_server.model import IGNORE, Model
from fedkey_server.objectives import CAUSAL, INFILL, OBJECTIVES
from fedkey_server.objectives.infilling import rearranged
from fedkey_server.objectives.task import Task
from fedkey_server.parallel import ALONE, Processes
from fedkey_server.phones import load_held_out
from fedkey_server.profiling import SKIPPED_STEPS, profiled
from fedkey_server.progress import Advance, Figure, track
from fedkey_server.step import (
    PRECISIONS,
    Batch,
    Objective,
    Share,
    curvature_step,
    optimizer_step,
)
from fedkey_server.throughput import Meter, Work, peak_flops
from fedkey_server.validation import VALIDATION_TEXT, Examiner, headline

if TYPE_CHECKING:
    from fedkey_server.config import Config

log = logging.getLogger(__name__)

TRACE = "trace.json"
"""File of the run folder."""
HOW = ("accumulate", "compile", "precision")
"""Settings that say how a step is computed, not what it is."""
ELSEWHERE = ("rounds", "server_optimizer", "aggregation", "privacy", "fleet", "count", "sketch")
"""Sections of a preset that only a federation reads, or a count of its phones' n-grams."""


@dataclass(frozen=True)
class TrainConfig:
    """How the model is trained centrally."""

    objective: str = CAUSAL
    """What is predicted: see `fedkey_server.objectives`."""
    infill_share: float = 0.5
    """Share of the documents that get a gap to fill, of those that allow it, where the objective is
    "infill"."""
    num_steps: int = 1000
    batch_rows: int = 16
    """Rows of `model.window` pieces in a step, of all processes together."""
    accumulate: int = 1
    """Parts in which a process takes its rows of a step: as many times less memory, and the same gradient."""
    compile: bool = False
    """Whether torch.compile works on the layers first: minutes before the first step on a CPU."""
    precision: str = "auto"
    """"auto", "fastest", "float32" or "bfloat16": see `fedkey_server.step.precision`."""
    optimizer: str = "adamw"
    """"adamw", "sophia", "lion" or "muon" (with AdamW for the embedding and the norms)."""
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    final_share: float = 0.1
    """Learning rate at the last step as a share of the peak; cosine in between."""
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.98
    rho: float = 0.05
    """Sophia's clipping scale."""
    hessian_every: int = 10
    """Steps between Sophia's curvature estimates."""
    clip_norm: float = 1.0
    """Largest norm of a step's gradient; 0 leaves gradients as they are."""
    z_penalty: float = 1e-3
    """Weight of logZ^2. It keeps log Z steady, so that the phone can take one usual value off the logits; 0.1
    would bring it to zero, and cost 0.18 nats per piece after 200 steps of the tiny preset."""
    lesson_weight: float = 1.0
    """Weight of what a teacher expected beside what stands in the text, where there are lessons."""
    validate_every: int = 200
    validation_rows: int = 128
    """Rows of validation text looked at each time."""
    checkpoint_every: int = 200
    seed: int = 1

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(
                f"train.objective must be one of {', '.join(OBJECTIVES)}, not {self.objective!r}"
            )
        if not 0 <= self.infill_share <= 1:
            raise ValueError(f"train.infill_share must be from 0 to 1, not {self.infill_share}")
        if self.optimizer not in optim.OPTIMIZERS:
            raise ValueError(
                f"train.optimizer must be one of {', '.join(optim.OPTIMIZERS)}, not {self.optimizer!r}"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"train.precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
            )
        for name in (
            "num_steps",
            "batch_rows",
            "accumulate",
            "hessian_every",
            "validate_every",
            "validation_rows",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, not {getattr(self, name)}")
        if self.accumulate > self.batch_rows:
            raise ValueError(
                f"train.accumulate {self.accumulate} must not be more than batch_rows {self.batch_rows}"
            )
        for name in ("learning_rate", "rho"):
            if getattr(self, name) <= 0:
                raise ValueError(f"train.{name} must be more than 0, not {getattr(self, name)}")
        for name in (
            "warmup_steps",
            "final_share",
            "weight_decay",
            "clip_norm",
            "z_penalty",
            "lesson_weight",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"train.{name} must not be negative, but it is {getattr(self, name)}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be from 0 up to 1, not {getattr(self, name)}")


def pick_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def gradient_step(
    model: Model,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    z_penalty: float,
    clip_norm: float,
    precision: str = "auto",
) -> tuple[float, int]:
    """`optimizer_step` of one process on one batch; returns (summed NLL, number of targets)."""
    num_targets = int((batch[1] != IGNORE).sum())
    share = Share([(0, batch)], num_targets, num_targets, 1)
    return float(
        optimizer_step(Objective(model, precision), optimizer, share, z_penalty, clip_norm)
    ), num_targets


class Step(NamedTuple):
    """What a step came to."""

    nll: Tensor
    """Summed NLL of this process's targets; reading it waits for the device."""
    own_targets: int
    num_targets: int
    """Of all processes."""
    work: Work
    """Of all processes."""


class Trainer:
    """A model and its optimizer, which take one step after the other.

    Which rows a step has and its learning rate are pure functions of its number.

    Args:
        config: resolved configuration; `config.train` is used.
        model: on `processes.device`.
        stream: the text in steps.
        processes: those that share the rows of a step.
        lessons: what a teacher expected of the text.
        pieces: the tokenizer, which objectives that do not read from the left need.
    """

    def __init__(
        self,
        config: Config,
        model: Model,
        stream: BatchStream,
        processes: Processes = ALONE,
        lessons: Lessons | None = None,
        pieces: Pieces | None = None,
    ) -> None:
        self.settings = settings = config.train
        self.model = model
        self.stream = stream
        self.processes = processes
        self.lessons = lessons
        self.task = Task(settings.objective, pieces)
        if settings.compile:
            model.compile()  # in place: whoever calls the model gets the compiled one, and names stay
        self.optimizer = optim.build(
            settings.optimizer,
            model,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            beta1=settings.beta1,
            beta2=settings.beta2,
            rho=settings.rho,
        )
        self.objective = processes.wrap(
            Objective(model, settings.precision, settings.lesson_weight, self.task)
        )

    def learning_rate(self, step: int) -> float:
        """That of step `step`, counted from 0."""
        settings = self.settings
        return optim.learning_rate_at(
            step, settings.num_steps, settings.learning_rate, settings.warmup_steps, settings.final_share
        )

    def step(self, step: int) -> Step:
        """Takes step `step`."""
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        rows = self.task.of(self.stream.batch(step), (settings.seed, step))
        share = Share.of(rows, settings.accumulate, self.processes, self.lessons)
        if isinstance(self.optimizer, SophiaG) and step % settings.hessian_every == 0:
            curvature_step(self.objective, self.optimizer, share, (settings.seed, step))
        nll = optimizer_step(self.objective, self.optimizer, share, settings.z_penalty, settings.clip_norm)
        return Step(nll, share.own_targets, share.num_targets, Work.of(rows, self.model.config))


def train(
    config: Config,
    data: Path,
    run: Path,
    *,
    init: Path | None = None,
    num_steps: int | None = None,
    profile: bool = False,
    processes: Processes = ALONE,
    lessons: Path | None = None,
) -> dict[str, Any]:
    """Trains until `num_steps` and returns the final figures; goes on where an earlier process stopped.

    Args:
        config: resolved configuration; `config.train` and `config.model` are used.
        data: folder made by `fedkey_server.prepare`.
        run: run folder, made if missing.
        init: run or bundle whose weights are the start, instead of seeded random ones.
        num_steps: overrides `config.train.num_steps`.
        profile: whether to write `RUN/trace.json` of a few of the first process's steps.
        processes: those that train together; each calls this with the same arguments.
        lessons: file of what a teacher expected of `data`'s text, made by `fedkey-server teach`.

    Raises:
        UserError: the folders or the lessons do not fit the configuration or each other, a step has too few
            rows for the processes, there are too few steps left to profile, the loss is no number any more,
            or another process is at work on the run.
    """
    settings = config.train
    if lessons is not None and settings.objective != CAUSAL:
        raise UserError(
            f"Lessons are of text as it is written, and train.objective {settings.objective} changes it; "
            "leave out --lessons or set train.objective to causal."
        )
    processes.parts(settings.batch_rows, settings.accumulate)  # before a run folder is made for nothing
    num_steps = settings.num_steps if num_steps is None else num_steps
    described = _described(config, num_steps) | {"init": None if init is None else init.name}
    if lessons is not None:
        described |= {"lessons": checkpoint.sha256(lessons)}
    files = (SERVER_TEXT, VALIDATION_TEXT)

    def begin() -> None:
        checkpoint.refuse_shorter_window(data, config.model.window)
        check = partial(_refuse_unfit, config, data, run, init, num_steps, profile, lessons)
        checkpoint.start_run(run, described, "train", data, files, init, check)

    processes.once(begin)
    final = checkpoint.read_done(run)
    if final is not None and final["step"] >= num_steps:
        if profile:
            raise UserError(f"{run} is finished and has no steps left to profile; give another --run.")
        return final
    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(checkpoint.hold(run))

        processes.once(hold)  # before it is read how far the run is, and its last lines are taken back
        return _go_on(config, data, run, init, num_steps, profile, processes, lessons)


def _go_on(
    config: Config,
    data: Path,
    run: Path,
    init: Path | None,
    num_steps: int,
    profile: bool,
    processes: Processes,
    lessons: Path | None,
) -> dict[str, Any]:
    """The steps that are left of a run that no other process works on."""
    settings = replace(config.train, num_steps=num_steps)
    device, window = processes.device, config.model.window
    model = initial_model(config, data, init).to(device)
    documents, pieces = Documents.load(data / SERVER_TEXT), Pieces.open(data / "tokenizer.model")
    if settings.objective == INFILL:
        documents = rearranged(documents, pieces, window, settings.infill_share, settings.seed)
    stream = BatchStream(pack(documents, window, window), settings.batch_rows, settings.seed)
    taught = None if lessons is None else _lessons_of(lessons, data)
    trainer = Trainer(replace(config, train=settings), model, stream, processes, taught, pieces)
    start, nll_so_far, targets = _resume(run, trainer)
    if profile:
        _refuse_few_steps(run, num_steps - start)
    rows_at_once = -(-settings.batch_rows // (processes.count * settings.accumulate))
    examiner = Examiner(settings.objective, data, window, settings.validation_rows, settings.seed)
    measure = partial(examiner.measure, model, rows_at_once, device, processes)
    peak = peak_flops(device)
    meter = Meter(config.model, None if peak is None else peak * processes.count)
    # Of the steps since the last line of metrics. Every process holds a summand.
    nll = torch.tensor(nll_so_far if processes.is_first else 0.0, dtype=torch.float64, device=device)
    measured: dict[str, Any] = {}

    with _told(run, start, num_steps, processes) as advance, _profiled(run, profile, processes) as stepped:
        for step in range(start, num_steps):
            meter.begin()
            taken = trainer.step(step)
            nll, targets = nll + taken.nll, targets + taken.num_targets
            done = step + 1
            is_measured = done % settings.validate_every == 0 or done == num_steps
            is_saved = done % settings.checkpoint_every == 0 or done == num_steps
            if is_measured or is_saved:  # from here on as in a process that resumes: the first holds the sum
                nll = processes.total(nll)
                nll_so_far = float(nll)
                _refuse_diverged("train", nll_so_far, done)
                if not processes.is_first:
                    nll = torch.zeros_like(nll)
            meter.end(taken.work)
            figures: dict[str, Figure] = {"loss": partial(_mean, taken.nll, taken.own_targets)}
            if measured:
                name, loss, _ = headline(measured)
                figures[name] = loss
            advance(1, **figures, **meter.figures())
            stepped()
            if is_measured:
                measured = measure()
                name, loss, _ = headline(measured)
                _refuse_diverged(name, loss, done)
                row = {
                    "step": done,
                    "train_loss": nll_so_far / max(1, targets),
                    "learning_rate": trainer.learning_rate(step),
                }
                if processes.is_first:
                    checkpoint.append_metrics(run, row | measured)
                advance(0, **{name: loss})
                nll, nll_so_far, targets = torch.zeros_like(nll), 0.0, 0
            if is_saved and processes.is_first:
                counters = {"nll": nll_so_far, "targets": targets}
                state = optim.flat_state(model, trainer.optimizer)
                checkpoint.save(run, done, model.state_dict(), state, counters, config.model)
    # Killed between the last checkpoint and here, a run has nothing left to do but to measure again.
    final = {"step": num_steps} | (measured or measure())
    processes.once(lambda: checkpoint.write_json(run / "done.json", final))
    return final


def _refuse_unfit(
    config: Config,
    data: Path,
    run: Path,
    init: Path | None,
    num_steps: int,
    profile: bool,
    lessons: Path | None,
) -> None:
    """`UserError` for what a new run could not begin with."""
    refuse_unfit(config, data, init)
    if lessons is not None:
        _lessons_of(lessons, data)
    if profile:
        _refuse_few_steps(run, num_steps)
    window = config.model.window
    BatchStream(pack(Documents.load(data / SERVER_TEXT), window, window), config.train.batch_rows, 0)


def refuse_unfit(config: Config, data: Path, init: Path | None) -> None:
    """`UserError` if a model of this shape cannot learn or be measured on `data`, or cannot start from
    `init`."""
    if init is not None:
        initial_model(config, data, init)
    num_pieces = Pieces.open(data / "tokenizer.model").vocab_size
    if num_pieces != config.model.vocab_size:
        raise UserError(
            f"{data} was prepared in {num_pieces:,} pieces, and model.vocab_size is "
            f"{config.model.vocab_size:,}; choose the preset that it was prepared with, or prepare the data "
            "for this one in another folder."
        )
    load_held_out(data / VALIDATION_TEXT)


def _refuse_few_steps(run: Path, num_left: int) -> None:
    if num_left <= SKIPPED_STEPS:
        raise UserError(
            f"{run} has too few steps left to profile ({num_left}); give another --run, or more steps with "
            "--set train.num_steps=N."
        )


def _described(config: Config, num_steps: int) -> dict[str, Any]:
    """What a run is, without what a federation will make of it, and without how its steps are computed: it
    may go on in other parts, as it may in another number of processes, and with or without compiling. All of
    these change rounding, and which labels Sophia draws. And without its length where that changes no step:
    at a constant rate a finished run may be given more."""
    from fedkey_server.config import to_dict

    described = {name: section for name, section in to_dict(config).items() if name not in ELSEWHERE}
    settings = {key: value for key, value in described["train"].items() if key not in HOW}
    if config.train.final_share == 1.0:
        del settings["num_steps"]
        return described | {"train": settings}
    return described | {"train": settings, "num_steps": num_steps}


def _told(run: Path, start: int, num_steps: int, processes: Processes) -> AbstractContextManager[Advance]:
    """The line of progress, which the first process shows. Its loss is that of this process's rows."""
    console = None if processes.is_first else Console(quiet=True, force_terminal=False)
    return track(f"train {run.name}", num_steps, "steps", start=start, console=console)


def _profiled(run: Path, is_wanted: bool, processes: Processes) -> AbstractContextManager[Callable[[], None]]:
    if is_wanted and processes.is_first:
        return profiled(run / TRACE, processes.device)
    return nullcontext(lambda: None)


def refuse_diverged(work: str, name: str, loss: float, done: str, rates: str) -> None:
    """`UserError` for a loss that is no number: of such weights nothing more will come; `rates` are the
    settings to lower."""
    if not math.isfinite(loss):
        raise UserError(
            f"The {work} diverged: the {name} loss is {loss} after {done}; lower {rates} "
            "and give another --run."
        )


def _refuse_diverged(name: str, loss: float, num_steps: int) -> None:
    refuse_diverged("training", name, loss, f"{num_steps} steps", "train.learning_rate")


def _mean(total: Tensor, count: int) -> float:
    return float(total) / max(1, count)


def _lessons_of(path: Path, data: Path) -> Lessons:
    lessons = Lessons.load(path)
    if lessons.text != checkpoint.sha256(data / SERVER_TEXT):
        raise UserError(f"The lessons {path} are of another text than {data}'s; make them for it.")
    return lessons


def initial_model(config: Config, data: Path, init: Path | None) -> Model:
    """Seeded random weights, or those of a run or bundle with the same shape and tokenizer."""
    if init is None:
        return Model(config.model, seed=config.train.seed)
    start = checkpoint.load(init)
    if start.model_config != config.model:
        raise UserError(
            f"{init} holds a model of another shape than the preset; choose the preset it was made with."
        )
    if (start.folder / "tokenizer.model").read_bytes() != (data / "tokenizer.model").read_bytes():
        raise UserError(
            f"{init} was made with another tokenizer than {data}; prepare the data it was trained on."
        )
    if not all(tensor.isfinite().all() for tensor in start.weights.values()):
        raise UserError(f"{init} holds weights that are no numbers; start from another.")
    return start.model()


def _resume(run: Path, trainer: Trainer) -> tuple[int, float, int]:
    """Puts back the newest checkpoint; returns its step and the loss sums since the last line of metrics."""
    processes = trainer.processes
    folder = checkpoint.latest(run)
    if folder is None:
        processes.once(lambda: checkpoint.trim_metrics(run, 0))
        return 0, 0.0, 0
    saved = checkpoint.read(folder)
    trainer.model.load_state_dict(saved.weights)
    state = {name: tensor.to(processes.device) for name, tensor in saved.state.items()}
    optim.restore_state(trainer.model, trainer.optimizer, state)
    processes.once(lambda: checkpoint.trim_metrics(run, saved.step))
    log.info("going on after step %d of %s", saved.step, run)
    return saved.step, saved.counters["nll"], saved.counters["targets"]
