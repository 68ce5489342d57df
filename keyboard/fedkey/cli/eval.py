"""`fedkey eval`: measure a bundle on a text.

In: a bundle and a text file. Out: tables, or one JSON object. Next stop: `fedkey.simulate`.

Nine things can be measured, each a section: `words` (are the right words shown, and how many keys does that
save), `typing` (the text typed with mistakes: what autocorrect repairs and what it harms), `misspellings`
(real ones, from a list that the package nlpaug ships), `learning` (what a memory of the author is worth, if
the engine has one), `gestures` (words drawn across the keys: the 5,000 most frequent by themselves, and those
of the text where they stand), `completions` (the rest of a word behind the caret: is it right when it is
shown?), `capitals` (words inside sentences typed in small letters: does a space put the capitals of the
text?), `spaces` (pressed too early or too late: are they put right?) and `infill` (going back into a text: do
the words shown fit what stands on both sides, and is the right word offered where a wrong one is tapped?).
The last five are measured when they are asked for, and gestures need no text:

    fedkey eval BUNDLE --gestures
    fedkey eval BUNDLE --text FILE --section completions
    fedkey eval BUNDLE --text FILE --section capitals --section spaces
    fedkey eval BUNDLE --text FILE --infill

What keyboards used before, n-grams of a text, can be measured beside the engine, by this package's own counts
or by presage:

    fedkey eval BUNDLE --text FILE --engine presage
    fedkey eval BUNDLE --text FILE --engine presage --presage-database NEW --ngram-text OTHER

The first goes by the n-grams that Debian ships; the second makes the database NEW of OTHER's messages, and
goes by that; later calls name it alone. Both need Debian's package presage.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from fedkey.capitals import Capitals, capitals_summary, grade_capitals
from fedkey.cli.tables import Follow, print_evaluation, progress
from fedkey.commands import seed
from fedkey.completing import Completions, completions_summary, grade_completions
from fedkey.confusions import PAIR_ORDER, Confusions
from fedkey.conversations import GradedConversation, read_conversations, sample
from fedkey.drawing import (
    HANDS,
    NUM_FREQUENT,
    USUAL,
    Drawings,
    drawings_summary,
    frequent_words,
    grade_messages,
    grade_words,
)
from fedkey.errors import UserError
from fedkey.gaps import GappedMessage, Gaps, gapped_messages, gaps_summary, grade_gaps
from fedkey.learning import Learning, by_author, grade_author
from fedkey.mistyping import (
    Misspelt,
    Placed,
    Typing,
    grade_misspellings,
    grade_typing,
    place,
)
from fedkey.ngram import Counts, Vocabulary, count
from fedkey.presage import STOCK, Presage, count_into
from fedkey.releases import bundle_at
from fedkey.shipped import shipped_bundle
from fedkey.simulate import Scores
from fedkey.space_slips import SpaceSlips, grade_space_slips, space_slips_summary
from fedkey.summaries import learning_summary, misspellings_summary, summary, typing_summary
from fedkey.typos import (
    Careless,
    NoisyThumbs,
    Slips,
    gradable,
    installed_misspellings,
    read_misspellings,
)
from fedkey.workers import (
    CORRECTS,
    ENGINE,
    NGRAM,
    PRESAGE,
    TAKES_TAPS,
    UNIGRAM,
    OpenedBundle,
    grade_bundle,
    in_chunks,
    merged,
    spread,
)

WORDS, TYPING, MISSPELLINGS, LEARNING = "words", "typing", "misspellings", "learning"
OF_TEXT = (WORDS, TYPING, MISSPELLINGS, LEARNING)
"""What is measured unless it is said what."""

GESTURES, COMPLETIONS, CAPITALS, SPACES, INFILL = "gestures", "completions", "capitals", "spaces", "infill"
SECTIONS = (*OF_TEXT, GESTURES, COMPLETIONS, CAPITALS, SPACES, INFILL)
ENGINE_ONLY = {GESTURES, COMPLETIONS, CAPITALS, SPACES, INFILL}

ENGINES = (UNIGRAM, NGRAM, PRESAGE, ENGINE)
"""In the order of the tables."""

MISTYPED = 0.15
"""Share of words with a slip: high for writers who look, and what keyboards are usually tried with."""

TAPS = "thumbs, taps"
SOURCES: Mapping[str, Slips] = {
    "slips": Careless(MISTYPED),
    "thumbs": NoisyThumbs(),
    TAPS: NoisyThumbs(gives_taps=True),
}
"""Ways in which the text is mistyped: a share of the words has one slip each; thumbs that scatter hit other
keys with 8 % of the letters, and only the keys are known; the same thumbs, and it is known where they
landed."""

MAX_MISSPELLINGS = 4000
"""Drawn of some twenty thousand unless a number is given: a share of 75 % is then known to 1.4 points."""

MISSPELLINGS_AT_ONCE = 100
"""Graded together by one process: a second or less."""

MAX_DRAWN = 1000
"""Words drawn by each of the less usual hands, and words of the text, unless a number is given: with all
5,000 by every hand it would take ten minutes."""

WORDS_AT_ONCE = 50
"""Drawn together by one process: a second or less."""

CONVERSATIONS_AT_ONCE = 100
"""Counted between two looks at the progress bar, which cost more than counting a short one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "bundle",
        type=Path,
        nargs="?",
        help="folder of a bundle or of releases (default: fedkey's own bundle)",
    )
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help=".jsonl conversations or .txt messages to type, plain or with .gz or .xz; only gestures can be "
        "measured without",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--section",
        action="append",
        choices=SECTIONS,
        dest="sections",
        help="measure only this; may be given several times (default: all but gestures, completions, "
        "capitals, spaces and infill)",
    )
    parser.add_argument(
        "--gestures",
        action="append_const",
        const=GESTURES,
        dest="sections",
        help="the same as --section gestures: are words recognised that are drawn across the keys?",
    )
    parser.add_argument(
        "--infill",
        action="append_const",
        const=INFILL,
        dest="sections",
        help="the same as --section infill: do the words shown inside a text fit what stands on both sides?",
    )
    parser.add_argument(
        "--engine",
        action="append",
        choices=ENGINES,
        dest="engines",
        help="measure only this; may be given several times (default: unigram and fedkey)",
    )
    parser.add_argument(
        "--ngram-text",
        type=Path,
        metavar="OTHER",
        help="what the engine ngram and a new database for presage are counted in: a file like --text, but "
        "another",
    )
    parser.add_argument(
        "--presage-database",
        type=Path,
        metavar="FILE",
        help="n-grams that the engine presage goes by, counted in --ngram-text if there is no FILE yet "
        "(default: the ones that it was installed with)",
    )
    parser.add_argument(
        "--max-words",
        type=int,
        metavar="N",
        help="grade about N words (default: all), N misspellings (default: 4000) and N words that are drawn "
        "(default: 5000, and 1000 of the text and by each less usual hand)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of choices and mistakes (default 0)")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="worker processes (default 1)")


