"""Which of the candidates the model believes in.

In: candidates, the model's log probabilities of the next piece, and what the owner is known to write here.
Out: the best words with their log probabilities in this context. Next stop: `fedkey.engine`.

A word's probability is the product over its pieces. The first factor is exact and known for all words at
once: it is read off the softmax that the context already gave. Most words that matter are one piece and need
nothing more. The others are *estimated* first (the first piece's probability, shared out among the words that
begin with it as unigram frequencies would share it), and those that could be shown are *scored*: their pieces
run through the model as one prefix tree over the cached context. Training keeps the softmax's normaliser
steady and the graph takes its usual value off the logits, so that the later factors are single numbers and no
softmax is paid for them.

What was scored stays known until the context changes, so a typed letter usually costs no model run at all.

The model is not asked alone: p = (1 - `PRIOR_WEIGHT`) p_model + `PRIOR_WEIGHT` p_prior, where the prior is
what frequencies and n-grams say (`fedkey.prior`), and what was said before (`fedkey.conversation`). A bundle
may know better how much each of them counts here, for this word (`fedkey.mixture`): p = p e^a. The owner's
habits are mixed into that word by word: p = (1 - weight) p + weight p_habit. They are known for a few dozen
words, and cost nothing for the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedkey.cache import Cache
from fedkey.candidates import Candidates
from fedkey.lexicon import OFFENSIVE, Lexicon
from fedkey.mixture import Evidence, Mixture, place_inputs, word_inputs
from fedkey.model import LanguageModel

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

NEVER = np.float32(-np.inf)
"""The log probability of what is not to be chosen."""

BATCH_WORDS = 4
"""Words of several pieces that are looked at before the list is drawn up."""

DOUBT = 1.0
"""Nats by which an estimate may be too low: a word that is estimated further below the list is not looked
at."""

MAX_BATCHES = 2
"""A further batch is looked at when scoring lowered words so far that estimated ones came up between them.

