"""The words the keyboard knows, read where they lie: in the bundle's memory-mapped arrays.

In: the lexicon arrays of a bundle (BUNDLE.md describes each). Out: words, their log probabilities, flags and
pieces, and a trie over their lower-case letters, walked one node at a time or many at once. Nothing is built
when it is opened: a look-up touches the few entries it needs. Next stop: `fedkey.candidates`.

Words are numbered by (key, surface) where the key is the surface in lower case. The words below a trie node
are therefore one contiguous range, and those whose key ends at the node come first in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkey.bundle import BundleError

OFFENSIVE = 1
"""Flag bit: never suggested before it is typed out."""

ROOT = 0
"""The trie node of the empty prefix."""

LEAST_LOG_PROB = -100.0
"""No word's is less: rarer than one word of all that was ever written is some -40."""

LAST_CODE_POINT = 0x10FFFF
"""Of Unicode."""

Integers = npt.NDArray[np.int64]


class Lexicon:
    """W words and a trie of N nodes over their keys.

    Attributes:
        log_prob: float [W], natural log of the word's share of all words.
        flags: uint8 [W], see `OFFENSIVE`.
        piece_ids: the words' piece ids one after the other; word i owns `piece_offsets[i]:piece_offsets[i +
            1]`.
        piece_offsets: uint32 [W + 1].
        forms: lower-case word -> the surface it mostly takes, for `fedkey.text.truecase`.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], vocab_size: int) -> None:
        """Takes the arrays of `Bundle.lexicon_arrays()`; `BundleError` if they contradict each other.

        Checksums tell whether a file is the one that was exported, not whether it makes sense: indices are
        checked here, once, so that a look-up need not.
        """
        # Plain views of the mapped files: slicing a memmap object costs microseconds each time.
        views = {name: np.asarray(array) for name, array in arrays.items()}
        self.log_prob, self.flags = views["log_prob"], views["flags"]
        self.piece_ids, self.piece_offsets = views["pieces"], views["piece_offsets"]
        self._text, self._text_offsets = views["text"], views["text_offsets"]
        self._char, self._first_child = views["trie_char"], views["trie_first_child"]
        self._word_start, self._word_end = views["trie_word_start"], views["trie_word_end"]
        self.num_words = len(self.log_prob)
        self.num_nodes = len(self._char)
        problem = self._contradiction(vocab_size)
        if problem is not None:
            raise BundleError(
                f"The bundle's lexicon is damaged: {problem}; export or download the bundle again."
            )
        self.forms: Mapping[str, str] = _Forms(self)

    def _contradiction(self, vocab_size: int) -> str | None:
        """What is wrong with the arrays, or None. About a millisecond for 50,000 words."""
        words, nodes = self.num_words, self.num_nodes
        if words == 0 or nodes == 0:
            return "it holds no words"
        if len(self.flags) != words or len(self._word_start) != nodes or len(self._word_end) != nodes:
            return "its arrays differ in length"
        for name, offsets, count, start, end in (
            ("text", self._text_offsets, words, 0, len(self._text)),
            ("piece", self.piece_offsets, words, 0, len(self.piece_ids)),
            ("child", self._first_child, nodes, 1, nodes),
        ):
            if len(offsets) != count + 1 or (int(offsets[0]), int(offsets[-1])) != (start, end):
                return f"its {name} offsets do not fit"
            if bool(np.any(offsets[1:] < offsets[:-1])):
                return f"its {name} offsets do not fit"
        if bool(np.any(self.piece_offsets[1:] == self.piece_offsets[:-1])):
            return "a word has no pieces"
        if bool(np.any(self._text_offsets[1:] == self._text_offsets[:-1])):
            return "a word has no letters"
        # A suggested word goes to the terminal and into the text: no escape sequences, no line ends. In UTF-8
        # U+0080 to U+00A0 are C2 80 to C2 A0.
        text = self._text
        if bool(np.any((text <= 0x20) | (text == 0x7F))) or bool(
            np.any((text[:-1] == 0xC2) & (text[1:] <= 0xA0))
        ):
            return "a word holds white space or control characters"
        if bool(np.any(self.piece_ids >= vocab_size)):
            return "it names pieces that the tokenizer lacks"
        # Children lie behind their parent (breadth first), so that walking down always ends.
        if bool(np.any(self._first_child[:-1] <= np.arange(nodes))):
            return "its trie is not in breadth-first order"
        if bool(np.any(self._word_end < self._word_start)) or int(self._word_end.max()) > words:
            return "its trie points past the last word"
        if not bool(((self.log_prob >= LEAST_LOG_PROB) & (self.log_prob <= 0)).all()):
            return "a word has no probability"
        # What follows a beginning of a word is shown as well, and tables are made as long as the largest.
        letters = self._char[1:]
        if int(self._char.max()) > LAST_CODE_POINT or bool(
            np.any(
                (letters <= 0x20)
                | ((letters >= 0x7F) & (letters <= 0xA0))
                | ((letters >= 0xD800) & (letters <= 0xDFFF))
            )
        ):
            return "its trie holds what is no letter"
        return None

    def __len__(self) -> int:
        return self.num_words

    def word(self, index: int) -> str:
        """The surface form of a word."""
        start, end = int(self._text_offsets[index]), int(self._text_offsets[index + 1])
        return self._text[start:end].tobytes().decode("utf-8", errors="replace")

    def key(self, index: int) -> str:
        """The letters of a word, in lower case: what has to be typed for it."""
        return self.word(index).lower()

    def pieces(self, index: int) -> tuple[int, ...]:
        """The piece ids of a word; the last one ends the unit."""
        start, end = int(self.piece_offsets[index]), int(self.piece_offsets[index + 1])
        return tuple(self.piece_ids[start:end].tolist())

    def is_offensive(self, index: int) -> bool:
        """Whether the word carries the `OFFENSIVE` flag."""
        return bool(self.flags[index] & OFFENSIVE)

    def spread_text(
        self, words: range, codes: npt.NDArray[Any], *, border: int, num_borders: int
    ) -> npt.NDArray[Any]:
        """The bytes of a range of words as `codes` [256] has them, with borders before, between and behind
        the words."""
        offsets = self._text_offsets[words.start : words.stop + 1].astype(np.int64)
        lengths = offsets[1:] - offsets[:-1]
        size = int(lengths.sum())
        spread = np.full(size + num_borders * (len(words) + 1), border, dtype=codes.dtype)
        shift = num_borders * (1 + np.repeat(np.arange(len(words)), lengths))
        spread[np.arange(size) + shift] = codes[self._text[offsets[0] : offsets[-1]]]
        return spread

    def descend(self, node: int, char: str) -> int | None:
        """The child of `node` along one lower-case character, or None."""
        start, end = int(self._first_child[node]), int(self._first_child[node + 1])
        child = start + int(self._char[start:end].searchsorted(ord(char)))
        return child if child < end and int(self._char[child]) == ord(char) else None

    def walk(self, key: str) -> int | None:
        """The node that a lower-case prefix leads to, or None if no word begins so."""
        node = ROOT
        for char in key:
            child = self.descend(node, char)
            if child is None:
                return None
            node = child
        return node

    def word_range(self, node: int) -> range:
        """The words whose key begins with the node's prefix."""
        return range(int(self._word_start[node]), int(self._word_end[node]))

    def words_at(self, node: int) -> range:
        """The words whose key is exactly the node's prefix: the ways to write these letters."""
        words, first_child = self.word_range(node), int(self._first_child[node])
        if first_child == int(self._first_child[node + 1]):
            return words
        return range(words.start, int(self._word_start[first_child]))

    @property
    def node_chars(self) -> npt.NDArray[Any]:
        """The code point on the way to each node, [N]; 0 for the root. A read-only view."""
        return _read_only(self._char)

    def children(self, nodes: Integers) -> tuple[Integers, Integers]:
        """All children of n nodes: the place in `nodes` of each child's parent, ascending, and the child."""
        return ranges(self._first_child[nodes], self._first_child[nodes + 1])

    def word_ranges(self, nodes: Integers) -> tuple[Integers, Integers]:
        """`word_range` of n nodes: where each begins, and where it ends."""
        return self._word_start[nodes].astype(np.int64), self._word_end[nodes].astype(np.int64)

    def words_at_each(self, nodes: Integers) -> tuple[Integers, Integers]:
        """`words_at` of n nodes: the place in `nodes` of the node that spells each word, and the word."""
        first_child, behind = self._first_child[nodes], self._first_child[nodes + 1]
        # A node without children spells all words below it. The last node's first child is no node.
        inner = np.minimum(first_child, self.num_nodes - 1)
        end = np.where(first_child == behind, self._word_end[nodes], self._word_start[inner])
        return ranges(self._word_start[nodes], end)

    def largest_below(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The largest of the words' values [W] below each node, [N]: 2 ms for 30,000 words."""
        # Every second stretch is a node's range; those in between are by-products, mostly of one word.
        borders = np.empty(2 * self.num_nodes, dtype=np.int64)
        borders[0::2], borders[1::2] = self._word_start, self._word_end
        padded = np.append(values, np.float32(-np.inf))
        return np.maximum.reduceat(padded, borders)[0::2]

    def find(self, surface: str) -> int | None:
        """The number of a surface form, or None."""
        node = self.walk(surface.lower())
        if node is None:
            return None
        return next((index for index in self.words_at(node) if self.word(index) == surface), None)


def ranges(starts: npt.NDArray[Any], ends: npt.NDArray[Any]) -> tuple[Integers, Integers]:
    """The numbers of n ranges, one range after the other: the range each number is of, and the number.

    A range that ends before it starts is empty.
    """
    starts = starts.astype(np.int64)
    counts = np.maximum(ends.astype(np.int64) - starts, 0)
    owners = np.repeat(np.arange(len(counts)), counts)
    shift = starts - (np.cumsum(counts) - counts)
    return owners, np.arange(len(owners)) + shift[owners]


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


class _Forms(Mapping[str, str]):
    """The most frequent surface of each key, looked up in the trie when asked; ties go to the first in code
    points."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon

    def __getitem__(self, key: str) -> str:
        node = self._lexicon.walk(key)
        words = range(0) if node is None else self._lexicon.words_at(node)
        if not words:
            raise KeyError(key)
        return self._lexicon.word(max(words, key=lambda index: float(self._lexicon.log_prob[index])))

    def __iter__(self) -> Iterator[str]:
        previous = None
        for index in range(self._lexicon.num_words):
            key = self._lexicon.key(index)
            if key != previous:
                yield key
            previous = key

    def __len__(self) -> int:
        return sum(1 for _ in self)
