"""The engine on a real bundle, through its public face."""

from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey import Engine
from fedkey.candidates import CandidateFinder
from fedkey.decoder import DOUBT, PRIOR_WEIGHT, SHARE_WEIGHT, Decoder
from fedkey.errors import UserError
from fedkey.layout import LAYOUTS, QWERTY
from fedkey.mixture import NO_SHARES, Evidence
from fedkey.taps import Tap
from fedkey.text import PLACEHOLDERS, normalise

CONTEXTS = (
    "",
    "see you ",
    "how are you doing today?\nI'm fine, ",
    "do you want to go to the ",
    "thank you so much for the ",
    "No problem, see you later :)\n",
    "what are you going to do this weekend?\nI'm going to the beach with ",
    "I don't know what you mean lol\nsorry",
)
LETTERS = ("", "t", "th", "s", "lo", "Lo", "LO", "i", "I", "don", "zzz", "be")


@pytest.fixture(scope="module")
def engine(tiny_bundle) -> Engine:
    return Engine.open(tiny_bundle)


def assert_same(one, other) -> None:
    """The same words in the same order, but that rounding may swap words that are equally good."""
    assert one.log_probs == pytest.approx(other.log_probs, abs=TOLERANCE)
    if (
        min((a - b for a, b in zip(one.log_probs, one.log_probs[1:], strict=False)), default=1)
        > 2 * TOLERANCE
    ):
        assert one.words == other.words


TOLERANCE = 1e-4


# ------------------------------------------------------------------------------------------------ golden
# cases


@pytest.mark.parametrize(
    ("context", "typed", "expected"),
    [
        ("", "hel", "hello"),
        ("", "Hel", "Hello"),
        ("", "HEL", "HELLO"),
        ("see you ", "tom", "tomorrow"),
        ("see you ", "Tom", "Tomorrow"),
        ("see you", "tom", "tomorrow"),
        ("thank you so ", "muc", "much"),
        ("I don't know what you ", "me", "mean"),
        ("do you want to ", "g", "go"),
        ("what are you going to do this ", "wee", "weekend"),
        ("my ", "favor", "favorite"),
        ("I'm going to the beach with ", "lond", "London"),
        ("I'm going to the beach with ", "LOND", "LONDON"),
        ("sorry, ", "i", "I"),
        ("sorry, I ", "can'", "can't"),
        ("sorry, I ", "can’", "can't"),
        ("sorry, I ", "CAN'", "CAN'T"),
        ("how are you?\nfine, ", "than", "thanks"),
    ],
)
def test_the_best_word(engine: Engine, context: str, typed: str, expected: str) -> None:
    assert engine.suggest(context, typed).words[0] == expected


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("I don't know what ", "you"),
        ("thank you so ", "much"),
        ("my favorite ", "song"),
    ],
)
def test_the_next_word_is_among_many(engine: Engine, context: str, expected: str) -> None:
    assert expected in engine.suggest(context, "", k=8).words


def test_a_sentence_starts_with_a_capital(engine: Engine) -> None:
    for context in ("", "see you later. ", "hi\n", 'okay. "'):
        assert all(word[0].isupper() for word in engine.suggest(context, "", k=5).words)
    assert not all(word[0].isupper() for word in engine.suggest("see you later, ", "", k=8).words)


def test_what_nobody_mistypes_for_a_word_gives_nothing(engine: Engine) -> None:
    for typed in ("zxqzxq", "https://a.b/c", "me@home.org", "2026", "@someone", "hello wor", "?"):
        assert engine.suggest("see you ", typed).words == ()


