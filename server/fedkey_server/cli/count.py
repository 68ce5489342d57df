"""`fedkey-server count`: which words, pairs and triples do many phones have?

In: a preset and folders. Out: a file of n-grams and how many phones have each. Next stop:
`fedkey_server.counting`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedkey_server.cli.options import add_preset_options, load_config, use_threads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_preset_options(parser)
    parser.add_argument("--data", type=Path, required=True, help="folder made by 'fedkey-server prepare'")
    parser.add_argument(
        "--bundle", type=Path, required=True, help="bundle whose words are counted, as the phones have it"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=".npz file to write")


def run(arguments: argparse.Namespace) -> int:
    """Counts, writes, and says what was found."""
    from fedkey_server import checkpoint
    from fedkey_server.client_app import app
    from fedkey_server.counting import count
    from fedkey_server.crowd import in_words
    from fedkey_server.grid import InProcessGrid
    from fedkey_server.phones import PHONES_TEXT, Phones

    use_threads(arguments)
    config = load_config(arguments)
    phones = Phones.load(arguments.data / PHONES_TEXT)
    settings = {
        "data": str(arguments.data),
        "bundle": str(arguments.bundle),
        "simulation": True,
    }
    checkpoint.refuse_unwritable(arguments.out)
    crowd = count(InProcessGrid(app, len(phones), settings), config, arguments.bundle)
    crowd.save(arguments.out)
    print(f"{arguments.out}: {in_words(crowd)}")
    return 0
