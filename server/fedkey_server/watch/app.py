"""The screen over a run.

In: a `Watcher`. Out: a screen that follows the run until it is left; charts as files when asked for. The walk
ends here.

Once a second the folder is looked at, and what is new is drawn. Drawn anew is only what changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Horizontal
from textual.screen import Screen
from textual.strip import Strip
from textual.theme import Theme
from textual.widget import Widget
from textual.widgets import DataTable, Footer, Static

from fedkey.errors import UserError
from fedkey_server.watch import figures, plot
from fedkey_server.watch.figures import State
from fedkey_server.watch.panels import Line, Panel, panels
from fedkey_server.watch.record import Record, Row, Watcher

SECONDS_BETWEEN_LOOKS = 1.0
KINDS = {"federate": "federation", "train": "central training", "average": "average of runs"}
"""Kind of a run -> what its title says."""
FIRST_ROWS = 500
"""Rows of the table when a run is opened; those before are in its metrics."""

DARK = Theme(
    name="watch-dark",
    primary="#8fbfa8",
    accent="#8fbfa8",
    foreground="#dfe2e6",
    background="#15171a",
    surface="#1e2125",
    panel="#33383e",
    warning="#d9b36c",
    error="#d98080",
    success="#8fbfa8",
    dark=True,
    variables={"footer-background": "#15171a", "footer-key-foreground": "#8fbfa8"},
)
LIGHT = Theme(
    name="watch-light",
    primary="#2c6e54",
    accent="#2c6e54",
    foreground="#2a2d31",
    background="#f6f4ef",
    surface="#ebe8e0",
    panel="#d4cfc3",
    warning="#a8781f",
    error="#a03c3c",
    success="#2c6e54",
    dark=False,
    variables={"footer-background": "#f6f4ef", "footer-key-foreground": "#2c6e54"},
)

GROUNDS = ("band", "core")
"""What may lie behind curves."""
WIDE, WIDEST, TALL = 130, 190, 34
"""Cells from which on there is room for a third chart in a row, for all columns of the table, and for a
second row of charts."""
WIDTHS = [(0, "-narrowest"), (56, "-narrow"), (76, "-usual")]
HEIGHTS = [(0, "-lowest"), (16, "-low"), (20, "-usual-height"), (TALL, "-tall")]
_BAR = 28
"""Widest bar of progress, in cells."""


class Card(Static):
    """A title and a few figures: names to the left, figures to the right."""

    def show(self, card: figures.Card) -> None:
        """Puts a card on the screen."""
        self.card = card
        self.update(self._text(), layout=False)

    def on_resize(self) -> None:
        """Figures stand at the right edge, wherever it is."""
        if hasattr(self, "card"):
            self.update(self._text(), layout=False)

    def _text(self) -> Text:
        width = min(28, self.content_size.width)
        text = Text.assemble((self.card.title, "bold"), no_wrap=True, overflow="crop")
        for name, value in self.card.lines:
            name = name[: max(0, width - len(value) - 1)]
            text.append(f"\n{name}", "dim")
            text.append(" " * (width - len(name) - len(value)) + value)
        return text


class ChartView(Widget):
    """One chart."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"chart--{role}" for role in ("main", "quiet", "axis", "grid", *GROUNDS, *figures.FATES)
    }

    panel: Panel | None = None
    _strips: tuple[tuple[int, int], list[Strip]] | None = None

    def show(self, panel: Panel) -> None:
        """Puts a panel on the screen."""
        if panel == self.panel:
            return
        self.panel, self._strips = panel, None
        self.refresh()

    def notify_style_update(self) -> None:
        """Another theme has other colours."""
        self._strips = None
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        """One row of the chart."""
        size = (self.size.width, self.size.height)
        if self._strips is None or self._strips[0] != size:
            self._strips = (size, self._drawn(*size))
        strips = self._strips[1]
        return strips[y] if y < len(strips) else Strip.blank(size[0], self.rich_style)

    def _drawn(self, width: int, height: int) -> list[Strip]:
        if self.panel is None:
            return []
        cells = drawing(self.panel).draw(width, height - 1)
        styles: dict[tuple[str, str], Style] = {}
        strips = [self._heading(self.panel, width)]
        for row in cells:
            segments: list[Segment] = []
            for cell in row:
                key = (cell.role, cell.ground)
                if key not in styles:
                    styles[key] = self._style(*key)
                segments.append(Segment(cell.character, styles[key]))
            strips.append(Strip(segments, width).simplify())
        return strips

    def _style(self, role: str, ground: str) -> Style:
        style = self.rich_style
        if role in GROUNDS:
            style += Style(color=self.get_component_rich_style(f"chart--{role}").bgcolor)
        elif role == plot.BLANK:
            style += Style(color=style.bgcolor)
        elif role:
            style += Style(color=self.get_component_rich_style(f"chart--{role}").color)
        if ground:
            style += Style(bgcolor=self.get_component_rich_style(f"chart--{ground}").bgcolor)
        return style

    def _heading(self, panel: Panel, width: int) -> Strip:
        """The title, and as much of the legend as there is room for."""
        text = Text(panel.title, "bold", no_wrap=True)
        marks = [
            ("━", line.label, "quiet" if line.is_quiet else "main")
            for line in reversed(panel.lines)
            if line.series
        ]
        marks += [("█", part.label, part.label) for part in panel.stacks if any(part.series.values)]
        if panel.bands:
            marks += [("█", panel.bands_label, GROUNDS[-1])]
        legend = Text()
        for mark, label, role in marks:
            entry = Text.assemble("  ", (mark, self._style(role, "")), (f" {label}", "dim"))
            if len(text) + len(legend) + len(entry) > width:
                break
            legend.append_text(entry)
        text.append(" " * max(0, width - len(text) - len(legend)))
        text.append_text(legend)
        text.truncate(width)
        text.stylize_before(self.rich_style)
        return Strip(text.render(self.app.console), width).adjust_cell_length(width, self.rich_style)


