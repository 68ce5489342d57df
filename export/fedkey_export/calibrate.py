"""How sure a correction must be: fitted to a bundle's own model, and written into the bundle.

In: a bundle, a text by authors that the model never met, and real misspellings. Out: the bundle with a
`correction.json`, and a curve of what is repaired against what is harmed. Next stop: `fedkey.corrections`.

Half of the misspellings, by the word that was meant, are for grading and never looked at here. In the others
the mistakes are counted (`fedkey_export.misspellings`). Then the text is typed word by word, right, by thumbs
that scatter, with slips of the fingers, and as those misspellings. Wherever the keyboard would think of
correcting, what competes is written down, and the numbers that weigh it are chosen by trying a grid of them
on what was written down, which needs no model any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.bundle import CORRECTION, Bundle, open_bundle
from fedkey.corrections import DEFAULT_CORRECTIONS, Choice, CorrectionModel
from fedkey.engine import Engine
from fedkey.lexicon import Lexicon
from fedkey.mistyping import Placed, place
from fedkey.simulate import GradedConversation, draws, read_conversations, sample
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
from fedkey_export.misspellings import fit_channel
from fedkey_export.package import replace_files

Floats = npt.NDArray[np.float64]

RIGHT, THUMBS, SLIPS, MISSPELLINGS = "right", "thumbs", "slips", "misspellings"

MAX_HARM = 0.004
"""Words typed right that may be changed. The goal is half a percent on text that was not fitted to."""

MAX_WRONG = 0.045
"""Mistyped words that may become another wrong word, worst source; the goal is five percent of
misspellings."""

PRICE_OF_WRONG = 2.0
"""A word made into another wrong one has to be noticed, taken back and typed again: it weighs as much as this
many repaired ones. Without a price the bundle that ships would repair 91.1, 81.8 and 68.5 % of validation's
thumbs, slips and misspellings, and make 0.0, 1.3 and 4.5 % wrong; with one of 1, 2 or 3 it is 89.4, 80.4 and
71.4, and 0.0, 0.8 and 4.5."""

WEIGHTS = ((1.0, 0.05), (0.9, 0.1), (0.7, 0.1), (0.5, 0.2), (0.5, 0.35), (0.35, 0.35), (0.25, 0.45))
"""Of the model and of the words' frequency."""
SLIP_BIASES = (0.0, 1.0, 2.0, 3.0, 4.0)
LITERAL_BIASES = np.arange(-14.0, 4.5, 0.5)
INDIFFERENT = 0.01
"""What the sum over the ways to mistype may lose for a larger bias, which leaves alone more of what no list
knows. Text has few such words, so that the sum hardly tells biases from -14 to -2 nats apart (2.320 at both,
shipped bundle, 2026-11-28), but of 400 names beyond its lexicon 63 are corrected at -14, and 12 at -2."""
CONFIDENCES = np.array([0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99])
"""The grid."""

NUM_WORDS = 12
"""Words that compete while weights are chosen; the keyboard looks at fewer, those that the weights prefer."""


class Case(NamedTuple):
    """One word that the keyboard would think of correcting.

    Attributes:
        letters_log_prob: of the text as it stands, by its letters alone.
        is_name: whether the text begins with a capital inside a sentence.
        choices: what else may have been meant.
        is_right: whether each of those is what was meant; none is where the text was typed right.
    """

    letters_log_prob: float
    is_name: bool
    choices: tuple[Choice, ...]
    is_right: tuple[bool, ...]


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
    """Changed, but not into what was meant; of words typed right, all that are changed."""


@dataclass(frozen=True)
class Calibration:
    """What was fitted, and how it fares at other thresholds."""

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
    on_progress: Callable[[int], None] | None = None,
) -> Calibration:
    """Fits a bundle's corrections and writes them into it.

    Args:
        bundle: a bundle folder; what it held of an earlier calibration is replaced.
        text: conversations of authors whom no stage of training met, see
            `fedkey.simulate.read_conversations`.
        max_words: words of it to type; as many misspellings.
        seed: of the words and the mistakes.
        on_progress: called with the number of stretches just typed.

    Raises:
        UserError: something is not readable, or the bundle cannot be written.
    """
    uncalibrated = _uncalibrated(open_bundle(bundle))
    everything = read_conversations(text)
    chosen = sample(everything, max_words, seed)
    num_pieces = uncalibrated.manifest.model.vocab_size
    misspellings = _for_fitting(Lexicon(uncalibrated.lexicon_arrays(), num_pieces))
    channel = fit_channel(misspellings) if misspellings else None
    engine = Engine(uncalibrated, corrections=replace(DEFAULT_CORRECTIONS, channel=channel))
    placed = place(misspellings, everything, at_most=max_words, seed=seed)
    sources = collect(engine, chosen, placed, seed=seed, on_progress=on_progress)
    calibration = fit(sources, engine.corrections)
    engine.close()
    write(bundle, calibration.model)
    return calibration


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


