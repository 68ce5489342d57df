"""The presets that come with fedkey.

In: a name. Out: the text of its TOML file. Next stop: `fedkey_server.config`.
"""

from importlib.resources import files

_FOLDER = files("fedkey_server") / "presets"


def preset_names() -> list[str]:
    """What there is."""
    names = (entry.name for entry in _FOLDER.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def preset_text(name: str) -> str:
    """One of these."""
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")
