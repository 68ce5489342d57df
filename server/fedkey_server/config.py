"""Presets: one TOML file is one run.

In: a preset's name or path, and `section.key=value` overrides. Out: a `Config` whose sections are the
dataclasses that stand beside their components. Next stop: `fedkey_server.corpus`.
"""

from __future__ import annotations

import difflib
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fedkey.errors import UserError
from fedkey_server.accountant import PrivacyConfig
from fedkey_server.corpus import CorpusConfig
from fedkey_server.crowd import CountConfig
from fedkey_server.fleet import FleetConfig
from fedkey_server.model import ModelConfig
from fedkey_server.objectives import FROM_THE_LEFT
from fedkey_server.presets import preset_names, preset_text
from fedkey_server.quantisation import LARGEST_COHORT
from fedkey_server.robust import AggregationConfig
from fedkey_server.rounds import RoundsConfig
from fedkey_server.server_optim import ServerOptimizerConfig
from fedkey_server.sketch import SketchConfig
from fedkey_server.tokenizer import TokenizerConfig
from fedkey_server.train import TrainConfig
from fedkey_server.vocabulary import VocabularyConfig


@dataclass(frozen=True)
class Config:
    """Everything one run was told."""

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    server_optimizer: ServerOptimizerConfig = field(default_factory=ServerOptimizerConfig)
    aggregation: AggregationConfig = field(default_factory=AggregationConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    fleet: FleetConfig = field(default_factory=FleetConfig)
    count: CountConfig = field(default_factory=CountConfig)
    sketch: SketchConfig = field(default_factory=SketchConfig)

    def __post_init__(self) -> None:
        for section in ("train", "rounds", "count"):
            if (seed := getattr(self, section).seed) < 0:
                raise ValueError(f"{section}.seed must be at least 0, not {seed}")
            if seed >= 2**63:  # what a message to a phone can hold
                raise ValueError(f"{section}.seed must be below 2**63, not {seed}")
        if self.model.vocab_size != self.tokenizer.vocab_size:
            raise ValueError(
                f"model.vocab_size {self.model.vocab_size} and tokenizer.vocab_size "
                f"{self.tokenizer.vocab_size} differ; "
                "set both to the same number"
            )
        if self.train.objective not in FROM_THE_LEFT and self.model.attention != "full":
            raise ValueError(
                f"train.objective {self.train.objective} looks to both sides, which model.attention "
                f"{self.model.attention!r} cannot; set it to full"
            )
        if (least := self.aggregation.least_reports) > self.rounds.phones_per_round:
            raise ValueError(
                f"aggregation.name {self.aggregation.name!r} needs {least} reports, and "
                f"rounds.phones_per_round is {self.rounds.phones_per_round}; raise it, or lower "
                "aggregation.num_bad or num_kept (krum needs 2 num_bad + 3 and num_kept + num_bad + 2)"
            )
        if self.rounds.secure and self.aggregation.name != "mean":
            raise ValueError(
                f"aggregation.name {self.aggregation.name!r} looks at single updates, which rounds.secure "
                "hides; give up one of them"
            )
        # Cohorts of coins vary, too, by much less.
        num_asked = math.ceil(self.rounds.phones_per_round * self.fleet.over_selection)
        if self.rounds.secure and num_asked > LARGEST_COHORT:
            raise ValueError(
                f"rounds.secure adds up at most {LARGEST_COHORT:,} phones, and rounds.phones_per_round "
                f"{self.rounds.phones_per_round} times fleet.over_selection {self.fleet.over_selection:g} is "
                f"{num_asked:,}; lower one of them"
            )
        if self.privacy.mode == "poisson" and self.fleet.enabled:
            raise ValueError(
                "privacy.mode poisson needs phones that are always there; with fleet.enabled choose ftrl"
            )
        if self.privacy.mode == "ftrl" and not self.fleet.enabled:
            raise ValueError(
                "privacy.mode ftrl needs phones that rest between rounds; set fleet.enabled or choose poisson"
            )
        if self.rounds.weighed_rows and (self.privacy.mode != "none" or self.fleet.enabled):
            raise ValueError(
                "rounds.weighed_rows asks some phones more often than others, which neither privacy.mode nor "
                "fleet.enabled allows for; set it to 0"
            )
        if self.privacy.mode != "none":
            if not self.rounds.update_norm:
                raise ValueError("privacy needs a bound on every update; set rounds.update_norm")
            if self.aggregation.name != "mean":
                raise ValueError(
                    f"privacy is accounted for sums, not for aggregation.name {self.aggregation.name!r}; "
                    "set one of privacy.mode to none and aggregation.name to mean"
                )


def load(preset: str | Path, overrides: Sequence[str] = ()) -> Config:
    """A preset with its overrides.

    Args:
        preset: name of a preset that comes with fedkey, or the path of a TOML file.
        overrides: "section.key=value" each, in TOML's value syntax; a bare word is a string.

    Raises:
        UserError: no such preset, unknown section or key (with the nearest match), wrong type, value out of
            range.
    """
    table, source = _read(preset)
    for override in overrides:
        section, key, value = _parse_override(override)
        entries = table.setdefault(section, {})
        if isinstance(entries, dict):
            entries[key] = value
    return from_dict(table, source)


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain values, ready for JSON."""
    return _plain(asdict(config))


def from_dict(table: Mapping[str, Any], source: str = "the configuration") -> Config:
    """The inverse of `to_dict`; `source` is named in errors."""
    sections = {f.name: _section_class(f.default_factory) for f in fields(Config)}
    _refuse_unknown(table, sections, source, "section")
    try:
        return Config(
            **{name: _section(cls, name, table.get(name, {}), source) for name, cls in sections.items()}
        )
    except ValueError as error:
        raise UserError(f"{source}: {error}.") from error


def _section_class(factory: Any) -> type:
    assert isinstance(factory, type)
    return factory


def _read(preset: str | Path) -> tuple[dict[str, Any], str]:
    name = str(preset)
    if name.endswith(".toml"):
        try:
            return tomllib.loads(Path(name).read_text(encoding="utf-8")), name
        except OSError as error:
            raise UserError(f"Cannot read the preset {name}: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"The preset {name} is not valid TOML: {error}.") from error
    if name not in preset_names():
        raise UserError(
            f"There is no preset {name!r}{_nearest(name, preset_names())}; or give the path of a .toml file."
        )
    return tomllib.loads(preset_text(name)), name


def _parse_override(override: str) -> tuple[str, str, Any]:
    path, separator, text = override.partition("=")
    section, dot, key = path.strip().partition(".")
    if not separator or not dot or not key:
        raise UserError(f"--set {override!r} is not of the form section.key=value.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    return section, key, value


def _section(cls: type, name: str, entries: Any, source: str) -> Any:
    if not isinstance(entries, Mapping):
        raise UserError(f"{source}: {name} must be a section, not {entries!r}.")
    known = typing.get_type_hints(cls)
    _refuse_unknown(entries, known, source, f"key in [{name}]")
    values = {key: _checked(value, known[key], f"{source}: {name}.{key}") for key, value in entries.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise UserError(f"{source}: {error}.") from error


def _checked(value: Any, expected: Any, where: str) -> Any:
    origin = typing.get_origin(expected)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        (expected,) = [kind for kind in typing.get_args(expected) if kind is not type(None)]
        return _checked(value, expected, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where} must be a list, not {value!r}.")
        item = typing.get_args(expected)[0]
        return tuple(_checked(entry, item, where) for entry in value)
    if expected is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise UserError(f"{where} must be a finite number, not {value}.")
        return float(value)
    if not isinstance(value, expected) or (expected is not bool and isinstance(value, bool)):
        raise UserError(f"{where} must be of type {expected.__name__}, not {value!r}.")
    return value


def _refuse_unknown(given: Iterable[str], known: Iterable[str], source: str, kind: str) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            raise UserError(f"{source}: unknown {kind}: {name!r}{_nearest(name, names)}.")


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(names)})"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
