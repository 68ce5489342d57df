"""How sure a correction must be: fitted to a bundle's own model, and written into the bundle.

In: a bundle, a text by authors that the model never met, and real misspellings. Out: the bundle with a
`correction.json`, and a curve of what is repaired against what is harmed. Next stop: `fedkey.corrections`.

The text is typed word by word four times: right, by thumbs that scatter, with slips of the fingers, and as
real misspellings of the words that may be fitted to. Wherever the keyboard would think of correcting, what
competes is written down with its scores; the two numbers to be fitted, how likely a new word is and how sure
a correction must be, are then chosen by trying a grid of them on what was written down, which needs no model
any more.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.bundle import CORRECTION, MANIFEST, FileEntry, open_bundle
from fedkey.corrections import CorrectionModel
from fedkey.engine import Engine
from fedkey.errors import UserError
from fedkey.mistyping import place
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

Floats = npt.NDArray[np.float64]

RIGHT, THUMBS, SLIPS, MISSPELLINGS = "right", "thumbs", "slips", "misspellings"

MAX_HARM = 0.004
"""Words typed right that may be changed. The goal is half a percent on text that was not fitted to."""

MAX_WRONG = 0.04
"""Mistyped words that may become another wrong word, worst source; the goal is five percent of
misspellings."""

BIASES = np.arange(-14.0, 6.5, 0.5)
CONFIDENCES = np.array([0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995])
"""The grid."""

NUM_CHOICES = 6
"""What competes with the literal text: no more does, see `Engine.choices`."""


class Case(NamedTuple):
    """One word that the keyboard would think of correcting.

    Attributes:
        literal: the score of the text as it stands, in nats.
        scores: of what else was meant, best first.
        is_right: whether each of those is what was meant; none is where the text was typed right.
        is_name: whether the text begins with a capital inside a sentence.
    """

    literal: float
    scores: tuple[float, ...]
    is_right: tuple[bool, ...]
    is_name: bool


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
    """By minimal confidence, the new words' bias as fitted."""


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
    engine = Engine.open(bundle)
    everything = read_conversations(text)
    chosen = sample(everything, max_words, seed)
    sources = collect(engine, everything, chosen, seed=seed, max_words=max_words, on_progress=on_progress)
    calibration = fit(sources, engine.corrections)
    engine.close()
    write(bundle, calibration.model)
    return calibration


