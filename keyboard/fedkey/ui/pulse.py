"""What one screen notes of its keys: the statistics of the session, and which key waits for its answer.

In: when a key was pressed, what became of the text, when an answer was seen. Out: a `fedkey.session.Session`.
Next stop: `fedkey.ui.glass_box`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedkey.draft import Draft

if TYPE_CHECKING:
    from fedkey.session import Session


class Pulse:
    """Counts a key if it changed the text, and times it if it asked for suggestions."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._key_at: float | None = None
        self._asked_at: float | None = None
        self._num_sent = 0

    @property
    def session(self) -> Session:
        """All keys so far. Statistics need numpy, and come with the first key."""
        if self._session is None:
            from fedkey.session import Session

            self._session = Session()
        return self._session

    def pressed(self, at: float) -> None:
        """A key, a tap or a click begins to take effect; `at` is in seconds of Textual's clock."""
        self._key_at = at

    def changed(self, old: Draft, new: Draft, num_sent: int) -> None:
        """The text is another; `num_sent` messages were sent by now. What no key did (text was pasted, a
        correction came late) and what was sent away is not counted."""
        is_sent, self._num_sent = num_sent != self._num_sent, num_sent
        if self._key_at is not None and not is_sent and old.text != new.text:
            self._session = self.session.pressed(self._key_at, len(new.text) - len(old.text))

    def asked(self) -> None:
        """The engine is asked, because of the last key if it was not asked for that already."""
        self._asked_at, self._key_at = self._key_at, None

    def answering(self) -> float | None:
        """When the key was pressed whose answer is about to be drawn; None if no key waits for one."""
        asked_at, self._asked_at = self._asked_at, None
        return asked_at

    def seen(self, pressed_at: float, now: float) -> None:
        """The answer to a key is on screen."""
        self._session = self.session.answered((now - pressed_at) * 1000)
