"""How likely words are in this conversation: people take up each other's words, and their own.

In: the text before the caret, earlier messages included, and how likely words are wherever its last words
stand. Out: how likely they are here. Next stop: `fedkey.decoder`, which mixes it with the model's opinion.

The model reads the last hundred pieces, and is too small to learn a title or a turn of phrase from hearing it
once; counting does. What was said fades: a word counts 2^(-a / `HALF_LIFE`) where a words and ends of
sentences have followed it. With c(w) the counts of a word, each of them times min(1, `RARE` / f(w)), since
the most frequent words (f in the lexicon) come again in any case, none of the very last word, and c(v, w)
those of a word right behind the last one, v,

    p1(w) = (1 - s) p(w) + s c(w) / sum of c,            s = `WORDS_SHARE` min(1, sum of c / `ENOUGH`),
    p2(w) = (1 - t) p1(w) + t c(v, w) / sum of c(v, .),  t = `PAIRS_SHARE` n / (n + 1), n = sum of c(v, .).

So the more often the last word was said before, the more what followed it counts (Kuhn and De Mori 1990 have
such a cache of words, Jelinek et al. 1991 one of pairs). Of words that the lexicon lacks, p and f are 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.lexicon import Lexicon
from fedkey.mixture import NO_SHARES, Shares
from fedkey.personal_rules import is_learnable
from fedkey.text import PLACEHOLDERS, is_word, normalise, units_with_places

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

HALF_LIFE = 100.0
"""Words and ends of sentences. On 4,015 words of validation authors, the bundle that ships, 2026-11-27, an
ideal typist saves 55.8 % of the keys, and as many with 50 or 200 here; 55.3 % without this module."""

RARE = 2e-4
"""Words less frequent than this count in full. If all did, the typist would save 55.7 %."""

WORDS_SHARE, ENOUGH = 0.15, 5.0

PAIRS_SHARE = 0.5
"""Of the prior, which is a fifth of a word's worth: so 24.9 % of the next words are first and 40.2 % among
three; 24.5 and 39.2 if no pairs count, and 55.6 % of the keys are saved."""

CHARACTERS_BACK, ENTRIES_BACK = 3000, 400
"""Characters that are read, and words and ends of sentences of them that count; what was said longer ago
would count for less than a sixteenth."""

MESSAGES_KEPT, TOKENS_KEPT = 256, 2048
"""The messages and words that were read last need not be read anew."""

NEW, MASKED, START = -1, -2, -3
"""In place of a word's number: what the lexicon lacks; what is nobody's word, as a link or a password; where
a sentence begins."""


class _Text(NamedTuple):
    """What stands in a text, in order."""

    numbers: tuple[int, ...]
    """Of words in the lexicon, in the way in which they are mostly written, and the above."""
    new: tuple[tuple[int, str], ...]
    """Where a new word stands among them, and how it is written."""


def _joined(texts: Iterable[_Text]) -> _Text:
    numbers: list[int] = []
    new: list[tuple[int, str]] = []
    for text in texts:
        new += [(len(numbers) + place, word) for place, word in text.new]
        numbers += text.numbers
    return _Text(tuple(numbers), tuple(new))


class Counts(NamedTuple):
    """What words count together, and their share of the mixture.

    Attributes:
        words: int64 [N], as in `_Text.numbers`, the same ones perhaps more than once.
        counts: float64 [N].
        share: from 0 to below 1; 0 if nothing counts.
        total: the sum of the counts.
    """

    words: Integers
    counts: Doubles
    share: float
    total: float

    def mixed(self, probs: Floats) -> Floats:
        """`share` of all to the words as their counts have it, the rest as it was."""
        if self.share <= 0:
            return probs
        left: Floats = probs * np.float32(1 - self.share)
        is_known = self.words >= 0
        shares = self.share / self.total * self.counts[is_known]
        np.add.at(left, self.words[is_known], shares.astype(np.float32))
        return left

    def shares(self) -> Shares:
        """Each word's share of what counts; none if nothing does."""
        if self.share <= 0:
            return NO_SHARES
        is_known = self.words >= 0
        words, places = np.unique(self.words[is_known], return_inverse=True)
        counts = np.bincount(places, self.counts[is_known], minlength=len(words))
        return Shares(words, (counts / self.total).astype(np.float32))


class Said(NamedTuple):
    """What was said before a caret, nearest last.

    Attributes:
        numbers: int64 [S].
        fading: float64 [S], what each counts for its age.
        new: where a new word was said, and how it was written.
    """

    numbers: Integers
    fading: Doubles
    new: list[tuple[int, str]]
    words: Counts
    followers: Counts
    num_words_here: int
    """Words of the message being typed."""

    def mixed(self, usual: Floats) -> Floats:
        """The probability of each word of the lexicon, [W], from those without the conversation; not to be
        changed."""
        return self.followers.mixed(self.words.mixed(usual))


