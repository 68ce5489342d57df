"""How fedkey looks unless another theme is chosen: quiet greys and one accent.

In: nothing. Out: a dark and a light theme, and which other names there are. Next stop: `app.tcss`, which uses
theme variables only, so that every theme of Textual fits.
"""

from __future__ import annotations

import difflib

from textual.theme import BUILTIN_THEMES, Theme

from fedkey.errors import UserError

DARK = Theme(
    name="fedkey-dark",
    primary="#8fbfa8",
    accent="#8fbfa8",
    foreground="#dfe2e6",
    background="#15171a",
    surface="#1e2125",
    panel="#2a2e33",
    warning="#d9b36c",
    error="#d98080",
    success="#8fbfa8",
    dark=True,
    variables={"footer-background": "#15171a", "footer-key-foreground": "#8fbfa8"},
)

LIGHT = Theme(
    name="fedkey-light",
    primary="#2c6e54",
    accent="#2c6e54",
    foreground="#2a2d31",
    background="#f6f4ef",
    surface="#ebe8e0",
    panel="#dcd8ce",
    warning="#8a6116",
    error="#a03c3c",
    success="#2c6e54",
    dark=False,
    variables={"footer-background": "#f6f4ef", "footer-key-foreground": "#2c6e54"},
)

THEMES = (DARK, LIGHT)


def check_theme(name: str, where: str = "") -> None:
    """Refuses what is no theme, neither ours nor Textual's.

    Raises:
        UserError: one sentence with the nearest theme; `where` begins it.
    """
    available = {*BUILTIN_THEMES, *(theme.name for theme in THEMES)}
    if name not in available:
        nearest = difflib.get_close_matches(name, sorted(available), n=1, cutoff=0)
        raise UserError(f"{where}There is no theme {name!r}; do you mean {nearest[0]!r}?")
