"""What a writer chose once and for all: a TOML file of a few lines that people read and write, too.

In: the file, if there is one. Out: `Settings`; and the file again with one of them changed, everything else
in it as it was. Next stop: `fedkey.ui.settings_screen`, `fedkey.cli.type`.
"""

from __future__ import annotations

import difflib
import re
import shutil
import textwrap
import tomllib
import typing
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TypeVar

from fedkey.errors import UserError
from fedkey.files import whole
from fedkey.joined import SMALLEST_CROWD, is_address

Value = str | bool | float
"""What a setting may be."""

Default = TypeVar("Default", bound=Value)

BOUNDS: Mapping[str, tuple[float, float]] = {
    "clumsy_thumbs": (0, 2),  # key widths; thumbs that scatter further hit any key for any other
    "smallest_crowd": (2, 1_000_000),  # a sum of one is what the one sent
}
"""Name -> least and most of a number."""

WHOLE = ("smallest_crowd",)
"""Numbers of things."""

_MEANING = "meaning"

_HEADING = """\
# fedkey's settings. The keyboard reads this file when it starts, and F10 in the keyboard changes it.
"""
_LINE_WIDTH = 100

_ESCAPES: Mapping[str, str] = {
    "\\": "\\\\",
    '"': '\\"',
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}
_CONTROL = re.compile(r'[\x00-\x1f\x7f"\\]')


def _setting(default: Default, meaning: str) -> Default:
    return field(default=default, metadata={_MEANING: meaning})


@dataclass(frozen=True)
class Settings:
    """Everything that can be set; `meaning` explains a field where people read it."""

    theme: str = _setting("fedkey-dark", "The colours, by the name that the command palette lists.")
    layout: str = _setting(
        "", 'The keys: "qwerty", "qwertz", "azerty" or "dvorak". Empty: those that the model was made for.'
    )
    autocorrect: bool = _setting(
        True, "Whether a space puts in the word that is marked, when it surely is meant."
    )
    ghost_text: bool = _setting(True, "Whether the rest of a word that is nearly certain stands in the text.")
    show_again: bool = _setting(
        True,
        "Whether words that you typed past are suggested again with the next letter. Off is for who reads "
        "every suggestion.",
    )
    emoji: bool = _setting(True, "Whether emoji are suggested.")
    private: bool = _setting(
        False, "Whether typing starts privately: nothing is remembered, nothing remembered shows."
    )
    glass_box: bool = _setting(
        False, "Whether the panel beside the keys, which shows the engine at work, is open at the start."
    )
    clumsy_thumbs: float = _setting(
        0.0,
        "How far beside their keys presses land, in key widths, to watch the correction work; "
        "0.285 is usual for thumbs, 0 is off.",
    )
    join: str = _setting(
        "",
        "The federation that this keyboard takes part in from its next start on, as HOST:PORT, once you have "
        "agreed. Empty: none; nothing is ever sent.",
    )
    smallest_crowd: float = _setting(
        float(SMALLEST_CROWD),
        "How many keyboards at least must be in a sum that this one helps a federation to, from the next "
        "start on. A federation that asks for sums of fewer gets nothing from it.",
    )
    memory: str = _setting(
        "",
        "The file of your words, from the next start on; a name alone is looked for beside the settings. "
        "Empty: personal.sqlite in your data folder.",
    )


DEFAULTS = Settings()

KINDS: Mapping[str, type[Value]] = typing.get_type_hints(Settings)
"""Name -> type of every setting, in their order."""

_CALLED = {str: "a text in quotes", bool: "true or false", float: "a number"}


def meaning(name: str) -> str:
    """What a setting does, in one or two sentences."""
    (found,) = (each for each in fields(Settings) if each.name == name)
    return str(found.metadata[_MEANING])


def named_path(text: str) -> Path:
    """The file or folder that somebody named; `~` begins with a home.

    Raises:
        UserError: nothing can have that name.
    """
    if "\0" in text:
        raise UserError(f"{text!r} holds U+0000, which no file's name does; write another one.")
    try:
        text.encode()
        return Path(text).expanduser()
    except UnicodeEncodeError as error:
        raise UserError(f"{text!r} is no text, which a file's name is; write another one.") from error
    except RuntimeError as error:
        raise UserError(
            f"{text!r} begins with the home of somebody whom this machine does not know; write the whole "
            "path."
        ) from error


def usual_file() -> Path:
    """Where the settings of whoever runs this are."""
    from platformdirs import user_config_path  # late: most commands need none

    return user_config_path("fedkey") / "settings.toml"


def read(path: Path) -> Settings:
    """The settings in a file; those that it does not mention are the usual ones, as all are without a file.

    Raises:
        UserError: the file cannot be read, or says what cannot be; one sentence names it and the key.
    """
    return _parsed(_text_of(path), path)


