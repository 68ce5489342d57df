"""Keys saved, as keyboards count them: the same typing in four ways.

In: a text, a bundle, perhaps a database of presage's. Out: a table on standard output. Next stop:
`BENCHMARKS.md`.

    python server/bench/keys_saved.py --text FILE [--bundle BUNDLE] [--presage DATABASE] [--num-words N]
        [--message-words 5-20]

A figure of keys saved means little without how it was counted. All are of the ideal typist, who looks after
every key and takes the word once it is shown. They differ in two things:

1. What is counted. `fedkey.metrics.Keystrokes` counts every character of a message, punctuation and digits
   too, which nobody predicts, and no space behind its last word. Others count words alone, each with the
   space behind it, as presage's own simulator (`presage_simulator -i`) does: n letters are n + 1 keys, and a
   word that is taken after m letters m + 1.
2. Whether a word that was shown for fewer letters is shown again. Who looks always and did not take it does
   not mean it, and presage leaves it out unless told otherwise (`REPEAT_SUGGESTIONS`); whoever overlooks
   words would lose it. fedkey shows them again unless its writer says otherwise (`show_again` in its
   settings), and so does presage in our other tables.

Words that are not to be shown again are left out of a longer list, for all systems alike.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from fedkey import Engine, shipped_bundle
from fedkey.metrics import Keystrokes, Sums, bootstrap
from fedkey.presage import Presage
from fedkey.simulate import (
    NUM_SHOWN,
    GradedConversation,
    Predictor,
    Typist,
    read_conversations,
    sample,
)
from fedkey.text import PLACEHOLDERS, is_word, units_with_places

NUM_ASKED = 15
"""Words asked for where none is shown twice: each letter leaves three out, and few of them fit the next."""


@dataclass(frozen=True)
class Ways(Sums):
    """The keys of some messages, counted in each way."""

    all_again: Keystrokes = Keystrokes()
    """Every character; words are shown again. As in all other tables."""
    words_again: Keystrokes = Keystrokes()
    all_once: Keystrokes = Keystrokes()
    words_once: Keystrokes = Keystrokes()
    """Words and their spaces; no word is shown twice. As presage's simulator counts by default."""


def count(
    predictor: Predictor, conversations: Sequence[GradedConversation], message_words: range
) -> dict[str, Ways]:
    """Each author's keys in the messages that are graded and have as many words as `message_words` holds."""
    totals: dict[str, Ways] = {}
    for conversation in conversations:
        before = ""
        for message, is_graded in zip(conversation.messages, conversation.graded, strict=True):
            num_words = sum(is_word(unit) for unit, _ in units_with_places(message))
            if is_graded and num_words in message_words:
                ways = Ways(
                    *_counted(predictor, before, message, is_shown_again=True),
                    *_counted(predictor, before, message, is_shown_again=False),
                )
                totals[conversation.author] = totals.get(conversation.author, Ways()) + ways
            before += message + "\n"
    return totals


def _counted(
    predictor: Predictor, before: str, message: str, *, is_shown_again: bool
) -> tuple[Keystrokes, Keystrokes]:
    """The keys of one message: of every character, and of words with their spaces."""
    typist, words, end = Typist(), Keystrokes(), 0
    for unit, start in units_with_places(message):
        typist.gap(start - end)
        end = start + len(unit)
        if is_word(unit):
            shown = _shown(predictor, before + message[:start], unit, is_shown_again=is_shown_again)
            taken = next((letters for letters, each in enumerate(shown) if unit.lower() in each), None)
            typist.word(len(unit), taken)
            pressed = len(unit) if taken is None else taken
            words += Keystrokes(pressed + 1, len(unit) + 1)
        elif unit not in PLACEHOLDERS:
            typist.type(len(unit))
    return typist.keystrokes(), words


def _shown(predictor: Predictor, context: str, word: str, *, is_shown_again: bool) -> Iterator[list[str]]:
    """What is shown before each letter of a word, in small letters."""
    seen: set[str] = set()
    for letters in range(len(word)):
        answer = predictor.suggest(context, word[:letters], NUM_SHOWN if is_shown_again else NUM_ASKED)
        shown = [each.lower() for each in answer.words if each.lower() not in seen][:NUM_SHOWN]
        if not is_shown_again:
            seen.update(shown)
        yield shown


def table(systems: dict[str, dict[str, Ways]]) -> str:
    """Shares of keys saved in %, with intervals over authors, as Markdown."""
    names = ("all_again", "words_again", "all_once", "words_once")
    lines = [
        "| keys saved % | every character | words and spaces | every character, none shown twice "
        "| words and spaces, none shown twice |",
        "| --- | --- | --- | --- | --- |",
    ]
    for system, by_author in systems.items():
        cells = []
        for name in names:
            keys: list[Keystrokes] = [getattr(ways, name) for ways in by_author.values()]
            saved = bootstrap(
                [each.characters - each.pressed for each in keys], [each.characters for each in keys]
            )
            cells.append(f"{100 * saved.value:.1f} [{100 * saved.low:.1f}, {100 * saved.high:.1f}]")
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _range(text: str) -> range:
    least, _, most = text.partition("-")
    return range(int(least), int(most) + 1)


def main() -> None:
    """Types and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="as for 'fedkey eval'")
    parser.add_argument("--bundle", type=Path, default=shipped_bundle(), help="default: the one that ships")
    parser.add_argument("--presage", type=Path, help="a database, as 'make benchmark' leaves one")
    parser.add_argument("--num-words", type=int, default=6000, help="default %(default)s")
    parser.add_argument(
        "--message-words", type=_range, default=range(1, 1 << 30), help="only messages of so many words, 5-20"
    )
    arguments = parser.parse_args()
    conversations = sample(read_conversations(arguments.text), arguments.num_words, 0)
    systems: dict[str, Predictor] = {"fedkey": Engine.open(arguments.bundle)}
    if arguments.presage is not None:
        systems["presage"] = Presage(arguments.presage)
    counted = {
        name: count(system, conversations, arguments.message_words) for name, system in systems.items()
    }
    print(table(counted))


if __name__ == "__main__":
    main()
