"""The file of personal memory: killed, damaged, shared, and searched for what was forgotten."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedkey import personal, personal_store
from fedkey.errors import UserError
from fedkey.personal import Personal, Taught
from fedkey.personal_store import TracesRemainError

WRITER = """
import sys
from pathlib import Path
from fedkey.personal import Personal

memory = Personal.open(Path(sys.argv[1]))
assert memory.notice is None
for number in range(10**6):
    word = "".join(chr(97 + int(digit)) for digit in str(number))
    assert memory.observe(("to",), word + sys.argv[2], model_log_prob=-5.0, accepted=True)
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "personal.sqlite"


@pytest.fixture
def filled(path: Path) -> Path:
    """A closed file of 300 words."""
    memory = Personal.open(path)
    for number in range(300):
        word = f"word{chr(97 + number % 26)}{chr(97 + number // 26)}"
        memory.observe(("the", "last"), word, accepted=True, model_log_prob=-4.0)
    memory.close()
    return path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal_store, "BUSY_SECONDS", 0.05)


def knows(memory: Personal, word: str) -> bool:
    return memory.spelling(word) is not None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def contents(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


# ------------------------------------------------------------------------------------------- crashes


def test_a_kill_during_writes_loses_at_most_the_last_word(path: Path) -> None:
    rng = random.Random(5)
    total = 0
    for round_ in "abc":
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), "x" + round_],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert writer.stdout is not None
        wanted = rng.randrange(100, 400)
        last = -1
        for line in writer.stdout:
            last = int(line)
            if last == wanted:
                writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
        writer.stdout.close()
        memory = Personal.open(path)
        assert memory.notice is None
        written = len(memory.words(f"x{round_}"))
        assert written in (last + 1, last + 2)
        total += written
        assert len(memory.words()) == total
        assert memory.observe((), "still", lexicon_form="still")
        memory.forget("still")
        memory.close()
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_word_is_in_the_file_once_it_was_observed(path: Path) -> None:
    memory = Personal.open(path)
    memory.observe((), "hello", accepted=True)
    other = Personal.open(path)  # as after a crash: the first was not closed
    assert knows(other, "hello")


def test_a_failed_write_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Personal.open(path)
    memory.observe((), "hello", accepted=True)
    before = memory.predictions(())
    monkeypatch.setattr(Personal, "_settle", lambda self, state: 1 / 0)
    taught = Taught()
    with pytest.raises(ZeroDivisionError):
        memory.observe((), "other", accepted=True, taught=taught)
    monkeypatch.undo()
    assert memory.predictions(()) == before
    assert not knows(memory, "other")
    assert memory.known_words().words.keys() == {"hello"}
    assert not memory.undo(taught)
    assert memory.observe((), "other", accepted=True)


