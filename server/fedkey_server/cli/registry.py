"""`fedkey-server registry`: who is a phone of a federation.

In: the public keys that phones' owners handed in. Out: the registry that server and phones read. Next stop:
`fedkey_server.identities`.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the action and its options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser(
        "add",
        help="give phones a number",
        description="Give phones a number, by their public keys; who has one keeps it.",
    )
    add.add_argument("registry", type=Path, metavar="REGISTRY", help="a JSON file, made if missing")
    add.add_argument(
        "public", type=Path, nargs="+", metavar="FILE.pub", help="an identity.pub of 'fedkey-server phone'"
    )


def run(arguments: argparse.Namespace) -> int:
    """Adds the phones, and says which numbers they have."""
    from fedkey_server.identities import enrol

    for path, phone in enrol(arguments.registry, arguments.public).items():
        print(f"phone {phone}: {path}")
    return 0
