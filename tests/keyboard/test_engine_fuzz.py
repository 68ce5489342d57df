"""Whatever is typed, the engine keeps its promises: given text, and a long walk of random keys."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey import Engine
from fedkey.engine import Accepted, Suggestions
from fedkey.errors import UserError
from fedkey.layout import QWERTY
from fedkey.taps import Tap, Touch, key_press, literal
from fedkey.text import PLACEHOLDERS, SPECIAL_UNITS, normalise

CONTEXTS = ("", "see you ", "how are you?\nI'm fine, ", "thank you so much for the ", "a@b.c/", "see you\n")


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    opened = Engine.open(tiny_bundle)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def offensive(engine: Engine) -> frozenset[str]:
    lexicon = engine.lexicon
    return frozenset(lexicon.key(word) for word in range(len(lexicon)) if lexicon.is_offensive(word))


def check(
    engine: Engine, offensive: frozenset[str], typed: str | Sequence[Touch], k: int, answer: Suggestions
) -> None:
    """What holds of every answer of an engine that was taught nothing offensive."""
    letters = normalise(typed if isinstance(typed, str) else literal(QWERTY, typed))
    assert answer.literal == letters
    assert len(answer.words) == len(answer.log_probs) <= k
    assert len({word.lower() for word in answer.words}) == len(answer.words)
    assert letters not in answer.words
    shown = [*answer.words, *filter(None, (answer.autocorrect, answer.phrase))]
    assert not any(mark in text for text in shown for mark in (*SPECIAL_UNITS, "\u2581", "\n"))
    assert all(text == text.strip() and text for text in shown)
    for word in answer.words:
        assert has_the_capitals_of(word, letters)
        assert letters.lower() in offensive or not offensive.intersection(word.lower().split())
    if answer.autocorrect is not None:
        assert letters
        assert answer.autocorrect != letters
        assert answer.autocorrect in answer.words
        assert not offensive.intersection(answer.autocorrect.lower().split())
        form = engine.lexicon.forms.get(letters.lower(), "")
        if form.islower():
            # But for capitals and apostrophes a word stays; what is one only by its capital may be a slip.
            assert answer.autocorrect.replace("'", "").lower() == letters.replace("'", "").lower()
    if answer.phrase is not None:
        begins = answer.words[:1] if answer.typed_log_prob is None else (*answer.words[:1], letters)
        assert any(answer.phrase.startswith(f"{word} ") for word in begins)
        assert not offensive.intersection(answer.phrase.lower().split())
    assert len(answer.emoji) <= (0 if letters else 2)


def has_the_capitals_of(word: str, letters: str) -> bool:
    """Whether a word is written as high as what was typed of it asks for."""
    if not letters.isascii() or len(word.lower()) != len(word):
        return True  # Of one letter two may become.
    if len([each for each in letters if each.isalpha()]) > 1 and letters.isupper():
        return word == word.upper()
    if word.lower().startswith(letters.lower()):
        return all(s == t or s == t.upper() for s, t in zip(word, letters, strict=False))
    return word[0] == word[0].upper() or not letters[:1].isupper()


# --------------------------------------------------------------------------------------------- any text


@given(context=st.text(max_size=60), typed=st.text(max_size=9), k=st.integers(1, 6), private=st.booleans())
@settings(max_examples=150)
def test_any_text(
    engine: Engine, offensive: frozenset[str], context: str, typed: str, k: int, private: bool
) -> None:
    check(engine, offensive, typed, k, engine.suggest(context, typed, k, private=private))
    engine.is_doubtful(context, typed)
    engine.knows(typed)


KEYS = st.sampled_from("qwertyuiopasdfghjklzxcvbnm'")


@given(
    context=st.sampled_from(CONTEXTS),
    typed=st.text(KEYS, min_size=1, max_size=9),
    capitals=st.sampled_from([str.lower, str.capitalize, str.upper, str.swapcase]),
)
@settings(max_examples=200)
def test_any_letters(
    engine: Engine, offensive: frozenset[str], context: str, typed: str, capitals: object
) -> None:
    assert callable(capitals)
    typed = capitals(typed)
    answer = engine.suggest(context, typed)
    check(engine, offensive, typed, 3, answer)
    again = engine.suggest(context, typed)
    assert (again.words, again.log_probs, again.autocorrect) == (
        answer.words, answer.log_probs, answer.autocorrect,
    )  # fmt: skip


POINTS = st.floats(-2, 12, width=32)
TAPS = st.builds(Tap, POINTS, POINTS, st.floats(0, 1), st.floats(0, 1))


@given(context=st.sampled_from(CONTEXTS), touches=st.lists(TAPS | st.characters(), max_size=8))
@settings(max_examples=120)
def test_any_touches(engine: Engine, offensive: frozenset[str], context: str, touches: list[Touch]) -> None:
    check(engine, offensive, touches, 3, engine.suggest(context, touches))


letters_of_a_word = st.sampled_from(
    "to the other I can want don't is a work mind set tot h e".split()
) | st.text(KEYS, max_size=9)


@given(
    context=st.sampled_from(CONTEXTS) | st.text(max_size=20),
    first=letters_of_a_word | st.text(max_size=4),
    second=letters_of_a_word | st.text(max_size=4),
    moved=st.integers(-2, 2),
    capitals=st.sampled_from([str.lower, str.capitalize, str.upper, str.swapcase]),
    gap=st.sampled_from(" ;"),
)
@settings(max_examples=300)
def test_a_space_that_moves_changes_no_letter(
    engine: Engine,
    offensive: frozenset[str],
    context: str,
    first: str,
    second: str,
    moved: int,
    capitals: Callable[[str], str],
    gap: str,
) -> None:
    at, letters = max(len(first) + moved, 0), capitals(first + second)
    first, second = letters[:at], letters[at:]
    put = engine.reconsidered(context, first, second, gap=gap)
    if put is not None:
        assert put not in (f"{first} {second}", f"{first};{second}")
        assert put == put.strip()
        assert put.count(" ") <= 1
        bare = str.maketrans("", "", "' ")
        assert put.lower().translate(bare) == f"{normalise(first)}{normalise(second)}".lower().translate(bare)
        assert not offensive.intersection(put.lower().split())
        assert engine.reconsidered(context, first, second, put, gap=gap) is None or gap == ";"
    assert engine.reconsidered(context, first, second, gap=gap) == put


@given(context=st.sampled_from(CONTEXTS), typed=st.text(KEYS, min_size=1, max_size=9))
@settings(max_examples=80)
def test_what_was_corrected_can_be_brought_back(tiny_bundle: Path, context: str, typed: str) -> None:
    with contextlib.closing(Engine.open(tiny_bundle)) as engine:
        put = engine.suggest(context, typed).autocorrect or typed
        engine.undo(engine.accept(context, typed, put))
        answer = engine.suggest(context, typed)
        assert answer.literal == normalise(typed)
        if put.lower() != typed:
            assert answer.autocorrect is None


@pytest.mark.parametrize(("typed", "put"), [("i", "I"), ("london", "London")])
def test_a_capital_that_was_taken_back_is_not_put_again(tiny_bundle: Path, typed: str, put: str) -> None:
    with contextlib.closing(Engine.open(tiny_bundle)) as engine:
        assert engine.suggest("so ", typed).autocorrect == put
        engine.undo(engine.accept("so ", typed, put))
        assert engine.suggest("so ", typed).autocorrect is None


def test_who_takes_a_capital_back_twice_writes_the_word_small_everywhere(tiny_bundle: Path) -> None:
    with contextlib.closing(Engine.open(tiny_bundle)) as engine:
        for context in ("so ", "we saw "):
            accepted = engine.accept(context, "london", "London")
            engine.undo(accepted)
            engine.accept(context, "london", "london")  # what stands is finished now
        assert engine.suggest("back in ", "london").autocorrect is None
        assert "london" in engine.suggest("back in ", "lond").words
        assert [each.word for each in engine.words_learned()] == ["london"]
        assert engine.words_learned()[0].count == 2


def test_who_takes_a_capital_back_once_and_uses_it_then_keeps_it(tiny_bundle: Path) -> None:
    with contextlib.closing(Engine.open(tiny_bundle)) as engine:
        engine.undo(engine.accept("so ", "london", "London"))
        engine.accept("we saw ", "london", "London")
        assert engine.suggest("back in ", "london").autocorrect == "London"


def test_no_slip_in_an_offensive_word_and_none_that_makes_one_is_corrected_into_one(
    engine: Engine, offensive: frozenset[str]
) -> None:
    rng = random.Random(3)
    letters = "qwertyuiopasdfghjklzxcvbnm"
    assert len(offensive) > 10
    for word in sorted(offensive):
        for _ in range(12):
            at = rng.randrange(len(word))
            typed = rng.choice(
                [word[:at] + word[at + 1 :], word[:at] + rng.choice(letters) + word[at:],
                 word[:at] + rng.choice(letters) + word[at + 1 :],
                 word[:at] + word[at : at + 2][::-1] + word[at + 2 :]]
            )  # fmt: skip
            for context in ("", "what the "):
                answer = engine.suggest(context, typed, 5)
                check(engine, offensive, typed, 5, answer)


def surfaces(engine: Engine, word: str) -> set[str]:
    """The ways in which the lexicon writes a word."""
    node = engine.lexicon.walk(word.lower())
    assert node is not None
    return {engine.lexicon.word(number) for number in engine.lexicon.words_at(node)}


def test_known_words_are_left_but_for_their_capitals(engine: Engine) -> None:
    rng = random.Random(4)
    lexicon = engine.lexicon
    for number in rng.sample(range(len(lexicon)), 200):
        word = lexicon.word(number)
        for context in ("", "see you "):
            assert engine.suggest(context, word).autocorrect is None
            put = engine.suggest(context, word.lower()).autocorrect
            assert put is None or (put.lower() == word.lower() and put in surfaces(engine, word))


# ------------------------------------------------------------------------------------------------- taps


def test_taps_on_key_centres_answer_like_letters(engine: Engine) -> None:
    rng = random.Random(5)
    lexicon = engine.lexicon
    num_alike = num_asked = 0
    for number in rng.sample(range(len(lexicon)), 150):
        letters = lexicon.key(number)[: rng.randint(1, 8)].replace("'", "")
        keys = [QWERTY.key_for(letter) for letter in letters]
        assert None not in keys
        by_letters = engine.suggest("see you ", letters)
        presses = engine.suggest("see you ", [key_press(key) for key in keys if key is not None])
        assert (presses.words, presses.autocorrect) == (by_letters.words, by_letters.autocorrect)
        assert presses.log_probs == pytest.approx(by_letters.log_probs, abs=1e-4)
        taps = engine.suggest("see you ", [Tap(*key.center) for key in keys if key is not None])
        assert taps.literal == letters
        num_alike += taps.words[:1] == by_letters.words[:1]
        num_asked += 1
    assert num_alike > 0.9 * num_asked


def test_a_tap_between_two_keys_may_mean_either(engine: Engine) -> None:
    """Half way from o to i both words are as cheap; on the key itself the other one is a mistake."""
    n, o, i = (Tap(*QWERTY[letter].center) for letter in "noi")
    between = Tap((o.x + i.x) / 2, o.y)

    def lead(first: Tap) -> float:
        answer = engine.suggest("it is ", [first, n], 100)
        log_probs = dict(zip(answer.words, answer.log_probs, strict=True))
        assert answer.typed_log_prob is not None
        log_probs[answer.literal] = answer.typed_log_prob
        return log_probs.get("on", -math.inf) - log_probs.get("in", -math.inf)

    assert lead(i) < lead(between) < lead(o)


# ---------------------------------------------------------------------------------------------- the walk


class Walk:
    """Random keys through every method that changes something, each answer checked."""

    def __init__(self, engine: Engine, offensive: frozenset[str], seed: int) -> None:
        self.engine = engine
        self.offensive = offensive
        self.rng = random.Random(seed)
        self.before = self.typed = ""
        self.is_private = False
        self.undoable: Accepted | None = None
        self.answers: list[tuple[object, ...]] = []
        self.counts: dict[str, int] = {}
        self.words = [engine.lexicon.word(number) for number in range(0, len(engine.lexicon), 7)]
        self.words = [word for word in self.words if word.lower() not in offensive]
        self.own = ["Zorblax", "skibidi", "iOS", "voilà", "o'neil", "ß", "İstanbul"]

    def run(self, num_events: int) -> None:
        """Presses so many keys."""
        events = (self.letter, self.character, self.backspace, self.end_word, self.take, self.undo,
                  self.learn, self.forget, self.message, self.switch_privacy, self.tap)  # fmt: skip
        weights = (50, 8, 6, 14, 8, 4, 2, 2, 2, 1, 3)
        for event in self.rng.choices(events, weights, k=num_events):
            self.counts[event.__name__] = self.counts.get(event.__name__, 0) + 1
            event()
            if len(self.typed) > 30:
                self.end_word()

    def suggest(self, typed: str | Sequence[Touch]) -> Suggestions:
        """What is shown now, checked."""
        k = self.rng.randint(1, 5)
        answer = self.engine.suggest(self.before, typed, k, private=self.is_private)
        check(self.engine, self.offensive, typed, k, answer)
        self.answers.append((answer.words, answer.log_probs, answer.autocorrect, answer.phrase, answer.emoji))
        return answer

    def letter(self) -> None:
        if not self.typed:
            self.word = self.rng.choice(self.rng.choice([self.words, self.words, self.own]))
        here = self.word[len(self.typed) : len(self.typed) + 1]
        slip = self.rng.random() < 0.07
        self.typed += self.rng.choice("etaoinshrd'") if slip or not here else here
        self.suggest(self.typed)

    def character(self) -> None:
        self.typed += any_character(self.rng)
        self.suggest(self.typed)

    def backspace(self) -> None:
        self.typed = self.typed[:-1]
        self.suggest(self.typed)

    def end_word(self) -> None:
        put = self.suggest(self.typed).autocorrect
        self.accept(put or self.typed)
        self.before += self.rng.choice([" ", " ", " ", ". ", "? ", "@", ", ", ' "', "\u3000"])

    def take(self) -> None:
        answer = self.suggest(self.typed)
        offers = [*answer.words, *answer.emoji, *filter(None, [answer.phrase])]
        if offers:
            self.accept(self.rng.choice(offers))
            self.before += " "

    def accept(self, word: str) -> None:
        # An offensive word that was typed out would be the owner's own from then on.
        is_private = self.is_private or not self.offensive.isdisjoint(normalise(word).lower().split())
        self.undoable = self.engine.accept(self.before, self.typed, word, private=is_private)
        self.before, self.typed = self.before + word, ""

    def undo(self) -> None:
        if self.undoable is not None:
            self.engine.undo(self.undoable)
            self.before, self.typed = self.undoable.context, self.undoable.typed
            put = self.suggest(self.typed).autocorrect
            # What had another capital alone is not told from what was typed.
            assert put is None or put.lower() == normalise(self.typed).lower()
            self.undoable = None

    def learn(self) -> None:
        word = self.rng.choice([*self.own, self.typed, any_character(self.rng), "two words", ""])
        with contextlib.suppress(UserError):
            if normalise(word).lower() not in self.offensive:
                self.engine.learn(word)
                assert self.engine.knows(word)

    def forget(self) -> None:
        learned = [each.word for each in self.engine.words_learned()]
        word = self.rng.choice([*learned, "nothing", self.typed])
        assert self.engine.forget(word) == (normalise(word).lower() in {each.lower() for each in learned})
        assert normalise(word) not in {each.word for each in self.engine.words_learned()}

    def message(self) -> None:
        self.before = f"{(self.before + self.typed)[-300:]}\n"
        self.typed = ""
        self.suggest("")

    def switch_privacy(self) -> None:
        self.is_private = not self.is_private

    def tap(self) -> None:
        touches: list[Touch] = [
            Tap(self.rng.uniform(-1, 11), self.rng.uniform(-1, 7), self.rng.random(), self.rng.random())
            for _ in range(self.rng.randint(1, 6))
        ]
        self.suggest(touches)


def any_character(rng: random.Random) -> str:
    """Any code point, surrogates, marks and controls among them; each kind about as often."""
    first, last = rng.choice([(0, 0x80), (0, 0x250), (0x250, 0x3000), (0x3000, 0x10000), (0xD800, 0xF900),
                              (0x1F1E6, 0x1FAFF), (0, 0x110000)])  # fmt: skip
    return chr(rng.randrange(first, last))


@pytest.mark.slow
def test_three_thousand_random_keys(tiny_bundle: Path, offensive: frozenset[str], tmp_path: Path) -> None:
    with contextlib.closing(Engine.open(tiny_bundle, memory=tmp_path / "memory.sqlite")) as engine:
        walk = Walk(engine, offensive, seed=11)
        walk.run(3000)
        assert engine.notice is None
        assert len(walk.counts) == 11
        assert sum(answer[2] is not None for answer in walk.answers) > 20


def test_the_same_keys_give_the_same_answers(tiny_bundle: Path, offensive: frozenset[str]) -> None:
    def answers() -> list[tuple[object, ...]]:
        with contextlib.closing(Engine.open(tiny_bundle)) as engine:
            walk = Walk(engine, offensive, seed=12)
            walk.run(300)
            return walk.answers

    assert answers() == answers()


def contents(path: Path) -> dict[str, bytes]:
    """The memory's files, but for the one in which SQLite notes who is reading."""
    files = (each for each in path.parent.iterdir() if not each.name.endswith("-shm"))
    return {each.name: each.read_bytes() for each in files}


def test_in_private_the_memory_stays_byte_for_byte(
    tiny_bundle: Path, offensive: frozenset[str], tmp_path: Path
) -> None:
    path = tmp_path / "memory.sqlite"
    with contextlib.closing(Engine.open(tiny_bundle, memory=path)) as engine:
        engine.learn("Zorblax")
        engine.accept("see you ", "", "tomorrow")
        before = contents(path)
        for context in CONTEXTS:
            for typed in ("", "zorb", "tomorow", "Teh", *PLACEHOLDERS):
                answer = engine.suggest(context, typed, private=True)
                assert "Zorblax" not in answer.words
                accepted = engine.accept(context, typed, answer.autocorrect or "skibidi", private=True)
                engine.accept(context, "", "café au lait", private=True)
                engine.undo(accepted)
                engine.doubt(context, typed, private=True)
                engine.is_doubtful(context, typed)
        assert contents(path) == before
    with contextlib.closing(Engine.open(tiny_bundle, memory=path)) as engine:
        assert {each.word for each in engine.words_learned()} == {"Zorblax", "tomorrow"}
