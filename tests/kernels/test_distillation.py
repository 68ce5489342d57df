"""What a teacher expected, as a loss: against the reference, its limits, and a student that learns it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedkey_kernels import linear_cross_entropy, linear_distillation, reference
from fedkey_kernels.distillation import NO_PIECE


def lesson(rows: int, vocabulary: int, named: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Distinct ids and probabilities that leave something for the rest; some places name nothing."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randperm(vocabulary, generator=generator)[:named] for _ in range(rows)])
    probs = torch.rand(rows, named + 1, generator=generator, dtype=torch.float64).softmax(dim=-1)[:, :named]
    missing = torch.rand(rows, named, generator=generator) < 0.2
    return ids.masked_fill(missing, NO_PIECE), probs


def matrices(rows: int, width: int, vocabulary: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(rows, width, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64).to(dtype)
    return hidden.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize(
    ("rows", "width", "vocabulary", "named"), [(7, 5, 11, 3), (1, 8, 3, 2), (33, 4, 50, 1)]
)
def test_value_and_gradients_are_those_of_the_reference(
    rows: int, width: int, vocabulary: int, named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedkey_kernels.distillation.CHUNK_LOGITS", 5 * vocabulary)  # several chunks
    hidden, weight = matrices(rows, width, vocabulary, torch.float64)
    ids, probs = lesson(rows, vocabulary, named)
    total = linear_distillation(hidden, weight, ids, probs)
    expected = reference.linear_distillation(hidden, weight, ids, probs)
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)
    found = torch.autograd.grad(3 * total, (hidden, weight))
    wanted = torch.autograd.grad(3 * expected, (hidden, weight))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_teacher_who_is_sure_is_a_target() -> None:
    hidden, weight = matrices(6, 4, 9, torch.float64)
    targets = torch.tensor([0, 3, 8, 2, 2, 5])
    sure = linear_distillation(hidden, weight, targets[:, None], torch.ones(6, 1, dtype=torch.float64))
    _, nll, _ = linear_cross_entropy(hidden, weight, targets)
    assert sure.item() == pytest.approx(nll.item(), rel=1e-9)


def test_a_student_of_the_same_opinion_is_moved_nowhere() -> None:
    hidden, weight = matrices(6, 4, 9, torch.float64)
    probs, ids = (hidden @ weight.T).softmax(dim=-1).detach().topk(4)
    total = linear_distillation(hidden, weight, ids, probs)
    for gradient in torch.autograd.grad(total, (hidden, weight)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)


def test_nothing_to_learn_costs_nothing() -> None:
    hidden, weight = matrices(0, 4, 9, torch.float32)
    total = linear_distillation(hidden, weight, torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 3))
    assert total.item() == 0.0


def test_half_precision_is_close_and_its_gradients_have_the_weights_dtype() -> None:
    hidden, weight = matrices(20, 16, 40, torch.float32)
    ids, probs = lesson(20, 40, 5)
    exact = reference.linear_distillation(hidden, weight, ids, probs).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = linear_distillation(hidden, weight, ids, probs)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(exact, rel=0.02)
    assert [each.dtype for each in torch.autograd.grad(total, (hidden, weight))] == [torch.float32] * 2


def test_shapes_that_do_not_fit_are_refused() -> None:
    hidden, weight = matrices(4, 4, 9, torch.float32)
    with pytest.raises(ValueError, match="share a width"):
        linear_distillation(hidden[:, :3], weight, torch.zeros(4, 2, dtype=torch.int64), torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"must both be \[4, K\]"):
        linear_distillation(hidden, weight, torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2))
