"""The privacy screen: all that the keyboard has learned, all that left the machine, and what proves it.

In: wishes of the owner, as keys and clicks. Out: the same wishes for the engine's thread, and what became of
them on screen. Next stop: `fedkey.sockets`.

Nothing here touches the memory itself. The engine may be called from any thread, but a call waits for a
suggestion that is being made, up to 20 ms, and for another process that writes, up to two seconds; and what
was finished before the screen was opened must be remembered before it is listed. So wishes go the way of
finished words: through the engine's queue, in their turn. Only the word that is shown in detail may be
overtaken: of several that the cursor passes, the last matters.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date
from enum import Enum
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, Static

from fedkey import privacy_lines as lines
from fedkey.errors import UserError
from fedkey.personal import LearnedWord
from fedkey.personal_lines import Contents
from fedkey.settings import named_path
from fedkey.sockets import open_sockets
from fedkey.ui.acts import ACTS, acts_line
from fedkey.ui.line_list import LineList
from fedkey.ui.messages import Granted, Wished
from fedkey.wishes import (
    BringBack,
    EraseAll,
    Export,
    Forget,
    Import,
    Look,
    LookUp,
    Memory,
    Outcome,
    Respell,
    Wish,
    usual_export,
)

LOOK_SECONDS = 2.0
"""Between two looks at the open sockets, while they are on screen; one takes 1 ms."""


class Page(Enum):
    """What the screen shows, and how its title begins."""

    WORDS = "Words"
    LEFT = "What left"
    PROOF = "Proof"


PAGES = tuple(Page)


class Ask(Enum):
    """What the line at the top is for."""

    SEARCH = "Search"
    RESPELL = "Spell it"
    EXPORT = "Write to"
    REPLACE = "There is such a file; replace it? y/n"
    IMPORT = "Read from"
    ERASE = "Erase everything, for good? y/n"


ANSWERED_BY_KEY = (Ask.REPLACE, Ask.ERASE)
"""What a single key answers; all others end with Enter."""


class PrivacyScreen(ModalScreen[None]):
    """Over the keyboard; typing searches the words."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", show=False),
        Binding("f8", "dismiss", show=False),
        Binding("tab", "turn(1)", show=False, priority=True),
        Binding("shift+tab", "turn(-1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "move_page(-1)", show=False),
        Binding("pagedown", "move_page(1)", show=False),
        Binding("delete", "forget", show=False, priority=True),
        Binding("ctrl+z", "bring_back", show=False, priority=True),
        Binding("ctrl+s", "export", show=False, priority=True),
        Binding("ctrl+b", "import", show=False, priority=True),
        Binding("ctrl+d", "erase_all", show=False, priority=True),
        Binding("ctrl+r", "app.toggle_private", show=False),
    ]

    page: reactive[Page] = reactive(Page.WORDS)
    ask: reactive[Ask] = reactive(Ask.SEARCH)

    is_private: reactive[bool] = reactive(False)
    """Whether nothing that is typed on the keyboard is remembered just now."""

    def __init__(self, tell: Callable[[Wished], None], folder: Path | None = None) -> None:
        """Shows nothing yet.

        Args:
            tell: has wishes granted; their outcomes come back as messages.
            folder: where exports go unless another place is named; the owner's home if it is None.
        """
        super().__init__()
        self._tell = tell
        self._folder = folder
        self._memory: Memory | None = None
        self._found: list[LearnedWord] = []
        # Forgotten words, the last behind, for as long as the screen is open and no longer.
        self._forgotten: list[Contents] = []
        self._search = ""
        self._respelt: LearnedWord | None = None
        self._export: Path | None = None
        self._shown: tuple[LearnedWord, Contents | None] | None = None
        self._is_looking_up = False
        self._timer: Timer | None = None
        self._box = Vertical(id="privacy")
        self._tabs = [Static(classes="tab", id=f"tab-{page.name.lower()}") for page in PAGES]
        self._label = Static(id="ask")
        self._input = Input(id="answer", compact=True, select_on_focus=False)
        self._input.cursor_blink = False
        self._words = LineList(id="words")
        self._departures = LineList(id="departures")
        self._proof = Static(id="proof")
        self._said = Static(id="said")
        self._acts = Static(id="acts")

    def compose(self) -> ComposeResult:
        """From the top: pages, search, list, what is to be said, keys."""
        with self._box:
            with Horizontal(id="tabs"):
                yield from self._tabs
            with Horizontal(id="question"):
                yield self._label
                yield self._input
            yield self._words
            yield self._departures
            yield self._proof
            yield self._said
            yield self._acts

    def on_mount(self) -> None:
        """Asks what is remembered."""
        self._box.border_subtitle = "Tab: more · Esc closes"
        self._input.focus()
        self._say("Reading …")
        self._wish(Look())

    def on_resize(self) -> None:
        """Breaks the line of keys anew."""
        self.call_after_refresh(lambda: self._acts.update(acts_line(self._box.content_region.width)))

    # ------------------------------------------------------------------------------ wishes and outcomes

    def _wish(self, wish: Wish) -> None:
        self._tell(Wished(wish, self.post_message))

    def on_granted(self, message: Granted) -> None:
        """Shows what became of a wish."""
        outcome = message.outcome
        if isinstance(outcome.wish, LookUp):
            self._show_details(outcome)
            return
        if isinstance(outcome.wish, Forget) and outcome.remembered is not None:
            self._forgotten.append(outcome.remembered)
        if isinstance(outcome.wish, BringBack) and not outcome.is_granted:
            self._forgotten.append(outcome.wish.remembered)
        if isinstance(outcome.wish, EraseAll) and outcome.is_granted:
            self._forgotten.clear()
        if outcome.memory is not None:
            self._memory = outcome.memory
            self._show_words()
            self._show_departures()
        if outcome.sentence:
            self._say(outcome.sentence, is_wrong=not outcome.is_granted)
        else:
            self._tell_of_page()
        if isinstance(outcome.wish, Export) and outcome.may_replace:
            self._export = outcome.wish.path
            self.ask = Ask.REPLACE

    def _say(self, sentence: str, *, is_wrong: bool = False) -> None:
        self._said.update(Content(sentence))
        self._said.set_class(is_wrong, "-wrong")

    # ------------------------------------------------------------------------------------------- words

    def _show_words(self) -> None:
        words = () if self._memory is None else self._memory.words
        self._found = lines.found(words, self._search)
        today = date.today()
        self._words.show(
            len(self._found),
            lambda index, width: lines.word_line(self._found[index], width, today),
            self._words.cursor or 0,
        )
        self._tabs[0].update(f"{Page.WORDS.value} {len(words):,}")

    def _chosen(self) -> LearnedWord | None:
        cursor = self._words.cursor
        return None if cursor is None or cursor >= len(self._found) else self._found[cursor]

    def _look_up(self) -> None:
        word = self._chosen()
        if word is None:
            is_empty = self._memory is None or not self._memory.words
            self._say("Nothing has been learned yet." if is_empty else "No word contains these letters.")
            return
        if self._shown is None or self._shown[0] != word:
            self._shown = None
            self._say(lines.details(word, None, date.today()))
            if not self._is_looking_up:
                self._is_looking_up = True
                self._wish(LookUp(word.word))
        else:
            self._say(lines.details(*self._shown, date.today()))

    def _show_details(self, outcome: Outcome) -> None:
        self._is_looking_up = False
        word = self._chosen()
        assert isinstance(outcome.wish, LookUp)
        if word is not None and word.word == outcome.wish.word:
            self._shown = word, outcome.remembered
        self._look_up()

    # ------------------------------------------------------------------------------------ other pages

    def _show_departures(self) -> None:
        departures = () if self._memory is None else self._memory.departures[::-1]
        self._departures.show(
            len(departures), lambda index, width: lines.departure_line(departures[index], width), None
        )

    def _show_proof(self) -> None:
        runtime = sys.modules.get("onnxruntime")
        self._proof.update(
            Content(
                "\n".join(
                    [
                        *lines.sockets_lines(open_sockets()),
                        lines.telemetry_line(None if runtime is None else str(runtime.__version__)),
                        *lines.memory_lines(self._memory),
                    ]
                )
            )
        )

    def watch_page(self, page: Page) -> None:
        """Shows a page and hides the others."""
        for each, tab in zip(PAGES, self._tabs, strict=True):
            self.set_class(each is page, f"-{each.name.lower()}")
            tab.set_class(each is page, "-shown")
            if each is not Page.WORDS or self._memory is None:
                tab.update(each.value)
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if not self.is_mounted:
            return
        self.set_focus(self._input if page is Page.WORDS else None)
        self._tell_of_page()
        # Another process may have sent something meanwhile.
        self._wish(Look())
        if page is Page.PROOF:
            self._timer = self.set_interval(LOOK_SECONDS, self._show_proof)

    def _tell_of_page(self) -> None:
        if self.page is Page.WORDS:
            self._look_up()
        elif self.page is Page.LEFT:
            departures = () if self._memory is None else self._memory.departures
            self._say(lines.departures_summary(departures))
        else:
            self._show_proof()

    def watch_is_private(self, is_private: bool) -> None:
        """Says so in the frame."""
        self._box.border_title = "Privacy · typing privately" if is_private else "Privacy"

    # ---------------------------------------------------------------------------- the line at the top

    def watch_ask(self, ask: Ask) -> None:
        """Names what is asked."""
        self._label.update(f"{ask.value} ")
        self.set_class(ask is not Ask.SEARCH, "-asking")

    def _ask(self, ask: Ask, value: str = "") -> None:
        self.ask = ask
        self._input.value = value
        self._input.cursor_position = len(value)

    def on_input_changed(self, message: Input.Changed) -> None:
        """Searches, or takes the key that answers."""
        value = message.value
        if self.ask is Ask.SEARCH:
            if value != self._search:
                self._search = value
                self._words.cursor = 0 if self._found else None
                self._show_words()
                self._look_up()
        elif self.ask in ANSWERED_BY_KEY and value:
            ask = self.ask
            self._ask(Ask.SEARCH, self._search)
            if not value.lower().startswith("y"):
                self._look_up()
            elif ask is Ask.ERASE:
                self._wish(EraseAll())
            elif self._export is not None:
                self._wish(Export(self._export, replaces=True))

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Does what was asked for."""
        ask, value = self.ask, message.value.strip()
        if ask is Ask.SEARCH:
            self.action_respell()
            return
        if ask in ANSWERED_BY_KEY or not value:
            return
        self._ask(Ask.SEARCH, self._search)
        if ask is Ask.RESPELL and self._respelt is not None:
            self._wish(Respell(self._respelt.word, value))
            return
        try:
            path = named_path(value)
        except UserError as error:
            self._say(str(error), is_wrong=True)
            return
        if ask is Ask.IMPORT:
            self._say(f"Reading {path.name} …")
            self._wish(Import(path))
        else:
            self._wish(Export(path))

    # ----------------------------------------------------------------------------------------- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Words are changed where they are shown, and while nothing is asked."""
        if action in {act.action for act in ACTS}:
            return self.page is Page.WORDS and self.ask is Ask.SEARCH
        return True

    def action_back(self) -> None:
        """Leaves a question unanswered, or the screen."""
        if self.ask is Ask.SEARCH:
            self.dismiss()
            return
        self._ask(Ask.SEARCH, self._search)
        self._look_up()

    def action_turn(self, pages: int) -> None:
        """Shows the next page."""
        if self.ask is Ask.SEARCH:
            self.page = PAGES[(PAGES.index(self.page) + pages) % len(PAGES)]

    def action_move(self, num_lines: int) -> None:
        """Moves through the list."""
        if self.page is Page.LEFT:
            self._departures.move(num_lines)
        elif self.ask is Ask.SEARCH:
            self._words.move(num_lines)
            self._look_up()

    def action_move_page(self, pages: int) -> None:
        """Moves through the list by what is in view."""
        self.action_move(pages * (self._departures if self.page is Page.LEFT else self._words).page)

    def action_forget(self) -> None:
        """Forgets the chosen word at once; it can be brought back until the screen is closed."""
        if (word := self._chosen()) is not None:
            self._wish(Forget(word.word))

    def action_bring_back(self) -> None:
        """Brings back the word that was forgotten last."""
        if self._forgotten:
            self._wish(BringBack(self._forgotten.pop()))

    def action_respell(self) -> None:
        """Asks how the chosen word is spelt."""
        self._respelt = self._chosen()
        if self._respelt is not None:
            self._ask(Ask.RESPELL, self._respelt.word)

    def action_export(self) -> None:
        """Asks where the words shall be written."""
        folder = self._folder or Path.home()
        self._ask(Ask.EXPORT, str(usual_export(folder, date.today().isoformat())))

    def action_import(self) -> None:
        """Asks where words shall be read."""
        self._ask(Ask.IMPORT, f"{self._folder or Path.home()}/")

    def action_erase_all(self) -> None:
        """Asks whether everything shall be erased."""
        self._ask(Ask.ERASE)

    def on_line_chosen(self) -> None:
        """Shows the word that was clicked."""
        self._look_up()

    def on_click(self, event: object) -> None:
        """Turns to the page whose name was clicked."""
        for page, tab in zip(PAGES, self._tabs, strict=True):
            if getattr(event, "widget", None) is tab and self.ask is Ask.SEARCH:
                self.page = page
