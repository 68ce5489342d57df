"""Which words the touches so far could become.

In: a lexicon and the touches of a word. Out: word numbers, each with the cost of what would have been
mistyped: minus the log probability that these touches are made for the word. Next stop: `fedkey.decoder`.

`CandidateFinder` takes letters at their word: all candidates continue them exactly, whatever their case, and
cost nothing. `CandidateBeam` allows for thumbs and spelling: touch by touch it moves a few hundred states
through the lexicon's trie, each a node and what it cost to get there, and reads the candidates off the nodes.
A state is a beginning of a word that the touches so far may stand for.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.layout import Layout
from fedkey.lexicon import OFFENSIVE, ROOT, Lexicon, ranges
from fedkey.taps import DEFAULT_THUMBS, Thumbs, Touch, as_touches, literal

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NEVER = np.float32(np.inf)
"""The cost of what cannot be."""


@dataclass(frozen=True)
class Candidates:
    """C words that may be meant.

    Attributes:
        words: int64 [C], ascending numbers in the lexicon.
        costs: float32 [C], minus the log probability that these touches are made for the word, which may yet
            go on; up to a constant that all share.
        whole_costs: float32 [C], the same if the touches are all that will be made; infinite for a word that
            would have to go on.
    """

    words: Integers
    costs: Floats
    whole_costs: Floats

    @property
    def is_whole(self) -> Mask:
        """Whether the touches may be all of the word, [C]."""
        return np.isfinite(self.whole_costs)

    def whole(self) -> Candidates:
        """Those that the touches may be all of, at the cost of that."""
        is_whole = self.is_whole
        costs = self.whole_costs[is_whole]
        return Candidates(self.words[is_whole], costs, costs)

    def __len__(self) -> int:
        return len(self.words)


class CandidateFinder:
    """Finds the words that letters begin in one lexicon; holds only the list of what may be offered
    unasked."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._is_offered = _is_offered(lexicon)
        self._nothing_typed = _exactly(np.flatnonzero(self._is_offered), 0)

    def find(self, typed: str) -> Candidates:
        """The words that `typed` (normalised, any case, perhaps empty) begins.

        Offensive words are among them only when they are typed out.
        """
        if not typed:
            return self._nothing_typed
        node = self._lexicon.walk(typed.lower())
        if node is None:
            return _exactly(np.zeros(0, dtype=np.int64), 0)
        return _exactly(_begun_by(self._lexicon, self._is_offered, node), len(self._lexicon.words_at(node)))


def _is_offered(lexicon: Lexicon) -> Mask:
    is_offered: Mask = (np.asarray(lexicon.flags) & OFFENSIVE) == 0
    return is_offered


def _begun_by(lexicon: Lexicon, is_offered: Mask, node: int) -> Integers:
    """The words below a node, those it spells first; offensive ones only where it spells them."""
    below = lexicon.word_range(node)
    is_candidate = is_offered[below.start : below.stop].copy()
    is_candidate[: len(lexicon.words_at(node))] = True
    return below.start + np.flatnonzero(is_candidate)


def _exactly(words: Integers, num_whole: int) -> Candidates:
    """Words that cost nothing; the first `num_whole` are whole."""
    costs = np.zeros(len(words), dtype=np.float32)
    return Candidates(words, costs, np.where(np.arange(len(words)) < num_whole, costs, NEVER))


# ------------------------------------------------------------------------------- what goes wrong


