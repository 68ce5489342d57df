"""`fedkey-server watch`: a screen over a run, live or afterwards.

In: a run folder. Out: a screen, a table, or SVG files. Next stop: `fedkey_server.watch`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fedkey.errors import UserError
from fedkey_server.watch.record import Record, Watcher

NUM_ROWS = 20
"""Rows of the printed table, the newest ones."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder; nothing is written to it")
    parser.add_argument("--once", action="store_true", help="print a table and end, as without a terminal")
    parser.add_argument("--svg", type=Path, metavar="DIR", help="write the charts as SVG files and end")


def run(arguments: argparse.Namespace) -> int:
    """Shows the run."""
    watcher = Watcher(arguments.run)
    charts = arguments.svg or arguments.run.resolve().with_name(f"{arguments.run.resolve().name}.charts")
    if arguments.svg is not None:
        _save(watcher.read(), arguments.run, charts)
    if arguments.once or (arguments.svg is None and not (sys.stdin.isatty() and sys.stdout.isatty())):
        _print(watcher.read())
    elif arguments.svg is None:
        from fedkey_server.watch.app import WatchApp

        WatchApp(watcher, charts).run()
    return 0


def _save(record: Record, run: Path, folder: Path) -> None:
    from fedkey_server.watch import charts
    from fedkey_server.watch.panels import panels

    if folder.resolve().is_relative_to(run.resolve()):
        raise UserError(f"{folder} is in the run that is watched; give a folder outside of it.")
    found = panels(record)
    if not found:
        raise UserError(f"{run} has not measured anything yet; let it go on first.")
    for path in charts.save(found, folder, record.name, "round" if record.is_federated else "step"):
        print(path)


def _print(record: Record) -> None:
    """The figures so far, then the newest rows."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from fedkey_server.watch.figures import cards, columns, state

    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = 200  # columns shall not depend on a screen that is not there
    now = state(record, time.time())
    console.print(Text(f"{record.name}: {now.sentence}, {now.progress}"))
    for card in cards(record):
        if not card.lines:
            continue
        lines = (f"{name} {value}".rstrip() for name, value in card.lines)
        console.print(Text(f"{card.title}: " + ", ".join(lines)))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = columns(record)
    for name, _ in shown:
        table.add_column(name, justify="left" if name == "why" else "right", no_wrap=True)
    for row in record.rows[-NUM_ROWS:]:
        table.add_row(*(Text(read(row)) for _, read in shown))
    console.print(table)
