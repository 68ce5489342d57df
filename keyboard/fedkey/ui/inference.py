"""The engine in a thread of its own, so that no key ever waits for a word.

In: questions, finished and written words, from the app; engines that are to take over. Out: messages to the
app: ready, answers, corrections, or that something failed. Next stop: `fedkey.engine`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from textual.message import Message

from fedkey.errors import UserError
from fedkey.ui.messages import (
    Answered,
    Corrected,
    EngineFailed,
    EngineReady,
    Explained,
    Finished,
    Gesture,
    Granted,
    LayoutChosen,
    Noticed,
    Pair,
    Paired,
    Question,
    Recognised,
    Reconsidered,
    TakenBack,
    Unwritten,
    Wished,
    Written,
)

if TYPE_CHECKING:
    from fedkey.engine import Accepted, Engine, Suggestions

Told = Written | Unwritten | Finished | Paired | TakenBack | LayoutChosen | Gesture | Wished
"""What the engine is told of the text, the keys and its memory. None of it is lost, and it is told in
order."""


class Successor(NamedTuple):
    """An engine that is to take over, and the message that tells of it when it has."""

    engine: Engine
    told_by: Message


class Inference:
    """Owns the engine. `run` is the body of one thread; the other methods may be called from any.

    Of the questions only the newest is kept: whoever types faster than the engine answers gets the answer to
    the last key, not a queue of old ones. A word that was finished before its answer came is asked for once
    more, in its turn: where the engine would leave it, it is told at once as it stands; where not, the
    correction is posted, and whoever puts it tells so. Once it is stopped nobody does, and a mistake that
    stood for a moment is not remembered.

    Another engine takes over between two of these. What is on screen was the old one's answer and stays until
    the next key.
    """

    def __init__(self, open_engine: Callable[[], Engine], post: Callable[[Message], object]) -> None:
        """Nothing is opened before `run`.

        Args:
            open_engine: called once, in the thread.
            post: takes a message from any thread.
        """
        self._open_engine = open_engine
        self._post = post
        self._changed = threading.Condition()  # its lock may be taken again by whoever has it
        self._told: deque[Told] = deque()
        self._question: Question | None = None
        self._successor: Successor | None = None
        self._answered: Question | None = None
        self._is_stopped = False
        self._noticed: set[str] = set()
        # Only what was put last can be taken back, so nothing older is kept.
        self._last_swap: int | None = None
        self._accepted: list[Accepted] = []
        # The corrections that were posted of words, each after its text, of which nothing was told since.
        self._corrected: dict[tuple[str, str], str] = {}

    def ask(self, question: Question) -> None:
        """Puts a question in place of the one that waits, if any."""
        with self._changed:
            self._question = question
            self._changed.notify()

    def tell(self, told: Told) -> None:
        """Passes on what became of the text."""
        with self._changed:
            self._told.append(told)
            self._changed.notify()

    def replace(self, engine: Engine, told_by: Message) -> None:
        """Lets another engine take over the memory and go on; `told_by` is posted once it does."""
        successor = Successor(engine, told_by)
        with self._changed:
            if self._is_stopped:
                passed_over: Successor | None = successor
            else:
                passed_over, self._successor = self._successor, successor
            self._changed.notify()
        if passed_over is not None:
            passed_over.engine.close()

    def stop(self) -> None:
        """Lets `run` return after what it is doing and was told already; nothing more is answered.

        Where another program keeps the memory's file, the first write waits for it for two seconds and the
        others hardly, so that this ends.
        """
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
        self._post(EngineReady(engine.notice is None or engine.has_file))
        while (work := self._next()) is not None:
            if isinstance(work, Successor):
                engine = self._hand_over(engine, work)
            elif isinstance(work, Question):
                self._post(Answered(work, _answer(engine, work)))
                self._answered = work
                if work.is_explained and self._question is None:
                    # Of a word that stands already: which words fit its place.
                    letters = "" if work.is_replacing else work.letters
                    explanation = engine.explain(
                        work.context, letters, private=work.is_private, after=work.after
                    )
                    self._post(Explained(work, explanation, engine.bundle.manifest))
            elif isinstance(work, Finished):
                self._judge(engine, work)
            elif isinstance(work, Paired):
                self._reconsider(engine, work.pair, work.put)
            elif isinstance(work, Gesture):
                if self._is_stopped:
                    continue
                answer = engine.trace(work.context, work.path, private=work.is_private, after=work.after)
                self._post(Recognised(work, answer))
            elif isinstance(work, LayoutChosen):
                engine.use_layout(work.layout)
            elif isinstance(work, Wished):
                self._grant(engine, work)
            else:
                self._remember(engine, work)
            self._notice(engine.notice)
            while self._is_idle() and engine.look_ahead():
                pass
        engine.close()
        if self._successor is not None:
            self._successor.engine.close()

    def _hand_over(self, engine: Engine, successor: Successor) -> Engine:
        successor.engine.inherit(engine)
        self._post(successor.told_by)
        if self._answered is not None:
            # Nobody waits now: the model reads the text, 25 ms of the phone-sized one, before the next key.
            _answer(successor.engine, self._answered)
        return successor.engine

    def _judge(self, engine: Engine, word: Finished) -> None:
        answer = engine.suggest(word.context, word.letters, private=word.is_private, after=word.after)
        if answer.autocorrect is None:
            told = Written(word.context, word.typed, word.typed, word.is_private, after=word.after)
            self._remember(engine, told)
        else:
            self._corrected[word.context, word.typed] = answer.autocorrect
            self._post(Corrected(word, answer.autocorrect))
        if word.pair is not None:
            self._reconsider(engine, word.pair, answer.autocorrect or word.typed)

    def _reconsider(self, engine: Engine, pair: Pair, put: str) -> None:
        # The correction of the first may have been posted since.
        stands = f"{self._corrected.get((pair.context, pair.put), pair.put)}{pair.gap}{put}"
        text = engine.reconsidered(
            pair.context, pair.first, pair.second, stands, gap=pair.gap, after=pair.after
        )
        if text is not None:
            self._post(Reconsidered(pair, stands, text))

    def _grant(self, engine: Engine, wished: Wished) -> None:
        from fedkey.wishes import grant  # heavy, and rarely wished

        with engine.memory() as personal:
            outcome = grant(personal, wished.wish)
        wished.reply(Granted(outcome))

    def _remember(self, engine: Engine, told: Written | Unwritten | TakenBack) -> None:
        if isinstance(told, TakenBack):
            if told.swap == self._last_swap:
                # Each is exactly taken back if what was accepted after it is.
                for accepted in reversed(self._accepted):
                    engine.undo(accepted)
                self._accepted = []
            return
        if isinstance(told, Unwritten):
            # What was deleted before its correction came was never remembered; an earlier one may be.
            if (told.context, told.word) in self._corrected:
                del self._corrected[told.context, told.word]
            else:
                engine.take_back(told.context, told.word)
            return
        self._corrected.pop((told.context, told.typed), None)
        accepted = engine.accept(
            told.context,
            told.typed,
            told.word,
            private=told.is_private,
            after=told.after,
            told_after=told.told_after,
        )
        if told.swap is not None:
            kept = self._accepted if told.swap == self._last_swap else []
            self._last_swap, self._accepted = told.swap, [*kept, accepted]

    def _notice(self, sentence: str | None) -> None:
        """Posts a sentence once, however often its cause comes back."""
        if sentence is not None and sentence not in self._noticed:
            self._noticed.add(sentence)
            self._post(Noticed(sentence))

    def _is_idle(self) -> bool:
        with self._changed:
            return not (self._is_stopped or self._told or self._question or self._successor)

    def _next(self) -> Told | Question | Successor | None:
        """Waits for something to do; None means stop."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_idle())
            if self._told:
                return self._told.popleft()
            if self._is_stopped:
                return None
            if self._successor is not None and self._question is None:
                successor, self._successor = self._successor, None
                return successor
            question, self._question = self._question, None
            return question


def _answer(engine: Engine, question: Question) -> Suggestions:
    if question.is_replacing:
        return engine.replacements(
            question.context, question.typed, question.after, private=question.is_private
        )
    return engine.suggest(
        question.context,
        question.letters,
        private=question.is_private,
        after=question.after,
        left_out=question.left_out,
    )
