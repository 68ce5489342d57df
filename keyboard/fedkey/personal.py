"""What one person taught their keyboard.

In: the words their owner finishes or accepts, each with the words before it and the model's opinion of it.
Out: the words that their owner is likely to write, how far to believe it, and all that is remembered as a
list that can be read, changed, moved and erased. Next stop: `fedkey.engine`.

What may be remembered: a word is *known*, and given back, once it was learned explicitly, accepted, or typed
twice, restored after a correction counting as typed; a word that the lexicon offers unasked needs no second
time. Digits, addresses, links, what looks like a password and what is announced as one are not written down;
a word that turns out to be the beginning of an address (joe@, example.org) was, and is taken back at the next
letter. Forgetting keeps no
list of forgotten words, which would be the most private list of all: the word is as if it had never been
typed, and becomes known again by the same rules.

`personal_rules` says what may be kept, `personal_ngram` what it is worth, `personal_store` keeps it and
`personal_lines` carries it away.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from fedkey.errors import UserError
from fedkey.files import whole
from fedkey.personal_lines import OTHER_WORD, Contents, from_lines, to_lines
from fedkey.personal_ngram import (
    NEVER,
    Floats,
    Level,
    Predictions,
    habit_log_probs,
    habits,
    learned_trust,
    new_level,
    share,
    strength_less,
    strength_now,
    strength_sum,
    strength_total,
)
from fedkey.personal_rules import (
    LONGEST_WORD,
    RESTORED_VOTES,
    SENTENCE_START,
    elected,
    is_learnable,
    is_teachable,
    spelling_shown,
    with_vote,
)
from fedkey.personal_store import Before, KnownWords, Ngram, PersonalStore, State, WordRow
from fedkey.text import normalise

MAX_WORDS = 20_000
MAX_NGRAMS = 40_000
"""The weakest give way to new ones. That many n-grams are about 30,000 words of text, six half-lives; after a
million words the file has 6 MB."""

MAX_FOLLOWERS = 64
"""Words remembered after the same words. All of them are read for a prediction."""

MAX_UNASKED = 32
"""Words that `predictions` lists for their frequency alone."""

LEARNED_VOTES = 8
"""What an explicitly learned spelling is worth against typed ones."""

ONCE_OR_LESS = 1.5
"""Counts fade, so that what came twice never counts for quite two."""

_NO_FILE = (OSError, RuntimeError, ValueError)
"""What using a path may raise: the system refuses it, its links lead round in a circle (until Python 3.13),
or nothing can have such a name."""

_ANY, _START, _OTHER = 0, -1, -2
"""Numbers of what is no word before a word: nothing asked, a sentence's start, a word not remembered."""


@dataclass(frozen=True, slots=True)
class LearnedWord:
    """A line of the list that the owner sees.

    Attributes:
        word: as it is written.
        count: how often it was finished or accepted.
        last_used: the day, as YYYY-MM-DD.
        is_known: whether it is given back; a word typed once is not, yet.
        is_pinned: whether it was learned explicitly, or restored after a correction and typed again.
        worth: how often it came, by what that is worth today; it is less with every word that comes, and so
            not compared.
    """

    word: str
    count: int
    last_used: str
    is_known: bool
    is_pinned: bool
    worth: float = field(compare=False)


@dataclass(eq=False, slots=True)
class Taught:
    """What a memory is told at one stroke: to be handed to every `observe` and `take_back` of the stroke, and
    in the end to `undo`. Each stroke has its own.

    Attributes:
        is_undone: whether it was taken back.
        words: what was observed, each after the words before it.
        mended: what was taken back, each after the words before it.
        before: the rows that were replaced, oldest first; None once something else was written in between.
        change: number of the last change that is part of it; 0 if it taught nothing.
        since: number of the change that it came upon.
        version: what other processes had written then.
    """

    is_undone: bool = False
    words: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    mended: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    before: list[Before] | None = field(default_factory=list)
    change: int = 0
    since: int = 0
    version: int = 0

    @property
    def has_mended(self) -> bool:
        """Whether a word was taken back with it."""
        return self.mended != []


