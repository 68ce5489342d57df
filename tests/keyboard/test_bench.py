"""`fedkey bench`: what is typed and counted, and the shape of the answer. How long it took is no test."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedkey.cli import SUBCOMMANDS, bench
from fedkey.cli.bench import (
    BACKSPACE,
    BETWEEN,
    GOALS,
    KEYS,
    LETTER,
    MESSAGE,
    PUNCTUATION,
    SPACE,
    TALK,
    Key,
    Line,
    Unit,
    figures,
    memory_mb,
    num_threads,
    plan,
    type_lines,
)
from fedkey.commands import EXIT_MISTAKE, run_command
from fedkey.conversations import GradedConversation
from fedkey.engine import Accepted, Engine, Suggestions
from fedkey.errors import UserError
from fedkey.text import LINK, is_word, normalise

Json = dict[str, Any]


def fedkey(*arguments: object) -> int:
    return run_command(
        "fedkey", "A keyboard.", SUBCOMMANDS, arguments=list(map(str, arguments)), default="type"
    )


class Recorder:
    """An engine that corrects helo and writes down what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self._num_steps = 0

    def look_ahead(self) -> bool:
        self._num_steps -= 1
        return self._num_steps >= 0

    def suggest(self, context: str, typed: str, k: int = 3, *, after: str = "") -> Suggestions:
        self._num_steps = 3 if after else 0
        self.calls.append(("suggest", context, typed, *filter(None, [after])))
        return Suggestions((), (), "hello" if typed == "helo" else None, 0.1)

    def accept(self, context: str, typed: str, word: str, *, after: str = "") -> Accepted:
        self.calls.append(("accept", context, typed, word, *filter(None, [after])))
        return Accepted(context, typed, word)


# ---------------------------------------------------------------------------------------------- what is typed


def test_every_key_asks_and_finished_words_are_told() -> None:
    recorder = Recorder()
    hello, wet = Unit(0, "helo", "hello", 3, True), Unit(6, "wte", "wet", 1, True)
    a, b = Unit(0, "a", "a", 1, True), Unit(3, "b", "b", 1, True)
    lines = [
        Line("who?\n", "hello wet :)", (hello, wet, Unit(10, ":)", ":)", 2, False))),
        Line("", "a, b", (a, Unit(1, ",", ",", 1, False), b)),
    ]
    first, second = type_lines(recorder, lines)  # type: ignore[arg-type]
    assert [key.kind for key in first] == [
        MESSAGE, *[LETTER] * 4, SPACE, *[LETTER] * 3, *[BACKSPACE] * 2, *[LETTER] * 2, SPACE,
        *[PUNCTUATION] * 2,
    ]  # fmt: skip
    assert [key.kind for key in second] == [MESSAGE, LETTER, PUNCTUATION, SPACE, LETTER]
    assert recorder.calls == [
        ("suggest", "who?\n", ""),
        *(("suggest", "who?\n", "helo"[:end]) for end in range(1, 5)),
        ("accept", "who?\n", "helo", "hello"),
        ("suggest", "who?\nhello ", ""),
        *(("suggest", "who?\nhello ", typed) for typed in ("w", "wt", "wte", "wt", "w", "we", "wet")),
        ("accept", "who?\nhello ", "wte", "wet"),
        ("suggest", "who?\nhello wet ", ""),
        ("suggest", "who?\nhello wet :", ""),
        ("suggest", "who?\nhello wet :)", ""),
        ("suggest", "", ""),
        ("suggest", "", "a"),
        ("accept", "", "a", "a"),
        ("suggest", "a,", ""),
        ("suggest", "a, ", ""),
        ("suggest", "a, ", "b"),
    ]
    assert all(key.cpu_ms >= 0 and key.wall_ms >= 0 for key in first + second)


