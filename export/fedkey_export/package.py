"""A run becomes a bundle: written beside, verified, renamed into place.

In: a run folder. Out: a bundle folder that reproduces the run's newest checkpoint, or none at all. Next stop:
`fedkey_export.verify`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fedkey.bundle import (
    CORRECTION,
    DICTIONARY,
    FEATURES,
    INFILL,
    MANIFEST,
    MIXTURE,
    MODEL,
    NGRAM_ARRAYS,
    SHARED_CACHE,
    SPECIAL_IDS,
    TOKENIZER,
    Bundle,
    FileEntry,
    Manifest,
    ModelEntry,
    format_of,
    lexicon_file,
    ngram_file,
    open_bundle,
    read_manifest,
)
from fedkey.dictionary import as_bits
from fedkey.errors import UserError
from fedkey.lexicon import Lexicon
from fedkey.number_tables import rounded
from fedkey.pieces import Pieces
from fedkey.text import TEXT_RULES_VERSION
from fedkey_export.graph import build_graph
from fedkey_export.lexicon_arrays import build_arrays, read_rows
from fedkey_export.normaliser import usual_log_normaliser
from fedkey_export.quantize import Floats
from fedkey_export.verify import Figures, verify, verify_words
from fedkey_server import dictionary, objectives
from fedkey_server.checkpoint import Checkpoint, load, read_json
from fedkey_server.model import Model

TREE_SLOTS = 64
"""Room behind the window for candidates; twice the largest tree that the decoder builds."""

LEXICON = "lexicon.tsv"
REPLACED = "replaced"
NUM_DIGITS = 4
"""Of the figures in a manifest: the rest is noise."""
LANGUAGES = ("en",)
LAYOUT = "qwerty"


def export(
    run: Path, bundle: Path, *, precision: str = "int8", data: Path | None = None, replace: bool = False
) -> Bundle:
    """Exports the newest checkpoint of a run.

    Args:
        run: a run folder of `fedkey-server train`, `federate` or `average`.
        bundle: where the bundle goes.
        precision: "int8" or "float32".
        data: the prepared data folder, for conversations to verify with. Without it the bundle is verified on
            text that the model itself generates.
        replace: whether an older bundle may stand at `bundle`; it gives way once the new one is verified.

    Returns:
        The bundle, opened.

    Raises:
        UserError: the run is not usable, the place is taken, or the bundle does not reproduce the checkpoint.
            Nothing is left behind then, and an older bundle is as it was.
    """
    checkpoint = load(run)
    if checkpoint.kind == "bundle":
        raise UserError(f"{run} is a bundle already; give the run folder it was exported from.")
    _check_objective(checkpoint)
    bundle = Path(os.path.abspath(bundle))  # "." has no name to write beside
    beside = bundle.with_name(f".{bundle.name}.new")
    conversations = find_conversations(data)
    model = _model(checkpoint, run)
    try:
        _restore(beside, bundle)
        _check_place(bundle, replace)
        bundle.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        try:
            # The float32 graph is verified in any case: it tells a wrong graph from a coarse quantisation.
            written = _write(beside / "float32", checkpoint, model, "float32")
            figures = _verify(written, checkpoint, model, conversations)
            if precision == "int8":
                written = _write(beside / "int8", checkpoint, model, "int8")
                figures = _verify(written, checkpoint, model, conversations)
            metrics = {
                "verification": rounded(asdict(figures), NUM_DIGITS),
                "training": rounded(_training_figures(checkpoint), NUM_DIGITS),
            }
            _write_manifest(written.path, dataclasses.replace(written.manifest, metrics=metrics))
            open_bundle(written.path)
            _move(written.path, bundle)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise UserError(f"Cannot write the bundle {bundle}: {error.strerror}.") from error
    return open_bundle(bundle)


def _check_place(bundle: Path, replace: bool) -> None:
    """`UserError` if something stands at `bundle` that must not be deleted."""
    if not os.path.lexists(bundle) or _is_empty_folder(bundle):
        return
    # Other programs have a manifest.json too; a graph beside it is what makes it ours.
    if not ((bundle / MANIFEST).is_file() and (bundle / MODEL).is_file()):
        raise UserError(f"{bundle} exists and is no bundle; give another place, or delete it.")
    if not replace:
        raise UserError(f"{bundle} holds a bundle already; add --replace, or give another place.")


def _model(checkpoint: Checkpoint, run: Path) -> Model:
    if not all(tensor.isfinite().all() for tensor in checkpoint.weights.values()):
        raise UserError(f"The newest checkpoint of {run} holds weights that are no numbers; train it again.")
    return checkpoint.model()


def _verify(bundle: Bundle, checkpoint: Checkpoint, model: Model, conversations: Path | None) -> Figures:
    verify_words(bundle, read_rows(checkpoint.folder / LEXICON), _right_words(checkpoint))
    return verify(bundle, model, conversations)


def _right_words(checkpoint: Checkpoint) -> list[str]:
    return dictionary.read(checkpoint.folder / dictionary.DICTIONARY)


def verify_against_run(bundle: Path, run: Path, *, data: Path | None = None) -> Figures:
    """Compares a bundle with the newest checkpoint of a run; `UserError` if it is of another, or differs."""
    opened, checkpoint = open_bundle(bundle), load(run)
    conversations = find_conversations(data)
    made_from = opened.manifest.provenance.get("weights_sha256")
    if made_from != checkpoint.weights_sha256():
        raise UserError(f"{bundle} was not made from the newest checkpoint of {run}; export the run again.")
    return _verify(opened, checkpoint, _model(checkpoint, run), conversations)


def find_conversations(data: Path | None) -> Path | None:
    """The `validation.jsonl` of a prepared data folder, to verify with."""
    if data is None:
        return None
    if not (data / "validation.jsonl").is_file():
        raise UserError(f"{data} is no prepared data folder: it holds no validation.jsonl.")
    return data / "validation.jsonl"


def _write(folder: Path, checkpoint: Checkpoint, model: Model, precision: str) -> Bundle:
    """All files of a bundle, the manifest last; opened as the phone opens it."""
    folder.mkdir(parents=True)
    (folder / "lexicon").mkdir()
    pieces = Pieces.open(checkpoint.folder / TOKENIZER)
    entry = _model_entry(checkpoint, precision)
    if pieces.vocab_size != entry.vocab_size:
        raise UserError(
            f"The tokenizer of {checkpoint.folder} has {pieces.vocab_size} pieces, its model "
            f"{entry.vocab_size}; train the run again."
        )
    rows = read_rows(checkpoint.folder / LEXICON)
    arrays = build_arrays(rows, pieces.encode_unit)
    for name, array in arrays.items():
        np.save(folder / lexicon_file(name), array, allow_pickle=False)
    np.save(folder / DICTIONARY, as_bits(_right_words(checkpoint)), allow_pickle=False)
    (folder / TOKENIZER).write_bytes(pieces.serialised)
    weights: Mapping[str, Floats] = {
        name: tensor.float().numpy() for name, tensor in checkpoint.weights.items()
    }
    log_normaliser = usual_log_normaliser(model, Lexicon(arrays, pieces.vocab_size))
    tokenizer_sha256 = hashlib.sha256(pieces.serialised).hexdigest()
    graph = build_graph(entry, weights, log_normaliser, tokenizer_sha256, checkpoint.model_config.horizons)
    (folder / MODEL).write_bytes(graph)
    _write_manifest(
        folder,
        Manifest(
            format=format_of(entry),
            features=_features(checkpoint, entry),
            languages=LANGUAGES,
            layout=LAYOUT,
            text_rules=TEXT_RULES_VERSION,
            special_ids=SPECIAL_IDS,
            files=_describe(folder),
            model=entry,
            num_words=len(rows),
            provenance=_provenance(checkpoint),
        ),
    )
    return open_bundle(folder)


def _model_entry(checkpoint: Checkpoint, precision: str) -> ModelEntry:
    config = checkpoint.model_config
    if config.head_size % 16:
        raise UserError(
            f"The model's head size {config.head_size} is not a multiple of 16, which the phone's attention "
            "needs; train with another model.num_heads."
        )
    try:
        return ModelEntry(
            precision=precision,
            vocab_size=config.vocab_size,
            width=config.width,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_size=config.head_size,
            hidden_width=config.hidden_width,
            window=config.window,
            cache_slots=config.window + TREE_SLOTS,
            rope_base=config.rope_base,
            norm_epsilon=config.norm_epsilon,
            attention=config.attention,
            span=config.span,
        )
    except ValueError as error:
        raise UserError(f"No phone could run this model: {error}; train another shape.") from error


def _check_objective(checkpoint: Checkpoint) -> None:
    """`UserError` if the model was trained to see what it predicts from more than the phone's graph shows."""
    objective = _objective(checkpoint)
    if objective not in objectives.FROM_THE_LEFT:
        raise UserError(
            f"{checkpoint.folder} was trained with train.objective {objective}, by which a model fills "
            f"blanks and cannot go on from the left; train with {objectives.INFILL}, which can do both."
        )