@dataclass(frozen=True)
class ErrorModel:
    """What it costs, in nats, to have made a mistake: minus the log of how often it happens at a place.

    Keys beside the one that was meant are not here: they cost what `fedkey.taps` makes of the distance. Of
    the rest, phone writers leave out, add and swap one to three letters in a hundred each (e^-3.5 is 3 %); a
    mistake that could have been many (which letter was added?) costs more for being this one.

    By the defaults and unigram frequencies alone, demo lexicon, 2026-11-24, the word meant is the first whole
    candidate for 82 % of words of validation text with one of `fedkey.typos`' slips (95 % for those that
    thumbs at 8 % get wrong, if no word comes of it), and for 76 % of a published list's misspellings within
    two edits. A nat more or less on any cost moved each by about two points at most, and not the same way.
    """

    far_key: float = 8.0
    """A letter for another one anywhere: no letter costs more to be mistaken for."""
    wrong_vowel: float = 6.0
    """A vowel for another one (seperate, definately): people spell by ear."""
    transposed: float = 4.0
    """Two letters in the wrong order (teh)."""
    missing: float = 3.5
    """A letter left out (wrld)."""
    missing_double: float = 3.0
    """A doubled letter written once (hapen)."""
    extra: float = 6.5
    """A letter too many (worlxd)."""
    extra_double: float = 4.0
    """A letter written once more (happpen, untill)."""
    wrong_first: float = 1.0
    """On top where the first letter is wrong, missing or too many: people look when they begin."""
    missing_mark: float = 0.5
    """An apostrophe or a hyphen left out (dont): few people bother."""
    missing_accent: float = 0.3
    """A letter without its accent or with one too many (cafe)."""
    missing_space: float = 4.5
    """A space left out (alot)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) <= MAX_COST:
                value = getattr(self, field.name)
                raise ValueError(
                    f"The error model's {field.name} is from 0 to {MAX_COST:g} nats, not {value}."
                )


MAX_COST = 100.0
"""What no mistake costs more than: e^-100 is never."""

DEFAULT_ERRORS = ErrorModel()

MARKS = "'-"
VOWELS = frozenset("aeiouy")


# ------------------------------------------------------------------------------------- the beam

SLIP = 2.0
"""A touch that fits a letter up to so many nats hits it, and is no mistake to count. Between two keys a tap
costs 1.5 for either; the centre of the next key costs 3."""

MARGIN = 14.0
WIDTH = 256
"""States kept after each touch: at most WIDTH, and those only whose cost less the log probability of their
most frequent word is within MARGIN of the least. Measured as for `ErrorModel`: of the misspellings a margin
of 10 loses 1.5 points of the first candidates and 3 of the first 24, 12 half a point and 1; 18 gains 0.2 and
costs a fifth more. Half the width loses 0.2 and twice gains nothing: the median beam holds 40 states."""

LONGER_BAR = 7.2
"""Nats at most that a letter of the row above the space bar costs for it, where nothing but the letter is
known: most keyboards have a bar that lies under all of that row. Of 400 pairs of words of validation authors
with m for their space 365 are repaired, none before; of 500 beside an m whose space is missing 420 instead of
431, and 395 at what b costs, 4.2, because "Imglad" might be I, a bar and "glad"."""

LONGEST_GAP = 2
"""Letters in a row that may be left out: people drop syllables (evebody, birday)."""

TOP = 64
"""Words taken from one state that is not what was typed: the most frequent."""

MAX_CANDIDATES = 1024
"""Words that are not what was typed, in all."""

MAX_SPLITS = 8
"""Pairs of words that a missing space may stand between."""


def max_mistakes(num_touches: int) -> int:
    """How many mistakes so many touches may hold: one in the first, two in up to four, else three.

    With three only from the eighth touch on, half a point fewer of the words that thumbs get wrong are the
    first candidate; with three from the start, half a point more are among the first 24, for half as much
    time again.
    """
    return 1 if num_touches <= 1 else 2 if num_touches <= 4 else 3


class Splits(NamedTuple):
    """P pairs of words between which the space may be missing, likeliest first."""

    first: Integers
    """int64 [P], numbers in the lexicon."""
    second: Integers
    """int64 [P], numbers in the lexicon."""
    costs: Floats
    """float32 [P], minus the log probability that these touches are made for the two words."""


class _Alphabet:
    """The A characters of a lexicon's keys as small numbers, and what each is like."""

    def __init__(self, lexicon: Lexicon, layout: Layout) -> None:
        codes = lexicon.node_chars
        is_used = np.zeros(int(codes.max()) + 1, dtype=np.bool_)
        is_used[codes] = True
        self.characters = "".join(map(chr, np.flatnonzero(is_used).tolist()))
        self.of_node = (np.cumsum(is_used, dtype=np.uint32) - 1).astype(np.uint32)[codes]
        """The number of the character on the way to each node, [N]."""
        self.bases = "".join(map(_base, self.characters))
        """The characters without their accents."""
        others = [key.typed for key in layout.keys if key.typed not in (" ", *self.characters)]
        self.all_keys = "".join([self.characters, self.bases, " ", *others])
        """The characters, their bases, the space, and what else the layout's keys type."""
        keys = [layout.key_for(each) for each in self.characters]
        self.is_borrowed = np.array(
            [key is not None and key.typed != each for key, each in zip(keys, self.characters, strict=True)]
        )
        """Whether the character has no key of its own, only one that types another, [A]."""
        self.is_accented = np.array(
            [each != base for each, base in zip(self.characters, self.bases, strict=True)]
        )
        self.is_mark = np.array([each in MARKS for each in self.characters])
        self.is_vowel = np.array([each in VOWELS for each in self.bases])


