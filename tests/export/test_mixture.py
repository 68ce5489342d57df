"""`fedkey-export mixture`: what is asked, what is learned from it, and what the keyboard makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedkey import Engine
from fedkey.bundle import CORRECTION, MANIFEST, MIXTURE, open_bundle
from fedkey.commands import EXIT_MISTAKE
from fedkey.conversations import GradedConversation
from fedkey.mixture import PLACE_INPUTS, WORD_INPUTS, Mixture
from fedkey.workers import OpenedBundle
from fedkey_export import calibrate
from fedkey_export import mixture as mixture_module
from fedkey_export.mixture import NUM_CONTENDERS, Questions, ask, fit

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def weighed(fedkey_export: Command, bundle: Path, tiny_data: Path) -> Path:
    """A bundle with a mixture."""
    run(fedkey_export, bundle, tiny_data)
    return bundle


def run(fedkey_export: Command, bundle: Path, data: Path) -> str:
    text = data / "validation.jsonl"
    status, out, error = fedkey_export("mixture", bundle, "--text", text, "--max-words", 60, "--processes", 1)
    assert (status, error) == (0, "")
    return out


def contents(bundle: Path) -> dict[str, bytes]:
    return {
        each.relative_to(bundle).as_posix(): each.read_bytes() for each in bundle.rglob("*") if each.is_file()
    }


# ---------------------------------------------------------------------------------------------- the bundle


def test_a_bundle_gets_a_mixture_and_a_table_tells_what_it_is_worth(
    fedkey_export: Command, bundle: Path, tiny_data: Path
) -> None:
    calibrate.write(bundle, Engine.open(bundle).corrections)
    before = contents(bundle)
    out = run(fedkey_export, bundle, tiny_data)
    after = contents(bundle)
    assert after.keys() - before.keys() == {MIXTURE}
    assert before.keys() - after.keys() == {CORRECTION}  # fitted to what was likely before
    assert [name for name in before.keys() & after.keys() if before[name] != after[name]] == [MANIFEST]
    assert MIXTURE in open_bundle(bundle).manifest.files
    head, *rows, explained, then = out.splitlines()
    assert head.split() == ["letters", "typed", "words", "first", "among", "three"]
    assert [row.split()[0] for row in rows] == ["0", "1", "2", "3"]
    assert "each half of" in explained
    assert "calibrate" in then


def test_the_same_text_gives_the_same_bytes_again(
    fedkey_export: Command, weighed: Path, tiny_data: Path
) -> None:
    before = contents(weighed)
    run(fedkey_export, weighed, tiny_data)  # what the bundle held of an earlier one makes no difference
    assert contents(weighed) == before


def test_the_keyboard_answers_by_it(fedkey_export: Command, weighed: Path, tiny_bundle: Path) -> None:
    plain, engine = Engine.open(tiny_bundle), Engine.open(weighed)
    mixture = Mixture.from_json((weighed / MIXTURE).read_text("utf-8"))
    found = plain.contenders("how are ", "", 20)
    best = max(
        zip(
            found.words.tolist(), found.log_probs + mixture.shift(found.by_word, found.by_place), strict=True
        ),
        key=lambda each: each[1],
    )
    first = engine.suggest("how are ", "", 1)
    assert first.words == (engine.lexicon.word(best[0]),)
    assert first.log_probs[0] == pytest.approx(best[1], abs=1e-4)
    # What a mixture is told of words does not depend on it.
    again = engine.contenders("how are ", "", 20)
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))


def test_new_n_grams_take_it_out(fedkey_export: Command, weighed: Path, tiny_data: Path) -> None:
    status, out, _ = fedkey_export("ngrams", weighed, "--data", tiny_data, "--max-bytes", 10_000)
    assert status == 0
    assert "fedkey-export mixture" in out
    assert not (weighed / MIXTURE).exists()
    assert MIXTURE not in open_bundle(weighed).manifest.files


# --------------------------------------------------------------------------------------------------- asking


def test_every_known_word_is_asked_for_after_its_first_letters(tiny_bundle: Path) -> None:
    opened = OpenedBundle(tiny_bundle)
    message = "are you zzyzx a"
    talk = GradedConversation("ann", ("hello how", message), (False, True))
    found = ask({"ann": 3}, opened, [talk])
    known = [word for word in ("are", "you", "a") if opened.is_known(word)]
    assert known
    assert not opened.is_known("zzyzx")
    assert len(found.right) == sum(min(4, len(word)) for word in known)
    assert set(found.author.tolist()) == {3}
    at = 0
    for word in known:
        for letters in range(min(4, len(word))):
            assert found.letters[at] == letters
            context = f"hello how\n{message[: message.index(word)]}"
            expected = opened.engine.contenders(context, word[:letters], NUM_CONTENDERS)
            keys = [opened.engine.lexicon.key(each) for each in expected.words.tolist()]
            distinct = list(dict.fromkeys(keys))
            assert word[:letters] not in distinct
            right = distinct.index(word) if word in distinct else -1
            assert found.right[at] == right
            is_there = np.isfinite(found.log_probs[at])
            assert is_there.sum() == len(distinct)
            ordered = found.log_probs[at][is_there]
            assert (np.diff(ordered) <= 0).all()
            at += 1


# ------------------------------------------------------------------------------------------------- learning


def made_up(rng: np.random.Generator, num: int) -> Questions:
    """In half of the places one word was said before, and is meant; in the others the likeliest is."""
    by_word = rng.normal(size=(num, NUM_CONTENDERS, len(WORD_INPUTS))).astype(np.float32)
    by_place = rng.normal(size=(num, len(PLACE_INPUTS))).astype(np.float32)
    log_probs = -np.sort(rng.exponential(0.3, size=(num, NUM_CONTENDERS)), axis=1).astype(np.float32)
    log_probs -= np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
    by_word[:, :, WORD_INPUTS.index("mixed")] = log_probs
    said = rng.integers(NUM_CONTENDERS, size=num)
    was_said = rng.random(num) < 0.5
    by_word[:, :, WORD_INPUTS.index("said")] = np.log(1e-4)
    by_word[was_said, said[was_said], WORD_INPUTS.index("said")] = -1.0
    right = np.where(was_said, said, 0)
    return Questions(by_word, by_place, log_probs, right, np.zeros(num, np.int64), np.arange(num) % 8)


def share_of_first(mixture: Mixture | None, questions: Questions) -> float:
    scores = questions.log_probs.copy()
    if mixture is not None:
        for row, by_word, by_place in zip(scores, questions.by_word, questions.by_place, strict=True):
            row += mixture.shift(by_word, by_place)
    return float((scores.argmax(axis=1) == questions.right).mean())


def test_what_tells_the_truth_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture_module, "BATCH", 32)  # as many steps as a larger text would give
    rng = np.random.default_rng(2)
    taught, new = made_up(rng, 2000), made_up(rng, 500)
    mixture = fit(taught, seed=0)
    assert share_of_first(None, new) < 0.6
    assert share_of_first(mixture, new) > 0.65
    assert fit(taught, seed=0).to_json() == mixture.to_json()
    assert fit(taught, seed=1).to_json() != mixture.to_json()


def test_what_is_not_there_teaches_nothing() -> None:
    rng = np.random.default_rng(3)
    taught = made_up(rng, 2000)
    mixture = fit(taught, seed=0)
    # Padding behind the words that compete, whatever it holds.
    padded = taught._replace(
        by_word=np.concatenate([taught.by_word, np.full_like(taught.by_word[:, :2], 50)], axis=1),
        log_probs=np.concatenate([taught.log_probs, np.full_like(taught.log_probs[:, :2], -np.inf)], axis=1),
    )
    new = made_up(rng, 300)
    assert share_of_first(fit(padded, seed=0), new) == pytest.approx(share_of_first(mixture, new), abs=0.02)


def test_what_never_varied_has_no_say() -> None:
    """Whoever taught it was never told twice of a word, and typed without n-grams."""
    rng = np.random.default_rng(4)
    taught = made_up(rng, 300)
    words, places = [WORD_INPUTS.index("followed"), WORD_INPUTS.index("pairs")], [3, 4]
    taught.by_word[:, :, words] = np.log(1e-3)
    taught.by_place[:, places] = 0
    mixture = fit(taught, seed=0)
    assert not mixture.by_word[:, words].any()
    assert not mixture.by_place[:, places].any()
    assert mixture.by_word[:, WORD_INPUTS.index("mixed")].all()
    by_word, by_place = taught.by_word[0], taught.by_place[0]
    before = mixture.shift(by_word, by_place)
    by_word[:, words], by_place[places] = np.log(0.5), 0.15
    assert np.array_equal(mixture.shift(by_word, by_place), before)


# ------------------------------------------------------------------------------------------- what it refuses


AUTHORS = (("ann", "how are you"), ("bob", "zzyzx qqqq"))


def test_mistakes_are_told_in_one_sentence(
    fedkey_export: Command, bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    text = tiny_data / "validation.jsonl"
    (tmp_path / "alone.txt").write_text("hello there\nhow are you\n")
    lines = [{"user": user, "dialog": 1, "turn": 1, "text": words} for user, words in AUTHORS]
    (tmp_path / "strange.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    before = contents(bundle)
    for arguments, reason in (
        ((tmp_path / "nothing", "--text", text), "no bundle at"),
        ((bundle, "--text", tmp_path / "nothing.txt"), "nothing.txt"),
        ((bundle, "--text", tmp_path / "alone.txt"), "has one author"),
        ((bundle, "--text", tmp_path / "strange.jsonl", "--processes", 1), "holds too few words that"),
        ((bundle, "--text", text, "--max-words", 0), "--max-words must be at least 1"),
        ((bundle, "--text", text, "--processes", 0), "--processes must be at least 1"),
    ):
        status, out, error = fedkey_export("mixture", *arguments)
        assert (status, out) == (EXIT_MISTAKE, "")
        assert error.startswith("fedkey-export: ")
        assert error.endswith(".\n")
        assert error.count("\n") == 1
        assert reason in error
    assert contents(bundle) == before
