"""Machine checks in mce-inject's format as steps of a script."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsim.scenario import ScenarioError, load
from tests.support.mce_logs import SCRUBBED, TIMER, kernel_lines, panic_lines, polled_lines, text_of
from tests.support.worlds import PFN, log, outcomes, play

SRAO = "CPU 0 BANK 8\nSTATUS UNCORRECTED SRAO 0xc0\nMCGSTATUS RIPV MCIP\nADDR {:#x}\nMISC 0x8c\n"


def test_mce_inject_queues_the_page_that_it_names() -> None:
    result = play(
        (1_000, "mce_inject", {"text": SRAO.format(PFN << 12)}), (9_000, "inject", {"page": {"free": 5}})
    )
    assert outcomes(result) == ["goes on"]
    assert [(row.error, row.pfn) for row in result.errors][:1] == [(0, PFN)]
    assert (result.errors[0].row, result.row.kills_early) == (12, 1)
    graded = next(facts for _, name, facts in result.events if name == "mce_record")
    assert graded == {
        "severity": "AO",
        "reason": "Action optional: memory scrubbing error",
        "cpu": 0,
        "bank": 8,
    }
    assert [row.error for row in result.errors] == [0, 1]


def test_mce_inject_can_bring_the_machine_down() -> None:
    text = "CPU 1 BANK 4 STATUS FATAL MCGSTATUS MCIP"
    result = play((1_000, "mce_inject", {"text": SRAO.format(PFN << 12) + text}))
    assert (result.row.panics, result.row.end_ns) == (1, 1_000)
    assert outcomes(result) == ["panic"]
    assert "panic:Fatal Machine check" in result.reach
    assert result.errors == []


def test_mce_inject_can_name_what_is_no_memory() -> None:
    result = play((1_000, "mce_inject", {"text": SRAO.format(1 << 50)}))
    assert "MCE 0x4000000000:  page recovery: memory outside kernel controlIgnored" in "\n".join(log(result))


def test_mce_inject_takes_what_a_kernel_printed() -> None:
    scrubbed = text_of(kernel_lines(SCRUBBED, addr=PFN << 12))
    result = play((1_000, "mce_inject", {"text": scrubbed}), (9_000, "inject", {"page": {"free": 5}}))
    assert outcomes(result) == ["goes on"]
    assert (result.errors[0].pfn, result.row.kills_early) == (PFN, 1)
    result = play((1_000, "mce_inject", {"text": text_of(kernel_lines(TIMER), panic_lines(reason="why"))}))
    assert (outcomes(result), "panic:Fatal Machine check" in result.reach) == (["panic"], True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*kernel_lines(TIMER, cpu=99), *panic_lines()], "line 1 of it: CPU 99 is not one of the machine's"),
        ([*kernel_lines(TIMER), *panic_lines(), *polled_lines(TIMER, tsc=0)], "machine checks of 2 boots"),
        (panic_lines(reason="why"), "a panic without a record"),
        (kernel_lines(TIMER, processor="2:a20f10"), "line 4 of it: PROCESSOR 2 is AMD"),
    ],
)
def test_a_log_that_no_script_can_raise_is_a_mistake(tmp_path: Path, lines: list[str], message: str) -> None:
    text = text_of(lines).replace("\n", "\\n")
    scenario = tmp_path / "log.toml"
    scenario.write_text(
        'name = "log"\nhorizon = "1 h"\n[machine]\nmemory = "64 MiB"\ncpus = 4\nkernel = "2.6.32"\n'
        f'[[script]]\nat = "1 s"\ndo = "mce_inject"\ntext = "{text}"\n',
        "utf-8",
    )
    with pytest.raises(ScenarioError) as caught:
        load(scenario)
    assert message in str(caught.value)
