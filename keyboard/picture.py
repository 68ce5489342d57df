"""Draws the picture of the README from the real keyboard: `python keyboard/picture.py BUNDLE PICTURE.svg`.

In: a bundle. Out: an SVG of the screen in the middle of a word; the same bytes for the same bundle. Next
stop: `README.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from functools import partial
from pathlib import Path

from fedkey import Engine, UserError
from fedkey.bundle import open_bundle
from fedkey.layout import layout_named
from fedkey.ui.app import KeyboardApp
from fedkey.ui.keypad import Keypad

SIZE = (71, 27)
SENT = ("Hi! Are you home this evening?", "I made far too much soup", "Come over if you like!")
DRAFT = "It would be really n"

ANSWER_SECONDS = 30

_FONT = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_HALF_BLOCKS = re.compile(
    r'<text class="(?P<style>[^"]+)" x="(?P<x>[^"]+)" y="(?P<y>[^"]+)" textLength="(?P<width>[^"]+)"'
    r"[^>]*>▀+</text>"
)
_LINE_HEIGHT = 24.4
_BASELINE = 18.5
"""Of Rich's SVG template: pixels of a line, and from its upper edge to its baseline."""


def main() -> int:
    """Entry point of the script."""
    parser = argparse.ArgumentParser(description="Draw the keyboard as it looks with a bundle.")
    parser.add_argument("bundle")
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    try:
        drawing = asyncio.run(draw(arguments.bundle))
    except UserError as error:
        print(f"picture: {error}", file=sys.stderr)
        return 2
    arguments.picture.write_text(drawing, encoding="utf-8")
    return 0


async def draw(bundle: str) -> str:
    """Types a little conversation and draws the screen."""
    opened = open_bundle(bundle)
    app = KeyboardApp(partial(Engine, opened), layout_named(opened.manifest.layout))
    async with app.run_test(size=SIZE) as pilot:
        typing = app.typing
        for message in SENT:
            typing.write(message)
            typing.action_send()
        typing.write(DRAFT)
        async with asyncio.timeout(ANSWER_SECONDS):
            while typing.shown is None or typing.shown.question.typed != typing.draft.typed:
                await pilot.pause()
        # The time an answer took differs from run to run.
        typing.query_one("#latency").display = False
        await pilot.pause()
        # Nothing is awaited while the key is lit, so that it cannot go out before it is drawn.
        typing.query_one(Keypad).light(DRAFT[-1])
        return self_contained(app.export_screenshot())


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


if __name__ == "__main__":
    sys.exit(main())
