"""What owners wish, and what becomes of the files beside their memory."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedkey import personal_store, wishes
from fedkey.departures import DEPARTURES, Departure, append_departure
from fedkey.diary import DIARY, Diary
from fedkey.personal import Personal
from fedkey.wishes import BringBack, EraseAll, Export, Forget, Import, Look, LookUp, Outcome, Respell, grant


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fedkey" / "personal.sqlite"


@pytest.fixture
def memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Personal]:
    """With three words, and a diary beside it; it does not wait long for other programs."""
    monkeypatch.setattr(personal_store, "BUSY_SECONDS", 0.05)
    memory = Personal.open(path)
    for _ in range(2):
        for context, word in ((), "meet"), (("meet",), "Zorblax"), (("meet", "zorblax"), "tomorrow"):
            memory.observe(context, word)
    Diary(path.with_name(DIARY)).add("meet Zorblax tomorrow", "one")
    Diary(path.with_name(DIARY)).add("see you", "one")
    yield memory
    memory.close()


def spellings(outcome: Outcome) -> list[str]:
    assert outcome.memory is not None
    return [each.word for each in outcome.memory.words]


def all_bytes(folder: Path) -> bytes:
    return b"".join(each.read_bytes().lower() for each in folder.iterdir())


def test_looking_shows_everything_and_changes_nothing(memory: Personal, path: Path) -> None:
    departure = Departure("2026-11-27T01:02:03+00:00", "a:1", "update", 12, 1, None)
    append_departure(path.with_name(DEPARTURES), departure)
    outcome = grant(memory, Look())
    assert (outcome.is_granted, outcome.sentence) == (True, "")
    assert spellings(outcome) == ["meet", "tomorrow", "Zorblax"]
    assert outcome.memory is not None
    assert outcome.memory.path == path
    assert outcome.memory.num_diary_words == 5
    assert outcome.memory.departures == (departure,)
    assert grant(memory, Look()) == outcome


def test_a_memory_without_a_file_has_nothing_beside_it() -> None:
    memory = Personal.open(None)
    memory.learn("Zorblax")
    outcome = grant(memory, Look())
    assert outcome.memory is not None
    assert (outcome.memory.path, outcome.memory.num_diary_words, outcome.memory.departures) == (None, 0, ())
    assert spellings(grant(memory, EraseAll())) == []


def test_forgetting_takes_a_word_out_of_every_file(memory: Personal, path: Path) -> None:
    assert b"zorblax" in all_bytes(path.parent)
    outcome = grant(memory, Forget("Zorblax"))
    assert outcome.is_granted
    assert outcome.sentence == "“Zorblax” is forgotten."
    assert b"zorblax" not in all_bytes(path.parent)
    assert spellings(outcome) == ["meet", "tomorrow"]
    assert [each.text for each in Diary(path.with_name(DIARY)).messages()] == ["see you"]
    again = grant(memory, Forget("Zorblax"))
    assert again.sentence == "“Zorblax” was forgotten meanwhile."
    assert again.remembered is None


def test_forgetting_says_where_a_word_may_still_be(path: Path) -> None:
    Personal.open(path).close()
    path.write_bytes(path.read_bytes()[:1000])
    memory = Personal.open(path)
    memory.learn("Zorblax")
    assert "set aside" in grant(memory, Forget("zorblax")).sentence
    outcome = grant(memory, EraseAll())
    assert outcome.memory is not None
    assert outcome.memory.files_set_aside == ()
    memory.close()
    assert [each.name for each in path.parent.iterdir()] == ["personal.sqlite"]


@pytest.fixture
def reader(memory: Personal, path: Path) -> Iterator[sqlite3.Connection]:
    """Another program that reads the memory, so that what is forgotten stays in its bytes."""
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM words").fetchone()
    yield reader
    reader.close()


def diary_texts(path: Path) -> list[str]:
    return [each.text for each in Diary(path.with_name(DIARY)).messages()]


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("wish", [Forget("Zorblax"), Respell("zorblax", "zorro"), EraseAll()])
def test_what_is_forgotten_leaves_the_diary_though_its_traces_stay(
    memory: Personal, path: Path, wish: wishes.Wish
) -> None:
    outcome = grant(memory, wish)
    assert not outcome.is_granted
    assert "once more" in outcome.sentence
    assert "Zorblax" not in spellings(outcome)
    assert diary_texts(path) == ([] if isinstance(wish, EraseAll) else ["see you"])


@pytest.mark.parametrize("wish", [Forget("Zorblax"), EraseAll()])
def test_what_is_to_be_forgotten_leaves_the_diary_though_the_memory_is_busy(
    memory: Personal, path: Path, reader: sqlite3.Connection, wish: wishes.Wish
) -> None:
    reader.execute("COMMIT")
    reader.execute("BEGIN IMMEDIATE")
    outcome = grant(memory, wish)
    assert not outcome.is_granted
    assert "nothing in it was changed" in outcome.sentence
    assert "Zorblax" in spellings(outcome)
    assert not any("Zorblax" in text for text in diary_texts(path))


def test_what_was_not_respelt_stays_in_the_diary(memory: Personal, path: Path) -> None:
    before = diary_texts(path)
    assert not grant(memory, Respell("Zorblax", "two words")).is_granted
    assert grant(memory, Respell("Zorblax", "zorBlax")).is_granted  # the same word
    assert grant(memory, Respell("nothing", "something")).sentence == "“nothing” was forgotten meanwhile."
    assert diary_texts(path) == before


@pytest.mark.usefixtures("reader")
def test_all_that_failed_is_told(memory: Personal, path: Path) -> None:
    path.with_name(DIARY).unlink()
    path.with_name(DIARY).mkdir()
    for wish in (Forget("Zorblax"), EraseAll()):
        sentence = grant(memory, wish).sentence
        assert "once more" in sentence
        assert "The diary" in sentence


def test_what_is_brought_back_is_as_it_was(memory: Personal) -> None:
    places = [(), ("",), ("meet",), ("", "meet"), ("meet", "zorblax"), ("zorblax",)]
    before = [memory.predictions(each) for each in places]
    listed = memory.words()
    forgotten = grant(memory, Forget("Zorblax")).remembered
    assert forgotten is not None
    assert [memory.predictions(each) for each in places] != before
    outcome = grant(memory, BringBack(forgotten))
    assert (outcome.is_granted, outcome.sentence) == (True, "“Zorblax” is remembered again.")
    assert memory.words() == listed
    for place, then in zip(places, before, strict=True):
        now = memory.predictions(place)
        assert now.weight == pytest.approx(then.weight)
        assert dict(now.probs) == pytest.approx(dict(then.probs))
    assert memory.remembered("zorblax") == forgotten


def test_bringing_back_brings_nothing_else_back(memory: Personal) -> None:
    forgotten = grant(memory, Forget("Zorblax")).remembered
    assert forgotten is not None
    grant(memory, Forget("meet"))
    memory.observe((), "zorblax")
    memory.observe((), "zorblax")
    memory.observe((), "zorblax")
    outcome = grant(memory, BringBack(forgotten))
    assert {each.word.lower(): each.count for each in memory.words()} == {"tomorrow": 2, "zorblax": 3}
    assert outcome.is_granted
    remembered = memory.remembered("zorblax")
    assert remembered is not None
    assert not any("meet" in words for words, _ in remembered.ngrams)
    assert (("zorblax",), "tomorrow") in remembered.ngrams


def test_a_word_is_looked_up_alone(memory: Personal) -> None:
    outcome = grant(memory, LookUp("zorblax"))
    assert outcome.memory is None
    assert outcome.remembered is not None
    assert [*outcome.remembered.words] == ["zorblax"]
    assert set(outcome.remembered.ngrams) == {
        (("meet",), "zorblax"), (("zorblax",), "tomorrow"), (("meet", "zorblax"), "tomorrow"),
    }  # fmt: skip
    assert grant(memory, LookUp("nothing")).remembered is None


def test_respelling_says_what_became_of_both_words(memory: Personal, path: Path) -> None:
    assert grant(memory, Respell("Zorblax", "zorBlax")).sentence == "“Zorblax” is “zorBlax” now."
    outcome = grant(memory, Respell("meet", "tomorrow"))
    assert outcome.sentence == "“meet” is “tomorrow” now, with what was remembered of both."
    assert sorted(spellings(outcome)) == ["tomorrow", "zorBlax"]
    assert b"meet" not in all_bytes(path.parent)
    outcome = grant(memory, Respell("zorBlax", "two words"))
    assert not outcome.is_granted
    assert outcome.sentence.startswith("Only single words")
    assert sorted(spellings(outcome)) == ["tomorrow", "zorBlax"]


def test_erasing_leaves_the_list_of_what_left(memory: Personal, path: Path) -> None:
    departure = Departure("2026-11-27T01:02:03+00:00", "a:1", "update", 12, 1, None)
    append_departure(path.with_name(DEPARTURES), departure)
    outcome = grant(memory, EraseAll())
    assert outcome.memory is not None
    assert (outcome.memory.words, outcome.memory.num_diary_words) == ((), 0)
    assert outcome.memory.departures == (departure,)
    for word in (b"zorblax", b"tomorrow", b"see you"):
        assert word not in all_bytes(path.parent)


def test_an_export_replaces_nothing_unless_it_is_told_to(memory: Personal, tmp_path: Path) -> None:
    place = tmp_path / "words.jsonl"
    place.write_text("mine")
    refused = grant(memory, Export(place))
    assert not refused.is_granted
    assert "exists" in refused.sentence
    assert refused.may_replace
    assert place.read_text() == "mine"
    assert grant(memory, Export(place, replaces=True)).is_granted
    assert "Zorblax" in place.read_text()
    assert place.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["personal.sqlite", "personal.sqlite-wal", "personal.sqlite.damaged-1"])
def test_an_export_never_takes_the_place_of_the_memory(memory: Personal, path: Path, name: str) -> None:
    outcome = grant(memory, Export(path.with_name(name), replaces=True))
    assert not outcome.is_granted
    assert "the memory itself" in outcome.sentence
    assert not outcome.may_replace
    assert memory.spelling("zorblax") == "Zorblax"
    memory.close()
    assert Personal.open(path).notice is None


def test_an_import_says_how_many_words_are_new(memory: Personal, tmp_path: Path) -> None:
    grant(memory, Export(tmp_path / "words.jsonl"))
    assert grant(memory, Import(tmp_path / "words.jsonl")).sentence == "Imported words.jsonl: 0 new words."
    grant(memory, Forget("zorblax"))
    outcome = grant(memory, Import(tmp_path / "words.jsonl"))
    assert outcome.sentence == "Imported words.jsonl: 1 new word."
    assert "Zorblax" in spellings(outcome)


def test_what_is_no_file_is_not_waited_for(memory: Personal, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, tmp_path / "nothing"):
        outcome = grant(memory, Import(place))
        assert not outcome.is_granted
        assert "nothing was imported" in outcome.sentence


@pytest.fixture
def unusable(tmp_path: Path) -> Iterator[list[Path]]:
    """Places where no file can be read or written, each for a reason of its own."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    names = ["x" * 300, "loop/words.jsonl", "nul\0", "half\ud800", "missing/words.jsonl"]
    yield [*(tmp_path / name for name in names), *([] if os.geteuid() == 0 else [closed / "words.jsonl"])]
    closed.chmod(0o700)


