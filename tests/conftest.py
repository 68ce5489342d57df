"""The chain that most tests stand on, each link built once per session through the public functions.

made-up chat -> prepared data -> a model trained for seconds -> an exported bundle. `small_talk.py` makes the
chat.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from forked import Forked, Forker

if shutil.which("nvidia-smi") is None:
    # Without a GPU Triton interprets its kernels. It decides when it is imported, which torch may do.
    os.environ["TRITON_INTERPRET"] = "1"
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
FIND_EACH_OTHER = "TEXTUAL_SNAPSHOT"
"""Begins the names of what the processes of one run have in common."""
for name in [name for name in os.environ if name == "NO_COLOR" or name.startswith("TEXTUAL")]:
    if not name.startswith(FIND_EACH_OTHER):
        del os.environ[name]  # it changes what the keyboard draws

# On a busy machine 0.2 s of a clock say nothing. The examples are the same each time, so that no change is
# judged by luck; `make explore` looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("exploring", deadline=None, max_examples=1000)
settings.load_profile("same")


def pytest_collection_finish() -> None:
    """One thread a process: `make test` runs one on each core, and the tests' models are too small for more.
    Not by the environment, or programs that promise to take one thread would not be tried."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


SMALL = (
    "vocabulary.max_words=4000",
    "tokenizer.vocab_size=400",
    "model.vocab_size=400",
    "model.width=64",
    "model.num_layers=2",
    "model.num_heads=4",
    "model.num_key_value_heads=2",
    "model.hidden_width=96",
    "train.num_steps=60",
    "train.batch_rows=8",
)
"""Overrides of the tiny preset that make every stage take seconds."""


def _small_talk():  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location("small_talk", Path(__file__).parent / "small_talk.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["small_talk"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", autouse=True)
def memory_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keyboards that the tests open have memory and settings in folders of the tests' own, not the user's."""
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """The interpreter whose forks are processes that need not import torch; see `server/forked.py`."""
    from forked import Forker

    forker = Forker()
    yield forker
    forker.close()


@pytest.fixture
def fork(forker: Forker) -> Iterator[Callable[..., Forked]]:
    """`fork(program, arguments, imports)`, as `Forker.fork`; what still runs at the end is killed."""
    started: list[Forked] = []

    def fork(*request: object) -> Forked:
        started.append(forker.fork(*request))  # type: ignore[arg-type]
        return started[-1]

    yield fork
    for process in started:
        process.close()


@pytest.fixture(scope="session")
def chat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON lines of made-up two-person chats: 60 authors, 240 conversations."""
    small_talk = _small_talk()
    return small_talk.write_jsonl(tmp_path_factory.mktemp("chat") / "chat.jsonl", small_talk.conversations())


@pytest.fixture(scope="session")
def small_overrides(chat_file: Path) -> list[str]:
    """`--set` values that shrink the tiny preset to the made-up chat."""
    return [*SMALL, f"corpus.phones={str(chat_file)!r}", "corpus.server=[]", "corpus.donor_share=0.3"]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory, small_overrides: list[str]) -> Path:
    """A prepared data folder."""
    from fedkey_server.config import load
    from fedkey_server.prepare import prepare

    folder = tmp_path_factory.mktemp("data") / "data"
    prepare(load("tiny", small_overrides), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, small_overrides: list[str]) -> Path:
    """A finished central run of 60 steps."""
    from fedkey_server.config import load
    from fedkey_server.train import train

    run = tmp_path_factory.mktemp("run") / "run"
    train(load("tiny", small_overrides), tiny_data, run)
    return run


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    """The run as a verified int8 bundle."""
    from fedkey_export.package import export

    bundle = tmp_path_factory.mktemp("bundle") / "bundle"
    export(tiny_run, bundle)
    return bundle


@pytest.fixture(scope="session")
def behind_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """The bundle as one that reads what stands behind the caret, which its model never learnt to."""
    bundle = tmp_path_factory.mktemp("behind") / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    manifest["features"].append("opt_infill")
    (bundle / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return bundle
