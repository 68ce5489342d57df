"""The Triton kernels of the loss against float64, interpreted where there is no GPU, and compiled for an
H200."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedkey_kernels import bartlett_loss, linear_cross_entropy, reference

pytest.importorskip("triton")
from fedkey_kernels import fused_loss

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SPAN = fused_loss.SPAN
"""The real one; most tests here use less."""


@pytest.fixture(autouse=True)
def _triton(monkeypatch: pytest.MonkeyPatch, poisoned_memory: None) -> None:
    """Forced, with spans of two tiles."""
    monkeypatch.setenv("FEDKEY_LOSS", "triton")
    monkeypatch.setattr(fused_loss, "SPAN", 2 * fused_loss.TILE)


def inputs(
    n: int, d: int, v: int, dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, a weight, and targets of which some are the top-1."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(n, d, dtype=torch.float64, generator=generator)
    weight = scale * torch.randn(v, d, dtype=torch.float64, generator=generator) / d**0.5
    targets = torch.randint(v, (n,), generator=generator)
    hidden, weight = (tensor.to(DEVICE, dtype) for tensor in (hidden, weight))
    targets[::3] = (hidden.double() @ weight.double().T).argmax(dim=-1).cpu()[::3]
    return hidden.requires_grad_(), weight.requires_grad_(), targets.to(DEVICE)


def relative(got: Tensor, exact: Tensor) -> float:
    return float((got.double() - exact).norm() / exact.norm().clamp(min=1e-30))


def check(hidden: Tensor, weight: Tensor, targets: Tensor, z_penalty: float) -> None:
    """Sums as exact as float32, and gradients by FlashAttention's rule: at most twice as far from float64 as
    plain torch in the same precision is."""
    found = []
    for run, dtype in (
        (linear_cross_entropy, None),
        (reference.linear_cross_entropy, None),
        (reference.linear_cross_entropy, torch.float64),
    ):
        given = [tensor.detach().to(dtype or tensor.dtype).requires_grad_() for tensor in (hidden, weight)]
        total, nll, hits = run(*given, targets, z_penalty)
        found.append((total, nll, hits, *torch.autograd.grad(3 * total, given)))
    got, low, exact = found
    assert got[0].dtype == got[1].dtype == torch.float32
    assert not got[1].requires_grad
    torch.testing.assert_close(torch.stack(got[:2]).double(), torch.stack(exact[:2]), rtol=1e-5, atol=1e-6)
    assert int(got[2]) == int(exact[2])
    floor = 2e-6 if hidden.dtype == torch.float32 else 1e-4
    for gradient, plain, want in zip(got[3:], low[3:], exact[3:], strict=True):
        assert gradient.dtype == plain.dtype
        assert relative(gradient, want) <= 2 * relative(plain, want) + floor


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 5, 11), (50, 100, 33), (129, 16, 260), (3, 150, 130)])
def test_it_is_the_reference(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    """One of everything; odd sizes; blocks of rows, tiles and spans that end early; a wide state in
    pieces."""
    check(*inputs(*shape, dtype), z_penalty=0.3 if shape[0] % 2 else 0.0)


def test_chunks_of_the_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_loss, "CHUNK_LOGITS", 7 * 33)
    assert fused_loss.chunk_rows(20, 33) == 7
    check(*inputs(20, 8, 33, torch.float16), z_penalty=0.1)


def test_rows_of_a_chunk() -> None:
    """Whole tiles, at most 2^26 entries, and at least one row."""
    assert fused_loss.chunk_rows(100_000, 4096) == 4096
    assert fused_loss.chunk_rows(100_000, 32_000) == 16 * 128
    assert fused_loss.chunk_rows(300, 4096) == 300
    assert fused_loss.chunk_rows(0, 4096) == fused_loss.chunk_rows(5, 1 << 27) == 1


def test_no_rows() -> None:
    hidden, weight, targets = inputs(1, 8, 33)
    total, nll, hits = linear_cross_entropy(hidden[:0], weight, targets[:0], 0.1)
    assert total == nll == hits == 0
    grad_hidden, grad_weight = torch.autograd.grad(total, (hidden, weight))
    assert not grad_hidden.any()
    assert not grad_weight.any()
    nll, labels = bartlett_loss(hidden[:0], weight, 3)
    assert nll == 0
    assert labels.shape == (0,)


def test_all_that_tie_with_the_maximum_are_hits() -> None:
    """A logit of which another sum was made than of the maximum is still the maximum."""
    hidden, weight, _ = inputs(40, 100, 140)
    same = weight.detach()[:1].expand(140, 100)
    targets = torch.arange(40, device=DEVICE) * 3
    assert linear_cross_entropy(hidden, same, targets)[2] == 40
    near = torch.tensor([[1.0], [1.0001]], device=DEVICE)
    assert linear_cross_entropy(torch.ones(1, 1, device=DEVICE), near, targets[:1])[2] == 0


def test_a_target_out_of_range_is_infinite_loss_and_no_access() -> None:
    hidden, weight, targets = inputs(3, 8, 33)
    for wrong in (-100, 33, 2**32 + 5):
        targets[1] = wrong
        total, nll, _ = linear_cross_entropy(hidden, weight, targets)
        assert total == nll == float("inf")


def test_large_logits_overflow_nowhere() -> None:
    hidden, weight, targets = inputs(5, 8, 33, scale=1e3)
    total, _, _ = linear_cross_entropy(hidden, weight, targets)
    exact = functional.cross_entropy(hidden.double() @ weight.double().T, targets, reduction="sum")
    torch.testing.assert_close(total.double(), exact, rtol=1e-4, atol=1e-3)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(total, (hidden, weight)))


def test_inputs_that_do_not_lie_contiguous() -> None:
    hidden, weight, targets = inputs(12, 16, 40)
    parts = hidden.detach()[::2, 1:9], weight.detach().T[:9:, :].T[:, 1:], targets[::2]
    assert not any(part.is_contiguous() for part in parts)
    check(*parts, z_penalty=0.1)


@pytest.mark.parametrize("wanting", ["hidden", "weight", "neither"])
def test_only_what_wants_a_gradient_gets_one(wanting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, targets = inputs(5, 8, 33)
    hidden.requires_grad_(wanting == "hidden")
    weight.requires_grad_(wanting == "weight")
    product, add_product = fused_loss.product, fused_loss.add_product
    made = []
    monkeypatch.setattr(fused_loss, "product", lambda *given: (made.append("hidden"), product(*given))[1])
    monkeypatch.setattr(
        fused_loss, "add_product", lambda *given: (made.append("weight"), add_product(*given))[1]
    )
    total, _, _ = linear_cross_entropy(hidden, weight, targets)
    assert total.requires_grad == (wanting != "neither")
    if total.requires_grad:
        total.backward()
    assert made == [wanting] * (wanting != "neither")
    assert (hidden.grad is not None) == (wanting == "hidden")
    assert (weight.grad is not None) == (wanting == "weight")


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    hidden, weight, targets = inputs(5, 8, 33)
    for loss in (linear_cross_entropy(hidden, weight, targets)[0], bartlett_loss(hidden, weight, 1)[0]):
        (gradient,) = torch.autograd.grad(loss.square(), hidden, create_graph=True)
        with pytest.raises(RuntimeError, match="linear_cross_entropy_backward"):
            gradient.sum().backward()


def test_under_autocast_products_are_narrow_and_gradients_as_wide_as_the_parameters() -> None:
    """The weight's gradient, a sum over rows, is never rounded to the narrow dtype."""
    hidden, weight, targets = inputs(50, 8, 33)
    with torch.autocast(DEVICE, dtype=torch.float16):
        total, _, _ = linear_cross_entropy(hidden, weight, targets, 0.1)
        mixed, _, _ = linear_cross_entropy(hidden.half(), weight, targets, 0.1)
        drawn, labels = bartlett_loss(hidden, weight, 5)
    narrow = [tensor.detach().half().requires_grad_() for tensor in (hidden, weight)]
    low, _, _ = linear_cross_entropy(*narrow, targets, 0.1)
    assert torch.equal(total, low)
    assert torch.equal(mixed, low)
    assert torch.equal(labels, bartlett_loss(*narrow, 5)[1])
    gradients = torch.autograd.grad(total, (hidden, weight))
    low_gradients = torch.autograd.grad(low, narrow)
    for gradient, low_gradient in zip(gradients, low_gradients, strict=True):
        assert gradient.dtype == torch.float32
        assert torch.equal(gradient.half(), low_gradient)
    assert not torch.equal(gradients[1], low_gradients[1].float())
    assert all(gradient.dtype == torch.float32 for gradient in torch.autograd.grad(drawn, (hidden, weight)))


