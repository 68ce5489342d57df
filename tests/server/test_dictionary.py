"""Right words beyond the lexicon: what lists and people have, without slips, and as the bundle gets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fedkey.errors import UserError
from fedkey.text import is_word
from fedkey_export.lexicon_arrays import read_rows
from fedkey_server import dictionary
from fedkey_server.british import IRREGULAR
from fedkey_server.config import load
from fedkey_server.current_words import CAPITALS, CURRENT_WORDS, MISSPELT, SMALL
from fedkey_server.dictionary import MIN_LETTERS, right_words
from fedkey_server.prepare import prepare
from fedkey_server.vocabulary import PUBLIC_FORMS, forms_of


@pytest.fixture(scope="module")
def words() -> set[str]:
    return set(right_words({"plausible", "tomorrow", "gif"}, "en"))


@pytest.mark.parametrize(
    "word",
    "plausibly wristband obstetrician haemoglobin tiktok adhd siobhan bff banerjee roxane clodagh".split(),
)
def test_right_words_are_in_it(words: set[str], word: str) -> None:
    assert word in words


@pytest.mark.parametrize(
    "word", ["teh", "recieve", "definately", "alot", "thankyou", "dont", "tomorow", "calender"]
)
def test_slips_are_not(words: set[str], word: str) -> None:
    assert word not in words


def test_what_the_lexicon_has_what_ends_in_s_and_what_is_short_is_left_out(words: set[str]) -> None:
    assert not {"plausible", "tomorrow", "gif"} & words
    assert not any(word.endswith("'s") for word in words)
    assert all(len(word) >= MIN_LETTERS for word in words - PUBLIC_FORMS.keys() - IRREGULAR)


def test_words_that_a_lexicon_has_are_all_that_it_takes_out(words: set[str]) -> None:
    everything = right_words(frozenset(), "en")
    assert everything == sorted(everything)
    assert set(everything) - words == {"plausible", "tomorrow", "gif"} & set(everything)
    assert right_words(words, "en") == sorted(set(everything) - words)


def test_words_of_today_are_words_once_each_and_none_is_misspelt() -> None:
    current = [word.lower() for words in (CURRENT_WORDS, CAPITALS, SMALL) for word in words]
    assert all(is_word(word) and word.isascii() for word in current)
    assert len(set(current)) == len(current)
    assert not MISSPELT & set(current)


def test_a_language_without_lists_is_a_mistake() -> None:
    with pytest.raises(UserError, match="'xx' is not a language"):
        right_words(set(), "xx")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "dictionary.txt"
    dictionary.write(["café", "plausibly", "rock'n'roll"], path)
    assert dictionary.read(path) == ["café", "plausibly", "rock'n'roll"]
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="prepare the data again"):
        dictionary.read(path)


def test_prepared_data_have_one_beyond_their_lexicon(tiny_data: Path) -> None:
    found = dictionary.read(tiny_data / dictionary.DICTIONARY)
    assert found == sorted(set(found))
    assert "wristband" in found
    assert not set(found) & forms_of(read_rows(tiny_data / "lexicon.tsv")).keys()


def test_a_folder_of_before_there_was_one_is_prepared_again(
    tiny_data: Path, tmp_path: Path, small_overrides: list[str]
) -> None:
    older = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    (older / dictionary.DICTIONARY).unlink()
    assert json.loads((older / "complete.json").read_text())
    assert prepare(load("tiny", small_overrides), older)
    for name in (dictionary.DICTIONARY, "tokenizer.model", "server.npz"):
        assert (older / name).read_bytes() == (tiny_data / name).read_bytes()
