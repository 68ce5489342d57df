"""The lexicon as arrays that the phone maps into memory and searches where they lie.

In: rows of `lexicon.tsv` and a speller (word -> piece ids). Out: the arrays of
`fedkey.bundle.LEXICON_ARRAYS`. Next stop: `fedkey_export.package`; `fedkey.lexicon` reads them.

Words are sorted by (key, surface), the key being the surface in lower case, and a trie is laid over the
keys in breadth-first order. Then the children of a node, and the words below it, are contiguous ranges, and
two numbers per node say all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.errors import UserError
from fedkey.lexicon import LEAST_LOG_PROB, OFFENSIVE

Arrays = dict[str, npt.NDArray[np.generic]]

HEADER = "word\tlog_prob\tflags"


class Row(NamedTuple):
    """One line of `lexicon.tsv`: a surface form, its natural log probability, whether it is flagged
    offensive."""

    word: str
    log_prob: float
    offensive: bool


def read_rows(path: Path) -> list[Row]:
    """Reads `lexicon.tsv`; `UserError` names the first line that is not a row."""
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except OSError as error:
        raise UserError(f"Cannot read the lexicon {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The lexicon {path} is not UTF-8 text; prepare the data again.") from error
    if lines[0] != HEADER:
        raise UserError(
            f"The lexicon {path} does not begin with the line {HEADER!r}; prepare the data again."
        )
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            word, text, flags = line.split("\t")
            log_prob = float(text)
            if not word or word in rows or not LEAST_LOG_PROB <= log_prob <= 0:
                raise ValueError(word)
        except ValueError as error:
            raise UserError(
                f"Line {number} of the lexicon {path} is not a row, or repeats one; prepare the data again."
            ) from error
        rows[word] = Row(word, log_prob, "offensive" in flags.split(","))
    return list(rows.values())


def build_arrays(rows: Iterable[tuple[str, float, bool]], spell: Callable[[str], Sequence[int]]) -> Arrays:
    """The lexicon's arrays.

    Args:
        rows: (surface, natural log probability, offensive); surfaces distinct and not empty.
        spell: the piece ids of a surface, e.g. `Pieces.encode_unit`.
    """
    ordered = sorted((Row(*row) for row in rows), key=lambda row: (row.word.lower(), row.word))
    if not ordered:
        raise UserError("The lexicon holds no words; prepare the data again.")
    surfaces = [row.word.encode("utf-8") for row in ordered]
    spelled = [list(spell(row.word)) for row in ordered]
    return {
        "text": np.frombuffer(b"".join(surfaces), dtype=np.uint8),
        "text_offsets": _offsets([len(surface) for surface in surfaces]),
        # Single precision keeps the order of the rows: truecasing follows the most frequent form on both
        # sides.
        "log_prob": np.array([row.log_prob for row in ordered], dtype=np.float32),
        "flags": np.array([OFFENSIVE if row.offensive else 0 for row in ordered], dtype=np.uint8),
        "pieces": _narrow([piece for pieces in spelled for piece in pieces]),
        "piece_offsets": _offsets([len(pieces) for pieces in spelled]),
        **_trie([row.word.lower() for row in ordered]),
    }


def _trie(keys: Sequence[str]) -> Arrays:
    """Breadth-first trie over sorted keys. Node 0 is the root, whose character is 0."""
    chars, starts, ends, first_child = [0], [0], [len(keys)], []
    node = depth = 0
    while node < len(chars):
        end_of_level = len(chars)
        for parent in range(node, end_of_level):
            first_child.append(len(chars))
            at = starts[parent]
            while at < ends[parent]:
                if len(keys[at]) == depth:  # the words that end here come first
                    at += 1
                    continue
                char, start = keys[at][depth], at
                while at < ends[parent] and keys[at][depth] == char:
                    at += 1
                chars.append(ord(char))
                starts.append(start)
                ends.append(at)
        node, depth = end_of_level, depth + 1
    first_child.append(len(chars))
    return {
        "trie_char": _narrow(chars),
        "trie_first_child": np.array(first_child, dtype=np.uint32),
        "trie_word_start": _narrow(starts),
        "trie_word_end": _narrow(ends),
    }


def _offsets(lengths: Sequence[int]) -> npt.NDArray[np.uint32]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint32)


def _narrow(values: Sequence[int]) -> npt.NDArray[np.generic]:
    """uint16 where that is enough: half the file."""
    return np.array(values, dtype=np.uint16 if max(values) < 1 << 16 else np.uint32)
