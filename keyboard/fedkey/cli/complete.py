"""`fedkey complete`: the suggestions for one place, for scripts.

In: a bundle, the text before and behind a word and the word's first letters. Out: one line of JSON. Next
stop: `fedkey.engine`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

from fedkey.engine import Engine
from fedkey.errors import UserError
from fedkey.releases import bundle_at
from fedkey.shipped import shipped_bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "bundle", nargs="?", help="folder of a bundle or of releases (default: fedkey's own bundle)"
    )
    parser.add_argument(
        "--context",
        default="",
        metavar="TEXT",
        help="everything before the word; earlier messages on lines of their own (default: nothing)",
    )
    parser.add_argument(
        "--after",
        default="",
        metavar="TEXT",
        help="everything behind the word, of which the rest of its message counts (default: nothing)",
    )
    parser.add_argument(
        "--typed", default="", metavar="LETTERS", help="the word's letters so far (default: none)"
    )
    parser.add_argument("-k", type=int, default=3, metavar="COUNT", help="words at most (default: 3)")


def run(arguments: argparse.Namespace) -> int:
    """Prints one JSON object: all that `fedkey.engine.Suggestions` holds, by its names."""
    if arguments.k < 1:
        raise UserError(f"-k must be at least 1, not {arguments.k}: it is the number of words to suggest.")
    engine = Engine.open(bundle_at(arguments.bundle or shipped_bundle()))
    suggestions = engine.suggest(arguments.context, arguments.typed, arguments.k, after=arguments.after)
    # ASCII escapes: the line can be read whatever encoding the terminal or the pipe has.
    print(json.dumps(dataclasses.asdict(suggestions)))
    return 0
