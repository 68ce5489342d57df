"""The English 3-gram that comes with PyPI's `pocketsphinx`, a recogniser of speech.

In: the installed package. Out: a `WordModel`. Next stop: `peers.gguf`.

The package answers one question: how likely is this word after those two. Asked for all its words, in a
context, it takes 50 ms. It holds no unknown word, and the end of a sentence, which it does hold, is taken
off: every system is asked for the next word given that there is one.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedkey.errors import UserError
from fedkey.lexicon import Lexicon
from fedkey.personal_rules import SENTENCE_START, words_before
from fedkey.text import units_with_places
from peers import file_of

Floats = npt.NDArray[np.float64]

MODEL = Path("model/en-us/en-us.lm.bin")

NATS = math.log(1.0001)
"""The package's logarithms are of this base."""

START, END = "<s>", "</s>"


class Sphinx:
    """A `WordModel`."""

    def __init__(self, lexicon: Lexicon) -> None:
        """Opens the model. It suggests those of its words that our lexicon holds, which halves the time; what
        words cost is asked of all it knows.

        Raises:
            UserError: the package is not installed.
        """
        path = model_path()
        from pocketsphinx import NGramModel

        self._model = NGramModel.readfile(str(path))
        self._all = frozenset(vocabulary_of(path.read_bytes()))
        self.words: Sequence[str] = sorted(word for word in self._all if word in lexicon.forms)

    def probabilities(self, context: str) -> Floats:
        """As `WordModel` says."""
        history = self._history(context)
        logs = np.array([self._model.prob([word, *history]) for word in self.words], dtype=np.float64)
        return np.append(np.exp(NATS * logs) / self._goes_on(history), 0.0)

    def log_probs(self, earlier: Sequence[str], message: str, places: Sequence[int]) -> list[float]:
        """As `peers.word_model.LogProbs` says."""
        ends = {place: place + len(unit) for unit, place in units_with_places(message)}
        found = []
        for place in places:
            word, history = message[place : ends[place]].lower(), self._history(message[:place])
            asked = NATS * self._model.prob([word, *history]) if word in self._all else -math.inf
            found.append(asked - math.log(self._goes_on(history)))
        return found

    def _history(self, context: str) -> list[str]:
        """The words before, nearest first, as far back as it knows them."""
        before = [START if word == SENTENCE_START else word for word in words_before(context, 2)]
        known = itertools.takewhile(lambda word: word in self._all, reversed(before))
        return list(known)

    def _goes_on(self, history: list[str]) -> float:
        """How likely the sentence does not end here."""
        return 1.0 - math.exp(NATS * self._model.prob([END, *history]))


def model_path() -> Path:
    """Where the model lies; the package is not loaded.

    Raises:
        UserError: the package is not installed.
    """
    return file_of("pocketsphinx", MODEL, "install fedkey's extra 'peers'")


def vocabulary_of(model: bytes) -> list[str]:
    """The words of a trie model, which end the file: how many bytes they take, then each and a zero."""
    if not model.startswith(b"Trie Language Model"):
        raise UserError("pocketsphinx's model is of another format than this was written for.")
    (num_words,) = struct.unpack_from("<i", model, len(b"Trie Language Model") + 1)
    *words, _ = model.rsplit(b"\0", num_words)
    rest = sum(len(word) + 1 for word in words[1:])
    # Before the first word stands the number; only one length of that word agrees with it.
    for length in range(1, 64):
        size = words[0][-length - 4 : -length]
        if len(size) == 4 and struct.unpack("<i", size)[0] == rest + length + 1:
            return [word.decode() for word in (words[0][-length:], *words[1:])]
    raise UserError("pocketsphinx's model is of another format than this was written for.")
