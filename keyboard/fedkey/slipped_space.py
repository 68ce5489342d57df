"""A space that slipped: it was put a letter too early or too late (th eother, tot he), or into a word (th e,
it s).

In: two words as their letters were typed, what stands in their place, and the scores of the place before
them. Out: the words that were meant. Next stop: `fedkey.engine`.

No letter was mistyped, only the space, so that what may be meant is what the letters are with the space
elsewhere: words of the lexicon, four ways at most. All are scored by the model in one run, together with what
stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fedkey.casing import like_typed
from fedkey.corrections import LEFT_OUT
from fedkey.lexicon import Lexicon
from fedkey.places import Place

CLEARLY = 3.0
"""Nats by which other words must be likelier than the letters as they were typed; what a correction made of
them was a guess already, and needs to be no more than less likely. Of 1,394 pairs of words of validation
authors whose space slipped, shipped bundle, 2026-11-29, 1,327 are put right (203 by correcting each word
alone), and of 40,014 typed as they stand 22 are moved, half of them slips of theirs (your self, aw are)."""

MUCH_RARER = 4.0
"""Nats by which words are too rare beside what stands, whatever the place, to ask the model of them: it is
asked of one pair in a hundred, without this of one in twelve, and finds the same."""

REAL_WORDS = 6.0
"""The same where both are words as they stand (that show, work load)."""

_ONE_LETTER = frozenset("ai")


class Respacing(NamedTuple):
    """One or two words that may be meant.

    Attributes:
        text: as it would be written.
        path: its pieces.
        lead: nats by which it must be likelier than what stands.
    """

    text: str
    path: tuple[int, ...]
    lead: float


class SlippedSpaces:
    """Holds what no text changes: the words, and by which pieces the model knows them."""

    def __init__(
        self,
        lexicon: Lexicon,
        number: Callable[[str], int | None],
        path: Callable[[str], tuple[int, ...]],
    ) -> None:
        """`number` tells which word of the lexicon letters are, None of what is not to be offered; `path` the
        pieces of any."""
        self._lexicon = lexicon
        self._number = number
        self._path = path
        self._rarest = float(lexicon.log_prob.min())

    def find(self, first: str, second: str, stands: str, *, starts_sentence: bool) -> list[Respacing]:
        """What two words may be with the space elsewhere; not what stands there, nor what is much rarer."""
        usual = sum(self._frequency(word) for word in stands.split(" "))
        is_corrected = _letters(stands) != _letters(f"{first} {second}")
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
            are_words = all(map(self._is_word, (first, second)))
            lead = 0.0 if is_corrected else REAL_WORDS if are_words else CLEARLY
            if text.lower() != stands.lower():
                path = tuple(piece for form in forms for piece in self._path(form))
                found.append(Respacing(text, path, lead))
        return found

    def contracted(self, first: str, second: str, *, starts_sentence: bool) -> str | None:
        """The word that two are with an apostrophe between them; None if there is none."""
        whole = f"{first}'{second}"
        form = self._form(whole)
        is_variable = len(first) == 1 and first not in "iI"  # of a line of code
        return (
            None if form is None or is_variable else like_typed(form, whole, starts_sentence=starts_sentence)
        )

    def best(self, found: list[Respacing], stands: str, place: Place) -> str | None:
        """The likeliest, if it is likely enough beside what stands."""
        words = stands.split(" ")
        if place.context.starts_sentence:
            words[0] = words[0].lower()  # as the model has learned words there
        paths = [*(each.path for each in found), tuple(i for word in words for i in self._path(word))]
        log_probs = place.scores.spelled(paths)
        fits = place.scores.fits(paths, log_probs, place.tail)
        *scores, alone = [one + other for one, other in zip(log_probs, fits, strict=True)]
        leads = [score - alone - each.lead for score, each in zip(scores, found, strict=True)]
        return found[leads.index(max(leads))].text if max(leads) > 0 else None

    def _form(self, word: str) -> str | None:
        """How the lexicon writes letters; with the apostrophe if they are no word without."""
        if LEFT_OUT.fullmatch(word):
            apart = (f"{word[:at]}'{word[at:]}".lower() for at in range(1, len(word)))
            return next((self._lexicon.forms[each] for each in apart if each in self._lexicon.forms), None)
        return self._lexicon.forms[word.lower()] if self._is_word(word) else None

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
