"""A classic n-gram keyboard, the peer that the model has to beat.

In: a lexicon and messages to count. Out: suggestions in the engine's form. Next stop: `fedkey.simulate`.

The words are the lexicon's in lower case; all others are one class, which may stand before a word and is
never suggested. Their probability is Kneser and Ney's, interpolated (Chen and Goodman 1998, section 3). With
h the words before, h' the same without the first of them, and D the discount of the length,

    p(w | h) = (c(h w) - D) / c(h .)  +  D * N(h .) / c(h .) * p(w | h'),

where the first part is 0 for a w that never came after h, N(h .) is how many different words came after h,
and c(h .) the sum of their counts. After an h that never came, p(w | h) = p(w | h'). Below single words all
are equally likely. At the longest length c counts how often the n-gram came; below, before how many different
words it came, for that is what it is asked for: contexts nobody has seen. Nothing stands before an n-gram
that begins a sentence, so those keep how often they came. D = n1 / (n1 + 2 n2), where n1 n-grams of the
length have a count of one and n2 of two.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedkey.baseline import PeerSuggestions, answer
from fedkey.candidates import CandidateFinder
from fedkey.lexicon import Lexicon
from fedkey.personal_rules import SENTENCE_START, words_before
from fedkey.text import is_word, units_with_places

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ORDER = 3
"""Words of the longest n-gram, the predicted one included; `words_before` finds no more than two others."""

DISCOUNT_WITHOUT_SINGLES = 0.5
"""If no n-gram has a count of one, the estimate is 0 and would leave nothing to words that did not come."""

CONTEXTS_KEPT = 16
"""Contexts whose probabilities are kept, at 8 bytes a word: all letters typed in one place share them."""


class Vocabulary:
    """The lexicon's words in lower case, numbered from 0, then two numbers more.

    Attributes:
        numbers: lower-case word -> its number.
        unknown: the number of all other words.
        start: the number of what stands before a sentence; nothing predicts it.
        of_surface: int64 [W], the number of each surface form of the lexicon.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        keys = [lexicon.key(index) for index in range(len(lexicon))]
        self.numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self.of_surface: Integers = np.array([self.numbers[key] for key in keys], dtype=np.int64)
        self.unknown = len(self.numbers)
        self.start = self.unknown + 1

    def number(self, word: str) -> int:
        """Of a word in lower case, or of `SENTENCE_START`."""
        return self.start if word == SENTENCE_START else self.numbers.get(word, self.unknown)


@dataclass(frozen=True)
class Grams:
    """All n-grams of one length, those with the same words before beside one another.

    Attributes:
        contexts: int64 [C], the words before as one number, ascending; 0 where there are none.
        starts: int64 [C + 1]; context i owns the n-grams `starts[i]:starts[i + 1]`.
        words: int64 [N], the last word of each, ascending within a context.
        counts: int64 [N], c in the module's formula.
        discount: D, from 0 to 1.
    """

    contexts: Integers
    starts: Integers
    words: Integers
    counts: Integers
    discount: float


@dataclass(frozen=True)
class Counts:
    """What a text has taught.

    Attributes:
        num_words: V + 1, the words that can come next; the last is the unknown one.
        by_length: n-grams of one word, of two, and so on.
    """

    num_words: int
    by_length: tuple[Grams, ...]


def count(messages: Iterable[str], vocabulary: Vocabulary, order: int = ORDER) -> Counts:
    """Counts the n-grams of normalised messages: 15 s for a million words.

    Every word is counted after what `words_before` finds in the text before it, as it will be asked for.

    Args:
        messages: taken one at a time and not kept.
        vocabulary: of the lexicon that will be asked.
        order: words of the longest n-gram, 1 to `ORDER`.
    """
    if not 1 <= order <= ORDER:
        raise ValueError(f"order must be 1 to {ORDER}, not {order}")
    events = array("q")
    for message in messages:
        for unit, place in units_with_places(message):
            if is_word(unit):
                before = [vocabulary.number(word) for word in words_before(message[:place])]
                # Only the sentence start may stand before a first word; a second one fills its row.
                events.extend((vocabulary.start, *before)[-2:])
                events.append(vocabulary.number(unit.lower()))
    rows: Integers = np.array(events, dtype=np.int64).reshape(-1, ORDER)
    base = vocabulary.start + 1
    by_length = (_grams(rows, length, order, base, vocabulary.start) for length in range(1, order + 1))
    return Counts(vocabulary.unknown + 1, tuple(by_length))


