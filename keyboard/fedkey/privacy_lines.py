"""What a keyboard tells of itself: the words that it learned, what left the machine, and what proves it.

In: what is remembered, departures, open sockets. Out: text without colours, a line for each. Next stop:
`fedkey.ui.privacy`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime

from rich.cells import set_cell_size

from fedkey.departures import Departure
from fedkey.personal import LearnedWord
from fedkey.personal_lines import OTHER_WORD, Contents
from fedkey.personal_rules import SENTENCE_START
from fedkey.sockets import Seen
from fedkey.text import normalise
from fedkey.wishes import Memory

MAX_NEIGHBOURS = 3
"""Words named on each side of a word."""

NOTHING_LEFT = "Nothing has left this machine."

COUNT_CELLS, DAY_CELLS, NOTE_CELLS = 7, 12, 18
NOTE_WIDTH = 60
"""From so many cells on, lines have room for a note."""


def found(words: Sequence[LearnedWord], search: str) -> list[LearnedWord]:
    """The words that contain some letters, in any case; those that begin with them come first."""
    letters = normalise(search).lower()
    if not letters:
        return list(words)
    hits = [word for word in words if letters in word.word.lower()]
    return sorted(hits, key=lambda word: not word.word.lower().startswith(letters))


def day(last_used: str, today: date) -> str:
    """A day as people say it: today, yesterday, 3 Nov, 3 Nov 2024; empty if it is none."""
    try:
        then = date.fromisoformat(last_used)
    except ValueError:
        return ""
    if (today - then).days in (0, 1):
        return "today" if then == today else "yesterday"
    year = "" if then.year == today.year else f" {then.year}"
    return f"{then.day} {then:%b}{year}"


def note(word: LearnedWord) -> str:
    """What is particular about a word; mostly nothing."""
    if word.is_pinned:
        return "never corrected"
    return "" if word.is_known else "not suggested yet"


def word_line(word: LearnedWord, width: int, today: date) -> str:
    """A word, how often it came, when it came last, and its note where there is room: `width` cells."""
    notes = set_cell_size(f"  {note(word)}", NOTE_CELLS + 2) if width >= NOTE_WIDTH else ""
    count = f"{word.count:,}×".rjust(COUNT_CELLS)
    when = day(word.last_used, today).rjust(DAY_CELLS)
    rest = f"{count}{when}{notes}"
    return f"{set_cell_size(f' {word.word}', max(width - len(rest), 0))}{rest}"[:width]


def details(word: LearnedWord, remembered: Contents | None, today: date) -> str:
    """A sentence with all that is known of a word.

    Args:
        word: the word.
        remembered: as `Personal.remembered` has it; None if it is not known yet, or not any more.
        today: for its days.
    """
    times = "once" if word.count == 1 else f"{word.count:,} times"
    parts = [f"{word.word}: {times if word.count else 'taught'}"]
    if when := day(word.last_used, today):
        parts.append(f"last {when}")
    if round(word.worth, 1) != word.count:
        parts.append(f"counts as {word.worth:.1f} by now")
    if note(word):
        parts.append(note(word))
    sentence = ", ".join(parts)
    if remembered is not None:
        (key,) = remembered.words
        for name, neighbours in (("after", before(remembered, key)), ("before", after(remembered, key))):
            if neighbours:
                sentence += f"; {name} {', '.join(neighbours)}"
        spellings = [each for each in remembered.spellings[key] if each != word.word]
        if spellings:
            sentence += f"; also spelt {', '.join(sorted(spellings))}"
    return f"{sentence}."


def before(remembered: Contents, key: str) -> list[str]:
    """What a word followed most often, best first; two words where both are known."""
    strengths: dict[tuple[str, ...], float] = {}
    for (words, word), strength in remembered.ngrams.items():
        if word == key:
            strengths[words] = strength
    ranked = sorted(strengths, key=lambda words: (-strengths[words], -len(words), words))
    kept: list[tuple[str, ...]] = []
    for words in ranked:
        # A pair says all that its second word says.
        if OTHER_WORD not in words and not any(each[-1] == words[-1] for each in kept):
            kept.append(words)
    return [_quoted(words) for words in kept[:MAX_NEIGHBOURS]]


def after(remembered: Contents, key: str) -> list[str]:
    """What followed a word most often, best first."""
    strengths = {word: strength for (words, word), strength in remembered.ngrams.items() if words == (key,)}
    ranked = sorted(strengths, key=lambda word: (-strengths[word], word))
    return [_quoted((word,)) for word in ranked[:MAX_NEIGHBOURS]]


def _quoted(words: Sequence[str]) -> str:
    spoken = [word for word in words if word != SENTENCE_START]
    return f"“{' '.join(spoken)}”" if spoken else "the start of a sentence"


def departures_summary(departures: Sequence[Departure]) -> str:
    """All that left, in one sentence."""
    if not departures:
        return NOTHING_LEFT
    num_bytes = sum(departure.num_bytes for departure in departures)
    messages = "1 message" if len(departures) == 1 else f"{len(departures):,} messages"
    spent = [departure.epsilon for departure in departures if departure.epsilon is not None]
    privacy = f"; ε {spent[-1]:.2f} spent so far" if spent else ""
    crowds = [departure.crowd for departure in departures if departure.crowd is not None]
    hidden = f"; what is masked, in sums over {min(crowds):,} keyboards or more" if crowds else ""
    return f"{messages} left for a federation, {size(num_bytes)} in all{hidden}{privacy}."


def departure_line(departure: Departure, width: int) -> str:
    """When, what, how much, for which round, and to whom where there is room: `width` cells."""
    try:
        then = datetime.fromisoformat(departure.when)
        then = (then if then.tzinfo else then.replace(tzinfo=UTC)).astimezone()
        when = f"{then.day} {then:%b %H:%M}"
    except ValueError:
        when = departure.when
    parts = [when.ljust(13), departure.kind.ljust(14), size(departure.num_bytes).rjust(9)]
    if width >= NOTE_WIDTH:
        spent = "" if departure.epsilon is None else f"  ε {departure.epsilon:.2f}"
        crowd = "" if departure.crowd is None else f"  {departure.crowd}+"
        parts.append(f"  round {departure.round_number}{crowd}{spent}  {departure.to}")
    return set_cell_size(" " + "".join(parts), width)


def size(num_bytes: int) -> str:
    """Bytes as people read them, in thousands."""
    if num_bytes < 1000:
        return f"{num_bytes} B"
    return f"{num_bytes / 1000:.1f} kB" if num_bytes < 1_000_000 else f"{num_bytes / 1_000_000:.1f} MB"


def sockets_lines(seen: Seen | None) -> list[str]:
    """What was seen of the network just now."""
    if seen is None:
        return ["Network: not checked here, since lists of this system's sockets could not be read."]
    processes = "1 process" if seen.num_processes == 1 else f"{seen.num_processes} processes"
    looked = f"looked at just now: {processes}, {seen.num_files} open files"
    if not seen.sockets:
        return [f"Network: no socket is open ({looked})."]
    num = len(seen.sockets)
    lines = [f"Network: {num} {'socket is' if num == 1 else 'sockets are'} open ({looked}):"]
    for each in seen.sockets:
        where = f" {each.local} → {each.remote}" if each.local else ""
        lines.append(f"  {each.kind}{where}, process {each.process}")
    return lines


def telemetry_line(runtime_version: str | None) -> str:
    """Whether ONNX Runtime may report usage to its maker; it reads this setting when it is loaded.

    Args:
        runtime_version: of the ONNX Runtime that is loaded; None if none is.
    """
    setting = os.environ.get("ORT_DISABLE_TELEMETRY")
    state = "off" if setting == "1" else "not switched off"
    loaded = "not loaded yet" if runtime_version is None else runtime_version
    return f"Telemetry of ONNX Runtime ({loaded}): {state}, ORT_DISABLE_TELEMETRY is {setting or 'not set'}."


def memory_lines(memory: Memory | None) -> list[str]:
    """Where words are kept, and who can read them."""
    if memory is None:
        return ["Your words: the file cannot be read just now."]
    if memory.path is None:
        return ["Your words: in no file; they are forgotten when the keyboard is closed."]
    lines = []
    try:
        found, log = memory.path.stat(), memory.path.with_name(f"{memory.path.name}-wal")
        num_bytes = found.st_size + (log.stat().st_size if log.exists() else 0)
        readers = "only you can" if found.st_mode & 0o077 == 0 else "others can, too,"
        lines.append(f"Your words: {memory.path}, {size(num_bytes)}; {readers} read it.")
    except OSError:
        lines.append(f"Your words: {memory.path}, which is not there any more.")
    for path in memory.files_set_aside:
        lines.append(f"Set aside, as it was damaged: {path.name}; erasing all deletes it, nothing else does.")
    if memory.num_diary_words:
        words = "word" if memory.num_diary_words == 1 else "words"
        lines.append(
            f"Kept here for a federation to learn from: {memory.num_diary_words:,} {words} of what you "
            "sent; erasing all erases them."
        )
    return lines
