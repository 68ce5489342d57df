"""What each objective is worth inside a text: models trained for equal steps, asked at the same words.

In: a prepared data folder, and a preset. Out: two Markdown tables on standard output, and a run for each
objective. Next stop: `server/EXPERIMENTS.md`.

    python server/bench/objectives.py PRESET --data DIR --out DIR [--init RUN] [--steps N] [--set KEY=VALUE]

Every run has the preset's shape, seed, rows and number of steps, and the same start; whatever was cut off
goes on where it was. At every word of held-out messages with two words behind it the lexicon's words are
ranked, as `word_scores.py` says: from the left alone by the causal model and by the one that learnt to fill
gaps, and with what stands behind by the latter and by the two that always see both sides. All see the same
text. `infill=1` fills gaps wherever it can, `infill=0.5` in half of the documents that allow it. Other runs
of the same tokenizer, such as the one that ships, are asked as well where `--also RUN` names them.

Speeds are of steps as they are trained, each the best of rounds in which the objectives take turns, because a
busy machine slows down what happens to be measured. Padding is not counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from word_scores import (
    Floats,
    Head,
    Position,
    Read,
    Words,
    at_blanks,
    from_left,
    grade,
    in_order,
    log_lengths,
    positions_of,
)

from fedkey.conversations import read_conversations, sample
from fedkey.errors import UserError
from fedkey.gaps import LETTERS, Answers, compared, gapped_messages, recall_ratios
from fedkey.lexicon import Lexicon
from fedkey.pieces import Pieces
from fedkey_export.lexicon_arrays import build_arrays, read_rows
from fedkey_server import checkpoint
from fedkey_server.batches import SERVER_TEXT, BatchStream, Documents, pack
from fedkey_server.config import Config, load
from fedkey_server.model import IGNORE, Model
from fedkey_server.objectives import CAUSAL, INFILL, MASKED, PERMUTATION
from fedkey_server.objectives.infilling import rearranged
from fedkey_server.objectives.task import Task
from fedkey_server.train import Trainer, train

COMPARED = f"{CAUSAL},{INFILL}=0.5,{INFILL}=1,{MASKED},{PERMUTATION}"
TOKENIZER = "tokenizer.model"
ROUNDS = 3
"""In which a step of every objective is timed."""
NUM_TIMED = 20_000
"""Documents that the timed steps are drawn from."""

ByAuthor = Mapping[str, Answers]


class Ground(NamedTuple):
    """What all models are asked, and by which words."""

    positions: Sequence[Position]
    words: Words
    usual: Floats
    """As `word_scores.log_lengths` gives it."""
    pieces: Pieces


def ground(data: Path, text: Path, window: int, max_words: int | None, seed: int) -> Ground:
    """Every gap of about `max_words` words of a text, drawn as `fedkey eval --infill` draws them."""
    pieces = Pieces.open(data / "tokenizer.model")
    rows = read_rows(data / "lexicon.tsv")
    words = Words(Lexicon(build_arrays(rows, pieces.encode_unit), pieces.vocab_size))
    chosen = sample(read_conversations(text), max_words, seed)
    positions = list(positions_of(gapped_messages(chosen), pieces, words.lexicon, window))
    usual = log_lengths(Documents.load(data / SERVER_TEXT), pieces, words)
    return Ground(positions, words, usual, pieces)


def reading(model: Model, objective: str, pieces: Pieces) -> Read:
    """How a model of an objective reads rows. In an order, what is asked for comes last, and what stands
    around it as in the text."""
    task = Task(objective, pieces)

    def read(tokens_bt: Tensor, positions_bt: Tensor, document_ids_bt: Tensor, is_asked_bt: Tensor) -> Tensor:
        ranks_bt = order_of(is_asked_bt) if objective == PERMUTATION else None
        return model(tokens_bt, positions_bt, document_ids_bt, **task.sight(ranks_bt))

    return read


def order_of(is_asked_bt: Tensor) -> Tensor:
    """[B, T] the place of each position in an order in which those that are asked for come last."""
    places_bt = torch.arange(is_asked_bt.shape[1]) + is_asked_bt.shape[1] * is_asked_bt
    return places_bt.argsort(dim=-1).argsort(dim=-1)


def measure(model: Model, objective: str, ground: Ground) -> dict[str, ByAuthor]:
    """The sums of each author, by what the model was told: "left" alone, "both" sides. A model that was not
    trained to read from one of them is not asked from there."""
    positions, words, usual, pieces = ground
    head = Head(reading(model.eval(), objective, pieces), model.embedding_vd)

    def left(some: Sequence[Position]) -> list[Floats]:
        return from_left(head, [each.left for each in some], _words(some), words)

    def framed(some: Sequence[Position]) -> list[Floats]:
        return from_left(head, [each.framed for each in some], _words(some), words)

    def masked(some: Sequence[Position]) -> list[Floats]:
        return at_blanks(head, [(each.before, each.behind) for each in some], pieces.blank_id, words, usual)

    def ordered(some: Sequence[Position]) -> list[Floats]:
        around = [(each.before, each.behind) for each in some]
        return in_order(head, around, pieces.blank_id, _words(some), words, usual)

    ways: dict[str, dict[str, Callable[[Sequence[Position]], list[Floats]]]] = {
        CAUSAL: {"left": left},
        INFILL: {"left": left, "both": framed},
        MASKED: {"both": masked},
        PERMUTATION: {"both": ordered},
    }
    return {told: grade(positions, score, words) for told, score in ways[objective].items()}


def _words(positions: Sequence[Position]) -> list[str]:
    return [position.word for position in positions]


class Speed(NamedTuple):
    """Pieces a second in training."""

    read: float
    """Padding not counted."""
    predicted: float
    """Of these, what carries loss."""


def speeds(configs: Mapping[str, Config], data: Path, rounds: int = ROUNDS) -> dict[str, Speed]:
    """How fast each objective is trained, on the same text. The first round, in which a model may be
    compiled, is not counted."""
    pieces = Pieces.open(data / "tokenizer.model")
    documents = Documents.load(data / SERVER_TEXT)
    documents = documents.take(0, min(NUM_TIMED, len(documents)))
    trainers = {}
    for name, config in configs.items():
        settings, window = config.train, config.model.window
        own = documents
        if settings.objective == INFILL:
            own = rearranged(documents, pieces, window, settings.infill_share, settings.seed)
        stream = BatchStream(pack(own, window, window), settings.batch_rows, settings.seed)
        trainers[name] = Trainer(config, Model(config.model, seed=settings.seed), stream, pieces=pieces)
    found: dict[str, list[Speed]] = {name: [] for name in configs}
    for step in range(rounds + 1):
        for name, trainer in trainers.items():
            rows = trainer.task.of(trainer.stream.batch(step), (trainer.settings.seed, step))
            begun = time.perf_counter()
            trainer.step(step)
            seconds = time.perf_counter() - begun
            num_read = int((rows.document_ids >= 0).sum())
            found[name].append(Speed(num_read / seconds, int((rows.targets != IGNORE).sum()) / seconds))
    return {name: Speed(*map(max, zip(*each[1:], strict=True))) for name, each in found.items()}


# --------------------------------------------------------------------------------------------------- tables


def recall_table(measured: Mapping[tuple[str, str], ByAuthor]) -> str:
    """Recall of each model in each way in Markdown, and what it gains over the first of them at the same
    words, in points."""
    first = next(iter(measured.values()))
    lines = [
        "| trained for | told | letters | words | top-1 % | top-3 % | MRR | gain in top-1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for letters in LETTERS:
        base = recall_ratios([first[author].after(letters) for author in first])
        for (objective, told), by_author in measured.items():
            own = recall_ratios([by_author[author].after(letters) for author in first])
            found = compared(base, own)
            num_words = reduce(add, by_author.values()).after(letters).positions
            gain = "" if by_author is first else _interval(found["gain"]["top_1"], "+.1f")
            both = found["both"]
            lines.append(
                f"| {objective} | {TOLD[told]} | {letters} | {num_words:,} | {_interval(both['top_1'])} | "
                f"{_interval(both['top_3'])} | {both['mrr']['value']:.3f} | {gain} |"
            )
    return "\n".join(lines)


TOLD = {"left": "the left", "both": "both sides"}


def cost_table(steps: int, found: Mapping[str, Speed]) -> str:
    """What training costs in Markdown."""
    lines = ["| trained for | steps | pieces/s | predicted/s |", "|---|---|---|---|"]
    lines += [
        f"| {objective} | {steps:,} | {speed.read:,.0f} | {speed.predicted:,.0f} |"
        for objective, speed in found.items()
    ]
    return "\n".join(lines)


def _interval(interval: Mapping[str, float], form: str = ".1f") -> str:
    value, low, high = (format(100 * interval[key], form) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def main() -> None:
    """Trains what is missing, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("preset", help="a preset's name or the path of a .toml file")
    parser.add_argument("--data", type=Path, required=True, help="the preset's data folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--init", type=Path, metavar="RUN", help="run that all begin from (default: seeded)")
    parser.add_argument("--steps", type=int, metavar="N", help="of each run (default: the preset's)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in training")
    parser.add_argument("--objectives", default=COMPARED, metavar="NAMES", help="(default %(default)s)")
    parser.add_argument("--also", type=Path, action="append", default=[], metavar="RUN", help="asked, too")
    parser.add_argument("--text", type=Path, help="held-out text (default: validation.jsonl of the data)")
    parser.add_argument("--max-words", type=int, default=3000, help="to ask about (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of words (default %(default)s)")
    parser.add_argument("--no-speeds", action="store_true", help="leave out how fast training is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data: Path = arguments.data
    overrides = [*arguments.set, *([f"train.num_steps={arguments.steps}"] if arguments.steps else [])]
    configs = {name: config_of(name, arguments.preset, overrides) for name in arguments.objectives.split(",")}
    for name, config in configs.items():
        train(config, data, arguments.out / name, init=arguments.init)
    runs = {name: arguments.out / name for name in configs} | {str(run): run for run in arguments.also}
    text = arguments.text or data / "validation.jsonl"
    window = next(iter(configs.values())).model.window
    asked = ground(data, text, window, arguments.max_words, arguments.seed)
    measured: dict[tuple[str, str], ByAuthor] = {}
    for name, run in runs.items():
        model, objective = opened(run, data)
        measured |= {(name, told): found for told, found in measure(model, objective, asked).items()}
    print(recall_table(measured))
    if not arguments.no_speeds:
        steps = next(iter(configs.values())).train.num_steps
        print(f"\n{cost_table(steps, speeds(configs, data))}")


def config_of(name: str, preset: str, overrides: Sequence[str]) -> Config:
    """The preset for an objective, behind whose name may stand the share of the documents with gaps."""
    objective, _, share = name.partition("=")
    shares = [f"train.infill_share={share}"] if share else []
    return load(preset, [*overrides, *shares, f"train.objective={objective}"])


def opened(run: Path, data: Path) -> tuple[Model, str]:
    """A run's model and what it was trained for; `UserError` if it reads other pieces than `data`."""
    found = checkpoint.load(run)
    if (found.folder / TOKENIZER).read_bytes() != (data / TOKENIZER).read_bytes():
        raise UserError(
            f"{run} was made with another tokenizer than {data}; name the data it was trained on."
        )
    return found.model(), found.config.get("train", {}).get("objective", CAUSAL)


if __name__ == "__main__":
    main()
