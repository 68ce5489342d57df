"""Writing on screen: lines, and where the caret goes between them."""

from __future__ import annotations

import re

import pytest
from at_screen import GatedEngine, screen_text, settled, text, wait_for, words, words_for
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual._xterm_parser import XTermParser
from textual.geometry import Offset
from textual.widgets import Static

from fedkey.layout import QWERTY
from fedkey.settings import Settings
from fedkey.ui.app import KeyboardApp
from fedkey.ui.conversation import Bubble
from fedkey.ui.draft import DraftView
from fedkey.ui.messages import Kind, Offer
from fedkey.ui.suggestions import SuggestionStrip, still_fits

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


# ------------------------------------------------------------------------------------ the caret anywhere


async def test_inside_a_word_all_of_it_is_mended(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare_instead("tomorow", "tomorrow")
    async with app.run_test() as pilot:
        await pilot.press(*"see tomorow", "escape", *" ok", *["left"] * 6)
        assert text(app) == "see tomo|row ok"
        await settled(pilot)
        assert engine.asked[-1] == ("see ", "tomorow")
        # Nobody finishes the word here, so nothing would correct it; but one key does.
        assert words(app) == ("tomorrow",)
        assert "␣" not in screen_text(app)
        await pilot.press("tab")
        assert text(app) == "see tomorrow| ok"
        await settled(pilot)
        assert engine.told[-1] == ("see ", "tomorow", "tomorrow")
        await pilot.press("ctrl+z")
        assert text(app) == "see tomo|row ok"


# ------------------------------------------------------------------------------------- typing fast


async def test_who_types_fast_never_sees_an_empty_strip(app: KeyboardApp, engine: GatedEngine) -> None:
    seen: list[tuple[str, ...]] = []
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        strip = app.typing.query_one(SuggestionStrip)
        app.typing.watch(strip, "offers", lambda: seen.append(words(app)))
        answered = [engine.gate.set, engine.gate.clear]
        for number, key in enumerate("see you at the party so"):
            # Every other key comes before the answer to the last.
            answered[number % 2]()
            app.post_message(events.Key("space" if key == " " else key, key))
            await pilot.pause()
            seen.append(words(app))
            assert words(app)[0] in screen_text(app)
        engine.gate.set()
        await settled(pilot)
    assert len(set(seen)) > 5
    assert all(seen)


@given(
    st.text("abc", min_size=1, max_size=5),
    st.text("abc", max_size=3),
    st.text("abc", max_size=3),
    st.sampled_from([Kind.WORD, Kind.CORRECTION, Kind.PHRASE]),
)
def test_what_no_longer_begins_with_the_letters_is_not_taken(
    word: str, asked: str, more: str, kind: Kind
) -> None:
    fits = still_fits(Offer(kind, word), asked, asked + more)
    if word.startswith(asked):
        assert fits == word.startswith(asked + more)
    else:
        assert fits


# ------------------------------------------------------------------------------------------- copying


async def test_what_the_mouse_selects_is_copied_and_otherwise_the_draft(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"hello there", "ctrl+j", *"you", "enter", *"dra")
        bubble = app.typing.query_one(Bubble).query_one(Static)
        await wait_for(pilot, lambda: bubble.size.height == 2)
        await pilot.press("ctrl+c")
        assert app.clipboard == "dra"
        left = bubble.content_region.offset - bubble.region.offset
        await pilot.mouse_down(bubble, offset=left + Offset(6, 0))
        await pilot.hover(bubble, offset=left + Offset(2, 1))
        await pilot.mouse_up(bubble, offset=left + Offset(2, 1))
        await pilot.press("ctrl+c")
        assert app.clipboard == "there\nyou"
        assert text(app) == "dra|"


async def test_a_selection_may_span_messages(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 36)) as pilot:
        for message in ("one", "two", "three"):
            await pilot.press(*message, "enter")
        first, *_, last = [bubble.query_one(Static) for bubble in app.typing.query(Bubble)]
        await wait_for(pilot, lambda: last.size.height and first.size.height)
        left = first.content_region.offset - first.region.offset
        await pilot.mouse_down(first, offset=left)
        await pilot.hover(last, offset=left + Offset(5, 0))
        await pilot.mouse_up(last, offset=left + Offset(5, 0))
        await pilot.press("ctrl+c")
        assert app.clipboard == "one\ntwo\nthree"


async def test_a_long_draft_has_room_where_there_is_some(app: KeyboardApp) -> None:
    async with app.run_test(size=(120, 44)) as pilot:
        view = app.typing.query_one(DraftView)
        app.typing.write("\n".join("abcdefgh"))
        await wait_for(pilot, lambda: view.size.height == 8)


async def test_what_was_copied_is_put_in_as_it_is(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"one", "ctrl+j", *"two", "ctrl+c", "ctrl+j", "ctrl+v")
        assert text(app) == "one\ntwo\none\ntwo|"


