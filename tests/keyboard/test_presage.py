"""presage beside the other keyboards: what it offers where it is installed, one sentence where it is not."""

from __future__ import annotations

import ctypes
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from fedkey import presage
from fedkey.cli import SUBCOMMANDS
from fedkey.commands import EXIT_MISTAKE, run_command
from fedkey.errors import UserError
from fedkey.presage import COUNTER, LIBRARY, STOCK, Presage, count_into


def is_installed() -> bool:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return shutil.which(COUNTER) is not None and STOCK.exists()


needs_presage = pytest.mark.skipif(not is_installed(), reason="Debian's package presage is not installed")

MESSAGES = [
    "see you tomorrow",
    "see you tomorrow at the train",
    "see you later",
    "the train leaves",
    "I don't know",
    "so tomatoes it is",
]


def fedkey(*arguments: object) -> int:
    return run_command(
        "fedkey", "A keyboard.", SUBCOMMANDS, arguments=list(map(str, arguments)), default="type"
    )


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("presage") / "it's & <that>.db"
    count_into(path, MESSAGES)
    return path


# ------------------------------------------------------------------------------------------- where it is


@needs_presage
def test_what_it_was_installed_with_offers_words() -> None:
    board = Presage()
    assert board.suggest("how are ", "").words[0] == "you"
    answer = board.suggest("how are ", "th")
    assert len(answer.words) == 3
    assert all(word.startswith("th") for word in answer.words)
    assert answer.latency_ms > 0


@needs_presage
def test_a_text_is_counted_and_gone_by(database: Path) -> None:
    board = Presage(database)
    assert board.suggest("see you ", "").words[0] == "tomorrow"
    assert board.suggest("see you ", "l").words == ("later", "leaves")
    assert board.suggest("hello\nsee you ", "tom", 2).words == ("tomorrow", "tomatoes")
    assert board.suggest("see you ", "tom", 1).words == ("tomorrow",)
    assert board.suggest("see you ", "xyz").words == ()
    with sqlite3.connect(database) as counted:
        rows = counted.execute("SELECT count FROM _3_gram WHERE word_2='see' AND word='tomorrow'")
        assert rows.fetchall() == [(2,)]
    assert [path.name for path in database.parent.iterdir()] == [database.name]


@needs_presage
def test_words_are_put_together_around_apostrophes_and_digits(database: Path) -> None:
    board = Presage(database)
    assert board.suggest("I ", "don'").words[0] == "don't"
    assert board.suggest("I ", "don\u2019").words[0] == "don't"
    assert board.suggest("I don't ", "").words[0] == "know"
    # To presage "7tom" is one word, and here "tom" alone is typed.
    assert board.suggest("see you 7", "tom").words == ()
    counted = database.with_name("digits.db")
    count_into(counted, ["at 7pm sharp"])
    assert Presage(counted).suggest("at 7", "p").words == ("pm",)
    counted.unlink()


@needs_presage
def test_capitals_are_the_writers_and_the_sentences(database: Path) -> None:
    board = Presage(database)
    assert board.suggest("", "").words[0][0].isupper()
    assert board.suggest("see you ", "").words[0].islower()
    assert board.suggest("see you ", "Tomo").words == ("Tomorrow",)
    assert board.suggest("see you ", "TOMO").words == ("TOMORROW",)


@needs_presage
def test_nothing_is_learned_and_nothing_of_the_users_opened(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    before = database.read_bytes()
    board = Presage(database)
    first = board.suggest("see ", "y")
    for _ in range(20):
        board.suggest("see yesterday. see yesterday ", "")
        board.suggest("see yesterday. see yesterday. see ", "yest")
    assert board.suggest("see ", "y").words == first.words
    assert Presage(database).suggest("see ", "y").words == first.words
    assert list(tmp_path.iterdir()) == []
    assert database.read_bytes() == before


@needs_presage
def test_any_text_is_answered(database: Path) -> None:
    board = Presage(database)
    for context in ("", "\x00", "caf\u00e9 \U0001f600 ", "\ue000 ", "\ud7ff", "x " * 4000, "'", "7", "\n\n"):
        for typed in ("", "'", "caf\u00e9", "tom\x00", "\U0001f600"):
            assert len(board.suggest(context, typed).words) <= 3


@needs_presage
@pytest.mark.parametrize("content", [None, b"no database", b""])
def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"^(There is no database )?.*other\.db .*\.$"):
        Presage(path)
    assert path.exists() == (content is not None)


