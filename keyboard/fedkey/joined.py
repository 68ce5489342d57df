"""A keyboard in a federation, as a value: where it stands, told by the lines of its phone process.

In: the lines that `fedkey-server phone` prints. Out: what the keyboard shows. Next stop: `fedkey.diary`; on
screen `fedkey.ui.joining`.

The phone is a process of its own, so that this package needs neither torch nor Flower, and so that leaving
the federation is ending a process.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from fedkey.errors import UserError
from fedkey.files import whole

CERTIFICATES = "federation.pem"
"""File beside the diary that names whom to trust; without it the system's certificates count."""

CONSENTS = "consents-3.json"
"""File beside the diary: addresses of the federations whose conditions were agreed to. Its number goes up
with the conditions, so that whoever agreed to earlier ones is asked again."""

IDLE_SECONDS = 30.0
"""Without a key, before the phone may train."""

SMALLEST_CROWD = 20
"""Keyboards in whose sum this one agrees to vanish, if its owner says nothing else. What a sum of n tells of
one of them goes down with the square root of n; of two, the other one's owner subtracts their own."""

NEEDED = ("fedkey_server", "flwr", "torch", "cryptography")

ADDRESS = re.compile(r"(?P<host>\w[\w.-]*|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})")
"""HOST:PORT, see `is_address`. A host never looks like an option of a command."""
LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|\[::1\]")
"""Hosts that are this machine, where nothing leaves it."""

CONTRIBUTIONS = ("masked update", "masked counts", "update")

RESTING = "resting"
"""Why a phone that contributed a short while ago declines."""


def is_address(text: str) -> bool:
    """Whether a federation can have this address."""
    found = ADDRESS.fullmatch(text)
    return found is not None and 0 < int(found["port"]) < 1 << 16


class Phase(Enum):
    """What the phone is doing, in the words that are shown."""

    STARTING = "joining …"
    UNREACHABLE = "no server"
    CONNECTED = "joined"
    WAITING = "waits"
    TRAINING = "training"
    FAILED = "not joined"


@dataclass(frozen=True)
class Joined:
    """Where a keyboard stands in its federation.

    Attributes:
        address: HOST:PORT.
        phase: what it does now.
        round_number: of the last round that asked it.
        num_given: rounds to which it contributed, since it joined.
        num_bytes: all that left, since it joined.
        epsilon: spent so far as the server says; None without differential privacy.
        reason: the last thing that went wrong, in a sentence; empty while all is well.
    """

    address: str
    phase: Phase = Phase.STARTING
    round_number: int | None = None
    num_given: int = 0
    num_bytes: int = 0
    epsilon: float | None = None
    reason: str = ""


def heard(state: Joined, line: str) -> Joined:
    """The state after one more line of the phone; lines that make no sense change nothing."""
    try:
        event = json.loads(line)
        match event["event"]:
            case "connected":
                return replace(state, phase=Phase.CONNECTED, reason="")
            case "unreachable":
                trouble = f"does not answer ({event['reason']})"
                reason = f"The federation at {state.address} {trouble}; it is tried again."
                return replace(state, phase=Phase.UNREACHABLE, reason=reason)
            case "round":
                return replace(state, phase=Phase.CONNECTED, round_number=int(event["round"]))
            case "waiting":
                return replace(state, phase=Phase.WAITING)
            case "training":
                return replace(state, phase=Phase.TRAINING, round_number=int(event["round"]), reason="")
            case "declined":
                # Once, not for every round; that somebody types, they know, and that it rests is usual.
                is_news = event["reason"] not in ("busy", RESTING)
                reason = f"This keyboard does not take part: {event['reason']}." if is_news else ""
                return replace(state, phase=Phase.CONNECTED, reason=reason)
            case "sent":
                return _after_sending(state, event)
            case "failed":
                return replace(state, phase=Phase.FAILED, reason=str(event["reason"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        pass
    return state


def _after_sending(state: Joined, event: dict[str, object]) -> Joined:
    epsilon = event["epsilon"]
    return replace(
        state,
        phase=Phase.CONNECTED,
        round_number=int(str(event["round"])),
        num_given=state.num_given + (event["kind"] in CONTRIBUTIONS),
        num_bytes=state.num_bytes + int(str(event["bytes"])),
        epsilon=state.epsilon if epsilon is None else float(str(epsilon)),
    )


def ended(state: Joined, said: str) -> Joined:
    """The state after the phone's process has ended by itself; `said` is what it wrote to stderr."""
    lines = [line for line in said.splitlines() if line.strip()]
    reason = state.reason if state.phase is Phase.FAILED else lines[-1] if lines else "Its phone has ended."
    return replace(state, phase=Phase.FAILED, reason=reason)


def summary(state: Joined, *, is_short: bool = False) -> str:
    """One line for the title: what it does, the round, what it gave, what that cost."""
    parts = [state.phase.value]
    if state.phase is not Phase.FAILED and state.round_number is not None:
        parts = [f"round {state.round_number}", *([] if state.phase is Phase.CONNECTED else parts)]
        if not is_short or state.phase is Phase.CONNECTED:
            parts.append(f"{state.num_given} given")
    if state.epsilon is not None and not is_short:
        parts.append(f"ε {state.epsilon:.3g}")
    return "⇅ " + " · ".join(parts)


def account(state: Joined) -> str:
    """What has left, in a sentence."""
    spent = "" if state.epsilon is None else f", privacy spent: ε {state.epsilon:.3g}"
    rounds = "1 round" if state.num_given == 1 else f"{state.num_given} rounds"
    return f"You gave to {rounds} of {state.address} and sent {state.num_bytes:,} bytes{spent}."


def phone_command(
    address: str, diary: Path, bundle: Path, smallest_crowd: int = SMALLEST_CROWD
) -> Sequence[str]:
    """How to start the phone.

    Raises:
        UserError: that is no address, or the phone is not installed.
    """
    if not is_address(address):
        raise UserError(f"{address!r} is no address; give HOST:PORT, such as fed.example.org:9092.")
    if not all(map(importlib.util.find_spec, NEEDED)):
        raise UserError(
            "Joining a federation needs training, which is not installed; install fedkey with its server "
            "extra: pip install '.[server]' in a checkout."
        )
    certificates = diary.with_name(CERTIFICATES)
    if LOOPBACK.fullmatch(address.rpartition(":")[0]):
        trust = ["--insecure"]  # nothing leaves this machine
    else:
        trust = ["--root-certificates", str(certificates)] if certificates.exists() else []
    phone = [sys.executable, "-P", "-m", "fedkey_server", "phone", address]
    crowd = ["--smallest-crowd", str(smallest_crowd)]
    return [*phone, "--diary", str(diary), "--bundle", str(bundle), *crowd, *trust]


def has_consented(diary: Path, address: str) -> bool:
    """Whether the owner has agreed to take part in this federation before."""
    try:
        agreed = json.loads(diary.with_name(CONSENTS).read_text(encoding="utf-8"))
        return isinstance(agreed, list) and address in agreed
    except (OSError, ValueError, RecursionError):
        return False


def remember_consent(diary: Path, address: str) -> None:
    """Writes down that the owner agrees; where that cannot be written, they are asked again next time."""
    path = diary.with_name(CONSENTS)
    try:
        agreed = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with whole(path) as beside:
            beside.write_text(json.dumps(sorted({*agreed, address})) + "\n", encoding="utf-8")
    except (OSError, ValueError, TypeError, RecursionError):
        pass
