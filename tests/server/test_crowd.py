"""What many phones say: from their text to n-grams that no single one of them gave away."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from at_command import fedkey_server, with_overrides
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedkey.bundle import open_bundle
from fedkey.commands import EXIT_MISTAKE
from fedkey.errors import UserError
from fedkey.lexicon import Lexicon
from fedkey.ngram import Vocabulary
from fedkey.pieces import Pieces
from fedkey_server import kneser_ney
from fedkey_server.client_app import CONFIG, COUNT, TASK, app, flatten
from fedkey_server.config import load
from fedkey_server.counting import count, noised
from fedkey_server.crowd import CountConfig, Crowd, as_keys, keys_of, popular
from fedkey_server.grid import InProcessGrid
from fedkey_server.kneser_ney import NgramCounts
from fedkey_server.masking import MASK
from fedkey_server.own_text import own_words
from fedkey_server.phones import Phones
from fedkey_server.secure_messages import MASKED, SECURE
from fedkey_server.sketch import SketchConfig, sketch


class Numbers:
    """A vocabulary of few words, as `popular` needs one."""

    def __init__(self, num_words: int) -> None:
        self.unknown = num_words
        self.start = num_words + 1
        self.numbers = {f"word {number}": number for number in range(num_words)}

    def number(self, word: str) -> int:
        return self.numbers.get(word, self.unknown)


WORDS: Any = Numbers(6)
BASE = WORDS.start + 1
ROOMY = SketchConfig(num_hashes=4, width=1 << 15, most=4000)
SMALL_SKETCH = ["sketch.width=65536", "sketch.num_hashes=4"]
FEW = [*SMALL_SKETCH, "count.cohort=4", "count.min_reports=2"]

SENTENCES = st.lists(st.integers(0, 6), min_size=1, max_size=6)
TEXTS = st.lists(st.lists(SENTENCES, max_size=4), min_size=1, max_size=6)


def tokens_of(sentences: list[list[int]]) -> np.ndarray:
    return np.array(list(itertools.chain(*([WORDS.start, *each] for each in sentences))), dtype=np.int64)


def grams_of(tokens: np.ndarray, length: int) -> set[int]:
    return set(kneser_ney.events(tokens, WORDS, length).tolist())


def keys(tokens: np.ndarray) -> np.ndarray:
    every = [as_keys(np.array(sorted(grams_of(tokens, n)), dtype=np.int64), n) for n in (1, 2, 3)]
    return np.concatenate(every)


def levels_of(texts: list[list[list[int]]], least: int) -> tuple[NgramCounts, ...]:
    rng = np.random.default_rng(0)
    total = np.sum([sketch(keys(tokens_of(text)), ROOMY, rng) for text in texts], axis=0)
    return popular(total, ROOMY, WORDS, least)


@given(TEXTS, st.integers(1, 4))
def test_what_is_found_is_what_so_many_phones_have(texts: list[list[list[int]]], least: int) -> None:
    for length, found in enumerate(levels_of(texts, least), 1):
        truth = Counter(gram for text in texts for gram in grams_of(tokens_of(text), length))
        expected = {gram: times for gram, times in truth.items() if times >= least}
        assert dict(zip(found.grams.tolist(), found.counts.tolist(), strict=True)) == expected
        assert found.grams.tolist() == sorted(expected)


def test_an_event_is_a_word_with_those_before_it_in_its_sentence() -> None:
    tokens = tokens_of([[1, 2, 3], [4]])
    start = WORDS.start

    def packed(*words: int) -> int:
        number = 0
        for word in words:
            number = number * BASE + word
        return number

    assert grams_of(tokens, 1) == {1, 2, 3, 4}
    assert grams_of(tokens, 2) == {packed(start, 1), packed(1, 2), packed(2, 3), packed(start, 4)}
    assert grams_of(tokens, 3) == {packed(start, 1, 2), packed(1, 2, 3)}


@given(TEXTS, st.integers(1, 3))
def test_phones_together_count_as_what_they_wrote(texts: list[list[list[int]]], weight: int) -> None:
    """With a weight, n-grams of three come as often as that for each phone, and no shorter one is lost."""
    found = Crowd("", len(texts), 1, levels_of(texts, 1), BASE)
    levels = found.weighted(weight)
    (_, _, longest), (_, _, told) = found.levels, levels
    assert told.counts.tolist() == (weight * longest.counts).tolist()
    for length in (1, 2):
        rest = dict(zip(levels[length - 1].grams.tolist(), levels[length - 1].counts.tolist(), strict=True))
        for gram, phones in zip(*map(np.ndarray.tolist, found.levels[length - 1]), strict=True):
            ends = found.levels[length].grams % BASE**length == gram
            within = int(found.levels[length].counts[ends].sum())
            assert rest[gram] == weight * max(0, phones - within)


@given(TEXTS, TEXTS)
def test_an_estimate_with_others_counts_leaves_nothing_out(
    text: list[list[list[int]]], others: list[list[list[int]]]
) -> None:
    """Every n-gram of either is there, what it came to is the sum, and probabilities stay some."""
    ours = np.concatenate([tokens_of(each) for each in text])
    if not len(kneser_ney.events(ours, WORDS, 1)):
        return
    weighted = Crowd("", len(others), 1, levels_of(others, 1), BASE).weighted(5)
    levels = kneser_ney.estimate(ours, WORDS, 3, weighted)
    for length, (level, told) in enumerate(zip(levels, weighted, strict=True), 1):
        came = Counter(kneser_ney.events(ours, WORDS, length).tolist())
        came.update(dict(zip(told.grams.tolist(), told.counts.tolist(), strict=True)))
        grams = (level.contexts[level.owners] * BASE + level.words).tolist()
        assert dict(zip(grams, level.came.tolist(), strict=True)) == came
        assert (level.values >= 0).all()
        assert (level.left >= -1e-9).all()


def test_an_estimate_without_others_is_that_of_the_text_alone() -> None:
    tokens = np.random.default_rng(3).integers(0, 6, 2000)
    empty = NgramCounts(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    for alone, beside in zip(
        kneser_ney.estimate(tokens, WORDS, 3),
        kneser_ney.estimate(tokens, WORDS, 3, (empty,) * 3),
        strict=True,
    ):
        assert (alone.values == beside.values).all()
        assert (alone.came == beside.came).all()


def test_a_crowd_is_read_as_it_was_written(tmp_path: Path) -> None:
    levels = levels_of([[[1, 2, 3]], [[1, 2]]], 1)
    for promised in ((None, None), (1.5, 1e-7)):
        written = Crowd("words", 2, 1.0, levels, BASE, *promised)
        written.save(tmp_path / "new folder" / "counts.npz")
        read = Crowd.load(tmp_path / "new folder" / "counts.npz")
        assert (read.lexicon, read.num_phones, read.least, read.base) == ("words", 2, 1.0, BASE)
        assert (read.epsilon, read.delta) == promised
        for one, other in zip(read.levels, levels, strict=True):
            assert (one.grams == other.grams).all()
            assert (one.counts == other.counts).all()


def test_what_is_no_crowd_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run 'fedkey-server count' first"):
        Crowd.load(tmp_path / "missing.npz")
    (tmp_path / "junk.npz").write_bytes(b"junk")
    with pytest.raises(UserError, match="is damaged"):
        Crowd.load(tmp_path / "junk.npz")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        Crowd("", 0, 1.0, levels_of([[]], 1), BASE).save(tmp_path / "file" / "counts.npz")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"least_phones": 0}, "count.least_phones must be at least 1"),
        ({"min_reports": 1}, "count.min_reports must be at least 2"),
        ({"cohort": 31}, "count.cohort must be at least 32"),
        ({"num_phones": 31}, "count.num_phones must be at least 32"),
        ({"num_phones": -1}, "count.num_phones must be at least"),
        ({"noise_multiplier": 0.1}, "no privacy worth the name"),
        ({"delta": 1.0}, "count.delta must be between"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CountConfig(**settings)


# ------------------------------------------------------------------------------------------- over phones


def phones_of(data: Path, bundle: Path, **settings: bool) -> tuple[int, dict[str, Any]]:
    """How many there are, and what each of them is told."""
    told = {"data": str(data), "bundle": str(bundle), "simulation": True, **settings}
    return len(Phones.load(data / "phones.npz")), told


def counted_by_hand(data: Path, bundle: Path, least: int) -> list[dict[int, int]]:
    pieces = Pieces.open(data / "tokenizer.model")
    vocabulary = Vocabulary(Lexicon(open_bundle(bundle).lexicon_arrays(), pieces.vocab_size))
    phones = Phones.load(data / "phones.npz")
    counts = [Counter[int]() for _ in range(3)]
    for phone in range(len(phones)):
        tokens = kneser_ney.tokens_of(phones.documents(phone), pieces, vocabulary)
        for length, seen in enumerate(counts, 1):
            seen.update(set(kneser_ney.events(tokens, vocabulary, length).tolist()))
    return [{gram: times for gram, times in seen.items() if times >= least} for seen in counts]


def test_the_command_finds_what_many_phones_have(
    tiny_data: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "counts.npz"
    arguments = ("count", "tiny", "--data", tiny_data, "--bundle", tiny_bundle, "-o", out)
    assert fedkey_server(*arguments, *with_overrides(*FEW, "count.least_phones=4")) == 0
    found = Crowd.load(out)
    expected = counted_by_hand(tiny_data, tiny_bundle, 4)
    assert len(expected[2]) > 100
    for level, truth in zip(found.levels, expected, strict=True):
        assert level.grams.tolist() == sorted(truth)
        assert level.counts.tolist() == [truth[gram] for gram in sorted(truth)]
    num_phones = len(Phones.load(tiny_data / "phones.npz"))
    assert found.num_phones == num_phones
    said = capsys.readouterr().out
    assert f"{len(expected[1]):,} pairs" in said
    assert f"at least 4 of {num_phones} phones have; no promise of differential privacy" in said


def test_no_phone_is_asked_for_what_could_not_be_written(
    tiny_data: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Path("/dev/null/counts.npz")
    # So few phones would be told of first if any were asked.
    few = with_overrides(*SMALL_SKETCH, "count.min_reports=500", "count.cohort=500")
    assert (
        fedkey_server("count", "tiny", "--data", tiny_data, "--bundle", tiny_bundle, "-o", nowhere, *few) != 0
    )
    assert f"Cannot write {nowhere}: " in capsys.readouterr().err


def test_too_few_phones_are_told_so(
    tiny_data: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "counts.npz"
    few = with_overrides(*SMALL_SKETCH, "count.min_reports=500", "count.cohort=500")
    assert fedkey_server("count", "tiny", "--data", tiny_data, "--bundle", tiny_bundle, "-o", out, *few) != 0
    assert "count.min_reports asks for 500" in capsys.readouterr().err
    assert not out.exists()


def test_some_phones_of_a_fleet_can_be_asked(tiny_data: Path, tiny_bundle: Path) -> None:
    phones = phones_of(tiny_data, tiny_bundle)
    asked: dict[int, set[int]] = {}
    for seed in (1, 2):
        nodes = asked.setdefault(seed, set())

        def noted(message: Message, context: Context, nodes: set[int] = nodes) -> Message:
            nodes.add(context.node_id)
            return app(message, context)

        config = load("tiny", [*FEW, "count.num_phones=9", f"count.seed={seed}"])
        assert count(InProcessGrid(noted, *phones), config, tiny_bundle).num_phones == 9
        assert len(nodes) == 9
    assert asked[1] != asked[2]


def test_phones_with_other_words_decline(
    tiny_data: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = InProcessGrid(app, *phones_of(tiny_data, tiny_bundle))
    monkeypatch.setattr(
        "fedkey_server.counting.own_words", lambda bundle: own_words(bundle)._replace(lexicon="another")
    )
    with pytest.raises(UserError, match=r"No phone's n-grams could be counted .*client app raised"):
        count(grid, load("tiny", FEW), tiny_bundle)


class Eavesdropper(InProcessGrid):
    """Keeps what passes the server."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[RecordDict] = []

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> Any:
        for reply in super().send_and_receive(messages, timeout=timeout):
            self.seen.append(reply.content)
            yield reply


