"""Words that were typed past: left out for whoever reads every suggestion, shown again for everybody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from at_screen import settled, words
from hypothesis import given
from hypothesis import strategies as st

from fedkey import Engine
from fedkey.layout import QWERTY
from fedkey.passed_over import PassedOver
from fedkey.ui.app import KeyboardApp

LETTERS = st.text("ab", max_size=4)
WORDS = st.lists(st.text("abAB", min_size=1, max_size=4), max_size=3).map(tuple)


@given(LETTERS, st.lists(st.tuples(LETTERS, WORDS), max_size=6))
def test_what_counts_was_shown_last_for_a_beginning_of_the_letters(
    letters: str, shown: list[tuple[str, tuple[str, ...]]]
) -> None:
    passed = PassedOver()
    for earlier, these in shown:
        passed = passed.noted("so ", "", earlier, these)
    last = dict(shown)
    expected = {word.lower() for length in range(len(letters)) for word in last.get(letters[:length], ())}
    assert passed.words("so ", "", letters) == expected
    assert passed.words("so so ", "", letters) == frozenset()
    assert passed.words("so ", " good", letters) == frozenset()


def test_nothing_is_kept_of_another_place() -> None:
    passed = PassedOver().noted("so ", "", "", ("good",)).noted("so good ", "", "", ("that",))
    assert passed.words("so ", "", "g") == frozenset()
    assert passed.words("so good ", "", "t") == {"that"}


def test_the_engine_shows_the_next_best_instead(tiny_bundle: Path) -> None:
    engine = Engine.open(tiny_bundle)
    many = engine.suggest("see you ", "t", 12).words
    answer = engine.suggest("see you ", "t", left_out=(many[0].upper(), many[2]))
    assert answer.words == tuple(word for word in many if word not in (many[0], many[2]))[:3]
    # What a space puts is shown whatever was.
    answer = engine.suggest("see you ", "tomorow", left_out=("tomorrow",))
    assert answer.autocorrect == "tomorrow"
    assert "tomorrow" in answer.words


@pytest.mark.parametrize("is_shown_again", [True, False])
async def test_on_screen_words_come_again_unless_that_is_switched_off(
    tiny_bundle: Path, is_shown_again: bool
) -> None:
    app = KeyboardApp(lambda: Engine.open(tiny_bundle), QWERTY)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        app.change_setting("show_again", is_shown_again)
        await pilot.press("s")
        await settled(pilot)
        before = words(app)
        await pilot.press("o")  # a word, which a space leaves
        await settled(pilot)
        assert bool(set(before) & set(words(app))) == is_shown_again
        await pilot.press("backspace")
        await settled(pilot)
        assert words(app) == before
