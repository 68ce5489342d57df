"""Candidates against plain Python over the same words, and against mistakes that people make.

`python tests/keyboard/test_candidates.py BUNDLE TEXT` measures the beam: CPU milliseconds a key, and how
often the word meant is among the first candidates by cost and frequency alone.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedkey.bundle import open_bundle
from fedkey.candidates import (
    DEFAULT_ERRORS,
    LONGER_BAR,
    WIDTH,
    CandidateBeam,
    CandidateFinder,
    Candidates,
    ErrorModel,
)
from fedkey.conversations import read_conversations
from fedkey.layout import LAYOUTS, QWERTY
from fedkey.lexicon import Lexicon
from fedkey.taps import Tap, Thumbs, Touch, key_press, literal
from fedkey.text import is_word, units_with_places
from fedkey.typos import mistype
from fedkey_export.lexicon_arrays import build_arrays


def lexicon_of(words: dict[str, bool]) -> Lexicon:
    """Words, all equally frequent, and whether they offend."""
    rows = [(word, -1.0, offensive) for word, offensive in words.items()]
    return Lexicon(build_arrays(rows, lambda word: [4] * len(word)), 5)


def make(words: dict[str, bool]) -> tuple[Lexicon, CandidateFinder]:
    lexicon = lexicon_of(words)
    return lexicon, CandidateFinder(lexicon)


def beam_over(*words: str) -> CandidateBeam:
    return CandidateBeam(lexicon_of(dict.fromkeys(words, False)), QWERTY)


WORDS = st.dictionaries(st.text("abB'", min_size=1, max_size=4), st.booleans(), min_size=1, max_size=20)

# ------------------------------------------------------------------------- letters at their word


@given(words=WORDS, typed=st.text("abAB'", max_size=3))
def test_candidates_continue_the_letters_and_offend_only_when_typed_out(
    words: dict[str, bool], typed: str
) -> None:
    lexicon, finder = make(words)
    candidates = finder.find(typed)
    expected = {
        word
        for word, offensive in words.items()
        if word.lower().startswith(typed.lower()) and (not offensive or word.lower() == typed.lower())
    }
    assert {lexicon.word(index) for index in candidates.words} == expected
    assert len(candidates) == len(expected)
    assert np.all(np.diff(candidates.words) > 0)
    assert not candidates.costs.any()
    whole = {lexicon.word(index) for index in candidates.words[candidates.is_whole]}
    assert whole == {word for word in words if word.lower() == typed.lower()}


@given(st.text(max_size=6))
def test_any_text_gives_candidates_or_none(typed: str) -> None:
    _, finder = make({"hello": False, "help": False})
    expected = sum(word.startswith(typed.lower()) for word in ("hello", "help"))
    assert len(finder.find(typed)) == expected


def test_an_offensive_word_does_not_stay_offered() -> None:
    lexicon, finder = make({"damn": True, "damned": False})
    assert [lexicon.word(i) for i in finder.find("dam").words] == ["damned"]
    assert [lexicon.word(i) for i in finder.find("Damn").words] == ["damn", "damned"]
    assert [lexicon.word(i) for i in finder.find("dam").words] == ["damned"]
    assert [lexicon.word(i) for i in finder.find("").words] == ["damned"]


# ------------------------------------------------------------------- many nodes of the trie at once


@given(words=WORDS, values=st.randoms(use_true_random=False))
def test_many_nodes_at_once_are_as_one_at_a_time(words: dict[str, bool], values: object) -> None:
    lexicon = lexicon_of(words)
    nodes = np.arange(lexicon.num_nodes)[::-1]
    start, end = lexicon.word_ranges(nodes)
    assert [range(a, b) for a, b in zip(start, end, strict=True)] == [*map(lexicon.word_range, nodes)]
    owners, spelled = lexicon.words_at_each(nodes)
    expected = [(at, word) for at, node in enumerate(nodes) for word in lexicon.words_at(int(node))]
    assert [*zip(owners.tolist(), spelled.tolist(), strict=True)] == expected
    owners, children = lexicon.children(nodes)
    assert len(children) == lexicon.num_nodes - 1
    for owner, child in zip(owners, children, strict=True):
        assert lexicon.descend(int(nodes[owner]), chr(lexicon.node_chars[child])) == child
    random = np.array([values.random() for _ in range(len(lexicon))], dtype=np.float32)  # type: ignore[attr-defined]
    largest = lexicon.largest_below(random)
    assert [float(each) for each in largest[nodes]] == [
        max(float(random[word]) for word in lexicon.word_range(int(node))) for node in nodes
    ]


def test_what_the_lexicon_shows_of_its_nodes_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        lexicon_of({"a": False}).node_chars[0] = 1


# --------------------------------------------------------------------------- what a mistake costs


def press_cost(typed: str, meant: str) -> float:
    return float(Thumbs().costs(QWERTY, typed, meant)[0])


E = DEFAULT_ERRORS


@pytest.mark.parametrize(
    ("word", "typed", "cost"),
    [
        ("world", "world", 0),
        ("world", "WoRLD", 0),
        ("world", "eorld", press_cost("e", "w") + E.wrong_first),
        ("world", "wotld", press_cost("t", "r")),
        ("world", "wofld", press_cost("f", "r")),
        ("world", "woqld", E.far_key),
        ("world", "warld", E.wrong_vowel),
        ("world", "wolrd", E.transposed),
        ("world", "owrld", E.transposed),
        ("world", "worldd", E.extra_double),
        ("world", "wworld", E.extra_double),
        ("world", "worxld", E.extra),
        ("world", "worldx", E.extra),
        ("world", "xworld", E.extra + E.wrong_first),
        ("world", "wrld", E.missing),
        ("world", "worl", E.missing),
        ("world", "orld", E.missing + E.wrong_first),
        ("world", "wld", 2 * E.missing),
        ("happen", "hapen", E.missing_double),
        ("happen", "happpen", E.extra_double),
        ("will", "wil", E.missing_double),
        ("don't", "dont", E.missing_mark),
        ("I'm", "im", E.missing_mark),
        ("well-known", "wellknown", E.missing_mark),
        ("rock'n'roll", "rocknroll", 2 * E.missing_mark),
        ("don't", "do'nt", E.transposed),
        ("don't", "dony", E.missing_mark + press_cost("y", "t")),
        ("café", "cafe", E.missing_accent),
        ("cafe", "café", E.missing_accent),
        ("café", "CAFÉ", 0),
        ("naïve", "nauve", E.missing_accent + press_cost("u", "i")),
        ("22nd", "22nd", 0),
        ("world", "wprls", press_cost("p", "o") + press_cost("s", "d")),
        ("tomorrow", "tommorow", E.missing_double + E.extra_double),
        ("definitely", "definatly", E.wrong_vowel + E.missing),
    ],
)
def test_a_mistake_costs_what_the_error_model_says(word: str, typed: str, cost: float) -> None:
    candidates = beam_over(word).find(typed)
    assert len(candidates) == 1
    assert candidates.whole_costs[0] == pytest.approx(cost, abs=1e-4)
    # Whoever may go on has not necessarily left anything out.
    assert candidates.costs[0] <= candidates.whole_costs[0]


@pytest.mark.parametrize("field", [*ErrorModel.__dataclass_fields__])
def test_every_cost_is_looked_at(field: str) -> None:
    """A mistake that costs nothing, instead of something, makes one of these words cheaper."""
    typed = {
        "far_key": ("world", "woqld"), "wrong_vowel": ("world", "warld"), "transposed": ("world", "wolrd"),
        "missing": ("world", "wrld"), "missing_double": ("happen", "hapen"), "extra": ("world", "worxld"),
        "extra_double": ("happen", "happpen"), "wrong_first": ("world", "qorld"),
        "missing_mark": ("don't", "dont"), "missing_accent": ("café", "cafe"), "missing_space": ("a", "aa"),
    }  # fmt: skip
    word, letters = typed[field]
    costs = []
    for errors in (DEFAULT_ERRORS, replace(DEFAULT_ERRORS, **{field: 0.25})):
        beam = CandidateBeam(lexicon_of({word: False}), QWERTY, errors=errors)
        splits = beam.find_splits(letters).costs
        costs.append(float(splits[0] if len(splits) else beam.find(letters).whole_costs[0]))
    assert costs[1] < costs[0]


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, 101])
def test_a_cost_is_a_number_of_nats(value: float) -> None:
    with pytest.raises(ValueError, match="missing_mark"):
        ErrorModel(missing_mark=value)


def test_a_longer_word_costs_what_its_beginning_does() -> None:
    beam = beam_over("tomorrow")
    for typed, cost in (("t", 0), ("tom", 0), ("tpm", press_cost("p", "o")), ("tmor", E.missing)):
        candidates = beam.find(typed)
        assert candidates.costs[0] == pytest.approx(cost, abs=1e-5)
        assert not candidates.is_whole.any()


def test_a_rare_word_is_found_behind_its_accent_and_mark() -> None:
    rows = [("cate", -1.0, False), ("cafés", -40.0, False), ("ca'fe", -40.0, False)]
    lexicon = Lexicon(build_arrays(rows, lambda word: [4]), 5)
    found = CandidateBeam(lexicon, QWERTY).find("cafe")
    assert [lexicon.word(int(index)) for index in found.words] == ["ca'fe", "cafés", "cate"]
    costs = [E.missing_mark, E.missing_accent, press_cost("f", "t")]
    assert found.costs.tolist() == pytest.approx(costs, abs=1e-5)


def test_an_umlaut_is_its_own_key_or_its_base_letter_s() -> None:
    beam = CandidateBeam(lexicon_of({"für": False}), LAYOUTS["qwertz"])
    for typed, cost in (("für", 0), ("fur", E.missing_accent), ("fpr", press_cost("p", "o"))):
        assert beam.find(typed).whole_costs[0] == pytest.approx(cost, abs=1e-5)


def test_a_tap_beside_all_keys_is_the_closest_key() -> None:
    beam = beam_over("at", "qt")
    candidates = beam.find([Tap(-2, 0.75)])
    assert candidates.costs.tolist()[1] == 0
    assert candidates.costs.tolist()[0] > 3


def test_mistakes_are_limited() -> None:
    beam = beam_over("at", "tomorrow")
    assert len(beam.find("xx")) == 2
    assert len(beam.find("xxx")) == 0
    assert len(beam.find("txmxrrxw")) == 1
    assert len(beam.find("txmxxrxw")) == 0


# ------------------------------------------------------------------------------- any lexicon, any touch

LETTERS = "aesxt'é-B7"
LEXICA = st.dictionaries(st.text(LETTERS, min_size=1, max_size=6), st.booleans(), min_size=1, max_size=30)
TAPS = st.builds(Tap, st.floats(-1, 11), st.floats(-1, 7))
TAPPED = st.lists(st.one_of(TAPS, st.sampled_from("ae'")), max_size=6)


@given(words=LEXICA, typed=st.text(LETTERS, max_size=6))
def test_what_was_typed_is_there_as_if_nobody_mistyped(words: dict[str, bool], typed: str) -> None:
    lexicon, finder = make(words)
    exact, candidates = finder.find(typed), CandidateBeam(lexicon, QWERTY).find(typed)
    free = candidates.costs == 0
    assert np.array_equal(candidates.words[free], exact.words)
    assert np.array_equal(candidates.whole_costs[free] == 0, exact.is_whole)
    assert np.all(np.diff(candidates.words) > 0)
    assert np.all(candidates.costs <= candidates.whole_costs)
    assert candidates.costs.dtype == candidates.whole_costs.dtype == np.float32


@given(words=LEXICA, typed=st.one_of(st.text(LETTERS, max_size=8), TAPPED))
def test_a_word_that_offends_is_there_only_when_typed_out(
    words: dict[str, bool], typed: str | list[Touch]
) -> None:
    lexicon = lexicon_of(words)
    said = literal(QWERTY, typed).lower()
    for index in CandidateBeam(lexicon, QWERTY).find(typed).words:
        assert not lexicon.is_offensive(index) or lexicon.key(index) == said


def changed(word: str) -> st.SearchStrategy[tuple[str, float]]:
    """`word` with one mistake, and its cost at most."""
    mistakes = []
    for at in range(len(word)):
        first = 0 if at else E.wrong_first
        mistakes.append((word[:at] + word[at + 1 :], E.missing + first))
        mistakes += [(word[:at] + letter + word[at:], E.extra + first) for letter in LETTERS.lower()]
        mistakes += [(word[:at] + letter + word[at + 1 :], E.far_key + first) for letter in LETTERS.lower()]
        if at:
            mistakes.append((word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :], E.transposed))
    return st.sampled_from([(typed, cost) for typed, cost in mistakes if typed])


@given(st.data(), LEXICA)
def test_one_mistake_is_found_for_no_more_than_it_costs(data: st.DataObject, words: dict[str, bool]) -> None:
    lexicon = lexicon_of(dict.fromkeys(words, False))
    index = data.draw(st.sampled_from(range(len(lexicon))).filter(lambda index: len(lexicon.key(index)) > 1))
    typed, cost = data.draw(changed(lexicon.key(index)))
    candidates = CandidateBeam(lexicon, QWERTY).find(typed)
    place = np.flatnonzero(candidates.words == index)
    assert len(place) == 1
    assert candidates.whole_costs[place[0]] <= cost + 1e-4


@given(st.text(max_size=8), st.lists(st.builds(Tap, st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))))
@settings(max_examples=40)
@example("İß\N{COMBINING ACUTE ACCENT}🙂", [])
def test_nothing_that_is_touched_raises(text: str, taps: list[Tap]) -> None:
    for layout in LAYOUTS.values():
        beam = CandidateBeam(lexicon_of({"hello": False, "café": True, "I'm": False}), layout)
        for touches in (text, taps, [*text, *taps]):
            beam.find(touches)
            beam.find_splits(touches)


def test_thumbs_that_hit_everything_do_not_flood_the_beam() -> None:
    words = {a + b + c: False for a in "abcdefgh" for b in "abcdefgh" for c in "abcdefgh"}
    beam = CandidateBeam(lexicon_of(words), QWERTY, Thumbs(50, 50), replace(DEFAULT_ERRORS, far_key=0))
    candidates = beam.find("abc")
    assert len(beam._steps[-1].beam.states.nodes) <= WIDTH
    assert candidates.costs.min() == 0


def test_a_text_without_end_is_no_word_and_soon_done() -> None:
    beam = beam_over("hello")
    started = time.process_time()
    assert len(beam.find("ab" * 50_000)) == 0
    assert time.process_time() - started < 5  # it takes 0.1 s; a step for each letter would take 10


# ----------------------------------------------------------------------------- 30,000 English words


@functools.cache
def english() -> Lexicon:
    """The demo's lexicon as far as public lists alone make it."""
    from fedkey_server.vocabulary import VocabularyConfig, build

    entries = build({}, {}, VocabularyConfig(max_words=30_000))
    return Lexicon(build_arrays(entries, lambda word: [4]), 5)


