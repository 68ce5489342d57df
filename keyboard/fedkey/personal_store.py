"""The one file in which a keyboard remembers its owner: rows in, rows out.

In: a path and rows. Out: rows, and the rows as they were before. Next stop: `fedkey.personal_ngram`, which
says what their numbers mean.

Words have numbers, never used twice, and n-grams are made of those numbers. The file is SQLite with a
write-ahead log: one transaction a word, so that killing the keyboard at any moment loses at most the word
being written, and never the file. Every change remembers the row that it replaced, which makes undoing exact.
What is removed for good is removed from the file's bytes too (`scrub`): SQLite overwrites the cells it frees,
but leaves older copies in the gaps of pages and in the log.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from fedkey.errors import UserError

APPLICATION_ID = 0x6665646B
"""Marks the file as fedkey's ("fedk"), for `file` and for the check that it is not somebody else's."""

SCHEMA_VERSION = 1

BUSY_SECONDS = 2.0
"""How long a write waits for another process's; the longest, importing the largest memory, takes 1.5 s."""

BUSY_AGAIN_SECONDS = 0.02
"""How long the writes after one that waited in vain wait, until one succeeds."""

SCHEMA = """
CREATE TABLE words (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE CHECK (typeof(key) = 'text' AND key <> ''),
    surface TEXT NOT NULL CHECK (typeof(surface) = 'text'),
    strength REAL NOT NULL CHECK (typeof(strength) = 'real'),
    typed INTEGER NOT NULL CHECK (typeof(typed) = 'integer'),
    restored INTEGER NOT NULL CHECK (typeof(restored) = 'integer'),
    is_new INTEGER NOT NULL CHECK (is_new IN (0, 1)),
    is_known INTEGER NOT NULL CHECK (is_known IN (0, 1)),
    is_pinned INTEGER NOT NULL CHECK (is_pinned IN (0, 1)),
    last_used TEXT NOT NULL CHECK (typeof(last_used) = 'text')
);
CREATE INDEX words_by_strength ON words (strength);
CREATE INDEX known_words ON words (key, strength, surface) WHERE is_known;
CREATE TABLE spellings (
    word INTEGER NOT NULL CHECK (typeof(word) = 'integer'),
    surface TEXT NOT NULL CHECK (typeof(surface) = 'text'),
    votes INTEGER NOT NULL CHECK (typeof(votes) = 'integer'),
    PRIMARY KEY (word, surface)
) WITHOUT ROWID;
CREATE TABLE ngrams (
    second INTEGER NOT NULL CHECK (typeof(second) = 'integer'),
    first INTEGER NOT NULL CHECK (typeof(first) = 'integer'),
    word INTEGER NOT NULL CHECK (typeof(word) = 'integer'),
    strength REAL NOT NULL CHECK (typeof(strength) = 'real'),
    PRIMARY KEY (second, first, word)
) WITHOUT ROWID;
CREATE INDEX ngrams_by_strength ON ngrams (strength);
CREATE TABLE trusts (
    level INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    used REAL NOT NULL CHECK (typeof(used) = 'real' AND used >= 0),
    unused REAL NOT NULL CHECK (typeof(unused) = 'real' AND unused >= 0),
    PRIMARY KEY (level, amount)
) WITHOUT ROWID;
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    words_seen INTEGER NOT NULL CHECK (typeof(words_seen) = 'integer'),
    total REAL NOT NULL CHECK (typeof(total) = 'real'),
    num_words INTEGER NOT NULL CHECK (typeof(num_words) = 'integer'),
    num_ngrams INTEGER NOT NULL CHECK (typeof(num_ngrams) = 'integer')
);
"""

PAGE_BYTES = 2048
LOG_PAGES = 2000
"""The log is folded into the file when it has grown to 4 MB, about once in 170 words. That costs 3 to 6 ms of
CPU; every 20 words it would cost 1 ms, and be felt at the 99th percentile."""

_COLUMNS = {
    "words": (
        ("id",),
        ("key", "surface", "strength", "typed", "restored", "is_new", "is_known", "is_pinned", "last_used"),
    ),
    "spellings": (("word", "surface"), ("votes",)),
    "ngrams": (("second", "first", "word"), ("strength",)),
    "trusts": (("level", "amount"), ("used", "unused")),
    "state": (("id",), ("words_seen", "total", "num_words", "num_ngrams")),
}
TABLES = tuple(_COLUMNS)

