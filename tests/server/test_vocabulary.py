"""The lexicon: which words the keyboard knows, how often they are used, how they are written."""

from __future__ import annotations

import lzma
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
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
    is_offensive,
    read_cased_words,
    write,
)

SLIPS = ("teh", "recieve", "alot", "dont", "definately", "atleast")
CONFIG = VocabularyConfig(max_words=9000)

PUBLIC = [
    *["We trust the Government of Mexico, and the Government trusts UNESCO."] * 8,
    *["So the Zorbins met in Quibbleton, where the Zorbins sang."] * 40,
    *["This government pays."] * 2,
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


def source(messages: list[str]) -> dict[str, list[list[str]]]:
    """A source of the server's."""
    return {"speeches": units(messages)}


def donors() -> dict[str, list[list[str]]]:
    return {"ann": units([*CHAT, *CHAT, *ALONE]), "bob": units(CHAT * 2), "cyd": units(CHAT * 2)}


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return build(source(PUBLIC), donors(), CONFIG)


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


def test_what_writers_without_capitals_write_small_says_nothing_of_them() -> None:
    public = source(["They live in Quibbleton."] * 4 + ["i live in quibbleton"] * 40)
    assert forms_of(build(public, {}, CONFIG))["quibbleton"] == "Quibbleton"


def test_how_sure_public_text_must_be_of_a_name_can_be_set() -> None:
    public = source(["We saw Quibbleton."] * 9 + ["We saw quibbleton."])
    for sure_share, form in ((0.98, "quibbleton"), (0.8, "Quibbleton")):
        config = VocabularyConfig(max_words=9000, sure_share=sure_share)
        assert forms_of(build(public, {}, config))["quibbleton"] == form


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
    forms = forms_of(build({}, {}, CONFIG))
    assert [forms[word] for word in ("monday", "english", "tv", "america")] == [
        "Monday",
        "English",
        "TV",
        "America",
    ]
    assert (forms["may"], forms["the"]) == ("may", "the")


# --- a list with capitals --------------------------------------------------------------------------------

LISTED = {
    "smith": {"Smith": 129, "smith": 80},
    "polish": {"Polish": 126, "polish": 92},
    "okay": {"OKAY": 150},
    "taiwan": {"Taiwan": 104},
    "reservoir": {"reservoir": 100},
    "curry": {"curry": 91, "Curry": 88},
    "monday": {"monday": 200},
}


def shares(public: list[str], word: str) -> dict[str, float]:
    """The spellings of a word and their shares, as `LISTED` and a text have it."""
    config = VocabularyConfig(max_words=40_000, sure_share=0.8)
    entries = [each for each in build(source(public), {}, config, LISTED) if each.word.lower() == word]
    total = sum(math.exp(each.log_prob) for each in entries)
    return {each.word: math.exp(each.log_prob) / total for each in entries}


@pytest.mark.parametrize(
    ("public", "word", "expected"),
    [
        # Names that are written so, whether text has them or leaves the capital out now and then.
        ([], "taiwan", {"Taiwan": 1.0}),
        (["In Taiwan."] * 6 + ["In taiwan."] * 4, "taiwan", {"Taiwan": 1.0}),
        ([], "smith", {"Smith": 1.0}),
        # What most of the text writes small it may write small.
        (["That is okay."] * 9, "okay", {"okay": 1.0}),
        # Words that are names too keep both.
        (["We saw Polish."] * 20, "polish", {"Polish": 0.8, "polish": 0.2}),
        # So do words that text has in names alone, and mostly small.
        (["We saw Reservoir."] * 20, "reservoir", {"reservoir": 0.55, "Reservoir": 0.45}),
        (["We saw Curry."] * 20, "curry", {"curry": 0.55, "Curry": 0.45}),
        # Other capitals than the list's are titles and jokes, and abbreviations that are words too.
        (["The CoAsTaL path, a coastal one."] * 20, "coastal", {"coastal": 1.0}),
        (["See COB, cob."] * 20, "cob", {"cob": 1.0}),
        (["We saw DeShone."] * 20, "deshone", {"DeShone": 1.0}),
        # What is fixed stays so.
        ([], "monday", {"Monday": 1.0}),
    ],
)
def test_a_list_with_capitals_tells_names_from_words(
    public: list[str], word: str, expected: dict[str, float]
) -> None:
    found = shares(public, word)
    assert found == pytest.approx(expected, abs=0.01)
    assert list(found) == list(expected)


def test_a_rare_word_of_which_one_spelling_has_room_is_written_small_if_a_list_has_it_so() -> None:
    public = source(["We saw Polish and Wuggletoast."] * 20)
    words = build(public, {}, VocabularyConfig(max_words=40_000), LISTED)
    at = next(place for place, entry in enumerate(words) if entry.word == "polish")
    assert "Polish" in [entry.word for entry in words[:at]]
    cut = {entry.word for entry in build(public, {}, VocabularyConfig(max_words=at), LISTED)}
    assert {"polish", "Polish", "Wuggletoast"} & cut == {"polish", "Wuggletoast"}


def test_names_of_people_that_a_list_with_capitals_lacks_have_their_capital_unless_nobody_writes_it() -> None:
    config = VocabularyConfig(max_words=40_000, sure_share=0.8)
    public = source(["So colleen and rahul it is."] * 9)
    forms = forms_of(build(public, {}, config, LISTED))
    assert [forms[word] for word in ("priya", "hassan", "colleen", "rahul")] == [
        "Priya",
        "Hassan",
        "colleen",
        "rahul",
    ]


def test_a_list_with_capitals_is_read_packed_or_not_and_refused_by_name(tmp_path: Path) -> None:
    text = "word\tfreq\tflags\nTurkey\t115\t\nturkey\t95\t\nlol\t3\tabbreviation\n"
    plain, packed = tmp_path / "list.tsv", tmp_path / "list.tsv.xz"
    plain.write_text(text)
    packed.write_bytes(lzma.compress(text.encode()))
    expected = {"turkey": {"Turkey": 115, "turkey": 95}, "lol": {"lol": 3}}
    assert read_cased_words(plain) == read_cased_words(packed) == expected
    for name, damaged in (("a.tsv", b"word\nTurkey\n"), ("b.tsv.xz", packed.read_bytes()[:-20])):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(UserError, match=rf"Cannot read .*{name}, which vocabulary\.cased_words names"):
            read_cased_words(tmp_path / name)


# --- which words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("slip", SLIPS)
def test_slips_are_kept_out_though_public_lists_and_donors_have_them(
    forms: dict[str, str], slip: str
) -> None:
    from wordfreq import word_frequency

    assert word_frequency(slip, "en") > 0
    assert slip not in forms


def test_words_of_today_are_known_as_they_are_written_and_misspelt_ones_are_not() -> None:
    forms = forms_of(build({}, {}, VocabularyConfig(max_words=60_000)))
    for word in ("TikTok", "gif", "DVD", "PhDs", "Siobhan", "vlogs", "ChatGPT"):
        assert forms[word.lower()] == word
    assert not MISSPELT & forms.keys()


def test_a_misspelling_is_no_name_either() -> None:
    public = source(["We went to the Univesity of Wherever."] * 9)
    forms = forms_of(build(public, {}, CONFIG))
    assert "wherever" in forms
    assert "univesity" not in forms


def test_right_words_near_a_frequent_one_stay(forms: dict[str, str]) -> None:
    assert {"texting", "colour", "ill", "well", "its", "were", "playlist", "inbox"} <= forms.keys()


def test_chat_words_and_what_several_donors_say_are_known(forms: dict[str, str]) -> None:
    assert {"haha", "lol", "brb", "yeah", "gonna", "okay", "snazzlewop"} <= forms.keys()


def test_what_one_donor_alone_says_counts_for_nothing(forms: dict[str, str]) -> None:
    assert "wuggletoast" not in forms


def test_a_word_that_no_list_knows_must_stand_often_enough_with_others() -> None:
    often, seldom = units(["a wuggletoast"] * 3), units(["a quabbermint"] * 2)
    text = {"ann": units(["a wuggletoast, a quabbermint"] * 50), "bob": [*often, *seldom]}
    words = forms_of(build({}, text, VocabularyConfig(max_words=300)))
    assert ("wuggletoast" in words, "quabbermint" in words) == (True, False)


def test_what_no_list_knows_must_stand_in_as_many_sources_as_are_asked_for() -> None:
    story = units(["So Quibbleth met uzzlebax and wuggletoast."] * 9)
    channel = units(["Ask uzzlebax. No wuggle_toast."] * 9)
    for min_sources, known in ((1, {"quibbleth", "uzzlebax", "wuggletoast"}), (2, {"uzzlebax"})):
        config = VocabularyConfig(max_words=40_000, min_sources=min_sources)
        words = forms_of(build({"story": story, "channel": channel}, {}, config))
        assert {"quibbleth", "uzzlebax", "wuggletoast", "wuggle_toast"} & words.keys() == known
        assert "met" in words


def test_coarse_words_are_flagged_and_words_of_everyday_life_are_not(entries: list[Entry]) -> None:
    flagged = {entry.word.lower() for entry in entries if entry.is_offensive}
    assert {"shit", "fuck"} <= flagged
    ordinary = {"god", "gay", "kill", "hello", "the", "drunk", "stupid", "damn", "hell", "ugly"}
    assert ordinary <= {entry.word.lower() for entry in entries} - flagged


@pytest.mark.parametrize(
    "word",
    ["asshole", "assholes", "retards", "bitchy", "shitload", "fuckkkk", "dick's", "shagged", "dipshit"],
)
def test_coarse_words_are_known_by_their_stems(word: str) -> None:
    assert is_offensive(word)


@pytest.mark.parametrize(
    "word",
    ["assess", "assessed", "spaces", "spiced", "class", "asset", "panties", "farted", "screws", "sexy"],
)
def test_a_stem_within_another_word_makes_it_no_coarse_one(word: str) -> None:
    assert not is_offensive(word)


def test_every_entry_is_a_word_once_and_probabilities_fall_to_a_sum_of_one(entries: list[Entry]) -> None:
    assert len(entries) == CONFIG.max_words == len({entry.word for entry in entries})
    assert all(is_word(entry.word) for entry in entries)
    probabilities = [entry.log_prob for entry in entries]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0.999 < sum(map(math.exp, probabilities)) <= 1 + 1e-9


def test_the_same_text_gives_the_same_lexicon_in_whatever_order_donors_come(entries: list[Entry]) -> None:
    assert build(source(PUBLIC), dict(reversed(donors().items())), CONFIG) == entries


def test_a_language_without_public_lists_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"vocabulary\.language 'xx' is not a language"):
        build({}, {}, VocabularyConfig(language="xx"))


WORDS = st.sampled_from(["one", "One", "two", "three"])


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.lists(WORDS, max_size=4), max_size=4)))
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
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]) -> None:
    path = tmp_path_factory.getbasetemp() / "lexicon.tsv"
    write(entries, path)
    assert read_rows(path) == entries
