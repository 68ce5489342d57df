"""A made-up chat corpus: small, seeded, and predictable enough that a model trained for seconds learns some
of it.

Imported by `conftest.py` alone. No line of it comes from anywhere; every sentence is filled in from the
tables below.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

OPENERS = ("hi there", "hello", "hey", "Good morning", "good evening", "hi {name}", "Hey {name}!")
LINES = (
    "how are you doing today?",
    "I'm fine, thanks. how about you?",
    "see you tomorrow at the {place}",
    "do you want to go to the {place} with me?",
    "I don't know what you mean lol",
    "thank you so much for the {thing}!",
    "I think the {thing} is really good",
    "my favorite {thing} is the {colour} one",
    "what are you going to do this weekend?",
    "I'm going to the {place} with {name}",
    "that sounds great, let me know",
    "sorry, I can't come to the {place} tonight",
    "Have you seen the new movie? it was so good",
    "yeah, I like it too",
    "I have been working on the {thing} all day...",
    "where do you live? I live near the {place}",
    "can you bring the {colour} {thing} tomorrow?",
    "No problem, see you later :)",
    "it's too cold to go outside today",
    "{name} said that we should meet at the {place}",
)
CLOSERS = ("see you tomorrow", "talk to you later", "good night {name}", "bye for now!", "see you later")
PLACES = ("library", "beach", "park", "school", "station", "restaurant")
THINGS = ("book", "song", "game", "cake", "picture", "project")
COLOURS = ("blue", "red", "green", "yellow")
NAMES = ("Sarah", "London", "David", "Emma")


def conversations(
    num_authors: int = 60, num_conversations: int = 240, seed: int = 7
) -> list[dict[str, object]]:
    """Rows `{"user", "dialog", "turn", "text"}` of two-person chats; authors repeat their favourite words."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    favourites = [
        {
            "place": PLACES[rng.integers(len(PLACES))],
            "thing": THINGS[rng.integers(len(THINGS))],
            "colour": COLOURS[rng.integers(len(COLOURS))],
            "name": NAMES[rng.integers(len(NAMES))],
        }
        for _ in range(num_authors)
    ]
    for dialog in range(num_conversations):
        pair = rng.choice(num_authors, size=2, replace=False)
        num_turns = int(rng.integers(6, 14))
        for turn in range(num_turns):
            author = int(pair[turn % 2])
            table = OPENERS if turn < 2 else CLOSERS if turn >= num_turns - 2 else LINES
            text = table[rng.integers(len(table))].format(**favourites[author])
            rows.append({"user": f"user{author}", "dialog": f"d{dialog}", "turn": turn, "text": text})
    return rows


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    """Writes rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
