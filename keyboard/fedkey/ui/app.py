"""The app: theme, commands, and the one worker that owns the engine.

In: a way to open an engine, and a layout. Out: the keyboard on screen, until it is closed. Next stop:
`fedkey.simulate`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.filter import Monochrome, NoColor
from textual.reactive import var
from textual.screen import Screen

from fedkey.errors import UserError
from fedkey.layout import LAYOUTS, Layout
from fedkey.releases import InUse
from fedkey.settings import DEFAULTS, Settings, Value, changed, store
from fedkey.ui.clipboard import copy_commands
from fedkey.ui.following import Following
from fedkey.ui.help import HelpScreen
from fedkey.ui.inference import Inference
from fedkey.ui.keys import DEFAULT_CLUMSINESS, key_commands
from fedkey.ui.messages import (
    Answered,
    Asked,
    Corrected,
    EngineFailed,
    EngineReady,
    Explained,
    Finished,
    Gesture,
    LayoutChosen,
    Noticed,
    Paired,
    PhoneEnded,
    PhoneSpoke,
    Recognised,
    Reconsidered,
    Released,
    Sent,
    SettingChanged,
    TakenBack,
    Typable,
    Unwritten,
    Written,
)
from fedkey.ui.settings_screen import SettingsScreen
from fedkey.ui.terminal import forgiving, read_alt_keys
from fedkey.ui.themes import THEMES
from fedkey.ui.typing import MIN_HEIGHT, MIN_WIDTH, TypingScreen

if TYPE_CHECKING:
    from textual.driver import Driver

    from fedkey.engine import Engine
    from fedkey.ui.joining import Joining


WIDTHS = [(0, "-too-narrow"), (MIN_WIDTH, "-narrow"), (63, "-wide"), (100, "-widest")]
HEIGHTS = [(0, "-too-low"), (MIN_HEIGHT, "-low"), (18, "-medium"), (24, "-high"), (40, "-highest")]
"""From so many cells on, the screen has this class; `app.tcss` says what that means."""


NOTICE_SECONDS = 10
"""Long enough to read a sentence; a click removes it."""


class KeyboardApp(App[str]):
    """Shows at once and opens the engine meanwhile; what is typed before it is open is not lost.

    The result of `run` is None, or one sentence that says why the keyboard could not be used.
    """

    TITLE = "fedkey"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", key_display="^Q", priority=True)
    ]
    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS

    settings: var[Settings] = var(DEFAULTS, init=False)
    """As they hold now, whether or not they could be written down."""

    def get_driver_class(self) -> type[Driver]:
        """One that nothing a terminal sends can end."""
        return forgiving(super().get_driver_class())

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        layout: Layout,
        settings: Settings = DEFAULTS,
        *,
        settings_file: Path | None = None,
        is_private: bool = False,
        release: InUse | None = None,
        joining: Joining | None = None,
    ) -> None:
        """Shows nothing yet.

        Args:
            open_engine: called once, in another thread; what it raises closes the app.
            layout: the keys, unless the settings name others.
            settings: what to begin with; their theme and layout are known.
            settings_file: where changes of them are written down, if they are.
            is_private: whether typing is private from the first key to the last.
            release: what `open_engine` opens, if its registry is to be followed.
            joining: how to take part in a federation, where that is possible.
        """
        super().__init__()
        self.set_reactive(KeyboardApp.settings, settings)
        self._settings_file = settings_file
        read_alt_keys()
        self._model_layout = layout
        self.typing = TypingScreen(layout)
        self._set_layout(settings)
        self._set_thumbs(settings)
        self.typing.settings = settings
        self.typing.is_private = is_private or settings.private
        self.typing.shows_glass_box = settings.glass_box
        self._stays_private = is_private
        self.typing.release = release
        self.joining = joining
        self.inference = Inference(open_engine, self.post_message)
        self._following = (
            None if release is None else Following(release, self.inference.replace, self.post_message)
        )
        for each in THEMES:
            self.register_theme(each)
        self.theme = settings.theme

    def get_default_screen(self) -> Screen[None]:
        """The screen that is there from the first paint on."""
        return self.typing

    def on_mount(self) -> None:
        """Lets a polite kill leave the terminal as it was found."""
        if sys.platform != "win32":
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, lambda: self.exit(return_code=128 + signal.SIGTERM))

    def watch_settings(self, old: Settings, new: Settings) -> None:
        """Lets them take effect at once."""
        self.theme = new.theme
        self.typing.settings = new
        if old.layout != new.layout:
            self._set_layout(new)
        if old.clumsy_thumbs != new.clumsy_thumbs:
            self._set_thumbs(new)
        if old.glass_box != new.glass_box:
            self.typing.shows_glass_box = new.glass_box
        if old.private != new.private and not self._stays_private:
            self.typing.is_private = new.private

    def _set_layout(self, settings: Settings) -> None:
        self.typing.key_layout = self._layout_set(settings)

    def _layout_set(self, settings: Settings) -> Layout:
        return LAYOUTS[settings.layout] if settings.layout else self._model_layout

    def _set_thumbs(self, settings: Settings) -> None:
        self.typing.clumsiness = settings.clumsy_thumbs or None
        self.typing.usual_clumsiness = settings.clumsy_thumbs or DEFAULT_CLUMSINESS

    def on_setting_changed(self, message: SettingChanged) -> None:
        """Does what was chosen."""
        self.change_setting(message.name, message.value)

    def change_setting(self, name: str, value: Value) -> None:
        """Changes a setting from now on, and in the file for the next time, if there is one that can be
        written.

        Raises:
            UserError: it cannot be that.
        """
        self.settings = changed(self.settings, name, value)
        if self._settings_file is not None:
            try:
                store(self._settings_file, name, value)
            except UserError as error:
                self.notify(str(error), severity="warning", timeout=NOTICE_SECONDS, markup=False)

    def watch_theme(self, theme: str) -> None:
        """Writes down which theme was chosen, and keeps every one legible under NO_COLOR.

        Textual chooses how to remove colours once, before it knows the theme; where that leaves them to the
        terminal, the greys it chooses are black on black.
        """
        if theme != self.settings.theme:
            self.change_setting("theme", theme)
        if self.no_color:
            kept = [each for each in self._filters if not isinstance(each, (Monochrome, NoColor))]
            self._filters = [*kept, NoColor() if self.native_ansi_color else Monochrome()]

    def on_unmount(self) -> None:
        """Lets the threads end."""
        if self._following is not None:
            self._following.stop()
        if self.joining is not None:
            self.joining.stop()
        self.inference.stop()

    def on_typable(self, _: Typable) -> None:
        """Opens the engine in its thread; its imports would hold up the first paint if that began sooner."""
        if self.return_code is not None:
            return  # killed just after the first paint: the screen is being taken down
        self.run_worker(self.inference.run, name="engine", group="engine", thread=True)
        if self.joining is not None:
            self.joining.attach(self)

    def on_asked(self, message: Asked) -> None:
        """Passes a question to the engine."""
        self.inference.ask(message.question)

    def on_written(self, message: Written) -> None:
        """Passes a word to the engine."""
        self.inference.tell(message)

    def on_unwritten(self, message: Unwritten) -> None:
        """Passes a word that is gone to the engine."""
        self.inference.tell(message)

    def on_finished(self, message: Finished) -> None:
        """Passes a word to the engine that has not answered for it yet."""
        self.inference.tell(message)

    def on_paired(self, message: Paired) -> None:
        """Passes two words to the engine, which knows whether something else was meant."""
        self.inference.tell(message)

    def on_sent(self, message: Sent) -> None:
        """Passes a message to the diary of a keyboard that joined."""
        if self.joining is not None:
            self.joining.keep(message)

    def on_phone_spoke(self, message: PhoneSpoke) -> None:
        """Shows where the federation stands."""
        if self.joining is not None:
            self.joining.hear(message)

    def on_phone_ended(self, message: PhoneEnded) -> None:
        """Says why, unless it was left."""
        if self.joining is not None:
            self.joining.bury(message)

    def on_taken_back(self, message: TakenBack) -> None:
        """Passes a change of mind to the engine."""
        self.inference.tell(message)

    def on_layout_chosen(self, message: LayoutChosen) -> None:
        """Passes the keys to the engine, and writes them down if they were not what is set."""
        self.inference.tell(message)
        layout = self.typing.key_layout
        # Of several that were chosen one after the other only the last is written down.
        if message.layout == layout != self._layout_set(self.settings):
            self.change_setting("layout", layout.name)

    def on_gesture(self, message: Gesture) -> None:
        """Passes a line across the keys to the engine."""
        self.inference.tell(message)

    def on_recognised(self, message: Recognised) -> None:
        """Passes what it means to the screen."""
        self.typing.drawn_words.show(message)

    def on_engine_ready(self, message: EngineReady) -> None:
        """Ends the loading state; from now on newer releases are looked for."""
        self.typing.keeps_words = message.keeps_words
        self.typing.is_ready = True
        if self._following is not None:
            self.run_worker(self._following.run, name="following", group="following", thread=True)

    def on_engine_failed(self, message: EngineFailed) -> None:
        """Leaves, with the sentence that says why."""
        self.exit(message.reason)

    def on_answered(self, message: Answered) -> None:
        """Passes an answer to the screen."""
        self.typing.show_answer(message)

    def on_explained(self, message: Explained) -> None:
        """Passes it to the screen, which shows it in the glass box."""
        self.typing.show_explanation(message)

    def on_corrected(self, message: Corrected) -> None:
        """Passes a correction to the screen."""
        self.typing.show_correction(message)

    def on_reconsidered(self, message: Reconsidered) -> None:
        """Passes what was meant by two words to the screen."""
        self.typing.show_reconsidered(message)

    def on_noticed(self, message: Noticed) -> None:
        """Says it for a while, over the keys."""
        self.notify(message.sentence, severity="warning", timeout=NOTICE_SECONDS, markup=False)

    def on_released(self, message: Released) -> None:
        """Shows which release is in use, and says so for a while if it is another one."""
        old, self.typing.release = self.typing.release, message.release
        if old is None or old.version != message.release.version:
            self.notify(f"Release {message.release.version} is in use now.", timeout=NOTICE_SECONDS)

    def action_toggle_private(self) -> None:
        """Begins or ends private typing, unless the keyboard was opened for nothing else."""
        if self._stays_private:
            self.notify("This keyboard was opened privately, and stays so.")
            return
        self.typing.is_private = not self.typing.is_private

    def action_privacy(self) -> None:
        """Shows what is remembered, and what left the machine."""
        from fedkey.ui.privacy import PrivacyScreen  # not needed for the first paint

        screen = PrivacyScreen(self.inference.tell)
        self.watch(self.typing, "is_private", lambda is_private: setattr(screen, "is_private", is_private))
        self.push_screen(screen)

    def action_help(self) -> None:
        """Shows the help page."""
        self.push_screen(HelpScreen())

    def action_settings(self) -> None:
        """Shows the settings."""
        self.push_screen(SettingsScreen(self.settings, self._settings_file))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the command palette offers."""
        yield SystemCommand("Help", "What every key does", self.action_help)
        yield SystemCommand("Settings", "Read and change them; they are kept", self.action_settings)
        yield SystemCommand("Privacy", "What is remembered, and what left this machine", self.action_privacy)
        yield SystemCommand("Theme", "Choose other colours", self.action_change_theme)
        if not self._stays_private:
            yield SystemCommand(
                "Private typing",
                "Remember again what is typed"
                if self.typing.is_private
                else "Remember nothing of what follows",
                self.action_toggle_private,
            )
        yield from key_commands(self.typing)
        yield SystemCommand("Emoji", "Find one by its name", self.typing.action_pick_emoji)
        yield from copy_commands(self.typing)
        yield SystemCommand(
            "Glass box",
            "Hide how fast the keyboard is and what it weighs"
            if self.typing.shows_glass_box
            else "Show how fast the keyboard is, what it saves and what it weighs",
            self.typing.action_toggle_glass_box,
        )
        yield SystemCommand(
            "Clear conversation", "Forget what was sent; the draft stays", self.typing.clear_conversation
        )
        if self.joining is not None:
            yield from self.joining.commands()
        if self._following is not None and self.typing.release is not None:
            yield from _release_commands(self._following, self.typing.release)
        yield SystemCommand("Quit", "Close the keyboard", self.action_quit)


def _release_commands(following: Following, release: InUse) -> Iterable[SystemCommand]:
    before = release.before
    if before is not None:
        yield SystemCommand(
            f"Go back to release {before}",
            f"Use it instead of release {release.version} until releases are followed again",
            lambda: following.go_back(before),
        )
    if release.is_held:
        yield SystemCommand(
            "Follow releases again",
            f"Release {release.version} is held; use the current one, and those after it",
            following.follow,
        )
