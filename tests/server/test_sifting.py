"""Public text is sifted for what teaches a keyboard, and every message left out is counted."""

from __future__ import annotations

import pytest

from fedkey_server.corpus import Conversation, Message, Report
from fedkey_server.sifting import MAX_REPEATS, sift


def talk(*texts: str, id: str = "a") -> Conversation:
    return Conversation(id, tuple(Message(None, text) for text in texts))


def kept(*texts: str) -> tuple[list[str], Report]:
    report = Report("here")
    sifted = sift([talk(*texts)], 1.0, 0, report)
    return [message.text for conversation in sifted for message in conversation.messages], report


@pytest.mark.parametrize(
    "text",
    [
        "I don't know... maybe at 5:30?",
        "haha yes :) see you (or not)",
        'She said "no way", and I\'ve got 2 left!',
        "so well-guarded - it's café time 🙂",
        "ok",
    ],
)
def test_what_people_type_stays(text: str) -> None:
    assert kept(text)[0] == [text]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[NAME] was awful in 15.", "holds a mask"),
        ("look at \ue000", "holds a link or a command"),
        ("run sudo apt-get install foo", "holds a link or a command"),
        ("it is in /etc/apt/sources", "holds a link or a command"),
        ("foo.bar() returns x", "holds a link or a command"),
        ("ds588 v1.2b x11 q3", "is no prose"),
        ("0x3f 77af 12cd", "is no prose"),
    ],
)
def test_masks_and_code_are_left_out_and_counted(text: str, reason: str) -> None:
    texts, report = kept("hello you", text)
    assert texts == ["hello you"]
    assert report.rejected == {reason: 1}


def test_the_name_a_message_is_addressed_to_is_taken_off() -> None:
    assert kept("imbrandon: I can try, sure.", "so: yes")[0] == ["I can try, sure.", "yes"]
    assert kept("we meet at 5: bring food")[0] == ["we meet at 5: bring food"]


def test_a_template_is_kept_a_few_times_and_short_talk_always() -> None:
    template = "Thank you, have a great day!"
    texts, report = kept(*[template] * 10, *["yes"] * 10)
    assert (texts.count(template), texts.count("yes")) == (MAX_REPEATS, 10)
    assert report.rejected.total() == 10 - MAX_REPEATS


@pytest.mark.parametrize(("share", "expected"), [(0.25, 25), (1.0, 100), (2.0, 200), (2.5, 250)])
def test_a_share_is_heard_the_same_conversations_each_time(share: float, expected: int) -> None:
    conversations = [talk("hello", id=str(number)) for number in range(100)]
    heard = sift(conversations, share, 3, Report("here"))
    assert len(heard) == expected
    assert heard == sift(conversations, share, 3, Report("here"))
    assert {conversation.id for conversation in heard} <= {str(number) for number in range(100)}
    if share < 1:
        assert heard != sift(conversations, share, 4, Report("here"))
