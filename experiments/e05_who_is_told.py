"""E5: who learns of a lost write, mode by mode."""

from __future__ import annotations

from experiments.common import ALONE, UNIFORM, Answer, Effort, bars_figure, of, share, study, words
from hwsim.study.estimate import Estimate

QUESTION = "Who learns of a lost write: the writer, another, nobody?"
MODES = ("as_flag", "errseq", "sticky", "sticky_until_last_close", "keep_page")
ROLES = {"writer": ("writer",), "only others": ("bystander", "later_session"), "nobody": ("nobody",)}


def run(effort: Effort) -> Answer:
    """Eight writers of one file, a caller who does not look, an auditor, and a nightly sync."""
    results = study("fsync-race", {"machine.switches.eio_mode": MODES}, effort, 15_000)
    n = len(of(results.replications, 0))
    series: dict[str, list[Estimate]] = {role: [] for role in ROLES}
    for number in range(len(MODES)):
        lost = of(results.lost_writes, number)
        for role, names in ROLES.items():
            series[role].append(share(lost[lost["told"].isin(names)], lost, n))
    flag, later = series["writer"][0], series["writer"][1]
    text = (
        f"With AS_EIO, one bit for ten openers, the writer hears of {words(flag, True)} of its lost writes, and "
        f"{words(series['nobody'][0], True)} are told to nobody: a nightly sync or a caller who does not look took the "
        f"error. errseq_t, which tells every open file once, brings that to {words(later, True)}; a sticky error or a page "
        "kept in the cache does about as much. What remains was cut short by a reboot or the end of the run."
    )
    figure = bars_figure("Who learns of a lost write", MODES, series, "share of lost writes")
    assumptions = (
        UNIFORM,
        ALONE,
        "the writer of a page is drawn in proportion to store rates; all eight clerks look at what fsync returns",
        "the modes are put into v5 as they are: the rest of the kernel stays 2009",
    )
    return Answer("E5", QUESTION, MODES, list(series.items()), figure, text, assumptions)
