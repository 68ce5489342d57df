"""Run folders and checkpoints: what training writes, so that any kill loses nothing but the last few steps.

In: weights, optimizer state, counters. Out: folders that are complete or absent. Next stop:
`fedkey_server.phones`.

    RUN/config.json                 resolved configuration of the run, and fingerprints of what it reads
    RUN/tokenizer.model, lexicon.tsv, dictionary.txt, sources.json
                                    copied from the data, so that a run is all an export needs
    RUN/metrics.jsonl               one JSON object per measurement
    RUN/checkpoints/00000400/       weights, optimizer state, counters; renamed into place when complete
    RUN/done.json                   final figures, written when the run is finished
    RUN/lock                        held by the process that works on the run; empty
    RUN/noise.key                   of a private federation that is not finished, mode 0600
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedkey.errors import UserError
from fedkey.files import whole
from fedkey_server.model import Model, ModelConfig

COMPLETE = "complete.json"
"""File of a data folder: the settings that it was prepared with, and digests of its files."""
CARRIED = ("tokenizer.model", "lexicon.tsv", "dictionary.txt", "sources.json")
UNITS = {"train": "steps", "federate": "rounds"}
"""Kind of a run -> what it counts."""
NOISE_KEY = "noise.key"
"""Of a private run until it is finished. Whoever has it can take the noise off."""
KEPT = 2
"""Checkpoints kept: the newest, and the one before it in case a disk lied about the newest."""


@dataclass(frozen=True)
class Checkpoint:
    """A model at some moment of a run, or one read back from a bundle."""

    model_config: ModelConfig
    weights: dict[str, Tensor]
    config: dict[str, Any]
    """Resolved configuration of the run it came from."""
    step: int
    """Steps (train) or rounds (federate) done; 0 of an average."""
    kind: str
    """"train", "federate", "average" or "bundle"."""
    folder: Path
    """Where tokenizer.model and, of a run, the other files in `CARRIED` lie."""
    privacy: dict[str, Any] | None = None
    """What a private federation had spent by then: the line of its ledger, which a bundle carries on."""
    after_phones: bool = False
    """Whether what it started from, or went into it, had learned from phones."""

    def model(self) -> Model:
        """A model with these weights."""
        model = Model(self.model_config)
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            raise UserError(
                f"{self.folder} does not hold the weights of the model that it describes; make it again."
            ) from error
        return model

    def counted(self) -> dict[str, int]:
        """How far it is, as {"steps": 800} or {"rounds": 80}; an average and a bundle count nothing."""
        return {UNITS[self.kind]: self.step} if self.kind in UNITS else {}

    def weights_sha256(self) -> str:
        """One number for the weights, whatever file they lie in."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.weights.items()):
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.float().contiguous().numpy().tobytes())
        return digest.hexdigest()


def refuse_unwritable(path: Path) -> None:
    """Makes the folder of a file that will be written after long work; `UserError` if it could not be."""
    if path.is_dir():
        raise UserError(f"Cannot write {path}: it is a folder; name a file in it.")
    beside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}; name another file.") from error


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole."""
    with whole(path) as beside:
        beside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file that fedkey wrote; `UserError` if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON; delete its folder and start again.") from error


def read_object(path: Path) -> dict[str, Any]:
    """The same for a file that holds one JSON object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is no JSON object; delete its folder and start again.")
    return value


def read_done(run: Path) -> dict[str, Any] | None:
    """The final figures of a run, "step" among them; None if it is not finished, `UserError` if they are
    damaged."""
    path = run / "done.json"
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    if (final := _row(text)) is None:
        raise UserError(f"{path} is damaged; delete it, and the run measures its end again.")
    return final


