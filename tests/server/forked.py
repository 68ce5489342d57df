"""Python programs in processes of their own that need not import torch first.

In: source text, its `sys.argv`, and the modules that it will need. Out: a process to wait for or to kill.
Next stop: `tests/conftest.py`, whose fixtures `forker` and `fork` tests ask for.

A fresh interpreter takes three seconds of a core to import torch and what stands on it, and the tests start
dozens. Here one interpreter imports each module once and forks for every program, which then lives and dies
like any other process: with memory, output, exit status and signals of its own. What a fork cannot show needs
`subprocess`: what a fresh interpreter imports, console scripts, other hash seeds.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO

MAX_REQUEST = 1 << 17
NUMBER = struct.Struct("i")
"""How a process id and an exit status are told."""

KILLED_AT = """
import os, signal, sys
event, ending = sys.argv[1:3]
del sys.argv[1:3]

def kill(name, details):
    if name == event and any(str(detail).endswith(ending) for detail in details):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
"""
"""Put before a program, kills it with SIGKILL at the first file operation of a name on a path with an ending:
its first two arguments."""


class Forked:
    """A running program, with as much of `subprocess.Popen` as tests use."""

    def __init__(self, answers: IO[bytes], out: IO[bytes], err: IO[bytes]) -> None:
        self._answers, self._out, self._err = answers, out, err
        self.pid = _read_number(answers)
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, or the signal that ended it as a negative number.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        if self.returncode is None:
            if not select.select([self._answers], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = _read_number(self._answers)
        return self.returncode

    def poll(self) -> int | None:
        """The exit status if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def kill(self) -> None:
        """Sends SIGKILL if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits, and returns all that it wrote to stdout and stderr."""
        self.wait(timeout)
        self._out.seek(0)
        self._err.seek(0)
        return self._out.read().decode(), self._err.read().decode()

    def close(self) -> None:
        """Kills it if need be, and forgets what it wrote."""
        self.kill()
        self.wait()
        for file in (self._answers, self._out, self._err):
            file.close()


class Forker:
    """The interpreter that is forked. It ends with `close`, or when whoever started it does."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
            )

    def fork(self, program: str, arguments: Sequence[object], imports: Sequence[str]) -> Forked:
        """Runs `program` with `sys.argv[1:] = arguments` in a process that holds the modules `imports`."""
        request = {"program": program, "arguments": [*map(str, arguments)], "imports": [*imports]}
        out, err = (os.fdopen(os.memfd_create(name), "rb") for name in ("out", "err"))
        read, write = os.pipe()
        socket.send_fds(self._requests, [json.dumps(request).encode()], [write, out.fileno(), err.fileno()])
        os.close(write)
        return Forked(os.fdopen(read, "rb", buffering=0), out, err)

    def close(self) -> None:
        """Ends the interpreter."""
        self._requests.close()
        self._process.wait(timeout=60)


def _read_number(answers: IO[bytes]) -> int:
    (number,) = NUMBER.unpack(answers.read(NUMBER.size))
    return int(number)


def _serve(requests: socket.socket) -> None:
    """Forks for each request until nobody can send one any more."""
    while True:
        message, files, _, _ = socket.recv_fds(requests, MAX_REQUEST, 3)
        _bury()
        if not message:
            return
        request = json.loads(message)
        for module in request["imports"]:
            importlib.import_module(module)
        if os.fork() == 0:
            requests.close()
            _keep(request, *files)
        for file in files:
            os.close(file)


def _bury() -> None:
    """Waits for keepers that have ended, so that `time` counts their programs."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _keep(request: dict[str, list[str]], answers: int, out: int, err: int) -> None:
    """Forks the program itself, waits for it and tells how it ended."""
    child = os.fork()
    if child == 0:
        os.close(answers)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os._exit(_run(str(request["program"]), request["arguments"]))
    os.write(answers, NUMBER.pack(child))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(answers, NUMBER.pack(status))
    os._exit(0)


def _run(program: str, arguments: list[str]) -> int:
    """The program's exit status, as the interpreter would have it."""
    sys.argv = ["-c", *arguments]
    code: object = 0
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
    except SystemExit as stopped:
        code = stopped.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))  # a second time, before what the tests have put first
    _serve(socket.socket(fileno=int(sys.argv[1])))
