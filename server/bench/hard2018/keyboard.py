"""The network as a keyboard.

In: trained weights and the text before the caret. Out: how likely each word is. Next stop:
`hard2018.__main__`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from fedkey.ngram import Vocabulary
from fedkey.personal_rules import SENTENCE_START
from fedkey.text import normalise, units_with_places
from hard2018.cifg import Cifg
from hard2018.words import tokens_of


class CifgWords:
    """A `peers.word_model.WordModel`; reads on from the text that it was asked about last."""

    def __init__(self, model: Cifg, vocabulary: Vocabulary) -> None:
        self._model = model.eval()
        self._vocabulary = vocabulary
        self.words: Sequence[str] = list(vocabulary.numbers)
        self._read: list[int] = []
        self._state = model.start(1)

    @torch.inference_mode()
    def probabilities(self, context: str) -> npt.NDArray[np.float64]:
        """As `WordModel` says."""
        numbers = self._numbers(context)
        if self._read != numbers[: len(self._read)]:
            self._read, self._state = [], self._model.start(1)
        for number in numbers[len(self._read) :]:
            self._state = self._model.step(torch.tensor([number]), self._state)
        self._read = numbers
        # Nothing predicts the sentence start, the last row.
        logits = self._model.logits(self._state.h_bd[0])[:-1]
        return torch.softmax(logits.double(), dim=-1).numpy()

    def _numbers(self, context: str) -> list[int]:
        """The message, and of those before it the newest that together are no longer than the documents
        that were learned from."""
        *earlier, current = context.split("\n")
        kept: list[str] = []
        for message in reversed(earlier):
            tokens = _tokens(message) if message else []
            if len(tokens) + len(kept) > self._model.config.window:
                break
            kept = [*tokens, *kept]
        numbers: list[int] = []
        for token in [*kept, *tokens_of(_units(current))]:
            if token != SENTENCE_START or numbers[-1:] != [self._vocabulary.start]:
                numbers.append(self._vocabulary.number(token))
        return numbers


def _units(message: str) -> list[str]:
    return [unit for unit, _ in units_with_places(normalise(message))]


@lru_cache(maxsize=4096)
def _tokens(message: str) -> list[str]:
    return tokens_of(_units(message))
