"""The average of several runs: one model, often better than each of those that it is made of.

In: finished runs of one shape, one tokenizer and one start; bundles of such. Out: a run folder like any
other. Next stop: `fedkey_export.graph`.

Runs that go on from the same trained weights stay in one valley of the loss (2008.11687), where a model soup
(2203.05482) is as good a model as they are: what each learnt of its own batches or cohorts beside what all
learnt is noise, and the mean has less of it. Unlike an ensemble it costs a phone nothing. Runs that began
apart have no valley in common. Measured (`server/EXPERIMENTS.md`): two federations of 3.847 and 3.865 nats a
piece have an average of 3.829 if both went on from one model; if not, 3.847 and 3.886 have one of 3.848. A
start that came of the other's end is near enough: models of three cycles, each trained on from the average of
those before, have 3.829, 3.811 and 3.821, and their average 3.789.

An average of private runs is refused. Every phone pays for every run that it may have been in, so that its
ledger would have to be the sum of theirs, and the ledger of a bundle tells of one run.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedkey.errors import UserError
from fedkey.files import whole
from fedkey_server import checkpoint
from fedkey_server.checkpoint import CARRIED, Checkpoint
from fedkey_server.objectives import CAUSAL

AVERAGE = "average"
"""Kind of the run."""
RUNS = "runs"
"""Where its configuration says what each of the runs was."""
STEP = 0
"""An average takes no step."""


def mean(models: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The uniform soup: every weight is the mean of what it is in the models (2203.05482, section 2).

    The values of a weight are added up in float64, from the least to the greatest: the models have the same
    mean in any order and on any number of threads, and the mean of equal models is that model to the bit.

    Args:
        models: name -> weight, of at most 32 bits; the result has the same types.

    Raises:
        ValueError: there is no model, they differ in names, shapes or types, or a weight is no float.
    """
    if not models:
        raise ValueError("no models have no mean")
    first = models[0]
    for model in models[1:]:
        if _kinds(model) != _kinds(first):
            raise ValueError("the models hold weights of other names, shapes or types")
    if not all(tensor.is_floating_point() for tensor in first.values()):
        raise ValueError("only floats have a mean")
    return {name: _mean([model[name] for model in models]) for name in first}


def _kinds(model: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in model.items()}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    least, *greater = torch.stack([tensor.double() for tensor in tensors]).sort(dim=0).values
    for values in greater:
        least = least + values
    return (least / len(tensors)).to(tensors[0].dtype)


@dataclass(frozen=True)
class Finished:
    """A run, or what was exported of one, that goes into an average."""

    folder: Path
    model: Checkpoint
    init: str | None
    """Digest of the weights it started from; None if these were random, or if it is a bundle, which does not
    tell."""
    file_sha256: str
    """Digest of its own weights' file, which is the `init` of whatever started from it."""

    @property
    def is_bundle(self) -> bool:
        """Whether its weights come from a bundle: in int8 as a phone has them, mostly."""
        return self.model.kind == "bundle"

    @property
    def objective(self) -> str:
        """What it was trained for; runs older than the choice predict from the left."""
        return str(self.model.config.get("train", {}).get("objective", CAUSAL))


def read_finished(run: Path) -> Finished:
    """A run as it ended, or a bundle.

    Raises:
        UserError: it is neither, is not finished, is damaged, or is private.
    """
    model = checkpoint.load(run)
    done = None if model.kind == "bundle" else checkpoint.read_done(run)
    # A trunk that was given more steps has the done.json of its first end until it reaches the next.
    if model.kind != "bundle" and (done is None or done["step"] != model.step):
        raise UserError(f"{run} is not finished; let it go on to its end, or leave it out.")
    if model.privacy is not None or model.config.get("privacy", {}).get("mode", "none") != "none":
        epsilon = None if model.privacy is None else model.privacy.get("epsilon")
        spent = f", with epsilon {epsilon:.3g}" if isinstance(epsilon, int | float) else ""
        raise UserError(
            f"{run} is private{spent}, and an average would cost its phones the sum of what all the runs "
            "cost them, which no run's ledger tells; average runs without privacy."
        )
    if not all(tensor.isfinite().all() for tensor in model.weights.values()):
        raise UserError(f"{run} ended with weights that are no numbers; leave it out.")
    model.model()  # or its weights are not those of the shape that it names
    file_sha256 = checkpoint.sha256(checkpoint.weights_file(run))
    init = None if model.kind == "bundle" else checkpoint.read_object(run / "config.json").get("init")
    return Finished(run, model, init, file_sha256)


