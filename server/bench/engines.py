"""What an engine costs beside the phones' training: ours, in process, and Flower's on Ray.

In: nothing. Out: a table on standard output. Next stop: `server/EXPERIMENTS.md`.

    python server/bench/engines.py [--phones N] [--rounds N] [--no-ray]

1. A phone that trains nothing: it reads the weights and writes an update. Processor time a phone, of the
   server and the phones, over three federations: ours in process; ours on Ray; and Ray as its users have it,
   with Flower's FedAvg and Flower's records. What the same phone costs on plain tensors, without messages,
   is its own; what is left is the overhead. It holds whatever the server does with the replies.
2. A phone of the phone preset that trains, through our engine and plainly.

Processor time is that of the whole tree of processes. A round is one sample; the first of a federation, in
which Ray starts its workers, does not count. Ours is measured before, between and after Ray's, because a
machine's speed wanders from minute to minute.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from statistics import median

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch import Tensor

from fedkey_server.batches import Documents
from fedkey_server.client_app import ARRAYS, CONFIG, METRICS, flatten
from fedkey_server.config import Config, load
from fedkey_server.grid import Client, InProcessGrid
from fedkey_server.model import Model
from fedkey_server.records import from_record, lend, record_in, to_record
from fedkey_server.rounds import client_update
from fedkey_server.selection import Cohort
from fedkey_server.strategy import SeededFedAvg

SHAPE = ("model.width=256", "model.vocab_size=5120", "tokenizer.vocab_size=5120", "model.hidden_width=640")
"""3.4 million parameters."""

Tick = Callable[[], None]
"""Called when a round begins and when the last one ends."""


def config_of(phones_per_round: int) -> Config:
    """The tiny preset at the size that Flower's engine was measured with."""
    return load("tiny", [*SHAPE, f"rounds.phones_per_round={phones_per_round}", "rounds.min_reports=1"])


def nothing(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a phone that trains nothing does: an update of the weights' shapes, every page of it written."""
    return {name: torch.full_like(tensor, 1e-6) for name, tensor in weights.items()}


def reply_to(message: Message, update: Mapping[str, Tensor]) -> Message:
    """A reply as our ClientApp's."""
    settings = record_in(message.content, CONFIG, ConfigRecord)
    said = {"num-examples": 1, "nll": 1.0, "num-steps": 1, "vote": 0.5}
    metrics = MetricRecord({**said, "server-round": int(str(settings["server-round"]))})
    return Message(RecordDict({ARRAYS: lend(update), METRICS: metrics}), reply_to=message)


def idle(message: Message, context: Context) -> Message:
    """The phone that trains nothing, in our federation."""
    return reply_to(message, nothing(from_record(record_in(message.content, ARRAYS, ArrayRecord))))


def flowers_idle(message: Message, context: Context) -> Message:
    """The same as Flower's own examples write it."""
    weights = message.content.array_records[ARRAYS].to_torch_state_dict()
    metrics = MetricRecord({"num-examples": 1, "nll": 1.0})
    content = RecordDict({ARRAYS: ArrayRecord(nothing(weights)), METRICS: metrics})
    return Message(content, reply_to=message)


def play(grid: Grid, config: Config, num_rounds: int, tick: Tick = lambda: None) -> None:
    """Rounds of our federation; as in `fedkey_server.server_app`, the server's model holds the weights."""
    model = Model(config.model)
    strategy = SeededFedAvg(config, Cohort(config.rounds))
    settings = ConfigRecord(flatten(config.rounds, "rounds"))
    tick()
    for number in range(1, num_rounds + 1):
        arrays = to_record(model.state_dict())
        new = strategy.run_round(number, arrays, settings, grid, lambda count: None)
        assert new is not None
        assert strategy.result.reports == config.rounds.phones_per_round
        model.load_state_dict(from_record(new))
        tick()


def play_flowers(grid: Grid, config: Config, num_rounds: int, tick: Tick) -> None:
    """Rounds of Flower's own federated averaging."""
    num_phones = config.rounds.phones_per_round
    strategy = FedAvg(
        fraction_evaluate=0.0, min_train_nodes=num_phones, min_available_nodes=num_phones,
        arrayrecord_key=ARRAYS, configrecord_key=CONFIG,
    )  # fmt: skip

    def after_a_round(number: int, arrays: ArrayRecord) -> MetricRecord | None:
        tick()
        return None

    start = ArrayRecord(Model(config.model).state_dict())
    result = strategy.start(grid, start, num_rounds, evaluate_fn=after_a_round)
    assert len(result.train_metrics_clientapp) == num_rounds


Play = Callable[[Grid, Config, int, Tick], None]


RAYS: tuple[tuple[str, Client, Play], ...] = (
    ("our strategy and records on Ray", idle, play),
    ("Flower's FedAvg and records on Ray", flowers_idle, play_flowers),
)


def in_process(config: Config, num_rounds: int) -> list[float]:
    """Milliseconds a phone, of each round."""
    ticks: list[float] = []
    grid = InProcessGrid(idle, config.rounds.phones_per_round, {})
    play(grid, config, 1 + num_rounds, lambda: ticks.append(time.process_time()))
    return _a_phone(ticks, config)


def on_ray(client: Client, play: Play, config: Config, num_rounds: int) -> list[float]:
    """Milliseconds a phone, of each round."""
    # A process of its own, which ends with everything that Ray started; forked, because Ray's workers get
    # this script's functions by value only if it is the main module.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as apart:
        try:
            return _a_phone(apart.submit(_ticks_on_ray, client, play, config, num_rounds).result(), config)
        except BaseException:  # interrupted, Flower's simulation waits for replies that nobody will send
            for process in multiprocessing.active_children():
                process.kill()  # Ray's end soon after it
            raise


def _a_phone(ticks: list[float], config: Config) -> list[float]:
    """Milliseconds between two ticks but the first two, a phone."""
    return [1000 * (after - before) / config.rounds.phones_per_round for before, after in pairwise(ticks[1:])]


def _ticks_on_ray(client: Client, play: Play, config: Config, num_rounds: int) -> list[float]:
    from flwr.simulation import run_simulation

    num_phones = config.rounds.phones_per_round
    app, server, ticks = ClientApp(), ServerApp(), []
    app.train()(client)

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        while len(list(grid.get_node_ids())) < num_phones:
            time.sleep(0.2)
        play(grid, config, 1 + num_rounds, lambda: ticks.append(_seconds_of_tree(os.getpid())))

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, app, num_phones, backend_config=resources)
    assert len(ticks) == 2 + num_rounds
    return ticks


