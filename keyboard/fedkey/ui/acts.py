"""What can be done to the words that are remembered, by key and by mouse.

In: how much room there is. Out: the keys and their names, as lines that fit. Next stop: `fedkey.ui.privacy`.
"""

from __future__ import annotations

from typing import NamedTuple

from textual.content import Content


class Act(NamedTuple):
    """What can be done to the words: its key as it is shown, its name, the screen's action."""

    key: str
    name: str
    action: str


ACTS = (
    Act("Del", "forget", "forget"),
    Act("Enter", "edit", "respell"),
    Act("^Z", "undo", "bring_back"),
    Act("^S", "export", "export"),
    Act("^B", "import", "import"),
    Act("^D", "erase all", "erase_all"),
)


def acts_line(width: int) -> Content:
    """What the keys do; a click does the same. None of them is broken over two lines."""
    text, room = "", width
    for act in ACTS:
        needed = len(act.key) + 1 + len(act.name)
        gap = "" if not text else "  " if room >= needed + 2 else "\n"
        room = (width if gap == "\n" else room - len(gap)) - needed
        text += f"{gap}[@click='screen.{act.action}'][b]{act.key}[/b] {act.name}[/]"
    return Content.from_markup(text)
