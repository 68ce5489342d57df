"""A program on a terminal of its own, read as a person reads it: what stands in which line.

In: a command and a size. Out: its screen as lines of text, with the moment at which each frame was complete;
what it spends of the processor. Next stop: `fedkey.cli.bench_ui`.

It knows as much of terminals as Textual's output asks for: to move the cursor, to write, to clear. Colours
are passed over.
"""

from __future__ import annotations

import codecs
import os
import re
import select
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from fedkey.errors import UserError

SYNCHRONISED = "\x1b[?2026;2$y"
"""A terminal's answer that it shows a frame when it is complete, as the common ones do."""

ASKS_SYNCHRONISED = "\x1b[?2026$p"
FRAME_END = "\x1b[?2026l"

_CONTROL = re.compile(
    r"""\x1b\[(?P<parameters>[0-?]*)[ -/]*(?P<final>[@-~])  # a control sequence
    | \x1b[\]PX^_].*?(?:\x1b\\|\x07)                        # a string that is none of the screen's
    | \x1b[ -/]*[0-OQ-WYZ\\`-~]                             # an escape of two characters
    | (?P<plain>[\r\n\b\x07])""",
    re.VERBOSE | re.DOTALL,
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07]*)?\Z", re.DOTALL)


class Grid:
    """Lines of characters, written as a terminal would. A character two cells wide has an empty cell behind
    it."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._cells = [[" "] * width for _ in range(height)]
        self._row = self._column = 0

    @property
    def lines(self) -> list[str]:
        """The text of each line."""
        return ["".join(line) for line in self._cells]

    def feed(self, text: str) -> str:
        """Writes what a program sent; returns the beginning of a control sequence that has no end yet."""
        at = 0
        for match in _CONTROL.finditer(text):
            self._write(text[at : match.start()])
            at = match.end()
            if match["plain"]:
                self._move_plainly(match["plain"])
            elif match["final"]:
                self._control(match["final"], match["parameters"])
        rest = text[at:]
        unfinished = _UNFINISHED.search(rest)
        self._write(rest[: unfinished.start()] if unfinished else rest)
        return unfinished.group() if unfinished else ""

    def _write(self, text: str) -> None:
        if not text:
            return
        from rich.cells import cell_len

        for character in text:
            cells = 1 if character.isascii() else cell_len(character)
            if self._row < self.height and self._column + cells <= self.width and cells:
                self._cells[self._row][self._column : self._column + cells] = [character, ""][:cells]
            self._column += cells

    def _move_plainly(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row = min(self._row + 1, self.height - 1)
        elif character == "\b":
            self._column = max(self._column - 1, 0)

    def _control(self, final: str, parameters: str) -> None:
        if not re.fullmatch(r"[\d;]*", parameters):
            return  # a mode
        numbers = [int(number or 0) for number in parameters.split(";")]
        if final in "Hf":
            row, column = (*numbers, 1)[:2]
            self._row, self._column = max(row, 1) - 1, max(column, 1) - 1
        elif final == "C":
            self._column += max(numbers[0], 1)
        elif final == "J":
            first = 0 if numbers[0] == 2 else self._row
            for row in range(first, self.height):
                self._clear(row, self._column if row == self._row and numbers[0] == 0 else 0)
        elif final == "K" and self._row < self.height:
            self._clear(self._row, self._column)

    def _clear(self, row: int, column: int) -> None:
        self._cells[row][column:] = [" "] * (self.width - column)


class PseudoTerminal:
    """Runs a program until the block is left, where it is ended. POSIX only.

    Attributes:
        grid: what is on screen.
        started: `time.perf_counter` right before the program was started.
    """

    def __init__(
        self, command: Sequence[str], width: int, height: int, *, environment: Mapping[str, str]
    ) -> None:
        """Raises `UserError` where there are no pseudo-terminals."""
        try:
            import fcntl
            import pty
            import termios
        except ImportError as error:
            raise UserError(
                "This system has no pseudo-terminals, which --ui needs; measure on Linux or macOS."
            ) from error
        self.grid = Grid(width, height)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._unfinished = ""
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Asked first, so that it closes its files; it has to be read meanwhile, or it may wait for us.
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        deadline = time.perf_counter() + 5
        while self._process.poll() is None and time.perf_counter() < deadline:
            self.read(0.02)
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, characters: str) -> None:
        """Presses keys."""
        os.write(self._master, characters.encode())

    def read(self, seconds: float) -> float | None:
        """Waits at most so long for output, and shows it.

        Returns:
            When a frame was complete, by `time.perf_counter`; None if none was.
        """
        if not select.select([self._master], [], [], seconds)[0]:
            return None
        try:
            sent = os.read(self._master, 65536)
        except OSError:  # Linux says so that nobody is at the other end
            sent = b""
        now = time.perf_counter()
        if not sent:
            time.sleep(min(seconds, 0.01))
            return None
        text = self._unfinished + self._decode(sent)
        if ASKS_SYNCHRONISED in text:
            self.type(SYNCHRONISED)
        self._unfinished = self.grid.feed(text)
        return now if FRAME_END in text else None

    def wait_for(self, is_shown: Callable[[list[str]], object], seconds: float) -> float:
        """Reads until a complete frame shows something.

        Returns:
            When that was, by `time.perf_counter`.

        Raises:
            UserError: the program ended, or it took too long.
        """
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            shown_at = self.read(0.05)
            if shown_at is not None and is_shown(self.grid.lines):
                return shown_at
            if self._process.poll() is not None:
                break
        said = " ".join(" ".join(self.grid.lines).split())
        raise UserError(f"The keyboard did not come to be seen on a terminal; it shows: {said or 'nothing'}")

    def processor_seconds(self) -> float | None:
        """What the program has spent so far, in hundredths of a second; None where there is no /proc."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        ticks = int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")
