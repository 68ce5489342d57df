"""The simulated typist, on texts so small that every key can be counted by hand."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey import BundleError, Engine
from fedkey.conversations import RUN_OF_MESSAGES, GradedConversation, read_conversations, sample
from fedkey.errors import UserError
from fedkey.metrics import Keystrokes, Latency
from fedkey.simulate import Scores, grade
from fedkey.text import LINK, normalise, units_with_places
from fedkey.workers import grade_bundle


@dataclass(frozen=True)
class Answer:
    words: tuple[str, ...]
    latency_ms: float = 0.5


class Table:
    """A keyboard that always shows the same words for the same letters, whatever stands before."""

    def __init__(self, words: Mapping[str, tuple[str, ...]]) -> None:
        self._words = words
        self.asked: list[tuple[str, str]] = []

    def suggest(self, context: str, typed: str, k: int = 3) -> Answer:
        self.asked.append((context, typed))
        return Answer(self._words.get(typed, ())[:k])


def everything_known(word: str) -> bool:
    return True


def one(message: str) -> list[GradedConversation]:
    assert normalise(message) == message
    return [GradedConversation("ann", (message,), (True,))]


def scores(words: Mapping[str, tuple[str, ...]], message: str) -> Scores:
    return grade(Table(words), one(message), everything_known)["ann"]


# ------------------------------------------------------------------------------------------ the ideal typist


@pytest.mark.parametrize(
    ("message", "pressed", "why"),
    [
        ("hello", 1, "shown before the first letter: one key"),
        ("hello world", 1 + 2, "the first brings its space; w, then world is shown: one key"),
        ("world", 2, "one letter, one key"),
        ("hello, world", 1 + 1 + 1 + 2, "the comma takes the free space; the space after it is typed"),
        ("hello ,world", 1 + 1 + 2, "the free space is wanted before the comma, and none after"),
        ("hello world!", 1 + 2 + 1, "the exclamation mark is one key"),
        ("hello!!!", 1 + 3, "each of a run is one key"),
        ("hello :)", 1 + 2, "an emoticon is typed"),
        ("xyz", 3, "never shown: typed to the end"),
        ("xyz hello", 3 + 1 + 1, "a typed word brings no space"),
        ("hello xyz", 1 + 3, "an accepted one does"),
        ("Hello", 1, "case is ignored, and shift does not count"),
        ("hello 42 world", 1 + 2 + 1 + 2, "digits are typed, and the space after them"),
        ("hello?! world", 1 + 2 + 1 + 2, "two marks"),
        ("hello-world", 1 + 1 + 2, "a hyphen takes the free space"),
        ("worl", 4, "a word that only begins like one that is shown"),
    ],
)
def test_keys_of_the_ideal_typist(message: str, pressed: int, why: str) -> None:
    shown = {"": ("you", "hello"), "w": ("we", "world"), "wo": ("world",), "wor": ("world",)}
    assert scores(shown, message).ideal == Keystrokes(pressed, len(message)), why


def test_savings_of_a_message_by_hand() -> None:
    """11 characters, 3 keys."""
    total = scores({"": ("hello",), "w": ("world",)}, "hello world")
    assert total.ideal.savings == pytest.approx(1 - 3 / 11)


def test_a_word_is_taken_the_moment_it_is_shown_and_never_later() -> None:
    shown = {"": ("a",), "h": ("b",), "he": ("hello",), "hel": ("help",), "hell": ("hello",)}
    assert scores(shown, "hello").ideal.pressed == 3


def test_placeholders_cost_nothing_and_are_not_asked_for() -> None:
    table = Table({"": ("see", LINK)})
    total = grade(table, one(f"see {LINK}"), everything_known)["ann"]
    assert total.ideal == Keystrokes(1, 4)
    assert total.after_0.positions == 1
    assert {context for context, _ in table.asked} == {""}


@given(
    st.lists(st.sampled_from(["hello", "xyz", ",", ":)", "42", "world", "(", "-"]), max_size=8).map(" ".join)
)
@settings(deadline=None)
def test_nobody_presses_more_keys_than_there_are_characters(text: str) -> None:
    message = normalise(text)
    total = scores({"": ("hello",), "wor": ("world",)}, message) if message else Scores()
    for keys in (total.ideal, total.bounded.quarter, total.bounded.half, total.bounded.three_quarters):
        assert 0 <= keys.pressed <= keys.characters == len(message)


def test_a_keyboard_that_shows_nothing_saves_nothing() -> None:
    message = "well, this is (perhaps) a text :) of 12 words"
    total = scores({}, message)
    assert total.ideal == total.bounded.half == Keystrokes(len(message), len(message))
    assert total.after_0.top_3 == 0


# ---------------------------------------------------------------------------------------------------- recall


def test_recall_after_each_letter_by_hand() -> None:
    """hello: rank 2 at once, 1 after h. so: rank 3 after s; too short for more than one letter."""
    shown = {"": ("you", "Hello"), "h": ("hello",), "s": ("see", "she", "so"), "he": ("her",)}
    total = scores(shown, "hello so")
    assert (total.after_0.positions, total.after_0.hits_1, total.after_0.hits_3) == (2, 0, 1)
    assert total.after_0.reciprocal_rank == 0.5
    assert (total.after_0.exact_1, total.after_0.exact_3) == (0, 0)
    assert (total.after_1.positions, total.after_1.hits_1, total.after_1.hits_3) == (2, 1, 2)
    assert total.after_1.reciprocal_rank == pytest.approx(1 + 1 / 3)
    assert (total.after_1.exact_1, total.after_1.exact_3) == (1, 2)
    assert (total.after_2.positions, total.after_2.hits_3) == (1, 0)
    assert (total.after_3.positions, total.after_3.hits_3) == (1, 0)


def test_punctuation_and_numbers_are_no_words() -> None:
    total = scores({}, "well , 42 :) (so) 😀 I'm 2nd")
    assert total.after_0.positions == 4  # well, so, I'm, 2nd


def test_unknown_words_count_wrong_and_are_counted() -> None:
    table = Table({"": ("hello",)})
    total = grade(table, one("hello xyzzy"), lambda word: word != "xyzzy")["ann"]
    assert (total.after_0.positions, total.after_0.known, total.after_0.hits_1) == (2, 1, 1)
    assert total.after_0.top_1 == 0.5


def test_the_typist_sees_what_stands_before_and_no_more() -> None:
    table = Table({})
    conversation = GradedConversation("ann", ("how are you?", "fine, thanks"), (False, True))
    grade(table, [conversation], everything_known)
    assert ("how are you?\n", "") in table.asked
    assert ("how are you?\nfine, ", "tha") in table.asked
    assert all(context.startswith("how are you?\n") for context, _ in table.asked)
    assert not any("thanks" in context for context, _ in table.asked)


def test_nothing_is_asked_twice() -> None:
    table = Table({"": ("hello",), "wo": ("world",)})
    total = grade(table, one("hello world"), everything_known)["ann"]
    assert len(table.asked) == len(set(table.asked)) == total.latency.total
    assert total.latency == Latency.of([0.5] * len(table.asked))


def test_only_graded_messages_count() -> None:
    conversation = GradedConversation("ann", ("hello", "hello", "hello"), (True, False, True))
    assert grade(Table({"": ("hello",)}), [conversation], everything_known)["ann"].after_0.positions == 2
    assert conversation.num_words == 2


def test_each_author_has_sums_of_his_own() -> None:
    table = Table({"": ("hello",)})
    both = grade(
        table, [*one("hello"), GradedConversation("bob", ("xyz", "hello"), (True, True))], everything_known
    )
    assert both["ann"].after_0.top_1 == 1
    assert both["bob"].after_0.top_1 == 0.5


def test_likelihood_is_of_the_message_and_its_end() -> None:
    conversation = GradedConversation("ann", ("how are you?", "see you, ann"), (False, True))
    seen = []

    def score(earlier: Sequence[str], message: str) -> tuple[float, int]:
        seen.append((tuple(earlier), message))
        return -6.5, 5

    total = grade(Table({}), [conversation], everything_known, score=score)["ann"]
    assert seen == [(("how are you?",), "see you, ann")]
    assert (total.likelihood.nats, total.likelihood.characters, total.likelihood.words) == (6.5, 13, 3)


# ---------------------------------------------------------------------------------------- the bounded typist


def test_the_bounded_typist_does_not_look_at_short_words() -> None:
    total = scores({"": ("four", "fiver")}, "four")
    assert total.ideal.pressed == 1
    for keys in (total.bounded.quarter, total.bounded.half, total.bounded.three_quarters):
        assert keys.pressed == 4


def test_the_bounded_typist_looks_at_words_of_five_letters() -> None:
    messages = ("fiver",) * 3 + ("five", "fiver!")
    conversation = GradedConversation("ann", messages, (True,) * len(messages))
    words = {"fiver"[:n]: ("five", "fiver") for n in range(5)}
    total = grade(Table(words), [conversation], everything_known)["ann"]
    assert total.bounded.three_quarters.pressed < total.bounded.three_quarters.characters


def test_the_bounded_typist_notices_as_often_as_he_should() -> None:
    """Many words, shown from the start: the first key is spared with the probability of noticing."""
    messages = tuple(f"wonderful number{index}x" for index in range(400))
    conversation = GradedConversation("ann", messages, (True,) * len(messages))
    total = grade(Table({"": ("wonderful",)}), [conversation], everything_known)["ann"]
    rest = sum(len(message) - len("wonderful ") for message in messages)
    for keys, share in (
        (total.bounded.quarter, 0.25), (total.bounded.half, 0.5), (total.bounded.three_quarters, 0.75),
    ):  # fmt: skip
        # Shown at once only: after that the table shows nothing, and the word and its space are typed.
        spared = (len(messages) * len("wonderful ") + rest - keys.pressed) / (len(messages) * 9)
        assert spared == pytest.approx(share, abs=0.08)


def test_whoever_notices_more_presses_fewer_keys() -> None:
    words = {"wonderful"[:n]: ("wonderful",) for n in range(9)}
    messages = tuple(f"wonderful {index}" for index in range(60))
    total = grade(Table(words), [GradedConversation("ann", messages, (True,) * 60)], everything_known)["ann"]
    keys = [total.ideal, total.bounded.three_quarters, total.bounded.half, total.bounded.quarter]
    pressed = [each.pressed for each in keys]
    assert pressed == sorted(pressed)
    assert len(set(pressed)) == 4


def test_every_keyboard_meets_the_same_bounded_typist() -> None:
    words = {"wonderful"[:n]: ("wonderful",) for n in range(9)}
    again = {prefix: ("other", *shown) for prefix, shown in words.items()}
    messages = tuple(f"wonderful {index}" for index in range(20))
    conversation = GradedConversation("ann", messages, (True,) * 20)
    one, other = (grade(Table(each), [conversation], everything_known)["ann"] for each in (words, again))
    assert one.bounded == other.bounded
    reseeded = grade(Table(words), [conversation], everything_known, seed=1)["ann"]
    assert one.bounded != reseeded.bounded
    assert one.ideal == reseeded.ideal


# -------------------------------------------------------------------------------------------------- sampling


def talk(author: str, count: int, words: int = 3) -> GradedConversation:
    """A conversation in which every second message is the author's."""
    texts = tuple(" ".join([f"{author}{index}x"] * words) for index in range(2 * count))
    return GradedConversation(author, texts, tuple(index % 2 == 1 for index in range(2 * count)))


