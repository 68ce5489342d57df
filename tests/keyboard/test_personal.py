"""Personal memory: what it learns, gives back, takes back and forgets."""

from __future__ import annotations

import contextlib
import json
import math
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedkey import personal
from fedkey.errors import UserError
from fedkey.personal import LearnedWord, Personal, Taught
from fedkey.personal_store import KnownWord

FILES = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def memory() -> Iterator[Personal]:
    opened = Personal.open(None)
    yield opened
    opened.close()


def type_text(memory: Personal, text: str, **kinds: Any) -> None:
    """Observes the words of one sentence."""
    words = text.split()
    for place, word in enumerate(words):
        memory.observe(["", *(each.lower() for each in words[:place])][-2:], word, **kinds)


def knows(memory: Personal, word: str) -> bool:
    return memory.spelling(word) is not None


def guesses(memory: Personal, context: Sequence[str], prefix: str = "") -> list[str]:
    probs = memory.predictions(context, prefix).probs
    return sorted(probs, key=lambda word: (-probs[word], word))


# ------------------------------------------------------------------------------------------ learning


def test_a_word_typed_twice_is_known_with_its_context_at_the_next_key(memory: Personal) -> None:
    memory.observe(("meet",), "Zorblax")
    assert not knows(memory, "zorblax")
    assert guesses(memory, ("meet",)) == []
    memory.observe(("meet",), "Zorblax")
    assert knows(memory, "zorblax")
    assert guesses(memory, ("meet",)) == ["Zorblax"]
    assert guesses(memory, ("meet",), "ZO") == ["Zorblax"]
    assert guesses(memory, ("meet",), "x") == []


@pytest.mark.parametrize("kinds", [{"accepted": True}, {"lexicon_form": "zorblax"}])
def test_a_word_accepted_or_of_the_lexicon_is_known_at_once(memory: Personal, kinds: dict[str, Any]) -> None:
    memory.observe((), "zorblax", **kinds)
    assert knows(memory, "zorblax")
    assert guesses(memory, ()) == ["zorblax"]


def test_two_words_of_context_count_more_than_one_and_one_more_than_none(memory: Personal) -> None:
    for _ in range(5):
        type_text(memory, "see you tomorrow", accepted=True)
        type_text(memory, "love you too", accepted=True)
    assert guesses(memory, ("see", "you"))[0] == "tomorrow"
    assert guesses(memory, ("love", "you"))[0] == "too"
    assert set(guesses(memory, ("thank", "you"))[:2]) == {"tomorrow", "too"}
    assert guesses(memory, ("",))[0] in ("see", "love")


def test_an_unknown_word_before_is_no_sentence_start(memory: Personal) -> None:
    memory.observe((), "hi", accepted=True)
    memory.observe(("hunter2",), "there", accepted=True)
    first, later = memory.predictions(()).probs, memory.predictions(("4711",)).probs
    assert first["hi"] > first["there"]
    assert later["there"] > later["hi"]


@pytest.mark.parametrize(
    "word", ["hunter2", "me@home.org", "https://a.example", "qRzTpWx", "", "12", "\ue000"]
)
def test_secrets_are_not_written_down(memory: Personal, word: str) -> None:
    for _ in range(3):
        assert not memory.observe(("my",), word, accepted=True)
    assert not memory.keep_literal(word)
    assert memory.words() == []


def test_secrets_before_a_word_are_not_written_down(memory: Personal, tmp_path: Path) -> None:
    memory.observe(("hunter2", "is"), "mine")
    memory.observe(("is", "hunter2"), "mine")
    memory.export_to(tmp_path / "export.jsonl")
    assert "hunter2" not in (tmp_path / "export.jsonl").read_text()


