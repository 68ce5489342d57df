"""Counting over a federation: which n-grams do many phones have?

In: a Grid of phones and the bundle whose words are counted. Out: a `Crowd`. Next stop:
`fedkey_export.ngrams`.

Phones are asked once, in cohorts, and answer with sketches under masks only: there is no way to ask one
for what it has in the clear. From the sum over all cohorts the server keeps the n-grams that many phones
have. What noise then promises holds for these, and not against a server that keeps the cohorts' sums.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import ConfigRecord, RecordDict
from flwr.serverapp import Grid

from fedkey.errors import UserError
from fedkey_server import noise
from fedkey_server.accountant import poisson_epsilon, refuse_large_delta
from fedkey_server.client_app import CONFIG, COUNT, SKETCH, TASK, flatten
from fedkey_server.crowd import CountConfig, Crowd, popular
from fedkey_server.identities import simulated_registry
from fedkey_server.own_text import own_words
from fedkey_server.progress import track
from fedkey_server.quantisation import Quantiser
from fedkey_server.roster import Registry, Terms
from fedkey_server.secure_sum import SecureSum, secure_sum

if TYPE_CHECKING:
    from fedkey_server.config import Config

log = logging.getLogger(__name__)

NOISE_MARGIN = 2.0
"""Standard deviations of the noise that an n-gram's phones must exceed. In each of four rows noise alone
does so in 2 of 100 cells, in all four at once in 3 of 10 million."""


def count(
    grid: Grid,
    config: Config,
    bundle: Path,
    registry: Callable[[int], Registry] = simulated_registry,
    *,
    simulation: bool = True,
) -> Crowd:
    """Asks phones once, `count.num_phones` of them or all.

    Args:
        grid: the phones.
        config: `count`, `sketch`, and the times of `rounds` are used.
        bundle: its lexicon and tokenizer are the phones', too.
        registry: number of phones -> their public keys.
        simulation: whether nodes play phones.

    Raises:
        UserError: too few phones are there or answered, or `count.delta` is too large for so many.
    """
    words = own_words(bundle)
    settings, shape = config.count, config.sketch
    nodes = sorted(grid.get_node_ids())
    if len(nodes) < settings.min_reports:
        raise UserError(
            f"There are {len(nodes)} phones, and count.min_reports asks for {settings.min_reports}; lower it "
            "or bring more phones."
        )
    epsilon = _epsilon(settings, len(nodes))
    told = flatten(shape, "sketch") | {
        TASK: COUNT,
        "count.seed": settings.seed,
        "lexicon": words.lexicon,
        "tokenizer": words.tokenizer,
        "model.window": words.window,
        "rounds.timeout": config.rounds.timeout,
        **({} if epsilon is None else {"epsilon": epsilon}),
    }

    def ask(phone: int) -> RecordDict:
        return RecordDict({CONFIG: ConfigRecord(told | {"phone": phone})})

    name = secrets.token_hex(16)
    total = np.zeros(shape.num_cells)
    num_phones, failures = 0, Counter[str]()
    cohorts = _cohorts(len(nodes), settings)
    num_asked = sum(map(len, cohorts))
    with track("count", num_asked, "phones") as advance:
        for number, cohort in enumerate(cohorts, 1):
            quantiser = Quantiser(shape.norm, shape.num_cells, len(cohort))
            found = secure_sum(
                grid,
                {phone: nodes[phone] for phone in cohort},
                Terms(name, number, settings.min_reports, quantiser),
                registry(len(nodes)),
                {SKETCH: (shape.num_cells,)},
                ask,
                timeout=config.rounds.timeout,
                exchange_timeout=config.rounds.exchange_timeout,
                known=simulation,
            )
            failures += _failures(found)
            if not found.abandoned:
                total += found.update[SKETCH]
                num_phones += len(found.reporters)
            advance(len(cohort), reports=num_phones)
    reasons = ", ".join(f"{times} {reason}" for reason, times in failures.most_common())
    if not num_phones:
        raise UserError(f"No phone's n-grams could be counted ({reasons}); mend that and count again.")
    if failures:
        log.warning("%d of %d phones were counted (%s)", num_phones, num_asked, reasons)
    least = float(settings.least_phones)
    if epsilon is not None:
        # Nothing is released twice under this key: whoever counts again draws another.
        total = noised(total, shape.norm, settings.noise_multiplier, secrets.token_bytes(noise.KEY_BYTES))
        least = max(least, NOISE_MARGIN * settings.noise_multiplier * shape.norm)
    return Crowd(
        words.lexicon,
        num_phones,
        least,
        popular(total, shape, words.vocabulary, least),
        words.vocabulary.start + 1,
        epsilon,
        None if epsilon is None else settings.delta,
    )


def noised(
    total: npt.NDArray[np.float64], norm: float, noise_multiplier: float, key: bytes
) -> npt.NDArray[np.float64]:
    """A sum of sketches with noise in every cell."""
    added = noise.noised({SKETCH: torch.from_numpy(total)}, key, 1, norm, noise_multiplier)
    result: npt.NDArray[np.float64] = added[SKETCH].numpy()
    return result


def _epsilon(config: CountConfig, num_phones: int) -> float | None:
    """What being counted once costs a phone of so many; `UserError` if the promise says nothing."""
    if not config.noise_multiplier:
        return None
    try:
        refuse_large_delta("count.delta", config.delta, num_phones)
    except ValueError as error:
        raise UserError(f"{error}.") from error
    return poisson_epsilon(config.noise_multiplier, 1.0, 1, config.delta)


def _cohorts(num_phones: int, config: CountConfig) -> list[list[int]]:
    """Who is asked together; no cohort is much smaller than the others."""
    order = np.random.default_rng(config.seed).permutation(num_phones)[: config.num_phones or num_phones]
    parts: list[npt.NDArray[Any]] = np.array_split(order, max(1, len(order) // config.cohort))
    return [part.tolist() for part in parts]


def _failures(found: SecureSum) -> Counter[str]:
    """Reason -> phones that are not in the sum, or failed after they were."""
    failures = Counter({"silent": found.silent})
    for stage, exchange in found.exchanges.items():
        failures += Counter({f"{reason} ({stage})": times for reason, times in exchange.refused.items()})
    if found.abandoned:
        first, *_ = found.exchanges.values()
        failures[f"for nothing: {found.abandoned}"] = first.asked - failures.total()
    return +failures