# -------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("kind", ["header", "middle", "truncated", "table", "letter", "encoding"])
def test_a_damaged_file_is_set_aside_and_a_fresh_one_begun(filled: Path, kind: str) -> None:
    content = bytearray(filled.read_bytes())
    if kind == "header":
        content[16:60] = bytes(44)
    elif kind == "middle":
        content[len(content) // 3 : len(content) // 2] = b"\xa5" * (len(content) // 2 - len(content) // 3)
    elif kind == "truncated":
        del content[len(content) // 2 :]
    elif kind == "letter":
        content = content.replace(b"wordaawordaa", b"wordaawordab")
    elif kind == "encoding":
        content = content.replace(b"wordaawordaa", b"wordaaword\xff\xff")
    filled.write_bytes(content)
    if kind == "table":
        with sqlite3.connect(filled) as connection:
            connection.execute("DROP TABLE ngrams")
        content = bytearray(filled.read_bytes())
    neighbour = filled.with_name("letters.txt")
    neighbour.write_text("kept")

    memory = Personal.open(filled)
    assert memory.notice is not None
    assert "was damaged" in memory.notice
    assert "personal.sqlite.damaged-1" in memory.notice
    assert filled.with_name("personal.sqlite.damaged-1").read_bytes() == content
    assert neighbour.read_text() == "kept"
    assert memory.words() == []
    assert memory.observe((), "hello", accepted=True)
    memory.close()
    memory = Personal.open(filled)
    assert memory.notice is None
    assert knows(memory, "hello")


@pytest.mark.parametrize("damaged", ["all", "first", "middle"])
def test_a_damaged_file_takes_its_log_along(filled: Path, damaged: str) -> None:
    """The words since the last checkpoint are in the log; the fresh file must not swallow it."""
    memory = Personal.open(filled)
    memory.observe((), "hello", accepted=True)
    killed = contents(filled)
    memory.close()
    content = bytearray(killed[filled.name])
    start, end = {
        "all": (0, len(content)),
        "first": (0, 100),
        "middle": (len(content) // 4, len(content) // 2),
    }[damaged]
    content[start:end] = b"x" * (end - start)
    filled.write_bytes(content)
    log = filled.with_name("personal.sqlite-wal")
    log.write_bytes(killed[log.name])
    memory = Personal.open(filled)
    assert memory.notice is not None
    assert memory.words() == []
    memory.close()
    aside = b"".join(content for name, content in contents(filled).items() if "damaged-1" in name)
    assert b"hello" in aside  # in the log, or folded into what could still be opened
    assert b"hello" not in filled.read_bytes()


def test_a_second_damaged_file_replaces_no_first_one_and_erasing_deletes_both(path: Path) -> None:
    Personal.open(path).close()
    header = path.read_bytes()[:100]
    for content in (b"one" * 100, b"two" * 100):
        path.write_bytes(header + content)
        path.chmod(0o644)
        memory = Personal.open(path)
        memory.close()
    assert path.with_name("personal.sqlite.damaged-1").read_bytes() == header + b"one" * 100
    assert path.with_name("personal.sqlite.damaged-2").read_bytes() == header + b"two" * 100
    assert mode(path.with_name("personal.sqlite.damaged-2")) == 0o600
    path.with_name("personal.sqlite.damaged-by-me.txt").write_text("mine")
    memory = Personal.open(path)
    memory.erase_all()
    memory.close()
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "personal.sqlite",
        "personal.sqlite.damaged-by-me.txt",
    ]


def test_any_damage_is_survived(filled: Path) -> None:
    """A few bytes wrong anywhere: the file is set aside, or does without them, or says so in a sentence."""
    rng = random.Random(11)
    good = filled.read_bytes()
    set_aside, sentences = 0, []
    for _ in range(60):
        bad = bytearray(good)
        start = rng.randrange(0, len(bad), 64)
        bad[start : start + 64] = rng.randbytes(64)
        filled.write_bytes(bad)
        try:
            memory = Personal.open(filled)
            set_aside += memory.notice is not None
            memory.predictions(("the", "last"), "w")
            memory.observe(("the", "last"), "wordaa", accepted=True)
            memory.words()
            memory.close()
        except UserError as error:
            sentences.append(str(error))
        for each in filled.parent.iterdir():
            each.unlink()
    assert 10 < set_aside < 60
    assert all(each.endswith(".") for each in sentences)


def test_another_programs_database_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    path.chmod(0o644)
    before = contents(path)
    with pytest.raises(UserError, match="belongs to another program"):
        Personal.open(path)
    assert contents(path) == before
    assert mode(path) == 0o644


@pytest.mark.parametrize(
    "content", [b"these are no pages\n" * 300, b"no", bytes(5000), b"SQLite format 3\0" * 99]
)
def test_a_file_that_holds_something_else_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)
    with pytest.raises(UserError, match="holds something else") as refused:
        Personal.open(path)
    assert "\n" not in str(refused.value)
    assert contents(path) == {path.name: content}
    assert mode(path) == 0o644


def test_another_programs_damaged_database_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    path.write_bytes(path.read_bytes()[:3000])
    before = contents(path)
    with pytest.raises(UserError, match=r"holds something else|another program"):
        Personal.open(path)
    assert contents(path) == before


def test_an_empty_file_is_begun(path: Path) -> None:
    path.touch(0o644)
    memory = Personal.open(path)
    memory.learn("hello")
    assert memory.notice is None
    assert mode(path) == 0o600


def test_a_newer_file_is_left_alone(filled: Path) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("PRAGMA user_version = 2")
    before = filled.read_bytes()
    with pytest.raises(UserError, match="newer fedkey"):
        Personal.open(filled)
    assert filled.read_bytes() == before


def test_a_place_that_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(0o755)
    os.mkfifo(tmp_path / "pipe", 0o644)
    for name, rights in (("folder", 0o755), ("pipe", 0o644)):
        with pytest.raises(UserError, match=r"Cannot use the personal memory .* it is no file"):
            Personal.open(tmp_path / name)
        assert mode(tmp_path / name) == rights
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot use the personal memory"):
        Personal.open(tmp_path / "file" / "personal.sqlite")


# ------------------------------------------------------------------------------------------- privacy


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "personal.sqlite"
    previous = os.umask(0)
    try:
        memory = Personal.open(path)
        memory.observe((), "hello")
        assert {each.name: mode(each) for each in path.parent.iterdir()} == {
            "personal.sqlite": 0o600,
            "personal.sqlite-wal": 0o600,
            "personal.sqlite-shm": 0o600,
        }
        assert mode(path.parent) == 0o700
        memory.close()
        path.chmod(0o644)
        memory = Personal.open(path)
        memory.observe((), "hello")
        assert {mode(each) for each in path.parent.iterdir()} == {0o600}
        memory.close()
    finally:
        os.umask(previous)


def test_what_is_forgotten_is_gone_from_the_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through split pages, checkpoints, words that gave way, edits and undone words."""
    monkeypatch.setattr(personal, "MAX_WORDS", 600)
    rng = random.Random(2)
    memory = Personal.open(path)
    secrets = ["".join(rng.choices("bcdfghjklm", k=9)) for _ in range(40)]
    for step in range(900):
        word = rng.choice(secrets) if step % 9 == 0 else "".join(rng.choices("aeiou", k=rng.randrange(3, 12)))
        taught = Taught()
        memory.observe((rng.choice(secrets), "xx"), word, accepted=True, taught=taught)
        if step % 50 == 0:
            memory.undo(taught)
    present = [word for word in secrets if knows(memory, word)]
    assert any(word.encode() in b"".join(contents(path).values()) for word in present)
    for word in present[:-1]:
        memory.forget(word)
    assert memory.edit(present[-1], "harmless")
    found = [word for word in secrets if word.encode() in b"".join(contents(path).values())]
    assert found == []
    memory.erase_all()
    memory.close()
    assert b"aeiou"[:1] * 3 not in path.read_bytes()
    assert path.stat().st_size < 40_000


# -------------------------------------------------------------------------------------- two processes


def test_two_processes_see_each_others_words_and_undo_only_their_own(path: Path) -> None:
    one, other = Personal.open(path), Personal.open(path)
    taught = Taught()
    one.observe((), "hello", accepted=True, taught=taught)
    assert knows(other, "hello")
    assert other.known_words().words.keys() == {"hello"}
    other.observe((), "there", accepted=True)
    assert one.known_words().words.keys() == {"hello", "there"}
    assert one.undo(taught)
    assert not knows(one, "hello")
    assert knows(one, "there")
    assert other.known_words().words.keys() == {"there"}
    assert other.forget("there")
    assert one.known_words().words == {}


def test_two_writers_at_once_wait_for_each_other(path: Path) -> None:
    def write() -> None:
        memory = Personal.open(path)
        for _ in range(100):
            memory.observe((), "hello", accepted=True)
        memory.close()

    with ThreadPoolExecutor() as writers:
        for done in [writers.submit(write) for _ in range(3)]:
            done.result()
    memory = Personal.open(path)
    assert memory.notice is None
    assert [each.count for each in memory.words()] == [300]


@pytest.mark.usefixtures("impatient")
def test_a_busy_file_is_a_sentence_and_reading_goes_on(filled: Path) -> None:
    memory = Personal.open(filled)
    other = sqlite3.connect(filled, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match=r"busy; nothing in it was changed\.$"):
        memory.observe((), "hello", accepted=True)
    assert knows(memory, "wordaa")
    other.execute("ROLLBACK")
    assert memory.observe((), "hello", accepted=True)
    other.close()


def test_a_word_is_taken_back_at_once_though_another_reads(filled: Path) -> None:
    memory = Personal.open(filled)
    reader = sqlite3.connect(filled, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM words").fetchone() == (300,)
    memory.observe((), "zorblax")
    started = time.monotonic()
    assert memory.take_back((), "zorblax")
    assert time.monotonic() - started < personal_store.BUSY_SECONDS / 2
    reader.execute("COMMIT")
    assert b"zorblax" in b"".join(contents(filled).values())
    memory.observe((), "quibble")
    assert memory.take_back((), "quibble")
    assert not any(word in b"".join(contents(filled).values()) for word in (b"zorblax", b"quibble"))
    reader.close()
    memory.close()


@pytest.mark.usefixtures("impatient")
def test_forgetting_while_another_reads_says_that_traces_remain(filled: Path) -> None:
    memory = Personal.open(filled)
    reader = sqlite3.connect(filled, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM words").fetchone()
    with pytest.raises(TracesRemainError, match="once more"):
        memory.forget("wordaa")
    assert not knows(memory, "wordaa")
    reader.execute("COMMIT")
    reader.close()
    assert not memory.forget("wordaa")
    assert b"wordaa" not in b"".join(contents(filled).values())


@pytest.mark.usefixtures("impatient")
def test_forgetting_while_another_writes_does_not_say_that_nothing_was_changed(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Personal.open(filled)
    writer = sqlite3.connect(filled, isolation_level=None)
    scrub = personal_store.PersonalStore.scrub

    def scrub_while_another_writes(store: personal_store.PersonalStore) -> None:
        writer.execute("BEGIN IMMEDIATE")
        scrub(store)

    monkeypatch.setattr(personal_store.PersonalStore, "scrub", scrub_while_another_writes)
    with pytest.raises(TracesRemainError, match=r"are forgotten, .* once more"):
        memory.forget("wordaa")
    assert not knows(memory, "wordaa")
    writer.execute("ROLLBACK")
    writer.close()
    monkeypatch.undo()
    assert not memory.forget("wordaa")
    assert b"wordaa" not in b"".join(contents(filled).values())
