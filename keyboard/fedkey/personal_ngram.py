"""The mathematics of a personal memory: an adaptive n-gram, and how far to believe it.

In: how often words came, at all and after other words. Out: the probability of a word by its owner's habits,
and the weight of that opinion beside the model's. Next stop: `fedkey.personal`.

Level 0 is how often a word came at all, level 1 how often after the word before it, level 2 after the two
words before it. With f_n(w) the share of w among all that came at level n, the mix is

    p_n(w) = (1 - t_n) p_{n-1}(w) + t_n f_n(w),    p_{-1} = the model,

where the trust t_n depends on the level and on how much text stands behind the share. It is linear in the
model's probability: p = (1 - weight) p_model + weight p_personal.

Trust is learned on-line. Each word is one step of incremental expectation maximisation (Neal and Hinton 1998)
for mixture weights: for each level reached it counts how likely it was that this level, and not one below it,
produced the word.

Counts halve every `HALF_LIFE` words. A count c after t words is kept as its *strength* log2(c) + t /
HALF_LIFE: decay then changes no row, and the weakest row stays the weakest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.personal_store import Follower

Floats = npt.NDArray[np.float64]

HALF_LIFE = 5000.0
"""Words. On 62,772 words of 72 unseen chat authors 500 to 50,000 differ by 0.01 bits a word; 5,000 is a week
or two of a busy writer."""

AMOUNT_EDGES = ((16.0, 256.0), (4.0, 16.0), (4.0, 16.0))
"""By level: the counts that tell little text behind a share from some, and some from much."""

FIRST_TRUST = ((0.005, 0.025, 0.06), (0.035, 0.036, 0.08), (0.052, 0.065, 0.08))
"""By level and amount: half of what trust came to on those authors beside a model of a million parameters.
The shipped one knows n-grams of many phones and what the conversation said. The first hundred messages of 10
validation authors, who write to strangers, 2026-11-29: without a memory 57.08 % of the keys are saved, with
these 57.03, with a quarter of what it was 57.07, with all 56.94."""

FIRST_EVIDENCE = 50.0
"""Words that `FIRST_TRUST` is worth; 5 to 300 differ by 0.006 bits a word."""

MAX_EVIDENCE = 500.0
"""Words after which trust forgets as fast as it learns."""

NEVER = -math.inf
"""The strength of what never came."""


class Level(NamedTuple):
    """One level in one place.

    Attributes:
        level: 0, 1 or 2.
        amount: 0, 1 or 2, for little, some or much text behind it.
        used: how many words this level produced, of those for which it was reached.
        unused: how many it did not.
        total: the strength of all that came here.
        context: the numbers of the words before, (second, first).
        followers: what came after them; not listed at level 0.
    """

    level: int
    amount: int
    used: float
    unused: float
    total: float
    context: tuple[int, int]
    followers: Sequence[Follower]

    @property
    def trust(self) -> float:
        """t_n."""
        return self.used / (self.used + self.unused)


class Predictions(NamedTuple):
    """The owner's habits in one place.

    Attributes:
        weight: the share of the mix that belongs to them; 0 where nothing is known.
        probs: surface form -> probability by habit alone. Sums to at most 1: not all words are listed.
    """

    weight: float
    probs: Mapping[str, float]


def strength_now(words_seen: int) -> float:
    """The strength of what came once, just now."""
    return words_seen / HALF_LIFE


def strength_sum(first: float, second: float) -> float:
    """The strength of two counts together; either may be `NEVER`."""
    high, low = max(first, second), min(first, second)
    return high if low == NEVER else high + math.log2(1.0 + 2.0 ** (low - high))


def strength_total(strengths: Sequence[float]) -> float:
    """The strength of many counts together."""
    high = max(strengths, default=NEVER)
    return high if high == NEVER else high + math.log2(math.fsum(2.0 ** (each - high) for each in strengths))


def strength_less(whole: float, part: float) -> float:
    """The strength of what is left of a count. Something always is: rounding must not leave nothing."""
    # A part may be far more than what there is of a word that fades and is pinned.
    return whole + math.log2(max(1.0 - 2.0 ** min(part - whole, 0.0), 2.0**-52))


def new_level(
    level: int,
    total: float,
    context: tuple[int, int],
    followers: Sequence[Follower],
    trusts: Mapping[tuple[int, int], tuple[float, float]],
    now: float,
) -> Level:
    """A level with the trust that its amount of text has earned so far.

    Args:
        level, total, context, followers: as in `Level`.
        trusts: (level, amount) -> (used, unused), where anything was learned.
        now: `strength_now`.
    """
    count = 2.0 ** (total - now)
    amount = sum(count >= edge for edge in AMOUNT_EDGES[level])
    first = FIRST_TRUST[level][amount]
    used, unused = trusts.get((level, amount), (FIRST_EVIDENCE * first, FIRST_EVIDENCE * (1.0 - first)))
    return Level(level, amount, used, unused, total, context, followers)


def portions(levels: Sequence[Level]) -> list[float]:
    """The share of the mix that each level has, lowest first, as the levels come. They sum to the weight."""
    shares, left = [], 1.0
    for level in reversed(levels):
        shares.append(left * level.trust)
        left *= 1.0 - level.trust
    return shares[::-1]


def share(level: Level, number: int, strength: float) -> float:
    """f_n of the word with this number and, over all, this strength."""
    if level.level > 0:
        strength = next((each.strength for each in level.followers if each.number == number), NEVER)
    return float(2.0 ** (strength - level.total))


def learned_trust(
    levels: Sequence[Level], shares: Sequence[float], model_log_prob: float
) -> dict[tuple[int, int], tuple[float, float]]:
    """(level, amount) -> (used, unused) after one more word.

    Args:
        levels: lowest first.
        shares: f_n of the word that came.
        model_log_prob: natural log of the model's probability of it.
    """
    prob = math.exp(min(model_log_prob, 0.0))
    produced = []
    for level, part in zip(levels, shares, strict=True):
        prob = (1.0 - level.trust) * prob + level.trust * part
        produced.append(level.trust * part / prob if prob > 0 else 0.0)
    learned: dict[tuple[int, int], tuple[float, float]] = {}
    if prob == 0:
        return learned  # a word that nobody expected does not tell whom to believe
    reached = 1.0
    for level, by_it in zip(reversed(levels), reversed(produced), strict=True):
        used, unused = level.used + reached * by_it, level.unused + reached * (1.0 - by_it)
        scale = min(1.0, MAX_EVIDENCE / (used + unused))
        learned[level.level, level.amount] = used * scale, unused * scale
        reached *= 1.0 - by_it
    return learned


def habits(levels: Sequence[Level], frequent: Sequence[tuple[str, float]], prefix: str) -> Predictions:
    """The probabilities of the words that came here before and of the most frequent others.

    Args:
        levels: lowest first, level 0 among them; or none at all.
        frequent: surfaces and strengths of known words.
        prefix: lower-case letters that a word must begin with.
    """
    parts = portions(levels)
    weight = sum(parts)
    if not weight:
        return Predictions(0.0, {})
    base, whole = parts[0] / weight, levels[0].total
    probs = {surface: base * 2.0 ** (strength - whole) for surface, strength in frequent}
    for level, part in zip(levels[1:], parts[1:], strict=True):
        scale, total = part / weight, level.total
        for _, key, surface, is_known, word_strength, strength in level.followers:
            if is_known and key.startswith(prefix):
                prob = probs.get(surface)
                if prob is None:
                    prob = base * 2.0 ** (word_strength - whole)
                probs[surface] = prob + scale * 2.0 ** (strength - total)
    return Predictions(weight, probs)


def habit_log_probs(levels: Sequence[Level], strengths: Mapping[str, float], keys: Sequence[str]) -> Floats:
    """Natural log of the probability of each lower-case word; -inf for what is not known.

    Args:
        levels: as in `habits`.
        strengths: of those among the words that are known.
        keys: the words.
    """
    parts = portions(levels)
    weight = sum(parts)
    if not weight:
        return np.full(len(keys), -np.inf)
    probs = {key: parts[0] * 2.0 ** (strength - levels[0].total) for key, strength in strengths.items()}
    for level, part in zip(levels[1:], parts[1:], strict=True):
        for each in level.followers:
            if each.key in probs:
                probs[each.key] += part * 2.0 ** (each.strength - level.total)
    with np.errstate(divide="ignore"):
        logs: Floats = np.log(np.array([probs.get(key, 0.0) for key in keys]) / weight)
    return logs
