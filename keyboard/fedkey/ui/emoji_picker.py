"""A page on which an emoji is looked for by its name.

In: letters of a name, and the emoji that were picked before. Out: the one that is picked, or none. Next stop:
`fedkey.ui.help`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from fedkey.emoji_search import MANY, named, search


class Found(OptionList, can_focus=False):
    """What was found: one emoji a line before its name, for terminals do not agree how wide emoji are."""

    def show(self, query: str, recent: Sequence[str]) -> None:
        """Searches; without a query, those picked before come first, the last one before the others."""
        found = search(query)
        if not query.strip():
            found = list(dict.fromkeys((*named(recent), *found)))[:MANY]
        self.clear_options()
        self.add_options([Option(Content(f"{emoji}  {name}"), id=emoji) for emoji, name in found])
        if not found:
            self.add_option(Option("No emoji is called so.", disabled=True))
        self.highlighted = 0 if found else None


class EmojiPicker(ModalScreen[str | None]):
    """An input over what it finds. The keys that move in the list do so while the input is typed into."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+o", "dismiss", "Close"),
        Binding("down", "move('cursor_down')", show=False),
        Binding("up", "move('cursor_up')", show=False),
        Binding("pagedown", "move('page_down')", show=False),
        Binding("pageup", "move('page_up')", show=False),
        Binding("tab", "pick", show=False),
    ]

    def __init__(self, recent: Sequence[str] = ()) -> None:
        """`recent` are emoji that were picked before, the last one first."""
        super().__init__()
        self._recent = recent
        self._found = Found()

    def compose(self) -> ComposeResult:
        """The input, and the list below it."""
        with Vertical() as page:
            page.border_title = "Emoji"
            page.border_subtitle = "Enter picks, Esc closes"
            yield Input(placeholder="heart, party, germany …")
            yield self._found

    def on_mount(self) -> None:
        """Offers something before anything is looked for."""
        self._found.show("", self._recent)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Searches with every letter."""
        self._found.show(event.value, self._recent)

    def on_input_submitted(self) -> None:
        """Picks what is highlighted."""
        self.action_pick()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Picks what was clicked."""
        self.dismiss(event.option_id)

    def action_move(self, name: str) -> None:
        """Moves the highlight; the names are those of the list's actions."""
        getattr(self._found, f"action_{name}")()

    def action_pick(self) -> None:
        """Picks what is highlighted, if anything was found."""
        option = self._found.highlighted_option
        if option is not None:
            self.dismiss(option.id)
