"""`fedkey BUNDLE` before the keyboard opens: every mistake is one sentence and status 2, at once."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

HEAVY = ("numpy", "onnxruntime", "sentencepiece", "textual")


def run_without_terminal(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs fedkey on pipes; its exit status is 3 if anything heavy was imported for it."""
    code = (
        "import sys; from fedkey.cli import main; status = main(); "
        f"sys.exit(3 if {{*{HEAVY}}} & {{*sys.modules}} else status)"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def run_in_terminal(*arguments: object) -> tuple[int, str]:
    """Runs fedkey on a terminal of its own; its exit status, and what it wrote there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fedkey", *map(str, arguments)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        # A keyboard that opens instead of giving up would wait for keys for ever.
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        written = b""
        while True:
            try:
                chunk = os.read(ours, 65_536)
            except OSError:  # how Linux says that nobody holds the terminal any more
                break
            if not chunk:
                break
            written += chunk
        watchdog.cancel()
    os.close(ours)
    return process.returncode, written.decode()


def test_without_a_bundle_it_would_open_the_one_that_came_with_it() -> None:
    done = run_without_terminal()
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "The keyboard needs a terminal" in done.stderr


def test_without_a_terminal_it_says_so_before_the_bundle_is_looked_at(tmp_path: Path) -> None:
    done = run_without_terminal(tmp_path / "nothing")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "fedkey: The keyboard needs a terminal: run it without redirecting its input or output.\n"
    )


def test_a_terminal_that_cannot_move_its_cursor_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    status, written = run_in_terminal(tmp_path)
    assert status == 2
    assert written.startswith("fedkey: The keyboard needs a terminal that can move its cursor")
    assert written.count("\n") == 1


def test_an_unknown_theme_is_told_with_the_nearest_one(tiny_bundle: Path) -> None:
    status, written = run_in_terminal(tiny_bundle, "--theme", "fedkey-lihgt")
    assert status == 2
    assert written == "fedkey: There is no theme 'fedkey-lihgt'; do you mean 'fedkey-light'?\r\n"


def test_settings_that_are_wrong_name_their_file_and_an_option_goes_before_them(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('theme = "fedkey-drak"\n')
    arguments = (tiny_bundle, "--settings", settings)
    status, written = run_in_terminal(*arguments)
    assert status == 2
    assert "".join(written.splitlines()) == (
        f"fedkey: {settings}: There is no theme 'fedkey-drak'; do you mean 'fedkey-dark'?"
    )
    status, written = run_in_terminal(*arguments, "--theme", "nrod")
    assert (status, written) == (2, "fedkey: There is no theme 'nrod'; do you mean 'nord'?\r\n")
    settings.write_text('layout = "colemak"\n')
    status, written = run_in_terminal(*arguments)
    assert status == 2
    assert "layout must be one of qwerty" in written.replace("\r\n", "")
    settings.write_text("emojis = false\n")
    status, written = run_in_terminal(*arguments)
    assert status == 2
    assert written.endswith("there is no setting 'emojis'; do you mean 'emoji'?\r\n")


def test_a_memory_that_cannot_be_used_is_one_sentence(tiny_bundle: Path, tmp_path: Path) -> None:
    status, written = run_in_terminal(tiny_bundle, "--memory", tmp_path)
    assert status == 2
    last = "".join(written.splitlines()[-1:])
    assert last[last.index("fedkey: ") :].startswith(f"fedkey: Cannot use the personal memory {tmp_path}")


def test_typing_privately_has_no_memory_to_name(tiny_bundle: Path, tmp_path: Path) -> None:
    done = run_without_terminal(tiny_bundle, "--private", "--memory", tmp_path / "words")
    assert done.returncode == 2
    assert "not allowed with" in done.stderr
    assert not (tmp_path / "words").exists()


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [("layout", "colemak", "'colemak'"), ("format", 99, "format 99"), ("features", ["mind-reading"], "mind")],
)
def test_a_bundle_this_keyboard_cannot_use_leaves_the_terminal_untouched(
    tiny_bundle: Path, tmp_path: Path, field: str, value: object, sentence: str
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    (bundle / "manifest.json").write_text(json.dumps(manifest | {field: value}), encoding="utf-8")
    status, written = run_in_terminal(bundle)
    assert status == 2
    assert sentence in written
    assert written.startswith("fedkey: ")
    assert written.count("\n") == 1
    assert "\x1b" not in written
