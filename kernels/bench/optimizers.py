"""Does Sophia help here? Sophia-G, AdamW, Muon and Lion on chat, with the same tuning budget each.

In: a prepared data folder. Out: run folders, and a table of how soon each optimizer reaches AdamW's final
loss. Next stop: `server/EXPERIMENTS.md`, which holds the table of a real run.

Every optimizer gets the same number of trials, one seed each: four learning rates on a grid by factors of
two, then two values of the setting that its authors name next, at the best rate. The best trial is repeated
with two more seeds. A seed fixes first weights, order of text, sampled labels and validation rows, so that
seeds pair the optimizers. All runs have the same number of steps, warm-up, cosine and batch; a run that was
killed goes on.

Steps to AdamW's final loss are read off the validation curve of the same seed by linear interpolation. FLOPs
add what an optimizer computes beyond a gradient; seconds add what it takes on this machine, measured side by
side.

    python kernels/bench/optimizers.py --data DATA --runs RUNS [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from fedkey_server import config as configuration
from fedkey_server.batches import BatchStream, Documents, pack
from fedkey_server.config import Config
from fedkey_server.model import Model
from fedkey_server.train import SERVER_TEXT, Trainer, train

SIZES = {
    "0.2M": ("width=32", "num_layers=2", "num_heads=1", "num_key_value_heads=1", "hidden_width=88"),
    "0.4M": ("width=64", "num_layers=2", "num_heads=2", "num_key_value_heads=1", "hidden_width=176"),
    "1.1M": (),
}
"""What differs from the tiny preset's model."""
CARRIED_OVER = ("1.1M",)
"""Sizes that take over the settings of the one before and search three learning rates only."""

COMMON = (
    "train.batch_rows=16",
    "train.warmup_steps=20",
    "train.validate_every=20",
    "train.validation_rows=64",
    "train.checkpoint_every=100000",
)

# For each optimizer the settings beside the searched ones, four rates, and two values of one more setting.
# Where the grids lie comes from a pilot of 120 steps: with the published momentum of 0.965 Sophia stayed at
# the loss of word frequencies for three times as long as with 0.9, and with a clipping scale of 0.05 every
# entry is clipped. Decay: AdamW and Muon 0.1, Sophia 0.2 (2305.14342), Lion ten times AdamW's (2302.06675,
# section 5).
SEARCH: dict[str, tuple[tuple[str, ...], tuple[float, ...], tuple[str, ...]]] = {
    "adamw": (
        ("train.beta1=0.9", "train.beta2=0.95", "train.weight_decay=0.1"),
        (2e-3, 4e-3, 8e-3, 1.6e-2),
        ("train.beta2=0.98", "train.beta2=0.99"),
    ),
    "sophia": (
        ("train.beta1=0.9", "train.beta2=0.99", "train.weight_decay=0.2", "train.rho=0.05"),
        (5e-4, 1e-3, 2e-3, 4e-3),
        ("train.rho=1.0", "train.rho=10.0"),
    ),
    "lion": (
        ("train.beta1=0.9", "train.beta2=0.99", "train.weight_decay=1.0"),
        (5e-4, 1e-3, 2e-3, 4e-3),
        ("train.beta2=0.95", "train.beta2=0.9"),
    ),
    "muon": (
        ("train.beta1=0.95", "train.beta2=0.95", "train.weight_decay=0.1"),
        (8e-3, 1.6e-2, 3.2e-2, 6.4e-2),
        ("train.beta1=0.9", "train.weight_decay=0.03"),
    ),
}
RATE = "train.learning_rate="
SEEDS = (1, 2, 3)
STUDENT_T = 4.303
"""Two-sided 95 % of Student's t with two degrees of freedom, for three seeds."""


class Trial(NamedTuple):
    """A run of the search, by its loss."""

    loss: float
    settings: tuple[str, ...]


def resolved(size: str, optimizer: str, settings: Iterable[str], seed: int, num_steps: int) -> Config:
    """The configuration of one run."""
    fixed = (f"train.optimizer={optimizer}", f"train.seed={seed}", f"train.num_steps={num_steps}")
    return configuration.load(
        "tiny", [*(f"model.{setting}" for setting in SIZES[size]), *COMMON, *fixed, *settings]
    )


