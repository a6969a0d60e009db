"""Machine checks in mce-inject's format as steps of a script."""

from __future__ import annotations

from tests.worlds import PFN, log, outcomes, play

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
