"""How it looks: pictures of the whole screen, compared to the last cell and colour.

The engine is the real one, but for the letters on screen it gives prepared answers, so that a picture shows
the keyboard's looks and not a model's opinions. After a change that is meant: `pytest --snapshot-update`, and
look at every picture that changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from at_screen import GatedEngine, click_key, screen_text, settled, wait_for
from textual.pilot import Pilot
from textual.widgets import Input

from fedkey.draft import Draft
from fedkey.explanation import ExplainedWord, Explanation, Rival, Verdict
from fedkey.layout import QWERTY, SYMBOLS
from fedkey.session import Session
from fedkey.settings import Settings
from fedkey.ui.app import KeyboardApp
from fedkey.ui.glass_box import GlassBox
from fedkey.ui.keypad import Keypad
from fedkey.ui.messages import CaretPlaced, Noticed

Prepare = Callable[[Pilot[str]], Awaitable[None]]
Compare = Callable[..., bool]

SENT = ("Hi! Are you home this evening?", "I made far too much soup 🍲", "Come over if you like!")
DRAFT = "It would be really n"


@pytest.fixture
def engine(tiny_bundle: Path) -> GatedEngine:
    engine = GatedEngine(tiny_bundle)
    engine.prepare("", "I", "the", "you", phrase="see you later", emoji=("🍲", "😋"))
    engine.prepare("n", "nice", "not", "need", phrase="nice to see you", emoji=())
    engine.prepare("tomorow", "tomorrow", "tomorrows", autocorrect="tomorrow")
    engine.prepare_sure("someth", "something", "sometimes", "some")
    return engine


def writing(text: str, *, sent: tuple[str, ...] = SENT) -> Prepare:
    """Puts in a conversation and a draft, and waits for the answer."""

    async def prepare(pilot: Pilot[str]) -> None:
        typing = pilot.app.typing  # type: ignore[attr-defined]
        await wait_for(pilot, lambda: typing.is_ready)
        typing.messages = sent
        typing.draft = Draft()
        typing.write(text)
        await settled(pilot)
        await pilot.pause()

    return prepare


async def still(pilot: Pilot[str]) -> None:
    """Waits until nothing changes on screen any more."""
    before, now = "", screen_text(pilot.app)  # type: ignore[arg-type]
    while now != before:
        await pilot.pause(0.15)
        before, now = now, screen_text(pilot.app)  # type: ignore[arg-type]


def pictured(
    snap_compare: Compare, engine: GatedEngine, prepare: Prepare, size: tuple[int, int], **of: Any
) -> bool:
    return snap_compare(
        KeyboardApp(lambda: engine, QWERTY, Settings(**of)), terminal_size=size, run_before=prepare
    )


@pytest.mark.parametrize(
    "size", [(40, 12), (60, 20), (80, 24), (200, 60)], ids=lambda size: "x".join(map(str, size))
)
def test_every_size(snap_compare: Compare, engine: GatedEngine, size: tuple[int, int]) -> None:
    assert pictured(snap_compare, engine, writing(DRAFT), size)


@pytest.mark.parametrize("theme", ["fedkey-light", "ansi-dark", "ansi-light"])
def test_themes(snap_compare: Compare, engine: GatedEngine, theme: str) -> None:
    assert pictured(snap_compare, engine, writing("see you tomorow"), (80, 24), theme=theme)


def test_without_colours(snap_compare: Compare, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert pictured(snap_compare, engine, writing("there is someth"), (80, 24))


def test_typing_privately(snap_compare: Compare, engine: GatedEngine) -> None:
    assert pictured(snap_compare, engine, writing("", sent=()), (80, 24), private=True)


def test_the_glass_box(snap_compare: Compare, engine: GatedEngine) -> None:
    async def prepare(pilot: Pilot[str]) -> None:
        await writing("see you tomorow")(pilot)
        boxes = pilot.app.typing.query(GlassBox)  # type: ignore[attr-defined]
        await wait_for(pilot, lambda: all(box.glimpse.explained for box in boxes if box.display))
        await pilot.pause(0.1)
        session = Session()
        for number in range(40):
            session = session.pressed(number * 0.2, 1 + number % 3).answered(8 + number % 7)
        words = (
            ExplainedWord("tomorrow", -3.1, 2.9, -0.2, None),
            ExplainedWord("tomorrows", -9.7, 3.4, -6.3, -5.5),
        )
        rivals = (Rival("tomorrow", 0.98, False), Rival("tomorow", 0.02, True))
        for box in boxes:
            if box.display:
                explained = replace(
                    box.glimpse.explained,
                    explanation=Explanation(words, Verdict.SURE, "tomorrow", rivals, 0.8),
                )
                box.glimpse = box.glimpse._replace(session=session, explained=explained)
        await pilot.pause()

    assert pictured(snap_compare, engine, prepare, (120, 36), glass_box=True)


@pytest.mark.parametrize("key", ["f1", "f8", "f10", "ctrl+o", "ctrl+p"])
def test_pages(snap_compare: Compare, engine: GatedEngine, key: str) -> None:
    async def prepare(pilot: Pilot[str]) -> None:
        await writing(DRAFT)(pilot)
        await pilot.press(key)
        await wait_for(pilot, lambda: len(pilot.app.screen_stack) == 2)
        await still(pilot)
        for each in pilot.app.screen.query(Input):
            each.cursor_blink = False
        await pilot.pause()

    assert pictured(snap_compare, engine, prepare, (80, 30))


def replacing(engine: GatedEngine) -> Prepare:
    """Comes back to a word that was mistaken."""
    engine.prepare_instead("form", "from", "for", "with")

    async def prepare(pilot: Pilot[str]) -> None:
        await writing("I got it form my sister")(pilot)
        typing = pilot.app.typing  # type: ignore[attr-defined]
        typing.on_caret_placed(CaretPlaced(11))
        await settled(pilot)
        await wait_for(pilot, lambda: "⇄ from" in screen_text(pilot.app))  # type: ignore[arg-type]
        await pilot.pause()

    return prepare


@pytest.mark.parametrize("size", [(40, 12), (80, 24)], ids=lambda size: "x".join(map(str, size)))
def test_a_word_that_is_written_can_be_replaced(
    snap_compare: Compare, engine: GatedEngine, size: tuple[int, int]
) -> None:
    assert pictured(snap_compare, engine, replacing(engine), size)


def test_it_can_be_seen_without_colours(
    snap_compare: Compare, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert pictured(snap_compare, engine, replacing(engine), (60, 20))


def test_signs_instead_of_letters(snap_compare: Compare, engine: GatedEngine) -> None:
    async def prepare(pilot: Pilot[str]) -> None:
        await writing(DRAFT)(pilot)
        await click_key(pilot, SYMBOLS)
        await wait_for(pilot, lambda: not pilot.app.query_one(Keypad).lit)
        await pilot.pause()

    assert pictured(snap_compare, engine, prepare, (80, 24))


def test_something_went_wrong(snap_compare: Compare, engine: GatedEngine) -> None:
    async def prepare(pilot: Pilot[str]) -> None:
        await writing(DRAFT)(pilot)
        pilot.app.post_message(
            Noticed("The file of your words was damaged and is set aside; a new one is begun.")
        )
        await wait_for(pilot, lambda: "set aside" in screen_text(pilot.app))  # type: ignore[arg-type]
        await still(pilot)

    assert pictured(snap_compare, engine, prepare, (80, 24))


def test_too_small(snap_compare: Compare, engine: GatedEngine) -> None:
    async def prepare(pilot: Pilot[str]) -> None:
        await pilot.pause()

    assert pictured(snap_compare, engine, prepare, (38, 8))
