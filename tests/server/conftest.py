"""`fedkey-server` as a real process that is killed for real."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

KILLED_AT = """
# `fedkey-server`, killing itself with SIGKILL at the first file operation of a name on a path with an ending.
import os, signal, sys
event, ending = sys.argv[1:3]

def kill(name, details):
    if name == event and any(str(detail).endswith(ending) for detail in details):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
sys.argv = ["fedkey-server", *sys.argv[3:]]
from fedkey_server.cli import main
sys.exit(main())
"""

Process = subprocess.Popen[str]


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """`start(arguments, killed_at=None)`: runs `fedkey-server`; killed_at = (audit event, end of a path)."""
    started: list[Process] = []

    def start(arguments: list[str], killed_at: tuple[str, str] | None = None) -> Process:
        if killed_at is None:
            program = [str(Path(sys.executable).with_name("fedkey-server"))]
        else:
            program = [sys.executable, "-c", KILLED_AT, *killed_at]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen([*program, *arguments], stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def kill_when_there() -> Callable[[Process, Path], None]:
    """`kill_when_there(process, path)`: sends SIGKILL as soon as the path exists."""

    def kill(process: Process, path: Path) -> None:
        deadline = time.monotonic() + 120
        while not path.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        process.communicate()

    return kill


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums of floats depend on the number of threads that share them; the killed runs have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
