"""A writer by themselves: the same again from the same seed, as fast as they were told, and what comes out is
what they meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey import draft as writing
from fedkey.draft import Draft
from fedkey.errors import UserError
from fedkey.layout import BACKSPACE, ENTER, QWERTY
from fedkey.replay import Line, Press, Sight, Writer, read_script
from fedkey.taps import Thumbs

MESSAGES = ("Hello there, how are you doing?", "I'm quite well, thanks!", "see you at the station tomorrow")

Offers = Callable[[Draft], tuple[tuple[str, str], ...]]


def nothing(draft: Draft) -> tuple[tuple[str, str], ...]:
    return ()


def played(
    script: list[Line], *, seed: int = 1, offers: Offers = nothing, correct: bool = False, pace: float = 45
) -> tuple[list[Press], list[str], Draft]:
    """What is pressed, sent and left on a keyboard of drafts alone. It offers what it is told to and, if it
    can correct, knows what is meant."""
    writer = Writer(script, QWERTY, np.random.default_rng(seed), pace)
    presses, sent, draft = [], [], Draft()
    while (press := writer.next(Sight(draft.text, offers(draft)))) is not None:
        presses.append(press)
        assert len(presses) < 5000
        key = press.key
        if key == ENTER:
            sent.append(draft.text.strip())
            draft = Draft()
        elif key == BACKSPACE:
            draft = writing.backspace(draft)
        elif len(key) == 1:
            place, new = draft.correctable, writing.insert(draft, key)
            meant = script[len(sent)].text
            if correct and place is not None and not new.typed:
                word = meant[place.start : place.start + len(place.letters)]
                new = writing.correct(new, place, word) if word != place.letters else new
            draft = new
        else:
            draft = writing.accept(draft, dict(offers(draft))[key])
    return presses, sent, draft


def script_of(*messages: str) -> list[Line]:
    return [Line(message) for message in messages]


def test_what_is_sent_is_what_was_meant_whatever_the_keyboard_does() -> None:
    for correct in (False, True):
        for seed in range(20):
            _, sent, draft = played(script_of(*MESSAGES), seed=seed, correct=correct)
            assert sent == list(MESSAGES)
            assert draft == Draft()


def test_backspace_is_needed_only_where_the_correction_failed() -> None:
    def num_backspaces(correct: bool) -> int:
        return sum(
            press.key == BACKSPACE
            for seed in range(20)
            for press in played(
                script_of("these words are rather long altogether now ok"), seed=seed, correct=correct
            )[0]
        )

    # A word that ends its message is corrected by nobody.
    assert num_backspaces(correct=True) < num_backspaces(correct=False) / 5
    assert num_backspaces(correct=False) > 40


def test_words_that_are_offered_are_taken_now_and_then() -> None:
    def offers(draft: Draft) -> tuple[tuple[str, str], ...]:
        return ("tab", "there"), ("f3", "station"), ("f4", "you")

    keys = [
        press.key for seed in range(20) for press in played(script_of(*MESSAGES), seed=seed, offers=offers)[0]
    ]
    assert 5 < keys.count("tab") <= 20
    assert 5 < keys.count("f3") <= 20
    assert {"tab", "f3", "f4"} & set(keys)
    for seed in range(20):
        assert played(script_of(*MESSAGES), seed=seed, offers=offers)[1] == list(MESSAGES)


def test_a_seed_is_a_way_of_typing() -> None:
    one, again, other = (played(script_of(*MESSAGES), seed=seed)[0] for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize("pace", [20, 45, 120])
def test_the_pace_is_that_of_a_person(pace: float) -> None:
    message = " ".join(["water"] * 200)
    writer = Writer(script_of(message), QWERTY, np.random.default_rng(3), pace, Thumbs(1e-6, 1e-6))
    seconds, text = [], ""
    while len(text) < len(message):
        press = writer.next(Sight(text))
        assert press is not None
        seconds.append(press.seconds)
        text += press.key
    assert text == message
    assert np.mean(seconds) == pytest.approx(60 / (5 * pace), rel=0.05)
    assert np.std(seconds) > 0.2 * np.mean(seconds)  # nobody is a metronome


@settings(max_examples=60)
@given(
    st.lists(st.text(st.sampled_from("abe ,.!'\"-7é🙂"), min_size=1, max_size=12), min_size=1, max_size=3),
    st.integers(0, 9),
)
def test_whatever_there_is_to_write_it_comes_to_an_end(messages: list[str], seed: int) -> None:
    script = [Line(message.strip()) for message in messages if message.strip()]
    played(script, seed=seed)


def test_a_script_is_messages_keys_and_what_is_left_unsent(tmp_path: Path) -> None:
    path = tmp_path / "script.txt"
    path.write_bytes("\ufeffHello  there\r\n\n [ctrl+l] \n[not a key]\nunfin".encode())
    assert read_script(path) == [
        Line("Hello there"),
        Line("ctrl+l", is_key=True),
        Line("[not a key]"),
        Line("unfin", is_sent=False),
    ]
    _, sent, draft = played([Line("hi"), Line("oh", is_sent=False)])
    assert (sent, draft.text) == (["hi"], "oh")
    writer = Writer([Line("f9", is_key=True)], QWERTY, np.random.default_rng(1), 45)
    assert [press.key for press in iter(lambda: writer.next(Sight("")), None)] == ["f9"]


@pytest.mark.parametrize(
    ("content", "complaint"), [(b"\n \n", "holds no message"), (b"\xff", "not UTF-8"), (None, "No such file")]
)
def test_a_script_that_cannot_be_played_is_one_sentence(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / "script.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=complaint) as refused:
        read_script(path)
    assert str(path) in str(refused.value)
