"""Spaces that slipped and apostrophes: what the shipped keyboard makes of two words, and what becomes of them
on screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from at_screen import GatedEngine, settled, text, wait_for
from textual.pilot import Pilot

from fedkey import Engine
from fedkey.engine import Accepted
from fedkey.layout import QWERTY
from fedkey.settings import Settings
from fedkey.shipped import shipped_bundle
from fedkey.ui.app import KeyboardApp
from fedkey.ui.draft import DraftView


@pytest.fixture(scope="module")
def engine_shipped() -> Engine:
    return Engine.open(shipped_bundle())


@pytest.mark.parametrize(
    ("context", "first", "second", "meant"),
    [
        ("we went ", "tot", "he", "to the"),
        ("", "th", "eother", "the other"),
        ("see you ", "a", "tthe", "at the"),
        ("the ", "mee", "ting", "meeting"),
        ("so ", "i", "msorry", "I'm sorry"),
        ("", "ic", "an", "I can"),
        ("", "Tot", "he", "To the"),
        ("", "TOT", "HE", "TO THE"),
        ("what ", "do", "nt", "don't"),
        ("", "it", "s", "it's"),
        ("he lives in ", "londo", "nnow", "London now"),
        ("see the key to ", "w", "hat", "what"),
    ],
)
def test_what_was_meant_is_found(
    engine_shipped: Engine, context: str, first: str, second: str, meant: str
) -> None:
    assert engine_shipped.reconsidered(context, first, second) == meant


def test_what_a_correction_made_of_the_letters_is_a_guess(engine_shipped: Engine) -> None:
    assert engine_shipped.reconsidered("what do you ", "wantt", "o", "want o") == "want to"
    assert engine_shipped.reconsidered("I ", "thinkt", "his", "think his") == "think this"
    assert engine_shipped.reconsidered("we went ", "tot", "he", "to the") is None  # it stands there already


@pytest.mark.parametrize(
    ("context", "first", "second"),
    [
        ("", "so", "i"),
        ("so ", "i", "said"),
        ("", "a", "lot"),
        ("I am ", "in", "to"),
        ("", "can", "not"),
        ("this ", "may", "be"),
        ("", "every", "day"),
        ("", "That", "show"),
        ("my name is ", "Tom", "Orr"),
        ("W ", "h", "at"),
        ("see #", "tot", "he"),
        ("see /", "tot", "he"),
        ("mail joe@", "tot", "he"),
        ("so ", "a", "GE"),
        ("", "the", "Y"),
        ("", "the", "rapist"),
        ("", "car", "pet"),
        ("", "not", "ice"),
        ("", "u", "r"),
        ("", "h", "and"),
        ("", "t", "shirt"),
        ("", "fanc", "a"),
        ("", "ño", "se"),
        ("", "tot", "he2"),
        ("", "xqz", "vw"),
        ("I like thep arts. ", "thep", "arts"),
    ],
)
def test_what_may_be_meant_stands(engine_shipped: Engine, context: str, first: str, second: str) -> None:
    assert engine_shipped.reconsidered(context, first, second) is None


@pytest.mark.parametrize(
    ("context", "first", "second", "meant"),
    [
        ("I ", "don", "t", "don't"),
        ("", "I", "m", "I'm"),
        ("", "i", "ll", "I'll"),
        ("", "It", "s", "It's"),
        ("", "DON", "T", "DON'T"),
        ("", "bread", "so", None),
        ("", "x", "s", None),
        ("see /", "don", "t", None),
    ],
)
def test_a_semicolon_may_be_an_apostrophe(
    engine_shipped: Engine, context: str, first: str, second: str, meant: str | None
) -> None:
    assert engine_shipped.reconsidered(context, first, second, gap=";") == meant


@pytest.mark.parametrize(
    ("context", "first", "second", "stands", "meant"),
    [
        ("", "were", "you", "we're you", "were you"),
        ("so ", "were", "they", "we're they", "were they"),
        ("", "Were", "you", "We're you", "Were you"),
        ("it's a dog and ", "its", "ears", "it's ears", "its ears"),
        ("", "were", "going", "we're going", None),
        ("", "its", "cold", "it's cold", None),
        ("", "shed", "never", "shed never", "she'd never"),
        ("", "wed", "have", "wed have", "we'd have"),
        ("see you ", "wed", "then", "wed then", None),
        ("what the ", "hell", "is", "hell is", None),
        ("we ", "were", "so", "were so", None),
    ],
)
def test_the_next_word_tells_whether_an_apostrophe_was_left_out(
    engine_shipped: Engine, context: str, first: str, second: str, stands: str, meant: str | None
) -> None:
    assert engine_shipped.reconsidered(context, first, second, stands) == meant


@pytest.mark.parametrize(
    ("context", "letters"),
    [
        ("she'd go. put it in the ", "shed"),
        ("we'll get a ", "well"),
        ("we'd like to meet on ", "wed"),
        ("see you ", "wed"),
    ],
)
def test_that_a_form_was_said_makes_no_sentence_of_it(
    engine_shipped: Engine, context: str, letters: str
) -> None:
    assert engine_shipped.suggest(context, letters).autocorrect is None


def test_what_stands_behind_counts(engine_shipped: Engine) -> None:
    assert engine_shipped.reconsidered("we went ", "tot", "he", after=" beach") == "to the"
    assert engine_shipped.reconsidered("we went ", "tot", "he", after="@example.org") is None


def test_what_the_owner_calls_so_stands(tiny_bundle: Path) -> None:
    engine = Engine.open(tiny_bundle)
    assert engine.reconsidered("", "thep", "ark") == "the park"
    engine.learn("thep")
    assert engine.reconsidered("", "thep", "ark") is None


def test_no_answer_depends_on_having_been_asked(tiny_bundle: Path) -> None:
    engine, other = Engine.open(tiny_bundle), Engine.open(tiny_bundle)
    engine.suggest("we went tot ", "he")
    assert (
        engine.reconsidered("we went ", "tot", "he")
        == other.reconsidered("we went ", "tot", "he")
        == "to the"
    )
    assert engine.suggest("we went to the ", "b").words == other.suggest("we went to the ", "b").words


def test_what_was_taken_back_is_not_put_again_there(tiny_bundle: Path) -> None:
    engine = Engine.open(tiny_bundle)
    engine.undo(engine.accept("we went ", "tot he", "to the"))
    assert engine.reconsidered("we went ", "tot", "he") is None
    assert engine.reconsidered("I went ", "tot", "he") == "to the"
    assert {each.word: each.count for each in engine.words_learned()} == {"tot": 1, "he": 1}


# ------------------------------------------------------------------------------------------- on screen


@pytest.fixture
def engine(engine: GatedEngine) -> GatedEngine:
    """To which "tot" is a word of its own."""
    engine.prepare("tot")
    return engine


def underlined(app: KeyboardApp) -> str:
    """What is marked as corrected."""
    place = app.typing.draft.marked
    return "" if place is None else place.letters


def learned(engine: GatedEngine) -> dict[str, int]:
    return {each.word: each.count for each in engine.words_learned()}


async def type_slipped(pilot: Pilot[str], app: KeyboardApp, keys: str, expected: str) -> None:
    await pilot.press(*keys)
    await wait_for(pilot, lambda: text(app) == expected)
    await settled(pilot)


async def test_a_space_that_slipped_is_put_right_behind_the_second_word(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await type_slipped(pilot, app, "go tot he ", "go to the |")
        assert underlined(app) == "to the"
        assert learned(engine) == {"go": 1, "to": 1, "the": 1}
        await type_slipped(pilot, app, "beach,", "go to the beach,|")
        assert underlined(app) == ""


async def test_so_it_is_where_the_first_word_was_corrected(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare("wantt", autocorrect="want")
    engine.prepare("o")
    async with app.run_test() as pilot:
        await pilot.press(*"I wantt")
        await settled(pilot)
        await pilot.press("space")
        assert text(app) == "I want |"
        await type_slipped(pilot, app, "o ", "I want to |")
        assert learned(engine) == {"I": 1, "want": 1, "to": 1}


async def test_a_semicolon_becomes_the_apostrophe_beside_it(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await type_slipped(pilot, app, "I don;t ", "I don't |")
        assert learned(engine) == {"I": 1, "don't": 1}
        await pilot.press("backspace")
        assert text(app) == "I don;t|"


async def test_so_it_is_for_who_is_ahead_of_the_engine(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare("wantt", autocorrect="want")
    engine.prepare("o")
    async with app.run_test() as pilot:
        await settled(pilot)
        engine.gate.clear()
        await pilot.press(*"I wantt o go")
        assert text(app) == "I wantt o go|"
        engine.gate.set()
        await wait_for(pilot, lambda: text(app) == "I want to go|")
        await settled(pilot)
        assert learned(engine) == {"I": 1, "want": 1, "to": 1}


@pytest.mark.parametrize("is_answered", [True, False])
async def test_so_it_is_where_the_second_was(
    app: KeyboardApp, engine: GatedEngine, is_answered: bool
) -> None:
    engine.prepare("tot")
    engine.prepare("hebea", autocorrect="Hebe")
    async with app.run_test() as pilot:
        await pilot.press(*"tot ")
        await settled(pilot)
        if not is_answered:
            engine.gate.clear()
        await pilot.press(*"he")
        if is_answered:
            await settled(pilot)
        await pilot.press("space")
        engine.gate.set()
        await wait_for(pilot, lambda: text(app) == "to the |")


async def test_backspace_brings_the_letters_back_and_they_stay(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await type_slipped(pilot, app, "go tot he ", "go to the |")
        await pilot.press("backspace")
        assert text(app) == "go tot he|"
        await settled(pilot)
        assert engine.taken_back == [Accepted("go ", "tot he", "to the")]
        await pilot.press(*" so ")
        await settled(pilot)
        assert text(app) == "go tot he so |"
        assert learned(engine) == {"go": 1, "tot": 1, "he": 1, "so": 1}


async def test_ctrl_z_brings_them_back_later(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await type_slipped(pilot, app, "go tot he ", "go to the |")
        await pilot.press(*"so")
        await pilot.press("ctrl+z")
        assert text(app) == "go tot he so|"
        await settled(pilot)
        assert learned(engine) == {"go": 1, "tot": 1, "he": 1}


async def test_words_that_are_deleted_then_were_never_written(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await type_slipped(pilot, app, "go tot he ", "go to the |")
        await pilot.press("space", "ctrl+w", "ctrl+w", *"home ")
        await settled(pilot)
        assert text(app) == "go home |"
        assert learned(engine) == {"go": 1, "home": 1}


async def test_a_word_that_was_taken_brought_its_own_space(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare("to", "tot")
    async with app.run_test() as pilot:
        await pilot.press(*"go to")
        await settled(pilot)
        await pilot.press("tab", *"he ")
        await settled(pilot)
        await pilot.press(*"so ")
        await settled(pilot)
        assert text(app) == "go tot he so |"


async def test_what_is_meant_literally_stands(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"go tot", "escape", *" he so ")
        await settled(pilot)
        assert text(app) == "go tot he so |"


async def test_without_corrections_no_space_is_moved(engine: GatedEngine) -> None:
    app = KeyboardApp(lambda: engine, QWERTY, settings=Settings(autocorrect=False))
    async with app.run_test() as pilot:
        await pilot.press(*"go tot he so ")
        await settled(pilot)
        assert text(app) == "go tot he so |"


async def test_two_lines_are_not_two_words_of_one(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"go tot", "ctrl+j", *"he so ")
        await settled(pilot)
        assert text(app) == "go tot\nhe so |"


async def test_what_was_changed_meanwhile_stands(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"go tot he")
        await settled(pilot)
        engine.gate.clear()
        await pilot.press(*" x", "ctrl+left", "ctrl+left", "left", "left", "backspace", "end")
        engine.gate.set()
        await settled(pilot)
        assert text(app) == "go tt he x|"


async def test_what_was_sent_meanwhile_stands(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        engine.gate.clear()
        await pilot.press(*"go tot he ", "enter", *"so")
        engine.gate.set()
        await settled(pilot)
        assert app.typing.messages == ("go tot he",)
        assert text(app) == "so|"


async def test_privately_nothing_of_it_is_remembered(engine: GatedEngine) -> None:
    app = KeyboardApp(lambda: engine, QWERTY, is_private=True)
    async with app.run_test() as pilot:
        await type_slipped(pilot, app, "go tot he ", "go to the |")
        assert learned(engine) == {}


async def test_the_caret_stays_where_it_is_in_front_of_other_words(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*" now", "home")
        await type_slipped(pilot, app, "go tot he", "go tot he| now")
        await type_slipped(pilot, app, " ", "go to the |now")
        assert app.typing.query_one(DraftView)
