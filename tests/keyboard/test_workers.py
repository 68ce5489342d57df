"""Whole bundles, typed on by one process and by several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from fedkey import BundleError, Engine
from fedkey.conversations import GradedConversation, read_conversations, sample
from fedkey.metrics import Latency
from fedkey.simulate import Scores
from fedkey.text import units_with_places
from fedkey.workers import grade_bundle


@pytest.fixture(scope="module")
def stretches(tiny_data: Path) -> list[GradedConversation]:
    return sample(read_conversations(tiny_data / "test.jsonl"), 250, 0)


def without_clock(by_author: Mapping[str, Scores]) -> dict[str, Scores]:
    return {author: replace(scores, latency=Latency()) for author, scores in by_author.items()}


def test_the_number_of_processes_changes_nothing(
    tiny_bundle: Path, stretches: list[GradedConversation]
) -> None:
    alone = grade_bundle(tiny_bundle, stretches)
    done: list[int] = []
    shared = grade_bundle(tiny_bundle, stretches, processes=2, on_progress=done.append)
    assert without_clock(alone) == without_clock(shared)
    assert list(alone) == list(shared) == sorted(alone)
    assert sum(done) == len(stretches) > 8


def test_what_was_graded_before_changes_nothing(
    tiny_bundle: Path, stretches: list[GradedConversation]
) -> None:
    first, rest = stretches[:4], stretches[4:]
    apart = [grade_bundle(tiny_bundle, part) for part in (first, rest)]
    together = grade_bundle(tiny_bundle, stretches)
    for author in together:
        parts = [part[author] for part in apart if author in part]
        assert together[author].ideal == sum((part.ideal for part in parts[1:]), parts[0].ideal)


def test_the_engine_beats_its_own_unigrams(tiny_bundle: Path, stretches: list[GradedConversation]) -> None:
    def total(baseline: bool) -> Scores:
        by_author = grade_bundle(tiny_bundle, stretches, baseline=baseline).values()
        return sum(by_author, Scores())

    engine, unigram = total(False), total(True)
    for letters in (0, 1, 2, 3):
        assert engine.after(letters).positions == unigram.after(letters).positions
        assert engine.after(letters).known == unigram.after(letters).known
    assert engine.after_0.top_1 > unigram.after_0.top_1 + 0.1
    assert engine.after_2.top_3 > unigram.after_2.top_3
    assert engine.ideal.savings > unigram.ideal.savings + 0.05
    assert engine.likelihood.characters > 0
    assert unigram.likelihood.characters == 0


def test_a_word_in_the_lexicon_in_another_case_is_known(tiny_bundle: Path) -> None:
    word = Engine.open(tiny_bundle).lexicon.word(0)
    text = f"{word.upper()} qqqqz"
    total = grade_bundle(tiny_bundle, [GradedConversation("ann", (text,), (True,))])["ann"]
    assert total.after_0.known == sum(unit == word.upper() for unit, _ in units_with_places(text)) == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_no_bundle_is_one_sentence_however_many_processes(tmp_path: Path, processes: int) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        grade_bundle(
            tmp_path / "nothing", [GradedConversation("ann", ("hello",), (True,))], processes=processes
        )
