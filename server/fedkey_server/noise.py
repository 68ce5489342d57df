"""Whatever must be random and secret in a private run: its noise, and whom it asks.

In: a key that only this run's server knows, a round, a sum of clipped updates. Out: the sum with noise. Next
stop: `fedkey_server.correlation`.

Differential privacy holds against somebody who cannot guess the noise. So it comes from ChaCha20 under 32
bytes of the operating system's randomness, in a file that only the server's user can read, and not from a
numpy generator whose seed is in the run's configuration. The same goes for Poisson samples: they amplify
privacy only while nobody knows who was asked.

Every draw is a pure function of the key and of what it is for (purpose, round, index of the tensor), which
make up the cipher's nonce: a resumed run draws what the killed one would have drawn, and noise of past rounds
is drawn again instead of kept. The price: two different sums under the noise of one round would give away
their difference. A round's result must be in a checkpoint before anybody sees it, a round that was seen is
never done again, and a key serves one run, at whose end it is deleted.

Gaussians: of each 64 bits of keystream one is the sign and 63 make a uniform number in (0, 1/2), which the
inverse of the normal distribution takes to the lower tail. Small uniforms keep all their bits, so that the
tail is fine-grained as far as 8 standard deviations; it ends at 9.1, beyond which one value in 2**64 lies.

Floating point betrays privacy in its last bits (Mironov 2012): which doubles a sum can reach depends on what
was added. So the sum is rounded to a grid of powers of two, the noise to the same grid, and both are added
exactly, as whole numbers of steps. What leaves is a whole number of steps that a Gaussian mechanism would
have given, up to the rounding of the noise's own last bits, which the grid hides. Times of computation are
not hidden.
"""

from __future__ import annotations

import enum
import hashlib
import math
import os
import secrets
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from scipy.special import ndtri  # comes with dp-accounting
from torch import Tensor

from fedkey.errors import UserError

Floats = npt.NDArray[np.float64]

KEY_BYTES = 32
CHUNK = 1 << 18
"""Values drawn at once, 2 MB: fits a core's cache, and is 10 % faster than 8 MB."""
FINENESS = 2.0**14
"""Rounding a sum to the grid moves it by at most a share of 1 / FINENESS of the clip."""
VOTE_STEP = 2.0**-10
"""Grid of the noised sum of votes; votes are halves, so rounding does not touch them."""


class Purpose(enum.IntEnum):
    """What a draw is for; no two purposes share a keystream."""

    UPDATES = 1
    VOTES = 2
    COHORT = 3


def make_key(path: Path) -> bytes:
    """A fresh key in a file of mode 0600, written beside and renamed; never in place of one that is there.

    Raises:
        UserError: there is something at `path` already, or it cannot be written.
    """
    key = secrets.token_bytes(KEY_BYTES)
    beside = path.with_name(path.name + ".new")
    try:
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, fails where there is a file.
        os.link(beside, path)
        beside.unlink()
    except FileExistsError as error:
        raise UserError(
            f"{path} is there already; a noise key serves one run, give another --run."
        ) from error
    except OSError as error:
        raise UserError(f"Cannot write the noise key {path}: {error.strerror}.") from error
    return key


