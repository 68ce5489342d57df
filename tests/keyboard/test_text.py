"""The text rules: reversible for any Unicode, and stable under themselves."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedkey.text import (
    FLIP,
    LINK,
    MAIL,
    NAME,
    NUMBER,
    PLACEHOLDERS,
    SPECIAL_UNITS,
    capitalise,
    caret_units,
    default_gap,
    is_sentence_start,
    is_word,
    join,
    normalise,
    sentence_starts,
    split,
    split_context,
    truecase,
    truecase_units,
    units_with_places,
)

ANY = st.text(st.characters(exclude_categories=[]))
"""Surrogates, private use, unassigned: whatever a string can hold."""

CHATTY = st.lists(
    st.sampled_from("abIi19@.,:;()!?'\"-/_<>3 \n\t#$%&*’“…—é▁語😀")
    | st.sampled_from(["\u0301", "\u00ad", "\u200d", "\ufe0f", "\U0001f3fd", "\U0001f1e9", *SPECIAL_UNITS])
    | st.sampled_from(["www.", "://", "a@b.cc"])
).map("".join)
"""Dense in what the rules are about."""

TEXTS = ANY | CHATTY


# -------------------------------------------------------------------------------------------------- normalise


@given(TEXTS)
@settings(max_examples=400)
@example("@a@b")
@example("a@b.c+d@e.f")
@example("\u1fef")  # a grave accent that NFC turns into a backtick
@example("e\u00ad\u0301")  # a soft hyphen between a letter and its accent
@example("12…34")
@example("http://a@b.cc/x")
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(TEXTS)
def test_what_is_normal_holds_no_strange_characters(text: str) -> None:
    result = normalise(text)
    assert unicodedata.is_normalized("NFC", result)
    assert result == " ".join(result.split())
    assert "\n" not in result
    for character in result:
        assert unicodedata.category(character) not in ("Cc", "Cs")
        assert unicodedata.category(character) != "Co" or character in PLACEHOLDERS
    assert not set(result) & set("‘’“”…—–`´\u00ad\u200b\ufeff")


@given(st.text(st.characters(max_codepoint=127)))
def test_the_short_way_for_plain_text_is_no_other_way(text: str) -> None:
    assert normalise(text) == normalise(text + "\u200b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  two \t words\n", "two words"),
        ("non\u00a0breaking\u2003spaces\u3000", "non breaking spaces"),
        ("don’t ‘quote’ me", "don't 'quote' me"),
        ("“so” he said…", '"so" he said...'),
        ("dash—dash–dash−dash", "dash-dash-dash-dash"),
        ("cafe\u0301", "café"),
        ("soft\u00adhyphen zero\u200bwidth \ufeffbom", "softhyphen zerowidth bom"),
        ("bell\x07 escape\x1b[0m nul\x00", "bell escape[0m nul"),
        ("unit\x1fseparator", "unit separator"),
        ("broken \ud800 surrogate", "broken surrogate"),
        ("private \ue010\ue011\uf8ff use", "private use"),
        ("▁ stays", "▁ stays"),
        ("", ""),
    ],
)
def test_what_is_folded_and_dropped(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://example.org/a?b=c#d now", f"see {LINK} now"),
        ("HTTP://EXAMPLE.ORG", LINK),
        ("www.example.org/~me", LINK),
        ("www. and www... are none", "www. and www... are none"),
        ("mail me@example.org, or first.last+tag@mail.example.co.uk", f"mail {MAIL}, or {MAIL}"),
        ("me@home", "me@home"),
        ("thanks @some.one_2!", f"thanks {NAME}!"),
        ("@a", NAME),
        ("@a@b", f"{NAME}@b"),
        ("5 @ 3", "5 @ 3"),
        ("@@twice", "@@twice"),
        ("call 5551234 or 0049,30,1234", f"call {NUMBER} or {NUMBER}"),
        ("3.1415", NUMBER),
        ("in 2024", f"in {NUMBER}"),
        ("12 and 123 and 1,23", "12 and 123 and 1,23"),
        ("at 10:30", "at 10:30"),
        ("user12345", f"user{NUMBER}"),
        ("١٢٣٤", NUMBER),
        ("1…2…3…4", NUMBER),
        (f"typed {LINK} {NAME}", f"typed {LINK} {NAME}"),
    ],
)
def test_what_must_not_be_learnt_becomes_a_placeholder(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(
    st.integers(0, 10**12),
    st.sampled_from(["", "a", "語", "("]),
    st.sampled_from(["", "b", "é", ")", "%"]),
)
def test_no_number_of_four_digits_is_left(number: int, before: str, after: str) -> None:
    result = normalise(f"{before}{number}{after}")
    assert (str(number) in result) == (number < 1000)


def test_a_very_long_word_takes_no_long_time() -> None:
    """Each rule reads a text about once; one that started anew at each letter would take minutes."""
    assert normalise("語" * 200_000) == "語" * 200_000
    assert len(split("語" * 200_000)) == 1


# --------------------------------------------------------------------------------------------- split and join


@given(TEXTS)
@settings(max_examples=400)
def test_a_message_can_be_rebuilt_from_its_units(text: str) -> None:
    message = normalise(text)
    assert join(split(message)) == message


@given(TEXTS)
def test_units_are_pieces_of_the_message_in_order(text: str) -> None:
    message = normalise(text)
    units = [unit for unit in split(message) if unit != FLIP]
    assert "".join(units).replace("\ue011", "▁") == message.replace(" ", "")
    for unit, start in units_with_places(message):
        assert message.startswith(unit, start)
    assert not any(" " in unit or "▁" in unit or not unit for unit in units)


@given(TEXTS, st.sampled_from(["", " ", ",", ", and", ".", " x", "!", ")", " :)", "...", '"', f" {LINK}"]))
@example("thanks", ",")
def test_a_word_is_the_same_unit_whatever_follows(text: str, after: str) -> None:
    message = normalise(text)
    for word in filter(is_word, split(message)):
        assert next(unit for unit in split(normalise(word + after)) if unit != FLIP) == word


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("how are you?", ["how", "are", "you", "?"]),
        ("I'm fine, thanks", ["I'm", "fine", ",", "thanks"]),
        ("rock'n'roll", ["rock'n'roll"]),
        ("'tis", ["'", FLIP, "tis"]),
        ("well-known", ["well", "-", "known"]),
        ("well - known", ["well", FLIP, "-", FLIP, "known"]),
        ("so ,what", ["so", FLIP, ",", FLIP, "what"]),
        ("wait...what", ["wait", "...", FLIP, "what"]),
        ("hi :) there", ["hi", ":)", "there"]),
        ("hi:)", ["hi", FLIP, ":)"]),
        ("note: (see b)", ["note", ":", "(", "see", "b", ")"]),
        ("so :D :-P <3 ;) =]", ["so", ":D", ":-P", "<3", ";)", "=]"]),
        ("at 10:30", ["at", "10", ":", FLIP, "30"]),
        ("Dad:Don", ["Dad", ":", FLIP, "Don"]),
        ("yes!!!", ["yes", "!!!"]),
        ("5$ or $5", ["5", FLIP, "$", FLIP, "or", "$", "5"]),
        ("ok 👍👍", ["ok", "👍👍"]),
        ("ok 👍🏽!", ["ok", "👍🏽", "!"]),
        ("👩‍👩‍👧 ❤️", ["👩‍👩‍👧", "❤️"]),
        ("from 🇩🇪 to 🇫🇷🇮🇹", ["from", "🇩🇪", "to", "🇫🇷", FLIP, "🇮🇹"]),
        ("▁▁", ["\ue011\ue011"]),
        (f"see {LINK}.", ["see", LINK, "."]),
        (f"{NAME}{NAME}", [NAME, FLIP, NAME]),
        ("naïve x\u0302y", ["naïve", "x\u0302y"]),
        ("", []),
    ],
)
def test_where_messages_come_apart(message: str, expected: list[str]) -> None:
    assert normalise(message) == message
    assert split(message) == expected


@pytest.mark.parametrize(
    ("left", "right", "gap"),
    [
        ("a", "b", True), ("a", ",", False), (",", "b", True), ("a", "...", False), ("a", "?", False),
        ("(", "a", False), ("a", "(", True), ("a", ")", False), (")", "a", True), ("a", "-", False),
        ("-", "a", False), ("$", "5", False), ("5", "%", False), ("a", ":)", True), (":)", "a", True),
        ("a", "😀", True), ("a", '"', True), ("a", LINK, True), (LINK, "a", True), ("#", "a", False),
        ("'", "a", True),
    ],
)  # fmt: skip
def test_which_units_are_expected_apart(left: str, right: str, gap: bool) -> None:
    assert default_gap(left, right) is gap


@given(st.lists(st.sampled_from([FLIP, "a", "b", ",", "(", ":)", NAME]), max_size=8))
def test_stray_marks_do_no_harm(units: list[str]) -> None:
    message = join(units)
    assert message.replace(" ", "") == "".join(unit for unit in units if unit != FLIP)
    assert join(split(message)) == message


@pytest.mark.parametrize("unit", ["a", "I'm", "h8", "naïve", "語", "o'clock", "2nd", "x\u0302"])
def test_words(unit: str) -> None:
    assert is_word(unit)


@pytest.mark.parametrize(
    "unit", ["", "12", "1'2", ",", ":)", "😀", FLIP, LINK, NUMBER, "a b", "'a", "a-b", "_"]
)
def test_what_is_no_word(unit: str) -> None:
    assert not is_word(unit)


# ------------------------------------------------------------------------------------- sentences and truecase


@pytest.mark.parametrize(
    ("message", "starting"),
    [
        ("hi there", ["hi"]),
        ("hi. there", ["hi", "there"]),
        ("what?! no", ["what", "no"]),
        ("wait... what", ["wait"]),
        ("he said. (then left)", ["he", "then"]),
        ('"yes" he said', ["yes"]),
        ("ok! :) sure", ["ok"]),
        ("one, two; three: four", ["one"]),
        ("so.what", ["so", "what"]),
    ],
)
def test_which_words_start_sentences(message: str, starting: list[str]) -> None:
    units = split(message)
    starts = sentence_starts(units)
    assert len(starts) == len(units) + 1
    assert [unit for unit, start in zip(units, starts, strict=False) if start and is_word(unit)] == starting
    assert starts[-1] == is_sentence_start(units)


FORMS = {word.lower(): word for word in ("the", "London", "I", "I'm", "iPhone", "will", "US", "so", "yes")}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("The weather", "the weather"),
        ("the weather", "the weather"),
        ("London is big", "London is big"),
        ("in london", "in london"),  # small letters inside are the writer's own
        ("in The london", "in The london"),  # and so are capitals inside
        ("THE weather", "THE weather"),
        ("tHe weather", "tHe weather"),
        ("i think i'm late", "I think I'm late"),
        ("I'M LATE", "I'M LATE"),
        ("so I'M LATE", "so I'M LATE"),
        ("I'm late. I know", "I'm late. I know"),
        ("in it", "in it"),
        ("IPhone or iphone", "iPhone or iphone"),
        ("Us or us", "US or us"),
        ("Xylophones", "Xylophones"),  # nothing is known about them
        ("Yes. So! The? Will... The", "yes. so! the? will... The"),
        ('"The" (The', '"the" (The'),
        ("", ""),
    ],
)
def test_capitals_that_only_the_sentence_explains_are_taken_back(message: str, expected: str) -> None:
    assert truecase(message, FORMS) == expected


@given(TEXTS)
def test_truecasing_changes_capitals_only_and_once(text: str) -> None:
    message = normalise(text)
    once = truecase(message, FORMS)
    assert once.lower() == message.lower()
    assert truecase(once, FORMS) == once
    assert truecase(message, {}) == message
    assert len(truecase_units(split(message), FORMS)) == len(split(message))


@given(st.sampled_from(sorted(FORMS)), st.sampled_from(["", "hi. ", "no! ", "( "]))
def test_a_word_has_one_form_at_a_start_however_it_is_written(word: str, before: str) -> None:
    form = FORMS[word]
    assert truecase(before + capitalise(word), FORMS) == before + form


def test_capitalise_touches_the_first_letter_alone() -> None:
    assert [capitalise(word) for word in ("", "a", "iPhone", "élan", "語", "ß")] == [
        "", "A", "IPhone", "Élan", "語", "SS",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------- before the caret


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("", ([], "", False)),
        ("hi ", ([], "hi", True)),
        ("hi", ([], "hi", False)),
        ("how are you?\n\n  \nFine ", (["how are you?"], "Fine", True)),
        ("hi\n", (["hi"], "", False)),
        ("hi\r\nthere\t", (["hi"], "there", True)),
        ("“so”\nso…", (['"so"'], "so...", False)),
    ],
)
def test_a_context_is_messages_and_a_rest(context: str, expected: tuple[list[str], str, bool]) -> None:
    assert split_context(context) == expected


@pytest.mark.parametrize(
    ("current", "gap", "expected"),
    [
        ("", False, []),
        ("", True, []),
        ("hi", True, ["hi"]),
        ("hi", False, ["hi"]),  # two words always have a gap between them
        ("hi,", True, ["hi", ","]),
        ("hi,", False, ["hi", ",", FLIP]),
        ("(", False, ["("]),
        ("(", True, ["(", FLIP]),
        ("well-", False, ["well", "-"]),
        (":)", True, [":)"]),
        (":)", False, [":)", FLIP]),
    ],
)
def test_the_gap_before_the_caret_is_part_of_the_context(
    current: str, gap: bool, expected: list[str]
) -> None:
    assert caret_units(current, gap) == expected


@given(CHATTY, st.sampled_from(["word", "I'm", "h8"]))
def test_before_a_word_the_units_are_those_of_the_whole_message(text: str, word: str) -> None:
    """What the model sees while a word is typed is what it saw in training before that word."""
    message = normalise(f"{normalise(text)} {word}")
    units, places = split(message), units_with_places(message)
    start = places[-1][1]
    if units[-1] != word:
        return  # the word grew together with what stands before it
    before = message[:start]
    assert caret_units(normalise(before), before.endswith(" ")) == units[:-1]


@pytest.mark.parametrize(
    "text", ["a" * 300_000 + "@", "a." * 150_000 + "@b", "@" + "a" * 300_000, "a@" * 150_000]
)
def test_long_runs_of_letters_around_an_at_sign_take_no_time_worth_naming(text: str) -> None:
    # A pattern tried anew from each letter would take hours.
    assert len(normalise(text)) <= len(text)
