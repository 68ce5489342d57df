"""What has been sent, newest at the bottom.

In: the messages of the conversation. Out: bubbles on the right, as in any chat. Next stop:
`fedkey.ui.draft`.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.reactive import reactive
from textual.widgets import Static


class Bubble(Horizontal):
    """One message."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message

    def compose(self) -> ComposeResult:
        """The text as it was written; square brackets in it are no markup."""
        yield Static(self._message, markup=False)


class Conversation(VerticalScroll, can_focus=False):
    """The messages sent so far; before the first, a line about where they go."""

    messages: reactive[tuple[str, ...]] = reactive(())

    def compose(self) -> ComposeResult:
        """The line that the first message replaces."""
        yield Static("Write something.\nNothing you type leaves this machine.", id="welcome")

    def on_mount(self) -> None:
        """Keeps the newest message in view."""
        self.anchor()

    def watch_messages(self, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        """Adds what is new, or begins again."""
        # No coroutine itself: if the app ended before it began, Python would warn of it.
        self.call_next(self._show, old, new)

    async def _show(self, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        if new[: len(old)] != old:
            await self.query(Bubble).remove()
            old = ()
        await self.mount_all(Bubble(message) for message in new[len(old) :])
        self.query_one("#welcome").display = not new
