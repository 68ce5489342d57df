"""Taking part in a federation: asks for consent, keeps the diary, runs the phone, and shows where it stands.

In: what is sent and when keys are pressed; the lines of the phone's process. Out: a place in the title line,
the diary, two commands of the palette. Next stop: `fedkey.joined`, which makes sense of the lines.

The phone is a process of its own, which ends when its stdin does: however the keyboard ends, nothing goes on
training.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from fedkey.diary import Diary
from fedkey.errors import UserError
from fedkey.joined import (
    IDLE_SECONDS,
    SMALLEST_CROWD,
    Joined,
    Phase,
    account,
    ended,
    has_consented,
    heard,
    remember_consent,
    summary,
)
from fedkey.ui.messages import Noticed, PhoneEnded, PhoneSpoke, Sent

if TYPE_CHECKING:
    from fedkey.ui.app import KeyboardApp

LOOK_SECONDS = 1.0
"""Between two looks whether anybody types; only while joined."""

GRACE_SECONDS = 4.0
"""In which a phone that was left takes leave of its server; then it is killed."""

PAUSE_SECONDS = 1800.0
"""After which the next message begins another conversation."""

CONDITIONS = (
    "What you send from now on is written to a diary on this machine, without links, numbers, mail "
    "addresses and user names. What you type privately is not. While you do not type, a model is trained on "
    "it here.\n\n"
    "What leaves this machine are changes of that model, and now and then which words you use, alone and two "
    "or three in a row; both masked so that the server can read nothing but sums over {crowd} keyboards or "
    "more (the smallest crowd in F10), and the keys for that. A server that compares many sums may still "
    "learn something of one keyboard, unless noise hides it, whose ε is then shown. Your text never leaves. "
    "Every byte that did is listed.\n\n"
    "You can leave at any time, and erase the diary."
)
WELCOME = "Write something.\nWhat you send is learnt from here; your text never leaves this machine."


class JoinScreen(ModalScreen[str]):
    """What joining means; the result is the address, or "" for no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss('')", "No"),
        Binding("pagedown,down", "scroll(1)", show=False),
        Binding("pageup,up", "scroll(-1)", show=False),
    ]

    def __init__(self, address: str, smallest_crowd: int) -> None:
        super().__init__()
        self._address = address
        self._conditions = CONDITIONS.format(crowd=smallest_crowd)

    def compose(self) -> ComposeResult:
        """The conditions, the address, and two answers."""
        with Vertical(classes="page") as page:
            page.border_title = "Join a federation"
            page.border_subtitle = "Enter joins, Esc does not"
            with VerticalScroll(can_focus=False):
                yield Static(self._conditions)
            yield Input(self._address, placeholder="HOST:PORT", compact=True, select_on_focus=False)
            with Horizontal():
                yield Button("Join", id="yes", variant="primary", compact=True)
                yield Button("No", id="no", compact=True)

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Enter in the address agrees to what stands above it."""
        message.stop()
        if message.value.strip():
            self.dismiss(message.value.strip())

    def on_button_pressed(self, message: Button.Pressed) -> None:
        """One of the answers was clicked."""
        message.stop()
        address = self.query_one(Input).value.strip()
        if message.button.id == "no" or address:
            self.dismiss("" if message.button.id == "no" else address)

    def action_scroll(self, lines: int) -> None:
        """Reads on where the page does not fit."""
        self.query_one(VerticalScroll).scroll_relative(y=3 * lines)


class LeftScreen(ModalScreen[bool]):
    """What stays after leaving; the result is whether the diary is to be erased."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(False)", "Keep")]

    def __init__(self, sentences: str) -> None:
        super().__init__()
        self._sentences = sentences

    def compose(self) -> ComposeResult:
        """What stays, and two answers."""
        with Vertical(classes="page") as page:
            page.border_title = "You have left"
            page.border_subtitle = "Esc keeps"
            with VerticalScroll(can_focus=False):
                yield Static(self._sentences, markup=False)
            with Horizontal():
                yield Button("Keep the diary", id="keep", variant="primary", compact=True)
                yield Button("Erase it", id="erase", compact=True)

    def on_button_pressed(self, message: Button.Pressed) -> None:
        """One of the answers was clicked."""
        message.stop()
        self.dismiss(message.button.id == "erase")


