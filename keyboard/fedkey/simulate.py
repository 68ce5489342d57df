"""A simulated typist: walks conversations word by word and sees what the keyboard would have shown.

In: conversations and anything that suggests words. Out: sums of `fedkey.metrics` per author. Next stop:
`fedkey.workers`, which do it on several processes.

At every word of a graded message the typist sees the suggestions before the first letter, after one, two,
three and, until the word has been accepted, after each further letter. All metrics share these calls.
Placeholders are no words and cost no keys: nobody can say how long the link was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from fedkey.conversations import GradedConversation
from fedkey.metrics import Keystrokes, Latency, Likelihood, Recall, Sums
from fedkey.taps import Touch
from fedkey.text import PLACEHOLDERS, is_word, units_with_places

NUM_SHOWN = 3
LETTERS = (0, 1, 2, 3)
"""Numbers of typed letters at which recall is reported."""

BOUNDED_MIN_LENGTH = 5
BOUNDED_NOTICES = {"quarter": 0.25, "half": 0.5, "three_quarters": 0.75}
"""Looking costs time, so the bounded typist looks only at words of five letters and more, and notices a shown
word with some probability at each key: people use suggestions for long words and overlook many."""


class Shown(Protocol):
    """What a predictor answers."""

    @property
    def words(self) -> tuple[str, ...]:
        """Suggested words, best first."""

    @property
    def latency_ms(self) -> float:
        """Wall-clock milliseconds the answer took."""

    # A predictor that corrects has `autocorrect` too: what a space makes of the letters, None to leave them.


class Predictor(Protocol):
    """Anything that suggests words: the engine, a baseline, a peer."""

    def suggest(self, context: str, typed: str, k: int = NUM_SHOWN) -> Shown:
        """The words most likely meant after `context` when `typed` stands already."""


@dataclass(frozen=True)
class Bounded(Sums):
    """Keystrokes of the bounded typist, by how often a shown word is noticed: see `BOUNDED_NOTICES`."""

    quarter: Keystrokes = Keystrokes()
    half: Keystrokes = Keystrokes()
    three_quarters: Keystrokes = Keystrokes()


@dataclass(frozen=True)
class Scores(Sums):
    """Everything measured, for one author or many."""

    after_0: Recall = Recall()
    after_1: Recall = Recall()
    after_2: Recall = Recall()
    after_3: Recall = Recall()
    """Recall after 0, 1, 2, 3 letters, over words that have more letters than that."""
    ideal: Keystrokes = Keystrokes()
    """The typist who looks after every key and takes the word the moment it is shown: an upper bound."""
    bounded: Bounded = Bounded()
    """The typist who overlooks words."""
    likelihood: Likelihood = Likelihood()
    latency: Latency = Latency()

    def after(self, letters: int) -> Recall:
        """Recall after so many letters."""
        recall: Recall = getattr(self, f"after_{letters}")
        return recall


Score = Callable[[Sequence[str], str], tuple[float, int]]
"""(earlier messages, message) -> (log likelihood in nats, pieces), as `Engine.score_message`."""


def grade(
    predictor: Predictor,
    conversations: Iterable[GradedConversation],
    is_known: Callable[[str], bool],
    *,
    score: Score | None = None,
    seed: int = 0,
) -> dict[str, Scores]:
    """Runs the typist over conversations; returns the sums of each author.

    Args:
        predictor: what shows the words.
        conversations: texts to type.
        is_known: whether the lexicon holds a word, in any case.
        score: how likely a whole message is; left out for predictors that have no probabilities.
        seed: of what the bounded typist notices; the same for every predictor compared.
    """
    totals: dict[str, Scores] = {}
    for conversation in conversations:
        for index, before, message in conversation.to_type():
            scores = _type_message(predictor, before, message, is_known, draws(seed, index, message))
            if score is not None:
                nats, _ = score(conversation.messages[:index], message)
                words = sum(is_word(unit) for unit, _ in units_with_places(message))
                scores = scores + Scores(likelihood=Likelihood(-nats, len(message) + 1, words))
            totals[conversation.author] = totals.get(conversation.author, Scores()) + scores
    return totals


def draws(seed: int, index: int, message: str) -> np.random.Generator:
    """What a typist notices or mistypes depends on the message alone, so every predictor meets the same
    typist."""
    return np.random.default_rng([seed, index, *message.encode("utf-8")[:32]])


Input = str | tuple[Touch, ...]
"""What was typed of a word: its letters, or where they were tapped."""


class Look:
    """What the keyboard shows while one word is typed, asked for only when somebody looks, and once."""

    def __init__(self, predictor: Predictor, context: str, word: str, milliseconds: list[float]) -> None:
        """`word` is meant, `context` stands before it; `milliseconds` collects what each answer took."""
        self._predictor = predictor
        self._context = context
        self._word = word.lower()
        self._milliseconds = milliseconds
        self._answers: dict[Input, Shown] = {}

    def words(self, typed: Input) -> tuple[str, ...]:
        """The words shown once `typed` stands."""
        return self._answer(typed).words

    def rank(self, typed: Input) -> int | None:
        """Place of the meant word among those shown once `typed` stands, from 1, ignoring case."""
        shown = (word.lower() for word in self.words(typed))
        return next((rank for rank, word in enumerate(shown, start=1) if word == self._word), None)

    def correction(self, typed: Input) -> str | None:
        """What a space puts in place of `typed`, None if it leaves it; predictors that never correct leave
        it."""
        correction: str | None = getattr(self._answer(typed), "autocorrect", None)
        return correction

    def _answer(self, typed: Input) -> Shown:
        if typed not in self._answers:
            # Only those that take taps are given any.
            answer = self._predictor.suggest(self._context, cast(str, typed), NUM_SHOWN)
            self._answers[typed] = answer
            self._milliseconds.append(answer.latency_ms)
        return self._answers[typed]


def _type_message(
    predictor: Predictor,
    before: str,
    message: str,
    is_known: Callable[[str], bool],
    rng: np.random.Generator,
) -> Scores:
    recalls = [Recall() for _ in LETTERS]
    milliseconds: list[float] = []
    ideal, bounded = Typist(), {name: Typist() for name in BOUNDED_NOTICES}
    typists = (ideal, *bounded.values())
    end = 0
    for unit, start in units_with_places(message):
        for typist in typists:
            typist.gap(start - end)
        end = start + len(unit)
        if unit in PLACEHOLDERS:
            continue
        if not is_word(unit):
            for typist in typists:
                typist.type(len(unit))
            continue
        look = Look(predictor, before + message[:start], unit, milliseconds)
        for letters in LETTERS:
            if len(unit) > letters:
                recalls[letters] += recall_of(look, unit, letters, is_known(unit))
        first_shown = next((n for n in range(len(unit)) if look.rank(unit[:n]) is not None), None)
        ideal.word(len(unit), first_shown)
        attention = rng.random(len(unit))
        for name, probability in BOUNDED_NOTICES.items():
            taken = None
            if first_shown is not None and len(unit) >= BOUNDED_MIN_LENGTH:
                noticed = (n for n in range(first_shown, len(unit)) if attention[n] < probability)
                taken = next((n for n in noticed if look.rank(unit[:n]) is not None), None)
            bounded[name].word(len(unit), taken)
    after_0, after_1, after_2, after_3 = recalls
    return Scores(
        after_0,
        after_1,
        after_2,
        after_3,
        ideal=ideal.keystrokes(),
        bounded=Bounded(**{name: typist.keystrokes() for name, typist in bounded.items()}),
        latency=Latency.of(milliseconds),
    )


def recall_of(look: Look, word: str, letters: int, is_known: bool) -> Recall:
    rank, shown = look.rank(word[:letters]), look.words(word[:letters])
    return Recall(
        positions=1,
        known=int(is_known),
        hits_1=int(rank == 1),
        hits_3=int(rank is not None),
        exact_1=int(shown[:1] == (word,)),
        exact_3=int(word in shown),
        reciprocal_rank=1 / rank if rank else 0.0,
    )


class Typist:
    """Counts one typist's keys through a message."""

    def __init__(self) -> None:
        self.pressed = 0
        self.characters = 0
        self.has_free_space = False

    def gap(self, size: int) -> None:
        """The space before the next unit, if there is one."""
        self.characters += size
        if not self.has_free_space:
            self.pressed += size
        self.has_free_space = False

    def type(self, num_characters: int) -> None:
        """Punctuation, digits, emoji: one key each."""
        self.characters += num_characters
        self.pressed += num_characters

    def word(self, num_letters: int, taken_after: int | None) -> None:
        """A word, accepted after so many letters or typed to its end."""
        if taken_after is None:
            self.keys(num_letters, num_letters, has_free_space=False)
        else:
            self.keys(num_letters, taken_after + 1, has_free_space=True)

    def keys(self, num_letters: int, pressed: int, *, has_free_space: bool) -> None:
        """A word that took so many keys, and whether it brought its space."""
        self.characters += num_letters
        self.pressed += pressed
        self.has_free_space = has_free_space

    def keystrokes(self) -> Keystrokes:
        """The sums so far."""
        return Keystrokes(self.pressed, self.characters)
