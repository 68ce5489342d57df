"""Which words a line across the keys may have been drawn for.

In: a lexicon, a layout and the points of a path. Out: word numbers, each with minus the log probability that
this path is drawn for it. Next stop: `fedkey.decoder`.

After SHARK2 (Kristensson and Zhai 2004, "SHARK2: a large vocabulary shorthand writing system for pen-based
computers"): a word's template is the line through the middles of its keys. Words are pruned by where the path
begins and ends; of what is left, template and path are cut into equal steps and compared point by point in
two channels, where they lie and what shape they have once they are brought to one place and size. A third
channel, which SHARK2 does not have, asks how near the path comes to each key, one after the other: equal
steps drift apart where corners are cut, and a key that is never approached is the best evidence against a
word. The channels are exponents of Gaussians; what they are worth was fitted, see `KEYS`.

Templates are made when a path asks for them, for few words survive pruning: what is kept of a lexicon is
which keys each word crosses, a byte a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from fedkey.candidates import MARKS, Candidates
from fedkey.layout import Layout
from fedkey.lexicon import OFFENSIVE, Lexicon

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint8]

KEYS, ENDS, PLACE, SHAPE, LENGTH = 2.3, 2.3, 3.0, 4.0, 20.0
"""What the channels are worth, in nats: the squared distances, in key widths, of the path from all keys of
the word, and once more of its ends from the first and the last; the mean squared distances of the points in
place and in shape; the squared logarithm of the ratio of the lengths.

Fitted as a softmax over the words that are compared, with their frequency as the prior, on 2,400 words as
validation text has them and 600 of ranks 5,001 to 15,000, demo lexicon, 2026-11-27: half drawn by
`fedkey.fingers` as they come, a quarter scattered half as much again, a quarter with corners cut. On other
words of the same the right one is first and among three for 86.9 and 97.2 % of all, and 66.5 and 90.5 % of
the rare ones; without the length for 85.3 and 96.6, with ends and keys alone for 82.0 and 95.3 %, with ends
and places alone for 85.7 and 96.1 %. The shape adds the least, 0.004 nats."""

NUM_STEPS = 32
"""Points of a path and of a template that are compared."""

NUM_NEAR = 96
"""Points of a path whose distances from the keys are known: a long word's line is 50 key widths long."""

NUM_COMPARED = 256
"""Words that are compared point by point; of 3,000 words 2 were not among them."""

MAX_ENDS = 6.5
"""Squared distances of the ends from the first and last key, added up, in square key widths: 15 nats."""

MAX_COST = 40.0
"""Nats beyond which a path is no word's: of a thousand words drawn by thumbs that scatter half as much again
as usual one costs more, and a zigzag finds nothing instead of whatever is the least unlike it."""

MAX_KEYS = 24
"""Keys of a word that can be drawn; of 50,000 words all but a handful."""

WORDS_AT_ONCE = 4096
"""Words whose keys are read together: all 50,000 would take 16 MB for a moment."""

MAX_POINTS = 20_000
"""Of a path: five minutes of a touch screen's."""

FARTHEST = 1000.0
"""Key widths from the keyboard's corner: squares of it are finite."""

SHORTEST = 0.5
"""How far from its beginning a gesture gets, in key widths: less is a tap by a thumb that rolled."""

_SKIPPED, _FOREIGN, _BORDER = 253, 254, 255


