"""The words the keyboard knows, how often they are used, and how they are written.

In: the units of the server's text and public word lists. Out: `lexicon.tsv`, and the forms that truecasing
goes by. Next stop: `fedkey_server.dictionary`, for what it has no room for.

No phone's text is looked at here. The server's text is of two kinds: what donors typed, which is how phones
are written, and public text, which is larger and of another kind (the speeches of the tiny preset write
"Government" and "the State of the Union"). Frequencies mix both with `wordfreq` (data CC BY-SA 4.0); casing
comes from inside their sentences, where a capital means something, and from lists that tell names from words.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, NamedTuple

from fedkey.errors import UserError
from fedkey.text import capitalise, is_word, sentence_starts
from fedkey_server import british
from fedkey_server.current_words import CAPITALS, CURRENT_SHARE, CURRENT_WORDS, MISSPELT, SMALL
from fedkey_server.names import NO_NAMES, names

HEADER = "word\tlog_prob\tflags"
OFFENSIVE = "offensive"

# Right in chat, though pyspellchecker does not list them.
CHAT_WORDS = frozenset(
    "lol lmao omg haha hahaha btw idk ikr tbh imo brb jk cuz pls plz thx bro bruh aww ohh hmmm yay meh "
    "app apps emoji intro selfie wifi".split()
)

# Two words that people often run together. A rule for them would throw out "playlist" and "inbox".
RUN_TOGETHER = frozenset(
    "alot atleast eachother everytime aswell ofcourse infront upto incase ofthe inthe onthe tothe forthe "
    "highschool thankyou goodluck".split()
)

# Written so wherever they stand, whatever the server's text does.
PUBLIC_FORMS = {
    **{word.lower(): word for word in CURRENT_WORDS | CAPITALS | SMALL},
    **{word: "I" + word[1:] for word in ("i", "i'm", "i'll", "i'd", "i've")},
    **{
        form.lower(): form
        for form in "TV UK USA iPhone iPad YouTube Facebook Instagram Netflix Google Disney".split()
    },
    **{
        word: capitalise(word)
        for word in (
            "monday tuesday wednesday thursday friday saturday sunday january february april june july "
            "august september october november december america american english spanish french christmas"
        ).split()
    },
}

# What better-profanity has, or has with an ending, though a keyboard must be able to offer it: words
# of faith, identity, medicine, history and everyday life.
ORDINARY = frozenset(
    "god omg gay gays lesbians queer transsexual drunk stoned vodka rum weed pot hemp opium opiate peyote "
    "hookah junkie reefer valium viagra kill murder slave oral orally organ facial breasts stroke strip "
    "thrust penetrate penetration hiv virgin womb urine urinal uterus ovary herpes pms menstruation rectal "
    "rectum testicle sperm tampon nappy potty vomit pee poop fart sniper napalm uzi seaman seamen pawn slope "
    "snatch snuff thug hump knob enlargement woody wang len maxi paddy pollock reich steamy vulgar stupid "
    "dummy moron hell damn crap suck sucked sucking scum ugly fat jerk jerked lmao lust sexual screw screwed "
    "screwing weirdo trashy tramp tawdry dopey racy prude playboy sleazy scantily seduce vixen whiz nimrod "
    "weenie tinkle flange loin loins revue homey undies panty panties pasty willy xx klan aryan sodom "
    "perversion sadism masochist busty rump wad hooch cowgirl dink erect phallic weiner leper inbred lusty "
    "arian assess assessed assesses assessing cocked cocking cummings spaced spaces spacing spiced spices "
    "spiked spikes sexes spiking heroines".split()
)

# Coarse words that the list lacks, and beginnings that no other words have.
COARSE = frozenset(
    "apeshit arse arsed arses asshat batshit bollocks dipshit horseshit libtard midget nazis pikey poof "
    "pornhub pornstar slag sodomy spastic tranny trannies".split()
)
COARSE_STEMS = tuple("bitch bullshit faggot fuck motherfuck nigga nigger shit slut whore".split())
ENDINGS = ("'s", "s", "es", "ed", "ing")

SLIP_RATIO = 30.0
"""An unlisted word is taken for a slip when a listed word one slip away is so many times as frequent: "teh"
(the) and "recieve" are, "texting" (testing) and "colour" (color) are not."""
APOSTROPHE_RATIO = 10.0
"""A listed word is taken for a contraction without its apostrophe when that is so many times as frequent:
"cant" (28) and "wont" (18) are, "ill" and "wed" (6) are not."""
DOUBTED_SHARE = 0.45
"""What is left of a capital that public text writes mostly but not surely, or that a list with capitals does
not have."""
NAME_MARGIN = 40
"""Steps of such a list by which a capital is more frequent than the small word where that is none for a
keyboard (Smith 129, smith 80, but Polish 126, polish 92)."""
MAX_PUBLIC_VOTES = 5
"""Public text weighs at most as much as so many occurrences in donors' text when casing is decided."""
MIN_VOTES = 3.0
"""With less evidence a word is written small."""


