"""What a keyboard tells of itself, as text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from rich.cells import cell_len

from fedkey import privacy_lines as lines
from fedkey.departures import Departure
from fedkey.personal import LearnedWord, Personal
from fedkey.sockets import OpenSocket, Seen
from fedkey.wishes import Memory

TODAY = date(2026, 11, 27)


def word(spelling: str = "Zorblax", count: int = 3, last_used: str = "2026-11-27") -> LearnedWord:
    return LearnedWord(spelling, count, last_used, True, False, float(count))


@pytest.fixture
def memory() -> Iterator[Personal]:
    personal = Personal.open(None)
    yield personal
    personal.close()


def details(memory: Personal, spelling: str) -> str:
    (found,) = memory.words(spelling)
    today = date.fromisoformat(found.last_used)
    return lines.details(found, memory.remembered(spelling), today)


@pytest.mark.parametrize(
    ("last_used", "expected"),
    [
        ("2026-11-27", "today"), ("2026-11-26", "yesterday"), ("2026-11-03", "3 Nov"),
        ("2025-02-01", "1 Feb 2025"), ("2026-11-28", "28 Nov"), ("", ""), ("soon", ""),
    ],
)  # fmt: skip
def test_days_are_named_as_people_name_them(last_used: str, expected: str) -> None:
    assert lines.day(last_used, TODAY) == expected


def test_a_search_finds_letters_anywhere_and_beginnings_first() -> None:
    words = [word("azor"), word("Zora"), word("other"), word("ZORB")]
    assert [each.word for each in lines.found(words, "zor")] == ["Zora", "ZORB", "azor"]
    assert lines.found(words, "") == words
    assert lines.found(words, "q") == []


@pytest.mark.parametrize("width", [1, 20, 38, 60, 120])
@pytest.mark.parametrize("spelling", ["a", "Zorblax", "日本語の長い単語", "x" * 64])
def test_a_line_fills_its_width_whatever_the_word(width: int, spelling: str) -> None:
    line = lines.word_line(word(spelling, 12_345), width, TODAY)
    assert cell_len(line) == width
    if width >= 38:
        assert f" {spelling[:4]}" in line
        assert "12,345×" in line
        assert "today" in line


def test_notes_stand_where_there_is_room(memory: Personal) -> None:
    memory.observe((), "once")
    memory.learn("taught")
    notes = {each.word: lines.word_line(each, 80, TODAY).split("  ")[-1].strip() for each in memory.words()}
    assert [lines.note(each) for each in memory.words()] == ["not suggested yet", "never corrected"]
    assert set(notes.values()) != {""}
    assert "never" not in lines.word_line(memory.words("taught")[0], 40, TODAY)


def test_details_name_what_a_word_followed_and_what_followed_it(memory: Personal) -> None:
    memory.observe((), "see", accepted=True)
    for before in ("", "see", "see"):
        memory.observe((before,), "Zorblax", accepted=True)
        memory.observe((before, "zorblax"), "tomorrow", accepted=True)
    assert details(memory, "zorblax") == (
        "Zorblax: 3 times, last today; after “see”, the start of a sentence; before “tomorrow”."
    )


def test_details_name_two_words_where_they_say_as_much_as_one(memory: Personal) -> None:
    for each in ("meet", "me", "there"):
        memory.observe((), each, accepted=True)
    for _ in range(2):
        memory.observe(("meet", "me"), "there", accepted=True)
    assert "“meet me”" in details(memory, "there")
    assert "“me”" not in details(memory, "there")


def test_words_that_were_not_written_down_are_not_named(memory: Personal) -> None:
    memory.observe(("5551234",), "Zorblax", accepted=True)
    assert "after" not in details(memory, "zorblax")


def test_other_spellings_are_named(memory: Personal) -> None:
    for spelling in ("zorblax", "Zorblax", "Zorblax"):
        memory.observe(("see",), spelling, accepted=True)
    assert details(memory, "zorblax").endswith("; also spelt zorblax.")


def test_an_old_word_counts_less(memory: Personal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedkey.personal_ngram.HALF_LIFE", 10.0)
    memory.observe((), "Zorblax", accepted=True)
    for _ in range(9):
        memory.observe((), "other", accepted=True)
    assert "counts as 0.5 by now" in details(memory, "zorblax")


def test_what_left_is_added_up_and_listed() -> None:
    assert lines.departures_summary([]) == "Nothing has left this machine."
    keys = Departure("2026-11-27T01:02:03+00:00", "example.org:9092", "public keys", 900, 1, None)
    update = Departure(
        "2026-11-27T01:03:00+00:00", "example.org:9092", "masked update", 2_500_000, 1, 1.25, 20
    )
    assert lines.departures_summary([keys]) == "1 message left for a federation, 900 B in all."
    assert (
        lines.departures_summary([keys, update])
        == "2 messages left for a federation, 2.5 MB in all; what is masked, in sums over 20 keyboards or "
        "more; ε 1.25 spent so far."
    )
    wide = lines.departure_line(update, 90)
    for part in ("27 Nov ", "masked update", "2.5 MB", "round 1", " 20+ ", "ε 1.25", "example.org:9092"):
        assert part in wide
    assert "ε" not in lines.departure_line(keys, 90)
    narrow = lines.departure_line(update, 38)
    assert cell_len(narrow) == 38
    assert "masked update" in narrow
    assert "2.5 MB" in narrow


def test_a_time_that_is_none_is_shown_as_it_is() -> None:
    assert "soon" in lines.departure_line(Departure("soon", "a:1", "update", 1, 1, None), 80)


def test_open_sockets_are_named() -> None:
    assert "not checked here" in lines.sockets_lines(None)[0]
    (none,) = lines.sockets_lines(Seen(1, 12, ()))
    assert "no socket is open" in none
    one = Seen(2, 30, (OpenSocket(17, "tcp", "10.0.0.2:4000", "10.0.0.9:9092"),))
    assert lines.sockets_lines(one) == [
        "Network: 1 socket is open (looked at just now: 2 processes, 30 open files):",
        "  tcp 10.0.0.2:4000 → 10.0.0.9:9092, process 17",
    ]


def test_telemetry_is_what_the_runtime_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "off" in lines.telemetry_line("1.32.0")
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    assert "not switched off" in lines.telemetry_line("1.32.0")
    assert "not loaded yet" in lines.telemetry_line(None)


def test_where_words_are_and_who_can_read_them(tmp_path: Path) -> None:
    path = tmp_path / "personal.sqlite"
    assert "in no file" in lines.memory_lines(Memory((), None, (), 0, ()))[0]
    assert "cannot be read" in lines.memory_lines(None)[0]
    memory = Memory((), path, (tmp_path / "personal.sqlite.damaged-1",), 12, ())
    assert "not there any more" in lines.memory_lines(memory)[0]
    path.write_bytes(b"x" * 2500)
    path.with_name("personal.sqlite-wal").write_bytes(b"x" * 1000)
    path.chmod(0o600)
    file, aside, diary = lines.memory_lines(memory)
    assert "3.5 kB; only you can read it" in file
    assert "personal.sqlite.damaged-1" in aside
    assert "12 words" in diary
    path.chmod(0o644)
    assert "others can, too" in lines.memory_lines(memory)[0]
