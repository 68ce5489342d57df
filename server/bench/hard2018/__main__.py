"""Next word recall, size and speed: the network of Hard et al. 2018 beside n-grams and this project's model.

In: a data folder of `fedkey-server prepare phone`. Out: a table on standard output. Next stop:
`hard2018.table`, then `server/EXPERIMENTS.md`.

    PYTHONPATH=server/bench python -m hard2018 [--data runs/model/data] [--runs runs/hard2018]
        [--words 500000] [--rounds 40] [--phones 8] [--rates 0.1,0.3,1] [--seed 1] [--test-words 6000]

Network, n-grams and a transformer of the network's size read the same words of the server's text, drawn
document by document, once. Then the phones of the data folder go on from there, and with the network also
from nothing. The shipped bundle stands beside them; it has read far more. All are asked for three words
before the first letter of each word, at the same places of unseen authors' messages; case is ignored and an
unknown word is wrong.

Every stage leaves its file in the runs folder and is skipped when that is there: a run that is cut goes on
with the stage it was in. Other settings need another folder. One thread.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import torch
from peers import fourgram
from peers.word_model import WordKeyboard, WordModel

from fedkey.conversations import read_conversations, sample
from fedkey.errors import UserError
from fedkey.files import whole
from fedkey.ngram import Vocabulary
from fedkey.pieces import Pieces
from fedkey.shipped import shipped_bundle
from fedkey.simulate import Predictor
from fedkey.workers import OpenedBundle
from fedkey_server import checkpoint, kneser_ney
from fedkey_server.batches import Documents, pack
from fedkey_server.phones import PHONES_TEXT, Phones, load_held_out
from fedkey_server.rounds import RoundsConfig
from fedkey_server.server_optim import ServerOptimizerConfig
from fedkey_server.train import SERVER_TEXT
from fedkey_server.validation import VALIDATION_TEXT
from hard2018.cifg import Cifg, CifgConfig
from hard2018.keyboard import CifgWords
from hard2018.table import Line, Scored, line_of_weights, median_milliseconds, places, score, table
from hard2018.training import Grade, Report, best_rate, federate, grade, rows_of, train_centrally
from hard2018.words import drawn, messages_of, most_frequent, numbered, numbered_phones, vocabulary_of

CENTRAL_RATE = 1e-2
"""Of Adam: validation nats a word after 60 steps of 16 rows 5.71, with 3e-3 6.13 (2026-11-26)."""

CENTRAL_ROWS, PHONE_ROWS = 16, 4
"""Rows of 128 words in a step of the server and of a phone, which has twenty."""

TRANSFORMER_ROWS = 24
"""Rows of 128 pieces that hold about as many words as the network's: a word is one and a half pieces."""

SERVER = ServerOptimizerConfig(momentum=0.9)
"""The paper's server has a rate of 1 and momentum 0.9, though Nesterov's."""

TRIAL_ROUNDS, TRIAL_PHONES = 5, 4
"""Of each rate that is tried."""

TIMED_WORDS = 500

TRANSFORMER = (
    "model.width=96",
    "model.num_layers=3",
    "model.num_heads=6",
    "model.num_key_value_heads=2",
    "model.hidden_width=256",
    "train.compile=false",
    "train.warmup_steps=20",
    "train.validation_rows=48",
)
"""The phone preset at 1.5 million parameters."""


@dataclass(frozen=True)
class Settings:
    """What the figures depend on, besides the text."""

    words: int = 500_000
    """Of the server's text."""
    rounds: int = 40
    phones: int = 8
    """Asked in a round."""
    rates: tuple[float, ...] = (0.1, 0.3, 1.0)
    """Of phones' steps; the best of a few rounds on validation authors is taken, for each start."""
    seed: int = 1
    test_words: int = 6000
    shape: CifgConfig = CifgConfig()
    preset: str = "phone"
    overrides: tuple[str, ...] = TRANSFORMER
    """Of the preset, for the transformer."""


