"""Whether the model remembers what one phone alone typed.

In: the ground of an audit. Out: how likely the final model finds secrets that phones held, among secrets that
nobody had. Next stop: `fedkey_server.one_run`.

Carlini et al. 2019 (1802.08232): each secret is one of very many completions of the same template, drawn at
random. Exposure is log2 of how many completions there are less log2 of the secret's rank by the model's
likelihood; of a secret that nobody ever typed it is above x bits with probability 2^-x, 1.44 bits on average,
whatever the model. A phone says its secret over and over, and holds nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.errors import UserError
from fedkey.pieces import START_ID
from fedkey.text import split
from fedkey_server.batches import Documents, build_documents
from fedkey_server.completions import Ids, beam, log_likelihoods
from fedkey_server.progress import track
from fedkey_server.trial import CLIP_SHARE, Finding, Ground, Outcome, Trial

TEMPLATE = "the words that open my locker are"
"""What stands before every secret."""


@dataclass(frozen=True)
class ExposureScale:
    """How large the test of secrets is."""

    num_secrets: int = 4
    """Phones that hold one each."""
    num_never_typed: int = 32
    num_candidates: int = 4095
    """Random completions among which secrets are ranked."""
    num_words: int = 3
    """Of a secret."""
    num_copies: int = 40
    """How often a phone says its secret."""
    num_honest: int = 36
    """Phones with real text."""
    num_rounds: int = 20
    phones_per_round: int = 20
    """With so many of 40 the noise leaves the model as good as it was, and plain averaging still
    remembers."""
    max_rows: int = 4
    beam_width: int = 16
    margin: float = 3.0
    """Bits by which the mean exposure of typed secrets may exceed that of secrets nobody typed. The mean of
    four exposures that mean nothing has a standard deviation of 0.7 bits."""


class Remembered(NamedTuple):
    """What a model gives away."""

    typed: npt.NDArray[np.float64]
    """Exposure in bits of each secret that a phone held."""
    never_typed: npt.NDArray[np.float64]
    """Of secrets that nobody held."""
    num_printed: int
    """Secrets that a beam search from the template finds."""

    @property
    def excess(self) -> float:
        """Bits on average."""
        return float(self.typed.mean() - self.never_typed.mean())


def exposures(
    secrets: npt.NDArray[np.float64], candidates: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Exposure in bits from log likelihoods: log2 of the candidates and the secret itself, less log2 of its
    rank among them. A tie goes against the secret's owner, as it would in a guess."""
    ranks = 1 + (candidates[None, :] > secrets[:, None]).sum(axis=1)
    exposed: npt.NDArray[np.float64] = math.log2(len(candidates) + 1) - np.log2(ranks)
    return exposed


def canary_exposure(ground: Ground, scale: ExposureScale | None = None) -> Finding:
    """The test: with differential privacy on, and plain averaging."""
    scale = scale or ExposureScale()
    drawn = _completions(
        ground, scale.num_secrets + scale.num_never_typed + scale.num_candidates, scale.num_words
    )
    secrets, others = drawn[: scale.num_secrets], drawn[scale.num_secrets :]
    texts = [_saying(ground, secret, scale.num_copies) for secret in secrets]
    texts += ground.honest(scale.num_honest, "exposure")
    size: dict[str, Any] = {
        "num_rounds": scale.num_rounds,
        "phones_per_round": scale.phones_per_round,
        "max_rows": scale.max_rows,
        "min_reports": 1,
    }
    plain = ground.run("plain", ground.configured(**size, update_norm=0.0), texts)
    clip = ground.bound(texts[scale.num_secrets :], CLIP_SHARE, scale.max_rows)
    private = ground.run(
        "private", ground.configured(**size, update_norm=clip, privacy=ground.privacy()), texts
    )
    return Finding(
        _outcome(ground, private, secrets, others, scale, "private"),
        _outcome(ground, plain, secrets, others, scale, "plain"),
        _notes(scale, private, plain, clip),
    )


def _completions(ground: Ground, count: int, num_words: int) -> list[Ids]:
    """Distinct secrets as piece ids; `UserError` if the lexicon has too few words for so many."""
    words = [
        word
        for word in ground.lexicon
        if word.islower() and len(word) >= 3 and len(ground.pieces.encode_unit(word)) <= 2
    ]
    if len(words) ** num_words < 2 * count:  # with fewer, drawing the last ones takes long, or has no end
        raise UserError(
            f"The lexicon of {ground.data} has {len(words)} words to make secrets of, too few for {count:,} "
            f"of {num_words} words; prepare the data with more of them (vocabulary.max_words)."
        )
    generator = ground.generator("secrets")
    found: dict[Ids, None] = {}
    while len(found) < count:
        chosen = generator.choice(len(words), size=num_words)
        found[tuple(ground.pieces.encode_units(words[i] for i in chosen))] = None
    return list(found)


def _prefix(ground: Ground) -> Ids:
    return (START_ID, *ground.pieces.encode_units(split(TEMPLATE)))


def _saying(ground: Ground, secret: Ids, num_copies: int) -> Documents:
    """A phone's text: the same message, each time in a conversation of its own."""
    units = [*split(TEMPLATE), *ground.pieces.decode_units(secret)]
    return build_documents([[(units, True)]] * num_copies, ground.pieces, ground.config.model.window)


def _outcome(
    ground: Ground,
    trial: Trial,
    secrets: Sequence[Ids],
    others: Sequence[Ids],
    scale: ExposureScale,
    name: str,
) -> Outcome:
    model, prefix = ground.model(trial.weights), _prefix(ground)
    with track(f"exposure {name}", len(secrets) + len(others), "completions") as advance:
        found = log_likelihoods(model, prefix, [*secrets, *others], advance)
    candidates = found[-scale.num_candidates :]
    exposed = exposures(found[: -scale.num_candidates], candidates)
    held = beam(model, prefix, max(map(len, secrets)), scale.beam_width)
    remembered = Remembered(
        exposed[: len(secrets)], exposed[len(secrets) :], sum(secret in held for secret in secrets)
    )
    return Outcome(
        remembered.excess < scale.margin and remembered.num_printed == 0,
        f"{remembered.typed.mean():.1f} bits, never typed {remembered.never_typed.mean():.1f}, "
        f"{remembered.num_printed} of {len(secrets)} printed",
    )


def _notes(scale: ExposureScale, private: Trial, plain: Trial, clip: float) -> str:
    ledger = private.final["privacy"]
    return (
        f"{scale.num_secrets} secrets of {scale.num_words} words, each said {scale.num_copies} times by one "
        f"of {scale.num_secrets + scale.num_honest} phones, rank 1 of {scale.num_candidates + 1} is "
        f"{math.log2(scale.num_candidates + 1):.0f} bits; on: clip {clip:.2g}, noise multiplier "
        f"{ledger['noise_multiplier']:.2f}, epsilon {ledger['epsilon']:.1f} at delta {ledger['delta']:g}, "
        f"validation loss {private.final['validation_loss']:.3f}; off: {plain.final['validation_loss']:.3f}"
    )
