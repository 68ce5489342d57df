"""The help page.

In: nothing. Out: what every key does. Next stop: `fedkey.ui.typing`.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS = (
    ("Tab", "take the first suggestion, or the grey rest"),
    ("→", "at the end: take the grey rest of a word"),
    ("Alt+1 2 3", "take the first, second, third one"),
    ("Alt+4", "take the phrase behind them"),
    ("Alt+5 6", "take an emoji"),
    ("F2 … F7", "the same where Alt is taken"),
    ("Space . , !", "put in the word that is marked ␣"),
    ("Backspace", "right after that: bring back the letters"),
    ("Ctrl+Z", "take back a correction, a word, a deletion"),
    ("Esc", "hide them, and leave the word as it is"),
    ("Enter", "send"),
    ("Ctrl+J", "new line; so do Alt+Enter and Shift+Enter"),
    ("Ctrl+O", "find an emoji by its name"),
    ("Ctrl+C", "copy what the mouse selected, or the draft"),
    ("Ctrl+W", "delete the word before the caret"),
    ("Ctrl+U", "delete the line before the caret"),
    ("Ctrl+← →", "jump over a word"),
    ("PgUp PgDn", "look back in the conversation"),
    ("Drag", "from letter to letter: draw a word at once"),
    ("Ctrl+R", "type privately, or no longer"),
    ("F8", "what is remembered, and what left"),
    ("F9", "glass box: see the engine at work"),
    ("F10", "settings, and what they mean"),
    ("Ctrl+L", "other keys: QWERTZ, AZERTY, Dvorak"),
    ("Ctrl+T", "clumsy thumbs: see slips being repaired"),
    ("Ctrl+P", "commands: themes and more"),
    ("Ctrl+Q", "quit"),
)

MOUSE = "Keys and suggestions can be clicked, too; a click on a word that stands offers others for it (⇄)."
PRIVACY = (
    "Nothing you type leaves this machine; a federation, if you join one, gets sums over 20 keyboards or "
    "more (F10 says how many), of changes of a model and of counts of words. Words that you use are "
    "remembered in a file that only you can read; while you type privately, nothing is remembered."
)


class HelpScreen(ModalScreen[None]):
    """A page over the keyboard; any of the keys that might mean "enough" closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,enter,q", "dismiss", "Close"),
        Binding("down,j", "scroll('down')", show=False),
        Binding("up,k", "scroll('up')", show=False),
    ]

    def compose(self) -> ComposeResult:
        """The page."""
        with VerticalScroll(can_focus=False) as page:
            page.border_title = "fedkey"
            page.border_subtitle = "Esc closes"
            for keys, meaning in KEYS:
                with Horizontal():
                    yield Static(keys, classes="keys")
                    yield Static(meaning, classes="meaning")
            yield Static(MOUSE, classes="note")
            yield Static(PRIVACY, classes="note")

    def action_scroll(self, direction: str) -> None:
        """Scrolls the page where it does not fit."""
        page = self.query_one(VerticalScroll)
        if direction == "down":
            page.scroll_down()
        else:
            page.scroll_up()

    def on_click(self) -> None:
        """A click anywhere closes the page."""
        self.dismiss()
