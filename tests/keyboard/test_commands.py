"""How commands find their subcommands and report mistakes: in one sentence, with an exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from fedkey.commands import EXIT_INTERRUPTED, EXIT_MISTAKE, EXIT_UNREAD, Subcommand, run_command, seed
from fedkey.errors import UserError

GREET = """
import sys
def add_arguments(parser):
    parser.add_argument("name")
    parser.add_argument("--times", type=int, default=1)
def run(arguments):
    if arguments.name == "nobody":
        from fedkey.errors import UserError
        raise UserError("There is nobody to greet; give a name.")
    if arguments.name == "interrupt":
        raise KeyboardInterrupt
    if arguments.name == "file":
        open("/dev/null/file", "w")
    if arguments.name == "full":
        import errno, os
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if arguments.name == "bug":
        raise ValueError("a mistake of ours")
    if arguments.name == "late":
        import package_that_is_missing
    print("hello " * arguments.times + arguments.name)
    return 0 if arguments.name != "three" else 3
"""

SUBCOMMANDS = {
    "greet": Subcommand("commands_of_a_test.greet", "Say hello."),
    "heavy": Subcommand("commands_of_a_test.heavy", "Needs what is not installed."),
    "broken": Subcommand("commands_of_a_test.broken", "Imports a module of ours that is not there."),
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Real modules on the path, as subcommands are."""
    folder = tmp_path / "commands_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "greet.py").write_text(GREET)
    (folder / "heavy.py").write_text("import torch_that_is_missing.nn\n" + GREET)
    (folder / "broken.py").write_text("import fedkey.nowhere\n" + GREET)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("commands_of_a_test")]:
        del sys.modules[name]


def run(*arguments: str, default: str | None = None, extra: str | None = "server") -> int:
    return run_command("tool", "Does things.", SUBCOMMANDS, arguments=arguments, default=default, extra=extra)


def test_a_subcommand_gets_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("greet", "ann", "--times", "2") == 0
    assert capsys.readouterr().out == "hello hello ann\n"
    assert run("greet", "three") == 3


def test_the_default_needs_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ann", default="greet") == 0
    assert run("greet", "ann", default="greet") == 0
    assert capsys.readouterr().out == "hello ann\n" * 2


def test_an_unknown_subcommand_is_named_below_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gret", "ann") == EXIT_MISTAKE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("tool: there is no subcommand 'gret'; do you mean 'greet'?\n")
    assert "Say hello." in printed.err
    assert run("qqq") == EXIT_MISTAKE
    assert capsys.readouterr().err.endswith("tool: there is no subcommand 'qqq'.\n")


def test_no_subcommand_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == EXIT_MISTAKE
    assert capsys.readouterr().err.startswith("usage: tool SUBCOMMAND ...")


def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", default="greet") == 0
    assert capsys.readouterr().out == f"tool {version('fedkey')}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_subcommand_and_imports_none(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert run(flag) == 0
    out = capsys.readouterr().out
    for name, entry in SUBCOMMANDS.items():
        assert f"  {name:<12} {entry.summary}" in out
    assert not any(name.startswith("commands_of_a_test") for name in sys.modules)


def test_a_subcommands_own_help_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("greet", "--help")
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: tool greet ")
    assert "--times" in out


def test_the_defaults_mistakes_point_to_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(default="greet")
    assert stopped.value.code == EXIT_MISTAKE
    assert capsys.readouterr().err.startswith("usage: tool ")


def test_a_mistake_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("greet", "nobody") == EXIT_MISTAKE
    assert capsys.readouterr() == ("", "tool: There is nobody to greet; give a name.\n")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("file", "Cannot use /dev/null/file: Not a directory; make room or name another place."),
        ("full", "Cannot use a file: No space left on device; make room or name another place."),
    ],
)
def test_what_the_system_refuses_is_one_sentence(
    capsys: pytest.CaptureFixture[str], name: str, sentence: str
) -> None:
    assert run("greet", name) == EXIT_MISTAKE
    assert capsys.readouterr() == ("", f"tool: {sentence}\n")


def test_a_subcommand_that_is_misspelt_is_not_taken_for_the_defaults_argument(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("heavyy", default="greet") == EXIT_MISTAKE
    assert capsys.readouterr() == ("", "tool: there is no 'heavyy' here; do you mean 'heavy'?\n")
    Path("heavyy").touch()
    assert run("heavyy", default="greet") == 0
    assert capsys.readouterr().out == "hello heavyy\n"


@pytest.mark.parametrize("text", ["-1", "1.5", "one", ""])
def test_a_seed_is_a_whole_number_from_0_on(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="a seed is a whole number from 0 on"):
        seed(text)
    assert seed("0") == 0


@pytest.mark.parametrize(
    ("arguments", "package"),
    [(("heavy", "ann"), "torch_that_is_missing"), (("greet", "late"), "package_that_is_missing")],
    ids=["at import", "while running"],
)
def test_a_missing_extra_is_told_in_one_sentence_that_names_it(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], package: str
) -> None:
    assert run(*arguments) == EXIT_MISTAKE
    error = capsys.readouterr().err
    assert error == (
        f"tool: the package {package!r} is missing; install fedkey with its server extra: "
        "pip install '.[server]' in a checkout.\n"
    )


def test_a_missing_module_of_ours_is_a_bug_and_no_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"fedkey\.nowhere"):
        run("broken", "ann")
    with pytest.raises(ModuleNotFoundError):
        run("heavy", "ann", extra=None)


def test_bugs_are_not_hidden() -> None:
    with pytest.raises(ValueError, match="a mistake of ours"):
        run("greet", "bug")


def test_ctrl_c_ends_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("greet", "interrupt") == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "\ntool: stopped; the same command does what is left.\n"
    whole = {"greet": replace(SUBCOMMANDS["greet"], goes_on=False)}
    assert run_command("tool", "", whole, arguments=["greet", "interrupt"]) == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "\ntool: stopped; the same command begins anew.\n"


@pytest.mark.parametrize("package", ["fedkey", "fedkey_server", "fedkey_export"])
def test_the_three_commands_answer_help_in_a_fresh_process(package: str) -> None:
    program = f"import sys; from {package}.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {package.replace('_', '-')} ")


def test_whoever_stops_reading_is_not_shown_a_traceback() -> None:
    program = "import sys; from fedkey.cli import main; sys.exit(main())"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", program, "--help"], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (EXIT_UNREAD, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--help"], ["complete", "--help"]])
def test_output_that_finds_no_room_is_one_sentence(arguments: list[str], unbuffered: str) -> None:
    program = [sys.executable, "-c", "import sys; from fedkey.cli import main; sys.exit(main())", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    sentence = "fedkey: Cannot use a file: No space left on device; make room or name another place.\n"
    if unbuffered and "complete" in arguments:  # argparse keeps to itself what it could not print
        assert done.stderr == ""
    else:
        assert (done.returncode, done.stderr) == (EXIT_MISTAKE, sentence)


def test_a_user_error_is_what_others_catch() -> None:
    from fedkey import BundleError

    assert issubclass(BundleError, UserError)
