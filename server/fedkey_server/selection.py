"""Whom a round asks.

In: the round, and what earlier rounds left behind. Out: the phones to send messages to. Next stop:
`fedkey_server.private_average`.

Three ways, of which a run has one: a cohort of fixed size from phones that are always there, all alike or
those with more text more often; a coin for each phone, which private runs of mode poisson need; and a
simulated fleet, in which phones sleep, drop out and come late, and only those that the simulation lets report
are asked to train.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fedkey_server.fleet import Fleet, FleetState, Outcome, play
from fedkey_server.private_average import PrivateAverage
from fedkey_server.rounds import RoundsConfig, cohort


class Asked(NamedTuple):
    """A round's phones."""

    phones: list[int]
    """Who gets a message, in the order in which they report."""
    num_asked: int
    """With those who will not report."""
    lost: Counter[str]
    """Reason -> phones that will not."""
    costs: dict[str, float | int]
    """What the round took in a simulated fleet."""


class Selection(Protocol):
    """How a run chooses."""

    def ask(self, round_number: int, num_phones: int) -> Asked:
        """The phones of a round; rounds come in order."""

    def counters(self) -> dict[str, Any]:
        """What a checkpoint keeps."""


def _all(phones: list[int]) -> Asked:
    return Asked(phones, len(phones), Counter(), {})


@dataclass(frozen=True)
class Cohort:
    """So many phones."""

    config: RoundsConfig
    chances: npt.NDArray[np.float64] | None = None
    """[phones] as `rounds.cohort` takes them; None if any is as likely as another."""

    def ask(self, round_number: int, num_phones: int) -> Asked:
        """A pure function of the seed and the round."""
        size = self.config.phones_per_round
        return _all(cohort(self.config.seed, round_number, num_phones, size, self.chances))

    def counters(self) -> dict[str, Any]:
        """Nothing."""
        return {}


@dataclass(frozen=True)
class Poisson:
    """A coin for every phone, which nobody but the server can foresee."""

    private: PrivateAverage

    def ask(self, round_number: int, num_phones: int) -> Asked:
        """A pure function of the run's key and the round."""
        return _all(self.private.cohort(round_number))

    def counters(self) -> dict[str, Any]:
        """Nothing."""
        return {}


@dataclass
class Simulated:
    """Phones of a simulated fleet."""

    fleet: Fleet
    config: RoundsConfig
    bytes_down: int
    """Of a message."""
    bytes_up: int
    """Of a reply."""
    state: FleetState = field(default_factory=FleetState)

    def ask(self, round_number: int, num_phones: int) -> Asked:
        """Plays the round."""
        rounds = self.config
        outcome, self.state = play(
            self.fleet,
            self.state,
            round_number,
            rounds.phones_per_round,
            rounds.min_reports,
            self.bytes_down,
            self.bytes_up,
        )
        lost = Counter(drop_out.reason for drop_out in outcome.dropped)
        lost["late"] = len(outcome.late)
        if outcome.abandoned:  # and nobody need train for it
            lost[f"for nothing: {outcome.abandoned}"] = len(outcome.reported)
            return Asked([], len(outcome.asked), +lost, self._costs(outcome))
        return Asked(list(outcome.reported), len(outcome.asked), +lost, self._costs(outcome))

    def _costs(self, outcome: Outcome) -> dict[str, float | int]:
        return {
            "eligible": outcome.num_eligible,
            "seconds": round(outcome.seconds, 3),
            "clock": round(self.state.seconds, 3),
            "bytes_down": outcome.bytes_down,
            "bytes_up": outcome.bytes_up,
            "client_seconds": round(outcome.client_seconds, 3),
            "wasted_seconds": round(outcome.wasted_seconds, 3),
        }

    def counters(self) -> dict[str, Any]:
        """The clock, and who has to rest."""
        return self.state.describe()

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Puts back what `counters` gave."""
        self.state = FleetState.read(saved)
