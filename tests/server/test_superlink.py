"""Rounds over a SuperLink: played in this process, and with a real one and real SuperNodes."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from deployment import NEEDS_PROC, SECONDS, Deployment, make_identity, wait_for
from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode

from fedkey_server import checkpoint, superlink
from fedkey_server.client_app import ARRAYS, app
from fedkey_server.config import load
from fedkey_server.grid import InProcessGrid
from fedkey_server.identities import read_registry, simulated_registry
from fedkey_server.roster import Registry
from fedkey_server.server_app import federate

ROUNDS = ("rounds.batch_rows=2", "rounds.max_rows=4", "train.validation_rows=8", "rounds.num_rounds=2")
SUPERLINK = 10**6
"""Node in whose name it speaks itself."""

MESSAGE = "Receiving: train message"
"""What a SuperNode writes for each."""


def expected_run(
    data: Path, init: Path, run: Path, num_phones: int, overrides: Sequence[str], without: int | None = None
) -> dict[tuple[int, int], bytes]:
    """Federates phones in this process, but for one that fails; (round, phone) -> 64 bytes of its update."""
    seen = {}

    def watched(message: Message, context: Context) -> Message:
        reply = app(message, context)
        settings = message.content.config_records["config"]
        sent = [array.data for array in reply.content.array_records[ARRAYS].values()]
        largest = max(sent, key=len)
        parts = [largest[start : start + 64] for start in range(256, len(largest) - 64, 64)]
        part = max(parts, key=lambda part: len(set(part)))
        seen[int(settings["server-round"]), int(settings["phone"])] = part
        if settings["phone"] == without:
            raise RuntimeError("not this one")
        return reply

    grid = InProcessGrid(watched, num_phones, {"data": str(data), "simulation": True})
    grid.answers_in_order = False  # sums are then those of a SuperLink, to the last bit
    federate(grid, load("tiny", overrides), data, run, init)
    return seen


def rounds_of(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["step"]]


def assert_close_weights(run: Path, expected: Path, atol: float) -> None:
    weights = checkpoint.load(run).weights
    for name, tensor in checkpoint.load(expected).weights.items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=atol)


class Letterbox(InProcessGrid):
    """What a SuperLink does with messages, for phones that are played here: each answers after so many looks.

    Args:
        looks: place of a node -> looks at the letterbox until its answer is there; None if it has gone away.
            The others answer at once.
        run_config: beside the data's folder.
        node_configs: of the nodes, where they are not phones 0, 1, ...
    """

    def __init__(
        self,
        data: Path,
        num_phones: int,
        looks: dict[int, int | None],
        run_config: Mapping[str, str] | None = None,
        node_configs: Sequence[dict[str, Any]] = (),
    ) -> None:

        def client(message: Message, context: Context) -> Message:
            if node_configs:
                context.node_config.update(node_configs[context.node_id - 1])
            return app(message, context)

        told = {"data": str(data), "simulation": False, **(run_config or {})}
        super().__init__(client, num_phones, told)
        self.looks = looks
        self.kept: dict[str, Message] = {}
        self.num_looks: Counter[str] = Counter()
        self.fetched: list[tuple[int, str]] = []
        """(place, round) of the replies handed out."""

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        names = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = name = f"message {len(self.num_looks)}"
            self.num_looks[name] = 0
            self.kept[name] = message
            names.append(name)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        replies = []
        for name in message_ids:
            message, place = self.kept[name], self.kept[name].metadata.dst_node_id - 1
            self.num_looks[name] += 1
            looks = self.looks.get(place, 1)
            if looks is None:
                error = Message(Error(ErrorCode.NODE_UNAVAILABLE, "gone"), reply_to=message)
                error.metadata.__dict__["_src_node_id"] = SUPERLINK
                replies.append(error)
            elif self.num_looks[name] >= looks:
                replies.append(next(super().send_and_receive([message])))
                self.fetched.append((place, message.metadata.group_id))
            else:
                continue
            del self.kept[name]
        return replies


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superlink, "POLL_SECONDS", 0.01)


def real_run(
    letterbox: Letterbox,
    data: Path,
    init: Path,
    run: Path,
    overrides: Sequence[str],
    registry: Callable[[int], Registry] = simulated_registry,
) -> list[dict[str, Any]]:
    """The rounds of a run over phones that say who they are."""
    grid = superlink.SuperLinkGrid(letterbox)
    federate(grid, load("tiny", overrides), data, run, init, registry, simulation=False)
    grid.sweep()
    return rounds_of(run)


def test_a_round_closes_at_its_goal_and_what_comes_late_is_fetched_and_thrown_away(
    impatient: None, tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    base = [*small_overrides, *ROUNDS, "rounds.phones_per_round=3", "rounds.min_reports=2"]
    letterbox = Letterbox(tiny_data, 4, {2: 3})
    run = tmp_path / "run"
    first, second = real_run(letterbox, tiny_data, tiny_run, run, [*base, "fleet.over_selection=1.3"])
    assert (first["asked"], first["reports"], first["silent"], first["lost"]) == (4, 3, 0, {"late": 1})
    assert (second["asked"], second["reports"], second["silent"]) == (3, 3, 0)  # phone 2 was still at work
    assert (2, "1") in letterbox.fetched
    assert letterbox.kept == {}
    fewer = Letterbox(tiny_data, 3, {})  # of which a run that goes on does not complain
    assert real_run(fewer, tiny_data, tiny_run, run, [*base, "fleet.over_selection=1.3"]) == [first, second]
    expected_run(
        tiny_data, tiny_run, tmp_path / "without", 4, [*base, "rounds.phones_per_round=4"], without=2
    )
    assert_close_weights(run, tmp_path / "without", atol=1e-6)


def test_a_round_that_closes_stops_listening_at_once(
    impatient: None, tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    class Held(superlink.SuperLinkGrid):
        """As under a debugger, or another Python: nothing is cleared away when it falls out of use."""

        held: ClassVar[list[Iterator[Message]]] = []

        def send_and_receive(
            self, messages: Iterable[Message], *, timeout: float | None = None
        ) -> Iterator[Message]:
            self.held.append(super().send_and_receive(messages, timeout=timeout))
            return self.held[-1]

    base = [*small_overrides, *ROUNDS, "rounds.phones_per_round=3", "rounds.min_reports=2"]
    config = load("tiny", [*base, "fleet.over_selection=1.3"])
    grid = Held(Letterbox(tiny_data, 4, {2: 10**9}))
    federate(grid, config, tiny_data, tmp_path / "run", tiny_run, simulation=False)
    assert [row["asked"] for row in rounds_of(tmp_path / "run")] == [4, 3]  # one is still at work


def test_who_went_away_is_counted_by_that_name_and_who_is_silent_is_not_asked_again(
    impatient: None, tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    overrides = [*small_overrides, *ROUNDS, "rounds.phones_per_round=4", "rounds.min_reports=2"]
    letterbox = Letterbox(tiny_data, 4, {1: None, 3: 10**9})
    first, second = real_run(
        letterbox, tiny_data, tiny_run, tmp_path / "run",
        [*overrides, "fleet.over_selection=1", "rounds.timeout=2"],
    )  # fmt: skip
    assert (first["asked"], first["reports"], first["silent"]) == (4, 2, 1)
    assert first["refused"] == {"node unavailable": 1}
    assert (second["asked"], second["reports"], second["silent"]) == (3, 2, 0)


def test_the_phones_of_a_secure_round_are_who_they_sign_to_be(
    impatient: None, tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    base = [*small_overrides, *ROUNDS, "rounds.num_rounds=1", "rounds.update_norm=0.5"]
    base += ["rounds.phones_per_round=5", "rounds.min_reports=3"]
    numbers = [3, 0, 4, 2, 1]
    registry = {number: make_identity(tmp_path / str(number)) for number in numbers}
    registry[2] = make_identity(tmp_path / "the real phone 2")
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(registry))
    nodes = [{"partition-id": number, "identity": str(tmp_path / str(number))} for number in numbers]
    letterbox = Letterbox(tiny_data, 5, {}, {"registry": str(path)}, nodes)
    run = tmp_path / "run"
    (only,) = real_run(
        letterbox, tiny_data, tiny_run, run, [*base, "rounds.secure=true"], lambda _: read_registry(path)
    )
    assert (only["asked"], only["reports"], only["changed"]) == (5, 4, True)
    assert only["refused"] == {"a key that its phone did not sign (advertise)": 1}
    expected_run(tiny_data, tiny_run, tmp_path / "without", 5, base, without=2)
    assert_close_weights(run, tmp_path / "without", atol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@NEEDS_PROC
def test_a_secure_round_survives_a_phone_that_is_killed_while_it_trains(
    deployment: Deployment,
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    one_thread: None,
) -> None:
    base = [*small_overrides, *ROUNDS, "rounds.phones_per_round=3", "rounds.update_norm=0.5"]
    base += ["rounds.min_reports=3"]
    updates = expected_run(tiny_data, tiny_run, tmp_path / "here", 3, base)
    deployment.add_phones([1, 3, 0, 2])  # in the order of nobody's node id
    run = deployment.run(
        tiny_data,
        tiny_run,
        [
            *base,
            "rounds.secure=true",
            "fleet.over_selection=1.3",
            "rounds.timeout=300",
            "rounds.exchange_timeout=300",
        ],
    )
    wait_for(lambda: deployment.log("phone-3").count(MESSAGE) == 3, "message to train")
    deployment.signal("phone-3", signal.SIGKILL)
    final = deployment.wait(run)
    first, second = rounds_of(run)
    assert (first["asked"], first["reports"], first["changed"]) == (4, 3, True)
    assert (second["reports"], second["changed"]) == (3, True)
    assert sum(final["failures"].values()) == 1  # late, or given up by the SuperLink before that
    assert_close_weights(run, tmp_path / "here", atol=1e-5)
    assert {key: deployment.traces(update) for key, update in updates.items()} == {key: [] for key in updates}


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@NEEDS_PROC
def test_a_slow_phone_holds_nobody_up_and_no_update_stays_in_the_superlinks_database(
    deployment: Deployment,
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    one_thread: None,
) -> None:
    base = [*small_overrides, *ROUNDS, "rounds.min_reports=2"]
    updates = expected_run(
        tiny_data, tiny_run, tmp_path / "here", 3, [*base, "rounds.phones_per_round=3"], without=2
    )
    del updates[2, 2]  # still at work for the first round, it takes no part in the second
    deployment.add_phones([2, 0, 1], slow=2)
    run = deployment.run(
        tiny_data, tiny_run, [*base, "rounds.phones_per_round=2", "fleet.over_selection=1.5"]
    )
    been_there = set()

    def look_until(is_done: Callable[[], bool]) -> bool:
        been_there.update(key for key, update in updates.items() if deployment.traces(update))
        return is_done()

    wait_for(lambda: look_until(lambda: (run / "metrics.jsonl").exists() and bool(rounds_of(run))), "round")
    (deployment.folder / "slow" / "held").unlink()
    wait_for(lambda: look_until((run / "done.json").exists), "end of the run")
    first, second = rounds_of(run)
    assert (first["asked"], first["reports"], first["lost"]) == (3, 2, {"late": 1})
    assert (second["asked"], second["reports"], second["refused"]) == (2, 2, {})
    assert_close_weights(run, tmp_path / "here", atol=1e-6)
    assert been_there == updates.keys()  # whoever looks for an update finds it while it is there

    with sqlite3.connect(deployment.database) as database:
        for update in updates.values():
            held = "SELECT count(*) FROM objects WHERE instr(content, ?)"
            assert database.execute(held, (update,)).fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM message_res").fetchone() == (0,)
    with sqlite3.connect(deployment.database, isolation_level=None) as database:  # what MILLION.md tells
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert {key: deployment.traces(update) for key, update in updates.items()} == {key: [] for key in updates}
