"""The whole public face of prediction: text in, words out, no screen.

In: a bundle, the text before the caret, and the letters of the word being typed. Out: the words that are most
likely meant, as they would be inserted. Next stop: `fedkey.ui.app`, or `fedkey.simulate`, which measures it.

```python
engine = Engine.open("bundle/")
engine.suggest("how are you?\\nfine, th", "")
engine.suggest("how are you?\\nfine, ", "tha").words  # ("that's", "that", "thanks")
engine.accept("how are you?\\nfine, ", "tha", "thanks")
```
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedkey.bundle import Bundle, BundleError, open_bundle
from fedkey.candidates import CandidateFinder
from fedkey.casing import like_typed
from fedkey.context import Context, ContextReader, newest_that_fit
from fedkey.decoder import Decoder, WordScores
from fedkey.errors import UserError
from fedkey.lexicon import Lexicon
from fedkey.model import LanguageModel
from fedkey.pieces import Pieces
from fedkey.text import normalise

WORD_ROOM = 12
"""Ids of the model's window that the context leaves free for the word being typed; few words have more
pieces."""


@dataclass(frozen=True)
class Suggestions:
    """The answer to one key.

    Attributes:
        words: at most k surface forms, best first, as they would be inserted; no two alike up to case.
        log_probs: natural log of each word's probability in this context, among all that could be written
            here.
        autocorrect: the word that a space would put in place of what was typed; None for "leave it".
        latency_ms: wall-clock milliseconds from the call to the answer.
    """

    words: tuple[str, ...]
    log_probs: tuple[float, ...]
    autocorrect: str | None
    latency_ms: float


@dataclass(frozen=True)
class Accepted:
    """A word the writer took or finished.

    Attributes:
        context: the text before the word.
        typed: the letters that were typed of it.
        word: the word that stands now.
    """

    context: str
    typed: str
    word: str


class Engine:
    """Predicts words with one bundle. Thread-safe: calls from several threads wait for each other.

    Every answer is a function of the bundle and the arguments; what the engine keeps between calls only makes
    it faster. Any number of engines may be open in one process.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Takes a checked bundle; `Engine.open` is the usual way in."""
        self.bundle = bundle
        tokenizer = bundle.tokenizer_bytes()
        try:
            self.pieces = Pieces(tokenizer)
        except UserError as error:
            raise BundleError(str(error)) from error
        if self.pieces.vocab_size != bundle.manifest.model.vocab_size:
            raise BundleError(
                "The bundle's tokenizer and model count their pieces differently; export it again."
            )
        self.lexicon = Lexicon(bundle.lexicon_arrays(), self.pieces.vocab_size)
        self._model = LanguageModel(bundle)
        self._cache = self._model.new_cache()
        self._reader = ContextReader(self.pieces, self.lexicon.forms, self._model.window - WORD_ROOM)
        self._finder = CandidateFinder(self.lexicon)
        self._decoder = Decoder(self.lexicon, self._model)
        self._lock = threading.Lock()
        self._prepared_for: str | None = None
        self._context = Context((), True)
        self._scores: WordScores | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Engine:
        """Opens a bundle folder; `BundleError` says in one sentence what is wrong with it."""
        return cls(open_bundle(Path(path)))

    def suggest(self, context: str, typed: str, k: int = 3) -> Suggestions:
        """The words most likely meant.

        Args:
            context: everything before the word being typed; earlier messages of the conversation on lines of
                their own.
            typed: the word's letters so far; may be empty.
            k: how many words at most.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}.")
        started = time.perf_counter()
        letters = normalise(typed)
        with self._lock:
            candidates = self._finder.find(letters)
            # Letters that begin no word need no model: the next space is the first chance to be useful.
            ranked = self._prepare(context).best(candidates, k) if len(candidates) else []
            starts_sentence = self._context.starts_sentence
        words = tuple(
            like_typed(self.lexicon.word(entry.word), letters, starts_sentence=starts_sentence)
            for entry in ranked
        )
        log_probs = tuple(entry.log_prob for entry in ranked)
        return Suggestions(words, log_probs, None, (time.perf_counter() - started) * 1000)

    def accept(self, context: str, typed: str, word: str) -> Accepted:
        """Tells the engine that `word` now stands after `context`, taken from the suggestions or typed to its
        end.

        The model reads the word at once, so that the first suggestion after it comes without waiting.
        """
        # As everywhere, two words have a gap between them though the caller leaves it out.
        gap = " " if context[-1:].isalnum() and word[:1].isalnum() else ""
        with self._lock:
            self._prepare(f"{context}{gap}{word} ")
        return Accepted(context, typed, word)

    def reset(self) -> None:
        """Forgets the text that was read last. Answers do not change, only the next one takes longer."""
        with self._lock:
            self._model.rewind(self._cache, 0)
            self._prepared_for, self._context, self._scores = None, Context((), True), None

    def score_message(self, earlier: Sequence[str], message: str) -> tuple[float, int]:
        """How well the model predicts a whole message, for bits per character.

        The message is normalised and truecased as in training. Of the earlier messages of the conversation as
        many are read as fit into the window before it, newest first.

        Returns:
            The natural log probability of the message's pieces and its end, exact; and how many pieces that
            are.
        """
        ids = self._reader.frame_message(message)
        window = self._model.window
        # The message's start is given, not predicted.
        before = newest_that_fit(self._reader.frame_messages(earlier), window - len(ids))
        given, rest = [*before, ids[0]], ids[1:]
        total = 0.0
        with self._lock:
            self._scores = None
            while rest:
                room = window - len(given)
                chunk, rest = rest[:room], rest[room:]
                self._keep(given[:-1])
                missing = given[len(self._cache.ids) : -1]
                if missing:
                    self._model.advance(self._cache, missing)
                log_probs = self._model.advance_each(self._cache, [given[-1], *chunk[:-1]])
                total += float(log_probs[np.arange(len(chunk)), chunk].sum(dtype=np.float64))
                # Of a message longer than the window, the rest is predicted from the half window before it.
                given = [ids[0], *[*given, *chunk][-(window // 2) :]]
        return total, len(ids) - 1

    def _prepare(self, context: str) -> WordScores:
        """Brings the cache to the end of `context`; what they share with the text before is not run again."""
        if context != self._prepared_for:
            read = self._reader.read(context)
            if read.ids != self._context.ids:
                self._scores = None
            self._context, self._prepared_for = read, context
        if self._scores is None:
            log_probs = self._advance(self._context.ids)
            self._scores = self._decoder.begin(self._cache, log_probs)
        return self._scores

    def _advance(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Runs what the cache does not hold of `ids`; the log softmax after the last, which is always run."""
        self._keep(ids[:-1])
        return self._model.advance(self._cache, ids[len(self._cache.ids) :])

    def _keep(self, ids: Sequence[int]) -> None:
        """Rewinds the cache to what it shares with `ids`."""
        shared = 0
        for cached, wanted in zip(self._cache.ids, ids, strict=False):
            if cached != wanted:
                break
            shared += 1
        self._model.rewind(self._cache, shared)
