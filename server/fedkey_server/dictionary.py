"""Words that are right, though the lexicon has no room for them.

In: the lexicon and what is known of words. Out: `dictionary.txt`, by which a keyboard knows what not to
correct. Next stop: `fedkey_server.tokenizer`; `fedkey.dictionary` is what becomes of them.
"""

from __future__ import annotations

from collections.abc import Container
from functools import cache
from pathlib import Path

from fedkey.errors import UserError
from fedkey_server import british
from fedkey_server.names import names
from fedkey_server.vocabulary import PUBLIC_FORMS, PublicLists

DICTIONARY = "dictionary.txt"

MIN_LETTERS = 5
"""Of a list's words. Shorter ones are what slips hit (hern, gree, wite). With words of four letters as well
0.3 of 100 misspellings less are mended, and no right word of 1,500 of validation authors is harmed less."""

MIN_SHARE = 1.05e-8
"""wordfreq's least share of running words; half of what is listed is rarer. At 1e-8 it was 644
words more, for which a phone's bundle has no room beside British spellings."""


def right_words(lexicon: Container[str], language: str) -> list[str]:
    """Right words and names beyond a lexicon, in lower case and alphabetical order.

    Forms with 's are left out, since a keyboard knows them by their stem.

    Args:
        lexicon: the words that are in it, in lower case.
        language: of the public lists.

    Raises:
        UserError: there is no public list for the language.
    """
    right = (
        word for word in _candidates(language) if word in _british(language) or not _is_slip(word, language)
    )
    return sorted(word for word in right if word not in lexicon)


# What follows from the lists alone is found once a process: 7 seconds, and a second preparation takes none.


@cache
def _candidates(language: str) -> frozenset[str]:
    """Words and names that lists know and that are not too short or too rare."""
    lists = PublicLists.open(language)
    short = PUBLIC_FORMS.keys() | british.IRREGULAR
    return frozenset(
        word
        for word in lists.listed | _british(language) | {name.lower() for name in names()}
        if (len(word) >= MIN_LETTERS or word in short)
        and not word.endswith("'s")
        and lists.frequency.get(word, 0.0) >= MIN_SHARE
    )


@cache
def _british(language: str) -> frozenset[str]:
    """British spellings, which are near American ones and no slips of them."""
    lists = PublicLists.open(language)
    if language != "en":
        return frozenset()
    found = british.regular(lists.frequency, lists.listed)
    return british.IRREGULAR | {word for word in found if word.isascii() and word.isalpha()}


@cache
def _is_slip(word: str, language: str) -> bool:
    lists = PublicLists.open(language)
    return lists.is_slip(word, lists.frequency)


def write(words: list[str], path: Path) -> None:
    """Writes `dictionary.txt`: one word a line."""
    path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")


def read(path: Path) -> list[str]:
    """Reads what `write` wrote; `UserError` if it is missing or no such text."""
    try:
        return path.read_text(encoding="utf-8").split()
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}; prepare the data again.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the dictionary {path}; prepare the data again.") from error
