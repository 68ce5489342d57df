"""Joining and leaving a federation on screen, with a phone of the test's own: a real process that speaks the
protocol of the real one and writes down what it is told."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from at_screen import wait_for
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Button, Input, Static

from fedkey import Engine, UserError
from fedkey.bundle import open_bundle
from fedkey.diary import DIARY, Diary
from fedkey.joined import CONSENTS, Phase, phone_command
from fedkey.layout import QWERTY
from fedkey.ui.app import KeyboardApp
from fedkey.ui.joining import Joining, JoinScreen, LeftScreen
from fedkey.ui.messages import PhoneEnded

PHONE = """
import json, os, sys
notes = open(sys.argv[1], "a", buffering=1)
def tell(event, **details): print(json.dumps({"event": event, **details}), flush=True)
notes.write(f"{os.getpid()}\\n")
tell("connected", to="here:1", words=0)
for line in sys.stdin:
    notes.write(line)
    if line == "idle\\n":
        tell("round", round=2)
        tell("training", round=2, words=150)
        tell("sent", round=2, kind="masked update", bytes=5000, epsilon=0.5)
    if os.path.exists(sys.argv[1] + ".fail"):
        print("fedkey-server: This keyboard is not in the registry.", file=sys.stderr)
        sys.exit(2)
