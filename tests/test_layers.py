"""The import rules, proved by running imports in fresh interpreters and looking at what they loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "triton", "flwr", "onnx", "fedkey_server", "fedkey_kernels", "fedkey_export")


def modules_after(code: str) -> set[str]:
    """The top-level modules, and ours in full, that a fresh interpreter holds after running `code`."""
    (loaded,) = modules_after_each(code)
    return loaded


def modules_after_each(*codes: str) -> list[set[str]]:
    """What one fresh interpreter holds after each of `codes`, run one after the other."""
    told = "import sys, json\nprint('\\n', json.dumps(sorted(sys.modules)))"
    program = "\n".join(f"{code}\n{told}" for code in codes)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lists = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(" [")]
    return [
        {name.split(".")[0] for name in names} | {name for name in names if name.startswith("fedkey")}
        for names in lists
    ]


@pytest.mark.parametrize(
    "code",
    [
        "import fedkey; fedkey.Engine; fedkey.BundleError",
        "import fedkey.cli.eval, fedkey.cli.complete",
        "import fedkey.cli.type, fedkey.ui.app",
    ],
)
def test_the_phone_loads_nothing_of_training_or_export(code: str) -> None:
    loaded = modules_after(code)
    assert not loaded & set(HEAVY)


def test_the_engine_knows_no_screen() -> None:
    loaded = modules_after("import fedkey; fedkey.Engine")
    assert "textual" not in loaded
    assert not any(name.startswith("fedkey.ui") for name in loaded)


def test_the_keyboard_is_drawn_before_anything_heavy_is_loaded() -> None:
    """A third of the time to the first paint was the import of numpy, which only the engine needs."""
    loaded = modules_after(
        "import fedkey.cli.type\n"
        "from fedkey.bundle import open_bundle\n"
        "from fedkey.layout import layout_named\n"
        "from fedkey.shipped import shipped_bundle\n"
        "from fedkey.ui.app import KeyboardApp\n"
        "bundle = open_bundle(shipped_bundle())\n"
        "KeyboardApp(lambda: None, layout_named(bundle.manifest.layout))"
    )
    assert "textual" in loaded
    assert not loaded & {"numpy", "onnxruntime", "sentencepiece", "sqlite3"}


def test_text_rules_load_neither_the_runtime_nor_the_engine() -> None:
    loaded = modules_after("import fedkey.text, fedkey.metrics, fedkey.layout")
    assert "onnxruntime" not in loaded
    assert "fedkey.engine" not in loaded


def test_kernels_load_torch_and_nothing_of_ours_and_training_neither_the_export_nor_the_runtime() -> None:
    training = "import fedkey_server.train, fedkey_server.prepare, fedkey_server.rounds"
    kernels, trained = modules_after_each("import fedkey_kernels", training)
    assert "torch" in kernels
    assert not kernels & {"fedkey", "fedkey_server", "fedkey_export", "flwr", "onnx", "onnxruntime"}
    assert "fedkey_server.train" in trained
    assert not trained & {"fedkey_export", "textual", "onnxruntime"}


def test_help_answers_without_loading_anything_heavy() -> None:
    for package in ("fedkey", "fedkey_server", "fedkey_export"):
        loaded = modules_after(f"import {package}.cli as cli, sys; sys.argv = ['x', '--help']; cli.main()")
        assert not loaded & {"torch", "flwr", "onnx", "onnxruntime", "textual", "numpy"}


def test_telemetry_is_off_before_the_runtime_is_imported() -> None:
    code = (
        "import builtins, os, sys\n"
        "os.environ.pop('ORT_DISABLE_TELEMETRY', None)\n"
        "real = builtins.__import__\n"
        "def spy(name, *rest):\n"
        "    if name.split('.')[0] == 'onnxruntime' and 'onnxruntime' not in sys.modules:\n"
        "        assert os.environ.get('ORT_DISABLE_TELEMETRY') == '1', 'imported with telemetry on'\n"
        "        print('seen', file=sys.stderr)\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = spy\n"
        "import fedkey.model\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "seen" in done.stderr
