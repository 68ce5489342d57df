"""What completions behind the caret are worth: how many are shown and right, and what taking them saves.

In: a predictor and graded conversations. Out: sums for each author. Next stop: `fedkey.cli.eval`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any, Protocol

from fedkey.conversations import GradedConversation
from fedkey.ghost import Ghost, ghost_for
from fedkey.metrics import Keystrokes, Sums, bootstrap
from fedkey.simulate import Typist
from fedkey.text import PLACEHOLDERS, is_word, units_with_places


class Suggesting(Protocol):
    """Whatever tells how likely its words are."""

    def suggest(self, context: str, typed: str) -> Any:
        """`Suggestions`, or what looks like them."""


@dataclass(frozen=True)
class Completions(Sums):
    """What was shown while words were typed to their ends by somebody who looks at every completion.

    Attributes:
        words: how many words were typed.
        shown: completions, each counted once however long it stood.
        right: those that were the word that was meant, in its case.
        vanished: those that went although the next letter was theirs.
        keys: of a typist who takes every right one as soon as it is shown, and nothing else.
    """

    words: int = 0
    shown: int = 0
    right: int = 0
    vanished: int = 0
    keys: Keystrokes = Keystrokes()


def grade_completions(
    predictor: Suggesting, conversations: Iterable[GradedConversation]
) -> dict[str, Completions]:
    """Types every word of the graded messages; the sums of each author."""
    totals: dict[str, Completions] = {}
    for conversation in conversations:
        for _, before, message in conversation.to_type():
            own = totals.get(conversation.author, Completions())
            totals[conversation.author] = own + _type_message(predictor, before, message)
    return totals


def _type_message(predictor: Suggesting, before: str, message: str) -> Completions:
    typist, sums, end = Typist(), Completions(), 0
    for unit, start in units_with_places(message):
        typist.gap(start - end)
        end = start + len(unit)
        if is_word(unit):
            taken_after, found = _type_word(predictor, before + message[:start], unit)
            typist.word(len(unit), taken_after)
            sums += found
        elif unit not in PLACEHOLDERS:
            typist.type(len(unit))
    return sums + Completions(keys=typist.keystrokes())


def _type_word(predictor: Suggesting, context: str, word: str) -> tuple[int | None, Completions]:
    """After how many letters its completion was shown first, if it was; and what was shown."""
    taken_after: int | None = None
    shown = right = vanished = 0
    ghost: Ghost | None = None
    for letters in range(1, len(word) + 1):
        typed = word[:letters]
        before, ghost = ghost, ghost_for(predictor.suggest(context, typed), context, typed, ghost)
        if ghost is None:
            vanished += before is not None and before.rest(context, typed) != ""
        elif before is None or before.word != ghost.word:
            shown += 1
            if ghost.word == word:
                right += 1
                taken_after = letters if taken_after is None else taken_after
    return taken_after, Completions(1, shown, right, vanished)


def completions_summary(by_author: Mapping[str, Completions]) -> dict[str, Any]:
    """The sums as plain numbers; the intervals are over authors."""
    own = list(by_author.values())
    total = reduce(add, own, Completions())
    return {
        "words": total.words,
        "shown": total.shown,
        "vanished": total.vanished,
        "shown_per_word": _share([each.shown for each in own], [each.words for each in own]),
        "right": _share([each.right for each in own], [each.shown for each in own]),
        "keys_saved": _share(
            [each.keys.characters - each.keys.pressed for each in own],
            [each.keys.characters for each in own],
        ),
    }


def _share(numerators: Sequence[int], denominators: Sequence[int]) -> dict[str, float]:
    return asdict(bootstrap(numerators, denominators)) if denominators else asdict(bootstrap([0], [0]))
