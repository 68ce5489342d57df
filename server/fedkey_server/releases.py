"""The registry of releases: which bundles there were, which one phones use now, and how it got there.

In: exported bundles, and text of validation authors. Out: a folder that keyboards can follow. The walk ends
here.

    REGISTRY/0001/, 0002/, ...   bundles, never changed
    REGISTRY/releases.json       every release and what was decided about it
    REGISTRY/current             the number of the release that phones use; written last
    REGISTRY/lock                held by the process that changes one of these; empty

A model is never used straight from training. A new release is graded in the shadow of the current one, on
the same text, and promoted when it is shown not to be worse: for every metric the paired interval over
authors must end above a loss of `MAX_LOSS`. What was promoted can be graded again on newer text, and is
rolled back when it is shown to be worse than the one before it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fedkey.bundle import open_bundle
from fedkey.errors import UserError
from fedkey.files import whole
from fedkey.metrics import Interval
from fedkey.releases import CURRENT, HISTORY, PROMOTED, current_version, folder_name
from fedkey_server import checkpoint

CANDIDATE, REFUSED, ROLLED_BACK = "candidate", "refused", "rolled back"

MAX_LOSS = 0.01
"""A release may be worse by one point at the unlucky end of the interval, no more: with fewer authors the
interval is wider, and a small gain that cannot be told from a loss is refused."""

Gains = Mapping[str, Interval]
"""Metric -> by how much a release beats another, with its interval."""


@dataclass(frozen=True)
class Release:
    """One bundle of the registry."""

    version: int
    manifest: str
    """sha256 of its manifest, which names every file's."""
    state: str = CANDIDATE
    note: str = ""
    """Why it was refused or rolled back, or what it was promoted over."""

    @property
    def folder(self) -> str:
        """Its name in the registry."""
        return folder_name(self.version)


def shown_no_worse(gains: Gains) -> bool:
    """Whether a release may be promoted: no metric may have lost more than `MAX_LOSS`."""
    return all(gain.low > -MAX_LOSS for gain in gains.values())


def shown_worse(gains: Gains) -> bool:
    """Whether a promoted release is to be rolled back: some metric's whole interval is a loss."""
    return any(gain.high < 0 for gain in gains.values())


