"""Slips are single mistakes, drawn as often as said; real misspellings are split by word."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkey.errors import UserError
from fedkey.layout import QWERTY
from fedkey.spelling import num_edits
from fedkey.taps import Tap, literal
from fedkey.text import is_word, normalise
from fedkey.typos import (
    DOUBLING,
    INSERTION,
    KINDS,
    OMISSION,
    SUBSTITUTION,
    TRANSPOSITION,
    Careless,
    Misspelling,
    NoisyThumbs,
    Part,
    Typed,
    gradable,
    installed_misspellings,
    mistype,
    part_of,
    read_misspellings,
    slip,
)

WORDS = st.from_regex(r"\A[A-Za-z]{2,8}(?:'[a-z]{1,2})?\Z")
SEEDS = st.integers(0, 2**32)
PARTS: tuple[Part, Part] = ("fitting", "grading")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def all_slips(word: str, kind: str) -> set[str | None]:
    generator = rng()
    return {slip(word, kind, generator) for _ in range(400)}


# ------------------------------------------------------------------------------------------------------ slips


def test_slips_of_a_word_by_hand() -> None:
    """a touches q, w, s, z; t touches r, y, f, g, h; the shift key beside a types nothing."""
    assert all_slips("at", OMISSION) == {"a", "t"}
    assert all_slips("at", DOUBLING) == {"aat", "att"}
    assert all_slips("at", TRANSPOSITION) == {"ta"}
    around_a = {key.name for key in QWERTY.neighbours("a")} - {"shift"}
    around_t = {key.name for key in QWERTY.neighbours("t")}
    assert around_a == {"q", "w", "s", "z"}
    assert around_t > {"r", "y"}
    assert all_slips("at", SUBSTITUTION) == {f"{x}t" for x in around_a} | {f"a{x}" for x in around_t}
    assert all_slips("at", INSERTION) == (
        {f"{x}at" for x in around_a} | {f"a{x}t" for x in around_a | around_t} | {f"at{x}" for x in around_t}
    )


def test_a_capital_is_missed_by_a_capital() -> None:
    assert all_slips("A", SUBSTITUTION) == {"Q", "W", "S", "Z"}


def test_what_a_kind_does_not_fit_has_no_slip() -> None:
    assert slip("a", TRANSPOSITION, rng()) is None
    assert slip("7", SUBSTITUTION, rng()) is None
    with pytest.raises(ValueError, match=r"kind must be one of substitution, .*, not 'sneeze'"):
        slip("hello", "sneeze", rng())


@given(WORDS, SEEDS)
@settings(max_examples=60)
def test_a_mistyped_word_is_another_word_one_mistake_away(word: str, seed: int) -> None:
    typed, kind, touches = mistype(word, rng(seed))
    assert is_word(typed)
    assert normalise(typed) == typed
    assert touches == ()
    if kind is None:
        assert typed == word
    else:
        assert typed.lower() != word.lower()
        assert num_edits(typed.lower(), word.lower(), at_most=2) == 1
        length = {OMISSION: -1, INSERTION: 1, DOUBLING: 1, SUBSTITUTION: 0, TRANSPOSITION: 0}[kind]
        assert len(typed) == len(word) + length


def test_kinds_are_as_frequent_as_said() -> None:
    generator = rng()
    counts = Counter(mistype("keyboard", generator).kind for _ in range(4000))
    assert set(counts) == set(KINDS)
    for kind, share in KINDS.items():
        assert counts[kind] / 4000 == pytest.approx(share, abs=0.025)
    assert sum(KINDS.values()) == pytest.approx(1)


def test_one_letter_is_never_mistyped() -> None:
    assert {mistype("I", rng(seed)) for seed in range(20)} == {Typed("I", None)}


def test_the_careless_mistype_their_share() -> None:
    generator = rng()
    typed = [Careless(0.15)("wonderful", generator) for _ in range(3000)]
    assert sum(each.kind is not None for each in typed) / 3000 == pytest.approx(0.15, abs=0.02)
    assert all((each.letters == "wonderful") == (each.kind is None) for each in typed)


def test_the_same_seed_makes_the_same_mistakes() -> None:
    for slips in (Careless(0.5), NoisyThumbs(), NoisyThumbs(gives_taps=True)):
        once, again, other = ([slips("wonderful", rng(seed)) for _ in range(3)] for seed in (1, 1, 2))
        assert once == again
        assert once != other


# ----------------------------------------------------------------------------------------------------- thumbs


def test_thumbs_hit_another_key_with_one_letter_in_twelve() -> None:
    text = "wonderful keyboards are those that guess what thumbs were trying to say".split()
    generator = rng()
    wrong = total = 0
    for _ in range(200):
        for word in text:
            typed = NoisyThumbs()(word, generator).letters
            assert len(typed) == len(word)
            wrong += sum(a != b for a, b in zip(typed, word, strict=True))
            total += len(word)
    assert wrong / total == pytest.approx(0.08, abs=0.01)


def test_taps_are_given_where_they_are_wanted_and_say_what_was_typed() -> None:
    for seed in range(30):
        typed = NoisyThumbs(gives_taps=True)("Wonderful", rng(seed))
        assert len(typed.touches) == len("Wonderful")
        assert all(isinstance(touch, Tap) for touch in typed.touches)
        assert literal(QWERTY, typed.touches) == typed.letters.lower()
        assert typed.letters[0].isupper()
        assert typed.input == typed.touches
        assert NoisyThumbs()("Wonderful", rng(seed)) == Typed(typed.letters, None)
    assert Typed("hello", None).input == "hello"


def test_digits_come_from_another_page_and_are_hit() -> None:
    generator = rng()
    typed = [NoisyThumbs(gives_taps=True)("2nd", generator) for _ in range(60)]
    assert all(each.letters[0] == "2" == each.touches[0] for each in typed)
    assert any(each.letters != "2nd" for each in typed)


def test_thumbs_never_end_a_word_half_way() -> None:
    """b, n and m lie on the space bar."""
    generator = rng()
    for _ in range(300):
        assert is_word(NoisyThumbs()("banmnbmn", generator).letters)


# ----------------------------------------------------------------------------------------------- misspellings


def test_misspellings_are_read(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text(
        "the teh hte teh\nLila lila Liila\nreceive re?eive [[recieve recieve\nalone\n\nbar barri\u00e8re\n",
        encoding="utf-8",
    )
    assert read_misspellings(file) == [
        Misspelling("teh", "the"),
        Misspelling("hte", "the"),
        Misspelling("Liila", "Lila"),
        Misspelling("recieve", "receive"),
        Misspelling("barri\u00e8re", "bar"),
    ]


def test_a_list_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot read the misspellings"):
        read_misspellings(tmp_path / "nothing.txt")
    (tmp_path / "latin.txt").write_bytes(b"na\xefve")
    with pytest.raises(UserError, match="Cannot read the misspellings"):
        read_misspellings(tmp_path / "latin.txt")


def test_what_can_be_asked_of_a_keyboard() -> None:
    near, far, strange = (
        Misspelling("Recieve", "receive"),
        Misspelling("rcve", "receive"),
        Misspelling("zzyzs", "zzyzx"),
    )
    everything = [near, far, strange]
    fitting, grading = (gradable(everything, lambda word: word != "zzyzx", part) for part in PARTS)
    assert fitting + grading == [near]
    assert gradable([near], lambda word: True, part_of("receive")) == [near]


def test_a_word_is_on_one_side_whatever_its_case() -> None:
    words = [f"word{number}" for number in range(400)]
    assert all(part_of(word) == part_of(word.upper()) for word in words)
    sides = Counter(map(part_of, words))
    assert set(sides) == {"fitting", "grading"}
    assert sides["grading"] == pytest.approx(200, abs=40)


@pytest.mark.skipif(installed_misspellings() is None, reason="nlpaug is not installed")
def test_the_installed_list_is_one() -> None:
    path = installed_misspellings()
    assert path is not None
    pairs = read_misspellings(path)
    assert len(pairs) > 40_000
    assert len(set(pairs)) == len(pairs)
    meant = [
        {pair.meant for pair in gradable(pairs[:4000], lambda word: True, part)}
        for part in ("fitting", "grading")
    ]
    assert all(len(words) > 300 for words in meant)
    assert not meant[0] & meant[1]


def test_where_nlpaug_is_missing_there_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert installed_misspellings() is None
