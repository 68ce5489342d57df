"""Everything that travels between the keyboard's parts: upwards from widgets, and back from the engine's
thread.

In: nothing. Out: one small dataclass per event. Next stop: `fedkey.ui.inference`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from textual.message import Message

from fedkey.layout import Key, Layout, Shift
from fedkey.releases import InUse
from fedkey.settings import Value
from fedkey.taps import Tap, Touch

if TYPE_CHECKING:
    from fedkey.bundle import Manifest
    from fedkey.engine import Suggestions
    from fedkey.explanation import Explanation
    from fedkey.ui.joining import PhoneProcess
    from fedkey.wishes import Outcome, Wish


@dataclass(frozen=True)
class Question:
    """What the engine is asked: which words are meant here?

    Attributes:
        revision: counts the questions of a screen, so that an answer can be told from a newer one.
        context: everything before the word being typed, see `Engine.suggest`.
        typed: its letters so far; all letters of a word that is to be replaced.
        is_private: whether nothing that was remembered may show.
        touches: how the letters were typed, if any of them was tapped; see `fedkey.touched`.
        is_explained: whether somebody wants to see what lies behind the answer.
        after: what stands behind the word in its message.
        is_replacing: whether the word is written already, and others are wanted in its place.
        left_out: words that are not wanted.
    """

    revision: int
    context: str
    typed: str
    is_private: bool = False
    touches: tuple[Touch, ...] = ()
    is_explained: bool = False
    after: str = ""
    is_replacing: bool = False
    left_out: frozenset[str] = frozenset()

    @property
    def letters(self) -> str | tuple[Touch, ...]:
        """The word as the engine takes it."""
        return self.touches or self.typed


@dataclass
class Asked(Message):
    """The text at the caret changed; only the newest question matters."""

    question: Question


@dataclass
class Written(Message):
    """A word now stands in the text, taken from the suggestions, typed to its end, or put there by a
    correction.

    Attributes:
        context: the text before it.
        typed: the letters that were typed of it.
        word: the word.
        is_private: whether it must not be remembered.
        swap: number of what was put in place of letters, the word being all of it or a part; None for a word
            that stands as it was typed.
        after: as in `Question`.
        told_after: of a word that was told of before, and in whose place this one was put: the text after
            which it was told of.
    """

    context: str
    typed: str
    word: str
    is_private: bool = False
    swap: int | None = None
    after: str = ""
    told_after: str | None = None


@dataclass
class Unwritten(Message):
    """A word that the engine was told of does not stand any more: it was deleted, or changed by hand.

    Attributes:
        context: the text after which it was told of.
        word: as it stood.
    """

    context: str
    word: str


@dataclass(frozen=True)
class Pair:
    """Two words that were typed one behind the other; the key between them may be in the wrong place.

    Attributes:
        context: the text before the first.
        first: its letters as they were typed.
        put: what stands in their place.
        gap: what was typed between the two.
        second: the letters of the other one.
        is_private: whether they must not be remembered.
        after: as in `Question`.
    """

    context: str
    first: str
    put: str
    gap: str
    second: str
    is_private: bool
    after: str = ""


@dataclass
class Paired(Message):
    """The second word of a pair was finished.

    Attributes:
        pair: the two.
        put: what stands in place of the second.
    """

    pair: Pair
    put: str


@dataclass
class Reconsidered(Message):
    """What was meant by a pair.

    Attributes:
        pair: the two.
        stood: what stood in their place when this was found.
        text: what was meant.
    """

    pair: Pair
    stood: str
    text: str


@dataclass
class Finished(Message):
    """A word was typed to its end before the engine had answered for all of its letters.

    Attributes:
        context: the text before it.
        typed: the word.
        is_private: whether it must not be remembered.
        swap: the number that its correction is to have.
        touches, after: as in `Question`.
        pair: the word with the one before it, see `Paired`.
    """

    context: str
    typed: str
    is_private: bool
    swap: int
    touches: tuple[Touch, ...] = ()
    after: str = ""
    pair: Pair | None = None

    @property
    def letters(self) -> str | tuple[Touch, ...]:
        """The word as the engine takes it."""
        return self.touches or self.typed


@dataclass
class Corrected(Message):
    """The correction of a word that had been finished before it was known; a word that stands is not
    mentioned again."""

    finished: Finished
    word: str


@dataclass
class TakenBack(Message):
    """What was put in place of letters was taken back, and they stand."""

    swap: int


@dataclass
class Sent(Message):
    """The draft was sent.

    Attributes:
        text: all of it.
        is_private: whether it must not be remembered.
    """

    text: str
    is_private: bool


@dataclass
class PhoneSpoke(Message):
    """The phone of a federation said something; it is named, because another may have been started since."""

    phone: PhoneProcess
    line: str


@dataclass
class PhoneEnded(Message):
    """The phone of a federation has ended; what it last said went to its stderr."""

    phone: PhoneProcess
    said: str


@dataclass
class LayoutChosen(Message):
    """The keys on screen, by which touches are to be weighed from now on."""

    layout: Layout


@dataclass
class Typable(Message):
    """The screen has been drawn, and takes keys and answers."""


@dataclass
class EngineReady(Message):
    """The engine is open and answers.

    Attributes:
        keeps_words: whether it remembers as it was meant to; not where its file cannot be used.
    """

    keeps_words: bool = True


@dataclass
class EngineFailed(Message):
    """The engine cannot be opened, or cannot go on; one sentence says why."""

    reason: str


@dataclass
class Noticed(Message):
    """Something is wrong with the memory of words or with a release; one sentence says what. Typing goes
    on."""

    sentence: str


@dataclass
class Wished(Message):
    """Something is to be done with the memory, in its turn.

    Attributes:
        wish: what.
        reply: takes `Granted`, from any thread.
    """

    wish: Wish
    reply: Callable[[Message], object]


@dataclass
class Granted(Message):
    """What became of a wish."""

    outcome: Outcome


@dataclass
class Released(Message):
    """From now on another release is typed with, or the same one for another reason."""

    release: InUse


@dataclass
class Answered(Message):
    """The engine's answer to a question."""

    question: Question
    suggestions: Suggestions

    def can_replace(self, message: Message) -> bool:
        """Of several answers that wait to be shown, only the last matters."""
        return isinstance(message, Answered)


