"""What can be copied out of the keyboard, through the terminal (OSC 52), so that it works over ssh, too.

In: the typing screen. Out: text in the clipboard, and commands for the palette. Next stop: `fedkey.ui.help`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.app import SystemCommand

if TYPE_CHECKING:
    from fedkey.ui.drafting import DraftingScreen

COPIED_SECONDS = 2


def copy(screen: DraftingScreen, text: str) -> None:
    """Puts a text into the clipboard and says so for a moment. Terminals do not tell whether they took it."""
    screen.app.copy_to_clipboard(text)
    screen.notify("Copied.", timeout=COPIED_SECONDS)


def copy_commands(screen: DraftingScreen) -> Iterable[SystemCommand]:
    """What there is to be copied."""
    conversation, draft = "\n".join(screen.messages), screen.draft.text
    if conversation:
        yield SystemCommand(
            "Copy conversation", "All that was sent, to the clipboard", lambda: copy(screen, conversation)
        )
    if draft:
        yield SystemCommand(
            "Copy draft", "What is being written, to the clipboard", lambda: copy(screen, draft)
        )
