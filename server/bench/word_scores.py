"""How likely each word of a lexicon is at a place in a text, by models trained for different things.

In: positions in messages, a lexicon, and a model's hidden states. Out: the place of the word that was written
among the lexicon's words, as sums of `fedkey.metrics`. Next stop: `objectives.py`.

A model that reads from the left gives a word the product over its pieces, each given those before it. To run
all words of several pieces through the model is out of the question: they are estimated first by how usual
each is among the words that begin with its piece, and those that may be among the first three are scored.

A model that fills blanks is asked at n blanks for the words of n pieces. With l_j the log softmax at blank j

    log p(w) = log P(n) + sum over j of l_j(piece j of w),   n = number of pieces of w, 1 to `MAX_BLANKS`,

where P(n) is how usual words of n pieces are in the training text: nothing that stands around a gap tells
such a model how many blanks it should have been shown. A model that fills them in an order, as XLNet, was
trained to see a word's earlier pieces: its l_j follow them, and words of several pieces are estimated first,
as from the left.

Shape suffixes: B = rows, T = positions in a row, D = model width, V = vocabulary, W = words of the lexicon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedkey.context import ContextReader
from fedkey.engine import WORD_ROOM
from fedkey.gaps import LETTERS, Answers, GappedMessage
from fedkey.lexicon import OFFENSIVE, Lexicon
from fedkey.metrics import Recall
from fedkey.pieces import END_ID, PAD_ID, START_ID, Pieces
from fedkey.simulate import NUM_SHOWN
from fedkey_server.batches import Documents

MAX_BLANKS = 3
"""Words of more pieces are never found at blanks: by the phone preset's tokenizer 4 in a
thousand of the words that validation authors write and the lexicon knows."""

FORMS_PER_KEY = 4
"""Ways to write the same letters that a lexicon has at most."""

DOUBT, MOST_SPELLED = 2.0, 8
"""Words of several pieces that are scored: those estimated at most so many nats below the third of the
list, and of these so many."""

PIECES_AT_ONCE = 4096
"""In a batch: some tens of megabytes with the phone preset."""

NUM_COUNTED = 1_000_000
"""Pieces of training text that the lengths of words are counted in."""

Floats = npt.NDArray[np.float32]


class Position(NamedTuple):
    """A word of a message, and what stands around it.

    Attributes:
        author: whose word it is.
        word: as it was written.
        left: ids of what stands before it, as the keyboard reads them.
        framed: the same with what stands behind it, in the order of `fedkey.context`.
        before, behind: the same in the order of the text; blanks go in between.
    """

    author: str
    word: str
    left: tuple[int, ...]
    framed: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]


def positions_of(
    messages: Iterable[GappedMessage], pieces: Pieces, lexicon: Lexicon, window: int
) -> Iterator[Position]:
    """Every gap of the messages, read as the keyboard reads it; earlier messages as far as they fit."""
    room = window - WORD_ROOM
    from_left = ContextReader(pieces, lexicon.forms, room)
    both = ContextReader(pieces, lexicon.forms, room, reads_behind=True)
    for message in messages:
        for gap in message.gaps:
            context = message.earlier + message.message[: gap.start]
            after = message.message[gap.start + len(gap.word) :]
            framed = both.read(context, after).ids
            yield Position(
                message.author, gap.word, from_left.read(context).ids, framed, *unframed(framed, pieces)
            )


def unframed(framed: Sequence[int], pieces: Pieces) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What stands before a gap and what behind it, in the order of the text, of ids in which what stands
    behind comes first. Where nothing behind it fits, the message goes on with its end."""
    ids = tuple(framed)
    if pieces.behind_id not in ids:
        return ids, (END_ID,)
    frame = ids.index(pieces.behind_id)
    start = ids.index(START_ID, frame)
    return ids[:frame] + ids[start:-1], ids[frame + 1 : start]