@functools.cache
def english_beam() -> CandidateBeam:
    return CandidateBeam(english(), QWERTY)


def likeliest(lexicon: Lexicon, candidates: Candidates, count: int) -> list[str]:
    """The first whole words by cost and unigram frequency, in small letters, each once."""
    badness = candidates.whole_costs - lexicon.log_prob[candidates.words]
    order = np.argsort(badness, kind="stable")[: candidates.is_whole.sum()]
    return [*dict.fromkeys(lexicon.key(int(index)) for index in candidates.words[order])][:count]


GOLDEN = """
    dont don't, teh the, hapen happen, happpen happen, recieve receive, gello hello,
    adn and, taht that, becuase because, tomorow tomorrow, seperate separate, wierd weird,
    definately definitely, cant can't, wont won't, youre you're, didnt didn't, untill until,
    tommorow tomorrow, beleive believe, freind friend, thier their, wich which,
    goverment government, occured occurred, neccessary necessary, accomodate accommodate,
    wprld world, hwllo hello, jello hello, thsnks thanks, tbat that, ehat what, birday birthday,
    evebody everybody, yesteday yesterday, probaly probably, beautifull beautiful, jst just,
    knwo know, hte the, waht what, DONT don't, Recieve receive, HAPPPEN happen, i'ts it's,
    does'nt doesn't
"""