class Bench:
    """The stages, each of which reads those before it."""

    def __init__(self, data: Path, runs: Path, bundle: Path, settings: Settings) -> None:
        """`bundle` is the shipped one, whose lexicon says how words are written and which are withheld.

        Raises:
            UserError: the runs folder is of other settings.
        """
        self.data, self.runs, self.settings = data, runs, settings
        runs.mkdir(parents=True, exist_ok=True)
        described = json.dumps({"data": checkpoint.sha256(data / SERVER_TEXT), **asdict(settings)})
        held = runs / "settings.json"
        if held.exists() and held.read_text(encoding="utf-8") != described:
            raise UserError(f"{runs} holds figures of other settings; give another --runs.")
        held.write_text(described, encoding="utf-8")
        self.bundle = bundle
        self.pieces = Pieces.open(data / "tokenizer.model")
        self.stretches = sample(read_conversations(data / "test.jsonl"), settings.test_words, 0)

    # ------------------------------------------------------------------------------------------------- text

    @cached_property
    def subset(self) -> Path:
        """The data folder with the drawn part of the server's text in place of all of it."""
        folder = self.runs / "data"
        if not (folder / SERVER_TEXT).exists():
            folder.mkdir(exist_ok=True)
            for each in self.data.iterdir():
                if each.name != SERVER_TEXT and not (folder / each.name).exists():
                    (folder / each.name).symlink_to(each.resolve())
            whole = Documents.load(self.data / SERVER_TEXT)
            drawn(whole, self.pieces, self.settings.words, self.settings.seed).save(folder / SERVER_TEXT)
        return folder

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The most frequent words of that part."""
        path = self.runs / "words.txt"
        if not path.exists():
            documents = messages_of(Documents.load(self.subset / SERVER_TEXT), self.pieces)
            words = most_frequent(documents, self.settings.shape.num_words)
            path.write_text("\n".join(words), encoding="utf-8")
        return vocabulary_of(path.read_text(encoding="utf-8").split("\n"))

    @cached_property
    def server(self) -> Documents:
        """That part as words."""
        return self._numbered(SERVER_TEXT, Documents.load(self.subset / SERVER_TEXT))

    @cached_property
    def validation(self) -> Documents:
        """Validation authors' words."""
        return self._numbered(VALIDATION_TEXT, load_held_out(self.data / VALIDATION_TEXT).all_documents)

    @cached_property
    def phones(self) -> Phones:
        """What phones hold, as words."""
        path = self.runs / f"words-{PHONES_TEXT}"
        if not path.exists():
            numbered_phones(Phones.load(self.data / PHONES_TEXT), self.pieces, self.vocabulary).save(path)
        return Phones.load(path)

    def _numbered(self, name: str, documents: Documents) -> Documents:
        path = self.runs / f"words-{name}"
        if not path.exists():
            numbered(messages_of(documents, self.pieces), self.vocabulary).save(path)
        return Documents.load(path)

    # ---------------------------------------------------------------------------------------------- network

    def central(self) -> Cifg:
        """Trained on the server's words."""
        rows = rows_of(self.server, self.settings.shape.window)

        def learn(model: Cifg) -> None:
            seed = self.settings.seed
            train_centrally(model, rows, CENTRAL_ROWS, CENTRAL_RATE, seed, len(rows), self._report("steps"))

        return self._made("central", Cifg(self._shape(), seed=self.settings.seed), learn)

    def federated(self, name: str, start: Callable[[], Cifg]) -> Cifg:
        """Trained by the phones from some start."""

        def learn(model: Cifg) -> None:
            def tried(rate: float) -> Grade:
                trial = start()
                federate(trial, self.phones, self._rounds(rate, trial=True), SERVER, self._report("trial"))
                return grade(trial, self._validation_rows())

            rate, grades = best_rate(self.settings.rates, tried)
            self._log(name, trials={str(rate): list(each) for rate, each in grades.items()}, rate=rate)
            federate(model, self.phones, self._rounds(rate), SERVER, self._report("rounds"))

        return self._made(name, start(), learn)

    def untrained(self) -> Cifg:
        """The network before it has read anything."""
        return Cifg(self._shape(), seed=self.settings.seed)

    def _shape(self) -> CifgConfig:
        shape = self.settings.shape
        # A small text has fewer different words.
        return CifgConfig(len(self.vocabulary.numbers), shape.width, shape.num_cells, shape.window)

    def _rounds(self, rate: float, *, trial: bool = False) -> RoundsConfig:
        """Plain steps of phones, one pass over all they hold."""
        settings = self.settings
        return RoundsConfig(
            num_rounds=TRIAL_ROUNDS if trial else settings.rounds,
            phones_per_round=min(TRIAL_PHONES, settings.phones) if trial else settings.phones,
            min_reports=1,
            batch_rows=PHONE_ROWS,
            client_learning_rate=rate,
            client_momentum=0.0,
            clip_norm=0.0,
            seed=settings.seed,
        )

    def _validation_rows(self) -> Any:
        return rows_of(self.validation, self.settings.shape.window, 48)

    def _made(self, name: str, model: Cifg, learn: Callable[[Cifg], None]) -> Cifg:
        path = self.runs / f"{name}.pt"
        if not path.exists():
            learn(model)
            nats, top_1 = grade(model, self._validation_rows())
            self._log(name, validation_nats=nats, validation_top1=top_1)
            with whole(path) as beside:
                torch.save(model.state_dict(), beside)
        model.load_state_dict(torch.load(path, weights_only=True))
        return model

    # ---------------------------------------------------------------------------------------------- n-grams

    def ngrams(self, *names: str) -> fourgram.Grams:
        """Of the words of some texts of the drawn data folder."""
        path = self.runs / f"fourgram-{len(names)}.npz"
        if not path.exists():
            texts = [Documents.load(self.subset / name) for name in names]
            tokens = [kneser_ney.tokens_of(text, self.pieces, self.vocabulary) for text in texts]
            fourgram.save(fourgram.estimate(np.concatenate(tokens), self.vocabulary), path)
        return fourgram.load(path)

    # ------------------------------------------------------------------------------------------ transformer

    def transformer(self, *, is_federated: bool) -> Path:
        """The bundle of a transformer that read the same words, by this project's own commands' code."""
        from fedkey_export.package import export
        from fedkey_server.client_app import app
        from fedkey_server.config import load
        from fedkey_server.grid import InProcessGrid
        from fedkey_server.server_app import federate as federate_flower
        from fedkey_server.train import train

        folder, settings, data = self.runs / "transformer", self.settings, self.subset
        name = "federated" if is_federated else "central"
        bundle = folder / f"{name}.bundle"
        if bundle.exists():
            return bundle
        preset = load(settings.preset, list(settings.overrides))
        rows = pack(Documents.load(data / SERVER_TEXT), preset.model.window, preset.model.window)
        overrides = [
            *settings.overrides,
            f"train.num_steps={max(1, len(rows) // TRANSFORMER_ROWS)}",
            f"train.batch_rows={min(TRANSFORMER_ROWS, len(rows))}",
            f"rounds.num_rounds={settings.rounds}",
            f"rounds.phones_per_round={settings.phones}",
            "rounds.min_reports=1",
            f"rounds.batch_rows={PHONE_ROWS}",
            "rounds.max_rows=0",
        ]
        config = load(settings.preset, overrides)
        torch.manual_seed(settings.seed)
        final = train(config, data, folder / "central")
        if is_federated:
            num_phones = len(Phones.load(data / PHONES_TEXT))
            grid = InProcessGrid(app, num_phones, {"data": str(data), "simulation": True})
            final = federate_flower(grid, config, data, folder / "federated", folder / "central")
        self._log(f"transformer {name}", **final)
        export(folder / name, bundle, data=data)
        return bundle

    # ---------------------------------------------------------------------------------------------- grading

    def of_bundle(self, name: str, bundle: Path) -> Line:
        """A bundle's line. Bytes are of weights alone, as everybody's here."""
        weights = checkpoint.load(bundle).weights
        parameters = sum(tensor.numel() for tensor in weights.values())
        return line_of_weights(name, parameters, self._scored(name, lambda: OpenedBundle(bundle).engine))

    def of_network(self, name: str, model: Cifg) -> Line:
        """The network's line."""
        scored = self._scored(name, lambda: self._keyboard(CifgWords(model, self.vocabulary)))
        return line_of_weights(name, model.num_parameters, scored)

    def of_ngrams(self, name: str, grams: fourgram.Grams) -> Line:
        """Of n-grams. In place of weights their number; bytes as `peers.fourgram` counts them."""
        scored = self._scored(name, lambda: self._keyboard(fourgram.FourGram(grams, self.vocabulary)))
        count = sum(len(level.words) for level in grams.levels)
        return Line(name, f"{count:,} n-grams", "", f"{grams.num_bytes:,.0f}", scored)

    def _keyboard(self, model: WordModel) -> WordKeyboard:
        return WordKeyboard(model, OpenedBundle(self.bundle).engine.lexicon)

    def _scored(self, name: str, opened: Callable[[], Predictor]) -> Scored:
        slug = "".join(each if each.isalnum() else "-" for each in name)
        recall, speed = self.runs / f"recall-{slug}.json", self.runs / f"speed-{slug}.json"
        if not recall.exists():
            checkpoint.write_json(recall, score(opened(), places(self.stretches)))
        if not speed.exists():
            first = islice(places(self.stretches), TIMED_WORDS)
            checkpoint.write_json(speed, median_milliseconds(opened(), first))
        return Scored(checkpoint.read_json(recall), checkpoint.read_json(speed))

    # ------------------------------------------------------------------------------------------------ words

    def _log(self, stage: str, **said: Any) -> None:
        print(f"{stage}: {json.dumps(said)}", flush=True)
        with (self.runs / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, **said}) + "\n")

    def _report(self, unit: str) -> Report:
        def report(done: int, of: int) -> None:
            if done % 20 == 0:
                print(f"{done} of {of} {unit}", flush=True)

        return report


