"""The diary of a joined keyboard: what it keeps, what it masks, and that a kill loses a message at most."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedkey.diary import Diary, Entry
from fedkey.errors import UserError
from fedkey.text import LINK, MAIL, NAME, NUMBER

WRITES = """
import sys
from pathlib import Path
from fedkey.diary import Diary

diary = Diary(Path(sys.argv[1]), max_words=60)
for number in range(10**6):
    diary.add(f"message {'x' * 2000} number", f"{number}")
    print(number, flush=True)
"""
FORGETS = """
import sys
from pathlib import Path
from fedkey.diary import Diary

Diary(Path(sys.argv[1])).forget("hello")
"""


def test_what_was_sent_is_there_in_order_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "diary.jsonl"
    diary = Diary(path)
    assert diary.messages() == []
    assert not path.parent.exists()
    diary.add("see you  at noon", "a")
    diary.add("two\nlines", "a")
    diary.add("   ", "a")
    diary.add("another day", "b")
    assert diary.messages() == [
        Entry("a", "see you at noon"), Entry("a", "two"), Entry("a", "lines"), Entry("b", "another day")
    ]  # fmt: skip
    assert diary.conversations() == [["see you at noon", "two", "lines"], ["another day"]]
    assert diary.num_words() == 8
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_must_not_be_learnt_never_reaches_the_file(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "diary.jsonl")
    diary.add("call 0170 5551234 or write to zoe@example.org, see https://example.org/secret @zoe", "a")
    text = (tmp_path / "diary.jsonl").read_text()
    assert not any(part in text for part in ("0170", "5551234", "zoe", "example", "secret"))
    assert all(mark in text for mark in (NUMBER, MAIL, LINK, NAME))


def test_secrets_never_reach_the_file_nor_the_training(tmp_path: Path) -> None:
    path = tmp_path / "diary.jsonl"
    diary = Diary(path)
    diary.add("ok, see you\nthe wifi password is correct horse. Bye\nZarquon1987 or hunter2", "a")
    text = path.read_text()
    assert not any(part in text for part in ("correct", "horse", "Zarquon", "hunter"))
    assert diary.conversations() == [
        ["ok, see you", f"the wifi password is {NUMBER} {NUMBER}. Bye", f"{NUMBER} or {NUMBER}"]
    ]
    path.write_text('{"conversation": "a", "text": "pw: swordfish"}\n')
    assert diary.conversations() == [[f"pw: {NUMBER}"]]


def test_the_oldest_messages_make_room(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "diary.jsonl", max_words=10)
    for number in range(9):
        diary.add(f"one two three{chr(97 + number)}", "a")
    assert [entry.text[-1] for entry in diary.messages()] == ["g", "h", "i"]
    assert "threea" not in (tmp_path / "diary.jsonl").read_text()
    diary.add("much " * 30, "a")
    assert diary.num_words() == 30  # one message is kept however long it is
    assert stat.S_IMODE((tmp_path / "diary.jsonl").stat().st_mode) == 0o600


def test_erasing_leaves_no_file(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "diary.jsonl")
    diary.add("hello", "a")
    program = f"import os; os.replace = lambda *_: os.kill(os.getpid(), 9)\n{FORGETS}"
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "diary.jsonl")])
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    diary.erase()
    diary.erase()
    assert list(tmp_path.iterdir()) == []
    assert diary.num_words() == 0


def test_a_torn_line_costs_one_message(tmp_path: Path) -> None:
    path = tmp_path / "diary.jsonl"
    diary = Diary(path)
    diary.add("first", "a")
    diary.add("second", "a")
    path.write_bytes(path.read_bytes()[:-5])
    assert [entry.text for entry in diary.messages()] == ["first"]
    diary.add("third", "a")
    assert [entry.text for entry in diary.messages()] == ["first", "third"]


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\n", b"[1]\n", b'{"conversation": 1, "text": "x"}\n', b"[" * 9999]
)
def test_junk_in_the_file_is_no_message(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "diary.jsonl"
    path.write_bytes(junk)
    diary = Diary(path)
    diary.add("hello", "a")
    assert [entry.text for entry in diary.messages()] == ["hello"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        Diary(tmp_path / "file" / "diary.jsonl").add("hello", "a")


def test_a_kill_at_any_moment_loses_at_most_the_message_being_written(tmp_path: Path) -> None:
    path = tmp_path / "diary.jsonl"
    writer = [sys.executable, "-c", WRITES, str(path)]
    for attempt in range(6):
        process = subprocess.Popen(writer, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(25 + 7 * attempt):
            last = int(process.stdout.readline())
        time.sleep(0.0007 * attempt)  # at another place of the loop each time
        os.kill(process.pid, signal.SIGKILL)
        last = max([last, *map(int, process.stdout.read().split(b"\n")[:-1])])
        process.wait()
        process.stdout.close()
        numbers = [int(entry.conversation) for entry in Diary(path).messages()]
        assert numbers[-1] in (last, last + 1)
        assert numbers == list(range(numbers[-1] - len(numbers) + 1, numbers[-1] + 1))
        assert len(numbers) >= 20
        path.unlink()
