"""Texts that are read to be typed, and which of them are drawn."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedkey.conversations import RUN_OF_MESSAGES, GradedConversation, read_conversations, sample
from fedkey.errors import UserError
from fedkey.text import LINK

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


# ---------------------------------------------------------------------------------------------------- typing


def test_what_is_typed_stands_behind_all_messages_before_it() -> None:
    talk = GradedConversation("ann", ("hi", "hello", "how are you?", "well"), (False, True, False, True))
    assert list(talk.to_type()) == [(1, "hi\n", "hello"), (3, "hi\nhello\nhow are you?\n", "well")]
    assert [talk.before(index) for index in range(3)] == ["", "hi\n", "hi\nhello\n"]
    assert list(GradedConversation("ann", (), ()).to_type()) == []
