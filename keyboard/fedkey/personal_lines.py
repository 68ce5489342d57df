"""A personal memory as text: JSON lines that its owner can read, keep and carry to another keyboard.

In: the contents of a memory, or the lines of an exported one. Out: the lines, or the contents. Next stop:
`fedkey.personal`, which fetches and merges contents.

The first line names the format; then one line a word, one a word after words, one a trust. Words stand in
the order of their letters, so that two exports can be compared line by line. Strengths are exact, therefore
so is the round trip; `{"word": "Zoe", "typed": 3, ...}` and `{"after": ["hi"], "word": "zoe", ...}` say the
rest by themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from fedkey.errors import UserError
from fedkey.personal_ngram import AMOUNT_EDGES, MAX_EVIDENCE, strength_now
from fedkey.personal_rules import SENTENCE_START, is_teachable
from fedkey.personal_store import WordRow

FORMAT_VERSION = 1

OTHER_WORD = "?"
"""Stands for a word that memory does not hold: a number, a placeholder, a word that gave way."""

LARGEST_COUNT = 2.0**40
"""No owner types more. A larger count comes from a damaged or hostile file and would overflow later."""

LEAST_STRENGTH = -1e9
"""No count fades so far while so many words are typed. A smaller one would end as minus infinity."""


@dataclass(frozen=True)
class Contents:
    """All that a memory holds.

    Attributes:
        words_seen: how many words were observed.
        words: lower-case word -> its row.
        spellings: lower-case word -> votes for each way it is written.
        ngrams: (one or two words before, nearest last; the word) -> strength.
        trusts: (level, amount) -> (used, unused).
    """

    words_seen: int
    words: Mapping[str, WordRow]
    spellings: Mapping[str, Mapping[str, int]]
    ngrams: Mapping[tuple[tuple[str, ...], str], float]
    trusts: Mapping[tuple[int, int], tuple[float, float]]


def to_lines(contents: Contents) -> Iterator[str]:
    """The contents line by line, without line ends."""
    yield _json({"fedkey_personal": FORMAT_VERSION, "words_seen": contents.words_seen})
    for key, row in sorted(contents.words.items()):
        yield _json(
            {
                "word": row.surface,
                "typed": row.typed,
                "restored": row.restored,
                "last_used": row.last_used,
                "new": row.is_new,
                "known": row.is_known,
                "pinned": row.is_pinned,
                "strength": row.strength,
                "spellings": dict(sorted(contents.spellings[key].items())),
            }
        )
    for (after, key), strength in sorted(contents.ngrams.items()):
        yield _json({"after": list(after), "word": key, "strength": strength})
    for (level, amount), (used, unused) in sorted(contents.trusts.items()):
        yield _json({"trust": [level, amount], "used": used, "unused": unused})


def from_lines(lines: Iterable[str], name: str) -> Contents:
    """The contents that `to_lines` wrote.

    Args:
        lines: with or without line ends; empty ones are skipped.
        name: of the file, for the error.

    Raises:
        UserError: names the first line that is not as `to_lines` would have written it.
    """
    contents: Contents | None = None
    words: dict[str, WordRow] = {}
    spellings: dict[str, Mapping[str, int]] = {}
    ngrams: dict[tuple[tuple[str, ...], str], float] = {}
    trusts: dict[tuple[int, int], tuple[float, float]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if contents is None:
                if _count(entry["fedkey_personal"]) > FORMAT_VERSION:
                    raise UserError(f"{name} was exported by a newer fedkey; update this one.")
                words_seen = _count(entry["words_seen"])
                _require(words_seen <= LARGEST_COUNT)
                contents = Contents(words_seen, words, spellings, ngrams, trusts)
                most = strength_now(contents.words_seen) + math.log2(LARGEST_COUNT)
            elif "trust" in entry:
                trusts[_place(entry["trust"])] = _evidence(entry["used"]), _evidence(entry["unused"])
            elif "after" in entry:
                ngram = tuple(_before(each, words) for each in entry["after"]), words[entry["word"]].key
                _require(len(ngram[0]) in (1, 2))
                ngrams[ngram] = _strength(entry["strength"], most)
            else:
                row = _row(entry, most)
                words[row.key], spellings[row.key] = row, _spellings(entry["spellings"], row.key)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{name}:{number} is no line of an exported personal memory; nothing was imported."
            ) from error
    if contents is None:
        raise UserError(f"{name} is empty; nothing was imported.")
    return contents


def _json(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False)


def _row(entry: Mapping[str, Any], most: float) -> WordRow:
    surface = _word(entry["word"])
    return WordRow(
        key=surface.lower(),
        surface=surface,
        strength=_strength(entry["strength"], most),
        typed=_count(entry["typed"]),
        restored=_count(entry["restored"]),
        is_new=_bool(entry["new"]),
        is_known=_bool(entry["known"]),
        is_pinned=_bool(entry["pinned"]),
        last_used=date.fromisoformat(entry["last_used"]).isoformat(),
    )


def _spellings(entry: Mapping[str, Any], key: str) -> dict[str, int]:
    votes = {_word(spelling): _count(count) for spelling, count in entry.items()}
    _require(all(spelling.lower() == key for spelling in votes))
    return votes


def _word(value: Any) -> str:
    # A remembered word goes into the text and onto the screen: nothing but words may come in this way.
    _require(isinstance(value, str) and is_teachable(value))
    return str(value)


def _before(value: Any, words: Mapping[str, WordRow]) -> str:
    return str(value) if value in (SENTENCE_START, OTHER_WORD) else words[value].key


def _place(value: Any) -> tuple[int, int]:
    level, amount = value
    _require(_count(level) < len(AMOUNT_EDGES) and _count(amount) <= len(AMOUNT_EDGES[level]))
    return level, amount


def _evidence(value: Any) -> float:
    _require(isinstance(value, float) and 0 < value <= MAX_EVIDENCE)
    return float(value)


def _strength(value: Any, most: float) -> float:
    _require(isinstance(value, float) and LEAST_STRENGTH <= value <= most)
    return float(value)


def _count(value: Any) -> int:
    _require(type(value) is int and 0 <= value < 2**53)
    return int(value)


def _bool(value: Any) -> bool:
    _require(isinstance(value, bool))
    return bool(value)


def _require(is_so: bool) -> None:
    if not is_so:
        raise ValueError
