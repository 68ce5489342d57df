"""Presets and overrides: what is wrong is said by name, before anything runs."""

from __future__ import annotations

import contextlib
import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkey.errors import UserError
from fedkey_server.config import Config, from_dict, load, to_dict
from fedkey_server.presets import preset_names


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_survives_json(name: str) -> None:
    config = load(name)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_a_preset_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[train]\nnum_steps = 7\n")
    config = load(path)
    assert config.train.num_steps == 7
    assert config.corpus == Config().corpus
    assert load(str(path)) == config


def test_overrides_win_over_the_preset_and_the_last_one_over_the_first() -> None:
    config = load("tiny", ["train.num_steps=3", "train.num_steps=4", "corpus.donor_share=0.25"])
    assert config.train.num_steps == 4
    assert config.corpus.donor_share == 0.25
    assert config.model == load("tiny").model


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("train.learning_rate=1e-3", "train", "learning_rate", 1e-3),
        ("train.learning_rate=1", "train", "learning_rate", 1.0),
        ("train.optimizer=sophia", "train", "optimizer", "sophia"),
        ("train.optimizer = 'sophia' ", "train", "optimizer", "sophia"),
        ("corpus.phones=package:chitchat", "corpus", "phones", "package:chitchat"),
        ("corpus.phones=/a b/c=d.jsonl", "corpus", "phones", "/a b/c=d.jsonl"),
        ("corpus.server=[]", "corpus", "server", ()),
        ('corpus.server=["a.txt", "b.txt"]', "corpus", "server", ("a.txt", "b.txt")),
    ],
)
def test_an_override_has_a_toml_value_or_is_a_bare_word(
    override: str, section: str, key: str, value: object
) -> None:
    found = getattr(getattr(load("tiny", [override]), section), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("override", ["train.num_steps", "num_steps=3", "=3", "train.=3", ".num_steps", ""])
def test_an_override_of_another_form_is_refused(override: str) -> None:
    with pytest.raises(UserError) as caught:
        load("tiny", [override])
    assert str(caught.value) == f"--set {override!r} is not of the form section.key=value."


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("trian.num_steps=3", "tiny: unknown section: 'trian' (did you mean 'train'?)."),
        ("train.num_step=3", "tiny: unknown key in [train]: 'num_step' (did you mean 'num_steps'?)."),
        ("train.num_steps=3.5", "tiny: train.num_steps must be of type int, not 3.5."),
        ("train.num_steps=true", "tiny: train.num_steps must be of type int, not True."),
        ("train.num_steps=many", "tiny: train.num_steps must be of type int, not 'many'."),
        ("train.num_steps=", "tiny: train.num_steps must be of type int, not ''."),
        ("train.learning_rate=false", "tiny: train.learning_rate must be of type float, not False."),
        ("train.optimizer=3", "tiny: train.optimizer must be of type str, not 3."),
        ("corpus.server=notes.txt", "tiny: corpus.server must be a list, not 'notes.txt'."),
        ("corpus.server=[1]", "tiny: corpus.server must be of type str, not 1."),
        ("corpus.donor_share=0.95", "tiny: corpus.donor_share must be between 0 and 0.9, not 0.95."),
        ("train.learning_rate=nan", "tiny: train.learning_rate must be a finite number, not nan."),
        (
            "rounds.client_learning_rate=inf",
            "tiny: rounds.client_learning_rate must be a finite number, not inf.",
        ),
        ("train.seed=-1", "tiny: train.seed must be at least 0, not -1."),
        ("rounds.seed=-1", "tiny: rounds.seed must be at least 0, not -1."),
        ("count.seed=-1", "tiny: count.seed must be at least 0, not -1."),
        (f"train.seed={2**63}", f"tiny: train.seed must be below 2**63, not {2**63}."),
        (
            "model.window=2",
            "tiny: model.window must be at least 3, not 2: a piece between a message's start and its end.",
        ),
        ("model.rope_base=0.0", "tiny: model.rope_base must be more than 0, not 0.0."),
        ("model.norm_epsilon=-1.0", "tiny: model.norm_epsilon must not be negative, but it is -1.0."),
        (
            "privacy.noise_multiplier=1e-9",
            "tiny: privacy.noise_multiplier must be 0 or at least 0.0001, not 1e-09: less protects nobody, "
            "and cannot be accounted for.",
        ),
        (
            "rounds.update_norm=1e-320",
            "tiny: rounds.update_norm must be 0 or at least 1e-12, not 1e-320: so short an update changes "
            "nothing.",
        ),
        (
            f"sketch.width={2**32}",
            "tiny: sketch.num_hashes 4 times sketch.width 4294967296 must be at most 268,435,456 cells, not "
            "17,179,869,184.",
        ),
        ("vocabulary.max_words=0", "tiny: vocabulary.max_words must be at least 1, not 0."),
        (
            "vocabulary.public_weight=0.5",
            "tiny: vocabulary.donor_weight and vocabulary.public_weight together are more than 1.",
        ),
        ("tokenizer.vocab_size=20", "tiny: tokenizer.vocab_size must be at least 300, not 20."),
        (
            "tokenizer.vocab_size=500",
            "tiny: model.vocab_size 4096 and tokenizer.vocab_size 500 differ; set both to the same number.",
        ),
    ],
)
def test_a_wrong_setting_is_one_sentence_with_its_place(override: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        load("tiny", [override])
    assert str(caught.value) == complaint


def test_more_updates_than_krum_can_vouch_for_are_refused() -> None:
    krum = ["aggregation.name=krum", "rounds.phones_per_round=20", "aggregation.num_bad=2"]
    load("tiny", [*krum, "aggregation.num_kept=16"])
    with pytest.raises(
        UserError, match=r"'krum' needs 21 reports, .* \(krum needs .* num_kept \+ num_bad \+ 2\)"
    ):
        load("tiny", [*krum, "aggregation.num_kept=17"])


def test_a_secure_round_of_more_phones_than_can_be_added_up_is_refused() -> None:
    most = ["rounds.secure=true", "rounds.update_norm=1.0", "rounds.phones_per_round=65536"]
    load("tiny", [*most, "fleet.over_selection=1.0"])
    load("tiny", most[2:])
    with pytest.raises(
        UserError,
        match=r"at most 65,536 phones, and rounds\.phones_per_round 65536 times fleet\.over_selection 1\.3 "
        r"is 85,197; lower",
    ):
        load("tiny", most)


def test_an_unlike_name_lists_what_there_is() -> None:
    with pytest.raises(UserError, match=r"unknown section: 'zzz' \(known: corpus, vocabulary, tokenizer"):
        load("tiny", ["zzz.a=1"])


def test_a_section_must_be_a_section() -> None:
    with pytest.raises(UserError, match=r"^run 7: train must be a section, not 3\.$"):
        from_dict({"train": 3}, "run 7")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"train = 3\n[train]\n", "is not valid TOML"),
        (b"\xff\xfe", "is not valid TOML"),
        (b"[train]\nnum_step = 1\n", "did you mean 'num_steps'"),
    ],
)
def test_a_broken_preset_file_is_named(tmp_path: Path, text: bytes, complaint: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text)
    with pytest.raises(UserError, match=complaint) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_missing_preset_names_the_nearest_or_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no preset 'tinny' \(did you mean 'tiny'\?\)"):
        load("tinny")
    with pytest.raises(UserError, match=r"Cannot read the preset .*absent\.toml: No such file"):
        load(tmp_path / "absent.toml")


KEYS = [(section.name, key.name) for section in fields(Config) for key in fields(section.default_factory)]  # type: ignore[arg-type]


@given(
    st.sampled_from(KEYS),
    st.none()
    | st.booleans()
    | st.integers(-999, 10**6)
    | st.floats()
    | st.text()
    | st.lists(st.integers(), max_size=2),
)
def test_any_value_is_taken_as_it_is_or_refused(place: tuple[str, str], value: object) -> None:
    section, key = place
    with contextlib.suppress(UserError):
        config = from_dict({section: {key: value}})
        assert to_dict(config)[section][key] == value
