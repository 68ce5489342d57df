"""The rest of a word behind the caret: only where it is likely, and without flicker."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey import Engine, Suggestions
from fedkey.ghost import MIN_SAVED, SURE, Ghost, ghost_for, likelihood


def answer(**probabilities: float) -> Suggestions:
    """Suggestions of words with their probabilities, most likely first."""
    return Suggestions(tuple(probabilities), tuple(map(math.log, probabilities.values())), None, 1.0)


def test_a_word_is_likely_or_not_among_those_suggested() -> None:
    assert likelihood(answer(through=0.009, three=0.001)) == pytest.approx(0.9)
    sure, unsure = answer(through=0.09, three=0.01), answer(through=0.08, three=0.02)
    assert ghost_for(sure, "go ", "thr", None) == Ghost("go ", "thr", "through")
    assert ghost_for(unsure, "go ", "thr", None) is None


def test_a_word_that_is_all_but_typed_or_begins_otherwise_is_not_completed() -> None:
    assert ghost_for(answer(through=1.0), "", "throug", None) is None
    assert ghost_for(answer(through=1.0), "", "through", None) is None
    assert ghost_for(answer(through=1.0), "", "thrugh", None) is None
    assert ghost_for(answer(through=1.0), "", "Thr", None) is None
    assert ghost_for(answer(through=1.0), "", "", None) is None
    assert ghost_for(Suggestions((), (), None, 1.0), "", "zzz", None) is None


def test_once_shown_it_stays_while_the_engine_has_no_better_word() -> None:
    shown = ghost_for(answer(through=0.9, three=0.1), "go ", "thr", None)
    assert shown is not None
    unsure = answer(through=0.5, throw=0.4)
    kept = ghost_for(unsure, "go ", "thro", shown)
    assert kept is not None
    assert kept.rest("go ", "thro") == "ugh"
    assert ghost_for(answer(through=1.0), "go ", "throug", kept) is not None
    assert ghost_for(unsure, "go ", "thro", None) is None
    assert ghost_for(unsure, "go ", "th", kept) is None  # letters were taken back
    assert ghost_for(unsure, "so ", "thro", shown) is None  # another word
    assert ghost_for(answer(throw=0.6, through=0.4), "go ", "thro", shown) is None


def test_what_is_typed_already_counts_as_if_it_were_suggested(tiny_bundle: Path) -> None:
    engine = Engine.open(tiny_bundle)
    for context in ("", "see you ", "do you want to go to the ", "what are you going to do this "):
        for word in ("together", "weekend", "something", "tomorrow", "thanks", "internet"):
            for end in range(1, len(word)):
                typed = word[:end]
                now = engine.suggest(context, typed)
                entries = [*zip(now.words, now.log_probs, strict=True)]
                if now.typed_log_prob is not None:
                    entries.append((typed, now.typed_log_prob))
                entries = sorted(entries, key=lambda entry: -entry[1])[:3]
                words, log_probs = zip(*entries, strict=True) if entries else ((), ())
                with_typed = Suggestions(words, log_probs, now.autocorrect, 1.0)
                for before in (None, Ghost(context, word[: end - 1], word)):
                    expected = ghost_for(with_typed, context, typed, before)
                    assert ghost_for(now, context, typed, before) == expected


def test_no_rest_is_shown_where_the_letters_are_likelier_to_be_the_word() -> None:
    shown = Ghost("go ", "o", "only")
    over = replace(answer(only=0.02, once=0.01), typed_log_prob=math.log(0.9))
    assert ghost_for(over, "go ", "on", None) is None
    assert ghost_for(over, "go ", "on", shown) is None
    unsure = replace(answer(only=0.5, once=0.01), typed_log_prob=math.log(0.3))
    assert likelihood(unsure) == pytest.approx(0.5 / 0.81)
    assert ghost_for(unsure, "go ", "on", None) is None
    assert ghost_for(unsure, "go ", "on", shown) == Ghost("go ", "on", "only")
    sure = replace(answer(only=0.9, once=0.05, one=0.04), typed_log_prob=math.log(0.05))
    assert likelihood(sure) == pytest.approx(0.9)  # of the three likeliest
    assert ghost_for(sure, "go ", "on", None) == Ghost("go ", "on", "only")


def test_it_gets_shorter_with_every_letter_that_agrees() -> None:
    ghost = Ghost("go ", "th", "through")
    assert [ghost.rest("go ", "through"[:n]) for n in range(1, 8)] == [
        "",
        "rough",
        "ough",
        "ugh",
        "gh",
        "h",
        "",
    ]
    assert ghost.rest("go ", "thx") == ghost.rest("go ", "throughs") == ghost.rest("on ", "th") == ""


words = st.text("ab", min_size=1, max_size=6)


@given(
    st.dictionaries(words, st.floats(0.01, 1.0), min_size=1, max_size=3),
    words,
    st.one_of(st.none(), st.builds(Ghost, st.just(""), words, words)),
)
def test_what_is_shown_completes_the_letters(
    shares: dict[str, float], typed: str, before: Ghost | None
) -> None:
    ranked = dict(sorted(shares.items(), key=lambda item: -item[1]))
    suggestions = answer(**ranked)
    ghost = ghost_for(suggestions, "", typed, before)
    if ghost is not None:
        rest = ghost.rest("", typed)
        assert rest
        assert typed + rest == suggestions.words[0]
        if before is None:
            assert len(rest) >= MIN_SAVED
            assert likelihood(suggestions) >= SURE
