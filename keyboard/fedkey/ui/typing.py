"""The main screen: shows what is written and suggested, and turns keys, taps and clicks into what is written.

In: what was pressed, and the engine's answers. Out: a screen, and the messages of `fedkey.ui.drafting`, which
says what a character, a word that was taken or an answer does to the text. Next stop: `fedkey.ui.app`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.reactive import var
from textual.widgets import Footer, Static

from fedkey import draft as writing
from fedkey.draft import Draft
from fedkey.ghost import Ghost, ghost_for
from fedkey.layout import BACKSPACE, ENTER, LETTERS, SHIFT, Layout
from fedkey.releases import InUse
from fedkey.taps import Thumbs, clumsily
from fedkey.ui.conversation import Conversation
from fedkey.ui.draft import DraftView
from fedkey.ui.drafting import DraftingScreen
from fedkey.ui.keypad import Keypad
from fedkey.ui.keys import DEFAULT_CLUMSINESS, next_layout
from fedkey.ui.messages import (
    Answered,
    CaretPlaced,
    KeyTapped,
    Kind,
    LayoutChosen,
    LineDrawn,
    Offer,
    OfferChosen,
    Typable,
)
from fedkey.ui.suggestions import NUM_PLACES, Offers, SuggestionStrip, offered, with_others

if TYPE_CHECKING:
    import numpy as np

MIN_WIDTH, MIN_HEIGHT = 40, 12
"""Below this the keyboard is not legible, and a sentence stands in its place."""

LOADING = "Loading the model …"

NOTHING: Offers = (None,) * NUM_PLACES


class Keys(Footer):
    """The footer; `app.tcss` can tell the key that is missed least where there is no room for all."""

    def compose(self) -> ComposeResult:
        """The keys that have a description."""
        for key in super().compose():
            key.set_class(getattr(key, "action", None) == "undo", "-undo")
            yield key


class TypingScreen(DraftingScreen):
    """Conversation, draft, suggestions and keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # In the footer, in this order.
        Binding("tab", "complete", "Take", key_display="Tab"),
        Binding("enter", "send", "Send", key_display="Enter"),
        Binding("ctrl+z", "undo", "Undo", key_display="^Z"),
        Binding("f1", "app.help", "Help", key_display="F1"),
        Binding("f10", "app.settings", show=False),
        Binding("ctrl+r", "app.toggle_private", show=False),
        Binding("f8", "app.privacy", show=False),
        Binding("alt+1,f2", "take(0)", show=False),
        Binding("alt+2,f3", "take(1)", show=False),
        Binding("alt+3,f4", "take(2)", show=False),
        Binding("alt+4,f5", "take(3)", show=False),
        Binding("alt+5,f6", "take(4)", show=False),
        Binding("alt+6,f7", "take(5)", show=False),
        Binding("up", "move_lines(-1)", show=False),
        Binding("down", "move_lines(1)", show=False),
        Binding("pageup", "scroll_back(-1)", show=False),
        Binding("pagedown", "scroll_back(1)", show=False),
        Binding("ctrl+l", "next_layout", show=False),
        Binding("ctrl+t", "toggle_clumsiness", show=False),
    ]

    # No `reactive`s: that one changes would draw the whole screen anew.
    is_ready: var[bool] = var(False)
    """Whether the engine answers yet."""
    keeps_words: var[bool] = var(True)
    """Whether what is remembered outlives the keyboard, if it should."""
    clumsiness: var[float | None] = var[float | None](None)
    """How far the thumbs scatter that press the keys in the writer's place, in key widths; None while there
    are none."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.usual_clumsiness = DEFAULT_CLUMSINESS
        self._ghost: Ghost | None = None
        # Held, not looked up: the engine's thread may answer while the screen is being built or taken down.
        self._title = Static("fedkey", id="name")
        self._release = Static(id="release")
        self._latency = Static(id="latency")
        self._conversation = Conversation()
        self._view = DraftView()
        self._strip = SuggestionStrip()
        self._keypad = Keypad(layout)
        self._too_small = Static(id="too-small")

    @cached_property
    def rng(self) -> np.random.Generator:
        """What draws where clumsy thumbs land; may be set."""
        import numpy as np  # nothing else before the first paint needs it

        return np.random.default_rng()

    def compose(self) -> ComposeResult:
        """From the top: title, conversation, draft, suggestions, keys, footer."""
        with Vertical(id="desk"):
            with Horizontal(id="title"):
                yield self._title
                yield self._release
                yield self._latency
            yield self._conversation
            yield self._view
            yield self._strip
            yield self._keypad
            yield Keys(show_command_palette=False)
        yield self._too_small

    def on_mount(self) -> None:
        """Asks for the first words of the first message, once there is a screen to show them."""
        self.post_message(LayoutChosen(self.key_layout))
        self._ask()
        self.call_after_refresh(self.post_message, Typable())

    # ---------------------------------------------------------------------------------- what is shown

    def watch_draft(self, old: Draft, draft: Draft) -> None:
        """Shows the draft."""
        self._pulse.changed(old, draft, len(self.messages))
        self._view.draft = draft
        self._show_ghost()

    def watch_messages(self, messages: tuple[str, ...]) -> None:
        """Shows the conversation."""
        self._conversation.messages = messages

    def watch_is_ready(self, is_ready: bool) -> None:
        """Says so while there is no engine yet."""
        self._strip.note = "" if is_ready else LOADING

    def watch_shown(self, shown: Answered | None) -> None:
        """Shows the words and how long they took."""
        if shown is None:
            self._strip.offers = NOTHING
            self._ghost = None
            self._show_ghost()
            return
        asked, before = shown.question, self._ghost
        self._ghost = None
        if not asked.is_replacing:
            self._ghost = ghost_for(shown.suggestions, asked.context, asked.typed, before)
        self._show_ghost()
        self._latency.update(f"{shown.suggestions.latency_ms:.0f} ms", layout=False)
        may_correct = self.settings.autocorrect and self.draft.correctable is not None
        offers = offered(
            shown.suggestions,
            asked.typed,
            may_correct=may_correct,
            with_emoji=self.settings.emoji,
            is_replacing=asked.is_replacing,
        )
        self._strip.offers = with_others(offers, self.drawn_words.others)

    def watch_settings(self) -> None:
        """Shows the same answer as it is wanted now."""
        self.watch_shown(self.shown)

    def _show_ghost(self) -> None:
        is_wanted = self.settings.ghost_text and self.draft.may_be_completed
        ghost = self._ghost if is_wanted else None
        self._view.ghost = "" if ghost is None else ghost.rest(self._context_here, self.draft.typed)

    def watch_is_private(self, is_private: bool) -> None:
        """Says so, and asks again: what is remembered comes or goes."""
        self._show_what_is_kept()
        self._view.placeholder = "Private message" if is_private else "Message"
        self._explained = None
        if self.is_mounted:
            self.shown = None
            self._ask()

    def watch_has_private_part(self) -> None:
        """Says so."""
        self._show_what_is_kept()

    def watch_keeps_words(self) -> None:
        """Says so."""
        self._show_what_is_kept()

    def _show_what_is_kept(self) -> None:
        state = "private" if self.is_private else "private until sent" if self.has_private_part else ""
        state = state or ("" if self.keeps_words else "no memory")
        self._title.update(f"fedkey · {state}" if state else "fedkey")
        self.set_class(state != "", "-stated")

    def watch_release(self, release: InUse | None) -> None:
        """Names it, beside the title."""
        held = ", held" if release is not None and release.is_held else ""
        self._release.update("" if release is None else f"release {release.version}{held}")

    def watch_key_layout(self, layout: Layout) -> None:
        """Draws other keys, and asks again: other keys are neighbours now."""
        self._keypad.keys = layout
        if self.is_mounted:
            self.post_message(LayoutChosen(layout))
            self._ask()

    def watch_clumsiness(self, clumsiness: float | None) -> None:
        """Says so on the space bar, which is seen at every size."""
        self._keypad.space_label = "space" if clumsiness is None else "clumsy"

    def on_resize(self, event: events.Resize) -> None:
        """Says what is missing where the keyboard has no room."""
        self.call_after_refresh(self._show_glimpse)  # perhaps elsewhere now
        width, height = event.size
        self._too_small.update(
            f"fedkey needs {MIN_WIDTH} × {MIN_HEIGHT} characters; this terminal has {width} × {height}."
        )

    # --------------------------------------------------------------------------- suggestions are taken

    @property
    def offers_in_view(self) -> Offers:
        """What can be seen and taken."""
        return self._strip.in_view

    def action_complete(self) -> None:
        """Takes the word whose rest stands behind the caret, otherwise the first on the strip."""
        if not self._take_ghost():
            self.action_take(0)

    def _take_ghost(self) -> bool:
        if not self._view.ghost_in_view or self._ghost is None:
            return False
        self._take(Offer(Kind.WORD, self._ghost.word))
        return True

    def action_take(self, rank: int) -> None:
        """Takes what is shown in a place for this place in the text, the best word being 0."""
        self._take(self._strip.in_view[rank])

    def on_offer_chosen(self, message: OfferChosen) -> None:
        """Takes what was clicked."""
        self._pulse.pressed(message.time)
        if message.offer in self._strip.in_view:
            self._take(message.offer)

    # ------------------------------------------------------------------------------- keys and mouse

    async def on_key(self, event: events.Key) -> None:
        """Lights the key on screen, and types what can be typed or does what the key is bound to.

        Left to the app, what is bound would be done when letters that came after it, in the same bundle over
        a slow line, had been typed already.
        """
        self._pulse.pressed(event.time)
        if event.key in (BACKSPACE, ENTER):
            self._keypad.light(event.key)
        if event.is_printable and event.character is not None and not event.key.startswith("alt+"):
            event.stop()
            self._press_key(event.character)
            return
        bound = self.active_bindings.get(event.key)
        if bound is not None and bound.node is self:
            event.stop()
            await self.run_action(bound.binding.action)

    def _press_key(self, character: str) -> None:
        """Types what a key of the writer's own keyboard says, or what clumsy thumbs make of it."""
        keypad, tap = self._keypad, None
        if self.clumsiness is not None:
            page, thumbs = self.key_layout.pages[LETTERS], Thumbs(self.clumsiness, self.clumsiness)
            character, tap = clumsily(page, character, thumbs, self.rng)
            if tap is not None and keypad.page == LETTERS:
                keypad.mark(tap)
        key = keypad.drawn.key_for(character)
        if key is not None:
            keypad.light(key.name)
            if character == key.shifted != key.typed:
                keypad.light(SHIFT)
        self.press(character, tap)

    def action_edit(self, name: str) -> None:
        """Deletes or moves; at the end of the text, the key that moves right takes the word whose rest stands
        behind the caret."""
        if name == "right" and self.draft.caret == len(self.draft.text) and self._take_ghost():
            return
        super().action_edit(name)

    def on_key_tapped(self, message: KeyTapped) -> None:
        """Does what the key says."""
        self._pulse.pressed(message.time)
        key, tap, keypad = message.key, message.tap, self._keypad
        keypad.light(key.name)
        if self.clumsiness is not None:
            keypad.mark(tap)
        character = keypad.shift.typed_by(key)
        keypad.tapped(key)
        if key.name == BACKSPACE:
            self.action_edit("backspace")
        elif key.name == ENTER:
            self.action_send()
        elif character:
            self.press(character, replace(tap, is_shifted=character != key.typed))

    def action_next_layout(self) -> None:
        """Draws the keys of the next layout."""
        self.key_layout = next_layout(self.key_layout)

    def action_toggle_clumsiness(self) -> None:
        """Lets clumsy thumbs press the keys, or the writer again."""
        self.clumsiness = self.usual_clumsiness if self.clumsiness is None else None

    def on_line_drawn(self, message: LineDrawn) -> None:
        """Has it read as a word."""
        self._pulse.pressed(message.time)
        self._keypad.shift = self._keypad.shift.after_character()
        self.drawn_words.draw(message)

    def on_caret_placed(self, message: CaretPlaced) -> None:
        """Moves the caret to the click; others are offered in place of a word that was clicked."""
        self._put(writing.point(self.draft, message.caret))

    def action_move_lines(self, lines: int) -> None:
        """Moves the caret up or down in the draft."""
        self._put(self._view.moved(lines))

    def action_scroll_back(self, pages: int) -> None:
        """Looks at earlier or later messages."""
        if pages < 0:
            self._conversation.scroll_page_up()
        else:
            self._conversation.scroll_page_down()
