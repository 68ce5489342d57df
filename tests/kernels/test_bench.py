"""The benchmark: what it counts, that it refuses wrong kernels, and that it runs.

Times are not looked at: `--quick` takes the same ways as a whole run, at sizes at which they mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen

import fedkey_kernels
from bench import attention, check, compare, counts, lengths, loss, report, run, sophia, timing
from bench.compare import FORWARD, Attempt, Bench, Result, Variant, Work
from fedkey_kernels import reference

CPU = torch.device("cpu")
BENCH = Bench(CPU, True, timing.Ceilings(1.0, 1.0), 0.0)
NO_WORK = Work({}, {})


def size(*tensors: Tensor) -> int:
    """Bytes, counted tensor by tensor."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_pairs_are_those_of_the_lower_triangles() -> None:
    assert counts.causal_pairs([1, 2, 5]) == sum(int(torch.ones(n, n).tril().sum()) for n in (1, 2, 5))


def test_operations_are_counted_as_by_hand() -> None:
    # 10 pairs, 3 heads of 4: a score takes 4 multiplications and 4 additions, and so does weighing a value.
    assert counts.attention_flops(10, 3, 4) == (10 * 3 * (8 + 8), 10 * 3 * 5 * 8)
    # 10 pairs, 3 heads of 4: a score takes 4 multiplications and 4 additions, and weighing a value too.
    assert counts.loss_flops(2, 3, 5) == 60 + 60 + 60


def test_bytes_are_those_of_the_tensors() -> None:
    q, k = torch.zeros(7, 4, 8, dtype=torch.bfloat16), torch.zeros(7, 2, 8, dtype=torch.bfloat16)
    forward, backward = size(q, k, k, q), size(q, k, k, q) + size(q, k, k)
    assert counts.attention_bytes(7, 4, 2, 8, 2) == (forward, backward)
    x, weight = torch.zeros(7, 6, dtype=torch.float16), torch.zeros(6, dtype=torch.float16)
    assert counts.rms_norm_bytes(7, 6, 2) == (size(x, weight, x), size(x, x, weight) + size(x, weight))
    heads = torch.zeros(2, 5, 3, 8)
    table = fedkey_kernels.rotary_table(torch.zeros(2, 5), 8, 1e4, torch.float32)
    assert counts.rotate_bytes(10, 3, 8, 4) == (size(heads, *table, heads),) * 2
    p = m = h = g = v = torch.zeros(11)
    assert counts.sophia_step_bytes(11) == size(p, m, h, g) + size(p, m)
    assert counts.sophia_average_bytes(11) == size(h, g) + size(h)
    assert counts.adamw_step_bytes(11) == size(p, m, v, g) + size(p, m, v)


@pytest.mark.parametrize(
    "found",
    [
        [lengths.TILE] * 3 + [1] * 5,
        lengths.log_normal(60, 3000),
        lengths.like_histogram(lengths.MESSAGES, 3000),
    ],
)
def test_packing_loses_nothing_and_crosses_no_tile(found: list[int]) -> None:
    packed = lengths.pack(found)
    assert sorted(packed.lengths) == sorted(found)
    runs = []
    for row in packed.document_ids_bt:
        assert len(row) == lengths.TILE
        ids, num = torch.unique_consecutive(row, return_counts=True)
        runs += [n for i, n in zip(ids.tolist(), num.tolist(), strict=True) if i >= 0]
        assert (row >= 0).long().diff().abs().sum() <= 1  # padding stands at the end, in one piece
    assert runs == packed.lengths
    assert len(packed.document_ids_bt) < sum(found) / lengths.TILE + len(found) / 2  # and wastes little


def test_lengths_have_the_mean_they_are_named_after() -> None:
    torch.manual_seed(0)
    for mean, pairs in ((15, 13), (30, 25)):  # few are longer than a tile
        found = lengths.log_normal(mean, 1 << 17)
        assert sum(found) / len(found) == pytest.approx(mean, rel=0.05)
        assert counts.causal_pairs(found) / sum(found) == pytest.approx(pairs, rel=0.1)
        assert max(found) <= lengths.TILE
    found = lengths.like_histogram(lengths.MESSAGES, 1 << 17)
    assert sum(found) / len(found) == pytest.approx(18.0, rel=0.05)
    assert min(found) == 3  # START, a piece, END
    assert (1 << 17) - lengths.TILE < sum(found) <= 1 << 17


def test_a_circulant_bitmap_holds_equally_many_blocks_in_rows_and_columns() -> None:
    bitmap = attention.circulant(16, 4)
    assert (bitmap.sum(0) == 4).all()
    assert (bitmap.sum(1) == 4).all()


