"""One column more, one figure more: seen by adding them to a copy, which plays a scenario and draws."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RAIN = '''"""Rain."""

from hwsim.show import style


def rain(results):
    """How often it rained."""
    return style.message(f"It rained {results.errors['wet'].sum()} times.", "Rain")
'''
ADDED = {  # file: what stands there, what comes after it
    "hwsim/record.py": [
        (
            '    line: Annotated[int, "its line of 64 bytes in the page", range(64)]\n',
            '    wet: Annotated[int, "1: it rained", range(2)]\n',
        )
    ],
    "hwsim/bad_lines/rows.py": [("line=line.number_in_page,\n", "        wet=line.number_in_page % 2,\n")],
    "hwsim/show/rain.py": [("", RAIN)],
    "hwsim/show/plots.py": [
        ("from hwsim.show.survival import time_to_kill\n", "from hwsim.show.rain import rain\n"),
        ("    who_was_told,\n", "    rain,\n"),
    ],
}
USED = """
import json
from pathlib import Path
import hwsim
from hwsim.cli.main import app
from hwsim.show import plots
from tests.support.study_fake import FakeScenario, fake_replication
from tools.columns import reference
run = ["run", "scenarios/drill.toml", "--repeat=1", "--workers=1", "--quiet", "--out=x.sqlite"]
app(run, standalone_mode=False)
results = hwsim.open_results("x.sqlite")
plots.FIGURES = tuple(each for each in plots.FIGURES if each.__name__ == "rain")
written = [each.name for each in plots.write_all(results, "plots")]
Path("docs/columns.md").write_text(reference(), "utf-8")
fake = [row.wet for row in fake_replication(FakeScenario().spec, 1).errors]
print(json.dumps([results.errors["wet"].tolist(), results.errors["line"].tolist(), written, fake]))
"""


def test_a_new_column_and_a_new_figure_are_two_files_each(tmp_path: Path) -> None:
    """... and the reference of the columns, which ``make schema`` renews; tests make their rows as before."""
    for part in ("hwsim", "docs", "scenarios", "tools", "tests/support"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.svg"))
    for path, additions in ADDED.items():
        file = tmp_path / path
        for before, line in additions:
            text = file.read_text("utf-8") if file.exists() else ""
            assert before in text
            at = text.rindex(before) + len(before)
            file.write_text(text[:at] + line + text[at:], "utf-8")
    command = [sys.executable, "-c", USED]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wet, lines, written, fake = json.loads(done.stdout.splitlines()[-1])
    assert wet == [line % 2 for line in lines]
    assert set(fake) == {0}
    assert written[:2] == ["rain.svg", "rain.png"]
    assert "| `wet` | 0 or 1 |  | 1: it rained |" in (tmp_path / "docs" / "columns.md").read_text("utf-8")
    paths = [
        path.relative_to(tmp_path) for part in ("hwsim", "docs") for path in (tmp_path / part).rglob("*.*")
    ]
    changed = {
        path.as_posix()
        for path in paths
        if "__pycache__" not in path.parts
        if not (ROOT / path).exists() or not filecmp.cmp(ROOT / path, tmp_path / path, shallow=False)
    }
    assert changed == {*ADDED, "docs/columns.md"}
