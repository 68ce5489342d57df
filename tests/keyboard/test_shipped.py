"""The bundle that comes with fedkey: small enough, opened by default, and as good on fixed text as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedkey import Engine
from fedkey.bundle import open_bundle
from fedkey.cli import SUBCOMMANDS
from fedkey.commands import run_command
from fedkey.conversations import GradedConversation
from fedkey.errors import UserError
from fedkey.shipped import shipped_bundle
from fedkey.simulate import Scores
from fedkey.workers import grade_bundle

LARGEST = 12_000_000

TALKS = (
    """hey are you coming tonight?
yeah I think so, what time does it start
around eight, but people usually show up late
cool, do you want me to bring anything
maybe some drinks, we already have too much food
sounds good, see you there""",
    """did you finish the homework for tomorrow?
not yet, I was at work until nine
same, I have no idea what the last question is even asking
I think we just have to write about the book
do you want to work on it together after class
that would be great, thank you so much""",
    """how was your trip?
it was amazing, we went to the beach almost every day
I'm so jealous, it has been raining here all week
you should come with us next year
I would love to, I just need to save some money first
don't worry about it, it wasn't that expensive""",
    """what kind of music do you like
mostly old rock, but I listen to everything
have you ever been to a concert
I went to one last summer and it was the best night of my life
I can't believe I have never been to one
we should go together sometime""",
    """I'm running a bit late, sorry
no problem, take your time
I should be there in about ten minutes
okay, I'll get us a table
can you order me a coffee please
of course, do you want anything to eat""",
)
"""Made up for this test."""


RIGHT_WORDS = """wristband plausibly obstetrician vicarious inequity saturate telecoms colour haemoglobin gif
    adhd tiktok venmo vlogs diy carbs fiance bday hangry siobhan wristband's"""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.open(shipped_bundle())


def graded(bundle: Path) -> Scores:
    talks = [tuple(talk.splitlines()) for talk in TALKS]
    conversations = [GradedConversation("nobody", talk, (True,) * len(talk)) for talk in talks]
    return grade_bundle(bundle, conversations)["nobody"]


def test_it_is_whole_and_small() -> None:
    bundle = open_bundle(shipped_bundle())
    size = sum(path.stat().st_size for path in shipped_bundle().rglob("*") if path.is_file())
    assert size <= LARGEST
    assert bundle.manifest.languages == ("en",)
    assert bundle.manifest.provenance["kind"] == "average"
    assert all(
        "as given by" not in source["licence"] for source in bundle.manifest.provenance["sources"]["text"]
    )


def test_it_predicts_as_well_as_when_it_was_shipped() -> None:
    scores = graded(shipped_bundle())
    assert scores.after_0.positions > 190
    assert scores.after_0.top_1 > 0.28
    assert scores.after_0.top_3 > 0.43
    assert scores.ideal.savings > 0.59


def test_a_phrase_goes_on_from_letters_that_are_a_word_already() -> None:
    answer = Engine.open(shipped_bundle()).suggest("i'm looking ", "forward")
    assert answer.phrase == "forward to"
    assert "forward" not in answer.words


@pytest.mark.parametrize("word", RIGHT_WORDS.split())
def test_right_words_are_left_alone_whether_or_not_they_are_offered(engine: Engine, word: str) -> None:
    assert engine.knows(word)
    autocorrect = engine.suggest("i was talking about the ", word).autocorrect
    assert autocorrect is None or autocorrect.lower() == word


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("reccomend", "recommend"),
        ("infact", "in fact"),
        ("dissapointed", "disappointed"),
        ("tiktk", "TikTok"),
    ],
)
def test_misspellings_that_lists_have_and_slips_in_words_of_today_are_seen_through(
    engine: Engine, typed: str, meant: str
) -> None:
    assert not engine.knows(typed)
    assert meant in engine.suggest("you should watch my ", typed).words


