"""Does the bundle say what the checkpoint says?

In: a bundle, the torch model it was made from, and conversations. Out: figures, or a `UserError` if the
bundle does not reproduce the model. Next stop: `keyboard/BUNDLE.md`, then `fedkey.bundle`.

The bundle is run through `fedkey.model`, as the phone runs it: read in portions, into a cache, with trees
of candidates behind it. A float32 graph must agree to rounding. An int8 graph is another model, close to
the first; it must predict as well, and agree about what comes first wherever that is not a near tie. And
almost all of what it differs by must be the rounding that was meant, which `fedkey_export.rounding` does in
torch: a slip in the graph can be small enough to pass for rounding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fedkey.bundle import Bundle
from fedkey.dictionary import as_bits
from fedkey.errors import UserError
from fedkey.lexicon import Lexicon
from fedkey.model import LanguageModel
from fedkey.pieces import END_ID, PAD_ID, START_ID, UNKNOWN_ID, Pieces
from fedkey.text import normalise, truecase
from fedkey_export.lexicon_arrays import Row
from fedkey_export.normaliser import usual_log_normaliser
from fedkey_export.rounding import round_activations, rounded_twin
from fedkey_server.model import Model

Floats = npt.NDArray[np.float32]
Ids = list[int]

NUM_CONTEXTS = 32
"""Stretches of conversation compared, each as long as the window allows."""

NUM_SAMPLED = 16
"""Stretches compared where no conversations are at hand; each is half a window."""

TREE_NODES = 12
TREES = 24
"""Of four trees a single score can decide: the root mean square was 0.29 over 48 scores of a model that has
0.19 over 288 (2026-11-26)."""

PORTION = 7
"""Ids read at a time, so that most of them are read behind a cache."""

NEAR_TIE = 0.1
"""Nats: if torch finds two pieces this close, either may come first."""

FLOAT_TOLERANCE = 1e-4
"""Nats: two ways of adding up the same products in single precision. Measured: up to 2e-5."""

# Measured on trained models of the tiny preset: KL up to 0.0008, NLL 0.006 worse, 99.8 % of first places,
# scores 0.05. See also the figures in each bundle's manifest.
MAX_KL = 0.01
MAX_NLL_CHANGE = 0.02
MIN_TOP1_AGREEMENT = 0.97
MAX_SCORE_DIFFERENCE = 0.25

MAX_UNEXPLAINED = 0.5
"""How far an int8 bundle may be from torch with the same rounding, as a share of what that rounding changes.
Values on the edge between two steps fall either way: 0.02 to 0.15 on trained models of 3 layers, 0.25 on
untrained ones of 12. Rotary tables that are wrong from the 100th position on: 0.54 after 60 steps of
training, 5 after 500."""

MAX_SPREAD = 2.0
"""Nats. Measured: 0.2 with a strong penalty on log Z, 0.9 with a weak one; both gave the keystroke savings
that exact probabilities give."""


@dataclass(frozen=True)
class Figures:
    """How far a bundle is from its checkpoint, over all compared positions."""

    contexts: str
    """"conversations" of validation authors, or "sampled" from the model itself."""
    num_positions: int
    nll: float
    """Mean negative log likelihood under torch of the pieces that training grades, in nats: all but
    documents' first ones and the marks that begin a message."""
    nll_change: float
    """What the bundle adds to it."""
    kl: float
    """Mean divergence of the bundle's distribution from torch's, in nats."""
    top1_agreement: float
    """Share of positions with the same most probable piece, near ties counted as the same."""
    largest_difference: float
    """Of any log probability above exp(-12), in nats."""
    rounding: float
    """Root mean square of what rounding weights and activations changes in these log probabilities, both in
    torch; 0 for float32."""
    unexplained: float
    """Root mean square of their difference from torch with the bundle's rounding."""
    score_difference: float
    """Root mean square difference of candidates' scores in trees, in nats."""
    score_rounding: float
    """As `rounding`, of candidates' scores in trees."""
    score_unexplained: float
    """As `unexplained`, of candidates' scores in trees."""
    log_normaliser: float
    """What these scores take off the logits, in nats: see `fedkey_export.normaliser`."""
    spread: float
    """Root mean square distance of torch's log Z from that, inside words: the error of a score."""


