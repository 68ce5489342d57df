"""How much work a step of training is, and how fast it is done.

In: packed rows and the model's shape. Out: pieces and FLOPs a second, and their share of the hardware's peak.
Next stop: `fedkey_server.progress`.

Counted are *model FLOPs* (PaLM, 2204.02311, appendix B): what the mathematics of forward and backward asks
for, however it is computed. A multiplication and an addition are two; backward counts twice the forward.
Padding is no work, scores count for the pairs that may really see each other, the output matrix counts at
graded positions only, nothing counts twice because it is computed twice, and Sophia's estimate of the
curvature is overhead. Rows are counted as if read from the left, whatever the objective: one that looks to
both sides sees up to twice the pairs, and the second stream of permutations is overhead, too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from fedkey_server.batches import PackedRows
from fedkey_server.model import IGNORE, ModelConfig

PEAK_FLOPS = {
    # Dense bf16 with tensor cores. H100 SXM data sheet: 1,979 TFLOP/s "with sparsity", half of it dense; the
    # H200's is the same. The PCIe and NVL cards of these names are slower and not listed.
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    # A100 data sheet: 312 TFLOP/s dense, all forms.
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
}
"""By the name that CUDA gives the device."""

WINDOW_STEPS = 50
"""Steps whose rate is told."""


class Work(NamedTuple):
    """What there is to do in some rows."""

    pieces: int
    """Pieces that are not padding."""
    targets: int
    """Positions that are graded."""
    pairs: int
    """Pairs of positions of which one sees the other, each with itself included."""

    @classmethod
    def of(cls, rows: PackedRows, config: ModelConfig) -> Work:
        """Counts it: the piece at position p of its document sees p + 1 pieces, or the span."""
        positions = rows.positions[rows.document_ids >= 0]
        targets = int((rows.targets != IGNORE).sum())
        span = config.span if config.attention == "sliding" else config.window
        return cls(len(positions), targets, int(np.minimum(positions + 1, span).sum()))


def matrix_parameters(config: ModelConfig) -> int:
    """Parameters of the layers' matrices: each multiplies every piece. The embedding is looked up, not
    multiplied."""
    width, key_value_width = config.width, config.num_key_value_heads * config.head_size
    attention = 2 * width * width + 2 * width * key_value_width
    return config.num_layers * (attention + 3 * width * config.hidden_width)


def model_flops(config: ModelConfig, work: Work) -> int:
    """FLOPs of forward and backward.

    Matrices: 2 forward and 4 backward per parameter and piece; for the output matrix [V, D] per graded
    position. Attention: query times key and weight times value are 2 D each per layer and pair, three times
    that with the backward, 12 L D in all; with T^2 pairs a row this is PaLM's 12 L H K T per piece. Linear
    attention adds to K sums and reads them, as if each piece saw K pieces.
    """
    matrices = 6 * matrix_parameters(config) * work.pieces
    output = 6 * config.vocab_size * config.width * work.targets
    pairs = work.pieces * config.head_size if config.attention == "linear" else work.pairs
    return matrices + output + 12 * config.num_layers * config.width * pairs


def peak_flops(device: torch.device) -> float | None:
    """FLOP/s the device can reach in bf16; None where nobody has looked it up."""
    return PEAK_FLOPS.get(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


class Meter:
    """Rates over the latest `WINDOW_STEPS` steps; what lies between steps, such as validation, is left out.

    Args:
        config: shape of the model.
        peak: FLOP/s that all devices together can reach, if known.
        clock: seconds, for tests.
    """

    def __init__(
        self, config: ModelConfig, peak: float | None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._config = config
        self._peak = peak
        self._clock = clock
        self._steps: deque[tuple[float, int, int]] = deque(maxlen=WINDOW_STEPS)
        self._begun = 0.0

    def begin(self) -> None:
        """A step begins."""
        self._begun = self._clock()

    def end(self, work: Work) -> None:
        """It is done, and was so much work.

        A GPU may still be busy with it, but never far behind: the rate of many steps is right.
        """
        seconds = self._clock() - self._begun
        self._steps.append((seconds, work.pieces, model_flops(self._config, work)))

    def figures(self) -> dict[str, str]:
        """For the line of progress: pieces a second, FLOPs a second, and, where the peak is known, the
        model-FLOPs utilisation (MFU)."""
        seconds = max(sum(step[0] for step in self._steps), 1e-9)
        flops = sum(step[2] for step in self._steps) / seconds
        unit, scale = ("TFLOP/s", 1e12) if flops >= 1e12 else ("GFLOP/s", 1e9)
        found = {"pieces/s": f"{sum(step[1] for step in self._steps) / seconds:,.0f}"}
        found[unit] = f"{flops / scale:,.1f}"
        if self._peak is not None:
            found["MFU"] = f"{flops / self._peak:.1%}"
        return found
