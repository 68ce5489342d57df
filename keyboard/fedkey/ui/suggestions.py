"""The strip of suggestions.

In: the engine's answer, and whether a space may correct what was typed. Out: what is offered in which place,
and which of it was clicked. Next stop: `fedkey.ui.keypad`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.reactive import reactive
from textual.style import Style
from textual.widgets import Static

from fedkey.ui.messages import Kind, Offer, OfferChosen

if TYPE_CHECKING:
    from fedkey.engine import Suggestions

NUM_WORDS, NUM_EMOJI = 3, 2
PHRASE_PLACE, EMOJI_PLACE = NUM_WORDS, NUM_WORDS + 1
NUM_PLACES = EMOJI_PLACE + NUM_EMOJI

INSTEAD_MARK = "⇄"
"""Stands before a word that would take the place of the one that was drawn, or that the caret came to."""

SPACE_MARK = "␣"
"""Stands behind the word that a space would put in, where colours and underlines may be missing."""

MARGIN_CELLS = 3
"""Cells of a place beside its text: its left edge and some air."""

Offers = tuple[Offer | None, ...]
"""What is offered in each place; None where nothing is."""


def offered(
    suggestions: Suggestions,
    typed: str,
    *,
    may_correct: bool,
    with_emoji: bool = True,
    is_replacing: bool = False,
) -> Offers:
    """What is offered for an answer: words, then a phrase, then emoji if they are wanted; in place of a word
    that is written already, words alone.

    While a space would put another word in place of what was typed, that word comes first, and what was typed
    takes the last place of the words.
    """
    if is_replacing:
        replacements = [Offer(Kind.REPLACEMENT, word) for word in suggestions.words]
        return (*_filled(replacements, NUM_WORDS), *_filled((), NUM_PLACES - NUM_WORDS))
    correction = suggestions.autocorrect
    words: list[Offer | None] = [Offer(Kind.WORD, word) for word in suggestions.words]
    if may_correct and correction is not None and correction != typed:
        others = [word for word in suggestions.words if word.lower() != correction.lower() and word != typed]
        words = [Offer(Kind.CORRECTION, correction), *(Offer(Kind.WORD, word) for word in others)]
        words = [*_filled(words, NUM_WORDS - 1), Offer(Kind.LITERAL, typed)]
    phrase = [] if suggestions.phrase is None else [Offer(Kind.PHRASE, suggestions.phrase)]
    emoji = [Offer(Kind.EMOJI, each) for each in suggestions.emoji] if with_emoji else []
    return (*_filled(words, NUM_WORDS), *_filled(phrase, 1), *_filled(emoji, NUM_EMOJI))


def still_fits(offer: Offer, asked: str, typed: str) -> bool:
    """Whether an offer that was shown for some letters may be taken for those that stand there now.

    Not if it began with the letters and does no more: it is on screen for the few milliseconds only that the
    next answer takes. A word shown for a mistake may be meant with any further letters, and an emoji follows
    a word, so that there must be none.
    """
    if offer.kind is Kind.LITERAL:
        return typed != ""
    if offer.kind is Kind.EMOJI:
        return typed == ""
    if offer.kind is Kind.REPLACEMENT:
        return typed == asked
    text, asked, typed = offer.text.lower(), asked.lower(), typed.lower()
    return text.startswith(typed) or not text.startswith(asked)


def with_others(offers: Offers, others: Sequence[str]) -> Offers:
    """The offers for what comes next, and in the last places of the words what else was drawn perhaps."""
    instead = [Offer(Kind.INSTEAD, word) for word in others[: NUM_WORDS - 1]]
    return (*offers[: NUM_WORDS - len(instead)], *instead, *offers[NUM_WORDS:])


def written(offer: Offer) -> str:
    """An offer as it stands in its place."""
    if offer.kind in (Kind.INSTEAD, Kind.REPLACEMENT):
        return f"{INSTEAD_MARK} {offer.text}"
    if offer.kind is Kind.CORRECTION:
        return f"{offer.text} {SPACE_MARK}"
    return f"“{offer.text}”" if offer.kind is Kind.LITERAL else offer.text


def cells(rank: int, offer: Offer | None) -> int:
    """How many cells a place needs for an offer."""
    return 0 if offer is None else cell_len(f"{rank + 1} {written(offer)}") + MARGIN_CELLS


def _filled(offers: Sequence[Offer | None], places: int) -> Offers:
    return (*offers[:places], *[None] * (places - len(offers)))


class Choice(Static):
    """One place on the strip. The words' places stay where they are when they are empty, so that no word
    moves when another goes; those behind them are there only while they are needed."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"choice--number"}

    offer: reactive[Offer | None] = reactive[Offer | None](None)

    def __init__(self, rank: int) -> None:
        super().__init__(classes="-first" if rank == 0 else "-extra" if rank >= NUM_WORDS else None)
        self.rank = rank

    def render(self) -> Content:
        """The offer, and the number of the key that takes it."""
        if self.offer is None:
            return Content("")
        # Said outright: the place's own bold would show through a style that does not mention it.
        number_style = self.get_visual_style("choice--number") + Style(bold=False)
        text = Content(written(self.offer))
        if self.offer.kind is Kind.CORRECTION:
            text = text.stylize(Style(underline=True), 0, len(self.offer.text))
        return Content.assemble((f"{self.rank + 1} ", number_style), text)

    def watch_offer(self, offer: Offer | None) -> None:
        """Only what is there looks as if it could be clicked; only the places behind the words are as wide as
        what they hold."""
        self.set_class(offer is not None, "-offered")
        if self.rank >= NUM_WORDS:
            self.refresh(layout=True)

    def on_click(self) -> None:
        """Passes the choice on."""
        if self.offer is not None:
            self.post_message(OfferChosen(self.offer))


class SuggestionStrip(Horizontal):
    """Up to three words, a phrase and emoji behind them where there is room, or a note in their place while
    there is no engine to ask."""

    offers: reactive[Offers] = reactive[Offers]((None,) * NUM_PLACES)
    note: reactive[str] = reactive("")

    def __init__(self) -> None:
        super().__init__()
        self._note = Static(id="note", markup=False)
        self._choices = [Choice(rank) for rank in range(NUM_PLACES)]

    def compose(self) -> ComposeResult:
        """The places, and the note over them."""
        yield self._note
        yield from self._choices

    @property
    def in_view(self) -> Offers:
        """What can be seen and taken."""
        return tuple(choice.offer for choice in self._choices)

    def watch_offers(self) -> None:
        """Fills the places."""
        self._fill()

    def watch_note(self, note: str) -> None:
        """Shows the note instead of the places, or the places."""
        self._note.update(note)
        self._note.display = note != ""
        self._fill()

    def on_resize(self) -> None:
        """What has room depends on how much there is."""
        self._fill()

    def _fill(self) -> None:
        # The words share what is left evenly, so all of them need as much as the longest.
        free = self.size.width - NUM_WORDS * max(map(cells, range(NUM_WORDS), self.offers[:NUM_WORDS]))
        for choice, offer in zip(self._choices, self.offers, strict=True):
            is_extra, needed = choice.rank >= NUM_WORDS, cells(choice.rank, offer)
            has_room = not is_extra or needed <= free
            choice.offer = offer if has_room else None
            choice.display = self.note == "" and not (is_extra and choice.offer is None)
            if is_extra and has_room:
                free -= needed