def run_trial(
    runs: Path, data: Path, size: str, optimizer: str, settings: tuple[str, ...], seed: int, num_steps: int
) -> list[tuple[int, float]]:
    """Trains, or reads what an earlier process trained; the validation curve as (step, loss)."""
    # Settings later in the list override earlier ones, so equal runs have equal names.
    chosen = dict(setting.removeprefix("train.").split("=") for setting in settings)
    name = "-".join(
        [size, optimizer, *(f"{key}={value}" for key, value in sorted(chosen.items())), f"seed={seed}"]
    )
    folder = runs / name
    train(resolved(size, optimizer, settings, seed, num_steps), data, folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["validation_loss"]) for line in lines]


def final(curve: list[tuple[int, float]]) -> float:
    """Loss at the last step; infinite if training diverged."""
    loss = curve[-1][1]
    return loss if math.isfinite(loss) else math.inf


def steps_to(curve: list[tuple[int, float]], target: float) -> float | None:
    """First step at which the curve comes down to `target`, between validations by a straight line."""
    before: tuple[int, float] | None = None
    for step, loss in curve:
        if loss <= target:
            if before is None:
                return float(step)
            return before[0] + (step - before[0]) * (before[1] - target) / (before[1] - loss)
        before = step, loss
    return None


def tune(
    runs: Path, data: Path, size: str, optimizer: str, num_steps: int, smaller: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[Trial]]:
    """The best settings of an optimizer at a size, and all trials.

    Args:
        smaller: the best settings at a smaller size, whose rate is divided by 1, 2 and 4; without them the
            whole grid is searched.
    """

    def attempt(settings: tuple[str, ...]) -> Trial:
        return Trial(final(run_trial(runs, data, size, optimizer, settings, SEEDS[0], num_steps)), settings)

    if smaller is not None:
        *others, rate = sorted(smaller, key=lambda setting: setting.startswith(RATE))
        rates = [float(rate.removeprefix(RATE)) / divisor for divisor in (1, 2, 4)]
        trials = [attempt((*others, f"{RATE}{rate}")) for rate in rates]
        return min(trials).settings, trials
    base, grid, extra = SEARCH[optimizer]
    trials = [attempt((*base, f"{RATE}{rate}")) for rate in grid]
    best = min(trials).settings
    for setting in extra:
        key = setting.partition("=")[0] + "="
        trials.append(attempt((*(other for other in best if not other.startswith(key)), setting)))
    return min(trials).settings, trials


def extra_flops(optimizer: str, model: Model, pieces: int, hessian_every: int) -> float:
    """FLOPs of an optimizer's step beyond the gradient, as a share of the gradient's, 6 per parameter and
    piece.

    Sophia: one more forward and backward every `hessian_every` steps. Muon: five Newton-Schulz steps of
    4 m^2 n + 2 m^3 for each m x n hidden matrix, m <= n. AdamW and Lion: a few per parameter, left out.
    """
    if optimizer == "sophia":
        return 1 / hessian_every
    if optimizer != "muon":
        return 0.0
    gradient = 6 * pieces * sum(p.numel() for p in model.parameters() if p.dim() == 2)
    shapes = [sorted(p.shape) for p in model.model.layers.parameters() if p.dim() == 2]
    return 5 * sum(4 * m * m * n + 2 * m**3 for m, n in shapes) / gradient


def seconds_per_step(size: str, best: dict[str, tuple[str, ...]], data: Path) -> dict[str, float]:
    """CPU seconds of a step, Sophia's curvature included: the optimizers take turns, and the median of their
    turns counts, so that a busy machine slows all alike."""
    trainers = {}
    for optimizer, settings in best.items():
        config = resolved(size, optimizer, settings, SEEDS[0], 1000)
        window = config.model.window
        stream = BatchStream(
            pack(Documents.load(data / SERVER_TEXT), window, window), config.train.batch_rows, 1
        )
        trainers[optimizer] = Trainer(config, Model(config.model, seed=1), stream)
    turns: dict[str, list[float]] = {optimizer: [] for optimizer in best}
    for turn in range(6):
        for optimizer, trainer in trainers.items():
            begun = time.process_time()
            for step in range(turn * 10, turn * 10 + 10):
                trainer.step(step)
            turns[optimizer].append((time.process_time() - begun) / 10)
    return {optimizer: statistics.median(times[1:]) for optimizer, times in turns.items()}


def interval(ratios: list[float]) -> str:
    """Geometric mean of paired ratios with a 95 % interval over seeds."""
    logs = [math.log(ratio) for ratio in ratios]
    middle = statistics.mean(logs)
    half = STUDENT_T * statistics.stdev(logs) / len(logs) ** 0.5
    return f"{math.exp(middle):.2f} [{math.exp(middle - half):.2f}, {math.exp(middle + half):.2f}]"


