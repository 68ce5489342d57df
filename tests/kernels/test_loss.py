"""Linear layer and cross entropy in one: the value and gradients of the plain computation, without its
logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedkey_kernels import bartlett_loss, linear_cross_entropy, loss, reference

# N, D, V: nothing graded, one of everything, odd sizes.
SHAPES = [(0, 3, 5), (1, 1, 1), (7, 5, 11), (50, 16, 33)]
SHAPE_IDS = [f"{n}x{d}x{v}" for n, d, v in SHAPES]


pytestmark = pytest.mark.usefixtures("poisoned_memory")


@pytest.fixture(params=["one chunk", "chunks of two"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "chunks of two":
        monkeypatch.setattr(loss, "CHUNK_LOGITS", 70)  # 2 rows of V = 33, 6 of V = 11
    return str(request.param)


def inputs(
    n: int, d: int, v: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, d, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(v, d, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(v, (n,), generator=generator)


def by_torch(hidden: Tensor, weight: Tensor, targets: Tensor, z_penalty: float) -> Tensor:
    logits = hidden @ weight.T
    nll = functional.cross_entropy(logits, targets, reduction="sum")
    return nll + z_penalty * logits.logsumexp(dim=-1).square().sum()


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("z_penalty", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_IDS)
def test_value_and_gradients_are_those_of_reference_and_torch(
    shape: tuple[int, int, int], z_penalty: float
) -> None:
    hidden, weight, targets = inputs(*shape)
    total, nll, hits = linear_cross_entropy(hidden, weight, targets, z_penalty)
    gradients = torch.autograd.grad(3 * total, (hidden, weight))
    wanted_total, wanted_nll, wanted_hits = reference.linear_cross_entropy(hidden, weight, targets, z_penalty)
    for other in (wanted_total, by_torch(hidden, weight, targets, z_penalty)):
        torch.testing.assert_close(total, other, rtol=1e-12, atol=1e-12)
        wanted = torch.autograd.grad(3 * other, (hidden, weight))
        for gradient, want in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(gradient, want, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(nll, wanted_nll, rtol=1e-12, atol=1e-12)
    assert hits == wanted_hits
    assert not nll.requires_grad


@pytest.mark.usefixtures("chunks")
def test_gradients_are_the_slopes_of_the_value() -> None:
    hidden, weight, targets = inputs(6, 4, 33)
    assert torch.autograd.gradcheck(
        lambda h, w: linear_cross_entropy(h, w, targets, 0.1)[0], (hidden, weight)
    )


@pytest.mark.parametrize("wanting", ["hidden", "weight", "neither"])
def test_only_what_wants_a_gradient_gets_one(wanting: str) -> None:
    hidden, weight, targets = inputs(5, 4, 9)
    hidden.requires_grad_(wanting == "hidden")
    weight.requires_grad_(wanting == "weight")
    total, _, _ = linear_cross_entropy(hidden, weight, targets, 0.1)
    torch.testing.assert_close(total, by_torch(hidden, weight, targets, 0.1))
    assert total.requires_grad == (wanting != "neither")
    if wanting != "neither":
        total.backward()
    assert (hidden.grad is not None) == (wanting == "hidden")
    assert (weight.grad is not None) == (wanting == "weight")


def test_without_gradients_the_value_is_the_same_and_none_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hidden, weight, targets = inputs(20, 4, 9)
    again = linear_cross_entropy(hidden, weight, targets, 0.1)
    monkeypatch.setattr(loss, "add_product", lambda *_: pytest.fail("nobody wants the weight's gradient"))
    with torch.no_grad():
        without = linear_cross_entropy(hidden, weight, targets, 0.1)
    assert not without[0].requires_grad
    assert all(map(torch.equal, without, again))


def test_under_autocast_gradients_are_as_wide_as_the_parameters() -> None:
    hidden, weight, targets = inputs(300, 8, 33, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _, _ = linear_cross_entropy(hidden, weight, targets, 0.01)
        mixed, _, _ = linear_cross_entropy(hidden.bfloat16(), weight, targets, 0.01)
    narrow = [tensor.detach().bfloat16().requires_grad_() for tensor in (hidden, weight)]
    low, _, _ = linear_cross_entropy(*narrow, targets, 0.01)  # type: ignore[arg-type]
    assert torch.equal(total, low)
    assert torch.equal(mixed, low)
    gradients = torch.autograd.grad(total, (hidden, weight))
    for gradient, want in zip(gradients, torch.autograd.grad(low, narrow), strict=True):
        assert gradient.dtype == torch.float32
        assert torch.equal(gradient.bfloat16(), want)


def test_huge_logits_overflow_nowhere() -> None:
    hidden, weight, targets = inputs(4, 3, 5, torch.float32)
    with torch.no_grad():
        hidden *= 1e4
    total, _, _ = linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(total, by_torch(hidden, weight, targets, 0.0))
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(total, (hidden, weight)))


def test_a_hit_is_a_target_that_no_logit_exceeds() -> None:
    hidden = torch.tensor([[2.0], [2.0], [0.0]])
    weight = torch.tensor([[1.0], [-1.0], [0.5]])
    assert linear_cross_entropy(hidden, weight, torch.tensor([0, 2, 1]))[2] == 2  # at 0 all logits tie


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sums_are_kept_in_float32_at_least(dtype: torch.dtype) -> None:
    hidden, weight, targets = inputs(300, 8, 33, dtype)
    total, nll, _ = linear_cross_entropy(hidden, weight, targets, 0.01)
    assert total.dtype == nll.dtype == torch.float32
    exact = by_torch(hidden.double(), weight.double(), targets, 0.01)
    torch.testing.assert_close(total.double(), exact, rtol=2e-3, atol=0)
    gradients = torch.autograd.grad(total, (hidden, weight))
    for gradient, want in zip(gradients, torch.autograd.grad(exact, (hidden, weight)), strict=True):
        assert gradient.dtype == dtype
        error = (gradient.double() - want.double()).norm() / want.double().norm()
        assert error < {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}[dtype]


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    hidden, weight, targets = inputs(5, 4, 9)
    total, _, _ = linear_cross_entropy(hidden, weight, targets)
    for sum_ in (total, bartlett_loss(hidden, weight, 0)[0]):
        (gradient,) = torch.autograd.grad(sum_.square(), hidden, create_graph=True)
        with pytest.raises(RuntimeError, match="scaled_gradients"):
            gradient.sum().backward()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("hidden", (torch.zeros(4, 3, 2), torch.zeros(5, 2), torch.zeros(4, dtype=torch.int64))),
        ("hidden", (torch.zeros(4, 3), torch.zeros(5, 2), torch.zeros(4, dtype=torch.int64))),
        ("weight", (torch.zeros(4, 3), torch.zeros(5, 3).double(), torch.zeros(4, dtype=torch.int64))),
        (
            "hidden",
            (torch.zeros(4, 3).long(), torch.zeros(5, 3).long(), torch.zeros(4, dtype=torch.int64)),
        ),
        ("targets", (torch.zeros(4, 3), torch.zeros(5, 3), torch.zeros(3, dtype=torch.int64))),
        ("targets", (torch.zeros(4, 3), torch.zeros(5, 3), torch.zeros(4, dtype=torch.int32))),
        ("targets", (torch.zeros(4, 3), torch.zeros(5, 3), torch.zeros(4))),
        ("weight", (torch.zeros(4, 3), torch.zeros(0, 3), torch.zeros(4, dtype=torch.int64))),
        ("weight", (torch.zeros(4, 3), torch.zeros(5, 3, device="meta"), torch.zeros(4).long())),
        ("targets", (torch.zeros(4, 3), torch.zeros(5, 3), torch.zeros(4, device="meta").long())),
    ],
)
def test_bad_input_is_refused_by_name(name: str, arguments: tuple[Tensor, Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match=name):
        linear_cross_entropy(*arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("hidden", (torch.zeros(4, 3), torch.zeros(5, 2), 0)),
        ("weight", (torch.zeros(4, 3), torch.zeros(5, 3).double(), 0)),
        ("seed", (torch.zeros(4, 3), torch.zeros(5, 3), -1)),
        ("seed", (torch.zeros(4, 3), torch.zeros(5, 3), 2**63)),
    ],
)
def test_bad_input_to_draw_labels_by_is_refused_by_name(
    name: str, arguments: tuple[Tensor, Tensor, int]
) -> None:
    with pytest.raises(ValueError, match=name):
        bartlett_loss(*arguments)


@pytest.mark.parametrize("path", ["torch", "reference"])
def test_both_paths_can_be_forced(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKEY_LOSS", path)
    monkeypatch.setattr(loss, "chunked_loss", lambda *_: pytest.fail("that is the torch path"))
    hidden, weight, targets = inputs(5, 4, 9, torch.bfloat16)
    if path == "torch":
        with pytest.raises(pytest.fail.Exception, match="torch path"):
            linear_cross_entropy(hidden, weight, targets)
        return
    total, nll, _ = linear_cross_entropy(hidden, weight, targets)
    assert total.dtype == nll.dtype == bartlett_loss(hidden, weight, 0)[0].dtype == torch.float32


# Labels drawn from the model


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("path", ["torch", "reference"])
def test_labels_follow_the_softmax(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chi-square: its mean is the number of classes less one, its deviation sqrt(2 classes)."""
    monkeypatch.setenv("FEDKEY_LOSS", path)
    hidden, weight, _ = inputs(1, 4, 33, torch.float32)
    with torch.no_grad():
        _, labels = bartlett_loss(hidden.expand(5000, 4), weight, 1)
        expected = 5000 * (hidden.double() @ weight.double().T)[0].softmax(dim=-1)
    found = torch.bincount(labels, minlength=33)
    common = expected >= 5
    assert common.sum() > 20
    statistic = ((found - expected).square() / expected)[common].sum()
    assert statistic < 33 + 4 * 66**0.5


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("path", ["torch", "reference"])
@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_IDS)
def test_a_drawn_label_is_a_target(
    path: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDKEY_LOSS", path)
    hidden, weight, _ = inputs(*shape)
    nll, labels = bartlett_loss(hidden, weight, 7)
    assert torch.equal(labels, bartlett_loss(hidden, weight, 7)[1])
    assert shape[0] < 50 or not torch.equal(labels, bartlett_loss(hidden, weight, 8)[1])
    wanted = by_torch(hidden, weight, labels, 0.0)
    torch.testing.assert_close(nll, wanted, rtol=1e-12, atol=1e-12)
    gradients = torch.autograd.grad(nll, (hidden, weight))
    for gradient, want in zip(gradients, torch.autograd.grad(wanted, (hidden, weight)), strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-11, atol=1e-11)


def test_squared_gradients_of_drawn_labels_average_to_the_gauss_newton_diagonal() -> None:
    """2305.14342, section 2.3: batch * E[g^2], g the gradient of the mean loss, is the diagonal of
    mean_n J_n^T (diag(p_n) - p_n p_n^T) J_n: for the weight, mean_n p_nv (1 - p_nv) hidden_nd^2."""
    hidden, weight, _ = inputs(6, 3, 5)
    batch, num_draws = 6, 1500
    average = torch.zeros_like(weight)
    for seed in range(num_draws):
        (gradient,) = torch.autograd.grad(bartlett_loss(hidden, weight, seed)[0] / batch, weight)
        average += batch * gradient.square() / num_draws
    with torch.no_grad():
        probabilities_nv = (hidden @ weight.T).softmax(dim=-1)
        exact = (probabilities_nv * (1 - probabilities_nv)).T @ hidden.square() / batch
    torch.testing.assert_close(average, exact, rtol=0.25, atol=0.0)
    torch.testing.assert_close(average.sum(), exact.sum(), rtol=0.03, atol=0.0)
