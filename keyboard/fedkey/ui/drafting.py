"""A screen on which a message is written, ahead of the engine that helps.

In: characters, taps and words that were chosen, and the engine's answers. Out: one draft after the other, and
what the engine is asked and told of them, as messages to the app. No widget is known here. Next stop:
`fedkey.ui.typing`, which is such a screen.

Who types fast is ahead of the engine. What is shown therefore keeps the question it answers: an answer is
shown only if nothing was asked since, and stays until the next one, so that the strip is never empty between
two keys. A shown word is taken only for the place in the text for which it was shown, and not if letters
typed since speak against it. A correction is made at once if the answer for all of the word's letters is
shown, and otherwise when it comes, if the word still stands where it stood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, NamedTuple

from textual import events
from textual.binding import Binding, BindingType
from textual.reactive import var

from fedkey import draft as writing
from fedkey import told as telling
from fedkey.draft import Draft, Place
from fedkey.layout import QWERTY, Layout
from fedkey.passed_over import PassedOver
from fedkey.personal_rules import is_meant
from fedkey.settings import DEFAULTS, Settings
from fedkey.taps import Tap
from fedkey.told import Told
from fedkey.touched import Touched, follow, touches
from fedkey.ui.clipboard import copy
from fedkey.ui.drawn_words import DrawnWords
from fedkey.ui.messages import (
    Answered,
    Asked,
    Corrected,
    Finished,
    Kind,
    Offer,
    Pair,
    Paired,
    Question,
    Reconsidered,
    Sent,
    TakenBack,
    Unwritten,
    Written,
)
from fedkey.ui.suggestions import still_fits
from fedkey.ui.watched import WatchedScreen

EDITS: dict[str, Callable[[Draft], Draft]] = {
    "backspace": writing.backspace,
    "delete": writing.delete,
    "delete_word": writing.delete_word,
    "clear": writing.clear,
    "left": writing.left,
    "right": writing.right,
    "word_left": writing.word_left,
    "word_right": writing.word_right,
    "home": writing.home,
    "end": writing.end,
    "top": writing.top,
    "bottom": writing.bottom,
}


LETTER_DELETIONS = ("backspace", "delete")
"""Those in a row come back together."""

DELETIONS = (*LETTER_DELETIONS, "delete_word", "clear")


class Edit(NamedTuple):
    """A deletion or paste that can be taken back: the draft before, whether that had a private part, which
    edit it was."""

    before: Draft
    has_private_part: bool
    name: str


class DraftingScreen(WatchedScreen):
    """Holds the conversation and the draft; whoever inherits shows them, and what was answered."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_suggestions", show=False),
        Binding("backspace,ctrl+h", "edit('backspace')", show=False),
        Binding("delete", "edit('delete')", show=False),
        Binding("ctrl+w,alt+backspace,ctrl+backspace", "edit('delete_word')", show=False),
        Binding("ctrl+u", "edit('clear')", show=False),
        Binding("left", "edit('left')", show=False),
        Binding("right", "edit('right')", show=False),
        Binding("ctrl+left,alt+left", "edit('word_left')", show=False),
        Binding("ctrl+right,alt+right", "edit('word_right')", show=False),
        Binding("home,ctrl+a", "edit('home')", show=False),
        Binding("end,ctrl+e", "edit('end')", show=False),
        Binding("ctrl+home", "edit('top')", show=False),
        Binding("ctrl+end", "edit('bottom')", show=False),
        Binding("ctrl+j,alt+enter,shift+enter", "break_line", show=False),
        Binding("ctrl+o", "pick_emoji", show=False),
        Binding("ctrl+v", "paste_copied", show=False),
    ]

    # No `reactive`s: that one changes would draw the whole screen anew.
    draft: var[Draft] = var(Draft())
    messages: var[tuple[str, ...]] = var(())
    is_private: var[bool] = var(False)
    """Whether nothing is remembered, and nothing that was remembered shows."""
    has_private_part: var[bool] = var(False)
    """Whether anything of the draft was typed privately; none of it is remembered then, until it is sent."""
    settings: var[Settings] = var(DEFAULTS, init=False)
    key_layout: var[Layout] = var(QWERTY, init=False)
    """The keys on screen, by which the engine weighs touches."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.set_reactive(DraftingScreen.key_layout, layout)
        self._touched = Touched()
        self._told = Told()
        # Of the word that was replaced last, to be known again when that is taken back.
        self._told_before: str | None = None
        self._passed_over = PassedOver()
        self.drawn_words = DrawnWords(self)
        self._revision = 0
        # What is put in place of letters is numbered, so that the engine knows what is taken back.
        self._swaps = 0
        self._last_swap = 0
        self._picked_emoji: tuple[str, ...] = ()
        # Deletions, or the paste, since which nothing was written; the last one last.
        self._edits: tuple[Edit, ...] = ()
        # Words whose correction may still come, by the number it would have.
        self._finished: dict[int, Place] = {}
        # The numbers of those that were sent before it came.
        self._finished_and_sent: set[int] = set()

    @property
    def is_unremembered(self) -> bool:
        """Whether nothing of this draft may be written down."""
        return self.is_private or self.has_private_part

    # ------------------------------------------------------------------------- suggestions come and go

    def show_answer(self, answer: Answered) -> None:
        """Shows an answer, unless something was asked since or the writer wants to see none."""
        if answer.question.revision == self._revision:
            self.shown = answer
            if not self.settings.show_again:
                asked = answer.question
                self._passed_over = self._passed_over.noted(
                    asked.context, asked.after, asked.typed, answer.suggestions.words
                )
            self._note_drawing()

    def action_dismiss_suggestions(self) -> None:
        """Hides the suggestions, and those on their way, until the text changes. Nothing unseen is put in:
        the letters stand as they are, and so does a word that could be replaced."""
        self._revision += 1
        self.shown = None
        self.draft = writing.leave(self.draft)

    def _ask(self) -> None:
        self._revision += 1
        self._pulse.asked()
        context, draft = self._context_here, self.draft
        question = Question(
            self._revision,
            context,
            draft.word,
            self.is_private,
            touches(self._touched, self.key_layout),
            is_explained=self.shows_glass_box,
            after=draft.after,
            is_replacing=draft.picked is not None,
            left_out=self._passed_over.words(context, draft.after, draft.word),
        )
        self.post_message(Asked(question))

    @property
    def _sent(self) -> str:
        return writing.context(self.messages, Draft())

    @property
    def _context_here(self) -> str:
        return writing.context(self.messages, self.draft)

    def _shown_for_here(self) -> Answered | None:
        """What is shown, unless the text around the word at the caret is not the one it was shown for, or
        what was wanted of that word was something else."""
        if self.shown is None:
            return None
        asked, draft = self.shown.question, self.draft
        is_here = (asked.context, asked.after) == (self._context_here, draft.after)
        return self.shown if is_here and asked.is_replacing == (draft.picked is not None) else None

    @property
    def is_answered(self) -> bool:
        """Whether what is shown is for the text as it stands."""
        return self.shown is not None and self.shown.question.revision == self._revision

    # ------------------------------------------------------------------------------ the text changes

    def press(self, character: str, tap: Tap | None = None) -> None:
        """Types at the caret, perhaps by a tap. Whatever cannot continue a word finishes the one before it,
        and may bring its correction."""
        old, new = self.draft, writing.insert(self.draft, character)
        place = old.correctable
        is_correctable = self.settings.autocorrect and writing.brings_correction(character)
        if new.typed or place is None or not is_correctable:
            self.write(character, tap)
            return
        answer = self._shown_for_here()
        self._swaps += 1
        pair = self._pair(place)
        if answer is None or answer.question.typed != place.letters:
            letters, taps = place.letters, touches(self._touched, self.key_layout)
            finished = Finished(
                self._context_here, letters, self.is_unremembered, self._swaps, taps, old.after, pair
            )
            self._take_back_before(place)
            self.post_message(finished)
            self._put(new, told=(place, finished.context))
            self._finished[self._swaps] = place
            return
        word = answer.suggestions.autocorrect
        corrected = new if word is None else writing.correct(new, place, word)
        if word is None or corrected == new:
            self._tell_finished(place.letters)
            self._put(corrected)
        else:
            self._put_for(place, word, draft=corrected)
        if pair is not None:
            self.post_message(Paired(pair, place.letters if word is None or corrected == new else word))

    def _pair(self, place: Place) -> Pair | None:
        """The word at the caret with the one before it, if the key between them may be in the wrong place."""
        before = writing.word_before(self.draft)
        if before is None:
            return None
        put, typed, gap = before
        context = self._sent + self.draft.text[: put.start]
        return Pair(context, typed, put.letters, gap, place.letters, self.is_unremembered, self.draft.after)

    def write(self, characters: str, tap: Tap | None = None) -> None:
        """Puts in characters as they are, the last perhaps by a tap; nothing is corrected."""
        self._write(writing.insert(self.draft, characters), tap)

    def _write(self, draft: Draft, tap: Tap | None = None) -> None:
        if not draft.typed and (word := self.draft.finished_word) is not None:
            self._tell_finished(word)
        self._put(draft, tap)

    def action_break_line(self) -> None:
        """Begins a new line, which finishes a word as a space does."""
        self.press("\n")

    def show_correction(self, message: Corrected) -> None:
        """Makes a correction that came late, where that is still what the writer would expect. A word that
        was deleted or changed meanwhile was never written."""
        finished = message.finished
        place = self._finished.pop(finished.swap, None)
        was_sent = finished.swap in self._finished_and_sent
        self._finished_and_sent.discard(finished.swap)
        corrected = self.draft if place is None else writing.correct(self.draft, place, message.word)
        is_made = corrected != self.draft
        word, swap = (message.word, finished.swap) if is_made else (finished.typed, None)
        self._told, is_changed = telling.dismiss(self._told, finished.typed, finished.context)
        if is_changed or not (place or was_sent or self._stands_again(finished)):
            return  # it never stood there to the engine
        self.post_message(
            Written(finished.context, finished.typed, word, finished.is_private, swap, finished.after)
        )
        if is_made and place is not None:
            self._last_swap, self._told_before = finished.swap, None
            self._told = telling.untell(self._told, place)
            self._put(corrected, told=(Place(place.start, message.word), finished.context))

    def show_reconsidered(self, message: Reconsidered) -> None:
        """Puts what was meant by two words, if both still stand there."""
        pair, sent = message.pair, self._sent
        place = Place(len(pair.context) - len(sent), message.stood)
        if sent + self.draft.text[: place.start] != pair.context:
            return  # it was sent, or what stands before it was changed
        reconsidered = writing.correct(self.draft, place, message.text)
        if reconsidered == self.draft:
            return
        for word in () if self.is_unremembered else reversed(self._told.at(place)):
            self.post_message(Unwritten(word.context, word.place.letters))
        self._told = telling.untell(self._told, place)
        self._swaps += 1
        self._last_swap, self._told_before = self._swaps, None
        typed = f"{pair.first}{pair.gap}{pair.second}"
        self.post_message(
            Written(pair.context, typed, message.text, pair.is_private, self._swaps, pair.after)
        )
        self._put(reconsidered, told=(Place(place.start, message.text), pair.context))

    def _stands_again(self, finished: Finished) -> bool:
        """Whether a word that was changed since it was finished has its letters again, and was not finished a
        second time, of which it will be told."""
        pending = self._finished.values()
        return any(
            (word.place.letters, word.context) == (finished.typed, finished.context)
            and word.place not in pending
            for word in self._told.words
        )

    def action_undo(self) -> None:
        """Takes back the last deletion or paste, if nothing was written since; otherwise the last correction,
        or what was taken last."""
        if not self._edits:
            self._take_back(writing.undo(self.draft))
            return
        *earlier, last = self._edits
        self.has_private_part = self.has_private_part or last.has_private_part
        self._put(replace(last.before, swap=self.draft.swap, is_just_corrected=False))
        self._edits = tuple(earlier)

    def action_edit(self, name: str) -> None:
        """Deletes or moves; the names are those of `EDITS`."""
        draft = EDITS[name](self.draft)
        if name == "backspace" and self.draft.is_just_corrected:
            self._take_back(draft)
            return
        edits, edit = self._edits, self._edit(name)
        self._put(draft)
        is_run = edits and edits[-1].name == name and name in LETTER_DELETIONS
        is_new = name in DELETIONS and draft.text != edit.before.text and not is_run
        self._edits = (*edits, edit) if is_new else edits

    def _edit(self, name: str) -> Edit:
        return Edit(self.draft, self.has_private_part, name)

    def _take_back(self, draft: Draft) -> None:
        swap = self.draft.swap
        if draft != self.draft and swap is not None:
            self.post_message(TakenBack(self._last_swap))
            was_told, place = self._told_before, Place(swap.put.start, swap.typed)
            if was_told is None and is_meant(swap.typed, swap.put.letters):
                # The engine counts the letters as typed.
                was_told = next((word.context for word in self._told.at(swap.put)), None)
            self._told = telling.untell(self._told, swap.put)
            self._put(draft, told=None if was_told is None else (place, was_told))

    def _take(self, offer: Offer | None) -> None:
        shown, typed = self._shown_for_here(), self.draft.word
        if offer is None or shown is None or not still_fits(offer, shown.question.typed, typed):
            return
        if offer.kind is Kind.INSTEAD:
            self.drawn_words.put_instead(offer.text)
            return
        # What was typed since the letters were shown belongs to them.
        text = typed if offer.kind is Kind.LITERAL else offer.text
        if not text:
            return
        if offer.kind is Kind.EMOJI:
            self._note_emoji(text)
        self._swaps += 1
        kept = writing.keep(self.draft) if offer.kind is Kind.LITERAL else self.draft
        words = text.split(" ") if offer.kind is Kind.PHRASE else [text]
        self._put_for(self.draft.at, *words, draft=writing.accept(kept, text))

    def put_drawn(self, word: str) -> None:
        """Puts in a word that was drawn."""
        self._swaps += 1
        self._put_for(self.draft.at, word, draft=writing.draw(self.draft, word))

    def action_send(self) -> None:
        """Moves the draft to the conversation, as it stands: the writer would not see a correction."""
        messages, draft = writing.send(self.messages, self.draft)
        if messages == self.messages:
            return
        # Letters right in front of a word are sent as a part of it.
        if (word := self.draft.finished_word) is not None and not self.draft.is_in_front:
            self._tell_finished(word)
        self._settle(None)
        self.messages, self._told = messages, Told()
        self._finished_and_sent |= self._finished.keys()
        self.post_message(Sent(messages[-1], self.is_unremembered))
        self._put(draft)

    def clear_conversation(self) -> None:
        """Forgets what was sent; the draft stays."""
        self.messages = ()
        self._ask()

    def _put(self, draft: Draft, tap: Tap | None = None, *, told: tuple[Place, str] | None = None) -> None:
        """Goes on to the next draft, of which the engine was told a word, and after which text."""
        followed = (
            (swap, writing.follow(self.draft, draft, place)) for swap, place in self._finished.items()
        )
        self._finished = {swap: place for swap, place in followed if place is not None}
        self._touched = follow(self._touched, draft, tap)
        self._told = telling.follow(self._told, draft)
        if told is not None:
            self._told = telling.tell(self._told, *told)
        if draft.text != self.draft.text:
            self._edits = ()
        was_unremembered = self.is_unremembered
        is_typed_privately = self.is_private and draft.text != self.draft.text
        self.has_private_part = draft.text != "" and (self.has_private_part or is_typed_privately)
        self.draft = draft
        self._settle(draft.caret if draft.text else None, is_unremembered=was_unremembered)
        self._ask()

    def _settle(self, caret: int | None, *, is_unremembered: bool = False) -> None:
        """Of words that were changed by hand: takes back what they were, and tells of what they are."""
        self._told, gone, new = telling.settle(self._told, caret)
        if is_unremembered or self.is_unremembered:
            return
        for word in gone:
            self.post_message(Unwritten(word.context, word.place.letters))
        for place in new:
            there = Draft(self.draft.text, place.end)
            context = writing.context(self.messages, there)
            self.post_message(Written(context, place.letters, place.letters, after=there.after))
            self._told = telling.tell(self._told, place, context)

    def _take_back_before(self, place: Place) -> None:
        """Of a word that is told of now: takes back what it was before, if anything. It is done first, since
        the memory can undo only what was told last."""
        self._told, gone = telling.replaced(self._told, place)
        for word in () if self.is_unremembered else gone:
            self.post_message(Unwritten(word.context, word.place.letters))

    def _tell_finished(self, word: str) -> None:
        """The word at the caret stands as it was typed. It may have been finished before: then the writer
        only came back to it."""
        place = Place(self.draft.at.start, word)
        if self._told.after(place) is None:
            self._take_back_before(place)
            context = self._context_here
            self.post_message(Written(context, word, word, self.is_unremembered, after=self.draft.after))
            self._told = telling.tell(self._told, place, context)

    def _put_for(self, place: Place, *words: str, draft: Draft) -> None:
        """Goes on to a draft in which words stand in place of letters, which may be none."""
        self._last_swap, self._told_before = self._swaps, self._told.after(place)
        self._told = telling.untell(self._told, place)
        self._take_back_before(place)
        context, letters, told_after = self._context_here, place.letters, self._told_before
        for word in words:
            written = Written(
                context, letters, word, self.is_unremembered, self._swaps, self.draft.after, told_after
            )
            self.post_message(written)
            context, letters, told_after = f"{context}{word} ", "", None
        assert draft.swap is not None
        put = draft.swap.put.letters.removeprefix(" ")
        self._put(draft, told=(Place(draft.swap.put.end - len(put), put), self._context_here))

    # ----------------------------------------------------------------------------- clipboard and emoji

    def on_paste(self, event: events.Paste) -> None:
        """Puts in what was pasted."""
        event.stop()
        self._paste(event.text)

    def action_paste_copied(self) -> None:
        """Puts in what was copied here, for terminals that leave Ctrl+V to the keyboard."""
        self._paste(self.app.clipboard)

    def _paste(self, text: str) -> None:
        edit = self._edit("paste")
        self._write(writing.paste(self.draft, text))
        if self.draft.text != edit.before.text:
            self._edits = (edit,)

    def action_copy_text(self) -> None:
        """Copies what is selected in the conversation, otherwise the draft."""
        text = self.get_selected_text() or self.draft.text
        if text:
            copy(self, text)
        else:
            self.app.action_help_quit()

    def _note_emoji(self, emoji: str) -> None:
        """It will come first on the page, until the keyboard is closed."""
        if not self.is_private:
            self._picked_emoji = tuple(dict.fromkeys((emoji, *self._picked_emoji)))

    def action_pick_emoji(self) -> None:
        """Opens the page on which an emoji is looked for."""
        # Its widgets are not imported before the first paint.
        from fedkey.ui.emoji_picker import EmojiPicker

        self.app.push_screen(EmojiPicker(self._picked_emoji), self._put_emoji)

    def _put_emoji(self, emoji: str | None) -> None:
        if emoji is None:
            return
        self._note_emoji(emoji)
        if (word := self.draft.finished_word) is not None:
            self._tell_finished(word)
        # The engine does not learn emoji, and knows of nothing by this number when it is taken back.
        self._swaps += 1
        self._last_swap, self._told_before = self._swaps, None
        self._put(writing.put_emoji(self.draft, emoji))
