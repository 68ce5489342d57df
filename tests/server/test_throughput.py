"""How much work a step is, against torch's own counter, and how fast it is done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from clocks import Clock
from torch.utils.flop_counter import FlopCounterMode

from fedkey_server import throughput
from fedkey_server.batches import Documents, PackedRows, pack
from fedkey_server.model import IGNORE, Model, ModelConfig
from fedkey_server.step import Share
from fedkey_server.throughput import Meter, Work, matrix_parameters, model_flops, peak_flops

SHAPE = ModelConfig(
    vocab_size=40, width=16, num_layers=3, num_heads=4, num_key_value_heads=2, hidden_width=24, window=12
)


def test_work_leaves_padding_out_and_knows_who_sees_whom() -> None:
    """Documents of 5 and 3 pieces in a row of 12; of the second only the last piece is graded."""
    ids = np.arange(8, dtype=np.int32)
    loss = np.array([1, 1, 1, 1, 1, 0, 0, 1], dtype=np.bool_)
    rows = pack(Documents(ids, loss, np.array([0, 5, 8])), 12, 12)
    assert Work.of(rows, SHAPE) == Work(pieces=8, targets=4 + 1, pairs=1 + 2 + 3 + 4 + 5 + 1 + 2 + 3)
    sliding = replace(SHAPE, attention="sliding", span=3)
    assert Work.of(rows, sliding).pairs == 1 + 2 + 3 + 3 + 3 + 1 + 2 + 3


def test_linear_attention_costs_a_piece_the_same_wherever_it_stands() -> None:
    linear = replace(SHAPE, attention="linear")
    near, far = Work(pieces=10, targets=5, pairs=10), Work(pieces=10, targets=5, pairs=55)
    assert model_flops(linear, near) == model_flops(linear, far)
    assert model_flops(linear, near) == model_flops(SHAPE, near._replace(pairs=10 * SHAPE.head_size))


def test_every_matrix_of_the_layers_counts() -> None:
    names = {name: p.numel() for name, p in Model(SHAPE).named_parameters() if p.dim() == 2}
    del names["model.embed_tokens.weight"]
    assert matrix_parameters(SHAPE) == sum(names.values())


def test_the_count_is_that_of_a_counter_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter sees into the references alone, whose attention computes all pairs of a row, T^2; so let
    the work be that."""
    monkeypatch.setenv("FEDKEY_ATTENTION", "reference")
    monkeypatch.setenv("FEDKEY_LOSS", "reference")
    num_rows = 2
    shape = (num_rows, SHAPE.window)
    rng = np.random.default_rng(0)
    targets = rng.integers(0, SHAPE.vocab_size, shape)
    targets[0, :5] = IGNORE
    positions = np.broadcast_to(np.arange(SHAPE.window), shape)
    rows = PackedRows(
        rng.integers(0, SHAPE.vocab_size, shape),
        targets,
        positions,
        np.zeros(shape, np.int32),
        np.arange(shape[0]),
    )
    model = Model(SHAPE)
    with FlopCounterMode(display=False) as counter:
        model.loss(*Share.of(rows, 1).parts[0][1]).total.backward()
    work = Work.of(rows, SHAPE)
    assert work == Work(24, 19, num_rows * 12 * 13 // 2)
    assert counter.get_total_flops() == model_flops(SHAPE, work._replace(pairs=num_rows * 12 * 12))


def take_steps(meter: Meter, clock: Clock, number: int, seconds: float, work: Work) -> None:
    for _ in range(number):
        meter.begin()
        clock.now += seconds
        meter.end(work)
        clock.now += 1000  # validation


def test_rates_are_those_of_the_latest_steps_alone() -> None:
    clock, work = Clock(), Work(3000, 2000, 60_000)
    meter = Meter(SHAPE, None, clock)
    take_steps(meter, clock, 1, 90.0, work)  # the first compiles
    take_steps(meter, clock, 1, 10.0, work)
    assert meter.figures()["pieces/s"] == "60"
    take_steps(meter, clock, throughput.WINDOW_STEPS, 0.5, work)
    flops = model_flops(SHAPE, work)
    assert meter.figures() == {"pieces/s": "6,000", "GFLOP/s": f"{flops / 0.5 / 1e9:,.1f}"}


def test_the_share_of_the_peak_is_told_where_the_peak_is_known() -> None:
    clock, config = Clock(), ModelConfig(width=768, num_heads=12, num_key_value_heads=12, num_layers=12)
    work = Work(500_000, 500_000, 20_000_000)
    meter = Meter(config, 2 * 989e12, clock)
    flops = model_flops(config, work)
    take_steps(meter, clock, 3, flops / 800e12, work)
    found = meter.figures()
    assert found["TFLOP/s"] == "800.0"
    assert found["MFU"] == "40.4%"


def test_the_peak_is_that_of_the_very_card(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_flops(torch.device("cpu")) is None
    for name, expected in (
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA A100-SXM4-80GB", 312e12),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        assert peak_flops(torch.device("cuda", 0)) == expected
