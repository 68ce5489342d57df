"""What the writer chooses about the keys: which layout is drawn, and whose thumbs press them.

In: the typing screen. Out: the next layout, and commands for the palette. Next stop: `fedkey.ui.app`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from textual.app import SystemCommand

from fedkey.layout import LAYOUTS, Layout
from fedkey.taps import DEFAULT_THUMBS

if TYPE_CHECKING:
    from fedkey.ui.typing import TypingScreen

DEFAULT_CLUMSINESS = DEFAULT_THUMBS.sigma_x
"""Key widths; eight letters in a hundred land on another key, see `Thumbs`."""


def next_layout(layout: Layout) -> Layout:
    """The layout that follows in the list, after the last the first."""
    layouts = list(LAYOUTS.values())
    return layouts[(layouts.index(layout) + 1) % len(layouts)]


def key_commands(typing: TypingScreen) -> Iterable[SystemCommand]:
    """What the command palette offers."""
    for layout in LAYOUTS.values():
        if layout != typing.key_layout:
            yield SystemCommand(
                f"Keys: {layout.name.upper()}",
                "Draw these keys, and expect their neighbours for slips",
                partial(setattr, typing, "key_layout", layout),
            )
    yield SystemCommand(
        "Clumsy thumbs",
        "Press the keys as they are again"
        if typing.clumsiness is not None
        else "Let keys be missed as thumbs miss them, and see it repaired",
        typing.action_toggle_clumsiness,
    )
