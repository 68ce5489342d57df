"""Watching a run: what is half-written, what is begun again, what is seen, and that nothing is touched."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from at_command import fedkey_server
from hypothesis import given
from hypothesis import strategies as st
from textual.widgets import DataTable, Static

from fedkey.commands import EXIT_MISTAKE
from fedkey.errors import UserError
from fedkey_server import averaging, checkpoint
from fedkey_server.client_app import app as client
from fedkey_server.config import load, to_dict
from fedkey_server.grid import InProcessGrid
from fedkey_server.phones import Phones
from fedkey_server.server_app import federate
from fedkey_server.watch import figures
from fedkey_server.watch.app import ChartView, WatchApp
from fedkey_server.watch.panels import panels
from fedkey_server.watch.plot import Chart, Columns, Curve
from fedkey_server.watch.record import Record, Watcher

NOW = 1_800_000_000.0
SECONDS = 30
"""How long anything may take on a busy machine."""
DECILES = [0.10, 0.14, 0.17, 0.19, 0.21, 0.23, 0.25, 0.28, 0.33]


def row_of(number: int, **more: Any) -> dict[str, Any]:
    """A round of ten phones, of which two did not report; every second round is measured."""
    row = {
        "step": number,
        "asked": 10,
        "reports": 8,
        "refused": {"not finite": 1} if number == 3 else {},
        "silent": 0,
        "changed": True,
        "lost": {"in use": 1, "late": 0 if number == 3 else 1},
        "fleet": {
            "eligible": 100,
            "seconds": 60.0,
            "clock": 26.5 * 3600 + 60.0 * number,
            "bytes_down": 10_000_000,
            "bytes_up": 8_000_000,
            "client_seconds": 3600.0,
            "wasted_seconds": 360.0,
        },
        "privacy": {
            "round": number,
            "mode": "ftrl",
            "epsilon": 0.5 * number,
            "delta": 1e-7,
            "epsilon_at_a_million": 0.01 * number,
            "cohort_at_a_million": 12_500,
        },
    }
    if number % 2 == 0:
        row |= {"validation_loss": 5 - 0.1 * number, "validation_top1": 0.2 + 0.01 * number}
        row["top1_deciles"] = [value + 0.01 * number for value in DECILES]
    return row | more


class Run:
    """A run folder as a federation leaves it, written by hand."""

    def __init__(self, folder: Path, kind: str = "federate", *overrides: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        chosen = [
            *("rounds.num_rounds=20", "rounds.update_norm=0.3"),
            *("privacy.mode=ftrl", "privacy.epsilon=8", "fleet.enabled=true"),
        ]
        config = to_dict(load("tiny", [*chosen, *overrides]))
        checkpoint.write_json(folder / "config.json", {"kind": kind, "config": config})

    def add(self, *rows: dict[str, Any]) -> None:
        for row in rows:
            checkpoint.append_metrics(self.folder, row)

    def save(self, step: int, at: float) -> None:
        folder = self.folder / "checkpoints" / f"{step:08d}"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text("{}")
        os.utime(folder / "state.json", (at, at))

    def touch(self, at: float) -> None:
        for path in (self.folder / "config.json", self.folder / "metrics.jsonl"):
            os.utime(path, (at, at))

    def read(self) -> Record:
        return Watcher(self.folder).read()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "phones")
    run.add({"step": 0, "validation_loss": 5.0, "validation_top1": 0.2}, *map(row_of, range(1, 7)))
    return run


def steps(record: Record) -> list[int]:
    return [row["step"] for row in record.rows]


def card(record: Record, title: str) -> dict[str, str]:
    return dict(next(each for each in figures.cards(record) if each.title == title).lines)


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in (folder, *folder.rglob("*"))
    }


# --- the folder ------------------------------------------------------------------------------------------


def test_a_line_is_read_once_it_is_complete(run: Run) -> None:
    watcher = Watcher(run.folder)
    line = json.dumps(row_of(7)) + "\n"
    with (run.folder / "metrics.jsonl").open("a") as file:
        for start in range(0, len(line), 150):
            assert steps(watcher.read()) == list(range(7))
            file.write(line[start : start + 150])
            file.flush()
    assert steps(watcher.read()) == list(range(8))
    run.add(row_of(8))
    assert steps(watcher.read()) == list(range(9))


def test_lines_that_a_killed_process_spoilt_are_left_out(run: Run) -> None:
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "asked"\n[1]\n{"loss": 3}\n\n\xff\x00\n')
    run.add(row_of(7))
    assert steps(run.read()) == list(range(8))


@pytest.mark.parametrize(
    "change",
    [
        {"validation_loss": "a"},
        {"asked": "x"},
        {"asked": 10**30},
        {"reports": None},
        {"refused": 3},
        {"lost": {"late": "many"}},
        {"fleet": 3},
        {"privacy": {"epsilon": 1.0}},
        {"top1_deciles": [0.1]},
        {"step": 10**400},
    ],
)
def test_lines_of_another_kind_than_a_run_writes_are_left_out(
    run: Run, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run.add(row_of(7, **change))
    run.add(row_of(8))
    assert steps(run.read()) == [*range(7), 8]
    assert fedkey_server("watch", "--once", run.folder) == 0
    assert "round 8 of 20" in capsys.readouterr().out


def test_a_run_that_goes_on_from_an_earlier_round_is_read_anew(run: Run) -> None:
    watcher = Watcher(run.folder)
    watcher.read()
    checkpoint.trim_metrics(run.folder, 3)
    assert steps(watcher.read()) == [0, 1, 2, 3]
    run.add(*(row_of(number, reports=7) for number in range(4, 9)))
    record = watcher.read()
    assert steps(record) == list(range(9))
    assert [row["reports"] for row in record.rows[3:]] == [8, 7, 7, 7, 7, 7]


def test_a_file_that_was_written_over_in_place_is_read_anew(run: Run) -> None:
    watcher = Watcher(run.folder)
    watcher.read()
    path = run.folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(row_of(number, reports=6)) + "\n" for number in range(1, 12)))
    assert [row["reports"] for row in watcher.read().rows] == [6] * 11
    path.unlink()
    assert watcher.read().rows == ()
    run.add(row_of(1))
    assert steps(watcher.read()) == [1]


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{",
        "[]",
        '{"settings": 1}',
        '{"kind": "train", "config": {}}',
        '{"kind": "train", "config": {"train": {"checkpoint_every": "often"}}}',
        '{"kind": "federate", "config": {"rounds": 5}}',
        '{"kind": "federate", "config": {"rounds": {"num_rounds": 5}, "privacy": 3}}',
        '{"kind": "federate", "config": 3}',
        '{"kind": "average", "config": {"runs": 3}}',
        '{"kind": "another", "config": {}}',
    ],
)
def test_another_folder_is_refused_in_a_sentence(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert fedkey_server("watch", tmp_path) == EXIT_MISTAKE
    assert "is not a run folder; give the --run of" in capsys.readouterr().err


def test_how_far_a_run_is_and_how_fast(run: Run) -> None:
    run.touch(NOW - 1)
    assert figures.state(run.read(), NOW).progress == "round 6 of 20"
    run.save(4, NOW - 60)
    run.save(6, NOW - 1)
    run.save(7, NOW)  # its line is not written yet
    state = figures.state(run.read(), NOW + 5)
    assert (state.word, state.progress) == ("running", "round 7 of 20 · 3.0 rounds/min · 4 min left")
    assert state.share == 7 / 20
    state = figures.state(run.read(), NOW + 600)
    assert (state.word, state.sentence, state.progress) == (
        "silent",
        "nothing new for 10 min",
        "round 7 of 20",
    )


def test_the_pace_is_that_of_the_checkpoints_seen_and_forgets_those_taken_back(run: Run) -> None:
    run.save(1, NOW)
    run.save(2, NOW + 10)
    watcher = Watcher(run.folder)
    assert watcher.read().seconds_per_step == 10
    shutil.rmtree(run.folder / "checkpoints" / "00000001")
    run.save(3, NOW + 40)
    assert watcher.read().seconds_per_step == 20
    shutil.rmtree(run.folder / "checkpoints")
    run.save(1, NOW + 5)
    assert watcher.read().seconds_per_step is None


def test_a_finished_run_is_finished_until_it_is_given_more(run: Run) -> None:
    checkpoint.write_json(run.folder / "done.json", {"step": 6})
    state = figures.state(run.read(), NOW)
    assert (state.word, state.share, state.progress) == ("finished", 1.0, "6 rounds")
    run.add(row_of(7))
    assert figures.state(run.read(), NOW).word != "finished"


def test_a_trunk_has_no_end(tmp_path: Path) -> None:
    run = Run(tmp_path / "trunk", "train")
    described = json.loads((run.folder / "config.json").read_text())
    del described["config"]["train"]["num_steps"]
    checkpoint.write_json(run.folder / "config.json", described)
    run.add({"step": 200, "train_loss": 5.0, "learning_rate": 0.01, "validation_loss": 4.8})
    record = run.read()
    assert figures.state(record, time.time()).progress == "step 200"
    assert [each.name for each in panels(record)] == ["loss"]
    assert [name for name, _ in figures.columns(record)] == ["step", "loss", "train loss", "learning rate"]


def test_an_average_says_of_how_many_runs_and_counts_no_steps(
    tmp_path: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soup = tmp_path / "soup"
    averaging.average([tiny_run, tiny_run], soup)
    assert fedkey_server("watch", "--once", soup) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "soup: finished, an average of 2 runs"
    assert not any(line.rstrip().endswith(":") for line in others)
    averaging.record(soup, {"validation_loss": 4.5, "validation_top1": 0.25})
    assert fedkey_server("watch", "--once", soup) == 0
    assert "learning: loss 4.500, at first 4.500, top-1 25.0 %\n" in capsys.readouterr().out


async def test_an_average_is_watched_as_what_it_is(tmp_path: Path, tiny_run: Path) -> None:
    averaging.average([tiny_run, tiny_run], tmp_path / "soup")
    app = WatchApp(Watcher(tmp_path / "soup"), tmp_path / "charts")
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, lambda: "an average of 2 runs" in text_of(app, "#progress"))
        assert "average of runs" in text_of(app, "#title")


# --- figures ---------------------------------------------------------------------------------------------


def test_the_cards_sum_what_the_rounds_say(run: Run) -> None:
    record = run.read()
    assert card(record, "learning") == {
        "loss": "4.400",
        "at first": "5.000",
        "top-1": "26.0 %",
        "1st decile": "16.0 %",
        "9th decile": "39.0 %",
    }
    assert card(record, "phones") == {
        "asked": "60",
        "reports": "48",
        "dropped": "6",
        "late": "5",
        "refused": "1",
    }
    assert card(record, "cost") == {
        "down": "60.0 MB",
        "up": "48.0 MB",
        "on phones": "6.0 h",
        "wasted": "10.0 %",
        "clock": "day 2, 02:36",
    }
    assert card(record, "privacy") == {
        "ε so far": "3",
        "budget": "8",
        "δ": "1e-07 ftrl",
        "ε at 1M": "0.06",
        "its cohort": "12,500",
    }


def test_every_phone_that_was_asked_has_one_fate() -> None:
    row = row_of(3, asked=20, silent=4, lost={"late": 2, "in use": 1, "for nothing: too few": 4})
    assert figures.fates(row) == {"reports": 8, "dropped": 5, "late": 2, "refused": 1, "silent": 4}
    assert figures.reasons([row, row]) == "8 for nothing: too few, 2 in use, 2 not finite"


def test_a_run_without_fleet_privacy_and_authors_says_so(tmp_path: Path) -> None:
    run = Run(tmp_path / "plain", "federate")
    run.add({"step": 0, "validation_loss": 5.0, "validation_top1": 0.2})
    plain = {key: value for key, value in row_of(1).items() if key not in ("lost", "fleet", "privacy")}
    run.add(plain | {"train_loss": 4.0, "reports": 10})
    record = run.read()
    assert card(record, "cost") == {"no simulated fleet": ""}
    assert card(record, "privacy") == {"no promise": ""}
    assert [each.name for each in panels(record)] == ["loss", "top1", "phones"]
    assert [name for name, _ in figures.columns(record)] == ["round", "loss", "top-1", "asked", "reports"]


def test_what_a_run_predicts_from_both_sides_stands_beside_what_it_predicts_from_the_left(
    tmp_path: Path,
) -> None:
    gaps, masked = Run(tmp_path / "gaps", "train"), Run(tmp_path / "masked", "train")
    gaps.add(
        {"step": 8, "validation_loss": 5.0, "validation_top1": 0.25, "infill_loss": 4.0, "infill_top1": 0.5}
    )
    masked.add({"step": 8, "masked_loss": 4.0, "masked_top1": 0.5})
    learnt = {"loss": "5.000", "at first": "5.000", "top-1": "25.0 %", "in gaps": "50.0 %"}
    assert card(gaps.read(), "learning") == learnt
    assert card(masked.read(), "learning") == {"masked": "50.0 %"}


@pytest.mark.filterwarnings("ignore:divide by zero encountered in log1p")  # dp-accounting, of 20 phones
def test_a_real_federation_of_a_fleet_has_every_chart(
    tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    overrides = [
        *("rounds.num_rounds=2", "rounds.phones_per_round=5", "rounds.min_reports=1", "rounds.batch_rows=2"),
        *(
            "rounds.max_rows=2",
            "rounds.update_norm=0.3",
            "rounds.validate_every=1",
            "train.validation_rows=8",
        ),
        *(
            "fleet.enabled=true",
            "fleet.availability=0.9",
            "fleet.daily_swing=1",
            "privacy.mode=ftrl",
            "privacy.epsilon=8",
        ),
    ]
    config = load("tiny", [*small_overrides, *overrides])
    phones = Phones.load(tiny_data / "phones.npz")
    grid = InProcessGrid(client, len(phones), {"data": str(tiny_data), "simulation": True})
    federate(grid, config, tiny_data, tmp_path / "run", tiny_run)
    record = Watcher(tmp_path / "run").read()
    assert figures.state(record, time.time()).word == "finished"
    assert [each.name for each in panels(record)] == ["loss", "top1", "phones", "epsilon", "bytes", "time"]
    assert all(sum(figures.fates(row).values()) == row["asked"] for row in figures.rounds(record))
    for row in record.rows:
        assert len(row["top1_deciles"]) == 9
        assert row["top1_deciles"] == sorted(row["top1_deciles"])


# --- charts of characters --------------------------------------------------------------------------------

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)
SIZES = {"width": st.integers(0, 130), "height": st.integers(0, 40)}


@given(values=VALUES, **SIZES)
def test_a_chart_fills_its_place_whatever_it_shows(values: list[float], width: int, height: int) -> None:
    curve = Curve("main", list(range(len(values))), values)
    higher = Curve("band", curve.steps, [value + 1 for value in values])
    cells = Chart((curve, Curve("quiet", [], [])), "{:.2f}".format, ((curve, higher),)).draw(width, height)
    assert [len(row) for row in cells] == [width] * height
    assert all(len(cell.character) == 1 for row in cells for cell in row)


@given(values=st.lists(st.tuples(*[st.integers(0, 50)] * 3), min_size=1, max_size=300), **SIZES)
def test_columns_fill_their_place_whatever_they_show(
    values: list[tuple[int, int, int]], width: int, height: int
) -> None:
    columns = Columns(("a", "b", "c"), list(range(len(values))), values, "{:.0f}".format)
    cells = columns.draw(width, height)
    assert [len(row) for row in cells] == [width] * height


def drawn(chart: Chart | Columns, width: int, height: int) -> str:
    return "\n".join("".join(cell.character for cell in row).rstrip() for row in chart.draw(width, height))


def test_a_line_goes_from_corner_to_corner() -> None:
    chart = Chart((Curve("main", [0, 10], [0, 10]),), "{:.0f}".format)
    assert drawn(chart, 19, 5).splitlines() == [
        "10 ┈┈┈┈┈┈┈┈┈┈┈⢀⣠⠴⠚⠉",
        "          ⢀⣠⠴⠚⠉",
        "      ⢀⣠⠴⠚⠉",
        " 0 ⣠⠴⠚⠉┈┈┈┈┈┈┈┈┈┈┈┈",
        "   0             10",
    ]


def test_columns_stand_on_each_other() -> None:
    columns = Columns(("good", "bad"), [1, 2], [(4, 0), (2, 2)], "{:.0f}".format)
    cells = columns.draw(18, 5)
    tall, mixed = ([row[column] for row in cells[:4]] for column in (2, 10))
    assert [(cell.character, cell.role) for cell in tall] == [("▂", "good"), *[("█", "good")] * 3]
    assert [cell.role for cell in mixed] == ["bad", "bad", "good", "good"]


# --- files and text --------------------------------------------------------------------------------------


def test_charts_are_files_that_hold_the_run_and_the_same_bytes_twice(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run.folder)
    for folder in ("one", "two"):
        assert fedkey_server("watch", run.folder, "--svg", tmp_path / folder) == 0
    names = ["loss", "top1", "phones", "epsilon", "bytes", "time"]
    assert capsys.readouterr().out.splitlines()[:6] == [str(tmp_path / "one" / f"{n}.svg") for n in names]
    assert sorted(path.stem for path in (tmp_path / "one").iterdir()) == sorted(names)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    text = " ".join(ElementTree.parse(tmp_path / "one" / "top1.svg").getroot().itertext())
    assert all(word in text for word in ("top-1", "median", "deciles", "round", "phones"))
    assert contents(run.folder) == before


def test_charts_are_not_written_into_the_run_nor_where_nothing_was_measured(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run.folder)
    assert fedkey_server("watch", run.folder, "--svg", run.folder / "charts") == EXIT_MISTAKE
    assert "is in the run that is watched" in capsys.readouterr().err
    assert contents(run.folder) == before
    empty = Run(tmp_path / "empty")
    assert fedkey_server("watch", empty.folder, "--svg", tmp_path / "charts") == EXIT_MISTAKE
    assert "has not measured anything yet" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert fedkey_server("watch", run.folder, "--svg", tmp_path / "file") == EXIT_MISTAKE
    assert "Cannot write charts to" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--once",)])
def test_without_a_terminal_it_prints_a_table_and_ends(
    run: Run, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run.folder)
    assert fedkey_server("watch", run.folder, *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "phones: running, round 6 of 20"
    assert "privacy: ε so far 3, budget 8, δ 1e-07 ftrl, ε at 1M 0.06, its cohort 12,500" in lines
    assert lines[-3].split() == ("5 10 8 1 1 2.5 10.0 MB 8.0 MB 60 min 6 min day 2, 02:35 1 in use".split())
    assert contents(run.folder) == before


def test_watching_loads_no_training_and_the_table_no_screen() -> None:
    program = (
        "import sys, fedkey_server.cli.watch, fedkey_server.watch.figures, fedkey_server.watch.panels\n"
        "assert not {'torch', 'flwr', 'textual', 'matplotlib'} & set(sys.modules)\n"
        "import fedkey_server.watch.app\n"
        "assert not {'torch', 'flwr', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=SECONDS)


# --- the screen ------------------------------------------------------------------------------------------


def screen_text(app: WatchApp) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def app_over(run: Run, clock: Callable[[], float] = time.time) -> WatchApp:
    return WatchApp(Watcher(run.folder), run.folder.with_name("charts"), clock)


def text_of(app: WatchApp, selector: str) -> str:
    return str(app.query_one(selector, Static).render())


async def wait_for(pilot: Any, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, screen_text(pilot.app)
        await pilot.pause(0.02)


@pytest.mark.parametrize(
    ("size", "num_charts", "has_table"),
    [((80, 24), 2, True), ((200, 60), 6, True), ((140, 30), 3, True), ((40, 12), 0, False)],
)
@pytest.mark.parametrize("no_color", [False, True])
async def test_every_size_shows_the_run_within_its_borders(
    run: Run,
    size: tuple[int, int],
    num_charts: int,
    has_table: bool,
    no_color: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    app = app_over(run)
    async with app.run_test(size=size) as pilot:
        await wait_for(pilot, lambda: "Save charts" in screen_text(app))
        text = screen_text(app)
        assert all(word in text for word in ("phones", "running", "round 6 of 20", "4.400", "16.0 %", "60"))
        shown = [view for view in app.query(ChartView) if view.display and view.region.height > 3]
        assert len(shown) == num_charts
        assert any("⠤" <= character <= "⣿" for character in text) == (num_charts > 0)
        assert ("1 in use" in text) == has_table
        assert {len(line) for line in text.splitlines()} == {size[0]}
        await pilot.resize_terminal(80, 24)
        await wait_for(pilot, lambda: "1 in use" in screen_text(app))


async def test_the_screen_follows_a_run_and_one_that_begins_again(run: Run) -> None:
    app = app_over(run)
    async with app.run_test(size=(120, 40)) as pilot:
        table = app.query_one(DataTable)
        await wait_for(pilot, lambda: table.row_count == 7)
        run.add(row_of(7), row_of(8))
        app.watching.look()
        assert table.row_count == 9
        assert table.cursor_row == 8
        await pilot.pause()
        assert "round 8 of 20" in text_of(app, "#progress")
        assert "4.200" in screen_text(app)

        table.move_cursor(row=2)  # whoever reads an earlier round is left there
        run.add(row_of(9, refused={"wrong shapes": 2}))
        app.watching.look()
        assert (table.row_count, table.cursor_row) == (10, 2)

        checkpoint.trim_metrics(run.folder, 4)
        app.watching.look()
        assert table.row_count == 5
        assert "round 4 of 20" in text_of(app, "#progress")
        checkpoint.write_json(run.folder / "done.json", {"step": 4})
        app.watching.look()
        assert "finished" in text_of(app, "#title")
        shutil.rmtree(run.folder)
        app.watching.look()
        assert table.row_count == 0


async def test_the_screen_looks_by_itself_and_says_when_nothing_comes(run: Run) -> None:
    now = [time.time()]
    app = app_over(run, lambda: now[0])
    async with app.run_test(size=(80, 24)) as pilot:
        run.add(row_of(7))
        await wait_for(pilot, lambda: "round 7 of 20" in text_of(app, "#progress"))
        await pilot.press("ctrl+p")  # the palette of commands lies over it
        await pilot.pause()
        assert app.screen is not app.watching
        run.add(row_of(8))
        app.watching.look()
        await pilot.press("escape")
        await wait_for(pilot, lambda: "round 8 of 20" in text_of(app, "#progress"))
        now[0] += 900
        await wait_for(pilot, lambda: "nothing new for 15 min" in text_of(app, "#title"))


async def test_keys_save_charts_show_more_of_them_and_quit(run: Run) -> None:
    app = app_over(run)
    before = contents(run.folder)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await wait_for(pilot, lambda: "More charts" in screen_text(app))
        titles = []
        for _ in range(4):
            titles.append([view.panel.title for view in app.query(ChartView) if view.display and view.panel])
            await pilot.press("c")
            await pilot.pause()
        assert titles == [["loss", "top-1"], ["phones", "ε"], ["bytes", "hours"], ["loss", "top-1"]]
        await pilot.press("s")
        await app.workers.wait_for_complete()
        await wait_for(pilot, lambda: "6 charts are in" in screen_text(app))
        assert len(list(run.folder.with_name("charts").glob("*.svg"))) == 6
        assert contents(run.folder) == before
        await pilot.press("q")
        await wait_for(pilot, lambda: not app.is_running)


async def test_a_folder_that_cannot_be_written_is_told_on_the_screen(run: Run) -> None:
    run.folder.with_name("charts").write_text("")
    app = app_over(run)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("s")
        await app.workers.wait_for_complete()
        await wait_for(pilot, lambda: "Cannot write charts" in screen_text(app))


async def test_a_run_that_has_only_begun_is_watched_from_its_first_moment(tmp_path: Path) -> None:
    run = Run(tmp_path / "phones")
    app = app_over(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, lambda: "round 0 of 20" in screen_text(app))
        run.add(*map(row_of, range(1, 3)))
        await wait_for(pilot, lambda: app.query_one(DataTable).row_count == 2)
        assert "4.800" in screen_text(app)


# --- a real terminal -------------------------------------------------------------------------------------


@pytest.fixture
def tmux() -> Iterator[Callable[..., str]]:
    if shutil.which("tmux") is None:
        pytest.skip("drives a real terminal through tmux")
    socket = f"fedkey-watch-{uuid.uuid4().hex[:8]}"

    def call(*arguments: str) -> str:
        command = ["tmux", "-L", socket, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout

    shell = shlex.join(
        ["env", "-u", "NO_COLOR", "-u", "LINES", "-u", "COLUMNS", "PS1=ready>", "bash", "--norc"]
    )
    call("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", shell)
    yield call
    call("kill-server")


def test_in_a_real_terminal_it_follows_the_run_and_leaves_the_terminal_as_it_was(
    run: Run, tmux: Callable[..., str]
) -> None:
    def wait_for(word: str) -> None:
        deadline = time.monotonic() + SECONDS
        while word not in tmux("capture-pane", "-p"):
            assert time.monotonic() < deadline, tmux("capture-pane", "-p")
            time.sleep(0.05)

    def state() -> str:
        return tmux("display-message", "-p", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}")

    wait_for("ready>")
    before = state()
    program = [str(Path(sys.executable).with_name("fedkey-server")), "watch", str(run.folder)]
    tmux("send-keys", "-l", f"clear; {shlex.join(program)}; echo status $?")
    tmux("send-keys", "Enter")
    wait_for("round 6 of 20")
    assert state() != before
    run.add(row_of(7))
    wait_for("round 7 of 20")
    tmux("send-keys", "q")
    wait_for("status 0")
    assert state() == before


def test_the_watcher_refuses_a_file_in_place_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a run folder"):
        Watcher(tmp_path / "file")
