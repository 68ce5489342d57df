"""`fedkey BUNDLE`: opens the keyboard.

In: the folder of a bundle, or of releases that are then followed; settings, which options override for once;
a file for the writer's words; a terminal. Out: the keyboard on screen; a bundle that is refused is refused
before the terminal is touched. Next stop: `fedkey.ui.app`.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fedkey.commands import seed
from fedkey.diary import DIARY
from fedkey.errors import UserError
from fedkey.joined import phone_command
from fedkey.releases import release_at
from fedkey.settings import memory_file, read, usual_file
from fedkey.shipped import shipped_bundle

if TYPE_CHECKING:
    from fedkey.bundle import Bundle
    from fedkey.engine import Engine
    from fedkey.layout import Layout
    from fedkey.settings import Settings
    from fedkey.ui.app import KeyboardApp
    from fedkey.ui.joining import Joining
    from fedkey.ui.replaying import Recording

FRAMES_PER_SECOND = "120"
"""Drawn at most. With Textual's 60 a letter and the answer to it wait for each other's frames: half of the
answers were on screen after 35 ms, with 120 after 21, for the same processor time (shipped bundle,
2026-11-27)."""


PACE, SLOWEST, FASTEST = 45, 1, 1000
"""Words a minute, of five keys each: a quick phone writer's, and what counts as a pace."""
UNSEEN_SIZE = (80, 24)
WEB_PORT = 8770
WEB_DRIVER = "textual.drivers.web_driver:WebDriver"
"""What textual-serve tells a keyboard to draw on, which has a page then instead of a terminal."""
ORPHAN_SECONDS = 2.0
"""How often a served keyboard looks whether its server still lives."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "bundle", nargs="?", help="folder of a bundle or of releases (default: fedkey's own bundle)"
    )
    memory = parser.add_mutually_exclusive_group()
    memory.add_argument(
        "--memory",
        metavar="FILE",
        type=Path,
        help="where your words are remembered (default: personal.sqlite in your data folder)",
    )
    memory.add_argument(
        "--private",
        "--incognito",
        action="store_true",
        help="remember nothing, and use nothing that was remembered",
    )
    parser.add_argument(
        "--join",
        metavar="HOST:PORT",
        help="let the federation there learn from what you send; asks before anything is kept or leaves",
    )
    parser.add_argument("--theme", metavar="NAME", help="colours, as the command palette lists them")
    parser.add_argument(
        "--settings",
        metavar="FILE",
        type=Path,
        help="where your settings are (default: settings.toml in your configuration folder)",
    )
    playing = parser.add_argument_group("writing by itself")
    playing.add_argument(
        "--play", metavar="FILE", type=Path, help="write the lines of a text as a person would"
    )
    playing.add_argument(
        "--pace", metavar="N", type=_pace, default=PACE, help=f"words a minute (default: {PACE})"
    )
    playing.add_argument("--seed", metavar="N", type=seed, default=1, help="of slips and rhythm (default: 1)")
    playing.add_argument(
        "--record",
        metavar="FILE",
        type=Path,
        help="keep the last screen (.svg) or the session (.cast); with --play it needs no terminal",
    )
    playing.add_argument(
        "--size", metavar="WxH", type=_size, help="record with --play unseen, on a terminal of that size"
    )
    parser.add_argument(
        "--web",
        action="store_true",
        help="open the keyboard in a browser of this machine, not in the terminal",
    )
    parser.add_argument(
        "--port", metavar="N", type=_port, help=f"where the browser finds it (default: {WEB_PORT})"
    )


def run(arguments: argparse.Namespace) -> int:
    """Opens the keyboard and waits until it is closed."""
    path = arguments.bundle or shipped_bundle()
    is_served = os.environ.get("TEXTUAL_DRIVER") == WEB_DRIVER
    is_unseen = _is_unseen(arguments)
    if not (is_served or arguments.web or is_unseen):
        _check_terminal()
    settings_file = arguments.settings or usual_file()
    settings = read(settings_file)
    if arguments.theme is not None:
        settings = replace(settings, theme=arguments.theme)
    # Imported late: the sentences above should not wait for a second of imports.
    from fedkey.bundle import open_bundle
    from fedkey.layout import LAYOUTS, layout_named

    release = release_at(path)
    bundle = open_bundle(path if release is None else release.bundle)
    layout = layout_named(bundle.manifest.layout)
    if settings.layout not in ("", *LAYOUTS):
        known = ", ".join(LAYOUTS)
        raise UserError(f"{settings_file}: layout must be one of {known}, or empty, not {settings.layout!r}.")
    os.environ.setdefault("TEXTUAL_FPS", FRAMES_PER_SECOND)  # which Textual reads when it is imported

    if is_unseen:
        os.environ.setdefault("TEXTUAL_COLOR_SYSTEM", "truecolor")

    from fedkey.ui.themes import check_theme

    check_theme(settings.theme, f"{settings_file}: " if arguments.theme is None else "")
    if arguments.web and not is_served:
        return _serve(arguments.port or WEB_PORT)
    memory = _memory_of(arguments, settings, settings_file)
    if arguments.join is not None:
        if memory is None:
            raise UserError("A private keyboard keeps nothing to learn from; leave out --private or --join.")
        phone_command(arguments.join, memory.parent / DIARY, bundle.path)

    kind, recording = _kind_of_keyboard(arguments, layout, is_unseen=is_unseen)
    app = kind(
        partial(_open_engine, bundle, memory, must_remember=arguments.memory is not None),
        layout,
        settings,
        settings_file=settings_file,
        is_private=arguments.private,
        release=release,
        joining=None if memory is None else _joining(memory, path, arguments.join, settings),
    )
    if is_served:
        _when_orphaned(lambda: app.call_from_thread(app.exit))
    # Textual asks an unseen terminal for its size again and again, and never comes to draw.
    refusal = app.run(size=arguments.size or (UNSEEN_SIZE if is_unseen else None))
    if refusal is not None:
        raise UserError(refusal)
    if recording is not None:
        recording.save()
    return app.return_code or 0


def _is_unseen(arguments: argparse.Namespace) -> bool:
    """Whether the keyboard draws for its recording alone."""
    if arguments.web and arguments.record is not None:
        raise UserError("--record keeps what a terminal shows, and --web has none; leave out one of them.")
    if arguments.size is not None and (arguments.play is None or arguments.record is None):
        raise UserError("--size is for recordings that nobody watches; add --play FILE and --record FILE.")
    has_terminal = sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()
    is_recorded = arguments.play is not None and arguments.record is not None
    return is_recorded and (arguments.size is not None or not has_terminal)


def _memory_of(arguments: argparse.Namespace, settings: Settings, settings_file: Path) -> Path | None:
    """Where the typist's words are remembered, if they are. What is played is nobody's own, unless a file is
    named for it."""
    if arguments.private or (arguments.play is not None and arguments.memory is None):
        return None
    return arguments.memory or memory_file(settings, settings_file) or _usual_memory()


def _open_engine(bundle: Bundle, memory: Path | None, *, must_remember: bool) -> Engine:
    """The engine, without a memory that cannot be opened unless it must remember: who named a file wants that
    one, and everybody else wants to type."""
    from fedkey.bundle import BundleError
    from fedkey.engine import Engine

    try:
        return Engine(bundle, memory)
    except BundleError:
        raise
    except UserError as error:
        if must_remember:
            raise
        engine = Engine(bundle)
        engine.notice = f"{str(error).rstrip('.')}; until then your words are forgotten when you quit."
        return engine


def _kind_of_keyboard(
    arguments: argparse.Namespace, layout: Layout, *, is_unseen: bool
) -> tuple[Callable[..., KeyboardApp], Recording | None]:
    """The keyboard's class, and what is to be saved when it is closed."""
    if arguments.play is None and arguments.record is None:
        from fedkey.ui.app import KeyboardApp

        return KeyboardApp, None
    import numpy as np

    from fedkey.replay import Writer, read_script
    from fedkey.ui.replaying import PlayedKeyboard, Recording

    recording = None if arguments.record is None else Recording(arguments.record)
    writer = None
    if arguments.play is not None:
        script, rng = read_script(arguments.play), np.random.default_rng(arguments.seed)
        writer = Writer(script, layout, rng, words_per_minute=arguments.pace)
    return partial(PlayedKeyboard, writer=writer, recording=recording, is_seen=not is_unseen), recording