LISTS = ("wordfreq", "pyspellchecker", "better-profanity", "faker")
"""Packages whose lists are asked."""


def lists_sha256() -> str:
    """A digest that changes whenever what is known of words does: our own lists, or others' versions."""
    ours = (
        *PUBLIC_FORMS.values(),
        *CHAT_WORDS,
        *RUN_TOGETHER,
        *ORDINARY,
        *COARSE,
        *MISSPELT,
        *NO_NAMES,
        *british.IRREGULAR,
    )
    known = [*sorted(ours), *(f"{package} {version(package)}" for package in LISTS)]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()


@dataclass(frozen=True)
class VocabularyConfig:
    """Size and making of the lexicon."""

    max_words: int = 30_000
    """Surface forms kept."""
    language: str = "en"
    """Language of the public lists."""
    donor_weight: float = 0.6
    """Share of the donors' counts in a word's frequency. Measured 2026-11-24, tiny preset, words of
    validation authors: perplexity 628; half wordfreq and half all of the server's text alike, 1,062."""
    public_weight: float = 0.05
    """Share of the public text's counts; the rest is wordfreq's."""
    min_count: int = 3
    """A word that no public list knows must stand this often in the server's text."""
    min_sources: int = 1
    """And in so many of its sources, donors being one: the nicknames of a channel and the people of one story
    stand there often, and nowhere else."""
    second_form_share: float = 0.2
    """A second spelling of the same letters (state, State) is kept from this share of its occurrences on."""
    sure_share: float = 0.98
    """Names have their capital this often in public text; what has it less often, though mostly, is a title
    or an institution (in speeches, Government 77 %). Chat is less careful (there, China 90 %, NASA 82 %)."""
    cased_words: str = ""
    """File of words as they are written, in the folder of the text: a header, then word, frequency in steps
    (0 to 255) and flags, between tabs. Of words that it has it decides whether they are names."""

    def __post_init__(self) -> None:
        for name in ("max_words", "min_sources"):
            if getattr(self, name) < 1:
                raise ValueError(f"vocabulary.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("donor_weight", "public_weight", "second_form_share", "sure_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"vocabulary.{name} must be between 0 and 1, not {getattr(self, name)}")
        if self.donor_weight + self.public_weight > 1:
            raise ValueError("vocabulary.donor_weight and vocabulary.public_weight together are more than 1")


class Entry(NamedTuple):
    """One surface form."""

    word: str
    log_prob: float
    """Natural log of its share of running words."""
    is_offensive: bool


Units = Iterable[Sequence[str]]
"""Messages as units of `fedkey.text.split`."""


class Counts(NamedTuple):
    """The words of one kind of text."""

    words: Counter[str]
    """Lower-case word -> how often it stands in the text."""
    inside: Counter[str]
    """Word as it is written -> how often it stands inside sentences, where a capital means something."""


