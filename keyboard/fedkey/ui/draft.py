"""The message being written, with a caret that is always in view.

In: a `fedkey.draft.Draft`. Out: wrapped lines, a new correction and a word that can be replaced underlined,
and the place in the text where the mouse clicked. Next stop: `fedkey.ui.suggestions`.
"""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.geometry import Offset, Size
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget

from fedkey import draft as writing
from fedkey.draft import Draft
from fedkey.ui.lines import Line, caret_line, column_of, lines_of, place_at
from fedkey.ui.messages import CaretPlaced


class DraftView(Widget):
    """Shows the draft; grows with it up to the height its style allows, then scrolls with the caret."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "draft--caret",
        "draft--ghost",
        "draft--picked",
        "draft--placeholder",
    }

    draft: reactive[Draft] = reactive(Draft())
    placeholder: reactive[str] = reactive("Message")
    """Stands where the text will begin."""
    ghost: reactive[str] = reactive("")
    """The rest of a word, to be shown behind the caret where there is room."""

    def __init__(self) -> None:
        super().__init__()
        self._num_lines = 1
        # What the last move up or down made, and its column: a short line on the way does not change it.
        self._moved: tuple[Draft, int] | None = None

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as the text needs."""
        self._num_lines = len(lines_of(self.draft.text, width))
        return self._num_lines

    def render(self) -> Content:
        """The lines around the caret."""
        text, caret = self.draft.text, self.draft.caret
        # Reversed, the caret is seen without colours, too; `get_visual_style` forgets that of a text style.
        caret_style = self.get_visual_style("draft--caret") + Style(reverse=True)
        # Told from what is typed without colours, too.
        ghost_style = self.get_visual_style("draft--ghost") + Style(italic=True)
        picked_style = self.get_visual_style("draft--picked") + Style(underline=True, bold=True)
        if not text:
            rest = (self.placeholder[1:], self.get_visual_style("draft--placeholder"))
            return Content.assemble((self.placeholder[:1], caret_style), rest)
        lines = []
        visible = self._visible_lines()
        with_caret = visible[caret_line(visible, caret)]
        for start, end in visible:
            has_caret = (start, end) == with_caret
            shown = text[start:end].removesuffix("\n")
            line = Content(shown + (" " if has_caret and caret - start == len(shown) else ""))
            for place, style in (
                (self.draft.marked, Style(underline=True)),
                (self.draft.picked, picked_style),
            ):
                if place is not None and place.start < end and place.end > start:
                    line = line.stylize(style, max(place.start - start, 0), min(place.end, end) - start)
            if has_caret:
                if ghost := self.ghost_in_view:
                    line = Content.assemble(line[: caret - start], (ghost, ghost_style))
                line = line.stylize(caret_style, caret - start, caret - start + 1)
            lines.append(line)
        return Content("\n").join(lines)

    @property
    def ghost_in_view(self) -> str:
        """The rest of a word, if its line has room for all of it: it never moves the text. Each letter typed
        makes it shorter, so that it does not come and go."""
        lines = self._lines()
        line = lines[caret_line(lines, self.draft.caret)]
        needed = column_of(self.draft.text, line, self.draft.caret) + cell_len(self.ghost)
        return self.ghost if needed <= self.content_size.width else ""

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
        line = lines[min(offset.y, len(lines) - 1)]
        self.post_message(CaretPlaced(place_at(self.draft.text, line, offset.x)))

    def moved(self, lines: int) -> Draft:
        """The draft with the caret so many lines further down, in the column from which it set out; beyond
        the first and last line, at the start and end of the text."""
        text, all_lines = self.draft.text, self._lines()
        here = caret_line(all_lines, self.draft.caret)
        column = column_of(text, all_lines[here], self.draft.caret)
        if self._moved is not None and self._moved[0] is self.draft:
            column = self._moved[1]
        if 0 <= here + lines < len(all_lines):
            draft = writing.place(self.draft, place_at(text, all_lines[here + lines], column))
        else:
            draft = (writing.top if lines < 0 else writing.bottom)(self.draft)
        self._moved = draft, column
        return draft

    def _visible_lines(self) -> tuple[Line, ...]:
        lines = self._lines()
        height = max(self.content_size.height, 1)
        last = max(caret_line(lines, self.draft.caret) + 1, height)
        return lines[last - height : last]

    def _lines(self) -> tuple[Line, ...]:
        return lines_of(self.draft.text, max(self.content_size.width, 2))

    def _place_terminal_cursor(self) -> None:
        lines, caret = self._visible_lines(), self.draft.caret
        line = caret_line(lines, caret)
        column = column_of(self.draft.text, lines[line], caret)
        self.app.cursor_position = self.content_region.offset + Offset(column, line)
