"""What stands behind the caret: what the model is given of it, and that answers depend on nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey import Engine
from fedkey.context import ContextReader
from fedkey.engine import Suggestions
from fedkey.explanation import Verdict
from fedkey.layout import QWERTY
from fedkey.pieces import END_ID, MOST_BEHIND, START_ID, Pieces
from fedkey.text import normalise, split

ROOM = 116
REST = " at the beach with my sister"


@pytest.fixture(scope="module")
def engine(behind_bundle: Path) -> Iterator[Engine]:
    with contextlib.closing(Engine.open(behind_bundle)) as opened:
        yield opened


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


def said(answer: Suggestions) -> tuple[object, ...]:
    """All of an answer but the time it took."""
    return (
        answer.words, answer.log_probs, answer.autocorrect, answer.phrase, answer.emoji, answer.literal
    )  # fmt: skip


# ---------------------------------------------------------------------------------------- what is read


def test_what_stands_behind_is_read_before_the_message_and_after_earlier_ones(
    reader: ContextReader, pieces: Pieces
) -> None:
    earlier = (START_ID, *pieces.encode("how are you"), END_ID)
    ids = reader.read("How are you\nSee ", " tomorrow, I think\nand no more").ids
    assert ids == (*earlier, *framed(pieces, "see", "tomorrow, I think"))


@pytest.mark.parametrize("after", ["", " ", "\n", " \t \nmore", "\u200b", "ng", "n't  ", "\u2019ll\nno"])
def test_nothing_behind_is_the_text_before_alone(reader: ContextReader, after: str) -> None:
    for context in ("", "How are you\nSee ", "do"):
        assert reader.read(context, after) == reader.read(context)


@pytest.mark.parametrize(
    ("context", "after", "behind"),
    [
        ("see ", "ow, I think", ", I think"),  # the caret is inside a word
        ("I do", "n't know", "know"),
        ("I don", "\u2019t know", "know"),
        ("so ", " know.  Then we  go", "know. then we go"),  # a sentence starts behind the caret
        ("so ", " Then we go", "Then we go"),  # no sentence starts there: it is a name, or meant so
        ("", "\u00a0Then we go", "then we go"),  # nothing but the caret stands before a sentence's start
        ("hi. ", " Then we go", "then we go"),
        ("hi, ", " London is i think", "London is I think"),
    ],
)
def test_the_rest_is_written_as_training_wrote_it(
    reader: ContextReader, pieces: Pieces, context: str, after: str, behind: str
) -> None:
    ids = reader.read(context, after).ids
    assert ids[: ids.index(START_ID)] == (pieces.behind_id, *pieces.encode(behind), END_ID)


@pytest.mark.parametrize(
    ("after", "is_marked"),
    [(" so", False), (", so", False), (" , so", True), (" :) so", False), (":) so", True), ("-so", False)],
)
def test_an_unexpected_gap_behind_the_word_is_marked(
    reader: ContextReader, pieces: Pieces, after: str, is_marked: bool
) -> None:
    assert (reader.read("see you ", after).ids[1] == pieces.flip_id) is is_marked


def test_a_long_rest_is_cut_between_units_and_says_that_it_goes_on(
    reader: ContextReader, pieces: Pieces
) -> None:
    words = "see you at the beach with my sister and the dog on sunday morning or in the evening " * 3
    ids = reader.read("I ", " " + words).ids
    behind = ids[1 : ids.index(START_ID)]
    assert END_ID not in behind
    assert MOST_BEHIND - 8 <= len(behind) <= MOST_BEHIND
    assert words.startswith(pieces.decode(behind) + " ")
    assert reader.read("I ", " " + words + "\nmore") == reader.read("I ", " " + words * 2000)


@given(
    st.lists(st.sampled_from(["see", " you", " ,", ",", "(", " a", " (", "語" * 9, " beach"]), max_size=30),
    st.integers(1, 40),
)
def test_what_is_framed_is_a_beginning_with_an_end_only_if_it_is_all(
    pieces: Pieces, parts: list[str], most: int
) -> None:
    units = split(normalise("".join(parts)))
    everything = pieces.encode_units(units)
    ids = pieces.frame_behind(units, most=most)
    if not ids:
        assert not units or len(pieces.encode_unit(units[0])) > most
        return
    assert ids[0] == pieces.behind_id
    is_all = ids[-1] == END_ID
    read = ids[1 : -1 if is_all else None]
    assert is_all == (len(everything) <= most)
    assert list(read) == everything[: len(read)]
    assert len(read) <= most
    assert read[-1] != pieces.flip_id
    assert pieces.ends_unit[read[-1]]
    assert pieces.frame_behind(units, is_all=False, most=most) == (pieces.behind_id, *read)


TEXT = st.text(max_size=40) | st.sampled_from(["see you at the beach " * 20, "x" * 300, "語" * 90, "so. "])


@given(context=st.lists(TEXT, max_size=6).map("\n".join), after=TEXT, room=st.sampled_from([4, 16, 40, ROOM]))
@settings(max_examples=200)
def test_any_text_on_both_sides_fits_the_room(engine: Engine, context: str, after: str, room: int) -> None:
    reader = ContextReader(engine.pieces, engine.lexicon.forms, room, reads_behind=True)
    read = reader.read(context, after)
    left = reader.read(context)
    assert 1 <= len(read.ids) <= room
    assert read.starts_sentence == left.starts_sentence
    framing = {engine.pieces.behind_id: 1, engine.pieces.here_id: 1}
    counts = {each: read.ids.count(each) for each in framing}
    if read != left:
        assert counts == framing
        assert read.ids[-1] == engine.pieces.here_id


def test_earlier_messages_make_room_first(reader: ContextReader, pieces: Pieces) -> None:
    lines = [f"see you tomorrow at the {place}" for place in ("park", "beach", "library")] * 6
    context = "\n".join([*lines, "I think that "])
    ids, left = reader.read(context, REST).ids, reader.read(context).ids
    behind = framed(pieces, "I think that", REST.strip())
    assert ids[-len(behind) :] == behind
    earlier = ids[: -len(behind)]
    assert earlier == left[: left.index(START_ID, len(left) - 8)][-len(earlier) :]
    assert ROOM - reader.step - 16 < len(ids) <= ROOM


def test_the_rest_is_encoded_once_for_all_that_is_written_in_front_of_it(
    reader: ContextReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []
    frame_behind = Pieces.frame_behind

    def frame(self: Pieces, units: list[str], **options: int) -> tuple[int, ...]:
        seen.append(tuple(units))
        return frame_behind(self, units, **options)

    monkeypatch.setattr(Pieces, "frame_behind", frame)
    for end in range(1, 8):
        reader.read("hi\n" + "so we will meet you there "[: end * 3], " on the red beach")
    assert seen == [("on", "the", "red", "beach")]


# ------------------------------------------------------------------------------------------ what is said


def test_both_sides_count_whether_or_not_the_bundle_reads_behind(tiny_bundle: Path, engine: Engine) -> None:
    with contextlib.closing(Engine.open(tiny_bundle)) as left:
        for typed in ("", "t", "tomorow"):
            alone = left.suggest("see you ", typed)
            assert said(engine.suggest("see you ", typed)) == said(alone)
            # Of one candidate alone Bayes' rule says nothing.
            if typed != "tomorow":
                assert left.suggest("see you ", typed, after=REST).log_probs != alone.log_probs
            assert engine.suggest("see you ", typed, after=REST).log_probs != alone.log_probs


def test_nothing_behind_costs_nothing(behind_bundle: Path, tiny_bundle: Path) -> None:
    """The same answers, in as many runs of the model."""
    one, other = Engine.open(behind_bundle), Engine.open(tiny_bundle)
    for context in ("", "how are you?\nI'm fine, ", "see you "):
        for typed in ("", "t", "to", "tomorow"):
            for after in ("", " ", "\nno", "w"):
                expected = other.suggest(context, typed)
                assert said(one.suggest(context, typed, after=after)) == said(expected)
        one.accept(context, "to", "tomorrow", after="\nno")
        other.accept(context, "to", "tomorrow")
    assert one._model.num_runs == other._model.num_runs


def test_what_is_written_in_front_of_the_rest_reads_no_more_than_it_would_alone(engine: Engine) -> None:
    text, longest = "", 0
    engine.suggest(text, "", after=REST)
    for word in "I think we will meet you tomorrow in the evening".split():
        before = len(engine._places.context.ids)
        engine.accept(text, word, word, private=True, after=REST)
        longest = max(longest, len(engine._places.context.ids) - before)
        text += word + " "
        shared = [a == b for a, b in zip(engine._places._cache.ids, engine._places.context.ids, strict=True)]
        assert all(shared)
        num_runs = engine._model.num_runs
        engine.suggest(text, "", after=REST)
        assert engine._model.num_runs <= num_runs + 4  # what was read is scored, nothing is read
    assert longest < 8


def test_capitals_words_of_the_owner_emoji_and_privacy_are_as_ever(behind_bundle: Path) -> None:
    with contextlib.closing(Engine.open(behind_bundle)) as engine:
        assert all(word[0].isupper() for word in engine.suggest("", "", after=REST).words)
        assert all(word[0].isupper() for word in engine.suggest("so. ", "", after=" Then").words)
        assert engine.suggest("see ", "YO", after=REST).words[0] == "YOU"
        assert engine.suggest("so ", "lond", after=REST).words[0] == "London"
        assert engine.suggest("so ", "i", after=" think").autocorrect == "I"
        assert engine.suggest("so funny ", "", after=REST).emoji
        engine.learn("Zorblax")
        for _ in range(3):
            engine.accept("see you ", "zorb", "Zorblax", after=REST)
        assert "Zorblax" in engine.suggest("see you ", "zor", after=REST).words
        assert "Zorblax" not in engine.suggest("see you ", "zor", after=REST, private=True).words
        assert "Zorblax" in engine.replacements("see you ", "zorblx", REST).words
        assert "Zorblax" not in engine.replacements("see you ", "zorblx", REST, private=True).words


def test_corrections_are_of_both_sides(behind_bundle: Path) -> None:
    with contextlib.closing(Engine.open(behind_bundle)) as engine:
        both = engine.doubt("see you ", "tomorow", after=REST)
        assert both.choices != engine.doubt("see you ", "tomorow").choices
        assert engine.suggest("see you ", "tomorow", after=REST).autocorrect == "tomorrow"
        assert engine.explain("see you ", "tomorow", after=REST).autocorrect == "tomorrow"
        accepted = engine.accept("see you ", "tomorow", "tomorrow", after=REST)
        engine.undo(accepted)
        assert engine.suggest("see you ", "tomorow", after=REST).autocorrect is None
        assert engine.explain("see you ", "tomorow", after=REST).verdict is Verdict.KEPT


@pytest.mark.parametrize("after", [" and tomorow again", "@mail.com", ".com/a", "\\b", "w@mail.com"])
def test_what_stands_behind_or_goes_on_behind_is_no_mistake(engine: Engine, after: str) -> None:
    assert engine.suggest("see you ", "tomorow").autocorrect == "tomorrow"
    assert engine.suggest("see you ", "tomorow", after=after).autocorrect is None
    assert not engine.is_doubtful("see you ", "tomorow", after=after)
    assert engine.is_doubtful("see you ", "tomorow", after=f"\n{after}")


def test_a_drawn_word_fits_between(engine: Engine) -> None:
    path = [QWERTY[letter].center for letter in "you"]
    both, left = engine.trace("see ", path, after=REST), engine.trace("see ", path)
    assert both.words[0] == left.words[0] == "you"
    assert both.log_probs != left.log_probs


# ------------------------------------------------------------------------------------ state changes no answer

CONTEXTS = ("", "see you ", "hi there\nhow are you?\nI'm fine. ", "hi there\nhow are", "see you tomorrow at ")
AFTERS = ("", REST, " tomorrow", "ing to go.", ", I think\nand more", " Then we go to the park " * 9)
ASKED = st.tuples(
    st.sampled_from(["suggest", "explain", "replacements", "accept", "reset"]),
    st.sampled_from(CONTEXTS),
    st.sampled_from(["", "t", "to", "tomorow", "teh", "their"]),
    st.sampled_from(AFTERS),
)


def ask(engine: Engine, what: str, context: str, typed: str, after: str) -> object:
    if what == "suggest":
        return said(engine.suggest(context, typed, after=after))
    if what == "explain":
        return engine.explain(context, typed, after=after)
    if what == "replacements":
        return said(engine.replacements(context, typed or "so", after))
    if what == "accept":
        return engine.accept(context, typed, typed or "so", private=True, after=after)
    return engine.reset()


@given(st.lists(ASKED, min_size=2, max_size=6))
@settings(max_examples=60)
def test_no_answer_depends_on_what_was_asked_before(
    engine: Engine, asked: list[tuple[str, str, str, str]]
) -> None:
    warm = [ask(engine, *each) for each in asked]
    for each, answer in zip(asked, warm, strict=True):
        engine.reset()
        assert parts(ask(engine, *each)) == pytest.approx(parts(answer), abs=1e-4)


def parts(answer: object) -> list[object]:
    """All that an answer consists of, one after the other. Its numbers depend, in their rounding, on what the
    runs of the model held besides."""
    if dataclasses.is_dataclass(answer):
        answer = tuple(getattr(answer, field.name) for field in dataclasses.fields(answer))
    return [part for each in answer for part in parts(each)] if isinstance(answer, tuple) else [answer]


def test_a_warm_engine_answers_like_a_fresh_one(engine: Engine, behind_bundle: Path) -> None:
    questions = [("suggest", context, "t", after) for context in CONTEXTS for after in AFTERS[1:5]]
    warm = [ask(engine, *each) for each in questions]
    for each, answer in [*zip(questions, warm, strict=True)][::4]:
        with contextlib.closing(Engine.open(behind_bundle)) as fresh:
            assert parts(ask(fresh, *each)) == pytest.approx(parts(answer), abs=1e-4)


def test_any_text_on_both_sides_gives_a_well_formed_answer(engine: Engine) -> None:
    @given(context=st.text(max_size=30), typed=st.text(max_size=6), after=st.text(max_size=30))
    @settings(max_examples=80)
    def check(context: str, typed: str, after: str) -> None:
        for answer in (
            engine.suggest(context, typed, after=after), engine.replacements(context, typed, after)
        ):  # fmt: skip
            assert len({word.lower() for word in answer.words}) == len(answer.words) == len(answer.log_probs)
            assert all(word and word == word.strip() for word in answer.words)

    check()


def test_no_word_waits_for_the_whole_window_inside_a_message_either(
    behind_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What will be left of the text when its oldest messages are dropped is read ahead with its rest."""
    engine = Engine.open(behind_bundle)
    reads: list[tuple[bool, int]] = []

    def watched(method: Callable[..., object]) -> Callable[..., object]:
        def read(cache: object, ids: list[int]) -> object:
            reads.append((cache is engine._places._ahead, len(ids)))
            return method(cache, ids)

        return read

    for name in ("advance", "read"):
        monkeypatch.setattr(engine._model, name, watched(getattr(engine._model, name)))
    lines = ["how are you doing today?", "I'm fine, thanks, and you?", "see you at the beach then"] * 6
    context, lengths, longest = "\n".join(lines) + "\n", [], []
    engine.suggest(context, "", after=REST)
    for word in ("I think that we are going to the beach with my sister " * 2).split():
        for end in range(1, len(word) + 1):
            engine.suggest(context, word[:end], after=REST)
        reads.clear()
        engine.accept(context, word, word, private=True, after=REST)
        lengths.append(len(engine._places.context.ids))
        longest.append(max(count for is_ahead, count in reads if not is_ahead))
        context += f"{word} "
    drops = [at for at, (one, other) in enumerate(pairwise(lengths), 1) if other < one]
    assert drops
    assert max(longest[at] for at in drops) <= engine._reader.step