def count_words(messages: Units, *, only_careful: bool = False) -> Counts:
    """Counts the words of one text; with `only_careful` messages that begin small say nothing of capitals.

    Many who chat never press Shift. In the phone preset's text York has its capital in 97 % of its places in
    messages that begin with one and in 90 % of all, Sam in 99 and 72 %, Microsoft in 78 and 60 %.
    """
    surfaces: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for units in messages:
        surfaces.update(units)
        if only_careful and not any(unit[0].isupper() for unit in units[:1]):
            continue
        inside.update(
            unit for unit, starts in zip(units, sentence_starts(units)[:-1], strict=True) if not starts
        )
    words: Counter[str] = Counter()
    for unit, count in surfaces.items():
        if is_word(unit):
            words[unit.lower()] += count
    return Counts(words, Counter({unit: count for unit, count in inside.items() if is_word(unit)}))


def count_shared_words(authors: Mapping[str, Units]) -> Counts:
    """Counts what several people typed, leaving out of every word's count the one who uses it most.

    One donor's spam, pet names and habits of spelling count for nothing: what stays is what others say too.
    """
    totals, most = Counts(Counter(), Counter()), Counts(Counter(), Counter())
    for messages in authors.values():
        for counts, total, maximum in zip(count_words(messages), totals, most, strict=True):
            total.update(counts)
            for word, count in counts.items():
                maximum[word] = max(maximum[word], count)
    return Counts(totals.words - most.words, totals.inside - most.inside)


CasedWords = Mapping[str, Mapping[str, int]]
"""Lower-case word -> its spellings in a list with capitals, with their frequencies in steps."""


def read_cased_words(path: Path) -> dict[str, dict[str, int]]:
    """Reads `VocabularyConfig.cased_words`, perhaps packed (.xz, .gz); `UserError` if it cannot be."""
    forms: dict[str, dict[str, int]] = {}
    openers: Mapping[str, Callable[..., IO[Any]]] = {".xz": lzma.open, ".gz": gzip.open}
    opener = openers.get(path.suffix, open)
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            next(file, None)
            for line in file:
                word, frequency, *_ = line.split("\t")
                forms.setdefault(word.lower(), {})[word] = int(frequency)
    except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
        raise UserError(f"Cannot read {path}, which vocabulary.cased_words names: {error}.") from error
    return forms


def build(
    public: Mapping[str, Units],
    donors: Mapping[str, Units],
    config: VocabularyConfig,
    cased: CasedWords | None = None,
) -> list[Entry]:
    """The lexicon, most probable words first.

    Kept are, by falling frequency: words that `pyspellchecker` lists, contractions, the project's chat words,
    names (words with a capital inside sentences), and words that only `wordfreq` or the server's text knows
    unless they look like a slip of a far more frequent listed word.

    Args:
        public: source -> the server's public text from it.
        donors: donor -> what they typed.
        config: sizes and weights.
        cased: a list of words as they are written, see `read_cased_words`. With it names of people that it
            lacks have their capital too.

    Raises:
        UserError: there is no public list for the language.
    """
    lists = PublicLists.open(config.language)
    counted = [count_words(units, only_careful=True) for units in public.values()]
    in_chat = count_shared_words(donors)
    num_sources = Counter(word for counts in (*counted, in_chat) for word in counts.words)
    in_public = Counts(Counter(), Counter())
    for counts in counted:
        in_public.words.update(counts.words)
        in_public.inside.update(counts.inside)
    frequency = _mixed_frequencies(in_public.words, in_chat.words, lists.frequency, config)
    public_forms, chat_forms = _by_word(in_public.inside), _by_word(in_chat.inside)

    forms: dict[str, dict[str, float]] = {}
    small = set()
    for word in sorted(frequency, key=lambda word: (-frequency[word], word)):
        if len(forms) == config.max_words:
            break
        is_letter = len(word) == 1 and word not in ("a", "i")
        if not is_word(word) or word in MISSPELT or is_letter or "_" in word:
            continue
        listed = {} if cased is None or word in PUBLIC_FORMS else cased.get(word) or _as_name(word)
        # Of what a list knows as a name the text need not be sure.
        sure_share = 0.5 if listed and not _is_small(word, listed) else config.sure_share
        seen = public_forms.get(word, Counter()), chat_forms.get(word, Counter())
        if cased is not None and word.removesuffix("'s") in lists.listed:
            seen = _without_odd_capitals(seen[0], listed), _without_odd_capitals(seen[1], listed)
        votes = _votes(word, *seen, sure_share)
        is_known = word in lists.frequency or word in lists.listed or word in listed
        is_heard = is_known or num_sources[word] >= config.min_sources
        count = in_public.words[word] + in_chat.words[word] if is_heard else 0
        is_name = count >= config.min_count and max(votes, key=votes.__getitem__) != word
        is_used = count >= config.min_count or word in lists.frequency
        if is_name or (is_used and not lists.is_slip(word, frequency)):
            shares = _form_shares(word, votes, config.second_form_share)
            forms[word] = _as_listed(word, shares, votes, listed, config.second_form_share)
            if _is_small(word, listed):
                small.add(word)

    mass = sum(frequency[word] for word in forms)
    entries = [
        Entry(form, math.log(frequency[word] * share / mass), is_offensive(word))
        for word, shares in forms.items()
        for form, share in shares.items()
    ]
    entries.sort(key=lambda entry: (-entry.log_prob, entry.word))
    return _with_small_forms(entries[: config.max_words], small)


