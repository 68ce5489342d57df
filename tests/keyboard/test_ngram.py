"""The n-gram keyboard against Kneser and Ney's formula, written down as sets and dictionaries."""

from __future__ import annotations

import pickle
from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.baseline import Unigram
from fedkey.lexicon import Lexicon
from fedkey.ngram import DISCOUNT_WITHOUT_SINGLES, ORDER, Counts, Ngram, Vocabulary, count, probabilities
from fedkey.text import LINK
from fedkey_export.lexicon_arrays import build_arrays

Gram = tuple[str, ...]


def lexicon(words: dict[str, tuple[float, bool]]) -> Lexicon:
    rows = [(word, *values) for word, values in words.items()]
    return Lexicon(build_arrays(rows, lambda word: [4] * len(word)), 5)


SOME = lexicon(
    {
        "the": (-1.0, False),
        "that": (-2.0, False),
        "to": (-2.2, False),
        "Thomas": (-3.0, False),
        "train": (-6.0, False),
        "damn": (-0.5, True),
        "us": (-2.5, False),
        "US": (-2.4, False),
        "see": (-4.0, False),
        "leaves": (-7.0, False),
    }
)


def keyboard(*messages: str, order: int = ORDER) -> Ngram:
    return Ngram(SOME, count(messages, Vocabulary(SOME), order))


# ---------------------------------------------------------------------------------- the formula, read aloud

LETTERS = lexicon(
    {"a": (-1.0, False), "b": (-2.0, False), "B": (-3.0, False), "c": (-4.0, True), "d": (-5.0, False)}
)
KNOWN = ("a", "b", "c", "d")
OTHER, START = "other", "start"

SENTENCES = st.lists(
    st.lists(st.sampled_from([*KNOWN, "A", "B", "x", "yz"]), min_size=1, max_size=6), max_size=12
)


class ByDefinition:
    """Chen and Goodman's section 3, for sentences that are lists of words."""

    def __init__(self, sentences: list[list[str]], order: int) -> None:
        self.order = order
        came: dict[int, Counter[Gram]] = {length: Counter() for length in (1, 2, 3)}
        for sentence in sentences:
            words = [START] + [word.lower() if word.lower() in KNOWN else OTHER for word in sentence]
            for end in range(1, len(words)):
                for length in (1, 2, 3):
                    if end + 1 >= length:
                        came[length][tuple(words[end + 1 - length : end + 1])] += 1
        self.counts = {order: came[order]}
        for length in range(1, order):
            before = defaultdict(set)
            for gram in came[length + 1]:
                before[gram[1:]].add(gram[0])
            self.counts[length] = Counter(
                {
                    gram: often if gram[0] == START else len(before[gram])
                    for gram, often in came[length].items()
                }
            )

    def probability(self, word: str, before: Gram) -> float:
        before = before[-(self.order - 1) :] if self.order > 1 else ()
        counts = self.counts[len(before) + 1]
        shorter = self.probability(word, before[1:]) if before else 1 / (len(KNOWN) + 1)
        own = {gram: often for gram, often in counts.items() if gram[:-1] == before}
        if not own:
            return shorter
        ones, twos = (sum(often == n for often in counts.values()) for n in (1, 2))
        discount = ones / (ones + 2 * twos) if ones else DISCOUNT_WITHOUT_SINGLES
        total = sum(own.values())
        first = max(own.get((*before, word), 0) - discount, 0) / total
        return first + discount * len(own) / total * shorter


def counted(sentences: list[list[str]], order: int) -> Counts:
    return count([". ".join(map(" ".join, sentences))], Vocabulary(LETTERS), order)


@given(sentences=SENTENCES, order=st.integers(1, ORDER))
def test_it_is_the_formula(sentences: list[list[str]], order: int) -> None:
    vocabulary, counts = Vocabulary(LETTERS), counted(sentences, order)
    expected = ByDefinition(sentences, order)
    words = (*KNOWN, OTHER)
    for before in [(START,), *product((START, *words), words)]:
        numbers = [vocabulary.start if word == START else vocabulary.number(word) for word in before]
        assert probabilities(counts, numbers) == pytest.approx(
            [expected.probability(word, before) for word in words], abs=1e-12
        )