@needs_presage
def test_it_is_graded_by_the_same_harness(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made.db"
    common = ("eval", tiny_bundle, "--text", tiny_data / "test.jsonl", "--max-words", "40", "--json")
    common += ("--section", "words", "--section", "typing", "--engine", "unigram", "--engine", "presage")
    learned = ("--ngram-text", tiny_data / "validation.jsonl")
    answers = []
    named = ("--presage-database", made)
    for options in ((), (*named, *learned), (*named, "--processes", 2)):
        assert fedkey(*common, *options) == 0
        answers.append(json.loads(capsys.readouterr().out))
        answers[-1]["presage"].pop("latency_ms")
    stock, counted, shared = (answer["presage"] for answer in answers)
    assert list(answers[0])[2:] == ["unigram", "presage"]
    assert counted == shared
    # The made-up chat is nothing like a novel, and has few sentences.
    top_1 = [answer["recall"]["0"]["top_1"]["value"] for answer in (stock, counted, answers[0]["unigram"])]
    assert top_1[1] > max(top_1[0], top_1[2]) + 0.1
    assert counted["recall"]["0"]["words"] == answers[0]["unigram"]["recall"]["0"]["words"]
    assert list(counted["typing"]) == ["slips", "thumbs"]
    assert counted["bits_per_character"] is None

    assert fedkey(*common, *named, *learned) == EXIT_MISTAKE
    said = "--ngram-text is only for --engine ngram and for a --presage-database to be made."
    assert capsys.readouterr().err == f"fedkey: {said}\n"


# ---------------------------------------------------------------------------------------- where it is not


def test_without_the_library_one_sentence_names_the_package(
    tiny_bundle: Path,
    tiny_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(presage, "LIBRARY", "libnowhere.so.1")
    options = ("--engine", "presage", "--engine", "fedkey", "--section", "words")
    assert fedkey("eval", tiny_bundle, "--text", tiny_data / "test.jsonl", *options) == EXIT_MISTAKE
    said = "There is no libnowhere.so.1 here; install Debian's package presage."
    assert capsys.readouterr() == ("", f"fedkey: {said}\n")


def test_without_the_counter_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presage, "COUNTER", "text2nothing")
    with pytest.raises(UserError, match=r"text2nothing; install Debian's package presage\.$"):
        count_into(tmp_path / "new.db", MESSAGES)
    assert list(tmp_path.iterdir()) == []


def test_a_counter_that_fails_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presage, "COUNTER", "false")
    with pytest.raises(UserError, match=r"^false could not count into .*new\.db; .*\.$"):
        count_into(tmp_path / "new.db", MESSAGES)
    assert list(tmp_path.iterdir()) == []


def test_a_database_and_its_text_go_together(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, nothing = tiny_data / "test.jsonl", tmp_path / "nothing.db"
    for options, said in (
        (
            ("--presage-database", nothing),
            "--presage-database is only for --engine presage, which was not asked for.",
        ),
        (
            ("--engine", "presage", "--presage-database", nothing),
            f"There is no {nothing} yet; name with --ngram-text OTHER what to count for it.",
        ),
        (
            ("--engine", "presage", "--presage-database", nothing, "--ngram-text", text),
            "--ngram-text is the file that --text grades; name another one to learn from.",
        ),
        (
            ("--engine", "presage", "--ngram-text", tiny_data / "validation.jsonl"),
            "--ngram-text is only for --engine ngram and for a --presage-database to be made.",
        ),
    ):
        assert fedkey("eval", tiny_bundle, "--text", text, *options) == EXIT_MISTAKE
        assert capsys.readouterr() == ("", f"fedkey: {said}\n")
        assert not nothing.exists()