notes.write("end\\n")
"""


class Scene:
    """A keyboard that may join, and its phone."""

    def __init__(self, bundle: Path, folder: Path, address: str = "", idle_seconds: float = 1e6) -> None:
        self.notes = folder / "notes"
        self.diary = Diary(folder / DIARY)
        self.joining = Joining(self.diary.path, self.command, address, 30, idle_seconds)
        self.app = KeyboardApp(lambda: Engine(open_bundle(bundle)), QWERTY, joining=self.joining)

    def command(self, address: str) -> list[str]:
        if address == "nowhere":
            raise UserError("'nowhere' is no address.")
        return [sys.executable, "-S", "-c", PHONE, str(self.notes)]

    def told(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    @property
    def title(self) -> str:
        shown = self.app.typing.query("#federation").results(Static)
        return "".join(str(each.content) for each in shown if each.display)

    def commands(self) -> list[str]:
        return [command.title for command in self.app.get_system_commands(self.app.screen)]


async def ready(pilot: Pilot[str], scene: Scene) -> None:
    await wait_for(pilot, lambda: scene.app.typing.is_ready)


async def type_and_send(pilot: Pilot[str], words: str) -> None:
    for character in words:
        await pilot.press("space" if character == " " else character)
    await pilot.press("enter")
    await pilot.pause()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory"


async def test_nothing_happens_to_who_did_not_join(tiny_bundle: Path, folder: Path) -> None:
    scene = Scene(tiny_bundle, folder)
    async with scene.app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, scene)
        await type_and_send(pilot, "hello")
        assert scene.title == ""
        assert "Join a federation …" in scene.commands()
    assert not folder.exists()


async def test_who_agrees_joins_and_only_then_is_anything_written(tiny_bundle: Path, folder: Path) -> None:
    folder.mkdir()
    scene = Scene(tiny_bundle, folder, "here:1")
    async with scene.app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, lambda: isinstance(scene.app.screen, JoinScreen))
        assert list(folder.iterdir()) == []
        await wait_for(pilot, lambda: scene.app.screen.query(Input))
        assert "sums over 30 keyboards or more" in str(scene.app.screen.query_one(Static).content)
        await pilot.press("enter")
        await wait_for(pilot, lambda: scene.title == "⇅ joined")
        await ready(pilot, scene)
        assert "federation" not in scene.commands()[0]
        assert "never leaves" in str(scene.app.typing.query_one("#welcome", Static).content)
        await type_and_send(pilot, "see you at 12345")
        scene.app.typing.is_private = True
        await type_and_send(pilot, "nobody knows")
        texts = [entry.text for entry in scene.diary.messages()]
        assert [text.split()[:3] for text in texts] == [["see", "you", "at"]]
        assert "12345" not in scene.diary.path.read_text()
        assert json.loads((folder / CONSENTS).read_text()) == ["here:1"]
        assert "Leave the federation" in scene.commands()


async def test_who_does_not_agree_does_not_join_and_is_asked_again(tiny_bundle: Path, folder: Path) -> None:
    scene = Scene(tiny_bundle, folder, "here:1")
    async with scene.app.run_test(size=(40, 12)) as pilot:
        await wait_for(pilot, lambda: isinstance(scene.app.screen, JoinScreen))
        await wait_for(pilot, lambda: scene.app.screen.query(Button))
        await pilot.press("escape")
        await wait_for(pilot, lambda: scene.app.screen is scene.app.typing)
        assert scene.joining.state is None
        scene.joining.ask("here:1")
        await wait_for(pilot, lambda: isinstance(scene.app.screen, JoinScreen))
        await wait_for(pilot, lambda: scene.app.screen.query("#no"))
        await pilot.pause()
        await pilot.click("#no")
        await wait_for(pilot, lambda: scene.app.screen is scene.app.typing)
    assert not scene.notes.exists()
    assert not folder.exists()


async def test_the_phone_hears_whether_anybody_types_and_the_title_says_what_it_does(
    tiny_bundle: Path, folder: Path
) -> None:
    folder.mkdir()
    (folder / CONSENTS).write_text('["here:1"]')
    scene = Scene(tiny_bundle, folder, "here:1", idle_seconds=1.5)
    async with scene.app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, lambda: scene.told()[1:] == ["busy", "idle"])
        await wait_for(pilot, lambda: scene.title == "⇅ round 2 · 1 given · ε 0.5")
        await ready(pilot, scene)
        await pilot.press("a")
        await wait_for(pilot, lambda: scene.told()[3:4] == ["busy"])
        await wait_for(pilot, lambda: scene.told()[4:5] == ["idle"])


async def test_leaving_ends_the_phone_and_offers_to_erase_the_diary(tiny_bundle: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / CONSENTS).write_text('["here:1"]')
    scene = Scene(tiny_bundle, folder, "here:1")
    async with scene.app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, lambda: scene.title == "⇅ joined")
        await ready(pilot, scene)
        for is_erased in (False, True):
            await type_and_send(pilot, "hello")
            scene.joining.leave()
            assert scene.title == ""
            await wait_for(pilot, lambda: scene.told()[-1] == "end")
            await wait_for(pilot, lambda: isinstance(scene.app.screen, LeftScreen))
            await wait_for(pilot, lambda: scene.app.screen.query("#erase"))
            await pilot.pause()
            assert str(scene.diary.path)[:20] in str(scene.app.screen.query_one(Static).content)
            await pilot.click("#erase" if is_erased else "#keep")
            await wait_for(pilot, lambda: scene.app.screen is scene.app.typing)
            assert scene.diary.path.exists() is not is_erased
            await type_and_send(pilot, "kept from everybody")
            assert "kept" not in (scene.diary.path.read_text() if scene.diary.path.exists() else "")
            if not is_erased:
                scene.joining.ask("here:1")
                await wait_for(pilot, lambda: scene.title == "⇅ joined")


async def test_a_phone_that_fails_says_why_in_a_sentence(tiny_bundle: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / CONSENTS).write_text('["here:1"]')
    scene = Scene(tiny_bundle, folder, "here:1")
    (folder / "notes.fail").touch()
    async with scene.app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, lambda: scene.joining.state and scene.joining.state.phase is Phase.FAILED)
        assert scene.title == "⇅ not joined"
        assert scene.joining.state is not None
        assert scene.joining.state.reason.endswith("This keyboard is not in the registry.")
        scene.joining.leave()
        scene.joining.ask("nowhere")
        await wait_for(pilot, lambda: isinstance(scene.app.screen, JoinScreen))
        await wait_for(pilot, lambda: scene.app.screen.query(Input))
        await pilot.press("enter")
        await wait_for(pilot, lambda: scene.app.screen is scene.app.typing)
        assert scene.joining.state is None
        assert json.loads((folder / CONSENTS).read_text()) == ["here:1"]


async def test_a_killed_phone_is_noticed_and_closing_the_keyboard_ends_it(
    tiny_bundle: Path, folder: Path
) -> None:
    folder.mkdir()
    (folder / CONSENTS).write_text('["here:1"]')
    scene = Scene(tiny_bundle, folder, "here:1")
    async with scene.app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, lambda: scene.title == "⇅ joined")
        os.kill(int(scene.told()[0]), signal.SIGKILL)
        await wait_for(pilot, lambda: scene.title == "⇅ not joined")
        scene.joining.ask("here:1")
        await wait_for(pilot, lambda: scene.title == "⇅ joined")
        assert "end" not in scene.told()
    deadline = time.monotonic() + 20
    while scene.told()[-1] != "end":
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
async def test_the_real_phone_answers_for_itself_and_is_gone_when_it_was_left(
    tiny_bundle: Path, folder: Path
) -> None:
    from fedkey_server.identities import make_identity

    folder.mkdir()
    with socket.socket() as nobody:  # bound, but nobody answers
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        (folder / CONSENTS).write_text(json.dumps([address]))
        key = make_identity(folder / "identity.key").public_key().public_bytes_raw()
        (folder / "registry.json").write_text(json.dumps({"5": key.hex()}))
        diary = folder / DIARY
        joining = Joining(diary, lambda to: phone_command(to, diary, tiny_bundle), address)
        app = KeyboardApp(lambda: Engine(open_bundle(tiny_bundle)), QWERTY, joining=joining)
        ends: list[Message] = []
        async with app.run_test(size=(80, 24), message_hook=ends.append) as pilot:
            await wait_for(pilot, lambda: joining.state and joining.state.phase is Phase.UNREACHABLE, 300)
            assert joining.state is not None
            assert f"{address} does not answer" in joining.state.reason
            joining.leave()
            await wait_for(pilot, lambda: any(isinstance(each, PhoneEnded) for each in ends))
    assert {path.name for path in folder.iterdir()} == {CONSENTS, "identity.key", "registry.json"}