@pytest.mark.parametrize(
    ("context", "typed"),
    [
        ("how are you?\nfine, ", "the"),
        ("it was a good ", "week"),
        ("it was a good ", "Week"),
        ("it was a good ", "WEEK"),
        ("do you want to ", "go"),
        ("", "I"),
        ("I'm going to the beach with ", "London"),
        ("sorry, I ", "can't"),
        ("sorry, I ", "can’t"),
    ],
)
def test_what_is_typed_already_makes_room_for_the_next_word(engine: Engine, context: str, typed: str) -> None:
    few, many = engine.suggest(context, typed, 3), engine.suggest(context, typed, 8)
    assert normalise(typed) not in many.words
    assert few.words == many.words[:3]
    assert len(few.words) == min(3, len(many.words))
    listed = [each for each in engine.explain(context, typed, 8).words if each.word == normalise(typed)]
    assert [each.score for each in listed] == pytest.approx([many.typed_log_prob])


def test_what_is_typed_in_another_case_stays(engine: Engine) -> None:
    for context, typed, word in (("sorry, ", "i", "I"), ("in ", "london", "London"), ("in ", "im", "I'm")):
        answer = engine.suggest(context, typed)
        assert answer.autocorrect == word == answer.words[0]
        assert answer.typed_log_prob is None


def test_taps_that_hit_the_letters_of_a_word_are_that_word(engine: Engine) -> None:
    taps = [Tap(*QWERTY[letter].center) for letter in "week"]
    answer = engine.suggest("it was a good ", taps)
    assert answer.literal == "week"
    assert "week" not in answer.words
    assert answer.typed_log_prob is not None
    assert engine.suggest("it was a good ", "").typed_log_prob is None


# --------------------------------------------------------------------------------------------------
# properties


@given(context=st.text(max_size=80), typed=st.text(max_size=6), k=st.integers(1, 5))
@settings(max_examples=150)
def test_any_text_gives_a_well_formed_answer(engine: Engine, context: str, typed: str, k: int) -> None:
    answer = engine.suggest(context, typed, k)
    letters = normalise(typed)
    assert answer.literal == letters
    assert len(answer.words) == len(answer.log_probs) <= k
    assert len({word.lower() for word in answer.words}) == len(answer.words)
    assert list(answer.log_probs) == sorted(answer.log_probs, reverse=True)
    assert all(math.isfinite(p) and p <= 0 for p in answer.log_probs)
    assert not any(mark in word for word in answer.words for mark in (*PLACEHOLDERS, "\u2581"))
    assert all(word.count(" ") <= bool(letters) for word in answer.words)
    assert answer.autocorrect is None or (letters and answer.autocorrect in answer.words)
    assert answer.latency_ms >= 0
    if not letters:
        assert len(answer.words) == k


@given(
    word=st.sampled_from(["hello", "tomorrow", "beach", "weekend", "London", "I'm", "don't"]),
    length=st.integers(1, 8),
    mask=st.integers(0, 255),
)
def test_suggestions_keep_the_letters_and_capitals_typed(
    engine: Engine, word: str, length: int, mask: int
) -> None:
    typed = "".join(c.upper() if mask >> i & 1 else c for i, c in enumerate(word.lower()[:length]))
    answer = engine.suggest("see you ", typed, 5)
    assert (word != word.lower()) == (word in engine.suggest("see you ", word.lower()).words)
    letters = typed.replace("'", "")
    for shown in answer.words:
        if shown == answer.autocorrect and letters[1:2].isupper() and not letters.isupper():
            assert shown == shown.capitalize()  # a key was held (HEllo, hELLO)
        elif shown.lower().startswith(typed.lower()):
            assert all(s == t or s == t.upper() for s, t in zip(shown, typed, strict=False))
        else:
            assert shown[0].isupper() >= typed[0].isupper()
        if len(typed) > 1 and typed.isupper() and typed.isalpha():
            assert shown.isupper()


def beginnings(engine: Engine, longest: int) -> list[str]:
    """What the words that may be offered begin with."""
    lexicon = engine.lexicon
    offered = [lexicon.key(word) for word in range(len(lexicon)) if not lexicon.is_offensive(word)]
    return sorted({key[:length] for key in offered for length in range(1, longest + 1)})