@pytest.mark.parametrize(
    ("letters", "word"),
    [
        ("stupi", "stupid"),
        ("ugl", "ugly"),
        ("pant", "panties"),
        ("stethosco", "stethoscope"),
        ("tampo", "tampon"),
    ],
)
def test_words_of_everyday_life_are_offered(engine: Engine, letters: str, word: str) -> None:
    assert word in engine.suggest("that is ", letters, 6).words


@pytest.mark.parametrize("letters", ["asshol", "retarde", "faggo", "whor", "nigg", "shitloa"])
def test_slurs_are_offered_to_nobody(engine: Engine, letters: str) -> None:
    words = engine.suggest("you ", letters, 9).words
    assert not [word for word in words if word.lower().startswith(letters)]


@pytest.mark.parametrize(
    ("context", "typed", "put"),
    [
        ("see you in ", "london", "London"),
        ("do you like ", "chinese", "Chinese"),
        ("i watched a movie about ", "nasa", "NASA"),
        ("i'm going to the ", "reservoir", None),
        # Names of people, makers and places the world over.
        ("I met ", "priya", "Priya"),
        ("talk to ", "declan", "Declan"),
        ("i live in ", "chennai", "Chennai"),
        ("get it at ", "tesco", "Tesco"),
        ("I met Dr. ", "Banerjee", None),
        ("we walked the ", "coastal", None),
        # What is a word and a name is told by what stands before it.
        ("I flew to ", "turkey", "Turkey"),
        ("we eat ", "turkey", None),
        ("in ", "march", "March"),
        ("they ", "march", None),
        ("he works at ", "apple", "Apple"),
        ("i want an ", "apple", None),
        # Addresses, links and options are written as they are typed.
        ("write to root@", "paris", None),
        ("hello @", "paris", None),
        ("it is on www.", "london", None),
        ("https://example.com/", "paris", None),
        ("see ", "http", None),
        ("then type ls -", "la", None),
        ("it is '", "tis", None),
        # So are short forms, and what nobody is offered.
        ("ok ", "dw", None),
        ("love you ", "xx", None),
        # Words without their apostrophe that are others.
        ("i can't believe ", "its", "it's"),
        ("the dog lost ", "its", None),
        ("I can't believe ", "Its", "It's"),
        ("i think ", "ill", "I'll"),
        ("he felt ", "ill", None),
        ("unfortunately ", "were", "we're"),
        ("they ", "were", None),
        ("my ", "ID", None),
        ("", "well", None),
        # Shift that was held for too long; slips that are no stretching.
        ("", "THe", "The"),
        ("i ", "THink", "Think"),
        ("my new ", "IPhone", "iPhone"),
        ("two ", "TVs", None),
        ("i'm out of ", "offfice", "office"),
        ("oh ", "yesss", None),
        ("so ", "coool", None),
    ],
)
def test_names_get_their_capital_and_words_do_not(
    engine: Engine, context: str, typed: str, put: str | None
) -> None:
    assert engine.suggest(context, typed).autocorrect == put


def test_who_names_no_bundle_types_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["complete", "--context", "see you ", "--typed", "tomorow"]
    assert run_command("fedkey", "", SUBCOMMANDS, arguments=asked, default="type") == 0
    assert json.loads(capsys.readouterr().out)["words"][0] == "tomorrow"


def test_a_language_that_was_not_packed_is_said_to_be_missing() -> None:
    with pytest.raises(UserError, match="No bundle for 'xx' came with this fedkey"):
        shipped_bundle("xx")


def test_nobody_is_offered_to_be_killed(engine: Engine) -> None:
    selves = {"myself", "yourself", "himself", "herself", "themselves"}
    offered = {word.lower() for word in engine.suggest("i want to kill ", "", k=50).words}
    assert len(offered) == 50
    assert not selves & offered
    assert selves & {word.lower() for word in engine.suggest("i want to hurt ", "", k=50).words}
    assert "myself" in engine.suggest("i want to kill ", "mysel").words
