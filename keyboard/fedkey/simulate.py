"""A simulated typist: walks conversations word by word and sees what the keyboard would have shown.

In: conversations and anything that suggests words. Out: sums of `fedkey.metrics` per author. Next stop:
`fedkey.cli.eval` and the server's comparison table, which share this harness.

At every word of a graded message the typist sees the suggestions before the first letter, after one, two,
three and, until the word has been accepted, after each further letter. All metrics share these calls.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fedkey.errors import UserError
from fedkey.metrics import Keystrokes, Latency, Likelihood, Recall, Sums
from fedkey.text import PLACEHOLDERS, is_word, normalise, units_with_places

NUM_SHOWN = 3
LETTERS = (0, 1, 2, 3)
"""Numbers of typed letters at which recall is reported."""

BOUNDED_MIN_LENGTH = 5
BOUNDED_NOTICES = 0.5
"""The bounded typist looks at suggestions only for words of five letters and more, and notices a shown word
with probability one half at each key: people use suggestions for long words and overlook many."""


class Shown(Protocol):
    """What a predictor answers."""

    @property
    def words(self) -> tuple[str, ...]:
        """Suggested words, best first."""

    @property
    def latency_ms(self) -> float:
        """Wall-clock milliseconds the answer took."""


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
class Scores(Sums):
    """Everything measured, for one author or many."""

    after_0: Recall = Recall()
    after_1: Recall = Recall()
    after_2: Recall = Recall()
    after_3: Recall = Recall()
    """Recall after 0, 1, 2, 3 letters, over words that have more letters than that."""
    ideal: Keystrokes = Keystrokes()
    """The typist who looks after every key and takes the word the moment it is shown: an upper bound."""
    bounded: Keystrokes = Keystrokes()
    """The typist of `BOUNDED_MIN_LENGTH` and `BOUNDED_NOTICES`."""
    likelihood: Likelihood = Likelihood()
    latency: Latency = Latency()

    def after(self, letters: int) -> Recall:
        """Recall after so many letters."""
        recall: Recall = getattr(self, f"after_{letters}")
        return recall


def read_conversations(path: Path) -> list[GradedConversation]:
    """Reads a text to grade.

    Formats: prepared lines {"id", "author", "messages": [{"user", "text"}]} grade that author's messages;
    corpus lines {"user", "dialog", "turn", "text"} grade every message for its user; a .txt file holds
    one message a line, all by one author and unconnected.

    Raises:
        UserError: missing or unreadable file, with the line at fault, or no message in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); convert it first.") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if path.suffix == ".jsonl":
        rows = [_row(path, number, line) for number, line in numbered]
        conversations = [_prepared(row) for row in rows if "messages" in row]
        conversations += _corpus([row for row in rows if "messages" not in row])
    else:
        texts = [text for _, line in numbered if (text := normalise(line))]
        conversations = [GradedConversation(path.name, (text,), (True,)) for text in texts]
    if not any(any(conversation.graded) for conversation in conversations):
        raise UserError(f"{path} holds no message to grade.")
    return conversations


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        is_prepared = (
            isinstance(row["messages"], list) and isinstance(row["author"], str)
            if "messages" in row
            else False
        )
        if is_prepared:
            fits = all(isinstance(message["text"], str) and "user" in message for message in row["messages"])
        else:
            fits = (
                isinstance(row["text"], str)
                and isinstance(row["turn"], int)
                and {"user", "dialog"} <= row.keys()
            )
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise UserError(
            f'{path}:{number} is neither {{"user","dialog","turn","text"}} nor a prepared conversation.'
        )
    return dict(row)


def _prepared(row: Mapping[str, Any]) -> GradedConversation:
    pairs = [(normalise(message["text"]), message["user"] == row["author"]) for message in row["messages"]]
    return _graded(row["author"], pairs)


