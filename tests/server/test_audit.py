"""The audit: its arithmetic by hand, and each of its tests with the protection on and off."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from at_command import with_overrides
from hypothesis import given
from hypothesis import strategies as st

from fedkey.commands import EXIT_MISTAKE, run_command
from fedkey.errors import UserError
from fedkey_server import audit as audit_module
from fedkey_server.accountant import PrivacyConfig, accountant_of
from fedkey_server.audit import TESTS, audit, render
from fedkey_server.backdoor import BackdoorScale, _backdoor, boosted_attacker
from fedkey_server.canaries import ExposureScale, _completions, canary_exposure, exposures
from fedkey_server.cli import SUBCOMMANDS
from fedkey_server.cli.audit import NAMES
from fedkey_server.completions import beam, log_likelihoods, next_log_probs
from fedkey_server.config import load
from fedkey_server.inversion import InversionScale, Onlooker, Typed, update_inversion
from fedkey_server.model import Model, ModelConfig
from fedkey_server.one_run import OneRunScale, direction, epsilon_lower_bound, lower_bound
from fedkey_server.trial import Finding, Ground, Outcome

TINY = ModelConfig(vocab_size=40, width=16, num_layers=1, num_heads=2, hidden_width=24, window=16)


@pytest.fixture
def ground(
    small_overrides: list[str], tiny_data: Path, tiny_run: Path, tmp_path: Path, one_thread: None
) -> Iterator[Ground]:
    """Small trials on the made-up chat. Whatever they write must be gone afterwards."""
    overrides = [
        *small_overrides,
        "train.validation_rows=8",
        "rounds.client_learning_rate=0.3",
        "privacy.delta=1e-3",
    ]
    yield Ground(load("tiny", overrides), tiny_data, tiny_run, work=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_exposure_is_all_bits_at_rank_one_and_none_at_the_last() -> None:
    candidates = np.arange(7.0)  # with the secret itself 8
    assert exposures(np.array([9.0, 4.5, 2.5, -1.0]), candidates).tolist() == [
        3.0,
        3 - math.log2(3),
        3 - math.log2(5),
        0.0,
    ]


@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_exposure_depends_on_ranks_alone(num_candidates: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=num_candidates + 1)
    first, others = values[:1], values[1:]
    exposed = exposures(first, others)
    assert 0 <= exposed[0] <= math.log2(num_candidates + 1)
    assert exposures(np.exp(first), np.exp(others)) == exposed


def test_a_secret_that_means_nothing_is_exposed_by_a_bit_and_a_half() -> None:
    values = np.random.default_rng(3).normal(size=(2000, 1))
    candidates = np.random.default_rng(4).normal(size=4095)
    assert exposures(values[:, 0], candidates).mean() == pytest.approx(1 / math.log(2), abs=0.15)


LEXICONS = {
    "none": [],
    "three": ["the", "and", "you"],
    "many": [f"{a}{b}{c}a" for a in "bdfgk" for b in "aeiou" for c in "lmnrs"],
    "cyrillic": [f"{a}{b}{c}а" for a in "бдфгк" for b in "аеиоу" for c in "лмнрс"],
}


@pytest.mark.parametrize("name", LEXICONS)
def test_too_few_words_for_secrets_and_backdoors_are_told_and_any_alphabet_will_do(name: str) -> None:
    class Pieces:
        def encode_unit(self, word: str) -> tuple[int, ...]:
            return tuple(word.encode())[:1]

        def encode_units(self, words: Iterable[str]) -> tuple[int, ...]:
            return tuple(b for word in words for b in word.encode())

    ground: Any = SimpleNamespace(
        lexicon=dict.fromkeys(LEXICONS[name], -1.0),
        pieces=Pieces(),
        data=Path("some-data"),
        generator=lambda purpose: np.random.default_rng(1),
    )
    if len(LEXICONS[name]) > 3:
        assert len(set(_completions(ground, 4131, 3))) == 4131
        assert _backdoor(ground).trigger
        return
    said = rf"some-data has {len(LEXICONS[name])} words .* \(vocabulary.max_words\)\.$"
    with pytest.raises(UserError, match=said):
        _completions(ground, 4131, 3)
    with pytest.raises(UserError, match="too few for a backdoor"):
        _backdoor(ground)


def test_completions_have_the_probability_that_the_model_gives_piece_by_piece() -> None:
    model = Model(TINY, seed=5).eval()
    prefix, completions = (1, 7, 9), [(3, 4), (5,), (6, 7, 8), (5, 39)]
    found = log_likelihoods(model, prefix, completions)
    for completion, value in zip(completions, found, strict=True):
        by_hand = sum(
            float(next_log_probs(model, [(*prefix, *completion[:i])])[0, piece])
            for i, piece in enumerate(completion)
        )
        assert value == pytest.approx(by_hand, abs=1e-5)
    assert log_likelihoods(model, prefix, [(i,) for i in range(40)]) == pytest.approx(
        next_log_probs(model, [prefix])[0].numpy(), abs=1e-5
    )
    assert np.exp(log_likelihoods(model, prefix, [(i,) for i in range(40)])).sum() == pytest.approx(1)


def test_a_beam_as_wide_as_the_vocabulary_holds_the_best_completion() -> None:
    model = Model(TINY, seed=5).eval()
    with torch.no_grad():
        model.embedding_vd.mul_(4)  # so that it prefers something
    pairs = [(i, j) for i in range(40) for j in range(40)]
    best = pairs[int(log_likelihoods(model, (1, 7), pairs).argmax())]
    held = beam(model, (1, 7), 2, 40)
    assert best in held
    assert len(held) == 80
    worst = pairs[int(log_likelihoods(model, (1, 7), pairs).argmin())]
    assert worst not in held


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0])
def test_the_lower_bound_exceeds_the_truth_no_more_often_than_it_says(shift: float) -> None:
    delta, num_parameters = 1e-3, 10_000
    if shift:
        truth = accountant_of(PrivacyConfig("poisson", 1 / shift, delta=delta), 1, 1, 1, 1).epsilon(1)
    else:
        truth = 0.0
    rng = np.random.default_rng(7)
    bounds = np.array(
        [
            lower_bound((rng.normal(size=60) + shift) / math.sqrt(num_parameters), num_parameters, delta)
            for _ in range(1000)
        ]
    )
    assert (bounds > truth + 1e-9).mean() <= 0.05 + 0.02  # 0.02: three standard deviations of 1,000 trials
    assert shift < 1 or bounds.mean() > 0.1 * truth


def test_canaries_that_stand_out_of_the_null_make_the_bound_large() -> None:
    assert lower_bound(np.full(60, 0.1), 10_000, 1e-7) > 40
    assert lower_bound(np.full(60, -0.1), 10_000, 1e-7) == 0


def test_directions_have_length_one_and_are_told_apart_by_seed_and_canary(ground: Ground) -> None:
    found = [direction(*key, ground.start) for key in ((1, 0), (1, 1), (2, 0), (1, 0))]
    flat = [torch.cat([each[name].flatten() for name in sorted(each)]) for each in found]
    assert torch.equal(flat[0], flat[3])
    for each in flat:
        assert float(each.norm()) == pytest.approx(1, abs=1e-5)
    # Cosines of random directions are normal with a variance of one over the number of parameters.
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert abs(float(flat[first] @ flat[second])) < 5 / math.sqrt(len(flat[0]))


def test_an_onlooker_reads_counts_off_an_update_made_by_hand(ground: Ground) -> None:
    onlooker = Onlooker(ground, 8)
    phone = Typed.of(ground.phones.documents(0), ground)
    typed = ground.phones.documents(0)
    counts = np.bincount(typed.ids[typed.loss], minlength=400)
    share = counts / phone.num_targets - onlooker.expected
    # Rows that move along the direction by what was typed less what was expected.
    rows_vd = 0.01 * share[:, None] * onlooker.direction / np.square(onlooker.direction).sum()
    found = onlooker.counts(onlooker.moved(rows_vd), phone.num_targets)
    assert np.abs(found - counts)[counts > 0].max() < 0.5
    guessed = onlooker.guesses(found, 10**6)
    assert phone.words <= guessed  # everything it typed, and other words of the same pieces


def finding(on: bool, off: bool) -> Finding:
    return Finding(Outcome(on, "1 bit"), Outcome(off, "9 bits"), "seen")


@pytest.mark.parametrize(
    ("on", "off", "passed"),
    [(True, False, True), (True, True, False), (False, False, False), (False, True, False)],
)
def test_a_test_passes_if_it_holds_with_the_protection_and_fails_without(
    on: bool, off: bool, passed: bool
) -> None:
    assert finding(on, off).passed is passed
    assert ("NOT PASSED" in render({"it": finding(on, off)})) is not passed


def test_the_command_prints_a_table_json_last_and_says_by_its_status_whether_all_passed(
    tiny_data: Path,
    tiny_run: Path,
    small_overrides: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tuple(TESTS) == NAMES
    monkeypatch.setitem(audit_module.TESTS, "canary_exposure", lambda ground: finding(True, False))
    monkeypatch.setitem(audit_module.TESTS, "update_inversion", lambda ground: finding(True, True))
    sets = with_overrides(*small_overrides)
    start = ["audit", "tiny", "--data", str(tiny_data), "--init", str(tiny_run), *sets, "--json"]

    def run(*only: str) -> tuple[int, list[str]]:
        arguments = [*start, *(part for name in only for part in ("--only", name))]
        status = run_command("fedkey-server", "", SUBCOMMANDS, arguments=arguments)
        return status, capsys.readouterr().out.splitlines()

    status, lines = run("canary_exposure")
    assert status == 0
    assert json.loads(lines[-1]) == {"canary_exposure": True}
    status, lines = run("update_inversion", "canary_exposure")
    assert status == 1
    assert json.loads(lines[-1]) == {"canary_exposure": True, "update_inversion": False}
    assert lines[0].split() == ["protection", "on", "protection", "off"]
    assert [line.split()[0] for line in lines[1:3]] == ["canary_exposure", "update_inversion"]
    assert "holds: 1 bit" in lines[1]
    assert "FAILS: 9 bits" in lines[1]

    missing = ["audit", "tiny", "--data", str(tiny_data / "nowhere"), "--init", str(tiny_run), *sets]
    monkeypatch.undo()
    assert run_command("fedkey-server", "", SUBCOMMANDS, arguments=missing) == EXIT_MISTAKE
    assert "lacks lexicon.tsv; run 'fedkey-server prepare' first." in capsys.readouterr().err


EXPOSURE = ExposureScale(
    num_never_typed=20, num_candidates=511, num_honest=20, num_rounds=20, phones_per_round=8
)


@pytest.mark.slow
def test_plain_averaging_remembers_what_one_phone_said_and_a_private_run_does_not(ground: Ground) -> None:
    rounds = replace(ground.config.rounds, client_learning_rate=1.0, batch_rows=1)
    bold = replace(ground, config=replace(ground.config, rounds=rounds))
    found = canary_exposure(bold, EXPOSURE)
    assert found.protected.holds, found
    assert not found.unprotected.holds, found
    assert "epsilon" in found.notes


ONE_RUN = OneRunScale(num_canaries=40, num_honest=4, num_rounds=3, phones_per_round=22)


@pytest.mark.slow
def test_the_bound_of_one_run_is_below_the_accountant_and_above_it_without_noise(ground: Ground) -> None:
    found = epsilon_lower_bound(ground, ONE_RUN)
    assert found.protected.holds, found
    assert not found.unprotected.holds, found


INVERSION = InversionScale(num_phones=6, num_rows=16, guesses=1, num_shuffles=50, found=0.7)


def test_words_are_read_off_a_plain_update_and_not_off_a_masked_one(ground: Ground) -> None:
    found = update_inversion(ground, INVERSION)
    assert found.protected.holds, found
    assert not found.unprotected.holds, found


BACKDOOR = BackdoorScale(
    num_phones=15, num_rounds=2, max_rows=1, num_contexts=40, attack_steps=20, loss_of_top1=0.02
)
"""Eight rows of validation are too few to see a fifth of a point."""


def test_a_bound_on_updates_stops_an_attacker_who_otherwise_succeeds(ground: Ground) -> None:
    found = boosted_attacker(ground, BACKDOOR)
    assert found.protected.holds, found
    assert not found.unprotected.holds, found


def test_an_audit_with_the_same_seed_finds_the_same(ground: Ground) -> None:
    scale = replace(ONE_RUN, num_rounds=1, num_canaries=6, phones_per_round=5)
    assert epsilon_lower_bound(ground, scale) == epsilon_lower_bound(ground, scale)
    with pytest.raises(KeyError):
        list(audit(ground, ["a test that is none"]))
