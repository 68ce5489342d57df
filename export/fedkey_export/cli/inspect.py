"""`fedkey-export inspect BUNDLE`: what is inside a bundle, after checking all of it.

In: a bundle folder. Out: a description, or its manifest as JSON. Next stop: `fedkey_export.describe`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedkey.bundle import open_bundle
from fedkey_export.describe import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")
    parser.add_argument("--json", action="store_true", help="print the manifest instead")


def run(arguments: argparse.Namespace) -> int:
    """Opens the bundle as the phone does, and prints."""
    bundle = open_bundle(arguments.bundle)
    print(bundle.manifest.to_json() if arguments.json else f"{describe(bundle)}\n", end="")
    return 0
