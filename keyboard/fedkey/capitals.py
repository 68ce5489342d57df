"""Capitals for a writer who never types any: does a space put those that stand in the text?

In: a predictor and graded conversations. Out: sums for each author. Next stop: `fedkey.cli.eval`.

Every word inside a sentence is typed to its end in small letters and ended by a space. What stands before it
is the text as it really stands, capitals included. Words that begin a sentence are left out, since their
capital says nothing of the word, and so is the first person, which is always written large.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Protocol

from fedkey.conversations import GradedConversation
from fedkey.metrics import Sums, bootstrap
from fedkey.text import is_word, sentence_starts, units_with_places

if TYPE_CHECKING:
    from fedkey.engine import Suggestions

FIRST_PERSON = frozenset(("i", "i'm", "i'll", "i'd", "i've"))

MIN_LETTERS = 2


class Correcting(Protocol):
    """Whatever tells what a space makes of a word."""

    def suggest(self, context: str, typed: str) -> Suggestions:
        """The answer when `typed` stands after `context`."""


@dataclass(frozen=True)
class Capitals(Sums):
    """What a space made of words typed in small letters.

    A word that a space changes beyond its case became another word: it counts in none of the last three.

    Attributes:
        words: how many words were typed.
        capitals: those that the text writes with a capital letter somewhere.
        put: of these, those that became exactly as in the text.
        otherwise: of these, those whose case was changed, but to another than in the text.
        raised: words that the text writes small, and that got a capital.
    """

    words: int = 0
    capitals: int = 0
    put: int = 0
    otherwise: int = 0
    raised: int = 0


def grade_capitals(predictor: Correcting, conversations: Iterable[GradedConversation]) -> dict[str, Capitals]:
    """Types the words inside the sentences of the graded messages; the sums of each author."""
    totals: dict[str, Capitals] = {}
    for conversation in conversations:
        for _, before, message in conversation.to_type():
            own = totals.get(conversation.author, Capitals())
            for word, start in _words_inside(message):
                own += _type_word(predictor, before + message[:start], word)
            totals[conversation.author] = own
    return totals


def _words_inside(message: str) -> Iterator[tuple[str, int]]:
    """The words that are typed, each with its first character's index."""
    places = units_with_places(message)
    starts = sentence_starts([unit for unit, _ in places])[:-1]
    for (unit, start), begins_sentence in zip(places, starts, strict=True):
        if not begins_sentence and _is_graded(unit):
            yield unit, start


def _is_graded(unit: str) -> bool:
    letters = unit.replace("'", "")
    return (
        is_word(unit)
        and letters.isalpha()
        and len(letters) >= MIN_LETTERS
        and unit.lower() not in FIRST_PERSON
    )


def _type_word(predictor: Correcting, context: str, word: str) -> Capitals:
    typed = word.lower()
    left = predictor.suggest(context, typed).autocorrect or typed
    is_recased = left != typed and left.lower() == typed
    has_capitals = word != typed
    return Capitals(
        words=1,
        capitals=int(has_capitals),
        put=int(has_capitals and left == word),
        otherwise=int(has_capitals and is_recased and left != word),
        raised=int(not has_capitals and is_recased),
    )


def capitals_summary(by_author: Mapping[str, Capitals]) -> dict[str, Any]:
    """The sums as plain numbers; the intervals are over authors."""
    own = list(by_author.values())
    total = reduce(add, own, Capitals())
    capitals = [each.capitals for each in own]
    return {
        "words": total.words,
        "capitals": total.capitals,
        "put": _share([each.put for each in own], capitals),
        "otherwise": _share([each.otherwise for each in own], capitals),
        "raised": _share([each.raised for each in own], [each.words - each.capitals for each in own]),
    }


def _share(numerators: Sequence[int], denominators: Sequence[int]) -> dict[str, float]:
    return asdict(bootstrap(numerators or [0], denominators or [0]))
