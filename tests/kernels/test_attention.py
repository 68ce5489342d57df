"""Attention inside packed documents, torch's path and the reference: they agree, and no position sees another
document. The Triton paths have their own file."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedkey_kernels import attention, block_sparse_attention, document_mask, order_masks, paths, reference
from fedkey_kernels.mask import Mask

PATH_VARIABLE = "FEDKEY_ATTENTION"
PATHS = ("sdpa", "matmul", "reference")

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
    expected = reference.attention(*inputs, document_mask(ids, causal=causal).visible_btt())
    upstream = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected_gradients = torch.autograd.grad(expected, inputs, upstream)
    for path in PATHS:
        monkeypatch.setenv(PATH_VARIABLE, path)
        out = attention(*inputs, document_mask(ids, causal=causal))
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
        gradients = torch.autograd.grad(out, inputs, upstream)
        for name, gradient, wanted in zip("qkv", gradients, expected_gradients, strict=True):
            torch.testing.assert_close(
                gradient, wanted, rtol=0, atol=1e-12, msg=lambda text, name=name: f"d{name}: {text}"
            )


def orders(ids: Tensor, seed: int) -> Tensor:
    """[B, T] a random order of each row's positions."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(ids.shape[1], generator=generator) for _ in ids])


@pytest.mark.parametrize("stream", [0, 1], ids=["content", "query"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_path_takes_queries_of_another_stream_in_an_order_drawn(
    shape: tuple[int, int, int, int, int], stream: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, _, _ = heads(*shape, seed=5)
    _, k, v = heads(*shape, seed=6)
    ids = mixed_documents(*shape[:2])
    mask = order_masks(orders(ids, 7), ids)[stream]
    expected = reference.attention(q, k, v, mask.visible_btt())
    upstream = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected_gradients = torch.autograd.grad(expected, (q, k, v), upstream)
    for path in PATHS:
        monkeypatch.setenv(PATH_VARIABLE, path)
        for each in (mask, mask.with_bias(torch.float64)):
            out = attention(q, k, v, each)
            torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
            gradients = torch.autograd.grad(out, (q, k, v), upstream)
            for name, gradient, wanted in zip("qkv", gradients, expected_gradients, strict=True):
                torch.testing.assert_close(
                    gradient, wanted, rtol=0, atol=1e-12, msg=lambda text, name=name: f"d{name}: {text}"
                )


@pytest.mark.parametrize("path", ["tile", "flash"])
def test_a_dense_mask_is_not_for_the_triton_kernels(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    inputs = [tensor.detach().float() for tensor in heads(1, 16, 2, 1, 16)]
    ids = documents([16], 16)[None]
    with pytest.raises(ValueError, match=rf"mask.dense is given.*{path}"):
        attention(*inputs, order_masks(orders(ids, 1), ids)[0]._replace(tile=16))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("causal", [True, False])
def test_padding_sees_itself_alone_and_stays_finite(
    path: str, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    inputs = heads(2, 6, 2, 1, 4)
    ids = torch.stack([documents([], 6), documents([2, 1], 6)])
    out = attention(*inputs, document_mask(ids, causal=causal))
    own_values = inputs[2].expand_as(out)
    torch.testing.assert_close(out[ids < 0], own_values[ids < 0], rtol=0, atol=1e-12)
    for gradient in torch.autograd.grad(out.sum(), inputs):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=20)
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
        before = attention(q, k, v, document_mask(ids, causal=causal))
        for old, new in zip((q, k, v), other, strict=True):
            old[:, mine] = 1e3 * new[:, mine]
        after = attention(q, k, v, document_mask(ids, causal=causal))
    torch.testing.assert_close(after[:, ~mine], before[:, ~mine], rtol=0, atol=1e-12)
    assert not torch.equal(after[:, mine], before[:, mine])


@pytest.mark.parametrize("path", PATHS)
def test_packing_changes_nothing_for_a_document(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    q, k, v = heads(1, 20, 4, 2, 5)
    packed = attention(q, k, v, document_mask(documents([7, 4, 6], 20)[None]))
    for start, end in ((0, 7), (7, 11), (11, 17)):
        piece = slice(start, end)
        whole = document_mask(documents([end - start], end - start)[None])
        alone = attention(q[:, piece], k[:, piece], v[:, piece], whole)
        torch.testing.assert_close(packed[:, piece], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
def test_what_comes_later_is_seen_only_without_causal(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    q, k, v = heads(1, 8, 2, 2, 4)
    ids = documents([8], 8)[None]
    changed = v.detach().clone()
    changed[:, -1] += 1
    for causal in (True, False):
        before = attention(q, k, v, document_mask(ids, causal=causal))[:, :-1]
        after = attention(q, k, changed, document_mask(ids, causal=causal))[:, :-1]
        assert torch.equal(before, after) == causal


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("causal", [True, False])
def test_a_mask_made_once_serves_every_layer(
    path: str, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    inputs = heads(2, 9, 2, 1, 4)
    ids = mixed_documents(2, 9)
    mask = document_mask(ids, causal=causal)
    with_bias = mask.with_bias(torch.float64)
    assert with_bias.bias_b1tt is not None
    assert with_bias.bias_b1tt.shape == (2, 1, 9, 9)
    torch.testing.assert_close(attention(*inputs, with_bias), attention(*inputs, mask), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_as_close_as_the_reference_in_that_precision(dtype: torch.dtype) -> None:
    inputs = [tensor.detach().to(dtype) for tensor in heads(2, 64, 4, 2, 16)]
    ids = torch.stack([documents([30, 1, 20], 64), documents([64], 64)])
    mask = document_mask(ids)
    exact = reference.attention(*(tensor.double() for tensor in inputs), mask.visible_btt())
    naive_error = (reference.attention(*inputs, mask.visible_btt()).double() - exact).abs().max()
    # Under autocast the model makes its mask in float32 while queries are bf16.
    out = attention(*inputs, mask.with_bias(torch.float32))
    assert out.dtype == dtype
    assert (out.double() - exact).abs().max() <= 2 * naive_error


def bad_inputs() -> list[tuple[str, dict[str, object]]]:
    q, k, v = (torch.zeros(2, 6, n, 4) for n in (4, 2, 2))
    mask = document_mask(torch.zeros(2, 6, dtype=torch.int64))
    good = {"q_bthk": q, "k_btgk": k, "v_btgk": v, "mask": mask}
    across = torch.zeros(2, 6, 4, 4).transpose(2, 3)
    return [
        (name, good | changed)
        for name, changed in (
            ("q", {"q_bthk": q[0]}),
            ("q", {"q_bthk": q.long(), "k_btgk": k.long(), "v_btgk": v.long()}),
            ("q", {"q_bthk": across}),
            ("k", {"k_btgk": k[:, :5]}),
            ("k", {"k_btgk": k[..., :3]}),
            ("k", {"k_btgk": k[0]}),
            ("k", {"k_btgk": k[:, :, :0]}),
            ("k", {"k_btgk": torch.zeros(2, 6, 3, 4)}),
            ("k", {"k_btgk": across[:, :, :2]}),
            ("v", {"v_btgk": v[:1]}),
            ("v", {"v_btgk": v.double()}),
            ("v", {"v_btgk": v.to("meta")}),
            ("v", {"v_btgk": v[:, :, :1]}),
            ("v", {"v_btgk": across[:, :, :2]}),
            ("starts", {"mask": mask._replace(starts_bt=mask.starts_bt[:1])}),
            ("starts", {"mask": mask._replace(starts_bt=mask.starts_bt.long())}),
            ("ends", {"mask": mask._replace(ends_bt=mask.ends_bt.to("meta"))}),
            ("ends", {"mask": mask._replace(ends_bt=mask.ends_bt.repeat(1, 2)[:, ::2])}),
            ("dense", {"mask": mask._replace(dense_btt=torch.ones(2, 6, 6))}),
            ("dense", {"mask": mask._replace(dense_btt=torch.ones(1, 6, 6, dtype=torch.bool))}),
            (
                "dense",
                {"mask": mask._replace(dense_btt=torch.ones(2, 6, 6, dtype=torch.bool, device="meta"))},
            ),
            ("bias", {"mask": mask._replace(bias_b1tt=torch.zeros(2, 6, 6))}),
        )
    ]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("name", "arguments"), bad_inputs())
def test_bad_input_is_refused_by_name(
    path: str, name: str, arguments: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        attention(**arguments)  # type: ignore[arg-type]


def lying_mask() -> Mask:
    """Says two documents, and in the dense form, which only SDPA reads, one."""
    mask = document_mask(documents([3, 3], 6)[None])
    return mask._replace(bias_b1tt=torch.zeros(1, 1, 6, 6, dtype=torch.float64))


def test_the_variable_forces_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = heads(1, 6, 1, 1, 4)
    outputs = {}
    for path in (*PATHS, None):
        if path is None:
            monkeypatch.delenv(PATH_VARIABLE)
        else:
            monkeypatch.setenv(PATH_VARIABLE, path)
        outputs[path] = attention(*inputs, lying_mask())
    torch.testing.assert_close(outputs["reference"], reference.attention(*inputs, lying_mask().visible_btt()))
    assert not torch.allclose(outputs["sdpa"], outputs["reference"])
    if not torch.cuda.is_available():
        assert torch.equal(outputs[None], outputs["sdpa"])


@pytest.mark.parametrize("wrong", ["triton!", "", "SDPA"])
def test_a_wrong_path_is_refused_and_the_right_ones_named(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, wrong)
    with pytest.raises(ValueError, match=f"{PATH_VARIABLE}.*tile, flash, sdpa, matmul, reference"):
        attention(*heads(1, 2, 1, 1, 2), document_mask(documents([2], 2)[None]))


def test_which_path_was_taken_and_why_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    paths._announce.cache_clear()
    with caplog.at_level("INFO", logger="fedkey_kernels.paths"):
        for _ in range(3):
            attention(*heads(1, 2, 1, 1, 2), document_mask(documents([2], 2)[None]))
    assert caplog.messages == ["attention: sdpa (the Triton kernel does not take torch.float64)"]


def test_on_a_cpu_halves_are_multiplied_out_and_come_close_to_the_reference(
    caplog: pytest.LogCaptureFixture,
) -> None:
    paths._announce.cache_clear()
    exact = heads(2, 33, 6, 2, 8)
    mask = document_mask(mixed_documents(2, 33), tile=33)
    halves = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
    with caplog.at_level("INFO", logger="fedkey_kernels.paths"):
        out = attention(*halves, mask)
    assert caplog.messages == ["attention: matmul (the tensors are on the CPU)"]
    expected = reference.attention(*exact, mask.visible_btt())
    upstream = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pairs = zip(
        (out, *torch.autograd.grad(out, halves, upstream.bfloat16())),
        (expected, *torch.autograd.grad(expected, exact, upstream)),
        strict=True,
    )
    for got, wanted in pairs:
        assert got.dtype == torch.bfloat16
        assert float(((got.double() - wanted).norm() / wanted.norm()).detach()) < 0.01


@pytest.mark.parametrize("path", PATHS)
def test_a_position_that_the_bitmap_leaves_nothing_gets_zeros(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    inputs = heads(1, 130, 2, 1, 4)
    bitmap = torch.tensor([[True, False, True], [False, False, False], [False, True, True]])
    out = block_sparse_attention(*inputs, bitmap)
    assert torch.equal(out[:, 64:128], torch.zeros_like(out[:, 64:128]))
    q, k, v = inputs
    seen = torch.cat((torch.arange(64), torch.arange(128, 130)))
    everything = torch.ones(1, 64, 66, dtype=torch.bool)
    expected = reference.attention(q[:, :64], k[:, seen], v[:, seen], everything)
    torch.testing.assert_close(out[:, :64], expected, rtol=0, atol=1e-12)
    for gradient in torch.autograd.grad(out.sum(), inputs):
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("block_size", {"block_size": 32}),
        ("bitmap", {"bitmap_mn": torch.ones(1, 2, dtype=torch.bool)}),
        ("bitmap", {"bitmap_mn": torch.ones(2, 2)}),
        ("bitmap", {"bitmap_mn": torch.ones(2, 2, dtype=torch.bool, device="meta")}),
        ("q", {"q_bthk": torch.zeros(1, 4)}),
    ],
)
def test_a_bad_bitmap_is_refused_by_name(name: str, changed: dict[str, object]) -> None:
    q, k, v = heads(1, 100, 2, 1, 4)
    good: dict[str, object] = {
        "q_bthk": q,
        "k_btgk": k,
        "v_btgk": v,
        "bitmap_mn": torch.ones(2, 2, dtype=torch.bool),
    }
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        block_sparse_attention(**(good | changed))  # type: ignore[arg-type]
