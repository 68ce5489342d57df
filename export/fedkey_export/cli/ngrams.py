"""`fedkey-export ngrams BUNDLE --data DIR`: which words follow which?

In: a bundle, the data folder of its run, and what 'fedkey-server count' found on phones. Out: the bundle with
the most telling n-grams, and what they are. Next stop: `fedkey_export.ngrams`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedkey.errors import UserError

MAX_BYTES = 1_500_000
"""What a bundle of the phone preset leaves of 12,000,000."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder; it is changed")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", required=True, help="prepared data folder of the bundle's run"
    )
    parser.add_argument(
        "--phones", type=Path, metavar="FILE", help="what 'fedkey-server count' wrote: n-grams of many phones"
    )
    parser.add_argument(
        "--max-bytes",
        type=int,
        default=MAX_BYTES,
        metavar="N",
        help=f"what the n-grams may take (default {MAX_BYTES:,})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Counts, writes, and says what is there now."""
    from fedkey_export.ngrams import add_ngrams
    from fedkey_server.crowd import Crowd

    if arguments.max_bytes < 1:
        raise UserError(f"--max-bytes must be at least 1, not {arguments.max_bytes}.")
    crowd = None if arguments.phones is None else Crowd.load(arguments.phones)
    counted = add_ngrams(arguments.bundle, arguments.data, max_bytes=arguments.max_bytes, crowd=crowd)
    others = "" if crowd is None else f" and of {crowd.num_phones:,} phones"
    print(
        f"{arguments.bundle}: {counted.num_pairs:,} pairs and {counted.num_triples:,} triples of "
        f"{counted.num_text_words:,} words{others} in {counted.num_bytes:,} bytes"
    )
    print(
        "Mixture and corrections are to be fitted anew: fedkey-export mixture, then fedkey-export calibrate."
    )
    return 0