def start_run(
    run: Path,
    config: dict[str, Any],
    kind: str,
    data: Path,
    reads: Sequence[str],
    init: Path | None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Makes a run folder, or checks that an existing one was made of the same things.

    Args:
        config: the resolved configuration.
        kind: "train" or "federate".
        data: folder made by `fedkey_server.prepare`.
        reads: files of `data` that the run reads beside those in `CARRIED`.
        init: run or bundle that the run starts from.
        check: refuses what a new run could not begin with, before anything of it is written: a folder that
            was left behind would stand in the way of the run that was meant.

    Raises:
        UserError: the folder holds another run, the data folder is not prepared, `init` is no start, or what
            `check` refuses.
    """
    needed = [*CARRIED, *reads]
    missing = [name for name in needed if not (data / name).exists()]
    if missing:
        raise UserError(f"{data} lacks {', '.join(missing)}; run 'fedkey-server prepare' first.")
    described = {
        "kind": kind,
        "config": config,
        "data": {name: sha256(data / name) for name in needed},
        "init": None if init is None else sha256(weights_file(init)),
        "after_phones": init is not None and knows_phones(init),
    }
    config_path = run / "config.json"
    if config_path.exists():
        # It follows from `init`, and older runs do not tell.
        older = read_object(config_path) | {"after_phones": described["after_phones"]}
        told = older.get("config")
        older["config"] = _as_of_now(told if isinstance(told, dict) else {}, config)
        difference = _difference(older, json.loads(json.dumps(described)))
        if difference is not None:
            raise UserError(
                f"{run} holds a run with other settings ({difference}); give another --run or delete it."
            )
        return
    check()
    try:
        run.mkdir(parents=True, exist_ok=True)
        for name in CARRIED:
            with whole(run / name) as beside:
                shutil.copyfile(data / name, beside)
        write_json(config_path, described)
    except OSError as error:
        raise UserError(
            f"Cannot make the run folder {run}: {error.strerror}; make room or give another --run."
        ) from error


def refuse_shorter_window(data: Path, window: int) -> None:
    """`UserError` for a model whose window documents of a data folder do not fit. A folder that is not
    complete, such as one made by hand, does not tell."""
    path = data / COMPLETE
    prepared = read_object(path).get("window") if path.exists() else None
    if isinstance(prepared, int) and window < prepared:
        raise UserError(
            f"{data} was prepared for a window of {prepared}, and model.window is {window}; prepare the data "
            f"for it in another folder, or set model.window={prepared}."
        )


LOCK = "lock"
"""A file of a run, of data and of a registry of releases; whoever works on the folder holds it. A killed
process does not."""


def hold(folder: Path) -> IO[bytes]:
    """Keeps other processes off a folder for as long as what is returned stays open.

    Two that went on with one run would mix their checkpoints, and a private federation would add the same
    noise to two sums; two that prepared the same data would delete each other's files.

    Raises:
        UserError: another process is at work on it, or nothing can be written there.
    """
    try:
        file = (folder / LOCK).open("wb")
    except OSError as error:
        raise UserError(f"Cannot write {folder / LOCK}: {error.strerror}; give another folder.") from error
    try:
        import fcntl  # not on Windows, where nobody is kept off
    except ImportError:
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UserError(
            f"Another process is at work on {folder}; wait for it, or give another folder."
        ) from error
    except OSError:
        return file  # some network folders have no locks; there, too, nobody is kept off
    return file


def _as_of_now(older: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the defaults of what a run is too old to know, and this one names; without what an
    older run told, and this one does not name since it does not read it."""
    from fedkey_server.config import Config, to_dict

    filled = dict(older)
    for name, defaults in to_dict(Config()).items():
        told = filled.pop(name, {})
        if name in config:
            named = config[name]
            known = {key: value for key, value in defaults.items() if key in named}
            kept = {key: value for key, value in told.items() if key in named or key not in defaults}
            filled[name] = known | kept
    return filled


def sha256(path: Path) -> str:
    """Digest of a file in hexadecimal; `UserError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


def _difference(old: Any, new: Any, path: str = "") -> str | None:
    """The first place where two JSON values differ, in words."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            found = _difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
            if found is not None:
                return found
        return None
    if old == new:
        return None
    top, _, name = path.partition(".")
    if top == "data":
        return f"its {name} was another"
    if top == "init":
        return "it started from other weights"
    return f"{name or top} was {old!r} and is now {new!r}"


def save(
    run: Path,
    step: int,
    weights: dict[str, Tensor],
    state: dict[str, Tensor],
    counters: dict[str, Any],
    model_config: ModelConfig,
) -> Path:
    """Writes one checkpoint beside and renames it into place, then drops the oldest ones.

    Args:
        state: optimizer state and random-number states as flat tensors; what resuming needs beyond the
            weights.
        counters: anything small that JSON can hold.

    Raises:
        UserError: it cannot be written; the checkpoint before is whole.
    """
    folder = run / "checkpoints" / f"{step:08d}"
    beside = folder.with_name(folder.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        for name, tensors in (("model", weights), ("state", state)):
            save_file(
                {each: tensor.detach().contiguous() for each, tensor in tensors.items()},
                beside / f"{name}.safetensors",
            )
        write_json(beside / "state.json", {"step": step, "model": asdict(model_config), "counters": counters})
        for path in beside.iterdir():
            _flush(path)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"Cannot write the checkpoint {folder}: {reason}; make room and give the same command again, "
            "which goes on from the one before."
        ) from error
    os.rename(beside, folder)
    _flush(folder.parent)
    for old in _complete(run)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _complete(run: Path) -> list[Path]:
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.isdigit())


def latest(run: Path) -> Path | None:
    """The newest complete checkpoint of a run."""
    complete = _complete(run)
    return complete[-1] if complete else None


