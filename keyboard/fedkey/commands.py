"""How the three commands find, run and report their subcommands.

In: a table of subcommands and the arguments typed. Out: an exit status; mistakes end as one sentence on
stderr. Next stop: `fedkey.cli`, `fedkey_server.cli`, `fedkey_export.cli`.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from fedkey.errors import UserError

EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141
"""What a shell says of a process whose pipe was closed."""


@dataclass(frozen=True)
class Subcommand:
    """One line of a command's help: the module that implements it, imported only when it is called."""

    module: str
    summary: str
    goes_on: bool = True
    """Whether the same command does what is left after it was stopped; others begin anew."""


class CommandModule(Protocol):
    """What a subcommand's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Does the work; returns the exit status."""


def run_command(
    program: str,
    description: str,
    subcommands: Mapping[str, Subcommand],
    *,
    arguments: Sequence[str] | None = None,
    default: str | None = None,
    extra: str | None = None,
) -> int:
    """Runs `program`'s subcommand named by the first argument, or `default` if none is named.

    Args:
        program: what the user typed, e.g. "fedkey-server".
        description: one sentence for the help page.
        subcommands: name -> where it lives. Modules are imported late, so that help and mistakes answer at
            once.
        arguments: defaults to `sys.argv[1:]`.
        default: the subcommand used when the first argument names none (e.g. `fedkey BUNDLE`).
        extra: the optional dependency set this command needs; a missing module is explained by naming it.
    """
    try:
        try:
            status = _run(program, description, subcommands, arguments, default, extra)
        except SystemExit:  # argparse has shown a help page, or a mistake
            _flush()
            raise
        _flush()  # here, where a closed pipe and a full disk can be caught
        return status
    except BrokenPipeError:  # whoever read us has read enough, as `head` does; nothing more can be said
        _discard_output()
        return EXIT_UNREAD
    except OSError as error:
        # Where a file was expected to be at fault, the command says more; a full disk may come anywhere.
        place = "a file" if error.filename is None else str(error.filename)
        reason = error.strerror or str(error)
        print(f"{program}: Cannot use {place}: {reason}; make room or name another place.", file=sys.stderr)
        try:
            _flush()
        except OSError:
            _discard_output()
        return EXIT_MISTAKE


def _flush() -> None:
    if sys.stdout is not None:  # it is None if whoever started us closed it
        sys.stdout.flush()


def _discard_output() -> None:
    """What stdout still holds goes nowhere: Python would try it again at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def seed(text: str) -> int:
    """A seed of random choices, from the command line; for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 on, not {text!r}")
    return int(text)


def _run(
    program: str,
    description: str,
    subcommands: Mapping[str, Subcommand],
    arguments: Sequence[str] | None,
    default: str | None,
    extra: str | None,
) -> int:
    typed = list(sys.argv[1:] if arguments is None else arguments)
    name = typed[0] if typed else default
    if name in ("-h", "--help"):
        print(_help(program, description, subcommands, default))
        return 0
    if name == "--version":
        from importlib.metadata import version  # 10 ms that no keyboard waits for

        print(f"{program} {version('fedkey')}")
        return 0
    if name in subcommands:
        typed = typed[1:]
    elif default is not None:
        near = difflib.get_close_matches(typed[0], subcommands, n=1) if typed else []
        if near and not os.path.lexists(typed[0]):
            print(f"{program}: there is no {typed[0]!r} here; do you mean {near[0]!r}?", file=sys.stderr)
            return EXIT_MISTAKE
        name = default
    else:
        print(_help(program, description, subcommands, default), file=sys.stderr)
        if name is not None:
            near = difflib.get_close_matches(name, subcommands, n=1)
            hint = f"; do you mean {near[0]!r}?" if near else "."
            print(f"\n{program}: there is no subcommand {name!r}{hint}", file=sys.stderr)
        return EXIT_MISTAKE
    assert name is not None
    try:
        module = cast(CommandModule, importlib.import_module(subcommands[name].module))
        prog = program if name == default else f"{program} {name}"
        parser = argparse.ArgumentParser(prog=prog, description=subcommands[name].summary)
        if name == default:
            told = f"{program} --version says which version this is."
            parser.epilog = f"{_list(subcommands, skip=name)}\n\n{told}"
            parser.formatter_class = argparse.RawDescriptionHelpFormatter
        module.add_arguments(parser)
        return module.run(parser.parse_args(typed))
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_MISTAKE
    except ModuleNotFoundError as error:
        if extra is None or (error.name or "").startswith("fedkey"):
            raise
        print(
            f"{program}: the package {error.name!r} is missing; install fedkey with its {extra} extra: "
            f"pip install '.[{extra}]' in a checkout.",
            file=sys.stderr,
        )
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        then = "does what is left" if subcommands[name].goes_on else "begins anew"
        print(f"\n{program}: stopped; the same command {then}.", file=sys.stderr)
        return EXIT_INTERRUPTED


def _list(subcommands: Mapping[str, Subcommand], skip: str | None = None) -> str:
    rows = [(name, entry.summary) for name, entry in subcommands.items() if name != skip]
    return "subcommands:\n" + "\n".join(f"  {name:<12} {summary}" for name, summary in rows)


def _help(program: str, description: str, subcommands: Mapping[str, Subcommand], default: str | None) -> str:
    usage = f"usage: {program} {'[' if default else ''}SUBCOMMAND{']' if default else ''} ..."
    more = f"{program} SUBCOMMAND --help tells more, {program} --version which version this is."
    return f"{usage}\n\n{description}\n\n{_list(subcommands)}\n\n{more}"
