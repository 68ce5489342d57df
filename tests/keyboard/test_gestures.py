"""Words drawn across the keys: found by where the line runs, and by what fits the text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedkey.bundle import open_bundle
from fedkey.cli import SUBCOMMANDS
from fedkey.commands import run_command
from fedkey.conversations import GradedConversation
from fedkey.drawing import (
    HANDS,
    USUAL,
    Hand,
    Recognised,
    drawings_summary,
    frequent_words,
    grade_messages,
    grade_words,
)
from fedkey.engine import Engine
from fedkey.fingers import Finger, key_path, on_cells
from fedkey.gestures import FARTHEST, MAX_POINTS, GestureFinder, as_path, is_gesture
from fedkey.layout import LAYOUTS, QWERTY
from fedkey.lexicon import Lexicon
from fedkey.shipped import shipped_bundle
from fedkey.taps import Tap

WORDS = ("hello", "don't", "tomorrow", "keyboard", "was", "people", "great", "something")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine.open(shipped_bundle())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    bundle = open_bundle(shipped_bundle())
    return Lexicon(bundle.lexicon_arrays(), bundle.manifest.model.vocab_size)


@pytest.fixture(scope="module")
def finder(lexicon: Lexicon) -> GestureFinder:
    return GestureFinder(lexicon, QWERTY)


def drawn(word: str, layout=QWERTY):  # type: ignore[no-untyped-def]
    """The straightest line that stands for a word."""
    path = key_path(layout, word)
    assert path is not None
    return as_path(path)


# --------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize(
    "junk",
    [
        [],
        [1.0, 2.0],
        [[1.0, 2.0, 3.0]],
        [[1.0, 2.0], [3.0]],
        "hello",
        None,
        {"x": 1},
        [["a", "b"]],
        [[float("nan"), 0.0], [1.0, 1.0]],
        [[float("inf"), 0.0], [1.0, 1.0]],
        [[FARTHEST, 0.0], [1.0, 1.0]],
        [[10**400, 0.0], [1.0, 1.0]],
        [[1e300, 0.0], [1.0, 1.0]],
        np.zeros((MAX_POINTS + 1, 2)),
        [[1j, 2.0], [0.0, 0.0]],
    ],
)
@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_what_is_no_path_is_refused(engine: Engine, junk: object) -> None:
    with pytest.raises(ValueError, match="path"):
        engine.trace("", junk)


def test_a_path_of_one_letter_is_a_tap(engine: Engine) -> None:
    x, y = QWERTY["h"].center
    rolled = [(x - 0.3, y), (x, y + 0.1), (x + 0.1, y)]

    answer = engine.trace("say ", rolled)

    assert not is_gesture(QWERTY, as_path(rolled))
    assert answer.literal == "h"
    assert answer.words == engine.suggest("say ", [Tap(x - 0.3, y)]).words


@pytest.mark.parametrize("keys", ["as", "el", "tp"])
def test_a_path_to_another_letter_is_a_gesture(keys: str) -> None:
    assert is_gesture(QWERTY, drawn(keys))


def test_a_path_that_ends_beside_the_letters_is_a_tap(engine: Engine) -> None:
    assert engine.trace("", [QWERTY["b"].center, QWERTY["space"].center]).literal == "b"


# --------------------------------------------------------------------------------------- which words


@pytest.mark.parametrize("word", WORDS)
def test_a_clean_line_is_its_word(engine: Engine, word: str) -> None:
    assert word in engine.trace("i think ", drawn(word)).words


def test_every_word_is_found_by_its_own_line(finder: GestureFinder, lexicon: Lexicon) -> None:
    rng = np.random.default_rng(3)
    for index in rng.choice(len(lexicon), 150, replace=False).tolist():
        path = key_path(QWERTY, lexicon.word(index))
        if lexicon.is_offensive(index) or path is None or len(path) < 2:
            continue
        found = finder.find(as_path(path))
        [place] = np.flatnonzero(found.words == index)
        # Of a long line the points that are compared lie far apart, and none just on a key.
        assert found.costs[place] < 2.0
        assert found.costs[place] < found.costs.min() + 0.5


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_has_lines_of_its_own(lexicon: Lexicon, name: str) -> None:
    layout = LAYOUTS[name]
    finder = GestureFinder(lexicon, layout)
    for word in WORDS:
        found = finder.find(drawn(word, layout))
        letters = lexicon.word(int(found.words[found.costs.argmin()])).lower()
        assert np.array_equal(key_path(layout, letters), key_path(layout, word))


def test_accents_doubled_letters_and_marks_need_no_movement(finder: GestureFinder) -> None:
    path = drawn("caffe")
    assert np.allclose(finder.costs(path, ["café", "caffè", "ca-ff'e"]), 0.0, atol=0.1)
    assert np.isinf(finder.costs(path, ["caf3", "c", "", "кафе", "zebra"])).all()


def test_words_cost_the_same_in_the_lexicon_and_out_of_it(finder: GestureFinder, lexicon: Lexicon) -> None:
    path = Finger().sample(QWERTY, "weather", np.random.default_rng(1))
    found = finder.find(as_path(path))
    words = [lexicon.word(index) for index in found.words.tolist()]
    assert np.allclose(finder.costs(as_path(path), words), found.costs, atol=1e-4)


def test_the_text_decides_between_words_of_one_line(engine: Engine) -> None:
    def lead(context: str) -> float:
        answer = engine.trace(context, drawn("well"))
        scores = dict(zip(map(str.lower, answer.words), answer.log_probs, strict=True))
        return scores["well"] - scores["we'll"]

    assert lead("i don't feel very ") > 2 + lead("see you soon, ")


def test_a_sentence_begins_with_a_capital(engine: Engine) -> None:
    assert "Great" in engine.trace("", drawn("great")).words
    assert "great" in engine.trace("that is ", drawn("great")).words


def test_offensive_words_are_never_drawn(finder: GestureFinder, lexicon: Lexicon) -> None:
    offensive = [index for index in range(len(lexicon)) if lexicon.is_offensive(index)]
    assert offensive
    for index in offensive:
        path = key_path(QWERTY, lexicon.word(index))
        if path is not None and len(path) > 1:
            assert index not in finder.find(as_path(path)).words


def test_words_that_the_owner_taught_can_be_drawn(engine: Engine) -> None:
    path = drawn("Zorbla")
    assert "Zorbla" not in engine.trace("with ", path).words

    engine.learn("Zorbla")

    assert engine.trace("with ", path).words[0] == "Zorbla"
    assert "Zorbla" not in engine.trace("with ", path, private=True).words
    engine.forget("Zorbla")
    assert "Zorbla" not in engine.trace("with ", path).words


def test_answers_do_not_depend_on_what_was_asked_before(engine: Engine) -> None:
    path = drawn("keyboard")
    first = engine.trace("a new ", path)
    engine.suggest("something else ", "th")
    engine.reset()
    again = engine.trace("a new ", path)
    assert again.words == first.words
    assert again.log_probs == pytest.approx(first.log_probs, abs=1e-3)


def test_frequent_words_are_recognised(engine: Engine) -> None:
    rng = np.random.default_rng(17)
    frequent = np.argsort(-np.asarray(engine.lexicon.log_prob))[:5000]
    hits, total = 0, 0
    for index in rng.choice(frequent, 60, replace=False).tolist():
        word = engine.lexicon.word(index)
        path = Finger().sample(QWERTY, word, rng)
        if path is not None and not engine.lexicon.is_offensive(index):
            total += 1
            hits += word.lower() in map(str.lower, engine.trace("", path).words)
    assert hits / total >= 0.85  # 0.98 of all 5,000


# ------------------------------------------------------------------------------------------- fingers


def test_a_finger_draws_by_its_seed() -> None:
    one, same, other = (Finger().sample(QWERTY, "people", np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(one, same)
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("word", ["i", "ooo", "", "42", "нет"])
def test_what_needs_no_movement_is_not_drawn(word: str) -> None:
    assert Finger().sample(QWERTY, word, np.random.default_rng(0)) is None


def test_haste_cuts_corners() -> None:
    corner = np.array(QWERTY["o"].center)

    def miss(haste: float) -> float:
        finger = Finger(sigma=0.0, haste=haste, overshoot=0.0, noise=0.0)
        path = finger.sample(QWERTY, "pop", np.random.default_rng(0))
        assert np.allclose(path[[0, -1]], QWERTY["p"].center, atol=1e-3)
        return float(np.linalg.norm(path - corner, axis=1).min())

    assert miss(1e-5) < 0.1 < miss(3e-4) < 0.3 < miss(1e-3) < 0.6 < miss(3e-3)


def test_a_finger_scatters_as_thumbs_do() -> None:
    rng = np.random.default_rng(2)
    starts = [Finger(noise=0.0).sample(QWERTY, "to", rng)[0] for _ in range(400)]
    assert np.std(starts, axis=0) == pytest.approx([0.285, 0.285], rel=0.15)
    assert np.mean(starts, axis=0) == pytest.approx(QWERTY["t"].center, abs=0.06)


def test_a_terminal_sees_the_cells_that_are_entered() -> None:
    path = np.array([[0.1, 0.1], [0.2, 0.2], [0.6, 0.1], [0.6, 0.7], [0.7, 0.6]])
    assert on_cells(path, 0.5, 0.5).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75]]


@pytest.mark.parametrize("values", [{"sigma": -1.0}, {"haste": 0.0}, {"noise": float("nan")}])
def test_impossible_fingers_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="finger"):
        Finger(**values)


# ------------------------------------------------------------------------------------------- grading


def test_the_most_frequent_words_that_can_be_drawn(engine: Engine) -> None:
    words = frequent_words(engine.lexicon, QWERTY, 300)
    assert len(set(words)) == 300
    assert words[:3] == sorted(words[:3], key=lambda word: -_frequency(engine.lexicon, word))
    assert {"the", "to", "don't", "too"} <= set(words)
    assert {"a", "i"}.isdisjoint(words)


def _frequency(lexicon: Lexicon, word: str) -> float:
    number = lexicon.find(lexicon.forms[word])
    assert number is not None
    return float(lexicon.log_prob[number])


def test_words_are_counted_by_their_length(engine: Engine) -> None:
    graded = grade_words(engine, ["to", "hello", "something", "xqzzkj"], Hand(Finger(sigma=0.01)))
    assert (
        graded["to"].up_to_3 == graded["hello"].up_to_5 == graded["something"].longer == Recognised(1, 1, 1)
    )
    assert graded["xqzzkj"].total == Recognised(1, 0, 0)
    numbers = drawings_summary(graded)
    assert (numbers["words"], numbers["top_3"]["value"]) == (4, 0.75)
    assert numbers["by_letters"]["up_to_7"]["words"] == 1
    assert numbers["by_letters"]["up_to_7"]["top_1"]["value"] == 0.0


def test_the_text_is_drawn_word_by_word_after_what_was_meant(engine: Engine) -> None:
    talk = GradedConversation("ann", ("how are you?", "i am fine, thanks :)"), (False, True))
    graded = grade_messages(engine, [talk], HANDS[USUAL], seed=1)
    assert graded["ann"].total.words == 3  # not i
    again = grade_messages(engine, [talk], HANDS[USUAL], seed=1)
    assert again["ann"].total == graded["ann"].total


def test_eval_measures_gestures_with_a_text_and_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "mail.txt"
    text.write_text("see you tomorrow\n")

    assert _fedkey("eval", shipped_bundle(), "--gestures", "--max-words", "6", "--json") == 0
    alone = json.loads(capsys.readouterr().out)["fedkey"]["gestures"]
    assert alone["in_text"] is None
    assert [own["words"] for own in alone["alone"].values()] == [6] * len(HANDS)

    options = ("--section", "gestures", "--max-words", "6", "--engine", "unigram", "--engine", "fedkey")
    assert _fedkey("eval", shipped_bundle(), *options, "--text", text) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(lines).startswith(
        "Words drawn across the keys: 6 of the most frequent, each by itself, and 3"
    )
    assert sum(line.startswith(USUAL) for line in lines) == 2
    assert not any("unigram" in line for line in lines)


def _fedkey(*arguments: object) -> int:
    return run_command("fedkey", "A keyboard.", SUBCOMMANDS, arguments=list(map(str, arguments)))
