"""The words the keyboard knows, how often they are used, and how they are written.

In: the units of the server's text and public word lists. Out: `lexicon.tsv`, and the forms that truecasing
goes by. Next stop: `fedkey_server.tokenizer`.

No phone's text is looked at here. Frequencies mix the server's own counts with `wordfreq` (data CC BY-SA
4.0), because the server's text is small and of its own kind; casing comes from the server's text inside
sentences, where a capital means something.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from fedkey.errors import UserError
from fedkey.text import capitalise, is_word, sentence_starts

HEADER = "word\tlog_prob\tflags"
OFFENSIVE = "offensive"

# Frequent in `wordfreq` or in chat, unknown to spelling lists, and what people mean to type.
CHAT_WORDS = frozenset(
    "lol lmao omg haha hahaha yeah yep nope yup nah gonna wanna gotta kinda sorta dunno lemme gimme cuz btw "
    "idk tbh imo ikr brb hmm hmmm ooh aww wow yay ugh meh okay ok hey hi bye thx pls plz dude bro bruh y'all "
    "ain't app apps selfie emoji online wifi iphone youtube facebook instagram netflix google".split()
)

# Written with a capital wherever they stand, whatever the server's text does.
PUBLIC_FORMS = {
    **{word: "I" + word[1:] for word in ("i", "i'm", "i'll", "i'd", "i've")},
    **{
        word: capitalise(word)
        for word in (
            "monday tuesday wednesday thursday friday saturday sunday january february april june july "
            "august september october november december america american english spanish french christmas"
        ).split()
    },
}


@dataclass(frozen=True)
class VocabularyConfig:
    """Size and making of the lexicon."""

    max_words: int = 30_000
    """Surface forms kept."""
    language: str = "en"
    """Language of the public lists."""
    server_weight: float = 0.5
    """Share of the server's own counts in a word's frequency; the rest is wordfreq's."""
    min_count: int = 3
    """A word that no public list knows must stand this often in the server's text."""
    second_form_share: float = 0.2
    """A second spelling of the same letters (will, Will) is kept from this share of its occurrences on."""

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ValueError(f"vocabulary.max_words must be at least 1, not {self.max_words}")
        if not 0 <= self.server_weight <= 1:
            raise ValueError(f"vocabulary.server_weight must be between 0 and 1, not {self.server_weight}")


class Entry(NamedTuple):
    """One surface form."""

    word: str
    log_prob: float
    """Natural log of its share of running words."""
    is_offensive: bool


def count_words(messages: Iterable[Sequence[str]]) -> tuple[Counter[str], Counter[str]]:
    """How often each lower-case word stands in the messages' units, and each surface form inside
    sentences."""
    surfaces: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for units in messages:
        surfaces.update(units)
        inside.update(
            unit for unit, starts in zip(units, sentence_starts(units)[:-1], strict=True) if not starts
        )
    lower: Counter[str] = Counter()
    for unit, count in surfaces.items():
        if is_word(unit):
            lower[unit.lower()] += count
    return lower, Counter({unit: count for unit, count in inside.items() if is_word(unit)})


def build(messages: Iterable[Sequence[str]], config: VocabularyConfig) -> list[Entry]:
    """The lexicon of messages given as units, most probable words first.

    Kept are words that `wordfreq` lists and `pyspellchecker` does not call wrong, the project's chat words,
    and words that the server's text uses often enough and that are no misspelling of a frequent one.
    """
    from spellchecker import SpellChecker
    from wordfreq import get_frequency_dict

    lower, inside = count_words(messages)
    public: Mapping[str, float] = get_frequency_dict(config.language, wordlist="best")
    speller = SpellChecker(language=config.language)
    spelled = speller.word_frequency
    offensive = _offensive_words()

    forms: dict[str, Counter[str]] = {}
    for surface, count in inside.items():
        forms.setdefault(surface.lower(), Counter())[surface] += count

    # Words that no public list knows share the space below the rarest public word the lexicon keeps.
    total = sum(lower.values())
    scores: dict[str, float] = {}
    for word in sorted(set(lower) | set(public)):
        if not is_word(word) or (len(word) == 1 and word not in ("a", "i")) or word.isdigit():
            continue
        is_known = (
            word in spelled or word in CHAT_WORDS or word in PUBLIC_FORMS or _is_contraction(word, public)
        )
        is_name = word in forms and forms[word].most_common(1)[0][0] != word
        count = lower[word]
        if not is_known and not (is_name and count >= config.min_count):
            continue
        own = count / total if total else 0.0
        weight = config.server_weight if total else 0.0
        score = weight * own + (1 - weight) * public.get(word, 0.0)
        if score > 0:
            scores[word] = score

    kept = sorted(scores, key=lambda word: (-scores[word], word))[: config.max_words]
    mass = sum(scores[word] for word in kept)
    entries = [
        Entry(form, math.log(scores[word] * share / mass), word in offensive)
        for word in kept
        for form, share in _forms(word, forms.get(word, Counter()), config)
    ]
    entries.sort(key=lambda entry: (-entry.log_prob, entry.word))
    return entries[: config.max_words]


def _offensive_words() -> frozenset[str]:
    """better-profanity's list as it stands in the package: its own matcher takes minutes for a whole
    lexicon."""
    listed = (files("better_profanity") / "profanity_wordlist.txt").read_text(encoding="utf-8")
    return frozenset(line.strip().lower() for line in listed.splitlines() if line.strip())


def _is_contraction(word: str, public: Mapping[str, float]) -> bool:
    """don't, they're, o'clock: an apostrophe inside and a frequency that no slip of the finger has."""
    return "'" in word and public.get(word, 0.0) > 1e-6


def _forms(word: str, seen: Counter[str], config: VocabularyConfig) -> list[tuple[str, float]]:
    """The spellings of a lower-case word to keep, with their shares."""
    if word in PUBLIC_FORMS:
        return [(PUBLIC_FORMS[word], 1.0)]
    total = sum(seen.values())
    if total < 3:
        return [(word, 1.0)]
    shares = {form: count / total for form, count in seen.items() if not (form.isupper() and len(form) > 4)}
    kept = {form: share for form, share in shares.items() if share >= config.second_form_share}
    if not kept:
        return [(word, 1.0)]
    mass = sum(kept.values())
    return sorted(
        ((form, share / mass) for form, share in kept.items()), key=lambda item: (-item[1], item[0])
    )


def write(entries: Sequence[Entry], path: Path) -> None:
    """Writes `lexicon.tsv`: a header, then one word a line, most probable first."""
    lines = [f"{e.word}\t{e.log_prob:.4f}\t{OFFENSIVE if e.is_offensive else ''}\n" for e in entries]
    path.write_text(HEADER + "\n" + "".join(lines), encoding="utf-8")


def read(path: Path) -> list[Entry]:
    """Reads `lexicon.tsv`; `UserError` names the line that is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"Cannot read the lexicon {path}: {error.strerror}.") from error
    if not lines or lines[0] != HEADER:
        raise UserError(f"{path} is not a lexicon: its first line must be {HEADER!r}.")
    entries = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            word, log_prob, flags = line.split("\t")
            entries.append(Entry(word, float(log_prob), flags == OFFENSIVE))
        except ValueError as error:
            raise UserError(f"{path}:{number} is not 'word<TAB>number<TAB>flags'.") from error
    return entries


def forms_of(entries: Iterable[Entry]) -> dict[str, str]:
    """Lower-case word -> the form it is mostly written in: the first of its entries, which come by
    probability."""
    forms: dict[str, str] = {}
    for entry in entries:
        forms.setdefault(entry.word.lower(), entry.word)
    return forms
