"""Statistics of a session, by hand and against the simulated typist's definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.metrics import Keystrokes, Latency
from fedkey.session import NUM_RECENT, PAUSE_SECONDS, Session


def typed(text: str, start: float = 0.0, every: float = 0.1) -> Session:
    session = Session()
    for number, _ in enumerate(text):
        session = session.pressed(start + number * every, 1)
    return session


def test_letters_alone_save_nothing_and_a_taken_word_costs_one_key() -> None:
    session = typed("se")
    assert session.keystrokes == Keystrokes(2, 2)
    assert session.keystrokes.savings == session.keys_saved == 0
    session = session.pressed(1.0, 6)  # "seeing " in place of "se" brings "eing " and a letter
    assert session.keystrokes == Keystrokes(3, 8)
    assert session.keystrokes.savings == pytest.approx(1 - 3 / 8)
    assert session.keys_saved == 5


def test_backspace_costs_a_key_and_takes_a_character() -> None:
    session = typed("wrx").pressed(1.0, -1)
    assert session.keystrokes == Keystrokes(4, 2)
    assert session.keys_saved == -2


def test_speed_is_from_the_first_key_to_the_last() -> None:
    # 60 characters after the first, a tenth of a second each: 12 words in 6 seconds.
    assert typed("x" * 61).words_per_minute == pytest.approx(120)
    assert typed("x" * 10).words_per_minute is None
    assert Session().words_per_minute is None


def test_pauses_are_no_time_of_typing() -> None:
    session = typed("x" * 31)
    before = session.words_per_minute
    session = session.pressed(3.0 + PAUSE_SECONDS + 1, 1)
    assert session.words_per_minute == before
    assert session.keystrokes.pressed == 32
    short = typed("x" * 31).pressed(3.0 + PAUSE_SECONDS - 1, 1)
    assert short.words_per_minute is not None
    assert before is not None
    assert short.words_per_minute < before / 2


def test_latencies_are_counted_all_and_kept_few() -> None:
    session = Session()
    for value in range(1, 1001):
        session = session.answered(float(value))
    assert session.latency.total == 1000
    assert session.latency.percentile(50) == pytest.approx(500, rel=0.1)
    assert session.recent == tuple(map(float, range(1001 - NUM_RECENT, 1001)))
    assert len(session.latency.counts) == len(Latency().counts)


sessions = st.builds(
    lambda keys, answers, start: Session(
        Keystrokes(len(keys), sum(keys)),
        timed_characters=sum(keys),
        timed_seconds=float(len(keys)),
        latency=Latency.of(answers),
        recent=tuple(answers),
        last_key=start,
    ),
    st.lists(st.integers(-3, 9), max_size=5),
    st.lists(st.floats(0.1, 1e4), max_size=5),
    st.none() | st.floats(0, 1e6),
)


@given(sessions, sessions, sessions)
def test_sessions_add_up(a: Session, b: Session, c: Session) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + Session() == Session() + a == a
