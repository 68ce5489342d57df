"""Updates as words: sums are exact, nothing overflows, and rounding is accounted for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey_server.quantisation import CHUNK, OutOfRange, Quantiser, Sum, Words

NORMS = st.floats(1e-3, 1e3)


def total_of(vectors: list[Words]) -> Words:
    """As the server adds them: modulo 2^32."""
    total = np.zeros_like(vectors[0])
    for words in vectors:
        total += words
    return total


def clipped(update: np.ndarray, norm: float) -> np.ndarray:
    found = float(np.linalg.norm(update))
    return update * min(1.0, norm / found) if found else update


@given(st.integers(0, 2**32), NORMS, st.integers(1, 30), st.floats(0, 3))
def test_the_sum_is_the_plain_sum_within_half_a_step_for_each_phone(
    seed: int, norm: float, num_phones: int, length_in_norms: float
) -> None:
    rng = np.random.default_rng(seed)
    quantiser = Quantiser(norm, 20, max_phones=30, sums=(Sum("targets", 5000), Sum("nll", 1e6)))
    updates = [rng.normal(size=20).astype(np.float32) for _ in range(num_phones)]
    updates = [update * np.float32(length_in_norms * norm / np.linalg.norm(update)) for update in updates]
    sums = [
        {"targets": int(rng.integers(0, 5001)), "nll": float(rng.uniform(0, 1e6))} for _ in range(num_phones)
    ]
    words = [quantiser.encode(update, each) for update, each in zip(updates, sums, strict=True)]
    found, found_sums = quantiser.decode(total_of(words), num_phones)
    plain = np.sum([clipped(update.astype(np.float64), norm) for update in updates], axis=0)
    assert np.abs(found - plain).max() <= num_phones * quantiser.step / 2 * (1 + 1e-9)
    assert found_sums["targets"] == sum(each["targets"] for each in sums)
    assert found_sums["nll"] == pytest.approx(sum(each["nll"] for each in sums), abs=num_phones * 0.01)


@given(NORMS, st.sampled_from([1, 2, 3, 100, 1000, 2**16]), st.sampled_from([-1, 1]))
def test_the_largest_cohort_of_the_largest_updates_does_not_overflow(
    norm: float, max_phones: int, sign: int
) -> None:
    quantiser = Quantiser(norm, 1, max_phones, (Sum("nll", norm * 7),))
    words = quantiser.encode(np.array([sign * norm * 10]), {"nll": sign * norm * 10})
    total = words * np.uint32(max_phones)  # that many phones with the same words
    update, sums = quantiser.decode(total, max_phones)
    assert update[0] == pytest.approx(sign * norm * max_phones, rel=1e-4)
    assert sums["nll"] == pytest.approx(sign * norm * 7 * max_phones, rel=1e-4)


@given(NORMS, st.integers(1, 2**16))
def test_a_step_is_the_finest_power_of_two_that_fits(norm: float, max_phones: int) -> None:
    quantiser = Quantiser(norm, 1, max_phones)
    assert math.frexp(quantiser.step)[0] == 0.5
    assert quantiser.step / 2 < norm / quantiser.levels <= quantiser.step


def test_one_phone_more_than_allowed_can_overflow() -> None:
    """The bound is no slacker than said: the test above can fail."""
    quantiser = Quantiser(1.0, 1, 2**16 - 1)
    words = quantiser.encode(np.array([1.0]), {})
    total = words * np.uint32(2 * (2**16 - 1))
    assert quantiser.decode(total, 2 * (2**16 - 1))[0][0] < 2**17 - 2


@given(st.integers(0, 2**32), st.integers(1, 500), st.integers(1, 2**16))
def test_what_leaves_a_phone_is_no_longer_than_the_sensitivity(
    seed: int, num_coordinates: int, max_phones: int
) -> None:
    quantiser = Quantiser(0.7, num_coordinates, max_phones)
    update = np.random.default_rng(seed).normal(size=num_coordinates) * 5
    encoded, _ = quantiser.decode(quantiser.encode(update, {}), 1)
    assert np.linalg.norm(encoded) <= quantiser.sensitivity * (1 + 1e-9)


def test_rounding_can_make_an_update_longer_than_the_clip() -> None:
    quantiser = Quantiser(1.0, 10_000, 2**16)
    update = np.full(10_000, quantiser.step * 0.51)
    encoded, _ = quantiser.decode(quantiser.encode(update, {}), 1)
    assert np.linalg.norm(encoded) == pytest.approx(quantiser.step * 100)
    assert np.linalg.norm(encoded) > np.linalg.norm(update) * 1.9


def test_long_updates_are_worked_on_in_chunks_and_lose_nothing() -> None:
    num_coordinates = CHUNK + 3
    update = np.arange(num_coordinates, dtype=np.float32)
    quantiser = Quantiser(float(np.linalg.norm(update.astype(np.float64))) * 1.001, num_coordinates, 1)
    encoded, _ = quantiser.decode(quantiser.encode(update, {}), 1)
    assert np.abs(encoded - update).max() <= quantiser.step / 2


@pytest.mark.parametrize(
    ("update", "sums"),
    [
        (np.zeros(2), {"nll": 1.0}),
        (np.zeros((3, 1)), {"nll": 1.0}),
        (np.array([0, np.nan, 0]), {"nll": 1.0}),
        (np.array([0, np.inf, 0]), {"nll": 1.0}),
        (np.zeros(3), {"nll": math.nan}),
        (np.zeros(3), {}),
        (np.zeros(3), {"nll": 1.0, "more": 1.0}),
    ],
)
def test_what_is_no_update_is_refused(update: np.ndarray, sums: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"shape|finite|sums"):
        Quantiser(1.0, 3, 10, (Sum("nll", 9.0),)).encode(update, sums)


def test_a_total_that_honest_phones_cannot_give_is_refused() -> None:
    quantiser = Quantiser(1.0, 3, 10, (Sum("nll", 9.0),))
    honest = total_of([quantiser.encode(np.array([1.0, 0, 0]), {"nll": 9.0})] * 3)
    assert quantiser.decode(honest, 3)[1]["nll"] == 27.0
    with pytest.raises(OutOfRange, match="updates"):
        quantiser.decode(honest, 2)
    honest[:3] = 0
    with pytest.raises(OutOfRange, match="nll"):
        quantiser.decode(honest, 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"clip_norm": 0.0},
        {"clip_norm": math.inf},
        {"num_coordinates": 0},
        {"max_phones": 0},
        {"max_phones": 2**16 + 1},
        {"sums": (Sum("nll", 0.0),)},
        {"sums": (Sum("nll", 1.0), Sum("nll", 2.0))},
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # each has a sentence of its own
        Quantiser(**({"clip_norm": 1.0, "num_coordinates": 3, "max_phones": 10} | fields))