def test_recent_words_outweigh_old_ones(memory: Personal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedkey.personal_ngram.HALF_LIFE", 10.0)
    for word in ["winter"] * 30 + ["spring"] * 20:
        memory.observe(("this",), word, accepted=True)
    assert guesses(memory, ("this",)) == ["spring", "winter"]


def test_the_weakest_follower_gives_way(
    memory: Personal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal, "MAX_FOLLOWERS", 3)
    for word in ("home", "work", "home", "school", "town"):
        memory.observe(("to",), word, accepted=True)
    kept = [json.loads(line) for line in exported(memory, tmp_path).splitlines() if '"after"' in line]
    assert [line["word"] for line in kept] == ["home", "school", "town"]


def test_a_word_without_room_can_be_undone_too(memory: Personal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "MAX_WORDS", 2)
    memory.learn("one")
    memory.learn("two")
    before, taught = answers(memory), Taught()
    assert memory.observe((), "three", accepted=True, taught=taught)
    assert not knows(memory, "three")  # what was learned explicitly goes last
    assert memory.undo(taught)
    assert answers(memory) == before


def test_words_that_gave_way_weigh_no_more(memory: Personal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "MAX_WORDS", 2)
    for word in ("one", "two", "three", "four", "four", "four"):
        memory.observe(("the",), word, accepted=True)
    assert memory.predictions(("other",)).probs == pytest.approx({"three": 0.25, "four": 0.75}, rel=1e-3)


def test_bad_arguments_are_named(memory: Personal) -> None:
    with pytest.raises(ValueError, match="model_log_prob"):
        memory.observe((), "hello", model_log_prob=math.nan)
    with pytest.raises(ValueError, match="lexicon_form"):
        memory.observe((), "hello", lexicon_form="help")


# ------------------------------------------------------------------------------------------ capitals


def test_a_capital_at_a_sentence_start_is_no_evidence(memory: Personal) -> None:
    for _ in range(3):
        memory.observe((), "Brb")
    assert guesses(memory, ()) == ["brb"]
    memory.observe(("meet",), "Jonty")
    memory.observe((), "Jonty")
    assert guesses(memory, ("meet",)) == ["Jonty", "brb"]


def test_the_lexicon_spells_until_the_owner_insists(memory: Personal) -> None:
    memory.observe((), "London", lexicon_form="London")
    assert guesses(memory, ()) == ["London"]
    for _ in range(2):
        memory.observe(("in",), "LONDON", lexicon_form="London")
        memory.observe(("in",), "london", lexicon_form="London")
    assert guesses(memory, ("in",)) == ["London"]
    memory.observe(("in",), "london", lexicon_form="London")
    assert guesses(memory, ("in",)) == ["london"]


def test_a_learned_spelling_survives_a_slip(memory: Personal) -> None:
    memory.learn("McX")
    memory.observe(("see",), "mcx")
    assert guesses(memory, ("see",)) == ["McX"]


# ----------------------------------------------------------------------------- new words and corrections


def test_known_words_are_as_they_stand_in_the_file(memory: Personal) -> None:
    for word in ("Zorblax", "Zorblax", "once"):
        memory.observe(("the",), word)
    words, version = memory.known_words()
    assert words == {"zorblax": KnownWord("Zorblax", pytest.approx(1, abs=1e-2))}
    memory.observe(("the",), "Zorblax")
    assert memory.known_words().version == version
    assert memory.known_words().words["zorblax"].strength == pytest.approx(math.log2(3), abs=1e-2)
    memory.edit("zorblax", "once")
    assert memory.known_words().version != version
    assert memory.known_words().words.keys() == {"once"}
    memory.erase_all()
    assert memory.known_words().words == {}


def test_a_restored_word_typed_again_is_never_corrected_again(
    memory: Personal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal, "MAX_WORDS", 3)
    memory.keep_literal("teh", ("say",))
    assert not knows(memory, "teh")
    memory.keep_literal("teh", ("say",))
    assert knows(memory, "teh")
    assert guesses(memory, ("say",)) == ["teh"]
    for word in "one two three four five six".split():
        memory.observe((), word, accepted=True)
    assert knows(memory, "teh")
    assert not knows(memory, "one")


def test_restored_once_and_typed_once_is_typed_twice(memory: Personal) -> None:
    memory.keep_literal("teh")
    memory.observe((), "teh")
    (word,) = memory.words()
    assert word == LearnedWord("teh", 2, word.last_used, True, True, word.worth)
    assert 1.99 < word.worth < 2


# -------------------------------------------------------------------------------------- the owner's list


def test_words_lists_all_with_counts_and_can_be_searched(memory: Personal) -> None:
    type_text(memory, "see you then", lexicon_form=None)
    type_text(memory, "see you")
    listed = memory.words()
    assert [(each.word, each.count, each.is_known) for each in listed] == [
        ("see", 2, True),
        ("you", 2, True),
        ("then", 1, False),
    ]
    assert all(len(each.last_used) == 10 for each in listed)
    assert [each.word for each in memory.words("HE")] == ["then"]
    assert memory.words("%") == []


def test_learn_makes_known_at_once_digits_included(memory: Personal) -> None:
    memory.learn("covid19")
    assert knows(memory, "COVID19")
    assert guesses(memory, (), "cov") == ["covid19"]
    assert memory.observe(("has",), "covid19")  # its owner said that it is a word
    assert guesses(memory, ("has",)) == ["covid19"]


@pytest.mark.parametrize("word", ["", "two words", "me@home.org", "a" * 65, "😂", "\x1b[31m"])
def test_only_words_can_be_learned(memory: Personal, word: str) -> None:
    with pytest.raises(UserError, match="Only single words"):
        memory.learn(word)
    memory.learn("hello")
    with pytest.raises(UserError, match="Only single words"):
        memory.edit("hello", word)
    assert guesses(memory, ()) == ["hello"]


def test_forget_removes_a_word_everywhere_and_it_can_be_learned_anew(memory: Personal) -> None:
    taught = Taught()
    for _ in range(3):
        type_text(memory, "see Zorblax tomorrow", accepted=True)
    memory.observe((), "Zorblax", taught=taught)
    assert memory.forget("ZORBLAX")
    assert not memory.forget("zorblax")
    memory.undo(taught)
    assert not knows(memory, "zorblax")
    assert "Zorblax" not in guesses(memory, ("", "see"))
    alone = memory.predictions(("zorblax",)).probs
    assert alone == memory.predictions(("never", "seen")).probs  # what followed it is forgotten too
    memory.observe(("see",), "Zorblax")
    assert not knows(memory, "zorblax")
    memory.observe(("see",), "Zorblax")
    assert knows(memory, "zorblax")


def test_edit_moves_all_that_is_known_of_a_word(memory: Personal) -> None:
    for _ in range(3):
        type_text(memory, "see Zorblx tomorrow", accepted=True)
    memory.observe(("see",), "Zorblax", accepted=True)
    before = memory.predictions(("", "see")).probs
    assert memory.edit("zorblx", "ZorblaX")
    assert not memory.edit("zorblx", "other")
    after = memory.predictions(("", "see")).probs
    assert after["ZorblaX"] == pytest.approx(before["Zorblx"] + before["Zorblax"])
    assert guesses(memory, ("see", "zorblax"))[0] == "tomorrow"
    assert [(each.word, each.count) for each in memory.words("zor")] == [("ZorblaX", 4)]
    assert sum(after.values()) == pytest.approx(1)


def test_edit_can_change_capitals_alone(memory: Personal) -> None:
    for _ in range(3):
        memory.observe(("see",), "zorblax", accepted=True)
    assert memory.edit("zorblax", "ZorBlax")
    assert guesses(memory, ("see",)) == ["ZorBlax"]


def test_erase_all_leaves_nothing_and_starts_anew(memory: Personal) -> None:
    type_text(memory, "see you tomorrow", accepted=True, model_log_prob=-3.0)
    taught = Taught()
    memory.observe((), "see", taught=taught)
    memory.erase_all()
    memory.undo(taught)
    assert memory.words() == []
    assert memory.predictions(("see", "you")) == (0.0, {})
    type_text(memory, "see you tomorrow", accepted=True)
    assert guesses(memory, ("see", "you"))[0] == "tomorrow"


# ------------------------------------------------------------------------------------- export, import


def exported(memory: Personal, tmp_path: Path) -> str:
    memory.export_to(tmp_path / "export.jsonl")
    return (tmp_path / "export.jsonl").read_text(encoding="utf-8")


def test_an_export_can_be_read(memory: Personal, tmp_path: Path) -> None:
    for _ in range(2):
        type_text(memory, "ask Zoë", model_log_prob=-4.0)
    lines = [json.loads(line) for line in exported(memory, tmp_path).splitlines()]
    assert lines[0] == {"fedkey_personal": 1, "words_seen": 4}
    assert [line["word"] for line in lines if "typed" in line] == ["ask", "Zoë"]
    assert {(tuple(line["after"]), line["word"]) for line in lines if "after" in line} == {
        (("",), "ask"),
        (("ask",), "zoë"),
        (("", "ask"), "zoë"),
    }
    assert stat.S_IMODE((tmp_path / "export.jsonl").stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["export.jsonl"]


def test_import_merges_and_keeps_the_larger_count(memory: Personal, tmp_path: Path) -> None:
    other = Personal.open(None)
    for _ in range(5):
        type_text(other, "see Zorblax soon", accepted=True)
    type_text(memory, "see zorblax", accepted=True)
    type_text(memory, "hello there", accepted=True)
    other.export_to(tmp_path / "other.jsonl")
    memory.import_from(tmp_path / "other.jsonl")
    counts = {each.word: each.count for each in memory.words()}
    assert counts == {"see": 5, "Zorblax": 5, "soon": 5, "hello": 1, "there": 1}
    assert guesses(memory, ("see", "zorblax"))[0] == "soon"
    once = exported(memory, tmp_path)
    memory.import_from(tmp_path / "other.jsonl")
    assert exported(memory, tmp_path) == once


def test_import_counts_as_of_now(memory: Personal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedkey.personal_ngram.HALF_LIFE", 10.0)
    memory.observe(("my",), "home", accepted=True)
    memory.export_to(tmp_path / "old.jsonl")
    for _ in range(100):
        memory.observe(("my",), "word", accepted=True)
    faded = memory.predictions(("my",)).probs["home"]
    memory.import_from(tmp_path / "old.jsonl")
    assert memory.predictions(("my",)).probs["home"] > 10 * faded


def test_import_makes_room(memory: Personal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Personal.open(None)
    for number in range(40):
        other.observe(("to",), "x" + "ab"[number % 2] * (1 + number // 2), accepted=True)
    other.export_to(tmp_path / "other.jsonl")
    for name, limit in (("MAX_WORDS", 9), ("MAX_NGRAMS", 8), ("MAX_FOLLOWERS", 7)):
        monkeypatch.setattr(personal, name, limit)
    memory.import_from(tmp_path / "other.jsonl")
    assert len(memory.words()) == 9
    assert exported(memory, tmp_path).count('"after"') == 7
    assert sum(memory.predictions(("to",)).probs.values()) <= 1 + 1e-9


GOOD_LINES = (
    '{"fedkey_personal": 1, "words_seen": 3}',
    '{"word": "Zoe", "typed": 3, "restored": 0, "last_used": "2026-01-31", "new": true, "known": true, '
    '"pinned": false, "strength": 1.5, "spellings": {"Zoe": 3}}',
    '{"after": ["", "zoe"], "word": "zoe", "strength": 0.5}',
    '{"trust": [1, 2], "used": 3.0, "unused": 7.5}',
)
BAD = [
    (0, "fedkey_personal", "1"),
    (0, "words_seen", -1),
    (0, "words_seen", None),
    (0, "words_seen", 2**52),
    (1, "word", "two words"),
    (1, "word", "\x1b[31mred"),
    (1, "word", "\ue000"),
    (1, "typed", True),
    (1, "typed", -3),
    (1, "known", 1),
    (1, "last_used", "yesterday"),
    (1, "strength", "1.5"),
    (1, "strength", 60.0),
    (1, "strength", math.inf),
    (1, "strength", -1e300),
    (1, "spellings", {"other": 3}),
    (1, "spellings", {"Zoe": 1.5}),
    (2, "after", []),
    (2, "after", ["a", "b", "c"]),
    (2, "after", ["nobody"]),
    (2, "after", [["zoe"]]),
    (2, "word", "nobody"),
    (2, "strength", math.nan),
    (2, "strength", -1e300),
    (3, "trust", [3, 0]),
    (3, "trust", [0]),
    (3, "used", 0.0),
    (3, "unused", 1e300),
]


def test_the_good_lines_are_good(memory: Personal, tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_text("\n".join(GOOD_LINES), encoding="utf-8")
    memory.import_from(tmp_path / "good.jsonl")
    assert exported(memory, tmp_path).splitlines() == list(GOOD_LINES)


@pytest.mark.parametrize(("number", "field", "value"), BAD)
def test_bad_lines_are_named_and_nothing_is_imported(
    memory: Personal, tmp_path: Path, number: int, field: str, value: object
) -> None:
    lines = [json.loads(line) for line in GOOD_LINES]
    lines[number][field] = value
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    memory.observe((), "hello")
    with pytest.raises(UserError, match=rf"bad\.jsonl:{number + 1} .* nothing was imported"):
        memory.import_from(path)
    assert [each.word for each in memory.words()] == ["hello"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot read"),
        (b"", "is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"PK\x03\x04", "no line of an exported"),
        (b"[1, 2]", "no line of an exported"),
        (b"[" * 100_000, "no line of an exported"),
        (b'{"fedkey_personal": 2, "words_seen": 1}', "newer fedkey"),
    ],
)
def test_files_that_are_no_export_are_refused(
    memory: Personal, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        memory.import_from(tmp_path / "x.jsonl")


def test_an_export_that_cannot_be_written_says_so(memory: Personal, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot write"):
        memory.export_to(tmp_path / "missing" / "export.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="Cannot write"):
        memory.export_to(tmp_path / "folder")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


# --------------------------------------------------------------------------------------- properties

WORDS = (
    "hello",
    "Zorblax",
    "the",
    "don't",
    "London",
    "I",
    "straße",
    "İstanbul",
    "teh",
    "NASA",
    "zoë",
    "covid19",
)
CONTEXT_WORDS = ("", "hello", "zorblax", "the", "london", "4711", "never")
FORGOTTEN = "Zorblax"


def lexicon_form(word: str) -> str | None:
    return word if word in ("hello", "the", "don't", "London", "I") else None


Step = Callable[[Personal], object]
Observation = Callable[[Personal, Taught], bool]


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    context = draw(st.lists(st.sampled_from(CONTEXT_WORDS), max_size=3))
    word = draw(st.sampled_from(WORDS))
    log_prob = draw(st.sampled_from([None, -0.1, -3.0, -12.0, -math.inf]))
    accepted = draw(st.booleans())
    return lambda memory, taught: memory.observe(
        context,
        word,
        model_log_prob=log_prob,
        lexicon_form=lexicon_form(word),
        accepted=accepted,
        taught=taught,
    )


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """An observation, sometimes of a word that was corrected, sometimes one that is taken back."""
    observe, taught, is_undone = draw(observations()), Taught(), draw(st.integers(0, 3)) == 0
    if draw(st.integers(0, 5)) == 0:
        word, context = draw(st.sampled_from(WORDS)), draw(st.sampled_from(CONTEXT_WORDS))
        return lambda memory: memory.keep_literal(word, (context,))
    return lambda memory: (observe(memory, taught), is_undone and memory.undo(taught))


@st.composite
def changes(draw: st.DrawFn) -> Step:
    word, other = draw(st.sampled_from(WORDS)), draw(st.sampled_from(WORDS))
    kind = draw(st.sampled_from(["learn", "forget", "edit"]))
    if kind == "edit":
        return lambda memory: memory.edit(word, other)
    return lambda memory: getattr(memory, kind)(word)


HISTORIES = st.lists(st.one_of(steps(), steps(), steps(), changes()), max_size=30)


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little that rows give way all the time, and counts fade within a test."""
    monkeypatch.setattr("fedkey.personal_ngram.HALF_LIFE", 20.0)
    for name, limit in (("MAX_WORDS", 6), ("MAX_NGRAMS", 9), ("MAX_FOLLOWERS", 3)):
        monkeypatch.setattr(personal, name, limit)


def answers(memory: Personal) -> list[object]:
    """All that can be asked of a memory."""
    contexts = [(), ("hello",), ("the", "london"), ("", "zorblax"), ("never",)]
    asked: list[object] = [memory.predictions(context) for context in contexts]
    asked += [memory.log_probs(context, WORDS).tolist() for context in contexts]
    asked += [dict(memory.known_words().words), memory.words(), [knows(memory, word) for word in WORDS]]
    return asked


@pytest.mark.usefixtures("little_room")
@FILES
@given(HISTORIES, st.lists(observations(), min_size=1, max_size=4))
def test_undo_restores_exactly_what_was_before_each(
    tmp_path: Path, history: list[Step], last: list[Observation]
) -> None:
    memory = Personal.open(None)
    for step in history:
        step(memory)
    stack = []
    for observe in last:
        before, text, taught = answers(memory), exported(memory, tmp_path), Taught()
        was_remembered = observe(memory, taught)
        assert was_remembered == (exported(memory, tmp_path) != text)
        stack.append((before, text, taught, was_remembered))
    for before, text, taught, was_remembered in reversed(stack):
        assert memory.undo(taught) == was_remembered
        assert answers(memory) == before
        assert exported(memory, tmp_path) == text
        assert not memory.undo(taught)


@pytest.mark.usefixtures("little_room")
@FILES
@given(HISTORIES, st.lists(st.sampled_from(WORDS), min_size=2, max_size=4))
def test_words_that_came_at_one_stroke_are_taken_back_at_one(
    tmp_path: Path, history: list[Step], words: list[str]
) -> None:
    memory = Personal.open(None)
    for step in history:
        step(memory)
    before, text, taught = answers(memory), exported(memory, tmp_path), Taught()
    context: tuple[str, ...] = ("never",)
    remembered = []
    for word in words:
        remembered.append(memory.observe(context, word, lexicon_form=lexicon_form(word), taught=taught))
        context = (*context, word.lower())[-2:]
    assert memory.undo(taught) == any(remembered)
    assert answers(memory) == before
    assert exported(memory, tmp_path) == text
    assert not memory.undo(taught)


@pytest.mark.usefixtures("little_room")
@FILES
@given(HISTORIES, observations(), HISTORIES)
def test_a_memory_is_in_order_after_something_older_was_taken_back(
    tmp_path: Path, history: list[Step], observe: Observation, later: list[Step]
) -> None:
    memory, taught = Personal.open(None), Taught()
    for step in history:
        step(memory)
    observe(memory, taught)
    for step in later:
        step(memory)
    memory.undo(taught)
    check_order(memory, tmp_path)


def test_an_older_word_comes_once_less_and_one_that_was_mended_once_more(memory: Personal) -> None:
    type_text(memory, "see you latr")
    before = memory.words()
    taught = Taught()
    memory.take_back(("see", "you"), "latr", taught)
    memory.observe(("see", "you"), "later", lexicon_form="later", taught=taught)
    memory.observe(("you", "later"), "then", lexicon_form="then")
    assert taught.has_mended
    assert memory.undo(taught)
    assert {each.word: each.count for each in memory.words()} == {"see": 1, "you": 1, "latr": 1, "then": 1}
    memory.take_back(("you", "later"), "then")
    assert memory.words() == before
    assert not memory.undo(taught)


def test_a_word_that_taught_nothing_takes_nothing_else_back(memory: Personal) -> None:
    memory.observe((), "hello")
    taught = Taught()
    assert not memory.observe(("hello",), "4711", taught=taught)
    assert not memory.undo(taught)
    assert [each.word for each in memory.words()] == ["hello"]


# ------------------------------------------------------------------------------------------- mending


def test_a_mistake_that_was_mended_is_as_if_it_had_never_come(memory: Personal, tmp_path: Path) -> None:
    type_text(memory, "see you later", lexicon_form=None)
    text = exported(memory, tmp_path).replace('"words_seen": 3', '"words_seen": 4')
    for _ in range(3):
        memory.observe(("see", "you"), "latre")
        assert memory.take_back(("see", "you"), "latre")
        assert not knows(memory, "latre")
    assert [each.word for each in memory.words()] == ["later", "see", "you"]
    assert "latre" not in exported(memory, tmp_path)
    assert len(exported(memory, tmp_path).splitlines()) == len(text.splitlines())
    assert not memory.take_back(("see", "you"), "latre")


def test_a_word_that_came_more_often_comes_once_less(memory: Personal) -> None:
    type_text(memory, "fill the", accepted=True)
    for before in ("fill", "the"):
        memory.observe((before,), "well", accepted=True)
        memory.observe((before,), "form")
    assert knows(memory, "form")
    assert memory.take_back(("the",), "form")
    counts = [(each.word, each.count, each.is_known) for each in memory.words()]
    assert counts == [("well", 2, True), ("fill", 1, True), ("form", 1, False), ("the", 1, True)]
    memory.observe(("", "so"), "form", lexicon_form="form")
    assert knows(memory, "form")
    # After the words where it was mended it is not expected any more.
    assert memory.log_probs(("fill",), ["form"])[0] > memory.log_probs(("the",), ["form"])[0] + 1
    memory.learn("form")
    for _ in range(3):
        memory.take_back(("", "so"), "form")
    assert knows(memory, "form")


@pytest.mark.usefixtures("little_room")
@FILES
@given(HISTORIES, st.sampled_from(WORDS))
def test_a_mended_word_and_the_one_put_for_it_are_taken_back_at_one(
    tmp_path: Path, history: list[Step], mended: str
) -> None:
    memory = Personal.open(None)
    for step in history:
        step(memory)
    before, text, taught = answers(memory), exported(memory, tmp_path), Taught()
    was_remembered = memory.take_back(("never",), mended, taught)
    assert was_remembered == any(each.word.lower() == mended.lower() for each in before[-2])  # type: ignore[attr-defined]
    assert taught.has_mended == was_remembered
    put = memory.observe(("never",), "well", lexicon_form="well", taught=taught)
    assert memory.undo(taught) == (was_remembered or put)
    assert answers(memory) == before
    assert exported(memory, tmp_path) == text


@pytest.mark.usefixtures("little_room")
@FILES
@given(HISTORIES, st.sampled_from(WORDS))
def test_a_memory_is_in_order_after_any_word_was_taken_back(
    tmp_path: Path, history: list[Step], mended: str
) -> None:
    memory = Personal.open(None)
    for step in history:
        step(memory)
    memory.take_back(("hello",), mended)
    check_order(memory, tmp_path)


def check_order(memory: Personal, tmp_path: Path) -> None:
    """Whether the sums are those of the rows, and what is held in memory is what the file says."""
    state = memory._store.state()
    assert state.num_words == len(memory.words())
    assert state.num_ngrams == memory._store.count_ngrams()
    counted = memory._store.word_strengths()
    if counted:
        assert 2.0**state.total == pytest.approx(sum(2.0**each for each in counted), rel=1e-6, abs=1e-6)
    copy = Personal.open(None)
    exported(memory, tmp_path)
    copy.import_from(tmp_path / "export.jsonl")
    assert copy.words() == memory.words()
    assert memory.known_words().words.keys() == copy.known_words().words.keys()


def test_a_word_that_is_pinned_can_be_taken_back_for_ever(memory: Personal) -> None:
    memory.learn("Zorblax")
    for _ in range(60):
        assert memory.take_back((), "zorblax")
    assert knows(memory, "zorblax")
    memory.observe((), "zorblax")
    assert memory.words()[0].worth == pytest.approx(1, rel=1e-2)


def test_a_stroke_that_another_process_wrote_into_is_taken_back_without_its_word(tmp_path: Path) -> None:
    path, taught = tmp_path / "memory", Taught()
    with contextlib.closing(Personal.open(path)) as one, contextlib.closing(Personal.open(path)) as other:
        one.observe((), "thank", lexicon_form="thank", taught=taught)
        other.observe((), "hello", lexicon_form="hello")
        one.observe(("thank",), "you", lexicon_form="you", taught=taught)
        assert one.undo(taught)
        assert {each.word for each in one.words()} == {"hello"}


@pytest.mark.usefixtures("little_room")
@FILES
@given(HISTORIES)
def test_export_and_import_round_trip_exactly(tmp_path: Path, history: list[Step]) -> None:
    memory, copy = Personal.open(None), Personal.open(None)
    for step in history:
        step(memory)
    text = exported(memory, tmp_path)
    copy.import_from(tmp_path / "export.jsonl")
    assert exported(copy, tmp_path) == text
    for one, other in zip(answers(memory), answers(copy), strict=True):
        if isinstance(one, personal.Predictions):
            assert one.weight == pytest.approx(other.weight)  # type: ignore[attr-defined]
            assert one.probs == pytest.approx(other.probs)  # type: ignore[attr-defined]
    assert answers(memory)[-3:] == answers(copy)[-3:]
    copy.import_from(tmp_path / "export.jsonl")
    assert exported(copy, tmp_path) == text


@pytest.mark.usefixtures("little_room")
@FILES
@given(
    HISTORIES, st.lists(st.sampled_from(CONTEXT_WORDS), max_size=3), st.sampled_from(["", "z", "lon", "h"])
)
def test_probabilities_sum_to_at_most_one(history: list[Step], context: list[str], prefix: str) -> None:
    memory = Personal.open(None)
    for step in history:
        step(memory)
    weight, probs = memory.predictions(context)
    assert 0 <= weight < 1
    assert all(0 <= prob <= 1 + 1e-9 for prob in probs.values())
    assert sum(probs.values()) <= 1 + 1e-9
    assert all(knows(memory, word) for word in probs)
    assert len({word.lower() for word in probs}) == len(probs)
    begun = {word: prob for word, prob in probs.items() if word.lower().startswith(prefix)}
    assert memory.predictions(context, prefix) == (weight, begun)
    words = [*WORDS, "nobody"]
    logs = memory.log_probs(context, words)
    by_key = {word.lower(): prob for word, prob in probs.items()}
    np.testing.assert_allclose(np.exp(logs), [by_key.get(word.lower(), 0.0) for word in words], atol=1e-12)


@pytest.mark.usefixtures("little_room")
@FILES
@given(HISTORIES)
def test_memory_stays_within_its_bounds(tmp_path: Path, history: list[Step]) -> None:
    memory = Personal.open(None)
    for step in history:
        step(memory)
    assert len(memory.words()) <= 6
    assert exported(memory, tmp_path).count('"after"') <= 9


@FILES
@given(HISTORIES)
def test_forgetting_leaves_no_trace(tmp_path: Path, history: list[Step]) -> None:
    path = tmp_path / "personal.sqlite"
    memory = Personal.open(path)
    memory.erase_all()
    for step in history:
        step(memory)
    before = exported(memory, tmp_path).splitlines()
    memory.forget(FORGOTTEN)
    after = exported(memory, tmp_path).splitlines()
    assert after == [line for line in before if FORGOTTEN.lower() not in line.lower()]
    for part in tmp_path.glob("personal.sqlite*"):
        assert FORGOTTEN.lower().encode() not in part.read_bytes().lower()
    memory.close()
    assert FORGOTTEN.lower().encode() not in path.read_bytes().lower()


@FILES
@given(st.lists(st.text(max_size=12), max_size=3), st.text(max_size=40), st.text(max_size=12))
def test_any_text_is_survived(context: list[str], word: str, prefix: str) -> None:
    memory = Personal.open(None)
    for _ in range(2):
        memory.observe(context, word, accepted=True)
    memory.keep_literal(word, context)
    memory.predictions(context, prefix)
    memory.log_probs(context, [word, prefix])
    memory.words(prefix)
    memory.forget(word)
    assert memory.words() == []
