"""The conversation's prior against its formula, written out with dictionaries, and as the engine uses it."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey import Engine
from fedkey import conversation as module
from fedkey.conversation import (
    CHARACTERS_BACK,
    ENOUGH,
    ENTRIES_BACK,
    HALF_LIFE,
    PAIRS_SHARE,
    RARE,
    WORDS_SHARE,
    Conversation,
)
from fedkey.lexicon import Lexicon
from fedkey_export.lexicon_arrays import build_arrays

WORDS = {"the": 0.5, "see": 0.3, "US": 0.04, "us": 0.15988, "zeta": 1e-4, "omega": 2e-5}
LEXICON = Lexicon(
    build_arrays([(word, float(np.log(share)), False) for word, share in WORDS.items()], lambda word: (0,)), 1
)
USUAL = np.exp(LEXICON.log_prob).astype(np.float32)
ORDER = [LEXICON.word(index) for index in range(len(LEXICON))]


def told(context: str) -> dict[str, float]:
    """Each word's probability after a context."""
    return dict(zip(ORDER, Conversation(LEXICON).probs(context, USUAL).tolist(), strict=True))


def by_hand(messages: list[list[str]]) -> dict[str, float]:
    """The formula; the last message is the one being written, "." ends a sentence. The lexicon lacks
    "unheard"."""
    said = [unit for message in messages for unit in (*message, ".")][:-1]
    ages = [(unit, 0.5 ** ((len(said) - 1 - at) / HALF_LIFE)) for at, unit in enumerate(said)]
    likely = {word: float(share) for word, share in zip(ORDER, USUAL, strict=True)} | {"unheard": 0.0}

    def mixed(counts: Counter[str], share: float) -> None:
        for word in likely:
            likely[word] = (1 - share) * likely[word] + share * counts[word] / counts.total()

    words: Counter[str] = Counter()
    for unit, fading in ages[:-1]:
        if unit != ".":
            words[unit] += fading * min(1.0, RARE / WORDS.get(unit, RARE))
    if words.total():
        mixed(words, WORDS_SHARE * min(1.0, words.total() / ENOUGH))
    pairs: Counter[str] = Counter()
    for (before, _), (unit, fading) in pairwise(ages):
        if said[-1] in WORDS and before == said[-1] and unit != ".":
            pairs[unit] += fading
    if pairs.total():
        mixed(pairs, PAIRS_SHARE * pairs.total() / (pairs.total() + 1))
    return likely


MESSAGES = st.lists(
    st.lists(st.sampled_from(["the", "see", "us", "zeta", "omega", "unheard", "."]), min_size=1, max_size=30),
    min_size=1,
    max_size=6,
)


@given(MESSAGES)
def test_it_is_its_formula_and_sums_to_one(messages: list[list[str]]) -> None:
    *earlier, last = messages
    context = "".join(f"{' '.join(each)}\n" for each in earlier) + " ".join(last) + " "
    new = {word: math.exp(prob) for word, prob in Conversation(LEXICON).new_words(context, "").items()}
    found = {"unheard": 0.0} | told(context) | new
    assert found == pytest.approx(by_hand(messages), rel=1e-4)
    assert sum(found.values()) == pytest.approx(1, rel=1e-4)


def test_before_anything_is_said_words_are_as_likely_as_anywhere() -> None:
    for context in ("", "\n", "   ", "... !!! ", "12 https://a.b/c \U0001f600 "):
        assert np.array_equal(Conversation(LEXICON).probs(context, USUAL), USUAL), context


def test_what_was_said_is_likelier_and_a_rare_word_by_more() -> None:
    usual = dict(zip(ORDER, USUAL.tolist(), strict=True))
    found = told("see zeta\nthe ")
    assert found["zeta"] > 100 * usual["zeta"]
    assert found["see"] < 1.1 * usual["see"]
    assert found["omega"] < usual["omega"]


def test_the_last_word_is_expected_again_only_if_it_came_twice_in_a_row() -> None:
    once, again = told("see the zeta "), told("see the zeta the ")
    assert once["zeta"] < USUAL[ORDER.index("zeta")] < again["zeta"]
    assert told("zeta zeta\nzeta ")["zeta"] > again["zeta"]
    said = Conversation(LEXICON).new_words
    assert said("an unheard ", "unh") == {}
    assert said("an unheard the ", "unh").keys() == {"unheard"}


def test_what_followed_the_last_word_follows_it_again() -> None:
    once, twice = told("the omega\nthe "), told("the omega\nthe omega\nthe ")
    assert 0.2 < once["omega"] < twice["omega"] < PAIRS_SHARE + WORDS_SHARE
    assert told("the omega\nsee ")["omega"] < 0.05


def test_a_sentence_ends_where_messages_and_full_stops_do() -> None:
    apart = told("the zeta. omega zeta\nsee ")
    for context in ("the. zeta omega zeta\nthe ", "the\nzeta omega zeta\nthe ", "the! zeta omega zeta\nthe "):
        assert told(context)["zeta"] == pytest.approx(apart["zeta"], rel=0.1), context
    assert told("the, zeta omega zeta\nthe ")["zeta"] > 3 * apart["zeta"]


