"""How much a string of letters looks like a word, and like another one.

In: a lexicon, or two strings. Out: the probability that a word nobody listed is spelled so, or how many edits
lie between the two. Next stop: `fedkey.corrections`, where the former speaks for leaving alone what somebody
typed, and `fedkey.judge`.

A trigram model of letters over the lexicon's words, every word counting once: new words are spelled as other
words are, frequent or not. Counts are interpolated with those of shorter contexts (Witten and Bell 1991, as
in Chen and Goodman 1998, section 2.5), so that nothing is impossible.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedkey.lexicon import Lexicon

Floats = npt.NDArray[np.float64]

_LETTERS = "abcdefghijklmnopqrstuvwxyz'"
_BORDER, _OTHER = 0, len(_LETTERS) + 1
_SIZE = len(_LETTERS) + 2

_CODES = np.full(256, _OTHER, dtype=np.int64)
for _code, _letter in enumerate(_LETTERS, start=1):
    _CODES[ord(_letter)] = _CODES[ord(_letter.upper())] = _code
"""Of each byte of UTF-8; what is no letter of English is `_OTHER`, once a byte."""


_WORDS_AT_ONCE = 2048
"""To read 50,000 words at once takes 10 MB more, and the process does not give them back."""


class LetterModel:
    """Reads a lexicon's words once, 7 ms for 50,000; holds 200 kB."""

    def __init__(self, lexicon: Lexicon) -> None:
        flat = np.zeros(_SIZE**3)
        for start in range(0, len(lexicon), _WORDS_AT_ONCE):
            words = range(start, min(start + _WORDS_AT_ONCE, len(lexicon)))
            codes = lexicon.spread_text(words, _CODES, border=_BORDER, num_borders=2)
            triples = (codes[:-2] * _SIZE + codes[1:-1]) * _SIZE + codes[2:]
            # After a word's end comes the next word's beginning, which says nothing.
            triples = triples[(codes[1:-1] != _BORDER) | (codes[:-2] == _BORDER)]
            flat += np.bincount(triples, minlength=_SIZE**3)
        counts = flat.reshape(_SIZE, _SIZE, _SIZE)
        letters = _interpolated(counts.sum((0, 1)), np.full(_SIZE, 1 / _SIZE))
        pairs = _interpolated(counts.sum(0), letters)
        self._log_probs: Floats = np.log(_interpolated(counts, pairs))

    def log_prob(self, word: str) -> float:
        """The natural log of the probability that a word is `word`, among all strings, whatever its case."""
        codes = _CODES[np.frombuffer(word.encode("utf-8", errors="replace"), dtype=np.uint8)]
        framed = np.concatenate([[_BORDER, _BORDER], codes, [_BORDER]])
        return float(self._log_probs[framed[:-2], framed[1:-1], framed[2:]].sum())


def _interpolated(counts: Floats, shorter: Floats) -> Floats:
    """P(last letter | those before) from counts [..., letter] and the same for one letter fewer before it."""
    total = counts.sum(-1, keepdims=True)
    kinds = np.count_nonzero(counts, axis=-1, keepdims=True)
    unseen = np.maximum(kinds, 1)
    mixed: Floats = (counts + unseen * shorter) / (total + unseen)
    return mixed


def num_edits(one: str, other: str, *, at_most: int) -> int:
    """How many characters are substituted, left out, put in, or swapped with the next to make `other` of
    `one`; `at_most` + 1 if it is more than `at_most`.

    This is optimal string alignment: what was swapped is not edited again.
    """
    if abs(len(one) - len(other)) > at_most:
        return at_most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, mine in enumerate(one, start=1):
        before, above, row = row, before, [i]
        for j, theirs in enumerate(other, start=1):
            edits = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (mine != theirs))
            if i > 1 and j > 1 and mine == other[j - 2] and one[i - 2] == theirs:
                edits = min(edits, above[j - 2] + 1)
            row.append(edits)
        if min(row) > at_most:
            return at_most + 1
    return min(row[-1], at_most + 1)
