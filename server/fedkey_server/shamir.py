"""Shamir's secret sharing (1979) over a prime field.

In: a secret of 32 bytes and the points at which its holders stand. Out: one share for each holder; any
`threshold` of them give the secret back, fewer say nothing about it. Next stop:
`fedkey_server.roster`.

The secret is the value at 0 of a random polynomial with `threshold` coefficients; a share is its value at the
holder's point. Shares carry no proof: whoever combines them must be able to tell the right secret from a
wrong one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

PRIME = 2**256 + 297
"""The smallest prime above every secret of 32 bytes."""

SECRET_BYTES = 32
SHARE_BYTES = 33

RandomBytes = Callable[[int], bytes]
"""`secrets.token_bytes`, or what a test puts in its place."""


def split(
    secret: bytes, points: Sequence[int], threshold: int, random_bytes: RandomBytes = secrets.token_bytes
) -> list[bytes]:
    """One share for each point.

    Args:
        secret: exactly 32 bytes.
        points: where the holders stand, all different, none of them 0.
        threshold: how many shares give the secret back.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
    if not 1 <= threshold <= len(points):
        raise ValueError(f"{len(points)} shares cannot have a threshold of {threshold}")
    if len(set(points)) < len(points) or not all(0 < point < PRIME for point in points):
        raise ValueError("the points of a secret's holders must be positive and differ")
    # 16 bytes more than the field has, so that the remainder is uniform up to 2^-127.
    coefficients = [
        int.from_bytes(secret),
        *(int.from_bytes(random_bytes(SHARE_BYTES + 16)) % PRIME for _ in range(threshold - 1)),
    ]
    shares = []
    for point in points:
        value = 0
        for coefficient in reversed(coefficients):
            value = (value * point + coefficient) % PRIME
        shares.append(value.to_bytes(SHARE_BYTES))
    return shares


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret behind shares, point -> share; the `threshold` smallest points are used.

    Raises:
        ValueError: there are too few shares, or they are not shares of one secret (which is noticed by chance
            only).
    """
    if len(shares) < threshold:
        raise ValueError(f"{len(shares)} shares are fewer than the {threshold} that this secret takes")
    points = tuple(sorted(shares)[:threshold])
    total = 0
    for point, weight in zip(points, _weights_at_zero(points), strict=True):
        total += int.from_bytes(shares[point]) * weight
    secret = total % PRIME
    if secret >= 2 ** (8 * SECRET_BYTES):
        raise ValueError("these are not shares of one secret")
    return secret.to_bytes(SECRET_BYTES)


@lru_cache(maxsize=64)
def _weights_at_zero(points: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange's weights; in a complete graph of phones all secrets have the same holders, and these are the
    work."""
    weights = []
    for point in points:
        above, below = 1, 1
        for other in points:
            if other != point:
                above = above * other % PRIME
                below = below * (other - point) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)
