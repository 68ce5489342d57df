"""Words that are right, though too rare to be offered: a space leaves them as they are.

In: `dictionary.npy` of a bundle. Out: whether a word is among them, or very likely so. Next stop:
`fedkey.corrector`, which never corrects a word that is known.

A lexicon has room for the words that are worth offering; of 400 other right words of a public list, typed
into four beginnings of a sentence, a third was taken for mistakes ("wristband", "plausibly", "obstetrician").
To tell whether a word is right takes no letters, frequencies or pieces: a Bloom filter (Bloom 1970, method 2)
is fourteen bits a word, and takes one wrong word in 800 for a right one, which then is not corrected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

BITS_PER_WORD = 14
"""With ten, one wrong word in 120 passes for right, and the first of them that a test typed was "wekend"."""
NUM_BITS_SET = 10
"""Of each word; ln 2 times the bits per word is best."""


class Dictionary:
    """Words as a Bloom filter, asked with `in`; case does not count."""

    def __init__(self, bits: npt.NDArray[Any] | None) -> None:
        """Takes the array of `Bundle.dictionary_array()`, uint8 [B]; None holds no words."""
        self._bits = None if bits is None else np.asarray(bits)

    def __contains__(self, word: str) -> bool:
        bits = self._bits
        return bits is not None and all(
            int(bits[at >> 3]) >> (at & 7) & 1 for at in _places(word, 8 * len(bits))
        )


def as_bits(words: Collection[str]) -> npt.NDArray[np.uint8]:
    """The filter that holds words, uint8 [B], for `Dictionary`; the same for the same words."""
    bits = bytearray(max(1, -(-len(words) * BITS_PER_WORD // 8)))
    for word in words:
        for at in _places(word, 8 * len(bits)):
            bits[at >> 3] |= 1 << (at & 7)
    return np.frombuffer(bits, dtype=np.uint8)


def _places(word: str, num_bits: int) -> Iterator[int]:
    """The word's bits: two hashes make all (Kirsch and Mitzenmacher 2008, section 2)."""
    digest = hashlib.blake2b(word.lower().encode(), digest_size=16).digest()
    first, second = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
    return ((first + times * second) % num_bits for times in range(NUM_BITS_SET))
