"""How sure a correction must be: fitted to a bundle's own model, and written into the bundle.

In: a bundle, a text by authors that the model never met, and real misspellings. Out: the bundle with a
`correction.json`, and a curve of what is repaired against what is harmed. Next stop: `fedkey.corrections`.

Half of the misspellings, by the word that was meant, are for grading and never looked at here. In the others
the mistakes are counted (`fedkey_export.misspellings`). Then the text is typed word by word, right, by thumbs
that scatter, with slips of the fingers, without some of its spaces and its apostrophes, and as those
misspellings. Wherever the keyboard would think of correcting, what competes is written down, and a judge
learns from it (`fedkey_export.judging`). Two halves, of authors and of misspelt words, grade each other, and
by their grades it is chosen how sure is sure enough.

What nobody has listed cannot be found in a text by itself: most of the words that no list knows are
mistakes of its authors. So the rarer words that are known stand for new ones: typed right, and judged as if
nobody knew them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from fedkey.bundle import CORRECTION, Bundle, open_bundle
from fedkey.conversations import GradedConversation, read_conversations, sample
from fedkey.corrections import DEFAULT_CORRECTIONS, CorrectionModel, confidence, may_be_corrected
from fedkey.corrector import Doubt
from fedkey.engine import Engine
from fedkey.errors import UserError
from fedkey.lexicon import Lexicon
from fedkey.mistyping import Placed, place
from fedkey.simulate import draws
from fedkey.text import is_word, units_with_places
from fedkey.typos import (
    Careless,
    Misspelling,
    NoisyThumbs,
    Slips,
    Typed,
    gradable,
    installed_misspellings,
    read_misspellings,
)
from fedkey_export.judging import Case, learn
from fedkey_export.misspellings import fit_channel
from fedkey_export.package import replace_files

if TYPE_CHECKING:
    from fedkey.cli.tables import Follow

Item = TypeVar("Item")

RIGHT, NEW = "right", "new"
THUMBS, TAPS, SLIPS, JOINED, UNMARKED = "thumbs", "taps", "slips", "joined", "unmarked"
MISSPELLINGS, ALONE = "misspellings", "alone"

GRADED = (THUMBS, TAPS, SLIPS, JOINED, UNMARKED, MISSPELLINGS)
"""By which it is chosen how sure is sure enough."""

NEEDED = (THUMBS, TAPS, SLIPS)
"""Whatever lists of misspellings are installed, a text has to give cases of these."""

FEWEST_AUTHORS = 2
"""Whose words give such cases; half of them grade the fit to the other half's."""

SHARES: Mapping[str, float] = {
    NEW: 0.2,
    THUMBS: 1.0,
    TAPS: 0.5,
    SLIPS: 1.0,
    JOINED: 0.3,
    UNMARKED: 0.2,
    MISSPELLINGS: 1.0,
    ALONE: 0.5,
}
"""What each source counts while the judge learns. Of words typed right none does: three in five that no list
knows were mistakes of their authors (validation, 2026-11-29). Half or twice as much for one of them moves
what is repaired by less than a percent, and with half as much for new words 3 % more of them are changed."""

MAX_HARM = 0.004
"""Words typed right that may be changed, but by an apostrophe that was left out. The goal is half a percent
on text that was not fitted to."""

MAX_WRONG = 0.045
"""Mistyped words that may become another wrong word, worst source; the goal is five percent of
misspellings."""

PRICE_OF_WRONG = 2.0
"""A word made into another wrong one has to be noticed, taken back and typed again: it weighs as much as this
many repaired ones."""

CONFIDENCES = (0.4, *(round(0.5 + 0.02 * step, 2) for step in range(23)), 0.95, 0.97, 0.98, 0.99, 1.0)
"""How sure a correction may have to be; with 1 there is next to none."""

FREQUENT = 0.3
"""The share of the lexicon, the most frequent first, whose words stand for no new ones."""

LEARNED = 4.0
"""Nor does a word that the model finds so many nats likelier than its letters do: it has learned it."""

JOINED_SHARE = 0.1
"""Of the words with another one behind them, those that lose their space."""

NUM_LEARNED = 3
"""Judges: one of each half, and the one that is kept."""

TIMES_RIGHT = 10
"""So many times as many words are typed right as wrong: few of them are asked about."""


@dataclass(frozen=True)
class Source:
    """The words typed in one way.

    Attributes:
        num_words: words typed right, or mistyped as no word though the lexicon knows what was meant.
        cases: those of them that may be corrected.
    """

    num_words: int
    cases: tuple[Case, ...]


class Outcome(NamedTuple):
    """What a correction model makes of a source, as shares of its words."""

    repaired: float
    wrong: float
    """Changed, but not into what was meant; of words typed right, but by an apostrophe that was left out."""


