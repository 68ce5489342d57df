"""A few bad phones do not move the robust averages; honest equals are averaged as they are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedkey_server.robust import AggregationConfig, krum, least_for_krum, median, trimmed_mean

Weights = dict[str, Tensor]


def updates(values: list[float]) -> list[Weights]:
    return [{"a": torch.tensor([value, -value]), "b": torch.tensor([[2 * value]])} for value in values]


def test_the_median_is_taken_of_every_parameter() -> None:
    middle = median(updates([1.0, 100.0, 3.0]))
    assert middle["a"].tolist() == [3.0, -3.0]
    assert middle["b"].tolist() == [[6.0]]
    assert median(updates([1.0, 2.0, 4.0, 100.0]))["b"].tolist() == [[6.0]]


def test_the_trimmed_mean_leaves_out_both_ends() -> None:
    assert trimmed_mean(updates([1.0, 2.0, 3.0, 4.0, 1e6]), 0.2)["b"].tolist() == [[6.0]]
    assert trimmed_mean(updates([1.0, 5.0]), 0.4)["b"].tolist() == [[6.0]]  # never all


@given(st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=9), st.floats(-1e6, 1e6, width=32))
def test_one_liar_cannot_leave_the_range_of_the_honest(honest: list[float], lie: float) -> None:
    low, high = 2 * min(honest) - 1e-5, 2 * max(honest) + 1e-5
    for moved in (median(updates([*honest, lie])), trimmed_mean(updates([*honest, lie]), 0.2)):
        assert low <= float(moved["b"]) <= high
    assert low <= float(krum(updates([*honest, lie]), 1)["b"]) <= high


def test_krum_takes_whole_updates_from_the_crowd() -> None:
    cohort = updates([1.0, 1.1, 1.2, 1.15, 2.0, 50.0])
    assert any(torch.equal(krum(cohort, 1)["a"], update["a"]) for update in cohort[:4])
    assert float(krum(cohort, 1, 3)["b"]) == pytest.approx(2 * (1.1 + 1.2 + 1.15) / 3, abs=1e-5)


def test_krum_refuses_a_cohort_it_promises_nothing_for() -> None:
    assert AggregationConfig(name="krum", num_bad=2).least_reports == 7
    with pytest.raises(ValueError, match="krum needs 7 updates, not 6"):
        krum(updates([1.0] * 6), 2)
    assert AggregationConfig(name="krum", num_bad=1, num_kept=17).least_reports == 20
    with pytest.raises(ValueError, match="krum needs 23 updates, not 20"):
        krum(updates([1.0] * 19 + [1e6]), 1, 20)


@given(st.integers(0, 3), st.integers(1, 5), st.integers(0, 3), st.data())
def test_of_as_many_as_may_be_kept_none_is_bad(
    num_bad: int, num_kept: int, more: int, data: st.DataObject
) -> None:
    num_honest = least_for_krum(num_bad, num_kept) + more - num_bad
    honest = data.draw(st.lists(st.floats(-1, 1, width=32), min_size=num_honest, max_size=num_honest))
    lies = data.draw(st.lists(st.floats(1e3, 1e6, width=32), min_size=num_bad, max_size=num_bad))
    kept = krum(updates([*lies, *honest]), num_bad, num_kept)
    assert 2 * min(honest) - 1e-5 <= float(kept["b"]) <= 2 * max(honest) + 1e-5


@pytest.mark.parametrize(
    "settings", [{"name": "best"}, {"trimmed_share": 0.5}, {"num_bad": -1}, {"num_kept": 0}]
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="aggregation"):
        AggregationConfig(**settings)  # type: ignore[arg-type]
