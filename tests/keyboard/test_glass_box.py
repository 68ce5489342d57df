"""The glass box with the real engine: what it shows, where it stands, and that nobody pays for it unasked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from at_screen import key_cell, wait_for
from textual import events
from textual.pilot import Pilot

from fedkey import Engine
from fedkey.bundle import open_bundle
from fedkey.explanation import Explanation, Rival, Verdict
from fedkey.layout import QWERTY
from fedkey.metrics import Keystrokes
from fedkey.releases import InUse
from fedkey.session import Session
from fedkey.settings import DEFAULTS
from fedkey.ui.app import KeyboardApp
from fedkey.ui.conversation import Conversation
from fedkey.ui.glass_box import GlassBox, curve, decision, model_lines, savings
from fedkey.ui.keypad import Keypad
from fedkey.ui.suggestions import SuggestionStrip

SIZES = [(40, 12), (63, 18), (80, 24), (99, 40), (100, 12), (100, 30), (120, 40), (200, 60)]


class Watched(Engine):
    """Counts how often it is asked why."""

    num_explained = 0

    def explain(self, *arguments: object, **named: object) -> Explanation:
        self.num_explained += 1
        return super().explain(*arguments, **named)  # type: ignore[arg-type]


@pytest.fixture
def engine(tiny_bundle: Path) -> Watched:
    return Watched(open_bundle(tiny_bundle))


@pytest.fixture
def app(engine: Watched) -> KeyboardApp:
    return KeyboardApp(lambda: engine, QWERTY)


async def typed(pilot: Pilot[str], keys: str) -> None:
    """Presses keys, each when the answer to the one before is on screen."""
    typing = pilot.app.typing  # type: ignore[attr-defined]
    for key in keys:
        before = session(pilot).latency.total
        await pilot.press("space" if key == " " else key)
        await wait_for(pilot, lambda before=before: session(pilot).latency.total > before)
        assert typing.shown is not None


def session(pilot: Pilot[str]) -> Session:
    return pilot.app.typing._pulse.session  # type: ignore[attr-defined]


def visible(app: KeyboardApp) -> list[GlassBox]:
    return [each for each in app.typing.query(GlassBox) if each.display]


def box(app: KeyboardApp) -> GlassBox:
    """The one that can be seen."""
    (only,) = visible(app)
    return only


def explains(app: KeyboardApp) -> bool:
    """Whether it can be seen, and what it shows is explained."""
    return any(each.glimpse.explained is not None for each in visible(app))


def text(app: KeyboardApp) -> str:
    return box(app).render().plain


async def opened(pilot: Pilot[str]) -> None:
    await pilot.press("f9")
    app = pilot.app
    assert isinstance(app, KeyboardApp)
    await wait_for(pilot, lambda: explains(app))


# --------------------------------------------------------------------------------------------- on screen


async def test_it_is_hidden_until_it_is_wanted_and_costs_nothing_until_then(
    app: KeyboardApp, engine: Watched
) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await typed(pilot, "se")
        assert not app.typing.query(GlassBox)
        assert engine.num_explained == 0
        await opened(pilot)
        assert engine.num_explained > 0
        assert "key to eye" in text(app)
        await pilot.press("f9")
        asked = engine.num_explained
        assert not any(each.display for each in app.typing.query(GlassBox))
        await typed(pilot, "e")
        assert engine.num_explained == asked


async def test_it_stands_beside_the_keys_or_in_the_conversations_place(app: KeyboardApp) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        assert app.typing.query_one(Conversation).display
        assert box(app).region.x >= app.typing.query_one("#desk").region.right
        await pilot.resize_terminal(80, 24)
        await wait_for(pilot, lambda: box(app).id == "glass-instead")
        assert not app.typing.query_one(Conversation).display
        await wait_for(pilot, lambda: "wpm" in text(app))
        await pilot.press("f9")
        await pilot.pause()
        assert app.typing.query_one(Conversation).display


@pytest.mark.parametrize("size", SIZES)
async def test_it_fits_every_size(app: KeyboardApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        await typed(pilot, "se")
        shown = box(app)
        assert app.screen.region.contains_region(shown.region)
        lines = text(app).split("\n")
        assert len(lines) <= shown.content_size.height
        assert all(len(line) <= shown.content_size.width for line in lines)
        assert "ms" in text(app)


@pytest.mark.parametrize("theme", ["fedkey-dark", "fedkey-light", "ansi-dark"])
async def test_it_is_drawn_without_colours(
    engine: Watched, theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = KeyboardApp(lambda: engine, QWERTY, replace(DEFAULTS, theme=theme, glass_box=True))
    async with app.run_test(size=(120, 40)) as pilot:
        await wait_for(pilot, lambda: explains(app))
        assert "key" in app.export_screenshot()


async def test_it_shows_the_candidates_and_what_a_space_would_do(app: KeyboardApp, engine: Watched) -> None:
    word = next(word for word in engine.lexicon.forms.values() if word.isalpha() and len(word) > 7)
    letters = word[:-2] + word[-1]
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await typed(pilot, letters.lower())
        await wait_for(pilot, lambda: box(app).glimpse.explained.question.typed == letters.lower())  # type: ignore[union-attr]
        explained = box(app).glimpse.explained
        assert explained is not None
        expected = engine.explain("", letters.lower())
        assert explained.explanation == expected
        assert decision(expected) in text(app)
        assert f"{expected.words[0].model_log_prob:.1f}" in text(app)
        assert f"{engine.bundle.manifest.model.num_weights / 1e6:.1f} M weights" in text(app)


async def test_what_is_remembered_does_not_show_while_typing_privately(
    app: KeyboardApp, engine: Watched
) -> None:
    for _ in range(3):
        engine.accept("", "", "zorblax")
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await typed(pilot, "zo")
        await wait_for(pilot, lambda: "zorblax" in text(app))
        app.action_toggle_private()
        await wait_for(
            pilot, lambda: (seen := box(app).glimpse.explained) is not None and seen.question.is_private
        )
        assert "zorblax" not in text(app)


async def test_a_command_opens_it(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        (command,) = (each for each in app.get_system_commands(app.screen) if each.title == "Glass box")
        command.callback()
        await wait_for(pilot, lambda: app.typing.query(GlassBox))
        assert app.typing.shows_glass_box


# -------------------------------------------------------------------------------------------- statistics


async def test_keys_are_counted_against_the_text(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await typed(pilot, "se")
        assert session(pilot).keystrokes == Keystrokes(2, 2)
        taken = app.typing.query_one(SuggestionStrip).in_view[0]
        assert taken is not None
        await pilot.press("tab")
        written = len(taken.text) + 1
        assert session(pilot).keystrokes == Keystrokes(3, written)
        await pilot.press("backspace", "left", "f1", "escape")
        assert session(pilot).keystrokes == Keystrokes(4, written - 1)


async def test_what_was_pasted_or_sent_is_not_counted(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await typed(pilot, "hi")
        app.typing.post_message(events.Paste(" there and a whole lot more"))
        await wait_for(pilot, lambda: "more" in app.typing.draft.text)
        assert session(pilot).keystrokes == Keystrokes(2, 2)
        await pilot.press("enter")
        assert app.typing.messages
        assert session(pilot).keystrokes == Keystrokes(2, 2)
        await pilot.press("y")
        assert session(pilot).keystrokes == Keystrokes(3, 3)


async def test_a_tap_is_a_key(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.click("Keypad", offset=key_cell(app.typing.query_one(Keypad), "s"))
        await wait_for(pilot, lambda: session(pilot).latency.total == 1)
        assert session(pilot).keystrokes == Keystrokes(1, 1)


async def test_latency_is_from_the_key_to_the_answer_on_screen(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await typed(pilot, "see")
        assert session(pilot).latency.total == 3
        shown = app.typing.shown
        assert shown is not None
        assert session(pilot).recent[-1] > shown.suggestions.latency_ms


# --------------------------------------------------------------------------------------------- the parts


def test_a_curve_ends_with_the_newest_value() -> None:
    assert curve([1, 2, 4, 8], 10) == "▂▃▅█"
    assert curve([99, 1, 2, 4, 8], 4) == "▂▃▅█"
    assert curve([], 10) == ""
    assert curve([0.0], 10) == "▁"


def test_savings_are_told_with_what_they_are_made_of() -> None:
    assert savings(Session()) == "–"
    assert savings(Session(Keystrokes(3, 8))) == "62% (5 of 8 keys)"
    assert savings(Session(Keystrokes(10, 8))) == "-25% (-2 of 8 keys)"


def test_decisions_are_sentences() -> None:
    def told(verdict: Verdict, autocorrect: str | None = None, *rivals: Rival) -> str:
        return decision(Explanation((), verdict, autocorrect, rivals, 0.85))

    assert told(Verdict.SURE, "world", Rival("world", 0.99, False)) == "␣ puts “world”: sure enough"
    unsure = told(Verdict.UNSURE, None, Rival("quixt", 0.5, True), Rival("quiet", 0.4, False))
    assert unsure == "␣ leaves it: not sure enough (40% of 85%)"
    assert told(Verdict.KNOWN) == "␣ leaves it: a known word"
    assert told(Verdict.NOTHING_TYPED) == "␣ corrects nothing: nothing is typed"


def test_the_model_is_told_with_its_release_and_its_ledger(tiny_bundle: Path) -> None:
    manifest = open_bundle(tiny_bundle).manifest
    release = InUse(tiny_bundle, 7, is_held=True)
    lines = list(model_lines(manifest, release))
    assert lines[0] == "release 7, held"
    assert lines[-1] == "privacy: no ledger, no guarantee"
    private = replace(
        manifest, provenance={"kind": "federate", "rounds": 1200, "privacy": {"epsilon": 7.96, "delta": 1e-6}}
    )
    assert list(model_lines(private, None))[-2:] == ["federated, 1,200 rounds", "privacy: ε 7.96, δ 1e-06"]
    odd = replace(manifest, provenance={"kind": ["?"], "rounds": "[b]many[/b]", "privacy": "none"})
    assert list(model_lines(odd, None))[-1] == "privacy: no ledger, no guarantee"


def test_weights_are_counted_as_they_stand_in_the_file(tiny_bundle: Path) -> None:
    import math

    import onnx

    graph = onnx.load(str(tiny_bundle / "model.onnx")).graph
    counted = sum(
        math.prod(each.dims)
        for each in graph.initializer
        if each.name.endswith((".weight", ".weight.int8")) and "scale" not in each.name
    )
    assert open_bundle(tiny_bundle).manifest.model.num_weights == counted
