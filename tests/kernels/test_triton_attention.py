"""The Triton attention kernels, interpreted on the CPU and compiled for sm_90: right, and in registers.

The rule for half precision is that of the FlashAttention tests: at most twice the error that the same maths
in plain torch makes at that precision, against a float64 reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from fedkey_kernels import Mask, attention, block_sparse_attention, document_mask, reference
from fedkey_kernels.flash_attention import (
    flash_attention,
    forward_blocks,
    key_blocks,
    query_blocks,
    sparse_flash_attention,
)
from fedkey_kernels.tile_attention import BLOCK_Q, backward_launch, forward_launch, padded, tile_attention

PATH_VARIABLE = "FEDKEY_ATTENTION"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.usefixtures("poisoned_memory")


def ids(lengths: list[int], num_positions: int) -> Tensor:
    """[T]: documents of these lengths, then padding."""
    numbers = [number for number, length in enumerate(lengths) for _ in range(length)]
    return torch.tensor(numbers + [-1] * (num_positions - len(numbers)))


class Case(NamedTuple):
    """What one comparison runs on."""

    path: str
    rows: list[list[int]]
    """Lengths of the documents of each row."""
    num_positions: int
    num_heads: int = 2
    num_groups: int = 1
    head_size: int = 16
    causal: bool = True
    window: int = 0
    tile: int = 0

    def mask(self) -> Mask:
        document_ids_bt = torch.stack([ids(lengths, self.num_positions) for lengths in self.rows])
        mask = document_mask(document_ids_bt, causal=self.causal, window=self.window, tile=self.tile)
        return mask._replace(starts_bt=mask.starts_bt.to(DEVICE), ends_bt=mask.ends_bt.to(DEVICE))

    def inputs(self, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
        """Queries, keys and values that want gradients, and the gradient of the output."""
        generator = torch.Generator().manual_seed(0)
        *heads, grad_out = (
            torch.randn(len(self.rows), self.num_positions, n, self.head_size, generator=generator)
            .to(DEVICE, dtype)
            .requires_grad_(n is not None)
            for n in (self.num_heads, self.num_groups, self.num_groups, self.num_heads)
        )
        return heads, grad_out.detach()


CASES = [
    # One-token documents, a row of padding alone, a length that is no multiple of the tile.
    Case("tile", [[3] * 8 + [8, 1, 1, 1], []], 60, num_heads=4, num_groups=2, tile=32),
    Case("tile", [[16], [5, 11]], 16, tile=16),
    Case("tile", [[30, 34, 1, 1, 20]], 128, head_size=32, tile=64),
    Case("tile", [[50, 20]], 100, num_heads=3, head_size=59, causal=False, tile=128),
    Case("tile", [[128]], 128, head_size=64, tile=128),
    Case("tile", [[50, 14, 7]], 100, head_size=20, window=5, tile=64),
    Case("tile", [[64]], 64, num_groups=2, window=5, causal=False, tile=64),
    Case("tile", [[1]], 1, tile=16),
    Case("tile", [[40]], 40, head_size=128, tile=64),
    # Blocks of queries 128 and keys 64: documents that end inside, at and beyond blocks.
    Case("flash", [[1]], 1),
    Case("flash", [[129], [64, 64, 1]], 129, num_heads=4, num_groups=2),
    Case("flash", [[1] * 30 + [70, 27], []], 130),
    Case("flash", [[113]], 113, num_groups=2, head_size=59, causal=False),
    Case("flash", [[100, 3, 90]], 200, causal=False),
    Case("flash", [[200]], 200, window=40),
    Case("flash", [[290]], 300, num_heads=1, window=140),
    Case("flash", [[150, 3, 40]], 200, num_heads=1, window=70, causal=False),
    Case("flash", [[97]], 97, num_heads=1, head_size=96),
    Case("flash", [[97]], 97, num_heads=1, head_size=128),
    Case("flash", [[97]], 97, num_heads=1, head_size=32),
    Case("flash", [[97]], 97, num_heads=1, head_size=64),
]


def expected(case: Case, inputs: list[Tensor], grad_out: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Output and gradients of the reference at a precision."""
    leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
    out = reference.attention(*leaves, case.mask().visible_btt())  # type: ignore[arg-type]
    return [out.detach(), *torch.autograd.grad(out, leaves, grad_out.to(dtype))]


def actual(
    case: Case, inputs: list[Tensor], grad_out: Tensor, monkeypatch: pytest.MonkeyPatch
) -> list[Tensor]:
    monkeypatch.setenv(PATH_VARIABLE, case.path)
    out = attention(*inputs, case.mask())  # type: ignore[arg-type]
    return [out.detach(), *torch.autograd.grad(out, inputs, grad_out)]


