"""Which words a phone typed, read off its update.

In: the ground of an audit. Out: the share of words that an onlooker finds in one phone's update, plain and
masked. Next stop: `fedkey_server.backdoor`.

Suliman and Leith 2023 (2210.16947) read words off the last layer: the gradient pulls the row of a typed piece
towards the hidden state before it, and pushes all others away. Here that layer is the embedding. The onlooker
knows the start model, and text of its own:

- it looks for the direction along which the hidden states of its text are all equally long (least squares).
  Along it a piece's row moves by a unit for every time it was typed, less its expected count;
- expected counts come from the start model on its text, the unit from the pieces that moved away from it;
- a piece counts as typed from a quarter of a unit. A word is a suspect if all of its pieces were; suspects
  are listed by how much of the frequency of all suspects with some piece of theirs is their own.

It guesses twice as many words as the phone typed different ones, and what counts is the share of these that
it found. Chance is what it guesses with the rows in random order: from a masked update it learns no unit
and falls back on what everybody types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import Context, Message

from fedkey_server.batches import Documents, pack
from fedkey_server.client_app import app
from fedkey_server.model import IGNORE
from fedkey_server.progress import track
from fedkey_server.secure_messages import MASKED, unflatten
from fedkey_server.step import to_batch
from fedkey_server.train import pick_device
from fedkey_server.trial import Finding, Ground, Outcome, phone_of, update_in

Floats = npt.NDArray[np.float64]

EMBEDDING = "model.embed_tokens.weight"

TYPED = 0.25
"""Units from which a piece counts as typed. On the demo's phones one in twenty of the pieces typed once
seemed typed less than 0.4 to 0.7 times, one in a hundred of the others more than 0.1 to 0.3 times."""


@dataclass(frozen=True)
class InversionScale:
    """How large the test of updates is."""

    num_phones: int = 12
    num_pieces: int = 700
    """Of a phone's text, which it trains on as a whole in one round."""
    num_rows: int = 64
    """Rows of the onlooker's own text."""
    guesses: int = 2
    """For every distinct word that a phone typed."""
    num_shuffles: int = 200
    """Random orders by which chance is measured."""
    found: float = 0.9
    """Share of words that must be found in plain updates."""
    deviations: float = 5.0
    """Masked updates may give so many standard deviations more than chance, and plain ones must give more."""


class Onlooker:
    """Whoever sees a phone's update and knows the model that it started from.

    Args:
        ground: its lexicon, tokenizer and start model are known to every phone, so to anybody.
        num_rows: how much held-out text it reads, to learn what hidden states look like.
    """

    def __init__(self, ground: Ground, num_rows: int) -> None:
        self._ground = ground
        self._words = list(ground.lexicon)
        spelt = [ground.pieces.encode_unit(word) for word in self._words]
        longest = max(map(len, spelt))
        # A shorter word repeats its last piece, which changes no minimum and no maximum.
        self._pieces_wl = np.array([[*ids, *ids[-1:] * (longest - len(ids))] for ids in spelt])
        self._is_new_wl = np.arange(longest) < np.array([len(ids) for ids in spelt])[:, None]
        self._frequencies = np.exp(np.array(list(ground.lexicon.values())))
        self.direction, self.expected = self._learnt(num_rows)

    def _learnt(self, num_rows: int) -> tuple[Floats, Floats]:
        """The direction, and the share of each piece that the start model expects."""
        ground = self._ground
        window = ground.config.model.window
        rows = pack(ground.held_out, window, window).take(slice(0, num_rows))
        model = ground.model(ground.start)
        with torch.no_grad():
            tokens, targets, positions, documents = to_batch(rows, pick_device())
            hidden_nd = model(tokens, positions, documents)[targets != IGNORE]
            expected = model.logits(hidden_nd).softmax(dim=-1).mean(dim=0).double().cpu().numpy()
        states = hidden_nd.double().cpu().numpy()
        ridge = 1e-2 * float(np.square(states).sum()) * np.eye(states.shape[1]) / states.shape[1]
        return np.linalg.solve(states.T @ states + ridge, states.sum(axis=0)), expected

    def moved(self, rows_vd: Floats) -> Floats:
        """How far the row of each piece moved along the direction."""
        found: Floats = rows_vd @ self.direction
        return found

    def counts(self, moved: Floats, num_targets: int) -> Floats:
        """How often each piece seems to have been typed, of `num_targets` in all."""
        away = (moved < 0) & (self.expected > 1e-5)
        unit = float(np.median(-moved[away] / self.expected[away]))
        found: Floats = (moved / unit + self.expected) * num_targets
        return found

    def guesses(self, counts: Floats, num_guesses: int) -> set[str]:
        """The most suspicious words."""
        words = np.flatnonzero((counts > TYPED)[self._pieces_wl].all(axis=1))
        pieces, is_new = self._pieces_wl[words], self._is_new_wl[words]
        own = np.broadcast_to(self._frequencies[words][:, None], pieces.shape)
        everybody = np.bincount(pieces[is_new], own[is_new], minlength=len(counts))
        shares = (own / np.where(is_new, everybody[pieces], np.inf)).max(axis=1, initial=0.0)
        best = words[np.argsort(-shares, kind="stable")[:num_guesses]]
        return {self._words[word] for word in best.tolist()}