@dataclass(frozen=True)
class Calibration:
    """What was fitted, and how it fares at other thresholds with words that it was not learned from."""

    model: CorrectionModel
    outcomes: Mapping[str, Outcome]
    curve: tuple[tuple[float, Mapping[str, Outcome]], ...]
    """By minimal confidence, all else as fitted."""


def calibrate(
    bundle: Path,
    text: Path,
    *,
    max_words: int,
    seed: int = 0,
    follow: Follow = lambda description, total, unit: lambda done: None,
) -> Calibration:
    """Fits a bundle's corrections and writes them into it.

    Args:
        bundle: a bundle folder; what it held of an earlier calibration is replaced.
        text: conversations of authors whom no stage of training met, see
            `fedkey.conversations.read_conversations`.
        max_words: words of it to mistype; as many misspellings, and `TIMES_RIGHT` as many words to type
            right.
        seed: of the words and the mistakes.
        follow: called with the name of each step, how much there is to do, and the unit; what it returns is
            called with how much was just done.

    Raises:
        UserError: something is not readable, or the bundle cannot be written, or the text has too few authors
            and words to grade a fit by.
    """
    uncalibrated = _uncalibrated(open_bundle(bundle))
    everything = read_conversations(text)
    num_pieces = uncalibrated.manifest.model.vocab_size
    misspellings = _for_fitting(Lexicon(uncalibrated.lexicon_arrays(), num_pieces))
    channel = fit_channel(misspellings) if misspellings else None
    engine = Engine(uncalibrated, corrections=replace(DEFAULT_CORRECTIONS, channel=channel))
    right = sample(everything, TIMES_RIGHT * max_words, seed)
    chosen = sample(everything, max_words, seed)
    placed = place(misspellings, everything, at_most=max_words, seed=seed)
    sources = {
        **collect_right(engine, _followed(follow, "type right", right, "stretches")),
        **collect_mistyped(engine, _followed(follow, "mistype", chosen, "stretches"), seed=seed),
        **collect_joined(engine, _followed(follow, "leave out marks", chosen, "stretches"), seed=seed),
        **collect_misspelt(engine, _followed(follow, "misspell", placed, "words")),
    }
    engine.close()
    if any(len({case.group for case in sources[name].cases}) < FEWEST_AUTHORS for name in NEEDED):
        raise UserError(
            f"{text} holds too little to fit corrections to: it takes thousands of words by {FEWEST_AUTHORS} "
            "authors or more, who grade each other."
        )
    calibration = fit(sources, engine.corrections, seed, on_learned=follow("learn", NUM_LEARNED, "judges"))
    write(bundle, calibration.model)
    return calibration


def _followed(follow: Follow, description: str, items: Sequence[Item], unit: str) -> Iterator[Item]:
    """The items, each of them reported when it is done."""
    report = follow(description, len(items), unit)
    for item in items:
        yield item
        report(1)


def _uncalibrated(bundle: Bundle) -> Bundle:
    """The bundle as if it held no corrections: every calibration begins with the defaults."""
    files = {name: entry for name, entry in bundle.manifest.files.items() if name != CORRECTION}
    return replace(bundle, manifest=replace(bundle.manifest, files=files))


def _for_fitting(lexicon: Lexicon) -> list[Misspelling]:
    """The misspellings that may be fitted to; none where the list is not installed."""
    path = installed_misspellings()
    if path is None:
        return []
    return gradable(read_misspellings(path), lambda word: word.lower() in lexicon.forms, "fitting")


# -------------------------------------------------------------------------------------------- collecting


def collect_right(engine: Engine, conversations: Iterable[GradedConversation]) -> dict[str, Source]:
    """Types a text right, and writes down what competes for the words that no list knows; and for the rare
    ones as if none did, where they stand and alone."""
    floor = _frequency_of_rare(engine.lexicon)
    num_words = 0
    unknown: list[Case] = []
    new: list[Case] = []
    for conversation in conversations:
        for context, word, _ in _words(conversation, lambda word, rng: Typed(word, None), seed=0):
            num_words += 1
            if engine.is_doubtful(context, word):
                doubt = engine.doubt(context, word)
                # An apostrophe that somebody left out is no harm.
                missing = [each.text.replace("'", "").lower() == word.lower() for each in doubt.choices]
                right = missing.index(True) if any(missing) else -1
                unknown.append(Case(*doubt, right, conversation.author))
            elif may_be_corrected(context, word) and _is_rare(engine, word, floor):
                doubts = (engine.doubt(before, word) for before in (context, ""))
                new += [Case(*doubt, -1, conversation.author) for doubt in doubts if not _is_learned(doubt)]
    return {RIGHT: Source(num_words, tuple(unknown)), NEW: Source(len(new), tuple(new))}


