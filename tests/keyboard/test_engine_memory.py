"""What the owner taught, through the engine: offered, corrected by, taken back, forgotten, and safe in its
file."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedkey import Engine
from fedkey.engine import Accepted
from fedkey.errors import UserError
from fedkey.explanation import Verdict
from fedkey.personal import LearnedWord


@pytest.fixture
def open_engine(tiny_bundle: Path) -> Iterator[Callable[..., Engine]]:
    """Opens engines on the bundle, and closes them in the end."""
    opened: list[Engine] = []

    def open_(memory: Path | None = None) -> Engine:
        opened.append(Engine.open(tiny_bundle, memory=memory))
        return opened[-1]

    yield open_
    for engine in opened:
        engine.close()


@pytest.fixture
def engine(open_engine: Callable[..., Engine]) -> Engine:
    """With a memory that nothing else sees."""
    return open_engine()


def write(engine: Engine, text: str, context: str = "") -> str:
    """Types words one by one and ends each with a space; returns the context after them."""
    for word in text.split():
        engine.accept(context, word, word)
        context += f"{word} "
    return context


def learned(engine: Engine) -> set[str]:
    return {each.word for each in engine.words_learned()}


# ---------------------------------------------------------------------------------------------- offering


def test_a_learned_word_is_offered_on_the_next_key(engine: Engine) -> None:
    assert "Zorblax" not in engine.suggest("see you ", "z", 5).words
    engine.learn("Zorblax")
    for typed in ("z", "zo", "Zorb", "zorblax"):
        assert "Zorblax" in engine.suggest("see you ", typed, 5).words
    assert engine.suggest("see you ", "zorb").words[0] == "Zorblax"
    assert engine.suggest("see you ", "ZORB").words[0] == "ZORBLAX"


def test_a_word_taken_or_typed_twice_is_known(engine: Engine) -> None:
    engine.accept("see ", "zwibidi", "zwibidi")
    assert not engine.knows("zwibidi")
    engine.accept("the ", "Zwibidi", "zwibidi")
    assert engine.knows("Zwibidi")
    assert "zwibidi" in engine.suggest("you ", "zwib", 5).words
    engine.accept("see ", "zor", "zorblax")
    assert engine.knows("zorblax")


def test_what_was_written_once_comes_up_where_it_was_written(engine: Engine) -> None:
    for typed in ("", "c"):
        assert "chocolate" not in engine.suggest("please bring ", typed).words
    write(engine, "please bring chocolate")
    assert "chocolate" in engine.suggest("please bring ", "").words
    assert engine.suggest("please bring ", "c").words[0] == "chocolate"
    assert "chocolate" not in engine.suggest("please bring ", "c", private=True).words


def test_a_mistyped_word_of_ones_own_is_offered(engine: Engine) -> None:
    for typed in ("zorblxa", "zrblax", "zorbblax", "xorblax"):
        assert "Zorblax" not in engine.suggest("see you ", typed).words
    engine.learn("Zorblax")
    for typed in ("zorblxa", "zrblax", "zorbblax", "xorblax"):
        assert "zorblax" in {word.lower() for word in engine.suggest("see you ", typed).words}


def test_the_owners_way_to_write_a_word_wins(engine: Engine) -> None:
    assert engine.suggest("so ", "i").autocorrect == "I"
    engine.learn("chocolatE")
    assert "chocolatE" in engine.suggest("some ", "choc").words
    assert engine.suggest("some ", "chocolate").autocorrect == "chocolatE"
    engine.learn("i")
    assert engine.suggest("so ", "i").autocorrect is None


def test_in_private_no_capital_shows_that_was_taught(engine: Engine) -> None:
    for word in ("LOL", "Marnix", "monday"):
        engine.learn(word)
        assert engine.suggest("hey ", word.lower()).autocorrect == (None if word.islower() else word)
    for typed in ("lol", "marnix"):
        answer = engine.suggest("hey ", typed, private=True)
        assert answer.autocorrect is None
        assert typed not in {word.lower() for word in answer.words}
        assert engine.explain("hey ", typed, private=True).verdict is Verdict.KNOWN
    assert engine.suggest("on ", "monday", private=True).autocorrect is None


def test_emoji_and_several_words_may_be_taken(engine: Engine) -> None:
    engine.accept("hi ", "", "👍🏽")
    assert learned(engine) == set()
    engine.accept("see ", "", "zorblax or zwibidi")
    assert learned(engine) == {"zorblax", "or", "zwibidi"}


# -------------------------------------------------------------------------------------------- correcting


@pytest.mark.parametrize("typed", ["tomorow", "teh", "dont", "thnaks"])
def test_what_is_known_is_not_corrected(engine: Engine, typed: str) -> None:
    assert engine.suggest("", typed).autocorrect is not None
    engine.learn(typed)
    assert engine.suggest("", typed).autocorrect is None
    assert engine.suggest("", typed, private=True).autocorrect is None
    assert engine.forget(typed)
    assert engine.suggest("", typed).autocorrect is not None


def test_what_was_taken_back_is_unlearned_and_the_letters_are_learned(engine: Engine) -> None:
    accepted = engine.accept("see you ", "tomorow", "tomorrow")
    assert learned(engine) == {"tomorrow"}
    engine.undo(accepted)
    assert learned(engine) == {"tomorow"}
    assert not engine.knows("tomorow")
    assert engine.suggest("see you ", "tomorow").autocorrect is None
    assert engine.suggest("good ", "tomorow").autocorrect == "tomorrow"
    engine.accept("good ", "tomorow", "tomorow")
    assert engine.knows("tomorow")
    assert engine.suggest("it is ", "tomorow").autocorrect is None
    assert [each.is_pinned for each in engine.words_learned("tomorow")] == [True]


def test_letters_that_were_brought_back_count_once_and_again_when_they_come_again(engine: Engine) -> None:
    engine.undo(engine.accept("", "thnaks", "thanks"))
    engine.accept("", "thnaks", "thnaks")
    assert not engine.knows("thnaks")
    engine.accept("", "thnaks", "thnaks")
    assert engine.knows("thnaks")


def test_what_was_taken_back_stays_so_in_each_of_many_places(engine: Engine) -> None:
    places = [f"{'a ' * count}so " for count in range(10)]
    words = [f"tomorow{'abcdefghij'[count]}" for count in range(10)]
    for place, word in zip(places, words, strict=True):
        engine.undo(engine.accept(place, word, "tomorrow", private=True))
    for place, word in zip(places, words, strict=True):
        assert engine.explain(place, word).verdict is Verdict.KEPT
        assert engine.suggest(place, word).autocorrect is None
    engine.take_back(places[3], words[3])
    assert engine.explain(places[3], words[3]).verdict is not Verdict.KEPT


def test_who_brings_a_word_without_its_apostrophe_back_twice_is_obeyed(engine: Engine) -> None:
    corrected = [engine.suggest("", "its", private=private).autocorrect for private in (False, True)]
    assert corrected == ["it's", "it's"]
    engine.accept("", "its", "its")
    assert engine.suggest("", "its").autocorrect == "it's", "who writes it so now and then may mean either"
    engine.undo(engine.accept("", "its", "it's"))
    assert engine.suggest("", "its").autocorrect is None
    engine.undo(engine.accept("well, ", "its", "it's"))
    assert engine.suggest("so ", "its").autocorrect is None


def test_a_word_that_the_lexicon_has_is_no_word_of_ones_own_however_it_was_learned(engine: Engine) -> None:
    for word in ("London", "Zorblax", "teh"):
        engine.learn(word)
    with engine.memory() as memory:
        memory.edit("teh", "the")
    own = engine._owner._own_words(engine._personal.known_words()).words
    assert own == {"zorblax"}


def test_an_older_correction_is_taken_back_and_the_letters_are_learned(engine: Engine) -> None:
    first = engine.accept("see you ", "tomorow", "tomorrow")
    engine.accept("see you tomorrow ", "at", "at")
    engine.undo(first)
    assert counts(engine) == {"tomorow": 1, "at": 1}
    assert engine.suggest("see you ", "tomorow").autocorrect is None
    engine.undo(first)
    engine.accept("see you ", "tomorow", "tomorow")  # it is finished once more, and was counted already
    assert counts(engine) == {"tomorow": 1, "at": 1}
    # The second time everywhere, as if it had been taken back at once.
    second = engine.accept("good ", "tomorow", "tomorrow")
    engine.accept("good tomorrow ", "then", "then")
    engine.undo(second)
    assert engine.suggest("it is ", "tomorow").autocorrect is None
    assert [each.is_pinned for each in engine.words_learned("tomorow")] == [True]


def test_mending_that_is_taken_back_late_remembers_what_was_mended(engine: Engine) -> None:
    write(engine, "see you latr")
    mended = mend(engine, "see you ", "latr", "later")
    engine.accept("see you later ", "then", "then")
    engine.undo(mended)
    assert counts(engine) == {"see": 1, "you": 1, "latr": 1, "then": 1}


@pytest.mark.parametrize(("typed", "put"), [("", "🙂"), ("", "42"), ("42", "42"), ("ca", "🐈")])
def test_taking_back_what_teaches_nothing_leaves_the_word_before_it(
    engine: Engine, typed: str, put: str
) -> None:
    write(engine, "see zorb")
    before = engine.words_learned()
    engine.undo(engine.accept("see zorb ", typed, put))
    assert [each for each in engine.words_learned() if each.word != "ca"] == before


def test_half_an_address_that_is_a_number_leaves_the_word_before_it(engine: Engine) -> None:
    write(engine, "see zorb 42")
    engine.suggest("see zorb 42@", "h")
    assert learned(engine) == {"see", "zorb"}


def test_words_that_were_accepted_one_by_one_are_taken_back_one_by_one(engine: Engine) -> None:
    write(engine, "we are")
    before = engine.words_learned()
    accepted = [engine.accept("we are ", "lo", "looking")]
    accepted.append(engine.accept("we are looking ", "", "forward"))
    accepted.append(engine.accept("we are looking forward ", "", "to"))
    for each in reversed(accepted):
        engine.undo(each)
    assert engine.words_learned() == before


def test_letters_whose_completion_was_taken_back_are_remembered_once_they_are_a_word(engine: Engine) -> None:
    engine.undo(engine.accept("see ", "zor", "zorblax"))
    assert learned(engine) == set()
    engine.accept("see ", "zor", "zor")
    assert counts(engine) == {"zor": 1}


def test_what_was_taken_back_privately_is_remembered_when_it_is_typed_openly(engine: Engine) -> None:
    engine.undo(engine.accept("see ", "wrld", "world", private=True))
    assert learned(engine) == set()
    engine.accept("see ", "wrld", "wrld")
    assert counts(engine) == {"wrld": 1}


def test_a_completion_that_was_taken_by_mistake_leaves_its_beginning_to_be_corrected(engine: Engine) -> None:
    for typed, put, corrected in (("i", "is", "I"), ("tomorow", "tomorowing", "tomorrow")):
        assert engine.suggest("well ", typed).autocorrect == corrected
        engine.undo(engine.accept("well ", typed, put))
        assert engine.suggest("well ", typed).autocorrect == corrected
        engine.undo(engine.accept("well ", typed, corrected))
        assert engine.suggest("well ", typed).autocorrect is None


def test_taking_back_a_completion_unlearns_it(engine: Engine) -> None:
    accepted = engine.accept("see you ", "tom", "tomorrow")
    engine.undo(accepted)
    assert "tomorrow" not in learned(engine)
    engine.undo(accepted)
    assert "tomorrow" not in learned(engine)


@pytest.mark.parametrize(("typed", "taken"), [("seeyou", "see you"), ("th", "thank you, see you later")])
def test_all_words_that_were_taken_together_are_taken_back(engine: Engine, typed: str, taken: str) -> None:
    context = write(engine, "thank them and see us ")
    before = engine.words_learned()
    accepted = engine.accept(context, typed, taken)
    assert engine.words_learned() != before
    engine.undo(accepted)
    after = [each for each in engine.words_learned() if each.word != typed]
    assert after == before


def test_the_half_of_an_address_before_its_sign_is_taken_back(engine: Engine) -> None:
    engine.accept("mail me at ", "joe", "joe")
    assert learned(engine) == {"joe"}
    engine.suggest("mail me at joe@", "h")
    assert learned(engine) == set()
    engine.accept("mail me at joe@", "home", "home")
    engine.accept("mail me at joe@home.", "org", "org")
    assert learned(engine) == set()
    engine.accept("mail me at joe@home.org or ", "jane", "jane")
    assert learned(engine) == {"jane"}


@pytest.mark.parametrize(
    ("before", "word", "behind", "left"),
    [
        ("see ", "zorblaxe", ".com", set()),
        ("", "Zorb", "1234", set()),
        ("see ", "zorblaxe", ". com", {"zorblaxe", "com"}),
        ("", "so", "... then", {"so", "then"}),
        ("", "and", "/or", {"and"}),
        ("", "see", " 42", {"see"}),
    ],
)
def test_a_word_that_becomes_the_beginning_of_a_link_or_a_number_is_taken_back(
    engine: Engine, before: str, word: str, behind: str, left: set[str]
) -> None:
    engine.accept(before, word, word)
    last = behind.lstrip("./ ")
    engine.accept(f"{before}{word}{behind.removesuffix(last)}", last, last)
    assert learned(engine) == left


def test_what_became_an_address_and_is_deleted_is_not_taken_back_twice(engine: Engine) -> None:
    write(engine, "you you")
    engine.accept("see ", "you", "you")
    engine.accept("see you.", "can", "can")
    assert counts(engine) == {"you": 2}
    engine.take_back("see ", "you")
    assert counts(engine) == {"you": 2}
    engine.accept("see ", "you", "you")
    engine.take_back("see ", "you")
    engine.take_back("you ", "you")
    assert counts(engine) == {"you": 1}


def test_a_sign_elsewhere_takes_nothing_back(engine: Engine) -> None:
    engine.accept("mail me at ", "home", "home")
    engine.suggest("mail me at home ", "@")
    engine.suggest("mail me at home @", "joe")
    engine.suggest("tell me@", "joe")
    assert learned(engine) == {"home"}


@pytest.mark.parametrize(
    ("context", "word"),
    [
        ("", "5551234"), ("", "hunter2"), ("", "me@home.org"), ("see ", "https://a.b/c"), ("a/", "home"),
        ("see https://", "home"), ("", "x" * 33), ("", "pAsSwOrDx"), ("", ""), ("", "?!"), ("", "\ue000"),
        ("", "Zarquon1987"), ("", "swordfish12345"), ("", "QQ123456C"), ("", "zebedee4821@example"),
        ("", "zebedee@gmail"), ("key sk-", "abcDEFghijk"), ("my password is ", "swordfish"),
        ("pw: correct horse ", "battery"), ("the code is ", "zorblax"),
    ],
)  # fmt: skip
def test_secrets_are_not_remembered(engine: Engine, context: str, word: str) -> None:
    engine.undo(engine.accept(context, "swordfsh", word))
    engine.forget("swordfsh")
    engine.accept(context, word, word)
    assert learned(engine) == set()


def test_a_secret_that_was_not_remembered_is_not_taken_back(engine: Engine) -> None:
    context = write(engine, "swordfish so my password is")
    before = engine.words_learned()
    engine.accept(context, "swordfish", "swordfish")
    engine.take_back(context, "swordfish")
    engine.accept(context, "swordfish", "zorblax", told_after=context)
    engine.undo(engine.accept(context, "swordfsh", "swordfish"))
    assert engine.words_learned() == before
    assert engine.suggest(context, "swordfsh").autocorrect is None


# -------------------------------------------------------------------------------------------- forgetting


def test_a_forgotten_word_is_gone_from_answers_and_from_the_file(
    open_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    path = tmp_path / "memory.sqlite"
    engine = open_engine(path)
    for _ in range(2):
        write(engine, "meet zorblax please")
    engine.learn("zorblax")
    for typed in ("", "z", "zorblxa"):
        assert "zorblax" in engine.suggest("meet ", typed, 5).words
    assert b"zorblax" in b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert engine.forget("ZORBLAX")
    assert not engine.forget("zorblax")
    for typed in ("", "z", "zorblxa"):
        assert "zorblax" not in engine.suggest("meet ", typed, 5).words
    assert not engine.knows("zorblax")
    assert learned(engine) == {"meet", "please"}
    assert b"zorblax" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())


def test_forgetting_cannot_be_undone_by_taking_a_word_back(engine: Engine) -> None:
    accepted = engine.accept("meet ", "zor", "zorblax")
    engine.forget("zorblax")
    engine.undo(accepted)
    assert "zorblax" not in learned(engine)


def test_only_words_can_be_learned(engine: Engine) -> None:
    for word in ("", " ", "two words", "?", "😀", "a-b", "x" * 65):
        with pytest.raises(UserError, match="Only single words"):
            engine.learn(word)
    assert engine.words_learned() == []


def test_the_list_of_words_says_what_is_known_of_each(engine: Engine) -> None:
    write(engine, "see Zorblax")
    engine.learn("zwibidi")
    told = {each.word: each for each in engine.words_learned()}
    assert told["see"].is_known
    assert not told["Zorblax"].is_known
    assert told["zwibidi"].is_pinned
    assert [each.word for each in engine.words_learned("ORB")] == ["Zorblax"]
    assert isinstance(told["see"], LearnedWord)


# ----------------------------------------------------------------------------------------------- the file


def test_a_memory_outlives_the_engine(open_engine: Callable[..., Engine], tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    first = open_engine(path)
    for _ in range(3):
        write(first, "please bring chocolate to Zorblax")
    expected = [first.suggest("please bring ", typed) for typed in ("", "c", "z", "zorblxa")]
    first.close()
    second = open_engine(path)
    found = [second.suggest("please bring ", typed) for typed in ("", "c", "z", "zorblxa")]
    assert [(each.words, each.log_probs) for each in found] == [
        (each.words, each.log_probs) for each in expected
    ]
    assert second.notice is None


def test_two_engines_share_no_memory(open_engine: Callable[..., Engine], tmp_path: Path) -> None:
    one, other, third = open_engine(), open_engine(), open_engine(tmp_path / "memory.sqlite")
    one.learn("Zorblax")
    write(third, "zwibidi zwibidi")
    untouched = open_engine()
    for engine in (other, third):
        assert not engine.knows("zorblax")
    for engine in (one, other):
        assert not engine.knows("zwibidi")
    for typed in ("", "z", "zwi"):
        answer, expected = other.suggest("see ", typed), untouched.suggest("see ", typed)
        assert (answer.words, answer.log_probs) == (expected.words, expected.log_probs)


def test_two_engines_may_have_one_file_open(open_engine: Callable[..., Engine], tmp_path: Path) -> None:
    one, other = open_engine(tmp_path / "memory.sqlite"), open_engine(tmp_path / "memory.sqlite")
    one.learn("Zorblax")
    assert other.knows("zorblax")
    assert "Zorblax" in other.suggest("see ", "zor").words
    accepted = one.accept("see you ", "tomorow", "tomorrow")
    other.learn("zwibidi")
    one.undo(accepted)
    assert {"zwibidi", "Zorblax"} <= learned(one)


def test_a_busy_memory_is_told_of_and_keeps_nobody_from_typing(
    open_engine: Callable[..., Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedkey.personal_store.BUSY_SECONDS", 0.05)
    engine = open_engine(tmp_path / "memory.sqlite")
    first = engine.accept("", "wrld", "world")
    other = sqlite3.connect(tmp_path / "memory.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for tell in (
        lambda: engine.accept("world ", "is", "is"),
        lambda: engine.undo(first),
        lambda: engine.take_back("", "world"),
    ):
        engine.notice = None
        tell()
        assert engine.notice is not None
        assert "busy; nothing in it was changed" in engine.notice
        assert learned(engine) == {"world"}
    # Who wishes something of the memory is told at once that it was not done.
    for wish in (engine.learn, engine.forget):
        with pytest.raises(UserError, match="busy"):
            wish("zorblax")
    other.execute("ROLLBACK")
    other.close()
    engine.undo(first)
    assert learned(engine) == {"wrld"}


def test_an_offensive_word_of_ones_own_is_offered_when_it_is_typed_out_alone(engine: Engine) -> None:
    lexicon = engine.lexicon
    offensive = {lexicon.key(number) for number in range(len(lexicon)) if lexicon.is_offensive(number)}
    word = next(each for each in sorted(offensive) if len(each) > 4 and each.isalpha())
    for _ in range(3):
        engine.accept("you ", word, word)
    typed = word[0] + word[2] + word[1] + word[3:]
    for letters in (typed, word[:-1], ""):
        assert word not in {each.lower() for each in engine.suggest("you ", letters, 5).words}


def test_many_letters_leave_nothing_behind(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedkey.owner.MAX_NUMBERS", 8)
    for number in range(20):
        engine.suggest("see ", f"z{chr(97 + number)}q")
    assert len(engine._owner._numbers) <= 8


def test_what_cannot_be_a_memory_is_one_sentence(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError) as refused:
        Engine.open(tiny_bundle, memory=tmp_path / "folder")
    assert "\n" not in str(refused.value)


def test_a_damaged_memory_is_set_aside_and_told(open_engine: Callable[..., Engine], tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite"
    open_engine(path).close()
    path.write_bytes(path.read_bytes()[:3000])
    engine = open_engine(path)
    assert engine.notice is not None
    assert engine.words_learned() == []
    engine.learn("Zorblax")
    engine.close()
    assert open_engine(path).knows("zorblax")


TYPIST = """
import sys
from pathlib import Path
from fedkey import Engine
from fedkey.engine import Accepted

