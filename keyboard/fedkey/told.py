"""Which words of a draft the engine was told of, kept beside them whatever becomes of the text.

In: one draft after the other, and the words as they are told. Out: whether a word that stands there was told
of, and after which text. Next stop: `fedkey.ui.drafting`.

A word is told of once, when it is finished. Who goes back to it and goes on behind it has not written it a
second time; and when another word is put in its place, what was remembered of it has to be taken back, or a
mistake that was mended twice would count as a word of its writer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fedkey.draft import Draft, Place, followed
from fedkey.text import is_word, normalise, units_with_places


class ToldWord(NamedTuple):
    """A word that stands in a draft, and the text after which it was told of."""

    place: Place
    context: str


@dataclass(frozen=True)
class Told:
    """A draft and those of its words that were told of."""

    draft: Draft = Draft()
    words: tuple[ToldWord, ...] = ()

    def after(self, place: Place) -> str | None:
        """The text after which the word at a place was told of; None if it was not."""
        return next((word.context for word in self.words if word.place == place), None)


def follow(told: Told, draft: Draft) -> Told:
    """The next draft, and what still stands in it of the words; one that was edited is another word."""
    if draft.text == told.draft.text or not told.words:
        return Told(draft, told.words)
    places = followed(told.draft, draft, [word.place for word in told.words])
    kept = zip(places, told.words, strict=True)
    return Told(draft, tuple(ToldWord(place, word.context) for place, word in kept if place is not None))


def tell(told: Told, place: Place, context: str) -> Told:
    """With what was told of just now: one word that stands at a place, or several."""
    letters, folded = place.letters, normalise(place.letters)
    if len(folded) != len(letters):
        return told  # a number, a link: nothing that is remembered
    words = [
        ToldWord(Place(place.start + start, letters[start : start + len(unit)]), context + letters[:start])
        for unit, start in units_with_places(folded)
        if is_word(unit)
    ]
    return Told(told.draft, (*told.words, *words))
