"""The README's pictures: drawn from the real keyboard, and whole by themselves.

The first, which shows no times, is the same whenever it is drawn.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fedkey import Engine

KEYBOARD = Path(__file__).parents[2] / "keyboard"
PICTURES = ("picture", "glass")


def draw(bundle: Path, picture: Path) -> subprocess.CompletedProcess[str]:
    """As the Makefile has it drawn, in more of a hurry."""
    recipe, _ = re.findall(r"--play .*", (KEYBOARD.parent / "Makefile").read_text(encoding="utf-8"))
    recipe = recipe.replace("--pace 400", "--pace 1000").replace("keyboard/picture.svg", str(picture))
    return subprocess.run(
        [sys.executable, "-m", "fedkey", str(bundle), *recipe.split()],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=KEYBOARD.parent,
    )


def words_in(drawing: str) -> list[str]:
    """What is written in a drawing, run by run."""
    texts = ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")
    return " ".join(text.text or "" for text in texts).replace("\xa0", " ").split()


def test_the_picture_shows_suggestions_in_the_middle_of_a_word_and_is_the_same_every_time(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    for name in ("one.svg", "other.svg"):
        done = draw(tiny_bundle, tmp_path / name)
        assert done.returncode == 0, done.stderr
    drawing = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert drawing == (tmp_path / "other.svg").read_text(encoding="utf-8")
    written = words_in(drawing)
    suggested = [written[place + 1] for place, word in enumerate(written) if word in ("1", "2", "3")]
    assert suggested
    known = {form.lower() for form in Engine.open(tiny_bundle).lexicon.forms}
    assert {word.lower() for word in suggested} <= known
    assert {*"qwertyuiopasdfghjklzxcvbnm"} <= set(written)


@pytest.mark.parametrize("name", PICTURES)
def test_a_committed_picture_needs_nothing_but_itself(name: str) -> None:
    drawing = (KEYBOARD / f"{name}.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(drawing)
    assert not re.search(r"@font-face|@import|url\((?!#)|href=", drawing)
    assert "▀" not in drawing


@pytest.mark.parametrize("name", PICTURES)
def test_a_committed_picture_shows_what_its_script_types(name: str) -> None:
    written = " ".join(words_in((KEYBOARD / f"{name}.svg").read_text(encoding="utf-8")))
    lines = (KEYBOARD / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    for line in lines:
        assert line.startswith("[") or line in written


def test_the_glass_box_is_pictured_open() -> None:
    written = words_in((KEYBOARD / "glass.svg").read_text(encoding="utf-8"))
    assert {"saved", "nats", "privacy:"} <= set(written)


def test_a_refused_bundle_leaves_the_picture_as_it_was(tmp_path: Path) -> None:
    picture = tmp_path / "picture.svg"
    picture.write_text("old")
    done = draw(tmp_path / "nothing", picture)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert picture.read_text() == "old"
