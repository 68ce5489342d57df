"""A typist who mistypes, and what the keyboard makes of it.

In: conversations and a way of mistyping, or real misspellings; and anything that suggests words. Out: sums of
`fedkey.metrics`. Next stop: `fedkey.cli.eval`.

Autocorrect is judged on every word that the text ends by a space, typed to its end whatever is shown. What
stands before a word is the text as it was meant: whatever went wrong earlier has been put right.

Keystrokes are counted as in `fedkey.simulate`, and for mistyped words so:

- The typist looks after every key and takes the word he means the moment it is shown, one key, which brings
  its space; also after wrong letters, and after the last.
- A word that was not shown is ended by the space or punctuation that follows it; one that ends its message by
  a space, one key, if it was mistyped, and not at all if it was typed right.
- If autocorrect then puts the word that was meant, it has cost nothing more.
- Whatever else stands then, left or changed, is taken back: one key to take back the space, which undoes the
  correction too, and one for the space that was pressed in vain. If the word had been typed right that is
  all, since what was undone stays.
- Otherwise one key takes back each letter from the first wrong one on, and the rest of the word is typed
  again; the typist looks again after every key.
- Unaided, the typist does the same with a keyboard that shows and corrects nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from fedkey.conversations import GradedConversation
from fedkey.metrics import Autocorrect, Corrections, Keystrokes, RightWords, Sums
from fedkey.simulate import Input, Look, Predictor, Typist, draws
from fedkey.text import PLACEHOLDERS, capitalise, is_word, units_with_places
from fedkey.typos import Misspelling, Slips, Typed


@dataclass(frozen=True)
class ByKind(Sums):
    """Corrections by the kind of slip, see `fedkey.typos.KINDS`."""

    substitution: Corrections = Corrections()
    omission: Corrections = Corrections()
    insertion: Corrections = Corrections()
    transposition: Corrections = Corrections()
    doubling: Corrections = Corrections()


@dataclass(frozen=True)
class Typing(Sums):
    """Everything measured while a text is typed with mistakes."""

    autocorrect: Autocorrect = Autocorrect()
    by_kind: ByKind = ByKind()
    """Of `autocorrect.nonwords`, those whose slip has a kind."""
    aided: Keystrokes = Keystrokes()
    """With the keyboard's suggestions and corrections."""
    unaided: Keystrokes = Keystrokes()
    """The same mistakes, with no help."""


def grade_typing(
    predictor: Predictor,
    conversations: Iterable[GradedConversation],
    is_known: Callable[[str], bool],
    slips: Slips,
    *,
    seed: int = 0,
) -> dict[str, Typing]:
    """Types the graded messages with mistakes; returns the sums of each author.

    Args:
        predictor: what shows and corrects.
        conversations: texts to type.
        is_known: whether the lexicon holds a word, in any case.
        slips: how words are mistyped.
        seed: of the mistakes; the same for every predictor compared.
    """
    totals: dict[str, Typing] = {}
    for conversation in conversations:
        for index, before, message in conversation.to_type():
            typing = _type_message(predictor, before, message, is_known, slips, draws(seed, index, message))
            totals[conversation.author] = totals.get(conversation.author, Typing()) + typing
    return totals


def _type_message(
    predictor: Predictor,
    before: str,
    message: str,
    is_known: Callable[[str], bool],
    slips: Slips,
    rng: np.random.Generator,
) -> Typing:
    aided, unaided = Typist(), Typist()
    total = Typing()
    end = 0
    for unit, start in units_with_places(message):
        for typist in (aided, unaided):
            typist.gap(start - end)
        end = start + len(unit)
        if unit in PLACEHOLDERS:
            continue
        if not is_word(unit):
            for typist in (aided, unaided):
                typist.type(len(unit))
            continue
        typed = slips(unit, rng)
        look = Look(predictor, before + message[:start], unit, [])
        if message[end : end + 1] == " ":
            judged = judge(look, typed, unit, is_known)
            total += Typing(judged, ByKind(**{typed.kind: judged.nonwords}) if typed.kind else ByKind())
        pressed, has_free_space = _keys(look, typed, unit, is_last=end == len(message))
        aided.keys(len(unit), pressed, has_free_space=has_free_space)
        unaided.keys(len(unit), _keys_unaided(typed.letters, unit), has_free_space=False)
    return total + Typing(aided=aided.keystrokes(), unaided=unaided.keystrokes())


