"""The keyboard on screen with the real engine: what is pressed, and what is seen."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from at_screen import (
    GatedEngine,
    click_key,
    key_cell,
    screen_text,
    settled,
    tap,
    text,
    wait_for,
    words,
    words_for,
)
from textual import events
from textual.message import Message
from textual.style import Style
from textual.widgets import Static

from fedkey import BundleError, Engine, Suggestions, UserError
from fedkey.draft import Draft
from fedkey.engine import Accepted
from fedkey.layout import QWERTY, SHIFT
from fedkey.personal import Personal
from fedkey.settings import Settings
from fedkey.ui.app import KeyboardApp
from fedkey.ui.conversation import Bubble, Conversation
from fedkey.ui.draft import DraftView
from fedkey.ui.help import HelpScreen
from fedkey.ui.keypad import Keypad
from fedkey.ui.messages import Kind, Noticed, Offer, OfferChosen, Typable
from fedkey.ui.suggestions import Choice, SuggestionStrip, offered
from fedkey.ui.typing import LOADING

KEY_COMMANDS = ["Keys: QWERTZ", "Keys: AZERTY", "Keys: DVORAK", "Clumsy thumbs"]

SIZES = [(40, 12), (44, 17), (60, 18), (63, 23), (80, 24), (99, 39), (120, 40), (200, 60)]

# ----------------------------------------------------------------------------------- suggestions


async def test_suggestions_follow_every_key(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        assert words(app) == words_for(engine, "", "") != ()
        for typed in ("s", "se", "see"):
            await pilot.press(typed[-1])
            await settled(pilot)
            assert words(app) == words_for(engine, "", typed)
            assert any(word.lower().startswith(typed) for word in words(app))
        await pilot.press("space")
        await settled(pilot)
        assert words(app) == words_for(engine, "see ", "")
        for word in words(app):
            assert word in screen_text(app)


@pytest.mark.parametrize(
    ("key", "rank"),
    [("tab", 0), ("alt+1", 0), ("alt+2", 1), ("alt+3", 2), ("f2", 0), ("f3", 1), ("f4", 2)],
)
async def test_a_key_takes_a_suggestion(app: KeyboardApp, engine: GatedEngine, key: str, rank: int) -> None:
    async with app.run_test() as pilot:
        await pilot.press("t")
        await settled(pilot)
        taken = words(app)[rank]
        await pilot.press(key)
        assert text(app) == f"{taken} |"
        await settled(pilot)
        assert engine.told == [("", "t", taken)]
        assert words(app) == words_for(engine, f"{taken} ", "")


async def test_a_click_takes_a_suggestion(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press("t")
        await settled(pilot)
        second = app.typing.query(Choice)[1]
        word = words(app)[1]
        await pilot.click(second)
        assert text(app) == f"{word} |"


async def test_taking_a_place_that_is_empty_changes_nothing(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare("qqq")
    async with app.run_test() as pilot:
        await pilot.press(*"qqq")
        await settled(pilot)
        assert words(app) == ()
        await pilot.press("tab", "alt+3", "alt+4", "f7")
        await pilot.click(app.typing.query(Choice)[0])
        assert text(app) == "qqq|"


async def test_the_space_after_an_accepted_word_gives_way_to_punctuation(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press("t")
        await settled(pilot)
        word = words(app)[0]
        await pilot.press("tab", "comma")
        assert text(app) == f"{word},|"
        await settled(pilot)
        # The next word is suggested as if its space stood there already.
        following = words(app)[0]
        await pilot.press("tab")
        assert text(app) == f"{word}, {following} |"
        await pilot.press("full_stop", "o", "k")
        assert text(app) == f"{word}, {following}. ok|"


async def test_escape_hides_suggestions_until_the_next_key(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press("t")
        await settled(pilot)
        await pilot.press("escape")
        assert words(app) == ()
        await pilot.press("tab")
        assert text(app) == "t|"
        await pilot.press("h")
        await settled(pilot)
        assert words(app) == words_for(engine, "", "th")


async def test_escape_hides_the_suggestions_on_their_way_too(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        engine.gate.clear()
        await pilot.press("t", "escape")
        await wait_for(pilot, lambda: engine.asked[-1] == ("", "t"))
        engine.gate.set()
        await pilot.press("left", "h")  # answered later, so the answer for "t" has come by then
        await settled(pilot)
        assert app.typing.shown is not None
        assert app.typing.shown.question.typed == "h"


# ----------------------------------------------------------------------------------- corrections


def underlined(app: KeyboardApp) -> str:
    """What is underlined in the draft."""
    content = app.typing.query_one(DraftView).render()
    return "".join(
        content.plain[span.start : span.end]
        for span in content.spans
        if isinstance(span.style, Style) and span.style.underline
    )


@pytest.fixture
def wrld(engine: GatedEngine) -> GatedEngine:
    """An engine that corrects two words."""
    engine.prepare("wrld", "world", "word", "wild", autocorrect="world")
    engine.prepare("hwo", "how", autocorrect="how")
    return engine


@pytest.mark.parametrize("key", ["space", "comma", "question_mark"])
async def test_what_finishes_a_word_brings_its_correction(
    app: KeyboardApp, wrld: GatedEngine, key: str
) -> None:
    character = {"space": " ", "comma": ",", "question_mark": "?"}[key]
    async with app.run_test() as pilot:
        await pilot.press(*"hi wrld")
        await settled(pilot)
        await pilot.press(key)
        assert text(app) == f"hi world{character}|"
        assert underlined(app) == "world"
        await settled(pilot)
        assert wrld.told == [("", "hi", "hi"), ("hi ", "wrld", "world")]
        await pilot.press(*"go", "space")
        assert underlined(app) == ""


async def test_two_words_may_be_put_for_one(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare("alot", "a lot", autocorrect="a lot")
    async with app.run_test() as pilot:
        await pilot.press(*"alot")
        await settled(pilot)
        await pilot.press("space", "o", "f")
        assert text(app) == "a lot of|"


async def test_who_is_ahead_of_the_engine_is_corrected_later(app: KeyboardApp, wrld: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        wrld.gate.clear()
        await pilot.press(*"wrld hwo ar")
        assert text(app) == "wrld hwo ar|"
        wrld.gate.set()
        await wait_for(pilot, lambda: text(app) == "world how ar|")
        await settled(pilot)
        assert sorted(wrld.told) == [("", "wrld", "world"), ("wrld ", "hwo", "how")]
        await pilot.press("e", "ctrl+z")
        assert text(app) == "world hwo are|"


async def test_a_word_that_was_touched_again_is_not_corrected_later(
    app: KeyboardApp, wrld: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        wrld.gate.clear()
        await pilot.press(*"wrld", "space", "left", "left", "backspace", "l", "end")
        wrld.gate.set()
        await wait_for(pilot, lambda: wrld.told)
        await settled(pilot)
        assert text(app) == "wrld |"
        assert wrld.told == [("", "wrld", "wrld")]


@pytest.mark.parametrize("is_answered", [True, False])
async def test_what_is_sent_is_what_was_seen(app: KeyboardApp, wrld: GatedEngine, is_answered: bool) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        if not is_answered:
            wrld.gate.clear()
        await pilot.press(*"wrld")
        if is_answered:
            await settled(pilot)
        await pilot.press("enter", *"wrld")
        await pilot.press("space", "enter")
        wrld.gate.set()
        await settled(pilot)
        await wait_for(pilot, lambda: len(wrld.told) == 2)
        assert app.typing.messages[0] == "wrld"
        if not is_answered:
            assert app.typing.messages == ("wrld", "wrld")
            assert wrld.told == [("", "wrld", "wrld"), ("wrld\n", "wrld", "wrld")]


@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_word_in_front_of_another_is_left_alone(
    app: KeyboardApp, wrld: GatedEngine, is_answered: bool
) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"you", "home")
        if not is_answered:
            wrld.gate.clear()
        await pilot.press(*"wrld")
        if is_answered:
            await settled(pilot)
            assert "␣" not in screen_text(app)
        await pilot.press("space")
        wrld.gate.set()
        await settled(pilot)
        assert text(app) == "wrld |you"


async def test_half_an_address_and_pasted_words_are_left_alone(app: KeyboardApp, wrld: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"wrld")
        await settled(pilot)
        await pilot.press("at")
        assert text(app) == "wrld@|"
        await pilot.press("ctrl+u")
        app.post_message(events.Paste("wrld"))
        await wait_for(pilot, lambda: text(app) == "wrld|")
        await settled(pilot)
        await pilot.press("space")
        assert text(app) == "wrld |"


async def test_backspace_brings_the_letters_back_and_they_stay(app: KeyboardApp, wrld: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"wrld")
        await settled(pilot)
        assert "␣" in screen_text(app)
        await pilot.press("space", "backspace")
        assert text(app) == "wrld|"
        await settled(pilot)
        assert wrld.taken_back == [Accepted("", "wrld", "world")]
        assert "␣" not in screen_text(app)
        await pilot.press("space")
        assert text(app) == "wrld |"
        await settled(pilot)
        # They count as typed since the correction was taken back, and are not told of a second time.
        assert wrld.told == [("", "wrld", "world")]
        assert [(each.word, each.count) for each in wrld.words_learned()] == [("wrld", 1)]


async def test_backspace_later_only_deletes(app: KeyboardApp, wrld: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"wrld")
        await settled(pilot)
        await pilot.press("space", "x", "backspace", "backspace")
        assert text(app) == "world|"
        await settled(pilot)
        assert wrld.taken_back == []


async def test_ctrl_z_takes_back_a_correction_once(app: KeyboardApp, wrld: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"wrld")
        await settled(pilot)
        await pilot.press(*" so go", "ctrl+z", "ctrl+z")
        assert text(app) == "wrld so go|"
        await settled(pilot)
        assert wrld.taken_back == [Accepted("", "wrld", "world")]


async def test_ctrl_z_takes_back_a_suggestion(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"tha")
        await settled(pilot)
        word = words(app)[0]
        await pilot.press("tab", "ctrl+z")
        assert text(app) == "tha|"
        await settled(pilot)
        assert engine.taken_back == [Accepted("", "tha", word)]
        await pilot.press("ctrl+z")
        await settled(pilot)
        assert len(engine.taken_back) == 1


async def test_ctrl_z_brings_back_what_was_deleted_since_the_last_writing(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"one two three", "ctrl+w", "left", "right", *["backspace"] * 3, "ctrl+u")
        assert text(app) == "|"
        for brought_back in ("one t|", "one two |", "one two three|", "one two three|"):
            await pilot.press("ctrl+z")
            assert text(app) == brought_back
        await pilot.press("ctrl+w", *"for", "ctrl+z")
        assert text(app) == "one two for|"
        await pilot.press("enter", "ctrl+z")
        await settled(pilot)
        assert text(app) == "|"
        # What came back was told of once, when it was written.
        assert [word for _, _, word in engine.told] == ["one", "two", "for"]
        assert engine.taken_back == []


async def test_ctrl_z_after_a_deletion_still_knows_the_correction_before_it(
    app: KeyboardApp, wrld: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"wrld")
        await settled(pilot)
        await pilot.press(*" so", "ctrl+w", "ctrl+z")
        assert text(app) == "world so|"
        await pilot.press("ctrl+z")
        assert text(app) == "wrld so|"
        await settled(pilot)
        assert wrld.taken_back == [Accepted("", "wrld", "world")]


async def test_ctrl_z_takes_back_a_paste(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"so ")
        app.post_message(events.Paste("many words"))
        await settled(pilot)
        assert text(app) == "so many words|"
        await pilot.press("ctrl+z")
        assert text(app) == "so |"


async def test_what_was_typed_privately_is_so_when_it_comes_back(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await pilot.press("ctrl+r", *"zyzzy ", "ctrl+r", "ctrl+u", "ctrl+z")
        assert text(app) == "zyzzy |"
        await pilot.press(*"flumm ", "enter")
        await settled(pilot)
        assert not engine.words_learned()
        await pilot.press(*"zyzzy ")
        await settled(pilot)
        assert [each.word for each in engine.words_learned()] == ["zyzzy"]


async def test_the_strip_says_what_a_space_will_do_and_offers_the_letters(
    app: KeyboardApp, wrld: GatedEngine
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"wrld")
        await settled(pilot)
        assert words(app) == ("world", "word", "wrld")
        shown = screen_text(app)
        assert "1 world ␣" in shown
        assert "3 “wrld”" in shown
        await pilot.press("alt+3")
        assert text(app) == "wrld |"
        await settled(pilot)
        assert wrld.told == [("", "wrld", "wrld")]
        # They were meant: finishing them once more does not correct them either.
        await pilot.press("backspace", "comma")
        await settled(pilot)
        assert text(app) == "wrld,|"


async def test_escape_leaves_the_word_as_it_is(app: KeyboardApp, wrld: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"wrld")
        await settled(pilot)
        await pilot.press("escape", "space")
        await settled(pilot)
        assert text(app) == "wrld |"
        assert wrld.told == [("", "wrld", "wrld")]


def suggestions(*words: str, autocorrect: str | None) -> Suggestions:
    return Suggestions(words, (0.0,) * len(words), autocorrect, 1.0)


@pytest.mark.parametrize(
    ("answer", "typed", "expected"),
    [
        (suggestions("world", "word", "wild", autocorrect="world"), "wrld", "␣world word “wrld”"),
        (suggestions("word", "world", "wild", autocorrect="world"), "wrld", "␣world word “wrld”"),
        (suggestions("word", "wild", autocorrect="world"), "wrld", "␣world word “wrld”"),
        (suggestions("wrld", "word", "world", autocorrect="world"), "wrld", "␣world word “wrld”"),
        (suggestions(autocorrect="world"), "wrld", "␣world - “wrld”"),
        (suggestions("i'm", "in", autocorrect="I'm"), "im", "␣I'm in “im”"),
        (suggestions("world", "word", autocorrect=None), "wrld", "world word -"),
        (suggestions("world", "word", autocorrect="world"), "world", "world word -"),
    ],
)
def test_what_the_words_places_offer(answer: Suggestions, typed: str, expected: str) -> None:
    marks = {Kind.WORD: "{}", Kind.CORRECTION: "␣{}", Kind.LITERAL: "“{}”"}
    offers = offered(answer, typed, may_correct=True)
    assert " ".join(marks[each.kind].format(each.text) if each else "-" for each in offers[:3]) == expected
    plain = offered(answer, typed, may_correct=False)
    assert [each.text for each in plain if each] == list(answer.words)


# ------------------------------------------------------------------------------- phrases and emoji


@pytest.mark.parametrize("key", ["alt+4", "f5", "click"])
async def test_a_phrase_is_one_key_and_its_words_are_told(
    app: KeyboardApp, engine: GatedEngine, key: str
) -> None:
    engine.prepare("se", "see", "set", "sea", phrase="see you soon")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"so se")
        await settled(pilot)
        assert "4 see you soon" in screen_text(app)
        if key == "click":
            await pilot.click(app.typing.query(Choice)[3])
        else:
            await pilot.press(key)
        assert text(app) == "so see you soon |"
        await settled(pilot)
        told = [("so ", "se", "see"), ("so see ", "", "you"), ("so see you ", "", "soon")]
        assert engine.told == [("", "so", "so"), *told]
        await pilot.press("ctrl+z")
        assert text(app) == "so se|"
        await settled(pilot)
        assert [each.word for each in engine.taken_back] == ["soon", "you", "see"]
        assert [each.word for each in engine.words_learned()] == ["so"]


async def test_an_emoji_that_is_taken_back_leaves_the_word_before_it_remembered(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare("", "the", emoji=("🎂",))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"zorb ")
        await settled(pilot)
        await pilot.press("alt+5")
        await settled(pilot)
        assert text(app) == "zorb 🎂 |"
        await pilot.press("ctrl+z")
        await wait_for(pilot, lambda: engine.taken_back)
        await settled(pilot)
        assert [each.word for each in engine.words_learned()] == ["zorb"]


async def test_a_correction_that_is_taken_back_late_is_learned(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare("wrld", autocorrect="world")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"wrld")
        await settled(pilot)
        await pilot.press("space", *"then ")
        await settled(pilot)
        assert text(app) == "world then |"
        await pilot.press("ctrl+z")
        assert text(app) == "wrld then |"
        await wait_for(pilot, lambda: engine.taken_back)
        await settled(pilot)
        assert {each.word: each.count for each in engine.words_learned()} == {"wrld": 1, "then": 1}


@pytest.mark.parametrize(
    ("key", "emoji"), [("alt+5", "🎉"), ("f6", "🎉"), ("alt+6", "🎂"), ("f7", "🎂"), ("click", "🎉")]
)
async def test_an_emoji_follows_the_word_and_is_followed_by_a_space(
    app: KeyboardApp, engine: GatedEngine, key: str, emoji: str
) -> None:
    engine.prepare("party", "party")
    engine.prepare("", "at", "is", emoji=("🎉", "🎂"))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"party")
        await settled(pilot)
        await pilot.press("tab")
        await settled(pilot)
        assert "5 🎉" in screen_text(app)
        if key == "click":
            await pilot.click(app.typing.query(Choice)[4])
        else:
            await pilot.press(key)
        assert text(app) == f"party {emoji} |"
        await pilot.press(*"so")
        assert text(app) == f"party {emoji} so|"


async def test_an_emoji_takes_no_letters_away(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare("", emoji=("🎉",))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        engine.gate.clear()
        await pilot.press("x", "alt+5")
        assert text(app) == "x|"
        engine.gate.set()


async def test_what_has_no_room_cannot_be_taken(app: KeyboardApp, engine: GatedEngine) -> None:
    engine.prepare("", "tomorrow", "thanks", "then", phrase="see you soon", emoji=("🎉",))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "4 see you soon" in screen_text(app)
        await pilot.resize_terminal(44, 20)
        await wait_for(pilot, lambda: "4 see" not in screen_text(app))
        for word in ("1 tomorrow", "2 thanks", "3 then"):
            assert word in screen_text(app)
        await pilot.press("alt+4")
        assert text(app) == "|"
        await pilot.resize_terminal(80, 24)
        await wait_for(pilot, lambda: "4 see you soon" in screen_text(app))
        await pilot.press("alt+4")
        assert text(app) == "see you soon |"


# ------------------------------------------------------------------------------------- the memory


async def test_private_typing_is_remembered_by_nobody(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"zyzzy ")
        await settled(pilot)
        assert [each.word for each in engine.words_learned()] == ["zyzzy"]
        assert engine.privacy == {False}
        engine.privacy.clear()
        await pilot.press("ctrl+p")
        await wait_for(pilot, lambda: "Search for commands" in screen_text(app))
        await pilot.press(*"private")
        await wait_for(pilot, lambda: "Private typing" in screen_text(app))
        await pilot.press("enter")
        await wait_for(pilot, lambda: app.typing.is_private and app.screen is app.typing)
        await settled(pilot)
        assert "private" in screen_text(app)
        await pilot.press(*"quixo ", "tab", "enter")
        await settled(pilot)
        assert [each.word for each in engine.words_learned()] == ["zyzzy"]
        assert engine.privacy == {True}
        app.action_toggle_private()
        await pilot.press(*"flumm ")
        await settled(pilot)
        assert "private" not in screen_text(app)
        assert {each.word for each in engine.words_learned()} == {"zyzzy", "flumm"}


async def test_a_keyboard_opened_privately_stays_private(engine: GatedEngine) -> None:
    app = KeyboardApp(lambda: engine, QWERTY, is_private=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "fedkey · private" in screen_text(app)
        assert "Private typing" not in [each.title for each in app.get_system_commands(app.typing)]
        await pilot.press(*"zyzzy ")
        await settled(pilot)
        assert engine.privacy == {True}
        assert engine.words_learned() == []


async def test_a_memory_that_fails_is_told_of_once_and_typing_goes_on(
    app: KeyboardApp, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UserError("The memory [file] is full.")

    notices: list[Noticed] = []

    def hook(message: Message) -> None:
        if isinstance(message, Noticed):
            notices.append(message)

    async with app.run_test(size=(80, 24), notifications=True, message_hook=hook) as pilot:
        await settled(pilot)
        monkeypatch.setattr(Personal, "observe", fail)
        monkeypatch.setattr(Personal, "keep_literal", fail)
        engine.prepare("wrld", autocorrect="world")
        await pilot.press(*"wrld")
        await settled(pilot)
        await pilot.press("space", "backspace", *" and on ")
        await settled(pilot)
        await wait_for(pilot, lambda: "The memory [file] is full." in screen_text(app))
        assert text(app) == "wrld and on |"
        assert words(app)
    assert app.return_value is None
    assert [each.sentence for each in notices] == ["The memory [file] is full."]


async def test_quitting_closes_the_memory(tiny_bundle: Path, tmp_path: Path) -> None:
    memory = tmp_path / "personal.sqlite"
    app = KeyboardApp(lambda: Engine.open(tiny_bundle, memory=memory), QWERTY)
    async with app.run_test() as pilot:
        await pilot.press(*"zyzzy ")
        await settled(pilot)
        await pilot.press("ctrl+q")
    # A log beside the file would mean that it is open still.
    deadline = time.monotonic() + 20
    while memory.with_name("personal.sqlite-wal").exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    engine = Engine.open(tiny_bundle, memory=memory)
    assert [each.word for each in engine.words_learned()] == ["zyzzy"]
    engine.close()


# ----------------------------------------------------------------------------------------- races


async def test_only_the_newest_question_waits(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        engine.gate.clear()
        await pilot.press("t")
        await wait_for(pilot, lambda: engine.asked[-1] == ("", "t"))
        await pilot.press(*"hank")
        engine.gate.set()
        await settled(pilot)
        assert engine.asked[-2:] == [("", "t"), ("", "thank")]


async def test_an_overtaken_answer_is_never_shown_and_old_words_stay_meanwhile(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        seen = [words(app)]
        strip = app.typing.query_one(SuggestionStrip)
        app.typing.watch(strip, "offers", lambda: seen.append(words(app)), init=False)
        before = words(app)
        engine.gate.clear()
        await pilot.press("t")
        await wait_for(pilot, lambda: engine.asked[-1] == ("", "t"))
        await pilot.press("o")
        assert words(app) == before
        engine.gate.set()
        await settled(pilot)
        assert seen == [before, words_for(engine, "", "to")]


async def test_what_is_shown_is_taken_with_the_letters_typed_since_unless_they_speak_against_it(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    engine.prepare("t", "the", "that", "ouch")
    async with app.run_test() as pilot:
        await pilot.press(*"see ", "t")
        await settled(pilot)
        engine.gate.clear()
        await pilot.press("h", "a", "tab")
        assert text(app) == "see tha|"
        await pilot.press("alt+2")
        assert text(app) == "see that |"
        engine.gate.set()
        await settled(pilot)
        assert ("see ", "tha", "that") in engine.told


async def test_words_shown_for_another_place_are_not_taken(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"see")
        await settled(pilot)
        assert words(app)
        engine.gate.clear()
        await pilot.press("space", "tab", "alt+2")
        await pilot.click(app.typing.query(Choice)[0])
        assert text(app) == "see |"
        await pilot.press("enter", "tab")
        assert text(app) == "|"
        engine.gate.set()


async def test_a_clicked_word_that_is_no_longer_shown_is_not_taken(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press("t")
        await settled(pilot)
        app.typing.query(Choice)[0].post_message(OfferChosen(Offer(Kind.WORD, "something else")))
        await pilot.pause()
        assert text(app) == "t|"


async def test_keys_typed_before_the_engine_is_ready_are_not_lost(engine: GatedEngine) -> None:
    may_open = threading.Event()

    def open_engine() -> Engine:
        assert may_open.wait(20)
        return engine

    app = KeyboardApp(open_engine, QWERTY)
    async with app.run_test() as pilot:
        await pilot.press(*"hi th")
        assert LOADING in screen_text(app)
        assert text(app) == "hi th|"
        may_open.set()
        await settled(pilot)
        assert engine.asked == [("", "hi"), ("hi ", "th")]  # the finished word might have been a mistake
        assert engine.told == [("", "hi", "hi")]
        assert words(app) == words_for(engine, "hi ", "th")
        assert LOADING not in screen_text(app)


async def test_a_bundle_refused_while_loading_closes_the_app_with_the_sentence(tmp_path: Path) -> None:
    app = KeyboardApp(lambda: Engine.open(tmp_path), QWERTY)
    with pytest.raises(BundleError) as refusal:
        Engine.open(tmp_path)
    async with app.run_test() as pilot:
        await wait_for(pilot, lambda: app.return_value is not None)
    assert app.return_value == str(refusal.value)


async def test_an_engine_that_breaks_down_closes_the_app_with_a_sentence_that_keeps_the_draft_to_itself(
    app: KeyboardApp, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(context: str, typed: str, **others: object) -> Suggestions:
        raise MemoryError("no room for the next layer\nat some address")

    async with app.run_test() as pilot:
        await settled(pilot)
        monkeypatch.setattr(engine, "suggest", break_down)
        await pilot.press(*"secret")
        await wait_for(pilot, lambda: app.return_value is not None)
    assert (
        app.return_value
        == "The engine broke down (MemoryError: no room for the next layer); please report it."
    )


async def test_an_answer_that_comes_after_quitting_disturbs_nothing(
    app: KeyboardApp, engine: GatedEngine
) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        engine.gate.clear()
        await pilot.press("t")
        await wait_for(pilot, lambda: engine.asked[-1] == ("", "t"))
        app.exit()
        engine.gate.set()
    assert (app.return_value, app.return_code) == (None, 0)


# ------------------------------------------------------------------------------------- conversation


async def test_enter_sends_and_what_was_sent_is_context(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"see you", "enter")
        assert text(app) == "|"
        await pilot.press(*"at ", "h")
        await settled(pilot)
        assert engine.asked[-1] == ("see you\nat ", "h")
        assert words(app) == words_for(engine, "see you\nat ", "h")
        assert [bubble.query_one(Static).render().plain for bubble in app.typing.query(Bubble)] == ["see you"]
        assert "see" in screen_text(app)


async def test_finished_words_are_told_once_and_in_order(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"hi, you", "enter", *"ok ", "enter", *"1 :)", "enter")
        await settled(pilot)
        assert [word for _, _, word in engine.told] == ["hi", "you", "ok"]
        assert engine.told[1] == ("hi, ", "you", "you")


async def test_there_is_nothing_to_send_in_an_empty_draft(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press("enter", "space", "enter")
        assert app.typing.messages == ()
        assert "Nothing you type leaves this machine." in screen_text(app)


async def test_brackets_in_messages_are_no_markup(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"a [b]c[/b]", "enter", *"[/] ok")
        await pilot.pause()
        assert "[b]c[/b]" in screen_text(app)
        assert "[/]" in screen_text(app)


async def test_the_newest_message_is_in_view_and_older_ones_can_be_scrolled_to(app: KeyboardApp) -> None:
    async with app.run_test(size=(40, 12)) as pilot:
        for number in range(12):
            app.typing.write(f"message{number}")
            await pilot.press("enter")
        await wait_for(pilot, lambda: "message11" in screen_text(app))
        assert "message0 " not in screen_text(app) + " "
        for _ in range(12):
            await pilot.press("pageup")
        await wait_for(pilot, lambda: "message0" in screen_text(app))
        await pilot.press("x")
        assert text(app) == "x|"


# ---------------------------------------------------------------------------------- caret and editing


async def test_suggestions_are_for_the_word_at_the_caret(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"s you", *["left"] * 4, "e")
        assert text(app) == "se| you"
        await settled(pilot)
        assert words(app) == words_for(engine, "", "se", " you")
        word = words(app)[0]
        await pilot.press("tab")
        assert text(app) == f"{word}| you"
        await pilot.press("end", "!")
        assert text(app) == f"{word} you!|"


async def test_editing_keys_edit(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"one two three", "ctrl+w", "backspace", "home", "delete", "O")
        assert text(app) == "O|ne two"
        await pilot.press("ctrl+right", "ctrl+right", "ctrl+left", "right", "ctrl+u")
        assert text(app) == "|wo"
        await pilot.press("end", "alt+x", "f9")
        assert text(app) == "wo|"


async def test_keys_that_come_in_one_bundle_are_done_in_their_order(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        for key in ("x", "y", "backspace", "z", "ctrl+u", "a", "b", "left", "c", "enter", "d"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await wait_for(pilot, lambda: text(app) == "d|")
        assert app.typing.messages == ("acb",)


async def test_a_click_puts_the_caret_into_the_text(app: KeyboardApp, engine: GatedEngine) -> None:
    async with app.run_test() as pilot:
        await pilot.press(*"see you")
        view = app.typing.query_one(DraftView)
        left, top = view.content_region.offset - view.region.offset
        await pilot.click(view, offset=(left + 2, top))
        assert text(app) == "se|e you"
        await settled(pilot)
        assert engine.asked[-1] == ("", "see")  # all of the word, for all of it would be replaced
        await pilot.click(view, offset=(left + 30, top))
        assert text(app) == "see you|"
        assert app.cursor_position - view.content_region.offset == (7, 0)


async def test_a_long_draft_keeps_its_caret_in_view(app: KeyboardApp) -> None:
    async with app.run_test(size=(40, 12)) as pilot:
        app.typing.write("first " + "more words " * 30 + "last")
        await pilot.pause()
        assert "last" in screen_text(app)
        assert "first" not in screen_text(app)
        await pilot.press("home")
        await pilot.pause()
        assert "first" in screen_text(app)
        assert "last" not in screen_text(app)
        view = app.typing.query_one(DraftView)
        assert view.region.contains(*app.cursor_position)


# --------------------------------------------------------------------------------------- keys by mouse


@pytest.mark.parametrize("size", [(40, 12), (60, 18), (80, 24), (120, 40)])
async def test_every_key_can_be_clicked(app: KeyboardApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        for key in QWERTY.keys:
            if key.typed.strip():
                tap(app, *key_cell(app.typing.query_one(Keypad), key.name))
        await pilot.pause()
        assert app.typing.draft.text == "".join(key.typed.strip() for key in QWERTY.keys)
        await click_key(pilot, "space")
        await click_key(pilot, "a")
        await click_key(pilot, "backspace")
        assert app.typing.draft.text.endswith("? ")
        await click_key(pilot, "enter")
        assert len(app.typing.messages) == 1


async def test_a_tap_beside_a_key_hits_the_nearest_and_only_the_left_button_counts(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await settled(pilot)
        keypad = app.typing.query_one(Keypad)
        await pilot.click(Keypad, offset=(0, 0))
        await pilot.click(Keypad, offset=(keypad.size.width - 1, 0))
        await pilot.click(Keypad, offset=key_cell(keypad, "g"), button=3)
        assert text(app) == "qp|"


async def test_keys_light_up_when_they_are_pressed_or_clicked(
    app: KeyboardApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedkey.ui.keypad.LIGHT_SECONDS", 600)  # nothing goes out during this test
    async with app.run_test() as pilot:
        await settled(pilot)
        keypad, expected = app.typing.query_one(Keypad), set()
        for key, lit in [
            ("g", {"g"}),
            ("7", set()),
            ("backspace", {"backspace"}),
            ("exclamation_mark", {"?", SHIFT}),
            ("H", {"h"}),
            ("space", {"space"}),
            ("enter", {"enter"}),
        ]:
            await pilot.press(key)
            expected |= lit
            assert keypad.lit == expected
        await click_key(pilot, "j")
        assert keypad.lit == expected | {"j"}


async def test_a_lit_key_goes_out_again(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        keypad = app.typing.query_one(Keypad)
        keypad.light("g")
        assert keypad.lit == {"g"}
        await wait_for(pilot, lambda: not keypad.lit)


# ----------------------------------------------------------------------------------- sizes and colours


@pytest.mark.parametrize("size", SIZES)
async def test_everything_essential_fits(app: KeyboardApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await pilot.press(*"hello", "enter", "t")
        await settled(pilot)
        whole = app.screen.region
        for kind in (Conversation, DraftView, SuggestionStrip, Keypad):
            region = app.typing.query_one(kind).region
            assert region.area > 0
            assert whole.contains_region(region)
        shown = screen_text(app)
        for essential in ("hello", *words(app), *QWERTY.letters, "space", "Take", "Send", "Help", "Quit"):
            assert essential in shown
        # Keys grow with the room, from one line to four.
        lines = {12: 1, 17: 1, 18: 2, 23: 2, 24: 3, 39: 3, 40: 4, 60: 4}
        assert app.typing.query_one(Keypad).size.height == lines[size[1]] * len(QWERTY.rows)
        assert "needs" not in shown


@pytest.mark.parametrize("size", [(39, 12), (40, 11), (20, 5), (3, 2), (1, 1)])
async def test_a_terminal_that_is_too_small_is_told(app: KeyboardApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await pilot.press("t")
        await settled(pilot)
        if size[0] >= 20:
            assert "fedkey needs 40 × 12" in " ".join(screen_text(app).split())
        await pilot.resize_terminal(80, 24)
        await wait_for(pilot, lambda: "space" in screen_text(app))
        assert text(app) == "t|"
        assert words(app)[0] in screen_text(app)


async def test_resizing_at_any_time_keeps_what_is_there(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"hello", "enter", "t")
        for width, height in [(40, 12), (200, 60), (30, 8), (60, 18), (41, 40), (80, 24)]:
            await pilot.resize_terminal(width, height)
            await pilot.pause()
        await settled(pilot)
        assert text(app) == "t|"
        await wait_for(pilot, lambda: "hello" in screen_text(app))


async def test_latency_is_shown_where_there_is_room(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert re.search(r"\d+.ms", screen_text(app))
        await pilot.resize_terminal(40, 12)
        await wait_for(pilot, lambda: not re.search(r"\d+.ms", screen_text(app)))


async def test_every_theme_tells_keys_from_the_ground_and_lit_keys_from_others(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        keypad = app.typing.query_one(Keypad)
        for theme in app.available_themes:
            app.theme = theme
            await pilot.press("g")
            await pilot.pause()
            lit = keypad.get_component_rich_style("keypad--lit")
            letter = keypad.get_component_rich_style("keypad--letter")
            assert letter.color != letter.bgcolor, theme
            assert letter.bgcolor != keypad.rich_style.bgcolor, theme
            assert (lit.bgcolor, lit.reverse) != (letter.bgcolor, letter.reverse), theme
            assert "space" in screen_text(app), theme


@pytest.mark.parametrize("theme", ["fedkey-dark", "fedkey-light", "ansi-dark", "ansi-light"])
async def test_no_color_is_honoured(wrld: GatedEngine, monkeypatch: pytest.MonkeyPatch, theme: str) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = KeyboardApp(lambda: wrld, QWERTY, Settings(theme=theme))
    async with app.run_test(size=(60, 18)) as pilot:
        await pilot.press("g", "o")
        await settled(pilot)
        await pilot.press("f1")
        await pilot.pause()
        await pilot.press("escape", *" wrld")
        await settled(pilot)
        assert "1 world ␣" in screen_text(app)
        await pilot.press("space", *"wrld")
        await settled(pilot)
        assert underlined(app) == "world"
        drawing = app.export_screenshot()
    assert "underline" in drawing
    inside = drawing[drawing.index("<style>") :]
    colours = re.findall(r"-r\d+ \{ fill: #([0-9a-f]{6})", inside)
    assert colours
    assert "000000" not in colours  # on the black that a terminal's own background becomes
    for colour in colours:
        red, green, blue = (int(colour[at : at + 2], 16) for at in (0, 2, 4))
        assert max(red, green, blue) - min(red, green, blue) <= 4, colour


# ------------------------------------------------------------------------------------ help and commands


@pytest.mark.parametrize("closing", ["escape", "f1", "click"])
async def test_help_names_every_way_to_take_a_word(app: KeyboardApp, closing: str) -> None:
    async with app.run_test(size=(80, 60)) as pilot:
        await pilot.press("t", "f1")
        await wait_for(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.pause()
        shown = screen_text(app)
        for key in ("Tab", "Alt+1", "Alt+4", "F2", "Backspace", "Ctrl+Z", "Esc", "Enter", "Ctrl+P", "Ctrl+Q"):
            assert key in shown
        for key in ("Nothing you", "␣"):
            assert key in shown
        if closing == "click":
            await pilot.click(offset=(1, 1))
        else:
            await pilot.press(closing)
        await wait_for(pilot, lambda: app.screen is app.typing)
        assert text(app) == "t|"


async def test_help_can_be_read_to_its_end_in_a_small_terminal(app: KeyboardApp) -> None:
    async with app.run_test(size=(40, 12)) as pilot:
        await pilot.press("f1")
        await wait_for(pilot, lambda: isinstance(app.screen, HelpScreen))
        for _ in range(80):
            await pilot.press("down")
        await wait_for(pilot, lambda: "remembered." in screen_text(app))


async def test_the_palette_offers_what_concerns_the_whole_app(app: KeyboardApp) -> None:
    names = [command.title for command in app.get_system_commands(app.typing)]
    assert names == [
        "Help",
        "Settings",
        "Privacy",
        "Theme",
        "Private typing",
        *KEY_COMMANDS,
        "Emoji",
        "Glass box",
        "Clear conversation",
        "Quit",
    ]
    async with app.run_test() as pilot:
        await pilot.press(*"hello", "enter", *"dra")
        await pilot.press("ctrl+p")
        await wait_for(pilot, lambda: "Clear" in screen_text(app))
        await pilot.press(*"clear", "enter")
        await wait_for(pilot, lambda: app.screen is app.typing and app.typing.messages == ())
        await pilot.pause()
        assert not app.typing.query(Bubble)
        assert text(app) == "dra|"


async def test_the_theme_is_chosen_from_the_palette(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        assert app.theme == "fedkey-dark"
        await pilot.press("ctrl+p")
        await wait_for(pilot, lambda: "Search for commands" in screen_text(app))
        await pilot.press(*"theme")
        await wait_for(pilot, lambda: "Choose other colours" in screen_text(app))
        await pilot.press("enter")
        await wait_for(pilot, lambda: "fedkey-light" in screen_text(app))
        await pilot.press(*"fedkey-light", "enter")
        await wait_for(pilot, lambda: app.theme == "fedkey-light")


def end_of_thread(app: KeyboardApp, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set once the engine's thread has ended."""
    has_ended = threading.Event()
    serve = app.inference.run

    def run() -> None:
        serve()
        has_ended.set()

    monkeypatch.setattr(app.inference, "run", run)
    return has_ended