def _base(character: str) -> str:
    return unicodedata.normalize("NFD", character)[0]


class _TouchCosts(NamedTuple):
    """What one touch says about each character of the alphabet."""

    costs: Floats
    """[A], the cost of the touch if the character was meant."""
    is_hit: Mask
    """[A], whether that would be no mistake."""
    space: float
    """The cost if the space bar was meant; infinite where it is too far."""
    letter: str
    """What the touched key types."""


class _Typed(NamedTuple):
    """What the touched keys type, as the beginning of a word."""

    node: int
    cost: float


class _States(NamedTuple):
    """S beginnings of words that touches may stand for."""

    nodes: Integers
    costs: Floats
    mistakes: Integers
    """How many each holds."""


class _Beam(NamedTuple):
    """What some touches may stand for, and what follows it in the trie."""

    states: _States
    """Nodes ascending and distinct."""
    typed: _Typed | None
    """None if no word begins with what was typed."""
    parents: _States
    """The states, then those that a missing mark leads to."""
    owners: Integers
    """For each child of the parents the place of its parent."""
    children: Integers
    letters: npt.NDArray[np.uint32]
    """For each child its character in the alphabet."""


class _Step(NamedTuple):
    """One touch, what it says, and what all touches up to it may stand for."""

    touch: Touch
    said: _TouchCosts
    beam: _Beam


