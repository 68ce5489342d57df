"""`fedkey-server` as a real process that is killed for real, and work that is cut short in the tests' own."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from deployment import Deployment
from forked import KILLED_AT, Forked

from fedkey_server import checkpoint
from fedkey_server.config import Config, load

PROGRAM = "import sys; from fedkey_server.cli import main; sys.exit(main())"
STANDS_ON = ("fedkey_server.train", "fedkey_server.prepare")
"""What takes longest to import of the commands that tests kill."""


@pytest.fixture
def start(fork: Callable[..., Forked]) -> Callable[..., Forked]:
    """`start(arguments, killed_at=None)`: runs `fedkey-server`; killed_at = (audit event, end of a path)."""

    def start(arguments: list[str], killed_at: tuple[str, str] | None = None) -> Forked:
        if killed_at is None:
            return fork(PROGRAM, arguments, STANDS_ON)
        return fork(KILLED_AT + PROGRAM, [*killed_at, *arguments], STANDS_ON)

    return start


@pytest.fixture
def killed(start: Callable[..., Forked]) -> Callable[..., None]:
    """`killed(arguments, killed_at)`: runs `fedkey-server` until it has killed itself there."""

    def killed(arguments: list[str], killed_at: tuple[str, str]) -> None:
        process = start(arguments, killed_at)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, errors

    return killed


@pytest.fixture
def finished(start: Callable[..., Forked]) -> Callable[..., tuple[str, str]]:
    """`finished(arguments)`: runs `fedkey-server` to its good end, and returns what it wrote to stdout and
    stderr."""

    def finished(arguments: list[str]) -> tuple[str, str]:
        process = start(arguments)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return output, errors

    return finished


@pytest.fixture
def kill_when_there() -> Callable[[Forked, Path], None]:
    """`kill_when_there(process, path)`: sends SIGKILL as soon as the path exists."""

    def kill(process: Forked, path: Path) -> None:
        deadline = time.monotonic() + 120
        while not path.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        process.communicate()

    return kill


@pytest.fixture
def cut_at_checkpoint(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """`cut_at_checkpoint(work)`: does the work until it has saved a checkpoint."""
    save = checkpoint.save

    def save_once(*arguments: Any) -> None:
        save(*arguments)
        raise InterruptedError

    def cut(work: Callable[[], object]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save", save_once)
            with pytest.raises(InterruptedError):
                work()

    return cut


@pytest.fixture
def config(small_overrides: list[str]) -> Config:
    """The tiny preset, smaller still."""
    return load("tiny", small_overrides)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums of floats depend on the number of threads that share them; the killed runs have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    here = Deployment(tmp_path)
    try:
        here.start()
        yield here
    finally:
        here.stop()
