"""Keys counted in six ways, by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import keys_saved
import pytest
from keys_saved import Typed, Ways, count, pressed, table

from fedkey.baseline import PeerSuggestions
from fedkey.conversations import GradedConversation
from fedkey.metrics import Keystrokes
from fedkey.text import units_with_places


class Fixed:
    """Suggests by the letters alone."""

    def __init__(self, words: Mapping[str, Sequence[str]]) -> None:
        self._words = words

    def suggest(self, context: str, typed: str, k: int = 3) -> PeerSuggestions:
        """The words that stand for the letters."""
        return PeerSuggestions(tuple(self._words.get(typed, ()))[:k], 0.0)


PREDICTOR = Fixed(
    {
        "": ("a", "b", "c", "we"),
        "g": ("good", "gone", "get", "give", "going"),
        "go": ("gone", "good", "got", "going", "goes"),
        "goi": ("going",),
    }
)


def test_what_is_counted_and_whether_words_are_shown_again() -> None:
    conversation = GradedConversation("ann", ("hey", "we going, hm"), (False, True))
    ways = count(PREDICTOR, [conversation], range(1, 100))["ann"]
    # 12 characters: "we" is never among three, "going" after "goi" (4 keys), comma and space, "hm" typed.
    assert ways.all_again == Keystrokes(3 + 4 + 2 + 2, 12)
    assert ways.words_again == Keystrokes(3 + 4 + 3, 3 + 6 + 3)
    # The space that came with "going" comes back behind the comma.
    assert ways.pressed_again == Keystrokes(3 + 4 + 1 + 2, 12)
    # Shown once, good, gone and get make room for going after "go".
    assert ways.all_once == Keystrokes(3 + 3 + 2 + 2, 12)
    assert ways.pressed_once == Keystrokes(3 + 3 + 1 + 2, 12)
    assert ways.words_once == Keystrokes(3 + 3 + 3, 12)


@pytest.mark.parametrize(
    ("message", "taken", "keys"),
    [
        ("so, hm", {}, 6),
        ("so, hm", {"so": 0}, 4),  # so, comma, h, m
        ("so hm", {"so": 1, "hm": 1}, 4),
        ("so (hm)", {"so": 0, "hm": 0}, 4),
        ("so, (hm)", {"so": 0, "hm": 0}, 6),  # a bracket may be an emoticon's mouth: its space is pressed
        ("A.I", {"A": 0, "I": 0}, 1 + 1 + 1 + 3),  # a space too many
        ("so \ue000 hm", {"so": 0}, 1 + 2),  # nobody presses a link
    ],
)
def test_keys_are_pressed_on_the_keyboard(message: str, taken: Mapping[str, int], keys: int) -> None:
    typed = [Typed(start, unit, taken.get(unit)) for unit, start in units_with_places(message)]
    assert pressed(message, typed) == keys


def test_messages_of_other_lengths_are_read_and_not_counted() -> None:
    conversation = GradedConversation("ann", ("going", "going going"), (True, True))
    ways = count(PREDICTOR, [conversation], range(2, 3))["ann"]
    assert ways.words_again == Keystrokes(8, 12)


def test_the_table_has_a_row_for_each_system_and_intervals_over_authors() -> None:
    half, none = Keystrokes(5, 10), Keystrokes(10, 10)
    by_author = {"ann": Ways(*[half] * 6), "ben": Ways(*[none] * 5, half)}
    row = table({"fedkey": by_author}).splitlines()[-1]
    assert row.startswith("| fedkey | 25.0 [0.0, 50.0] |")
    assert row.endswith("| 50.0 [50.0, 50.0] |")


def test_the_program_counts_messages_of_the_lengths_that_it_is_told(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(messages: Sequence[str], *options: str) -> str:
        text = tmp_path / "messages.txt"
        text.write_text("\n".join(messages))
        arguments = ["keys_saved.py", "--text", str(text), "--bundle", str(tiny_bundle), *options]
        monkeypatch.setattr("sys.argv", arguments)
        keys_saved.main()
        return capsys.readouterr().out

    messages = ["see", "good evening", "talk to you", "see you tomorrow Sarah", "thank you so much David"]
    found = printed(messages, "--message-words", "2-4")
    assert found == printed(messages[1:4])
    assert found not in [printed(messages[a:b]) for a, b in ((0, 5), (0, 4), (1, 5), (1, 3), (2, 4))]
