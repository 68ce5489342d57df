"""The main screen: turns keys, clicks and answers into drafts and questions.

In: what was pressed, and the engine's answers. Out: questions, and what became of the text, as messages to
the app. Next stop: `fedkey.ui.app`.

Who types fast is ahead of the engine. What is shown therefore keeps the question it answers: an answer is
shown only if nothing was asked since, and stays until the next one, so that the strip is never empty between
two keys. A shown word is taken only for the place in the text for which it was shown, and not if letters
typed since speak against it. A correction is made at once if the answer for all of the word's letters is
shown, and otherwise when it comes, if the word still stands where it stood.
"""

from __future__ import annotations

from collections.abc import Callable
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
from fedkey.draft import Draft, Place
from fedkey.ghost import Ghost, ghost_for
from fedkey.layout import BACKSPACE, ENTER, LETTERS, QWERTY, SHIFT, Layout
from fedkey.releases import InUse
from fedkey.settings import DEFAULTS, Settings
from fedkey.taps import Tap, Thumbs, clumsily
from fedkey.touched import Touched, follow, touches
from fedkey.ui.clipboard import copy
from fedkey.ui.conversation import Conversation
from fedkey.ui.draft import DraftView
from fedkey.ui.drawn_words import DrawnWords
from fedkey.ui.keypad import Keypad
from fedkey.ui.keys import DEFAULT_CLUMSINESS, next_layout
from fedkey.ui.messages import (
    Answered,
    Asked,
    CaretPlaced,
    Corrected,
    Finished,
    KeyTapped,
    Kind,
    LayoutChosen,
    LineDrawn,
    Offer,
    OfferChosen,
    Question,
    Sent,
    TakenBack,
    Typable,
    Written,
)
from fedkey.ui.suggestions import NUM_PLACES, Offers, SuggestionStrip, offered, still_fits, with_others
from fedkey.ui.watched import WatchedScreen

if TYPE_CHECKING:
    import numpy as np

MIN_WIDTH, MIN_HEIGHT = 40, 12
"""Below this the keyboard is not legible, and a sentence stands in its place."""

LOADING = "Loading the model …"

NOTHING: Offers = (None,) * NUM_PLACES

EDITS: dict[str, Callable[[Draft], Draft]] = {
    "backspace": writing.backspace,
    "delete": writing.delete,
    "delete_word": writing.delete_word,
    "clear": writing.clear,
    "left": writing.left,
    "right": writing.right,
    "word_left": writing.word_left,
    "word_right": writing.word_right,
    "home": writing.home,
    "end": writing.end,
    "top": writing.top,
    "bottom": writing.bottom,
}


class Keys(Footer):
    """The footer; `app.tcss` can tell the key that is missed least where there is no room for all."""

    def compose(self) -> ComposeResult:
        """The keys that have a description."""
        for key in super().compose():
            key.set_class(getattr(key, "action", None) == "undo", "-undo")
            yield key


