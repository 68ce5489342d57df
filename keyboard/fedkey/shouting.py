"""What of a message is shouted: words in capitals that are neither names nor abbreviations.

In: the units of a message. Out: the same with what is shouted in small letters. Next stop: `fedkey.context`.

To a model words in capitals are rare pieces that say little of what follows, and a corrector takes them for
abbreviations. So a shout is read in small letters, and answered in capitals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fedkey.corrections import LEFT_OUT, SHORT_FORMS
from fedkey.text import is_word

NUM_LETTERS = 3
"""Letters of words mostly written small that make a shout: two words of two, or a longer one."""

_ABBREVIATIONS = frozenset("id it pm us".split()) | SHORT_FORMS
"""What capitals say something else of, or nothing."""


def hush(units: Sequence[str], forms: Mapping[str, str]) -> tuple[list[str], bool]:
    """The units with each shout as it is mostly written, and whether a word behind them goes on with one.

    A shout is two words or more, all in capitals, some of them mostly written small: I LOVE NEW YORK, but
    neither the BBC nor OMG LOL. Signs between words do not end it.

    Args:
        units: of one message, as typed.
        forms: the form that a word in lower case mostly takes inside sentences.
    """
    quiet, goes_on = list(units), False
    for run, is_last in _in_capitals(units):
        small = [units[at] for at in run if _is_mostly_small(units[at].lower(), forms)]
        if len(run) > 1 and sum(map(len, small)) >= NUM_LETTERS:
            for at in run:
                quiet[at] = forms.get(units[at].lower(), units[at].lower())
            goes_on = is_last
    return quiet, goes_on


def _in_capitals(units: Sequence[str]) -> Iterator[tuple[list[int], bool]]:
    """The places of words in capitals, as far as no other word is between them, and whether none follows."""
    run: list[int] = []
    for at, unit in enumerate(units):
        if not is_word(unit):
            continue
        if unit.isupper():
            run.append(at)
        elif run:
            yield run, False
            run = []
    if run:
        yield run, True


def _is_mostly_small(lower: str, forms: Mapping[str, str]) -> bool:
    if lower in _ABBREVIATIONS:
        return False
    return forms.get(lower) == lower or LEFT_OUT.fullmatch(lower) is not None
