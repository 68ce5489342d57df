"""`fedkey-export RUN -o BUNDLE`: a run folder becomes a verified bundle.

In: a run folder. Out: a bundle folder. Next stop: `fedkey_export.package`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedkey_export.describe import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of fedkey-server")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="BUNDLE", help="where the bundle goes"
    )
    parser.add_argument(
        "--float", action="store_true", help="keep the weights in float32: four times the size"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="prepared data, for conversations to verify with"
    )
    parser.add_argument("--replace", action="store_true", help="let an older bundle at BUNDLE give way")


def run(arguments: argparse.Namespace) -> int:
    """Exports; prints what came out."""
    from fedkey_export.package import export

    precision = "float32" if arguments.float else "int8"
    bundle = export(
        arguments.run,
        arguments.output,
        precision=precision,
        data=arguments.data,
        replace=arguments.replace,
    )
    print(describe(bundle))
    return 0