def run(arguments: argparse.Namespace) -> int:
    """Types the text and prints what was measured."""
    for option, value in (("--max-words", arguments.max_words), ("--processes", arguments.processes)):
        if value is not None and value < 1:
            raise UserError(f"{option} must be at least 1, not {value}.")
    engines = arguments.engines or (UNIGRAM, ENGINE)
    other: Path | None = arguments.ngram_text
    database: Path | None = arguments.presage_database
    _check_peers(engines, other, database)
    sections = tuple(dict.fromkeys(arguments.sections or OF_TEXT))
    text: Path | None = arguments.text
    if text is None and sections != (GESTURES,):
        raise UserError("Name with --text FILE what is to be typed; only --gestures can do without.")
    bundle = bundle_at(arguments.bundle or shipped_bundle())
    everything = [] if text is None else read_conversations(text)
    if other is not None and text is not None and other.exists() and other.samefile(text):
        raise UserError("--ngram-text is the file that --text grades; name another one to learn from.")
    chosen = sample(everything, arguments.max_words, arguments.seed)
    with progress() as follow:
        if PRESAGE in engines:
            _open_presage(database, other, follow)
        measuring = _Measuring(
            bundle,
            everything,
            chosen,
            arguments.max_words,
            arguments.seed,
            arguments.processes,
            follow,
            _count_ngrams(bundle, other, follow) if other and NGRAM in engines else None,
            database or STOCK,
        )
        measured = {
            name: measuring.measure(name, sections)
            for name in ENGINES
            if name in engines and (name == ENGINE or not ENGINE_ONLY.issuperset(sections))
        }
    graded = {"stretches": len(chosen), "conversations": len(everything)}
    numbers = {name: each.as_numbers() for name, each in measured.items()}
    if arguments.json:
        print(json.dumps({"text": text and text.name, "graded": graded} | numbers, allow_nan=False))
    else:
        print_evaluation(numbers, graded)
    return 0