def _with_small_forms(entries: Sequence[Entry], small: Collection[str]) -> list[Entry]:
    """The entries that have room. A word whose capital alone has some, though it is in `small`, is written
    small: it is not only a name (Collie)."""
    kept = {entry.word for entry in entries}
    settled = []
    for entry in entries:
        word = entry.word.lower()
        if word in small and word not in kept:
            kept.add(word)
            entry = entry._replace(word=word)
        settled.append(entry)
    return settled


def _by_word(inside: Counter[str]) -> dict[str, Counter[str]]:
    """Lower-case word -> how often each of its spellings stands inside sentences."""
    forms: dict[str, Counter[str]] = {}
    for unit, count in inside.items():
        forms.setdefault(unit.lower(), Counter())[unit] = count
    return forms


def _mixed_frequencies(
    public: Mapping[str, int],
    chat: Mapping[str, int],
    listed: Mapping[str, float],
    config: VocabularyConfig,
) -> dict[str, float]:
    """Lower-case word -> its share of running words. A kind of text that is missing leaves its weight to the
    others."""
    parts: list[tuple[float, Mapping[str, float]]] = []
    for weight, counts in ((config.donor_weight, chat), (config.public_weight, public)):
        if total := sum(counts.values()):
            parts.append((weight / total, counts))
    parts.append((1 - config.donor_weight - config.public_weight, listed))
    mixed: dict[str, float] = {}
    for weight, part in parts:
        if weight > 0:
            for word, value in part.items():
                mixed[word] = mixed.get(word, 0.0) + weight * value
    return mixed


@dataclass(frozen=True)
class PublicLists:
    """What other people's lists say of a language's words."""

    frequency: Mapping[str, float]
    """wordfreq's share of running words, per lower-case word."""
    listed: frozenset[str]
    """Words that are right: pyspellchecker's and ours."""
    alphabet: str
    """The letters of pyspellchecker's words."""

    @classmethod
    @cache
    def open(cls, language: str) -> PublicLists:
        """Reads the packages' lists, once a process; `UserError` if they have none for the language."""
        from spellchecker import SpellChecker
        from wordfreq import get_frequency_dict

        try:
            frequency: dict[str, float] = get_frequency_dict(language, wordlist="best")
            listed = frozenset(SpellChecker(language=language).word_frequency.words()) - MISSPELT
        except (LookupError, ValueError) as error:
            raise UserError(
                f"vocabulary.language {language!r} is not a language that wordfreq and pyspellchecker know."
            ) from error
        letters = {letter for word in listed for letter in word}
        # wordfreq writes every digit of a longer number as 0: "00th".
        frequency = {word: share for word, share in frequency.items() if not any(map(str.isdigit, word))}
        current = map(str.lower, CURRENT_WORDS)
        frequency |= {word: max(CURRENT_SHARE, frequency.get(word, 0.0)) for word in current}
        return cls(frequency, listed | CHAT_WORDS | set(PUBLIC_FORMS), "".join(sorted(letters)))

    def is_slip(self, word: str, mixed: Mapping[str, float]) -> bool:
        """Whether a word is more likely a slip of another one than a word of its own.

        A listed word is a slip only where an apostrophe was left out ("cant"). An unlisted one is where any
        one letter is missing, superfluous, wrong or swapped with the next. Frequencies are wordfreq's; a word
        that it lacks goes by the mixed ones.
        """
        frequency = self.frequency if word in self.frequency else mixed
        times = APOSTROPHE_RATIO if word in self.listed else 1.0
        if word in RUN_TOGETHER or any(
            self._is_contraction(other) and self.frequency[other] >= times * frequency[word]
            for other in _with_inserted(word, "'")
        ):
            return True
        if word in self.listed or self._is_contraction(word):
            return False
        floor = SLIP_RATIO * frequency[word]
        return any(
            frequency.get(other, 0.0) >= floor and other in self.listed
            for other in _one_slip_away(word, self.alphabet)
        )

    def _is_contraction(self, word: str) -> bool:
        """don't, they're, o'clock: an apostrophe inside and a frequency that no slip of the finger has."""
        return "'" in word and self.frequency.get(word, 0.0) > 1e-6


