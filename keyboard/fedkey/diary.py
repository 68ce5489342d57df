"""What a joined keyboard may train on: the messages that were sent while it was joined.

In: messages as they were sent. Out: the same without what must not be learnt, for the phone process of
`fedkey_server`, which trains on them where they are. Next stop: `fedkey.departures`, which lists what left.

Nothing is written before the writer joins a federation, nor while they type privately. Links, mail addresses,
long numbers and user names are replaced before anything is written (`fedkey.text.normalise`, the rule of all
training text), and so is what a personal memory would refuse: passwords and whatever may be a secret
(`fedkey.personal_rules`). The file holds the newest words only, one message a line, appended in one write: a
kill loses the message being written and never the file. Two keyboards may write to it at once; when it is cut
to size at that very moment, one message may be lost.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from fedkey.errors import UserError
from fedkey.files import rests, whole
from fedkey.personal_rules import without_secrets
from fedkey.text import normalise, split

DIARY = "diary.jsonl"
"""File beside the personal memory."""

MAX_WORDS = 5000
"""No author of a simulation is heard with more, see `fedkey_server.corpus`."""


@dataclass(frozen=True)
class Entry:
    """One message.

    Attributes:
        conversation: what was sent under the same name belongs together, in this order.
        text: normalised.
    """

    conversation: str
    text: str


class Diary:
    """The file, which need not be there."""

    def __init__(self, path: Path, max_words: int = MAX_WORDS) -> None:
        self.path = path
        self.max_words = max_words

    def add(self, message: str, conversation: str) -> None:
        """Writes down what a message holds that may be learnt; the oldest messages make room.

        Raises:
            UserError: the file cannot be written.
        """
        lines = [without_secrets(text) for line in message.split("\n") if (text := normalise(line))]
        if not lines:
            return
        try:
            self._append([Entry(conversation, text) for text in lines])
        except OSError as error:
            raise UserError(
                f"What you send cannot be written to {self.path} ({error.strerror}); the federation will not "
                "learn from it."
            ) from error

    def messages(self) -> list[Entry]:
        """All that it holds, oldest first; a line that was torn by a kill is left out.

        Raises:
            UserError: the file cannot be read.
        """
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"The diary {self.path} cannot be read: {error.strerror}.") from error
        entries = (_entry(line) for line in lines)
        return [entry for entry in entries if entry is not None]

    def conversations(self) -> list[list[str]]:
        """What may be learnt: the messages, those of each conversation together."""
        by_name = groupby(self.messages(), lambda entry: entry.conversation)
        # Again, as in `_entry`, but not for every message that is added: it takes 50 ms for a full diary.
        return [[without_secrets(entry.text) for entry in entries] for _, entries in by_name]

    def num_words(self) -> int:
        """Words of all messages."""
        return sum(map(_num_words, self.messages()))

    def forget(self, word: str) -> None:
        """Deletes every message in which a word stands, whatever its case.

        Raises:
            UserError: the file cannot be read or written.
        """
        entries, key = self.messages(), normalise(word).lower()
        kept = [entry for entry in entries if key not in map(str.lower, split(entry.text))]
        if len(kept) < len(entries):
            try:
                self._replace(kept)
            except OSError as error:
                raise UserError(f"The diary {self.path} cannot be written: {error.strerror}.") from error

    def erase(self) -> None:
        """Deletes the file, and what may wait beside it to replace it.

        Raises:
            UserError: it cannot be deleted.
        """
        try:
            for path in (*rests(self.path), self.path):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"The diary {self.path} cannot be deleted: {error.strerror}.") from error

    def _append(self, added: list[Entry]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = [*self.messages(), *added]
        num_words = sum(map(_num_words, kept))
        if num_words <= self.max_words:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                # The empty line ends what a kill may have left of the line before.
                os.write(file, b"\n" + b"".join(map(_line, added)))
            finally:
                os.close(file)
            return
        while len(kept) > 1 and num_words > self.max_words:
            num_words -= _num_words(kept.pop(0))
        self._replace(kept)

    def _replace(self, kept: list[Entry]) -> None:
        with whole(self.path, 0o600) as beside:
            beside.write_bytes(b"".join(map(_line, kept)))


def _num_words(entry: Entry) -> int:
    return entry.text.count(" ") + 1  # as a corpus counts them, and cheap enough for every message sent


def _line(entry: Entry) -> bytes:
    row = {"conversation": entry.conversation, "text": entry.text}
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


def _entry(line: bytes) -> Entry | None:
    """A line's message; None for what is no line, such as one that a kill tore."""
    try:
        row = json.loads(line)
        entry = Entry(row["conversation"], row["text"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    is_text = isinstance(entry.conversation, str) and isinstance(entry.text, str)
    # Again: whoever edits the file by hand may have put in what must not be learnt.
    return Entry(entry.conversation, normalise(entry.text)) if is_text else None