def collect(
    engine: Engine,
    conversations: Sequence[GradedConversation],
    misspellings: Sequence[Placed],
    *,
    seed: int,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Source]:
    """Types a text in every way and writes down what competes."""
    report = on_progress or (lambda done: None)
    ways: Mapping[str, Slips] = {
        RIGHT: lambda word, rng: Typed(word, None),
        THUMBS: NoisyThumbs(),
        SLIPS: Careless(1.0),
    }
    counts = dict.fromkeys(ways, 0)
    cases: dict[str, list[Case]] = {name: [] for name in ways}
    for conversation in conversations:
        for name, slips in ways.items():
            for context, word, typed in _words(conversation, slips, seed):
                is_right = typed.lower() == word.lower()
                if is_right != (name == RIGHT) or not (is_right or engine.lexicon.forms.get(word.lower())):
                    continue
                if not is_right and typed.lower() in engine.lexicon.forms:
                    continue
                counts[name] += 1
                cases[name] += _case(engine, context, typed, word)
        report(1)
    sources = {name: Source(counts[name], tuple(cases[name])) for name in ways}
    nonwords = [each for each in misspellings if each.typed.lower() not in engine.lexicon.forms]
    if nonwords:
        found = [case for typed, meant, context in nonwords for case in _case(engine, context, typed, meant)]
        sources[MISSPELLINGS] = Source(len(nonwords), tuple(found))
    return sources


def _words(conversation: GradedConversation, slips: Slips, seed: int) -> Iterator[tuple[str, str, str]]:
    """Context, word, and what is typed for it, for every word that a space ends."""
    for index, message in enumerate(conversation.messages):
        if not conversation.graded[index]:
            continue
        before = "".join(f"{each}\n" for each in conversation.messages[:index])
        rng = draws(seed, index, message)
        for unit, start in units_with_places(message):
            if is_word(unit):
                typed = slips(unit, rng).letters
                end = start + len(unit)
                if message[end : end + 1] == " ":
                    yield before + message[:start], unit, typed


def _case(engine: Engine, context: str, typed: str, meant: str) -> list[Case]:
    """One case, or none if the keyboard leaves the text alone anyway."""
    if not engine.is_doubtful(context, typed):
        return []
    doubt = engine.doubt(context, typed, num_words=NUM_WORDS)
    is_right = tuple(each.text.lower() == meant.lower() != typed.lower() for each in doubt.choices)
    return [Case(doubt.letters_log_prob, doubt.is_name, doubt.choices, is_right)]


# --------------------------------------------------------------------------------------------- fitting


class _Table(NamedTuple):
    """The N cases of a source as arrays; C choices each, -inf and inf where there are fewer."""

    num_words: int
    letters: Floats
    """[N]"""
    is_name: Floats
    """[N]"""
    log_prob: Floats
    """[N, C], as the next three."""
    frequency: Floats
    slip_cost: Floats
    spelling_cost: Floats
    is_right: npt.NDArray[np.bool_]


