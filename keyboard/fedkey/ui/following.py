"""Newer releases, opened in a thread of their own while the one in use goes on.

In: a registry, and what its owner chooses. Out: engines that take over, and messages to the app: which
release is in use, or why one is not. Next stop: `fedkey.ui.inference`.

Opening a bundle of the phone's size takes 0.25 s on two cores. In the engine's own thread one key would wait
for all of it; here the 99th percentile of a key rises from 12 to 20 ms meanwhile (2026-11-26).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from textual.message import Message

from fedkey.errors import UserError
from fedkey.releases import InUse, current_version, hold
from fedkey.ui.messages import Noticed, Released

if TYPE_CHECKING:
    from fedkey.engine import Engine

LOOK_SECONDS = 2.0
"""Between two looks at the registry; one reads a few bytes."""

RETRY_SECONDS = 60.0
"""Before a refused release is opened again: a registry that is copied may be complete by then."""


class Following:
    """Keeps the engine at the release that is wanted. `run` is the body of one thread; the other methods may
    be called from any."""

    def __init__(
        self,
        release: InUse,
        replace_engine: Callable[[Engine, Message], None],
        post: Callable[[Message], object],
    ) -> None:
        """Looks at nothing before `run`.

        Args:
            release: the one that is in use.
            replace_engine: see `Inference.replace`.
            post: takes a message from any thread.
        """
        self._release = release
        self._replace_engine = replace_engine
        self._post = post
        self._changed = threading.Condition()
        self._choices: deque[int | None] = deque()
        self._is_stopped = False
        self._refused: int | None = None
        self._retry_at = 0.0
        self._complaint: str | None = None

    def go_back(self, version: int) -> None:
        """Holds an earlier release, until `follow`."""
        self._choose(version)

    def follow(self) -> None:
        """Uses the current release again, and those promoted after it."""
        self._choose(None)

    def stop(self) -> None:
        """Lets `run` return after what it is doing."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()

    def run(self) -> None:
        """Looks at the registry every now and then, and does what its owner chose at once, until `stop`."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped or self._choices, LOOK_SECONDS)
                if self._is_stopped:
                    return
                choices = [self._choices.popleft()] if self._choices else []
            try:
                if choices:
                    self._obey(choices[0])
                elif not self._release.is_held:
                    self._use(self._promoted())
            except UserError as error:
                self._complain(str(error))

    def _choose(self, version: int | None) -> None:
        with self._changed:
            self._choices.append(version)
            self._changed.notify()

    def _obey(self, version: int | None) -> None:
        self._refused = self._complaint = None
        if version is not None:
            self._use(replace(self._release, version=version, is_held=True))
            hold(self._release.registry, version)
        else:
            # Whatever becomes of the current release, the next one is wanted.
            self._use(replace(self._release, is_held=False))
            hold(self._release.registry, None)
            self._use(self._promoted())

    def _promoted(self) -> InUse:
        return replace(self._release, version=current_version(self._release.registry))

    def _use(self, wanted: InUse) -> None:
        """Opens what is wanted, unless it is in use or was refused a moment ago.

        Raises:
            UserError: it is refused now.
        """
        if wanted.version != self._release.version:
            if wanted.version == self._refused and time.monotonic() < self._retry_at:
                return
            try:
                engine = self._opened(wanted)
            except Exception as error:  # whatever it is: an engine that works is there
                self._refused, self._retry_at = wanted.version, time.monotonic() + RETRY_SECONDS
                reason = str(error).partition("\n")[0] or type(error).__name__
                raise UserError(
                    f"Release {wanted.version} is refused and {self._release.version} stays: {reason}"
                ) from error
            self._replace_engine(engine, Released(wanted))
        elif wanted != self._release:
            self._post(Released(wanted))
        self._release = wanted
        self._refused = self._complaint = None

    def _opened(self, release: InUse) -> Engine:
        from fedkey.bundle import open_bundle
        from fedkey.engine import Engine

        # It takes over the layout as it does the memory: no release changes the keys under somebody's hands.
        engine = Engine(open_bundle(release.bundle))
        # The first answer takes longest, and shows that there are answers.
        engine.suggest("", "")
        return engine

    def _complain(self, sentence: str) -> None:
        """Posts a sentence, not again while it stays true."""
        if sentence != self._complaint:
            self._complaint = sentence
            self._post(Noticed(sentence))
