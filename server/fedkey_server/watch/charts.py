"""A run's charts as SVG files.

In: panels, and a folder. Out: one file each; the same bytes for the same run. Next stop:
`fedkey_server.watch.app`.

matplotlib takes a second to import, so this module is imported when charts are saved and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fedkey.errors import UserError
from fedkey.files import whole
from fedkey_server.watch.panels import Line, Panel

INK, QUIET, ACCENT = "#2a2d31", "#8a8f96", "#2c6e54"
STACKS = ("#2c6e54", "#d9b36c", "#b98a3a", "#a03c3c", "#c3c7cc")
"""Reports, and what became of the others."""

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud, and files stay small
    "svg.hashsalt": "fedkey",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": "#c3c7cc",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "ytick.left": False,
    "legend.frameon": False,
}


def save(panels: Sequence[Panel], folder: Path, run: str, unit: str) -> list[Path]:
    """Writes the charts and returns their paths.

    Args:
        run: its name, which stands under every title.
        unit: what its steps are, "round" or "step".

    Raises:
        UserError: the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for panel in panels:
            path = folder / f"{panel.name}.svg"
            with rc_context(STYLE), whole(path) as beside:
                figure = _draw(panel, run, unit)
                FigureCanvasSVG(figure).print_svg(str(beside), metadata={"Date": None, "Title": panel.title})
            written.append(path)
    except OSError as error:
        raise UserError(f"Cannot write charts to {folder}: {error.strerror}.") from error
    return written


def _draw(panel: Panel, run: str, unit: str) -> Figure:
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for number, (low, high) in enumerate(panel.bands):
        label = panel.bands_label if number == 0 else None
        axes.fill_between(
            low.steps, low.values, high.values, color=ACCENT, alpha=0.13, linewidth=0, label=label
        )
    for line in panel.lines:
        if line.series:
            _line(axes, line)
    if panel.stacks:
        _stacks(axes, panel.stacks)
    if panel.from_zero:
        axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: panel.show(value)))
    axes.set_xlabel(unit)
    axes.set_title(panel.title, loc="left", fontweight="bold", pad=22)
    axes.text(0, 1.04, f"{run} · {panel.subtitle}", transform=axes.transAxes, color=QUIET)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.07), ncols=6, handlelength=1.2, columnspacing=1.2)
    return figure


def _line(axes: Axes, line: Line) -> None:
    axes.plot(
        line.series.steps,
        line.series.values,
        color=QUIET if line.is_quiet else ACCENT,
        linewidth=1.2 if line.is_quiet else 2.0,
        linestyle="--" if line.label == "budget" else "-",
        marker="o" if len(line.series.steps) == 1 else None,
        label=line.label,
    )


def _stacks(axes: Axes, stacks: Sequence[Line]) -> None:
    steps = np.asarray(stacks[0].series.steps)
    edges = np.append(steps - 0.5, steps[-1] + 0.5)
    below = np.zeros(len(steps))
    for part, color in zip(stacks, STACKS, strict=True):
        above = below + part.series.values
        if (above > below).any():
            axes.stairs(above, edges, baseline=below, fill=True, color=color, label=part.label)
        below = above
