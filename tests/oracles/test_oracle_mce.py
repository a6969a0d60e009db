"""Injected machine checks against a model of mce-inject and the handler by somebody who had not seen ours.

:mod:`tests.oracles.oracle_mce` was written from the sources alone.  Texts are drawn from a fixed seed, and
each is injected under both kernels, with and without MCG_SER_P.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from random import Random

import pytest

from hwsim.hardware.mce_inject import parse_mce
from hwsim.kernel.mce.do_machine_check import HANDLING
from hwsim.kernel.mce.inject import Played, play_mce
from tests.oracles import oracle_mce as oracle

TEXTS, SEED = 1500, 20090603
CLASSES = ("CORRECTED", "UNCORRECTED", "UNCORRECTED", "FATAL")
MORE = (
    "UCNA", "SRAO", "SRAR", "OVER", "S", "AR", "PCC",
    "0x90", "0xc0", "0xc3", "0x10c0", "0x134", "0x150", "0x17a",
)  # fmt: skip
USUAL = ("SRAO 0xc0", "SRAO 0x17a", "SRAR 0x134", "SRAR 0x150")
ODD = ("", "VAL", "UC", "0x0", "VAL UC", "EN UC VAL S")
MCGSTATUS = (
    "RIPV EIPV MCIP", "RIPV EIPV MCIP", "RIPV MCIP", "RIPV MCIP", "EIPV MCIP", "MCIP", "RIPV EIPV",
    "RIPV MCIP LMCES", "EIPV MCIP LMCES", "RIPV EIPV MCIP SEAM_NR",
)  # fmt: skip
RIPS = ("0x33:0x1234", "0x33:0x1234", "0x33:0", "0x10:0xffffffff81000000", "0x1234")
UNREACHABLE = "Spurious not enabled"  # a row of 2.6.32 that "Not enabled" comes before
OPTIONS = ("NOBROADCAST", "NMIBROADCAST", "IRQBROADCAST", "IN_PROC", "IN_IRQ")


def one_record(rng: Random, cpu: int, hold: bool) -> str:
    status = " ".join([rng.choice(CLASSES), *rng.sample(MORE, rng.randint(0, 3))])
    if rng.random() < 0.4:
        status = "UNCORRECTED " + rng.choice(USUAL)
    elif rng.random() < 0.1:
        status = rng.choice(ODD)
    lines = [f"CPU {cpu} BANK {rng.choice((0, 1, 2, 8, 31))}", f"STATUS {status}"]
    lines.append(f"MCGSTATUS {rng.choice(MCGSTATUS)}")
    if rng.random() < 0.7:
        lines += [f"ADDR {rng.randrange(1 << 40):#x}", f"MISC {rng.choice(('0x8c', '0x86', '0x8d', '0x4c'))}"]
    if rng.random() < 0.6:
        lines.append(f"RIP {rng.choice(RIPS)}")
    if rng.random() < 0.2:
        lines.append(rng.choice(("EXCP", "POLL")))
    if rng.random() < 0.2:
        lines.append(rng.choice(OPTIONS))
    return "\n".join([*lines, "HOLD"] if hold else lines)


@lru_cache(maxsize=1)
def texts() -> list[str]:
    """One to three records each, mostly of different CPUs and held but for the last."""
    rng, found = Random(SEED), []
    for _ in range(TEXTS):
        count = rng.randint(1, 3)
        cpus = rng.choices(range(4), k=count) if rng.random() < 0.2 else rng.sample(range(4), count)
        holds = [rng.random() < 0.8 for _ in cpus[1:]]
        found.append("\n".join(map(one_record, [rng] * count, cpus, [*holds, rng.random() < 0.02])) + "\n")
    return found


def cases(kernel: str) -> list[tuple[str, int]]:
    """The texts with a value of ``tolerant``, which a modern kernel does not have.

    The injector of 2.6.32 does not know IRQBROADCAST: there the other CPUs are never raised.  Ours sends the
    interrupt under both kernels, on purpose, so that it is not asked.
    """
    if kernel == "modern":
        return [(text, 1) for text in texts()]
    return [(text.replace("IRQB", "NMIB"), n % 4) for n, text in enumerate(texts())]


def ours(text: str, kernel: str, ser: bool, tolerant: int) -> Played:
    records = parse_mce(text, "text", banks=HANDLING[kernel].banks)
    return play_mce(records, HANDLING[kernel], ser=ser, tolerant=tolerant)


def is_not_in_ours(theirs: oracle.Machine) -> bool:
    """The BUG_ON() of 6.x, when an injecting interrupt would have to signal a task, is not modelled."""
    return theirs.panic is not None and theirs.panic.message == oracle.IN_INTERRUPT


def check(text: str, kernel: str, ser: bool, tolerant: int) -> None:
    theirs, played = oracle.play(text, kernel, ser=ser, tolerant=tolerant), ours(text, kernel, ser, tolerant)
    if is_not_in_ours(theirs):
        return
    fate, panic, asked = played.fate, theirs.panic, (text, kernel, ser, tolerant)
    assert fate.panic == (panic is not None), asked
    assert fate.rendezvous_timeout == theirs.rendezvous_timeout, asked
    if panic:
        assert fate.message == panic.message, asked
        assert fate.reason in (panic.reason, *panic.alternatives), asked
    else:
        assert sorted(fate.queued_pfns) == sorted(theirs.pages), asked
        assert fate.logged == sum(record.logged for record in theirs.records), asked
        check_signals(played, theirs, asked)
    for mine, record in zip(played.records, theirs.records, strict=True):
        if record.grade:
            assert (mine.grade.severity.name, mine.grade.reason, mine.fell_away) == (*record.grade, ""), asked


def check_signals(played: Played, theirs: oracle.Machine, asked: tuple[object, ...]) -> None:
    """kill_me_maybe() is a call of memory_failure(), and BUS_MCEERR_AR what ours foretells of it.

    2.6.32 kills on a CPU without a record too, if the trigger gave it no RIPV; ours has no task there.
    """
    mine = sorted((each.cpu, each.code == "BUS_MCEERR_AR") for each in played.fate.signals)
    wanted = [(record.cpu, by == "kill_me_maybe") for record, by in theirs.signals if record.in_text]
    assert mine == sorted(wanted), asked


@pytest.mark.parametrize("ser", [True, False])
@pytest.mark.parametrize("kernel", ["2.6.32", "modern"])
def test_two_models_of_the_handler_agree(kernel: str, ser: bool) -> None:
    for text, tolerant in cases(kernel):
        check(text, kernel, ser, tolerant)


@pytest.mark.parametrize("kernel", ["2.6.32", "modern"])
def test_the_texts_reach_all_that_can_happen(kernel: str) -> None:
    found: Counter[str | None] = Counter()
    for ser in (True, False):
        for text, tolerant in cases(kernel):
            theirs = oracle.play(text, kernel, ser=ser, tolerant=tolerant)
            if is_not_in_ours(theirs):
                found["not in ours"] += 1
                continue
            found[theirs.panic.message if theirs.panic else None] += 1
            found.update({record.grade.msg for record in theirs.records if record.grade})
            if theirs.panic:
                found["race"] += len({theirs.panic.reason, *theirs.panic.alternatives}) > 1
            else:
                found.update({"timeout"} if theirs.rendezvous_timeout else ())
                found.update({"pages"} if theirs.pages else ())
                found.update({by for record, by in theirs.signals if record.in_text})
    wanted = {None, oracle.FATAL[kernel], oracle.UNKNOWN[kernel], oracle.TIMEOUT[kernel], "pages"}
    wanted |= {row.msg for row in oracle.SEVERITIES[kernel]} - {UNREACHABLE}
    if kernel == "modern":
        wanted |= {oracle.LOCAL, "kill_me_now", "kill_me_maybe"}
    else:
        wanted |= {oracle.ON_THIS_CPU, "race", "timeout", "force_sig"}
    assert {name for name in wanted if not found[name]} == set()
    assert found[None] > TEXTS // 4
    assert found["not in ours"] < TEXTS // 25, "as good as all are compared"
