"""The guide's example, run as it stands; and what it points to."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "keyboard"
GUIDE = (FOLDER / "GUIDE.md").read_text(encoding="utf-8")


def test_the_example_runs_as_it_stands_and_says_what_the_text_claims(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    assert len(example.strip().splitlines()) <= 16
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")
    *words, earlier, last = ran.stdout.splitlines()
    assert earlier == "how are you?"
    assert [line.split()[:3:2] for line in words] == [["im", "I'm"], ["fine", "fine"], ["thnaks", "thanks"]]
    assert last.startswith("I'm fine thanks ")


def test_every_file_it_points_to_exists() -> None:
    for path in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (FOLDER / path).exists(), path
