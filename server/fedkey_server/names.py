"""Names of people the world over, which lists of English words lack or have in small letters.

In: nothing. Out: names as they are written. Next stop: `fedkey_server.vocabulary`, which asks what is a name,
and `fedkey_server.dictionary`, which asks what is right.

They are `faker`'s (MIT), which knows first and last names of some ninety languages and countries; those of
Latin letters are taken.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Collection, Iterator
from functools import cache
from importlib import import_module

MIN_LETTERS = 4
"""Shorter names are words as well (Ye, Om, Sue)."""

NO_NAMES = frozenset(
    "amor arent azul blanco cabo cant chai cumming español esta forza garda guiseppe jame katana liber "
    "loos macarena mahal para prat prem rojo sayin schon telly theres tins unis yada".split()
)
"""Of faker's, what is seldom anybody's name in English text."""

_LAST_LATIN = "\u024f"


@cache
def names() -> frozenset[str]:
    """First and last names as they are written."""
    return frozenset(
        name
        for name in _all()
        if len(name) >= MIN_LETTERS
        and name.isalpha()
        and name == name.capitalize()
        and max(name) <= _LAST_LATIN
        and name.lower() not in NO_NAMES
    )


def _all() -> Iterator[str]:
    from faker.providers import person

    for module in pkgutil.iter_modules(person.__path__):
        provider = import_module(f"{person.__name__}.{module.name}").Provider
        for attribute in dir(provider):
            # first_names, first_names_female, last_names, ...; some are what is made of others, at a call.
            listed = getattr(provider, attribute)
            if attribute.startswith(("first_names", "last_names")) and isinstance(listed, Collection):
                yield from listed