engine = Engine.open(sys.argv[1], memory=Path(sys.argv[2]))
assert engine.notice is None
context = ""
for number in range(10**6):
    word = "".join(chr(97 + int(digit)) for digit in str(number)) + sys.argv[3]
    accepted = engine.accept(context, word[:1], word)
    if number % 5 == 4:
        engine.undo(accepted)
    context = f"{context[-60:]}{word} "
    print(number, flush=True)
"""


def test_a_kill_between_words_leaves_a_memory_that_opens(
    tiny_bundle: Path, open_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    path = tmp_path / "memory.sqlite"
    rng = random.Random(2)
    total = 0
    for name in ("xa", "xb"):
        typist = subprocess.Popen(
            [sys.executable, "-c", TYPIST, str(tiny_bundle), str(path), name],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert typist.stdout is not None
        wanted, last = rng.randrange(50, 120), -1
        for line in typist.stdout:
            last = int(line)
            if last == wanted:
                typist.send_signal(signal.SIGKILL)
        assert typist.wait() == -signal.SIGKILL
        typist.stdout.close()
        engine = open_engine(path)
        assert engine.notice is None
        words = {each.word for each in engine.words_learned(name)}
        # Each fifth word was taken back, and of it only its first letter was learned.
        num_done = last + 1 - (last + 1) // 5
        assert num_done <= len(words) <= num_done + 1
        total += len(words)
        assert len([word for word in learned(engine) if len(word) > 1]) == total
        assert engine.suggest("", f"b{name}"[:3], 5).words
        engine.close()


# ----------------------------------------------------------------------------------------------- mending


def mend(engine: Engine, before: str, old: str, new: str, after: str = "") -> Accepted:
    """Puts a word in place of one that was written, as a keyboard tells of it."""
    return engine.accept(before, old, new, after=after, told_after=before)


def test_a_mistake_that_is_mended_is_never_learned(engine: Engine) -> None:
    for _ in range(3):
        write(engine, "see you latr now")
        mend(engine, "see you ", "latr", "later", " now")
    assert "latr" not in learned(engine)
    assert not engine.knows("latr")
    assert {each.word: each.count for each in engine.words_learned()}["later"] == 3


def test_mending_that_is_taken_back_leaves_the_memory_as_it_was(engine: Engine) -> None:
    write(engine, "see you latr now")
    before = engine.words_learned()
    engine.undo(mend(engine, "see you ", "latr", "later", " now"))
    assert engine.words_learned() == before
    engine.accept("see you ", "latr", "latr")  # it is finished once more, and was remembered already
    assert engine.words_learned() == before


def test_a_word_that_was_not_told_of_is_not_taken_back(engine: Engine) -> None:
    write(engine, "form")
    engine.accept("it came ", "form", "from", after=" there")
    assert {"form", "from"} <= learned(engine)


def test_mending_privately_changes_nothing(engine: Engine) -> None:
    write(engine, "see you latr")
    before = engine.words_learned()
    engine.accept("see you ", "latr", "later", told_after="see you ", private=True)
    assert engine.words_learned() == before


def counts(engine: Engine) -> dict[str, int]:
    return {each.word: each.count for each in engine.words_learned()}


def test_a_word_that_does_not_stand_any_more_is_remembered_once_less(engine: Engine) -> None:
    write(engine, "see you latr")
    before = engine.words_learned()
    write(engine, "see you later")
    engine.take_back("see ", "you")
    engine.take_back("see you ", "later")
    engine.take_back("", "see")
    assert engine.words_learned() == before
    engine.take_back("see you ", "latr")
    engine.take_back("see you ", "latr")  # it is not there
    assert counts(engine) == {"see": 1, "you": 1}


def test_a_mistake_that_is_changed_by_hand_again_and_again_is_never_known(engine: Engine) -> None:
    for _ in range(3):
        write(engine, "see you latr")
        engine.take_back("see you ", "latr")
        engine.accept("see you ", "later", "later")
        assert not engine.knows("latr")
    assert counts(engine)["later"] == 3


def test_a_word_that_stood_because_its_correction_was_taken_back_goes_and_comes_again(engine: Engine) -> None:
    engine.undo(engine.accept("so ", "wrld", "world"))
    engine.accept("so ", "wrld", "wrld")
    assert counts(engine) == {"wrld": 1}
    engine.take_back("so ", "wrld")
    assert counts(engine) == {}
    engine.accept("so ", "wrld", "wrld")
    assert counts(engine) == {"wrld": 1}


def test_a_word_that_was_taken_back_leaves_the_file(
    open_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    engine = open_engine(tmp_path / "memory.sqlite")
    write(engine, "see zorblax now")
    engine.take_back("see ", "zorblax")
    mistaken = engine.accept("see now ", "quib", "quibble")
    write(engine, "then", "see now ")
    engine.undo(mistaken)
    engine.accept("mail ", "flugtag", "flugtag")
    engine.suggest("mail flugtag@", "h")
    bytes_of_all = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert not any(word in bytes_of_all for word in (b"zorblax", b"quibble", b"flugtag"))
    assert learned(engine) == {"see", "now", "then"}


def test_only_what_was_remembered_is_taken_back(engine: Engine) -> None:
    write(engine, "bob")
    engine.accept("anna@", "bob", "bob")
    engine.take_back("anna@", "bob")
    assert counts(engine) == {"bob": 1}


def test_what_was_accepted_before_a_word_is_taken_back_can_be_undone_after(engine: Engine) -> None:
    write(engine, "see latr")
    taken = engine.accept("see latr ", "n", "now")
    engine.take_back("see ", "latr")
    engine.undo(taken)
    assert counts(engine) == {"see": 1}
