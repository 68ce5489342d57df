"""Going back into a text: are words shown that fit what stands on both sides, and can a wrong one be mended?

In: an engine and graded conversations. Out: sums for each author. Next stop: `fedkey.cli.eval`.

At every word of a graded message with `MIN_WORDS_BEHIND` words behind it the suggestions are looked at after
0, 1 and 2 letters, asked from the left alone, as while the message was typed, and with what stands behind the
word, as when its writer went back. Then, if the lexicon knows the word, a wrong one of each kind of
`fedkey.confusions` stands in its place and is tapped: is the right word among the three that are offered?
The rest of the message is exactly as it was written, and both ways answer at the same places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any, NamedTuple, Protocol

from fedkey.confusions import Confusions
from fedkey.conversations import GradedConversation
from fedkey.metrics import Latency, Recall, Sums, bootstrap, paired_bootstrap
from fedkey.simulate import NUM_SHOWN, Look, Shown, draws, recall_of
from fedkey.text import is_word, units_with_places

LETTERS = (0, 1, 2)
"""Numbers of typed letters after which the suggestions are looked at."""

MIN_WORDS_BEHIND = 2
"""With fewer words behind it is hardly inside a text, and hardly anything to go by."""

LATENCY_PERCENTILES = (50, 99)


class Gap(NamedTuple):
    """A word of a message, and what may stand in its place by mistake.

    Attributes:
        start: index of its first character.
        word: the word as it was written.
        slipped: a wrong word as `Confusions.slipped` draws it; None for none.
        likely: a wrong word as `Confusions.likely` draws it; None for none.
    """

    start: int
    word: str
    slipped: str | None = None
    likely: str | None = None


@dataclass(frozen=True)
class GappedMessage:
    """A message with the words that are looked at in it.

    Attributes:
        author: who wrote it.
        earlier: the messages before it, each with its line break.
        message: the message, normalised.
        gaps: at least one, in order.
    """

    author: str
    earlier: str
    message: str
    gaps: tuple[Gap, ...]


class ReadsBehind(Protocol):
    """What is asked: the engine, or what looks like it."""

    def suggest(self, context: str, typed: str, k: int = NUM_SHOWN, *, after: str = "") -> Shown:
        """The words most likely meant between `context` and `after` when `typed` stands already."""

    def replacements(self, context: str, word: str, after: str, k: int = NUM_SHOWN) -> Shown:
        """What could stand in place of `word`."""


@dataclass(frozen=True)
class Mended(Sums):
    """Wrong words that were tapped, and how often the right one was offered first, or among the three."""

    words: int = 0
    first: int = 0
    offered: int = 0


@dataclass(frozen=True)
class Answers(Sums):
    """What was shown, asked in one of the two ways."""

    after_0: Recall = Recall()
    after_1: Recall = Recall()
    after_2: Recall = Recall()
    slipped: Mended = Mended()
    likely: Mended = Mended()
    latency: Latency = Latency()
    """Of the suggestions."""
    latency_tapped: Latency = Latency()
    """Of what is offered for a word that is tapped."""

    def after(self, letters: int) -> Recall:
        """Recall after so many letters."""
        recall: Recall = getattr(self, f"after_{letters}")
        return recall


@dataclass(frozen=True)
class Gaps(Sums):
    """What was shown at the gaps, asked in both ways."""

    left: Answers = Answers()
    both: Answers = Answers()


KINDS_OF_WRONG = ("slipped", "likely")


def gapped_messages(
    conversations: Iterable[GradedConversation], confusions: Confusions | None = None, *, seed: int = 0
) -> Iterator[GappedMessage]:
    """The graded messages that have a gap.

    Args:
        conversations: texts.
        confusions: draws the wrong words; None leaves them out.
        seed: of the wrong words; those of a message depend on nothing else but its text and its place.
    """
    for conversation in conversations:
        for index, earlier, message in conversation.to_type():
            words = [(start, unit) for unit, start in units_with_places(message) if is_word(unit)]
            gaps = [Gap(start, word) for start, word in words[:-MIN_WORDS_BEHIND]]
            if confusions is not None:
                rng = draws(seed, index, message)
                gaps = [
                    gap._replace(
                        slipped=confusions.slipped(gap.word, rng),
                        likely=confusions.likely(message[: gap.start], gap.word, rng),
                    )
                    for gap in gaps
                ]
            if gaps:
                yield GappedMessage(conversation.author, earlier, message, tuple(gaps))


def grade_gaps(
    engine: ReadsBehind, messages: Iterable[GappedMessage], is_known: Callable[[str], bool]
) -> dict[str, Gaps]:
    """Asks at every gap; the sums of each author.

    Args:
        engine: what is asked.
        messages: with their gaps.
        is_known: whether the lexicon holds a word, in any case.
    """
    totals: dict[str, Gaps] = {}
    for message in messages:
        # One way through the whole message after the other: what the engine keeps of the text before is then
        # used again at the next word.
        left = _ask(engine, message, is_known, is_told_behind=False)
        found = Gaps(left, _ask(engine, message, is_known, is_told_behind=True))
        totals[message.author] = totals.get(message.author, Gaps()) + found
    return totals


class _Between:
    """The engine as a predictor that is always asked with the same text behind the caret."""

    def __init__(self, engine: ReadsBehind, after: str) -> None:
        self._engine = engine
        self._after = after

    def suggest(self, context: str, typed: str, k: int = NUM_SHOWN) -> Shown:
        return self._engine.suggest(context, typed, k, after=self._after)


def _ask(
    engine: ReadsBehind,
    message: GappedMessage,
    is_known: Callable[[str], bool],
    *,
    is_told_behind: bool,
) -> Answers:
    recalls = [Recall() for _ in LETTERS]
    mended = {kind: Mended() for kind in KINDS_OF_WRONG}
    milliseconds: list[float] = []
    tapped: list[float] = []
    for gap in message.gaps:
        context = message.earlier + message.message[: gap.start]
        after = message.message[gap.start + len(gap.word) :] if is_told_behind else ""
        known = is_known(gap.word)
        look = Look(_Between(engine, after), context, gap.word, milliseconds)
        for typed in LETTERS:
            if len(gap.word) > typed:
                recalls[typed] += recall_of(look, gap.word, typed, known)
        for kind in KINDS_OF_WRONG:
            wrong = getattr(gap, kind)
            if wrong is not None and known:
                offered = engine.replacements(context, wrong, after, NUM_SHOWN)
                mended[kind] += _mended([word.lower() for word in offered.words], gap.word.lower())
                tapped.append(offered.latency_ms)
    after_0, after_1, after_2 = recalls
    slipped, likely = (mended[kind] for kind in KINDS_OF_WRONG)
    latencies = Latency.of(milliseconds), Latency.of(tapped)
    return Answers(after_0, after_1, after_2, slipped, likely, *latencies)


def _mended(offered: Sequence[str], right: str) -> Mended:
    return Mended(1, int(offered[:1] == [right]), int(right in offered))


def gaps_summary(by_author: Mapping[str, Gaps]) -> dict[str, Any]:
    """The sums as plain numbers; the intervals are over authors. A gain of nothing is null."""
    own = list(by_author.values())
    total = reduce(add, own, Gaps())
    return {
        "authors": len(own),
        "words": total.left.after_0.positions,
        "recall": {str(letters): _recall(own, letters) for letters in LETTERS},
        "replacements": {kind: _replacements(own, kind) for kind in KINDS_OF_WRONG},
        "latency_ms": {
            "left": _latency(total.left.latency),
            "both": _latency(total.both.latency),
        },
        "latency_tapped_ms": {
            "left": _latency(total.left.latency_tapped),
            "both": _latency(total.both.latency_tapped),
        },
    }


Ratio = tuple[list[float], list[float]]
"""Numerators and denominators, one of each author."""


def _recall(own: Sequence[Gaps], letters: int) -> dict[str, Any]:
    left = recall_ratios([each.left.after(letters) for each in own])
    both = recall_ratios([each.both.after(letters) for each in own])
    total = reduce(add, (each.left.after(letters) for each in own), Recall())
    return {"words": total.positions, "known_words": total.known} | compared(left, both)


def _replacements(own: Sequence[Gaps], kind: str) -> dict[str, Any]:
    left = _mended_ratios([getattr(each.left, kind) for each in own])
    both = _mended_ratios([getattr(each.both, kind) for each in own])
    return {"words": int(sum(left["top_1"][1]))} | compared(left, both)


def recall_ratios(recalls: Sequence[Recall]) -> dict[str, Ratio]:
    """top-1, top-3 and mean reciprocal rank of each author's positions."""
    positions = [float(each.positions) for each in recalls]
    return {
        "top_1": ([float(each.hits_1) for each in recalls], positions),
        "top_3": ([float(each.hits_3) for each in recalls], positions),
        "mrr": ([each.reciprocal_rank for each in recalls], positions),
    }


def _mended_ratios(mended: Sequence[Mended]) -> dict[str, Ratio]:
    words = [float(each.words) for each in mended]
    return {
        "top_1": ([float(each.first) for each in mended], words),
        "top_3": ([float(each.offered) for each in mended], words),
    }


def compared(left: Mapping[str, Ratio], both: Mapping[str, Ratio]) -> dict[str, Any]:
    """Every ratio in both ways, and what the second gains over the first at the same authors."""
    return {
        "left": {name: intervals(ratio) for name, ratio in left.items()},
        "both": {name: intervals(ratio) for name, ratio in both.items()},
        "gain": {name: asdict(paired_bootstrap(both[name], left[name])) for name in left}
        if left["top_1"][0]
        else None,
    }


def intervals(ratio: Ratio) -> dict[str, float]:
    """A ratio with its interval; 0 of no authors."""
    numerators, denominators = ratio
    return asdict(bootstrap(numerators or [0.0], denominators or [0.0]))


def _latency(latency: Latency) -> dict[str, float]:
    return {
        "calls": latency.total,
        **{f"p{percent}": latency.percentile(percent) for percent in LATENCY_PERCENTILES},
    }
