"""What a run folder tells of its run at some moment.

In: the folder, which another process may be writing to. Out: a `Record`. Next stop:
`fedkey_server.watch.figures`.

No line of metrics holds a time, so that two equal runs leave equal bytes; how fast a run is, is read off the
times at which its checkpoints were renamed into place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedkey.errors import UserError

Row = Mapping[str, Any]
"""One line of metrics.jsonl."""

MARKS = 20
"""Checkpoints over which the pace is taken: enough that a round with a validation beside rounds without one
does not make it jump, few enough that it follows."""


@dataclass(frozen=True)
class Record:
    """A run so far."""

    name: str
    kind: str
    """"federate", "train" or "average"."""
    config: Mapping[str, Any]
    """The resolved configuration."""
    rows: tuple[Row, ...]
    """In the order of their steps."""
    saved_step: int
    """Of the newest checkpoint."""
    seconds_per_step: float | None
    """Between checkpoints; None while there is one at most."""
    written_at: float
    """When the run last wrote something, in seconds since the epoch."""
    final: Mapping[str, Any] | None
    """done.json, once the run is finished."""

    @property
    def is_federated(self) -> bool:
        """Whether its steps are rounds."""
        return self.kind == "federate"

    @property
    def is_average(self) -> bool:
        """Whether it is of other runs, and takes no step."""
        return self.kind == "average"

    @property
    def step(self) -> int:
        """Steps or rounds done."""
        return max(self.saved_step, self.rows[-1]["step"] if self.rows else 0)

    @property
    def num_steps(self) -> int | None:
        """Steps or rounds that the run shall have; None if that is not written down: a trunk's length is
        open."""
        if self.is_finished:
            return self.step
        if self.is_federated:
            return int(self.config["rounds"]["num_rounds"])
        found = self.config.get("num_steps", self.config["train"].get("num_steps"))
        return None if found is None else int(found)

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do. A finished trunk may have been given more steps."""
        return self.final is not None and self.final["step"] >= self.step


class Watcher:
    """Reads a run folder again and again; of its metrics, only what is new.

    Raises:
        UserError: the folder holds no run.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        try:
            self._begun = (run / "config.json").stat().st_mtime
            described = json.loads((run / "config.json").read_text(encoding="utf-8"))
            self._kind, self._config = str(described["kind"]), described["config"]
            _check(self._kind, self._config)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{run} is not a run folder; give the --run of 'fedkey-server federate' or 'train'."
            ) from error
        self._metrics = _Lines(run / "metrics.jsonl")
        self._marks: dict[int, float] = {}

    def read(self) -> Record:
        """The run as it is now."""
        self._look_at_checkpoints()
        rows = self._metrics.read()
        return Record(
            name=self.run.resolve().name,
            kind=self._kind,
            config=self._config,
            rows=rows,
            saved_step=max(self._marks, default=0),
            seconds_per_step=_pace(self._marks),
            written_at=max(self._begun, self._metrics.written_at, *self._marks.values()),
            final=self._final(),
        )

    def _look_at_checkpoints(self) -> None:
        there = {}
        for folder in (self.run / "checkpoints").glob("*"):
            if folder.name.isdigit():
                try:
                    there[int(folder.name)] = (folder / "state.json").stat().st_mtime
                except OSError:
                    continue  # the oldest is dropped while we look
        newest = max(there, default=0)
        # A run that was killed or begun anew may be behind what was seen of it.
        seen = {step: time for step, time in self._marks.items() if step <= newest} | there
        self._marks = dict(sorted(seen.items())[-MARKS:])

    def _final(self) -> Row | None:
        try:
            return _row((self.run / "done.json").read_bytes())
        except OSError:
            return None


def _pace(marks: Mapping[int, float]) -> float | None:
    """Mean seconds of a step."""
    if len(marks) < 2:
        return None
    (first, begun), *_, (last, ended) = marks.items()
    seconds = (ended - begun) / (last - first)
    return seconds if seconds > 0 else None  # copied folders may all be of one moment


class _Lines:
    """The complete lines of a file that grows, and that a run which goes on after a kill replaces."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written_at = 0.0
        self._rows: list[Row] = []
        self._inode = -1
        self._end = 0
        self._last = b""
        """The line before `_end`: a file that another replaced may have its number and be longer."""

    def read(self) -> tuple[Row, ...]:
        """All rows; those that cannot be read are left out, the last one may still be written."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                self.written_at = status.st_mtime
                file.seek(max(0, self._end - len(self._last)))
                if status.st_ino != self._inode or file.read(len(self._last)) != self._last:
                    self._rows, self._end, self._last = [], 0, b""
                    self._inode = status.st_ino
                    file.seek(0)
                fresh = file.read()
        except OSError:
            self._rows, self._end, self._last, self.written_at = [], 0, b"", 0.0
            return ()
        complete = fresh[: fresh.rfind(b"\n") + 1]
        lines = complete.splitlines(keepends=True)
        if lines:
            self._end, self._last = self._end + len(complete), lines[-1]
            self._rows += [row for row in map(_row, lines) if row is not None]
        return tuple(self._rows)


def _check(kind: str, config: Any) -> None:
    """A configuration that lacks what is shown of a run of its kind is a KeyError, TypeError or
    AttributeError."""
    match kind:
        case "federate":
            told = [config["rounds"]["num_rounds"], config.get("privacy", {"epsilon": 0.0})["epsilon"]]
        case "train":
            num_steps = config.get("num_steps", config["train"].get("num_steps", 0))
            told = [num_steps, config["train"]["checkpoint_every"]]
        case "average":
            told = [len(config.get("runs", ()))]
        case _:
            raise KeyError(kind)
    if not all(map(_is_number, told)):
        raise TypeError(f"{told} are not all numbers")


def _row(line: bytes) -> Row | None:
    """What stands in a line, if it is about a step and what is shown of it is of its type."""
    try:
        row = json.loads(line)
        is_sound = isinstance(row["step"], int) and _is_sound(row)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return row if is_sound else None


FIGURES = (
    "step",
    "validation_loss",
    "validation_top1",
    "infill_top1",
    "masked_top1",
    "permutation_top1",
    "train_loss",
    "learning_rate",
)
OF_ROUND = ("asked", "reports", "silent", "changed")
SPENT = ("epsilon", "delta", "epsilon_at_a_million", "cohort_at_a_million")


def _is_sound(row: Row) -> bool:
    """Whether a row is such as a run writes; raises what `_row` catches if it is quite another."""
    numbers = [row[name] for name in FIGURES if name in row]
    if "asked" in row:
        numbers += [*(row[name] for name in OF_ROUND), *row["refused"].values()]
    for name in ("lost", "fleet"):
        numbers += row.get(name, {}).values()
    if "privacy" in row:
        numbers += [row["privacy"][name] for name in SPENT]
    deciles = row.get("top1_deciles", [0.0] * 9)
    return len(deciles) == 9 and all(map(_is_number, [*numbers, *deciles]))


def _is_number(value: object) -> bool:
    """One that a chart has room for: JSON knows integers of any length."""
    return isinstance(value, int | float) and not (isinstance(value, int) and abs(value) >= 2**63)
