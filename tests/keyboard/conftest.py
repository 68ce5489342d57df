"""The keyboard on screen, for whoever tests it; `at_screen.py` has eyes and hands for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from at_screen import GatedEngine

from fedkey.layout import QWERTY
from fedkey.ui.app import KeyboardApp


@pytest.fixture
def engine(tiny_bundle: Path) -> GatedEngine:
    """The real engine, behind a gate that is open."""
    return GatedEngine(tiny_bundle)


@pytest.fixture
def app(engine: GatedEngine) -> KeyboardApp:
    """The app with this engine, not yet running."""
    return KeyboardApp(lambda: engine, QWERTY)
