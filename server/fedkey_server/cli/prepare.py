"""`fedkey-server prepare`: build a data folder from a preset's text.

In: a preset. Out: a data folder. Next stop: `fedkey_server.prepare`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedkey_server.cli.options import add_preset_options, load_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_preset_options(parser, computes=False)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder to fill; one of the same settings is left alone, and made anew if its text is another",
    )
    parser.add_argument(
        "--text", type=Path, default=Path(), metavar="DIR", help="folder of the files that the preset names"
    )
    parser.add_argument(
        "--like",
        type=Path,
        metavar="RUN",
        help="run or bundle to go on from (--init): its tokenizer is taken instead of training one",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prepares and says what there is."""
    from fedkey_server.batches import SERVER_TEXT, Documents
    from fedkey_server.phones import PHONES_TEXT, Phones
    from fedkey_server.prepare import prepare

    folder: Path = arguments.data
    is_new = prepare(load_config(arguments), folder, arguments.text, arguments.like)
    server = Documents.load(folder / SERVER_TEXT)
    phones = Phones.load(folder / PHONES_TEXT)
    print(
        f"{folder}: {'prepared' if is_new else 'already there'}; "
        f"server {len(server.ids):,} pieces, {len(phones):,} phones with {phones.num_words.sum():,} own words"
    )
    return 0
