"""Files of arrays that fedkey wrote: read whole, or refused in a sentence.

In: the path of an .npz file. Out: its arrays, and whether they fit each other. Next stop:
`fedkey_server.batches`.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkey.errors import UserError

DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What zipfile and numpy raise over bytes that are not what they were, and we over arrays that do not fit."""


@contextmanager
def opened(path: Path, missing: str, damaged: str) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """The arrays of an .npz file by name, each read when it is asked for, in a `with` block.

    Args:
        missing: the whole sentence if the file is not there.
        damaged: the whole sentence if it cannot be read, or the block finds that its arrays do not fit.

    Raises:
        UserError: one of the two.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except FileNotFoundError as error:
        raise UserError(missing) from error
    except DAMAGE as error:
        raise UserError(damaged) from error


def check_offsets(offsets: npt.NDArray[Any], length: int) -> None:
    """ValueError if offsets [N + 1] do not rise from 0 to `length`, so that they part as many items in N."""
    if offsets.ndim != 1 or offsets.dtype.kind != "i" or len(offsets) == 0:
        raise ValueError("offsets are no list of integers")
    if offsets[0] != 0 or offsets[-1] != length or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets do not rise from 0 to {length}")
