"""Who competes to be put in place of a word that may be mistyped.

In: the touches of a word, the candidates that the beam found for them, and the scores of this context. Out:
the few words, and pairs of words without their space, that could be meant, as `Choice`s with the model's
opinion of each. Next stop: `fedkey.corrector`.

Most candidates fall out before the model is asked: by what they cost and what they are guessed to be worth
(`ContestFinder.find`). Those that are left are scored in one run (`ContestFinder.choices`). The words to be
shown share that run if they are asked for first, with the `paths` of the contest along.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.candidates import CandidateBeam, Candidates
from fedkey.casing import like_typed
from fedkey.corrections import CorrectionModel
from fedkey.decoder import Habits, WordScores
from fedkey.judge import Choice
from fedkey.lexicon import Lexicon
from fedkey.taps import Touch

NUM_ALIKE = 24
"""Words of the lexicon whose spelling is looked at closely to correct what was typed."""

NUM_WHOLE = 5
"""Of those, the words that compete for it; pairs of words come on top."""

NUM_SPLITS = 2
"""Pairs of words with a space missing that compete."""

LEFT_OUT_BY_HABIT = 3.0
"""Nats in favour of a word that only lacks its apostrophe."""


class Contest(NamedTuple):
    """What competes to correct some touches, before the model is asked; `literal_path` are the pieces of the
    text as it stands."""

    literal_path: tuple[int, ...]
    alike: _Alike
    word_paths: list[tuple[int, ...]]
    pairs: list[_Pair]

    @property
    def paths(self) -> list[tuple[int, ...]]:
        """All that the model has to score."""
        return [*self.word_paths, *(pair.path for pair in self.pairs), self.literal_path]


class ContestFinder:
    """Holds what no text changes: the words, how touches miss them, and what mistakes cost."""

    def __init__(self, lexicon: Lexicon, beam: CandidateBeam, corrections: CorrectionModel) -> None:
        self._lexicon = lexicon
        self._beam = beam
        self._corrections = corrections

    def find(
        self,
        touches: Sequence[Touch],
        letters: str,
        literal_path: tuple[int, ...],
        candidates: Candidates,
        scores: WordScores,
        habits: Habits,
    ) -> Contest:
        """Who competes for the touches, chosen without the model.

        Args:
            touches, letters, literal_path: what was typed, and the pieces by which the model reads it.
            candidates: of the touches.
            scores: of the context.
            habits: of the owner, in this context.
        """
        lexicon, model, whole = self._lexicon, self._corrections, candidates.whole()
        alike = _Alike(whole.words, whole.costs, lexicon.log_prob[whole.words].astype(np.float32))
        guesses = scores.guesses(alike.words, habits)
        at = _best(alike.score(model, guesses), NUM_ALIKE)
        alike, guesses = alike.at(at), guesses[at]
        keys = [lexicon.key(word) for word in alike.words.tolist()]
        if model.channel is not None:
            alike = alike.with_spelling(model.channel.costs(letters, keys))
        is_habit = np.array([key.replace("'", "") == letters.lower() != key for key in keys], dtype=np.bool_)
        alike = alike.with_habit(is_habit)
        alike = alike.at(_best(alike.score(model, guesses), NUM_WHOLE))
        splits = self._beam.find_splits(touches)
        found = zip(splits.first.tolist(), splits.second.tolist(), splits.costs.tolist(), strict=True)
        return Contest(
            literal_path,
            alike,
            [lexicon.pieces(word) for word in alike.words.tolist()],
            [
                _Pair(
                    f"{lexicon.word(first)} {lexicon.word(second)}",
                    float(lexicon.log_prob[first] + lexicon.log_prob[second]),
                    cost,
                    lexicon.pieces(first) + lexicon.pieces(second),
                )
                for first, second, cost in islice(found, NUM_SPLITS)
            ],
        )

    def choices(
        self,
        contest: Contest,
        letters: str,
        scores: WordScores,
        habits: Habits,
        spellings: Mapping[int, str],
        *,
        starts_sentence: bool,
    ) -> list[Choice]:
        """What else a space may make of the letters, with the model's opinion of each; the worst first.

        Args:
            contest: who competes.
            letters, scores, habits: as `find` was given them.
            spellings: how the owner writes words that the lexicon has otherwise, by number.
            starts_sentence: whether the word begins a sentence.
        """
        alike, pairs = contest.alike, contest.pairs
        scores.spelled(contest.paths)  # all in one run, if they are not known yet
        choices = [
            Choice(spellings.get(word) or self._lexicon.word(word), log_prob, *numbers)
            for word, log_prob, *numbers in zip(
                alike.words.tolist(),
                scores.log_probs(alike.words, habits).tolist(),
                alike.frequency.tolist(),
                alike.slip_costs.tolist(),
                alike.spelling_costs.tolist(),
                strict=True,
            )
        ]
        log_probs = scores.spelled([pair.path for pair in pairs])
        choices += [
            Choice(pair.text, log_prob, pair.frequency, pair.cost, math.inf)
            for pair, log_prob in zip(pairs, log_probs, strict=True)
        ]
        written = [
            choice._replace(text=like_typed(choice.text, letters, starts_sentence=starts_sentence))
            for choice in choices
        ]
        # Of ways to write the same letters (us, US) the likeliest alone competes.
        written.sort(key=self._corrections.score)
        distinct = {choice.text.lower(): choice for choice in written}
        distinct.pop(letters.lower(), None)
        return list(distinct.values())


class _Alike(NamedTuple):
    """W words of the lexicon that may be meant, as columns; see `Choice`."""

    words: npt.NDArray[np.int64]
    slip_costs: npt.NDArray[np.float32]
    frequency: npt.NDArray[np.float32]
    spelling_costs: npt.NDArray[np.float64] = np.zeros(0)

    def at(self, places: npt.NDArray[np.int64]) -> _Alike:
        spelling_costs = (
            self.spelling_costs[places] if len(self.spelling_costs) else np.full(len(places), np.inf)
        )
        return _Alike(self.words[places], self.slip_costs[places], self.frequency[places], spelling_costs)

    def with_spelling(self, costs: npt.NDArray[np.float64]) -> _Alike:
        return self._replace(spelling_costs=costs)

    def with_habit(self, is_habit: npt.NDArray[np.bool_]) -> _Alike:
        """Apostrophes are left out by habit (ive, whats), which is likelier than any mistake."""
        bonus = np.where(is_habit, np.float32(LEFT_OUT_BY_HABIT), np.float32(0))
        return self._replace(slip_costs=self.slip_costs - bonus)

    def score(self, model: CorrectionModel, log_probs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """As `CorrectionModel.score`, for all at once."""
        costs = self.slip_costs.astype(np.float64)
        if len(self.spelling_costs):
            costs = np.minimum(costs + model.slip_bias, self.spelling_costs)
        likely = model.model_weight * log_probs + model.frequency_weight * self.frequency
        return likely - costs


class _Pair(NamedTuple):
    """Two words whose space may be missing, the sum of their log frequencies, the cost, and all their
    pieces."""

    text: str
    frequency: float
    cost: float
    path: tuple[int, ...]


def _best(scores: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """The places of the best scores, ascending."""
    return np.sort(np.argsort(-scores, kind="stable")[:count])
