"""`fedkey-server train`: central training.

In: a preset and folders. Out: a run folder. Next stop: `fedkey_server.train`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedkey.errors import UserError
from fedkey_server import checkpoint
from fedkey_server.cli.options import add_preset_options, load_config, use_threads

SEVERAL = """\
several GPUs, or processes on a CPU, share the rows of every step (mind the "--": --run is torchrun's, too):
  torchrun --standalone --nproc-per-node 2 --no-python -- fedkey-server train PRESET ..."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = SEVERAL
    add_preset_options(parser)
    parser.add_argument("--data", type=Path, required=True, help="folder made by 'fedkey-server prepare'")
    parser.add_argument("--run", type=Path, required=True, help="run folder; an unfinished run goes on")
    parser.add_argument("--init", type=Path, help="start from the weights of this run or bundle")
    parser.add_argument(
        "--lessons",
        type=Path,
        metavar="FILE",
        help="learn from a teacher, too, by what 'fedkey-server teach' wrote of this data's text",
    )
    parser.add_argument(
        "--steps-of",
        type=Path,
        metavar="RUN",
        help="take as many steps as the phones of this federated run, not a private one, took together",
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="look at the 3rd to 6th step: a table on stderr, and RUN/trace.json for https://ui.perfetto.dev",
    )


def run(arguments: argparse.Namespace) -> int:
    """Trains and says how it went."""
    from fedkey_server.parallel import together
    from fedkey_server.train import train
    from fedkey_server.validation import in_words

    use_threads(arguments)
    num_steps = None if arguments.steps_of is None else _local_steps(arguments.steps_of)
    with together() as processes:
        final = train(
            load_config(arguments),
            arguments.data,
            arguments.run,
            init=arguments.init,
            num_steps=num_steps,
            profile=arguments.profile,
            processes=processes,
            lessons=arguments.lessons,
        )
    if not processes.is_first:
        return 0
    print(f"{arguments.run}: {final['step']} steps, {in_words(final)}")
    return 0


def _local_steps(federated: Path) -> int:
    """How many steps the phones of a finished federated run took together; those of a private one do not
    tell."""
    figures = checkpoint.read_done(federated) or {}
    if "reports" not in figures:
        raise UserError(
            f"{federated} is no finished federated run; let 'fedkey-server federate' finish it first."
        )
    if not figures.get("local_steps"):
        raise UserError(
            f"The phones of {federated} did not say how many steps they took, since it is a private run; "
            "leave out --steps-of and set train.num_steps."
        )
    return int(figures["local_steps"])
