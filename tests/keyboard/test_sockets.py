"""The proof that nothing talks to the network: it must see what does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fedkey import sockets
from fedkey.sockets import OpenSocket, Seen, open_sockets

pytestmark = pytest.mark.skipif(not Path("/proc/self/net").exists(), reason="the kernel's lists are Linux's")


def new_sockets(before: set[OpenSocket]) -> set[OpenSocket]:
    seen = open_sockets()
    assert seen is not None
    return {*seen.sockets} - before


@pytest.fixture
def before() -> set[OpenSocket]:
    """What the tests' own process has open anyway."""
    seen = open_sockets()
    assert seen is not None
    return {*seen.sockets}


@pytest.mark.parametrize(
    ("family", "address", "kind"),
    [(socket.AF_INET, "127.0.0.1", "tcp"), (socket.AF_INET6, "::1", "tcp6")],
)
def test_a_connection_is_seen_with_both_ends(
    before: set[OpenSocket], family: socket.AddressFamily, address: str, kind: str
) -> None:
    with closing(socket.socket(family, socket.SOCK_STREAM)) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip(f"no {address} here")
        server.listen()
        host = f"[{address}]" if ":" in address else address
        there = f"{host}:{server.getsockname()[1]}"
        with closing(socket.create_connection(server.getsockname()[:2])) as client:
            here = f"{host}:{client.getsockname()[1]}"
            found = {(each.kind, each.local, each.remote) for each in new_sockets(before)}
        assert (kind, here, there) in found
        assert (kind, there) in {(kind, local) for kind, local, _ in found}
    assert not new_sockets(before)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_that_went_nowhere_yet_counts(before: set[OpenSocket], kind: socket.SocketKind) -> None:
    with closing(socket.socket(socket.AF_INET, kind)):
        assert len(new_sockets(before)) == 1


def test_sockets_within_the_machine_do_not_count(before: set[OpenSocket]) -> None:
    one, other = socket.socketpair()
    with closing(one), closing(other), closing(socket.socket(socket.AF_UNIX)):
        assert not new_sockets(before)


def test_what_was_started_from_here_counts_too(before: set[OpenSocket]) -> None:
    code = (
        "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); "
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        (found,) = new_sockets(before)
        assert (found.process, found.kind) == (child.pid, "tcp")
        seen = open_sockets(child.pid)
        assert seen is not None
        assert (seen.num_processes, seen.num_files > 3, seen.sockets) == (1, True, (found,))
        child.communicate()
    assert not new_sockets(before)


def test_where_nothing_can_be_seen_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "PROC", tmp_path)
    assert open_sockets() is None


def test_what_ends_while_it_is_looked_at_hides_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / str(os.getpid())
    for thread in ("1", "2"):
        (here / "task" / thread).mkdir(parents=True)
        (here / "task" / thread / "children").write_text("4242 ")  # which is there no more
    (here / "fd").mkdir()
    (here / "fd" / "3").symlink_to("socket:[77]")
    (here / "net").mkdir()
    read_text = Path.read_text

    def read_or_gone(path: Path, *arguments: Any, **options: Any) -> str:
        if path == here / "task" / "2" / "children":
            raise ProcessLookupError("the thread has ended")
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(sockets, "PROC", tmp_path)
    monkeypatch.setattr(Path, "read_text", read_or_gone)
    assert open_sockets() == Seen(2, 1, (OpenSocket(os.getpid(), "unconnected", "", ""),))


def test_the_sockets_of_a_process_that_has_ended_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "PROC", tmp_path)
    assert list(sockets._sockets(4242, ["socket:[77]"])) == []
