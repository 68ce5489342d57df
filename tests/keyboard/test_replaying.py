"""The real keyboard that types by itself: keys, suggestions and corrections as anybody's, and recordings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from at_screen import wait_for

from fedkey import Engine
from fedkey.cli.pseudo_terminal import Grid
from fedkey.layout import QWERTY
from fedkey.replay import Line, Writer
from fedkey.ui.keypad import Keypad
from fedkey.ui.messages import Written
from fedkey.ui.replaying import PlayedKeyboard

TALK = ("see you at home, thanks", "what are you doing")


def fedkey(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fedkey", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)


async def test_it_writes_what_it_was_given_with_the_keys_that_a_person_has(tiny_bundle: Path) -> None:
    script = [*map(Line, TALK), Line("f1", is_key=True)]
    writer = Writer(script, QWERTY, np.random.default_rng(2), 1000)
    told: list[Written] = []
    app = PlayedKeyboard(lambda: Engine.open(tiny_bundle), QWERTY, writer=writer)
    lit: set[str] = set()

    def hook(message: object) -> None:
        if isinstance(message, Written):
            told.append(message)
        for keypad in app.typing.query(Keypad):  # none at first; what the hook raised would keep the app open
            lit.update(keypad.lit)

    async with app.run_test(message_hook=hook) as pilot:
        await wait_for(pilot, lambda: app.screen is not app.typing)
        assert app.typing.messages == TALK
    assert {"s", "y", "space", "enter"} <= lit
    assert any(word.swap is not None for word in told), "nothing was taken or corrected"


def test_a_session_is_recorded_without_a_terminal(tiny_bundle: Path, tmp_path: Path) -> None:
    script, film = tmp_path / "talk.txt", tmp_path / "film.cast"
    script.write_text("see you\nwhat are y")
    done = fedkey(tiny_bundle, "--play", script, "--record", film, "--size", "60x20", "--pace", "600")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    header, *frames = map(json.loads, film.read_text(encoding="utf-8").splitlines())
    assert (header["version"], header["width"], header["height"]) == (2, 60, 20)
    times = [at for at, _, _ in frames]
    assert times[0] == 0
    assert times == sorted(times)
    assert times[-1] > 19 * 60 / (5 * 600)
    assert {kind for _, kind, _ in frames} == {"o"}
    grid = Grid(60, 20)
    seen = []
    for _, _, sent in frames:
        assert grid.feed(sent) == ""
        seen.append("\n".join(grid.lines))
    assert any("│ s" in screen for screen in seen)
    assert "see you" in seen[-1]
    assert "what are y" in seen[-1]
    assert " space " in seen[-1]
    assert "\x1b[38;2;" in "".join(sent for _, _, sent in frames), "a film has colours"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["film.cast", "talk.txt"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("--play", "nothing.txt", "--record", "film.cast"),
            "nothing.txt, which is to be played: No such file",
        ),
        (("--play", "talk.txt", "--record", "film.gif"), "ends in .svg (a picture) or .cast"),
        (("--play", "talk.txt", "--record", "no/film.cast"), "there is no folder"),
        (("--record", "film.cast", "--size", "80x24"), "add --play FILE and --record FILE"),
        (("--record", "film.cast", "--web"), "--web has none"),
        (("--record", "film.cast"), "needs a terminal"),
        (("--play", "talk.txt"), "needs a terminal"),
        (("--play", "talk.txt", "--record", "film.svg", "--memory", "."), "Cannot use the personal memory"),
    ],
)
def test_what_cannot_be_played_or_recorded_is_one_sentence(
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.txt").write_text("see you\n")
    done = fedkey(tiny_bundle, *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert complaint in done.stderr


@pytest.mark.parametrize("option", [("--pace", "0"), ("--pace", "fast"), ("--size", "80"), ("--seed", "x")])
def test_a_value_that_cannot_be_names_its_option(option: tuple[str, str]) -> None:
    done = fedkey(*option)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"fedkey: error: argument {option[0]}: ")
