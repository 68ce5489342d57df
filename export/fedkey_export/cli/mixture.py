"""`fedkey-export mixture BUNDLE --text FILE`: how much do model, n-grams and conversation count?

In: a bundle with its n-grams, and a text by authors that no stage of training met. Out: the bundle with a
mixture, and a table of what it is worth. Next stop: `fedkey_export.mixture`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fedkey.commands import seed
from fedkey.errors import UserError

if TYPE_CHECKING:
    from fedkey_export.mixture import Fitted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder; it is changed")
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        required=True,
        help="what to learn from: .jsonl conversations, such as a data folder's validation.jsonl",
    )
    parser.add_argument("--max-words", type=int, metavar="N", help="words to ask for (default all)")
    parser.add_argument("--seed", type=seed, default=0, help="of the words and the fit (default 0)")
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes that ask (default: one a core)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Learns, writes, and says what it is worth."""
    from fedkey.cli.tables import progress
    from fedkey_export.mixture import add_mixture

    for name in ("max_words", "processes"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {value}.")
    with progress() as follow:
        fitted = add_mixture(
            arguments.bundle,
            arguments.text,
            max_words=arguments.max_words,
            seed=arguments.seed,
            processes=arguments.processes,
            follow=follow,
        )
    print(_table(fitted))
    print("Corrections are to be fitted anew: fedkey-export calibrate.")
    return 0


def _table(fitted: Fitted) -> str:
    lines = [f"{'letters typed':>13}{'words':>9}{'first':>18}{'among three':>18}"]
    for letters, before in fitted.before.items():
        after = fitted.after[letters]
        first = f"{before.first:.1%} -> {after.first:.1%}"
        three = f"{before.among_three:.1%} -> {after.among_three:.1%}"
        lines.append(f"{letters:>13}{before.num_words:>9,}{first:>18}{three:>18}")
    lines.append(
        f"with fixed shares, and as learned: each half of {fitted.num_authors} authors as the other taught"
    )
    return "\n".join(lines)
