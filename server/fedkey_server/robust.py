"""Averages that a few ill-meaning phones cannot move far.

In: all updates of a round, side by side. Out: one update. Next stop: `fedkey_server.server_app`.

They look at single updates, hence cannot be had together with secure aggregation, and they hold a whole
cohort in memory. On honest phones, whose texts differ, they cost accuracy (EXPERIMENTS.md): clipping is the
first defence, these are for a federation that distrusts its phones more than its server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Weights = dict[str, Tensor]

AGGREGATIONS = ("mean", "median", "trimmed_mean", "krum")


@dataclass(frozen=True)
class AggregationConfig:
    """How a round's updates become one."""

    name: str = "mean"
    """"mean", or one that looks at every single update: "median", "trimmed_mean", "krum"."""
    trimmed_share: float = 0.1
    """Of "trimmed_mean": the share of phones left out at either end, for every parameter."""
    num_bad: int = 1
    """Of "krum": how many of a round's phones may be bad."""
    num_kept: int = 1
    """Of "krum": how many updates are averaged; more than 1 is Multi-Krum. Of n reports at most n - num_bad -
    2, or bad ones would be among them."""

    def __post_init__(self) -> None:
        if self.name not in AGGREGATIONS:
            raise ValueError(f"aggregation.name must be one of {', '.join(AGGREGATIONS)}, not {self.name!r}")
        if not 0 <= self.trimmed_share < 0.5:
            raise ValueError(f"aggregation.trimmed_share must be from 0 up to 0.5, not {self.trimmed_share}")
        if self.num_bad < 0:
            raise ValueError(f"aggregation.num_bad must not be negative, but it is {self.num_bad}")
        if self.num_kept < 1:
            raise ValueError(f"aggregation.num_kept must be at least 1, not {self.num_kept}")

    @property
    def least_reports(self) -> int:
        """With fewer updates the rule says nothing."""
        return least_for_krum(self.num_bad, self.num_kept) if self.name == "krum" else 1


def least_for_krum(num_bad: int, num_kept: int) -> int:
    """How many updates it takes that those kept are honest ones (1703.02757, m <= n - f - 2)."""
    return max(2 * num_bad + 3, num_kept + num_bad + 2)


def median(updates: Sequence[Mapping[str, Tensor]]) -> Weights:
    """The median of every parameter by itself (Yin et al. 2018, 1803.01498); of an even number, the mean of
    the middle two."""
    half = (len(updates) - 1) // 2
    return _middle(updates, half)


def trimmed_mean(updates: Sequence[Mapping[str, Tensor]], trimmed_share: float) -> Weights:
    """The mean of every parameter without its smallest and largest values (1803.01498): a share of either,
    rounded up, but never all."""
    num_trimmed = -int(-trimmed_share * len(updates) // 1)
    return _middle(updates, min(num_trimmed, (len(updates) - 1) // 2))


def _middle(updates: Sequence[Mapping[str, Tensor]], num_trimmed: int) -> Weights:
    kept = slice(num_trimmed, len(updates) - num_trimmed)
    return {
        name: torch.stack([update[name] for update in updates]).sort(dim=0).values[kept].mean(dim=0)
        for name in updates[0]
    }


def krum(updates: Sequence[Mapping[str, Tensor]], num_bad: int, num_kept: int = 1) -> Weights:
    """The mean of the `num_kept` updates that lie closest to others (Blanchard et al. 2017, 1703.02757): each
    is judged by its squared distances to its n - num_bad - 2 nearest.

    Raises:
        ValueError: fewer updates than `least_for_krum`, of which Krum promises nothing.
    """
    num_updates = len(updates)
    if num_updates < (least := least_for_krum(num_bad, num_kept)):
        raise ValueError(f"krum needs {least} updates, not {num_updates}")
    distances_nn = torch.zeros(num_updates, num_updates, dtype=torch.float64)
    for name in updates[0]:  # a parameter at a time: no second copy of the cohort
        rows = torch.stack([update[name].flatten() for update in updates]).double()
        distances_nn += torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square()
    nearest = distances_nn.sort(dim=1).values[:, 1 : num_updates - num_bad - 1]  # the nearest is itself
    chosen = nearest.sum(dim=1).sort(stable=True).indices[:num_kept].tolist()
    return {name: torch.stack([updates[i][name] for i in chosen]).mean(dim=0) for name in updates[0]}
