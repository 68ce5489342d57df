"""The keyboard that types by itself, and the one that keeps what it showed.

In: a `fedkey.replay.Writer`, and a file for a picture or a moving one. Out: keys, as if they were pressed;
that file. Next stop: `fedkey.ui.app`.

Nobody need watch: without a terminal the same frames are drawn that a terminal would be sent.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from textual import events
from textual.driver import Driver
from textual.drivers.headless_driver import HeadlessDriver
from textual.widgets import Static

from fedkey.errors import UserError
from fedkey.files import whole
from fedkey.layout import ENTER
from fedkey.replay import Press, Sight, Writer
from fedkey.ui.app import KeyboardApp
from fedkey.ui.keypad import Keypad
from fedkey.ui.messages import EngineReady, Kind

KEYS_OF_PLACES = ("tab", "f3", "f4")
"""What takes the words on the strip."""

PATIENCE_SECONDS = 10.0
"""How long the writer waits for suggestions before going on without."""

LAST_SECONDS = 1.5
"""How long a recording shows the end."""

_FONT = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_HALF_BLOCKS = re.compile(
    r'<text class="(?P<style>[^"]+)" x="(?P<x>[^"]+)" y="(?P<y>[^"]+)" textLength="(?P<width>[^"]+)"'
    r"[^>]*>▀+</text>"
)
_LINE_HEIGHT = 24.4
_BASELINE = 18.5
"""Of Rich's SVG template: pixels of a line, and from its upper edge to its baseline."""

_ENTERS = "\x1b[?1049h\x1b[?25l"
"""What a terminal is told first where nobody else tells it: a screen of its own, without a cursor."""


class Recording:
    """What was on screen, for one file.

    Attributes:
        path: a .svg gets the last screen, a .cast the whole session (asciicast, version 2).
    """

    def __init__(self, path: Path) -> None:
        """Raises `UserError` if nothing can be recorded there."""
        if path.suffix not in (".svg", ".cast"):
            raise UserError(
                f"--record {path}: name a file that ends in .svg (a picture) or .cast (asciicast)."
            )
        if not os.access(path.parent, os.W_OK):
            raise UserError(f"--record {path}: there is no folder {path.parent} that can be written to.")
        self.path = path
        self.size = (0, 0)
        self._frames: list[tuple[float, str]] = []
        self._drawing = ""

    @property
    def is_picture(self) -> bool:
        """Whether only the last screen counts."""
        return self.path.suffix == ".svg"

    def add(self, sent: str) -> None:
        """Keeps what a terminal was sent just now."""
        if not self.is_picture:
            self._frames.append((time.monotonic(), sent))

    def draw(self, app: KeyboardApp) -> None:
        """Keeps the screen as it is."""
        self.size = app.size
        if self.is_picture:
            self._drawing = self_contained(app.export_screenshot())

    def save(self) -> None:
        """Writes the file."""
        try:
            with whole(self.path) as beside:
                beside.write_text(self._drawing if self.is_picture else self._cast(), encoding="utf-8")
        except OSError as error:
            raise UserError(f"Cannot write the recording {self.path}: {error.strerror}.") from error

    def _cast(self) -> str:
        width, height = self.size
        header = {
            "version": 2,
            "width": width,
            "height": height,
            "title": "fedkey",
            "env": {"TERM": "xterm-256color"},
        }
        start = self._frames[0][0] if self._frames else 0.0
        frames = ([round(at - start, 4), "o", sent] for at, sent in self._frames)
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (header, *frames))


