"""The text being written, as a value: every key is a function from one draft to the next.

In: a draft and what was pressed. Out: the next draft, and from it what the engine needs: the letters of the
word at the caret and the text before it. Next stop: `fedkey.ui.typing`.

An accepted word brings a space, and what is written next decides whether it stays. The space gives way to
punctuation, comes back before the next word, and is never doubled; `default_gap` of `fedkey.text` says which
characters stand close to the word before them, so that writing follows the rule the model was trained on.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

from fedkey.text import default_gap, is_word, units_with_places

_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc", "'''")
"""Kept as they were typed, but words are found as if they were straight; as many characters as before."""

_QUOTE = '"'
_JOINER = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)


@dataclass(frozen=True)
class Draft:
    """An unfinished message.

    Attributes:
        text: one line; no control characters.
        caret: how many of its characters stand before the caret.
        accepted_end: where the accepted word ends whose following gap is still open: between it and the caret
            stands nothing but its space, or the punctuation that took the space's place. None if no gap is
            open.
        is_in_front: whether the word at the caret was begun right in front of another one, which is therefore
            no part of it.
    """

    text: str = ""
    caret: int = 0
    accepted_end: int | None = None
    is_in_front: bool = False

    def __post_init__(self) -> None:
        assert 0 <= self.caret <= len(self.text)
        assert self.accepted_end is None or 0 <= self.accepted_end <= self.caret

    @property
    def typed(self) -> str:
        """The letters before the caret of the word being typed; empty between words."""
        return self.text[self._word_start : self.caret]

    @property
    def before(self) -> str:
        """The text before the word being typed, as the engine wants it: with the space that a word accepted
        here would get."""
        start = self._word_start
        return self.text[:start] + (" " if start == self.caret and self._owes_space else "")

    @property
    def finished_word(self) -> str | None:
        """The word that a space, punctuation or Enter at the caret would finish; None if none would be."""
        word = self.typed.rstrip("'\u2019")
        return word if self._word_end == self.caret and is_word(_straight(word)) else None

    @property
    def _word_start(self) -> int:
        if self.accepted_end is not None:
            return self.caret
        before = _straight(self.text[: self.caret])
        # "don'" is a word on its way, although the apostrophe still ends it.
        stem = before.removesuffix("'")
        units = units_with_places(stem)
        if units:
            unit, place = units[-1]
            if _is_letter(unit[0]) and place + len(unit) == len(stem):
                return place
        return self.caret

    @property
    def _word_end(self) -> int:
        if self._word_start == self.caret or self.is_in_front:
            return self.caret
        for unit, place in units_with_places(_straight(self.text)):
            if place < self.caret < place + len(unit) and _is_letter(unit[0]):
                return place + len(unit)
        return self.caret

    @property
    def _owes_space(self) -> bool:
        """Whether a new word at the caret needs a space before it that is not there."""
        before = self.text[: self.caret]
        return before != "" and not before[-1].isspace() and _is_gap(before, "a")


# ------------------------------------------------------------------------------------------- writing


def insert(draft: Draft, characters: str) -> Draft:
    """Types or pastes at the caret. Line ends and tabs become spaces; control characters are dropped."""
    characters = "".join(" " if each.isspace() else each for each in characters if _is_kept(each))
    while characters and draft.accepted_end is not None:
        draft, characters = _insert_in_open_gap(draft, characters[0]), characters[1:]
    if not characters:
        return draft
    text, caret = draft.text, draft.caret
    follows_word = _is_letter(text[caret : caret + 1])
    return Draft(
        text[:caret] + characters + text[caret:],
        caret + len(characters),
        is_in_front=follows_word
        and _continues_word(characters[-1])
        and (draft.is_in_front or not draft.typed),
    )


def _insert_in_open_gap(draft: Draft, character: str) -> Draft:
    """Decides the space after an accepted word by the character that follows."""
    word, tail, rest = _around_gap(draft)
    if character == " ":
        # It is the space that was given, or the one that already follows.
        is_dash = tail != "" and not default_gap("a", tail) and not default_gap(tail, "a")
        settled = (f"{word} {tail}" if is_dash else _joined(word, tail)) + " "
        return Draft(settled + rest.removeprefix(" "), len(settled))
    # Only the units tell whether a letter begins a word or ends an emoticon (":D", "<3").
    unit, start = units_with_places(tail + character)[-1]
    if not _is_letter(unit[0]):
        closed = _joined(word, tail + character)
        return Draft(closed + rest, len(closed), len(word))
    tail = tail[:start]
    settled = _joined(word, tail) + (" " if _is_gap(word + tail, unit) else "")
    return insert(Draft(settled + rest, len(settled)), unit)


def accept(draft: Draft, word: str) -> Draft:
    """Puts a suggested word in place of the one being typed, with a space behind it.

    The caret inside a word replaces all of it. At the end of the text the space is written; before other text
    the caret stays at the word, so that whatever is typed there finds the space it needs and no second one.
    """
    rest = draft.text[draft._word_end :]
    head = draft.before + word
    if not rest:
        return Draft(f"{head} ", len(head) + 1, len(head))
    space = "" if rest[0].isspace() or not _is_gap(head, rest) else " "
    return Draft(head + space + rest, len(head), len(head))


def backspace(draft: Draft) -> Draft:
    """Deletes the character before the caret. Taking back the punctuation after an accepted word brings its
    space back."""
    if draft.accepted_end is not None:
        word, tail, rest = _around_gap(draft)
        if tail:
            shorter = _joined(word, tail[:-1])
            if shorter == word and not rest:
                shorter += " "
            return Draft(shorter + rest, len(shorter), len(word))
    return _without(draft, _previous(draft.text, draft.caret), draft.caret)


def delete(draft: Draft) -> Draft:
    """Deletes the character behind the caret."""
    return _without(draft, draft.caret, _next(draft.text, draft.caret))


def delete_word(draft: Draft) -> Draft:
    """Deletes from the caret back to the start of the word or punctuation before it."""
    return _without(draft, word_left(draft).caret, draft.caret)


def clear(draft: Draft) -> Draft:
    """Deletes everything before the caret."""
    return _without(draft, 0, draft.caret)


def _without(draft: Draft, start: int, end: int) -> Draft:
    is_in_front = draft.is_in_front and draft.typed != "" and end == draft.caret
    return Draft(draft.text[:start] + draft.text[end:], start, is_in_front=is_in_front)


# ---------------------------------------------------------------------------------------- moving


def place(draft: Draft, caret: int) -> Draft:
    """Puts the caret somewhere, or as near as the text allows."""
    caret = min(max(caret, 0), len(draft.text))
    while 0 < caret < len(draft.text) and _continues_character(draft.text, caret):
        caret -= 1
    return replace(draft, caret=caret, accepted_end=None, is_in_front=False)


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
    """To the start of the text."""
    return place(draft, 0)


def end(draft: Draft) -> Draft:
    """To the end of the text."""
    return place(draft, len(draft.text))


# --------------------------------------------------------------------------------------- sending


def send(messages: tuple[str, ...], draft: Draft) -> tuple[tuple[str, ...], Draft]:
    """Moves the draft to the end of the conversation and begins an empty one; nothing happens while there is
    nothing but space to send."""
    message = draft.text.strip()
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


def _joined(word: str, tail: str) -> str:
    return word + (" " if tail and _is_gap(word, tail) else "") + tail


def _is_gap(before: str, after: str) -> bool:
    """Whether a space is expected between two texts: as `default_gap` has it, but quotes are told apart.

    An opening quote stands close to what follows and a closing one to what comes before; an apostrophe may
    be about to become part of the word.
    """
    last, first = units_with_places(_straight(before))[-1][0], units_with_places(_straight(after))[0][0]
    if _QUOTE in (first[0], last[0]):
        return before.count(_QUOTE) % 2 == 0
    return last != "'" and default_gap(last, first)


def _straight(text: str) -> str:
    return text.translate(_APOSTROPHES)


def _is_letter(character: str) -> bool:
    """Whether a character begins or continues a word of `fedkey.text`."""
    return character.isalnum() or character == "_"


def _continues_word(character: str) -> bool:
    return _is_letter(character) or _straight(character) == "'"


def _is_kept(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) not in ("Cc", "Cs")


def _continues_character(text: str, place: int) -> bool:
    """Whether the code point at `place` belongs to what people see as the character before it: accents, skin
    tones, joined emoji, the second letter of a flag."""
    character = text[place]
    if ord(character) in _FLAG_LETTERS:
        flag_letters = text[:place][::-1]
        before = next((i for i, each in enumerate(flag_letters) if ord(each) not in _FLAG_LETTERS), place)
        return before % 2 == 1
    return (
        unicodedata.category(character)[0] == "M"
        or ord(character) in _SKIN_TONES
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