class Words:
    """The lexicon's words, arranged for scoring all of them at once."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.keys = [lexicon.key(index) for index in range(len(lexicon))]
        self.known = frozenset(self.keys)
        offsets = np.asarray(lexicon.piece_offsets, dtype=np.int64)
        self.lengths = np.diff(offsets)
        ids = np.asarray(lexicon.piece_ids, dtype=np.int64)
        self.first = ids[offsets[:-1]]
        log_prob = np.asarray(lexicon.log_prob, dtype=np.float64)
        mass = np.bincount(self.first, weights=np.exp(log_prob))
        self.share = (log_prob - np.log(mass[self.first])).astype(np.float32)
        """[W] log P(word | its first piece), by frequency; 0 for words of one piece."""
        self.share[self.lengths == 1] = 0.0
        self.share_of_length = np.zeros(len(self.keys), dtype=np.float32)
        """[W] log P(word | its first piece and how many it has), by frequency."""
        for length in range(2, MAX_BLANKS + 1):
            words = np.flatnonzero(self.lengths == length)
            mass = np.bincount(self.first[words], weights=np.exp(log_prob[words]))
            self.share_of_length[words] = log_prob[words] - np.log(mass[self.first[words]])
        self.is_offered = (np.asarray(lexicon.flags) & OFFENSIVE) == 0
        self._of_length = []
        for length in range(1, MAX_BLANKS + 1):
            words = np.flatnonzero(self.lengths == length)
            self._of_length.append((words, ids[offsets[words][:, None] + np.arange(length)]))

    def beginning_with(self, letters: str) -> slice:
        """The words that begin with some letters, whatever their case."""
        node = self.lexicon.walk(letters.lower())
        words = range(0) if node is None else self.lexicon.word_range(node)
        return slice(words.start, words.stop)

    def estimates(self, log_probs_v: Floats) -> Floats:
        """[W] from the log softmax of the next piece; exact for words of one piece."""
        estimates: Floats = np.where(self.is_offered, log_probs_v[self.first] + self.share, -np.inf)
        return estimates

    def estimates_at_blanks(self, first: Sequence[Floats], usual: Floats) -> Floats:
        """[W] from the log softmax [V] at the first of one blank, of two, ... and `usual` as `log_lengths`
        gives it; -inf for words of more pieces."""
        estimates = np.full(len(self.keys), -np.inf, dtype=np.float32)
        for (words, pieces), here, likely in zip(self._of_length, first, usual, strict=True):
            estimates[words] = likely + here[pieces[:, 0]] + self.share_of_length[words]
        estimates[~self.is_offered] = -np.inf
        return estimates

    def at_blanks(self, log_probs: Sequence[Floats], usual: Floats) -> Floats:
        """[W] from the log softmax at one blank [1, V], at two [2, V], ... and `usual` as `log_lengths` gives
        it; -inf for words of more pieces."""
        scores = np.full(len(self.keys), -np.inf, dtype=np.float32)
        for (words, pieces), here, likely in zip(self._of_length, log_probs, usual, strict=True):
            scores[words] = likely + here[np.arange(pieces.shape[1]), pieces].sum(axis=1)
        scores[~self.is_offered] = -np.inf
        return scores

    def doubtful(self, estimates: Floats, words: slice) -> list[int]:
        """Of some of the words those of several pieces that may belong to the first three."""
        here = estimates[words]
        if len(here) == 0:
            return []
        shown = _best(here, NUM_SHOWN)
        end = float(here[shown[-1]]) - DOUBT if len(shown) == NUM_SHOWN else -np.inf
        several = np.where(self.lengths[words] > 1, here, -np.inf)
        near = [place for place in _best(several, MOST_SPELLED) if several[place] >= end]
        return [words.start + place for place in near if self.lengths[words.start + place] <= WORD_ROOM]

    def rank(self, scores: Floats, words: slice, word: str) -> int | None:
        """The place of a word among the first three of some words with different letters, from 1."""
        shown: dict[str, None] = {}
        for place in _best(scores[words], FORMS_PER_KEY * NUM_SHOWN):
            shown.setdefault(self.keys[words.start + place])
        return next(
            (rank for rank, key in enumerate(list(shown)[:NUM_SHOWN], 1) if key == word.lower()), None
        )


def _best(values: Floats, count: int) -> list[int]:
    """Places of the largest values above -inf, largest first."""
    count = min(count, len(values))
    places = np.argpartition(-values, count - 1)[:count] if count else np.zeros(0, dtype=np.int64)
    places = places[values[places] > -np.inf]
    ordered: list[int] = places[np.lexsort((places, -values[places]))].tolist()
    return ordered


def log_lengths(documents: Documents, pieces: Pieces, words: Words) -> Floats:
    """[`MAX_BLANKS`] the log of how many of the words of a text have one piece, two, ...; of the others there
    are too few to count."""
    ids = documents.ids[:NUM_COUNTED]
    ids = ids[~np.isin(ids, [START_ID, *pieces.never_suggested, pieces.flip_id])]
    known = {words.lexicon.pieces(index) for index in range(len(words.lexicon))}
    counts = np.zeros(MAX_BLANKS)
    start = 0
    for end in (np.flatnonzero(pieces.ends_unit[ids] | (ids == END_ID)) + 1).tolist():
        unit = tuple(ids[start:end].tolist())
        start = end
        if len(unit) <= MAX_BLANKS and unit in known:
            counts[len(unit) - 1] += 1
    usual: Floats = np.log(np.maximum(counts, 0.5) / max(counts.sum(), 1)).astype(np.float32)
    return usual


# ------------------------------------------------------------------------------------------- the model's part


class Question(NamedTuple):
    """Ids, and at which of their places the model's hidden state is wanted."""

    ids: tuple[int, ...]
    places: tuple[int, ...]