def collect(
    engine: Engine,
    everything: Sequence[GradedConversation],
    chosen: Sequence[GradedConversation],
    *,
    seed: int,
    max_words: int,
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
    for conversation in chosen:
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
    path = installed_misspellings()
    if path is not None:
        forms = engine.lexicon.forms
        pairs = gradable(read_misspellings(path), lambda word: word.lower() in forms, "fitting")
        sources[MISSPELLINGS] = _misspelt(engine, pairs, everything, max_words, seed)
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


def _misspelt(
    engine: Engine,
    pairs: Sequence[Misspelling],
    everything: Sequence[GradedConversation],
    max_words: int,
    seed: int,
) -> Source:
    placed = [
        each
        for each in place(pairs, everything, at_most=max_words, seed=seed)
        if each.typed.lower() not in engine.lexicon.forms
    ]
    cases = [case for typed, meant, context in placed for case in _case(engine, context, typed, meant)]
    return Source(len(placed), tuple(cases))


def _case(engine: Engine, context: str, typed: str, meant: str) -> list[Case]:
    """One case, or none if the keyboard leaves the text alone anyway."""
    if not engine.is_doubtful(context, typed):
        return []
    literal, choices = engine.choices(context, typed)
    choices = choices[:NUM_CHOICES]
    is_name = engine.is_name(context, typed)
    is_right = tuple(each.text.lower() == meant.lower() != typed.lower() for each in choices)
    return [Case(literal.score, tuple(each.score for each in choices), is_right, is_name)]


# --------------------------------------------------------------------------------------------- fitting


class _Table(NamedTuple):
    """The cases of a source as arrays."""

    num_words: int
    literal: Floats
    """[N], the bias of names added."""
    scores: Floats
    """[N, C], -inf where there are fewer choices."""
    is_repair: npt.NDArray[np.bool_]
    """[N], whether the best choice is what was meant."""


def fit(sources: Mapping[str, Source], start: CorrectionModel) -> Calibration:
    """The new words' bias and the confidence that repair most, on average over the ways to mistype, of all
    that harm and change no more than they may.

    If none of the grid is harmless enough, the one that harms least.
    """
    tables = {name: _table(source, start) for name, source in sources.items()}
    best: tuple[tuple[bool, float], CorrectionModel] | None = None
    for bias in BIASES.tolist():
        for confidence in CONFIDENCES.tolist():
            model = dataclasses.replace(start, literal_bias=bias, min_confidence=confidence)
            outcomes = _outcomes(tables, model)
            harm = outcomes[RIGHT].wrong
            mistyped = [outcome for name, outcome in outcomes.items() if name != RIGHT]
            wrong = max((outcome.wrong for outcome in mistyped), default=0.0)
            fits = harm <= MAX_HARM and wrong <= MAX_WRONG
            repaired = sum(outcome.repaired for outcome in mistyped)
            rank = (fits, repaired if fits else -harm - wrong)
            if best is None or rank > best[0]:
                best = rank, model
    assert best is not None
    model = best[1]
    curve = tuple(
        (each, _outcomes(tables, dataclasses.replace(model, min_confidence=each)))
        for each in CONFIDENCES.tolist()
    )
    return Calibration(model, _outcomes(tables, model), curve)


def _table(source: Source, model: CorrectionModel) -> _Table:
    cases = [case for case in source.cases if case.scores]
    scores = np.full((len(cases), NUM_CHOICES), -np.inf)
    for row, case in zip(scores, cases, strict=True):
        row[: len(case.scores)] = case.scores
    literal = np.array([case.literal + model.name_bias * case.is_name for case in cases])
    return _Table(
        source.num_words, literal, scores, np.array([case.is_right[0] for case in cases], dtype=bool)
    )


def _outcomes(tables: Mapping[str, _Table], model: CorrectionModel) -> dict[str, Outcome]:
    return {name: _outcome(table, model) for name, table in tables.items()}


def _outcome(table: _Table, model: CorrectionModel) -> Outcome:
    """As `fedkey.corrections.confidence`, for all cases at once."""
    if not len(table.literal):
        return Outcome(0.0, 0.0)
    literal = table.literal + model.literal_bias
    top = np.maximum(table.scores[:, 0], literal)
    total = np.exp(table.scores - top[:, None]).sum(axis=1) + np.exp(literal - top)
    is_changed = np.exp(table.scores[:, 0] - top) / total >= model.min_confidence
    repaired = np.count_nonzero(is_changed & table.is_repair)
    wrong = np.count_nonzero(is_changed & ~table.is_repair)
    return Outcome(repaired / table.num_words, wrong / table.num_words)


# --------------------------------------------------------------------------------------------- writing


def write(bundle: Path, model: CorrectionModel) -> None:
    """Puts the corrections into a bundle: the file first, then the manifest that vouches for it, each written
    beside and renamed."""
    manifest = open_bundle(bundle).manifest
    content = model.to_json().encode("utf-8")
    entry = FileEntry(len(content), hashlib.sha256(content).hexdigest())
    files = {**manifest.files, CORRECTION: entry}
    changed = dataclasses.replace(manifest, files=dict(sorted(files.items())))
    try:
        _replace(bundle / CORRECTION, content)
        _replace(bundle / MANIFEST, changed.to_json().encode("utf-8"))
    except OSError as error:
        raise UserError(f"Cannot write into the bundle {bundle}: {error.strerror}.") from error
    open_bundle(bundle)


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    os.replace(beside, path)


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