@dataclass(frozen=True)
class Typed:
    """What one phone really typed."""

    words: frozenset[str]
    """Those that the lexicon knows."""
    num_targets: int

    @classmethod
    def of(cls, text: Documents, ground: Ground) -> Typed:
        """The phone's own words, whatever its partners said."""
        units = ground.pieces.decode_units(text.ids[text.loss].tolist())
        return cls(frozenset(units) & ground.lexicon.keys(), int(text.loss.sum()))


def update_inversion(ground: Ground, scale: InversionScale | None = None) -> Finding:
    """The test: what reaches the server with secure aggregation, and without."""
    scale = scale or InversionScale()
    texts = [_short(text, scale.num_pieces) for text in ground.honest(scale.num_phones, "inversion")]
    typed = [Typed.of(text, ground) for text in texts]
    onlooker = Onlooker(ground, scale.num_rows)
    seen = {"masked": _seen(ground, texts, is_secure_run=True), "plain": _seen(ground, texts)}
    shares, chances, spreads = {}, {}, {}
    generator = ground.generator("chance")
    num_words = sum(len(each.words) for each in typed)
    total = len(seen) * len(texts) * (1 + scale.num_shuffles)
    with track("inversion", total, "guesses") as advance:
        for name, updates in seen.items():
            hits = np.zeros(1 + scale.num_shuffles)
            for phone, theirs in enumerate(typed):
                moved = onlooker.moved(updates[phone])
                for trial in range(len(hits)):
                    counts = onlooker.counts(moved, theirs.num_targets)
                    guessed = onlooker.guesses(counts, scale.guesses * len(theirs.words))
                    hits[trial] += len(guessed & theirs.words)
                    moved = generator.permutation(moved)
                    advance()
            found = hits / num_words
            shares[name], chances[name], spreads[name] = found[0], found[1:].mean(), found[1:].std()

    def outcome(name: str, least: float) -> Outcome:
        """Whether fewer words were found than give something away: `least`, and more than by chance."""
        limit = max(least, chances[name] + scale.deviations * spreads[name])
        return Outcome(bool(shares[name] < limit), f"{shares[name]:.1%} of words, chance {chances[name]:.1%}")

    return Finding(
        outcome("masked", 0.0),
        outcome("plain", scale.found),
        f"{num_words} words of {len(texts)} phones, {scale.guesses} guesses for each; plain ones must give "
        f"{scale.found:.0%}, masked ones no more than {scale.deviations:g} standard deviations above chance; "
        "masks are random, so that this figure differs from run to run",
    )


def _short(text: Documents, num_pieces: int) -> Documents:
    """A phone's first documents, as many as have so many pieces together, and at least one."""
    return text.take(0, max(1, int(np.searchsorted(text.offsets, num_pieces, side="right")) - 1))


def _seen(ground: Ground, texts: Sequence[Documents], *, is_secure_run: bool = False) -> dict[int, Floats]:
    """Phone -> how the embedding moved, as far as the server can tell from this phone's messages."""
    shapes = {name: tuple(tensor.shape) for name, tensor in ground.start.items()}
    num_numbers = sum(tensor.numel() for tensor in ground.start.values())
    found: dict[int, Floats] = {}

    def overheard(message: Message, context: Context) -> Message:
        reply = app(message, context)
        if is_secure_run and MASKED in reply.content.array_records:
            words = reply.content.array_records[MASKED][MASKED].numpy()
            # What a word stands for without its mask, but for the size of a step, which changes no guess.
            numbers = words[:num_numbers].view(np.int32).astype(np.float64)
            found[phone_of(message)] = unflatten(numbers, shapes)[EMBEDDING]
        elif not is_secure_run:
            found[phone_of(message)] = update_in(reply)[EMBEDDING].double().cpu().numpy()
        return reply

    config = ground.configured(
        num_rounds=1,
        phones_per_round=len(texts),
        min_reports=len(texts),
        max_rows=0,
        secure=is_secure_run,
        update_norm=ground.bound(texts, 1.0, 0) if is_secure_run else 0.0,
    )
    ground.run("masked" if is_secure_run else "plain", config, texts, overheard)
    return found
