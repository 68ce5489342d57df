"""The whole public face of prediction: text in, words out, no screen.

In: a bundle, the text before and behind the caret, and the letters or taps of the word being typed. Out: the
words that are most likely meant, as they would be inserted, and what a space makes of what was typed. Next
stop: `fedkey.ui.app`, or `fedkey.simulate`, which measures it.

```python
engine = Engine.open("bundle/")
engine.suggest("how are you?\\nfine, ", "tha").words     # ("thanks", "that's", "that")
engine.suggest("see you ", "tomorow").autocorrect         # "tomorrow"
engine.suggest("i have a ", "", after=" of questions").words    # ("lot", "couple", "bunch")
engine.replacements("got it ", "form", " my brother").words     # ("from", "for", "when")
accepted = engine.accept("see you ", "tomorow", "tomorrow")
engine.undo(accepted)                                     # "tomorow" stands, and is remembered
```
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from fedkey.bundle import CORRECTION, INFILL, MIXTURE, Bundle, BundleError, open_bundle
from fedkey.candidates import MARKS, SLIP, CandidateBeam, CandidateFinder, Candidates
from fedkey.casing import like_typed
from fedkey.contest import Contest, ContestFinder
from fedkey.context import Context, ContextReader, newest_that_fit, rest_of_message
from fedkey.conversation import Conversation
from fedkey.corrections import DEFAULT_CORRECTIONS, CorrectionModel
from fedkey.corrector import Corrector, Doubt
from fedkey.decoder import PRIOR_WEIGHT, Contenders, Decoder, RankedWord, WordScores
from fedkey.dictionary import Dictionary
from fedkey.emoji import EmojiFinder
from fedkey.errors import UserError
from fedkey.explanation import ExplainedWord, Explanation, Verdict
from fedkey.gestures import GestureFinder, as_path, is_gesture
from fedkey.layout import Layout, layout_named
from fedkey.lexicon import Lexicon
from fedkey.mixture import Mixture
from fedkey.model import LanguageModel
from fedkey.owner import MISTYPED_NEW_WORD, NOTHING_KNOWN, Owner, OwnHabits, by_word
from fedkey.personal import LearnedWord, Personal, Taught
from fedkey.personal_rules import is_meant, makes_address, may_teach, words_before
from fedkey.phrases import Phrases
from fedkey.pieces import Pieces
from fedkey.places import Place, Places
from fedkey.prior import Prior
from fedkey.replacement import MISTYPED, NUM_REREAD, WRITTEN_AS_MEANT, ReplacementFinder, height_of
from fedkey.second_thoughts import SecondThoughts
from fedkey.taps import Tap, Touch, as_touches, literal
from fedkey.text import is_word, normalise, units_with_places

WORD_ROOM = 12
"""Ids of the model's window that the context leaves free for the word being typed; few words have more
pieces."""

MAX_EMOJI = 2

UNSAID = {"kill": frozenset("myself yourself himself herself themselves".split())}
"""What is never offered behind a word before its first letter, however likely it is."""

RELUCTANCE = 4.0
"""Nats on top of what a mistake costs, before a word that was mistyped is shown: whoever looks wants first
what the letters begin. On 1,500 words of validation authors, demo bundle, 2026-11-26, 0 saves 45.1 % of an
ideal typist's keys and 41.8 % with slips, 4 saves 45.8 and 42.1, and to show no mistyped word at all 46.0 and
37.7."""

NUM_FITTED, NUM_FITTED_FIRST = 8, 16
"""Words that are judged by what stands behind the caret if the model does not read it, and so many before the
first letter; two pieces behind each are one run of the model. Of 953 words of validation authors, shipped
bundle, 2026-11-27 (`fedkey eval --infill --max-words 1200`), the right one is first, and among three, before
the first letter for 26.5 and 40.6 % from the left alone, 41.2 and 52.5 % with 8 judged, 42.8 and 55.4 % with
12, 43.4 and 57.4 % with 16; after it for 53.7 and 73.5, 70.3 and 82.0, 71.1 and 83.0, 71.3 and 83.6 %."""

NUM_SPARE = 8
"""Words more that are judged of the place behind the word being typed before it ends: the memory, which
learns the word, may change the choice."""

MOST_FORESEEN = 48
"""Words of a place that are judged before the next letter shows which of them stay: then half of the letters
of `fedkey bench --behind 20` need no run of the model, and with 32 fewer than half."""


@dataclass(frozen=True)
class Suggestions:
    """The answer to one key.

    Attributes:
        words: at most k surface forms, best first, as they would be inserted; no two alike up to case, and
            none exactly as the letters stand, since to take it would save no key.
        log_probs: natural log of each word's probability in this context, among all that could be written
            here, less what it costs to have mistyped it so.
        autocorrect: what a space or punctuation puts in place of what was typed, one word or two; None to
            leave it.
        latency_ms: wall-clock milliseconds from the call to the answer.
        phrase: two or three words to follow, the first in place of what was typed, if that is likely enough.
        emoji: at most two for the word or phrase before the caret, if nothing is typed.
        literal: what was typed as it would stand; of taps, the keys that they hit.
        typed_log_prob: how likely it is that the letters are the word already, in the measure of `log_probs`;
            None if no word that came into question is written so.
    """

    words: tuple[str, ...]
    log_probs: tuple[float, ...]
    autocorrect: str | None
    latency_ms: float
    phrase: str | None = None
    emoji: tuple[str, ...] = ()
    literal: str = ""
    typed_log_prob: float | None = None


@dataclass(frozen=True)
class Accepted:
    """A word the writer took or finished.

    Attributes:
        context: the text before the word.
        typed: the letters that were typed of it.
        word: the word that stands now.
        taught: what the memory was told by it, for `Engine.undo`; None if it was told nothing.
    """

    context: str
    typed: str
    word: str
    taught: Taught | None = field(default=None, repr=False, compare=False)


_DONE = object()

Answer = TypeVar("Answer")
Parsed = TypeVar("Parsed")


class _Asked(NamedTuple):
    """What every question about a word being typed begins with.

    Attributes:
        touches, typed: what was typed, as touches and as the letters that they hit.
        letters: the same letters, small ones if the word goes on with a shout.
        place: before the word, read by the model.
        habits: what the owner writes there.
        candidates: the words of the lexicon that may be meant.
        shown: the same, as far as whoever looks at suggestions wants to see them.
    """

    touches: tuple[Touch, ...]
    typed: str
    letters: str
    place: Place
    habits: OwnHabits
    candidates: Candidates
    shown: Candidates


class Engine:
    """Predicts words with one bundle and one owner's memory. Thread-safe: calls from several threads wait for
    each other.

    Every answer is a function of the bundle, the memory and the arguments; what the engine keeps between
    calls otherwise only makes it faster. Any number of engines may be open in one process.
    """

    def __init__(
        self, bundle: Bundle, memory: Path | None = None, *, corrections: CorrectionModel | None = None
    ) -> None:
        """Takes a checked bundle, and corrections in place of its own while they are fitted; `Engine.open` is
        the usual way in."""
        self.bundle = bundle
        tokenizer = bundle.tokenizer_bytes()
        try:
            self.pieces = Pieces(tokenizer)
            self.layout = layout_named(bundle.manifest.layout)
        except UserError as error:
            raise BundleError(str(error)) from error
        if self.pieces.vocab_size != bundle.manifest.model.vocab_size:
            raise BundleError(
                "The bundle's tokenizer and model count their pieces differently; export it again."
            )
        self.lexicon = Lexicon(bundle.lexicon_arrays(), self.pieces.vocab_size)
        self._corrections = _correction_model(bundle) if corrections is None else corrections
        self._model = LanguageModel(bundle)
        self._reader = ContextReader(
            self.pieces,
            self.lexicon.forms,
            self._model.window - WORD_ROOM,
            reads_behind=INFILL in bundle.manifest.features,
        )
        self._finder = CandidateFinder(self.lexicon)
        self._beam = CandidateBeam(self.lexicon, self.layout, errors=self._corrections.errors)
        self._replacements = ReplacementFinder(self._finder, self._beam)
        self._contests = ContestFinder(self.lexicon, self._beam, self._corrections)
        self._conversation = Conversation(self.lexicon)
        self._places = Places(
            self._model,
            Decoder(self.lexicon, self._model, _mixture(bundle)),
            Prior(self.lexicon, bundle.ngram_arrays()),
            self._conversation,
            self._reader,
        )
        self._gestures: GestureFinder | None = None
        self._emoji = EmojiFinder()
        self._corrector = Corrector(
            self.lexicon,
            Dictionary(bundle.dictionary_array()),
            self._corrections,
            self._contests,
            lambda word: self._of_memory(lambda: self._personal.spelling(word), None),
            self._is_pinned,
            self._path,
        )
        self._phrases = Phrases(self.lexicon)
        self._personal = Personal.open(memory)
        self._owner = Owner(self._personal, self.lexicon)
        self._second_thoughts = SecondThoughts(
            self.lexicon, lambda word: self._owner.number(word), self._path, self._is_pinned
        )
        self.notice = self._personal.notice
        """A sentence for the owner if something is wrong with the memory; mostly None."""
        self._lock = threading.Lock()
        self._to_foresee: tuple[Place, Iterator[None]] | None = None
        self._last: Accepted | None = None
        # Places, each a context and a word in lower case, of which the memory was told otherwise already.
        self._counted: tuple[str, str] | None = None  # letters that stand because a word was taken back
        self._uncounted: tuple[str, str] | None = None  # what became the beginning of an address

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, memory: Path | None = None) -> Engine:
        """Opens a bundle folder; `BundleError` says in one sentence what is wrong with it.

        Args:
            path: the bundle.
            memory: the file in which the owner's words are kept; None keeps them in memory until the engine
                is closed. `UserError` if it cannot be opened.
        """
        return cls(open_bundle(Path(path)), memory)

    @property
    def corrections(self) -> CorrectionModel:
        """How mistakes and new words are weighed; fixed, since what finds and what weighs them share it."""
        return self._corrections

    @property
    def has_file(self) -> bool:
        """Whether the owner's words outlive the engine."""
        return self._personal.path is not None

    def close(self) -> None:
        """Closes the memory's file; nothing is pending in it."""
        with self._lock:
            self._personal.close()

    def inherit(self, other: Engine) -> None:
        """Takes over another engine's memory, its layout and what can still be taken back there: another
        bundle for the same writer, in the middle of a word if need be.

        Its own memory is closed. The other must not be used after, nor closed.
        """
        with self._lock, other._lock, self._changing_memory():
            self._personal.close()
            self._personal, self.notice = other._personal, other.notice
            self._owner = Owner(self._personal, self.lexicon)
            self._last, self._counted, self._uncounted = other._last, other._counted, other._uncounted
            self._corrector.keep_as(other._corrector)
            self._lay_out(other.layout)

    def use_layout(self, layout: Layout) -> None:
        """Weighs touches by the keys of another layout from now on, taps as places on it.

        What a bundle was trained for is the layout in its manifest; that decides nothing but what stands
        beside what, so that any other will do. It takes less than a millisecond (0.9 ms, shipped bundle).
        """
        with self._lock:
            self._lay_out(layout)

    def _lay_out(self, layout: Layout) -> None:
        if layout != self.layout:
            self.layout = layout
            self._beam.use_layout(layout)

    # --------------------------------------------------------------------------------------- asking

    def suggest(
        self,
        context: str,
        typed: str | Sequence[Touch],
        k: int = 3,
        *,
        private: bool = False,
        after: str = "",
        left_out: Collection[str] = (),
    ) -> Suggestions:
        """The words most likely meant, but for the one that the letters are already.

        Args:
            context: everything before the word being typed; earlier messages of the conversation on lines of
                their own.
            typed: the word's letters so far, or where they were tapped; may be empty.
            k: how many words at most.
            private: nothing that the owner taught shows; but known words are left alone as ever.
            after: everything behind the caret, of which the rest of this message counts: the words fit
                between it and the context. Letters that begin it are the end of the word at the caret and do
                not count. A word that stands there is never corrected here.
            left_out: words that are not to be shown, in whatever case: those that were shown for fewer
                letters, for a writer who reads every one. What a space puts is shown all the same.
        """
        _check_count(k)
        started = time.perf_counter()
        with self._lock:
            self._take_back_half_of_address(context)
            num_runs = self._model.num_runs
            asked = self._ask(context, typed, after, private=private)
            letters, place, habits = asked.typed, asked.place, asked.habits
            unwanted = {word.lower() for word in left_out}
            if not asked.touches:
                unwanted |= UNSAID.get(words_before(context)[-1], frozenset())
            contest = self._contest(asked, context, after)
            # One more, for the letters may be one of the words, which is not shown.
            num_ranked = (k + 1 if asked.touches else k) + len(unwanted)
            ranked = self._ranked(asked, num_ranked, contest.paths if contest else ())
            entries = self._entries(ranked, habits.spellings)
            entries += habits.own.items()
            entries += self._heard(context, letters).items()
            corrected = None
            if contest is not None:
                doubt = self._doubt(asked, contest)
                corrected = self._corrector.correction(context, doubt, place)
                entries += [
                    (each.text, each.log_prob - each.slip_cost) for each in doubt.choices if " " in each.text
                ]
            elif asked.touches:
                corrected = self._corrector.rightly_written(context, asked.letters, place, private=private)
            corrected = _aloud(corrected, asked)
            meant = self._as_written(entries, letters)
            typed_log_prob = next((score for written, score in meant if written == letters), None)
            meant = [each for each in meant if each[0] == letters or each[0].lower() not in unwanted]
            shown = _shown([each for each in meant if each[0] != letters], corrected, k)
            words, log_probs = self._scored(shown, place)
            # A phrase may go on from the letters. What would follow the word stands behind it, or might.
            begins = [word for word, _ in _shown(meant, corrected, k)]
            phrase = None if place.tail else self._phrase(place.scores, begins, ranked, entries, letters)
            emoji = () if asked.touches else self._emoji.find(context, MAX_EMOJI)
            if asked.touches and self._model.num_runs == num_runs:
                self._places.read_ahead()
            self._to_foresee = None
            if place.tail:
                word = letters if corrected is None else corrected
                self._to_foresee = place, self._foreseeing(asked, context, word, after)
        milliseconds = (time.perf_counter() - started) * 1000
        return Suggestions(words, log_probs, corrected, milliseconds, phrase, emoji, letters, typed_log_prob)

    def trace(
        self, context: str, path: object, k: int = 3, *, private: bool = False, after: str = ""
    ) -> Suggestions:
        """The words most likely drawn by a line across the keys; capitals as for a word before its first
        letter. What touches one letter only is a tap where it begins.

        Args:
            context, k, private, after: as for `suggest`.
            path: points (x, y) in key widths, in order, [P, 2]; where they lie counts, not when they were
                read.

        Raises:
            ValueError: that is no path.
        """
        _check_count(k)
        started = time.perf_counter()
        points = as_path(path)
        if not is_gesture(self.layout, points):
            x, y = points[0].tolist()
            return self.suggest(context, [Tap(x, y)], k, private=private, after=after)
        with self._lock:
            self._take_back_half_of_address(context)
            place = self._places.go_to(context, after)
            habits = NOTHING_KNOWN if private else self._habits(context, "")
            # Most writers never draw, so the first gesture pays for what all need.
            if self._gestures is None or self._gestures.layout != self.layout:
                self._gestures = GestureFinder(self.lexicon, self.layout)
            candidates = self._gestures.find(points)
            ranked = self._best(place, candidates, k, habits) if len(candidates) else []
            entries = self._entries(ranked, habits.spellings)
            if not private:
                drawn = partial(self._owner.drawn, self._gestures, context, points)
                entries += self._of_memory(drawn, [])
            words, log_probs = self._scored(_shown(self._as_written(entries, ""), None, k), place)
        return Suggestions(words, log_probs, None, (time.perf_counter() - started) * 1000)

    def replacements(
        self, context: str, word: str, after: str, k: int = 3, *, private: bool = False
    ) -> Suggestions:
        """What could stand in place of a word that is already written, most likely first; never the word
        itself. Capitals are like the word's.

        Args:
            context: everything before the word.
            word: as it is written.
            after: everything behind it, see `suggest`.
            k, private: as for `suggest`.
        """
        _check_count(k)
        started = time.perf_counter()
        word = normalise(word)
        with self._lock:
            # Just one word goes in, so that P(word | before) P(what follows | before, word) is all there is.
            place = self._places.go_to(context, "")
            here = NOTHING_KNOWN if private else self._habits(context, "")
            near = NOTHING_KNOWN if private else self._habits(context, word)
            weighing = WRITTEN_AS_MEANT if self._corrector.is_known(word) else MISTYPED
            candidates = self._replacements.find(word, weighing)
            ranked = place.scores.best(candidates, k + NUM_REREAD, near.known)
            entries = self._entries(ranked, {**here.spellings, **near.spellings})
            entries += [(own, log_prob - weighing.most) for own, log_prob in here.own.items()]
            entries += near.own.items()
            entries = [each for each in entries if each[0].lower() != word.lower()]
            starts_sentence = place.context.starts_sentence
            tail = self._reader.next_behind(after, starts_sentence=starts_sentence)
            goes_on = place.scores.goes_on([self._path(each) for each, _ in entries], tail)
            entries = [
                (each, log_prob + more) for (each, log_prob), more in zip(entries, goes_on, strict=True)
            ]
            height = height_of(word, self.lexicon.forms, starts_sentence=starts_sentence)
            words, log_probs = self._scored(_shown(self._as_written(entries, height), None, k), place)
        milliseconds = (time.perf_counter() - started) * 1000
        return Suggestions(words, log_probs, None, milliseconds, literal=word)

    def reconsidered(
        self,
        context: str,
        first: str,
        second: str,
        stands: str | None = None,
        *,
        gap: str = " ",
        after: str = "",
    ) -> str | None:
        """The one or two words that were meant by two, now that both are known: if the space between them
        slipped (tot he, th eother, th e) or was meant to be an apostrophe (don;t), or if the first has one
        too many or lacks it (we're you, shed never). To be put in place of both when the second was ended;
        None to leave them.

        Args:
            context: the text before the first.
            first, second: their letters, as they were typed.
            stands: what stands in their place, after corrections; None for the letters themselves.
            gap: what was typed between them, a space or a semicolon.
            after: everything behind the second, see `suggest`.
        """
        first, second = normalise(first), normalise(second)
        typed = f"{first}{gap}{second}"
        stands = typed if stands is None else normalise(stands)
        with self._lock:
            if self._corrector.is_kept(context, typed) or not self._corrector.may_be_reconsidered(
                context, first, second, gap, after
            ):
                return None
            starts_sentence = self._reader.read(context, after).starts_sentence
            if gap != " ":
                return self._second_thoughts.contracted(first, second, starts_sentence=starts_sentence)
            found = self._second_thoughts.find(
                context, first, second, stands, starts_sentence=starts_sentence
            )
            if not found:
                return None
            place = self._places.go_to(context, after)
            return self._second_thoughts.best(found, stands, place)

    def explain(
        self,
        context: str,
        typed: str | Sequence[Touch],
        k: int = 5,
        *,
        private: bool = False,
        after: str = "",
    ) -> Explanation:
        """What lies behind the answer of `suggest` to the same arguments: the best k words with what each is
        worth, the one that the letters are already among them, and what a space would do and why. Costs about
        as much as the answer once more."""
        _check_count(k)
        with self._lock:
            asked = self._ask(context, typed, after, private=private)
            letters = asked.letters
            contest = self._contest(asked, context, after)
            words = self._explained(asked, self._ranked(asked, k), self._heard(context, letters))
            doubt = None if contest is None else self._doubt(asked, contest)
            verdict, corrected, competing = self._corrector.verdict(
                context,
                letters,
                rest_of_message(after),
                asked.place,
                doubt,
                private=private,
            )
            needed = self._corrector.needed_confidence(letters)
            put = _aloud(corrected, asked)
            if letters != asked.typed:
                verdict = Verdict.KNOWN if put is None and verdict is Verdict.RECASED else verdict
                competing = tuple(replace(each, text=each.text.upper()) for each in competing)
        return Explanation(words[:k], verdict, put, competing, needed)

    def doubt(
        self, context: str, typed: str | Sequence[Touch], *, private: bool = False, after: str = ""
    ) -> Doubt:
        """What competes when a space ends the word, best first; of a known word, what would if it were none.
        `is_doubtful` says whether anything does.

        Args:
            context, typed, private, after: as for `suggest`.
        """
        with self._lock:
            asked = self._ask(context, typed, after, private=private)
            doubt = self._doubt(asked, self._rivals_of(asked))
            scores = self._corrections.scores(*doubt)[1]
            ranked = sorted(range(len(scores)), key=lambda at: -scores[at])
            return doubt._replace(choices=tuple(doubt.choices[at] for at in ranked))

    def contenders(self, context: str, letters: str, k: int) -> Contenders:
        """The k words likeliest by fixed shares of model and prior that letters begin, and what a bundle's
        mixture is told of them. The letters themselves are not among them: a space does for these."""
        with self._lock:
            scores = self._places.go_to(context, "").scores
            words = np.asarray(self._finder.find(letters).words, dtype=np.int64)
            node = self.lexicon.walk(letters.lower()) if letters else None
            if node is not None:
                words = np.setdiff1d(words, np.array(self.lexicon.words_at(node), dtype=np.int64))
            return scores.contenders(words, k)

    def is_doubtful(self, context: str, typed: str | Sequence[Touch], *, after: str = "") -> bool:
        """Whether a space may put something in place of what was typed: it is no word that is known, and
        looks like one that somebody mistyped."""
        with self._lock:
            _, letters = self._touches(typed)
            place = self._reader.read(context, after)
            return self._corrector.is_doubtful(context, _quietly(letters, place), after)

    def knows(self, word: str) -> bool:
        """Whether a word is known, by the lexicon, the dictionary or the owner, whatever its case; such words
        are never corrected."""
        with self._lock:
            return self._corrector.is_known(normalise(word))

    def look_ahead(self) -> bool:
        """Works out what will be asked after the last answer of `suggest`, a few milliseconds at a time: to
        be called while nobody waits, until it returns False. No word depends on it, but most come sooner.

        There is something to do in front of other words only, where few words are written: at the end of a
        message the answers come as soon without it.
        """
        with self._lock:
            if self._to_foresee is None or self._to_foresee[0] is not self._places.place:
                return False
            steps = self._to_foresee[1]
            return self._of_memory(lambda: next(steps, _DONE), _DONE) is not _DONE

    # -------------------------------------------------------------------------------------- telling

    def accept(
        self,
        context: str,
        typed: str,
        word: str,
        *,
        private: bool = False,
        after: str = "",
        told_after: str | None = None,
    ) -> Accepted:
        """Tells the engine that `word` now stands after `context`: taken from the suggestions, typed to its
        end, or put there by a correction. It is remembered, unless it may be a secret, see `may_teach`.

        The model reads the word at once, so that the first suggestion after it comes without waiting.

        Args:
            context: the text before the word.
            typed: the letters that were typed of it.
            word: what stands now; may be several words, or an emoji.
            private: nothing is remembered.
            after: everything behind the word, see `suggest`; the model then reads the word in front of it.
            told_after: if `typed` is a word that stood there, and had been accepted itself, the context of
                then: it is remembered once less, and `undo` gives it back exactly.

        A memory that fails is told of in `notice`; the word is not remembered then, and all else goes well.
        """
        place = _place(context, word)
        # As everywhere, two words have a gap between them though the caller leaves it out.
        gap = " " if context[-1:].isalnum() and word[:1].isalnum() else ""
        with self._lock:
            self._take_back_half_of_address(f"{context}{word}")
            # What stands because a correction was taken back was remembered then, once.
            taught = None if private or place == self._counted else Taught()
            if place == self._counted:
                self._counted = None
            accepted = self._last = Accepted(context, typed, word, taught)
            if taught is not None:
                if place == self._uncounted:
                    self._uncounted = None
                with self._telling_memory():
                    if told_after is not None and may_teach(told_after, typed):
                        self._personal.take_back(words_before(told_after), typed, taught)
                    self._remember(context + gap, typed, word, after, taught)
            self._places.go_to(f"{context}{gap}{word} ", after)
            self._places.end_word()
        return accepted

    def undo(self, accepted: Accepted) -> None:
        """The writer took a word back, and what was typed stands: the memory forgets the one and learns the
        other.

        What was accepted last is taken back exactly, and what was accepted before it then, too. A word after
        which others were accepted comes once less.

        A correction that was taken back once is not made again in the same place; after the letters were
        typed a second time, nowhere. Of a capital that the writer had used it takes as many times more.

        A memory that fails is told of in `notice`.
        """
        letters, taught = normalise(accepted.typed), accepted.taught
        with self._lock:
            if taught is not None and not taught.is_undone:
                with self._telling_memory():
                    self._unteach(accepted, letters, taught)
            # Letters that began the word are a mistake still if it was no space that put it there.
            context, put = accepted.context, accepted.word
            if is_meant(letters, put) or put == self._correction(context, letters, private=taught is None):
                self._corrector.keep(context, letters)
            self._last = None

    def take_back(self, context: str, word: str) -> None:
        """A word that had been accepted does not stand any more: its writer deleted it, or changed its
        letters. It is remembered once less; what came once only is as if it had never come, in the file's
        bytes, too, unless another process is reading them.

        A memory that fails is told of in `notice`.

        Args:
            context: the text after which it was accepted.
            word: one word, as it stood. What was accepted privately is not to be taken back.
        """
        place = _place(context, word)
        with self._lock:
            self._last = None
            if self._counted == place:
                self._counted = None  # when it is written there again, it is remembered again
            self._corrector.keep_no_more(*place)
            if self._uncounted == place:
                self._uncounted = None
            elif may_teach(context, word):
                with self._telling_memory():
                    self._personal.take_back(words_before(context), word)

    def learn(self, word: str) -> None:
        """Makes a word known, written as it is given, until it is forgotten; `UserError` if it is no word."""
        with self._lock, self._changing_memory():
            self._personal.learn(word)

    def forget(self, word: str) -> bool:
        """Removes a word from the memory and from its file's bytes; returns whether it was there.

        Raises:
            UserError: it is forgotten, but another process keeps its traces in the file for now.
        """
        with self._lock, self._changing_memory():
            return self._personal.forget(word)

    def words_learned(self, search: str = "") -> list[LearnedWord]:
        """All words that are remembered, the most used first; `search` is letters they must contain."""
        with self._lock:
            return self._personal.words(search)

    @contextmanager
    def memory(self) -> Iterator[Personal]:
        """The owner's memory, to be read and changed inside; answers wait meanwhile, and know of every change
        afterwards."""
        with self._lock, self._changing_memory():
            yield self._personal

    def reset(self) -> None:
        """Forgets the text that was read last. Answers do not change, only the next one takes longer."""
        with self._lock:
            self._places.forget()

    def score_message(self, earlier: Sequence[str], message: str) -> tuple[float, int]:
        """How well the model predicts a whole message, for bits per character.

        The message is normalised and truecased as in training. Of the earlier messages of the conversation as
        many are read as fit into the window before it, newest first.

        Returns:
            The natural log probability of the message's pieces and its end, exact; and how many pieces that
            are.
        """
        ids = self._reader.frame_message(message)
        window = self._model.window
        # The message's start is given, not predicted.
        before = newest_that_fit(self._reader.frame_messages(earlier), window - len(ids))
        given, rest = [*before, ids[0]], ids[1:]
        total = 0.0
        with self._lock:
            while rest:
                room = window - len(given)
                chunk, rest = rest[:room], rest[room:]
                total += float(self._places.log_probs_of(given, chunk).sum(dtype=np.float64))
                # Of a message longer than the window, the rest is predicted from the half window before it.
                given = [ids[0], *[*given, *chunk][-(window // 2) :]]
        return total, len(ids) - 1

    # --------------------------------------------------------------------------- what was typed

    def _ask(self, context: str, typed: str | Sequence[Touch], after: str, *, private: bool) -> _Asked:
        touches, typed_letters = self._touches(typed)
        place = self._places.go_to(context, after)
        letters = _quietly(typed_letters, place.context)
        habits = NOTHING_KNOWN if private else self._habits(context, letters)
        candidates = self._find(touches, letters)
        shown = _reluctantly(candidates) if touches else candidates
        return _Asked(touches, typed_letters, letters, place, habits, candidates, shown)

    def _contest(self, asked: _Asked, context: str, after: str) -> Contest | None:
        """What competes for the word if a space ends it; None if a space leaves its letters as they are."""
        question = context, asked.letters, after
        is_open = self._corrector.is_doubtful(*question) or self._corrector.is_perhaps_name(*question)
        return self._rivals_of(asked) if asked.touches and is_open else None

    def _correction(self, context: str, letters: str, *, private: bool) -> str | None:
        """What a space puts in place of letters at the end of a text."""
        asked = self._ask(context, letters, "", private=private)
        contest = self._contest(asked, context, "")
        doubt = None if contest is None else self._doubt(asked, contest)
        _, corrected, _ = self._corrector.verdict(
            context, asked.letters, "", asked.place, doubt, private=private
        )
        return _aloud(corrected, asked)

    def _rivals_of(self, asked: _Asked) -> Contest:
        """What competes for the word, known or not."""
        touches, _, letters, place, habits, candidates, _ = asked
        path = self._corrector.literal_path(letters, place)
        return self._contests.find(touches, letters, path, candidates, place.scores, habits.known)

    def _doubt(self, asked: _Asked, contest: Contest) -> Doubt:
        return self._corrector.doubt(contest, asked.touches, asked.letters, asked.place, asked.habits)

    def _ranked(self, asked: _Asked, k: int, along: Sequence[tuple[int, ...]] = ()) -> list[RankedWord]:
        """The k best words of the lexicon. Letters that can become no word need no model: the next space is
        the first chance to be useful."""
        if not len(asked.candidates):
            return []
        num_fitted = NUM_FITTED if asked.touches else NUM_FITTED_FIRST
        return self._best(asked.place, asked.shown, k, asked.habits, along, num_fitted)

    def _touches(self, typed: str | Sequence[Touch]) -> tuple[tuple[Touch, ...], str]:
        """The touches of a word, and the letters that they type."""
        if isinstance(typed, str):
            letters = normalise(typed)
            return as_touches(letters), letters
        letters = normalise(literal(self.layout, typed))
        return as_touches(typed), letters

    def _find(self, touches: Sequence[Touch], letters: str) -> Candidates:
        """The words that may be meant; of digits, signs and spaces only those that they begin exactly."""
        if all(each.isalpha() or each in MARKS for each in letters):
            return self._beam.find(touches)
        return self._finder.find(letters)

    def _scored(
        self, shown: Sequence[tuple[str, float | None]], place: Place
    ) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Words and log probabilities of what is shown. What has none, being put by a space though it is not
        among the best, has the model's, but no more than what stands before it."""
        log_probs: list[float] = []
        for text, log_prob in shown:
            if log_prob is None:
                path = tuple(i for word in text.split(" ") for i in self._path(word))
                log_prob = min(place.scores.spelled([path])[0], *log_probs[-1:], 0.0)
            log_probs.append(log_prob)
        return tuple(text for text, _ in shown), tuple(log_probs)

    def _written(self, word: str, letters: str) -> str:
        context = self._places.context
        return like_typed(
            word,
            letters,
            starts_sentence=context.starts_sentence,
            goes_on_shouting=context.goes_on_shouting,
        )

    def _entries(self, ranked: Iterable[RankedWord], spellings: Mapping[int, str]) -> list[tuple[str, float]]:
        """Words of the lexicon, as their owner writes them or as it has them, and their log probabilities."""
        return [(spellings.get(each.word) or self.lexicon.word(each.word), each.log_prob) for each in ranked]

    def _explained(
        self, asked: _Asked, ranked: Sequence[RankedWord], heard: Mapping[str, float]
    ) -> tuple[ExplainedWord, ...]:
        """Words of the lexicon, of the owner's own and of the conversation, best first, with their parts."""
        letters, habits, candidates = asked.typed, asked.habits, asked.candidates
        numbers = np.array(sorted(each.word for each in ranked), dtype=np.int64)
        at = np.searchsorted(candidates.words, numbers)
        costs = dict(zip(numbers.tolist(), candidates.costs[at].tolist(), strict=True))
        log_probs = asked.place.scores.log_probs(numbers).tolist()
        model = dict(zip(numbers.tolist(), log_probs, strict=True))
        personal = by_word(habits.known)
        found = [
            ExplainedWord(
                self._written(habits.spellings.get(word) or self.lexicon.word(word), letters),
                score,
                costs[word],
                model[word],
                personal.get(word),
            )
            for word, score in ranked
        ]
        for word, score in habits.own.items():
            begins = word.lower().startswith(letters.lower())
            cost = 0.0 if begins else MISTYPED_NEW_WORD
            found.append(ExplainedWord(self._written(word, letters), score, cost, None, score + cost))
        for word, score in heard.items():
            found.append(ExplainedWord(self._written(word, letters), score, 0.0, None, None))
        distinct: dict[str, ExplainedWord] = {}
        for each in sorted(found, key=lambda each: -each.score):
            distinct.setdefault(each.word.lower(), each)
        return tuple(distinct.values())

    def _as_written(self, entries: Iterable[tuple[str, float]], letters: str) -> list[tuple[str, float]]:
        """The entries as they would be inserted, best first, no two alike up to case."""
        distinct: dict[str, tuple[str, float]] = {}
        for word, score in sorted(entries, key=lambda entry: -entry[1]):
            written = self._written(word, letters)
            distinct.setdefault(written.lower(), (written, score))
        return list(distinct.values())

    # ------------------------------------------------------------------------------ more than one word

    def _phrase(
        self,
        scores: WordScores,
        words: Sequence[str],
        ranked: Sequence[RankedWord],
        entries: Sequence[tuple[str, float]],
        letters: str,
    ) -> str | None:
        """The best word and what follows it, if the model is sure of all of it."""
        # After one letter anything may follow still, and looking for it costs a run of the model.
        if not ranked or not words or len(letters) == 1:
            return None
        best = ranked[0]
        if self._written(self.lexicon.word(best.word), letters).lower() != words[0].lower():
            return None
        # Without letters a score is a probability; with letters it is one among those that fit them.
        total = 1.0 if not letters else math.fsum(math.exp(score - best.log_prob) for _, score in entries)
        sure = math.exp(best.log_prob) if not letters else 1.0 / total
        return self._phrases.from_word(scores, best.word, words[0], sure)

    # ------------------------------------------------------------------------------------- the memory

    def _of_memory(self, ask: Callable[[], Answer], otherwise: Answer) -> Answer:
        """What the memory answers. One that fails is told of, and keeps nobody from typing."""
        try:
            return ask()
        except UserError as error:
            self.notice = str(error)
            return otherwise

    def _habits(self, context: str, letters: str) -> OwnHabits:
        """What the owner writes in a place."""
        return self._of_memory(lambda: self._owner.habits(context, letters), NOTHING_KNOWN)

    def _is_pinned(self, word: str) -> bool:
        """Whether the owner taught a word, or brought it back."""
        return self._of_memory(lambda: self._personal.is_pinned(word), False)

    def _lexicon_form(self, word: str) -> str | None:
        """How the lexicon writes a word; None if it does not offer it."""
        return None if self._owner.number(word) is None else self.lexicon.forms[word.lower()]

    def _path(self, surface: str) -> tuple[int, ...]:
        """The pieces by which the model knows a word."""
        number = self._owner.number(surface)
        return self.pieces.encode_unit(surface) if number is None else self.lexicon.pieces(number)

    def _remember(self, context: str, typed: str, word: str, after: str, taught: Taught) -> None:
        """Observes each word of what now stands, but for what may not be remembered there."""
        word = normalise(word)
        is_taken = normalise(typed).lower() != word.lower()
        for unit, start in units_with_places(word):
            before = f"{context}{word[:start]}" if start else context
            if not is_word(unit) or not may_teach(before, unit, word[start + len(unit) :]):
                continue
            # What would be believed without the memory: of known words n-grams and the conversation, too.
            scores, number = self._places.go_to(before, after).scores, self._owner.number(unit)
            log_prob = (
                scores.spelled([self._path(unit)])[0]
                if number is None
                else float(scores.log_probs(np.array([number], dtype=np.int64))[0])
            )
            self._personal.observe(
                words_before(before),
                unit,
                model_log_prob=log_prob,
                lexicon_form=self._lexicon_form(unit),
                accepted=is_taken,
                taught=taught,
            )

    def _unteach(self, accepted: Accepted, letters: str, taught: Taught) -> None:
        """Takes back what the memory was told, and has it learn the letters that stand again."""
        form = self._lexicon_form(letters)
        self._personal.undo(taught, lexicon_form=form)
        # What was remembered of a word that was replaced is there again.
        is_counted = taught.has_mended
        if sum(is_word(unit) for unit, _ in units_with_places(letters)) > 1:
            # Neither of the two was in doubt, only what parts them.
            self._remember(accepted.context, letters, letters, "", Taught())
        elif is_meant(letters, accepted.word) and is_word(letters) and not taught.has_mended:
            is_recased = normalise(accepted.word).lower() == letters.lower()
            is_counted = may_teach(accepted.context, letters)
            if is_counted:
                before = words_before(accepted.context)
                self._personal.keep_literal(letters, before, lexicon_form=form, is_recased=is_recased)
        if is_counted:
            self._counted = _place(accepted.context, letters)

    def _take_back_half_of_address(self, context: str) -> None:
        """Forgets the last word if what came right after it makes it the beginning of a mail address, a link
        or a number."""
        if self._last is None or self._last.taught is None:
            return
        stood = f"{self._last.context}{self._last.word}"
        if makes_address(context[len(stood) :][:2]) and context.startswith(stood):
            with self._telling_memory():
                self._personal.undo(self._last.taught)
            self._uncounted = _place(self._last.context, self._last.word)
            self._last = None

    @contextmanager
    def _changing_memory(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._owner.has_changed()

    @contextmanager
    def _telling_memory(self) -> Iterator[None]:
        """Inside, the memory learns from typing. One that fails is told of, and keeps nobody from it."""
        try:
            with self._changing_memory():
                yield
        except UserError as error:
            self.notice = str(error)

    def _heard(self, context: str, letters: str) -> dict[str, float]:
        """Words that the lexicon lacks, that this conversation has and the letters begin, with their log
        probabilities."""
        if not letters:
            return {}
        heard = self._conversation.new_words(context, letters)
        return {word: math.log(PRIOR_WEIGHT) + log_prob for word, log_prob in heard.items()}

    # -------------------------------------------------------------------------------------- the model

    def _best(
        self,
        place: Place,
        candidates: Candidates,
        k: int,
        habits: OwnHabits,
        along: Sequence[tuple[int, ...]] = (),
        num_fitted: int = NUM_FITTED,
    ) -> list[RankedWord]:
        """The k best candidates in a place."""
        if not place.tail:
            return place.scores.best(candidates, k, habits.known, along)
        num_fitted = max(2 * k, num_fitted)
        return place.scores.best_in_front(candidates, k, num_fitted, place.tail, habits.known, along)

    def _foreseeing(self, asked: _Asked, context: str, word: str, after: str) -> Iterator[None]:
        """Finds out step by step what the next key will need: if it ends the word, which then is `word`, the
        place behind it and the words that may follow; if it is a letter, more of the candidates."""
        place, behind = asked.place, f"{context}{word} "
        if is_word(word) or (not word and context and not context[-1].isspace()):
            if word:
                place.scores.spelled([self._path(word)])  # the memory asks for it
            following = self._places.look_behind(behind, after)
            yield
            expected = self._owner.expected(behind)
            for num_words in (NUM_FITTED_FIRST, NUM_FITTED_FIRST + NUM_SPARE):
                following.scores.foresee(self._finder.find(""), num_words, following.tail, expected)
                yield
        for num_words in range(NUM_FITTED_FIRST, MOST_FORESEEN + 1, NUM_FITTED_FIRST):
            place.scores.foresee(asked.shown, num_words, place.tail, asked.habits.known)
            yield
        self._places.read_ahead()


def _check_count(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}.")


def _place(context: str, word: str) -> tuple[str, str]:
    return context, normalise(word).lower()


def _quietly(letters: str, context: Context) -> str:
    """The letters as they are asked about: small ones if they go on with a shout."""
    return letters.lower() if context.goes_on_shouting and letters.isupper() else letters


def _aloud(corrected: str | None, asked: _Asked) -> str | None:
    """What a space puts, in capitals if the letters go on with a shout; None if it stands there already."""
    if corrected is None or asked.letters == asked.typed:
        return corrected
    loud = corrected.upper()
    return None if loud == asked.typed else loud


def _reluctantly(candidates: Candidates) -> Candidates:
    """The candidates, those that hold a mistake at a cost of `RELUCTANCE` more."""
    costs = np.where(candidates.costs > SLIP, candidates.costs + np.float32(RELUCTANCE), candidates.costs)
    return Candidates(candidates.words, costs, candidates.whole_costs)


def _shown(
    best: Sequence[tuple[str, float]], corrected: str | None, k: int
) -> list[tuple[str, float | None]]:
    """The first k words; what a space puts is among them, at the end and without a score if it is not among
    the best."""
    shown: list[tuple[str, float | None]] = list(best[:k])
    if corrected is not None and corrected.lower() not in (written.lower() for written, _ in shown):
        shown[k - 1 :] = [(corrected, None)]
    return shown


def _correction_model(bundle: Bundle) -> CorrectionModel:
    text = bundle.correction_text()
    return DEFAULT_CORRECTIONS if text is None else _read(CorrectionModel.from_json, text, CORRECTION)


def _mixture(bundle: Bundle) -> Mixture | None:
    text = bundle.mixture_text()
    return None if text is None else _read(Mixture.from_json, text, MIXTURE)


def _read(from_json: Callable[[str], Parsed], text: str, name: str) -> Parsed:
    try:
        return from_json(text)
    except (ValueError, OverflowError, RecursionError) as error:
        reason = str(error).rstrip(".")
        raise BundleError(
            f"The bundle's {name} is malformed ({reason}); export or download the bundle again."
        ) from error
