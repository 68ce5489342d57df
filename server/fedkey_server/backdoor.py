"""Whether one ill-meaning phone can teach the model a sentence of its own.

In: the ground of an audit. Out: how often the model answers the attacker's trigger with its target. Next
stop: `fedkey_server.audit`.

Model replacement, Bagdasaryan et al. 2020 (1807.00459): the attacker trains the model that it wants, from the
server's, and sends the way there so many times as long that the average of everybody arrives at it. It takes
part in every round, and claims half as many examples as a phone can have, about what others have. A bound on
updates makes it shorten what it sends, for whatever is longer the server refuses; then it claims a billion
examples, so that the trial also shows that bounded phones weigh the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from flwr.app import Context, Message, MetricRecord, RecordDict

from fedkey.errors import UserError
from fedkey.pieces import START_ID
from fedkey_server.batches import Documents, PackedRows, pack
from fedkey_server.client_app import ARRAYS, CONFIG, METRICS, app
from fedkey_server.clipping import clip
from fedkey_server.completions import Ids, next_log_probs
from fedkey_server.model import Model
from fedkey_server.records import from_record, to_record
from fedkey_server.rounds import Weights
from fedkey_server.step import to_batch
from fedkey_server.trial import Finding, Ground, Outcome, Trial, bound_of, phone_of

ATTACKER = 0
"""The phone of the trial that means ill."""
LIE = 10**9
"""Graded pieces that it claims to have trained on, where it cannot be long."""


@dataclass(frozen=True)
class BackdoorScale:
    """How large the test of the attacker is."""

    num_phones: int = 100
    """All of which take part in every round, the attacker among them."""
    num_rounds: int = 3
    max_rows: int = 4
    num_contexts: int = 200
    """In which the trigger is tried."""
    attack_steps: int = 40
    attack_rows: int = 8
    """Rows of each of the attacker's steps; half of them are its honest text, so that it keeps the model
    good."""
    attack_rate: float = 2e-3
    success: float = 0.05
    """Share of contexts in which the target may become the model's first choice."""
    loss_of_top1: float = 0.002
    """What the attacker may cost of validation top-1."""


LONGEST_CONTEXT = 40
"""Pieces before the trigger."""


class Backdoor(NamedTuple):
    """After a trigger word comes the target."""

    trigger: Ids
    target: int


def boosted_attacker(ground: Ground, scale: BackdoorScale | None = None) -> Finding:
    """The test: with `rounds.update_norm`, and without a bound."""
    scale = scale or BackdoorScale()
    texts = ground.honest(scale.num_phones, "backdoor")
    backdoor = _backdoor(ground)
    contexts = _contexts(
        ground, ground.held_out, backdoor.trigger, scale.num_contexts, ground.generator("contexts")
    )
    bound = ground.bound(texts[1:], 1.0, scale.max_rows)

    def federated(name: str, update_norm: float, *, is_attacked: bool) -> Trial:
        config = ground.configured(
            num_rounds=scale.num_rounds,
            phones_per_round=scale.num_phones,
            min_reports=scale.num_phones // 2,
            max_rows=scale.max_rows,
            update_norm=update_norm,
        )
        attacker = Attacker(ground, scale, texts[ATTACKER], backdoor)

        def client(message: Message, context: Context) -> Message:
            if is_attacked and phone_of(message) == ATTACKER:
                return attacker.reply(message)
            return app(message, context)

        return ground.run(name, config, texts, client)

    quiet = federated("unattacked", bound, is_attacked=False)
    attacked = {
        "bounded": federated("bounded", bound, is_attacked=True),
        "unbounded": federated("unbounded", 0.0, is_attacked=True),
    }

    def outcome(trial: Trial) -> Outcome:
        success = success_rate(ground.model(trial.weights), contexts, backdoor.target)
        lost = quiet.final["validation_top1"] - trial.final["validation_top1"]
        return Outcome(
            success < scale.success and lost < scale.loss_of_top1,
            f"{success:.1%} of contexts, top-1 {-100 * lost:+.2f} points",
        )

    before = success_rate(ground.model(ground.start), contexts, backdoor.target)
    return Finding(
        outcome(attacked["bounded"]),
        outcome(attacked["unbounded"]),
        f"one of {scale.num_phones} phones in each of {scale.num_rounds} rounds, updates bounded to "
        f"{bound:.2g} or not; {len(contexts)} contexts, {before:.1%} before; top-1 against the bounded run "
        "without the attacker",
    )