class Saved(NamedTuple):
    """What `save` wrote."""

    step: int
    weights: dict[str, Tensor]
    state: dict[str, Tensor]
    counters: dict[str, Any]
    model_config: ModelConfig


def read(folder: Path) -> Saved:
    """Reads one checkpoint folder; `UserError` if it is damaged."""
    try:
        info = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return Saved(
            info["step"],
            load_file(folder / "model.safetensors"),
            load_file(folder / "state.safetensors"),
            info["counters"],
            ModelConfig(**info["model"]),
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        # A private round may have left the server: done again it would add the same noise to another sum.
        is_private = (folder.parent.parent / NOISE_KEY).exists()
        remedy = "start another run" if is_private else "delete it to go on from the one before"
        raise UserError(f"The checkpoint {folder} cannot be read ({reason}); {remedy}.") from error


def load(source: Path) -> Checkpoint:
    """The newest checkpoint of a run folder, or the weights of a bundle folder.

    Raises:
        UserError: the folder is neither, or holds no checkpoint yet.
    """
    if (source / "manifest.json").exists():
        return _load_bundle(source)
    folder = weights_file(source).parent
    described = read_object(source / "config.json")
    saved = read(folder)
    return Checkpoint(
        saved.model_config,
        saved.weights,
        described["config"],
        saved.step,
        described["kind"],
        source,
        saved.counters.get("row", {}).get("privacy"),
        _is_after_phones(described),
    )


def config_of(source: Path) -> dict[str, Any]:
    """The resolved configuration of a run or bundle, without reading its weights; empty if it tells none."""
    if (source / "manifest.json").exists():
        told = read_object(source / "manifest.json").get("provenance")
        config = told.get("config") if isinstance(told, dict) else None
    elif (source / "config.json").exists():
        config = read_object(source / "config.json").get("config")
    else:
        config = None
    return config if isinstance(config, dict) else {}


def knows_phones(source: Path) -> bool:
    """Whether a run or bundle has learned from phones, itself or what it started from.

    A private federation's ledger counts what that federation spent. It is all that the model tells of a phone
    only if the start told nothing.
    """
    if (source / "manifest.json").exists():
        told = read_object(source / "manifest.json").get("provenance")
    else:
        told = read_object(source / "config.json")
    return isinstance(told, dict) and (told.get("kind") == "federate" or _is_after_phones(told))


def _is_after_phones(told: Mapping[str, Any]) -> bool:
    """By what a run or bundle tells of itself; averages that do not tell were of federations, mostly."""
    return bool(told.get("after_phones", told.get("kind") == "average"))


def weights_file(source: Path) -> Path:
    """The file in a run or bundle folder that holds its weights."""
    if (source / "manifest.json").exists():
        return source / "model.onnx"
    if not (source / "config.json").exists() or "kind" not in read_object(source / "config.json"):
        raise UserError(f"{source} is neither a run folder nor a bundle.")
    folder = latest(source)
    if folder is None:
        raise UserError(f"The run {source} has no checkpoint yet; let it train first.")
    return folder / "model.safetensors"


def _load_bundle(source: Path) -> Checkpoint:
    from fedkey.bundle import open_bundle
    from fedkey_server.bundle_weights import read_weights

    bundle = open_bundle(source)
    entry = bundle.manifest.model
    model_config = ModelConfig(**{field.name: getattr(entry, field.name) for field in fields(ModelConfig)})
    arrays = read_weights(bundle.model_bytes(), entry)
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    origin = bundle.manifest.provenance
    config, privacy = origin.get("config"), origin.get("privacy")  # free-form: others may write them, too
    return Checkpoint(
        model_config,
        weights,
        config if isinstance(config, dict) else {},
        0,
        "bundle",
        source,
        privacy if isinstance(privacy, dict) else None,
        _is_after_phones(origin),
    )


def append_metrics(run: Path, row: dict[str, Any]) -> None:
    """Adds one line to metrics.jsonl."""
    with open(run / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def last_told(run: Path) -> int:
    """The last step that metrics.jsonl tells of; 0 if it tells of none."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return 0
    rows = map(_row, path.read_text(encoding="utf-8", errors="replace").splitlines())
    return max((row["step"] for row in rows if row is not None), default=0)


def trim_metrics(run: Path, step: int) -> None:
    """Drops the lines of steps after `step`: they belong to work that was killed and is about to be done
    again."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        row = _row(line)  # the last line of a killed process may be cut off
        if row is not None and row["step"] <= step:
            kept.append(line + "\n")
    with whole(path) as beside:
        beside.write_text("".join(kept), encoding="utf-8")


def _row(text: str) -> dict[str, Any] | None:
    """What stands in a line of metrics or in done.json, if it is about a step."""
    try:
        row = json.loads(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
