"""Gaps in messages: the frame comes apart into the very message, and only what people type is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedkey.errors import UserError
from fedkey.pieces import END_ID, MOST_BEHIND, START_ID, Pieces
from fedkey.text import caret_units, is_word, join, split, split_context
from fedkey_server import checkpoint
from fedkey_server.batches import Documents, build_documents, pack
from fedkey_server.config import load
from fedkey_server.model import IGNORE, Model
from fedkey_server.objectives.infilling import MOST_WORDS, only_gaps, rearranged
from fedkey_server.train import train
from fedkey_server.validation import Examiner

WINDOW = 64
WORDS = (
    "see",
    "you",
    "at",
    "the",
    "station",
    "tomorrow",
    "don't",
    "a-b",
    "(maybe)",
    "ok,",
    "well.",
    "so ,",
    "❤️",
)


@pytest.fixture(scope="module")
def pieces(tiny_data: Path) -> Pieces:
    return Pieces.open(tiny_data / "tokenizer.model")


def conversation(pieces: Pieces, *messages: str, window: int = WINDOW) -> Documents:
    return build_documents([[(split(message), True) for message in messages]], pieces, window)


def each(documents: Documents) -> list[tuple[list[int], list[bool]]]:
    return [
        (documents.ids[a:b].tolist(), documents.loss[a:b].tolist()) for a, b in pairwise(documents.offsets)
    ]


def messages_of(ids: Sequence[int], pieces: Pieces) -> list[list[int]]:
    """The messages of a document as they were written, frames taken apart."""
    ids, behind = list(ids), None
    if pieces.behind_id in ids:
        place = ids.index(pieces.behind_id)
        start = ids.index(START_ID, place)
        behind = ids[place + 1 : start]
        ids = ids[:place] + ids[start:]
        assert ids[-1] == END_ID
        ids = [i for i in ids[:-1] if i != pieces.here_id] + behind
    starts = [*[at for at, i in enumerate(ids) if i == START_ID], len(ids)]
    return [ids[a:b] for a, b in pairwise(starts)]


MESSAGES = st.lists(
    st.tuples(st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join), st.booleans()),
    min_size=1,
    max_size=6,
)


@given(messages=MESSAGES, share=st.sampled_from([0.5, 1.0]), seed=st.integers(0, 50))
def test_the_frame_comes_apart_into_the_very_message_and_only_typed_pieces_are_graded(
    pieces: Pieces, messages: list[tuple[str, bool]], share: float, seed: int
) -> None:
    graded = [(split(message), is_graded) for message, is_graded in messages]
    documents = build_documents([graded], pieces, WINDOW)
    gaps = rearranged(documents, pieces, WINDOW, share, seed)
    assert gaps.lengths.max(initial=0) <= WINDOW
    written = [message for ids, _ in each(documents) for message in messages_of(ids, pieces)]
    found = [message for ids, _ in each(gaps) for message in messages_of(ids, pieces)]
    assert all(any(message[: len(part)] == part for message in written) for part in found)

    for ids, loss in each(gaps):
        assert not any(is_graded and i == START_ID for i, is_graded in zip(ids, loss, strict=True))
        if pieces.here_id not in ids:
            assert pieces.behind_id not in ids
            continue
        assert ids.count(pieces.here_id) == ids.count(pieces.behind_id) == 1
        place, here = ids.index(pieces.behind_id), ids.index(pieces.here_id)
        start = ids.index(START_ID, place)
        behind, before, middle = ids[place + 1 : start], ids[start + 1 : here], ids[here + 1 : -1]
        assert not any(loss[place : start + 1])
        assert not loss[here]
        assert all(loss[start + 1 : here])
        assert all(loss[here + 1 :])
        words = [is_word(unit) for unit in pieces.decode_units(middle)]
        assert words[0]
        assert words[-1]
        assert sum(words) <= MOST_WORDS
        assert 1 <= len([i for i in behind if i != END_ID]) <= MOST_BEHIND
        text = join(pieces.decode_units(before + middle))
        caret = text[: len(text) - len(join(pieces.decode_units(middle)))]
        assert before == pieces.encode_units(caret_units(*split_context(caret)[1:]))
        # A cut goes between units, and says by the missing END that more stands behind it.
        whole = [*before, *middle, *behind]
        assert any(message[1 : len(whole) + 1] == whole for message in written)
        assert (behind[-1] == END_ID) == ([START_ID, *whole] in written)
        assert behind[-1] == END_ID or pieces.decode_units(behind)[-1] in split(" ".join(WORDS))


def sentences(pieces: Pieces, num_documents: int, num_messages: int = 3) -> Documents:
    """Short messages, all graded, no two alike."""
    conversations = [
        [
            (split(f"see you at {chr(97 + d // 26)} {chr(97 + d % 26)}{chr(97 + m)} station."), True)
            for m in range(num_messages)
        ]
        for d in range(num_documents)
    ]
    return build_documents(conversations, pieces, 128)


def test_no_text_is_lost(pieces: Pieces) -> None:
    documents = sentences(pieces, 20)
    for share in (0.0, 0.5, 1.0):
        gaps = rearranged(documents, pieces, 128, share, 3)
        written, found = (
            sorted(message for ids, _ in each(some) for message in messages_of(ids, pieces))
            for some in (documents, gaps)
        )
        assert found == written
        assert (share > 0) == (pieces.here_id in gaps.ids)
    assert rearranged(documents, pieces, 128, 0.0, 3).ids.tolist() == documents.ids.tolist()


def test_the_share_of_documents_gets_a_gap_and_every_message_may_have_it(pieces: Pieces) -> None:
    alone = sentences(pieces, 400, num_messages=1)
    for share in (0.25, 0.75):
        num_gaps = int((rearranged(alone, pieces, 128, share, 1).ids == pieces.here_id).sum())
        assert num_gaps / len(alone) == pytest.approx(share, abs=0.08)
    words = [
        num_words
        for ids, _ in each(rearranged(alone, pieces, 128, 1.0, 1))
        if (num_words := len(pieces.decode_units(ids[ids.index(pieces.here_id) + 1 : -1])))
    ]
    assert np.mean(np.array(words) == 1) == pytest.approx(0.6, abs=0.1)
    three = sentences(pieces, 60, num_messages=3)
    earlier = [
        ids[: ids.index(pieces.behind_id)].count(START_ID)
        for ids, _ in each(rearranged(three, pieces, 128, 1.0, 1))
        if pieces.here_id in ids
    ]
    assert set(earlier) == {0, 1, 2}


def test_equal_seeds_give_equal_documents_and_others_others(pieces: Pieces) -> None:
    documents = sentences(pieces, 20)
    first, again, other = (rearranged(documents, pieces, 128, 0.5, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    assert each(first) == each(again) != each(other)


def test_what_does_not_fit_gives_way_to_the_gap_but_stays_text(pieces: Pieces) -> None:
    oldest, newest = split("ok then"), split("see you at the station")
    whole = [[START_ID, *pieces.encode_units(units), END_ID] for units in (oldest, newest)]
    for spare, is_apart in ((4, False), (3, False), (2, True)):
        window = len(whole[0]) + len(whole[1]) + spare
        documents = build_documents([[(oldest, False), (oldest, True), (newest, True)]], pieces, 2 * window)
        documents = Documents(
            documents.ids[len(whole[0]) :],
            documents.loss[len(whole[0]) :],
            np.array([0, sum(map(len, whole))]),
        )
        found = [
            gaps
            for seed in range(40)
            if (gaps := rearranged(documents, pieces, window, 1.0, seed)).lengths.max() > len(whole[1])
        ]
        lengths = {tuple(gaps.lengths.tolist()) for gaps in found}
        assert ((len(whole[0]), len(whole[1]) + 3) in lengths) == is_apart
        assert ((len(whole[0]) + len(whole[1]) + 3,) in lengths) == (not is_apart)
    tight = conversation(pieces, "see you at the station", window=len(whole[1]))
    assert each(rearranged(tight, pieces, len(whole[1]), 1.0, 1)) == each(tight)


def test_partners_messages_and_those_with_nothing_behind_a_word_get_no_gap(pieces: Pieces) -> None:
    partner, own = split("see you at the station"), split("hm")
    documents = build_documents([[(partner, False), (own, True)]], pieces, WINDOW)
    assert each(rearranged(documents, pieces, WINDOW, 1.0, 1)) == each(documents)


def test_a_message_cut_at_the_window_gets_a_gap_only_in_its_last_part(pieces: Pieces) -> None:
    documents = conversation(pieces, " ".join(["station"] * 45), window=32)
    assert len(documents) == 2
    for seed in range(5):
        *cut, last = each(rearranged(documents, pieces, 32, 1.0, seed))
        assert not any(pieces.here_id in ids for ids, _ in cut)
        assert pieces.here_id in last[0]


def test_the_exam_grades_what_stands_in_gaps_alone(pieces: Pieces) -> None:
    gaps = rearranged(sentences(pieces, 10), pieces, 128, 0.5, 1)
    exam = only_gaps(gaps, pieces)
    with_gap = [ids for ids, _ in each(gaps) if pieces.here_id in ids]
    assert [ids for ids, _ in each(exam)] == with_gap
    assert 0 < len(with_gap) < len(gaps)
    for ids, loss in each(exam):
        here = ids.index(pieces.here_id)
        assert ids[-1] == END_ID
        assert loss == [False] * (here + 1) + [True] * (len(ids) - here - 2) + [False]


def test_frames_are_never_targets_of_packed_rows(pieces: Pieces) -> None:
    rows = pack(rearranged(sentences(pieces, 10), pieces, 128, 1.0, 1), 128, 128)
    targets = set(rows.targets[rows.targets != IGNORE].tolist())
    assert END_ID in targets
    assert not targets & {pieces.behind_id, pieces.here_id, START_ID}


def test_a_run_learns_to_fill_gaps_and_goes_on_where_it_stopped(
    tiny_data: Path, small_overrides: list[str], tmp_path: Path, one_thread: None
) -> None:
    overrides = [*small_overrides, "train.objective=infill", "train.validation_rows=8", "train.final_share=1"]
    overrides += [
        "train.num_steps=16",
        "train.checkpoint_every=8",
        "train.warmup_steps=4",
        "train.batch_rows=4",
    ]
    config = load("tiny", overrides)
    whole = train(config, tiny_data, tmp_path / "whole")
    train(config, tiny_data, tmp_path / "parts", num_steps=8)
    assert train(config, tiny_data, tmp_path / "parts") == whole
    untrained = Model(config.model, seed=1)
    examiner = Examiner("infill", tiny_data, config.model.window, 8, 1)
    before = examiner.measure(untrained, 4, torch.device("cpu"))
    assert whole["infill_loss"] < 0.9 * before["infill_loss"]
    assert whole["validation_loss"] > 0


def test_text_without_anything_to_fill_has_no_figures_of_gaps(
    tiny_run: Path, tiny_data: Path, pieces: Pieces, tmp_path: Path
) -> None:
    conversation(pieces, "hm", "hello").save(tmp_path / "validation.npz")
    (tmp_path / "tokenizer.model").write_bytes((tiny_data / "tokenizer.model").read_bytes())
    model = checkpoint.load(tiny_run).model()
    measured = Examiner("infill", tmp_path, 128, 8, 1).measure(model, 4, torch.device("cpu"))
    assert set(measured) == {"validation_loss", "validation_top1"}


def test_lessons_are_of_text_as_it_is_written(
    tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    config = load("tiny", [*small_overrides, "train.objective=infill"])
    with pytest.raises(UserError, match="leave out --lessons"):
        train(config, tiny_data, tmp_path / "run", lessons=tmp_path / "lessons.npz")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "bad", ["train.objective=magic", "train.infill_share=1.5", "train.infill_share=-0.1"]
)
def test_a_bad_objective_is_refused_by_name(bad: str) -> None:
    with pytest.raises(UserError, match=bad.partition("=")[0]):
        load("tiny", [bad])
