"""``hwsim mce`` as a person or a program meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hwsim.cli.main import app
from tests.support.mce_logs import KERNEL, TIMER, UCNA, kernel_lines, panic_lines, polled_lines, text_of

EXAMPLES = Path(__file__).parents[2] / "scenarios" / "mce"


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


def test_a_log_is_answered_with_its_own_verdict_beside() -> None:
    lines = ["usb 1-1: new device", *kernel_lines(TIMER, cpu=2, bank=7, mcg=5, rip=KERNEL)]
    log = text_of(lines, panic_lines(reason="Processor context corrupt"), ["Call Trace:"])
    result = hwsim_mce("-", "--kernel", "modern", stdin=log)
    assert result.stdout == (
        "-: kernel modern, 4 CPUs\n"
        "  CPU 2 bank 7  PANIC  Processor context corrupt\n"
        "    VAL UC EN MISCV ADDRV PCC; 0x0400: internal timer; page 0x12345\n"
        "  Kernel panic - not syncing: Fatal machine check\n"
        "  Machine check: Processor context corrupt\n"
        "  agrees with the text: Fatal machine check / Processor context corrupt\n"
        "  2 lines passed over\n"
    )
    (found,) = json.loads(hwsim_mce("-", "--kernel", "modern", "--json", stdin=log).stdout)
    assert (found["form"], found["passed_over"]) == ("log", 2)
    assert found["verdict"] == {
        "message": "Fatal machine check",
        "reason": "Processor context corrupt",
        "goes_on": False,
        "compared": "agrees",
    }
    differs = hwsim_mce(
        "-", "--kernel", "modern", stdin=log.replace("Processor context corrupt", "Uncorrected")
    )
    assert "  differs from the text: Fatal machine check / Uncorrected\n" in differs.stdout
    other = log.replace("check: Processor context corrupt", "check: Uncorrected")
    (found,) = json.loads(hwsim_mce("-", "--kernel", "modern", "--json", stdin=other).stdout)
    assert found["verdict"]["compared"] == "differs"


@pytest.mark.parametrize(
    ("tsc", "status", "said"),
    [
        (5, UCNA, "found by CMCI"),
        (0, UCNA, "found by the timer poll"),
        (0, TIMER, "found by the first poll after boot; the boot before died of it"),
    ],
)
def test_the_answer_says_which_poll_found_it(tsc: int, status: int, said: str) -> None:
    result = hwsim_mce("-", "--kernel", "modern", stdin=text_of(polled_lines(status, tsc=tsc)))
    assert f" (polled: {said})\n" in result.stdout
    assert "  goes on; records logged: 1\n" in result.stdout


def test_each_boot_of_a_log_has_its_answer() -> None:
    log = text_of(kernel_lines(TIMER), panic_lines(), polled_lines(TIMER, tsc=0), ["EDAC MC0: 1 CE"])
    result = hwsim_mce("-", "--kernel", "modern", stdin=log)
    assert "-: kernel" not in result.stdout
    assert "- (boot 2): kernel modern, 4 CPUs\n" in result.stdout
    assert result.stdout.endswith("  1 line passed over; not read: 1 of EDAC\n")
    found = json.loads(hwsim_mce("-", "--kernel", "modern", "--json", stdin=log).stdout)
    assert [(each["boot"], each["fate"]["panic"]) for each in found] == [(1, True), (2, False)]
    assert found[1]["records"][0]["found_by"] == "boot"


def test_a_panic_without_its_record_has_no_fate() -> None:
    log = text_of(panic_lines(reason="Processor context corrupt"))
    result = hwsim_mce("-", "--kernel", "modern", stdin=log)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "  no record",
        "  the record that decided is not in the text: nothing to grade",
        "  not compared with the text: Fatal machine check / Processor context corrupt",
    ]
    (found,) = json.loads(hwsim_mce("-", "--json", stdin=log).stdout)
    assert (found["fate"], found["verdict"]["compared"]) == (None, None)


def test_what_is_refused_is_refused_in_one_line() -> None:
    for log, said in (
        (
            text_of(kernel_lines(TIMER, processor="2:a20f10")),
            "stdin:4: PROCESSOR 2 is AMD: only Intel's rules",
        ),
        ("EDAC MC0: 1 CE memory read error\n", "stdin:1: this form is not read: EDAC"),
    ):
        result = hwsim_mce("-", stdin=log)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert said in result.stderr


def test_control_characters_of_a_log_do_not_reach_the_terminal() -> None:
    log = text_of(kernel_lines(TIMER), panic_lines(reason="a\x1b]0;b\x07\x1b[31m\x9b2J\u202e c"))
    assert "differs from the text: Fatal machine check / a 2J  c\n" in hwsim_mce("-", stdin=log).stdout
    cut = f"CPU 1: Machine Check\x1b[2J \x07{'y' * 200}\n"
    assert hwsim_mce("-", stdin=cut).stderr.isprintable() or "\x1b" not in hwsim_mce("-", stdin=cut).stderr


def test_phys_bits_is_the_cpus_and_modern_kernels_alone_ask_for_it() -> None:
    log = text_of(polled_lines(UCNA, addr=3 << 46 | 0x12345000))
    assert "pfn 0x12345\n" in hwsim_mce("-", "--kernel", "modern", "--phys-bits", "46", stdin=log).stdout
    assert "pfn 0xc00012345\n" in hwsim_mce("-", "--kernel", "modern", stdin=log).stdout
    assert hwsim_mce("-", "--phys-bits", "46", stdin=log).exit_code == 2


def test_no_ser_and_tolerant_reach_the_machine() -> None:
    over = "CPU 0 STATUS UNCORRECTED OVER\nMCGSTATUS RIPV EIPV MCIP\n"
    assert "Overflowed uncorrected" in hwsim_mce("-", "--no-ser", stdin=over).stdout
    assert "Overflowed uncorrected" not in hwsim_mce("-", stdin=over).stdout
    assert "goes on" in hwsim_mce("-", "--no-ser", "--tolerant", "3", stdin=over).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "--kernel", "v6"], "--kernel v6: no such kernel\n    allowed: 2.6.32, modern, v5"),
        (
            ["-", "--kernel", "modern", "--tolerant", "2"],
            "has no such setting\n    allowed: with --kernel 2.6.32, v5",
        ),
        (
            ["-", "--kernel", "v5", "--phys-bits", "46"],
            "takes ADDR as it is\n    allowed: with --kernel modern",
        ),
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
