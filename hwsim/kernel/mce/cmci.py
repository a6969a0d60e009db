"""Corrected machine-check interrupts, and the storms in which the kernel turns them off.

With CMCI a bank interrupts at each corrected error (threshold 1) and is read out at once: 2.6.32,
arch/x86/kernel/cpu/mcheck/mce_intel.c, which has nothing against storms.  Since 6.7,
arch/x86/kernel/cpu/mce/threshold.c: five errors in a history of 64 bits, one bit a second but at least one an
error, are a storm of that bank; its threshold goes to 32749 and it is polled once a second; 30 polls in a row
without an error end it.
"""

from __future__ import annotations

from functools import lru_cache

from hwsim.elementary import exp, expm1
from hwsim.kernel.mce.poll import Seen, steady

NUM_HISTORY_BITS = 64
STORM_BEGIN_THRESHOLD = 5
STORM_END_POLL_THRESHOLD = 29  # bits 0 to 29 of the history: 30 polls
POLL_NS = 1_000_000_000


@lru_cache(maxsize=4096)
def interrupted(rate_per_s: float, storms: bool) -> Seen:
    """A Poisson stream with CMCI, in the long run.

    Calm and storm follow each other as a renewal process.  A storm lasts until 30 polls in a row find
    nothing.  Calm is taken to last 4 + 1/p errors on average, where p is the chance that at least four of the
    63 slots before an error have one: right for rare and for frequent errors, and nearly so in between (the
    rate of records is within 1 % of that of the kernel, by steps; the time in storms is up to 45 % too long
    around 0.02 errors a second, where it is 2 % of all time).
    """
    if not storms or rate_per_s <= 0.0:
        return Seen(max(0.0, rate_per_s), 0.0)  # read out at once
    polls = (STORM_END_POLL_THRESHOLD + 1) * rate_per_s
    if polls > 500.0:  # it never ends
        return steady(rate_per_s, 1.0)
    slots, before = NUM_HISTORY_BITS - 1, STORM_BEGIN_THRESHOLD - 1
    hit, odds = -expm1(-rate_per_s), expm1(rate_per_s)
    fewer = chance = exp(-slots * rate_per_s)  # that none has one
    for n in range(1, before):
        chance *= (slots - n + 1) / n * odds
        fewer += chance
    begins = 1.0 - fewer
    if begins <= 1e-12:
        return Seen(rate_per_s, 0.0)
    calm_errors = before + 1.0 / begins
    storm_s = expm1(polls) / hit  # mean wait for 30 misses in a row
    round_s = calm_errors / rate_per_s + storm_s
    return Seen((calm_errors + hit * storm_s) / round_s, steady(rate_per_s, 1.0).taken * storm_s / round_s)
