"""The page of emoji: looked for, picked, and put where they belong."""

from __future__ import annotations

import pytest
from at_screen import GatedEngine, screen_text, settled, text, wait_for
from textual.pilot import Pilot

from fedkey.emoji_search import search
from fedkey.layout import QWERTY
from fedkey.settings import Settings
from fedkey.ui.app import KeyboardApp
from fedkey.ui.emoji_picker import EmojiPicker, Found


async def opened(pilot: Pilot[str]) -> Found:
    """Opens the page, and waits until it offers something."""
    await pilot.press("ctrl+o")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, EmojiPicker))
    found = pilot.app.screen.query_one(Found)
    await wait_for(pilot, lambda: found.option_count and found.size.height)
    return found


@pytest.mark.parametrize("size", [(40, 12), (80, 24)])
async def test_an_emoji_is_found_by_its_name_and_put_behind_the_word(
    app: KeyboardApp, engine: GatedEngine, size: tuple[int, int]
) -> None:
    async with app.run_test(size=size) as pilot:
        await pilot.press(*"zyzzy")
        found = await opened(pilot)
        await pilot.press(*"pizz")
        await wait_for(pilot, lambda: found.option_count < 10)
        assert "pizza" in screen_text(app)
        await pilot.press("enter")
        await wait_for(pilot, lambda: app.screen is app.typing)
        assert text(app) == "zyzzy 🍕 |"
        await settled(pilot)
        assert engine.asked[-1] == ("zyzzy 🍕 ", "")
        assert engine.told == [("", "zyzzy", "zyzzy")]
        await pilot.press("ctrl+z")
        assert text(app) == "zyzzy|"
        await settled(pilot)
        assert engine.taken_back == []


async def test_keys_move_and_the_mouse_picks(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press(*"heart", "down", "down", "up", "enter")
        await wait_for(pilot, lambda: app.screen is app.typing)
        second = search("heart")[1].emoji
        assert text(app) == f"{second} |"
        found = await opened(pilot)
        await pilot.press(*"germany")
        await wait_for(pilot, lambda: found.option_count < 10)
        await pilot.pause()
        await pilot.click(found, offset=(4, 0))
        await wait_for(pilot, lambda: app.screen is app.typing)
        assert text(app) == f"{second} 🇩🇪 |"


async def test_what_was_picked_comes_first_the_next_time_unless_it_was_picked_privately(
    app: KeyboardApp,
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        for query in ("pizza", "fire", "pizza"):
            await opened(pilot)
            await pilot.press(*query, "enter")
            await wait_for(pilot, lambda: app.screen is app.typing)
        app.typing.is_private = True
        await opened(pilot)
        await pilot.press(*"rocket", "enter")
        await wait_for(pilot, lambda: app.screen is app.typing)
        found = await opened(pilot)
        assert [found.get_option_at_index(rank).id for rank in range(3)] == ["🍕", "🔥", "😂"]


@pytest.mark.parametrize("key", ["escape", "ctrl+o"])
async def test_closing_it_changes_nothing_nor_does_picking_nothing(app: KeyboardApp, key: str) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"so")
        found = await opened(pilot)
        await pilot.press(*"qqqq")
        await wait_for(pilot, lambda: found.option_count == 1)
        assert "No emoji is called so." in screen_text(app)
        await pilot.press("enter", "tab", "down", "enter")
        assert isinstance(app.screen, EmojiPicker)
        await pilot.press(key)
        await wait_for(pilot, lambda: app.screen is app.typing)
        assert text(app) == "so|"


@pytest.mark.parametrize("theme", ["fedkey-dark", "ansi-light"])
async def test_it_is_drawn_without_colours_too(
    engine: GatedEngine, monkeypatch: pytest.MonkeyPatch, theme: str
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = KeyboardApp(lambda: engine, QWERTY, Settings(theme=theme))
    async with app.run_test(size=(60, 18)) as pilot:
        await opened(pilot)
        assert "face with tears of joy" in screen_text(app)


async def test_an_emoji_taken_from_the_strip_was_picked_too(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare("", emoji=("🎂",))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("alt+5")
        assert text(app) == "🎂 |"
        found = await opened(pilot)
        assert found.get_option_at_index(0).id == "🎂"
