"""The privacy screen over the real keyboard, with a memory in a real file."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from at_screen import screen_text, wait_for
from textual.command import CommandPalette
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Input

from fedkey import Engine
from fedkey.departures import DEPARTURES, Departure, append_departure
from fedkey.diary import DIARY, Diary
from fedkey.layout import QWERTY
from fedkey.personal import Personal
from fedkey.settings import DEFAULTS
from fedkey.ui.app import KeyboardApp
from fedkey.ui.line_list import LineList
from fedkey.ui.messages import Sent
from fedkey.ui.privacy import Ask, Page, PrivacyScreen

SIZES = [
    (40, 12),
    pytest.param((60, 18), marks=pytest.mark.slow),
    pytest.param((200, 60), marks=pytest.mark.slow),
]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A memory in a folder of its own, which already knows a few words."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    path = tmp_path / "fedkey" / "personal.sqlite"
    memory = Personal.open(path)
    for _ in range(2):
        memory.observe((), "meet", accepted=True)
        memory.observe(("meet",), "Zorblax", accepted=True)
    memory.observe((), "skibidi", accepted=True)
    memory.close()
    return path


@pytest.fixture
def app(tiny_bundle: Path, path: Path) -> KeyboardApp:
    return KeyboardApp(lambda: Engine.open(tiny_bundle, memory=path), QWERTY)


def flat(app: KeyboardApp) -> str:
    """What is on screen, as one line: long sentences are wrapped."""
    return " ".join(screen_text(app).replace("│", " ").split())


async def privacy(pilot: Pilot[str]) -> PrivacyScreen:
    """Opens the screen and waits until it has been told what is remembered."""
    await pilot.press("f8")
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, PrivacyScreen))
    screen = pilot.app.screen
    assert isinstance(screen, PrivacyScreen)
    await wait_for(pilot, lambda: screen._memory is not None)
    await pilot.pause()
    return screen


def listed(screen: PrivacyScreen) -> list[str]:
    """The words in the list, in view or not."""
    return [word.word for word in screen._found]


async def answer(pilot: Pilot[str], text: str) -> None:
    """Puts text into the line at the top, and Enter: key by key a path would take seconds."""
    screen = pilot.app.screen
    assert isinstance(screen, PrivacyScreen)
    screen.query_one(Input).value = text
    await pilot.press("enter")


async def said(pilot: Pilot[str], sentence: str) -> None:
    await wait_for(pilot, lambda: sentence in flat(pilot.app))  # type: ignore[arg-type]


def remembered(path: Path) -> dict[str, int]:
    memory = Personal.open(path)
    words = {word.word: word.count for word in memory.words()}
    memory.close()
    return words


def all_bytes(folder: Path) -> bytes:
    return b"".join(each.read_bytes().lower() for each in folder.iterdir())


# ---------------------------------------------------------------------------------------- the words


async def test_what_was_just_written_is_listed_with_what_it_follows(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"see flumm ")
        screen = await privacy(pilot)
        assert listed(screen) == ["meet", "Zorblax", "flumm", "see", "skibidi"]
        assert "Words 5" in flat(app)
        await pilot.press("down")
        await said(pilot, "Zorblax: 2 times, last today; after “meet”.")
        await pilot.press("down")
        await said(pilot, "flumm: once, last today, not suggested yet; after “see”.")
        await pilot.press("escape")
        assert app.screen is app.typing
        assert app.typing.draft.text == "see flumm "


async def test_typing_searches(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await privacy(pilot)
        await pilot.press(*"Bi")
        assert listed(screen) == ["skibidi"]
        await said(pilot, "skibidi: once")
        await pilot.press("x")
        await said(pilot, "No word contains these letters.")
        await pilot.press("delete", "enter", "ctrl+z")
        assert screen.ask is Ask.SEARCH
        await pilot.press("ctrl+u")
        assert len(listed(screen)) == 3
        await pilot.press("f8")
        assert app.screen is app.typing


async def test_a_word_is_forgotten_at_once_and_can_be_brought_back(app: KeyboardApp, path: Path) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await privacy(pilot)
        assert b"zorblax" in all_bytes(path.parent)
        await pilot.press(*"zor", "delete")
        await said(pilot, "“Zorblax” is forgotten.")
        assert b"zorblax" not in all_bytes(path.parent)
        await pilot.press("ctrl+u", *"meet", "delete")
        await said(pilot, "“meet” is forgotten.")
        await pilot.press("ctrl+z")
        await said(pilot, "“meet” is remembered again.")
        await pilot.press("ctrl+z")
        await said(pilot, "“Zorblax” is remembered again.")
        await pilot.press("ctrl+z", "ctrl+u")
        assert listed(screen) == ["meet", "Zorblax", "skibidi"]
    assert remembered(path) == {"meet": 2, "Zorblax": 2, "skibidi": 1}


async def test_what_was_forgotten_is_gone_once_the_screen_is_closed(app: KeyboardApp, path: Path) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await privacy(pilot)
        await pilot.press(*"zor", "delete")
        await said(pilot, "“Zorblax” is forgotten.")
        await pilot.press("escape")
        screen = await privacy(pilot)
        await pilot.press("ctrl+z")
        await pilot.press("down")
        assert listed(screen) == ["meet", "skibidi"]
    assert remembered(path) == {"meet": 2, "skibidi": 1}


async def test_a_spelling_is_edited(app: KeyboardApp, path: Path) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await privacy(pilot)
        await pilot.press(*"zor", "enter")
        await said(pilot, "Spell it Zorblax")
        await pilot.press("backspace", "backspace", *"OX", "enter")
        await said(pilot, "“Zorblax” is “ZorblOX” now.")
        await pilot.press("enter", *" y", "enter")
        await said(pilot, "Only single words")
        await pilot.press("enter", "x", "escape")
        await said(pilot, "ZorblOX: 2 times")
    assert remembered(path) == {"meet": 2, "ZorblOX": 2, "skibidi": 1}


async def test_words_learned_elsewhere_meanwhile_are_kept_and_shown(app: KeyboardApp, path: Path) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await privacy(pilot)
        other = Personal.open(path)
        other.learn("elsewhere")
        other.observe((), "skibidi", accepted=True)
        other.forget("meet")
        await pilot.press(*"meet", "delete")
        await said(pilot, "“meet” was forgotten meanwhile.")
        await pilot.press("ctrl+u")
        assert set(listed(screen)) == {"skibidi", "Zorblax", "elsewhere"}
        await pilot.press(*"ski", "enter", "s", "enter")
        await said(pilot, "“skibidi” is “skibidis” now.")
        other.close()
    assert remembered(path) == {"Zorblax": 2, "elsewhere": 0, "skibidis": 2}


async def test_erasing_asks_once_and_leaves_nothing(app: KeyboardApp, path: Path) -> None:
    Diary(path.with_name(DIARY)).add("meet Zorblax", "one")
    path.with_name("personal.sqlite.damaged-1").write_bytes(b"Zorblax" * 99)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await privacy(pilot)
        await pilot.press("ctrl+d")
        await said(pilot, "Erase everything, for good? y/n")
        await pilot.press("n")
        assert screen.ask is Ask.SEARCH
        await pilot.press("ctrl+d", "escape")
        assert screen.ask is Ask.SEARCH
        assert len(listed(screen)) == 3
        await pilot.press("ctrl+d", "y")
        await said(pilot, "Everything is erased.")
        await pilot.press("ctrl+z", "down", "delete", "enter")
        assert "Words 0" in flat(app)
        assert listed(screen) == []
        for word in (b"zorblax", b"meet", b"skibidi"):
            assert word not in all_bytes(path.parent)
    assert remembered(path) == {}


async def test_words_are_exported_and_imported_and_nothing_is_overwritten_unasked(
    app: KeyboardApp, path: Path, tmp_path: Path
) -> None:
    place = tmp_path / "words.jsonl"
    place.write_text("mine")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await privacy(pilot)
        await pilot.press("ctrl+s")
        await said(pilot, "Write to")
        assert re.fullmatch(
            rf"{re.escape(str(tmp_path))}/home/fedkey-words-\d{{4}}-\d\d-\d\d\.jsonl",
            screen.query_one(Input).value,
        )
        await answer(pilot, str(place))
        await said(pilot, "replace it? y/n")
        await pilot.press("n")
        assert place.read_text() == "mine"
        await pilot.press("ctrl+s")
        await answer(pilot, str(place))
        await said(pilot, "replace it? y/n")
        await pilot.press("y")
        await said(pilot, "Written to")
        assert "Zorblax" in place.read_text()
        # The folder that was meant may be named instead of the file.
        await pilot.press("ctrl+s")
        await answer(pilot, "~")
        await wait_for(pilot, lambda: list((tmp_path / "home").iterdir()))
        await pilot.press("ctrl+d", "y")
        await said(pilot, "Everything is erased.")
        await pilot.press("ctrl+b")
        await answer(pilot, str(place))
        await said(pilot, "Imported words.jsonl: 3 new words.")
        await pilot.press("ctrl+b")
        await answer(pilot, "nothing")
        await said(pilot, "nothing was imported.")
    assert remembered(path) == {"meet": 2, "Zorblax": 2, "skibidi": 1}


@pytest.mark.parametrize("key", ["ctrl+s", "ctrl+b"])
async def test_a_path_that_cannot_be_used_is_answered_with_a_sentence(
    app: KeyboardApp, path: Path, key: str
) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await privacy(pilot)
        for typed, sentence in (
            ("~nosuchuser/words.jsonl", "whom this machine does not know; write the whole path."),
            ("half\ud800", "is no text"),
            ("x" * 300, "Cannot "),
        ):
            await pilot.press(key)
            await answer(pilot, typed)
            await said(pilot, sentence)
            assert screen.ask is Ask.SEARCH
    assert remembered(path) == {"meet": 2, "Zorblax": 2, "skibidi": 1}


async def test_clicks_do_what_keys_do(app: KeyboardApp, path: Path) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await privacy(pilot)
        await pilot.click(LineList, offset=(3, 2))
        await said(pilot, "skibidi: once")
        await pilot.click("#acts", offset=(1, 0))
        await said(pilot, "“skibidi” is forgotten.")
        await pilot.click("#tab-left")
        await said(pilot, "Nothing has left this machine.")
        await pilot.click("#tab-words")
        assert screen.page is Page.WORDS
    assert remembered(path) == {"meet": 2, "Zorblax": 2}


async def test_of_many_words_only_those_in_view_are_made(app: KeyboardApp) -> None:
    """What makes 20,000 words as quick as 20."""
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await privacy(pilot)
        made: list[int] = []
        words = screen.query_one("#words", LineList)
        words.show(20_000, lambda index, width: f"{made.append(index) or index}".ljust(width), 0)
        await pilot.pause()
        assert len(made) <= 2 * words.size.height
        made.clear()
        words.move(19_999)
        await pilot.pause()
        assert 19_999 in made
        assert len(made) <= 2 * words.size.height
        assert "19999" in screen_text(app)


# ------------------------------------------------------------------------------------- other pages


async def test_what_left_the_machine_is_listed(app: KeyboardApp, path: Path) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await privacy(pilot)
        await pilot.press("tab")
        await said(pilot, "Nothing has left this machine.")
        update = Departure("2026-11-27T01:02:03+00:00", "example.org:9092", "masked update", 12_345, 7, 0.5)
        append_departure(path.with_name(DEPARTURES), update)
        await pilot.press("shift+tab", "tab")
        await said(pilot, "1 message left for a federation, 12.3 kB in all; ε 0.50 spent so far.")
        await said(pilot, "masked update 12.3 kB round 7 ε 0.50 example.org:9092")


async def test_the_proof_is_looked_up_anew(app: KeyboardApp, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr("fedkey.ui.privacy.LOOK_SECONDS", 0.05)
    async with app.run_test(size=(80, 24)) as pilot:
        await privacy(pilot)
        await pilot.press("shift+tab")
        await said(pilot, "Telemetry of ONNX Runtime")
        assert "only you can read it" in flat(app)
        if "not checked here" in flat(app):
            return
        await said(pilot, "no socket is open")
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            await said(pilot, "1 socket is open")
            await said(pilot, f"127.0.0.1:{server.getsockname()[1]}")
        await said(pilot, "no socket is open")


# ------------------------------------------------------------------------------------ private typing


@pytest.mark.parametrize("size", SIZES)
async def test_private_typing_shows_at_every_size(app: KeyboardApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await pilot.press("h")
        assert "private" not in flat(app).lower()
        await pilot.press("ctrl+r", "i")
        await wait_for(pilot, lambda: "fedkey · private" in flat(app))
        await pilot.press("ctrl+r")
        await wait_for(pilot, lambda: "fedkey · private until sent" in flat(app))
        await pilot.press("enter")
        await wait_for(pilot, lambda: "private" not in flat(app).lower())


async def test_private_typing_is_switched_on_the_privacy_screen_too(app: KeyboardApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await privacy(pilot)
        await pilot.press("ctrl+r")
        await said(pilot, "Privacy · typing privately")
        assert app.typing.is_private
        await pilot.press("ctrl+r")
        assert not app.typing.is_private


async def test_a_message_that_was_typed_privately_in_part_is_remembered_by_nobody(
    app: KeyboardApp, path: Path
) -> None:
    sent: dict[str, bool] = {}

    def hook(message: Message) -> None:
        if isinstance(message, Sent):
            sent[message.text] = message.is_private

    async with app.run_test(size=(80, 24), message_hook=hook) as pilot:
        # In one bundle, as over a slow line: begun privately, finished in public, and the other way round.
        await pilot.press("ctrl+r", *"qua", "ctrl+r", *"gmire zilch ", "enter")
        await pilot.press(*"brab", "ctrl+r", *"ble ", "ctrl+r", "enter")
        await pilot.press(*"flumm ", "enter")
        screen = await privacy(pilot)
        assert "flumm" in listed(screen)
        await pilot.press("escape", "ctrl+q")
    await_closed(path)
    # What a federation may learn from follows the same rule.
    assert [*sent.values()] == [True, True, False]
    assert "flumm" in remembered(path)
    for word in (b"quagmire", b"zilch", b"brab"):
        assert word not in all_bytes(path.parent)


async def test_a_keyboard_opened_privately_says_that_it_stays_so(tiny_bundle: Path) -> None:
    app = KeyboardApp(lambda: Engine.open(tiny_bundle), QWERTY, is_private=True)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("ctrl+r")
        await said(pilot, "stays so")
        assert app.typing.is_private
        await pilot.press("f8")
        await said(pilot, "Nothing has been learned yet.")
        await pilot.press("shift+tab")
        await said(pilot, "in no file")


def await_closed(path: Path) -> None:
    deadline = time.monotonic() + 20
    while path.with_name("personal.sqlite-wal").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_a_canary_leaves_no_trace_in_the_folder(app: KeyboardApp, path: Path) -> None:
    """Every way to make the keyboard forget, and every byte beside its memory, log included."""
    canary = b"quixotl"
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+r", *"quixotl quixotl ", "enter", "ctrl+r")
        await privacy(pilot)
        assert canary not in all_bytes(path.parent)
        await pilot.press("escape", *"quixotl quixotl ", "enter")
        await privacy(pilot)
        assert canary in all_bytes(path.parent)
        await pilot.press(*"quix", "delete")
        await said(pilot, "is forgotten.")
        assert canary not in all_bytes(path.parent)
        await pilot.press("escape", *"quixotl quixotl ", "enter")
        await privacy(pilot)
        await pilot.press(*"quix", "enter")
        await answer(pilot, "other")
        await said(pilot, "“quixotl” is “other” now.")
        assert canary not in all_bytes(path.parent)
        await pilot.press("escape", *"quixotl quixotl ", "enter")
        await privacy(pilot)
        await pilot.press("ctrl+d", "y")
        await said(pilot, "Everything is erased.")
        assert canary not in all_bytes(path.parent)
        await pilot.press("escape", "ctrl+q")
    await_closed(path)
    assert canary not in all_bytes(path.parent)


# --------------------------------------------------------------------------------- sizes and colours


@pytest.mark.parametrize("size", SIZES)
async def test_everything_essential_fits(app: KeyboardApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        screen = await privacy(pilot)
        await said(pilot, "meet: 2 times")
        for essential in ("Words 3", "What left", "Proof", "Search", "Zorblax", "skibidi"):
            assert essential in flat(app)
        for act in ("Del forget", "Enter edit", "^Z undo", "^S export", "^B import", "^D erase all"):
            assert act in screen_text(app)
        for widget in map(screen.query_one, ("#words", "#said", "#acts")):
            assert widget.region.area > 0
            assert screen.region.contains_region(widget.region)
        await pilot.resize_terminal(61, 17)
        await pilot.resize_terminal(*size)
        await pilot.press("tab")
        await said(pilot, "Nothing has left")


@pytest.mark.parametrize(
    "theme",
    [
        "fedkey-dark",
        pytest.param("fedkey-light", marks=pytest.mark.slow),
        pytest.param("ansi-dark", marks=pytest.mark.slow),
        "ansi-light",
    ],
)
async def test_no_color_is_honoured(
    tiny_bundle: Path, path: Path, monkeypatch: pytest.MonkeyPatch, theme: str
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = KeyboardApp(lambda: Engine.open(tiny_bundle, memory=path), QWERTY, replace(DEFAULTS, theme=theme))
    async with app.run_test(size=(60, 18)) as pilot:
        await privacy(pilot)
        await pilot.press("down")
        await said(pilot, "Zorblax: 2 times")
        await pilot.press("tab", "tab", "tab", "ctrl+d", "n", "enter", "escape")
        await said(pilot, "Search")


async def test_the_palette_opens_it(app: KeyboardApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press("ctrl+p")
        await wait_for(pilot, lambda: CommandPalette.is_open(app))
        await pilot.press(*"privacy")
        await said(pilot, "What is remembered, and what left this machine")
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.screen, PrivacyScreen))
