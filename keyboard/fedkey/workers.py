"""Processes that measure a bundle together, each with the bundle opened once.

In: a bundle, and conversations to type on it. Out: the same sums as one process would find. Next stop:
`fedkey.cli.eval` and the server's comparison table, which share this harness.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fedkey.conversations import GradedConversation
from fedkey.metrics import Sums
from fedkey.simulate import Predictor, Scores, grade

if TYPE_CHECKING:
    from fedkey.ngram import Counts

ENGINE, UNIGRAM, NGRAM, PRESAGE = "fedkey", "unigram", "ngram", "presage"
"""What can be graded on a bundle: its engine; its lexicon alone, most frequent completions first; its lexicon
with the n-grams of another text; or presage, which knows nothing of it."""

TAKES_TAPS: frozenset[str] = frozenset({ENGINE})
"""Which of them can be told where thumbs landed; the others are told which keys they hit."""

CORRECTS: frozenset[str] = frozenset({ENGINE})
"""Which of them correct what was mistyped."""

Item = TypeVar("Item")
Result = TypeVar("Result")
SomeSums = TypeVar("SomeSums", bound=Sums)

CHUNK = 4
"""Conversations graded together: few enough that several processes finish at about the same time."""


class OpenedBundle:
    """A bundle opened to be graded."""

    def __init__(self, bundle: Path, ngrams: Counts | None = None, presage: Path | None = None) -> None:
        """`ngrams`, counted with the bundle's lexicon, are for those who ask for `NGRAM`, `presage`, a
        database of its, for those who ask for `PRESAGE`."""
        from fedkey.baseline import Unigram
        from fedkey.engine import Engine
        from fedkey.ngram import Ngram
        from fedkey.presage import Presage

        self.path = bundle
        self.engine = Engine.open(bundle)
        self._others: dict[str, Predictor] = {UNIGRAM: Unigram(self.engine.lexicon)}
        if ngrams is not None:
            self._others[NGRAM] = Ngram(self.engine.lexicon, ngrams)
        if presage is not None:
            self._others[PRESAGE] = Presage(presage)

    def predictor(self, name: str) -> Predictor:
        """The engine or whom else was asked for, as if nothing had been graded before: a cache filled another
        way rounds another way."""
        if name == ENGINE:
            self.engine.reset()
            return self.engine
        if name not in self._others:
            raise ValueError(f"the bundle was not opened for {name!r}")
        return self._others[name]

    def is_known(self, word: str) -> bool:
        """Whether the lexicon holds a word, in any case."""
        return word.lower() in self.engine.lexicon.forms


def grade_bundle(
    bundle: Path,
    conversations: Sequence[GradedConversation],
    *,
    baseline: bool = False,
    ngrams: Counts | None = None,
    presage: Path | None = None,
    processes: int = 1,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Scores]:
    """Grades a bundle's engine, or another keyboard on the same words, on one or several processes.

    Args:
        bundle: a bundle folder.
        conversations: texts to type.
        baseline: the lexicon's unigram baseline instead of the engine.
        ngrams: counted with the bundle's lexicon; the n-gram keyboard instead of the engine.
        presage: a database of its; presage instead of the engine.
        processes: worker processes; the result does not depend on their number.
        seed: of the bounded typist.
        on_progress: called with the number of conversations just graded.
    """
    name = (
        UNIGRAM if baseline else NGRAM if ngrams is not None else PRESAGE if presage is not None else ENGINE
    )
    work = functools.partial(_grade_chunk, name=name, seed=seed)
    parts = spread(
        bundle,
        work,
        in_chunks(conversations),
        ngrams=ngrams,
        presage=presage,
        processes=processes,
        on_progress=on_progress,
    )
    return merged(parts)


def _grade_chunk(
    opened: OpenedBundle, conversations: Sequence[GradedConversation], name: str, seed: int
) -> dict[str, Scores]:
    score = opened.engine.score_message if name == ENGINE else None
    return grade(opened.predictor(name), conversations, opened.is_known, score=score, seed=seed)


def in_chunks(items: Sequence[Item], size: int = CHUNK) -> list[Sequence[Item]]:
    """Successive runs of `size` items."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def spread(
    bundle: Path,
    work: Callable[[OpenedBundle, Sequence[Item]], Result],
    chunks: Sequence[Sequence[Item]],
    *,
    ngrams: Counts | None = None,
    presage: Path | None = None,
    processes: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> list[Result]:
    """Does `work` on every chunk with a bundle opened once a process; the results are in the chunks' order.

    Args:
        bundle: a bundle folder; whatever is wrong with it is told here, not by a worker that dies of it.
        work: can be pickled, and its result depends on the opened bundle and the chunk alone.
        chunks: what to work on.
        ngrams: what `NGRAM` goes by; each process is sent them once.
        presage: the database that `PRESAGE` goes by; each process opens it.
        processes: worker processes.
        on_progress: called with the number of items just done.
    """
    report = on_progress or (lambda done: None)
    opened = OpenedBundle(bundle, ngrams, presage)
    if processes == 1:
        results = []
        for chunk in chunks:
            results.append(work(opened, chunk))
            report(len(chunk))
        return results
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, _open_in_worker, (bundle, ngrams, presage))
    try:
        with _interrupts_held_back():
            futures = [pool.submit(_work_in_worker, work, chunk) for chunk in chunks[:processes]]
        futures += [pool.submit(_work_in_worker, work, chunk) for chunk in chunks[processes:]]
        sizes = dict(zip(futures, map(len, chunks), strict=True))
        for future in as_completed(futures):
            future.result()
            report(sizes[future])
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, what has not begun is not waited for


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until the block has ended, and processes born in it never see one.

    In a terminal Ctrl-C reaches every process, and the parent answers for all. The mask, which workers
    inherit, is not enough for the parent: it is one thread's alone, and the system hands a signal to any
    thread that takes it, ONNX Runtime's too; Python would then raise it here all the same, between the birth
    of a worker and what it is told to do.
    """
    arrived: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: arrived.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if arrived and callable(before):
        before(arrived[0], None)


def merged(parts: Iterable[Mapping[str, SomeSums]]) -> dict[str, SomeSums]:
    """The sums of each author over all parts, added in the order of the parts: they are rounded alike
    whoever finished first."""
    totals: dict[str, SomeSums] = {}
    for part in parts:
        for author, sums in part.items():
            totals[author] = totals[author] + sums if author in totals else sums
    return dict(sorted(totals.items()))


_of_this_worker: OpenedBundle


def _open_in_worker(bundle: Path, ngrams: Counts | None, presage: Path | None) -> None:
    global _of_this_worker
    _of_this_worker = OpenedBundle(bundle, ngrams, presage)


def _work_in_worker(work: Callable[[OpenedBundle, Sequence[Item]], Result], chunk: Sequence[Item]) -> Result:
    return work(_of_this_worker, chunk)