@pytest.mark.parametrize("pair", [pair.split() for pair in GOLDEN.split(",")], ids=" ".join)
def test_golden_mistakes_are_put_right_by_frequency_alone(pair: list[str]) -> None:
    typed, meant = pair
    assert likeliest(english(), english_beam().find(typed), 1) == [meant]


@pytest.mark.parametrize("word", ["cafe", "café", "hello", "don't", "Naive", "were", "ill", "its", "it's"])
def test_what_was_typed_right_costs_nothing_and_others_do(word: str) -> None:
    lexicon, candidates = english(), english_beam().find(word)
    keys = [lexicon.key(int(index)) for index in candidates.words[candidates.whole_costs == 0]]
    assert set(keys) == {word.lower()}


def test_im_is_i_am_or_in() -> None:
    """Which of the two is for the context to say; public lists hold less chat than people write."""
    assert set(likeliest(english(), english_beam().find("im"), 2)) == {"i'm", "in"}


def test_cafe_may_be_written_with_its_accent() -> None:
    lexicon, candidates = english(), english_beam().find("cafe")
    costs = dict(zip(map(lexicon.word, candidates.words.tolist()), candidates.whole_costs, strict=True))
    assert costs["café"] == pytest.approx(E.missing_accent)


@pytest.mark.parametrize(
    ("typed", "first", "second", "cost"),
    [
        ("alot", "a", "lot", E.missing_space),
        ("thankyou", "thank", "you", E.missing_space),
        ("THANKYOU", "thank", "you", E.missing_space),
        ("imhappy", "I'm", "happy", E.missing_space + E.missing_mark),
        ("dontknow", "don't", "know", E.missing_space + E.missing_mark),
        ("thankbyou", "thank", "you", press_cost("b", " ")),
    ],
)
def test_a_missing_space_is_found(typed: str, first: str, second: str, cost: float) -> None:
    splits = english_beam().find_splits(typed)
    assert (english().word(splits.first[0]), english().word(splits.second[0])) == (first, second)
    assert splits.costs[0] == pytest.approx(cost, abs=1e-5)
    taps = [key_press(key) for letter in typed if (key := QWERTY.key_for(letter))]
    tapped = english_beam().find_splits(taps)
    assert (tapped.first[0], tapped.second[0]) == (splits.first[0], splits.second[0])


