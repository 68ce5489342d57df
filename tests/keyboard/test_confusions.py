"""Wrong words for right ones: slips that made a word, usual confusions, other words that would do."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fedkey import confusions
from fedkey.confusions import PAIR_ORDER, Confusions, slips_of
from fedkey.lexicon import Lexicon
from fedkey.ngram import Vocabulary, count
from fedkey.text import is_word
from fedkey.typos import KINDS, TRANSPOSITION, mistype
from fedkey_export.lexicon_arrays import build_arrays


def lexicon(*words: str, offensive: tuple[str, ...] = ()) -> Lexicon:
    """The first word is the most frequent."""
    rows = [(word, -1.0 - index, word in offensive) for index, word in enumerate(words)]
    return Lexicon(build_arrays(rows, lambda word: [4] * len(word)), 5)


def drawing(known: Lexicon, *messages: str) -> Confusions:
    return Confusions(known, count(messages, Vocabulary(known), PAIR_ORDER))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def drawn(draw, times: int = 400) -> Counter[str | None]:  # type: ignore[no-untyped-def]
    generator = rng()
    return Counter(draw(generator) for _ in range(times))


# --------------------------------------------------------------------------------------------------- slipped


def test_slips_are_those_that_are_typed_and_as_frequent() -> None:
    word, generator, times = "form", np.random.default_rng(3), 20_000
    typed = Counter(mistype(word, generator).letters for _ in range(times))
    weights = slips_of(word)
    assert set(typed) <= set(weights)
    total = sum(weights.values())
    for letters in ("from", "for", "forn", "fform", "dorm"):
        share = weights[letters] / total
        assert typed[letters] / times == pytest.approx(share, abs=4 * (share / times) ** 0.5)
    assert weights["from"] == pytest.approx(KINDS[TRANSPOSITION] / 3)
    # One letter is never mistyped, and a word never slips into itself.
    assert slips_of("a") == {}
    assert "look" not in slips_of("look")
    assert is_word("dont")
    assert "dont" in slips_of("don't")


def test_a_slip_is_another_usual_word_in_the_same_capitals() -> None:
    known = lexicon("from", "form", "firm", "farm", "forms", "fork", offensive=("for",))
    draws = drawing(known)
    found = drawn(lambda generator: draws.slipped("form", generator))
    # i lies beside o, k touches m; a lies elsewhere, and no key that touches m types an s.
    assert set(found) == {"from", "firm", "fork"}
    assert draws.slipped("Form", rng()) in ("From", "Firm", "Fork")
    assert draws.slipped("cat", rng()) is None


def test_offensive_and_rare_words_are_no_slips(monkeypatch: pytest.MonkeyPatch) -> None:
    known = lexicon("from", "form", "firm", offensive=("from",))
    draws = drawing(known)
    assert set(drawn(lambda generator: draws.slipped("form", generator))) == {"firm"}
    monkeypatch.setattr(confusions, "NUM_USUAL", 1)  # the offensive one has no rank
    assert draws.slipped("form", rng()) is None


def test_a_usual_confusion_is_drawn_as_often_as_a_slip() -> None:
    known = lexicon("their", "there", "they're", "thier", "them")
    draws = drawing(known)
    found = drawn(lambda generator: draws.slipped("their", generator), 2000)
    assert set(found) == {"there", "they're", "thier"}
    assert found["thier"] / 2000 == pytest.approx(0.5, abs=0.05)
    assert found["there"] / 2000 == pytest.approx(0.25, abs=0.05)
    assert drawing(lexicon("I'm", "well", "We'll")).slipped("well", rng()) == "We'll"


# ---------------------------------------------------------------------------------------------------- likely


def test_a_likely_word_follows_the_word_before_in_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusions, "NUM_LIKELY", 2)
    known = lexicon("the", "day", "time", "way", "cat", "sun")
    draws = drawing(known, *["the time"] * 6, *["the way"] * 3, "cat sun", "sun cat")
    found = drawn(lambda generator: draws.likely("by the ", "day", generator), 1000)
    assert set(found) == {"time", "way"}
    assert found["time"] > 2 * found["way"]
    assert draws.likely("by the ", "Day", rng()) in ("Time", "Way")
    # The word itself is never drawn, though it is the likeliest.
    assert "time" not in drawn(lambda generator: draws.likely("by the ", "time", generator))


def test_a_likely_word_is_about_as_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusions, "NEAR_RANKS", 1)
    known = lexicon("a", "b", "c", "d", "e", "f", "g", "h", "i")
    draws = drawing(known, "x a", "x i")
    # "d" has rank 3 from 0: those of ranks 1 to 6.
    found = drawn(lambda generator: draws.likely("x ", "d", generator), 2000)
    assert set(found) == set("bcefg")


def test_what_the_lexicon_lacks_or_flags_is_not_replaced_by_a_likely_word() -> None:
    known = lexicon("the", "day", "damn", "time", offensive=("damn",))
    draws = drawing(known, "the damn", "the time")
    assert draws.likely("the ", "zebra", rng()) is None
    assert draws.likely("the ", "damn", rng()) is None
    assert "damn" not in drawn(lambda generator: draws.likely("the ", "day", generator))


def test_one_word_costs_one_draw_whatever_comes_of_it() -> None:
    draws = drawing(lexicon("from", "form"), "from form")
    states = []
    for word in ("form", "zebra", "a"):
        generator = rng()
        draws.slipped(word, generator)
        draws.likely("", word, generator)
        states.append(generator.random())
    assert len(set(states)) == 1
