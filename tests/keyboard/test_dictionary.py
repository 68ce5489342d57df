"""Right words are left as they are: none that went in is missed, and few wrong ones pass for right."""

from __future__ import annotations

import json
import random
import shutil
import string
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedkey import Engine
from fedkey.bundle import DICTIONARY, MANIFEST, open_bundle
from fedkey.dictionary import BITS_PER_WORD, Dictionary, as_bits

WORDS = st.text(st.characters(categories=("Ll", "Lu"), include_characters="'-"), min_size=1)


@given(st.sets(WORDS))
def test_whatever_went_in_is_found_in_whatever_case(words: set[str]) -> None:
    dictionary = Dictionary(as_bits(words))
    assert all(word in dictionary for word in words)
    assert all(word.lower() in dictionary for word in words)


def test_it_takes_fourteen_bits_a_word_and_one_wrong_word_in_800_passes() -> None:
    generator = random.Random(1)
    words = ["".join(generator.choices(string.ascii_lowercase, k=9)) for _ in range(40_000)]
    bits = as_bits(words[:10_000])
    assert bits.nbytes == 10_000 * BITS_PER_WORD // 8
    assert sum(word in Dictionary(bits) for word in words[10_000:]) < 60


def test_without_words_nothing_is_found() -> None:
    assert "word" not in Dictionary(None)
    assert "word" not in Dictionary(as_bits([]))
    assert "" not in Dictionary(as_bits(["word"] * 3))


def test_order_does_not_count_and_the_bits_are_those_of_the_format() -> None:
    """Bundles outlive this code: other bits for the same words would be another format."""
    bits = as_bits(["wristband", "plausibly"])
    assert np.array_equal(bits, as_bits(["plausibly", "wristband"]))
    assert bits.tobytes().hex() == "c4551f79"


def test_what_the_dictionary_holds_is_known_and_left_alone_but_not_offered(tiny_bundle: Path) -> None:
    assert open_bundle(tiny_bundle).dictionary_array() is not None
    engine = Engine.open(tiny_bundle)
    word = "wristband"
    assert word not in engine.lexicon.forms
    for typed in (word, word.capitalize(), f"{word}'s"):
        assert engine.knows(typed)
        assert engine.suggest("i lost my ", typed).autocorrect is None
    assert word not in engine.suggest("i lost my ", "wristb", k=20).words


def test_a_bundle_without_knows_its_lexicon_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    manifest = json.loads((bundle / MANIFEST).read_text())
    del manifest["files"][DICTIONARY]
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    engine = Engine.open(bundle)
    assert not engine.knows("wristband")
    assert engine.knows("the")
