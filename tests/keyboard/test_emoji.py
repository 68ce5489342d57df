"""Emoji for the last word or phrase: what people expect, and silence everywhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.emoji import SAYINGS, UNSAID, EmojiFinder

DATA: dict[str, list[str]] = json.loads(files("em").joinpath("emojis.json").read_text("utf-8"))
FINDER = EmojiFinder()

# What is written | the emoji offered, best first; nothing for none.
GOLDEN = """
pizza                     | 🍕
I had pizza               | 🍕
PIZZA                     | 🍕
Pizzas                    | 🍕
pizzaaaa                  | 🍕
"pizza                    | 🍕
#pizza                    | 🍕
pizza!                    | 🍕
pizza?!                   | 🍕
pizza...                  | 🍕
pizza…                    | 🍕
happy birthday            | 🎂 🎉
Happy Birthday!!          | 🎂 🎉
birthday                  | 🎂 🎉
happy                     | 😊 😄
so happy                  | 😊 😄
love                      | ❤️ 😍
I love you                | ❤️ 😘
i love you too            | ❤️ 😘
sooo happy                | 😊 😄
looove                    | ❤️ 😍
miss you                  | 🥺 ❤️
good night                | 😴 🌙
goood night               | 😴 🌙
last night                | 🌙
good morning              | ☀️ 😊
morning                   | ☀️
thumbs up                 | 👍
thumbs-up                 | 👍
fingers crossed           | 🤞
lol                       | 😂 🤣
lololol                   | 😂 🤣
LOOOOL                    | 😂 🤣
haha                      | 😂 🤣
hahahahaha                | 😂 🤣
bahahaha                  | 😂 🤣
lmaooo                    | 😂 🤣
hehe                      | 😄 😁
thanks                    | 🙏 ❤️
thank you                 | 🙏 ❤️
congrats                  | 🎉 👏
congratulations           | 🎉 👏
well done                 | 👏
sad                       | 😢 😭
crying                    | 😭 😢
can't wait                | 🤩 🎉
omggg                     | 😱 😂
hmmm                      | 🤔
party                     | 🎉 🥳
parties                   | 🎉 🥳
fire                      | 🔥
coffee                    | ☕
beers                     | 🍺 🍻
ice cream                 | 🍦 🍨
hot dog                   | 🌭
cats                      | 🐱 🐈
dog                       | 🐶 🐕
guinea pig                | 🐹
foxes                     | 🦊
cherries                  | 🍒
tomatoes                  | 🍅
crickets                  | 🦗
t-shirt                   | 👕
1st place medal           | 🥇
six o'clock               | 🕕
valentine's day           | 💘 ❤️
germany                   | 🇩🇪
New Zealand               | 🇳🇿
USA                       | 🇺🇸
england                   | 🏴󠁧󠁢󠁥󠁮󠁧󠁿
turkey                    | 🦃 🇹🇷
poop                      | 💩
peach                     | 🍑
nurse                     | 🧑‍⚕️
virus                     | 🦠
jack-o-lantern            | 🎃
picnic                    | 🧺
chocolate                 | 🍫
not happy                 |
not very happy            |
never been so happy       | 😊 😄
don't love                |
I don't know lol          | 😂 🤣
no, pizza                 | 🍕
no problem                | 👍
the                       |
is                        |
it                        |
in                        |
us                        |
on                        |
up                        |
ok                        |
you                       |
well                      |
he'll                     |
she'll                    |
we'll                     |
I'll                      |
rates                     |
ties                      |
hates                     |
this                      |
his                       |
keycap 10                 |
does                      |
news                      |
man                       |
standard                  |
watch                     |
may                       |
can                       |
jordan                    |
gun                       |
pistol                    |
bomb                      |
kill                      |
cancer                    |
funeral                   |
middle finger             |
sexy                      |
pizza's                   |
pizza,                    |
pizza:                    |
pizza 🍕                  |
pizza🍕                   |
pizza :)                  |
pizza 12                  |
(pizza)                   |
good, night               | 🌙
non-pizza                 |
my/pizza                  |
www.pizza                 |
me@pizza.com              |
@pizza                    |
"""
CASES = [tuple(part.strip() for part in line.split("|")) for line in GOLDEN.strip().splitlines()]


@pytest.mark.parametrize(("written", "expected"), CASES)
def test_what_people_expect(written: str, expected: str) -> None:
    assert FINDER.find(written + " ") == tuple(expected.split())


def test_every_saying_brings_its_emoji() -> None:
    for line in SAYINGS.strip().splitlines():
        emoji, phrases = line.split(": ")
        for phrase in phrases.split(", "):
            assert FINDER.find(f"{phrase} ", k=9) == tuple(emoji.split()), phrase
        assert set(emoji.split()) <= DATA.keys()


def test_what_is_left_unsaid_are_names_that_would_bring_emoji() -> None:
    names = {name.replace("_", " ") for name, *_ in DATA.values()}
    names |= {name.removeprefix("flag ").removesuffix(" face") for name in names}
    assert names >= UNSAID


@pytest.mark.parametrize(
    "text", ["pizza", "I had pizza", "happy birthd", "", "\n", "pizza\n", "pizza \n", "pizza-"]
)
def test_nothing_before_a_word_has_ended(text: str) -> None:
    assert FINDER.find(text) == ()


def test_a_full_stop_an_exclamation_or_a_question_mark_ends_a_word_without_a_space() -> None:
    assert {FINDER.find(f"pizza{end}") for end in ".!?…"} == {("🍕",)}


def test_only_the_last_message_counts() -> None:
    assert FINDER.find("good\nnight ") == FINDER.find("night ") != FINDER.find("good night ")
    assert FINDER.find("pizza 🍕\nbeer ") == ("🍺", "🍻")


def test_at_most_as_many_as_wanted() -> None:
    assert FINDER.find("happy birthday ", k=1) == ("🎂",)
    assert FINDER.find("happy birthday ", k=0) == FINDER.find("happy birthday ", k=-1) == ()


def test_a_long_line_is_cut_between_words() -> None:
    assert FINDER.find("well " * 1000 + "good night ") == ("😴", "🌙")
    assert FINDER.find("x" * 1000 + "pizza" + "!" * 195) == ()
    assert FINDER.find("x" * 1000 + " pizza ") == ("🍕",)


def test_no_term_of_the_data_brings_a_gesture_a_weapon_or_a_skin_tone() -> None:
    terms = {term.replace("_", " ") for listed in DATA.values() for term in listed}
    offered = {emoji for term in terms for emoji in FINDER.find(f"{term} ", k=9)}
    assert len(offered) > 1000
    assert not offered & {"🖕", "🔫", "💣", "🗡️", "⚰️", "🔪"}
    assert not {chr(tone) for tone in range(0x1F3FB, 0x1F400)} & set("".join(offered))


WORDS = st.sampled_from([word for written, _ in CASES for word in written.split()])
TEXTS = st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=6).map(" ".join) | st.text()


@given(text=TEXTS, end=st.sampled_from(["", " ", "!", "\u00a0", ". "]), k=st.integers(-2, 5))
def test_any_text_is_taken_and_every_answer_is_an_emoji_of_the_data(text: str, end: str, k: int) -> None:
    found = FINDER.find(text + end, k)
    assert len(found) <= max(k, 0)
    assert len(set(found)) == len(found)
    assert set(found) <= DATA.keys()
    assert found == EmojiFinder().find(text + end, k)


@given(written=st.lists(WORDS, min_size=1, max_size=4).map(" ".join))
def test_capitals_make_no_difference(written: str) -> None:
    expected = FINDER.find(written.lower() + " ")
    assert FINDER.find(written.upper() + " ") == FINDER.find(written.title() + " ") == expected


@given(text=st.text(), written=st.sampled_from(CASES))
def test_earlier_messages_make_no_difference(text: str, written: tuple[str, str]) -> None:
    assert FINDER.find(f"{text}\n{written[0]} ") == tuple(written[1].split())


def test_the_command_that_comes_with_the_data_is_not_loaded() -> None:
    code = (
        "import sys\n"
        "from fedkey.emoji import EmojiFinder\n"
        "finder = EmojiFinder()\n"
        "assert finder.find('pizza ')\n"
        "print(*(sorted({'em.cli', 'argparse', 'pyperclip', 'numpy'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
