"""The fused Sophia step against torch's operators, interpreted where there is no GPU, and compiled for an
H200."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkey_kernels import SophiaG, SophiaH

pytest.importorskip("triton")
from fedkey_kernels import fused_sophia

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = fused_sophia.BLOCK
SIZES = (1, 5, 129, BLOCK - 1, BLOCK, BLOCK + 1, 0, 2 * BLOCK + 3)
GUARD = 12345.0


def guarded(size: int, generator: torch.Generator, shift: int = 0) -> Tensor:
    """Normal numbers inside a longer tensor of GUARDs, which nobody may touch; `shift` entries off a multiple
    of 16 bytes."""
    memory = torch.full((size + 16,), GUARD, device=DEVICE)
    aligned = (-memory.data_ptr() // 4) % 4 + 4
    inside = memory[aligned + shift : aligned + shift + size]
    return inside.copy_(torch.randn(size, generator=generator))


def intact(tensor: Tensor) -> bool:
    memory = torch.empty(0, device=DEVICE).set_(tensor.untyped_storage())  # type: ignore[call-overload]
    start, size = tensor.storage_offset(), tensor.numel()
    return bool((memory[:start] == GUARD).all()) and bool((memory[start + size :] == GUARD).all())


def parameters(shift: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(guarded(size, generator, shift)) for size in SIZES]


def build(kind: type, shift: int = 0) -> Any:
    """Two groups with settings of their own."""
    first = parameters(shift)
    groups = [
        {"params": first[:3], "weight_decay": 0.0, "lr": 0.03, "betas": (0.5, 0.7)},
        {"params": first[3:], "rho": 0.4},
    ]
    return kind(groups, lr=0.01, betas=(0.9, 0.95), rho=0.1, weight_decay=0.3)


def all_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def give_gradients(step: int, optimizer: torch.optim.Optimizer, shift: int = 0) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in all_parameters(optimizer):
        scale = 10.0 ** float(torch.randint(-2, 2, (), generator=generator))
        gradient = guarded(parameter.numel(), generator, shift)
        gradient *= scale
        parameter.grad = gradient


def one_step(path: str, optimizer: Any, step: int, shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKEY_SOPHIA", path)
    own = all_parameters(optimizer)
    if isinstance(optimizer, SophiaH):
        generator = torch.Generator(own[0].device).manual_seed(step)
        optimizer.update_hessian(sum((p.sin() * p.sum()).sum() for p in own), generator)
        give_gradients(step, optimizer, shift)
        optimizer.step()
    else:
        give_gradients(-step - 1, optimizer, shift)
        optimizer.update_hessian()
        give_gradients(step, optimizer, shift)
        optimizer.step(batch_size=7)


def assert_close(one: Tensor, other: Tensor) -> None:
    """Equal but for the rounding of a few float32 operations on numbers as large as the largest."""
    scale = float(other.abs().max()) if other.numel() else 0.0
    torch.testing.assert_close(one.cpu(), other.cpu(), rtol=2e-6, atol=2e-7 * max(1.0, scale))


def assert_equal(one: Any, other: Any) -> None:
    for mine, theirs in zip(all_parameters(one), all_parameters(other), strict=True):
        assert_close(mine.detach(), theirs.detach())
        for key in ("exp_avg", "hessian"):
            assert_close(one.state[mine][key], other.state[theirs][key])
    # An entry on the very threshold may be counted here and not there.
    assert one.clipped_share == pytest.approx(other.clipped_share, abs=1e-3)


@pytest.mark.parametrize("shift", [0, 1], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("kind", [SophiaG, SophiaH])
def test_every_step_is_that_of_torchs_operators(
    kind: type, shift: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = build(kind, shift), build(kind, shift)
    for step in range(3):
        one_step("triton", ours, step, shift, monkeypatch)
        one_step("foreach", theirs, step, shift, monkeypatch)
        assert_equal(ours, theirs)
        assert 0 < ours.clipped_share < 1
    for parameter in all_parameters(ours):
        assert intact(parameter.detach())
        assert parameter.grad is not None
        assert intact(parameter.grad)


@pytest.mark.parametrize("aligned", [True, False])
def test_the_promise_of_alignment_is_made_only_if_all_keep_it(
    aligned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    promises: list[bool] = []

    class Kernel:
        def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
            return lambda *_, ALIGNED, **__: promises.append(ALIGNED)

    monkeypatch.setattr(fused_sophia, "step_kernel", Kernel())
    monkeypatch.setattr(fused_sophia, "average_kernel", Kernel())
    monkeypatch.setenv("FEDKEY_SOPHIA", "triton")
    optimizer = build(SophiaG)
    give_gradients(0, optimizer)
    last = all_parameters(optimizer)[-1]
    if not aligned:
        last.grad = guarded(last.numel(), torch.Generator(), 3)
    optimizer.step()
    optimizer.update_hessian()
    assert promises == [aligned, aligned]


def test_one_launch_covers_every_block_of_every_tensor_once() -> None:
    chunks = fused_sophia.chunks_of((5, 0, 8, 9), 4, torch.device("cpu"))
    assert chunks.tolist() == [[0, 0], [0, 1], [2, 0], [2, 1], [3, 0], [3, 1], [3, 2]]
    assert chunks.dtype == torch.int32


def test_tensors_that_move_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """New gradients, new data, a loaded state, a parameter that sits out, another that joins."""
    ours, theirs = build(SophiaG), build(SophiaG)
    # Kept alive, so that nothing new lies where something old was.
    old: list[Any] = []

    def both(step: int, change: Callable[[Any], None]) -> None:
        for path, optimizer in (("triton", ours), ("foreach", theirs)):
            old.append([p.detach() for p in all_parameters(optimizer)])
            old.append(copy.copy(dict(optimizer.state)))
            monkeypatch.setenv("FEDKEY_SOPHIA", path)
            give_gradients(step, optimizer)
            change(optimizer)
            optimizer.step(batch_size=7)
        assert_equal(ours, theirs)

    def new_data(optimizer: Any) -> None:
        parameter = all_parameters(optimizer)[4]
        parameter.data = parameter.data.clone()

    def new_state(optimizer: Any) -> None:
        state = optimizer.state[all_parameters(optimizer)[2]]
        state["hessian"] = state["hessian"] + 1

    def leave(optimizer: Any) -> None:
        all_parameters(optimizer)[0].grad = None

    def new_settings(optimizer: Any) -> None:
        optimizer.param_groups[1]["lr"] = 0.05

    def only_one_group(optimizer: Any) -> None:
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad = None

    for step in range(2):
        for path, optimizer in (("triton", ours), ("foreach", theirs)):
            one_step(path, optimizer, step, 0, monkeypatch)
    changes = (new_data, new_state, leave, new_settings, only_one_group, lambda optimizer: None)
    for step, change in enumerate(changes, 2):
        both(step, change)
    for optimizer in (ours, theirs):
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    both(10, lambda optimizer: None)


def test_a_table_is_kept_while_the_tensors_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    first = fused_sophia.Table.__init__

    def counted(self: Any, *arguments: Any) -> None:
        made.append(1)
        first(self, *arguments)

    monkeypatch.setattr(fused_sophia.Table, "__init__", counted)
    monkeypatch.setenv("FEDKEY_SOPHIA", "triton")
    optimizer = SophiaG(parameters()[:3])
    for step in range(3):
        give_gradients(step, optimizer)
        optimizer.step()
    assert len(made) == 1


def test_a_gradient_that_is_not_a_number_is_not_clipped_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKEY_SOPHIA", "triton")
    parameter = nn.Parameter(torch.zeros(3, device=DEVICE))
    optimizer = SophiaG([parameter], lr=0.1)
    parameter.grad = torch.tensor([1.0, float("nan"), -float("inf")], device=DEVICE)
    optimizer.step()
    assert parameter.isnan().tolist() == [False, True, False]
    assert parameter[2].item() == pytest.approx(0.1)


def bfloat16() -> nn.Parameter:
    return nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16, device=DEVICE))


def transposed() -> nn.Parameter:
    return nn.Parameter(torch.ones(4, 6, device=DEVICE).T)


@pytest.mark.parametrize(
    ("make", "reason"), [(bfloat16, "bfloat16"), (transposed, "contiguous")], ids=["dtype", "strides"]
)
def test_what_the_kernel_does_not_take_is_refused_only_if_it_was_asked_for(
    make: Callable[[], nn.Parameter], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameter = make()
    optimizer = SophiaG([nn.Parameter(torch.ones(2, device=DEVICE)), parameter], lr=0.5, weight_decay=0.0)
    for each in optimizer.param_groups[0]["params"]:
        each.grad = torch.ones_like(each)
    optimizer.step()
    assert torch.equal(parameter.detach(), torch.full_like(parameter, 0.5))
    monkeypatch.setenv("FEDKEY_SOPHIA", "triton")
    for act in (optimizer.step, optimizer.update_hessian):
        with pytest.raises(ValueError, match=reason):
            act()


def test_a_state_of_another_shape_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKEY_SOPHIA", "triton")
    parameter = nn.Parameter(torch.ones(5, device=DEVICE))
    optimizer = SophiaG([parameter])
    parameter.grad = torch.ones(5, device=DEVICE)
    optimizer.step()
    optimizer.state[parameter]["exp_avg"] = torch.zeros(4, device=DEVICE)
    with pytest.raises(ValueError, match=r"state of a parameter \(5,\) is \(4,\)"):
        optimizer.step()


def test_without_interpreter_or_gpu_the_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKEY_SOPHIA", "triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    with pytest.raises(ValueError, match="FEDKEY_SOPHIA"):
        SophiaG([parameter]).step()


def test_compiled_code_may_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKEY_SOPHIA", "triton")
    ours, theirs = SophiaG(parameters()[:2]), SophiaG(parameters()[:2])
    for optimizer in (ours, theirs):
        give_gradients(0, optimizer)

    def update() -> None:
        ours.update_hessian()
        ours.step(batch_size=3)

    torch.compile(update, backend="eager")()
    theirs.update_hessian()
    theirs.step(batch_size=3)
    assert ours.clipped_share == theirs.clipped_share > 0
    assert_equal(ours, theirs)


# Ahead of time, for sm_90


def case(kernel: str, aligned: bool) -> dict[str, Any]:
    signature = {"addresses_ptr": "*i64", "settings_ptr": "*fp32", "chunks_ptr": "*i32"}
    if kernel == "step_kernel":
        signature |= {"clipped_ptr": "*i64", "offset": "fp32", "floor": "fp32"}
    return {
        "kernel": f"fedkey_kernels.fused_sophia:{kernel}",
        "signature": signature,
        "constants": {"BLOCK": BLOCK, "ALIGNED": aligned},
        "aligned": ["chunks_ptr"],
        **fused_sophia.Launch()._asdict(),
    }


def test_compiled_for_an_h200(
    compile_for_hopper: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
) -> None:
    kernels = ("step_kernel", "average_kernel")
    reports = compile_for_hopper([case(kernel, aligned) for kernel in kernels for aligned in (True, False)])
    step, step_unaligned, average, average_unaligned = reports
    for report in reports:
        assert (report["stack"], report["spilled"]) == (0, 0)
    # At least five programs of 128 threads on a multiprocessor. Triton 3.7 takes 64 and 40, 3.9 88 and 40.
    assert step["registers"] <= 96
    assert average["registers"] <= 96
    assert step_unaligned["registers"] <= 104
    assert average_unaligned["registers"] <= 104
    # Four entries a load, 128 threads: every byte of the whole chunks.
    loads = BLOCK // (4 * 128)
    assert step["global_loads"]["128"] == 4 * loads
    assert average["global_loads"]["128"] == 3 * loads
    assert "128" not in step_unaligned["global_loads"]


# On a GPU

gpu = pytest.mark.gpu


def on_gpu(kind: type, num_tensors: int = 200) -> Any:
    generator = torch.Generator().manual_seed(0)
    sizes = [(i * 7919) % 50_000 + 1 for i in range(num_tensors)]
    own = [nn.Parameter(torch.randn(size, generator=generator).cuda()) for size in sizes]
    return kind([{"params": own[::2]}, {"params": own[1::2], "weight_decay": 0.0}], lr=1e-2, rho=0.1)


def give_gradients_on_gpu(step: int, optimizer: Any) -> None:
    generator = torch.Generator("cuda").manual_seed(step)
    for parameter in all_parameters(optimizer):
        parameter.grad = torch.randn(parameter.shape, generator=generator, device="cuda")


@gpu
@pytest.mark.parametrize("kind", [SophiaG, SophiaH])
def test_on_a_gpu_every_step_is_that_of_torchs_operators(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = on_gpu(kind), on_gpu(kind)
    for step in range(5):
        for path, optimizer in (("triton", ours), ("foreach", theirs)):
            monkeypatch.setenv("FEDKEY_SOPHIA", path)
            if kind is SophiaH:
                generator = torch.Generator("cuda").manual_seed(step)
                loss = sum(p.sin().sum() for p in all_parameters(optimizer))
                optimizer.update_hessian(loss, generator)
            else:
                give_gradients_on_gpu(-step - 1, optimizer)
                optimizer.update_hessian()
            give_gradients_on_gpu(step, optimizer)
            optimizer.step()
        assert_equal(ours, theirs)


@gpu
def test_on_a_gpu_the_fused_step_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    launches: list[int] = []
    step = fused_sophia.step
    monkeypatch.setattr(fused_sophia, "step", lambda *rest: launches.append(1) or step(*rest))
    optimizer = on_gpu(SophiaG, 3)
    give_gradients_on_gpu(0, optimizer)
    optimizer.step()
    assert launches == [1]


@gpu
def test_on_a_gpu_nothing_waits_for_the_device() -> None:
    """A host that runs ahead gets what a host that waits gets: no step waits, and none reads a table that the
    next has overwritten."""
    waiting, ahead = on_gpu(SophiaG), on_gpu(SophiaG)
    for optimizer in (waiting, ahead):
        give_gradients_on_gpu(0, optimizer)
        optimizer.update_hessian()
        optimizer.step()
    torch.cuda.synchronize()
    gradients = [[torch.randn_like(p) for p in all_parameters(ahead)] for _ in range(20)]
    torch.cuda.synchronize()
    for step in range(20):
        for parameter, gradient in zip(all_parameters(waiting), gradients[step], strict=True):
            parameter.grad = gradient
        waiting.step()
        torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        busy = torch.ones(4096, 4096, device="cuda")
        for _ in range(50):
            busy = busy @ busy
        for step in range(20):
            for parameter, gradient in zip(all_parameters(ahead), gradients[step], strict=True):
                parameter.grad = gradient
            ahead.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for one, other in zip(all_parameters(waiting), all_parameters(ahead), strict=True):
        assert torch.equal(one, other)
    assert waiting.clipped_share == ahead.clipped_share


@gpu
def test_on_a_gpu_a_step_is_one_launch() -> None:
    optimizer = on_gpu(SophiaG)
    give_gradients_on_gpu(0, optimizer)
    optimizer.step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        optimizer.step()
        torch.cuda.synchronize()
    names = [event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    kernels = [name for name in names if "Memcpy" not in name]
    assert len(kernels) == 1, names
    assert "step_kernel" in kernels[0]
    assert len(names) - len(kernels) == 1, names


@gpu
def test_on_a_gpu_more_entries_than_an_int32_counts() -> None:
    """A tensor of 2^31 + 5 entries, four of which need 34 GB."""
    size = 2**31 + 5
    if torch.cuda.mem_get_info()[0] < 5 * 4 * size:
        pytest.skip("needs 43 GB")
    parameter = nn.Parameter(torch.zeros(size, device="cuda"))
    parameter.grad = torch.ones(size, device="cuda")
    optimizer = SophiaG([parameter], lr=0.5, weight_decay=0.0)
    optimizer.step()
    assert (parameter.detach() == -0.5).all()
    assert optimizer.clipped_share == 1.0
