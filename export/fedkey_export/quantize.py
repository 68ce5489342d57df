"""Weights as eight-bit integers, the same way every time.

In: a float32 matrix. Out: int8 values and one float32 scale per output column. Next stop:
`fedkey_export.graph`.

Values stay within -64..64, seven bits: x86 processors without VNNI add pairs of 8 x 8 bit products in 16 bits
and saturate beyond (27 % error of the logits on random weights, against 3 % so). Clipping the largest
weights for the sake of the rest was tried on Gaussian columns of 128 and 320 and always lost.

Activations are quantised in the graph, to eight bits with one scale per position. ONNX Runtime's own dynamic
quantisation has one scale for all positions of a run: 5 to 10 microseconds less per product, but a word's
score then depends on what else is in the run, and typing a text gives other suggestions than opening it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WEIGHT_LEVELS = 64
"""Largest magnitude of a quantised weight."""

ACTIVATION_LEVELS = 127
"""Largest magnitude of a quantised activation, around `ACTIVATION_ZERO`."""

ACTIVATION_ZERO = 128
"""Activations are uint8: the kernels multiply unsigned by signed."""

Floats = npt.NDArray[np.float32]


def quantise(weight_io: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Symmetric rounding per output column.

    Args:
        weight_io: [in, out], as the graph multiplies with it.

    Returns:
        int8 [in, out] and float32 [out] whose product approximates `weight_io`. A column of zeros has scale
        1.

    Raises:
        ValueError: a weight is infinite or not a number.
    """
    if not np.isfinite(weight_io).all():
        raise ValueError("weights must be finite")
    largest = np.abs(weight_io).max(axis=0)
    scale = np.where(largest > 0, largest / WEIGHT_LEVELS, 1.0).astype(np.float32)
    return np.clip(np.rint(weight_io / scale), -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8), scale
