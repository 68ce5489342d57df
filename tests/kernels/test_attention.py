"""Attention inside packed documents: both paths agree, and no position sees another document."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedkey_kernels import additive_mask, attention, reference
from fedkey_kernels.attention import PATH_VARIABLE, PATHS

# B, T, H, G, K: one position, one head, heads in groups, sizes that no block of a kernel divides.
SHAPES = [
    (1, 1, 1, 1, 1),
    (2, 5, 4, 4, 2),
    (1, 17, 6, 2, 3),
    (3, 13, 4, 1, 7),
    (2, 33, 2, 2, 59),
    (1, 129, 3, 1, 11),
]


def heads(b: int, t: int, h: int, g: int, k: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values in float64 that want gradients."""
    generator = torch.Generator().manual_seed(seed)
    q, k_, v = (
        torch.randn(b, t, n, k, dtype=torch.float64, generator=generator, requires_grad=True)
        for n in (h, g, g)
    )
    return q, k_, v


def documents(lengths: list[int], num_positions: int) -> Tensor:
    """[T] ids of documents of these lengths, then padding."""
    ids = [number for number, length in enumerate(lengths) for _ in range(length)]
    return torch.tensor(ids + [-1] * (num_positions - len(ids)), dtype=torch.int32)


def mixed_documents(num_rows: int, num_positions: int) -> Tensor:
    """[B, T]: rows of one-token documents, of one whole document, of padding at the end, of padding alone."""
    thirds = [num_positions // 3, 1, num_positions // 4]
    rows = [
        documents([1, *thirds], num_positions)
        if num_positions > 4
        else documents([1] * num_positions, num_positions),
        documents([num_positions], num_positions),
        documents([], num_positions),
    ]
    return torch.stack(rows[:num_rows])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_path_gives_the_reference_forward_and_backward(
    shape: tuple[int, int, int, int, int], causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = heads(*shape)
    ids = mixed_documents(*shape[:2])
    expected = reference.attention(*inputs, ids, causal=causal)
    upstream = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected_gradients = torch.autograd.grad(expected, inputs, upstream)
    for path in PATHS:
        monkeypatch.setenv(PATH_VARIABLE, path)
        out = attention(*inputs, ids, causal=causal)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
        gradients = torch.autograd.grad(out, inputs, upstream)
        for name, gradient, wanted in zip("qkv", gradients, expected_gradients, strict=True):
            torch.testing.assert_close(
                gradient, wanted, rtol=0, atol=1e-12, msg=lambda text, name=name: f"d{name}: {text}"
            )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("causal", [True, False])
def test_padding_sees_itself_alone_and_stays_finite(
    path: str, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    inputs = heads(2, 6, 2, 1, 4)
    ids = torch.stack([documents([], 6), documents([2, 1], 6)])
    out = attention(*inputs, ids, causal=causal)
    own_values = inputs[2].expand_as(out)
    torch.testing.assert_close(out[ids < 0], own_values[ids < 0], rtol=0, atol=1e-12)
    for gradient in torch.autograd.grad(out.sum(), inputs):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    changed=st.integers(0, 5),
    causal=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_no_document_sees_another(
    path: str, lengths: list[int], changed: int, causal: bool, seed: int
) -> None:
    changed %= len(lengths)
    num_positions = sum(lengths) + 2
    q, k, v = (tensor.detach() for tensor in heads(1, num_positions, 4, 2, 3, seed))
    ids = documents(lengths, num_positions)[None]
    mine = ids[0] == changed
    other = [tensor.clone() for tensor in heads(1, num_positions, 4, 2, 3, seed + 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PATH_VARIABLE, path)
        before = attention(q, k, v, ids, causal=causal)
        for old, new in zip((q, k, v), other, strict=True):
            old[:, mine] = 1e3 * new[:, mine]
        after = attention(q, k, v, ids, causal=causal)
    torch.testing.assert_close(after[:, ~mine], before[:, ~mine], rtol=0, atol=1e-12)
    assert not torch.equal(after[:, mine], before[:, mine])


@pytest.mark.parametrize("path", PATHS)
def test_packing_changes_nothing_for_a_document(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    q, k, v = heads(1, 20, 4, 2, 5)
    packed = attention(q, k, v, documents([7, 4, 6], 20)[None])
    for start, end in ((0, 7), (7, 11), (11, 17)):
        piece = slice(start, end)
        alone = attention(q[:, piece], k[:, piece], v[:, piece], documents([end - start], end - start)[None])
        torch.testing.assert_close(packed[:, piece], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
def test_what_comes_later_is_seen_only_without_causal(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    q, k, v = heads(1, 8, 2, 2, 4)
    ids = documents([8], 8)[None]
    changed = v.detach().clone()
    changed[:, -1] += 1
    for causal in (True, False):
        before = attention(q, k, v, ids, causal=causal)[:, :-1]
        after = attention(q, k, changed, ids, causal=causal)[:, :-1]
        assert torch.equal(before, after) == causal


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("causal", [True, False])
def test_a_mask_made_once_serves_every_layer(
    path: str, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    inputs = heads(2, 9, 2, 1, 4)
    ids = mixed_documents(2, 9)
    bias = additive_mask(ids, torch.float64, causal=causal)
    assert bias.shape == (2, 1, 9, 9)
    given_bias = attention(*inputs, ids, causal=causal, bias_b1tt=bias)
    torch.testing.assert_close(given_bias, attention(*inputs, ids, causal=causal), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_as_close_as_the_reference_in_that_precision(dtype: torch.dtype) -> None:
    inputs = [tensor.detach().to(dtype) for tensor in heads(2, 64, 4, 2, 16)]
    ids = torch.stack([documents([30, 1, 20], 64), documents([64], 64)])
    exact = reference.attention(*(tensor.double() for tensor in inputs), ids)
    naive_error = (reference.attention(*inputs, ids).double() - exact).abs().max()
    # Under autocast the model makes its mask in float32 while queries are bf16.
    out = attention(*inputs, ids, bias_b1tt=additive_mask(ids, torch.float32))
    assert out.dtype == dtype
    assert (out.double() - exact).abs().max() <= 2 * naive_error


def bad_inputs() -> list[tuple[str, dict[str, Tensor]]]:
    q, k, v = (torch.zeros(2, 6, n, 4) for n in (4, 2, 2))
    ids = torch.zeros(2, 6, dtype=torch.int64)
    good = {"q_bthk": q, "k_btgk": k, "v_btgk": v, "document_ids_bt": ids}
    return [
        (name, good | changed)
        for name, changed in (
            ("q", {"q_bthk": q[0]}),
            ("q", {"q_bthk": q.long(), "k_btgk": k.long(), "v_btgk": v.long()}),
            ("k", {"k_btgk": k[:, :5]}),
            ("k", {"k_btgk": k[..., :3]}),
            ("k", {"k_btgk": k[0]}),
            ("k", {"k_btgk": k[:, :, :0]}),
            ("k", {"k_btgk": torch.zeros(2, 6, 3, 4)}),
            ("v", {"v_btgk": v[:1]}),
            ("v", {"v_btgk": v.double()}),
            ("v", {"v_btgk": v.to("meta")}),
            ("v", {"v_btgk": v[:, :, :1]}),
            ("document_ids", {"document_ids_bt": ids[0]}),
            ("document_ids", {"document_ids_bt": ids.float()}),
            ("document_ids", {"document_ids_bt": ids.bool()}),
            ("document_ids", {"document_ids_bt": ids.to("meta")}),
            ("bias", {"bias_b1tt": torch.zeros(2, 6, 6)}),
        )
    ]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("name", "arguments"), bad_inputs())
def test_bad_input_is_refused_by_name(
    path: str, name: str, arguments: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        attention(**arguments)


def test_the_variable_forces_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the SDPA path looks at a mask that is handed in, which shows which one ran."""
    inputs = heads(1, 6, 1, 1, 4)
    ids = documents([6], 6)[None]
    everything_allowed = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    monkeypatch.setenv(PATH_VARIABLE, "reference")
    by_reference = attention(*inputs, ids, bias_b1tt=everything_allowed)
    monkeypatch.setenv(PATH_VARIABLE, "sdpa")
    by_sdpa = attention(*inputs, ids, bias_b1tt=everything_allowed)
    monkeypatch.delenv(PATH_VARIABLE)
    by_default = attention(*inputs, ids, bias_b1tt=everything_allowed)
    torch.testing.assert_close(by_reference, reference.attention(*inputs, ids))
    assert not torch.allclose(by_sdpa, by_reference)
    assert torch.equal(by_default, by_sdpa)


@pytest.mark.parametrize("wrong", ["triton!", "", "SDPA"])
def test_a_wrong_path_is_refused_and_the_right_ones_named(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, wrong)
    with pytest.raises(ValueError, match=f"{PATH_VARIABLE}.*reference, sdpa"):
        attention(*heads(1, 2, 1, 1, 2), documents([2], 2)[None])