def changed(settings: Settings, name: str, value: object, where: str = "Settings") -> Settings:
    """The settings with another value of one of them.

    Args:
        settings: as they are.
        name: which.
        value: what it is to be; a whole number is as good as a fractional one.
        where: whose mistake it is; begins the sentence.

    Raises:
        UserError: there is no such setting, or it cannot be that.
    """
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, n=1, cutoff=0)
        raise UserError(f"{where}: there is no setting {name!r}; do you mean {near[0]!r}?")
    kind = KINDS[name]
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise UserError(f"{where}: {name} must be {_CALLED[kind]}, not {_shortened(value)}.")
    if isinstance(value, str) and not value.isascii():
        _check_encodable(name, value, where)
    if isinstance(value, float):
        least, most = BOUNDS[name]
        if not least <= value <= most:
            raise UserError(f"{where}: {name} must be between {least:g} and {most:,.0f}, not {value:g}.")
        if name in WHOLE and not value.is_integer():
            raise UserError(f"{where}: {name} must be a whole number, not {value:g}.")
    if name == "join" and value and not is_address(str(value)):
        raise UserError(f"{where}: {name} must be HOST:PORT, such as 192.0.2.7:9092, not {value!r}.")
    if name == "memory":
        try:
            named_path(str(value))
        except UserError as error:
            raise UserError(f"{where}: {name}: {error}") from error
    return replace(settings, **{name: typing.cast(typing.Any, value)})


def from_text(name: str, text: str) -> Value:
    """The value that somebody wrote into a field of a form; an empty field is the usual value.

    Raises:
        UserError: the setting cannot be that.
    """
    text = text.strip()
    value: object = text
    if KINDS[name] is float and text:
        with suppress(ValueError):  # refused below, as the text that it is
            value = float(text.replace(",", "."))
    wanted = changed(DEFAULTS, name, value) if text else DEFAULTS
    return typing.cast(Value, getattr(wanted, name))


def store(path: Path, name: str, value: object) -> Settings:
    """Writes one setting into the file and returns what the file now says.

    The file is read anew, so that what another keyboard or an editor wrote meanwhile stays, comments too.

    Raises:
        UserError: the value cannot be, or the file cannot be read or written.
    """
    old = _text_of(path)
    wanted = changed(_parsed(old, path), name, value)
    text = _patched(old, name, typing.cast(Value, getattr(wanted, name)))
    try:
        is_kept = bool(old) and _parsed(text, path) == wanted
    except UserError:
        is_kept = False
    # Whoever writes a value over several lines, or all of them in an inline table, gets our form of the file.
    _replace_file(path, text if is_kept else as_toml(wanted))
    return wanted


def as_toml(settings: Settings) -> str:
    """The file as it is written when there is none: every setting below what it means."""
    blocks = [_HEADING]
    for name in KINDS:
        comment = textwrap.fill(
            meaning(name), _LINE_WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        blocks.append(f"{comment}\n{name} = {as_toml_value(getattr(settings, name))}\n")
    return "\n".join(blocks)


def as_toml_value(value: Value) -> str:
    """A value as TOML writes it."""
    if isinstance(value, str):
        return '"' + _CONTROL.sub(_escape, value) + '"'
    return str(value).lower() if isinstance(value, bool) else repr(value)


def memory_file(settings: Settings, path: Path) -> Path | None:
    """Where the settings of the file `path` say that words are remembered; None for the usual place."""
    return path.parent / named_path(settings.memory) if settings.memory else None


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return _ESCAPES.get(character) or f"\\u{ord(character):04x}"


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UserError(
            f"Cannot read the settings {path}: {error.strerror}; --settings FILE names another file."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"The settings {path} are not UTF-8; save them so, or delete the file.") from error


def _parsed(text: str, path: Path) -> Settings:
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"The settings {path} are not TOML: {error}.") from error
    settings = DEFAULTS
    for name, value in table.items():
        settings = changed(settings, name, value, where=str(path))
    return settings


def _patched(text: str, name: str, value: Value) -> str:
    """The text with one line of it changed, or with one more."""
    # What stands behind the value, a comment perhaps, stays; a text may hold a "#" itself.
    line = re.compile(
        rf"""^({name}[ \t]*=[ \t]*)("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s#"']+)([ \t]*(?:\#.*)?)$""",
        re.MULTILINE,
    )
    written = as_toml_value(value)
    text, count = line.subn(lambda match: f"{match[1]}{written}{match[3]}", text)
    if count:
        return text
    return f"{text}{'' if text.endswith(chr(10)) else chr(10)}{name} = {written}\n"


def _replace_file(path: Path, text: str) -> None:
    try:
        target = path.resolve()  # whoever keeps their settings elsewhere and links to them keeps the link
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole(target, 0o600) as beside:
            beside.write_text(text, encoding="utf-8")
            if target.exists():
                shutil.copymode(target, beside)
    except OSError as error:
        raise UserError(
            f"The settings cannot be written to {path} ({error.strerror}); what you changed holds until "
            "fedkey is closed."
        ) from error


def _check_encodable(name: str, value: str, where: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: {name} holds what is no text: {value!r}.") from error


def _shortened(value: object) -> str:
    return textwrap.shorten(repr(value), 60, placeholder=" …")
