"""What two words were meant to be, once both are known.

In: two words as their letters were typed, what stands in their place, and the scores of the place before
them. Out: what was meant. Next stop: `fedkey.engine`.

Three things show only then. A space slipped: it was put a letter too early or too late (th eother, tot he),
or into a word (th e, it s); then what may be meant is what the letters are with the space elsewhere, words of
the lexicon, four ways at most. The key beside the apostrophe was hit (don;t). And which of two words is meant
that are one but for their apostrophe (were, we're) the next word tells better than those before. All are
scored by the model in one run, together with what stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fedkey.casing import like_typed
from fedkey.corrections import CONTRACTIONS, LEFT_OUT, contraction_margin
from fedkey.lexicon import Lexicon
from fedkey.places import Place

CLEARLY = 3.0
"""Nats by which words with another space must be likelier than the letters as they were typed; what a
correction made of them was a guess already, and needs to be no more than less likely. Of 1,394 pairs of words
of validation authors whose space slipped, shipped bundle, 2026-11-29, 1,317 are put right (203 by correcting
each word alone), and of 40,014 typed as they stand 12 are moved, half of them slips of theirs (your self)."""

REAL_WORDS = 6.0
"""The same where both are words as they stand (that show)."""

ONE_WORD = 10.0
"""The same where they are to be one word (the rapist, car pet, work load)."""

MUCH_RARER = 4.0
"""Nats by which words are too rare beside what stands, whatever the place, to ask the model of them: it is
asked of 1.6 % of the pairs typed right, without this of 8 %, and finds the same."""

TOO_SOON = 0.0
"""Nats by which a word without its apostrophe must be likelier than the one that was put (were you)."""

TOO_LATE = 2.0
"""Nats more, than when it was typed, by which the one with it must be. Of 786 that validation authors wrote,
typed without, 621 are put in the end, 608 by the first word alone; of 711 that they wrote plain, mostly by
mistake, 99 and 101. Nobody there begins with *were you*."""

_ONE_LETTER = frozenset("ai")
_FOR_WORDS = frozenset("ckmnrux")
"""What chats write for words: see, okay, am, and, are, you, a kiss."""


class Meant(NamedTuple):
    """One or two words that may be meant.

    Attributes:
        text: as it would be written.
        path: its pieces.
        lead: nats by which it must be likelier than what stands.
        other: where only the first word is another one, the numbers of that one and of the one that stands.
    """

    text: str
    path: tuple[int, ...]
    lead: float
    other: tuple[int, int] | None = None


class SecondThoughts:
    """Holds what no text changes: the words, and by which pieces the model knows them."""

    def __init__(
        self,
        lexicon: Lexicon,
        number: Callable[[str], int | None],
        path: Callable[[str], tuple[int, ...]],
        is_pinned: Callable[[str], bool],
    ) -> None:
        """`number` tells which word of the lexicon letters are, None of what is not to be offered; `path` the
        pieces of any; `is_pinned` whether the owner brought a word back."""
        self._lexicon = lexicon
        self._is_pinned = is_pinned
        self._number = number
        self._path = path
        self._rarest = float(lexicon.log_prob.min())

    def find(
        self, context: str, first: str, second: str, stands: str, *, starts_sentence: bool
    ) -> list[Meant]:
        """What may be meant by two words with a space between them; not what stands there, nor what is much
        rarer. Of an empty list the model need not be asked.

        Args:
            context: the text before them.
            first, second: as they were typed.
            stands: what stands in their place.
            starts_sentence: whether they begin a sentence.
        """
        with_other_apostrophe = self._with_other_apostrophe(context, first, stands, starts_sentence)
        found = self._with_other_space(first, second, stands, starts_sentence)
        return found if with_other_apostrophe is None else [*found, with_other_apostrophe]

    def _with_other_space(self, first: str, second: str, stands: str, starts_sentence: bool) -> list[Meant]:
        usual = sum(self._frequency(word) for word in stands.split(" "))
        is_corrected = _letters(stands) != _letters(f"{first} {second}")
        are_words = all(self._stands_alone(word) for word in (first, second))
        # A letter before a word is one of its letters, or somebody names it (the letter b and).
        is_named = len(first) == 1 and self._stands_alone(second)
        found = []
        for words in _elsewhere(first, second):
            forms = [form for word in words if (form := self._form(word)) is not None]
            is_cased = all(word[1:] == word[1:].lower() or word.isupper() for word in words)
            is_rare = sum(map(self._frequency, forms)) < usual - MUCH_RARER
            if len(forms) < len(words) or not is_cased or is_rare:
                continue
            text = " ".join(
                like_typed(form, word, starts_sentence=starts_sentence and at == 0)
                for at, (form, word) in enumerate(zip(forms, words, strict=True))
            )
            if len(words) == 1 and are_words:
                lead = ONE_WORD
            elif are_words or (len(words) == 1 and is_named):
                lead = REAL_WORDS
            else:
                lead = 0.0 if is_corrected else CLEARLY
            if text.lower() != stands.lower():
                path = tuple(piece for form in forms for piece in self._path(form))
                found.append(Meant(text, path, lead))
        return found

    def _with_other_apostrophe(
        self, context: str, first: str, stands: str, starts_sentence: bool
    ) -> Meant | None:
        """The pair with the first word's apostrophe if it stands without, without it if it was put there."""
        put, *rest = stands.split(" ")
        plain, apart = first.lower(), CONTRACTIONS.get(first.lower(), "")
        form = self._lexicon.forms.get(apart.lower())
        if form is None or first not in (plain, plain.capitalize()) or self._is_pinned(plain):
            return None
        is_name = first != plain and not starts_sentence  # see you Wed
        if put.lower() == plain and not is_name:
            word, lead = like_typed(form, first, starts_sentence=False), TOO_LATE
            lead += contraction_margin(context, first)
        elif put.lower() == apart.lower():
            word, lead = first, TOO_SOON
        else:
            return None
        path = (
            *self._path(word.lower() if starts_sentence else word),
            *(i for each in rest for i in self._path(each)),
        )
        meant, standing = self._number(word), self._number(put)
        if meant is None or standing is None:
            return None
        return Meant(" ".join((word, *rest)), path, lead, (meant, standing))

    def contracted(self, first: str, second: str, *, starts_sentence: bool) -> str | None:
        """The word that two are with an apostrophe between them; None if there is none."""
        whole = f"{first}'{second}"
        form = self._form(whole)
        is_variable = len(first) == 1 and first not in "iI"  # of a line of code
        return (
            None if form is None or is_variable else like_typed(form, whole, starts_sentence=starts_sentence)
        )

    def best(self, found: list[Meant], stands: str, place: Place) -> str | None:
        """The likeliest, if it is likely enough beside what stands."""
        words = stands.split(" ")
        if place.context.starts_sentence:
            words[0] = words[0].lower()  # as the model has learned words there
        paths = [*(each.path for each in found), tuple(i for word in words for i in self._path(word))]
        log_probs = place.scores.spelled(paths)
        fits = place.scores.fits(paths, log_probs, place.tail)
        *scores, alone = [one + other for one, other in zip(log_probs, fits, strict=True)]
        leads = [
            score - alone - each.lead + self._more_of_first(each, place)
            for score, each in zip(scores, found, strict=True)
        ]
        return found[leads.index(max(leads))].text if max(leads) > 0 else None

    def _more_of_first(self, meant: Meant, place: Place) -> float:
        """What n-grams and the conversation say of the first word, where there is but that to tell; of what
        the model alone says, in nats."""
        if meant.other is None:
            return 0.0
        numbers = np.array(sorted(meant.other), dtype=np.int64)
        mixed = dict(zip(numbers.tolist(), place.scores.log_probs(numbers).tolist(), strict=True))
        alone = place.scores.spelled([self._lexicon.pieces(number) for number in meant.other])
        one, other = (mixed[number] - log_prob for number, log_prob in zip(meant.other, alone, strict=True))
        return float(one - other)

    def _form(self, word: str) -> str | None:
        """How the lexicon writes letters; with the apostrophe if they are no word without."""
        if LEFT_OUT.fullmatch(word):
            apart = (f"{word[:at]}'{word[at:]}".lower() for at in range(1, len(word)))
            return next((self._lexicon.forms[each] for each in apart if each in self._lexicon.forms), None)
        form = self._lexicon.forms[word.lower()] if self._is_word(word) else None
        # Nobody means CA by letters that are small.
        return None if form is not None and len(form) > 1 and form.isupper() and word.islower() else form

    def _stands_alone(self, letters: str) -> bool:
        """Whether letters are a word of the lexicon, offered or not, or what chats write for one."""
        return letters.lower() in (_ONE_LETTER | _FOR_WORDS if len(letters) == 1 else self._lexicon.forms)

    def _is_word(self, letters: str) -> bool:
        is_long_enough = len(letters) > 1 or letters.lower() in _ONE_LETTER
        return is_long_enough and self._number(letters) is not None

    def _frequency(self, word: str) -> float:
        number = self._number(word)
        return self._rarest if number is None else float(self._lexicon.log_prob[number])


def _letters(text: str) -> str:
    return text.lower().replace("'", "")


def _elsewhere(first: str, second: str) -> list[tuple[str, ...]]:
    """The letters with the space a letter earlier, a letter later, without it, and with an apostrophe for
    it."""
    ways = [
        (first[:-1], first[-1] + second),
        (first + second[0], second[1:]),
        (first + second,),
        (f"{first}'{second}",),
    ]
    return [words for words in ways if all(words)]
