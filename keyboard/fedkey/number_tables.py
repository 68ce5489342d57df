"""Tables of numbers as JSON has them.

In: lists in lists, or what should be such. Out: an array, or what is wrong. Next stop: `fedkey.channel`,
`fedkey.judge` and `fedkey.mixture`, which know what shape they want.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def number_table(name: str, values: object) -> npt.NDArray[np.float64]:
    """The values as they are nested; `ValueError` with the name if some are text, truth values, missing or
    too large, or rows differ in length."""
    try:
        table = np.array(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name} is no table of numbers") from error
    # A row of text would become numbers only where somebody asks for numbers, and be text later on. A truth
    # value among numbers becomes one at once.
    if table.dtype.kind not in "iuf" or _holds_truth(values):
        raise ValueError(f"{name} is no table of numbers")
    return table.astype(np.float64)


def rounded(values: Any, num_digits: int) -> Any:
    """The same lists and objects with fewer digits of each fractional number; anything else stays as it
    is."""
    if isinstance(values, dict):
        return {key: rounded(each, num_digits) for key, each in values.items()}
    if isinstance(values, list):
        return [rounded(each, num_digits) for each in values]
    return float(f"{values:.{num_digits}g}") if isinstance(values, float) else values


def _holds_truth(values: object) -> bool:
    if isinstance(values, list | tuple):
        return any(map(_holds_truth, values))
    return isinstance(values, bool)
