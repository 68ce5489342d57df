"""Noise is normal, secret, drawn again exactly, and hides the last bits of what it is added to."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedkey.errors import UserError
from fedkey_server.noise import (
    CHUNK,
    FINENESS,
    Purpose,
    fingerprint,
    gaussian,
    grid_step,
    make_key,
    noised,
    noised_votes,
    poisson_cohort,
    read_key,
    uniform,
)

KEY = bytes(range(32))
SIZE = 400_000


def draws(round_number: int, index: int = 0, size: int = SIZE, key: bytes = KEY) -> np.ndarray:
    return gaussian(key, Purpose.UPDATES, round_number, index, size)


def test_draws_are_normal() -> None:
    values = draws(1)
    assert stats.kstest(values, "norm").pvalue > 0.01
    # Standard errors of the first four moments of a normal sample.
    assert abs(values.mean()) < 3 * math.sqrt(1 / SIZE)
    assert abs(values.var() - 1) < 3 * math.sqrt(2 / SIZE)
    assert abs((values**3).mean()) < 3 * math.sqrt(15 / SIZE)
    assert abs((values**4).mean() - 3) < 3 * math.sqrt(96 / SIZE)


@pytest.mark.parametrize("beyond", [2.0, 3.0, 4.0])
def test_both_tails_weigh_what_they_should(beyond: float) -> None:
    values = np.concatenate([draws(round_number) for round_number in range(1, 6)])
    expected = len(values) * stats.norm.sf(beyond)
    for tail in (values > beyond, values < -beyond):
        assert abs(tail.sum() - expected) < 4 * math.sqrt(expected)


def test_the_tail_does_not_repeat_itself() -> None:
    """With 32-bit uniforms, values beyond 4.5 would lie on few points."""
    values = np.abs(np.concatenate([draws(round_number) for round_number in range(1, 6)]))
    assert len(np.unique(values)) == len(values)


def test_uniforms_are_uniform_and_never_an_end() -> None:
    values = uniform(KEY, Purpose.COHORT, 1, 0, SIZE)
    assert stats.kstest(values, "uniform").pvalue > 0.01
    assert values.min() > 0
    assert values.max() < 1


@pytest.mark.parametrize(
    "other",
    [
        draws(2),
        draws(1, index=1),
        draws(1, key=bytes(range(1, 33))),
        gaussian(KEY, Purpose.VOTES, 1, 0, SIZE),
        np.roll(draws(1), 1),
    ],
    ids=["round", "tensor", "key", "purpose", "neighbour"],
)
def test_draws_for_different_things_have_nothing_in_common(other: np.ndarray) -> None:
    mine = draws(1)
    for left, right in ((mine, other), (mine**2, other**2)):
        assert abs(np.corrcoef(left, right)[0, 1]) < 3.5 / math.sqrt(SIZE)
    assert not np.isin(mine[:1000], other[2000:]).any()


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    long = draws(3, size=CHUNK + 7)
    assert np.array_equal(draws(3, size=5), long[:5])
    assert np.array_equal(draws(3, size=CHUNK + 1), long[: CHUNK + 1])


def test_another_process_draws_the_same() -> None:
    code = (
        "from fedkey_server.noise import *; import json; key = bytes(range(32));"
        "drawn = gaussian(key, Purpose.UPDATES, 7, 3, 5).tolist();"
        "print(json.dumps([drawn, poisson_cohort(key, 7, 1000, 0.01)]))"
    )
    path = os.pathsep.join(sys.path)
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "5"}
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env=environment
    ).stdout
    assert json.loads(printed) == [draws(7, 3, 5).tolist(), poisson_cohort(KEY, 7, 1000, 0.01)]


def test_draws_are_the_inverse_of_the_normal_distribution_at_the_keystream() -> None:
    """Word by word, with the standard library's inverse."""
    nonce = struct.pack("<IIII", 0, Purpose.UPDATES, 6, 2)
    stream = Cipher(algorithms.ChaCha20(KEY, nonce), mode=None).encryptor().update(bytes(8 * 3000))
    inverse = NormalDist().inv_cdf
    expected = [
        inverse(((word >> 1) + 0.5) * 2.0**-64) * (1 if word & 1 else -1)
        for word in struct.unpack("<3000Q", stream)
    ]
    assert draws(6, 2, 3000).tolist() == pytest.approx(expected, rel=1e-12)


def test_draws_stay_what_they_were_when_runs_were_started_with_them() -> None:
    """A change here breaks runs that are to be resumed."""
    assert draws(1, size=3).tolist() == pytest.approx(
        [0.3534580479643103, 0.587365913370252, 1.9140361835732795], rel=1e-12
    )


# -- sums ----------------------------------------------------------------------------------------------------


def a_total(seed: int, scale: float = 10.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "b": scale * torch.randn((300, 40), generator=generator, dtype=torch.float64),
        "a": scale * torch.randn(50, generator=generator, dtype=torch.float64),
    }


NUM_VALUES = 12_050


def test_a_sum_gets_noise_of_the_right_size_on_every_tensor() -> None:
    total = a_total(1)
    result = noised(total, KEY, 1, clip_norm=0.5, noise_multiplier=2.0)
    noise = {name: (result[name] - total[name]).flatten().numpy() for name in total}
    assert stats.kstest(noise["b"], "norm").pvalue > 0.01
    assert stats.kstest(noise["a"], "norm").pvalue > 0.01
    assert abs(np.concatenate([noise["a"], noise["b"]]).std() - 1) < 3 / math.sqrt(2 * NUM_VALUES)
    assert abs(np.corrcoef(noise["a"], noise["b"][:50])[0, 1]) < 0.5
    assert list(result) == ["a", "b"]
    assert result["b"].shape == (300, 40)


