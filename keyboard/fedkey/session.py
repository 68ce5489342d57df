"""How the typing goes, from the first key to now.

In: keys, with when they were pressed and what they added to the text, and how long answers took to be seen.
Out: keystrokes saved, words a minute, latencies; whatever a long session grows, this does not. Next stop:
`fedkey.ui.glass_box`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fedkey.metrics import Keystrokes, Latency

NUM_RECENT = 60
"""Latencies that are kept one by one, for a curve."""

PAUSE_SECONDS = 5.0
"""A longer gap between two keys is a pause to think or to read, and no time of typing."""

CHARACTERS_PER_WORD = 5
"""What counts as a word where typing speed is measured, spaces included."""

MIN_TIMED_CHARACTERS = 10
"""Fewer say nothing about speed."""


@dataclass(frozen=True)
class Session:
    """Sums over the keys that changed the text. Two sessions add up.

    Attributes:
        keystrokes: keys pressed and characters that now stand, as `fedkey.metrics` defines them: a word that
            was taken costs one key, a backspace is a key, the key that sends is none; text that was pasted
            counts on neither side.
        timed_characters: characters that keys added which came no more than a pause after the key before.
        timed_seconds: between those keys and the ones before.
        latency: milliseconds from a key to its answer on screen.
        recent: the last `NUM_RECENT` of them, oldest first.
        last_key: when the last key was pressed, in seconds of some clock; None before the first.
    """

    keystrokes: Keystrokes = Keystrokes()
    timed_characters: int = 0
    timed_seconds: float = 0.0
    latency: Latency = field(default_factory=Latency)
    recent: tuple[float, ...] = ()
    last_key: float | None = None

    def pressed(self, at: float, characters: int) -> Session:
        """One more key.

        Args:
            at: when, in seconds of a clock that does not go back.
            characters: by how many the text grew; negative if it shrank.
        """
        gap = None if self.last_key is None else at - self.last_key
        is_timed = gap is not None and 0 <= gap <= PAUSE_SECONDS
        return replace(
            self,
            keystrokes=self.keystrokes + Keystrokes(1, characters),
            timed_characters=self.timed_characters + (characters if is_timed else 0),
            timed_seconds=self.timed_seconds + (gap if is_timed and gap is not None else 0.0),
            last_key=at,
        )

    def answered(self, milliseconds: float) -> Session:
        """One more answer on screen, so long after its key."""
        return replace(
            self,
            latency=self.latency + Latency.of([milliseconds]),
            recent=(*self.recent, milliseconds)[-NUM_RECENT:],
        )

    @property
    def keys_saved(self) -> int:
        """Characters that stand less keys that were pressed; negative after much deleting."""
        return self.keystrokes.characters - self.keystrokes.pressed

    @property
    def words_per_minute(self) -> float | None:
        """From the first key to the last, without pauses; None while too little was typed."""
        if self.timed_characters < MIN_TIMED_CHARACTERS or self.timed_seconds <= 0:
            return None
        return self.timed_characters / CHARACTERS_PER_WORD / (self.timed_seconds / 60)

    def __add__(self, later: Session) -> Session:
        """Both together; what lies between them was a pause."""
        return Session(
            self.keystrokes + later.keystrokes,
            self.timed_characters + later.timed_characters,
            self.timed_seconds + later.timed_seconds,
            self.latency + later.latency,
            (*self.recent, *later.recent)[-NUM_RECENT:],
            self.last_key if later.last_key is None else later.last_key,
        )
