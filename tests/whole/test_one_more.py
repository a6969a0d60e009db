"""One column more, one figure more: seen by adding them to a copy, which plays a scenario and draws."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.copied_tree import changed, copy_tree, python

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
    "hwsim/bad_lines/rows.py": [("        line.number_in_page,\n", "        line.number_in_page % 2,\n")],
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
    copy_tree(tmp_path, "hwsim", "docs", "scenarios", "tools", "tests/support")
    for path, additions in ADDED.items():
        file = tmp_path / path
        for before, line in additions:
            text = file.read_text("utf-8") if file.exists() else ""
            assert before in text
            at = text.rindex(before) + len(before)
            file.write_text(text[:at] + line + text[at:], "utf-8")
    wet, lines, written, fake = json.loads(python(tmp_path, "-c", USED).splitlines()[-1])
    assert wet == [line % 2 for line in lines]
    assert set(fake) == {0}
    assert written[:2] == ["rain.svg", "rain.png"]
    assert "| `wet` | 0 or 1 |  | 1: it rained |" in (tmp_path / "docs" / "columns.md").read_text("utf-8")
    assert changed(tmp_path, "hwsim", "docs") == {*ADDED, "docs/columns.md"}
