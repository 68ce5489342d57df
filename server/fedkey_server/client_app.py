"""A phone as a Flower ClientApp.

In: the server's weights and settings in a message. Out: the phone's update and sums in the reply. Next stop:
`fedkey_server.strategy`.

The same app runs in the in-process Grid, on Ray, on real SuperNodes and at a keyboard that joined
(`fedkey_server.keyboard_phone`), whose text is its diary. A node is a phone, and its `partition-id` says
which. In a simulation every node can reach every phone's text, and the message says which
phone to be: Ray's node ids are random, and a seed shall draw the same phones on every engine.
Hyperparameters come with the message too, so that phones need no configuration of their own.
"""

from __future__ import annotations

import dataclasses
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedkey.errors import UserError
from fedkey.pieces import Pieces
from fedkey_server.batches import Documents
from fedkey_server.clipping import Clipped, clip
from fedkey_server.crowd import keys_of
from fedkey_server.identities import read_identity, read_registry, simulated_identity, simulated_registry
from fedkey_server.model import Model, ModelConfig
from fedkey_server.objectives import INFILL
from fedkey_server.objectives.infilling import rearranged
from fedkey_server.own_text import Declined, drawn_anew, own_documents, own_pieces, own_words
from fedkey_server.phones import PHONES_TEXT, Phones
from fedkey_server.records import from_record, lend, record_in
from fedkey_server.rounds import RoundsConfig, client_update
from fedkey_server.secure_messages import SECURE, is_secure
from fedkey_server.secure_phone import Identity, answer
from fedkey_server.sketch import SketchConfig, sketch
from fedkey_server.train import pick_device

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
"""Names of the records in a message."""

TASK, COUNT = "task", "count"
"""What a phone is asked to do instead of training, and how: `fedkey_server.counting`."""

SKETCH = "sketch"
"""Name of the array in which it says what it has counted."""

SUMS = ("num-examples", "nll", "num-steps")
"""What a phone says of its training."""

GAPS, CHOICE = 1, 2
"""End the seeds of a round's gaps and of a keyboard's choice of text, which are not that of its rows."""

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round on this phone: start from the server's weights, train on its own text, report. With secure
    aggregation, one of the stages of a round."""
    if is_secure(message):
        identity, crowd = _identity(message, context), int(str(context.node_config.get("smallest-crowd", 2)))
        return answer(message, context, identity, _work_for_sum, crowd)
    work = _work(message, context)
    metrics = MetricRecord(
        {**work.sums, "vote": work.clipped.vote, "server-round": work.round_number},
    )
    content = RecordDict({ARRAYS: lend(work.clipped.update), METRICS: metrics})
    return Message(content, reply_to=message)


def _work_for_sum(message: Message, context: Context) -> tuple[dict[str, Any], dict[str, float]]:
    """What leaves under masks alone: an update, or a sketch of which n-grams the owner uses."""
    settings = record_in(message.content, CONFIG, ConfigRecord)
    if settings.get(TASK) == COUNT:
        return {SKETCH: _sketch(context, settings)}, {}
    work = _work(message, context)
    update = {name: tensor.cpu() for name, tensor in work.clipped.update.items()}
    return update, {"vote": work.clipped.vote, **({} if settings["private"] else work.sums)}


def _sketch(context: Context, settings: ConfigRecord) -> npt.NDArray[np.float32]:
    phone = _phone(context, int(str(settings["phone"])))
    bundle = Path(str(context.node_config.get("bundle") or context.run_config["bundle"]))
    words = own_words(bundle)
    if words.lexicon != settings["lexicon"]:
        raise Declined("another lexicon")
    keys = keys_of(_documents(phone, context, settings), words.pieces, words.vocabulary)
    seed = _seed(context, int(str(settings["count.seed"])), phone)
    return sketch(keys, unflatten(SketchConfig, settings, "sketch"), np.random.default_rng(seed))


class Work(NamedTuple):
    """What a phone did in a round."""

    clipped: Clipped
    sums: dict[str, float]
    """"num-examples", "nll", "num-steps"; zeros in a private run."""
    round_number: int


def _work(message: Message, context: Context) -> Work:
    """Trains."""
    settings = record_in(message.content, CONFIG, ConfigRecord)
    phone = _phone(context, int(str(settings["phone"])))
    round_number = int(str(settings["server-round"]))
    rounds = unflatten(RoundsConfig, settings, "rounds").in_round(round_number)
    model = _model(unflatten(ModelConfig, settings, "model"))
    documents, seed = _documents(phone, context, settings), _seed(context, rounds.seed, round_number, phone)
    if _is_keyboard(context):
        documents = drawn_anew(documents, np.random.default_rng((*seed, CHOICE)))
    if settings.get("objective") == INFILL:  # an older server says nothing of it
        share = float(str(settings["infill-share"]))
        documents = rearranged(documents, _pieces(context), model.config.window, share, (*seed, GAPS))
    model.load_state_dict(from_record(record_in(message.content, ARRAYS, ArrayRecord)))
    report = client_update(
        model,
        documents,
        rounds,
        float(str(settings["z-penalty"])),
        np.random.default_rng(seed),
    )
    bound = rounds.update_norm
    clipped = clip(report.update, bound) if bound else Clipped(report.update, is_within=True)
    # A private run's noise covers the update and the vote, and nothing else may tell what was typed.
    told = (0, 0.0, 0) if settings["private"] else (report.num_targets, report.nll, report.num_steps)
    return Work(clipped, dict(zip(SUMS, told, strict=True)), round_number)


def _seed(context: Context, *asked: int) -> tuple[int, ...]:
    """Of what is drawn for an answer. Phones of a simulation draw by what they are asked, so that a run can
    be played again. A keyboard draws anew each time: who asks it the same twice is not answered alike, and
    the difference of two sums, one with it and one without, is not its update."""
    return (secrets.randbits(128),) if _is_keyboard(context) else asked


def _is_keyboard(context: Context) -> bool:
    """Whether the text is somebody's diary; otherwise the phone plays an author of the data folder."""
    return "diary" in context.node_config


