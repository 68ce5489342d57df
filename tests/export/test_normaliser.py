"""The usual log Z, against models small enough to be read one prefix at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch

from fedkey.lexicon import Lexicon
from fedkey.pieces import START_ID
from fedkey_export.lexicon_arrays import build_arrays
from fedkey_export.normaliser import NUM_WORDS, usual_log_normaliser
from fedkey_server.model import Model, ModelConfig

CONFIG = ModelConfig(
    vocab_size=40, width=32, num_layers=2, num_heads=2, num_key_value_heads=1, hidden_width=24, window=16
)


def lively(seed: int = 0) -> Model:
    """A model whose log Z differs from place to place."""
    model = Model(CONFIG, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)
    return model


def lexicon(words: Mapping[str, tuple[float, Sequence[int]]]) -> Lexicon:
    """Words with their log probabilities and pieces."""
    rows = [(word, log_prob, False) for word, (log_prob, _) in words.items()]
    return Lexicon(build_arrays(rows, lambda word: words[word][1]), CONFIG.vocab_size)


@torch.no_grad()
def log_z(model: Model, ids: list[int]) -> float:
    """Of what follows `ids`, by a sum written out."""
    tokens = torch.tensor([ids])
    hidden = model(tokens, torch.arange(len(ids))[None], torch.zeros_like(tokens))
    logits = model.logits(hidden)[0, -1].double()
    return math.log(sum(math.exp(logit) for logit in logits.tolist()))


def test_it_is_the_mean_over_every_place_inside_a_word() -> None:
    """Words of several lengths, so that shorter ones are padded; the last piece of a word is no inside."""
    words = {
        "one": (-1.0, [9]),
        "three": (-2.0, [7, 8, 9]),
        "two": (-3.0, [11, 12]),
        "five": (-4.0, [20, 21, 22, 23, 24]),
    }
    model = lively()
    inside = [[7], [7, 8], [11], [20], [20, 21], [20, 21, 22], [20, 21, 22, 23]]
    values = [log_z(model, [START_ID, *pieces]) for pieces in inside]
    assert max(values) - min(values) > 0.1
    assert usual_log_normaliser(model, lexicon(words)) == pytest.approx(np.mean(values), abs=0.0051)


def test_a_model_to_which_all_pieces_are_alike() -> None:
    """All logits are 0, so Z is the number of pieces."""
    model = Model(CONFIG, seed=0)
    with torch.no_grad():
        model.state_dict()["model.embed_tokens.weight"].zero_()
    assert usual_log_normaliser(model, lexicon({"ab": (-1.0, [7, 8])})) == round(math.log(40), 2)


def test_it_has_two_decimals() -> None:
    value = usual_log_normaliser(lively(3), lexicon({"ab": (-1.0, [7, 8]), "cd": (-2.0, [9, 10])}))
    assert value == round(value, 2) != 0


def test_words_of_one_piece_need_none() -> None:
    assert usual_log_normaliser(lively(), lexicon({"a": (-1.0, [7]), "b": (-2.0, [8])})) == 0.0


def test_rare_words_do_not_count() -> None:
    rng = np.random.default_rng(0)
    frequent = {f"f{n}": (-1.0 - n / 1000, rng.integers(5, 40, 3).tolist()) for n in range(NUM_WORDS)}
    rare = {f"a{n}": (-20.0, rng.integers(5, 40, 9).tolist()) for n in range(100)}
    model = lively()
    assert usual_log_normaliser(model, lexicon(frequent | rare)) == usual_log_normaliser(
        model, lexicon(frequent)
    )


def test_a_word_longer_than_the_window_counts_as_far_as_it_goes() -> None:
    long = [7 + n % 30 for n in range(3 * CONFIG.window)]
    cut = usual_log_normaliser(lively(), lexicon({"long": (-1.0, long[: CONFIG.window - 1])}))
    assert usual_log_normaliser(lively(), lexicon({"long": (-1.0, long)})) == cut
