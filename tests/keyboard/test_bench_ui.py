"""`fedkey bench --ui`: what is pressed, what is read off a terminal, and the shape of the answer."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fedkey.cli import SUBCOMMANDS, bench, bench_ui
from fedkey.cli.bench import BACKSPACE, KEYS, LETTER, MESSAGE, PUNCTUATION, SPACE, Line, Unit
from fedkey.cli.bench_ui import GOALS, Seen, figures, goal_rows, keystrokes, shown
from fedkey.cli.pseudo_terminal import Grid, PseudoTerminal
from fedkey.commands import run_command
from fedkey.errors import UserError
from fedkey.layout import QWERTY

Json = dict[str, Any]

# ------------------------------------------------------------------------------------------- what is pressed


def test_every_second_slip_is_taken_back() -> None:
    units = (
        Unit(0, "helo", "hello", 3, True),
        Unit(5, ",", ",", 1, False),
        Unit(7, "wte", "wet", 1, True),
        Unit(11, "dgo", "dog", 1, True),
    )
    keys = list(keystrokes(Line("", "hello, wet dog", units)))
    assert "".join(sent for _, sent in keys) == "helo\x7flo, wte dgo\x7f\x7fog\r"
    kinds = [kind for kind, _ in keys]
    assert kinds[:8] == [*[LETTER] * 4, BACKSPACE, LETTER, LETTER, PUNCTUATION]
    assert kinds[8:] == [SPACE, *[LETTER] * 3, SPACE, *[LETTER] * 3, *[BACKSPACE] * 2, *[LETTER] * 2, MESSAGE]


# --------------------------------------------------------------------------------------- what is on a screen


def test_a_grid_shows_what_a_terminal_would() -> None:
    grid = Grid(8, 3)
    rest = grid.feed("\x1b[?1049h\x1b]0;a title\x07\x1b[2;3Ha\x1b[1;31mb\x1b[0mc\r\nx\x1b[2Cy\x1b[1;1H漢!")
    assert rest == ""
    assert grid.lines == ["漢!     ", "  abc   ", "x  y    "]
    grid.feed("\x1b[2;4H\x1b[K\x1b[3;1H\b\x1b[J")
    assert grid.lines == ["漢!     ", "  a     ", "        "]
    grid.feed("\x1b[2J\x1b[9;9Hbeyond the edge")
    assert "".join(grid.lines).strip() == ""


def test_a_sequence_may_come_in_pieces() -> None:
    sent = "\x1b[2;2Hhé\x1b[38;2;1;2;3mllo\x1b]8;;x\x1b\\\x1b[1;1HA"
    whole = Grid(8, 2)
    whole.feed(sent)
    grid, kept = Grid(8, 2), ""
    for character in sent:
        kept = grid.feed(kept + character)
    assert kept == ""
    assert grid.lines == whole.lines == ["A       ", " héllo  "]


SCREEN = """\
fedkey                    3 ms
╭────────────────────────────╮
│ see                        │
╰────────────────────────────╯
 1 you   │  2 the   │  3 him

  q   w   e   r   t   y   u   i   o   p
   a   s   d   f   g   h   j   k   l
""".splitlines()


def test_draft_and_suggestions_are_found_around_their_frame() -> None:
    parts = shown(SCREEN, QWERTY)
    assert parts is not None
    assert "│ see " in parts.draft
    assert parts.suggestions.split() == "1 you │ 2 the │ 3 him".split()
    assert shown(SCREEN[:6], QWERTY) is None


PROGRAM = r"""
import sys, termios, tty
tty.setraw(0)
sys.stdout.write("\x1b[?2026$p"); sys.stdout.flush()
answer = sys.stdin.read(11)
sys.stdout.write("\x1b[?2026h\x1b[1;1H" + repr(answer)); sys.stdout.flush()
import time; time.sleep(0.2)
sys.stdout.write("\x1b[2;1Hwhole\x1b[?2026l"); sys.stdout.flush()
while (key := sys.stdin.read(1)) != "q":
    sys.stdout.write("\x1b[?2026h\x1b[3;1Hgot " + key + "\x1b[?2026l"); sys.stdout.flush()
