"""What fingers type instead of the word that was meant: made-up slips, and real misspellings.

In: words and a seeded generator, or a list of misspellings that another package ships. Out: letters typed for
each word. Next stop: `fedkey.mistyping`, which types them.

Slips are single mistakes of five kinds, drawn by frequencies that no keyboard is fitted to, or taps of thumbs
that scatter as `fedkey.taps` says. An engine that weighs taps by that same model is graded there under
assumptions that are true of it; slips and misspellings are not so kind.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from fedkey.errors import UserError
from fedkey.layout import QWERTY, Layout
from fedkey.spelling import num_edits
from fedkey.taps import Thumbs, Touch, literal
from fedkey.text import is_word, normalise

SUBSTITUTION, OMISSION, INSERTION = "substitution", "omission", "insertion"
TRANSPOSITION, DOUBLING = "transposition", "doubling"

KINDS: Mapping[str, float] = {
    SUBSTITUTION: 0.37,
    OMISSION: 0.29,
    INSERTION: 0.21,
    TRANSPOSITION: 0.07,
    DOUBLING: 0.06,
}
"""Share of each kind of slip: as the 35,401 misspellings at one mistake's distance divide in the list that
`installed_misspellings` finds. There they are slips of spelling as well; only their frequencies are used."""

MIN_LETTERS = 2
"""Shorter words are never mistyped: nothing would be left to recognise them by."""


class Typed(NamedTuple):
    """What was typed for a word."""

    letters: str
    kind: str | None
    """Kind of slip, for those of `KINDS`; None for a word typed right, and for noisy thumbs."""
    touches: tuple[Touch, ...] = ()
    """Where each letter was tapped, if the keyboard is told; else empty."""

    @property
    def input(self) -> str | tuple[Touch, ...]:
        """What the keyboard is given."""
        return self.touches or self.letters


Slips = Callable[[str, np.random.Generator], Typed]
"""A way of mistyping: (word, generator) -> what is typed. Draws from the generator alone."""


@dataclass(frozen=True)
class Careless:
    """Mistypes a share of the words, with one slip each."""

    share: float
    layout: Layout = QWERTY

    def __call__(self, word: str, rng: np.random.Generator) -> Typed:
        """What is typed for `word`."""
        if rng.random() >= self.share:
            return Typed(word, None)
        return mistype(word, rng, self.layout)


@dataclass(frozen=True)
class NoisyThumbs:
    """Types every word with thumbs that scatter: a letter is wrong when its tap lands on another key."""

    thumbs: Thumbs = Thumbs()
    layout: Layout = QWERTY
    gives_taps: bool = False
    """Whether the keyboard is told where each tap landed, or only which key it hit."""

    def __call__(self, word: str, rng: np.random.Generator) -> Typed:
        """What is typed for `word`; perhaps with several letters wrong. Taps that would end the word (on the
        space bar, a comma) are drawn again, all of them."""
        for _ in range(_TRIES):
            touches = tuple(self.thumbs.sample(self.layout, word, rng))
            hit = literal(self.layout, touches)
            typed = "".join(
                mine.upper() if meant.isupper() else mine for mine, meant in zip(hit, word, strict=True)
            )
            if _is_typable(typed):
                return Typed(typed, None, touches if self.gives_taps else ())
        return Typed(word, None)


def mistype(word: str, rng: np.random.Generator, layout: Layout = QWERTY) -> Typed:
    """`word` with one slip, its kind drawn by `KINDS`.

    A slip that gives the word itself or no word (the doubled apostrophe of don''t) is drawn again, so that
    words of few different letters have fewer kinds. Words shorter than `MIN_LETTERS`, and those that no slip
    changes, are typed right.
    """
    if len(word) < MIN_LETTERS:
        return Typed(word, None)
    kinds, shares = list(KINDS), np.cumsum(list(KINDS.values()))
    for _ in range(_TRIES):
        kind = kinds[int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))]
        typed = slip(word, kind, rng, layout)
        if typed is not None and typed.lower() != word.lower() and _is_typable(typed):
            return Typed(typed, kind)
    return Typed(word, None)


_TRIES = 32
"""Words that two in a thousand slips change are still mistyped now and then; almost all take one or two."""


def slip(word: str, kind: str, rng: np.random.Generator, layout: Layout = QWERTY) -> str | None:
    """`word` with one slip of a kind at a drawn place; None if the kind does not fit the word there.

    A neighbour is a letter whose key touches the letter's own. Substitution puts a neighbour in a letter's
    place; insertion puts one before or behind it; omission leaves a character out; transposition swaps two
    that stand side by side; doubling types one twice.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}.")
    if kind == TRANSPOSITION:
        if len(word) < 2:
            return None
        at = int(rng.integers(len(word) - 1))
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    at = int(rng.integers(len(word)))
    if kind == OMISSION:
        return word[:at] + word[at + 1 :]
    if kind == DOUBLING:
        return word[: at + 1] + word[at:]
    neighbour = _neighbour(word[at], rng, layout)
    if neighbour is None:
        return None
    if kind == SUBSTITUTION:
        return word[:at] + neighbour + word[at + 1 :]
    at += int(rng.integers(2))
    return word[:at] + neighbour + word[at:]