class PlayedKeyboard(KeyboardApp):
    """A keyboard that a `Writer` writes on, that is recorded, or both."""

    def __init__(
        self,
        *arguments: Any,
        writer: Writer | None = None,
        recording: Recording | None = None,
        is_seen: bool = True,
        **options: Any,
    ) -> None:
        """As `KeyboardApp`.

        Args:
            arguments: of `KeyboardApp`.
            writer: who writes.
            recording: what is kept.
            is_seen: whether there is a terminal.
            options: of `KeyboardApp`.
        """
        self._recording = recording
        self._is_seen = is_seen
        super().__init__(*arguments, **options)
        self._writer = writer

    def get_driver_class(self) -> type[Driver]:
        """One that keeps what it sends."""
        kind = super().get_driver_class() if self._is_seen else _Unseen
        return kind if self._recording is None else _recorded(kind, self._recording)

    def on_engine_ready(self, _: EngineReady) -> None:
        """Begins to write."""
        if self._writer is not None:
            self.run_worker(self._write(self._writer), name="writer", group="writer")

    def exit(self, *arguments: Any, **options: Any) -> None:
        """Keeps the last screen, unless the keyboard cannot be used."""
        if self._recording is not None and not arguments:
            self._recording.draw(self)
        super().exit(*arguments, **options)

    async def _write(self, writer: Writer) -> None:
        pressed = time.monotonic()
        last = None
        await self._answered()
        while (press := writer.next(self._sight())) is not None:
            await asyncio.sleep(max(pressed + press.seconds - time.monotonic(), 0))
            pressed, last = time.monotonic(), press
            await self._press(press.key)
            await self._answered()
        if self._recording is None:
            return
        if self._recording.is_picture:
            await self._pose(last)
        else:
            await asyncio.sleep(LAST_SECONDS)
        self.exit()

    async def _press(self, key: str) -> None:
        """Presses a key, and waits until everybody has done what they do for it."""
        done = asyncio.Event()
        character = key if len(key) == 1 else "\r" if key == ENTER else None
        self.post_message(events.Key(key, character))
        # The key goes from the app's queue to the screen's, and this behind it.
        self.call_later(lambda: self.screen.call_later(done.set))
        await done.wait()

    async def _answered(self) -> None:
        """Waits until what is shown is for the text as it stands."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.typing.is_answered and time.monotonic() < deadline:
            await asyncio.sleep(0.005)

    def _sight(self) -> Sight:
        offers = zip(KEYS_OF_PLACES, self.typing.offers_in_view, strict=False)
        words = (Kind.WORD, Kind.CORRECTION)
        return Sight(
            self.typing.draft.text,
            tuple((key, offer.text) for key, offer in offers if offer is not None and offer.kind in words),
        )

    async def _pose(self, last: Press | None) -> None:
        """Leaves out what differs from one drawing to the next: how long an answer took, and whether the last
        key is still lit."""
        keypad = self.typing.query_one(Keypad)
        while keypad.lit:  # on a busy machine, keys before the last one too
            await asyncio.sleep(0.01)
        # Not hidden: that takes a layout, which a busy machine makes after the picture.
        self.typing.query_one("#latency", Static).update("", layout=False)
        key = keypad.keys.key_for(last.key) if last is not None and len(last.key) == 1 else None
        if key is not None:
            keypad.light(key.name)


class _Unseen(HeadlessDriver):
    """A terminal that is not there and is drawn to all the same."""

    @property
    def is_headless(self) -> bool:
        """Textual draws nothing where it is told so."""
        return False


def _recorded(kind: type[Driver], recording: Recording) -> type[Driver]:
    class Recorded(kind):  # type: ignore[misc, valid-type]
        def write(self, data: str) -> None:
            recording.add(data)
            super().write(data)

        def start_application_mode(self) -> None:
            if kind is _Unseen:
                recording.add(_ENTERS)
            super().start_application_mode()

    return Recorded


def self_contained(drawing: str) -> str:
    """The drawing with fonts that are at hand, and with key edges that need no font at all."""
    drawing = re.sub(r"\s*@font-face \{.*?\}", "", drawing, flags=re.DOTALL)
    drawing = drawing.replace("Fira Code, monospace", _FONT)
    return _HALF_BLOCKS.sub(_as_rectangle, drawing)


def _as_rectangle(match: re.Match[str]) -> str:
    top = float(match["y"]) - _BASELINE
    return (
        f'<rect class="{match["style"]}" x="{match["x"]}" y="{top:g}" width="{match["width"]}" '
        f'height="{_LINE_HEIGHT / 2:g}" shape-rendering="crispEdges"/>'
    )
