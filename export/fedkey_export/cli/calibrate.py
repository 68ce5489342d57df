"""`fedkey-export calibrate BUNDLE --text FILE`: how sure must a correction be?

In: a bundle, and a text by authors that no stage of training met. Out: the bundle with its corrections
fitted, and a table of what is repaired and harmed at every threshold. Next stop: `fedkey_export.calibrate`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from fedkey.commands import seed
from fedkey.errors import UserError

if TYPE_CHECKING:
    from fedkey_export.calibrate import Calibration

MAX_WORDS = 6000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder; it is changed")
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        required=True,
        help="what to type: .jsonl conversations or .txt messages, such as a data folder's validation.jsonl",
    )
    parser.add_argument(
        "--max-words",
        type=int,
        default=MAX_WORDS,
        metavar="N",
        help=f"words to mistype (default {MAX_WORDS})",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the words and the mistakes (default 0)")
    parser.add_argument("--json", action="store_true", help="print the fit as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Fits, writes, and prints the curve."""
    from fedkey.cli.tables import progress
    from fedkey_export.calibrate import calibrate, summary

    if arguments.max_words < 1:
        raise UserError(f"--max-words must be at least 1, not {arguments.max_words}.")
    with progress() as follow:
        calibration = calibrate(
            arguments.bundle,
            arguments.text,
            max_words=arguments.max_words,
            seed=arguments.seed,
            follow=follow,
        )
    print(json.dumps(summary(calibration)) if arguments.json else _table(calibration))
    return 0


def _table(calibration: Calibration) -> str:
    from fedkey_export.calibrate import NEW, RIGHT

    mistyped = [name for name in calibration.outcomes if name not in (RIGHT, NEW)]
    head = "confidence   harmed     new" + "".join(
        f"{name + ' repaired':>24}{'wrong':>8}" for name in mistyped
    )
    lines = [head]
    for confidence, outcomes in calibration.curve:
        mark = " *" if confidence == calibration.model.min_confidence else ""
        cells = "".join(
            f"{outcomes[name].repaired:>22.1%}  {outcomes[name].wrong:>6.1%}" for name in mistyped
        )
        harmed = f"{outcomes[RIGHT].wrong:>8.2%}{outcomes[NEW].wrong:>8.1%}"
        lines.append(f"{confidence:>10.3f} {harmed} {cells}{mark}")
    lines.append("* fitted; two halves of the authors and of the misspelt words have graded each other")
    return "\n".join(lines)
