"""What the model sees before the word being typed.

In: the text before the caret, earlier messages of the conversation on lines of their own. Out: piece ids that
fit the model's window, framed as in training. Next stop: `fedkey.engine`.

When a conversation outgrows the window its oldest messages are dropped, several at a time: what is kept
changes only once in many words, so that the model's cache of the text before stays valid in between. Every
cut is a function of the text alone; the same text gives the same ids whatever was read before.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedkey.pieces import END_ID, START_ID, Pieces
from fedkey.text import caret_units, is_sentence_start, normalise, split, split_context, truecase

LINE_STEP = 64
"""A message is at least two ids, so that a window of 128 holds no more than 64; older lines are not even
read."""

CHARACTER_STEP = 2048
"""Of an unfinished message, between one and two steps of characters are read: several windows' worth."""

LONGEST_LINE = 8 * CHARACTER_STEP
"""An earlier message of more characters is taken for too long for the window, unread: nobody typed it."""

DROPS_PER_WINDOW = 4
"""Ids are dropped a quarter of the window at a time: the model reads the rest anew about once in 25 words."""


@dataclass(frozen=True)
class Context:
    """Where a word is being typed.

    Attributes:
        ids: the pieces before the caret; never empty.
        starts_sentence: whether the next word begins a sentence.
    """

    ids: tuple[int, ...]
    starts_sentence: bool


class ContextReader:
    """Turns text into ids by the bundle's tokenizer and truecasing."""

    def __init__(self, pieces: Pieces, forms: Mapping[str, str], room: int) -> None:
        """`room` is how many ids a context may have: the window less what candidates need; at least 2."""
        if room < 2:
            raise ValueError(f"A context needs room for two pieces at least, not {room}.")
        self._pieces = pieces
        self._forms = forms
        self.room = room
        """How many ids a context may have."""
        self.step = -(-room // DROPS_PER_WINDOW)
        self._framed = functools.lru_cache(maxsize=4 * LINE_STEP)(self.frame_message)

    def read(self, context: str, *, is_ahead: bool = False) -> Context:
        """The context of the word typed after `context`, which may be any text at all.

        Args:
            context: the text.
            is_ahead: give the ids that will be kept of it once the next step of ids is dropped.
        """
        *lines, line = _last_lines(context)
        line = line[_whole_steps(len(line) - CHARACTER_STEP, CHARACTER_STEP) :]
        _, current, gap = split_context(line)
        current = truecase(current, self._forms)
        units = caret_units(current, gap)
        ids = self._fit(self.frame_messages(lines), units, self.step if is_ahead else 0)
        return Context(ids, is_sentence_start(units))

    def frame_messages(self, messages: Sequence[str]) -> list[tuple[int, ...]]:
        """Each message's ids; messages with nothing in them are left out."""
        return [ids for message in messages if len(ids := self._framed(message)) > 2]

    def frame_message(self, message: str) -> tuple[int, ...]:
        """A whole message as training saw it: normalised, truecased, between message start and message
        end."""
        units = split(truecase(normalise(message), self._forms))
        return (START_ID, *self._pieces.encode_units(units), END_ID)

    def _fit(self, earlier: list[tuple[int, ...]], units: Sequence[str], more: int) -> tuple[int, ...]:
        current = [START_ID, *self._pieces.encode_units(units)]
        excess = sum(map(len, earlier)) + len(current) - self.room
        to_drop = _round_up(excess, self.step) + more
        while to_drop > 0 and earlier:
            to_drop -= len(earlier.pop(0))
        if len(current) > self.room:
            current = self._last_units(units)
        return (*(i for message in earlier for i in message), *current)

    def _last_units(self, units: Sequence[str]) -> list[int]:
        """The end of a message too long for the window, cut between units; training begins such a rest with a
        message start too."""
        encoded, room = [self._pieces.encode_unit(unit) for unit in units], self.room - 1
        to_drop = _round_up(sum(map(len, encoded)) - room, self.step)
        while to_drop > 0 and len(encoded) > 1:
            to_drop -= len(encoded.pop(0))
        # One unit alone can be longer than the window: a hundred letters of a script the tokenizer never met.
        return [START_ID, *[i for unit in encoded for i in unit][-room:]]


def newest_that_fit(messages: Sequence[tuple[int, ...]], room: int) -> list[int]:
    """The ids of as many of the last messages as fit into `room`, in order."""
    first = len(messages)
    while first > 0 and len(messages[first - 1]) <= room:
        first -= 1
        room -= len(messages[first])
    return [i for message in messages[first:] for i in message]


def _last_lines(context: str) -> list[str]:
    """The lines that may matter: some of the last, none of them before an endless one."""
    num_earlier = context.count("\n")
    kept = num_earlier - _whole_steps(num_earlier - LINE_STEP, LINE_STEP)
    *lines, line = context.rsplit("\n", kept + 1)[-(kept + 1) :]
    endless = [index for index, each in enumerate(lines) if len(each) > LONGEST_LINE]
    return [*lines[endless[-1] + 1 if endless else 0 :], line]


def _whole_steps(excess: int, step: int) -> int:
    return max(0, excess) // step * step


def _round_up(excess: int, step: int) -> int:
    return -(-max(0, excess) // step) * step