def drawing(panel: Panel) -> plot.Chart | plot.Columns:
    """A panel as a chart of characters, which has room for two of its bands."""
    if panel.stacks:
        return plot.Columns(
            tuple(part.label for part in panel.stacks),
            panel.stacks[0].series.steps,
            list(zip(*(part.series.values for part in panel.stacks), strict=True)),
            panel.show,
        )

    def curve(line: Line) -> plot.Curve:
        role = "quiet" if line.is_quiet else "main"
        return plot.Curve(role, line.series.steps, line.series.values)

    bands = [
        (plot.Curve(role, low.steps, low.values), plot.Curve(role, high.steps, high.values))
        for role, (low, high) in zip(GROUNDS, panel.bands[::2], strict=False)
    ]
    return plot.Chart(tuple(map(curve, panel.lines)), panel.show, tuple(bands), panel.from_zero)


class WatchScreen(Screen[None]):
    """A run's figures, charts and rounds.

    Args:
        watcher: of the run.
        charts: folder into which charts are saved.
        clock: seconds since the epoch.
    """

    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.quit", "Quit"),
        Binding("s", "save", "Save charts"),
        Binding("c", "more", "More charts"),
    ]

    def __init__(self, watcher: Watcher, charts: Path, clock: Callable[[], float]) -> None:
        super().__init__()
        self.watcher = watcher
        self.charts = charts
        self.clock = clock
        self.record: Record = watcher.read()
        self.panels = panels(self.record)
        self.first_chart = 0
        self.room = 1
        """Charts that are shown at once."""
        self._laid_out = (0, 0, 0, 0)
        self._columns: list[str] = []
        self._last_row: Row | None = None
        self._num_rows = 0

    def compose(self) -> ComposeResult:
        """The screen, from above."""
        yield Static(id="title")
        yield Static(id="progress")
        with Horizontal(id="cards"):
            for card in figures.cards(self.record):
                yield Card(id=card.title)
        with Grid(id="charts"):
            for _ in range(6):
                yield ChartView()
        yield DataTable[Text](id="rounds", cursor_type="row", zebra_stripes=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begins to look."""
        self._show_all()
        self.set_interval(SECONDS_BETWEEN_LOOKS, self.look)

    def on_resize(self) -> None:
        """Another size has room for other charts."""
        self.call_after_refresh(self._show_all)

    def look(self) -> None:
        """Reads what is new and shows it."""
        before, self.record = self.record, self.watcher.read()
        if before == self.record and self.query(Card):
            self._show_state()
        else:
            self._show_all()

    # --- what is shown -----------------------------------------------------------------------------------

    def _show_all(self) -> None:
        if not self.query(Card):  # a change of size may come before there is anything, or after
            return
        self._show_state()
        for widget, card in zip(self.query(Card), figures.cards(self.record), strict=True):
            widget.show(card)
        self.panels = panels(self.record)
        self._lay_out()
        self._show_rows()

    def _show_state(self) -> None:
        state = figures.state(self.record, self.clock())
        self.query_one("#title", Static).update(self._title(state), layout=False)
        self.query_one("#progress", Static).update(self._progress(state), layout=False)

    def _title(self, state: State) -> Text:
        mark, role = {
            "running": ("●", "success"),
            "silent": ("◌", "warning"),
            "finished": ("✓", "success"),
        }[state.word]
        kind = KINDS.get(self.record.kind, self.record.kind)
        left = Text.assemble((self.record.name, f"bold {self._colour('accent')}"), (f"  {kind}", "dim"))
        right = Text.assemble((f"{mark} ", self._colour(role)), state.sentence)
        return _apart(left, right, self.size.width - 2)

    def _progress(self, state: State) -> Text:
        if state.share is None:
            return Text(state.progress)
        width = min(_BAR, max(8, self.size.width // 5))
        done = round(state.share * width)
        bar = Text.assemble(
            ("━" * done, self._colour("accent")), ("━" * (width - done), self._colour("panel")), no_wrap=True
        )
        return Text.assemble(bar, f" {figures.percent(state.share, 0)}  ", state.progress)

    def _colour(self, role: str) -> str:
        return self.app.theme_variables[role]

    def _lay_out(self) -> None:
        """Shows as many charts as there is room for, from the one on that is to be the first."""
        width, height = self.size
        num_columns = 1 if width < 56 else 2 if width < WIDE else 3
        num_rows = 2 if height >= TALL else 1
        room = min(num_columns * num_rows, max(1, len(self.panels)))
        if self.first_chart >= len(self.panels):
            self.first_chart = 0
        shown = self.panels[self.first_chart : self.first_chart + room]
        if len(shown) <= num_columns:
            num_columns, num_rows = max(1, len(shown)), 1
        elif len(shown) == 4:
            num_columns, num_rows = 2, 2
        self.room = room
        laid_out = (num_columns, num_rows, len(shown), len(self.panels))
        if laid_out != self._laid_out:  # asking for the same again would lay out the whole screen
            self._laid_out = laid_out
            grid = self.query_one("#charts", Grid)
            grid.styles.grid_size_columns, grid.styles.grid_size_rows = num_columns, num_rows
            for number, view in enumerate(self.query(ChartView)):
                view.display = number < len(shown)
                is_alone = number == len(shown) - 1 and len(shown) % num_columns == 1
                view.styles.column_span = num_columns if is_alone else 1
            self.refresh_bindings()
        for view, panel in zip(self.query(ChartView), shown, strict=False):
            view.show(panel)

    def _show_rows(self) -> None:
        table = self.query_one("#rounds", DataTable)
        rows = self.record.rows
        columns = figures.columns(self.record, has_room=self.size.width >= WIDEST)
        names = [name for name, _ in columns]
        goes_on = self._num_rows == 0 or (
            len(rows) >= self._num_rows and rows[self._num_rows - 1] is self._last_row
        )
        if names != self._columns or not goes_on:
            table.clear(columns=True)
            for name in names:
                table.add_column(Text(name, justify="left" if name == "why" else "right"))
            self._columns, self._num_rows = names, 0
        is_at_end = self._num_rows == 0 or table.cursor_row >= table.row_count - 1
        for row in rows[max(self._num_rows, len(rows) - FIRST_ROWS) :]:
            table.add_row(
                *(Text(read(row), justify="left" if name == "why" else "right") for name, read in columns)
            )
        self._num_rows, self._last_row = len(rows), rows[-1] if rows else None
        if is_at_end and rows:
            table.move_cursor(row=table.row_count - 1)

    # --- what keys do ------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There are more charts only where not all are shown."""
        return action != "more" or self.room < len(self.panels)

    def action_more(self) -> None:
        """Shows the charts behind those that are shown."""
        self.first_chart += self.room
        self._lay_out()

    def action_save(self) -> None:
        """Writes the charts, beside the screen's own work."""
        self.run_worker(partial(self._save, self.panels), thread=True, exclusive=True, exit_on_error=False)

    def _save(self, shown: list[Panel]) -> None:
        from fedkey_server.watch import charts

        try:
            unit = "round" if self.record.is_federated else "step"
            written = charts.save(shown, self.charts, self.record.name, unit)
        except (UserError, ModuleNotFoundError) as error:
            self.app.call_from_thread(self.app.notify, str(error), severity="error")
        else:
            self.app.call_from_thread(self.app.notify, f"{len(written)} charts are in {self.charts}")


class WatchApp(App[None]):
    """Follows a run.

    Args:
        watcher: of the run.
        charts: folder into which charts are saved.
        clock: seconds since the epoch, for tests.
    """

    CSS_PATH = "app.tcss"

    def __init__(self, watcher: Watcher, charts: Path, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.watching = WatchScreen(watcher, charts, clock)
        self.title = f"fedkey · {self.watching.record.name}"
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = DARK.name

    def get_default_screen(self) -> Screen[None]:
        """The only one; others, such as the palette of commands, lie over it while it goes on."""
        return self.watching


def _apart(left: Text, right: Text, width: int) -> Text:
    gap = max(1, width - len(left) - len(right))
    return Text.assemble(left, " " * gap, right, no_wrap=True, overflow="ellipsis")