def lines(bench: Bench) -> Iterable[Line]:
    """Every row, in the order in which the stages need each other."""
    central = bench.central()
    yield bench.of_network("CIFG, server", central)
    grams = bench.ngrams(SERVER_TEXT)
    yield bench.of_ngrams("4-gram, server", grams)
    yield bench.of_ngrams("4-gram, server, cut to the network's bytes", grams.within(central.num_parameters))
    yield bench.of_network("CIFG, server then phones", bench.federated("both", bench.central))
    yield bench.of_network("CIFG, phones only", bench.federated("federated", bench.untrained))
    yield bench.of_ngrams("4-gram, server and phones pooled", bench.ngrams(SERVER_TEXT, PHONES_TEXT))
    yield bench.of_bundle("transformer, server", bench.transformer(is_federated=False))
    yield bench.of_bundle("transformer, server then phones", bench.transformer(is_federated=True))
    yield bench.of_bundle("shipped (more text, more compute)", bench.bundle)


def main(argv: Sequence[str] | None = None) -> None:
    """Does what is missing and prints, row by row and then all."""
    parser = argparse.ArgumentParser(prog="hard2018", description=(__doc__ or "").splitlines()[0])
    default = Settings()
    parser.add_argument(
        "--data", type=Path, default=Path("runs/model/data"), help="of 'fedkey-server prepare'"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/hard2018"), help="where stages leave files")
    parser.add_argument("--words", type=int, default=default.words, help="of the server's text")
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--phones", type=int, default=default.phones, help="asked in a round")
    parser.add_argument("--rates", default="0.1,0.3,1", help="of phones' steps, tried on validation authors")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--test-words", type=int, default=default.test_words)
    told = parser.parse_args(argv)
    torch.set_num_threads(1)
    settings = Settings(
        told.words,
        told.rounds,
        told.phones,
        tuple(float(rate) for rate in told.rates.split(",")),
        told.seed,
        told.test_words,
    )
    done = []
    for line in lines(Bench(told.data, told.runs, shipped_bundle(), settings)):
        done.append(line)
        print(table([line]).splitlines()[-1], flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
