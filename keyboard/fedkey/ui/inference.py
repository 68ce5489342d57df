"""The engine in a thread of its own, so that no key ever waits for a word.

In: questions and written words, from the app. Out: messages to the app: ready, answers, or that it failed.
Next stop: `fedkey.engine`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.message import Message

from fedkey.errors import UserError
from fedkey.ui.messages import Answered, EngineFailed, EngineReady, Question, Written

if TYPE_CHECKING:
    from fedkey.engine import Engine


class Inference:
    """Owns the engine. `run` is the body of one thread; the other methods may be called from any.

    Written words are told in order and none is lost. Of the questions only the newest is kept: whoever types
    faster than the engine answers gets the answer to the last key, not a queue of old ones.
    """

    def __init__(self, open_engine: Callable[[], Engine], post: Callable[[Message], object]) -> None:
        """Nothing is opened before `run`.

        Args:
            open_engine: called once, in the thread.
            post: takes a message from any thread.
        """
        self._open_engine = open_engine
        self._post = post
        self._changed = threading.Condition()
        self._written: deque[Written] = deque()
        self._question: Question | None = None
        self._is_stopped = False

    def ask(self, question: Question) -> None:
        """Puts a question in place of the one that waits, if any."""
        with self._changed:
            self._question = question
            self._changed.notify()

    def tell(self, written: Written) -> None:
        """Passes on a word that now stands in the text."""
        with self._changed:
            self._written.append(written)
            self._changed.notify()

    def stop(self) -> None:
        """Lets `run` return after what it is doing."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()

    def run(self) -> None:
        """Opens the engine and serves it until `stop`, or until it fails, which is posted as a sentence."""
        try:
            self._serve(self._open_engine())
        except UserError as error:
            self._post(EngineFailed(str(error)))
        except Exception as error:
            # A traceback with its variables would leave what was typed on the terminal.
            reason = str(error).partition("\n")[0]
            self._post(
                EngineFailed(f"The engine broke down ({type(error).__name__}: {reason}); please report it.")
            )

    def _serve(self, engine: Engine) -> None:
        self._post(EngineReady())
        while (work := self._next()) is not None:
            if isinstance(work, Written):
                engine.accept(work.context, work.typed, work.word)
            else:
                self._post(Answered(work, engine.suggest(work.context, work.typed)))

    def _next(self) -> Written | Question | None:
        """Waits for something to do; None means stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or self._written or self._question)
            if self._is_stopped:
                return None
            if self._written:
                return self._written.popleft()
            question, self._question = self._question, None
            return question