@dataclass
class Explained(Message):
    """What lies behind the answer to a question, and the manifest of what answered."""

    question: Question
    explanation: Explanation
    manifest: Manifest

    def can_replace(self, message: Message) -> bool:
        """Of several that wait to be shown, only the last matters."""
        return isinstance(message, Explained)


@dataclass
class LineDrawn(Message):
    """The mouse was drawn across the letters on screen and let go.

    Attributes:
        path: where, points (x, y) in key widths.
        shift: what shift held.
    """

    path: tuple[tuple[float, float], ...]
    shift: Shift


@dataclass
class Gesture(Message):
    """Which word is meant by a line across the keys?

    Attributes:
        context: the text before the word.
        path: as in `LineDrawn`.
        is_private: whether nothing that was remembered may show.
        after: as in `Question`.
    """

    context: str
    path: tuple[tuple[float, float], ...]
    is_private: bool
    after: str = ""


@dataclass
class Recognised(Message):
    """The engine's answer to a gesture."""

    gesture: Gesture
    suggestions: Suggestions


@dataclass
class KeyTapped(Message):
    """The mouse pressed a key on screen and let it go.

    Attributes:
        key: the key that was hit.
        tap: where it was pressed.
    """

    key: Key
    tap: Tap


class Kind(Enum):
    """What a suggestion is."""

    WORD = "word"
    CORRECTION = "correction"
    """The word that a space would put in place of the letters."""
    LITERAL = "literal"
    """The letters themselves."""
    INSTEAD = "instead"
    """Another word for the one that was drawn."""
    REPLACEMENT = "replacement"
    """Another word for one that is written already."""
    PHRASE = "phrase"
    EMOJI = "emoji"


@dataclass(frozen=True)
class Offer:
    """A suggestion as it is shown: what it is, and the text that it inserts."""

    kind: Kind
    text: str


@dataclass
class OfferChosen(Message):
    """A suggestion was clicked; it is named, because another may stand in its place by now."""

    offer: Offer


@dataclass
class SettingChanged(Message):
    """The writer wants one of `fedkey.settings` to be otherwise from now on."""

    name: str
    value: Value


@dataclass
class LineChosen(Message):
    """A line of a list was clicked, and is under the cursor now."""


@dataclass
class CaretPlaced(Message):
    """The draft was clicked.

    Attributes:
        caret: the character nearest to the click.
    """

    caret: int