class Personal:
    """One owner's memory. One thread at a time, any thread; any number of processes may have it open.

    Answers are functions of the file and the arguments: nothing is kept outside it but what was read from it,
    and a number for its last change. Each method that writes is one transaction; where the file fails, it
    raises `UserError` and has changed nothing.
    """

    def __init__(self, store: PersonalStore) -> None:
        """Takes an open store; `Personal.open` is the usual way in."""
        self._store = store
        self._change = self._num_changes = 0

    @classmethod
    def open(cls, path: Path | None) -> Personal:
        """Opens or makes the memory at `path` (None: in memory only), a file that its owner alone may read;
        `UserError` if that cannot be done."""
        return cls(PersonalStore.open(path))

    def close(self) -> None:
        """Closes the file. Nothing is pending: every word was written when it was observed."""
        self._store.close()

    @property
    def path(self) -> Path | None:
        """The file; None in memory only."""
        return self._store.path

    @property
    def files_set_aside(self) -> list[Path]:
        """Damaged files that were set aside, in which words may stand still; `erase_all` deletes them."""
        return self._store.files_set_aside()

    @property
    def notice(self) -> str | None:
        """A sentence for the owner if the file was damaged and set aside; mostly None."""
        return self._store.notice

    # ------------------------------------------------------------------------------------ observing

    def observe(
        self,
        context_words: Sequence[str],
        word: str,
        *,
        model_log_prob: float | None = None,
        lexicon_form: str | None = None,
        accepted: bool = False,
        taught: Taught | None = None,
    ) -> bool:
        """The owner finished or accepted a word.

        Args:
            context_words: the words before it, nearest last, see `words_before`; none means that a sentence
                starts.
            word: as it stands in the text.
            model_log_prob: natural log of the model's probability of the word there; None if it has none, and
                trust is not learned.
            lexicon_form: how the lexicon writes the word; None if it does not offer the word unasked (unknown
                or offensive).
            accepted: whether it was taken from the suggestions.
            taught: for `undo`.

        Returns:
            Whether it was remembered: not if it may not be.
        """
        return self._observe(
            context_words, word, model_log_prob, lexicon_form, accepted=accepted, taught=taught
        )

    def keep_literal(
        self,
        word: str,
        context_words: Sequence[str] = (),
        *,
        lexicon_form: str | None = None,
        is_recased: bool = False,
    ) -> bool:
        """The owner took back a correction: `word` stands as it was typed.

        It counts as having typed the word, which must not be observed as well. A word that was restored and
        typed twice in all is known and pinned: it is never corrected again, however long it is not used.

        Args:
            word: as it was typed.
            context_words: what stands before it.
            lexicon_form: as for `observe`.
            is_recased: whether the correction was but of its capitals: those typed count for more then.
        """
        num_votes = RESTORED_VOTES if is_recased else 1
        return self._observe(context_words, word, None, lexicon_form, restored=True, num_votes=num_votes)

    def take_back(self, context_words: Sequence[str], word: str, taught: Taught | None = None) -> bool:
        """The owner mended a word that had been observed: it came once less, after these words. What came
        once only is as if it had never come, and leaves the file's bytes, unless another process is reading
        them.

        Args:
            context_words: as they were when the word was observed.
            word: as it stood in the text.
            taught: for `undo`, if the word that was put in its place is observed with it.

        Returns:
            Whether it was remembered.
        """
        with self._store.writing() as before:
            is_remembered = self._come_once_less(context_words, word)
            version = self._store.foreign_writes()
        if is_remembered:
            self._note(taught, before, version)
            if taught is not None:
                taught.mended.append((tuple(context_words), word))
            self._fold_without([word])
        return is_remembered

    def _fold_without(self, words: Iterable[str]) -> None:
        """Sees to it that words leave the file's bytes if they came no second time."""
        if any(self._store.find(normalise(word).lower()) is None for word in words):
            self._store.fold()

    def _come_once_less(self, context_words: Sequence[str], word: str) -> bool:
        """Whether there was such a word; only inside a transaction."""
        found = self._store.find(normalise(word).lower())
        if found is None:
            return False
        number, row = found
        state = self._store.state()
        once = strength_now(state.words_seen)
        if row.typed <= 1 and not row.is_pinned:
            num_lost = len(self._store.mentions(number))
            self._remove(number)
            state = state._replace(
                total=strength_less(state.total, row.strength),
                num_words=state.num_words - 1,
                num_ngrams=state.num_ngrams - num_lost,
            )
        else:
            num_lost = sum(
                self._follow_once_less((*each, number), once) for each in self._contexts(context_words)
            )
            typed = max(row.typed - 1, 0)
            less = row._replace(
                strength=strength_less(row.strength, once),
                typed=typed,
                restored=min(row.restored, typed),
                is_known=row.is_known and (row.is_pinned or not row.is_new or typed >= 2),
            )
            self._store.put("words", (number,), less)
            others = strength_less(state.total, row.strength)
            state = state._replace(
                total=strength_sum(others, less.strength), num_ngrams=state.num_ngrams - num_lost
            )
        self._store.put("state", (0,), state)
        return True

    def _follow_once_less(self, ngram: Ngram, once: float) -> int:
        """Returns how many n-grams there are less."""
        strength = self._store.ngram_strength(ngram)
        if strength == NEVER:
            return 0
        is_gone = 2.0 ** (strength - once) < ONCE_OR_LESS
        self._store.put("ngrams", ngram, None if is_gone else (strength_less(strength, once),))
        return int(is_gone)

    def undo(self, taught: Taught, *, lexicon_form: str | None = None) -> bool:
        """Takes back what was told at one stroke.

        If nothing was written since, by this process or another, the memory is exactly what it was; what was
        told before it can be taken back exactly then, too. Otherwise each word comes once less after the
        words before it, as by `take_back`, and one that was mended comes once more. Bytes as by `take_back`.

        Args:
            taught: what the stroke was told with.
            lexicon_form: of the word that was mended, as for `observe`.

        Returns:
            Whether there was anything to take back: not if nothing was remembered, nor a second time.
        """
        if taught.is_undone or not taught.change:
            return False
        with self._store.writing():
            is_last = self._change == taught.change and self._store.foreign_writes() == taught.version
            before = taught.before if is_last else None
            if before is not None:
                self._store.restore(before)
            else:
                for context_words, word in reversed(taught.words):
                    self._come_once_less(context_words, word)
                for context_words, word in taught.mended:
                    self._come_once_more(context_words, normalise(word), None, lexicon_form)
        self._note(None, [], 0)
        if before is not None:
            self._change = taught.since
        taught.is_undone = True
        self._fold_without(word for _, word in taught.words)
        return True

    def _note(self, taught: Taught | None, before: list[Before], version: int) -> None:
        """Gives the change that was just made a number, and counts it to what was told with `taught`."""
        since = self._change
        self._num_changes += 1
        self._change = self._num_changes
        if taught is None:
            return
        if not taught.change:
            taught.before, taught.since, taught.version = before, since, version
        elif taught.before is not None and (taught.change, taught.version) == (since, version):
            taught.before += before
        else:
            taught.before = None
        taught.change = self._change

    def _observe(
        self,
        context_words: Sequence[str],
        word: str,
        model_log_prob: float | None,
        lexicon_form: str | None,
        *,
        accepted: bool = False,
        restored: bool = False,
        num_votes: int = 1,
        taught: Taught | None = None,
    ) -> bool:
        surface = normalise(word)
        if model_log_prob is not None and math.isnan(model_log_prob):
            raise ValueError("model_log_prob must be a number or None, not NaN.")
        if lexicon_form is not None and lexicon_form.lower() != surface.lower():
            raise ValueError("lexicon_form must be the word itself, apart from capitals.")
        if not (is_learnable(surface) or self._is_taught(surface)):
            return False
        with self._store.writing() as before:
            self._come_once_more(
                context_words,
                surface,
                model_log_prob,
                lexicon_form,
                accepted=accepted,
                restored=restored,
                num_votes=num_votes,
            )
            version = self._store.foreign_writes()
        self._note(taught, before, version)
        if taught is not None:
            taught.words.append((tuple(context_words), word))
        return True

    def _come_once_more(
        self,
        context_words: Sequence[str],
        surface: str,
        model_log_prob: float | None,
        lexicon_form: str | None,
        *,
        accepted: bool = False,
        restored: bool = False,
        num_votes: int = 1,
    ) -> None:
        """Counts a word; only inside a transaction."""
        state = self._store.state()
        now = strength_now(state.words_seen)
        contexts = self._contexts(context_words)
        levels = self._levels(contexts, state)
        found = self._store.find(surface.lower())
        if model_log_prob is not None:
            for place, evidence in learned_trust(levels, _shares(levels, found), model_log_prob).items():
                self._store.put("trusts", place, evidence)
        starts_sentence = contexts[0][1] == _START
        spelling = spelling_shown(surface, lexicon_form, starts_sentence=starts_sentence)
        row, votes = self._counted(found, surface, spelling, num_votes, lexicon_form, now)
        row = row._replace(
            restored=row.restored + restored,
            is_known=row.is_known or accepted or lexicon_form is not None or row.typed >= 2,
            is_pinned=row.is_pinned or (row.restored + restored > 0 and row.typed >= 2),
        )
        number = self._write_word(found[0] if found else None, row, votes)
        num_added = sum(self._count_follower(number, context, levels, now) for context in contexts)
        self._settle(
            State(
                state.words_seen + 1,
                strength_sum(state.total, now),
                state.num_words + (found is None),
                state.num_ngrams + num_added,
            )
        )

    def _is_taught(self, surface: str) -> bool:
        """Whether a word that typing alone would not teach was learned explicitly."""
        return is_teachable(surface) and self.is_pinned(surface)

    def _counted(
        self,
        found: tuple[int, WordRow] | None,
        surface: str,
        spelling: str | None,
        num_votes: int,
        lexicon_form: str | None,
        now: float,
    ) -> tuple[WordRow, dict[str, int]]:
        """The word's row and the votes for its spellings after it came once more, with so many for this."""
        key = surface.lower()
        row = found[1] if found else WordRow(key, key, NEVER)
        votes = self._store.spellings(found[0]) if found else {}
        if spelling is not None:
            for _ in range(num_votes):
                votes = with_vote(votes, spelling)
        row = row._replace(
            surface=elected(votes, current=row.surface, newest=spelling, lexicon_form=lexicon_form),
            strength=strength_sum(row.strength, now),
            typed=row.typed + 1,
            is_new=lexicon_form is None,
            last_used=date.today().isoformat(),
        )
        return row, votes

    def _count_follower(
        self, number: int, context: tuple[int, int], levels: Sequence[Level], now: float
    ) -> int:
        """Counts the word after `context`; returns how many n-grams there are more."""
        followers = next((level.followers for level in levels if level.context == context), ())
        strength = self._store.ngram_strength((*context, number))
        self._store.put("ngrams", (*context, number), (strength_sum(strength, now),))
        if strength != NEVER:
            return 0
        if len(followers) < MAX_FOLLOWERS:
            return 1
        weakest = min(followers, key=lambda each: each.strength)
        self._store.put("ngrams", (*context, weakest.number), None)
        return 0

    # ----------------------------------------------------------------------------------- predicting

    def predictions(self, context_words: Sequence[str], prefix: str = "") -> Predictions:
        """The known words that the owner is likely to write here.

        Args:
            context_words: as in `observe`.
            prefix: letters typed so far, any case. Only words that begin with them are listed; their
                probabilities are those without a prefix.

        Returns:
            Of the known words, all that came after these words and the `MAX_UNASKED` most frequent.
        """
        start = normalise(prefix).lower()
        levels = self._levels(self._contexts(context_words), self._store.state())
        return habits(levels, self._store.frequent(start, MAX_UNASKED) if levels else [], start)

    def log_probs(self, context_words: Sequence[str], candidates: Sequence[str]) -> Floats:
        """Natural log of the probability of each candidate by habit alone, as `predictions` has it, whatever
        its case; -inf for what is not known."""
        keys = [normalise(candidate).lower() for candidate in candidates]
        levels = self._levels(self._contexts(context_words), self._store.state())
        strengths = self._store.strengths(list(dict.fromkeys(keys))) if levels else {}
        return habit_log_probs(levels, strengths, keys)

    def known_words(self) -> KnownWords:
        """All known words as they are now; quick to ask for, and changed by the next call."""
        return self._store.known_words()

    def spelling(self, word: str) -> str | None:
        """How the owner writes a known word, whatever its case here; None if it is not known."""
        found = self._store.find(normalise(word).lower())
        return found[1].surface if found is not None and found[1].is_known else None

    def is_pinned(self, word: str) -> bool:
        """Whether a word was learned explicitly, or brought back after a correction and typed again."""
        found = self._store.find(normalise(word).lower())
        return found is not None and found[1].is_pinned

    # -------------------------------------------------------------------------- what the owner can do

    def words(self, search: str = "") -> list[LearnedWord]:
        """All words that are remembered, the most used first.

        Args:
            search: letters that a word must contain, any case.
        """
        now = strength_now(self._store.state().words_seen)
        return [
            LearnedWord(word, count, last, known != 0, pinned != 0, 2.0 ** (strength - now))
            for word, count, last, known, pinned, strength in self._store.listed(normalise(search).lower())
        ]

    def remembered(self, word: str) -> Contents | None:
        """All that is remembered of one word, as an export has it: its row, and after which words it came and
        before which; None if there is no such word."""
        found = self._store.find(normalise(word).lower())
        if found is None:
            return None
        number, row = found
        mentions = self._store.mentions(number)
        keys = self._store.keys({each for ngram, _ in mentions for each in ngram})
        spellings = {row.key: self._store.spellings(number)}
        return Contents(self._store.state().words_seen, {row.key: row}, spellings, _named(mentions, keys), {})

    def bring_back(self, remembered: Contents) -> None:
        """Takes back `forget`, or as much of it as can be: words that were forgotten with it stay so, and
        where the word came again meanwhile, the larger count stays.

        Args:
            remembered: what was `remembered` of the word when it was forgotten.
        """
        with self._changing():
            numbers = {SENTENCE_START: _START, OTHER_WORD: _OTHER}
            for key, row in remembered.words.items():
                numbers[key] = self._merge_word(row, remembered.spellings[key])
            for before, key in remembered.ngrams:
                for each in (*before, key):
                    number = numbers.get(each) or self._store.number(each)
                    if number is not None:
                        numbers[each] = number
            there = {
                (before, key): strength
                for (before, key), strength in remembered.ngrams.items()
                if {*before, key} <= numbers.keys()
            }
            self._merge_ngrams(there, numbers, 0.0)
            self._recount()

    def learn(self, word: str) -> None:
        """Makes a word known, written as it is given, and keeps it until it is forgotten.

        Raises:
            UserError: it is no word.
        """
        surface = _teachable(word)
        key = surface.lower()
        with self._changing():
            found = self._store.find(key)
            state = self._store.state()
            if found is None:
                now = strength_now(state.words_seen)
                row = WordRow(key, surface, now, last_used=date.today().isoformat())
                total, num_words = strength_sum(state.total, now), state.num_words + 1
                state = state._replace(total=total, num_words=num_words)
            else:
                row = found[1]._replace(surface=surface)
            row = row._replace(is_known=True, is_pinned=True)
            self._write_word(found[0] if found else None, row, {surface: LEARNED_VOTES})
            self._settle(state)

    def forget(self, word: str) -> bool:
        """Removes a word, whatever its case, everywhere: itself, after other words and before them, from the
        rows and from the file's bytes.

        Returns:
            Whether there was such a word.

        Raises:
            UserError: it is forgotten, but another process keeps its traces in the file for now.
        """
        with self._changing():
            found = self._store.find(normalise(word).lower())
            if found is not None:
                self._remove(found[0])
                self._recount()
        self._store.scrub()
        return found is not None

    def edit(self, old: str, new: str) -> bool:
        """Puts one word in place of another, with all that is remembered of it, and leaves nothing of the old
        one. What is remembered of the new one is added; it counts as learned explicitly.

        Returns:
            Whether there was such a word.

        Raises:
            UserError: the new one is no word; or as `forget`.
        """
        surface = _teachable(new)
        with self._changing():
            found = self._store.find(normalise(old).lower())
            if found is not None:
                self._rename(*found, surface)
                self._recount()
        self._store.scrub()
        return found is not None

    def erase_all(self) -> None:
        """Forgets everything, damaged files that were set aside included."""
        with self._changing():
            self._store.clear()
        self._store.delete_files_set_aside()
        self._store.scrub()

    def export_to(self, path: Path, *, replaces: bool = True) -> None:
        """Writes everything as JSON lines, see `fedkey.personal_lines`, to a file that its owner alone may
        read.

        Args:
            path: the file.
            replaces: whether another file of that name gives way; the memory itself never does.

        Raises:
            UserError: it cannot be written.
        """
        text = "".join(f"{line}\n" for line in to_lines(self._contents()))
        try:
            if self._is_mine(path):
                raise UserError(f"{path} belongs to the memory itself; choose another name.")
            if not replaces and path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            with whole(path, 0o600) as beside:
                beside.write_text(text, encoding="utf-8")
        except _NO_FILE as error:
            raise UserError(f"Cannot write {path}: {_why(error)}; choose another place.") from error

    def import_from(self, path: Path) -> None:
        """Merges an exported memory into this one.

        Of every two counts the larger stays, so that importing a file twice changes nothing more; what was
        frequent when it was exported is frequent now. An empty memory becomes the exported one exactly.

        Raises:
            UserError: the file is unreadable or no exported memory; nothing was imported.
        """
        try:
            # What is no plain file may never end, or never begin.
            if path.exists() and not path.is_file():
                raise UserError(f"{path} is no file; nothing was imported.")
            with path.open(encoding="utf-8") as file:
                contents = from_lines(file, str(path))
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text; nothing was imported.") from error
        except _NO_FILE as error:
            raise UserError(f"Cannot read {path}: {_why(error)}; nothing was imported.") from error
        with self._changing():
            self._merge(contents)
            self._recount()

    def _is_mine(self, path: Path) -> bool:
        """Whether a path is that of the memory, of its log, or of what was set aside."""
        mine = self._store.path
        return (
            mine is not None
            and path.parent.resolve() == mine.parent.resolve()
            and path.name.startswith(mine.name)
        )

    # ------------------------------------------------------------------------------------------ rows

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction that cannot be undone: nothing that was removed may come back."""
        with self._store.writing():
            yield
        self._note(None, [], 0)

    def _contexts(self, context_words: Sequence[str]) -> list[tuple[int, int]]:
        """The numbers (second, first) of the words before: for level 1 and, inside a sentence, level 2."""
        keys = [normalise(word).lower() for word in context_words[-2:]] or [SENTENCE_START]
        numbers = [self._context_number(key) for key in keys]
        contexts = [(_ANY, numbers[-1])]
        if len(numbers) == 2 and numbers[1] != _START:
            contexts.append((numbers[0], numbers[1]))
        return contexts

    def _context_number(self, key: str) -> int:
        if key == SENTENCE_START:
            return _START
        number = self._store.number(key)
        return _OTHER if number is None else number

    def _levels(self, contexts: Sequence[tuple[int, int]], state: State) -> list[Level]:
        """The levels at which anything is known, lowest first; none while nothing is known at all."""
        if not state.num_words:
            return []
        now, trusts = strength_now(state.words_seen), self._store.trusts()
        levels = [new_level(0, state.total, (_ANY, _ANY), (), trusts, now)]
        for level, context in enumerate(contexts, start=1):
            if followers := self._store.followers(*context):
                total = strength_total([each.strength for each in followers])
                levels.append(new_level(level, total, context, followers, trusts, now))
        return levels

    def _write_word(self, number: int | None, row: WordRow, votes: Mapping[str, int]) -> int:
        """Writes a word's row and the votes for its spellings; returns its number."""
        if number is None:
            number, old_votes = self._store.add_word(row), {}
        else:
            old_votes = self._store.spellings(number)
            self._store.put("words", (number,), row)
        for spelling in {*old_votes, *votes}:
            if votes.get(spelling) != old_votes.get(spelling):
                self._store.put("spellings", (number, spelling), _row_of(votes.get(spelling)))
        return number

    def _remove_word(self, number: int) -> None:
        for spelling in self._store.spellings(number):
            self._store.put("spellings", (number, spelling), None)
        self._store.put("words", (number,), None)

    def _remove(self, number: int) -> None:
        for ngram, _ in self._store.mentions(number):
            self._store.put("ngrams", ngram, None)
        self._remove_word(number)

    def _rename(self, number: int, row: WordRow, surface: str) -> None:
        """Moves all that is remembered of a word to another spelling, which may be another word's."""
        key = surface.lower()
        row = row._replace(key=key, surface=surface, is_known=True, is_pinned=True)
        other = self._store.find(key)
        if other is not None and other[0] != number:
            new_number, new = other
            row = row._replace(
                strength=strength_sum(row.strength, new.strength),
                typed=row.typed + new.typed,
                restored=row.restored + new.restored,
                is_new=new.is_new,
                last_used=max(row.last_used, new.last_used),
            )
            moved = self._store.mentions(number)
            self._remove(number)
            for (second, first, word), strength in moved:
                second, first, word = (
                    new_number if each == number else each for each in (second, first, word)
                )
                there = self._store.ngram_strength((second, first, word))
                self._store.put("ngrams", (second, first, word), (strength_sum(there, strength),))
            number = new_number
        self._write_word(number, row, {surface: LEARNED_VOTES})

    def _recount(self) -> None:
        """Brings the state in line with the rows, after any number of them changed."""
        strengths = self._store.word_strengths()
        state = self._store.state()._replace(
            total=strength_total(strengths),
            num_words=len(strengths),
            num_ngrams=self._store.count_ngrams(),
        )
        self._settle(state)

    def _settle(self, state: State) -> None:
        """Writes the state, once the weakest rows have given way to what is too much.

        The n-grams of a word that gave way are left to give way themselves: they hold its number alone, and
        no other word will ever have it.
        """
        if state.num_ngrams > MAX_NGRAMS:
            for ngram in self._store.weakest_ngrams(state.num_ngrams - MAX_NGRAMS):
                self._store.put("ngrams", ngram, None)
            state = state._replace(num_ngrams=MAX_NGRAMS)
        if state.num_words > MAX_WORDS:
            for number, strength in self._store.weakest_words(state.num_words - MAX_WORDS):
                self._remove_word(number)
                state = state._replace(total=strength_less(state.total, strength))
            state = state._replace(num_words=MAX_WORDS)
        self._store.put("state", (0,), state)

    # ------------------------------------------------------------------------------- export and import

    def _contents(self) -> Contents:
        words, spellings, keys = {}, {}, {}
        for number, row in self._store.words():
            keys[number] = row.key
            words[row.key], spellings[row.key] = row, self._store.spellings(number)
        ngrams = _named(self._store.ngrams(), keys)
        return Contents(self._store.state().words_seen, words, spellings, ngrams, self._store.trusts())

    def _merge(self, contents: Contents) -> None:
        state = self._store.state()
        if state.words_seen == 0 and state.num_words == 0:
            state = state._replace(words_seen=contents.words_seen)
            self._store.put("state", (0,), state)
        # Counts are compared as of now, each by its own memory's clock.
        later = strength_now(state.words_seen) - strength_now(contents.words_seen)
        numbers = {SENTENCE_START: _START, OTHER_WORD: _OTHER}
        for key, row in contents.words.items():
            row = row._replace(strength=row.strength + later)
            numbers[key] = self._merge_word(row, contents.spellings[key])
        self._merge_ngrams(contents.ngrams, numbers, later)
        mine = self._store.trusts()
        for place, evidence in contents.trusts.items():
            if place not in mine:
                self._store.put("trusts", place, evidence)

    def _merge_ngrams(
        self, ngrams: Mapping[tuple[tuple[str, ...], str], float], numbers: Mapping[str, int], later: float
    ) -> None:
        contexts = set()
        for (before, key), strength in ngrams.items():
            *_, second, first = _ANY, *(numbers[each] for each in before)
            ngram = (second, first, numbers[key])
            strongest = max(strength + later, self._store.ngram_strength(ngram))
            self._store.put("ngrams", ngram, (strongest,))
            contexts.add((second, first))
        for second, first in sorted(contexts):
            followers = sorted(self._store.followers(second, first), key=lambda each: -each.strength)
            for each in followers[MAX_FOLLOWERS:]:
                self._store.put("ngrams", (second, first, each.number), None)

    def _merge_word(self, row: WordRow, votes: Mapping[str, int]) -> int:
        found = self._store.find(row.key)
        if found is None:
            return self._write_word(None, row, votes)
        number, mine = found
        my_votes = self._store.spellings(number)
        votes = {each: max(votes.get(each, 0), my_votes.get(each, 0)) for each in {*votes, *my_votes}}
        merged = mine._replace(
            surface=elected(votes, current=mine.surface, newest=None, lexicon_form=None),
            strength=max(mine.strength, row.strength),
            typed=max(mine.typed, row.typed),
            restored=max(mine.restored, row.restored),
            is_known=mine.is_known or row.is_known,
            is_pinned=mine.is_pinned or row.is_pinned,
            last_used=max(mine.last_used, row.last_used),
        )
        return self._write_word(number, merged, votes)