def test_a_place_that_cannot_be_used_is_told_of_and_nothing_else_happens(
    memory: Personal, unusable: list[Path]
) -> None:
    before = grant(memory, Look()).memory
    for place in unusable:
        for wish, told in (
            (Import(place), "nothing was imported"),
            (Export(place), "choose another place"),
            (Export(place, replaces=True), "choose another place"),
        ):
            outcome = grant(memory, wish)
            assert not outcome.is_granted
            assert told in outcome.sentence, (place, outcome.sentence)
            assert not outcome.may_replace
            assert outcome.memory == before


def test_an_export_into_a_folder_gets_a_name_that_nothing_has(memory: Personal, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    for number in (1, 2):
        assert f"Written to {folder}" in grant(memory, Export(folder)).sentence
        assert len([*folder.iterdir()]) == number


@pytest.mark.skipif(os.geteuid() == 0, reason="no folder is closed to root")
def test_an_export_into_a_closed_folder_is_refused(memory: Personal, unusable: list[Path]) -> None:
    outcome = grant(memory, Export(unusable[-1].parent))
    assert "choose another place" in outcome.sentence


def test_the_usual_name_of_an_export_is_one_that_nothing_has(tmp_path: Path) -> None:
    first = wishes.usual_export(tmp_path, "2026-11-27")
    assert first.name == "fedkey-words-2026-11-27.jsonl"
    first.touch()
    assert wishes.usual_export(tmp_path, "2026-11-27").name == "fedkey-words-2026-11-27-2.jsonl"