def _with_inserted(word: str, letters: str) -> Iterator[str]:
    return (word[:i] + letter + word[i:] for i in range(len(word) + 1) for letter in letters)


def _one_slip_away(word: str, alphabet: str) -> Iterator[str]:
    """Every string that one letter more, less, other or swapped with its neighbour makes of the word."""
    yield from _with_inserted(word, alphabet)
    for i in range(len(word)):
        left, right = word[:i], word[i + 1 :]
        yield left + right
        yield from (left + letter + right for letter in alphabet if letter != word[i])
        if right:
            yield left + right[0] + word[i] + right[1:]


def _votes(word: str, public: Counter[str], chat: Counter[str], sure_share: float) -> dict[str, float]:
    """How the spellings of a lower-case word compare, in occurrences of donors' text; the small one is always
    there.

    Donors write as phones do, but there is little of their text; public text counts as a few occurrences
    more, and of a capital that it leaves out now and then less than half is believed: it belongs to a title
    or an institution ("the Government", "Secretary Hull"), not to a name.
    """
    if word in PUBLIC_FORMS:
        return {PUBLIC_FORMS[word]: MIN_VOTES}
    votes: dict[str, float] = {word: 0.5}  # in doubt, small
    seen = _without_shouting(public, chat)
    believed = {form: count / seen.total() for form, count in seen.items()}
    capital = max((form for form in seen if form != word), key=seen.__getitem__, default=word)
    if capital != word and 0.5 <= believed[capital] < sure_share:
        believed = {word: 1 - DOUBTED_SHARE, capital: DOUBTED_SHARE}
    for form, share in believed.items():
        votes[form] = votes.get(form, 0.0) + share * min(seen.total(), MAX_PUBLIC_VOTES)
    typed = _without_shouting(chat, public)
    for form, count in typed.items():
        votes[form] = votes.get(form, 0.0) + count
    return votes if sum(votes.values()) >= MIN_VOTES else {word: MIN_VOTES}


def _without_shouting(seen: Counter[str], elsewhere: Counter[str]) -> Counter[str]:
    """The spellings without long ones in capitals alone, unless nobody writes the word otherwise (UNESCO)."""
    quiet = Counter({form: n for form, n in seen.items() if not (form.isupper() and len(form) >= 5)})
    is_acronym = not quiet and all(form in seen for form in elsewhere)
    return seen if is_acronym else quiet


def _without_odd_capitals(seen: Counter[str], listed: Mapping[str, int]) -> Counter[str]:
    """The spellings of a right word without those that have other capitals than a list knows, unless nobody
    writes it otherwise: titles and jokes (SOciety's, CoAsTaL), and abbreviations that are words too (COB)."""
    usual = Counter({form: n for form, n in seen.items() if form in listed or not _is_odd(form)})
    return usual or seen


