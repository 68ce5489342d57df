"""A list of any length, of which only the lines in view are made.

In: how many lines, and what stands in each. Out: the lines on screen, and which of them is chosen. Next
stop: `fedkey.ui.privacy`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from fedkey.ui.messages import LineChosen


class LineList(ScrollView, can_focus=False):
    """Lines, one of them under a cursor unless there is none. A click moves the cursor; keys are the
    screen's."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"line-list--line", "line-list--cursor"}

    cursor: reactive[int | None] = reactive[int | None](None)
    """The line that is chosen; None in a list to be read only."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._num_lines = 0
        self._line: Callable[[int, int], str] = lambda index, width: ""

    def show(self, num_lines: int, line: Callable[[int, int], str], cursor: int | None) -> None:
        """Shows other lines.

        Args:
            num_lines: how many.
            line: what stands in the line of an index, in so many cells.
            cursor: the line that is chosen.
        """
        self._num_lines, self._line = num_lines, line
        self.virtual_size = Size(self.scrollable_content_region.width, num_lines)
        self.cursor = None if cursor is None or not num_lines else max(0, min(cursor, num_lines - 1))
        self._scroll_to_cursor()
        self.refresh()

    def move(self, lines: int) -> None:
        """Moves the cursor, or the view where there is none."""
        if self.cursor is None:
            self.scroll_relative(y=lines, animate=False)
        elif self._num_lines:
            self.cursor = max(0, min(self.cursor + lines, self._num_lines - 1))

    @property
    def page(self) -> int:
        """How many lines are in view."""
        return max(1, self.scrollable_content_region.height)

    def watch_cursor(self) -> None:
        """Keeps the cursor in view."""
        self._scroll_to_cursor()
        self.refresh()

    def on_resize(self) -> None:
        """Fits the lines into the new width."""
        self.virtual_size = Size(self.scrollable_content_region.width, self._num_lines)
        self._scroll_to_cursor()

    def on_click(self, event: events.Click) -> None:
        """Chooses the line that was clicked."""
        index = event.get_content_offset_capture(self).y + self.scroll_offset.y
        if self.cursor is not None and index < self._num_lines:
            self.cursor = index
            self.post_message(LineChosen())

    def render_line(self, y: int) -> Strip:
        """A line of the view."""
        index, width = y + self.scroll_offset.y, self.scrollable_content_region.width
        is_chosen = index == self.cursor
        style = self.get_component_rich_style("line-list--cursor" if is_chosen else "line-list--line")
        text = self._line(index, width) if index < self._num_lines else ""
        # Without a style a segment breaks the filter of NO_COLOR.
        return Strip([Segment(text, style)]).adjust_cell_length(width, style)

    def _scroll_to_cursor(self) -> None:
        if self.cursor is None or not self.is_attached:
            return
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True)
        elif self.cursor >= top + self.page:
            self.scroll_to(y=self.cursor - self.page + 1, animate=False, immediate=True)