# ------------------------------------------------------------------------------------------- replacements


def test_replacements_are_other_words_in_the_capitals_of_the_word(engine: Engine) -> None:
    for context, word in (("see ", "yuo"), ("", "Their"), ("", "their"), ("i am ", "GOING"), ("so ", "I")):
        found = engine.replacements(context, word, REST)
        assert len(found.words) == len(found.log_probs) == 3
        assert list(found.log_probs) == sorted(found.log_probs, reverse=True)
        assert word.lower() not in [each.lower() for each in found.words]
        assert (found.literal, found.autocorrect, found.phrase) == (word, None, None)
    forms = engine.lexicon.forms
    assert all(each[0].isupper() for each in engine.replacements("", "Yuo", " are").words)
    assert all(
        each[0].islower() or forms[each.lower()] == each
        for each in engine.replacements("", "yuo", " are").words
    )
    assert all(each.isupper() for each in engine.replacements("see ", "YUO", REST).words)
    for word in ("I", "London"):  # always written so: no reason to write others so
        found = engine.replacements("see ", word, REST, 6)
        assert all(forms[each.lower()] == each for each in found.words)
    with pytest.raises(ValueError, match="at least 1"):
        engine.replacements("see ", "yuo", REST, 0)


@pytest.mark.parametrize(
    ("context", "word", "after", "meant"),
    [
        ("see ", "yuo", " tomorrow", "you"),
        ("see you tomorrow ", "art", " the beach", "at"),
        ("thank ", "your", " so much for the book", "you"),
        ("where ", "to", " you live?", "do"),
        ("my favorite ", "tomorrow", " is the red one", "song"),
    ],
)
def test_what_was_meant_is_among_the_replacements(
    tiny_bundle: Path, context: str, word: str, after: str, meant: str
) -> None:
    """A model that reads from the left alone hears of what follows by how well that follows each word."""
    with contextlib.closing(Engine.open(tiny_bundle)) as engine:
        assert meant in engine.replacements(context, word, after).words


def test_what_follows_decides_between_replacements_from_the_left_alone(tiny_bundle: Path) -> None:
    with contextlib.closing(Engine.open(tiny_bundle)) as engine:
        one = engine.replacements("I'm going to ", "teh", " beach with Sarah", 6)
        other = engine.replacements("I'm going to ", "teh", "", 6)
        assert one.log_probs != other.log_probs
