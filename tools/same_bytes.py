"""``python -m tools.same_bytes OLD NEW``: do two commits leave the same bytes?

Both trees play the worlds of NEW side by side, in processes of their own: shipped scenarios, accelerated
forms and variants of them, traced, under both policies; then commands, the results file, the golden files.
The players write a line of JSON a row, and the first two lines that differ are shown.  ``.`` is the working
tree.  ``. --no-screen`` compares a tree with itself: all machines played, and with what the screen settles.
Exit status: 0 the same, 1 not, 2 a player failed or too few errors were played to say anything.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LEAST_ERRORS = 25_000
Job = list[Any]


class Difference(NamedTuple):
    """The first row that differs; without a field where one tree has no such row."""

    table: str
    world: str
    row: int
    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        field = f", {self.field}" if self.field else ""
        old, new = json.dumps(self.old), json.dumps(self.new)
        return f"{self.world}\n  {self.table}, row {self.row}{field}\n    old: {old}\n    new: {new}"


@dataclass
class Comparison:
    """What two players came to."""

    difference: Difference | None = None
    rows: int = 0
    errors: int = 0
    failed: str = ""


def difference_of(old: str, new: str) -> Difference:
    """What differs between two lines of the players; one may be missing."""
    was, now = json.loads(old or "[]"), json.loads(new or "[]")
    if was[:3] != now[:3]:  # one of them has a row more, and the other is at its next table
        table, world, number = max(was[:3], now[:3], key=lambda row: row[2:])
        return Difference(table, world, number, "", was, now)
    table, world, number, before = was
    after = now[3]
    if isinstance(before, dict) and isinstance(after, dict):
        for field in [*before, *after]:
            pair = before.get(field), after.get(field)
            if json.dumps(pair[0]) != json.dumps(pair[1]):
                return Difference(table, world, number, field, *pair)
    return Difference(table, world, number, "", before, after)


def compare(old: Path, new: Path, jobs: Sequence[Job], work: Path, old_way: Sequence[str] = ()) -> Comparison:
    """Play the jobs in both trees, in folders below ``work``, up to the first difference.

    ``old_way`` is said to the player of OLD alone.
    """
    found = Comparison()
    folders = [_folder(work / name, new) for name in ("old", "new")]
    task = work / "jobs.json"
    task.write_text(json.dumps(jobs), "utf-8")
    players = [
        _process(tree, folder, "same_bytes_player.py", str(task), *way)
        for tree, folder, way in zip((old, new), folders, (old_way, ()), strict=True)
    ]
    try:
        for was, now in zip_longest(*(player.stdout or () for player in players), fillvalue=""):
            if was != now:
                found.failed = _failed(
                    each for each, line in zip(players, (was, now), strict=True) if not line
                )
                found.difference = None if found.failed else difference_of(was, now)
                return found
            found.rows += 1
            found.errors += now.startswith('["errors"')
        found.failed = _failed(players)
    finally:
        for player in players:
            player.kill()
            player.communicate()
    return found


def _failed(ended: Iterable[subprocess.Popen[str]]) -> str:
    return ", ".join(f"{player.args!r}: status {player.returncode}" for player in ended if player.wait())


def jobs_of(new: Path, work: Path, quick: bool, way: Sequence[str] = ()) -> list[list[Job]]:
    """What there is to play, in groups that belong together."""
    with _process(new, _folder(work, new), "same_bytes_jobs.py", *way, *["--quick"] * quick) as asked:
        groups: list[list[Job]] = json.loads(asked.communicate()[0])
    return groups


def _process(tree: Path, folder: Path, script: str, *arguments: str) -> subprocess.Popen[str]:
    """A script beside this one, in ``folder``, with hwsim and tests of ``tree``."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-P", str(Path(__file__).resolve().with_name(script)), *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def _folder(path: Path, new: Path) -> Path:
    """A folder to play in: both trees play the files of NEW, under the same names."""
    path.mkdir(parents=True)
    (path / "scenarios").symlink_to(new / "scenarios")
    (path / "bad").symlink_to(new / "scenarios" / "bad")
    return path


def checked_out(commit: str, to: Path) -> Path:
    """The tree of a commit; the working tree stays where it is."""
    if commit == ".":
        return ROOT
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(to, filter="data")
    return to


def _has(job: Job, words: Sequence[str]) -> bool:
    return any(json.dumps(word) in json.dumps(job) for word in words)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tools.same_bytes", description=__doc__)
    parser.add_argument("old", metavar="OLD", help="a commit")
    parser.add_argument("new", metavar="NEW", nargs="?", default=".", help="a commit (default: working tree)")
    parser.add_argument("--quick", action="store_true", help="a subset, for each commit")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="two play a share (default: 2)")
    parser.add_argument(
        "--but", action="append", default=[], metavar="WORD", help="leave out what has this argument: schema"
    )
    parser.add_argument(
        "--no-screen",
        action="store_true",
        help="machines of many seeds: OLD plays all, NEW settles whom it can",
    )
    wanted = parser.parse_args()
    way = ["--no-screen"] * wanted.no_screen
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="same-bytes-") as name:
        work = Path(name)
        old, new = checked_out(wanted.old, work / "old"), checked_out(wanted.new, work / "new")
        groups, pairs = jobs_of(new, work / "jobs" / "new", wanted.quick, way), max(1, wanted.workers // 2)
        shares = [
            [job for group in groups[first::pairs] for job in group if not _has(job, wanted.but)]
            for first in range(pairs)
        ]
        with ThreadPoolExecutor(pairs) as pool:
            found = list(pool.map(lambda n: compare(old, new, shares[n], work / str(n), way), range(pairs)))
    rows, errors = sum(each.rows for each in found), sum(each.errors for each in found)
    said = f"{rows:,} rows, of {errors:,} errors, in {time.monotonic() - started:.0f} s"
    for each in found:
        if each.failed:
            print(f"{each.failed}\nafter {said}", file=sys.stderr)
            return 2
        if each.difference:
            print(f"{each.difference}\nthe same before: {said}")
            return 1
    print(f"the same: {said}")
    if errors < LEAST_ERRORS and not wanted.quick:
        print(f"too few: at least {LEAST_ERRORS:,} errors are to be played", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
