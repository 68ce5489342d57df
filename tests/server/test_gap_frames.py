"""Training and typing frame a gap alike: a phone is given at a caret what the model was trained on."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedkey import Engine
from fedkey.context import ContextReader
from fedkey.pieces import END_ID, START_ID
from fedkey.text import FLIP, normalise, split, truecase, units_with_places
from fedkey_server.batches import build_documents
from fedkey_server.objectives.infilling import rearranged

WINDOW = 128
WORDS = (
    "see", "you", " at", " the station", " don't", "-", " (", ") ", ", ", " , ", ". ", "! ", " i", " London",
    " well", " \u2764\ufe0f", "\u2764\ufe0f ", " :) ", "4", ' "', '" ', "'s", "... ",
)  # fmt: skip


@pytest.fixture(scope="module")
def engine(behind_bundle: Path) -> Engine:
    return Engine.open(behind_bundle)


@pytest.fixture(scope="module")
def reader(engine: Engine) -> ContextReader:
    return ContextReader(engine.pieces, engine.lexicon.forms, WINDOW, reads_behind=True)


@given(
    parts=st.lists(st.sampled_from(WORDS), min_size=3, max_size=40),
    earlier=st.sampled_from(["", "how are you\n", "How are you\nI'm fine, thanks.\n"]),
    seed=st.integers(0, 30),
)
@settings(max_examples=300)
def test_a_caret_is_framed_as_in_training(
    engine: Engine, reader: ContextReader, parts: list[str], earlier: str, seed: int
) -> None:
    pieces, forms = engine.pieces, engine.lexicon.forms
    message = truecase(normalise("".join(parts)), forms)
    units = split(message)
    lines = [split(truecase(normalise(line), forms)) for line in earlier.splitlines()]
    documents = build_documents([[*((line, False) for line in lines), (units, True)]], pieces, WINDOW)
    gaps = rearranged(documents, pieces, WINDOW, 1.0, seed)
    found = [gaps.ids[a:b].tolist() for a, b in pairwise(gaps.offsets)]
    found = [ids for ids in found if pieces.here_id in ids]
    assume(found)
    (ids,) = found
    here = ids.index(pieces.here_id)
    start = ids.index(START_ID, ids.index(pieces.behind_id))
    places = [
        (at, at + len(unit)) for unit, at in units_with_places(message)
    ]  # of the units that are no marks
    num_before = sum(unit != FLIP for unit in pieces.decode_units(ids[start + 1 : here]))
    num_inside = sum(unit != FLIP for unit in pieces.decode_units(ids[here + 1 : ids.index(END_ID, here)]))
    caret, end = places[num_before][0], places[num_before + num_inside - 1][1]
    read = reader.read(earlier + message[:caret], message[end:])
    assert list(read.ids) == ids[: here + 1]
