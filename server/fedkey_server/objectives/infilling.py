"""Fill-in-the-middle: messages rearranged so that a causal model reads first what stands behind the caret.

In: documents and the tokenizer. Out: documents, some of which hold a gap. Next stop:
`fedkey_server.validation`, which measures the gaps.

Bavarian et al. 2022 (2207.14255) cut a text in three, prefix P, middle M and suffix S, and train a causal
model on p(P, M | S) with the suffix first (their "SPM"), so that neither attention nor decoding changes:

    as written:   earlier messages | START P M S END
    rearranged:   earlier messages | BEHIND S END | START P HERE M END

HERE stands at the caret: what follows goes in there, and END says that nothing more does. BEHIND, S and its
END, START and HERE are given, never predicted. Earlier messages stay in front, so that a phone's cache of
them stays valid.

What engine and training must agree on:

- M begins and ends with a word. A `FLIP` (the gap is not the usual one) belongs to the unit behind it; the
  one before M's first word is P's last piece, where `fedkey.text.caret_units` puts it, since the caret
  already stands behind that gap. The one before S's first unit is S's first piece: it says how S would stand
  behind a word. P M S laid end to end are the message's pieces as they were.
- S is at most `MOST_BEHIND` pieces, cut between units; the END behind it says that the message ends there,
  and is left out where S was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.pieces import END_ID, MOST_BEHIND, START_ID, Pieces
from fedkey_server.batches import Documents
from fedkey_server.objectives.units import unit_signs

MORE_WORDS = 0.4
"""Probability of one more word in a gap: 60 % hold one, and what is written is mended word by word."""

MOST_WORDS = 8
"""Words in a gap."""


class Gap(NamedTuple):
    """Where a message is cut, in pieces counted from its START: P is [1, start), M is [start, end)."""

    start: int
    end: int
    behind: int
    """S is [end, behind)."""
    is_cut: bool
    """Whether more of the message stands behind S."""

    @property
    def framed_length(self) -> int:
        """Pieces of the message with its frame."""
        return self.behind + 3 + (not self.is_cut)


def rearranged(
    documents: Documents, pieces: Pieces, window: int, share: float, seed: int | Sequence[int]
) -> Documents:
    """Documents of which some hold a gap.

    A document is chosen with the probability `share`; of those of its graded messages that hold a word, have
    something behind it and fit the window with their frame, one gets the gap, each as likely as the others.
    What follows that message becomes a document of its own, which may be chosen again. Earlier messages that
    no longer fit become one, too. No text is lost but what S lost by being cut, and nothing graded but S.

    Args:
        documents: made by `fedkey_server.batches`.
        pieces: the tokenizer that made them.
        window: longest document in ids.
        share: of the documents that allow it, from 0 to 1.
        seed: equal seeds give equal documents.
    """
    rng = np.random.default_rng(seed)
    ids: list[npt.NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
    loss: list[npt.NDArray[np.bool_]] = [np.zeros(0, dtype=np.bool_)]

    def write(some_ids: npt.NDArray[np.int32], some_loss: npt.NDArray[np.bool_]) -> None:
        if some_loss.any():
            ids.append(some_ids)
            loss.append(some_loss)

    for number in range(len(documents)):
        here = slice(documents.offsets[number], documents.offsets[number + 1])
        rest_ids, rest_loss = documents.ids[here], documents.loss[here]
        while len(rest_ids):
            starts = [*np.flatnonzero(rest_ids == START_ID).tolist(), len(rest_ids)]
            is_chosen = rng.random() < share
            found = _choose(rest_ids, rest_loss, starts, pieces, window, rng) if is_chosen else None
            if found is None:
                write(rest_ids, rest_loss)
                break
            message, gap = found
            start, end = starts[message], starts[message + 1]
            frame_ids, frame_loss = _frame(rest_ids[start:end], gap, pieces)
            first = next(each for each in starts if start - each + len(frame_ids) <= window)
            write(rest_ids[:first], rest_loss[:first])
            write(
                np.concatenate([rest_ids[first:start], frame_ids]),
                np.concatenate([rest_loss[first:start], frame_loss]),
            )
            rest_ids, rest_loss = rest_ids[end:], rest_loss[end:]
    lengths = [len(each) for each in ids]
    return Documents(np.concatenate(ids), np.concatenate(loss), np.cumsum(lengths, dtype=np.int64))


def only_gaps(documents: Documents, pieces: Pieces) -> Documents:
    """The documents that hold a gap, with nothing graded but what stands in it. The END behind it is no
    measure: after 200 steps it was right in 96 % of gaps, when the words in them were guessed no better than
    from the left."""
    seen = np.cumsum(documents.ids == pieces.here_id)
    before = np.concatenate([[0], seen])[documents.offsets]  # gaps in front of each document
    in_gap = seen > np.repeat(before[:-1], documents.lengths)
    has_gap = np.diff(before) > 0
    kept = np.repeat(has_gap, documents.lengths)
    offsets = np.cumsum([0, *documents.lengths[has_gap]], dtype=np.int64)
    graded = documents.loss & in_gap & (documents.ids != END_ID)
    return Documents(documents.ids[kept], graded[kept], offsets)


def _choose(
    ids: npt.NDArray[np.int32],
    loss: npt.NDArray[np.bool_],
    starts: Sequence[int],
    pieces: Pieces,
    window: int,
    rng: np.random.Generator,
) -> tuple[int, Gap] | None:
    """One graded message of those that start at `starts`, and where it is cut; None if none allows it."""
    for message in rng.permutation(len(starts) - 1).tolist():
        start, end = starts[message], starts[message + 1]
        if not loss[end - 1] or ids[end - 1] != END_ID:
            continue
        gap = _cut(ids[start:end], pieces, rng)
        if gap is not None and gap.framed_length <= window:
            return message, gap
    return None


def _cut(ids: npt.NDArray[np.int32], pieces: Pieces, rng: np.random.Generator) -> Gap | None:
    """A gap in a message; None if no word of it has anything behind it."""
    signs = unit_signs(pieces)
    ends = np.flatnonzero(signs.closes[ids[:-1]]) + 1  # of units
    if len(ends) < 2:
        return None
    letters = np.cumsum(np.concatenate([[0], signs.has_letter[ids]]))
    firsts = np.concatenate([[1], ends[:-1]])
    words = np.flatnonzero(letters[ends] > letters[firsts])
    words = words[words < len(ends) - 1]
    if len(words) == 0:
        return None
    num_words = min(int(rng.geometric(1 - MORE_WORDS)), MOST_WORDS, len(words))
    first = int(rng.integers(len(words) - num_words + 1))
    start, end = int(firsts[words[first]]), int(ends[words[first + num_words - 1]])
    start += int(ids[start] == pieces.flip_id)
    within = ends[(ends > end) & (ends <= end + MOST_BEHIND)]
    if len(within) == 0:
        return None
    return Gap(start, end, int(within[-1]), is_cut=bool(within[-1] < ends[-1]))


def _frame(
    ids: npt.NDArray[np.int32], gap: Gap, pieces: Pieces
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """A graded message with its frame, and which of it is graded."""
    before, middle, behind = ids[1 : gap.start], ids[gap.start : gap.end], ids[gap.end : gap.behind]
    parts: list[tuple[Sequence[int] | npt.NDArray[np.int32], bool]] = [
        ([pieces.behind_id], False),
        (behind, False),
        ([] if gap.is_cut else [END_ID], False),
        ([START_ID], False),
        (before, True),
        ([pieces.here_id], False),
        (middle, True),
        ([END_ID], True),
    ]
    graded = np.repeat([is_graded for _, is_graded in parts], [len(part) for part, _ in parts])
    return np.concatenate([np.asarray(part, dtype=np.int32) for part, _ in parts]), graded
