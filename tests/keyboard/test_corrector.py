"""What a space makes of known words: capitals, apostrophes, and names that are slips of other words."""

from __future__ import annotations

import pytest

from fedkey import Engine
from fedkey.corrections import EMPHATIC, contraction_margin, may_be_corrected
from fedkey.corrector import NAME_MISTYPED
from fedkey.explanation import Verdict
from fedkey.shipped import shipped_bundle


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.open(shipped_bundle())


# --- names, typed small ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "typed", "put"),
    [
        # Names where names stand.
        ("i met ", "luke", "Luke"),
        ("we live in ", "london", "London"),
        ("turn on the ", "tv", "TV"),
        # The same kind of letters where another word does.
        ("What ", "tim", "time"),
        ("I ", "ned", "need"),
        ("can ", "yu", "you"),
        ("he speaks ", "portuguese", "Portuguese"),
        # Where either may, nothing is put, and no capital either.
        ("I ", "luke", None),
        ("so ", "mich", None),
    ],
)
def test_small_letters_are_a_name_or_a_slip_of_another_word(
    engine: Engine, context: str, typed: str, put: str | None
) -> None:
    assert engine.suggest(context, typed).autocorrect == put


def test_what_competes_with_a_name_is_told(engine: Engine) -> None:
    slip, name = engine.explain("What ", "tim"), engine.explain("i met ", "luke")
    assert (slip.verdict, slip.autocorrect, slip.min_confidence) == (Verdict.SURE, "time", NAME_MISTYPED)
    assert slip.rivals[0].text == "time"
    assert slip.rivals[0].share >= NAME_MISTYPED
    assert (name.verdict, name.autocorrect) == (Verdict.RECASED, "Luke")
    assert name.rivals[0].is_literal
    assert name.rivals[0].share > 0.5


def test_a_name_that_was_said_is_no_slip(engine: Engine) -> None:
    assert engine.suggest("Tim is late again\nWhat ", "tim").autocorrect == "Tim"


def test_whoever_typed_the_capital_meant_it(engine: Engine) -> None:
    assert engine.suggest("What ", "Tim").autocorrect is None


def test_a_name_that_is_brought_back_small_stays(engine: Engine) -> None:
    accepted = engine.accept("What ", "tim", "time")
    engine.undo(accepted)
    try:
        assert engine.suggest("What ", "tim").autocorrect is None
    finally:
        engine.forget("tim")


def test_a_word_that_is_mostly_written_small_gets_no_capital_of_a_name(engine: Engine) -> None:
    for context in ("my ", "where's my "):
        assert engine.suggest(context, "charger").autocorrect is None


# --- apostrophes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "typed", "after", "put"),
    [
        ("I think ", "its", "", "it's"),
        ("because ", "its", "", "it's"),
        ("the cat licked ", "its", "", None),
        ("then ", "lets", "", "let's"),
        ("", "lets", " go to the beach", "let's"),
        ("they ", "were", "", None),
        # Days, companies, papers.
        ("see you ", "Wed", "", None),
        ("he works at ", "Shell", "", None),
        ("do you have your ", "id", "", "ID"),
        # A capital I inside a sentence is the first person.
        ("ok ", "Ill", "", "I'll"),
        ("My order arrived and ", "Id", "", "I'd"),
    ],
)
def test_an_apostrophe_is_put_where_it_is_likelier(
    engine: Engine, context: str, typed: str, after: str, put: str | None
) -> None:
    assert engine.suggest(context, typed, after=after).autocorrect == put


def test_who_leaves_apostrophes_out_is_asked_for_more(engine: Engine) -> None:
    careful, careless = "that's fine\nI think ", "thats fine\nI think "
    assert engine.suggest(careful, "its").autocorrect == "it's"
    assert engine.suggest(careless, "its").autocorrect is None
    assert contraction_margin(careful, "its") < contraction_margin(careless, "its")
    assert contraction_margin(careful, "Id") == contraction_margin(careless, "Id")
    # Words that are others, and parts of words, tell nothing.
    for text in ("cantaloupe", "its", "ives", "I can't, he's in"):
        assert contraction_margin(f"{text} ", "its") == contraction_margin("", "its")


@pytest.mark.parametrize(
    ("context", "typed", "put"),
    [
        ("", "itd", "it'd"),
        ("", "thatd", "that'd"),
        ("he said ", "Hed", "He'd"),
        ("", "whens", "when's"),
        # Another word of the stem is likelier.
        ("i think ", "itd", None),
    ],
)
def test_a_form_without_its_apostrophe_does_not_compete_with_others_of_its_stem(
    engine: Engine, context: str, typed: str, put: str | None
) -> None:
    assert engine.suggest(context, typed).autocorrect == put
    rivals = {rival.text.lower() for rival in engine.explain(context, typed).rivals}
    assert (typed[:-1].lower() in rivals) == (put is None)


# --- emphasis --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["heyy", "noo", "Yess", "okk", "byee", "thankss"])
def test_the_last_letter_of_an_emphatic_word_may_be_doubled(engine: Engine, typed: str) -> None:
    assert typed.lower()[:-1] in EMPHATIC
    assert engine.suggest("", typed).autocorrect is None


def test_other_letters_are_doubled_by_mistake() -> None:
    assert may_be_corrected("", "hhey")
    assert may_be_corrected("", "thee")
    assert not may_be_corrected("", "heyy")


# --- keys that were held -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "put"),
    [
        # Shift.
        ("THis", "This"),
        ("DOnt", "Don't"),
        ("CAn't", "Can't"),
        ("YOure", "You're"),
        ("THier", "Their"),
        # Caps lock, and shift for the first letter.
        ("tHE", "The"),
        ("hELLO", "Hello"),
        ("dONT", "Don't"),
        ("iT'S", "It's"),
        ("eBAY", "eBay"),
        ("uSA", "USA"),
        # What is written so, or of abbreviations, or begins with one letter of its own.
        *dict.fromkeys("iOS eBay iPhone TVs IDs DMing OKed mRNA kHz UBoat VHost OAuth lOL".split()).items(),
    ],
)
def test_capitals_of_a_key_that_was_held_go(engine: Engine, typed: str, put: str | None) -> None:
    assert engine.suggest("so ", typed).autocorrect == put
    assert engine.explain("so ", typed).autocorrect == put
