"""What a federation needs as its cohorts and its population grow: processor time and the largest memory.

In: the folders of `make demo`. Out: a table on standard output. Next stop: `server/EXPERIMENTS.md`.

    python server/bench/scale.py [--data DIR] [--init RUN] [--rounds N] [--cohorts N,N,N] [--population N]

Each line is `fedkey-server federate` in a process of its own, for some rounds of the tiny preset in which
phones train on one row. Authors are resampled up to the population. The last line plays the largest cohort
again with phones that sleep, drop out and come late.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from fedkey_server import checkpoint


class Cost(NamedTuple):
    """Of one run."""

    seconds: float
    """Of processor time."""
    megabytes: float
    """Resident at its largest."""
    reports: int


def cost_of(arguments: argparse.Namespace, cohort: int, *, fleet: bool) -> Cost:
    """Runs it."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = [
            f"rounds.num_rounds={arguments.rounds}",
            f"rounds.validate_every={arguments.rounds}",
            f"rounds.phones_per_round={cohort}",
            f"rounds.min_reports={cohort // 2}",
            "rounds.max_rows=1",
            "rounds.timeout=36000",
            f"fleet.enabled={str(fleet).lower()}",
        ]
        command = [str(Path(sys.executable).with_name("fedkey-server")), "federate", "tiny", "--threads", "1"]
        command += ["--data", str(arguments.data), "--init", str(arguments.init), "--run", str(run)]
        command += ["--population", str(arguments.population)]
        command += [part for setting in settings for part in ("--set", setting)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed")
        reports = checkpoint.read_json(run / "done.json")["reports"]
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, reports)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("runs/demo/data"), help="(default %(default)s)")
    parser.add_argument("--init", type=Path, default=Path("runs/demo/central"), help="(default %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="of each run (default %(default)s)")
    parser.add_argument("--cohorts", default="10,100,1000", help="phones a round (default %(default)s)")
    parser.add_argument("--population", type=int, default=100_000, help="phones (default %(default)s)")
    arguments = parser.parse_args()
    cohorts = [int(text) for text in arguments.cohorts.split(",")]
    print("| phones a round | population | fleet | reports | processor s | MB at most |")
    print("|---|---|---|---|---|---|")
    for cohort, fleet in [*((cohort, False) for cohort in cohorts), (cohorts[-1], True)]:
        cost = cost_of(arguments, cohort, fleet=fleet)
        print(
            f"| {cohort:,} | {arguments.population:,} | {'yes' if fleet else 'no'} | {cost.reports:,} | "
            f"{cost.seconds:,.1f} | {cost.megabytes:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