def expected(exact: Tensor, plain: Tensor) -> check.Expected:
    return check.Expected(lambda found: found, [exact.double()], [plain])


def test_a_result_may_err_about_as_much_as_plain_torch() -> None:
    exact = torch.randn(1000, dtype=torch.float64)
    plain = exact.bfloat16()
    assert check.judge((plain,), expected(exact, plain)).fault is None
    verdict = check.judge((exact * 1.02,), expected(exact, plain))
    assert verdict.error == pytest.approx(0.02)
    assert verdict.fault is not None
    one_wrong = exact.clone()
    one_wrong[17] += 0.1  # too little for the norm of all errors to show
    assert "an element is off" in str(check.judge((one_wrong,), expected(exact, plain)).fault)
    one_wrong[17] = float("nan")
    assert "finite" in str(check.judge((one_wrong,), expected(exact, plain)).fault)
    assert check.judge((torch.zeros(3),), expected(torch.zeros(3), torch.zeros(3))).fault is None


def test_memory_is_poisoned_inside_only() -> None:
    with check.poisoned():
        assert torch.empty(3).isnan().all()
        assert torch.empty_like(torch.ones(2, dtype=torch.float16)).isnan().all()
        assert (torch.empty(3, dtype=torch.int32) == check.UNWRITTEN).all()
        assert torch.empty(3, dtype=torch.bool).dtype == torch.bool
    assert "wrapped" not in torch.empty.__name__


def test_peak_memory_counts_what_lives_at_once() -> None:
    def three_tensors_two_at_once() -> Tensor:
        first = torch.ones(1000)
        second = first + 1
        del first
        return second * 2

    # The profiler counts a few bytes of its own.
    assert timing.peak_memory(three_tensors_two_at_once, CPU) == pytest.approx(8000, abs=100)


def attempt(forward: Callable[[Tensor], Tensor]) -> Attempt:
    x = torch.ones(4, requires_grad=True)
    return Attempt((x,), lambda: forward(x), torch.ones(4))


def test_what_does_not_run_or_is_another_function_says_so_in_its_row() -> None:
    def out_of_memory(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    def no_kernel(x: Tensor) -> Tensor:
        import warnings

        warnings.warn(
            "Memory efficient kernel not used because: (Triggered internally at a.cpp:1)", stacklevel=1
        )
        warnings.warn("Memory Efficient attention has been runtime disabled.", stacklevel=1)
        warnings.warn(
            "Flash Attention does not support a mask. (Triggered internally at b.cpp:2)", stacklevel=1
        )
        raise RuntimeError("No available kernel. Aborting execution.")

    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "right": lambda x: x * 2,
        "unlike": lambda x: x * 3,
        "large": out_of_memory,
        "refused": no_kernel,
    }
    variants = [
        Variant(f"{name} {ours}", ours, lambda f=forward: attempt(f))  # type: ignore[misc]
        for name, forward in kinds.items()
        for ours in (True, False)
    ]
    two = torch.full((4,), 2.0)
    wanted = check.Expected(lambda found: found, [two.double()] * 2, [two] * 2)
    results = compare.compare(BENCH, "case", variants, wanted, (FORWARD,), NO_WORK)
    notes = {result.variant: result.note for result in results}
    assert notes["right True"] == notes["right False"] == ""
    assert notes["unlike True"].startswith("WRONG: its error is 5.0e-01")
    assert notes["unlike False"] == "not available: not the same function, error 5.0e-01"
    assert notes["large True"] == "FAILED: out of memory"
    assert notes["large False"] == "not available: out of memory"
    assert notes["refused False"] == "not available: Flash Attention does not support a mask."
    assert [r.variant for r in results if r.turns] == ["right True", "right False"]
    assert len(compare.failures(results)) == 3


def result(case: str, variant: str, *seconds: float, ours: bool = True) -> Result:
    return Result(case, variant, ours, Work({FORWARD: 6.0}, {FORWARD: 12.0}), {FORWARD: list(seconds)})


def test_rates_and_ratios() -> None:
    results = [
        result("a", "ours", 2.0, 3.0, 4.0),
        result("a", "slow", 12.0, ours=False),
        result("a", "quick", 6.0, ours=False),
        result("b", "quick", 1.0, ours=False),
    ]
    assert results[0].seconds(FORWARD) == 3.0
    assert results[0].flops(FORWARD) == 2.0
    assert results[0].bandwidth(FORWARD) == 4.0
    assert compare.times_best_peer(results, results[0], FORWARD) == 2.0
    assert compare.times_best_peer(results, results[1], FORWARD) == 0.5
    assert compare.faster(results, "a", "a", "ours", "slow", FORWARD) == 4.0
    assert "100 % more" in compare.spread(results)
    results[2].note = "not available: no"
    assert compare.times_best_peer(results, results[0], FORWARD) == 4.0
    assert compare.faster(results, "a", "a", "ours", "quick", FORWARD) is None
    assert compare.worst([1.0, None]) is None
    assert compare.worst([1.0, 2.0]) == 1.0
    assert compare.worst([1.0, 2.0], largest=True) == 2.0