def judge(look: Look, typed: Typed, meant: str, is_known: Callable[[str], bool]) -> Autocorrect:
    """One word that was typed to its end and ended by a space."""
    letters, after = typed.letters, _after_space(look, typed)
    if _same(letters, meant):
        is_harmed = not _same(after, meant)
        only_apostrophes = is_harmed and _same(after.replace("'", ""), meant)
        right = RightWords(1, int(is_harmed), int(only_apostrophes))
        return Autocorrect(right_known=right) if is_known(meant) else Autocorrect(right_unknown=right)
    corrections = Corrections(
        repaired=int(_same(after, meant)),
        missed=int(_same(after, letters)),
        wrong=int(not _same(after, meant) and not _same(after, letters)),
        offered=int(look.rank(typed.input) is not None),
    )
    if is_known(letters):
        return Autocorrect(real_words=corrections)
    return Autocorrect(nonwords=corrections) if is_known(meant) else Autocorrect(strangers=corrections)


def _after_space(look: Look, typed: Typed) -> str:
    correction = look.correction(typed.input)
    return typed.letters if correction is None else correction


def _keys(look: Look, typed: Typed, meant: str, *, is_last: bool) -> tuple[int, bool]:
    """Keys pressed for a word, without the space that follows it in the text; and whether it brought that
    space."""
    length = len(typed.letters)
    shown = _first_shown(look, typed.input, range(length))
    if shown is not None:
        return shown + 1, True
    is_right = _same(typed.letters, meant)
    if is_right and is_last:
        return length, False
    if _same(_after_space(look, typed), meant):
        return length + int(is_last), False
    if is_right:
        return length + _IN_VAIN, False
    if look.rank(typed.input) is not None:
        return length + 1, True
    stands = num_right(typed.letters, meant)
    pressed = length + _IN_VAIN + length - stands
    shown = _first_shown(look, meant, range(stands, len(meant)))
    if shown is not None:
        return pressed + shown - stands + 1, True
    return pressed + len(meant) - stands, False


_IN_VAIN = 2
"""Keys for a space that has to be taken back: itself, and the key that takes it back."""


def _keys_unaided(typed: str, meant: str) -> int:
    if _same(typed, meant):
        return len(typed)
    return len(typed) + _IN_VAIN + len(typed) + len(meant) - 2 * num_right(typed, meant)


def _first_shown(look: Look, typed: Input, places: range) -> int | None:
    """After how many of the letters of `typed` the meant word is first among those shown."""
    return next((n for n in places if look.rank(typed[:n] or "") is not None), None)


def num_right(typed: str, meant: str) -> int:
    """How many letters stand right before the first wrong one."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(typed, meant, strict=False)))


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()


# ------------------------------------------------------------------------------------------ real misspellings


class Placed(NamedTuple):
    """A misspelling where it could have been typed."""

    typed: str
    meant: str
    context: str
    """What stands before it; empty if no text at hand holds the word that was meant."""


def place(
    misspellings: Sequence[Misspelling],
    conversations: Iterable[GradedConversation],
    *,
    at_most: int | None,
    seed: int,
) -> list[Placed]:
    """Draws misspellings, and for each a place in the graded messages where the word that was meant stands.

    All misspellings are as likely, however frequent their word is. Those of words that no graded message
    holds stand alone. Where the word stands with a capital, its misspelling gets one.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(misspellings))[:at_most]
    found: dict[str, list[tuple[GradedConversation, int, int]]] = {
        misspellings[index].meant.lower(): [] for index in chosen
    }
    for conversation in conversations:
        for index, _, message in conversation.to_type():
            for unit, start in units_with_places(message):
                if unit.lower() in found:
                    found[unit.lower()].append((conversation, index, start))
    placed = []
    for number in chosen:
        typed, meant = misspellings[number]
        places = found[meant.lower()]
        if not places:
            placed.append(Placed(typed, meant, ""))
            continue
        conversation, index, start = places[int(rng.integers(len(places)))]
        message = conversation.messages[index]
        letters = capitalise(typed) if message[start].isupper() else typed
        placed.append(Placed(letters, meant, conversation.before(index) + message[:start]))
    return placed


@dataclass(frozen=True)
class Misspelt(Sums):
    """Misspellings that were typed and ended by a space."""

    nonwords: Corrections = Corrections()
    in_context: Corrections = Corrections()
    """Of the nonwords, those that stand in a conversation."""
    real_words: Corrections = Corrections()
    """Misspellings that are other words of the lexicon."""


def grade_misspellings(
    predictor: Predictor, placed: Iterable[Placed], is_known: Callable[[str], bool]
) -> Misspelt:
    """Types each misspelling where it was placed, and a space; the lexicon knows every word that was
    meant."""
    total = Misspelt()
    for typed, meant, context in placed:
        judged = judge(Look(predictor, context, meant, []), Typed(typed, None), meant, is_known)
        in_context = judged.nonwords if context else Corrections()
        total += Misspelt(judged.nonwords, in_context, judged.real_words)
    return total
