"""Rounds of a simulated fleet keep their rules, whatever the fleet."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey_server.fleet import REASONS, Fleet, FleetConfig, FleetState, Outcome, eligible, make_fleet, play

DAY = 24 * 3600.0
MODEL_BYTES = 4_000_000


def rounds_of(
    fleet: Fleet,
    num_rounds: int,
    goal: int,
    min_reports: int,
    state: FleetState | None = None,
    first: int = 1,
) -> list[tuple[Outcome, FleetState]]:
    state = state or FleetState()
    played = []
    for round_number in range(first, first + num_rounds):
        outcome, state = play(fleet, state, round_number, goal, min_reports, MODEL_BYTES, MODEL_BYTES)
        played.append((outcome, state))
    return played


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    swing = draw(st.floats(1, 8))
    config = FleetConfig(
        over_selection=draw(st.floats(1, 2)),
        deadline=draw(st.floats(1, 900)),
        min_separation=draw(st.integers(1, 6)),
        availability=draw(st.floats(0.02, 0.5)),
        daily_swing=swing,
        drop_out_fast=draw(st.floats(0, 0.3)),
        drop_out_slow=draw(st.floats(0.3, 1)),
        last_zone=draw(st.integers(-8, 9)),
    )
    return drawn(config, draw(st.integers(1, 300)), draw(st.integers(0, 2**32)))


def drawn(config: FleetConfig, size: int, seed: int) -> Fleet:
    return make_fleet(config, np.random.default_rng(seed).integers(1, 60, size), seed)


@given(fleet=fleets(), goal=st.integers(1, 30), share=st.floats(0, 1))
@settings(max_examples=60)
def test_every_round_keeps_the_rules(fleet: Fleet, goal: int, share: float) -> None:
    min_reports = max(1, round(goal * share))
    last_used: dict[int, int] = {}
    clock = 0.0
    for number, (outcome, state) in enumerate(rounds_of(fleet, 12, goal, min_reports), start=1):
        dropped = [drop.phone for drop in outcome.dropped]
        # Everybody who was asked came to one end.
        assert sorted([*outcome.reported, *dropped, *outcome.late]) == sorted(outcome.asked)
        assert len(set(outcome.asked)) == len(outcome.asked) <= np.ceil(fleet.config.over_selection * goal)
        assert len(outcome.reported) <= goal
        assert len(outcome.asked) <= outcome.num_eligible
        assert bool(outcome.abandoned) == (len(outcome.reported) < min_reports)
        if not outcome.abandoned:
            for phone in outcome.reported:
                assert number - last_used.get(phone, -100) >= fleet.config.min_separation
                last_used[phone] = number
        assert state.seconds == clock + outcome.seconds > clock
        clock = state.seconds
        assert [drop.seconds for drop in outcome.dropped] == sorted(drop.seconds for drop in outcome.dropped)
        assert all(0 <= drop.seconds <= fleet.config.deadline for drop in outcome.dropped)
        assert all(drop.reason in REASONS for drop in outcome.dropped)
        assert 0 <= outcome.wasted_seconds <= outcome.client_seconds * (1 + 1e-12)
        assert outcome.client_seconds <= fleet.config.deadline * len(outcome.asked) * (1 + 1e-12)
        assert outcome.bytes_up >= len(outcome.reported) * MODEL_BYTES
        assert outcome.bytes_up <= outcome.bytes_down <= len(outcome.asked) * MODEL_BYTES


@given(fleet=fleets(), killed_after=st.integers(1, 7))
@settings(max_examples=30)
def test_a_resumed_run_meets_the_same_phones(fleet: Fleet, killed_after: int) -> None:
    unkilled = rounds_of(fleet, 8, goal=10, min_reports=3)
    before = rounds_of(fleet, killed_after, goal=10, min_reports=3)
    saved = json.dumps(before[-1][1].describe())
    again = drawn(fleet.config, len(fleet), fleet.seed)
    after = rounds_of(again, 8 - killed_after, 10, 3, FleetState.read(json.loads(saved)), killed_after + 1)
    assert before + after == unkilled


def test_the_state_stays_small() -> None:
    fleet = make_fleet(FleetConfig(min_separation=4), np.full(20_000, 10), 1)
    state = rounds_of(fleet, 12, goal=30, min_reports=10)[-1][1]
    assert sorted(state.recent) == [10, 11, 12]
    assert sum(len(phones) for phones in state.recent.values()) == 90
    assert rounds_of(replace(fleet, config=FleetConfig()), 3, 30, 10)[-1][1].recent == {}


def test_another_seed_or_round_meets_others() -> None:
    config, steps = FleetConfig(), np.full(5_000, 10)
    first, second = rounds_of(make_fleet(config, steps, 1), 2, 20, 5)
    other = rounds_of(make_fleet(config, steps, 2), 1, 20, 5)[0]
    assert len({outcome.asked for outcome, _ in (first, second, other)}) == 3
    assert first == rounds_of(make_fleet(config, steps, 1), 1, 20, 5)[0]


def test_whom_a_round_asks_says_nothing_of_the_next() -> None:
    config = FleetConfig(availability=1.0, daily_swing=1.0, over_selection=1.0)
    first, second = (set(outcome.asked) for outcome, _ in rounds_of(drawn(config, 1000, 1), 2, 300, 5))
    assert 60 < len(first & second) < 120  # 90 by chance


def test_a_round_closes_with_the_fastest_and_sends_the_slow_home() -> None:
    config = FleetConfig(drop_out_fast=0.0, drop_out_slow=0.0, availability=0.5, daily_swing=1.0)
    fleet = make_fleet(config, np.full(1_000, 100), 3)
    outcome, state = play(fleet, FleetState(), 1, 50, 10, MODEL_BYTES, MODEL_BYTES)
    needs = fleet.train_seconds + MODEL_BYTES / fleet.download_rate * (1 + 1 / config.upload_share)
    times = needs[list(outcome.reported)]
    assert list(times) == sorted(times)
    assert outcome.seconds == state.seconds == pytest.approx(times[-1])
    assert len(outcome.reported) == 50
    assert len(outcome.late) == 15
    assert all(needs[phone] >= times[-1] for phone in outcome.late)
    assert outcome.wasted_seconds == pytest.approx(15 * times[-1])
    assert outcome.client_seconds == pytest.approx(times.sum() + 15 * times[-1])
    assert outcome.bytes_down > 60 * MODEL_BYTES


def test_the_deadline_closes_a_round_that_the_goal_does_not() -> None:
    fleet = make_fleet(FleetConfig(deadline=60.0, availability=0.5, daily_swing=1.0), np.full(1_000, 100), 3)
    outcome, _ = play(fleet, FleetState(), 1, 50, 1, MODEL_BYTES, MODEL_BYTES)
    assert outcome.seconds == 60.0
    assert 0 < len(outcome.reported) < 50
    assert not outcome.abandoned
    again, _ = play(fleet, FleetState(), 1, 50, len(outcome.reported) + 1, MODEL_BYTES, MODEL_BYTES)
    assert again.abandoned == "too few reports"
    assert again.reported == outcome.reported
    assert again.wasted_seconds == again.client_seconds > outcome.wasted_seconds


def test_phones_of_an_abandoned_round_need_no_rest_and_those_of_another_do() -> None:
    config = FleetConfig(min_separation=3, availability=1.0, daily_swing=1.0, over_selection=1.0)
    fleet = make_fleet(replace(config, drop_out_fast=0.0, drop_out_slow=0.0), np.ones(20), 1)
    abandoned, state = play(
        replace(fleet, config=replace(fleet.config, deadline=0.1)), FleetState(), 1, 20, 20, 1, 1
    )
    assert abandoned.abandoned
    outcome, state = play(fleet, state, 2, 20, 20, 1, 1)
    assert len(outcome.reported) == 20
    for number, is_rested in ((3, False), (4, False), (5, True)):
        outcome, state = play(fleet, state, number, 20, 20, 1, 1)
        assert bool(outcome.abandoned) != is_rested
        assert outcome.num_eligible == (20 if is_rested else 0)


def test_too_few_phones_make_a_round_wait_and_then_give_up() -> None:
    fleet = make_fleet(FleetConfig(availability=0.02), np.ones(100), 1)
    outcome, state = play(fleet, FleetState(), 1, 90, 80, 1, 1)
    assert outcome.abandoned == "too few phones"
    assert outcome.asked == ()
    assert state.seconds == fleet.config.selection_seconds
    fewer, _ = play(fleet, FleetState(), 1, 90, 1, 1, 1)
    assert len(fewer.asked) == fewer.num_eligible < 90
    assert fewer.seconds > fleet.config.selection_seconds


def test_who_comes_while_a_round_waits_is_asked() -> None:
    """From six in the evening to midnight, local time."""
    config = FleetConfig(availability=0.5, daily_swing=9.0, selection_seconds=6 * 3600.0, last_zone=-8)
    outcome, _ = play(drawn(config, 1000, 1), FleetState(seconds=2 * 3600.0), 1, 700, 1, 1, 1)
    assert outcome.num_eligible == pytest.approx(1000 * 0.5 * (1 + 0.8 * np.cos(np.pi / 6)), rel=0.1)


# -- what the phones are like --------------------------------------------------------------------------------

LARGE = make_fleet(FleetConfig(min_separation=10), np.full(100_000, 30), 1)


def test_four_times_as_many_phones_are_there_at_night() -> None:
    shares = [eligible(LARGE, hour * 3600).mean() for hour in range(72)]
    for day in (shares[:24], shares[24:48], shares[48:]):
        assert 3.3 < max(day) / min(day) < 4.3
    assert np.mean(shares) == pytest.approx(0.2, abs=0.005)
    # Two at night, local time, is from seven to ten UTC.
    assert 7 <= int(np.argmax(shares[:24])) <= 10


def test_every_time_zone_has_its_night() -> None:
    for zone in range(-8, -4):
        mine = zone == LARGE.zone
        shares = [eligible(LARGE, hour * 3600)[mine].mean() for hour in range(24)]
        assert int(np.argmax(shares)) in {(1 - zone) % 24, (2 - zone) % 24, (3 - zone) % 24}
        assert max(shares) / min(shares) == pytest.approx(4, rel=0.1)


def test_a_phone_is_there_for_one_stretch_of_a_day() -> None:
    # From two in the afternoon, local time, of the westernmost zone.
    there = np.array([eligible(LARGE, 22 * 3600 + quarter * 900)[:2000] for quarter in range(96)])[
        :, LARGE.zone[:2000] == -8
    ]
    starts = (there[1:] & ~there[:-1]).sum(0) + there[0]
    assert starts.max() == 1
    assert 0.2 < (starts == 1).mean() < 0.5
    hours = there.sum(0)[starts == 1] / 4
    assert hours.min() < 6
    assert hours.max() > 20


def test_other_phones_come_on_other_days() -> None:
    first, second = eligible(LARGE, 8 * 3600), eligible(LARGE, 8 * 3600 + DAY)
    assert (first & second).mean() == pytest.approx(first.mean() * second.mean(), rel=0.05)


def test_speeds_span_two_orders_of_magnitude() -> None:
    logs = np.log10(LARGE.train_seconds)
    assert logs.max() - logs.min() == pytest.approx(2, abs=0.01)
    assert np.histogram(logs, 4)[0] / len(LARGE) == pytest.approx([0.25] * 4, abs=0.01)


def test_six_to_ten_percent_drop_out_and_slow_phones_more_often() -> None:
    played = [outcome for outcome, _ in rounds_of(LARGE, 150, goal=100, min_reports=50)]
    num_asked = sum(len(outcome.asked) for outcome in played)
    dropped = [drop for outcome in played for drop in outcome.dropped]
    assert 0.06 < len(dropped) / num_asked < 0.10
    assert set(Counter(drop.reason for drop in dropped)) == set(REASONS)
    assert all(not outcome.abandoned for outcome in played)
    # Unlike those who are late, who say nothing of their own.
    is_slow = LARGE.train_seconds > np.median(LARGE.train_seconds)
    share_slow = np.mean([is_slow[drop.phone] for drop in dropped])
    assert share_slow > 0.52
    assert LARGE.drop_out.min() == pytest.approx(0.06, abs=1e-4)
    assert LARGE.drop_out.max() == pytest.approx(0.10, abs=1e-4)


def test_rounds_take_minutes_and_a_hundred_thousand_phones_milliseconds() -> None:
    state, spent = FleetState(), []
    for number in range(1, 21):
        start = time.process_time()
        outcome, state = play(LARGE, state, number, 50, 20, 13_000_000, 13_000_000)
        spent.append(time.process_time() - start)
        assert 30 < outcome.seconds < 400
    assert np.median(spent) < 0.05


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"over_selection": 0.9}, "over_selection must be at least 1"),
        ({"min_separation": 0}, "min_separation must be at least 1"),
        ({"deadline": 0.0}, "deadline must be more than 0"),
        ({"drop_out_fast": -0.1}, "drop_out_fast must not be negative"),
        ({"drop_out_slow": 0.01}, "drop_out_slow must be from drop_out_fast"),
        ({"availability": 0.9}, "more than all phones"),
        ({"first_zone": 3, "last_zone": 1}, "must be a range"),
    ],
)
def test_fleets_that_cannot_be_are_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        FleetConfig(**changes)  # type: ignore[arg-type]
