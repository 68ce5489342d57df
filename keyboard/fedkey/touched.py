"""Where the characters of a draft were tapped, kept beside them whatever becomes of the text.

In: one draft after the other, and the tap that typed a character, if it was one. Out: the touches of the word
being typed, as `Engine.suggest` takes them. Next stop: `fedkey.ui.drafting`.

A draft knows what is written, not how; most of it comes from keys that have no place on the screen. So the
taps follow the text from outside: what two drafts have in common keeps its taps. What stands in place of
tapped letters (a correction, a suggestion) was not tapped itself, and the letters have their taps back when
it is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedkey.draft import Draft, changed
from fedkey.layout import Layout
from fedkey.taps import Tap, Touch, literal
from fedkey.text import normalise

Taps = tuple[Tap | None, ...]
"""For each character of a text where it was tapped; None for those that were not."""


@dataclass(frozen=True)
class Touched:
    """A draft and its taps.

    Attributes:
        draft: what is written.
        taps: of its text.
        replaced: of the letters that can be taken back, see `Draft.swap`.
    """

    draft: Draft = Draft()
    taps: Taps = ()
    replaced: Taps = ()


def follow(touched: Touched, draft: Draft, tap: Tap | None = None) -> Touched:
    """The next draft with its taps.

    Args:
        touched: the one before it.
        draft: what became of it.
        tap: where the character before the caret was tapped, if that is how the draft came about.
    """
    taps, replaced = _kept(touched, draft), touched.replaced
    old, new = touched.draft.swap, draft.swap
    if old is not None and new is None and draft.text.startswith(old.typed, old.put.start):
        taps = _with(taps, old.put.start, replaced)
    if new is not None and (old is None or (new.put, new.typed) != (old.put, old.typed)):
        start = new.put.start
        replaced = touched.taps[start : start + len(new.typed)]
    if tap is not None and draft.caret:
        taps = _with(taps, draft.caret - 1, (tap,))
    return Touched(draft, taps, replaced)


def touches(touched: Touched, layout: Layout) -> tuple[Touch, ...]:
    """How the word at the caret was typed, letter by letter; empty if none of its letters was tapped.

    A tap is one only as long as its place on the layout says the letter that stands in the text. Otherwise
    the letter is a press of its key: it was tapped on another layout, or on a key that is drawn elsewhere
    than the layout has it.
    """
    draft = touched.draft
    start, letters = draft.caret - len(draft.typed), normalise(draft.word)
    taps = touched.taps[start : start + len(draft.word)]
    if len(letters) != len(taps):
        return ()
    found: list[Touch] = []
    for letter, tap in zip(letters, taps, strict=True):
        is_here = tap is not None and literal(layout, [tap]) == letter
        found.append(tap if tap is not None and is_here else letter)
    return tuple(found) if any(isinstance(each, Tap) for each in found) else ()


def _kept(touched: Touched, draft: Draft) -> Taps:
    """The taps of what two texts have in common at their beginning and at their end."""
    start, end = changed(touched.draft, draft)
    taps = touched.taps
    between: Taps = (None,) * (len(draft.text) - start - end)
    return taps[:start] + between + taps[len(taps) - end :]


def _with(taps: Taps, start: int, some: Taps) -> Taps:
    return taps[:start] + some + taps[start + len(some) :]
