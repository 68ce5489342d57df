"""Where thumbs land when they aim at a key, and how much a landing says about the key that was meant.

In: a layout, and touches: points on it, or letters where only the key is known. Out: minus the log
probability of a touch for every character that may be meant; and, the other way round, the noisy taps of a
simulated writer. Next stop: `fedkey.candidates`.

Thumbs scatter around the point they aim at as a Gaussian does. People differ in how far and keys in where to
(Azenkot and Zhai 2012, Weir et al. 2014); one spread for all keys, centred on each, is what can be had
without knowing the person. Lengths are key widths, as in `fedkey.layout`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fedkey.layout import Key, Layout

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Tap:
    """A point that was touched, and how surely.

    Attributes:
        x: from the keyboard's left edge.
        y: from its upper edge.
        spread_x: standard deviation of what is not known of x; 0 for a touch screen, the extent of a cell
            divided by sqrt(12) where only cells are seen.
        spread_y: the same for y.
        is_shifted: whether shift was held; it says what is typed there, nothing of the place.
    """

    x: float
    y: float
    spread_x: float = 0.0
    spread_y: float = 0.0
    is_shifted: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.x) and math.isfinite(self.y)):
            raise ValueError(f"A tap is at a point, not at ({self.x}, {self.y}).")
        if not (0 <= self.spread_x < math.inf and 0 <= self.spread_y < math.inf):
            raise ValueError(f"A tap's spread is a length, not {self.spread_x} or {self.spread_y}.")


Touch = Tap | str
"""A tap, or the one character that was typed where nothing else is known."""


def key_press(key: Key) -> Tap:
    """A tap of which only the key is known: its centre, give or take what lies evenly within the key."""
    x, y = key.center
    return Tap(x, y, key.width / math.sqrt(12), key.height / math.sqrt(12))


def literal(layout: Layout, touches: Iterable[Touch]) -> str:
    """What the touched keys type: of a tap the key it lands on, or the closest that types anything."""
    return "".join(_typed_at(layout, each) if isinstance(each, Tap) else each for each in touches)


def _typed_at(layout: Layout, tap: Tap) -> str:
    key = _key_hit(layout, tap)
    return key.shifted if tap.is_shifted else key.typed


def _key_hit(layout: Layout, tap: Tap) -> Key:
    key = layout.nearest(tap.x, tap.y)
    if key.typed:
        return key
    typing = (each for each in layout.keys if each.typed)
    return min(typing, key=lambda each: (each.distance(tap.x, tap.y), math.dist(each.center, (tap.x, tap.y))))


@dataclass(frozen=True)
class Thumbs:
    """How far from where they aim thumbs land.

    Attributes:
        sigma_x: standard deviation sideways. At the default, as far up and down as sideways, 8 % of the
            letters of English text land on another key of QWERTY (a test looks for it); that is about what
            phone writers do before any correction.
        sigma_y: standard deviation up and down.
    """

    sigma_x: float = 0.285
    sigma_y: float = 0.285

    def __post_init__(self) -> None:
        if not (0 < self.sigma_x < math.inf and 0 < self.sigma_y < math.inf):
            raise ValueError(f"Thumbs scatter by a positive length, not {self.sigma_x} and {self.sigma_y}.")

    def costs(self, layout: Layout, touch: Touch, characters: str) -> npt.NDArray[np.float32]:
        """-log p(touch | character) for each of C characters, up to a constant that all share, [C].

        With s^2 = sigma^2 + spread^2 and (dx, dy) from the character's key to the touch, that is
        dx^2 / (2 s_x^2) + dy^2 / (2 s_y^2): nothing for the centre of the key. A letter counts as a press of
        its key; a character that no key types is only ever itself. Infinite where nothing is known to lead
        from the character to the touch.
        """
        import numpy as np

        tap = touch
        if isinstance(tap, str):
            key = layout.key_for(tap)
            if key is None:
                costs = np.full(len(characters), np.inf, dtype=np.float32)
                costs[[each == touch for each in characters]] = 0
                return costs
            tap = key_press(key)
        from_x, to_x, y = layout.targets(characters)
        dx = np.maximum(np.maximum(from_x - tap.x, tap.x - to_x), 0.0)
        dy = tap.y - y
        with np.errstate(over="ignore"):  # a tap may be anywhere
            squares = (dx / math.hypot(self.sigma_x, tap.spread_x)) ** 2
            squares += (dy / math.hypot(self.sigma_y, tap.spread_y)) ** 2
            return np.where(np.isnan(squares), np.inf, squares / 2).astype(np.float32)

    def sample(self, layout: Layout, text: str, rng: np.random.Generator) -> list[Touch]:
        """The touches of somebody who writes `text` with these thumbs, capitals by the same keys as small
        letters.

        A character that no key of the layout types (a digit, an emoji) comes from another page of the
        keyboard and is returned as it is.
        """
        from_x, to_x, y = layout.targets(text)
        x = from_x + (to_x - from_x) * rng.random(len(text)) + rng.normal(0.0, self.sigma_x, len(text))
        y = y + rng.normal(0.0, self.sigma_y, len(text))
        return [
            character if math.isnan(a) else Tap(a, b)
            for character, a, b in zip(text, x.tolist(), y.tolist(), strict=True)
        ]


DEFAULT_THUMBS = Thumbs()


def clumsily(
    layout: Layout, character: str, thumbs: Thumbs, rng: np.random.Generator
) -> tuple[str, Tap | None]:
    """What is typed by thumbs that aim at the key of a character, and where they land; the character itself
    and None if no key of the layout types just that."""
    key = layout.key_for(character)
    if key is None or character not in (key.typed, key.shifted):
        return character, None
    [touch] = thumbs.sample(layout, character, rng)
    assert isinstance(touch, Tap)
    tap = replace(touch, is_shifted=character != key.typed)
    return literal(layout, [tap]), tap


def as_touches(typed: str | Sequence[Touch]) -> tuple[Touch, ...]:
    """The touches of a word: letters one by one and in lower case, taps as they are."""
    if isinstance(typed, str):
        return tuple(typed.lower())
    return tuple(each for touch in typed for each in (touch.lower() if isinstance(touch, str) else (touch,)))