@pytest.mark.parametrize("letter", QWERTY.above_space)
def test_where_only_the_letter_is_known_the_bar_lies_under_all_of_the_row_above_it(letter: str) -> None:
    lexicon, splits = english(), english_beam().find_splits(f"thank{letter}you")
    assert (lexicon.word(splits.first[0]), lexicon.word(splits.second[0])) == ("thank", "you")
    assert splits.costs[0] == pytest.approx(min(press_cost(letter, " "), LONGER_BAR), abs=1e-5)


def test_a_tap_far_from_the_bar_does_not_mean_it() -> None:
    taps = [key_press(QWERTY[letter]) for letter in "thankmyou"]
    assert len(english_beam().find_splits(taps).costs) == 0
    assert len(english_beam().find_splits("thankgyou").costs) == 0


def test_pairs_of_words_are_few_ordered_and_not_offensive() -> None:
    lexicon = lexicon_of({"damn": True, "it": False})
    beam = CandidateBeam(lexicon, QWERTY)
    first, second, _ = beam.find_splits("damnit")
    pairs = [*zip(map(lexicon.word, first.tolist()), map(lexicon.word, second.tolist()), strict=True)]
    assert pairs == [("damn", "it")]
    assert len(beam.find_splits("dmanit").costs) == 0
    assert (
        len(CandidateBeam(lexicon_of({"dämn": True, "it": False}), QWERTY).find_splits("damnit").costs) == 0
    )
    assert [len(part) for part in beam.find_splits("")] == [0, 0, 0]
    assert [len(part) for part in beam.find_splits("a")] == [0, 0, 0]
    splits = english_beam().find_splits("therein")
    badness = splits.costs - english().log_prob[splits.first] - english().log_prob[splits.second]
    assert 1 < len(splits.costs) <= 8
    assert np.all(np.diff(badness) >= 0)


