"""Writing on screen: lines, and where the caret goes between them."""

from __future__ import annotations

import pytest
from at_screen import GatedEngine, screen_text, settled, text, wait_for, words, words_for
from textual import events
from textual._xterm_parser import XTermParser
from textual.widgets import Static

from fedkey.ui.app import KeyboardApp
from fedkey.ui.conversation import Bubble
from fedkey.ui.draft import DraftView

# ------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize("key", ["ctrl+j", "alt+enter", "shift+enter"])
async def test_a_key_breaks_the_line_and_enter_sends_all_of_it(
    app: KeyboardApp, engine: GatedEngine, key: str
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"hello", key, *"so t")
        assert text(app) == "hello\nso t|"
        await settled(pilot)
        # The line above is to the engine as a message before this one.
        assert engine.asked[-1] == ("hello\nso ", "t")
        assert words(app) == words_for(engine, "hello\nso ", "t")
        assert engine.told == [("", "hello", "hello"), ("hello\n", "so", "so")]
        await pilot.press("enter")
        assert app.typing.messages == ("hello\nso t",)
        bubble = app.typing.query_one(Bubble).query_one(Static)
        await wait_for(pilot, lambda: bubble.size.height == 2)
        shown = [line.strip() for line in screen_text(app).splitlines()]
        assert shown.index("so t") == shown.index("hello") + 1


@pytest.mark.parametrize(
    ("sent", "key"),
    [("\n", "ctrl+j"), ("\x1b\r", "alt+enter"), ("\x1b[13;2u", "shift+enter"), ("\x1b[13;3u", "alt+enter")],
)
def test_what_terminals_send_for_a_new_line_arrives_as_such(app: KeyboardApp, sent: str, key: str) -> None:
    parser = XTermParser()
    keys = [each.key for each in (*parser.feed(sent), *parser.feed("")) if isinstance(each, events.Key)]
    assert keys == [key]


async def test_a_line_break_brings_a_correction_and_backspace_takes_both_back(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare("wrld", "world", autocorrect="world")
    async with app.run_test() as pilot:
        await pilot.press(*"hi wrld")
        await settled(pilot)
        await pilot.press("ctrl+j")
        assert text(app) == "hi world\n|"
        await pilot.press("backspace")
        assert text(app) == "hi wrld|"


async def test_a_new_line_begins_with_a_capital(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"hello ", "ctrl+j")
        await settled(pilot)
        assert words(app)
        assert all(word[0].isupper() for word in words(app))


async def test_pasted_text_keeps_its_lines(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        app.post_message(events.Paste("so\r\n[we] are\x1b[31m\rhere"))
        await wait_for(pilot, lambda: app.typing.draft.text)
        assert text(app) == "so\n[we] are[31m\nhere|"
        await settled(pilot)
        assert engine.asked[-1] == ("so\n[we] are[31m\n", "here")


async def test_up_and_down_keep_the_column_and_go_to_the_ends_of_the_text(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        app.typing.write("see you soon\nat\ntwelve o'clock")
        await pilot.press(*["left"] * 7, "up")
        assert text(app) == "see you soon\nat|\ntwelve o'clock"
        await pilot.press("up")
        assert text(app) == "see you| soon\nat\ntwelve o'clock"
        await pilot.press("down", "down")
        assert text(app) == "see you soon\nat\ntwelve |o'clock"
        await pilot.press("down")
        assert text(app).endswith("o'clock|")
        # What is typed in between sets out from another column.
        await pilot.press("up", "backspace", "up")
        assert text(app) == "s|ee you soon\na\ntwelve o'clock"
        await pilot.press("up")
        assert text(app).startswith("|see")
        await pilot.press("ctrl+end")
        assert text(app).endswith("o'clock|")
        await pilot.press("ctrl+home", "end", "home")
        assert text(app).startswith("|see")


async def test_up_goes_by_lines_of_the_screen(app: KeyboardApp) -> None:
    async with app.run_test(size=(40, 24)) as pilot:
        app.typing.write("word " * 20)
        await pilot.pause()
        view = app.typing.query_one(DraftView)
        row = app.cursor_position.y
        await pilot.press("up")
        await wait_for(pilot, lambda: app.cursor_position.y != row or "|" in text(app))
        assert 0 < app.typing.draft.caret < 100
        assert view.region.contains(*app.cursor_position)


async def test_the_caret_is_seen_on_an_empty_line(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"hi", "ctrl+j")
        await pilot.pause()
        view = app.typing.query_one(DraftView)
        assert view.size.height == 2
        assert app.cursor_position - view.content_region.offset == (0, 1)
        content = view.render()
        assert content.plain == "hi\n "
        left, top = view.content_region.offset - view.region.offset
        await pilot.click(view, offset=(left + 20, top))
        assert text(app) == "hi|\n"
        await pilot.click(view, offset=(left + 20, top + 1))
        assert text(app) == "hi\n|"
