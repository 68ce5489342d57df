"""`fedkey-export ngrams`: what is counted, what is kept of it, and what the keyboard makes of it."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import resource
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedkey import Engine
from fedkey.bundle import (
    CORRECTION,
    MANIFEST,
    MIXTURE,
    NGRAM_ARRAYS,
    BundleError,
    FileEntry,
    ngram_file,
    open_bundle,
    read_manifest,
)
from fedkey.commands import EXIT_MISTAKE
from fedkey.context import ContextReader
from fedkey.conversation import Conversation
from fedkey.corrections import DEFAULT_CORRECTIONS
from fedkey.decoder import PRIOR_WEIGHT
from fedkey.engine import WORD_ROOM
from fedkey.lexicon import Lexicon
from fedkey.model import LanguageModel
from fedkey.ngram import Vocabulary
from fedkey.personal_rules import words_before
from fedkey.pieces import Pieces
from fedkey.prior import Prior
from fedkey_export import calibrate, package
from fedkey_export.lexicon_arrays import build_arrays
from fedkey_export.ngrams import as_arrays, entry_size, most_telling
from fedkey_server import kneser_ney
from fedkey_server.crowd import ORDER, Crowd, digest_of
from fedkey_server.kneser_ney import Integers, Level

MAX_BYTES = 10_000

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def counted(fedkey_export: Command, bundle: Path, tiny_data: Path) -> Path:
    """A bundle with n-grams."""
    status, out, error = fedkey_export("ngrams", bundle, "--data", tiny_data, "--max-bytes", MAX_BYTES)
    assert (status, error) == (0, "")
    assert "pairs and" in out
    return bundle


def contents(bundle: Path) -> dict[str, bytes]:
    return {
        each.relative_to(bundle).as_posix(): each.read_bytes() for each in bundle.rglob("*") if each.is_file()
    }


# ---------------------------------------------------------------------------------------------- the bundle


def test_a_bundle_gets_its_n_grams_within_the_bytes_it_was_given(
    fedkey_export: Command, bundle: Path, tiny_data: Path
) -> None:
    before = contents(bundle)
    status, out, error = fedkey_export("ngrams", bundle, "--data", tiny_data, "--max-bytes", MAX_BYTES)
    assert (status, error) == (0, "")
    after = contents(bundle)
    added = after.keys() - before.keys()
    assert added == {ngram_file(name) for name in NGRAM_ARRAYS}
    assert [name for name in before if before[name] != after[name]] == [MANIFEST]
    size = sum(len(after[name]) for name in added)
    assert 0.95 * MAX_BYTES < size <= MAX_BYTES
    assert f"in {size:,} bytes" in out
    figures = open_bundle(bundle).manifest.metrics["ngrams"]
    assert figures["pairs"] > 0
    assert figures["triples"] > 0
    assert figures["text_words"] > figures["pairs"]


def test_whoever_inspects_the_bundle_is_told(
    fedkey_export: Command, counted: Path, tiny_bundle: Path
) -> None:
    assert "n-grams" not in fedkey_export("inspect", tiny_bundle)[1]
    out = fedkey_export("inspect", counted)[1]
    figures = open_bundle(counted).manifest.metrics["ngrams"]
    assert f"n-grams   {figures['pairs']:,} pairs and {figures['triples']:,} triples of" in out
    assert ", n-grams " in next(line for line in out.splitlines() if line.startswith("size"))


def test_the_same_again_gives_the_same_bytes(fedkey_export: Command, counted: Path, tiny_data: Path) -> None:
    before = contents(counted)
    assert fedkey_export("ngrams", counted, "--data", tiny_data, "--max-bytes", MAX_BYTES)[0] == 0
    assert contents(counted) == before


def test_corrections_that_were_fitted_without_them_are_taken_out(
    fedkey_export: Command, bundle: Path, tiny_data: Path
) -> None:
    calibrate.write(bundle, DEFAULT_CORRECTIONS)
    assert CORRECTION in open_bundle(bundle).manifest.files
    status, out, _ = fedkey_export("ngrams", bundle, "--data", tiny_data, "--max-bytes", MAX_BYTES)
    assert status == 0
    assert "fedkey-export calibrate" in out
    assert CORRECTION not in open_bundle(bundle).manifest.files
    assert not (bundle / CORRECTION).exists()
    calibrate.write(bundle, DEFAULT_CORRECTIONS)
    assert {CORRECTION, *map(ngram_file, NGRAM_ARRAYS)} <= open_bundle(bundle).manifest.files.keys()


def test_a_full_disk_costs_a_bundle_nothing(fedkey_export: Command, counted: Path, tiny_data: Path) -> None:
    """Neither the n-grams it has, nor what was fitted to them."""
    package.replace_files(counted, open_bundle(counted).manifest, {MIXTURE: b"[1]", CORRECTION: b"[1]"})
    before = contents(counted)
    largest = max(open_bundle(counted).manifest.files[ngram_file(name)].bytes for name in NGRAM_ARRAYS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, hard))
    try:
        status, out, error = fedkey_export("ngrams", counted, "--data", tiny_data, "--max-bytes", MAX_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (status, out) == (EXIT_MISTAKE, "")
    assert error.startswith(f"fedkey-export: Cannot write into the bundle {counted}: ")
    assert error.count("\n") == 1
    assert contents(counted) == before
    assert {MIXTURE, CORRECTION, ngram_file("pair_counts")} <= open_bundle(counted).manifest.files.keys()


def test_a_bundle_with_some_of_the_arrays_is_refused(counted: Path) -> None:
    manifest = (counted / MANIFEST).read_text(encoding="utf-8")
    name = ngram_file("pair_words")
    (counted / MANIFEST).write_text(manifest.replace(f'"{name}"', '"ngrams/other.npy"'), encoding="utf-8")
    with pytest.raises(BundleError, match=f"does not list {name}"):
        open_bundle(counted)


def test_an_array_of_another_kind_is_refused(counted: Path) -> None:
    path, name = counted / ngram_file("pair_values"), ngram_file("pair_values")
    manifest = read_manifest(counted)
    np.save(path, np.load(path).astype("<f4"), allow_pickle=False)
    entry = FileEntry(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    changed = dataclasses.replace(manifest, files={**manifest.files, name: entry})
    (counted / MANIFEST).write_text(changed.to_json(), encoding="utf-8")
    with pytest.raises(BundleError, match=r"ngrams/pair_values\.npy is not the kind of array it should be"):
        open_bundle(counted)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-bytes", 0), "--max-bytes must be at least 1"),
        (("--max-bytes", 600), "fit into 600 bytes"),
    ],
)
def test_bytes_that_hold_nothing_are_refused_and_the_bundle_stays(
    fedkey_export: Command, bundle: Path, tiny_data: Path, options: tuple[object, ...], said: str
) -> None:
    before = contents(bundle)
    status, _, error = fedkey_export("ngrams", bundle, "--data", tiny_data, *options)
    assert status == EXIT_MISTAKE
    assert said in error
    assert len(error.splitlines()) == 1
    assert contents(bundle) == before


def test_another_runs_data_are_refused(
    fedkey_export: Command, bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    status, _, error = fedkey_export("ngrams", bundle, "--data", tmp_path / "nothing")
    assert status == EXIT_MISTAKE
    assert "is no prepared data folder" in error
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.model").write_bytes(b"another")
    status, _, error = fedkey_export("ngrams", bundle, "--data", other)
    assert status == EXIT_MISTAKE
    assert "their tokenizers differ" in error
    shutil.copy(tiny_data / "tokenizer.model", other)
    status, _, error = fedkey_export("ngrams", bundle, "--data", other)
    assert status == EXIT_MISTAKE
    assert "it holds no server.npz" in error


# ---------------------------------------------------------------------------------------------- what is kept


def kept_of(levels: tuple[Level, ...], vocabulary: Vocabulary, max_bytes: int) -> tuple[Level, Level]:
    kept = most_telling(levels, vocabulary, max_bytes, entry_size(1))
    assert kept is not None
    return kept


def text_words(data: Path, bundle: Path) -> tuple[Integers, Vocabulary, Lexicon]:
    pieces = Pieces.open(data / "tokenizer.model")
    lexicon = Lexicon(open_bundle(bundle).lexicon_arrays(), pieces.vocab_size)
    vocabulary = Vocabulary(lexicon)
    return kneser_ney.read_tokens(data, pieces, vocabulary), vocabulary, lexicon


def test_what_often_followed_is_likelier_after_it(counted: Path, tiny_data: Path) -> None:
    """The prior is nearer than frequencies to what the text did, counted by hand."""
    tokens, vocabulary, lexicon = text_words(tiny_data, counted)
    prior = Prior(lexicon, open_bundle(counted).ngram_arrays())
    keys = {number: key for key, number in vocabulary.numbers.items()}
    known = [number if number in keys else None for number in tokens.tolist()]
    seen = Counter(
        (first, second, third)
        for first, second, third in zip(known, known[1:], known[2:], strict=False)
        if first is not None and second is not None and third is not None
    )
    better = worse = 0
    for (first, second, third), _ in seen.most_common(50):
        word = lexicon.find(lexicon.forms[keys[third]])
        after = float(np.log(prior.probs([keys[first], keys[second]])[word]))
        better += after > float(lexicon.log_prob[word]) + 0.5
        worse += after < float(lexicon.log_prob[word])
    assert better > 45
    assert worse == 0


def test_nothing_is_kept_that_came_once(tiny_data: Path, counted: Path) -> None:
    tokens, vocabulary, _ = text_words(tiny_data, counted)
    levels = kneser_ney.estimate(tokens, vocabulary, ORDER)
    pairs, triples = kept_of(levels, vocabulary, MAX_BYTES)
    base = vocabulary.start + 1
    contexts = set(triples.contexts.tolist())
    alone = [
        first * base + second
        for first, second, came in zip(
            pairs.contexts[pairs.owners].tolist(), pairs.words.tolist(), pairs.came.tolist(), strict=True
        )
        if came == 1
    ]
    assert set(alone) <= contexts  # kept for what stands behind them, which came at least as often
    assert not alone
    assert int(triples.came.min()) > 1


def test_fewer_bytes_keep_a_part_of_what_more_bytes_keep(tiny_data: Path, counted: Path) -> None:
    tokens, vocabulary, _ = text_words(tiny_data, counted)
    levels = kneser_ney.estimate(tokens, vocabulary, ORDER)
    kept = [kept_of(levels, vocabulary, size) for size in (700, 1_400, 2_800)]
    for (few_pairs, few_triples), (pairs, triples) in itertools.pairwise(kept):
        assert grams(few_pairs) < grams(pairs)
        assert grams(few_triples) < grams(triples)
    for pairs, triples in kept:
        assert set(triples.contexts.tolist()) <= {
            first * (vocabulary.start + 1) + second for first, second in grams(pairs)
        }


def test_the_words_of_a_large_lexicon_take_more_bytes_and_still_fit() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = itertools.islice(map("".join, itertools.product(letters, repeat=4)), (1 << 16) + 1)
    lexicon = Lexicon(build_arrays([(word, -11.0, False) for word in words], lambda _: (7,)), 8)
    vocabulary = Vocabulary(lexicon)
    # The last words of all, over and over.
    drawn = np.random.default_rng(1).integers(vocabulary.unknown - 30, vocabulary.unknown, 4000)
    levels = kneser_ney.estimate(drawn, vocabulary, ORDER)
    assert (entry_size(1 << 16), entry_size(len(lexicon))) == (3, 5)
    for max_bytes in (1_000, 3_000):
        kept = most_telling(levels, vocabulary, max_bytes, entry_size(len(lexicon)))
        assert kept is not None
        arrays = as_arrays(*kept, lexicon, vocabulary)
        Prior(lexicon, arrays)
        taken = sum(array.nbytes for name, array in arrays.items() if name != "pair_counts")
        assert 0.8 * max_bytes < taken <= max_bytes


def grams(level: Level) -> set[tuple[int, int]]:
    return set(zip(level.contexts[level.owners].tolist(), level.words.tolist(), strict=True))


# ---------------------------------------------------------------------------------------------- the keyboard


def test_answers_with_n_grams_do_not_depend_on_what_was_asked_before(counted: Path) -> None:
    warm = Engine.open(counted)
    text = "how are you doing today? i am doing well "
    for end in range(len(text) + 1):
        before, _, typed = text[:end].rpartition(" ")
        context = f"{before} " if before else ""
        for after in ("", " and you"):
            cold = Engine.open(counted)
            one, other = warm.suggest(context, typed, after=after), cold.suggest(context, typed, after=after)
            assert one.words == other.words
            # Sums in another order differ: 1.1e-4 was seen, of a word at -18.7.
            assert one.log_probs == pytest.approx(other.log_probs, abs=1e-3)
            while after and warm.look_ahead():
                pass
            cold.close()


def test_a_word_is_worth_what_model_and_priors_say_together(counted: Path) -> None:
    """By the engine, the model and the priors, each asked alone."""
    engine = Engine.open(counted)
    prior = Prior(engine.lexicon, open_bundle(counted).ngram_arrays())
    model = LanguageModel(open_bundle(counted))
    reader = ContextReader(engine.pieces, engine.lexicon.forms, model.window - WORD_ROOM)
    graded = 0
    for context in ("how are ", "i want to ", "what do you ", "see you ", ""):
        first = model.advance(model.new_cache(), reader.read(context).ids)
        usual = Conversation(engine.lexicon).probs(context, prior.probs(words_before(context)))
        shown = engine.suggest(context, "", k=8)
        for word, log_prob in zip(shown.words, shown.log_probs, strict=True):
            number = engine.lexicon.find(engine.lexicon.forms[word.lower()])
            assert number is not None
            pieces = engine.lexicon.pieces(number)
            if len(pieces) == 1 and number == engine.lexicon.find(word):
                worth = (1 - PRIOR_WEIGHT) * np.exp(first[pieces[0]]) + PRIOR_WEIGHT * usual[number]
                assert log_prob == pytest.approx(float(np.log(worth)), abs=1e-3)
                graded += 1
    assert graded > 10


# ------------------------------------------------------------------------------------------------ of phones


@pytest.fixture
def crowd(counted: Path, tiny_data: Path, tmp_path: Path) -> Path:
    """As if forty phones said "see you there", and nobody else anything."""
    _, vocabulary, _ = text_words(tiny_data, counted)
    base = vocabulary.start + 1
    first, second, third = (vocabulary.numbers[word] for word in ("see", "you", "there"))
    grams = ([third], [second * base + third], [(first * base + second) * base + third])
    levels = tuple(kneser_ney.NgramCounts(np.array(each), np.array([40])) for each in grams)
    path = tmp_path / "counts.npz"
    Crowd(digest_of(vocabulary), 40, 3.0, levels, base).save(path)
    return path


def test_what_many_phones_say_is_likelier_and_told(
    fedkey_export: Command, counted: Path, tiny_data: Path, crowd: Path
) -> None:
    opened = open_bundle(counted)
    lexicon = Lexicon(opened.lexicon_arrays(), opened.manifest.model.vocab_size)
    there = lexicon.find(lexicon.forms["there"])
    alone = Prior(lexicon, opened.ngram_arrays()).probs(["see", "you"])[there]
    status, out, error = fedkey_export(
        "ngrams", counted, "--data", tiny_data, "--max-bytes", MAX_BYTES, "--phones", crowd
    )
    assert (status, error) == (0, "")
    assert "words and of 40 phones in" in out
    together = Prior(lexicon, open_bundle(counted).ngram_arrays()).probs(["see", "you"])[there]
    assert together > 2 * alone
    assert together > 0.3
    figures = open_bundle(counted).manifest.metrics["ngrams"]["phones"]
    assert figures == {"number": 40, "least": 3.0, "epsilon": None, "delta": None}
    assert "words and of 40 phones" in fedkey_export("inspect", counted)[1]


def test_counts_by_other_words_are_refused_and_the_bundle_stays(
    fedkey_export: Command, counted: Path, tiny_data: Path, crowd: Path
) -> None:
    dataclasses.replace(Crowd.load(crowd), lexicon="another").save(crowd)
    before = contents(counted)
    status, _, error = fedkey_export("ngrams", counted, "--data", tiny_data, "--phones", crowd)
    assert status == EXIT_MISTAKE
    assert "count them again with its --bundle" in error
    status, _, error = fedkey_export("ngrams", counted, "--data", tiny_data, "--phones", crowd.parent / "no")
    assert status == EXIT_MISTAKE
    assert "run 'fedkey-server count' first" in error
    assert contents(counted) == before
