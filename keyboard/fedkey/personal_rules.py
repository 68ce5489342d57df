"""What a personal memory may keep, and how it is written.

In: text before the caret, and words as they were typed. Out: the words before the caret, whether a word may
be remembered, which spelling it speaks for; a message without what may be a secret. Next stop:
`fedkey.personal`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from fedkey.text import NUMBER, PLACEHOLDERS, is_word, normalise, units_with_places

SENTENCE_START = ""
"""Stands where a sentence begins, in place of the word before."""

LONGEST_WORD = 64
"""Letters of a word that may be learned explicitly."""

LONGEST_TYPED_WORD = 32
"""Letters of a word that is learned by typing; what is longer is a key held down, or a secret."""

MOST_RISES = 2
"""Capitals after small letters in a word: LaTeX has two, McDonald one; more look like a password, and so does
one behind a hyphen (sk-abcDEFghijk)."""

SECRET_LETTERS = 4
"""Letters of a secret that must not be trained on, as four digits are a number that must not: 4th, cs224 and
the 1990s are none."""

READ_BACK = 256
"""Characters before the caret that are looked at for the words before it."""

LEXICON_VOTES = 2
"""What the lexicon's way to write a word is worth against its owner's."""

RESTORED_VOTES = 2
"""What a spelling is worth that was put back after a correction: twice outvotes the lexicon."""

MAX_VOTES = 16
"""More votes than this are halved, so that a new habit wins soon."""

MIN_LETTERS_FOR_EDIT = 3
"""With fewer letters, one mistyped letter makes nearly any word of any."""

_GLUE = frozenset("@/\\=_.:&%#+~0123456789").union(PLACEHOLDERS)
"""Characters that make one address, link or number of what stands on both sides of them."""

_PATH = frozenset("@/\\=").union(PLACEHOLDERS)
_SECRET = re.compile(
    r"""(?<![^\W_])
    (?:(?P<telling>pass(?:words?|codes?|phrases?|wd)|pwd?|pin|otp) | pass | code | key)
    (?:\s+(?:for|to|of|on|at|in)(?:\s+\S+){1,3}?)?
    (?:\s*(?P<sign>[:=])(?![-'()\[\]\\/|*]) | (?:['\u2019]s|\s+(?:is|was|are))(?![^\W_])\s*[:=]?)
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What announces a secret: the password for the wifi is, pw:, the code is. Not what ends in an emoticon."""

_SENTENCE_END = re.compile(r"[.!?]+\s")
_PAUSE = re.compile(r"(?:\.{2,}|[,;!?\u2026])\Z")
"""Behind it a word begins, though the space was forgotten (wait...what, at 5,then); but not in a path."""


def words_before(context: str, count: int = 2) -> tuple[str, ...]:
    """The last words before the caret, nearest last, in lower case.

    `SENTENCE_START` stands for what would be before a sentence; other punctuation is passed over.

    Args:
        context: the text before the word being typed, as `Engine.suggest` takes it.
        count: words at most.
    """
    before = [SENTENCE_START]
    for unit, _ in units_with_places(normalise(context.rpartition("\n")[2][-READ_BACK:])):
        if is_word(unit) or unit in PLACEHOLDERS:
            before.append(unit.lower())
        elif unit == "." or unit[0] in "!?":
            before = [SENTENCE_START]
    return tuple(before[-count:])


def is_inside_address(context: str) -> bool:
    """Whether a word after `context` is glued to what may be a mail address, a link or a number.

    Such words are not to be observed. What will follow a word is not known when it is finished, see
    `makes_address`.
    """
    tail = context[-READ_BACK:]
    if tail == "" or tail[-1].isspace():
        return False
    chunk = tail.split()[-1]
    if _PAUSE.search(chunk) and _PATH.isdisjoint(chunk):
        return False
    return not _GLUE.isdisjoint(chunk)


def makes_address(behind: str) -> bool:
    """Whether what was written right behind a word makes it the beginning of a mail address (joe@), a link
    (example.org) or a number (b12): its observation is to be undone then.

    A slash does not: who writes and/or means two words.
    """
    first, second = behind[:1], behind[1:2]
    return first == "@" or first.isnumeric() or first in PLACEHOLDERS or (first == "." and second.isalpha())


def is_announced(context: str) -> bool:
    """Whether what is written after `context` was announced as a secret on the same line.

    Behind a password, a PIN and their like, and behind any colon, everything is one up to the sentence's end,
    since many passwords are phrases; behind "the key is" only what stands there until the next space, since
    it may be to relax. Of 126,704 words of validation authors one is lost by that.
    """
    line = context.rpartition("\n")[2][-READ_BACK:]
    *_, sentence = _SENTENCE_END.split(line)
    found = _SECRET.search(sentence)
    while found is not None:
        said = sentence[found.end() :].lstrip()
        if found["telling"] or found["sign"] or not any(map(str.isspace, said)):
            return True
        found = _SECRET.search(sentence, found.start() + 1)  # inside, too: "key for password is"
    return False


def may_teach(context: str, word: str, behind: str = "") -> bool:
    """Whether a word may be observed where it stands: not as a part of an address, a link or a number, nor of
    what may be a secret.

    Args:
        context: the text before it.
        word: the word, which must be `is_learnable`, too, unless its owner taught it.
        behind: what is written right behind it, as far as that is known.
    """
    return not (
        is_inside_address(context)
        or makes_address(behind)
        or (context.endswith("-") and _num_rises(word) > 0)
        or is_announced(context)
    )


def is_learnable(word: str) -> bool:
    """Whether a typed word may be remembered: letters and inner apostrophes only, of a length that people
    type, not capitalised like a password."""
    return (
        is_word(word)
        and len(word) <= LONGEST_TYPED_WORD
        and not any(each == "_" or (each.isnumeric() and not each.isalpha()) for each in word)
        and _num_rises(word) <= MOST_RISES
    )


def _num_rises(word: str) -> int:
    return sum(before.islower() and after.isupper() for before, after in pairwise(word))


def without_secrets(message: str) -> str:
    """A normalised message as it may be trained on: a number's placeholder stands for what was announced as a
    secret, and for all between two spaces that has a word which the memory refuses.

    Of 126,704 words of validation authors 69 go so, most of them with a slash between them.
    """
    kept, start = [], 0
    for chunk in message.split(" "):
        words = [(unit, at) for unit, at in units_with_places(chunk) if is_word(unit)]
        is_secret = any(is_announced(message[: start + at]) for at in (0, *(at for _, at in words))) or (
            sum(map(str.isalpha, chunk)) >= SECRET_LETTERS
            and not all(
                is_learnable(word) and may_teach(message[: start + at], word, chunk[at + len(word) :])
                for word, at in words
            )
        )
        ending = chunk[len(chunk.rstrip(".!?")) :]
        kept.append(NUMBER + ending if is_secret else chunk)
        start += len(chunk) + 1
    return " ".join(kept)


def is_meant(typed: str, put: str) -> bool:
    """Whether letters are a word when what was put in their place is taken back: not if they were only the
    beginning of it."""
    letters, word = normalise(typed), normalise(put)
    is_recased = word != letters and word.lower() == letters.lower()
    return is_recased or not word.lower().startswith(letters.lower())


def is_teachable(word: str) -> bool:
    """Whether a word may be learned explicitly. Digits may: whoever teaches a word means it."""
    return is_word(word) and len(word) <= LONGEST_WORD and normalise(word) == word


def spelling_shown(word: str, lexicon_form: str | None, *, starts_sentence: bool) -> str | None:
    """The spelling that a typed word is evidence of, if it is: not the capital of a sentence's start, nor
    all capitals where the lexicon has others, which is shouting."""
    is_capitalised = word[0].isupper() and word[1:] == word[1:].lower()
    is_shouted = lexicon_form is not None and len(word) > 1 and word.isupper() and word != lexicon_form
    return None if (starts_sentence and is_capitalised) or is_shouted else word


def with_vote(votes: Mapping[str, int], spelling: str) -> dict[str, int]:
    """The votes with one more; old ones fade, and a spelling whose votes are gone is left out."""
    after = {**votes, spelling: votes.get(spelling, 0) + 1}
    if sum(after.values()) > MAX_VOTES:
        after = {each: count // 2 for each, count in after.items() if count > 1}
    return after


def elected(votes: Mapping[str, int], *, current: str, newest: str | None, lexicon_form: str | None) -> str:
    """The spelling with the most votes; a tie goes to the lexicon's, then to the newest, then to the
    current."""

    def rank(spelling: str) -> tuple[int, bool, bool, bool, str]:
        is_lexicon = spelling == lexicon_form
        count = votes.get(spelling, 0) + LEXICON_VOTES * is_lexicon
        return count, is_lexicon, spelling == newest, spelling == current, spelling

    return max([current, *votes] if lexicon_form is None else [current, *votes, lexicon_form], key=rank)


def num_edits(typed: str, word: str) -> int | None:
    """0 if `word` begins with `typed`; 1 if it would with one letter of `typed` left out, put in, replaced or
    swapped with the next; None otherwise."""
    same = next(
        (place for place, (one, other) in enumerate(zip(typed, word, strict=False)) if one != other),
        min(len(typed), len(word)),
    )
    rest, wanted = typed[same:], word[same:]
    if not rest:
        return 0
    is_near = (
        wanted.startswith(rest[1:])
        or wanted[1:].startswith(rest[1:])
        or wanted[1:].startswith(rest)
        or (len(rest) > 1 and wanted.startswith(rest[1] + rest[0] + rest[2:]))
    )
    return 1 if is_near else None


class NearWords:
    """Words among which those that one mistyped letter may have begun are soon found.

    They are sorted by their first and second letter, their second and third, their first and third: whatever
    letter of those typed is wrong, two others lie under one of the three. Of `Owner.habits`, shipped bundle,
    196 keys, 3,000 and 10,000 words of the owner's own, 2026-11-29, the 90th percentile is 9.0 and 30 ms of
    CPU if every key reads and compares all words, and 1.1 and 2.0 ms so; of no such word 0.2 ms.
    """

    def __init__(self) -> None:
        self.words: set[str] = set()
        self._beginning: tuple[dict[str, set[str]], ...] = ({}, {}, {})

    def add(self, word: str) -> None:
        """Puts in a lower-case word."""
        self.words.add(word)
        for words, letters in zip(self._beginning, _pairs(word), strict=True):
            words.setdefault(letters, set()).add(word)

    def remove(self, word: str) -> None:
        """Takes a word out that is there."""
        self.words.remove(word)
        for words, letters in zip(self._beginning, _pairs(word), strict=True):
            words[letters].remove(word)
            if not words[letters]:
                del words[letters]

    def mistyped(self, typed: str) -> list[str]:
        """The words that would begin with some lower-case letters if one of these were not wrong, see
        `num_edits`, in no order; none for fewer than `MIN_LETTERS_FOR_EDIT`."""
        if len(typed) < MIN_LETTERS_FOR_EDIT:
            return []
        one, two, three = typed[0], typed[1], typed[2]
        by_first_two, by_last_two, by_outer_two = self._beginning
        near: set[str] = set()
        # The wrong letter is a later one, or the first or second is swapped, one too many, another, missing.
        for letters in (one + two, two + one, two + three, one + three):
            near |= by_first_two.get(letters, set())
        near |= by_last_two.get(two + three, set()) | by_last_two.get(one + two, set())
        near |= by_outer_two.get(one + three, set()) | by_outer_two.get(one + two, set())
        return [word for word in near if num_edits(typed, word) == 1]


def _pairs(word: str) -> tuple[str, str, str]:
    return word[:2], word[1:3], word[:1] + word[2:3]
