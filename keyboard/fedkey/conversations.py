"""Conversations to type: read from files, and drawn so that many authors have a part.

In: text files. Out: messages in order, some of them to be typed and graded. Next stop: `fedkey.simulate`.
"""

from __future__ import annotations

import gzip
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from fedkey.errors import UserError
from fedkey.text import is_word, normalise, units_with_places

RUN_OF_MESSAGES = 5
"""Graded messages drawn together: short enough to hear many authors, long enough to type along a
conversation."""


@dataclass(frozen=True)
class GradedConversation:
    """Messages in order, of which some are graded."""

    author: str
    """Whose messages are graded."""
    messages: tuple[str, ...]
    """Normalised texts."""
    graded: tuple[bool, ...]

    @property
    def num_words(self) -> int:
        """Words in graded messages."""
        return sum(
            is_word(unit)
            for message, is_graded in zip(self.messages, self.graded, strict=True)
            if is_graded
            for unit, _ in units_with_places(message)
        )

    def to_type(self) -> Iterator[tuple[int, str, str]]:
        """The graded messages in order: the number of each, what stands before it, and its text."""
        for index, (message, is_graded) in enumerate(zip(self.messages, self.graded, strict=True)):
            if is_graded:
                yield index, self.before(index), message

    def before(self, index: int) -> str:
        """All messages before one, as whoever types it has them before the caret: each ends in a line end."""
        return "".join(f"{message}\n" for message in self.messages[:index])


def read_conversations(path: Path) -> list[GradedConversation]:
    """Reads a text to grade.

    Formats, each perhaps with .gz or .xz after it: in a .jsonl file, prepared lines {"id", "author",
    "messages": [{"user", "text"}]} grade that author's messages, and corpus lines {"user", "dialog", "turn",
    "text"} grade every message for its user; a .txt file holds one message a line, unconnected. Messages
    whose user is null, and all of a .txt file, count as written by one author named like the file.

    Raises:
        UserError: missing or unreadable file, with the line at fault, or no message in it.
    """
    name = path.name.removesuffix(".gz").removesuffix(".xz")
    if not name.endswith((".jsonl", ".txt")):
        raise UserError(f"{path} must end in .jsonl or .txt (perhaps with .xz or .gz after it).")
    numbered = [(number, line) for number, line in enumerate(_lines(path), start=1) if line.strip()]
    if name.endswith(".jsonl"):
        rows = [_row(path, number, line) for number, line in numbered]
        conversations = [_prepared(row) for row in rows if "messages" in row]
        conversations += _corpus([row for row in rows if "messages" not in row], name)
    else:
        texts = [text for _, line in numbered if (text := normalise(line))]
        conversations = [GradedConversation(name, (text,), (True,)) for text in texts]
    conversations = [conversation for conversation in conversations if any(conversation.graded)]
    if not conversations:
        raise UserError(f"{path} holds no message to grade.")
    return conversations


def _lines(path: Path) -> Iterator[str]:
    openers: Mapping[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
    number = 0
    try:
        with cast(IO[bytes], openers.get(path.suffix, open)(path, "rb")) as file:
            for number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{number} is not UTF-8 text; convert the file first.") from error
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged after line {number}; fetch it again.") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if "messages" in row:
            messages = row["messages"]
            fits = isinstance(row["author"], str) and isinstance(messages, list)
            fits = fits and all(isinstance(each["text"], str) and "user" in each for each in messages)
        else:
            fits = isinstance(row["text"], str) and {"user", "dialog"} <= row.keys()
            fits = fits and isinstance(row["turn"], int | float) and not isinstance(row["turn"], bool)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise UserError(
            f'{path}:{number} is neither {{"user","dialog","turn","text"}} nor a prepared conversation.'
        )
    return dict(row)


def _prepared(row: Mapping[str, Any]) -> GradedConversation:
    pairs = [(normalise(message["text"]), message["user"] == row["author"]) for message in row["messages"]]
    return _graded(row["author"], pairs)


def _corpus(rows: Sequence[Mapping[str, Any]], name: str) -> Iterator[GradedConversation]:
    dialogs: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        dialogs.setdefault(str(row["dialog"]), []).append(row)
    for members in dialogs.values():
        members.sort(key=lambda row: row["turn"])
        users = [name if row["user"] is None else str(row["user"]) for row in members]
        texts = [normalise(row["text"]) for row in members]
        for author in sorted(set(users)):
            yield _graded(author, ((text, user == author) for text, user in zip(texts, users, strict=True)))


def _graded(author: str, pairs: Iterable[tuple[str, bool]]) -> GradedConversation:
    kept = [(text, is_graded) for text, is_graded in pairs if text]
    return GradedConversation(author, tuple(text for text, _ in kept), tuple(graded for _, graded in kept))


def sample(
    conversations: Sequence[GradedConversation], max_words: int | None, seed: int
) -> list[GradedConversation]:
    """Stretches of conversations, drawn author by author in turn until `max_words` graded words are together.

    A stretch grades up to `RUN_OF_MESSAGES` successive messages of its author and keeps all before them as
    context. Every author gets one before any gets a second, so that few authors do not speak for all; whose
    turn comes first is drawn too.
    """
    if max_words is None:
        return list(conversations)
    rng = np.random.default_rng(seed)
    stretches = [stretch for conversation in conversations for stretch in _stretches(conversation)]
    queues: dict[str, list[GradedConversation]] = {}
    for index in rng.permutation(len(stretches)):
        queues.setdefault(stretches[index].author, []).append(stretches[index])
    names = sorted(queues)
    turns = [queues[names[index]] for index in rng.permutation(len(names))]
    chosen: list[GradedConversation] = []
    words = 0
    while turns:
        for queue in turns:
            if words >= max_words:
                return chosen
            stretch = queue.pop()
            chosen.append(stretch)
            words += stretch.num_words
        turns = [queue for queue in turns if queue]
    return chosen


def _stretches(conversation: GradedConversation) -> Iterator[GradedConversation]:
    own = [index for index, is_graded in enumerate(conversation.graded) if is_graded]
    for start in range(0, len(own), RUN_OF_MESSAGES):
        run = set(own[start : start + RUN_OF_MESSAGES])
        end = max(run) + 1
        graded = tuple(index in run for index in range(end))
        yield GradedConversation(conversation.author, conversation.messages[:end], graded)
