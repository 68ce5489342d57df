"""Whoever looks for an emoji finds it, and near the top."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.emoji import emoji_of_sayings, emoji_terms, spoken
from fedkey.emoji_search import MANY, named, search

NAMES = [spoken(name) for name, *_ in emoji_terms().values()]


@pytest.mark.parametrize(
    ("query", "emoji"),
    [
        ("lol", "😂"),
        ("thanks", "🙏"),
        ("pizza", "🍕"),
        ("piz", "🍕"),
        ("heart", "❤️"),
        ("red heart", "❤️"),
        ("heart red", "❤️"),
        ("blue h", "💙"),
        ("cat", "🐈"),
        ("fire", "🔥"),
        ("thumbs", "👍"),
        ("THUMBS UP", "👍"),
        ("rofl", "🤣"),
        ("party", "🎉"),
        ("germany", "🇩🇪"),
        ("o'clock six", "🕕"),
        ("can't wait", "🤩"),
        ("shrug", "🤷"),
        ("coffee", "☕"),
        ("🍕", "🍕"),
    ],
)
def test_what_people_look_for_comes_first(query: str, emoji: str) -> None:
    assert search(query)[0].emoji == emoji


def test_without_a_query_come_those_that_people_use_and_then_all_others() -> None:
    found = search("", k=5000)
    assert sorted(each.emoji for each in found) == sorted(emoji_terms())
    used = {emoji for choices in emoji_of_sayings().values() for emoji in choices}
    assert {each.emoji for each in found[: len(used)]} == used
    assert found[0].name == "face with tears of joy"


def test_keywords_are_found_behind_names() -> None:
    found = [each.emoji for each in search("animal")]
    assert len(found) == MANY
    assert "🐶" in found


@pytest.mark.parametrize("query", ["zzyzx", "pizza zzyzx", "!?", "🍕🍕"])
def test_nothing_is_found_where_nothing_is_meant(query: str) -> None:
    assert search(query) == []


@given(st.sampled_from(NAMES), st.data())
def test_every_emoji_is_found_by_its_name_and_by_the_beginnings_of_its_words(
    name: str, data: st.DataObject
) -> None:
    assert name in {each.name for each in search(name)}
    words = [word[: data.draw(st.integers(1, len(word)))] for word in name.replace("'", "").split()]
    found = search(" ".join(data.draw(st.permutations(words))), k=5000)
    assert name in {each.name for each in found}


@given(st.text(max_size=20))
def test_any_query_is_taken_and_no_emoji_comes_twice(query: str) -> None:
    found = [each.emoji for each in search(query)]
    assert len(found) == len(set(found)) <= MANY


def test_names_come_in_the_order_asked_for() -> None:
    assert [each.name for each in named(["🔥", "no emoji", "🍕"])] == ["fire", "pizza"]