@given(
    sentences=SENTENCES,
    order=st.integers(1, ORDER),
    before=st.lists(st.sampled_from(["", *KNOWN, "x"]), max_size=ORDER),
)
def test_probabilities_sum_to_one_and_none_is_zero(
    sentences: list[list[str]], order: int, before: list[str]
) -> None:
    vocabulary = Vocabulary(LETTERS)
    found = probabilities(counted(sentences, order), list(map(vocabulary.number, before)))
    assert found.shape == (len(KNOWN) + 1,)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    # A discount of one takes all from those that came once, and none is lost: it goes to shorter contexts.
    assert (found > 0).all()


def test_a_probability_by_hand() -> None:
    """Of two words, each text begins with a; after it b came twice and c once.

    Pairs (start a) 3, (a b) 2, (a c) 1: D = 1 / (1 + 2 * 1) = 1/3. Single words came after one word each:
    D = 3 / 3 = 1, so all is left to the five that are equally likely.
    """
    vocabulary = Vocabulary(LETTERS)
    counts = count(["a b", "a b", "A c"], vocabulary, order=2)
    found = probabilities(counts, [vocabulary.number("a")])
    left = 1 / 3 * 2 / 3
    expected = [left / 5, (2 - 1 / 3) / 3 + left / 5, (1 - 1 / 3) / 3 + left / 5, left / 5, left / 5]
    assert found == pytest.approx(expected)


def test_contexts_that_never_came_are_asked_for_without_their_first_word() -> None:
    vocabulary = Vocabulary(LETTERS)
    counts = count(["a b c", "a b c", "d b a", "b d"], vocabulary)
    a, b, c, d = map(vocabulary.number, KNOWN)
    assert (probabilities(counts, [c, b]) == probabilities(counts, [b])).all()
    assert (probabilities(counts, [d, c]) == probabilities(counts, [])).all()
    assert (probabilities(counts, [a, b]) != probabilities(counts, [b])).any()
    assert (probabilities(counts, [d, a, b]) == probabilities(counts, [a, b])).all()


def test_how_many_contexts_counts_and_not_how_often() -> None:
    """What Kneser and Ney saw: a word that only ever came after one other is no guess after a third."""
    messages = ["see us"] * 9 + ["to the", "train the", "that the"]
    vocabulary = Vocabulary(SOME)
    found = probabilities(count(messages, vocabulary, order=2), [vocabulary.number("leaves")])
    assert found[vocabulary.number("the")] > found[vocabulary.number("us")]
    often = probabilities(count(messages, vocabulary, order=1), [])
    assert often[vocabulary.number("us")] > often[vocabulary.number("the")]


@pytest.mark.parametrize("order", [0, 4])
def test_an_order_it_has_no_context_for_is_refused(order: int) -> None:
    with pytest.raises(ValueError, match="1 to 3"):
        count([], Vocabulary(SOME), order)


# -------------------------------------------------------------------------------------------- what is before


def test_a_sentence_begins_after_a_full_stop_and_not_after_a_comma() -> None:
    board = keyboard("the train leaves. see us", "the train leaves, see us", "that leaves us")
    vocabulary = Vocabulary(SOME)
    grams = count(["the leaves. see us, to"], vocabulary).by_length
    the, leaves, see, us, to = map(vocabulary.number, ("the", "leaves", "see", "us", "to"))
    base = vocabulary.start + 1
    pairs = {
        (int(context), int(word))
        for context, first, behind in zip(
            grams[1].contexts, grams[1].starts, grams[1].starts[1:], strict=False
        )
        for word in grams[1].words[first:behind]
    }
    start = vocabulary.start
    assert pairs == {(start, the), (the, leaves), (start, see), (see, us), (us, to)}
    assert set(map(int, grams[2].contexts)) == {start * base + the, start * base + see, see * base + us}
    assert board.suggest("the train leaves, ", "").words[0] == "see"


def test_other_words_and_placeholders_stand_before_a_word_as_one_class() -> None:
    board = keyboard("qqq see", f"{LINK} see", "the train", "the train")
    assert board.suggest("zzz ", "").words[0] == "see"
    assert board.suggest(f"see {LINK} ", "").words[0] == "see"


# ---------------------------------------------------------------------------------------------- suggestions


def test_what_came_after_these_words_comes_first() -> None:
    board = keyboard("the train leaves", "the train leaves", "that train to us", "see that train")
    assert board.suggest("the ", "").words[0] == "train"
    assert board.suggest("see the train ", "").words[0] == "leaves"
    assert board.suggest("so that train ", "").words[0] == "to"
    assert board.suggest("how are you?\nthe train ", "").words[0] == "leaves"


