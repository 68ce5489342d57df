"""The strip of suggested words.

In: words, best first. Out: which of them was clicked. Next stop: `fedkey.ui.keypad`.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.reactive import reactive
from textual.style import Style
from textual.widgets import Static

from fedkey.ui.messages import WordChosen

NUM_SHOWN = 3


class Choice(Static):
    """One place on the strip; empty places stay where they are, so that no word moves when another goes."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"choice--number"}

    word: reactive[str] = reactive("")

    def __init__(self, rank: int) -> None:
        super().__init__(classes="-first" if rank == 0 else None)
        self.rank = rank

    def render(self) -> Content:
        """The word, and the number of the key that takes it."""
        if not self.word:
            return Content("")
        # Said outright: the place's own bold would show through a style that does not mention it.
        number_style = self.get_visual_style("choice--number") + Style(bold=False)
        return Content.assemble((f"{self.rank + 1} ", number_style), self.word)

    def watch_word(self) -> None:
        """Only a word that is there looks as if it could be clicked."""
        self.set_class(bool(self.word), "-offered")

    def on_click(self) -> None:
        """Passes the choice on."""
        if self.word:
            self.post_message(WordChosen(self.word))


class SuggestionStrip(Horizontal):
    """Up to three words, or a note in their place while there is no engine to ask."""

    words: reactive[tuple[str, ...]] = reactive(())
    note: reactive[str] = reactive("")

    def __init__(self) -> None:
        super().__init__()
        self._note = Static(id="note", markup=False)
        self._choices = [Choice(rank) for rank in range(NUM_SHOWN)]

    def compose(self) -> ComposeResult:
        """The places, and the note over them."""
        yield self._note
        yield from self._choices

    def watch_words(self, words: tuple[str, ...]) -> None:
        """Fills the places."""
        for choice in self._choices:
            choice.word = words[choice.rank] if choice.rank < len(words) else ""

    def watch_note(self, note: str) -> None:
        """Shows the note instead of the places, or the places."""
        self._note.update(note)
        self._note.display = note != ""
        for choice in self._choices:
            choice.display = note == ""