_WORD = ", ".join(_COLUMNS["words"][1])
_LAST_CHARACTER = "\U0010ffff"
_ASKED_AT_ONCE = 256
_STRENGTHS = f"SELECT key, strength FROM words WHERE is_known AND key IN ({', '.join('?' * _ASKED_AT_ONCE)})"
_SURFACES = "SELECT surface, strength FROM words WHERE is_known"
_KNOWN = "SELECT id, key, surface, strength FROM words WHERE is_known"
_LISTED = """
SELECT surface, typed, last_used, is_known, is_pinned, strength FROM words WHERE instr(key, ?)
ORDER BY typed DESC, key
"""
_FOLLOWERS = """
SELECT ngrams.word, words.key, words.surface, words.is_known, words.strength, ngrams.strength
FROM ngrams JOIN words ON words.id = ngrams.word WHERE ngrams.second = ? AND ngrams.first = ?
"""
_MENTIONS = "SELECT second, first, word, strength FROM ngrams WHERE second = ? OR first = ? OR word = ?"


def _statements(table: str) -> tuple[str, str, str]:
    key, rest = _COLUMNS[table]
    where = " AND ".join(f"{column} = ?" for column in key)
    marks = ", ".join("?" * (len(key) + len(rest)))
    assignments = ", ".join(f"{column} = excluded.{column}" for column in rest)
    return (
        f"SELECT {', '.join(rest)} FROM {table} WHERE {where}",
        f"INSERT INTO {table} ({', '.join(key + rest)}) VALUES ({marks}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {assignments}",
        f"DELETE FROM {table} WHERE {where}",
    )


_STATEMENTS = {table: _statements(table) for table in TABLES}

Before = tuple[str, tuple[Any, ...], tuple[Any, ...] | None]
"""A table, a key in it, and the rest of the row as it was; None where there was no row."""

Ngram = tuple[int, int, int]
"""The numbers of the word before the word before, of the word before, and of a word."""


class WordRow(NamedTuple):
    """A row of `words`, without its number.

    Attributes:
        key: the word in lower case.
        surface: how it is written.
        strength: log2 of how often it came, see `fedkey.personal_ngram`.
        typed: how often it was finished or accepted.
        restored: how often its owner took back a correction of it.
        is_new: whether the lexicon did not offer it when it came last. A hint: another bundle may have
            another lexicon, so that whoever has to know asks it.
        is_known: whether it is given back.
        is_pinned: whether it is kept, however weak.
        last_used: the day, as YYYY-MM-DD.
    """

    key: str
    surface: str
    strength: float
    typed: int = 0
    restored: int = 0
    is_new: bool = True
    is_known: bool = False
    is_pinned: bool = False
    last_used: str = ""


class State(NamedTuple):
    """The row of `state`.

    Attributes:
        words_seen: how many words were observed; the clock that counts decay by.
        total: log2 of the sum over the words' counts, as strengths.
        num_words: rows of `words`.
        num_ngrams: rows of `ngrams`.
    """

    words_seen: int = 0
    total: float = -math.inf
    num_words: int = 0
    num_ngrams: int = 0


class KnownWord(NamedTuple):
    """A known word.

    Attributes:
        surface: how it is written.
        strength: log2 of how often it came.
    """

    surface: str
    strength: float


class KnownWords(NamedTuple):
    """All known words.

    Attributes:
        words: by what they are in lower case.
        version: another number whenever a word has become known, or is known no more.
    """

    words: Mapping[str, KnownWord]
    version: int


class Follower(NamedTuple):
    """A word that came after some words.

    Attributes:
        number, key, surface, is_known, word_strength: of the word.
        strength: log2 of how often it came there.
    """

    number: int
    key: str
    surface: str
    is_known: bool
    word_strength: float
    strength: float


class TracesRemainError(UserError):
    """What was to be forgotten is forgotten, but the file's bytes hold it still."""


