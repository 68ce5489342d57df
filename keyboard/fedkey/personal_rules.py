"""What a personal memory may keep, and how it is written.

In: text before the caret, and words as they were typed. Out: the words before the caret, whether a word may
be remembered, which spelling it speaks for. Next stop: `fedkey.personal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from fedkey.text import PLACEHOLDERS, is_word, normalise, units_with_places

SENTENCE_START = ""
"""Stands where a sentence begins, in place of the word before."""

LONGEST_WORD = 64
"""Letters of a word that may be learned explicitly."""

LONGEST_TYPED_WORD = 32
"""Letters of a word that is learned by typing; what is longer is a key held down, or a secret."""

MOST_RISES = 2
"""Capitals after small letters in a word: LaTeX has two, McDonald one; more look like a password."""

READ_BACK = 256
"""Characters before the caret that are looked at for the words before it."""

LEXICON_VOTES = 2
"""What the lexicon's way to write a word is worth against its owner's."""

RESTORED_VOTES = 2
"""What a spelling is worth that was put back after a correction: twice outvotes the lexicon."""

MAX_VOTES = 16
"""More votes than this are halved, so that a new habit wins soon."""

_GLUE = frozenset("@/\\=_.:&%#+~0123456789").union(PLACEHOLDERS)
"""Characters that make one address, link or number of what stands on both sides of them."""


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

    Such words are not to be observed. What will follow a word is not known when it is finished: when an @
    comes right after one, its observation is to be undone.
    """
    tail = context[-READ_BACK:]
    return tail != "" and not tail[-1].isspace() and not _GLUE.isdisjoint(tail.split()[-1])


def is_learnable(word: str) -> bool:
    """Whether a typed word may be remembered: letters and inner apostrophes only, of a length that people
    type, not capitalised like a password."""
    return (
        is_word(word)
        and len(word) <= LONGEST_TYPED_WORD
        and not any(each == "_" or (each.isnumeric() and not each.isalpha()) for each in word)
        and sum(before.islower() and after.isupper() for before, after in pairwise(word)) <= MOST_RISES
    )


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