def verify(bundle: Bundle, model: Model, conversations: Path | None) -> Figures:
    """Compares, and raises `UserError` if the bundle does not reproduce the model.

    Args:
        bundle: opened by `open_bundle`.
        model: the checkpoint's model.
        conversations: a prepared `validation.jsonl`; without it contexts are sampled from the bundle.
    """
    figures = compare(bundle, model, conversations)
    problem = _problem(figures, bundle.manifest.model.precision)
    if problem is not None:
        raise UserError(f"The bundle does not reproduce its checkpoint: {problem}; it must not be shipped.")
    if figures.spread > MAX_SPREAD:
        raise UserError(
            f"The model's normaliser varies by {figures.spread:.2g} nats (at most {MAX_SPREAD:g}), so that "
            "words of several pieces cannot be compared; train it longer, or with a larger train.z_penalty."
        )
    return figures


def verify_words(bundle: Bundle, rows: Sequence[Row], right_words: Sequence[str]) -> None:
    """`UserError` unless the bundle's lexicon holds exactly these words, each as the tokenizer spells it, and
    its dictionary the right ones."""
    pieces = Pieces(bundle.tokenizer_bytes())
    lexicon = Lexicon(bundle.lexicon_arrays(), pieces.vocab_size)
    for row in rows:
        index = lexicon.find(row.word)
        if (
            index is None
            or lexicon.pieces(index) != pieces.encode_unit(row.word)
            or lexicon.is_offensive(index) != row.offensive
            or lexicon.log_prob[index] != np.float32(row.log_prob)
        ):
            raise UserError(
                f"The bundle does not reproduce its lexicon: {row.word!r} differs; it must not be shipped."
            )
    if len(lexicon) != len(rows):
        raise UserError(
            f"The bundle does not reproduce its lexicon: it holds {len(lexicon)} words, not {len(rows)}; "
            "it must not be shipped."
        )
    bits = bundle.dictionary_array()
    if bits is None or not np.array_equal(bits, as_bits(right_words)):
        raise UserError("The bundle does not reproduce its dictionary; it must not be shipped.")


def _problem(figures: Figures, precision: str) -> str | None:
    if not all(np.isfinite(value) for value in asdict(figures).values() if isinstance(value, float)):
        return "it gives values that are no numbers"
    if precision == "float32":
        worst = max(figures.largest_difference, figures.score_difference)
        return f"log probabilities differ by up to {worst:.2g} nats" if worst > FLOAT_TOLERANCE else None
    if figures.kl > MAX_KL:
        return f"its distributions diverge by {figures.kl:.3g} nats (at most {MAX_KL})"
    if figures.nll_change > MAX_NLL_CHANGE:
        return f"it predicts real text worse by {figures.nll_change:.3g} nats (at most {MAX_NLL_CHANGE})"
    if figures.top1_agreement < MIN_TOP1_AGREEMENT:
        return (
            f"it agrees on {figures.top1_agreement:.1%} of first places (at least {MIN_TOP1_AGREEMENT:.0%})"
        )
    if figures.score_difference > MAX_SCORE_DIFFERENCE:
        return (
            f"scores of candidates differ by {figures.score_difference:.3g} (at most {MAX_SCORE_DIFFERENCE})"
        )
    for unexplained, rounding, what in (
        (figures.unexplained, figures.rounding, "log probabilities"),
        (figures.score_unexplained, figures.score_rounding, "scores of candidates"),
    ):
        if unexplained > max(FLOAT_TOLERANCE, MAX_UNEXPLAINED * rounding):
            return (
                f"{what} differ by {unexplained:.3g} nats from the same rounding in torch, which itself "
                f"changes {rounding:.3g}"
            )
    return None