def _objective(checkpoint: Checkpoint) -> str:
    """What the run was trained for; runs older than the choice predict from the left."""
    train: Mapping[str, Any] = checkpoint.config.get("train", {})
    return str(train.get("objective", objectives.CAUSAL))


def _features(checkpoint: Checkpoint, entry: ModelEntry) -> tuple[str, ...]:
    """What a keyboard must know for this model, and what it may know."""
    unneeded = set()
    if entry.attention == "linear":
        unneeded.add(SHARED_CACHE)
    if _objective(checkpoint) != objectives.INFILL:
        unneeded.add(INFILL)
    return tuple(sorted(FEATURES - unneeded))


def _describe(folder: Path) -> dict[str, FileEntry]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {
        path.relative_to(folder).as_posix(): FileEntry(
            path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in files
    }


def _provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "kind": checkpoint.kind,
        **checkpoint.counted(),
        "weights_sha256": checkpoint.weights_sha256(),
        "config": _without_folders({**checkpoint.config, "model": asdict(checkpoint.model_config)}),
        "sources": _without_folders(read_json(checkpoint.folder / "sources.json")),
        "after_phones": checkpoint.after_phones,
        **({} if checkpoint.privacy is None else {"privacy": checkpoint.privacy}),
    }


def _without_folders(value: Any) -> Any:
    """The same JSON with absolute paths cut to their last part: a bundle tells nobody's folders."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(item) for item in value]
    if isinstance(value, str) and os.path.isabs(value):
        return os.path.basename(value)
    return value


def _training_figures(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the run's last validation before this checkpoint found."""
    try:
        lines = (checkpoint.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return {}
    known = [row for row in rows if row.get("step", row.get("round", 0)) <= checkpoint.step]
    found = (
        {key: value for key, value in row.items() if key.startswith("validation")} for row in reversed(known)
    )
    return next(filter(None, found), {})


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def replace_files(
    bundle: Path,
    without: Manifest,
    contents: Mapping[str, bytes],
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Changes some files of a finished bundle. All are written beside first: if there is no room for them,
    nothing was changed. Then come a manifest that does not name them, the files, and the manifest that does.
    Killed in between, the bundle is a whole one without them. What no manifest names any more is deleted at
    last, and so is what an earlier change that was killed had written beside.

    Args:
        bundle: its folder.
        without: the manifest of the bundle without these files.
        contents: path inside the bundle -> its bytes.
        metrics: those of the bundle with them; None for those it has without.

    Raises:
        UserError: they cannot be written.
    """
    entries = {
        name: FileEntry(len(content), hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    }
    complete = dataclasses.replace(
        without,
        files=dict(sorted({**without.files, **entries}.items())),
        metrics=without.metrics if metrics is None else metrics,
    )
    before = read_manifest(bundle).files
    optional = {MIXTURE, CORRECTION, DICTIONARY, *map(ngram_file, NGRAM_ARRAYS)}
    # The manifest twice: without the files, if some are replaced, and at last with them.
    steps = [(MANIFEST, without.to_json().encode("utf-8"))] if before.keys() & contents.keys() else []
    steps += [*contents.items(), (MANIFEST, complete.to_json().encode("utf-8"))]
    names = {MANIFEST} | before.keys() | optional | complete.files.keys()
    beside = [_beside(bundle / name, str(number)) for number, (name, _) in enumerate(steps)]
    try:
        _tidy(bundle, names)  # before, as it takes room
        for written, (_, content) in zip(beside, steps, strict=True):
            written.parent.mkdir(exist_ok=True)
            written.write_bytes(content)
        for written, (name, _) in zip(beside, steps, strict=True):
            os.replace(written, bundle / name)
        for name in names - complete.files.keys() - {MANIFEST}:
            (bundle / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"Cannot write into the bundle {bundle}: {error.strerror}; make room, or see that its folder may "
            "be written, and give the same command again."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # what went wrong first is told, and the next change tidies up
            _tidy(bundle, names)
    open_bundle(bundle)


def _beside(path: Path, number: str) -> Path:
    """Where a file's new content waits to be renamed."""
    return path.with_name(f".{path.name}.{number}.new")


def _tidy(bundle: Path, names: Iterable[str]) -> None:
    """Deletes what waits beside these files of a bundle, and their folders if nothing else was in them."""
    for name in names:
        path = bundle / name
        for written in path.parent.glob(_beside(path, "*").name):
            written.unlink(missing_ok=True)
    for folder in {(bundle / name).parent for name in names} - {bundle}:
        with contextlib.suppress(OSError):  # there is none, or there are files in it
            folder.rmdir()


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _move(made: Path, bundle: Path) -> None:
    """Renames a finished bundle into place; the one it replaces goes first, and goes whole."""
    old = made.with_name(REPLACED)
    if not _is_empty_folder(bundle) and os.path.lexists(bundle):
        os.rename(bundle, old)
    try:
        os.rename(made, bundle)
    except OSError:
        if old.exists():
            os.rename(old, bundle)
        raise


def _restore(beside: Path, bundle: Path) -> None:
    """Puts back the older bundle if an export was killed between the two renames of `_move`."""
    if (beside / REPLACED).exists() and not os.path.lexists(bundle):
        os.rename(beside / REPLACED, bundle)