def _is_odd(form: str) -> bool:
    """Whether it has capitals behind its first letter, but for abbreviations of two letters."""
    stem = form.removesuffix("'s")
    return stem[1:] != stem[1:].lower() and not (len(stem) == 2 and stem.isupper())


def _form_shares(word: str, votes: Mapping[str, float], second_form_share: float) -> dict[str, float]:
    """The spellings to keep and the share of each, the main one first."""
    total = sum(votes.values())
    main = max(votes, key=lambda form: (votes[form], form == word, form))
    kept = {form: n / total for form, n in votes.items() if form == main or n / total >= second_form_share}
    kept[main] += 1e-3  # a hair more than an equal second, so that every reader takes the same for the main
    mass = sum(kept.values())
    return {form: share / mass for form, share in sorted(kept.items(), key=lambda item: -item[1])}


def _is_small(word: str, listed: Mapping[str, int]) -> bool:
    """Whether a list with capitals knows a word that is written small, and not as a rare exception."""
    return word in listed and listed[word] > max(listed.values()) - NAME_MARGIN


def _as_name(word: str) -> dict[str, int]:
    """The spelling of a word as `CasedWords` has it, if it is a name of people."""
    return {name: 1} if (name := word.capitalize()) in names() else {}


def _as_listed(
    word: str,
    shares: Mapping[str, float],
    votes: Mapping[str, float],
    listed: Mapping[str, int],
    second_form_share: float,
) -> dict[str, float]:
    """The shares of a word's spellings after a list with capitals was asked, the main one first.

    A name that the list knows as nothing else is written so, unless most of the text writes it small (ok,
    btw). A word that is one small keeps its small spelling, however often the text has it in a name (the
    Cowboys, Reservoir Dogs); and if the list has it small more often, that is how it is mostly written.
    """
    if not listed:
        return dict(shares)
    best = max(listed, key=lambda form: (listed[form], form == word, form))
    if not _is_small(word, listed):
        is_told = votes != {word: MIN_VOTES}
        return dict(shares) if is_told and votes[word] > sum(votes.values()) / 2 else {best: 1.0}
    capitals = {form: share for form, share in shares.items() if form != word}
    most = DOUBTED_SHARE if best == word else 1 - second_form_share
    if not capitals or sum(capitals.values()) <= most:
        return dict(shares)
    scale = most / sum(capitals.values())
    settled = {word: 1 - most, **{form: scale * share for form, share in capitals.items()}}
    return dict(sorted(settled.items(), key=lambda item: -item[1]))


@cache
def is_offensive(word: str) -> bool:
    """Whether a word, in lower case, is one that a keyboard never offers unasked.

    better-profanity's own matcher takes minutes for a whole lexicon and knows only the forms on its list
    (retard, but not retards).
    """
    if word in ORDINARY:
        return False
    listed = _coarse_words()
    stems = [word.removesuffix(ending) for ending in ENDINGS if word.endswith(ending)]
    stems += [stem[:-1] for stem in stems if stem[-2:-1] == stem[-1:]]  # shagged
    return word.startswith(COARSE_STEMS) or any(each in listed for each in (word, *stems))


@cache
def _coarse_words() -> frozenset[str]:
    listed = (files("better_profanity") / "profanity_wordlist.txt").read_text(encoding="utf-8")
    return COARSE | {line.strip().lower() for line in listed.splitlines() if line.strip()} - ORDINARY


def write(entries: Sequence[Entry], path: Path) -> None:
    """Writes `lexicon.tsv`: a header, then one word a line, most probable first."""
    lines = [f"{e.word}\t{e.log_prob:.4f}\t{OFFENSIVE if e.is_offensive else ''}\n" for e in entries]
    path.write_text(HEADER + "\n" + "".join(lines), encoding="utf-8")


def forms_of(entries: Iterable[Entry]) -> dict[str, str]:
    """Lower-case word -> the form it is mostly written in: the first of its entries, which come by
    probability."""
    forms: dict[str, str] = {}
    for entry in entries:
        forms.setdefault(entry.word.lower(), entry.word)
    return forms
