"""Which messages of public text teach a keyboard, and how often each conversation is heard.

In: a source's conversations, and the share of it that is wanted. Out: conversations fit for training. Next
stop: `fedkey_server.vocabulary`.

Public text is not typed on phones: it holds shell commands and stack traces, masks in place of names, the
same template a thousand times, and some sources are far larger than they are useful. Phones' own text never
comes here; what people type is theirs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fedkey.text import LINK, split
from fedkey_server.corpus import Conversation, Message, Report

MAX_REPEATS = 3
"""So many times a long message is kept in a source; the next are a template ("Have a great day!")."""
LONG = 20
"""Characters from which on a repeated message is no mere "haha yes"."""
PROSE_SHARE = 0.85
"""Of the units of a message, those that are words without digits or plain punctuation; code has fewer."""

_MASK = re.compile(r"\[[A-Z]{3,}\]|\{\w+\}|<\w+>")
_ADDRESSEE = re.compile(r"^[\w\[\]{}|^-]{2,20}: +(?=\S)")
_COMMAND = re.compile(
    r"(?:^|\s)(?:sudo|apt-get|chmod|grep|/\w[\w.-]*/[\w./-]*|--?\w[\w-]*=)|[\\$|{}=<>]\s|::|->|\(\)"
)
_PROSE = re.compile(r"[^\W\d]+(?:'[^\W\d]+)*|[.,!?'\"():;-]+|\d{1,2}|[^\w\s]{2,}|[^\x00-\x7f]")


def sift(
    conversations: Sequence[Conversation], share: float, seed: int, report: Report
) -> list[Conversation]:
    """Keeps what teaches a keyboard, and of that a share.

    Messages with masks, code or links, and templates, are left out and counted in `report`; the name that a
    chat message is addressed to ("ann: yes") is taken off it.

    Args:
        share: of the conversations; 0.5 keeps a random half, 2.5 gives every one twice and a random half of
            them once more.
        seed: of that choice.
    """
    seen: Counter[str] = Counter()
    kept = []
    for conversation in conversations:
        messages = []
        for message in conversation.messages:
            text = _ADDRESSEE.sub("", message.text)
            reason = _fault(text, seen)
            if reason is None:
                messages.append(Message(message.author, text))
            else:
                report.reject(reason, conversation.id)
        if messages:
            kept.append(Conversation(conversation.id, tuple(messages)))
    times, rest = divmod(share, 1.0)
    order = np.random.default_rng(seed).permutation(len(kept))
    chosen = np.sort(order[: round(rest * len(kept))])
    return kept * int(times) + [kept[place] for place in chosen]


def _fault(text: str, seen: Counter[str]) -> str | None:
    """Why a message is left out, if it is; counts the long ones."""
    if _MASK.search(text):
        return "holds a mask"
    if LINK in text or _COMMAND.search(text):
        return "holds a link or a command"
    units = split(text)
    if sum(_PROSE.fullmatch(unit) is not None for unit in units) < PROSE_SHARE * len(units):
        return "is no prose"
    if len(text) > LONG:
        seen[text.lower()] += 1
        if seen[text.lower()] > MAX_REPEATS:
            return f"is a template, seen more than {MAX_REPEATS} times"
    return None
