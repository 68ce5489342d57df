"""The keys on screen: pages, shift, layouts, taps as the engine is asked about them, and clumsy thumbs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from at_screen import GatedEngine, key_cell, mouse, settled, text, wait_for
from textual import events
from textual.pilot import Pilot

from fedkey.layout import BACKSPACE, ENTER, LAYOUTS, LETTERS, MORE, QWERTY, SHIFT, SPACE, SYMBOLS, Layout
from fedkey.settings import Settings, read
from fedkey.taps import Tap, Thumbs, clumsily
from fedkey.ui import keypad as keypads
from fedkey.ui.app import KeyboardApp
from fedkey.ui.keypad import MARKS, Keypad, fitted

SIZES = [(40, 4), (41, 4), (44, 4), (56, 8), (58, 12), (59, 12), (79, 16), (200, 16)]
"""Columns and lines of a keypad."""


async def tap(pilot: Pilot[str], *names: str, right: float = 0, down: float = 0) -> None:
    """Taps keys in view one after the other, so many cells beside their middle."""
    app = pilot.app
    assert isinstance(app, KeyboardApp)
    for name in names:
        column, line = key_cell(app.typing.query_one(Keypad), name)
        mouse(app, events.MouseDown, column + right, line + down)
        mouse(app, events.MouseUp, column + right, line + down)
        await pilot.pause()


def drawing(app: KeyboardApp) -> str:
    """The cells of the keypad as they are drawn."""
    keypad = app.typing.query_one(Keypad)
    return "\n".join(keypad.render_line(y).text for y in range(keypad.size.height))


def labels(app: KeyboardApp) -> list[str]:
    return drawing(app).replace("▀", " ").split()


# ------------------------------------------------------------------------------------------- cells


def pages() -> Iterator[Layout]:
    for layout in LAYOUTS.values():
        yield from layout.pages.values()


@pytest.mark.parametrize("size", SIZES)
def test_every_cell_that_a_key_is_drawn_on_hits_it(size: tuple[int, int]) -> None:
    for page in pages():
        fit = fitted(page, *size)
        drawn = 0
        for key in page.keys:
            left, right = fit.edge(key.left), fit.edge(key.right) - 1
            row = page.rows.index(next(row for row in page.rows if key in row))
            assert 0 <= left < right <= size[0]
            for column in range(left, right):
                for line in range(row * fit.row_lines, (row + 1) * fit.row_lines):
                    x, y = (column + 0.5 - fit.left) / fit.key_cells, (line + 0.5) * fit.line_height
                    assert page.nearest(x, y) is key
                    drawn += 1
        assert drawn > 0.6 * fit.key_cells * page.width * 4 * fit.row_lines


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (200, 60)])
async def test_every_key_of_every_page_is_drawn_and_can_be_tapped(
    app: KeyboardApp, size: tuple[int, int]
) -> None:
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        keypad = app.typing.query_one(Keypad)
        # A layout of eleven keys on pages of ten.
        for layout, page in ((QWERTY, LETTERS), (LAYOUTS["qwertz"], SYMBOLS), (QWERTY, MORE)):
            app.typing.key_layout = layout
            keypad.page = page
            keys = [key.name for key in keypad.drawn.keys if key.typed and key.name not in (SPACE, "'")]
            for name in keys:
                for kind in (events.MouseDown, events.MouseUp):
                    mouse(app, kind, *key_cell(keypad, name))
            await pilot.pause()
            assert app.typing.draft.text.replace(" ", "") == "".join(keys)
            shown = labels(app)
            assert {*keys, "space", "⌫", "⏎"} <= {*shown}
            assert len(shown) == len(keypad.drawn.keys)
            app.typing.action_edit("clear")


# --------------------------------------------------------------------------------- pages and shift


async def test_signs_are_two_pages_behind_the_letters(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        await tap(pilot, SYMBOLS, "4", "2", MORE, "€", SYMBOLS, "!", LETTERS, "a")
        assert app.typing.draft.text == "42€!a"


@pytest.mark.parametrize("name", [SPACE, "'", ENTER])
async def test_what_goes_on_with_words_turns_back_to_the_letters(app: KeyboardApp, name: str) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        keypad = app.typing.query_one(Keypad)
        await tap(pilot, "o", SYMBOLS, "&", BACKSPACE, ".")
        assert keypad.page == SYMBOLS
        await tap(pilot, name)
        assert keypad.page == LETTERS


async def test_a_key_that_stands_on_another_page_just_types(
    app: KeyboardApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keypads, "LIGHT_SECONDS", 600)  # nothing goes out during this test
    async with app.run_test() as pilot:
        await settled(pilot)
        keypad = app.typing.query_one(Keypad)
        await tap(pilot, SYMBOLS)
        await pilot.press("g", "7")
        assert text(app) == "g7|"
        assert keypad.page == SYMBOLS
        assert keypad.lit == {SYMBOLS, "7"}


async def test_a_lit_key_goes_out_on_a_page_where_it_does_not_stand(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("g")
        await tap(pilot, SYMBOLS)
        await wait_for(pilot, lambda: not app.typing.query_one(Keypad).lit)
        assert "1" in labels(app)


async def test_shift_is_for_one_character_and_locks_letters_when_tapped_twice(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        assert {"q", "?", "⇧"} <= {*labels(app)}
        await tap(pilot, SHIFT)
        assert {"Q", "!", "⇧"} <= {*labels(app)}
        await tap(pilot, "h", "i", SHIFT, "?", SPACE)
        assert text(app) == "Hi! |"
        await tap(pilot, SHIFT, SHIFT)
        assert {"Q", "?", "⇪"} <= {*labels(app)}
        await tap(pilot, "o", "k", "?", SPACE, SYMBOLS, "1", LETTERS, "a", SHIFT, "b")
        assert text(app) == "Hi! OK? 1Ab|"


# ------------------------------------------------------------------------------------- mouse as taps


async def test_letters_that_are_tapped_are_asked_about_as_taps(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        assert engine.asked == [("", "")]
        # Whole cells, as most terminals report: somewhere within the cell.
        await tap(pilot, "s", "e", right=1)
        await settled(pilot)
        touches = engine.asked[-1][1]
        assert isinstance(touches, tuple)
        for touch, name in zip(touches, "se", strict=True):
            assert isinstance(touch, Tap)
            x, y = QWERTY[name].center
            assert touch.x == pytest.approx(x + 1.5 / 6)
            assert abs(touch.y - y) < 0.5
            assert (touch.spread_x, touch.spread_y) == pytest.approx(
                (1 / 6 / math.sqrt(12), 0.5 / math.sqrt(12))
            )
        # A key of the writer's own is a letter, wherever the mouse is.
        await pilot.press("e")
        await settled(pilot)
        assert engine.asked[-1][1] == (*touches, "e")
        assert app.typing.shown is not None
        assert app.typing.shown.suggestions.words == engine.suggest("", (*touches, "e")).words
        assert text(app) == "see|"
        await pilot.press("backspace", "backspace", "backspace", *"see")
        await settled(pilot)
        assert engine.asked[-1][1] == "see"


async def test_a_terminal_that_reports_pixels_is_taken_at_its_word(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        await tap(pilot, "g", right=0.25, down=0.5)
        await tap(pilot, "g", right=1)
        await settled(pilot)
        one, other = engine.asked[-1][1]
        assert isinstance(one, Tap)
        assert isinstance(other, Tap)
        assert one.spread_x == one.spread_y == other.spread_x == 0
        assert other.x - one.x == pytest.approx(0.75 / 6)
        assert QWERTY["g"].distance(one.x, one.y) == 0


async def test_taps_say_which_neighbour_was_meant(app: KeyboardApp, engine: GatedEngine) -> None:
    """The same letters, tapped at the edges where others are near, mean other words."""
    async with app.run_test() as pilot:
        await settled(pilot)
        for right in (-0.45, 0.45):
            touches = tuple(Tap(QWERTY[name].center[0] + right, QWERTY[name].center[1]) for name in "gkkf")
            await pilot.press("ctrl+u")
            for name in "gkkf":
                await tap(pilot, name, right=6 * right + 0.001)
            await settled(pilot)
            asked = engine.asked[-1][1]
            assert isinstance(asked, tuple)
            for mine, theirs in zip(asked, touches, strict=True):
                assert isinstance(mine, Tap)
                assert abs(mine.x - theirs.x) < 0.1
            assert app.typing.shown is not None
            assert app.typing.shown.suggestions.literal == "gkkf" == app.typing.draft.text


async def test_capitals_are_tapped_with_shift(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        await tap(pilot, SHIFT, "s", "e")
        await settled(pilot)
        assert [touch.is_shifted for touch in engine.asked[-1][1]] == [True, False]  # type: ignore[union-attr]
        assert app.typing.shown is not None
        assert app.typing.shown.suggestions.literal == "Se"
        assert all(word[0].isupper() for word in app.typing.shown.suggestions.words)


async def test_a_word_that_was_tapped_ahead_of_the_engine_is_judged_by_its_taps(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        engine.gate.clear()
        await tap(pilot, "s", "e", "e", SPACE)
        engine.gate.set()
        await settled(pilot)
        assert [len(each) for _, each in engine.asked if isinstance(each, tuple)][-1] == 3


async def test_a_press_that_leaves_its_key_is_no_tap_and_one_that_slips_is(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        keypad = app.typing.query_one(Keypad)
        column, line = key_cell(keypad, "g")
        mouse(app, events.MouseDown, column, line)
        await pilot.pause()
        assert text(app) == "|"
        assert keypad.lit == {"g"}
        mouse(app, events.MouseMove, *key_cell(keypad, SPACE))
        mouse(app, events.MouseUp, *key_cell(keypad, SPACE))
        await pilot.pause()
        assert text(app) == "|"
        for down, up in (((column + 2, line), (column + 4, line)), ((column - 2, line), (column + 2, line))):
            mouse(app, events.MouseDown, *down)
            mouse(app, events.MouseUp, *up)
        await pilot.pause()
        assert text(app) == "gg|"


async def test_the_button_may_be_let_go_outside(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        mouse(app, events.MouseDown, *key_cell(app.typing.query_one(Keypad), "g"))
        mouse(app, events.MouseUp, 3, -5)
        await tap(pilot, "h")
        assert text(app) == "h|"


# ----------------------------------------------------------------------------------------- layouts


async def test_other_keys_are_drawn_and_their_neighbours_are_weighed(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"zou")
        await settled(pilot)
        for name in ("qwertz", "azerty", "dvorak", "qwerty"):
            await pilot.press("ctrl+l")
            await settled(pilot)
            assert engine.layout is LAYOUTS[name]
            assert text(app) == "zou|"
            rows = [label for label in labels(app) if len(label) == 1]
            assert "".join(rows).startswith("".join(key.typed for key in LAYOUTS[name].rows[0]))


async def test_keys_can_be_chosen_before_the_engine_is_there(engine: GatedEngine) -> None:
    app = KeyboardApp(lambda: engine, LAYOUTS["dvorak"])
    async with app.run_test() as pilot:
        await settled(pilot)
        assert engine.layout is LAYOUTS["dvorak"]
        await tap(pilot, "q", "z")
        assert text(app) == "qz|"


async def test_what_was_tapped_on_other_keys_counts_as_pressed(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        await tap(pilot, "z", "o")
        await settled(pilot)
        on_qwerty = engine.asked[-1][1]
        await pilot.press("ctrl+l")
        await settled(pilot)
        assert engine.asked[-1][1] == ("z", on_qwerty[1])  # y is there now, and o where it was


async def test_the_palette_names_the_other_layouts(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        commands = {each.title: each.callback for each in app.get_system_commands(app.typing)}
        assert [title for title in commands if title.startswith("Keys")] == [
            "Keys: QWERTZ",
            "Keys: AZERTY",
            "Keys: DVORAK",
        ]
        commands["Keys: AZERTY"]()
        await pilot.pause()
        assert "Keys: QWERTY" in [each.title for each in app.get_system_commands(app.typing)]
        assert labels(app)[:3] == ["a", "z", "e"]


async def test_keys_that_were_chosen_are_there_the_next_time(engine: GatedEngine, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    app = KeyboardApp(lambda: engine, QWERTY, Settings(layout="azerty"), settings_file=file)
    async with app.run_test() as pilot:
        await settled(pilot)
        assert engine.layout is LAYOUTS["azerty"]
        assert not file.exists()
        for _ in range(5):
            app.typing.action_next_layout()
        await settled(pilot)
        assert engine.layout is app.typing.key_layout is LAYOUTS["dvorak"]
        assert read(file).layout == "dvorak" == app.settings.layout
        app.change_setting("layout", "")
        await settled(pilot)
        assert engine.layout is app.typing.key_layout is QWERTY
        assert read(file).layout == ""


# ----------------------------------------------------------------------------------- clumsy thumbs


async def test_clumsy_thumbs_hit_what_the_sampler_says_and_the_engine_is_told_where(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        app.typing.usual_clumsiness = 0.5  # so that some of a few letters go wrong
        await pilot.press("ctrl+t")
        assert "clumsy" in labels(app)
        app.typing.rng = np.random.default_rng(11)
        wanted = "Evening"
        await pilot.press(*wanted)
        await settled(pilot)
        rng = np.random.default_rng(11)
        page = QWERTY.pages[LETTERS]
        hits = [clumsily(page, each, Thumbs(0.5, 0.5), rng) for each in wanted]
        assert app.typing.draft.text == "".join(hit for hit, _ in hits) != wanted
        keypad = app.typing.query_one(Keypad)
        assert set(keypad.marks) <= {tap for _, tap in hits}
        if engine.asked[-1][1] and app.typing.draft.typed == app.typing.draft.text:
            assert engine.asked[-1][1] == tuple(tap for _, tap in hits)
        await pilot.press("ctrl+u", "ctrl+t", *wanted)
        assert text(app) == f"{wanted}|"
        assert "space" in labels(app)


async def test_clumsy_thumbs_leave_what_no_key_types_and_every_other_key(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        app.typing.clumsiness = 0.285
        await pilot.press("7", "é", "left", "backspace", "end")
        assert text(app) == "é|"
        assert app.typing.query_one(Keypad).marks == ()
        await tap(pilot, "g")  # a mouse is as clumsy as its owner
        assert text(app) == "ég|"
        assert len(app.typing.query_one(Keypad).marks) == 1


async def test_marks_are_drawn_where_the_tap_was_and_fade(
    app: KeyboardApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keypads, "MARK_SECONDS", 0.05)
    async with app.run_test() as pilot:
        await settled(pilot)
        keypad = app.typing.query_one(Keypad)
        before = drawing(app)
        x, y = QWERTY["g"].center
        keypad.mark(Tap(x + 0.35, y))
        column, line = key_cell(keypad, "g")
        assert drawing(app).split("\n")[line][column + 2] == MARKS[0]
        await wait_for(pilot, lambda: MARKS[-1] in drawing(app))
        await wait_for(pilot, lambda: not keypad.marks)
        assert drawing(app) == before


async def test_a_letter_under_a_mark_stays_legible(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        keypad = app.typing.query_one(Keypad)
        _, line = key_cell(keypad, "g")
        column = drawing(app).split("\n")[line].index("g")
        x, y = QWERTY["g"].center
        keypad.mark(Tap(x - 0.01, y))
        strip = keypad.render_line(line)
        assert strip.text[column] == "g"
        (cell,) = strip.crop(column, column + 1)
        assert cell.style is not None
        assert cell.style.reverse


@pytest.mark.parametrize("theme", ["fedkey-dark", "ansi-dark", "ansi-light"])
@pytest.mark.parametrize("has_colours", [True, False])
async def test_marks_and_pages_are_seen_in_every_kind_of_terminal(
    engine: GatedEngine, monkeypatch: pytest.MonkeyPatch, theme: str, has_colours: bool
) -> None:
    if not has_colours:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(keypads, "MARK_SECONDS", 600)
    app = KeyboardApp(lambda: engine, QWERTY, Settings(theme=theme))
    async with app.run_test(size=(60, 18)) as pilot:
        await settled(pilot)
        keypad = app.typing.query_one(Keypad)
        # At the edges of the keyboard, beyond them, and on the lower edge of a key.
        for x, y in ((0.01, 0.1), (9.9, 5.9), (-3, 2), (12, 9), (5.2, 1.4), (0.2, 2.2)):
            keypad.mark(Tap(x, y))
        await wait_for(pilot, lambda: not keypad.lit)
        assert app.export_screenshot().count(MARKS[0]) >= 3
        for page in (SYMBOLS, MORE, LETTERS):
            keypad.page = page
            await pilot.pause()
            assert "space" in app.export_screenshot()
