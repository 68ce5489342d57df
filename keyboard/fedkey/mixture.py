"""How much each opinion of a word is worth in a place: learned from people who taught none of them.

In: what the model, the n-grams and the conversation say of a word, and how sure they are here. Out: by how
much the word is likelier than their fixed mixture has it. Next stop: `fedkey.decoder`.

Fixed shares are a compromise: where the model is at a loss, what was said counts for more; a word of several
pieces is worth another part of its estimate than one of a single piece; three opinions that agree are worth
more than their sum. So a small network looks at what is known of a word, x(w), and of the place, y,

    a(w) = c . max(0, A x(w) + B y + b) + d,        p(w) = p_mixed(w) e^a(w),

both as `fedkey_export.mixture` fits them: on text of authors whom neither the model nor the n-grams have
read, since opinions are too sure of what they were learned from (Wolpert 1992 calls it stacking). The fit
keeps the sum of all p(w) near 1, so that nothing is divided by it here. `WORD_INPUTS` and `PLACE_INPUTS` say
what is looked at; the order is the bundle's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.number_tables import number_table, rounded

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

WORD_INPUTS = (
    "mixed",
    "model",
    "prior",
    "ngrams",
    "pairs",
    "usual",
    "said",
    "followed",
    "is_single",
)
"""Of a word: the natural logs of its probability by the fixed mixture, the model, all that is not the model,
the n-grams, the last word's pairs and the lexicon's frequencies; of its share of what was said in the
conversation and of what followed the last word there; and whether it is one piece, 1 or 0. Those of the model
are estimates for words of several pieces: nothing is run for this."""

PLACE_INPUTS = ("entropy", "most", "num_words", "said_share", "followed_share")
"""Of a place: the entropy of the model's next piece in nats and the likeliest piece's probability; log(1 + n)
for n words before it in its message; and the shares that what was said, and what followed the last word, have
of the prior (`fedkey.conversation`)."""

FLOORS: Mapping[str, float] = {"prior": 1e-9, "ngrams": 1e-9, "pairs": 1e-9, "said": 1e-4, "followed": 1e-3}
"""Added to a probability before its log is taken."""

LEAST = np.float32(-25.0)
"""No log counts as less."""

NUM_DIGITS = 6
"""In a bundle. Of a float32 nine are all there is; what a typist sees needs fewer."""

MAX_UNITS = 256
MAX_WEIGHT = 1e6
"""Of either sign; with larger ones a sum might overflow."""


class Shares(NamedTuple):
    """The shares of a few words; those of all others are 0. As arrays of all words they would take a
    megabyte in the places that an engine keeps.

    Attributes:
        words: int64 [N], ascending.
        shares: float32 [N].
    """

    words: Integers
    shares: Floats

    def of(self, words: Integers) -> Floats:
        """Those of some words, [C]."""
        if len(self.words) == 0:
            return np.zeros(len(words), dtype=np.float32)
        places = np.minimum(np.searchsorted(self.words, words), len(self.words) - 1)
        found: Floats = np.where(self.words[places] == words, self.shares[places], np.float32(0))
        return found


NO_SHARES = Shares(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


class Evidence(NamedTuple):
    """What is known of words in a place without the model.

    Attributes:
        prior: float32 [W], how likely words are by all that follows together.
        ngrams: float32 [W], by the words before; `fedkey.prior`.
        pairs: float32 [W], by the last of them alone.
        said: shares of what was said, `fedkey.conversation`.
        followed: of what followed the last word there.
        said_share, followed_share: what the two have of `prior`.
        num_words: words before the caret in this message.
    """

    prior: Floats
    ngrams: Floats
    pairs: Floats
    said: Shares
    followed: Shares
    said_share: float
    followed_share: float
    num_words: int


class Mixture:
    """The network of a bundle."""

    def __init__(self, by_word: Floats, by_place: Floats, bias: Floats, out: Floats, out_bias: float) -> None:
        """A [H, words' inputs], B [H, places' inputs], b [H], c [H] and d of the module's formula;
        `ValueError` if they do not fit together."""
        units = len(bias)
        if not 1 <= units <= MAX_UNITS:
            raise ValueError(f"there are {units} units, not 1 to {MAX_UNITS}")
        for name, array, shape in (
            ("by_word", by_word, (units, len(WORD_INPUTS))),
            ("by_place", by_place, (units, len(PLACE_INPUTS))),
            ("bias", bias, (units,)),
            ("out", out, (units,)),
        ):
            if array.shape != shape:
                raise ValueError(f"{name} has the shape {list(array.shape)}, not {list(shape)}")
            if not np.all(np.abs(array) <= MAX_WEIGHT):
                raise ValueError(f"{name} must hold numbers of at most {MAX_WEIGHT:g}")
        if not abs(out_bias) <= MAX_WEIGHT:
            raise ValueError(f"out_bias must be a number of at most {MAX_WEIGHT:g}")
        self.by_word, self.by_place, self.bias, self.out = by_word, by_place, bias, out
        self.out_bias = out_bias

    def shift(self, by_word: Floats, by_place: Floats) -> Floats:
        """a(w) of C words, [C].

        Args:
            by_word: [C, words' inputs], see `word_inputs`.
            by_place: [places' inputs], see `place_inputs`.
        """
        hidden: Floats = by_word @ self.by_word.T
        hidden += self.by_place @ by_place + self.bias
        shift: Floats = np.maximum(hidden, 0, out=hidden) @ self.out
        shift += np.float32(self.out_bias)
        return shift

    def to_json(self) -> str:
        """The text of a bundle's mixture.json."""
        arrays = {name: getattr(self, name) for name in ("by_word", "by_place", "bias", "out")}
        numbers = {name: array.tolist() for name, array in arrays.items()}
        return json.dumps(rounded({**numbers, "out_bias": self.out_bias}, NUM_DIGITS), allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Mixture:
        """Reads what `to_json` wrote; `ValueError` says what is wrong with it."""
        values = json.loads(text)
        names = ("by_word", "by_place", "bias", "out", "out_bias")
        if not isinstance(values, dict) or set(values) != set(names):
            raise ValueError(f"it is no object of just {', '.join(names)}")
        by_word, by_place, bias, out, out_bias = (_numbers(name, values[name]) for name in names)
        if out_bias.ndim or bias.ndim != 1:
            raise ValueError("bias is no row of numbers, or out_bias no number")
        return cls(by_word, by_place, bias, out, float(out_bias))


def word_inputs(
    words: Integers,
    evidence: Evidence,
    usual: Floats,
    mixed: Floats,
    model: Floats,
    is_single: npt.NDArray[np.bool_],
) -> Floats:
    """x(w) of C words, [C, words' inputs].

    Args:
        words: their numbers in the lexicon.
        evidence: of the place.
        usual: float32 [W], the natural log of how frequent words are.
        mixed: [C], the log probability of each by the fixed mixture.
        model: [C], the same by the model alone.
        is_single: [C], whether each is one piece.
    """
    inputs = np.empty((len(words), len(WORD_INPUTS)), dtype=np.float32)
    inputs[:, 0], inputs[:, 1] = mixed, model
    known = {
        "prior": evidence.prior[words],
        "ngrams": evidence.ngrams[words],
        "pairs": evidence.pairs[words],
        "said": evidence.said.of(words),
        "followed": evidence.followed.of(words),
    }
    for name, values in known.items():
        inputs[:, WORD_INPUTS.index(name)] = np.log(values + np.float32(FLOORS[name]))
    inputs[:, WORD_INPUTS.index("usual")] = usual[words]
    inputs[:, WORD_INPUTS.index("is_single")] = is_single
    return np.maximum(inputs, LEAST, out=inputs)


def place_inputs(evidence: Evidence, log_probs: Floats, probs: Floats) -> Floats:
    """y of a place, [places' inputs]; `log_probs` [V] are the model's of the next piece, `probs` their
    exponentials."""
    # A piece that is impossible has no part in the entropy.
    entropy = -float(probs @ np.maximum(log_probs, np.float32(-100)))
    return np.array(
        [
            entropy,
            float(probs.max()),
            math.log1p(evidence.num_words),
            evidence.said_share,
            evidence.followed_share,
        ],
        dtype=np.float32,
    )


def _numbers(name: str, values: object) -> Floats:
    with np.errstate(over="ignore"):
        return number_table(name, values).astype(np.float32)
