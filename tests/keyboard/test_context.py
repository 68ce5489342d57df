"""What the model is given to read: the right ids, never too many, and mostly the same ones as a word
before."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey import Engine
from fedkey.context import LINE_STEP, ContextReader, newest_that_fit
from fedkey.pieces import END_ID, START_ID, Pieces

ROOM = 40


@pytest.fixture(scope="module")
def reader(tiny_bundle) -> ContextReader:
    engine = Engine.open(tiny_bundle)
    return ContextReader(engine.pieces, engine.lexicon.forms, ROOM)


@pytest.fixture(scope="module")
def pieces(tiny_bundle) -> Pieces:
    return Engine.open(tiny_bundle).pieces


def test_messages_are_framed_and_the_unfinished_one_is_open(reader: ContextReader, pieces: Pieces) -> None:
    expected = (START_ID, *pieces.encode("how are you"), END_ID, START_ID, *pieces.encode("fine"))
    assert reader.read("How are you\nFine ").ids == expected
    assert reader.read("How are you\n\n  \nFine").ids == expected


def test_nothing_before_is_a_message_start(reader: ContextReader) -> None:
    assert reader.read("").ids == (START_ID,)
    assert reader.read("\n\n").ids == (START_ID,)


@pytest.mark.parametrize(
    ("context", "starts"),
    [
        ("", True),
        ("hi\n", True),
        ("hi ", False),
        ("hi. ", True),
        ("hi... ", False),
        ("what?! ", True),
        ("so, ", False),
    ],
)
def test_where_sentences_start(reader: ContextReader, context: str, starts: bool) -> None:
    assert reader.read(context).starts_sentence is starts


@pytest.mark.parametrize(
    ("context", "follows"),
    [("I met Dr. ", True), ("mrs. ", True), ("I met Dr ", False), ("the doctor. ", False), (". ", False)],
)
def test_what_follows_a_title(reader: ContextReader, context: str, follows: bool) -> None:
    assert reader.read(context).follows_title is follows


def test_an_unexpected_gap_is_marked(reader: ContextReader, pieces: Pieces) -> None:
    assert reader.read("so ( ").ids[-1] == pieces.flip_id
    assert reader.read("so (").ids[-1] != pieces.flip_id


def test_a_message_longer_than_the_window_is_given_up_with_all_before_it(reader: ContextReader) -> None:
    assert reader.read("hello\n" + "a" * 500 + "\nhi").ids == reader.read("hi").ids


def test_an_endless_line_is_given_up_unread_with_all_before_it(reader: ContextReader) -> None:
    """Even where reading it would have shown that it comes to nothing: a link of megabytes, white space."""
    for endless in ("語" * 2_000_000, "a@" * 1_000_000, "http://" + "a" * 3_000_000, " " * 3_000_000):
        assert reader.read(f"hello\n{endless}\nyou\nhi ").ids == reader.read("you\nhi ").ids


def test_only_the_last_of_many_lines_are_looked_at(reader: ContextReader) -> None:
    many = "hello there\n" * 500_000
    assert reader.read(many + "hi ").ids == reader.read("hello there\n" * 64 + "hi ").ids


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 127, 128, 129, 200])
def test_lines_are_dropped_a_step_at_a_time(count: int, tiny_bundle: Path) -> None:
    engine = Engine.open(tiny_bundle)
    roomy = ContextReader(engine.pieces, engine.lexicon.forms, 10_000)
    lines = [str(index) for index in range(count)]
    ids = roomy.read("\n".join([*lines, "hi "])).ids
    num_kept = ids.count(START_ID) - 1
    kept = roomy.frame_messages(lines[count - num_kept :])
    assert ids == (*chain.from_iterable(kept), START_ID, *engine.pieces.encode("hi"))
    assert (count - num_kept) % LINE_STEP == 0
    assert min(count, LINE_STEP) <= num_kept < 2 * LINE_STEP


@given(st.lists(st.text(max_size=60), max_size=12).map("\n".join))
def test_any_text_fits_the_room(reader: ContextReader, context: str) -> None:
    ids = reader.read(context).ids
    assert 1 <= len(ids) <= ROOM


@pytest.mark.parametrize(
    "context",
    ["hello there " * 3000, "x" * 20_000, "語" * 9_000, "hi\n" * 5_000],
    ids=["many words", "one word", "strange letters", "many lines"],
)
def test_very_long_text_fits_the_room(reader: ContextReader, context: str) -> None:
    ids = reader.read(context).ids
    assert ROOM // 2 < len(ids) <= ROOM
    assert ids[0] == START_ID


def test_old_messages_go_first_and_whole(reader: ContextReader, pieces: Pieces) -> None:
    lines = [
        f"see you tomorrow at the {place}" for place in ("park", "beach", "library", "school", "station")
    ] * 2
    everything = [i for line in lines for i in (START_ID, *pieces.encode(line), END_ID)]
    everything += [START_ID, *pieces.encode("see you")]
    ids = list(reader.read("\n".join([*lines, "see you "])).ids)
    assert ids[0] == START_ID
    assert ids == everything[-len(ids) :]
    # A quarter of the room and the message at the cut may be given up for a steady cache, not more.
    longest = max(len(pieces.encode(line)) + 2 for line in lines)
    assert len(ids) > ROOM - ROOM // 4 - longest


def test_the_cut_moves_seldom(tiny_bundle) -> None:
    """While a long conversation is typed word by word, what was read before is nearly always still right."""
    engine = Engine.open(tiny_bundle)
    reader = ContextReader(engine.pieces, engine.lexicon.forms, 116)
    sentence = "I think the book is really good and my favourite one is red"
    words = sentence.split()
    text, previous, num_rereads, num_words = "", (), 0, 0
    for turn in range(30):
        for word in words[: 4 + turn % 8]:
            text += word + " "
            ids = reader.read(text).ids
            num_rereads += ids[: len(previous)] != previous
            previous, num_words = ids, num_words + 1
        text = text.rstrip() + "\n"
        previous = ()
    assert num_words > 200
    assert num_rereads < num_words / 15


def test_the_newest_messages_that_fit() -> None:
    messages = [(1, 2), (3, 4, 5), (6,)]
    assert newest_that_fit(messages, 0) == []
    assert newest_that_fit(messages, 3) == [6]
    assert newest_that_fit(messages, 4) == [3, 4, 5, 6]
    assert newest_that_fit(messages, 99) == [1, 2, 3, 4, 5, 6]


def test_no_room_is_a_mistake(pieces: Pieces) -> None:
    with pytest.raises(ValueError, match="room"):
        ContextReader(pieces, {}, 1)
