"""What tests of Flower's own programs need: the app as a folder, ports, and the processes that those programs
leave behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def copy_app(folder: Path) -> None:
    """What `flwr run` hands in, in a folder of its own."""
    for path in (
        "pyproject.toml",
        "server/fedkey_server/client_app.py",
        "server/fedkey_server/server_app.py",
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / path, folder / path)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def processes_with(variable: str) -> list[int]:
    """Ids of the processes whose environment holds "NAME=value"."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def signal_all(variable: str, sign: signal.Signals) -> None:
    """To every process of such an environment."""
    for process in processes_with(variable):
        try:
            os.kill(process, sign)
        except ProcessLookupError:
            continue