class PersonalStore:
    """An open file, or a store in memory alone. One thread at a time, any thread; any number of processes.

    Every failure of the file is a `UserError` that says in one sentence what is wrong with it; what was being
    written is then not written at all.

    Attributes:
        path: the file; None for memory alone.
        notice: a sentence about what happened to the file on opening, for the owner to see; mostly None.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None, notice: str | None) -> None:
        """`PersonalStore.open` is the way in."""
        self._connection = connection
        self._before: list[Before] = []
        self._known: dict[str, KnownWord] | None = None
        self._known_keys: dict[int, str] = {}
        self._known_version = self._known_changes = 0
        self._changed_words: set[int] = set()
        self._is_hurried = False
        self.path = path
        self.notice = notice

    @classmethod
    def open(cls, path: Path | None) -> PersonalStore:
        """Opens the file, made for the owner's eyes alone if it is missing.

        A damaged file is renamed, together with its log, and a fresh one begun; `notice` says so. What is
        something else than a memory is left as it is.

        Args:
            path: the file; None keeps everything in memory.

        Raises:
            UserError: the file cannot be opened, is another program's, or was written by a newer fedkey.
        """
        if path is None:
            return cls(_fresh_in_memory(), None, None)
        with _told(path):
            try:
                return cls(_connect(path), path, None)
            except _DamagedError:
                if not _was_memory(path):
                    raise UserError(
                        f"Cannot use the personal memory {path}: that file holds something else; choose "
                        "another, or move it away."
                    ) from None
                aside = _set_aside(path)
                notice = (
                    f"The personal memory {path} was damaged; it is kept as {aside.name}, and a new one "
                    "begins: import what you last exported if you want your words back."
                )
                return cls(_connect(path), path, notice)

    def close(self) -> None:
        """Closes the file; the last process to do so folds the log into it."""
        self._connection.close()

    # -------------------------------------------------------------------------------------- reading

    def state(self) -> State:
        """The one row of `state`."""
        rows = self._rows("SELECT words_seen, total, num_words, num_ngrams FROM state")
        return State(*rows[0]) if rows else State()

    def find(self, key: str) -> tuple[int, WordRow] | None:
        """The number and the row of a word in lower case."""
        rows = self._rows(f"SELECT id, {_WORD} FROM words WHERE key = ?", key)
        return (rows[0][0], _word_row(rows[0][1:])) if rows else None

    def number(self, key: str) -> int | None:
        """The number of a word in lower case."""
        rows = self._rows("SELECT id FROM words WHERE key = ?", key)
        return rows[0][0] if rows else None

    def keys(self, numbers: Collection[int]) -> dict[int, str]:
        """The words, in lower case, of those among some numbers that still are words'."""
        rows = ((number, self._rows("SELECT key FROM words WHERE id = ?", number)) for number in numbers)
        return {number: found[0][0] for number, found in rows if found}

    def words(self) -> list[tuple[int, WordRow]]:
        """All words with their numbers, in the order of their keys."""
        rows = self._rows(f"SELECT id, {_WORD} FROM words ORDER BY key")
        return [(number, _word_row(row)) for number, *row in rows]

    def listed(self, search: str) -> list[tuple[str, int, str, int, int, float]]:
        """Surface, typed, last_used, is_known, is_pinned and strength of all words that contain some
        lower-case letters, those first that were typed most; not as rows, which take four times as long."""
        return self._rows(_LISTED, search)

    def known_words(self) -> KnownWords:
        """All known words as they are now.

        They are read from the file once, 20 ms for 20,000, and then what has changed of them: every key that
        is pressed asks for them. The next call changes what this one returned.
        """
        version = self.foreign_writes()
        if self._known is None or version != self._known_version:
            rows = self._rows(_KNOWN)
            self._known = {key: KnownWord(surface, strength) for _, key, surface, strength in rows}
            self._known_keys = {number: key for number, key, _, _ in rows}
            self._known_version = version
            self._known_changes += 1
            self._changed_words.clear()
        # All that has gone goes first: another word may have its letters by now.
        changed = {number: self._rows(f"{_KNOWN} AND id = ?", number) for number in self._changed_words}
        gone = {self._known_keys.pop(number): number for number in changed if number in self._known_keys}
        for key in gone:
            del self._known[key]
        came = {key: number for number, rows in changed.items() for _, key, _, _ in rows}
        for rows in changed.values():
            for number, key, surface, strength in rows:
                self._known[key], self._known_keys[number] = KnownWord(surface, strength), key
        self._known_changes += came.keys() != gone.keys()
        self._changed_words.clear()
        return KnownWords(self._known, self._known_changes)

    def strengths(self, keys: Sequence[str]) -> dict[str, float]:
        """The strengths of those of some lower-case words that are known."""
        found: dict[str, float] = {}
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            asked = list(keys[start : start + _ASKED_AT_ONCE])
            # One statement for any number of words, so that it is compiled once: no word is empty.
            found.update(self._rows(_STRENGTHS, *asked, *[""] * (_ASKED_AT_ONCE - len(asked))))
        return found

    def frequent(self, prefix: str, limit: int) -> list[tuple[str, float]]:
        """Surfaces and strengths of the strongest known words that begin with a lower-case prefix."""
        if not prefix:
            return self._rows(f"{_SURFACES} ORDER BY strength DESC LIMIT ?", limit)
        # The plus keeps SQLite from walking all words in the order of their strength.
        return self._rows(
            f"{_SURFACES} AND key >= ? AND key < ? ORDER BY +strength DESC LIMIT ?",
            prefix,
            prefix + _LAST_CHARACTER,
            limit,
        )

    def spellings(self, number: int) -> dict[str, int]:
        """The votes for each way a word is written."""
        return dict(self._rows("SELECT surface, votes FROM spellings WHERE word = ?", number))

    def trusts(self) -> dict[tuple[int, int], tuple[float, float]]:
        """(level, amount) -> (used, unused)."""
        rows = self._rows("SELECT level, amount, used, unused FROM trusts")
        return {(level, amount): (used, unused) for level, amount, used, unused in rows}

    def followers(self, second: int, first: int) -> list[Follower]:
        """The words that came after two words, as far as they are still words."""
        return list(map(Follower._make, self._rows(_FOLLOWERS, second, first)))

    def ngrams(self) -> list[tuple[Ngram, float]]:
        """All n-grams with their strengths."""
        rows = self._rows("SELECT second, first, word, strength FROM ngrams")
        return [((second, first, word), strength) for second, first, word, strength in rows]

    def mentions(self, number: int) -> list[tuple[Ngram, float]]:
        """The n-grams in which a word stands anywhere, with their strengths."""
        rows = self._rows(_MENTIONS, number, number, number)
        return [((second, first, word), strength) for second, first, word, strength in rows]

    def ngram_strength(self, ngram: Ngram) -> float:
        """Minus infinity if there is no such n-gram."""
        rows = self._rows(_STATEMENTS["ngrams"][0], *ngram)
        return float(rows[0][0]) if rows else -math.inf

    def weakest_ngrams(self, limit: int) -> list[Ngram]:
        """The n-grams that go first."""
        return self._rows("SELECT second, first, word FROM ngrams ORDER BY strength LIMIT ?", limit)

    def weakest_words(self, limit: int) -> list[tuple[int, float]]:
        """Numbers and strengths of the words that go first; those that are pinned go last."""
        weakest = "SELECT id, strength FROM words WHERE is_pinned = ? ORDER BY strength LIMIT ?"
        rows = self._rows(weakest, 0, limit)
        return rows + self._rows(weakest, 1, limit - len(rows))

    def word_strengths(self) -> list[float]:
        """The strengths of all words."""
        return [strength for (strength,) in self._rows("SELECT strength FROM words")]

    def count_ngrams(self) -> int:
        """How many n-grams there are."""
        return int(self._rows("SELECT count(*) FROM ngrams")[0][0])

    def _rows(self, statement: str, *values: object) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise _explained(error, self.path) from error

    # -------------------------------------------------------------------------------------- writing

    @contextmanager
    def writing(self) -> Iterator[list[Before]]:
        """One transaction: all of what is done inside reaches the file, or nothing does.

        Yields:
            What is being replaced, oldest first, for `restore`; complete when the transaction is.
        """
        with _told(self.path):
            self._begin()
            try:
                yield self._before
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise
            finally:
                self._before = []

    def _begin(self) -> None:
        """Waits for other writers, but only once for one that does not end: a writer who had to wait for
        every word would have no suggestions."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            self._wait(BUSY_AGAIN_SECONDS)
            self._is_hurried = True
            raise
        if self._is_hurried:
            self._wait(BUSY_SECONDS)
            self._is_hurried = False

    def _wait(self, seconds: float) -> None:
        self._connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")

    def put(self, table: str, key: tuple[Any, ...], row: tuple[Any, ...] | None) -> None:
        """Writes the row of `key`, or deletes it (None); only inside `writing`."""
        select, upsert, delete = _STATEMENTS[table]
        if table == "words":
            self._changed_words.add(*key)
        self._before.append((table, key, self._connection.execute(select, key).fetchone()))
        if row is None:
            self._connection.execute(delete, key)
        else:
            self._connection.execute(upsert, (*key, *row))

    def add_word(self, row: WordRow) -> int:
        """Writes a row of `words` under a number never used before, and returns that number."""
        cursor = self._connection.execute(_STATEMENTS["words"][1], (None, *row))
        number = cursor.lastrowid
        assert number is not None
        self._changed_words.add(number)
        self._before.append(("words", (number,), None))
        return number

    def clear(self) -> None:
        """Deletes every row; only inside `writing`."""
        self._known = None
        for table in TABLES:
            self._connection.execute(f"DELETE FROM {table}")

    def restore(self, before: Sequence[Before]) -> None:
        """Puts back what one transaction replaced, exactly; only inside `writing`."""
        for table, key, row in reversed(before):
            self.put(table, key, row)

    def foreign_writes(self) -> int:
        """A number that changes whenever another process has written."""
        return int(self._rows("PRAGMA data_version")[0][0])

    def scrub(self) -> None:
        """Rewrites the file, so that its bytes hold nothing but its rows; 40 ms of CPU for the largest.

        Raises:
            TracesRemainError: another process uses it at this very moment, or there is no room for a copy of
                it; the rows are gone, their bytes not yet.
        """
        with _told(self.path):
            try:
                self._connection.execute("VACUUM")
                (is_busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError as error:
                if not _is_locked(error):
                    raise TracesRemainError(
                        f"The words are forgotten, but their traces stay in {self.path} ({error}); check the "
                        "free space and forget them once more."
                    ) from error
                is_busy = True
        if is_busy:
            raise TracesRemainError(
                f"The words are forgotten, but their traces leave {self.path} only when no other program "
                "uses it; close the other keyboard and forget them once more."
            )

    def fold(self) -> None:
        """Folds the log into the file, unless another process reads it just now: the bytes of deleted rows
        leave both.

        Far cheaper than `scrub`, which alone leaves nothing for certain, and meant for while somebody types:
        0.6 to 0.9 ms for 100 to 16,000 words, where `scrub` takes 1.5 to 22 (of 240 words none was left).
        What fails is made up for when the file is closed.
        """
        with suppress(sqlite3.Error):
            self._wait(0)
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._wait(BUSY_AGAIN_SECONDS if self._is_hurried else BUSY_SECONDS)

    def files_set_aside(self) -> list[Path]:
        """What `open` has ever set aside beside this file, logs included."""
        if self.path is None:
            return []
        with _told(self.path):
            return _files_set_aside(self.path)

    def delete_files_set_aside(self) -> None:
        """Deletes what `open` has ever set aside beside this file."""
        with _told(self.path):
            for path in self.files_set_aside():
                path.unlink(missing_ok=True)


def _word_row(values: Sequence[Any]) -> WordRow:
    row = WordRow(*values)
    # SQLite has no booleans.
    return row._replace(is_new=bool(row.is_new), is_known=bool(row.is_known), is_pinned=bool(row.is_pinned))


_NOT_UTF8 = "Could not decode to UTF-8"
_MAGIC = b"SQLite format 3\0"
_APPLICATION_AT = 68
"""Where SQLite's header begins, and where it has `APPLICATION_ID`."""
_BESIDE = ("-wal", "-shm")
"""Endings of what SQLite keeps beside a file: its log, and an index of that."""


