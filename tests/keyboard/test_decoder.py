"""The decoder against brute force: a model that is a table, where every probability can be written down."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey import decoder as decoder_module
from fedkey.candidates import CandidateFinder, Candidates
from fedkey.decoder import (
    BATCH_WORDS,
    DOUBT,
    MAX_BATCHES,
    MAX_TREE_NODES,
    PRIOR_WEIGHT,
    SHARE_WEIGHT,
    WEIGHED_WORDS,
    Decoder,
    Habits,
    PieceTree,
)
from fedkey.lexicon import Lexicon
from fedkey.mixture import NO_SHARES, PLACE_INPUTS, WORD_INPUTS, Evidence, Mixture
from fedkey_export.lexicon_arrays import build_arrays

NUM_LETTERS = 4
LETTERS = "abcd"
VOCAB = 2 * NUM_LETTERS
"""Piece i is letter i inside a word, piece i + 4 the same letter at the end of one."""


def spell(word: str) -> tuple[int, ...]:
    inner = [LETTERS.index(letter) for letter in word.lower()]
    return (*inner[:-1], inner[-1] + NUM_LETTERS)


class TableModel:
    """A bigram model: what follows a piece depends on that piece alone. Counts its runs."""

    tree_room = 100

    def __init__(self, rng: np.random.Generator, vocab_size: int = VOCAB) -> None:
        logits = 2 * rng.normal(size=(vocab_size + 1, vocab_size))
        self.table = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
        self.runs: list[tuple[int, int]] = []

    def first(self) -> np.ndarray:
        return self.table[-1]

    def score_tree(
        self, cache: None, pieces: np.ndarray, parents: np.ndarray, nodes: np.ndarray, asked: np.ndarray
    ) -> np.ndarray:
        assert all(-1 <= parent < at for at, parent in enumerate(parents.tolist()))
        self.runs.append((len(pieces), len(asked)))
        return self.table[pieces[nodes], asked]

    def log_prob(self, word: str) -> float:
        pieces = spell(word)
        chain = pairwise(pieces)
        return float(self.first()[pieces[0]] + sum(self.table[a, b] for a, b in chain))


def make(words: dict[str, float], offensive: frozenset[str] = frozenset()) -> Lexicon:
    rows = [(word, log_prob, word in offensive) for word, log_prob in words.items()]
    return Lexicon(build_arrays(rows, spell), VOCAB)


def usual(lexicon: Lexicon) -> Evidence:
    """A prior that knows frequencies alone."""
    return anywhere(np.exp(np.asarray(lexicon.log_prob, dtype=np.float32)))


def anywhere(probs: np.ndarray) -> Evidence:
    """What says so of words wherever they stand."""
    return Evidence(probs, probs, probs, NO_SHARES, NO_SHARES, 0.0, 0.0, 0)


def mixed(log_prob: float, prior: float) -> float:
    return float(np.log((1 - PRIOR_WEIGHT) * np.exp(log_prob) + PRIOR_WEIGHT * np.exp(prior)))


def worth(model: TableModel, word: str, words: dict[str, float]) -> float:
    """What a word is worth: the model's opinion and that of its frequency; of several pieces, blended with
    what it was taken for before."""
    known = mixed(model.log_prob(word), words[word])
    if len(spell(word)) == 1:
        return known
    weight = float(SHARE_WEIGHT)
    return (1 - weight) * known + weight * estimated(model, word, words)


def estimated(model: TableModel, word: str, words: dict[str, float]) -> float:
    """What a word of several pieces is taken for before it is scored: its share of its first piece, and what
    its frequency is worth."""
    first = [np.exp(words[other]) for other in words if spell(other)[0] == spell(word)[0]]
    share = words[word] - float(np.log(sum(first)))
    return mixed(float(model.first()[spell(word)[0]]) + share, words[word])


WORDS = st.dictionaries(
    st.text(LETTERS, min_size=1, max_size=3), st.floats(-12, -1), min_size=1, max_size=BATCH_WORDS
)
"""So few that one batch holds them all."""


@given(words=WORDS, seed=st.integers(0, 2**32 - 1), typed=st.text(LETTERS, max_size=2), k=st.integers(1, 5))
def test_few_candidates_are_ranked_as_if_each_word_were_scored_alone(
    words: dict[str, float], seed: int, typed: str, k: int
) -> None:
    lexicon, model = make(words), TableModel(np.random.default_rng(seed))
    scores = Decoder(lexicon, model).begin(None, model.first(), usual(lexicon))
    found = scores.best(CandidateFinder(lexicon).find(typed), k)
    truth = {word: worth(model, word, words) for word in words if word.startswith(typed)}
    shown = {lexicon.word(entry.word): entry.log_prob for entry in found}
    assert len(shown) == min(k, len(truth))
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    assert shown == pytest.approx({word: truth[word] for word in shown}, abs=1e-4)
    # What was missed looked much worse than it is.
    for word in truth.keys() - shown.keys():
        if truth[word] > min(shown.values()) + 1e-4:
            assert estimated(model, word, words) <= min(shown.values()) - DOUBT + 1e-4


@given(
    words=WORDS,
    seed=st.integers(0, 2**32 - 1),
    weight=st.just(0.0) | st.floats(0.01, 0.9),
    habit=st.dictionaries(st.integers(0, BATCH_WORDS - 1), st.floats(0.01, 1), max_size=5),
)
def test_habits_are_mixed_in_word_by_word(
    words: dict[str, float], seed: int, weight: float, habit: dict[int, float]
) -> None:
    """p = (1 - weight) p_model + weight p_habit, where `Habits` has the second term."""
    lexicon, model = make(words), TableModel(np.random.default_rng(seed))
    known = {word: weight * p / sum(habit.values()) for word, p in habit.items() if word < len(words)}
    known = {word: p for word, p in sorted(known.items()) if p > 0}
    numbers = np.array(list(known), dtype=np.int64)
    habits = Habits(weight, numbers, np.log(np.array(list(known.values()), dtype=np.float32)))
    scores = Decoder(lexicon, model).begin(None, model.first(), usual(lexicon))
    found = scores.best(CandidateFinder(lexicon).find(""), len(words), habits)
    assert len(found) == len(words)
    for entry in found:
        by_model = np.exp(worth(model, lexicon.word(entry.word), words))
        mixed = (1 - weight) * by_model + known.get(entry.word, 0.0)
        assert entry.log_prob == pytest.approx(np.log(mixed), abs=1e-4)
    ascending = np.arange(len(words))
    by_number = {entry.word: entry.log_prob for entry in found}
    assert scores.log_probs(ascending, habits).tolist() == pytest.approx(
        [by_number[w] for w in range(len(words))]
    )


@given(seed=st.integers(0, 2**32 - 1), keys=st.lists(st.sampled_from([*LETTERS, "back"]), max_size=8))
def test_what_an_earlier_key_scored_changes_no_answer(seed: int, keys: list[str]) -> None:
    rng = np.random.default_rng(seed)
    words = {"".join(rng.choice(list(LETTERS), size=rng.integers(1, 5))): -3.0 for _ in range(40)}
    lexicon, model = make(words), TableModel(rng)
    decoder, finder = Decoder(lexicon, model), CandidateFinder(lexicon)
    warm = decoder.begin(None, model.first(), usual(lexicon))
    typed = ""
    for key in keys:
        typed = typed[:-1] if key == "back" else typed + key
        warm_answer = warm.best(finder.find(typed), 3)
        cold_answer = decoder.begin(None, model.first(), usual(lexicon)).best(finder.find(typed), 3)
        for a, b in zip(warm_answer, cold_answer, strict=True):
            assert a == b


def test_a_run_is_small_however_many_words_there_are() -> None:
    rng = np.random.default_rng(3)
    words = {"".join(rng.choice(list(LETTERS), size=6)): float(rng.uniform(-9, -3)) for _ in range(2000)}
    lexicon, model = make(words), TableModel(rng)
    found = (
        Decoder(lexicon, model)
        .begin(None, model.first(), usual(lexicon))
        .best(CandidateFinder(lexicon).find(""), 3)
    )
    assert len(found) == 3
    assert all(1 <= nodes <= MAX_TREE_NODES for nodes, _ in model.runs)
    assert sum(asked for _, asked in model.runs) <= MAX_BATCHES * BATCH_WORDS * 5


@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 4),
    share_of_singles=st.sampled_from([0.0, 0.2, 0.9]),
    weight=st.sampled_from([0.0, 0.4]),
    block=st.sampled_from([1, 8]),
)
@settings(max_examples=60)
def test_of_many_candidates_a_glance_leaves_out_none_that_matters(
    seed: int, k: int, share_of_singles: float, weight: float, block: int
) -> None:
    rng = np.random.default_rng(seed)
    names = sorted({"".join(rng.choice(list(LETTERS), size=6)) for _ in range(400)})
    is_single = rng.random(len(names)) < share_of_singles
    paths = {
        name: (50 + place,) if single else tuple(rng.integers(0, 50, size=2).tolist())
        for place, (name, single) in enumerate(zip(names, is_single, strict=True))
    }
    rows = [(name, float(rng.uniform(-12, -3)), False) for name in names]
    lexicon = Lexicon(build_arrays(rows, paths.__getitem__), 50 + len(names))
    model = TableModel(rng, 50 + len(names))
    words = np.flatnonzero(rng.random(len(names)) < 0.95)
    costs = rng.uniform(0, 2, size=len(words)).astype(np.float32)
    candidates = Candidates(words, costs, costs)
    numbers = np.sort(rng.choice(len(names), size=5, replace=False))
    habits = Habits(weight, numbers, np.log(rng.uniform(0.001, weight + 0.01, size=5)).astype(np.float32))
    decoder = Decoder(lexicon, model)

    answers, num_looked_at = [], []
    with pytest.MonkeyPatch.context() as patch:
        distinct = decoder_module.WordScores._distinct
        patch.setattr(
            decoder_module.WordScores,
            "_distinct",
            lambda self, words, *rest: (num_looked_at.append(len(words)), distinct(self, words, *rest))[1],
        )
        patch.setattr(decoder_module, "BLOCK_WORDS", block)
        patch.setattr(decoder_module, "FORMS_PER_KEY", 1)  # no two of the words have the same letters
        for many in (0, len(names)):
            patch.setattr(decoder_module, "MANY_WORDS", many)
            answers.append(decoder.begin(None, model.first(), usual(lexicon)).best(candidates, k, habits))
    assert answers[0] == answers[1]
    assert num_looked_at[-1] == len(words)
    if share_of_singles > 0.5:
        assert num_looked_at[0] < len(words) / 2


def by_frequency(weight: float) -> Mixture:
    """Adds `weight` times how many nats a word is more frequent than e^-12."""
    by_word = np.zeros((1, len(WORD_INPUTS)), dtype=np.float32)
    by_word[0, WORD_INPUTS.index("usual")] = 1
    place, unit = np.zeros((1, len(PLACE_INPUTS)), dtype=np.float32), np.ones(1, dtype=np.float32)
    return Mixture(by_word, place, 12 * unit, np.float32(weight) * unit, 0.0)


@given(words=WORDS, seed=st.integers(0, 2**32 - 1), weight=st.floats(-0.5, 0.2))
def test_a_mixture_adds_to_each_word_before_habits_do(
    words: dict[str, float], seed: int, weight: float
) -> None:
    lexicon, model = make(words), TableModel(np.random.default_rng(seed))
    habits = Habits(0.3, np.array([0]), np.log(np.array([0.3], dtype=np.float32)))
    scores = Decoder(lexicon, model, by_frequency(weight)).begin(None, model.first(), usual(lexicon))
    candidates = CandidateFinder(lexicon).find("")
    found = {each.word: each.log_prob for each in scores.best(candidates, len(words))}
    expected = {}
    for number in range(len(words)):
        word = lexicon.word(number)
        expected[number] = min(0.0, worth(model, word, words) + weight * (12 + words[word]))
    assert found == pytest.approx(expected, abs=1e-3)
    every = np.arange(len(words))
    assert scores.log_probs(every).tolist() == pytest.approx([found[each] for each in every], abs=1e-4)
    mixed = [0.7 * math.exp(expected[each]) + 0.3 * (each == 0) for each in every]
    known = {each.word: each.log_prob for each in scores.best(candidates, len(words), habits)}
    assert [known[each] for each in every] == pytest.approx(np.log(mixed).tolist(), abs=1e-3)


def test_a_mixture_is_asked_about_the_likeliest_words_and_the_owners() -> None:
    rng = np.random.default_rng(5)
    words = {"".join(rng.choice(list(LETTERS), size=6)): float(rng.uniform(-12, -3)) for _ in range(300)}
    lexicon, model = make(words), TableModel(rng)
    asked: list[int] = []

    class Counting(Mixture):
        def shift(self, by_word: np.ndarray, by_place: np.ndarray) -> np.ndarray:
            asked.append(len(by_word))
            return super().shift(by_word, by_place)

    network = by_frequency(0.0)
    counting = Counting(network.by_word, network.by_place, network.bias, network.out, 0.0)
    habits = Habits(0.3, np.array([7]), np.log(np.array([0.3], dtype=np.float32)))
    candidates = CandidateFinder(lexicon).find("")
    scores = Decoder(lexicon, model, counting).begin(None, model.first(), usual(lexicon))
    best = scores.best(candidates, 3, habits)
    assert best[0].word == 7
    assert WEIGHED_WORDS <= asked[0] <= WEIGHED_WORDS + 1
    # A network that adds nothing changes nothing, as far as it was asked.
    plain = Decoder(lexicon, model).begin(None, model.first(), usual(lexicon))
    assert best == plain.best(candidates, 3, habits)


def test_contenders_are_told_apart_from_what_a_mixture_makes_of_them() -> None:
    rng = np.random.default_rng(6)
    words = {"".join(rng.choice(list(LETTERS), size=4)): float(rng.uniform(-12, -3)) for _ in range(30)}
    lexicon, model = make(words), TableModel(rng)
    plain = Decoder(lexicon, model).begin(None, model.first(), usual(lexicon))
    mixed = Decoder(lexicon, model, by_frequency(0.4)).begin(None, model.first(), usual(lexicon))
    every = np.arange(len(lexicon))
    for scores in (plain, mixed):
        found = scores.contenders(every, 10)
        assert found.log_probs.tolist() == sorted(plain.log_probs(found.words).tolist(), reverse=True)
        shift = by_frequency(0.4).shift(found.by_word, found.by_place)
        expected = np.minimum(found.log_probs + shift, 0)
        ascending = np.argsort(found.words)
        known = mixed.log_probs(found.words[ascending])
        assert known.tolist() == pytest.approx(expected[ascending].tolist(), abs=1e-5)


def test_a_second_look_needs_no_model() -> None:
    lexicon, model = make({"abc": -2.0, "abd": -2.0, "b": -3.0}), TableModel(np.random.default_rng(0))
    scores = Decoder(lexicon, model).begin(None, model.first(), usual(lexicon))
    candidates = CandidateFinder(lexicon).find("")
    first = scores.best(candidates, 3)
    num_runs = len(model.runs)
    assert scores.best(candidates, 3) == first
    assert len(model.runs) == num_runs


def test_words_of_one_piece_need_no_model() -> None:
    lexicon, model = make({"a": -1.0, "b": -2.0, "c": -3.0}), TableModel(np.random.default_rng(0))
    found = (
        Decoder(lexicon, model)
        .begin(None, model.first(), usual(lexicon))
        .best(CandidateFinder(lexicon).find(""), 3)
    )
    assert {lexicon.word(entry.word) for entry in found} == {"a", "b", "c"}
    assert model.runs == []


def test_of_one_word_in_two_heights_the_better_is_shown() -> None:
    lexicon, model = make({"ab": -2.0, "AB": -9.0, "b": -3.0}), TableModel(np.random.default_rng(0))
    found = (
        Decoder(lexicon, model)
        .begin(None, model.first(), usual(lexicon))
        .best(CandidateFinder(lexicon).find(""), 3)
    )
    assert sorted(lexicon.word(entry.word).lower() for entry in found) == ["ab", "b"]


def test_the_tree_shares_beginnings_and_asks_each_question_once() -> None:
    tree = PieceTree()
    assert tree.add((1, 2, 3), 8) == [0, 1]
    assert tree.add((1, 2, 4), 8) == [0, 2]
    assert tree.add((5, 6), 8) == [3]
    pieces, parents, nodes, asked = (array.tolist() for array in tree.arrays())
    assert (pieces, parents) == ([1, 2, 5], [-1, 0, -1])
    assert (nodes, asked) == ([0, 1, 1, 2], [2, 3, 4, 6])


def test_a_word_that_does_not_fit_leaves_no_trace() -> None:
    tree = PieceTree()
    assert tree.add((1, 2), 2) == [0]
    assert tree.add((3, 4, 5), 2) is None
    assert tree.add((3, 4), 2) == [1]
    assert tree.arrays()[0].tolist() == [1, 3]


def test_a_word_that_the_model_never_met_is_worth_a_part_of_its_frequency() -> None:
    lexicon, model = make({"ab": -1.0, "b": -9.0}), TableModel(np.random.default_rng(0))
    model.table[:, :] = -40.0
    scores = Decoder(lexicon, model).begin(None, model.first(), usual(lexicon))
    found = scores.best(CandidateFinder(lexicon).find(""), 2)
    least = float(np.log(PRIOR_WEIGHT))
    assert [entry.log_prob for entry in found] == pytest.approx([least - 1.0, least - 9.0], abs=1e-4)


def test_what_usually_follows_is_worth_the_same_part_of_its_prior() -> None:
    lexicon, model = make({"ab": -1.0, "b": -9.0}), TableModel(np.random.default_rng(0))
    model.table[:, :] = -40.0
    prior = anywhere(np.exp(np.array([-8.0, -0.5], dtype=np.float32)))
    found = (
        Decoder(lexicon, model).begin(None, model.first(), prior).best(CandidateFinder(lexicon).find(""), 2)
    )
    least = float(np.log(PRIOR_WEIGHT))
    assert [lexicon.word(entry.word) for entry in found] == ["b", "ab"]
    assert [entry.log_prob for entry in found] == pytest.approx([least - 0.5, least - 8.0], abs=1e-4)


def test_a_model_without_room_for_trees_still_offers_single_pieces() -> None:
    lexicon, model = make({"abc": -1.0, "b": -3.0}), TableModel(np.random.default_rng(0))
    model.tree_room = 1
    found = (
        Decoder(lexicon, model)
        .begin(None, model.first(), usual(lexicon))
        .best(CandidateFinder(lexicon).find(""), 3)
    )
    assert [lexicon.word(entry.word) for entry in found] == ["b"]
    assert model.runs == []
