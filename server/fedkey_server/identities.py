"""Who a phone is to other phones: long-term keys, and the registry that says whose they are.

In: files of a deployment, or the number of a simulated phone. Out: keys for `fedkey_server.secure_phone`.
Next stop: `fedkey_server.shamir`.

A deployment gives each phone a key of its own (node configuration `identity`, a file of 32 raw bytes, mode
0600) and everybody the registry (run configuration `registry`, a JSON object of phone number -> public key in
hexadecimal). Whoever fills the registry decides who is a phone; phones trust it and not the server. In a
simulation every process plays every phone, and the keys follow from the phones' numbers: they authenticate
nobody, but the protocol is the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedkey.errors import UserError
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
            beside = path.with_name(f"{path.name}.{os.getpid()}.new")
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(Ed25519PrivateKey.generate().private_bytes_raw())
            os.replace(beside, path)
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