def mean_interval(values: list[float], digits: int = 3) -> str:
    """Mean with a 95 % interval over seeds."""
    middle, half = statistics.mean(values), STUDENT_T * statistics.stdev(values) / len(values) ** 0.5
    return f"{middle:+.{digits}f} [{middle - half:+.{digits}f}, {middle + half:+.{digits}f}]"


def compare(
    runs: Path,
    data: Path,
    size: str,
    optimizers: Sequence[str],
    num_steps: int,
    smaller: dict[str, tuple[str, ...]],
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The best settings at one size, and its tables."""
    best, tuning = {}, []
    for optimizer in optimizers:
        best[optimizer], trials = tune(
            runs, data, size, optimizer, num_steps, smaller[optimizer] if size in CARRIED_OVER else None
        )
        for loss, settings in sorted(trials):
            shown = ", ".join(settings).replace("train.", "")
            tuning.append(f"| {optimizer} | {shown} | {loss:.3f} |")
    curves = {
        optimizer: [run_trial(runs, data, size, optimizer, settings, seed, num_steps) for seed in SEEDS]
        for optimizer, settings in best.items()
    }
    config = resolved(size, "adamw", (), 1, num_steps)
    model = Model(config.model)
    num_parameters = sum(p.numel() for p in model.parameters())
    pieces = config.train.batch_rows * config.model.window
    seconds = seconds_per_step(size, best, data)
    targets = [final(curve) for curve in curves["adamw"]]
    lines = [
        f"### {size}: {num_parameters:,} parameters, {num_steps} steps of {pieces:,} pieces",
        "",
        "| optimizer | loss at the end | less AdamW's | steps to AdamW's loss, ratio | FLOPs | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for optimizer in best:
        ends = [final(curve) for curve in curves[optimizer]]
        row = [optimizer, f"{statistics.mean(ends):.3f}"]
        row.append(mean_interval([end - target for end, target in zip(ends, targets, strict=True)]))
        reached = [steps_to(curve, target) for curve, target in zip(curves[optimizer], targets, strict=True)]
        ratios = [steps / num_steps for steps in reached if steps is not None]
        if optimizer == "adamw":
            row = [*row[:2], "", "1", "1", "1"]
        elif len(ratios) < len(SEEDS):
            row += [f"not reached by {len(SEEDS) - len(ratios)} of {len(SEEDS)}", "", ""]
        else:
            flops = 1 + extra_flops(optimizer, model, pieces, config.train.hessian_every)
            slower = seconds[optimizer] / seconds["adamw"]
            row += [interval([ratio * factor for ratio in ratios]) for factor in (1, flops, slower)]
        lines.append(f"| {' | '.join(row)} |")
    lines += ["", "CPU seconds a step: " + ", ".join(f"{o} {s:.3f}" for o, s in seconds.items()) + ".", ""]
    lines += ["All trials, one seed:", "", "| optimizer | settings | loss |", "|---|---|---|", *tuning, ""]
    return best, lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder made by 'fedkey-server prepare'")
    parser.add_argument("--runs", type=Path, required=True, help="where run folders are kept")
    parser.add_argument("--steps", type=int, default=400, help="steps of every run (default 400)")
    parser.add_argument("--sizes", default=",".join(SIZES), help=f"some of {', '.join(SIZES)}")
    parser.add_argument("--out", type=Path, help="write the tables here instead of printing them")
    parser.add_argument(
        "--optimizers", default=",".join(SEARCH), help=f"AdamW and some of {', '.join(SEARCH)}"
    )
    arguments = parser.parse_args()
    sizes = arguments.sizes.split(",")
    if unknown := set(sizes) - set(SIZES):
        parser.error(f"unknown size {', '.join(sorted(unknown))}; choose from {', '.join(SIZES)}")
    optimizers = arguments.optimizers.split(",")
    if set(optimizers) - set(SEARCH) or "adamw" not in optimizers:
        parser.error(f"--optimizers takes adamw and some of {', '.join(SEARCH)}")
    torch.set_num_threads(1)
    lines: list[str] = []
    best: dict[str, tuple[str, ...]] = {}
    for size in sizes:
        best, table = compare(arguments.runs, arguments.data, size, optimizers, arguments.steps, best)
        lines += table
    text = "\n".join(lines)
    if arguments.out is None:
        print(text)
    else:
        beside = arguments.out.with_name(arguments.out.name + ".new")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
