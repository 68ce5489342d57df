"""Which words of a draft the engine was told of, kept beside them whatever becomes of the text.

In: one draft after the other, and the words as they are told. Out: whether a word that stands there was told
of, and after which text; which words do not stand any more, and what stands in their place. Next stop:
`fedkey.ui.drafting`.

A word is told of once, when it is finished. Who goes back to it and goes on behind it has not written it a
second time; and when another word is put in its place, what was remembered of it has to be taken back, or a
mistake that was mended twice would count as a word of its writer's. So it is with a word whose letters are
changed by hand. Half changed it is no word yet: only when the caret has left it is it settled what was meant.
Until then it may become again what it was, and then nothing has happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from fedkey.draft import Draft, Place, changed, followed
from fedkey.personal_rules import makes_address
from fedkey.spacing import straight
from fedkey.text import is_word, normalise, units_with_places


class ToldWord(NamedTuple):
    """A word that stands in a draft, and the text after which it was told of."""

    place: Place
    context: str


class Mending(NamedTuple):
    """Where words stood that were told of, and were changed by hand.

    Attributes:
        start, end: of what stands there now, which may be nothing.
        words: as they stood.
    """

    start: int
    end: int
    words: tuple[ToldWord, ...]


@dataclass(frozen=True)
class Told:
    """A draft, those of its words that were told of, and those that do not stand there any more.

    Attributes:
        draft: what is written.
        words: that stand in it and were told of.
        mendings: from left to right, none of which touch.
    """

    draft: Draft = Draft()
    words: tuple[ToldWord, ...] = ()
    mendings: tuple[Mending, ...] = ()

    def after(self, place: Place) -> str | None:
        """The text after which the word at a place was told of; None if it was not."""
        return next((word.context for word in self.words if word.place == place), None)

    def at(self, place: Place) -> tuple[ToldWord, ...]:
        """The words at a place that were told of, from left to right."""
        inside = (
            word for word in self.words if place.start <= word.place.start and word.place.end <= place.end
        )
        return tuple(sorted(inside, key=lambda word: word.place.start))


class Settled(NamedTuple):
    """What became of words that were changed by hand.

    Attributes:
        told: what is left.
        gone: words that do not stand any more.
        new: words that stand in their place and were not told of.
    """

    told: Told
    gone: tuple[ToldWord, ...]
    new: tuple[Place, ...]


def follow(told: Told, draft: Draft) -> Told:
    """The next draft, what still stands in it of the words, and where the others stood. A word is itself
    again when its letters are."""
    if draft.text == told.draft.text or not (told.words or told.mendings):
        return replace(told, draft=draft)
    standing = _words_of(draft.text)
    kept: dict[Place, str] = {}
    changing = []
    places = followed(told.draft, draft, [each.place for each in told.words])
    for word, place in zip(told.words, places, strict=True):
        if place is None or place not in standing:
            changing.append(Mending(word.place.start, word.place.end, (word,)))
        elif not makes_address(draft.before[place.end :][:2]):
            # Of what has become half an address the engine forgets itself, when it is told what comes after.
            kept[place] = word.context
    mendings = []
    for mending in _moved((*changing, *told.mendings), told.draft, draft, standing):
        gone = []
        for word in mending.words:
            here = (place for place in _within(mending, standing) if place.letters == word.place.letters)
            again = next((place for place in here if place not in kept), None)
            if again is None:
                gone.append(word)
            else:
                kept[again] = word.context
        if gone:
            mendings.append(mending._replace(words=tuple(gone)))
    return Told(draft, tuple(ToldWord(*each) for each in kept.items()), tuple(mendings))


def _moved(mendings: Sequence[Mending], old: Draft, new: Draft, standing: Iterable[Place]) -> list[Mending]:
    """Where mendings of one draft are in the next one: with what was written in them or right behind them,
    and with all of the words that they touch. Of those that have come together one is made."""
    start, num_same = changed(old, new)
    old_end, new_end = len(old.text) - num_same, len(new.text) - num_same
    shift = new_end - old_end
    found: list[Mending] = []
    for each in sorted(mendings, key=lambda each: each.start):
        first = each.start + shift if each.start >= old_end > start else min(each.start, start)
        last = each.end if each.end < start else max(each.end + shift, new_end)
        touched = [place for place in standing if place.start <= last and place.end >= first]
        first = min([first, *(place.start for place in touched)])
        last = max([last, *(place.end for place in touched)])
        words = each.words
        if found and first <= found[-1].end:
            before = found.pop()
            first, last = min(first, before.start), max(last, before.end)
            words = (*before.words, *words)
        found.append(Mending(first, last, words))
    return found


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
    return replace(told, words=(*told.words, *words))


def untell(told: Told, place: Place) -> Told:
    """Without the words that stand at a place: the engine knows already that they will not."""
    words = (word for word in told.words if word.place.end <= place.start or word.place.start >= place.end)
    return replace(told, words=tuple(words))


def settle(told: Told, caret: int | None) -> Settled:
    """Ends every mending but the one where the caret is, if it is anywhere."""
    left = [each for each in told.mendings if caret is None or not each.start <= caret <= each.end]
    known = {word.place for word in told.words}
    new = [place for each in left for place in _within(each, _words_of(told.draft.text))]
    return Settled(_without(told, left), _words_in(left), tuple(each for each in new if each not in known))


def replaced(told: Told, place: Place) -> tuple[Told, tuple[ToldWord, ...]]:
    """Ends the mending at a place whose word is about to be told of, and returns what it was before; that it
    is told of a second time counts as a change, too."""
    here = [each for each in told.mendings if each.start <= place.end and each.end >= place.start]
    again = tuple(word for word in told.words if word.place == place)
    return untell(_without(told, here), place), (*_words_in(here), *again)


def dismiss(told: Told, letters: str, context: str) -> tuple[Told, bool]:
    """Without a word that the engine does not remember after all; also whether it was being changed."""
    kept = []
    for mending in told.mendings:
        others = (each for each in mending.words if (each.place.letters, each.context) != (letters, context))
        kept.append(mending._replace(words=tuple(others)))
    mendings = tuple(each for each in kept if each.words)
    return replace(told, mendings=mendings), tuple(kept) != told.mendings


def _without(told: Told, mendings: Sequence[Mending]) -> Told:
    return replace(told, mendings=tuple(each for each in told.mendings if each not in mendings))


def _words_in(mendings: Iterable[Mending]) -> tuple[ToldWord, ...]:
    return tuple(word for each in mendings for word in each.words)


def _within(mending: Mending, places: Iterable[Place]) -> list[Place]:
    return [place for place in places if mending.start <= place.start and place.end <= mending.end]


def _words_of(text: str) -> dict[Place, None]:
    """The words of a text in their order."""
    found = units_with_places(straight(text))
    return {Place(start, text[start : start + len(unit)]): None for unit, start in found if is_word(unit)}
