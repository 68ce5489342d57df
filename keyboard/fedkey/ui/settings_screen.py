"""The page on which settings are read and changed.

In: the settings as they hold, and where they are kept. Out: a `SettingChanged` for each change, at once. Next
stop: `fedkey.ui.themes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from fedkey.errors import UserError
from fedkey.layout import LAYOUTS
from fedkey.settings import KINDS, Settings, Value, from_text, meaning
from fedkey.ui.messages import SettingChanged

UNSET: Mapping[str, str] = {"layout": "the model's own", "join": "none", "memory": "the usual place"}
"""How a text that is empty is shown."""


def title(name: str) -> str:
    """A setting's name as people write it."""
    return name.replace("_", " ").capitalize()


def shown(name: str, value: Value) -> str:
    """A value as people write it."""
    if isinstance(value, str):
        return value or UNSET.get(name, "none")
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if value else "off"


class SettingRow(Vertical, can_focus=True):
    """One setting: its name, its value, and what it means. What has few values goes through them; anything
    else is written."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,enter,right", "change(1)", show=False),
        Binding("left", "change(-1)", show=False),
        Binding("escape", "leave_as_it_is", show=False),
        # Here and not on the screen: between the two stands the page, which would scroll.
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    value: reactive[Value] = reactive[Value]("", init=False)

    def __init__(self, name: str, value: Value, choices: Sequence[Value]) -> None:
        """Shows `value`; without choices it can be written."""
        super().__init__()
        self.setting = name
        self._choices = tuple(choices)
        self._value = Static(shown(name, value), classes="value", markup=False)
        self._input = Input(compact=True, classes="value")
        self._input.display = False
        self._meaning = Static(meaning(name), classes="meaning", markup=False)
        self.set_reactive(SettingRow.value, value)

    def compose(self) -> ComposeResult:
        """The name and the value, and below them what it means."""
        with Horizontal():
            yield Static(title(self.setting), classes="name", markup=False)
            yield self._value
            yield self._input
        yield self._meaning

    def watch_value(self, value: Value) -> None:
        """Shows it, and tells of it."""
        self._value.update(shown(self.setting, value))
        self.post_message(SettingChanged(self.setting, value))

    @property
    def is_written(self) -> bool:
        """Whether it is being written now."""
        return self._input.display

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Esc closes the page where nothing is being written."""
        return self.is_written or action != "leave_as_it_is"

    def action_change(self, step: int) -> None:
        """Goes on to the next or the last choice, or begins to write."""
        if self._choices:
            at = self._choices.index(self.value) if self.value in self._choices else -step
            self.value = self._choices[(at + step) % len(self._choices)]
        elif not self.is_written:
            self._input.value = str(self.value) if self.value else ""
            self._show_input(True)
            self._input.focus()

    def action_leave_as_it_is(self) -> None:
        """Ends the writing; the value stays what it was."""
        self._show_input(False)
        self._tell("")
        self.focus()

    def on_click(self, event: events.Click) -> None:
        """The same by mouse."""
        event.stop()
        if event.widget is not self._input:
            self.action_change(1)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Takes what was written, unless it cannot be."""
        event.stop()
        if self._take(event.value):
            self.focus()

    def on_input_blurred(self, event: Input.Blurred) -> None:
        """Takes what was written; who goes elsewhere is done with it."""
        event.stop()
        if self.is_written:
            self._take(event.value)

    def _take(self, text: str) -> bool:
        try:
            value = from_text(self.setting, text)
        except UserError as error:
            self._tell(str(error))
            return False
        self._show_input(False)
        self._tell("")
        self.value = value
        return True

    def _show_input(self, is_written: bool) -> None:
        self._input.display = is_written
        self._value.display = not is_written

    def _tell(self, refusal: str) -> None:
        self._meaning.update(refusal or meaning(self.setting))
        self._meaning.set_class(bool(refusal), "-refused")


class SettingsScreen(ModalScreen[None]):
    """All settings on a page over the keyboard."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f10", "dismiss", "Close"),
    ]

    def __init__(self, settings: Settings, file: Path | None) -> None:
        super().__init__()
        self._settings = settings
        self._file = file

    def compose(self) -> ComposeResult:
        """A row for each."""
        with VerticalScroll(can_focus=False) as page:
            page.border_title = "Settings"
            page.border_subtitle = "↑ ↓ choose · Space changes · Esc closes"
            for name in KINDS:
                yield SettingRow(name, getattr(self._settings, name), self._choices(name))
            kept = "Changes hold until fedkey is closed." if self._file is None else f"Kept in {self._file}."
            yield Static(kept, classes="note", markup=False)

    def _choices(self, name: str) -> Sequence[Value]:
        if name == "theme":
            return sorted(self.app.available_themes)
        if name == "layout":
            return ("", *LAYOUTS)
        return (False, True) if KINDS[name] is bool else ()

    def on_click(self) -> None:
        """A click beside the page closes it."""
        page = self.query_one(VerticalScroll)
        if not page.region.contains_point(self.app.mouse_position):
            self.dismiss()
