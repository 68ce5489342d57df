"""`flwr run .`: the same two apps on Ray, started as a user starts them.

Flower says "finished" and exits with 0 whatever happens, so what counts is the run folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from flower_processes import copy_app, free_port, processes_with, signal_all

from fedkey_server import checkpoint
from fedkey_server.client_app import app
from fedkey_server.config import load
from fedkey_server.counting import count
from fedkey_server.crowd import Crowd
from fedkey_server.grid import InProcessGrid
from fedkey_server.phones import Phones
from fedkey_server.server_app import federate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds what Flower left in /proc"),
]

ROUNDS = (
    "rounds.num_rounds=2",
    "rounds.phones_per_round=4",
    "rounds.min_reports=2",
    "rounds.batch_rows=2",
    "rounds.max_rows=4",
    "train.validation_rows=8",
)
SECONDS = 240
"""After which a run is stopped; it takes about 30."""

Run = Callable[..., str]


def stop(variable: str) -> None:
    """Ends every process of the environment: first asked, then killed."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        signal_all(variable, sign)
        deadline = time.monotonic() + 20
        while processes_with(variable) and time.monotonic() < deadline:
            time.sleep(0.1)


@pytest.fixture(scope="module")
def flwr_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """`flwr_run(num_supernodes, **run_config)`: runs the app from a copy, and returns what Flower printed."""
    folder = tmp_path_factory.mktemp("flower")
    home, copy = folder / "home", folder / "fedkey"
    copy_app(copy)
    environment = os.environ | {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port()),
        "FLWR_LOCAL_CONTROL_API_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    with tempfile.TemporaryDirectory(prefix="fedkey-ray-", ignore_cleanup_errors=True) as ray:

        def run(num_supernodes: int, **run_config: str) -> str:
            settings = folder / "settings.toml"
            lines = (f"{key} = {json.dumps(value)}\n" for key, value in run_config.items())
            settings.write_text("".join(lines))
            nodes = f"num-supernodes={num_supernodes} client-resources-num-cpus=1"
            done = subprocess.run(
                ["flwr", "run", ".", "--stream", "--run-config", str(settings), "--federation-config", nodes],
                cwd=copy,
                env=environment | {"RAY_TMPDIR": ray},  # a short path: Ray puts sockets there
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS,
            )
            return done.stdout

        try:
            yield run
        finally:
            stop(f"FLWR_HOME={home}")
    assert processes_with(f"FLWR_HOME={home}") == []


def test_ray_and_the_grid_in_one_process_federate_alike(
    flwr_run: Run,
    tiny_run: Path,
    tiny_data: Path,
    small_overrides: list[str],
    tmp_path: Path,
    one_thread: None,
) -> None:
    overrides = [*small_overrides, *ROUNDS]
    num_phones = len(Phones.load(tiny_data / "phones.npz"))
    on_ray, here = tmp_path / "ray", tmp_path / "here"
    printed = flwr_run(
        num_phones, set=";".join(overrides), data=str(tiny_data), run=str(on_ray), init=str(tiny_run)
    )
    assert (on_ray / "done.json").exists(), printed
    grid = InProcessGrid(app, num_phones, {"data": str(tiny_data), "simulation": True})
    expected = federate(grid, load("tiny", overrides), tiny_data, here, tiny_run)

    final = checkpoint.read_json(on_ray / "done.json")
    assert (final["reports"], final["failures"]) == (8, {})
    assert final["local_steps"] == expected["local_steps"]
    # Ray's replies come in any order, which may cost the average its last bit.
    assert final["validation_loss"] == pytest.approx(expected["validation_loss"], rel=1e-6)
    weights = checkpoint.load(on_ray).weights
    for name, tensor in checkpoint.load(here).weights.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-5, atol=1e-7)


def test_ray_and_the_grid_in_one_process_count_alike(
    flwr_run: Run, tiny_data: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    overrides = ["sketch.width=65536", "count.cohort=8", "count.min_reports=4", "count.least_phones=4"]
    num_phones = len(Phones.load(tiny_data / "phones.npz"))
    out = tmp_path / "counts.npz"
    printed = flwr_run(
        num_phones, set=";".join(overrides), data=str(tiny_data), bundle=str(tiny_bundle), counts=str(out)
    )
    assert out.exists(), printed
    settings = {"data": str(tiny_data), "bundle": str(tiny_bundle), "simulation": True, "resampled": False}
    expected = count(InProcessGrid(app, num_phones, settings), load("tiny", overrides), tiny_bundle)
    found = Crowd.load(out)
    assert found.num_phones == expected.num_phones == num_phones
    for one, other in zip(found.levels, expected.levels, strict=True):
        assert one.grams.tolist() == other.grams.tolist()
        assert one.counts.tolist() == other.counts.tolist()


def test_more_nodes_than_phones_are_told_and_an_unusable_run_leaves_no_final_figures(
    flwr_run: Run, tiny_run: Path, tiny_data: Path, small_overrides: list[str], tmp_path: Path
) -> None:
    num_phones = len(Phones.load(tiny_data / "phones.npz"))
    overrides = [
        *small_overrides,
        *ROUNDS,
        "rounds.num_rounds=1",
        f"rounds.phones_per_round={num_phones + 2}",
    ]
    overrides += [f"rounds.min_reports={num_phones + 1}"]
    run = tmp_path / "run"
    printed = flwr_run(
        num_phones + 2, set=";".join(overrides), data=str(tiny_data), run=str(run), init=str(tiny_run)
    )
    assert f"There is no phone {num_phones}: the data hold phones 0 to {num_phones - 1}" in printed
    assert "because too few phones reported (2 client app raised exception)" in printed
    assert not (run / "done.json").exists()
    (_, row) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert (row["reports"], row["changed"]) == (num_phones, False)