class CandidateBeam:
    """Finds the words that touches may stand for, mistakes included.

    What it answers is a function of the lexicon, the layout, the thumbs, the error model and the touches. The
    beams of the last touches are kept, so that a touch more is one step and a backspace none. Not
    thread-safe.
    """

    def __init__(
        self,
        lexicon: Lexicon,
        layout: Layout,
        thumbs: Thumbs = DEFAULT_THUMBS,
        errors: ErrorModel = DEFAULT_ERRORS,
    ) -> None:
        self._lexicon = lexicon
        self._layout = layout
        self._thumbs = thumbs
        self._errors = errors
        self._alphabet = _Alphabet(lexicon, layout)
        self._is_offered = _is_offered(lexicon)
        self._prior: Floats = np.where(
            self._is_offered, np.asarray(lexicon.log_prob, dtype=np.float32), -NEVER
        )
        self._best_below = lexicon.largest_below(self._prior)
        self._top_words: dict[int, Integers] = {}
        self._letter_costs: dict[str, _TouchCosts] = {}
        self._nothing_typed = _exactly(np.flatnonzero(self._is_offered), 0)
        self._start = self._expand(_one_state(ROOT, 0.0), _Typed(ROOT, 0.0))
        self._steps: list[_Step] = []

    def find(self, typed: str | Sequence[Touch]) -> Candidates:
        """The words that the touches (letters normalised, any case, perhaps none) may stand for or begin.

        All words are there that begin with exactly what was typed; of the others the likeliest by cost and
        frequency. Offensive words are among them only when they are typed out.
        """
        touches = as_touches(typed)
        if not touches:
            return self._nothing_typed
        self._advance(touches)
        return self._read_off(self._steps[-1].beam, max_mistakes(len(touches)))

    def find_splits(self, typed: str | Sequence[Touch]) -> Splits:
        """The pairs of words that the touches are if a space is missing or one of them meant the space bar.

        Nothing else may be wrong but marks and accents that are missing. Offensive words must be typed to the
        letter.
        """
        touches = as_touches(typed)
        self._advance(touches)
        said = [step.said for step in self._steps]
        found: list[tuple[float, int, int, float]] = []
        for end in range(1, len(touches)):
            first = self._likeliest(self._hit_states(self._steps[end - 1].beam))
            if first is None:
                continue
            for start, space in ((end, self._errors.missing_space), (end + 1, said[end].space)):
                if start < len(touches) and space < NEVER:
                    second = self._likeliest(self._spelled(said[start:]))
                    if second is not None:
                        cost = first[1] + space + second[1]
                        prior = self._lexicon.log_prob[first[0]] + self._lexicon.log_prob[second[0]]
                        found.append((cost - float(prior), first[0], second[0], cost))
        found.sort()
        best = found[:MAX_SPLITS]
        return Splits(
            np.array([first for _, first, _, _ in best], dtype=np.int64),
            np.array([second for _, _, second, _ in best], dtype=np.int64),
            np.array([cost for _, _, _, cost in best], dtype=np.float32),
        )

    def use_layout(self, layout: Layout) -> None:
        """Weighs touches by another layout from now on."""
        self._layout, self._alphabet = layout, _Alphabet(self._lexicon, layout)
        self._letter_costs.clear()
        self._steps.clear()

    # ------------------------------------------------------------------------------ touch by touch

    def _advance(self, touches: Sequence[Touch]) -> None:
        """Brings the steps to the end of `touches`; those of a common beginning stay."""
        shared = 0
        for step, touch in zip(self._steps, touches, strict=False):
            if step.touch != touch:
                break
            shared += 1
        del self._steps[shared:]
        for touch in touches[shared:]:
            said = self._costs_of(touch)
            self._steps.append(_Step(touch, said, self._step(said)))

    def _costs_of(self, touch: Touch) -> _TouchCosts:
        """What a touch says; remembered for letters that keys type, of which there are not many."""
        known = self._letter_costs.get(touch) if isinstance(touch, str) else None
        if known is None:
            known = self._weigh(touch)
            if isinstance(touch, str) and self._layout.key_for(touch) is not None:
                self._letter_costs[touch] = known
        return known

    def _weigh(self, touch: Touch) -> _TouchCosts:
        alphabet, errors = self._alphabet, self._errors
        size, accent = len(alphabet.characters), np.float32(errors.missing_accent)
        distance = self._thumbs.costs(self._layout, touch, alphabet.all_keys)
        # A tap off the centre of every key says nothing against the key that it is closest to.
        distance = distance - min(distance.min(), MAX_COST)
        # An accented letter is typed on its own key, if it has one, or on its base letter's.
        by_own, by_base, space = distance[:size], distance[size : 2 * size], float(distance[2 * size])
        costs = np.minimum(by_own + accent * alphabet.is_borrowed, by_base + accent * alphabet.is_accented)
        letter = literal(self._layout, [touch]).lower()
        if isinstance(touch, str):
            if touch in self._layout.above_space:
                space = min(space, LONGER_BAR)
            costs = costs + accent * (_base(letter) != letter)
            if letter in alphabet.characters:
                costs[alphabet.characters.index(letter)] = 0
        if _base(letter) in VOWELS:
            costs = np.where(alphabet.is_vowel, np.minimum(costs, errors.wrong_vowel), costs)
        costs = np.minimum(costs, errors.far_key).astype(np.float32)
        is_hit = np.minimum(by_own, by_base) <= SLIP
        return _TouchCosts(costs, is_hit, space if space < errors.far_key else np.inf, letter)

    def _step(self, touch: _TouchCosts) -> _Beam:
        """The beam after one touch more."""
        errors, steps = self._errors, self._steps
        beam, limit = self._last_beam(1), max_mistakes(len(steps) + 1)
        if not len(beam.states.nodes) and not len(self._last_beam(2).states.nodes):
            return beam
        earlier = steps[-1].said if steps else None
        at_start = 0.0 if earlier else errors.wrong_first
        is_same = earlier is not None and earlier.letter == touch.letter
        parts = [
            self._meant(beam, touch, at_start),
            self._extra(beam, limit, (errors.extra_double if is_same else errors.extra) + at_start),
            self._missing(beam, limit, touch, at_start),
        ]
        if earlier is not None:
            parts.append(self._transposed(self._last_beam(2), limit, earlier, touch))
        typed = None
        if beam.typed is not None:
            node = self._lexicon.descend(beam.typed.node, touch.letter)
            if node is not None:
                typed = _Typed(node, beam.typed.cost + float(touch.costs[self._alphabet.of_node[node]]))
        return self._expand(self._keep_best(_joined(parts), limit), typed)

    def _last_beam(self, back: int) -> _Beam:
        return self._steps[-back].beam if len(self._steps) >= back else self._start

    def _meant(self, beam: _Beam, touch: _TouchCosts, at_start: float) -> _States:
        """The touch meant the next letter, hit or not."""
        is_hit = touch.is_hit[beam.letters]
        costs = beam.parents.costs[beam.owners] + touch.costs[beam.letters]
        if at_start:
            costs += np.where(is_hit, np.float32(0), np.float32(at_start))
        return _States(beam.children, costs, beam.parents.mistakes[beam.owners] + ~is_hit)

    def _extra(self, beam: _Beam, limit: int, cost: float) -> _States:
        """The touch meant nothing."""
        nodes, costs, mistakes = beam.states
        may = mistakes < limit
        return _States(nodes[may], costs[may] + np.float32(cost), mistakes[may] + 1)

    def _missing(self, beam: _Beam, limit: int, touch: _TouchCosts, at_start: float) -> _States:
        """The next letter was left out, or two, and the touch hit the one after."""
        states, errors = beam.parents, self._errors
        may = np.flatnonzero(states.mistakes[beam.owners] < limit)
        owners, nodes, letters = beam.owners[may], beam.children[may], beam.letters[may]
        costs, mistakes = states.costs[owners], states.mistakes[owners]
        found = []
        for _ in range(LONGEST_GAP):
            # From here on `nodes` are left out, and `costs` what it cost to come to their parents.
            places, behind = self._lexicon.children(nodes)
            letters_behind = self._alphabet.of_node[behind]
            # Which of a doubled letter was left out cannot be told: the first, and the touch hit the second.
            costs = costs[places] + np.where(
                letters[places] == letters_behind,
                np.float32(errors.missing_double),
                np.float32(errors.missing + at_start),
            )
            mistakes = mistakes[places] + 1
            hits = np.flatnonzero(touch.is_hit[letters_behind])
            found.append(
                _States(behind[hits], costs[hits] + touch.costs[letters_behind[hits]], mistakes[hits])
            )
            may = np.flatnonzero(mistakes < limit)
            nodes, letters, costs, mistakes = behind[may], letters_behind[may], costs[may], mistakes[may]
        return _joined(found)

    def _transposed(self, beam: _Beam, limit: int, earlier: _TouchCosts, touch: _TouchCosts) -> _States:
        """The last two touches hit two letters in the wrong order; `beam` is that before both."""
        states = beam.parents
        first = np.flatnonzero(touch.is_hit[beam.letters] & (states.mistakes[beam.owners] < limit))
        places, nodes = self._lexicon.children(beam.children[first])
        letters = self._alphabet.of_node[nodes]
        hits = np.flatnonzero(earlier.is_hit[letters])
        nodes, letters, first = nodes[hits], letters[hits], first[places[hits]]
        owners = beam.owners[first]
        costs = states.costs[owners] + touch.costs[beam.letters[first]] + earlier.costs[letters]
        return _States(nodes, costs + np.float32(self._errors.transposed), states.mistakes[owners] + 1)

    def _keep_best(self, states: _States, limit: int) -> _States:
        """Each node once, by its least cost; the likeliest of them, what was typed, and other ways to write
        it."""
        nodes, costs, mistakes = states
        fits = mistakes <= limit
        # Bits of floats that are not negative are ordered as the floats are: one sort of whole numbers.
        bits = costs[fits].view(np.int32).astype(np.int64)
        packed = np.sort((nodes[fits] << 36) | (bits << 4) | mistakes[fits])
        nodes = packed >> 36
        is_first = _is_new(nodes)
        packed, nodes = packed[is_first], nodes[is_first]
        mistakes = packed & 15
        costs = ((packed >> 4) & 0xFFFFFFFF).astype(np.int32).view(np.float32)
        badness = costs - self._best_below[nodes]
        likely = np.flatnonzero(badness <= badness.min(initial=NEVER) + MARGIN)
        kept = np.zeros(len(nodes), dtype=np.bool_)
        kept[likely[_least(badness[likely], WIDTH)]] = True
        # What is only an accent or a mark away is meant, however rare; unless thumbs so clumsy hit anything.
        is_hit = mistakes == 0
        if np.count_nonzero(is_hit) <= WIDTH:
            kept |= is_hit
        return _States(nodes[kept], costs[kept], mistakes[kept])

    def _expand(self, states: _States, typed: _Typed | None) -> _Beam:
        """Adds what follows the states in the trie."""
        owners, children = self._lexicon.children(states.nodes)
        letters = self._alphabet.of_node[children]
        parents = states
        marks = np.flatnonzero(self._alphabet.is_mark[letters])
        if len(marks):
            behind = _States(
                children[marks],
                states.costs[owners[marks]] + np.float32(self._errors.missing_mark),
                states.mistakes[owners[marks]],
            )
            parents = _joined([states, behind])
            more_owners, more = self._lexicon.children(behind.nodes)
            owners = np.concatenate([owners, more_owners + len(states.nodes)])
            children = np.concatenate([children, more])
            letters = self._alphabet.of_node[children]
        return _Beam(states, typed, parents, owners, children, letters)

    # ------------------------------------------------------------------------------------ words

    def _read_off(self, beam: _Beam, limit: int) -> Candidates:
        whole_words, whole_costs = self._whole(beam, limit)
        words, costs = self._below(beam)
        words, costs = np.concatenate([words, whole_words]), np.concatenate([costs, whole_costs])
        kept = _least(costs - self._prior[words], MAX_CANDIDATES)
        kept = kept[self._is_offered[words[kept]]]
        words, costs = words[kept], costs[kept]
        if beam.typed is not None:
            # What was typed is never left out, nor offensive to who typed it.
            node, cost = beam.typed
            begun = _begun_by(self._lexicon, self._is_offered, node)
            words = np.concatenate([words, begun])
            costs = np.concatenate([costs, np.full(len(begun), cost, dtype=np.float32)])
            spelled = np.array(self._lexicon.words_at(node), dtype=np.int64)
            whole_words = np.concatenate([whole_words, spelled])
            whole_costs = np.concatenate([whole_costs, np.full(len(spelled), cost, dtype=np.float32)])
        words, costs = _cheapest(words, costs)
        whole_words, whole_costs = _cheapest(whole_words, whole_costs)
        costs_if_whole = np.full(len(words), NEVER, dtype=np.float32)
        places = np.searchsorted(words, whole_words)
        is_there = places < len(words)
        is_there[is_there] = words[places[is_there]] == whole_words[is_there]
        costs_if_whole[places[is_there]] = whole_costs[is_there]
        return Candidates(words, costs, costs_if_whole)

    def _below(self, beam: _Beam) -> tuple[Integers, Floats]:
        """The most frequent words below each state, and their costs."""
        nodes, costs, _ = beam.states
        start, end = self._lexicon.word_ranges(nodes)
        is_large = end - start > TOP
        owners, words = ranges(start, np.where(is_large, start, end))
        tops = [self._top(node) for node in nodes[is_large].tolist()]
        top_costs = np.repeat(costs[is_large], [len(top) for top in tops])
        return np.concatenate([words, *tops]), np.concatenate([costs[owners], top_costs])

    def _top(self, node: int) -> Integers:
        """The `TOP` most frequent words below a node."""
        known = self._top_words.get(node)
        if known is None:
            below = self._lexicon.word_range(node)
            prior = self._prior[below.start : below.stop]
            known = self._top_words[node] = below.start + _least(-prior, TOP)
        return known

    def _whole(self, beam: _Beam, limit: int) -> tuple[Integers, Floats]:
        """The words that the states spell, or would with one letter that was left out at the end."""
        nodes, costs, _ = beam.states
        owners, words = self._lexicon.words_at_each(nodes)
        left_out = np.flatnonzero(beam.parents.mistakes[beam.owners] < limit)
        places, longer = self._lexicon.words_at_each(beam.children[left_out])
        # A last letter that is the one before once more is in a state already.
        longer_costs = beam.parents.costs[beam.owners[left_out[places]]] + np.float32(self._errors.missing)
        return np.concatenate([words, longer]), np.concatenate([costs[owners], longer_costs])

    # ----------------------------------------------------------------------------------- two words

    def _hit_states(self, beam: _Beam) -> list[tuple[int, float]]:
        nodes, costs, mistakes = beam.states
        hit = mistakes == 0
        return list(zip(nodes[hit].tolist(), costs[hit].tolist(), strict=True))

    def _spelled(self, said: Sequence[_TouchCosts]) -> list[tuple[int, float]]:
        """The nodes that touches lead to without a mistake but for marks, and their costs."""
        states = {ROOT: 0.0}
        for touch in said:
            letters = [
                (self._alphabet.characters[i], float(touch.costs[i])) for i in np.flatnonzero(touch.is_hit)
            ]
            after: dict[int, float] = {}
            for node, cost in states.items():
                for start, start_cost in ((node, cost), *self._behind_marks(node, cost)):
                    for letter, letter_cost in letters:
                        child = self._lexicon.descend(start, letter)
                        if child is not None:
                            after[child] = min(start_cost + letter_cost, after.get(child, MAX_COST))
            states = after
        return list(states.items())

    def _behind_marks(self, node: int, cost: float) -> list[tuple[int, float]]:
        behind = [self._lexicon.descend(node, mark) for mark in MARKS]
        return [(child, cost + self._errors.missing_mark) for child in behind if child is not None]

    def _likeliest(self, states: Sequence[tuple[int, float]]) -> tuple[int, float] | None:
        """The word with its cost that some states most likely spell."""
        spelled = [
            (cost - float(self._lexicon.log_prob[word]), word, cost)
            for node, cost in states
            for word in self._lexicon.words_at(node)
            if self._is_offered[word] or cost == 0
        ]
        if not spelled:
            return None
        _, word, cost = min(spelled)
        return word, cost


