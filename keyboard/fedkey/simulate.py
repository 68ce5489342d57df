"""A simulated typist: walks conversations word by word and sees what the keyboard would have shown.

In: conversations and anything that suggests words. Out: sums of `fedkey.metrics` per author. Next stop:
`fedkey.cli.eval` and the server's comparison table, which share this harness.

At every word of a graded message the typist sees the suggestions before the first letter, after one, two,
three and, until the word has been accepted, after each further letter. All metrics share these calls.
Placeholders are no words and cost no keys: nobody can say how long the link was.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import lzma
import multiprocessing
import signal
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np

from fedkey.errors import UserError
from fedkey.metrics import Keystrokes, Latency, Likelihood, Recall, Sums
from fedkey.taps import Touch
from fedkey.text import PLACEHOLDERS, is_word, normalise, units_with_places

if TYPE_CHECKING:
    from fedkey.ngram import Counts

NUM_SHOWN = 3
LETTERS = (0, 1, 2, 3)
"""Numbers of typed letters at which recall is reported."""

BOUNDED_MIN_LENGTH = 5
BOUNDED_NOTICES = {"quarter": 0.25, "half": 0.5, "three_quarters": 0.75}
"""Looking costs time, so the bounded typist looks only at words of five letters and more, and notices a shown
word with some probability at each key: people use suggestions for long words and overlook many."""


class Shown(Protocol):
    """What a predictor answers."""

    @property
    def words(self) -> tuple[str, ...]:
        """Suggested words, best first."""

    @property
    def latency_ms(self) -> float:
        """Wall-clock milliseconds the answer took."""

    # A predictor that corrects has `autocorrect` too: what a space makes of the letters, None to leave them.


class Predictor(Protocol):
    """Anything that suggests words: the engine, a baseline, a peer."""

    def suggest(self, context: str, typed: str, k: int = NUM_SHOWN) -> Shown:
        """The words most likely meant after `context` when `typed` stands already."""


@dataclass(frozen=True)
class GradedConversation:
    """Messages in order, of which some are graded."""

    author: str
    """Whose messages are graded."""
    messages: tuple[str, ...]
    """Normalised texts."""
    graded: tuple[bool, ...]

    @property
    def num_words(self) -> int:
        """Words in graded messages."""
        return sum(
            is_word(unit)
            for message, is_graded in zip(self.messages, self.graded, strict=True)
            if is_graded
            for unit, _ in units_with_places(message)
        )


@dataclass(frozen=True)
class Bounded(Sums):
    """Keystrokes of the bounded typist, by how often a shown word is noticed: see `BOUNDED_NOTICES`."""

    quarter: Keystrokes = Keystrokes()
    half: Keystrokes = Keystrokes()
    three_quarters: Keystrokes = Keystrokes()


@dataclass(frozen=True)
class Scores(Sums):
    """Everything measured, for one author or many."""

    after_0: Recall = Recall()
    after_1: Recall = Recall()
    after_2: Recall = Recall()
    after_3: Recall = Recall()
    """Recall after 0, 1, 2, 3 letters, over words that have more letters than that."""
    ideal: Keystrokes = Keystrokes()
    """The typist who looks after every key and takes the word the moment it is shown: an upper bound."""
    bounded: Bounded = Bounded()
    """The typist who overlooks words."""
    likelihood: Likelihood = Likelihood()
    latency: Latency = Latency()

    def after(self, letters: int) -> Recall:
        """Recall after so many letters."""
        recall: Recall = getattr(self, f"after_{letters}")
        return recall


def read_conversations(path: Path) -> list[GradedConversation]:
    """Reads a text to grade.

    Formats, each perhaps with .gz or .xz after it: in a .jsonl file, prepared lines {"id", "author",
    "messages": [{"user", "text"}]} grade that author's messages, and corpus lines {"user", "dialog", "turn",
    "text"} grade every message for its user; a .txt file holds one message a line, unconnected. Messages
    whose user is null, and all of a .txt file, count as written by one author named like the file.

    Raises:
        UserError: missing or unreadable file, with the line at fault, or no message in it.
    """
    name = path.name.removesuffix(".gz").removesuffix(".xz")
    if not name.endswith((".jsonl", ".txt")):
        raise UserError(f"{path} must end in .jsonl or .txt (perhaps with .xz or .gz after it).")
    numbered = [(number, line) for number, line in enumerate(_lines(path), start=1) if line.strip()]
    if name.endswith(".jsonl"):
        rows = [_row(path, number, line) for number, line in numbered]
        conversations = [_prepared(row) for row in rows if "messages" in row]
        conversations += _corpus([row for row in rows if "messages" not in row], name)
    else:
        texts = [text for _, line in numbered if (text := normalise(line))]
        conversations = [GradedConversation(name, (text,), (True,)) for text in texts]
    conversations = [conversation for conversation in conversations if any(conversation.graded)]
    if not conversations:
        raise UserError(f"{path} holds no message to grade.")
    return conversations


def _lines(path: Path) -> Iterator[str]:
    openers: Mapping[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
    number = 0
    try:
        with cast(IO[bytes], openers.get(path.suffix, open)(path, "rb")) as file:
            for number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{number} is not UTF-8 text; convert the file first.") from error
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged after line {number}; fetch it again.") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if "messages" in row:
            messages = row["messages"]
            fits = isinstance(row["author"], str) and isinstance(messages, list)
            fits = fits and all(isinstance(each["text"], str) and "user" in each for each in messages)
        else:
            fits = isinstance(row["text"], str) and {"user", "dialog"} <= row.keys()
            fits = fits and isinstance(row["turn"], int | float) and not isinstance(row["turn"], bool)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise UserError(
            f'{path}:{number} is neither {{"user","dialog","turn","text"}} nor a prepared conversation.'
        )
    return dict(row)


def _prepared(row: Mapping[str, Any]) -> GradedConversation:
    pairs = [(normalise(message["text"]), message["user"] == row["author"]) for message in row["messages"]]
    return _graded(row["author"], pairs)


def _corpus(rows: Sequence[Mapping[str, Any]], name: str) -> Iterator[GradedConversation]:
    dialogs: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        dialogs.setdefault(str(row["dialog"]), []).append(row)
    for members in dialogs.values():
        members.sort(key=lambda row: row["turn"])
        users = [name if row["user"] is None else str(row["user"]) for row in members]
        texts = [normalise(row["text"]) for row in members]
        for author in sorted(set(users)):
            yield _graded(author, ((text, user == author) for text, user in zip(texts, users, strict=True)))


def _graded(author: str, pairs: Iterable[tuple[str, bool]]) -> GradedConversation:
    kept = [(text, is_graded) for text, is_graded in pairs if text]
    return GradedConversation(author, tuple(text for text, _ in kept), tuple(graded for _, graded in kept))


RUN_OF_MESSAGES = 5
"""Graded messages drawn together: short enough to hear many authors, long enough to type along a
conversation."""


def sample(
    conversations: Sequence[GradedConversation], max_words: int | None, seed: int
) -> list[GradedConversation]:
    """Stretches of conversations, drawn author by author in turn until `max_words` graded words are together.

    A stretch grades up to `RUN_OF_MESSAGES` successive messages of its author and keeps all before them as
    context. Every author gets one before any gets a second, so that few authors do not speak for all; whose
    turn comes first is drawn too.
    """
    if max_words is None:
        return list(conversations)
    rng = np.random.default_rng(seed)
    stretches = [stretch for conversation in conversations for stretch in _stretches(conversation)]
    queues: dict[str, list[GradedConversation]] = {}
    for index in rng.permutation(len(stretches)):
        queues.setdefault(stretches[index].author, []).append(stretches[index])
    names = sorted(queues)
    turns = [queues[names[index]] for index in rng.permutation(len(names))]
    chosen: list[GradedConversation] = []
    words = 0
    while turns:
        for queue in turns:
            if words >= max_words:
                return chosen
            stretch = queue.pop()
            chosen.append(stretch)
            words += stretch.num_words
        turns = [queue for queue in turns if queue]
    return chosen


def _stretches(conversation: GradedConversation) -> Iterator[GradedConversation]:
    own = [index for index, is_graded in enumerate(conversation.graded) if is_graded]
    for start in range(0, len(own), RUN_OF_MESSAGES):
        run = set(own[start : start + RUN_OF_MESSAGES])
        end = max(run) + 1
        graded = tuple(index in run for index in range(end))
        yield GradedConversation(conversation.author, conversation.messages[:end], graded)


Score = Callable[[Sequence[str], str], tuple[float, int]]
"""(earlier messages, message) -> (log likelihood in nats, pieces), as `Engine.score_message`."""


def grade(
    predictor: Predictor,
    conversations: Iterable[GradedConversation],
    is_known: Callable[[str], bool],
    *,
    score: Score | None = None,
    seed: int = 0,
) -> dict[str, Scores]:
    """Runs the typist over conversations; returns the sums of each author.

    Args:
        predictor: what shows the words.
        conversations: texts to type.
        is_known: whether the lexicon holds a word, in any case.
        score: how likely a whole message is; left out for predictors that have no probabilities.
        seed: of what the bounded typist notices; the same for every predictor compared.
    """
    totals: dict[str, Scores] = {}
    for conversation in conversations:
        for index, message in enumerate(conversation.messages):
            if conversation.graded[index]:
                scores = _type_message(
                    predictor,
                    conversation.messages[:index],
                    message,
                    is_known,
                    draws(seed, index, message),
                )
                if score is not None:
                    nats, _ = score(conversation.messages[:index], message)
                    words = sum(is_word(unit) for unit, _ in units_with_places(message))
                    scores = scores + Scores(likelihood=Likelihood(-nats, len(message) + 1, words))
                totals[conversation.author] = totals.get(conversation.author, Scores()) + scores
    return totals


def draws(seed: int, index: int, message: str) -> np.random.Generator:
    """What a typist notices or mistypes depends on the message alone, so every predictor meets the same
    typist."""
    return np.random.default_rng([seed, index, *message.encode("utf-8")[:32]])


Input = str | tuple[Touch, ...]
"""What was typed of a word: its letters, or where they were tapped."""


class Look:
    """What the keyboard shows while one word is typed, asked for only when somebody looks, and once."""

    def __init__(self, predictor: Predictor, context: str, word: str, milliseconds: list[float]) -> None:
        """`word` is meant, `context` stands before it; `milliseconds` collects what each answer took."""
        self._predictor = predictor
        self._context = context
        self._word = word.lower()
        self._milliseconds = milliseconds
        self._answers: dict[Input, Shown] = {}

    def words(self, typed: Input) -> tuple[str, ...]:
        """The words shown once `typed` stands."""
        return self._answer(typed).words

    def rank(self, typed: Input) -> int | None:
        """Place of the meant word among those shown once `typed` stands, from 1, ignoring case."""
        shown = (word.lower() for word in self.words(typed))
        return next((rank for rank, word in enumerate(shown, start=1) if word == self._word), None)

    def correction(self, typed: Input) -> str | None:
        """What a space puts in place of `typed`, None if it leaves it; predictors that never correct leave
        it."""
        correction: str | None = getattr(self._answer(typed), "autocorrect", None)
        return correction

    def _answer(self, typed: Input) -> Shown:
        if typed not in self._answers:
            # Only those that take taps are given any.
            answer = self._predictor.suggest(self._context, cast(str, typed), NUM_SHOWN)
            self._answers[typed] = answer
            self._milliseconds.append(answer.latency_ms)
        return self._answers[typed]


def _type_message(
    predictor: Predictor,
    earlier: Sequence[str],
    message: str,
    is_known: Callable[[str], bool],
    rng: np.random.Generator,
) -> Scores:
    before = "".join(f"{text}\n" for text in earlier)
    recalls = [Recall() for _ in LETTERS]
    milliseconds: list[float] = []
    ideal, bounded = Typist(), {name: Typist() for name in BOUNDED_NOTICES}
    typists = (ideal, *bounded.values())
    end = 0
    for unit, start in units_with_places(message):
        for typist in typists:
            typist.gap(start - end)
        end = start + len(unit)
        if unit in PLACEHOLDERS:
            continue
        if not is_word(unit):
            for typist in typists:
                typist.type(len(unit))
            continue
        look = Look(predictor, before + message[:start], unit, milliseconds)
        for letters in LETTERS:
            if len(unit) > letters:
                recalls[letters] += recall_of(look, unit, letters, is_known(unit))
        first_shown = next((n for n in range(len(unit)) if look.rank(unit[:n]) is not None), None)
        ideal.word(len(unit), first_shown)
        attention = rng.random(len(unit))
        for name, probability in BOUNDED_NOTICES.items():
            taken = None
            if first_shown is not None and len(unit) >= BOUNDED_MIN_LENGTH:
                noticed = (n for n in range(first_shown, len(unit)) if attention[n] < probability)
                taken = next((n for n in noticed if look.rank(unit[:n]) is not None), None)
            bounded[name].word(len(unit), taken)
    after_0, after_1, after_2, after_3 = recalls
    return Scores(
        after_0,
        after_1,
        after_2,
        after_3,
        ideal=ideal.keystrokes(),
        bounded=Bounded(**{name: typist.keystrokes() for name, typist in bounded.items()}),
        latency=Latency.of(milliseconds),
    )


def recall_of(look: Look, word: str, letters: int, is_known: bool) -> Recall:
    rank, shown = look.rank(word[:letters]), look.words(word[:letters])
    return Recall(
        positions=1,
        known=int(is_known),
        hits_1=int(rank == 1),
        hits_3=int(rank is not None),
        exact_1=int(shown[:1] == (word,)),
        exact_3=int(word in shown),
        reciprocal_rank=1 / rank if rank else 0.0,
    )


class Typist:
    """Counts one typist's keys through a message."""

    def __init__(self) -> None:
        self.pressed = 0
        self.characters = 0
        self.has_free_space = False

    def gap(self, size: int) -> None:
        """The space before the next unit, if there is one."""
        self.characters += size
        if not self.has_free_space:
            self.pressed += size
        self.has_free_space = False

    def type(self, num_characters: int) -> None:
        """Punctuation, digits, emoji: one key each."""
        self.characters += num_characters
        self.pressed += num_characters

    def word(self, num_letters: int, taken_after: int | None) -> None:
        """A word, accepted after so many letters or typed to its end."""
        if taken_after is None:
            self.keys(num_letters, num_letters, has_free_space=False)
        else:
            self.keys(num_letters, taken_after + 1, has_free_space=True)

    def keys(self, num_letters: int, pressed: int, *, has_free_space: bool) -> None:
        """A word that took so many keys, and whether it brought its space."""
        self.characters += num_letters
        self.pressed += pressed
        self.has_free_space = has_free_space

    def keystrokes(self) -> Keystrokes:
        """The sums so far."""
        return Keystrokes(self.pressed, self.characters)


ENGINE, UNIGRAM, NGRAM, PRESAGE = "fedkey", "unigram", "ngram", "presage"
"""What can be graded on a bundle: its engine; its lexicon alone, most frequent completions first; its lexicon
with the n-grams of another text; or presage, which knows nothing of it."""


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


TAKES_TAPS: frozenset[str] = frozenset({ENGINE})
"""Which of them can be told where thumbs landed; the others are told which keys they hit."""

CORRECTS: frozenset[str] = frozenset({ENGINE})
"""Which of them correct what was mistyped."""


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


Item = TypeVar("Item")
Result = TypeVar("Result")
SomeSums = TypeVar("SomeSums", bound=Sums)

CHUNK = 4
"""Conversations graded together: few enough that several processes finish at about the same time."""


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