def _shares(levels: Sequence[Level], found: tuple[int, WordRow] | None) -> list[float]:
    """f_n of a word at each level; 0 where it is not given back, and so was not predicted."""
    if found is None or not found[1].is_known:
        return [0.0] * len(levels)
    number, row = found
    return [share(level, number, row.strength) for level in levels]


def _named(
    ngrams: Sequence[tuple[Ngram, float]], keys: Mapping[int, str]
) -> dict[tuple[tuple[str, ...], str], float]:
    """N-grams by the words that they are made of; those of which one is a word no more are left out."""
    names = {_START: SENTENCE_START, _OTHER: OTHER_WORD, **keys}
    named: dict[tuple[tuple[str, ...], str], float] = {}
    for (second, first, word), strength in ngrams:
        before = (first,) if second == _ANY else (second, first)
        if {*before, word} <= names.keys():
            named[tuple(names[each] for each in before), names[word]] = strength
    return named


def _why(error: Exception) -> str:
    """Why a path cannot be used, in the words of the system where it is the one that refuses."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _row_of(votes: int | None) -> tuple[int] | None:
    return None if votes is None else (votes,)


def _teachable(word: str) -> str:
    surface = normalise(word)
    if not is_teachable(surface):
        raise UserError(
            f"Only single words of at most {LONGEST_WORD} letters can be learned, not '{surface}'."
        )
    return surface