def name(case: Case) -> str:
    return f"{case.path}-{case.rows}-K{case.head_size}-w{case.window}-{'causal' if case.causal else 'both'}"


@pytest.mark.parametrize("case", CASES, ids=name)
def test_float32_equals_the_reference_forward_and_backward(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, grad_out = case.inputs(torch.float32)
    wanted = expected(case, inputs, grad_out, torch.float64)
    for label, got, want in zip(
        ("out", "dq", "dk", "dv"), actual(case, inputs, grad_out, monkeypatch), wanted, strict=True
    ):
        assert got.dtype == torch.float32
        error = (got.double() - want).abs().max()
        assert error < 5e-6, f"{label} is off by {error:.1e}"


def check_half(case: Case, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, grad_out = case.inputs(dtype)
    exact = expected(case, inputs, grad_out, torch.float64)
    naive = expected(case, inputs, grad_out, dtype)
    for label, got, want, plain in zip(
        ("out", "dq", "dk", "dv"), actual(case, inputs, grad_out, monkeypatch), exact, naive, strict=True
    ):
        assert got.dtype == dtype
        error, allowed = (got.double() - want).abs().max(), (plain.double() - want).abs().max()
        assert error <= 2 * allowed + 1e-5, f"{label} is off by {error:.1e}, plain torch by {allowed:.1e}"


@pytest.mark.parametrize("case", [CASES[i] for i in (0, 2, 5, 10, 13, 14, 17)], ids=name)
def test_float16_is_as_close_as_plain_torch(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    check_half(case, torch.float16, monkeypatch)


@pytest.mark.parametrize("path", ["tile", "flash"])
def test_strided_views_and_expanded_gradients_need_no_copy_by_the_caller(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries, keys and values as views of one projection; the gradient of a sum is one number, expanded."""
    monkeypatch.setenv(PATH_VARIABLE, path)
    generator = torch.Generator().manual_seed(0)
    together = torch.randn(2, 40, 6, 16, generator=generator).to(DEVICE).requires_grad_()
    mask = Case(path, [[20, 12], [32]], 40, tile=32).mask()

    def total(values: Tensor, attend: Callable[..., Tensor], mask_argument: Any) -> Tensor:
        return attend(values[:, :, :4], values[:, :, 4:5], values[:, :, 5:], mask_argument).sum()

    (got,) = torch.autograd.grad(total(together, attention, mask), together)
    exact = together.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(total(exact, reference.attention, mask.visible_btt()), exact)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=5e-6)


BITMAPS = {
    "empty rows": [[1, 0, 0], [0, 0, 0], [1, 0, 1]],
    "empty columns": [[0, 1, 0], [0, 1, 1], [0, 1, 0]],
    "nothing": [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    "everything": [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
}


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("bitmap", "block_size", "num_positions"),
    # Blocks of 128 are made up of several steps.
    [*((bitmap, 64, 150) for bitmap in BITMAPS), ("empty rows", 128, 300)],
)
def test_block_sparse_attention_equals_the_reference(
    bitmap: str, block_size: int, num_positions: int, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, "flash")
    inputs, grad_out = Case("flash", [[]], num_positions, num_heads=2).inputs(torch.float32)
    bitmap_mn = torch.tensor(BITMAPS[bitmap], dtype=torch.bool, device=DEVICE)
    out = block_sparse_attention(*inputs, bitmap_mn, block_size=block_size, causal=causal)  # type: ignore[misc]
    gradients = torch.autograd.grad(out, inputs, grad_out)
    visible_tt = bitmap_mn.repeat_interleave(block_size, 0).repeat_interleave(block_size, 1)
    visible_tt = visible_tt[:num_positions, :num_positions]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    want = reference.attention(*exact, visible_tt.tril() if causal else visible_tt)  # type: ignore[arg-type]
    wanted = torch.autograd.grad(want, exact, grad_out.double())
    torch.testing.assert_close(out.double(), want, rtol=0, atol=5e-6)
    for got, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=0, atol=5e-6)


@pytest.mark.parametrize("path", ["tile", "flash"])
def test_compiled_by_torch_it_gives_the_same(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    case = Case(path, [[16, 9, 1]], 40, tile=32)
    inputs, grad_out = case.inputs(torch.float32)
    document_ids_bt = torch.stack([ids(lengths, 40) for lengths in case.rows]).to(DEVICE)

    def layer(q: Tensor, k: Tensor, v: Tensor, document_ids_bt: Tensor) -> Tensor:
        return 2 * attention(q * 1.5, k, v, document_mask(document_ids_bt, tile=32))

    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for run in (layer, compiled):
        out = run(*inputs, document_ids_bt)
        gradients = torch.autograd.grad(out, inputs, grad_out)
        if run is layer:
            eager = [out, *gradients]
    for got, want in zip([out, *gradients], eager, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("operator", ["tile", "flash", "sparse"])
def test_the_operators_keep_torchs_rules(operator: str) -> None:
    """Schema, fake tensors and autograd registration, by torch's own checker."""
    case = Case(operator, [[16, 9, 1]], 40, tile=32)
    (q, k, v), _ = case.inputs(torch.float32)
    mask = case.mask()
    lists = (
        torch.zeros(1, 1, dtype=torch.int32, device=DEVICE),
        torch.ones(1, dtype=torch.int32, device=DEVICE),
    )
    arguments: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "tile": (tile_attention, (q, k, v, mask.starts_bt, mask.ends_bt, True, 0, 32)),
        "flash": (flash_attention, (q, k, v, mask.starts_bt, mask.ends_bt, True, 0)),
        "sparse": (sparse_flash_attention, (q, k, v, *lists, *lists, True, 64)),
    }
    torch.library.opcheck(
        *arguments[operator], test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
    )


@pytest.mark.parametrize(
    ("path", "message", "changed"),
    [
        ("tile", "mask.tile is 0", {}),
        ("flash", "float64", {"dtype": torch.float64}),
        ("flash", "at most 128", {"head_size": 130}),
    ],
)
def test_what_a_forced_kernel_cannot_do_is_said(
    path: str, message: str, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    case = Case(path, [[4]], 4, head_size=changed.get("head_size", 16))
    inputs, _ = case.inputs(changed.get("dtype", torch.float32))
    with pytest.raises(ValueError, match=message):
        attention(*inputs, case.mask())  # type: ignore[arg-type]


def test_a_forced_kernel_without_gpu_or_interpreter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, "flash")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    q = torch.zeros(1, 4, 1, 16)
    with pytest.raises(ValueError, match=r"FEDKEY_ATTENTION.*TRITON_INTERPRET=1"):
        attention(q, q, q, document_mask(torch.zeros(1, 4, dtype=torch.int64)))


def hopper_cases(head_size: int, sparse: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Every kernel as it is launched for heads of a size, or those that leave out blocks of `sparse`
    positions, and the registers it may take: 65,536 of a multiprocessor for a program at least, for two where
    the cap is 128."""
    tensors = ("starts", "ends", "blocks", "counts")

    def case(
        module: str,
        kernel: str,
        pointers: str,
        axes: str,
        counts: str,
        scale: bool,
        constants: Any,
        launch: Any,
    ) -> dict[str, Any]:
        pointer_names = [f"{pointer}_ptr" for pointer in pointers.split()]
        integers = [f"{axis[0]}_stride_{axis[1]}" for axis in axes.split()] + counts.split()
        kinds = {
            f"{pointer}_ptr": "*i32"
            if pointer in tensors
            else "*fp32"
            if pointer in ("lse", "delta")
            else "*bf16"
            for pointer in pointers.split()
        }
        return {
            "kernel": f"fedkey_kernels.{module}:{kernel}",
            "signature": kinds | dict.fromkeys(integers, "i32") | ({"scale": "fp32"} if scale else {}),
            "constants": constants,
            "aligned": pointer_names + [i for i in integers if "stride" in i or i == "num_positions"],
        } | launch._asdict()

    qkv = "qb qt qh kb kt kg vb vt vg"
    block_k = padded(head_size)
    shape = {"GROUP": 2, "HEAD_SIZE": head_size, "BLOCK_K": block_k, "CAUSAL": True, "WINDOW": 0}
    for tile in () if sparse else (64, 128):
        yield (
            case(
                "tile_attention",
                "forward_kernel",
                "q k v starts ends out",
                qkv,
                "num_positions num_heads num_tiles",
                True,
                shape | {"TILE": tile},
                forward_launch(tile, block_k),
            ),
            248,
        )
        yield (
            case(
                "tile_attention",
                "backward_kernel",
                "q k v grad_out starts ends grad_q grad_k grad_v",
                f"{qkv} ob ot oh",
                "num_positions num_groups num_tiles",
                True,
                shape | {"TILE": tile, "BLOCK_Q": BLOCK_Q},
                backward_launch(tile, block_k),
            ),
            255,
        )
    for kernel, blocks, pointers, axes, heads, cap in (
        (
            "forward_kernel",
            forward_blocks,
            "q k v starts ends blocks counts out lse",
            qkv,
            "num_heads",
            128 if head_size <= 64 else 255,
        ),
        (
            "key_kernel",
            key_blocks,
            "q k v grad_out lse delta starts ends blocks counts grad_k grad_v",
            f"{qkv} ob ot oh",
            "num_groups",
            255,
        ),
        (
            "query_kernel",
            lambda block_k, sparse: query_blocks(sparse),
            "q k v grad_out lse delta starts ends blocks counts grad_q",
            f"{qkv} ob ot oh",
            "num_heads",
            255,
        ),
    ):
        block_m, block_n, launch = blocks(block_k, sparse)
        constants = shape | {"BLOCK_M": block_m, "BLOCK_N": block_n, "SPARSE": sparse}
        yield (
            case(
                "flash_attention",
                kernel,
                pointers,
                axes,
                f"num_positions {heads} blocks_stride",
                True,
                constants,
                launch,
            ),
            cap,
        )


@pytest.mark.parametrize(
    ("head_size", "sparse"),
    # Heads of the presets, and block-sparse attention. All 24 compilations take 30 to 60 s of a core.
    [(64, 64), *(pytest.param(head_size, 0, marks=pytest.mark.slow) for head_size in (32, 64, 128))],
)
def test_compiled_for_sm_90_they_use_tensor_cores_and_stay_in_registers(
    compile_for_hopper: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], head_size: int, sparse: int
) -> None:
    cases, caps = zip(*hopper_cases(head_size, sparse), strict=True)
    for case, cap, report in zip(cases, caps, compile_for_hopper(list(cases)), strict=True):
        label = f"{case['kernel']} {case['constants']} {report}"
        assert report["tensor_core"] == "HGMMA", label
        assert report["stack"] == 0, label
        assert report["registers"] <= cap, label
        assert report["global_loads"].get("128", 0) > 0, label
        assert report["shared"] <= 227 * 1024, label


# What follows needs CUDA.

HEADS = [32, 64, 96, 128]


@pytest.mark.gpu
@pytest.mark.parametrize("head_size", HEADS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("causal", [True, False])
def test_half_precision_on_the_gpu(
    head_size: int, dtype: torch.dtype, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [[30] * 4 + [5, 3], [1] * 100 + [28], [128], []]
    tile = Case("tile", rows, 128, num_heads=4, num_groups=2, head_size=head_size, causal=causal, tile=128)
    check_half(tile, dtype, monkeypatch)
    for num_positions in (97, 128, 239, 513, 1024):
        for window in (0, 100):
            flash = Case(
                "flash",
                [[num_positions], [num_positions // 3] * 2],
                num_positions,
                4,
                2,
                head_size,
                causal,
                window,
            )
            check_half(flash, dtype, monkeypatch)


@pytest.mark.gpu
@pytest.mark.parametrize("num_positions", [2048, 4096, 8192])
def test_long_rows_on_the_gpu(num_positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_half(Case("flash", [[num_positions]], num_positions, 2, 1, 64), torch.bfloat16, monkeypatch)


@pytest.mark.gpu
def test_memory_is_linear_in_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(num_positions: int) -> int:
        case = Case("flash", [[num_positions]], num_positions, 4, 4, 64)
        inputs, grad_out = case.inputs(torch.bfloat16)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        actual(case, inputs, grad_out, monkeypatch)
        return torch.cuda.max_memory_allocated() - before

    peak(1024)  # whatever is allocated once
    assert peak(8192) < 2.2 * peak(4096)


@pytest.mark.gpu
@pytest.mark.parametrize("path", ["tile", "flash"])
def test_equal_inputs_give_equal_gradients(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(path, [[100, 28] * 4] * 8, 512, 8, 2, 64, tile=128)
    inputs, grad_out = case.inputs(torch.bfloat16)
    first = actual(case, inputs, grad_out, monkeypatch)
    for _ in range(5):
        for got, want in zip(actual(case, inputs, grad_out, monkeypatch), first, strict=True):
            assert torch.equal(got, want)


@pytest.mark.gpu
@pytest.mark.parametrize("path", ["tile", "flash"])
def test_under_inductor_on_the_gpu(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, path)
    case = Case(path, [[100, 28]] * 2, 128, 4, 2, 64, tile=128)
    inputs, grad_out = case.inputs(torch.bfloat16)
    eager = actual(case, inputs, grad_out, monkeypatch)
    out = torch.compile(attention, fullgraph=True)(*inputs, case.mask())  # type: ignore[arg-type]
    for got, want in zip([out, *torch.autograd.grad(out, inputs, grad_out)], eager, strict=True):
        torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2)
