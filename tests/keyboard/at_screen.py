"""What tests of the keyboard on screen share: the real engine behind a gate, and eyes and hands.

A `GatedEngine` answers when the test lets it, so that races are played out move by move instead of by luck.
For letters that the test names it gives the test's answer instead of its own.
"""

from __future__ import annotations

import html
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

from rich.cells import cell_len
from textual import events
from textual.pilot import Pilot

from fedkey import Engine, Suggestions
from fedkey.bundle import open_bundle
from fedkey.engine import Accepted
from fedkey.ui.app import KeyboardApp
from fedkey.ui.keypad import Keypad, fitted
from fedkey.ui.suggestions import NUM_WORDS, Choice, offered

RUN = re.compile(r'<text class="[^"]*-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>')
CELL_WIDTH = 12.2
"""How screenshots write a run of characters, and how many pixels wide they draw one."""


class GatedEngine(Engine):
    """Waits at a gate before every answer, gives prepared answers, and remembers what it was asked and
    told."""

    def __init__(self, bundle: Path) -> None:
        super().__init__(open_bundle(bundle))
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[tuple[str, str]] = []
        self.asked_before: list[str] = []
        """What stood behind the word each time."""
        self.replaced: list[str] = []
        """The words, of those asked about, that were written already."""
        self.told: list[tuple[str, str, str]] = []
        self.told_before: list[str] = []
        self.taken_back: list[Accepted] = []
        self.privacy: set[bool] = set()
        self.prepared: dict[str, Suggestions] = {}
        self.prepared_instead: dict[str, Suggestions] = {}

    def prepare(
        self,
        typed: str,
        *words: str,
        autocorrect: str | None = None,
        phrase: str | None = None,
        emoji: tuple[str, ...] = (),
    ) -> None:
        """Answers so wherever just these letters are typed; the engine is as sure of each word."""
        self.prepared[typed] = Suggestions(words, (0.0,) * len(words), autocorrect, 1.0, phrase, emoji)

    def prepare_sure(self, typed: str, *words: str, autocorrect: str | None = None) -> None:
        """As `prepare`, but the first word is the one."""
        log_probs = (-1.0, *(-9.0 for _ in words[1:]))
        self.prepared[typed] = Suggestions(words, log_probs, autocorrect, 1.0)

    def prepare_instead(self, written: str, *words: str) -> None:
        """Answers so wherever words are wanted in place of this one."""
        self.prepared_instead[written] = Suggestions(words, (0.0,) * len(words), None, 1.0, literal=written)

    def suggest(  # type: ignore[override]
        self,
        context: str,
        typed: str,
        k: int = 3,
        *,
        private: bool = False,
        after: str = "",
        left_out: Collection[str] = (),
    ) -> Suggestions:
        self._hear(context, typed, after, private)
        if typed in self.prepared:
            return self.prepared[typed]
        return super().suggest(context, typed, k, private=private, after=after, left_out=left_out)

    def replacements(
        self, context: str, word: str, after: str, k: int = 3, *, private: bool = False
    ) -> Suggestions:
        self.replaced.append(word)
        self._hear(context, word, after, private)
        if word in self.prepared_instead:
            return self.prepared_instead[word]
        return super().replacements(context, word, after, k, private=private)

    def reconsidered(
        self,
        context: str,
        first: str,
        second: str,
        stands: str | None = None,
        *,
        gap: str = " ",
        after: str = "",
    ) -> str | None:
        assert self.gate.wait(20)
        return super().reconsidered(context, first, second, stands, gap=gap, after=after)

    def _hear(self, context: str, word: str, after: str, private: bool) -> None:
        self.asked.append((context, word))
        self.asked_before.append(after)
        self.privacy.add(private)
        assert self.gate.wait(20)

    def accept(
        self,
        context: str,
        typed: str,
        word: str,
        *,
        private: bool = False,
        after: str = "",
        told_after: str | None = None,
    ) -> Accepted:
        self.told.append((context, typed, word))
        self.told_before.append(after)
        self.privacy.add(private)
        return super().accept(context, typed, word, private=private, after=after, told_after=told_after)

    def undo(self, accepted: Accepted) -> None:
        self.taken_back.append(accepted)
        super().undo(accepted)


async def wait_for(pilot: Pilot[str], condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await pilot.pause(0.005)


async def settled(pilot: Pilot[str]) -> None:
    """Waits until the answer for the draft as it stands is shown."""
    typing = pilot.app.typing  # type: ignore[attr-defined]
    await wait_for(
        pilot, lambda: typing.shown is not None and typing.shown.question.revision == typing._revision
    )
    await pilot.pause()


def words(app: KeyboardApp) -> tuple[str, ...]:
    """The words on the strip, as its places show them."""
    offers = [choice.offer for choice in app.typing.query(Choice) if choice.rank < NUM_WORDS]
    return tuple(offer.text for offer in offers if offer is not None)


def words_for(engine: Engine, context: str, typed: str, after: str = "") -> tuple[str, ...]:
    """The words that the strip should show."""
    offers = offered(engine.suggest(context, typed, after=after), typed, may_correct=True)[:NUM_WORDS]
    return tuple(offer.text for offer in offers if offer is not None)


def text(app: KeyboardApp) -> str:
    draft = app.typing.draft
    return f"{draft.text[: draft.caret]}|{draft.text[draft.caret :]}"


def screen_text(app: KeyboardApp) -> str:
    """The lines on screen, as the terminal would show them, without colours."""
    lines: dict[float, str] = defaultdict(str)
    for x, y, run in RUN.findall(app.export_screenshot()):
        line = lines[float(y)]
        gap = " " * (round(float(x) / CELL_WIDTH) - cell_len(line))
        lines[float(y)] = line + gap + html.unescape(run).strip("\n").replace("\xa0", " ")
    return "\n".join(lines[y] for y in sorted(lines))


def tap(app: KeyboardApp, column: float, line: float) -> None:
    """Presses the left button within the keypad, on fractions of cells if need be, lets it go, and waits for
    nothing."""
    mouse(app, events.MouseDown, column, line)
    mouse(app, events.MouseUp, column, line)


def mouse(app: KeyboardApp, kind: type[events.MouseEvent], column: float, line: float) -> None:
    """What the left button does at a place within the keypad."""
    left, top = app.typing.query_one(Keypad).region.offset
    x, y = left + column, top + line
    app.screen._forward_event(kind(None, x, y, 0, 0, 1, False, False, False, screen_x=x, screen_y=y))


def key_cell(keypad: Keypad, name: str) -> tuple[int, int]:
    """The cell in the middle of a key in view, (column, line) within the keypad."""
    fit = fitted(keypad.keys, *keypad.size)
    x, y = keypad.drawn[name].center
    return fit.edge(x), int(y / fit.line_height)


async def click_key(pilot: Pilot[str], name: str) -> None:
    await pilot.click(Keypad, offset=key_cell(pilot.app.query_one(Keypad), name))
