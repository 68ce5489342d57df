"""What a space makes of a word: what stands, with its capitals, or what was meant by it.

In: letters, the place where they stand, and what competes for them. Out: what to put in their stead, and why.
Next stop: `fedkey.engine`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.casing import like_typed, surely_meant
from fedkey.contest import Contest, ContestFinder
from fedkey.context import rest_of_message
from fedkey.corrections import (
    CONTRACTIONS,
    LEFT_OUT,
    ONCE_WRITTEN,
    SHORT_FORMS,
    TOLD_BY_THE_NEXT,
    CorrectionModel,
    confidence,
    contraction_margin,
    correction,
    is_part_of_something,
    may_be_corrected,
    was_written,
)
from fedkey.dictionary import Dictionary
from fedkey.explanation import Rival, Verdict, rivals
from fedkey.judge import Choice, Literal
from fedkey.lexicon import OFFENSIVE, Lexicon
from fedkey.owner import OwnHabits
from fedkey.personal_rules import makes_address
from fedkey.places import Place
from fedkey.spelling import LetterModel
from fedkey.taps import Tap, Touch
from fedkey.text import is_word

_HELD_SHIFT = re.compile(r"[A-Z]{2}(?!(?:s|d|ed|er|ing)\Z)[a-z]+(?:'[a-z]+)?")
"""Shift was held for the second letter, too; not a form of an abbreviation (TVs, DMing)."""

_HELD_CAPS_LOCK = re.compile(r"[a-z][A-Z']{2,}")
"""Caps lock was held, perhaps: all is the other way round."""

_SPELLED = re.compile(r"(?<!\S)[^\W_aiAI] \Z")
"""One letter that is no word, and a space."""

NAME_MISTYPED = 0.8
"""How sure it must be that small letters which are a name (tim) are another word mistyped. Of 4,233 slips of
validation authors' words that are such letters, bundle of 2026-11-29, 1,699 are repaired at 0.8 and 56 made
something else, 2,049 and 146 at 0.72; of 712 names that they wrote, typed small, none and one (rian) is
changed. Before, all 4,233 got the name's capital. It is put where it is likelier than all else together: on
355 of them, and on 709 of the 712."""

NO_SENTENCE = 2.0
"""Nats by which a form with an apostrophe that was said may be less likely to the model alone, which does not
count what was said. None of 610 that are rightly put for validation authors' words is beyond, bundle of
2026-11-29; what was said made we'll of "a well", 5 nats beyond."""

NUM_KEPT = 64
"""Places where what was taken back is not put again."""

STEM_ENDINGS = ("s", "d", "ll", "ve", "re")
"""What stands behind the apostrophe of a word that is known if its stem is (the market's, who'd)."""


class Doubt(NamedTuple):
    """What competes for a word that may be mistyped.

    Attributes:
        literal: the text as it stands.
        choices: what else may be meant.
    """

    literal: Literal
    choices: tuple[Choice, ...]

    def place_of(self, word: str) -> int:
        """Of a word among the choices, in whatever case; -1 if it is none of them."""
        texts = [each.text.lower() for each in self.choices]
        return texts.index(word.lower()) if word.lower() in texts else -1