def test_time_over_proportional_to_density() -> None:
    seconds = {8: 0.25, 4: 0.25, 2: 0.4, 1: 1.0}
    results = [result(attention.sparse_name(n), "fedkey flash", s) for n, s in seconds.items()]
    found = [attention.over_proportion(results, n, FORWARD) for n in seconds]
    assert found == pytest.approx([2.0, 1.0, 0.8, 1.0])


def test_goals_say_reached_or_not_or_why_nobody_knows() -> None:
    assert report.Goal("speed", 2.3, 2).line("") == "- reached: speed: 2.30"
    assert report.Goal("speed", 1.99, 2).line("") == "- NOT reached: speed: 1.99"
    assert report.Goal("factor", 1.1, 1.15, at_most=True).line("") == "- reached: factor: 1.10"
    assert report.Goal("factor", 1.2, 1.15, at_most=True).line("") == "- NOT reached: factor: 1.20"
    assert report.Goal("speed", None, 2).line("no GPU") == "- not yet measured (no GPU): speed"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234.4, "1234"),
        (123.4, "123"),
        (12.34, "12.3"),
        (0.1234, "0.123"),
        (9.999, "10.0"),
        (0.0, "0"),
        (None, "–"),
    ],
)
def test_numbers_have_three_digits(value: float | None, shown: str) -> None:
    assert report.number(value) == shown


def attend_by_document(q: Tensor, k: Tensor, v: Tensor, borders: Tensor) -> Tensor:
    """Documents end to end [N, H, K], one after the other."""
    outs = []
    for start, end in zip(borders.tolist(), borders.tolist()[1:], strict=False):
        seen = torch.ones(end - start, end - start, dtype=torch.bool).tril()
        outs.append(reference.attention(q[None, start:end], k[None, start:end], v[None, start:end], seen)[0])
    return torch.cat(outs)


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("signature", ["is_causal", "window_size", "enable_gqa"])
def test_varlen_sees_the_same_documents(monkeypatch: pytest.MonkeyPatch, signature: str, group: int) -> None:
    """With torch's operator, which needs a GPU, replaced by one that does as its documentation says."""
    asked: dict[str, Any] = {}

    def attend(q: Tensor, k: Tensor, v: Tensor, in_q: Tensor, in_k: Tensor, max_q: int, max_k: int) -> Tensor:
        assert in_q.dtype == torch.int32
        assert max_q == max_k == int(in_q.diff().max())
        return attend_by_document(q, k, v, in_q)

    def old(q, k, v, in_q, in_k, max_q, max_k, is_causal=False, return_aux=None):  # type: ignore[no-untyped-def]
        asked.update(is_causal=is_causal)
        return attend(q, k, v, in_q, in_k, max_q, max_k)

    def middle(q, k, v, in_q, in_k, max_q, max_k, *, window_size=(-1, -1)):  # type: ignore[no-untyped-def]
        asked.update(window_size=window_size)
        return attend(q, k, v, in_q, in_k, max_q, max_k)

    def new(q, k, v, in_q, in_k, max_q, max_k, *, window_size=(-1, -1), enable_gqa=False):  # type: ignore[no-untyped-def]
        asked.update(window_size=window_size, enable_gqa=enable_gqa)
        return attend(q, k, v, in_q, in_k, max_q, max_k)

    versions = {"is_causal": old, "window_size": middle, "enable_gqa": new}
    monkeypatch.setattr(varlen, "varlen_attn", versions[signature])
    case = attention.Case("packed", 4, 4 // group, 8, lengths.TILE, 300, lambda n: lengths.log_normal(30, n))
    inputs = attention.draw(BENCH, case)
    variant = Variant("varlen", True, lambda: attention._varlen(inputs))
    results = compare.compare(
        BENCH, "packed", [variant], attention.expect(inputs), (FORWARD,), attention.work_of(inputs)
    )
    assert [r.note for r in results] == [""]
    causal = {"is_causal": True} if signature == "is_causal" else {"window_size": (-1, 0)}
    assert asked == causal | ({"enable_gqa": group > 1} if signature == "enable_gqa" else {})


def test_a_varlen_without_causal_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="no argument for causal"):
        attention.varlen_options(["query", "key"], False)


