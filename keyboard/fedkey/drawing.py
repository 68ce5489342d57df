"""A simulated writer who draws words, and whether the keyboard recognises them.

In: a bundle's engine, and words or conversations. Out: sums by word or by author, and plain numbers of them.
Next stop: `fedkey.cli.eval`.

Every word is drawn in full and looked at once; case is ignored. Words that lie on one key are not drawn but
tapped, and not counted. Offensive words, and words the lexicon lacks, are drawn and counted, and cannot be
right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fedkey.conversations import GradedConversation
from fedkey.fingers import Finger, key_path, on_cells
from fedkey.layout import ROW_HEIGHT, Layout
from fedkey.lexicon import Lexicon
from fedkey.metrics import Interval, Latency, Sums, bootstrap
from fedkey.simulate import NUM_SHOWN, draws
from fedkey.text import is_word, units_with_places

if TYPE_CHECKING:
    from fedkey.engine import Engine

NUM_FREQUENT = 5000
"""Words that are drawn without a text, unless a number is given."""


@dataclass(frozen=True)
class Hand:
    """A finger, and what it draws on.

    Attributes:
        finger: how it draws.
        cell: width and height of what a place is rounded to, in key widths; None for a touch screen.
    """

    finger: Finger = Finger()
    cell: tuple[float, float] | None = None

    def draw(self, layout: Layout, word: str, rng: np.random.Generator) -> npt.NDArray[np.float64] | None:
        """The points reported, [P, 2]; None for a word that is not drawn."""
        path = self.finger.sample(layout, word, rng)
        return path if path is None or self.cell is None else on_cells(path, *self.cell)


USUAL = "as thumbs do"
HANDS: Mapping[str, Hand] = {
    USUAL: Hand(),
    "scattered x1.5": Hand(Finger(sigma=1.5 * Finger().sigma)),
    "corners cut": Hand(Finger(haste=0.001)),
    "80-column terminal": Hand(cell=(1 / 6, ROW_HEIGHT / 3)),
    "40-column terminal": Hand(cell=(1 / 4, ROW_HEIGHT)),
}
"""Who draws, and on what. In a terminal of 80 columns a key has six cells by three, in one of 40 four by
one."""


@dataclass(frozen=True)
class Recognised(Sums):
    """Words that were drawn, and whether the one that was meant came first or among the three shown."""

    words: int = 0
    hits_1: int = 0
    hits_3: int = 0


@dataclass(frozen=True)
class Drawings(Sums):
    """All that is measured, by how many letters a word has."""

    up_to_3: Recognised = Recognised()
    up_to_5: Recognised = Recognised()
    up_to_7: Recognised = Recognised()
    longer: Recognised = Recognised()
    latency: Latency = Latency()

    @property
    def total(self) -> Recognised:
        """Words of any length."""
        return self.up_to_3 + self.up_to_5 + self.up_to_7 + self.longer


LENGTHS: Mapping[str, str] = {
    "up_to_3": "2 and 3",
    "up_to_5": "4 and 5",
    "up_to_7": "6 and 7",
    "longer": "8 and more",
}
"""Fields of `Drawings`, and the numbers of letters that they are of."""


def frequent_words(lexicon: Lexicon, layout: Layout, num_words: int = NUM_FREQUENT) -> list[str]:
    """The most frequent words of a lexicon that are drawn, whatever their case, the most frequent first."""
    words: dict[str, None] = {}
    for index in np.argsort(-np.asarray(lexicon.log_prob), kind="stable").tolist():
        letters = lexicon.key(index)
        path = key_path(layout, letters)
        if path is not None and len(path) > 1:
            words.setdefault(letters)
            if len(words) == num_words:
                break
    return list(words)


def grade_words(engine: Engine, words: Iterable[str], hand: Hand, *, seed: int = 0) -> dict[str, Drawings]:
    """Draws each word at the start of a message, nothing before it."""
    return {word: _draw(engine, "", word, hand, draws(seed, 0, word)) for word in words}


def grade_messages(
    engine: Engine, conversations: Iterable[GradedConversation], hand: Hand, *, seed: int = 0
) -> dict[str, Drawings]:
    """Draws every word of the graded messages, what stands before it being as it was meant; the sums of each
    author."""
    totals: dict[str, Drawings] = {}
    for conversation in conversations:
        for index, before, message in conversation.to_type():
            rng = draws(seed, index, message)
            own = totals.get(conversation.author, Drawings())
            for unit, start in units_with_places(message):
                if is_word(unit):
                    own += _draw(engine, before + message[:start], unit, hand, rng)
            totals[conversation.author] = own
    return totals


def _draw(engine: Engine, context: str, word: str, hand: Hand, rng: np.random.Generator) -> Drawings:
    path = hand.draw(engine.layout, word, rng)
    if path is None:
        return Drawings()
    answer = engine.trace(context, path, NUM_SHOWN)
    shown = [each.lower() for each in answer.words]
    meant = word.lower()
    recognised = Recognised(1, int(shown[:1] == [meant]), int(meant in shown))
    length = next(
        (name for name, most in (("up_to_3", 3), ("up_to_5", 5), ("up_to_7", 7)) if len(word) <= most),
        "longer",
    )
    return Drawings(**{length: recognised}, latency=Latency.of([answer.latency_ms]))


def drawings_summary(by_key: Mapping[str, Drawings]) -> dict[str, Any]:
    """Sums by word or by author as plain numbers; the intervals are over words or over authors."""
    own = list(by_key.values())
    latency = reduce(add, own, Drawings()).latency
    return {
        **_recognised([each.total for each in own]),
        "by_letters": {name: _recognised([getattr(each, name) for each in own]) for name in LENGTHS},
        "latency_ms": {f"p{percent}": latency.percentile(percent) for percent in (50, 90, 99)},
    }


def _recognised(own: Sequence[Recognised]) -> dict[str, Any]:
    words = [each.words for each in own]
    found: dict[str, Any] = {"words": sum(words)}
    for name in ("hits_1", "hits_3"):
        hits = [getattr(each, name) for each in own]
        found[f"top_{name[-1]}"] = asdict(bootstrap(hits, words) if own else Interval(0.0, 0.0, 0.0))
    return found
