"""Which words follow which, counted in the server's text and put beside the model.

In: a bundle, the data folder of its run, and what many phones say if that was counted. Out: the bundle with
the arrays of `ngrams/`, see BUNDLE.md. Next stop: `fedkey.prior`.

All n-grams of ten million words would take 20 megabytes. What is kept is what tells most: an n-gram that came
c times and whose probability is p, and would be p' if the shorter one had to speak for it, is worth
(c - 1) log(p / p') (Seymore and Rosenfeld 1996 have c; but what came once will hardly come again, and may be
somebody's own). A word that stands in place of others, a number, a link, is nothing to predict.

Of phones' text only what many of them have is here, added up where nobody sees one phone's share
(`fedkey_server.crowd`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkey.bundle import (
    CORRECTION,
    MIXTURE,
    NGRAM_ARRAYS,
    TOKENIZER,
    Bundle,
    ngram_file,
    open_bundle,
)
from fedkey.errors import UserError
from fedkey.lexicon import Lexicon
from fedkey.ngram import Vocabulary
from fedkey.pieces import Pieces
from fedkey.prior import STEPS, Prior
from fedkey_export.package import replace_files
from fedkey_server import kneser_ney
from fedkey_server.crowd import ORDER, Crowd, digest_of
from fedkey_server.kneser_ney import Floats, Integers, Level, Mask

PHONE_WEIGHT = 10
"""How often an n-gram counts as if it came in the server's text, for each phone that has it: phones write a
tenth as much, of what keyboards are asked for. On 5,019 words of validation authors, 2026-11-27, next word
first, among three, first after one letter, and keys saved by an ideal typist: 23.0, 37.5, 51.5 and 54.2 %
without phones, 23.6, 38.0, 51.9 and 54.4 with 10, 23.7, 38.1, 51.7 and 54.4 with 25."""

CONTEXT_BYTES = 6
"""What a pair before triples takes: its place, and how many they are."""


@dataclass(frozen=True)
class Counted:
    """What was put into a bundle."""

    num_text_words: int
    num_pairs: int
    num_triples: int
    num_bytes: int
    crowd: Crowd | None


def add_ngrams(bundle: Path, data: Path, *, max_bytes: int, crowd: Crowd | None = None) -> Counted:
    """Counts the server's text of a data folder and puts what tells most into a bundle.

    What the bundle held of earlier n-grams is replaced, and its mixture and corrections are taken out: they
    were fitted to other probabilities.

    Args:
        bundle: a bundle folder.
        data: the prepared data folder of its run.
        max_bytes: what the files may take.
        crowd: what many phones say, if it was counted.

    Raises:
        UserError: the folders or the counts do not belong together, or cannot be read or written, or nothing
            fits.
    """
    opened = open_bundle(bundle)
    pieces = _same_pieces(opened, data)
    lexicon = Lexicon(opened.lexicon_arrays(), pieces.vocab_size)
    vocabulary = Vocabulary(lexicon)
    tokens = kneser_ney.read_tokens(data, pieces, vocabulary)
    if crowd is not None and crowd.lexicon != digest_of(vocabulary):
        raise UserError(
            f"The phones' n-grams were counted by other words than those of {bundle}; count them again with "
            "its --bundle."
        )
    others = () if crowd is None else crowd.weighted(PHONE_WEIGHT)
    levels = kneser_ney.estimate(tokens, vocabulary, ORDER, others)
    left = max_bytes - _head_bytes(len(lexicon))
    kept = most_telling(levels, vocabulary, left, entry_size(len(lexicon)))
    if kept is None:
        raise UserError(
            f"No pairs and triples fit into {max_bytes:,} bytes; give them more, or count more text."
        )
    pairs, triples = kept
    arrays = as_arrays(pairs, triples, lexicon, vocabulary)
    Prior(lexicon, arrays)  # as the keyboard checks them
    contents = {ngram_file(name): _npy(array) for name, array in arrays.items()}
    counted = Counted(
        int((tokens < vocabulary.start).sum()),
        len(pairs.words),
        len(triples.words),
        sum(map(len, contents.values())),
        crowd,
    )
    write(bundle, opened, contents, counted)
    return counted


def _same_pieces(bundle: Bundle, data: Path) -> Pieces:
    """The tokenizer, if both have the same."""
    try:
        serialised = (data / TOKENIZER).read_bytes()
    except OSError as error:
        raise UserError(f"{data} is no prepared data folder: it holds no {TOKENIZER}.") from error
    if serialised != bundle.tokenizer_bytes():
        raise UserError(
            f"{data} was not prepared for {bundle.path}, their tokenizers differ; "
            "give the data folder of its run."
        )
    return Pieces(serialised)


# ---------------------------------------------------------------------------------------------- choosing


def most_telling(
    levels: tuple[Level, ...], vocabulary: kneser_ney.Numbering, max_bytes: int, entry_bytes: int
) -> tuple[Level, Level] | None:
    """The pairs and triples that are worth most, as many as fit into so many bytes; None if that is none of
    either. A pair or a triple takes `entry_bytes`."""
    singles, pairs, triples = levels
    base = vocabulary.start + 1
    alone = np.full(vocabulary.unknown + 1, 1 / (vocabulary.unknown + 1)) * singles.left[0]
    alone[singles.words] += singles.values
    pair_ids = pairs.contexts[pairs.owners] * base + pairs.words
    pair_probs = pairs.values + pairs.left[pairs.owners] * alone[pairs.words]
    # Every triple's end is a pair that came.
    contexts = triples.contexts[triples.owners]
    ends = np.searchsorted(pair_ids, contexts % base * base + triples.words)
    triple_probs = triples.values + triples.left[triples.owners] * pair_probs[ends]
    pair_worth = _worth(pairs, pair_probs, alone[pairs.words], vocabulary)
    triple_worth = _worth(triples, triple_probs, pair_probs[ends], vocabulary)
    # A triple stands behind its pair, which has to be kept with it.
    before = np.searchsorted(pair_ids, contexts)
    before = np.where(np.isin(contexts, pair_ids), before, -1)
    triple_worth[(before < 0) | (contexts % base == vocabulary.unknown)] = -np.inf

    def kept(least: float) -> tuple[Mask, Mask]:
        keeps_triple: Mask = triple_worth >= least
        keeps_pair: Mask = pair_worth >= least
        keeps_pair[before[keeps_triple]] = True
        return keeps_pair, keeps_triple

    def num_bytes(least: float) -> int:
        keeps_pair, keeps_triple = kept(least)
        num_contexts = len(np.unique(before[keeps_triple]))
        num_entries = int(keeps_pair.sum()) + int(keeps_triple.sum())
        return entry_bytes * num_entries + CONTEXT_BYTES * num_contexts

    worths = np.unique(np.concatenate([pair_worth, triple_worth]))
    worths = worths[worths > 0]
    low, high = 0, len(worths)
    while low < high:
        middle = (low + high) // 2
        if num_bytes(float(worths[middle])) <= max_bytes:
            high = middle
        else:
            low = middle + 1
    if low == len(worths):
        return None
    keeps_pair, keeps_triple = kept(float(worths[low]))
    if not keeps_triple.any():
        return None
    return pairs.kept(keeps_pair), triples.kept(keeps_triple)


def _worth(level: Level, probs: Floats, shorter: Floats, vocabulary: kneser_ney.Numbering) -> Floats:
    worth: Floats = np.log(probs / shorter) * (level.came - 1)
    worth[level.words >= vocabulary.unknown] = -np.inf
    return worth


# ------------------------------------------------------------------------------------------------ arrays


def as_arrays(
    pairs: Level, triples: Level, lexicon: Lexicon, vocabulary: Vocabulary
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of `NGRAM_ARRAYS`; words by their number in the lexicon, in the way they are mostly
    written."""
    base = vocabulary.start + 1
    numbers = np.empty(base, dtype=np.int64)
    for key, number in vocabulary.numbers.items():
        found = lexicon.find(lexicon.forms[key])
        assert found is not None
        numbers[number] = found
    numbers[vocabulary.unknown], numbers[vocabulary.start] = len(lexicon), len(lexicon) + 1

    pair_first, pair_second = numbers[pairs.contexts[pairs.owners]], numbers[pairs.words]
    pair_order = np.lexsort((pair_second, pair_first))
    place = np.empty(len(pair_order), dtype=np.int64)
    place[pair_order] = np.arange(len(pair_order))
    pair_ids = pairs.contexts[pairs.owners] * base + pairs.words
    pair_of = place[np.searchsorted(pair_ids, triples.contexts)]
    triple_pair, triple_last = pair_of[triples.owners], numbers[triples.words]
    triple_order = np.lexsort((triple_last, triple_pair))
    triple_pairs, triple_counts = np.unique(triple_pair, return_counts=True)

    word = _word_type(len(lexicon))
    pair_counts = np.bincount(pair_first, minlength=len(lexicon) + 2)
    arrays: dict[str, npt.NDArray[Any]] = {
        "pair_counts": _small(pair_counts),
        "pair_words": pair_second[pair_order].astype(word),
        "pair_values": _bytes(pairs.values[pair_order]),
        "triple_pairs": triple_pairs.astype("<u4"),
        "triple_counts": _small(triple_counts),
        "triple_words": triple_last[triple_order].astype(word),
        "triple_values": _bytes(triples.values[triple_order]),
    }
    assert arrays.keys() == NGRAM_ARRAYS.keys()
    return arrays


