"""Whether a space puts another word in place of what was typed.

In: what was typed, how likely it is as it stands, and what else it may have been meant to be. Out: the word
to put, if it is sure enough. Next stop: `fedkey.contest`.

Three things compete for the same touches: the text as it stands, meant just so; a word of the lexicon,
mistyped; and two words whose space is missing. Each has a score,

    model_weight * log P(meant | context) + frequency_weight * log P(meant) - cost,

where the cost is minus the log of the probability that these touches are made for it, by clumsy thumbs or by
somebody who cannot spell, whichever is likelier. The two opinions of how likely the word is are blended
because the model knows the context and the lexicon rare words. A bundle's `fedkey.judge` adds what such a
sum cannot say. The share of the best in the sum of all exp(score) is how sure the keyboard is. Writers hate a
wrong correction far more than they like a right one, so it must be surer than a threshold. `CorrectionModel`
holds the threshold and the few numbers that make the scores comparable; `fedkey-export calibrate` learns the
judge, fits the threshold and stores them in the bundle.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedkey.candidates import DEFAULT_ERRORS, ErrorModel
from fedkey.channel import SpellingChannel
from fedkey.judge import Choice, Judge, Literal, Network
from fedkey.personal_rules import is_inside_address
from fedkey.text import is_word

MIN_LETTERS = 2
"""A single letter that is no word is an abbreviation (k, u), or the beginning of anything."""

SHORT_FORMS = frozenset(
    """addr addy aest afk agh aka alr arse asap asdf asf atm attn ayy ayye bb bbl bby bc bf bff bldg boi
    bois bool bot brb bst btw comin cpp cst cuz dm dms dob doin dw ecg ekg erm esports est eval ew ext
    fav favs fb feelin finna fr ftw fwd fwiw fyi g2g gcse gcses gettin gf gg gj gl glhf gm gn goin gonna
    goss gotta grl gtg hbd hbu heh heya heyo hf hmu hr hrm hrs hru hw hwy ic icymi idc idek idk ig ikr
    ily imho imma imo improv imy incl intl irl iso iykyk jk kinda kk kpi lemme lgtm lil livin lmao lmfao
    lmk lol lols lookin lotsa lowkey lul makin meh mhm mkay mm msg msgs muah nah naw nbd ngl nm nope
    nothin notif np npm nuh nvm obv obvs ofc ok okie omds omfg omg omw oof oomf orly otw outta owo pdt
    pic pics pkg pkgs pls plz pog poss ppl ppt pre prob probs prolly psh pshh pto qr qt rad rly rn rofl
    sayin sez sim sku smh sms smth somethin soo sorta soz sqft sry ssn sth sup sus talkin tbf tbh tbqh
    tbsp tbt tf tfw tgif thinkin tho thot thru thx til tis tldr tmi tmr tmrw tmw toml tryin tsk tsp ttyl
    ttys twas tx txt ty tysm u udp ugh uhh umm uni ur usr uuh vid vids wah wanna wbu wdym wfh whatcha
    wip wk wknd wks workin wpm wrt wru wtf wth wya wyd xd xoxo xx xxx ya yall yay yds yea yeah yeh yep
    yerp yh yk yo yolo yr ytd yup yw""".split()
)
"""What people write on purpose and no lexicon of books holds: never a mistake, nor without its capitals. Of
60,000 words of validation authors with a slip each, 807 become one of these."""

CONTRACTIONS: Mapping[str, str] = {
    "hell": "he'll",
    "id": "I'd",
    "ill": "I'll",
    "its": "it's",
    "lets": "let's",
    "shed": "she'd",
    "shell": "she'll",
    "wed": "we'd",
    "well": "we'll",
    "were": "we're",
}
"""Words that are others without their apostrophe."""

CONTRACTION_MARGIN, CARELESS_MARGIN = 1.0, 2.0
"""Nats by which the one with the apostrophe must be likelier; the second where apostrophes are left out in
the conversation so far, and of `ONCE_WRITTEN`. Of 450 that validation authors wrote, 287 where none was left
out, so many are put when typed without, and of their 422 (221) plain ones so many are changed, bundle of
2026-11-29: 417 (268) and 76 (28) at half a nat, 372 (248) and 57 (19) at 1, 202 (149) and 19 (8) at 2. Nearly
all of these lack the apostrophe by mistake. But of the words that somebody typed on purpose not more than one
in 200 is to be changed, and with 1 nat everywhere it is 0.6 % of test authors' words."""

ONCE_WRITTEN = frozenset(("hell", "id", "ill", "shed", "shell", "wed", "well"))
"""Nobody writes them plain often enough to tell by; 76 of the 87 that lack an apostrophe are put at 2 nats,
80 at 1. The others are its, lets and were."""

