"""`fedkey-export verify BUNDLE RUN`: does the bundle still say what the run's newest checkpoint says?

In: a bundle and the run it came from. Out: figures; exit status 2 and one sentence if it does not. Next stop:
`fedkey_export.verify`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from fedkey_export.describe import describe_figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder it was exported from")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="prepared data, for conversations to verify with"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Compares; prints the figures."""
    from fedkey_export.package import verify_against_run

    figures = verify_against_run(arguments.bundle, arguments.run, data=arguments.data)
    print(json.dumps(asdict(figures)) if arguments.json else describe_figures(asdict(figures)))
    return 0
