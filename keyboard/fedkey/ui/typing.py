"""The main screen: turns keys, clicks and answers into drafts and questions.

In: what was pressed, and the engine's answers. Out: questions and written words, as messages to the app. Next
stop: `fedkey.ui.app`.

Who types fast is ahead of the engine. What is shown therefore keeps the question it answers: an answer is
shown only if nothing was asked since, and a shown word is taken only for the place in the text for which it
was shown, whatever has been typed of the word by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.reactive import reactive, var
from textual.screen import Screen
from textual.widgets import Footer, Static

from fedkey import draft as writing
from fedkey.draft import Draft
from fedkey.layout import BACKSPACE, ENTER, SHIFT, Layout
from fedkey.ui.conversation import Conversation
from fedkey.ui.draft import DraftView
from fedkey.ui.keypad import Keypad
from fedkey.ui.messages import Answered, Asked, CaretPlaced, KeyTapped, Question, Typable, WordChosen, Written
from fedkey.ui.suggestions import SuggestionStrip

MIN_WIDTH, MIN_HEIGHT = 40, 12
"""Below this the keyboard is not legible, and a sentence stands in its place."""

LOADING = "Loading the model …"

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
}


class TypingScreen(Screen[None]):
    """Conversation, draft, suggestions and keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "take(0)", "Take", key_display="Tab"),
        Binding("enter", "send", "Send", key_display="Enter"),
        Binding("f1", "app.help", "Help", key_display="F1"),
        Binding("alt+1,f2", "take(0)", show=False),
        Binding("alt+2,f3", "take(1)", show=False),
        Binding("alt+3,f4", "take(2)", show=False),
        Binding("escape", "dismiss_suggestions", show=False),
        Binding("backspace,ctrl+h", "edit('backspace')", show=False),
        Binding("delete", "edit('delete')", show=False),
        Binding("ctrl+w,alt+backspace,ctrl+backspace", "edit('delete_word')", show=False),
        Binding("ctrl+u", "edit('clear')", show=False),
        Binding("left", "edit('left')", show=False),
        Binding("right", "edit('right')", show=False),
        Binding("ctrl+left,alt+left", "edit('word_left')", show=False),
        Binding("ctrl+right,alt+right", "edit('word_right')", show=False),
        Binding("home,ctrl+a", "edit('home')", show=False),
        Binding("end,ctrl+e", "edit('end')", show=False),
        Binding("pageup", "scroll_back(-1)", show=False),
        Binding("pagedown", "scroll_back(1)", show=False),
    ]

    draft: reactive[Draft] = reactive(Draft())
    messages: reactive[tuple[str, ...]] = reactive(())
    is_ready: reactive[bool] = reactive(False)
    """Whether the engine answers yet."""
    shown: var[Answered | None] = var(None)
    """The answer on the strip; None while it is empty."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._revision = 0
        # Held, not looked up: the engine's thread may answer while the screen is being built or taken down.
        self._latency = Static(id="latency")
        self._conversation = Conversation()
        self._view = DraftView()
        self._strip = SuggestionStrip()
        self._keypad = Keypad(layout)
        self._too_small = Static(id="too-small")

    def compose(self) -> ComposeResult:
        """From the top: title, conversation, draft, suggestions, keys, footer."""
        with Vertical(id="desk"):
            with Horizontal(id="title"):
                yield Static("fedkey", id="name")
                yield self._latency
            yield self._conversation
            yield self._view
            yield self._strip
            yield self._keypad
            yield Footer(show_command_palette=False)
        yield self._too_small

    def on_mount(self) -> None:
        """Asks for the first words of the first message, once there is a screen to show them."""
        self._ask()
        self.call_after_refresh(self.post_message, Typable())

    # ---------------------------------------------------------------------------------- what is shown

    def watch_draft(self, draft: Draft) -> None:
        """Shows the draft."""
        self._view.draft = draft

    def watch_messages(self, messages: tuple[str, ...]) -> None:
        """Shows the conversation."""
        self._conversation.messages = messages

    def watch_is_ready(self, is_ready: bool) -> None:
        """Says so while there is no engine yet."""
        self._strip.note = "" if is_ready else LOADING

    def watch_shown(self, shown: Answered | None) -> None:
        """Shows the words and how long they took."""
        self._strip.words = shown.suggestions.words if shown else ()
        if shown is not None:
            self._latency.update(f"{shown.suggestions.latency_ms:.0f} ms")

    def on_resize(self, event: events.Resize) -> None:
        """Says what is missing where the keyboard has no room."""
        width, height = event.size
        self._too_small.update(
            f"fedkey needs {MIN_WIDTH} × {MIN_HEIGHT} characters; this terminal has {width} × {height}."
        )

    # ------------------------------------------------------------------------- suggestions come and go

    def show_answer(self, answer: Answered) -> None:
        """Shows an answer, unless something was asked since or the writer wants to see none."""
        if answer.question.revision == self._revision:
            self.shown = answer

    def action_dismiss_suggestions(self) -> None:
        """Hides the suggestions, and those on their way, until the text changes."""
        self._revision += 1
        self.shown = None

    def _ask(self) -> None:
        self._revision += 1
        context = writing.context(self.messages, self.draft)
        self.post_message(Asked(Question(self._revision, context, self.draft.typed)))

    # ------------------------------------------------------------------------------ the text changes

    def write(self, characters: str) -> None:
        """Types at the caret. Whatever cannot continue a word finishes the one before it."""
        draft = writing.insert(self.draft, characters)
        if not draft.typed and (word := self.draft.finished_word) is not None:
            self._tell(word, word)
        self._put(draft)

    def action_edit(self, name: str) -> None:
        """Deletes or moves; the names are those of `EDITS`."""
        self._put(EDITS[name](self.draft))

    def action_take(self, rank: int) -> None:
        """Takes one of the words shown for this place in the text, the best being 0."""
        words = self._words_for_here()
        if rank < len(words):
            self._take(words[rank])

    def on_word_chosen(self, message: WordChosen) -> None:
        """Takes the word that was clicked."""
        if message.word in self._words_for_here():
            self._take(message.word)

    def _words_for_here(self) -> tuple[str, ...]:
        """The words on the strip, unless the text before the word at the caret is not the one they were shown
        for."""
        context = writing.context(self.messages, self.draft)
        if self.shown is None or self.shown.question.context != context:
            return ()
        return self.shown.suggestions.words

    def _take(self, word: str) -> None:
        self._tell(self.draft.typed, word)
        self._put(writing.accept(self.draft, word))

    def action_send(self) -> None:
        """Moves the draft to the conversation."""
        messages, draft = writing.send(self.messages, self.draft)
        if messages == self.messages:
            return
        if (word := self.draft.finished_word) is not None:
            self._tell(word, word)
        self.messages = messages
        self._put(draft)

    def clear_conversation(self) -> None:
        """Forgets what was sent; the draft stays."""
        self.messages = ()
        self._ask()

    def _put(self, draft: Draft) -> None:
        self.draft = draft
        self._ask()

    def _tell(self, typed: str, word: str) -> None:
        self.post_message(Written(writing.context(self.messages, self.draft), typed, word))

    # ------------------------------------------------------------------------------- keys and mouse

    def on_key(self, event: events.Key) -> None:
        """Lights the key on screen, and types what can be typed."""
        if event.key in (BACKSPACE, ENTER):
            self._keypad.light(event.key)
        elif event.is_printable and event.character is not None and not event.key.startswith("alt+"):
            event.stop()
            key = self._keypad.keys.key_for(event.character)
            if key is not None:
                self._keypad.light(key.name)
                if event.character == key.shifted != key.typed:
                    self._keypad.light(SHIFT)
            self.write(event.character)

    def on_paste(self, event: events.Paste) -> None:
        """Types what was pasted, on one line."""
        event.stop()
        self.write(event.text)

    def on_key_tapped(self, message: KeyTapped) -> None:
        """Does what the key says."""
        key, keypad = message.key, self._keypad
        keypad.light(key.name)
        if key.name == SHIFT:
            keypad.is_shifted = not keypad.is_shifted
        elif key.name == BACKSPACE:
            self.action_edit("backspace")
        elif key.name == ENTER:
            self.action_send()
        else:
            self.write(key.shifted if keypad.is_shifted else key.typed)
            keypad.is_shifted = False

    def on_caret_placed(self, message: CaretPlaced) -> None:
        """Moves the caret to the click."""
        self._put(writing.place(self.draft, message.caret))

    def action_scroll_back(self, pages: int) -> None:
        """Looks at earlier or later messages."""
        if pages < 0:
            self._conversation.scroll_page_up()
        else:
            self._conversation.scroll_page_down()
