"""`fedkey-server evaluate`: one table over several bundles.

In: NAME=BUNDLE pairs and a text. Out: a table on screen, optionally in a file and as JSON. Next stop:
`fedkey_server.evaluate`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fedkey.commands import seed
from fedkey.errors import UserError
from fedkey.files import whole
from fedkey.metrics import Interval
from fedkey_server import checkpoint
from fedkey_server.evaluate import UNIGRAM, Comparison, compare, read_sample
from fedkey_server.progress import track

TITLES = {"top_1": "top-1 %", "top_3": "top-3 %", "ksr": "KSR %"}

NOTES = """\
top-1, top-3: the word meant is first, or among the first three, before any of
its letters is typed; words that the keyboard does not know count as wrong.
KSR: keys saved by a typist who takes every word as soon as it is shown.
[ , ]: 95 % interval, from a bootstrap over authors; paired in the differences."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "bundles", nargs="+", metavar="NAME=BUNDLE", help="rows of the table; the last is compared"
    )
    parser.add_argument(
        "--text", type=Path, required=True, help="conversations of unseen authors, e.g. test.jsonl"
    )
    parser.add_argument("--max-words", type=int, metavar="N", help="grade about N words (default: all)")
    parser.add_argument("--seed", type=seed, default=0, help="of the choice of conversations (default 0)")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="workers (default: all cores)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    parser.add_argument("--table", type=Path, metavar="FILE", help="also write the table here")


def run(arguments: argparse.Namespace) -> int:
    """Grades every bundle and prints the table."""
    for option, value in (("--max-words", arguments.max_words), ("--processes", arguments.processes)):
        if value is not None and value < 1:
            raise UserError(f"{option} must be at least 1, not {value}.")
    bundles = _named(arguments.bundles)
    for file in (arguments.json, arguments.table):
        if file is not None:
            checkpoint.refuse_unwritable(file)
    chosen, num_conversations = read_sample(arguments.text, arguments.max_words, arguments.seed)
    with track("evaluate", len(chosen) * (len(bundles) + 1), "stretches") as advance:
        rows = compare(bundles, chosen, processes=arguments.processes, on_progress=advance)
    comparison = Comparison.of(rows)
    text = render(comparison, len(chosen), num_conversations)
    print(text, end="")
    if arguments.json is not None:
        checkpoint.write_json(arguments.json, asdict(comparison))
    if arguments.table is not None:
        with whole(arguments.table) as beside:
            beside.write_text(text, encoding="utf-8")
    return 0


def _named(arguments: Sequence[str]) -> list[tuple[str, Path]]:
    bundles: dict[str, Path] = {}
    for text in arguments:
        name, separator, path = text.partition("=")
        if not separator or not name or not path:
            raise UserError(f"{text!r} is not of the form NAME=BUNDLE.")
        if name in bundles or name == UNIGRAM:
            raise UserError(f"There would be two rows called {name!r}; give each bundle a name of its own.")
        bundles[name] = Path(path)
    return list(bundles.items())


def render(comparison: Comparison, num_chosen: int, num_conversations: int) -> str:
    """The table as text: what was typed, each system's figures, the last one's gains, and what they mean."""
    *others, last = comparison.rows
    metrics = list(comparison.gains_of_last)
    lines = [("", [TITLES[metric] for metric in metrics])]
    for name, row in comparison.rows.items():
        lines.append((name, [_percent(row[metric]) for metric in metrics]))
    lines.append((f"\n{last} compared with", []))
    for name in others:
        gains = [comparison.gains_of_last[metric][name] for metric in metrics]
        lines.append((f"  {name}", [_percent(gain, "+") for gain in gains]))
    width = max(len(name) for name, cells in lines if cells)
    widths = [max(len(cells[i]) for _, cells in lines if cells) for i in range(len(metrics))]
    table = [
        "  ".join(
            [name.ljust(width), *(cell.rjust(w) for cell, w in zip(cells, widths, strict=False))]
        ).rstrip()
        for name, cells in lines
    ]
    return "\n".join(
        [
            f"{comparison.words:,} words of {comparison.authors} authors no stage has seen",
            f"({num_chosen:,} stretches of {num_conversations:,} conversations)",
            "",
            *table,
            "",
            NOTES,
            "",
        ]
    )


def _percent(interval: Interval, sign: str = "") -> str:
    return f"{100 * interval.value:{sign}.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