Read = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(tokens, positions, document ids, whether a place is asked for; each [B, T]) -> hidden states [B, T, D].
Every row is one document, which -1 pads."""


@torch.no_grad()
def hidden_at(read: Read, questions: Sequence[Question]) -> list[Tensor]:
    """The hidden states at the places of each question, [places, D]. Questions of about the same length are
    read together."""
    answers: list[Tensor] = [torch.zeros(0)] * len(questions)
    for batch in _batches([len(question.ids) for question in questions]):
        length = max(len(questions[number].ids) for number in batch)
        tokens_bt = torch.full((len(batch), length), PAD_ID, dtype=torch.int64)
        document_ids_bt = torch.full((len(batch), length), -1, dtype=torch.int64)
        is_asked_bt = torch.zeros((len(batch), length), dtype=torch.bool)
        for row, number in enumerate(batch):
            ids, places = questions[number]
            tokens_bt[row, : len(ids)] = torch.tensor(ids)
            document_ids_bt[row, : len(ids)] = 0
            is_asked_bt[row, list(places)] = True
        positions_bt = torch.arange(length).repeat(len(batch), 1)
        hidden_btd = read(tokens_bt, positions_bt, document_ids_bt, is_asked_bt).float()
        for row, number in enumerate(batch):
            answers[number] = hidden_btd[row, list(questions[number].places)]
    return answers


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[number] > PIECES_AT_ONCE:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


Around = tuple[tuple[int, ...], tuple[int, ...]]
"""Ids before and behind a gap."""


class Head(NamedTuple):
    """How hidden states become log probabilities of pieces."""

    read: Read
    embedding_vd: Tensor

    def log_probs(self, questions: Sequence[Question]) -> list[Floats]:
        """The log softmax at the places of each question, [places, V]."""
        embedding_vd = self.embedding_vd.detach().float()
        return [
            torch.log_softmax(hidden_nd @ embedding_vd.T, dim=-1).numpy()
            for hidden_nd in hidden_at(self.read, questions)
        ]


def from_left(
    head: Head, contexts: Sequence[tuple[int, ...]], typed: Sequence[str], words: Words
) -> list[Floats]:
    """Every word's log probability [W] after each context, by a model that reads from the left.

    Args:
        head: the model.
        contexts: ids before the word.
        typed: the word that stands there in truth; words that begin with its first letters are scored too.
        words: the lexicon's.
    """
    here = [log_probs[0] for log_probs in head.log_probs([Question(c, (len(c) - 1,)) for c in contexts])]
    scores = [words.estimates(log_probs_v) for log_probs_v in here]
    near = _near(scores, typed, words)
    questions = [
        Question(context + path[:-1], tuple(range(len(context), len(context) + len(path) - 1)))
        for context, path in ((contexts[number], words.lexicon.pieces(word)) for number, word in near)
    ]
    for (number, word), log_probs in zip(near, head.log_probs(questions), strict=True):
        path = words.lexicon.pieces(word)
        scores[number][word] = here[number][path[0]] + _sum_along(log_probs, path[1:])
    return scores


def in_order(
    head: Head, around: Sequence[Around], blank: int, typed: Sequence[str], words: Words, usual: Floats
) -> list[Floats]:
    """Every word's log probability [W] in each gap, by a model that predicts the pieces of a gap one after
    the other; the arguments are those of `from_left` and `at_blanks`."""
    found = head.log_probs(_blanks(around, blank))
    first = [log_probs[0] for log_probs in found]
    scores = [
        words.estimates_at_blanks(first[start : start + MAX_BLANKS], usual)
        for start in range(0, len(found), MAX_BLANKS)
    ]
    near = _near(scores, typed, words)
    questions = []
    for number, word in near:
        (before, behind), path = around[number], words.lexicon.pieces(word)
        questions.append(
            Question((*before, *path, *behind), tuple(range(len(before), len(before) + len(path))))
        )
    for (number, word), log_probs in zip(near, head.log_probs(questions), strict=True):
        path = words.lexicon.pieces(word)
        scores[number][word] = usual[len(path) - 1] + _sum_along(log_probs, path)
    return scores


def _near(scores: Sequence[Floats], typed: Sequence[str], words: Words) -> list[tuple[int, int]]:
    """Which words are to be scored: the number of the position, and the word's."""
    return [
        (number, word)
        for number, (estimates, meant) in enumerate(zip(scores, typed, strict=True))
        for word in sorted(
            {
                word
                for letters in LETTERS
                for word in words.doubtful(estimates, words.beginning_with(meant[:letters]))
            }
        )
    ]