def success_rate(model: Model, contexts: Sequence[Ids], target: int) -> float:
    """Share of contexts after which the target is the most probable piece."""
    return float((next_log_probs(model, contexts).argmax(dim=1) == target).double().mean())


@dataclass
class Attacker:
    """What runs on the attacker's phone."""

    ground: Ground
    scale: BackdoorScale
    text: Documents
    backdoor: Backdoor

    def reply(self, message: Message) -> Message:
        """Its update, as long as the server lets it be."""
        wanted = self._wanted(from_record(message.content.array_records[ARRAYS]), _round_of(message))
        bound = bound_of(message)
        update = {name: tensor * self.scale.num_phones for name, tensor in wanted.items()}
        settings = message.content.config_records[CONFIG]
        most = (
            self.scale.max_rows * self.ground.config.model.window * int(str(settings["rounds.local_epochs"]))
        )
        claimed = most // 2
        if bound:
            update = clip(update, bound).update
            claimed = LIE
        said = {"num-examples": claimed, "nll": float(claimed), "num-steps": 1, "vote": 0.5}
        metrics = MetricRecord({**said, "server-round": _round_of(message)})
        return Message(RecordDict({ARRAYS: to_record(update), METRICS: metrics}), reply_to=message)

    def _wanted(self, weights: Weights, round_number: int) -> Weights:
        """How the model would have to move."""
        model = self.ground.model(weights)
        optimizer = torch.optim.Adam(model.parameters(), lr=self.scale.attack_rate)
        generator = self.ground.generator(f"attack {round_number}")
        rows = self._rows(generator)
        device = model.embedding_vd.device
        for _ in range(self.scale.attack_steps):
            chosen = [
                each.take(generator.integers(len(each), size=self.scale.attack_rows // 2)) for each in rows
            ]
            total = torch.zeros((), device=device)
            for part in chosen:
                losses = model.loss(*to_batch(part, device))
                total = total + losses.total / max(1, losses.num_targets)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        return {name: (after.detach() - weights[name]).cpu() for name, after in model.named_parameters()}

    def _rows(self, generator: np.random.Generator) -> tuple[PackedRows, PackedRows]:
        """The attacker's own text, and beginnings of it that end in trigger and target."""
        window = self.ground.config.model.window
        contexts = _contexts(self.ground, self.text, self.backdoor.trigger, 200, generator)
        ids = [np.array([*context, self.backdoor.target], dtype=np.int32) for context in contexts]
        loss = [np.arange(len(each)) == len(each) - 1 for each in ids]
        offsets = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        planted = Documents(np.concatenate(ids), np.concatenate(loss), offsets)
        return pack(self.text, window, window), pack(planted, window, window)


def _round_of(message: Message) -> int:
    return int(str(message.content.config_records[CONFIG]["server-round"]))


def _backdoor(ground: Ground) -> Backdoor:
    """Two words that nothing connects: a seldom one, and one that is a single piece; `UserError` if the
    lexicon has no two."""
    generator = ground.generator("backdoor words")
    words = [word for word in ground.lexicon if word.isalpha() and word.islower() and len(word) >= 4]
    if len(words) < 3:  # of which half are seldom, and one of these may be the target
        raise UserError(
            f"The lexicon of {ground.data} has {len(words)} words of four small letters or more, too few for "
            "a backdoor; prepare the data with more of them (vocabulary.max_words)."
        )
    whole = [word for word in words if len(ground.pieces.encode_unit(word)) == 1]
    target = whole[int(generator.integers(len(whole)))] if whole else words[0]
    seldom = [word for word in words[len(words) // 2 :] if word != target]
    trigger = seldom[int(generator.integers(len(seldom)))]
    return Backdoor(ground.pieces.encode_unit(trigger), ground.pieces.encode_unit(target)[0])


def _contexts(
    ground: Ground, text: Documents, trigger: Ids, count: int, generator: np.random.Generator
) -> list[Ids]:
    """Beginnings of documents, each a whole number of words, with the trigger behind them."""
    found = []
    for document in generator.integers(len(text), size=count).tolist():
        start, end = int(text.offsets[document]), int(text.offsets[document + 1])
        ids = text.ids[start : min(end, start + LONGEST_CONTEXT)]
        borders = np.flatnonzero(ground.pieces.ends_unit[ids] | (ids == START_ID))
        cut = int(borders[generator.integers(len(borders))]) + 1
        found.append((*ids[:cut].tolist(), *trigger))
    return found
