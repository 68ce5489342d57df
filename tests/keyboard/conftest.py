"""The keyboard on screen, for whoever tests it; `at_screen.py` has eyes and hands for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from at_screen import GatedEngine

from fedkey.layout import QWERTY
from fedkey.ui.app import KeyboardApp

KEY_WINDOW, KEY_IDLE = 0.004, 0.0005
"""Seconds of a look at whether a key is still being worked on, and of processor time in it that are none."""


@pytest.fixture(autouse=True, scope="session")
def quick_keys() -> Iterator[None]:
    """Pilot waits twice behind each key, 20 milliseconds and more, until the process is idle: half of the
    time of these tests. A key is handled sooner, and tests wait themselves for what a thread works out."""

    async def wait_until_handled(_: float) -> None:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            busy = time.process_time()
            await asyncio.sleep(KEY_WINDOW)
            if time.process_time() - busy < KEY_IDLE:
                return

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textual.app.wait_for_idle", wait_until_handled)
        yield


@pytest.fixture
def engine(tiny_bundle: Path) -> GatedEngine:
    """The real engine, behind a gate that is open."""
    return GatedEngine(tiny_bundle)


@pytest.fixture
def app(engine: GatedEngine) -> KeyboardApp:
    """The app with this engine, not yet running."""
    return KeyboardApp(lambda: engine, QWERTY)
