"""How much each opinion of a word counts: learned from people whom neither model nor n-grams have read.

In: a bundle with its n-grams, and a text of such people. Out: the bundle with a `mixture.json`. Next stop:
`fedkey.mixture`.

Every word of the text is asked for as the keyboard asks: before its first letter and after the first ones.
What competes is written down with what model, n-grams and conversation say of it; then the network of
`fedkey.mixture` learns to add to the words' log probabilities what makes the right ones likeliest. Two
halves of the authors grade each other first, and tell what can be hoped for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedkey.bundle import CORRECTION, MIXTURE, open_bundle
from fedkey.conversations import GradedConversation, read_conversations, sample
from fedkey.errors import UserError
from fedkey.mixture import PLACE_INPUTS, WORD_INPUTS, Mixture
from fedkey.text import PLACEHOLDERS, is_word, units_with_places
from fedkey.workers import OpenedBundle, in_chunks, spread
from fedkey_export.package import replace_files
from fedkey_export.scaling import Scaling

if TYPE_CHECKING:
    from fedkey.cli.tables import Follow

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

LETTERS = range(4)
"""Letters typed when a word is asked for."""

NUM_CONTENDERS = 40

NUM_UNITS = 32
"""On 64,000 words of validation authors, halves of them grading each other, 2026-11-28, keys saved by an
ideal typist who has four looks at most: 59.29 % with 32, 59.34 with 64, 59.36 with a second layer of 32, and
58.91 without a network."""

NUM_EPOCHS, BATCH, RATE, DECAY = 8, 256, 2e-3, 0.01

PRICE_OF_SUM = 0.1
"""What it costs that the words' probabilities add up to more or less than before: the squared logarithm of
the ratio, times this. Without it the keys saved are the same within a hundredth."""


@dataclass(frozen=True)
class Grades:
    """Of words asked for after so many letters, in shares of them."""

    num_words: int
    first: float
    among_three: float


@dataclass(frozen=True)
class Fitted:
    """What was learned, and what it is worth to authors that it was not learned from.

    Attributes:
        mixture: learned from all of them.
        num_authors: that many.
        before: by letters typed, with fixed shares.
        after: the same where each half of the authors is weighed as the other half taught.
    """

    mixture: Mixture
    num_authors: int
    before: Mapping[int, Grades]
    after: Mapping[int, Grades]


class Questions(NamedTuple):
    """N words asked for, and C contenders for each, the likeliest first; fewer have a log probability of
    minus infinity behind them.

    Attributes:
        by_word: float32 [N, C, words' inputs].
        by_place: float32 [N, places' inputs].
        log_probs: float32 [N, C], by fixed shares.
        right: int64 [N], which contender was meant; -1 for none of them.
        letters: int64 [N], typed when it was asked for.
        author: int64 [N], whose word it is.
    """

    by_word: Floats
    by_place: Floats
    log_probs: Floats
    right: Integers
    letters: Integers
    author: Integers


def add_mixture(
    bundle: Path,
    text: Path,
    *,
    max_words: int | None = None,
    seed: int = 0,
    processes: int = 1,
    follow: Follow = lambda description, total, unit: lambda done: None,
) -> Fitted:
    """Learns a bundle's mixture and writes it into it. Its corrections are taken out: they were fitted to
    other probabilities.

    Args:
        bundle: a bundle folder; what it held of an earlier mixture is replaced.
        text: conversations of authors whom no stage of training met, see
            `fedkey.conversations.read_conversations`.
        max_words: words of it to ask for; None for all.
        seed: of the words and the fit.
        processes: worker processes.
        follow: called with the name of the long step, how many stretches there are to ask, and the unit; what
            it returns is called with the number of stretches just asked.

    Raises:
        UserError: something is not readable, or the bundle cannot be written, or the text has fewer than two
            authors, or hardly a word that the bundle knows.
    """
    conversations = sample(read_conversations(text), max_words, seed)
    authors = sorted({each.author for each in conversations})
    if len(authors) < 2:
        raise UserError(f"{text} has one author; a mixture is learned from several, who grade each other.")
    on_progress = follow("mixture", len(conversations), "stretches")
    chunks = in_chunks(conversations)
    numbers = {author: number for number, author in enumerate(authors)}
    parts = spread(bundle, partial(ask, numbers), chunks, processes=processes, on_progress=on_progress)
    questions = Questions(*map(np.concatenate, zip(*parts, strict=True)))
    halves = np.random.default_rng(seed).permutation(len(authors)) % 2
    is_first = halves[questions.author] == 0
    if not all((questions.right[half] >= 0).any() for half in (is_first, ~is_first)):
        raise UserError(
            f"{text} holds too few words that {bundle} knows; a mixture is learned from thousands of words."
        )
    shifted = questions.log_probs.copy()
    for half in (is_first, ~is_first):
        mixture = fit(_chosen(questions, half), seed)
        shifted[~half] += _shifts(mixture, _chosen(questions, ~half))
    fitted = Fitted(
        fit(questions, seed),
        len(authors),
        _grades(questions, questions.log_probs),
        _grades(questions, shifted),
    )
    write(bundle, fitted.mixture)
    return fitted


# -------------------------------------------------------------------------------------------------- asking


def ask(
    authors: Mapping[str, int], opened: OpenedBundle, conversations: Sequence[GradedConversation]
) -> Questions:
    """What competes for each word of some conversations."""
    engine, lexicon = opened.engine, opened.engine.lexicon
    engine.reset()
    rows = _Rows()
    for conversation in conversations:
        for _, before, message in conversation.to_type():
            for unit, start in units_with_places(message):
                word = unit.lower()
                if unit in PLACEHOLDERS or not is_word(unit) or word not in lexicon.forms:
                    continue
                for letters in LETTERS[: len(word)]:
                    found = engine.contenders(before + message[:start], word[:letters], NUM_CONTENDERS)
                    keys = [lexicon.key(each) for each in found.words.tolist()]
                    # Of a word's ways to be written the likeliest stands for all.
                    kept = [at for at, key in enumerate(keys) if keys.index(key) == at]
                    right = next((place for place, at in enumerate(kept) if keys[at] == word), -1)
                    rows.add(found.by_word[kept], found.by_place, found.log_probs[kept], right)
                    rows.letters.append(letters)
                    rows.author.append(authors[conversation.author])
    return rows.questions()


class _Rows:
    """Questions while they are gathered."""

    def __init__(self) -> None:
        self.by_word: list[Floats] = []
        self.by_place: list[Floats] = []
        self.log_probs: list[Floats] = []
        self.right: list[int] = []
        self.letters: list[int] = []
        self.author: list[int] = []

    def add(self, by_word: Floats, by_place: Floats, log_probs: Floats, right: int) -> None:
        missing = NUM_CONTENDERS - len(log_probs)
        self.by_word.append(np.pad(by_word, ((0, missing), (0, 0))))
        self.by_place.append(by_place)
        self.log_probs.append(np.pad(log_probs, (0, missing), constant_values=-np.inf))
        self.right.append(right)

    def questions(self) -> Questions:
        num = len(self.right)
        return Questions(
            np.array(self.by_word, dtype=np.float32).reshape(num, NUM_CONTENDERS, len(WORD_INPUTS)),
            np.array(self.by_place, dtype=np.float32).reshape(num, len(PLACE_INPUTS)),
            np.array(self.log_probs, dtype=np.float32).reshape(num, NUM_CONTENDERS),
            np.array(self.right, dtype=np.int64),
            np.array(self.letters, dtype=np.int64),
            np.array(self.author, dtype=np.int64),
        )


def _chosen(questions: Questions, which: npt.NDArray[np.bool_]) -> Questions:
    return Questions(
        questions.by_word[which],
        questions.by_place[which],
        questions.log_probs[which],
        questions.right[which],
        questions.letters[which],
        questions.author[which],
    )


# ------------------------------------------------------------------------------------------------ learning


class _Network(nn.Module):
    """a(w) of `fedkey.mixture`, with inputs brought to about one."""

    def __init__(self, questions: Questions) -> None:
        super().__init__()
        is_there = np.isfinite(questions.log_probs)
        self.words = Scaling.of(torch.from_numpy(questions.by_word[is_there]))
        self.places = Scaling.of(torch.from_numpy(questions.by_place))
        self.hidden = nn.Linear(len(WORD_INPUTS) + len(PLACE_INPUTS), NUM_UNITS)
        self.out = nn.Linear(NUM_UNITS, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, by_word: Tensor, by_place: Tensor) -> Tensor:
        """[N, C] of `by_word` [N, C, words' inputs] and `by_place` [N, places' inputs]."""
        words = self.words.scaled(by_word)
        places = self.places.scaled(by_place)[:, None].expand(-1, words.shape[1], -1)
        hidden = torch.relu(self.hidden(torch.cat([words, places], dim=2)))
        shift: Tensor = self.out(hidden)[:, :, 0]
        return shift

    def mixture(self) -> Mixture:
        """The same for inputs as they are."""
        with torch.no_grad():
            weight = self.hidden.weight
            by_word, bias = self.words.folded(weight[:, : len(WORD_INPUTS)], self.hidden.bias)
            by_place, bias = self.places.folded(weight[:, len(WORD_INPUTS) :], bias)
            mixture = Mixture(
                by_word.float().numpy(),
                by_place.float().numpy(),
                bias.float().numpy(),
                self.out.weight[0].numpy(),
                float(self.out.bias),
            )
        # As the bundle will hold it.
        return Mixture.from_json(mixture.to_json())


def fit(questions: Questions, seed: int) -> Mixture:
    """Learns a mixture: cross-entropy of what was meant among what competes, where it does, and
    `PRICE_OF_SUM`; AdamW with a rate that rises and falls."""
    # torch's own generator is put back: whoever calls this draws what they would have drawn.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Network(questions)
        kept = torch.from_numpy(np.flatnonzero(questions.right >= 0))
        by_word, by_place, log_probs, right = map(torch.from_numpy, questions[:4])
        optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
        starts = range(0, len(kept), BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=NUM_EPOCHS * len(starts))
        for _ in range(NUM_EPOCHS):
            drawn = kept[torch.randperm(len(kept))]
            for start in starts:
                rows = drawn[start : start + BATCH]
                before = log_probs[rows]
                after = before + network(by_word[rows], by_place[rows])
                change = torch.logsumexp(after, dim=1) - torch.logsumexp(before, dim=1)
                loss = nn.functional.cross_entropy(after, right[rows]) + PRICE_OF_SUM * change.square().mean()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
    return network.mixture()


# ------------------------------------------------------------------------------------------------- grading


def _shifts(mixture: Mixture, questions: Questions) -> Floats:
    """[N, C], as the keyboard has them."""
    rows = zip(questions.by_word, questions.by_place, strict=True)
    return np.array([mixture.shift(by_word, by_place) for by_word, by_place in rows], dtype=np.float32)


def _grades(questions: Questions, log_probs: Floats) -> dict[int, Grades]:
    best = np.argsort(-log_probs, axis=1, kind="stable")[:, :3] == questions.right[:, None]
    grades = {}
    for letters in LETTERS:
        own = best[questions.letters == letters]
        if len(own):
            grades[letters] = Grades(len(own), float(own[:, 0].mean()), float(own.any(axis=1).mean()))
    return grades


# ------------------------------------------------------------------------------------------------- writing


def write(bundle: Path, mixture: Mixture) -> None:
    """Puts a mixture into a bundle. Killed in between, the bundle is one without."""
    manifest = open_bundle(bundle).manifest
    # Corrections were fitted to what the words were likely before.
    files = {name: entry for name, entry in manifest.files.items() if name not in (MIXTURE, CORRECTION)}
    replace_files(bundle, replace(manifest, files=files), {MIXTURE: mixture.to_json().encode("utf-8")})
