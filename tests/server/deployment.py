"""A real SuperLink and real SuperNodes, each a process of its own with an identity of its own.

Flower says "finished" and exits with 0 whatever happens, so what counts is the run folder.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flower_processes import copy_app, free_port, processes_with, signal_all

from fedkey_server import checkpoint

SECONDS = 1200
"""After which a run is given up. Every message starts a Python, and a secure round has five a phone."""

NEEDS_PROC = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="finds what Flower left in /proc"
)


def wait_for(is_there: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not is_there():
        assert time.monotonic() < deadline, f"no {what} after {seconds} seconds"
        time.sleep(0.2)


SLOW_TO_LOAD = """
import pathlib, sys, time

class Finder:
    def find_spec(name, path=None, target=None):
        while name == "fedkey_server.client_app" and pathlib.Path(__file__).with_name("held").exists():
            time.sleep(0.1)

sys.meta_path.insert(0, Finder)
"""


def make_identity(path: Path) -> str:
    """Writes a new key, and returns its public half in hexadecimal."""
    key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes_raw())
    return key.public_key().public_bytes_raw().hex()


@dataclass
class Deployment:
    """A SuperLink with its database, and phones."""

    folder: Path
    port: int = 0
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Starts the SuperLink."""
        self.port = free_port()
        (self.folder / "home").mkdir()
        (self.folder / "home" / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{self.port}"\n'
            "insecure = true\n"
        )
        copy_app(self.folder / "fedkey")
        self.start_superlink()

    def start_superlink(self) -> None:
        """Again, if it has been killed."""
        self._launch(
            "superlink", "flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(self.port),
            "--database", str(self.database), "--disable-runtime-dependency-installation",
        )  # fmt: skip
        wait_for(self._answers, "SuperLink", 60)

    @property
    def database(self) -> Path:
        return self.folder / "state.db"

    def add_phones(self, numbers: Sequence[int], slow: int | None = None) -> None:
        """Starts SuperNodes, and writes the registry of their public keys. The app of the slow one loads as
        long as the file "slow/held" is there."""
        (self.folder / "slow").mkdir()
        (self.folder / "slow" / "held").touch()
        (self.folder / "slow" / "sitecustomize.py").write_text(SLOW_TO_LOAD)
        registry = {}
        for number in numbers:
            identity = self.folder / f"identity-{number}"
            registry[str(number)] = make_identity(identity)
            path = {"PYTHONPATH": str(self.folder / "slow")} if number == slow else {}
            self._launch(
                f"phone-{number}", "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{self.port}",
                "--port", str(free_port()), "--node-config", f'partition-id={number} identity="{identity}"',
                environment=path,
            )  # fmt: skip
        (self.folder / "registry.json").write_text(json.dumps(registry))
        for number in numbers:
            wait_for(lambda number=number: "SuperNode ID" in self.log(f"phone-{number}"), "SuperNode", 90)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def run(self, data: Path, init: Path, overrides: Sequence[str], **others: str) -> Path:
        """Hands the run in, with other values of its configuration, and returns its folder."""
        run = self.folder / "run"
        settings = {
            "set": ";".join(overrides), "data": str(data), "run": str(run), "init": str(init),
            "simulation": False, "registry": str(self.folder / "registry.json"), **others,
        }  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
        (self.folder / "settings.toml").write_text("".join(lines))
        done = subprocess.run(
            ["flwr", "run", ".", "--run-config", str(self.folder / "settings.toml")],
            cwd=self.folder / "fedkey", env=self._environment("flwr"), capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip
        assert "Successfully started run" in done.stdout, done.stdout + done.stderr
        return run

    def wait(self, run: Path) -> dict[str, Any]:
        """The final figures of a run."""
        wait_for((run / "done.json").exists, f"end of the run: {self.log('superlink')[-3000:]}")
        return dict(checkpoint.read_json(run / "done.json"))

    def signal(self, name: str, sign: signal.Signals) -> None:
        """To a SuperNode and all its children."""
        signal_all(f"FEDKEY_TEST={self.folder}/{name}", sign)

    def traces(self, needle: bytes) -> list[str]:
        """The database's files that hold the bytes."""
        files = [path for path in self.folder.glob("state.db*") if needle in path.read_bytes()]
        return sorted(path.name for path in files)

    def stop(self) -> None:
        for sign in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
            signal_all(f"FLWR_HOME={self.folder}/home", sign)
            deadline = time.monotonic() + 10
            while processes_with(f"FLWR_HOME={self.folder}/home") and time.monotonic() < deadline:
                for process in self.started:
                    process.poll()
                time.sleep(0.1)
        for process in self.started:
            process.wait(timeout=10)
        assert processes_with(f"FLWR_HOME={self.folder}/home") == []

    def _launch(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
        environment = self._environment(name) | dict(environment or {})
        with (self.folder / f"{name}.log").open("wb") as log:
            self.started.append(
                subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
            )

    def _environment(self, name: str) -> dict[str, str]:
        return os.environ | {
            "FEDKEY_TEST": f"{self.folder}/{name}",
            "FLWR_HOME": str(self.folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def _answers(self) -> bool:
        with socket.socket() as caller:
            return caller.connect_ex(("127.0.0.1", self.port)) == 0
