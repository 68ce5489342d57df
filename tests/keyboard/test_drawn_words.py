"""Words drawn across the keys on screen with the real engine: what is dragged, and what stands then."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from at_screen import key_cell, settled, wait_for
from textual import events
from textual.pilot import Pilot

from fedkey import Engine, Suggestions
from fedkey.bundle import open_bundle
from fedkey.cli.pseudo_terminal import PseudoTerminal
from fedkey.draft import Draft, backspace, draw, insert, undo
from fedkey.layout import BACKSPACE, QWERTY, SHIFT, SYMBOLS
from fedkey.shipped import shipped_bundle
from fedkey.ui import trail as trails
from fedkey.ui.app import KeyboardApp
from fedkey.ui.keypad import MARKS, Keypad
from fedkey.ui.messages import Kind
from fedkey.ui.suggestions import NUM_WORDS, Choice
from fedkey.ui.trail import FADE_SECONDS, Trail, cells_between


class GatedEngine(Engine):
    """The real engine; waits at a gate before it reads a line, and remembers after which text."""

    def __init__(self) -> None:
        super().__init__(open_bundle(shipped_bundle()))
        self.gate = threading.Event()
        self.gate.set()
        self.contexts: list[str] = []

    def trace(
        self, context: str, path: object, k: int = 3, *, private: bool = False, after: str = ""
    ) -> Suggestions:
        self.contexts.append(context)
        assert self.gate.wait(20)
        return super().trace(context, path, k, private=private, after=after)


@pytest.fixture
def engine() -> GatedEngine:
    return GatedEngine()


@pytest.fixture
def app(engine: GatedEngine) -> KeyboardApp:
    return KeyboardApp(lambda: engine, QWERTY)


async def drag(pilot: Pilot[str], letters: Sequence[str]) -> None:
    """Draws a line from key to key, as fast as a mouse."""
    keypad = pilot.app.query_one(Keypad)
    corners = [key_cell(keypad, letter) for letter in letters]
    _mouse(keypad, events.MouseDown, corners[0])
    for start, end in pairwise(corners):
        for cell in cells_between(start, end)[1:]:
            _mouse(keypad, events.MouseMove, cell)
    _mouse(keypad, events.MouseUp, corners[-1])
    await pilot.pause()


def _mouse(keypad: Keypad, kind: type[events.MouseEvent], cell: tuple[int, int]) -> None:
    x, y = keypad.region.offset + cell
    keypad.screen._forward_event(kind(keypad, x, y, 0, 0, 1, False, False, False, x, y))


async def draw_word(pilot: Pilot[str], letters: str) -> None:
    """Draws a word and waits until it stands."""
    typing = pilot.app.typing  # type: ignore[attr-defined]
    before = typing.draft
    await drag(pilot, letters)
    await wait_for(pilot, lambda: typing.draft != before)
    await settled(pilot)


def text(app: KeyboardApp) -> str:
    draft = app.typing.draft
    return f"{draft.text[: draft.caret]}|{draft.text[draft.caret :]}"


def instead(app: KeyboardApp) -> list[str]:
    """What is offered in place of the word that was drawn."""
    offers = [choice.offer for choice in app.typing.query(Choice) if choice.rank < NUM_WORDS]
    return [offer.text for offer in offers if offer is not None and offer.kind is Kind.INSTEAD]


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (120, 40)])
async def test_words_are_drawn_one_after_the_other(
    app: KeyboardApp, engine: GatedEngine, size: tuple[int, int]
) -> None:
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await draw_word(pilot, "thanks")
        assert text(app) == "Thanks |"
        await draw_word(pilot, "for")
        assert text(app) == "Thanks for |"
        assert engine.contexts == ["", "Thanks "]
        await pilot.press(".")
        assert text(app) == "Thanks for.|"


async def test_backspace_right_after_takes_the_whole_word_back(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        await draw_word(pilot, "thanks")
        await pilot.press("backspace")
        assert text(app) == "|"
        await settled(pilot)
        assert not engine.words_learned()
        await draw_word(pilot, "thanks")
        await pilot.press("space", "backspace")
        assert text(app).startswith("Thank")


async def test_undo_takes_it_back_too(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        await draw_word(pilot, "thanks")
        await draw_word(pilot, "for")
        await pilot.press("ctrl+z")
        assert text(app) == "Thanks |"


async def test_another_word_can_be_had_instead(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press(*"all is ")
        await draw_word(pilot, "wel")
        put = app.typing.draft.text.split()[-1]
        others = instead(app)
        assert len(others) == 2
        assert {"well", "we'll"} < {put, *others}

        await pilot.press("f4" if others[1] in ("well", "we'll") else "f3")
        await settled(pilot)

        chosen = others[1] if others[1] in ("well", "we'll") else others[0]
        assert text(app) == f"all is {chosen} |"
        assert put in instead(app)  # and back again
        words = {word.word for word in engine.words_learned()}
        assert chosen in words
        assert put not in words
        await pilot.press("backspace")
        assert text(app) == "all is |"
        await settled(pilot)
        assert instead(app) == []


async def test_what_else_it_could_be_goes_when_writing_goes_on(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        await draw_word(pilot, "thanks")
        assert instead(app)
        await pilot.press("a")
        await settled(pilot)
        assert instead(app) == []
        assert text(app) == "Thanks a|"


async def test_letters_before_a_line_are_a_word_of_their_own(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"many")
        await settled(pilot)
        await draw_word(pilot, "thanks")
        assert text(app) == "many thanks |"


async def test_a_line_that_comes_back_is_a_word_and_a_press_that_slips_a_letter(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        await draw_word(pilot, "did")
        assert text(app) == "Did |"
        keypad = pilot.app.query_one(Keypad)
        column, line = key_cell(keypad, "h")
        await pilot.mouse_down(keypad, (column, line))
        await pilot.hover(keypad, (column - 1, line))
        await pilot.mouse_up(keypad, (column - 1, line))
        assert text(app) == "Did h|"


async def test_lines_from_other_keys_and_across_signs_are_none(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        keypad = pilot.app.query_one(Keypad)
        await settled(pilot)
        await drag(pilot, (BACKSPACE, "t", "q"))
        keypad.page = SYMBOLS
        await pilot.pause()
        await drag(pilot, "1590")
        assert (text(app), engine.contexts) == ("|", [])


async def test_shift_gives_a_capital_and_locked_all(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        keypad = pilot.app.query_one(Keypad)
        await settled(pilot)
        await pilot.press(*"so ")
        await pilot.click(keypad, key_cell(keypad, SHIFT))
        await draw_word(pilot, "thanks")
        await draw_word(pilot, "for")
        await pilot.click(keypad, key_cell(keypad, SHIFT))
        await pilot.click(keypad, key_cell(keypad, SHIFT))
        await draw_word(pilot, "thanks")
        assert text(app) == "so Thanks for THANKS |"


async def test_lines_wait_for_the_engine_and_for_each_other(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.gate.clear()
    async with app.run_test() as pilot:
        await drag(pilot, "thanks")
        await drag(pilot, "for")
        await pilot.pause()
        assert text(app) == "|"
        engine.gate.set()
        await wait_for(pilot, lambda: text(app) == "Thanks for |")
        assert engine.contexts == ["", "Thanks "]


async def test_a_line_is_read_again_when_the_text_has_changed(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        engine.gate.clear()
        await drag(pilot, "thanks")
        await wait_for(pilot, lambda: engine.contexts == [""])
        await pilot.press(*"many ")
        engine.gate.set()
        await wait_for(pilot, lambda: text(app) == "many thanks |")
        assert engine.contexts == ["", "many "]


async def test_a_line_that_no_word_looks_like_changes_nothing(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        engine.gate.clear()
        await drag(pilot, "qpqpqpqpqpqpqpqpqp")
        await drag(pilot, "thanks")
        engine.gate.set()
        await wait_for(pilot, lambda: text(app) == "Thanks |")
        assert engine.contexts == ["", ""]


async def test_what_is_drawn_privately_is_not_remembered(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        app.typing.is_private = True
        await settled(pilot)
        await draw_word(pilot, "thanks")
        assert not engine.words_learned()


async def test_the_line_is_seen_and_fades(app: KeyboardApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trails, "FADE_SECONDS", 60.0)  # a busy machine is slower than an eye
    async with app.run_test() as pilot:
        keypad = pilot.app.query_one(Keypad)
        await settled(pilot)
        await drag(pilot, "thanks")
        assert MARKS[0] in keypad_text(keypad)
        monkeypatch.undo()
        await wait_for(pilot, lambda: not any(mark in keypad_text(keypad) for mark in MARKS))
        await wait_for(pilot, lambda: not keypad._trail.is_seen)


def keypad_text(keypad: Keypad) -> str:
    return "\n".join(keypad.render_line(y).text for y in range(keypad.size.height))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_word_is_drawn_in_a_terminal(tmp_path: Path) -> None:
    """As a terminal tells of it: the mouse pressed, moved cell by cell with the button down, and let go."""
    homes = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "fedkey", str(shipped_bundle())]
    with PseudoTerminal(command, 80, 24, environment=os.environ | homes) as terminal:
        terminal.wait_for(lambda lines: any(re.search(r"1 .*│ +2 ", line) for line in lines), 30)
        keys = [line for line in terminal.grid.lines if re.search(r"q +w +e|a +s +d|z +x +c", line)]
        corners = [
            next(
                (line.index(f" {letter} ") + 1, terminal.grid.lines.index(line))
                for line in keys
                if f" {letter} " in line
            )
            for letter in "thanks"
        ]
        terminal.type(_mouse_code(0, corners[0], "M"))
        for start, end in pairwise(corners):
            for cell in cells_between(start, end)[1:]:
                terminal.type(_mouse_code(32, cell, "M"))
        terminal.type(_mouse_code(0, corners[-1], "m"))
        terminal.wait_for(lambda lines: any("Thanks" in line for line in lines), 30)


def _mouse_code(button: int, cell: tuple[int, int], end: str) -> str:
    return f"\x1b[<{button};{cell[0] + 1};{cell[1] + 1}{end}"


# --------------------------------------------------------------------------------- drafts and trails


def test_a_drawn_word_can_be_taken_back_until_something_is_pressed() -> None:
    before = insert(Draft(), "so")
    drawn = draw(insert(before, " "), "thanks")
    assert drawn.text == "so thanks "
    assert backspace(drawn).text == undo(drawn).text == "so "
    assert backspace(insert(drawn, ".")).text == "so thanks "


@pytest.mark.parametrize("end", [(5, 5), (5, 7), (1, 6), (9, 2), (5, 0), (4, 9)])
def test_the_way_between_two_cells_has_no_holes(end: tuple[int, int]) -> None:
    way = cells_between((5, 5), end)
    assert (way[0], way[-1]) == ((5, 5), end)
    assert all(max(abs(a - c), abs(b - d)) == 1 for (a, b), (c, d) in pairwise(way) if (a, b) != (c, d))


def test_a_trail_is_seen_from_its_second_cell_on_and_fades() -> None:
    trail = Trail(2)
    trail.begin((0.0, 0.0), (0, 0))
    assert not trail.draw_to((0.1, 0.0), (0, 0), 10.0)
    assert not trail.is_seen
    assert trail.draw_to((0.5, 0.0), (3, 0), 10.0) == {(0, 0), (1, 0), (2, 0), (3, 0)}
    trail.draw_to((0.5, 0.5), (3, 1), 10.0 + 1.1 * FADE_SECONDS)
    assert trail.path == ((0.0, 0.0), (0.1, 0.0), (0.5, 0.0), (0.5, 0.5))

    assert trail.on_line(0, 10.0 + 1.2 * FADE_SECONDS) == {0: 1, 1: 1, 2: 1, 3: 0}
    assert trail.on_line(1, 10.0 + 1.2 * FADE_SECONDS) == {3: 0}
    assert trail.fade(10.0 + 2.2 * FADE_SECONDS) == {(0, 0), (1, 0), (2, 0), (3, 0), (3, 1)}
    assert trail.on_line(0, 10.0 + 2.2 * FADE_SECONDS) == {3: 1}
    trail.fade(10.0 + 9 * FADE_SECONDS)
    assert not trail.is_seen