def _pace(text: str) -> float:
    try:
        pace = float(text)
    except ValueError:
        pace = 0.0
    if not SLOWEST <= pace <= FASTEST:
        raise argparse.ArgumentTypeError(f"{SLOWEST} to {FASTEST} words a minute, not {text!r}")
    return pace


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 1000 and 0 < int(height) <= 1000):
        raise argparse.ArgumentTypeError(f"columns x lines, such as 80x24, not {text!r}")
    return int(width), int(height)


def _check_terminal() -> None:
    # Textual reads from stdin and draws on stderr; stdout counts as well, for `fedkey BUNDLE | less`.
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        raise UserError("The keyboard needs a terminal: run it without redirecting its input or output.")
    if os.environ.get("TERM") == "dumb":
        raise UserError(
            "The keyboard needs a terminal that can move its cursor, but TERM=dumb says that this cannot: "
            "use another, or set TERM to what it is, such as xterm-256color."
        )


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)


def _serve(port: int) -> int:
    try:
        from fedkey.web import serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"The package {error.name!r} is missing, which --web needs; install fedkey with its web extra: "
            "pip install '.[web]' in a checkout."
        ) from error
    # Each keyboard is started with what was typed for the server, and sees by its driver that it is served.
    serve(sys.argv[1:], port)
    return 0


def _when_orphaned(end: Callable[[], object]) -> None:
    """Calls `end` in another thread when the server of this keyboard is no more: nobody else would tell."""
    server = os.getppid()

    def watch() -> None:
        while os.getppid() == server:
            time.sleep(ORPHAN_SECONDS)
        end()

    threading.Thread(target=watch, name="orphan", daemon=True).start()


def _joining(memory: Path, bundle: str | Path, address: str | None, settings: Settings) -> Joining:
    from fedkey.ui.joining import Joining

    diary, crowd = memory.parent / DIARY, int(settings.smallest_crowd)
    return Joining(
        diary, lambda to: phone_command(to, diary, Path(bundle), crowd), address or settings.join, crowd
    )


def _usual_memory() -> Path:
    from platformdirs import user_data_path

    return user_data_path("fedkey") / "personal.sqlite"