async def test_quitting_ends_the_engines_thread(app: KeyboardApp, monkeypatch: pytest.MonkeyPatch) -> None:
    has_ended = end_of_thread(app, monkeypatch)
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("ctrl+q")
    assert await asyncio.to_thread(has_ended.wait, 20)
    assert (app.return_value, app.return_code) == (None, 0)


@pytest.mark.parametrize(
    ("keys", "remembered"),
    [
        ([*"zyzzy flumm "], {"skibidi", "zyzzy", "flumm"}),
        ([*"zyzzy ", "f8", "ctrl+d", "y"], set()),
    ],
    ids=["words", "a wish"],
)
async def test_what_the_engine_was_told_is_done_though_the_keyboard_is_closed_before_it_is_open(
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: list[str],
    remembered: set[str],
) -> None:
    engine = Engine.open(tiny_bundle, memory=tmp_path / "personal.sqlite")
    engine.learn("skibidi")
    may_open = threading.Event()

    def open_engine() -> Engine:
        assert may_open.wait(20)
        return engine

    app = KeyboardApp(open_engine, QWERTY)
    has_ended = end_of_thread(app, monkeypatch)
    async with app.run_test() as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        await pilot.press("ctrl+q")
    may_open.set()
    assert await asyncio.to_thread(has_ended.wait, 20)
    memory = Personal.open(tmp_path / "personal.sqlite")
    assert {each.word for each in memory.words()} == remembered
    memory.close()


