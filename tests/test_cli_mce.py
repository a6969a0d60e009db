"""``hwsim mce`` as a person or a program meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hwsim.cli.main import app

EXAMPLES = Path(__file__).parent.parent / "scenarios" / "mce"


def hwsim_mce(*arguments: str | Path, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["mce", *map(str, arguments)], input=stdin)


def test_json_has_one_object_a_file() -> None:
    files = sorted(EXAMPLES.iterdir())
    result = hwsim_mce(*files, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [each["file"] for each in found] == [str(file) for file in files]
    fatal = next(each for each in found if each["file"].endswith("fatal-and-corrected"))
    nothing = {"pfn": None, "found_by": None, "fell_away": None}
    assert fatal["records"] == [
        {
            "cpu": 1, "bank": 3, "status": "0x900000000000009f", "severity": "KEEP",
            "reason": "Non signalled machine check", **nothing,
        },
        {
            "cpu": 0, "bank": 4, "status": "0xb200000000000000", "severity": "PANIC",
            "reason": "Processor context corrupt", **nothing,
        },
    ]  # fmt: skip
    rest = {"form": "mce-inject", "boot": 1, "verdict": None, "notes": [], "repeated": 0, "passed_over": 0}
    assert {name: fatal[name] for name in rest} == rest
    assert fatal["fate"] == {
        "panic": True,
        "message": "Fatal Machine check",
        "reason": "Processor context corrupt",
        "rendezvous_timeout": False,
        "queued_pfns": [],
        "signals": [],
        "logged": 2,
        "dropped": 0,
    }


def test_text_says_what_is_queued_and_what_was_never_raised() -> None:
    held = "CPU 1 STATUS UC HOLD\n"
    text = "CPU 0 STATUS UNCORRECTED SRAO 0xc0\nMCGSTATUS RIPV MCIP\nADDR 0x7000 MISC 0x8c\n" + held
    result = hwsim_mce("-", stdin=text)
    assert result.stdout == (
        "-: kernel 2.6.32, 4 CPUs\n"
        "  CPU 0 bank 0  AO     Action optional: memory scrubbing error\n"
        "  CPU 1 bank 0  NO     Invalid (not raised: held, and no record came after it)\n"
        "  memory_failure: pfn 0x7\n"
        "  goes on; records logged: 1\n"
    )


def test_no_ser_and_tolerant_reach_the_machine() -> None:
    over = "CPU 0 STATUS UNCORRECTED OVER\nMCGSTATUS RIPV EIPV MCIP\n"
    assert "Overflowed uncorrected" in hwsim_mce("-", "--no-ser", stdin=over).stdout
    assert "Overflowed uncorrected" not in hwsim_mce("-", stdin=over).stdout
    assert "goes on" in hwsim_mce("-", "--no-ser", "--tolerant", "3", stdin=over).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "--kernel", "v5"], "--kernel v5: no such kernel\n    allowed: 2.6.32, modern"),
        (["-", "--kernel", "modern", "--tolerant", "2"], "--tolerant 2: modern has no such setting"),
        (["/no/such/file"], "/no/such/file: No such file or directory"),
        ([str(EXAMPLES)], "Is a directory"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], message: str) -> None:
    result = hwsim_mce(*arguments, stdin="")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("CPU 0 STATUS FATL\n", "utf-8")
    (tmp_path / "two").write_bytes(b"CPU 0\n\xff\x00 ADDR 1\n")
    (tmp_path / "long").write_bytes(b"CPU 0 STATUS " + b"U" * 10_000_000)
    result = hwsim_mce(tmp_path / "one", EXAMPLES / "load-srar", tmp_path / "two", tmp_path / "long")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[1:] == [
        f"{tmp_path}/one:1: STATUS: 'FATL' is not one of its words; did you mean FATAL?",
        f"{tmp_path}/two:2: unrecognized character '\\ufffd'",
        f"{tmp_path}/two:2: unrecognized character '\\x00'",
        f"{tmp_path}/long: larger than 1,048,576 bytes: not a set of machine checks",
    ]