TOLD_BY_THE_NEXT = frozenset(("wed",))
"""Words that get their apostrophe only when the next word is known: see you wed."""

LEFT_OUT = re.compile(
    r"\b(?:arent|cant|couldnt|didnt|doesnt|dont|hes|havent|im|isnt|ive|shes|shouldnt|thats|theres|theyre|wasnt|"
    r"werent|whats|wouldnt|youre)\b",
    re.IGNORECASE,
)
"""What is no other word without its apostrophe."""

EMPHATIC = frozenset(
    "aw babe bro bruh bye cute damn dude girl guys haha hello hey hi lmao lol nah nice no nope ok okay omg "
    "please sorry thanks why wow yea yeah yep yes yup".split()
)
"""Words whose last letter people double on purpose (heyy, noo, yess)."""

LONGEST_CORRECTED = 24
"""Letters of what may be corrected: what is longer is stretched for effect, or no word at all."""


@dataclass(frozen=True)
class CorrectionModel:
    """How mistakes and new words are weighed against each other."""

    errors: ErrorModel = DEFAULT_ERRORS
    """What each mistake costs in the beam."""
    channel: SpellingChannel | None = None
    """What spelling mistakes cost letter by letter, if that was counted."""
    model_weight: float = 0.4
    frequency_weight: float = 0.4
    slip_bias: float = 2.0
    """Nats that a slip of the thumbs costs more than the beam says, beside `channel`, which is of words that
    are all misspelt."""
    literal_bias: float = -4.0
    """Nats added to the score of the text as it stands, which is by its letters alone: how likely it is that
    a word is one that the lexicon lacks."""
    name_bias: float = 3.0
    """Nats more if it begins with a capital inside a sentence: names are written so."""
    min_confidence: float = 0.85
    """How sure a correction must be, from 0 to 1."""
    judge: Judge | None = None
    """What is added to the scores, if that was learned."""

    def __post_init__(self) -> None:
        for name in ("literal_bias", "name_bias", "slip_bias"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a number of nats, not {getattr(self, name)}.")
        for name in ("min_confidence", "model_weight", "frequency_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is from 0 to 1, not {getattr(self, name)}.")

    def cost(self, choice: Choice) -> float:
        """Of having mistyped a choice as it was, in nats."""
        if self.channel is None:
            return choice.slip_cost
        return min(choice.slip_cost + self.slip_bias, choice.spelling_cost)

    def score(self, choice: Choice) -> float:
        """What a choice competes by, in nats."""
        likely = self.model_weight * choice.log_prob + self.frequency_weight * choice.frequency
        return likely - self.cost(choice)

    def literal_score(self, literal: Literal) -> float:
        """What the text as it stands competes by, in nats."""
        likely = (self.model_weight + self.frequency_weight) * literal.by_letters
        return likely + self.literal_bias + literal.is_name * self.name_bias

    def scores(self, literal: Literal, choices: Sequence[Choice]) -> tuple[float, list[float]]:
        """What the text as it stands and what else it may be compete by, whatever the judge adds included."""
        alone, scores = self.literal_score(literal), [self.score(choice) for choice in choices]
        if self.judge is None or not choices:
            return alone, scores
        shift, shifts = self.judge.shifts(literal, choices)
        return alone + shift, [score + more for score, more in zip(scores, shifts, strict=True)]

    def to_json(self) -> str:
        """The text of a bundle's correction.json."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CorrectionModel:
        """Reads what `to_json` wrote; `ValueError` names what is unknown, missing or out of range."""
        read = json.loads(text)
        # Bundles of before 2026-11-29 know of none.
        values = _checked({"judge": None, **read} if isinstance(read, dict) else read, cls)
        channel, judge = values["channel"], values["judge"]
        if channel is not None:
            values["channel"] = SpellingChannel(**_checked(channel, SpellingChannel))
        if judge is not None:
            networks = _checked(judge, Judge).items()
            values["judge"] = Judge(**{name: Network(**_checked(each, Network)) for name, each in networks})
        return cls(**values | {"errors": ErrorModel(**_checked(values["errors"], ErrorModel))})


DEFAULT_CORRECTIONS = CorrectionModel()


def _checked(values: object, kind: type[Any]) -> dict[str, Any]:
    """A JSON object with just the fields of a dataclass; numbers where it has numbers."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{kind.__name__} is not an object")
    hints = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(str(name), hints, n=1, cutoff=0)
            raise ValueError(f"there is no {name!r}; do you mean {near[0]!r}?")
        if hints[name] == "float" and not _is_number(value):
            raise ValueError(f"{name} is not a number")
    for name in hints:
        if name not in values:
            raise ValueError(f"there is no value for {name!r}")
    return dict(values)


