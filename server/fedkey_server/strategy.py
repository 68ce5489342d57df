"""One round of federated averaging over Flower's messages: whom to ask, what to make of the answers.

In: the server's weights, and phones' replies as they arrive. Out: new weights, or none, and what came of the
round. Next stop: `fedkey_server.server_app`.

Messages look as those of Flower's own FedAvg do, with weights by "num-examples" and replies with errors. The
strategy is none of Flower's: cohorts are drawn by (seed, round), updates added up as they arrive, replies
that cannot be used refused and counted by reason, too few reports leave the model alone, and the server's
optimizer has a state that a checkpoint keeps.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid

from fedkey_server.client_app import ARRAYS, CONFIG, METRICS
from fedkey_server.clipping import ROUGHNESS, norm_before_rounding, rough_norm_of
from fedkey_server.grid import replies_to
from fedkey_server.identities import simulated_registry
from fedkey_server.masking import MASK
from fedkey_server.private_average import PrivateAverage
from fedkey_server.quantisation import LARGEST_COHORT, Quantiser, Sum
from fedkey_server.records import from_record, lend, record_in, twin_of
from fedkey_server.robust import AggregationConfig, krum, median, trimmed_mean
from fedkey_server.roster import Registry, Terms
from fedkey_server.rounds import Average, PhoneReport, Weights
from fedkey_server.secure_sum import reason_of, secure_sum
from fedkey_server.selection import Selection
from fedkey_server.server_optim import ServerOptimizer

if TYPE_CHECKING:
    from fedkey_server.config import Config


UNASKED = "replayed or not asked for"
"""Reason for which a reply counts for nothing."""


@dataclass
class RoundResult:
    """What came back in one round."""

    asked: int = 0
    reports: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Reason -> phones whose reply was an error or could not be used."""
    examples: dict[str, str] = field(default_factory=dict)
    """Reason -> what the first such phone said."""
    lost: Counter[str] = field(default_factory=Counter)
    """Reason -> phones that were asked and did not get to report: of a simulated fleet, real ones that were
    still at work when the round had reached its goal, or those that did their part of a secure round that was
    given up."""
    costs: dict[str, float | int] = field(default_factory=dict)
    """What the round took in a simulated fleet."""
    bytes: dict[str, int] = field(default_factory=dict)
    """What secure aggregation sent "down" and "up", all stages and phones."""
    besides: Counter[str] = field(default_factory=Counter)
    """Reason -> what else went wrong: replies nobody asked for, phones that failed after their update was in
    the sum."""
    nll: float = 0.0
    num_targets: int = 0
    num_steps: int = 0

    @property
    def silent(self) -> int:
        """Phones that did not answer in time."""
        return self.asked - self.reports - self.refused.total() - self.lost.total()

    @property
    def failures(self) -> Counter[str]:
        """Reason -> phones that did not help, the silent ones included, and replies nobody asked for."""
        return self.refused + self.besides + self.lost + Counter({"silent": self.silent})

    def describe(self, round_number: int, *, is_changed: bool) -> dict[str, Any]:
        """The round's line of metrics."""
        return {
            "step": round_number,
            "asked": self.asked,
            "reports": self.reports,
            "refused": dict(self.refused + self.besides),
            "silent": self.silent,
            "changed": is_changed,
            **self._sums(),
            **({"secure_bytes": self.bytes} if self.bytes else {}),
            **({"lost": dict(self.lost)} if self.lost or self.costs else {}),
            **({"fleet": self.costs} if self.costs else {}),
        }

    def _sums(self) -> dict[str, Any]:
        """Phones of a private run do not say what they trained on."""
        if not self.num_targets:
            return {}
        return {
            "train_loss": self.nll / self.num_targets,
            "num_targets": self.num_targets,
            "local_steps": self.num_steps,
        }

    def complaint(self, round_number: int, least_reports: int) -> str:
        """Why the round changed nothing, in a sentence."""
        return (
            f"round {round_number} changed nothing: {self.reports} of {self.asked} phones reported, "
            f"{least_reports} are needed{in_brackets(self.reasons())}"
        )

    def reasons(self) -> str:
        """How many phones failed for which reason, with the words of the first of each."""
        examples = [f"; {reason}: {detail}" for reason, detail in self.examples.items() if detail]
        return in_words(self.failures) + "".join(examples)


def in_words(failures: Counter[str]) -> str:
    """ "3 silent, 1 not finite"."""
    return ", ".join(f"{count} {reason}" for reason, count in failures.most_common())