def average(runs: Sequence[Path], out: Path) -> list[Finished]:
    """Makes the run folder `out` of the mean of `runs`, and returns these; does nothing if it is there.

    A run that is named twice counts twice.

    Args:
        runs: run folders and bundles, one run at least: a bundle does not hold what `out` has to.

    Raises:
        UserError: there are fewer than two runs, one cannot be averaged, or not with the others, or `out` is
            taken. Nothing is left behind then.
    """
    if len(runs) < 2:
        raise UserError("An average needs two runs at least; give more of them.")
    finished = [read_finished(run) for run in runs]
    like = next((each for each in finished if not each.is_bundle), None)
    if like is None:
        raise UserError(
            f"{_listed(runs)} are bundles, which lack the word list of their data; give one run folder at "
            "least."
        )
    for other in finished:
        _check_alike(like, other)
    described = _described(finished, like)
    out = Path(os.path.abspath(out))  # "." has no name to write beside
    if not _is_there(out, described):
        try:
            weights = mean([each.model.weights for each in finished])
        except ValueError as error:
            raise UserError(f"{_listed(runs)} have no mean: {error}.") from error
        _write(out, described, weights, like)
    return finished


def is_of_one_start(runs: Sequence[Finished]) -> bool:
    """Whether all runs are known to have begun at the same trained weights, or at those of one of them."""
    common = set.intersection(*({run.init, run.file_sha256} for run in runs))
    return bool(common - {None})


def record(run: Path, figures: Mapping[str, Any]) -> None:
    """Writes what was measured of an average, in place of what was measured before."""
    row = {"step": STEP, **figures}
    with whole(run / "metrics.jsonl") as beside:
        beside.write_text(json.dumps(row) + "\n", encoding="utf-8")
    checkpoint.write_json(run / "done.json", row)


def _listed(runs: Sequence[Path]) -> str:
    return ", ".join(map(str, runs[:-1])) + f" and {runs[-1]}"


def _check_alike(first: Finished, other: Finished) -> None:
    """`UserError` if weights of the two do not mean the same."""
    shape, other_shape = asdict(first.model.model_config), asdict(other.model.model_config)
    for name, value in shape.items():
        if other_shape[name] != value:
            raise UserError(
                f"{other.folder} has another shape than {first.folder} (model.{name} {other_shape[name]!r}, "
                f"not {value!r}); average runs of one shape."
            )
    # What the weights speak of is the tokenizer's; a bundle has no other of these files.
    for name in ("tokenizer.model",) if other.is_bundle else CARRIED:
        if checkpoint.sha256(other.folder / name) != checkpoint.sha256(first.folder / name):
            raise UserError(
                f"{other.folder} was made of other data than {first.folder} (its {name} is another); average "
                "runs of one data folder."
            )
    if other.objective != first.objective:
        raise UserError(
            f"{other.folder} was trained for another objective than {first.folder} ({other.objective}, not "
            f"{first.objective}); average runs of one objective."
        )


def _described(runs: Sequence[Finished], like: Finished) -> dict[str, Any]:
    """config.json of an average made of the files of `like`, whatever the order of its runs: what all of them
    were told, and of each what it was and what else it was told."""
    configs = [{name: value for name, value in run.model.config.items() if name != RUNS} for run in runs]
    common = _common(configs)
    told = [
        {
            "name": run.folder.resolve().name,
            "kind": run.model.kind,
            **run.model.counted(),
            "weights_sha256": run.model.weights_sha256(),
            "init": run.init,
            "config": _beside(run.model.config, common),
        }
        for run in runs
    ]
    inits = {run.init for run in runs}
    return {
        "kind": AVERAGE,
        "config": {**common, RUNS: sorted(told, key=lambda each: (each["name"], each["weights_sha256"]))},
        "data": {name: checkpoint.sha256(like.folder / name) for name in CARRIED},
        "init": inits.pop() if len(inits) == 1 else None,
        "after_phones": any(checkpoint.knows_phones(run.folder) for run in runs),
    }


def _common(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all say, section by section."""
    first, *others = configs
    common = {}
    for name, value in first.items():
        values = [value, *(other[name] for other in others if name in other)]
        if len(values) < len(configs):
            continue
        if all(isinstance(each, Mapping) for each in values):
            common[name] = _common(values)
        elif all(each == value for each in values):
            common[name] = value
    return common


def _beside(config: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """What one says beside what all say."""
    beside = {}
    for name, value in config.items():
        if name not in common:
            beside[name] = value
        elif isinstance(value, Mapping) and (more := _beside(value, common[name])):
            beside[name] = more
    return beside


def _is_there(out: Path, described: Mapping[str, Any]) -> bool:
    """Whether the average is made already; `UserError` if `out` is something else."""
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found != json.loads(json.dumps(described)):
        raise UserError(
            f"{out} exists and is not the average of these runs; give another --run or delete it."
        )
    return True


def _write(out: Path, described: dict[str, Any], weights: dict[str, Tensor], like: Finished) -> None:
    """The whole folder beside, then renamed into place."""
    beside = out.with_name(f".{out.name}.new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        for name in CARRIED:
            shutil.copyfile(like.folder / name, beside / name)
        checkpoint.write_json(beside / "config.json", described)
        checkpoint.save(beside, STEP, weights, {}, {}, like.model.model_config)
        record(beside, {})
        os.rename(beside, out)
    except OSError as error:
        raise UserError(f"Cannot write the run folder {out}: {error.strerror}.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