def _check_peers(engines: Sequence[str], other: Path | None, database: Path | None) -> None:
    if PRESAGE not in engines and database is not None:
        raise UserError("--presage-database is only for --engine presage, which was not asked for.")
    if NGRAM in engines and other is None:
        raise UserError("--engine ngram needs --ngram-text OTHER, a text to learn from.")
    is_new = database is not None and not database.exists()
    if is_new and other is None:
        raise UserError(f"There is no {database} yet; name with --ngram-text OTHER what to count for it.")
    if NGRAM not in engines and not is_new and other is not None:
        raise UserError("--ngram-text is only for --engine ngram and for a --presage-database to be made.")


def _count_ngrams(bundle: Path, text: Path, follow: Follow) -> Counts:
    vocabulary = Vocabulary(OpenedBundle(bundle).engine.lexicon)
    conversations = read_conversations(text)
    report = follow(f"{NGRAM}: counting", len(conversations), "conversations")
    return count(_graded_messages(conversations, report), vocabulary)


def _open_presage(database: Path | None, other: Path | None, follow: Follow) -> None:
    """Makes the database if there is none yet, and opens it once: what is missing is told before anything is
    measured."""
    if database is not None and other is not None and not database.exists():
        conversations = read_conversations(other)
        report = follow(f"{PRESAGE}: counting", len(conversations), "conversations")
        count_into(database, _graded_messages(conversations, report))
    Presage(database or STOCK)


def _graded_messages(
    conversations: Sequence[GradedConversation], report: Callable[[int], None]
) -> Iterator[str]:
    """Those of each conversation's author: a file has a conversation once for each author it grades."""
    for chunk in in_chunks(conversations, CONVERSATIONS_AT_ONCE):
        for conversation in chunk:
            yield from itertools.compress(conversation.messages, conversation.graded)
        report(len(chunk))


# ---------------------------------------------------------------------------------------------- measuring


@dataclass
class Measured:
    """What was measured of one predictor, by section. None where nothing was asked, or where nothing could be
    measured: misspellings without nlpaug or of what corrects nothing, learning without a memory."""

    asked: Sequence[str]
    words: Mapping[str, Scores] | None = None
    """By author."""
    typing: Mapping[str, Mapping[str, Typing]] | None = None
    """By source of mistakes and author."""
    misspellings: Misspelt | None = None
    learning: Mapping[str, Learning] | None = None
    """By author."""
    drawn: Mapping[str, Mapping[str, Drawings]] | None = None
    """By hand and word."""
    drawn_in_text: Mapping[str, Drawings] | None = None
    """By author; None without a text."""
    completions: Mapping[str, Completions] | None = None
    """By author."""
    capitals: Mapping[str, Capitals] | None = None
    """By author."""
    spaces: Mapping[str, SpaceSlips] | None = None
    """By author."""
    gaps: Mapping[str, Gaps] | None = None
    """By author."""

    def as_numbers(self) -> dict[str, Any]:
        """Ready for JSON; null where nothing could be measured."""
        numbers: dict[str, Any] = {}
        if self.words is not None:
            numbers |= summary(self.words)
        if self.typing is not None:
            numbers[TYPING] = {source: typing_summary(own) for source, own in self.typing.items()}
        if MISSPELLINGS in self.asked:
            found = self.misspellings
            numbers[MISSPELLINGS] = None if found is None else misspellings_summary(found)
        if LEARNING in self.asked:
            numbers[LEARNING] = None if self.learning is None else learning_summary(self.learning)
        if self.drawn is not None:
            in_text = self.drawn_in_text
            numbers[GESTURES] = {
                "alone": {hand: drawings_summary(words) for hand, words in self.drawn.items()},
                "in_text": None if in_text is None else drawings_summary(in_text),
            }
        if self.completions is not None:
            numbers[COMPLETIONS] = completions_summary(self.completions)
        if self.capitals is not None:
            numbers[CAPITALS] = capitals_summary(self.capitals)
        if self.spaces is not None:
            numbers[SPACES] = space_slips_summary(self.spaces)
        if self.gaps is not None:
            numbers[INFILL] = gaps_summary(self.gaps)
        return numbers


