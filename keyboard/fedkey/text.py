"""What a message, a word and a space are; shared by training and typing, so that they can never disagree.

In: raw text as people type it. Out: normalised messages, and the units (words, punctuation, marks) that the
tokenizer encodes one by one. Next stop: `fedkey.pieces`, then `fedkey_server.corpus`.

A message is split into *units*. Between two units stands either one space or nothing; `default_gap` guesses
which from the two units alone, and where the text differs from the guess a `FLIP` mark stands between them.
Common text therefore costs no spacing tokens, every text can be rebuilt exactly, and a word is the same unit
whether a space, a comma or the end follows it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

TEXT_RULES_VERSION = 1
"""Raised whenever any function here changes what it returns; a bundle names the version it was trained
with."""

# Placeholders and marks live in Unicode's private-use area, so no word of any language can collide with them.
LINK = "\ue000"
MAIL = "\ue001"
NUMBER = "\ue002"
NAME = "\ue003"
PLACEHOLDERS = (LINK, MAIL, NUMBER, NAME)
"""Stand for links, mail addresses, numbers of four digits and more, and user names. Never suggested."""

FLIP = "\ue010"
"""Mark between two units: the gap here is the opposite of `default_gap`."""

SPECIAL_UNITS = (*PLACEHOLDERS, FLIP)

# SentencePiece uses U+2581 as its own space mark; a typed one travels as this character inside units.
_LOWER_BLOCK = "\u2581"
_ESCAPED_LOWER_BLOCK = "\ue011"

_FOLD = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201b": "'", "\u02bc": "'", "\u2032": "'", "\u00b4": "'",
        "\u0060": "'",
        "\u201c": '"', "\u201d": '"', "\u201f": '"', "\u2033": '"',
        "\u2013": "-", "\u2014": "-", "\u2011": "-", "\u2010": "-", "\u2212": "-",
        "\u2026": "...",
        "\u00ad": None, "\u200b": None, "\u2060": None, "\ufeff": None,
    }
)  # fmt: skip

_LINK = re.compile(r"(?:https?://|www\.(?=\w))[^\s\ue000-\ue003]+", re.IGNORECASE)
# At most 64 characters before the @ (RFC 5321): unbounded, a long run of letters is tried from each of them.
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_NAME = re.compile(r"(?<![\w@\ue000-\ue003])@(?:\w[\w.-]*\w|\w)")
_NUMBER = re.compile(r"\d(?:[\d.,]*\d)?")

# ASCII text without any of these is normal but for its white space: nine chat messages in ten.
_NEEDS_WORK = re.compile(r"[\x00-\x08\x0e-\x1b\x7f@`]|://|www\.|\d[\d.,]*\d[\d.,]*\d[\d.,]*\d", re.IGNORECASE)

# Emoticons stay whole, or ":)" would be a colon, which hugs the word before it, and a stray bracket.
_EMOTICON = r"(?:[:;=]'?-?[()\[\]DPpOo/\\|3*]+(?!\w)|<3+(?!\w))"
# Letters, digits and the diacritics that no single character has, joined by apostrophes inside. U+E000-E003
# match no \w.
_LETTERS = r"\w[\w\u0300-\u036f]*"
_WORD = rf"{_LETTERS}(?:'{_LETTERS})*"
_FLAG = r"[\U0001f1e6-\U0001f1ff]{2}"
# Anything else: a run of one repeated character, or an emoji with its joiners, variation selectors and skin
# tones.
_RUN = r"(?P<first>[^\s\w])(?:(?P=first)|[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]|\u200d(?![\s\w\ue000-\ue003]).)*"
_UNITS = re.compile(rf"{_WORD}|{_EMOTICON}|[\ue000-\ue003]|{_FLAG}|{_RUN}")
_WHOLE_WORD = re.compile(_WORD)

_CLOSING = frozenset(".,!?;:)]}%'")
_OPENING = frozenset("([{#$@")
_TRANSPARENT = frozenset((FLIP, '"', "'", "(", "["))
_TIGHT = frozenset("-/_&*+=~^\\|")


def normalise(text: str) -> str:
    """One message as fedkey sees it: folded quotes, single spaces, placeholders for what must not be learnt.

    Idempotent. Control characters, unpaired surrogates and private-use characters other than the placeholders
    are dropped; the result is NFC and holds no white space but single spaces between units.
    """
    if text.isascii() and not _NEEDS_WORK.search(text):
        return " ".join(text.split())
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if character.isspace():
            kept.append(" ")
        elif category in ("Cc", "Cs") or (category == "Co" and character not in PLACEHOLDERS):
            continue
        else:
            kept.append(character)
    # Before folding, since some characters become an apostrophe by it; after, since what folding drops may
    # have stood between a letter and its accent.
    text = unicodedata.normalize("NFC", "".join(kept)).translate(_FOLD)
    text = unicodedata.normalize("NFC", text)
    if "@" in text:
        text = _MAIL.sub(MAIL, text)
    text = _LINK.sub(LINK, text)
    text = _NAME.sub(NAME, text)
    text = _NUMBER.sub(_number_or_placeholder, text)
    return " ".join(text.split())


def _number_or_placeholder(match: re.Match[str]) -> str:
    digits = sum(character.isdecimal() for character in match.group())
    return NUMBER if digits >= 4 else match.group()


def is_word(unit: str) -> bool:
    """Whether a unit counts as a word: letters (perhaps with digits and inner apostrophes), at least one
    letter."""
    return _WHOLE_WORD.fullmatch(unit) is not None and any(map(str.isalpha, unit))


def default_gap(left: str, right: str) -> bool:
    """Whether a space is expected between two neighbouring units (marks excluded)."""
    return not (_hugs_left(right) or _hugs_right(left))


@lru_cache(maxsize=65_536)
def _hugs_left(unit: str) -> bool:
    """Whether a unit stands close to the one before it: closing punctuation, hyphens and the like."""
    return _is_plain_run(unit) and (unit[0] in _CLOSING or unit[0] in _TIGHT)


@lru_cache(maxsize=65_536)
def _hugs_right(unit: str) -> bool:
    """Whether the unit after this one stands close to it: opening brackets, hyphens and the like."""
    return _is_plain_run(unit) and (unit[0] in _OPENING or unit[0] in _TIGHT)


def _is_plain_run(unit: str) -> bool:
    """A run of one repeated character, as opposed to a word or an emoticon that begins with the same
    character."""
    return unit == unit[0] * len(unit)


def split(message: str) -> list[str]:
    """The units of a normalised message, with a `FLIP` wherever the gap is not the expected one.

    `join(split(m)) == m` for every normalised `m`.
    """
    units: list[str] = []
    previous: str | None = None
    end_of_previous = 0
    for match in _UNITS.finditer(message):
        unit = match.group()
        gap = match.start() > end_of_previous
        if previous is not None and gap != default_gap(previous, unit):
            units.append(FLIP)
        units.append(unit.replace(_LOWER_BLOCK, _ESCAPED_LOWER_BLOCK))
        previous, end_of_previous = unit, match.end()
    return units


def units_with_places(message: str) -> list[tuple[str, int]]:
    """Each unit of a normalised message as it is written, with its first character's index; no marks."""
    return [(match.group(), match.start()) for match in _UNITS.finditer(message)]


