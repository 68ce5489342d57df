"""The file of personal memory: killed, damaged, shared, and searched for what was forgotten."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedkey import personal, personal_store
from fedkey.errors import UserError
from fedkey.personal import Personal

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
    assert other.knows("hello")


def test_a_failed_write_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Personal.open(path)
    memory.observe((), "hello", accepted=True)
    before = memory.predictions(())
    monkeypatch.setattr(Personal, "_settle", lambda self, state: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        memory.observe((), "other", accepted=True)
    monkeypatch.undo()
    assert memory.predictions(()) == before
    assert not memory.knows("other")
    assert not memory.undo()
    assert memory.observe((), "other", accepted=True)


# -------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    "kind", ["text", "header", "middle", "truncated", "table", "nul", "letter", "encoding"]
)
def test_a_damaged_file_is_set_aside_and_a_fresh_one_begun(filled: Path, kind: str) -> None:
    content = bytearray(filled.read_bytes())
    if kind == "text":
        content = bytearray(b"these are no pages\n" * 300)
    elif kind == "header":
        content[:100] = bytes(100)
    elif kind == "middle":
        content[len(content) // 3 : len(content) // 2] = b"\xa5" * (len(content) // 2 - len(content) // 3)
    elif kind == "truncated":
        del content[len(content) // 2 :]
    elif kind == "letter":
        content = content.replace(b"wordaawordaa", b"wordaawordab")
    elif kind == "encoding":
        content = content.replace(b"wordaawordaa", b"wordaaword\xff\xff")
    elif kind == "nul":
        content = bytearray(len(content))
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
    assert memory.knows("hello")


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
    for content in (b"one" * 100, b"two" * 100):
        path.write_bytes(content)
        memory = Personal.open(path)
        memory.close()
    assert path.with_name("personal.sqlite.damaged-1").read_bytes() == b"one" * 100
    assert path.with_name("personal.sqlite.damaged-2").read_bytes() == b"two" * 100
    memory = Personal.open(path)
    memory.erase_all()
    memory.close()
    assert [each.name for each in path.parent.iterdir()] == ["personal.sqlite"]


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
    before = path.read_bytes()
    with pytest.raises(UserError, match="belongs to another program"):
        Personal.open(path)
    assert path.read_bytes() == before


def test_a_newer_file_is_left_alone(filled: Path) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("PRAGMA user_version = 2")
    before = filled.read_bytes()
    with pytest.raises(UserError, match="newer fedkey"):
        Personal.open(filled)
    assert filled.read_bytes() == before


def test_a_place_that_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot use the personal memory"):
        Personal.open(tmp_path)
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
        Personal.open(path).close()
        assert mode(path) == 0o600
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
        memory.observe((rng.choice(secrets), "xx"), word, accepted=True)
        if step % 50 == 0:
            memory.undo()
    present = [word for word in secrets if memory.knows(word)]
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


def test_incognito_writes_nothing_and_makes_nothing(filled: Path) -> None:
    before = contents(filled)
    memory = Personal.open(filled, read_only=True)
    assert memory.knows("wordaa")
    assert memory.predictions(("the", "last"), "word").probs
    assert not memory.observe((), "secret", accepted=True)
    assert not memory.keep_literal("secret")
    for change in (memory.learn, memory.forget):
        with pytest.raises(UserError, match="Cannot use the personal memory"):
            change("wordaa")
    assert memory.knows("wordaa")
    memory.close()
    assert contents(filled) == before
    filled.unlink()
    memory = Personal.open(filled, read_only=True)
    assert memory.words() == []
    memory.close()
    assert list(filled.parent.iterdir()) == []


def test_incognito_leaves_a_damaged_file_where_it_is(path: Path) -> None:
    path.write_bytes(b"no pages" * 100)
    memory = Personal.open(path, read_only=True)
    assert memory.notice is not None
    assert "is damaged" in memory.notice
    assert memory.words() == []
    assert contents(path) == {"personal.sqlite": b"no pages" * 100}


# -------------------------------------------------------------------------------------- two processes


def test_two_processes_see_each_others_words_and_undo_only_their_own(path: Path) -> None:
    one, other = Personal.open(path), Personal.open(path)
    one.observe((), "hello", accepted=True)
    assert other.knows("hello")
    other.observe((), "there", accepted=True)
    assert not one.undo()  # the other's word would go with it
    assert one.knows("hello")
    assert one.knows("there")
    one.observe((), "again", accepted=True)
    assert one.undo()
    assert not other.knows("again")
    assert other.forget("hello")
    assert not one.knows("hello")


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
    with pytest.raises(UserError, match=r"busy; nothing was changed\.$"):
        memory.observe((), "hello", accepted=True)
    assert memory.knows("wordaa")
    other.execute("ROLLBACK")
    assert memory.observe((), "hello", accepted=True)
    other.close()


@pytest.mark.usefixtures("impatient")
def test_forgetting_while_another_reads_says_that_traces_remain(filled: Path) -> None:
    memory = Personal.open(filled)
    reader = sqlite3.connect(filled, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM words").fetchone()
    with pytest.raises(UserError, match="once more"):
        memory.forget("wordaa")
    assert not memory.knows("wordaa")
    reader.execute("COMMIT")
    reader.close()
    assert not memory.forget("wordaa")
    assert b"wordaa" not in b"".join(contents(filled).values())
