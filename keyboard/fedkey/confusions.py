"""Wrong words that a person may find in what they wrote: a slip that made another word, or another thought.

In: a word, the text before it, a lexicon and the n-grams of a text. Out: a plausible wrong word, drawn. Next
stop: `fedkey.gaps`, which puts it into a message and asks for the right one.

Two kinds are drawn, because keyboards are wrong in two ways:

- *Slipped*: one slip of the finger, or a pair that people confuse (their, there), and the lexicon knows what
  came of it, so that no space corrected it. Slips are drawn as `fedkey.typos` draws them, given that a usual
  word comes of it.
- *Likely*: a word of about the same frequency that the words before make likely, as when a wrong suggestion
  was taken, or the writer thought of something else. It is drawn from counts of pairs of words, not by the
  model: whatever the model itself thought of first would by that alone be wrong, and a list ranked from the
  left would be robbed of just the words it begins with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from fedkey.casing import like_typed
from fedkey.layout import QWERTY, Layout
from fedkey.lexicon import OFFENSIVE, Lexicon
from fedkey.ngram import Counts, Vocabulary, probabilities
from fedkey.personal_rules import words_before
from fedkey.typos import DOUBLING, INSERTION, KINDS, MIN_LETTERS, OMISSION, SUBSTITUTION, TRANSPOSITION

PAIR_ORDER = 2
"""Words of the n-grams that likely words are drawn by."""

NUM_USUAL = 20_000
"""Only so many of the most frequent words are put in by mistake: rarer ones look like mistakes themselves."""

NUM_LIKELY = 10
"""A likely word is one of so many that the word before makes likeliest, among those as frequent."""

NEAR_RANKS = 20
"""As frequent as the word of rank r are those of ranks r / 2 to 2 r and so many more: twice and half as
frequent, by Zipf's law, and for the most frequent words some neighbours at least."""

CONFUSED = (
    "their there they're", "your you're", "its it's", "to too two", "then than", "of off have", "lose loose",
    "were where we're", "whose who's", "affect effect", "accept except", "quite quiet", "whether weather",
    "here hear", "no know", "by buy", "right write", "week weak", "past passed", "our are", "a an",
    "this these", "is are", "was were", "has have", "good well", "in on at", "through though thought",
    "threw through", "breath breathe", "choose chose", "lead led", "later latter", "well we'll", "ill i'll",
    "wont won't", "cant can't", "lets let's", "piece peace", "break brake", "wait weight", "new knew",
    "one won", "would wood", "hole whole", "me my",
)  # fmt: skip
"""Words that sound alike, differ in an apostrophe, or are told apart by grammar alone; any of a set may stand
for any other of it."""


class Confusions:
    """Draws wrong words for right ones."""

    def __init__(self, lexicon: Lexicon, pairs: Counts, layout: Layout = QWERTY) -> None:
        """`pairs` were counted with a `Vocabulary` of this lexicon, `PAIR_ORDER` words long."""
        self._lexicon = lexicon
        self._layout = layout
        self._pairs = pairs
        self._vocabulary = Vocabulary(lexicon)
        self._keys = list(self._vocabulary.numbers)
        frequency = np.full(len(self._keys), -np.inf)
        np.maximum.at(frequency, self._vocabulary.of_surface, np.asarray(lexicon.log_prob, dtype=np.float64))
        is_offensive = np.zeros(len(self._keys), dtype=np.bool_)
        flagged = (np.asarray(lexicon.flags) & OFFENSIVE) != 0
        is_offensive[self._vocabulary.of_surface[flagged]] = True
        frequency[is_offensive] = -np.inf
        by_rank = np.argsort(-frequency, kind="stable")
        self._by_rank = by_rank[: len(by_rank) - int(is_offensive.sum())]
        self._rank = {self._keys[number]: rank for rank, number in enumerate(self._by_rank.tolist())}

    def slipped(self, word: str, rng: np.random.Generator) -> str | None:
        """Another usual word that one slip or a usual confusion makes of `word`, in its capitals; None if
        there is none. Where there are both, either is as likely."""
        key = word.lower()
        kinds = [self._usual(each, key) for each in (slips_of(key, self._layout), _confused_with(key))]
        weights: dict[str, float] = {}
        for kind in kinds:
            for other, weight in kind.items():
                weights[other] = weights.get(other, 0.0) + weight / sum(kind.values())
        return self._drawn(weights, word, rng)

    def likely(self, context: str, word: str, rng: np.random.Generator) -> str | None:
        """Another word about as frequent as `word` that `context` makes likely, in its capitals; None if the
        lexicon does not know `word`, or flags it."""
        rank = self._rank.get(word.lower())
        if rank is None:
            return self._drawn({}, word, rng)
        near = self._by_rank[rank // 2 : 2 * rank + NEAR_RANKS]
        before = [self._vocabulary.number(each) for each in words_before(context, 1)]
        chances = probabilities(self._pairs, before)[near]
        # Of equals the more frequent come first, as they stand.
        first = np.argsort(-chances, kind="stable")[: NUM_LIKELY + 1].tolist()
        weights = {self._keys[int(near[place])]: float(chances[place]) for place in first}
        weights.pop(word.lower(), None)
        return self._drawn(dict(list(weights.items())[:NUM_LIKELY]), word, rng)

    def _usual(self, weights: Mapping[str, float], key: str) -> dict[str, float]:
        return {
            other: weight
            for other, weight in weights.items()
            if other != key and self._rank.get(other, NUM_USUAL) < NUM_USUAL
        }

    def _drawn(self, weights: Mapping[str, float], word: str, rng: np.random.Generator) -> str | None:
        chance = rng.random()  # in any case, so that a word's draw depends on no word before it
        if not weights:
            return None
        reached: npt.NDArray[np.float64] = np.cumsum(list(weights.values()))
        place = int(np.searchsorted(reached, chance * reached[-1], side="right"))
        other = list(weights)[min(place, len(weights) - 1)]
        return like_typed(self._lexicon.forms[other], word[:1], starts_sentence=False)


def slips_of(word: str, layout: Layout = QWERTY) -> dict[str, float]:
    """Everything that one slip of `fedkey.typos.mistype` makes of a word in lower case, and how often."""
    weights: dict[str, float] = {}
    if len(word) >= MIN_LETTERS:
        for typed, weight in _slips(word, layout):
            weights[typed] = weights.get(typed, 0.0) + weight
    weights.pop(word, None)
    return weights


def _slips(word: str, layout: Layout) -> Iterator[tuple[str, float]]:
    length = len(word)
    for at, letter in enumerate(word):
        before, behind = word[:at], word[at + 1 :]
        yield before + behind, KINDS[OMISSION] / length
        yield before + letter + letter + behind, KINDS[DOUBLING] / length
        if at + 1 < length:
            yield before + word[at + 1] + letter + word[at + 2 :], KINDS[TRANSPOSITION] / (length - 1)
        key = layout.key_for(letter)
        if key is None or key.name not in layout.letters:
            continue
        around = [other.typed for other in layout.neighbours(key.name) if other.name in layout.letters]
        for other in around:
            share = 1 / (length * len(around))
            yield before + other + behind, KINDS[SUBSTITUTION] * share
            yield before + other + letter + behind, KINDS[INSERTION] * share / 2
            yield before + letter + other + behind, KINDS[INSERTION] * share / 2


def _confused_with(word: str) -> dict[str, float]:
    sets = (each.split() for each in CONFUSED)
    return {other: 1.0 for members in sets if word in members for other in members if other != word}