def rows_of(text: str) -> list[list[str]]:
    """Cells of all tables, headings left out."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("case", "density")]


def test_quick_run_prints_every_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert run.main(["--quick", "--out", str(tmp_path / "tables.md")]) == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    printed = capsys.readouterr()
    assert (tmp_path / "tables.md").read_text() == printed.out
    titles = re.findall("^##+ (.*)$", printed.out, re.MULTILINE)
    assert titles[:3] == ["Attention", "Dense causal", "Packed documents"]
    for title in ("Fused linear + cross entropy", "Sophia against AdamW", "RMSNorm and rotary positions"):
        assert title in titles
    assert titles[-1] == "Goals, set for an H200"
    rows = rows_of(printed.out)
    ours = [row for row in rows if "fedkey" in row[1]]
    assert len(ours) >= 12
    for row in ours:
        assert "WRONG" not in row[2]
        assert float(row[2]) > 0, row
    assert any("labels drawn" in row[0] for row in ours)
    goals = [
        line for line in printed.out.splitlines() if line.startswith(("- reached", "- NOT", "- not yet"))
    ]
    assert len(goals) == 17
    if not torch.cuda.is_available():
        assert all("not yet measured" in goal for goal in goals)  # figures of a GPU come from a GPU
        assert "## Not yet measured: needs a GPU" in printed.out
    assert "norm" in printed.err  # progress
    assert str(tmp_path) not in printed.out.replace(f"--out {tmp_path / 'tables.md'}", "")


def spoil(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, off by a little in one place."""

    def spoiled(*args: Any, **kwargs: Any) -> Any:
        out = function(*args, **kwargs)
        if isinstance(out, tuple):
            return out[0] * 1.01, *out[1:]
        off = torch.zeros_like(out)
        off.view(-1)[-1] = 0.1
        return out + off

    return spoiled


@pytest.mark.parametrize(
    ("part", "seam"),
    [("attention", "attention"), ("loss", "linear_cross_entropy"), ("norm", "rms_norm"), ("norm", "rotate")],
)
def test_a_wrong_kernel_is_reported_and_not_timed(
    part: str, seam: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fedkey_kernels, seam, spoil(getattr(fedkey_kernels, seam)))
    monkeypatch.setattr(attention, "packed_cases", lambda bench: [])
    assert run.main(["--quick", "--only", part]) == 1
    printed = capsys.readouterr().out
    wrong = [row for row in rows_of(printed) if row[2].startswith("WRONG")]
    assert wrong
    assert all(not any(row[3:]) for row in wrong)
    assert "## Wrong or not running" in printed
    peers = [row for row in rows_of(printed) if "fedkey" not in row[1]]
    assert any(float(row[2]) > 0 for row in peers)  # the others were timed all the same


def test_a_wrong_step_is_reported_and_not_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step whose rho is off by a hundredth: all parameters nearly move as they should."""
    step = fedkey_kernels.SophiaG.step

    def spoiled(self: Any, closure: Any = None, *, batch_size: int = 1) -> Any:
        for group in self.param_groups:
            group["rho"] *= 1.01
        return step(self, closure, batch_size=batch_size)

    monkeypatch.setattr(fedkey_kernels.SophiaG, "step", spoiled)
    assert run.main(["--quick", "--only", "sophia"]) == 1
    rows = {row[1]: row for row in rows_of(capsys.readouterr().out)}
    ours = next(row for name, row in rows.items() if name.startswith(sophia.SOPHIA))
    assert ours[2].startswith("WRONG")
    assert not any(ours[3:])
    assert float(rows[sophia.ADAMW][2]) > 0


def test_an_unwritten_element_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = fedkey_kernels.rms_norm

    def forgets_the_last(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        out = torch.empty_like(x)
        out[:-1] = right(x, weight, epsilon)[:-1]
        return out

    monkeypatch.setattr(fedkey_kernels, "rms_norm", forgets_the_last)
    section = run.PARTS["norm"](BENCH)
    assert [f for f in section.failures if "not all elements are finite" in f] == section.failures
    assert section.failures


def test_a_part_that_breaks_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(bench: Bench) -> report.Section:
        raise RuntimeError("the device is gone")

    monkeypatch.setitem(run.PARTS, "attention", breaks)
    assert run.main(["--quick", "--only", "attention,norm"]) == 1
    printed = capsys.readouterr().out
    assert "attention: FAILED: the device is gone" in printed
    assert "RMSNorm, width 64" in printed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--only", "atention"],
            "--only does not know 'atention'; it can name attention, loss, sophia, norm.",
        ),
        (
            ["--out", "nowhere/at/all.md"],
            "--out cannot write nowhere/at/all.md: there is no folder nowhere/at.",
        ),
        (["--save", "--quick"], "--save keeps whole runs only; leave --quick and --only out, or use --out."),
        (["--fast"], "Unrecognized arguments: --fast."),
    ],
)
def test_a_mistake_in_the_options_is_one_sentence(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run.main(options)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == sentence + "\n"


@pytest.fixture
def as_if_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """What a GPU would run, on Triton's interpreter: float32, since it knows no bf16; nothing is timed."""
    if torch.cuda.is_available():
        pytest.skip("the interpreter is off where there is a GPU, which runs the real thing")
    monkeypatch.setattr(Bench, "on_gpu", True)
    monkeypatch.setattr(Bench, "dtype", torch.float32)

    def once(function: Callable[[], Any], *_: Any) -> timing.Timing:
        function()
        return timing.Timing(0.001, 0.0005)

    for module in (compare, sophia):
        monkeypatch.setattr(module, "measure", once)
    monkeypatch.setattr(compare, "peak_memory", lambda *_: 1000)
    monkeypatch.setattr(lengths, "TILE", 32)
    monkeypatch.setattr(attention, "SPARSE_SHAPE", (1, 128, 1, 16))
    monkeypatch.setattr(attention, "DENSITIES", (2, 1))
    return BENCH