sys.stdout.write("\x1b[4;1Hno more"); sys.stdout.flush()
"""


def test_a_program_on_a_terminal_is_typed_into_and_its_frames_are_timed() -> None:
    started = time.perf_counter()
    with PseudoTerminal([sys.executable, "-c", PROGRAM], 40, 5, environment=os.environ) as terminal:
        # Nothing of a frame counts before its end.
        first = terminal.wait_for(lambda lines: "2026;2$y" in lines[0], 20)
        assert first - started > 0.2
        assert terminal.grid.lines[1].startswith("whole")
        terminal.type("k")
        assert terminal.wait_for(lambda lines: lines[2].startswith("got k"), 20) > first
        if Path("/proc/self/stat").exists():
            spent = terminal.processor_seconds()
            assert spent is not None
            assert 0 <= spent < 5
        terminal.type("q")
        with pytest.raises(UserError, match=r"it shows: .*whole got k no more"):
            terminal.wait_for(lambda lines: False, 20)


# ------------------------------------------------------------------------------------------------ the figures


def test_only_keys_that_changed_something_are_timed() -> None:
    seen = [Seen(LETTER, 5.0, float(value)) for value in range(1, 100)] + [Seen(LETTER, None, None)] * 20
    found = figures(seen)
    assert found["count"] == 119
    assert found["suggestions_ms"] == {"count": 99, "p50": 50.0, "p90": 90.0, "p99": 99.0, "p100": 99.0}
    assert found["text_ms"]["p50"] == 5.0
    assert figures([])["text_ms"]["p99"] is None


@pytest.fixture(scope="module")
def printed(tiny_bundle: Path) -> Json:
    """What a short run prints with --json."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_ui, "STARTS", 1)
        patch.setattr(bench_ui, "REST_SECONDS", 0.3)
        patch.setattr(bench_ui, "IDLE_SECONDS", 0.5)
        patch.setattr(bench_ui, "PACE_SECONDS", 0.05)
        patch.setattr(bench_ui, "SETTLED_SECONDS", 0.1)
        written: list[str] = []
        patch.setattr("builtins.print", lambda *parts, **named: written.append(" ".join(map(str, parts))))
        assert (
            run_command(
                "fedkey",
                "A keyboard.",
                SUBCOMMANDS,
                arguments=["bench", str(tiny_bundle), "--ui", "--json", "--keys", "20"],
                default="type",
            )
            == 0
        )
    (text,) = written
    return json.loads(text)


def test_the_keyboard_on_screen_is_measured(printed: Json) -> None:
    first = bench.TALK.splitlines()[0]
    assert list(printed["keys"]) == list(KEYS)
    assert printed["keys"][SPACE]["count"] == first.count(" ")
    assert printed["keys"][MESSAGE]["count"] == 1
    every = printed["all_keys"]
    assert every["count"] >= len(first)
    # A letter that stood there as ghost text changes nothing.
    assert every["text_ms"]["count"] > 0.4 * every["count"]
    assert 0 < every["text_ms"]["p50"] <= every["text_ms"]["p100"]
    assert 0 < every["suggestions_ms"]["count"] <= every["count"]
    paint = printed["first_paint"]
    assert 0 < paint["wall_s"]["best"] <= paint["suggestions_wall_s"]["best"]
    assert printed["goals"] == GOALS
    assert printed["model"]["bundle_bytes"] > 0


def test_tables_put_goals_beside_the_figures(printed: Json, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = {**printed, "idle_cpu_percent": 1.0, "cpu_ms_per_key": None}
    bench_ui.print_tables(numbers)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert ["at rest", "1.00 %", "2 %", "reached"] in cells
    assert ["processor time of a key, mean", "- ms"] in cells
    late = {**numbers, "all_keys": figures([Seen(LETTER, 1.0, 51.0)])}
    assert ("key to suggestions, p99", "51.00 ms", "50 ms", "missed") in list(goal_rows(late))
