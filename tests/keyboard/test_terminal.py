"""The command in a real terminal, tmux's: typed into as a person would, and left as it was found."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fedkey import Engine
from fedkey.cli.pseudo_terminal import PseudoTerminal

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="drives a real terminal through tmux")

PROMPT = "ready>"
SECONDS = 30
"""How long anything may take on a busy machine."""


class Terminal:
    """A shell in a terminal of 80 by 24 characters."""

    def __init__(self, data_folder: Path) -> None:
        self._socket = f"fedkey-test-{uuid.uuid4().hex[:8]}"
        # Readline puts LINES and COLUMNS into pytest's environment; inherited, they would pin the size.
        shell = shlex.join(
            [
                *("env", "-u", "NO_COLOR", "-u", "LINES", "-u", "COLUMNS"),
                *(f"XDG_DATA_HOME={data_folder}", f"PS1={PROMPT}", "bash", "--norc", "--noprofile"),
            ]
        )
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", shell)
        self.tmux("set-option", "-g", "window-size", "manual")
        self.wait_for(lambda: self.text == PROMPT)

    def tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        return done.stdout

    def type(self, characters: str) -> None:
        self.tmux("send-keys", "-l", characters)

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def click(self, label: str) -> None:
        """The left button on a key, as a terminal reports it: pressed, and let go."""
        # The keys are below everything else, and of several labels the last is one.
        lines = self.text.splitlines()
        row = max(row for row, line in enumerate(lines) if label in line.split())
        place = f"{f' {lines[row]} '.index(f' {label} ') + 1};{row + 1}"
        self.type(f"\x1b[<0;{place}M")
        self.type(f"\x1b[<0;{place}m")

    @property
    def text(self) -> str:
        """What is on screen, without the blank at its end."""
        return self.tmux("capture-pane", "-p").rstrip()

    @property
    def state(self) -> str:
        """What a program may change and must change back: the alternate screen, the mouse, the cursor."""
        return self.tmux(
            "display-message", "-p", "#{alternate_on} #{mouse_any_flag} #{mouse_sgr_flag} #{cursor_flag}"
        ).strip()

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.text
            time.sleep(0.03)

    def start(self, *arguments: object, pid_file: Path | None = None) -> None:
        """Runs fedkey; its exit status is printed behind it."""
        command = shlex.join([sys.executable, "-m", "fedkey", *map(str, arguments)])
        if pid_file is not None:
            command = shlex.join(["sh", "-c", f"echo $$ > {shlex.quote(str(pid_file))}; exec {command}"])
        self.type(f"clear; {command}; echo status $?")
        self.press("Enter")


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """Where the keyboard may keep what it learns, instead of the data folder of whoever runs the tests."""
    return tmp_path / "data"


@pytest.fixture
def terminal(data_folder: Path) -> Iterator[Terminal]:
    terminal = Terminal(data_folder)
    yield terminal
    terminal.tmux("kill-server")


def test_words_are_typed_and_taken_and_the_terminal_is_left_as_it_was(
    terminal: Terminal, tiny_bundle: Path
) -> None:
    before = terminal.state
    engine = Engine.open(tiny_bundle)
    terminal.start(tiny_bundle)
    terminal.wait_for(lambda: " space " in terminal.text and " ms" in terminal.text)
    assert terminal.state != before

    terminal.type("see yo")
    first, second, _ = engine.suggest("see ", "yo").words
    terminal.wait_for(lambda: f"1 {first}" in terminal.text and f"2 {second}" in terminal.text)
    terminal.press("Tab")
    terminal.type(",")
    terminal.wait_for(lambda: f"│ see {first}, " in terminal.text)

    second = engine.suggest(f"see {first}, ", "").words[1]
    terminal.wait_for(lambda: f"2 {second}" in terminal.text)
    terminal.press("M-2")
    terminal.wait_for(lambda: f"│ see {first}, {second} " in terminal.text)

    terminal.click("q")
    terminal.wait_for(lambda: f"│ see {first}, {second} q " in terminal.text)

    terminal.resize(40, 12)
    terminal.wait_for(lambda: " space " in terminal.text and max(map(len, terminal.text.splitlines())) <= 40)
    assert f"see {first}, {second} q" in terminal.text
    terminal.resize(80, 24)
    terminal.wait_for(lambda: f"│ see {first}, {second} q " in terminal.text)

    terminal.press("Enter")
    sent = f"see {first}, {second} q"
    terminal.wait_for(lambda: sent in terminal.text and "│ Message" in terminal.text)

    # Escape and Enter in one: a new line, where Enter alone would send.
    terminal.type("one")
    terminal.press("M-Enter")
    terminal.type("two")
    terminal.wait_for(lambda: "│ one " in terminal.text and "│ two" in terminal.text)
    terminal.press("C-q")
    terminal.wait_for(lambda: terminal.text.endswith(PROMPT))
    assert terminal.text == f"status 0\n{PROMPT}"
    assert terminal.state == before


def test_words_are_written_by_mouse_alone(terminal: Terminal, tiny_bundle: Path) -> None:
    terminal.start(tiny_bundle)
    terminal.wait_for(lambda: " space " in terminal.text and " ms" in terminal.text)
    terminal.click("⇧")
    terminal.wait_for(lambda: "  S  " in terminal.text)
    terminal.click("S")
    terminal.wait_for(lambda: "│ S " in terminal.text and "  s  " in terminal.text)
    for label in "eex⌫":
        terminal.click(label)
    terminal.click("?123")
    terminal.wait_for(lambda: "│ See " in terminal.text and "  abc  " in terminal.text)
    for label in "@42":
        terminal.click(label)
    terminal.wait_for(lambda: "│ See@42 " in terminal.text)
    terminal.click("space")
    terminal.wait_for(lambda: "  ?123  " in terminal.text)
    terminal.press("C-l")
    terminal.wait_for(lambda: "   ü" in terminal.text)
    for label in "zü⏎":
        terminal.click(label)
    terminal.wait_for(lambda: "See@42 zü" in terminal.text and "│ Message" in terminal.text)


def test_a_refused_bundle_is_one_sentence_on_an_untouched_screen(terminal: Terminal, tmp_path: Path) -> None:
    before = terminal.state
    terminal.start(tmp_path / "nothing")
    terminal.wait_for(lambda: terminal.text.endswith(PROMPT) and "status" in terminal.text)
    lines = "".join(terminal.text.splitlines())  # a long path is wrapped by the terminal
    assert lines.startswith("fedkey: ")
    assert lines.endswith(f".status 2{PROMPT}")
    assert terminal.state == before


def test_a_polite_kill_leaves_the_terminal_as_it_was(
    terminal: Terminal, tiny_bundle: Path, tmp_path: Path
) -> None:
    before = terminal.state
    terminal.start(tiny_bundle, pid_file=tmp_path / "pid")
    terminal.wait_for(lambda: " space " in terminal.text)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    terminal.wait_for(lambda: terminal.text.endswith(PROMPT))
    assert "status 143" in terminal.text
    assert terminal.state == before


def mistake(engine: Engine) -> tuple[str, str]:
    """Letters that the engine corrects, and into what."""
    for word in sorted(engine.lexicon.forms.values(), key=len, reverse=True):
        letters = word[:-2] + word[-1]
        correction = engine.suggest("", letters).autocorrect if word.isalpha() else None
        if correction is not None:
            return letters, correction
    pytest.fail("the engine corrects nothing")


def test_a_mistake_is_corrected_taken_back_and_remembered(
    terminal: Terminal, tiny_bundle: Path, data_folder: Path
) -> None:
    letters, correction = mistake(Engine.open(tiny_bundle))
    terminal.start(tiny_bundle)
    terminal.wait_for(lambda: " space " in terminal.text and " ms" in terminal.text)
    # All at once, faster than any engine: the correction may come when the next word has been begun.
    terminal.type(f"{letters} yes")
    terminal.wait_for(lambda: f"│ {correction} yes" in terminal.text)
    terminal.press("C-u")
    terminal.type(letters)
    terminal.wait_for(lambda: f"{correction} ␣" in terminal.text and f"3 “{letters}”" in terminal.text)
    terminal.type(" ")
    terminal.wait_for(lambda: f"│ {correction} " in terminal.text)
    terminal.press("BSpace")
    terminal.wait_for(lambda: f"│ {letters} " in terminal.text)
    terminal.type(" ")
    terminal.wait_for(lambda: "␣" not in terminal.text)
    assert f"│ {letters} " in terminal.text
    # Brought back and finished, it is a word like any other from now on.
    terminal.press("C-u")
    terminal.type(f"{letters} yes")
    terminal.wait_for(lambda: f"│ {letters} yes" in terminal.text)
    terminal.press("C-q")
    terminal.wait_for(lambda: terminal.text.endswith(PROMPT))
    memory = data_folder / "fedkey" / "personal.sqlite"
    assert memory.stat().st_mode & 0o777 == 0o600
    assert letters.lower() in {
        each.word.lower() for each in Engine.open(tiny_bundle, memory=memory).words_learned()
    }


def test_typing_privately_leaves_no_file(terminal: Terminal, tiny_bundle: Path, data_folder: Path) -> None:
    terminal.start(tiny_bundle, "--private")
    terminal.wait_for(lambda: "fedkey · private" in terminal.text and " ms" in terminal.text)
    terminal.type("zyzzy zyzzy ")
    terminal.press("Enter")
    terminal.wait_for(lambda: "│ Private message" in terminal.text)
    terminal.press("C-q")
    terminal.wait_for(lambda: terminal.text.endswith(PROMPT))
    assert not data_folder.exists()


# ------------------------------------------------------------------- memories that cannot be used


def is_typable(terminal: Terminal) -> bool:
    return " space " in terminal.text and " ms" in terminal.text


def test_a_damaged_memory_is_set_aside_in_sight_and_typing_goes_on(
    terminal: Terminal, tiny_bundle: Path, data_folder: Path
) -> None:
    memory = data_folder / "fedkey" / "personal.sqlite"
    memory.parent.mkdir(parents=True)
    Engine.open(tiny_bundle, memory=memory).close()
    damaged = memory.read_bytes()[:3000]
    memory.write_bytes(damaged)
    terminal.start(tiny_bundle)
    terminal.wait_for(lambda: "damaged-1" in terminal.text and "import" in terminal.text)
    terminal.type("zyzzy ")
    terminal.wait_for(lambda: "│ zyzzy " in terminal.text)
    # It stays in sight where everything that is kept is.
    terminal.press("F8")
    terminal.wait_for(lambda: "Words 1 " in terminal.text)
    terminal.press("BTab")
    terminal.wait_for(lambda: "Set aside, as it was damaged: personal.sqlite.damaged-1" in terminal.text)
    terminal.press("Escape")
    terminal.press("C-q")
    terminal.wait_for(lambda: terminal.text.endswith(f"status 0\n{PROMPT}"))
    assert memory.with_name("personal.sqlite.damaged-1").read_bytes() == damaged
    assert [each.word for each in Engine.open(tiny_bundle, memory=memory).words_learned()] == ["zyzzy"]


@pytest.mark.parametrize("is_full", [False, True])
def test_a_place_that_cannot_be_written_is_told_and_typing_goes_on(
    terminal: Terminal, tiny_bundle: Path, data_folder: Path, is_full: bool
) -> None:
    # Neither a file in place of the folder nor a limit on files stops for root, as rights would not.
    if is_full:
        terminal.type("ulimit -f 0")
        terminal.press("Enter")
    else:
        data_folder.mkdir()
        (data_folder / "fedkey").touch()
    terminal.start(tiny_bundle)
    terminal.wait_for(lambda: "no memory" in terminal.text and "quit." in terminal.text)
    assert "Cannot use the personal memory" in " ".join(terminal.text.split())
    terminal.type("zyzzy zyzzy zy")
    terminal.wait_for(lambda: "1 zyzzy" in terminal.text)  # remembered as long as it is open
    terminal.press("C-q")
    terminal.wait_for(lambda: terminal.text.endswith(f"status 0\n{PROMPT}"))
    if not is_full:
        assert (data_folder / "fedkey").read_bytes() == b""


def test_a_memory_that_another_program_holds_is_told_of_and_keeps_nobody_waiting(
    terminal: Terminal, tiny_bundle: Path, data_folder: Path
) -> None:
    terminal.start(tiny_bundle)
    terminal.wait_for(lambda: is_typable(terminal))
    memory = data_folder / "fedkey" / "personal.sqlite"
    with closing(sqlite3.connect(memory, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        terminal.type("quagmire ")
        terminal.wait_for(lambda: "busy;" in terminal.text)
        started = time.monotonic()
        terminal.type("zilch flumm brabble ")
        terminal.wait_for(lambda: "brabble " in terminal.text)
        # Questions wait for what was written, so the answer comes after all of these words.
        terminal.type("tomorro")
        terminal.wait_for(lambda: "1 tomorrow" in terminal.text)
        # Waiting for each of the words as for the first would take six seconds.
        assert time.monotonic() - started < 5.5
        other.execute("ROLLBACK")
    terminal.press("C-u")
    terminal.type("zyzzy ")
    terminal.wait_for(lambda: "│ zyzzy " in terminal.text)
    terminal.press("C-q")
    terminal.wait_for(lambda: terminal.text.endswith(f"status 0\n{PROMPT}"))
    assert [each.word for each in Engine.open(tiny_bundle, memory=memory).words_learned()] == ["zyzzy"]


@pytest.mark.slow
def test_a_word_is_clicked_and_another_put_in_its_place(terminal: Terminal, tiny_bundle: Path) -> None:
    engine = Engine.open(tiny_bundle)
    first = engine.replacements("see ", "thank", " now").words[0]
    terminal.start(tiny_bundle)
    terminal.wait_for(lambda: " space " in terminal.text and " ms" in terminal.text)
    terminal.type("see thank now")
    terminal.wait_for(lambda: "│ see thank now " in terminal.text)
    terminal.click("thank")
    terminal.wait_for(lambda: f"1 ⇄ {first}" in terminal.text)
    terminal.press("Tab")
    terminal.wait_for(lambda: f"│ see {first} now " in terminal.text)
    terminal.press("C-z")
    terminal.wait_for(lambda: "│ see thank now " in terminal.text)


def test_bytes_that_are_no_utf8_end_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    homes = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "fedkey", str(tiny_bundle), "--private"]
    with PseudoTerminal(command, 80, 24, environment=os.environ | homes) as terminal:
        terminal.wait_for(lambda lines: any(re.search(r"1 .*│ +2 ", line) for line in lines), 30)
        terminal.type("keep ")
        terminal.wait_for(lambda lines: any("keep" in line.lower() for line in lines), 30)
        for sent in (b"caf\xe9 ", b"\xff"):  # as a terminal of another encoding has them
            os.write(terminal._master, sent)
            terminal.type("and ")
        terminal.wait_for(lambda lines: any(re.search("(?i)keep caf� and �and", line) for line in lines), 30)
