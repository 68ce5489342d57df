"""Full, sliding and linear attention at a keyboard's lengths: what each predicts, and what it costs.

In: the tiny preset's text. Out: a table on standard output, and a run and a bundle for each cell. Next stop:
`server/EXPERIMENTS.md`.

    python server/bench/attention_options.py --out runs/attention [--data runs/demo/data] [--steps 200]

All models have the tiny preset's shape, seed and number of steps, and every step has 2,048 pieces. With
another context (`model.window`) the same conversations are cut into other documents, so that losses compare
within a context exactly and between contexts roughly. Whatever was cut goes on where it was.

Speeds are of one thread, each the best of rounds in which the options take turns, because a busy machine
slows down what happens to be measured: forward and backward of one step's rows in torch, and on the phone the
int8 bundle: one piece behind a full context, and a tree of candidates there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import torch

from fedkey.bundle import MANIFEST, open_bundle
from fedkey.model import LanguageModel
from fedkey_export.package import export
from fedkey_server import checkpoint
from fedkey_server.batches import SERVER_TEXT, Documents, pack
from fedkey_server.config import Config, load
from fedkey_server.model import ATTENTIONS, Model
from fedkey_server.prepare import prepare
from fedkey_server.step import to_batch
from fedkey_server.train import train

CONTEXTS = (64, 128, 256)
PIECES = 2048
"""In a step."""
VALIDATION_PIECES = 65_536
"""In rows drawn by the seed."""
TREE_NODES = 12
"""A usual tree of candidates: four words."""
ROUNDS = 7
"""In which a training step of every option is timed."""
PHONE_ROUNDS = 300


class Cell(NamedTuple):
    """What one model came to."""

    context: int
    attention: str
    loss: float
    """Of validation, nats a piece."""
    top1: float
    trained: float
    """Pieces a second, forward and backward."""
    piece_ms: float
    tree_ms: float
    cache_bytes: int


def config_of(context: int, attention: str, num_steps: int) -> Config:
    """The tiny preset with this attention at this context."""
    settings = {
        "model.window": context,
        "model.attention": attention,
        "train.batch_rows": PIECES // context,
        "train.num_steps": num_steps,
        "train.validation_rows": VALIDATION_PIECES // context,
        "train.validate_every": num_steps,
    }
    return load("tiny", [f"{key}={value}" for key, value in settings.items()])


def data_for(context: int, data: Path, out: Path) -> Path:
    """`data` if it was cut to this context, otherwise the preset's text prepared for it."""
    if checkpoint.read_json(data / "complete.json")["window"] == context:
        return data
    prepare(config_of(context, "full", 1), out / f"data-{context}")
    return out / f"data-{context}"


def bundle_of(run: Path) -> Path:
    """The run's bundle, exported if it is missing."""
    bundle = run.with_suffix(".bundle")
    if not (bundle / MANIFEST).exists():
        export(run, bundle)
    return bundle


def best_of(rounds: int, actions: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Seconds of each action: the shortest of so many rounds in which they take turns, the first of which is
    not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds + 1):
        for name, action in actions.items():
            begun = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - begun)
    return {name: min(each[1:]) for name, each in seconds.items()}


def training_rates(configs: Mapping[str, Config], data: Path) -> dict[str, float]:
    """Pieces a second of each option, padding not counted."""
    window = next(iter(configs.values())).model.window
    rows = pack(Documents.load(data / SERVER_TEXT), window, window).take(np.arange(PIECES // window))
    batch = to_batch(rows, torch.device("cpu"))
    models = {name: Model(config.model) for name, config in configs.items()}
    seconds = best_of(
        ROUNDS,
        {name: lambda model=model: model.loss(*batch).total.backward() for name, model in models.items()},
    )
    return {name: int((rows.document_ids >= 0).sum()) / each for name, each in seconds.items()}


def phone_times(phones: Mapping[str, LanguageModel]) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of a piece behind a full context, and of a tree there."""
    rng = np.random.default_rng(0)
    pieces: dict[str, Callable[[], Any]] = {}
    trees: dict[str, Callable[[], Any]] = {}
    for name, phone in phones.items():
        ids = rng.integers(4, phone.entry.vocab_size, size=phone.window).tolist()
        cache = phone.new_cache()
        phone.advance(cache, ids[:-1])

        def read_last(phone=phone, cache=cache, ids=ids) -> None:
            phone.rewind(cache, len(ids) - 1)
            phone.advance(cache, ids[-1:])

        nodes = rng.integers(4, phone.entry.vocab_size, size=TREE_NODES)
        parents = np.arange(TREE_NODES) - 1
        parents[:: TREE_NODES // 4] = -1
        asked = np.arange(TREE_NODES)
        pieces[name] = read_last
        trees[name] = lambda phone=phone, cache=cache, tree=(nodes, parents, asked, nodes): phone.score_tree(
            cache, *tree
        )
    return tuple(
        {name: 1000 * each for name, each in best_of(PHONE_ROUNDS, actions).items()}
        for actions in (pieces, trees)
    )


def cells_of(context: int, data: Path, out: Path, num_steps: int) -> list[Cell]:
    """Trains, exports and times the options at one context."""
    data = data_for(context, data, out)
    configs = {attention: config_of(context, attention, num_steps) for attention in ATTENTIONS}
    finals, phones = {}, {}
    for attention, config in configs.items():
        run = out / f"{attention}-{context}"
        finals[attention] = train(config, data, run)
        phones[attention] = LanguageModel(open_bundle(bundle_of(run)))
        print(context, attention, finals[attention], flush=True)
    rates = training_rates(configs, data)
    piece_ms, tree_ms = phone_times(phones)
    return [
        Cell(
            context,
            attention,
            finals[attention]["validation_loss"],
            finals[attention]["validation_top1"],
            rates[attention],
            piece_ms[attention],
            tree_ms[attention],
            phones[attention].new_cache().num_bytes,
        )
        for attention in configs
    ]


def table(cells: list[Cell]) -> str:
    """The cells in Markdown."""
    lines = [
        "| context | attention | loss | top-1 | pieces/s, trained | ms a piece | ms a tree | cache bytes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        lines.append(
            f"| {cell.context} | {cell.attention} | {cell.loss:.3f} | {cell.top1:.1%} | {cell.trained:,.0f} "
            f"| {cell.piece_ms:.2f} | {cell.tree_ms:.2f} | {cell.cache_bytes:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of runs, bundles and other cuts")
    parser.add_argument("--data", type=Path, default=Path("runs/demo/data"), help="the tiny preset's data")
    parser.add_argument("--steps", type=int, default=200, help="of training (default %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cells: list[Cell] = []
    for context in CONTEXTS:
        cells += cells_of(context, arguments.data, arguments.out, arguments.steps)
    print(table(cells))


if __name__ == "__main__":
    main()
