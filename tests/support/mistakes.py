"""Command lines with every kind of mistake in them: whatever is asked, there is a status and a message.

hypothesis mutates the shipped files: types swapped, lists for words, numbers that are huge, negative or none
at all, keys gone or unknown, bytes lost, ``extends`` in circles.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import math
import tomllib
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hwsim.cli.main import app
from hwsim.kernel.page_flags import NAMES
from hwsim.scenario import check_streams, endless
from tests.support.accepted import limits

ROOT = Path(__file__).parents[2] / "scenarios"
SCENARIOS = sorted(ROOT.glob("*.toml"))
FAULTS = sorted((ROOT / "faults").glob("*.toml"))
RECORDS = sorted(path for path in (ROOT / "mce").iterdir() if path.is_file())
JUNK: tuple[Any, ...] = (
    "", " ", "never", "nan", "-1 s", "1e400 h", "1 fortnight", "0 s", "1 ns", "100 y", "9" * 400 + " h",
    "\u221e",     "\x1b[2J", "\x7f\x00", "\U0001f600", "a/b", "../x", "150 %",
    "9" * 400 + " %", "1 / 0 s", "16 EiB", "0 B", "x" * 5000, "free", "uniform", "kernel:slab", "vm.x",
    0, 1, -1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, math.nan, math.inf, -math.inf, True, False,
    [], [[]], [1, 2], ["a"], [{}], {}, {"x": 1}, {"kind": "lognormal"}, {"region": 1}, {"pfns": []},
    dt.date(2009, 6, 3), dt.time(1, 2), dt.datetime(2009, 6, 3, tzinfo=dt.UTC),
)  # fmt: skip
EVENTS = 300_000


def toml(value: Any) -> str:
    """The value as it stands in a file, tables inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {toml(each)}' for key, each in value.items())} }}"
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)


def document(data: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in data.items())


@cache
def read(path: Path) -> tuple[str, dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    return text, tomllib.loads(text)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, each in items for place in ((*path, key), *places(each, (*path, key)))]


def junk(draw: st.DrawFn) -> Any:
    """A copy: what a later change puts into a list or table of JUNK must not stay in it."""
    return copy.deepcopy(draw(st.sampled_from(JUNK)))


@st.composite
def changed_document(draw: st.DrawFn, paths: list[Path]) -> str:
    """A shipped file with values replaced, keys gone, keys added, or parts of another file in it."""
    data = copy.deepcopy(read(draw(st.sampled_from(paths)))[1])
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(data) or [("name",)]))
        node: Any = data
        for key in place[:-1]:
            node = node[key]
        how = draw(st.sampled_from(("junk", "junk", "junk", "gone", "new", "other")))
        if how == "gone" and (isinstance(node, list) or place[-1] in node):
            del node[place[-1]]
        elif how == "new" and isinstance(node, dict):
            node[draw(st.sampled_from(("new", "name", "kind", "rate", "at", "do", "")))] = junk(draw)
        elif how == "other":
            other = read(draw(st.sampled_from(SCENARIOS)))[1]
            taken: Any = other
            for key in draw(st.sampled_from(places(other))):
                taken = taken[key]
            node[place[-1]] = copy.deepcopy(taken)
        else:
            node[place[-1]] = junk(draw)
    if draw(st.integers(0, 9)) == 0:
        data["extends"] = draw(st.sampled_from(("x.toml", "./x.toml", "none.toml", ".", "", "/", 1, [])))
    return document(data)


@st.composite
def changed_text(draw: st.DrawFn, paths: list[Path]) -> bytes:
    """A shipped file with bytes lost, doubled, or strange."""
    text = bytearray(draw(st.sampled_from(paths)).read_bytes())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        length = draw(st.sampled_from((1, 3, 20, 10_000)))
        strange = (
            b"",
            b"\xff",
            b"\x00",
            b'"',
            b"'''",
            b"[[",
            b"=",
            b"0x",
            b"-",
            b"9" * 30,
            b"\r",
            "\u00e9".encode(),
        )
        text[at : at + length] = draw(st.sampled_from(strange))
    return bytes(text)


@st.composite
def changed_words(draw: st.DrawFn) -> bytes:
    """Machine-check records with words that are not theirs."""
    lines = [line.split(" ") for line in draw(st.sampled_from(RECORDS)).read_text("utf-8").split("\n")]
    words = (
        "",
        "CPU",
        "BANK",
        "0x",
        "-1",
        "0xffffffffffffffff",
        "9" * 40,
        "STATUS",
        "{",
        "\x1b",
        "MCE",
        "PROCESSOR",
        "1:1",
    )
    for _ in range(draw(st.integers(1, 5))):
        line = draw(st.sampled_from(lines))
        line[draw(st.integers(0, len(line) - 1))] = draw(st.sampled_from(words))
    return "\n".join(" ".join(line) for line in lines).encode()


