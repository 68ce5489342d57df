"""A screen whose engine can be watched at work.

In: keys as they are pressed, answers as they are drawn, and what lies behind them. Out: the statistics of the
session, and the glass box while it is wanted. Next stop: `fedkey.ui.drafting`, which is such a screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual._time import get_time
from textual.binding import Binding, BindingType
from textual.reactive import var
from textual.screen import Screen
from textual.timer import Timer

from fedkey.releases import InUse
from fedkey.ui.messages import Answered, Explained
from fedkey.ui.pulse import Pulse

if TYPE_CHECKING:
    from fedkey.ui.glass_box import GlassBox

GLIMPSE_SECONDS = 0.05
"""To watch must not slow down what is watched: the glass box is drawn so long after an answer, and less often
than there are answers if need be. Drawn with each, half of the answers came after 29 ms instead of 25
(80 × 24, shipped bundle, 2026-11-27; 23 while it is hidden)."""


class WatchedScreen(Screen[None]):
    """Notes when keys are pressed and seen, and shows it on request; whoever inherits asks the engine."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("f9", "toggle_glass_box", show=False)]

    shown: var[Answered | None] = var(None)
    """The answer on the strip; None while it is empty."""
    release: var[InUse | None] = var(None)
    """What is typed with, if its registry is followed."""
    shows_glass_box: var[bool] = var(False)
    """Whether the engine can be watched at work."""

    def __init__(self) -> None:
        super().__init__()
        self._pulse = Pulse()
        # Beside the keys, and in the conversation's place where there is no room; made when first wanted.
        self._glass_boxes: tuple[GlassBox, ...] = ()
        self._explained: Explained | None = None
        self._glimpse_timer: Timer | None = None

    def _ask(self) -> None:
        """Asks the engine about the text as it stands, and why if the glass box is shown."""
        raise NotImplementedError

    def action_toggle_glass_box(self) -> None:
        """Lets the engine be seen at work, or not."""
        self.shows_glass_box = not self.shows_glass_box

    def watch_shows_glass_box(self, is_shown: bool) -> None:
        """Makes room for it, and asks again: what is on screen was not explained."""
        self.set_class(is_shown, "-glass")
        if is_shown:
            self.call_after_refresh(self._open_glass_box)

    async def _open_glass_box(self) -> None:
        if not self._glass_boxes:
            from fedkey.ui.glass_box import GlassBox

            beside, instead = GlassBox(id="glass-beside"), GlassBox(id="glass-instead")
            self._glass_boxes = beside, instead
            await self.mount(beside)
            await self.query_one("#desk").mount(instead, after="Conversation")
        self._ask()

    def _note_drawing(self) -> None:
        """An answer is about to be drawn: if a key waits for it, notes when it is on screen."""
        pressed_at = self._pulse.answering()
        if pressed_at is not None:
            self.call_after_refresh(self._note_seen, pressed_at)

    def _note_seen(self, pressed_at: float) -> None:
        self._pulse.seen(pressed_at, get_time())
        self._show_glimpse()

    def show_explanation(self, message: Explained) -> None:
        """Shows what lies behind an answer."""
        self._explained = message
        self._show_glimpse()

    def _show_glimpse(self) -> None:
        if self.shows_glass_box and self._glimpse_timer is None:
            self._glimpse_timer = self.set_timer(GLIMPSE_SECONDS, self._draw_glimpse)

    def _draw_glimpse(self) -> None:
        from fedkey.ui.glass_box import Glimpse

        self._glimpse_timer = None
        glimpse = Glimpse(self._pulse.session, self.shown, self._explained, self.release)
        for box in self._glass_boxes:
            if box.display:
                box.glimpse = glimpse