def as_path(points: object) -> Floats:
    """Points as a path, float32 [P, 2]; `ValueError` if they are no such thing."""
    try:
        with np.errstate(over="ignore"):  # what is too far away is refused below
            path = np.array(points, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("A path is a list of points, x and y of each in key widths.") from error
    if path.ndim != 2 or path.shape[1] != 2 or not 1 <= len(path) <= MAX_POINTS:
        raise ValueError(
            f"A path is 1 to {MAX_POINTS} points of x and y, not an array of shape {path.shape}."
        )
    if not bool((np.abs(path) < FARTHEST).all()):
        raise ValueError("A path lies on the keyboard or near it; a point of this one does not.")
    return path


def is_gesture(layout: Layout, path: Floats) -> bool:
    """Whether a path, [P, 2], touches two keys with letters and gets away from where it begins; anything else
    is a tap."""
    if float(np.linalg.norm(path - path[0], axis=1).max()) < SHORTEST:
        return False
    # Of a slow hand's thousand points few are needed to know the keys.
    some = path[:: len(path) // 256 + 1]
    touched = {layout.nearest(x, y).name for x, y in np.append(some, path[-1:], axis=0).tolist()}
    return len(touched.intersection(layout.letters)) > 1


class GestureFinder:
    """Finds the words of one lexicon that a path across the keys of one layout may be drawn for."""

    def __init__(self, lexicon: Lexicon, layout: Layout) -> None:
        """Reads which keys the words cross: 20 ms and 2 MB for 50,000 words."""
        self.layout = layout
        self._letters = {name: place for place, name in enumerate(layout.letters)}
        self._centres: Floats = np.array([layout[name].center for name in layout.letters], dtype=np.float32)
        keys, num_keys = self._keys_of(lexicon)
        is_drawn = (num_keys > 1) & ((np.asarray(lexicon.flags) & OFFENSIVE) == 0)
        self._words: Integers = np.flatnonzero(is_drawn)
        self._log_prob: Floats = np.asarray(lexicon.log_prob, dtype=np.float32)[is_drawn]
        self._keys, self._num_keys = keys[is_drawn], num_keys[is_drawn].astype(np.uint8)

    def find(self, path: Floats) -> Candidates:
        """The words that may be meant, each with its cost. Offensive words are not among them.

        Args:
            path: [P, 2], as `as_path` gives it.
        """
        drawn = _Drawn(path, self._centres)
        near = drawn.near(self._keys, self._num_keys, self._log_prob)
        costs = drawn.costs(self._keys[near], self._num_keys[near])
        near, costs = near[costs < MAX_COST], costs[costs < MAX_COST]
        return Candidates(self._words[near], costs, costs)

    def costs(self, path: Floats, words: Sequence[str]) -> Floats:
        """The costs of any words, [W]; infinite for those that are not drawn, or begin and end elsewhere."""
        crossed = [self._keys_across(word) for word in words]
        num_keys = np.array([*map(len, crossed)], dtype=np.int64)
        keys = np.zeros((len(words), MAX_KEYS), dtype=np.uint8)
        for row, own in zip(keys, crossed, strict=True):
            row[: len(own)] = own
        costs = np.full(len(words), np.inf, dtype=np.float32)
        some = np.flatnonzero(num_keys > 1)
        keys, num_keys = _filled(keys[some], num_keys[some]), num_keys[some]
        drawn = _Drawn(path, self._centres)
        near = drawn.near(keys, num_keys, np.zeros(len(some), dtype=np.float32))
        costs[some[near]] = drawn.costs(keys[near], num_keys[near])
        costs[costs >= MAX_COST] = np.inf
        return costs

    def _keys_across(self, word: str) -> list[int]:
        """The keys that one word crosses; none if it is not drawn."""
        crossed = []
        for letter in word.lower():
            key = self.layout.key_for(letter)
            place = None if key is None else self._letters.get(key.name)
            if place is not None:
                crossed.append(place)
            elif letter not in MARKS:
                return []
        collapsed = [place for place, _ in groupby(crossed)]
        return collapsed if len(collapsed) <= MAX_KEYS else []

    def _keys_of(self, lexicon: Lexicon) -> tuple[Keys, Integers]:
        """The keys that the words cross, [W, MAX_KEYS], the last repeated to the end, and how many,
        [W]; 0 for those that are not drawn."""
        codes = np.full(256, _FOREIGN, dtype=np.uint8)
        for letter, place in self._letters.items():
            if letter.isascii():
                codes[[ord(letter), ord(letter.upper())]] = place
        codes[[ord(mark) for mark in MARKS]] = _SKIPPED
        keys = np.zeros((len(lexicon), MAX_KEYS), dtype=np.uint8)
        num_keys: Integers = np.zeros(len(lexicon), dtype=np.int64)
        for start in range(0, len(lexicon), WORDS_AT_ONCE):
            end = min(start + WORDS_AT_ONCE, len(lexicon))
            self._read(lexicon, range(start, end), codes, keys[start:end], num_keys[start:end])
        return _filled(keys, num_keys), num_keys

    def _read(self, lexicon: Lexicon, words: range, codes: Keys, keys: Keys, num_keys: Integers) -> None:
        """Fills in the keys of n words, [n, MAX_KEYS], and how many they are, [n]."""
        spread = lexicon.spread_text(words, codes, border=_BORDER, num_borders=1)
        spread = spread[spread != _SKIPPED]
        # Doubled letters are one key; what is foreign is looked at one by one below.
        is_border = spread == _BORDER
        is_new = np.append(True, spread[1:] != spread[:-1]) | is_border
        spread, is_border = spread[is_new], is_border[is_new]
        word = np.cumsum(is_border) - 1
        place = np.arange(len(spread)) - np.flatnonzero(is_border)[word] - 1
        num_keys[:] = np.bincount(word[~is_border], minlength=len(words))
        fits = ~is_border & (place < MAX_KEYS)
        keys[word[fits], place[fits]] = spread[fits]
        num_keys[num_keys > MAX_KEYS] = 0
        for index in np.unique(word[spread == _FOREIGN]).tolist():
            crossed = self._keys_across(lexicon.word(words.start + index))
            num_keys[index] = len(crossed)
            keys[index, : len(crossed)] = crossed


def _filled(keys: Keys, num_keys: Integers) -> Keys:
    """Rows of keys, [W, MAX_KEYS], with the last key of each repeated to the end."""
    for place in range(1, MAX_KEYS):  # in place: indices for all of it would be eight times as large
        keys[:, place] = np.where(place < num_keys, keys[:, place], keys[:, place - 1])
    return keys


class _Drawn:
    """A path, ready to be compared."""

    def __init__(self, path: Floats, centres: Floats) -> None:
        """Takes a path [P, 2] and the middles of the L keys with letters, [L, 2]."""
        self._centres = centres
        steps = np.diff(path, axis=0)
        self._length = max(float(np.hypot(steps[:, 0], steps[:, 1]).sum()), SHORTEST)
        self._points = _equal_steps(path[None], NUM_STEPS)[0]
        self._shape = _shapes(self._points[None])[0]
        self._away: Floats = ((centres[:, None] - _equal_steps(path[None], NUM_NEAR)) ** 2).sum(axis=-1)
        """Squared distances of the path from the keys, [L, NUM_NEAR]."""
        apart = centres[:, None] - centres
        self._apart: Floats = np.hypot(apart[..., 0], apart[..., 1])

    def near(self, keys: Keys, num_keys: npt.NDArray[np.integer], log_prob: Floats) -> Integers:
        """Which of some words are worth comparing: those that end where the path does, and of these the
        `NUM_COMPARED` that are likeliest by how near it comes to their keys, in whatever order."""
        ends = self._away[:, 0][keys[:, 0]] + self._away[:, -1][keys[:, -1]]
        near = np.flatnonzero(ends < MAX_ENDS)
        if len(near) <= NUM_COMPARED:
            return near
        keys, num_keys = keys[near], num_keys[near]
        keys = keys[:, : int(num_keys.max())]
        nearest = self._away.min(axis=1)
        of_keys = nearest[keys].sum(axis=1) - (keys.shape[1] - num_keys) * nearest[keys[:, -1]]
        scores = log_prob[near] - KEYS * of_keys - ENDS * ends[near] - self._length_costs(keys)
        best: Integers = near[np.argpartition(-scores, NUM_COMPARED)[:NUM_COMPARED]]
        best.sort()
        return best

    def costs(self, keys: Keys, num_keys: npt.NDArray[np.integer]) -> Floats:
        """What it costs that words are meant, [C], by all channels."""
        if not len(keys):
            return np.zeros(0, dtype=np.float32)
        keys = keys[:, : int(num_keys.max())]
        templates = _equal_steps(self._centres[keys], NUM_STEPS)
        costs = KEYS * self._key_distances(keys, num_keys)
        costs += ENDS * (self._away[keys[:, 0], 0] + self._away[keys[:, -1], -1])
        costs += PLACE * ((templates - self._points) ** 2).sum(axis=-1).mean(axis=1)
        costs += SHAPE * ((_shapes(templates) - self._shape) ** 2).sum(axis=-1).mean(axis=1)
        costs += self._length_costs(keys)
        return costs.astype(np.float32)

    def _key_distances(self, keys: Keys, num_keys: npt.NDArray[np.integer]) -> Floats:
        """The squared distances of the path from a word's keys, added up: each key where the path is nearest,
        but none before the one before it, [C]."""
        away = self._away[keys]
        reached = np.empty(keys.shape, dtype=np.float32)
        best = np.minimum.accumulate(away[:, 0], axis=1)
        reached[:, 0] = best[:, -1]
        for place in range(1, keys.shape[1]):
            best += away[:, place]
            np.minimum.accumulate(best, axis=1, out=best)
            reached[:, place] = best[:, -1]
        distances: Floats = np.take_along_axis(reached, num_keys[:, None].astype(np.int64) - 1, axis=1)[:, 0]
        return distances

    def _length_costs(self, keys: Keys) -> Floats:
        lengths = self._apart[keys[:, :-1], keys[:, 1:]].sum(axis=1)
        costs: Floats = LENGTH * np.log(lengths / self._length) ** 2
        return costs


def _equal_steps(lines: Floats, num_points: int) -> Floats:
    """Lines through K points, [C, K, 2], cut into equal steps, [C, num_points, 2]."""
    steps = np.diff(lines, axis=1)
    along = np.zeros(lines.shape[:2])
    np.cumsum(np.hypot(steps[..., 0], steps[..., 1]), axis=1, out=along[:, 1:])
    lengths = along[:, -1]
    # All lines as one: each begins a key width behind the end of the one before it.
    starts = (np.cumsum(lengths + 1) - lengths)[:, None]
    asked = (starts + lengths[:, None] * np.linspace(0, 1, num_points)).ravel()
    known = (starts + along).ravel()
    cut = [np.interp(asked, known, lines[..., axis].ravel()) for axis in (0, 1)]
    return np.stack(cut, axis=-1).reshape(-1, num_points, 2).astype(np.float32)


def _shapes(lines: Floats) -> Floats:
    """Lines [C, NUM_STEPS, 2] moved to one middle and scaled to one size; a straight one keeps its
    direction."""
    centred = lines - lines.mean(axis=1, keepdims=True)
    size = np.ptp(lines, axis=1).max(axis=1)
    shapes: Floats = centred / np.maximum(size, SHORTEST)[:, None, None]
    return shapes
