"""Progress: plain lines with rate and remaining time, bars on a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from clocks import Clock
from rich.console import Console

from fedkey_server.progress import SECONDS_BETWEEN_LINES, track


@pytest.fixture
def plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=40)


def lines_of(console: Console) -> list[str]:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


def test_without_a_terminal_a_line_tells_rate_remaining_time_and_figures(plain: Console) -> None:
    clock = Clock()
    with track("train central", 2000, "steps", console=plain, clock=clock) as advance:
        advance(10, loss=3.5)
        assert lines_of(plain) == []
        clock.now += 20
        advance(90, loss=2.25, rows="all")
        assert lines_of(plain) == [
            "train central: 100/2,000 steps, 5.0 steps/s, 380 s left  loss 2.250  rows all"
        ]


def test_a_figure_that_is_a_function_is_fetched_for_a_line_and_not_otherwise(plain: Console) -> None:
    clock, fetched = Clock(), []

    def loss() -> float:
        fetched.append(clock.now)
        return 2.5

    with track("train", 4, "steps", console=plain, clock=clock) as advance:
        advance(1, loss=loss)
        advance(1, loss=loss)
        assert fetched == []
        clock.now += SECONDS_BETWEEN_LINES
        advance(1, loss=loss, speed="9")
        assert len(fetched) == 1
    assert [line.split("  ", 1)[1] for line in lines_of(plain)] == ["loss 2.500  speed 9"] * 2


def test_the_newest_figures_come_first(plain: Console) -> None:
    with track("train", 2, "steps", console=plain, clock=Clock()) as advance:
        advance(1, loss=2.0, speed="9")
        advance(0, validation=3.0)
        advance(1, loss=1.0, speed="8")
    assert lines_of(plain)[-1] == "train: 2 steps in 0.0 s  loss 1.000  speed 8  validation 3.000"


def test_lines_keep_their_distance_and_the_last_one_sums_up(plain: Console) -> None:
    clock = Clock()
    with track("read", 100, "files", console=plain, clock=clock) as advance:
        for _ in range(100):
            clock.now += SECONDS_BETWEEN_LINES / 4
            advance()
    lines = lines_of(plain)
    assert len(lines) == 100 // 4 + 1
    assert lines[0] == "read: 4/100 files, 0.4 files/s, 240 s left"
    assert lines[-1] == "read: 100 files in 250.0 s"


def test_what_an_earlier_process_did_does_not_count_for_the_rate(plain: Console) -> None:
    clock = Clock()
    with track("train", 100, "steps", start=60, console=plain, clock=clock) as advance:
        clock.now += 10
        advance(20)
    assert lines_of(plain)[0] == "train: 80/100 steps, 2.0 steps/s, 10 s left"


def test_more_than_was_expected_leaves_no_time(plain: Console) -> None:
    clock = Clock()
    with track("train", 10, "steps", console=plain, clock=clock) as advance:
        clock.now += 20
        advance(16)
    assert lines_of(plain)[0] == "train: 16/10 steps, 0.8 steps/s, 0 s left"


def test_nothing_to_do_and_no_time_passed_are_told_too(plain: Console) -> None:
    with track("encode", 0, "documents", console=plain, clock=Clock()):
        pass
    assert lines_of(plain) == ["encode: 0 documents in 0.0 s"]


def test_brackets_in_figures_are_no_markup(plain: Console) -> None:
    with track("read", 1, "files", console=plain, clock=Clock()) as advance:
        advance(file="chat[red].txt")
    assert lines_of(plain) == ["read: 1 files in 0.0 s  file chat[red].txt"]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_an_error_in_the_body_comes_out_and_no_end_is_claimed(is_terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    with pytest.raises(OSError, match="full"), track("read", 3, "files", console=console):
        raise OSError("disk is full")
    assert not any("files in" in line for line in lines_of(console))


def bar(work: Callable[..., None], total: int, start: int = 0) -> str:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=120, color_system=None, legacy_windows=False
    )
    with track("average", total, "rounds", start=start, console=console) as advance:
        work(advance)
    return next(line for line in reversed(lines_of(console)) if "\u2501" in line)


def test_a_terminal_gets_a_bar_with_the_same_content() -> None:
    def work(advance: Callable[..., None]) -> None:
        advance(2, loss=3.0, speed="9")
        advance(3, loss=lambda: 1.5)

    last = bar(work, total=10)
    assert "average" in last
    assert "5/10" in last
    assert "rounds/s" in last
    assert last.rstrip().endswith("loss 1.500  speed 9")


def test_a_resumed_bar_begins_where_the_earlier_process_ended() -> None:
    assert "7/10" in bar(lambda advance: advance(1), total=10, start=6)


def test_on_a_narrow_terminal_the_last_figures_give_way() -> None:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=72, color_system=None, legacy_windows=False
    )
    with track("train central", 1000, "steps", console=console) as advance:
        advance(500, loss=1.5, speed="123,456", validation=2.5)
    last = next(line for line in reversed(lines_of(console)) if "\u2501" in line)
    assert "train central" in last
    assert "500/1000" in last
    assert "loss 1.500" in last
    assert "2.500" not in last
    assert last.rstrip().endswith("\u2026")
