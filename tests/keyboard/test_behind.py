"""What stands behind the caret: what the model is given of it, and that answers depend on nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedkey import Engine
from fedkey.context import ContextReader
from fedkey.pieces import END_ID, MOST_BEHIND, START_ID, Pieces

ROOM = 116


@pytest.fixture(scope="module")
def engine(behind_bundle: Path) -> Engine:
    return Engine.open(behind_bundle)


@pytest.fixture(scope="module")
def pieces(engine: Engine) -> Pieces:
    return engine.pieces


@pytest.fixture(scope="module")
def reader(engine: Engine) -> ContextReader:
    return ContextReader(engine.pieces, engine.lexicon.forms, ROOM, reads_behind=True)


def framed(pieces: Pieces, before: str, behind: str) -> tuple[int, ...]:
    return (
        *(pieces.behind_id, *pieces.encode(behind), END_ID),
        *(START_ID, *pieces.encode(before), pieces.here_id),
    )


def test_what_stands_behind_is_read_before_the_message_and_after_earlier_ones(
    reader: ContextReader, pieces: Pieces
) -> None:
    earlier = (START_ID, *pieces.encode("how are you"), END_ID)
    ids = reader.read("How are you\nSee ", "tomorrow, I think\nand no more").ids
    assert ids == (*earlier, *framed(pieces, "see", ", I think"))


@pytest.mark.parametrize("after", ["", " ", "\n", " \t \nmore", "\u200b", "ng", "n't  "])
def test_nothing_behind_is_the_text_before_alone(reader: ContextReader, after: str) -> None:
    assert reader.read("How are you\nSee ", after) == reader.read("How are you\nSee ")


def test_a_long_rest_is_cut_between_words_and_says_that_it_goes_on(
    reader: ContextReader, pieces: Pieces
) -> None:
    words = "see you at the beach with my sister and the dog on sunday morning or in the evening " * 3
    ids = reader.read("I ", " " + words).ids
    start = ids.index(START_ID)
    behind = ids[1:start]
    assert ids[0] == pieces.behind_id
    assert END_ID not in behind
    assert MOST_BEHIND - 8 <= len(behind) <= MOST_BEHIND
    assert words.startswith(pieces.decode(behind) + " ")


def test_both_sides_rank_words_only_where_the_bundle_reads_behind(tiny_bundle: Path, engine: Engine) -> None:
    left = Engine.open(tiny_bundle)
    assert engine.reads_behind
    assert not left.reads_behind
    asked = "see you ", "t"
    assert left.suggest(*asked, after=" morning").log_probs == left.suggest(*asked).log_probs
    assert engine.suggest(*asked, after=" morning").log_probs != engine.suggest(*asked).log_probs
    assert engine.suggest(*asked).log_probs == pytest.approx(left.suggest(*asked).log_probs, abs=1e-5)


def test_replacements_are_other_words_in_the_capitals_of_the_word(engine: Engine) -> None:
    for context, word in (("see ", "yuo"), ("", "Their"), ("", "their"), ("i am ", "GOING"), ("so ", "I")):
        found = engine.replacements(context, word, " tomorrow")
        assert len(found.words) == len(found.log_probs) == 3
        assert word.lower() not in [each.lower() for each in found.words]
        assert found.literal == word
    assert engine.replacements("see ", "yuo", " tomorrow").words[0] == "you"
    assert all(each[0].isupper() for each in engine.replacements("", "Yuo", " are").words)
    assert all(each.isupper() for each in engine.replacements("see ", "YUO", " tomorrow").words)
    assert all(
        each[0].islower() or each in engine.lexicon.forms.values()
        for each in engine.replacements("see ", "I", " tomorrow").words
    )