def asked(arguments: list[str], also: tuple[int, ...] = ()) -> int:
    """The status of a command; 0 or 2, and with 2 a message, never an exception that gets away."""
    found = CliRunner().invoke(app, arguments)
    said = found.stderr + found.stdout
    assert found.exception is None or isinstance(found.exception, SystemExit), (arguments, found.exception)
    assert found.exit_code in (0, 2, *also), (arguments, said[-2000:])
    assert "Traceback" not in said, (arguments, said[-2000:])
    if found.exit_code == 2:
        assert found.stderr.strip(), arguments
    return found.exit_code


def written(folder: Path, content: str | bytes, name: str = "x.toml") -> Path:
    path = folder / name
    path.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)
    return path


def checked_and_run(folder: Path, content: str | bytes) -> None:
    """``check`` says 2, or the scenario runs: one machine, which ends within limits, without a failure."""
    path = written(folder, content)
    with mock.patch.object(endless, "MAX_STEPS", 1_000), mock.patch.object(check_streams, "MAX_ERRORS", 200):
        if asked(["check", str(path)]) == 0:
            out = folder / "out.sqlite"
            for old in folder.glob("out.sqlite*"):
                old.unlink()
            with limits(EVENTS):
                asked(["run", str(path), "--repeat=1", "--workers=1", "--quiet", f"--out={out}"])


def fuzz_scenarios(folder: Path) -> Any:
    @given(changed_document(SCENARIOS) | changed_text(SCENARIOS))
    def changed_scenarios(content: str | bytes) -> None:
        checked_and_run(folder, content)

    return changed_scenarios


def fuzz_faults(folder: Path) -> Any:
    @given(changed_document(FAULTS) | changed_text(FAULTS))
    def changed_faults(content: str | bytes) -> None:
        asked(["faults", str(written(folder, content)), "--trials=10", "--quiet"])

    return changed_faults


def fuzz_records(folder: Path) -> Any:
    @given(changed_words() | changed_text(RECORDS), st.sampled_from(("2.6.32", "modern")))
    def changed_records(content: bytes, kernel: str) -> None:
        asked(["mce", str(written(folder, content, "records")), f"--kernel={kernel}"])

    return changed_records


words = st.sampled_from(
    ("", "x", "-1", "0", "1", "2", "1e9", "9" * 30, "nan", "\x1b[2J", "never", "1 h", "30 d", "a=b", "\u221e")
)


def fuzz_explain() -> Any:
    options = st.lists(
        st.tuples(
            st.sampled_from(
                ("--kernel", "--flags", "--mapped", "--early-kill", "--mapping", "--buffers", "--pins",
                 "--unmap-fails", "--set", "--pte-dirty", "--json", "--switches", "--none")
            ),
            words | st.lists(st.sampled_from(sorted(NAMES)), max_size=4).map(",".join)
            | st.sampled_from(("v5", "2.6.32", "anon", "file", "busy", "blockdev_test=fs_hook", "a=1")),
        ),
        max_size=4,
    )  # fmt: skip

    @given(options)
    def explain(pairs: list[tuple[str, str]]) -> None:
        flags = ("--pte-dirty", "--json", "--switches")
        asked(["explain", *(name if name in flags else f"{name}={value}" for name, value in pairs)])

    return explain


def fuzz_results(folder: Path, results: Path) -> Any:
    """``replay`` and ``plot`` of a results file, whole or with bytes lost."""
    whole = results.read_bytes()
    damage = st.lists(st.tuples(st.integers(0, len(whole)), st.sampled_from((0, 1, 100, 50_000))), max_size=2)

    @given(damage, words, words, st.sampled_from(("replay", "plot", "map", "compare")))
    def results_asked_for(cuts: list[tuple[int, int]], number: str, policy: str, what: str) -> None:
        content = bytearray(whole)
        for at, length in cuts:
            content[at : at + max(length, 1)] = b"" if length else b"\xff"
        path = written(folder, bytes(content), "x.sqlite")
        if what == "plot" and cuts:  # whole files are drawn elsewhere, and that takes its time
            asked(["plot", str(path), f"--out={folder / 'plots'}"])
        elif what == "map":
            asked(["replay", str(path), "--replication=0", f"--map={folder / 'm'}", f"--at={number}"])
        else:
            asked(["replay", str(path), f"--replication={number}", f"--policy={policy}"])

    return results_asked_for
