"""Options that several subcommands share.

In: an argument parser. Out: a configuration. Next stop: `fedkey_server.config`.
"""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from fedkey.errors import UserError
from fedkey_server.presets import preset_names

if TYPE_CHECKING:
    from fedkey_server.config import Config


MOST_THREADS = 1024
"""More than any machine has cores for one process, and fewer than a system refuses."""


def add_preset_options(parser: argparse.ArgumentParser, *, computes: bool = True) -> None:
    """PRESET, --set; of a command that computes with torch, --threads and --verbose, for `use_threads`."""
    names = " or ".join(preset_names())
    parser.add_argument("preset", help=f"a preset's name ({names}) or the path of a .toml file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one setting of the preset; may be repeated",
    )
    if not computes:
        return
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    parser.add_argument("--verbose", action="store_true", help="say which kernels are used and why")


def load_config(arguments: argparse.Namespace) -> Config:
    """The preset with its overrides."""
    from fedkey_server.config import load

    return load(arguments.preset, arguments.set)


def use_threads(arguments: argparse.Namespace) -> None:
    """Sets torch's threads and the log level."""
    import torch

    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING, format="%(message)s")
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise UserError(f"--threads must be at least 1, not {arguments.threads}.")
        if arguments.threads > MOST_THREADS:
            raise UserError(f"--threads must be at most {MOST_THREADS}, not {arguments.threads}.")
        torch.set_num_threads(arguments.threads)
