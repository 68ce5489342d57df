"""The federation through its public faces: `federate`, and the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from at_command import fedkey_server, with_overrides
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from forked import Forked
from safetensors.torch import load_file

from fedkey.commands import EXIT_MISTAKE
from fedkey.errors import UserError
from fedkey_server import checkpoint
from fedkey_server.client_app import ARRAYS, CONFIG, METRICS, app
from fedkey_server.clipping import norm_of
from fedkey_server.config import Config, load
from fedkey_server.grid import InProcessGrid
from fedkey_server.identities import read_registry
from fedkey_server.model import Model
from fedkey_server.phones import Phones
from fedkey_server.rounds import cohort
from fedkey_server.server_app import federate

ROUNDS = (
    "rounds.num_rounds=3",
    "rounds.phones_per_round=5",
    "rounds.min_reports=3",
    "rounds.batch_rows=2",
    "rounds.client_learning_rate=0.3",
    "rounds.max_rows=4",
    "rounds.validate_every=2",
    "train.validation_rows=8",
)


@pytest.fixture
def config(small_overrides: list[str]) -> Config:
    return load("tiny", [*small_overrides, *ROUNDS])


Client = Callable[[Message, Context], Message]


def grid_over(data: Path, client: Client = app, kind: type[InProcessGrid] = InProcessGrid) -> InProcessGrid:
    phones = Phones.load(data / "phones.npz")
    return kind(client, len(phones), {"data": str(data), "simulation": True})


def noting(asked: list[int]) -> Client:
    """What a phone does, and which one was asked."""

    def train(message: Message, context: Context) -> Message:
        asked.append(int(str(context.node_config["partition-id"])))
        return app(message, context)

    return train


def make_with_key(run: Path) -> None:
    """A run folder that holds a noise key, the same each time."""
    run.mkdir()
    (run / "noise.key").touch(mode=0o600)
    (run / "noise.key").write_bytes(bytes(range(32)))


def rounds_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(run).weights


def assert_equal_weights(first: Path, second: Path) -> None:
    found = weights_of(second)
    for name, tensor in weights_of(first).items():
        assert torch.equal(tensor, found[name]), name


def test_rounds_on_the_phones_lower_the_loss_on_authors_nobody_trains_on(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    final = federate(grid_over(tiny_data), config, tiny_data, run, tiny_run)
    start, first, second, third = rounds_of(run)
    assert start["step"] == 0
    assert final["validation_loss"] < start["validation_loss"] - 0.05
    assert final["validation_loss"] == third["validation_loss"]
    assert ["validation_loss" in row for row in (first, second, third)] == [False, True, True]
    assert final["step"] == final["changed_rounds"] == 3
    assert final["reports"] == 15
    assert final["failures"] == {}
    assert final["local_steps"] == first["local_steps"] + second["local_steps"] + third["local_steps"]
    assert all(row["asked"] == row["reports"] == 5 and row["changed"] for row in (first, second, third))
    assert checkpoint.load(run).kind == "federate"
    assert checkpoint.load(run).step == 3


def test_phones_fill_gaps_of_their_own_text_where_the_start_model_learned_to(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    start = tmp_path / "start"  # as if it had been trained for gaps
    shutil.copytree(tiny_run, start)
    told = json.loads((start / "config.json").read_text())
    told["config"]["train"] |= {"objective": "infill", "infill_share": 1.0}
    (start / "config.json").write_text(json.dumps(told))
    finals = {}
    for name, init, objective in (
        ("asked", tiny_run, {"objective": "infill", "infill_share": 1.0}),
        ("started", start, {}),
        ("causal", tiny_run, {}),
    ):
        changed = replace(config, train=replace(config.train, **objective))
        finals[name] = federate(grid_over(tiny_data), changed, tiny_data, tmp_path / name, init)
    before, *_ = rounds_of(tmp_path / "asked")
    assert finals["asked"]["infill_loss"] < before["infill_loss"] - 0.05
    assert "infill_loss" not in finals["causal"]
    assert_equal_weights(tmp_path / "asked", tmp_path / "started")
    asked, causal = weights_of(tmp_path / "asked"), weights_of(tmp_path / "causal")
    assert not torch.equal(asked["model.norm.weight"], causal["model.norm.weight"])
    written = json.loads((tmp_path / "started" / "config.json").read_text())["config"]["train"]
    assert (written["objective"], written["infill_share"]) == ("infill", 1.0)


@pytest.mark.parametrize("objective", ["masked", "permutation"])
def test_objectives_that_no_keyboard_can_use_are_not_federated(
    objective: str, tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    config = replace(config, train=replace(config.train, objective=objective))
    with pytest.raises(
        UserError, match=rf"from the left, which train.objective {objective}.*causal or infill"
    ):
        federate(grid_over(tiny_data), config, tiny_data, tmp_path / "run", tiny_run)


def test_a_federation_can_start_from_a_bundle(
    tiny_bundle: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    final = federate(grid_over(tiny_data), config, tiny_data, tmp_path / "run", tiny_bundle)
    assert final["validation_loss"] < rounds_of(tmp_path / "run")[0]["validation_loss"]


def test_the_phones_asked_are_those_the_seed_draws(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    asked: list[int] = []
    federate(grid_over(tiny_data, noting(asked)), config, tiny_data, tmp_path / "run", tiny_run)
    num_phones = len(Phones.load(tiny_data / "phones.npz"))
    assert asked == [phone for number in (1, 2, 3) for phone in cohort(1, number, num_phones, 5)]


def test_phones_with_more_text_are_asked_more_often_up_to_a_bound(
    tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    asked: list[int] = []
    rounds = ["rounds.num_rounds=3", "rounds.phones_per_round=5", "rounds.min_reports=1", "rounds.max_rows=1"]
    config = load("tiny", [*small_overrides, *rounds, "rounds.weighed_rows=7"])
    federate(grid_over(tiny_data, noting(asked)), config, tiny_data, tmp_path / "run", tiny_run)
    rows = np.minimum(Phones.load(tiny_data / "phones.npz").num_rows(config.model.window), 7)
    assert len(set(rows.tolist())) > 1
    chances = rows / rows.sum()
    assert asked == [phone for number in (1, 2, 3) for phone in cohort(1, number, len(rows), 5, chances)]


def test_real_phones_do_not_tell_how_much_text_they_have(
    tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    config = load("tiny", [*small_overrides, "rounds.weighed_rows=4"])
    with pytest.raises(UserError, match="real phones tell nobody"):
        federate(grid_over(tiny_data), config, tiny_data, tmp_path / "run", tiny_run, simulation=False)


def test_the_order_in_which_phones_answer_does_not_matter(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    class Backwards(InProcessGrid):
        def send_and_receive(
            self, messages: Iterable[Message], *, timeout: float | None = None
        ) -> Iterator[Message]:
            return super().send_and_receive(reversed(list(messages)), timeout=timeout)

    config = replace(config, rounds=replace(config.rounds, num_rounds=1))
    backwards = grid_over(tiny_data, kind=Backwards)
    federate(grid_over(tiny_data), config, tiny_data, tmp_path / "forwards", tiny_run)
    federate(backwards, config, tiny_data, tmp_path / "backwards", tiny_run)
    forwards = weights_of(tmp_path / "forwards")
    for name, tensor in weights_of(tmp_path / "backwards").items():
        torch.testing.assert_close(tensor, forwards[name], rtol=2e-7, atol=1e-9)


def test_the_servers_rate_falls_to_its_final_share_in_the_last_round(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    before: dict[float, dict[str, torch.Tensor]] = {}

    def after(final_share: float) -> dict[str, torch.Tensor]:
        def noting(message: Message, context: Context) -> Message:
            if message.metadata.group_id == "2":
                before[final_share] = message.content.array_records[ARRAYS].to_torch_state_dict()
            return app(message, context)

        optimizer = replace(config.server_optimizer, final_share=final_share)
        settings = replace(config, server_optimizer=optimizer, rounds=replace(config.rounds, num_rounds=2))
        run = tmp_path / str(final_share)
        federate(grid_over(tiny_data, noting), settings, tiny_data, run, tiny_run)
        return weights_of(run)

    steady, falling = after(1.0), after(0.01)
    for name, start in before[1.0].items():
        assert torch.equal(before[0.01][name], start)  # the first round's rate is the same
        moved = steady[name] - start
        assert moved.any()
        torch.testing.assert_close(falling[name] - start, 0.01 * moved, rtol=1e-2, atol=5e-7)


def test_a_phone_that_spoils_its_message_spoils_no_other(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    def spoiling(message: Message, context: Context) -> Message:
        reply = app(message, context)
        message.content.array_records[ARRAYS].clear()
        message.content.config_records["config"]["phone"] = 0
        return reply

    federate(grid_over(tiny_data), config, tiny_data, tmp_path / "run", tiny_run)
    federate(grid_over(tiny_data, spoiling), config, tiny_data, tmp_path / "spoiled", tiny_run)
    assert_equal_weights(tmp_path / "run", tmp_path / "spoiled")


class Pair(NamedTuple):
    """A federation that nobody killed, and the command of one that is to end as it did."""

    unkilled: Path
    final: dict[str, Any]
    run: Path
    arguments: list[str]

    def assert_ends_alike(self) -> None:
        assert checkpoint.read_json(self.run / "done.json") == self.final
        assert (self.run / "metrics.jsonl").read_text() == (self.unkilled / "metrics.jsonl").read_text()
        assert_equal_weights(self.unkilled, self.run)


@pytest.fixture
def pair_of(
    tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path, one_thread: None
) -> Callable[..., Pair]:
    """`pair_of(*overrides, with_key=False)`: does the first, and may give both the same noise key."""

    def pair_of(*overrides: str, with_key: bool = False) -> Pair:
        unkilled, run = tmp_path / "unkilled", tmp_path / "run"
        if with_key:
            for folder in (unkilled, run):
                make_with_key(folder)
        every = [*small_overrides, *ROUNDS, *overrides]
        final = federate(grid_over(tiny_data), load("tiny", every), tiny_data, unkilled, tiny_run)
        arguments = ["federate", "tiny", "--data", str(tiny_data), "--run", str(run), "--init", str(tiny_run)]
        return Pair(unkilled, final, run, [*arguments, "--threads", "1", *with_overrides(*every)])

    return pair_of


@pytest.mark.slow
def test_a_federation_killed_again_and_again_ends_as_if_it_had_not_been(
    pair_of: Callable[..., Pair],
    start: Callable[..., Forked],
    killed: Callable[..., None],
    finished: Callable[..., tuple[str, str]],
    kill_when_there: Callable[[Forked, Path], None],
) -> None:
    adaptive = (
        "server_optimizer.name=yogi",
        "server_optimizer.learning_rate=0.01",
        "server_optimizer.momentum=0.5",
    )
    pair = pair_of("rounds.num_rounds=8", *adaptive)
    kill_when_there(start(pair.arguments), pair.run / "checkpoints" / "00000002")
    # While a checkpoint waits to be renamed, after that round's line of metrics was written.
    killed(pair.arguments, ("os.rename", "00000006.new"))
    assert not (pair.run / "checkpoints" / "00000006").exists()
    output, errors = finished(pair.arguments)
    assert "8 rounds (8 changed the model), 40 reports, 0 failures, " in output
    assert "validation loss" in errors + output

    pair.assert_ends_alike()
    newest = pair.run / "checkpoints" / "00000008"
    assert load_file(newest / "model.safetensors").keys() == weights_of(pair.unkilled).keys()


SECURE = ("rounds.secure=true", "rounds.update_norm=0.5")

PRIVATE = (
    "privacy.mode=poisson",
    "privacy.noise_multiplier=0.5",
    "privacy.delta=1e-3",
    "rounds.update_norm=0.5",
)


def test_a_private_run_pays_for_every_round_and_stops_at_its_budget(
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = [*small_overrides, *ROUNDS, *PRIVATE, "rounds.min_reports=1", "rounds.num_rounds=6"]
    run = tmp_path / "run"
    told: list[MetricRecord] = []
    heard = set()

    def listening(message: Message, context: Context) -> Message:
        assert (run / "noise.key").stat().st_mode & 0o777 == 0o600
        heard.add(message.content.config_records[CONFIG]["epsilon"])
        reply = app(message, context)
        told.append(reply.content.metric_records[METRICS])
        return reply

    final = federate(grid_over(tiny_data, listening), load("tiny", overrides), tiny_data, run, tiny_run)
    rows = rounds_of(run)[1:]
    spent = [row["privacy"]["epsilon"] for row in rows]
    assert len(spent) == 6
    assert spent == sorted(spent)
    assert 0 < spent[0] < spent[-1] == final["privacy"]["epsilon"]
    assert heard
    assert heard <= set(spent)  # phones are told, so that they can tell their owners
    assert final["privacy"]["epsilon_at_a_million"] < 0.1 < spent[0]
    assert {row["asked"] for row in rows} != {5}  # a coin for every phone
    assert "federate run: 30 phones in " in capsys.readouterr().err
    assert all(row.keys().isdisjoint({"train_loss", "num_targets", "local_steps"}) for row in rows)
    assert {(each["num-examples"], each["nll"], each["num-steps"]) for each in told} == {(0, 0.0, 0)}
    assert {each["vote"] for each in told} <= {0.5, -0.5}
    assert "local_steps" not in final
    assert not (run / "noise.key").exists()  # with it and two checkpoints the last sum could be computed

    half = [*overrides, f"privacy.epsilon={spent[3]}"]
    stopped = federate(grid_over(tiny_data), load("tiny", half), tiny_data, tmp_path / "half", tiny_run)
    assert stopped["step"] == 4
    assert stopped["privacy"] == rows[3]["privacy"]

    # A stop between two validations is measured, not told of the one before.
    odd, folder = [*overrides, f"privacy.epsilon={spent[2]}"], tmp_path / "odd"
    stopped = federate(grid_over(tiny_data), load("tiny", odd), tiny_data, folder, tiny_run)
    _, _, second, third = rounds_of(folder)
    assert stopped["step"] == 3
    assert "validation_loss" not in third
    assert stopped["validation_loss"] != second["validation_loss"]
    (folder / "done.json").unlink()
    assert federate(grid_over(tiny_data), load("tiny", odd), tiny_data, folder, tiny_run) == stopped

    # What starts from it pays on top of that, which no ledger adds up.
    assert "after_phones" not in final["privacy"]
    assert "has learned from phones" not in caplog.text
    once = load("tiny", [*overrides, "rounds.num_rounds=1"])
    more = federate(grid_over(tiny_data), once, tiny_data, tmp_path / "more", tmp_path / "half")
    assert more["privacy"]["after_phones"]
    assert "half has learned from phones; the ledger counts what this federation adds" in caplog.text

    # Killed when all was done but the final figures, it says the same of what it spent.
    (run / "done.json").unlink()
    again = federate(grid_over(tiny_data, listening), load("tiny", overrides), tiny_data, run, tiny_run)
    assert again == final
    none = [*overrides, "privacy.epsilon=1e-6"]
    with pytest.raises(UserError, match="does not pay for a single round"):
        federate(grid_over(tiny_data), load("tiny", none), tiny_data, tmp_path / "none", tiny_run)
    assert "round 5 would exceed privacy.epsilon" in caplog.text


def test_the_noise_of_a_private_run_is_as_large_as_its_ledger_says(
    tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    once = [*small_overrides, *ROUNDS, "rounds.min_reports=1", "rounds.num_rounds=1", *PRIVATE]
    quiet = load("tiny", [*once, "privacy.noise_multiplier=0.1"])
    run, silent = tmp_path / "run", tmp_path / "silent"
    for folder in (run, silent):  # the same key: the same phones
        make_with_key(folder)
    federate(grid_over(tiny_data), load("tiny", once), tiny_data, run, tiny_run)
    federate(grid_over(tiny_data), quiet, tiny_data, silent, tiny_run)
    without = weights_of(silent)
    noise = torch.cat([(tensor - without[name]).flatten() for name, tensor in weights_of(run).items()])
    assert float(noise.std()) == pytest.approx((0.5 - 0.1) * 0.5 / 5, rel=0.02)  # times clip over cohort


@pytest.mark.slow
def test_a_private_run_killed_again_goes_on_with_the_noise_it_would_have_had(
    pair_of: Callable[..., Pair],
    start: Callable[..., Forked],
    killed: Callable[..., None],
    finished: Callable[..., tuple[str, str]],
    kill_when_there: Callable[[Forked, Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    adaptive = (
        "privacy.clip_quantile=0.5",
        "privacy.vote_noise=0.4",
        "rounds.min_reports=1",
        "rounds.num_rounds=6",
    )
    pair = pair_of(*PRIVATE, *adaptive, with_key=True)
    kill_when_there(start(pair.arguments), pair.run / "checkpoints" / "00000002")
    killed(pair.arguments, ("os.rename", "00000004.new"))
    (pair.run / "noise.key").write_bytes(bytes(32))
    assert fedkey_server(*pair.arguments) == EXIT_MISTAKE
    assert "is not the noise key that this run began with" in capsys.readouterr().err
    (pair.run / "noise.key").write_bytes(bytes(range(32)))
    finished(pair.arguments)
    pair.assert_ends_alike()
    # The clip follows the quantile, but not a round in which the coins asked nobody.
    for row, following in pairwise(rounds_of(pair.run)[1:]):
        assert row["changed"] == (following["privacy"]["clip_norm"] != row["privacy"]["clip_norm"])


@pytest.mark.parametrize("num_deleted", [1, 2])
def test_a_private_round_whose_checkpoint_was_deleted_is_not_done_again(
    num_deleted: int,
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load("tiny", [*small_overrides, *ROUNDS, *PRIVATE, "rounds.min_reports=1"])
    run, append = tmp_path / "run", checkpoint.append_metrics

    def stopping(run: Path, row: dict[str, Any]) -> None:
        append(run, row)
        if row["step"] == 2:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "append_metrics", stopping)
        with pytest.raises(InterruptedError):
            federate(grid_over(tiny_data), config, tiny_data, run, tiny_run)
    newest = checkpoint.latest(run)
    assert newest == run / "checkpoints" / "00000002"
    (newest / "state.json").write_text("{")
    with pytest.raises(UserError, match=r"00000002 cannot be read .*; start another run\.$"):
        federate(grid_over(tiny_data), config, tiny_data, run, tiny_run)
    for number in range(num_deleted):
        shutil.rmtree(run / "checkpoints" / f"{2 - number:08d}")
    with pytest.raises(UserError, match=r"Round 2 of .* has left the server, .*; .* start another run"):
        federate(grid_over(tiny_data), config, tiny_data, run, tiny_run)
    assert rounds_of(run)[-1]["step"] == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (PRIVATE[:3], "set rounds.update_norm"),
        ((*PRIVATE, "aggregation.name=median"), "privacy is accounted for sums"),
        ((*PRIVATE, "privacy.delta=0.1"), "would let a whole phone of"),
        (("rounds.secure=true",), "set rounds.update_norm"),
        ((*SECURE, "rounds.min_reports=1"), "set rounds.min_reports to 2 or more"),
        ((*SECURE, "aggregation.name=krum"), "looks at single updates, which rounds.secure hides"),
        ((*PRIVATE, "fleet.enabled=true"), "with fleet.enabled choose ftrl"),
        ((*PRIVATE, "privacy.mode=ftrl"), "set fleet.enabled or choose poisson"),
        ((*PRIVATE, "rounds.weighed_rows=9"), "asks some phones more often than others"),
        (("fleet.enabled=true", "rounds.weighed_rows=9"), "asks some phones more often than others"),
        (
            (*PRIVATE, "privacy.clip_quantile=0.5"),
            r"privacy.vote_noise 0.05 hides too little of 5 votes at a noise multiplier of 0.5; set it above "
            r"0.05, ask more phones, or set privacy.clip_quantile to 0\.$",
        ),
        (
            ("aggregation.name=krum", "aggregation.num_bad=2"),
            r"aggregation.name 'krum' needs 7 reports, and rounds.phones_per_round is 5; raise it, or lower",
        ),
    ],
)
def test_promises_that_cannot_be_kept_are_refused_in_a_sentence(
    overrides: tuple[str, ...],
    message: str,
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
) -> None:
    def start() -> None:
        config = load("tiny", [*small_overrides, *ROUNDS, *overrides])
        federate(grid_over(tiny_data), config, tiny_data, tmp_path / "run", tiny_run)

    with pytest.raises(UserError, match=message):
        start()
    assert not (tmp_path / "run").exists()


def test_the_secure_sum_is_the_plain_one_and_the_server_never_sees_an_update(
    tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    overrides = [*small_overrides, *ROUNDS, *SECURE, "rounds.num_rounds=2"]
    config, run = load("tiny", overrides), tmp_path / "run"
    seen: list[RecordDict] = []

    def overheard(message: Message, context: Context) -> Message:
        reply = app(message, context)
        seen.append(reply.content)
        return reply

    final = federate(grid_over(tiny_data, overheard), config, tiny_data, run, tiny_run)
    assert (final["reports"], final["changed_rounds"], final["failures"]) == (10, 2, {})
    assert {name for content in seen for name in content} == {"secure-sum", "masked"}
    first = rounds_of(run)[1]
    assert first["num_targets"] > 100  # summed over the phones
    assert first["secure_bytes"]["up"] > 5 * 4 * 40_000

    # The same phones in the open, all of the same weight: a private run without noise worth naming.
    plain, total = tmp_path / "plain", None
    messages: list[dict[str, torch.Tensor]] = []

    def listening(message: Message, context: Context) -> Message:
        reply = app(message, context)
        messages.append(reply.content.array_records[ARRAYS].to_torch_state_dict())
        return reply

    once = load("tiny", [*small_overrides, *ROUNDS, "rounds.update_norm=0.5", "rounds.num_rounds=1"])
    federate(grid_over(tiny_data, listening), once, tiny_data, plain, tiny_run)
    federate(
        grid_over(tiny_data),
        load("tiny", [*overrides, "rounds.num_rounds=1"]),
        tiny_data,
        tmp_path / "one",
        tiny_run,
    )
    start, after = weights_of(tiny_run), weights_of(tmp_path / "one")
    for name, tensor in start.items():
        total = torch.stack([update[name] for update in messages]).mean(dim=0)
        torch.testing.assert_close(after[name] - tensor, total, rtol=0, atol=2e-7)


def test_a_secure_round_goes_on_without_phones_that_fail_and_is_given_up_when_too_many_do(
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = load("tiny", [*small_overrides, *ROUNDS, *SECURE, "rounds.num_rounds=2", "rounds.min_reports=3"])
    failing: dict[int, int] = {1: 1, 2: 4}  # round -> how many phones fail in training

    def train(message: Message, context: Context) -> Message:
        if message.content.config_records["secure-sum"]["stage"] == "mask":
            round_number = int(str(message.content.config_records["config"]["server-round"]))
            if failing[round_number]:
                failing[round_number] -= 1
                raise ConnectionError("the phone went into a tunnel")
        return app(message, context)

    run = tmp_path / "run"
    federate(grid_over(tiny_data, train), config, tiny_data, run, tiny_run)
    first, second = rounds_of(run)[1:]
    assert (first["reports"], first["changed"]) == (4, True)
    assert first["refused"] == {"client app raised exception (mask)": 1}
    assert (second["reports"], second["changed"]) == (0, False)
    assert "round 2 changed nothing: 0 of 5 phones reported, 3 are needed" in caplog.text
    assert "secure aggregation: " in caplog.text


@pytest.mark.parametrize("stage", ["advertise", "share", "mask", "agree", "reveal"])
def test_each_phone_of_a_secure_round_is_booked_once(
    stage: str, tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    class Troubled(InProcessGrid):
        """At one stage two phones raise in either round, and in the second one two more stay silent; all that
        answer say it twice."""

        def send_and_receive(
            self, messages: Iterable[Message], *, timeout: float | None = None
        ) -> Iterator[Message]:
            sent = list(messages)
            if sent[0].metadata.group_id == "2" and stage_of(sent[0]) == stage:
                sent = sent[2:]
            for reply in super().send_and_receive(sent, timeout=timeout):
                yield from (reply, reply)

    def stage_of(message: Message) -> str:
        return str(message.content.config_records["secure-sum"]["stage"])

    raised: dict[str, set[int]] = {"1": set(), "2": set()}

    def train(message: Message, context: Context) -> Message:
        failing = raised[message.metadata.group_id]
        if stage_of(message) == stage and (len(failing) < 2 or context.node_id in failing):
            failing.add(context.node_id)
            raise ConnectionError("the phone went into a tunnel")
        return app(message, context)

    more = ("rounds.num_rounds=2", "rounds.phones_per_round=7", "rounds.min_reports=4")
    config = load("tiny", [*small_overrides, *ROUNDS, *SECURE, *more])
    final = federate(grid_over(tiny_data, train, Troubled), config, tiny_data, tmp_path / "run", tiny_run)
    first, second = rounds_of(tmp_path / "run")[1:]
    asked = "replayed or not asked for"
    first["refused"].pop(asked)
    second["refused"].pop(asked)
    raised_there = {f"client app raised exception ({stage})": 2}
    is_left_out = stage in ("advertise", "share", "mask")
    assert (first["asked"], first["reports"], first["silent"]) == (7, 5 if is_left_out else 7, 0)
    assert first["refused"] == raised_there
    assert (second["reports"], second["silent"], second["changed"]) == (0, 2, False)
    assert second["refused"] == raised_there
    ((reason, in_vain),) = second["lost"].items()
    assert reason.startswith("for nothing: ")
    assert second["asked"] == 7 == 2 + 2 + in_vain
    told = final["failures"]
    assert sum(told.values()) - told[asked] == 7 + 2


def test_a_secure_round_that_coins_made_too_large_is_left_out_and_the_run_goes_on(
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides = [*small_overrides, *ROUNDS, *PRIVATE, "rounds.secure=true", "rounds.min_reports=2"]
    make_with_key(tmp_path / "run")
    monkeypatch.setattr("fedkey_server.strategy.LARGEST_COHORT", 5)
    federate(grid_over(tiny_data), load("tiny", overrides), tiny_data, tmp_path / "run", tiny_run)
    rows = rounds_of(tmp_path / "run")[1:]
    assert {row["changed"] for row in rows} == {True, False}
    for row in rows:
        assert row["changed"] == (2 <= row["asked"] <= 5)
        if row["asked"] > 5:
            assert row["lost"] == {"for nothing: too many phones were asked": row["asked"]}
    assert max(row["asked"] for row in rows) > 5


def test_secure_and_private_go_together_and_phones_say_nothing_of_their_training(
    tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    base = [*small_overrides, *ROUNDS, *PRIVATE, "rounds.num_rounds=2", "rounds.min_reports=2"]
    runs = {}
    for name, secure in (("open", ()), ("secure", ("rounds.secure=true",))):
        run = runs[name] = tmp_path / name
        make_with_key(run)
        federate(grid_over(tiny_data), load("tiny", [*base, *secure]), tiny_data, run, tiny_run)
    assert "num_targets" not in rounds_of(runs["secure"])[1]
    assert rounds_of(runs["secure"])[2]["privacy"] == rounds_of(runs["open"])[2]["privacy"]
    plain = weights_of(runs["open"])
    for name, tensor in weights_of(runs["secure"]).items():  # the same noise; what differs is rounding
        torch.testing.assert_close(tensor, plain[name], rtol=0, atol=1e-4)


FLEET = (
    "fleet.enabled=true",
    "fleet.availability=0.5",
    "fleet.min_separation=3",
    "rounds.phones_per_round=4",
    "rounds.min_reports=2",
    "rounds.update_norm=0.5",
    "rounds.num_rounds=6",
)


def test_in_a_fleet_only_phones_that_report_are_asked_to_train_and_the_ledger_says_what_it_cost(
    tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    config = load("tiny", [*small_overrides, *ROUNDS, *FLEET])
    trained: dict[int, list[int]] = {}

    def noting(message: Message, context: Context) -> Message:
        settings = message.content.config_records["config"]
        trained.setdefault(int(str(settings["server-round"])), []).append(int(str(settings["phone"])))
        return app(message, context)

    run = tmp_path / "run"
    federate(grid_over(tiny_data, noting), config, tiny_data, run, tiny_run)
    rows = rounds_of(run)[1:]
    for row in rows:
        assert row["asked"] == row["reports"] + row["silent"] + sum(row["lost"].values())
        assert row["reports"] == len(trained.get(row["step"], ())) <= 4
    assert any(sum(row["lost"].values()) for row in rows)
    clock = [row["fleet"]["clock"] for row in rows]
    assert clock == sorted(clock)
    assert clock[0] > 0
    for number, phones in trained.items():
        for other, others in trained.items():
            if 0 < other - number < 3:
                assert not set(phones) & set(others)


def test_a_private_fleet_goes_on_after_a_kill_with_its_clock_its_rests_and_its_noise(
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    cut_at_checkpoint: Callable[[Callable[[], object]], None],
) -> None:
    private = ("privacy.mode=ftrl", "privacy.noise_multiplier=2.0", "privacy.delta=1e-3")
    config = load("tiny", [*small_overrides, *ROUNDS, *FLEET, *private])
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        make_with_key(folder)
    expected = federate(grid_over(tiny_data), config, tiny_data, whole, tiny_run)
    for _ in range(3):
        cut_at_checkpoint(lambda: federate(grid_over(tiny_data), config, tiny_data, cut, tiny_run))
    assert federate(grid_over(tiny_data), config, tiny_data, cut, tiny_run) == expected
    assert rounds_of(cut) == rounds_of(whole)
    assert_equal_weights(whole, cut)
    assert rounds_of(cut)[-1]["privacy"]["min_separation"] == 3


Fault = Callable[[Message, Context], Message]


def raises(message: Message, context: Context) -> Message:
    raise ConnectionError("the phone went into a tunnel")


def changed_reply(change: Callable[[RecordDict], None]) -> Fault:
    def train(message: Message, context: Context) -> Message:
        reply = app(message, context)
        change(reply.content)
        return reply

    return train


def set_weights(content: RecordDict, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = content.array_records[ARRAYS].to_torch_state_dict()
    change(weights)
    content[ARRAYS] = ArrayRecord(weights)


FAULTS: dict[str, tuple[Fault, str]] = {
    "an exception": (raises, "client app raised exception"),
    "a weight that is no number": (
        changed_reply(lambda c: set_weights(c, lambda w: w["model.norm.weight"].fill_(float("nan")))),
        "not finite",
    ),
    "an infinite loss": (
        changed_reply(lambda c: c.metric_records[METRICS].update({"nll": float("inf")})),
        "not finite",
    ),
    "a missing parameter": (
        changed_reply(lambda c: set_weights(c, lambda w: w.pop("model.norm.weight"))),
        "wrong shapes",
    ),
    "a parameter of another size": (
        changed_reply(lambda c: set_weights(c, lambda w: w.update({"model.norm.weight": torch.ones(3)}))),
        "wrong shapes",
    ),
    "whole numbers, which have no norm": (
        changed_reply(
            lambda c: set_weights(c, lambda w: w.update({"model.norm.weight": w["model.norm.weight"].long()}))
        ),
        "wrong types",
    ),
    "a negative weight in the average": (
        changed_reply(lambda c: c.metric_records[METRICS].update({"num-examples": -5})),
        "nothing to train on",
    ),
    "no weights": (changed_reply(lambda c: c.pop(ARRAYS)), "malformed reply"),
    "no sums": (changed_reply(lambda c: c.pop(METRICS)), "malformed reply"),
    "a list for a number": (
        changed_reply(lambda c: c.metric_records[METRICS].update({"nll": [1.0, 2.0]})),
        "malformed reply",
    ),
    "bytes that are no array": (
        changed_reply(lambda c: setattr(c.array_records[ARRAYS]["model.norm.weight"], "data", b"PK\x03\x04")),
        "malformed reply",
    ),
    "an update longer than asked for": (
        changed_reply(lambda c: set_weights(c, lambda w: [tensor.mul_(1000) for tensor in w.values()])),
        "oversized update",
    ),
    "another round's update": (
        changed_reply(lambda c: c.metric_records[METRICS].update({"server-round": 0})),
        "late, from another round",
    ),
    "a vote for two": (
        changed_reply(lambda c: c.metric_records[METRICS].update({"vote": 1.0})),
        "a vote that is none",
    ),
    "empty metrics": (changed_reply(lambda c: c.update({METRICS: MetricRecord()})), "malformed reply"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_phone_is_counted_by_reason_and_left_out(
    fault: str, tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    config = replace(config, rounds=replace(config.rounds, num_rounds=1, update_norm=1.0))
    num_phones = len(Phones.load(tiny_data / "phones.npz"))
    bad = cohort(config.rounds.seed, 1, num_phones, 5)[2]
    client, reason = FAULTS[fault]

    def train(message: Message, context: Context) -> Message:
        return (client if context.node_config["partition-id"] == bad else app)(message, context)

    final = federate(grid_over(tiny_data, train), config, tiny_data, tmp_path / "run", tiny_run)
    row = rounds_of(tmp_path / "run")[-1]
    assert (row["asked"], row["reports"], row["refused"], row["silent"]) == (5, 4, {reason: 1}, 0)
    assert final["failures"] == {reason: 1}
    assert row["changed"]
    assert all(tensor.isfinite().all() for tensor in weights_of(tmp_path / "run").values())
    assert row["validation_loss"] < rounds_of(tmp_path / "run")[0]["validation_loss"]


def test_what_a_bad_phone_says_is_told_once(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def train(message: Message, context: Context) -> Message:
        return (raises if message.content.config_records["config"]["phone"] % 4 == 1 else app)(
            message, context
        )

    config = replace(config, rounds=replace(config.rounds, min_reports=1))
    final = federate(grid_over(tiny_data, train), config, tiny_data, tmp_path / "run", tiny_run)
    assert final["failures"]["client app raised exception"] > 1
    (told,) = [record.getMessage() for record in caplog.records if "did without some phones" in record.msg]
    assert "client app raised exception: ConnectionError: the phone went into a tunnel" in told


def test_a_round_with_too_few_reports_changes_nothing_and_the_run_goes_on(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def train(message: Message, context: Context) -> Message:
        is_second_round = message.content.config_records["config"]["server-round"] == 2
        return (raises if is_second_round else app)(message, context)

    run = tmp_path / "run"
    final = federate(grid_over(tiny_data, train), config, tiny_data, run, tiny_run)
    _, first, second, third = rounds_of(run)
    assert [row["changed"] for row in (first, second, third)] == [True, False, True]
    assert second["refused"] == {"client app raised exception": 5}
    assert (final["changed_rounds"], final["reports"]) == (2, 10)
    after_first, after_second = (tmp_path / name / "run" for name in ("one", "two"))
    for folder, num_rounds in ((after_first, 1), (after_second, 2)):
        shorter = replace(config, rounds=replace(config.rounds, num_rounds=num_rounds))
        federate(grid_over(tiny_data, train), shorter, tiny_data, folder, tiny_run)
    assert_equal_weights(after_first, after_second)
    assert (
        "round 2 changed nothing: 0 of 5 phones reported, 3 are needed "
        "(5 client app raised exception; client app raised exception: "
        "ConnectionError: the phone went into a tunnel)"
    ) in caplog.messages


def test_phones_that_stay_silent_are_counted(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    class Losing(InProcessGrid):
        def send_and_receive(
            self, messages: Iterable[Message], *, timeout: float | None = None
        ) -> Iterator[Message]:
            return super().send_and_receive(list(messages)[2:], timeout=timeout)

    grid = grid_over(tiny_data, kind=Losing)
    final = federate(grid, config, tiny_data, tmp_path / "run", tiny_run)
    assert final["failures"] == {"silent": 6}
    assert [row["silent"] for row in rounds_of(tmp_path / "run")[1:]] == [2, 2, 2]


def test_a_federation_that_nobody_answers_says_so(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    class Deaf(InProcessGrid):
        def send_and_receive(
            self, messages: Iterable[Message], *, timeout: float | None = None
        ) -> Iterator[Message]:
            return super().send_and_receive((), timeout=timeout)

    grid = grid_over(tiny_data, kind=Deaf)
    with pytest.raises(UserError, match=r"because too few phones reported \(15 silent\); mend that"):
        federate(grid, config, tiny_data, tmp_path / "run", tiny_run)


def test_how_fast_a_machine_is_changes_nothing(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    hurried = replace(config, rounds=replace(config.rounds, timeout=1e-9))
    for name, settings in (("patient", config), ("hurried", hurried)):
        federate(grid_over(tiny_data), settings, tiny_data, tmp_path / name, tiny_run)
    assert_equal_weights(tmp_path / "patient", tmp_path / "hurried")


def test_a_phone_that_answers_twice_counts_once(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    class Echoing(InProcessGrid):
        def send_and_receive(
            self, messages: Iterable[Message], *, timeout: float | None = None
        ) -> Iterator[Message]:
            for reply in super().send_and_receive(messages, timeout=timeout):
                yield from (reply, reply)

    grid = grid_over(tiny_data, kind=Echoing)
    final = federate(grid, config, tiny_data, tmp_path / "run", tiny_run)
    assert final["failures"] == {"replayed or not asked for": 15}
    assert [(row["reports"], row["silent"]) for row in rounds_of(tmp_path / "run")[1:]] == [(5, 0)] * 3
    federate(grid_over(tiny_data), config, tiny_data, tmp_path / "plain", tiny_run)
    assert_equal_weights(tmp_path / "plain", tmp_path / "run")


def test_a_federation_in_which_all_fail_ends_in_one_sentence_and_status_2(
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["federate", "tiny", "--data", tiny_data, "--run", tmp_path / "run", "--init", tiny_run]
    arguments += with_overrides(*small_overrides, *ROUNDS, "rounds.client_learning_rate=1e38")
    for _ in range(2):  # starting it again does not turn it into a success
        assert fedkey_server(*arguments) == EXIT_MISTAKE
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("fedkey-server: No round of ")
        assert "because too few phones reported (15 not finite); mend that" in last
    assert not (tmp_path / "run" / "done.json").exists()


def test_a_federation_whose_model_is_lost_ends_in_one_sentence(
    tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    # Adam's step times the rate is more than a float32 holds in a second round.
    config = load("tiny", [*small_overrides, *ROUNDS, "server_optimizer.name=adam"])
    lost = replace(config, server_optimizer=replace(config.server_optimizer, learning_rate=3e38))
    with pytest.raises(UserError, match=r"^The federation diverged: .* lower server_optimizer.learning_rate"):
        federate(grid_over(tiny_data), lost, tiny_data, tmp_path / "run", tiny_run)
    assert not (tmp_path / "run" / "done.json").exists()


@pytest.mark.parametrize("rule", ["mean", "median", "trimmed_mean", "krum"])
def test_one_boosted_attacker_is_held_by_a_bound_and_by_robust_rules(
    rule: str, tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    attacker = cohort(config.rounds.seed, 1, len(Phones.load(tiny_data / "phones.npz")), 5)[0]

    def train(message: Message, context: Context) -> Message:
        reply = app(message, context)
        if context.node_config["partition-id"] == attacker:
            bound = float(str(message.content.config_records["config"]["rounds.update_norm"]))
            length = bound or 1000.0  # as long as it may
            away = {
                name: -torch.ones_like(tensor)
                for name, tensor in message.content.array_records[ARRAYS].to_torch_state_dict().items()
            }
            scale = length / norm_of(away) * 0.999
            reply.content[ARRAYS] = ArrayRecord({name: tensor * scale for name, tensor in away.items()})
            reply.content.metric_records[METRICS]["num-examples"] = 10**9  # and lies about how much it weighs
        return reply

    one = replace(config, rounds=replace(config.rounds, num_rounds=1))
    losses = {}
    for bound in (0.0, 1.0):
        run = tmp_path / str(bound)
        bounded = replace(
            one,
            rounds=replace(one.rounds, update_norm=bound),
            aggregation=replace(config.aggregation, name=rule, trimmed_share=0.2),
        )
        federate(grid_over(tiny_data, train), bounded, tiny_data, run, tiny_run)
        start, after = rounds_of(run)
        losses[bound] = after["validation_loss"] - start["validation_loss"]
    assert losses[1.0] < 0
    if rule == "mean":
        assert losses[0.0] > 1.0  # without a bound one phone ruins the model
    else:
        assert losses[0.0] < 0


def test_fewer_phones_than_reports_needed_is_refused_at_once(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    grid = InProcessGrid(app, 2, {"data": str(tiny_data), "simulation": True})
    with pytest.raises(UserError, match=r"There are 2 phones, and rounds.min_reports asks for 3 reports"):
        federate(grid, config, tiny_data, tmp_path / "run", tiny_run)
    one = replace(config.rounds, min_reports=1)
    krum = replace(config, rounds=one, aggregation=replace(config.aggregation, name="krum"))
    with pytest.raises(
        UserError, match=r"There are 2 phones, and aggregation.name 'krum' asks for 5 reports"
    ):
        federate(grid, krum, tiny_data, tmp_path / "run", tiny_run)
    assert not (tmp_path / "run").exists()


def test_authors_can_be_played_by_many_phones(
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["federate", "tiny", "--data", tiny_data, "--run", tmp_path / "run", "--init", tiny_run]
    few = (
        "rounds.num_rounds=2",
        # Who comes is drawn from the operating system's randomness: five on the average, fewer than three in
        # both rounds once in sixty runs.
        "rounds.min_reports=1",
        "privacy.delta=1e-6",
        "privacy.mode=poisson",
        "privacy.noise_multiplier=1",
    )
    overrides = with_overrides(*small_overrides, *ROUNDS, *few, "rounds.update_norm=0.5")
    assert fedkey_server(*arguments, *overrides, "--population", "100000") == 0
    rows = rounds_of(tmp_path / "run")[1:]
    assert 0 < rows[1]["privacy"]["epsilon"] < 1  # a hundred thousand share the noise
    assert rows[0]["privacy"]["sampling_rate"] == 5 / 100_000
    assert fedkey_server(*arguments, *overrides, "--population", "100") == EXIT_MISTAKE
    assert "holds a run with other settings (num_phones was 100000 and is now 100)" in capsys.readouterr().err
    assert fedkey_server(*arguments, *overrides, "--population", "10") == EXIT_MISTAKE
    assert "--population must be at least" in capsys.readouterr().err


def test_a_run_goes_on_with_other_settings_that_it_does_not_read(
    tiny_run: Path, tiny_data: Path, config: Config, small_overrides: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    final = federate(grid_over(tiny_data), config, tiny_data, run, tiny_run)
    unread = ("rounds.timeout=9", "rounds.exchange_timeout=9", "train.compile=true", "train.num_steps=9")
    unread += ("count.seed=3", "sketch.width=99", "train.learning_rate=1")
    other = load("tiny", [*small_overrides, *ROUNDS, *unread])
    assert federate(grid_over(tiny_data), other, tiny_data, run, tiny_run) == final
    read = load("tiny", [*small_overrides, *ROUNDS, "train.z_penalty=0.5"])
    with pytest.raises(UserError, match=r"train.z_penalty was 0.001 and is now 0.5"):
        federate(grid_over(tiny_data), read, tiny_data, run, tiny_run)


def test_a_second_process_is_kept_off_a_run_and_touches_nothing_of_it(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    run = tmp_path / "run"

    def cut(message: Message, context: Context) -> Message:
        if message.content.config_records[CONFIG]["server-round"] == 3:
            raise KeyboardInterrupt
        return app(message, context)

    with pytest.raises(KeyboardInterrupt):
        federate(grid_over(tiny_data, cut), config, tiny_data, run, tiny_run)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3}\n')  # what goes on here takes back
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with checkpoint.hold(run), pytest.raises(UserError, match="Another process is at work on"):
        federate(grid_over(tiny_data), config, tiny_data, run, tiny_run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert federate(grid_over(tiny_data), config, tiny_data, run, tiny_run)["step"] == 3
    assert [row["step"] for row in rounds_of(run)] == [0, 1, 2, 3]


def test_weights_that_are_no_numbers_are_no_start(
    tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    init = Path(shutil.copytree(tiny_run, tmp_path / "init"))
    start = checkpoint.load(init)
    start.weights["model.norm.weight"][0] = torch.inf
    checkpoint.save(init, start.step + 1, start.weights, {}, {}, start.model_config)
    with pytest.raises(UserError, match=r"init holds weights that are no numbers; start from another\."):
        federate(grid_over(tiny_data), config, tiny_data, tmp_path / "run", init)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["model.num_layers=1"], r"run holds a model of another shape than the preset; choose the preset"),
        (
            ["model.vocab_size=1000", "tokenizer.vocab_size=1000"],
            r"data was prepared in 400 pieces, and model\.vocab_size is 1,000; choose the preset that it was",
        ),
        (["fleet.enabled=true"], r"^fleet\.enabled simulates the \d+ phones of .*, but 3 nodes are there; "),
        (SECURE, r"^Cannot read the registry of phones absent\.json: "),
    ],
)
def test_a_start_that_is_refused_leaves_no_folder_in_the_way_of_the_right_one(
    change: Sequence[str],
    message: str,
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
) -> None:
    told = [*small_overrides, *ROUNDS, "rounds.phones_per_round=3", "rounds.num_rounds=1"]
    grid = InProcessGrid(app, 3, {"data": str(tiny_data), "simulation": True})
    run, init = tmp_path / "run", tiny_run
    if "model.vocab_size=1000" in change:  # a start of this shape, which shares the folder's tokenizer
        init = Path(shutil.copytree(tiny_run, tmp_path / "init"))
        larger = load("tiny", [*told, *change]).model
        checkpoint.save(init, 61, Model(larger).state_dict(), {}, {}, larger)
    with pytest.raises(UserError, match=message):
        federate(
            grid, load("tiny", [*told, *change]), tiny_data, run, init,
            lambda _: read_registry(Path("absent.json")),
        )  # fmt: skip
    assert not run.exists()
    assert federate(grid, load("tiny", told), tiny_data, run, tiny_run)["step"] == 1


@pytest.mark.parametrize("changed", ["phones.npz", "validation.npz", "tokenizer.model"])
def test_a_run_does_not_go_on_with_other_data(
    changed: str, tiny_run: Path, tiny_data: Path, config: Config, tmp_path: Path
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(tiny_data, data)
    short = replace(config, rounds=replace(config.rounds, num_rounds=1))
    federate(grid_over(data), short, data, run, tiny_run)
    (run / "done.json").unlink()
    grid = grid_over(data)
    (data / changed).write_bytes(b"other text")
    with pytest.raises(UserError, match=rf"other settings \(its {changed} was another\)"):
        federate(grid, short, data, run, tiny_run)


@pytest.mark.parametrize(
    "kind", [(), SECURE, PRIVATE, (*FLEET, "privacy.mode=ftrl", "privacy.noise_multiplier=1.0")]
)
def test_nothing_that_a_phone_typed_or_found_is_left_in_the_run_folder_or_the_log(
    kind: tuple[str, ...],
    tiny_run: Path,
    tiny_data: Path,
    chat_file: Path,
    small_overrides: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    updates: list[bytes] = []

    def overhearing(message: Message, context: Context) -> Message:
        reply = app(message, context)
        for record in reply.content.array_records.values():
            updates.extend(array.data[200:232] for array in record.values())
        return reply

    few = ("privacy.delta=1e-3", "rounds.num_rounds=2", "rounds.min_reports=2")
    config = load("tiny", [*small_overrides, *ROUNDS, *kind, *few])
    run = tmp_path / "run"
    with caplog.at_level("DEBUG"):
        federate(grid_over(tiny_data, overhearing), config, tiny_data, run, tiny_run)
    names = {path.relative_to(run).parts[0] for path in run.rglob("*") if path.is_file()}
    assert names - {"lock"} == {
        "config.json", "tokenizer.model", "lexicon.tsv", "dictionary.txt", "sources.json", "metrics.jsonl",
        "checkpoints", "done.json",
    }  # fmt: skip
    left = b"".join(path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file())
    left += caplog.text.encode()
    assert len(updates) > 4
    assert not any(update in left for update in updates if any(update))
    typed = [json.loads(line)["text"] for line in chat_file.read_text().splitlines()]
    sentences = {text for text in typed if text.count(" ") > 2}
    assert len(sentences) > 100
    assert not any(text.encode() in left for text in sentences)
    owners = Phones.load(tiny_data / "phones.npz").names
    written = (run / "metrics.jsonl").read_text() + (run / "done.json").read_text() + caplog.text
    assert not any(name in written for name in owners)