def fit(sources: Mapping[str, Source], start: CorrectionModel) -> Calibration:
    """The weights, biases and confidence that repair most, less `PRICE_OF_WRONG` of what they make wrong, in
    sum over the ways to mistype, of all that harm and change no more than they may; of those that are as good
    but for `INDIFFERENT`, the largest bias for the letters as they stand.

    If none of the grid is harmless enough, those that harm least.
    """
    tables = {name: _table(source) for name, source in sources.items()}
    best: dict[float, tuple[tuple[bool, float], CorrectionModel]] = {}
    for model in _weightings(start):
        weighed = {name: _weigh(table, model) for name, table in tables.items()}
        for bias in LITERAL_BIASES.tolist():
            outcomes = {name: _outcomes(each, bias) for name, each in weighed.items()}
            for number, confidence in enumerate(CONFIDENCES.tolist()):
                rank = _rank({name: each[number] for name, each in outcomes.items()})
                if bias not in best or rank > best[bias][0]:
                    best[bias] = rank, replace(model, literal_bias=bias, min_confidence=confidence)
    is_harmless, most = max(rank for rank, _ in best.values())
    as_good = (is_harmless, most - INDIFFERENT)
    model = next(model for _, (rank, model) in sorted(best.items(), reverse=True) if rank >= as_good)
    curve: list[dict[str, Outcome]] = [{} for _ in CONFIDENCES]
    for name, table in tables.items():
        for row, outcome in zip(curve, _outcomes(_weigh(table, model), model.literal_bias), strict=True):
            row[name] = outcome
    fitted = curve[CONFIDENCES.tolist().index(model.min_confidence)]
    return Calibration(model, fitted, tuple(zip(CONFIDENCES.tolist(), curve, strict=True)))


def _weightings(start: CorrectionModel) -> Iterator[CorrectionModel]:
    for model_weight, frequency_weight in WEIGHTS:
        for slip_bias in SLIP_BIASES if start.channel is not None else (start.slip_bias,):
            yield replace(
                start, model_weight=model_weight, frequency_weight=frequency_weight, slip_bias=slip_bias
            )


def _rank(outcomes: Mapping[str, Outcome]) -> tuple[bool, float]:
    mistyped = [outcome for name, outcome in outcomes.items() if name != RIGHT]
    wrong = max((outcome.wrong for outcome in mistyped), default=0.0)
    if outcomes[RIGHT].wrong > MAX_HARM or wrong > MAX_WRONG:
        return False, -outcomes[RIGHT].wrong - wrong
    return True, sum(outcome.repaired - PRICE_OF_WRONG * outcome.wrong for outcome in mistyped)


def _table(source: Source) -> _Table:
    cases = [case for case in source.cases if case.choices]
    width = max((len(case.choices) for case in cases), default=1)

    def column(name: str, missing: float) -> Floats:
        rows = np.full((len(cases), width), missing)
        for row, case in zip(rows, cases, strict=True):
            row[: len(case.choices)] = [getattr(choice, name) for choice in case.choices]
        return rows

    is_right = np.zeros((len(cases), width), dtype=np.bool_)
    for row, case in zip(is_right, cases, strict=True):
        row[: len(case.choices)] = case.is_right
    return _Table(
        source.num_words,
        np.array([case.letters_log_prob for case in cases]),
        np.array([float(case.is_name) for case in cases]),
        column("log_prob", -np.inf),
        column("frequency", -np.inf),
        column("slip_cost", np.inf),
        column("spelling_cost", np.inf),
        is_right,
    )


class _Weighed(NamedTuple):
    """The cases of a source under one weighting."""

    num_words: int
    literal: Floats
    """[N], the score of the text as it stands but for its bias."""
    top: Floats
    """[N], the best choice's score."""
    total: Floats
    """[N], the sum of exp(score - top) over the choices."""
    is_repair: npt.NDArray[np.bool_]
    """[N], whether the best choice is what was meant."""


def _weigh(table: _Table, model: CorrectionModel) -> _Weighed:
    """As `CorrectionModel.score`, for all cases at once."""
    costs = table.slip_cost
    if model.channel is not None:
        costs = np.minimum(costs + model.slip_bias, table.spelling_cost)
    scores = model.model_weight * table.log_prob + model.frequency_weight * table.frequency - costs
    best = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    top = scores[rows, best]
    literal = (model.model_weight + model.frequency_weight) * table.letters + model.name_bias * table.is_name
    total = np.exp(scores - top[:, None]).sum(axis=1)
    return _Weighed(table.num_words, literal, top, total, table.is_right[rows, best])


def _outcomes(weighed: _Weighed, literal_bias: float) -> list[Outcome]:
    """By minimal confidence, see `fedkey.corrections.confidence`."""
    with np.errstate(over="ignore"):
        sure = 1 / (weighed.total + np.exp(weighed.literal + literal_bias - weighed.top))
    outcomes = []
    for confidence in CONFIDENCES.tolist():
        is_changed = sure >= confidence
        repaired = np.count_nonzero(is_changed & weighed.is_repair)
        outcomes.append(
            Outcome(
                repaired / weighed.num_words,
                (np.count_nonzero(is_changed) - repaired) / weighed.num_words,
            )
        )
    return outcomes


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
