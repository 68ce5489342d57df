"""Which network sockets this process has open: seen, not promised.

In: the kernel's own lists under /proc. Out: every socket that could reach another machine, of this process
and of those that it started. Next stop: `fedkey.ui.privacy`, which shows them.

A socket counts as local only where the kernel lists it as a Unix or netlink socket. One that stands in no
list, because it is not connected yet or of a rare kind, counts as one of the network.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

_LOCAL = {"unix": 6, "netlink": 9}
_NETWORK = {"tcp": 9, "tcp6": 9, "udp": 9, "udp6": 9, "udplite": 9, "udplite6": 9, "raw": 9, "raw6": 9}
"""Lists of the kernel, and the column in which each has a socket's number."""

_GONE = (FileNotFoundError, ProcessLookupError)
"""How the kernel says that a process has ended: before its file is opened, and while it is read."""


@dataclass(frozen=True)
class OpenSocket:
    """A socket that may reach another machine.

    Attributes:
        process: the number of the process that holds it.
        kind: "tcp", "udp6" and so on; "unconnected" for one that no list of the kernel has.
        local: ADDRESS:PORT on this side; empty where the kernel does not list it.
        remote: ADDRESS:PORT on the other side; likewise.
    """

    process: int
    kind: str
    local: str
    remote: str


@dataclass(frozen=True)
class Seen:
    """What was looked at, and what was found.

    Attributes:
        num_processes: this one, and those that it started.
        num_files: what they have open, of whatever kind.
        sockets: those of the network.
    """

    num_processes: int
    num_files: int
    sockets: tuple[OpenSocket, ...]


def open_sockets(process: int | None = None) -> Seen | None:
    """Looks now.

    Args:
        process: the number of a process; this one if it is None.

    Returns:
        None where that cannot be seen: on other systems than Linux, or if the kernel refuses. A process that
        ends while it is looked at has no sockets any more.
    """
    first = os.getpid() if process is None else process
    num_files = 0
    found: list[OpenSocket] = []
    try:
        processes = [first, *_descendants(first)]
        for each in processes:
            links = _links(each)
            num_files += len(links)
            found += _sockets(each, links)
    except OSError:
        return None
    return Seen(len(processes), num_files, tuple(found))


def _descendants(process: int) -> Iterator[int]:
    for tasks in (PROC / str(process) / "task").glob("*/children"):
        try:
            children = tasks.read_text(encoding="ascii").split()
        except _GONE:
            continue  # the thread has ended
        for child in map(int, children):
            yield child
            yield from _descendants(child)


def _links(process: int) -> list[str]:
    """What each open file of a process is; nothing once the process has ended."""
    links = []
    try:
        for file in os.listdir(PROC / str(process) / "fd"):
            try:
                links.append(os.readlink(PROC / str(process) / "fd" / file))
            except _GONE:
                continue  # closed meanwhile, as the folder that is being listed always is
    except _GONE:
        if process == os.getpid():
            raise  # no /proc here
    return links


def _sockets(process: int, links: list[str]) -> Iterator[OpenSocket]:
    net = PROC / str(process) / "net"
    numbers = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    for name, column in _LOCAL.items() if numbers else ():
        numbers.difference_update(number for number, _ in _rows(net / name, column))
    # Mostly nothing is left; the lists of the network are long on a machine with many connections.
    for name, column in _NETWORK.items() if numbers else ():
        for number, row in _rows(net / name, column):
            if number in numbers:
                numbers.remove(number)
                yield OpenSocket(process, name, _address(row[1]), _address(row[2]))
    for _ in numbers if net.exists() else ():
        yield OpenSocket(process, "unconnected", "", "")


def _rows(path: Path, column: int) -> Iterator[tuple[str, list[str]]]:
    """The number of each socket in a list, and its line; nothing from a list that this kernel does not
    keep, and of a process that has ended."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    except _GONE:
        return
    for line in lines:
        row = line.split()
        if len(row) > column:
            yield row[column], row


def _address(listed: str) -> str:
    """ADDRESS:PORT of what the kernel writes in its words of 32 bits, in hexadecimal."""
    address, _, port = listed.partition(":")
    words = (address[at : at + 8] for at in range(0, len(address), 8))
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    is_long = len(packed) == 16
    name = socket.inet_ntop(socket.AF_INET6 if is_long else socket.AF_INET, packed)
    return f"[{name}]:{int(port, 16)}" if is_long else f"{name}:{int(port, 16)}"
