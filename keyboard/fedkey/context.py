"""What the model sees of the text around the word being typed.

In: the text before the caret, earlier messages of the conversation on lines of their own, and the text behind
it. Out: piece ids that fit the model's window, framed as in training. Next stop: `fedkey.engine`.

What stands behind the caret is read before the message that it ends, in suffix-prefix order ("Efficient
Training of Language Models to Fill in the Middle", arXiv 2207.14255, section 3):

    left only     earlier messages | START before...
    both sides    earlier messages | BEHIND behind... END | START before... HERE

Earlier messages come first, so that they stay read wherever the caret goes; what stands behind it comes next,
so that it is read once however much is written in front of it. HERE moves with every word.

When a conversation outgrows the window its oldest messages are dropped, several at a time: what is kept
changes only once in many words, so that the model's cache of the text before stays valid in between. Every
cut is a function of the text alone; the same text gives the same ids whatever was read before.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedkey.pieces import END_ID, MOST_BEHIND, START_ID, Pieces
from fedkey.shouting import hush
from fedkey.text import (
    FLIP,
    caret_units,
    default_gap,
    is_sentence_start,
    is_word,
    join,
    normalise,
    split,
    split_context,
    truecase_units,
)

LINE_STEP = 64
"""A message is at least two ids, so that a window of 128 holds no more than 64; older lines are not even
read."""

CHARACTER_STEP = 2048
"""Of an unfinished message, between one and two steps of characters are read: several windows' worth."""

LONGEST_LINE = 8 * CHARACTER_STEP
"""An earlier message of more characters is taken for too long for the window, unread: nobody typed it."""

CHARACTERS_BEHIND = 1024
"""Of a longer rest of the message no more is looked at: twice what `MOST_BEHIND` pieces mostly are."""

TITLES = frozenset("dr jr mr mrs ms prof rev sgt sr st".split())
"""Behind the full stop of these a name goes on with the sentence."""

NUM_NEXT = 2
"""Pieces behind a word by which a model that reads from the left alone judges whether it fits there. Of 300
words of validation authors with two words behind them, shipped bundle, 2026-11-27, 39.0 % are the first of
the 30 words that are judged by two pieces, 34.7 % by one, 38.7 % by three and 41.7 % by four, and 22.7 % from
the left alone."""

NUM_RESTS = 8
"""What was made of so many rests of messages is kept: the one being mended, and those next to it."""

DROPS_PER_WINDOW = 4
"""Ids are dropped a quarter of the window at a time: the model reads the rest anew about once in 25 words."""


@dataclass(frozen=True)
class Context:
    """Where a word is being typed.

    Attributes:
        ids: the pieces to read; never empty. The word's own follow the last.
        starts_sentence: whether the next word begins a sentence.
        follows_title: whether the full stop before it is that of a title (Dr.), behind which a name stands.
        goes_on_shouting: whether the words before it are shouted, see `fedkey.shouting`.
    """

    ids: tuple[int, ...]
    starts_sentence: bool
    follows_title: bool
    goes_on_shouting: bool