def _corpus(rows: Sequence[Mapping[str, Any]]) -> list[GradedConversation]:
    dialogs: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        dialogs.setdefault(str(row["dialog"]), []).append(row)
    conversations = []
    for members in dialogs.values():
        members.sort(key=lambda row: row["turn"])
        for user in sorted({str(row["user"]) for row in members}):
            pairs = [(normalise(row["text"]), str(row["user"]) == user) for row in members]
            conversations.append(_graded(user, pairs))
    return conversations


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
    context. Every author gets one before any gets a second, so that few authors do not speak for all.
    """
    if max_words is None:
        return list(conversations)
    rng = np.random.default_rng(seed)
    stretches = [stretch for conversation in conversations for stretch in _stretches(conversation)]
    queues: dict[str, list[GradedConversation]] = {}
    for index in rng.permutation(len(stretches)):
        queues.setdefault(stretches[index].author, []).append(stretches[index])
    chosen: list[GradedConversation] = []
    words = 0
    while queues:
        for author in sorted(queues):
            if words >= max_words:
                return chosen
            stretch = queues[author].pop()
            chosen.append(stretch)
            words += stretch.num_words
            if not queues[author]:
                del queues[author]
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
                    _notices(seed, index, message),
                )
                if score is not None:
                    nats, _ = score(conversation.messages[:index], message)
                    words = sum(is_word(unit) for unit, _ in units_with_places(message))
                    scores = scores + Scores(likelihood=Likelihood(-nats, len(message) + 1, words))
                totals[conversation.author] = totals.get(conversation.author, Scores()) + scores
    return totals


def _notices(seed: int, index: int, message: str) -> np.random.Generator:
    """What the bounded typist notices depends on the message alone, so every predictor meets the same
    typist."""
    return np.random.default_rng([seed, index, *message.encode("utf-8")[:32]])


@dataclass
class _Look:
    """The suggestions for one word, asked for only when somebody looks."""

    predictor: Predictor
    context: str
    word: str
    shown: dict[int, tuple[str, ...]]
    milliseconds: list[float]

    def words_after(self, letters: int) -> tuple[str, ...]:
        if letters not in self.shown:
            answer = self.predictor.suggest(self.context, self.word[:letters], NUM_SHOWN)
            self.shown[letters] = answer.words
            self.milliseconds.append(answer.latency_ms)
        return self.shown[letters]

    def rank_after(self, letters: int) -> int | None:
        """Place of the word among those shown, from 1, ignoring case."""
        lower = self.word.lower()
        shown = (word.lower() for word in self.words_after(letters))
        return next((rank for rank, word in enumerate(shown, start=1) if word == lower), None)


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
    ideal, bounded = _Typist(), _Typist()
    end = 0
    for unit, start in units_with_places(message):
        for typist in (ideal, bounded):
            typist.gap(start - end)
        end = start + len(unit)
        if unit in PLACEHOLDERS:
            continue
        if not is_word(unit):
            for typist in (ideal, bounded):
                typist.type(len(unit))
            continue
        look = _Look(predictor, before + message[:start], unit, {}, milliseconds)
        for letters in LETTERS:
            if len(unit) > letters:
                recalls[letters] += _recall(look, letters, is_known(unit))
        taken = next((n for n in range(len(unit)) if look.rank_after(n) is not None), None)
        ideal.word(len(unit), taken)
        noticed = rng.random(len(unit)) < BOUNDED_NOTICES
        if len(unit) < BOUNDED_MIN_LENGTH:
            taken = None
        elif taken is not None:
            taken = next(
                (n for n in range(taken, len(unit)) if noticed[n] and look.rank_after(n) is not None), None
            )
        bounded.word(len(unit), taken)
    after_0, after_1, after_2, after_3 = recalls
    return Scores(
        after_0,
        after_1,
        after_2,
        after_3,
        ideal=ideal.keystrokes(),
        bounded=bounded.keystrokes(),
        latency=Latency.of(milliseconds),
    )


def _recall(look: _Look, letters: int, is_known: bool) -> Recall:
    rank = look.rank_after(letters)
    exact = look.word in look.words_after(letters)
    return Recall(
        positions=1,
        known=int(is_known),
        hits_1=int(rank == 1),
        hits_3=int(rank is not None),
        exact_1=int(look.words_after(letters)[:1] == (look.word,)),
        exact_3=int(exact),
        reciprocal_rank=1 / rank if rank else 0.0,
    )


class _Typist:
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
        self.characters += num_letters
        if taken_after is None:
            self.pressed += num_letters
        else:
            self.pressed += taken_after + 1
            self.has_free_space = True

    def keystrokes(self) -> Keystrokes:
        return Keystrokes(self.pressed, self.characters)


UNIGRAM = "unigram"
"""In place of the engine: the bundle's lexicon alone, most frequent completions first."""


def grade_bundle(
    bundle: Path,
    conversations: Sequence[GradedConversation],
    *,
    baseline: bool = False,
    processes: int = 1,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Scores]:
    """Grades a bundle's engine, or the unigram baseline of its lexicon, on one or several processes.

    Args:
        bundle: a bundle folder.
        conversations: texts to type.
        baseline: the lexicon's unigram baseline instead of the engine.
        processes: worker processes; the result does not depend on their number.
        seed: of the bounded typist.
        on_progress: called with the number of conversations just graded.
    """
    chunks = [conversations[start : start + 4] for start in range(0, len(conversations), 4)]
    totals: dict[str, Scores] = {}

    def collect(part: Mapping[str, Scores], size: int) -> None:
        for author, scores in part.items():
            totals[author] = totals.get(author, Scores()) + scores
        if on_progress is not None:
            on_progress(size)

    if processes == 1:
        _open_predictor(bundle, baseline)
        for chunk in chunks:
            collect(_grade_chunk(chunk, seed), len(chunk))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, _open_predictor, (bundle, baseline)) as pool:
            futures = {pool.submit(_grade_chunk, chunk, seed): len(chunk) for chunk in chunks}
            for future in as_completed(futures):
                collect(future.result(), futures[future])
    return dict(sorted(totals.items()))


_opened: tuple[Predictor, Callable[[str], bool], Score | None]


def _open_predictor(bundle: Path, baseline: bool) -> None:
    """Opens what this process grades with; a worker does it once."""
    from fedkey.baseline import Unigram
    from fedkey.engine import Engine

    global _opened
    engine = Engine.open(bundle)

    def is_known(word: str) -> bool:
        return word.lower() in engine.lexicon.forms

    if baseline:
        _opened = (Unigram(engine.lexicon), is_known, None)
    else:
        _opened = (engine, is_known, engine.score_message)


def _grade_chunk(conversations: Sequence[GradedConversation], seed: int) -> dict[str, Scores]:
    predictor, is_known, score = _opened
    return grade(predictor, conversations, is_known, score=score, seed=seed)
