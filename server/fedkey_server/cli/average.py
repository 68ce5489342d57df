"""`fedkey-server average`: several runs as one.

In: finished runs that began alike, bundles of such. Out: a run folder; with data, a table of how good each
is. Next stop: `fedkey_server.averaging`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedkey.errors import UserError

if TYPE_CHECKING:
    from fedkey_server.averaging import Finished


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="finished run or bundle; one named twice counts twice",
    )
    parser.add_argument("--run", type=Path, required=True, metavar="OUT", help="run folder to make")
    parser.add_argument(
        "--data", type=Path, help="the folder they were trained on, to compare all on its validation text"
    )


def run(arguments: argparse.Namespace) -> int:
    """Averages; compares where there is text to compare on."""
    from fedkey_server import averaging

    out: Path = arguments.run
    if arguments.data is not None:
        _check_data(arguments.data, arguments.runs[0])
    finished = averaging.average(arguments.runs, out)
    if not averaging.is_of_one_start(finished):
        print(
            "fedkey-server: these are not known to have begun at the same trained weights; unless one start "
            "came of the other, their average is rarely of use: see with --data.",
            file=sys.stderr,
        )
    print(f"{out}: the average of {len(finished)} runs")
    if arguments.data is not None:
        measured = _measure([*arguments.runs, out], arguments.data)
        averaging.record(out, measured[-1])
        print(render(finished, out, measured), end="")
    return 0


def _check_data(data: Path, run: Path) -> None:
    """`UserError` if the text is in other pieces than the models', told before anything is made."""
    from fedkey_server import checkpoint

    name = "tokenizer.model"
    if checkpoint.sha256(data / name) != checkpoint.sha256(run / name):
        raise UserError(
            f"{run} was made with another tokenizer than {data}; give the data it was trained on."
        )


def _measure(runs: Sequence[Path], data: Path) -> list[dict[str, Any]]:
    """The figures of each run on the same rows: those at which the runs themselves looked, if they agree."""
    from fedkey_server import checkpoint
    from fedkey_server.progress import track
    from fedkey_server.train import TrainConfig, pick_device
    from fedkey_server.validation import Examiner

    average = checkpoint.load(runs[-1])
    told = average.config.get("train", {})
    usual = TrainConfig()
    device = pick_device()
    examiner = Examiner(
        told.get("objective", usual.objective),
        data,
        average.model_config.window,
        told.get("validation_rows", usual.validation_rows),
        told.get("seed", usual.seed),
    )
    batch_rows = told.get("batch_rows", usual.batch_rows)
    measured = []
    with track("average", len(runs), "runs") as advance:
        for run in runs:
            model = checkpoint.load(run).model().to(device).eval()
            measured.append(examiner.measure(model, batch_rows, device))
            advance()
    return measured


def render(runs: Sequence[Finished], out: Path, measured: Sequence[dict[str, Any]]) -> str:
    """The table as text: each run and the average of all, their loss and top-1, and what each is."""
    from fedkey_server.validation import headline

    names = [*(str(run.folder) for run in runs), str(out)]
    kinds = [_kind(run) for run in runs] + ["their average"]
    name, _, _ = headline(measured[0])
    has_gaps = "infill_top1" in measured[0]
    titles = [f"{name} loss", "top-1 %", *(["in gaps %"] if has_gaps else [])]
    lines = [["", *titles, ""]]
    for place, figures, kind in zip(names, measured, kinds, strict=True):
        _, loss, top_1 = headline(figures)
        gaps = [f"{100 * figures['infill_top1']:.1f}"] if has_gaps else []
        lines.append([place, f"{loss:.3f}", f"{100 * top_1:.1f}", *gaps, kind])
    width = max(len(line[0]) for line in lines)
    return "".join(
        "  ".join(
            [
                line[0].ljust(width),
                *(cell.rjust(len(title)) for cell, title in zip(line[1:-1], titles, strict=True)),
                line[-1],
            ]
        ).rstrip()
        + "\n"
        for line in lines
    )


def _kind(run: Finished) -> str:
    counted = (f"{number:,} {unit}" for unit, number in run.model.counted().items())
    return ", ".join([run.model.kind, *counted])