class PhoneProcess:
    """The phone, its lines passed on from a thread of its own.

    Raises:
        UserError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], post: Callable[[Message], object]) -> None:
        self._post = post
        self._is_idle: bool | None = None
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # what the terminal's keys interrupt is the keyboard
            )
        except OSError as error:
            raise UserError(f"The federation's phone cannot be started: {error.strerror}.") from error
        threading.Thread(target=self._listen, daemon=True).start()

    def tell(self, *, is_idle: bool) -> None:
        """Whether anybody types, if that has changed."""
        if is_idle != self._is_idle:
            self._is_idle = is_idle
            assert self._process.stdin is not None
            with contextlib.suppress(OSError, ValueError):  # it has ended; `_listen` says so
                self._process.stdin.write("idle\n" if is_idle else "busy\n")
                self._process.stdin.flush()

    def stop(self) -> None:
        """Ends it: politely, and soon."""
        self._close()
        reaper = threading.Timer(GRACE_SECONDS, self._process.kill)
        reaper.daemon = True
        reaper.start()

    def _close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with self._process.stdout as lines, self._process.stderr as errors:
            for line in lines:
                self._post(PhoneSpoke(self, line))
            said = errors.read()
        self._process.wait()
        self._close()
        self._post(PhoneEnded(self, said))


class Joining:
    """A keyboard's part in a federation, of which there is one at most.

    Args:
        diary: beside the personal memory.
        command: address -> how to start the phone; what it raises is told.
        address: of a federation to join when the keyboard opens.
        smallest_crowd: that the phone is started with, for who is asked to agree.
        idle_seconds: without a key, before the phone may train.
    """

    def __init__(
        self,
        diary: Path,
        command: Callable[[str], Sequence[str]],
        address: str = "",
        smallest_crowd: int = SMALLEST_CROWD,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.diary = Diary(diary)
        self.state: Joined | None = None
        """None while this keyboard takes part in nothing."""
        self._command = command
        self._address = address
        self._smallest_crowd = smallest_crowd
        self._idle_seconds = idle_seconds
        self._phone: PhoneProcess | None = None
        self._title = Static(id="federation")
        self._typed_at = self._sent_at = time.monotonic()
        self._conversation = ""
        self._welcome = WELCOME

    def attach(self, app: KeyboardApp) -> None:
        """Takes its place on the screen, and joins if that was asked for."""
        self._app = app
        self._title.display = False
        app.typing.query_one("#title").mount(self._title, before="#latency")
        app.watch(app.typing, "draft", self._typed, init=False)
        self._timer = app.set_interval(LOOK_SECONDS, self._look, pause=True)
        if self._address:
            self.ask(self._address)

    def commands(self) -> Iterable[SystemCommand]:
        """For the palette."""
        if self.state is None:
            yield SystemCommand(
                "Join a federation …", "Let a shared model learn from what you send", lambda: self.ask("")
            )
        else:
            yield SystemCommand("Leave the federation", account(self.state), self.leave)

    def ask(self, address: str) -> None:
        """Joins, if the owner agrees or has agreed before."""
        if address and has_consented(self.diary.path, address):
            self._join(address)
        else:
            self._app.push_screen(JoinScreen(address, self._smallest_crowd), self._answer)

    def leave(self) -> None:
        """Ends the phone at once, says what stays, and offers to erase it."""
        state = self.state
        if state is None:
            return
        self.stop()
        self._show(None)
        num_words = self.diary.num_words()
        stays = f"The diary stays in {self.diary.path}: {num_words:,} words." if num_words else ""
        if stays:
            self._app.push_screen(LeftScreen(f"{account(state)}\n\n{stays}"), self._erase)
        else:
            self._app.notify(f"You have left. {account(state)}", markup=False)

    def keep(self, message: Sent) -> None:
        """Writes down what was sent, if that is what its writer joined for."""
        if self.state is None or message.is_private:
            return
        now = time.monotonic()
        if not self._conversation or now - self._sent_at > PAUSE_SECONDS:
            self._conversation = f"{time.time():.0f}"
        self._sent_at = now
        try:
            self.diary.add(message.text, self._conversation)
        except UserError as error:
            self._app.post_message(Noticed(str(error)))

    def hear(self, message: PhoneSpoke) -> None:
        """Shows what the phone says."""
        if message.phone is self._phone and self.state is not None:
            self._show(heard(self.state, message.line))

    def bury(self, message: PhoneEnded) -> None:
        """Says why the phone has ended, unless it was left."""
        if message.phone is self._phone and self.state is not None:
            self._phone = None
            self._show(ended(self.state, message.said))

    def stop(self) -> None:
        """Ends the phone."""
        if self._phone is not None:
            self._phone.stop()
            self._timer.pause()
        self._phone = None

    def _answer(self, address: str | None) -> None:
        if address and self._join(address):
            remember_consent(self.diary.path, address)

    def _join(self, address: str) -> bool:
        self.stop()
        try:
            self._phone = PhoneProcess(self._command(address), self._app.post_message)
        except UserError as error:
            self._app.post_message(Noticed(str(error)))
            return False
        self._show(Joined(address))
        self._typed()
        self._timer.resume()
        return True

    def _erase(self, is_wanted: bool | None) -> None:
        if is_wanted:
            try:
                self.diary.erase()
            except UserError as error:
                self._app.post_message(Noticed(str(error)))

    def _show(self, state: Joined | None) -> None:
        old, self.state = self.state, state
        self._title.display = state is not None
        if state is not None:
            self._title.update(summary(state, is_short=self._app.size.width < 63))
            if state.reason and state.reason != (old.reason if old else ""):
                self._app.post_message(Noticed(state.reason))
            if state.phase is Phase.FAILED:
                self.stop()
        if (old is None) != (state is None):  # "nothing leaves" is true no longer, or again
            welcome = self._app.typing.query_one("#welcome", Static)
            other, self._welcome = self._welcome, str(welcome.content)
            welcome.update(other)

    def _typed(self) -> None:
        self._typed_at = time.monotonic()
        self._look()

    def _look(self) -> None:
        if self._phone is not None:
            self._phone.tell(is_idle=time.monotonic() - self._typed_at >= self._idle_seconds)
