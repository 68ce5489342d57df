"""A keyboard in a federation as a value: what the phone's lines make of it, and what is shown."""

from __future__ import annotations

import json
import sys
from functools import reduce
from pathlib import Path

import pytest

from fedkey import joined
from fedkey.errors import UserError
from fedkey.joined import (
    Joined,
    Phase,
    account,
    ended,
    has_consented,
    heard,
    phone_command,
    remember_consent,
    summary,
)
from fedkey.settings import from_text


def after(*events: dict[str, object]) -> Joined:
    return reduce(heard, map(json.dumps, events), Joined("fed.example.org:9092"))


CONNECTED = {"event": "connected", "to": "fed.example.org:9092", "words": 1200}
ROUND = {"event": "round", "round": 3}
SHARES = {"event": "sent", "round": 3, "kind": "key shares", "bytes": 1000, "epsilon": None}
UPDATE = {"event": "sent", "round": 3, "kind": "masked update", "bytes": 700_000, "epsilon": 1.234}
REVEALED = {"event": "sent", "round": 3, "kind": "revealed shares", "bytes": 500, "epsilon": None}


def test_a_round_from_invitation_to_contribution() -> None:
    assert summary(after()) == "⇅ joining …"
    assert summary(after(CONNECTED)) == "⇅ joined"
    assert summary(after(CONNECTED, ROUND)) == "⇅ round 3 · 0 given"
    assert summary(after(CONNECTED, ROUND, {"event": "waiting", "round": 3})) == "⇅ round 3 · waits · 0 given"
    training = after(CONNECTED, ROUND, SHARES, {"event": "training", "round": 3, "words": 1200})
    assert summary(training) == "⇅ round 3 · training · 0 given"
    done = after(CONNECTED, ROUND, SHARES, UPDATE, REVEALED)
    assert summary(done) == "⇅ round 3 · 1 given · ε 1.23"
    assert (done.num_given, done.num_bytes, done.epsilon) == (1, 701_500, 1.234)
    assert summary(done, is_short=True) == "⇅ round 3 · 1 given"
    assert after(CONNECTED, ROUND, SHARES, UPDATE | {"kind": "masked counts"}).num_given == 1
    assert "1 round of fed.example.org:9092 and sent 701,500 bytes, privacy spent: ε 1.23" in account(done)


def test_what_goes_wrong_is_a_sentence_that_goes_away() -> None:
    lost = after(CONNECTED, {"event": "unreachable", "reason": "Connection refused"})
    assert lost.phase is Phase.UNREACHABLE
    assert "fed.example.org:9092 does not answer (Connection refused)" in lost.reason
    assert heard(lost, json.dumps(CONNECTED)).reason == ""
    declined = after(CONNECTED, ROUND, {"event": "declined", "round": 3, "reason": "another tokenizer"})
    assert declined.reason == "This keyboard does not take part: another tokenizer."
    assert heard(declined, json.dumps(ROUND)).reason == declined.reason  # it is said once
    assert heard(declined, json.dumps({"event": "training", "round": 4})).reason == ""
    for usual in ("busy", "resting"):
        assert after(CONNECTED, ROUND, {"event": "declined", "round": 3, "reason": usual}).reason == ""


def test_why_a_phone_has_ended() -> None:
    failed = after({"event": "failed", "reason": "This keyboard is not in the registry."})
    assert ended(failed, "fedkey-server: something\n").reason == "This keyboard is not in the registry."
    assert ended(after(CONNECTED), "one\nthe last line\n\n").reason == "the last line"
    assert ended(after(CONNECTED), "").phase is Phase.FAILED
    assert summary(ended(after(CONNECTED, ROUND), "")) == "⇅ not joined"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "junk",
        "[]",
        "3",
        '{"event": "sent"}',
        '{"event": "round", "round": "x"}',
        '{"event": "round", "round": Infinity}',
        '{"event": "training", "round": NaN}',
        '{"event": "sent", "round": 1, "kind": "update", "bytes": Infinity, "epsilon": null}',
        "[" * 9999,
    ],
)
def test_lines_that_make_no_sense_change_nothing(line: str) -> None:
    assert heard(after(CONNECTED, ROUND), line) == after(CONNECTED, ROUND)


def test_the_phone_goes_without_tls_to_this_machine_only(tmp_path: Path) -> None:
    diary, bundle = tmp_path / "diary.jsonl", tmp_path / "bundle"
    command = phone_command("127.0.0.1:9092", diary, bundle)
    assert command[0] == sys.executable
    assert "--insecure" in command
    assert command[command.index("--smallest-crowd") + 1] == "20"
    assert "7" in phone_command("127.0.0.1:9092", diary, bundle, 7)
    assert "--insecure" not in phone_command("fed.example.org:9092", diary, bundle)
    (tmp_path / joined.CERTIFICATES).touch()
    assert "--root-certificates" in phone_command("fed.example.org:9092", diary, bundle)


ADDRESSES = ["fed.example.org:9092", "192.0.2.7:1", "localhost:65535", "[fd00::1]:9092", "my_host-2:80"]
NO_ADDRESSES = [
    "nowhere", ":9092", "host:", "host:0", "host:65536", "host:99999", "host:1x", "host:\u0661", "a b:1",
    "user@host:9092", "h#x:99", "fd00::1:9092", "http://a/:80", "--help:1", "--help:1x",
]  # fmt: skip


@pytest.mark.parametrize("address", [*ADDRESSES, *NO_ADDRESSES])
def test_an_address_that_can_be_set_can_be_joined(tmp_path: Path, address: str) -> None:
    diary, bundle = tmp_path / "diary.jsonl", tmp_path / "bundle"
    if address in ADDRESSES:
        assert from_text("join", address) == address
        assert address in phone_command(address, diary, bundle)
    else:
        with pytest.raises(UserError, match="HOST:PORT"):
            from_text("join", address)
        with pytest.raises(UserError, match="no address"):
            phone_command(address, diary, bundle)


def test_without_the_server_extra_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined, "NEEDED", ("fedkey", "no_such_package_at_all"))
    with pytest.raises(UserError, match=r"pip install '\.\[server\]'"):
        phone_command("127.0.0.1:9092", tmp_path / "diary.jsonl", tmp_path)


def test_consent_is_remembered_for_each_federation(tmp_path: Path) -> None:
    diary = tmp_path / "new" / "diary.jsonl"
    assert not has_consented(diary, "a:1")
    remember_consent(diary, "a:1")
    remember_consent(diary, "b:2")
    assert has_consented(diary, "a:1")
    assert has_consented(diary, "b:2")
    assert not has_consented(diary, "c:3")
    (diary.with_name(joined.CONSENTS)).write_text("junk")
    assert not has_consented(diary, "a:1")
