"""`fedkey-export`: the command of the person who ships a model.

In: arguments. Out: a verified bundle. Next stop: `fedkey_export.graph`.
"""

from fedkey.commands import Subcommand, run_command

SUBCOMMANDS = {
    "export": Subcommand(
        "fedkey_export.cli.export", "Turn a run folder into a verified bundle (the default).", goes_on=False
    ),
    "ngrams": Subcommand(
        "fedkey_export.cli.ngrams",
        "Put beside a bundle's model which words follow which.",
        goes_on=False,
    ),
    "mixture": Subcommand(
        "fedkey_export.cli.mixture",
        "Learn how much model, n-grams and conversation count in a bundle.",
        goes_on=False,
    ),
    "calibrate": Subcommand(
        "fedkey_export.cli.calibrate", "Fit how sure a bundle's corrections must be.", goes_on=False
    ),
    "inspect": Subcommand("fedkey_export.cli.inspect", "Say what is inside a bundle.", goes_on=False),
    "verify": Subcommand(
        "fedkey_export.cli.verify", "Compare a bundle with the run it came from.", goes_on=False
    ),
}


def main() -> int:
    """Entry point of the console script."""
    return run_command(
        "fedkey-export",
        "Exports a trained model as a bundle that the keyboard opens.",
        SUBCOMMANDS,
        default="export",
        extra="export",
    )
