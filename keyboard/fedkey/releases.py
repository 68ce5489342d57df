"""Which release of a registry this keyboard types with.

In: a registry, as `fedkey_server.releases` keeps it or as it was copied from there. Out: the folder of the
bundle to open. Next stop: `fedkey.bundle`.

A phone follows its registry: it types with the release that `CURRENT` names. Its owner may go back to the
one before, which then holds, whatever is promoted meanwhile and however often the keyboard is closed, until
they follow again. That choice is the phone's own: it is kept in its owner's data folder and the registry is
only ever read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from fedkey.errors import UserError
from fedkey.files import whole

CURRENT, HISTORY = "current", "releases.json"
"""In a registry: the number of the release that phones use, and what was decided about each."""

PROMOTED = "promoted"
"""The state, in the history, of a release that was used and is still thought well of."""

MAX_CURRENT_BYTES = 32

HELD = "held-releases.json"
"""In the owner's data folder: registry -> the release that its owner went back to."""

_NUMBER = re.compile(r"[0-9]{1,9}")


def folder_name(version: int) -> str:
    """What a release's bundle is called in its registry."""
    return f"{version:04d}"


def is_registry(path: Path) -> bool:
    """Whether a folder holds releases, not a bundle."""
    return (path / CURRENT).exists() or (path / HISTORY).exists()


def current_version(registry: Path) -> int:
    """The release that phones use.

    Raises:
        UserError: none was promoted, or it cannot be read.
    """
    try:
        with (registry / CURRENT).open("rb") as file:
            text = file.read(MAX_CURRENT_BYTES).decode("ascii", errors="replace").strip()
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise UserError(
            f"The registry's {registry / CURRENT} cannot be read ({error.strerror}); give a bundle's folder."
        ) from error
    if not _NUMBER.fullmatch(text):
        raise UserError(
            f"The registry {registry} names no current release; promote one with "
            "'fedkey-server releases promote', or give a bundle's folder."
        )
    return int(text)


def promoted_versions(registry: Path) -> list[int]:
    """The releases that were used and are still thought well of, oldest first; none if the history cannot be
    read, which keeps nobody from typing."""
    try:
        rows = json.loads((registry / HISTORY).read_text(encoding="utf-8"))
        return sorted(int(row["version"]) for row in rows if row["state"] == PROMOTED)
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return []


@dataclass(frozen=True)
class InUse:
    """The release that a keyboard types with.

    Attributes:
        registry: the folder of all of them.
        version: its number.
        is_held: whether its owner went back to it; otherwise the registry is followed.
    """

    registry: Path
    version: int
    is_held: bool = False

    @property
    def bundle(self) -> Path:
        """Its folder."""
        return self.registry / folder_name(self.version)

    @property
    def before(self) -> int | None:
        """The release to go back to, if any."""
        older = [each for each in promoted_versions(self.registry) if each < self.version]
        return older[-1] if older else None


def bundle_at(path: str | Path) -> Path:
    """A registry's current bundle; any other path as it is, for it may be a bundle's.

    Raises:
        UserError: the registry has no current release.
    """
    path = Path(path)
    return path / folder_name(current_version(path)) if is_registry(path) else path


def release_at(path: str | Path) -> InUse | None:
    """The release of a registry that its owner went back to, or the current one; None if `path` is no
    registry.

    Raises:
        UserError: the registry has no current release.
    """
    registry = Path(path)
    if not is_registry(registry):
        return None
    held = held_version(registry)
    # One that is no longer there cannot be held; following is what its owner would choose.
    if held is not None and InUse(registry, held).bundle.is_dir():
        return InUse(registry, held, is_held=True)
    return InUse(registry, current_version(registry))


def held_version(registry: Path) -> int | None:
    """The release that this phone's owner went back to; None while they follow."""
    version = _read_held().get(str(registry.resolve()))
    return version if type(version) is int else None


def hold(registry: Path, version: int | None) -> None:
    """Keeps a release in use until it is told otherwise; None follows the registry again.

    Raises:
        UserError: that cannot be written down.
    """
    held = {key: each for key, each in _read_held().items() if key != str(registry.resolve())}
    if version is not None:
        held[str(registry.resolve())] = version
    path = _held_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as beside:
            beside.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"Which release you chose cannot be kept in {path} ({error.strerror}); it holds until fedkey is "
            "closed."
        ) from error


def _read_held() -> dict[str, object]:
    try:
        held = json.loads(_held_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def _held_file() -> Path:
    from platformdirs import user_data_path  # late: most who ask for a bundle's folder hold no release

    return user_data_path("fedkey") / HELD
