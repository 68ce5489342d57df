"""Keys saved, as keyboards count them: the same typing in six ways.

In: a text, a bundle, perhaps a database of presage's. Out: a table on standard output. Next stop:
`BENCHMARKS.md`.

    python server/bench/keys_saved.py --text FILE [--bundle BUNDLE] [--presage DATABASE] [--num-words N]
        [--message-words 5-20]

A figure of keys saved means little without how it was counted. All are of the ideal typist, who looks after
every key and takes the word once it is shown. They differ in two things:

1. What is counted. `fedkey.metrics.Keystrokes` counts every character of a message, punctuation and digits
   too, which nobody predicts, no space behind its last word, and a key for the space behind a comma. The keys
   that fedkey's keyboard needs for the same messages are fewer, since the space of an accepted word, which
   gives way to a comma, comes back behind it: they are pressed on `fedkey.draft`, one by one. Others count
   words alone, each with the space behind it, as presage's own simulator (`presage_simulator -i`) does: n
   letters are n + 1 keys, and a word that is taken after m letters m + 1.
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
from fedkey.conversations import GradedConversation, read_conversations, sample
from fedkey.draft import Draft, accept, insert
from fedkey.metrics import Keystrokes, Sums, bootstrap
from fedkey.presage import Presage
from fedkey.simulate import NUM_SHOWN, Predictor, Typist
from fedkey.text import PLACEHOLDERS, is_word, units_with_places

NUM_ASKED = 15
"""Words asked for where none is shown twice: each letter leaves three out, and few of them fit the next."""


@dataclass(frozen=True)
class Ways(Sums):
    """The keys of some messages, counted in each way."""

    all_again: Keystrokes = Keystrokes()
    """Every character; words are shown again. As in all other tables."""
    pressed_again: Keystrokes = Keystrokes()
    """Every character, and the keys that fedkey's keyboard needs for it."""
    words_again: Keystrokes = Keystrokes()
    all_once: Keystrokes = Keystrokes()
    pressed_once: Keystrokes = Keystrokes()
    words_once: Keystrokes = Keystrokes()
    """Words and their spaces; no word is shown twice. As presage's simulator counts by default."""


@dataclass(frozen=True)
class Typed:
    """One unit of a message and how it is written.

    Attributes:
        start: where it begins in the message.
        unit: a word, punctuation, a placeholder.
        taken_after: how many letters of it are typed before the word is accepted; None for all of them.
    """

    start: int
    unit: str
    taken_after: int | None

    @property
    def end(self) -> int:
        """Where it ends in the message."""
        return self.start + len(self.unit)


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
) -> tuple[Keystrokes, Keystrokes, Keystrokes]:
    """The keys of one message: of every character, on the keyboard, and of words with their spaces."""
    typed = []
    for unit, start in units_with_places(message):
        taken = None
        if is_word(unit):
            shown = _shown(predictor, before + message[:start], unit, is_shown_again=is_shown_again)
            taken = next((letters for letters, each in enumerate(shown) if unit.lower() in each), None)
        typed.append(Typed(start, unit, taken))
    every = _of_every_character(typed)
    return every, Keystrokes(pressed(message, typed), every.characters), _of_words(typed)


def _of_every_character(typed: Sequence[Typed]) -> Keystrokes:
    typist, end = Typist(), 0
    for each in typed:
        typist.gap(each.start - end)
        end = each.end
        if is_word(each.unit):
            typist.word(len(each.unit), each.taken_after)
        elif each.unit not in PLACEHOLDERS:
            typist.type(len(each.unit))
    return typist.keystrokes()


def _of_words(typed: Sequence[Typed]) -> Keystrokes:
    keys = Keystrokes()
    for each in typed:
        if is_word(each.unit):
            size = len(each.unit)
            keys += Keystrokes((size if each.taken_after is None else each.taken_after) + 1, size + 1)
    return keys


def pressed(message: str, typed: Sequence[Typed]) -> int:
    """How many keys write a message on fedkey's keyboard, where each unit is written as `typed` says.

    A space is pressed where the keyboard brings none. Where it brings one too many (A.I., an emoticon it does
    not know), that costs three keys: to go back, to delete it, and to go on.
    """
    draft, keys = Draft(), 0
    for each in typed:
        if each.unit not in PLACEHOLDERS:
            keys += len(each.unit) if each.taken_after is None else each.taken_after + 1
        by_itself, after_space = _written(draft, each), _written(insert(draft, " "), each)
        if by_itself.text.rstrip() == message[: each.end]:
            draft = by_itself
        elif after_space.text.rstrip() == message[: each.end]:
            draft, keys = after_space, keys + 1
        else:
            draft, keys = _written(insert(Draft(), message[: each.start]), each), keys + 3
    return keys


def _written(draft: Draft, typed: Typed) -> Draft:
    for character in typed.unit[: typed.taken_after]:
        draft = insert(draft, character)
    return draft if typed.taken_after is None else accept(draft, typed.unit)


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
    names = ("all_again", "pressed_again", "words_again", "all_once", "pressed_once", "words_once")
    counted = ("every character", "on the keyboard", "words and spaces")
    lines = [
        f"| keys saved % | {' | '.join(counted)} | {', none twice | '.join(counted)}, none twice |",
        "| --- |" + " --- |" * len(names),
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