def _grams(rows: Integers, length: int, order: int, base: int, start: int) -> Grams:
    """The n-grams of one length. `rows` [E, 3] are words with the two before them."""
    if length == order:
        grams, counts = np.unique(_packed(_reaching(rows, length, start), base, length), return_counts=True)
    else:
        longer = np.unique(_packed(_reaching(rows, length + 1, start), base, length + 1))
        inner, different = np.unique(longer % base**length, return_counts=True)
        at_start = rows[_reach(rows, start) == length]
        outer, often = np.unique(_packed(at_start, base, length), return_counts=True)
        grams, counts = np.concatenate((inner, outer)), np.concatenate((different, often))
        ascending = np.argsort(grams)
        grams, counts = grams[ascending], counts[ascending]
    contexts, starts = np.unique(grams // base, return_index=True)
    ones, twos = int((counts == 1).sum()), int((counts == 2).sum())
    return Grams(
        contexts,
        np.append(starts, len(grams)),
        grams % base,
        counts,
        ones / (ones + 2 * twos) if ones else DISCOUNT_WITHOUT_SINGLES,
    )


def _reach(rows: Integers, start: int) -> Integers:
    """Words of the longest n-gram that ends with each row: a sentence's first word has one before it."""
    return np.where(rows[:, 1] == start, 2, ORDER)


def _reaching(rows: Integers, length: int, start: int) -> Integers:
    reaching: Integers = rows[_reach(rows, start) >= length]
    return reaching


def _packed(rows: Integers, base: int, length: int) -> Integers:
    """The last words of each row as one number. Three fit 63 bits while a lexicon has under two million."""
    packed: Integers = rows[:, -length:] @ np.array([base**power for power in reversed(range(length))])
    return packed


def probabilities(counts: Counts, before: Sequence[int]) -> Floats:
    """How likely each word comes next, [V + 1].

    Args:
        counts: of a text.
        before: the numbers of the words before, nearest last; those too far away are not looked at.
    """
    base = counts.num_words + 1
    likely = np.full(counts.num_words, 1 / counts.num_words)
    for num_before, grams in enumerate(counts.by_length):
        if num_before > len(before):
            break
        context = functools.reduce(
            lambda packed, word: packed * base + word, before[len(before) - num_before :], 0
        )
        index = int(np.searchsorted(grams.contexts, context))
        if index == len(grams.contexts) or int(grams.contexts[index]) != context:
            break  # nor has anything longer come
        own = slice(int(grams.starts[index]), int(grams.starts[index + 1]))
        total = int(grams.counts[own].sum())
        likely *= grams.discount * (own.stop - own.start) / total
        likely[grams.words[own]] += (grams.counts[own] - grams.discount) / total
    return likely


class Ngram:
    """Suggests the most probable completions of what is typed. Writes and withholds words as the unigram
    baseline does, so that only the context differs."""

    def __init__(self, lexicon: Lexicon, counts: Counts) -> None:
        """`counts` are of a `Vocabulary` of this lexicon."""
        self._lexicon = lexicon
        self._counts = counts
        self._vocabulary = Vocabulary(lexicon)
        self._most_forms = int(np.bincount(self._vocabulary.of_surface).max())
        self._finder = CandidateFinder(lexicon)
        self._probabilities = functools.lru_cache(maxsize=CONTEXTS_KEPT)(self._find_probabilities)

    def suggest(self, context: str, typed: str, k: int = 3) -> PeerSuggestions:
        """The k words most likely after `context` that `typed` begins."""
        before = words_before(context)
        return answer(context, typed, k, lambda letters, count: self._best(before, letters.lower(), count))

    def _find_probabilities(self, before: tuple[str, ...]) -> Floats:
        return probabilities(self._counts, [self._vocabulary.number(word) for word in before])

    def _best(self, before: tuple[str, ...], letters: str, k: int) -> tuple[str, ...]:
        words = self._finder.find(letters).words
        numbers = self._vocabulary.of_surface[words]
        likely = self._probabilities(before)[numbers]
        # The forms of a word are equally likely, and so are words that never came: the lexicon decides.
        frequency = np.asarray(self._lexicon.log_prob[words], dtype=np.float32)
        # Sorting all takes 5 ms. These hold k different words even if each has all the forms it may.
        first = _first(likely, frequency, k * self._most_forms)
        chosen: dict[int, int] = {}
        for index in first[np.lexsort((-frequency[first], -likely[first]))]:
            chosen.setdefault(int(numbers[index]), int(words[index]))
            if len(chosen) == k:
                break
        return tuple(map(self._lexicon.word, chosen.values()))


def _first(likely: Floats, frequency: npt.NDArray[np.float32], enough: int) -> Integers:
    """The places of the likeliest `enough`, the more frequent of equals, and all that equal the last in both;
    words alike in both stay in their order."""
    if len(likely) <= enough:
        return np.arange(len(likely))
    least_likely = np.partition(likely, -enough)[-enough]
    above, equal = np.flatnonzero(likely > least_likely), np.flatnonzero(likely == least_likely)
    places = enough - len(above)
    least_frequent = np.partition(frequency[equal], -places)[-places]
    return np.concatenate((above, equal[frequency[equal] >= least_frequent]))