class Corrector:
    """Judges words by a bundle's lists and fits, and by what their owner taught. What was taken back lately
    is not put again in its place."""

    def __init__(
        self,
        lexicon: Lexicon,
        dictionary: Dictionary,
        model: CorrectionModel,
        contests: ContestFinder,
        own_spelling: Callable[[str], str | None],
        is_pinned: Callable[[str], bool],
        path: Callable[[str], tuple[int, ...]],
    ) -> None:
        """`own_spelling` tells how the owner writes a known word, None of others; `is_pinned` whether they
        taught it, or brought it back; `path` the pieces of a word."""
        self._lexicon = lexicon
        self._dictionary = dictionary
        self._model = model
        self._contests = contests
        self._own_spelling = own_spelling
        self._is_pinned = is_pinned
        self._path = path
        self._letters = LetterModel(lexicon)
        self._kept: dict[tuple[str, str], None] = {}  # the oldest first

    # ------------------------------------------------------------------------------- what was taken back

    def keep(self, context: str, letters: str) -> None:
        """The letters are left alone after this context, whatever competes, until `NUM_KEPT` others were kept
        since."""
        self.keep_no_more(context, letters)
        self._kept[context, letters.lower()] = None
        while len(self._kept) > NUM_KEPT:
            del self._kept[next(iter(self._kept))]

    def keep_as(self, other: Corrector) -> None:
        """Leaves alone what another one does."""
        self._kept = dict(other._kept)

    def keep_no_more(self, context: str, letters: str) -> None:
        """Judges the letters after this context again."""
        self._kept.pop((context, letters.lower()), None)

    def is_kept(self, context: str, letters: str) -> bool:
        """Whether the letters are left alone there, in whatever case."""
        return (context, letters.lower()) in self._kept

    # ------------------------------------------------------------------------------------- what is right

    def is_known(self, letters: str) -> bool:
        """Whether a word is known, or that of which it is a form with an apostrophe."""
        key = letters.lower()
        stem, _, ending = key.rpartition("'")
        return any(
            each in self._lexicon.forms or each in self._dictionary or self._own_spelling(each) is not None
            for each in ((key, stem) if stem and ending in STEM_ENDINGS else (key,))
        )

    def is_doubtful(self, context: str, letters: str, after: str) -> bool:
        """Whether anything may be put in their place: they are no word that is known, and look like one that
        somebody mistyped."""
        behind = rest_of_message(after)
        return (
            may_be_corrected(context, self._unheld(letters), behind)
            and not self.is_known(letters)
            and not was_written(context, letters, behind)
        )

    def _unheld(self, letters: str) -> str:
        """The letters without the capitals of a shift key that was held too long (DOnt is Dont), or of caps
        lock where the small ones are known and not written so (tHE is The, and iOS itself)."""
        if _HELD_SHIFT.fullmatch(letters):
            return letters.capitalize()
        lower = letters.lower()
        if not _HELD_CAPS_LOCK.fullmatch(letters) or lower in SHORT_FORMS:
            return letters
        is_other = self._lexicon.forms.get(lower, letters) != letters
        return letters.swapcase() if is_other or LEFT_OUT.fullmatch(lower) else letters

    def is_perhaps_name(self, context: str, letters: str, after: str) -> bool:
        """Whether letters are a word but for its capital (tim), and so perhaps another one that was mistyped
        (time)."""
        behind = rest_of_message(after)
        return (
            len(self._names(letters)) > 0
            and may_be_corrected(context, letters, behind)
            and not is_part_of_something(context, letters)
            and self._own_spelling(letters) is None
            and not was_written(context, letters, behind)
        )

    def may_be_reconsidered(self, context: str, first: str, second: str, gap: str, after: str) -> bool:
        """Whether two words may be thought over once both are known: neither is a part of an address or a
        tag, a letter of what is spelled (w h a t), nor a word only to the owner or in this conversation."""
        if len(first) == 1 and _SPELLED.search(context):
            return False
        behind = rest_of_message(after)
        places = ((context, first, f"{gap}{second}{behind}"), (f"{context}{first}{gap}", second, behind))
        return not any(
            is_part_of_something(before, word)
            or not is_word(word)
            or not word.isascii()
            or makes_address(rest)
            or (
                word.lower() not in self._lexicon.forms
                and (self._own_spelling(word.lower()) is not None or was_written(before, word, rest))
            )
            for before, word, rest in places
        )

    def _names(self, letters: str) -> npt.NDArray[np.int64]:
        """The words that small letters are but for their capitals, ascending; none if they are one small."""
        node = self._lexicon.walk(letters) if letters == letters.lower() and "'" not in letters else None
        words = [] if node is None else list(self._lexicon.words_at(node))
        is_word = any(self._lexicon.word(word) == letters for word in words)
        return np.array([] if is_word else words, dtype=np.int64)

    def literal_path(self, letters: str, place: Place) -> tuple[int, ...]:
        """The pieces by which the model reads letters as they stand: at a sentence's start without their
        capital, as it has learned words there."""
        letters = self._unheld(letters)
        return self._path(letters.lower() if place.context.starts_sentence else letters)

    # --------------------------------------------------------------------------------- what is put instead

    def doubt(
        self, contest: Contest, touches: Sequence[Touch], letters: str, place: Place, habits: OwnHabits
    ) -> Doubt:
        """What is known of the letters, and of what else a space may make of them, in no order."""
        meant = self._unheld(letters)
        choices = self._contests.choices(
            contest,
            meant,
            place.scores,
            habits.known,
            habits.spellings,
            starts_sentence=place.context.starts_sentence,
        )
        if meant != letters:
            # Of one who holds a key the first letter is right; with another one it is a name (UBoat, VHost).
            choices = [each for each in choices if each.text[:1] == meant[:1]]
        paths = [tuple(i for word in each.text.split(" ") for i in self._path(word)) for each in choices]
        fits = place.scores.fits(paths, [each.log_prob for each in choices], place.tail)
        literal = Literal(
            meant,
            self._letters.log_prob(meant),
            place.scores.spelled([contest.literal_path])[0],
            is_name(meant, place),
            any(isinstance(touch, Tap) for touch in touches),
        )
        fitted = tuple(
            each._replace(log_prob=each.log_prob + fit) for each, fit in zip(choices, fits, strict=True)
        )
        return Doubt(literal, self._without_inflections(literal, fitted))

    def _without_inflections(self, literal: Literal, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        """The choices; if the best only lacks its apostrophe (it'd for itd), without other forms of its stem
        (it, its, it's), which would share its votes. Of 204 rarer ones that validation authors wrote 173 are
        put instead of 162, and of 1,188 slips of such stems 2 more become one."""
        scores = self._model.scores(literal, choices)[1]
        best = choices[scores.index(max(scores))].text.lower() if scores else ""
        stem, apostrophe, _ = best.partition("'")
        if not apostrophe or best.replace("'", "") != literal.text.lower():
            return choices
        others = {stem + ending for ending in ("", *STEM_ENDINGS)} - {best.replace("'", "")}
        return tuple(each for each in choices if each.text.lower().replace("'", "") not in others)

    def correction(self, context: str, doubt: Doubt, place: Place) -> str | None:
        """What a space puts in place of doubtful letters, if it is sure enough."""
        letters = doubt.literal.text
        if self.is_kept(context, letters):
            return None
        names = self._names(letters)
        if not len(names):
            return correction(self._model, *doubt)
        best, alone, scores = self._as_name(names, place, doubt)
        if scores and confidence(alone, scores) >= NAME_MISTYPED:
            return doubt.choices[scores.index(max(scores))].text
        is_likelier = alone > np.logaddexp.reduce(scores, initial=-np.inf)
        return self._lexicon.word(best) if is_likelier and not self._lexicon.flags[best] & OFFENSIVE else None

    def needed_confidence(self, letters: str) -> float:
        """How sure a correction of doubtful letters must be."""
        return NAME_MISTYPED if len(self._names(letters)) else self._model.min_confidence

    def scores(self, doubt: Doubt, place: Place) -> tuple[float, list[float]]:
        """What doubtful letters as they stand and the choices compete by."""
        names = self._names(doubt.literal.text)
        return self._as_name(names, place, doubt)[1:] if len(names) else self._model.scores(*doubt)

    def _as_name(
        self, names: npt.NDArray[np.int64], place: Place, doubt: Doubt
    ) -> tuple[int, float, list[float]]:
        """The likeliest of some names, what it competes by, and what the choices do: the judge, which knows
        letters alone, is not asked of what is in the lexicon."""
        model = self._model
        scores = (
            model.model_weight * self._in_front(names, place)
            + model.frequency_weight * self._lexicon.log_prob[names]
        )
        at = int(scores.argmax())
        return int(names[at]), float(scores[at]), [model.score(choice) for choice in doubt.choices]

    def rightly_written(self, context: str, letters: str, place: Place, *, private: bool) -> str | None:
        """A word typed in small letters that is only ever written otherwise (i, i'm, london), or most likely
        is so here (mark and Mark, its and it's); or one with capitals too many (THe, tHE). None if it is
        right. With `private` no capital shows that the owner taught, but what they write small is left so."""
        if self.is_kept(context, letters) or is_part_of_something(context, letters):
            return None
        meant = self._unheld(letters)
        contracted = self._contracted(context, meant, place)
        if contracted is not None:
            return contracted
        form = self._lexicon.forms.get(letters.lower())
        if meant != letters and form is not None:
            meant = meant if form.islower() else form
            return None if letters in (meant, self._own_spelling(letters)) else meant
        if letters != letters.lower():
            return None
        own = self._own_spelling(letters)
        if own == letters:
            return None
        if own is not None and not private:
            return own
        if letters in SHORT_FORMS:
            return None
        node = self._lexicon.walk(letters)
        words = range(0) if node is None else self._lexicon.words_at(node)
        surfaces = [self._lexicon.word(word) for word in words]
        if letters not in surfaces:
            is_offered = any(not self._lexicon.flags[word] & OFFENSIVE for word in words)
            return self._lexicon.forms[letters] if is_offered else None
        if len(surfaces) == 1:
            return None
        log_probs = self._in_front(np.array(words, dtype=np.int64), place).tolist()
        return surely_meant(letters, surfaces, log_probs)

    def _contracted(self, context: str, letters: str, place: Place) -> str | None:
        """The word with the apostrophe that was left out (it's for its), if that is likelier here."""
        whole, apart = letters.lower(), CONTRACTIONS.get(letters.lower())
        if (
            apart is None
            or whole in TOLD_BY_THE_NEXT
            or letters not in (whole, whole.capitalize())
            or self._is_pinned(whole)
        ):
            return None
        # A capital inside a sentence is that of a name (Wed), or of the first person (Ill).
        is_inside = letters != whole and not place.context.starts_sentence
        is_first_person = is_inside and letters == apart.replace("'", "")
        if is_inside and not is_first_person and whole in ONCE_WRITTEN:
            return None
        node = self._lexicon.walk(whole)
        meant = self._lexicon.find(self._lexicon.forms.get(apart.lower(), ""))
        if node is None or meant is None:
            return None
        numbers = np.array(sorted((*self._lexicon.words_at(node), meant)), dtype=np.int64)
        log_probs = self._in_front(numbers, place)
        plain = np.logaddexp.reduce(log_probs[numbers != meant])
        lead = float(log_probs[numbers == meant][0] - plain)
        if lead < (0.0 if is_first_person else contraction_margin(context, letters)):
            return None
        if was_written(context, apart):
            alone, with_apostrophe = place.scores.spelled([self._path(whole), self._path(apart)])
            if with_apostrophe < alone - NO_SENTENCE:
                return None
        return like_typed(apart, letters, starts_sentence=place.context.starts_sentence)

    def _in_front(self, numbers: npt.NDArray[np.int64], place: Place) -> npt.NDArray[np.float64]:
        """The log probabilities of ascending words in a place, in front of what stands behind it, [N]."""
        log_probs = place.scores.log_probs(numbers).astype(np.float64)
        paths = [self._lexicon.pieces(number) for number in numbers.tolist()]
        fits = np.array(place.scores.fits(paths, log_probs.tolist(), place.tail), dtype=np.float64)
        in_front: npt.NDArray[np.float64] = log_probs + fits
        return in_front

    def verdict(
        self,
        context: str,
        letters: str,
        behind: str,
        place: Place,
        doubt: Doubt | None,
        *,
        private: bool,
    ) -> tuple[Verdict, str | None, tuple[Rival, ...]]:
        """What a space does with the letters, why, and what competed; `doubt` is None if it may put nothing
        in their place; `private` as for `rightly_written`."""
        if not letters:
            return Verdict.NOTHING_TYPED, None, ()
        if doubt is None:
            corrected = self.rightly_written(context, letters, place, private=private)
            if corrected is not None:
                return Verdict.RECASED, corrected, ()
            if self.is_known(letters):
                return Verdict.KNOWN, None, ()
            is_written = was_written(context, letters, behind)
            return Verdict.WRITTEN if is_written else Verdict.EXEMPT, None, ()
        alone, scores = self.scores(doubt, place)
        texts = [each.text for each in doubt.choices]
        competing = rivals(letters, alone, list(zip(texts, scores, strict=True)))
        corrected = self.correction(context, doubt, place)
        if corrected is not None:
            is_recased = corrected.lower() == letters.lower()
            return Verdict.RECASED if is_recased else Verdict.SURE, corrected, competing
        if self.is_kept(context, letters):
            return Verdict.KEPT, None, competing
        return Verdict.UNSURE if doubt.choices else Verdict.ALONE, None, competing


def is_name(letters: str, place: Place) -> bool:
    """Whether a word begins with a capital inside a sentence, or behind a title."""
    return letters[:1].isupper() and (not place.context.starts_sentence or place.context.follows_title)
