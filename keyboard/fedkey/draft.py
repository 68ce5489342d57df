"""The text being written, as a value: every key is a function from one draft to the next.

In: a draft and what was pressed. Out: the next draft, and from it what the engine needs: the letters of the
word at the caret and the text before it. Next stop: `fedkey.ui.drafting`.

An accepted word brings a space, and what is written next decides whether it stays. The space gives way to
punctuation, comes back before the next word, and is never doubled; `default_gap` of `fedkey.text` says which
characters stand close to the word before them, so that writing follows the rule the model was trained on.

What was put in place of typed letters, because the writer took it or as a correction, can be taken back until
something else is put or the text up to it is changed. Letters that were brought back are meant, and are not
corrected again in this message.

Inside a text the space that stands there is used: a space typed before another one steps over it, and what is
written next brings a space of its own behind it. So a sentence can be mended in any place, and what stands
around that place keeps exactly one space. A word that is deleted letter by letter leaves both of its spaces
for whatever comes in its place, since each key deletes what it stands for; once the caret goes elsewhere, or
the message is sent, one is gone. A word that the caret comes to is picked: it is what a suggestion replaces,
as long as nothing is written.

A message may have several lines. To the engine a line break is what stands between two messages, because the
model was trained on nothing else that ends a line: the lines above are context, and a new one begins a
sentence. It takes the place of the space after a word, and no space is owed behind it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from fedkey.spacing import closed_up, expected_gap, is_gap, is_letter, joined, straight
from fedkey.text import default_gap, is_word, units_with_places

_JOINER = "\u200d"
_GOES_ON = frozenset("@#/\\&=+*~^|")
"""Characters that end a word and yet make one thing with it: an address, a path, a formula."""

LONGER_THAN_SAID = 4
"""Letters of a word whose last ones nobody leaves out in writing: an apostrophe behind it stands for none."""

_LINE_ENDS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
"""Those of `str.splitlines`."""

_SKIN_TONES = range(0x1F3FB, 0x1F400)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_TAGS = range(0xE0020, 0xE0080)
"""Unseen letters behind a black flag that name whose it is: England, Scotland, Wales."""


@dataclass(frozen=True)
class Place:
    """Letters and where they stand in a text.

    Attributes:
        start: how many characters stand before them.
        letters: what stands there.
    """

    start: int
    letters: str

    @property
    def end(self) -> int:
        """Where they end."""
        return self.start + len(self.letters)


@dataclass(frozen=True)
class Swap:
    """What was put in place of typed letters, and can be taken back.

    Attributes:
        put: what stands now, with the space before it that it brought.
        typed: what stood there; empty for a word taken before its first letter.
        is_correction: whether it was put there unasked.
        is_marked: whether the writer should still be shown it.
        before: the draft from which taking it back begins anew; None for a correction that came when the
            writer had gone on.
    """

    put: Place
    typed: str
    is_correction: bool = False
    is_marked: bool = False
    before: Draft | None = None


GAPS = (" ", ";")
"""What may part two words by mistake: a space that slipped, and the key beside the apostrophe."""


class WordBefore(NamedTuple):
    """A word that was typed before another one.

    Attributes:
        place: what stands.
        typed: the letters that were typed of it.
        gap: the character behind it, one of `GAPS`.
    """

    place: Place
    typed: str
    gap: str


@dataclass(frozen=True)
class Draft:
    """An unfinished message.

    Attributes:
        text: no control characters but line feeds.
        caret: how many of its characters stand before the caret.
        accepted_end: where the accepted word ends whose following gap is still open: between it and the caret
            stands nothing but its space, or the punctuation that took the space's place. None if no gap is
            open.
        is_in_front: whether the word at the caret was begun right in front of another one, which is therefore
            no part of it.
        literals: letters that are meant as they were typed, whatever a correction would make of them.
        swap: what was put last in place of letters, as long as it can be taken back.
        is_just_corrected: whether nothing was pressed since the character that brought the correction, or
            since the word was drawn.
        picked: the word that the caret was moved to, where other words can take its place; None once anything
            is written.
        room_at: behind a space that was stepped over, or in the place of deleted words: what is written there
            in front of something brings a space behind it, which goes again with the last of it. None if
            there is no such place.
        is_emptied: whether the last letter of what stood at the caret was deleted, and nothing was written
            since: if a space is too many there, it goes when the caret does, see `closed_up`.
    """

    text: str = ""
    caret: int = 0
    accepted_end: int | None = None
    is_in_front: bool = False
    literals: frozenset[str] = frozenset()
    swap: Swap | None = None
    is_just_corrected: bool = False
    picked: Place | None = None
    room_at: int | None = None
    is_emptied: bool = False

    def __post_init__(self) -> None:
        assert 0 <= self.caret <= len(self.text)
        assert self.accepted_end is None or 0 <= self.accepted_end <= self.caret
        assert self.room_at is None or 0 <= self.room_at <= self.caret

    @property
    def typed(self) -> str:
        """The letters before the caret of the word being typed; empty between words."""
        return self.text[self._word_start : self.caret]

    @property
    def word(self) -> str:
        """All letters of the word at the caret, which are what a suggestion replaces: to mend a word is to go
        back into it. Empty where `typed` is, unless the word is picked."""
        return self.text[self._word_start : self._word_end]

    @property
    def at(self) -> Place:
        """`word`, and where it stands."""
        return Place(self._word_start, self.word)

    @property
    def before(self) -> str:
        """The text before the word being typed, as the engine wants it: with the space that a word accepted
        here would get."""
        start = self._word_start
        is_owed = self.picked is None and start == self.caret and self._owes_space
        return self.text[:start] + (" " if is_owed else "")

    @property
    def after(self) -> str:
        """The text behind the word being typed, up to the end of its line, as the engine wants it: with the
        space that a word accepted here would get. Empty where nothing but space stands there."""
        rest = self.text[self._word_end :].partition("\n")[0]
        return self._space_before(rest, self.text[: self._word_start] + "a") + rest if rest.strip() else ""

    @property
    def finished_word(self) -> str | None:
        """The word that a space, punctuation or Enter at the caret would finish, without an apostrophe behind
        it; None if none would be."""
        word = self.typed.rstrip("'\u2019")
        return word if self._word_end == self.caret and is_word(straight(word)) else None

    @property
    def correctable(self) -> Place | None:
        """The word at the caret, if a correction may take its place: not if it was begun in front of another
        one, not if it is meant literally, and not if the caret came back to it: it was seen as it stands.

        An apostrophe behind it closes a quote, or came too late (dont'); but short words and those in -in'
        are said so (ol', runnin').
        """
        typed, word = self.typed, self.finished_word
        is_meant = not self.literals.isdisjoint((typed, word))
        if word is None or is_meant or self.is_in_front or self.picked is not None:
            return None
        is_said_so = typed != word and (len(word) < LONGER_THAN_SAID or word.endswith("in"))
        return None if is_said_so else Place(self._word_start, word)

    @property
    def may_be_completed(self) -> bool:
        """Whether a word is being typed and nothing stands behind it on its line; what was meant literally is
        complete."""
        return (
            self.typed != ""
            and self.typed not in self.literals
            and self.text[self.caret : self.caret + 1] in ("", "\n")
        )

    @property
    def marked(self) -> Place | None:
        """The correction that the writer should be shown."""
        return self.swap.put if self.swap is not None and self.swap.is_marked else None

    @property
    def _word_start(self) -> int:
        if self.picked is not None:
            return self.picked.start
        if self.accepted_end is not None:
            return self.caret
        before = straight(self.text[: self.caret])
        # "don'" is a word on its way, although the apostrophe still ends it.
        stem = before.removesuffix("'")
        units = units_with_places(stem)
        if units:
            unit, place = units[-1]
            if is_letter(unit[0]) and place + len(unit) == len(stem):
                return place
        return self.caret

    @property
    def _word_end(self) -> int:
        if self.picked is not None:
            return self.picked.end
        if self._word_start == self.caret or self.is_in_front:
            return self.caret
        for unit, place in units_with_places(straight(self.text)):
            if place < self.caret < place + len(unit) and is_letter(unit[0]):
                return place + len(unit)
        return self.caret

    @property
    def _owes_space(self) -> bool:
        """Whether a new word at the caret needs a space before it that is not there."""
        before = self.text[: self.caret]
        return before != "" and not before[-1].isspace() and is_gap(before, "a")

    def _space_before(self, rest: str, head: str) -> str:
        """The space that a word accepted at the end of `head` gets before the rest of the text; none where
        it takes the place of another word, since what stands around that one was meant so."""
        is_apart = rest == "" or rest[0].isspace() or self.picked is not None
        return "" if is_apart or not is_gap(head, rest) else " "


# ------------------------------------------------------------------------------------------- writing


def insert(draft: Draft, characters: str) -> Draft:
    """Types at the caret. Tabs become spaces; control characters other than line ends are dropped."""
    after = _insert(draft, characters)
    swap = after.swap
    if swap is not None and swap.is_marked and draft.finished_word is not None and not after.typed:
        return replace(after, swap=replace(swap, is_marked=False))
    return after


def _insert(draft: Draft, characters: str) -> Draft:
    characters = "".join(_as_kept(each) for each in characters if _is_kept(each))
    if draft.is_emptied and characters[:1].isspace():
        return _insert_space_where_emptied(draft, characters)
    while characters and draft.accepted_end is not None:
        draft, characters = _insert_in_open_gap(draft, characters[0]), characters[1:]
    if not characters:
        return draft
    head, rest = draft.text[: draft.caret], draft.text[draft.caret :]
    if characters == " " and rest[:1] == " ":
        return _rewritten(draft, draft.text, len(head) + 1, room_at=len(head) + 1)
    is_space, room_at = characters[-1].isspace(), draft.room_at
    behind = " " if room_at == draft.caret and rest and not rest[0].isspace() and not is_space else ""
    if is_space or (room_at == draft.caret and not behind):
        room_at = None
    return _rewritten(
        draft,
        head + characters + behind + rest,
        len(head + characters),
        is_in_front=is_letter((behind + rest)[:1])
        and _continues_word(characters[-1])
        and (draft.is_in_front or not draft.typed),
        room_at=room_at,
    )


def _insert_space_where_emptied(draft: Draft, characters: str) -> Draft:
    """A space is the one that stands there already; a line break comes in its place."""
    closed = _closed(draft)
    if characters[0] != " ":
        is_gap_open = draft.accepted_end is not None
        return _insert(replace(draft, is_emptied=False) if is_gap_open else closed, characters)
    # Before punctuation it has to wait for a word.
    after = draft if closed.caret < draft.caret else replace(closed, room_at=closed.caret)
    return _insert(after, characters[1:])


def _closed(draft: Draft) -> Draft:
    """The draft when the caret leaves it: of the spaces around a word that was deleted one is gone."""
    if not draft.is_emptied:
        return draft
    head, rest = closed_up(draft.text[: draft.caret], draft.text[draft.caret :])
    return _rewritten(draft, head + rest, len(head))


def _insert_in_open_gap(draft: Draft, character: str) -> Draft:
    """Decides the space after an accepted word by the character that follows."""
    word, tail, rest = _around_gap(draft)
    if character.isspace():
        # It is the space that was given, or the one that already follows, or comes in its place.
        is_dash = tail != "" and not default_gap("a", tail) and not default_gap(tail, "a")
        settled = (f"{word} {tail}" if is_dash else joined(word, tail)) + character
        room_at = len(settled) if character == " " == rest[:1] else None
        return _rewritten(draft, settled + rest.removeprefix(" "), len(settled), room_at=room_at)
    # Only the units tell whether a letter begins a word or ends an emoticon (":D", "<3").
    unit, start = units_with_places(tail + character)[-1]
    if not is_letter(unit[0]):
        closed = joined(word, tail + character)
        return _rewritten(draft, closed + rest, len(closed), len(word))
    tail = tail[:start]
    settled = joined(word, tail) + (" " if is_gap(word + tail, unit) else "")
    return _insert(_rewritten(draft, settled + rest, len(settled)), unit)


def paste(draft: Draft, text: str) -> Draft:
    """Puts in a text as it is, with its line breaks. The word it ends with is meant literally."""
    return keep(insert(draft, text.replace("\r\n", "\n")))


def accept(draft: Draft, word: str) -> Draft:
    """Puts a suggestion, of one word or several, in place of the word being typed, with a space behind it.

    The caret inside a word replaces all of it, and nothing around a word that is picked. At the end of the
    text the space is written; before other text the caret stays at the word, so that whatever is typed there
    finds the space it needs and no second one.
    """
    start, end = draft._word_start, draft._word_end
    rest = draft.text[end:]
    head = draft.before + word
    swap = Swap(Place(start, head[start:]), draft.text[start:end], before=_alone(draft))
    if not rest:
        return Draft(f"{head} ", len(head) + 1, len(head), literals=draft.literals, swap=swap)
    return Draft(
        head + draft._space_before(rest, head) + rest,
        len(head),
        len(head),
        literals=draft.literals,
        swap=swap,
    )


def put_emoji(draft: Draft, emoji: str) -> Draft:
    """Puts an emoji behind the word at the caret or, between words, where the caret is; apart from its
    neighbours, as an accepted word would be."""
    end = draft._word_end
    accepted_end = end if draft.word else draft.accepted_end
    behind = replace(draft, caret=end, accepted_end=accepted_end, picked=None)
    accepted = accept(behind, emoji)
    assert accepted.swap is not None
    return replace(accepted, swap=replace(accepted.swap, before=_alone(draft)))


def draw(draft: Draft, word: str) -> Draft:
    """Puts in a word that was drawn across the keys, as `accept` does. No letter of it was typed, so
    Backspace right after it takes back all of it."""
    return replace(accept(draft, word), is_just_corrected=True)


def backspace(draft: Draft) -> Draft:
    """Deletes the character before the caret. Taking back the punctuation after an accepted word brings its
    space back; taking back the character that brought a correction brings back the letters, too."""
    if draft.is_just_corrected and draft.swap is not None and draft.swap.before is not None:
        return draft.swap.before
    if draft.accepted_end is not None:
        word, tail, rest = _around_gap(draft)
        if tail:
            shorter = joined(word, tail[:-1])
            if shorter == word and not rest:
                shorter += " "
            return _rewritten(draft, shorter + rest, len(shorter), len(word))
    start = _previous(draft.text, draft.caret)
    if draft.room_at == draft.caret:
        # As if the caret stood between two spaces.
        if draft.text[start : draft.caret] == " ":
            return _rewritten(draft, draft.text, start)
        return _without_words(draft, start)
    if draft.room_at is None:
        return _without(draft, start, draft.caret)
    rest = draft.text[draft.caret :]
    if start <= draft.room_at:
        rest = rest.removeprefix(" ")
    return _rewritten(draft, draft.text[:start] + rest, start, room_at=min(start, draft.room_at))


def delete(draft: Draft) -> Draft:
    """Deletes the character behind the caret."""
    return _without(draft, draft.caret, _next(draft.text, draft.caret))


def delete_word(draft: Draft) -> Draft:
    """Deletes from the caret back to the start of the word or punctuation before it; at the start of a line,
    the break before it."""
    return _without_words(draft, max(word_left(draft).caret, _deletable_line(draft)))


def clear(draft: Draft) -> Draft:
    """Deletes everything before the caret on its line; at the start of a line, the break before it."""
    return _without_words(draft, _deletable_line(draft))


def _without_words(draft: Draft, start: int) -> Draft:
    """Deletes from the caret back. Of two spaces around what is gone one is left, and none before
    punctuation; what is written there instead finds the space it needs."""
    head, rest = draft.text[:start], draft.text[draft.caret :]
    if draft.room_at == draft.caret:
        rest = f" {rest}"
    closed = closed_up(head, rest)
    if start < draft.caret and closed != (head, rest):
        gap = expected_gap(head)
        if gap is not None:
            # The space before it comes back with the next word, and not before punctuation.
            return _rewritten(draft, head[:gap] + rest, gap, gap)
        if closed[0] == head:
            return _rewritten(draft, "".join(closed), start, room_at=start)
    return _without(draft, start, draft.caret)


def _deletable_line(draft: Draft) -> int:
    """How far one key may delete back: to the start of the line, or from there over the break before it."""
    start = _line_start(draft)
    return start if start < draft.caret else max(start - 1, 0)


def _without(draft: Draft, start: int, end: int) -> Draft:
    head, gone, rest = draft.text[:start], draft.text[start:end], draft.text[end:]
    if gone.strip() and closed_up(head, rest) != (head, rest):
        return _rewritten(draft, head + rest, start, expected_gap(head), is_emptied=True)
    is_in_front = draft.is_in_front and draft.typed != "" and end == draft.caret
    return _rewritten(draft, head + rest, start, is_in_front=is_in_front)


def _rewritten(
    draft: Draft,
    text: str,
    caret: int,
    accepted_end: int | None = None,
    *,
    is_in_front: bool = False,
    room_at: int | None = None,
    is_emptied: bool = False,
) -> Draft:
    """The draft with another text. What was put last can still be taken back if it and all before it stayed
    the same."""
    swap = draft.swap
    if swap is not None:
        end = swap.put.end
        if text[:end] != draft.text[:end] or is_letter(text[end : end + 1]):
            swap = None
    return Draft(
        text,
        caret,
        accepted_end,
        is_in_front,
        draft.literals,
        swap,
        room_at=room_at,
        is_emptied=is_emptied,
    )


# ------------------------------------------------------------------------------------- correcting


def keep(draft: Draft) -> Draft:
    """The letters being typed are meant as they are."""
    return replace(draft, literals=draft.literals | {draft.typed}) if draft.typed else draft


def word_before(draft: Draft) -> WordBefore | None:
    """The word in front of the one at the caret, if the key that was pressed between the two may be in the
    wrong place; None where a word was taken, which brought its own space, and where the letters are meant as
    they are."""
    stem, gap = draft.text[: draft._word_start][:-1], draft.text[: draft._word_start][-1:]
    units = units_with_places(straight(stem))
    if gap not in GAPS or not units or not is_word(units[-1][0]):
        return None
    unit, start = units[-1]
    swap, place = draft.swap, Place(start, stem[start : start + len(unit)])
    if place.end < len(stem) or place.letters in draft.literals:
        return None
    if swap is not None and swap.put.end == place.end:
        return WordBefore(swap.put, swap.typed, gap) if swap.is_correction else None
    return WordBefore(place, place.letters, gap)


def brings_correction(character: str) -> bool:
    """Whether a character that finishes a word may bring its correction."""
    return character not in _GOES_ON


def correct(draft: Draft, place: Place, word: str) -> Draft:
    """Puts a correction where a word was finished. The caret stays where it is in the text behind. An
    apostrophe behind the word goes if the word has it inside now (dont'); behind an s it may be that of
    owners, who stay as many.

    Nothing changes if the word does not stand there as it did, if it is meant literally, or unless the caret
    has moved on.
    """
    end = place.end + _is_apostrophe(draft.text, place.end)
    is_meant = not draft.literals.isdisjoint((place.letters, draft.text[place.start : end]))
    if is_meant or draft.caret <= end or not _stands(draft, place):
        return draft
    is_moved = "'" in straight(word) and "'" not in straight(place.letters)
    is_quoted = _is_apostrophe(draft.text, place.start - 1)
    is_owners = end > place.end and place.letters[-1] in "sS" and not is_quoted
    if is_owners and not is_moved and word[-1:] not in ("s", "S"):
        return draft
    replaced = draft.text[place.start : end if is_moved and not is_quoted else place.end]
    text = draft.text[: place.start] + word + draft.text[place.start + len(replaced) :]
    shift = len(word) - len(replaced)
    room_at = draft.room_at
    if room_at is not None and room_at >= place.end:
        room_at += shift
    before = None
    if draft.caret == end + 1:
        # The character that brought it was put in, or stepped over a space that stood there.
        is_put_in = draft.room_at != draft.caret
        letters = draft.text[:end] + draft.text[draft.caret if is_put_in else end :]
        before = Draft(letters, end, literals=draft.literals | {place.letters})
    return Draft(
        text,
        draft.caret + shift,
        None if draft.accepted_end is None else draft.accepted_end + shift,
        draft.is_in_front,
        draft.literals,
        Swap(Place(place.start, word), replaced, is_correction=True, is_marked=True, before=before),
        is_just_corrected=before is not None,
        picked=None if draft.picked is None else replace(draft.picked, start=draft.picked.start + shift),
        room_at=room_at,
        is_emptied=draft.is_emptied,
    )


def undo(draft: Draft) -> Draft:
    """Takes back what was put last in place of letters, which are then meant literally. What was written
    since stays; nothing changes if there is nothing to take back."""
    swap = draft.swap
    if swap is None:
        return draft
    literals = draft.literals | {swap.typed} if swap.typed else draft.literals
    if not swap.is_correction and swap.before is not None:
        put = put_emoji if swap.before.word and not swap.typed else accept
        accepted = put(swap.before, swap.put.letters.removeprefix(" "))
        if (accepted.text, accepted.caret) == (draft.text, draft.caret):
            return replace(swap.before, literals=literals)
        if accepted.text == draft.text and swap.before.after:
            # The caret has moved, and stays where it is in the text around.
            text, caret = _closed(swap.before).text, draft.caret
            if caret > swap.put.start:
                caret = max(len(text) - len(draft.text) + caret, swap.put.start + len(swap.typed))
            return place(Draft(text, literals=literals), caret)
    head, tail = draft.text[: swap.put.start], draft.text[swap.put.end :]
    caret = draft.caret - swap.put.end
    is_put_in = swap.before is not None and swap.before.text[swap.before._word_end :][:1] not in (
        "",
        " ",
        "\n",
    )
    if not swap.typed and tail[:1] == " " and (not head or head[-1].isspace() or is_put_in):
        # Of the spaces around what is gone, one is left.
        tail, caret = tail[1:], caret - 1
    text = head + swap.typed + tail
    shift = len(text) - len(draft.text)
    is_behind = draft.accepted_end is not None and draft.accepted_end > swap.put.end
    return Draft(
        text,
        min(draft.caret, len(head)) if draft.caret < swap.put.end else len(head + swap.typed) + max(caret, 0),
        draft.accepted_end + shift if is_behind and draft.accepted_end is not None else None,
        literals=literals,
        is_emptied=draft.is_emptied,
    )


def follow(old: Draft, new: Draft, place: Place) -> Place | None:
    """Where letters of one draft stand in the next one; None if they were edited."""
    return followed(old, new, [place])[0]


def followed(old: Draft, new: Draft, places: Sequence[Place]) -> list[Place | None]:
    """`follow` for several places."""
    start, end = changed(old, new)
    shift = len(new.text) - len(old.text)
    return [
        each
        if each.end <= start
        else replace(each, start=each.start + shift)
        if each.start >= len(old.text) - end
        else None
        for each in places
    ]


def changed(old: Draft, new: Draft) -> tuple[int, int]:
    """How many characters two drafts have in common at their beginning, and of the others at their end. Of
    what stands there twice (now now), that at the caret came or went."""
    start = 0
    shorter = min(len(old.text), len(new.text))
    while start < shorter and old.text[start] == new.text[start]:
        start += 1
    at_caret = min(start, old.caret, new.caret)
    end = 0
    while end < shorter - at_caret and old.text[-1 - end] == new.text[-1 - end]:
        end += 1
    return min(start, shorter - end), end


def _stands(draft: Draft, place: Place) -> bool:
    """Whether letters stand at a place as a word of their own, or as several."""
    units = units_with_places(straight(draft.text))
    inside = [(unit, start) for unit, start in units if place.start < start + len(unit) and start < place.end]
    words = [(word, place.start + start) for word, start in units_with_places(straight(place.letters))]
    return draft.text[place.start : place.end] == place.letters and inside == words


def _alone(draft: Draft) -> Draft:
    """A draft to go back to: with nothing to take back itself."""
    return replace(draft, swap=None, is_just_corrected=False)


# ---------------------------------------------------------------------------------------- moving


def place(draft: Draft, caret: int) -> Draft:
    """Puts the caret somewhere, or as near as the text allows, and leaves the place where it was. A word in
    which it stands then, or behind which, is picked; but not where the line ends with the word, because there
    it is written on."""
    closed = _closed(draft)
    if closed.text != draft.text and caret > closed.caret:
        caret -= 1  # the space that is gone stood before it
    draft, caret = closed, min(max(caret, 0), len(closed.text))
    while 0 < caret < len(draft.text) and _continues_character(draft.text, caret):
        caret -= 1
    moved = replace(
        draft,
        caret=caret,
        accepted_end=None,
        is_in_front=False,
        is_just_corrected=False,
        picked=None,
        room_at=None,
        is_emptied=False,
    )
    start, end = moved._word_start, moved._word_end
    if draft.text[caret : caret + 1] in ("", "\n") or not is_word(straight(draft.text[start:end])):
        return moved
    return replace(moved, picked=Place(start, draft.text[start:end]))


def point(draft: Draft, caret: int) -> Draft:
    """Puts the caret where somebody pointed. The word whose letter stands there is picked, be it the first
    one."""
    moved = place(draft, caret)
    for unit, start in units_with_places(straight(moved.text)):
        if start == moved.caret and is_word(unit):
            return replace(moved, picked=Place(start, moved.text[start : start + len(unit)]))
    return moved


def leave(draft: Draft) -> Draft:
    """The word that is picked stays as it is, and is meant so; otherwise as `keep`."""
    if draft.picked is None:
        return keep(draft)
    return replace(draft, picked=None, literals=draft.literals | {draft.picked.letters})


def left(draft: Draft) -> Draft:
    """One character back."""
    return place(draft, _previous(draft.text, draft.caret))


def right(draft: Draft) -> Draft:
    """One character on."""
    return place(draft, _next(draft.text, draft.caret))


def word_left(draft: Draft) -> Draft:
    """To the start of the word or punctuation before the caret."""
    starts = [start for _, start in units_with_places(draft.text) if start < draft.caret]
    return place(draft, starts[-1] if starts else 0)


def word_right(draft: Draft) -> Draft:
    """To the end of the word or punctuation behind the caret."""
    ends = (start + len(unit) for unit, start in units_with_places(draft.text))
    return place(draft, next((end for end in ends if end > draft.caret), len(draft.text)))


def home(draft: Draft) -> Draft:
    """To the start of the line."""
    return place(draft, _line_start(draft))


def end(draft: Draft) -> Draft:
    """To the end of the line."""
    break_at = draft.text.find("\n", draft.caret)
    return place(draft, len(draft.text) if break_at < 0 else break_at)


def top(draft: Draft) -> Draft:
    """To the start of the text."""
    return place(draft, 0)


def bottom(draft: Draft) -> Draft:
    """To the end of the text."""
    return place(draft, len(draft.text))


def _line_start(draft: Draft) -> int:
    return draft.text.rfind("\n", 0, draft.caret) + 1


# --------------------------------------------------------------------------------------- sending


def send(messages: tuple[str, ...], draft: Draft) -> tuple[tuple[str, ...], Draft]:
    """Moves the draft to the end of the conversation and begins an empty one; nothing happens while there is
    nothing but space to send."""
    message = _closed(draft).text.strip()
    return ((*messages, message), Draft()) if message else (messages, draft)


def context(messages: tuple[str, ...], draft: Draft) -> str:
    """What `Engine.suggest` takes as context: earlier messages on lines of their own, then the draft up to
    the word being typed."""
    return "".join(f"{message}\n" for message in messages) + draft.before


# ------------------------------------------------------------------------------ spaces and characters


def _around_gap(draft: Draft) -> tuple[str, str, str]:
    """The text up to the end of the accepted word, the punctuation since, and what stands behind the
    caret."""
    gap = draft.accepted_end
    return draft.text[:gap], draft.text[gap : draft.caret].lstrip(" "), draft.text[draft.caret :]


def _continues_word(character: str) -> bool:
    return is_letter(character) or straight(character) == "'"


def _is_apostrophe(text: str, place: int) -> bool:
    return place >= 0 and straight(text[place : place + 1]) == "'"


def _as_kept(character: str) -> str:
    if character in _LINE_ENDS:
        return "\n"
    return " " if character.isspace() else character


def _is_kept(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) not in ("Cc", "Cs")


def _continues_character(text: str, place: int) -> bool:
    """Whether the code point at `place` belongs to what people see as the character before it: accents, skin
    tones, joined emoji, the second letter of a flag, the tags of one."""
    character = text[place]
    if "\n" in (character, text[place - 1]):
        return False
    if ord(character) in _FLAG_LETTERS:
        flag_letters = text[:place][::-1]
        before = next((i for i, each in enumerate(flag_letters) if ord(each) not in _FLAG_LETTERS), place)
        return before % 2 == 1
    return (
        unicodedata.category(character)[0] == "M"
        or ord(character) in _SKIN_TONES
        or ord(character) in _TAGS
        or character == _JOINER
        or text[place - 1] == _JOINER
    )


def _previous(text: str, place: int) -> int:
    place = max(place - 1, 0)
    while place > 0 and _continues_character(text, place):
        place -= 1
    return place


def _next(text: str, place: int) -> int:
    place = min(place + 1, len(text))
    while place < len(text) and _continues_character(text, place):
        place += 1
    return place