def test_float64_is_refused() -> None:
    hidden, weight, targets = inputs(3, 8, 33, torch.float64)
    with pytest.raises(ValueError, match="float64"):
        linear_cross_entropy(hidden, weight, targets)
    with pytest.raises(ValueError, match="float64"):
        bartlett_loss(hidden, weight, 0)


def test_without_gpu_or_interpreter_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="FEDKEY_LOSS"):
        linear_cross_entropy(torch.zeros(2, 3), torch.zeros(4, 3), torch.zeros(2, dtype=torch.int64))


# Labels drawn from the model


def assert_follow(labels: Tensor, probabilities: Tensor) -> None:
    """Chi-square of one row's labels, entries expected fewer than five times taken as one: its mean is the
    number of classes, its deviation sqrt(2 classes)."""
    expected = labels.numel() * probabilities.double()
    found = torch.bincount(labels, minlength=expected.numel()).double()
    rare = expected < 5
    found, expected = (torch.cat([t[~rare], t[rare].sum()[None]]) for t in (found, expected))
    statistic = float(((found - expected).square() / expected.clamp(min=1e-9)).sum())
    assert statistic < len(expected) + 4 * (2 * len(expected)) ** 0.5


def test_labels_follow_the_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over three tiles, the last of 4 entries, in spans of one tile and of two."""
    logits = 2 * torch.randn(260, generator=torch.Generator().manual_seed(0))
    logits[[1, 200, 258]] = 4.0
    hidden, weight = torch.ones(1000, 1, device=DEVICE), logits[:, None].to(DEVICE)
    for seed, span in ((0, 1), (1, 2)):
        monkeypatch.setattr(fused_loss, "SPAN", span * fused_loss.TILE)
        _, labels = bartlett_loss(hidden, weight, seed)
        assert_follow(labels.cpu(), logits.softmax(dim=-1))


def test_labels_belong_to_their_rows_and_seed() -> None:
    hidden, weight, _ = inputs(140, 8, 140, scale=3.0)
    nll, labels = bartlett_loss(hidden, weight, 2**63 - 1)
    assert labels.min() >= 0
    assert labels.max() < 140
    assert torch.equal(labels, bartlett_loss(hidden, weight, 2**63 - 1)[1])
    assert not torch.equal(labels, bartlett_loss(hidden, weight, 1)[1])
    total, wanted, _ = linear_cross_entropy(hidden, weight, labels)
    assert torch.equal(nll, wanted)
    for gradient, want in zip(
        torch.autograd.grad(nll, (hidden, weight)), torch.autograd.grad(total, (hidden, weight)), strict=True
    ):
        assert torch.equal(gradient, want)
    assert not nll.isnan()
    assert not labels.requires_grad


def test_where_one_entry_has_all_the_mass_it_is_drawn() -> None:
    """In every place of a tile, so that no rounding of a cumulative sum moves a label."""
    weight = 100 * torch.eye(140, device=DEVICE)
    hidden = torch.eye(140, device=DEVICE)
    assert torch.equal(bartlett_loss(hidden, weight, 4)[1], torch.arange(140, device=DEVICE))


# torch's own rules


def objective(hidden: Tensor, weight: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, ...]:
    total, nll, hits = linear_cross_entropy(hidden * 1.5, weight, targets, 0.1)
    drawn, labels = bartlett_loss(hidden, weight, seed)
    return 2 * total + drawn, nll, hits, labels


@pytest.mark.parametrize("path", ["triton", "torch"])
def test_compiled_without_a_break_it_is_the_same(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For any number of rows and any seed."""
    monkeypatch.setenv("FEDKEY_LOSS", path)
    torch._dynamo.reset()
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True, dynamic=True)
    for n, seed in ((20, 3), (13, 4)):
        hidden, weight, targets = inputs(n, 8, 33)
        runs = []
        for run in (objective, compiled):
            total, *others = run(hidden, weight, targets, seed)
            runs.append([total, *others, *torch.autograd.grad(total, (hidden, weight))])
        for got, want in zip(*runs, strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_the_operators_keep_torchs_rules() -> None:
    """Schema, fake tensors and autograd registration, by torch's own checker."""
    hidden, weight, targets = inputs(3, 8, 33)
    rules = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(fused_loss.linear_cross_entropy, (hidden, weight, targets, 0.1), test_utils=rules)
    torch.library.opcheck(fused_loss.bartlett_loss, (hidden, weight, 3), test_utils=rules)
    detached = (hidden.detach(), weight.detach(), targets, torch.ones(3, device=DEVICE))
    for wanted in ((True, False), (False, True)):
        torch.library.opcheck(
            fused_loss.linear_cross_entropy_backward,
            (torch.ones((), device=DEVICE), *detached, 0.1, *wanted),
            test_utils=rules,
        )


# Ahead of time, for sm_90


def tile_case(kernel: str, width: int, vocabulary: int, sample: bool = False) -> dict[str, Any]:
    forward = kernel == "forward_kernel"
    launch = (fused_loss.forward_launch if forward else fused_loss.gradient_launch)(width)._asdict()
    signature = {"hidden_ptr": "*bf16", "weight_ptr": "*bf16"}
    if forward:
        signature |= {"top_ptr": "*fp32", "sum_ptr": "*fp32", "label_ptr": "*i32"}
        signature |= {"num_rows": "i32", "seed": "i64"}
    else:
        signature |= {"targets_ptr": "*i64", "log_z_ptr": "*fp32", "gradient_ptr": "*bf16"}
        signature |= {"num_rows": "i32", "z_penalty": "fp32"}
    constants = {name: launch[name] for name in ("BLOCK_N", "BLOCK_V", "BLOCK_D")}
    constants |= {"VOCABULARY": vocabulary, "WIDTH": width}
    return {
        "kernel": f"fedkey_kernels.fused_loss:{kernel}",
        "signature": signature,
        "constants": constants | ({"SPAN": SPAN, "SAMPLE": sample} if forward else {}),
        "aligned": [name for name in signature if name.endswith("_ptr")],
        "num_warps": launch["num_warps"],
        "num_stages": launch["num_stages"],
    }


def join_case(width: int, vocabulary: int) -> dict[str, Any]:
    signature = {"hidden_ptr": "*bf16", "weight_ptr": "*bf16", "labels_ptr": "*i64", "top_ptr": "*fp32"}
    signature |= {"sum_ptr": "*fp32", "label_ptr": "*i32", "log_z_ptr": "*fp32", "sums_ptr": "*fp32"}
    signature |= {"hits_ptr": "*i32", "num_rows": "i32", "seed": "i64"}
    constants = {"VOCABULARY": vocabulary, "WIDTH": width, "NUM_SPANS": -(-vocabulary // SPAN)}
    constants |= {"NUM_TILES": -(-vocabulary // fused_loss.TILE), "SAMPLE": True}
    constants |= {"BLOCK_N": fused_loss.JOIN_ROWS, "BLOCK_D": fused_loss.JOIN_COLUMNS}
    return {
        "kernel": "fedkey_kernels.fused_loss:join_kernel",
        "signature": signature,
        "constants": constants,
        "aligned": [name for name in signature if name.endswith("_ptr")],
        "num_warps": 4,
        "num_stages": 3,
    }


def test_compiled_for_an_h200(
    compile_for_hopper: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
) -> None:
    """Widths and vocabularies of the presets."""
    cases = [
        tile_case("forward_kernel", 128, 4096),
        tile_case("forward_kernel", 768, 32_000),
        tile_case("forward_kernel", 320, 32_000, sample=True),
        tile_case("gradient_kernel", 320, 32_000),
        join_case(320, 32_000),
    ]
    for case, report in zip(cases, compile_for_hopper(cases), strict=True):
        assert (report["tensor_core"] == "HGMMA") == (not case["kernel"].endswith("join_kernel")), case
        assert (report["stack"], report["spilled"]) == (0, 0), case
        assert report["global_loads"]["128"] > 0, case
        # Two programs on a multiprocessor, of 64 K registers and 227 KB, but where labels are drawn.
        sample = case["constants"].get("SAMPLE", False)
        assert report["registers"] <= (200 if sample else 128), case
        assert report["shared"] <= 112 * 1024, case


# On a GPU

gpu = pytest.mark.gpu
PRESETS = [(16_384, 128, 4096), (4096, 256, 8192), (5000, 320, 16_384), (3001, 768, 32_000)]


@gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [*PRESETS[:1], (1, 1, 1), (1000, 100, 4097), (700, 768, 5000)])
def test_on_a_gpu_it_is_the_reference(
    shape: tuple[int, int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_loss, "SPAN", SPAN)
    check(*inputs(*shape, dtype), z_penalty=1e-3)


@gpu
@pytest.mark.parametrize("shape", PRESETS)
def test_on_a_gpu_labels_follow_the_softmax(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_loss, "SPAN", SPAN)
    n, d, v = shape
    hidden, weight, _ = inputs(1, d, v, torch.bfloat16, scale=3.0)
    probabilities = (hidden.float() @ weight.float().T)[0].detach().softmax(dim=-1)
    _, labels = bartlett_loss(hidden.detach().expand(64 * n, d), weight.detach(), 11)
    assert_follow(labels, probabilities)


@gpu
def test_on_a_gpu_the_default_is_triton_in_half_precision_and_torch_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FEDKEY_LOSS")
    hidden, weight, targets = inputs(100, 128, 4096)
    names = []
    for dtype in (torch.bfloat16, torch.float32):
        total, _, _ = linear_cross_entropy(hidden.to(dtype), weight.to(dtype), targets)
        names.append(type(total.grad_fn).__name__)
    assert "linear_cross_entropy" in names[0]
    assert "chunked_loss" in names[1]


@gpu
def test_on_a_gpu_two_runs_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_loss, "SPAN", SPAN)
    hidden, weight, targets = inputs(*PRESETS[0], torch.bfloat16)
    runs = []
    for _ in range(2):
        total, *sums = linear_cross_entropy(hidden, weight, targets, 0.1)
        nll, labels = bartlett_loss(hidden, weight, 3)
        runs.append([total, *sums, nll, labels, *torch.autograd.grad(total + nll, (hidden, weight))])
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)


@gpu
def test_on_a_gpu_the_logits_are_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward: a few numbers a row. Backward: a chunk of gradients, and the two results."""
    monkeypatch.setattr(fused_loss, "SPAN", SPAN)
    hidden, weight, targets = inputs(16_384, 128, 32_000, torch.bfloat16)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    total, _, _ = linear_cross_entropy(hidden, weight, targets)
    assert torch.cuda.max_memory_allocated() - before < 16_384 * 32_000 * 2 / 50
    total.backward()
    held = fused_loss.CHUNK_LOGITS * 2 + 3 * weight.numel() * 4 + 3 * hidden.numel() * 4
    assert torch.cuda.max_memory_allocated() - before < held


@gpu
def test_on_a_gpu_under_autocast_and_compiled_without_a_break_it_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FEDKEY_LOSS")
    monkeypatch.setattr(fused_loss, "SPAN", SPAN)
    hidden, weight, targets = inputs(1000, 128, 4096)

    def narrow(hidden: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return objective(hidden, weight, targets, 3)

    runs = []
    for run in (narrow, torch.compile(narrow, fullgraph=True)):
        total, *others = run(hidden, weight)
        runs.append([total, *others, *torch.autograd.grad(total, (hidden, weight))])
    for got, want in zip(*runs, strict=True):
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want, rtol=1e-2, atol=1e-2)
