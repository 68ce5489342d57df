"""`fedkey-server` as it is typed, in the tests' own process."""

from __future__ import annotations

from pathlib import Path

from fedkey.commands import run_command
from fedkey_server.cli import SUBCOMMANDS


def fedkey_server(*arguments: str | Path | int) -> int:
    """The exit status."""
    return run_command("fedkey-server", "", SUBCOMMANDS, arguments=[str(each) for each in arguments])


def with_overrides(*overrides: str) -> list[str]:
    """`--set SECTION.KEY=VALUE` for each."""
    return [part for each in overrides for part in ("--set", each)]
