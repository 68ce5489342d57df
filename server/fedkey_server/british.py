"""British spellings: right words of English that an American list does not have.

In: what is known of a language's words. Out: those that are regular British spellings of listed ones, and
some irregular ones. Next stop: `fedkey_server.dictionary`.

Of the -ise forms of 343 words in -ize of the lexicon of 2026-11-29 a space made 242 American; with these in
the dictionary 13, most of which are spelt so nowhere (resised, capsised).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

IRREGULAR = frozenset(
    """arse arsed arses bairn bairns dreamt draughts draughty dreich earnt furore gaol ginnel kerb kerbs
    kerbside leant manoeuvrable manoeuvring naff nowt owt sceptic sceptical scepticism sceptics scunnered
    shite skint smelt wotcha""".split()
)
"""Words that no rule below makes of a listed one."""

_RULES = tuple(
    (re.compile(british), american)
    for british, american in (
        (r"(?<=\w\w\w)is(?=(?:e|ed|es|er|ers|ing|ingly|edly|able|ation|ations|ational)\Z)", "iz"),
        (r"(?<=l)ys(?=(?:e|ed|es|er|ers|ing)\Z)", "yz"),
        (r"(?<=\w[^aeiou])our(?!ous|ar[iy])", "or"),
        (r"(?<=\w\w[^aeiou])re(?=s?\Z)", "er"),
        (r"(?<=\w\w\w)ll(?=(?:ed|ing|er|ers|ery|or|ors|ist|ists|en|ens)\Z)", "l"),
        (r"ae(?=\w\w\w)", "e"),
        (r"oe(?=\w\w\w\w)", "e"),
        (r"(?<=m)ou(?=l[dt])", "o"),
    )
)

LEAST_RATIO = 0.02
"""How frequent a British spelling is at least, beside the American one; rarer, it is a misspelling that looks
like one (enourmous)."""

_MISSPELT = frozenset("flourescence flourescent flouride flourine michaelangelo".split())
"""What the rules make of listed words all the same."""


def regular(frequency: Mapping[str, float], listed: Collection[str]) -> Iterator[str]:
    """The words that are regular British spellings of listed ones.

    Args:
        frequency: the share of each word, in lower case, among running words.
        listed: words that are right.
    """
    for word, share in frequency.items():
        if (
            word not in listed
            and word not in _MISSPELT
            and any(
                each in listed and share >= LEAST_RATIO * frequency.get(each, 0.0) for each in _american(word)
            )
        ):
            yield word


def _american(word: str) -> Iterator[str]:
    """What the word is where a rule fits it."""
    for british, american in _RULES:
        made = british.sub(american, word)
        if made != word:
            yield made