def join(units: Sequence[str]) -> str:
    """The message that `split` took apart. Stray marks at either end are ignored."""
    parts: list[str] = []
    previous: str | None = None
    flipped = False
    for unit in units:
        if unit == FLIP:
            flipped = True
            continue
        unit = unit.replace(_ESCAPED_LOWER_BLOCK, _LOWER_BLOCK)
        if previous is not None and default_gap(previous, unit) != flipped:
            parts.append(" ")
        parts.append(unit)
        previous, flipped = unit, False
    return "".join(parts)


def sentence_starts(units: Sequence[str]) -> list[bool]:
    """For each unit, and for one more after the last, whether a word there begins a sentence.

    It does when nothing stands before it, or a full stop, ! or ? (not "..."); quotes and brackets do not
    count.
    """
    starts = []
    state = True
    for unit in units:
        starts.append(state)
        if unit not in _TRANSPARENT:
            state = unit == "." or unit[0] in "!?"
    starts.append(state)
    return starts


def is_sentence_start(units: Sequence[str]) -> bool:
    """Whether a word after these units begins a sentence."""
    return sentence_starts(units)[-1]


def truecase(message: str, forms: Mapping[str, str]) -> str:
    """`truecase_units` for a whole normalised message."""
    return join(truecase_units(split(message), forms))


def truecase_units(units: Sequence[str], forms: Mapping[str, str]) -> list[str]:
    """The units of a message with the capitals that only its sentence starts explain taken back.

    `forms` maps a lower-case word to the form it mostly takes inside sentences (`{"london": "London", "the":
    "the", "i": "I"}`). A word at a sentence start that is capitalised only there becomes that form; "i" and
    its contractions become "I" anywhere. Words that `forms` does not know stay as typed.
    """
    cased = list(units)
    for index, (unit, starts) in enumerate(zip(units, sentence_starts(units)[:-1], strict=True)):
        if not (starts and unit[0].isupper()) and unit[0] != "i":
            continue
        lower = unit.lower()
        form = forms.get(lower)
        if form is None or not is_word(unit):
            continue
        is_first_person = unit == "i" or unit.startswith("i'")
        if is_first_person or (starts and unit in (capitalise(lower), capitalise(form))):
            cased[index] = form
    return cased


def capitalise(word: str) -> str:
    """The word with its first letter upper-case and the rest untouched ("iPhone" -> "IPhone")."""
    return word[:1].upper() + word[1:]


def split_context(context: str) -> tuple[list[str], str, bool]:
    """Takes apart the text before a word being typed.

    `context` holds earlier messages on lines of their own and the unfinished message on the last line.
    Returns the normalised earlier messages (empty ones dropped), the normalised unfinished message, and
    whether a gap stands before the caret.
    """
    *earlier, current = context.split("\n")
    messages = [message for line in earlier if (message := normalise(line))]
    return messages, normalise(current), current[-1:].isspace()


def caret_units(current: str, gap: bool) -> list[str]:
    """The units before a word about to be typed, ending in `FLIP` if the gap before the caret is not the
    default.

    Args: `current` is the normalised unfinished message; `gap` whether a space stands before the caret.
    """
    units = split(current)
    # Two words always have a gap between them: a caller who leaves it out means the next word all the same.
    if units and gap != default_gap(units[-1], "a") and (gap or not _WHOLE_WORD.fullmatch(units[-1])):
        units.append(FLIP)
    return units
