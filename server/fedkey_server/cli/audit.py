"""`fedkey-server audit`: do the protections protect, and would we notice if they did not?

In: a preset, its data, a start model. Out: a table on screen, optionally one line of JSON, and an exit status
of 0 only if every test passed. Next stop: `fedkey_server.audit`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fedkey.commands import seed
from fedkey_server.cli.options import add_preset_options, load_config, use_threads

NAMES = ("canary_exposure", "epsilon_lower_bound", "update_inversion", "boosted_attacker")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_preset_options(parser)
    parser.add_argument("--data", type=Path, required=True, help="folder made by 'fedkey-server prepare'")
    parser.add_argument("--init", type=Path, required=True, help="run or bundle that federations start from")
    parser.add_argument(
        "--only",
        action="append",
        choices=NAMES,
        metavar="TEST",
        help=f"one of {', '.join(NAMES)}; repeatable",
    )
    parser.add_argument("--seed", type=seed, default=1, help="of everything that is drawn (default 1)")
    parser.add_argument(
        "--json", action="store_true", help="last line: one object, test name -> whether it passed"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the tests one by one."""
    from fedkey_server.audit import audit, render, verdict
    from fedkey_server.trial import Ground

    use_threads(arguments)
    ground = Ground(load_config(arguments), arguments.data, arguments.init, seed=arguments.seed)
    names = [name for name in NAMES if name in (arguments.only or NAMES)]
    findings = {}
    for name, finding in audit(ground, names):
        findings[name] = finding
        print(f"{name}: {verdict(finding)} ({len(findings)}/{len(names)} tests)", file=sys.stderr, flush=True)
    print(render(findings), end="")
    if arguments.json:
        print(json.dumps({name: finding.passed for name, finding in findings.items()}))
    return 0 if all(finding.passed for finding in findings.values()) else 1