def test_words_behind_stand_there_from_the_first_key_to_the_word_told_of_with_the_next_message() -> None:
    recorder = Recorder()
    first, second = plan(talk("a b", "c d e"), 8, 0, num_behind=4)
    assert (first.after, second.after) == (" c d e a", " a b c d")
    keys = list(itertools.chain(*type_lines(recorder, [first, second])))  # type: ignore[arg-type]
    # What is worked out between two keys is told apart from them.
    assert [key.kind == BETWEEN for key in keys] == [False, True] * (len(keys) // 2)
    at = recorder.calls.index(("suggest", "a b\n", "", second.after))
    assert {call[-1] for call in recorder.calls[:at]} == {first.after}
    assert recorder.calls[at - 1][0] == "accept"
    assert {call[-1] for call in recorder.calls[at:]} == {second.after}


def talk(*messages: str) -> list[GradedConversation]:
    return [GradedConversation("ann", messages, (True,) * len(messages))]


def test_the_plan_is_the_text_with_some_words_mistyped() -> None:
    messages = tuple(map(normalise, TALK.splitlines()))
    lines = plan(talk(*messages), 1000, 0)
    assert [line.message for line in lines] == list(messages[: len(lines)])
    assert [line.before for line in lines[:2]] == ["", messages[0] + "\n"]
    words = [unit for line in lines for unit in line.units if unit.is_word]
    wrong = [unit for unit in words if unit.typed != unit.meant]
    assert 0.05 < len(wrong) / len(words) < 0.3
    for line in lines:
        for unit in line.units:
            assert line.message[unit.start :].startswith(unit.meant)
            assert unit.is_word == is_word(unit.meant)
            assert unit.typed[: unit.stands] == unit.meant[: unit.stands]
    assert all(unit.typed[unit.stands :][:1] != unit.meant[unit.stands :][:1] for unit in wrong)


@pytest.mark.parametrize("keys", [1, 500, 4000])
def test_as_many_keys_are_planned_as_were_asked_for(keys: int) -> None:
    """A text that is too short is typed again, with other mistakes."""
    messages = tuple(map(normalise, TALK.splitlines()))
    lines = plan(talk(*messages), keys, 0)
    planned = sum(len(line.message) for line in lines)
    assert keys * 0.95 <= planned <= keys * 1.05 + 100
    assert lines == plan(talk(*messages), keys, 0)
    assert lines != plan(talk(*messages), keys, 5) or keys == 1
    if keys > 2 * len(TALK):
        assert lines[0].message == lines[len(messages)].message
        again = [line.units for line in lines[len(messages) : 2 * len(messages)]]
        assert again != [line.units for line in lines[: len(messages)]]


def test_only_graded_messages_and_no_placeholders_are_typed() -> None:
    conversation = GradedConversation("ann", ("who?", f"see {LINK} you"), (False, True))
    lines = plan([conversation], 6, 1)
    assert lines[0].before == "who?\n"
    assert [unit.meant for unit in lines[0].units] == ["see", "you"]
    with pytest.raises(UserError, match="nothing to type"):
        plan(talk(LINK), 10, 0)


# ------------------------------------------------------------------------------------------------ the figures


def test_percentiles_by_hand() -> None:
    keys = [Key(LETTER, float(value), float(2 * value)) for value in range(100, 0, -1)]
    found = figures(keys)
    assert found["count"] == 100
    assert found["cpu_ms"] == {"p50": 50, "p90": 90, "p99": 99, "p100": 100}
    assert found["wall_ms"]["p99"] == 198
    assert figures(keys[:1])["cpu_ms"] == {"p50": 100, "p90": 100, "p99": 100, "p100": 100}
    assert figures([]) == {
        "count": 0,
        "cpu_ms": dict.fromkeys(("p50", "p90", "p99", "p100")),
        "wall_ms": dict.fromkeys(("p50", "p90", "p99", "p100")),
    }


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_is_this_processes_own() -> None:
    program = (
        "import json; from fedkey.cli.bench import memory_mb, num_threads;"
        "before = memory_mb(); block = bytearray(200_000_000); block[::4096] = b'x' * len(block[::4096]);"
        "held = memory_mb(); del block; print(json.dumps([before, held, memory_mb(), num_threads()]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, held, after, threads = json.loads(done.stdout)
    assert 150 < held["steady"] - before["steady"] < 250
    assert after["steady"] < held["steady"] - 150
    assert after["peak"] >= held["steady"] - 1
    assert threads == 1
    mine = memory_mb()
    assert mine["peak"] is not None
    assert mine["steady"] is not None
    assert mine["peak"] >= mine["steady"] > 10
    assert (num_threads() or 0) >= 1


# -------------------------------------------------------------------------------------------- whole processes


@pytest.fixture(scope="module")
def printed(tiny_bundle: Path) -> Json:
    """Run once, in a process of its own as a script would."""
    program = "from fedkey.cli import bench, main; bench.COLD_STARTS = 1; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "bench", str(tiny_bundle), "--keys", "150", "--json"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    answer: Json = json.loads(done.stdout)
    return answer


def test_the_answer_holds_what_was_asked_for(printed: Json, tiny_bundle: Path) -> None:
    model = Engine.open(tiny_bundle).bundle.manifest.model
    assert printed["text"] is None
    assert printed["model"]["width"] == model.width
    assert printed["model"]["bundle_bytes"] == sum(
        file.stat().st_size
        for file in tiny_bundle.rglob("*")
        if file.is_file() and file.name != "manifest.json"
    )
    assert list(printed["keys"]) == [*KEYS, BETWEEN]
    assert printed["goals"] == GOALS
    lines = plan(talk(*map(normalise, TALK.splitlines())), 150, 0)
    keys = printed["keys"]
    assert keys[MESSAGE]["count"] == len(lines)
    assert keys[SPACE]["count"] == sum(line.message.count(" ") for line in lines)
    assert keys[PUNCTUATION]["count"] == sum(
        len(unit.typed) for line in lines for unit in line.units if not unit.is_word
    )
    words = [unit for line in lines for unit in line.units if unit.is_word]
    # Today's and tomorrow's engine may repair other words; what it does not is typed again.
    typed = sum(len(unit.typed) for unit in words)
    again = sum(len(unit.meant) - unit.stands for unit in words if unit.typed != unit.meant)
    assert typed <= keys[LETTER]["count"] <= typed + again
    assert keys[BETWEEN]["count"] == 0  # nothing stands behind
    for own in (keys[kind] for kind in KEYS):
        for times in (own["cpu_ms"], own["wall_ms"]):
            assert list(times.values()) == sorted(times.values())
            assert times["p50"] > 0
    assert printed["cold_start"]["cpu_s"] > 0
    assert printed["cold_start"]["wall_s"] > 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_it_is_weighed_without_a_screen_and_on_one_thread(printed: Json) -> None:
    assert 20 < printed["memory_mb"]["steady"] <= printed["memory_mb"]["peak"] < 400
    assert printed["threads"] == 1


def test_what_is_weighed_imports_no_more_than_a_keyboard(tiny_bundle: Path) -> None:
    program = (
        "import sys; from fedkey.cli.bench import type_here; type_here();"
        "print(sorted({'rich', 'textual', 'torch', 'fedkey.simulate', 'fedkey.typos'} & set(sys.modules)))"
    )
    lines = plan(talk("hello you"), 5, 0)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_bundle)],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    keys, rest, modules = done.stdout.splitlines()
    assert json.loads(keys)[0][0] == MESSAGE
    assert set(json.loads(rest)) == {"memory_mb", "threads"}
    assert modules == "[]"


