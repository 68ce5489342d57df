"""What personal memory may keep, and how it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.personal_rules import (
    MIN_LETTERS_FOR_EDIT,
    SENTENCE_START,
    NearWords,
    elected,
    is_announced,
    is_inside_address,
    is_learnable,
    is_meant,
    makes_address,
    may_teach,
    num_edits,
    spelling_shown,
    with_vote,
    without_secrets,
    words_before,
)
from fedkey.text import LINK, NUMBER, PLACEHOLDERS, normalise


@pytest.mark.parametrize(
    "word", ["hello", "don't", "Zoë", "LaTeX", "iPhone", "McDonald", "NASA", "soooooo", "привет", "一", "a"]
)
def test_words_are_learnable(word: str) -> None:
    assert is_learnable(word)


SECRETS = "hunter2 2nd covid19 x² ½cup snake_case qRzTpWx me@home.org well-known \ue000 😂 '".split()


@pytest.mark.parametrize("word", ["", "two words", "a" * 33, *SECRETS])
def test_secrets_and_non_words_are_not(word: str) -> None:
    assert not is_learnable(word)


@pytest.mark.parametrize(
    "context",
    [
        "bob@",
        "to bob@example.",
        "see https://a.example/",
        "www.",
        "C:\\",
        "user_",
        "a=",
        "the 4",
        "#",
        "\ue000",
        "see https://a.example/b?",
        "bob@example.org,",
        "example.",
    ],
)
def test_what_is_glued_to_an_address_is_part_of_it(context: str) -> None:
    assert is_inside_address(context)


@pytest.mark.parametrize(
    "context",
    [
        "",
        "see ",
        "bob@example.org ",
        "well-",
        "(",
        '"',
        "see",
        "\n",
        "12 ",
        "¿",
        "'",
        "hm.\n",
        "wait...",
        "wait\u2026",
        "at 5,",
    ],
)
def test_other_places_teach(context: str) -> None:
    assert not is_inside_address(context)


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("", ("",)),
        ("see ", ("", "see")),
        ("I'll see you ", ("see", "you")),
        ("see you. ", ("",)),
        ("see you! Then ", ("", "then")),
        ("see you... then ", ("you", "then")),
        ("well, then ", ("well", "then")),
        ("how are you?\nfine ", ("", "fine")),
        ("how are you\n", ("",)),
        ("don’t ", ("", "don't")),
        ("call 123456 ", ("call", "\ue002")),
        ("so 😂 funny ", ("so", "funny")),
        ("x" * 1000 + " you ", ("x" * 251, "you")),
    ],
)
def test_words_before(context: str, expected: tuple[str, ...]) -> None:
    assert words_before(context) == expected


def test_more_words_before_stop_where_the_sentence_began() -> None:
    assert words_before("one\ntwo. Three, four five ", 3) == ("three", "four", "five")
    assert words_before("one. Two ", 3) == (SENTENCE_START, "two")


@given(st.text())
def test_any_text_has_words_before_its_end(text: str) -> None:
    assert 1 <= len(words_before(text)) <= 2
    is_inside_address(text)
    is_learnable(text)


@pytest.mark.parametrize(
    ("word", "lexicon_form", "starts_sentence", "shown"),
    [
        ("London", None, False, "London"),
        ("London", None, True, None),
        ("I", "I", True, None),
        ("iPhone", None, True, "iPhone"),
        ("NASA", None, True, "NASA"),
        ("HELLO", "hello", False, None),
        ("NASA", "NASA", False, "NASA"),
        ("I", "I", False, "I"),
        ("hello", "hello", True, "hello"),
    ],
)
def test_which_spelling_a_word_is_evidence_of(
    word: str, lexicon_form: str | None, starts_sentence: bool, shown: str | None
) -> None:
    assert spelling_shown(word, lexicon_form, starts_sentence=starts_sentence) == shown


def test_the_lexicon_outvotes_two_and_a_habit_outvotes_the_lexicon() -> None:
    votes: dict[str, int] = {}
    spellings = []
    for _ in range(3):
        votes = with_vote(votes, "london")
        spellings.append(elected(votes, current="london", newest="london", lexicon_form="London"))
    assert spellings == ["London", "London", "london"]


def test_a_new_habit_wins_within_as_many_words_as_are_remembered() -> None:
    votes: dict[str, int] = {}
    for _ in range(500):
        votes = with_vote(votes, "Mom")
    for _ in range(16):
        votes = with_vote(votes, "mom")
    assert elected(votes, current="Mom", newest="mom", lexicon_form=None) == "mom"


@pytest.mark.parametrize(
    ("typed", "word", "edits"),
    [
        ("", "anything", 0),
        ("zor", "zorblax", 0),
        ("zxr", "zorblax", 1),  # another letter
        ("zr", "zorblax", 1),  # one missing
        ("zoor", "zorblax", 1),  # one doubled
        ("ozr", "zorblax", 1),  # swapped
        ("orb", "zorblax", 1),  # the first one missing
        ("xzor", "zorblax", 1),
        ("zorblaxx", "zorblax", 1),
        ("zorblaxxx", "zorblax", None),
        ("zxxr", "zorblax", None),
        ("rxo", "zorblax", None),
        ("zorblay", "zorblax", 1),
    ],
)
def test_num_edits(typed: str, word: str, edits: int | None) -> None:
    assert num_edits(typed, word) == edits


def _all_within_one_edit(word: str, letters: str) -> set[str]:
    splits = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    return (
        {left + right[1:] for left, right in splits if right}
        | {left + letter + right for left, right in splits for letter in letters}
        | {left + letter + right[1:] for left, right in splits if right for letter in letters}
        | {left + right[1] + right[0] + right[2:] for left, right in splits if len(right) > 1}
    )


@given(st.text("abc", max_size=5), st.text("abc", max_size=6))
def test_num_edits_finds_exactly_what_one_edit_reaches(typed: str, word: str) -> None:
    reached = any(word.startswith(each) for each in _all_within_one_edit(typed, "abc"))
    expected = 0 if word.startswith(typed) else 1 if reached else None
    assert num_edits(typed, word) == expected


@given(st.sets(st.text("abc", min_size=1, max_size=6), max_size=12), st.text("abc", max_size=6), st.data())
def test_near_words_are_all_that_are_one_edit_away(words: set[str], typed: str, data: st.DataObject) -> None:
    near = NearWords()
    for word in words:
        near.add(word)
    gone = data.draw(st.sets(st.sampled_from(sorted(words)))) if words else set()
    for word in gone:
        near.remove(word)
    assert near.words == words - gone
    is_enough = len(typed) >= MIN_LETTERS_FOR_EDIT
    assert sorted(near.mistyped(typed)) == sorted(
        word for word in words - gone if is_enough and num_edits(typed, word) == 1
    )


@pytest.mark.parametrize("behind", ["@", "@home", ".c", ".com", "4", "1234", "²", *PLACEHOLDERS])
def test_what_makes_a_word_the_beginning_of_an_address(behind: str) -> None:
    assert makes_address(behind)


@pytest.mark.parametrize("behind", ["", " ", ".", ". T", "..", ".5", "/", "/or", "'s", "-", "a", " 42", "?x"])
def test_what_may_stand_behind_a_word(behind: str) -> None:
    assert not makes_address(behind)


@pytest.mark.parametrize(
    "context",
    [
        "my password is ",
        "The WiFi password for our guests is ",
        "password: correct horse ",
        "the passcode was: ",
        "so the PIN's ",
        "ok. pw = ",
        "pw:",
        "DB_PASS=",
        "my passphrase is correct horse battery ",
        "login: jane pass: ",
        "the code is ",
        "the code is XKQ",
        "key: one two ",
        "hello\nmy otp is ",
        "the key for the password is correct horse ",
    ],
)
def test_what_follows_is_announced_as_a_secret(context: str) -> None:
    assert is_announced(context)


@pytest.mark.parametrize(
    "context",
    [
        "",
        "the key is to ",
        "the code is broken and ",
        "my password is on the wall. ",
        "my password is\n",
        "I forgot my password ",
        "what is the password? ",
        "the monkey is ",
        "the keys are ",
        "nice password :) ",
        "a password island ",
        "he passed: ",
        "the bypass is ",
    ],
)
def test_what_follows_is_not(context: str) -> None:
    assert not is_announced(context)


said = st.lists(
    st.sampled_from("the my key code pin is was are : = for wifi to zorb 12 ,".split()), max_size=9
)
words_of_a_phrase = st.lists(st.text("abcxyz", min_size=1, max_size=7), min_size=1, max_size=6)


@given(
    said, st.sampled_from(["password", "PIN", "pw"]), st.sampled_from([" is", ":", " ="]), words_of_a_phrase
)
def test_no_word_of_an_announced_phrase_may_be_learned(
    before: list[str], name: str, link: str, phrase: list[str]
) -> None:
    announced = f"{' '.join(before)} {name}{link} "
    for at, word in enumerate(phrase):
        context = announced + "".join(f"{each} " for each in phrase[:at])
        assert is_announced(context + word[:1])
        assert not may_teach(context, word)
    assert not is_announced(f"{announced}{' '.join(phrase)}. ")
    learnt = without_secrets(normalise(f"{announced}{' '.join(phrase)}."))
    assert learnt.endswith(" ".join([NUMBER] * len(phrase)) + ".")


@pytest.mark.parametrize(
    ("context", "word", "behind"),
    [("b/", "home", ""), ("", "joe", "@"), ("", "swordfish", NUMBER), ("", "Zarquon", "1987"),
     ("a sk-", "abcDEF", ""), ("pw: ", "horse", "")],
)  # fmt: skip
def test_words_that_teach_nothing_where_they_stand(context: str, word: str, behind: str) -> None:
    assert not may_teach(context, word, behind)
    assert may_teach("see ", word, " now")


@pytest.mark.parametrize(
    ("message", "learnt"),
    [
        ("my password is swordfish", f"my password is {NUMBER}"),
        ("the wifi password is Zarquon1987, ok?", f"the wifi password is {NUMBER} {NUMBER}?"),
        ("pw:correct horse! Then call me", f"{NUMBER} {NUMBER}! Then call me"),
        ("the code is abc then", f"the code is {NUMBER} then"),
        ("I am zebedee@gmail or swordfish1234", f"I am {NUMBER} or {NUMBER}"),
        ("use hunter2 or sk-abcDEFghijk.", f"use {NUMBER} or {NUMBER}."),
        ("see https://a.b/c on the 4th, in the 1990s", f"see {LINK} on the 4th, in the {NUMBER}s"),
        ("a well-known key: no secret", f"a well-known key: {NUMBER} {NUMBER}"),
    ],
)  # fmt: skip
def test_what_of_a_message_may_be_trained_on(message: str, learnt: str) -> None:
    assert without_secrets(normalise(message)) == learnt
    assert without_secrets(learnt) == learnt


@given(
    st.lists(
        st.sampled_from("my key pw password is : = for . ! zorb1987 Zorb a@b.c kXqPzLmW ok".split()),
        max_size=9,
    )
)
def test_what_was_masked_stays_so(words: list[str]) -> None:
    learnt = without_secrets(normalise(" ".join(words)))
    assert normalise(learnt) == learnt == without_secrets(learnt)
    assert "zorb1" not in learnt


@pytest.mark.parametrize(
    ("typed", "put", "is_word_of_its_own"),
    [("i", "I", True), ("i", "is", False), ("Tom", "tomorrow", False), ("wrld", "world", True),
     ("", "so", False), ("form", "from", True), ("don\u2019", "don't", False), ("zor", "zor", False)],
)  # fmt: skip
def test_letters_are_meant_unless_they_began_what_was_put(
    typed: str, put: str, is_word_of_its_own: bool
) -> None:
    assert is_meant(typed, put) == is_word_of_its_own
