"""What an engine costs beside the phones' training: ours, in process, and Flower's on Ray.

In: nothing. Out: a table on standard output. Next stop: `server/EXPERIMENTS.md`.

    python server/bench/engines.py [--phones N] [--rounds N] [--no-ray]

1. A client that loads the weights and answers without training, in rounds over both engines with the same
   strategy: processor time a phone, of this process and all its children. The same client called directly,
   without engine and server, is its own cost; what is left is the overhead, of which the server's reading,
   checking and adding up are a part on both engines.
2. A phone of the phone preset that trains, through our engine and plainly: processor time of either.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedkey_server.batches import Documents
from fedkey_server.client_app import ARRAYS, CONFIG, METRICS, flatten
from fedkey_server.config import Config, load
from fedkey_server.grid import InProcessGrid
from fedkey_server.model import Model
from fedkey_server.records import from_record, lend, record_in, to_record
from fedkey_server.rounds import client_update
from fedkey_server.selection import Uniform
from fedkey_server.strategy import SeededFedAvg

SHAPE = ("model.width=256", "model.vocab_size=5120", "tokenizer.vocab_size=5120", "model.hidden_width=640")
"""3.4 million parameters."""


def config_of(phones_per_round: int) -> Config:
    """The tiny preset at the size that Flower's engine was measured with."""
    return load("tiny", [*SHAPE, f"rounds.phones_per_round={phones_per_round}", "rounds.min_reports=1"])


def idle(message: Message, context: Context) -> Message:
    """Loads the weights, changes nothing, reports."""
    settings = record_in(message.content, CONFIG, ConfigRecord)
    weights = from_record(record_in(message.content, ARRAYS, ArrayRecord))
    update = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    said = {"num-examples": 1, "nll": 1.0, "num-steps": 1, "vote": 0.5}
    metrics = MetricRecord({**said, "server-round": int(str(settings["server-round"]))})
    return Message(RecordDict({ARRAYS: lend(update), METRICS: metrics}), reply_to=message)


def processor_seconds() -> float:
    """Of this process and the children that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def start_of(config: Config) -> ArrayRecord:
    """The server's weights before the first round."""
    return to_record(Model(config.model).state_dict())


def settings_of(config: Config) -> ConfigRecord:
    """What a round's messages say."""
    return ConfigRecord(flatten(config.rounds, "rounds"))


def play(grid: Grid, config: Config, weights: ArrayRecord, num_rounds: int) -> int:
    """Rounds; returns the reports."""
    strategy = SeededFedAvg(config, Uniform(config.rounds))
    settings = settings_of(config)
    reports = 0
    for number in range(1, num_rounds + 1):
        new = strategy.run_round(number, weights, settings, grid, lambda count: None)
        assert new is not None
        weights, reports = new, reports + strategy.result.reports
    return reports


def in_process(config: Config, num_rounds: int) -> float:
    """Milliseconds a phone."""
    grid = InProcessGrid(idle, config.rounds.phones_per_round, {})
    weights = start_of(config)
    play(grid, config, weights, 1)
    start = processor_seconds()
    reports = play(grid, config, weights, num_rounds)
    return 1000 * (processor_seconds() - start) / reports


def by_itself(config: Config, num_rounds: int) -> float:
    """Milliseconds that the idle client takes when it is called directly, with the messages of the rounds."""
    grid = InProcessGrid(idle, config.rounds.phones_per_round, {})
    strategy = SeededFedAvg(config, Uniform(config.rounds))
    context = Context(0, 1, {}, RecordDict(), {})
    seconds, calls = 0.0, 0
    for number in range(num_rounds + 1):  # the first warms up
        for message in strategy.configure_train(number, start_of(config), settings_of(config), grid):
            start = processor_seconds()
            idle(message, context)
            if number:
                seconds, calls = seconds + processor_seconds() - start, calls + 1
    return 1000 * seconds / calls


def on_ray(config: Config, num_rounds: int) -> float:
    """Milliseconds a phone: the difference of two runs, so that starting Ray does not count."""
    return (
        1000
        * (_ray_seconds(config, 1 + num_rounds) - _ray_seconds(config, 1))
        / (num_rounds * config.rounds.phones_per_round)
    )


def _ray_seconds(config: Config, num_rounds: int) -> float:
    pid = os.fork()
    if pid == 0:  # a process of its own: Ray's are counted with it when it has ended
        from flwr.simulation import run_simulation

        client, server = ClientApp(), ServerApp()
        client.train()(idle)

        @server.main()
        def main(grid: Grid, context: Context) -> None:
            while len(list(grid.get_node_ids())) < config.rounds.phones_per_round:
                time.sleep(0.2)
            reports = play(grid, config, start_of(config), num_rounds)
            assert reports == num_rounds * config.rounds.phones_per_round

        resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
        run_simulation(server, client, config.rounds.phones_per_round, backend_config=resources)
        os._exit(0)
    _, status, used = os.wait4(pid, 0)
    assert status == 0
    return used.ru_utime + used.ru_stime


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

    def work() -> dict[str, torch.Tensor]:
        return client_update(model, texts, config.rounds, 1e-3, np.random.default_rng(0)).update

    def client(message: Message, context: Context) -> Message:
        model.load_state_dict(from_record(record_in(message.content, ARRAYS, ArrayRecord)))
        reply = idle(message, context)
        reply.content[ARRAYS] = lend(work())
        return reply

    def seconds(run: Callable[[], object]) -> float:
        start = processor_seconds()
        run()
        return (processor_seconds() - start) / num_phones

    work()
    weights = start_of(config)
    plain = seconds(lambda: [work() for _ in range(num_phones)])
    through = seconds(lambda: play(InProcessGrid(client, num_phones, {}), config, weights, 1))
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
    own, ours = by_itself(config, arguments.rounds), in_process(config, arguments.rounds)
    print("processor time of a phone that does nothing")
    print(f"  called directly   {own:7.1f} ms")
    print(f"  in process        {ours:7.1f} ms, overhead {ours - own:5.1f} ms")
    if not arguments.no_ray:
        rays = on_ray(config, arguments.rounds)
        print(f"  on Ray            {rays:7.1f} ms, overhead {rays - own:5.1f} ms")
        print(f"  Ray to in process {rays / ours:7.1f}     , overhead {(rays - own) / (ours - own):5.1f}")
    through, plain = training(8)
    print(f"a phone that trains, in process         {1000 * through:7.0f} ms")
    print(f"its training alone                      {1000 * plain:7.0f} ms, ratio {through / plain:.2f}")


if __name__ == "__main__":
    main()