@pytest.mark.slow
def test_the_way_of_a_gpu_works(as_if_on_a_gpu: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Triton path is built, checked and timed; peers that need a GPU say so."""
    dense = attention.dense_cases(as_if_on_a_gpu)[0]._replace(num_heads=1, num_groups=1, num_tokens=32)
    name = attention.packed_name(attention.MEAN_30, 64, 1)
    packed = next(case for case in attention.packed_cases(as_if_on_a_gpu) if case.name == name)
    packed = packed._replace(num_heads=2, num_groups=1, num_tokens=60)
    monkeypatch.setattr(attention, "dense_cases", lambda bench: [dense])
    monkeypatch.setattr(attention, "packed_cases", lambda bench: [packed])
    monkeypatch.setattr(sophia, "NUM_LAYERS", 2)
    monkeypatch.setattr(loss, "GPU_TARGETS", (48,))
    monkeypatch.setattr(loss, "GPU_WIDTHS", (16,))
    monkeypatch.setattr(loss, "GPU_VOCABULARIES", (64,))
    sections = [part(as_if_on_a_gpu) for part in run.PARTS.values()]
    assert [section.failures for section in sections] == [[]] * 4
    tables = [rows_of("\n".join(section.lines)) for section in sections]
    rows = {(row[0].split(" (")[0], row[1]): row for table in tables for row in table}
    timed = {key for key, row in rows.items() if row[2] == "1.00"}
    head = attention.dense_name(64, 32)
    for name in ("tile", "flash"):
        assert (head, f"fedkey {name}") in timed
        assert (packed.name, f"fedkey {name}") in timed
    for name in ("SDPA efficient", "SDPA cuDNN", "torch varlen"):
        assert rows[head, name][2].startswith("not available: ")
    assert {key for key in timed if "triton" in key[1]} == {
        ("48 targets, width 16, 64 pieces", "fedkey triton"),
        ("48 targets, width 16, 64 pieces, labels drawn", "fedkey triton"),
        ("10,000 parameters", "Sophia, fedkey triton"),
        ("10,000 parameters", "its curvature, fedkey triton"),
        ("RMSNorm, width 64", "fedkey triton"),
        ("rotary positions, head 32", "fedkey triton"),
    }
    goals = {goal.text: goal.value for section in sections for goal in section.goals}
    # All take a millisecond, so that half the blocks take twice what is proportional.
    assert [value for text, value in goals.items() if text.startswith("block-sparse")] == [2.0, 2.0]
    assert [value for text, value in goals.items() if text.startswith("fused loss")] == [
        6 * 48 * 16 * 64 * 1000
    ]


@pytest.mark.gpu
def test_time_on_a_gpu_is_that_of_the_device() -> None:
    """A copy of 1 GB at no more than any GPU's bandwidth; the host's time for queueing is far less."""
    source = torch.ones(1 << 28, device="cuda")
    target = torch.empty_like(source)
    found = timing.measure(lambda: target.copy_(source), torch.device("cuda"), False)
    assert 1e11 < 2 * (1 << 30) / found.seconds < 2e13
    assert found.host_seconds < found.seconds
    assert timing.peak_memory(lambda: source * 2, torch.device("cuda")) == 1 << 30