class ContextReader:
    """Turns text into ids by the bundle's tokenizer and truecasing."""

    def __init__(
        self, pieces: Pieces, forms: Mapping[str, str], room: int, *, reads_behind: bool = False
    ) -> None:
        """`room` is how many ids a context may have: the window less what candidates need; at least 2.
        `reads_behind` says whether the model was trained to read what stands behind the caret."""
        if room < 2:
            raise ValueError(f"A context needs room for two pieces at least, not {room}.")
        self._pieces = pieces
        self._forms = forms
        self.room = room
        """How many ids a context may have."""
        self.step = -(-room // DROPS_PER_WINDOW)
        self._framed = functools.lru_cache(maxsize=4 * LINE_STEP)(self._frame_quietly)
        self.reads_behind = reads_behind
        # The same context is asked for with what will be kept of it, and on both sides of a space.
        self._read_units = functools.lru_cache(maxsize=2)(self._units)
        self._next = functools.lru_cache(maxsize=NUM_RESTS)(self._next_pieces)
        self._behind = functools.lru_cache(maxsize=NUM_RESTS)(self._frame_behind)

    def read(self, context: str, after: str = "", *, is_ahead: bool = False) -> Context:
        """The context of the word typed after `context`, which may be any text at all.

        Args:
            context: the text.
            after: what stands behind the caret, any text at all, up to its first line break. Letters that
                begin it belong to the word at the caret and are left out. A model that was not trained to
                read it is not given it.
            is_ahead: give the ids that will be kept of it once the next step of ids is dropped.
        """
        lines, units, goes_on_shouting = self._read_units(context)
        starts_sentence = is_sentence_start(units)
        behind = self._behind(rest_of_message(after), starts_sentence) if self.reads_behind else ()
        ids = self._fit(self.frame_messages(lines), behind, units, self.step if is_ahead else 0)
        follows_title = len(units) > 1 and units[-1] == "." and units[-2].lower() in TITLES
        return Context(ids, starts_sentence, follows_title, goes_on_shouting)

    def _units(self, context: str) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """The earlier lines of a context that may matter, the units of the last, and whether they end in a
        shout."""
        *lines, line = _last_lines(context)
        line = line[_whole_steps(len(line) - CHARACTER_STEP, CHARACTER_STEP) :]
        _, current, gap = split_context(line)
        quiet, goes_on_shouting = hush(split(current), self._forms)
        units = caret_units(join(truecase_units(quiet, self._forms)), gap)
        return tuple(lines), tuple(units), goes_on_shouting

    def next_behind(self, after: str, *, starts_sentence: bool) -> tuple[int, ...]:
        """The first pieces behind a word that stands in front of `after`; none where the message stops, since
        it may go on. `starts_sentence` as of the word's context."""
        return self._next(rest_of_message(after), starts_sentence)

    def _next_pieces(self, rest: str, starts_sentence: bool) -> tuple[int, ...]:
        units, _ = self._units_behind(rest, starts_sentence)
        return tuple(self._pieces.encode_units(units[:NUM_NEXT])[:NUM_NEXT])

    def frame_messages(self, messages: Sequence[str]) -> list[tuple[int, ...]]:
        """Each message's ids, shouts in small letters; messages with nothing in them are left out."""
        return [ids for message in messages if len(ids := self._framed(message)) > 2]

    def frame_message(self, message: str) -> tuple[int, ...]:
        """A whole message as training saw it: normalised, truecased, between message start and message
        end."""
        return self._frame(split(normalise(message)))

    def _frame_quietly(self, message: str) -> tuple[int, ...]:
        return self._frame(hush(split(normalise(message)), self._forms)[0])

    def _frame(self, units: Sequence[str]) -> tuple[int, ...]:
        units = split(join(truecase_units(units, self._forms)))
        return (START_ID, *self._pieces.encode_units(units), END_ID)

    def _frame_behind(self, rest: str, starts_sentence: bool) -> tuple[int, ...]:
        """The ids that stand for the rest of a message; none if nothing is left of it.

        Args:
            rest: as `rest_of_message` gives it.
            starts_sentence: whether the caret stands where a sentence starts: so does the first word behind
                it as long as nothing is between them.
        """
        units, is_all = self._units_behind(rest, starts_sentence)
        # In a window made for a toy the text before the caret matters more.
        most = min(MOST_BEHIND, self.room // 2 - 2)
        return self._pieces.frame_behind(units, is_all=is_all, most=most)

    def _units_behind(self, rest: str, starts_sentence: bool) -> tuple[list[str], bool]:
        """The first units of the rest of a message, truecased, and whether they are all of it."""
        if not rest:
            return [], True
        is_all = len(rest) <= CHARACTERS_BEHIND
        units = split(normalise(rest[:CHARACTERS_BEHIND]))
        if not is_all:
            units = units[:-1]  # it may have been cut
        units, _ = hush(units, self._forms)
        units = truecase_units(units if starts_sentence else [_SOME_WORD, *units], self._forms)
        units = units if starts_sentence else units[1:]
        if units and not is_word(units[0]) and rest[0].isspace() != default_gap(_SOME_WORD, units[0]):
            units.insert(0, FLIP)
        return units, is_all

    def _fit(
        self, earlier: list[tuple[int, ...]], behind: tuple[int, ...], units: Sequence[str], more: int
    ) -> tuple[int, ...]:
        here = (self._pieces.here_id,) if behind else ()
        current = [START_ID, *self._pieces.encode_units(units)]
        room = self.room - len(behind) - len(here)
        excess = sum(map(len, earlier)) + len(current) - room
        to_drop = _round_up(excess, self.step) + more
        while to_drop > 0 and earlier:
            to_drop -= len(earlier.pop(0))
        if len(current) > room:
            current = self._last_units(units, room)
        return (*(i for message in earlier for i in message), *behind, *current, *here)

    def _last_units(self, units: Sequence[str], room: int) -> list[int]:
        """The end of a message too long for the window, cut between units; training begins such a rest with a
        message start too."""
        encoded, room = [self._pieces.encode_unit(unit) for unit in units], room - 1
        to_drop = _round_up(sum(map(len, encoded)) - room, self.step)
        while to_drop > 0 and len(encoded) > 1:
            to_drop -= len(encoded.pop(0))
        # One unit alone can be longer than the window: a hundred letters of a script the tokenizer never met.
        return [START_ID, *[i for unit in encoded for i in unit][-room:]]


_SOME_WORD = "a"
"""Stands for the word at the caret, whatever it is."""

_GLUED = re.compile(r"(?:['\u2018\u2019\u02bc]?\w[\w\u0300-\u036f]*)+")


def rest_of_message(after: str) -> str:
    """What of the text behind the caret stands behind the word there, in its message; empty if that is white
    space. Letters right behind the caret are the end of the word there: two words have a gap between them."""
    rest = after.partition("\n")[0]
    glued = _GLUED.match(rest)
    rest = rest[glued.end() :] if glued else rest
    return "" if rest.isspace() else rest


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
