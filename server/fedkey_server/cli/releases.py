"""`fedkey-server releases`: which bundle phones use.

In: a registry folder, bundles, validation text. Out: a table, a changed registry. Next stop:
`fedkey_server.releases`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from fedkey.errors import UserError
from fedkey.metrics import Interval
from fedkey_server.progress import track
from fedkey_server.releases import Registry, Release


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    described = {
        "list": "show every release and what was decided about it",
        "add": "copy a bundle into the registry as a candidate",
        "promote": "grade a candidate against the current release, and use it if it is no worse",
        "review": "grade the current release against the one before it on newer text; go back if it is worse",
        "rollback": "go back to the release before the current one",
    }
    for name, summary in described.items():
        action = actions.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        action.add_argument("registry", type=Path, help="the registry's folder")
        if name == "add":
            action.add_argument("bundle", type=Path, help="an exported bundle")
        if name == "promote":
            action.add_argument("version", type=int, nargs="?", help="default: the newest candidate")
        if name in ("promote", "review"):
            action.add_argument(
                "--text", type=Path, required=True, help="conversations of validation authors"
            )
            action.add_argument(
                "--max-words", type=int, default=6000, metavar="N", help="grade about N words (default 6000)"
            )
            action.add_argument(
                "--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="workers"
            )


def run(arguments: argparse.Namespace) -> int:
    """Does the one action."""
    registry = Registry(arguments.registry)
    match arguments.action:
        case "add":
            print(f"release {registry.add(arguments.bundle).version} is a candidate")
        case "promote":
            return _promote(registry, arguments)
        case "review":
            _review(registry, arguments)
        case "rollback":
            print(f"back to release {registry.rollback('by hand').version}")
        case _:
            print(_table(registry), end="")
    return 0


def _promote(registry: Registry, arguments: argparse.Namespace) -> int:
    version = arguments.version
    if version is None:
        candidates = [each.version for each in registry.releases if each.state == "candidate"]
        if not candidates:
            raise UserError(f"{registry.folder} has no candidate; add one with 'fedkey-server releases add'.")
        version = candidates[-1]
    release, current = registry.release(version), registry.current
    gains = {} if current is None or current == release else _gains(registry, release, current, arguments)
    is_promoted = registry.promote(version, gains)
    decided = registry.release(version)
    print(f"release {version} {'is the current one' if is_promoted else 'was refused'} ({decided.note})")
    return 0 if is_promoted else 1


def _review(registry: Registry, arguments: argparse.Namespace) -> None:
    current, previous = registry.current, registry.previous
    if current is None or previous is None:
        raise UserError(f"{registry.folder} has no two promoted releases to compare.")
    changed = registry.review(_gains(registry, current, previous, arguments))
    if changed is None:
        print(f"release {current.version} stays")
    else:
        note = registry.release(current.version).note
        print(f"release {current.version} was rolled back to {changed.version} ({note})")


def _gains(
    registry: Registry, release: Release, other: Release, arguments: argparse.Namespace
) -> dict[str, Interval]:
    from fedkey_server.evaluate import Comparison, compare, read_sample

    for option, value in (("--max-words", arguments.max_words), ("--processes", arguments.processes)):
        if value < 1:
            raise UserError(f"{option} must be at least 1, not {value}.")
    chosen, _ = read_sample(arguments.text, arguments.max_words, 0)
    bundles = [(each.folder, registry.path(each)) for each in (other, release)]
    with track("evaluate", 3 * len(chosen), "stretches") as advance:
        rows = compare(bundles, chosen, processes=arguments.processes, on_progress=advance)
    comparison = Comparison.of(rows)
    return {metric: gains[other.folder] for metric, gains in comparison.gains_of_last.items()}


def _table(registry: Registry) -> str:
    current = registry.current
    lines = [
        f"{'*' if release == current else ' '} {release.version:>4}  {release.state:<11}  "
        f"{release.manifest[:12]}  {release.note}".rstrip()
        for release in registry.releases
    ]
    return "\n".join(["  release  state   manifest      note", *lines, ""]) if lines else "no releases\n"