@pytest.mark.parametrize("context", CONTEXTS[:2])
def test_words_that_the_letters_begin_are_always_found(engine: Engine, context: str) -> None:
    """However unlikely they are: likelier words that may have been mistyped leave some room."""
    typed = beginnings(engine, 2)
    assert len(typed) > 200
    for letters in typed:
        answer = engine.suggest(context, letters, 100)
        is_typed_out = answer.typed_log_prob is not None
        assert is_typed_out or any(word.lower().startswith(letters) for word in answer.words)


def test_words_that_the_letters_begin_are_mostly_shown(engine: Engine) -> None:
    typed = np.random.default_rng(1).choice(beginnings(engine, 12), size=300, replace=False).tolist()
    answers = [engine.suggest("see you ", letters) for letters in typed]
    num_found = sum(
        answer.typed_log_prob is not None or any(word.lower().startswith(letters) for word in answer.words)
        for letters, answer in zip(typed, answers, strict=True)
    )
    assert num_found > 0.92 * len(typed)


def test_offensive_words_are_known_only_when_typed_out(engine: Engine) -> None:
    lexicon = engine.lexicon
    for index in range(len(lexicon)):
        if lexicon.is_offensive(index):
            key = lexicon.key(index)
            answer = engine.suggest("", key, 5)
            is_shown = key in {word.lower() for word in answer.words}
            assert is_shown == (answer.typed_log_prob is None)
            for length in range(len(key)):
                shown = engine.suggest("", key[:length], 20).words
                assert key not in {word.lower() for word in shown}


@pytest.mark.parametrize(
    ("context", "same_as"),
    [
        ("\n\n\n", ""),
        (" \t ", ""),
        ("\u200b", ""),
        ("hi\n", "\n hi \n"),
        ("see you", "see you "),
        ("see  you\u00a0", "see you "),
        ("don’t ", "don't "),
        ("hi…", "hi..."),
        ("So ", "so "),
        ("hi\r\nso ", "hi\nso "),
        ("see me@home.org ", "see you@work.com "),
        ("call 5551234 ", "call 99999 "),
    ],
)
def test_contexts_that_read_alike_get_the_same_words(engine: Engine, context: str, same_as: str) -> None:
    assert_same(engine.suggest(context, ""), engine.suggest(same_as, ""))
    assert_same(engine.suggest(context, "t"), engine.suggest(same_as, "t"))


@pytest.mark.parametrize("typed", [" ", "tom tom", "to\nm", "?", ",", "42", "😀", "\ue000", "\x00"])
def test_what_begins_no_word_is_no_mistake(engine: Engine, typed: str) -> None:
    words = engine.suggest("see you ", typed).words
    assert words == (engine.suggest("see you ", "").words if not normalise(typed) else ())


@pytest.mark.parametrize("typed", ["'", "-", "語"])
def test_a_letter_or_mark_that_no_word_begins_with_may_be_one_too_many(engine: Engine, typed: str) -> None:
    answer = engine.suggest("see you ", typed)
    assert answer.words
    assert answer.autocorrect is None


def test_the_caret_behind_punctuation_and_behind_a_space_are_two_places(engine: Engine) -> None:
    touching, apart = engine.suggest("so,", "", k=8), engine.suggest("so, ", "", k=8)
    assert touching.words
    assert touching.log_probs != apart.log_probs


def test_a_context_of_megabytes_is_read_like_its_end(engine: Engine) -> None:
    end = "how are you doing today?\nI'm fine, "
    for before in ("see you later\n" * 300_000, "語" * 2_000_000 + "\n", "a@" * 500_000 + "\n"):
        assert len(engine.suggest(before + end, "th").words) == 3
    long, short = engine.suggest("語" * 2_000_000 + "\n" + end, "th"), engine.suggest(end, "th")
    assert long.words == short.words
    # The conversation is a message longer.
    assert long.log_probs == pytest.approx(short.log_probs, abs=0.1)


# ----------------------------------------------------------------------------------- state changes no answer


