"""Releases: what is worse is refused or rolled back, and a kill leaves a registry as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from at_command import fedkey_server

from fedkey.bundle import BundleError, open_bundle
from fedkey.commands import EXIT_MISTAKE
from fedkey.errors import UserError
from fedkey.metrics import Interval
from fedkey_export.package import export
from fedkey_server import checkpoint
from fedkey_server.config import load
from fedkey_server.releases import Registry, Release, shown_no_worse, shown_worse
from fedkey_server.train import train

BETTER = {"top_1": Interval(0.02, 0.01, 0.03), "ksr": Interval(0.0, -0.009, 0.01)}
UNSURE = {"top_1": Interval(0.02, -0.03, 0.05), "ksr": Interval(0.0, -0.009, 0.01)}
WORSE = {"top_1": Interval(0.02, 0.01, 0.03), "ksr": Interval(-0.02, -0.03, -0.001)}


@pytest.fixture(scope="session")
def untrained_bundle(
    tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, small_overrides: list[str]
) -> Path:
    """A release that everybody should refuse: trained for one step."""
    folder = tmp_path_factory.mktemp("untrained")
    train(load("tiny", small_overrides), tiny_data, folder / "run", num_steps=1)
    export(folder / "run", folder / "bundle")
    return folder / "bundle"


def test_what_may_have_lost_too_much_is_not_promoted_and_what_surely_lost_goes_back() -> None:
    assert [shown_no_worse(gains) for gains in (BETTER, UNSURE, WORSE)] == [True, False, False]
    assert [shown_worse(gains) for gains in (BETTER, UNSURE, WORSE)] == [False, False, True]


def test_a_release_is_promoted_reviewed_and_rolled_back(
    tmp_path: Path, tiny_bundle: Path, untrained_bundle: Path
) -> None:
    registry = Registry(tmp_path / "registry")
    assert registry.current is None
    first, second = registry.add(tiny_bundle), registry.add(untrained_bundle)
    assert registry.add(tiny_bundle) == first
    assert [release.version for release in registry.releases] == [1, 2]
    assert registry.promote(1, {})
    assert not registry.promote(2, WORSE)
    assert registry.current == Registry(tmp_path / "registry").current == registry.release(1)
    assert registry.release(2).state == "refused"
    assert "against release 1: top_1 +2.0 [1.0, 3.0], ksr -2.0 [-3.0, -0.1]" in registry.release(2).note
    assert registry.promote(2, BETTER)  # newer text may tell another story
    assert registry.review(BETTER) is None
    assert registry.review(WORSE) == registry.release(1)
    again = Registry(tmp_path / "registry")
    assert again.releases == registry.releases
    assert (again.current, again.release(2).state) == (again.release(1), "rolled back")
    assert open_bundle(again.path(second)).manifest == open_bundle(untrained_bundle).manifest
    with pytest.raises(UserError, match="no earlier release"):
        again.rollback("by hand")


def test_two_that_change_a_registry_lose_nothing_of_each_other(
    tmp_path: Path, tiny_bundle: Path, untrained_bundle: Path
) -> None:
    folder = tmp_path / "registry"
    one, other = Registry(folder), Registry(folder)
    folder.mkdir()
    with (
        checkpoint.hold(folder),
        pytest.raises(UserError, match=r"Another process is at work on .*registry; wait"),
    ):
        one.add(tiny_bundle)
    assert one.add(tiny_bundle).version == 1  # what was refused left no trace
    assert other.add(untrained_bundle).version == 2
    assert one.promote(1, {})
    assert [(each.version, each.state) for each in Registry(folder).releases] == [
        (1, "promoted"),
        (2, "candidate"),
    ]
    assert open_bundle(folder / "0001").manifest != open_bundle(folder / "0002").manifest


def test_nothing_is_promoted_without_having_been_graded(tmp_path: Path, tiny_bundle: Path) -> None:
    registry = Registry(tmp_path / "registry")
    registry.add(tiny_bundle)
    registry.promote(1, {})
    with pytest.raises(UserError, match="Release 1 is the current one already"):
        registry.promote(1, BETTER)
    with pytest.raises(UserError, match="has no release 7"):
        registry.promote(7, BETTER)
    with pytest.raises(BundleError):
        registry.add(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is not empty and no registry"):
        Registry(tmp_path / "other")


def test_the_command_refuses_a_worse_release_and_takes_a_better_one(
    tmp_path: Path,
    tiny_data: Path,
    tiny_bundle: Path,
    untrained_bundle: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry = tmp_path / "registry"
    graded = ("--text", tiny_data / "validation.jsonl", "--max-words", "60", "--processes", "1")
    assert fedkey_server("releases", "list", registry) == 0
    assert capsys.readouterr().out == "no releases\n"
    assert fedkey_server("releases", "promote", registry, *graded) == EXIT_MISTAKE
    assert "has no candidate; add one" in capsys.readouterr().err
    fedkey_server("releases", "add", registry, untrained_bundle)
    assert fedkey_server("releases", "promote", registry, *graded) == 0
    fedkey_server("releases", "add", registry, tiny_bundle)
    assert fedkey_server("releases", "promote", registry, *graded) == 0
    assert "release 2 is the current one (over release 1: top_1 +" in capsys.readouterr().out
    assert fedkey_server("releases", "promote", registry, "1", *graded) == 1
    assert "release 1 was refused (against release 2: top_1 -" in capsys.readouterr().out
    assert Registry(registry).current == Registry(registry).release(2)
    fedkey_server("releases", "list", registry)
    assert "*    2  promoted " in capsys.readouterr().out
    assert fedkey_server("releases", "review", registry, *graded) == EXIT_MISTAKE  # 1 was refused since


def test_a_release_that_turns_out_worse_goes_back_by_itself(
    tmp_path: Path,
    tiny_data: Path,
    tiny_bundle: Path,
    untrained_bundle: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry = Registry(tmp_path / "registry")
    registry.add(tiny_bundle)
    registry.add(untrained_bundle)
    registry.promote(1, {})
    registry.promote(2, BETTER)  # somebody was mistaken
    graded = ("--text", tiny_data / "validation.jsonl", "--max-words", "60", "--processes", "1")
    assert fedkey_server("releases", "review", registry.folder, *graded) == 0
    assert "release 2 was rolled back to 1 (graded again: top_1 -" in capsys.readouterr().out
    assert Registry(registry.folder).current == Registry(registry.folder).release(1)


@pytest.mark.parametrize("wrong", ["a file", "in a file", "no number", "in a file, add"])
def test_what_is_no_registry_or_damaged_is_one_sentence_and_status_2(
    wrong: str, tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("dear")
    place, said, arguments = {
        "a file": (tmp_path / "file", "is no folder and no registry of releases; give another place.", ()),
        "in a file": (tmp_path / "file" / "registry", "no releases", ()),
        "in a file, add": (
            tmp_path / "file" / "registry",
            "Cannot write the registry {}: Not a directory; make room or name another place.",
            (tiny_bundle,),
        ),
        "no number": (tmp_path / "registry", "The registry {} names no current release; ", ()),
    }[wrong]
    if wrong == "no number":
        Registry(place).add(tiny_bundle)
        (place / "current").write_text("")
    status = fedkey_server("releases", "add" if arguments else "list", place, *arguments)
    output, errors = capsys.readouterr()
    assert said.format(place) in output + errors
    assert status == (0 if wrong == "in a file" else EXIT_MISTAKE)
    assert errors.count("\n") == (status != 0)


def test_a_promotion_that_is_killed_is_in_use_and_is_marked_when_asked_again(
    tmp_path: Path,
    tiny_data: Path,
    tiny_bundle: Path,
    untrained_bundle: Path,
    killed: Callable[..., None],
    finished: Callable[..., tuple[str, str]],
) -> None:
    registry = Registry(tmp_path / "registry")
    registry.add(untrained_bundle)
    registry.promote(1, {})
    registry.add(tiny_bundle)
    graded = ["--text", str(tiny_data / "validation.jsonl"), "--max-words", "60", "--processes", "1"]
    arguments = ["releases", "promote", str(registry.folder), *graded]
    killed(arguments, ("os.rename", "releases.json"))
    found = Registry(registry.folder)
    assert (found.current, found.release(2).state) == (found.release(2), "candidate")
    finished(arguments)
    found = Registry(registry.folder)
    assert (found.current, found.release(2).state) == (found.release(2), "promoted")
    assert found.previous == found.release(1)


def with_two_promoted(folder: Path, first: Path, second: Path) -> Registry:
    registry = Registry(folder)
    for version, (bundle, gains) in enumerate(((first, {}), (second, BETTER)), start=1):
        registry.add(bundle)
        registry.promote(version, gains)
    return registry


def test_a_rollback_that_is_killed_is_done_again_and_brings_nothing_bad_back(
    tmp_path: Path,
    tiny_bundle: Path,
    untrained_bundle: Path,
    killed: Callable[..., None],
    finished: Callable[..., tuple[str, str]],
) -> None:
    registry = with_two_promoted(tmp_path / "registry", untrained_bundle, tiny_bundle)
    arguments = ["releases", "rollback", str(registry.folder)]
    killed(arguments, ("os.rename", "current"))
    found = Registry(registry.folder)
    assert (found.current, found.release(2).state) == (found.release(2), "rolled back")
    for version in (1, 2):  # neither is this a promotion that was cut short, nor is 2 to be compared with
        with pytest.raises(UserError, match="Going back from release 2 was cut short; roll back again"):
            found.promote(version, BETTER)
    finished(arguments)
    found = Registry(registry.folder)
    assert (found.current, found.release(2).state) == (found.release(1), "rolled back")
    assert found.previous is None


def test_a_promotion_of_what_was_rolled_back_that_is_killed_is_no_rollback(
    tmp_path: Path, tiny_bundle: Path, untrained_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = with_two_promoted(tmp_path / "registry", untrained_bundle, tiny_bundle)
    registry.rollback("by hand")

    def killed(self: Registry, release: Release) -> None:
        use(self, release)
        raise KeyboardInterrupt

    use = Registry._use
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "_use", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.promote(2, BETTER)
    found = Registry(registry.folder)
    assert (found.current, found.release(2).state) == (found.release(2), "candidate")
    assert found.promote(2, {})
    assert found.release(2).state == "promoted"


@pytest.mark.slow
@pytest.mark.parametrize(
    "killed_at",
    [("os.rename", "0002.new"), ("os.rename", "releases.json")],
)
def test_an_add_that_is_killed_leaves_the_registry_as_it_was_and_can_be_done_again(
    killed_at: tuple[str, str],
    tmp_path: Path,
    tiny_bundle: Path,
    untrained_bundle: Path,
    killed: Callable[..., None],
    finished: Callable[..., tuple[str, str]],
) -> None:
    registry = Registry(tmp_path / "registry")
    registry.add(tiny_bundle)
    registry.promote(1, {})
    before = json.loads((registry.folder / "releases.json").read_text())
    arguments = ["releases", "add", str(registry.folder), str(untrained_bundle)]
    killed(arguments, killed_at)
    assert json.loads((registry.folder / "releases.json").read_text()) == before
    assert Registry(registry.folder).current == registry.release(1)
    finished(arguments)
    again = Registry(registry.folder)
    assert [release.version for release in again.releases] == [1, 2]
    assert open_bundle(again.path(again.release(2))).manifest == open_bundle(untrained_bundle).manifest