def _is_number(value: object) -> bool:
    """Whether a value of JSON is a number that a float can hold."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 1e300
    return isinstance(value, float)


def may_be_corrected(context: str, letters: str, behind: str = "") -> bool:
    """Whether `letters`, which are no known word, look like a word that somebody mistyped; `behind` stands
    right behind them.

    Never what is in an address, a link or a number; what holds digits or symbols; what is all capitals, or
    has capitals inside; hash tags; laughter and stretched words (hahaha, sooo); what people abbreviate in
    chats; nor what holds accents or other scripts, whose words an English lexicon lacks.
    """
    return (
        MIN_LETTERS <= len(letters) <= LONGEST_CORRECTED
        and letters.isascii()
        and is_word(letters)
        and letters.lower() not in SHORT_FORMS
        and all(each.isalpha() or each == "'" for each in letters)
        and not any(each.isupper() for each in letters[1:])
        and context[-1:] not in _SIGILS
        and not is_inside_address(context)
        and _ADDRESS_GOES_ON.match(behind) is None
        and not _is_stretched(letters.lower())
    )


def is_part_of_something(context: str, letters: str) -> bool:
    """Whether letters behind `context` are no word of a sentence that might want a capital: in an address or
    a link, behind a sign (@paris, #monday, /john), or an option (-la)."""
    return (
        context[-1:] in _SIGILS
        or _OPTION.search(context[-READ_BACK:]) is not None
        or is_inside_address(context)
        or letters in LINK_BEGINNINGS
    )


def was_written(context: str, letters: str, behind: str = "") -> bool:
    """Whether `letters` stand as a word in the conversation so far, or in the rest of the message `behind`
    them: the name of somebody whom it is about is no mistake."""
    text, word = f"{context[-READ_BACK:]} {behind[:READ_BACK]}".lower(), letters.lower()
    start = text.find(word)
    while start >= 0:
        end = start + len(word)
        if not (_continues(text[start - 1 : start]) or _continues(text[end : end + 1])):
            return True
        start = text.find(word, start + 1)
    return False


def _continues(character: str) -> bool:
    return character.isalnum() or character == "'"


READ_BACK = 4096
"""Characters of the conversation that are searched: some dozens of messages."""

_SIGILS = tuple("#@/\\_*~^=+|<>{}[]`$%&")
"""What stands right before a tag, a name, a path or code."""


_STRETCHED = re.compile(r"(.)\1\1\1|([aeiouy])\2\2|(.)\3\3\Z")
_OPTION = re.compile(r"(?:^|\s)--?\Z")
LINK_BEGINNINGS = frozenset(("http", "https", "www", "ftp"))
"""How links begin; nobody means the protocols by them."""

_ADDRESS_GOES_ON = re.compile(r"[@/\\_]|[.:]\w|://")
"""What stands right behind the beginning of a mail address, a link or a path."""


def _is_stretched(letters: str) -> bool:
    """Whether a vowel, or the last letter, stands three times in a row, or any letter four times; or one or
    two of them are all there is; or the last letter of an emphatic word is doubled. Three consonants inside a
    word are a slip (offfice): nobody stretches them."""
    return (
        _STRETCHED.search(letters) is not None
        or (len(letters) >= 4 and len(set(letters)) <= 2)
        or (letters[-1] == letters[-2] and letters[:-1] in EMPHATIC)
    )


def contraction_margin(context: str, letters: str) -> float:
    """Nats by which a word's form with an apostrophe (it's) must be likelier than the one that was typed
    (its)."""
    is_careful = letters.lower() not in ONCE_WRITTEN and not LEFT_OUT.search(context[-READ_BACK:])
    return CONTRACTION_MARGIN if is_careful else CARELESS_MARGIN


def correction(model: CorrectionModel, literal: Literal, choices: Sequence[Choice]) -> str | None:
    """The text to put in place of what was typed, or None to leave it.

    Args:
        model: what they compete by, and how sure is sure enough.
        literal: the text as it stands.
        choices: what else it may be.
    """
    if not choices:
        return None
    alone, scores = model.scores(literal, choices)
    if confidence(alone, scores) < model.min_confidence:
        return None
    return choices[scores.index(max(scores))].text


def confidence(literal_score: float, scores: Sequence[float]) -> float:
    """How sure it is that the best of the choices was meant: its share among all choices and the literal
    text."""
    best = max(scores)
    top = max(literal_score, best)
    if not math.isfinite(top):
        return 0.0
    total = math.exp(literal_score - top) + sum(math.exp(score - top) for score in scores)
    return math.exp(best - top) / total
