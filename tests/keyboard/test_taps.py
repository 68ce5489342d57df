"""Taps: what a touch says about the key that was meant, against the Gaussian written out; and its sampler."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.layout import LAYOUTS, QWERTY, Key, Layout
from fedkey.layout import LETTERS as LETTERS_PAGE
from fedkey.taps import DEFAULT_THUMBS, Tap, Thumbs, as_touches, clumsily, key_press, literal

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SHARES = [8.2, 1.5, 2.8, 4.3, 12.7, 2.2, 2.0, 6.1, 7.0, 0.15, 0.77, 4.0, 2.4,
          6.7, 7.5, 1.9, 0.095, 6.0, 6.3, 9.1, 2.8, 0.98, 2.4, 0.15, 2.0, 0.074]  # fmt: skip
"""How often each letter stands in English text, in percent."""

taps = st.builds(
    Tap, st.floats(-2, 12), st.floats(-2, 8), st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 0.5])
)
thumbs = st.builds(Thumbs, st.floats(0.1, 1), st.floats(0.1, 1))


def log_normal(x: float, mean: float, sigma: float) -> float:
    return -((x - mean) ** 2) / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi))


def share_on(key: Key, aimed_at: Key, sigma: float) -> float:
    """How many of the taps aimed at one key land on another, by integrating."""

    def within(low: float, high: float, mean: float) -> float:
        scale = sigma * math.sqrt(2)
        return (math.erf((high - mean) / scale) - math.erf((low - mean) / scale)) / 2

    x, y = aimed_at.center
    return within(key.left, key.right, x) * within(key.top, key.bottom, y)


@given(taps, thumbs, st.sampled_from(LETTERS), st.sampled_from(LETTERS))
def test_costs_differ_as_log_densities_do(tap: Tap, thumbs: Thumbs, one: str, other: str) -> None:
    def log_density(letter: str) -> float:
        x, y = QWERTY[letter].center
        return log_normal(tap.x, x, math.hypot(thumbs.sigma_x, tap.spread_x)) + log_normal(
            tap.y, y, math.hypot(thumbs.sigma_y, tap.spread_y)
        )

    costs = thumbs.costs(QWERTY, tap, one + other)
    assert costs[1] - costs[0] == pytest.approx(log_density(one) - log_density(other), rel=1e-4, abs=1e-4)
    assert np.all(costs >= 0)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_letter_is_its_own_key_first_and_then_a_neighbour(layout: Layout) -> None:
    typed = "".join(key.typed for key in layout.keys)
    for letter in layout.letters:
        costs = dict(zip(typed, Thumbs().costs(layout, letter, typed).tolist(), strict=True))
        assert costs.pop(letter) == 0
        assert min(costs.values()) > 2
        assert min(costs, key=costs.__getitem__) in {key.typed for key in layout.neighbours(letter)}


def test_pressing_a_neighbour_costs_what_taps_that_land_there_are_worth() -> None:
    """A press is a tap of which the place within the key is unknown. Sideways that is exact to a third of a
    nat; up and down, where thumbs of this kind hardly ever err, it forgives a nat and more."""
    own = share_on(QWERTY["g"], QWERTY["g"], Thumbs().sigma_x)
    for meant, least, most in (("f", -0.4, 0.4), ("h", -0.4, 0.4), ("t", -2, 0), ("y", -2, 0)):
        exact = math.log(own / share_on(QWERTY["g"], QWERTY[meant], Thumbs().sigma_x))
        assert least < Thumbs().costs(QWERTY, "g", meant)[0] - exact < most


def test_a_press_is_as_uncertain_as_its_key_is_large() -> None:
    press = key_press(QWERTY["space"])
    assert (press.x, press.y) == QWERTY["space"].center
    assert press.spread_x == pytest.approx(np.std(np.linspace(0, 4.5, 100_001)), rel=1e-3)
    assert press.spread_y == pytest.approx(np.std(np.linspace(0, 1.5, 100_001)), rel=1e-3)


def test_capitals_and_accents_are_their_letters_key() -> None:
    costs = Thumbs().costs(QWERTY, Tap(3.0, 1.0), "eEéÉ")
    assert len(set(costs.tolist())) == 1
    assert np.array_equal(Thumbs().costs(QWERTY, "É", LETTERS), Thumbs().costs(QWERTY, "e", LETTERS))


def test_a_wide_key_is_aimed_at_anywhere_along_it() -> None:
    space = QWERTY["space"]
    y = space.center[1]
    assert not Thumbs().costs(QWERTY, Tap(space.left + 0.5, y), " ").any()
    assert not Thumbs().costs(QWERTY, Tap(space.right - 1, y), " ").any()
    assert Thumbs().costs(QWERTY, Tap(space.left, y), " ")[0] > 1


def test_what_no_key_types_is_only_ever_itself() -> None:
    assert Thumbs().costs(QWERTY, "ж", "aжя").tolist() == [np.inf, 0, np.inf]
    assert Thumbs().costs(QWERTY, "a", "ж").tolist() == [np.inf]
    assert Thumbs().costs(QWERTY, Tap(0, 0), "7").tolist() == [np.inf]
    assert Thumbs().costs(QWERTY, "a", "").shape == (0,)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_tap_may_be_anywhere(x: float, y: float) -> None:
    costs = Thumbs().costs(QWERTY, Tap(x, y), "ap ")
    assert np.all(costs >= 0)
    assert len(literal(QWERTY, [Tap(x, y)])) == 1


def test_eight_letters_in_a_hundred_miss_their_key_at_the_default() -> None:
    rng = np.random.default_rng(8)
    text = "".join(rng.choice(list(LETTERS), size=4000, p=np.array(SHARES) / sum(SHARES)))

    def missed(sigma: float) -> float:
        touches = Thumbs(sigma, sigma).sample(QWERTY, text, np.random.default_rng(1))
        hits = (QWERTY.nearest(tap.x, tap.y).name for tap in touches if isinstance(tap, Tap))
        return sum(hit != letter for hit, letter in zip(hits, text, strict=True)) / len(text)

    low, high = 0.2, 0.4
    for _ in range(6):
        middle = (low + high) / 2
        low, high = (middle, high) if missed(middle) < 0.08 else (low, middle)
    assert low - 0.01 < Thumbs().sigma_x < high + 0.01
    assert Thumbs().sigma_y == Thumbs().sigma_x


def test_samples_scatter_around_what_is_aimed_at() -> None:
    thumbs = Thumbs(0.2, 0.4)
    touches = thumbs.sample(QWERTY, "G" * 4000 + "é" * 4000, np.random.default_rng(0))
    points = np.array([(tap.x, tap.y) for tap in touches if isinstance(tap, Tap)]).reshape(2, 4000, 2)
    for key, place in zip("ge", points, strict=True):
        assert np.allclose(place.mean(axis=0), QWERTY[key].center, atol=0.03)
        assert np.allclose(place.std(axis=0), (0.2, 0.4), atol=0.02)
    x = np.array([tap.x for tap in thumbs.sample(QWERTY, " " * 4000, np.random.default_rng(0))])  # type: ignore[union-attr]
    space = QWERTY["space"]
    assert space.left < np.quantile(x, 0.02) < space.left + 1
    assert space.right - 1 < np.quantile(x, 0.98) < space.right


def test_samples_depend_on_the_seed_alone_and_leave_what_has_no_key() -> None:
    one, same, other = (Thumbs().sample(QWERTY, "see 7🙂", np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one == same != other
    assert one[4:] == ["7", "🙂"]
    assert Thumbs().sample(QWERTY, "", np.random.default_rng(0)) == []


def test_the_literal_text_is_what_the_keys_type() -> None:
    assert literal(QWERTY, [Tap(5.1, 2), Tap(4.9, 2.9), "É", "7", Tap(3, 5)]) == "ggÉ7 "
    for name, nearby in (("shift", "az"), ("backspace", "lm"), ("enter", "?")):
        assert literal(QWERTY, [Tap(*QWERTY[name].center)]) in nearby


def test_a_tap_with_shift_types_the_capital_and_says_the_same_of_the_place() -> None:
    tap, shifted = Tap(5.1, 2), Tap(5.1, 2, is_shifted=True)
    assert literal(QWERTY, [shifted, tap, Tap(8, 5.5, is_shifted=True)]) == "Gg!"
    costs = (Thumbs().costs(QWERTY, each, LETTERS).tolist() for each in (tap, shifted))
    assert next(costs) == next(costs)


def test_clumsy_thumbs_type_what_they_hit() -> None:
    """At the default, letters of the drawn page are missed as often as those of the layout."""
    rng = np.random.default_rng(5)
    page = QWERTY.pages[LETTERS_PAGE]
    text = rng.choice(list(LETTERS), size=3000, p=np.array(SHARES) / sum(SHARES))
    missed = 0
    for letter in text:
        hit, tap = clumsily(page, letter, DEFAULT_THUMBS, rng)
        assert tap is not None
        assert literal(page, [tap]) == hit
        missed += hit != letter
    assert 0.065 < missed / len(text) < 0.095


def test_clumsy_thumbs_keep_shift_and_leave_what_has_no_key() -> None:
    rng = np.random.default_rng(5)
    hits = {clumsily(QWERTY, "H", DEFAULT_THUMBS, rng)[0] for _ in range(200)}
    assert "H" in hits
    assert all(hit.isupper() for hit in hits)
    for character in ("7", "é", "ж", "🙂"):
        assert clumsily(QWERTY, character, DEFAULT_THUMBS, rng) == (character, None)


@given(st.text(max_size=5))
def test_touches_of_letters_are_small_letters(text: str) -> None:
    assert "".join(str(touch) for touch in as_touches(text)) == text.lower()
    assert all(len(str(touch)) == 1 for touch in as_touches([*text]))


def test_touches_keep_taps() -> None:
    assert as_touches(["A", Tap(1, 2), "bC"]) == ("a", Tap(1, 2), "b", "c")


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_thumbs_scatter_by_a_length(sigma: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        Thumbs(sigma_x=sigma)
    with pytest.raises(ValueError, match="positive"):
        Thumbs(sigma_y=sigma)


@pytest.mark.parametrize("place", [(math.nan, 0), (0, math.inf), (0, 0, -1), (0, 0, 0, math.nan)])
def test_a_tap_is_somewhere(place: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="tap"):
        Tap(*place)
