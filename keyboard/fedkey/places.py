"""Where the model stands: what it has read of the text around the caret, and of where the caret will be next.

In: the text before and behind the caret. Out: every word's probability there, as far as it is known. Next
stop: `fedkey.engine`.

Three caches take turns. One is at the caret. One reads ahead, a little with each word, what will be left of
the text when its oldest messages are dropped. One is sent to the place behind the word being typed while
nobody waits, and is at the caret once the word ends. No answer depends on which was used, or on when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.cache import Cache
from fedkey.context import Context, ContextReader
from fedkey.conversation import Conversation
from fedkey.decoder import Decoder, WordScores
from fedkey.mixture import Evidence
from fedkey.model import LanguageModel
from fedkey.personal_rules import words_before
from fedkey.prior import Prior

READ_AHEAD = 8
"""Ids that are read ahead at once: 90 have to be before about 20 words are written."""

WORTH_READING = 4
"""Ids that have to be missing: to read one costs as much as to read these."""

FALLEN_BEHIND = 16
"""Ids that have to be missing before they are read ahead with a space, after a word whose letters read none;
a writer who takes every word types no letters. Of the 350 spaces of `fedkey bench` 9 do; 25 did while letters
that had read did not count, and the slowest hundredth ran the model for 3.5 ms instead of 2.5."""


class Place(NamedTuple):
    """Where a word may be typed, and what is known of it.

    Attributes:
        context: what the model is given of the text.
        scores: what it says.
        tail: the first pieces of what stands behind, for a model that was not given it.
    """

    context: Context
    scores: WordScores
    tail: tuple[int, ...]


class Places:
    """The model's caches over one text. Not to be used by two threads at once."""

    def __init__(
        self,
        model: LanguageModel,
        decoder: Decoder,
        prior: Prior,
        conversation: Conversation,
        reader: ContextReader,
    ) -> None:
        """Nothing is read yet."""
        self._model = model
        self._decoder = decoder
        self._prior = prior
        self._conversation = conversation
        self._reader = reader
        self._cache, self._ahead = model.new_cache(), model.new_cache()
        self._next_cache: Cache | None = None
        self._next: Place | None = None
        self._texts: tuple[str, str] | None = None
        self._place: Place | None = None
        self._ids_ahead: tuple[int, ...] | None = None
        self._has_read_ahead = False  # since the last word ended

    @property
    def place(self) -> Place | None:
        """Where the model stands."""
        return self._place

    @property
    def context(self) -> Context:
        """What was read of the text that was gone to last."""
        return Context((), True, False, False) if self._place is None else self._place.context

    def go_to(self, before: str, after: str) -> Place:
        """The place between two texts; what they share with those before is not run again. Places that were
        returned earlier are not to be used after."""
        if self._place is not None and (before, after) == self._texts:
            return self._place
        context = self._reader.read(before, after)
        if self._place is not None and context.ids == self._place.context.ids:
            scores = self._place.scores
        elif self._next is not None and context.ids == self._next.context.ids:
            scores, self._next = self._next.scores, None
            assert self._next_cache is not None
            self._cache, self._next_cache = self._next_cache, self._cache
        else:
            self._keep(context.ids[:-1])
            log_probs = self._model.advance(self._cache, context.ids[len(self._cache.ids) :])
            scores = self._begin(self._cache, log_probs, before)
        if scores.before != before:
            # The model sees no difference; n-grams and what was said go by the text itself.
            scores = scores.retold(self._evidence(before), before)
        self._texts, self._ids_ahead = (before, after), None
        self._place = Place(context, scores, self._tail(context, after))
        return self._place

    def look_behind(self, before: str, after: str) -> Place:
        """The place between two texts close to those that were gone to last, without going there: `go_to`
        will take it over."""
        context = self._reader.read(before, after)
        if self._next_cache is None:
            self._next_cache = self._model.new_cache()
        cache, kept = self._next_cache, context.ids[:-1]
        cache.copy_from(max(self._cache, self._ahead, key=lambda each: _num_shared(each.ids, kept)))
        self._model.rewind(cache, _num_shared(cache.ids, kept))
        log_probs = self._model.advance(cache, context.ids[len(cache.ids) :])
        self._next = Place(context, self._begin(cache, log_probs, before), self._tail(context, after))
        return self._next

    def _begin(self, cache: Cache, log_probs: npt.NDArray[np.float32], before: str) -> WordScores:
        """What is known of every word behind `cache`, which holds the end of `before`."""
        return self._decoder.begin(cache, log_probs, self._evidence(before), before)

    def _evidence(self, before: str) -> Evidence:
        """How likely words are behind a text without the model."""
        pairs, ngrams = self._prior.levels(words_before(before))
        said = self._conversation.said(before)
        return Evidence(
            said.mixed(ngrams),
            ngrams,
            pairs,
            said.words.shares(),
            said.followers.shares(),
            said.words.share,
            said.followers.share,
            said.num_words_here,
        )

    def read_ahead(self) -> None:
        """Reads a few ids of what will be kept of the text when its oldest messages are dropped, if so many
        are missing.

        That will happen within some words, and to read all of it then would make one word in 25 wait for it,
        12 ms with a model of the phone's size. It is done with letters that need no model, half of them: with
        every space it cost the phone-sized model 1.3 ms of 6.
        """
        self._read_ahead(WORTH_READING)

    def end_word(self) -> None:
        """Reads ahead if none of the letters of the word before the caret did, and many ids are missing."""
        if not self._has_read_ahead:
            self._read_ahead(FALLEN_BEHIND)
        self._has_read_ahead = False

    def _read_ahead(self, at_least: int) -> None:
        # Messages are dropped whole, so that half a window may be left when the next step falls due.
        num_ids = len(self.context.ids)
        if self._texts is None or num_ids <= self._reader.room - 2 * self._reader.step:
            return
        if self._ids_ahead is None:
            self._ids_ahead = self._reader.read(*self._texts, is_ahead=True).ids[:-1]
        ids = self._ids_ahead
        shared = _num_shared(self._ahead.ids, ids)
        if len(ids) + 1 < num_ids and len(ids) - shared >= at_least:
            self._model.rewind(self._ahead, shared)
            self._model.read(self._ahead, ids[shared : shared + READ_AHEAD])
            self._has_read_ahead = True

    def log_probs_of(self, given: Sequence[int], ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """The log probabilities of each of some ids behind others, the one that is given last and all before
        it, exact, [I]. No place is gone to any more."""
        self._leave()
        self._keep(given[:-1])
        missing = given[len(self._cache.ids) : -1]
        if missing:
            self._model.read(self._cache, missing)
        log_probs = self._model.advance_each(self._cache, [given[-1], *ids[:-1]])
        return log_probs[np.arange(len(ids)), ids]

    def _keep(self, ids: Sequence[int]) -> None:
        """Rewinds the cache to what it shares with `ids`; the one that was read ahead takes over once it
        shares more."""
        shared, ahead = _num_shared(self._cache.ids, ids), _num_shared(self._ahead.ids, ids)
        if ahead > shared:
            self._cache, self._ahead, shared = self._ahead, self._cache, ahead
        self._model.rewind(self._cache, shared)

    def _leave(self) -> None:
        """Whatever place is gone to next is read anew, as far as the caches do not hold it."""
        self._texts = self._place = self._ids_ahead = None

    def forget(self) -> None:
        """Nothing was read."""
        self._leave()
        self._next = None
        self._model.rewind(self._cache, 0)
        self._model.rewind(self._ahead, 0)

    def _tail(self, context: Context, after: str) -> tuple[int, ...]:
        if self._reader.reads_behind:
            return ()
        return self._reader.next_behind(after, starts_sentence=context.starts_sentence)


def _num_shared(one: Sequence[int], other: Sequence[int]) -> int:
    """The length of the common beginning."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (mine, theirs) in enumerate(pairs) if mine != theirs), min(len(one), len(other)))
