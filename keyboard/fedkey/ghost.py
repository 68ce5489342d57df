"""The rest of a word behind the caret, where the engine is sure of it.

In: an answer of the engine, the letters it is for, and those that stand by now. Out: what to show behind
them. Next stop: `fedkey.ui.draft`.

A completion that comes and goes is worse than none. Once shown it stays, and only gets shorter, for as long
as the letters agree with it and the engine has no better word; it need not be as sure of it any more.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedkey.engine import Suggestions

NUM_WEIGHED = 3
"""The likeliest words, of which the first must be likely enough; what is typed already may be one."""

SURE = 0.85
"""How likely the word must be among those that are weighed, given its letters. On 1,527 words of validation
authors, shipped bundle, 2026-11-27 (`fedkey eval --section completions --max-words 1500`): with 0.85, 43
completions were shown in 100 words, 89 % of them were right, none went while the letters agreed, and who
takes every right one at once saves 21 % of all keys; with 0.7 it was 62 and 74 %, with 0.95 30 and 95 %. What
is not weighed hardly counts: the share is about the probability."""

MIN_SAVED = 2
"""Letters that must be missing: to take one costs a key, too, and the eye more."""


@dataclass(frozen=True)
class Ghost:
    """A completion that is shown.

    Attributes:
        context: the text before the word.
        letters: those for which the engine was sure.
        word: what is to be completed.
    """

    context: str
    letters: str
    word: str

    def rest(self, context: str, typed: str) -> str:
        """What is missing of the word; empty unless it is still being typed."""
        is_same_word = context == self.context and typed.startswith(self.letters)
        return self.word[len(typed) :] if is_same_word and self.word.startswith(typed) else ""


def ghost_for(answer: Suggestions, context: str, typed: str, before: Ghost | None) -> Ghost | None:
    """What is shown once an answer has come.

    Args:
        answer: the suggestions.
        context: the text before the word for which they are.
        typed: its letters for which they are.
        before: what is shown so far.
    """
    if not typed or not answer.words or not answer.words[0].startswith(typed):
        return None
    if answer.typed_log_prob is not None and answer.typed_log_prob > answer.log_probs[0]:
        return None
    ghost = Ghost(context, typed, answer.words[0])
    missing = len(ghost.word) - len(typed)
    is_shown = before is not None and before.word == ghost.word and before.rest(context, typed) != ""
    is_sure = missing >= MIN_SAVED and likelihood(answer) >= SURE
    return ghost if is_shown or is_sure else None


def likelihood(answer: Suggestions) -> float:
    """How likely the first word is, if one of the likeliest is meant: of those suggested and, if the letters
    are a word already, that one."""
    best, *_ = answer.log_probs
    typed = () if answer.typed_log_prob is None else (answer.typed_log_prob,)
    weighed = heapq.nlargest(NUM_WEIGHED, (*answer.log_probs, *typed))
    return 1.0 / math.fsum(math.exp(each - best) for each in weighed)