def test_tables_put_goals_beside_the_figures(printed: Json, capsys: pytest.CaptureFixture[str]) -> None:
    slow = {
        **printed,
        "cold_start": {"cpu_s": 0.25, "wall_s": 7.0},
        "memory_mb": {"steady": None, "peak": None},
    }
    bench._print_tables(slow)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert BETWEEN not in {each[0] for each in cells}
    for kind in KEYS:
        own = printed["keys"][kind]
        (row,) = (each for each in cells if each[0] == kind)
        assert row[1] == str(own["count"])
        assert row[2:6] == [f"{own['cpu_ms'][name]:.2f}" for name in ("p50", "p90", "p99", "p100")]
    assert ["cold start to the first suggestion", "0.25 s", "0.5 s", "reached"] in cells
    assert ["the same on the clock", "7.00 s", "0.5 s", "missed"] in cells
    assert ["memory after typing", "- MB", "120 MB"] in cells


# --------------------------------------------------------------------------------------------------- mistakes


def test_mistakes_are_one_sentence(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    for arguments, said in (
        ((tmp_path / "nothing",), "There is no bundle at "),
        ((tiny_bundle, "--keys", 0), "--keys must be at least 1, not 0."),
        ((tiny_bundle, "--behind", -1), "--behind must be at least 0, not -1"),
        ((tiny_bundle, "--behind", 20, "--ui"), "--ui types at the end of the message"),
        ((tiny_bundle, "--text", tmp_path / "nothing.txt"), "Cannot read "),
        ((tiny_bundle, "--text", tmp_path / "empty.txt"), f"{tmp_path}/empty.txt holds no message to grade."),
    ):
        assert fedkey("bench", *arguments) == EXIT_MISTAKE
        error = capsys.readouterr().err
        assert error.startswith(f"fedkey: {said}")
        assert error.count("\n") == 1


def test_a_process_that_fails_is_no_figure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        bench._start_elsewhere(tmp_path / "nothing")
    assert "BundleError" in capfd.readouterr().err
