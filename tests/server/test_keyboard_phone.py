"""The phone of a keyboard: when it trains, what it declines, what leaves, and that it ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from at_command import fedkey_server
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from deployment import NEEDS_PROC, SECONDS, Deployment, make_identity, wait_for
from flower_processes import free_port
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict

from fedkey.commands import EXIT_MISTAKE
from fedkey.departures import DEPARTURES, Departure, append_departure, read_departures
from fedkey.diary import DIARY, Diary
from fedkey.pieces import END_ID, START_ID, Pieces
from fedkey_server import checkpoint, keyboard_phone
from fedkey_server.batches import Documents
from fedkey_server.client_app import ARRAYS, CONFIG, METRICS, app, flatten
from fedkey_server.config import load
from fedkey_server.crowd import Crowd
from fedkey_server.grid import InProcessGrid
from fedkey_server.keyboard_phone import REST_SECONDS, Keyboard, KeyboardPhone, Left, Membership, Voice
from fedkey_server.own_text import Declined, drawn_anew, own_documents
from fedkey_server.quantisation import Quantiser
from fedkey_server.roster import Terms
from fedkey_server.secure_messages import SECURE

SECRET = "wuggletoast"
"""A word that no chat and no lexicon holds."""


@pytest.fixture
def diary(tmp_path: Path, chat_file: Path) -> Path:
    return write_diary(tmp_path / "phone", chat_file, 0)


def write_diary(folder: Path, chat_file: Path, number: int) -> Path:
    """What one author of the made-up chat would have sent, and a word by which it is known again."""
    rows = [json.loads(line) for line in chat_file.read_text().splitlines()]
    author = sorted({row["user"] for row in rows})[number]
    diary = Diary(folder / DIARY)
    for row in rows:
        if row["user"] == author:
            diary.add(row["text"], str(row["dialog"]))
    diary.add(f"my {SECRET}{'abcdef'[number]} is safe", "the last")
    assert diary.num_words() > 100
    return diary.path


class Scene:
    """A phone whose keyboard says what a test lets it say."""

    def __init__(self, diary: Path, bundle: Path, **settings: Any) -> None:
        read, write = os.pipe()
        self.said = StringIO()
        self.keyboard = Keyboard()
        self._lines = os.fdopen(read)
        self._pipe = os.fdopen(write, "w", buffering=1)
        self._listener = threading.Thread(target=self.keyboard.listen, args=[self._lines])
        self._listener.start()
        folder, registry = diary.parent, settings.pop("registry", None)
        files = (diary, folder / DEPARTURES, bundle, folder / "identity.key", registry)
        membership = Membership("127.0.0.1:1", 7, *files, **settings)
        self.voice = Voice(self.said)
        self.phone = KeyboardPhone(membership, self.keyboard, self.voice)

    def say(self, line: str) -> None:
        """Returns when it was heard."""
        self._pipe.write(line + "\n")
        deadline = time.monotonic() + 20
        while self.keyboard.is_idle != (line == "idle"):
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def leave(self) -> None:
        self._pipe.close()
        self._listener.join()
        self._lines.close()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.getvalue().splitlines()]


@pytest.fixture
def scene(diary: Path, tiny_bundle: Path) -> Iterator[Scene]:
    scene = Scene(diary, tiny_bundle, may_be_seen=True)
    yield scene
    scene.leave()


@pytest.fixture
def ask(tiny_run: Path, tiny_data: Path, small_overrides: list[str]) -> Callable[..., Message]:
    """`ask(**changes)`: the message with which a server asks a phone to train."""
    config = load("tiny", [*small_overrides, "rounds.batch_rows=1", "rounds.max_rows=3"])
    InProcessGrid(app, 1, {})  # answers Flower's question who sends messages
    weights = checkpoint.load(tiny_run).weights

    def ask(**changes: Any) -> Message:
        settings = {
            **flatten(config.rounds, "rounds"),
            **flatten(config.model, "model"),
            "z-penalty": 1e-3,
            "server-round": 3,
            "phone": 1,
            "private": False,
            "tokenizer": checkpoint.sha256(tiny_data / "tokenizer.model"),
            **{name.replace("__", "."): value for name, value in changes.items()},
        }
        content = RecordDict({ARRAYS: ArrayRecord(weights), CONFIG: ConfigRecord(settings)})
        return Message(content, 1, MessageType.TRAIN, group_id="3")

    return ask


def test_a_phones_documents_are_its_diary_as_the_keyboard_writes_it(
    diary: Path, tiny_bundle: Path, tiny_data: Path
) -> None:
    digest = checkpoint.sha256(tiny_data / "tokenizer.model")
    documents = own_documents(diary, tiny_bundle, digest, 64)
    pieces = Pieces((tiny_bundle / "tokenizer.model").read_bytes())
    words = [i for i in documents.ids.tolist() if i not in (START_ID, END_ID)]
    text = " ".join(pieces.decode(words).split())
    assert f"my {SECRET}a is safe" in text
    assert documents.loss.mean() > 0.8  # all of it is the owner's
    assert documents.lengths.max() <= 64
    with pytest.raises(Declined, match="another tokenizer"):
        own_documents(diary, tiny_bundle, "0" * 64, 64)


def test_documents_drawn_anew_are_some_of_the_same(diary: Path, tiny_bundle: Path, tiny_data: Path) -> None:
    digest = checkpoint.sha256(tiny_data / "tokenizer.model")
    documents = own_documents(diary, tiny_bundle, digest, 64)
    drawn = drawn_anew(documents, np.random.default_rng(1))

    def each(many: Documents) -> list[tuple[bytes, bytes]]:
        parts = [many.take(number, number + 1) for number in range(len(many))]
        return [(part.ids.tobytes(), part.loss.tobytes()) for part in parts]

    assert len(drawn) == len(documents)
    assert set(each(drawn)) < set(each(documents))


def test_an_idle_phone_trains_on_its_diary(scene: Scene, ask: Callable[..., Message]) -> None:
    scene.say("idle")
    reply = scene.phone.answer(ask(), 1)
    update = reply.content.array_records[ARRAYS].to_torch_state_dict()
    assert all(tensor.any() for tensor in update.values())
    assert reply.content.metric_records[METRICS]["num-steps"] == 3
    assert [event["event"] for event in scene.events()] == ["round", "training"]
    assert scene.events()[-1]["words"] > 100
    assert SECRET not in scene.said.getvalue()


def test_a_phone_fills_gaps_of_its_diary_if_it_is_asked_to(
    scene: Scene, ask: Callable[..., Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedkey_server.client_app.secrets.randbits", lambda _: 5)
    scene.say("idle")
    asked: list[dict[str, Any]] = [{}, {"objective": "causal", "infill-share": 1.0}]
    asked += 2 * [{"objective": "infill", "infill-share": 1.0}]
    plain, causal, gaps, again = (
        scene.phone.answer(ask(**each), 1).content.array_records[ARRAYS].to_torch_state_dict()
        for each in asked
    )
    for name, tensor in plain.items():
        assert torch.equal(tensor, causal[name])
        assert torch.equal(gaps[name], again[name])
    assert any(not torch.equal(tensor, gaps[name]) for name, tensor in plain.items())


def test_who_asks_the_same_twice_is_not_answered_alike(scene: Scene, ask: Callable[..., Message]) -> None:
    """Or the difference of two sums, one with this keyboard and one without, would be its update. In one
    batch of all it has, order does nothing: what it trains on differs."""
    scene.say("idle")
    all_at_once = {"rounds__max_rows": 0, "rounds__batch_rows": 0}
    first, second = (
        scene.phone.answer(ask(**all_at_once), 1).content.array_records[ARRAYS].to_torch_state_dict()
        for _ in range(2)
    )
    norm = sum(float(tensor.square().sum()) for tensor in first.values()) ** 0.5
    distance = sum(float((second[name] - first[name]).square().sum()) for name in first) ** 0.5
    assert distance > 0.2 * norm


def test_a_busy_phone_waits_for_its_owner_and_no_longer_than_the_round(
    scene: Scene, ask: Callable[..., Message]
) -> None:
    reply = scene.phone.answer(ask(rounds__timeout=0.05), 1)
    assert reply.error.reason == "busy"
    timer = threading.Timer(0.1, scene.say, ["idle"])
    timer.start()
    assert scene.phone.answer(ask(rounds__timeout=60.0), 1).has_content()
    timer.join()
    events = [event["event"] for event in scene.events()]
    assert events == ["round", "waiting", "round", "waiting", "training"]


def test_training_pauses_when_somebody_types_and_stops_when_they_leave(
    scene: Scene, ask: Callable[..., Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = scene.voice.tell
    wanted = "busy"

    def interrupt(event: str, **details: Any) -> None:
        tell(event, **details)
        if event == "training":
            scene.say(wanted) if wanted == "busy" else scene.leave()

    monkeypatch.setattr(scene.voice, "tell", interrupt)
    scene.say("idle")
    assert scene.phone.answer(ask(rounds__timeout=2.0), 1).error.reason == "busy"
    scene.say("idle")
    wanted = "leave"
    with pytest.raises(Left):
        scene.phone.answer(ask(rounds__timeout=60.0), 1)


def test_training_ends_with_the_round_whatever_the_server_asks_for(
    scene: Scene, ask: Callable[..., Message]
) -> None:
    scene.say("idle")
    begun = time.monotonic()
    reply = scene.phone.answer(ask(rounds__timeout=0.5, rounds__local_epochs=10**6), 1)
    assert reply.error.reason == "the round is over"
    assert time.monotonic() - begun < 30


def test_what_a_phone_declines(
    diary: Path, tiny_bundle: Path, ask: Callable[..., Message], tmp_path: Path
) -> None:
    hidden = Scene(diary, tiny_bundle)
    hidden.say("idle")
    assert "only by secure aggregation" in hidden.phone.answer(ask(), 1).error.reason
    hidden.leave()
    Diary(tmp_path / DIARY).add("three short words", "a")
    terse = Scene(tmp_path / DIARY, tiny_bundle, may_be_seen=True)
    terse.say("idle")
    assert terse.phone.answer(ask(), 1).error.reason == "too little to train on"
    terse.leave()


def invitation(run: str, round_number: int, min_reports: int) -> Message:
    """The first message of a secure round over 50 phones."""
    InProcessGrid(app, 1, {})  # answers Flower's question who sends messages
    terms = Terms(run, round_number, min_reports, Quantiser(1.0, 10, 50))
    said = {"stage": "advertise", "round": terms.digest, "phone": 7, "terms": terms.to_json()}
    content = RecordDict({SECURE: ConfigRecord(said)})
    return Message(content, 1, MessageType.TRAIN, group_id=str(round_number))


@pytest.fixture
def hidden(diary: Path, tiny_bundle: Path) -> Iterator[Scene]:
    """A phone of those that answer under masks only."""
    registry = diary.with_name("registry.json")
    registry.write_text(json.dumps({"7": make_identity(diary.with_name("identity.key"))}))
    scene = Scene(diary, tiny_bundle, registry=registry)
    yield scene
    scene.leave()


def said_to(scene: Scene, message: Message) -> ConfigRecord:
    return scene.phone.answer(message, 1).content.config_records[SECURE]


def test_a_keyboard_takes_no_part_in_the_sum_of_a_few(hidden: Scene) -> None:
    assert said_to(hidden, invitation("a", 1, 19))["refused"] == "too small a crowd"
    assert said_to(hidden, invitation("a", 1, 20))["advert-phone"] == [7]


def test_no_round_is_played_twice_whatever_flower_calls_the_run(hidden: Scene) -> None:
    first, again = invitation("a", 1, 20), invitation("a", 1, 20)
    again.metadata.__dict__["_run_id"] = first.metadata.run_id + 1
    assert "refused" not in said_to(hidden, first)
    assert said_to(hidden, again)["refused"] == "a round that has been there"


def test_who_gave_a_short_while_ago_rests(hidden: Scene, diary: Path) -> None:
    def gave(kind: str, seconds_ago: float) -> None:
        when = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat(timespec="seconds")
        append_departure(diary.with_name(DEPARTURES), Departure(when, "a:1", kind, 1, 1, None))

    def declined(run: str) -> bool:
        reply = hidden.phone.answer(invitation(run, 1, 20), 1)
        return reply.has_error() and reply.error.reason == "resting"

    assert not declined("a")
    gave("masked update", 2 * REST_SECONDS)
    gave("public keys", 1)  # of a round that never came to a sum
    assert not declined("b")
    gave("masked counts", 0.5 * REST_SECONDS)
    gave("signature", 1)
    assert declined("c")
    gave("masked update", -1e6)  # the clock was put back
    assert not declined("d")


def test_an_error_leaves_by_its_name_alone(scene: Scene, ask: Callable[..., Message], tmp_path: Path) -> None:
    scene.say("idle")
    reply = scene.phone.answer(ask(model__width=63), 1)
    assert str(tmp_path) not in reply.error.reason
    assert reply.error.reason.isidentifier()
    assert scene.events()[-1]["event"] == "trouble"


class Line:
    """In place of a `SuperNode`: one message comes, and replies go into a list."""

    node_id = 1

    def __init__(self, message: Message, departures: Path) -> None:
        self.waiting = [message]
        self.departures = departures
        self.listed_before: list[int] = []

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def receive(self) -> Message | None:
        if not self.waiting:
            raise Left
        return self.waiting.pop()

    def send(self, reply: Message, seconds: float, before: Callable[[int], None]) -> None:
        before(1234)
        self.listed_before.append(len(read_departures(self.departures)))


def test_a_message_is_listed_before_it_leaves_and_what_cannot_be_listed_does_not(
    scene: Scene, ask: Callable[..., Message], diary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    departures = diary.with_name(DEPARTURES)
    line = Line(ask(private=True, epsilon=1.5), departures)
    monkeypatch.setattr(keyboard_phone, "SuperNode", lambda *_, **__: line)
    scene.say("idle")
    with pytest.raises(Left):
        scene.phone.run()
    (left,) = read_departures(departures)
    assert (left.kind, left.num_bytes, left.round_number, left.epsilon) == ("update", 1234, 3, 1.5)
    assert left.when.endswith("Z")
    assert line.listed_before == [1]
    sent = scene.events()[-1]
    assert sent == {"event": "sent", "round": 3, "kind": "update", "bytes": 1234, "epsilon": 1.5}
    departures.unlink()
    departures.mkdir()
    line.waiting.append(ask())
    with pytest.raises(OSError, match="departures"):
        scene.phone.run()
    assert line.listed_before == [1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "no address"),
        (["host:99999"], "no address"),
        (["10.0.0.1:9092", "--insecure"], "nothing goes without TLS"),
        (["host:9092", "--root-certificates", "missing.pem"], "no file of certificates"),
        (["host:9092", "--smallest-crowd", "1"], "at least 2, not 1"),
        (["host:9092", "--rest", "-1"], "not be negative"),
    ],
)
def test_what_cannot_be_joined_is_one_sentence(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fedkey_server("phone", *arguments, "--diary", tmp_path / DIARY) == EXIT_MISTAKE
    output, errors = capsys.readouterr()
    assert complaint in errors
    assert (output, errors.count("\n")) == ("", 1)


def start_phone(
    folder: Path, *options: str, events: str = "events.jsonl", **environment: str
) -> subprocess.Popen[str]:
    with (folder / events).open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "fedkey_server", "phone", *options, "--diary", str(folder / DIARY)],
            stdin=subprocess.PIPE, stdout=log, stderr=log, env=os.environ | environment, text=True,
        )  # fmt: skip


def events_of(folder: Path, events: str = "events.jsonl") -> list[dict[str, Any]]:
    lines = (folder / events).read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


PARENT = """
import subprocess, sys, time
phone = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE)
print(phone.pid, flush=True)
time.sleep(600)
"""


def test_without_a_server_it_says_so_once_and_it_ends_with_its_keyboard(diary: Path) -> None:
    folder = diary.parent
    identity = folder / "identity.key"
    (folder / "registry.json").write_text(json.dumps({"4": make_identity(identity)}))
    arguments = [
        "-m", "fedkey_server", "phone", f"127.0.0.1:{free_port()}", "--insecure", "--diary", str(diary)
    ]  # fmt: skip
    with (folder / "events.jsonl").open("w") as log:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        heard = json.loads(parent.stdout.readline())
        assert heard["event"] == "unreachable"
        second = start_phone(folder, "127.0.0.1:1", "--insecure", events="second.jsonl")
        assert second.wait(timeout=120) == EXIT_MISTAKE
        assert second.stdin is not None
        second.stdin.close()
        failed, left = events_of(folder, "second.jsonl")
        assert (failed["event"], left["event"]) == ("failed", "left")
        assert "takes part already" in failed["reason"]
        parent.kill()
        parent.wait()
        rest = parent.stdout.read()  # ends when the phone does
    parent.stdout.close()
    assert [json.loads(line) for line in rest.splitlines()] == [{"event": "left"}]
    wait_for(lambda: not Path(f"/proc/{pid}/cmdline").exists(), "end of the phone", 30)
    assert read_departures(folder / DEPARTURES) == []
    assert (folder / "events.jsonl").read_text() == ""


def test_whom_the_registry_does_not_know_is_told_the_key_to_hand_in(diary: Path) -> None:
    phone = start_phone(diary.parent, "127.0.0.1:1", "--insecure")
    assert phone.wait(timeout=120) == 2
    assert phone.stdin is not None
    phone.stdin.close()
    failed, left = events_of(diary.parent)
    key = Ed25519PrivateKey.from_private_bytes((diary.parent / "identity.key").read_bytes())
    assert str(diary.parent / "identity.pub") in failed["reason"]
    assert (diary.parent / "identity.pub").read_text() == key.public_key().public_bytes_raw().hex() + "\n"
    assert (failed["event"], left["event"]) == ("failed", "left")
    assert (diary.parent / "identity.key").stat().st_mode & 0o77 == 0


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@NEEDS_PROC
def test_three_keyboards_federate_and_all_that_leaves_them_is_on_their_lists(
    deployment: Deployment,
    tiny_run: Path,
    tiny_data: Path,
    tiny_bundle: Path,
    small_overrides: list[str],
    chat_file: Path,
) -> None:
    folders = [deployment.folder / f"keyboard-{number}" for number in range(3)]
    registry = {}
    for number, folder in enumerate(folders):
        write_diary(folder, chat_file, number)
        registry[str(number)] = make_identity(folder / "identity.key")
    for folder in [deployment.folder, *folders]:
        (folder / "registry.json").write_text(json.dumps(registry))
    phones = []
    try:
        for folder in folders:
            (folder / "tmp").mkdir()
            phones.append(
                start_phone(
                    folder, f"127.0.0.1:{deployment.port}", "--insecure", "--bundle", str(tiny_bundle),
                    "--smallest-crowd", "3", "--rest", "0",
                    HOME=str(folder), TMPDIR=str(folder / "tmp"),
                )
            )  # fmt: skip
        for phone, folder in zip(phones, folders, strict=True):
            wait_for(lambda folder=folder: events_of(folder), "connection", 120)
            assert phone.stdin is not None
            phone.stdin.write("idle\n")
            phone.stdin.flush()
        run = deployment.run(
            tiny_data,
            tiny_run,
            [
                *small_overrides, "rounds.num_rounds=2", "rounds.phones_per_round=3", "rounds.min_reports=3",
                "rounds.update_norm=0.5", "rounds.secure=true", "rounds.batch_rows=2", "rounds.max_rows=4",
                "train.validation_rows=8", "rounds.timeout=300", "rounds.exchange_timeout=300",
            ],
        )  # fmt: skip
        deployment.wait(run)
        counts = deployment.folder / "counts.npz"
        deployment.run(
            tiny_data,
            tiny_run,
            [
                "sketch.width=65536", "count.cohort=3", "count.min_reports=3", "rounds.timeout=300",
                "rounds.exchange_timeout=300",
            ],
            bundle=str(tiny_bundle),
            counts=str(counts),
        )  # fmt: skip
        wait_for(counts.exists, "counts")
        for phone in phones:
            assert phone.stdin is not None
            phone.stdin.close()
            phone.stdin = None
            assert phone.wait(timeout=60) == 0
    finally:
        for phone in phones:
            phone.kill()
            phone.communicate()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first, second = [row for row in rows if row["step"]]
    assert (first["reports"], second["reports"]) == (3, 3)
    assert first["changed"]
    assert second["changed"]

    seen_by_server = first["secure_bytes"]["up"] + second["secure_bytes"]["up"]
    listed = [read_departures(folder / DEPARTURES) for folder in folders]
    stages = ["public keys", "key shares", "masked update", "signature", "revealed shares"]
    for folder, departures in zip(folders, listed, strict=True):
        assert [(each.round_number, each.kind) for each in departures] == [
            *((number, kind) for number in (1, 2) for kind in stages),
            *((1, kind.replace("update", "counts")) for kind in stages),
        ]
        told = [event for event in events_of(folder) if event["event"] == "sent"]
        assert [(each.kind, each.num_bytes) for each in departures] == [
            (event["kind"], event["bytes"]) for event in told
        ]
        assert all(each.to == f"127.0.0.1:{deployment.port}" for each in departures)
        in_sums = [each for each in departures if each.crowd is not None]
        assert [(each.kind.partition(" ")[0], each.crowd) for each in in_sums] == 3 * [("masked", 3)]
        assert [event["event"] for event in events_of(folder)].count("training") == 2
        assert events_of(folder)[-1]["event"] == "left"
    total = sum(each.num_bytes for departures in listed for each in departures[: 2 * len(stages)])
    assert seen_by_server < total < seen_by_server + 30 * 3000  # what wraps 30 messages

    weights, before = checkpoint.load(run).weights, checkpoint.load(tiny_run).weights
    assert any(not torch.equal(weights[name], tensor) for name, tensor in before.items())
    crowd = Crowd.load(counts)
    assert crowd.num_phones == 3
    assert all((level.counts == 3).all() for level in crowd.levels)
    assert len(crowd.levels[1].grams) > 20
    left_behind = [path for path in deployment.folder.rglob("*") if path.is_file() and path.name != DIARY]
    assert len(left_behind) > 10
    assert [path for path in left_behind if SECRET.encode() in path.read_bytes()] == []
    assert all(list((folder / "tmp").iterdir()) == [] for folder in folders)


@pytest.mark.slow
@NEEDS_PROC
def test_a_phone_whose_server_was_killed_says_so_once_and_finds_it_again(
    deployment: Deployment, diary: Path
) -> None:
    folder = diary.parent
    (folder / "registry.json").write_text(json.dumps({"0": make_identity(folder / "identity.key")}))
    phone = start_phone(folder, f"127.0.0.1:{deployment.port}", "--insecure")
    try:
        wait_for(lambda: events_of(folder), "connection", 200)
        deployment.signal("superlink", signal.SIGKILL)
        wait_for(lambda: len(events_of(folder)) == 2, "notice", 200)
        deployment.start_superlink()
        wait_for(lambda: len(events_of(folder)) == 3, "connection", 200)
        phone.communicate(timeout=60)
    finally:
        phone.kill()
        phone.communicate()
    events = [event["event"] for event in events_of(folder)]
    assert events == ["connected", "unreachable", "connected", "left"]
