"""Masks of packed rows: two numbers a position say who sees whom."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey_kernels import document_mask, length_mask, order_masks


@settings(max_examples=60)
@given(
    ids=st.lists(st.integers(-1, 3), min_size=1, max_size=24),
    causal=st.booleans(),
    window=st.integers(0, 8),
)
def test_the_dense_mask_says_what_the_rules_say(ids: list[int], causal: bool, window: int) -> None:
    mask = document_mask(torch.tensor([ids]), causal=causal, window=window)
    visible = mask.visible_btt()[0].tolist()
    for i in range(len(ids)):
        for j in range(len(ids)):
            run = ids[min(i, j) : max(i, j) + 1]
            together = i == j or (ids[i] >= 0 and len(set(run)) == 1)
            expected = together and (j <= i or not causal) and (window == 0 or abs(i - j) < window)
            assert visible[i][j] == expected, (i, j)


@settings(max_examples=60)
@given(ids=st.lists(st.integers(-1, 3), min_size=1, max_size=16), seed=st.integers(0, 99))
def test_an_order_shows_what_came_before_and_the_content_stream_itself(ids: list[int], seed: int) -> None:
    ranks = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))
    content, query = order_masks(ranks[None], torch.tensor([ids]))
    for i in range(len(ids)):
        earlier = []
        for j in range(len(ids)):
            run = ids[min(i, j) : max(i, j) + 1]
            together = ids[i] >= 0 and len(set(run)) == 1
            earlier.append(together and bool(ranks[j] < ranks[i]))
        itself = [j == i for j in range(len(ids))]
        assert query.visible_btt()[0, i].tolist() == (earlier if any(earlier) else itself)
        assert content.visible_btt()[0, i].tolist() == [a or b for a, b in zip(earlier, itself, strict=True)]


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=6), rest=st.integers(0, 4))
def test_cumulative_lengths_and_document_ids_say_the_same(lengths: list[int], rest: int) -> None:
    ids = [number for number, length in enumerate(lengths) for _ in range(length)] + [-1] * rest
    if not ids:
        return
    cumulative = torch.tensor([0, *lengths]).cumsum(0)
    by_lengths = length_mask(cumulative, len(ids))
    by_ids = document_mask(torch.tensor([ids]))
    assert torch.equal(by_lengths.starts_bt, by_ids.starts_bt)
    assert torch.equal(by_lengths.ends_bt, by_ids.ends_bt)
    assert by_lengths.starts_bt.dtype == torch.int32


def test_the_dense_form_is_zero_where_allowed_and_minus_infinity_elsewhere() -> None:
    mask = document_mask(torch.tensor([[0, 0, 1, -1]])).with_bias(torch.float32)
    assert mask.bias_b1tt is not None
    assert torch.equal(mask.bias_b1tt == 0, mask.visible_btt()[:, None])
    assert mask.bias_b1tt[~mask.visible_btt()[:, None]].eq(float("-inf")).all()


def test_a_document_that_crosses_a_tile_breaks_the_promise() -> None:
    document_mask(torch.tensor([[0, 0, 0, 0, 1, 1, -1, -1]]), tile=4)
    with pytest.raises(ValueError, match="tile 4"):
        document_mask(torch.tensor([[0, 0, 0, 1, 1, 1, 1, -1]]), tile=4)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: document_mask(torch.zeros(4, dtype=torch.int64)),
        lambda: document_mask(torch.zeros(1, 4)),
        lambda: document_mask(torch.zeros(1, 4, dtype=torch.bool)),
    ],
)
def test_bad_document_ids_are_refused_by_name(bad) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="document_ids"):
        bad()


def test_other_bad_arguments_are_refused_by_name() -> None:
    ids = torch.zeros(1, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="window"):
        document_mask(ids, window=-1)
    with pytest.raises(ValueError, match="cumulative_lengths"):
        length_mask(torch.zeros(1, 4, dtype=torch.int64), 4)
    with pytest.raises(ValueError, match="cumulative_lengths"):
        length_mask(torch.zeros(4), 4)