@dataclass(frozen=True)
class _Measuring:
    bundle: Path
    everything: Sequence[GradedConversation]
    chosen: Sequence[GradedConversation]
    max_words: int | None
    seed: int
    processes: int
    follow: Follow
    ngrams: Counts | None
    presage: Path

    def measure(self, name: str, sections: Sequence[str]) -> Measured:
        measured = Measured(sections)
        if WORDS in sections:
            measured.words = grade_bundle(
                self.bundle,
                self.chosen,
                baseline=name == UNIGRAM,
                ngrams=self.ngrams if name == NGRAM else None,
                presage=self.presage if name == PRESAGE else None,
                processes=self.processes,
                seed=self.seed,
                on_progress=self.follow(f"{name}: {WORDS}", len(self.chosen), "stretches"),
            )
        if TYPING in sections:
            measured.typing = {
                source: self._type(name, source) for source in SOURCES if source != TAPS or name in TAKES_TAPS
            }
        if MISSPELLINGS in sections and name in CORRECTS:
            measured.misspellings = self._misspell(name)
        if LEARNING in sections and name == ENGINE:
            measured.learning = self._learn()
        if GESTURES in sections and name == ENGINE:
            measured.drawn = self._draw()
            measured.drawn_in_text = self._draw_text() if self.everything else None
        if COMPLETIONS in sections and name == ENGINE:
            measured.completions = self._complete()
        if CAPITALS in sections and name == ENGINE:
            measured.capitals = self._type_small()
        if SPACES in sections and name == ENGINE:
            measured.spaces = self._slip_spaces()
        if INFILL in sections and name == ENGINE:
            measured.gaps = self._fill_in()
        return measured

    def _draw(self) -> dict[str, dict[str, Drawings]]:
        engine = OpenedBundle(self.bundle).engine
        words = frequent_words(engine.lexicon, engine.layout, NUM_FREQUENT)
        # Words in any order are a sample of all of them.
        drawn = np.random.default_rng(self.seed).permutation(words).tolist()
        engine.close()
        few = drawn[: self.max_words or MAX_DRAWN]
        return {
            hand: merged(
                spread(
                    self.bundle,
                    functools.partial(_draw_chunk, hand=hand, seed=self.seed),
                    in_chunks(own, WORDS_AT_ONCE),
                    processes=self.processes,
                    on_progress=self.follow(f"{ENGINE}: {hand}", len(own), "gestures"),
                )
            )
            for hand in HANDS
            for own in (drawn[: self.max_words] if hand == USUAL else few,)
        }

    def _draw_text(self) -> dict[str, Drawings]:
        chosen = sample(self.everything, self.max_words or MAX_DRAWN, self.seed)
        return merged(
            spread(
                self.bundle,
                functools.partial(_draw_text_chunk, seed=self.seed),
                in_chunks(chosen),
                processes=self.processes,
                on_progress=self.follow(f"{ENGINE}: {GESTURES} in the text", len(chosen), "stretches"),
            )
        )

    def _complete(self) -> dict[str, Completions]:
        return merged(
            spread(
                self.bundle,
                _complete_chunk,
                in_chunks(self.chosen),
                processes=self.processes,
                on_progress=self.follow(f"{ENGINE}: {COMPLETIONS}", len(self.chosen), "stretches"),
            )
        )

    def _type_small(self) -> dict[str, Capitals]:
        return merged(
            spread(
                self.bundle,
                _type_small_chunk,
                in_chunks(self.chosen),
                processes=self.processes,
                on_progress=self.follow(f"{ENGINE}: {CAPITALS}", len(self.chosen), "stretches"),
            )
        )

    def _slip_spaces(self) -> dict[str, SpaceSlips]:
        return merged(
            spread(
                self.bundle,
                functools.partial(_slip_spaces_chunk, seed=self.seed),
                in_chunks(self.chosen),
                processes=self.processes,
                on_progress=self.follow(f"{ENGINE}: {SPACES}", len(self.chosen), "stretches"),
            )
        )

    def _fill_in(self) -> dict[str, Gaps]:
        """What was measured, by author.

        The wrong words are drawn by pairs of words of the whole text: it has the register, and no engine has
        seen it.
        """
        engine = OpenedBundle(self.bundle).engine
        report = self.follow(f"{ENGINE}: counting pairs", len(self.everything), "conversations")
        pairs = count(_graded_messages(self.everything, report), Vocabulary(engine.lexicon), PAIR_ORDER)
        confusions = Confusions(engine.lexicon, pairs, engine.layout)
        messages = list(gapped_messages(self.chosen, confusions, seed=self.seed))
        parts = spread(
            self.bundle,
            _fill_in_chunk,
            in_chunks(messages),
            processes=self.processes,
            on_progress=self.follow(f"{ENGINE}: {INFILL}", len(messages), "messages"),
        )
        return merged(parts)

    def _type(self, name: str, source: str) -> dict[str, Typing]:
        return merged(
            spread(
                self.bundle,
                functools.partial(_type_chunk, name=name, source=source, seed=self.seed),
                in_chunks(self.chosen),
                ngrams=self.ngrams if name == NGRAM else None,
                presage=self.presage if name == PRESAGE else None,
                processes=self.processes,
                on_progress=self.follow(f"{name}: {source}", len(self.chosen), "stretches"),
            )
        )

    def _misspell(self, name: str) -> Misspelt | None:
        placed = self._placed
        if placed is None:
            return None
        parts = spread(
            self.bundle,
            functools.partial(_misspell_chunk, name=name),
            in_chunks(placed, MISSPELLINGS_AT_ONCE),
            processes=self.processes,
            on_progress=self.follow(f"{name}: {MISSPELLINGS}", len(placed), "words"),
        )
        return reduce(add, parts, Misspelt())

    @functools.cached_property
    def _placed(self) -> list[Placed] | None:
        path = installed_misspellings()
        if path is None:
            return None
        is_known = OpenedBundle(self.bundle).is_known
        pairs = gradable(read_misspellings(path), is_known, "grading")
        at_most = self.max_words or MAX_MISSPELLINGS
        return place(pairs, self.everything, at_most=at_most, seed=self.seed)

    def _learn(self) -> dict[str, Learning]:
        authors = by_author(self.everything, self.max_words, self.seed)
        num_conversations = sum(map(len, authors))
        return merged(
            spread(
                self.bundle,
                grade_author,
                authors,
                processes=self.processes,
                on_progress=self.follow(f"{ENGINE}: {LEARNING}", num_conversations, "conversations"),
            )
        )