def same(one: Candidates, other: Candidates) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("words", "costs", "whole_costs")
    )


KEYS = st.lists(
    st.sampled_from([*"etaonhr'x", "back", "back", "clear", Tap(4.4, 1.3), Tap(2.6, 0.9)]), max_size=12
)


@given(KEYS)
@settings(max_examples=25)
@example([*"teh", "back", "back", *"he", "clear", *"the"])
def test_answers_depend_on_the_touches_alone(keys: list[Touch]) -> None:
    kept = english_beam()
    touches: list[Touch] = []
    for key in keys:
        touches = [] if key == "clear" else touches[:-1] if key == "back" else [*touches, key]
        found = kept.find(touches)
        kept.find_splits(touches)
        assert same(found, kept.find(touches))
    assert same(kept.find(touches), CandidateBeam(english(), QWERTY).find(touches))


def test_of_a_beginning_that_was_mistyped_the_most_frequent_words_are_there() -> None:
    lexicon, candidates = english(), english_beam().find("tg")
    found = {lexicon.key(int(index)) for index in candidates.words}
    assert {"the", "that", "this", "they", "there", "think"} <= found


def test_all_words_that_continue_what_was_typed_are_there() -> None:
    finder = CandidateFinder(english())
    for typed in ("s", "re", "con", "und", "THE"):
        exact, candidates = finder.find(typed), english_beam().find(typed)
        assert np.array_equal(candidates.words[candidates.costs == 0], exact.words)
        assert len(candidates) <= len(exact) + 2048


