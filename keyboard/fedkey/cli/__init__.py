"""`fedkey`: the command of the person who types.

In: arguments. Out: the keyboard on screen, or a table. Next stop: `fedkey.ui.app`.
"""

from fedkey.commands import Subcommand, run_command

SUBCOMMANDS = {
    "type": Subcommand("fedkey.cli.type", "Open the keyboard on a bundle (the default).", goes_on=False),
    "eval": Subcommand("fedkey.cli.eval", "Measure a bundle on a text file.", goes_on=False),
    "bench": Subcommand(
        "fedkey.cli.bench", "Measure how fast a bundle answers and what it weighs.", goes_on=False
    ),
    "complete": Subcommand("fedkey.cli.complete", "Print suggestions for one place as JSON.", goes_on=False),
}


def main() -> int:
    """Entry point of the console script."""
    return run_command(
        "fedkey",
        "A keyboard in the terminal that predicts what you type, on this machine alone.",
        SUBCOMMANDS,
        default="type",
    )