def test_no_phone_shows_its_words(tiny_data: Path, tiny_bundle: Path) -> None:
    """What leaves in the stage of masks looks like noise; asked in the clear, a phone gives nothing."""
    num_phones, told_once = phones_of(tiny_data, tiny_bundle, resampled=False)
    grid = Eavesdropper(app, num_phones, told_once)
    config = load("tiny", FEW)
    found = count(grid, config, tiny_bundle)
    masked = [each for each in grid.seen if MASKED in each.array_records]
    assert len(masked) == num_phones
    for each in masked:
        words = each.array_records[MASKED][MASKED].numpy()
        assert len(words) == config.sketch.num_cells
        assert abs(words.astype(np.float64).mean() / 2**32 - 0.5) < 0.01
    words = own_words(tiny_bundle)
    told = flatten(config.sketch, "sketch") | {
        TASK: COUNT, "count.seed": 0, "lexicon": found.lexicon, "tokenizer": words.tokenizer, "phone": 1,
    }  # fmt: skip
    plain = Message(RecordDict({CONFIG: ConfigRecord(told)}), 1, MessageType.TRAIN, group_id="1")
    (reply,) = InProcessGrid(app, num_phones, told_once).send_and_receive([plain])
    assert reply.has_error()


def test_noise_raises_the_bar_and_is_paid_for(
    tiny_data: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "counts.npz"
    arguments = ("count", "tiny", "--data", tiny_data, "--bundle", tiny_bundle, "-o", out)
    noisy = with_overrides(*FEW, "sketch.most=4", "count.noise_multiplier=0.5", "count.delta=1e-5")
    assert fedkey_server(*arguments, *noisy) == 0
    found = Crowd.load(out)
    assert found.least == pytest.approx(2 * 0.5 * np.sqrt(4 * 4))
    # What one Gaussian sum of 0.5 costs, from the other side (Balle and Wang 2018, theorem 8).
    assert found.epsilon is not None
    normal, shift = NormalDist(), found.epsilon * 0.5
    delta = normal.cdf(1 - shift) - np.exp(found.epsilon) * normal.cdf(-1 - shift)
    assert delta == pytest.approx(1e-5, rel=0.05)
    assert found.delta == 1e-5
    assert f"epsilon {found.epsilon:.2f} at delta 1e-05" in capsys.readouterr().out


def test_a_promise_that_may_give_a_phone_away_whole_is_refused(
    tiny_data: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "counts.npz"
    noisy = with_overrides(*FEW, "count.noise_multiplier=0.5", "count.delta=0.9")
    status = fedkey_server("count", "tiny", "--data", tiny_data, "--bundle", tiny_bundle, "-o", out, *noisy)
    assert status == EXIT_MISTAKE
    num_phones = len(Phones.load(tiny_data / "phones.npz"))
    said = (
        f"fedkey-server: count.delta 0.9 would let a whole phone of {num_phones} leak; set it well below 0.0"
    )
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_phones_that_never_answer_are_told_of(tiny_data: Path, tiny_bundle: Path) -> None:
    class Deaf(InProcessGrid):
        def send_and_receive(
            self, messages: Iterable[Message], *, timeout: float | None = None
        ) -> Iterator[Message]:
            return super().send_and_receive((), timeout=timeout)

    num_phones = len(Phones.load(tiny_data / "phones.npz"))
    with pytest.raises(UserError, match=rf"could be counted \({num_phones} silent\); mend that"):
        count(Deaf(app, num_phones, {}), load("tiny", FEW), tiny_bundle)


def test_the_noise_is_as_large_as_it_is_paid_for() -> None:
    total = np.arange(40_000) % 7.0
    difference = noised(total, 16.0, 0.5, b"k" * 32) - total
    assert difference.std() == pytest.approx(8.0, rel=0.02)
    assert abs(difference.mean()) < 0.2
    again, other = (noised(total, 16.0, 0.5, key * 32) - total for key in (b"k", b"l"))
    assert (again == difference).all()
    assert (other != difference).any()


def test_a_phone_that_vanishes_is_not_counted_and_named(
    tiny_data: Path, tiny_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    num_phones, told = phones_of(tiny_data, tiny_bundle, resampled=False)

    def some(message: Message, context: Context) -> Message:
        stage = message.content.config_records[SECURE]["stage"]
        if stage == MASK and context.node_config["partition-id"] == 1:
            raise RuntimeError("the battery is empty")
        return app(message, context)

    overrides = [*SMALL_SKETCH, f"count.cohort={num_phones}", "count.min_reports=2", "count.least_phones=1"]
    found = count(InProcessGrid(some, num_phones, told), load("tiny", overrides), tiny_bundle)
    assert found.num_phones == num_phones - 1
    assert (
        f"{num_phones - 1} of {num_phones} phones were counted (1 client app raised exception (mask))"
        in caplog.text
    )
    everybody = counted_by_hand(tiny_data, tiny_bundle, 1)
    assert found.levels[2].counts.sum() < sum(everybody[2].values())


def test_the_words_of_a_phone_are_those_of_its_owner_alone(tiny_data: Path, tiny_bundle: Path) -> None:
    """A partner's messages lie on the phone, too, and are not counted."""
    words = own_words(tiny_bundle)
    documents = Phones.load(tiny_data / "phones.npz").documents(0)
    assert not documents.loss.all()
    mine = keys_of(documents, words.pieces, words.vocabulary)
    everything = keys_of(
        type(documents)(documents.ids, np.ones_like(documents.loss), documents.offsets),
        words.pieces,
        words.vocabulary,
    )
    assert 0 < len(mine) < len(everything)
