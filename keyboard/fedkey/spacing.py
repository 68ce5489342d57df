"""Where a space is expected in a text being written, and where one is too many.

In: the text on both sides of a place. Out: whether a space belongs there; both sides without the space that a
deleted word leaves behind. Next stop: `fedkey.draft`.

The rule is `default_gap` of `fedkey.text`, which the model was trained on. It knows two units; whoever looks
at a text as it is being written also knows which quote opens and which one closes, and that an apostrophe may
be about to become part of a word.
"""

from __future__ import annotations

from fedkey.text import default_gap, units_with_places

_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc", "'''")
"""Kept as they were typed, but words are found as if they were straight; as many characters as before."""

_QUOTE = '"'
_BRACKETS = frozenset("([{")


def straight(text: str) -> str:
    """The text with straight apostrophes, in as many characters."""
    return text.translate(_APOSTROPHES)


def is_letter(character: str) -> bool:
    """Whether a character begins or continues a word of `fedkey.text`."""
    return character.isalnum() or character == "_"


def is_gap(before: str, after: str) -> bool:
    """Whether a space is expected between two texts: as `default_gap` has it, but quotes are told apart.

    An opening quote stands close to what follows and a closing one to what comes before; an apostrophe may
    be about to become part of the word.
    """
    last, first = units_with_places(straight(before))[-1][0], units_with_places(straight(after))[0][0]
    if _QUOTE in (first[0], last[0]):
        return not _is_quoting(before)
    return last != "'" and default_gap(last, first)


def joined(word: str, tail: str) -> str:
    """A word and what follows it, with a space between them where one is expected."""
    return word + (" " if tail and is_gap(word, tail) else "") + tail


def expected_gap(head: str) -> int | None:
    """Where the word or punctuation ends that a text ends with, if one space stands behind it and belongs
    there before another word; otherwise None."""
    word = head.removesuffix(" ")
    is_single = word not in (head, "") and not word[-1].isspace()
    return len(word) if is_single and is_gap(word, "a") else None


def closed_up(head: str, rest: str) -> tuple[str, str]:
    """Both sides of a place where nothing stands any more, with one space less if they have one too many.

    Of two spaces that meet one is left, none behind an opening bracket or at the start of a line, and none
    before punctuation that belongs to the word before it. At the end of a line every space may be about to
    be written on.
    """
    if rest[:1] == " " and (head == "" or head[-1].isspace() or _opens(head)):
        return head, rest[1:]
    word = head.removesuffix(" ")
    is_single = word not in (head, "") and not word[-1].isspace()
    return (word, rest) if is_single and rest[:1].strip() and _closes(word, rest) else (head, rest)


def _closes(head: str, rest: str) -> bool:
    """Whether `rest` begins with punctuation that belongs to the word before it, and to that alone."""
    first = units_with_places(straight(rest))[0][0]
    if first[0] == _QUOTE:
        return _is_quoting(head)
    if first[0] == "'" and is_letter(rest[len(first) : len(first) + 1]):
        return False  # the rest of a word ('s)
    return not default_gap("a", first) and default_gap(first, "a")


def _opens(head: str) -> bool:
    """Whether a text ends with punctuation that belongs to the word behind it, and to that alone; what makes
    one thing with the word ($, #, a hyphen) would make another thing with the next one."""
    last = straight(head[-1])
    if last == "'":
        return head[:-1] == "" or head[-2].isspace() or _opens(head[:-1])
    return last in _BRACKETS or (last == _QUOTE and _is_quoting(head))


def _is_quoting(text: str) -> bool:
    """Whether a quote was opened on the last line and not closed."""
    return text[text.rfind("\n") + 1 :].count(_QUOTE) % 2 == 1
