"""Releases that are promoted while somebody types: the real registry, the real engine, the keyboard on
screen."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from at_screen import settled, wait_for
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Static

from fedkey import BundleError, Engine, UserError
from fedkey import bundle as bundles
from fedkey.bundle import Bundle, open_bundle
from fedkey.cli import main
from fedkey.commands import EXIT_MISTAKE
from fedkey.layout import LAYOUTS, QWERTY
from fedkey.metrics import Interval
from fedkey.releases import InUse, bundle_at, hold, promoted_versions, release_at
from fedkey.ui import app as ui
from fedkey.ui import following
from fedkey.ui.app import KeyboardApp
from fedkey.ui.messages import Noticed, Released
from fedkey.ui.suggestions import NUM_WORDS, Offers, SuggestionStrip, offered
from fedkey_server.releases import Registry

BETTER = {"top_1": Interval(0.02, 0.01, 0.03)}
WORSE = {"top_1": Interval(-0.02, -0.03, -0.01)}


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)


@pytest.fixture(scope="session")
def other_bundle(
    tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, small_overrides: list[str]
) -> Path:
    """A bundle that suggests other words: its model was trained for one step."""
    from fedkey_export.package import export
    from fedkey_server.config import load
    from fedkey_server.train import train

    folder = tmp_path_factory.mktemp("other")
    train(load("tiny", small_overrides), tiny_data, folder / "run", num_steps=1)
    export(folder / "run", folder / "bundle")
    return folder / "bundle"


@pytest.fixture
def registry(tmp_path: Path, tiny_bundle: Path, other_bundle: Path) -> Registry:
    """Two releases, the first of them promoted."""
    registry = Registry(tmp_path / "registry")
    registry.add(tiny_bundle)
    registry.add(other_bundle)
    registry.promote(1, {})
    return registry


class Watched(KeyboardApp):
    """A keyboard that follows a registry as `fedkey REGISTRY` does, and notes what it was told and what it
    showed."""

    CSS_PATH = Path(ui.__file__).with_name("app.tcss")

    def __init__(self, registry: Registry, memory: Path | None = None) -> None:
        release = release_at(registry.folder)
        assert release is not None
        self.engine = Engine.open(release.bundle, memory=memory)
        super().__init__(lambda: self.engine, QWERTY, release=release)
        self.refusals: list[str] = []
        self.in_use: list[InUse] = []
        self.strips: list[Offers] = []
        self.notices: list[str] = []

    def notify(self, message: str, **options: Any) -> None:
        self.notices.append(message)
        super().notify(message, **options)

    def hear(self, message: Message) -> None:
        if isinstance(message, Noticed):
            self.refusals.append(message.sentence)
        if isinstance(message, Released):
            self.in_use.append(message.release)

    def watch_strip(self) -> None:
        strip = self.typing.query_one(SuggestionStrip)
        self.watch(strip, "offers", lambda offers: self.strips.append(offers))

    @property
    def release(self) -> InUse:
        assert self.typing.release is not None
        return self.typing.release

    @property
    def title_line(self) -> str:
        return str(self.typing.query_one("#release", Static).content)

    @property
    def commands(self) -> list[str]:
        return [each.title for each in self.get_system_commands(self.typing)]


async def in_use(pilot: Pilot[str], version: int, *, is_held: bool = False) -> None:
    """Waits until a release is in use."""
    app = pilot.app
    assert isinstance(app, Watched)
    await wait_for(pilot, lambda: (app.release.version, app.release.is_held) == (version, is_held))
    await pilot.pause()


async def command(pilot: Pilot[str], letters: str) -> None:
    """Does what the palette offers first for some letters."""
    await pilot.press("ctrl+p")
    await wait_for(pilot, lambda: pilot.app.screen is not pilot.app.typing)  # type: ignore[attr-defined]
    await pilot.press(*letters)
    await pilot.pause(0.3)
    await pilot.press("enter")


def words_of(offers: Offers) -> list[str]:
    return [offer.text for offer in offers[:NUM_WORDS] if offer is not None]


def words_by(bundle: Path, typed: str) -> list[str]:
    return words_of(offered(Engine.open(bundle).suggest("", typed), typed, may_correct=True))


@asynccontextmanager
async def running(app: Watched) -> AsyncIterator[Pilot[str]]:
    async with app.run_test(size=(80, 24), notifications=True, message_hook=app.hear) as pilot:
        app.watch_strip()
        yield pilot


# ------------------------------------------------------------------------------------ which release


def test_a_registry_stands_for_its_current_bundle_and_a_bundle_for_itself(
    registry: Registry, tiny_bundle: Path
) -> None:
    assert bundle_at(str(registry.folder)) == registry.folder / "0001"
    assert release_at(registry.folder) == InUse(registry.folder, 1)
    registry.promote(2, BETTER)
    assert bundle_at(registry.folder) == registry.folder / "0002"
    assert bundle_at(registry.folder / "0001") == registry.folder / "0001"
    assert bundle_at(tiny_bundle) == tiny_bundle
    assert release_at(tiny_bundle) is None


@pytest.mark.parametrize("current", [None, "", "../other", "-1", "1e3", "١", "9" * 5000])
def test_a_registry_without_a_current_release_is_told(registry: Registry, current: str | None) -> None:
    (registry.folder / "current").unlink()
    if current is not None:
        (registry.folder / "current").write_text(current, encoding="utf-8")
    for ask in (bundle_at, release_at):
        with pytest.raises(UserError, match="names no current release; promote one"):
            ask(registry.folder)


def test_only_what_was_used_and_is_thought_well_of_can_be_gone_back_to(
    registry: Registry, tmp_path: Path, tiny_bundle: Path
) -> None:
    third = tmp_path / "third"
    _changed(tiny_bundle, third, provenance={"kind": "third"})
    registry.add(third)
    assert InUse(registry.folder, 1).before is None
    registry.promote(2, WORSE)
    registry.promote(3, BETTER)
    assert promoted_versions(registry.folder) == [1, 3]
    assert InUse(registry.folder, 3).before == 1  # 2 was refused
    numbered = '[{{"version": {}, "state": "promoted"}}]'
    for garbage in ("[1, 2", "{}", "[3]", numbered.format('"x"'), numbered.format("Infinity"), "[" * 100_000):
        (registry.folder / "releases.json").write_text(garbage)
        assert InUse(registry.folder, 3).before is None


def test_what_is_held_is_kept_for_each_registry_until_it_is_followed_again(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    registry.promote(2, BETTER)
    shutil.copytree(registry.folder, tmp_path / "copy")
    hold(registry.folder, 1)
    assert release_at(registry.folder) == InUse(registry.folder, 1, is_held=True)
    assert release_at(tmp_path / "copy") == InUse(tmp_path / "copy", 2)
    assert bundle_at(registry.folder) == registry.folder / "0002"  # what is measured is what phones use
    monkeypatch.chdir(tmp_path)
    assert release_at("registry") == InUse(Path("registry"), 1, is_held=True)
    shutil.rmtree(registry.folder / "0001")
    assert release_at(registry.folder) == InUse(registry.folder, 2)
    hold(registry.folder, None)
    (held,) = (tmp_path / "home" / "fedkey").iterdir()
    assert json.loads(held.read_text()) == {}
    held.write_text("no JSON")
    assert release_at(registry.folder) == InUse(registry.folder, 2)


def test_commands_that_measure_take_a_registry(
    registry: Registry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fedkey(*arguments: object) -> int:
        monkeypatch.setattr("sys.argv", ["fedkey", *map(str, arguments)])
        return main()

    def words() -> list[str]:
        answer: list[str] = json.loads(capsys.readouterr().out)["words"]
        return answer

    assert fedkey("complete", registry.folder, "--typed", "se") == 0
    assert words() == words_by(registry.folder / "0001", "se")
    registry.promote(2, BETTER)
    assert fedkey("complete", registry.folder, "--typed", "se") == 0
    assert words() == words_by(registry.folder / "0002", "se")
    (registry.folder / "current").unlink()
    text = tmp_path / "text.txt"
    text.write_text("hello there\n")
    for arguments in (("complete",), ("bench",), ("eval", "--text", text)):
        assert fedkey(arguments[0], registry.folder, *arguments[1:]) == EXIT_MISTAKE
        assert "names no current release" in capsys.readouterr().err


# ----------------------------------------------------------------------------------- while it is typed


async def test_a_promotion_in_the_middle_of_a_word_keeps_letters_and_suggestions(registry: Registry) -> None:
    assert words_by(registry.folder / "0001", "se") != words_by(registry.folder / "0002", "se")
    app = Watched(registry)
    async with running(app) as pilot:
        assert app.title_line == "release 1"
        await pilot.press(*"hello", "enter", "s")
        await settled(pilot)
        assert not app.in_use
        shown, num_strips = app.typing.shown, len(app.strips)
        registry.promote(2, BETTER)
        await in_use(pilot, 2)
        assert app.title_line == "release 2"
        assert app.notices == ["Release 2 is in use now."]
        # Nothing moves under the writer's hand before the next key.
        await pilot.pause(0.1)
        assert app.typing.shown is shown
        assert len(app.strips) == num_strips
        assert (app.typing.draft.text, app.typing.messages) == ("s", ("hello",))
        await pilot.press("e")
        await settled(pilot)
        context = "hello\n"
        answer = Engine.open(registry.folder / "0002").suggest(context, "se")
        assert words_of(app.strips[-1]) == words_of(offered(answer, "se", may_correct=True))
        registry.rollback("by hand")
        await in_use(pilot, 1)
        await pilot.press("backspace", "e")
        await settled(pilot)
        answer = Engine.open(registry.folder / "0001").suggest(context, "se")
        assert words_of(app.strips[-1]) == words_of(offered(answer, "se", may_correct=True))
    assert app.return_value is None


@pytest.mark.slow
async def test_whoever_types_on_while_releases_change_loses_no_letter_and_sees_no_gap(
    registry: Registry,
) -> None:
    typed = "see you there my friend and then we will go home "
    app = Watched(registry)
    async with running(app) as pilot:
        await pilot.press("t")
        await settled(pilot)
        app.strips.clear()
        for number, character in enumerate(typed):
            if number == 5:
                registry.promote(2, BETTER)
            if number == 30:
                await in_use(pilot, 2)
                registry.rollback("by hand")
            await pilot.press("space" if character == " " else character)
        await in_use(pilot, 1)
        await settled(pilot)
        assert [each.version for each in app.in_use] == [2, 1]
        assert len(app.typing.draft.text) >= len(typed)
        # Letters that begin no word have no suggestions; the loading state, or an emptied strip, has none.
        assert app.typing.query_one(SuggestionStrip).note == ""
        assert all(words_of(strip) for strip in app.strips[:1] + app.strips[-1:])


async def test_what_was_learned_stays_and_what_was_taken_can_be_taken_back(
    registry: Registry, tmp_path: Path
) -> None:
    app = Watched(registry, tmp_path / "memory.sqlite")
    async with running(app) as pilot:
        await pilot.press(*"zorptag zorptag t")
        await settled(pilot)
        await pilot.press("tab")
        await settled(pilot)
        taken = app.typing.draft.text.removeprefix("zorptag zorptag ").strip().lower()
        assert taken in _words_kept(tmp_path)
        registry.promote(2, BETTER)
        await in_use(pilot, 2)
        await pilot.press("ctrl+z")
        assert app.typing.draft.text == "zorptag zorptag t"
        await settled(pilot)
        await wait_for(pilot, lambda: taken not in _words_kept(tmp_path))
        await pilot.press("enter", *"zorp")
        await settled(pilot)
        assert "zorptag" in words_of(app.strips[-1])
        await pilot.press(*"tag quux ")
        await settled(pilot)
        word = app.typing.draft.text.split()[-1].lower()  # whatever the new release makes of it
        await wait_for(pilot, lambda: word in _words_kept(tmp_path))
    assert app.return_value is None


def test_an_engine_inherits_what_was_taken_back(tiny_bundle: Path, other_bundle: Path) -> None:
    """A correction that was taken back is not made again, though the next release would."""
    old, new = Engine.open(tiny_bundle), Engine.open(tiny_bundle)
    words = [word for word in map(old.lexicon.word, range(old.lexicon.num_words)) if len(word) > 5]
    mistyped = [word[:2] + word[3:] for word in words]
    letters = next(each for each in mistyped if old.suggest("", each).autocorrect is not None)
    corrected = new.suggest("", letters).autocorrect
    assert corrected is not None
    accepted = old.accept("", letters, corrected)
    old.undo(accepted)
    new.inherit(old)
    assert new.suggest("", letters).autocorrect is None
    assert letters in [each.word for each in new.words_learned()]
    newest = Engine.open(other_bundle)
    newest.inherit(new)
    assert letters in [each.word for each in newest.words_learned()]
    newest.close()


async def test_the_writer_goes_back_from_the_palette_until_they_follow_again(
    registry: Registry, tmp_path: Path, tiny_bundle: Path
) -> None:
    registry.promote(2, BETTER)
    third = tmp_path / "third"
    _changed(tiny_bundle, third, provenance={"kind": "third"})
    registry.add(third)
    app = Watched(registry)
    async with running(app) as pilot:
        await pilot.press(*"se")
        await settled(pilot)
        assert "Go back to release 1" in app.commands
        assert "Follow releases again" not in app.commands
        await command(pilot, "go back")
        await in_use(pilot, 1, is_held=True)
        assert app.title_line == "release 1, held"
        assert app.typing.draft.text == "se"
        registry.promote(3, BETTER)
        await pilot.pause(0.3)
        assert app.release == InUse(registry.folder, 1, is_held=True)
        assert [each for each in app.commands if "elease" in each] == ["Follow releases again"]
    again = Watched(registry)
    async with running(again) as pilot:
        await settled(pilot)
        await pilot.pause(0.1)
        assert again.release == InUse(registry.folder, 1, is_held=True)
        await command(pilot, "follow")
        await in_use(pilot, 3)
        registry.rollback("by hand")
        await in_use(pilot, 2)
        assert again.title_line == "release 2"
        assert again.refusals == []
    assert release_at(registry.folder) == InUse(registry.folder, 2)


@pytest.mark.slow
async def test_going_back_where_it_cannot_be_written_down_holds_for_now(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(2, BETTER)
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    app = Watched(registry)
    async with running(app) as pilot:
        await settled(pilot)
        await command(pilot, "go back")
        await in_use(pilot, 1, is_held=True)
        await wait_for(pilot, lambda: app.refusals)
        await pilot.pause(0.1)
        (sentence,) = app.refusals
        assert "it holds until fedkey is closed" in sentence
        assert app.release.version == 1


# --------------------------------------------------------------------------------- what is refused


def _changed(bundle: Path, copy: Path, **fields: object) -> None:
    """A copy of a bundle whose manifest says something else."""
    shutil.copytree(bundle, copy)
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    (copy / "manifest.json").write_text(json.dumps({**manifest, **fields}), encoding="utf-8")


def _altered(folder: Path) -> None:
    model = bytearray((folder / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (folder / "model.onnx").write_bytes(model)


def _for_other_keys(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**manifest, "layout": "dvorak"}), encoding="utf-8")


@pytest.mark.slow
async def test_a_broken_release_is_refused_once_and_the_old_one_goes_on(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _altered(registry.folder / "0002")
    app = Watched(registry, tmp_path / "memory.sqlite")
    openings: list[Path] = []

    def counted(folder: Path) -> Bundle:
        openings.append(folder)
        return open_bundle(folder)

    monkeypatch.setattr(bundles, "open_bundle", counted)
    async with running(app) as pilot:
        await pilot.press("s")
        await settled(pilot)
        registry.promote(2, BETTER)
        await wait_for(pilot, lambda: app.refusals)
        await pilot.pause(0.2)
        (sentence,) = app.refusals
        assert len(openings) == 1  # to check a bundle over and over would keep a processor busy
        assert sentence.startswith("Release 2 is refused and 1 stays: ")
        assert "is not the file that was exported" in sentence
        assert app.title_line == "release 1"
        await pilot.press("e")
        await settled(pilot)
        assert words_of(app.strips[-1]) == words_by(registry.folder / "0001", "se")
        registry.rollback("broken")
        await pilot.pause(0.1)
        assert len(app.refusals) == 1
    assert app.in_use == []


@pytest.mark.slow
async def test_a_release_for_other_keys_leaves_the_keys_to_the_writer(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    _for_other_keys(registry.folder / "0002")
    app = Watched(registry)
    inherit, engines = Engine.inherit, list[Engine]()

    def noted(engine: Engine, other: Engine) -> None:
        inherit(engine, other)
        engines.append(engine)

    monkeypatch.setattr(Engine, "inherit", noted)
    async with running(app) as pilot:
        await pilot.press("ctrl+l", "s")
        await settled(pilot)
        registry.promote(2, BETTER)
        await in_use(pilot, 2)
        await pilot.press("e")
        await settled(pilot)
        assert app.typing.key_layout is engines[-1].layout is LAYOUTS["qwertz"]
        await pilot.press("ctrl+l")
        await settled(pilot)
        assert engines[-1].layout is LAYOUTS["azerty"]
    assert app.refusals == []


@pytest.mark.slow
async def test_a_release_that_was_not_all_there_is_used_when_it_is(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RETRY_SECONDS", 0.0)
    (registry.folder / "0002").rename(tmp_path / "on its way")
    app = Watched(registry)
    async with running(app) as pilot:
        await settled(pilot)
        registry.promote(2, BETTER)
        await wait_for(pilot, lambda: app.refusals)
        (tmp_path / "on its way").rename(registry.folder / "0002")
        await in_use(pilot, 2)
        assert len(app.refusals) == 1


@pytest.mark.slow
async def test_going_back_to_a_broken_release_changes_nothing(registry: Registry) -> None:
    registry.promote(2, BETTER)
    _altered(registry.folder / "0001")
    app = Watched(registry)
    async with running(app) as pilot:
        await settled(pilot)
        await command(pilot, "go back")
        await wait_for(pilot, lambda: app.refusals)
        await pilot.pause(0.1)
        assert app.release == release_at(registry.folder) == InUse(registry.folder, 2)


@pytest.mark.slow
async def test_a_registry_that_goes_away_is_told_of_once_and_followed_when_it_is_back(
    registry: Registry, tmp_path: Path
) -> None:
    app = Watched(registry)
    async with running(app) as pilot:
        await settled(pilot)
        registry.folder.rename(tmp_path / "unplugged")
        await wait_for(pilot, lambda: app.refusals)
        await pilot.press(*"se")
        await settled(pilot)
        await pilot.pause(0.1)
        assert len(app.refusals) == 1
        (tmp_path / "unplugged").rename(registry.folder)
        registry.promote(2, BETTER)
        await in_use(pilot, 2)


async def test_a_bundle_of_a_registry_is_what_it_says_and_follows_nobody(registry: Registry) -> None:
    bundle = registry.folder / "0001"
    app = KeyboardApp(lambda: Engine.open(bundle), QWERTY, release=release_at(bundle))
    async with app.run_test() as pilot:
        await settled(pilot)
        registry.promote(2, BETTER)
        await pilot.pause(0.2)
        assert app.typing.release is None
        assert not [each.title for each in app.get_system_commands(app.typing) if "elease" in each.title]


@pytest.mark.slow
async def test_closing_ends_both_threads_and_closes_the_memory(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_ended = threading.Event()
    follow = following.Following.run

    def run(self: following.Following) -> None:
        follow(self)
        has_ended.set()

    monkeypatch.setattr(following.Following, "run", run)
    app = Watched(registry, tmp_path / "memory.sqlite")
    async with running(app) as pilot:
        await settled(pilot)
        registry.promote(2, BETTER)
        await in_use(pilot, 2)
        assert (tmp_path / "memory.sqlite-wal").exists()
    assert await asyncio.to_thread(has_ended.wait, 20)
    deadline = time.monotonic() + 20
    # SQLite takes its log away when the last connection is closed.
    while (tmp_path / "memory.sqlite-wal").exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_a_registry_whose_current_release_is_broken_is_refused_before_the_keyboard_opens(
    registry: Registry,
) -> None:
    _altered(registry.folder / "0001")
    with pytest.raises(BundleError):
        open_bundle(bundle_at(registry.folder))


def _words_kept(folder: Path) -> list[str]:
    from fedkey.personal import Personal

    memory = Personal.open(folder / "memory.sqlite")
    try:
        return [each.word.lower() for each in memory.words()]
    finally:
        memory.close()
