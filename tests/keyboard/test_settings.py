"""The settings file: read strictly, written so that people can read it, and changed one line at a time."""

from __future__ import annotations

import os
import tomllib
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.errors import UserError
from fedkey.settings import (
    DEFAULTS,
    KINDS,
    Settings,
    as_toml,
    as_toml_value,
    changed,
    from_text,
    meaning,
    memory_file,
    read,
    store,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "settings.toml"


def written(file: Path, text: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_file_everything_is_as_usual(file: Path) -> None:
    assert read(file) == DEFAULTS
    assert not file.parent.exists()


def test_what_a_file_does_not_mention_is_as_usual(file: Path) -> None:
    written(file, "autocorrect = false\nclumsy_thumbs = 1\n")
    assert read(file) == Settings(autocorrect=False, clumsy_thumbs=1.0)
    assert type(read(file).clumsy_thumbs) is float


def test_the_first_change_writes_every_setting_below_its_meaning(file: Path) -> None:
    assert store(file, "theme", "fedkey-light") == Settings(theme="fedkey-light")
    text = file.read_text(encoding="utf-8")
    assert tomllib.loads(text) == asdict(Settings(theme="fedkey-light"))
    assert max(map(len, text.splitlines())) <= 110
    unwrapped = " ".join(text.replace("\n# ", " ").split())
    for each in fields(Settings):
        assert meaning(each.name)
        assert " ".join(meaning(each.name).split()) in unwrapped
        comment, _, _ = text.partition(f"\n{each.name} = ")
        assert comment.splitlines()[-1].startswith("# ")
    assert [each.name for each in file.parent.iterdir()] == ["settings.toml"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_change_leaves_everything_else_in_the_file_as_it_was(file: Path) -> None:
    mine = '# mine\ntheme = \'nord\' # blue # quiet\n\nclumsy_thumbs=0.5\nmemory = "a # \\" b"   # where\n'
    written(file, mine)
    store(file, "theme", 'a "b" #c')
    store(file, "memory", "words")
    store(file, "emoji", False)
    store(file, "clumsy_thumbs", 0.25)
    assert file.read_text(encoding="utf-8") == (
        '# mine\ntheme = "a \\"b\\" #c" # blue # quiet\n\nclumsy_thumbs=0.25\nmemory = "words"   # where\n'
        "emoji = false\n"
    )


@pytest.mark.parametrize(
    "text", ['theme = """\nnord"""\n', "theme = '''nord\ntheme = 1'''", '"theme" = "nord"\n', "emoji = false"]
)
def test_whatever_form_a_file_has_the_change_is_in_it_and_the_rest_means_what_it_did(
    file: Path, text: str
) -> None:
    before = read(written(file, text))
    store(file, "theme", "dracula")
    assert read(file) == changed(before, "theme", "dracula")


def test_two_keyboards_do_not_undo_each_others_changes(file: Path) -> None:
    store(file, "emoji", False)
    store(file, "autocorrect", False)
    assert read(file) == Settings(emoji=False, autocorrect=False)


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    assert tomllib.loads(f"value = {as_toml_value(text)}") == {"value": text}
    if "\0" not in text:
        settings = Settings(theme=text)
        assert tomllib.loads(as_toml(settings)) == asdict(settings)


@given(st.floats(0, 2))
def test_any_number_comes_back_as_it_was(number: float) -> None:
    assert tomllib.loads(f"value = {as_toml_value(number)}") == {"value": number}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("teme = 'nord'", "there is no setting 'teme'; do you mean 'theme'?"),
        ("[theme]\nname = 'nord'", "theme must be a text in quotes, not {'name': 'nord'}."),
        ("emoji = 'yes'", "emoji must be true or false, not 'yes'."),
        ("emoji = 1", "emoji must be true or false, not 1."),
        ("clumsy_thumbs = true", "clumsy_thumbs must be a number, not True."),
        ("clumsy_thumbs = nan", "clumsy_thumbs must be between 0 and 2, not nan."),
        ("clumsy_thumbs = -0.1", "clumsy_thumbs must be between 0 and 2, not -0.1."),
        ("smallest_crowd = 1", "smallest_crowd must be between 2 and 1,000,000, not 1."),
        ("smallest_crowd = 2.5", "smallest_crowd must be a whole number, not 2.5."),
        ("smallest_crowd = inf", "smallest_crowd must be between 2 and 1,000,000, not inf."),
        ("join = 'example.org'", "join must be HOST:PORT, such as 192.0.2.7:9092, not 'example.org'."),
        ("join = 'example.org:70000'", "join must be HOST:PORT, such as 192.0.2.7:9092, not"),
        ("join = 'http://a/:80'", "join must be HOST:PORT, such as 192.0.2.7:9092, not"),
        (r'memory = "a\u0000b"', r"memory: 'a\x00b' holds U+0000, which no file's name does; write"),
        (
            "memory = '~nosuchuser/x'",
            "memory: '~nosuchuser/x' begins with the home of somebody whom this machine does not know; write",
        ),
    ],
)
def test_what_a_setting_cannot_be_is_one_sentence_with_file_and_key(
    file: Path, text: str, complaint: str
) -> None:
    written(file, text)
    with pytest.raises(UserError) as refused:
        read(file)
    assert str(refused.value).startswith(f"{file}: {complaint}")
    assert "\n" not in str(refused.value)


def test_what_is_written_into_a_form_becomes_a_value() -> None:
    assert from_text("clumsy_thumbs", " 0,3 ") == 0.3
    assert from_text("clumsy_thumbs", "") == 0.0
    assert from_text("memory", " words.sqlite ") == "words.sqlite"
    assert from_text("join", "") == ""
    with pytest.raises(UserError, match="clumsy_thumbs must be a number, not 'much'"):
        from_text("clumsy_thumbs", "much")


@pytest.mark.parametrize(
    "content",
    [b"theme = ", b"\xff", b"theme = 'a'\ntheme = 'b'", b"a=" + b"[" * 5000],
    ids=["half a line", "no text", "said twice", "too deep"],
)
def test_a_file_that_is_no_toml_is_named_and_left_alone(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    for use in (lambda: read(file), lambda: store(file, "emoji", False)):
        with pytest.raises(UserError, match=r"The settings .*settings\.toml are not") as refused:
            use()
        assert "\n" not in str(refused.value)
    assert file.read_bytes() == content


def test_a_folder_instead_of_a_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot read the settings .*Is a directory; --settings FILE"):
        read(tmp_path)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder where nobody may write")
def test_what_cannot_be_written_says_that_the_change_holds_for_now() -> None:
    file = Path("/proc/fedkey/settings.toml")
    with pytest.raises(UserError, match=f"cannot be written to {file} .* holds until fedkey is closed"):
        store(file, "emoji", False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_must_not_be_written_to_is_left_as_it_was(file: Path) -> None:
    written(file, "emoji = true\n")
    file.parent.chmod(0o500)
    try:
        with pytest.raises(UserError, match="holds until fedkey is closed"):
            store(file, "emoji", False)
        assert [each.name for each in file.parent.iterdir()] == ["settings.toml"]
    finally:
        file.parent.chmod(0o700)
    assert file.read_text() == "emoji = true\n"


def test_a_link_stays_a_link_and_rights_stay_as_they_were(file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "dotfiles.toml"
    elsewhere.write_text("emoji = true\n")
    elsewhere.chmod(0o644)
    file.parent.mkdir()
    file.symlink_to(elsewhere)
    store(file, "emoji", False)
    assert file.is_symlink()
    assert elsewhere.read_text() == "emoji = false\n"
    assert elsewhere.stat().st_mode & 0o777 == 0o644


def test_a_memory_is_looked_for_beside_the_file_or_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "config" / "settings.toml"
    assert memory_file(DEFAULTS, file) is None
    assert memory_file(Settings(memory="words"), file) == tmp_path / "config" / "words"
    assert memory_file(Settings(memory="~/words"), file) == tmp_path / "words"
    assert memory_file(Settings(memory="/a/words"), file) == Path("/a/words")


def test_every_setting_is_a_text_a_number_or_a_choice() -> None:
    assert set(KINDS.values()) == {str, bool, float}
    assert {name: type(value) for name, value in asdict(DEFAULTS).items()} == dict(KINDS)