class Conversation:
    """The words of a conversation as a prior of the next one."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        usual = np.exp(np.asarray(lexicon.log_prob, dtype=np.float64))
        self._worth: Doubles = np.append(np.minimum(1.0, RARE / usual), 1.0)
        """[W + 1] what each word counts; the last, which is number -1, is `NEW`."""
        self._fading: Doubles = 0.5 ** (np.arange(ENTRIES_BACK)[::-1] / HALF_LIFE)
        # Contexts differ by a word. 250 words are counted in 0.1 ms if they need not be read, too.
        self._message = lru_cache(MESSAGES_KEPT)(self._read)
        self._token = lru_cache(TOKENS_KEPT)(self._units)
        self._said = lru_cache(maxsize=2)(self._count)

    def probs(self, context: str, usual: Floats) -> Floats:
        """The probability of each word of the lexicon, [W]; not to be changed.

        Args:
            context: everything before the word being typed, earlier messages on lines of their own.
            usual: float32 [W], the words' probabilities without the conversation.
        """
        return self.said(context).mixed(usual)

    def said(self, context: str) -> Said:
        """What was said before a caret; `context` as for `probs`."""
        return self._said(context)

    def new_words(self, context: str, letters: str) -> dict[str, float]:
        """The words said that the lexicon lacks and that begin with `letters`, in whatever case, as they were
        written last: the log probability of each. The very last word is none of them."""
        said, key = self._said(context), letters.lower()
        as_word = (1 - said.followers.share) * said.words.share
        probs: dict[str, float] = {}
        written: dict[str, str] = {}
        for place, surface in said.new:
            word = surface.lower()
            if not word.startswith(key) or place + 1 == len(said.numbers):
                continue
            prob = as_word * float(said.fading[place]) / said.words.total
            if said.followers.share and place and said.numbers[place - 1] == said.numbers[-1]:
                prob += said.followers.share * float(said.fading[place]) / said.followers.total
            written[word] = surface
            probs[word] = probs.get(word, 0.0) + prob
        return {written[word]: math.log(prob) for word, prob in probs.items()}

    def _count(self, context: str) -> Said:
        numbers, new, num_here = self._words_before(context)
        fading = self._fading[len(self._fading) - len(numbers) :]
        # The last word hardly ever comes twice: it was among three suggestions at 35 of 7,057 places of
        # validation authors, and right at one (bye), which n-grams know.
        places = np.flatnonzero(numbers[:-1] >= NEW)
        counts = fading[places] * self._worth[numbers[places]]
        total = float(counts.sum())
        words = Counts(numbers[places], counts, WORDS_SHARE * min(1.0, total / ENOUGH), total)
        places = np.zeros(0, dtype=np.int64)
        if len(numbers) and numbers[-1] >= 0:
            places = np.flatnonzero(numbers[:-1] == numbers[-1]) + 1
            places = places[numbers[places] >= NEW]
        counts = fading[places]
        total = float(counts.sum())
        followers = Counts(numbers[places], counts, PAIRS_SHARE * total / (total + 1), total)
        return Said(numbers, fading, new, words, followers, num_here)

    def _words_before(self, context: str) -> tuple[Integers, list[tuple[int, str]], int]:
        """The words before the caret and where their sentences began, which are new, and how many are of the
        message being typed."""
        recent = context[-CHARACTERS_BACK:]
        if len(recent) < len(context):
            recent = recent.lstrip().partition(" ")[2]  # not half a word
        *earlier, last = recent.split("\n")
        here = _joined(map(self._token, last.split()))
        text = _joined([*map(self._message, earlier), here])
        dropped = max(0, len(text.numbers) - ENTRIES_BACK)
        kept = [(place - dropped, word) for place, word in text.new if place >= dropped]
        num_here = len(here.numbers) - here.numbers.count(START)
        return np.array(text.numbers[dropped:], dtype=np.int64), kept, num_here

    def _read(self, message: str) -> _Text:
        """What a message holds, and its end."""
        return _joined([*map(self._token, message.split()), _Text((START,), ())])

    def _units(self, token: str) -> _Text:
        """What stands between two spaces."""
        numbers: list[int] = []
        new: list[tuple[int, str]] = []
        for unit, _ in units_with_places(normalise(token)):
            if is_word(unit):
                form = self._lexicon.forms.get(unit.lower())
                number = None if form is None else self._lexicon.find(form)
                if number is None:
                    number = NEW if is_learnable(unit) else MASKED
                    new += [(len(numbers), unit)] * (number == NEW)
                numbers.append(number)
            elif unit in PLACEHOLDERS:
                numbers.append(MASKED)
            elif unit == "." or unit[0] in "!?":
                numbers.append(START)
        return _Text(tuple(numbers), tuple(new))
