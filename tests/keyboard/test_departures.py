"""The list of what left the machine."""

from __future__ import annotations

import stat
from pathlib import Path

from fedkey.departures import Departure, append_departure, read_departures

SHARES = Departure("2026-11-27T01:02:03Z", "127.0.0.1:9092", "key shares", 1234, 3, None)
UPDATE = Departure("2026-11-27T01:02:09Z", "127.0.0.1:9092", "masked update", 777_000, 3, 1.25, 20)


def test_what_was_appended_is_read_in_order_and_only_by_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "departures.jsonl"
    assert read_departures(path) == []
    append_departure(path, SHARES)
    append_departure(path, UPDATE)
    assert read_departures(path) == [SHARES, UPDATE]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_torn_line_is_left_out_and_swallows_no_other(tmp_path: Path) -> None:
    path = tmp_path / "departures.jsonl"
    append_departure(path, SHARES)
    whole = path.read_bytes()
    append_departure(path, UPDATE)
    path.write_bytes(path.read_bytes()[:-20])
    assert read_departures(path) == [SHARES]
    append_departure(path, UPDATE)
    assert read_departures(path) == [SHARES, UPDATE]
    assert path.read_bytes().startswith(whole)


def test_a_line_of_numbers_that_cannot_be_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "departures.jsonl"
    append_departure(path, SHARES)
    whole = path.read_text()
    for wrong in ("Infinity", "-Infinity", "NaN", '"many"', "null"):
        path.write_text(whole.replace("1234", wrong) + whole)
        assert read_departures(path) == [SHARES]