class TypingScreen(WatchedScreen):
    """Conversation, draft, suggestions and keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
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
        Binding("escape", "dismiss_suggestions", show=False),
        Binding("backspace,ctrl+h", "edit('backspace')", show=False),
        Binding("delete", "edit('delete')", show=False),
        Binding("ctrl+w,alt+backspace,ctrl+backspace", "edit('delete_word')", show=False),
        Binding("ctrl+u", "edit('clear')", show=False),
        Binding("left", "edit('left')", show=False),
        Binding("right", "edit('right')", show=False),
        Binding("ctrl+left,alt+left", "edit('word_left')", show=False),
        Binding("ctrl+right,alt+right", "edit('word_right')", show=False),
        Binding("up", "move_lines(-1)", show=False),
        Binding("down", "move_lines(1)", show=False),
        Binding("home,ctrl+a", "edit('home')", show=False),
        Binding("end,ctrl+e", "edit('end')", show=False),
        Binding("ctrl+home", "edit('top')", show=False),
        Binding("ctrl+end", "edit('bottom')", show=False),
        Binding("ctrl+j,alt+enter,shift+enter", "break_line", show=False),
        Binding("ctrl+o", "pick_emoji", show=False),
        Binding("ctrl+v", "paste_copied", show=False),
        Binding("pageup", "scroll_back(-1)", show=False),
        Binding("pagedown", "scroll_back(1)", show=False),
        Binding("ctrl+l", "next_layout", show=False),
        Binding("ctrl+t", "toggle_clumsiness", show=False),
    ]

    # No `reactive`s: that one changes would draw the whole screen anew.
    draft: var[Draft] = var(Draft())
    messages: var[tuple[str, ...]] = var(())
    is_ready: var[bool] = var(False)
    """Whether the engine answers yet."""
    is_private: var[bool] = var(False)
    """Whether nothing is remembered, and nothing that was remembered shows."""
    has_private_part: var[bool] = var(False)
    """Whether anything of the draft was typed privately; none of it is remembered then, until it is sent."""
    keeps_words: var[bool] = var(True)
    """Whether what is remembered outlives the keyboard, if it should."""
    settings: var[Settings] = var(DEFAULTS, init=False)
    key_layout: var[Layout] = var(QWERTY, init=False)
    """The keys on screen, by which the engine weighs touches."""
    clumsiness: var[float | None] = var[float | None](None)
    """How far the thumbs scatter that press the keys in the writer's place, in key widths; None while there
    are none."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.set_reactive(TypingScreen.key_layout, layout)
        self.usual_clumsiness = DEFAULT_CLUMSINESS
        self._touched = Touched()
        self.drawn_words = DrawnWords(self)
        self._revision = 0
        # What is put in place of letters is numbered, so that the engine knows what is taken back.
        self._swaps = 0
        self._last_swap = 0
        self._ghost: Ghost | None = None
        self._picked_emoji: tuple[str, ...] = ()
        # Words whose correction may still come, by the number it would have.
        self._finished: dict[int, Place] = {}
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
        asked = shown.question
        self._ghost = ghost_for(shown.suggestions, asked.context, asked.typed, self._ghost)
        self._show_ghost()
        self._latency.update(f"{shown.suggestions.latency_ms:.0f} ms", layout=False)
        may_correct = self.settings.autocorrect and self.draft.correctable is not None
        offers = offered(
            shown.suggestions,
            shown.question.typed,
            may_correct=may_correct,
            with_emoji=self.settings.emoji,
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

    @property
    def is_unremembered(self) -> bool:
        """Whether nothing of this draft may be written down."""
        return self.is_private or self.has_private_part

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

    # ------------------------------------------------------------------------- suggestions come and go

    def show_answer(self, answer: Answered) -> None:
        """Shows an answer, unless something was asked since or the writer wants to see none."""
        if answer.question.revision == self._revision:
            self.shown = answer
            self._note_drawing()

    def action_dismiss_suggestions(self) -> None:
        """Hides the suggestions, and those on their way, until the text changes. Nothing unseen is put in:
        the letters stand as they are."""
        self._revision += 1
        self.shown = None
        self.draft = writing.keep(self.draft)

    def _ask(self) -> None:
        self._revision += 1
        self._pulse.asked()
        question = Question(
            self._revision,
            self._context_here,
            self.draft.word,
            self.is_private,
            touches(self._touched, self.key_layout),
            is_explained=self.shows_glass_box,
        )
        self.post_message(Asked(question))

    @property
    def _context_here(self) -> str:
        return writing.context(self.messages, self.draft)

    def _shown_for_here(self) -> Answered | None:
        """What is shown, unless the text before the word at the caret is not the one it was shown for."""
        shown = self.shown
        return shown if shown is not None and shown.question.context == self._context_here else None

    @property
    def is_answered(self) -> bool:
        """Whether what is shown is for the text as it stands."""
        return self.shown is not None and self.shown.question.revision == self._revision

    @property
    def offers_in_view(self) -> Offers:
        """What can be seen and taken."""
        return self._strip.in_view

    # ------------------------------------------------------------------------------ the text changes

    def press(self, character: str, tap: Tap | None = None) -> None:
        """Types at the caret, perhaps by a tap. Whatever cannot continue a word finishes the one before it,
        and may bring its correction."""
        old, new = self.draft, writing.insert(self.draft, character)
        place = old.correctable
        is_correctable = self.settings.autocorrect and writing.brings_correction(character)
        if new.typed or place is None or not is_correctable:
            self.write(character, tap)
            return
        answer = self._shown_for_here()
        self._swaps += 1
        if answer is None or answer.question.typed != place.letters:
            letters, taps = place.letters, touches(self._touched, self.key_layout)
            finished = Finished(self._context_here, letters, self.is_unremembered, self._swaps, taps)
            self.post_message(finished)
            self._put(new)
            self._finished[self._swaps] = place
            return
        word = answer.suggestions.autocorrect
        corrected = new if word is None else writing.correct(new, place, word)
        if word is None or corrected == new:
            self._tell(place.letters, place.letters)
        else:
            self._tell(place.letters, word, swap=self._swaps)
        self._put(corrected)

    def write(self, characters: str, tap: Tap | None = None) -> None:
        """Puts in characters as they are, the last perhaps by a tap; nothing is corrected."""
        self._write(writing.insert(self.draft, characters), tap)

    def _write(self, draft: Draft, tap: Tap | None = None) -> None:
        if not draft.typed and (word := self.draft.finished_word) is not None:
            self._tell(word, word)
        self._put(draft, tap)

    def action_break_line(self) -> None:
        """Begins a new line, which finishes a word as a space does."""
        self.press("\n")

    def show_correction(self, message: Corrected) -> None:
        """Makes a correction that came late, where that is still what the writer would expect."""
        finished = message.finished
        place = self._finished.pop(finished.swap, None)
        corrected = self.draft if place is None else writing.correct(self.draft, place, message.word)
        is_made = corrected != self.draft
        word, swap = (message.word, finished.swap) if is_made else (finished.typed, None)
        self.post_message(Written(finished.context, finished.typed, word, finished.is_private, swap))
        if is_made:
            self._last_swap = finished.swap
            self._put(corrected)

    def action_undo(self) -> None:
        """Takes back the last correction, or what was taken last."""
        self._take_back(writing.undo(self.draft))

    def action_edit(self, name: str) -> None:
        """Deletes or moves; the names are those of `EDITS`."""
        if name == "right" and self.draft.caret == len(self.draft.text) and self._take_ghost():
            return
        draft = EDITS[name](self.draft)
        if name == "backspace" and self.draft.is_just_corrected:
            self._take_back(draft)
        else:
            self._put(draft)

    def _take_back(self, draft: Draft) -> None:
        if draft != self.draft:
            self.post_message(TakenBack(self._last_swap))
            self._put(draft)

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

    def _take(self, offer: Offer | None) -> None:
        shown, typed = self._shown_for_here(), self.draft.word
        if offer is None or shown is None or not still_fits(offer, shown.question.typed, typed):
            return
        if offer.kind is Kind.INSTEAD:
            self.drawn_words.put_instead(offer.text)
            return
        # What was typed since the letters were shown belongs to them.
        text = typed if offer.kind is Kind.LITERAL else offer.text
        if not text:
            return
        if offer.kind is Kind.EMOJI:
            self._note_emoji(text)
        self._swaps += 1
        self._last_swap = self._swaps
        context, letters = self._context_here, typed
        for word in text.split(" ") if offer.kind is Kind.PHRASE else [text]:
            self.post_message(Written(context, letters, word, self.is_unremembered, self._swaps))
            context, letters = f"{context}{word} ", ""
        kept = writing.keep(self.draft) if offer.kind is Kind.LITERAL else self.draft
        self._put(writing.accept(kept, text))

    def put_drawn(self, word: str) -> None:
        """Puts in a word that was drawn."""
        self._swaps += 1
        self._tell(self.draft.word, word, swap=self._swaps)
        self._put(writing.draw(self.draft, word))

    def action_send(self) -> None:
        """Moves the draft to the conversation, as it stands: the writer would not see a correction."""
        messages, draft = writing.send(self.messages, self.draft)
        if messages == self.messages:
            return
        if (word := self.draft.finished_word) is not None:
            self._tell(word, word)
        self.messages = messages
        self.post_message(Sent(messages[-1], self.is_unremembered))
        self._put(draft)

    def clear_conversation(self) -> None:
        """Forgets what was sent; the draft stays."""
        self.messages = ()
        self._ask()

    def _put(self, draft: Draft, tap: Tap | None = None) -> None:
        followed = (
            (swap, writing.follow(self.draft, draft, place)) for swap, place in self._finished.items()
        )
        self._finished = {swap: place for swap, place in followed if place is not None}
        self._touched = follow(self._touched, draft, tap)
        is_typed_privately = self.is_private and draft.text != self.draft.text
        self.has_private_part = draft.text != "" and (self.has_private_part or is_typed_privately)
        self.draft = draft
        self._ask()

    def _tell(self, typed: str, word: str, swap: int | None = None) -> None:
        self.post_message(Written(self._context_here, typed, word, self.is_unremembered, swap))
        if swap is not None:
            self._last_swap = swap

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

    def on_paste(self, event: events.Paste) -> None:
        """Puts in what was pasted."""
        event.stop()
        self._write(writing.paste(self.draft, event.text))

    def action_paste_copied(self) -> None:
        """Puts in what was copied here, for terminals that leave Ctrl+V to the keyboard."""
        self._write(writing.paste(self.draft, self.app.clipboard))

    def action_copy_text(self) -> None:
        """Copies what is selected in the conversation, otherwise the draft."""
        text = self.get_selected_text() or self.draft.text
        if text:
            copy(self, text)
        else:
            self.app.action_help_quit()

    def _note_emoji(self, emoji: str) -> None:
        """It will come first on the page, until the keyboard is closed."""
        if not self.is_private:
            self._picked_emoji = tuple(dict.fromkeys((emoji, *self._picked_emoji)))

    def action_pick_emoji(self) -> None:
        """Opens the page on which an emoji is looked for."""
        # Its widgets are not imported before the first paint.
        from fedkey.ui.emoji_picker import EmojiPicker

        self.app.push_screen(EmojiPicker(self._picked_emoji), self._put_emoji)

    def _put_emoji(self, emoji: str | None) -> None:
        if emoji is None:
            return
        self._note_emoji(emoji)
        if (word := self.draft.finished_word) is not None:
            self._tell(word, word)
        # The engine does not learn emoji, and knows of nothing by this number when it is taken back.
        self._swaps += 1
        self._last_swap = self._swaps
        self._put(writing.put_emoji(self.draft, emoji))

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
        """Moves the caret to the click."""
        self._put(writing.place(self.draft, message.caret))

    def action_move_lines(self, lines: int) -> None:
        """Moves the caret up or down in the draft."""
        self._put(self._view.moved(lines))

    def action_scroll_back(self, pages: int) -> None:
        """Looks at earlier or later messages."""
        if pages < 0:
            self._conversation.scroll_page_up()
        else:
            self._conversation.scroll_page_down()
