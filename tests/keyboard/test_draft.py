"""Writing as a value: type these keys, expect this text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from at_draft import KEYS, shown, type_keys
from hypothesis import assume, given
from hypothesis import strategies as st

from fedkey import draft as writing
from fedkey.draft import Draft, Place, accept, backspace, context, correct, follow, insert, place, send, undo
from fedkey.emoji_search import search
from fedkey.text import default_gap, is_word, join, normalise, units_with_places

GOLDEN = [
    # Plain typing is left alone.
    ("hello", "hello|"),
    ("hello , you", "hello , you|"),
    ("a  b", "a  b|"),
    ("see (this)", "see (this)|"),
    # An accepted word brings its space.
    ("tha{=thanks}", "thanks |"),
    ("{=Hello}", "Hello |"),
    ("tha{=thanks}for", "thanks for|"),
    ("tha{=thanks}{=for}{=the}", "thanks for the |"),
    ("tha{=thanks} for", "thanks for|"),
    ("tha{=thanks}  for", "thanks  for|"),
    ("no tha{=thanks}", "no thanks |"),
    ("in 2{=2nd}", "in 2nd |"),
    # The space gives way to punctuation and comes back before the next word.
    ("tha{=thanks},", "thanks,|"),
    ("tha{=thanks},but", "thanks, but|"),
    ("tha{=thanks}, but", "thanks, but|"),
    ("tha{=thanks}.", "thanks.|"),
    ("tha{=thanks}!!", "thanks!!|"),
    ("tha{=thanks}?!no", "thanks?! no|"),
    ("tha{=thanks}...well", "thanks... well|"),
    ("tha{=thanks};so", "thanks; so|"),
    ("tha{=thanks}: so", "thanks: so|"),
    ("tha{=thanks},{=but}", "thanks, but |"),
    ("tha{=thanks},{=but},{=no}", "thanks, but, no |"),
    ("(tha{=thanks}).now", "(thanks). now|"),
    ("100{=percent}%", "percent%|"),
    # Opening brackets and quotes stand apart from the word and close to the next one; closing ones do not.
    ("tha{=thanks}(a", "thanks (a|"),
    ('he sa{=said}"yes', 'he said "yes|'),
    ('he said "ye{=yes}"', 'he said "yes"|'),
    ('he said "ye{=yes}"and', 'he said "yes" and|'),
    ('he said "{=yes}', 'he said "yes |'),
    # Apostrophes, hyphens and slashes make one word of two; a dash on its own does not.
    ("it{=it}'s", "it's|"),
    ("it{=it}’s", "it’s|"),
    ("do{=dogs}' ears", "dogs' ears|"),
    ("we{=well}-known", "well-known|"),
    ("an{=and}/or", "and/or|"),
    ("we{=well} - ok", "well - ok|"),
    ("we{=well}- ok", "well - ok|"),
    # Emoticons and emoji are no closing punctuation.
    ("tha{=thanks}:)", "thanks :)|"),
    ("tha{=thanks}:)so", "thanks :) so|"),
    ("tha{=thanks}:D so", "thanks :D so|"),
    ("no{=note}:Dad", "note: Dad|"),
    ("tha{=thanks}<3", "thanks <3|"),
    ("tha{=thanks}🙂ok", "thanks 🙂 ok|"),
    # Backspace takes back one thing at a time.
    ("hello{back}", "hell|"),
    ("{back}", "|"),
    ("tha{=thanks}{back}", "thanks|"),
    ("tha{=thanks}{back},", "thanks,|"),
    ("tha{=thanks}{back}giving", "thanksgiving|"),
    ("tha{=thanks},{back}", "thanks |"),
    ("tha{=thanks},{back}but", "thanks but|"),
    ("tha{=thanks}:){back}", "thanks:|"),
    ("tha{=thanks}?!{back}.", "thanks?.|"),
    ("tha{=thanks}{back}{=thanking}", "thanking |"),
    ("ok 👍🏽{back}", "ok |"),
    ("ok 🇩🇪{back}", "ok |"),
    ("ok 👩‍🚀{back}", "ok |"),
    # The caret goes anywhere.
    ("hello{left}{left}p", "help|lo"),
    ("hello{home}{del}y", "y|ello"),
    ("hello{home}{left}{back}", "|hello"),
    ("hello{right}{del}", "hello|"),
    ("one two three{word left}{word left}{back}", "one|two three"),
    ("one, two{home}{word right}{word right}{word right}", "one, two|"),
    ("one, two{home}{word right}{word right}", "one,| two"),
    ("see you tomorow{delete word}later", "see you later|"),
    ("see you later {delete word}", "see you |"),
    ("see you later{word left}{clear}", "|later"),
    ("🇩🇪🇫🇷{left}a", "🇩🇪a|🇫🇷"),
    # Accepting in the middle: the whole word is replaced, spaces are neither doubled nor lost.
    ("thnks you{home}{right}{right}{=thanks}", "thanks| you"),
    ("thnks you{home}{right}{right}{=thanks}to", "thanks to| you"),
    ("thnks you{home}{right}{right}{=thanks} to ", "thanks to |you"),
    ("thnks you{home}{right}{right}{=thanks}{=to}", "thanks to| you"),
    ("thnks you{home}{right}{right}{=thanks},to", "thanks, to| you"),
    ("thnks you{home}{right}{right}{=thanks}, to ", "thanks, to |you"),
    ("thnks you{home}{right}{right}{=thanks},{back}", "thanks| you"),
    ("thnks you{home}{right}{right}{=thanks}{back}", "thank| you"),
    ("thnks, you{home}{right}{right}{=thanks}", "thanks|, you"),
    ("thnks, you{home}{right}{right}{=thanks}so", "thanks so|, you"),
    ("(thnk){left}{=thanks}", "(thanks|)"),
    ("one three{word left}{=two}", "one two| three"),
    ("one three{word left}tw{=two}", "one two| three"),
    ("one three{word left}tw{=two},{=and}", "one two, and| three"),
    ("one three{word left}it'{=it's}", "one it's| three"),
    ("one three{word left}two {=and}", "one two and| three"),
    # After punctuation that was typed by hand an accepted word finds its space, too.
    ("well,{=then}", "well, then |"),
    ("well, {=then}", "well, then |"),
    ("(well{back}{back}{back}{back}{=so}", "(so |"),
    ("well-{=known}", "well-known |"),
    # Nothing but characters that can be shown and line breaks gets in.
    ("a\tb\nc\x1b[0m", "a b\nc[0m|"),
    ("a\rb\u2028c", "a\nb\nc|"),
    # A line break finishes a word, takes the place of the space behind it, and is followed by none.
    ("hello\n\nyou", "hello\n\nyou|"),
    ("hello \nyou", "hello \nyou|"),
    ("tha{=thanks}\n", "thanks\n|"),
    ("tha{=thanks},\nbut", "thanks,\nbut|"),
    ("tha{=thanks}\n{=but}{=no}", "thanks\nbut no |"),
    ("tha{=thanks}\n, no", "thanks\n, no|"),
    ('he said "ye{=yes}\n{=and}"', 'he said "yes\nand "|'),
    ("tha{=thanks}\n{back}", "thanks|"),
    ("hello\n{back}{back}", "hell|"),
    ("hello\n{delete word}", "hello|"),
    ("hello\nyou{delete word}{delete word}{delete word}", "|"),
    ("one\ntwo three{clear}", "one\n|"),
    ("one\ntwo three{clear}{clear}", "one|"),
    ("one\ntwo{home}{del}", "one\n|wo"),
    ("one\ntwo{home}{left}{del}", "one|two"),
    ("one\ntwo{home}{left}{home}{end}!", "one!|\ntwo"),
    ("one\ntwo{top}{right}{bottom}", "one\ntwo|"),
    ("one\ntwo{word left}{word left}", "|one\ntwo"),
    ("thnks\nyou{top}{right}{=thanks}", "thanks|\nyou"),
    ("thnks\nyou{top}{right}{=thanks}to", "thanks to|\nyou"),
    ("thnks\nyou{top}{right}{=thanks}\n", "thanks\n|\nyou"),
    ("thnks you{top}{right}{=thanks}\n", "thanks\n|you"),
    ("one\nthree{home}{=two}", "one\ntwo| three"),
    ("wrld\nhow{wrld>world}", "world\nhow|"),
    ("wrld\n{wrld>world}{back}", "wrld|"),
    ("wrld\nhow{wrld>world}{undo}", "wrld\nhow|"),
    ("so\n{=well}then{undo}", "so\nthen|"),
    ("so {=well}\n{undo}", "so \n|"),
    ("so\nwe{=well}\nbut{undo}", "so\nwe\nbut|"),
    # A correction takes the word's place and keeps the caret where it is in the text behind.
    ("wrld {wrld>world}", "world |"),
    ("hi wrld,{wrld>world}", "hi world,|"),
    ("wrld hwo ar{wrld>world}{hwo>how}", "world how ar|"),
    ("alot of {alot>a lot}", "a lot of |"),
    ("wrld {left}{left}{wrld>world}", "wrl|d "),  # the caret came back to the word
    ("wrld {left}{wrld>world}", "wrld| "),
    ("wrld {home}x{wrld>world}", "x|wrld "),
    ("wrldly {wrld>world}", "wrldly |"),  # it stands there no more
    ("wrld go{=going}{wrld>world}", "world going |"),
    ("wrld go{=going}{wrld>world},", "world going,|"),
    # Backspace right after a correction brings the letters back, and they stay.
    ("wrld {wrld>world}{back}", "wrld|"),
    ("hi wrld!{wrld>world}{back}", "hi wrld|"),
    ("wrld you{home}{del}{del}{del}{del}wrld {wrld>world}{back}", "wrld| you"),
    ("wrld {wrld>world}{back} {wrld>world}", "wrld |"),
    ("wrld {wrld>world}{back}{back}d {wrld>world}", "wrld |"),
    ("wrld {wrld>world}x{back}{back}", "world|"),
    ("wrld {wrld>world}{left}{right}{back}", "world|"),
    ("wrld h{wrld>world}{back}{back}", "world|"),
    ("wrld{keep} {wrld>world}", "wrld |"),
    # Undoing takes back what was put last, and leaves what was written since.
    ("wrld {wrld>world}{undo}", "wrld |"),
    ("wrld {wrld>world}how are{undo}", "wrld how are|"),
    ("wrld hwo {wrld>world}{hwo>how}{undo}{undo}", "world hwo |"),
    ("wrld {wrld>world}{undo}{wrld>world}", "wrld |"),
    ("wrld {wrld>world}go{=going}{undo}{undo}", "world go|"),
    ("wrld go{=going}{wrld>world},{undo}so", "wrld going, so|"),
    ("tha{=thanks}{undo}", "tha|"),
    ("tha{=thanks}for{undo}", "tha for|"),
    ("tha{=thanks},{undo}", "tha,|"),
    ("tha{=thanks}{home}{undo}", "|tha "),
    ("tha{=thanks}{=for}{undo},", "thanks,|"),
    ("{=Hello}{undo}", "|"),
    ("{=Hello}you{undo}", "you|"),
    ("see {=you}later{undo}", "see later|"),
    ("well,{=then}{undo}", "well,|"),
    ("well,{=then}so{undo}", "well, so|"),
    ("thnks you{home}{right}{right}{=thanks}{undo}", "th|nks you"),
    ("one three{word left}tw{=two}{undo}", "one tw|three"),
    ("so s{=see you soon}{undo}", "so s|"),
    ("ok {=🙂}{undo}", "ok |"),
    ("ok {=🙂}no{undo}", "ok no|"),
    ("hello{undo}", "hello|"),
    # Once the text up to there was changed, it stands.
    ("wrld {wrld>world}{home}O {undo}", "O |world "),
    ("wrld {wrld>world}{left}s{undo}", "worlds| "),
    ("tha{=thanks}{back}giving{undo}", "thanksgiving|"),
    ("tha{=thanks}{back}{back}{undo}", "thank|"),
    # An emoji that was looked for comes behind the word at the caret.
    ("{🙂}", "🙂 |"),
    ("hi{🙂}", "hi 🙂 |"),
    ("hi {🙂}", "hi 🙂 |"),
    ("hi{🙂}there", "hi 🙂 there|"),
    ("hi{🙂}!", "hi 🙂!|"),
    ("tha{=thanks}{🙂}", "thanks 🙂 |"),
    ("tha{=thanks},{🙂}", "thanks, 🙂 |"),
    ("hi{🙂}{🙂}", "hi 🙂 🙂 |"),
    ("({🙂})", "(🙂)|"),
    ("hi\n{🙂}", "hi\n🙂 |"),
    ("hi\nyou{top}{right}{🙂}", "hi 🙂|\nyou"),
    ("hi you{top}{right}{🙂}", "hi 🙂| you"),
    ("hi you{word left}{🙂}", "hi 🙂| you"),
    ("hi you{word left}th{🙂}", "hi th 🙂| you"),
    ("hi{🙂}{undo}", "hi|"),
    ("hi{🙂}so{undo}", "hi so|"),
    ("hi you{top}{right}{🙂}{undo}", "h|i you"),
    ("{🙂}{undo}", "|"),
    # Inside a text a space is neither doubled nor lost, whatever is written, taken or deleted there.
    ("one three{word left}{left} two", "one two| three"),
    ("one three{word left}{left} two ", "one two |three"),
    ("one three{word left}{left} two and ", "one two and |three"),
    ("one three{word left}{left} ", "one |three"),
    ("one three{word left}{left}  two", "one  two|three"),
    ("one three{word left}{left} {back}", "one| three"),
    ("one three{word left}{left} tw{back}{back}", "one |three"),
    ("one three{word left}{left} tw{back}{back}{back}", "one| three"),
    ("one three{word left}{left} {=two}", "one two| three"),
    ("one three{word left}{left} {🙂}", "one 🙂| three"),
    ("one three{word left}{left} {=two} {=and} ", "one two and |three"),
    ("one three{word left}{left} {=two}{undo}", "one |three"),
    ("one three{word left}{left} ({=two})", "one (two)| three"),
    ("one three{word left}{left},", "one,| three"),
    ("thnks you{home}{right}{right}{=thanks} to", "thanks to| you"),
    ("thnks you{home}{right}{right}{=thanks} {back}", "thanks| you"),
    ("one three{word left}{left} wrld {wrld>world}", "one world |three"),
    ("one three{word left}{left} wrld {wrld>world}{back}", "one wrld| three"),
    ("one three{word left}{left} wrld so{wrld>world}", "one world so| three"),
    ("one three{word left}{left} wrld.{wrld>a}x{back}{back}{back}", "one |three"),
    ("one two three{word left}{left}{delete word}", "one| three"),
    ("one two three{word left}{left}{delete word}too", "one too| three"),
    ("one two three{word left}{left}{delete word},", "one,| three"),
    ("one two three{word left}{left}{delete word} ", "one |three"),
    ("one two three{word left}{left}{delete word}{=too}", "one too| three"),
    ("one two three{word left}{left}{delete word}{delete word}", "|three"),
    ("one two three{word left}{left}{delete word}{delete word}{=No}", "No| three"),
    ("one two three{word left}{left}{delete word}{delete word}to", "to| three"),
    ("one two, three{word left}{left}{left}{delete word}", "one|, three"),
    ("one two, three{word left}{left}{left}{delete word}too", "one too|, three"),
    ("one two-three{word left}{left}{delete word}", "one |-three"),
    ("one (two three{word left}{left}{delete word}", "one (|three"),
    ("one (two three{word left}{left}{delete word}to", "one (to| three"),
    ("one (two three{word left}{left}{delete word}{back}", "one| three"),
    ("one two three{word left}{left}{clear}", "|three"),
    ("one\ntwo three{word left}{left}{clear}to", "one\nto| three"),
    ("one two\nthree{word left}{left}{delete word}", "one |\nthree"),
    ("one two three{word left}{delete word}", "one |three"),
    # A word that the caret comes to is replaced, and what stands around it stays as it is.
    ("one too, three{word left}{left}{left}{=two}", "one two|, three"),
    ("one (too) three{word left}{left}{left}{=two}", "one (two|) three"),
    ("one too:) no{top}{word right}{word right}{=two}", "one two|:) no"),
    ("one.too{left}{=two}", "one.two |"),
    ("see yuo latr now{top}{word right}{word right}{=you}", "see you| latr now"),
    ("see yuo latr now{top}{word right}{word right}{=you}{word right}{=later}", "see you later| now"),
    ("see yuo now{top}{word right}{word right}{=you}{undo}", "see yuo| now"),
    ("see yuo now{top}{word right}{word right}{=you}{end}{undo}", "see yuo now|"),
    ("see yuo now{top}{word right}{word right}{=you}{top}{undo}", "|see yuo now"),
    ("see yuo now{top}{word right}{word right}{=you} to{undo}", "see yuo to| now"),
    ("see yuo now{top}{word right}{word right}{=all of you}", "see all of you| now"),
    ("see yuo now{top}{word right}{word right}{🙂}", "see yuo 🙂| now"),
    ("see alot now{top}{word right}{word right} ", "see alot |now"),
    ("(three{word left}{=two}{end}{undo}", "(three|"),
    ("(three{word left}{=two}{end}!{undo}", "(three!|"),
    # Emoji and phrases are taken like words.
    ("tha{=thanks}{=🙂}", "thanks 🙂 |"),
    ("tha{=thanks}{=🙂}so", "thanks 🙂 so|"),
    ("tha{=thanks}{=🙂}!", "thanks 🙂!|"),
    ("s{=see you soon}.", "see you soon.|"),
]


@pytest.mark.parametrize(("keys", "expected"), GOLDEN, ids=[keys for keys, _ in GOLDEN])
def test_keys_give_the_text(keys: str, expected: str) -> None:
    assert shown(type_keys(keys)) == expected


@pytest.mark.parametrize(
    ("keys", "before", "typed"),
    [
        ("", "", ""),
        ("hel", "", "hel"),
        ("say hel", "say ", "hel"),
        ("say ", "say ", ""),
        ("(hel", "(", "hel"),
        ("don'", "", "don'"),
        ("don’t", "", "don’t"),
        ("well-kno", "well-", "kno"),
        ("so :)", "so :) ", ""),
        ("hello you{left}{left}", "hello ", "y"),
        ("hello you{word left}", "hello ", ""),
        ("hello{home}", "", ""),
        # A word accepted here would bring a space, so the engine is asked with it.
        ("well,", "well, ", ""),
        ("wel{=well},", "well, ", ""),
        ("we{=well}-", "well-", ""),
        ("(", "(", ""),
        ('"', '"', ""),
        # A line break is the border of a message, and no space is owed behind it.
        ("hello\n", "hello\n", ""),
        ("hello,\nth", "hello,\n", "th"),
        ('"so\n"', '"so\n"', ""),
        # The accepted word is finished; what is suggested follows it.
        ("wel{=well}", "well ", ""),
        ("wl you{home}{right}{=well}", "well ", ""),
        ("wel{=well}{back}", "", "well"),
    ],
)
def test_the_engine_is_asked_for_the_word_at_the_caret(keys: str, before: str, typed: str) -> None:
    draft = type_keys(keys)
    assert (draft.before, draft.typed) == (before, typed)


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ("hello", "hello"),
        ("say hello", "hello"),
        ("dogs'", "dogs"),
        ("don't", "don't"),
        ("one two{word left}new", "new"),
        ("hello ", None),
        ("hello{left}", None),
        ("hel{=hello}", None),
        ("2024", None),
        (":)", None),
        ("", None),
    ],
)
def test_a_finished_word_is_one_that_was_typed_to_its_end(keys: str, word: str | None) -> None:
    assert type_keys(keys).finished_word == word


@pytest.mark.parametrize(
    ("keys", "letters"),
    [
        ("say wrld", "wrld"),
        ("don't", "don't"),
        ("dogs'", "dogs"),
        ("an ol'", None),
        ("runnin'", None),
        ("dont'{keep}", None),
        ("wrld{left}", None),
        ("one two{word left}new", None),  # begun in front of another word
        ("wrld{keep}", None),
        ("wrld {wrld>world}{back}", None),
        ("wrl{keep}d", "wrld"),
        ("wor{=world}", None),
        ("wrld ", None),
    ],
)
def test_only_a_word_typed_to_its_end_and_not_meant_literally_may_be_corrected(
    keys: str, letters: str | None
) -> None:
    draft = type_keys(keys)
    expected = None if letters is None else Place(draft.text.index(letters), letters)
    assert draft.correctable == expected


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ("tomorow{left}{left}", "tomorow"),
        ("tomorow{home}", ""),
        ("to you{left}{left}{left}{left}", "to"),
        ("see you{word left}th", "th"),  # begun in front of another word
        ("don't{left}{left}", "don't"),
        ("tomorow, {left}{left}", "tomorow"),
        ("tomo\nrow{home}{left}", "tomo"),
        ("{=tomorrow}", ""),
    ],
)
def test_suggestions_are_for_all_of_a_word_in_which_the_caret_stands(keys: str, word: str) -> None:
    assert type_keys(keys).word == word


@pytest.mark.parametrize(
    ("keys", "after"),
    [
        ("", ""),
        ("see you", ""),
        ("see you  {left}", ""),
        ("see you{home}", " see you"),
        ("see you{word left}{left}", " you"),
        ("see you{word left}", " you"),  # what is written here will stand apart from it
        ("see you{word left}th", " you"),
        ("see, you{home}{right}", ", you"),
        ("one\ntwo{top}{right}", ""),
        ("one\ntwo three{word left}{left}", " three"),
        ("one two\nthree{top}{right}", " two"),
        ("see you{word left}{=all}", " you"),
        ("one two three{word left}{left}{delete word}{delete word}", " three"),
    ],
)
def test_the_engine_is_told_what_stands_behind_the_word(keys: str, after: str) -> None:
    assert type_keys(keys).after == after


@pytest.mark.parametrize(
    ("keys", "picked"),
    [
        ("see you later{word left}{left}", "you"),
        ("see you later{word left}{left}{left}{left}", "you"),
        ("see you later{word left}{word left}", None),  # in front of it another word is begun
        ("see you later{left}", "later"),
        ("see you later{left}{right}", None),  # at the end of the text writing goes on
        ("see you\nlater{top}{end}", None),
        ("see you {left}", "you"),
        ("see you later", None),
        ("see you later{word left}{left}s", None),
        ("see you later{word left}{left}{back}", None),
        ("see you later{word left}{left}{=us}", None),
        ("see you later{word left}{left}{=us}{undo}", "you"),
        ("at 2024 or so{word left}{left}{word left}{left}", None),
        ("so :) ok{word left}{left}", None),
        ("don’t go{word left}{left}{left}", "don’t"),
        ("wrld see you{word left}{left}{wrld>world}", "see"),
    ],
)
def test_a_word_that_the_caret_comes_to_is_picked_until_something_is_written(
    keys: str, picked: str | None
) -> None:
    draft = type_keys(keys)
    assert (draft.picked and draft.picked.letters) == picked
    if draft.picked is not None:
        assert draft.text[draft.picked.start : draft.picked.end] == picked
        assert (draft.word, draft.correctable) == (picked, None)


@pytest.mark.parametrize(
    ("caret", "picked", "taken"),
    [
        (0, "see", "we| you, ok"),
        (4, "you", "see we|, ok"),
        (6, "you", "see we|, ok"),
        (7, "you", "see we|, ok"),
    ],
)
def test_to_point_at_any_letter_of_a_word_picks_it(caret: int, picked: str, taken: str) -> None:
    draft = writing.point(Draft("see you, ok"), caret)
    assert draft.picked is not None
    assert (draft.picked.letters, draft.caret) == (picked, caret)
    assert draft.before + draft.word + draft.after == "see you, ok"
    assert shown(accept(draft, "we")) == taken
    assert undo(accept(draft, "we")) == replace(draft, literals=frozenset({picked}))


def test_a_word_that_is_left_is_neither_replaced_nor_corrected() -> None:
    left = writing.leave(writing.point(Draft("see you"), 4))
    assert (left.picked, left.word, left.literals) == (None, "", {"you"})
    assert writing.leave(type_keys("my wrld now{word left}{left}")).correctable is None
    assert writing.leave(Draft("wrld", 4)).correctable is None


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        # It came too late, or closes a quote, or is that of many owners.
        ("dont' {dont>don't}worry", "don't worry|"),
        ("dont\u2019 {dont>don\u2019t}", "don\u2019t |"),
        ("'tomorow' {tomorow>tomorrow}", "'tomorrow' |"),
        ("'dont' {dont>don't}", "'don't' |"),
        ("my freinds' {freinds>friends}", "my friends' |"),
        ("the Kowalskis' {Kowalskis>Kowalski}", "the Kowalskis' |"),
        # All that was typed comes back.
        ("dont' {dont>don't}{back}", "dont'|"),
        ("dont' {dont>don't}{back} ", "dont' |"),
        ("dont' worry {dont>don't}{undo}", "dont' worry |"),
        ("'tomorow' {tomorow>tomorrow}{back}", "'tomorow'|"),
    ],
)
def test_an_apostrophe_behind_a_word_stays_unless_the_word_has_it_inside(keys: str, text: str) -> None:
    assert shown(type_keys(keys)) == text


def test_characters_that_go_on_bring_no_correction() -> None:
    assert all(map(writing.brings_correction, ' ,.!?:;)"-…🙂'))
    assert not any(map(writing.brings_correction, "@/\\#"))


@pytest.mark.parametrize(
    ("keys", "marked"),
    [
        ("wrld {wrld>world}", "world"),
        ("wrld {wrld>world}ho", "world"),
        ("wrld {wrld>world}how ", None),
        ("wrld hwo {wrld>world}{hwo>how}", "how"),
        ("wrld hwo {wrld>world}a", "world"),
        ("wrld {wrld>world}{back}", None),
        ("wrld {wrld>world}ho{undo}", None),
        ("tha{=thanks}", None),
    ],
)
def test_a_correction_is_marked_until_the_next_word_is_finished(keys: str, marked: str | None) -> None:
    draft = type_keys(keys)
    assert (draft.marked and draft.marked.letters) == marked
    if draft.marked is not None:
        assert draft.text[draft.marked.start : draft.marked.end] == marked


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("go tot he {tot he>to the}", "go to the |"),
        ("go tot he, {tot he>to the}", "go to the, |"),
        ("tot he so{tot he>to the}", "to the so|"),
        ("wh at {wh at>what}s", "what s|"),
        ("tot he {tot he>to the}{undo}", "tot he |"),
        ("tot he so{tot he>to the}{undo}", "tot he so|"),
        ("tot he {tot he>to the}{undo}x{tot he>to the}", "tot he x|"),
        ("tot help {tot he>to the}", "tot help |"),
        ("stot he {tot he>to the}", "stot he |"),
        ("tot he{tot he>to the}", "tot he|"),
        ("so now{home}tot he {tot he>to the}", "to the |so now"),
    ],
)
def test_two_words_may_be_corrected_together(keys: str, expected: str) -> None:
    assert shown(type_keys(keys)) == expected


@pytest.mark.parametrize(
    ("keys", "before"),
    [
        ("go tot he", (Place(3, "tot"), "tot", " ")),
        ("go tot ", (Place(3, "tot"), "tot", " ")),
        ("tot he", (Place(0, "tot"), "tot", " ")),
        ("wantt {wantt>want}o", (Place(0, "want"), "wantt", " ")),
        ("alot {alot>a lot}of", (Place(0, "a lot"), "alot", " ")),
        ("can't he", (Place(0, "can't"), "can't", " ")),
        ("don;t", (Place(0, "don"), "don", ";")),
        ("isn;{isn>is}t", (Place(0, "is"), "isn", ";")),
        ("he", None),
        ("tot  he", None),
        ("don; t", None),
        ("tot\nhe", None),
        ("tot, he", None),
        ("to{=tot}he", None),
        ("tot{keep} he", None),
        ("🙂 he", None),
        (":) he", None),
    ],
)
def test_the_word_before_is_known_with_its_letters_where_what_parts_them_was_typed(
    keys: str, before: tuple[Place, str, str] | None
) -> None:
    assert writing.word_before(type_keys(keys)) == before


def test_a_message_may_have_several_lines() -> None:
    messages, draft = send(("hello",), type_keys("\nhow are\n\nyou\n "))
    assert messages == ("hello", "how are\n\nyou")
    assert draft == Draft()


def test_what_is_pasted_keeps_its_lines_and_is_meant_as_it_is() -> None:
    draft = writing.paste(type_keys("so{=so}"), "one\r\ntwo\rthree\nwrld")
    assert shown(draft) == "so one\ntwo\nthree\nwrld|"
    assert draft.correctable is None


def test_sending_moves_the_draft_to_the_conversation() -> None:
    messages, draft = send(("hello",), type_keys("how are you{=you}"))
    assert messages == ("hello", "how are you")
    assert draft == Draft()
    assert context(messages, type_keys("fine tha")) == "hello\nhow are you\nfine "


@pytest.mark.parametrize("keys", ["", " ", "   ", "\n \n"])
def test_there_is_no_empty_message(keys: str) -> None:
    draft = type_keys(keys)
    assert send((), draft) == ((), draft)


# ------------------------------------------------------------------------------------- properties

words = st.sampled_from(["thanks", "I'm", "well", "a", "Zürich", "2nd"])
keys = st.one_of(
    st.sampled_from([f"{{{key}}}" for key in KEYS]),
    words.map(lambda word: f"{{={word}}}"),
    st.sampled_from(list("abé1 ,.!?:;)(\"'-/<3DP🙂🏽\u0301\u200d🇩’\t\n\n")),
)
drafts = st.lists(keys, max_size=25).map(lambda pressed: type_keys("".join(pressed)))


@given(st.lists(keys, max_size=40))
def test_the_caret_stays_within_the_text_whatever_is_pressed(pressed: list[str]) -> None:
    draft = Draft()
    for key in pressed:
        draft = type_keys(key, draft)
        assert 0 <= draft.caret <= len(draft.text)
        assert draft.text[: draft.caret].endswith(draft.typed)
        assert draft.text.replace("\n", "").isprintable() or "\u200d" in draft.text


@given(drafts, words)
def test_accepting_neither_doubles_nor_loses_a_space(draft: Draft, word: str) -> None:
    after = accept(draft, word)
    start = draft.caret - len(draft.typed)
    before, rest = after.text[: after.accepted_end], after.text[after.caret :]
    assert before.endswith(word)
    # What stood before the word still does, with at most one space more and none of it after a space.
    assert before.removesuffix(word) in (draft.text[:start], draft.text[:start] + " ")
    assert not (before.removesuffix(word) != draft.text[:start] and draft.text[:start].endswith(" "))
    # What stood behind the word still does, one space apart if it is a word.
    assert draft.text.endswith(rest.removeprefix(" "))
    if rest and rest[0].isalnum():
        pytest.fail("the accepted word ran into the next one")
    if not rest:
        assert after.text == before + " "


@given(drafts, words)
def test_what_is_replaced_is_what_was_asked_about(draft: Draft, word: str) -> None:
    after = accept(draft, word)
    assert after.swap is not None
    assert after.swap.typed == draft.word
    assert draft.word.startswith(draft.typed)
    assert draft.picked is not None or (draft.word == "") == (draft.typed == "")


@given(drafts, words, words)
def test_accepted_words_stay_words(draft: Draft, one: str, other: str) -> None:
    draft = Draft(draft.text, draft.caret)
    after = accept(accept(place(insert(draft, " "), draft.caret + 1), one), other)
    found = [unit for unit, _ in units_with_places(after.text[: after.accepted_end])]
    assert found[-2:] == [one, other]


@pytest.mark.parametrize("before", ["", "so ", "🇩🇪"])
def test_every_emoji_of_the_page_is_one_character(before: str) -> None:
    emoji = [each.emoji for each in search("", k=10_000)]
    assert "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f" in emoji  # England
    for each in emoji:
        behind = Draft(before + each, len(before + each))
        in_front = writing.left(behind)
        assert in_front.caret == len(before), each
        assert writing.right(in_front).caret == behind.caret
        assert backspace(behind).text == before
        assert writing.delete(in_front).text == before


@given(drafts, st.sampled_from(list("aé1,.!)-🙂\n")))
def test_backspace_undoes_insert(draft: Draft, character: str) -> None:
    plain = place(draft, draft.caret)
    assume(not plain.text[: plain.caret].endswith("\u200d"))  # it would join the character
    undone = backspace(insert(plain, character))
    assert (undone.text, undone.caret) == (plain.text, plain.caret)


@given(words, st.lists(st.sampled_from(list(",.!?:;)'-\"(🙂")), max_size=5))
def test_backspace_undoes_punctuation_after_an_accepted_word(word: str, marks: list[str]) -> None:
    steps = [accept(Draft(), word)]
    for mark in marks:
        steps.append(insert(steps[-1], mark))
    while len(steps) > 1:
        undone = backspace(steps.pop())
        assert undone == steps[-1]


@given(drafts)
def test_left_undoes_right(draft: Draft) -> None:
    draft = place(draft, draft.caret)
    if draft.caret < len(draft.text):
        assert writing.left(writing.right(draft)).caret == draft.caret


@given(st.text(max_size=30))
def test_typing_letter_by_letter_or_pasting_gives_the_same_text(text: str) -> None:
    pasted = insert(Draft(), text)
    typed = Draft()
    for character in text:
        typed = insert(typed, character)
    assert (typed.text, typed.caret) == (pasted.text, pasted.caret)


@given(st.lists(words, min_size=1, max_size=4), st.integers(0, 30))
def test_every_prefix_of_a_word_is_typed_as_the_simulated_typist_types_it(
    pieces: list[str], cut: int
) -> None:
    # `fedkey.simulate` asks with the message before a word and the word's first letters; so does the draft.
    message = normalise(" ".join(pieces))
    for unit, start in units_with_places(message):
        if is_word(unit):
            letters = min(cut, len(unit))
            draft = place(Draft(message), start + letters)
            assert (draft.before, draft.typed) == (message[:start], unit[:letters])


# ----------------------------------------------------------------------- properties of taking back

finishing = st.sampled_from(list(" ,.!?)\n"))
corrections = st.sampled_from(["world", "a lot", "I'm", "Zürich"])
later = st.lists(st.sampled_from(list("ab ,.\n")), max_size=8).map("".join)


mistakes = st.sampled_from(["wrld", "wrld'", "wrld\u2019"])


def with_mistake(draft: Draft, letters: str) -> tuple[Draft, Place]:
    """The draft with a mistyped word begun at the caret, where a correction would be made."""
    typed = insert(draft, letters)
    where = Place(typed.caret - len(letters), "wrld")
    assume(typed.correctable == where)
    return typed, where


@given(drafts, mistakes, finishing, corrections)
def test_correcting_and_taking_it_back_gives_the_very_text(
    draft: Draft, letters: str, character: str, correction: str
) -> None:
    typed, where = with_mistake(draft, letters)
    finished = insert(typed, character)
    corrected = correct(finished, where, correction)
    assume(corrected != finished)
    by_backspace, by_undo = backspace(corrected), undo(corrected)
    assert (by_backspace.text, by_backspace.caret) == (typed.text, typed.caret)
    assert (by_undo.text, by_undo.caret) == (finished.text, finished.caret)
    for restored in (by_backspace, by_undo):
        assert correct(insert(restored, " "), where, correction) == insert(restored, " ")


@given(drafts, mistakes, finishing, corrections, later)
def test_a_correction_that_comes_late_gives_the_text_it_would_have_given_at_once(
    draft: Draft, letters: str, character: str, correction: str, written: str
) -> None:
    typed, where = with_mistake(draft, letters)
    finished = insert(typed, character)
    at_once = correct(finished, where, correction)
    assume(at_once != finished)
    late = correct(type_keys(written, finished), where, correction)
    expected = type_keys(written, at_once)
    assert (late.text, late.caret) == (expected.text, expected.caret)
    undone = undo(late)
    assert (undone.text, undone.caret) == (
        type_keys(written, finished).text,
        type_keys(written, finished).caret,
    )


@given(drafts, st.sampled_from(["thanks", "I'm", "see you soon", "🙂"]))
def test_accepting_and_undoing_gives_the_very_draft(draft: Draft, word: str) -> None:
    undone = undo(accept(draft, word))
    assert (undone.text, undone.caret, undone.accepted_end) == (draft.text, draft.caret, draft.accepted_end)
    assert undone.swap is None


@given(st.lists(words, max_size=4), st.integers(0, 30), words, later)
def test_undoing_later_neither_doubles_nor_joins_anything(
    pieces: list[str], caret: int, word: str, written: str
) -> None:
    assume("  " not in written)
    draft = place(Draft(" ".join(pieces)), caret)
    accepted = type_keys(written, accept(draft, word))
    undone = undo(accepted)
    assert 0 <= undone.caret <= len(undone.text)
    assert undone.text.count("  ") <= accepted.text.count("  ")
    if undone != accepted and accepted.swap is not None and accepted.swap.typed:
        assert accepted.swap.typed in [unit for unit, _ in units_with_places(undone.text)]


@given(drafts, keys)
def test_a_word_is_followed_through_every_edit_or_given_up(draft: Draft, key: str) -> None:
    after = type_keys(key, draft)
    for unit, start in units_with_places(draft.text):
        found = follow(draft, after, Place(start, draft.text[start : start + len(unit)]))
        if found is not None:
            assert after.text[found.start : found.end] == found.letters


@given(drafts, drafts)
def test_what_stands_before_and_behind_an_edit_is_followed(draft: Draft, other: Draft) -> None:
    text = f"wrld {draft.text} hwo"
    before, after = Draft(text, 5), Draft(f"wrld {other.text} hwo", 5)
    assert follow(before, after, Place(0, "wrld")) == Place(0, "wrld")
    assert follow(before, after, Place(len(text) - 3, "hwo")) == Place(len(after.text) - 3, "hwo")


# ------------------------------------------------------------------------------ properties of mending

plain_words = st.sampled_from(["one", "two", "thanks", "don't", "I", "Zürich", "ok"])
units = st.lists(
    st.one_of(plain_words, plain_words, st.sampled_from([",", ".", "?", "(", ")", "🙂", ":)", "-"])),
    max_size=8,
)
messages = units.map(join)
moves = st.sampled_from([place, writing.point])


def is_well_spaced(text: str) -> bool:
    """Whether no space is doubled, none stands before closing punctuation, and words stand apart."""
    found = units_with_places(text)
    return "  " not in text and not any(
        text[start - 1 : start] == " " and not default_gap("a", unit) and default_gap(unit, "a")
        for unit, start in found
    )


@given(messages, st.integers(0, 60), moves, st.sampled_from(["you", "a lot", "see you soon", "I'm"]))
def test_whatever_is_taken_the_text_around_it_stays_one_space_apart(
    message: str, caret: int, move: Callable[[Draft, int], Draft], word: str
) -> None:
    # Nobody begins a word within an emoticon.
    assume(all(is_word(unit) for unit, at in units_with_places(message) if at < caret < at + len(unit)))
    draft = move(Draft(message), caret)
    start = draft.caret if draft.picked is None else draft.picked.start
    start = min(start, draft.caret - len(draft.typed))
    head, tail = message[:start], message[start + len(draft.word) :]
    taken = accept(draft, word)
    assert taken.text.startswith(head)
    assert taken.text.endswith(tail)
    put = taken.text[len(head) : len(taken.text) - len(tail)]
    assert put.strip(" ") == word
    assert is_well_spaced(taken.text)
    if draft.picked is not None:
        assert put == (word if tail else f"{word} ")
    undone = undo(taken)
    assert (undone.text, undone.caret, undone.picked) == (message, draft.caret, draft.picked)


@given(messages, st.integers(0, 60), moves, st.integers(0, 60), st.sampled_from(["you", "a lot"]))
def test_taking_back_after_the_caret_went_elsewhere_gives_the_very_text(
    message: str, caret: int, move: Callable[[Draft, int], Draft], elsewhere: int, word: str
) -> None:
    draft = move(Draft(message), caret)
    assume(draft.after)
    taken = accept(draft, word)
    undone = undo(place(taken, elsewhere))
    assert undone.text == message
    assert 0 <= undone.caret <= len(message)


@given(
    st.lists(plain_words, min_size=2, max_size=5),
    st.integers(0, 3),
    st.lists(st.tuples(st.sampled_from(["typed", "taken", "corrected"]), plain_words), max_size=4),
    st.booleans(),
)
def test_words_written_between_others_stand_one_space_apart_however_they_are_written(
    message: list[str], after: int, written: list[tuple[str, str]], ends_with_space: bool
) -> None:
    after = min(after, len(message) - 2)
    draft = place(Draft(" ".join(message)), len(" ".join(message[: after + 1])))
    is_open = False
    for how, word in written:
        if not is_open:
            draft = insert(draft, " ")
        if how == "taken":
            draft, is_open = accept(draft, word), True
            continue
        letters = "wrld" if how == "corrected" else word
        draft, is_open = type_keys(letters, draft), False
        if how == "corrected":
            start = draft.caret - len(letters)
            draft, is_open = correct(insert(draft, " "), Place(start, letters), word), True
    if ends_with_space and not (written and written[-1][0] == "corrected"):
        draft = insert(draft, " ")
    expected = [*message[: after + 1], *(word for _, word in written), *message[after + 1 :]]
    assert draft.text == " ".join(expected)


@given(messages, st.integers(0, 60))
def test_a_deleted_word_leaves_no_space_too_many_and_can_be_written_again(message: str, caret: int) -> None:
    found = [(unit, start, start + len(unit)) for unit, start in units_with_places(message) if is_word(unit)]
    assume(found)
    unit, _, end = found[caret % len(found)]
    assume(message[end:] != "" and is_well_spaced(message))
    deleted = writing.delete_word(place(Draft(message), end))
    assert is_well_spaced(deleted.text)
    assert type_keys(unit, deleted).text == message
