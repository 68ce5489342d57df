"""The list of everything that left this machine for a federation, one line a message.

In: what a phone sent, told by the process that sent it. Out: the same, for its owner to read. Next stop:
`fedkey.diary`, which holds what it was made from.

The list is written before a message leaves, so that a kill leaves a line too many and never one too few.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

DEPARTURES = "departures.jsonl"
"""File beside the personal memory."""


@dataclass(frozen=True)
class Departure:
    """One message that left.

    Attributes:
        when: ISO 8601, UTC, to the second.
        to: HOST:PORT.
        kind: what it was, e.g. "public keys", "key shares", "masked update", "masked counts", "update".
        num_bytes: of its content, as it went over the line.
        round_number: of the federation.
        epsilon: spent after this round, as the server says; None without differential privacy.
        crowd: fewest keyboards whose sum the server may read it in; None of what is in no sum.
    """

    when: str
    to: str
    kind: str
    num_bytes: int
    round_number: int
    epsilon: float | None
    crowd: int | None = None


def append_departure(path: Path, departure: Departure) -> None:
    """Adds a line, in one write; only its owner may read the file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        line = (json.dumps(dataclasses.asdict(departure)) + "\n").encode()
        # What a kill left of a line stays a line of its own.
        os.write(file, line if _is_whole(file) else b"\n" + line)
    finally:
        os.close(file)


def read_departures(path: Path) -> list[Departure]:
    """All of them, oldest first; a line that was torn by a kill is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    departures = (_departure(line) for line in lines)
    return [departure for departure in departures if departure is not None]


def _is_whole(file: int) -> bool:
    size = os.fstat(file).st_size
    if size == 0:
        return True
    os.lseek(file, size - 1, os.SEEK_SET)
    return os.read(file, 1) == b"\n"


def _departure(line: bytes) -> Departure | None:
    try:
        row = json.loads(line)
        epsilon, crowd = row["epsilon"], row.get("crowd")  # of older lines nobody knows the crowd
        return Departure(
            str(row["when"]),
            str(row["to"]),
            str(row["kind"]),
            int(row["num_bytes"]),
            int(row["round_number"]),
            None if epsilon is None else float(epsilon),
            None if crowd is None else int(crowd),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