async def test_a_memory_that_another_program_keeps_does_not_hold_up_the_end(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "personal.sqlite"
    app = KeyboardApp(lambda: Engine.open(tiny_bundle, memory=path), QWERTY)
    has_ended = end_of_thread(app, monkeypatch)
    async with app.run_test() as pilot:
        await settled(pilot)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await pilot.press(*"zyzzy flumm ok so ", "ctrl+q")
    assert await asyncio.to_thread(has_ended.wait, 20)
    other.close()


async def test_two_keyboards_in_one_process_share_nothing(tiny_bundle: Path) -> None:
    one = KeyboardApp(lambda: Engine.open(tiny_bundle), QWERTY)
    async with one.run_test() as pilot:
        await pilot.press(*"hello")
    other = KeyboardApp(lambda: Engine.open(tiny_bundle), QWERTY)
    assert other.typing.draft == Draft()


async def test_nothing_begins_in_an_app_that_ends(app: KeyboardApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed just after the first paint, it used to mount a federation's line on a screen that was gone."""
    begun: list[object] = []
    async with app.run_test():
        monkeypatch.setattr(app, "run_worker", lambda *arguments, **_: begun.append(arguments))
        app.on_typable(Typable())
        assert len(begun) == 1
        app.exit(return_code=143)
        app.on_typable(Typable())
        assert len(begun) == 1
