"""A small federation of an audit: real server, real phones, phones of the audit's own among them.

In: a preset's configuration, prepared data, a start model. Out: what a federation made of them; its folder is
gone by then. Next stop: `fedkey_server.canaries`.

A trial is a run of `federate` over the in-process grid in a temporary folder. What an audit adds are phones:
some hold text that it wrote itself, some answer with updates of their own. Seeds decide everything, so the
noise of a private trial comes from a key that anybody can compute: its model is looked at and thrown away.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Message

from fedkey.errors import UserError
from fedkey.pieces import Pieces
from fedkey_server import checkpoint, noise
from fedkey_server.accountant import PrivacyConfig
from fedkey_server.batches import Documents
from fedkey_server.client_app import ARRAYS, CONFIG, app
from fedkey_server.clipping import norm_of
from fedkey_server.config import Config
from fedkey_server.fleet import FleetConfig
from fedkey_server.grid import Client, InProcessGrid
from fedkey_server.model import Model
from fedkey_server.phones import PHONES_TEXT, Phones, assemble
from fedkey_server.records import from_record
from fedkey_server.robust import AggregationConfig
from fedkey_server.rounds import Weights
from fedkey_server.server_app import federate
from fedkey_server.train import initial_model, pick_device
from fedkey_server.validation import VALIDATION_TEXT

NOISE_MULTIPLIER = 1.0
"""Of private trials, where the preset is not in mode poisson itself."""

CLIP_SHARE = 0.03
"""The clip of private trials over the median norm of an update, where the preset sets none. Noise grows with
the clip: at 0.03 twenty rounds of twenty phones leave the demo's model a little better than they found it
(validation loss 4.407 after 4.426), at 0.15 they ruin it (6.8)."""


@dataclass(frozen=True)
class Outcome:
    """What a test saw with a protection on, or off."""

    holds: bool
    """Whether nothing was given away."""
    figure: str
    """What was measured, for people."""


@dataclass(frozen=True)
class Finding:
    """One test of an audit. A test that passes without the protection shows nothing."""

    protected: Outcome
    unprotected: Outcome
    notes: str
    """What was compared with what, and what has to be believed."""

    @property
    def passed(self) -> bool:
        """Whether the protection works, and the test as well."""
        return self.protected.holds and not self.unprotected.holds


@dataclass(frozen=True)
class Trial:
    """What is left of a federation."""

    weights: Weights
    final: dict[str, Any]
    """As `federate` returns it."""


@dataclass(frozen=True)
class Ground:
    """What all trials of an audit stand on."""

    config: Config
    data: Path
    init: Path
    seed: int = 1
    work: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    """Trials have their folders in it."""

    @cached_property
    def phones(self) -> Phones:
        """The data's own phones."""
        return Phones.load(self.data / PHONES_TEXT)

    @cached_property
    def pieces(self) -> Pieces:
        """The tokenizer."""
        return Pieces.open(self.data / "tokenizer.model")

    @cached_property
    def lexicon(self) -> dict[str, float]:
        """The words that a keyboard may offer and their log probabilities, the most frequent ones first."""
        try:
            lines = (self.data / "lexicon.tsv").read_text(encoding="utf-8").splitlines()[1:]
        except OSError as error:
            raise UserError(f"{self.data} lacks lexicon.tsv; run 'fedkey-server prepare' first.") from error
        rows = (line.split("\t") for line in lines)
        return {word: float(log_prob) for word, log_prob, flags in rows if not flags}

    @cached_property
    def held_out(self) -> Documents:
        """Of authors that no phone belongs to."""
        return Documents.load(self.data / VALIDATION_TEXT)

    @cached_property
    def start(self) -> Weights:
        """The weights that every trial starts from."""
        return dict(initial_model(self.config, self.data, self.init).state_dict())

    def model(self, weights: Weights) -> Model:
        """The model with such weights, where it computes fastest."""
        model = Model(self.config.model).to(pick_device())
        model.load_state_dict(weights)
        return model.eval()

    def generator(self, purpose: str) -> np.random.Generator:
        """Chance for one purpose."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    def honest(self, count: int, purpose: str) -> list[Documents]:
        """So many phones' texts; the same phone again only where there are too few."""
        drawn = self.generator(purpose).choice(len(self.phones), size=count, replace=count > len(self.phones))
        return [self.phones.documents(phone) for phone in drawn.tolist()]

    def configured(self, *, privacy: PrivacyConfig | None = None, **rounds: Any) -> Config:
        """The audited configuration with some of its rounds' settings changed; phones are always there.

        Args:
            privacy: none at all unless it is given.
        """
        rounds = {"secure": False, "seed": self.seed, "validate_every": rounds["num_rounds"]} | rounds
        return replace(
            self.config,
            rounds=replace(self.config.rounds, **rounds),
            aggregation=AggregationConfig(),
            privacy=privacy or PrivacyConfig(),
            fleet=FleetConfig(),
        )

    def privacy(self) -> PrivacyConfig:
        """What private trials promise: the preset's own promise, if it is one of mode poisson."""
        if self.config.privacy.mode == "poisson":
            return self.config.privacy
        return replace(self.config.privacy, mode="poisson", noise_multiplier=NOISE_MULTIPLIER, epsilon=0.0)

    def bound(self, texts: Sequence[Documents], share: float, max_rows: int) -> float:
        """The bound on updates: the preset's own, or a share of the median norm of what such phones send.

        Args:
            max_rows: of a phone's text.
        """
        if self.config.rounds.update_norm:
            return self.config.rounds.update_norm
        norms: list[float] = []

        def measuring(message: Message, context: Any) -> Message:
            reply = app(message, context)
            norms.append(norm_of(update_in(reply)))
            return reply

        count = min(len(texts), 16)
        config = self.configured(
            num_rounds=1, phones_per_round=count, min_reports=count, max_rows=max_rows, update_norm=0.0
        )
        self.run("norms", config, texts[:count], measuring)
        return share * float(np.median(norms))

    def run(self, name: str, config: Config, texts: Sequence[Documents], client: Client = app) -> Trial:
        """One federation.

        Args:
            name: what its progress is called.
            texts: of all its phones.
            client: what runs on a phone.
        """
        folder = Path(tempfile.mkdtemp(prefix="fedkey-audit-", dir=self.work))
        try:
            data, run = folder / "data", folder / name
            data.mkdir()
            run.mkdir()
            for file in (*checkpoint.CARRIED, VALIDATION_TEXT):
                (data / file).symlink_to((self.data / file).resolve())
            names = [f"phone {number}" for number in range(len(texts))]
            assemble(names, [0] * len(texts), texts).save(data / PHONES_TEXT)
            if config.privacy.mode != "none":
                self._write_key(run / checkpoint.NOISE_KEY)
            grid = InProcessGrid(client, len(texts), {"data": str(data), "simulation": True})
            final = federate(grid, config, data, run, self.init)
            return Trial(checkpoint.load(run).weights, final)
        finally:
            shutil.rmtree(folder)

    def _write_key(self, path: Path) -> None:
        """One that the next audit with this seed has as well."""
        key = hashlib.sha256(f"fedkey audit {self.seed}".encode()).digest()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key[: noise.KEY_BYTES])


def phone_of(message: Message) -> int:
    """Which phone of the trial is spoken to."""
    return int(str(message.content.config_records[CONFIG]["phone"]))


def bound_of(message: Message) -> float:
    """How long the phone's update may be; 0 for no bound."""
    return float(str(message.content.config_records[CONFIG]["rounds.update_norm"]))


def update_in(reply: Message) -> Weights:
    """What a phone sends where nothing hides it."""
    return from_record(reply.content.array_records[ARRAYS])


def flat(weights: Weights) -> torch.Tensor:
    """Weights as one vector in float64, in the order of their names."""
    return torch.cat([weights[name].double().flatten().cpu() for name in sorted(weights)])
