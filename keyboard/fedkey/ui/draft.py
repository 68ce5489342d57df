"""The message being written, with a caret that is always in view.

In: a `fedkey.draft.Draft`. Out: wrapped lines, a new correction underlined, and the place in the text where
the mouse clicked. Next stop: `fedkey.ui.suggestions`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.geometry import Offset, Size
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget

from fedkey.draft import Draft
from fedkey.ui.messages import CaretPlaced


def line_starts(text: str, width: int) -> list[int]:
    """Where the lines of a text begin when it is wrapped between words.

    Every character belongs to a line, spaces too, and no line is wider than `width - 1` cells, so that the
    caret has room behind the last character of any.
    """
    starts, after_space, cells = [0], 0, 0
    for place, character in enumerate(text):
        cells += cell_len(character)
        # What is too wide moves to a new line from its word's start on, or alone if the word is wider still.
        while cells >= width and place > starts[-1]:
            starts.append(after_space if after_space > starts[-1] else place)
            cells = cell_len(text[starts[-1] : place + 1])
        if character.isspace():
            after_space = place + 1
    return starts


class DraftView(Widget):
    """Shows the draft; grows with it up to the height its style allows, then scrolls with the caret."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"draft--caret", "draft--placeholder"}

    draft: reactive[Draft] = reactive(Draft())
    placeholder: reactive[str] = reactive("Message")
    """Stands where the text will begin."""

    def __init__(self) -> None:
        super().__init__()
        self._num_lines = 1

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as the text needs."""
        self._num_lines = len(line_starts(self.draft.text, width))
        return self._num_lines

    def render(self) -> Content:
        """The lines around the caret."""
        text, caret = self.draft.text, self.draft.caret
        # Reversed, the caret is seen without colours, too; `get_visual_style` forgets that of a text style.
        caret_style = self.get_visual_style("draft--caret") + Style(reverse=True)
        if not text:
            rest = (self.placeholder[1:], self.get_visual_style("draft--placeholder"))
            return Content.assemble((self.placeholder[:1], caret_style), rest)
        lines = []
        for start, end in self._visible_lines():
            has_caret = start <= caret < end or (caret == end == len(text))
            line = Content(text[start:end] + (" " if has_caret and caret == end else ""))
            marked = self.draft.marked
            if marked is not None and marked.start < end and marked.end > start:
                span = max(marked.start - start, 0), min(marked.end, end) - start
                line = line.stylize(Style(underline=True), *span)
            if has_caret:
                line = line.stylize(caret_style, caret - start, caret - start + 1)
            lines.append(line)
        return Content("\n").join(lines)

    def watch_draft(self) -> None:
        """Asks for more or fewer lines, and tells the terminal where the caret is: input methods open their
        windows there. To lay the screen out anew with every letter would cost more than to draw it."""
        if len(self._lines()) != self._num_lines:
            self.refresh(layout=True)
        self.call_after_refresh(self._place_terminal_cursor)

    def on_click(self, event: events.Click) -> None:
        """Asks for the caret to be put where the mouse is."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        lines = self._visible_lines()
        start, end = lines[min(offset.y, len(lines) - 1)]
        while start < end and cell_len(self.draft.text[start]) <= offset.x:
            offset -= Offset(cell_len(self.draft.text[start]), 0)
            start += 1
        is_before_wrap = start == end < len(self.draft.text)
        self.post_message(CaretPlaced(start - 1 if is_before_wrap else start))

    def _visible_lines(self) -> list[tuple[int, int]]:
        """First and last place of each line in view."""
        lines = self._lines()
        height = max(self.content_size.height, 1)
        last = max(self._caret_line(lines) + 1, height)
        return lines[last - height : last]

    def _lines(self) -> list[tuple[int, int]]:
        text = self.draft.text
        return list(pairwise([*line_starts(text, max(self.content_size.width, 2)), len(text)]))

    def _caret_line(self, lines: list[tuple[int, int]]) -> int:
        return next((i for i, (_, end) in enumerate(lines) if self.draft.caret < end), len(lines) - 1)

    def _place_terminal_cursor(self) -> None:
        lines = self._visible_lines()
        line = self._caret_line(lines)
        column = cell_len(self.draft.text[lines[line][0] : self.draft.caret])
        self.app.cursor_position = self.content_region.offset + Offset(column, line)