def _is_learned(doubt: Doubt) -> bool:
    """Whether the model knows a word far better than by its letters."""
    return doubt.literal.by_model > doubt.literal.by_letters + LEARNED


def _frequency_of_rare(lexicon: Lexicon) -> float:
    """Log share of all words from which on a word is none of the `FREQUENT`."""
    falling = np.sort(lexicon.log_prob)[::-1]
    return float(falling[int(FREQUENT * len(falling))])


def _is_rare(engine: Engine, word: str, floor: float) -> bool:
    """Whether a known word is rare: its log share is below `floor`, or the dictionary alone has it. Of words
    with an apostrophe their stem may be all that is known."""
    if "'" in word:
        return False
    node = engine.lexicon.walk(word.lower())
    words = () if node is None else engine.lexicon.words_at(node)
    if len(words) == 0:
        return engine.knows(word)
    return max(float(engine.lexicon.log_prob[each]) for each in words) < floor


def collect_mistyped(
    engine: Engine, conversations: Iterable[GradedConversation], *, seed: int
) -> dict[str, Source]:
    """Types a text with every kind of slip and writes down what competes."""
    ways: Mapping[str, Slips] = {
        THUMBS: NoisyThumbs(),
        TAPS: NoisyThumbs(gives_taps=True),
        SLIPS: Careless(1.0),
    }
    counts = dict.fromkeys(ways, 0)
    cases: dict[str, list[Case]] = {name: [] for name in ways}
    for conversation in conversations:
        for name, slips in ways.items():
            for context, word, typed in _words(conversation, slips, seed):
                letters = typed.letters.lower()
                if (
                    letters == word.lower()
                    or letters in engine.lexicon.forms
                    or word.lower() not in engine.lexicon.forms
                ):
                    continue
                counts[name] += 1
                if engine.is_doubtful(context, typed.input):
                    doubt = engine.doubt(context, typed.input)
                    cases[name].append(Case(*doubt, doubt.place_of(word), conversation.author))
    return {name: Source(counts[name], tuple(cases[name])) for name in ways}


def collect_joined(
    engine: Engine, conversations: Iterable[GradedConversation], *, seed: int
) -> dict[str, Source]:
    """Types some words without the space between them, and all that have an apostrophe without it, and
    writes down what competes."""
    forms = engine.lexicon.forms
    counts = {JOINED: 0, UNMARKED: 0}
    cases: dict[str, list[Case]] = {name: [] for name in counts}
    for conversation in conversations:
        for name, found in ((JOINED, _joined(conversation, seed)), (UNMARKED, _unmarked(conversation))):
            for context, meant, typed in found:
                if engine.knows(typed) or not all(word.lower() in forms for word in meant.split(" ")):
                    continue
                counts[name] += 1
                if engine.is_doubtful(context, typed):
                    doubt = engine.doubt(context, typed)
                    cases[name].append(Case(*doubt, doubt.place_of(meant), conversation.author))
    return {name: Source(counts[name], tuple(cases[name])) for name in counts}


def _joined(conversation: GradedConversation, seed: int) -> Iterator[tuple[str, str, str]]:
    """Context, two words, and both without their space."""
    for index, before, message in conversation.to_type():
        rng = draws(seed, index, message)
        for (first, start), (second, other) in pairwise(units_with_places(message)):
            between = message[start + len(first) : other]
            if is_word(first) and is_word(second) and between == " " and rng.random() < JOINED_SHARE:
                yield before + message[:start], f"{first} {second}", first + second


def _unmarked(conversation: GradedConversation) -> Iterator[tuple[str, str, str]]:
    """Context, a word with an apostrophe, and the same without it."""
    for context, word, _ in _words(conversation, lambda word, rng: Typed(word, None), seed=0):
        if "'" in word:
            yield context, word, word.replace("'", "")


def collect_misspelt(engine: Engine, misspellings: Iterable[Placed]) -> dict[str, Source]:
    """Types misspellings where such a word stood, and alone, and writes down what competes; nothing if there
    are none."""
    num_words = 0
    cases: dict[str, list[Case]] = {MISSPELLINGS: [], ALONE: []}
    for typed, meant, context in misspellings:
        if typed.lower() in engine.lexicon.forms:
            continue
        num_words += 1
        for name, before in ((MISSPELLINGS, context), (ALONE, "")):
            if engine.is_doubtful(before, typed):
                doubt = engine.doubt(before, typed)
                cases[name].append(Case(*doubt, doubt.place_of(meant), meant.lower()))
    return {name: Source(num_words, tuple(found)) for name, found in cases.items()} if num_words else {}


