"""Whether a federation's protections protect: each tested with the protection on, and seen to fail without.

In: a preset's configuration, its data, a start model. Out: one finding for each test. The walk ends here.

The tests run small federations of the preset's own model, phones and settings, through the server and the
phones that real runs have. They can show that a protection is broken, not that it is perfect.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fedkey_server.backdoor import boosted_attacker
from fedkey_server.canaries import canary_exposure
from fedkey_server.inversion import update_inversion
from fedkey_server.one_run import epsilon_lower_bound
from fedkey_server.trial import Finding, Ground

TESTS: dict[str, Callable[[Ground], Finding]] = {
    "canary_exposure": canary_exposure,
    "epsilon_lower_bound": epsilon_lower_bound,
    "update_inversion": update_inversion,
    "boosted_attacker": boosted_attacker,
}


def audit(ground: Ground, names: Sequence[str]) -> Iterator[tuple[str, Finding]]:
    """Each test's finding as soon as it is there. What trials write lies in a folder that is then removed."""
    with tempfile.TemporaryDirectory(prefix="fedkey-audit-", dir=ground.work) as work:
        for name in names:
            yield name, TESTS[name](replace(ground, work=Path(work)))


def render(findings: Mapping[str, Finding]) -> str:
    """The table as text, and beneath it what was compared with what."""
    header = ["", "protection on", "protection off", ""]
    rows = [header, *(_row(name, finding) for name, finding in findings.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"{name}: {finding.notes}." for name, finding in findings.items()]
    return "\n".join([*table, "", *notes, ""])


def _row(name: str, finding: Finding) -> list[str]:
    outcomes = (finding.protected, finding.unprotected)
    figures = [f"{'holds' if outcome.holds else 'FAILS'}: {outcome.figure}" for outcome in outcomes]
    return [name, *figures, verdict(finding)]


def verdict(finding: Finding) -> str:
    """In a word or two."""
    return "passed" if finding.passed else "NOT PASSED"
