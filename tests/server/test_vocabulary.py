"""The lexicon: which words the keyboard knows, how often they are used, how they are written."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey.errors import UserError
from fedkey.text import is_word, normalise, split
from fedkey_export.lexicon_arrays import read_rows
from fedkey_server.current_words import MISSPELT
from fedkey_server.vocabulary import (
    Entry,
    VocabularyConfig,
    build,
    count_shared_words,
    forms_of,
    write,
)

SLIPS = ("teh", "recieve", "alot", "dont", "definately", "atleast")
CONFIG = VocabularyConfig(max_words=9000)

PUBLIC = [
    *["we trust the Government of Mexico, and the Government trusts UNESCO."] * 8,
    *["so the Zorbins met in Quibbleton, where the Zorbins sang."] * 40,
    *["this government pays."] * 2,
]
CHAT = [
    "i think im right, i'm sure. i'll bring it",
    "Sandwich? Sandwich. Sandwich! it was a good sandwich",
    "do you know Pemberlyn? we like Pemberlyn a lot",
    "i love zorbins, the zorbins are cool",
    "that was GREAT, such a great and GREAT and GREAT day",
    "in march we march, every March we march with them",
    "teh teh, we recieve alot atleast and dont definately know",
    "texting about a colour in my inbox playlist, haha lol, brb",
    "our snazzlewop is the best snazzlewop",
]
"""What each of three donors types."""
ALONE = ["my wuggletoast, the wuggletoast"] * 200
"""What one of them types besides."""


def units(messages: list[str]) -> list[list[str]]:
    return [split(normalise(message)) for message in messages]


def donors() -> dict[str, list[list[str]]]:
    return {"ann": units([*CHAT, *CHAT, *ALONE]), "bob": units(CHAT * 2), "cyd": units(CHAT * 2)}


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return build(units(PUBLIC), donors(), CONFIG)


@pytest.fixture(scope="module")
def forms(entries: list[Entry]) -> dict[str, str]:
    return forms_of(entries)


# --- casing ----------------------------------------------------------------------------------------------


def test_a_capital_counts_only_inside_sentences(forms: dict[str, str]) -> None:
    assert forms["sandwich"] == "sandwich"
    assert forms["pemberlyn"] == "Pemberlyn"


def test_the_first_person_has_a_capital_however_donors_type_it(forms: dict[str, str]) -> None:
    assert [forms[word] for word in ("i", "i'm", "i'll", "i've", "i'd")] == [
        "I",
        "I'm",
        "I'll",
        "I've",
        "I'd",
    ]


def test_donors_outvote_any_amount_of_public_text(forms: dict[str, str]) -> None:
    assert forms["quibbleton"] == "Quibbleton"
    assert forms["zorbins"] == "zorbins"


def test_a_capital_that_public_text_sometimes_leaves_out_belongs_to_a_title(forms: dict[str, str]) -> None:
    assert forms["government"] == "government"
    assert forms["mexico"] == "Mexico"


def test_shouting_is_not_how_a_word_is_written_unless_nobody_writes_it_otherwise(
    entries: list[Entry], forms: dict[str, str]
) -> None:
    assert "GREAT" not in {entry.word for entry in entries}
    assert forms["unesco"] == "UNESCO"


def test_two_common_spellings_are_both_kept_with_the_main_one_first(entries: list[Entry]) -> None:
    march = [entry for entry in entries if entry.word.lower() == "march"]
    assert [entry.word for entry in march] == ["march", "March"]
    assert march[0].log_prob > march[1].log_prob


def test_names_and_holidays_have_their_capital_without_any_text() -> None:
    forms = forms_of(build([], {}, CONFIG))
    assert [forms[word] for word in ("monday", "english", "tv", "america")] == [
        "Monday",
        "English",
        "TV",
        "America",
    ]
    assert (forms["may"], forms["the"]) == ("may", "the")


# --- which words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("slip", SLIPS)
def test_slips_are_kept_out_though_public_lists_and_donors_have_them(
    forms: dict[str, str], slip: str
) -> None:
    from wordfreq import word_frequency

    assert word_frequency(slip, "en") > 0
    assert slip not in forms


def test_words_of_today_are_known_as_they_are_written_and_misspelt_ones_are_not() -> None:
    forms = forms_of(build([], {}, VocabularyConfig(max_words=60_000)))
    for word in ("TikTok", "gif", "DVD", "PhDs", "Siobhan", "vlogs", "ChatGPT"):
        assert forms[word.lower()] == word
    assert not MISSPELT & forms.keys()


def test_right_words_near_a_frequent_one_stay(forms: dict[str, str]) -> None:
    assert {"texting", "colour", "ill", "well", "its", "were", "playlist", "inbox"} <= forms.keys()


def test_chat_words_and_what_several_donors_say_are_known(forms: dict[str, str]) -> None:
    assert {"haha", "lol", "brb", "yeah", "gonna", "okay", "snazzlewop"} <= forms.keys()


def test_what_one_donor_alone_says_counts_for_nothing(forms: dict[str, str]) -> None:
    assert "wuggletoast" not in forms


def test_a_word_that_no_list_knows_must_stand_often_enough_with_others() -> None:
    often, seldom = units(["a wuggletoast"] * 3), units(["a quabbermint"] * 2)
    text = {"ann": units(["a wuggletoast, a quabbermint"] * 50), "bob": [*often, *seldom]}
    words = forms_of(build([], text, VocabularyConfig(max_words=300)))
    assert ("wuggletoast" in words, "quabbermint" in words) == (True, False)


def test_coarse_words_are_flagged_and_words_of_everyday_life_are_not(entries: list[Entry]) -> None:
    flagged = {entry.word.lower() for entry in entries if entry.is_offensive}
    assert {"shit", "fuck"} <= flagged
    ordinary = {"god", "gay", "kill", "hello", "the", "drunk"}
    assert ordinary <= {entry.word.lower() for entry in entries} - flagged


def test_every_entry_is_a_word_once_and_probabilities_fall_to_a_sum_of_one(entries: list[Entry]) -> None:
    assert len(entries) == CONFIG.max_words == len({entry.word for entry in entries})
    assert all(is_word(entry.word) for entry in entries)
    probabilities = [entry.log_prob for entry in entries]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0.999 < sum(map(math.exp, probabilities)) <= 1 + 1e-9


def test_the_same_text_gives_the_same_lexicon_in_whatever_order_donors_come(entries: list[Entry]) -> None:
    assert build(units(PUBLIC), dict(reversed(donors().items())), CONFIG) == entries


def test_a_language_without_public_lists_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"vocabulary\.language 'xx' is not a language"):
        build([], {}, VocabularyConfig(language="xx"))


WORDS = st.sampled_from(["one", "One", "two", "three"])


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.lists(WORDS, max_size=4), max_size=4)))
@settings(deadline=None)
def test_of_every_word_the_one_who_uses_it_most_is_left_out(authors: dict[str, list[list[str]]]) -> None:
    by_author = [
        Counter(word.lower() for units in messages for word in units) for messages in authors.values()
    ]
    expected = {
        word: sum(counts[word] for counts in by_author) - max(counts[word] for counts in by_author)
        for counts in by_author
        for word in counts
    }
    assert count_shared_words(authors).words == Counter({word: n for word, n in expected.items() if n})


# --- the file --------------------------------------------------------------------------------------------


LETTERS = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)


ENTRIES = st.builds(Entry, LETTERS, st.floats(-30, 0).map(lambda x: round(x, 4)), st.booleans())


@given(st.lists(ENTRIES, unique_by=lambda entry: entry.word))
@settings(deadline=None)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]) -> None:
    path = tmp_path_factory.getbasetemp() / "lexicon.tsv"
    write(entries, path)
    assert read_rows(path) == entries