class _DamagedError(Exception):
    """The file is no SQLite file, or one whose pages or rows contradict each other."""


def _fresh_in_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(SCHEMA)
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    _make(path)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _check_owner(connection, path)
        _hide(path)
        _prepare(connection)
        _check_health(connection)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError) and _NOT_UTF8 not in str(error):
            raise
        raise _DamagedError from error
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: Path) -> None:
    """Sees to it that there is a file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Exclusive: closing a file that this process had open elsewhere would drop SQLite's locks on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if not path.is_file():
        raise UserError(f"Cannot use the personal memory {path}: it is no file; choose another.")


def _hide(path: Path) -> None:
    """Lets only its owner read a memory. SQLite gives its log the same mode, unless it is there already."""
    for ending in ("", *_BESIDE):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).chmod(0o600)


def _check_owner(connection: sqlite3.Connection, path: Path) -> None:
    # In one transaction: another process may be making the tables just now.
    connection.execute("BEGIN")
    (num_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute("COMMIT")
    if num_tables and application != APPLICATION_ID:
        raise UserError(f"{path} belongs to another program; choose another file for the personal memory.")
    if version > SCHEMA_VERSION:
        raise UserError(f"The personal memory {path} was written by a newer fedkey; update this one.")


def _prepare(connection: sqlite3.Connection) -> None:
    """Settings, and the tables if the file is new. Several processes may arrive here at once."""
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    # With a log a commit is one append, and none is lost unless the power is; without, both need a sync.
    synchronous = "NORMAL" if _switch_to_log(connection) else "FULL"
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            for statement in filter(str.strip, SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _switch_to_log(connection: sqlite3.Connection) -> bool:
    """Whether the file has a write-ahead log now; some file systems cannot share one."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError:
            # SQLite's own waiting does not cover this statement.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return bool(mode == "wal")