def _type_chunk(
    opened: OpenedBundle, conversations: Sequence[GradedConversation], name: str, source: str, seed: int
) -> dict[str, Typing]:
    return grade_typing(opened.predictor(name), conversations, opened.is_known, SOURCES[source], seed=seed)


def _complete_chunk(
    opened: OpenedBundle, conversations: Sequence[GradedConversation]
) -> dict[str, Completions]:
    opened.engine.reset()
    return grade_completions(opened.engine, conversations)


def _type_small_chunk(
    opened: OpenedBundle, conversations: Sequence[GradedConversation]
) -> dict[str, Capitals]:
    opened.engine.reset()
    return grade_capitals(opened.engine, conversations)


def _slip_spaces_chunk(
    opened: OpenedBundle, conversations: Sequence[GradedConversation], seed: int
) -> dict[str, SpaceSlips]:
    opened.engine.reset()
    return grade_space_slips(opened.engine, conversations, seed=seed)


def _fill_in_chunk(opened: OpenedBundle, messages: Sequence[GappedMessage]) -> dict[str, Gaps]:
    opened.engine.reset()
    return grade_gaps(opened.engine, messages, opened.is_known)


def _misspell_chunk(opened: OpenedBundle, placed: Sequence[Placed], name: str) -> Misspelt:
    return grade_misspellings(opened.predictor(name), placed, opened.is_known)


def _draw_chunk(opened: OpenedBundle, words: Sequence[str], hand: str, seed: int) -> dict[str, Drawings]:
    opened.engine.reset()
    return grade_words(opened.engine, words, HANDS[hand], seed=seed)


def _draw_text_chunk(
    opened: OpenedBundle, conversations: Sequence[GradedConversation], seed: int
) -> dict[str, Drawings]:
    opened.engine.reset()
    return grade_messages(opened.engine, conversations, HANDS[USUAL], seed=seed)