def test_capitals_and_what_is_glued_to_a_word_do_not_matter() -> None:
    plain = told("see zeta\nsee ")
    for context in ("See ZETA\nsee ", '"see" (zeta)\nsee ', "see   zeta \n see ", "see zeta,\nsee,  "):
        assert told(context) == pytest.approx(plain), context


def test_what_was_said_long_ago_is_forgotten_and_half_a_word_is_none() -> None:
    filler = "see " * ENTRIES_BACK
    assert told(f"zeta {filler}")["zeta"] < USUAL[ORDER.index("zeta")]
    assert told(f"zeta\n{filler}\n{filler}")["zeta"] < USUAL[ORDER.index("zeta")]
    # The cut goes through "zeta": "eta" is no word of these, "us" of "zeus" would be one.
    glued = "us" * CHARACTERS_BACK
    assert told(f"{glued} the ") == pytest.approx(told("the "), rel=0.01)


def test_new_words_are_those_that_the_letters_begin_as_they_were_written_last() -> None:
    said = Conversation(LEXICON).new_words
    context = "I like VULFPECK, and vulfmon. see Vulfpeck\nthe zeta of "
    assert said(context, "vu").keys() == {"Vulfpeck", "vulfmon"}
    assert said(context, "VULFP").keys() == {"Vulfpeck"}
    assert said(context, "vulfpecker") == said(context, "zet") == said("", "v") == {}
    assert said(context, "vu")["Vulfpeck"] > said(context, "vu")["vulfmon"] + 0.5
    assert said(f"{context}see ", "vulf")["Vulfpeck"] > math.log(0.2)


def test_secrets_are_no_new_words() -> None:
    context = "my password is hUnTeR2xYz or a_b_c or passw0rd1 https://vulfpeck.com vulf@peck.com "
    assert Conversation(LEXICON).new_words(context, "").keys() == {"my", "password", "is", "or"}


def test_answers_do_not_depend_on_what_was_read_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOKENS_KEPT", 2)
    contexts = ["see zeta\nthe ", "the omega. see ", "us, zeta see the ", "see zeta\nthe "]
    warm = Conversation(LEXICON)
    for context in contexts:
        cold = Conversation(LEXICON).probs(context, USUAL)
        assert np.array_equal(warm.probs(context, USUAL), cold)
    assert np.array_equal(USUAL, np.exp(LEXICON.log_prob))


def test_a_name_that_was_just_said_comes_up_sooner(tiny_bundle: Path) -> None:
    """In the engine: a rare word of several pieces, by its first letters."""
    engine = Engine.open(tiny_bundle)
    lexicon = engine.lexicon
    rare = [
        lexicon.word(number)
        for number in range(len(lexicon))
        if len(lexicon.word(number)) > 7 and lexicon.log_prob[number] < np.log(1e-4)
    ]
    rng = np.random.default_rng(0)
    sooner = later = 0
    for word in rng.choice(rare, size=min(30, len(rare)), replace=False).tolist():
        ranks = [_rank(engine, context, word) for context in (f"what about {word}?\ni like ", "i like ")]
        sooner += ranks[0] < ranks[1]
        later += ranks[0] > ranks[1]
    assert sooner > 5
    assert later == 0


def test_the_keyboard_offers_a_name_that_no_lexicon_has(tiny_bundle: Path) -> None:
    engine = Engine.open(tiny_bundle)
    assert "qwortzel" not in engine.lexicon.forms
    context = "have you heard of Qwortzel?\nno, who is "
    assert engine.suggest(context, "qwo").words[0] == "Qwortzel"
    assert engine.suggest(context, "Qwo", private=True).words[0] == "Qwortzel"
    assert "Qwortzel" not in engine.suggest("no, who is ", "qwo").words
    assert "Qwortzel" not in engine.suggest(context, "").words
    assert engine.suggest(context, "qwortzel").autocorrect is None
    explained = {each.word: each for each in engine.explain(context, "qwo").words}
    assert explained["Qwortzel"].model_log_prob is explained["Qwortzel"].personal_log_prob is None
    assert explained["Qwortzel"].score == pytest.approx(engine.suggest(context, "qwo").log_probs[0])
    assert not engine.knows("Qwortzel")


def _rank(engine: Engine, context: str, word: str) -> Any:
    shown = [each.lower() for each in engine.suggest(context, word[:2].lower(), k=8).words]
    return shown.index(word.lower()) if word.lower() in shown else len(shown)


def test_shares_of_what_was_said_are_those_that_are_mixed_in() -> None:
    said = Conversation(LEXICON).said("the zeta, the zeta and see omega unheard\nthe ")
    nothing = np.zeros(len(LEXICON), dtype=np.float32)
    for counts in (said.words, said.followers):
        assert counts.share > 0
        shares = counts.shares().of(np.arange(len(LEXICON)))
        # A word that the lexicon lacks has its part, too.
        assert 0 < float(shares.sum()) <= 1 + 1e-6
        assert counts.mixed(nothing) == pytest.approx(counts.share * shares)
    assert said.num_words_here == 1
    alone = Conversation(LEXICON).said("")
    assert alone.words.shares().of(np.arange(len(LEXICON))).tolist() == nothing.tolist()
