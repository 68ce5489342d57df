"""What terminals send and Textual reads otherwise than this keyboard needs.

In: nothing, or one of Textual's drivers. Out: a change to Textual's table of key sequences, made once when
the app is; and the driver, which bytes that are no UTF-8 do not end. Next stop: `fedkey.ui.typing`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from textual import _ansi_sequences

if TYPE_CHECKING:
    from textual.driver import Driver

ALT_DIGITS = tuple(f"\x1b{digit}" for digit in range(1, 7))


class Keys(StrEnum):
    """Keys for which Textual has no name in its table."""

    ALT_ENTER = "alt+enter"


def read_alt_keys() -> None:
    """Lets Alt+1 to Alt+6 arrive as `alt+1` to `alt+6`, and Alt+Enter as `alt+enter`.

    Most terminals, and tmux, send Escape and the digit for them. Textual takes that for the characters a Mac
    types with the Option key (¡, ™, £ and so on), which are then told apart no more from the same characters
    typed on a keyboard that has them. Of Escape and what Enter sends it keeps Enter alone, which would send a
    message where a new line was asked for.
    """
    for sequence in ALT_DIGITS:
        _ansi_sequences.ANSI_SEQUENCES_KEYS.pop(sequence, None)  # type: ignore[attr-defined]
    _ansi_sequences.ANSI_SEQUENCES_KEYS["\x1b\r"] = (Keys.ALT_ENTER,)  # type: ignore[index]


def forgiving(kind: type[Driver]) -> type[Driver]:
    """A driver for which a byte that is no UTF-8 is U+FFFD: a terminal of another encoding, or a paste, would
    end the program, and the draft with it. Drivers that read no terminal are returned as they are."""
    if not hasattr(kind, "run_input_thread"):
        return kind
    base: Any = kind

    class Forgiving(base):  # type: ignore[misc]
        def run_input_thread(self) -> None:
            while True:
                try:
                    super().run_input_thread()
                except UnicodeDecodeError as error:
                    from textual._xterm_parser import XTermParser

                    for event in XTermParser().feed(error.object.decode("utf-8", "replace")):
                        self.process_message(event)
                else:
                    return

    return Forgiving
