"""What the tests of kernels share: Triton's interpreter where there is no GPU, and a compiler for one there
is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import check

# tests/conftest.py saw to it, before anything could import Triton.
assert torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"

Report = dict[str, Any]


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """Fresh memory holds NaN, so that a place that nobody writes is seen."""
    with check.poisoned():
        yield


@pytest.fixture(scope="session")
def compile_for_hopper(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[list[dict[str, Any]]], list[Report]]]:
    """Compiles kernels for sm_90 in one process beside the tests' (the interpreter and the compiler exclude
    each other) and reports registers, stack and tensor-core instructions; see hopper.py."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    # A cache of its own: a kernel that was compiled yesterday must still compile today.
    folder = tmp_path_factory.mktemp("triton")
    environment["TRITON_CACHE_DIR"] = str(folder / "cache")
    complaints = (folder / "complaints.txt").open("w+")
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("hopper.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        text=True,
        env=environment,
    )
    requests, answers = process.stdin, process.stdout
    assert requests is not None
    assert answers is not None

    def compile_all(cases: list[dict[str, Any]]) -> list[Report]:
        requests.write(json.dumps(cases) + "\n")
        requests.flush()
        answer = answers.readline()
        assert answer, Path(complaints.name).read_text()[-4000:]
        reports: list[Report] = json.loads(answer)
        return reports

    yield compile_all
    process.communicate()
    complaints.close()
