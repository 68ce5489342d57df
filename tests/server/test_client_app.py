"""A phone as Flower sees it: messages in, messages out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict

from fedkey.errors import UserError
from fedkey.pieces import Pieces
from fedkey_server import checkpoint
from fedkey_server.client_app import ARRAYS, CONFIG, METRICS, app, flatten, unflatten
from fedkey_server.clipping import norm_of
from fedkey_server.config import Config, load
from fedkey_server.grid import InProcessGrid
from fedkey_server.model import Model, ModelConfig
from fedkey_server.objectives.infilling import rearranged
from fedkey_server.phones import Phones
from fedkey_server.rounds import RoundsConfig, client_update


@pytest.fixture
def config(small_overrides: list[str]) -> Config:
    return load("tiny", [*small_overrides, "rounds.batch_rows=1", "rounds.max_rows=3"])


@pytest.fixture
def start(tiny_run: Path) -> Model:
    return checkpoint.load(tiny_run).model()


@pytest.fixture(autouse=True)
def identity(tiny_data: Path) -> None:
    """Flower's messages ask the process who sends them; a grid answers."""
    InProcessGrid(app, 1, {})


def ask(start: Model, config: Config, phone: int, round_number: int = 3) -> Message:
    settings = ConfigRecord(
        flatten(config.rounds, "rounds")
        | flatten(config.model, "model")
        | {"z-penalty": 1e-3, "server-round": round_number, "phone": phone, "private": False}
    )
    content = RecordDict({ARRAYS: ArrayRecord(start.state_dict()), CONFIG: settings})
    return Message(content, 1, MessageType.TRAIN, group_id=str(round_number))


def context_of(data: Path, partition: int, *, simulation: bool = True) -> Context:
    node_config: dict[str, int] = {"partition-id": partition, "num-partitions": 50}
    return Context(0, 1, node_config, RecordDict(), {"data": str(data), "simulation": simulation})


def expected(
    start: Model, config: Config, data: Path, phone: int, round_number: int = 3
) -> dict[str, torch.Tensor]:
    model = Model(config.model)
    model.load_state_dict(start.state_dict())
    texts = Phones.load(data / "phones.npz").documents(phone)
    rng = np.random.default_rng((config.rounds.seed, round_number, phone))
    return client_update(model, texts, config.rounds.in_round(round_number), 1e-3, rng).update


def update_in(reply: Message) -> dict[str, torch.Tensor]:
    return reply.content.array_records[ARRAYS].to_torch_state_dict()


def assert_reports(reply: Message, update: dict[str, torch.Tensor]) -> None:
    found = update_in(reply)
    assert found.keys() == update.keys()
    for name, tensor in update.items():
        assert tensor.any(), name
        assert torch.equal(found[name], tensor), name


def test_a_phone_reports_what_its_local_training_gives(start: Model, config: Config, tiny_data: Path) -> None:
    reply = app(ask(start, config, 5), context_of(tiny_data, 5))
    assert_reports(reply, expected(start, config, tiny_data, 5))


def test_a_phone_makes_gaps_in_its_own_text_by_run_round_and_phone(
    start: Model, config: Config, tiny_data: Path
) -> None:
    pieces = Pieces.open(tiny_data / "tokenizer.model")
    texts = Phones.load(tiny_data / "phones.npz").documents(5)
    updates = []
    for round_number in (3, 4):
        message = ask(start, config, 5, round_number)
        message.content.config_records[CONFIG].update({"objective": "infill", "infill-share": 0.75})
        reply = app(message, context_of(tiny_data, 5))
        seed = (config.rounds.seed, round_number, 5)
        gaps = rearranged(texts, pieces, config.model.window, 0.75, (*seed, 1))
        assert pieces.here_id in gaps.ids
        model = Model(config.model)
        model.load_state_dict(start.state_dict())
        rounds = config.rounds.in_round(round_number)
        update = client_update(model, gaps, rounds, 1e-3, np.random.default_rng(seed)).update
        assert_reports(reply, update)
        updates.append(update["model.norm.weight"])
    assert not torch.equal(*updates)


