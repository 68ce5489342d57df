"""Prepared text as numbered words: what the network and the n-grams of the comparison read.

In: documents of pieces, or the text before the caret. Out: documents of word numbers, packed and federated by
the same code as documents of pieces. Next stop: `hard2018.training`.

Words are in lower case. As for the n-grams of this project (`fedkey.personal_rules.words_before`) a sentence
start stands where a message begins and after a full stop, ! or ?; other marks are passed over. A placeholder
is read as the unknown word. Whatever is no word is never a target.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from fedkey.ngram import Vocabulary
from fedkey.personal_rules import SENTENCE_START
from fedkey.pieces import END_ID, START_ID, Pieces
from fedkey.text import PLACEHOLDERS, is_word
from fedkey_server.batches import Documents
from fedkey_server.phones import Phones, assemble

Message = tuple[list[str], bool]
"""Its words, and whether they carry loss."""


class WordList:
    """Words as `fedkey.ngram.Vocabulary` asks a lexicon for them."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = sorted(words)

    def __len__(self) -> int:
        return len(self._words)

    def key(self, index: int) -> str:
        """The word of that number."""
        return self._words[index]


def vocabulary_of(words: Iterable[str]) -> Vocabulary:
    """Numbers words in alphabetical order."""
    return Vocabulary(WordList(words))  # type: ignore[arg-type]


def tokens_of(units: Iterable[str]) -> list[str]:
    """A message's words, placeholders and sentence starts; the first of them is a start.

    Args:
        units: of a normalised message, with or without marks.
    """
    tokens = [SENTENCE_START]
    for unit in units:
        token = _token(unit)
        if token is not None and (token, tokens[-1]) != (SENTENCE_START, SENTENCE_START):
            tokens.append(token)
    return tokens


@lru_cache(maxsize=200_000)
def _token(unit: str) -> str | None:
    if is_word(unit) or unit in PLACEHOLDERS:
        return unit.lower()
    return SENTENCE_START if unit == "." or unit[0] in "!?" else None


def messages_of(documents: Documents, pieces: Pieces) -> Iterator[list[Message]]:
    """The messages of each document."""
    for first, last in pairwise(documents.offsets.tolist()):
        ids, loss = documents.ids[first:last], documents.loss[first:last]
        starts = [*np.flatnonzero(ids == START_ID).tolist(), last - first]
        found: list[Message] = []
        for start, end in pairwise(starts):
            inside = [i for i in ids[start + 1 : end].tolist() if i != END_ID]
            found.append((tokens_of(pieces.decode_units(inside)), bool(loss[start:end].any())))
        yield found


def most_frequent(documents: Iterable[list[Message]], num_words: int) -> list[str]:
    """The words that came most often; of equals those that came first."""
    counts = Counter(
        token
        for messages in documents
        for tokens, _ in messages
        for token in tokens
        if token != SENTENCE_START and token not in PLACEHOLDERS
    )
    return [word for word, _ in counts.most_common(num_words)]


def numbered(documents: Iterable[Sequence[Message]], vocabulary: Vocabulary) -> Documents:
    """Documents of word numbers. Unknown words are targets, so that what is left to them is known; those
    documents without any target are dropped."""
    ids: list[int] = []
    loss: list[bool] = []
    offsets = [0]
    for messages in documents:
        before = len(ids)
        for tokens, is_graded in messages:
            # A message that ended with a full stop has begun the next one's sentence.
            again = len(ids) > before and ids[-1] == vocabulary.start
            for token in tokens[1:] if again else tokens:
                ids.append(vocabulary.number(token))
                loss.append(is_graded and token != SENTENCE_START and token not in PLACEHOLDERS)
        if any(loss[before:]):
            offsets.append(len(ids))
        else:
            del ids[before:], loss[before:]
    return Documents(
        np.array(ids, dtype=np.int32), np.array(loss, dtype=np.bool_), np.array(offsets, dtype=np.int64)
    )


def numbered_phones(phones: Phones, pieces: Pieces, vocabulary: Vocabulary) -> Phones:
    """The same owners, with words in place of pieces."""
    documents = [numbered(messages_of(phones.documents(i), pieces), vocabulary) for i in range(len(phones))]
    return assemble(phones.names, phones.num_words.tolist(), documents)


def drawn(documents: Documents, pieces: Pieces, num_words: int, seed: int) -> Documents:
    """Documents of pieces in a random order, until so many words are together."""
    order = np.random.default_rng(seed).permutation(len(documents))
    # A unit is a word or a mark; marks are told from words only where they must be.
    first_pieces = [pieces.piece(i)[:1].isalpha() for i in range(pieces.vocab_size)]
    begins_word = np.append(False, pieces.ends_unit[documents.ids[:-1]] | (documents.ids[:-1] == START_ID))
    begins_word &= np.array(first_pieces)[documents.ids]
    words_until = np.append(0, np.cumsum(begins_word))
    words = np.diff(words_until[documents.offsets])[order]
    num_drawn = min(len(order), int(np.searchsorted(np.cumsum(words), num_words)) + 1)
    chosen = [documents.take(i, i + 1) for i in order[:num_drawn].tolist()]
    return Documents(
        np.concatenate([each.ids for each in chosen]),
        np.concatenate([each.loss for each in chosen]),
        np.append(0, np.cumsum([len(each.ids) for each in chosen])),
    )
