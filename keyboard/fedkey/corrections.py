"""Whether a space puts another word in place of what was typed.

In: what was typed, how likely it is as it stands, and what else it may have been meant to be. Out: the word
to put, if it is sure enough. Next stop: `fedkey.engine`.

Three things compete for the same touches: the text as it stands, meant just so; a word of the lexicon,
mistyped; and two words whose space is missing. Each has a score, the natural log of

    P(what was meant | context) * P(touches | what was meant),

and the share of the best in the sum of all is how sure the keyboard is. Writers hate a wrong correction far
more than they like a right one, so it must be surer than a threshold. `CorrectionModel` holds the threshold
and the few numbers that make the scores comparable; `fedkey-export calibrate` fits them and stores them in
the bundle.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from fedkey.candidates import DEFAULT_ERRORS, ErrorModel
from fedkey.personal_rules import is_inside_address
from fedkey.text import is_word

MIN_LETTERS = 2
"""A single letter that is no word is an abbreviation (k, u), or the beginning of anything."""

LONGEST_CORRECTED = 24
"""Letters of what may be corrected: what is longer is stretched for effect, or no word at all."""


@dataclass(frozen=True)
class CorrectionModel:
    """How mistakes and new words are weighed against each other."""

    errors: ErrorModel = DEFAULT_ERRORS
    """What each mistake costs."""
    literal_bias: float = 0.0
    """Nats added to the score of the text as it stands: how much likelier people are to write a word that no
    lexicon holds than the model, which mostly read words of the lexicon, believes."""
    name_bias: float = 3.0
    """Nats more if it begins with a capital inside a sentence: names are written so."""
    min_confidence: float = 0.9
    """How sure a correction must be, from 0 to 1."""

    def __post_init__(self) -> None:
        for name in ("literal_bias", "name_bias"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a number of nats, not {getattr(self, name)}.")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence is from 0 to 1, not {self.min_confidence}.")

    def to_json(self) -> str:
        """The text of a bundle's correction.json."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CorrectionModel:
        """Reads what `to_json` wrote; `ValueError` names what is unknown, missing or out of range."""
        values = _numbers(json.loads(text), cls)
        return cls(**values | {"errors": ErrorModel(**_numbers(values["errors"], ErrorModel))})


DEFAULT_CORRECTIONS = CorrectionModel()


def _numbers(values: object, kind: type[Any]) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"{kind.__name__} is not an object")
    known = [field.name for field in dataclasses.fields(kind)]
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0)
            raise ValueError(f"there is no {name!r}; do you mean {near[0]!r}?")
        if name != "errors" and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{name} is not a number")
    for name in known:
        if name not in values:
            raise ValueError(f"there is no value for {name!r}")
    return dict(values)


class Choice(NamedTuple):
    """Something that the touches may have been meant to be.

    Attributes:
        text: as the lexicon writes it; two words with a space between them, if that was left out.
        log_prob: natural log of its probability in this context.
        cost: minus the natural log of the probability that these touches are made for it; 0 for the text as
        it
            stands.
    """

    text: str
    log_prob: float
    cost: float

    @property
    def score(self) -> float:
        """What the choices compete by, in nats."""
        return self.log_prob - self.cost


def may_be_corrected(context: str, letters: str) -> bool:
    """Whether `letters`, which are no known word, look like a word that somebody mistyped.

    Never what is in an address, a link or a number; what holds digits or symbols; what is all capitals, or
    has capitals inside; hash tags; laughter and stretched words (hahaha, sooo).
    """
    return (
        MIN_LETTERS <= len(letters) <= LONGEST_CORRECTED
        and is_word(letters)
        and all(each.isalpha() or each == "'" for each in letters)
        and not any(each.isupper() for each in letters[1:])
        and context[-1:] not in _SIGILS
        and not is_inside_address(context)
        and not _is_stretched(letters.lower())
    )


def was_written(context: str, letters: str) -> bool:
    """Whether `letters` stand as a word in the conversation so far: the name of somebody whom it is about is
    no mistake."""
    word = re.escape(letters.lower())
    return re.search(rf"(?<![\w']){word}(?![\w'])", context[-READ_BACK:].lower()) is not None


READ_BACK = 4096
"""Characters of the conversation that are searched: some dozens of messages, in 30 microseconds."""

_SIGILS = tuple("#@/\\_*~^=+|<>{}[]`$%&")
"""What stands right before a tag, a name, a path or code."""


def _is_stretched(letters: str) -> bool:
    """Whether the same letter stands three times in a row, or one or two of them are all there is."""
    is_run = any(a == b == c for (a, b), (_, c) in pairwise(pairwise(letters)))
    return is_run or (len(letters) >= 4 and len(set(letters)) <= 2)


def correction(
    model: CorrectionModel,
    literal: Choice,
    choices: Sequence[Choice],
    *,
    is_name: bool,
) -> str | None:
    """The text to put in place of `literal`, or None to leave it.

    Args:
        model: how sure is sure enough.
        literal: the text as it stands.
        choices: what else it may be.
        is_name: whether it begins with a capital inside a sentence.
    """
    if not choices:
        return None
    best = max(choices, key=lambda choice: choice.score)
    return best.text if confidence(model, literal, choices, is_name=is_name) >= model.min_confidence else None


def confidence(model: CorrectionModel, literal: Choice, choices: Sequence[Choice], *, is_name: bool) -> float:
    """How sure it is that the best of the choices was meant: its share among all choices and the literal
    text; 0 without choices."""
    scores = [choice.score for choice in choices]
    stands = literal.score + model.literal_bias + is_name * model.name_bias
    top = max([stands, *scores])
    if not math.isfinite(top) or not scores:
        return 0.0
    total = sum(math.exp(score - top) for score in (stands, *scores))
    return math.exp(max(scores) - top) / total
