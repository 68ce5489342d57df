"""What terminals send and Textual reads otherwise than this keyboard needs.

In: nothing. Out: a change to Textual's table of key sequences, made once when the app is. Next stop:
`fedkey.ui.typing`.
"""

from __future__ import annotations

from enum import StrEnum

from textual import _ansi_sequences

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
