"""Flower's Grid in one process, with ClientApps made for the occasion."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode

from fedkey_server.client_app import ARRAYS, METRICS, flatten
from fedkey_server.config import load
from fedkey_server.grid import InProcessGrid
from fedkey_server.records import from_record, lend, to_record
from fedkey_server.selection import Cohort
from fedkey_server.strategy import SeededFedAvg

Train = Callable[[Message, Context], Message]


def grid_of(train: Train, num_nodes: int = 4, **run_config: str) -> InProcessGrid:
    app = ClientApp()
    app.train()(train)
    return InProcessGrid(app, num_nodes, dict(run_config))


def messages(grid: InProcessGrid, nodes: list[int] | None = None) -> list[Message]:
    return [
        Message(RecordDict({"config": ConfigRecord({"to": node})}), node, MessageType.TRAIN, group_id="1")
        for node in (grid.get_node_ids() if nodes is None else nodes)
    ]


def answer(message: Message, **metrics: int) -> Message:
    return Message(RecordDict({"metrics": MetricRecord(dict(metrics))}), reply_to=message)


def metrics_of(reply: Message) -> dict[str, object]:
    return dict(reply.content.metric_records["metrics"])


def test_every_phone_knows_its_number_and_gets_its_own_message() -> None:
    def train(message: Message, context: Context) -> Message:
        assert context.run_config["data"] == "somewhere"
        assert context.node_config["num-partitions"] == 4
        to = int(message.content.config_records["config"]["to"])
        return answer(message, to=to, node=context.node_id, phone=int(context.node_config["partition-id"]))

    grid = grid_of(train, data="somewhere")
    replies = list(grid.send_and_receive(messages(grid, [3, 1, 4])))
    assert [metrics_of(reply) for reply in replies] == [
        {"to": 3, "node": 3, "phone": 2}, {"to": 1, "node": 1, "phone": 0}, {"to": 4, "node": 4, "phone": 3},
    ]  # fmt: skip


def test_a_phones_state_is_its_own_and_lasts() -> None:
    def train(message: Message, context: Context) -> Message:
        seen = context.state.metric_records.setdefault("seen", MetricRecord({"times": 0}))
        seen["times"] = int(seen["times"]) + 1
        context.run_config["data"] = f"changed by {context.node_id}"
        return answer(message, times=int(seen["times"]))

    grid = grid_of(train, data="somewhere")
    times = [
        metrics_of(reply)["times"] for reply in grid.send_and_receive(messages(grid, [1, 2, 1, 1, 2, 3]))
    ]
    assert times == [1, 1, 2, 3, 2, 1]


def test_an_exception_on_a_phone_becomes_an_error_reply_and_the_others_go_on() -> None:
    def train(message: Message, context: Context) -> Message:
        if context.node_id == 2:
            raise RuntimeError("the battery is empty")
        return answer(message, ok=1)

    grid = grid_of(train)
    replies = list(grid.send_and_receive(messages(grid)))
    assert [reply.has_error() for reply in replies] == [False, True, False, False]
    assert replies[1].error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert replies[1].error.reason == "RuntimeError: the battery is empty"


def test_a_message_the_app_does_not_know_becomes_an_error_reply() -> None:
    grid = grid_of(lambda message, context: answer(message))
    unknown = Message(RecordDict(), 1, MessageType.EVALUATE, group_id="1")
    (reply,) = grid.send_and_receive([unknown])
    assert reply.has_error()


def test_phones_run_one_by_one_as_their_replies_are_asked_for() -> None:
    ran: list[int] = []

    def train(message: Message, context: Context) -> Message:
        ran.append(context.node_id)
        return answer(message, ok=1)

    grid = grid_of(train)
    replies = grid.send_and_receive(messages(grid))
    assert ran == []
    next(replies)
    assert ran == [1]
    next(replies)
    assert ran == [1, 2]


def test_messages_are_made_one_by_one_as_they_are_sent() -> None:
    made: list[int] = []

    def asked() -> Iterator[Message]:
        for message in messages(grid):
            made.append(message.metadata.dst_node_id)
            yield message

    grid = grid_of(lambda message, context: answer(message, made=len(made)))
    assert [metrics_of(reply)["made"] for reply in grid.send_and_receive(asked())] == [1, 2, 3, 4]


def test_a_phone_can_forget() -> None:
    def train(message: Message, context: Context) -> Message:
        was_there = bool(context.state)
        context.state = RecordDict() if was_there else RecordDict({"seen": MetricRecord({"times": 1})})
        return answer(message, was_there=int(was_there))

    grid = grid_of(train)
    replies = list(grid.send_and_receive(messages(grid, [1, 1, 1, 2])))
    assert [metrics_of(reply)["was_there"] for reply in replies] == [0, 1, 0, 0]


def test_phones_have_as_long_as_they_need() -> None:
    """Or a busy machine would train another model than an idle one."""

    def train(message: Message, context: Context) -> Message:
        time.sleep(0.01)
        return answer(message, node=context.node_id)

    grid = grid_of(train)
    nodes = [metrics_of(reply)["node"] for reply in grid.send_and_receive(messages(grid), timeout=0.001)]
    assert nodes == [1, 2, 3, 4]


def test_a_phone_cannot_change_the_bytes_that_others_receive() -> None:
    def train(message: Message, context: Context) -> Message:
        arrays = message.content.array_records["arrays"]
        weights = arrays.to_numpy_ndarrays()[0]
        weights += 1
        return answer(message, total=int(weights.sum()))

    grid = grid_of(train)
    arrays = ArrayRecord([np.zeros(3)])
    asked = [Message(RecordDict({"arrays": arrays}), node, MessageType.TRAIN) for node in (1, 2, 3)]
    assert [metrics_of(reply)["total"] for reply in grid.send_and_receive(asked)] == [3, 3, 3]


def most_held_in_a_round_of(num_phones: int) -> tuple[int, int]:
    """Updates and messages at once, looked at whenever a phone begins."""
    updates: list[weakref.ref[Any]] = []
    asked: list[weakref.ref[Any]] = []
    held: list[tuple[int, int]] = []

    def num_alive(things: list[weakref.ref[Any]]) -> int:
        return sum(thing() is not None for thing in things)

    def train(message: Message, context: Context) -> Message:
        asked.append(weakref.ref(message))
        held.append((num_alive(updates), num_alive(asked)))
        update = np.full(3, len(held), dtype=np.float32)
        updates.append(weakref.ref(update))
        said = {"num-examples": 1, "nll": 1.0, "num-steps": 1, "vote": 0.5, "server-round": 1}
        content = RecordDict({ARRAYS: lend({"w": torch.from_numpy(update)}), METRICS: MetricRecord(said)})
        return Message(content, reply_to=message)

    config = load("tiny", [f"rounds.phones_per_round={num_phones}", "rounds.min_reports=1"])
    strategy = SeededFedAvg(config, Cohort(config.rounds))
    weights, settings = to_record({"w": torch.zeros(3)}), ConfigRecord(flatten(config.rounds, "rounds"))
    gc.disable()  # what goes only when the collector comes by is held
    try:
        new = strategy.run_round(1, weights, settings, grid_of(train, num_phones), lambda count: None)
    finally:
        gc.enable()
    assert new is not None
    assert from_record(new)["w"].tolist() == [(num_phones + 1) / 2] * 3
    return max(number for number, _ in held), max(number for _, number in held)


def test_a_large_cohort_holds_no_more_than_a_small_one() -> None:
    assert most_held_in_a_round_of(10) == most_held_in_a_round_of(41)


def test_there_is_no_mailbox() -> None:
    grid = grid_of(lambda message, context: answer(message))
    with pytest.raises(RuntimeError, match="use send_and_receive"):
        grid.push_messages(messages(grid))
    with pytest.raises(RuntimeError, match="use send_and_receive"):
        grid.pull_messages(["1"])
    made = grid.create_message(RecordDict(), MessageType.TRAIN, 2, "7")
    assert (made.metadata.dst_node_id, made.metadata.group_id) == (2, "7")