def test_all_is_graded_when_nothing_is_said() -> None:
    conversations = [talk("ann", 3), talk("bob", 20)]
    assert sample(conversations, None, 0) == conversations


def test_every_author_is_heard_before_any_is_heard_twice() -> None:
    conversations = [talk("ann", 500), talk("bob", 2), talk("cid", 7)]
    chosen = sample(conversations, 3 * 5 * 3, 0)
    assert {stretch.author for stretch in chosen} == {"ann", "bob", "cid"}
    words = {author: 0 for author in ("ann", "bob", "cid")}
    for stretch in sample(conversations, 10**9, 0):
        words[stretch.author] += stretch.num_words
    assert words == {"ann": 1500, "bob": 6, "cid": 21}


def test_where_few_words_are_wanted_no_author_is_first_by_name() -> None:
    conversations = [talk(f"author{index}", 4) for index in range(5)]
    heard = [stretch.author for seed in range(40) for stretch in sample(conversations, 1, seed)]
    assert len(heard) == 40
    assert len(set(heard)) == 5


def test_a_stretch_keeps_all_that_was_said_before() -> None:
    (conversation,) = [talk("ann", 12)]
    stretches = sample([conversation], 10**9, 0)
    assert len(stretches) == 3
    for stretch in stretches:
        assert stretch.messages == conversation.messages[: len(stretch.messages)]
        assert stretch.graded[-1]
        assert 1 <= sum(stretch.graded) <= RUN_OF_MESSAGES
    graded = [index for stretch in stretches for index, is_graded in enumerate(stretch.graded) if is_graded]
    assert sorted(graded) == [index for index, is_graded in enumerate(conversation.graded) if is_graded]


