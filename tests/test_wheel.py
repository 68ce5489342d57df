"""What the wheel holds: every module and data file of the four packages, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "fedkey": ROOT / "keyboard",
    "fedkey_kernels": ROOT / "kernels",
    "fedkey_server": ROOT / "server",
    "fedkey_export": ROOT / "export",
}


def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    # hatchling silently leaves out files that git ignores, so the list is compared with the folders
    # themselves.
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(source).as_posix()
        for package, source in PACKAGES.items()
        for path in (source / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == expected
    assert "fedkey_server/presets/tiny.toml" in packed
    assert "fedkey/ui/app.tcss" in packed
