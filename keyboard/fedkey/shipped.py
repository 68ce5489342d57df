"""The bundle that comes with fedkey.

In: a language. Out: the folder of its bundle, which anybody who names no other types with. Next stop:
`fedkey.bundle`.
"""

from __future__ import annotations

from pathlib import Path

from fedkey.errors import UserError

MODELS = Path(__file__).parent / "models"


def shipped_bundle(language: str = "en") -> Path:
    """Where the bundle of a language is.

    Raises:
        UserError: none was packed for it.
    """
    folder = MODELS / language
    if not (folder / "manifest.json").is_file():
        raise UserError(
            f"No bundle for {language!r} came with this fedkey; name one, such as "
            "runs/demo/federated.bundle, which 'make demo' makes."
        )
    return folder
