"""Spaces that slip, for a writer who presses the space bar too early or too late: are they put right?

In: a predictor and graded conversations. Out: sums for each author. Next stop: `fedkey.cli.eval`.

Of each graded message one pair of words with a space between them is typed with the space a letter too early,
a letter too late, or its first word with a space inside; and every pair as it stands. Both words are ended by
a space, which may correct them, before the space between them is judged. What stands before them is the text
as it was meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from fedkey.conversations import GradedConversation
from fedkey.metrics import Sums, bootstrap
from fedkey.simulate import draws
from fedkey.text import is_word, units_with_places

if TYPE_CHECKING:
    from fedkey.engine import Suggestions

KINDS = ("early", "late", "inside")


class Reconsidering(Protocol):
    """Whatever tells what a space makes of a word, and of two."""

    def suggest(self, context: str, typed: str) -> Suggestions:
        """The answer when `typed` stands after `context`."""

    def reconsidered(self, context: str, first: str, second: str, stands: str | None = None) -> str | None:
        """What was meant by two words, if the space between them slipped."""


@dataclass(frozen=True)
class Slipped(Sums):
    """What became of pairs whose space slipped. Case and apostrophes are ignored.

    Attributes:
        pairs: how many were typed.
        by_word: those that correcting each word for itself put right.
        repaired: those that are right in the end.
        wrong: those that were given another space, and are wrong.
    """

    pairs: int = 0
    by_word: int = 0
    repaired: int = 0
    wrong: int = 0


@dataclass(frozen=True)
class ByKind(Sums):
    """Pairs whose space slipped, by where it came."""

    early: Slipped = Slipped()
    late: Slipped = Slipped()
    inside: Slipped = Slipped()


@dataclass(frozen=True)
class SpaceSlips(Sums):
    """Everything measured.

    Attributes:
        by_kind: what slipped.
        right: pairs that were typed as they stand in the text.
        moved: those of them that were given another space.
    """

    by_kind: ByKind = ByKind()
    right: int = 0
    moved: int = 0

    @property
    def slipped(self) -> Slipped:
        """All pairs whose space slipped."""
        return self.by_kind.early + self.by_kind.late + self.by_kind.inside


class _Pair(NamedTuple):
    start: int
    first: str
    second: str


def grade_space_slips(
    predictor: Reconsidering, conversations: Iterable[GradedConversation], *, seed: int = 0
) -> dict[str, SpaceSlips]:
    """Types the pairs of the graded messages; the sums of each author. `seed` chooses what slips."""
    totals: dict[str, SpaceSlips] = {}
    for conversation in conversations:
        for index, before, message in conversation.to_type():
            own = totals.get(conversation.author, SpaceSlips())
            pairs = _pairs_of(message)
            for start, first, second in pairs:
                _, reconsidered = _type(predictor, before + message[:start], first, second)
                own += SpaceSlips(right=1, moved=int(reconsidered is not None))
            if pairs:
                own += _slip(predictor, before + message, pairs, len(before), draws(seed, index, message))
            totals[conversation.author] = own
    return totals


def _pairs_of(message: str) -> list[_Pair]:
    """Words of letters alone with one space between them."""
    return [
        _Pair(start, first, second)
        for (first, start), (second, place) in pairwise(units_with_places(message))
        if message[start + len(first) : place] == " " and all(map(_is_typed, (first, second)))
    ]


def _is_typed(unit: str) -> bool:
    return is_word(unit) and unit.replace("'", "").isalpha()


def _slip(
    predictor: Reconsidering, text: str, pairs: Sequence[_Pair], shift: int, rng: np.random.Generator
) -> SpaceSlips:
    start, first, second = pairs[int(rng.integers(len(pairs)))]
    kind = KINDS[int(rng.integers(len(KINDS)))]
    at = int(rng.integers(1, max(len(first), 2)))
    typed, meant = {
        "early": ((first[:-1], first[-1] + second), f"{first} {second}"),
        "late": ((first + second[0], second[1:]), f"{first} {second}"),
        "inside": ((first[:at], first[at:]), first),
    }[kind]
    if not all(typed) or not all(map(_is_typed, typed)):
        return SpaceSlips()
    stands, reconsidered = _type(predictor, text[: shift + start], *typed)
    is_right = _same(reconsidered or stands, meant)
    slipped = Slipped(
        pairs=1,
        by_word=int(_same(stands, meant)),
        repaired=int(is_right),
        wrong=int(reconsidered is not None and not is_right),
    )
    return SpaceSlips(ByKind(**{kind: slipped}))


def _type(predictor: Reconsidering, context: str, first: str, second: str) -> tuple[str, str | None]:
    """What stands once both words were ended, and what is put in its place."""
    put = predictor.suggest(context, first).autocorrect or first
    stands = f"{put} {predictor.suggest(f'{context}{put} ', second).autocorrect or second}"
    return stands, predictor.reconsidered(context, first, second, stands)


def _same(one: str, other: str) -> bool:
    return one.lower().replace("'", "") == other.lower().replace("'", "")


def space_slips_summary(by_author: Mapping[str, SpaceSlips]) -> dict[str, Any]:
    """The sums as plain numbers; the intervals are over authors."""
    own = list(by_author.values())
    total = reduce(add, own, SpaceSlips())
    return {
        "pairs": total.slipped.pairs,
        "right": total.right,
        "by_kind": {kind: asdict(getattr(total.by_kind, kind)) for kind in KINDS},
        "by_word": _share([each.slipped.by_word for each in own], [each.slipped.pairs for each in own]),
        "repaired": _share([each.slipped.repaired for each in own], [each.slipped.pairs for each in own]),
        "wrong": _share([each.slipped.wrong for each in own], [each.slipped.pairs for each in own]),
        "moved": _share([each.moved for each in own], [each.right for each in own]),
    }


def _share(numerators: Sequence[int], denominators: Sequence[int]) -> dict[str, float]:
    return asdict(bootstrap(numerators or [0], denominators or [0]))