def in_brackets(reasons: str) -> str:
    """ " (3 silent)"; nothing if there are none."""
    return f" ({reasons})" if reasons else ""


class Unusable(Exception):
    """A reply that the server leaves out."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        """A few words, by which replies are counted."""
        self.detail = detail
        """What this phone said."""


class SeededFedAvg:
    """FedAvg with reproducible cohorts, streaming sums, a minimum of reports and any server optimizer.

    Args:
        config: `rounds`, `aggregation` and `server_optimizer` are used.
        selection: whom a round asks.
        state: the server optimizer's, from a checkpoint.
        private: how averages are released, if the run is private.
        run: the run's name, to which phones' signatures are bound.
        registry: number of phones -> their public keys.
        simulation: whether the server says which phone a node plays, and all nodes are there. Real phones
            say who they are, come and go, and a round closes at its goal of reports.
    """

    def __init__(
        self,
        config: Config,
        selection: Selection,
        state: Weights | None = None,
        private: PrivateAverage | None = None,
        run: str = "",
        registry: Callable[[int], Registry] = simulated_registry,
        *,
        simulation: bool = True,
    ) -> None:
        self.config = config.rounds
        self.selection = selection
        self.aggregation = config.aggregation
        self.optimizer = ServerOptimizer(config.server_optimizer, state or {})
        self.private = private
        self.run = run
        self.registry = registry
        self.simulation = simulation
        # Samples by coins are amplified if every report that arrives is kept.
        self.goal = math.inf if config.privacy.mode == "poisson" else config.rounds.phones_per_round
        self.least_reports = max(config.rounds.min_reports, config.aggregation.least_reports)
        self.result = RoundResult()
        self.reference: Weights = {}
        self.update_norm = 0.0
        self.num_phones = 0
        self._waited_for: set[int] = set()
        self._in_order = False

    def run_round(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: Grid,
        on_reply: Callable[[int], None],
    ) -> ArrayRecord | None:
        """One round from the server's weights to the next; None if it changes nothing.

        Args:
            on_reply: told of every phone that answered, by how many.
        """
        if self.config.secure:
            return self._secure_round(server_round, arrays, config, grid, on_reply)
        self._in_order = getattr(grid, "answers_in_order", False)
        messages = self._messages(server_round, arrays, config, grid)

        def watched() -> Generator[Message]:
            with replies_to(grid, messages, self.config.timeout) as replies:
                for reply in replies:
                    yield reply
                    del reply  # see _aggregate
                    on_reply(1)
                    if self.result.reports >= self.goal and self._waited_for:
                        self.result.lost["late"] += len(self._waited_for)
                        return

        with closing(watched()) as replies:
            return self._aggregate(server_round, replies)

    def _messages(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each phone of the round's cohort; node ids in order stand for phones 0, 1, ...
        Each is made when it is taken."""
        nodes, settings = self._begin(server_round, arrays, config, grid)
        self._waited_for = set(nodes.values())
        return (
            Message(
                self._content(arrays, settings, phone),
                dst_node_id=node,
                message_type=MessageType.TRAIN,
                group_id=str(server_round),
            )
            for phone, node in nodes.items()
        )

    def _begin(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> tuple[dict[int, int], ConfigRecord]:
        """The round's phones with their nodes, and its settings."""
        nodes = self._nodes(grid)
        self.num_phones = len(nodes)
        asked = self.selection.ask(server_round, len(nodes))
        chosen = asked.phones
        self.result = RoundResult(asked=asked.num_asked, lost=asked.lost, costs=asked.costs)
        self.reference = from_record(arrays)
        self.update_norm = self.config.update_norm if self.private is None else self.private.clip.norm
        told: dict[str, Any] = {"private": self.private is not None}
        if self.private is not None:  # phones show their owners what they spend
            told["epsilon"] = self.private.accountant.epsilon(server_round)
        settings = ConfigRecord(
            {**config, "server-round": server_round, "rounds.update_norm": self.update_norm, **told}
        )
        return {phone: nodes[phone] for phone in chosen if phone < len(nodes)}, settings

    def _nodes(self, grid: Grid) -> list[int]:
        """Who is there; the server waits for real phones as long as a round may last."""
        deadline = time.monotonic() + (0 if self.simulation else self.config.timeout)
        while len(nodes := sorted(grid.get_node_ids())) < self.least_reports and time.monotonic() < deadline:
            time.sleep(1)
        return nodes

    @staticmethod
    def _content(arrays: ArrayRecord, settings: ConfigRecord, phone: int) -> RecordDict:
        """Each phone gets records of its own, so that none can change another's; they share the bytes of the
        weights, which nobody can change."""
        told = settings.copy()
        told["phone"] = phone
        return RecordDict({ARRAYS: twin_of(arrays), CONFIG: told})

    def _secure_round(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: Grid,
        on_reply: Callable[[int], None],
    ) -> ArrayRecord | None:
        nodes, settings = self._begin(server_round, arrays, config, grid)
        is_few = len(nodes) < self.least_reports
        if is_few or len(nodes) > LARGEST_COHORT:  # of coins, which may ask any number
            reason = f"for nothing: too {'few' if is_few else 'many'} phones were asked"
            self.result.lost += Counter({reason: len(nodes)})
            return self._conclude(server_round, None)
        terms = self._terms(server_round, len(nodes))
        # Rounding to the ring lengthens an update; what leaves the phone must still be within the bound.
        settings["rounds.update_norm"] = terms.quantiser.clip_norm
        found = secure_sum(
            grid,
            nodes,
            terms,
            self.registry(self.num_phones),
            {name: tuple(tensor.shape) for name, tensor in self.reference.items()},
            lambda phone: self._content(arrays, settings, phone),
            timeout=self.config.timeout,
            exchange_timeout=self.config.exchange_timeout,
            goal=self.goal,
            known=self.simulation,
        )
        result = self.result
        for stage, exchange in found.exchanges.items():
            result.besides += Counter({UNASKED: exchange.unasked})
            failed = result.refused if found.leaves_out(stage) else result.besides
            for reason, count in exchange.refused.items():
                failed[f"{reason} ({stage})"] += count
                result.examples.setdefault(f"{reason} ({stage})", exchange.examples.get(reason, ""))
        result.bytes = {
            "down": sum(exchange.num_bytes_sent for exchange in found.exchanges.values()),
            "up": sum(exchange.num_bytes_received for exchange in found.exchanges.values()),
        }
        if found.abandoned:
            result.examples.setdefault("secure aggregation", found.abandoned)
            in_vain = len(nodes) - result.refused.total() - found.silent
            result.lost += Counter({f"for nothing: {found.abandoned}": in_vain})
            on_reply(in_vain + result.refused.total())
            return self._conclude(server_round, None)
        result.reports = len(found.reporters)
        on_reply(result.reports + result.refused.total())
        if result.reports >= self.goal:
            result.lost += Counter({"late": found.exchanges[MASK].silent})
        result.nll = found.sums.get("nll", 0.0)
        result.num_targets = round(found.sums.get("num-examples", 0))
        result.num_steps = round(found.sums.get("num-steps", 0))
        total = {name: torch.from_numpy(array) for name, array in found.update.items()}
        return self._conclude(server_round, Gathered(total, len(found.reporters), found.sums["vote"]))

    def _terms(self, server_round: int, num_invited: int) -> Terms:
        """What everybody in a secure round agrees on."""
        sums = [Sum("vote", 0.5)]
        if self.private is None:
            sums += [Sum("num-examples", 1e6), Sum("nll", 1e7), Sum("num-steps", 1e5)]
        num_coordinates = sum(tensor.numel() for tensor in self.reference.values())
        coarse = Quantiser(self.update_norm, num_coordinates, num_invited, tuple(sums))
        bound = norm_before_rounding(self.update_norm, coarse.step, num_coordinates)
        return Terms(self.run, server_round, self.least_reports, replace(coarse, clip_norm=bound))

    def _aggregate(self, server_round: int, replies: Iterable[Message]) -> ArrayRecord | None:
        """The new weights, or None if too few usable replies came."""
        may_round = self._in_order and self.private is None
        updates = _Updates(
            self.aggregation,
            weigh_alike=bool(self.update_norm),
            num_in_float32=NUM_IN_FLOAT32 if may_round else 1,
        )
        result = self.result
        for reply in replies:
            self._take(server_round, reply, updates)
            del reply  # before the next phone works: its update gets this one's memory, still in the cache
        is_enough = result.reports >= self.least_reports
        return self._conclude(server_round, updates.gathered() if is_enough else None)

    def _take(self, server_round: int, reply: Message, updates: _Updates) -> None:
        """Adds a reply to the round's, or counts why not."""
        result, node = self.result, reply.metadata.src_node_id
        if node not in self._waited_for:  # a phone speaks once a round, and only when it is asked
            result.besides[UNASKED] += 1
            return
        self._waited_for.remove(node)
        try:
            report = self._read(server_round, reply)
        except Unusable as fault:
            result.refused[fault.reason] += 1
            result.examples.setdefault(fault.reason, fault.detail)
            return
        updates.add(report)
        result.reports += 1
        result.nll += report.nll
        result.num_targets += report.num_targets
        result.num_steps += report.num_steps

    def _conclude(self, server_round: int, gathered: Gathered | None) -> ArrayRecord | None:
        """The server's step along what the phones found; none if that was too little."""
        private = self.private
        if gathered is None:
            if private is not None:
                private.abandon()
            return None
        if private is None:
            # In place: nobody needs the total any more, and as much again in float64 would be 27 MB.
            update = {name: tensor.div_(gathered.weight).float() for name, tensor in gathered.total.items()}
        else:
            update = private.release(gathered.total, gathered.votes, server_round)
        rate = self.optimizer.config.in_round(server_round, self.config.num_rounds)
        return lend(self.optimizer.step(self.reference, update, rate))

    def _read(self, server_round: int, reply: Message) -> PhoneReport:
        """A phone's report; raises `Unusable` if there is none or it does not fit."""
        if reply.has_error():
            raise Unusable(reason_of(reply.error), " ".join(str(reply.error.reason).split()))
        try:
            update = from_record(record_in(reply.content, ARRAYS, ArrayRecord))
            metrics = record_in(reply.content, METRICS, MetricRecord)
            num_targets, nll, num_steps, vote, its_round = (
                float(metrics[key])  # type: ignore[arg-type]  # a list is a TypeError, as it should be
                for key in ("num-examples", "nll", "num-steps", "vote", "server-round")
            )
        except Exception as error:  # the bytes are a stranger's: numpy may raise anything over them
            raise Unusable("malformed reply", f"{type(error).__name__}: {error}") from error
        if its_round != server_round:
            raise Unusable("late, from another round")
        if {name: tensor.shape for name, tensor in update.items()} != {
            name: tensor.shape for name, tensor in self.reference.items()
        }:
            raise Unusable("wrong shapes")
        if any(tensor.dtype != torch.float32 for tensor in update.values()):
            raise Unusable("wrong types")
        norm = rough_norm_of(update)  # infinite or none at all if one number of it is
        if not all(map(math.isfinite, (num_targets, nll, num_steps, vote, norm))):
            raise Unusable("not finite")
        if num_targets < 1 and self.private is None:
            raise Unusable("nothing to train on")
        if self.update_norm and norm > self.update_norm * (1 + ROUGHNESS):
            raise Unusable("oversized update")
        if abs(vote) != 0.5:
            raise Unusable("a vote that is none")
        return PhoneReport(update, int(num_targets), nll, int(num_steps), vote)


class Gathered(NamedTuple):
    """What a round's updates come to."""

    total: Weights
    """Their weighted sum."""
    weight: float
    """Sum of the weights."""
    votes: float
    """Sum of the phones' votes on the clip."""


NUM_IN_FLOAT32 = 8
"""Of `Average`. On a busy machine 8 at a time took 2.1 ms for a phone's 3.4 million numbers, 4 took 2.8, 16
took 2.2, and float64 alone 5.4."""


class _Updates:
    """A round's updates: their running sum where that is enough, all of them where the rule compares them.

    Where updates are bounded all phones weigh the same, or one could count for many by claiming to have
    trained on much. What a phone moves a private sum by must not depend on how others round, nor a model on
    which phone was faster, so sums are in float64 alone but where replies have an order.
    """

    def __init__(self, config: AggregationConfig, *, weigh_alike: bool, num_in_float32: int) -> None:
        self.config = config
        self.weigh_alike = weigh_alike
        self._average = Average(num_in_float32)
        self._updates: list[Weights] = []
        self._votes = 0.0

    def add(self, report: PhoneReport) -> None:
        """Adds one phone's."""
        if self.config.name == "mean":
            self._average.add(report.update, 1 if self.weigh_alike else report.num_targets)
            self._votes += report.vote
        else:
            self._updates.append(report.update)

    def gathered(self) -> Gathered:
        """What they come to; a rule that compares them has a weight of 1."""
        match self.config.name:
            case "median":
                return Gathered(median(self._updates), 1, 0.0)
            case "trimmed_mean":
                return Gathered(trimmed_mean(self._updates, self.config.trimmed_share), 1, 0.0)
            case "krum":
                return Gathered(krum(self._updates, self.config.num_bad, self.config.num_kept), 1, 0.0)
        return Gathered(self._average.total, self._average.weight, self._votes)