def _seconds_of_tree(root: int) -> float:
    """Processor time of a process and all its descendants, those that have ended included."""
    used: dict[int, tuple[int, int]] = dict(_processes())
    inside = {root}
    while new := {pid for pid, (parent, _) in used.items() if parent in inside} - inside:
        inside |= new
    return sum(used[pid][1] for pid in inside) / os.sysconf("SC_CLK_TCK")


def _processes() -> Iterator[tuple[int, tuple[int, int]]]:
    """Process -> its parent, and clock ticks used by it and by its ended children."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
        yield int(path.parent.name), (int(fields[1]), sum(map(int, fields[11:15])))


def by_itself(config: Config, num_calls: int) -> list[float]:
    """Milliseconds that the phone's own work takes, on plain tensors. It is asked for after the engine has
    run, when the allocator keeps the pages it has: in a fresh process page faults make 5 ms of 1."""
    weights = {name: tensor.detach() for name, tensor in Model(config.model).state_dict().items()}

    def timed() -> float:
        start = time.process_time()
        nothing(weights)
        return 1000 * (time.process_time() - start)

    return [timed() for _ in range(1 + num_calls)][1:]


def training(num_phones: int) -> tuple[float, float]:
    """Seconds a phone of the phone preset, through our engine and plainly."""
    config = load(
        "phone", ["rounds.batch_rows=8", f"rounds.phones_per_round={num_phones}", "rounds.min_reports=1"]
    )
    window = config.model.window
    rng = np.random.default_rng(1)
    rows = 16
    ids = rng.integers(4, config.model.vocab_size, rows * window).astype(np.int32)
    texts = Documents(ids, np.ones(len(ids), np.bool_), np.arange(rows + 1) * window)
    model = Model(config.model)

    def work() -> dict[str, Tensor]:
        return client_update(model, texts, config.rounds, 1e-3, np.random.default_rng(0)).update

    def client(message: Message, context: Context) -> Message:
        model.load_state_dict(from_record(record_in(message.content, ARRAYS, ArrayRecord)))
        return reply_to(message, work())

    def seconds(run: Callable[[], object]) -> float:
        start = time.process_time()
        run()
        return (time.process_time() - start) / num_phones

    work()
    plain = seconds(lambda: [work() for _ in range(num_phones)])
    through = seconds(lambda: play(InProcessGrid(client, num_phones, {}), config, 1))
    return through, plain


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--phones", type=int, default=50, help="in a round (default 50)")
    parser.add_argument("--rounds", type=int, default=4, help="measured (default 4)")
    parser.add_argument("--no-ray", action="store_true", help="our engine alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = config_of(arguments.phones)
    num_parameters = sum(parameter.numel() for parameter in Model(config.model).parameters())
    print(f"{num_parameters:,} parameters, {arguments.phones} phones a round, {arguments.rounds} rounds")
    rounds, works, on_rays = in_process(config, arguments.rounds), by_itself(config, arguments.phones), {}
    for name, client, federation in () if arguments.no_ray else RAYS:
        on_rays[name] = on_ray(client, federation, config, arguments.rounds)
        rounds += in_process(config, arguments.rounds)
        works += by_itself(config, arguments.phones)
    own = median(works)
    print("processor time of a phone that trains nothing: median of the rounds (least), overhead")
    print(f"  {'on plain tensors':44}{own:7.1f} ms")
    ours = _show("ours, in process", rounds, own)
    for name, milliseconds in on_rays.items():
        rays = _show(name, milliseconds, own)
        print(f"  {'its overhead to ours in process':44}{rays / ours:7.1f}", flush=True)
    through, plain = training(8)
    print(f"a phone that trains, in process{1000 * through:22.0f} ms")
    print(f"its training alone{1000 * plain:35.0f} ms, ratio {through / plain:.2f}")


def _show(name: str, milliseconds: list[float], own: float) -> float:
    """Prints a row; returns the overhead."""
    overhead = median(milliseconds) - own
    print(f"  {name:44}{median(milliseconds):7.1f} ms ({min(milliseconds):.1f}), {overhead:.1f}", flush=True)
    return overhead


if __name__ == "__main__":
    main()
