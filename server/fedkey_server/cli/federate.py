"""`fedkey-server federate`: FedAvg over the simulated phones, in this process.

In: a preset and folders. Out: a run folder. Next stop: `fedkey_server.server_app`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedkey.errors import UserError
from fedkey_server.cli.options import add_preset_options, load_config, use_threads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_preset_options(parser)
    parser.add_argument("--data", type=Path, required=True, help="folder made by 'fedkey-server prepare'")
    parser.add_argument("--run", type=Path, required=True, help="run folder; an unfinished run goes on")
    parser.add_argument(
        "--population",
        type=int,
        metavar="N",
        help="play N phones, more than there are authors: each author's text is held by several",
    )
    parser.add_argument("--init", type=Path, required=True, help="run or bundle that holds the start model")


def run(arguments: argparse.Namespace) -> int:
    """Federates and says how it went."""
    from fedkey_server.client_app import app
    from fedkey_server.grid import InProcessGrid
    from fedkey_server.phones import PHONES_TEXT, Phones
    from fedkey_server.server_app import federate
    from fedkey_server.validation import in_words

    use_threads(arguments)
    config = load_config(arguments)
    phones = Phones.load(arguments.data / PHONES_TEXT)
    population = len(phones) if arguments.population is None else arguments.population
    if population < len(phones):
        raise UserError(
            f"--population must be at least {len(phones)}, the phones of {arguments.data}, not {population}."
        )
    settings = {"data": str(arguments.data), "simulation": True, "resampled": population > len(phones)}
    grid = InProcessGrid(app, population, settings)
    final = federate(grid, config, arguments.data, arguments.run, arguments.init)
    steps = f"{final['local_steps']} local steps, " if "local_steps" in final else ""
    print(
        f"{arguments.run}: {final['step']} rounds ({final['changed_rounds']} changed the model), "
        f"{final['reports']} reports, {_failures(final['failures'])}, {steps}{in_words(final)}"
    )
    return 0


def _failures(reasons: dict[str, int]) -> str:
    """How many phones failed, and why."""
    total = f"{sum(reasons.values())} failures"
    return total + (f" ({', '.join(f'{n} {reason}' for reason, n in reasons.items())})" if reasons else "")
