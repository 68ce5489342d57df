"""Secrets in shares: enough of them give it back, fewer give anything."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey_server.shamir import PRIME, SHARE_BYTES, combine, split

SECRETS = st.binary(min_size=32, max_size=32)


@given(SECRETS, st.integers(1, 12), st.integers(0, 12), st.randoms(use_true_random=False))
def test_any_threshold_of_shares_gives_the_secret_back(
    secret: bytes, threshold: int, spare: int, rng: random.Random
) -> None:
    points = rng.sample(range(1, 1000), threshold + spare)
    shares = dict(zip(points, split(secret, points, threshold), strict=True))
    some = rng.sample(points, rng.randint(threshold, len(points)))
    assert combine({point: shares[point] for point in some}, threshold) == secret


@given(SECRETS, SECRETS, st.integers(2, 8))
def test_one_share_too_few_fits_every_secret(secret: bytes, other: bytes, threshold: int) -> None:
    """For any other secret there is a last share that makes the first ones its shares: they say nothing."""
    points = list(range(1, threshold + 1))
    known = dict(zip(points, split(secret, points, threshold), strict=True))
    del known[threshold]
    # The secret is linear in the last share: find the share that turns it into `other`.
    with_share = [_at_zero(known | {threshold: number.to_bytes(SHARE_BYTES)}) for number in (0, 1)]
    slope = (with_share[1] - with_share[0]) % PRIME
    missing = (int.from_bytes(other) - with_share[0]) * pow(slope, -1, PRIME) % PRIME
    assert combine(known | {threshold: missing.to_bytes(SHARE_BYTES)}, threshold) == other


def _at_zero(shares: dict[int, bytes]) -> int:
    """Lagrange, written differently from the module's."""
    total = 0
    for point, share in shares.items():
        term = int.from_bytes(share)
        for other in shares:
            if other != point:
                term = term * -other * pow(point - other, -1, PRIME) % PRIME
        total += term
    return total % PRIME


def test_every_sharing_draws_anew() -> None:
    secret = bytes(range(32))
    first, second = split(secret, [1, 2, 3], 2), split(secret, [1, 2, 3], 2)
    assert not set(first) & set(second)
    assert all(len(share) == SHARE_BYTES for share in first)


def test_with_a_threshold_of_one_every_share_is_the_secret() -> None:
    secret = b"\xff" * 32
    assert split(secret, [5, 9], 1) == [b"\x00" + secret] * 2


def test_a_forged_share_gives_another_secret_or_none() -> None:
    secret = bytes(32)
    shares = dict(zip([1, 2, 3], split(secret, [1, 2, 3], 3), strict=True))
    shares[2] = (int.from_bytes(shares[2]) + 1).to_bytes(SHARE_BYTES)
    try:
        found = combine(shares, 3)
    except ValueError:
        return
    assert found != secret


def test_too_few_shares_are_refused() -> None:
    shares = dict(zip([1, 2, 3], split(bytes(32), [1, 2, 3], 3), strict=True))
    del shares[1]
    with pytest.raises(ValueError, match="2 shares are fewer than the 3"):
        combine(shares, 3)


@pytest.mark.parametrize(
    ("secret", "points", "threshold"),
    [
        (bytes(31), [1, 2], 2),
        (bytes(33), [1, 2], 2),
        (bytes(32), [1, 2], 3),
        (bytes(32), [1, 2], 0),
        (bytes(32), [1, 1], 2),
        (bytes(32), [0, 1], 2),  # the share at 0 is the secret
    ],
)
def test_what_cannot_be_shared_is_refused(secret: bytes, points: list[int], threshold: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # each has a sentence of its own
        split(secret, points, threshold)