def _neighbour(letter: str, rng: np.random.Generator, layout: Layout) -> str | None:
    """A letter whose key touches that of `letter`, a capital for a capital; None for what no letter key
    types."""
    key = layout.key_for(letter)
    if key is None or key.name not in layout.letters:
        return None
    around = [other for other in layout.neighbours(key.name) if other.name in layout.letters]
    chosen = around[int(rng.integers(len(around)))]
    return chosen.shifted if letter.isupper() else chosen.typed


def _is_typable(letters: str) -> bool:
    """Whether the keyboard would take the letters for one word, just as they are."""
    return is_word(letters) and normalise(letters) == letters


# ------------------------------------------------------------------------------------------ real misspellings

MAX_EDITS = 2

Part = Literal["fitting", "grading"]


class Misspelling(NamedTuple):
    """What somebody once wrote, and the word that was meant."""

    typed: str
    meant: str


def installed_misspellings() -> Path | None:
    """The list of misspellings in the package nlpaug (MIT), which is not imported; None where it is not
    installed."""
    package = importlib.util.find_spec("nlpaug")
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "res" / "word" / "spelling" / "spelling_en.txt"


def read_misspellings(path: Path) -> list[Misspelling]:
    """Reads lines of a word and its misspellings, separated by spaces, as nlpaug ships them.

    Pairs that differ in case alone, or in which either side is no word of `fedkey.text`, are left out; each
    pair is returned once, in the order of the file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the misspellings {path}; install nlpaug again.") from error
    rows = (line.split(" ") for line in lines)
    pairs = dict.fromkeys(Misspelling(typed, meant) for meant, *others in rows for typed in others)
    return [
        pair for pair in pairs if pair.typed.lower() != pair.meant.lower() and all(map(_is_typable, pair))
    ]


def gradable(
    misspellings: Iterable[Misspelling], is_known: Callable[[str], bool], part: Part
) -> list[Misspelling]:
    """Those of one part that a keyboard can be asked to repair: the lexicon knows the word that was meant,
    and it is at most `MAX_EDITS` mistakes away."""
    return [
        pair
        for pair in misspellings
        if part_of(pair.meant) == part
        and is_known(pair.meant)
        and num_edits(pair.typed.lower(), pair.meant.lower(), at_most=MAX_EDITS) <= MAX_EDITS
    ]


def part_of(meant: str) -> Part:
    """Whether misspellings of a word may be fitted to or are kept for grading: a hash of the word decides,
    half and half, so that no word is on both sides."""
    digest = hashlib.sha256(meant.lower().encode("utf-8")).digest()
    return "grading" if digest[0] % 2 else "fitting"
