"""Federated averaging, computed by hand and against central training."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedkey_server.batches import Documents, pack
from fedkey_server.model import Model, ModelConfig
from fedkey_server.rounds import CHUNK, Average, PhoneReport, RoundsConfig, client_update, cohort
from fedkey_server.step import to_batch
from fedkey_server.train import gradient_step

SMALL = ModelConfig(
    vocab_size=60, width=32, num_layers=2, num_heads=4, num_key_value_heads=2, hidden_width=48, window=32
)
FEDSGD = RoundsConfig(batch_rows=0, client_momentum=0.0, clip_norm=0.0, client_learning_rate=10.0)
PLAIN = RoundsConfig(batch_rows=2, client_learning_rate=0.1)


def documents(seed: int, num_documents: int = 9) -> Documents:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, SMALL.window + 1, num_documents)
    total = int(lengths.sum())
    return Documents(
        rng.integers(4, SMALL.vocab_size, total).astype(np.int32),
        rng.random(total) < 0.6,
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def num_targets(texts: Documents) -> int:
    """Graded ids that have something before them in their document."""
    return sum(int(texts.loss[start + 1 : end].sum()) for start, end in pairwise(texts.offsets))


def update(texts: Documents, config: RoundsConfig, seed: int = 0, z_penalty: float = 1e-3) -> PhoneReport:
    return client_update(Model(SMALL), texts, config, z_penalty, np.random.default_rng(seed))


def averaged(reports: list[tuple[dict[str, Tensor], float]]) -> dict[str, Tensor]:
    average = Average()
    for weights, weight in reports:
        average.add(weights, weight)
    return average.mean()


def test_federated_averaging_on_three_numbers() -> None:
    phones = [(1.0, 1), (2.0, 2), (4.0, 5)]
    mean = averaged([({"w": torch.tensor([value])}, weight) for value, weight in phones])
    assert mean["w"].tolist() == [(1 * 1 + 2 * 2 + 4 * 5) / 8]  # 3.125


def test_an_average_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no report carries any weight"):
        Average().mean()


REPORTS = st.lists(
    st.tuples(st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4), st.integers(1, 100_000)),
    min_size=1,
    max_size=12,
)


@given(reports=REPORTS, order=st.randoms(use_true_random=False))
def test_the_order_of_reports_does_not_matter(
    reports: list[tuple[list[float], int]], order: np.random.Generator
) -> None:
    given_order = [({"w": torch.tensor(values)}, float(weight)) for values, weight in reports]
    shuffled = list(given_order)
    order.shuffle(shuffled)  # type: ignore[arg-type]
    torch.testing.assert_close(averaged(given_order), averaged(shuffled), rtol=2e-7, atol=1e-12)


@given(reports=REPORTS)
def test_the_average_is_numpys_weighted_mean(reports: list[tuple[list[float], int]]) -> None:
    mean = averaged([({"w": torch.tensor(values)}, float(weight)) for values, weight in reports])["w"]
    values, weights = np.array([values for values, _ in reports]), [weight for _, weight in reports]
    expected = np.average(values, axis=0, weights=weights)
    np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-6, atol=1e-9)
    assert mean.dtype == torch.float32


@pytest.mark.parametrize(("num_in_float32", "precision"), [(1, 1e-14), (2, 1e-6), (8, 1e-6)])
def test_long_tensors_are_added_in_parts_and_none_is_forgotten(num_in_float32: int, precision: float) -> None:
    generator = torch.Generator().manual_seed(1)
    sizes = {"long": (2 * CHUNK + 3,), "wide": (3, 5), "one": ()}
    updates = [
        ({name: torch.randn(size, generator=generator) for name, size in sizes.items()}, weight)
        for weight in (1.0, 7.0, 300.0)
    ]
    updates.append(({**updates[1][0], "wide": torch.randn(5, 3, generator=generator).double().T}, 2.0))
    updates.reverse()  # one that lies scattered in memory, in another precision, may come first
    average = Average(num_in_float32)
    for update, weight in updates:
        average.add(update, weight)
    assert (average.weight, average.num_reports) == (310.0, 4)
    for name, total in average.total.items():
        expected = sum(update[name].double() * weight for update, weight in updates)
        torch.testing.assert_close(total, expected, rtol=precision, atol=100 * precision)


@pytest.mark.parametrize("num_in_float32", [2, 3, 8])
@given(reports=REPORTS)
def test_some_at_a_time_in_float32_come_to_what_float64_alone_does(
    num_in_float32: int, reports: list[tuple[list[float], int]]
) -> None:
    rough, exact = Average(num_in_float32), Average()
    size = torch.zeros(4, dtype=torch.float64)
    for number, (values, weight) in enumerate(reports, start=1):
        for average in (rough, exact):
            average.add({"w": torch.tensor(values)}, float(weight))
        size += weight * torch.tensor(values).abs()
        if number % 4 == 0:  # asked for in between, a sum goes on as before
            assert rough.total.keys() == {"w"}
    assert (rough.weight, rough.num_reports) == (exact.weight, exact.num_reports)
    off = (rough.total["w"] - exact.total["w"]).abs()
    assert bool((off <= num_in_float32 * 2.0**-24 * size + 1e-30).all())


@pytest.mark.parametrize("num_in_float32", [1, 2])
def test_the_average_does_not_hold_on_to_a_report(num_in_float32: int) -> None:
    weights = {"w": torch.tensor([1.0])}
    average = Average(num_in_float32)
    average.add(weights, 1)
    weights["w"].fill_(100)
    average.add({"w": torch.tensor([3.0])}, 1)
    assert average.mean()["w"].tolist() == [2.0]


@given(
    seed=st.integers(0, 1000),
    round_number=st.integers(1, 1000),
    num_phones=st.integers(1, 300),
    size=st.integers(1, 100),
)
def test_a_cohort_is_drawn_without_replacement_by_its_arguments_alone(
    seed: int, round_number: int, num_phones: int, size: int
) -> None:
    drawn = cohort(seed, round_number, num_phones, size)
    assert drawn == cohort(seed, round_number, num_phones, size)
    assert len(drawn) == len(set(drawn)) == min(size, num_phones)
    assert all(0 <= phone < num_phones for phone in drawn)


def test_cohorts_change_from_round_to_round_and_reach_every_phone() -> None:
    rounds = [cohort(1, number, 50, 10) for number in range(1, 101)]
    assert len({tuple(drawn) for drawn in rounds}) == 100
    counts = np.bincount(np.concatenate(rounds), minlength=50)
    assert counts.min() >= 8  # 20 on average
    assert rounds[0] != cohort(2, 1, 50, 10)


def test_phones_are_drawn_by_their_chances() -> None:
    chances = np.arange(1, 51) / np.arange(1, 51).sum()
    drawn = [cohort(1, number, 50, 1, chances)[0] for number in range(1, 10_001)]
    expected = 10_000 * chances
    deviation = np.abs(np.bincount(drawn, minlength=50) - expected) / np.sqrt(expected * (1 - chances))
    assert deviation.max() < 4  # three in a thousand draws of 50 such counts reach it
    assert sorted(cohort(1, 1, 50, 60, chances)) == list(range(50))


def test_fedsgd_with_every_phone_is_one_central_gradient_step() -> None:
    phones = [documents(seed, num_documents) for seed, num_documents in ((1, 3), (2, 12), (3, 7))]
    reports = [update(texts, FEDSGD) for texts in phones]
    assert [report.num_steps for report in reports] == [1, 1, 1]
    federated = averaged([(report.update, report.num_targets) for report in reports])

    together = Documents(
        np.concatenate([texts.ids for texts in phones]),
        np.concatenate([texts.loss for texts in phones]),
        np.cumsum(np.concatenate([[0], *(texts.lengths for texts in phones)])),
    )
    model = Model(SMALL)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=FEDSGD.client_learning_rate)
    rows = pack(together, SMALL.window, SMALL.window)
    nll, targets = gradient_step(model, optimizer, to_batch(rows, torch.device("cpu")), 1e-3, 0.0)

    assert sum(report.num_targets for report in reports) == targets
    assert sum(report.nll for report in reports) == pytest.approx(nll, rel=1e-5)
    for name, tensor in model.state_dict().items():
        moved = tensor - start[name]
        assert moved.abs().max() > 1e-4, name
        torch.testing.assert_close(federated[name], moved, rtol=1e-3, atol=2e-7)


def test_local_steps_are_not_one_central_step() -> None:
    # What sets FedAvg apart: with several local steps the average is another model than FedSGD's.
    phones = [documents(seed, 12) for seed in (1, 2)]
    many = [update(texts, replace(FEDSGD, batch_rows=1)) for texts in phones]
    one = [update(texts, FEDSGD) for texts in phones]
    averages = [averaged([(report.update, 1.0) for report in reports]) for reports in (many, one)]
    assert not torch.allclose(averages[0]["model.norm.weight"], averages[1]["model.norm.weight"])


def test_a_phones_work_is_a_function_of_weights_text_and_seed() -> None:
    first, again, other = (update(documents(4), PLAIN, seed) for seed in (5, 5, 6))
    assert first._replace(update={}) == again._replace(update={})
    for name, tensor in first.update.items():
        assert torch.equal(tensor, again.update[name])
    assert any(not torch.equal(tensor, other.update[name]) for name, tensor in first.update.items())


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("batch_rows", [0, 2, 100])
def test_a_phone_makes_its_epochs_in_batches(epochs: int, batch_rows: int) -> None:
    texts = documents(7, 14)
    num_rows = len(pack(texts, SMALL.window, SMALL.window))
    report = update(texts, replace(PLAIN, local_epochs=epochs, batch_rows=batch_rows))
    assert report.num_targets == epochs * num_targets(texts)
    assert report.num_steps == epochs * -(-num_rows // (batch_rows or num_rows))


def test_local_training_lowers_the_phones_own_loss() -> None:
    texts = documents(8, 14)
    once, later = update(texts, PLAIN), update(texts, replace(PLAIN, local_epochs=5))
    first_epoch = once.nll / once.num_targets
    other_epochs = (later.nll - once.nll) / (later.num_targets - once.num_targets)
    assert other_epochs < 0.9 * first_epoch


def test_a_phone_with_much_text_takes_another_part_of_it_each_round() -> None:
    texts = documents(9, 30)
    few = replace(PLAIN, max_rows=3, batch_rows=1)
    reports = [update(texts, few, seed) for seed in range(4)]
    assert [report.num_steps for report in reports] == [3] * 4
    assert len({report.num_targets for report in reports}) > 1
    assert all(report.num_targets < num_targets(texts) for report in reports)


@given(seed=st.integers(0, 100))
@settings(max_examples=5)
def test_a_phone_without_graded_text_reports_that_it_has_nothing(seed: int) -> None:
    texts = documents(seed, 3)
    report = update(Documents(texts.ids, np.zeros_like(texts.loss), texts.offsets), PLAIN)
    assert report.num_targets == 0
    assert report.update.keys() == Model(SMALL).state_dict().keys()
    assert not any(tensor.any() for tensor in report.update.values())


def test_a_proximal_pull_keeps_the_phone_near_the_server() -> None:
    texts = documents(8, 14)

    def distance(proximal: float) -> float:
        report = update(texts, replace(PLAIN, local_epochs=3, proximal=proximal))
        return sum(float(tensor.square().sum()) for tensor in report.update.values()) ** 0.5

    free, pulled, tied = distance(0.0), distance(2.0), distance(1 / PLAIN.client_learning_rate)
    assert 0 < pulled < 0.9 * free
    assert tied == 0.0  # a pull of the whole way back after every step


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_rounds": 0}, "rounds.num_rounds must be at least 1, not 0"),
        ({"min_reports": 5, "phones_per_round": 4}, "min_reports 5 is more than phones_per_round 4"),
        ({"batch_rows": -1}, "rounds.batch_rows must not be negative, but it is -1"),
        ({"client_learning_rate": 0.0}, "rounds.client_learning_rate must be more than 0"),
        ({"client_momentum": 1.0}, "rounds.client_momentum must be from 0 up to 1"),
        ({"final_share": 0.0}, "rounds.final_share must be above 0 and at most 1"),
        ({"timeout": -1.0}, "rounds.timeout must be more than 0"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoundsConfig(**change)  # type: ignore[arg-type]


def test_a_phones_rate_falls_from_round_to_round_to_its_final_share() -> None:
    config = RoundsConfig(num_rounds=5, client_learning_rate=2.0, final_share=0.1)
    rates = [config.in_round(number).client_learning_rate for number in range(1, 6)]
    assert rates[0] == 2.0
    assert rates[-1] == pytest.approx(0.2)
    assert rates == sorted(rates, reverse=True)
    assert replace(config.in_round(3), client_learning_rate=2.0) == config


def test_without_a_final_share_the_rate_stays() -> None:
    config = RoundsConfig(num_rounds=4, client_learning_rate=0.5)
    assert [config.in_round(number).client_learning_rate for number in range(1, 5)] == [0.5] * 4
