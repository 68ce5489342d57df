"""Options that several subcommands share.

In: an argument parser. Out: a configuration. Next stop: `fedkey_server.config`.
"""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from fedkey.errors import UserError

if TYPE_CHECKING:
    from fedkey_server.config import Config


def add_preset_options(parser: argparse.ArgumentParser) -> None:
    """PRESET, --set, --threads, --verbose."""
    parser.add_argument("preset", help="a preset's name (tiny) or the path of a .toml file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one setting of the preset; may be repeated",
    )
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
        torch.set_num_threads(arguments.threads)
