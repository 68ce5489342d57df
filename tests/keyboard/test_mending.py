"""Going back to mend a sentence: words that fit both sides of the caret, and others in place of one that
stands."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest
from at_screen import GatedEngine, screen_text, settled, text, wait_for, words, words_for
from textual.geometry import Offset
from textual.style import Style

from fedkey.engine import Accepted
from fedkey.explanation import Explanation
from fedkey.layout import QWERTY
from fedkey.settings import Settings
from fedkey.text import is_word, normalise, split
from fedkey.ui.app import KeyboardApp
from fedkey.ui.draft import DraftView
from fedkey.ui.keypad import Keypad
from fedkey.ui.messages import Kind, LineDrawn
from fedkey.ui.suggestions import Choice


@pytest.fixture
def engine(tiny_bundle: Path) -> GatedEngine:
    """The real engine, which leaves two mistakes as they are."""
    engine = GatedEngine(tiny_bundle)
    engine.prepare("tomorow", "tomorrow")
    engine.prepare("latr", "later")
    return engine


def picked(app: KeyboardApp) -> str:
    """What is shown as the word that is to be replaced."""
    content = app.typing.query_one(DraftView).render()
    return "".join(
        content.plain[span.start : span.end]
        for span in content.spans
        if isinstance(span.style, Style) and span.style.underline and span.style.bold
    )


def cell_of(app: KeyboardApp, caret: int) -> Offset:
    """Where a character of a draft of one line is, from the edge of its view."""
    view = app.typing.query_one(DraftView)
    return view.content_region.offset - view.region.offset + Offset(caret, 0)


def kinds(app: KeyboardApp) -> set[Kind]:
    return {offer.kind for offer in app.typing.offers_in_view if offer is not None}


# ----------------------------------------------------------------------------- both sides of the caret


async def test_suggestions_inside_a_text_are_asked_for_with_what_stands_behind(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"see later, ok", "ctrl+j", *"bye", "ctrl+home", "ctrl+right")
        await pilot.press("space")
        await settled(pilot)
        assert text(app) == "see |later, ok\nbye"  # the space that stands there
        assert engine.asked[-1] == ("see ", "")
        assert engine.asked_before[-1] == " later, ok"
        await pilot.press("y")
        assert text(app) == "see y| later, ok\nbye"
        await settled(pilot)
        assert engine.asked[-1] == ("see ", "y")
        assert engine.asked_before[-1] == " later, ok"
        assert words(app) == words_for(engine, "see ", "y", " later, ok")
        word = words(app)[0]
        await pilot.press("tab")
        assert text(app) == f"see {word}| later, ok\nbye"
        await settled(pilot)
        assert engine.told[-1] == ("see ", "y", word)
        assert engine.told_before[-1] == " later, ok"


async def test_what_is_shown_and_taken_is_what_the_model_makes_of_both_sides(behind_bundle: Path) -> None:
    engine = GatedEngine(behind_bundle)
    app = KeyboardApp(lambda: engine, QWERTY)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"see later", "ctrl+home", "ctrl+right")
        await settled(pilot)
        assert words(app) == engine.replacements("", "see", " later").words
        await pilot.press("space")
        await settled(pilot)
        assert words(app) == words_for(engine, "see ", "", " later") != words_for(engine, "see ", "")
        word = words(app)[0]
        await pilot.press("tab")
        assert text(app) == f"see {word}| later"


async def test_at_the_end_of_a_text_nothing_stands_behind(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"see you ", "tab", *"so", "enter", *"ok", "left", "right", "space")
        await settled(pilot)
        assert set(engine.asked_before) <= {"", "k"}
        assert set(engine.told_before) == {""}


@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_space_inside_a_text_corrects_and_is_not_doubled(
    app: KeyboardApp, engine: GatedEngine, is_answered: bool
) -> None:
    engine.prepare("wrld", "world", "word", autocorrect="world")
    async with app.run_test() as pilot:
        await pilot.press(*"my now", "ctrl+home", "ctrl+right", "space")
        await settled(pilot)
        if not is_answered:
            engine.gate.clear()
        await pilot.press(*"wrld")
        if is_answered:
            await settled(pilot)
        assert text(app) == "my wrld| now"
        await pilot.press("space")
        engine.gate.set()
        await wait_for(pilot, lambda: text(app) == "my world |now")
        await settled(pilot)
        assert ("my ", "wrld", "world") in engine.told
        assert engine.told_before[engine.told.index(("my ", "wrld", "world"))] == " now"
        if is_answered:
            await pilot.press("backspace")
            assert text(app) == "my wrld| now"
        else:
            await pilot.press("ctrl+z")
            assert text(app) == "my wrld |now"


async def test_a_phrase_inside_a_text(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare("se", "see", phrase="see you soon")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"so now", "ctrl+home", "ctrl+right", *" se")
        await settled(pilot)
        await pilot.press("alt+4")
        assert text(app) == "so see you soon| now"
        await settled(pilot)
        assert engine.told_before[-3:] == [" now"] * 3
        await pilot.press("ctrl+z")
        assert text(app) == "so se| now"


async def test_a_line_across_the_keys_is_read_with_what_stands_behind(
    app: KeyboardApp, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[tuple[str, str]] = []

    def trace(context: str, path: object, *, private: bool, after: str) -> object:
        traced.append((context, after))
        return engine.prepared["drawn"]

    engine.prepare("drawn", "you", "your")
    monkeypatch.setattr(engine, "trace", trace)
    async with app.run_test() as pilot:
        await pilot.press(*"see now", "ctrl+home", "ctrl+right")
        await settled(pilot)
        shift = app.typing.query_one(Keypad).shift
        app.typing.on_line_drawn(LineDrawn(((0.0, 0.0), (5.0, 0.0)), shift))
        await wait_for(pilot, lambda: text(app) == "see you| now")
        assert traced == [("see ", " now")]
        await pilot.press("backspace")
        assert text(app) == "see |now"


async def test_the_glass_box_explains_with_what_stands_behind(
    engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained: list[tuple[str, object, str]] = []
    explain = engine.explain

    def note(context: str, typed: str, *, private: bool, after: str) -> Explanation:
        explained.append((context, typed, after))
        return explain(context, typed, private=private, after=after)

    monkeypatch.setattr(engine, "explain", note)
    app = KeyboardApp(lambda: engine, QWERTY, Settings(glass_box=True))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press(*"see now", "ctrl+home", "ctrl+right", *" y")
        await wait_for(pilot, lambda: ("see ", "y", " now") in explained)
        await pilot.press("end", "left")
        await wait_for(pilot, lambda: ("see y ", "", "") in explained)  # of a word that stands: its place


# ------------------------------------------------------------------------------ a word that is gone


async def test_the_space_too_many_beside_a_deleted_word_goes_with_the_caret(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        for keys, expected in (
            (["end"], "see you now|"),
            (["left"], "see you| now"),
            (["up"], "|see you now"),
            (["x"], "see you x| now"),
            (["backspace", "end"], "see you now|"),
        ):
            await pilot.press(*"see you all now", "ctrl+left", "left", *["backspace"] * 3)
            assert text(app) == "see you | now"
            await pilot.press(*keys)
            assert text(app) == expected
            await pilot.press("end", "ctrl+u")


async def test_a_click_lands_on_the_letter_that_was_clicked(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"see all now", "ctrl+home", "ctrl+right", "right", *["delete"] * 3)
        assert text(app) == "see | now"
        await pilot.click(DraftView, offset=cell_of(app, 6))
        assert text(app) == "see n|ow"
        await settled(pilot)
        assert picked(app) == "now"


async def test_a_message_is_sent_without_the_space_too_many(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"see, all, now", *["left"] * 5, *["backspace"] * 3)
        assert text(app) == "see, |, now"
        await pilot.press("backspace", "backspace", *" you", *["backspace"] * 3)
        assert text(app) == "see |, now"
        await settled(pilot)
        assert (engine.asked[-1], engine.asked_before[-1]) == (("see ", ""), ", now")
        await pilot.press("enter")
        assert app.typing.messages == ("see, now",)


# ------------------------------------------------------------------------------- a word that stands


@pytest.mark.parametrize("caret", [4, 7, 11])
async def test_a_click_on_a_word_offers_others_in_its_place(
    app: KeyboardApp, engine: GatedEngine, caret: int
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"see tomorow now")
        await settled(pilot)
        assert engine.replaced == []
        await pilot.click(DraftView, offset=cell_of(app, caret))
        assert app.typing.draft.caret == caret
        await settled(pilot)
        assert engine.replaced == ["tomorow"]
        assert (engine.asked[-1], engine.asked_before[-1]) == (("see ", "tomorow"), " now")
        assert picked(app) == "tomorow"
        expected = engine.replacements("see ", "tomorow", " now").words
        assert words(app) == expected != ()
        assert kinds(app) == {Kind.REPLACEMENT}
        assert f"1 ⇄ {expected[0]}" in screen_text(app)
        await pilot.press("tab")
        assert text(app) == f"see {expected[0]}| now"
        assert picked(app) == ""
        await settled(pilot)
        assert engine.told[-1] == ("see ", "tomorow", expected[0])
        await pilot.press("ctrl+z")
        assert app.typing.draft.text == "see tomorow now"
        assert app.typing.draft.caret == caret
        assert picked(app) == "tomorow"
        await settled(pilot)
        assert words(app) == expected


@pytest.mark.parametrize("key", ["f3", "alt+2", "click"])
async def test_every_key_that_takes_a_suggestion_takes_another_word(
    app: KeyboardApp, engine: GatedEngine, key: str
) -> None:
    engine.prepare_instead("form", "for", "from")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"it is form me", "ctrl+left", "left")
        assert text(app) == "it is form| me"
        await settled(pilot)
        assert words(app) == ("for", "from")
        if key == "click":
            await pilot.click(app.typing.query(Choice)[1])
        else:
            await pilot.press(key)
        assert text(app) == "it is from| me"
        await pilot.press(*"all")
        assert text(app) == "it is from all| me"


async def test_letters_go_in_where_the_caret_is(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare_instead("tomorow", "tomorrow")
    async with app.run_test() as pilot:
        await pilot.press(*"see tomorow now")
        await pilot.click(DraftView, offset=cell_of(app, 8))
        await settled(pilot)
        assert words(app) == ("tomorrow",)
        engine.gate.clear()
        await pilot.press("r")
        assert text(app) == "see tomor|row now"
        # What is on screen still was for the word that is no more.
        await pilot.press("tab")
        assert app.typing.draft.text == "see tomorrow now"
        assert picked(app) == ""
        engine.gate.set()
        await settled(pilot)
        assert Kind.REPLACEMENT not in kinds(app)


async def test_escape_and_moving_away_end_it(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare_instead("tomorow", "tomorrow")
    engine.prepare_instead("see", "saw")
    async with app.run_test() as pilot:
        await pilot.press(*"see tomorow now")
        await pilot.click(DraftView, offset=cell_of(app, 8))
        await settled(pilot)
        assert (picked(app), words(app)) == ("tomorow", ("tomorrow",))
        await pilot.press("escape")
        assert (picked(app), words(app)) == ("", ())
        await pilot.press("tab", "f2")
        assert app.typing.draft.text == "see tomorow now"
        await pilot.click(DraftView, offset=cell_of(app, 1))
        await settled(pilot)
        assert (picked(app), words(app)) == ("see", ("saw",))
        await pilot.press("end")
        await settled(pilot)
        assert picked(app) == ""
        assert Kind.REPLACEMENT not in kinds(app)


async def test_words_shown_for_one_word_are_not_put_for_another(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare_instead("tomorow", "tomorrow")
    async with app.run_test() as pilot:
        await pilot.press(*"see tomorow now")
        await pilot.click(DraftView, offset=cell_of(app, 8))
        await settled(pilot)
        engine.gate.clear()
        await pilot.click(DraftView, offset=cell_of(app, 1))
        assert picked(app) == "see"
        await pilot.press("tab")
        assert app.typing.draft.text == "see tomorow now"
        engine.gate.set()


async def test_a_word_that_was_seen_as_it_stands_is_not_corrected(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare("wrld", "world", autocorrect="world")
    async with app.run_test() as pilot:
        await pilot.press(*"my wrld", "escape", *" now", "ctrl+left", "left")
        assert text(app) == "my wrld| now"
        await settled(pilot)
        await pilot.press("comma")
        await settled(pilot)
        assert text(app) == "my wrld,| now"


async def test_without_colours_the_word_is_marked_too(
    engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = KeyboardApp(lambda: engine, QWERTY, Settings(theme="ansi-dark"))
    async with app.run_test(size=(40, 12)) as pilot:
        await pilot.press(*"see tomorow now", *["left"] * 6)
        await settled(pilot)
        assert picked(app) == "tomorow"
        styles = re.findall(r"-r\d+ \{([^}]*)\}", app.export_screenshot())
    assert any("underline" in style and "bold" in style for style in styles), styles


# -------------------------------------------------------------------------------------- the memory


async def test_a_mistake_that_is_mended_again_and_again_is_never_learned(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare_instead("latr", "later")
    async with app.run_test() as pilot:
        for _ in range(3):
            await pilot.press(*"see you latr now", *["left"] * 5)
            await settled(pilot)
            await pilot.press("tab", "enter")
            await settled(pilot)
        assert app.typing.messages == ("see you later now",) * 3
        counts = {each.word: each.count for each in engine.words_learned()}
        assert counts["later"] == 3
        assert "latr" not in counts
        assert not engine.knows("latr")


async def test_what_is_remembered_comes_back_with_the_word(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare_instead("latr", "later", "latter")
    async with app.run_test() as pilot:
        await pilot.press(*"see you latr now ", *["left"] * 6)
        await settled(pilot)
        before = engine.words_learned()
        await pilot.press("tab", "ctrl+z")
        await settled(pilot)
        assert engine.taken_back == [Accepted("see you ", "latr", "later")]
        assert engine.words_learned() == before
        await pilot.press("f3")
        await settled(pilot)
        counts = {each.word: each.count for each in engine.words_learned()}
        assert "latr" not in counts
        assert counts["latter"] == 1


async def test_a_word_is_told_of_once_however_often_it_is_finished(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"see latr ok ", *["left"] * 4, "comma", "backspace", "exclamation_mark")
        await settled(pilot)
        assert text(app) == "see latr!| ok "
        assert engine.told == [("", "see", "see"), ("see ", "latr", "latr"), ("see latr ", "ok", "ok")]


async def test_a_word_that_is_corrected_late_is_told_of_as_it_stands_then(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare("wrld", "world", autocorrect="world")
    engine.prepare_instead("world", "word")
    async with app.run_test() as pilot:
        await pilot.press(*"my ")
        await settled(pilot)
        engine.gate.clear()
        await pilot.press(*"wrld")
        await pilot.press("space", *"so")
        engine.gate.set()
        await wait_for(pilot, lambda: text(app) == "my world so|")
        await settled(pilot)
        counts = {each.word: each.count for each in engine.words_learned()}
        assert counts == {"my": 1, "world": 1}
        await pilot.press(*["left"] * 4)
        await settled(pilot)
        await pilot.press("tab")
        assert text(app) == "my word| so"
        await settled(pilot)
        counts = {each.word: each.count for each in engine.words_learned()}
        assert counts == {"my": 1, "word": 1}


def counts(engine: GatedEngine) -> dict[str, int]:
    return {each.word: each.count for each in engine.words_learned()}


BY_HAND = [
    [*"see latr now ", *["left"] * 6, "e", "end"],
    [*"see latr now ", *["left"] * 6, "e"],
    [*"see latr now ", *["left"] * 5, "backspace", *"er", "end"],
    [*"see latr now ", *["left"] * 5, "backspace", *"er", "space"],
    [*"see latr ", *["backspace"] * 2, *"er", "space", *"now"],
    [*"see latr now ", *["left"] * 5, *["backspace"] * 4, *"later"],
    [*"see latr now ", *["left"] * 5, "ctrl+w", *"later", "end"],
    [*"see latr now ", *["left"] * 9, *["delete"] * 4, *"later", "down"],
    [*"see la tr now ", *["left"] * 7, "backspace", "right", "e", "end"],
    [*"see latrnow ", *["left"] * 5, "e", "right", "space", "end"],
]


async def test_a_word_that_is_changed_by_hand_counts_as_what_it_became(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        for number, keys in enumerate(BY_HAND, 1):
            await pilot.press(*keys, "enter")
            await settled(pilot)
            assert app.typing.messages[-1] == "see later now"
            assert counts(engine) == {"see": number, "later": number, "now": number}, keys
        assert not engine.knows("latr")


async def test_a_word_that_is_deleted_is_remembered_once_less(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        for keys, left in (
            ([*["backspace"] * 5, "end"], {"see": 1, "now": 1}),
            (["ctrl+w", "end"], {"see": 1, "now": 1}),
            (["ctrl+u", "end"], {"now": 1}),
            (["ctrl+u", *["delete"] * 4], {}),
        ):
            await pilot.press(*"see latr now ", *["left"] * 5, *keys)
            await settled(pilot)
            assert counts(engine) == left
            await pilot.press("end", "ctrl+u")
            await settled(pilot)
            assert counts(engine) == {}
        await pilot.press(*"see latr now ", *["left"] * 5, *["backspace"] * 4, "enter")
        await settled(pilot)
        assert counts(engine) == {"see": 1, "now": 1}


async def test_a_word_that_becomes_again_what_it_was_counts_as_before(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"see latr now ", *["left"] * 5)
        await settled(pilot)
        before, told = engine.words_learned(), list(engine.told)
        await pilot.press(*["backspace"] * 3, *"atr", "comma", "backspace", "end")
        await settled(pilot)
        assert text(app) == "see latr now |"
        assert (engine.words_learned(), engine.told) == (before, told)


async def test_a_word_that_is_changed_by_hand_is_told_of_with_what_stands_around_it(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"so", "enter", *"see latr now, ok", *["left"] * 9, "e", "end")
        await settled(pilot)
        assert (engine.told[-1], engine.told_before[-1]) == (("so\nsee ", "later", "later"), " now, ok")


async def test_what_is_taken_in_a_changed_word_can_be_taken_back(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare("lat", "later")
    async with app.run_test() as pilot:
        await pilot.press(*"see latr now ", *["left"] * 5, "backspace")
        await settled(pilot)
        await pilot.press("tab")
        assert text(app) == "see later| now "
        await settled(pilot)
        assert counts(engine) == {"see": 1, "later": 1, "now": 1}
        await pilot.press("ctrl+z")
        assert text(app) == "see lat| now "
        await settled(pilot)
        assert counts(engine) == {"see": 1, "now": 1}
        await pilot.press(*"er", "end")
        await settled(pilot)
        assert counts(engine)["see"] == counts(engine)["now"] == 1


async def test_a_correction_of_a_word_that_was_changed_meanwhile_is_not_told_of(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare("wrld", "world", autocorrect="world")
    engine.prepare("wrlk", "work")
    async with app.run_test() as pilot:
        await pilot.press(*"wrld", "escape", "space", "enter")  # meant so, once
        await settled(pilot)
        engine.gate.clear()
        await pilot.press(*"my wrld", "space", "backspace", "backspace")
        engine.gate.set()
        await settled(pilot)
        await pilot.press(*"k", "space")
        await settled(pilot)
        assert text(app) == "my wrlk |"
        assert counts(engine) == {"my": 1, "wrld": 1, "wrlk": 1}


@pytest.mark.parametrize("deletion", [["ctrl+w"] * 2, ["backspace"] * 5, ["ctrl+u"]])
async def test_a_word_that_is_deleted_before_its_correction_comes_was_never_written(
    app: KeyboardApp, engine: GatedEngine, deletion: list[str]
) -> None:
    engine.prepare("wrld", "world", autocorrect="world")
    async with app.run_test() as pilot:
        await settled(pilot)
        for number in (0, 1):  # a word that was meant so, in this very place, stays remembered
            engine.gate.clear()
            await pilot.press(*"wrld", "space", *deletion, "ctrl+home")
            engine.gate.set()
            await settled(pilot)
            await pilot.pause()
            assert text(app) == "|"
            assert counts(engine) == ({"wrld": 1} if number else {})
            await pilot.press(*"wrld", "escape", "space")
            await settled(pilot)
            assert counts(engine) == {"wrld": number + 1}
            await pilot.press("enter")
            app.typing.clear_conversation()
            await settled(pilot)


async def test_a_word_that_is_written_again_before_its_correction_comes_is_told_of_once(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare("wrld", "world", autocorrect="world")
    async with app.run_test() as pilot:
        await settled(pilot)
        engine.gate.clear()
        await pilot.press(*"so wrld", "space", "ctrl+w", "ctrl+home", "ctrl+end")
        assert text(app) == "so |"
        await pilot.press(*"wrld", "space")
        engine.gate.set()
        await wait_for(pilot, lambda: text(app) == "so world |")
        await settled(pilot)
        await wait_for(pilot, lambda: counts(engine) == {"so": 1, "world": 1})


async def test_a_word_that_is_sent_before_its_correction_comes_counts_as_it_was_sent(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare("wrld", "world", autocorrect="world")
    async with app.run_test() as pilot:
        await settled(pilot)
        engine.gate.clear()
        await pilot.press(*"my wrld", "space", "enter")
        engine.gate.set()
        await settled(pilot)
        await wait_for(pilot, lambda: counts(engine) == {"my": 1, "wrld": 1})
        assert app.typing.messages == ("my wrld",)


async def test_letters_that_were_meant_and_changed_after_all_count_as_what_they_became(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare("wrld", "world", autocorrect="world")
    async with app.run_test() as pilot:
        for number in (1, 2):
            await pilot.press(*"my wrld")
            await settled(pilot)
            await pilot.press("space", "backspace")
            assert text(app) == "my wrld|"
            await settled(pilot)
            assert counts(engine)["wrld"] == 1
            await pilot.press(*["backspace"] * 3, *"ord", "enter")
            await settled(pilot)
            assert counts(engine) == {"my": number, "word": number}


@pytest.mark.parametrize("put", ["world", "Wrld"])
async def test_letters_that_came_back_late_are_told_of(
    app: KeyboardApp, engine: GatedEngine, put: str
) -> None:
    engine.prepare("wrld", put, autocorrect=put)
    async with app.run_test() as pilot:
        await pilot.press(*"my wrld")
        await settled(pilot)
        await pilot.press(*" so ", "ctrl+z")
        assert text(app) == "my wrld so |"
        await settled(pilot)
        assert counts(engine) == {"my": 1, "wrld": 1, "so": 1}
        await pilot.press(*["left"] * 4, *["backspace"] * 4, *"word", "end")
        await settled(pilot)
        assert counts(engine) == {"my": 1, "word": 1, "so": 1}


async def test_letters_that_came_back_and_went_on_count_as_what_they_became(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare("wor", "war")
    async with app.run_test() as pilot:
        await pilot.press(*"my wor")
        await settled(pilot)
        await pilot.press("tab", "ctrl+z", *"ld", "enter")
        await settled(pilot)
        assert app.typing.messages == ("my world",)
        assert counts(engine) == {"my": 1, "world": 1}


async def test_letters_in_front_of_a_word_are_sent_as_a_part_of_it(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"fair ", "home", *"un", "enter")
        await settled(pilot)
        assert app.typing.messages == ("unfair",)
        assert counts(engine) == {"unfair": 1}


async def test_what_was_typed_privately_takes_nothing_back(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"see latr", "enter")
        await settled(pilot)
        before = engine.words_learned()
        await pilot.press("ctrl+r", *"see latr ", "ctrl+r", *["backspace"] * 9, *"so")
        await settled(pilot)
        assert engine.words_learned() == before
        await pilot.press("space")
        await settled(pilot)
        assert counts(engine) == {"see": 1, "latr": 1, "so": 1}


async def test_changing_a_word_privately_leaves_no_trace(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"see latr now ")
        await settled(pilot)
        before = engine.words_learned()
        await pilot.press("ctrl+r", *["left"] * 6, "e", "end", "ctrl+r", *["left"] * 5, "s", "end", "ctrl+u")
        await settled(pilot)
        assert text(app) == "|"
        assert engine.words_learned() == before


async def test_mending_privately_leaves_no_trace(engine: GatedEngine) -> None:
    engine.prepare_instead("latr", "later")
    app = KeyboardApp(lambda: engine, QWERTY, is_private=True)
    async with app.run_test() as pilot:
        await pilot.press(*"see latr now", *["left"] * 5)
        await settled(pilot)
        await pilot.press("tab")
        assert text(app) == "see later| now"
        await settled(pilot)
        assert engine.privacy == {True}
        assert engine.words_learned() == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3, 10])  # the last two found faults
async def test_nothing_is_remembered_but_what_was_sent(
    app: KeyboardApp, engine: GatedEngine, seed: int
) -> None:
    rng = random.Random(seed)
    moves = ["left", "right", "ctrl+left", "ctrl+right", "home", "end"]
    deletions = ["backspace", "delete", "ctrl+w"]
    sent: Counter[str] = Counter()
    async with app.run_test() as pilot:
        for _ in range(12):
            for _ in range(rng.randrange(4, 16)):
                keys = rng.choices(
                    [
                        [*rng.choice(["see", "latr", "you", "tomorow", "ok"]), "space"],
                        [rng.choice(moves)] * rng.randrange(1, 5),
                        [rng.choice(deletions)] * rng.randrange(1, 5),
                        [rng.choice(["comma", "e", "full_stop"])],
                        ["tab"],
                    ],
                    [4, 4, 3, 1, 1],
                )[0]
                await pilot.press(*keys)
                if rng.random() < 0.3:
                    await settled(pilot)
            text_sent = app.typing.draft.text
            await pilot.press("enter")
            await settled(pilot)
            sent += Counter(unit.lower() for unit in split(normalise(text_sent)) if is_word(unit))
            remembered = {word.lower(): count for word, count in counts(engine).items()}
            too_often = {word: n for word, n in remembered.items() if n > sent[word]}
            assert too_often == {}, (text_sent, engine.told[-12:])
