"""What a key costs on screen: only what it changed is drawn anew. How long that took is no test."""

from __future__ import annotations

import time
from collections import Counter
from itertools import permutations
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

from fedkey import Engine
from fedkey.layout import QWERTY
from fedkey.ui.app import KeyboardApp
from fedkey.ui.keypad import Keypad


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many lines were drawn of which widget, and how often the screen was laid out."""
    counted: Counter[str] = Counter()
    for kind in (Widget, Keypad):
        draw = kind.render_line

        def counting(self: Widget, y: int, draw=draw):  # type: ignore[no-untyped-def]
            counted[type(self).__name__] += 1
            return draw(self, y)

        monkeypatch.setattr(kind, "render_line", counting)
    lay_out = Screen._refresh_layout

    def counting_layouts(self: Screen[object], *arguments: object, **named: object) -> None:
        counted["layout"] += 1
        lay_out(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Screen, "_refresh_layout", counting_layouts)
    return counted


async def answered(pilot: Pilot[str], typed: str) -> None:
    typing = pilot.app.typing  # type: ignore[attr-defined]
    keypad = typing.query_one(Keypad)
    deadline = time.monotonic() + 20
    while typing.shown is None or typing.shown.question.typed != typed or keypad.lit:
        assert time.monotonic() < deadline, "waited in vain"
        await pilot.pause(0.005)
    await pilot.pause()


async def test_a_letter_draws_its_key_the_draft_and_the_suggestions(
    tiny_bundle: Path, drawn: Counter[str]
) -> None:
    engine = Engine.open(tiny_bundle)
    # A phrase that comes or goes behind the words moves them.
    first, second = next(
        typed
        for typed in map("".join, permutations("setohi", 2))
        if engine.suggest("", typed[0]).phrase is engine.suggest("", typed).phrase is None
    )
    app = KeyboardApp(lambda: engine, QWERTY)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(first)
        await answered(pilot, first)
        drawn.clear()
        await pilot.press(second)
        await answered(pilot, first + second)
        row_lines = app.typing.query_one(Keypad).size.height // len(QWERTY.rows)
        assert drawn["Keypad"] == 2 * row_lines  # it lights up and is put out
        assert drawn["DraftView"] > 0
        assert drawn["Choice"] > 0
        assert drawn["Bubble"] == drawn["Conversation"] == drawn["TypingScreen"] == 0
        assert drawn["layout"] == 0


async def test_a_draft_that_needs_another_line_gets_it(tiny_bundle: Path) -> None:
    app = KeyboardApp(lambda: Engine.open(tiny_bundle), QWERTY)
    async with app.run_test(size=(40, 24)) as pilot:
        view = app.typing.query_one("DraftView")
        assert view.size.height == 1
        app.typing.write("one two three four five six seven eight")
        await pilot.pause()
        assert view.size.height == 2
        await pilot.press("ctrl+u")
        await pilot.pause()
        assert view.size.height == 1