def test_an_update_and_sums_are_all_that_leaves_a_phone(
    start: Model, config: Config, tiny_data: Path
) -> None:
    content = app(ask(start, config, 2), context_of(tiny_data, 2)).content
    assert set(content) == {ARRAYS, METRICS}
    assert set(content.metric_records[METRICS]) == {
        "num-examples",
        "nll",
        "num-steps",
        "server-round",
        "vote",
    }
    assert content.metric_records[METRICS]["num-steps"] == 3
    assert 0 < content.metric_records[METRICS]["num-examples"] <= 3 * config.model.window


def test_a_phone_shortens_its_update_to_the_norm_asked_for(
    start: Model, config: Config, tiny_data: Path
) -> None:
    free = update_in(app(ask(start, config, 2), context_of(tiny_data, 2)))
    bounded = replace(config, rounds=replace(config.rounds, update_norm=0.01))
    short = update_in(app(ask(start, bounded, 2), context_of(tiny_data, 2)))
    assert norm_of(free) > 0.1
    assert norm_of(short) == pytest.approx(0.01, rel=1e-5)
    for name, tensor in short.items():
        torch.testing.assert_close(tensor, free[name] * (0.01 / norm_of(free)), rtol=1e-4, atol=1e-9)


def test_phones_of_one_process_do_not_touch_each_others_work(
    start: Model, config: Config, tiny_data: Path
) -> None:
    message = ask(start, config, 1)
    before = message.content.array_records[ARRAYS].to_torch_state_dict()
    phones = (1, 7, 1)  # one process plays them all, with one model
    replies = [app(ask(start, config, phone), context_of(tiny_data, phone)) for phone in phones]
    for phone, reply in zip(phones, replies, strict=True):
        assert_reports(reply, expected(start, config, tiny_data, phone))
    after = message.content.array_records[ARRAYS].to_torch_state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_phone_with_more_text_than_a_round_takes_draws_it_anew(
    start: Model, config: Config, tiny_data: Path
) -> None:
    replies = [app(ask(start, config, 4, number), context_of(tiny_data, 4)) for number in (1, 2)]
    for number, reply in zip((1, 2), replies, strict=True):
        assert_reports(reply, expected(start, config, tiny_data, 4, number))
    first, second = (reply.content.metric_records[METRICS]["nll"] for reply in replies)
    assert first != second


def test_a_simulated_node_is_the_phone_that_the_message_says(
    start: Model, config: Config, tiny_data: Path
) -> None:
    reply = app(ask(start, config, phone=6), context_of(tiny_data, partition=2))
    assert_reports(reply, expected(start, config, tiny_data, 6))


def test_a_real_node_is_the_phone_that_it_is(start: Model, config: Config, tiny_data: Path) -> None:
    reply = app(ask(start, config, phone=6), context_of(tiny_data, partition=2, simulation=False))
    assert_reports(reply, expected(start, config, tiny_data, 2))


def test_a_phone_that_does_not_exist_is_refused(start: Model, config: Config, tiny_data: Path) -> None:
    num_phones = len(Phones.load(tiny_data / "phones.npz"))
    with pytest.raises(
        UserError, match=rf"no phone {num_phones}: the data hold phones 0 to {num_phones - 1}"
    ):
        app(ask(start, config, num_phones), context_of(tiny_data, 0))


def test_settings_travel_in_a_message_and_back() -> None:
    rounds = RoundsConfig(num_rounds=7, client_learning_rate=0.25, timeout=3.5)
    model = ModelConfig(width=64, num_heads=4, rope_base=500.0)
    record = ConfigRecord(flatten(rounds, "rounds") | flatten(model, "model"))
    assert unflatten(RoundsConfig, record, "rounds") == rounds
    assert unflatten(ModelConfig, record, "model") == model
