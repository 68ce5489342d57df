"""Builds, checks and times every kernel in one call, on a GPU or at reduced size on a CPU.

In: options. Out: tables on standard output, the goals last; progress on standard error; exit code 1 if a
kernel is wrong. Next stop: `kernels/bench/results`.

    PYTHONPATH=kernels python -m bench.run [--only attention,loss,sophia,norm] [--quick] [--out FILE]
                                           [--save]

It needs torch, and on a GPU Triton, which comes with torch; nothing of fedkey but the kernels.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import torch

from bench import attention, loss, norm, sophia
from bench.compare import Bench
from bench.report import Section, number
from bench.timing import Ceilings, ceilings

PARTS = {"attention": attention.run, "loss": loss.run, "sophia": sophia.run, "norm": norm.run}
RESULTS = Path(__file__).parent / "results"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[:1].upper()}{message[1:]}.\n")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Options; a mistake is one sentence and exit code 2."""
    parser = _Parser(prog="bench.run", description="Builds, checks and times fedkey's kernels in one call.")
    parser.add_argument(
        "--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}, with commas between"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round: whether it runs at all")
    parser.add_argument("--out", type=Path, help="write the tables to this file too")
    parser.add_argument("--save", action="store_true", help="write them to results/<device>_<yyyy-mm>.md too")
    arguments = parser.parse_args(argv)
    names = arguments.only.split(",")
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"--only does not know {unknown[0]!r}; it can name {', '.join(PARTS)}")
    arguments.only = [name for name in PARTS if name in names]
    if arguments.out is not None and not arguments.out.parent.is_dir():
        parser.error(f"--out cannot write {arguments.out}: there is no folder {arguments.out.parent}")
    if arguments.save and (arguments.quick or len(arguments.only) < len(PARTS)):
        parser.error("--save keeps whole runs only; leave --quick and --only out, or use --out")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = parse(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        text, is_right = report(device, arguments.only, arguments.quick, argv)
    finally:
        torch.set_num_threads(num_threads)
    print(text)
    if arguments.out is not None:
        write(arguments.out, text)
    if arguments.save:
        write(RESULTS / f"{slug(device)}_{time.strftime('%Y-%m')}.md", text)
    return 0 if is_right else 1


def write(path: Path, text: str) -> None:
    """All of it or nothing."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text + "\n", encoding="utf-8")
    os.replace(beside, path)


def report(device: torch.device, parts: Sequence[str], quick: bool, argv: Sequence[str]) -> tuple[str, bool]:
    """The whole text, and whether every kernel was right."""
    begun = time.monotonic()
    bench = Bench(device, quick, Ceilings(1.0, 1.0), begun)
    bench.progress("copy bandwidth and matrix rate")
    bench = bench._replace(ceilings=ceilings(device, bench.dtype, quick))
    sections = []
    for part in parts:
        bench.progress(part)
        sections.append(_guarded(part, bench))
    lines = header(bench, argv)
    for section in sections:
        lines += [f"## {section.name}", "", *section.lines, ""]
    lines += closing(bench, sections)
    lines += ["", f"The whole run took {time.monotonic() - begun:.0f} s."]
    return "\n".join(lines), not any(section.failures for section in sections)


def _guarded(part: str, bench: Bench) -> Section:
    """Cases guard themselves; should one part fail all the same, the others still come out."""
    try:
        return PARTS[part](bench)
    except Exception as error:  # any: see above
        traceback.print_exc()
        failure = f"{part}: FAILED: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        return Section(part, [failure], [], [failure], [])


def header(bench: Bench, argv: Sequence[str]) -> list[str]:
    """Device, versions, date, command, ceilings."""
    dtype = str(bench.dtype).removeprefix("torch.")
    copy, product = bench.ceilings
    lines = [
        f"# Kernels on {device_name(bench.device)}, {time.strftime('%Y-%m-%d')}",
        "",
        f"torch {torch.__version__}, Triton {_version('triton')}, Python {platform.python_version()}:",
        "",
        f"    {' '.join(['PYTHONPATH=kernels', 'python', '-m', 'bench.run', *argv])}",
        "",
        f"Tensors are {dtype}{', those of optimizers float32' if bench.on_gpu else ''}. Measured first, as "
        f"ceilings: a large copy moves {number(copy / 1e9)} GB/s (bytes read and written), a large matrix "
        f"product does {number(product / 1e12)} TFLOP/s.",
        "",
    ]
    if not bench.on_gpu:
        lines += [
            "This is a CPU, at reduced size: process time of one thread while others used the machine. Only "
            "ratios between rows of one case mean anything.",
            "",
        ]
    if bench.quick:
        lines += ["A quick run, to see that everything works: its times mean nothing.", ""]
    return lines


def closing(bench: Bench, sections: Sequence[Section]) -> list[str]:
    """What is wrong, what is missing, and the goals."""
    failures = [failure for section in sections for failure in section.failures]
    lines = ["## Wrong or not running", "", *(f"- {failure}" for failure in failures), ""] if failures else []
    if not bench.on_gpu:
        missing = [text for section in sections for text in section.needs_gpu]
        lines += ["## Not yet measured: needs a GPU", "", *(f"- {text}" for text in missing), ""]
    why_not = "a row above says why" if bench.on_gpu else "it needs a GPU"
    goals = [goal.line(why_not) for section in sections for goal in section.goals]
    return [*lines, "## Goals, set for an H200", "", *goals]


def device_name(device: torch.device) -> str:
    """Of the hardware, never of the host."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"a CPU with {os.cpu_count()} cores"


def slug(device: torch.device) -> str:
    """For a file's name."""
    if device.type == "cpu":
        return f"cpu-{os.cpu_count()}-cores"
    return "-".join(torch.cuda.get_device_name(device).lower().split())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
