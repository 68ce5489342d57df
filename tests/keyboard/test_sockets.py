"""The proof that nothing talks to the network: it must see what does."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fedkey import sockets
from fedkey.sockets import OpenSocket, open_sockets

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
