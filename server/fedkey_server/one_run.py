"""A lower bound on what a private run gave away, from that run alone.

In: the ground of an audit. Out: an epsilon that the run had at least, beside the accountant's. Next stop:
`fedkey_server.inversion`.

Andrew et al. 2023 (2302.03098): phones that the auditor added answer with random directions as long as the
clip. Afterwards the auditor looks at the cosine between each direction and the model's whole movement. Of a
direction that nobody sent its distribution is known without measuring: normal, with a variance of one over
the number of parameters. So the share of false alarms at a threshold is exact, the share of canaries above it
has a Clopper-Pearson bound, and whoever keeps (epsilon, delta) must satisfy

    P(cosine above it | canary was in) <= e^epsilon P(cosine above it | it was not) + delta.

The threshold is the median of every other canary, the bound is taken on the rest. (The threshold with the
best bound on the first half lies at its largest cosines, above which the other half often has none.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import Context, Message, MetricRecord, RecordDict
from scipy.special import log_ndtr
from scipy.stats import beta

from fedkey_server.accountant import PrivacyConfig
from fedkey_server.batches import Documents
from fedkey_server.client_app import ARRAYS, CONFIG, METRICS, app
from fedkey_server.clipping import ROUNDING, norm_of
from fedkey_server.records import to_record
from fedkey_server.rounds import Weights
from fedkey_server.trial import CLIP_SHARE, Finding, Ground, Outcome, Trial, bound_of, flat, phone_of

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95

SILENCED = 1 / 20
"""What is left of the noise when it is switched off. Not 0: the server accounts for what it really adds, and
the accountant needs seconds a round even for this."""


@dataclass(frozen=True)
class OneRunScale:
    """How large the test of the noise is."""

    num_canaries: int = 60
    num_honest: int = 30
    num_rounds: int = 8
    phones_per_round: int = 30
    """Expected of canaries and honest phones together."""
    max_rows: int = 4


def epsilon_lower_bound(ground: Ground, scale: OneRunScale | None = None) -> Finding:
    """The test: with the noise that the ledger claims, and with hardly any."""
    scale = scale or OneRunScale()
    honest = ground.honest(scale.num_honest, "one run")
    # Canaries never train; their text only has to be there.
    texts = [*honest, *[honest[0].take(0, 1)] * scale.num_canaries]
    clip = ground.bound(honest, CLIP_SHARE, scale.max_rows)
    promised = ground.privacy()
    claimed = _federated(ground, scale, texts, clip, promised, "audited")
    epsilon = claimed.final["privacy"]["epsilon"]
    multiplier = claimed.final["privacy"]["noise_multiplier"]
    quiet = replace(promised, noise_multiplier=multiplier * SILENCED, epsilon=0.0)
    silenced = _federated(ground, scale, texts, clip, quiet, "silenced")

    def outcome(trial: Trial) -> Outcome:
        bound = lower_bound(_cosines(ground, scale, trial), num_parameters(ground), promised.delta)
        return Outcome(bound <= epsilon, f"at least {bound:.2f}, accountant {epsilon:.2f}")

    return Finding(
        outcome(claimed),
        outcome(silenced),
        f"epsilon at delta {promised.delta:g}, {CONFIDENCE:.0%} confidence; noise multiplier "
        f"{multiplier:.2f}, {SILENCED:.0%} of it with the protection off; {scale.num_canaries} canaries of "
        "one run, taken for independent",
    )


def lower_bound(cosines: Sequence[float] | Floats, num_parameters: int, delta: float) -> float:
    """Epsilon that a run had at least, if the confidence is right; 0 if nothing can be said.

    Args:
        cosines: of each canary's direction and the movement of a model of so many parameters.
    """
    scores = np.asarray(cosines) * math.sqrt(num_parameters)  # standard normal for whoever was not in
    return max(0.0, _bound(scores[1::2], float(np.median(scores[::2])), delta))


def _bound(scores: Floats, threshold: float, delta: float) -> float:
    """log((true positives, at least, - delta) / false positives)."""
    hits = int((scores >= threshold).sum())
    least = float(beta.ppf(1 - CONFIDENCE, hits, len(scores) - hits + 1)) if hits else 0.0
    if least <= delta:
        return -math.inf
    return math.log(least - delta) - float(log_ndtr(-threshold))


def direction(seed: int, canary: int, like: Weights) -> Weights:
    """A random direction of length 1 among weights like these."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + canary) % 2**63)
    drawn = {name: torch.randn(like[name].shape, generator=generator) for name in sorted(like)}
    norm = norm_of(drawn)
    return {name: tensor / norm for name, tensor in drawn.items()}


def num_parameters(ground: Ground) -> int:
    """Of the audited model."""
    return sum(tensor.numel() for tensor in ground.start.values())


def _federated(
    ground: Ground,
    scale: OneRunScale,
    texts: Sequence[Documents],
    clip: float,
    privacy: PrivacyConfig,
    name: str,
) -> Trial:
    config = ground.configured(
        privacy=privacy,
        num_rounds=scale.num_rounds,
        phones_per_round=scale.phones_per_round,
        min_reports=1,
        max_rows=scale.max_rows,
        update_norm=clip,
    )

    def client(message: Message, context: Context) -> Message:
        canary = phone_of(message) - scale.num_honest
        if canary < 0:
            return app(message, context)
        length = bound_of(message) * (1 - 2 * ROUNDING)
        sent = direction(ground.seed, canary, ground.start)
        update = {name: tensor * length for name, tensor in sent.items()}
        said = {"num-examples": 0, "nll": 0.0, "num-steps": 0, "vote": 0.5}
        round_number = message.content.config_records[CONFIG]["server-round"]
        metrics = MetricRecord({**said, "server-round": int(str(round_number))})
        return Message(RecordDict({ARRAYS: to_record(update), METRICS: metrics}), reply_to=message)

    return ground.run(name, config, texts, client)


def _cosines(ground: Ground, scale: OneRunScale, trial: Trial) -> Floats:
    moved = flat(trial.weights) - flat(ground.start)
    moved /= moved.norm()
    sent = (direction(ground.seed, canary, ground.start) for canary in range(scale.num_canaries))
    return np.array([float(flat(each) @ moved) for each in sent])
