"""How a finger draws words across the keys: gestures of a simulated writer.

In: a layout and a word. Out: the points that a touch screen, or a terminal that sees only cells, would
report. Next stop: `fedkey.gestures`, which finds
the word again.

Nothing that finds words knows of this module. What it takes from the literature is the movement:

- The finger aims at a point of every key, scattered as thumbs are (`fedkey.taps`); a doubled letter is aimed
  at once. From the second key on it overshoots a little, in the direction it comes from.
- Between the aims it moves so that the jerk, the change of acceleration, is as small as can be. That is how
  arms reach (Flash and Hogan 1985, "The coordination of arm movements"), and word gestures were modelled so
  (Quinn and Zhai 2018, "Modeling gesture-typing movements"). The aims are not passed exactly: jerk that is
  saved is weighed against what is missed, so that the finger cuts corners by as much as it is hasty.
- The time from key to key grows with a power of the distance, for straight lines a little less than its
  square root (Cao and Zhai 2007, "Modeling human performance of pen stroke gestures"), and varies. Hence long
  stretches are drawn faster, and points lie closer together at the keys.
- The screen is read at equal times, with a little noise.

Lengths are key widths, times seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from fedkey.layout import Layout
from fedkey.taps import DEFAULT_THUMBS

Floats = npt.NDArray[np.float64]

READINGS_PER_SECOND = 60
SECONDS_PER_KEY = 0.16
"""From one key to the next one beside it; 35 to 45 words a minute come of it, with lifting."""
TIME_EXPONENT = 0.47
TIME_SPREAD = 0.2
"""Standard deviation of the logarithm of such a time."""


@dataclass(frozen=True)
class Finger:
    """How somebody draws.

    Attributes:
        sigma: standard deviation of an aim around the middle of its key, sideways as up and down; the scale
            of `fedkey.taps`' thumbs.
        haste: what jerk weighs against missing the aims. A corner as sharp as those of "wed" and "pop" is
            missed by 0.1 to 0.2 key widths at the default, by 0.3 to 0.5 at 0.001, by 0.5 to 0.7 at 0.003.
        overshoot: by how much an aim is passed on average.
        noise: standard deviation of what the screen reports.
    """

    sigma: float = DEFAULT_THUMBS.sigma_x
    haste: float = 0.0003
    overshoot: float = 0.08
    noise: float = 0.02

    def __post_init__(self) -> None:
        if not all(0 <= each < math.inf for each in (self.sigma, self.overshoot, self.noise)):
            raise ValueError("A finger's scatter, overshoot and noise are lengths.")
        if not 0 < self.haste < math.inf:
            raise ValueError(f"A finger's haste is positive, not {self.haste}.")

    def sample(self, layout: Layout, word: str, rng: np.random.Generator) -> Floats | None:
        """The points reported while the word is drawn, [P, 2]; None for a word that is not drawn: its
        letters lie on one key, or one of them on none (apostrophes and hyphens are left out)."""
        centres = key_path(layout, word)
        if centres is None or len(centres) < 2:
            return None
        aims = centres + rng.normal(0.0, self.sigma, centres.shape)
        steps = np.diff(centres, axis=0)
        distances = np.hypot(steps[:, 0], steps[:, 1])
        aims[1:] += steps / distances[:, None] * rng.exponential(self.overshoot, (len(steps), 1))
        varied = np.exp(rng.normal(0.0, TIME_SPREAD, len(steps)))
        times = np.append(0.0, np.cumsum(distances**TIME_EXPONENT * varied))
        path = _smoothest(aims, times, self.haste)
        return path + rng.normal(0.0, self.noise, path.shape)


def key_path(layout: Layout, word: str) -> Floats | None:
    """The middles of the keys that a word is drawn across, [K, 2]: letters next to each other on one key
    count once, apostrophes and hyphens not at all. None if another character has no letter's key."""
    names = []
    for letter in word.lower():
        key = layout.key_for(letter)
        if key is not None and key.name in layout.letters:
            names.append(key.name)
        elif letter not in "'-":
            return None
    points = [layout[name].center for name, _ in groupby(names)]
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def _smoothest(aims: Floats, times: Floats, haste: float) -> Floats:
    """The path, read at equal times, that minimises haste x (jerk squared, over time) + (distance from the
    aims at their times, squared). It begins and ends at rest, in the first and last aim.

    Args:
        aims: [K, 2].
        times: when the finger is to be at each, [K], ascending from 0, in units of `SECONDS_PER_KEY`.
        haste: see `Finger`.
    """
    step = 1 / (READINGS_PER_SECOND * SECONDS_PER_KEY)
    num_points = max(math.ceil(times[-1] / step), len(aims)) + 1
    step = times[-1] / (num_points - 1)
    # At rest, it was and will be where it is.
    still = 3
    jerks = np.diff(np.eye(num_points + 2 * still), n=3, axis=0)
    form = haste / step**5 * (jerks.T @ jerks)
    goal = np.zeros((len(form), 2))
    places = still + np.rint(times / step).astype(np.int64)
    np.add.at(form, (places, places), 1.0)
    np.add.at(goal, places, aims)
    for end, aim in ((slice(0, still + 1), aims[0]), (slice(-still - 1, None), aims[-1])):
        pinned = np.arange(len(form))[end]
        form[pinned, pinned] += _PINNED
        goal[pinned] += _PINNED * aim
    path: Floats = np.linalg.solve(form, goal)[still:-still]
    return path


_PINNED = 1e6


def on_cells(path: Floats, width: float, height: float) -> Floats:
    """What a terminal reports of a path that knows only cells of that size: the middle of each cell that is
    entered, [Q, 2]."""
    size = np.array([width, height])
    cells = np.floor(path / size)
    is_entered = np.append(True, np.any(np.diff(cells, axis=0) != 0, axis=1))
    middles: Floats = (cells[is_entered] + 0.5) * size
    return middles
