"""The text of a real phone: what its keyboard wrote down while it was joined.

In: a keyboard's diary and the bundle it types with. Out: `Documents`, made as `fedkey_server.prepare` makes
those of simulated phones. Next stop: `fedkey_server.client_app`.

Pieces and the spelling of words come from the phone's bundle: nothing has to be fetched, and nobody learns
which words were looked up. A federation that counts pieces by another tokenizer is refused, since its model
would be taught noise.
"""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedkey.bundle import open_bundle
from fedkey.diary import Diary
from fedkey.lexicon import Lexicon
from fedkey.ngram import Vocabulary
from fedkey.pieces import Pieces
from fedkey.releases import bundle_at
from fedkey.text import split, truecase_units
from fedkey_server.batches import Documents, build_documents
from fedkey_server.crowd import digest_of


class Declined(Exception):
    """A phone's reason not to take part in this round, in a few words that tell nothing of what was typed."""


def own_documents(diary: Path, bundle: Path, tokenizer: str, window: int) -> Documents:
    """What this phone may be taught with.

    Args:
        diary: file of `fedkey.diary`.
        bundle: of the keyboard, or its registry.
        tokenizer: SHA-256 of the federation's, in hexadecimal.
        window: longest document, in pieces.

    Raises:
        Declined: the bundle's pieces are others than the federation's.
        UserError: a file cannot be read.
    """
    language = _language(bundle_at(bundle))
    if language.tokenizer != tokenizer:
        raise Declined("another tokenizer")
    return build_documents(
        (
            [(truecase_units(split(message), language.lexicon.forms), True) for message in conversation]
            for conversation in Diary(diary).conversations()
        ),
        language.pieces,
        window,
    )


def drawn_anew(documents: Documents, rng: np.random.Generator) -> Documents:
    """As many documents, each of them any of these: some are there twice, 37 % are not.

    By this a keyboard does not answer the same question alike. Eight validation authors of 300 to 1,600 words
    were asked twice with the weights of the model that ships: their two updates are 0.87 of the norm of one
    apart (median). By the order of rows alone it is 0.18, and nothing (3e-6) where all of a keyboard's text
    is one batch; leaving out half gives 0.98, and shortens the update from 0.59 to 0.36.
    """
    chosen = [documents.take(each, each + 1) for each in rng.integers(len(documents), size=len(documents))]
    return Documents(
        np.concatenate([each.ids for each in chosen]),
        np.concatenate([each.loss for each in chosen]),
        np.cumsum([0, *(len(each.ids) for each in chosen)]),
    )


def own_pieces(bundle: Path) -> Pieces:
    """The tokenizer of a keyboard's bundle, or of its registry's newest one."""
    return _language(bundle_at(bundle)).pieces


class Words(NamedTuple):
    """How a bundle spells and numbers words."""

    pieces: Pieces
    vocabulary: Vocabulary
    lexicon: str
    """`crowd.digest_of` the vocabulary."""
    tokenizer: str
    """SHA-256 of the tokenizer, in hexadecimal."""
    window: int
    """Of its model, in pieces."""


def own_words(bundle: Path) -> Words:
    """Those of a keyboard's bundle, or of its registry's newest one."""
    return _language(bundle_at(bundle)).words


class _Language:
    """What of a bundle is needed to write text as its model reads it."""

    def __init__(self, path: Path) -> None:
        bundle = open_bundle(path)
        model = bundle.tokenizer_bytes()
        self.tokenizer = hashlib.sha256(model).hexdigest()
        self.pieces = Pieces(model)
        self.lexicon = Lexicon(bundle.lexicon_arrays(), bundle.manifest.model.vocab_size)
        self.window = bundle.manifest.model.window

    @cached_property
    def words(self) -> Words:
        """Who only trains needs none."""
        vocabulary = Vocabulary(self.lexicon)
        return Words(self.pieces, vocabulary, digest_of(vocabulary), self.tokenizer, self.window)


@lru_cache(maxsize=1)
def _language(path: Path) -> _Language:
    return _Language(path)
