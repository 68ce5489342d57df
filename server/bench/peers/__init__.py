"""What a user might choose instead of fedkey, each behind the same two faces: words shown, and words'
likelihood.

In: files of other people's packages, or counts of a text. Out: predictors for `fedkey.simulate`. Next stop:
`peers.word_model`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fedkey.errors import UserError


def file_of(package: str, name: str | Path, advice: str) -> Path:
    """A file of an installed package, which is not loaded.

    Raises:
        UserError: the package is not installed; ends with the advice.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UserError(f"There is no {package} here; {advice}.")
    return Path(found.origin).parent / name
