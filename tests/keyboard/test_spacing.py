"""A word that is deleted letter by letter: what stands around it keeps exactly one space."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from at_draft import KEYS, shown, type_keys
from hypothesis import assume, given
from hypothesis import strategies as st

from fedkey import draft as writing
from fedkey.draft import Draft, accept, backspace, insert, place, point, send, undo
from fedkey.spacing import closed_up
from fedkey.text import default_gap, is_word, join, units_with_places

BACK = "{back}" * 3
DEL = "{del}" * 3

GOLDEN = [
    # Each key deletes what it stands for, and the caret takes one space along.
    (f"one two three{{word left}}{{left}}{BACK}", "one | three"),
    (f"one two three{{word left}}{{left}}{BACK}{{left}}", "one| three"),
    (f"one two three{{word left}}{{left}}{BACK}{{right}}", "one |three"),
    (f"one two three{{word left}}{{left}}{BACK}{{end}}", "one three|"),
    (f"one two three{{word left}}{{left}}{BACK}{{top}}", "|one three"),
    (f"one two three{{word left}}{{left}}{BACK}{{word right}}", "one three|"),
    (f"one two three{{word left}}{{left}}{BACK}{{word left}}", "|one three"),
    (f"one two three{{word left}}{{word left}}{DEL}{{right}}{{right}}", "one t|hree"),
    (f"one two three{{word left}}{{word left}}{DEL}{{del}}{{end}}", "one three|"),
    (f"one two three{{word left}}{{left}}{BACK}{{back}}", "one| three"),
    (f"one two three{{word left}}{{left}}{BACK}{{back}}{{end}}", "one three|"),
    (f"one two three{{word left}}{{left}}{BACK}{{delete word}}", "|three"),
    (f"one two three{{word left}}{{left}}{BACK}{{delete word}}{{end}}", "three|"),
    ("one 🙂 three{word left}{left}{back}{end}", "one three|"),
    # What is written there instead finds both spaces, and no third one.
    (f"one two three{{word left}}{{left}}{BACK}too", "one too| three"),
    (f"one two three{{word left}}{{left}}{BACK} too", "one too| three"),
    (f"one two three{{word left}}{{left}}{BACK}too ", "one too |three"),
    (f"one two three{{word left}}{{left}}{BACK} too and ", "one too and |three"),
    (f"one two three{{word left}}{{left}}{BACK} ", "one |three"),
    (f"one two three{{word left}}{{left}}{BACK}  ", "one  |three"),  # meant so
    (f"one two three{{word left}}{{left}}{BACK}{{=too}}", "one too| three"),
    (f"one two three{{word left}}{{left}}{BACK}{{=too}}{{undo}}", "one | three"),
    (f"one two three{{word left}}{{left}}{BACK}{{=too}}{{undo}}{{end}}", "one three|"),
    (f"one two three{{word left}}{{left}}{BACK}{{=too}}{{end}}{{undo}}", "one three|"),
    (f"one two three{{word left}}{{left}}{BACK}{{=too}} so{{undo}}", "one so| three"),
    (f"one two three{{word left}}{{left}}{BACK}{{🙂}}", "one 🙂| three"),
    (f"one two three{{word left}}{{left}}{BACK},", "one,| three"),
    (f"one two three{{word left}}{{left}}{BACK},to", "one, to| three"),
    (f"one two three{{word left}}{{left}}{BACK}(to)", "one (to)| three"),
    (f"one two three{{word left}}{{left}}{BACK}- so", "one - so| three"),
    (f"one two three{{word left}}{{left}}{BACK}\n", "one\n|three"),
    (f"one two three{{word left}}{{left}}{BACK}x{{back}}{{end}}", "one three|"),
    # At the start of a text or a line, and behind brackets and quotes, no space is left.
    (f"one two{{word left}}{{left}}{BACK}", "| two"),
    (f"one two{{word left}}{{left}}{BACK}{{end}}", "two|"),
    (f"one two{{word left}}{{left}}{BACK} so", "so| two"),
    (f"one two{{word left}}{{left}}{BACK}\n", "\n|two"),
    (f"so\none two{{word left}}{{left}}{BACK}{{end}}", "so\ntwo|"),
    (f"so (one two{{word left}}{{left}}{BACK}{{end}}", "so (two|"),
    (f'so "one two{{word left}}{{left}}{BACK}{{end}}', 'so "two|'),
    (f"so ‘one two{{word left}}{{left}}{BACK}{{end}}", "so ‘two|"),
    # What would make another thing with the next word keeps its space.
    (f"so #one two{{word left}}{{left}}{BACK}{{end}}", "so # two|"),
    ("so #one two{word left}{left}{delete word}", "so #| two"),
    (f"the-one two{{word left}}{{left}}{BACK}{{end}}", "the- two|"),
    ("the-one two{word left}{left}{delete word}", "the-| two"),
    ("rock'n roll{word left}{left}{back}{end}", "rock' roll|"),
    # Before punctuation of the word before it there is none either.
    (f"so yes, ok{{word left}}{{left}}{{left}}{BACK}", "so |, ok"),
    (f"so yes, ok{{word left}}{{left}}{{left}}{BACK}{{end}}", "so, ok|"),
    (f"so yes, ok{{word left}}{{left}}{{left}}{BACK}{{left}}", "so|, ok"),
    (f"so yes, ok{{word left}}{{left}}{{left}}{BACK}{{right}}", "so,| ok"),
    (f"so yes, ok{{word left}}{{left}}{{left}}{BACK}well", "so well|, ok"),
    (f"so yes, ok{{word left}}{{left}}{{left}}{BACK} well", "so well|, ok"),
    (f"so yes, ok{{word left}}{{left}}{{left}}{BACK}{{=well}}", "so well|, ok"),
    (f"so yes, ok{{word left}}{{left}}{{left}}{BACK}{{back}}!", "so!|, ok"),
    (f"so yes, ok{{word left}}{{left}}{{left}}{BACK}\n", "so\n|, ok"),
    (f"so (the one) ok{{word left}}{{left}}{{left}}{BACK}{{end}}", "so (the) ok|"),
    (f'so "the one" ok{{word left}}{{left}}{{left}}{BACK}{{end}}', 'so "the" ok|'),
    ('so "the one" ok{word left}{left}{left}{delete word}', 'so "the|" ok'),
    (f"so the one's ok{{word left}}{{left}}{{left}}{{left}}{BACK}{{end}}", "so the 's ok|"),
    ("so the one's ok{word left}{left}{left}{left}{delete word}", "so the |'s ok"),
    (f"so one :) ok{{word left}}{{left}}{{word left}}{{left}}{BACK}{{end}}", "so :) ok|"),
    (f"so yes?\nok{{word left}}{{left}}{{left}}{BACK}{{bottom}}", "so?\nok|"),
    # A dash stands between two spaces.
    ("so - the one{word left}{left}{delete word}", "so - |one"),
    ("so - the one{word left}{left}{delete word}to", "so - to| one"),
    (f"so - the one{{word left}}{{left}}{BACK}to", "so - to| one"),
    (f"so - the one{{word left}}{{left}}{BACK}{{end}}", "so - one|"),
    (f"so - the, ok{{word left}}{{left}}{{left}}{BACK}{{end}}", "so -, ok|"),
    ("so - ok{word left}{left}{back}{end}", "so ok|"),
    ("so - ok{word left}{left}{back}- ", "so - |ok"),
    # At the end of a line each space may be about to be written on.
    (f"one two{BACK}{{top}}", "|one "),
    (f"one two\nso{{top}}{{end}}{BACK}{{bottom}}", "one \nso|"),
    (f"one two {{left}}{BACK}{{end}}", "one |"),
    # Spaces that were typed one by one stay as they are.
    ("one  two{top}", "|one  two"),
    ("one  two{word left}{back}{back}  {end}", "one  two|"),
    (f"one  two three{{word left}}{{left}}{BACK}{{end}}", "one  three|"),
    (f"one two  three{{word left}}{{left}}{{left}}{BACK}{{end}}", "one  three|"),
    (f"  one two{{word left}}{{left}}{BACK}{{end}}", "  two|"),
    (f"so yes , ok{{word left}}{{left}}{{left}}{{left}}{BACK}{{end}}", "so , ok|"),
    # A correction behind which a word was deleted, made late or taken back.
    (f"wrld |wo three{{word left}}{{left}}{BACK}{{wrld>world}}{{end}}", "world three|"),
    (f"wrld |wo three{{word left}}{{left}}{{wrld>world}}{BACK}{{undo}}{{end}}", "wrld three|"),
]


@pytest.mark.parametrize(("keys", "expected"), GOLDEN, ids=[keys for keys, _ in GOLDEN])
def test_keys_give_the_text(keys: str, expected: str) -> None:
    assert shown(type_keys(keys)) == expected


def test_a_message_is_sent_without_the_space_too_many() -> None:
    draft = type_keys(f"one two three{{word left}}{{left}}{BACK}")
    assert draft.text == "one  three"
    assert send(("hi",), draft) == (("hi", "one three"), Draft())


@pytest.mark.parametrize(
    ("head", "rest"), [("one ", "two"), ("one", " two"), ("one ", ""), ("", ""), ("(", ""), ("one ", "\nso")]
)
def test_what_has_no_space_too_many_stays_as_it_is(head: str, rest: str) -> None:
    assert closed_up(head, rest) == (head, rest)


# ------------------------------------------------------------------------------------- properties

plain_words = st.sampled_from(["one", "two", "thanks", "don't", "I", "Zürich", "ok"])
marks = st.sampled_from([",", ".", "?", "(", ")", "🙂", ":)"])
unit_lists = st.lists(st.one_of(plain_words, plain_words, marks), min_size=1, max_size=8)
leavings = st.one_of(
    st.sampled_from([writing.left, writing.right, writing.word_left, writing.word_right]),
    st.sampled_from([writing.home, writing.end, writing.top, writing.bottom]),
    st.integers(0, 60).map(lambda caret: lambda draft: place(draft, caret)),
    st.integers(0, 60).map(lambda caret: lambda draft: point(draft, caret)),
)
Edit = Callable[[Draft], Draft]


def without(message: str, start: int, end: int, forwards: int) -> Draft:
    """Deletes what stands in a place key by key, some of them forwards."""
    num_forwards = min(forwards, end - start)
    draft = place(Draft(message), end - num_forwards)
    for _ in range(num_forwards):
        draft = writing.delete(draft)
    for _ in range(end - start - num_forwards):
        draft = backspace(draft)
    assert (draft.text, draft.caret) == (message[:start] + message[end:], start)
    return draft


def words_of(text: str) -> list[str]:
    return [unit for unit, _ in units_with_places(text) if is_word(unit)]


@given(unit_lists, st.integers(0, 8), st.integers(0, 9), leavings)
def test_a_deleted_word_leaves_the_message_as_if_it_had_never_been_there(
    units: list[str], chosen: int, forwards: int, leave: Edit
) -> None:
    found = [(at, *each) for at, each in enumerate(units_with_places(join(units))) if is_word(each[0])]
    assume(found and [unit for unit, _ in units_with_places(join(units))] == units)
    at, unit, start = found[chosen % len(found)]
    deleted = without(join(units), start, start + len(unit), forwards)
    left = leave(deleted)
    assert left.text.rstrip(" ") == join(units[:at] + units[at + 1 :])
    messages, _ = send((), deleted)
    assert messages == ((left.text.strip(),) if left.text.strip() else ())
    assert leave(left).text == left.text


@given(
    st.lists(st.tuples(st.integers(1, 3), plain_words), min_size=1, max_size=5),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 5),
    st.integers(0, 9),
    leavings,
)
def test_spaces_that_were_typed_on_purpose_stay(
    typed: list[tuple[int, str]], leading: int, trailing: int, chosen: int, forwards: int, leave: Edit
) -> None:
    gaps = [leading, *(gap for gap, _ in typed[1:]), trailing]
    words = [word for _, word in typed]
    message = " " * gaps[0] + "".join(word + " " * gap for word, gap in zip(words, gaps[1:], strict=True))
    at = chosen % len(words)
    start = len(" " * gaps[0] + "".join(words[i] + " " * gaps[i + 1] for i in range(at)))
    left = leave(without(message, start, start + len(words[at]), forwards))
    around = gaps[at] + gaps[at + 1] - (gaps[at + 1] > 0)
    gaps[at : at + 2], words[at : at + 1] = [around], []
    expected = " " * gaps[0] + "".join(word + " " * gap for word, gap in zip(words, gaps[1:], strict=True))
    assert left.text == expected


@given(
    st.lists(st.one_of(plain_words, plain_words, marks, st.just("-")), min_size=1, max_size=8).map(join),
    st.integers(0, 8),
    st.integers(0, 9),
    st.sampled_from(["typed", "with a space", "taken", "letters taken"]),
)
def test_a_word_written_in_the_place_of_a_deleted_one_finds_its_spaces(
    message: str, chosen: int, forwards: int, how: str
) -> None:
    found = [each for each in units_with_places(message) if is_word(each[0])]
    assume(found)
    unit, start = found[chosen % len(found)]
    head, rest = message[:start], message[start + len(unit) :]
    draft = without(message, start, start + len(unit), forwards)
    if how == "with a space":
        # Where there is nothing to be stepped over, it is one that was wanted.
        assume(closed_up(head, rest) != (head, rest))
        draft = insert(draft, " ")
    if how == "letters taken":
        draft = insert(draft, "w")
    draft = accept(draft, "word") if how.endswith("taken") else insert(draft, "word")
    # Whatever follows a word that was taken at the end of a text brings its space itself.
    assert draft.text.rstrip(" ") == (f"{head}word{rest}").rstrip(" ")
    if how == "taken":
        undone = undo(draft)
        assert (undone.text, undone.caret) == (head + rest, start)
        assert writing.bottom(undone).text == "".join(closed_up(head, rest))
        elsewhere = undo(writing.top(draft)).text
        assert elsewhere.rstrip(" ") == "".join(closed_up(head, rest)).rstrip(" ")


def write_word(draft: Draft) -> Draft:
    """As people do: apart from a word that stands before, and from one that follows."""
    before, behind = draft.text[: draft.caret][-1:], draft.text[draft.caret :][:1]
    is_apart = draft.accepted_end is not None or before == "" or before.isspace()
    draft = insert(draft, "new" if is_apart else " new")
    return insert(draft, " ") if behind.isalnum() and draft.text[draft.caret].isalnum() else draft


edits = st.one_of(
    st.sampled_from([write_word, undo, writing.delete_word, writing.clear]),
    st.sampled_from([backspace, writing.delete]).flatmap(
        lambda edit: st.integers(1, 6).map(lambda times: lambda draft: repeated(edit, draft, times))
    ),
    st.sampled_from([lambda draft: accept(draft, "taken"), lambda draft: writing.draw(draft, "drawn")]),
    st.sampled_from([KEYS["🙂"], lambda draft: insert(draft, ",")]),
    leavings,
)


def repeated(edit: Edit, draft: Draft, times: int) -> Draft:
    for _ in range(times):
        draft = edit(draft)
    return draft


@given(unit_lists.map(join), st.integers(0, 60), st.lists(edits, max_size=12), leavings)
def test_no_space_is_doubled_or_lost_whatever_is_edited(
    message: str, caret: int, pressed: list[Edit], leave: Edit
) -> None:
    draft = place(Draft(message), caret)
    for edit in pressed:
        draft = edit(draft)
        left = leave(draft)
        assert "  " not in left.text
        assert words_of(left.text) == words_of(draft.text)
        assert send((), draft)[0] == ((left.text.strip(),) if left.text.strip() else ())


# An emoticon that loses its mouth is a colon behind a space.
plain_lists = unit_lists.map(lambda units: join([unit for unit in units if unit != ":)"]))


@given(plain_lists, st.integers(0, 60), st.lists(edits, max_size=6))
def test_deleting_and_moving_leave_no_space_before_punctuation(
    message: str, caret: int, pressed: list[Edit]
) -> None:
    draft = place(Draft(message), caret)
    deleting = (backspace, writing.delete, writing.delete_word)
    for edit in pressed:
        before = writing.bottom(draft).text
        for each in deleting:
            after = writing.bottom(each(draft)).text
            assert spaced_punctuation(after) <= spaced_punctuation(before)
        draft = edit(draft)


def spaced_punctuation(text: str) -> int:
    """How often a space stands before punctuation that belongs to the word before it; an apostrophe may be
    that of half a word."""
    return sum(
        start > 1
        and unit[0] != "'"
        and text[start - 1] == " "
        and not default_gap("a", unit)
        and default_gap(unit, "a")
        for unit, start in units_with_places(text)
    )