def test_a_seed_is_a_choice() -> None:
    conversations = [talk(author, 40) for author in ("ann", "bob")]
    assert sample(conversations, 60, 3) == sample(conversations, 60, 3)
    assert sample(conversations, 60, 3) != sample(conversations, 60, 4)
    assert sum(stretch.num_words for stretch in sample(conversations, 60, 3)) == 60


# --------------------------------------------------------------------------------------------------- reading


PREPARED: dict[str, Any] = {
    "id": "d1", "author": "ann",
    "messages": [
        {"user": "ann", "text": "Hi “there”"}, {"user": "bob", "text": "  "}, {"user": None, "text": "yes"},
    ],
}  # fmt: skip
CORPUS: list[dict[str, Any]] = [
    {"user": "bob", "dialog": 7, "turn": 1, "text": "fine"},
    {"user": "ann", "dialog": 7, "turn": 0, "text": "how are you?"},
    {"user": None, "dialog": "8", "turn": 0.5, "text": "nobody said this"},
]


def lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_prepared_conversations_grade_their_author(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text(lines(PREPARED) + "\n", encoding="utf-8")
    assert read_conversations(file) == [GradedConversation("ann", ('Hi "there"', "yes"), (True, False))]


def test_corpus_lines_grade_everyone_in_order_of_turns(tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text(lines(*CORPUS), encoding="utf-8")
    both = ("how are you?", "fine")
    assert read_conversations(file) == [
        GradedConversation("ann", both, (True, False)),
        GradedConversation("bob", both, (False, True)),
        GradedConversation("chat.jsonl", ("nobody said this",), (True,)),
    ]


def test_plain_text_is_one_message_a_line(tmp_path: Path) -> None:
    file = tmp_path / "mail.txt"
    file.write_bytes("\ufeffsee you\r\n\n   \nsee http://a.b/c\u2028there".encode())
    assert read_conversations(file) == [
        GradedConversation("mail.txt", ("see you",), (True,)),
        GradedConversation("mail.txt", (f"see {LINK} there",), (True,)),
    ]


def test_a_line_ends_where_a_line_ends(tmp_path: Path) -> None:
    """U+2028, U+0085 and form feeds are white space inside a message."""
    file = tmp_path / "chat.jsonl"
    file.write_text(lines(dict(CORPUS[0], text="one\u2028two\u0085three\x0cfour")), encoding="utf-8")
    assert read_conversations(file)[0].messages == ("one two three four",)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_compressed_files_are_read(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    for name, content in (("chat.jsonl", lines(*CORPUS)), ("mail.txt", "see you\n")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        (tmp_path / (name + suffix)).write_bytes(compress(content.encode()))
        assert read_conversations(tmp_path / (name + suffix)) == read_conversations(tmp_path / name)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "hello",
        "[]",
        "7",
        '"text"',
        "null",
        "{}",
        "[" * 100_000,
        json.dumps({**CORPUS[0], "text": 7}),
        json.dumps({**CORPUS[0], "turn": "first"}),
        json.dumps({**CORPUS[0], "turn": True}),
        *(
            json.dumps({key: value for key, value in CORPUS[0].items() if key != missing})
            for missing in CORPUS[0]
        ),
        json.dumps({**PREPARED, "author": None}),
        json.dumps({**PREPARED, "messages": "hi"}),
        json.dumps({**PREPARED, "messages": ["hi"]}),
        json.dumps({**PREPARED, "messages": [{"user": "ann"}]}),
        json.dumps({**PREPARED, "messages": [{"text": "hi"}]}),
        json.dumps({**PREPARED, "messages": [{"user": "ann", "text": None}]}),
        json.dumps({"messages": PREPARED["messages"]}),
    ],
)
def test_a_malformed_line_is_told_with_its_place(tmp_path: Path, line: str) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text(f"{json.dumps(CORPUS[0])}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"chat\.jsonl:3 is neither") as told:
        read_conversations(file)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"good\n\xff\xfe bad\n", r"a\.txt:2 is not UTF-8"),
        ("a.jsonl", b"\xff", r"a\.jsonl:1 is not UTF-8"),
        ("a.txt", b"", "holds no message"),
        ("a.txt", b" \n\n", "holds no message"),
        ("a.jsonl", b"", "holds no message"),
        ("a.jsonl", json.dumps({**PREPARED, "author": "zoe"}).encode(), "holds no message"),
        ("a.jsonl", json.dumps({**PREPARED, "messages": []}).encode(), "holds no message"),
        ("a.csv", b"hello\n", "must end in"),
        ("a", b"hello\n", "must end in"),
        ("a.txt.gz", b"hello\n", "is damaged after line 0"),
        ("a.txt.xz", b"hello\n", "is damaged after line 0"),
        ("a.txt.gz", gzip.compress(b"hello\n" * 9, mtime=0)[:-9], "is damaged after line"),
        ("a.txt.xz", lzma.compress(b"hello\n" * 9)[:-9], "is damaged after line"),
    ],
)
def test_a_file_that_cannot_be_graded_is_told(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as told:
        read_conversations(tmp_path / name)
    assert "\n" not in str(told.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for name in ("nothing.txt", "nothing.jsonl.xz", "nothing.txt.gz"):
        with pytest.raises(UserError, match=r"Cannot read .+: No such file"):
            read_conversations(tmp_path / name)
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(UserError, match=r"Cannot read .*: Is a directory"):
        read_conversations(tmp_path / "folder.txt")


# --------------------------------------------------------------------------------------------- whole bundles


@pytest.fixture(scope="module")
def stretches(tiny_data: Path) -> list[GradedConversation]:
    return sample(read_conversations(tiny_data / "test.jsonl"), 250, 0)


def without_clock(by_author: Mapping[str, Scores]) -> dict[str, Scores]:
    return {author: replace(scores, latency=Latency()) for author, scores in by_author.items()}


def test_the_number_of_processes_changes_nothing(
    tiny_bundle: Path, stretches: list[GradedConversation]
) -> None:
    alone = grade_bundle(tiny_bundle, stretches)
    done: list[int] = []
    shared = grade_bundle(tiny_bundle, stretches, processes=2, on_progress=done.append)
    assert without_clock(alone) == without_clock(shared)
    assert list(alone) == list(shared) == sorted(alone)
    assert sum(done) == len(stretches) > 8


def test_what_was_graded_before_changes_nothing(
    tiny_bundle: Path, stretches: list[GradedConversation]
) -> None:
    first, rest = stretches[:4], stretches[4:]
    apart = [grade_bundle(tiny_bundle, part) for part in (first, rest)]
    together = grade_bundle(tiny_bundle, stretches)
    for author in together:
        parts = [part[author] for part in apart if author in part]
        assert together[author].ideal == sum((part.ideal for part in parts[1:]), parts[0].ideal)


def test_the_engine_beats_its_own_unigrams(tiny_bundle: Path, stretches: list[GradedConversation]) -> None:
    def total(baseline: bool) -> Scores:
        by_author = grade_bundle(tiny_bundle, stretches, baseline=baseline).values()
        return sum(by_author, Scores())

    engine, unigram = total(False), total(True)
    for letters in (0, 1, 2, 3):
        assert engine.after(letters).positions == unigram.after(letters).positions
        assert engine.after(letters).known == unigram.after(letters).known
    assert engine.after_0.top_1 > unigram.after_0.top_1 + 0.1
    assert engine.after_2.top_3 > unigram.after_2.top_3
    assert engine.ideal.savings > unigram.ideal.savings + 0.05
    assert engine.likelihood.characters > 0
    assert unigram.likelihood.characters == 0


def test_a_word_in_the_lexicon_in_another_case_is_known(tiny_bundle: Path) -> None:
    word = Engine.open(tiny_bundle).lexicon.word(0)
    text = f"{word.upper()} qqqqz"
    total = grade_bundle(tiny_bundle, [GradedConversation("ann", (text,), (True,))])["ann"]
    assert total.after_0.known == sum(unit == word.upper() for unit, _ in units_with_places(text)) == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_no_bundle_is_one_sentence_however_many_processes(tmp_path: Path, processes: int) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        grade_bundle(tmp_path / "nothing", one("hello"), processes=processes)