async def test_with_nothing_to_copy_ctrl_c_says_how_to_quit(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("ctrl+c")
        await wait_for(pilot, lambda: "ctrl+q" in screen_text(app))
        assert app.clipboard == ""


async def test_the_palette_copies_the_conversation_and_the_draft(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"hello", "enter", *"you", "enter", *"dra")
        commands = {each.title: each.callback for each in app.get_system_commands(app.typing)}
        commands["Copy conversation"]()
        assert app.clipboard == "hello\nyou"
        commands["Copy draft"]()
        assert app.clipboard == "dra"


# --------------------------------------------------------------------------------------- ghost text


def ghost(app: KeyboardApp) -> str:
    """What stands behind the caret without having been typed."""
    return app.typing.query_one(DraftView).ghost_in_view


@pytest.fixture
def sure(engine: GatedEngine) -> GatedEngine:
    """An engine that is sure of two words."""
    engine.prepare_sure("thr", "through", "three")
    engine.prepare_sure("thro", "through", "throw", autocorrect="throw")
    engine.prepare_sure("actu", "actually", "actual", "act", autocorrect="act")
    return engine


@pytest.mark.parametrize("key", ["tab", "right"])
async def test_the_rest_of_a_likely_word_stands_behind_the_caret_and_one_key_takes_it(
    app: KeyboardApp, sure: GatedEngine, key: str
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"go thr")
        await settled(pilot)
        assert ghost(app) == "ough"
        assert "│ go through " in screen_text(app)
        assert text(app) == "go thr|"
        await pilot.press(key)
        assert text(app) == "go through |"
        assert ghost(app) == ""
        await settled(pilot)
        assert sure.told[-1] == ("go ", "thr", "through")
        await pilot.press("ctrl+z")
        assert text(app) == "go thr|"


async def test_it_shrinks_with_the_letters_before_the_engine_answers(
    app: KeyboardApp, sure: GatedEngine
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"thr")
        await settled(pilot)
        sure.gate.clear()
        for letter, rest in [("o", "ugh"), ("u", "gh"), ("g", "h"), ("h", "")]:
            await pilot.press(letter)
            assert ghost(app) == rest
        await pilot.press("backspace")
        assert ghost(app) == "h"
        await pilot.press("x")
        assert ghost(app) == ""
        await pilot.press("backspace", "tab")
        assert text(app) == "through |"
        sure.gate.set()


@pytest.mark.parametrize(
    ("key", "taken"), [("tab", "actually |"), ("alt+1", "act |"), ("space", "act |"), ("right", "actually |")]
)
async def test_a_correction_on_the_strip_leaves_it_there_and_tab_takes_what_is_seen_at_the_caret(
    app: KeyboardApp, sure: GatedEngine, key: str, taken: str
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"actu")
        await settled(pilot)
        assert words(app)[0] == "act"
        assert ghost(app) == "ally"
        await pilot.press(key)
        assert text(app) == taken


async def test_it_stands_nowhere_but_at_the_end_of_a_line_and_never_moves_the_text(
    app: KeyboardApp, sure: GatedEngine
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"thr on", *["left"] * 3)
        await settled(pilot)
        assert ghost(app) == ""
        await pilot.press("ctrl+u", "ctrl+j", "up", *"thr")
        await settled(pilot)
        assert text(app) == "thr|\non"
        assert ghost(app) == "ough"
        # There is more text, into which this key goes on.
        await pilot.press("right")
        assert text(app) == "thr\n|on"
        await pilot.press("left")
        await settled(pilot)
        view = app.typing.query_one(DraftView)
        await pilot.press("ctrl+end", "ctrl+u", *"x" * (view.size.width - 8), *" thr")
        await settled(pilot)
        assert ghost(app) == "ough"
        await pilot.press("ctrl+u", *"x" * (view.size.width - 7), *" thr")
        await settled(pilot)
        assert ghost(app) == ""
        await pilot.press("right")
        assert text(app).endswith(" thr|")


async def test_escape_and_its_switch_take_it_away(app: KeyboardApp, sure: GatedEngine) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"thr")
        await settled(pilot)
        await pilot.press("escape")
        assert ghost(app) == ""
        await pilot.press("backspace", "r")
        await settled(pilot)
        assert ghost(app) == ""  # the letters were meant as they are
        await pilot.press("o")
        await settled(pilot)
        assert ghost(app) == "ugh"
        app.change_setting("ghost_text", False)
        assert ghost(app) == ""
        await pilot.press("right")
        assert text(app) == "thro|"
        app.change_setting("ghost_text", True)
        assert ghost(app) == "ugh"


@pytest.mark.parametrize("theme", ["fedkey-dark", "ansi-light"])
async def test_without_colours_it_looks_unlike_what_is_typed(
    sure: GatedEngine, monkeypatch: pytest.MonkeyPatch, theme: str
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = KeyboardApp(lambda: sure, QWERTY, Settings(theme=theme))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press(*"thr")
        await settled(pilot)
        drawing = app.export_screenshot()
    (style,) = re.findall(r'class="[^"]*-(r\d+)"[^>]*>ugh', drawing)
    assert re.search(rf"-{style} {{[^}}]*italic", drawing)
