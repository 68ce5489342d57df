"""Files that are there whole: who reads one sees what it held before or what it holds now, never a part.

In: a path, and whatever writes to one. Out: the file. Next stop: `fedkey.text`.

What is written lies beside the file until it is renamed into place. It is safe from a kill at any moment, not
from a power cut: nothing here waits for the disk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO


@contextmanager
def whole(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Where to write what shall be the file when the body ends; if it raises, the file is as it was.

    Of two that write at once both succeed, and what the later one wrote stays. What a killed one left is
    deleted by the next that writes the same file. A link at `path` gives way itself, not what it leads to.

    Args:
        path: the file. Its folder must be there.
        mode: of the new file, less the umask; what it replaces had any.

    Yields:
        An empty file in the same folder, with this mode from the start, that no other process writes to.
    """
    for rest in rests(path):
        with suppress(OSError), rest.open("r+b") as left:
            if _hold(left, waits=False):  # otherwise who writes it is alive
                rest.unlink()
    beside, held = _place(path, mode)
    with closing(held):  # it may be closed already
        try:
            yield beside
            os.replace(beside, path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise


def rests(path: Path) -> list[Path]:
    """What waits to be renamed to `path`: of those who write it just now, and of those who were killed."""
    return list(path.parent.glob(_name_beside(escape(path.name), "[0-9a-f]" * 8)))


def _name_beside(name: str, unique: str) -> str:
    return f".{name}.{unique}.new"


def _place(path: Path, mode: int) -> tuple[Path, IO[bytes]]:
    """A new file beside, and what keeps others from deleting it for as long as it is open."""
    while True:
        beside = path.parent / _name_beside(path.name, os.urandom(4).hex())
        held = os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")
        if not _hold(held, waits=True):
            held.close()  # Windows renames nothing that is open
            return beside, held
        if os.fstat(held.fileno()).st_nlink:
            return beside, held
        held.close()  # somebody thought that it was left by a kill: it was not yet held


def _hold(file: IO[bytes], *, waits: bool) -> bool:
    """Whether this process has a file to itself from now on. Where there are no locks nobody ever has: on
    Windows, and in some network folders. What kills leave there stays."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