def _words(conversation: GradedConversation, slips: Slips, seed: int) -> Iterator[tuple[str, str, Typed]]:
    """Context, word, and what is typed for it, for every word that a space ends."""
    for index, before, message in conversation.to_type():
        rng = draws(seed, index, message)
        for unit, start in units_with_places(message):
            if is_word(unit):
                typed = slips(unit, rng)
                end = start + len(unit)
                if message[end : end + 1] == " ":
                    yield before + message[:start], unit, typed


# --------------------------------------------------------------------------------------------- fitting


def fit(
    sources: Mapping[str, Source],
    start: CorrectionModel,
    seed: int,
    on_learned: Callable[[int], None] = lambda done: None,
) -> Calibration:
    """A judge learned from all cases; and the confidence that repairs most, less `PRICE_OF_WRONG` of what is
    made wrong, in sum over the ways to mistype, of all that harm and change no more than they may, as halves
    of the cases grade each other; of as good ones, the surest. If none is harmless enough, the one that harms
    least; if nothing was mistyped, the one nearest to `start`'s.

    Misspellings typed alone have no part in that choice, nor have new words: the judge learns of both, and
    how often people write new words is not known from words that stand for them. `on_learned` is called after
    each of `NUM_LEARNED` judges."""
    cases = {name: source.cases for name, source in sources.items()}
    groups = sorted({case.group for each in cases.values() for case in each})
    halves = dict(zip(groups, np.random.default_rng(seed).permutation(len(groups)) % 2, strict=True))
    grades: dict[str, list[Judged]] = {name: [] for name in cases}
    for half in (0, 1):
        others = {name: [case for case in each if halves[case.group] != half] for name, each in cases.items()}
        model = replace(start, judge=learn(others, SHARES, start, seed))
        on_learned(1)
        for name, each in cases.items():
            grades[name] += [judged(model, case) for case in each if halves[case.group] == half]
    curve = {
        confidence: {
            name: outcome(grades[name], source.num_words, confidence) for name, source in sources.items()
        }
        for confidence in CONFIDENCES
    }
    best = max(CONFIDENCES, key=lambda confidence: (*_rank(curve[confidence]), confidence))
    judge = learn(cases, SHARES, start, seed)
    on_learned(1)
    if not any(source.num_words for name, source in sources.items() if name in GRADED):
        best = min(CONFIDENCES, key=lambda confidence: abs(confidence - start.min_confidence))
    model = replace(start, judge=judge, min_confidence=best)
    return Calibration(model, curve[best], tuple(curve.items()))


class Judged(NamedTuple):
    """How sure it is that a case's best choice was meant, and whether it was."""

    confidence: float
    is_right: bool


def judged(model: CorrectionModel, case: Case) -> Judged:
    """What a model makes of a case."""
    if not case.choices:
        return Judged(0.0, is_right=False)
    alone, scores = model.scores(case.literal, case.choices)
    return Judged(confidence(alone, scores), scores.index(max(scores)) == case.right)


def outcome(grades: Sequence[Judged], num_words: int, min_confidence: float) -> Outcome:
    """What becomes of so many words, of which some were judged."""
    changed = [each.is_right for each in grades if each.confidence >= min_confidence]
    return Outcome(sum(changed) / max(num_words, 1), (len(changed) - sum(changed)) / max(num_words, 1))


def _rank(outcomes: Mapping[str, Outcome]) -> tuple[bool, float]:
    mistyped = [outcome for name, outcome in outcomes.items() if name in GRADED]
    wrong = max((outcome.wrong for outcome in mistyped), default=0.0)
    if outcomes[RIGHT].wrong > MAX_HARM or wrong > MAX_WRONG:
        return False, -outcomes[RIGHT].wrong - wrong
    return True, sum(outcome.repaired - PRICE_OF_WRONG * outcome.wrong for outcome in mistyped)


# --------------------------------------------------------------------------------------------- writing


def write(bundle: Path, model: CorrectionModel) -> None:
    """Puts the corrections into a bundle. Killed in between, the bundle is one that was never calibrated."""
    without = _uncalibrated(open_bundle(bundle)).manifest
    replace_files(bundle, without, {CORRECTION: model.to_json().encode("utf-8")})


def summary(calibration: Calibration) -> dict[str, object]:
    """The calibration as JSON would have it."""
    model = json.loads(calibration.model.to_json())
    return {
        "correction": model,
        "outcomes": _numbers(calibration.outcomes),
        "curve": [{"min_confidence": each, **_numbers(outcomes)} for each, outcomes in calibration.curve],
    }


def _numbers(outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, float]]:
    return {name: outcome._asdict() for name, outcome in outcomes.items()}
