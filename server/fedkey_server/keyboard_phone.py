"""The phone of a keyboard that joined a federation: trains when nobody types, and says what it does.

In: lines from the keyboard on stdin ("idle", "busy"), messages of a federation, the keyboard's diary. Out:
one JSON object a line on stdout, updates for the federation, and a line in the list of departures before each
message leaves. Next stop: `fedkey.joined`, which reads the lines.

    {"event": "connected", "to": "host:9092", "words": 1200}
    {"event": "unreachable", "reason": "..."}            said once, until there is a connection again
    {"event": "round", "round": 3}                       the federation asked this keyboard
    {"event": "waiting", "round": 3}                     somebody types
    {"event": "training", "round": 3, "words": 1200}
    {"event": "sent", "round": 3, "kind": "masked update", "bytes": 777000, "epsilon": 1.5}
    {"event": "declined", "round": 3, "reason": "busy"}
    {"event": "failed", "reason": "..."}                 the last line but for "left"
    {"event": "left"}                                    the last line of a process that was not killed

The process ends when stdin does, whether its keyboard left the federation, was closed or was killed. Text is
read from the diary and nowhere written; what went wrong is told to the server by the name of the error only,
since sentences hold the names of files.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NoReturn

import torch
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from torch.optim.optimizer import register_optimizer_step_post_hook

from fedkey.departures import Departure, append_departure, read_departures
from fedkey.diary import Diary
from fedkey.joined import CONTRIBUTIONS, RESTING, SMALLEST_CROWD
from fedkey_server.client_app import CONFIG, COUNT, TASK, app
from fedkey_server.masking import ADVERTISE, AGREE, MASK, REVEAL, SHARE
from fedkey_server.own_text import Declined
from fedkey_server.secure_messages import SECURE, is_secure
from fedkey_server.secure_phone import Memory
from fedkey_server.supernode import SuperNode, Unreachable

MIN_WORDS = 100
"""Who wrote less is no phone, as in `fedkey_server.corpus`."""

LONGEST_ROUND = 3600.0
"""Seconds that a message may keep this phone, whatever its server says."""

LOOK_SECONDS = 1.0
"""Between two looks for messages while a round is on; the server waits a minute for an exchange."""

IDLE_LOOK_SECONDS = 5.0
"""Between two looks at other times: a fleet of a million asks 200,000 times a second."""

RECENTLY = 120.0
"""Seconds after a message in which the round is thought to be on."""

REST_SECONDS = 3600.0
"""Between two contributions, whatever the rounds and runs are called that ask for them. Who compares sums
with and without a keyboard has to ask often: the difference of two, over 20 keyboards and over 19 of them,
holds nearly four times as much of what those 19 chose (`own_text.drawn_anew`) as of the one's update, so that
15 such pairs are needed to see it as well as them. The 19 then rest 29 times; a fleet in which a keyboard is
drawn every few hours loses nothing."""

RETRY_SECONDS = (2.0, 60.0)
"""Between two tries to connect: the first, and the longest; each is twice the one before."""

KINDS = {
    ADVERTISE: "public keys",
    SHARE: "key shares",
    MASK: "masked update",
    AGREE: "signature",
    REVEAL: "revealed shares",
}
COUNTS = "masked counts"
"""Kind of a reply that says which n-grams the owner uses, hidden among those of other phones."""

IN_A_SUM = (KINDS[MASK], COUNTS)
"""What the server can read in sums alone."""


class Left(Exception):
    """The keyboard is gone, or has left the federation."""


class Keyboard:
    """What the keyboard at the other end of stdin says: whether somebody types, and whether it is there."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_idle = False
        self._has_left = False

    @property
    def is_idle(self) -> bool:
        """Whether nobody types; nobody is idle who has not said so."""
        return self._is_idle

    def listen(self, lines: Iterable[str]) -> None:
        """Believes each line, and at their end that the keyboard has left."""
        for line in lines:
            if line.strip() in ("idle", "busy"):
                with self._changed:
                    self._is_idle = line.strip() == "idle"
                    self._changed.notify_all()
        with self._changed:
            self._has_left = True
            self._changed.notify_all()

    def sleep(self, seconds: float) -> None:
        """Raises `Left` as soon as the keyboard has."""
        with self._changed:
            if self._changed.wait_for(lambda: self._has_left, seconds):
                raise Left

    def wait_until_idle(self, deadline: float) -> None:
        """Returns when nobody types.

        Raises:
            Declined: that has not happened by then.
            Left: the keyboard is gone.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_idle or self._has_left, max(0.0, deadline - time.monotonic())
            )
            if self._has_left:
                raise Left
            if not self._is_idle:
                raise Declined("busy")


class Voice:
    """Tells the keyboard; whether it still listens is for stdin to say."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def tell(self, event: str, **details: Any) -> None:
        """One line."""
        try:
            self._stream.write(json.dumps({"event": event, **details}) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass


@dataclass(frozen=True)
class Membership:
    """Who takes part where, with what.

    Attributes:
        address: of the SuperLink, HOST:PORT.
        phone: number in the registry.
        diary: what is trained on.
        departures: list of what left.
        bundle: what the keyboard types with, or its registry of releases.
        identity: key by which other phones know this one.
        registry: whom this phone takes for one; None where it may not take part in secure aggregation.
        root_certificates: of the SuperLink; None trusts the system's.
        is_insecure: whether to do without TLS.
        may_be_seen: whether updates may leave that are not hidden among others.
        smallest_crowd: fewest phones in whose sum they may be hidden.
        rest_seconds: between two contributions, to whichever run.
    """

    address: str
    phone: int
    diary: Path
    departures: Path
    bundle: Path
    identity: Path
    registry: Path | None
    root_certificates: Path | None = None
    is_insecure: bool = False
    may_be_seen: bool = False
    smallest_crowd: int = SMALLEST_CROWD
    rest_seconds: float = REST_SECONDS

    def node_config(self) -> dict[str, Any]:
        """As `fedkey_server.client_app` reads it."""
        paths = {"diary": self.diary, "bundle": self.bundle, "identity": self.identity}
        registry = {} if self.registry is None else {"registry": self.registry}
        named = {name: str(path) for name, path in (paths | registry).items()}
        return {"partition-id": self.phone, "smallest-crowd": self.smallest_crowd, **named}


class KeyboardPhone:
    """Answers a federation's messages until the keyboard leaves."""

    def __init__(self, membership: Membership, keyboard: Keyboard, voice: Voice) -> None:
        self._membership = membership
        self._keyboard = keyboard
        self._voice = voice
        self._memory = RecordDict()
        """What the phone must know from one stage of a round to the next, and which round that was, whatever
        Flower calls the run; never on disk."""
        self._epsilon: dict[tuple[int, int], float] = {}
        """(run, round) -> spent after it."""
        self._crowd: int | None = None
        """The fewest phones of a sum of the round that is on."""
        self._deadline = 0.0
        self._asked_at = -RECENTLY

    def run(self) -> NoReturn:
        """Connects, answers, and connects again when the connection is lost.

        Raises:
            Left: the keyboard is gone; there is no other end but an error.
        """
        wait, is_known_unreachable = RETRY_SECONDS[0], False
        member = self._membership
        while True:
            try:
                with SuperNode(
                    member.address, member.root_certificates, is_insecure=member.is_insecure
                ) as node:
                    words = Diary(member.diary).num_words()
                    self._voice.tell("connected", to=member.address, words=words)
                    wait, is_known_unreachable = RETRY_SECONDS[0], False
                    while True:
                        self._look(node)
            except Unreachable as reason:
                if not is_known_unreachable:
                    self._voice.tell("unreachable", reason=str(reason))
                    is_known_unreachable = True
            self._keyboard.sleep(wait)
            wait = min(2 * wait, RETRY_SECONDS[1])

    def _look(self, node: SuperNode) -> None:
        message = node.receive()
        if message is None:
            is_on = time.monotonic() - self._asked_at < RECENTLY
            self._keyboard.sleep(LOOK_SECONDS if is_on else IDLE_LOOK_SECONDS)
            return
        self._asked_at = time.monotonic()
        round_number = _round_of(message)
        reply = self.answer(message, node.node_id)
        kind, reason = kind_of(message, reply)
        epsilon = self._epsilon.get((message.metadata.run_id, round_number))
        num_bytes = 0

        def list_it(size: int) -> None:
            nonlocal num_bytes
            num_bytes = size
            when = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            crowd = self._crowd if kind in IN_A_SUM else None
            departure = Departure(when, self._membership.address, kind, size, round_number, epsilon, crowd)
            append_departure(self._membership.departures, departure)

        node.send(reply, time.monotonic() - self._asked_at, list_it)
        if reason:
            self._voice.tell("declined", round=round_number, reason=reason)
        self._voice.tell("sent", round=round_number, kind=kind, bytes=num_bytes, epsilon=epsilon)

    def answer(self, message: Message, node_id: int) -> Message:
        """The reply, which may be a refusal in a few words.

        Raises:
            Left: the keyboard is gone.
        """
        hook = register_optimizer_step_post_hook(lambda *_: self._pause())
        try:
            self._consider(message)
            member, run = self._membership, message.metadata.run_id
            context = Context(
                run_id=run,
                node_id=node_id,
                node_config=member.node_config(),
                state=self._memory,
                run_config={"simulation": False},
            )
            reply = app(message, context)
            self._memory = context.state
            self._crowd = Memory(context, member.phone).crowd()
            return reply
        except Left:
            raise
        except Declined as reason:
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(reason)), reply_to=message)
        except Exception as error:  # whatever it is, its sentence stays here
            self._voice.tell("trouble", reason=f"{type(error).__name__}: {error}")
            return Message(
                Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, type(error).__name__), reply_to=message
            )
        finally:
            hook.remove()

    def _consider(self, message: Message) -> None:
        """Returns when the message is to be answered.

        Raises:
            Declined: it is not.
        """
        run, round_number = message.metadata.run_id, _round_of(message)
        stage = _stage_of(message)
        settings = message.content.config_records.get(CONFIG, ConfigRecord())
        if stage is None and not self._membership.may_be_seen:
            raise Declined("updates leave this keyboard only by secure aggregation")
        if stage is not None and self._membership.registry is None:
            raise Declined("no registry of phones")
        if "epsilon" in settings:
            self._epsilon = {(run, round_number): float(str(settings["epsilon"]))}
        if stage in (None, ADVERTISE):
            self._voice.tell("round", round=round_number)
        if stage in (SHARE, AGREE, REVEAL):
            return
        words = Diary(self._membership.diary).num_words()
        if words < MIN_WORDS:
            raise Declined("too little to train on")
        if stage in (None, ADVERTISE) and self._is_resting():
            raise Declined(RESTING)
        if stage == ADVERTISE:
            return
        patience = float(str(settings.get("rounds.timeout", LONGEST_ROUND)))
        self._deadline = time.monotonic() + min(patience, LONGEST_ROUND)
        if not self._keyboard.is_idle:
            self._voice.tell("waiting", round=round_number)
        self._keyboard.wait_until_idle(self._deadline)
        if not _is_count(message):
            self._voice.tell("training", round=round_number, words=words)

    def _is_resting(self) -> bool:
        """Whether this keyboard contributed a short while ago, by its list of what left, which one that is
        closed and opened again still has."""
        now, rest = datetime.now(UTC), self._membership.rest_seconds
        for departure in reversed(read_departures(self._membership.departures)):
            if departure.kind in CONTRIBUTIONS:
                try:
                    return 0 <= (now - datetime.fromisoformat(departure.when)).total_seconds() < rest
                except (ValueError, TypeError):
                    continue  # somebody wrote into the list
        return False

    def _pause(self) -> None:
        """Between two steps of training: waits while somebody types."""
        self._keyboard.wait_until_idle(self._deadline)
        if time.monotonic() > self._deadline:
            raise Declined("the round is over")


def kind_of(message: Message, reply: Message) -> tuple[str, str]:
    """What a reply is to be called, and the reason that it gives if it is a refusal."""
    if reply.has_error():
        return "refusal", str(reply.error.reason)
    said = reply.content.config_records.get(SECURE, ConfigRecord())
    if "refused" in said:
        return "refusal", str(said["refused"])
    stage = _stage_of(message)
    if stage == MASK and _is_count(message):
        return COUNTS, ""
    return ("update" if stage is None else KINDS[stage]), ""


def _stage_of(message: Message) -> str | None:
    """Of secure aggregation."""
    return str(message.content.config_records[SECURE]["stage"]) if is_secure(message) else None


def _is_count(message: Message) -> bool:
    """Whether the server asks for n-grams and not for training."""
    return message.content.config_records.get(CONFIG, ConfigRecord()).get(TASK) == COUNT


def _round_of(message: Message) -> int:
    """As the message's envelope says; 0 if it says nothing of the kind."""
    group = message.metadata.group_id
    return int(group) if group.isdecimal() and len(group) < 10 else 0


def use_little() -> None:
    """Gives way to everybody else on this machine."""
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(10)  # at 19 a busy machine keeps it from answering at all