@torch.no_grad()
def compare(bundle: Bundle, model: Model, conversations: Path | None) -> Figures:
    """The figures alone."""
    model.eval()
    phone = LanguageModel(bundle)
    is_rounded = bundle.manifest.model.precision == "int8"
    twin = rounded_twin(model) if is_rounded else model
    contexts = _sampled(phone) if conversations is None else _conversations(bundle, conversations)
    if not contexts:
        raise UserError(f"{conversations} holds no conversation to compare with; prepare the data again.")
    pieces = Pieces(bundle.tokenizer_bytes())
    log_normaliser = usual_log_normaliser(model, Lexicon(bundle.lexicon_arrays(), pieces.vocab_size))
    positions = hits = graded = 0
    nll = nll_change = kl = largest = 0.0
    rounding, unexplained, spread = _Squares(), _Squares(), _Squares()
    for ids in contexts:
        ours, logits = _phone_log_probs(phone, ids), model.logits(_torch_hidden(model, ids))
        theirs: Floats = logits.log_softmax(dim=-1).numpy()
        # That a message begins is given, never predicted: with those places an int8 bundle of the phone
        # preset seemed to lose 0.020 nats, all of it there but 0.002 (4.472 nats a piece, 14,011 positions).
        following = np.array(ids[1:])
        rows = np.flatnonzero(following != START_ID)
        following = following[rows]
        nll -= float(theirs[rows, following].sum())
        nll_change += float((theirs[rows, following] - ours[rows, following]).sum())
        kl += float((np.exp(theirs) * (theirs - ours)).sum())
        gap = theirs.max(axis=1) - np.take_along_axis(theirs, ours.argmax(axis=1)[:, None], axis=1)[:, 0]
        hits += int((gap < NEAR_TIE).sum())
        likely = theirs > -12
        largest = max(largest, float(np.abs(ours - theirs)[likely].max()))
        rounded = _rounded_log_probs(twin, ids) if is_rounded else theirs
        rounding.add((rounded - theirs)[likely])
        unexplained.add((ours - rounded)[likely])
        log_z: Floats = logits.logsumexp(dim=-1).numpy()
        is_inside = [i > UNKNOWN_ID and not pieces.ends_unit[i] for i in ids]
        spread.add(log_z[is_inside] - np.float32(log_normaliser))
        positions += len(ids)
        graded += len(rows)
    by_phone, by_torch, by_twin = _tree_scores(phone, model, twin, contexts[:TREES], log_normaliser)
    return Figures(
        contexts="sampled" if conversations is None else "conversations",
        num_positions=positions,
        nll=nll / max(1, graded),
        nll_change=nll_change / max(1, graded),
        kl=kl / positions,
        top1_agreement=hits / positions,
        largest_difference=largest,
        rounding=rounding.root_mean,
        unexplained=unexplained.root_mean,
        score_difference=_root_mean_square(by_phone - by_torch),
        score_rounding=_root_mean_square(by_twin - by_torch),
        score_unexplained=_root_mean_square(by_phone - by_twin),
        log_normaliser=log_normaliser,
        spread=spread.root_mean,
    )


def _root_mean_square(values: Floats) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


