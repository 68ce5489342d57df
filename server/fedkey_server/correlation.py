"""Noise that cancels: what DP-FTRL adds to a round when nobody can vouch for who is asked.

In: how many rounds' draws a round's noise combines, and how far apart a phone's participations are. Out: the
weights of these draws, and by how much one phone can move everything that is released. Next stop:
`fedkey_server.accountant`.

Federated averaging adds up rounds, so what matters is the noise on the sum of all rounds so far. Independent
noise adds up as well. If each round takes part of the earlier rounds' noise back, the sum has far less, and
privacy, which is that of all releases together, is paid by what the noise hides and not by sampling
(DP-FTRL, Kairouz et al. 2021, 2103.00039). Round t adds

    w_t = r_0 z_t + r_1 z_(t-1) + ... + r_(n-1) z_(t-n+1),        (1 - x)^(1/2) = r_0 + r_1 x + r_2 x^2 + ...

with fresh draws z: the inverse square root of the summing matrix, cut to n diagonals (banded inverse matrix
factorisation). It is DP-FTRL's tree with a better matrix. For 300 rounds, participations at least 10 apart
and the same privacy, the noise on the sums, root mean square over rounds, is 26.7 with n = 8 where the tree's
with Honaker's variance reduction is 58.7, the plain tree's 75.6 and that of independent noise 67.2. And it
needs no state: noise is a function of the key and the round, so n draws a round replace a tree of vectors in
the checkpoint (with Honaker's reduction, one vector for each doubling of rounds).
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def weights(window: int, num_covered: int = 1) -> tuple[float, ...]:
    """What a release takes of the draws of its round and those before it, newest first.

    Args:
        window: draws that a round's noise combines; 1 is independent noise.
        num_covered: rounds that this release stands for: itself, and those before it that were abandoned. It
            adds the noise of all of them, so that later rounds take back what was given. To privacy an
            abandoned round is one to which nobody contributed.
    """
    root = [1.0]
    for k in range(1, window):
        root.append(root[-1] * (k - 1.5) / k)
    return tuple(np.convolve(root, np.ones(num_covered)).tolist())


def influence(window: int, num_rounds: int) -> Floats:
    """How a contribution shows in units of the draws, now and in the rounds after it: C for which w = C^-1 z.

    The sums w_t + x_t tell as much as z + C x, a Gaussian mechanism. C is Toeplitz; this is its first column.
    """
    root = np.array(weights(window))
    column = np.zeros(num_rounds)
    column[0] = 1.0
    for t in range(1, num_rounds):
        reach = min(t, window - 1)
        column[t] = -(root[1 : reach + 1] @ column[t - 1 :: -1][:reach])
    return column


@functools.lru_cache(maxsize=4096)
def sensitivity(window: int, num_rounds: int, separation: int) -> float:
    """How far one phone can move z + C x, over all rounds together, when its updates have norm 1 at most.

    A phone that takes part in rounds i, j, ... with updates u moves it, squared, by the sum over pairs of
    <c_i, c_j> <u_i, u_j>, c being C's columns. C's entries are not negative and never grow along a column, so
    the products <c_i, c_j> are largest for the earliest rounds and the smallest distances: the worst phone
    takes part in rounds 1, 1 + separation, ... with the same update each time (Kalinin and Lampert 2024,
    2405.13763, theorem 2).

    Args:
        separation: least difference of the numbers of two rounds in which a phone takes part.
    """
    column = influence(window, num_rounds)
    if (column < 0).any() or (np.diff(column) > 0).any():
        raise ValueError(f"the sensitivity of noise over {window} rounds is not known")
    moved = np.zeros(num_rounds)
    for first in range(0, num_rounds, separation):
        moved[first:] += column[: num_rounds - first]
    return math.sqrt(moved @ moved)


def noise_of_sums(window: int, num_rounds: int) -> float:
    """Standard deviation of the noise on the sum of all rounds so far: root mean square over rounds."""
    kept = np.cumsum(np.pad(weights(window), (0, max(0, num_rounds - window)))[:num_rounds])
    return math.sqrt(np.cumsum(kept**2).mean())