def entry_size(num_words: int) -> int:
    """What a pair or a triple takes with a lexicon of so many words: its last word, and how likely it is."""
    return _word_type(num_words).itemsize + 1


def _word_type(num_words: int) -> np.dtype[Any]:
    return np.dtype("<u2" if num_words <= 1 << 16 else "<u4")


def _small(counts: Integers) -> npt.NDArray[Any]:
    return counts.astype("<u2" if int(counts.max()) < 1 << 16 else "<u4")


def _bytes(values: Floats) -> npt.NDArray[np.uint8]:
    """Rounded down, so that what follows a word never has more than all."""
    steps: npt.NDArray[np.uint8] = np.clip(np.ceil(-STEPS * np.log(values)), 0, 255).astype(np.uint8)
    return steps


def _npy(array: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _head_bytes(num_words: int) -> int:
    """What the files take besides pairs and triples."""
    return 2 * (num_words + 2) + len(NGRAM_ARRAYS) * 128


# ----------------------------------------------------------------------------------------------- writing


def write(bundle: Path, opened: Bundle, contents: Mapping[str, bytes], counted: Counted) -> None:
    """Puts files of n-grams into a bundle. Killed in between, the bundle is one without."""
    ours = {*map(ngram_file, NGRAM_ARRAYS), MIXTURE, CORRECTION}
    files = {name: entry for name, entry in opened.manifest.files.items() if name not in ours}
    metrics = {key: value for key, value in opened.manifest.metrics.items() if key != "ngrams"}
    without = replace(opened.manifest, files=files, metrics=metrics)
    figures: dict[str, Any] = {
        "text_words": counted.num_text_words,
        "pairs": counted.num_pairs,
        "triples": counted.num_triples,
    }
    if counted.crowd is not None:
        crowd = counted.crowd
        figures["phones"] = {
            "number": crowd.num_phones,
            "least": crowd.least,
            "epsilon": crowd.epsilon,
            "delta": crowd.delta,
        }
    replace_files(bundle, without, contents, {**metrics, "ngrams": figures})