def test_letters_narrow_it_down_exactly() -> None:
    board = keyboard("the train leaves", "the train leaves")
    assert board.suggest("the ", "t").words == ("train", "the", "that")
    assert board.suggest("the ", "th").words == ("the", "that", "Thomas")
    assert board.suggest("the ", "tra").words == ("train",)
    assert board.suggest("the ", "rtain").words == ()


@given(
    words=st.dictionaries(
        st.text("abB'", min_size=1, max_size=4),
        st.tuples(st.integers(-4, -1).map(float), st.booleans()),
        min_size=1,
        max_size=30,
    ),
    typed=st.text("ab'", max_size=3),
    context=st.sampled_from(["", "so "]),
    k=st.integers(1, 5),
)
def test_without_a_text_it_is_the_unigram_baseline(
    words: dict[str, tuple[float, bool]], typed: str, context: str, k: int
) -> None:
    some = lexicon(words)
    board = Ngram(some, count([], Vocabulary(some)))
    assert board.suggest(context, typed, k).words == Unigram(some).suggest(context, typed, k).words


def test_words_the_text_lacks_come_as_the_lexicon_has_them() -> None:
    board = keyboard("to see", "to see", "train see", "leaves")
    assert board.suggest("so ", "", 6).words == ("see", "to", "train", "leaves", "the", "that")


def test_a_word_is_offered_once_as_the_lexicon_mostly_writes_it() -> None:
    board = keyboard("see us", "see us", "see US")
    assert board.suggest("see ", "u").words == ("US",)
    assert board.suggest("see ", "").words[:2] == ("US", "the")


def test_capitals_are_the_writers_and_the_sentences() -> None:
    board = keyboard("see the train", "see us")
    assert board.suggest("", "").words[0] == "See"
    assert board.suggest("so. ", "").words[0] == "See"
    assert board.suggest("", "s").words == ("see",)
    assert board.suggest("see the ", "TR").words == ("TRAIN",)


def test_typed_quotes_are_folded() -> None:
    some = lexicon({"it's": (-1.0, False), "its": (-2.0, False)})
    board = Ngram(some, count(["so its"], Vocabulary(some)))
    assert board.suggest("so ", "it\u2019").words == ("it's",)


def test_offensive_words_are_not_offered() -> None:
    board = keyboard(*["see damn"] * 20)
    for typed in ("", "d", "dam", "damn"):
        assert "damn" not in board.suggest("see ", typed, 20).words


def test_what_is_typed_already_is_not_offered() -> None:
    board = keyboard("see the train", "see them")
    with_t = board.suggest("see ", "t", 20).words
    assert "the" in with_t
    assert board.suggest("see ", "the", 20).words == tuple(
        word for word in with_t if word.lower().startswith("the") and word != "the"
    )


@given(
    messages=st.lists(st.text("abc dx.B", max_size=20), max_size=6),
    context=st.sampled_from(["", "a ", "a b ", "so x ", "b. "]),
    typed=st.text("abcd", max_size=1),
    k=st.integers(1, 5),
)
def test_the_order_is_by_probability_then_by_the_lexicons_frequency(
    messages: list[str], context: str, typed: str, k: int
) -> None:
    vocabulary = Vocabulary(LETTERS)
    counts = count(messages, vocabulary)
    before = {"": [""], "a ": ["", "a"], "a b ": ["a", "b"], "so x ": ["so", "x"], "b. ": [""]}[context]
    likely = probabilities(counts, list(map(vocabulary.number, before)))
    offered = [word for word in KNOWN if word.startswith(typed) and word != "c"]
    offered.sort(key=lambda word: -likely[vocabulary.number(word)])  # KNOWN is in the lexicon's order
    found = Ngram(LETTERS, counts).suggest(context, typed, k).words
    assert typed not in found
    assert [word.lower() for word in found] == [word for word in offered if word != typed][:k]


def test_an_answer_says_how_long_it_took() -> None:
    assert keyboard("see us").suggest("see ", "u").latency_ms > 0


def test_counts_survive_the_way_to_another_process() -> None:
    counts = count(["the train leaves", "see that train"], Vocabulary(SOME))
    arrived = pickle.loads(pickle.dumps(counts))
    for before in ([], [0], [0, 1]):
        np.testing.assert_array_equal(probabilities(arrived, before), probabilities(counts, before))
