"""Who a phone is to other phones: long-term keys, and the registry that says whose they are.

In: files of a deployment, or the number of a simulated phone. Out: keys for `fedkey_server.secure_phone`.
Next stop: `fedkey_server.shamir`.

A deployment gives each phone a key of its own (node configuration `identity`, a file of 32 raw bytes, mode
0600) and everybody the registry (run configuration `registry`, a JSON object of phone number -> public key in
hexadecimal, to which `fedkey-server registry add` adds). Whoever fills the registry decides who is a phone;
phones trust it and not the server. In a simulation every process plays every phone, and the keys follow from
the phones' numbers: they authenticate nobody, but the protocol is the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedkey.errors import UserError
from fedkey.files import whole
from fedkey_server.roster import Registry

KEY_BYTES = 32


def simulated_identity(phone: int) -> Ed25519PrivateKey:
    """The key of a phone that is played."""
    seed = hashlib.sha256(b"fedkey simulated phone\0" + str(phone).encode()).digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


@lru_cache(maxsize=4)
def simulated_registry(num_phones: int) -> Registry:
    """Of phones 0 to num_phones - 1."""
    return {phone: simulated_identity(phone).public_key().public_bytes_raw() for phone in range(num_phones)}


def read_identity(path: Path) -> Ed25519PrivateKey:
    """A real phone's key.

    Raises:
        UserError: the file is missing, is no key, or can be read by others.
    """
    try:
        if os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UserError(f"Others can read the phone's identity {path}; make a new one with mode 0600.")
        return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
    except OSError as error:
        raise UserError(f"Cannot read the phone's identity {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path} is no identity: it must hold {KEY_BYTES} bytes.") from error


def make_identity(path: Path) -> Ed25519PrivateKey:
    """A real phone's key: the one that is there, or a new one, which only its owner may read.

    Raises:
        UserError: it can be neither read nor written.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with whole(path, 0o600) as beside:
                beside.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    except OSError as error:
        raise UserError(f"Cannot make the phone's identity {path}: {error.strerror}.") from error
    return read_identity(path)


@lru_cache(maxsize=4)
def read_registry(path: Path) -> Registry:
    """Everybody's public keys.

    Raises:
        UserError: the file is missing or is no registry.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        registry = {int(phone): bytes.fromhex(key) for phone, key in listed.items()}
    except OSError as error:
        raise UserError(f"Cannot read the registry of phones {path}: {error.strerror}.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no registry of phones: it must map numbers to public keys in hexadecimal, as JSON."
        ) from error
    if any(len(key) != KEY_BYTES for key in registry.values()):
        raise UserError(f"{path} holds a public key that has not {KEY_BYTES} bytes.")
    return registry


def enrol(path: Path, public: Iterable[Path]) -> dict[Path, int]:
    """Adds phones to a registry, which is made if it is missing: file of a public key -> the phone's number.

    Who is in it keeps their number, so that the copies that phones hold stay true.

    Raises:
        UserError: one of the files is no public key, or the registry can be neither read nor written; it is
            then as it was.
    """
    registry = dict(read_registry(path)) if path.exists() else {}
    numbers = {key: phone for phone, key in registry.items()}
    found = {}
    for file in public:
        key = _public_key(file)
        found[file] = numbers.setdefault(key, max(registry, default=-1) + 1)
        registry[found[file]] = key
    text = json.dumps({str(phone): key.hex() for phone, key in sorted(registry.items())}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as beside:
            beside.write_text(text + "\n", encoding="ascii")
    except OSError as error:
        raise UserError(f"Cannot write the registry of phones {path}: {error.strerror}.") from error
    read_registry.cache_clear()
    return found


def _public_key(path: Path) -> bytes:
    try:
        text = path.read_bytes().strip()
    except OSError as error:
        raise UserError(f"Cannot read the public key {path}: {error.strerror}.") from error
    if not re.fullmatch(rb"[0-9a-fA-F]{%d}" % (2 * KEY_BYTES), text):
        raise UserError(
            f"{path} is no public key of a phone, which is {2 * KEY_BYTES} hexadecimal digits; take the "
            "identity.pub that its 'fedkey-server phone' wrote, and never its identity.key."
        )
    return bytes.fromhex(text.decode())