@pytest.mark.parametrize(
    "word", ["qqqzx", "hello, world", "", " ", "!", "語", "two\nlines", "\x1b[0m", "x" * 5000]
)
def test_any_word_can_be_accepted(tiny_bundle, word: str) -> None:
    told, untold = Engine.open(tiny_bundle), Engine.open(tiny_bundle)
    accepted = told.accept("see you ", "", word, private=True)
    assert (accepted.context, accepted.typed, accepted.word) == ("see you ", "", word)
    for context in (f"see you {word} ", "see you "):
        assert_same(told.suggest(context, "t"), untold.suggest(context, "t"))


def test_the_model_reads_an_accepted_word_at_once(tiny_bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the caller leaves the space before it out, as `suggest` allows."""
    for context, after in (
        ("see you ", "see you tomorrow "),
        ("see you", "see you tomorrow "),
        ("(", "(tomorrow "),
    ):
        engine = Engine.open(tiny_bundle)
        engine.accept(context, "tom", "tomorrow")
        monkeypatch.setattr(engine._model, "advance", None)  # reading anything now would fail
        assert engine.suggest(after, "t").words


def test_forgetting_the_text_changes_no_answer(engine: Engine) -> None:
    before = engine.suggest("see you ", "t")
    engine.reset()
    assert_same(before, engine.suggest("see you ", "t"))
    engine.reset()
    engine.reset()
    assert_same(before, engine.suggest("see you ", "t"))


def test_a_warm_engine_answers_like_a_fresh_one(engine: Engine, tiny_bundle) -> None:
    rng = np.random.default_rng(5)
    keys = [(context, typed) for context in CONTEXTS for typed in LETTERS]
    warm = [(keys[i], engine.suggest(*keys[i])) for i in rng.integers(len(keys), size=40)]
    for (context, typed), answer in warm:
        fresh = Engine.open(tiny_bundle).suggest(context, typed)
        assert_same(answer, fresh)


def test_the_same_keys_give_the_same_bits(tiny_bundle) -> None:
    def play() -> list[tuple[tuple[str, ...], tuple[float, ...]]]:
        fresh = Engine.open(tiny_bundle)
        answers = [fresh.suggest(context, typed) for context in CONTEXTS for typed in LETTERS]
        return [(answer.words, answer.log_probs) for answer in answers]

    assert play() == play()


def test_accepting_a_word_in_private_changes_no_answer(tiny_bundle) -> None:
    told, untold = Engine.open(tiny_bundle), Engine.open(tiny_bundle)
    text = ""
    for word in ("I", "think", "the", "song", "is", "really", "good"):
        told.suggest(text, word[:1])
        accepted = told.accept(text, word[:1], word, private=True)
        assert (accepted.context, accepted.typed, accepted.word) == (text, word[:1], word)
        text += word + " "
        assert_same(told.suggest(text, ""), untold.suggest(text, ""))


def test_threads_share_an_engine(engine: Engine) -> None:
    keys = [(context, typed) for context in CONTEXTS for typed in LETTERS[:4]]
    expected = {key: engine.suggest(*key) for key in keys}
    failures: list[object] = []

    def work(offset: int) -> None:
        for at in range(len(keys)):
            key = keys[(at * 7 + offset) % len(keys)]
            try:
                assert_same(engine.suggest(*key), expected[key])
            except BaseException as error:  # a thread's assertion must reach the test
                failures.append(error)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# --------------------------------------------------------------------------------- against brute force


def mixed(log_prob: float, prior: float) -> float:
    return math.log((1 - PRIOR_WEIGHT) * math.exp(log_prob) + PRIOR_WEIGHT * math.exp(prior))


def brute_force(engine: Engine, context: str, words: list[int]) -> dict[int, tuple[float, float]]:
    """Each word alone: its log probability as the decoder takes it (self-normalised), and exactly; both mixed
    with its frequency and blended with its share of its first piece."""
    model, cache = engine._model, engine._model.new_cache()
    ids = engine._reader.read(context).ids
    first = model.advance(cache, ids)
    decoder = Decoder(engine.lexicon, model)
    found = {}
    for word in words:
        pieces = engine.lexicon.pieces(word)
        approximate = exact = float(first[pieces[0]])
        usual = float(engine.lexicon.log_prob[word])
        for depth in range(1, len(pieces)):
            chain, last, asked = np.arange(depth), np.array([depth - 1]), np.array([pieces[depth]])
            logit = model.score_tree(cache, np.array(pieces[:depth]), chain - 1, last, asked)
            approximate += min(float(logit[0]), 0.0)
        for piece, following in pairwise(pieces):
            exact += float(model.advance(cache, [piece])[following])
        model.rewind(cache, len(ids))
        share = mixed(float(first[pieces[0]] + decoder.share[word]), usual)
        weight = float(SHARE_WEIGHT) if len(pieces) > 1 else 0.0
        found[word] = (
            (1 - weight) * mixed(approximate, usual) + weight * share,
            (1 - weight) * mixed(exact, usual) + weight * share,
        )
    return found


@pytest.mark.parametrize("context", CONTEXTS[1:3])
def test_multi_piece_words_are_ranked_as_if_scored_alone(engine: Engine, context: str) -> None:
    """Their scores are; the best word is, and what stands below it is at most slightly worse than what would
    be there if every word had been scored."""
    usual = np.exp(engine.lexicon.log_prob)
    for typed in ("wee", "lo", "th", "tomorr"):
        candidates = CandidateFinder(engine.lexicon).find(typed)
        truth = brute_force(engine, context, candidates.words.tolist())
        cache = engine._model.new_cache()
        log_probs = engine._model.advance(cache, engine._reader.read(context).ids)
        found = (
            Decoder(engine.lexicon, engine._model)
            .begin(cache, log_probs, Evidence(usual, usual, usual, NO_SHARES, NO_SHARES, 0.0, 0.0, 0))
            .best(candidates, 3)
        )
        for entry in found:
            assert entry.log_prob == pytest.approx(truth[entry.word][0], abs=1e-3)
        best: dict[str, float] = {}
        for word, (approximate, _) in truth.items():
            key = engine.lexicon.key(word)
            best[key] = max(best.get(key, -math.inf), approximate)
        expected = sorted(best.values(), reverse=True)[:3]
        assert found[0].log_prob == pytest.approx(expected[0], abs=1e-3)
        for entry, wanted in zip(found, expected, strict=True):
            assert wanted - DOUBT < entry.log_prob < wanted + 1e-3


@pytest.mark.parametrize("context", CONTEXTS[:6])
def test_scores_are_nearly_the_exact_log_probabilities(engine: Engine, context: str) -> None:
    """The phone never forms the softmax inside a word; what it takes in its place must be close."""
    rng = np.random.default_rng(0)
    several = np.flatnonzero(np.diff(engine.lexicon.piece_offsets) > 1)
    weights = np.exp(engine.lexicon.log_prob[several].astype(np.float64))
    words = rng.choice(several, size=60, replace=False, p=weights / weights.sum()).tolist()
    found = brute_force(engine, context, words)
    errors = [
        (approximate - exact) / (len(engine.lexicon.pieces(word)) - 1)
        for word, (approximate, exact) in found.items()
    ]
    assert np.abs(np.mean(errors)) < 0.3
    assert np.std(errors) < 0.5


# -------------------------------------------------------------------------------------------------- layouts


def test_another_layout_weighs_as_if_the_bundle_were_made_for_it(tiny_bundle, tmp_path) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "dvorak")
    manifest = json.loads((tiny_bundle / "manifest.json").read_text(encoding="utf-8"))
    (tmp_path / "dvorak" / "manifest.json").write_text(json.dumps({**manifest, "layout": "dvorak"}))
    made_for_it, engine = Engine.open(tmp_path / "dvorak"), Engine.open(tiny_bundle)
    words = ("tomprrow", "thr", "tje", "weekemd")
    usual = [engine.suggest("see you ", word) for word in words]
    engine.use_layout(LAYOUTS["dvorak"])
    there = [engine.suggest("see you ", word) for word in words]
    for word, mine in zip(words, there, strict=True):
        assert_same(mine, made_for_it.suggest("see you ", word))
    assert [each.log_probs for each in there] != [each.log_probs for each in usual]
    # A tap is a letter of the keys that are there.
    x, y = LAYOUTS["dvorak"]["h"].center
    assert engine.suggest("", [Tap(x, y)]).literal == "h"
    engine.use_layout(LAYOUTS["qwerty"])
    for word, before in zip(words, usual, strict=True):
        assert_same(engine.suggest("see you ", word), before)


def test_an_engine_inherits_the_layout(tiny_bundle) -> None:
    old, new = Engine.open(tiny_bundle), Engine.open(tiny_bundle)
    old.use_layout(LAYOUTS["azerty"])
    new.inherit(old)
    assert new.layout is LAYOUTS["azerty"]
    assert_same(new.suggest("", "tje"), old.suggest("", "tje"))


# ------------------------------------------------------------------------------------------- whole messages


def test_a_message_scores_as_its_pieces_do_one_by_one(engine: Engine) -> None:
    earlier, message = ["how are you?", "Fine, thanks"], "See you tomorrow at the beach"
    total, count = engine.score_message(earlier, message)
    model, cache = engine._model, engine._model.new_cache()
    framed = [*map(engine._reader.frame_message, earlier), engine._reader.frame_message(message)]
    ids = [i for line in framed for i in line]
    first_scored = len(ids) - len(framed[-1]) + 1
    log_probs = model.advance(cache, ids[:first_scored])
    expected = 0.0
    for at in range(first_scored, len(ids)):
        expected += float(log_probs[ids[at]])
        log_probs = model.advance(cache, ids[at : at + 1])
    assert count == len(framed[-1]) - 1
    assert total == pytest.approx(expected, abs=1e-2)


def test_likely_messages_score_better(engine: Engine) -> None:
    likely, _ = engine.score_message([], "see you tomorrow")
    unlikely, _ = engine.score_message([], "tomorrow you see")
    assert unlikely < likely < 0


@given(st.lists(st.text(max_size=40), max_size=4), st.text(max_size=60))
@settings(max_examples=60)
def test_any_message_has_a_score(engine: Engine, earlier: list[str], message: str) -> None:
    total, count = engine.score_message(earlier, message)
    assert count >= 1
    assert -math.inf < total < 0


def test_a_message_longer_than_the_window_is_scored_to_its_end(engine: Engine) -> None:
    words = "see you tomorrow at the beach " * 60
    total, count = engine.score_message(["hello"], words)
    assert count == len(engine.pieces.encode(normalise(words))) + 1
    assert -20 * count < total < 0
    total, count = engine.score_message([], "語" * 400)
    assert count == len(engine.pieces.encode("語" * 400)) + 1


def test_scoring_leaves_suggestions_as_they_were(engine: Engine) -> None:
    before = engine.suggest("see you ", "t")
    engine.score_message(["hi"], "what are you going to do this weekend?")
    assert_same(before, engine.suggest("see you ", "t"))


# ------------------------------------------------------------------------------------------------- mistakes


def test_no_bundle_is_one_sentence(tmp_path) -> None:
    with pytest.raises(UserError):
        Engine.open(tmp_path / "nothing")


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.suggest("", "", 0),
        lambda engine: engine.explain("see ", "th", 0),
        lambda engine: engine.replacements("see ", "them", " go", 0),
        lambda engine: engine.trace("see ", [(0, 0), (5, 0)], 0),
    ],
)
def test_k_must_be_positive(engine: Engine, ask: Callable[[Engine], object]) -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        ask(engine)
