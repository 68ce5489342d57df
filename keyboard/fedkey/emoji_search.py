"""Emoji by what they are called, for whoever looks for one.

In: the beginnings of some words. Out: the emoji that have such words in what people say where they use them,
in their names, or among their keywords; the likelier meant first. Next stop: `fedkey.ui.emoji_picker`.

`fedkey.emoji` is choosy because it is not asked; here somebody asks, and whatever may be meant is found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from fedkey.emoji import emoji_of_sayings, emoji_terms, spoken

MANY = 60
"""Emoji that a search finds at most: nobody reads further, and another letter is sooner typed."""


class NamedEmoji(NamedTuple):
    """An emoji and what it is called."""

    emoji: str
    name: str


def named(emoji: Sequence[str]) -> list[NamedEmoji]:
    """Emoji with their names; those that have none are left out."""
    names = {entry.named.emoji: entry.named for entry in _entries()}
    return [names[each] for each in emoji if each in names]


def search(query: str, *, k: int = MANY) -> list[NamedEmoji]:
    """The emoji that are meant, best first; without a query, those of `SAYINGS` and then all others.

    Args:
        query: the beginnings of one or more words, all of which must fit; or an emoji, for its name.
        k: emoji at most.
    """
    wanted = _words(query)
    if not wanted and query.strip():
        return named([query.strip()])[:k]
    phrase = " ".join(wanted)
    found = [
        (cost, number, entry.named)
        for number, entry in enumerate(_entries())
        if (cost := entry.cost(wanted, phrase)) is not None
    ]
    return [each for *_, each in sorted(found)][:k]


class _Entry(NamedTuple):
    """What an emoji may be looked for under. Words stand between spaces: `in` is all the search there is."""

    named: NamedEmoji
    phrases: Mapping[str, int]
    """What people say where they use it, and whether it is the first or a later choice there."""
    name: str
    keywords: str

    def cost(self, wanted: Sequence[str], phrase: str) -> int | None:
        """How far it is from what is wanted; None if some of that does not fit at all."""
        if not wanted:
            return 0
        if phrase in self.phrases:
            return self.phrases[phrase] - _LAST
        total = 0
        for word in wanted:
            if f" {word}" in self.name:
                # Of names that have it, the one that has little else.
                total += (0 if f" {word} " in self.name else _LAST) + min(len(self.name), _LAST - 1)
            elif f" {word}" in self.keywords:
                total += 2 * _LAST
            else:
                return None
        return total


_LAST = 64
"""Longer than most names, and more than a phrase has emoji."""


@cache
def _entries() -> tuple[_Entry, ...]:
    # Those of `SAYINGS` come first.
    phrases: dict[str, dict[str, int]] = {}
    for phrase, choices in emoji_of_sayings().items():
        for rank, emoji in enumerate(choices):
            phrases.setdefault(emoji, {})[" ".join(_words(phrase))] = rank
    terms = emoji_terms()
    entries = []
    for emoji in dict.fromkeys((*phrases, *terms)):
        underscored, *keywords = terms[emoji]
        name = spoken(underscored)
        said = phrases.get(emoji, {})
        entries.append(_Entry(NamedEmoji(emoji, name), said, _spaced([name]), _spaced([*keywords, *said])))
    return tuple(entries)


def _spaced(terms: Sequence[str]) -> str:
    return f" {' '.join(word for term in terms for word in _words(term))} "


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold().replace("'", ""))