def _documents(phone: int, context: Context, settings: ConfigRecord) -> Documents:
    """What the phone holds: a keyboard's diary, or its part of the data folder."""
    diary = context.node_config.get("diary")
    if diary is not None:
        bundle, window = Path(str(context.node_config["bundle"])), int(str(settings["model.window"]))
        return own_documents(Path(str(diary)), bundle, str(settings.get("tokenizer")), window)
    phones = _phones(str(context.run_config["data"]))
    owner = phone % len(phones) if context.run_config.get("resampled") else phone
    if owner >= len(phones):
        raise UserError(
            f"There is no phone {phone}: the data hold phones 0 to {len(phones) - 1}; start fewer nodes."
        )
    return phones.documents(owner)


def _pieces(context: Context) -> Pieces:
    """The tokenizer by which the phone's text was written down."""
    if _is_keyboard(context):
        return own_pieces(Path(str(context.node_config["bundle"])))
    return _tokenizer(str(context.run_config["data"]))


def _phone(context: Context, named: int) -> int:
    """Which phone this node is: in a simulation the one that the server's message names."""
    return named if context.run_config["simulation"] else int(str(context.node_config["partition-id"]))


def _identity(message: Message, context: Context) -> Identity:
    phone = _phone(context, int(str(message.content.config_records[SECURE]["phone"])))
    if context.run_config["simulation"]:
        registry = simulated_registry(int(str(context.node_config["num-partitions"])))
        return Identity(phone, simulated_identity(phone), registry)
    identity = read_identity(Path(str(context.node_config["identity"])))
    # A keyboard has a registry of its own and asks no server for one.
    registry = read_registry(Path(str(context.node_config.get("registry") or context.run_config["registry"])))
    return Identity(phone, identity, registry)


@lru_cache(maxsize=4)
def _phones(data: str) -> Phones:
    return Phones.load(Path(data) / PHONES_TEXT)


@lru_cache(maxsize=4)
def _tokenizer(data: str) -> Pieces:
    return Pieces.open(Path(data) / "tokenizer.model")


@lru_cache(maxsize=1)
def _model(config: ModelConfig) -> Model:
    """One model per process; every message loads its weights anew."""
    return Model(config).to(pick_device())


def flatten(config: Any, section: str) -> dict[str, Any]:
    """A config dataclass as "section.key" scalars for a ConfigRecord."""
    return {f"{section}.{key}": value for key, value in dataclasses.asdict(config).items()}


def unflatten(cls: Any, record: ConfigRecord, section: str) -> Any:
    """The inverse of `flatten`."""
    return cls(**{field.name: record[f"{section}.{field.name}"] for field in dataclasses.fields(cls)})