def test_taps_tell_more_than_letters() -> None:
    """Of words that noisy thumbs get wrong, knowing where they landed finds more than knowing which keys."""
    rng, lexicon = np.random.default_rng(0), english()
    by_taps = by_letters = total = 0
    for word in drawn(lexicon, 600, rng):
        taps = Thumbs().sample(QWERTY, word, rng)
        typed = literal(QWERTY, taps)
        if typed != word and typed.isalpha():
            total += 1
            by_taps += likeliest(lexicon, english_beam().find(taps), 1) == [word]
            by_letters += likeliest(lexicon, english_beam().find(typed), 1) == [word]
    assert total > 100
    assert by_taps / total > 0.93
    assert by_taps > by_letters > 0.8 * total


def test_the_word_meant_is_among_the_first_by_frequency_alone() -> None:
    rng, lexicon = np.random.default_rng(0), english()
    pairs = [(word, mistype(word, rng).letters) for word in drawn(lexicon, 600, rng)]
    first, three, many = recall(english_beam(), lexicon, pairs)
    # Goals on words of chat: .83, .93, .99.
    assert first > 0.8
    assert three > 0.92
    assert many > 0.99


def drawn(lexicon: Lexicon, count: int, rng: np.random.Generator) -> list[str]:
    """Words of four letters and more as often as they are used."""
    keys = [lexicon.key(index) for index in range(len(lexicon))]
    is_long = np.array([len(key) > 3 and key.isalpha() for key in keys])
    shares = np.exp(lexicon.log_prob.astype(np.float64)) * is_long
    return [keys[int(index)] for index in rng.choice(len(keys), size=count, p=shares / shares.sum())]


