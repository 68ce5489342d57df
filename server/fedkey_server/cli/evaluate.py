"""`fedkey-server evaluate`: one table over several bundles.

In: NAME=BUNDLE pairs and a text. Out: a table on screen, optionally in a file and as JSON. Next stop:
`fedkey_server.evaluate`.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fedkey.errors import UserError
from fedkey.metrics import Interval
from fedkey.simulate import read_conversations, sample
from fedkey_server import checkpoint
from fedkey_server.evaluate import METRICS, Row, as_json, compare, gains
from fedkey_server.progress import track

TITLES = {"top_1": "top-1 %", "top_3": "top-3 %", "ksr": "KSR %"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "bundles", nargs="+", metavar="NAME=BUNDLE", help="rows of the table; the last is compared"
    )
    parser.add_argument(
        "--text", type=Path, required=True, help="conversations of unseen authors, e.g. test.jsonl"
    )
    parser.add_argument("--max-words", type=int, metavar="N", help="grade about N words (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of conversations (default 0)")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="workers (default: all cores)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    parser.add_argument("--table", type=Path, metavar="FILE", help="also write the table here")


def run(arguments: argparse.Namespace) -> int:
    """Grades every bundle and prints the table."""
    bundles = [_named(text) for text in arguments.bundles]
    everything = read_conversations(arguments.text)
    chosen = sample(everything, arguments.max_words, arguments.seed)
    with track("evaluate", len(chosen) * (len(bundles) + 1), "stretches") as advance:
        rows = compare(bundles, chosen, processes=arguments.processes, on_progress=advance)
    if arguments.json is not None:
        checkpoint.write_json(arguments.json, as_json(rows))
    text = render(rows, len(chosen), len(everything))
    if arguments.table is not None:
        beside = arguments.table.with_name(arguments.table.name + ".new")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, arguments.table)
    print(text, end="")
    return 0


def _named(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise UserError(f"{text!r} is not of the form NAME=BUNDLE.")
    return name, Path(path)


def render(rows: Sequence[Row], num_chosen: int, num_conversations: int) -> str:
    """The table as text."""
    numbers = as_json(rows)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for title in TITLES.values():
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(row.name, *(_percent(row.interval(metric)) for metric in METRICS))
    table.add_section()
    for other in rows[:-1]:
        table.add_row(
            f"{rows[-1].name} - {other.name}",
            *(_percent(gains(rows, metric)[other.name], signed=True) for metric in METRICS),
        )
    file = io.StringIO()
    console = Console(file=file, width=100)
    console.print(
        f"{numbers['words']:,} words of {numbers['authors']} authors no stage has seen "
        f"({num_chosen:,} stretches of {num_conversations:,} conversations)",
        highlight=False,
    )
    console.print(
        "next word with nothing typed; unknown words wrong; [95 % bootstrap over authors]", highlight=False
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _percent(interval: Interval, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return (
        f"{100 * interval.value:{sign}.1f} [{100 * interval.low:{sign}.1f}, {100 * interval.high:{sign}.1f}]"
    )