def _sum_along(log_probs: Floats, path: Sequence[int]) -> float:
    return float(log_probs[np.arange(len(path)), list(path)].sum())


def at_blanks(head: Head, around: Sequence[Around], blank: int, words: Words, usual: Floats) -> list[Floats]:
    """Every word's log probability [W] in each gap, by a model that fills blanks as if independent.

    Args:
        head: the model.
        around: ids before and behind the gap.
        blank: the id of a blank.
        words: the lexicon's.
        usual: as `log_lengths` gives it.
    """
    found = head.log_probs(_blanks(around, blank))
    return [
        words.at_blanks(found[start : start + MAX_BLANKS], usual)
        for start in range(0, len(found), MAX_BLANKS)
    ]


def _blanks(around: Sequence[Around], blank: int) -> list[Question]:
    """Each gap with one blank, with two, ..., of which all are asked for."""
    return [
        Question((*before, *[blank] * length, *behind), tuple(range(len(before), len(before) + length)))
        for before, behind in around
        for length in range(1, MAX_BLANKS + 1)
    ]


def answers(scores: Floats, word: str, words: Words) -> Answers:
    """One position: where the word that was written stands among all that begin with its first letters."""
    recalls = [Recall()] * len(LETTERS)
    for place, letters in enumerate(LETTERS):
        if len(word) > letters:
            rank = words.rank(scores, words.beginning_with(word[:letters]), word)
            recalls[place] = Recall(
                positions=1,
                known=int(word.lower() in words.known),
                hits_1=int(rank == 1),
                hits_3=int(rank is not None),
                reciprocal_rank=1 / rank if rank else 0.0,
            )
    return Answers(*recalls)


POSITIONS_AT_ONCE = 64
"""Whose log probabilities of all pieces are held together."""


def grade(
    positions: Sequence[Position], score: Callable[[Sequence[Position]], list[Floats]], words: Words
) -> dict[str, Answers]:
    """The sums of each author; `score` gives every word's log probability at some positions."""
    totals: dict[str, Answers] = {}
    for start in range(0, len(positions), POSITIONS_AT_ONCE):
        here = positions[start : start + POSITIONS_AT_ONCE]
        for position, scores in zip(here, score(here), strict=True):
            found = answers(scores, position.word, words)
            totals[position.author] = totals.get(position.author, Answers()) + found
    return dict(sorted(totals.items()))