class _Squares:
    """A root mean square over arrays that come one by one."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, values: Floats) -> None:
        self._sum += float(np.square(values, dtype=np.float64).sum())
        self._count += values.size

    @property
    def root_mean(self) -> float:
        return float(np.sqrt(self._sum / max(1, self._count)))


def _phone_log_probs(phone: LanguageModel, ids: Ids) -> Floats:
    cache = phone.new_cache()
    return np.concatenate(
        [phone.advance_each(cache, ids[at : at + PORTION]) for at in range(0, len(ids), PORTION)]
    )


def _torch_hidden(model: Model, ids: Sequence[int]) -> torch.Tensor:
    """[T, D] of one document."""
    tokens = torch.tensor([list(ids)])
    hidden: torch.Tensor = model(tokens, torch.arange(len(ids))[None], torch.zeros_like(tokens))
    return hidden[0]


def _last_hidden(model: Model, paths: Sequence[Ids]) -> torch.Tensor:
    """[N, D] at the end of each of N documents, which are rows of one batch."""
    lengths = torch.tensor([len(path) for path in paths])
    places = torch.arange(int(lengths.max()))
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(path) for path in paths], batch_first=True)
    documents = torch.where(places < lengths[:, None], 0, -1)
    hidden: torch.Tensor = model(tokens, places.expand_as(tokens), documents)
    return hidden[torch.arange(len(paths)), lengths - 1]


def _rounded_log_probs(twin: Model, ids: Sequence[int]) -> Floats:
    """[T, V] of one document; the head, too, rounds what it is given."""
    hidden = round_activations(_torch_hidden(twin, ids))
    log_probs: Floats = twin.logits(hidden).log_softmax(dim=-1).numpy()
    return log_probs


def _tree_scores(
    phone: LanguageModel, model: Model, twin: Model, contexts: Sequence[Ids], log_normaliser: float
) -> Floats:
    """[3, N] scores of random trees by the phone, and by both models, which read every path by itself."""
    rng = np.random.default_rng(0)
    scores = []
    for ids in contexts:
        ids = ids[: phone.window - TREE_NODES]
        pieces, asked = rng.integers(START_ID, phone.entry.vocab_size, size=(2, TREE_NODES))
        parents = np.array([rng.integers(-1, node) if node else -1 for node in range(TREE_NODES)])
        cache = phone.new_cache()
        phone.advance(cache, ids)
        by_phone = phone.score_tree(cache, pieces, parents, np.arange(TREE_NODES), asked)
        paths = []
        for node in range(TREE_NODES):
            path = [node]
            while parents[path[0]] >= 0:
                path.insert(0, int(parents[path[0]]))
            paths.append([*ids, *pieces[path].tolist()])
        by_both = [
            (each.logits(_last_hidden(each, paths))[range(TREE_NODES), asked] - log_normaliser).numpy()
            for each in (model, twin)
        ]
        scores.append(np.stack([by_phone, *by_both]))
    return np.concatenate(scores, axis=1, dtype=np.float32)


def _conversations(bundle: Bundle, file: Path) -> list[Ids]:
    """Stretches of the file's conversations as training framed them, spread evenly over it."""
    window = bundle.manifest.model.window
    pieces = Pieces(bundle.tokenizer_bytes())
    forms = Lexicon(bundle.lexicon_arrays(), pieces.vocab_size).forms
    conversations = list(_read_conversations(file))
    step = max(1, len(conversations) // NUM_CONTEXTS)
    contexts = []
    for messages in conversations[::step][:NUM_CONTEXTS]:
        encoded = (pieces.encode(truecase(normalise(message), forms)) for message in messages)
        contexts.append([i for ids in encoded for i in (START_ID, *ids, END_ID)][:window])
    return [ids for ids in contexts if len(ids) > 1]


def _read_conversations(file: Path) -> Iterator[list[str]]:
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            yield [message["text"] for message in json.loads(line)["messages"]]
    except OSError as error:
        raise UserError(f"Cannot read the conversations {file}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is not a file that 'fedkey-server prepare' wrote; give its data folder."
        ) from error


def _sampled(phone: LanguageModel) -> list[Ids]:
    """Texts that the model itself finds likely, seeded."""
    rng = np.random.default_rng(0)
    length = max(2, phone.window // 2)
    contexts = []
    for _ in range(NUM_SAMPLED):
        cache, ids = phone.new_cache(), [START_ID]
        while len(ids) < length:
            probabilities = np.exp(phone.advance(cache, ids[-1:]).astype(np.float64))
            probabilities[PAD_ID] = 0.0
            ids.append(int(rng.choice(len(probabilities), p=probabilities / probabilities.sum())))
        contexts.append(ids)
    return contexts