# ------------------------------------------------------------------------------------ measuring


def recall(
    beam: CandidateBeam, lexicon: Lexicon, pairs: Sequence[tuple[str, str | Sequence[Touch]]]
) -> tuple[float, float, float]:
    """How often a word is the first, among the first 3, among the first 24 whole candidates for what was
    typed for it, by cost and unigram frequency."""
    places = []
    for word, typed in pairs:
        found = likeliest(lexicon, beam.find(typed), 24)
        places.append(found.index(word) if word in found else math.inf)
    first, three, many = (sum(place < k for place in places) / len(places) for k in (1, 3, 24))
    return first, three, many


def keystrokes(words: Sequence[str], count: int, rng: np.random.Generator) -> Iterator[str]:
    """What stands after each of `count` keys of somebody who mistypes 15 % of words."""
    for word in words:
        typed = mistype(word, rng).letters if rng.random() < 0.15 else word
        for end in range(1, len(typed) + 1):
            if count == 0:
                return
            count -= 1
            yield typed[:end]


def main(bundle_path: str, text_path: str) -> None:
    """Measures the beam on a bundle's lexicon and the words of a text."""
    bundle = open_bundle(Path(bundle_path))
    rng = np.random.default_rng(0)
    lexicon = Lexicon(bundle.lexicon_arrays(), bundle.manifest.model.vocab_size)
    started = time.process_time()
    beam = CandidateBeam(lexicon, QWERTY)
    opened = (time.process_time() - started) * 1e3
    print(f"{len(lexicon)} words, {lexicon.num_nodes} nodes: opened in {opened:.1f} ms")
    words = [
        unit.lower()
        for conversation in read_conversations(Path(text_path))
        for message, graded in zip(conversation.messages, conversation.graded, strict=True)
        if graded
        for unit, _ in units_with_places(message)
        if is_word(unit)
    ]
    for number in range(3):
        start, milliseconds = int(rng.integers(len(words))), []
        for typed in keystrokes(words[start:] + words[:start], 2000, rng):
            started = time.process_time()
            beam.find(typed)
            milliseconds.append((time.process_time() - started) * 1e3)
        p50, p90, p99 = np.percentile(milliseconds, [50, 90, 99])
        print(f"2000 keys, run {number + 1}: p50 {p50:.2f} p90 {p90:.2f} p99 {p99:.2f} ms of CPU time a key")
    forms = lexicon.forms
    known = [word for word in words if word in forms and len(word) > 1]
    chosen = [known[int(i)] for i in rng.integers(len(known), size=4000)]
    slips = [(word, mistype(word, rng).letters) for word in chosen]
    samples = [(word, Thumbs().sample(QWERTY, word, rng)) for word in chosen]
    taps = [(word, touches) for word, touches in samples if literal(QWERTY, touches) != word]
    letters = [(word, literal(QWERTY, touches)) for word, touches in taps]
    for name, pairs in (("one slip", slips), ("thumbs, letters", letters), ("thumbs, taps", taps)):
        others = [(word, typed) for word, typed in pairs if literal(QWERTY, typed).lower() not in forms]
        for kind, chosen_pairs in (("all", pairs), ("none a word", others)):
            found = " ".join(f"{share:.3f}" for share in recall(beam, lexicon, chosen_pairs))
            print(f"{name}, {kind} ({len(chosen_pairs)}): @1 @3 @24 {found}")


if __name__ == "__main__":
    main(*sys.argv[1:])