def read_key(path: Path) -> bytes:
    """The key that `make_key` wrote.

    Raises:
        UserError: it is missing, somebody else can read or could have written it, or it is no key.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise UserError(
            f"Cannot read the noise key {path}: {error.strerror}; without it the run cannot go on, so start "
            "another."
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_mode & 0o077 or about.st_uid != os.geteuid():
            raise UserError(
                f"Others can read the noise key {path}, so its noise protects nobody; start another run, and "
                "leave the mode of its key at 0600."
            )
        key = file.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise UserError(f"{path} is no noise key; without it the run cannot go on, so start another.")
    return key


def fingerprint(key: bytes) -> str:
    """Tells two keys apart in a checkpoint; says nothing else about them."""
    return hashlib.sha256(b"fedkey noise key\0" + key).hexdigest()[:16]


def uniform(key: bytes, purpose: Purpose, round_number: int, index: int, size: int) -> Floats:
    """Numbers in (0, 1), spaced 2**-53 apart."""
    words = np.concatenate([np.zeros(0, np.uint64), *_words(key, purpose, round_number, index, size)])
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54


def gaussian(key: bytes, purpose: Purpose, round_number: int, index: int, size: int) -> Floats:
    """Standard normal numbers."""
    out = np.zeros(size)
    _add_gaussian(out, key, purpose, round_number, index, 1.0)
    return out


def poisson_cohort(key: bytes, round_number: int, num_phones: int, rate: float) -> list[int]:
    """The phones of a round, each asked by a coin of its own that nobody can foresee."""
    coins = uniform(key, Purpose.COHORT, round_number, 0, num_phones)
    return np.flatnonzero(coins < rate).tolist()


def grid_step(clip_norm: float, num_values: int) -> float:
    """Largest power of two so that rounding `num_values` values to it moves them by clip / FINENESS at most.

    Sums of up to 2**26 reports of 2**24 values fit the 53 bits of a double.
    """
    return 2.0 ** math.floor(math.log2(clip_norm / (FINENESS * math.sqrt(num_values))))


def noised(
    total: Mapping[str, Tensor],
    key: bytes,
    round_number: int,
    clip_norm: float,
    noise_multiplier: float,
    weights: Sequence[float] = (1.0,),
) -> dict[str, Tensor]:
    """A round's sum of updates with its noise, in float64.

    Two sums that differ by one phone differ, once both are rounded, by up to a grid step more in each value.
    The noise is that much larger, by a share of 1 / FINENESS.

    Args:
        total: sum of updates clipped to `clip_norm`.
        round_number: counted from 1.
        noise_multiplier: standard deviation of a draw, over the clip.
        weights: the noise is weights[0] times the draw of this round, plus weights[1] times that of the round
            before, and so on; see `correlation`. (1,) is noise of its own for every round.
    """
    step = grid_step(clip_norm, sum(tensor.numel() for tensor in total.values()))
    scale = noise_multiplier * clip_norm * (1 + 1 / FINENESS) / step
    result = {}
    for index, name in enumerate(sorted(total)):
        tensor = total[name]
        noise = np.zeros(tensor.numel())
        for age, weight in enumerate(weights[:round_number]):
            _add_gaussian(noise, key, Purpose.UPDATES, round_number - age, index, weight * scale)
        np.rint(noise, out=noise)
        steps = tensor.detach().cpu().double().div(step).round_().flatten()
        result[name] = (steps + torch.from_numpy(noise)).mul_(step).reshape(tensor.shape)
    return result


def noised_votes(votes: float, key: bytes, round_number: int, std: float) -> float:
    """A round's sum of votes with its noise."""
    noise = float(gaussian(key, Purpose.VOTES, round_number, 0, 1)[0]) * std
    return votes + round(noise / VOTE_STEP) * VOTE_STEP


def _words(
    key: bytes, purpose: Purpose, round_number: int, index: int, size: int
) -> Iterator[npt.NDArray[np.uint64]]:
    """64 bits of keystream for each of `size` values, in chunks."""
    # Block counter, then the 96 bits of the nonce (RFC 8439). It takes 2**35 values to overflow the counter.
    nonce = struct.pack("<IIII", 0, purpose, round_number, index)
    stream = Cipher(algorithms.ChaCha20(key, nonce), mode=None).encryptor()
    zeros = bytes(8 * min(size, CHUNK))
    for start in range(0, size, CHUNK):
        count = min(CHUNK, size - start)
        yield np.frombuffer(stream.update(zeros[: 8 * count]), dtype="<u8")


def _add_gaussian(
    out: Floats, key: bytes, purpose: Purpose, round_number: int, index: int, scale: float
) -> None:
    """Adds normal numbers of standard deviation `scale`."""
    start = 0
    for words in _words(key, purpose, round_number, index, len(out)):
        lower = (words >> np.uint64(1)).astype(np.float64)
        lower += 0.5
        lower *= 2.0**-64
        sign = (words & np.uint64(1)).astype(np.float64) * 2 - 1
        ndtri(lower, out=lower)
        lower *= sign
        lower *= scale
        out[start : start + len(words)] += lower
        start += len(words)