def _check_health(connection: sqlite3.Connection) -> None:
    """Looks at every page and every word once: 40 ms of CPU for the largest file."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables.issuperset(TABLES) or connection.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
        raise _DamagedError
    # SQLite does not look into text.
    words = connection.execute("SELECT key, surface FROM words")
    if not all(surface.lower() == key for key, surface in words):
        raise _DamagedError


def _was_memory(path: Path) -> bool:
    """Whether a file that is no healthy memory was one: it says so, or it has a log."""
    if path.with_name(path.name + _BESIDE[0]).exists():
        return True
    # Closing this would drop the locks of an engine that has the file open; but nobody has open what is no
    # memory, and what was one is renamed.
    with path.open("rb") as file:
        header = file.read(_APPLICATION_AT + 4)
    return header.startswith(_MAGIC) and header[_APPLICATION_AT:] == APPLICATION_ID.to_bytes(4, "big")


def _set_aside(path: Path) -> Path:
    """Renames a file and its log, which belongs to no other file, and returns the new name."""
    _hide(path)
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for ending in (*_BESIDE, ""):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return aside


def _files_set_aside(path: Path) -> list[Path]:
    names = re.compile(rf"{re.escape(path.name)}\.damaged-\d+({'|'.join(_BESIDE)})?")
    return sorted(each for each in path.parent.iterdir() if names.fullmatch(each.name))


@contextmanager
def _told(path: Path | None) -> Iterator[None]:
    """Turns what SQLite and the file system say into one sentence for the owner."""
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise _explained(error, path) from error


def _is_locked(error: sqlite3.OperationalError) -> bool:
    return "locked" in str(error)


def _explained(error: Exception, path: Path | None) -> Exception:
    if isinstance(error, OSError):
        return UserError(
            f"Cannot use the personal memory {path}: {error.strerror}; check its folder and its rights."
        )
    # Python's sqlite3 cannot even say what is wrong when the message quotes a damaged page.
    if type(error) in (sqlite3.DatabaseError, UnicodeDecodeError) or _NOT_UTF8 in str(error):
        return UserError(
            f"The personal memory {path} is damaged; start the keyboard again, which sets it aside."
        )
    if isinstance(error, sqlite3.OperationalError):
        if _is_locked(error):
            return UserError(
                f"Another program keeps the personal memory {path} busy; nothing in it was changed."
            )
        return UserError(
            f"Cannot use the personal memory {path}: {error}; check its folder and the free space."
        )
    return error  # a mistake of the program's, not of the file
