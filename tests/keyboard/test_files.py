"""Files that are there whole, whatever stops who writes them, and however many do."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fedkey.files import rests, whole

WRITES = """
import os, sys
from pathlib import Path
from fedkey.files import whole

path, letter, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(times):
    with whole(path) as beside, beside.open("w") as file:
        for _ in range(20):
            file.write(letter * 1000)
            file.flush()
"""
KILLED = """
import os, sys
from pathlib import Path
from fedkey.files import whole

with whole(Path(sys.argv[1])) as beside:
    beside.write_text("half of wh")
    os.kill(os.getpid(), 9)
"""

FULL = """
import resource, sys
from pathlib import Path
from fedkey.files import whole

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with whole(Path(sys.argv[1])) as beside:
    beside.write_text(2000 * "x")
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in ("old", "new"):
        before = path.read_text() if path.exists() else None
        with whole(path) as beside:
            beside.write_text(content)
            assert beside.parent == tmp_path
            assert (path.read_text() if path.exists() else None) == before
        assert path.read_text() == content
    assert names(tmp_path) == ["file"]


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    filled = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True)
    assert filled.stderr.endswith("OSError: [Errno 27] File too large\n")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("reason", [KeyboardInterrupt, ValueError])
def test_who_is_stopped_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, reason: type[BaseException]
) -> None:
    def write() -> None:
        with whole(path) as beside:
            beside.write_text("half of wh")
            raise reason

    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(reason):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_does_not_give_way(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), whole(tmp_path / "folder") as beside:
        beside.write_text("all of it")
    assert names(tmp_path) == ["folder"]


def test_what_a_kill_leaves_is_deleted_by_who_writes_the_same_file_next(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert [rest.read_text() for rest in rests(path)] == ["half of wh"]
    for other in (tmp_path / "file.txt", tmp_path / "f*"):
        with whole(other) as beside:
            beside.write_text("other")
        assert len(rests(path)) == 1
    with whole(path) as beside:
        beside.write_text("new")
    assert names(tmp_path) == ["f*", "file", "file.txt"]


def test_what_is_being_written_is_left_to_who_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with whole(path) as slow:
        slow.write_text("slow")
        with whole(path) as quick:
            assert sorted(rests(path)) == sorted([slow, quick])
            quick.write_text("quick")
        assert path.read_text() == "quick"
    assert path.read_text() == "slow"
    assert names(tmp_path) == ["file"]


def test_two_who_write_at_once_both_succeed_and_nobody_reads_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    command = [sys.executable, "-c", WRITES, str(path)]
    writers = [
        subprocess.Popen([*command, letter, "300"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for letter in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    found = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            found.add(path.read_text())
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert found | {path.read_text()} <= {"a" * 20_000, "b" * 20_000}
    assert names(tmp_path) == ["file"]


def test_a_secret_is_its_owners_alone_from_the_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(0o644)
    with whole(path, 0o600) as beside:
        assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = os.umask(0o027)
    try:
        with whole(path):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_folder_without_locks_keeps_what_kills_leave_and_all_else_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refused)
    path = tmp_path / "file"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)]).returncode == -signal.SIGKILL
    with whole(path) as beside:
        beside.write_text("new")
    assert path.read_text() == "new"
    assert [rest.read_text() for rest in rests(path)] == ["half of wh"]


def test_who_loses_the_place_before_it_is_held_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, deleted = tmp_path / "file", []

    def lock(*_: object) -> None:
        if not deleted:  # as another who writes the file does, thinking that a kill left it
            deleted.extend(rests(path))
            deleted[0].unlink()

    monkeypatch.setattr("fcntl.flock", lock)
    with whole(path, 0o600) as beside:
        assert beside not in deleted
        beside.write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]
