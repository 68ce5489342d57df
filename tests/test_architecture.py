"""ARCHITECTURE.md names every module, nothing that is not there, and the imports as they are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGES = ("keyboard/fedkey", "kernels/fedkey_kernels", "server/fedkey_server", "export/fedkey_export")


def places_of_the_walk() -> list[Path]:
    """The files and folders of the walk; names without a folder are beside the last one that has any."""
    walk = TEXT.split("## The walk")[1].split("\n## ")[0]
    rows = [line.split(" | ")[1] for line in walk.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) > 50
    found = []
    for row in rows:
        folder = Path()
        for name in re.findall(r"`([^`]+)`", row):
            is_whole = name.split("/")[0] in ("keyboard", "kernels", "server", "export")
            path = Path(name) if is_whole else folder / name
            folder = path.parent if is_whole else folder
            found.append(path)
    return found


def modules(package: str) -> Iterator[Path]:
    for path in (ROOT / package).rglob("*.py"):
        if not path.name.startswith("__"):
            yield path.relative_to(ROOT)


def test_all_that_the_walk_names_is_there() -> None:
    assert [str(place) for place in places_of_the_walk() if not (ROOT / place).exists()] == []


def test_every_module_is_on_the_walk() -> None:
    places = {*places_of_the_walk()}
    missing = [
        str(module)
        for package in PACKAGES
        for module in modules(package)
        if not places.intersection((module, *module.parents))
    ]
    assert sorted(missing) == []


def test_the_server_imports_of_the_keyboard_what_the_page_says() -> None:
    arrows = TEXT.split("## The arrows")[1]
    (said,) = re.findall(
        r"^- `server` imports `kernels`, and from `keyboard` (.*?)\n- ", arrows, re.DOTALL | re.MULTILINE
    )
    imported = {
        node.module.split(".")[1]
        for module in modules("server/fedkey_server")
        for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fedkey.")
    }
    servers = {module.stem for module in modules("server/fedkey_server")}
    named = set(re.findall(r"`(\w+)`", said))
    assert imported <= named
    assert named <= imported | servers
