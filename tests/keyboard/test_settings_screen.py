"""Settings on screen: what is chosen holds at once, stands in the file, and is what the keyboard does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from at_screen import GatedEngine, wait_for
from textual.pilot import Pilot
from textual.widgets import Static

from fedkey.layout import QWERTY
from fedkey.settings import DEFAULTS, KINDS, Settings, meaning, read
from fedkey.ui.app import KeyboardApp
from fedkey.ui.messages import Kind
from fedkey.ui.settings_screen import SettingRow, SettingsScreen
from fedkey.ui.suggestions import SuggestionStrip

pytestmark = pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="one of them needs a folder of nobody's"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


@pytest.fixture
def keyboard(tiny_bundle: Path, file: Path) -> Callable[..., KeyboardApp]:
    def keyboard(settings: Settings = DEFAULTS, **options: object) -> KeyboardApp:
        engine = GatedEngine(tiny_bundle)
        engine.prepare("wrld", "world", "word", autocorrect="world", emoji=("🌍",))
        return KeyboardApp(lambda: engine, QWERTY, settings, **{"settings_file": file} | options)  # type: ignore[arg-type]

    return keyboard


async def opened(pilot: Pilot[str]) -> dict[str, SettingRow]:
    """The rows of the page, once it is there, by the names of their settings."""
    await pilot.press("f10")
    await wait_for(pilot, lambda: pilot.app.screen.query(SettingRow) and pilot.app.focused is not None)
    return {row.setting: row for row in pilot.app.screen.query(SettingRow)}


def said(row: SettingRow) -> str:
    return str(row.query_one(".meaning", Static).content)


async def test_every_setting_is_there_with_its_meaning_and_esc_closes_the_page(
    keyboard: Callable[..., KeyboardApp],
) -> None:
    app = keyboard()
    async with app.run_test(size=(40, 12)) as pilot:
        rows = await opened(pilot)
        assert list(rows) == list(KINDS)
        for name in KINDS:
            assert said(rows[name]) == meaning(name)
            await wait_for(pilot, lambda name=name: app.focused is rows[name])
            await wait_for(pilot, lambda name=name: app.screen.region.contains_region(rows[name].region))
            await pilot.press("down")
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is app.typing)
        assert app.settings == DEFAULTS


async def test_without_autocorrect_a_space_leaves_the_word_and_without_emoji_none_is_offered(
    keyboard: Callable[..., KeyboardApp], file: Path
) -> None:
    app = keyboard()
    async with app.run_test(size=(100, 30)) as pilot:

        def kinds() -> set[Kind]:
            return {
                offer.kind for offer in app.typing.query_one(SuggestionStrip).in_view if offer is not None
            }

        await pilot.press(*"wrld")
        await wait_for(pilot, lambda: {Kind.CORRECTION, Kind.EMOJI} <= kinds())
        rows = await opened(pilot)
        await pilot.click(rows["emoji"])
        rows["autocorrect"].focus()
        await pilot.press("space")
        await wait_for(pilot, lambda: app.settings == Settings(autocorrect=False, emoji=False))
        assert read(file) == app.settings
        await pilot.press("f10")
        await wait_for(pilot, lambda: app.screen is app.typing and kinds() == {Kind.WORD})
        await pilot.press("space")
        assert app.typing.draft.text == "wrld "
        app.change_setting("autocorrect", True)
        await pilot.press("backspace")
        await wait_for(pilot, lambda: Kind.CORRECTION in kinds())
        await pilot.press("space")
        assert app.typing.draft.text == "world "


async def test_what_is_written_is_taken_unless_it_cannot_be(
    keyboard: Callable[..., KeyboardApp], file: Path
) -> None:
    app = keyboard()
    async with app.run_test(size=(80, 40)) as pilot:
        row = (await opened(pilot))["join"]
        row.focus()
        await pilot.press("enter", *"a:b", "enter")
        await wait_for(pilot, lambda: "HOST:PORT, such as" in said(row))
        assert app.settings == DEFAULTS
        await pilot.press("escape")
        await wait_for(pilot, lambda: said(row) == meaning("join"))
        await wait_for(pilot, lambda: app.focused is row)
        await pilot.press("enter", *"a:1", "enter")
        await wait_for(pilot, lambda: app.settings.join == "a:1")
        await pilot.press("up", "enter", *"0,3", "down")
        await wait_for(pilot, lambda: app.settings == Settings(join="a:1", clumsy_thumbs=0.3))
        assert read(file) == app.settings


async def test_themes_are_tried_on_one_after_the_other(
    keyboard: Callable[..., KeyboardApp], file: Path
) -> None:
    app = keyboard()
    async with app.run_test() as pilot:
        await opened(pilot)
        await pilot.press("right")
        await wait_for(pilot, lambda: app.theme == "fedkey-light")
        await pilot.press("left", "left")
        await wait_for(pilot, lambda: app.theme == "dracula")
        assert read(file).theme == "dracula"
    # Chosen in any other way, a theme is kept as well.
    other = keyboard(read(file))
    async with other.run_test() as pilot:
        assert other.theme == "dracula"
        other.theme = "nord"
        await wait_for(pilot, lambda: read(file).theme == "nord")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder where nobody may write")
async def test_what_cannot_be_written_down_holds_and_says_so(keyboard: Callable[..., KeyboardApp]) -> None:
    app = keyboard(settings_file=Path("/proc/fedkey/settings.toml"))
    async with app.run_test(notifications=True) as pilot:
        app.change_setting("emoji", False)
        await wait_for(pilot, lambda: app.screen.query("Toast"))
        (notice,) = app.screen.query("Toast")
        assert "cannot be written to /proc/fedkey/settings.toml" in str(notice.render())
        assert not app.typing.settings.emoji


async def test_typing_starts_privately_if_that_is_set_and_can_end(
    keyboard: Callable[..., KeyboardApp],
) -> None:
    app = keyboard(Settings(private=True))
    async with app.run_test():
        assert app.typing.is_private
        app.change_setting("private", False)
        assert not app.typing.is_private
    asked_for_on_the_command_line = keyboard(Settings(private=True), is_private=True)
    async with asked_for_on_the_command_line.run_test():
        asked_for_on_the_command_line.change_setting("private", False)
        assert asked_for_on_the_command_line.typing.is_private


async def test_keys_and_thumbs_are_those_that_are_set(keyboard: Callable[..., KeyboardApp]) -> None:
    app = keyboard(Settings(layout="dvorak", clumsy_thumbs=0.2))
    async with app.run_test():
        assert (app.typing.key_layout.name, app.typing.clumsiness) == ("dvorak", 0.2)
        app.change_setting("layout", "")
        app.change_setting("clumsy_thumbs", 0.0)
        assert (app.typing.key_layout, app.typing.clumsiness) == (QWERTY, None)
        app.typing.action_toggle_clumsiness()
        app.change_setting("layout", "azerty")
        assert app.typing.key_layout.name == "azerty"
        assert app.typing.clumsiness is not None


@pytest.mark.parametrize("theme", ["fedkey-light", "ansi-dark"])
async def test_the_page_is_drawn_without_colours(
    keyboard: Callable[..., KeyboardApp], monkeypatch: pytest.MonkeyPatch, theme: str
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = keyboard(Settings(theme=theme))
    async with app.run_test(size=(40, 12)) as pilot:
        await opened(pilot)
        assert isinstance(app.screen, SettingsScreen)
        assert "Autocorrect" in app.export_screenshot().replace("&#160;", " ")