def _one_state(node: int, cost: float) -> _States:
    return _States(
        np.array([node], dtype=np.int64),
        np.array([cost], dtype=np.float32),
        np.zeros(1, dtype=np.int64),
    )


def _joined(parts: Sequence[_States]) -> _States:
    return _States(
        np.concatenate([part.nodes for part in parts]),
        np.concatenate([part.costs for part in parts]),
        np.concatenate([part.mistakes for part in parts]),
    )


def _least(values: Floats, count: int) -> Integers:
    """The places of the `count` least values, ascending; of equal values the first."""
    if len(values) <= count:
        return np.arange(len(values))
    bound = np.partition(values, count - 1)[count - 1]
    places = np.flatnonzero(values <= bound)
    if len(places) > count:
        is_last = np.flatnonzero(values[places] == bound)[count - len(places) :]
        places = np.delete(places, is_last)
    return places


def _is_new(ascending: Integers) -> Mask:
    """Whether each number differs from the one before it."""
    is_new = np.ones(len(ascending), dtype=np.bool_)
    is_new[1:] = ascending[1:] != ascending[:-1]
    return is_new


def _cheapest(numbers: Integers, costs: Floats) -> tuple[Integers, Floats]:
    """Each number once, ascending, with the least of its costs."""
    packed = np.sort((numbers << 32) | costs.view(np.int32))
    numbers = packed >> 32
    is_first = _is_new(numbers)
    return numbers[is_first], (packed[is_first] & 0xFFFFFFFF).astype(np.int32).view(np.float32)