Measured on 1,000 words of validation authors, demo bundle, 2026-11-26, keys saved by an ideal typist and in
typing with slips: 45.7 and 42.7 % with 12 words, three batches and 3 nats, in 5,360 model runs; 45.8 and 42.8
% so, in 4,931 smaller ones."""

MANY_WORDS = 2048
"""Of more candidates only those within reach of the list are looked at closely: of 50,000 some hundred."""

BLOCK_WORDS = 256

WEIGHED_WORDS = 64
"""Candidates that a bundle's mixture is asked about: those that are likeliest without it. It learned from the
40 likeliest."""

ROUNDING = 1e-3
"""Nats that sums may differ by when they are added in another order."""

SHARE_WEIGHT = np.float32(0.6)
"""Of a word's later pieces the model's opinion counts 1 - SHARE_WEIGHT, and how often the words that begin
with the first piece go on so SHARE_WEIGHT, in logarithms. A small model knows words of several pieces badly.
On 1,000 words of validation authors, demo bundle, 2026-11-26, keys saved by an ideal typist, in typing with
slips, and top-1
after three letters: 45.8, 42.8 and 64.0 % at 0; 46.3, 43.6 and 65.4 % at 0.3; 46.6, 43.8 and 65.7 % at 0.6;
47.0, 44.2 and 65.0 % at 1, which asks the model nothing. To be measured again with a model that was trained
for longer."""

PRIOR_WEIGHT = 0.2
"""The share of the prior beside the model's: of words and phrases that it hardly met in training a small
model thinks too little, and it learns none from hearing it once. On 4,015 words of validation authors, the
bundle that ships, 2026-11-27, next word first, among three, and keys saved by an ideal typist: 24.8, 39.4 and
55.6 % at 0.1, 24.7, 40.0 and 55.8 at 0.15, 24.9, 40.2 and 55.8 at 0.2, 24.7, 39.8 and 55.5 at 0.3."""

NUM_FREQUENT = 64
"""Words that may follow another in a phrase: those that a model can be sure of are frequent ones. To ask for
512 costs a phone-sized model 2 ms more."""

NEXT_TO = 0.8
"""How likely what stands behind the caret follows the very next word. For whoever puts in just one, anything
from 0.5 to 1 does: of 300 words of validation authors, shipped bundle, 2026-11-27, 16 looked at, the right
one is first for 36.7 % at 0.5, 37.3 % at 0.8 and at 1, and for 22.7 % from the left alone."""

BEYOND = np.float32(5.0)
"""Nats below the likeliest word from where on none is looked at for what stands behind the caret. On the 300
words of `NEXT_TO`, 8 looked at, as many are right so as with all, and after two letters it is 5.5 words."""

FAR_BEYOND = np.float32(12.0)
"""The same for words that are looked at before anybody asks: another letter may leave none of those."""

MAX_TREE_NODES = 32
"""Pieces in one model run; a word of more is never suggested. The model's cache keeps this many places
free."""


class RankedWord(NamedTuple):
    """A word's number in the lexicon and the natural log of its probability here, its typing cost taken
    off."""

    word: int
    log_prob: float


class Habits(NamedTuple):
    """What the owner is known to write in one context.

    Attributes:
        weight: the share of the mix that is theirs, below 1.
        words: int64 [H], ascending numbers in the lexicon.
        log_probs: float32 [H], natural logs of weight times the probability of each by habit.
    """

    weight: float
    words: Integers
    log_probs: Floats


class Contenders(NamedTuple):
    """C words that compete for a place.

    Attributes:
        words: int64 [C], likeliest first.
        log_probs: float32 [C], by fixed shares of model and prior.
        by_word: float32 [C, words' inputs] of `fedkey.mixture`.
        by_place: float32 [places' inputs].
    """

    words: Integers
    log_probs: Floats
    by_word: Floats
    by_place: Floats


NO_HABITS = Habits(0.0, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


class Decoder:
    """The parts of ranking that no context changes."""

    def __init__(self, lexicon: Lexicon, model: LanguageModel, mixture: Mixture | None = None) -> None:
        self.lexicon = lexicon
        self.model = model
        self.mixture = mixture
        offsets = np.asarray(lexicon.piece_offsets, dtype=np.int64)
        lengths = np.diff(offsets)
        self.first_piece: Integers = np.asarray(lexicon.piece_ids, dtype=np.int64)[offsets[:-1]]
        self.is_single: npt.NDArray[np.bool_] = lengths == 1
        self.if_single: Floats = np.where(self.is_single, np.float32(0), NEVER)
        """0 for a word of one piece, else `NEVER`. To add it takes 7 microseconds for 50,000 words, to choose
        by the mask 280: it follows no rule that the processor could guess."""
        self.share: Floats = self._share_of_first_piece()
        self.usual: Floats = np.asarray(lexicon.log_prob, dtype=np.float32)
        """Natural logs of the words' frequencies, [W]."""
        is_offered = self.is_single & ((np.asarray(lexicon.flags) & OFFENSIVE) == 0)
        self.frequent: Integers = _largest(np.where(is_offered, self.usual, NEVER), NUM_FREQUENT)
        """Words of one piece, the most frequent first, [F]: what may follow in a phrase."""
        self.max_nodes = min(MAX_TREE_NODES, model.tree_room)
        can_be_scored = lengths - 1 <= self.max_nodes
        self.share[~can_be_scored] = NEVER
        self.model_part: Floats = np.float32(1 - PRIOR_WEIGHT) * np.exp(self.share)
        """[W] by which the probability of a word's first piece counts for the word."""
        self.prior_part: Floats = np.where(can_be_scored, np.float32(PRIOR_WEIGHT), np.float32(0))
        """[W] by which the word's prior does."""

    def _share_of_first_piece(self) -> Floats:
        """log P(word | its first piece) by unigram frequency, [W]."""
        log_prob = np.asarray(self.lexicon.log_prob, dtype=np.float64)
        mass = np.bincount(self.first_piece, weights=np.exp(log_prob))
        share: Floats = (log_prob - np.log(mass[self.first_piece])).astype(np.float32)
        share[self.is_single] = 0.0
        return share

    def begin(self, cache: Cache, log_probs: Floats, evidence: Evidence, before: str = "") -> WordScores:
        """Starts ranking at the end of `cache`.

        What is returned must not be used while the cache is somewhere else.

        Args:
            cache: holds what was read.
            log_probs: float32 [V], the log softmax of the next piece.
            evidence: how likely words are without the model.
            before: the text that the evidence is of.
        """
        return WordScores(self, cache, log_probs, evidence, before)


class WordScores:
    """Every word's log probability in one context, as far as it is known.

    What `best` answers depends on the candidates alone; what earlier calls scored is only not scored again.
    """

    def __init__(
        self, decoder: Decoder, cache: Cache, log_probs: Floats, evidence: Evidence, before: str = ""
    ) -> None:
        self.before = before
        """The text that the evidence is of."""
        self._decoder = decoder
        self._cache = cache
        self._log_probs = log_probs
        self._evidence = evidence
        probs = np.exp(log_probs)
        self._by_place: Floats = place_inputs(evidence, log_probs, probs)
        # The whole of it for words of one piece, an estimate for the others; by fixed shares.
        guess = probs.take(decoder.first_piece)
        guess *= decoder.model_part
        guess += evidence.prior * decoder.prior_part
        with np.errstate(divide="ignore"):
            self._guess: Floats = np.log(guess, out=guess)
        # Nothing follows for certain.
        self._scored: dict[tuple[int, ...], float] = {(): 0.0}

    def retold(self, evidence: Evidence, before: str) -> WordScores:
        """The same place with other evidence: of another text, in which the model sees no difference. What it
        was asked already it need not be asked again."""
        other = WordScores(self._decoder, self._cache, self._log_probs, evidence, before)
        other._scored = self._scored
        return other

    def best(
        self,
        candidates: Candidates,
        k: int,
        habits: Habits = NO_HABITS,
        along: Sequence[tuple[int, ...]] = (),
    ) -> list[RankedWord]:
        """The k most probable candidates with distinct letters, best first; all of them scored, none
        estimated.

        If the model must be run for them, the pieces of `along`, which will be asked for next, share the run.
        """
        decoder = self._decoder
        words, costs = self._near(candidates, k, habits)
        shift = self._shift(words)
        guess, is_single = _shifted(self._guess.take(words), shift), decoder.is_single.take(words)
        # The first piece's log probability bounds the word's from above.
        first = _shifted(self._mixed(self._log_probs[decoder.first_piece[words]], words), shift)
        mix = _Mix(habits, words)
        scores = mix(np.where(is_single, guess, NEVER)) - costs
        estimate = mix(np.where(is_single, NEVER, guess)) - costs
        bound = mix(first) - costs
        for batch in range(MAX_BATCHES):
            ranked = self._distinct(words, scores, k)
            floor = ranked[-1].log_prob if len(ranked) == k else NEVER
            # An estimate can be wrong either way: the first batch takes whatever could reach the list at all.
            reach = estimate if batch else bound
            is_near = (reach > floor) & (estimate > floor - DOUBT)
            chosen = _largest(np.where(is_near, estimate, NEVER), BATCH_WORDS)
            if len(chosen) == 0:
                return ranked
            self.spelled([*map(decoder.lexicon.pieces, words[chosen].tolist()), *along])
            known = _shifted(self._known(words[chosen]), shift[chosen])
            scores[chosen] = mix(known, chosen) - costs[chosen]
            estimate[chosen] = NEVER
        return self._distinct(words, scores, k)

    def best_in_front(
        self,
        candidates: Candidates,
        k: int,
        num_looked_at: int,
        tail: tuple[int, ...],
        habits: Habits = NO_HABITS,
        along: Sequence[tuple[int, ...]] = (),
    ) -> list[RankedWord]:
        """The k best candidates in front of `tail`, see `fits`, best first.

        The likeliest `num_looked_at` by what is known without the model are asked of it, all in one run if it
        holds them, and the pieces of `along` with them; those further than `BEYOND` below the first only if
        the list would be too short.
        """
        words, costs = self._likeliest(candidates, num_looked_at, habits, BEYOND, k)
        if len(words) == 0:
            return []
        self._judge(words, tail, along)
        paths = [self._decoder.lexicon.pieces(word) for word in words.tolist()]
        scores = self.log_probs(words, habits) - costs
        scores += np.array(self.fits(paths, scores.tolist(), tail), dtype=np.float32)
        return self._distinct(words, scores, k)

    def foresee(
        self, candidates: Candidates, num_words: int, tail: tuple[int, ...], habits: Habits = NO_HABITS
    ) -> None:
        """Asks the model of the likeliest candidates in front of `tail`, so that `best_in_front` need not,
        after another letter perhaps."""
        words, _ = self._likeliest(candidates, num_words, habits, FAR_BEYOND, 0)
        self._judge(words, tail)

    def _judge(self, words: Integers, tail: tuple[int, ...], along: Sequence[tuple[int, ...]] = ()) -> None:
        """Scores words, and what else is `along`, alone and in front of `tail`: one run if it holds them."""
        both = [*map(self._decoder.lexicon.pieces, words.tolist()), *along]
        self.spelled([*both, *(path + tail for path in both)])

    def _likeliest(
        self, candidates: Candidates, num_words: int, habits: Habits, beyond: np.float32, num_always: int
    ) -> tuple[Integers, Floats]:
        """Words, ascending, and costs of the likeliest candidates by what is known without the model, none
        further than `beyond` below the first but the first `num_always`."""
        words, costs = self._near(candidates, num_words, habits)
        guess = self.guesses(words, habits) - costs
        chosen = _largest(guess, num_words)
        if len(chosen):
            is_near = guess[chosen] > guess[chosen[0]] - beyond
            chosen = np.sort(chosen[is_near | (np.arange(len(chosen)) < num_always)])
        return words[chosen], costs[chosen]

    def _near(self, candidates: Candidates, k: int, habits: Habits) -> tuple[Integers, Floats]:
        """Words and costs of the candidates that could be among the k best, and perhaps of others."""
        words, costs = candidates.words, candidates.costs
        is_weighed, num_kept = self._decoder.mixture is not None, max(k, WEIGHED_WORDS)
        if len(words) > MANY_WORDS:
            guess = self._guess.take(words)
            guess -= costs
            num_sure = -(-num_kept // FORMS_PER_KEY) if is_weighed else k
            near = _within_reach(guess + self._decoder.if_single.take(words), guess, num_sure)
            near[_places(habits.words, words)] = True
            words, costs = words[near], costs[near]
        # A mixture lifts none of the others above these: it never learned of them.
        if is_weighed and len(words) > num_kept:
            near = np.zeros(len(words), dtype=np.bool_)
            near[_largest(self._guess.take(words) - costs, num_kept)] = True
            near[_places(habits.words, words)] = True
            words, costs = words[near], costs[near]
        return words, costs

    def _shift(self, words: Integers) -> Floats:
        """What the bundle's mixture adds to the log probabilities of words, [C]."""
        mixture = self._decoder.mixture
        if mixture is None:
            return np.zeros(len(words), dtype=np.float32)
        return mixture.shift(self._by_word(words), self._by_place)

    def _by_word(self, words: Integers) -> Floats:
        decoder = self._decoder
        model = self._log_probs[decoder.first_piece[words]] + decoder.share[words]
        mixed, is_single = self._guess.take(words), decoder.is_single.take(words)
        return word_inputs(words, self._evidence, decoder.usual, mixed, model, is_single)

    def contenders(self, words: Integers, k: int) -> Contenders:
        """The k of some words that a glance finds likeliest by fixed shares, scored, as
        `fedkey_export.mixture` learns to weigh them."""
        words = words[_largest(self._guess[words], k)]
        known = self._known(words)
        ordered = _largest(known, k)
        words = words[ordered]
        return Contenders(words, known[ordered], self._by_word(words), self._by_place)

    def guesses(self, words: Integers, habits: Habits = NO_HABITS) -> Floats:
        """The log probabilities of ascending words, estimated for those of several pieces: no model is
        run."""
        return _Mix(habits, words)(_shifted(self._guess[words], self._shift(words)))

    def log_probs(self, words: Integers, habits: Habits = NO_HABITS) -> Floats:
        """The log probabilities of ascending words; those not known yet cost a model run or two."""
        return _Mix(habits, words)(_shifted(self._known(words), self._shift(words)))

    def follower(self, path: tuple[int, ...]) -> RankedWord | None:
        """Of the most frequent words of one piece, the likeliest after the pieces of `path`; None if those
        are too many to be run. One run of a few nodes, and no softmax is paid for."""
        decoder = self._decoder
        if len(path) > decoder.max_nodes:
            return None
        chain = np.arange(len(path))
        asked = np.full(len(decoder.frequent), len(path) - 1)
        pieces = np.array(path, dtype=np.int64)
        scores = decoder.model.score_tree(
            self._cache, pieces, chain - 1, asked, decoder.first_piece[decoder.frequent]
        )
        best = int(scores.argmax())
        return RankedWord(int(decoder.frequent[best]), min(float(scores[best]), 0.0))

    def _known(self, words: Integers) -> Floats:
        """The log probabilities of words: model and prior mixed, and the model's opinion of later pieces
        blended with what frequencies say."""
        decoder = self._decoder
        spelled = self.spelled([decoder.lexicon.pieces(word) for word in words.tolist()])
        known = self._mixed(np.array(spelled, dtype=np.float32), words)
        blended = (1 - SHARE_WEIGHT) * known + SHARE_WEIGHT * self._guess[words]
        scored: Floats = np.where(decoder.is_single[words], known, blended)
        return scored

    def _mixed(self, log_probs: Floats, words: Integers) -> Floats:
        """The log probabilities of words by the model's opinion of them and what the prior adds to it."""
        prior = self._evidence.prior[words] * self._decoder.prior_part[words]
        with np.errstate(divide="ignore"):
            mixed: Floats = np.log(np.float32(1 - PRIOR_WEIGHT) * np.exp(log_probs) + prior)
        return mixed

    def fits(
        self, paths: Sequence[tuple[int, ...]], log_probs: Sequence[float], tail: tuple[int, ...]
    ) -> list[float]:
        """How much likelier each of some paths is than its log probability says, because `tail` stands behind
        the place; in nats, all 0 for no tail.

        By Bayes' rule P(path | tail behind it) = P(path) P(tail | path) / P(tail), where P(tail) is the mean
        over the paths. But more words may be meant to go in before the tail: with 1 - `NEXT_TO` it says
        nothing.
        """
        if not tail or not paths:
            return [0.0] * len(paths)
        ahead = np.array(self.goes_on(paths, tail), dtype=np.float64)
        weights = np.array(log_probs, dtype=np.float64)
        usual = np.logaddexp.reduce(weights + ahead) - np.logaddexp.reduce(weights)
        if not np.isfinite(usual):
            return [0.0] * len(paths)
        fit: list[float] = np.logaddexp(math.log(NEXT_TO) + ahead - usual, math.log1p(-NEXT_TO)).tolist()
        return fit

    def goes_on(self, paths: Sequence[tuple[int, ...]], tail: tuple[int, ...]) -> list[float]:
        """The model's log probabilities of the pieces of `tail` behind each of some paths; 0 for no tail."""
        if not tail:
            return [0.0] * len(paths)
        scores = self.spelled([*paths, *(path + tail for path in paths)])  # in as few runs as they need
        pairs = zip(scores[: len(paths)], scores[len(paths) :], strict=True)
        return [both - one if one > NEVER else float(NEVER) for one, both in pairs]

    def spelled(self, paths: Sequence[tuple[int, ...]]) -> list[float]:
        """The model's log probabilities of any sequences of pieces, `NEVER` for those too long to score; what
        is not known yet costs a model run or two."""
        decoder = self._decoder
        unknown = [path for path in dict.fromkeys(paths) if path not in self._scored]
        unknown = [path for path in unknown if len(path) - 1 <= decoder.max_nodes]
        while unknown:
            tree, places = PieceTree(), []
            for path in unknown:
                questions = tree.add(path, decoder.max_nodes)
                if questions is None:
                    break
                places.append(questions)
            scores = decoder.model.score_tree(self._cache, *tree.arrays())
            # A score is a log probability only nearly; none may lift a word above its first pieces.
            factors = np.minimum(scores, 0.0)
            for path, questions in zip(unknown, places, strict=False):
                self._scored[path] = float(self._log_probs[path[0]] + factors[questions].sum())
            unknown = unknown[len(places) :]
        return [self._scored.get(path, float(NEVER)) for path in paths]

    def _distinct(self, words: Integers, scores: Floats, k: int) -> list[RankedWord]:
        """The k best-scored words; of those with the same letters (us, US) only the best."""
        ranked: list[RankedWord] = []
        keys = set()
        for at in _largest(scores, FORMS_PER_KEY * k).tolist():
            key = self._decoder.lexicon.key(int(words[at]))
            if len(ranked) == k:
                break
            if key not in keys:
                keys.add(key)
                ranked.append(RankedWord(int(words[at]), float(scores[at])))
        return ranked


def _shifted(log_probs: Floats, shift: Floats) -> Floats:
    """Log probabilities after what a mixture adds to them: none is above 0."""
    shifted: Floats = np.minimum(log_probs + shift, np.float32(0))
    return shifted


class _Mix:
    """Mixes habits into the model's opinion of C candidates."""

    def __init__(self, habits: Habits, words: Integers) -> None:
        """`words` [C] ascend."""
        self._log_rest = np.float32(np.log1p(-habits.weight))
        self._places: Integers = np.zeros(0, dtype=np.int64)
        self._log_probs: Floats = np.zeros(0, dtype=np.float32)
        if len(habits.words):
            places = np.minimum(np.searchsorted(habits.words, words), len(habits.words) - 1)
            self._places = np.flatnonzero(habits.words[places] == words)
            self._log_probs = habits.log_probs[places[self._places]]

    def __call__(self, values: Floats, at: Integers | None = None) -> Floats:
        """The mixed values of all candidates, or of those `at` some places; what is `NEVER` stays so. Changes
        `values`."""
        if not self._log_rest:
            return values
        values += self._log_rest
        if len(self._places):
            here, log_probs = self._places, self._log_probs
            if at is not None:
                _, here, which = np.intersect1d(at, here, assume_unique=True, return_indices=True)
                log_probs = log_probs[which]
            old = values[here]
            values[here] = np.where(old > NEVER, np.logaddexp(old, log_probs), NEVER)
        return values


FORMS_PER_KEY = 4
"""Ways to write the same letters that a lexicon has at most (us, Us, US, uS)."""


def _within_reach(scores: Floats, guesses: Floats, k: int) -> npt.NDArray[np.bool_]:
    """Which of C words could be among the k best or have to be looked at for it, as far as a glance tells.

    The best of each block are so many different words, and the list cannot end below the best k of them: its
    end is at least the place of the last, whoever else is on it.

    Args:
        scores: [C] of words of one piece, `NEVER` for the others.
        guesses: [C] of all.
        k: how many words with distinct letters are asked for.
    """
    blocks = scores[: len(scores) // BLOCK_WORDS * BLOCK_WORDS].reshape(-1, BLOCK_WORDS).max(axis=1)
    enough = FORMS_PER_KEY * k
    if len(blocks) < enough:
        return np.ones(len(scores), dtype=np.bool_)
    end = np.partition(blocks, len(blocks) - enough)[len(blocks) - enough]
    near: npt.NDArray[np.bool_] = guesses > end - np.float32(DOUBT + ROUNDING)
    return near


def _places(some: Integers, words: Integers) -> Integers:
    """Where those of `some` stand that are among `words`; both ascend."""
    places = np.minimum(np.searchsorted(words, some), len(words) - 1)
    found: Integers = places[words[places] == some]
    return found


class PieceTree:
    """Candidates' pieces as a prefix tree: shared beginnings run through the model once.

    A node is a piece that must be run; an edge to the next piece is a question to the node ("how probable is
    this piece after you?"). A word of n pieces needs n - 1 nodes, the last piece being only asked for.
    """

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], int] = {}
        self._questions: dict[tuple[int, int], int] = {}

    def add(self, pieces: Sequence[int], max_nodes: int) -> list[int] | None:
        """Adds a word; returns the numbers of its n - 1 questions, or None if the tree would grow past
        `max_nodes`."""
        added: list[tuple[int, int]] = []
        questions = []
        node = -1
        for piece, following in pairwise(pieces):
            edge = (node, piece)
            if edge not in self._nodes:
                if len(self._nodes) == max_nodes:
                    for stray in added:
                        del self._nodes[stray]
                    return None
                self._nodes[edge] = len(self._nodes)
                added.append(edge)
            node = self._nodes[edge]
            questions.append((node, following))
        return [self._questions.setdefault(question, len(self._questions)) for question in questions]

    def arrays(self) -> tuple[Integers, Integers, Integers, Integers]:
        """Pieces [N] and parents [N] of the nodes (-1 for the root), nodes [M] and pieces [M] of the
        questions."""
        nodes = np.array([*self._nodes], dtype=np.int64).reshape(-1, 2)
        questions = np.array([*self._questions], dtype=np.int64).reshape(-1, 2)
        return nodes[:, 1], nodes[:, 0], questions[:, 0], questions[:, 1]


def _largest(values: Floats, count: int) -> Integers:
    """The places of the `count` largest values above `NEVER`, largest first; equal values keep their
    order."""
    # Most words are out of the question, and many equal values are what partitioning is slow at.
    places = np.flatnonzero(values > NEVER)
    values = values[places]
    if len(values) > count:
        # All that equal the last to be chosen, so that ties are broken by place and not by chance.
        chosen = np.flatnonzero(values >= np.partition(values, len(values) - count)[len(values) - count])
        places, values = places[chosen], values[chosen]
    return places[np.argsort(-values, kind="stable")][:count]
