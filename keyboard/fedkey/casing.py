"""How a word is written: as the lexicon has it, at the height that the writer chose.

In: a lexicon form and what was typed of it. Out: the word as it would be inserted. Next stop:
`fedkey.engine`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedkey.text import capitalise

SURE_OF_CAPITALS = 0.75
"""The share of a spelling among those of a word that is sure enough to be put. Of 148 capitals of validation
authors, with a bundle of 2026-11-29, 45 % are put at 0.7 and 40 % at 0.95, on 0.4 % of the small words either
way. Corrections have a threshold of their own, which is fitted with their other numbers and says nothing of
this."""


def like_typed(word: str, typed: str, *, starts_sentence: bool, goes_on_shouting: bool = False) -> str:
    """Gives `word` the capitals of the letters typed so far ("Hel" -> "Hello", "HEL" -> "HELLO", "lon" ->
    "London", "Wrld" -> "World").

    Capitals the writer typed are kept, and those of the lexicon ("I'm", "iPhone") are added. Two or more
    letters, all of them capitals, ask for the whole word in capitals; behind a shout one does, or none. Of a
    word that was mistyped only the first letter's capital is kept: the others may not be where they were
    meant. At a sentence start the word begins with a capital only while nothing is typed: whoever typed a
    small letter there meant it.

    Args:
        word: a surface form of the lexicon, or two with a space between them.
        typed: the normalised letters, perhaps none.
        starts_sentence: whether the word begins a sentence.
        goes_on_shouting: whether the words before it are all in capitals.
    """
    if goes_on_shouting and typed == typed.upper():
        return word.upper()
    if not typed:
        return capitalise(word) if starts_sentence else word
    cased = [letter for letter in typed if letter.isupper() or letter.islower()]
    is_shouted = len(cased) >= 2 and all(map(str.isupper, cased))
    if not word.lower().startswith(typed.lower()):
        return word.upper() if is_shouted else capitalise(word) if typed[0].isupper() else word
    if is_shouted:
        return typed + word[len(typed) :].upper()
    shown = "".join(
        mine if mine.isupper() else theirs for mine, theirs in zip(typed, word[: len(typed)], strict=False)
    )
    return shown + word[len(typed) :]


def surely_meant(typed: str, spellings: Sequence[str], log_probs: Sequence[float]) -> str | None:
    """The spelling that a word typed in small letters is meant to have, if that is sure and another one
    (turkey -> "Turkey" after "flew to", and None after "we eat").

    Args:
        typed: the word in small letters.
        spellings: the ways to write it.
        log_probs: natural logs of the probability of each where it stands.
    """
    probs = [math.exp(each) for each in log_probs]
    likeliest = max(probs)
    best = spellings[probs.index(likeliest)]
    return best if best != typed and likeliest > SURE_OF_CAPITALS * sum(probs) else None
