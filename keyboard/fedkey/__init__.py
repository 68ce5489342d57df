"""fedkey on the phone: opens a bundle and predicts what is being typed.

`fedkey.Engine` is the public face; a newcomer starts reading at `fedkey.text`.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime's official builds report usage to their maker from 1.29 on unless this is set before the
# import. It is set here, in the package's own __init__, so that no import order can miss it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from fedkey.bundle import BundleError
    from fedkey.engine import Accepted, Engine, Suggestions
    from fedkey.errors import UserError
    from fedkey.shipped import shipped_bundle

__all__ = ["Accepted", "BundleError", "Engine", "Suggestions", "UserError", "shipped_bundle"]
__version__ = "0.1.0"

_HOME = {
    "Accepted": "fedkey.engine",
    "BundleError": "fedkey.bundle",
    "Engine": "fedkey.engine",
    "Suggestions": "fedkey.engine",
    "UserError": "fedkey.errors",
    "shipped_bundle": "fedkey.shipped",
}


def __getattr__(name: str) -> Any:
    """Imports the public names when they are first used: the server imports `fedkey.text` without ONNX
    Runtime."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'fedkey' has no attribute {name!r}")
