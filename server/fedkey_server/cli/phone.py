"""`fedkey-server phone`: this machine's keyboard as a phone of a federation.

In: a SuperLink's address, the keyboard's diary, and lines on stdin. Out: see `fedkey_server.keyboard_phone`.
Next stop: `fedkey_server.supernode`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fedkey.departures import DEPARTURES
from fedkey.errors import UserError
from fedkey.joined import ADDRESS, LOOPBACK, SMALLEST_CROWD

if TYPE_CHECKING:
    from fedkey_server.keyboard_phone import Keyboard, Membership

FAREWELL_SECONDS = 3.0
"""To take leave of the server when the keyboard has left; then the process ends, whatever it is doing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("address", metavar="HOST:PORT", help="the federation's SuperLink")
    parser.add_argument("--diary", type=Path, required=True, metavar="FILE", help="what is trained on")
    parser.add_argument(
        "--bundle", type=Path, metavar="BUNDLE", help="what the keyboard types with (default: fedkey's own)"
    )
    parser.add_argument(
        "--identity",
        type=Path,
        metavar="FILE",
        help="this phone's key, made if missing (default: identity.key beside the diary)",
    )
    parser.add_argument(
        "--registry",
        type=Path,
        metavar="FILE",
        help="who is a phone, for secure aggregation (default: registry.json beside the diary)",
    )
    parser.add_argument(
        "--unmasked",
        action="store_true",
        help="also take part in rounds in which the server sees this phone's own update",
    )
    parser.add_argument(
        "--smallest-crowd",
        type=int,
        default=SMALLEST_CROWD,
        metavar="N",
        help=f"no part in sums over fewer phones (default {SMALLEST_CROWD}); to try it with three, say 3",
    )
    parser.add_argument(
        "--rest",
        type=float,
        metavar="SECONDS",
        help="between two contributions, to whichever run (default 3600); to try it, say 0",
    )
    transport = parser.add_mutually_exclusive_group()
    transport.add_argument(
        "--root-certificates", type=Path, metavar="FILE", help="trust these (default: the system's)"
    )
    transport.add_argument("--insecure", action="store_true", help="no TLS; on this machine only")


def run(arguments: argparse.Namespace) -> int:
    """Stays in the federation until stdin ends."""
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    _check(arguments)
    from fedkey_server.keyboard_phone import Keyboard, KeyboardPhone, Left, Voice, use_little

    logging.getLogger("flwr").setLevel(logging.CRITICAL)  # it would log what servers send
    voice, keyboard = Voice(sys.stdout), Keyboard()
    threading.Thread(target=_listen, args=[keyboard], daemon=True).start()
    try:
        membership = _membership(arguments)
        use_little()
        KeyboardPhone(membership, keyboard, voice).run()
    except Left:
        voice.tell("left")
        os._exit(0)  # to take down torch and all that came with it can take longer than to start it
    except (UserError, OSError) as error:
        voice.tell("failed", reason=str(error))
        voice.tell("left")
        raise UserError(str(error)) from error


def _check(arguments: argparse.Namespace) -> None:
    found = ADDRESS.fullmatch(arguments.address)
    if found is None or not 0 < int(found[2]) < 1 << 16:
        raise UserError(f"{arguments.address!r} is no address; give HOST:PORT, such as fed.example.org:9092.")
    if arguments.insecure and not LOOPBACK.fullmatch(found[1]):
        raise UserError(
            f"{arguments.address} is another machine, where nothing goes without TLS; leave --insecure out."
        )
    if arguments.smallest_crowd < 2:
        raise UserError(
            f"--smallest-crowd must be at least 2, not {arguments.smallest_crowd}: a sum over one phone is "
            "what it sent."
        )
    if arguments.rest is not None and not arguments.rest >= 0:
        raise UserError(f"--rest must not be negative, but it is {arguments.rest:g}.")
    if arguments.root_certificates is not None and not arguments.root_certificates.is_file():
        raise UserError(f"There is no file of certificates {arguments.root_certificates}.")


def _membership(arguments: argparse.Namespace) -> Membership:
    from fedkey.shipped import shipped_bundle
    from fedkey_server.identities import make_identity, read_registry
    from fedkey_server.keyboard_phone import REST_SECONDS, Membership

    folder = arguments.diary.parent
    identity = arguments.identity or folder / "identity.key"
    registry = arguments.registry or folder / "registry.json"
    key = make_identity(identity).public_key().public_bytes_raw()
    _be_the_only_one(identity)
    is_seen = arguments.unmasked and not registry.exists()
    if is_seen:
        phone = int.from_bytes(key[:4])
    else:
        numbers = (
            {public: phone for phone, public in read_registry(registry).items()} if registry.exists() else {}
        )
        if key not in numbers:
            public = identity.with_suffix(".pub")  # nobody can copy it out of a notice that passes
            public.write_text(key.hex() + "\n", encoding="ascii")
            raise UserError(
                f"This keyboard is not in {registry}; give its public key, which is in {public}, to whoever "
                "runs the federation, and put the registry that you get there."
            )
        phone = numbers[key]
    return Membership(
        address=arguments.address,
        phone=phone,
        diary=arguments.diary,
        departures=folder / DEPARTURES,
        bundle=arguments.bundle or shipped_bundle(),
        identity=identity,
        registry=None if is_seen else registry,
        root_certificates=arguments.root_certificates,
        is_insecure=arguments.insecure,
        may_be_seen=arguments.unmasked,
        smallest_crowd=arguments.smallest_crowd,
        rest_seconds=REST_SECONDS if arguments.rest is None else arguments.rest,
    )


def _be_the_only_one(identity: Path) -> None:
    """Two phones of one name would spoil every round for each other; the lock goes with the process."""
    try:
        import fcntl
    except ModuleNotFoundError:
        return  # no such locks on this system
    try:
        fcntl.flock(os.open(identity, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError("Another keyboard of this machine takes part already; leave there first.") from error


def _listen(keyboard: Keyboard) -> None:
    """Hears the keyboard; once it is gone, nothing here may outlive it for long."""
    keyboard.listen(sys.stdin)
    time.sleep(FAREWELL_SECONDS)
    os._exit(0)