def test_rounds_have_noise_of_their_own_and_keep_it() -> None:
    total = a_total(1)
    first, second = (noised(total, KEY, number, 0.5, 2.0)["b"] for number in (1, 2))
    assert not torch.equal(first, second)
    assert torch.equal(first, noised(dict(reversed(total.items())), KEY, 1, 0.5, 2.0)["b"])


@given(seed=st.integers(0, 1000), clip_norm=st.floats(1e-3, 1e3), noise_multiplier=st.floats(0, 10))
@settings(max_examples=30)
def test_what_leaves_is_a_whole_number_of_steps_and_the_noise_is_the_same_whatever_it_is_added_to(
    seed: int, clip_norm: float, noise_multiplier: float
) -> None:
    step = grid_step(clip_norm, NUM_VALUES)
    assert step * math.sqrt(NUM_VALUES) <= clip_norm / FINENESS < 2 * step * math.sqrt(NUM_VALUES)
    assert math.frexp(step)[0] == 0.5
    noise = []
    for total in (a_total(seed, clip_norm), a_total(seed + 1, 1000 * clip_norm)):
        result = noised(total, KEY, 4, clip_norm, noise_multiplier)
        steps = {name: tensor / step for name, tensor in result.items()}
        assert all(torch.equal(tensor, tensor.round()) for tensor in steps.values())
        noise.append({name: steps[name] - torch.round(total[name] / step) for name in total})
    assert all(torch.equal(noise[0][name], noise[1][name]) for name in noise[0])


def test_the_sum_of_many_reports_stays_exact() -> None:
    """A million phones that all pull one value as far as they may."""
    clip_norm = 1.0
    total = {"a": torch.zeros(10_000, dtype=torch.float64)}
    total["a"][0] = 1e6 * clip_norm
    noise = noised({"a": torch.zeros(10_000)}, KEY, 1, clip_norm, 1.0)["a"]
    assert noised(total, KEY, 1, clip_norm, 1.0)["a"][0] - noise[0] == 1e6


def test_correlated_noise_combines_draws_of_earlier_rounds_and_none_before_the_first() -> None:
    zeros = {"a": torch.zeros(50_000)}
    fresh = [noised(zeros, KEY, number, 1.0, 1.0)["a"] for number in range(1, 6)]
    weights = (1.0, -0.5, -0.125)
    tolerance = 4 * grid_step(1.0, 50_000)
    for number, expected in [
        (1, fresh[0]),
        (2, fresh[1] - fresh[0] / 2),
        (5, fresh[4] - fresh[3] / 2 - fresh[2] / 8),
    ]:
        assert torch.allclose(
            noised(zeros, KEY, number, 1.0, 1.0, weights)["a"], expected, atol=tolerance, rtol=0
        )


def test_votes_get_their_noise() -> None:
    noise = np.array([noised_votes(3.5, KEY, number, 5.0) - 3.5 for number in range(1, 2001)])
    assert stats.kstest(noise / 5, "norm").pvalue > 0.01
    assert noised_votes(-1.0, KEY, 9, 5.0) - -1.0 == noised_votes(1.5, KEY, 9, 5.0) - 1.5


# -- cohorts -------------------------------------------------------------------------------------------------


def test_every_phone_is_asked_independently_at_the_rate() -> None:
    num_phones, num_rounds, rate = 500, 400, 0.04
    asked = np.zeros((num_rounds, num_phones))
    for number in range(num_rounds):
        asked[number, poisson_cohort(KEY, number + 1, num_phones, rate)] = 1
    sizes, times = asked.sum(1), asked.sum(0)
    # Binomial mean and variance; a cohort of fixed size would have no variance at all.
    assert sizes.mean() == pytest.approx(num_phones * rate, abs=3 * math.sqrt(num_phones * rate / num_rounds))
    assert sizes.var() == pytest.approx(num_phones * rate * (1 - rate), rel=0.3)
    assert times.var() == pytest.approx(num_rounds * rate * (1 - rate), rel=0.3)
    together = [np.corrcoef(left, right)[0, 1] for left, right in pairwise(asked)]
    assert abs(np.mean(together)) < 4 / math.sqrt(num_phones * num_rounds)


def test_a_cohort_can_be_nobody_and_everybody() -> None:
    assert poisson_cohort(KEY, 1, 100, 0.0) == []
    assert poisson_cohort(KEY, 1, 100, 1.0) == list(range(100))


# -- the key -------------------------------------------------------------------------------------------------


def test_a_key_is_for_its_owner_only_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "noise.key"
    umask = os.umask(0)
    try:
        key = make_key(path)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path) == key
    assert [entry.name for entry in tmp_path.iterdir()] == ["noise.key"]
    other = make_key(tmp_path / "other.key")
    assert other != key
    assert fingerprint(other) != fingerprint(key) == fingerprint(read_key(path))
    assert key.hex() not in fingerprint(key)


def test_a_key_is_never_made_in_place_of_another(tmp_path: Path) -> None:
    key = make_key(tmp_path / "noise.key")
    with pytest.raises(UserError, match="there already"):
        make_key(tmp_path / "noise.key")
    assert read_key(tmp_path / "noise.key") == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_key_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "noise.key"
    make_key(path)
    path.chmod(mode)
    with pytest.raises(UserError, match="Others can read"):
        read_key(path)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.key"
    with pytest.raises(UserError, match="No such file"):
        read_key(path)
    key = make_key(path)
    for content in (key[:-1], key + b"x", b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is no noise key"):
            read_key(path)
    (tmp_path / "link.key").symlink_to(path)
    with pytest.raises(UserError, match="Cannot read"):
        read_key(tmp_path / "link.key")
    with pytest.raises(UserError, match="Cannot write"):
        make_key(tmp_path / "nowhere" / "noise.key")
