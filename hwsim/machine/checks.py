"""The machine checks of many machines, and when what follows from them happens: over arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwsim.elementary_each import exp_of_each, log1p_of_each, normal_quantile_of_each
from hwsim.kernel.kernel import Kernel
from hwsim.many_draws import Floats, Positions
from hwsim.memory.cells import Truths
from hwsim.memory.page_array import PageArray
from hwsim.memory.race_each import FAR
from hwsim.rng import Slot
from hwsim.spec import Delay

_LONGEST_NS = float(FAR - (1 << 40))  # added to a time, and to a rendezvous, it still is an int64


class Checks(NamedTuple):
    """A machine check for each of the lines when it is first met; one entry a page, times int64 in ns.

    The CPUs have met, or have not in time, at ``checked_ns`` (``mce/delivery``).  Then memory_failure()
    begins at ``started_ns``, on the way ``from_user`` back or in a worker, and where it looks its table up it
    is done at ``done_ns``, unless it ``waits`` for the page lock.  Or the kernel panics, and the next one is
    up at ``rebooted_ns``.
    """

    checked_ns: Positions
    timed_out: Truths
    from_user: Truths
    waits: Truths
    started_ns: Positions
    done_ns: Positions
    rebooted_ns: Positions


def machine_checks(kernel: Kernel, pages: PageArray, found_ns: Positions) -> Checks:
    """The first machine check of each machine, at ``found_ns``, with the draws of its error."""
    spec, times, slot = kernel.spec, kernel.times, pages.slot
    rendezvous_ns = _durations(times.rendezvous, slot(Slot.RENDEZVOUS))
    timeout_ns = kernel.profile.rendezvous_timeout_ns
    checked_ns = found_ns + np.minimum(rendezvous_ns, timeout_ns)
    from_user = slot(Slot.CONTEXT) < spec.user_share
    u = slot(Slot.NOTIFY)
    notified_ns = np.where(from_user, _durations(times.return_to_user, u), _durations(times.workqueue, u))
    started_ns = np.minimum(checked_ns + notified_ns, FAR)
    return Checks(
        checked_ns,
        timed_out=rendezvous_ns > timeout_ns,
        from_user=from_user,
        waits=_durations(times.lock_wait, slot(Slot.LOCK_WAIT)) > 0,
        started_ns=started_ns,
        done_ns=started_ns + _durations(times.page_handler, slot(Slot.HANDLER)),
        rebooted_ns=np.full(len(found_ns), FAR) if spec.reboot_ns is None else checked_ns + spec.reboot_ns,
    )


def _durations(delay: Delay, u: Floats) -> Positions:
    """int64: what ``delay.draw()`` gives of each uniform."""
    happens = u < delay.chance
    if delay.kind == "constant" or not happens.any():
        return np.where(happens, delay.mean_ns, 0)
    part = np.where(happens, u, 0.5 * delay.chance) / delay.chance
    if delay.kind == "exponential":
        long = -delay.mean_ns * log1p_of_each(-part)
    elif delay.kind == "uniform":
        long = delay.low_ns + (delay.high_ns - delay.low_ns) * part
    else:
        long = delay.mean_ns * exp_of_each(delay.sigma * normal_quantile_of_each(part))
    return np.where(happens, np.minimum(long, _LONGEST_NS), 0.0).astype(np.int64)