class Registry:
    """The releases of one folder; what is changed is on disk when a method returns.

    Args:
        folder: made by the first `add`.

    Raises:
        UserError: the folder holds something else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.releases = self._read()
        if (folder / HISTORY).exists():
            return
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is no folder and no registry of releases; give another place.")
        if folder.exists() and any(path.name != checkpoint.LOCK for path in folder.iterdir()):
            raise UserError(f"{folder} is not empty and no registry of releases; give another folder.")

    @property
    def current(self) -> Release | None:
        """The release that phones use; `UserError` if the registry does not name it."""
        return self.release(current_version(self.folder)) if (self.folder / CURRENT).exists() else None

    @property
    def previous(self) -> Release | None:
        """The release to go back to: the newest one before the current that is still thought well of."""
        current = self.current
        if current is None:
            return None
        older = [each for each in self.releases if each.version < current.version and each.state == PROMOTED]
        return older[-1] if older else None

    def release(self, version: int) -> Release:
        """That of a number; `UserError` if there is none."""
        for release in self.releases:
            if release.version == version:
                return release
        raise UserError(f"{self.folder} has no release {version}; 'fedkey-server releases list' shows them.")

    def path(self, release: Release) -> Path:
        """Where its bundle is."""
        return self.folder / release.folder

    def add(self, bundle: Path) -> Release:
        """Copies a bundle into the registry as a candidate; the same bundle again is the same release.

        Raises:
            BundleError: it cannot be opened.
            UserError: the registry cannot be written, or another process writes it; it is as it was.
        """
        open_bundle(bundle)
        manifest = checkpoint.sha256(bundle / "manifest.json")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error.strerror) from error
        with checkpoint.hold(self.folder):
            self.releases = self._read()
            for release in self.releases:
                if release.manifest == manifest:
                    return release
            release = Release(max((each.version for each in self.releases), default=0) + 1, manifest)
            self._copy(bundle, release)
        return release

    def _copy(self, bundle: Path, release: Release) -> None:
        beside = self.folder / (release.folder + ".new")
        try:
            shutil.rmtree(beside, ignore_errors=True)  # of an `add` that was killed
            # Copied, and killed before it was written down.
            shutil.rmtree(self.path(release), ignore_errors=True)
            shutil.copytree(bundle, beside)
            os.replace(beside, self.path(release))
            self._write([*self.releases, release])
        except OSError as error:  # of a whole tree, too, which has reasons instead of one
            shutil.rmtree(beside, ignore_errors=True)
            raise self._unwritable(error.strerror or "not every file could be copied") from error

    def _unwritable(self, reason: str | None) -> UserError:
        return UserError(
            f"Cannot write the registry {self.folder}: {reason}; make room or name another place."
        )

    def promote(self, version: int, gains: Gains) -> bool:
        """Makes a release the current one if it is shown to be no worse; otherwise it is marked refused.

        Args:
            gains: over the current release; empty if there is none.

        Returns:
            Whether it was promoted.
        """
        release, current = self.release(version), self.current
        if current is not None and current.state == ROLLED_BACK:
            raise UserError(
                f"Going back from release {current.version} was cut short; roll back again, then promote."
            )
        if current is not None and current.version == version:
            if current.state == PROMOTED:
                raise UserError(f"Release {version} is the current one already.")
            self._mark(current, PROMOTED, "its promotion was cut short")
            return True
        if current is not None and not gains:
            raise ValueError("a release must be graded against the current one")
        if not shown_no_worse(gains):
            self._mark(release, REFUSED, f"against release {_number(current)}: {_in_words(gains)}")
            return False
        note = "the first" if current is None else f"over release {current.version}: {_in_words(gains)}"
        if release.state == ROLLED_BACK:
            # Else a promotion that is killed below would look like a rollback that was.
            self._mark(release, CANDIDATE, release.note)
        # Phones first: killed between the two, the release is in use, and only its mark is missing.
        self._use(release)
        self._mark(release, PROMOTED, note)
        return True

    def rollback(self, reason: str) -> Release:
        """Goes back to the release before the current one.

        Raises:
            UserError: there is none.
        """
        current, previous = self.current, self.previous
        if current is None or previous is None:
            raise UserError(f"{self.folder} has no earlier release to go back to.")
        # The mark first: killed between the two, phones keep the release until this is done again. With
        # phones first it would stay promoted, and a later rollback bring back what was found to be bad.
        if current.state != ROLLED_BACK:
            self._mark(current, ROLLED_BACK, reason)
        self._use(previous)
        return previous

    def review(self, gains: Gains) -> Release | None:
        """Rolls the current release back if `gains` over the previous one show it to be worse; returns what
        is used then, or None if nothing changed."""
        return self.rollback(f"graded again: {_in_words(gains)}") if shown_worse(gains) else None

    def _mark(self, release: Release, state: str, note: str) -> None:
        marked = replace(release, state=state, note=note)
        with checkpoint.hold(self.folder):
            rows = self._read()  # while this one was graded another may have been added
            self._write([marked if each.version == release.version else each for each in rows])

    def _read(self) -> list[Release]:
        path = self.folder / HISTORY
        if not path.exists():
            return []
        try:
            return [Release(**entry) for entry in checkpoint.read_json(path)]
        except TypeError as error:
            raise UserError(f"{path} was not written by this fedkey; move it away.") from error

    def _write(self, releases: list[Release]) -> None:
        rows: list[dict[str, Any]] = [asdict(release) for release in releases]
        checkpoint.write_json(self.folder / HISTORY, rows)
        self.releases = releases

    def _use(self, release: Release) -> None:
        with whole(self.folder / CURRENT) as beside:
            beside.write_text(f"{release.version}\n", encoding="utf-8")


def _number(release: Release | None) -> str:
    return "none" if release is None else str(release.version)


def _in_words(gains: Gains) -> str:
    return ", ".join(
        f"{metric} {100 * gain.value:+.1f} [{100 * gain.low:.1f}, {100 * gain.high:.1f}]"
        for metric, gain in gains.items()
    )
