"""What the tests of kernels share: Triton's interpreter where there is no GPU, and a compiler for one there
is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

# tests/conftest.py saw to it, before anything could import Triton.
assert torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"

Report = dict[str, Any]


@pytest.fixture(scope="session")
def compile_for_hopper(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[list[dict[str, Any]]], list[Report]]:
    """Compiles kernels for sm_90 in a process of its own (the interpreter and the compiler exclude each
    other) and reports registers, stack and tensor-core instructions; see hopper.py."""

    def compile_all(cases: list[dict[str, Any]]) -> list[Report]:
        environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
        # A cache of its own: a kernel that was compiled yesterday must still compile today.
        environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("hopper.py"))],
            input=json.dumps(cases),
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        reports: list[Report] = json.loads(done.stdout)
        return reports

    return compile_all
