"""What tests of writing as a value share: keys by name, and eyes."""

from __future__ import annotations

import re
from collections.abc import Callable

from fedkey import draft as writing
from fedkey.draft import Draft, Place, accept, backspace, correct, insert, undo

KEYS: dict[str, Callable[[Draft], Draft]] = {
    "back": backspace,
    "del": writing.delete,
    "left": writing.left,
    "right": writing.right,
    "home": writing.home,
    "end": writing.end,
    "top": writing.top,
    "bottom": writing.bottom,
    "word left": writing.word_left,
    "word right": writing.word_right,
    "delete word": writing.delete_word,
    "clear": writing.clear,
    "undo": undo,
    "keep": writing.keep,
    "first letter": lambda draft: writing.point(draft, writing.word_left(draft).caret),
    "leave": writing.leave,
    "🙂": lambda draft: writing.put_emoji(draft, "🙂"),
}


def type_keys(keys: str, draft: Draft | None = None) -> Draft:
    """`{back}` presses a key, `{=word}` accepts a suggestion, `{wrld>world}` corrects what was typed, as soon
    as it was finished or later, anything else is typed character by character."""
    draft = draft or Draft()
    for key in re.findall(r"\{[^}]+\}|.", keys, re.DOTALL):
        if key.startswith("{="):
            draft = accept(draft, key[2:-1])
        elif len(key) > 1 and ">" in key:
            letters, word = key[1:-1].split(">")
            draft = correct(draft, Place(draft.text.rfind(letters), letters), word)
        elif len(key) > 1:
            draft = KEYS[key[1:-1]](draft)
        else:
            draft = insert(draft, key)
    return draft


def shown(draft: Draft) -> str:
    """The text with a bar for the caret."""
    return f"{draft.text[: draft.caret]}|{draft.text[draft.caret :]}"
